//! `copy-image` and `tag-image`: between registries, folders and archives.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use dxf_registry::archive::Item;
use dxf_registry::graph::is_referrers_tag;
use dxf_registry::image::Node;
use dxf_registry::image::layer::Family;
use dxf_registry::{Blob, Digest, Manifest, ReadStore, Store};
use serde_json::{Value, json};

use crate::archive::{GZIP, image, multi, read, with_run};
use crate::engine::{Docker, Tool, arg, file, hello};
use crate::images::{docker_image, only, seed};
use crate::support::bench::{Bench, Mode, each_registry};
use crate::support::data::{blob, digest};
use crate::support::dxf::Dxf;
use crate::support::memory::Memory;
use crate::support::place::each_place;
use crate::support::raw::Raw;
use crate::support::registry::{PASSWORD, Registry, USER};
use crate::support::rules::{ANY, GET, HEAD, POST, PUT, Rule, on};
use crate::support::scratch;
use crate::support::server::{Seen, Server};
use crate::transfer::repository;

/// Our command, told where the destination is, and where the source.
fn between(from: &Bench, to: &Bench) -> Dxf {
    let dxf = to.dxf().env("DXF_FROM_HOST", from.host());
    let dxf = match from.mode {
        Mode::Http => dxf.env("DXF_FROM_INSECURE", "1"),
        _ => dxf
            .env("DXF_FROM_TLSVERIFY", from.ca_file())
            .env("DXF_FROM_USERNAME", USER)
            .env("DXF_FROM_PASSWORD", PASSWORD)
            .secret(PASSWORD),
    };
    dxf.arg("copy-image")
}

fn node_digest(node: &Node) -> String {
    node.manifest().digest().to_string()
}

fn count(seen: &[Seen], method: &str, part: &str) -> usize {
    let fits = |one: &&Seen| one.method == method && one.path.contains(part);
    seen.iter().filter(fits).count()
}

/// How often each blob was asked for.
fn fetched(seen: &[Seen]) -> BTreeMap<&str, usize> {
    let mut found = BTreeMap::new();
    for one in seen.iter().filter(|one| one.method == "GET") {
        if let Some((_, digest)) = one.path.split_once("/blobs/") {
            *found.entry(digest).or_default() += 1;
        }
    }
    found
}

/// The tags of a repository, sorted.
fn tags(raw: &Raw, repo: &str) -> Vec<String> {
    let mut tags = raw.tags(repo);
    tags.sort();
    tags
}

fn manifest_digest(bench: &Bench, repo: &str, name: &str) -> String {
    digest(&bench.raw().manifest(repo, name).expect(200).body)
}

each_registry!(from_one_registry_to_another_every_blob_goes_once, |from| {
    let to = Bench::new(Mode::Http);
    let node = multi();
    seed(from.dxf(), &node, "team/app:v1");
    from.requests();
    // No temporary file: there is nowhere for one.
    let copy = || {
        between(from, &to)
            .env("DXF_TMPDIR", "/nowhere")
            .env("DXF_CACHE", "/nowhere/cache")
            .args(["team/app:v1", "new/name:v2"])
            .ok()
    };
    let expected = format!("{}/new/name@{}\n", to.host(), node_digest(&node));
    assert_eq!(copy().text(), expected);
    let (seen, put) = (from.requests(), to.requests());
    let fetched = fetched(&seen);
    assert_eq!(fetched.len(), node.blobs().len());
    assert!(fetched.values().all(|times| *times == 1), "{fetched:?}");
    // Two platforms, and the list of referrers that stay behind.
    assert_eq!(count(&seen, "GET", "/manifests/"), 4);
    assert_eq!(count(&put, "POST", "/uploads/"), fetched.len());
    // Children before the index, which gets its tag last.
    let puts: Vec<_> = put.iter().filter(|one| one.method == "PUT").collect();
    assert!(puts.last().unwrap().path.ends_with("/manifests/v2"));
    assert_eq!(manifest_digest(&to, "new/name", "v2"), node_digest(&node));
    // Again: one request there, two here.
    assert_eq!(copy().text(), expected);
    assert_eq!((from.requests().len(), to.requests().len()), (1, 2));
});

#[test]
fn within_a_registry_everything_is_mounted() {
    for mode in [Mode::Http, Mode::Token] {
        let bench = Bench::new(mode);
        for (tag, node) in [("one", docker_image()), ("two", multi())] {
            seed(bench.dxf(), &node, &format!("a/b:{tag}"));
            bench.requests();
            let words = [format!("a/b:{tag}"), format!("c/d:{tag}")];
            let copy = || bench.dxf().arg("cp").args(&words).ok();
            let printed = format!("{}/c/d@{}\n", bench.host(), node_digest(&node));
            assert_eq!(copy().text(), printed);
            let seen = bench.requests();
            assert_eq!(count(&seen, "POST", "/uploads/"), node.blobs().len());
            assert_eq!(count(&seen, "PUT", "/uploads/"), 0, "{seen:?}");
            assert!(fetched(&seen).is_empty(), "{seen:?}");
            if tag == "one" {
                // Of two layers; three requests ask what stays behind.
                assert!(seen.len() <= 2 * 2 + 2 + 3, "{}", seen.len());
            }
            copy();
            assert_eq!(bench.requests().len(), 3);
        }
    }
}

#[test]
fn a_registry_that_mounts_nothing_gets_everything_once() {
    let registry = Registry::http();
    let refusing = Server::before(
        &registry,
        [on(POST, "/v2/c/d/blobs/uploads/")
            .when(|head| head.query().contains("mount="))
            .reply(405)],
    );
    let dxf = || Dxf::new().plain(&refusing.host());
    let node = docker_image();
    seed(dxf(), &node, "a/b:1");
    dxf().args(["cp", "a/b:1", "c/d:1"]).ok();
    let sent = refusing.seen();
    assert_eq!(count(&sent, "PUT", "/v2/c/d/blobs/uploads/"), 3);
    // Existing blobs are not sent, and no session stays open.
    dxf().args(["tag-image", "c/d:1", "2"]).ok();
    let mut other: Value = serde_json::from_slice(node.manifest().bytes()).unwrap();
    other["annotations"] = json!({"k": "v"});
    let other = other.to_string().into_bytes();
    let kind = node.manifest().media_type();
    registry.raw().put_manifest("a/b", "other", kind, &other);
    dxf().args(["cp", "a/b:other", "c/d:other"]).ok();
    let sent = refusing.seen();
    assert_eq!(count(&sent, "PUT", "/v2/c/d/blobs/uploads/"), 3);
    assert_eq!(registry.open_uploads("c/d"), 0);
}

