//! Images on their way to and from Docker, podman and skopeo by way of `dxf`.

use std::path::PathBuf;

use dxf_registry::Digest;
use dxf_registry::archive::Item;
use dxf_registry::image::Node;
use dxf_registry::image::layer::{Compression, Family};
use serde_json::Value;
use tempfile::TempDir;

use crate::archive::{GZIP, image};
use crate::engine::{Docker, Tool, arg, file, named, path};
use crate::images::{Style, TWO, docker_image, index, only, seed};
use crate::support::bench::{Bench, Mode};
use crate::support::scratch;

/// What engines keep of an image even where they write its config anew.
fn diff_ids(node: &Node) -> Vec<Digest> {
    node.images()[0].1.config().unwrap().diff_ids().unwrap()
}

fn config_of(item: &Item) -> String {
    item.node.images()[0].1.config_blob().digest().to_string()
}

#[test]
fn docker_runs_what_dxf_pulls_and_gives_it_back() {
    let Some(docker) = Docker::start() else {
        return;
    };
    let bench = Bench::new(Mode::Http);
    let dir = scratch();
    let node = docker_image();
    seed(bench.dxf(), &node, "team/app:1");
    let name = format!("{}/team/app:1", bench.host());
    let config = node.images()[0].1.config_blob().digest().to_string();
    for form in ["hybrid", "docker"] {
        let tar = file(&dir, form);
        bench
            .dxf()
            .args(["pull", "--format", form, "team/app:1"])
            .arg(&tar)
            .ok();
        docker.run(["load", "-i", &arg(&tar)]);
        assert_eq!(
            (docker.id(&name), docker.container(&name)),
            (config.clone(), "hello\n".into())
        );
        docker.run(["image", "rm", &name]);
    }
    // Through the engine's own load, of an index, without a file.
    seed(
        bench.dxf(),
        &index(Family::Oci, Style::Compact, &TWO),
        "team/app:2",
    );
    let load = || {
        bench
            .dxf()
            .env("DOCKER_HOST", docker.host())
            .env("PATH", path())
            .arg("load-image")
    };
    let said = load().arg("team/app:2").ok();
    assert!(said.text().contains("team/app:2"), "{said}");
    assert_eq!(
        docker.container(&format!("{}/team/app:2", bench.host())),
        "hello\n"
    );
    // Layers that an old engine can't unpack are unpacked on the way.
    let zstd = image("linux/amd64", Family::Oci, [Compression::Zstd; 2]);
    seed(bench.dxf(), &Node::Image(zstd), "team/app:3");
    load().args(["--tag=mine:3", "team/app:3"]).ok();
    assert_eq!(docker.container("mine:3"), "hello\n");
    // What Docker saves is pushed, and what is pulled again is the same image.
    let saved = file(&dir, "saved.tar");
    docker.run(["save", "-o", &arg(&saved), "mine:3"]);
    let out = bench.dxf().args(["push", &arg(&saved), "team/back:1"]).ok();
    assert!(out.text().contains("/team/back@sha256:"));
    let id = docker.id("mine:3");
    docker.run(["image", "rm", "-f", "mine:3"]);
    load().arg("team/back:1").ok();
    let back = format!("{}/team/back:1", bench.host());
    assert_eq!(
        (docker.id(&back), docker.container(&back)),
        (id, "hello\n".into())
    );
    // A layer that is not what it should be is not loaded.
    let layer = *node.images()[0].1.layers()[1].digest();
    let bad = format!("/v2/team/app/blobs/{layer}");
    bench
        .front
        .add_first([crate::support::rules::on("GET", &bad).corrupt()]);
    docker.run(["image", "prune", "-af"]);
    load()
        .env("DXF_CACHE", "0")
        .args(["--tag=bad:1", "team/app:1"])
        .fails(65);
    assert!(!docker.run(["image", "ls"]).contains("bad"));
}

