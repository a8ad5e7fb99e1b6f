//! The tools are tested before they are trusted.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::{Duration, Instant};

use crate::support::bench::{Mode, each_registry};
use crate::support::data::{blob, digest};
use crate::support::dxf::Dxf;
use crate::support::raw::{Login, Raw};
use crate::support::registry::{PASSWORD, Registry, USER};
use crate::support::rules::{ANY, GET, POST, PUT, Response, on};
use crate::support::server::Server;
use crate::support::token::{Member, TokenServer};

fn raw(server: &Server) -> Raw {
    Raw::new(server.origin(), Login::Nobody)
}

/// Writes as a client would and hands back all that came, and how it ended.
fn talk(server: &Server, request: &[u8]) -> (Vec<u8>, Option<std::io::ErrorKind>) {
    let mut socket = TcpStream::connect(server.host()).expect("connecting");
    let sent = socket.write_all(request);
    let mut answer = Vec::new();
    let read = socket.read_to_end(&mut answer);
    let error = read.err().or(sent.err()).map(|error| error.kind());
    (answer, error)
}

fn body_of(answer: &[u8]) -> &[u8] {
    let at = answer.windows(4).position(|part| part == b"\r\n\r\n");
    &answer[at.expect("a head") + 4..]
}

each_registry!(takes_a_blob_and_gives_it_back_through_the_front, |reg| {
    let bytes = blob(1, 20 << 20);
    let login = match (reg.mode, &reg.tokens) {
        (Mode::Http, _) => Login::Nobody,
        (_, Some(tokens)) => tokens.login(),
        (_, None) => Login::basic(USER, PASSWORD),
    };
    let front = Raw::new(reg.front.origin(), login);
    let name = front.push_blob("a/b", &bytes);
    assert!(front.blob("a/b", &name).expect(200).body == bytes);
    assert_eq!(reg.registry.open_uploads("a/b"), 0);
    let lines = reg.request_lines();
    assert_eq!(lines.len(), 3, "{lines:?}");
    assert_eq!(reg.front.sent(), bytes.len() as u64);
    assert_eq!(reg.front.taken(), bytes.len() as u64);
    assert!(reg.requests().is_empty(), "told once");
    // No request is accepted without a login where one is required.
    let stranger = Raw::new(reg.front.origin(), Login::Nobody);
    let expected = if reg.mode == Mode::Http { 200 } else { 401 };
    stranger.blob("a/b", &name).expect(expected);
});

each_registry!(python_dxf_pushes_and_pulls, |reg| {
    let bytes = blob(7, 100_000);
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("file"), &bytes).expect("a file");
    let push = reg.python().current_dir(folder.path());
    let pushed = push.args(["push-blob", "a/b", "file", "@latest"]).ok();
    assert_eq!(pushed.text(), digest(&bytes) + "\n");
    let lines = reg.request_lines();
    assert_eq!(
        lines.last().map(String::as_str),
        Some("PUT /v2/a/b/manifests/latest")
    );
    assert!(
        reg.python()
            .args(["pull-blob", "a/b", "@latest"])
            .ok()
            .stdout
            == bytes
    );
    reg.python().args(["pull-blob", "a/b", "@other"]).fails(2);
    assert_eq!(reg.raw().tags("a/b"), ["latest"]);
    assert_eq!(reg.token_requests() > 0, reg.mode == Mode::Token);
});