#[test]
fn folders_and_archives_are_sides_like_any_other() {
    let bench = Bench::new(Mode::Http);
    let dir = scratch();
    let at = |kind: &str, name: &str| format!("{kind}:{}", file(&dir, name).display());
    for (n, node) in [docker_image(), multi()].into_iter().enumerate() {
        let expected = node_digest(&node);
        seed(bench.dxf(), &node, "a/b:v1");
        let host = bench.host();
        let way = [
            "a/b:v1".to_string(),
            at("oci", &format!("layout{n}")),
            at("oci-archive", &format!("{n}.tar:v2")),
            at("docker-archive", &format!("{n}-2.tar:{host}/x/y:v3")),
            at("oci", &format!("second{n}:v4")),
            format!("c/d{n}:v5"),
        ];
        for pair in way.windows(2) {
            let out = bench.dxf().arg("cp").args(pair).ok();
            let end = format!("@{expected}\n");
            assert!(out.text().ends_with(&end), "{pair:?}: {out}");
            assert_eq!(out.stderr, "", "{out}");
        }
        assert_eq!(manifest_digest(&bench, &format!("c/d{n}"), "v5"), expected);
        let named = only(&file(&dir, &format!("{n}-2.tar")));
        assert_eq!(named.names[0].to_string(), format!("{host}/x/y:v3"));
    }
    // The name that is asked for, of several.
    let both = at("docker-archive", "both.tar");
    for (tag, node) in [("one", docker_image()), ("two", multi())] {
        seed(bench.dxf(), &node, &format!("e/f:{tag}"));
    }
    let all = ["cp", "--all-tags", "e/f", &both];
    assert_eq!(bench.dxf().args(all).ok().lines().len(), 2);
    let copy = |from: &str| bench.dxf().args(["cp", from, "g/h:x"]);
    copy(&both)
        .fails(1)
        .says("e/f:one")
        .says("source docker-archive:");
    copy(&format!("{both}:{}/e/f:two", bench.host())).ok();
    assert_eq!(manifest_digest(&bench, "g/h", "x"), node_digest(&multi()));
    copy(&format!("{both}:nobody/x")).fails(2).says("e/f:one");
    let spread = ["cp", "--tags", "t*", &both, "i/j"];
    bench.dxf().args(spread).ok();
    assert_eq!(tags(&bench.raw(), "i/j"), ["two"]);
    // A pipe, with nothing else on it.
    let piped = bench.dxf().args(["cp", "e/f:one", "oci-archive:-"]).ok();
    assert!(piped.stdout.starts_with(b"oci-layout"));
}

#[test]
fn a_blob_that_the_destination_lost_is_sent_again_under_the_same_tag() {
    let (from, to) = (Bench::new(Mode::Http), Bench::new(Mode::Http));
    let node = docker_image();
    seed(from.dxf(), &node, "a/b:v1");
    between(&from, &to).args(["a/b:v1", "c/d:v1"]).ok();
    let lost = *node.blobs()[0].digest();
    let blob = repository(&to, "c/d");
    blob.delete_blob(&lost).unwrap();
    assert!(blob.blob_size(&lost).unwrap().is_none());
    // The tag points to the manifest, but the registry refuses that now.
    between(&from, &to).args(["a/b:v1", "c/d:v1"]).ok();
    assert!(blob.blob_size(&lost).unwrap().is_some());
    to.dxf().args(["verify-image", "c/d:v1"]).ok();
}

#[test]
fn every_tag_goes_and_shared_blobs_once() {
    let (from, to) = (Bench::new(Mode::Http), Bench::new(Mode::Http));
    let (index, small) = (multi(), docker_image());
    let amd = Node::Image(image("linux/amd64", Family::Oci, GZIP));
    for (tag, node) in [
        ("all", &index),
        ("again", &index),
        ("v1", &amd),
        ("v2", &small),
    ] {
        seed(from.dxf(), node, &format!("a/b:{tag}"));
    }
    from.requests();
    let out = between(&from, &to).args(["--all-tags", "a/b", "c/d"]).ok();
    assert_eq!(out.lines().len(), 4);
    assert_eq!(tags(&to.raw(), "c/d"), ["again", "all", "v1", "v2"]);
    let (seen, put) = (from.requests(), to.requests());
    assert!(fetched(&seen).values().all(|times| *times == 1));
    // Nothing is even asked for a second time.
    let asked: Vec<_> = put.iter().filter(|one| one.method == "HEAD").collect();
    let different: BTreeSet<_> = asked.iter().map(|one| &one.path).collect();
    assert_eq!(asked.len(), different.len(), "{asked:?}");
    let json = between(&from, &to).env("DXF_OUTPUT", "json");
    let json = json.args(["--tags", "v[0-9]", "a/b", "e/f"]).ok().json();
    assert_eq!(json.as_array().unwrap().len(), 2);
    let v1 = json!({"name": format!("{}/e/f:v1", to.host()), "digest": node_digest(&amd)});
    assert!(json.as_array().unwrap().contains(&v1), "{json}");
    assert_eq!(tags(&to.raw(), "e/f"), ["v1", "v2"]);
    let none = between(&from, &to).args(["--tags", "x*", "a/b", "e/f"]);
    none.fails(2).says("Not Found").says("x*");
}

/// Puts an artifact about `subject` into a repository.
fn attach(store: &dyn Store, subject: &Manifest, text: &str) -> Manifest {
    let config = Blob::bytes("application/vnd.oci.empty.v1+json", b"{}".to_vec());
    let layer = Blob::bytes("text/plain", text.as_bytes().to_vec());
    for blob in [&config, &layer] {
        with_run(|run| store.put_blob(blob, run.watch)).unwrap();
    }
    let document = json!({"schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "artifactType": "application/vnd.example.sbom", "config": config.descriptor(),
        "layers": [layer.descriptor()], "subject": subject.descriptor()});
    let manifest = Manifest::new(None, document.to_string().into_bytes()).unwrap();
    store
        .put_manifest(&manifest, &manifest.digest().into())
        .unwrap();
    manifest
}

