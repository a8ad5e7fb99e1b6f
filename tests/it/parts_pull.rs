//! Files in parts on their way back: whole or not at all, and only what an
//! older file lacks.

use crate::support::bench::{Bench, Mode};
use crate::support::data::{blob, digest};
use crate::support::place::{Place, each_place};
use crate::support::rules::{GET, on};

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;

/// Pushes `bytes` in parts as `@name`; the parts' digests.
fn push(at: &Place, split: &str, bytes: &[u8], name: &str) -> Vec<String> {
    let file = at.file(bytes);
    let alias = format!("@{name}");
    let said = at.says(["push-blob", "--split", split, "a", &file, &alias]);
    std::fs::remove_file(at.work().join(file)).expect("its file");
    said.lines().map(str::to_string).collect()
}

fn read(at: &Place, name: &str) -> Vec<u8> {
    std::fs::read(at.work().join(name)).expect("a file")
}

each_place!(a_file_comes_back_from_its_parts, |at| {
    let bytes = blob(1, 3 * MIB + 7);
    let parts = push(at, "512KiB", &bytes, "x");
    assert_eq!(parts.len(), 7);
    assert!(at.run(["pull-blob", "a", "@x"]).ok().stdout == bytes);
    at.says(["pull-blob", "-o", "out", "a", "@x"]);
    assert!(read(at, "out") == bytes);
    // What a broken run left is gone on with; parts that are there stay there.
    std::fs::write(at.work().join("out.partial"), &bytes[..MIB + 5]).expect("a partial");
    at.forget();
    at.says(["pull-blob", "-o", "out", "a", "@x"]);
    assert!(read(at, "out") == bytes);
    let gets = parts[2..]
        .iter()
        .map(|part| format!("GET /v2/a/blobs/{part}"));
    at.asked(gets.chain(["GET /v2/a/manifests/x".to_string()]));
    // Other blobs may stand beside it, and it may come from a manifest.
    let other = at.put("a", b"other");
    let both = at.run(["pull-blob", "a", &other, "@x", &other]).ok();
    assert!(both.stdout == [b"other", &bytes[..], b"other"].concat());
    let manifest = at.manifest("a", "x").expect("a manifest");
    assert!(at.run(["pull-blob", "a"]).stdin(manifest).ok().stdout == bytes);
    assert_eq!(at.names(), ["out"]);
});

each_place!(a_part_that_is_missing_is_named, |at| {
    let bytes = blob(2, MIB);
    let parts = push(at, "256KiB", &bytes, "x");
    at.says(["del-blob", "a", &parts[2]]);
    let words = format!("Not Found: part 3 of 4 of @x, {}", parts[2]);
    let failed = at.run(["pull-blob", "-o", "out", "a", "@x"]).fails(2);
    failed.says(&words);
    assert!(!at.work().join("out").exists());
    let failed = at.run(["pull-blob", "a", "@x"]).fails(2).says(&words);
    assert!(bytes.starts_with(&failed.stdout));
    at.run(["pull-blob", "--range", "600000-", "a", "@x"])
        .fails(2)
        .says(&words);
});

each_place!(a_part_that_is_wrong_makes_no_file, |at| {
    let bytes = blob(3, MIB);
    let parts = push(at, "256KiB", &bytes, "x");
    let wrong = blob(4, 256 * KIB);
    std::fs::write(at.blob_file("a", &parts[1]), wrong).expect("a blob's file");
    let failed = at.run(["pull-blob", "-o", "out", "a", "@x"]).fails(65);
    failed.says("digest mismatch").says(&parts[1]);
    at.run(["pull-blob", "a", "@x"])
        .fails(65)
        .says("digest mismatch");
    assert!(at.names().is_empty());
});

each_place!(a_whole_that_is_wrong_makes_no_file, |at| {
    // Every part is what its digest says, the file they make is another.
    let bytes = blob(5, MIB);
    push(at, "256KiB", &bytes, "x");
    let manifest = at.manifest("a", "x").expect("a manifest");
    let text = String::from_utf8(manifest).expect("JSON");
    let (real, other) = (digest(&bytes), digest(b"another file"));
    let kind = "application/vnd.oci.image.manifest.v1+json";
    let lie = text.replace(&real, &other);
    at.put_manifest("a", "lie", kind, lie.as_bytes());
    let words = format!("expected {other}, got {real}");
    let failed = at.run(["pull-blob", "-o", "out", "a", "@lie"]).fails(65);
    failed.says(&words);
    at.run(["pull-blob", "a", "@lie"]).fails(65).says(&words);
    for (name, value) in [("DXF_CHUNK_SIZE", "8192"), ("DXF_BLOB_INFO", "1")] {
        let pull = |alias: &str| at.dxf().env(name, value).args(["pull-blob", "a", alias]);
        pull("@x").ok();
        pull("@lie").fails(65).says(&words);
    }
    let lie = text.replace("\"1048576\"", "\"1048577\"");
    at.put_manifest("a", "lie", kind, lie.as_bytes());
    let failed = at.run(["pull-blob", "-o", "out", "a", "@lie"]).fails(65);
    failed.says("don't add up");
    assert!(at.names().is_empty());
});

