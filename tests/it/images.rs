//! `pull-image` and `push-image` between registries, folders and files.

use std::path::Path;

use dxf_registry::archive::{Form, Item, Provenance};
use dxf_registry::descriptor::media_type;
use dxf_registry::image::layer::{Compression, Family};
use dxf_registry::image::{Child, Image, Index, Node};
use dxf_registry::{Digest, Manifest};
use serde_json::{Value, json};

use crate::archive::{GZIP, image, read, write};
use crate::engine::{arg, file};
use crate::support::bench::{Bench, Mode, each_registry};
use crate::support::dxf::Dxf;
use crate::support::scratch;

/// How the JSON of manifests is written.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Style {
    Pretty,
    Compact,
}

impl Style {
    fn bytes(self, value: &Value) -> Vec<u8> {
        match self {
            Style::Pretty => serde_json::to_vec_pretty(value).unwrap(),
            Style::Compact => value.to_string().into_bytes(),
        }
    }
}

fn restyled(image: &Image, style: Style) -> Image {
    let value: Value = serde_json::from_slice(image.manifest().bytes()).unwrap();
    let manifest = Manifest::new(None, style.bytes(&value)).unwrap();
    let (config, layers) = (image.config_blob().clone(), image.layers().to_vec());
    Image::new(manifest, config, layers).unwrap()
}

/// An index of one image for each platform.
pub fn index(family: Family, style: Style, platforms: &[&str]) -> Node {
    let child = |platform: &&str| {
        let image = restyled(&image(platform, family, GZIP), style);
        let mut descriptor = image.manifest().descriptor();
        descriptor.platform = Some(Box::new(platform.parse().unwrap()));
        let node = Node::Image(image);
        Child { descriptor, node }
    };
    let children: Vec<Child> = platforms.iter().map(child).collect();
    let listed: Vec<_> = children.iter().map(|c| &c.descriptor).collect();
    let kind = match family {
        Family::Docker => media_type::DOCKER_LIST,
        Family::Oci => media_type::OCI_INDEX,
    };
    let value = json!({"schemaVersion": 2, "mediaType": kind, "manifests": listed});
    let manifest = Manifest::new(None, style.bytes(&value)).unwrap();
    Node::Index(Index::new(manifest, children).unwrap())
}

pub const TWO: [&str; 2] = ["linux/arm64", "linux/amd64"];

pub fn docker_image() -> Node {
    Node::Image(image("linux/amd64", Family::Docker, GZIP))
}

/// Puts a node into a store by way of an archive.
pub fn seed(dxf: Dxf, node: &Node, to: &str) {
    let dir = scratch();
    let path = file(&dir, "seed.tar");
    write(&[Item::new(vec![], node.clone())], Form::Hybrid, &path);
    dxf.args(["push-image", &arg(&path), to]).ok();
}

fn digest(node: &Node) -> Digest {
    node.manifest().digest()
}

/// The one item of an archive.
pub fn only(path: &Path) -> Item {
    let mut items = read(path);
    assert_eq!(items.len(), 1);
    items.pop().unwrap()
}

pub fn names(item: &Item) -> Vec<String> {
    item.names.iter().map(ToString::to_string).collect()
}

fn round_trip(dxf: &dyn Fn() -> Dxf, host: &str) {
    let dir = scratch();
    for (tag, node) in [
        ("image", docker_image()),
        ("pd", index(Family::Docker, Style::Pretty, &TWO)),
        ("cd", index(Family::Docker, Style::Compact, &TWO)),
        ("po", index(Family::Oci, Style::Pretty, &TWO)),
        ("co", index(Family::Oci, Style::Compact, &TWO)),
    ] {
        let (path, from) = (file(&dir, tag), format!("team/app:{tag}"));
        seed(dxf(), &node, &from);
        let pull = dxf().args(["pull-image", "--platform"]);
        let platform = if tag == "image" { "linux/amd64" } else { "all" };
        let out = pull.args([platform, &from, &arg(&path)]).ok();
        assert_eq!((out.text(), out.stderr.as_str()), ("", ""));
        let item = only(&path);
        assert_eq!(item.node.manifest(), node.manifest(), "{tag}");
        assert_eq!(item.provenance, Provenance::Original);
        // By way of a folder.
        let folder = file(&dir, &format!("{tag}.d"));
        let pull = dxf().args(["pull", "--format=oci", "--platform", platform]);
        pull.args([&from, &arg(&folder)]).ok();
        let expected = format!("{host}new/{tag}@{}\n", digest(&node));
        for source in [&path, &folder] {
            let to = format!("new/{tag}:again");
            let out = dxf().args(["push", &arg(source), &to]).ok();
            assert_eq!(out.text(), expected);
        }
        let got = dxf().args(["get-digest", "--manifest"]);
        let got = got.args([&format!("new/{tag}"), &digest(&node).to_string()]);
        let got = got.env("DXF_PLATFORM", "linux/amd64").ok();
        assert!(got.text().starts_with("sha256:"), "{got}");
    }
}

