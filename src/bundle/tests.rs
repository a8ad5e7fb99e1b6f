//! Bundles of stores in memory.

use std::collections::HashSet;
use std::io::Read;
use std::sync::{Arc, Mutex};

use super::*;
use crate::blob::{Blob, Bytes, Source};
use crate::descriptor::media_type;
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::graph::{Referrers, Remote};
use crate::manifest::{Builder, Manifest};
use crate::reference::{RepoName, Target};
use crate::store::{Content, Memory, ReadStore, Store, Tags};
use crate::stream::{Run, Watch};

/// A repository that notes which blobs are read, and fails for some.
#[derive(Default)]
struct Noted {
    memory: Memory,
    read: Mutex<Vec<Digest>>,
    broken: Mutex<HashSet<Digest>>,
}

impl ReadStore for Noted {
    fn name(&self) -> String {
        "noted".to_string()
    }
    fn open_blob(&self, digest: &Digest, from: u64) -> Result<Content<'_>> {
        self.read.lock().unwrap().push(*digest);
        if self.broken.lock().unwrap().contains(digest) {
            return Err(Error::io("noted", std::io::Error::other("cut off")));
        }
        self.memory.open_blob(digest, from)
    }
    fn manifest(&self, target: &Target) -> Result<Manifest> {
        self.memory.manifest(target)
    }
    fn tags(&self) -> Tags<'_> {
        self.memory.tags()
    }
    fn referrers(&self, subject: &Digest) -> Result<Vec<crate::Descriptor>> {
        self.memory.referrers(subject)
    }
}

fn blob(bytes: &[u8]) -> Blob {
    Blob::bytes(media_type::OCTET_STREAM, bytes.to_vec())
}

/// Stores an alias of blobs; its digest.
fn alias(store: &Memory, tag: &str, blobs: &[&[u8]]) -> Digest {
    let blobs: Vec<Blob> = blobs.iter().map(|bytes| blob(bytes)).collect();
    for blob in &blobs {
        store.put_blob(blob, Watch::default()).unwrap();
    }
    let listed: Vec<_> = blobs.iter().map(|blob| blob.descriptor().clone()).collect();
    let manifest = Manifest::alias(&listed).unwrap();
    store
        .put_manifest(&manifest, &tag.parse().unwrap())
        .unwrap();
    manifest.digest()
}

/// Stores an artifact that refers to a manifest; its digest.
fn refer(store: &Memory, to: Digest) -> Digest {
    let (config, subject) = (Blob::empty(), store.manifest(&to.into()).unwrap());
    store.put_blob(&config, Watch::default()).unwrap();
    let manifest = Builder::new(media_type::OCI_MANIFEST)
        .member("artifactType", "test/note")
        .config(config.descriptor())
        .layers([config.descriptor()])
        .member("subject", subject.descriptor())
        .build()
        .unwrap();
    let digest = manifest.digest();
    store.put_manifest(&manifest, &digest.into()).unwrap();
    digest
}

fn wanted(store: &Arc<Noted>, names: &[&str]) -> Vec<Wanted> {
    let one = |name: &&str| {
        let name: crate::Reference = name.parse().unwrap();
        let from = Remote::new(store.clone());
        Wanted {
            from,
            target: name.target(),
            name,
        }
    };
    names.iter().map(one).collect()
}

fn planned(store: &Arc<Noted>, names: &[&str]) -> Plan {
    let options = SaveOptions::default().with_referrers(Referrers::Copy);
    plan(&wanted(store, names), &options, Run::default()).unwrap()
}

fn written(plan: &Plan) -> Vec<u8> {
    let mut bytes = Vec::new();
    plan.write_stream("memory", &mut bytes, Run::default())
        .unwrap();
    bytes
}

fn opened(bytes: &[u8]) -> Result<Arc<Bundle>> {
    let dir = tempfile::tempdir().unwrap();
    Bundle::open_stream("test", bytes, dir.path(), Run::default()).map(Arc::new)
}

/// Loads a bundle into one repository in memory, whatever it is called.
fn load(bundle: &Arc<Bundle>, to: &Arc<Memory>) -> Result<Loaded> {
    let stores = |_: &RepoName| -> Result<Arc<dyn Store>> { Ok(to.clone()) };
    Load::plan(bundle, &Names::default(), &stores, Run::default())?.run(Run::default())
}

/// A reader that gives a few bytes at a time, as a pipe may.
struct Drips<'a>(&'a [u8]);

impl Read for Drips<'_> {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        let room = buf.len().min(60_001);
        self.0.read(&mut buf[..room])
    }
}

