//! Pulls over several connections: when they are used, what they may not
//! change, and how they end. Every server here is slow, so that they are.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::support::data::{blob, digest};
use crate::support::dxf::Dxf;
use crate::support::rules::{GET, HEAD, Response, Rule, on};
use crate::support::scratch;
use crate::support::server::{Seen, Server};

const MIB: usize = 1 << 20;
/// What one connection fetches at a time.
const CHUNK: u64 = 4 << 20;

fn path(bytes: &[u8]) -> String {
    format!("/v2/a/blobs/{}", digest(bytes))
}

/// About 16 MiB a second.
fn slowly(rule: Rule) -> Rule {
    rule.drip(64 << 10, Duration::from_millis(4))
}

fn served(bytes: &[u8]) -> Rule {
    slowly(on(GET, &path(bytes)).serve(bytes))
}

fn pull(server: &Server, folder: &Path, blobs: &[&[u8]]) -> Dxf {
    Dxf::new()
        .plain(&server.host())
        .args(["pull-blob", "a", "-o", "file"])
        .args(blobs.iter().map(|bytes| digest(bytes)))
        .current_dir(folder)
}

fn got(folder: &Path) -> Vec<u8> {
    std::fs::read(folder.join("file")).expect("the file")
}

/// First and last byte that a request asked for; `None` for all of them.
fn range(seen: &Seen) -> Option<(u64, Option<u64>)> {
    let (first, last) = seen
        .headers
        .get("range")?
        .strip_prefix("bytes=")?
        .split_once('-')?;
    Some((first.parse().expect("a number"), last.parse().ok()))
}

/// Whether a request is for a chunk that begins behind `first`.
fn behind(first: u64) -> impl Fn(&crate::support::wire::Head) -> bool + Send + Sync {
    move |head| {
        let value = head.headers.get("range").unwrap_or_default();
        let begins = value.strip_prefix("bytes=").and_then(|range| {
            let (first, last) = range.split_once('-')?;
            (!last.is_empty()).then_some(first)?.parse::<u64>().ok()
        });
        begins.is_some_and(|begins| begins > first)
    }
}

#[test]
fn a_slow_blob_is_fetched_in_ranges_that_do_not_overlap() {
    let bytes = blob(1, 24 * MIB);
    let folder = scratch();
    let server = Server::script([served(&bytes)]);
    pull(&server, folder.path(), &[&bytes]).ok();
    assert!(got(folder.path()) == bytes);
    let seen = server.seen();
    assert_eq!(range(&seen[0]), None);
    let mut ranges: Vec<(u64, u64)> = seen[1..]
        .iter()
        .map(|one| range(one).expect("a range"))
        .map(|(first, last)| (first, last.expect("an end")))
        .collect();
    ranges.sort_unstable();
    assert!(ranges.len() >= 3, "{ranges:?}");
    assert!(ranges.iter().all(|(first, last)| last - first < CHUNK));
    assert!(ranges.windows(2).all(|pair| pair[0].1 + 1 == pair[1].0));
    assert_eq!(ranges[ranges.len() - 1].1, bytes.len() as u64 - 1);
    // Standard output gets the same.
    let pulled = Dxf::new().plain(&server.host());
    let pulled = pulled.args(["pull-blob", "a", &digest(&bytes)]).ok();
    assert!(pulled.stdout == bytes && pulled.stderr.is_empty());
    // So it does when little is read at a time.
    let before = server.seen().len();
    let pulled = Dxf::new()
        .plain(&server.host())
        .env("DXF_CHUNK_SIZE", "8192");
    let pulled = pulled.args(["pull-blob", "a", &digest(&bytes)]).ok();
    assert!(pulled.stdout == bytes && server.seen().len() > before + 1);
}

#[test]
fn one_job_is_one_connection() {
    let bytes = blob(2, 12 * MIB);
    let folder = scratch();
    let server = Server::script([served(&bytes).times(1)]);
    let pull = pull(&server, folder.path(), &[&bytes]);
    pull.env("DXF_JOBS", "1").ok();
    assert!(got(folder.path()) == bytes);
}