each_registry!(pulled_and_pushed_it_is_the_same, |reg| {
    round_trip(&|| reg.dxf(), &format!("{}/", reg.host()));
});

#[test]
fn folders_are_stores_like_any_other() {
    let dir = scratch();
    let host = format!("oci:{}", file(&dir, "store").display());
    round_trip(&|| Dxf::new().env("DXF_HOST", &host), "");
}

each_registry!(requests_are_those_of_the_contract, |reg| {
    let dir = scratch();
    let path = arg(&file(&dir, "f.tar"));
    seed(reg.dxf(), &docker_image(), "a/b:1");
    seed(reg.dxf(), &index(Family::Oci, Style::Pretty, &TWO), "a/b:2");
    let no_cache = || reg.dxf().env("DXF_CACHE", "0");
    reg.requests();
    no_cache().args(["pull", "a/b:1", &path]).ok();
    // A manifest, a config, and two layers.
    assert_eq!(reg.requests().len(), 2 + 2, "an image");
    no_cache().args(["push", &path, "a/b:1"]).ok();
    assert!(reg.requests().len() <= 2, "pushed again");
    no_cache().args(["pull", "a/b:2", &path]).ok();
    assert_eq!(reg.requests().len(), 2 + 2 + 1, "of an index");
    no_cache()
        .args(["pull", "--platform=all", "a/b:2", &path])
        .ok();
    reg.requests();
    no_cache().args(["push", &path, "a/b:2"]).ok();
    assert!(reg.requests().len() <= 2, "an index pushed again");
});

#[test]
fn the_cache_saves_layers_and_can_be_emptied() {
    let bench = Bench::new(Mode::Http);
    let dir = scratch();
    let (path, cache) = (arg(&file(&dir, "f.tar")), file(&dir, "cache"));
    seed(bench.dxf(), &docker_image(), "a/b:1");
    let dxf = || bench.dxf().env("DXF_CACHE", &cache);
    assert_eq!(dxf().args(["cache", "size"]).ok().text(), "0 blobs, 0 B\n");
    dxf().args(["pull", "a/b:1", &path]).ok();
    let first = std::fs::read(&path).unwrap();
    bench.requests();
    dxf().args(["pull", "a/b:1", &path]).ok();
    // The manifest says what the tag is now; the config is part of the question.
    assert_eq!(bench.requests().len(), 2);
    assert_eq!(std::fs::read(&path).unwrap(), first);
    let size = dxf().args(["cache", "size"]).env("DXF_OUTPUT", "json").ok();
    assert_eq!(size.json()["blobs"], 2);
    // A layer that went bad in the cache is fetched again.
    for entry in std::fs::read_dir(cache.join("blobs/sha256")).unwrap() {
        std::fs::write(entry.unwrap().path(), b"damaged").unwrap();
    }
    dxf().args(["pull", "a/b:1", &path]).ok();
    assert_eq!(bench.requests().len(), 4);
    assert_eq!(std::fs::read(&path).unwrap(), first);
    let kept = dxf().args(["cache", "prune", "--older-than=1d", "--max-size=1GiB"]);
    assert_eq!(kept.ok().text(), "deleted 0 blobs, 0 B\n");
    let gone = dxf().args(["cache", "prune"]).ok();
    assert!(gone.text().starts_with("deleted 2 blobs, "), "{gone}");
    assert_eq!(dxf().args(["cache", "size"]).ok().text(), "0 blobs, 0 B\n");
    dxf().args(["cache", "empty"]).misused("size, prune");
    dxf().args(["cache", "prune", "--older-than=soon"]).fails(2);
    dxf().args(["cache", "prune", "--max-size=much"]).fails(2);
}