/// Loads a bundle while it arrives; the reason if it was kept.
fn receive(bytes: &[u8], to: &Arc<Memory>, jobs: usize) -> Result<(Loaded, Option<String>)> {
    let (dir, run) = (
        tempfile::tempdir().unwrap(),
        Run::new(jobs, Watch::default()),
    );
    let incoming = Incoming::open("pipe", Drips(bytes), dir.path(), run)?;
    let kept = incoming.kept().map(str::to_string);
    let stores = |_: &RepoName| -> Result<Arc<dyn Store>> { Ok(to.clone()) };
    let load = Load::plan(incoming.bundle(), &Names::default(), &stores, run)?;
    Ok((load.receive(incoming, run)?, kept))
}

/// An alias of a large blob and small ones, and what refers to it.
fn furnished() -> Arc<Noted> {
    let store = Arc::new(Noted::default());
    let large: Vec<u8> = (0..3_000_000u32).map(|n| (n / 7) as u8).collect();
    let image = alias(&store.memory, "v1", &[b"one", &large, b"two", &large[1..]]);
    refer(&store.memory, image);
    store
}

#[test]
fn a_stream_is_loaded_while_it_arrives() {
    let store = furnished();
    let bytes = written(&planned(&store, &["r.example/a:v1"]));
    for jobs in [1, 2, 8] {
        let to = Arc::new(Memory::new());
        let (loaded, kept) = receive(&bytes, &to, jobs).unwrap();
        assert_eq!((loaded.sent.0, kept), (5, None), "{jobs}");
        assert_eq!(to.tags().count(), 1);
        let digest = to.manifest(&"v1".parse().unwrap()).unwrap().digest();
        assert_eq!(to.referrers(&digest).unwrap().len(), 1);
        let (again, _) = receive(&bytes, &to, jobs).unwrap();
        assert_eq!(again.sent, (0, 0), "{jobs}");
    }
}

#[test]
fn a_stream_of_what_is_new_names_what_is_missing_first() {
    let store = furnished();
    let first = opened(&written(&planned(&store, &["r.example/a:v1"]))).unwrap();
    alias(&store.memory, "v2", &[b"one", b"new"]);
    let names = ["r.example/a:v1", "r.example/a:v2", "r.example/b:v1"];
    for names in [&names[..2], &names[..]] {
        let bytes = written(&delta(&store, names, &listed(&first)));
        let to = Arc::new(Memory::new());
        // The blobs that would follow are not even looked at.
        let at = bytes.windows(3).rposition(|part| part == b"new").unwrap();
        let failed = receive(&bytes[..at], &to, 8).unwrap_err();
        assert!(failed.is_not_found(), "{failed}");
        assert!(to.blobs().is_empty());
        load(&first, &to).unwrap();
        let (loaded, kept) = receive(&bytes, &to, 8).unwrap();
        assert_eq!((loaded.sent.0, kept), (1, None));
    }
}

#[test]
fn a_stream_in_another_order_is_kept() {
    let store = furnished();
    let plan = planned(&store, &["r.example/a:v1"]);
    let bytes = written(&plan);
    let dir = tempfile::tempdir().unwrap();
    let part = plan.write_parts(&dir.path().join("b"), 64 << 20, Run::default());
    assert_eq!(part.unwrap().count, 1);
    let part = std::fs::read(dir.path().join("b.001")).unwrap();
    let mut zeros = [&bytes[..], &[0; 70_000]].concat();
    // An empty member in front.
    let extra = crate::archive::header("extra", 0).unwrap();
    let late = [&extra[..], &bytes].concat();
    for (bytes, expected) in [
        (&late, Some("its index does not come first")),
        (&part, Some("it is a part of a bundle")),
        (&zeros, None),
    ] {
        let to = Arc::new(Memory::new());
        let (loaded, kept) = receive(bytes, &to, 8).unwrap();
        assert_eq!(kept.as_deref(), expected);
        assert_eq!((loaded.sent.0, to.tags().count()), (5, 1));
    }
    zeros.truncate(0);
    for bad in [&zeros[..], b"no bundle", &bytes[..700], &bytes[..1500]] {
        let failed = receive(bad, &Arc::new(Memory::new()), 8).unwrap_err();
        assert!(failed.is_corrupt(), "{failed}");
    }
}

