//! Files pushed in parts: what is stored and printed, what a second push sends,
//! and what happens when one breaks off.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::support::bench::{Bench, Mode, each_registry};
use crate::support::data::{blob, digest};
use crate::support::dxf::Dxf;
use crate::support::full_disk::full_disk;
use crate::support::memory::{Memory, complaint};
use crate::support::place::each_place;
use crate::support::registry::Registry;
use crate::support::rules::{HEAD, POST, PUT, on};
use crate::support::server::Server;
use crate::support::{file, scratch, until};

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;
const UPLOADS: &str = "/v2/a/blobs/uploads/*";
const EMPTY: &str = "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";

/// The digests of `bytes` cut every `size` bytes, one a line.
fn lines(bytes: &[u8], size: usize) -> String {
    bytes.chunks(size).map(|part| digest(part) + "\n").collect()
}

/// The bodies of PUTs for blobs, without the two bytes of the config.
fn sent(server: &Server) -> Vec<u64> {
    let puts = server.seen_at(PUT, UPLOADS).into_iter();
    puts.map(|put| put.body_len)
        .filter(|len| *len > 2)
        .collect()
}

each_place!(a_file_is_stored_in_parts, |at| {
    let bytes = blob(1, 2 * MIB + MIB / 2 + 5);
    let name = at.file(&bytes);
    let push = ["push-blob", "--split", "512KiB", "a", &name, "@x"];
    assert_eq!(at.says(push), lines(&bytes, 512 * KIB));
    let manifest = at.manifest("a", "x").expect("a manifest");
    let json: Value = serde_json::from_slice(&manifest).expect("JSON");
    assert_eq!(json["artifactType"], "application/vnd.dxf.parts.v1");
    let notes = &json["annotations"];
    assert_eq!(notes["org.opencontainers.image.title"], name.as_str());
    assert_eq!(notes["vnd.dxf.content.size"], bytes.len().to_string());
    assert_eq!(notes["vnd.dxf.content.digest"], digest(&bytes));
    assert_eq!(notes["vnd.dxf.split"], "524288");
    // To everything else it is an alias of so many blobs.
    assert_eq!(at.says(["get-alias", "a", "x"]), lines(&bytes, 512 * KIB));
    assert!(at.run(["pull-blob", "a", "@x"]).ok().stdout == bytes);
    assert_eq!(
        at.says(["blob-size", "a", "@x"]),
        format!("{}\n", bytes.len())
    );
    // The second time nothing but the alias is put, and it is the same.
    at.forget();
    at.says(push);
    let parts: BTreeSet<String> = bytes.chunks(512 * KIB).map(digest).collect();
    let heads = parts.iter().map(String::as_str).chain([EMPTY]);
    let heads = heads.map(|digest| format!("HEAD /v2/a/blobs/{digest}"));
    at.asked(heads.chain(["PUT /v2/a/manifests/x".to_string()]));
    assert_eq!(at.manifest("a", "x").expect("a manifest"), manifest);
    assert_eq!(at.open_uploads("a"), 0);
});

each_place!(without_an_alias_there_is_no_manifest, |at| {
    let bytes = blob(2, 100_000);
    let name = at.file(&bytes);
    let dxf = at.run(["push-blob", "a", &name]).env("DXF_SPLIT", "30kB");
    assert_eq!(dxf.ok().text(), lines(&bytes, 30_000));
    assert!(at.tags("a").is_empty());
    assert!(!at.has_blob("a", EMPTY) && !at.has_blob("a", &digest(&bytes)));
    // The option counts for more.
    let dxf = at.run(["push-blob", "--split", "60kB", "a", &name]);
    let dxf = dxf.env("DXF_SPLIT", "30kB");
    assert_eq!(dxf.ok().text(), lines(&bytes, 60_000));
});