#[test]
fn names_are_those_that_were_asked_for() {
    let bench = Bench::new(Mode::Http);
    let dir = scratch();
    let (node, path) = (docker_image(), file(&dir, "f.tar"));
    seed(bench.dxf(), &node, "team/app:1");
    let (host, digest) = (bench.host(), digest(&node));
    let called = |args: &[&str]| {
        let dxf = bench.dxf().arg("pull-image").args(args);
        dxf.arg(&path).ok();
        names(&only(&path))
    };
    assert_eq!(called(&["team/app:1"]), [format!("{host}/team/app:1")]);
    let both = format!("team/app:1@{digest}");
    assert_eq!(called(&[&both]), [format!("{host}/team/app:1")]);
    // The tag need not be there: the digest is what is fetched.
    let unknown = format!("team/app:other@{digest}");
    assert_eq!(called(&[&unknown]), [format!("{host}/team/app:other")]);
    // This one has no name.
    let by_digest = format!("team/app@{digest}");
    assert!(called(&[&by_digest]).is_empty());
    let list = String::from_utf8(std::fs::read(&path).unwrap()).unwrap_or_default();
    assert!(!list.contains("RepoTags\":["));
    let named = called(&["--tag=mine:2", &by_digest]);
    assert_eq!(named, ["docker.io/library/mine:2"]);
    // Into a folder the tag goes along, and a second one beside it.
    seed(
        bench.dxf(),
        &index(Family::Oci, Style::Pretty, &TWO),
        "team/app:2",
    );
    let folder = file(&dir, "folder");
    for tag in ["1", "2"] {
        let from = format!("team/app:{tag}");
        let dxf = bench.dxf().args(["pull", "--format=oci", &from]);
        dxf.arg(&folder).ok();
    }
    let from = format!("oci:{}:2", folder.display());
    bench.dxf().args(["pull", &from]).arg(&path).ok();
    assert_eq!(only(&path).labels, ["2"]);
    let from = format!("docker-archive:{}", path.display());
    let to = file(&dir, "copy.tar");
    bench.dxf().args(["pull", &from]).arg(&to).ok();
    assert_eq!(std::fs::read(&to).unwrap(), std::fs::read(&path).unwrap());
}

#[test]
fn the_file_is_named_after_the_repository() {
    let bench = Bench::new(Mode::Http);
    let dir = scratch();
    seed(bench.dxf(), &docker_image(), "team/app:1");
    let dxf = || bench.dxf().current_dir(dir.path());
    dxf().args(["pull-image", "team/app:1"]).ok();
    let first = std::fs::read(file(&dir, "team_app.tar")).unwrap();
    let streamed = dxf().args(["pull-image", "team/app:1", "-"]).ok();
    assert!(streamed.stdout == first, "the stream is the file");
    dxf()
        .args(["pull-image", "--format=oci", "team/app:1"])
        .ok();
    assert!(file(&dir, "team_app").join("oci-layout").is_file());
    let entries = std::fs::read_dir(dir.path()).unwrap().count();
    assert_eq!(entries, 2, "nothing else lies about");
}

