//! Limits of the whole process: bytes and requests a second.

use std::time::{Duration, Instant};

use crate::support::bench::{Bench, Mode};
use crate::support::data::blob;
use crate::support::dxf::Dxf;
use crate::support::place::Place;
use crate::support::proxy::Proxy;
use crate::support::registry::Registry;
use crate::support::rules::{GET, HEAD, on};
use crate::support::scratch;
use crate::support::server::Server;

fn time(dxf: Dxf) -> Duration {
    let begun = Instant::now();
    dxf.ok();
    begun.elapsed()
}

#[test]
fn bytes_a_second_hold_both_ways_and_for_all_connections() {
    let at = Place::registry(Mode::Basic);
    let bytes = blob(1, 3 << 20);
    let file = at.file(&bytes);
    let limited = |words: &[&str]| at.run(words).env("DXF_LIMIT_RATE", "2M");
    let up = time(limited(&[
        "push-blob",
        "--split",
        "1MiB",
        "a",
        &file,
        "@v1",
    ]));
    let down = time(limited(&["pull-blob", "-o", "back", "a", "@v1"]));
    assert_eq!(std::fs::read(at.work().join("back")).unwrap(), bytes);
    for time in [up, down] {
        // A busy machine may take longer, never less.
        assert!(time > Duration::from_millis(1350), "{time:?}");
    }
}

/// The system takes from each connection before it is asked to, so that many of them
/// exceed a low rate.
#[test]
fn a_low_rate_is_shared_by_few_connections() {
    let registry = Registry::http();
    let front = Server::before(&registry, []);
    let folder = scratch();
    let names: Vec<String> = (0..8).map(|i| format!("part{i}")).collect();
    for (i, name) in names.iter().enumerate() {
        std::fs::write(folder.path().join(name), blob(i as u64, 100_000)).unwrap();
    }
    let dxf = || {
        let dxf = Dxf::new().plain(&front.host()).env("DXF_CACHE", "0");
        dxf.env("DXF_JOBS", "8").current_dir(folder.path())
    };
    dxf().args(["push-files", "a", "v1"]).args(&names).ok();
    let connections = |rate: &str| {
        let before = front.connections();
        let pull = dxf().env("DXF_LIMIT_RATE", rate);
        pull.args(["pull-files", "a", "v1", "-o", rate]).ok();
        front.connections() - before
    };
    assert_eq!(connections("2M"), 1);
    assert!(connections("64M") > 1);
}

/// Ten seconds' worth of bytes take ten seconds, within 5 %.
#[test]
fn ten_seconds_of_bytes_take_ten_seconds() {
    let at = Place::registry(Mode::Basic);
    let file = at.file(&blob(2, 20_000_000));
    let limited = |words: &[&str]| at.run(words).env("DXF_LIMIT_RATE", "2M");
    let up = time(limited(&["push-blob", "a", &file, "@v1"]));
    let down = time(limited(&["pull-blob", "-o", "back", "a", "@v1"]));
    for time in [up, down] {
        assert!(time > Duration::from_millis(9500), "{time:?}");
        // A busy machine may take longer.
        assert!(time < Duration::from_secs(30), "{time:?}");
    }
}

#[test]
fn requests_a_second_count_all_requests() {
    let bench = Bench::new(Mode::Token);
    let list = || bench.dxf().args(["list-repos"]);
    let limited = time(list().env("DXF_REQUESTS_PER_SECOND", "4"));
    // The list is refused, then a token is asked for, then the list comes.
    assert!(limited > Duration::from_millis(400), "{limited:?}");
}

#[test]
fn limits_that_are_none_are_refused() {
    for (name, value) in [
        ("DXF_LIMIT_RATE", "0"),
        ("DXF_LIMIT_RATE", "fast"),
        ("DXF_LIMIT_RATE", "-1"),
        ("DXF_REQUESTS_PER_SECOND", "0"),
        ("DXF_REQUESTS_PER_SECOND", "x"),
        ("DXF_REQUESTS_PER_SECOND", "inf"),
    ] {
        let dxf = Dxf::new().plain("127.0.0.1:1").env(name, value);
        let out = dxf.args(["list-repos"]).fails(2);
        assert!(out.stderr.contains(name), "{out}");
    }
}

#[test]
fn docker_hubs_limit_is_shown_by_auth() {
    let server = Server::script([
        on(GET, "/v2/").reply(200),
        on(HEAD, "/v2/library/alpine/manifests/latest")
            .reply(404)
            .header("RateLimit-Limit", "100;w=21600")
            .header("RateLimit-Remaining", "76;w=21600")
            .header("Docker-RateLimit-Source", "192.0.2.1"),
    ]);
    let proxy = Proxy::to(&server.host());
    let hub = |host: &str| {
        let dxf = Dxf::new()
            .plain(host)
            .env("DXF_PROXY", format!("http://{}", proxy.host()));
        dxf.args(["auth", "--explain", "alpine", "pull"])
    };
    let out = hub("docker.io").ok();
    let line = "pulls: 100 allowed in 21600 s, 76 left, counted for 192.0.2.1";
    assert!(out.lines().contains(&line), "{out}");
    let json = hub("docker.io").env("DXF_OUTPUT", "json").ok().json();
    assert_eq!(json["pulls"], line["pulls: ".len()..]);
    assert!(!hub("other.example").ok().text().contains("pulls"));
}
