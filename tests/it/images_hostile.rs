//! Archives, layers and manifests made to do harm: one line, exit 65, nothing
//! written outside, nothing left behind.

use std::io::Write;
use std::path::Path;
use std::time::Duration;

use dxf_registry::Digest;
use dxf_registry::image::MAX_LAYERS;
use serde_json::{Value, json};
use tar::EntryType;

use crate::engine::{arg, file};
use crate::support::bench::{Bench, Mode};
use crate::support::dxf::Dxf;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// A member with any name and link at all, which tar writers refuse to make.
pub fn member(kind: EntryType, name: &str, link: &str, content: &[u8]) -> Vec<u8> {
    let mut header = tar::Header::new_ustar();
    let bytes = header.as_mut_bytes();
    bytes[..name.len()].copy_from_slice(name.as_bytes());
    bytes[157..157 + link.len()].copy_from_slice(link.as_bytes());
    header.set_entry_type(kind);
    header.set_mode(0o644);
    header.set_size(content.len() as u64);
    header.set_cksum();
    let mut all = header.as_bytes().to_vec();
    all.extend(content);
    all.resize(all.len().next_multiple_of(512), 0);
    all
}

pub fn regular(name: &str, content: &[u8]) -> Vec<u8> {
    member(EntryType::Regular, name, "", content)
}

pub fn tar(members: &[Vec<u8>]) -> Vec<u8> {
    [members.concat(), vec![0; 1024]].concat()
}

/// The members of a good docker-archive with one layer.
fn good(layer: &[u8]) -> Vec<(String, Vec<u8>)> {
    let config = json!({"os": "linux", "architecture": "amd64",
        "rootfs": {"type": "layers", "diff_ids": [Digest::of(layer)]}});
    let config = config.to_string().into_bytes();
    let name = format!("{}.json", Digest::of(&config).hex());
    let list = json!([{"Config": name, "RepoTags": ["a:1"], "Layers": ["l/layer.tar"]}]);
    vec![
        (name, config),
        ("l/layer.tar".to_string(), layer.to_vec()),
        ("manifest.json".to_string(), list.to_string().into_bytes()),
    ]
}

fn packed(members: &[(String, Vec<u8>)]) -> Vec<Vec<u8>> {
    let all = members.iter().map(|(name, bytes)| regular(name, bytes));
    all.collect()
}

/// Runs every command on the archive; each fails with 65, and the folder holds
/// nothing but it afterwards.
fn refused(bytes: &[u8], why: &str) {
    let dir = tempfile::tempdir().unwrap();
    let path = file(&dir, "bad.tar");
    std::fs::write(&path, bytes).unwrap();
    for command in [
        "list-layers",
        "list-files",
        "get-config",
        "verify-image",
        "list-platforms",
    ] {
        let out = on(&dir).args([command, &arg(&path)]).fails(65);
        assert!(out.stderr.contains(why), "{why}: {out}");
    }
    let out = on(&dir).args(["get-layer", "-o", "out", &arg(&path), "0"]);
    out.fails(65);
    alone(dir.path(), 1);
}

fn on(dir: &tempfile::TempDir) -> Dxf {
    let dxf = Dxf::new().env("DXF_HOST", "127.0.0.1:1");
    dxf.env("DXF_TMPDIR", dir.path()).current_dir(dir.path())
}

fn alone(dir: &Path, count: usize) {
    assert_eq!(std::fs::read_dir(dir).unwrap().count(), count);
}

#[test]
fn archives_with_members_out_of_place_are_refused() {
    let layer = tar(&[regular("f", b"x")]);
    let with = |more: Vec<u8>| {
        let mut all = packed(&good(&layer));
        all.insert(0, more);
        tar(&all)
    };
    let link = |name, to| member(EntryType::Symlink, name, to, b"");
    for (more, why) in [
        (regular("/etc/cron.d/x", b"x"), "absolute"),
        (regular("../x", b"x"), "points outside"),
        (regular("a/../../x", b"x"), "points outside"),
        (link("l", "/etc/passwd"), "points outside"),
        (link("l", "../../x"), "points outside"),
        (member(EntryType::Link, "l", "../x", b""), "points outside"),
        (member(EntryType::Char, "c", "", b""), "device"),
        (member(EntryType::Block, "b", "", b""), "device"),
        (member(EntryType::Fifo, "p", "", b""), "pipe"),
        (regular("manifest.json", b"[]"), "twice"),
        (regular("l/layer.tar", b"other"), "twice"),
    ] {
        refused(&with(more), why);
    }
}

