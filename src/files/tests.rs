use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use serde_json::json;

use super::*;
use crate::blob::Blob;
use crate::descriptor::media_type;
use crate::error::{Error, Result};
use crate::file::trace;
use crate::graph::{PushTarget, push};
use crate::image::Node;
use crate::manifest::{Builder, Manifest};
use crate::reference::Target;
use crate::store::{Memory, ReadStore, Store};
use crate::stream::{Run, Watch};
use crate::tar::{Dialect, Kind, header};

const FOLDER_TYPE: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

fn target() -> Target {
    "v1".parse().unwrap()
}

/// Files and a folder, as a person has them.
fn tree(at: &Path) {
    fs::create_dir_all(at.join("d/sub")).unwrap();
    fs::write(at.join("a.txt"), "alpha").unwrap();
    fs::write(at.join("run.sh"), "#!/bin/sh\n").unwrap();
    fs::set_permissions(at.join("run.sh"), Permissions::from_mode(0o755)).unwrap();
    fs::write(at.join("d/one"), "1").unwrap();
    fs::write(at.join("d/sub/two"), vec![7; 100_000]).unwrap();
    fs::set_permissions(at.join("d/sub/two"), Permissions::from_mode(0o640)).unwrap();
    symlink("sub/two", at.join("d/link")).unwrap();
    fs::hard_link(at.join("d/one"), at.join("d/same")).unwrap();
}

fn made(at: &Path, names: &[&str]) -> Result<Artifact> {
    let inputs: Result<Vec<Input>> = names
        .iter()
        .map(|name| Input::path(&at.join(name), name, None))
        .collect();
    let making = Making::new(at, Run::default());
    Artifact::new("text/x-test", layers(&inputs?, making)?)
}

fn stored(artifact: &Artifact) -> (Memory, Manifest) {
    let (store, target) = (Memory::default(), target());
    let node = Node::Image(artifact.image().unwrap());
    push(&node, &PushTarget::new(&store, &target), Run::default()).unwrap();
    let manifest = store.manifest(&target).unwrap();
    (store, manifest)
}

#[test]
fn files_and_folders_come_back_as_they_were() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    tree(from.path());
    let (store, manifest) = stored(&made(from.path(), &["a.txt", "run.sh", "d"]).unwrap());
    let found = entries(&manifest).unwrap();
    let names: Vec<&str> = found.iter().map(|entry| entry.name.as_str()).collect();
    assert_eq!(names, ["a.txt", "run.sh", "d"]);
    assert_eq!(found[2].media_type, FOLDER_TYPE);
    let out = to.path().join("out/deeper");
    let pull = Pull::new(&out);
    let pulled = pull.write(&store, &found, Run::default()).unwrap();
    assert_eq!(pulled, [Pulled::Written; 3]);
    assert_eq!(fs::read(out.join("a.txt")).unwrap(), b"alpha");
    let mode = |name: &str| fs::metadata(out.join(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("run.sh") & 0o100, mode("a.txt") & 0o100), (0o100, 0));
    assert_eq!(
        (
            fs::read(out.join("d/sub/two")).unwrap().len(),
            mode("d/sub/two")
        ),
        (100_000, 0o640)
    );
    assert_eq!(
        fs::read_link(out.join("d/link")).unwrap(),
        Path::new("sub/two")
    );
    assert_eq!(fs::read(out.join("d/same")).unwrap(), b"1");
    // Nothing else is left there.
    assert_eq!(fs::read_dir(&out).unwrap().count(), 3);
    // Again: what is the same stays; a folder gets back what it lost.
    let again = pull.without_replacing();
    let again = again.write(&store, &found, Run::default()).unwrap();
    assert_eq!(again, [Pulled::Unchanged; 3]);
    fs::remove_file(out.join("d/one")).unwrap();
    fs::write(out.join("d/own"), "mine").unwrap();
    let again = pull.write(&store, &found, Run::default()).unwrap();
    assert_eq!(again[..2], [Pulled::Unchanged; 2]);
    assert_eq!(again[2], Pulled::Written);
    assert_eq!(fs::read(out.join("d/one")).unwrap(), b"1");
    assert_eq!(fs::read(out.join("d/own")).unwrap(), b"mine");
}

