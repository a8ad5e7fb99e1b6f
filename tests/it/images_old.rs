//! Images in Docker's first format, which only old registries still hold: they
//! are pulled as images that today's engines load, or named in one line.

use dxf_registry::Digest;
use dxf_registry::image::layer::Family;
use serde_json::json;

use crate::archive::{GZIP, image, layers, read};
use crate::engine::{Docker, Tool, arg, file, named};
use crate::support::dxf::Dxf;
use crate::support::rules::{ANY, GET, Rule, on};
use crate::support::scratch;
use crate::support::server::Server;

const SCHEMA1: &str = "application/vnd.docker.distribution.manifest.v1+prettyjws";

/// A registry that holds two layers under a schema 1 manifest, newest first as
/// that has it.
fn old_registry() -> Server {
    let blobs: Vec<Vec<u8>> = image("linux/amd64", Family::Docker, GZIP)
        .layers()
        .iter()
        .map(|layer| layer.read(1 << 30).unwrap())
        .collect();
    let step = |value: serde_json::Value| json!({"v1Compatibility": value.to_string()});
    let manifest = json!({
        "schemaVersion": 1, "name": "a/b", "tag": "1", "architecture": "amd64",
        "fsLayers": blobs.iter().rev().map(|b| json!({"blobSum": Digest::of(b)})).collect::<Vec<_>>(),
        "history": [
            step(json!({"id": "2", "parent": "1", "os": "linux", "architecture": "amd64",
                "created": "2016-01-02T00:00:00Z", "config": {"Cmd": ["/hello"]},
                "container_config": {"Cmd": ["two"]}})),
            step(json!({"id": "1", "created": "2016-01-01T00:00:00Z",
                "container_config": {"Cmd": ["one"]}})),
        ],
        "signatures": [],
    });
    let mut rules: Vec<Rule> = blobs
        .into_iter()
        .map(|bytes| {
            let path = format!("/v2/a/b/blobs/{}", Digest::of(&bytes));
            on(ANY, &path).serve(bytes)
        })
        .collect();
    let answer = on(GET, "/v2/a/b/manifests/1").reply(200);
    let answer = answer.header("Content-Type", SCHEMA1);
    rules.push(answer.body(manifest.to_string().into_bytes()));
    Server::script(rules)
}

#[test]
fn an_image_of_docker_s_first_format_becomes_one_that_engines_load() {
    let (server, dir) = (old_registry(), scratch());
    let out = file(&dir, "old.tar");
    let dxf = || Dxf::new().plain(&server.host());
    dxf().args(["pull", "a/b:1"]).arg(&out).ok();
    let items = read(&out);
    let images = items[0].node.images();
    let config = images[0].1.config().unwrap();
    let ids: Vec<Digest> = layers().iter().map(|l| Digest::of(l)).collect();
    assert_eq!(config.diff_ids().unwrap(), ids);
    assert_eq!(config.platform().to_string(), "linux/amd64");
    assert_eq!(config.cmd(), ["/hello"]);
    if let Some(skopeo) = Tool::find("skopeo") {
        for kind in ["docker-archive", "oci-archive"] {
            let told = skopeo.run(["inspect", &named(kind, &out)]);
            assert!(told.contains("\"linux\""), "{told}");
        }
    }
    if let Some(docker) = Docker::start() {
        let loaded = docker.run(["load", "-i", &arg(&out)]);
        assert!(loaded.contains("a/b:1"), "{loaded}");
    }
    dxf().args(["verify-image", &arg(&out)]).ok();
}

#[test]
fn an_alias_of_docker_s_first_format_is_refused_by_name() {
    let server = old_registry();
    let dxf = || Dxf::new().plain(&server.host());
    for command in ["get-alias", "get-digest"] {
        let failed = dxf().args([command, "a/b", "1"]).fails(1);
        failed.says("schema 1");
    }
    let pulled = dxf().args(["pull-blob", "a/b", "@1"]).fails(1);
    assert!(pulled.says("schema 1").stdout.is_empty());
}