#[test]
fn the_runner_feeds_collects_interrupts_and_times_out() {
    let shell = |script: &str| Dxf::foreign(Path::new("/bin/sh")).args(["-c", script]);
    let seen = shell("cat; echo $A $PATHLESS >&2; ls -A $HOME; exit 3")
        .stdin("in")
        .env("A", "one")
        .env("A", "two")
        .fails(3);
    assert_eq!((seen.text(), seen.stderr.as_str()), ("in", "two\n"));
    let mut running = shell("exec /bin/sleep 60").spawn();
    assert!(running.is_running());
    // Not INT, which a shell's background jobs are born ignoring.
    running.signal("TERM");
    assert_eq!(running.finish().signal, Some(15));
    let slow = shell("exec /bin/sleep 60").limit(Duration::from_millis(50));
    assert!(catch_unwind(AssertUnwindSafe(|| slow.run())).is_err());
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full");
    let full = shell("echo x").stdout_to(full.expect("/dev/full")).run();
    assert_ne!(full.code, Some(0));
}

#[test]
fn the_registry_knows_tags_deletes_and_refusals() {
    let registry = Registry::http();
    let raw = registry.raw();
    let config = raw.push_blob("x", b"{}");
    let manifest = format!(
        r#"{{"schemaVersion":2,"mediaType":"application/vnd.docker.distribution.manifest.v2+json","config":{{"mediaType":"application/octet-stream","size":2,"digest":"{config}"}},"layers":[]}}"#
    );
    let kind = "application/vnd.docker.distribution.manifest.v2+json";
    let name = raw.put_manifest("x", "v1", kind, manifest.as_bytes());
    assert_eq!(raw.tags("x"), ["v1"]);
    assert_eq!(
        raw.manifest("x", "v1").expect(200).body,
        manifest.as_bytes()
    );
    assert!(registry.blob_file(&config).exists());
    let target = format!("/v2/x/manifests/{name}");
    raw.send("DELETE", &target, &[], b"").expect(202);
    assert!(raw.tags("x").is_empty());
    assert!(registry.log().contains("listening on"));

    let stubborn = Registry::builder().no_delete().start();
    let raw = stubborn.raw();
    let name = raw.push_blob("x", b"abc");
    raw.send("DELETE", &format!("/v2/x/blobs/{name}"), &[], b"")
        .expect(405);
    assert!(raw.has_blob("x", &name));
}

#[test]
fn a_session_that_moved_on_cannot_be_cancelled_by_its_old_address() {
    let registry = Registry::http();
    let raw = registry.raw();
    let begin = || {
        let session = raw
            .send("POST", "/v2/a/blobs/uploads/", &[], b"")
            .expect(202);
        session
            .headers
            .get("location")
            .expect("a Location")
            .to_string()
    };
    let location = begin();
    assert_eq!(registry.open_uploads("a"), 1);
    raw.send("DELETE", &location, &[], b"").expect(204);
    assert_eq!(registry.open_uploads("a"), 0);
    // The offset is part of the address (`_state`): a client that missed the answer
    // to a PATCH can neither ask, nor go on, nor cancel.
    let location = begin();
    let kind = [("Content-Type", "application/octet-stream")];
    raw.send("PATCH", &location, &kind, b"abc").expect(202);
    for method in ["GET", "PATCH", "DELETE"] {
        raw.send(method, &location, &kind, b"").expect(404);
    }
    assert_eq!(registry.open_uploads("a"), 1);
}

#[test]
fn a_token_dies_when_it_says() {
    let tokens = TokenServer::builder().lifetime(2).start();
    let registry = Registry::builder().tls().token(&tokens).start();
    let ask = Raw::new(&tokens.realm(), Login::basic(USER, PASSWORD));
    let answer = ask
        .get(&format!(
            "{}?service=x&scope=repository:a:pull,push",
            tokens.realm()
        ))
        .expect(200)
        .json();
    assert_eq!(answer["expires_in"], 2);
    let token = answer["access_token"].as_str().expect("a token");
    let raw = Raw::new(&registry.origin(), Login::Header(format!("Bearer {token}")));
    raw.push_blob("a", b"abc");
    // Another repository is not its business.
    raw.send("POST", "/v2/b/blobs/uploads/", &[], b"")
        .expect(401);
    std::thread::sleep(Duration::from_millis(3100));
    raw.send("POST", "/v2/a/blobs/uploads/", &[], b"")
        .expect(401);
    let asked = tokens.requests();
    assert_eq!(asked[0].scopes, ["repository:a:pull,push"]);
    assert_eq!(asked[0].user.as_deref(), Some(USER));
    assert!(tokens.secrets().list().contains(&token.to_string()));
}

