//! `set-alias --if-match`: an alias is moved only while it is what the caller took
//! it for.

use std::collections::BTreeMap;
use std::sync::Mutex;

use crate::support::data::digest;
use crate::support::dxf::Dxf;
use crate::support::place::{Place, each_place};
use crate::support::registry::Registry;
use crate::support::rules::{ANY, HEAD, PUT, Response, on};
use crate::support::server::Server;

each_place!(an_alias_that_is_not_as_expected_stays, |at| {
    let (one, two) = (at.put("a", b"1"), at.put("a", b"2"));
    let set =
        |expected: &str, name: &str| at.run(["set-alias", "--if-match", expected, "a", "v", name]);
    let refused = |expected: &str, name: &str, words: &str| {
        let failed = set(expected, name).fails(1).says(words);
        assert_eq!(failed.says("before trying again").text(), "");
    };
    refused(&digest(b"never"), &one, "alias v in");
    refused(&digest(b"never"), &one, "does not exist");
    assert!(at.tags("a").is_empty());
    at.forget();
    let first = set("none", &one).ok().text().to_string();
    at.asked([
        format!("HEAD /v2/a/blobs/{one}"),
        "HEAD /v2/a/manifests/v".into(),
        "PUT /v2/a/manifests/v".into(),
    ]);
    let was = at.says(["get-digest", "--manifest", "a", "v"]);
    let was = was.trim();
    assert_eq!(was, digest(first.as_bytes()));
    // Not even to what it is.
    refused("none", &one, was);
    refused(&digest(b"never"), &two, was);
    assert_eq!(at.says(["get-alias", "a", "v"]), format!("{one}\n"));
    set(was, &two).ok();
    refused(was, &one, "points to");
    assert_eq!(at.says(["get-alias", "a", "v"]), format!("{two}\n"));
    for bad in ["latest", "NONE", ""] {
        set(bad, &one).fails(2).says("get-digest --manifest");
    }
});

#[test]
fn of_several_writers_to_a_folder_one_wins() {
    let at = Place::folder();
    let mut expected = "none".to_string();
    for round in 0..5 {
        let blobs: Vec<String> = (0..8).map(|n| at.put("a", &[round, n])).collect();
        let words = |name| ["set-alias", "--if-match", &expected, "a", "v", name].map(String::from);
        let all: Vec<_> = blobs.iter().map(|b| at.run(words(b)).spawn()).collect();
        let ends: Vec<_> = all.into_iter().map(|one| one.finish()).collect();
        let won: Vec<_> = ends.iter().filter(|end| end.code == Some(0)).collect();
        assert_eq!(won.len(), 1, "round {round}: {ends:?}");
        assert!(ends.iter().all(|end| matches!(end.code, Some(0 | 1))));
        assert_eq!(at.manifest("a", "v").unwrap(), won[0].stdout);
        expected = digest(&won[0].stdout);
    }
}

#[test]
fn a_registry_that_heeds_the_condition_lets_nobody_in_between() {
    let registry = Registry::http();
    let (one, two) = (
        registry.raw().push_blob("a", b"1"),
        registry.raw().push_blob("a", b"2"),
    );
    let plain = Dxf::new().plain(registry.host());
    let was = digest(
        plain
            .clone()
            .args(["set-alias", "a", "v", &one])
            .ok()
            .text()
            .as_bytes(),
    );
    // Another writer comes between the look and the PUT; the server heeds the
    // condition, as RFC 9110 has it.
    let other = Mutex::new(Some(plain.clone().args(["set-alias", "a", "v", &two])));
    let precondition = on(PUT, "/v2/a/manifests/v")
        .has_header("if-match", &format!("\"{was}\""))
        .with(move |_| {
            if let Some(other) = other.lock().unwrap().take() {
                other.ok();
            }
            Response::new(412)
        });
    let front = Server::before(&registry, [precondition]);
    let set = ["set-alias", "--if-match", &was, "a", "v", &one];
    let failed = Dxf::new().plain(&front.host()).args(set).fails(1);
    failed.says("not as expected");
    let now = plain.args(["get-alias", "a", "v"]).ok();
    assert_eq!(now.text(), format!("{two}\n"));
}

#[test]
fn a_refusal_of_other_reasons_is_told_as_it_is() {
    let registry = Registry::http();
    let one = registry.raw().push_blob("a", b"1");
    let immutable = on(PUT, "/v2/a/manifests/v")
        .has_header("if-none-match", "*")
        .reply(412);
    let body = r#"{"errors":[{"code":"PRECONDITION","message":"configured as immutable"}]}"#;
    let front = Server::before(&registry, [immutable.body(body)]);
    let set = ["set-alias", "--if-match", "none", "a", "v", &one];
    let failed = Dxf::new().plain(&front.host()).args(set).fails(1);
    failed.says("configured as immutable");
}

#[test]
fn an_answer_that_was_lost_is_no_other_writer() {
    let registry = Registry::http();
    let one = registry.raw().push_blob("a", b"1");
    let front = Server::before(&registry, [on(PUT, "*").times(1).lose_answer()]);
    let set = ["set-alias", "--if-match", "none", "a", "v", &one];
    Dxf::new().plain(&front.host()).args(set).ok();
    let mut asked = BTreeMap::new();
    for seen in front.seen() {
        *asked.entry(seen.method).or_insert(0) += 1;
    }
    // The blob, the alias, and the alias again behind the PUT.
    assert_eq!(
        asked,
        BTreeMap::from([("HEAD".into(), 3), ("PUT".into(), 1)])
    );
    assert_eq!(front.count(ANY, "/v2/a/manifests/v"), 3);
}

#[test]
fn a_condition_that_the_lost_request_broke_is_no_other_writer() {
    let registry = Registry::http();
    let one = registry.raw().push_blob("a", b"1");
    // The registry is slow to see what it was told, and heeds the condition.
    let rules = [
        on(HEAD, "/v2/a/manifests/v").times(2).reply(404),
        on(PUT, "*").times(1).lose_answer(),
        on(PUT, "*").has_header("if-none-match", "*").reply(412),
    ];
    let front = Server::before(&registry, rules);
    let set = ["set-alias", "--if-match", "none", "a", "v", &one];
    Dxf::new().plain(&front.host()).args(set).ok();
    assert_eq!(front.count(PUT, "*"), 2);
}