#[test]
fn referrers_go_along_and_are_listed() {
    let (from, to) = (Bench::new(Mode::Http), Bench::new(Mode::Http));
    let node = multi();
    seed(from.dxf(), &node, "a/b:v1");
    let source = repository(&from, "a/b");
    let child = node.images()[0].1.manifest().clone();
    let sbom = attach(&*source, node.manifest(), "sbom");
    let signature = attach(&*source, &sbom, "signature of the sbom");
    let mut last = signature.clone();
    let chain: Vec<Manifest> = (0..5)
        .map(|n| {
            last = attach(&*source, &last, &format!("about the one before, {n}"));
            last.clone()
        })
        .collect();
    let of_child = attach(&*source, &child, "sbom of a child");
    // cosign's way: a tag made of the digest.
    let hex = node.manifest().digest().hex();
    let cosign = format!("sha256-{hex}.sig");
    seed(from.dxf(), &docker_image(), &format!("a/b:{cosign}"));

    between(&from, &to).args(["a/b:v1", "bare/b:v1"]).ok();
    assert_eq!(tags(&to.raw(), "bare/b"), ["v1"]);
    let folder = scratch();
    let layout = format!("oci:{}", file(&folder, "l").display());
    let in_folder = dxf_registry::layout::Layout::at(file(&folder, "l"));
    let registry = repository(&to, "c/d");
    let places: [(&str, &str, &dyn Store); 2] =
        [("c/d:v1", "c/d", &*registry), (&layout, "", &in_folder)];
    for (name, repo, store) in places {
        for _ in 0..2 {
            let out = between(&from, &to)
                .args(["--referrers", "a/b:v1", name])
                .ok();
            assert_eq!(out.lines().len(), 1);
        }
        let listed = |subject: &Manifest| -> Vec<Digest> {
            let found = store.referrers(&subject.digest()).unwrap();
            found.iter().map(|d| d.digest).collect()
        };
        assert_eq!(listed(node.manifest()), [sbom.digest()], "{name}");
        assert_eq!(listed(&sbom), [signature.digest()]);
        for pair in chain.windows(2) {
            assert_eq!(listed(&pair[0]), [pair[1].digest()]);
        }
        assert_eq!(listed(&child), [of_child.digest()]);
        let tags: Vec<String> = store.tag_names().map(Result::unwrap).collect();
        assert!(tags.contains(&cosign), "{repo}: {tags:?}");
        // Where regctl looks.
        assert!(tags.contains(&format!("sha256-{hex}")), "{repo}: {tags:?}");
    }
    // The folder still has one image to choose.
    let one = between(&from, &to).args([&layout, "one/r:v"]).ok();
    assert!(one.text().trim_end().ends_with(&node_digest(&node)));
    to.dxf()
        .args(["push-image", "--all", &arg(&file(&folder, "l")), "all/r"])
        .ok();
    let pushed = repository(&to, "all/r").referrers(&sbom.digest()).unwrap();
    assert_eq!(pushed.len(), 1);
    // All tags: lists of referrers are no tags to copy.
    between(&from, &to).args(["--all-tags", "a/b", "e/f"]).ok();
    assert_eq!(tags(&to.raw(), "e/f"), [cosign.as_str(), "v1"]);
    // A second tag of the image has the same referrers.
    from.dxf().args(["tag-image", "a/b:v1", "v2"]).ok();
    from.requests();
    between(&from, &to)
        .args(["--all-tags", "--referrers", "a/b", "g/h"])
        .ok();
    let subject = format!("/referrers/{}", node_digest(&node));
    let asked = from.requests().into_iter();
    assert_eq!(asked.filter(|one| one.path.ends_with(&subject)).count(), 1);
    let listed = repository(&to, "g/h")
        .referrers(&node.manifest().digest())
        .unwrap();
    assert_eq!(listed.len(), 1);
}

#[test]
fn cut_connections_are_gone_on_with() {
    let (from, to) = (Registry::http(), Registry::http());
    let (front, back) = (Server::before(&from, []), Server::before(&to, []));
    let dxf = || {
        Dxf::new()
            .plain(&back.host())
            .env("DXF_FROM_HOST", front.host())
            .env("DXF_FROM_INSECURE", "1")
    };
    let bytes = blob(7, 3 << 20);
    let name = from.raw().push_blob("a", &bytes);
    Dxf::new()
        .plain(&front.host())
        .args(["set-alias", "a", "x", &name])
        .ok();
    // The source breaks off twice, the destination once.
    let path = format!("/v2/a/blobs/{name}");
    front.add([on(GET, &path).times(2).cut_after(1 << 20)]);
    back.add([on(PUT, "/v2/b/blobs/uploads/*")
        .times(1)
        .reset_after(1 << 20)]);
    dxf().args(["cp", "a:x", "b:y"]).ok();
    assert_eq!(to.raw().blob("b", &name).expect(200).body, bytes);
    // What was there was not sent again: it was asked for from there on.
    let asked = front.seen_at("GET", &path);
    let ranges = asked
        .iter()
        .filter(|one| one.headers.get("range").is_some());
    assert!(ranges.count() >= 1, "{asked:?}");
}

#[test]
fn aliases_are_copied_whatever_their_blobs() {
    let (from, to) = (Bench::new(Mode::Http), Bench::new(Mode::Http));
    // The first blob stands in as config, and is larger than one may be.
    let blobs = [blob(1, 5 << 20), blob(2, 100)];
    let names = blobs
        .each_ref()
        .map(|bytes| from.raw().push_blob("a", bytes));
    let set = ["set-alias", "a", "x", &names[0], &names[1]];
    let alias = from.dxf().args(set).ok().stdout;
    between(&from, &to).args(["a:x", "b:y"]).ok();
    let got = to.dxf().args(["get-manifest", "b", "y"]).ok();
    assert_eq!(got.stdout, alias);
    let pulled = to.dxf().args(["pull-blob", "b", "@y"]).ok().stdout;
    assert_eq!(pulled, blobs.concat());
}

/// A server that wants a password of its own.
pub fn guarded(registry: &Registry, password: &str) -> (Server, String) {
    let header = format!("Basic {}", STANDARD.encode(format!("{USER}:{password}")));
    let expected = header.clone();
    let refuse: Rule = on(ANY, "/v2/*")
        .when(move |head| head.headers.get("authorization") != Some(expected.as_str()))
        .reply(401)
        .header("WWW-Authenticate", "Basic realm=\"x\"");
    (Server::before(registry, [refuse]), header)
}

