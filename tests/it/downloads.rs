//! Blobs that arrive whole through connections that break, and never wrong.

use std::time::Duration;

use crate::support::data::{blob, digest};
use crate::support::dxf::Dxf;
use crate::support::rules::{GET, Response, Rule, on};
use crate::support::server::Server;

const MIB: usize = 1 << 20;

fn path(bytes: &[u8]) -> String {
    format!("/v2/a/blobs/{}", digest(bytes))
}

fn served(bytes: &[u8]) -> Rule {
    on(GET, &path(bytes)).serve(bytes)
}

fn dxf(server: &Server) -> Dxf {
    Dxf::new().plain(&server.host())
}

fn pull(server: &Server, bytes: &[u8]) -> Dxf {
    dxf(server).args(["pull-blob", "a", &digest(bytes)])
}

/// The `Range` of every request, in order.
fn ranges(server: &Server) -> Vec<Option<String>> {
    let seen = server.seen();
    let range = |one: &crate::support::server::Seen| one.headers.get("range").map(str::to_string);
    seen.iter().map(range).collect()
}

#[test]
fn a_connection_cut_anywhere_is_gone_on_from_there() {
    let size = MIB + 17;
    let offsets = [0, 1, 4095, 65_536, 262_143, 262_144, 262_145, size - 1];
    let blobs: Vec<_> = (0..offsets.len()).map(|i| blob(i as u64, size)).collect();
    let server = Server::script([]);
    for (bytes, cut) in blobs.iter().zip(offsets) {
        let rest = match cut {
            0 => served(bytes).no_header("range"),
            cut => served(bytes).range(&format!("bytes={cut}-")),
        };
        server.add([served(bytes).times(1).cut_after(cut as u64), rest.times(1)]);
    }
    let digests = blobs.iter().map(|bytes| digest(bytes));
    let pulled = dxf(&server).args(["pull-blob", "a"]).args(digests).ok();
    assert!(pulled.stdout == blobs.concat());
    assert_eq!(server.sent(), (size * blobs.len()) as u64);
}

#[test]
fn a_connection_reset_anywhere_is_gone_on_from_what_arrived() {
    let size = MIB + 17;
    let offsets = [0, 1, 4095, 65_536, 262_144, size - 1];
    let blobs: Vec<_> = (0..offsets.len()).map(|i| blob(i as u64, size)).collect();
    let server = Server::script([]);
    for (bytes, at) in blobs.iter().zip(offsets) {
        let reset = served(bytes).times(1).reset_response_after(at as u64);
        server.add([reset, served(bytes).times(1)]);
    }
    let digests = blobs.iter().map(|bytes| digest(bytes));
    let pulled = dxf(&server).args(["pull-blob", "a"]).args(digests).ok();
    assert!(pulled.stdout == blobs.concat());
    let asked = ranges(&server);
    for (pair, at) in asked.chunks(2).zip(offsets) {
        let from = pair[1].as_deref().map_or("0", |range| {
            let range = range.strip_prefix("bytes=").expect("a range of bytes");
            range.strip_suffix('-').expect("an open range")
        });
        // A reset may take with it what was still on the way.
        assert!(pair[0].is_none() && from.parse::<usize>().expect("a number") <= at);
    }
}

#[test]
fn ten_resets_cost_no_more_than_a_twentieth_of_200_mib() {
    let bytes = blob(1, 200 * MIB);
    let server = Server::script([]);
    for _ in 0..10 {
        server.add([served(&bytes)
            .times(1)
            .reset_response_after(18 * MIB as u64)
            .calm(Duration::from_millis(300))]);
    }
    server.add([served(&bytes).times(1)]);
    let folder = crate::support::scratch();
    let pulled = pull(&server, &bytes)
        .args(["-o", "file"])
        .current_dir(folder.path())
        .env("DXF_LOG", "http")
        .env("DXF_JOBS", "1")
        .ok();
    assert!(std::fs::read(folder.path().join("file")).expect("the file") == bytes);
    assert!(pulled.stdout.is_empty());
    let most = bytes.len() as u64 * 105 / 100;
    assert!(server.sent() <= most, "{} of {most}", server.sent());
    // One line an exchange, and the range in it.
    let lines: Vec<&str> = pulled.stderr.lines().collect();
    assert_eq!(lines.len(), server.seen().len(), "{lines:#?}");
    assert!(
        lines[10].contains("bytes=") && lines[10].contains(" 206 "),
        "{}",
        lines[10]
    );
}

