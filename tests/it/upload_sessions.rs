//! Upload sessions: where they are, their offsets, and how an upload resumes
//! in one that a broken request or a killed process left.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::support::data::{blob, digest};
use crate::support::dxf::{Dxf, Output, push};
use crate::support::memory::Memory;
use crate::support::peers::Distribution3;
use crate::support::registry::Registry;
use crate::support::rules::{DELETE, GET, PATCH, POST, PUT, Response, Rule, on};
use crate::support::server::Server;
use crate::support::tls::Ca;
use crate::support::{file, scratch};

const MIB: usize = 1 << 20;
const UPLOADS: &str = "/v2/a/blobs/uploads/*";

fn script(rules: impl IntoIterator<Item = Rule>, memory: &Memory) -> Server {
    Server::script(rules.into_iter().chain(memory.rules()))
}

/// The `Content-Range` of every chunk sent so far.
fn chunks(server: &Server) -> Vec<String> {
    let seen = server.seen_at(PATCH, UPLOADS);
    let range =
        |one: &crate::support::server::Seen| one.headers.get("content-range").map(str::to_string);
    seen.iter().filter_map(range).collect()
}

#[test]
fn a_broken_chunk_is_asked_about_and_gone_on_from() {
    let bytes = blob(1, 3 * MIB);
    let folder = scratch();
    let name = file(folder.path(), &bytes);
    let second = || {
        on(PATCH, UPLOADS)
            .has_header("content-range", "1048576-")
            .times(1)
    };
    let faults: [fn(Rule) -> Rule; 4] = [
        |rule| rule.reset_after(1000),
        |rule| rule.lose_answer(),
        |rule| rule.reply(503).header("Retry-After", "0"),
        |rule| rule.reply(416),
    ];
    for fault in faults {
        let memory = Memory::new();
        let server = script([fault(second())], &memory);
        push(&server, &name).env("DXF_UPLOAD", "1MiB").ok();
        assert!(memory.holds(&bytes));
        assert_eq!(server.count(GET, UPLOADS), 1);
        assert_eq!((memory.begun(), memory.open()), (1, 0));
        let ranges = [
            "0-1048575",
            "1048576-2097151",
            "1048576-2097151",
            "2097152-3145727",
        ];
        assert_eq!(chunks(&server), ranges);
    }
}

#[test]
fn a_chunk_whose_answer_was_lost_is_not_sent_twice() {
    let bytes = blob(2, 3 * MIB);
    let folder = scratch();
    let memory = Memory::new();
    let keeps = memory.clone();
    let lost = on(PATCH, UPLOADS)
        .has_header("content-range", "1048576-")
        .times(1);
    let server = script(
        [lost
            .with(move |request| keeps.append_part(request, MIB))
            .lose_answer()],
        &memory,
    );
    push(&server, &file(folder.path(), &bytes))
        .env("DXF_UPLOAD", "1MiB")
        .ok();
    assert!(memory.holds(&bytes));
    assert_eq!(
        chunks(&server),
        ["0-1048575", "1048576-2097151", "2097152-3145727"]
    );
}

#[test]
fn the_status_is_understood_in_every_form() {
    let bytes = blob(3, 2 * MIB);
    let folder = scratch();
    let name = file(folder.path(), &bytes);
    for range in ["0-1048575", "bytes=0-1048575", "bytes 0-1048575"] {
        let memory = Memory::new();
        let server = script(
            [
                on(PATCH, UPLOADS)
                    .has_header("content-range", "1048576-")
                    .times(1)
                    .reply(416),
                on(GET, UPLOADS).times(1).reply(204).header("Range", range),
            ],
            &memory,
        );
        push(&server, &name).env("DXF_UPLOAD", "1MiB").ok();
        assert!(memory.holds(&bytes) && memory.begun() == 1, "{range}");
    }
}