#[test]
fn a_stream_that_breaks_off_or_lies_moves_no_tag() {
    let store = furnished();
    let bytes = written(&planned(&store, &["r.example/a:v1"]));
    let refused = |bytes: &[u8], jobs| {
        let to = Arc::new(Memory::new());
        let failed = receive(bytes, &to, jobs).unwrap_err();
        assert_eq!(to.tags().count(), 0);
        (failed.to_string(), failed.is_corrupt(), to)
    };
    let name = crate::archive::blob_name(&Digest::of(b"two"));
    let at = bytes
        .windows(name.len())
        .rposition(|part| part == name.as_bytes());
    let at = at.unwrap();
    for jobs in [1, 8] {
        // Where a member ends, and in the middle of a large one.
        let (said, is_corrupt, to) = refused(&bytes[..at], jobs);
        assert!(
            said.contains("it ends before sha256:") && is_corrupt,
            "{said}"
        );
        assert!(receive(&bytes, &to, jobs).unwrap().0.sent.0 < 5, "resumed");
        let (said, is_corrupt, _) = refused(&bytes[..at - 900_000], jobs);
        assert!(said.contains("cut short") && is_corrupt, "{said}");
        // A bit of a large one, and one of a small one.
        for at in [at - 900_000, at + 513] {
            let mut bad = bytes.clone();
            bad[at] ^= 1;
            let (said, is_corrupt, _) = refused(&bad, jobs);
            assert!(is_corrupt && said.contains("pipe"), "{said}");
        }
        // The same again does no harm, something else does.
        let end = bytes.len() - 1024;
        let again = [&bytes[..end], &bytes[at..at + 1024], &bytes[end..]].concat();
        receive(&again, &Arc::new(Memory::new()), jobs).unwrap();
        let mut other = again.clone();
        other[end + 512] ^= 1;
        assert!(refused(&other, jobs).1);
        let index = [&bytes[..end], &bytes[..512]].concat();
        let (said, _, _) = refused(&index, jobs);
        assert!(said.contains("twice"), "{said}");
    }
}

#[test]
fn a_file_that_was_not_finished_is_continued() {
    let store = Arc::new(Noted::default());
    alias(&store.memory, "v1", &[b"one", b"two", b"three"]);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("b.tar");
    let write =
        || planned(&store, &["r.example/a:v1"]).write_file(&path, Run::new(1, Watch::default()));
    store.broken.lock().unwrap().insert(Digest::of(b"one"));
    assert!(write().is_err() && !path.exists());
    assert!(dir.path().join("b.tar.partial").exists());
    store.broken.lock().unwrap().clear();
    store.read.lock().unwrap().clear();
    write().unwrap();
    // The largest comes first, and was complete.
    let read = store.read.lock().unwrap().clone();
    assert!(!read.contains(&Digest::of(b"three")), "{read:?}");
    assert_eq!(
        std::fs::read(&path).unwrap(),
        written(&planned(&store, &["r.example/a:v1"]))
    );
    assert_eq!(dir.path().read_dir().unwrap().count(), 1);
}

#[test]
fn what_was_left_is_not_trusted() {
    let store = Arc::new(Noted::default());
    alias(&store.memory, "v1", &[b"one", b"two"]);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("b.tar");
    let plan = planned(&store, &["r.example/a:v1"]);
    let mut bytes = written(&plan);
    let at = bytes.windows(3).rposition(|part| part == b"two").unwrap();
    bytes[at] = b'X';
    std::fs::write(dir.path().join("b.tar.partial"), &bytes).unwrap();
    plan.write_file(&path, Run::default()).unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), written(&plan));
    // An older version has other members before the blobs.
    let mut older = written(&plan);
    let at = older
        .windows(13)
        .position(|name| name == b"vnd.dxf.sums.")
        .unwrap();
    older[at..at + 4].copy_from_slice(b"old.");
    older[1020..1024].copy_from_slice(b"junk");
    std::fs::write(dir.path().join("o.tar.partial"), &older).unwrap();
    let path = dir.path().join("o.tar");
    plan.write_file(&path, Run::default()).unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), written(&plan));
    // What another plan left is of no use, and not in the way.
    std::fs::write(dir.path().join("c.tar.partial"), vec![7; 100_000]).unwrap();
    let path = dir.path().join("c.tar");
    plan.write_file(&path, Run::default()).unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), written(&plan));
}