#[test]
fn a_folder_of_many_files_is_synced_once_and_after_them() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let names = ["a", "b", "below/c"];
    fs::create_dir(from.path().join("below")).unwrap();
    for name in names {
        fs::write(from.path().join(name), name).unwrap();
    }
    let (store, manifest) = stored(&made(from.path(), &names).unwrap());
    let out = to.path().join("out");
    fs::create_dir_all(out.join("below")).unwrap();
    trace::take();
    let pull = || {
        let run = Run::new(1, Watch::default());
        let pulled = Pull::new(&out).write(&store, &entries(&manifest).unwrap(), run);
        (pulled.unwrap(), trace::take())
    };
    let file = |name: &str| [format!("sync {name}.partial"), format!("rename {name}")];
    let folders = [
        "sync folder out".to_string(),
        "sync folder below".to_string(),
    ];
    let all = [&file("a")[..], &file("b"), &file("c"), &folders].concat();
    assert_eq!(pull(), (vec![Pulled::Written; 3], all));
    // They may be those of a call that was killed before it synced the folders.
    assert_eq!(pull(), (vec![Pulled::Unchanged; 3], folders.to_vec()));
}

#[test]
fn folders_with_times_of_their_own_are_known_again() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    tree(from.path());
    let input = Input::path(&from.path().join("d"), "some/d", None).unwrap();
    let making = Making::new(from.path(), Run::default());
    let making = making.with_modified(crate::image::make::Modified::Source);
    let artifact = Artifact::new("text/x-test", layers(&[input], making).unwrap()).unwrap();
    let (store, manifest) = stored(&artifact);
    let found = entries(&manifest).unwrap();
    let write = || {
        let pull = Pull::new(to.path());
        pull.write(&store, &found, Run::default()).unwrap()
    };
    assert_eq!(write(), [Pulled::Written]);
    let times = |at: &Path| {
        let names = ["", "one", "link", "sub", "sub/two"];
        names.map(|name| fs::symlink_metadata(at.join(name)).unwrap().mtime())
    };
    let out = to.path().join("some/d");
    assert_eq!(times(&out), times(&from.path().join("d")));
    assert_eq!(write(), [Pulled::Unchanged]);
    fs::set_permissions(out.join("one"), Permissions::from_mode(0o600)).unwrap();
    assert_eq!(write(), [Pulled::Written]);
    fs::write(out.join("one"), "2").unwrap();
    assert_eq!(write(), [Pulled::Written]);
    // What no archive has is none of it.
    rustix::fs::mknodat(
        rustix::fs::CWD,
        out.join("pipe"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR,
        0,
    )
    .unwrap();
    assert_eq!(write(), [Pulled::Written]);
}

#[test]
fn the_same_files_make_the_same_manifest() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    for at in [one.path(), two.path()] {
        tree(at);
    }
    let touched = fs::File::options()
        .write(true)
        .open(two.path().join("d/one"));
    let past = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000);
    touched.unwrap().set_modified(past).unwrap();
    let of = |at: &Path| {
        let artifact = made(at, &["d", "a.txt", "run.sh"]).unwrap();
        artifact.image().unwrap().manifest().bytes().to_vec()
    };
    assert_eq!(of(one.path()), of(two.path()));
}

fn made_in_parts(at: &Path, names: &[&str], split: &str) -> Result<Artifact> {
    let inputs: Result<Vec<Input>> = names
        .iter()
        .map(|name| Input::path(&at.join(name), name, None))
        .collect();
    let making = Making::new(at, Run::default()).with_split(split.parse().unwrap());
    Artifact::new("text/x-test", layers(&inputs?, making)?)
}

#[test]
fn files_in_parts_come_back_whole() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    tree(from.path());
    let big: Vec<u8> = (0..300_000u32)
        .flat_map(|n| n.wrapping_mul(n).to_le_bytes())
        .collect();
    fs::write(from.path().join("big"), &big).unwrap();
    fs::set_permissions(from.path().join("big"), Permissions::from_mode(0o755)).unwrap();
    fs::write(from.path().join("d/noise"), &big).unwrap();
    let names = ["a.txt", "big", "d"];
    for split in ["500000", "cdc:65536"] {
        let artifact = made_in_parts(from.path(), &names, split).unwrap();
        let (store, manifest) = stored(&artifact);
        let layers = manifest.image().unwrap().layers;
        assert!(layers.len() > 5, "{split}: {}", layers.len());
        let first = &layers[1];
        assert_eq!(first.media_type, media_type::OCTET_STREAM);
        assert_eq!(first.annotations[TITLE], "big.part0001");
        assert!(
            layers
                .iter()
                .all(|layer| !layer.annotations.contains_key(UNPACK))
        );
        let found = entries(&manifest).unwrap();
        let told: Vec<(&str, u64)> = found.iter().map(|e| (e.name.as_str(), e.size)).collect();
        assert_eq!(told[..2], [("a.txt", 5), ("big", big.len() as u64)]);
        assert_eq!(found[1].digest, crate::digest::Digest::of(&big));
        assert!(found[1].is_executable && found[2].is_folder() && found.len() == 3);
        let out = to.path().join(split.replace(':', ""));
        Pull::new(&out)
            .write(&store, &found, Run::default())
            .unwrap();
        assert!(fs::read(out.join("big")).unwrap() == big);
        assert!(fs::read(out.join("d/noise")).unwrap() == big);
        let again = Pull::new(&out)
            .write(&store, &found, Run::default())
            .unwrap();
        assert_eq!(again, [Pulled::Unchanged; 3]);
    }
    // What is no larger than a part is a layer like any other.
    let plain = made(from.path(), &names).unwrap();
    let whole = made_in_parts(from.path(), &names, "100000000").unwrap();
    let bytes = |artifact: &Artifact| artifact.image().unwrap().manifest().bytes().to_vec();
    assert_eq!(bytes(&plain), bytes(&whole));
    let failed = made_in_parts(from.path(), &["big"], "10").unwrap_err();
    assert!(failed.to_string().contains("that works is 293"), "{failed}");
    fs::write(from.path().join("big.part0002"), "x").unwrap();
    let failed = made_in_parts(from.path(), &["big", "big.part0002"], "500000").unwrap_err();
    assert!(
        failed.to_string().contains("a part of another file"),
        "{failed}"
    );
}