#[test]
fn the_token_server_knows_every_way_to_ask() {
    let tokens = TokenServer::builder()
        .anonymous_pull()
        .member(Member::Token)
        .start();
    let realm = tokens.realm();
    let claims = |answer: &serde_json::Value| {
        use base64::Engine;
        let token = answer["token"].as_str().expect("a token");
        let part = token.split('.').nth(1).expect("claims");
        let bytes = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(part);
        serde_json::from_slice::<serde_json::Value>(&bytes.expect("base64")).expect("JSON")
    };
    let nobody = Raw::new(&realm, Login::Nobody);
    let query =
        "?service=s&scope=repository:a/b:pull,push&scope=repository:c:pull&offline_token=true";
    let answer = nobody.get(&format!("{realm}{query}")).expect(200).json();
    assert!(answer.get("access_token").is_none() && answer.get("refresh_token").is_none());
    assert_eq!(claims(&answer)["access"][0]["actions"][0], "pull");
    assert_eq!(
        claims(&answer)["access"][0]["actions"]
            .as_array()
            .map(Vec::len),
        Some(1)
    );
    Raw::new(&realm, Login::basic(USER, "wrong"))
        .get(&format!("{realm}{query}"))
        .expect(401);
    let answer = Raw::new(&realm, Login::basic(USER, PASSWORD))
        .get(&format!("{realm}{query}"))
        .expect(200)
        .json();
    let refresh = answer["refresh_token"].as_str().expect("a refresh token");
    let form = format!(
        "grant_type=refresh_token&service=s&scope=repository%3Aa%2Fb%3Apull+repository:c:push&refresh_token={refresh}"
    );
    let kind = [("Content-Type", "application/x-www-form-urlencoded")];
    let answer = nobody
        .send("POST", &realm, &kind, form.as_bytes())
        .expect(200);
    assert_eq!(claims(&answer.json())["access"][1]["name"], "c");
    let wrong = form.replace("refresh-me", "refresh-you");
    nobody
        .send("POST", &realm, &kind, wrong.as_bytes())
        .expect(401);
    let asked = tokens.requests();
    assert_eq!(asked.len(), 5);
    assert_eq!(
        asked[3].scopes,
        ["repository:a/b:pull", "repository:c:push"]
    );
    assert_eq!(asked[3].grant_type.as_deref(), Some("refresh_token"));
}

#[test]
fn rules_choose_by_method_path_query_and_headers() {
    let server = Server::script([
        on(GET, "/v2/a/*")
            .times(1)
            .reply(503)
            .header("Retry-After", "0"),
        on(GET, "/v2/*/tags")
            .query("n", "a b")
            .reply(200)
            .body("tags"),
        on(GET, "/v2/a/x").has_header("Accept", "oci").reply(201),
        on(GET, "/v2/a/x")
            .no_header("Accept-Never")
            .serve(b"0123456789"),
        on(ANY, "/up").with(|request| Response::new(200).body(request.body.len().to_string())),
        on(POST, "/go")
            .reply(202)
            .header("Location", "{origin}/next"),
    ]);
    let raw = raw(&server);
    let busy = raw.get("/v2/a/b").expect(503);
    assert_eq!(busy.headers.get("retry-after"), Some("0"));
    assert_eq!(raw.get("/v2/q/tags?n=a%20b").expect(200).text(), "tags");
    raw.send("GET", "/v2/a/x", &[("Accept", "oci")], b"")
        .expect(201);
    let part = raw
        .send("GET", "/v2/a/x", &[("Range", "bytes=2-4")], b"")
        .expect(206);
    assert_eq!(
        (part.text(), part.headers.get("content-range")),
        ("234", Some("bytes 2-4/10"))
    );
    raw.send("GET", "/v2/a/x", &[("Range", "bytes=10-")], b"")
        .expect(416);
    assert_eq!(
        raw.send("PUT", "/up", &[], &blob(2, 300_000))
            .expect(200)
            .text(),
        "300000"
    );
    let next = raw.send("POST", "/go", &[], b"").expect(202);
    let expected = format!("{}/next", server.origin());
    assert_eq!(next.headers.get("location"), Some(expected.as_str()));
    assert_eq!(server.count(GET, "/v2/*"), 5);
    assert_eq!(server.taken(), 300_000);
    server.assert_no_authorization();
}