#[test]
fn lists_that_point_nowhere_or_outside_are_refused() {
    let layer = tar(&[regular("f", b"x")]);
    let changed = |change: &dyn Fn(&mut Value)| {
        let mut members = good(&layer);
        let mut list: Value = serde_json::from_slice(&members[2].1).unwrap();
        change(&mut list[0]);
        members[2].1 = list.to_string().into_bytes();
        tar(&packed(&members))
    };
    for outside in ["/etc/passwd", "../../../etc/passwd", "absent.json", ""] {
        refused(&changed(&|i| i["Config"] = outside.into()), "");
        refused(&changed(&|i| i["Layers"] = json!([outside])), "");
    }
    refused(&changed(&|i| i["Layers"] = json!([])), "0 layers, but 1");
    let many = vec!["l/layer.tar"; MAX_LAYERS + 1];
    refused(&changed(&|i| i["Layers"] = json!(many)), "exceed the limit");
    let mut members = good(&layer);
    members.remove(1);
    refused(&tar(&packed(&members)), "lacks");
    let mut members = good(&layer);
    members.pop();
    refused(&tar(&packed(&members)), "not an archive of images");
    let mut members = good(&layer);
    members[0].1.push(b' ');
    refused(&tar(&packed(&members)), "");
    let whole = tar(&packed(&good(&layer)));
    refused(&whole[..1800], "cut short");
}

#[test]
fn a_layer_that_is_not_its_diff_id_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let mut members = good(&tar(&[regular("f", b"x")]));
    members[1].1 = tar(&[regular("f", b"y")]);
    let path = file(&dir, "a.tar");
    std::fs::write(&path, tar(&packed(&members))).unwrap();
    for command in ["list-files", "verify-image"] {
        on(&dir).args([command, &arg(&path)]).fails(65);
    }
    let out = on(&dir).args(["get-layer", "-o", "out", &arg(&path), "0"]);
    out.fails(65);
    alone(dir.path(), 1);
}

#[test]
fn layers_that_lead_out_are_shown_but_not_vouched_for() {
    let dir = tempfile::tempdir().unwrap();
    let path = file(&dir, "a.tar");
    for (bad, shown) in [
        (regular("../../x", b"x"), "../../x"),
        (regular("a/../../\x1b[2Jx", b"x"), "a/../../?[2Jx"),
        (
            member(EntryType::Link, "l", "../../x", b""),
            "l link to ../../x",
        ),
    ] {
        std::fs::write(&path, tar(&packed(&good(&tar(&[bad]))))).unwrap();
        let out = on(&dir).args(["verify-image", &arg(&path)]).fails(65);
        assert!(out.text().contains("points outside it"), "{out}");
        let out = on(&dir).args(["list-files", &arg(&path)]).ok();
        assert!(out.text().ends_with(&format!(" {shown}\n")), "{out}");
        alone(dir.path(), 1);
    }
    // Engines take an absolute name from the image's root, and devices are
    // what some images are made of.
    let fine = [
        regular("/etc/x", b"x"),
        member(EntryType::Char, "dev/null", "", b""),
        member(EntryType::Symlink, "l", "../../../etc/passwd", b""),
    ];
    std::fs::write(&path, tar(&packed(&good(&tar(&fine))))).unwrap();
    on(&dir).args(["verify-image", &arg(&path)]).ok();
    let out = on(&dir).args(["list-files", &arg(&path)]).ok();
    assert_eq!(out.lines().len(), 3);
}

/// More than a gibibyte of zeros in some hundred bytes.
fn bomb() -> Vec<u8> {
    let mut to = zstd::Encoder::new(Vec::new(), 1).unwrap();
    let zeros = vec![0; 4 << 20];
    let mut header = tar::Header::new_gnu();
    header.set_path("zeros").unwrap();
    header.set_size(1200 << 20);
    header.set_cksum();
    to.write_all(header.as_bytes()).unwrap();
    for _ in 0..300 {
        to.write_all(&zeros).unwrap();
    }
    to.finish().unwrap()
}

