//! Archives written and read again, and those of other tools rebuilt by hand.

use std::io::{Read, Write};
use std::path::Path;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::blob::{Blob, Bytes};
use crate::descriptor::Descriptor;
use crate::digest::Digest;
use crate::file::Spool;
use crate::image::tests::{Made, image, image_for, index as index_of};
use crate::image::{self, Image, LayerType, check};
use crate::manifest::Manifest;
use crate::platform::Platform;
use crate::reference::Target;
use crate::store::ReadStore;
use crate::stream::{Stop, Watch};

fn with_run<T>(work: impl FnOnce(Run<'_>) -> T) -> T {
    let stop = Stop::new();
    work(Run::new(3, Watch::new(&(), &stop)))
}

fn names(words: &[&str]) -> Vec<Reference> {
    words.iter().map(|word| word.parse().unwrap()).collect()
}

fn platform() -> Platform {
    "linux/amd64".parse().unwrap()
}

fn settings<'a>(form: Form, folder: &'a Path, platform: &'a Platform) -> WriteOptions<'a> {
    WriteOptions {
        form,
        platform: Some(platform),
        folder,
    }
}

/// The archive as a file and as a stream, which are the same bytes.
fn written(items: &[Item], form: Form) -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let (path, platform) = (dir.path().join("a.tar"), platform());
    let settings = settings(form, dir.path(), &platform);
    with_run(|run| write(items, Out::File(&path), &settings, run)).unwrap();
    let mut stream = Vec::new();
    with_run(|run| write(items, Out::Stream(&mut stream), &settings, run)).unwrap();
    let file = std::fs::read(&path).unwrap();
    assert!(file == stream);
    assert_eq!(dir.path().read_dir().unwrap().count(), 1);
    file
}

fn read_bytes(bytes: &[u8]) -> Result<Vec<Item>> {
    with_run(|run| read_stream("it.tar", bytes, &std::env::temp_dir(), run))
}

fn checked(node: &Node) {
    for (_, image) in node.images() {
        with_run(|run| check(image, run)).unwrap();
    }
}

fn listed(bytes: &[u8]) -> Value {
    json_in(bytes, docker::LIST)
}

/// A document of an archive.
fn json_in(bytes: &[u8], name: &str) -> Value {
    let mut spool = Spool::new(&std::env::temp_dir()).unwrap();
    spool.write_all(bytes).unwrap();
    let index = Index::new("it.tar", &spool.finish(), &Stop::new()).unwrap();
    serde_json::from_slice(&index.bytes(name, 1 << 20).unwrap()).unwrap()
}

fn sample() -> Image {
    image(&[
        Made::Gzip(b"base"),
        Made::Zstd(b"middle"),
        Made::Plain(b"top"),
        Made::Gzip(b"base"),
    ])
}

#[test]
fn hybrid_keeps_every_digest_and_is_the_same_twice() {
    let multi = Node::Index(index_of(&[
        image_for("linux/arm64", &[Made::Gzip(b"base"), Made::Gzip(b"arm")]),
        image_for("linux/amd64", &[Made::Gzip(b"base"), Made::Gzip(b"intel")]),
        image_for("windows/amd64", &[Made::Gzip(b"win")]),
    ]));
    let items = [
        Item::new(
            names(&["docker.io/library/app:1", "r.example:5000/app:2"]),
            Node::Image(sample()),
        ),
        Item::new(names(&["me/multi:x"]), multi),
    ];
    let bytes = written(&items, Form::Hybrid);
    assert!(bytes == written(&items, Form::Hybrid));
    let again = read_bytes(&bytes).unwrap();
    assert_eq!(again.len(), 2);
    for (before, after) in items.iter().zip(&again) {
        assert_eq!(after.node.manifest(), before.node.manifest());
        assert_eq!(after.provenance, Provenance::Original);
        checked(&after.node);
    }
    assert!(
        again[0].is_called("app:1")
            && again[0].is_called("1")
            && again[0].is_called("r.example:5000/app:2")
    );
    assert!(again[1].is_called("docker.io/me/multi:x") && !again[1].is_called("app:1"));
    let list = listed(&bytes);
    assert_eq!(
        list[0]["RepoTags"],
        json!(["app:1", "r.example:5000/app:2"])
    );
    // The fitting image has the name, the windows one would break `docker load`.
    assert_eq!(
        (&list[1]["RepoTags"], &list[2]["RepoTags"]),
        (&Value::Null, &json!(["me/multi:x"]))
    );
    assert_eq!(list.as_array().unwrap().len(), 3);
}

