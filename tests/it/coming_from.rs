//! The manual's tables for those who come from other tools: every command in
//! their right columns is run as it stands there.

use std::fs;

use dxf_registry::image::layer::Family;
use dxf_registry::image::{Image, Node};

use crate::archive::{GZIP, image, multi};
use crate::readme::page;
use crate::support::bench::{Bench, Mode};
use crate::support::dxf::Dxf;
use crate::support::registry::PASSWORD;

/// The pages whose tables are run, in this order.
const TOPICS: [&str; 5] = [
    "coming-from-crpy",
    "coming-from-docker-drag",
    "coming-from-docker-ls",
    "coming-from-registry-cli",
    "coming-from-crane-skopeo-oras",
];

/// The commands of the tables: what stands between the last pair of backticks.
fn commands() -> Vec<String> {
    lines(&TOPICS.map(page).concat())
}

/// Those of one text.
fn lines(text: &str) -> Vec<String> {
    let rows = text.lines().filter(|line| line.starts_with("| `"));
    rows.map(|row| row.rsplit('`').nth(1).unwrap().to_string())
        .filter(|line| line.contains("dxf "))
        .collect()
}

/// Puts images where the table looks for them, as no command is needed for.
fn fill(bench: &Bench) {
    let old = image("linux/amd64", Family::Docker, GZIP);
    put(bench, &Node::Image(old), "old");
    let stale = image("linux/s390x", Family::Docker, GZIP);
    put(bench, &Node::Image(stale), "stale");
    let request = image("linux/ppc64le", Family::Docker, GZIP);
    put(bench, &Node::Image(request), "pr-1");
    put(bench, &multi(), "v1");
}

fn put(bench: &Bench, node: &Node, tag: &str) {
    let raw = bench.raw();
    let put_one = |image: &Image, name: &str| {
        for blob in image.blobs() {
            raw.push_blob("team/app", &blob.read(1 << 20).unwrap());
        }
        let manifest = image.manifest();
        raw.put_manifest("team/app", name, manifest.media_type(), manifest.bytes());
    };
    match node {
        Node::Image(image) => put_one(image, tag),
        Node::Index(index) => {
            for (_, image) in node.images() {
                put_one(image, &image.manifest().digest().to_string());
            }
            let manifest = index.manifest();
            raw.put_manifest("team/app", tag, manifest.media_type(), manifest.bytes());
        }
    }
}

/// The command, told nothing but whom to trust and who it is.
fn told(bench: &Bench) -> Dxf {
    match bench.mode {
        Mode::Http => Dxf::new(),
        _ => bench.dxf(),
    }
}

#[test]
fn every_line_about_moby_distribution_works() {
    let bench = Bench::new(Mode::Http);
    let dir = tempfile::tempdir().unwrap();
    let old = image("linux/amd64", Family::Docker, GZIP);
    let layer = old.layers()[0].clone();
    put(&bench, &Node::Image(old), "v1");
    put(&bench, &multi(), "v2");
    fs::write(dir.path().join("layer.tgz"), layer.read(1 << 20).unwrap()).unwrap();
    let manifest = multi().manifest().bytes().to_vec();
    fs::write(dir.path().join("manifest.json"), manifest).unwrap();
    let dxf = || bench.dxf().current_dir(dir.path());
    dxf().args(["pull-image", "team/app:v1", "app.tar"]).ok();
    let text = page("coming-from-moby-distribution");
    let all = lines(&text);
    assert_eq!(all.len(), 15, "{all:#?}");
    for line in all {
        let line = line.replace("sha256:…", &layer.digest().to_string());
        let words = line.split(' ').skip(1);
        dxf().args(words).ok();
        // What was deleted is needed again.
        bench
            .raw()
            .push_blob("team/app", &layer.read(1 << 20).unwrap());
    }
}

#[test]
fn every_line_of_the_table_works() {
    let (tls, http) = (Bench::new(Mode::Basic), Bench::new(Mode::Http));
    let dir = tempfile::tempdir().unwrap();
    fill(&tls);
    fill(&http);
    let all = commands();
    assert!(all.len() >= 45, "{all:#?}");
    fs::write(dir.path().join("report.json"), "{}").unwrap();
    let digest = multi().manifest().digest().to_string();
    for line in all {
        let bench = if line.contains("DXF_INSECURE=1") {
            &http
        } else {
            &tls
        };
        let line = line.replace("registry.example", &bench.host());
        let line = line.replace("sha256:…", &digest);
        let words = line.split_whitespace();
        let words: Vec<&str> = words.map(|word| word.trim_matches('\'')).collect();
        let at = words.iter().position(|word| *word == "dxf").unwrap();
        let mut dxf = told(bench).current_dir(dir.path()).stdin(PASSWORD);
        dxf = dxf.env("DOCKER_CONFIG", dir.path().join("docker"));
        for variable in &words[..at] {
            let (name, value) = variable.split_once('=').unwrap();
            dxf = dxf.env(name, value);
        }
        let out = dxf.args(&words[at + 1..]).run();
        assert_eq!(out.code, Some(0), "{line}: {out}");
    }
}