#[test]
fn a_session_that_cannot_tell_is_left_for_a_new_one() {
    let bytes = blob(4, 2 * MIB);
    let folder = scratch();
    let name = file(folder.path(), &bytes);
    for (refused, status) in [(416, 404), (416, 405), (404, 404), (503, 405), (503, 404)] {
        let memory = Memory::new();
        let second = on(PATCH, UPLOADS)
            .has_header("content-range", "1048576-")
            .times(1);
        let server = script(
            [
                second.reply(refused).header("Retry-After", "0"),
                on(GET, UPLOADS).reply(status),
            ],
            &memory,
        );
        push(&server, &name).env("DXF_UPLOAD", "1MiB").ok();
        assert!(memory.holds(&bytes), "{refused} {status}");
        assert_eq!(
            (memory.begun(), memory.open()),
            (2, 0),
            "{refused} {status}"
        );
    }
}

#[test]
fn a_session_that_claims_more_than_was_sent_is_not_believed() {
    let bytes = blob(5, 2 * MIB);
    let folder = scratch();
    let memory = Memory::new();
    let lies = on(PATCH, UPLOADS).with(|request| {
        let answer = Response::new(202).header("Location", &request.path);
        answer.header("Range", "0-2097151")
    });
    let server = script([lies], &memory);
    push(&server, &file(folder.path(), &bytes))
        .env("DXF_UPLOAD", "1MiB")
        .fails(65);
    assert_eq!(memory.open(), 0);
}

#[test]
fn a_real_registry_takes_chunks_through_resets() {
    let registry = Registry::http();
    let bytes = blob(6, 6 * MIB);
    let folder = scratch();
    let reset = |range, at| {
        let second = on(PATCH, UPLOADS)
            .has_header("content-range", range)
            .times(1);
        second.reset_after(at)
    };
    let server = Server::before(&registry, [reset("0-", 0), reset("2097152-", 70_000)]);
    push(&server, &file(folder.path(), &bytes))
        .env("DXF_UPLOAD", "2MiB")
        .ok();
    assert!(registry.raw().blob("a", &digest(&bytes)).expect(200).body == bytes);
}

/// Every form of Location that registries send (P15), as its session is asked
/// for afterwards.
#[test]
fn a_location_is_followed_to_the_letter() {
    let bytes = b"abc";
    let folder = scratch();
    let name = file(folder.path(), bytes);
    let sum = digest(bytes);
    let ending = format!("digest={}", sum.replace(':', "%3A"));
    for (location, path, query) in [
        ("{origin}/u/1", "/u/1", ""),
        ("/u/1", "/u/1", ""),
        ("1", "/v2/a/blobs/uploads/1", ""),
        ("?id=1", "/v2/a/blobs/uploads/", "id=1"),
        ("../1?x", "/v2/a/blobs/1", "x"),
        (
            "/u/1?_state=a%2Bb%3D%3d&empty=&z=~%7E",
            "/u/1",
            "_state=a%2Bb%3D%3d&empty=&z=~%7E",
        ),
        ("/u/1?a=b+c&sig='x'", "/u/1", "a=b+c&sig='x'"),
        ("/u%2f1", "/u%2f1", ""),
        ("//{host}/u/1", "/u/1", ""),
    ] {
        let server = Server::script([]);
        let location = location.replace("{host}", &server.host());
        let wanted: Vec<&str> = [query, &ending]
            .into_iter()
            .filter(|part| !part.is_empty())
            .collect();
        server.add([
            on("HEAD", "/v2/a/blobs/sha256:*").reply(404),
            on(POST, "/v2/a/blobs/uploads/")
                .times(1)
                .reply(202)
                .header("Location", &location),
            on(PUT, path).times(1).reply(201),
        ]);
        push(&server, &name).ok();
        let put = &server.seen_at(PUT, "*")[0];
        let asked = put.query.replace(&sum, &sum.replace(':', "%3A"));
        assert_eq!(asked, wanted.join("&"), "{location}");
    }
}

#[test]
fn a_location_that_lost_scheme_or_port_is_put_right() {
    let bytes = b"abc";
    let folder = scratch();
    let name = file(folder.path(), bytes);
    let ca = Ca::shared().write_to(folder.path());
    // http behind a TLS proxy, with the port and without.
    for with_port in [true, false] {
        let server = Server::script_tls([]);
        let host = if with_port {
            server.host()
        } else {
            "127.0.0.1".to_string()
        };
        let location = format!("http://{host}/u/1?s=%3D");
        server.add([
            on("HEAD", "/v2/*").reply(404),
            on(POST, "/v2/*").reply(202).header("Location", &location),
            on(PUT, "/u/1").times(1).query("s", "=").reply(201),
        ]);
        let dxf = Dxf::new()
            .env("DXF_HOST", server.host())
            .env("DXF_TLSVERIFY", &ca);
        dxf.args(["push-blob", "a", &name]).ok();
    }
}