#[test]
fn answers_are_cut_reset_stalled_and_falsified_where_told() {
    let bytes = blob(3, 1 << 20);
    let served = |path| on(GET, path).serve(bytes.clone());
    let server = Server::script([
        served("/cut").cut_after(1000),
        served("/reset").reset_response_after(1000),
        served("/stall").stall_after(1000),
        served("/long").wrong_length(2 << 20),
        served("/flip").corrupt(),
        served("/lost").lose_answer(),
        served("/drip").drip(300_000, Duration::from_millis(20)),
        served("/late").delay(Duration::from_millis(100)),
    ]);
    let get = |path: &str| talk(&server, format!("GET {path} HTTP/1.1\r\n\r\n").as_bytes());
    let (answer, error) = get("/cut");
    assert_eq!((body_of(&answer), error), (&bytes[..1000], None));
    assert_eq!(server.seen_at(GET, "/cut")[0].sent, 1000);
    assert_eq!(get("/reset").1, Some(std::io::ErrorKind::ConnectionReset));
    let (answer, error) = get("/long");
    assert!(body_of(&answer) == bytes && error.is_none());
    assert!(String::from_utf8_lossy(&answer[..200]).contains("Content-Length: 2097152"));
    let (answer, error) = get("/lost");
    assert!(answer.is_empty() && error == Some(std::io::ErrorKind::ConnectionReset));
    let flipped = raw(&server).get("/flip").body;
    assert!(flipped[0] == bytes[0] ^ 1 && flipped[1..] == bytes[1..]);
    let started = Instant::now();
    assert!(raw(&server).get("/drip").body == bytes);
    assert!(raw(&server).get("/late").body == bytes);
    assert!(started.elapsed() >= Duration::from_millis(160));
    let mut socket = TcpStream::connect(server.host()).expect("connecting");
    socket
        .write_all(b"GET /stall HTTP/1.1\r\n\r\n")
        .expect("asking");
    socket
        .set_read_timeout(Some(Duration::from_millis(300)))
        .expect("a timeout");
    let mut answer = Vec::new();
    assert!(socket.read_to_end(&mut answer).is_err());
    assert_eq!(body_of(&answer), &bytes[..1000]);
}

#[test]
fn uploads_are_refused_reset_and_stalled_where_told() {
    let server = Server::script([
        on(PUT, "/big").max_body(1000),
        on(PUT, "/big").reply(201),
        on(PUT, "/reset").reset_after(100_000),
        on(PUT, "/early").reply(401).close_early(),
        on(PUT, "/stall").stall_upload_after(1000),
    ]);
    let put = |path: &str, size: usize, expect: &str| {
        let head = format!("PUT {path} HTTP/1.1\r\nContent-Length: {size}\r\n{expect}\r\n");
        talk(&server, &[head.as_bytes(), &blob(4, size)[..]].concat())
    };
    let raw = raw(&server);
    raw.send("PUT", "/big", &[], &blob(4, 1000)).expect(201);
    let (_, error) = put("/reset", 8 << 20, "");
    assert!(error.is_some());
    assert_eq!(server.seen_at(PUT, "/reset")[0].body_len, 100_000);
    // Where the client waits to be asked, the refusal arrives and no byte was sent.
    for (path, status) in [("/big", 413), ("/early", 401)] {
        raw.send(
            "PUT",
            path,
            &[("Expect", "100-continue")],
            &blob(4, 8 << 20),
        )
        .expect(status);
        assert_eq!(
            server.seen_at(PUT, path).last().map(|seen| seen.body_len),
            Some(0)
        );
    }
    let mut socket = TcpStream::connect(server.host()).expect("connecting");
    socket
        .write_all(b"PUT /stall HTTP/1.1\r\nContent-Length: 2000\r\nExpect: 100-continue\r\n\r\n")
        .expect("asking");
    let mut line = [0; 25];
    socket.read_exact(&mut line).expect("an invitation");
    assert_eq!(&line, b"HTTP/1.1 100 Continue\r\n\r\n");
}

