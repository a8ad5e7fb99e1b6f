//! Tokens: what is asked for, how often, and what happens when one ends too
//! early, comes in an odd form, or is never good enough.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::time::Duration;

use crate::support::bench::{Bench, Mode};
use crate::support::data::{blob, digest};
use crate::support::dxf::Dxf;
use crate::support::helper::Helpers;
use crate::support::registry::{PASSWORD, Registry, USER};
use crate::support::rules::{ANY, GET, HEAD, PATCH, POST, PUT, Rule, on};
use crate::support::server::Server;
use crate::support::token::{Asked, Member, TokenServer};

/// A token server, a registry that trusts it, and a server between that sees
/// everything and does what `rules` say.
struct Guarded {
    front: Server,
    registry: Registry,
    tokens: TokenServer,
}

impl Guarded {
    fn new(tokens: TokenServer, rules: impl IntoIterator<Item = Rule>) -> Guarded {
        let registry = Registry::builder().tls().token(&tokens).start();
        let front = Server::before(&registry, rules);
        Guarded {
            front,
            registry,
            tokens,
        }
    }

    fn anonymous(&self) -> Dxf {
        let dxf = Dxf::new().secure(&self.front.host());
        dxf.secrets(&self.tokens.secrets())
    }

    fn dxf(&self) -> Dxf {
        self.anonymous().login(USER, PASSWORD)
    }

    fn asked(&self) -> Vec<Vec<String>> {
        let all = self.tokens.requests();
        all.into_iter().map(|asked| asked.scopes).collect()
    }
}

fn file(dxf: &Dxf, bytes: &[u8]) -> String {
    let path = dxf.home().join("file");
    std::fs::write(&path, bytes).expect("a file");
    path.display().to_string()
}