#[test]
fn a_location_that_leads_nowhere_good_is_refused() {
    let folder = scratch();
    let name = file(folder.path(), b"abc");
    let ca = Ca::shared().write_to(folder.path());
    let stranger = Server::stranger([]);
    // Another host, and in the clear.
    let elsewhere = format!("http://{}/u", stranger.localhost());
    for location in [elsewhere.as_str(), "ftp://127.0.0.1/u", "http://"] {
        let server = Server::script_tls([
            on("HEAD", "/v2/*").reply(404),
            on(POST, "/v2/*")
                .times(1)
                .reply(202)
                .header("Location", location),
        ]);
        let dxf = Dxf::new()
            .env("DXF_HOST", server.host())
            .env("DXF_TLSVERIFY", &ca);
        let dxf = dxf.login("tester", "pass-Word-1").env("DXF_RETRIES", "0");
        dxf.args(["push-blob", "a", &name]).fails(1);
    }
    assert!(stranger.seen().is_empty());
    // None at all.
    let server = Server::script([
        on("HEAD", "/v2/*").reply(404),
        on(POST, "/v2/*").times(1).reply(202),
    ]);
    push(&server, &name)
        .fails(65)
        .says("names no upload location");
}

/// Ends a push with a signal while the chunk at `offset` is on its way, and
/// pushes again.
fn end_and_push_again(
    memory: &Memory,
    bytes: &[u8],
    signal: &str,
    between: impl FnOnce(Output),
) -> Arc<Server> {
    let folder = scratch();
    let name = file(folder.path(), bytes);
    let cache = folder.path().join("cache");
    let range = "8388608-";
    let stuck = on(PATCH, UPLOADS).has_header("content-range", range);
    let stuck = stuck.times(1).stall_upload_after(1000);
    let server = Arc::new(script([stuck], memory));
    let dxf = || {
        push(&server, &name)
            .env("DXF_CACHE", &cache)
            .env("DXF_UPLOAD", "4MiB")
    };
    let running = dxf().spawn();
    let until = Instant::now() + Duration::from_secs(20);
    while chunks(&server)
        .iter()
        .all(|chunk| !chunk.starts_with(range))
    {
        assert!(Instant::now() < until);
        std::thread::sleep(Duration::from_millis(2));
    }
    running.signal(signal);
    between(running.finish());
    assert_eq!(dxf().ok().text(), digest(bytes) + "\n");
    assert!(memory.holds(bytes));
    // Nothing is left to resume.
    let notes = std::fs::read_dir(cache.join("uploads")).expect("the notes");
    assert_eq!(notes.count(), 0);
    server
}

#[test]
fn an_upload_resumes_after_a_signal() {
    let bytes = blob(7, 20 * MIB);
    for signal in ["KILL", "INT", "TERM"] {
        let memory = Memory::new();
        let server = end_and_push_again(&memory, &bytes, signal, |ended| {
            if signal == "KILL" {
                assert_eq!(ended.signal, Some(9));
                return;
            }
            let said = "interrupted; run the same command again to resume";
            assert!(matches!(ended.code, Some(130 | 143)), "{ended}");
            ended.says(said);
        });
        assert_eq!((memory.begun(), memory.open()), (1, 0), "{signal}");
        assert_eq!(memory.cancelled(), 0, "{signal}");
        let starts: Vec<_> = chunks(&server)
            .iter()
            .filter_map(|chunk| chunk.split_once('-').map(|(start, _)| start.to_string()))
            .collect();
        let wanted = [0, 4, 8, 8, 12, 16].map(|mib| (mib * MIB).to_string());
        assert_eq!(starts, wanted, "{signal}");
    }
}

