//! Credentials stay home: they go to the registry's own scheme, host and port
//! and to its token server, and to no other host that a registry names.

use crate::support::bench::{Bench, Mode};
use crate::support::data::{blob, digest};
use crate::support::dxf::Dxf;
use crate::support::proxy::Proxy;
use crate::support::registry::{PASSWORD, USER};
use crate::support::rules::{ANY, GET, HEAD, POST, PUT, Response, Rule, on};
use crate::support::server::{Builder, Server};
use crate::support::tls::FAR_NAME;

/// A stranger over TLS, so that nothing but who he is speaks against him.
fn stranger(rules: impl IntoIterator<Item = Rule>) -> Server {
    Builder::stranger(Server::builder(rules)).tls().start()
}

/// Asks every client for a password, for itself and for a token server.
fn asking(rule: Rule) -> [Rule; 1] {
    [rule
        .reply(401)
        .header("WWW-Authenticate", "Basic realm=\"storage\"")
        .header(
            "WWW-Authenticate",
            "Bearer realm=\"{origin}/token\",service=\"evil\"",
        )]
}

/// What is on the way is used for every way to authenticate.
fn for_each_mode(test: impl Fn(&Bench)) {
    for mode in [Mode::Basic, Mode::Token] {
        test(&Bench::new(mode));
    }
}

#[test]
fn storage_behind_a_redirect_learns_nothing() {
    for_each_mode(|reg| {
        let bytes = blob(1, 100_000);
        let name = reg.raw().push_blob("a", &bytes);
        let path = format!("/v2/a/blobs/{name}");
        for status in [301, 302, 303, 307, 308] {
            let storage = stranger([on(GET, "/bucket/x")
                .query("signature", "s")
                .serve(&bytes[..])]);
            let location = format!("{}/bucket/x?signature=s", storage.origin());
            reg.front.add_first([on(GET, &path)
                .has_header("authorization", "")
                .times(1)
                .reply(status)
                .header("Location", &location)]);
            let got = reg.dxf().args(["pull-blob", "a", &name]).ok();
            assert!(got.stdout == bytes, "{status}");
            assert_eq!(storage.seen().len(), 1);
        }
    });
}

#[test]
fn storage_that_asks_for_a_password_gets_none() {
    for_each_mode(|reg| {
        let name = reg.raw().push_blob("a", b"abc");
        let storage = stranger(asking(on(ANY, "/*")));
        let away = on(GET, &format!("/v2/a/blobs/{name}"))
            .has_header("authorization", "")
            .reply(307)
            .header("Location", &format!("{}/bucket", storage.origin()));
        reg.front.add_first([away]);
        let tokens = reg.token_requests();
        let pull = reg.dxf().args(["pull-blob", "a", &name]).fails(1);
        pull.says(&format!("{}/bucket", storage.origin()))
            .says("401");
        let lines: Vec<String> = storage.seen().iter().map(|one| one.line()).collect();
        assert_eq!(lines, ["GET /bucket"], "nothing was asked at its realm");
        assert!(reg.token_requests() <= tokens + 1);
    });
}

#[test]
fn a_redirect_back_home_is_authorized_again() {
    // Decided by each hop's own address, not by where the way has led before.
    let reg = Bench::new(Mode::Basic);
    let name = reg.raw().push_blob("a", b"abc");
    let home = format!("{}/v2/a/blobs/{name}", reg.front.origin());
    let away = stranger([on(GET, "/there").reply(302).header("Location", &home)]);
    reg.front.add_first([on(GET, "/v2/a/blobs/*")
        .has_header("authorization", "")
        .times(1)
        .reply(302)
        .header("Location", &format!("{}/there", away.origin()))]);
    let got = reg.dxf().args(["pull-blob", "a", &name]).ok();
    assert_eq!(got.stdout, b"abc");
}

#[test]
fn another_name_of_the_same_machine_is_somebody_else() {
    let reg = Bench::new(Mode::Basic);
    let name = reg.raw().push_blob("a", b"abc");
    let location = format!("https://{}/elsewhere", reg.front.localhost());
    reg.front.add_first([
        on(GET, "/v2/a/blobs/*")
            .has_header("authorization", "")
            .reply(307)
            .header("Location", &location),
        on(GET, "/elsewhere")
            .has_header("authorization", "")
            .reply(500),
        on(GET, "/elsewhere").serve(*b"abc"),
    ]);
    let got = reg.dxf().args(["pull-blob", "a", &name]).ok();
    assert_eq!(got.stdout, b"abc");
}