#[test]
fn a_server_without_ranges_or_with_wrong_ones_is_read_as_ever() {
    let bytes = blob(3, 16 * MIB);
    let last = bytes.len() - 1;
    let size = bytes.len();
    for wrong in [
        None,
        Some(format!("bytes 0-{last}/{size}")),
        Some(format!("bytes 8-{last}/{size}")),
        Some(format!("bytes */{size}")),
        Some(String::new()),
    ] {
        let whole = bytes.clone();
        let answer = move |request: &crate::support::rules::Request| match (
            &wrong,
            request.headers.get("range"),
        ) {
            (Some(wrong), Some(_)) => Response::new(206)
                .header("Content-Range", wrong)
                .body(&whole[..MIB]),
            _ => Response::new(200).body(&whole[..]),
        };
        let folder = scratch();
        let server = Server::script([slowly(on(GET, &path(&bytes)).with(answer))]);
        let pulled = pull(&server, folder.path(), &[&bytes]).ok();
        assert!(got(folder.path()) == bytes && pulled.stderr.is_empty());
        assert_eq!(server.seen().len(), 2, "one try, and no more");
    }
    for status in [403, 404, 416] {
        let folder = scratch();
        let refused = on(GET, &path(&bytes)).has_header("range", "bytes");
        let server = Server::script([refused.times(1).reply(status), served(&bytes)]);
        pull(&server, folder.path(), &[&bytes]).ok();
        assert!(got(folder.path()) == bytes, "{status}");
    }
}

#[test]
fn what_happens_to_one_connection_is_made_good() {
    let bytes = blob(4, 24 * MIB);
    let wanted = 10 * MIB as u64;
    let broken = || served(&bytes).when(behind(wanted)).times(1);
    for rule in [
        broken().cut_after(MIB as u64),
        broken().reset_response_after(0),
        on(GET, &path(&bytes))
            .when(behind(wanted))
            .times(1)
            .reply(503),
    ] {
        let folder = scratch();
        let server = Server::script([rule, served(&bytes)]);
        pull(&server, folder.path(), &[&bytes]).ok();
        assert!(got(folder.path()) == bytes);
    }
}

#[test]
fn a_server_that_refuses_more_connections_is_read_over_one() {
    let bytes = blob(14, 24 * MIB);
    for status in [403, 429, 503] {
        let folder = scratch();
        let more = on(GET, &path(&bytes)).when(behind(6 * MIB as u64));
        let server = Server::script([more.reply(status), served(&bytes)]);
        let pull = pull(&server, folder.path(), &[&bytes]);
        pull.env("DXF_RETRIES", "0").ok();
        assert!(got(folder.path()) == bytes, "{status}");
    }
}

#[test]
fn wrong_bytes_from_one_connection_leave_no_file() {
    let bytes = blob(5, 24 * MIB);
    let folder = scratch();
    let wrong = served(&bytes).when(behind(10 * MIB as u64));
    let server = Server::script([wrong.times(1).corrupt(), served(&bytes)]);
    let failed = pull(&server, folder.path(), &[&bytes]).fails(65);
    failed.says("digest mismatch");
    assert_eq!(
        std::fs::read_dir(folder.path()).expect("a folder").count(),
        0
    );
}

