//! What `edit-image` sends and fetches, and whether engines run what it makes.

use std::path::Path;

use dxf_registry::descriptor::media_type;
use dxf_registry::image::{Image, Node};
use dxf_registry::{Blob, Digest, Manifest};
use serde_json::{Value, json};

use crate::copy::guarded;
use crate::engine::{Docker, Tool, arg, file, hello, named};
use crate::images::seed;
use crate::support::bench::{Bench, Mode};
use crate::support::data;
use crate::support::dxf::Dxf;
use crate::support::registry::{PASSWORD, Registry, USER};
use crate::support::rules::{ANY, on};
use crate::support::scratch;
use crate::support::server::Server;
use crate::transfer::{push, repository};

const MIB: usize = 1 << 20;

/// An image of three layers of noise, `size` bytes each.
fn large(size: usize) -> Image {
    let layer = |seed| {
        let mut tar = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_size(size as u64);
        header.set_mode(0o644);
        let bytes = data::blob(seed, size);
        tar.append_data(&mut header, format!("noise{seed}"), bytes.as_slice())
            .unwrap();
        Blob::bytes(
            "application/vnd.oci.image.layer.v1.tar",
            tar.into_inner().unwrap(),
        )
    };
    let layers: Vec<Blob> = (0..3).map(layer).collect();
    let ids: Vec<&Digest> = layers.iter().map(Blob::digest).collect();
    let config = json!({"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": ids}});
    let config = Blob::bytes(media_type::OCI_CONFIG, config.to_string().into_bytes());
    let listed: Vec<_> = layers.iter().map(Blob::descriptor).collect();
    let manifest = json!({"schemaVersion": 2, "config": config.descriptor(), "layers": listed});
    let manifest = Manifest::new(None, manifest.to_string().into_bytes()).unwrap();
    Image::new(manifest, config, layers).unwrap()
}

/// Bytes of bodies, both ways, since this was last asked.
fn moved(bench: &Bench) -> u64 {
    bench
        .requests()
        .iter()
        .map(|one| one.sent + one.body_len)
        .sum()
}

fn edit(dxf: Dxf, words: &[&str]) -> Dxf {
    dxf.env("DXF_CACHE", "0").arg("edit-image").args(words)
}

/// How large the layers are, MiB: `DXF_EDIT_MIB=100` is an image of 300 MiB.
fn layer_size() -> usize {
    let size = std::env::var("DXF_EDIT_MIB")
        .ok()
        .and_then(|size| size.parse().ok());
    size.unwrap_or(16) * MIB
}

#[test]
fn layers_that_stay_do_not_move() {
    let bench = Bench::new(Mode::Http);
    push(
        &Node::Image(large(layer_size())),
        &*repository(&bench, "team/app"),
    );
    let dir = scratch();
    let path = file(&dir, "new");
    std::fs::write(&path, data::blob(9, MIB)).unwrap();
    let add = format!("--add-path={}", arg(&path));
    for target in ["team/app:v2", "team/other:v1"] {
        bench.requests();
        edit(bench.dxf(), &[&add, "--env=A=b", "team/app:v1", target]).ok();
        let requests = bench.requests();
        let bytes: u64 = requests.iter().map(|one| one.sent + one.body_len).sum();
        eprintln!(
            "{target}: {} requests, {bytes} bytes of bodies",
            requests.len()
        );
        assert!(bytes < (MIB + MIB / 10) as u64, "{bytes} bytes to {target}");
        let fetched = requests.iter().filter(|one| one.method == "GET").count();
        assert_eq!(fetched, 2, "manifest and config");
        // Three layers and the config: the first three are there, or mounted.
        let mounts = requests
            .iter()
            .filter(|one| one.query.contains("mount="))
            .count();
        let is_home = target.starts_with("team/app");
        assert_eq!(mounts, if is_home { 0 } else { 3 });
        // Within a repository no layer that stays is asked after: manifest and
        // config, is the new manifest there, two blobs of three requests each, and
        // the manifest.
        assert!(!is_home || requests.len() == 10, "{requests:#?}");
    }
    moved(&bench);
    edit(
        bench.dxf(),
        &[&add, "--env=A=b", "team/app:v1", "team/other:v1"],
    )
    .ok();
    assert!(moved(&bench) < 16 << 10, "nothing is left to send");
    bench.dxf().args(["verify-image", "team/other:v1"]).ok();
    let told = edit(
        bench.dxf(),
        &["--dry-run", &add, "team/app:v1", "team/third:v1"],
    );
    let told = told.env("DXF_OUTPUT", "json").ok().json();
    assert_eq!(told["transfer"]["mount"]["blobs"], 3, "{told}");
    assert_eq!(told["transfer"]["upload"]["blobs"], 2, "{told}");
    assert!(told["transfer"]["upload"]["bytes"].as_u64().unwrap() < (MIB + MIB / 10) as u64);
}

