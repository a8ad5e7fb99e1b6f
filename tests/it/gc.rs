//! `gc`: what nothing reaches is deleted, everything else stays, whatever writes
//! meanwhile and whenever it is killed.
//!
//! `DXF_GC_ROUNDS` makes it longer, `DXF_GC_SEED` repeats what the writers do.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use dxf_registry::descriptor::media_type;
use dxf_registry::files::files_in_parts;
use dxf_registry::graph::verify::{Scrutiny, names};
use dxf_registry::keeping::gc::Collection;
use dxf_registry::layout::{Layout, Layouts};
use dxf_registry::stream::{Run, Watch};
use dxf_registry::{Blob, Descriptor, Digest, Manifest, ReadStore, Store, Target, alias};
use serde_json::{Value, json};

use super::support::data::{Random, blob, seed, setting};
use super::support::dxf::{Dxf, Output};
use super::support::scratch;

fn dxf(folder: &Path, words: &[&str]) -> Dxf {
    let host = format!("oci:{}", folder.display());
    Dxf::new().env("DXF_HOST", host).args(words)
}

fn run(folder: &Path, words: &[&str]) -> Output {
    dxf(folder, words).ok()
}

fn gc(folder: &Path, words: &[&str]) -> Output {
    run(folder, &[&["gc", "--grace", "0s"], words].concat())
}

fn layout(folder: &Path) -> Layout {
    Layouts::new(folder).repository(&"a".parse().unwrap())
}

fn target(text: &str) -> Target {
    text.parse().unwrap()
}

fn put(store: &Layout, text: &str) -> Descriptor {
    let blob = Blob::bytes(media_type::OCTET_STREAM, text.as_bytes().to_vec());
    store.put_blob(&blob, Watch::default()).unwrap();
    blob.descriptor().clone()
}

/// An artifact, about another manifest or none, under a tag or its digest.
fn artifact(store: &Layout, text: &str, subject: Option<&Manifest>, at: Option<&str>) -> Manifest {
    let (config, layer) = (put(store, "{}"), put(store, text));
    let mut document = json!({"schemaVersion": 2, "mediaType": media_type::OCI_MANIFEST,
        "artifactType": "text/plain", "config": config, "layers": [layer]});
    if let Some(subject) = subject {
        document["subject"] = json!(subject.descriptor());
    }
    let manifest = Manifest::new(None, document.to_string().into_bytes()).unwrap();
    let by_digest = Target::Digest(manifest.digest());
    store
        .put_manifest(&manifest, &at.map_or(by_digest, target))
        .unwrap();
    manifest
}

fn index(store: &Layout, children: &[&Manifest], at: &str) -> Manifest {
    let children: Vec<Descriptor> = children.iter().map(|child| child.descriptor()).collect();
    let document = json!({"schemaVersion": 2, "mediaType": media_type::OCI_INDEX,
        "manifests": children});
    let manifest = Manifest::new(None, document.to_string().into_bytes()).unwrap();
    store.put_manifest(&manifest, &target(at)).unwrap();
    manifest
}

fn has(store: &Layout, digest: &Digest) -> bool {
    store.blob_size(digest).unwrap().is_some()
}

fn files(folder: &Path) -> usize {
    fs::read_dir(folder.join("a/blobs/sha256")).unwrap().count()
}

fn whole(store: &Layout) {
    let tags: Vec<Target> = store.tags().map(|tag| Target::Tag(tag.unwrap())).collect();
    let scrutiny = Scrutiny::Digests {
        files_of: files_in_parts,
    };
    let found = names(store, tags, scrutiny, Run::default()).unwrap();
    for one in found {
        assert!(one.verdict().is_good(), "{one:?}");
    }
}