#[test]
fn parts_that_are_not_complete_are_refused() {
    type Change<'a> = &'a dyn Fn(&mut Vec<serde_json::Value>);
    let from = tempfile::tempdir().unwrap();
    fs::write(from.path().join("f"), "abcdefgh").unwrap();
    fs::write(from.path().join("g"), "x").unwrap();
    let artifact = made_in_parts(from.path(), &["f", "g"], "3").unwrap();
    let manifest = artifact.image().unwrap().manifest().clone();
    assert_eq!(manifest.image().unwrap().layers.len(), 4);
    let changed = |change: Change<'_>| {
        let mut builder = Builder::of(&manifest).unwrap();
        let mut layers = builder.take_list("layers").unwrap();
        change(&mut layers);
        entries(&builder.layers(layers).build().unwrap())
    };
    assert_eq!(changed(&|_| {}).unwrap().len(), 2);
    let said = |layers: &mut Vec<serde_json::Value>, at: usize, name: &str, text: &str| {
        layers[at]["annotations"][name] = text.into();
    };
    let table: [(&str, Change<'_>); 7] = [
        ("one is missing", &|layers| drop(layers.remove(1))),
        ("the first is missing", &|layers| drop(layers.remove(0))),
        ("the end is missing", &|layers| layers.truncate(2)),
        ("one is of another file", &|layers| {
            said(layers, 1, "vnd.dxf.content.digest", "sha256:00");
        }),
        ("one is larger", &|layers| {
            layers[1]["size"] = u64::MAX.into()
        }),
        ("no descriptor", &|layers| said(layers, 0, WHOLE, "{}")),
        ("a name that leads out", &|layers| {
            let text = layers[0]["annotations"][WHOLE].as_str().unwrap();
            let text = text.replace(":\"f\"", ":\"../f\"");
            said(layers, 0, WHOLE, &text);
        }),
    ];
    for (name, change) in table {
        let failed = changed(change).map(|found| found.len());
        assert!(failed.is_err_and(|e| e.is_corrupt()), "{name}");
    }
}

#[test]
fn parts_of_another_file_are_no_file() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    fs::write(from.path().join("f"), "abcdefgh").unwrap();
    let artifact = made_in_parts(from.path(), &["f"], "3").unwrap();
    let (store, manifest) = stored(&artifact);
    // Every part is what it should be, and the whole is not.
    let right = crate::digest::Digest::of(b"abcdefgh").to_string();
    let wrong = crate::digest::Digest::of(b"other").to_string();
    let text = std::str::from_utf8(manifest.bytes()).unwrap();
    let text = text.replace(&right, &wrong);
    let manifest = Manifest::new(None, text.into_bytes()).unwrap();
    let found = entries(&manifest).unwrap();
    let failed = Pull::new(to.path()).write(&store, &found, Run::default());
    assert!(failed.unwrap_err().is_corrupt());
    assert!(!to.path().join("f").exists());
}

#[test]
fn names_that_clash_are_refused() {
    let at = tempfile::tempdir().unwrap();
    tree(at.path());
    for names in [["a.txt", "a.txt"], ["d/one", "d"]] {
        let failed = made(at.path(), &names).unwrap_err();
        assert!(matches!(failed, Error::Invalid { .. }), "{failed}");
    }
    assert!(made(at.path(), &["d/one", "d/sub"]).is_ok());
    assert!(matches!(made(at.path(), &["none"]), Err(Error::Io { .. })));
}

/// A layer's type, annotations and bytes.
type Foreign<'a> = (&'a str, &'a [(&'a str, &'a str)], Vec<u8>);

