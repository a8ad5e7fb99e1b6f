//! Pulling from and putting into a store in memory.

use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use serde_json::json;

use super::*;
use crate::blob::Blob;
use crate::cache::Cache;
use crate::descriptor::{Descriptor, media_type};
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::image::tests::{Made, image, image_for, index};
use crate::image::{self, Child, Image, Index, Node, check};
use crate::manifest::Manifest;
use crate::platform::Platform;
use crate::reference::Target;
use crate::store::testing::Spy;
use crate::store::{ReadStore, Store};
use crate::stream::{Run, Stop, Watch};

fn with_run<T>(work: impl FnOnce(Run<'_>) -> T) -> T {
    let stop = Stop::new();
    work(Run::new(3, Watch::new(&(), &stop)))
}

fn tag() -> Target {
    Target::Tag("v1".parse().unwrap())
}

fn put_to(node: &Node, store: &Spy) -> Result<Summary> {
    let target = tag();
    let to = PushTarget::new(store, &target);
    with_run(|run| push(node, &to, run))
}

fn pull(store: &Arc<Spy>, wanted: Select<'_>) -> Result<Node> {
    with_run(|run| Remote::new(store.clone()).pull(&tag(), wanted, run))
}

fn platform(word: &str) -> Platform {
    word.parse().unwrap()
}

fn multi() -> Node {
    let images: Vec<_> = ["linux/amd64", "linux/arm/v6", "linux/arm64/v8"]
        .iter()
        .map(|p| image_for(p, &[Made::Gzip(b"base"), Made::Gzip(p.as_bytes())]))
        .collect();
    Node::Index(index(&images))
}

fn count(asked: &[String], what: &str) -> usize {
    asked
        .iter()
        .filter(|line| line.starts_with(&format!("{what} ")))
        .count()
}

#[test]
fn an_index_travels_whole_and_each_blob_once() {
    let (from, to) = (Arc::new(Spy::in_registry()), Arc::new(Spy::in_registry()));
    let node = multi();
    let summary = put_to(&node, &from).unwrap();
    assert_eq!((summary.uploaded, summary.existed), (node.blobs().len(), 0));
    let asked = from.asked_of();
    assert_eq!(
        (count(&asked, "put_blob"), count(&asked, "put_manifest")),
        (node.blobs().len(), 5)
    );
    assert!(asked.last().unwrap().ends_with(" v1"));
    let pulled = pull(&from, Select::All).unwrap();
    put_to(&pulled, &to).unwrap();
    let again = pull(&to, Select::All).unwrap();
    assert_eq!(again.manifest(), node.manifest());
    assert_eq!(from.memory.blobs(), to.memory.blobs());
    for (_, image) in again.images() {
        with_run(|run| check(image, run)).unwrap();
    }
}

#[test]
fn what_is_there_costs_two_requests() {
    let store = Spy::in_registry();
    let node = multi();
    put_to(&node, &store).unwrap();
    store.asked_of();
    assert_eq!(put_to(&node, &store).unwrap().known_manifests, 1);
    assert_eq!(store.asked_of().len(), 2);
    // A new index over known images sends no blob.
    let Node::Index(index) = &node else { panic!() };
    let bytes = [index.manifest().bytes(), b"\n"].concat();
    let other = Manifest::new(None, bytes).unwrap();
    let other = Node::Index(Index::new(other, index.children().to_vec()).unwrap());
    assert_eq!(put_to(&other, &store).unwrap().known_manifests, 4);
    assert_eq!(count(&store.asked_of(), "put_blob"), 0);
}

#[test]
fn a_blob_that_was_not_there_after_all_is_sent() {
    let image = image(&[Made::Gzip(b"a"), Made::Gzip(b"b")]);
    let store = Spy::in_registry();
    store.pretend(image.layers()[0].digest());
    let summary = put_to(&Node::Image(image), &store).unwrap();
    assert_eq!((summary.uploaded, summary.existed), (2, 1));
    assert_eq!(count(&store.asked_of(), "send_blob"), 1);
}

/// The image of tag `v1` with another variable, as an edit within its repository
/// makes it.
fn edited(store: &Arc<Spy>) -> Node {
    let Node::Image(image) = pull(store, Select::All).unwrap() else {
        panic!()
    };
    let editor = image.edit().unwrap().set_env("A", "b");
    Node::Image(editor.finish().unwrap())
}

#[test]
fn layers_of_the_same_repository_are_not_asked_after() {
    let store = Arc::new(Spy::in_registry());
    let layers: Vec<Made<'_>> = [b"a", b"b", b"c"].map(|l| Made::Gzip(l)).into();
    put_to(&Node::Image(image(&layers)), &store).unwrap();
    let node = edited(&store);
    store.asked_of();
    let to = tag();
    let to = PushTarget::new(&*store, &to);
    let planned = with_run(|run| plan(&node, &to, run)).unwrap();
    assert_eq!(planned.count(Action::Exists).0, 3);
    assert_eq!(store.asked(), ["head", "blob_size"]);
    let summary = put_to(&node, &store).unwrap();
    assert_eq!((summary.uploaded, summary.existed), (1, 3));
    assert_eq!(store.asked(), ["head", "put_blob", "put_manifest"]);
}

#[test]
fn a_layer_that_the_repository_lost_is_named() {
    let store = Arc::new(Spy::in_registry());
    let layers = [Made::Gzip(b"a"), Made::Gzip(b"b")];
    put_to(&Node::Image(image(&layers)), &store).unwrap();
    let node = edited(&store);
    let lost = *node.blobs()[1].digest();
    assert_eq!(node.blobs()[1].origin(), store.origin().as_ref());
    store.memory.delete_blob(&lost).unwrap();
    let error = put_to(&node, &store).unwrap_err().to_string();
    assert!(error.contains(&lost.to_string()), "{error}");
    // One that the store claims to contain all the same is sent again.
    put_to(&Node::Image(image(&layers)), &store).unwrap();
    let node = edited(&store);
    store.pretend(&lost);
    store.asked_of();
    put_to(&node, &store).unwrap();
    assert_eq!(count(&store.asked_of(), "send_blob"), 3);
}

#[test]
fn a_tag_that_cannot_change_is_no_failure_unless_it_would() {
    let store = Spy::in_registry();
    store.immutable.store(true, Relaxed);
    let (a, b) = (
        Node::Image(image(&[Made::Gzip(b"a")])),
        Node::Image(image(&[Made::Gzip(b"b")])),
    );
    put_to(&a, &store).unwrap();
    put_to(&a, &store).unwrap();
    assert!(put_to(&b, &store).is_err());
    let wrong = Target::Digest(Digest::of(b"x"));
    let to = PushTarget::new(&store, &wrong);
    assert!(matches!(
        with_run(|run| push(&a, &to, run)),
        Err(Error::Mismatch { .. })
    ));
}

#[test]
fn one_platform_costs_two_manifests_and_a_config() {
    let store = Arc::new(Spy::in_registry());
    put_to(&multi(), &store).unwrap();
    store.asked_of();
    let found = |wanted: Select<'_>| -> Result<String> {
        let node = pull(&store, wanted)?;
        let Node::Image(image) = node else { panic!() };
        Ok(image.config()?.platform().to_string())
    };
    assert_eq!(
        found(Select::Platform(&platform("linux/arm/v7"))).unwrap(),
        "linux/arm/v6"
    );
    assert_eq!(store.asked_of().len(), 3);
    assert_eq!(
        found(Select::Host(&platform("linux/amd64"))).unwrap(),
        "linux/amd64"
    );
    for wanted in [
        Select::Platform(&platform("linux/s390x")),
        Select::Host(&platform("linux/s390x")),
    ] {
        let Err(Error::NoPlatform { available, .. }) = found(wanted) else {
            panic!()
        };
        assert_eq!(available, ["linux/amd64", "linux/arm/v6", "linux/arm64/v8"]);
    }
}

