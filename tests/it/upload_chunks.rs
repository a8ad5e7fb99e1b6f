//! When a blob is cut into chunks, and how large they are.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::support::data::{blob, digest};
use crate::support::dxf::push;
use crate::support::memory::{Memory, complaint};
use crate::support::registry::Registry;
use crate::support::rules::{GET, HEAD, PATCH, POST, PUT, Response, Rule, on};
use crate::support::server::{Seen, Server};
use crate::support::{file, scratch};

const MIB: u64 = 1 << 20;
const UPLOADS: &str = "/v2/a/blobs/uploads/*";

/// The length each request with this method promised.
fn lengths(server: &Server, method: &str) -> Vec<u64> {
    let length = |one: &Seen| one.headers.get("content-length")?.parse().ok();
    let seen = server.seen_at(method, UPLOADS);
    seen.iter().filter_map(length).collect()
}

fn answered(server: &Server, method: &str, status: u16) -> usize {
    let seen = server.seen_at(method, UPLOADS);
    seen.iter().filter(|one| one.status == status).count()
}

fn script(rules: impl IntoIterator<Item = Rule>, memory: &Memory) -> Server {
    Server::script(rules.into_iter().chain(memory.rules()))
}

#[test]
fn a_proxy_that_refuses_100_mb_takes_300_mb_with_no_setting() {
    let registry = Registry::http();
    let proxy = || on(PUT, UPLOADS).max_body(100_000_000);
    let server = Server::before(
        &registry,
        [proxy(), on(PATCH, UPLOADS).max_body(100_000_000)],
    );
    let bytes = blob(1, 300_000_000);
    let folder = scratch();
    let push = push(&server, &file(folder.path(), &bytes));
    let pushed = push.env("DXF_LOG", "http").ok();
    assert_eq!(pushed.text(), digest(&bytes) + "\n");
    // One line an exchange says what happened.
    let lines: Vec<&str> = pushed.stderr.lines().collect();
    assert_eq!(lines.len(), server.seen().len(), "{lines:#?}");
    assert!(
        lines[2].contains(" 413 ") && lines[5].contains("sent=95000000"),
        "{lines:#?}"
    );
    let stored = std::fs::metadata(registry.blob_file(&digest(&bytes))).expect("the blob");
    assert_eq!(stored.len(), bytes.len() as u64);
    assert_eq!(answered(&server, PUT, 413), 1);
    assert_eq!(
        lengths(&server, PATCH),
        [95_000_000, 95_000_000, 95_000_000, 15_000_000]
    );
    let bodies = server
        .seen_at("*", UPLOADS)
        .into_iter()
        .map(|one| one.body_len);
    assert!(bodies.max() <= Some(95_000_000));
    assert_eq!(registry.open_uploads("a"), 0);
}

#[test]
fn a_proxy_that_refuses_by_reset_is_found_out() {
    let memory = Memory::new();
    let refuse = |method| on(method, UPLOADS).reset_after(0);
    let large = |method| refuse(method).larger(7 * MIB);
    let server = script([large(PUT), large(PATCH)], &memory);
    let bytes = blob(2, 12 << 20);
    let folder = scratch();
    push(&server, &file(folder.path(), &bytes)).ok();
    assert!(memory.holds(&bytes));
    assert_eq!(lengths(&server, PATCH), [6 * MIB, 6 * MIB]);
}

#[test]
fn smaller_limits_are_found_by_halving_and_the_smallest_is_final() {
    let memory = Memory::new();
    let limit = |method, size| on(method, UPLOADS).max_body(size);
    let server = script([limit(PUT, 2 * MIB), limit(PATCH, 2 * MIB)], &memory);
    let bytes = blob(3, 12 << 20);
    let folder = scratch();
    let name = file(folder.path(), &bytes);
    push(&server, &name).ok();
    assert!(memory.holds(&bytes));
    let kept = lengths(&server, PATCH);
    assert_eq!(kept[..3], [6 * MIB, 3 * MIB, 3 * MIB / 2]);
    assert_eq!(kept[2..], [3 * MIB / 2; 8]);
    // A limit below nginx's default.
    let memory = Memory::new();
    let server = script([limit(PUT, 200_000), limit(PATCH, 200_000)], &memory);
    push(&server, &name).ok();
    assert!(memory.holds(&bytes));
    let kept = lengths(&server, PATCH);
    assert_eq!(
        (kept[0], kept[5], kept.len()),
        (6 * MIB, 3 * MIB / 16, 5 + 64)
    );
    let server = script([limit(PUT, 1000), limit(PATCH, 1000)], &Memory::new());
    push(&server, &name).fails(1).says("DXF_UPLOAD");
}

#[test]
fn the_registrys_own_limits_are_obeyed() {
    let memory = Memory::new();
    let bytes = blob(4, 5 << 20);
    let folder = scratch();
    let name = file(folder.path(), &bytes);
    let begin = |memory: &Memory, name: &'static str, value: &'static str| {
        let at = memory.clone();
        on(POST, UPLOADS).with(move |request| at.begin(request).header(name, value))
    };
    // A largest chunk below the blob's size means chunks at once.
    let max = begin(&memory, "OCI-Chunk-Max-Length", "2097152");
    let server = script([max], &memory);
    push(&server, &name).ok();
    assert!(memory.holds(&bytes));
    assert_eq!(lengths(&server, PATCH), [2 * MIB, 2 * MIB, MIB]);
    assert_eq!(lengths(&server, PUT), [0]);
    // One that would mean thousands of requests is not.
    let memory = Memory::new();
    let max = begin(&memory, "OCI-Chunk-Max-Length", "100");
    let server = script([max], &memory);
    push(&server, &name).ok();
    assert_eq!(lengths(&server, PATCH), [MIB / 16; 80]);
    // A larger one changes nothing.
    let memory = Memory::new();
    let max = begin(&memory, "OCI-Chunk-Max-Length", "9999999");
    let server = script([max], &memory);
    push(&server, &name).ok();
    assert_eq!(
        (lengths(&server, PATCH).len(), lengths(&server, PUT)),
        (0, vec![5 * MIB])
    );
    // A smallest one raises what the user asked for, but for the last.
    let memory = Memory::new();
    let min = begin(&memory, "OCI-Chunk-Min-Length", "3145728");
    let server = script([min], &memory);
    push(&server, &name).env("DXF_UPLOAD", "1MiB").ok();
    assert_eq!(lengths(&server, PATCH), [3 * MIB, 2 * MIB]);
}