/// `image` once more, as a referrer of `subject`.
fn referrer(image: &Image, subject: &Descriptor) -> Image {
    let mut document: Value = serde_json::from_slice(image.manifest().bytes()).unwrap();
    document["subject"] = json!(subject);
    let manifest = Manifest::new(None, document.to_string().into_bytes()).unwrap();
    Image::new(
        manifest,
        image.config_blob().clone(),
        image.layers().to_vec(),
    )
    .unwrap()
}

#[test]
fn an_archive_is_a_store_to_read_from() {
    let multi = index_of(&[
        image_for("linux/arm64", &[Made::Gzip(b"arm")]),
        image_for("linux/amd64", &[Made::Gzip(b"intel")]),
    ]);
    let one = sample();
    let subject = one.manifest().descriptor();
    let signature = referrer(&image(&[Made::Gzip(b"signature")]), &subject);
    let child = multi.children()[1].descriptor.digest;
    let items = [
        Item::new(
            names(&["app:1", "r.example:5000/app:2"]),
            Node::Image(one.clone()),
        ),
        Item::new(names(&["me/multi:x"]), Node::Index(multi)),
        Item::new(Vec::new(), Node::Image(signature.clone())),
    ];
    let open = |form, items| {
        let bytes = written(items, form);
        with_run(|run| open_stream("it.tar", &bytes[..], &std::env::temp_dir(), run)).unwrap()
    };
    let archive = open(Form::Hybrid, &items);
    let tags: Result<Vec<String>> = archive.tags().map(|tag| Ok(tag?.to_string())).collect();
    assert_eq!(tags.unwrap(), ["1", "2", "x"]);
    let tag = |word: &str| Target::Tag(word.parse().unwrap());
    for word in ["1", "2"] {
        assert_eq!(archive.manifest(&tag(word)).unwrap(), *one.manifest());
        assert_eq!(
            archive.head(&tag(word)).unwrap().unwrap().digest,
            subject.digest
        );
    }
    let below = archive.manifest(&Target::Digest(child)).unwrap();
    assert_eq!(below.digest(), child);
    let found = archive.referrers(&subject.digest).unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].digest, signature.manifest().digest());
    assert!(archive.head(&tag("y")).unwrap().is_none());
    assert!(archive.manifest(&tag("y")).is_err_and(|e| e.is_not_found()));

    // One of Docker's has no manifest but the one that is made.
    let archive = open(Form::Docker, &items[..1]);
    let made = archive.manifest(&tag("1")).unwrap().image().unwrap();
    for blob in made.layers.iter().chain([&made.config]) {
        assert_eq!(archive.blob_size(&blob.digest).unwrap(), Some(blob.size));
        let mut bytes = Vec::new();
        let mut whole = archive.pull_blob(&blob.digest, None).unwrap().reader;
        whole.read_to_end(&mut bytes).unwrap();
        let mut rest = Vec::new();
        let mut reader = archive.open_blob(&blob.digest, 1).unwrap().reader;
        reader.read_to_end(&mut rest).unwrap();
        assert_eq!(rest, bytes[1..]);
    }
    assert_eq!(archive.items()[0].provenance, Provenance::Made);
}

