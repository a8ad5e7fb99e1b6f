//! The commands that look inside images: in a registry, a folder, and archives
//! of several makers.

use dxf_registry::archive::{Form, Item};
use dxf_registry::image::layer::{Compression, Family};
use dxf_registry::image::{Image, Node};
use dxf_registry::layout::{Layout, Layouts};
use serde_json::{Value, json};

use crate::archive::{GZIP, image, multi, write};
use crate::engine::{Tool, arg, file, hello, named};
use crate::support::bench::{Bench, Mode, each_registry};
use crate::support::dxf::Dxf;
use crate::support::rules::{GET, on};
use crate::support::server::Server;
use crate::transfer::{push, repository};

fn simple() -> Image {
    image("linux/amd64", Family::Docker, GZIP)
}

/// A registry with `team/app:v1` and the index `team/multi:v1`.
fn bench() -> Bench {
    let bench = Bench::new(Mode::Http);
    push(&Node::Image(simple()), &*repository(&bench, "team/app"));
    push(&multi(), &*repository(&bench, "team/multi"));
    bench.requests();
    bench
}

fn archive(folder: &tempfile::TempDir, node: Node) -> std::path::PathBuf {
    let path = file(folder, "image.tar");
    let items = [Item::new(vec!["r.example/app:1".parse().unwrap()], node)];
    write(&items, Form::Hybrid, &path);
    path
}

fn digests(node: &Image) -> Vec<String> {
    let layers = node.layers().iter();
    layers.map(|blob| blob.digest().to_string()).collect()
}

/// A command on local files alone: no server could be asked.
fn local(words: &[&str]) -> Dxf {
    Dxf::new().env("DXF_HOST", "127.0.0.1:1").args(words)
}

#[test]
fn platforms_are_read_off_the_index() {
    let bench = bench();
    let out = bench.dxf().args(["list-platforms", "team/multi:v1"]).ok();
    let names: Vec<&str> = out.lines().iter().map(|l| &l[..11]).collect();
    assert_eq!(names, ["linux/arm64", "linux/amd64"]);
    assert_eq!(bench.requests().len(), 1);
    let list = bench.dxf().env("DXF_OUTPUT", "json");
    let list = list.args(["list-platforms", "team/multi:v1"]).ok().json();
    let Node::Index(index) = multi() else {
        panic!("no index")
    };
    let first = index.manifest().index().unwrap().manifests[0].digest;
    assert_eq!(list[0]["digest"], first.to_string());
    // One image is for one platform, which its config tells.
    let out = bench.dxf().args(["list-platforms", "team/app:v1"]).ok();
    assert!(out.text().starts_with("linux/amd64  sha256:"));
    let missing = bench.dxf().args(["list-platforms", "team/app:no"]);
    missing.fails(2).says("Not Found");
}

#[test]
fn a_platform_that_is_not_there_is_not_found() {
    let bench = bench();
    for command in ["get-config", "list-layers", "list-files", "resolve-image"] {
        let asked = bench
            .dxf()
            .args([command, "--platform", "linux/s390x", "team/multi:v1"]);
        let out = asked.fails(2);
        for word in ["linux/s390x", "linux/arm64", "linux/amd64"] {
            assert!(out.stderr.contains(word), "{out}");
        }
        let variable = bench.dxf().env("DXF_PLATFORM", "linux/s390x");
        variable.args([command, "team/multi:v1"]).fails(2);
    }
    // One image alone is held against the command line, too.
    for command in ["get-config", "list-files", "verify-image"] {
        let asked = [command, "--platform", "linux/s390x", "team/app:v1"];
        bench.dxf().args(asked).fails(2).says("linux/amd64");
    }
    let dir = tempfile::tempdir().unwrap();
    let path = arg(&archive(&dir, multi()));
    local(&["get-config", "--platform", "linux/s390x", &path]).fails(2);
    local(&["get-config", "--platform", "linux", &path]).fails(2);
    let arm = local(&["get-config", "--platform", "linux/arm64/v8", &path]).ok();
    assert_eq!(arm.json()["architecture"], "arm64");
    let arm = bench.dxf().env("DXF_PLATFORM", "linux/arm64");
    let arm = arm.args(["get-config", "team/multi:v1"]).ok();
    assert_eq!(arm.json()["architecture"], "arm64");
    // A blob command says what python-dxf does.
    let blobs = bench.dxf().env("DXF_PLATFORM", "linux/s390x");
    blobs.args(["get-alias", "team/multi", "v1"]).fails(1);
}