/// A registry that takes `Bearer good` and names `realm`, with these further
/// parameters, to everybody else.
fn asking(realm: &str, parameters: &str) -> Server {
    let challenge = format!("Bearer realm=\"{realm}\"{parameters}");
    Server::script_tls([
        on(GET, "/v2/a/tags/list")
            .has_header("authorization", "Bearer good")
            .reply(200)
            .body(r#"{"tags":["v1"]}"#),
        on(GET, "/v2/_catalog")
            .has_header("authorization", "Bearer good")
            .reply(200)
            .body(r#"{"repositories":["a"]}"#),
        on(ANY, "/v2/*")
            .reply(401)
            .header("WWW-Authenticate", &challenge),
    ])
}

/// A token server that answers `body` to every request.
fn saying(body: &str) -> Server {
    Server::script_tls([on(GET, "/token").reply(200).body(body)])
}

fn realm_of(server: &Server) -> String {
    format!("{}/token", server.origin())
}

#[test]
fn a_push_of_six_seconds_works_with_tokens_of_two() {
    let bytes = blob(50, 50 << 20);
    let rate = bytes.len() as u64 / 6;
    let slow = on(PUT, "/v2/a/b/blobs/uploads/*").upload_rate(rate);
    let reg = Guarded::new(TokenServer::builder().lifetime(2).start(), [slow]);
    let dxf = reg.dxf();
    let path = file(&dxf, &bytes);
    let pushed = dxf.args(["push-blob", "a/b", &path, "@latest"]).ok();
    assert_eq!(pushed.text(), digest(&bytes) + "\n");
    assert!(pushed.took > Duration::from_secs(5), "{:?}", pushed.took);
    assert!(reg.registry.raw().has_blob("a/b", &digest(&bytes)));
    assert_eq!(reg.registry.raw().tags("a/b"), ["latest"]);
    let puts = reg.front.seen_at(PUT, "/v2/a/b/blobs/uploads/*");
    let sizes: Vec<u64> = puts.iter().map(|put| put.body_len).collect();
    assert_eq!(sizes, [bytes.len() as u64], "whole, and once");
    // One to begin with, one for the alias six seconds later.
    let scopes = vec!["repository:a/b:pull,push".to_string()];
    assert_eq!(reg.asked(), [scopes.clone(), scopes]);
}

#[test]
fn chunks_have_a_new_token_before_the_old_one_ends() {
    let bytes = blob(51, 6 << 19);
    let slow = on(PATCH, "/v2/a/b/blobs/uploads/*").upload_rate(1 << 20);
    let reg = Guarded::new(TokenServer::builder().lifetime(1).start(), [slow]);
    let dxf = reg.dxf().env("DXF_UPLOAD", "512KiB");
    let path = file(&dxf, &bytes);
    let pushed = dxf.args(["push-blob", "a/b", &path]).ok();
    assert_eq!(pushed.text(), digest(&bytes) + "\n");
    let chunks = reg.front.seen_at(PATCH, "*");
    let seen: Vec<_> = chunks
        .iter()
        .map(|chunk| (chunk.status, chunk.body_len))
        .collect();
    assert_eq!(seen, [(202, 1 << 19); 6]);
    assert!(reg.asked().len() >= 3, "{:?}", reg.asked());
    assert!(reg.registry.raw().blob("a/b", &digest(&bytes)).body == bytes);
}

#[test]
fn a_401_behind_a_whole_body_is_answered_with_the_whole_body() {
    for (size, upload, method) in [
        (300_000, "monolithic", PUT),
        // Above a MiB the body waits for an invitation.
        (3 << 20, "monolithic", PUT),
        (300_000, "150kB", PATCH),
    ] {
        let tokens = TokenServer::builder().start();
        let challenge = format!("Bearer realm=\"{}\",service=\"x\"", tokens.realm());
        let late = on(method, "/v2/a/b/blobs/uploads/*")
            .times(1)
            .reply(401)
            .header("WWW-Authenticate", &challenge);
        let reg = Guarded::new(tokens, [late]);
        let bytes = blob(52, size);
        let dxf = reg.dxf().env("DXF_UPLOAD", upload);
        let path = file(&dxf, &bytes);
        dxf.args(["push-blob", "a/b", &path]).ok();
        assert!(reg.registry.raw().blob("a/b", &digest(&bytes)).body == bytes);
        let sent = reg.front.seen_at(method, "/v2/a/b/blobs/uploads/*");
        assert_eq!((sent[0].status, sent[0].body_len), (401, sent[1].body_len));
        assert!(sent.iter().all(|one| one.body_len > 0), "{sent:?}");
        assert_eq!(reg.asked().len(), 2, "the old token was thrown away");
        let session = reg.front.seen_at(POST, "/v2/a/b/blobs/uploads/");
        assert_eq!(session.len(), 1, "the session went on");
    }
}

#[test]
fn a_download_goes_on_after_its_token_ended() {
    let bytes = blob(53, 400_000);
    let path = format!("/v2/a/b/blobs/{}", digest(&bytes));
    let cut = on(GET, &path)
        .times(1)
        .cut_after(100_000)
        .delay(Duration::from_millis(1200));
    let reg = Guarded::new(TokenServer::builder().lifetime(1).start(), [cut]);
    reg.registry.raw().push_blob("a/b", &bytes);
    let digest = digest(&bytes);
    // The first GET is refused, so the cut one is the second; the 1.2 s that
    // it takes are longer than its token lives.
    reg.front
        .add_first([on(GET, &path).no_header("authorization").times(1)]);
    let got = reg.dxf().args(["pull-blob", "a/b", &digest]).ok();
    assert!(got.stdout == bytes);
    assert!(reg.asked().len() >= 2);
}

#[test]
fn fifty_blobs_need_one_token() {
    let slow = TokenServer::builder().slow(Duration::from_millis(200));
    let reg = Guarded::new(slow.start(), []);
    let raw = reg.registry.raw();
    let names: Vec<String> = (0..50)
        .map(|i| raw.push_blob("a/b", &blob(i, 100)))
        .collect();
    let set = reg.dxf().args(["set-alias", "a/b", "all"]).args(&names);
    set.ok();
    assert_eq!(reg.front.count(HEAD, "/v2/a/b/blobs/*"), 50 + refused(&reg));
    assert_eq!(reg.asked(), [["repository:a/b:pull,push"]]);
}

/// HEAD requests that went out before there was a token: one a worker at most.
fn refused(reg: &Guarded) -> usize {
    let heads = reg.front.seen_at(HEAD, "*");
    let refused = heads.iter().filter(|head| head.status == 401).count();
    assert!(refused <= 8, "{refused} workers went without a token");
    refused
}

#[test]
fn scopes_of_one_repository_are_one_scope() {
    // The challenge asks for pull alone, as it does for a HEAD; the push needs
    // both, and GitLab lets a second entry override the first. What the request
    // does not need is not asked for.
    let tokens = TokenServer::builder().start();
    let challenge = format!(
        "Bearer realm=\"{}\",service=\"x\",scope=\"repository:a/b:pull repository:a/b:delete\"",
        tokens.realm()
    );
    let odd = on(HEAD, "/v2/a/b/*")
        .times(1)
        .reply(401)
        .header("WWW-Authenticate", &challenge);
    let reg = Guarded::new(tokens, [odd]);
    let dxf = reg.dxf().stdin("abc");
    dxf.args(["push-blob", "a/b", "-"]).ok();
    assert_eq!(reg.asked(), [["repository:a/b:pull,push"]]);
}

#[test]
fn a_mount_asks_for_both_repositories() {
    let reg = Guarded::new(TokenServer::builder().start(), []);
    let name = reg.registry.raw().push_blob("from/x", b"abc");
    reg.dxf().args(["mount-blob", "to/y", "from/x", &name]).ok();
    let both = ["repository:from/x:pull", "repository:to/y:pull,push"];
    assert_eq!(reg.asked(), [both]);
    assert!(reg.registry.raw().has_blob("to/y", &name));
}

#[test]
fn a_mount_that_may_not_be_asked_for_is_a_copy() {
    let reg = Guarded::new(TokenServer::builder().start(), []);
    let name = reg.registry.raw().push_blob("from/x", b"abc");
    let (from, to) = ("repository:from/x:pull", "repository:to/y:pull,push");
    let minted = |scope: &str| format!(r#"{{"token":"{}"}}"#, reg.tokens.mint(&[scope]));
    let strict = Server::script_tls([
        on(GET, "/token")
            .query("scope", from)
            .query("scope", to)
            .times(1)
            .reply(403),
        on(GET, "/token")
            .query("scope", from)
            .reply(200)
            .body(minted(from)),
        on(GET, "/token")
            .query("scope", to)
            .reply(200)
            .body(minted(to)),
    ]);
    let dxf = reg.dxf().env("DXF_AUTH_HOST", strict.host());
    let mounted = dxf.args(["mount-blob", "to/y", "from/x", &name]).ok();
    assert_eq!(mounted.text(), format!("{name}\n"));
    assert!(reg.registry.raw().has_blob("to/y", &name));
    assert_eq!(reg.registry.open_uploads("to/y"), 0);
}

#[test]
fn public_repositories_need_no_login() {
    let reg = Guarded::new(TokenServer::builder().anonymous_pull().start(), []);
    let name = reg.registry.raw().push_blob("a", b"abc");
    let got = reg.anonymous().args(["pull-blob", "a", &name]).ok();
    assert_eq!(got.stdout, b"abc");
    let asked: Vec<Asked> = reg.tokens.requests();
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0].authorization, None);
    // For writing the token is worth nothing, and no third one is tried.
    let push = reg.anonymous().stdin("new").args(["push-blob", "a", "-"]);
    push.fails(13).says("dxf login").says("DXF_USERNAME");
    // One for the HEAD, which is public; a fresh one when it was too weak.
    assert_eq!(reg.asked().len(), 3, "{:?}", reg.asked());
    assert_eq!(reg.front.count(POST, "*"), 2);
}

#[test]
fn every_way_to_hand_over_a_token_is_understood() {
    for member in [Member::Token, Member::AccessToken, Member::EmptyAccessToken] {
        let reg = Guarded::new(TokenServer::builder().member(member).start(), []);
        let push = reg.dxf().stdin("abc").args(["push-blob", "a", "-"]).ok();
        assert_eq!(push.text(), digest(b"abc") + "\n", "{member:?}");
    }
    for body in [
        r#"{"access_token":"good","token":"bad"}"#,
        r#"{"access_token":"","token":"good"}"#,
        r#"{"token":"good","access_token":null,"expires_in":0,"issued_at":"1970-01-01T00:00:00Z"}"#,
        r#"{"token":"good","expires_in":3600.5}"#,
    ] {
        let tokens = saying(body);
        let registry = asking(&realm_of(&tokens), ",service=\"s\"");
        let list = Dxf::new().secure(&registry.host());
        assert_eq!(list.args(["list-aliases", "a"]).ok().text(), "v1\n");
    }
    for (body, words) in [
        (r#"{"expires_in":60}"#, "token"),
        (r#"{"token":"a\nb"}"#, "token"),
        ("<html>", ""),
        ("", ""),
    ] {
        let tokens = saying(body);
        let registry = asking(&realm_of(&tokens), "");
        let list = Dxf::new().secure(&registry.host());
        list.args(["list-aliases", "a"]).fails(65).says(words);
    }
}

#[test]
fn challenges_without_service_or_scope_are_completed() {
    let tokens = saying(r#"{"token":"good"}"#);
    let registry = asking(&realm_of(&tokens), "");
    let dxf = || Dxf::new().secure(&registry.host());
    assert_eq!(dxf().args(["list-aliases", "a"]).ok().text(), "v1\n");
    assert_eq!(dxf().arg("list-repos").ok().text(), "a\n");
    let queries: Vec<String> = tokens.seen().into_iter().map(|one| one.query).collect();
    assert_eq!(
        queries,
        ["scope=repository:a:pull", "scope=registry:catalog:*"]
    );
    // Bearer is taken wherever it stands, and a realm's own query is kept.
    let realm = format!("{}?client=x", realm_of(&tokens));
    let challenge = format!("Negotiate, Basic realm=\"b, c\", bearer REALM=\"{realm}\"");
    let registry = Server::script_tls([
        on(GET, "/v2/*")
            .has_header("authorization", "Bearer good")
            .reply(200)
            .body(r#"{"tags":null}"#),
        on(GET, "/v2/*")
            .reply(401)
            .header("WWW-Authenticate", &challenge),
    ]);
    let list = Dxf::new().secure(&registry.host());
    assert_eq!(list.args(["list-aliases", "a"]).ok().text(), "");
    let last = tokens.seen().pop().map(|one| one.query);
    assert_eq!(last.as_deref(), Some("client=x&scope=repository:a:pull"));
}

#[test]
fn a_refresh_token_is_traded_by_post() {
    let reg = Guarded::new(TokenServer::builder().start(), []);
    let entry = [
        format!(r#"{{"identitytoken":"{}"}}"#, reg.tokens.refresh_token()),
        // What `az acr login` leaves.
        format!(
            r#"{{"username":"00000000-0000-0000-0000-000000000000","password":"{}"}}"#,
            reg.tokens.refresh_token()
        ),
    ];
    for (round, entry) in entry.iter().enumerate() {
        let dxf = reg.anonymous().stdin("abc");
        config(
            &dxf,
            &format!(r#"{{"auths":{{"{}":{entry}}}}}"#, reg.front.host()),
        );
        dxf.args(["push-blob", "a/b", "-"]).ok();
        let asked = reg.tokens.requests();
        assert_eq!(asked.len(), round + 1);
        assert_eq!(asked[round].method, "POST");
        assert_eq!(asked[round].grant_type.as_deref(), Some("refresh_token"));
        assert_eq!(asked[round].scopes, ["repository:a/b:pull,push"]);
        assert_eq!(asked[round].service.as_deref(), Some(reg.tokens.service()));
        assert_eq!(asked[round].authorization, None);
    }
    // One that is worth nothing any more.
    let dxf = reg.anonymous().secret("stale-refresh");
    let host = reg.front.host();
    config(
        &dxf,
        &format!(r#"{{"auths":{{"{host}":{{"identitytoken":"stale-refresh"}}}}}}"#),
    );
    dxf.args(["list-aliases", "a/b"])
        .fails(13)
        .says("config.json");
}

#[test]
fn a_bearer_token_of_a_file_is_sent_as_it_is() {
    let reg = Guarded::new(TokenServer::builder().start(), []);
    let name = reg.registry.raw().push_blob("a", b"abc");
    let token = reg.tokens.mint(&["repository:a:pull"]);
    let dxf = reg.anonymous().secret(&token);
    let entry = format!(r#"{{"registrytoken":"{token}"}}"#);
    config(
        &dxf,
        &format!(r#"{{"auths":{{"{}":{entry}}}}}"#, reg.front.host()),
    );
    assert_eq!(dxf.args(["blob-size", "a", &name]).ok().text(), "3\n");
    assert!(reg.asked().is_empty());
}

#[test]
fn token_servers_without_post_are_asked_by_get() {
    for status in [404, 405] {
        let pair = STANDARD.encode("<token>:keep-me");
        let tokens = Server::script_tls([
            on(POST, "/token").times(1).reply(status),
            on(GET, "/token")
                .times(1)
                .has_header("authorization", &format!("Basic {pair}"))
                .reply(200)
                .body(r#"{"token":"good"}"#),
        ]);
        let registry = asking(&realm_of(&tokens), "");
        let dxf = Dxf::new().secure(&registry.host()).secret("keep-me");
        let host = registry.host();
        config(
            &dxf,
            &format!(r#"{{"auths":{{"{host}":{{"identitytoken":"keep-me"}}}}}}"#),
        );
        assert_eq!(dxf.args(["list-aliases", "a"]).ok().text(), "v1\n");
    }
}

/// Writes Docker's `config.json` into the command's home.
fn config(dxf: &Dxf, text: &str) {
    let folder = dxf.home().join(".docker");
    std::fs::create_dir_all(&folder).expect("a folder");
    std::fs::write(folder.join("config.json"), text).expect("config.json");
}

#[test]
fn a_given_token_goes_first_and_is_replaced_only_with_a_login() {
    let reg = Guarded::new(TokenServer::builder().start(), []);
    let name = reg.registry.raw().push_blob("a/b", b"abc");
    let size = ["blob-size", "a/b", &name];
    let token = reg.tokens.mint(&["repository:a/b:pull"]);
    let given = reg.anonymous().env("DXF_TOKEN", &token).secret(&token);
    assert_eq!(given.clone().args(size).ok().text(), "3\n");
    assert_eq!(reg.front.seen().len(), 1, "no request without it");
    assert!(reg.asked().is_empty());
    // It allows no push: with a login another is asked for.
    let push = given.clone().login(USER, PASSWORD).stdin("new");
    push.args(["push-blob", "a/b", "-"]).ok();
    assert_eq!(reg.asked(), [["repository:a/b:pull,push"]]);

    let before = reg.front.seen().len();
    let wrong = reg.anonymous().env("DXF_TOKEN", "worth-nothing");
    let wrong = wrong.secret("worth-nothing");
    wrong.clone().args(size).fails(13).says("token");
    assert_eq!(reg.front.seen().len(), before + 1);
    assert_eq!(reg.asked().len(), 1);
    assert_eq!(
        wrong.clone().login(USER, PASSWORD).args(size).ok().text(),
        "3\n"
    );
    let carried: Vec<_> = reg.front.seen().split_off(before + 1);
    assert_eq!(carried.len(), 2);
    assert_eq!(
        carried[0].headers.get("authorization"),
        Some("Bearer worth-nothing")
    );
    // `auth` asks anew whatever is given; empty is unset.
    let auth = wrong.login(USER, PASSWORD).args(["auth", "a/b", "pull"]);
    let fresh = auth.ok();
    assert!(fresh.text().starts_with("ey") && fresh.text().ends_with('\n'));
    let empty = reg.anonymous().env("DXF_TOKEN", "").login(USER, PASSWORD);
    assert_eq!(empty.args(size).ok().text(), "3\n");
}

#[test]
fn an_authorization_value_goes_where_the_registry_type_wants_it() {
    let pair = format!("Basic {}", STANDARD.encode(format!("{USER}:{PASSWORD}")));
    let with = |reg: &Bench| {
        let dxf = reg.anonymous().env("DXF_AUTHORIZATION", &pair);
        dxf.secret(&pair["Basic ".len()..]).stdin("abc")
    };
    let reg = Bench::new(Mode::Token);
    with(&reg).args(["push-blob", "a", "-"]).ok();
    let asked = reg.tokens.as_ref().expect("tokens").requests();
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0].authorization.as_deref(), Some(pair.as_str()));
    for one in reg.front.seen() {
        let sent = one.headers.get("authorization");
        assert!(
            sent.is_none_or(|value| value.starts_with("Bearer ")),
            "{sent:?}"
        );
    }
    let reg = Bench::new(Mode::Basic);
    with(&reg).args(["push-blob", "a", "-"]).ok();
    let all = reg.front.seen();
    assert_eq!(all[0].headers.get("authorization"), None);
    assert!(
        all[1..]
            .iter()
            .all(|one| one.headers.get("authorization") == Some(pair.as_str()))
    );
}

#[test]
fn the_token_server_can_be_pinned() {
    let reg = Guarded::new(TokenServer::builder().start(), []);
    let name = reg.registry.raw().push_blob("a", b"abc");
    let evil = Server::stranger([]);
    let challenge = format!(
        "Bearer realm=\"https://{}/token\",service=\"x\"",
        evil.host()
    );
    reg.front.add_first([on(ANY, "*")
        .no_header("authorization")
        .reply(401)
        .header("WWW-Authenticate", &challenge)]);
    let pinned = reg.dxf().env("DXF_AUTH_HOST", reg.tokens.host());
    assert_eq!(pinned.args(["blob-size", "a", &name]).ok().text(), "3\n");
    assert!(evil.seen().is_empty());
    assert_eq!(reg.asked(), [["repository:a:pull"]]);
}

#[test]
fn a_registry_that_is_never_content_ends_in_13() {
    let tokens = TokenServer::builder().start();
    let challenge = format!("Bearer realm=\"{}\",service=\"x\"", tokens.realm());
    for challenge in [challenge.as_str(), "Basic realm=\"x\"", ""] {
        let registry = Server::script_tls([on(ANY, "/v2/*")
            .reply(401)
            .header("WWW-Authenticate", challenge)
            .body(r#"{"errors":[{"code":"UNAUTHORIZED","message":"go away"}]}"#)]);
        let dxf = Dxf::new().secure(&registry.host()).login(USER, PASSWORD);
        let dxf = dxf.secrets(&tokens.secrets()).stdin("abc");
        let before = tokens.requests().len();
        dxf.clone()
            .args(["list-aliases", "a"])
            .fails(13)
            .says("go away")
            .says("DXF_USERNAME");
        assert!(registry.seen().len() <= 3, "{:?}", registry.seen());
        assert!(tokens.requests().len() - before <= 1);
        dxf.args(["push-blob", "a", "-"]).fails(13);
    }
    // A token server that refuses the login.
    let reg = Guarded::new(TokenServer::builder().start(), []);
    let wrong = reg.anonymous().login(USER, "wrong-password");
    wrong
        .args(["list-aliases", "a"])
        .fails(13)
        .says("DXF_USERNAME and DXF_PASSWORD");
    assert_eq!(reg.asked().len(), 1);
}

#[test]
fn logins_of_other_kinds_are_named() {
    let registry = Server::script([on(ANY, "/v2/*")
        .reply(401)
        .header("WWW-Authenticate", "Negotiate")
        .header("WWW-Authenticate", "NTLM")]);
    let dxf = Dxf::new().plain(&registry.host()).login(USER, PASSWORD);
    let dxf = dxf.env("DXF_ALLOW_INSECURE_AUTH", "1");
    for args in [&["list-aliases", "a"][..], &["auth", "a"], &["login"]] {
        let ended = dxf.clone().args(args).fails(13);
        ended.says("Negotiate or NTLM logins only");
    }
}

#[test]
fn a_helper_whose_password_ended_is_asked_again() {
    for mode in [Mode::Token, Mode::Basic] {
        let reg = Bench::new(mode);
        let name = reg.raw().push_blob("a", b"abc");
        // As ECR's: every call makes a password, the old one has ended.
        let helpers = Helpers::new().script(
            "ecr",
            &format!(
                r#"cat >/dev/null
if [ -e "$here/again" ]; then password='{PASSWORD}'; else password=ended-at-noon; fi
: >"$here/again"
printf '{{"ServerURL":"x","Username":"{USER}","Secret":"%s"}}' "$password""#
            ),
        );
        let dxf = reg.anonymous().env("PATH", helpers.path());
        let dxf = dxf.secret(PASSWORD).secret("ended-at-noon");
        config(
            &dxf,
            &format!(r#"{{"credHelpers":{{"{}":"ecr"}}}}"#, reg.host()),
        );
        assert_eq!(dxf.args(["blob-size", "a", &name]).ok().text(), "3\n");
        assert_eq!(helpers.calls(), ["ecr get", "ecr get"], "{mode:?}");
    }
}

/// What token servers say of a refusal, in their several forms; their 404 is
/// no word about the repository.
#[test]
fn a_token_server_s_own_reason_and_status_are_told() {
    for (status, body, words, code) in [
        (
            401,
            r#"{"details":"wrong password"}"#,
            "401 Unauthorized (wrong password)",
            13,
        ),
        (
            403,
            r#"{"errors":[{"code":"DENIED","message":"no plan"}]}"#,
            "403 Forbidden (DENIED: no plan)",
            13,
        ),
        (
            400,
            r#"{"error":"invalid_grant","error_description":"too old"}"#,
            "400 Bad Request (invalid_grant: too old)",
            13,
        ),
        (
            404,
            "<html><title>no such page</title></html>",
            "404 Not Found (no such page); the registry named",
            13,
        ),
        (
            500,
            r#"{"errors":[{"code":"X","message":"no disk"}]}"#,
            "500 Internal Server Error (X: no disk)",
            69,
        ),
        (429, "slow down", "429 Too Many Requests (slow down)", 75),
    ] {
        let tokens = Server::script_tls([on(GET, "/token").reply(status).body(body)]);
        let registry = asking(&realm_of(&tokens), "");
        let dxf = Dxf::new()
            .secure(&registry.host())
            .login(USER, PASSWORD)
            .env("DXF_RETRIES", "0");
        dxf.args(["list-aliases", "a"]).fails(code).says(words);
    }
}

#[test]
fn a_token_server_that_has_moved_is_followed_and_no_login_leaves_it() {
    let good = r#"{"token":"good"}"#;
    for status in [301, 302, 303, 307, 308] {
        let moved = on(GET, "/token")
            .query("at", "new")
            .has_header("authorization", "Basic");
        let tokens = Server::script_tls([
            moved.reply(200).body(good),
            on(GET, "/token")
                .reply(status)
                .header("Location", "/token?at=new"),
        ]);
        let registry = asking(&realm_of(&tokens), "");
        let dxf = Dxf::new().secure(&registry.host()).login(USER, PASSWORD);
        assert_eq!(dxf.args(["list-aliases", "a"]).ok().text(), "v1\n");
    }
    let other = saying(good);
    let tokens = Server::script_tls([on(GET, "/token")
        .reply(307)
        .header("Location", &realm_of(&other))]);
    let registry = asking(&realm_of(&tokens), "");
    let dxf = Dxf::new().secure(&registry.host());
    let known = dxf
        .clone()
        .login(USER, PASSWORD)
        .args(["list-aliases", "a"]);
    known.fails(1).says("does not send the login");
    assert!(other.seen().is_empty(), "{:?}", other.seen());
    assert_eq!(dxf.args(["list-aliases", "a"]).ok().text(), "v1\n");
}

#[test]
fn a_realm_that_is_no_http_url_is_refused_and_nothing_is_asked() {
    for realm in ["file:/etc/passwd", "ftp://x/token", "junk", "", "//x/token"] {
        let registry = asking(realm, "");
        let dxf = Dxf::new().secure(&registry.host()).login(USER, PASSWORD);
        dxf.args(["list-aliases", "a"])
            .fails(1)
            .says("is not an http or https URL");
        assert_eq!(registry.seen().len(), 1);
    }
}

#[test]
fn a_challenge_does_not_widen_what_is_asked() {
    let tokens = saying(r#"{"token":"good"}"#);
    let wide = ",scope=\"repository:a:pull,push,delete registry:catalog:*\"";
    let registry = asking(&realm_of(&tokens), wide);
    let dxf = Dxf::new().secure(&registry.host());
    dxf.clone().args(["list-aliases", "a"]).ok();
    assert_eq!(tokens.seen()[0].query, "scope=repository:a:pull");
    // `auth` without an action asks for what the challenge names, or nothing.
    dxf.args(["auth", "a"]).ok();
    let wide = "scope=registry:catalog:*&scope=repository:a:pull,push,delete";
    assert_eq!(tokens.seen()[1].query, wide);
    let registry = asking(&realm_of(&tokens), "");
    Dxf::new().secure(&registry.host()).args(["auth", "a"]).ok();
    assert_eq!(tokens.seen()[2].query, "");
}

/// Artifactory and its kin: who is not known sees nothing, and only the base
/// has a challenge.
#[test]
fn a_registry_that_hides_from_strangers_is_asked_with_the_login() {
    for (status, code) in [(404, 2), (403, 1)] {
        let registry = Server::script_tls([
            on(ANY, "/v2/a/*")
                .has_header("authorization", "Basic")
                .reply(200)
                .body(r#"{"tags":["v1"]}"#),
            on(GET, "/v2/")
                .reply(401)
                .header("WWW-Authenticate", "Basic realm=\"r\""),
            on(ANY, "/v2/a/*").reply(status),
        ]);
        let dxf = Dxf::new().secure(&registry.host());
        let known = dxf.clone().login(USER, PASSWORD);
        assert_eq!(known.args(["list-aliases", "a"]).ok().text(), "v1\n");
        assert_eq!(registry.seen().len(), 3);
        // Without a login nothing more is asked.
        dxf.args(["list-aliases", "a"]).fails(code);
        assert_eq!(registry.seen().len(), 4);
    }
    // One that hides nothing is asked once.
    let open = Server::script_tls([on(GET, "/v2/").reply(200), on(ANY, "/v2/a/*").reply(404)]);
    let dxf = Dxf::new().secure(&open.host()).login(USER, PASSWORD);
    dxf.args(["blob-size", "a", &digest(b"a"), &digest(b"b")])
        .fails(2);
    assert_eq!(
        open.seen().iter().filter(|one| one.path == "/v2/").count(),
        1
    );
}

#[test]
fn no_token_travels_in_the_clear_unless_that_is_allowed() {
    let registry = Server::script([on(GET, "/v2/a/tags/list")
        .reply(200)
        .body(r#"{"tags":["v1"]}"#)]);
    let dxf = Dxf::new()
        .plain(&registry.host())
        .env("DXF_TOKEN", "hush")
        .secret("hush");
    dxf.args(["list-aliases", "a"])
        .fails(1)
        .says("DXF_ALLOW_INSECURE_AUTH=1");
    assert!(registry.seen().is_empty());

    let challenge = "Bearer realm=\"https://127.0.0.1:1/token\"";
    let registry = Server::script([on(GET, "/v2/*")
        .reply(401)
        .header("WWW-Authenticate", challenge)]);
    let dxf = Dxf::new().plain(&registry.host()).secret("hush");
    let entry = r#"{"registrytoken":"hush"}"#;
    config(
        &dxf,
        &format!(r#"{{"auths":{{"{}":{entry}}}}}"#, registry.host()),
    );
    dxf.args(["list-aliases", "a"])
        .fails(1)
        .says("DXF_ALLOW_INSECURE_AUTH=1");
    assert_eq!(registry.seen().len(), 1);
}