#[test]
fn bombs_are_put_out() {
    let dir = tempfile::tempdir().unwrap();
    let (layer, whole, bomb) = (file(&dir, "a.tar"), file(&dir, "b.tar"), bomb());
    let mut members = good(b"");
    members[1].1 = bomb.clone();
    std::fs::write(&layer, tar(&packed(&members))).unwrap();
    // An archive that is one as a whole.
    std::fs::write(&whole, bomb).unwrap();
    let (layer, whole) = (arg(&layer), arg(&whole));
    let commands = [
        &["list-files", &layer][..],
        &["get-layer", "--uncompressed", "-o", "out", &layer, "0"],
        &["verify-image", &layer],
        &["list-layers", &whole],
    ];
    std::thread::scope(|scope| {
        for words in commands {
            let out = on(&dir).args(words);
            scope.spawn(move || {
                let out = out.fails(65);
                let said = out.text().to_string() + &out.stderr;
                assert!(said.contains("grows more than"), "{out}");
            });
        }
    });
    alone(dir.path(), 2);
}

/// Puts an image of these parts, as the registry would never check it.
fn put(bench: &Bench, config: &[u8], layers: &[Value]) {
    let config = json!({"mediaType": CONFIG, "digest": bench.raw().push_blob("a", config),
        "size": config.len()});
    put_as(bench, &config, layers);
}

fn put_as(bench: &Bench, config: &Value, layers: &[Value]) {
    let manifest = json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": config,
        "layers": layers});
    let bytes = manifest.to_string();
    bench
        .raw()
        .put_manifest("a", "v1", MANIFEST, bytes.as_bytes());
}

fn layer(bench: &Bench, bytes: &[u8]) -> Value {
    let digest = bench.raw().push_blob("a", bytes);
    json!({"mediaType": LAYER, "digest": digest, "size": bytes.len()})
}

#[test]
fn manifests_with_wrong_sizes_are_refused() {
    let bench = Bench::new(Mode::Http);
    let dir = tempfile::tempdir().unwrap();
    let bytes = tar(&[regular("f", b"x")]);
    let config = json!({"os": "linux", "architecture": "amd64",
        "rootfs": {"type": "layers", "diff_ids": [Digest::of(&bytes)]}});
    let config = config.to_string().into_bytes();
    let run = |words: &[&str]| {
        let dxf = bench.dxf().current_dir(dir.path());
        dxf.args(words).arg("a:v1")
    };
    for wrong in [0, 1, bytes.len() as u64 + 1, u64::MAX / 2] {
        let mut one = layer(&bench, &bytes);
        one["size"] = wrong.into();
        put(&bench, &config, &[one]);
        run(&["list-files"]).fails(65);
        run(&["verify-image"]).fails(65);
        run(&["get-layer", "-o", "out"]).arg("0").fails(65);
    }
    let good = layer(&bench, &bytes);
    let digest = bench.raw().push_blob("a", &config);
    for wrong in [1, config.len() as u64 + 1] {
        let config = json!({"mediaType": CONFIG, "digest": digest, "size": wrong});
        put_as(&bench, &config, std::slice::from_ref(&good));
        run(&["get-config"]).fails(65);
        run(&["list-layers"]).fails(65);
    }
    // More diff ids than layers, and a config that is none.
    put(&bench, &config, &[good.clone(), good.clone()]);
    run(&["verify-image"]).fails(65);
    put(&bench, b"[]", std::slice::from_ref(&good));
    for command in ["get-history", "list-layers", "verify-image"] {
        run(&[command]).fails(65);
    }
    alone(dir.path(), 0);
}

#[test]
fn thousands_of_layers_are_refused_before_any_is_asked_for() {
    let bench = Bench::new(Mode::Http);
    let one = layer(&bench, b"");
    put(&bench, b"{}", &vec![one; MAX_LAYERS + 1]);
    bench.requests();
    for command in ["list-layers", "list-files", "verify-image", "resolve-image"] {
        let out = bench.dxf().args([command, "a:v1"]).fails(65);
        assert!(out.stderr.contains("exceed the limit"), "{out}");
        assert_eq!(bench.requests().len(), 1, "{command}");
    }
}