#[test]
fn silence_is_retried_and_slowness_is_not() {
    let bytes = blob(2, 400_000);
    let slow = blob(3, 400_000);
    let server = Server::script([
        served(&bytes).times(1).silent(),
        served(&bytes).times(1).stall_after(100_000),
        served(&bytes).times(1).range("bytes=100000-"),
        // Longer than the timeout as a whole, never so long without a byte.
        served(&slow)
            .times(1)
            .drip(100_000, Duration::from_millis(300)),
    ]);
    let pulled = pull(&server, &bytes)
        .arg(digest(&slow))
        .env("DXF_TIMEOUT", "0.5")
        .ok();
    assert!(pulled.stdout == [bytes, slow].concat());
}

#[test]
fn a_server_that_ignores_ranges_is_skipped_through_three_times() {
    let bytes = blob(4, MIB);
    let whole = |cut: u64| {
        let bytes = bytes.clone();
        on(GET, &path(&bytes))
            .with(move |_| Response::new(200).body(bytes.clone()))
            .times(1)
            .cut_after(cut)
    };
    let server = Server::script([
        whole(100_000),
        whole(200_000),
        whole(300_000),
        whole(MIB as u64),
    ]);
    assert!(pull(&server, &bytes).ok().stdout == bytes);
    let server = Server::script([100_000, 200_000, 300_000, 400_000, 500_000].map(whole));
    let failed = pull(&server, &bytes).fails(69).says("ignores Range");
    assert!(bytes.starts_with(&failed.stdout));
}

#[test]
fn a_cut_while_skipping_is_begun_again() {
    let bytes = blob(4, MIB);
    let whole = |cut: u64| {
        let bytes = bytes.clone();
        on(GET, &path(&bytes))
            .with(move |_| Response::new(200).body(bytes.clone()))
            .times(1)
            .cut_after(cut)
    };
    let server = Server::script([500_000, 100, MIB as u64].map(whole));
    assert!(pull(&server, &bytes).ok().stdout == bytes);
}

#[test]
fn a_wrong_part_is_never_taken() {
    let bytes = blob(5, MIB);
    let size = bytes.len();
    for range in [
        format!("bytes 99999-{}/{size}", size - 1),
        format!("bytes 100001-{}/{size}", size - 1),
        format!("bytes 0-{}/{size}", size - 1),
        format!("bytes 100000-{}/{}", size - 1, size + 1),
        format!("bytes 100000-{size}/{size}"),
        "bytes */5".to_string(),
        "100000-".to_string(),
        String::new(),
    ] {
        let rest = bytes[100_000..].to_vec();
        let answer = move |_: &_| {
            let answer = Response::new(206).body(rest.clone());
            match range.as_str() {
                "" => answer,
                range => answer.header("Content-Range", range),
            }
        };
        let server = Server::script([
            served(&bytes).times(1).cut_after(100_000),
            on(GET, &path(&bytes)).times(1).with(answer),
        ]);
        let failed = pull(&server, &bytes).fails(65);
        assert!(bytes[..100_000].starts_with(&failed.stdout));
    }
}

#[test]
fn a_range_refused_in_the_middle_is_asked_for_whole_once() {
    let bytes = blob(6, MIB);
    let refused = || {
        on(GET, &path(&bytes))
            .has_header("range", "bytes")
            .reply(416)
    };
    let server = Server::script([
        served(&bytes).times(1).cut_after(100_000),
        refused().times(1),
        served(&bytes).no_header("range").times(1),
    ]);
    assert!(pull(&server, &bytes).ok().stdout == bytes);
    // A second refusal, of the whole, is not argued with.
    let server = Server::script([
        served(&bytes).times(1).cut_after(100_000),
        on(GET, &path(&bytes)).reply(416),
    ]);
    let failed = pull(&server, &bytes).fails(1);
    assert!(bytes[..100_000].starts_with(&failed.stdout));
    assert_eq!(server.seen().len(), 3);
}

#[test]
fn a_length_that_lies_is_found_out() {
    let bytes = blob(7, 300_000);
    let server = Server::script([
        served(&bytes).times(1).wrong_length(300_100),
        on(GET, &path(&bytes)).range("bytes=300000-").reply(416),
        on(GET, &path(&bytes)).reply(200).wrong_length(300_100),
    ]);
    let failed = pull(&server, &bytes).env("DXF_RETRIES", "1").run();
    assert!(matches!(failed.code, Some(65 | 69)), "{failed}");
    assert!(bytes.starts_with(&failed.stdout));
    let server = Server::script([served(&bytes).times(1).wrong_length(299_000)]);
    let failed = pull(&server, &bytes).fails(65);
    assert!(bytes[..299_000].starts_with(&failed.stdout));
    let server = Server::script([on(GET, &path(&bytes)).times(1).reply(200)]);
    assert!(pull(&server, &bytes).fails(65).stdout.is_empty());
}