#[test]
fn to_another_registry_each_layer_goes_once_and_past_the_disk() {
    let (from, to) = (Bench::new(Mode::Http), Bench::new(Mode::Http));
    push(&Node::Image(large(MIB)), &*repository(&from, "team/app"));
    from.requests();
    let (source, target) = (
        format!("{}/team/app:v1", from.host()),
        format!("{}/new/app:v1", to.host()),
    );
    let dir = scratch();
    let cache = file(&dir, "cache");
    let out = to
        .dxf()
        .env("DXF_FROM_INSECURE", "1")
        .env("DXF_CACHE", &cache)
        .env("DXF_TMPDIR", dir.path());
    out.args(["edit-image", "--env=A=b", &source, &target]).ok();
    assert_eq!(from.requests().len(), 1 + 1 + 3, "manifest, config, layers");
    assert!(!cache.join("blobs").exists());
    to.dxf().args(["verify-image", "new/app:v1"]).ok();
}

#[test]
fn each_side_has_its_own_login() {
    let (from, to) = (Bench::new(Mode::Basic), Bench::new(Mode::Http));
    seed(from.dxf(), &crate::images::docker_image(), "team/app:1");
    let dxf = to
        .dxf()
        .env("DXF_FROM_HOST", from.host())
        .env("DXF_FROM_TLSVERIFY", from.ca_file())
        .env("DXF_FROM_USERNAME", USER)
        .env("DXF_FROM_PASSWORD", PASSWORD)
        .secret(PASSWORD);
    let out = edit(dxf, &["--env=A=b", "team/app:1", "team/new:1"]).ok();
    assert!(
        out.text().starts_with(&format!("{}/team/new@", to.host())),
        "{out}"
    );
    to.front.assert_no_authorization();
    to.dxf().args(["verify-image", "team/new:1"]).ok();
}

#[test]
fn the_login_for_the_source_is_for_no_base_elsewhere() {
    let (one, to) = (Registry::http(), Bench::new(Mode::Http));
    let scratch = |registry: &Registry, text: &str, name: &str| {
        let words = ["--platform=linux/amd64", text, "scratch", name];
        edit(Dxf::new().plain(registry.host()), &words).ok();
    };
    scratch(&one, "--add-file=/os=1", "team/app:1");
    let (from, _) = guarded(&one, "source-word");
    let refuse = on(ANY, "/v2/*")
        .reply(401)
        .header("WWW-Authenticate", "Basic realm=\"x\"");
    let elsewhere = Server::builder([refuse]).start();
    let dxf = to
        .dxf()
        .env("DXF_FROM_INSECURE", "1")
        .env("DXF_FROM_ALLOW_INSECURE_AUTH", "1")
        .env("DXF_FROM_SKIPTLSVERIFY", "1")
        .env("DXF_FROM_USERNAME", USER)
        .env("DXF_FROM_PASSWORD", "source-word")
        .secret("source-word");
    let at = |name: &str| format!("{}/{name}", elsewhere.host());
    let (source, new) = (format!("{}/team/app:1", from.host()), "team/new:1");
    let words = ["--rebase", &at("os:1"), &at("os:2"), &source, new];
    edit(dxf, &words).fails(13);
    assert!(!elsewhere.seen().is_empty());
    for one in elsewhere.seen() {
        assert_eq!(one.headers.get("authorization"), None);
    }
    to.front.assert_no_authorization();
}