#[test]
fn faults_happen_before_a_real_registry_too() {
    let registry = Registry::builder().tls().htpasswd().start();
    let bytes = blob(5, 4 << 20);
    let name = registry.raw().push_blob("a/b", &bytes);
    let path = format!("/v2/a/b/blobs/{name}");
    let server = Server::before(
        &registry,
        [
            on(GET, &path).times(1).cut_after(1 << 20),
            on(GET, &path).times(1).corrupt(),
            on(PUT, "/v2/a/b/blobs/uploads/*")
                .times(1)
                .reset_after(1 << 20),
            on(POST, "*").times(1).reply(503),
            on(GET, "/v2/a/b/tags/list")
                .without_header("Content-Type")
                .header("X-New", "1"),
        ],
    );
    let login = Login::basic(USER, PASSWORD);
    let raw = Raw::new(server.origin(), login.clone());
    let cut = catch_unwind(AssertUnwindSafe(|| raw.blob("a/b", &name)));
    assert!(cut.is_err());
    assert!(raw.blob("a/b", &name).body != bytes);
    assert!(raw.blob("a/b", &name).body == bytes);
    raw.send("POST", "/v2/a/b/blobs/uploads/", &[], b"")
        .expect(503);
    let other = blob(6, 4 << 20);
    let reset = catch_unwind(AssertUnwindSafe(|| raw.push_blob("a/b", &other)));
    assert!(reset.is_err() && !raw.has_blob("a/b", &digest(&other)));
    raw.push_blob("a/b", &other);
    let tags = raw.get("/v2/a/b/tags/list");
    assert_eq!(
        (tags.headers.get("content-type"), tags.headers.get("x-new")),
        (None, Some("1"))
    );
    // What waits for an invitation is told of the refusal before it sends.
    let stranger = Raw::new(server.origin(), Login::Nobody);
    let target = "/v2/a/b/blobs/uploads/x?digest=y";
    stranger
        .send("PUT", target, &[("Expect", "100-continue")], &other)
        .expect(401);
    assert_eq!(server.seen().last().map(|seen| seen.body_len), Some(0));
}

#[test]
fn the_server_judges() {
    let fails = |server: Server, act: &dyn Fn(&Server)| {
        act(&server);
        catch_unwind(AssertUnwindSafe(|| drop(server))).is_err()
    };
    assert!(fails(Server::script([]), &|server| {
        raw(server).get("/what").expect(500);
    }));
    assert!(fails(
        Server::script([on(GET, "/").times(2).reply(200)]),
        &|server| {
            raw(server).get("/").expect(200);
        }
    ));
    assert!(fails(
        Server::stranger([on(GET, "/").reply(200)]),
        &|server| {
            Raw::new(server.origin(), Login::basic("a", "b"))
                .get("/")
                .expect(200);
        }
    ));
    assert!(!fails(
        Server::stranger([on(GET, "/").times(1).reply(200)]),
        &|server| {
            raw(server).get("/").expect(200);
        }
    ));
}