each_place!(standard_input_is_cut_as_it_comes, |at| {
    let bytes = blob(3, 3 * MIB + 1);
    let temp = scratch();
    let push = |split: &str, tag: &str| {
        let dxf = at.run(["push-blob", "--split", split, "a", "-", tag]);
        let dxf = dxf.env("DXF_TMPDIR", temp.path()).stdin(bytes.clone());
        dxf.ok().text().to_string()
    };
    assert_eq!(push("1MiB", "@x"), lines(&bytes, MIB));
    let manifest = at.manifest("a", "x").expect("a manifest");
    let json: Value = serde_json::from_slice(&manifest).expect("JSON");
    let notes = &json["annotations"];
    assert_eq!(notes["org.opencontainers.image.title"], Value::Null);
    assert_eq!(notes["vnd.dxf.content.digest"], digest(&bytes));
    assert!(at.run(["pull-blob", "a", "@x"]).ok().stdout == bytes);
    // Content is cut alike, whether it comes from a file or a pipe.
    let name = at.file(&bytes);
    let file = at.says(["push-blob", "--split=cdc:64KiB", "a", &name, "@y"]);
    assert!(file.lines().count() > 15, "{file}");
    assert_eq!(push("cdc:64KiB", "@z"), file);
    assert!(at.run(["pull-blob", "a", "@z"]).ok().stdout == bytes);
    assert_eq!(temp.path().read_dir().expect("a folder").count(), 0);
});

each_place!(small_and_same_content_needs_no_exception, |at| {
    let empty = at.file(b"");
    let push = ["push-blob", "--split", "1MiB", "a", &empty, "@empty"];
    assert_eq!(at.says(push), digest(b"") + "\n");
    assert_eq!(at.says(["pull-blob", "a", "@empty"]), "");
    let dxf = at.run(["push-blob", "--split=cdc", "a", "-", "@nothing"]);
    assert_eq!(dxf.ok().text(), digest(b"") + "\n");
    let small = at.file(b"abc");
    let push = ["push-blob", "--split", "cdc", "a", &small, "@small"];
    assert_eq!(at.says(push), digest(b"abc") + "\n");
    assert_eq!(at.says(["pull-blob", "a", "@small"]), "abc");
    // A part that occurs again is named again, and sent once.
    let zeros = vec![0; 10 * KIB];
    let name = at.file(&zeros);
    at.forget();
    let push = ["push-blob", "--split", "4KiB", "a", &name, "@zeros"];
    assert_eq!(at.says(push), lines(&zeros, 4 * KIB));
    if let Some(bench) = &at.bench {
        let requests = bench.requests();
        assert_eq!(requests.iter().filter(|one| one.method == POST).count(), 2);
    }
    assert!(at.run(["pull-blob", "a", "@zeros"]).ok().stdout == zeros);
});

each_registry!(python_dxf_reads_it_back, |reg| {
    let bytes = blob(4, 3 * MIB);
    let folder = scratch();
    let name = file(folder.path(), &bytes);
    for split in ["700KiB", "cdc:256KiB"] {
        let push = reg
            .dxf()
            .args(["push-blob", "--split", split, "a", &name, "@x"]);
        let parts = push.ok().text().to_string();
        let pulled = reg.python().args(["pull-blob", "a", "@x"]).ok();
        assert!(pulled.stdout == bytes);
        assert_eq!(
            reg.python().args(["get-alias", "a", "x"]).ok().text(),
            parts
        );
    }
});

#[test]
fn a_changed_file_sends_what_changed() {
    let bench = Bench::new(Mode::Http);
    let folder = scratch();
    let old = blob(5, 8 * MIB);
    let name = file(folder.path(), &old);
    let push = |tag: &str| {
        let words = ["push-blob", "--split", "cdc:64KiB", "a", &name, tag];
        bench.dxf().args(words).ok();
        let taken = sent(&bench.front);
        taken.iter().sum::<u64>()
    };
    let first = push("@old");
    assert_eq!(first, old.len() as u64);
    let mut new = [&blob(6, 100)[..], &old].concat();
    new[4 * MIB..][..10 * KIB].copy_from_slice(&blob(7, 10 * KIB));
    file(folder.path(), &new);
    let more = push("@new") - first;
    assert!(more < (MIB as u64), "{more}");
    for (tag, bytes) in [("@old", &old), ("@new", &new)] {
        assert!(bench.dxf().args(["pull-blob", "a", tag]).ok().stdout == *bytes);
    }
}

