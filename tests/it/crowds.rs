//! Servers that take only so many requests at once, and refuse the next: nginx
//! with 503, content networks with 429 and 403, others by hanging up.

use std::path::Path;
use std::time::{Duration, Instant};

use dxf_registry::image::layer::Family;

use super::images::{Style, index, seed};
use super::support::data::blob;
use super::support::dxf::Dxf;
use super::support::memory::complaint;
use super::support::registry::Registry;
use super::support::rules::{ANY, Rule, on};
use super::support::scratch;
use super::support::server::{Seen, Server};

const PLATFORMS: [&str; 4] = ["linux/amd64", "linux/arm64", "linux/s390x", "linux/riscv64"];
const FILES: [&str; 6] = ["1", "2", "3", "4", "5", "6"];

/// The ways in which one request more is refused.
fn refusals() -> [(&'static str, Rule); 4] {
    let at_once = |status| on(ANY, "*").reply(status).header("Retry-After", "0");
    let page = on(ANY, "*").reply(403);
    [
        ("403", page.header("Content-Type", "text/html")),
        ("429", at_once(429)),
        ("503", on(ANY, "*").reply(503)),
        ("reset", on(ANY, "*").reply(503).reset_after(0)),
    ]
}

/// Before `registry`, every answer a little late, so that requests meet.
fn front(registry: &Registry, most: usize, refusal: Rule) -> Server {
    let late = on(ANY, "*").delay(Duration::from_millis(15));
    let builder = Server::builder([late]).before(registry);
    builder.at_once(most, refusal).start()
}

fn dxf(host: &str, folder: &Path) -> Dxf {
    let dxf = Dxf::new().plain(host).current_dir(folder);
    dxf.limit(Duration::from_secs(60))
}

/// A registry with an image for several platforms, an artifact of several files
/// and an alias in parts, and a folder with the files.
fn furnished(folder: &Path) -> Registry {
    let registry = Registry::http();
    let run = || dxf(registry.host(), folder);
    seed(
        run(),
        &index(Family::Oci, Style::Pretty, &PLATFORMS),
        "team/app:v1",
    );
    for (number, name) in FILES.iter().enumerate() {
        std::fs::write(folder.join(name), blob(number as u64, 200_000)).expect("a file");
    }
    run()
        .args(["push-files", "team/files", "v1"])
        .args(FILES)
        .ok();
    let split = ["push-blob", "--split", "1M", "team/parts", "-", "@v1"];
    run().args(split).stdin(blob(9, 6 << 20)).ok();
    registry
}

#[test]
fn one_request_more_than_a_server_takes_is_sent_again_later() {
    let folder = scratch();
    let work = folder.path();
    let registry = furnished(work);
    for (name, refusal) in refusals() {
        let server = front(&registry, 2, refusal);
        let host = server.host();
        let done = |words: &[&str]| {
            let before = server.seen().len();
            let done = dxf(&host, work).args(words).run();
            assert_eq!(done.code, Some(0), "{name} {words:?}: {done}");
            let seen = &server.seen()[before..];
            let refused = seen.iter().filter(|one| is_refused(one)).count();
            assert!(3 * refused <= 2 * seen.len(), "{name} {words:?}: {refused}");
            done
        };
        done(&["pull-image", "team/app:v1", "app.tar"]);
        done(&["push-image", "app.tar", &format!("team/{name}:v1")]);
        done(&["verify-image", "team/app:v1"]);
        done(&["verify-alias", "--all", "team/parts"]);
        done(&["list-aliases", "-l", "team/app"]);
        done(&["pull-files", "-o", name, "team/files", "v1"]);
        assert!(FILES.iter().all(|file| {
            let read = |path| std::fs::read(path).expect("a file");
            read(work.join(name).join(file)) == read(work.join(file))
        }));
        let parts = done(&["pull-blob", "team/parts", "@v1"]);
        assert!(parts.stdout == blob(9, 6 << 20));
        done(&["save-bundle", "all.tar", "team/app:v1", "team/files:v1"]);
        done(&["load-bundle", "all.tar", &format!("{host}/{name}")]);
        let (from, to) = (format!("{host}/team/app:v1"), format!("{name}-store"));
        done(&["copy-image", &from, &format!("oci:{to}:v1")]);
        done(&[
            "sync",
            &format!("{host}/team/files"),
            &format!("oci:{name}-copy"),
        ]);
        assert!(server.seen().iter().any(is_refused), "{name}");
    }
}

/// Whether a request was one too many; nothing was answered to one that was reset.
fn is_refused(one: &Seen) -> bool {
    matches!(one.status, 0 | 403 | 429 | 503)
}

#[test]
fn a_refusal_of_the_only_request_is_one() {
    let folder = scratch();
    let registry = Registry::http();
    let name = registry.raw().push_blob("a", b"abc");
    let codes = [1, 75, 69, 69];
    for ((how, refusal), code) in refusals().into_iter().zip(codes) {
        let server = front(&registry, 0, refusal);
        let pull = dxf(&server.host(), folder.path()).args(["pull-blob", "a", &name]);
        let begun = Instant::now();
        pull.env("DXF_RETRIES", "0").fails(code);
        assert!(begun.elapsed() < Duration::from_secs(3), "{how}");
        assert!(server.seen().len() <= 2, "{how}");
    }
}

#[test]
fn what_a_registry_denies_is_asked_for_once() {
    let folder = scratch();
    let registry = furnished(folder.path());
    let denied = on(ANY, "/v2/team/files/blobs/*").reply(403);
    let denied = denied.body(complaint("DENIED", "not for you"));
    let denied = denied.header("Content-Type", "application/json");
    let late = Duration::from_millis(15);
    let server = Server::before(&registry, [denied.delay(late), on(ANY, "*").delay(late)]);
    let words = ["pull-files", "-o", "out", "team/files", "v1"];
    let pull = dxf(&server.host(), folder.path()).args(words);
    pull.fails(1).says("not for you");
    let seen = server.seen().len();
    assert!(seen <= 1 + FILES.len(), "{seen}");
}