#[test]
fn an_only_image_is_taken_unless_another_is_asked_for() {
    let store = Arc::new(Spy::in_registry());
    let only = image_for("linux/s390x", &[]);
    put_to(&Node::Index(index(std::slice::from_ref(&only))), &store).unwrap();
    let wanted = platform("linux/amd64");
    assert!(matches!(
        pull(&store, Select::Platform(&wanted)),
        Err(Error::NoPlatform { .. })
    ));
    let node = pull(&store, Select::Host(&wanted)).unwrap();
    assert_eq!(node.manifest(), only.manifest());
    // A single manifest is what it is.
    put_to(&Node::Image(only.clone()), &store).unwrap();
    assert_eq!(
        pull(&store, Select::Platform(&wanted)).unwrap().manifest(),
        only.manifest()
    );
}

fn around(inner: Node) -> Node {
    let descriptor = inner.manifest().descriptor();
    let manifest =
        json!({"schemaVersion": 2, "mediaType": media_type::OCI_INDEX, "manifests": [descriptor]});
    let manifest = Manifest::new(None, manifest.to_string().into_bytes()).unwrap();
    Node::Index(
        Index::new(
            manifest,
            vec![Child {
                descriptor,
                node: inner,
            }],
        )
        .unwrap(),
    )
}