#[test]
fn what_no_alias_reaches_is_freed_and_the_dry_run_lists_the_same() {
    let folder = scratch();
    let at = folder.path();
    let path = |name: &str| at.join(name).display().to_string();
    for name in ["one", "two", "both"] {
        fs::write(path(name), name).unwrap();
    }
    for (name, tag) in [("one", "@old"), ("two", "@new")] {
        run(at, &["push-blob", "a", &path(name), tag]);
    }
    run(at, &["set-alias", "a", "older", &path("one")]);
    run(at, &["del-alias", "--only", "a", "old"]);
    assert_eq!(gc(at, &[]).stdout, b"", "another alias names it");
    run(at, &["del-alias", "--only", "a", "older"]);
    run(at, &["push-blob", "a", &path("both")]);
    let before = files(at);
    let planned = gc(at, &["--dry-run"]);
    assert_eq!(files(at), before);
    assert!(
        planned.stderr.contains("would free 3 blobs and manifests"),
        "{planned}"
    );
    let done = gc(at, &["a"]);
    assert_eq!(done.stdout, planned.stdout);
    assert!(
        done.stderr.contains("freed 3 blobs and manifests"),
        "{done}"
    );
    assert_eq!(files(at), before - 3);
    whole(&layout(at));
    let nothing: Value = dxf(at, &["gc"]).env("DXF_OUTPUT", "json").ok().json();
    assert_eq!(nothing["bytes"], 0);
    assert_eq!(nothing["repositories"][0]["repository"], "a");
}

#[test]
fn what_a_kept_manifest_reaches_in_any_direction_stays() {
    let folder = scratch();
    let store = layout(folder.path());
    let (one, two) = (
        artifact(&store, "1", None, None),
        artifact(&store, "2", None, None),
    );
    let inner = index(&store, &[&one], "x");
    index(&store, &[&inner, &two], "kept");
    store.untag(&"x".parse().unwrap()).unwrap();
    // Referrers of a child, of one another, and cosign's.
    let signed = artifact(&store, "sign", Some(&one), None);
    let about = artifact(&store, "sbom", Some(&signed), None);
    let tag = |of: &Manifest, suffix: &str| format!("sha256-{}{suffix}", of.digest().hex());
    let cosign = artifact(&store, "cosign", None, Some(&tag(&two, ".sig")));
    // A signature whose own tag keeps its subject.
    let held = artifact(&store, "held", None, None);
    artifact(&store, "holds", Some(&held), Some("holder"));
    // The same about an image that goes.
    let gone = artifact(&store, "gone", None, None);
    let with = artifact(&store, "with", Some(&gone), None);
    let its = artifact(&store, "its", None, Some(&tag(&gone, ".att")));
    // About an image that is kept elsewhere.
    let lone = artifact(
        &store,
        "lone",
        None,
        Some(&format!("sha256-{}.sig", "0".repeat(64))),
    );
    let freed = gc(folder.path(), &[]);
    for stays in [&one, &two, &inner, &signed, &about, &cosign, &held, &lone] {
        assert!(has(&store, &stays.digest()), "{freed}");
    }
    for goes in [&gone, &with, &its] {
        assert!(!has(&store, &goes.digest()), "{freed}");
    }
    // Each of the three, a layer of each, and the list of referrers.
    assert_eq!(freed.lines().len(), 7, "{freed}");
    let tags = run(folder.path(), &["list-aliases", "a"]);
    let tags = tags.text();
    assert!(
        !tags.contains(&tag(&gone, "")) && tags.contains(&tag(&one, "")),
        "{tags}"
    );
    whole(&store);
    assert_eq!(gc(folder.path(), &[]).text(), "");
}

#[test]
fn an_image_with_a_tag_like_a_list_is_an_image() {
    let folder = scratch();
    let store = layout(folder.path());
    let other = artifact(&store, "other", None, None);
    let name = format!("sha256-{}", other.digest().hex());
    let pinned = artifact(&store, "pinned", None, Some(&name));
    gc(folder.path(), &[]);
    assert!(has(&store, &pinned.digest()) && !has(&store, &other.digest()));
}

