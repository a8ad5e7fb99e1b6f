//! What `push-files` and `pull-files` are given and can't take: one line, the
//! documented exit code, and nothing half-written; artifacts made to do harm.

use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use serde_json::{Value, json};
use tar::EntryType;

use crate::images::{docker_image, seed};
use crate::images_hostile::{member, regular, tar};
use crate::support::bench::{Bench, Mode};
use crate::support::data::{blob, digest};
use crate::support::dxf::{Dxf, Output};
use crate::support::full_disk::full_disk;
use crate::support::place::each_place;
use crate::support::registry::Registry;
use crate::support::rules::{POST, PUT, Response, on};
use crate::support::scratch;
use crate::support::server::Server;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const TITLE: &str = "org.opencontainers.image.title";

/// Fails unless it ended with `code` and one line that contains `words`.
fn refused(output: &Output, code: i32, words: &str) {
    assert_eq!(output.code, Some(code), "{output}");
    assert!(output.stderr.starts_with("dxf: "), "{output}");
    assert_eq!(output.stderr.lines().count(), 1, "{output}");
    assert!(output.stderr.contains(words), "{words}: {output}");
    assert_eq!(output.text(), "");
}

/// The names below a folder, hidden ones too.
fn below(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.collect();
    names.sort();
    names
}

each_place!(files_that_can_not_be_pushed_leave_no_alias, |at| {
    let folder = scratch();
    fs::write(folder.path().join("f"), "f").unwrap();
    fs::create_dir(folder.path().join("d")).unwrap();
    let odd = OsStr::from_bytes(b"odd\xff");
    fs::write(folder.path().join(odd), "x").unwrap();
    let push = |words: &[&OsStr]| {
        let push = at.dxf().current_dir(folder.path());
        push.args(["push-files", "team/bad", "v1"])
            .args(words)
            .run()
    };
    let word = |text| OsStr::new(text);
    refused(&push(&[word("/etc/hostname")]), 2, "absolute");
    refused(&push(&[word("f"), word("./f")]), 2, "twice");
    refused(&push(&[word("f:plain")]), 2, "slash");
    refused(&push(&[odd]), 2, "not UTF-8");
    let subject = digest(b"nothing");
    let about = [word("f"), word("--subject"), word(&subject)];
    refused(&push(&about), 2, "Not Found");
    symlink("/dev/null", folder.path().join("d/null")).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        folder.path().join("d/pipe"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR,
        0,
    )
    .unwrap();
    refused(&push(&[word("d")]), 1, "no sockets, pipes or devices");
    let split = ["push-files", "team/bad", "v1", "f", "--split", "0"];
    let push = at.dxf().current_dir(folder.path()).args(split);
    push.misused("at least one byte");
    let words = ["push-files", "team/bad", "v1", "--model"];
    at.dxf().args(words).misused("a model needs files");
    at.dxf()
        .args(words)
        .args(["f", "--split", "1MiB"])
        .misused("cannot be used with");
    assert!(at.tags("team/bad").is_empty());
});

#[test]
fn a_file_that_changes_while_it_is_sent_is_told() {
    let registry = Registry::http();
    let folder = scratch();
    let path = folder.path().join("f");
    for words in [&["f"][..], &["f", "--split", "1MiB"]] {
        fs::write(&path, blob(1, 3 << 20)).unwrap();
        let front = Server::before(&registry, []);
        let changed = path.clone();
        let post = on(POST, "/v2/team/f/blobs/uploads/").times(1);
        front.add([post.with(move |_| {
            let mut file = fs::File::options().append(true).open(&changed).unwrap();
            file.write_all(b"more").unwrap();
            Response::new(503).header("Retry-After", "0")
        })]);
        let push = Dxf::new().plain(&front.host()).current_dir(folder.path());
        let push = push.args(["push-files", "team/f", "v1"]).args(words).run();
        refused(&push, 1, "changed while");
        assert_eq!(registry.raw().manifest("team/f", "v1").status, 404);
    }
}