#[test]
fn referrers_and_names_are_kept() {
    let store = Arc::new(Noted::default());
    let image = alias(&store.memory, "v1", &[b"one"]);
    store
        .memory
        .put_manifest(
            &store.memory.manifest(&image.into()).unwrap(),
            &"v2".parse().unwrap(),
        )
        .unwrap();
    let note = refer(&store.memory, image);
    let signature = refer(&store.memory, note);
    let names = ["docker.io/alpine:v1", "docker.io/alpine:v2"];
    let bundle = opened(&written(&planned(&store, &names))).unwrap();
    let listed: Vec<String> = bundle
        .entries()
        .iter()
        .map(|one| one.name.to_string())
        .collect();
    let whole = "docker.io/library/alpine";
    assert_eq!(
        listed,
        [
            format!("{whole}:v1"),
            format!("{whole}@{note}"),
            format!("{whole}@{signature}"),
            format!("{whole}:v2")
        ]
    );
    let to = Arc::new(Memory::new());
    let loaded = load(&bundle, &to).unwrap();
    assert_eq!(loaded.sent.0, 2);
    assert_eq!(to.referrers(&note).unwrap()[0].digest, signature);
    assert_eq!(to.tags().collect::<Result<Vec<_>>>().unwrap().len(), 2);
    assert_eq!(load(&bundle, &to).unwrap().sent, (0, 0));
}

#[test]
fn nothing_is_written_when_something_is_missing() {
    let store = Arc::new(Noted::default());
    alias(&store.memory, "v1", &[b"one", b"two"]);
    let bytes = written(&planned(&store, &["r.example/a:v1"]));
    let name = crate::archive::blob_name(&Digest::of(b"two"));
    let other = crate::archive::blob_name(&Digest::of(b"2"));
    let text = String::from_utf8_lossy(&bytes).replace(&name, &other);
    let mut bytes = text.into_bytes();
    // The header's sum is of its bytes.
    let at = bytes
        .windows(other.len())
        .rposition(|part| part == other.as_bytes())
        .unwrap();
    let mut header = ::tar::Header::new_gnu();
    header.as_mut_bytes().copy_from_slice(&bytes[at..at + 512]);
    header.set_cksum();
    bytes[at..at + 512].copy_from_slice(header.as_bytes());
    let (bundle, to) = (opened(&bytes).unwrap(), Arc::new(Memory::new()));
    let failed = load(&bundle, &to).unwrap_err();
    assert!(failed.is_not_found(), "{failed}");
    let said = failed.to_string();
    assert!(
        said.contains(&Digest::of(b"two").to_string()) && said.contains("r.example/a:v1"),
        "{said}"
    );
    assert!(to.blobs().is_empty());
    // It may have been left out because the target has it.
    to.put_blob(&blob(b"two"), Watch::default()).unwrap();
    assert_eq!(load(&bundle, &to).unwrap().sent.0, 1);
}

/// A source whose bytes are others than it says.
struct Wrong;

impl Source for Wrong {
    fn open(&self, from: u64) -> Result<Box<dyn Read + Send + '_>> {
        let _ = from;
        Ok(Box::new(&b"xxx"[..]))
    }
}

#[test]
fn what_lies_is_refused() {
    let store = Arc::new(Noted::default());
    alias(&store.memory, "v1", &[b"one", b"two"]);
    let bytes = written(&planned(&store, &["r.example/a:v1"]));
    for from in [&b"one"[..], b"\"layers\"", b"schemaVersion"] {
        let mut bad = bytes.clone();
        let at = bad
            .windows(from.len())
            .rposition(|part| part == from)
            .unwrap();
        bad[at] ^= 1;
        let to = Arc::new(Memory::new());
        let failed = opened(&bad).and_then(|bundle| load(&bundle, &to));
        assert!(failed.is_err(), "{}", String::from_utf8_lossy(from));
        assert_eq!(to.tags().count(), 0);
    }
    for bad in [&b""[..], b"no bundle", &bytes[..700], &bytes[..3000]] {
        assert!(opened(bad).is_err_and(|e| e.is_corrupt()));
    }
    let lying = Blob::new(blob(b"one").descriptor().clone(), Wrong);
    assert!(file::check(&lying, Run::default()).is_err_and(|e| e.is_corrupt()));
    let right = Blob::new(blob(b"one").descriptor().clone(), Bytes(b"one".to_vec()));
    file::check(&right, Run::default()).unwrap();
}