#[test]
fn the_user_decides_where_he_says_so() {
    let bytes = blob(5, 3 << 20);
    let folder = scratch();
    let name = file(folder.path(), &bytes);
    let registry = Registry::http();
    let server = Server::before(&registry, []);
    push(&server, &name).env("DXF_UPLOAD", "1MiB").ok();
    assert_eq!(lengths(&server, PATCH), [MIB; 3]);
    let ranges = server.seen_at(PATCH, UPLOADS);
    let ranges: Vec<_> = ranges
        .iter()
        .map(|one| one.headers.get("content-range"))
        .collect();
    assert_eq!(
        ranges,
        [
            Some("0-1048575"),
            Some("1048576-2097151"),
            Some("2097152-3145727")
        ]
    );
    assert!(registry.raw().blob("a", &digest(&bytes)).expect(200).body == bytes);
    // Whole means whole, also where that does not work.
    let memory = Memory::new();
    let server = script([on(PUT, UPLOADS).max_body(MIB)], &memory);
    push(&server, &name)
        .env("DXF_UPLOAD", "monolithic")
        .fails(1)
        .says("413");
    assert_eq!(
        (server.count(PUT, UPLOADS), server.count(PATCH, UPLOADS)),
        (1, 0)
    );
    assert_eq!(memory.open(), 0);
}

#[test]
fn a_limit_in_the_words_of_a_416_is_obeyed() {
    let memory = Memory::new();
    let words = complaint("BLOB_UPLOAD_INVALID", "the maximum chunk size is 1 MiB");
    let refused = on(PATCH, UPLOADS).larger(MIB).reply(416).body(words);
    let server = script([refused], &memory);
    let bytes = blob(6, 3 << 20);
    let folder = scratch();
    push(&server, &file(folder.path(), &bytes))
        .env("DXF_UPLOAD", "2MiB")
        .ok();
    assert!(memory.holds(&bytes));
    assert_eq!(lengths(&server, PATCH), [2 * MIB, MIB, MIB, MIB]);
    assert_eq!(memory.begun(), 1);
}

/// As Amazon's registry was found to be (aws/containers-roadmap#2831): 201 for
/// a chunk, and what comes after the first is dropped.
fn dropping(memory: &Memory, with_range: bool) -> Vec<Rule> {
    let first = AtomicU64::new(0);
    let patch = on(PATCH, UPLOADS).with(move |request| {
        let length = request.body.len() as u64;
        let _ = first.compare_exchange(0, length, Ordering::SeqCst, Ordering::SeqCst);
        let answer = Response::new(201).header("Location", &request.path);
        match with_range {
            true => answer.header("Range", &format!("0-{}", first.load(Ordering::SeqCst) - 1)),
            false => answer,
        }
    });
    // It commits whatever it has, as long as no client looks.
    let close = on(PUT, UPLOADS).length("0").reply(201);
    let status = on(GET, UPLOADS).reply(405);
    [patch, close, status]
        .into_iter()
        .chain(memory.rules())
        .collect()
}

#[test]
fn a_registry_that_drops_chunks_gets_the_whole() {
    let bytes = blob(7, 3 << 20);
    let folder = scratch();
    let name = file(folder.path(), &bytes);
    for with_range in [true, false] {
        let memory = Memory::new();
        let server = Server::script(dropping(&memory, with_range));
        push(&server, &name).env("DXF_UPLOAD", "1MiB").ok();
        assert!(memory.holds(&bytes));
        // Told by the range that does not move, or by looking afterwards.
        let patches = if with_range { 2 } else { 3 };
        assert_eq!(server.count(PATCH, UPLOADS), patches);
        assert_eq!(lengths(&server, PUT).last(), Some(&(3 * MIB)));
        assert!(server.count(HEAD, "*") <= 2);
    }
}

#[test]
fn chunks_and_whole_both_refused_is_the_end() {
    let bytes = blob(8, 3 << 20);
    let folder = scratch();
    let memory = Memory::new();
    let limit = on(PUT, UPLOADS).max_body(2 * MIB);
    let server = Server::script([limit].into_iter().chain(dropping(&memory, true)));
    push(&server, &file(folder.path(), &bytes))
        .fails(1)
        .says("413");
    assert!(server.count(PUT, UPLOADS) == 2 && server.count(PATCH, UPLOADS) <= 3);
}

#[test]
fn a_chunk_taken_in_part_is_gone_on_from_there() {
    let memory = Memory::new();
    let half = on(PATCH, UPLOADS).times(1).with({
        let memory = memory.clone();
        move |request| memory.append_part(request, 400_000)
    });
    let server = script([half], &memory);
    let bytes = blob(9, 2 << 20);
    let folder = scratch();
    push(&server, &file(folder.path(), &bytes))
        .env("DXF_UPLOAD", "1MiB")
        .ok();
    assert!(memory.holds(&bytes));
    assert_eq!(lengths(&server, PATCH), [MIB, MIB, 2 * MIB - 400_000 - MIB]);
}