#[test]
fn labels_beside_names_are_kept() {
    let mut item = Item::new(names(&["app:1"]), Node::Image(sample()));
    item.labels = vec!["1".to_string(), "extra".to_string()];
    let bytes = written(&[item], Form::Hybrid);
    assert_eq!(listed(&bytes).as_array().unwrap().len(), 1);
    let again = read_bytes(&bytes).unwrap();
    assert_eq!(again.len(), 1);
    for name in ["app:1", "1", "extra"] {
        assert!(again[0].is_called(name), "{name}");
    }
    let entries = json_in(&bytes, "index.json");
    assert_eq!(entries["manifests"].as_array().unwrap().len(), 2);
}

#[test]
fn no_name_is_invented() {
    let bytes = written(
        &[Item::new(names(&["app"]), Node::Image(sample()))],
        Form::Hybrid,
    );
    assert_eq!(listed(&bytes)[0]["RepoTags"], Value::Null);
    let again = read_bytes(&bytes).unwrap();
    assert!(again[0].names.is_empty() && again[0].labels.is_empty());
}

#[test]
fn what_no_engine_loads_is_not_offered_to_one() {
    let blob = Blob::bytes("application/octet-stream", b"abc".to_vec());
    let alias = crate::Manifest::alias(&[blob.descriptor().clone()]).unwrap();
    let node = Node::Image(Image::new(alias, blob.clone(), vec![blob]).unwrap());
    let items = [Item::new(vec![], node)];
    let bytes = written(&items, Form::Hybrid);
    let again = read_bytes(&bytes).unwrap();
    assert_eq!(again[0].node.manifest(), items[0].node.manifest());
    let (dir, platform) = (tempfile::tempdir().unwrap(), platform());
    let settings = settings(Form::Docker, dir.path(), &platform);
    let refused = with_run(|run| write(&items, Out::Stream(&mut Vec::new()), &settings, run));
    assert!(matches!(refused, Err(Error::Unsupported { .. })));
}

#[test]
fn docker_form_has_plain_layers_and_the_same_config() {
    let items = [Item::new(names(&["app:1"]), Node::Image(sample()))];
    let bytes = written(&items, Form::Docker);
    let again = read_bytes(&bytes).unwrap();
    assert_eq!(again[0].provenance, Provenance::Made);
    checked(&again[0].node);
    let (Node::Image(before), Node::Image(after)) = (&items[0].node, &again[0].node) else {
        panic!()
    };
    assert_eq!(after.config_blob().digest(), before.config_blob().digest());
    for layer in after.layers() {
        let kind = LayerType::parse(&layer.descriptor().media_type).unwrap();
        assert_eq!(kind.compression, Compression::None);
    }
    assert!(again[0].is_called("docker.io/library/app:1"));
}

#[test]
fn compressed_archives_are_read_too() {
    let items = [Item::new(names(&["app:1"]), Node::Image(sample()))];
    let plain = written(&items, Form::Hybrid);
    let mut gzip = Vec::new();
    image::gzip::compress(&plain[..], &mut gzip, 2, &Stop::new()).unwrap();
    let zstd = zstd::encode_all(&plain[..], 3).unwrap();
    let dir = tempfile::tempdir().unwrap();
    for bytes in [plain, gzip, zstd] {
        let path = dir.path().join("f");
        std::fs::write(&path, &bytes).unwrap();
        let again = with_run(|run| read(&path, dir.path(), run)).unwrap();
        assert_eq!(again[0].node.manifest(), items[0].node.manifest());
        checked(&again[0].node);
        assert_eq!(dir.path().read_dir().unwrap().count(), 1);
    }
}

#[test]
fn a_blob_that_lies_leaves_nothing() {
    let good = sample();
    let mut layers = good.layers().to_vec();
    layers[1] = Blob::new(layers[1].descriptor().clone(), Bytes(b"wrong".to_vec()));
    let bad = Image::new(good.manifest().clone(), good.config_blob().clone(), layers).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let (path, platform) = (dir.path().join("a.tar"), platform());
    std::fs::write(&path, b"old").unwrap();
    for form in [Form::Hybrid, Form::Docker] {
        let items = [Item::new(vec![], Node::Image(bad.clone()))];
        let settings = settings(form, dir.path(), &platform);
        let failed = with_run(|run| write(&items, Out::File(&path), &settings, run));
        assert!(failed.is_err_and(|e| e.is_corrupt()));
        assert_eq!(std::fs::read(&path).unwrap(), b"old");
        assert_eq!(dir.path().read_dir().unwrap().count(), 1);
    }
}

