//! What is secret shows nowhere: not in any output at any log level, not on a
//! command line, not in a file. The runner looks through both streams of every
//! command of every test; here is what would show it.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::support::bench::{Bench, Mode, each_registry};
use crate::support::data::{blob, digest};
use crate::support::dxf::Dxf;
use crate::support::registry::USER;
use crate::support::rules::{ANY, GET, POST, PUT, on};
use crate::support::server::Server;

each_registry!(nothing_shows_with_everything_logged, |reg| {
    let name = reg.raw().push_blob("a", b"abc");
    let dxf = || reg.dxf().env("DXF_LOG", "http").env("DXF_PROGRESS", "1");
    for words in [
        &["push-blob", "a", "-", "@x"][..],
        &["pull-blob", "a", &name],
        &["mount-blob", "b", "a", &name],
        &["set-alias", "a", "y", &name],
        &["get-alias", "a", "y"],
        &["get-manifest", "a", "y"],
        &["list-aliases", "a"],
        &["list-repos"],
        &["auth", "--explain", "a", "pull"],
        &["auth", "a", "pull"],
        &["show-env"],
        &["del-alias", "a", "y"],
        &["blob-size", "a", "@nothing"],
    ] {
        let run = dxf().stdin("new").args(words).run();
        assert!(matches!(run.code, Some(0 | 2)), "{run}");
        let local = words[0] == "show-env";
        assert!(local || run.stderr.contains("http: "), "{run}");
    }
});

#[test]
fn a_token_is_printed_by_auth_alone_and_only_on_stdout() {
    let reg = Bench::new(Mode::Token);
    let dxf = reg.dxf().env("DXF_LOG", "http");
    let auth = dxf.clone().args(["auth", "a", "pull"]).ok();
    let token = auth.text().trim().to_string();
    assert!(token.len() > 100 && !auth.stderr.contains(&token));
    let explained = dxf.args(["auth", "--explain", "a", "pull", "push"]).ok();
    assert!(!explained.text().contains(&token));
    let tokens = reg.tokens.as_ref().expect("tokens");
    for secret in tokens.secrets().list() {
        assert!(!explained.text().contains(&secret), "{explained}");
    }
    let realm = format!("realm: {}\n", tokens.realm());
    for line in [
        "credentials: DXF_USERNAME and DXF_PASSWORD\n",
        "scheme: Bearer\n",
        realm.as_str(),
        "asked: repository:a:pull,push\n",
        "granted: repository:a:pull,push\n",
        "expires: 300 s\n",
    ] {
        assert!(explained.text().contains(line), "{line:?} in {explained}");
    }
    let json = reg.dxf().env("DXF_OUTPUT", "json");
    let json = json.args(["auth", "--explain", "a", "pull"]).ok().json();
    assert_eq!(json["scheme"], "Bearer");
}

#[test]
fn wrong_words_are_not_repeated() {
    for mode in [Mode::Basic, Mode::Token] {
        let reg = Bench::new(mode);
        let run = |dxf: Dxf| {
            let dxf = dxf.env("DXF_LOG", "http").args(["list-aliases", "a"]);
            assert_eq!(dxf.run().code, Some(13));
        };
        run(reg.anonymous().login(USER, "wrong-word"));
        let header = reg.anonymous().secret("wrong-word");
        run(header.clone().env("DXF_AUTHORIZATION", "Basic wrong-word"));
        run(header.env("DXF_TOKEN", "wrong-word"));
    }
}