/// A program like `hello` that says something else.
fn earth() -> Vec<u8> {
    let mut program = hello();
    let at = program
        .windows(6)
        .position(|six| six == b"hello\n")
        .unwrap();
    program[at..at + 6].copy_from_slice(b"earth\n");
    program
}

fn program(path: &Path, bytes: &[u8]) -> String {
    use std::os::unix::fs::PermissionsExt;
    std::fs::write(path, bytes).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
    arg(path)
}

/// The names of the files in a container of `image`.
fn exported(docker: &Docker, image: &str) -> Vec<String> {
    let id = docker.run(["create", "--network=none", image]);
    let out = docker
        .client()
        .args(["export", id.trim()])
        .output()
        .unwrap();
    docker.run(["rm", id.trim()]);
    let mut tar = tar::Archive::new(out.stdout.as_slice());
    let names = tar.entries().unwrap();
    names
        .map(|entry| entry.unwrap().path().unwrap().display().to_string())
        .collect()
}

#[test]
fn docker_runs_what_was_edited() {
    let Some(docker) = Docker::start() else {
        return;
    };
    let bench = Bench::new(Mode::Http);
    let dir = scratch();
    let (old, new) = (
        program(&file(&dir, "old"), &hello()),
        program(&file(&dir, "new"), &earth()),
    );
    let edit = |words: &[&str]| edit(bench.dxf(), words).ok();
    // A base, a layer that will go, and one above it that stays.
    edit(&[
        "--platform=linux/amd64",
        &format!("--add-path={old}:/hello"),
        "--cmd=/hello",
        "--env=KEPT=1",
        "--env=GONE=1",
        "scratch",
        "os:1",
    ]);
    edit(&[
        "--add-file=/goes=x",
        "--history=a layer",
        "--add-tar",
        &tar(&dir, "stays"),
        "os:1",
        "app:1",
    ]);
    let load = |name: &str| {
        let tar = file(&dir, "out.tar");
        bench
            .dxf()
            .args(["pull-image", "--tag", "mine:1", name])
            .arg(&tar)
            .ok();
        docker.run(["load", "-i", &arg(&tar)]);
        let env = docker.run([
            "image",
            "inspect",
            "--format={{json .Config.Env}}",
            "mine:1",
        ]);
        let env: Value = serde_json::from_str(&env).unwrap();
        let found = (docker.container("mine:1"), exported(&docker, "mine:1"), env);
        docker.run(["image", "rm", "-f", "mine:1"]);
        found
    };
    let (said, files, _) = load("app:1");
    let has = |files: &[String], name: &str| files.iter().any(|file| file == name);
    assert_eq!(said, "hello\n");
    assert!(has(&files, "goes") && has(&files, "stays"), "{files:?}");
    // The new program is on top; the layer below it is gone, the environment set.
    edit(&[
        "--remove-layer=1",
        &format!("--add-path={new}:/hello"),
        "--env=NEW=a b",
        "--env=GONE-",
        "app:1",
        "app:2",
    ]);
    let (said, files, env) = load("app:2");
    assert_eq!(said, "earth\n");
    assert!(!has(&files, "goes") && has(&files, "stays"), "{files:?}");
    assert_eq!(env, json!(["KEPT=1", "NEW=a b"]));
    // Straight into a file that Docker loads.
    let tar = file(&dir, "direct.tar");
    edit(&[
        "--remove-path=/stays",
        "app:2",
        &format!("{}:direct:1", named("docker-archive", &tar)),
    ]);
    docker.run(["load", "-i", &arg(&tar)]);
    assert!(!has(&exported(&docker, "direct:1"), "stays"));
    assert_eq!(docker.container("direct:1"), "earth\n");
    // On another base it runs that one's program, and keeps its own files.
    edit(&[
        "--platform=linux/amd64",
        &format!("--add-path={new}:/hello"),
        "--cmd=/hello",
        "--env=KEPT=2",
        "scratch",
        "os:2",
    ]);
    edit(&["--rebase", "os:1", "os:2", "app:1", "app:3"]);
    let (said, files, env) = load("app:3");
    assert_eq!(said, "earth\n");
    assert!(has(&files, "goes") && has(&files, "stays"), "{files:?}");
    assert_eq!(env, json!(["KEPT=2"]));
    // As one layer it is the same.
    edit(&["--squash", "app:3", "app:4"]);
    let (said, flat, _) = load("app:4");
    assert_eq!(
        (said.as_str(), has(&flat, "goes"), has(&flat, "stays")),
        ("earth\n", true, true)
    );
}