#[test]
fn folders_links_and_pipes_as_output() {
    let dir = tempfile::tempdir().unwrap();
    let (root, platform) = (dir.path(), platform());
    let items = [Item::new(vec![], Node::Image(sample()))];
    let settings = settings(Form::Hybrid, root, &platform);
    let to = |path: &Path| with_run(|run| write(&items, Out::File(path), &settings, run));
    assert!(matches!(to(root), Err(Error::Io { .. })));
    assert!(matches!(
        to(&root.join("no/such/folder.tar")),
        Err(Error::Io { .. })
    ));
    std::fs::write(root.join("real"), b"old").unwrap();
    std::os::unix::fs::symlink("real", root.join("link")).unwrap();
    to(&root.join("link")).unwrap();
    assert!(root.join("link").is_symlink());
    assert!(std::fs::metadata(root.join("real")).unwrap().len() > 5000);
    to(Path::new("/dev/null")).unwrap();
    assert!(!std::fs::metadata("/dev/null").unwrap().is_file());
    assert_eq!(root.read_dir().unwrap().count(), 2);
}

/// A tar of members given by name, content, and link target.
fn tar(members: &[(&str, &[u8], &str)]) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, content, link) in members {
        let mut header = ::tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        if !link.is_empty() {
            header.set_entry_type(::tar::EntryType::Symlink);
            header.as_old_mut().linkname[..link.len()].copy_from_slice(link.as_bytes());
        }
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_cksum();
        out.extend(header.as_bytes());
        out.extend(*content);
        out.extend(&crate::tar::END[..crate::tar::padding(content.len() as u64)]);
    }
    out.extend(crate::tar::END);
    out
}

fn config(layers: &[&[u8]]) -> Vec<u8> {
    let ids: Vec<_> = layers.iter().map(|l| Digest::of(l)).collect();
    json!({"os": "linux", "architecture": "amd64", "rootfs": {"type": "layers", "diff_ids": ids}})
        .to_string()
        .into_bytes()
}

fn list(config: &str, layers: &[&str], tags: Value) -> Vec<u8> {
    json!([{"Config": config, "RepoTags": tags, "Layers": layers}])
        .to_string()
        .into_bytes()
}

fn gz(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    image::gzip::compress(bytes, &mut out, 1, &Stop::new()).unwrap();
    out
}

#[test]
fn archives_of_other_tools() {
    let conf = config(&[b"one", b"two"]);
    let hex = Digest::of(&conf).hex();
    let (docker, crane) = (format!("{hex}.json"), format!("sha256:{hex}"));
    let (z1, z2) = (gz(b"one"), gz(b"two"));
    let (n1, n2) = (
        format!("{}.tar.gz", Digest::of(&z1).hex()),
        format!("{}.tar.gz", Digest::of(&z2).hex()),
    );
    let old_docker = tar(&[
        ("a/layer.tar", b"one", ""),
        ("b/layer.tar", b"", "../c.tar"),
        ("c.tar", b"two", ""),
        (&docker, &conf, ""),
        (
            "manifest.json",
            &list(&docker, &["a/layer.tar", "b/layer.tar"], json!(["app:1"])),
            "",
        ),
        ("repositories", b"{}", ""),
    ]);
    let crane = tar(&[
        (&crane, &conf, ""),
        (&n1, &z1, ""),
        (&n2, &z2, ""),
        (
            "manifest.json",
            &list(&crane, &[&n1, &n2], json!(["app:1", "bad:sha256:x"])),
            "",
        ),
    ]);
    // crpy: gzip under the name of a plain layer, everything below `./`.
    let crpy = tar(&[
        (&format!("./{docker}"), &conf, ""),
        ("./a/layer.tar", &z1, ""),
        ("./b/layer.tar", &z2, ""),
        (
            "./manifest.json",
            &list(&docker, &["a/layer.tar", "b/layer.tar"], json!(["app:1"])),
            "",
        ),
    ]);
    for bytes in [old_docker, crane, crpy] {
        let items = read_bytes(&bytes).unwrap();
        assert_eq!((items.len(), items[0].names.len()), (1, 1));
        assert!(items[0].is_called("app:1"));
        assert_eq!(items[0].provenance, Provenance::Made);
        checked(&items[0].node);
    }
}