#[test]
fn each_side_sees_its_own_password_and_no_other() {
    let (one, other) = (Registry::http(), Registry::http());
    let node = docker_image();
    seed(Dxf::new().plain(one.host()), &node, "a/b:1");
    let (from, from_header) = guarded(&one, "source-word");
    let (to, to_header) = guarded(&other, "target-word");
    let dxf = |source: &str, target: &str| {
        Dxf::new()
            .plain(&to.host())
            .login(USER, target)
            .env("DXF_ALLOW_INSECURE_AUTH", "1")
            .env("DXF_FROM_HOST", from.host())
            .env("DXF_FROM_INSECURE", "1")
            .env("DXF_FROM_ALLOW_INSECURE_AUTH", "1")
            .env("DXF_FROM_USERNAME", USER)
            .env("DXF_FROM_PASSWORD", source)
            .secret(source)
            .arg("cp")
    };
    dxf("source-word", "target-word")
        .args(["a/b:1", "c/d:1"])
        .ok();
    // Without a host of its own the password is for the host that is named.
    let named = dxf("source-word", "target-word").env_remove("DXF_FROM_HOST");
    named
        .args([&format!("{}/a/b:1", from.host()), "c/d:2"])
        .ok();
    for (server, own) in [(&from, &from_header), (&to, &to_header)] {
        let seen = server.seen();
        let sent: BTreeSet<&str> = seen
            .iter()
            .flat_map(|s| s.headers.get("authorization"))
            .collect();
        assert_eq!(sent, BTreeSet::from([own.as_str()]));
    }
    // One that is wrong is told by its side, and nothing is tagged.
    let wrong = dxf("wrong-word", "target-word")
        .args(["a/b:1", "c/d:3"])
        .fails(13);
    wrong
        .says(&format!("source {}/a/b:1:", from.host()))
        .says("DXF_FROM_PASSWORD");
    let wrong = dxf("source-word", "wrong-word")
        .args(["a/b:1", "c/d:3"])
        .fails(13);
    wrong
        .says(&format!("destination {}/c/d:3:", to.host()))
        .says("DXF_USERNAME and DXF_PASSWORD");
    assert_eq!(tags(&other.raw(), "c/d"), ["1", "2"]);
    // A login for the destination is not tried on a source without one.
    let bare = dxf("never-used", "target-word");
    let bare = ["HOST", "USERNAME", "PASSWORD"]
        .iter()
        .fold(bare, |dxf, name| {
            dxf.env_remove(&format!("DXF_FROM_{name}"))
        });
    let seen = from.seen().len();
    bare.args([&format!("{}/a/b:1", from.host()), "c/d:4"])
        .fails(13)
        .says("source")
        .says("DXF_FROM_USERNAME");
    for one in &from.seen()[seen..] {
        assert_eq!(one.headers.get("authorization"), None);
    }
}

#[test]
fn what_is_missing_or_wrong_at_the_source_is_tagged_nowhere() {
    let (from, to) = (Bench::new(Mode::Http), Bench::new(Mode::Http));
    let node = docker_image();
    seed(from.dxf(), &node, "a/b:1");
    let place = format!("source {}/a/b:none:", from.host());
    let none = between(&from, &to).args(["a/b:none", "c/d:1"]).fails(2);
    none.says(&place).says("Not Found");
    assert!(to.requests().is_empty());
    // A layer that is not what its digest says: not the destination's fault.
    let layer = node.images()[0].1.layers()[0].digest().to_string();
    let path = format!("/v2/a/b/blobs/{layer}");
    from.front.add([on(GET, &path).corrupt()]);
    let wrong = between(&from, &to).args(["a/b:1", "c/d:1"]).fails(65);
    wrong
        .says(&format!("source {}/a/b:1:", from.host()))
        .says("digest mismatch");
    assert_eq!(
        to.raw().send("GET", "/v2/c/d/manifests/1", &[], b"").status,
        404
    );
    // A destination that takes no manifest.
    let full = Server::before(&to.registry, [on(PUT, "/v2/e/f/manifests/*").reply(507)]);
    let dxf = Dxf::new().plain(&full.host()).env("DXF_RETRIES", "0");
    let dxf = dxf.args(["cp", &format!("{}/e/g:1", full.host()), "e/f:1"]);
    seed(to.dxf(), &node, "e/g:1");
    dxf.fails(69)
        .says(&format!("destination {}/e/f:1:", full.host()));
}

#[test]
fn one_platform_of_an_index() {
    let (from, to) = (Bench::new(Mode::Http), Bench::new(Mode::Http));
    let node = multi();
    seed(from.dxf(), &node, "a/b:all");
    seed(from.dxf(), &docker_image(), "a/b:amd");
    let copy = |platform: &str, from_tag: &str| {
        let words = ["--platform", platform, from_tag, "c/d:one"];
        between(&from, &to).args(words)
    };
    for (platform, tag, code) in [
        ("linux/s390x", "a/b:all", 2),
        ("linux/arm64", "a/b:amd", 2),
        ("x", "a/b:all", 2),
    ] {
        copy(platform, tag).fails(code);
    }
    to.raw().manifest("c/d", "one").expect(404);
    copy("linux/arm64", "a/b:all").ok();
    let arm = node.images()[0].1.manifest().digest().to_string();
    assert_eq!(manifest_digest(&to, "c/d", "one"), arm);
    // What the variable says is for those who look, not for copies.
    let all = between(&from, &to).env("DXF_PLATFORM", "linux/arm64");
    all.args(["a/b:all", "c/d:two"]).ok();
    assert_eq!(manifest_digest(&to, "c/d", "two"), node_digest(&node));
}

