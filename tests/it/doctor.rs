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
    let folder = Dxf::new()
        .env("DXF_HOST", "oci:x")
        .args(["doctor"])
        .fails(1);
    assert!(folder.stderr.contains("verify-alias"), "{folder}");
}