each_registry!(config_and_history_are_those_that_were_pushed, |reg| {
    let image = simple();
    let raw = reg.raw();
    for blob in image.blobs() {
        raw.push_blob("a/b", &blob.read(1 << 20).unwrap());
    }
    let manifest = image.manifest();
    raw.put_manifest("a/b", "v1", manifest.media_type(), manifest.bytes());
    let config = reg.dxf().args(["get-config", "a/b:v1"]).ok();
    let stored = image.config_blob().read(1 << 20).unwrap();
    assert_eq!(config.stdout, stored);
    let history = reg.dxf().args(["get-history", "a/b:v1"]).ok();
    assert_eq!(history.text(), "one\ntwo\n");
    let listed = reg.dxf().env("DXF_OUTPUT", "json");
    let listed = listed.args(["get-history", "a/b:v1"]).ok();
    assert_eq!(
        listed.json(),
        json!([{"created_by": "one"}, {"created_by": "two"}])
    );
});

#[test]
fn layers_are_listed_as_skopeo_and_umoci_see_them() {
    let (bench, dir, image) = (bench(), tempfile::tempdir().unwrap(), simple());
    let text = bench.dxf().args(["list-layers", "team/app:v1"]).ok();
    let lines = text.lines();
    assert_eq!(lines.len(), 2);
    for (n, (line, digest)) in lines.iter().zip(digests(&image)).enumerate() {
        let cells: Vec<&str> = line.split_whitespace().collect();
        assert_eq!((cells[0], cells[1]), (n.to_string().as_str(), &*digest));
        assert!(line.ends_with(["one", "two"][n]), "{line}");
    }
    let json = bench.dxf().env("DXF_OUTPUT", "json");
    let json = json.args(["list-layers", "team/app:v1"]).ok().json();
    let column = |json: &Value, name: &str| -> Vec<Value> {
        let rows = json.as_array().unwrap().iter();
        rows.map(|row| row[name].clone()).collect()
    };
    let Some(skopeo) = Tool::find("skopeo") else {
        return;
    };
    // Straight to the registry: skopeo tries TLS first, and needs to be refused.
    let reference = format!("docker://{}/team/app:v1", bench.registry.host());
    let seen: Value =
        serde_json::from_str(&skopeo.run(["inspect", "--tls-verify=false", &reference])).unwrap();
    assert_eq!(seen["Layers"], Value::Array(column(&json, "digest")));
    let config = skopeo.run(["inspect", "--config", "--tls-verify=false", &reference]);
    let config: Value = serde_json::from_str(&config).unwrap();
    let ids = Value::Array(column(&json, "diff_id"));
    assert_eq!(config["rootfs"]["diff_ids"], ids);
    // The same image in a layout of skopeo's making, seen by umoci.
    let layout = file(&dir, "layout");
    let named = format!("oci:{}:v1", arg(&layout));
    skopeo.run(["copy", "--src-tls-verify=false", &reference, &named]);
    let here = local(&["list-layers", &named]).env("DXF_OUTPUT", "json");
    let here = here.ok().json();
    assert_eq!(column(&here, "diff_id"), column(&json, "diff_id"));
    local(&["verify-image", &named]).ok();
    let Some(umoci) = Tool::find("umoci") else {
        return;
    };
    let image = format!("{}:v1", arg(&layout));
    let stat: Value =
        serde_json::from_str(&umoci.run(["stat", "--json", "--image", &image])).unwrap();
    let steps = stat["history"].as_array().unwrap();
    let there: Vec<_> = steps.iter().map(|s| s["layer"]["digest"].clone()).collect();
    assert_eq!(there, column(&here, "digest"));
    let there: Vec<_> = steps.iter().map(|s| s["diff_id"].clone()).collect();
    assert_eq!(there, column(&here, "diff_id"));
}

