//! `DXF_LOG=http`: one line an exchange, in the order of things.

use crate::support::bench::{Bench, Mode};
use crate::support::data::{blob, digest};
use crate::support::rules::{GET, on};

/// The lines, without the times and with names for the hosts.
fn told(stderr: &str, hosts: &[(&str, &str)]) -> Vec<String> {
    let lines = stderr.lines().map(|line| {
        let mut line = line.to_string();
        for (host, name) in hosts {
            line = line.replace(host, name);
        }
        let is_time = |word: &&str| {
            let number = word.strip_suffix('s').unwrap_or_default();
            number.contains('.') && number.parse::<f64>().is_ok()
        };
        let words: Vec<&str> = line.split(' ').collect();
        let times = words.iter().copied().filter(|word| is_time(word)).count();
        assert_eq!(times, 1, "{line}");
        let kept: Vec<&str> = words.into_iter().filter(|word| !is_time(word)).collect();
        kept.join(" ")
    });
    lines.collect()
}

#[test]
fn every_exchange_has_a_line() {
    let reg = Bench::new(Mode::Token);
    let tokens = reg.tokens.as_ref().expect("tokens").host();
    let push = reg.dxf().env("DXF_LOG", "http").stdin("abc");
    let push = push.args(["push-blob", "a", "-"]).ok();
    assert_eq!(push.text(), digest(b"abc") + "\n", "stdout is as ever");
    let host = reg.host();
    let blob = format!("https://REG/v2/a/blobs/{}", digest(b"abc"));
    let lines = told(&push.stderr, &[(&host, "REG"), (&tokens, "TOKENS")]);
    assert_eq!(lines.len(), reg.front.seen().len() + reg.token_requests());
    assert!(
        lines[0].starts_with(&format!("http: HEAD {blob} 401")),
        "{lines:?}"
    );
    assert!(
        lines[1].starts_with("http: GET https://TOKENS/token 200 length="),
        "{lines:?}"
    );
    assert!(lines[1].ends_with(" authorized"), "{lines:?}");
    assert!(
        lines[2].starts_with(&format!("http: HEAD {blob} 404")),
        "{lines:?}"
    );
    assert!(
        lines[3].starts_with("http: POST https://REG/v2/a/blobs/uploads/ 202"),
        "{lines:?}"
    );
    assert!(
        lines[4].starts_with("http: PUT https://REG/v2/a/blobs/uploads/"),
        "{lines:?}"
    );
    assert!(lines[4].contains(" 201 sent=3 "), "{lines:?}");
    assert_eq!(lines.len(), 5);
}

#[test]
fn what_went_wrong_can_be_read_off() {
    let reg = Bench::new(Mode::Basic);
    let bytes = blob(1, 300_000);
    let name = reg.raw().push_blob("a", &bytes);
    let path = format!("/v2/a/blobs/{name}");
    reg.front.add_first([
        on(GET, &path).no_header("authorization").times(1),
        on(GET, &path)
            .times(1)
            .reply(503)
            .header("Retry-After", "0"),
        on(GET, &path).times(1).lose_answer(),
        on(GET, &path).times(1).cut_after(100_000),
    ]);
    let pull = reg.dxf().env("DXF_LOG", "http");
    let pull = pull.args(["pull-blob", "a", &name]).ok();
    assert!(pull.stdout == bytes);
    let host = reg.host();
    let lines = told(&pull.stderr, &[(&host, "REG")]);
    let ends: Vec<&str> = lines
        .iter()
        .map(|line| line.strip_prefix(&format!("http: GET https://REG{path} ")[..]))
        .map(|line| line.expect("a line for each"))
        .collect();
    assert_eq!(ends.len(), 5, "{ends:?}");
    assert!(ends[0].starts_with("401"), "{ends:?}");
    assert_eq!(ends[1], "503 length=0 authorized");
    assert_eq!(ends[2], "failed: the connection was cut authorized");
    assert_eq!(ends[3], "200 length=300000 authorized");
    assert_eq!(ends[4], "206 length=200000 authorized bytes=100000-");
}

#[test]
fn nobody_who_did_not_ask_sees_any() {
    let reg = Bench::new(Mode::Basic);
    let push = reg.dxf().stdin("abc").args(["push-blob", "a", "-"]).ok();
    assert_eq!(push.stderr, "");
    let wrong = reg.dxf().env("DXF_LOG", "everything");
    wrong.args(["list-aliases", "a"]).fails(2).says("DXF_LOG");
}
