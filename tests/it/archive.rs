//! Archives against the tools that read and write them.

use std::path::Path;

use dxf_registry::archive::{self, Form, Item, Out, Provenance, WriteOptions};
use dxf_registry::blob::Blob;
use dxf_registry::descriptor::media_type;
use dxf_registry::image::gzip::{self, Which};
use dxf_registry::image::layer::{Compression, Family, LayerType};
use dxf_registry::image::{Child, Image, Index, Node, check};
use dxf_registry::stream::{Run, Stop, Watch};
use dxf_registry::{Digest, Manifest, Platform};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::engine::{Docker, Tool, arg, file, hello, named};

pub fn with_run<T>(work: impl FnOnce(Run<'_>) -> T) -> T {
    let stop = Stop::new();
    work(Run::new(4, Watch::new(&(), &stop)))
}

fn temp() -> TempDir {
    tempfile::tempdir().unwrap()
}

/// A layer with the program, and one with a name of 200 characters, a hard
/// link, a symbolic link and a whiteout.
pub fn layers() -> [Vec<u8>; 2] {
    let mut first = tar::Builder::new(Vec::new());
    add(&mut first, "hello", &hello(), 0o755);
    add(&mut first, "gone", b"x", 0o644);
    let mut second = tar::Builder::new(Vec::new());
    let long = format!("{}/{}", "d".repeat(90), "f".repeat(110));
    add(&mut second, &long, b"long", 0o644);
    add(&mut second, ".wh.gone", b"", 0o644);
    for (kind, name) in [
        (tar::EntryType::Link, "hard"),
        (tar::EntryType::Symlink, "soft"),
    ] {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_size(0);
        header.set_mode(0o777);
        second.append_link(&mut header, name, &long).unwrap();
    }
    [first.into_inner().unwrap(), second.into_inner().unwrap()]
}

fn add(to: &mut tar::Builder<Vec<u8>>, name: &str, content: &[u8], mode: u32) {
    let mut header = tar::Header::new_gnu();
    header.set_size(content.len() as u64);
    header.set_mode(mode);
    to.append_data(&mut header, name, content).unwrap();
}

/// An image for a platform, its layers compressed as said.
pub fn image(platform: &str, family: Family, kept: [Compression; 2]) -> Image {
    let platform: Platform = platform.parse().unwrap();
    let plain = layers();
    let ids: Vec<_> = plain.iter().map(|l| Digest::of(l)).collect();
    let (config_type, manifest_type) = match family {
        Family::Docker => (media_type::DOCKER_CONFIG, media_type::DOCKER_MANIFEST),
        Family::Oci => (media_type::OCI_CONFIG, media_type::OCI_MANIFEST),
    };
    let config = json!({"architecture": platform.architecture, "os": platform.os,
        "config": {"Cmd": ["/hello"]}, "created": "2020-01-01T00:00:00Z",
        "rootfs": {"type": "layers", "diff_ids": ids},
        "history": [{"created_by": "one"}, {"created_by": "two"}]});
    let config = Blob::bytes(config_type, config.to_string().into_bytes());
    let layers: Vec<Blob> = plain
        .iter()
        .zip(kept)
        .map(|(bytes, compression)| {
            let name = LayerType::new(family, compression).media_type().unwrap();
            Blob::bytes(name, compressed(bytes, compression))
        })
        .collect();
    let listed: Vec<_> = layers.iter().map(Blob::descriptor).collect();
    let manifest = json!({"schemaVersion": 2, "mediaType": manifest_type,
        "config": config.descriptor(), "layers": listed});
    let bytes = serde_json::to_vec_pretty(&manifest).unwrap();
    Image::new(Manifest::new(None, bytes).unwrap(), config, layers).unwrap()
}

fn compressed(bytes: &[u8], compression: Compression) -> Vec<u8> {
    match compression {
        Compression::None => bytes.to_vec(),
        Compression::Gzip => {
            let mut out = Vec::new();
            gzip::compress(bytes, &mut out, 2, &Stop::new()).unwrap();
            out
        }
        Compression::Zstd => zstd::encode_all(bytes, 3).unwrap(),
    }
}

pub const GZIP: [Compression; 2] = [Compression::Gzip; 2];

pub fn write(items: &[Item], form: Form, path: &Path) {
    let platform: Platform = "linux/amd64".parse().unwrap();
    let folder = std::env::temp_dir();
    let settings = WriteOptions {
        form,
        platform: Some(&platform),
        folder: &folder,
    };
    with_run(|run| archive::write(items, Out::File(path), &settings, run)).unwrap();
}

pub fn read(path: &Path) -> Vec<Item> {
    let items = with_run(|run| archive::open(path, &std::env::temp_dir(), run))
        .unwrap()
        .into_items();
    for item in &items {
        for (_, image) in item.node.images() {
            with_run(|run| check(image, run)).unwrap();
        }
    }
    items
}

fn one(item: &Item) -> &Image {
    match &item.node {
        Node::Image(image) => image,
        Node::Index(_) => panic!("an index"),
    }
}

fn item(name: &str, image: &Image) -> Item {
    Item::new(vec![name.parse().unwrap()], Node::Image(image.clone()))
}

pub fn multi() -> Node {
    let children: Vec<Child> = ["linux/arm64", "linux/amd64"]
        .iter()
        .map(|platform| {
            let image = image(platform, Family::Oci, GZIP);
            let mut descriptor = image.manifest().descriptor();
            descriptor.platform = Some(Box::new(platform.parse().unwrap()));
            let node = Node::Image(image);
            Child { descriptor, node }
        })
        .collect();
    let listed: Vec<_> = children.iter().map(|c| &c.descriptor).collect();
    let manifest =
        json!({"schemaVersion": 2, "mediaType": media_type::OCI_INDEX, "manifests": listed});
    let manifest = Manifest::new(None, manifest.to_string().into_bytes()).unwrap();
    Node::Index(Index::new(manifest, children).unwrap())
}

#[test]
fn docker_loads_and_runs_both_forms() {
    let Some(docker) = Docker::start() else {
        return;
    };
    let dir = temp();
    for (family, kept, form) in [
        (Family::Docker, GZIP, Form::Hybrid),
        (Family::Oci, GZIP, Form::Hybrid),
        (
            Family::Oci,
            [Compression::None, Compression::Gzip],
            Form::Hybrid,
        ),
        // Docker before 23 can't load zstd: that is what the form is for.
        (
            Family::Oci,
            [Compression::Zstd, Compression::Gzip],
            Form::Docker,
        ),
    ] {
        let (image, path) = (image("linux/amd64", family, kept), file(&dir, "a.tar"));
        write(&[item("r.example:5000/team/app:1", &image)], form, &path);
        docker.run(["load", "-i", &arg(&path)]);
        let name = "r.example:5000/team/app:1";
        assert_eq!(docker.id(name), image.config_blob().digest().to_string());
        assert_eq!(docker.container(name), "hello\n");
        docker.run(["image", "rm", name]);
    }
    // Without a name none is made up; the id is how to call it.
    let image = image("linux/amd64", Family::Oci, GZIP);
    let path = file(&dir, "b.tar");
    write(
        &[Item::new(vec![], Node::Image(image.clone()))],
        Form::Hybrid,
        &path,
    );
    let said = docker.run(["load", "-q", "-i", &arg(&path)]);
    assert!(
        said.contains(&image.config_blob().digest().to_string()),
        "{said}"
    );
    // Of all platforms, the machine's own has the name.
    write(
        &[Item::new(vec!["multi:1".parse().unwrap()], multi())],
        Form::Hybrid,
        &path,
    );
    docker.run(["load", "-i", &arg(&path)]);
    assert_eq!(docker.container("multi:1"), "hello\n");
}

#[test]
fn what_docker_saves_is_read() {
    let Some(docker) = Docker::start() else {
        return;
    };
    let dir = temp();
    let (image, path) = (image("linux/amd64", Family::Oci, GZIP), file(&dir, "a.tar"));
    let names = vec!["app:1".parse().unwrap(), "other/app:2".parse().unwrap()];
    write(
        &[Item::new(names, Node::Image(image.clone()))],
        Form::Hybrid,
        &path,
    );
    docker.run(["load", "-i", &arg(&path)]);
    // A second image over the same layers makes Docker write links for them.
    let container = docker.run(["create", "app:1"]);
    docker.run(["commit", "--change=ENV A=b", container.trim(), "changed:1"]);
    let saved = file(&dir, "saved.tar");
    docker.run([
        "save",
        "-o",
        &arg(&saved),
        "app:1",
        "other/app:2",
        "changed:1",
    ]);
    let items = read(&saved);
    assert_eq!(items.len(), 2);
    let original = items.iter().find(|item| item.is_called("app:1")).unwrap();
    assert!(original.is_called("docker.io/other/app:2"));
    assert_eq!(original.provenance, Provenance::Made);
    assert_eq!(
        one(original).config_blob().digest(),
        image.config_blob().digest()
    );
    // Compressed here, and given back, it is still the same image.
    let folder = std::env::temp_dir();
    let small =
        with_run(|run| gzip::recompress(one(original), Which::Plain, &folder, run)).unwrap();
    with_run(|run| check(&small, run)).unwrap();
    write(&[item("again:1", &small)], Form::Hybrid, &path);
    docker.run(["load", "-i", &arg(&path)]);
    assert_eq!(
        docker.id("again:1"),
        image.config_blob().digest().to_string()
    );
    assert_eq!(docker.container("changed:1"), "hello\n");
}

#[test]
fn podman_loads_runs_and_saves() {
    let Some(podman) = Tool::find("podman") else {
        return;
    };
    let dir = temp();
    let name = "r.example:5000/team/app:1";
    let path = file(&dir, "a.tar");
    for (kept, form) in [
        (GZIP, Form::Hybrid),
        ([Compression::Zstd, Compression::Gzip], Form::Hybrid),
        ([Compression::Zstd, Compression::None], Form::Docker),
    ] {
        let image = image("linux/amd64", Family::Oci, kept);
        write(&[item(name, &image)], form, &path);
        podman.run(["load", "-i", &arg(&path)]);
        let id = podman.run(["image", "inspect", "--format={{.Id}}", name]);
        assert_eq!(id.trim(), image.config_blob().digest().hex());
        let said = podman.container(name, &[]);
        assert_eq!(said, "hello\n");
        for format in ["docker-archive", "oci-archive"] {
            // podman itself can't put zstd into Docker's format.
            if format == "docker-archive" && form == Form::Hybrid && kept != GZIP {
                continue;
            }
            let saved = file(&dir, format);
            podman.run(["save", "--format", format, "-o", &arg(&saved), name]);
            let items = read(&saved);
            assert_eq!(items.len(), 1);
            assert!(items[0].is_called(name), "{:?}", items[0].names);
            std::fs::remove_file(&saved).unwrap();
        }
        podman.run(["image", "rm", name]);
    }
}

#[test]
fn skopeo_reads_and_writes_every_archive() {
    let Some(skopeo) = Tool::find("skopeo") else {
        return;
    };
    let dir = temp();
    let (image, path) = (image("linux/amd64", Family::Oci, GZIP), file(&dir, "a.tar"));
    write(&[item("r.example/app:1", &image)], Form::Hybrid, &path);
    let raw = skopeo.run(["inspect", "--raw", &named("oci-archive", &path)]);
    assert_eq!(raw.as_bytes(), image.manifest().bytes());
    for kind in ["oci-archive", "docker-archive"] {
        let seen: Value =
            serde_json::from_str(&skopeo.run(["inspect", &named(kind, &path)])).unwrap();
        assert_eq!(
            (&seen["Os"], &seen["Architecture"]),
            (&json!("linux"), &json!("amd64"))
        );
        assert_eq!(seen["Layers"].as_array().unwrap().len(), 2);
    }
    for (kind, suffix) in [
        ("docker-archive", ":x.example/copy:2"),
        ("oci-archive", ":copy"),
    ] {
        let copied = file(&dir, kind);
        let to = named(kind, &copied) + suffix;
        skopeo.run(["copy", &named("oci-archive", &path), &to]);
        let items = read(&copied);
        assert_eq!(items.len(), 1);
        assert!(items[0].is_called(&suffix[1..]), "{items:?}");
        assert_eq!(
            one(&items[0]).config_blob().digest(),
            image.config_blob().digest()
        );
        if kind == "oci-archive" {
            assert_eq!(items[0].node.manifest(), image.manifest());
        }
    }
    let node = multi();
    write(&[Item::new(vec![], node.clone())], Form::Hybrid, &path);
    let raw = skopeo.run(["inspect", "--raw", &named("oci-archive", &path)]);
    assert_eq!(raw.as_bytes(), node.manifest().bytes());
    let copied = file(&dir, "all");
    skopeo.run([
        "copy",
        "--all",
        &named("oci-archive", &path),
        &named("oci-archive", &copied),
    ]);
    assert_eq!(read(&copied)[0].node.manifest(), node.manifest());
}

#[test]
fn umoci_unpacks_an_unpacked_archive() {
    let Some(umoci) = Tool::find("umoci") else {
        return;
    };
    let dir = temp();
    let (image, path) = (image("linux/amd64", Family::Oci, GZIP), file(&dir, "a.tar"));
    write(&[item("r.example/app:1", &image)], Form::Hybrid, &path);
    let layout = file(&dir, "layout");
    tar::Archive::new(std::fs::File::open(&path).unwrap())
        .unpack(&layout)
        .unwrap();
    let seen = umoci.run(["ls", "--layout", &arg(&layout)]);
    assert_eq!(seen.trim(), "1");
    let bundle = file(&dir, "bundle");
    umoci.run([
        "unpack",
        "--rootless",
        "--image",
        &format!("{}:1", layout.display()),
        &arg(&bundle),
    ]);
    assert_eq!(std::fs::read(bundle.join("rootfs/hello")).unwrap(), hello());
    assert!(!bundle.join("rootfs/gone").exists());
    // Changed by umoci and packed again, it is read here.
    umoci.run([
        "config",
        "--image",
        &format!("{}:1", layout.display()),
        "--tag",
        "2",
        "--config.env",
        "A=b",
    ]);
    let packed = file(&dir, "packed.tar");
    let mut to = tar::Builder::new(std::fs::File::create(&packed).unwrap());
    to.append_dir_all(".", &layout).unwrap();
    to.finish().unwrap();
    let items = read(&packed);
    let changed = items.iter().find(|item| item.is_called("2")).unwrap();
    assert_eq!(one(changed).config().unwrap().env(), ["A=b"]);
}