#[test]
fn a_killed_push_goes_on_with_what_is_missing() {
    let registry = Registry::http();
    let (folder, cache) = (scratch(), scratch());
    let bytes = blob(8, 6 * MIB);
    let name = file(folder.path(), &bytes);
    // Two parts are let through, the rest hangs.
    let server = Server::before(&registry, []);
    let dxf = |server: &Server| {
        let dxf = Dxf::new()
            .plain(&server.host())
            .env("DXF_CACHE", cache.path());
        dxf.args(["push-blob", "--split", "512KiB", "a", &name, "@x"])
    };
    let parts: Vec<String> = bytes.chunks(512 * KIB).map(digest).collect();
    let stuck = Server::before(
        &registry,
        parts[2..].iter().map(|part| {
            on(PUT, UPLOADS)
                .query("digest", part)
                .stall_upload_after(1000)
        }),
    );
    let running = dxf(&stuck).env("DXF_JOBS", "3").spawn();
    let there = |part: &String| registry.raw().has_blob("a", part);
    until("two parts", || parts[..2].iter().all(there));
    running.kill();
    assert!(registry.raw().manifest("a", "x").status == 404);
    dxf(&server).ok();
    assert_eq!(sent(&server), vec![512 * KIB as u64; 10]);
    for part in &parts[..2] {
        assert_eq!(server.count(HEAD, &format!("/v2/a/blobs/{part}")), 1);
    }
    assert!(dxf_pull(&server) == bytes);
}

fn dxf_pull(server: &Server) -> Vec<u8> {
    let dxf = Dxf::new().plain(&server.host());
    dxf.args(["pull-blob", "a", "@x"]).ok().stdout
}

#[test]
fn an_interrupted_push_leaves_no_session_open() {
    let registry = Registry::http();
    let folder = scratch();
    let bytes = blob(14, 2 * MIB);
    let name = file(folder.path(), &bytes);
    for from in [name.as_str(), "-"] {
        let server = Server::before(&registry, [on(PUT, UPLOADS).stall_upload_after(1000)]);
        let dxf = Dxf::new().plain(&server.host()).stdin(bytes.clone());
        let dxf = dxf.env("DXF_JOBS", "3").env("DXF_TMPDIR", folder.path());
        let running = dxf
            .args(["push-blob", "--split", "64KiB", "a", from, "@x"])
            .spawn();
        until("three parts under way", || server.count(PUT, UPLOADS) == 3);
        running.signal("INT");
        let output = running.finish();
        assert_eq!((output.code, output.text()), (Some(130), ""), "{output}");
        assert_eq!(registry.open_uploads("a"), 0);
        assert_eq!(registry.raw().manifest("a", "x").status, 404);
    }
    assert_eq!(folder.path().read_dir().expect("a folder").count(), 1);
}

#[test]
fn a_part_that_fails_is_sent_again() {
    let registry = Registry::http();
    let folder = scratch();
    let bytes = blob(9, 3 * MIB);
    let name = file(folder.path(), &bytes);
    let parts: Vec<String> = bytes.chunks(512 * KIB).map(digest).collect();
    let server = Server::before(
        &registry,
        [
            on(PUT, UPLOADS)
                .query("digest", &parts[1])
                .times(1)
                .reply(503),
            on(PUT, UPLOADS)
                .query("digest", &parts[4])
                .times(1)
                .reset_after(1000),
        ],
    );
    let dxf = Dxf::new().plain(&server.host());
    let push = dxf
        .args(["push-blob", "--split", "512KiB", "a", &name, "@x"])
        .ok();
    assert_eq!(push.text(), lines(&bytes, 512 * KIB));
    assert!(dxf_pull(&server) == bytes);
}