#[test]
fn uploads_may_go_elsewhere_without_credentials() {
    for_each_mode(|reg| {
        let storage = stranger([on(PUT, "/up").query("state", "s").reply(201)]);
        let location = format!("{}/up?state=s", storage.origin());
        reg.front.add_first([on(POST, "/v2/a/blobs/uploads/")
            .has_header("authorization", "")
            .reply(202)
            .header("Location", &location)]);
        let push = reg.dxf().stdin("abc").args(["push-blob", "a", "-"]).ok();
        assert_eq!(push.text(), digest(b"abc") + "\n");
        assert_eq!(storage.seen()[0].body_len, 3);
    });
}

#[test]
fn upload_locations_that_ask_for_a_password_get_none() {
    for_each_mode(|reg| {
        let storage = stranger(asking(on(ANY, "/*")));
        reg.front.add_first([on(POST, "/v2/a/blobs/uploads/")
            .has_header("authorization", "")
            .reply(202)
            .header("Location", &format!("{}/up", storage.origin()))]);
        let push = reg.dxf().stdin("abc").args(["push-blob", "a", "-"]);
        push.fails(1).says(&storage.host());
        assert_eq!(storage.count(ANY, "/token"), 0);
        assert_eq!(storage.count(PUT, "/up"), 1);
    });
}

#[test]
fn chunks_that_are_led_away_midway_go_without() {
    let reg = Bench::new(Mode::Basic);
    let storage = stranger([
        on("PATCH", "/more").reply(202).header("Range", "0-199999"),
        on(ANY, "/more").reply(201),
    ]);
    reg.front.add_first([on("PATCH", "*")
        .times(1)
        .reply(202)
        .header("Location", &format!("{}/more", storage.origin()))
        .header("Range", "0-99999")]);
    let bytes = blob(2, 200_000);
    let dxf = reg.dxf().env("DXF_UPLOAD", "100kB").stdin(&bytes[..]);
    // The registry does not hold it in the end; that is noticed, and the blob
    // sent once more in one piece.
    dxf.args(["push-blob", "a", "-"]).ok();
    let elsewhere: Vec<String> = storage.seen().iter().map(|one| one.line()).collect();
    assert_eq!(elsewhere, ["PATCH /more", "PUT /more"]);
    assert!(reg.raw().has_blob("a", &digest(&bytes)));
}