#[test]
fn a_default_file_of_another_image_stays() {
    let bench = Bench::new(Mode::Http);
    let dir = scratch();
    for name in ["a/b:v1", "a/b:v7", "a_b:v1"] {
        seed(bench.dxf(), &docker_image(), name);
    }
    let pull = |words: &[&str]| bench.dxf().current_dir(dir.path()).arg("pull").args(words);
    let path = file(&dir, "a_b.tar");
    pull(&["a/b:v1"]).ok();
    let first = std::fs::read(&path).unwrap();
    let holds = format!("a_b.tar exists and contains {}/a/b:v1", bench.host());
    for words in [&["a/b:v7"][..], &["a_b:v1"], &["a/b:v1", "--tag=other:1"]] {
        let refused = pull(words).fails(1);
        refused.says(&holds).says("; name a file to write");
        assert_eq!(std::fs::read(&path).unwrap(), first);
    }
    // The same name replaces its file, and a file that is named is written.
    for words in [&["a/b:v1"][..], &["--format=docker", "a/b:v1"], &["a/b:v1"]] {
        pull(words).ok();
    }
    assert_eq!(std::fs::read(&path).unwrap(), first);
    pull(&["a/b:v7", "a_b.tar"]).ok();
    assert_eq!(only(&path).names[0].tag.as_ref().unwrap().as_str(), "v7");
    std::fs::write(&path, "thesis").unwrap();
    pull(&["a/b:v7"]).fails(1).says("is not an image archive");
    assert_eq!(std::fs::read(&path).unwrap(), b"thesis");
    // A digest is no name; the same image replaces itself.
    std::fs::remove_file(&path).unwrap();
    let by_digest = format!("a/b@{}", docker_image().manifest().digest());
    pull(&[&by_digest]).ok();
    pull(&[&by_digest]).ok();
    let other = index(Family::Oci, Style::Pretty, &TWO);
    seed(bench.dxf(), &other, "a/b:v9");
    pull(&["a/b:v9"])
        .fails(1)
        .says("exists and contains sha256:");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn standard_output_that_is_a_file_is_not_left_empty() {
    let bench = Bench::new(Mode::Http);
    let dir = scratch();
    seed(bench.dxf(), &docker_image(), "a/b:v1");
    bench.requests();
    let path = file(&dir, "h.tar");
    let to_file = || std::fs::File::create(&path).unwrap();
    let pull = || bench.dxf().current_dir(dir.path()).args(["pull", "a/b:v1"]);
    let refused = pull().stdout_to(to_file());
    refused.misused("would be written to a_b.tar; give - to write to standard output");
    assert!(bench.requests().is_empty());
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    pull().arg("-").stdout_to(to_file()).ok();
    assert_eq!(only(&path).node.manifest(), docker_image().manifest());
    let null = std::fs::File::options().write(true).open("/dev/null");
    pull().stdout_to(null.unwrap()).ok();
    assert!(file(&dir, "a_b.tar").exists());
}

#[test]
fn platforms_choose() {
    let bench = Bench::new(Mode::Http);
    let dir = scratch();
    let path = file(&dir, "f.tar");
    seed(
        bench.dxf(),
        &index(Family::Oci, Style::Pretty, &TWO),
        "a/b:2",
    );
    let one = index(Family::Docker, Style::Pretty, &["linux/s390x"]);
    seed(bench.dxf(), &one, "a/b:1");
    let pulled = |dxf: Dxf, args: &[&str]| {
        dxf.arg("pull").args(args).arg(&path).ok();
        let item = only(&path);
        let (_, image) = item.node.images()[0];
        assert!(matches!(item.node, Node::Image(_)));
        image.config().unwrap().platform().to_string()
    };
    let arm = pulled(bench.dxf(), &["--platform=linux/arm64", "a/b:2"]);
    assert_eq!(arm, "linux/arm64");
    let dxf = bench.dxf().env("DXF_PLATFORM", "linux/arm64/v8");
    assert_eq!(pulled(dxf, &["a/b:2"]), "linux/arm64");
    assert_eq!(pulled(bench.dxf(), &["a/b:2"]), "linux/amd64");
    // The only one there is, although it does not run here.
    assert_eq!(pulled(bench.dxf(), &["a/b:1"]), "linux/s390x");
    // The same of an archive.
    let all = file(&dir, "all.tar");
    bench
        .dxf()
        .args(["pull", "--platform=all", "a/b:2"])
        .arg(&all)
        .ok();
    let from = format!("oci-archive:{}", all.display());
    let arm = pulled(bench.dxf(), &["--platform=linux/arm64", &from]);
    assert_eq!(arm, "linux/arm64");
}

#[test]
fn several_images_in_one_file() {
    let bench = Bench::new(Mode::Http);
    let dir = scratch();
    let (a, b) = (docker_image(), index(Family::Oci, Style::Compact, &TWO));
    let path = file(&dir, "f.tar");
    let tags = |names: &[&str]| names.iter().map(|n| n.parse().unwrap()).collect();
    let items = [
        Item::new(tags(&["x/a:1", "x/a:2"]), a.clone()),
        Item::new(tags(&["x/b:3"]), b.clone()),
    ];
    write(&items, Form::Hybrid, &path);
    let push = |args: &[&str]| bench.dxf().arg("push").args(args);
    let refused = push(&[&arg(&path), "new/all"]).fails(1);
    refused.says("x/a:1").says("--all");
    push(&["--tag=x/c:1", &arg(&path), "new/all"])
        .fails(2)
        .says("x/b:3");
    let out = push(&["--tag=x/b:3", &arg(&path), "new/one:t"]).ok();
    assert_eq!(
        out.text(),
        format!("{}/new/one@{}\n", bench.host(), digest(&b))
    );
    let out = push(&["--all", &arg(&path), "new/all"]).ok();
    assert_eq!(out.lines().len(), 2);
    let mut tags = bench.raw().tags("new/all");
    tags.sort();
    assert_eq!(tags, ["1", "2", "3"]);
    push(&["--all", &arg(&path), "new/all:t"]).misused("leave out the tag");
    push(&["--all", "--tag=3", &arg(&path), "new/all"]).misused("cannot be used");
}

#[test]
fn archives_come_compressed_and_through_pipes() {
    let bench = Bench::new(Mode::Http);
    let dir = scratch();
    let (node, path) = (docker_image(), file(&dir, "f.tar"));
    write(&[Item::new(vec![], node.clone())], Form::Hybrid, &path);
    let tar = std::fs::read(&path).unwrap();
    let zstd = zstd::encode_all(&tar[..], 3).unwrap();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut gzip, &tar).unwrap();
    let gzip = gzip.finish().unwrap();
    for (tag, bytes) in [("plain", tar), ("zstd", zstd), ("gzip", gzip)] {
        let to = format!("a/b:{tag}");
        let out = bench
            .dxf()
            .args(["push-image", "-", &to])
            .stdin(bytes.clone());
        let line = format!("{}/a/b@{}\n", bench.host(), digest(&node));
        assert_eq!(out.ok().text(), line);
        let packed = file(&dir, tag);
        std::fs::write(&packed, bytes).unwrap();
        bench.dxf().args(["push", &arg(&packed), &to]).ok();
    }
    // By its digest alone, and by a digest that is another's.
    let by_digest = format!("c/d@{}", digest(&node));
    bench.dxf().args(["push", &arg(&path), &by_digest]).ok();
    assert!(bench.raw().tags("c/d").is_empty());
    let other = format!("c/d:x@{}", Digest::of(b"other"));
    bench.dxf().args(["push", &arg(&path), &other]).fails(65);
    assert!(bench.raw().tags("c/d").is_empty());
}