/// A file, and the same with a little put in and a little changed.
fn versions(seed: u64) -> (Vec<u8>, Vec<u8>) {
    let old = blob(seed, 8 * MIB);
    let mut new = [blob(seed + 1, KIB), old.clone()].concat();
    new[4 * MIB..4 * MIB + 20_000].copy_from_slice(&blob(seed + 2, 20_000));
    (old, new)
}

each_place!(only_what_an_older_file_lacks_is_fetched, |at| {
    for split in ["cdc:64KiB", "256KiB"] {
        let (old, mut new) = versions(10);
        if !split.starts_with("cdc") {
            new = old.clone();
            new[4 * MIB..4 * MIB + 20_000].copy_from_slice(&blob(13, 20_000));
        }
        push(at, split, &old, "old");
        push(at, split, &new, "new");
        std::fs::write(at.work().join("out"), &old).expect("a file");
        let sent = || at.bench.as_ref().map_or(0, |bench| bench.front.sent());
        let before = sent();
        at.says(["pull-blob", "-o", "copy", "--base", "out", "a", "@new"]);
        assert!(read(at, "copy") == new && read(at, "out") == old);
        let fetched = sent() - before;
        assert!(fetched < 700_000, "{fetched}");
        // The file may be the base of its own successor.
        at.says(["pull-blob", "-o", "out", "--base", "out", "a", "@new"]);
        assert!(read(at, "out") == new);
        // One that has nothing in common is of no use and does no harm.
        std::fs::write(at.work().join("out"), blob(14, MIB)).expect("a file");
        let pulled = at.run(["pull-blob", "--base", "out", "a", "@new"]).ok();
        assert!(pulled.stdout == new);
        std::fs::remove_file(at.work().join("copy")).expect("a file");
    }
});

each_place!(a_base_that_is_of_no_use_is_told_before_anything, |at| {
    push(at, "64KiB", &blob(20, 200_000), "x");
    at.says(["set-alias", "a", "plain", &at.put("a", b"abc")]);
    at.forget();
    let base = |name: &'static str, alias: &'static str| {
        at.run(["pull-blob", "-o", "out", "--base", name, "a", alias])
    };
    base("missing", "@x").fails(1).says("missing: No such file");
    base(".", "@x").fails(1).says(".: not a regular file");
    at.asked(Vec::<String>::new());
    std::fs::write(at.work().join("old"), b"old").expect("a file");
    base("old", "@plain").misused("push-blob --split");
    let manifest = at.manifest("a", "x").expect("a manifest");
    let text = String::from_utf8(manifest).expect("JSON");
    let text = text.replace("\"65536\"", "\"rabin:3\"");
    let kind = "application/vnd.oci.image.manifest.v1+json";
    at.put_manifest("a", "unknown", kind, text.as_bytes());
    base("old", "@unknown").fails(1).says("does not record how");
    at.run(["pull-blob", "--base", "old", "--range", "0-1", "a", "@x"])
        .misused("cannot be used with");
    assert_eq!(at.names(), ["old"]);
});

#[test]
fn a_base_that_changes_meanwhile_makes_no_file() {
    let at = Place::registry(Mode::Http);
    let (old, new) = (blob(30, MIB), [blob(31, 64 * KIB), blob(30, MIB)].concat());
    push(&at, "64KiB", &new, "new");
    let base = at.work().join("old");
    std::fs::write(&base, &old).expect("a file");
    let front = &at.bench.as_ref().expect("a registry").front;
    // The first part has to be fetched; meanwhile another process writes.
    let first = format!("/v2/a/blobs/{}", digest(&new[..64 * KIB]));
    let (part, changed) = (new[..64 * KIB].to_vec(), blob(32, MIB));
    front.add_first([on(GET, &first).with(move |request| {
        std::fs::write(&base, &changed).expect("a file");
        crate::support::rules::Response::ranged(request, &part)
    })]);
    at.run(["pull-blob", "-o", "out", "--base", "old", "a", "@new"])
        .fails(1)
        .says("old: changed while it was read");
    // What was fetched by then stays for the next try.
    assert_eq!(at.names(), ["old", "out.partial"]);
}

#[test]
fn python_dxf_gives_the_same_bytes() {
    let bench = Bench::new(Mode::Http);
    let folder = crate::support::scratch();
    let bytes = blob(40, 5 * MIB + 3);
    let file = crate::support::file(folder.path(), &bytes);
    for split in ["1MiB", "cdc:256KiB"] {
        bench
            .dxf()
            .args(["push-blob", "--split", split, "a", &file, "@x"])
            .ok();
        let python = bench.python().args(["pull-blob", "a", "@x"]).ok();
        let ours = bench.dxf().args(["pull-blob", "a", "@x"]).ok();
        assert!(python.stdout == bytes && ours.stdout == bytes);
    }
}