/// An artifact of layers as a registry may have them.
fn foreign(layers: &[Foreign<'_>]) -> (Memory, Manifest) {
    foreign_with(&Blob::empty(), layers)
}

fn foreign_with(config: &Blob, layers: &[Foreign<'_>]) -> (Memory, Manifest) {
    let store = Memory::default();
    store.put_blob(config, Watch::default()).unwrap();
    let listed = layers.iter().map(|(kind, said, bytes)| {
        let said = said.iter().map(|(k, v)| (k.to_string(), v.to_string()));
        let blob = Blob::bytes(kind, bytes.clone()).with_annotations(said.collect());
        store.put_blob(&blob, Watch::default()).unwrap();
        blob.descriptor().clone()
    });
    let listed: Vec<_> = listed.collect();
    let manifest = Builder::new(media_type::OCI_MANIFEST)
        .config(config.descriptor())
        .layers(listed)
        .build()
        .unwrap();
    (store, manifest)
}

fn member(name: &str, kind: Kind, link: &str) -> Vec<u8> {
    let size = if kind == Kind::File { 3 } else { 0 };
    let mut entry = crate::tar::Entry::file(name, size);
    entry.kind = kind;
    entry.link = link.as_bytes().to_vec();
    let mut bytes = header(&entry, Dialect::Pax).unwrap();
    if size > 0 {
        bytes.extend(b"abc");
        bytes.resize(bytes.len() + 509, 0);
    }
    bytes
}

fn gzipped(bytes: &[u8]) -> Vec<u8> {
    let mut to = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    to.write_all(bytes).unwrap();
    to.finish().unwrap()
}

fn gzip(members: &[Vec<u8>]) -> Vec<u8> {
    let mut to = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    to.write_all(&members.concat()).unwrap();
    to.write_all(&[0; 1024]).unwrap();
    to.finish().unwrap()
}

#[test]
fn hostile_archives_write_nothing_anywhere() {
    let file = |name| member(name, Kind::File, "");
    let link = |name, to| member(name, Kind::Symlink, to);
    let table: [(&str, Vec<Vec<u8>>); 14] = [
        ("absolute", vec![file("/tmp/dxf-out")]),
        ("upwards", vec![file("d/../../out")]),
        ("beside", vec![file("d/in"), file("out")]),
        ("link upwards", vec![link("d/l", "../out")]),
        ("link absolute", vec![link("d/l", "/etc/passwd")]),
        ("below a link", vec![link("d/l", "."), file("d/l/x")]),
        ("below a file", vec![file("d/f"), file("d/f/x")]),
        ("twice", vec![file("d/f"), file("d/f")]),
        ("over a link", vec![link("d/l", "f"), file("d/l")]),
        (
            "hard link out",
            vec![member("d/h", Kind::HardLink, "/etc/passwd")],
        ),
        (
            "hard link upwards",
            vec![member("d/h", Kind::HardLink, "d/../../x")],
        ),
        (
            "hard link to a link",
            vec![link("d/l", "f"), member("d/h", Kind::HardLink, "d/l")],
        ),
        ("device", vec![member("d/c", Kind::CharDevice, "")]),
        ("pipe", vec![member("d/p", Kind::Fifo, "")]),
    ];
    for (name, members) in table {
        let said = [(TITLE, "d"), (UNPACK, "true")];
        let (store, manifest) = foreign(&[(FOLDER_TYPE, &said, gzip(&members))]);
        let to = tempfile::tempdir().unwrap();
        let out = to.path().join("out");
        let found = entries(&manifest).unwrap();
        let failed = Pull::new(&out).write(&store, &found, Run::default());
        let failed = failed.unwrap_err();
        assert!(failed.is_corrupt(), "{name}: {failed}");
        assert_eq!(fs::read_dir(&out).unwrap().count(), 0, "{name}");
        assert_eq!(fs::read_dir(to.path()).unwrap().count(), 1, "{name}");
    }
}

#[test]
fn hostile_names_are_refused_before_anything_is_fetched() {
    let bytes = || b"abc".to_vec();
    let of = |names: &[&str]| {
        let said: Vec<[(&str, &str); 1]> = names.iter().map(|name| [(TITLE, *name)]).collect();
        let layers: Vec<Foreign<'_>> = said
            .iter()
            .map(|said| ("a/b", &said[..], bytes()))
            .collect();
        entries(&foreign(&layers).1)
    };
    for names in [
        &["../out"][..],
        &["/etc/passwd"],
        &["a/../../b"],
        &[""],
        &["a", "A"],
        &["a", "a"],
        &["a", "a/b"],
        &["a/b", "A"],
    ] {
        assert!(of(names).unwrap_err().is_corrupt(), "{names:?}");
    }
    assert_eq!(of(&["a/b", "a/c"]).unwrap().len(), 2);
}

#[test]
fn what_is_in_the_way_stays() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    tree(from.path());
    let (store, manifest) = stored(&made(from.path(), &["d/one", "a.txt"]).unwrap());
    let found = entries(&manifest).unwrap();
    let out = to.path().join("out");
    let write = |pull: Pull<'_>| pull.write(&store, &found, Run::default());
    fs::create_dir_all(&out).unwrap();
    symlink(to.path(), out.join("d")).unwrap();
    let failed = write(Pull::new(&out)).unwrap_err();
    assert!(failed.to_string().contains("symbolic link"), "{failed}");
    assert!(!to.path().join("one").exists() && !out.join("a.txt").exists());
    fs::remove_file(out.join("d")).unwrap();
    // A link at the place of a file, and something else there.
    symlink(to.path().join("victim"), out.join("a.txt")).unwrap();
    assert!(write(Pull::new(&out)).is_err() && !to.path().join("victim").exists());
    fs::remove_file(out.join("a.txt")).unwrap();
    fs::write(out.join("a.txt"), "other").unwrap();
    let failed = write(Pull::new(&out).without_replacing()).unwrap_err();
    assert!(matches!(failed, Error::NotAllowed { .. }), "{failed}");
    assert_eq!(fs::read(out.join("a.txt")).unwrap(), b"other");
    write(Pull::new(&out)).unwrap();
    assert_eq!(fs::read(out.join("a.txt")).unwrap(), b"alpha");
    // The same is not a conflict.
    write(Pull::new(&out).without_replacing()).unwrap();
}

#[test]
fn a_tar_that_is_not_the_promised_one_is_told() {
    let wrong = crate::digest::Digest::of(b"other").to_string();
    let said = [
        (TITLE, "d"),
        (UNPACK, "true"),
        (CONTENT_DIGEST, wrong.as_str()),
    ];
    let layer = gzip(&[member("d/f", Kind::File, "")]);
    let (store, manifest) = foreign(&[(FOLDER_TYPE, &said, layer)]);
    let to = tempfile::tempdir().unwrap();
    let found = entries(&manifest).unwrap();
    let failed = Pull::new(to.path()).write(&store, &found, Run::default());
    assert!(matches!(failed, Err(Error::Mismatch { .. })));
    assert_eq!(fs::read_dir(to.path()).unwrap().count(), 0);
}

#[test]
fn every_dialect_gives_names() {
    let tar = |root: &str| gzip(&[member(&format!("{root}f"), Kind::File, "")]);
    let executable = json!({"name": "bin", "mode": 0o755}).to_string();
    let (store, manifest) = foreign(&[
        // oras-py: a folder by what is in it; a file that is a tar by its name.
        (FOLDER_TYPE, &[(TITLE, "py")], tar("py/")),
        (FOLDER_TYPE, &[(TITLE, "kept")], tar("other/")),
        (FOLDER_TYPE, &[(TITLE, "kept.tar.gz")], tar("kept.tar.gz/")),
        // regctl: a folder by the end of its name.
        ("text/x", &[(TITLE, "reg/")], tar("")),
        // ModelPack: names and modes of its own.
        (
            "application/vnd.cncf.model.weight.v1.raw",
            &[(FILE_PATH, "w/bin"), (FILE_METADATA, &executable)],
            b"abc".to_vec(),
        ),
        (
            "application/vnd.cncf.model.doc.v1.tar",
            &[(FILE_PATH, "docs")],
            [member("docs/f", Kind::File, ""), vec![0; 1024]].concat(),
        ),
        // No name at all.
        ("application/json", &[], b"{}".to_vec()),
    ]);
    let found = entries(&manifest).unwrap();
    assert_eq!(found.iter().filter(|entry| !entry.is_named).count(), 1);
    assert!(found[6].name.ends_with(".json") && found[6].name.len() == 17);
    let to = tempfile::tempdir().unwrap();
    Pull::new(to.path())
        .write(&store, &found, Run::default())
        .unwrap();
    for name in ["py/f", "reg/f", "docs/f", "w/bin"] {
        assert_eq!(fs::read(to.path().join(name)).unwrap(), b"abc", "{name}");
    }
    assert!(to.path().join("kept").is_file() && to.path().join("kept.tar.gz").is_file());
    let mode = fs::metadata(to.path().join("w/bin"))
        .unwrap()
        .permissions()
        .mode();
    assert_ne!(mode & 0o100, 0);
}

#[test]
fn a_chart_has_the_name_that_helm_gives_it() {
    let chart = Blob::bytes(
        "application/vnd.cncf.helm.chart.content.v1.tar+gzip",
        vec![1],
    );
    let config = Blob::bytes("application/vnd.cncf.helm.config.v1+json", b"{}".to_vec());
    let said = [
        (TITLE, "../app"),
        ("org.opencontainers.image.version", "1.2.0"),
    ];
    let said: BTreeMap<String, String> = said.map(|(k, v)| (k.into(), v.into())).into();
    let artifact = Artifact::untyped(vec![chart])
        .with_config(config)
        .with_annotations(said);
    let found = entries(artifact.image().unwrap().manifest()).unwrap();
    assert_eq!(found[0].name, ".._app-1.2.0.tgz");
}

#[test]
fn a_docker_model_has_the_names_that_its_runner_gives() {
    let names = |kinds: &[&str]| -> Vec<String> {
        let layers = kinds.iter().enumerate();
        let layers = layers.map(|(n, kind)| {
            Blob::bytes(&format!("application/vnd.docker.ai.{kind}"), vec![n as u8])
        });
        let config = "application/vnd.docker.ai.model.config.v0.1+json";
        let config = Blob::bytes(config, b"{}".to_vec());
        let model = Artifact::untyped(layers.collect()).with_config(config);
        let found = entries(model.image().unwrap().manifest()).unwrap();
        found.into_iter().map(|entry| entry.name).collect()
    };
    assert_eq!(
        names(&["gguf.v3", "mmproj", "chat.template.jinja"]),
        ["model.gguf", "model.mmproj", "template.jinja"]
    );
    assert_eq!(
        names(&["safetensors", "license", "safetensors"])[..3]
            .iter()
            .step_by(2)
            .collect::<Vec<_>>(),
        [
            "model-00001-of-00002.safetensors",
            "model-00002-of-00002.safetensors"
        ]
    );
}

/// A tar of files with these names.
fn tar_of(names: &[&str]) -> Vec<u8> {
    let kind = |name: &&str| match name.ends_with('/') {
        true => Kind::Directory,
        false => Kind::File,
    };
    let members: Vec<Vec<u8>> = names.iter().map(|n| member(n, kind(n), "")).collect();
    [members.concat(), vec![0; 1024]].concat()
}

/// Every file below a folder, sorted.
fn all_below(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut left = vec![folder.to_path_buf()];
    while let Some(next) = left.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() && !path.is_symlink() {
                true => left.push(path),
                false => {
                    let name = path.strip_prefix(folder).unwrap();
                    found.push(name.display().to_string());
                }
            }
        }
    }
    found.sort();
    found
}