/// A tar of one file, made elsewhere.
fn tar(dir: &tempfile::TempDir, name: &str) -> String {
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(1);
    header.set_mode(0o644);
    tar.append_data(&mut header, name, &b"x"[..]).unwrap();
    let path = file(dir, "layer.tar");
    std::fs::write(&path, tar.into_inner().unwrap()).unwrap();
    arg(&path)
}

#[test]
fn skopeo_agrees_about_what_was_edited() {
    let Some(skopeo) = Tool::find("skopeo") else {
        return;
    };
    let bench = Bench::new(Mode::Http);
    seed(bench.dxf(), &crate::images::docker_image(), "team/app:1");
    let words = [
        "--add-file=/x=1",
        "--remove-layer=0",
        "--env=A=b",
        "--label=l=v",
        "--created=epoch",
    ];
    let name = format!("docker://{}/team/app:2", bench.host());
    let out = edit(
        bench.dxf(),
        &[&words[..], &["team/app:1", "team/app:2"]].concat(),
    )
    .ok();
    let seen: Value =
        serde_json::from_str(&skopeo.run(["inspect", "--tls-verify=false", &name])).unwrap();
    assert_eq!(
        out.text().trim(),
        format!(
            "{}/team/app@{}",
            bench.host(),
            seen["Digest"].as_str().unwrap()
        )
    );
    assert_eq!(
        (&seen["Env"], &seen["Labels"]),
        (&json!(["A=b"]), &json!({"l": "v"}))
    );
    assert_eq!(seen["Created"], "1970-01-01T00:00:00Z");
    let layers = bench
        .dxf()
        .args(["list-layers", "team/app:2"])
        .env("DXF_OUTPUT", "json")
        .ok()
        .json();
    let ours: Vec<&Value> = layers
        .as_array()
        .unwrap()
        .iter()
        .map(|l| &l["digest"])
        .collect();
    assert_eq!(
        seen["Layers"]
            .as_array()
            .unwrap()
            .iter()
            .collect::<Vec<_>>(),
        ours
    );
    let config = skopeo.run(["inspect", "--config", "--tls-verify=false", &name]);
    let config: Value = serde_json::from_str(&config).unwrap();
    let ids: Vec<&Value> = layers
        .as_array()
        .unwrap()
        .iter()
        .map(|l| &l["diff_id"])
        .collect();
    assert_eq!(
        config["rootfs"]["diff_ids"]
            .as_array()
            .unwrap()
            .iter()
            .collect::<Vec<_>>(),
        ids
    );
    bench.dxf().args(["verify-image", "team/app:2"]).ok();
    // skopeo reads every layer and holds it against its diff id.
    let dir = scratch();
    let to = format!("{}:a:1", named("docker-archive", &file(&dir, "f.tar")));
    skopeo.run(["copy", "--src-tls-verify=false", &name, &to]);
}