#[test]
fn converting_is_the_only_way_to_another_digest() {
    let bench = Bench::new(Mode::Http);
    let dir = scratch();
    seed(bench.dxf(), &multi(), "a/b:oci");
    let convert = |to: &str, from: &str, name: &str| {
        let words = ["cp", "--convert", to, from, name];
        let out = bench.dxf().args(words).ok();
        let (_, digest) = out.text().trim().split_once('@').expect("a digest");
        digest.to_string()
    };
    let docker = convert("docker", "a/b:oci", "a/b:docker");
    assert_ne!(docker, node_digest(&multi()));
    let back = convert("oci", "a/b:docker", "a/b:back");
    assert_eq!(convert("docker", "a/b:back", "a/b:again"), docker);
    assert_eq!(convert("oci", "a/b:oci", "a/b:same"), node_digest(&multi()));
    let archive = format!("oci-archive:{}", file(&dir, "o.tar").display());
    assert_eq!(convert("oci", "a/b:docker", &archive), back);
    assert_eq!(convert("docker", &archive, "a/b:last"), docker);
    let list = bench.raw().manifest("a/b", "docker").expect(200).json();
    assert_eq!(
        list["mediaType"],
        "application/vnd.docker.distribution.manifest.list.v2+json"
    );
    if let Some(skopeo) = Tool::find("skopeo") {
        let name = |tag: &str| format!("docker://{}/a/b:{tag}", bench.host());
        let raw = skopeo.run(["inspect", "--tls-verify=false", "--raw", &name("docker")]);
        assert_eq!(digest(raw.as_bytes()), docker);
        for tag in ["docker", "back"] {
            let to = format!("docker-archive:{}:x:1", arg(&file(&dir, tag)));
            let copy = [
                "copy",
                "--src-tls-verify=false",
                "--override-arch=amd64",
                &name(tag),
                &to,
            ];
            skopeo.run(copy);
        }
    }
    // What Docker has no word for.
    let store = repository(&bench, "a/b");
    let artifact = attach(&*store, multi().manifest(), "x").digest();
    let artifact = format!("a/b@{artifact}");
    let refused = bench
        .dxf()
        .args(["cp", "--convert=docker", &artifact, "e/f:1"]);
    refused.fails(1).says("cannot express").says("source");
    bench.raw().manifest("e/f", "1").expect(404);
}

#[test]
fn engines_pull_and_run_what_was_converted() {
    let bench = Bench::new(Mode::Http);
    let dir = scratch();
    let program = file(&dir, "hello");
    std::fs::write(&program, hello()).unwrap();
    std::fs::set_permissions(&program, Permissions::from_mode(0o755)).unwrap();
    let add = format!("--add-path={}:/hello", arg(&program));
    let words = ["--platform=linux/amd64", &add, "--cmd=/hello", "scratch"];
    let made = bench.dxf().arg("edit-image").args(words);
    made.arg("a/b:first").ok();
    for (to, from, name) in [
        ("docker", "a/b:first", "a/b:docker"),
        ("oci", "a/b:docker", "a/b:back"),
    ] {
        bench.dxf().args(["cp", "--convert", to, from, name]).ok();
    }
    let config = bench.dxf().args(["get-config", "a/b:first"]).ok().stdout;
    let names = ["docker", "back"].map(|tag| format!("{}/a/b:{tag}", bench.host()));
    if let Some(docker) = Docker::start() {
        for name in &names {
            docker.run(["pull", "--quiet", name]);
            assert_eq!(docker.container(name), "hello\n");
            assert_eq!(docker.id(name), digest(&config));
        }
    }
    if let Some(podman) = Tool::find("podman") {
        for name in &names {
            podman.run(["pull", "--quiet", "--tls-verify=false", name]);
            assert_eq!(podman.container(name, &[]), "hello\n");
        }
    }
}

#[test]
fn skopeo_finds_what_was_copied() {
    let Some(skopeo) = Tool::find("skopeo") else {
        return;
    };
    let (from, to) = (Bench::new(Mode::Http), Bench::new(Mode::Http));
    seed(from.dxf(), &docker_image(), "a/b:1");
    between(&from, &to).args(["a/b:1", "c/d:1"]).ok();
    let inspect = |bench: &Bench, name: &str| -> Value {
        let name = format!("docker://{}/{name}", bench.host());
        let said = skopeo.run(["inspect", "--tls-verify=false", &name]);
        serde_json::from_str(&said).expect("JSON")
    };
    let (there, here) = (inspect(&from, "a/b:1"), inspect(&to, "c/d:1"));
    for member in ["Digest", "Layers", "Created", "Architecture"] {
        assert_eq!(there[member], here[member], "{member}");
    }
    to.dxf().args(["verify-image", "c/d:1"]).ok();
}

each_place!(more_tags_for_what_is_there, |place| {
    let bytes = b"abc";
    place.put("a", bytes);
    let set = place
        .run(["set-alias", "a", "one", &digest(bytes)])
        .ok()
        .stdout;
    let name = digest(&set);
    let out = place.run(["tag-image", "a:one", "two", "three"]).ok();
    let lines = out.lines();
    assert_eq!(lines.len(), 2);
    assert!(lines[0].ends_with(&format!("a:two@{name}")), "{out}");
    assert!(lines[1].ends_with(&format!("a:three@{name}")), "{out}");
    let again = place.run(["tag-image", &format!("a@{name}"), "two"]).ok();
    assert_eq!(again.lines().len(), 1);
    let got = place.run(["get-manifest", "a", "three"]).ok();
    assert_eq!(got.stdout, set);
    place
        .run(["tag-image", "a:none", "x"])
        .fails(2)
        .says("Not Found");
    place.run(["tag-image", "a:one", "ok", "not ok"]).fails(2);
    place
        .run(["tag-image", "a:one"])
        .misused("too few arguments");
    // The repository and its tag as two words, as other commands take them.
    place.run(["tag-image", "a:one", "latest"]).ok();
    place
        .run(["tag-image", "a", "two", "stable"])
        .fails(2)
        .says("write a:two stable");
    place.run(["tag-image", "a", "new", "two"]).ok();
    let listed = place.run(["list-aliases", "a"]).ok();
    let listed: BTreeSet<_> = listed.lines().into_iter().collect();
    let all = ["latest", "new", "one", "three", "two"];
    assert_eq!(listed, BTreeSet::from(all));
});

#[test]
fn an_index_is_tagged_whole_and_for_one_request() {
    let bench = Bench::new(Mode::Http);
    seed(bench.dxf(), &multi(), "a/b:1");
    bench.requests();
    bench.dxf().args(["tag-image", "a/b:1", "2"]).ok();
    assert_eq!(
        bench.request_lines(),
        ["GET /v2/a/b/manifests/1", "PUT /v2/a/b/manifests/2"]
    );
    assert_eq!(manifest_digest(&bench, "a/b", "2"), node_digest(&multi()));
    // A registry whose tags can't change takes what changes nothing.
    let stiff = Server::before(
        &bench.registry,
        [
            on(PUT, "/v2/a/b/manifests/2").times(2).reply(409),
            on(HEAD, "/v2/x").times(0).reply(200),
        ],
    );
    let tag = |from: &str| {
        Dxf::new()
            .plain(&stiff.host())
            .args(["tag-image", from, "2"])
    };
    tag("a/b:1").ok();
    seed(bench.dxf(), &docker_image(), "a/b:other");
    tag("a/b:other").fails(1);
}