#[test]
fn a_layer_is_got_by_number_and_by_digest() {
    let (bench, dir, image) = (bench(), tempfile::tempdir().unwrap(), simple());
    let raw: Vec<Vec<u8>> = image
        .layers()
        .iter()
        .map(|l| l.read(1 << 20).unwrap())
        .collect();
    let get = |word: &str| bench.dxf().args(["get-layer", "team/app:v1", word]);
    let digest = digests(&image)[1].clone();
    for word in ["1", &digest, &digest[..19], &digest[7..27]] {
        assert_eq!(get(word).ok().stdout, raw[1], "{word}");
    }
    let plain = bench.dxf();
    let plain = plain.args(["get-layer", "--uncompressed", "team/app:v1", "0"]);
    let ids = image.config().unwrap().diff_ids().unwrap();
    assert_eq!(dxf_registry::Digest::of(&plain.ok().stdout), ids[0]);
    let out = file(&dir, "layer.tgz");
    let into = bench
        .dxf()
        .args(["get-layer", "-o", &arg(&out), "team/app:v1", "0"]);
    assert!(into.ok().stdout.is_empty());
    assert_eq!(std::fs::read(&out).unwrap(), raw[0]);
    get("2").fails(2).says("0 to 1");
    get("99999999").fails(2).says("begins with 99999999");
    get("sha256:")
        .fails(2)
        .says("2 layers have digests that begin with that");
    get("").fails(2);
    bench
        .dxf()
        .args(["get-layer", "team/app:v1"])
        .misused("too few arguments");
    // A layer that is not what it should be leaves the old file alone.
    let digest = &digests(&image)[0];
    let path = format!("/v2/team/app/blobs/{digest}");
    bench.front.add_first([on(GET, &path).corrupt()]);
    for more in [&["--uncompressed"][..], &[]] {
        let into = bench.dxf().args(["get-layer", "-o", &arg(&out)]);
        into.args(more).args(["team/app:v1", "0"]).fails(65);
    }
    assert_eq!(std::fs::read(&out).unwrap(), raw[0]);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
}

/// What `list-files` prints of the image in these tests.
fn see_files(words: &[&str], dxf: Dxf) {
    let long = format!("{}/{}", "d".repeat(90), "f".repeat(110));
    let out = dxf.arg("list-files").args(words).ok();
    let lines = out.lines();
    let names: Vec<&str> = lines
        .iter()
        .map(|l| l.splitn(4, ' ').last().unwrap())
        .collect();
    assert_eq!(lines.len(), 4, "{out}");
    let hello = hello().len();
    assert!(lines[2].starts_with("-rwxr-xr-x 0/0"), "{out}");
    assert!(lines[2].ends_with(&format!(" {hello} hello")), "{out}");
    assert!(lines[0].ends_with(&long), "{names:?}");
    assert!(lines[1].ends_with(&format!("hard link to {long}")), "{out}");
    assert!(lines[3].ends_with(&format!("soft -> {long}")), "{out}");
    assert!(lines[1].starts_with('h') && lines[3].starts_with('l'));
}

#[test]
fn files_are_those_a_container_sees() {
    let (bench, dir) = (bench(), tempfile::tempdir().unwrap());
    see_files(&["team/app:v1"], bench.dxf());
    let layer = bench.dxf();
    let layer = layer
        .args(["list-files", "--layer", "0", "team/app:v1"])
        .ok();
    assert!(layer.text().contains(" gone\n") && layer.lines().len() == 2);
    let json = bench.dxf().env("DXF_OUTPUT", "json");
    let json = json
        .args(["list-files", "--layer", "1", "team/app:v1"])
        .ok()
        .json();
    let list = json.as_array().unwrap();
    assert_eq!(list.len(), 4);
    assert_eq!(list[1]["path"], ".wh.gone");
    assert_eq!(
        (&list[0]["size"], &list[0]["mode"]),
        (&json!(4), &json!("0644"))
    );
    // The same of every kind of place.
    let path = archive(&dir, Node::Image(simple()));
    let folder = file(&dir, "store");
    push(
        &Node::Image(simple()),
        &Layouts::new(&folder).repository(&"a/b".parse().unwrap()),
    );
    push(&Node::Image(simple()), &Layout::at(file(&dir, "layout")));
    let store = Dxf::new().env("DXF_HOST", format!("oci:{}", arg(&folder)));
    see_files(&["a/b:v1"], store);
    let layout = arg(&file(&dir, "layout"));
    for word in [
        arg(&path),
        named("oci-archive", &path),
        named("docker-archive", &path),
        layout.clone(),
        format!("oci:{layout}"),
        format!("oci:{layout}:v1"),
    ] {
        see_files(&[&word], local(&[]));
    }
    let beside = local(&[]).current_dir(dir.path());
    see_files(&["image.tar"], beside);
    see_files(&["./layout"], local(&[]).current_dir(dir.path()));
    // An alias of blobs is no file system.
    let blob = bench.dxf().stdin("abc").args(["push-blob", "x", "-", "@v"]);
    blob.ok();
    bench
        .dxf()
        .args(["list-files", "x:v"])
        .fails(1)
        .says("no file system");
    let layers = bench.dxf().args(["list-layers", "x:v"]).ok();
    assert!(layers.text().contains("application/octet-stream"));
}

