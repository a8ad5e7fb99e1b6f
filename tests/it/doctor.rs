//! `doctor`: what a registry can do, without harm.

use std::collections::BTreeMap;

use serde_json::Value;

use super::support::bench::{Bench, Mode};
use super::support::dxf::{Dxf, Output};
use super::support::peers::each_server;
use super::support::registry::{PASSWORD, Registry};
use super::support::rules::{DELETE, PATCH, POST, PUT};
use super::support::server::Server;

fn abilities(output: &Output) -> BTreeMap<String, String> {
    let all = output.json();
    let word = |one: &Value, key: &str| one[key].as_str().unwrap().to_string();
    all.as_array()
        .unwrap()
        .iter()
        .map(|one| (word(one, "name"), word(one, "ability")))
        .collect()
}

fn json(dxf: Dxf) -> Dxf {
    dxf.env("DXF_OUTPUT", "json").args(["doctor"])
}

each_server!(a_registry_is_examined_and_left_as_it_was, |registry| {
    let front = Server::before(registry, []);
    let dxf = || Dxf::new().plain(&front.host());
    let output = json(dxf()).arg("team/app").ok();
    let can = abilities(&output);
    assert!(
        output.text().contains("the registry asks for none"),
        "{output}"
    );
    for name in [
        "connection",
        "clock",
        "login",
        "catalog",
        "tags",
        "uploads",
        "chunks",
        "ranges",
        "oci-1.1",
        "delete-manifest",
        "largest-manifest",
    ] {
        assert_eq!(
            can.get(name).map(String::as_str),
            Some("yes"),
            "{name}: {output}"
        );
    }
    for name in [
        "mounts",
        "referrers",
        "conditional-put",
        "delete-tag",
        "delete-blob",
    ] {
        assert!(can.contains_key(name), "{name}: {output}");
    }
    let tags = dxf().args(["list-aliases", "team/app"]).run();
    assert_eq!(tags.text(), "", "{tags}");
    let text = dxf().args(["doctor", "team/app"]).ok();
    assert!(
        text.text()
            .lines()
            .any(|line| line.starts_with("connection  ")),
        "{text}"
    );
});

/// What there is none of, and who says what, is said in words.
#[test]
fn logins_and_proxies_are_told_in_words() {
    let line = |output: &Output, name: &str| {
        let text = output.text().to_string();
        let found = text
            .lines()
            .find(|line| line.starts_with(name))
            .map(str::to_string);
        found.unwrap_or_else(|| panic!("{name}: {output}"))
    };
    let open = Registry::http();
    let plain = || {
        Dxf::new()
            .plain(open.host())
            .args(["doctor", "--read-only"])
    };
    let output = plain().ok();
    assert!(
        line(&output, "login").ends_with("  the registry asks for none"),
        "{output}"
    );
    assert!(line(&output, "proxy").ends_with("  none"), "{output}");
    let output = plain().env("DXF_PROXY", "http://127.0.0.1:1").ok();
    assert!(
        line(&output, "proxy").ends_with("  as DXF_PROXY says"),
        "{output}"
    );
    let (one, two) = ("http://127.0.0.1:1", "http://127.0.0.1:2");
    let output = plain().env("HTTP_PROXY", one).env("HTTPS_PROXY", two).ok();
    assert!(
        line(&output, "proxy").ends_with("  as HTTP_PROXY and HTTPS_PROXY say"),
        "{output}"
    );
    let from = "with the credentials from DXF_USERNAME and DXF_PASSWORD";
    let basic = Bench::new(Mode::Basic).dxf().args(["doctor", "a"]).ok();
    let said = format!("Basic {from}; the registry does not say which rights they give");
    assert!(line(&basic, "login").ends_with(&said), "{basic}");
    let token = Bench::new(Mode::Token).dxf().args(["doctor", "a"]).ok();
    let said = format!("Bearer {from}, granted: repository:a:");
    assert!(line(&token, "login").contains(&said), "{token}");
}

#[test]
fn abilities_differ() {
    let (old, new) = (
        Registry::http(),
        super::support::peers::ReferrersRegistry::start(),
    );
    let of = |registry: &Registry| abilities(&json(Dxf::new().plain(registry.host())).ok());
    let can = of(&old);
    assert_eq!(
        (can["referrers"].as_str(), can["delete-tag"].as_str()),
        ("no", "no")
    );
    assert_eq!(old.open_uploads("dxf-doctor"), 0);
    let Some(new) = new else { return };
    assert_eq!(of(&new)["referrers"], "yes");
    let refuses = Registry::builder().no_delete().start();
    let output = json(Dxf::new().plain(refuses.host())).ok();
    assert_eq!(abilities(&output)["delete-manifest"], "no");
    assert!(
        output.text().contains("REGISTRY_STORAGE_DELETE_ENABLED"),
        "{output}"
    );
}