each_registry!(
    a_dry_run_counts_what_would_be_sent_and_sends_nothing,
    |from| {
        let to = Bench::new(Mode::Http);
        let node = multi();
        seed(from.dxf(), &node, "team/app:v1");
        let words = ["--dry-run", "team/app:v1", "new/name:v2"];
        let out = between(from, &to).args(words).ok();
        let blobs = format!("upload  {} blobs", node.blobs().len());
        let line = format!("would print {}/new/name@{}", to.host(), node_digest(&node));
        let lines = out.lines();
        assert!(lines.iter().any(|l| l.starts_with(&blobs)), "{out}");
        assert!(
            lines.iter().any(|l| l.starts_with("put     3 manifests")),
            "{out}"
        );
        assert_eq!(lines.last().map(|l| l.to_string()), Some(line), "{out}");
        assert!(to.requests().iter().all(|one| one.method == "HEAD"));
        let json = between(from, &to)
            .env("DXF_OUTPUT", "json")
            .args(words)
            .ok()
            .json();
        assert_eq!(json["images"][0]["digest"], node_digest(&node));
        assert_eq!(json["transfer"]["upload"]["blobs"], node.blobs().len());

        between(from, &to).args(["team/app:v1", "new/name:v2"]).ok();
        let out = between(from, &to).args(words).ok();
        assert!(out.text().contains("upload  0 blobs"), "{out}");
        // A file that would be written is not.
        let dir = scratch();
        let path = file(&dir, "x.tar");
        let words = [
            "--dry-run",
            "team/app:v1",
            &format!("oci-archive:{}", path.display()),
        ];
        let out = between(from, &to).args(words).ok();
        assert!(out.text().contains("write  "), "{out}");
        assert!(!path.exists());
    }
);

#[test]
fn what_stays_behind_is_counted() {
    let bench = Bench::new(Mode::Http);
    let dir = scratch();
    seed(bench.dxf(), &docker_image(), "a/b:1");
    let cp = |to: &str, more: &[&str]| bench.dxf().arg("cp").args(more).args(["a/b:1", to]).ok();
    assert!(!cp("c/none:1", &[]).stderr.contains("referrer"));
    std::fs::write(dir.path().join("sbom.json"), "{}").unwrap();
    let attach = |kind: &str| {
        let words = ["attach", "a/b:1", "--type", kind, "sbom.json"];
        bench.dxf().current_dir(dir.path()).args(words).ok()
    };
    attach("application/vnd.example.one");
    cp("c/one:1", &[])
        .says("1 referrer was not copied")
        .says("--referrers copies it, too");
    attach("application/vnd.example.two");
    let hex = node_digest(&docker_image()).replace(':', "-");
    bench
        .dxf()
        .args(["tag-image", "a/b:1", &format!("{hex}.sig")])
        .ok();
    cp("c/two:1", &[]).says("3 referrers were not copied");
    let archive = format!("oci-archive:{}", file(&dir, "x.tar").display());
    cp(&archive, &[]).says("3 referrers were not copied");
    assert!(
        !cp("c/all:1", &["--referrers"])
            .stderr
            .contains("not copied")
    );
    // Of many tags, the lists among them tell.
    let all = |more: &[&str]| {
        let words = ["cp", "--all-tags", "a/b", "d/all"];
        bench.dxf().args(words).args(more).ok().stderr
    };
    let told = all(&[]);
    assert!(
        told.contains("what refers to 1 image is not copied"),
        "{told}"
    );
    assert_eq!(all(&["--referrers"]), "");
    // Where everything was there, nothing is asked.
    bench.requests();
    cp("c/two:1", &[]);
    assert_eq!(bench.requests().len(), 3);
}

#[test]
fn words_that_make_no_copy() {
    let bench = Bench::new(Mode::Http);
    let dir = scratch();
    let cp = |words: &[&str]| bench.dxf().arg("cp").args(words);
    cp(&["a/b:1"]).misused("too few arguments");
    cp(&["a/b:1", "c/d", "e"]).misused("too many arguments");
    cp(&["--all-tags", "a/b:1", "c/d"]).misused("leave the tags out");
    cp(&["--tags=v*", "a/b", "c/d:1"]).misused("leave the tags out");
    cp(&["--tags=[v", "a/b", "c/d"]).misused("--tags");
    cp(&["--referrers", "--convert=oci", "a/b", "c/d"]).misused("--convert");
    cp(&["a/b:1", "c/D"]).fails(2);
    cp(&["a/b:1", "oci-archive:/nowhere/x.tar"])
        .fails(1)
        .says("destination oci-archive:");
    std::fs::write(dir.path().join("other"), "x").unwrap();
    cp(&["a/b:1", &format!("oci:{}", dir.path().display())])
        .fails(1)
        .says("neither empty nor an OCI layout");
    cp(&["oci:/nowhere:1", "a/b"])
        .fails(2)
        .says("source oci:/nowhere:1");
    let bad = bench
        .dxf()
        .env("DXF_FROM_INSECURE", "1")
        .env("DXF_FROM_ANONYMOUS", "x");
    bad.args(["cp", "a/b", "c/d"])
        .fails(2)
        .says("DXF_FROM_ANONYMOUS");
    assert!(bench.requests().is_empty());
    // The digest beside a tag is a demand.
    seed(bench.dxf(), &docker_image(), "a/b:1");
    let other = digest(b"other");
    cp(&["a/b:1", &format!("c/d:1@{other}")])
        .fails(65)
        .says("digest mismatch");
    bench.raw().manifest("c/d", "1").expect(404);
}

#[test]
fn variables_of_a_source_are_shown_without_its_secrets() {
    let shown = Dxf::new()
        .env("DXF_FROM_HOST", "r.example")
        .env("DXF_FROM_PASSWORD", "hush")
        .env("DXF_FROM_PROXY", "http://u:hush@p")
        .secret("hush")
        .arg("show-env")
        .ok();
    for line in [
        "DXF_FROM_HOST = r.example  (environment: DXF_FROM_HOST)",
        "DXF_FROM_PASSWORD = ***  (environment: DXF_FROM_PASSWORD)",
        "DXF_FROM_PROXY = http://***@p  (environment: DXF_FROM_PROXY)",
    ] {
        assert!(shown.lines().contains(&line), "{shown}");
    }
}