#[test]
fn podman_loads_what_dxf_pulls_and_gives_it_back() {
    let Some(podman) = Tool::find("podman") else {
        return;
    };
    let bench = Bench::new(Mode::Http);
    let dir = scratch();
    let node = docker_image();
    seed(bench.dxf(), &node, "team/app:1");
    let name = format!("{}/team/app:1", bench.host());
    let tar = file(&dir, "f.tar");
    bench.dxf().args(["pull", "team/app:1"]).arg(&tar).ok();
    podman.run(["load", "-i", &arg(&tar)]);
    let id = || podman.run(["image", "inspect", "--format={{.Id}}", &name]);
    let config = *node.images()[0].1.config_blob().digest();
    assert_eq!(id().trim(), config.hex());
    podman.run(["image", "rm", &name]);
    let load = bench.dxf().env("PATH", podman.on_path()).arg("load-image");
    let said = load.args(["--engine=podman", "team/app:1"]).ok();
    assert!(said.text().contains("team/app:1"), "{said}");
    assert_eq!(id().trim(), config.hex());
    for format in ["docker-archive", "oci-archive", "oci-dir"] {
        let saved = file(&dir, format);
        podman.run(["save", "--format", format, "-o", &arg(&saved), &name]);
        let to = format!("back/{format}:1");
        bench.dxf().args(["push", &arg(&saved), &to]).ok();
        bench.dxf().args(["pull", &to]).arg(&tar).ok();
        assert_eq!(diff_ids(&only(&tar).node), diff_ids(&node), "{format}");
    }
}

#[test]
fn skopeo_and_dxf_read_each_other() {
    let Some(skopeo) = Tool::find("skopeo") else {
        return;
    };
    let bench = Bench::new(Mode::Http);
    let dir = scratch();
    let node = Node::Image(image("linux/amd64", Family::Oci, GZIP));
    seed(bench.dxf(), &node, "team/app:1");
    let tar = file(&dir, "f.tar");
    bench.dxf().args(["pull", "team/app:1"]).arg(&tar).ok();
    let raw = skopeo.run(["inspect", "--raw", &named("oci-archive", &tar)]);
    assert_eq!(raw.as_bytes(), node.manifest().bytes());
    let seen = skopeo.run(["inspect", &named("docker-archive", &tar)]);
    let seen: Value = serde_json::from_str(&seen).unwrap();
    assert_eq!(seen["Layers"].as_array().unwrap().len(), 2);
    let folder = file(&dir, "folder");
    bench
        .dxf()
        .args(["pull", "--format=oci", "team/app:1"])
        .arg(&folder)
        .ok();
    let raw = skopeo.run(["inspect", "--raw", &format!("oci:{}:1", folder.display())]);
    assert_eq!(raw.as_bytes(), node.manifest().bytes());
    let config = node.images()[0].1.config_blob().digest().to_string();
    for (kind, suffix) in [
        ("docker-archive", ":x/y:2"),
        ("oci-archive", ""),
        ("oci", ":2"),
    ] {
        let copied = file(&dir, kind);
        let to = format!("{}{suffix}", named(kind, &copied));
        skopeo.run(["copy", &named("oci-archive", &tar), &to]);
        let name = format!("skopeo/{kind}:1");
        bench.dxf().args(["push", &arg(&copied), &name]).ok();
        // Back out by skopeo, out of the registry that dxf filled.
        let from = format!("docker://{}/{name}", bench.host());
        let again = file(&dir, &format!("{kind}-again"));
        let to = named("oci-archive", &again);
        skopeo.run(["copy", "--src-tls-verify=false", &from, &to]);
        assert_eq!(diff_ids(&only(&again).node), diff_ids(&node), "{kind}");
        let got = bench
            .dxf()
            .args(["get-digest", &format!("skopeo/{kind}"), "1"]);
        assert_eq!(got.ok().text().trim(), config, "{kind}");
    }
}

