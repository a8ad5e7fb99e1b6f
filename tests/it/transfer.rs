//! Images between a real registry, a folder and an archive.

use std::sync::Arc;

use dxf_registry::archive::{Form, Item};
use dxf_registry::credentials::Credentials;
use dxf_registry::graph::{self, PushTarget, Remote, Select, Summary};
use dxf_registry::http;
use dxf_registry::image::layer::Family;
use dxf_registry::image::{Node, check};
use dxf_registry::layout::Layouts;
use dxf_registry::registry::{Registry, Settings};
use dxf_registry::{Platform, Store, Target};

use crate::archive::{GZIP, image, multi, read, with_run, write};
use crate::engine::file;
use crate::support::bench::{Bench, Mode};

pub fn repository(bench: &Bench, name: &str) -> Arc<dyn Store> {
    let settings = Settings::default().with_scheme(http::Scheme::Http);
    let host = bench.host().parse().unwrap();
    let registry = Registry::connect(host, settings, Credentials::anonymous()).unwrap();
    Arc::new(registry.repository(name.parse().unwrap()))
}

fn tag() -> Target {
    "v1".parse().unwrap()
}

pub fn push(node: &Node, store: &dyn Store) -> Summary {
    let target = tag();
    let to = PushTarget::new(store, &target);
    with_run(|run| graph::push(node, &to, run)).unwrap()
}

fn pull(store: &Arc<dyn Store>, wanted: Select<'_>) -> Node {
    with_run(|run| Remote::new(store.clone()).pull(&tag(), wanted, run)).unwrap()
}

#[test]
fn requests_are_those_of_the_contract() {
    let bench = Bench::new(Mode::Http);
    let store = repository(&bench, "team/app");
    let node = Node::Image(image("linux/amd64", Family::Docker, GZIP));
    push(&node, &*store);
    // Three for the config and each of two layers, one to look, one to put.
    assert_eq!(bench.requests().len(), 3 * 3 + 2);
    push(&node, &*store);
    assert_eq!(bench.requests().len(), 2);
    let pulled = pull(&store, Select::All);
    for (_, image) in pulled.images() {
        with_run(|run| check(image, run)).unwrap();
    }
    assert_eq!(bench.requests().len(), 1 + 1 + 2);
    // Into another repository everything is mounted.
    let other = repository(&bench, "team/other");
    let summary = push(&pulled, &*other);
    assert_eq!(
        (summary.mounted, summary.uploaded),
        (3, 0),
        "{:?}",
        bench.request_lines()
    );
}

#[test]
fn every_way_round_keeps_the_digest() {
    let bench = Bench::new(Mode::Http);
    let (dir, registry) = (tempfile::tempdir().unwrap(), repository(&bench, "a"));
    let folder: Arc<dyn Store> =
        Arc::new(Layouts::new(dir.path().join("oci")).repository(&"a".parse().unwrap()));
    let docker = Node::Image(image("linux/amd64", Family::Docker, GZIP));
    for node in [multi(), docker] {
        // Archive → registry → folder → registry → archive.
        let path = file(&dir, "a.tar");
        write(
            &[Item::new(vec!["a:v1".parse().unwrap()], node.clone())],
            Form::Hybrid,
            &path,
        );
        push(&read(&path)[0].node, &*registry);
        push(&pull(&registry, Select::All), &*folder);
        let back = repository(&bench, "b");
        push(&pull(&folder, Select::All), &*back);
        write(
            &[Item::new(vec![], pull(&back, Select::All))],
            Form::Hybrid,
            &path,
        );
        assert_eq!(read(&path)[0].node.manifest(), node.manifest());
    }
    push(&multi(), &*registry);
    bench.requests();
    let arm: Platform = "linux/arm64/v8".parse().unwrap();
    let chosen = pull(&registry, Select::Platform(&arm));
    assert_eq!(bench.requests().len(), 3);
    assert!(matches!(chosen, Node::Image(_)));
}