#[test]
fn indexes_in_indexes_to_a_depth() {
    let store = Arc::new(Spy::in_registry());
    let nested = around(multi());
    put_to(&nested, &store).unwrap();
    let whole = pull(&store, Select::All).unwrap();
    assert_eq!(
        (whole.manifest(), whole.images().len()),
        (nested.manifest(), 4)
    );
    let node = pull(&store, Select::Platform(&platform("linux/arm64"))).unwrap();
    assert!(matches!(node, Node::Image(_)));
    put_to(&around(nested), &store).unwrap();
    for wanted in [Select::All, Select::Platform(&platform("linux/arm64"))] {
        assert!(pull(&store, wanted).is_err_and(|e| e.is_corrupt()));
    }
}

#[test]
fn lying_sizes_are_found() {
    let store = Arc::new(Spy::in_registry());
    let good = image(&[Made::Gzip(b"layer")]);
    put_to(&Node::Image(good.clone()), &store).unwrap();
    let mut value: serde_json::Value = serde_json::from_slice(good.manifest().bytes()).unwrap();
    value["layers"][0]["size"] = 7.into();
    let lying = Manifest::new(None, value.to_string().into_bytes()).unwrap();
    store.insert(&lying, Some("v1"));
    let Node::Image(image) = pull(&store, Select::All).unwrap() else {
        panic!()
    };
    assert!(matches!(
        image.layers()[0].open(0).err(),
        Some(Error::Size { .. })
    ));
}

fn foreign() -> (Image, Vec<u8>) {
    let far = b"far away".to_vec();
    let kind = "application/vnd.docker.image.rootfs.foreign.diff.tar";
    let mut layer = Descriptor::new(kind, Digest::of(&far), far.len() as u64);
    layer.rest.insert(
        "urls".into(),
        json!(["https://a.example/1", "https://b.example/2"]),
    );
    let config =
        json!({"os": "windows", "architecture": "amd64", "rootfs": {"diff_ids": [layer.digest]}});
    let config = Blob::bytes(media_type::DOCKER_CONFIG, config.to_string().into_bytes());
    let manifest = json!({"schemaVersion": 2, "mediaType": media_type::DOCKER_MANIFEST,
        "config": config.descriptor(), "layers": [layer]});
    let manifest = Manifest::new(None, manifest.to_string().into_bytes()).unwrap();
    let blob = Blob::new(layer, crate::blob::Bytes(far.clone()));
    (Image::new(manifest, config, vec![blob]).unwrap(), far)
}