#[test]
fn each_bit_of_the_index_counts() {
    let store = Arc::new(Noted::default());
    alias(&store.memory, "v1", &[b"one"]);
    let bytes = written(&planned(&store, &["r.example/a:v1"]));
    let sums = bytes.windows(13).position(|name| name == b"vnd.dxf.sums.");
    let sums = sums.unwrap();
    let json = bytes[512..sums].iter().rposition(|byte| *byte == b'}');
    for at in 512..=512 + json.unwrap() {
        let mut bad = bytes.clone();
        bad[at] ^= 1;
        let said = opened(&bad).map(drop).unwrap_err();
        assert!(
            said.is_corrupt() && said.to_string().contains("index.json"),
            "{said}"
        );
        let streamed = receive(&bad, &Arc::new(Memory::new()), 2).unwrap_err();
        assert!(streamed.is_corrupt(), "{streamed}");
    }
    // Each other small member too, where every byte is read.
    let list = bytes
        .windows(14)
        .rposition(|text| text == b"\"1.0.0\"}\0\0\0\0\0\0");
    let mut bad = bytes.clone();
    bad[list.unwrap() + 5] ^= 1;
    let wrong = opened(&bad).unwrap().verify(Run::default()).unwrap();
    assert!(
        matches!(wrong.as_slice(), [one] if one.is_corrupt()),
        "{wrong:?}"
    );
}

/// A bundle of `names`, without what `since` lists.
fn delta(store: &Arc<Noted>, names: &[&str], since: &Listing) -> Plan {
    let options = SaveOptions::default()
        .with_referrers(Referrers::Copy)
        .with_since(since);
    plan(&wanted(store, names), &options, Run::default()).unwrap()
}

/// The listing of a bundle, through its JSON.
fn listed(bundle: &Bundle) -> Listing {
    let bytes = bundle.listing().unwrap().to_bytes();
    Listing::parse("index", &bytes).unwrap().called("first.tar")
}

#[test]
fn what_is_there_is_left_out() {
    let store = Arc::new(Noted::default());
    let image = alias(&store.memory, "v1", &[b"one", b"two"]);
    let note = refer(&store.memory, image);
    let first = opened(&written(&planned(&store, &["r.example/a:v1"]))).unwrap();
    // A layer and a signature are new, and another name for an existing image.
    alias(&store.memory, "v2", &[b"one", b"new"]);
    let signature = refer(&store.memory, note);
    let names = ["r.example/a:v1", "r.example/a:v2", "r.example/b:v1"];
    let plan = delta(&store, &names, &listed(&first));
    let second = opened(&written(&plan)).unwrap();
    assert_eq!(second.omitted().against(), ["first.tar"]);
    for (digest, is_in) in [
        (image, true),
        (note, true),
        (signature, true),
        (Digest::of(b"one"), false),
        (Digest::of(b"two"), false),
        (Digest::of(b"{}"), true),
        (Digest::of(b"new"), true),
    ] {
        assert_eq!(second.contains(&digest), is_in, "{digest}");
    }
    // Without the third name the manifests would be left out too.
    let plan = delta(&store, &names[..2], &listed(&first));
    let second = opened(&written(&plan)).unwrap();
    assert!(!second.contains(&image) && !second.contains(&note));
    assert!(second.contains(&signature) && !second.contains(&Digest::of(b"two")));
    assert!(plan.omitted.1 > 6, "{:?}", plan.omitted);

    // Nothing is loaded where the first is missing, everything where it is not.
    let to = Arc::new(Memory::new());
    let said = load(&second, &to).unwrap_err().to_string();
    assert!(
        said.contains("first load what it was made against: first.tar"),
        "{said}"
    );
    assert!(to.blobs().is_empty() && to.tags().count() == 0);
    load(&first, &to).unwrap();
    let loaded = load(&second, &to).unwrap();
    assert_eq!(loaded.sent.0, 1, "the new layer; the empty config exists");
    assert_eq!(to.referrers(&note).unwrap()[0].digest, signature);
    assert_eq!(to.tags().count(), 2);

    // The next month's is made against the second alone.
    let nothing = delta(&store, &names[..2], &listed(&second));
    store.read.lock().unwrap().clear();
    let third = opened(&written(&nothing)).unwrap();
    assert!(store.read.lock().unwrap().is_empty());
    assert_eq!(nothing.bytes, 0);
    assert_eq!(third.entries().len(), 4);
    assert_eq!(load(&third, &to).unwrap().sent, (0, 0));
}

#[test]
fn a_listing_of_a_store_is_that_of_its_bundle() {
    let store = Arc::new(Noted::default());
    alias(&store.memory, "v1", &[b"one", b"two"]);
    let bundle = opened(&written(&planned(&store, &["r.example/a:v1"]))).unwrap();
    let name = "r.example/a:v1".parse().unwrap();
    let targets = vec!["v1".parse().unwrap(), "gone".parse().unwrap()];
    let listing = Listing::of_store(&name, &*store, targets, Run::default()).unwrap();
    assert_eq!(
        listing.called("first.tar").to_bytes(),
        listed(&bundle).to_bytes()
    );
    assert!(delta(&store, &["r.example/a:v1"], &listed(&bundle)).bytes == 0);
}