#[test]
fn a_registry_that_refuses_the_manifest_gets_the_older_one_or_is_told() {
    let registry = Registry::http();
    let front = Server::before(&registry, []);
    let push = |alias: &str| {
        let push = Dxf::new().plain(&front.host());
        let push = push.args(["push-files", "team/old", alias, "-", "--name", "f"]);
        push.stdin("f")
    };
    let invalid = r#"{"errors":[{"code":"MANIFEST_INVALID","message":"unknown field"}]}"#;
    let refuse = || {
        on(PUT, "/v2/team/old/manifests/v*")
            .reply(400)
            .body(invalid)
    };
    front.add([refuse().times(1)]);
    let pushed = push("v1").ok();
    assert!(
        pushed.stderr.contains("--oci 1.0 does so at once"),
        "{pushed}"
    );
    let manifest = registry.raw().manifest("team/old", "v1").json();
    assert_eq!(manifest.get("artifactType"), None);
    front.add([refuse()]);
    refused(&push("v2").run(), 1, "push-blob stores files");
    // A subject can't be given up.
    let subject = digest(&registry.raw().manifest("team/old", "v1").body);
    refused(
        &push("v3").args(["--subject", &subject]).run(),
        1,
        "unknown field",
    );
}

#[test]
fn an_image_is_no_artifact_of_files() {
    let bench = Bench::new(Mode::Http);
    seed(bench.dxf(), &docker_image(), "a/b:1");
    let folder = scratch();
    let pull = bench.dxf().current_dir(folder.path());
    let pull = pull.args(["pull-files", "a/b", "1", "-o", "out"]).run();
    refused(&pull, 1, "pull-image");
    assert!(below(folder.path()).is_empty());
}

#[test]
fn what_can_not_be_pulled_is_told_in_the_words_of_pull_files() {
    let (registry, folder) = (Registry::http(), scratch());
    let dxf = || Dxf::new().plain(registry.host()).current_dir(folder.path());
    fs::write(folder.path().join("a"), "a").unwrap();
    let push = dxf().args(["push-files", "a", "v1", "--platform", "linux/arm64", "a"]);
    push.ok();
    let pull = |words: &[&str]| {
        let pull = dxf().args(["pull-files", "a", "v1", "--platform"]);
        pull.args(words).run()
    };
    refused(&pull(&["linux/s390x"]), 1, "linux/arm64; try --platform");
    let other = &["linux/arm64", "-o"][..];
    for file in ["a", "a/b"] {
        let refusal = pull(&[other, &[file]].concat());
        refused(&refusal, 1, &format!("{file}: not a directory"));
    }
    let pattern = pull(&["linux/arm64", "--only", "["]);
    refused(&pattern, 2, "invalid pattern \"[\"");
    let push = dxf().args(["push-files", "a", "v1", "--created", "today", "a"]);
    refused(&push.run(), 2, "now, epoch");
    assert_eq!(below(folder.path()), ["a"]);
}

#[test]
fn a_full_disk_is_told_and_the_old_file_stays() {
    let registry = Registry::http();
    let folder = scratch();
    fs::create_dir(folder.path().join("d")).unwrap();
    fs::write(folder.path().join("d/in"), blob(3, 100_000)).unwrap();
    fs::write(folder.path().join("f"), blob(4, 100_000)).unwrap();
    let dxf = Dxf::new().plain(registry.host()).current_dir(folder.path());
    dxf.args(["push-files", "team/full", "v1", "f", "d"]).ok();
    let script = r#"printf old > "$2/f" || exit 99
        "$1" pull-files team/full v1 --only "$3" -o "$2"; code=$?
        find "$2" ! -type d -printf '%P '; cat "$2/f"; exit $code"#;
    for name in ["f", "d"] {
        let Some(done) = full_disk("16k", registry.host(), script, |dxf| dxf.arg(name)) else {
            return;
        };
        let (left, old) = done.text().rsplit_once(' ').expect("names");
        let other = |name: &&str| *name != "f" && !name.ends_with(".partial");
        assert_eq!((left.split(' ').find(other), old), (None, "old"), "{done}");
    }
}