#[test]
fn read_only_stores_nothing() {
    let registry = Registry::http();
    let name = registry.raw().push_blob("a", b"an existing blob");
    let dxf = || Dxf::new().plain(registry.host());
    dxf().args(["set-alias", "a", "x", &name]).ok();
    let front = Server::before(&registry, []);
    let output = json(Dxf::new().plain(&front.host()))
        .args(["--read-only", "a"])
        .ok();
    for method in [POST, PUT, PATCH, DELETE] {
        assert_eq!(front.count(method, "*"), 0, "{output}");
    }
    let can = abilities(&output);
    assert_eq!(
        (can["ranges"].as_str(), can["uploads"].as_str()),
        ("yes", "untried")
    );
    json(Dxf::new().plain(&front.host()))
        .args(["--read-only", "empty"])
        .ok();
}

/// Whatever is wrong, `doctor` says so in its lines, and prints no secret.
#[test]
fn what_is_wrong_with_a_connection_is_said_without_secrets() {
    let (tls, http) = (Bench::new(Mode::Basic), Registry::http());
    let tokens = Bench::new(Mode::Token);
    let at = |host: &str| Dxf::new().env("DXF_HOST", host).env("DXF_RETRIES", "0");
    let wrong = |dxf: Dxf| dxf.login("tester", "wrong-word");
    let cases = [
        ("a login", tls.dxf(), 0, "login"),
        ("a token", tokens.dxf(), 0, "login"),
        ("a wrong password", wrong(tls.dxf()), 13, "login"),
        (
            "a wrong password for tokens",
            wrong(tokens.dxf()),
            13,
            "login",
        ),
        (
            "an unknown certificate",
            at(&tls.host()),
            69,
            "unknown authority",
        ),
        ("http", at(http.host()), 69, "DXF_INSECURE"),
        (
            "https",
            at(&tls.host()).env("DXF_INSECURE", "1"),
            69,
            "connection",
        ),
        ("nothing there", at("127.0.0.1:1"), 69, "refused"),
    ];
    for (what, dxf, code, said) in cases {
        let output = dxf.args(["doctor", "a"]).run();
        assert_eq!(output.code, Some(code), "{what}: {output}");
        let all = format!("{}{}", output.text(), output.stderr);
        assert!(all.contains(said), "{what}: {output}");
        for secret in [PASSWORD, "wrong-word", "Bearer ey", "Basic d"] {
            assert!(!all.contains(secret), "{what}: {output}");
        }
    }
}

#[test]
fn secrets_stay_secret_and_what_is_not_there_is_said() {
    let registry = Registry::builder().htpasswd().start();
    let dxf = Dxf::new()
        .plain(registry.host())
        .login("user", "wrong-word");
    let dxf = dxf
        .env("DXF_ALLOW_INSECURE_AUTH", "1")
        .env("DXF_RETRIES", "0");
    let output = dxf.args(["doctor", "a"]).fails(13);
    assert!(output.text().contains("login"), "{output}");
    let away = Dxf::new()
        .plain("127.0.0.1:1")
        .env("DXF_RETRIES", "0")
        .args(["doctor"])
        .fails(69);
    assert!(away.text().contains("connection"), "{away}");
    // What was not tested is no finding, and only what helps is advised.
    let rest = |output: &Output| {
        let text = output.text().to_string();
        for name in ["catalog", "tags", "uploads", "chunks", "delete-blob"] {
            let line = text.lines().find(|line| line.starts_with(name));
            let line = line.unwrap_or_else(|| panic!("{name}: {output}"));
            assert!(
                line.ends_with("untried  not tested: the login was refused"),
                "{output}"
            );
        }
        assert!(!text.contains("DXF_UPLOAD"), "{output}");
        text
    };
    let login = |text: &str| {
        text.lines()
            .find(|line| line.starts_with("login"))
            .unwrap()
            .to_string()
    };
    let text = login(&rest(&output));
    assert!(
        text.contains("the credentials from DXF_USERNAME and DXF_PASSWORD were refused"),
        "{text}"
    );
    let unsent = Dxf::new()
        .plain(registry.host())
        .login("user", PASSWORD)
        .args(["doctor", "a"]);
    let text = login(&rest(&unsent.fails(1)));
    assert!(
        text.ends_with("(try https, or DXF_ALLOW_INSECURE_AUTH=1)"),
        "{text}"
    );
    let folder = Dxf::new()
        .env("DXF_HOST", "oci:x")
        .args(["doctor"])
        .fails(1);
    assert!(folder.stderr.contains("verify-alias"), "{folder}");
}