#[test]
fn words_from_outside_do_not_move_the_cursor() {
    let bench = Bench::new(Mode::Http);
    let bytes = tar(&[regular("\x1b[2Jf", b"x")]);
    let config = json!({"os": "linux\x1b[2J", "architecture": "amd64",
        "history": [{"created_by": "RUN \x1b]0;title\x07\nsecond line"}],
        "rootfs": {"type": "layers", "diff_ids": [Digest::of(&bytes)]}});
    let mut one = layer(&bench, &bytes);
    one["annotations"] = json!({"x": "\x1b[2J"});
    put(&bench, config.to_string().as_bytes(), &[one]);
    for command in ["get-history", "list-layers", "list-files", "list-platforms"] {
        let out = bench.dxf().args([command, "a:v1"]).ok();
        assert!(!out.text().contains(['\x1b', '\x07']), "{out}");
        assert_eq!(out.lines().len(), 1, "{out}");
    }
}

/// A layout of an index that lists another one `many` times, and that an image
/// as often: two documents of a few hundred KiB, and a million images.
fn multiplied(many: usize) -> Vec<(String, Vec<u8>)> {
    let mut files = vec![(
        "oci-layout".to_string(),
        br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec(),
    )];
    let mut blob = |media_type: &str, bytes: Vec<u8>| {
        let digest = Digest::of(&bytes);
        let entry = json!({"mediaType": media_type, "digest": digest, "size": bytes.len(),
            "annotations": {"org.opencontainers.image.ref.name": "v1"}});
        files.push((format!("blobs/sha256/{}", digest.hex()), bytes));
        entry
    };
    let config = json!({"os": "linux", "architecture": "amd64",
        "rootfs": {"type": "layers", "diff_ids": []}});
    let config = blob(CONFIG, config.to_string().into_bytes());
    let image = json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": []});
    let image = blob(MANIFEST, image.to_string().into_bytes());
    let index = |entry: Value, n: usize| {
        let document = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": vec![entry; n]});
        document.to_string().into_bytes()
    };
    let inner = blob(INDEX, index(image, many));
    let outer = blob(INDEX, index(inner, many));
    files.push(("index.json".to_string(), index(outer, 1)));
    files
}

/// Runs a command that must refuse what it reads in a line that says `why`, and
/// need little memory for that.
fn refused_cheaply(dxf: Dxf, why: &str) {
    let mut running = dxf.limit(Duration::from_secs(30)).spawn();
    let peak = running.peak();
    let output = running.finish();
    assert_eq!(output.code, Some(65), "{output}");
    assert!(output.stderr.contains(why), "{output}");
    assert!(peak < 100 << 10, "{peak} KiB: {output}");
}

#[test]
fn what_multiplies_is_refused_by_its_sum() {
    let dir = tempfile::tempdir().expect("a folder");
    let files = multiplied(1500);
    for (name, bytes) in &files {
        let path = dir.path().join("l").join(name);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        std::fs::write(path, bytes).expect("a file");
    }
    std::fs::write(file(&dir, "a.tar"), tar(&packed(&files))).expect("a file");
    let why = "more than 4096 manifests";
    for args in [
        &["list-platforms", "oci:l:v1"][..],
        &["verify-image", "oci:l:v1"],
        &["copy-image", "oci:l:v1", "oci:to:v1"],
        &["pull-image", "--platform", "all", "oci:l:v1", "x.tar"],
        &["list-layers", "./a.tar"],
    ] {
        refused_cheaply(on(&dir).args(args), why);
    }
    // One config of 4 MiB, which a list of a few bytes names again and again.
    let mut config = br#"{"os":"linux","rootfs":{"diff_ids":[]},"x":""#.to_vec();
    config.resize((4 << 20) - 2, b'a');
    config.extend(b"\"}");
    let list = json!(vec![json!({"Config": "c"}); 100]).to_string();
    let members = [
        regular("c", &config),
        regular("manifest.json", list.as_bytes()),
    ];
    std::fs::write(file(&dir, "d.tar"), tar(&members)).expect("a file");
    refused_cheaply(
        on(&dir).args(["list-platforms", "./d.tar"]),
        "more than 32 MiB",
    );
}