/// A layer: its annotations and bytes.
type Layer<'a> = (&'a [(&'a str, &'a str)], Vec<u8>);

/// Puts an artifact of these layers under `v1`.
fn artifact(registry: &Registry, layers: &[Layer<'_>]) {
    let raw = registry.raw();
    let describe = |kind: &str, bytes: &[u8]| {
        raw.push_blob("evil", bytes);
        json!({"mediaType": kind, "digest": digest(bytes), "size": bytes.len()})
    };
    let listed: Vec<Value> = layers
        .iter()
        .map(|(said, bytes)| {
            let mut layer = describe("application/vnd.oci.image.layer.v1.tar+gzip", bytes);
            for (name, value) in *said {
                layer["annotations"][*name] = (*value).into();
            }
            layer
        })
        .collect();
    let config = describe("application/vnd.oci.empty.v1+json", b"{}");
    let manifest = json!({"schemaVersion": 2, "mediaType": MANIFEST,
        "artifactType": "test/evil", "config": config, "layers": listed});
    raw.put_manifest("evil", "v1", MANIFEST, manifest.to_string().as_bytes());
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut to = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    to.write_all(bytes).unwrap();
    to.finish().unwrap()
}

/// Pulls `v1` into `out` in `folder`.
fn pull(registry: &Registry, folder: &Path) -> Output {
    let pull = Dxf::new().plain(registry.host()).current_dir(folder);
    pull.args(["pull-files", "evil", "v1", "-o", "out"]).run()
}

#[test]
fn hostile_names_are_refused_and_nothing_is_written() {
    let registry = Registry::http();
    let long = "a/".repeat(3000);
    let part = "n".repeat(256);
    for (names, words) in [
        (&["../out"][..], "points outside"),
        (&["a/../../out"], "points outside"),
        (&["/tmp/out"], "absolute"),
        (&["README", "readme"], "differs only in case"),
        (&["a", "a"], "same name"),
        (&["a", "a/b"], "below a file"),
        (&["a\0b"], "no file can have this name"),
        (&[long.as_str()], "too long"),
        (&[part.as_str()], "too long"),
    ] {
        let said: Vec<[(&str, &str); 1]> = names.iter().map(|name| [(TITLE, *name)]).collect();
        let layers: Vec<Layer<'_>> = said.iter().map(|s| (&s[..], b"x".to_vec())).collect();
        artifact(&registry, &layers);
        let folder = scratch();
        refused(&pull(&registry, folder.path()), 65, words);
        assert!(below(folder.path()).is_empty(), "{names:?}");
    }
}

#[test]
fn hostile_archives_are_refused_and_nothing_is_written() {
    let registry = Registry::http();
    let link = |name: &str, to: &str| member(EntryType::Symlink, name, to, b"");
    let hard = |name: &str, to: &str| member(EntryType::Link, name, to, b"");
    let odd = |kind, name: &str| member(kind, name, "", b"");
    let cut = tar(&[regular("d/f", &blob(1, 5000))]);
    let table: [(Vec<u8>, &str); 15] = [
        (tar(&[regular("/tmp/out", b"x")]), "points outside"),
        (tar(&[regular("d/../../out", b"x")]), "points outside"),
        (tar(&[link("d/l", "../../out")]), "link that points outside"),
        (
            tar(&[link("d/l", "/etc/passwd")]),
            "link that points outside",
        ),
        (
            tar(&[link("d/l", "."), regular("d/l/x", b"x")]),
            "below a file or a link",
        ),
        (
            tar(&[link("d/l", "x"), regular("d/l", b"x")]),
            "another file has this name",
        ),
        (
            tar(&[regular("d/x", b"x"), regular("d/x", b"y")]),
            "another file has this name",
        ),
        // Up from a link is not where its name stands.
        (
            tar(&[link("d/p/q/top", "../.."), link("d/p/q/l", "top/..")]),
            "link that points outside",
        ),
        (
            tar(&[link("d/p/q/l", "top/.."), link("d/p/q/top", "../..")]),
            "link that points outside",
        ),
        (tar(&[hard("d/h", "/etc/passwd")]), "not in the folder"),
        (tar(&[hard("d/h", "d/../../x")]), "not in the folder"),
        (
            tar(&[odd(EntryType::Char, "d/c")]),
            "neither file, folder nor link",
        ),
        (
            tar(&[odd(EntryType::Block, "d/b")]),
            "neither file, folder nor link",
        ),
        (
            tar(&[odd(EntryType::Fifo, "d/p")]),
            "neither file, folder nor link",
        ),
        (cut[..3000].to_vec(), ""),
    ];
    let mut table: Vec<_> = table.map(|(bytes, words)| (gzip(&bytes), words)).into();
    // More than a gibibyte of nothing, after the end of the tar.
    let mut bomb = gzip(&tar(&[regular("d/f", b"x")]));
    bomb.extend(gzip(&vec![0; 16 << 20]).repeat(80));
    table.push((bomb, "times when decompressed"));
    for (bytes, words) in table {
        let said = [(TITLE, "d"), ("io.deis.oras.content.unpack", "true")];
        artifact(&registry, &[(&said, bytes)]);
        let folder = scratch();
        refused(&pull(&registry, folder.path()), 65, words);
        assert_eq!(below(folder.path()), ["out"], "{words}");
        assert!(below(&folder.path().join("out")).is_empty(), "{words}");
    }
}

#[test]
fn links_that_go_down_and_up_again_are_kept() {
    let registry = Registry::http();
    let link = |name: &str, to: &str| member(EntryType::Symlink, name, to, b"");
    let bytes = tar(&[
        link("d/l", "sub/../f"),
        regular("d/sub/x", b"x"),
        regular("d/f", b"f"),
    ]);
    let said = [(TITLE, "d"), ("io.deis.oras.content.unpack", "true")];
    artifact(&registry, &[(&said, gzip(&bytes))]);
    let folder = scratch();
    let done = pull(&registry, folder.path());
    assert_eq!(done.code, Some(0), "{done}");
    assert_eq!(fs::read(folder.path().join("out/d/l")).unwrap(), b"f");
}

#[test]
fn links_in_the_way_are_not_followed() {
    let registry = Registry::http();
    artifact(&registry, &[(&[(TITLE, "a/f")], b"x".to_vec())]);
    let folder = scratch();
    let out = folder.path().join("out");
    fs::create_dir(&out).unwrap();
    symlink(folder.path(), out.join("a")).unwrap();
    refused(
        &pull(&registry, folder.path()),
        1,
        "symbolic link is in the way",
    );
    assert_eq!(below(folder.path()), ["out"]);
    fs::remove_file(out.join("a")).unwrap();
    fs::create_dir(out.join("a")).unwrap();
    symlink(folder.path().join("victim"), out.join("a/f")).unwrap();
    refused(
        &pull(&registry, folder.path()),
        1,
        "symbolic link is in the way",
    );
    assert_eq!(below(folder.path()), ["out"]);
}

/// A file is `NAME.partial` while it is fetched, which may be the name of another.
#[test]
fn names_that_end_in_partial_are_names_like_others() {
    let registry = Registry::http();
    let folder = scratch();
    let names = ["a", "a.partial", "a.partial.partial", "b/a", "b/A.partial"];
    fs::create_dir(folder.path().join("b")).unwrap();
    for (n, name) in names.iter().enumerate() {
        fs::write(folder.path().join(name), blob(n as u64, 700_000)).unwrap();
    }
    let dxf = || Dxf::new().plain(registry.host()).current_dir(folder.path());
    dxf().args(["push-files", "evil", "v1"]).args(names).ok();
    let right = |changed: &str| {
        let done = pull(&registry, folder.path());
        assert_eq!(done.code, Some(0), "{done}");
        assert_eq!(done.text(), changed);
        for (n, name) in names.iter().enumerate() {
            let found = fs::read(folder.path().join("out").join(name)).unwrap();
            assert!(found == blob(n as u64, 700_000), "{name}");
        }
    };
    right(&(names.join("\n") + "\n"));
    fs::write(folder.path().join("out/a"), "changed").unwrap();
    right("a\n");
    assert_eq!(below(&folder.path().join("out")).len(), 4);
}

/// Names that look alike are different files here, and a line each.
#[test]
fn odd_names_are_one_line_and_one_file_each() {
    let registry = Registry::http();
    let names = ["two\nlines", "\u{e9}", "e\u{301}", "\u{1b}[2J", "a\\b", " "];
    let said: Vec<[(&str, &str); 1]> = names.iter().map(|name| [(TITLE, *name)]).collect();
    let layers: Vec<Layer<'_>> = said.iter().map(|s| (&s[..], s[0].1.into())).collect();
    artifact(&registry, &layers);
    let folder = scratch();
    let done = pull(&registry, folder.path());
    assert_eq!(
        (done.code, done.lines().len()),
        (Some(0), names.len()),
        "{done}"
    );
    assert!(!done.text().contains('\u{1b}'), "{done}");
    for name in names {
        let found = fs::read(folder.path().join("out").join(name)).unwrap();
        assert_eq!(found, name.as_bytes());
    }
}

/// A sparse file of a tar as old GNU tar writes it, with its content at the end.
fn sparse(name: &str, size: u64, content: &[u8]) -> Vec<u8> {
    let mut header = tar::Header::new_gnu();
    header.set_path(name).unwrap();
    header.set_entry_type(EntryType::GNUSparse);
    header.set_mode(0o644);
    header.set_size(content.len() as u64);
    let gnu = header.as_gnu_mut().unwrap();
    let number = |field: &mut [u8], n: u64| {
        field[0] = 0x80;
        field[4..].copy_from_slice(&n.to_be_bytes());
    };
    number(&mut gnu.realsize, size);
    number(&mut gnu.sparse[0].offset, size - content.len() as u64);
    number(&mut gnu.sparse[0].numbytes, content.len() as u64);
    header.set_cksum();
    let mut all = header.as_bytes().to_vec();
    all.extend(content);
    all.resize(all.len().next_multiple_of(512), 0);
    all
}

#[test]
fn holes_are_filled_within_reason_and_rights_of_others_are_not_given() {
    let registry = Registry::http();
    let folder = scratch();
    let said = [(TITLE, "d"), ("io.deis.oras.content.unpack", "true")];
    let mut setuid = tar::Header::new_ustar();
    setuid.set_path("d/suid").unwrap();
    setuid.set_mode(0o6755);
    setuid.set_size(0);
    setuid.set_cksum();
    let good = tar(&[sparse("d/s", 1 << 20, b"end"), setuid.as_bytes().to_vec()]);
    artifact(&registry, &[(&said, gzip(&good))]);
    let done = pull(&registry, folder.path());
    assert_eq!(done.code, Some(0), "{done}");
    let found = fs::read(folder.path().join("out/d/s")).unwrap();
    assert!(found.len() == 1 << 20 && found.ends_with(b"\0end"));
    let mode = fs::metadata(folder.path().join("out/d/suid")).unwrap();
    assert_eq!(mode.permissions().mode() & 0o7777, 0o755);
    let members: Vec<Vec<u8>> = (0..4)
        .map(|n| sparse(&format!("d/{n}"), 1 << 29, b"x"))
        .collect();
    for bomb in [tar(&[sparse("d/s", 1 << 60, b"end")]), tar(&members)] {
        artifact(&registry, &[(&said, gzip(&bomb))]);
        let folder = scratch();
        refused(&pull(&registry, folder.path()), 65, "sparse files");
        assert!(below(&folder.path().join("out")).is_empty());
    }
}