#[test]
fn an_ended_upload_whose_session_is_gone_is_begun_again() {
    let bytes = blob(8, 16 * MIB);
    for signal in ["KILL", "INT"] {
        let memory = Memory::new();
        let server = end_and_push_again(&memory, &bytes, signal, |_| memory.forget_sessions());
        assert_eq!((memory.begun(), memory.open()), (2, 0), "{signal}");
        assert_eq!(chunks(&server).len(), 3 + 4, "{signal}");
    }
}

#[test]
fn a_stale_location_is_asked_for_once_to_be_cancelled() {
    let folder = scratch();
    let name = file(folder.path(), b"abc");
    for refused in [404, 416] {
        let fresh = |state| format!("/v2/a/blobs/uploads/1?_state={state}");
        let session = "/v2/a/blobs/uploads/1";
        let told = on(GET, session).query("_state", "old").times(1).reply(204);
        let server = Server::script([
            on("HEAD", "/v2/*").reply(404),
            on(POST, "/v2/*")
                .reply(202)
                .header("Location", &fresh("old")),
            on(PUT, session).reply(403),
            on(DELETE, session)
                .query("_state", "old")
                .times(1)
                .reply(refused),
            told.header("Range", "0-1")
                .header("Location", &fresh("new")),
            on(DELETE, session)
                .query("_state", "new")
                .times(1)
                .reply(204),
        ]);
        push(&server, &name).fails(1);
        assert_eq!(server.count(DELETE, session), 2, "{refused}");
    }
}

#[test]
fn a_killed_upload_goes_on_in_a_real_registry_where_it_can() {
    // distribution finds a session again as long as nothing came of the chunk
    // on the way; after that only its answer would have told the new address.
    for (arrives, sent_again) in [(false, 2), (true, 4)] {
        let registry = Registry::http();
        let bytes = blob(9, 16 * MIB);
        let folder = scratch();
        let name = file(folder.path(), &bytes);
        let third = on(PATCH, UPLOADS).has_header("content-range", "8388608-");
        let third = third.times(1).silent();
        let third = if arrives { third } else { third.reply(202) };
        let server = Server::before(&registry, [third]);
        let dxf = || {
            let push = push(&server, &name).env("DXF_UPLOAD", "4MiB");
            push.env("DXF_CACHE", folder.path().join("cache"))
        };
        let running = dxf().spawn();
        let until = Instant::now() + Duration::from_secs(20);
        let taken = || {
            server
                .seen_at(PATCH, UPLOADS)
                .get(2)
                .map(|one| one.body_len)
        };
        let done = || registry.log().matches("http.request.method=PATCH").count();
        while taken() != Some(4 * MIB as u64) || done() < if arrives { 3 } else { 2 } {
            assert!(Instant::now() < until);
            std::thread::sleep(Duration::from_millis(2));
        }
        running.signal("KILL");
        running.finish();
        dxf().ok();
        assert!(registry.raw().blob("a", &digest(&bytes)).expect(200).body == bytes);
        assert_eq!(chunks(&server).len(), 3 + sent_again);
    }
}

#[test]
fn an_interrupted_upload_continues_in_distribution_3() {
    let Some(registry) = Distribution3::start() else {
        return;
    };
    let bytes = blob(10, 32 * MIB);
    let folder = scratch();
    let name = file(folder.path(), &bytes);
    let server = Server::before(&registry, []);
    let dxf = || {
        let push = push(&server, &name).env("DXF_UPLOAD", "2MiB");
        push.env("DXF_CACHE", folder.path().join("cache"))
    };
    let running = dxf().spawn();
    let until = Instant::now() + Duration::from_secs(20);
    while chunks(&server).len() < 4 {
        assert!(Instant::now() < until);
        std::thread::sleep(Duration::from_millis(2));
    }
    running.signal("INT");
    let ended = running.finish();
    assert_eq!(ended.code, Some(130), "{ended}");
    ended.says("run the same command again to resume");
    dxf().ok();
    assert_eq!(server.count(POST, UPLOADS), 1);
    assert_eq!(server.count(DELETE, UPLOADS), 0);
    assert!(registry.raw().blob("a", &digest(&bytes)).expect(200).body == bytes);
}