#[test]
fn words_that_no_header_can_hold_are_not_repeated() {
    let reg = Bench::new(Mode::Token);
    for (variable, value) in [
        ("DXF_TOKEN", "hush\r\nX-Evil: 1"),
        ("DXF_AUTHORIZATION", "Basic hush\r\nX-Evil: 1"),
        ("DXF_TOKEN", "hush-\u{1b}[2J"),
        ("DXF_TOKEN", "hush-ü"),
    ] {
        let dxf = reg.anonymous().env(variable, value).secret("hush");
        let run = dxf.env("DXF_LOG", "http").args(["list-aliases", "a"]).run();
        assert_eq!(run.code, Some(2), "{run}");
        run.says(variable);
    }
    for one in reg.front.seen() {
        assert_eq!(one.headers.get("x-evil"), None);
    }
    // A password may hold anything: it travels encoded.
    let odd = "a:b\n\u{1b}ü €";
    let open = Server::script_tls([
        on(GET, "/v2/*")
            .has_header("authorization", &STANDARD.encode(format!("{USER}:{odd}")))
            .reply(200)
            .body(r#"{"tags":["v1"]}"#),
        on(GET, "/v2/*")
            .reply(401)
            .header("WWW-Authenticate", "Basic realm=\"x\""),
    ]);
    let dxf = Dxf::new().secure(&open.host()).login(USER, odd);
    assert_eq!(dxf.args(["list-aliases", "a"]).ok().text(), "v1\n");
}

#[test]
fn queries_are_not_shown() {
    // Signed addresses are as good as a password.
    let bytes = blob(3, 1000);
    let storage = Server::script([on(GET, "/there").reply(403), on(PUT, "/up").reply(403)]);
    let there = |path: &str| format!("{}{path}?X-Signature=sign-word", storage.origin());
    let registry = Server::script([
        on(GET, "*").reply(307).header("Location", &there("/there")),
        on(POST, "*").reply(202).header("Location", &there("/up")),
        on(ANY, "*").reply(404),
    ]);
    let dxf = Dxf::new().plain(&registry.host()).secret("sign-word");
    let dxf = dxf.env("DXF_LOG", "http").env("DXF_RETRIES", "0");
    let name = digest(&bytes);
    dxf.clone()
        .args(["pull-blob", "a", &name])
        .run()
        .says("/there");
    dxf.clone().args(["list-aliases", "a"]).run().says("/there");
    let push = dxf.stdin(bytes).args(["push-blob", "a", "-"]).run();
    assert_eq!(push.code, Some(1), "{push}");
    push.says("/up");
}

#[test]
fn a_login_in_an_argument_or_a_location_is_not_echoed() {
    for args in [
        ["login", "https://me:hush@h"],
        ["login", "me:hush@h"],
        ["logout", "https://me:hush@h"],
    ] {
        Dxf::new().secret("hush").args(args).fails(2);
    }
    for place in ["ftp://me:hush@h/p", "https://me:hush@h/p"] {
        let server = Server::script([on(GET, "/v2/*").reply(307).header("Location", place)]);
        let dxf = Dxf::new().plain(&server.host()).secret("hush");
        dxf.args(["list-aliases", "a"]).fails(1);
    }
}

#[test]
fn variables_are_shown_with_stars() {
    let dxf = Dxf::new().login("me", "pass-word").secret("hush");
    let dxf = dxf
        .env("DXF_TOKEN", "token-hush")
        .env("DXF_AUTHORIZATION", "Basic hush")
        .env("HTTPS_PROXY", "http://u:hush@p:3128");
    for shape in ["text", "json"] {
        let shown = dxf.clone().env("DXF_OUTPUT", shape).arg("show-env").ok();
        let text = shown.text();
        assert!(
            text.contains("***") && text.contains("http://***@p:3128"),
            "{shown}"
        );
    }
}

#[test]
fn bad_settings_do_not_repeat_secrets() {
    let dxf = Dxf::new().plain("h:1").secret("hush");
    let folder = dxf.home().join("folder");
    std::fs::create_dir(&folder).expect("a folder");
    let cases: [(&str, &str); 4] = [
        ("DXF_HOST", "https://me:hush@r.example"),
        ("DXF_HOST", "me:hush@r.example"),
        ("DXF_AUTH_HOST", "https://me:hush@r.example/"),
        ("HTTP_PROXY", "http://me:hush@127.0.0.1:1"),
    ];
    for (variable, value) in cases {
        let run = dxf.clone().env(variable, value);
        let run = run
            .env("DXF_RETRIES", "0")
            .args(["list-aliases", "a"])
            .run();
        assert_eq!(
            run.code,
            Some(if variable == "HTTP_PROXY" { 69 } else { 2 }),
            "{run}"
        );
    }
    let named = dxf
        .env("DXF_USERNAME", "me")
        .env("DXF_PASSWORD_FILE", &folder);
    named
        .args(["list-aliases", "a"])
        .fails(2)
        .says("DXF_PASSWORD_FILE");
}

#[test]
fn notes_of_unfinished_uploads_are_private_and_hold_no_login() {
    use std::os::unix::fs::PermissionsExt;
    let reg = Bench::new(Mode::Token);
    reg.front.add_first([
        on("PATCH", "*").times(2),
        on("PATCH", "*").reset_after(1000),
    ]);
    let dxf = reg.dxf().env("DXF_UPLOAD", "8MiB").env("DXF_RETRIES", "0");
    let cache = dxf.home().join("cache");
    let path = dxf.home().join("file");
    std::fs::write(&path, blob(4, 40 << 20)).expect("a file");
    let dxf = dxf
        .env("DXF_CACHE", &cache)
        .args(["push-blob", "a"])
        .arg(&path);
    let push = dxf.clone().run();
    assert_eq!(push.code, Some(69), "{push}");
    let mut notes = Vec::new();
    let mut folders = vec![cache];
    while let Some(folder) = folders.pop() {
        for entry in folder.read_dir().into_iter().flatten().flatten() {
            match entry.path() {
                path if path.is_dir() => folders.push(path),
                path => notes.push(path),
            }
        }
    }
    assert!(!notes.is_empty(), "no note was kept");
    let tokens = reg.tokens.as_ref().expect("tokens").secrets().list();
    for note in notes {
        let mode = std::fs::metadata(&note)
            .expect("a note")
            .permissions()
            .mode();
        assert_eq!(mode & 0o077, 0, "{} is {mode:o}", note.display());
        let text = std::fs::read_to_string(&note).expect("a note");
        assert!(tokens.iter().all(|token| !text.contains(token.as_str())));
    }
}

#[test]
fn credentials_that_a_server_repeats_are_not_shown() {
    let (user, password) = ("someone", "correct-horse");
    let pair = STANDARD.encode(format!("{user}:{password}"));
    let body = format!(r#"{{"errors":[{{"message":"bad Basic {pair}: {password}"}}]}}"#);
    let refuse = on(ANY, "/*").reply(401).body(body);
    let server = Server::script([refuse.header("WWW-Authenticate", "Basic realm=\"x\"")]);
    let dxf = || {
        let dxf = Dxf::new().plain(&server.host()).login(user, password);
        dxf.env("DXF_ALLOW_INSECURE_AUTH", "1")
    };
    for args in [&["list-aliases", "a"][..], &["pull-blob", "a", "@x"]] {
        let run = dxf().args(args).fails(13).says("bad Basic ***: ***");
        assert!(!run.stderr.contains(password) && !run.stderr.contains(&pair));
    }
    // In a warning, which comes with what succeeds.
    let warning = format!("299 - \"old Basic {pair}: {password}\"");
    let challenge = on(ANY, "/v2/*").times(1).reply(401);
    let server = Server::script([
        challenge.header("WWW-Authenticate", "Basic realm=\"x\""),
        on(ANY, "/*")
            .reply(200)
            .header("Warning", &warning)
            .body(r#"{"tags":["x"]}"#),
    ]);
    let dxf = Dxf::new().plain(&server.host()).login(user, password);
    let dxf = dxf.env("DXF_ALLOW_INSECURE_AUTH", "1");
    let run = dxf.args(["list-aliases", "a"]).ok();
    let run = run.says("warning: old Basic ***: ***");
    assert!(!run.stderr.contains(password) && !run.stderr.contains(&pair));
}

#[test]
fn a_realm_is_named_without_its_query_and_a_host_without_a_login() {
    let realm = "Bearer realm=\"ftp://u:SECRET@h/t?key=SECRET\"";
    let refuse = on(ANY, "/*").reply(401).header("WWW-Authenticate", realm);
    let server = Server::script([refuse]);
    let run = Dxf::new().plain(&server.host()).args(["list-repos"]).run();
    assert!(run.stderr.contains("ftp://***@h/t\""), "{run}");
    assert!(!run.stderr.contains("SECRET"), "{run}");
    for name in ["DXF_HOST", "DXF_FROM_HOST", "DXF_AUTH_HOST"] {
        let run = Dxf::new().env(name, "u:SECRET@h").args(["show-env"]).run();
        let shown = format!("{}{}", run.text(), run.stderr);
        assert!(
            shown.contains("***@h") && !shown.contains("SECRET"),
            "{run}"
        );
        assert!(shown.contains("leave out what is before the @"), "{run}");
    }
}