/// Docker since 25: new manifests of plain layers, beside the old lists.
#[test]
fn an_engines_own_layout_may_be_compressed() {
    let image = image(&[Made::Plain(b"one")]);
    let bytes = written(
        &[Item::new(names(&["app:1"]), Node::Image(image))],
        Form::Hybrid,
    );
    let mut members = Vec::new();
    for entry in crate::tar::Entries::new("t", &bytes[..]) {
        let entry = entry.unwrap();
        let content = bytes[entry.offset as usize..][..entry.size as usize].to_vec();
        members.push((entry.name().into_owned(), content));
    }
    members.push(("repositories".into(), b"{}".to_vec()));
    let members: Vec<_> = members
        .iter()
        .map(|(n, c)| (n.as_str(), c.as_slice(), ""))
        .collect();
    let items = read_bytes(&tar(&members)).unwrap();
    assert_eq!((items.len(), items[0].provenance), (1, Provenance::Made));
}

/// Docker's containerd store saves the index of all platforms and the blobs of
/// one.
#[test]
fn an_index_of_which_one_platform_was_saved() {
    let (arm, intel) = (
        image_for("linux/arm64", &[Made::Gzip(b"a")]),
        image_for("linux/amd64", &[Made::Gzip(b"i")]),
    );
    let whole = Node::Index(index_of(&[arm.clone(), intel]));
    let bytes = written(&[Item::new(names(&["app:1"]), whole)], Form::Hybrid);
    let gone = arm.layers()[0].digest().hex();
    let manifest = arm.manifest().digest().hex();
    let mut kept = Vec::new();
    for entry in crate::tar::Entries::new("t", &bytes[..]) {
        let entry = entry.unwrap();
        if !entry.name().contains(&gone) && !entry.name().contains(&manifest) {
            let content = bytes[entry.offset as usize..][..entry.size as usize].to_vec();
            kept.push((entry.name().into_owned(), content));
        }
    }
    let kept: Vec<_> = kept
        .iter()
        .map(|(n, c)| (n.as_str(), c.as_slice(), ""))
        .collect();
    let items = read_bytes(&tar(&kept)).unwrap();
    assert_eq!(items.len(), 1);
    let Node::Image(image) = &items[0].node else {
        panic!()
    };
    assert_eq!(
        image.config().unwrap().platform().to_string(),
        "linux/amd64"
    );
    assert!(items[0].is_called("app:1"));
}

#[test]
fn a_layer_kept_elsewhere_is_named() {
    let kind = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip";
    let mut foreign = Descriptor::new(kind, Digest::of(b"far"), 3);
    foreign
        .rest
        .insert("urls".into(), json!(["https://mcr.example/x"]));
    let conf = Blob::bytes(
        crate::descriptor::media_type::DOCKER_CONFIG,
        config(&[b"far"]),
    );
    let manifest =
        json!({"schemaVersion": 2, "config": conf.descriptor(), "layers": [foreign]}).to_string();
    let top = json!({"manifests": [Descriptor::new("", Digest::of(manifest.as_bytes()), manifest.len() as u64)]});
    let name = |bytes: &[u8]| oci::blob_name(&Digest::of(bytes));
    let conf_bytes = conf.read(9999).unwrap();
    let bytes = tar(&[
        ("index.json", top.to_string().as_bytes(), ""),
        (&name(manifest.as_bytes()), manifest.as_bytes(), ""),
        (&name(&conf_bytes), &conf_bytes, ""),
    ]);
    let items = read_bytes(&bytes).unwrap();
    let (dir, platform) = (tempfile::tempdir().unwrap(), platform());
    let settings = settings(Form::Hybrid, dir.path(), &platform);
    let failed =
        with_run(|run| write(&items, Out::Stream(&mut Vec::new()), &settings, run)).unwrap_err();
    assert!(
        failed.to_string().contains("https://mcr.example/x"),
        "{failed}"
    );
}