#[test]
fn a_next_page_elsewhere_is_an_error() {
    let reg = Bench::new(Mode::Basic);
    let evil = stranger([]);
    for (path, command) in [
        ("/v2/a/tags/list", &["list-aliases", "a"][..]),
        ("/v2/_catalog", &["list-repos"]),
    ] {
        reg.front.add_first([on(GET, path)
            .has_header("authorization", "")
            .reply(200)
            .header(
                "Link",
                &format!("<{}{path}?last=x>; rel=\"next\"", evil.origin()),
            )
            .body(r#"{"tags":["x"],"repositories":["x"]}"#)]);
        let list = reg.dxf().args(command).fails(65);
        list.says("another server");
    }
    assert!(evil.seen().is_empty());
}

#[test]
fn https_never_becomes_http() {
    for_each_mode(|reg| {
        let name = reg.raw().push_blob("a", b"abc");
        let clear = Server::stranger([]);
        reg.front.add_first([
            on(GET, "/v2/a/blobs/*")
                .has_header("authorization", "")
                .reply(307)
                .header("Location", &format!("{}/bucket?secret=s", clear.origin())),
            on(POST, "/v2/b/blobs/uploads/")
                .has_header("authorization", "")
                .reply(202)
                .header("Location", &format!("http://{}/up", clear.localhost())),
        ]);
        let pull = reg.dxf().args(["pull-blob", "a", &name]).fails(1);
        let pull = pull.says("https to http");
        assert!(!pull.stderr.contains("secret=s"), "{pull}");
        let push = reg.dxf().stdin("abc").args(["push-blob", "b", "-"]);
        push.fails(1).says("not https");
        assert!(clear.seen().is_empty());
    });
}

#[test]
fn a_token_server_that_sends_on_is_not_followed() {
    let evil = stranger([]);
    for status in [301, 302, 307, 308] {
        let realm = Server::script_tls([on(GET, "/token")
            .reply(status)
            .header("Location", &format!("{}/token", evil.origin()))]);
        let registry = registry_with_realm(&format!("{}/token", realm.origin()));
        let dxf = Dxf::new().secure(&registry.host()).login(USER, PASSWORD);
        dxf.args(["list-aliases", "a"]).fails(1).says("/token");
        assert_eq!(realm.seen().len(), 1);
    }
}

fn registry_with_realm(realm: &str) -> Server {
    let challenge = format!("Bearer realm=\"{realm}\",service=\"s\"");
    Server::script_tls([on(ANY, "/v2/*")
        .reply(401)
        .header("WWW-Authenticate", &challenge)])
}

#[test]
fn realms_that_are_no_https_urls_are_refused() {
    let evil = stranger([]);
    for realm in [
        format!("https://{USER}:pw@{}/token", evil.host()),
        format!("ftp://{}/token", evil.host()),
        "https://".to_string(),
        format!("file:///{}", evil.host()),
        "https://a b/".to_string(),
    ] {
        let registry = registry_with_realm(&realm);
        let dxf = Dxf::new().secure(&registry.host()).login(USER, PASSWORD);
        dxf.args(["list-aliases", "a"]).fails(1).says("realm");
    }
    // One that says http is asked by https all the same.
    let realm = Server::script_tls([on(GET, "/token").reply(403)]);
    let registry = registry_with_realm(&format!("http://{}/token", realm.host()));
    let dxf = Dxf::new().secure(&registry.host()).login(USER, PASSWORD);
    dxf.args(["list-aliases", "a"]).fails(13);
    assert_eq!(realm.count(GET, "/token"), 1);
}

#[test]
fn passwords_do_not_go_over_http_unless_that_is_allowed() {
    for challenge in ["Basic realm=\"x\"", "Bearer realm=\"{origin}/token\""] {
        let registry = Server::script([
            on(GET, "/token").reply(200).body(r#"{"token":"t"}"#),
            on(ANY, "/v2/*")
                .no_header("authorization")
                .reply(401)
                .header("WWW-Authenticate", challenge),
            on(GET, "/v2/a/tags/list").reply(200).body(r#"{"tags":[]}"#),
        ]);
        let dxf = Dxf::new().plain(&registry.host()).login(USER, PASSWORD);
        let list = dxf.clone().args(["list-aliases", "a"]);
        list.fails(1).says("DXF_ALLOW_INSECURE_AUTH=1");
        registry.assert_no_authorization();
        assert_eq!(registry.seen().len(), 1);
        let header = Dxf::new().plain(&registry.host());
        let header = header.env("DXF_AUTHORIZATION", "Basic header-word");
        let header = header.secret("header-word").args(["list-aliases", "a"]);
        header.fails(1);
        registry.assert_no_authorization();
        let allowed = dxf.env("DXF_ALLOW_INSECURE_AUTH", "1");
        allowed.args(["list-aliases", "a"]).ok();
        let last = registry.seen().pop().expect("a request");
        assert!(last.headers.get("authorization").is_some());
    }
}

#[test]
fn an_open_registry_is_told_nothing() {
    // Credentials that no server requests are not sent.
    let open = Server::stranger([on(HEAD, "/v2/a/blobs/*")
        .reply(200)
        .header("Content-Length", "3")]);
    let dxf = Dxf::new().plain(&open.host()).login(USER, PASSWORD);
    let digest = digest(b"abc");
    assert_eq!(dxf.args(["blob-size", "a", &digest]).ok().text(), "3\n");
}

#[test]
fn a_registry_far_away_may_not_name_a_token_server_next_door() {
    let near = stranger([]);
    let registry = registry_with_realm(&format!("{}/token", near.origin()));
    let proxy = Proxy::to(&registry.host());
    let dxf = Dxf::new().secure(FAR_NAME).login(USER, PASSWORD);
    let dxf = dxf.env("HTTPS_PROXY", format!("http://{}", proxy.host()));
    let list = dxf.clone().args(["list-aliases", "a"]);
    list.fails(1).says("private address");
    let storage = stranger([]);
    registry.add_first([on(POST, "/v2/a/blobs/uploads/")
        .reply(202)
        .header("Location", &format!("{}/up", storage.origin()))]);
    registry.add_first([on(HEAD, "*").with(|_| Response::new(404))]);
    let push = dxf.stdin("abc").args(["push-blob", "a", "-"]);
    push.fails(1).says("private address");
}

#[test]
fn no_server_of_any_test_is_sent_what_it_never_asked_for() {
    // Every server judges so when it is dropped; this one must be found guilty.
    let open = Server::script([on(GET, "/v2/a/tags/list").reply(200).body(r#"{"tags":[]}"#)]);
    let dxf = Dxf::new().plain(&open.host()).env("DXF_TOKEN", "given");
    let dxf = dxf.env("DXF_ALLOW_INSECURE_AUTH", "1");
    dxf.secret("given").args(["list-aliases", "a"]).ok();
    let dropped = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| drop(open)));
    assert!(dropped.is_err());
}