#[test]
fn listings_that_lie_are_refused() {
    let good = r#"{"mediaType": "application/vnd.dxf.bundle.index.v1+json", "repositories": ["a"],
        "items": [{"digest": "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", "size": 0, "in": [0], "needs": [0]}]}"#;
    let listing = Listing::parse("x", good.as_bytes()).unwrap();
    let many = good.replace(
        "\"needs\": [0]",
        &format!("\"needs\": [0{}]", ",0".repeat(1_000_000)),
    );
    let error = Listing::parse("x", many.as_bytes()).unwrap_err();
    assert!(
        error.is_corrupt() && error.to_string().contains("1000000 repositories"),
        "{error}"
    );
    // One that needs itself has an end, too.
    let digest = Digest::of(b"");
    assert!(listing.whole(&digest, "a").is_some() && listing.whole(&digest, "b").is_none());
    for (from, to) in [
        ("[0], \"n", "[1], \"n"),
        ("[0]}", "[9]}"),
        ("index.v1", "index.v2"),
        ("sha256", "md5"),
    ] {
        let bad = good.replacen(from, to, 1);
        assert!(
            Listing::parse("x", bad.as_bytes()).is_err_and(|e| e.is_corrupt()),
            "{to}"
        );
    }
}

/// The parts of a bundle of three blobs, one of them larger than a part.
fn parts_in(store: &Arc<Noted>, dir: &std::path::Path) -> Vec<std::path::PathBuf> {
    let plan = planned(store, &["r.example/a:v1"]);
    let parts = plan
        .write_parts(&dir.join("b.tar"), 64 << 10, Run::default())
        .unwrap();
    (1..=parts.count)
        .map(|number| dir.join(format!("b.tar.{number:03}")))
        .collect()
}

fn three(store: &Noted) -> [Vec<u8>; 3] {
    let blobs = [vec![1; 100_000], vec![2; 20_000], vec![3; 1000]];
    alias(&store.memory, "v1", &[&blobs[0], &blobs[1], &blobs[2]]);
    blobs
}

fn open_parts(paths: &[std::path::PathBuf]) -> Result<Arc<Bundle>> {
    let dir = tempfile::tempdir().unwrap();
    let paths: Vec<_> = paths.iter().map(|path| path.as_path()).collect();
    Bundle::open_parts(&paths, dir.path(), Run::default()).map(Arc::new)
}

#[test]
fn parts_come_in_any_order() {
    let (store, dir) = (Arc::new(Noted::default()), tempfile::tempdir().unwrap());
    let blobs = three(&store);
    let mut paths = parts_in(&store, dir.path());
    assert!(paths.len() >= 3, "{}", paths.len());
    let len = |path: &std::path::PathBuf| std::fs::metadata(path).unwrap().len();
    assert!(paths.iter().all(|path| len(path) < 64 << 10));
    assert_eq!(dir.path().read_dir().unwrap().count(), paths.len());
    paths.reverse();
    let bundle = open_parts(&paths).unwrap();
    assert!(bundle.absent_parts().is_empty() && bundle.verify(Run::default()).unwrap().is_empty());
    let to = Arc::new(Memory::new());
    load(&bundle, &to).unwrap();
    for bytes in &blobs {
        assert!(to.blob_size(&Digest::of(bytes)).unwrap().is_some());
    }
    // One after the other: what is cut has to come at once.
    let to = Arc::new(Memory::new());
    let two = open_parts(&paths[1..]).unwrap();
    assert_eq!(two.absent_parts(), [paths.len()]);
    load(&two, &to).unwrap();
    assert_eq!(two.cuts()[0].parts, [1, 2]);
    assert!(!to.blobs().is_empty() && to.tags().count() == 0);
    load(&open_parts(&paths).unwrap(), &to).unwrap();
    assert_eq!(to.tags().count(), 1);
}