#[test]
fn a_part_that_is_refused_ends_it_without_an_alias() {
    let registry = Registry::http();
    let folder = scratch();
    let bytes = blob(10, 3 * MIB);
    let name = file(folder.path(), &bytes);
    let refused = digest(&bytes[MIB..][..512 * KIB]);
    for from in [name.as_str(), "-"] {
        let denied = on(PUT, UPLOADS).query("digest", &refused).reply(403);
        let server = Server::before(&registry, [denied]);
        let dxf = Dxf::new().plain(&server.host());
        let dxf = dxf.args(["push-blob", "--split", "512KiB", "a", from, "@x"]);
        let failed = dxf.stdin(bytes.clone()).fails(1).says("403 Forbidden");
        assert_eq!(failed.text(), "");
        assert_eq!(server.count(PUT, "/v2/a/manifests/*"), 0);
    }
}

#[test]
fn what_a_registry_only_said_it_held_is_sent_after_all() {
    let memory = Memory::new();
    let folder = scratch();
    let bytes = blob(11, 100_000);
    let name = file(folder.path(), &bytes);
    let lost = digest(&bytes[..30_000]);
    let unknown = complaint("MANIFEST_BLOB_UNKNOWN", "blob unknown to registry");
    let rules = [
        on(HEAD, &format!("/v2/a/blobs/{lost}"))
            .reply(200)
            .header("Content-Length", "30000"),
        on(PUT, "/v2/a/manifests/x")
            .times(1)
            .reply(400)
            .header("Content-Type", "application/json")
            .body(unknown),
        on(PUT, "/v2/a/manifests/x").times(1).reply(201),
        // Asked whether the alias is there already, as where tags are immutable.
        on(HEAD, "/v2/a/manifests/x").reply(404),
    ];
    let server = Server::script(rules.into_iter().chain(memory.rules()));
    let dxf = Dxf::new().plain(&server.host());
    dxf.args(["push-blob", "--split", "30kB", "a", &name, "@x"])
        .ok();
    assert!(bytes.chunks(30_000).all(|part| memory.holds(part)));
}

#[test]
fn senseless_splits_are_wrong_usage() {
    let server = Server::script([]);
    let folder = scratch();
    let name = file(folder.path(), b"abc");
    let dxf = || Dxf::new().plain(&server.host());
    for (split, why) in [
        ("0", "at least one byte"),
        ("", "it takes a size"),
        ("-1", "it takes a size"),
        ("64T", "it takes a size"),
        ("rabin", "it takes a size"),
        ("cdc:", "it takes a size"),
        ("cdc:0", "power of two"),
        ("cdc:3MiB", "power of two"),
        ("cdc:32MiB", "from 16KiB to 16MiB"),
    ] {
        let word = format!("--split={split}");
        dxf()
            .args(["push-blob", &word, "a", &name, "@x"])
            .misused(why);
        if !split.is_empty() {
            let push = dxf()
                .args(["push-blob", "a", &name, "@x"])
                .env("DXF_SPLIT", split);
            push.fails(2).says("DXF_SPLIT").says(why);
        }
    }
    assert!(server.seen().is_empty());
}

#[test]
fn more_parts_than_a_manifest_lists_are_refused() {
    let memory = Memory::new();
    let server = Server::script(memory.rules());
    let folder = scratch();
    let bytes = vec![0; 260_001];
    let name = file(folder.path(), &bytes);
    let dxf = || Dxf::new().plain(&server.host());
    let push = dxf().args(["push-blob", "--split", "10", "a", &name, "@x"]);
    let said = "26001 parts";
    push.fails(2)
        .says(said)
        .says("the smallest that works is 11");
    let sparse = folder.path().join("sparse");
    let made = std::fs::File::create(&sparse).and_then(|file| file.set_len(600 << 30));
    made.expect("a sparse file");
    let large = |split: &str| {
        dxf()
            .args(["push-blob", "--split", split, "a"])
            .arg(&sparse)
    };
    large("cdc")
        .fails(2)
        .says("the smallest that works is 24778658");
    let made = std::fs::File::create(&sparse).and_then(|file| file.set_len(200 << 30));
    made.expect("a sparse file");
    large("cdc")
        .fails(2)
        .says("the smallest that works is cdc:8388608");
    assert!(server.seen().is_empty(), "something was sent");
    // Of a stream it is known when it has come so far.
    let push = dxf().args(["push-blob", "--split", "10", "a", "-", "@x"]);
    push.stdin(bytes).fails(2).says("at most 26000 parts");
    assert_eq!(server.count(PUT, "/v2/a/manifests/*"), 0);
}

