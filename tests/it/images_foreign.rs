//! Layers that their makers keep elsewhere: where they are fetched from, and
//! where never.

use std::path::Path;

use dxf_registry::image::Image;
use dxf_registry::image::layer::Family;
use dxf_registry::layout::Layout;
use dxf_registry::stream::{Stop, Watch};
use dxf_registry::{Manifest, ReadStore, Store};
use serde_json::{Value, json};

use crate::archive::{GZIP, image};
use crate::engine::arg;
use crate::support::bench::{Bench, Mode};
use crate::support::dxf::Dxf;
use crate::support::rules::{GET, on};
use crate::support::server::Server;
use crate::transfer::repository;

fn simple() -> Image {
    image("linux/amd64", Family::Docker, GZIP)
}

/// An image whose second layer is kept at `url`, put into `team/foreign:v1`.
fn foreign(bench: &Bench, url: &str) -> Vec<u8> {
    let image = simple();
    let mut manifest: Value = serde_json::from_slice(image.manifest().bytes()).unwrap();
    manifest["layers"][1]["mediaType"] =
        "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip".into();
    manifest["layers"][1]["urls"] = json!(["ftp://x.example/no", url]);
    let raw = bench.raw();
    for blob in [image.config_blob(), &image.layers()[0]] {
        raw.push_blob("team/foreign", &blob.read(1 << 20).unwrap());
    }
    let serve = on(GET, "/v2/team/foreign/manifests/v1")
        .header("Content-Type", image.manifest().media_type())
        .serve(manifest.to_string());
    bench.front.add_first([serve]);
    image.layers()[1].read(1 << 20).unwrap()
}

#[test]
fn layers_kept_elsewhere_are_fetched_there() {
    let bench = Bench::new(Mode::Basic);
    let maker = Server::script_tls([on(GET, "/hop").reply(302).header("Location", "/layer")]);
    let bytes = foreign(&bench, &format!("{}/hop", maker.origin()));
    maker.add([on(GET, "/layer").serve(bytes.clone())]);
    let layer = bench.dxf().args(["get-layer", "team/foreign:v1", "1"]).ok();
    assert_eq!(layer.stdout, bytes);
    maker.assert_no_authorization();
    bench.dxf().args(["verify-image", "team/foreign:v1"]).ok();
    let hosts = bench.dxf().args(["resolve-image", "team/foreign:v1"]).ok();
    assert!(hosts.text().contains("not asked"), "{hosts}");
    // A connection that breaks is made again, and the transfer resumes.
    maker.add_first([on(GET, "/layer")
        .serve(bytes.clone())
        .cut_after(40)
        .times(1)]);
    let layer = bench.dxf().args(["get-layer", "team/foreign:v1", "1"]).ok();
    assert_eq!(layer.stdout, bytes);
    // Other bytes than the manifest promises are refused.
    maker.add_first([on(GET, "/layer").serve(vec![7; bytes.len()])]);
    bench
        .dxf()
        .args(["get-layer", "team/foreign:v1", "1"])
        .fails(65);
}

#[test]
fn an_address_that_is_none_is_the_manifest_s_fault() {
    let bench = Bench::new(Mode::Http);
    foreign(&bench, "not a url");
    let layer = bench.dxf().args(["get-layer", "team/foreign:v1", "1"]);
    layer.fails(65).says("not a url").says("malformed layer");
}

#[test]
fn layers_are_not_fetched_in_the_clear() {
    let bench = Bench::new(Mode::Basic);
    let maker = Server::stranger([]);
    foreign(&bench, &format!("{}/layer", maker.origin()));
    let out = bench
        .dxf()
        .args(["get-layer", "team/foreign:v1", "1"])
        .fails(1);
    assert!(out.stderr.contains("only over https"), "{out}");
    assert!(maker.seen().is_empty());
}

#[test]
fn a_manifest_from_outside_does_not_reach_in() {
    // What came from the internet lies in a folder now.
    let dir = tempfile::tempdir().unwrap();
    let bench = Bench::new(Mode::Http);
    let maker = Server::script_tls([]);
    let url = format!("{}/layer", maker.origin());
    foreign(&bench, &url);
    let pulled = repository(&bench, "team/foreign");
    let manifest = pulled.manifest(&"v1".parse().unwrap()).unwrap();
    let image = simple();
    let layout = Layout::at(dir.path());
    let stop = Stop::new();
    let watch = Watch::new(&(), &stop);
    for blob in [image.config_blob(), &image.layers()[0]] {
        layout.put_blob(blob, watch).unwrap();
    }
    // As other tools leave it: a layout does not take what is not whole.
    put_by_hand(dir.path(), &manifest);
    let word = format!("oci:{}:v1", arg(dir.path()));
    let out = Dxf::new().args(["get-layer", &word, "1"]).fails(1);
    assert!(out.stderr.contains("private address"), "{out}");
    assert!(maker.seen().is_empty());
}

fn put_by_hand(layout: &Path, manifest: &Manifest) {
    let blob = layout.join("blobs/sha256").join(manifest.digest().hex());
    std::fs::write(blob, manifest.bytes()).unwrap();
    let mut entry = serde_json::to_value(manifest.descriptor()).unwrap();
    entry["annotations"] = json!({"org.opencontainers.image.ref.name": "v1"});
    let index = json!({"schemaVersion": 2, "manifests": [entry]});
    std::fs::write(layout.join("index.json"), index.to_string()).unwrap();
}