#[test]
fn killed_on_the_way_and_run_again_goes_on_with_a_beginning() {
    let bytes = blob(6, 40 * MIB);
    let folder = scratch();
    let partial = folder.path().join("file.partial");
    let server = Server::script([
        on(HEAD, &path(&bytes)).serve(&bytes[..]),
        served(&bytes)
            .when(behind(24 * MIB as u64))
            .times(1)
            .stall_after(MIB as u64),
        served(&bytes),
    ]);
    let running = pull(&server, folder.path(), &[&bytes]).spawn();
    let until = Instant::now() + Duration::from_secs(30);
    let len = || std::fs::metadata(&partial).map_or(0, |meta| meta.len());
    while len() < 12 * MIB as u64 {
        assert!(Instant::now() < until, "{}", len());
        std::thread::sleep(Duration::from_millis(2));
    }
    running.signal("KILL");
    assert_eq!(running.finish().signal, Some(9));
    let held = std::fs::read(&partial).expect("a partial");
    assert!(bytes.starts_with(&held));
    let before = server.seen().len();
    pull(&server, folder.path(), &[&bytes]).ok();
    assert!(got(folder.path()) == bytes && !partial.exists());
    let again = &server.seen()[before..];
    assert!(
        again
            .iter()
            .filter(|one| one.method == GET)
            .all(|one| { range(one).expect("a range").0 >= held.len() as u64 })
    );
}

#[test]
fn never_more_at_once_than_jobs_and_small_blobs_together_too() {
    let blobs: Vec<_> = (0..40)
        .map(|i| blob(100 + i, 20_000 + i as usize))
        .collect();
    for jobs in [1, 3] {
        let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (counting, high) = (now.clone(), most.clone());
        let all = blobs.clone();
        let answer = move |request: &crate::support::rules::Request| {
            high.fetch_max(
                counting.fetch_add(1, Ordering::SeqCst) + 1,
                Ordering::SeqCst,
            );
            std::thread::sleep(Duration::from_millis(15));
            let wanted = all.iter().find(|bytes| request.path == path(bytes));
            counting.fetch_sub(1, Ordering::SeqCst);
            Response::ranged(request, wanted.expect("one of them"))
        };
        let server = Server::script([on("*", "/v2/a/blobs/*").with(answer)]);
        let folder = scratch();
        let all: Vec<&[u8]> = blobs.iter().map(Vec::as_slice).collect();
        let pull = pull(&server, folder.path(), &all);
        pull.env("DXF_JOBS", jobs.to_string()).ok();
        assert!(got(folder.path()) == blobs.concat());
        assert_eq!(most.load(Ordering::SeqCst), jobs);
        // Sizes are asked for once it is known that they are of use.
        let heads = server.count(HEAD, "*");
        assert!(if jobs == 1 { heads == 0 } else { heads < 40 }, "{heads}");
    }
}

#[test]
fn every_range_goes_the_way_of_the_registry() {
    let bytes = blob(7, 16 * MIB);
    let store = Server::stranger([slowly(on(GET, "/there").serve(&bytes[..]))]);
    let location = format!("http://{}/there?sig=1", store.localhost());
    let server = Server::script([on(GET, &path(&bytes))
        .reply(307)
        .header("Location", &location)]);
    let folder = scratch();
    pull(&server, folder.path(), &[&bytes]).ok();
    assert!(got(folder.path()) == bytes);
    assert!(store.seen().len() > 2);
    assert_eq!(store.seen().len(), server.seen().len());
}

/// The peak memory of a pull of `bytes` of which the first chunk after the switch to
/// several connections takes its time, so that the others wait.
fn peak_of_waiting(bytes: &[u8], jobs: &str) -> u64 {
    let folder = scratch();
    let whole = || on(GET, &path(bytes)).serve(bytes);
    let first = slowly(whole().no_header("range")).times(1);
    let server = Server::script([first, whole()]);
    let pull = pull(&server, folder.path(), &[bytes]);
    let mut running = pull.env("DXF_JOBS", jobs).spawn();
    let peak = running.peak();
    assert_eq!(running.finish().code, Some(0));
    assert!(got(folder.path()) == bytes);
    assert!(folder.path().read_dir().expect("a folder").count() == 1);
    peak
}

#[test]
fn what_waits_for_its_turn_takes_no_memory() {
    let bytes = blob(8, 48 * MIB);
    let one = peak_of_waiting(&bytes, "1");
    let many = peak_of_waiting(&bytes, "8");
    // Buffers for eight connections, and not the 32 MiB that may wait; the program
    // without optimization is large itself.
    assert!(one > 0 && many < one + (12 << 10), "{one} KiB, {many} KiB");
}