#[test]
fn a_crane_style_archive_is_pushed() {
    let bench = Bench::new(Mode::Http);
    let dir = scratch();
    let node = image("linux/amd64", Family::Docker, GZIP);
    let read = |blob: &dxf_registry::Blob| blob.read(1 << 20).unwrap();
    let mut tar = tar::Builder::new(Vec::new());
    let mut add = |name: &str, bytes: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, name, bytes).unwrap();
    };
    let config = node.config_blob().digest().to_string();
    add(&config, &read(node.config_blob()));
    let names: Vec<String> = node
        .layers()
        .iter()
        .map(|l| format!("{}.tar.gz", l.digest().hex()))
        .collect();
    for (name, layer) in names.iter().zip(node.layers()) {
        add(name, &read(layer));
    }
    let list =
        serde_json::json!([{"Config": config, "RepoTags": ["r.example/a:1"], "Layers": names}]);
    add("manifest.json", list.to_string().as_bytes());
    let path = file(&dir, "crane.tar");
    std::fs::write(&path, tar.into_inner().unwrap()).unwrap();
    bench.dxf().args(["push", &arg(&path), "a/b:1"]).ok();
    let pulled = file(&dir, "pulled.tar");
    bench.dxf().args(["pull", "a/b:1"]).arg(&pulled).ok();
    let item = only(&pulled);
    assert_eq!(config_of(&item), config);
    let layers = |image: &dxf_registry::image::Image| -> Vec<_> {
        image.layers().iter().map(|l| *l.digest()).collect()
    };
    assert_eq!(
        layers(item.node.images()[0].1),
        layers(&node),
        "sent as they are"
    );
}

/// A bundle of images for Docker, beside what no engine runs.
fn bundled(bench: &Bench, dir: &TempDir) -> PathBuf {
    seed(bench.dxf(), &docker_image(), "team/app:1");
    let all = index(Family::Oci, Style::Compact, &TWO);
    seed(bench.dxf(), &all, "team/all:2");
    let (plain, tar) = (file(dir, "plain"), file(dir, "b.tar"));
    std::fs::write(&plain, "a file").expect("a file");
    let push = bench.dxf().args(["push-blob", "team/files"]);
    push.arg(&plain).arg("@3").ok();
    let save = bench.dxf().arg("save-bundle").arg(&tar);
    save.args(["team/app:1", "team/all:2", "team/files:3"]).ok();
    tar
}

#[test]
fn docker_loads_a_bundle() {
    let Some(docker) = Docker::start() else {
        return;
    };
    let (bench, dir) = (Bench::new(Mode::Http), scratch());
    let tar = bundled(&bench, &dir);
    docker.run(["load", "-i", &arg(&tar)]);
    for name in ["app:1", "all:2"] {
        let name = format!("{}/team/{name}", bench.host());
        assert_eq!(docker.container(&name), "hello\n");
    }
}

#[test]
fn podman_and_skopeo_load_a_bundle() {
    let (Some(podman), Some(skopeo)) = (Tool::find("podman"), Tool::find("skopeo")) else {
        return;
    };
    let (bench, dir) = (Bench::new(Mode::Http), scratch());
    let tar = bundled(&bench, &dir);
    podman.run(["load", "-i", &arg(&tar)]);
    for name in ["app:1", "all:2"] {
        let name = format!("{}/team/{name}", bench.host());
        assert_eq!(podman.container(&name, &[]), "hello\n");
    }
    let all = format!("{}:2", named("oci-archive", &tar));
    let found = skopeo.run(["inspect", "--raw", &all]);
    let shown = bench.dxf().arg("show-bundle").arg(&tar).ok();
    let digest = Digest::of(found.trim_end().as_bytes()).to_string();
    assert!(shown.text().contains(&digest), "{shown} {found}");
}

#[test]
fn without_an_engine_that_is_what_is_said() {
    let bench = Bench::new(Mode::Http);
    seed(bench.dxf(), &docker_image(), "a/b:1");
    bench.requests();
    let dir = scratch();
    let load = || bench.dxf().env("PATH", dir.path()).arg("load-image");
    let said = load().arg("a/b:1").fails(1);
    said.says("docker is not installed")
        .says("podman is not installed");
    load().args(["--engine=podman", "a/b:1"]).fails(1);
    load().args(["--engine=rocket", "a/b:1"]).misused("rocket");
    load()
        .args(["--platform=all", "a/b:1"])
        .misused("one platform");
    load().misused("too few arguments");
    assert!(bench.requests().is_empty(), "nothing is fetched for nobody");
}