each_place!(the_index_of_a_build_cache_goes_with_its_blobs, |place| {
    let (layer, config) = (
        place.put("cache/from", b"layer"),
        digest(b"{\"layers\": []}"),
    );
    place.put("cache/from", b"{\"layers\": []}");
    let entry = |kind: &str, digest: &str, size: usize| json!({"mediaType": kind, "digest": digest, "size": size});
    let index = json!({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json",
    "manifests": [
        entry("application/vnd.oci.image.layer.v1.tar+gzip", &layer, 5),
        entry("application/vnd.buildkit.cacheconfig.v0", &config, 14),
    ]});
    let text = index.to_string();
    let kind = "application/vnd.oci.image.index.v1+json";
    let name = place.put_manifest("cache/from", "v1", kind, text.as_bytes());
    let copied = place.says(["copy-image", "cache/from:v1", "cache/to:v1"]);
    assert!(copied.trim_end().ends_with(&name), "{copied}");
    assert_eq!(place.manifest("cache/to", "v1").unwrap(), text.as_bytes());
    assert!(place.has_blob("cache/to", &layer) && place.has_blob("cache/to", &config));
    let verified = place.says(["verify-image", "cache/to:v1"]);
    assert!(verified.contains(&layer) && verified.contains(&config));
    // It is for no platform, and no alias of anything.
    assert_eq!(place.says(["list-platforms", "cache/to:v1"]), "");
    let refused = place.run(["get-alias", "cache/to", "v1"]).fails(1);
    refused.says("an index of blobs");
    // Through a file and back.
    place.says(["copy-image", "cache/to:v1", "oci-archive:cache.tar:v1"]);
    place.says(["copy-image", "oci-archive:cache.tar:v1", "cache/back:v1"]);
    assert_eq!(place.manifest("cache/back", "v1").unwrap(), text.as_bytes());
    assert!(place.has_blob("cache/back", &layer));
});

/// The registries at hand do not take this type, which came and went with the
/// release candidates of OCI 1.1.
#[test]
fn an_artifact_manifest_goes_with_its_blobs() {
    let kind = "application/vnd.oci.artifact.manifest.v1+json";
    let memory = Memory::new();
    let blob = memory.put(b"an sbom");
    let entry = json!({"mediaType": "text/plain", "digest": blob, "size": 7});
    let text = json!({"mediaType": kind, "artifactType": "x/y", "blobs": [entry]}).to_string();
    let name = digest(text.as_bytes());
    let served = |path: &str| {
        let manifest = on(ANY, path).reply(200).body(text.clone());
        manifest.header("Content-Type", kind)
    };
    let manifest = format!("/v2/a/manifests/{name}");
    let from = [served("/v2/a/manifests/v1"), served(&manifest)];
    let put = |path: &str| on(PUT, path).times(1).reply(201);
    let to = [
        put("/v2/b/manifests/v1"),
        on(HEAD, "/v2/b/manifests/*").reply(404),
        on(HEAD, "/v2/b/blobs/*").reply(404),
    ];
    let none = [
        on(GET, "/v2/a/referrers/*").reply(404),
        on(ANY, "/v2/a/manifests/sha256-*").reply(404),
    ];
    let rules = from.into_iter().chain(to).chain(none);
    let server = Server::script(rules.chain(memory.rules()));
    let folder = scratch();
    let dxf = Dxf::new().plain(&server.host()).current_dir(folder.path());
    let run = |words: &[&str]| dxf.clone().args(words).ok().text().to_string();
    let stored = digest(b"an sbom").replace(':', "/");
    run(&["copy-image", "a:v1", "oci:one:v1"]);
    assert!(run(&["verify-image", "oci:one:v1"]).contains(&blob));
    run(&["copy-image", "oci:one:v1", "oci-archive:a.tar:v1"]);
    let back = run(&["copy-image", "oci-archive:a.tar:v1", "oci:two:v1"]);
    assert!(back.contains(&name), "{back}");
    for at in ["one", "two"] {
        let blobs = folder.path().join(at).join("blobs");
        assert_eq!(std::fs::read(blobs.join(&stored)).unwrap(), b"an sbom");
        let bytes = std::fs::read(blobs.join(name.replace(':', "/"))).unwrap();
        assert_eq!(bytes, text.as_bytes());
    }
    run(&["copy-image", "oci:two:v1", "b:v1"]);
    // Where an image or an alias is needed, its type is named.
    dxf.args(["get-alias", "a", "v1"]).fails(1).says(kind);
}