#[test]
fn hostile_archives_are_malformed() {
    let conf = config(&[b"one"]);
    let name = format!("{}.json", Digest::of(&conf).hex());
    let one = |config: &str, layers: &[&str], content: &[u8]| {
        let list = list(config, layers, Value::Null);
        read_bytes(&tar(&[
            (config, content, ""),
            ("l.tar", b"one", ""),
            ("manifest.json", &list, ""),
        ]))
    };
    assert!(one(&name, &["l.tar"], &conf).is_ok());
    let many = vec!["l.tar"; 5000];
    for (config, layers, content) in [
        (name.as_str(), vec!["../../etc/passwd"], &conf[..]),
        (&name, vec!["/etc/passwd"], &conf),
        (&name, vec!["missing.tar"], &conf),
        (&name, vec![], &conf),
        (&name, vec!["l.tar", "l.tar"], &conf),
        (&name, many, &conf),
        (&name, vec!["l.tar"], b"{}  "),
        ("c.json", vec!["l.tar"], b"not json"),
    ] {
        let refused = one(config, &layers, content);
        assert!(
            refused.is_err_and(|e| e.is_corrupt()),
            "{config} {layers:?}"
        );
    }
    for bytes in [
        &b""[..],
        b"no archive",
        &tar(&[("x", b"1", "")]),
        &gz(b"no tar"),
    ] {
        assert!(read_bytes(bytes).is_err_and(|e| e.is_corrupt()));
    }
    let old = tar(&[("repositories", b"{}", "")]);
    assert!(matches!(read_bytes(&old), Err(Error::Unsupported { .. })));
    let top = json!({"manifests": [Descriptor::new("", Digest::of(b"x"), 1)]}).to_string();
    assert!(read_bytes(&tar(&[("index.json", top.as_bytes(), "")])).is_err_and(|e| e.is_corrupt()));
    let wrong_size = tar(&[
        ("index.json", top.as_bytes(), ""),
        (&oci::blob_name(&Digest::of(b"x")), b"xx", ""),
    ]);
    assert!(matches!(read_bytes(&wrong_size), Err(Error::Size { .. })));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn damaged_archives_never_panic(hybrid in any::<bool>(), at in 0usize..20_000, byte in any::<u8>(), cut in 0usize..40_000) {
        let form = if hybrid { Form::Hybrid } else { Form::Docker };
        thread_local!(static MADE: std::cell::RefCell<Vec<Option<Vec<u8>>>> = const { std::cell::RefCell::new(Vec::new()) });
        let mut bytes = MADE.with_borrow_mut(|made| {
            made.resize(2, None);
            made[usize::from(hybrid)].get_or_insert_with(|| {
                let node = Node::Index(index_of(&[sample()]));
                written(&[Item::new(names(&["app:1"]), node)], form)
            }).clone()
        });
        let at = at % bytes.len();
        bytes[at] = byte;
        bytes.truncate(cut);
        if let Ok(items) = read_bytes(&bytes) {
            for item in items {
                for (_, image) in item.node.images() {
                    let _ = with_run(|run| check(image, run));
                }
                for blob in item.node.blobs() {
                    let _ = blob.open(0).map(|mut r| r.read_to_end(&mut Vec::new()));
                }
            }
        }
    }
}