#[test]
fn a_load_names_the_parts_that_it_needs() {
    let (store, dir) = (Arc::new(Noted::default()), tempfile::tempdir().unwrap());
    let cut = three(&store);
    let plan = planned(&store, &["r.example/a:v1"]);
    let paths = parts_in(&store, dir.path());
    let cuts = plan.cuts(64 << 10).unwrap();
    assert_eq!((cuts.len(), &cuts[0].digest), (1, &Digest::of(&cut[0])));
    let to = Arc::new(Memory::new());
    let stores = |_: &RepoName| -> Result<Arc<dyn Store>> { Ok(to.clone()) };
    let mut whole: Vec<usize> = (1..=paths.len()).collect();
    whole.retain(|number| !cuts[0].parts.contains(number));
    // One after the other: what was stored is not asked for again.
    for (number, path) in (1..).zip(&paths) {
        let bundle = open_parts(std::slice::from_ref(path)).unwrap();
        assert_eq!(bundle.cuts(), cuts);
        let load = Load::plan(&bundle, &Names::default(), &stores, Run::default()).unwrap();
        assert_eq!(load.cuts(), cuts);
        let mut needed: Vec<usize> = whole.clone();
        needed.extend(&cuts[0].parts);
        needed.retain(|one| *one != number);
        needed.sort();
        assert_eq!(load.absent_parts(), needed);
        load.run(Run::default()).unwrap();
        whole.retain(|one| *one != number);
    }
    assert!(to.tags().count() == 0);
    let pieces = cuts[0].parts.iter().map(|number| paths[number - 1].clone());
    load(&open_parts(&pieces.collect::<Vec<_>>()).unwrap(), &to).unwrap();
    assert_eq!(to.tags().count(), 1);
}

/// The parts of a bundle, to be damaged and mended.
struct Damaged {
    dir: tempfile::TempDir,
    paths: Vec<std::path::PathBuf>,
    original: Vec<Vec<u8>>,
}

impl Damaged {
    fn new() -> Damaged {
        let (store, dir) = (Arc::new(Noted::default()), tempfile::tempdir().unwrap());
        three(&store);
        let paths = parts_in(&store, dir.path());
        let original = paths.iter().map(|path| std::fs::read(path).unwrap());
        let original = original.collect();
        Damaged {
            dir,
            paths,
            original,
        }
    }

    /// Flips a bit of a part: where `text` is, or in the middle of a layer.
    fn flip(&self, number: usize, text: Option<&[u8]>) {
        let mut bytes = self.original[number].clone();
        let at = |text: &[u8]| bytes.windows(text.len()).position(|part| part == text);
        let at = text.map_or(bytes.len() - 16_000, |text| at(text).unwrap() + 2);
        bytes[at] ^= 1;
        std::fs::write(&self.paths[number], bytes).unwrap();
    }

    fn mend(&self) {
        for (path, bytes) in self.paths.iter().zip(&self.original) {
            std::fs::write(path, bytes).unwrap();
        }
    }

    fn name(&self, number: usize) -> String {
        self.paths[number].display().to_string()
    }
}

/// The files that are damaged, sorted.
fn damaged(parts: &[std::path::PathBuf]) -> Vec<String> {
    let wrong = open_parts(parts).unwrap().verify(Run::default()).unwrap();
    let at = wrong.into_iter().map(|error| match error {
        Error::At { place, .. } => place,
        error => panic!("{error}"),
    });
    let at: std::collections::BTreeSet<String> = at.collect();
    at.into_iter().collect()
}

#[test]
fn each_damaged_part_is_named() {
    let parts = Damaged::new();
    let last = parts.paths.len() - 1;
    let mut given = parts.paths.clone();
    for turn in 0..2 {
        for numbers in [&[0][..], &[1], &[last], &[0, last], &[0, 1, last]] {
            let names: Vec<String> = numbers.iter().map(|one| parts.name(*one)).collect();
            for number in numbers {
                parts.flip(*number, None);
            }
            assert_eq!(damaged(&given), names, "{turn}");
            let to = Arc::new(Memory::new());
            let said = load(&open_parts(&given).unwrap(), &to).unwrap_err();
            let said = said.to_string();
            assert!(names.iter().any(|name| said.starts_with(name)), "{said}");
            assert_eq!(to.tags().count(), 0);
            // A manifest, which all parts have.
            for number in numbers {
                parts.flip(*number, Some(b"\"layers\":"));
            }
            assert_eq!(damaged(&given), names, "{turn}");
            parts.mend();
        }
        given.reverse();
    }
}

#[test]
fn a_part_whose_index_is_damaged_is_named() {
    let parts = Damaged::new();
    for text in [&b"\"manifests\""[..], b"\"parts\"", b"\"bundle\""] {
        parts.flip(1, Some(text));
        let said = open_parts(&parts.paths).err().unwrap().to_string();
        assert!(said.contains(&parts.name(1)), "{said}");
        parts.mend();
    }
    assert!(parts.dir.path().exists() && damaged(&parts.paths).is_empty());
}