struct Second(Vec<u8>);

impl UrlFetcher for Second {
    fn open(&self, url: &str, _: u64) -> Result<Box<dyn Read + Send + '_>> {
        if url.starts_with("https://a.") {
            return Err(Error::NotFound { what: url.into() });
        }
        Ok(Box::new(&self.0[..]))
    }
}

#[test]
fn foreign_layers_stay_unless_told_otherwise() {
    let (image, far) = foreign();
    let node = Node::Image(image.clone());
    let store = Arc::new(Spy::in_registry());
    let summary = put_to(&node, &store).unwrap();
    assert_eq!((summary.uploaded, summary.left_out.len()), (1, 1));
    let Node::Image(pulled) = pull(&store, Select::All).unwrap() else {
        panic!()
    };
    let refused = pulled.layers()[0].read(100).unwrap_err().to_string();
    assert!(
        refused.contains("https://a.example/1 https://b.example/2"),
        "{refused}"
    );
    let remote = Remote::new(store.clone()).with_url_fetcher(Arc::new(Second(far.clone())));
    let Node::Image(pulled) = with_run(|run| remote.pull(&tag(), Select::All, run)).unwrap() else {
        panic!()
    };
    assert_eq!(pulled.layers()[0].read(100).unwrap(), far);
    let store = Spy::in_registry();
    let target = tag();
    let to = PushTarget::new(&store, &target).with_nondistributable(Nondistributable::Send);
    assert_eq!(with_run(|run| push(&node, &to, run)).unwrap().uploaded, 2);
}

#[test]
fn a_second_pull_with_a_cache_fetches_no_layer() {
    let store = Arc::new(Spy::in_registry());
    put_to(
        &Node::Image(image(&[Made::Gzip(b"a"), Made::Gzip(b"b")])),
        &store,
    )
    .unwrap();
    let dir = tempfile::tempdir().unwrap();
    let remote = Remote::new(store.clone()).with_cache(Cache::new(dir.path()));
    for opened in [3, 1] {
        store.asked_of();
        let node = with_run(|run| remote.pull(&tag(), Select::All, run)).unwrap();
        for (_, image) in node.images() {
            with_run(|run| check(image, run)).unwrap();
        }
        assert_eq!(count(&store.asked_of(), "open_blob"), opened);
    }
}

#[test]
fn an_alias_of_blobs_is_pulled_and_put() {
    let store = Arc::new(Spy::in_registry());
    let blob = Blob::bytes("application/octet-stream", b"abc".to_vec());
    let alias = Manifest::alias(&[blob.descriptor().clone()]).unwrap();
    let node = Node::Image(Image::new(alias, blob.clone(), vec![blob]).unwrap());
    put_to(&node, &store).unwrap();
    let pulled = pull(&store, Select::All).unwrap();
    assert_eq!(pulled.blobs()[0].read(10).unwrap(), b"abc");
    assert_eq!(pulled.blobs().len(), 1);
}

#[test]
fn schema_1_becomes_an_image_to_load() {
    let store = Arc::new(Spy::in_registry());
    let mut gz = Vec::new();
    image::gzip::compress(&b"files"[..], &mut gz, 1, &Stop::new()).unwrap();
    let layer = store.blob(&gz);
    let document = json!({"schemaVersion": 1, "fsLayers": [{"blobSum": layer.digest}],
        "history": [{"v1Compatibility": json!({"os": "linux", "architecture": "amd64"}).to_string()}]});
    let manifest = Manifest::new(
        Some(media_type::SCHEMA1_SIGNED),
        document.to_string().into_bytes(),
    );
    store.insert(&manifest.unwrap(), Some("v1"));
    let Node::Image(image) = pull(&store, Select::All).unwrap() else {
        panic!()
    };
    assert!(image.is_runnable());
    with_run(|run| check(&image, run)).unwrap();
    assert_eq!(image.manifest().media_type(), media_type::DOCKER_MANIFEST);
}