#[test]
fn archives_of_other_makers_are_looked_into() {
    let dir = tempfile::tempdir().unwrap();
    let path = archive(&dir, Node::Image(simple()));
    let config = simple().config().unwrap().into_value();
    let look = |word: &str| {
        see_files(&[word], local(&[]));
        // skopeo writes a config anew where it changes between formats.
        let found = local(&["get-config", word]).ok().json();
        for member in ["architecture", "os", "config", "rootfs", "history"] {
            assert_eq!(found[member], config[member], "{word}");
        }
        assert_eq!(local(&["get-history", word]).ok().text(), "one\ntwo\n");
        let verified = local(&["verify-image", word]).ok();
        assert!(
            verified.lines().iter().all(|l| l.starts_with("ok")),
            "{verified}"
        );
        let out = local(&["list-platforms", word]).ok();
        assert!(out.text().starts_with("linux/amd64"));
    };
    look(&arg(&path));
    if let Some(skopeo) = Tool::find("skopeo") {
        for (kind, suffix) in [("docker-archive", ":x.example/c:2"), ("oci-archive", ":c")] {
            let copied = file(&dir, kind);
            let to = named(kind, &copied) + suffix;
            skopeo.run(["copy", &named("docker-archive", &path), &to]);
            look(&named(kind, &copied));
        }
    }
    if let Some(podman) = Tool::find("podman") {
        podman.run(["load", "-i", &arg(&path)]);
        for format in ["docker-archive", "oci-archive"] {
            let saved = file(&dir, &format!("podman-{format}"));
            podman.run([
                "save",
                "--format",
                format,
                "-o",
                &arg(&saved),
                "r.example/app:1",
            ]);
            look(&arg(&saved));
        }
    }
}

#[test]
fn several_images_in_one_archive_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = file(&dir, "two.tar");
    let other = image("linux/amd64", Family::Oci, [Compression::Zstd; 2]);
    let items = [("a:1", simple()), ("b:2", other)]
        .map(|(name, image)| Item::new(vec![name.parse().unwrap()], Node::Image(image)));
    write(&items, Form::Hybrid, &path);
    let out = local(&["list-layers", &arg(&path)]).fails(1);
    assert!(
        out.stderr.contains("a:1") && out.stderr.contains("b:2"),
        "{out}"
    );
}

#[test]
fn what_is_no_image_is_one_line() {
    let dir = tempfile::tempdir().unwrap();
    let (noise, cut) = (file(&dir, "noise"), file(&dir, "cut.tar"));
    std::fs::write(&noise, "no archive at all").unwrap();
    let whole = std::fs::read(archive(&dir, Node::Image(simple()))).unwrap();
    std::fs::write(&cut, &whole[..whole.len() / 2]).unwrap();
    for command in [
        "list-layers",
        "list-files",
        "get-config",
        "verify-image",
        "get-history",
    ] {
        local(&[command, &arg(&noise)]).fails(65);
        local(&[command, &arg(&cut)]).fails(65);
        local(&[command, &arg(&file(&dir, "absent"))]).fails(1);
        local(&[command, &named("oci", &file(&dir, "absent"))]).fails(2);
        local(&[command, "Not A Reference"]).fails(2);
        local(&[command]).misused("too few arguments");
        local(&[command, "a", "b"]).misused("too many arguments");
    }
    let path = arg(&noise);
    local(&["resolve-image", &path])
        .fails(1)
        .says("not in a registry");
}