#[test]
fn a_manifest_that_cannot_be_read_stops_the_run() {
    let folder = scratch();
    let store = layout(folder.path());
    let kept = artifact(&store, "kept", None, Some("kept"));
    let garbage = put(&store, "garbage");
    let other = Layouts::new(folder.path()).repository(&"b".parse().unwrap());
    artifact(&other, "b", None, Some("b"));
    let more = put(&other, "garbage of b");
    let path = |m: &Digest| folder.path().join("b/blobs/sha256").join(m.hex());
    let refused = |said: &str| {
        let output = dxf(folder.path(), &["gc", "--grace", "0s"]).run();
        assert_ne!(output.code, Some(0), "{output}");
        assert!(output.stderr.contains(said), "{output}");
        assert!(has(&store, &garbage.digest) && has(&other, &more.digest));
    };
    // Broken, gone, and of a type that is not known: one after the other.
    let bad = artifact(&other, "bad", None, Some("bad")).digest();
    let bytes = fs::read(path(&bad)).unwrap();
    fs::write(path(&bad), "{}").unwrap();
    refused("nothing was deleted");
    fs::remove_file(path(&bad)).unwrap();
    refused("although an alias names it");
    fs::write(path(&bad), bytes).unwrap();
    let at = folder.path().join("b/index.json");
    let text = fs::read_to_string(&at).unwrap();
    let unknown = Digest::of(br#"{"mediaType":"application/vnd.next.v9+json"}"#);
    fs::write(
        path(&unknown),
        br#"{"mediaType":"application/vnd.next.v9+json"}"#,
    )
    .unwrap();
    let entry = json!({"mediaType": "application/vnd.next.v9+json", "digest": unknown, "size": 44});
    fs::write(
        &at,
        text.replace("\"manifests\":[", &format!("\"manifests\":[{entry},")),
    )
    .unwrap();
    refused("nothing was deleted");
    fs::write(&at, text).unwrap();
    gc(folder.path(), &[]);
    assert!(has(&store, &kept.digest()) && !has(&store, &garbage.digest));
}

#[test]
fn what_is_no_blob_of_dxf_stays_and_an_index_that_cannot_be_read_stops_it() {
    let folder = scratch();
    let store = layout(folder.path());
    artifact(&store, "kept", None, Some("kept"));
    let garbage = put(&store, "garbage");
    let blobs = folder.path().join("a/blobs/sha256");
    // Files of others, a folder and a link with the names of digests, and a link to
    // what is kept elsewhere.
    let elsewhere = folder.path().join("elsewhere");
    fs::write(&elsewhere, "elsewhere").unwrap();
    let name = |n: usize| blobs.join(format!("{n:064x}"));
    fs::write(blobs.join("README"), "of others").unwrap();
    fs::write(blobs.join("A".repeat(64)), "no digest").unwrap();
    fs::create_dir(name(1)).unwrap();
    std::os::unix::fs::symlink(&elsewhere, name(2)).unwrap();
    std::os::unix::fs::symlink("nowhere", name(3)).unwrap();
    let index = folder.path().join("a/index.json");
    let text = fs::read(&index).unwrap();
    for bad in [&text[..text.len() / 2], b"", b"[]", b"{}"] {
        fs::write(&index, bad).unwrap();
        let output = dxf(folder.path(), &["gc", "--grace", "0s", "--allow-empty"]).run();
        assert_eq!(output.code, Some(65), "{output}");
        assert!(has_file(&blobs, &garbage), "{output}");
    }
    fs::write(&index, text).unwrap();
    let freed = gc(folder.path(), &[]);
    assert_eq!(freed.lines().len(), 1, "{freed}");
    assert!(!has_file(&blobs, &garbage));
    for n in 1..=3 {
        assert!(fs::symlink_metadata(name(n)).is_ok(), "{n}");
    }
    assert!(blobs.join("README").exists() && elsewhere.exists());
    whole(&store);
}

fn has_file(blobs: &Path, blob: &Descriptor) -> bool {
    blobs.join(blob.digest.hex()).exists()
}

#[test]
fn a_clock_that_jumps_keeps_what_is_young_and_what_is_reached() {
    let folder = scratch();
    let store = layout(folder.path());
    let kept = artifact(&store, "kept", None, Some("kept"));
    let (future, past) = (put(&store, "future"), put(&store, "past"));
    let blobs = folder.path().join("a/blobs/sha256");
    let set = |digest: &Digest, time: SystemTime| {
        let file = fs::File::options()
            .write(true)
            .open(blobs.join(digest.hex()));
        file.unwrap().set_modified(time).unwrap();
    };
    let year = Duration::from_secs(365 * 86_400);
    set(&future.digest, SystemTime::now() + year);
    set(&past.digest, SystemTime::UNIX_EPOCH);
    set(&kept.digest(), SystemTime::UNIX_EPOCH);
    // When the inode changed counts as well, which no program can set.
    run(folder.path(), &["gc"]);
    assert!(has_file(&blobs, &past) && has_file(&blobs, &future));
    std::thread::sleep(Duration::from_millis(1100));
    run(folder.path(), &["gc", "--grace", "1s"]);
    assert!(!has_file(&blobs, &past));
    whole(&store);
}

#[test]
fn a_repository_without_aliases_is_left_alone() {
    let folder = scratch();
    let store = layout(folder.path());
    let lone = artifact(&store, "lone", None, None);
    let left = gc(folder.path(), &[]);
    assert!(left.stderr.contains("a has no alias"), "{left}");
    assert!(has(&store, &lone.digest()));
    gc(folder.path(), &["--allow-empty"]);
    assert_eq!(files(folder.path()), 0);
}

#[test]
fn the_grace_keeps_what_is_on_its_way_and_all_it_names() {
    let folder = scratch();
    let store = layout(folder.path());
    artifact(&store, "kept", None, Some("kept"));
    let (old, used) = (put(&store, "old"), put(&store, "used"));
    let young = artifact(&store, "young", None, None);
    std::thread::sleep(Duration::from_millis(1100));
    // Used by a writer, who then need not send it.
    assert!(store.size_to_write(&used.digest).unwrap().is_some());
    let begun = artifact(&store, "begun", None, None);
    let output = run(folder.path(), &["gc", "--grace", "1s"]);
    assert!(
        has(&store, &used.digest) && has(&store, &begun.digest()),
        "{output}"
    );
    assert!(
        !has(&store, &old.digest) && !has(&store, &young.digest()),
        "{output}"
    );
    assert!(output.stderr.contains("younger than --grace"), "{output}");
    let fresh = put(&store, "fresh");
    run(folder.path(), &["gc"]);
    assert!(has(&store, &fresh.digest));
}

#[test]
fn only_folders_have_garbage_that_dxf_can_see() {
    let refused = Dxf::new().plain("127.0.0.1:1").args(["gc"]).run();
    assert_eq!(refused.code, Some(1));
    assert!(
        refused.stderr.contains("its own garbage collection"),
        "{refused}"
    );
    let folder = scratch();
    let bad = dxf(folder.path(), &["gc", "--grace", "soon"]).run();
    assert_eq!(bad.code, Some(2), "{bad}");
    assert_eq!(dxf(folder.path(), &["gc", "missing"]).run().code, Some(2));
}

/// What a writer does in a round; gives the tag that must then be there.
fn write(store: &Layout, random: &mut Random, tag: &str) -> dxf_registry::Result<()> {
    let blobs: Vec<Blob> = (0..=random.below(2))
        .map(|_| Blob::bytes(media_type::OCTET_STREAM, blob(random.below(12), 2000)))
        .collect();
    if random.percent(50) {
        let format = alias::Format::Docker;
        return alias::push(store, &tag.parse()?, &blobs, format, Run::default()).map(drop);
    }
    // An index over what may be there already, from its blobs upwards.
    let listed: Vec<Descriptor> = blobs.iter().map(|blob| blob.descriptor().clone()).collect();
    let child = Manifest::alias(&listed)?;
    for blob in &blobs {
        store.put_blob(blob, Watch::default())?;
    }
    store.put_manifest(&child, &Target::Digest(child.digest()))?;
    let document = json!({"schemaVersion": 2, "mediaType": media_type::OCI_INDEX,
        "manifests": [child.descriptor()]});
    let index = Manifest::new(None, document.to_string().into_bytes())?;
    store.put_manifest(&index, &target(tag))
}

#[test]
fn ten_writers_lose_nothing_while_garbage_is_collected() {
    let (rounds, seed) = (setting("DXF_GC_ROUNDS", 6), seed("DXF_GC_SEED"));
    let folder = scratch();
    let mut tags: BTreeMap<u64, String> = BTreeMap::new();
    for round in 0..rounds {
        // Without a grace a writer may have to begin again; with one it never does.
        let grace = Duration::from_secs(if round % 2 == 0 { 0 } else { 60 });
        let (done, set) = (AtomicBool::new(false), Mutex::new(BTreeMap::new()));
        std::thread::scope(|scope| {
            let collector = scope.spawn(|| {
                while !done.load(Ordering::SeqCst) {
                    let store = layout(folder.path());
                    if store.tags().any(|tag| tag.is_err()) {
                        continue;
                    }
                    let collection = Collection::new(&store).with_grace(grace);
                    collection
                        .plan(Run::default())
                        .and_then(|_| collection.collect(Run::default()))
                        .expect("a collection");
                }
            });
            let writers = (0..10).map(|writer| {
                let (set, folder) = (&set, folder.path());
                scope.spawn(move || {
                    let mut random = Random::new(seed + round * 100 + writer);
                    let (store, tag) = (layout(folder), format!("w{writer}-{}", random.below(3)));
                    if random.percent(30) {
                        let gone = store.untag(&tag.parse().unwrap()).is_ok();
                        set.lock().unwrap().insert(writer, (tag, !gone, gone));
                        return;
                    }
                    match write(&store, &mut random, &tag) {
                        Ok(()) => drop(set.lock().unwrap().insert(writer, (tag, true, false))),
                        Err(e) => assert!(e.is_not_found() && grace.is_zero(), "seed {seed}: {e}"),
                    }
                })
            });
            writers
                .collect::<Vec<_>>()
                .into_iter()
                .for_each(|w| w.join().unwrap());
            done.store(true, Ordering::SeqCst);
            collector.join().unwrap();
        });
        for (tag, there, gone) in set.into_inner().unwrap().into_values() {
            let key = Digest::of(tag.as_bytes()).hex();
            let key = u64::from_str_radix(&key[..15], 16).unwrap();
            if gone {
                tags.remove(&key);
            } else if there && layout(folder.path()).head(&target(&tag)).unwrap().is_some() {
                tags.insert(key, tag);
            } else {
                assert!(
                    !tags.contains_key(&key),
                    "seed {seed}, round {round}: {tag} is lost"
                );
            }
        }
        let store = layout(folder.path());
        let found: BTreeSet<String> = store.tags().map(|tag| tag.unwrap().to_string()).collect();
        let expected: BTreeSet<String> = tags.values().cloned().collect();
        assert_eq!(found, expected, "seed {seed}, round {round}");
        whole(&store);
    }
}

#[test]
fn killed_anywhere_nothing_reachable_is_lost() {
    let (rounds, seed) = (setting("DXF_GC_ROUNDS", 6).min(200), seed("DXF_GC_SEED"));
    let (folder, mut random) = (scratch(), Random::new(seed));
    let store = layout(folder.path());
    for n in 0..30 {
        let child = artifact(&store, &format!("kept {n}"), None, None);
        index(&store, &[&child], &format!("kept-{n}"));
    }
    let mut latest = Duration::from_millis(40);
    let mut killed = 0;
    for round in 0..rounds {
        let children: Vec<Manifest> = (0..60)
            .map(|n| artifact(&store, &format!("garbage {round} {n}"), None, None))
            .collect();
        index(&store, &children.iter().collect::<Vec<_>>(), "garbage");
        store.untag(&"garbage".parse().unwrap()).unwrap();
        let running = dxf(folder.path(), &["gc", "--grace", "0s"]).spawn();
        std::thread::sleep(Duration::from_micros(
            random.below(latest.as_micros() as u64),
        ));
        let output = running.kill();
        let is_killed = output.code.is_none();
        killed += u32::from(is_killed);
        latest = latest * if is_killed { 11 } else { 9 } / 10;
        whole(&store);
        assert_eq!(store.tags().count(), 30, "seed {seed}, round {round}");
        // What is left of it is no manifest without what it names.
        for child in &children {
            if has(&store, &child.digest()) {
                let by_digest = vec![Target::Digest(child.digest())];
                let found = names(&store, by_digest, Scrutiny::Sizes, Run::default()).unwrap();
                assert!(
                    found.iter().all(|one| one.verdict().is_good()),
                    "seed {seed}"
                );
            }
        }
    }
    gc(folder.path(), &[]);
    // An empty config, and index, manifest and layer of each.
    assert_eq!(files(folder.path()), 91, "{killed} of {rounds} killed");
}