#[test]
fn unpacked_layers_are_compressed_the_same_every_time() {
    let bench = Bench::new(Mode::Http);
    let dir = scratch();
    let plain = image("linux/amd64", Family::Docker, [Compression::None; 2]);
    let path = file(&dir, "f.tar");
    let name = vec!["a:1".parse().unwrap()];
    write(
        &[Item::new(name, Node::Image(plain.clone()))],
        Form::Docker,
        &path,
    );
    let push = |to: &str| bench.dxf().args(["push", &arg(&path), to]).ok();
    let (first, second) = (push("a/b:1"), push("c/d:1").text().replace("c/d", "a/b"));
    assert_eq!(first.text(), second);
    let pulled = file(&dir, "pulled.tar");
    bench.dxf().args(["pull", "a/b:1"]).arg(&pulled).ok();
    let item = only(&pulled);
    let Node::Image(image) = &item.node else {
        panic!()
    };
    assert_eq!(image.config_blob().digest(), plain.config_blob().digest());
    let gzip = "application/vnd.docker.image.rootfs.diff.tar.gzip";
    assert!(
        image
            .layers()
            .iter()
            .all(|l| l.descriptor().media_type == gzip)
    );
}

#[test]
fn layers_that_must_not_be_passed_on_are_left_out_unless_told() {
    // A folder: registries take such manifests only when they are set up to.
    let dir = scratch();
    let to = format!("oci:{}", file(&dir, "store").display());
    let dxf = || Dxf::new().env("DXF_HOST", &to);
    let blob = |digest: &str| file(&dir, "store/a/b/blobs").join(digest.replace(':', "/"));
    let plain = image("windows/amd64", Family::Docker, GZIP);
    let mut value: Value = serde_json::from_slice(plain.manifest().bytes()).unwrap();
    let foreign = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip";
    value["layers"][0]["mediaType"] = foreign.into();
    value["layers"][0]["urls"] = json!(["https://layers.example/base"]);
    let manifest = Manifest::new(None, value.to_string().into_bytes()).unwrap();
    let (config, layers) = (plain.config_blob().clone(), plain.layers().to_vec());
    let base = layers[0].digest().to_string();
    let node = Node::Image(Image::new(manifest, config, layers).unwrap());
    let path = file(&dir, "f.tar");
    write(&[Item::new(vec![], node)], Form::Hybrid, &path);
    let push = || dxf().args(["push", &arg(&path), "a/b:1"]);
    let told = push().ok().says(&base).says("--allow-nondistributable");
    assert_eq!(told.stderr.lines().count(), 1);
    assert!(!blob(&base).exists());
    // An edit says the same, whether it is made or only told.
    for words in [&["--dry-run"][..], &[]] {
        let edit = dxf().args(["edit-image", "--env=A=b"]).args(words);
        let told = edit.args(["--platform=windows/amd64", "a/b:1", "a/e:1"]);
        told.ok().says(&base).says("--allow-nondistributable");
    }
    let squash = ["edit-image", "--squash", "--platform=windows/amd64"];
    let squash = dxf().args(squash).args(["a/b:1", "a/e:2"]);
    squash.fails(1).says(&base).says("distributable");
    let out = file(&dir, "out.tar");
    let pull = dxf().args(["pull", "a/b:1"]).arg(&out);
    let failed = pull.env("DXF_RETRIES", "0").fails(69);
    failed.says("https://layers.example/base");
    assert!(!out.exists());
    let all = ["--allow-nondistributable", &arg(&path), "c/d:1"];
    dxf().arg("push").args(all).ok();
    let there = file(&dir, "store/c/d/blobs").join(base.replace(':', "/"));
    assert!(there.exists());
}