#[test]
fn an_archive_keeps_the_images_of_other_names() {
    let bench = Bench::new(Mode::Http);
    let dir = scratch();
    let path = file(&dir, "f.tar");
    let (one, two) = (docker_image(), multi());
    seed(bench.dxf(), &one, "a/b:one");
    seed(bench.dxf(), &two, "a/b:two");
    let cp = |from: &str, to: &str| bench.dxf().args(["cp", from, to]).ok();
    let at = |name: &str| format!("oci-archive:{}:{name}", path.display());
    let digest_of = |name: &str| {
        let copied = cp(&at(name), "x/y:z");
        copied
            .text()
            .trim_end()
            .rsplit_once('@')
            .unwrap()
            .1
            .to_string()
    };
    cp("a/b:one", &at("a"));
    let added = cp("a/b:two", &at("b"));
    assert_eq!(added.lines().len(), 1, "{added}");
    let (first, second) = (node_digest(&one), node_digest(&two));
    assert_eq!((digest_of("a"), digest_of("b")), (first, second.clone()));
    // The same name is replaced; an engine's name goes beside a label.
    cp("a/b:two", &at("a"));
    assert_eq!(
        (digest_of("a"), digest_of("b")),
        (second.clone(), second.clone())
    );
    cp(
        "a/b:one",
        &format!("docker-archive:{}:app:1", path.display()),
    );
    cp("a/b:two", &format!("docker-archive:{}", path.display()));
    cp("a/b:two", &format!("docker-archive:{}", path.display()));
    let names = |items: Vec<Item>| -> Vec<String> {
        let names = items.into_iter().flat_map(|item| item.names);
        names.map(|name| name.to_string()).collect()
    };
    let host = bench.host();
    let mut found = names(read(&path));
    found.sort();
    assert_eq!(
        found,
        [format!("{host}/a/b:two"), "docker.io/library/app:1".into()]
    );
    assert_eq!(digest_of("b"), second);
    // A copy within the file, and one into what is compressed.
    cp(&at("b"), &at("c"));
    assert_eq!(digest_of("c"), second);
    let bytes = std::fs::read(&path).unwrap();
    let mut small = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut small, &bytes).unwrap();
    std::fs::write(&path, small.finish().unwrap()).unwrap();
    cp("a/b:one", &at("d"));
    assert_eq!(
        (digest_of("b"), digest_of("d")),
        (second, node_digest(&one))
    );
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn a_file_that_is_no_archive_stays() {
    let bench = Bench::new(Mode::Http);
    let dir = scratch();
    let path = file(&dir, "f.tar");
    seed(bench.dxf(), &docker_image(), "a/b:1");
    bench.requests();
    for kind in ["oci-archive", "docker-archive"] {
        std::fs::write(&path, "thesis").unwrap();
        let to = format!("{kind}:{}", path.display());
        let cp = || bench.dxf().args(["cp", "a/b:1", &to]);
        cp().fails(1)
            .says("exists and is not an image archive; name another file or remove it");
        assert_eq!(std::fs::read(&path).unwrap(), b"thesis");
        assert!(bench.requests().is_empty());
        // As mktemp leaves it.
        std::fs::write(&path, "").unwrap();
        cp().ok();
        assert_eq!(only(&path).node.manifest(), docker_image().manifest());
        bench.requests();
    }
}

#[test]
fn what_an_engine_saved_keeps_its_image() {
    let bench = Bench::new(Mode::Http);
    let dir = scratch();
    let path = file(&dir, "f.tar");
    seed(bench.dxf(), &docker_image(), "a/b:1");
    seed(bench.dxf(), &multi(), "a/b:2");
    let save = ["pull-image", "--format=docker", "--tag=saved:1", "a/b:1"];
    bench.dxf().args(save).arg(&path).ok();
    let archive = format!("docker-archive:{}", path.display());
    let cp = |from: &str, to: &str| bench.dxf().args(["cp", from, to]).ok();
    // As it would be copied from the file that the engine wrote.
    let before = cp(&format!("{archive}:saved:1"), "x/y:before");
    cp("a/b:2", &archive);
    let after = cp(&format!("{archive}:saved:1"), "x/y:before");
    assert_eq!(after.text(), before.text());
    bench.dxf().args(["verify-image", "x/y:before"]).ok();
}

#[test]
fn referrers_go_through_archives() {
    let bench = Bench::new(Mode::Http);
    let dir = scratch();
    let path = file(&dir, "f.tar");
    let (node, other) = (multi(), docker_image());
    seed(bench.dxf(), &node, "a/b:v1");
    seed(bench.dxf(), &other, "a/b:v2");
    let source = repository(&bench, "a/b");
    let child = node.images()[0].1.manifest().clone();
    let sbom = attach(&*source, node.manifest(), "sbom");
    let signature = attach(&*source, &sbom, "signature of the sbom");
    let of_child = attach(&*source, &child, "sbom of a child");
    let cosign = format!("sha256-{}.sig", node.manifest().digest().hex());
    seed(
        bench.dxf(),
        &Node::Image(image("linux/s390x", Family::Oci, GZIP)),
        &format!("a/b:{cosign}"),
    );
    let run = |words: &[&str]| bench.dxf().args(words).ok();
    let archive = format!("oci-archive:{}", path.display());
    let named = format!("{archive}:v1");
    let copy = ["cp", "--referrers", "a/b:v1", &named];
    let expected = format!("{archive}@{}\n", node_digest(&node));
    for _ in 0..2 {
        assert_eq!(run(&copy).text(), expected);
    }
    let items = read(&path);
    let labels: Vec<String> = items.iter().flat_map(|item| item.labels.clone()).collect();
    // Three lists, where regctl looks, with the three referrers.
    let (lists, others): (Vec<String>, Vec<String>) = labels
        .into_iter()
        .partition(|label| is_referrers_tag(label));
    assert_eq!(
        (items.len(), others),
        (8, vec!["v1".to_string(), cosign.clone()])
    );
    let of = |manifest: &Manifest| format!("sha256-{}", manifest.digest().hex());
    for subject in [node.manifest(), &child, &sbom] {
        assert!(lists.contains(&of(subject)), "{lists:?}");
    }
    let all_there = |repo: &str| {
        let store = repository(&bench, repo);
        let listed = |subject: &Manifest| -> Vec<Digest> {
            let found = store.referrers(&subject.digest()).unwrap();
            found.iter().map(|d| d.digest).collect()
        };
        assert_eq!(listed(node.manifest()), [sbom.digest()], "{repo}");
        assert_eq!(listed(&sbom), [signature.digest()]);
        assert_eq!(listed(&child), [of_child.digest()]);
        assert_eq!(manifest_digest(&bench, repo, "v"), node_digest(&node));
        assert!(tags(&bench.raw(), repo).contains(&cosign));
    };
    // They are no images to choose from, and are left out unless asked for.
    run(&["cp", "--referrers", &archive, "one/r:v"]);
    all_there("one/r");
    run(&["cp", &archive, "two/r:v"]);
    run(&["push-image", &arg(&path), "three/r:v"]);
    for repo in ["two/r", "three/r"] {
        assert_eq!(tags(&bench.raw(), repo), ["v"]);
        assert_eq!(manifest_digest(&bench, repo, "v"), node_digest(&node));
    }
    // From file to file, beside another image.
    let second = file(&dir, "g.tar");
    let to = format!("docker-archive:{}", second.display());
    run(&["cp", "a/b:v2", &to]);
    run(&["cp", "--referrers", &named, &format!("{to}:app:v")]);
    run(&["cp", "--referrers", &format!("{to}:app:v"), "four/r:v"]);
    all_there("four/r");
    let spread = ["cp", "--tags=v*", "--referrers", &to, "five/r"];
    assert_eq!(run(&spread).lines().len(), 2);
    all_there("five/r");
    assert_eq!(manifest_digest(&bench, "five/r", "v2"), node_digest(&other));
}