/// What becomes of an artifact: its names, and the files that are written.
fn pulled(config: (&str, serde_json::Value), layers: &[Foreign<'_>]) -> (Vec<String>, Vec<String>) {
    let config = Blob::bytes(config.0, config.1.to_string().into_bytes());
    let (store, manifest) = foreign_with(&config, layers);
    let found = entries_in(&store, &manifest).unwrap();
    let to = tempfile::tempdir().unwrap();
    let pull = Pull::new(to.path());
    pull.write(&store, &found, Run::default()).unwrap();
    // An existing file with the same bytes is no reason to refuse.
    let again = pull.without_replacing();
    again.write(&store, &found, Run::default()).unwrap();
    let names = found.iter().map(|entry| entry.name.clone()).collect();
    (names, all_below(to.path()))
}

#[test]
fn kitops_layers_go_where_the_kitfile_says() {
    let kit = |kind: &str| format!("application/vnd.kitops.modelkit.{kind}");
    let (model, data, code, docs) = (
        kit("model.v1.tar+gzip"),
        kit("dataset.v1.tar"),
        kit("code.v1.tar+zstd"),
        kit("docs.v1.tar"),
    );
    let (config, none) = (kit("config.v1+json"), &[][..]);
    // Before 1.3: names from the folder that the path is in, in the order of kinds.
    let old = json!({"manifestVersion": "1.0.0", "model": {"path": "./models/m.gguf"},
        "datasets": [{"path": "data/one"}, {"path": "data/two"}], "code": [{"path": "."}]});
    let zstd = |bytes: &[u8]| zstd::encode_all(bytes, 1).unwrap();
    let (names, files) = pulled(
        (&config, old),
        &[
            (&data, none, tar_of(&["one/", "one/a"])),
            (&model, none, zstd(&tar_of(&["m.gguf"]))),
            (&data, none, tar_of(&["two/", "two/b"])),
            (&code, none, zstd(&tar_of(&["run.py"]))),
        ],
    );
    assert_eq!(names, ["data/one", "models/m.gguf", "data/two", "."]);
    assert_eq!(
        files,
        ["data/one/a", "data/two/b", "models/m.gguf", "run.py"]
    );
    // Now: from the top, the folders above included; found by their digests.
    let (one, two) = (tar_of(&["docs/", "docs/a"]), tar_of(&["docs/", "docs/b"]));
    let digest = |bytes: &[u8]| crate::Digest::of(bytes).to_string();
    let new = json!({"docs": [{"path": "docs/b", "digest": digest(&two)},
        {"path": "docs/a", "digest": digest(&one)}], "code": "nonsense"});
    let (names, files) = pulled((&config, new), &[(&docs, none, one), (&docs, none, two)]);
    assert_eq!(names, ["docs/a", "docs/b"]);
    assert_eq!(files, names);
    // Files alone, compressed or not; newer ones say their path themselves.
    let (raw, packed) = (kit("model.v1.raw"), kit("docs.v1.raw+gzip"));
    let other = kit("code.v1.raw+zstd");
    let kitfile = json!({"model": {"path": "w/m.bin"}, "docs": [{"path": "d/README"}]});
    let (config, run) = (kit("config.v1+json"), [(FILE_PATH, "run.py")]);
    let layers = [
        (&raw[..], none, b"abc".to_vec()),
        (&packed[..], none, gzipped(b"read me")),
        (&other[..], &run[..], zstd(b"run me")),
    ];
    let (names, files) = pulled((&config, kitfile.clone()), &layers);
    assert_eq!(names, ["w/m.bin", "d/README", "run.py"]);
    assert_eq!(files, ["d/README", "run.py", "w/m.bin"]);
    let (store, manifest) = foreign_with(
        &Blob::bytes(&config, kitfile.to_string().into_bytes()),
        &layers,
    );
    let to = tempfile::tempdir().unwrap();
    let found = entries_in(&store, &manifest).unwrap();
    let pull = Pull::new(to.path());
    pull.write(&store, &found, Run::default()).unwrap();
    assert_eq!(fs::read(to.path().join("d/README")).unwrap(), b"read me");
    assert_eq!(fs::read(to.path().join("run.py")).unwrap(), b"run me");
    // A config that says nothing.
    let (names, files) = pulled((&config, json!([])), &[(&docs, none, b"abc".to_vec())]);
    assert!(names == files && names[0].ends_with(".tar"), "{names:?}");
}

#[test]
fn archives_of_flux_and_docker_have_names_from_the_top() {
    let none = &[][..];
    let flux = "application/vnd.cncf.flux.content.v1.tar+gzip";
    let config = ("application/vnd.cncf.flux.config.v1+json", json!({}));
    let content = gzip(&[
        member("./apps/", Kind::Directory, ""),
        member("./apps/a.yaml", Kind::File, ""),
    ]);
    let (names, files) = pulled(config, &[(flux, none, content)]);
    assert_eq!(
        (names, files),
        (vec![".".into()], vec!["apps/a.yaml".into()])
    );
    let config = (
        "application/vnd.docker.ai.model.config.v0.1+json",
        json!({}),
    );
    let kind = |name: &str| format!("application/vnd.docker.ai.{name}");
    let (names, files) = pulled(
        config,
        &[
            (&kind("safetensors"), none, b"abc".to_vec()),
            (&kind("vllm.config.tar"), none, tar_of(&["config.json"])),
            (&kind("dir.tar"), none, tar_of(&["d/", "d/x"])),
            (
                &kind("dir.tar"),
                &[(FILE_PATH, "sub/e")],
                tar_of(&["e/", "e/y"]),
            ),
        ],
    );
    assert_eq!(names, ["model.safetensors", ".", ".", "sub/e"]);
    assert_eq!(
        files,
        ["config.json", "d/x", "model.safetensors", "sub/e/y"]
    );
}

#[test]
fn an_archive_of_one_file_is_that_file() {
    let kind = "application/vnd.cncf.model.weight.v1.tar";
    let config = ("application/vnd.cncf.model.config.v1+json", json!({}));
    for name in ["w/model.gguf", "model.gguf"] {
        let layer = (kind, &[(FILE_PATH, "w/model.gguf")][..], tar_of(&[name]));
        let (names, files) = pulled((config.0, config.1.clone()), &[layer]);
        assert_eq!(
            (names, files),
            (vec!["w/model.gguf".into()], vec!["w/model.gguf".into()])
        );
    }
}

#[test]
fn archives_from_the_top_stay_at_their_name() {
    let kind = "application/vnd.cncf.model.doc.v1.tar";
    let end = || vec![0; 1024];
    for (name, bytes, why) in [
        ("docs", tar_of(&["docs/a", "other/b"]), "outside the folder"),
        ("a/docs", tar_of(&["a/docs/a", "a"]), "outside the folder"),
        ("docs", tar_of(&["../docs/a"]), "points outside"),
        (
            ".",
            [member("l", Kind::Symlink, "../x"), end()].concat(),
            "points outside",
        ),
        (
            "d",
            [member("d/l", Kind::HardLink, "/etc/passwd"), end()].concat(),
            "not in the folder",
        ),
        (
            ".",
            [
                member("l", Kind::Symlink, "."),
                member("l/x", Kind::File, ""),
                end(),
            ]
            .concat(),
            "below a file or a link",
        ),
    ] {
        let (store, manifest) = foreign(&[(kind, &[(FILE_PATH, name)], bytes)]);
        let to = tempfile::tempdir().unwrap();
        let found = entries(&manifest).unwrap();
        let failed = Pull::new(to.path()).write(&store, &found, Run::default());
        let failed = failed.unwrap_err();
        assert!(
            failed.is_corrupt() && failed.to_string().contains(why),
            "{failed}"
        );
        assert_eq!(fs::read_dir(to.path()).unwrap().count(), 0, "{why}");
    }
    // A file that differs stays, and so does everything else.
    let layer = (kind, &[(FILE_PATH, ".")][..], tar_of(&["a", "b"]));
    let (store, manifest) = foreign(&[layer]);
    let to = tempfile::tempdir().unwrap();
    fs::write(to.path().join("b"), "mine").unwrap();
    let (found, pull) = (entries(&manifest).unwrap(), Pull::new(to.path()));
    let kept = pull.without_replacing();
    let kept = kept.write(&store, &found, Run::default()).unwrap_err();
    assert!(matches!(kept, Error::NotAllowed { .. }), "{kept}");
    assert_eq!(all_below(to.path()), ["b"]);
    assert_eq!(fs::read(to.path().join("b")).unwrap(), b"mine");
    pull.write(&store, &found, Run::default()).unwrap();
    assert_eq!(fs::read(to.path().join("b")).unwrap(), b"abc");
}

/// Which of them came last would decide it.
#[test]
fn layers_that_differ_on_a_file_are_refused() {
    let kind = "application/vnd.cncf.model.code.v1.tar";
    let (top, none) = (&[(FILE_PATH, ".")][..], &[(FILE_PATH, "d/a")][..]);
    let same = || tar_of(&["d/", "d/a", "b"]);
    let other = || {
        let mut bytes = tar_of(&["d/", "d/a"]);
        let at = bytes.windows(3).rposition(|three| three == b"abc").unwrap();
        bytes[at] = b'x';
        bytes
    };
    let raw = "application/vnd.cncf.model.code.v1.raw";
    for (layers, is_good) in [
        ([(kind, top, same()), (kind, top, same())], true),
        ([(kind, top, same()), (kind, top, other())], false),
        ([(kind, top, same()), (raw, none, b"abc".to_vec())], true),
        ([(kind, top, same()), (raw, none, b"xyz".to_vec())], false),
    ] {
        let (store, manifest) = foreign(&layers);
        let to = tempfile::tempdir().unwrap();
        let found = entries(&manifest).unwrap();
        let done = Pull::new(to.path()).write(&store, &found, Run::default());
        match done {
            Ok(_) => assert!(is_good),
            Err(error) => {
                assert!(!is_good && error.is_corrupt(), "{error}");
                let said = error.to_string();
                assert!(said.contains("d/a: another layer"), "{said}");
            }
        }
    }
}

#[test]
fn a_chart_without_annotations_has_its_name_in_the_config() {
    let kind = "application/vnd.cncf.helm.chart.";
    let config = json!({"name": "app", "version": "1.0.0"});
    let (names, files) = pulled(
        ("application/vnd.cncf.helm.config.v1+json", config),
        &[
            (&format!("{kind}content.v1.tar+gzip"), &[], vec![1]),
            (&format!("{kind}provenance.v1.prov"), &[], vec![2]),
        ],
    );
    assert_eq!(names, ["app-1.0.0.tgz", "app-1.0.0.tgz.prov"]);
    assert_eq!(files, names);
}

#[test]
fn what_is_no_artifact_of_files_is_told() {
    let image = crate::image::tests::image(&[]);
    let failed = entries(image.manifest()).unwrap_err().to_string();
    assert!(failed.contains("pull-image"), "{failed}");
    let alias = Manifest::alias(&[Blob::bytes("", b"x".to_vec()).descriptor().clone()]).unwrap();
    assert_eq!(entries(&alias).unwrap().len(), 1);
    assert!(
        entries(Artifact::untyped(Vec::new()).image().unwrap().manifest())
            .unwrap()
            .is_empty()
    );
}
