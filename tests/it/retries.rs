//! What is tried again, how often and when, and what is not. Every count is
//! exact: two layers that both retry would multiply.

use std::io::{Read, Write};
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use crate::support::data::{blob, digest};
use crate::support::dxf::Dxf;
use crate::support::memory::Memory;
use crate::support::rules::{ANY, DELETE, GET, HEAD, PATCH, POST, PUT, Rule, on};
use crate::support::server::Server;
use crate::support::tls::Ca;
use crate::support::{file, scratch};

const TAGS: &str = "/v2/a/tags/list";
const MIB: usize = 1 << 20;

fn dxf(server: &Server) -> Dxf {
    let dxf = Dxf::new().plain(&server.host());
    // What goes round and round is to be found out soon.
    dxf.limit(Duration::from_secs(20))
}

fn list(server: &Server) -> Dxf {
    dxf(server).args(["list-aliases", "a"])
}

fn tags() -> Rule {
    on(GET, TAGS)
        .reply(200)
        .body(r#"{"name":"a","tags":["x"]}"#)
}

/// 503 without a wait, so that a test of counting need not wait either.
fn busy(method: &'static str, path: &str) -> Rule {
    on(method, path).reply(503).header("Retry-After", "0")
}

#[test]
fn what_passes_by_itself_is_tried_again() {
    for status in [408, 429, 499, 500, 502, 503, 504, 522] {
        let refused = on(GET, TAGS).times(2).reply(status);
        let server = Server::script([refused.header("Retry-After", "0"), tags()]);
        assert_eq!(list(&server).ok().text(), "x\n", "{status}");
        assert_eq!(server.seen().len(), 3);
    }
}

#[test]
fn what_does_not_is_asked_once() {
    for (status, code) in [
        (400, 1),
        (401, 13),
        (403, 1),
        (404, 2),
        (405, 1),
        (410, 1),
        (501, 69),
    ] {
        let server = Server::script([on(ANY, "*").reply(status).header("Retry-After", "0")]);
        list(&server).fails(code);
        assert_eq!(server.seen().len(), 1, "{status}");
    }
}

#[test]
fn every_request_is_tried_exactly_so_often() {
    let manifest = "/v2/a/manifests/x";
    let name = digest(b"x");
    let blob = format!("/v2/a/blobs/{name}");
    for (retries, tries) in [(None, 5), (Some("2"), 3), (Some("0"), 1)] {
        for (method, path, words) in [
            (GET, TAGS, vec!["list-aliases", "a"]),
            (GET, "/v2/_catalog", vec!["list-repos"]),
            (GET, manifest, vec!["get-alias", "a", "x"]),
            (HEAD, &blob, vec!["blob-size", "a", &name]),
            (GET, &blob, vec!["pull-blob", "a", &name]),
            (DELETE, &blob, vec!["del-blob", "a", &name]),
        ] {
            let server = Server::script([busy(method, path)]);
            let mut dxf = dxf(&server).args(&words);
            if let Some(retries) = retries {
                dxf = dxf.env("DXF_RETRIES", retries);
            }
            assert!(dxf.fails(69).stdout.is_empty());
            assert_eq!(server.seen().len(), tries, "{words:?}");
        }
    }
}

#[test]
fn an_upload_is_tried_exactly_so_often_whatever_fails() {
    let (folder, bytes) = (scratch(), blob(1, 1000));
    let file = file(folder.path(), &bytes);
    let sessions = "/v2/a/blobs/uploads/";
    for (method, path, mode) in [
        (POST, sessions, "auto"),
        (PUT, "/v2/a/blobs/uploads/*", "auto"),
        (PATCH, "/v2/a/blobs/uploads/*", "400"),
        (PUT, "/v2/a/blobs/uploads/*", "400"),
        (HEAD, "/v2/a/blobs/*", "auto"),
    ] {
        let memory = Memory::new();
        let server = Server::script([busy(method, path)].into_iter().chain(memory.rules()));
        let push = dxf(&server).args(["push-blob", "a", &file]);
        push.env("DXF_UPLOAD", mode)
            .env("DXF_RETRIES", "3")
            .fails(69);
        assert_eq!(server.count(method, path), 4, "{method} {mode}");
        assert_eq!(memory.open(), 0, "{method} {mode}");
    }
}

#[test]
fn a_chunk_that_fails_where_sessions_tell_nothing_is_tried_exactly_so_often() {
    let (folder, bytes) = (scratch(), blob(1, 1000));
    let file = file(folder.path(), &bytes);
    let uploads = "/v2/a/blobs/uploads/*";
    for refusal in [404, 405] {
        let memory = Memory::new();
        // The first chunk always arrives, the second never: sending the first
        // again is no progress.
        let server = Server::script(
            [
                busy(PATCH, uploads).has_header("content-range", "400-"),
                on(GET, uploads).reply(refusal),
            ]
            .into_iter()
            .chain(memory.rules()),
        );
        let push = dxf(&server).args(["push-blob", "a", &file]);
        push.env("DXF_UPLOAD", "400")
            .env("DXF_RETRIES", "3")
            .fails(69);
        let second = server.seen_at(PATCH, uploads);
        let second = second.iter().filter(|one| one.status == 503).count();
        assert_eq!(second, 4);
        assert_eq!(memory.open(), 0);
    }
}

#[test]
fn a_manifest_put_is_tried_exactly_so_often() {
    let memory = Memory::new();
    let name = memory.put(b"abc");
    let put = busy(PUT, "/v2/a/manifests/x");
    let server = Server::script([put].into_iter().chain(memory.rules()));
    let set = dxf(&server).args(["set-alias", "a", "x", &name]);
    set.env("DXF_RETRIES", "2").fails(69);
    assert_eq!(server.count(PUT, "/v2/a/manifests/x"), 3);
}

#[test]
fn a_token_server_that_fails_is_asked_exactly_so_often() {
    let challenge = "Bearer realm=\"{origin}/token\",service=\"s\"";
    let server = Server::script_tls([
        busy(GET, "/token"),
        on(ANY, "/v2/*")
            .reply(401)
            .header("WWW-Authenticate", challenge),
    ]);
    let folder = scratch();
    let ca = Ca::shared().write_to(folder.path());
    let list = || {
        let dxf = Dxf::new().env("DXF_HOST", server.host());
        dxf.env("DXF_TLSVERIFY", &ca).env("DXF_RETRIES", "2")
    };
    list().args(["list-aliases", "a"]).fails(69);
    assert_eq!(server.count(GET, "/token"), 3);
    list().args(["auth", "a", "pull"]).fails(69);
    assert_eq!(server.count(GET, "/token"), 6);
}

#[test]
fn answers_cut_in_their_body_are_fetched_again() {
    let memory = Memory::new();
    let name = memory.put(b"abc");
    let server = Server::script(
        [
            on(GET, TAGS)
                .times(1)
                .reply(200)
                .body(r#"{"tags":["x"]}"#)
                .cut_after(5),
            on(GET, TAGS)
                .times(1)
                .reply(200)
                .body(r#"{"tags":["x"]}"#)
                .reset_response_after(5),
            tags(),
            on(PUT, "/v2/a/manifests/x").reply(201),
        ]
        .into_iter()
        .chain(memory.rules()),
    );
    assert_eq!(list(&server).ok().text(), "x\n");
    assert_eq!(server.seen().len(), 3);
    let manifest = dxf(&server)
        .args(["set-alias", "a", "x", &name])
        .ok()
        .stdout;
    let kind = "application/vnd.docker.distribution.manifest.v2+json";
    let whole = || {
        let rule = on(GET, "/v2/a/manifests/x").reply(200);
        rule.header("Content-Type", kind).body(manifest.clone())
    };
    server.add([whole().times(1).cut_after(100), whole().times(1)]);
    let alias = dxf(&server).args(["get-alias", "a", "x"]).ok();
    assert_eq!(alias.text(), name + "\n");
}

#[test]
fn retry_after_is_obeyed_in_seconds_and_as_a_date() {
    let date = httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(2));
    for value in ["1", &date] {
        let server = Server::script([
            on(GET, TAGS)
                .times(1)
                .reply(429)
                .header("Retry-After", value),
            tags(),
        ]);
        let started = Instant::now();
        assert_eq!(list(&server).ok().text(), "x\n");
        assert!(started.elapsed() >= Duration::from_millis(900), "{value}");
    }
}

#[test]
fn without_retry_after_the_wait_is_ours() {
    let server = Server::script([on(GET, TAGS).times(2).reply(503), tags()]);
    let started = Instant::now();
    list(&server).ok();
    // 0.3 s and 0.9 s, each up to a tenth longer.
    let took = started.elapsed();
    assert!((1200..2500).contains(&took.as_millis()), "{took:?}");
}

#[test]
fn a_wait_beyond_the_cap_fails_at_once_and_says_so() {
    for (status, after, cap, code) in [
        (429, "3600", "60", 75),
        (429, "2", "1", 75),
        (503, "3600", "60", 69),
        (429, "Wed, 21 Oct 2099 07:28:00 GMT", "60", 75),
    ] {
        let server = Server::script([on(GET, TAGS)
            .times(1)
            .reply(status)
            .header("Retry-After", after)]);
        let started = Instant::now();
        let failed = list(&server).env("DXF_RETRY_MAX_WAIT", cap).fails(code);
        assert!(started.elapsed() < Duration::from_millis(900), "{status}");
        assert!(
            failed.stderr.contains(&status.to_string()),
            "{}",
            failed.stderr
        );
        if status == 429 {
            assert!(
                failed.stderr.contains("DXF_RETRY_MAX_WAIT"),
                "{}",
                failed.stderr
            );
        }
    }
}

#[test]
fn too_many_requests_to_the_end_is_rate_limited() {
    let server = Server::script([on(GET, TAGS).times(3).reply(429).header("Retry-After", "0")]);
    list(&server).env("DXF_RETRIES", "2").fails(75);
}

#[test]
fn a_download_counts_anew_whenever_bytes_came() {
    let bytes = blob(3, 500_000);
    let path = format!("/v2/a/blobs/{}", digest(&bytes));
    let server = Server::script([]);
    for _ in 0..4 {
        // Each round is two failures, and two are allowed.
        server.add([
            on(GET, &path)
                .times(1)
                .serve(bytes.clone())
                .cut_after(100_000),
            busy(GET, &path).times(1),
        ]);
    }
    server.add([on(GET, &path).times(1).serve(bytes.clone())]);
    let pull = dxf(&server).args(["pull-blob", "a", &digest(&bytes)]);
    assert!(pull.env("DXF_RETRIES", "2").ok().stdout == bytes);
}

#[test]
fn an_upload_counts_anew_whenever_a_chunk_was_taken() {
    let (folder, bytes) = (scratch(), blob(4, 6 * MIB));
    let file = file(folder.path(), &bytes);
    let memory = Memory::new();
    let failures = (0..6).map(|i| {
        let range = format!("{}-", i * MIB);
        let busy = busy(PATCH, "/v2/a/blobs/uploads/*").times(1);
        busy.has_header("content-range", &range)
    });
    let server = Server::script(failures.chain(memory.rules()));
    let push = dxf(&server).args(["push-blob", "a", &file]);
    push.env("DXF_UPLOAD", "1MiB").env("DXF_RETRIES", "1").ok();
    assert!(memory.holds(&bytes));
    assert_eq!(memory.begun(), 1);
}

#[test]
fn a_lost_answer_is_asked_for_again_exactly_so_often() {
    // One of the tries is free: a kept connection that the registry closed
    // says nothing about the registry.
    for (retries, tries) in [("0", 2), ("1", 3)] {
        let server = Server::script([on(GET, TAGS).lose_answer()]);
        list(&server).env("DXF_RETRIES", retries).fails(69);
        assert_eq!(server.seen().len(), tries);
    }
}

#[test]
fn a_registry_that_comes_up_late_is_waited_for() {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
    let socket = socket.expect("a socket");
    let any: std::net::SocketAddr = "127.0.0.1:0".parse().expect("an address");
    // Bound and not listening: the port is ours, and refuses.
    socket.bind(&any.into()).expect("a port");
    let at = socket
        .local_addr()
        .expect("an address")
        .as_socket()
        .expect("of IP");
    let folder = scratch();
    let running = Dxf::foreign(Path::new("/bin/sh"))
        .args([
            "-c",
            "exec \"$0\" list-aliases a 2>log",
            env!("CARGO_BIN_EXE_dxf"),
        ])
        .plain(&at.to_string())
        .env("DXF_LOG", "http")
        .current_dir(folder.path())
        .spawn();
    let until = Instant::now() + Duration::from_secs(20);
    let log = || std::fs::read_to_string(folder.path().join("log")).unwrap_or_default();
    while !log().contains("refused") {
        assert!(Instant::now() < until, "{}", log());
        std::thread::sleep(Duration::from_millis(5));
    }
    socket.listen(8).expect("listening");
    let listener = std::net::TcpListener::from(socket);
    let (mut connection, _) = listener.accept().expect("a connection");
    let mut asked = [0; 4096];
    let n = connection.read(&mut asked).expect("a request");
    assert!(asked[..n].starts_with(b"GET /v2/a/tags/list "));
    let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 14\r\n\r\n{\"tags\":[\"x\"]}";
    connection.write_all(answer).expect("answering");
    let done = running.finish();
    assert_eq!((done.code, done.text()), (Some(0), "x\n"), "{}", log());
}

#[test]
fn nobody_there_is_a_network_failure() {
    let socket = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let host = socket.local_addr().expect("an address").to_string();
    drop(socket);
    let list = Dxf::new().plain(&host).args(["list-aliases", "a"]);
    list.env("DXF_RETRIES", "0").fails(69).says("refused");
}