#[test]
fn a_lost_part_costs_that_part() {
    let (store, dir) = (Arc::new(Noted::default()), tempfile::tempdir().unwrap());
    let blobs = three(&store);
    let paths = parts_in(&store, dir.path());
    let read = |path: &std::path::PathBuf| std::fs::read(path).unwrap();
    let before: Vec<_> = paths.iter().map(read).collect();
    for lost in 0..paths.len() {
        // Lost, then damaged.
        for damage in [false, true] {
            let mut bytes = before[lost].clone();
            let middle = bytes.len() - 20_000;
            bytes[middle] ^= 1;
            std::fs::remove_file(&paths[lost]).unwrap();
            if damage {
                std::fs::write(&paths[lost], &bytes).unwrap();
                let wrong = open_parts(&paths).unwrap().verify(Run::default()).unwrap();
                assert!(!wrong.is_empty(), "{lost}");
            }
            store.read.lock().unwrap().clear();
            parts_in(&store, dir.path());
            let asked: HashSet<Digest> = store.read.lock().unwrap().drain(..).collect();
            assert!(asked.len() < blobs.len(), "{lost}: {asked:?}");
            assert!(paths.iter().map(read).eq(before.iter().cloned()));
        }
    }
}

#[test]
fn parts_that_do_not_fit_are_refused() {
    let (store, dir) = (Arc::new(Noted::default()), tempfile::tempdir().unwrap());
    three(&store);
    let paths = parts_in(&store, dir.path());
    let twice = [paths[0].clone(), paths[0].clone()];
    let said = open_parts(&twice).err().unwrap().to_string();
    assert!(said.contains("part 1 is given twice"), "{said}");
    let other = dir.path().join("other");
    std::fs::create_dir(&other).unwrap();
    alias(&store.memory, "v1", &[b"other"]);
    let others = parts_in(&store, &other);
    let said = open_parts(&[paths[0].clone(), others[0].clone()])
        .err()
        .unwrap();
    assert!(
        said.to_string().contains("belongs to another bundle"),
        "{said}"
    );
    let plan = planned(&store, &["r.example/a:v1"]);
    let mut least = std::collections::BTreeSet::new();
    for size in [0, 1, 1000, 30_000] {
        let refused = plan.write_parts(&dir.path().join("x"), size, Run::default());
        let Err(Error::Invalid { why, .. }) = refused else {
            panic!("{size}");
        };
        let (_, why) = why.split_once("at least ").unwrap();
        least.insert(why.split_once("KiB").unwrap().0.parse::<u64>().unwrap());
    }
    // The least is always the same, and it is the least.
    let least = least.into_iter().collect::<Vec<_>>();
    assert_eq!(least.len(), 1, "{least:?}");
    let write = |size| plan.write_parts(&dir.path().join("x"), size, Run::default());
    assert!(write(least[0] << 10).is_ok() && write((least[0] - 1) << 10).is_err());
}

#[test]
fn a_moved_image_does_not_cost_what_was_fetched() {
    let store = Arc::new(Noted::default());
    alias(&store.memory, "v1", &[b"one", b"two", b"three"]);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("b.tar");
    let write =
        || planned(&store, &["r.example/a:v1"]).write_file(&path, Run::new(1, Watch::default()));
    store.broken.lock().unwrap().insert(Digest::of(b"two"));
    assert!(write().is_err());
    store.broken.lock().unwrap().clear();
    store.read.lock().unwrap().clear();
    alias(&store.memory, "v1", &[b"longer one", b"two", b"three"]);
    write().unwrap();
    let read = store.read.lock().unwrap().clone();
    assert!(
        !read.contains(&Digest::of(b"three")) && read.contains(&Digest::of(b"two")),
        "{read:?}"
    );
    assert_eq!(
        std::fs::read(&path).unwrap(),
        written(&planned(&store, &["r.example/a:v1"]))
    );
    assert_eq!(dir.path().read_dir().unwrap().count(), 1);
    // Again, with the file in place; then damaged.
    store.read.lock().unwrap().clear();
    write().unwrap();
    assert!(store.read.lock().unwrap().is_empty());
    let mut bytes = std::fs::read(&path).unwrap();
    let at = bytes.windows(5).rposition(|part| part == b"three").unwrap();
    bytes[at] ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    write().unwrap();
    assert!(
        opened(&std::fs::read(&path).unwrap())
            .unwrap()
            .verify(Run::default())
            .unwrap()
            .is_empty()
    );
}
