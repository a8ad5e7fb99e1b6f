//! The programs in `examples/` do what they say, against a real registry.

use std::fs;
use std::path::Path;

use dxf_registry::alias::{self, Format};
use dxf_registry::http::{self, Roots, Tls};
use dxf_registry::layout::Layouts;
use dxf_registry::registry::Settings;
use dxf_registry::stream::Run;
use dxf_registry::{Blob, ReadStore, Store};

use crate::archive::multi;
use crate::support::bench::{Bench, Mode};
use crate::support::data::blob;
use crate::support::registry::Registry;
use crate::support::scratch;
use crate::support::tls::Ca;
use crate::transfer::{push, repository};

#[allow(dead_code)]
#[path = "../../examples/backup.rs"]
mod backup;
#[allow(dead_code)]
#[path = "../../examples/mirror.rs"]
mod mirror;

#[test]
fn an_example_is_short_enough_to_be_read() {
    for text in [
        include_str!("../../examples/backup.rs"),
        include_str!("../../examples/mirror.rs"),
    ] {
        assert!(text.lines().count() < 70);
    }
}

/// All files below a folder, with their content, sorted.
fn content(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let (mut files, mut open) = (Vec::new(), vec![folder.to_path_buf()]);
    while let Some(path) = open.pop() {
        for entry in fs::read_dir(path).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else {
                let name = path.strip_prefix(folder).unwrap().display().to_string();
                files.push((name, fs::read(path).unwrap()));
            }
        }
    }
    files.sort();
    files
}

#[test]
fn a_backup_keeps_every_run_and_sends_only_what_is_new() {
    let bench = Bench::new(Mode::Http);
    let store = repository(&bench, "team/backup");
    let folder = scratch();
    fs::create_dir_all(folder.path().join("sub/deeper")).unwrap();
    fs::write(folder.path().join("sub/deeper/a file"), blob(1, 300_000)).unwrap();
    fs::write(folder.path().join("empty"), "").unwrap();
    let first = backup::keep(&*store, folder.path()).unwrap();
    let then = content(folder.path());
    bench.requests();
    fs::write(folder.path().join("new"), "new").unwrap();
    let second = backup::keep(&*store, folder.path()).unwrap();
    assert!(second > first, "{first}, {second}");
    // The list and the new file.
    let sent = bench.request_lines();
    let sent = sent.iter().filter(|line| line.starts_with("POST"));
    assert_eq!(sent.count(), 2);
    for (name, expected) in [(first, then), (second, content(folder.path()))] {
        let back = scratch();
        backup::restore(&*store, &name, back.path()).unwrap();
        assert_eq!(content(back.path()), expected);
    }
}

#[test]
fn a_backup_goes_to_https_and_to_this_machine_s_http() {
    let folder = scratch();
    fs::write(folder.path().join("file"), blob(1, 1000)).unwrap();
    let ca = scratch();
    let roots = Roots::File(Ca::shared().write_to(ca.path()));
    let http = http::Settings::default().with_tls(Tls::default().with_roots(roots));
    for registry in [Registry::builder(), Registry::builder().tls()] {
        let registry = registry.start();
        let run = |to: &Path, alias: Option<&str>| {
            let words = [registry.host(), "team/backup", to.to_str().unwrap()];
            let words: Vec<String> = words
                .iter()
                .copied()
                .chain(alias)
                .map(String::from)
                .collect();
            backup::run(&words, Settings::default().with_http(http.clone())).unwrap();
        };
        run(folder.path(), None);
        let names = registry.raw().get("/v2/team/backup/tags/list").json();
        let back = scratch();
        run(back.path(), names["tags"][0].as_str());
        assert_eq!(content(back.path()), content(folder.path()));
    }
}

#[test]
fn a_backup_from_elsewhere_writes_nothing_outside_its_folder() {
    let (folder, back) = (scratch(), scratch());
    let store = Layouts::new(folder.path()).repository(&"a".parse().unwrap());
    let file = Blob::bytes("text/plain", b"evil".to_vec());
    for name in ["../outside", "/tmp/outside", "a/../../outside"] {
        let list = format!("{} {name}\n", file.digest());
        let list = Blob::bytes("text/plain", list.into_bytes());
        let tag = "evil".parse().unwrap();
        let blobs = [list, file.clone()];
        alias::push(&store, &tag, &blobs, Format::Oci, Run::default()).unwrap();
        let refused = backup::restore(&store, "evil", back.path()).unwrap_err();
        assert!(refused.to_string().contains("points outside"), "{refused}");
        assert_eq!(content(back.path()), []);
    }
}

#[test]
fn a_mirror_copies_images_and_aliases_to_registries_and_folders() {
    let (here, there) = (Bench::new(Mode::Http), Bench::new(Mode::Http));
    let from = repository(&here, "team/app");
    push(&multi(), &*from);
    let data = Blob::bytes("text/plain", b"data".to_vec());
    let tag = "data".parse().unwrap();
    alias::push(&*from, &tag, &[data], Format::Docker, Run::default()).unwrap();
    let folder = scratch();
    let places = [
        format!("{}/copies/app", there.host()),
        format!("oci:{}", folder.path().display()),
    ];
    let source = format!("{}/team/app", here.host());
    for place in &places {
        assert!(mirror::mirror(&source, place).unwrap() > 0);
        assert_eq!(mirror::mirror(&source, place).unwrap(), 0);
    }
    let copies: [&dyn Store; 2] = [
        &*repository(&there, "copies/app"),
        &dxf_registry::layout::Layout::at(folder.path()),
    ];
    for copy in copies {
        for tag in ["v1", "data"] {
            let target = tag.parse().unwrap();
            let (was, is) = (from.head(&target).unwrap(), copy.head(&target).unwrap());
            assert_eq!(is.unwrap().digest, was.unwrap().digest);
        }
        let manifest = copy.manifest(&"data".parse().unwrap()).unwrap();
        let first = alias::blobs(&manifest).unwrap()[0].digest;
        let mut bytes = Vec::new();
        let mut pulled = copy.pull_blob(&first, None).unwrap().reader;
        std::io::copy(&mut pulled, &mut bytes).unwrap();
        assert_eq!(bytes, b"data");
    }
}