#[test]
fn without_a_length_the_end_is_still_known() {
    let bytes = blob(8, MIB);
    let chunked = |cut| {
        let rule = served(&bytes)
            .header("Transfer-Encoding", "chunked")
            .times(1);
        match cut {
            None => rule,
            Some(cut) => rule.cut_after(cut),
        }
    };
    let server = Server::script([chunked(Some(500_000)), chunked(None)]);
    assert!(pull(&server, &bytes).ok().stdout == bytes);
    assert_eq!(ranges(&server)[1].as_deref(), Some("bytes=500000-"));
}

#[test]
fn wrong_bytes_end_in_failure_and_leave_no_file() {
    let (bytes, other) = (blob(9, MIB), blob(10, 1000));
    let folder = crate::support::scratch();
    std::fs::write(folder.path().join("old"), "old").expect("a file");
    let server = Server::script([served(&bytes).corrupt(), served(&other).corrupt()]);
    for wanted in [&bytes, &other] {
        for name in ["new", "old"] {
            pull(&server, wanted)
                .args(["-o", name])
                .current_dir(folder.path())
                .fails(65)
                .says("digest mismatch");
        }
        // Once on the way to stdout there is only the exit code.
        let failed = pull(&server, wanted).fails(65);
        assert_eq!(failed.stdout.len(), wanted.len());
    }
    let left = std::fs::read_dir(folder.path()).expect("a folder");
    let left: Vec<_> = left.flatten().map(|entry| entry.file_name()).collect();
    assert_eq!(left, ["old"]);
    assert_eq!(
        std::fs::read(folder.path().join("old")).expect("a file"),
        b"old"
    );
}

#[test]
fn a_registry_that_answers_every_digest_with_the_same_bytes_is_caught() {
    let evil = blob(11, 5000);
    let server = Server::script([on(GET, "/v2/a/blobs/*").serve(evil.clone())]);
    let folder = crate::support::scratch();
    for seed in 20..25 {
        let wanted = digest(&blob(seed, 5000));
        let base = || dxf(&server).args(["pull-blob", "a", &wanted]);
        base()
            .args(["-o", "file"])
            .current_dir(folder.path())
            .fails(65);
        base().fails(65);
    }
    assert_eq!(
        std::fs::read_dir(folder.path()).expect("a folder").count(),
        0
    );
    assert!(pull(&server, &evil).ok().stdout == evil);
}

#[test]
fn what_was_printed_before_a_failure_is_a_beginning() {
    let (first, second) = (blob(12, 300_000), blob(13, 300_000));
    let server = Server::script([
        served(&first).times(1),
        served(&second).times(1).cut_after(100_000),
        on(GET, &path(&second)).times(1).reply(404),
    ]);
    let failed = pull(&server, &first).arg(digest(&second)).fails(2);
    let all = [&first[..], &second[..100_000]].concat();
    assert!(failed.stdout.len() >= first.len() && all.starts_with(&failed.stdout));
}

#[test]
fn a_full_disk_ends_the_transfer() {
    let bytes = blob(14, 4 * MIB);
    let server = Server::script([served(&bytes)]);
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full");
    let full = full.expect("/dev/full");
    pull(&server, &bytes)
        .stdout_to(full)
        .fails(1)
        .says("No space left");
}

#[test]
fn what_breaks_off_behind_a_redirect_is_asked_for_where_it_began() {
    // A signed URL may have expired by then; only the registry makes new ones.
    let bytes = blob(15, MIB);
    let store = Server::stranger([
        on(GET, "/first")
            .times(1)
            .serve(bytes.clone())
            .cut_after(300_000),
        on(GET, "/second")
            .range("bytes=300000-")
            .times(1)
            .serve(bytes.clone()),
    ]);
    let to = |place: &str| {
        let location = format!("http://{}/{place}?sig=x'y%2f", store.localhost());
        on(GET, &path(&bytes))
            .times(1)
            .reply(307)
            .header("Location", &location)
    };
    let server = Server::script([to("first"), to("second")]);
    assert!(pull(&server, &bytes).ok().stdout == bytes);
    assert!(store.seen().iter().all(|one| one.query == "sig=x'y%2f"));
}

#[test]
fn nothing_is_asked_for_compressed_and_nothing_is_unpacked() {
    // httpd in front of a registry labels layers with the coding of their
    // content; the bytes are the blob all the same.
    let bytes = [&[0x1f, 0x8b, 8, 0][..], &blob(16, 5000)].concat();
    let server = Server::script([served(&bytes).header("Content-Encoding", "x-gzip")]);
    assert!(pull(&server, &bytes).ok().stdout == bytes);
    let seen = server.seen();
    assert_eq!(seen[0].headers.get("accept-encoding"), Some("identity"));
}