#[test]
fn a_pull_goes_where_resolve_says() {
    let bench = bench();
    let image = simple();
    let cdn = Server::stranger([]);
    for blob in image.blobs() {
        let (digest, bytes) = (blob.digest(), blob.read(1 << 20).unwrap());
        cdn.add([on(GET, &format!("/data/{digest}")).serve(bytes)]);
        let to = format!("http://{}/data/{digest}?sig=secret", cdn.localhost());
        let from = format!("/v2/team/app/blobs/{digest}");
        bench
            .front
            .add_first([on(GET, &from).reply(307).header("Location", &to)]);
    }
    let out = bench.dxf().env("DXF_OUTPUT", "json");
    let hops = out
        .secret("secret")
        .args(["resolve-image", "-4", "team/app:v1"])
        .ok()
        .json();
    let hop = |hop: &Value| {
        let text = |name: &str| hop[name].as_str().unwrap().to_string();
        format!("{} {} {}", text("step"), text("role"), hop["status"])
    };
    let seen: Vec<String> = hops.as_array().unwrap().iter().map(hop).collect();
    let wanted = [
        "manifest registry 200",
        "config registry 307",
        "config redirect 200",
        "layer 0 registry 307",
        "layer 0 redirect 206",
        "layer 1 registry 307",
        "layer 1 redirect 206",
    ];
    assert_eq!(seen, wanted);
    assert_eq!(hops[2]["host"], "localhost");
    assert_eq!(hops[2]["addresses"], json!(["127.0.0.1"]));
    // Of every layer one byte, no more.
    let size = image.config_blob().size();
    assert_eq!(cdn.sent(), size + 2);
    let text = bench
        .dxf()
        .args(["resolve-image", "-4", "team/app:v1"])
        .ok();
    let last = *text.lines().last().unwrap();
    let cells: Vec<&str> = last.split_whitespace().collect();
    let place = format!("http://{}", cdn.localhost());
    assert_eq!(
        cells,
        ["layer", "1", "redirect", &place, "127.0.0.1", "206"]
    );
    // What was reached is told even when the rest is not to be had.
    let missing = bench
        .dxf()
        .args(["resolve-image", "team/app:none"])
        .fails(2);
    assert!(missing.text().contains("404"), "{missing}");
}

#[test]
fn the_token_server_is_among_the_hosts() {
    let bench = Bench::new(Mode::Token);
    let image = simple();
    for blob in image.blobs() {
        bench.raw().push_blob("a", &blob.read(1 << 20).unwrap());
    }
    let manifest = image.manifest();
    bench
        .raw()
        .put_manifest("a", "v1", manifest.media_type(), manifest.bytes());
    let out = bench.dxf().args(["resolve-image", "a:v1"]).ok();
    let tokens = bench.tokens.as_ref().unwrap().host();
    let line = out
        .lines()
        .into_iter()
        .find(|line| line.contains("token"))
        .unwrap();
    assert!(line.contains(&format!("https://{tokens}")), "{out}");
    // Once: the layers' rights came with the manifest's.
    assert_eq!(out.text().matches(" token ").count(), 1, "{out}");
}

#[test]
fn what_is_wrong_is_told_blob_by_blob() {
    let bench = bench();
    let ok = bench.dxf().args(["verify-image", "team/multi:v1"]).ok();
    let kinds = |kind: &str| ok.lines().iter().filter(|l| l.contains(kind)).count();
    // Both platforms share their layers.
    assert_eq!(
        (kinds(" manifest "), kinds(" config "), kinds(" layer ")),
        (3, 2, 2)
    );
    let one = bench
        .dxf()
        .args(["verify-image", "--platform", "linux/arm64", "team/multi:v1"]);
    assert_eq!(one.ok().lines().len(), 4);
    let image = simple();
    let [first, second] = &digests(&image)[..] else {
        panic!("two layers")
    };
    let file = bench.registry.blob_file(first);
    let mut bytes = std::fs::read(&file).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    std::fs::write(&file, bytes).unwrap();
    std::fs::remove_file(bench.registry.blob_file(second)).unwrap();
    let wrong = bench.dxf().env("DXF_OUTPUT", "json");
    let wrong = wrong.args(["verify-image", "team/app:v1"]).fails(65);
    assert!(wrong.stderr.contains("2 of 4 blobs"), "{wrong}");
    let rows = wrong.json();
    let verdicts: Vec<(&str, &str)> = rows
        .as_array()
        .unwrap()
        .iter()
        .map(|row| {
            (
                row["kind"].as_str().unwrap(),
                row["verdict"].as_str().unwrap(),
            )
        })
        .collect();
    assert_eq!(
        verdicts,
        [
            ("manifest", "ok"),
            ("config", "ok"),
            ("layer", "wrong"),
            ("layer", "wrong")
        ]
    );
    assert!(
        rows[3]["why"].as_str().unwrap().contains("Not Found"),
        "{rows}"
    );
}

#[test]
fn the_cache_does_not_vouch_for_the_registry() {
    let (bench, dir) = (bench(), tempfile::tempdir().unwrap());
    let cached = |words: &[&str]| bench.dxf().env("DXF_CACHE", dir.path()).args(words);
    cached(&["list-files", "team/app:v1"]).ok();
    bench.requests();
    cached(&["list-files", "team/app:v1"]).ok();
    assert_eq!(bench.requests().len(), 2, "manifest and config");
    let digest = &digests(&simple())[0];
    std::fs::write(bench.registry.blob_file(digest), "wrong").unwrap();
    cached(&["verify-image", "team/app:v1"]).fails(65);
}