#[test]
fn a_file_that_changes_meanwhile_is_refused() {
    let memory = Memory::new();
    let folder = scratch();
    let name = file(folder.path(), &blob(12, MIB));
    let path = name.clone();
    let grow = on(POST, UPLOADS).times(1).with({
        let memory = memory.clone();
        move |request| {
            let file = std::fs::File::options().append(true).open(&path);
            std::io::Write::write_all(&mut file.expect("the file"), b"more").expect("writing");
            memory.begin(request)
        }
    });
    let server = Server::script([grow].into_iter().chain(memory.rules()));
    let dxf = Dxf::new().plain(&server.host());
    let push = dxf.args(["push-blob", "--split", "64KiB", "a", &name, "@x"]);
    push.fails(1).says("changed while it was read");
    assert_eq!(server.count(PUT, "/v2/a/manifests/*"), 0);
}

#[test]
fn progress_is_that_of_the_whole_file() {
    let bench = Bench::new(Mode::Http);
    let folder = scratch();
    let name = file(folder.path(), &blob(13, MIB));
    for sum in ["11 uploaded, 1.0 MiB in ", "11 already there, 0 B in "] {
        let push = bench.dxf().env("DXF_PROGRESS", "1");
        let push = push
            .args(["push-blob", "--split", "100kB", "a", &name, "@x"])
            .ok();
        let lines: Vec<&str> = push.stderr.lines().collect();
        assert!(lines.iter().all(|line| line.starts_with(&name)), "{push}");
        assert!(lines[0].contains(" 0% 0/1048576 bytes"), "{push}");
        let [_, .., whole, parts] = &lines[..] else {
            panic!("{push}");
        };
        assert!(whole.contains(" 100% 1048576/1048576 "), "{push}");
        assert!(parts.contains(&format!(": 11 parts: {sum}")), "{push}");
    }
}

#[test]
fn a_full_folder_for_temporary_files_is_said() {
    let bench = Bench::new(Mode::Http);
    let script = r#"export DXF_TMPDIR="$2"
        "$1" push-blob $3 a - @x </dev/zero; code=$?
        ls -A "$2"; exit $code"#;
    for split in ["", "--split=1GiB"] {
        let with = |dxf: Dxf| dxf.env("DXF_CACHE", "0").arg(split);
        let Some(done) = full_disk("1m", &bench.host(), script, with) else {
            return;
        };
        assert_eq!(done.text(), "", "{done}");
        assert!(
            done.stderr.contains("set DXF_TMPDIR for temporary files"),
            "{done}"
        );
        assert!(bench.requests().is_empty());
    }
}

#[test]
fn a_stream_takes_memory_for_buffers_alone() {
    let (bench, tmp) = (Bench::new(Mode::Http), scratch());
    let bytes = blob(30, 96 * MIB);
    for words in [&["--split", "8MiB"][..], &[]] {
        let dxf = bench.dxf().env("DXF_TMPDIR", tmp.path());
        let push = dxf.arg("push-blob").args(words).args(["a", "-", "@x"]);
        let mut running = push.stdin(&bytes[..]).spawn();
        let peak = running.peak();
        assert_eq!(running.finish().code, Some(0));
        assert!((1..64 << 10).contains(&peak), "{words:?}: {peak} KiB");
    }
}
