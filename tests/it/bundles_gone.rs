//! Registries that go away or change while a bundle is saved from them or loaded
//! into them: one line, and the work done so far is kept.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::support::data::{blob, digest};
use crate::support::dxf::{Dxf, Output};
use crate::support::peers::each_server;
use crate::support::raw::Raw;
use crate::support::registry::Registry;
use crate::support::rules::{ANY, GET, PUT, on};
use crate::support::scratch;
use crate::support::server::Server;

const PARTS: usize = 8;
/// What aliases of parts are.
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

fn dxf(host: &str, folder: &Path) -> Dxf {
    let dxf = Dxf::new().plain(host).current_dir(folder);
    dxf.env("DXF_RETRIES", "1")
}

/// An alias of eight blobs.
fn furnish(registry: &Registry, folder: &Path, seed: u64) -> Vec<u8> {
    let bytes = blob(seed, PARTS * 200_000);
    std::fs::write(folder.join("f"), &bytes).expect("a file");
    let split = ["push-blob", "--split", "200000", "--min-size", "0"];
    let push = dxf(registry.host(), folder).args(split);
    push.args(["team/app", "f", "@v1"]).ok();
    bytes
}

/// A server before a registry that resets every connection once `count` requests
/// with this method and path were answered, until it is told to come back.
fn leaving(
    registry: &Registry,
    method: &'static str,
    path: &str,
    count: usize,
) -> (Server, Arc<AtomicBool>) {
    let (gone, seen) = (Arc::new(AtomicBool::new(false)), AtomicUsize::new(0));
    let (sets, is_gone) = (gone.clone(), gone.clone());
    let counts = on(method, path).when(move |_| {
        if seen.fetch_add(1, Ordering::SeqCst) == count {
            sets.store(true, Ordering::SeqCst);
        }
        false
    });
    let resets = on(ANY, "*").when(move |_| is_gone.load(Ordering::SeqCst));
    let rules = [counts, resets.reset_after(0)];
    (Server::builder(rules).before(registry).start(), gone)
}

/// The server is named in one line of the failure.
fn is_told(failed: &Output, server: &Server) {
    assert!(
        !matches!(failed.code, None | Some(0 | 65 | 101)),
        "{failed}"
    );
    let lines = failed.stderr.lines();
    let lines = lines.filter(|line| !line.contains("warning: "));
    assert_eq!(lines.count(), 1, "{failed}");
    assert!(failed.stderr.contains(&server.host()), "{failed}");
}

each_server!(a_registry_goes_away_in_the_middle_of_a_save, |one| {
    let work = scratch();
    furnish(one, work.path(), 1);
    let (server, gone) = leaving(one, GET, "/v2/team/app/blobs/*", 4);
    let save = || dxf(&server.host(), work.path()).args(["save-bundle", "b.tar", "team/app:v1"]);
    is_told(&save().env("DXF_JOBS", "1").run(), &server);
    let path = |name: &str| work.path().join(name);
    assert!(path("b.tar.partial").exists() && !path("b.tar").exists());
    gone.store(false, Ordering::SeqCst);
    let fetched = || {
        let seen = server.seen().into_iter();
        seen.filter(|one| one.line().contains("/blobs/")).count()
    };
    let before = fetched();
    save().ok();
    // What was fetched before stays; eight parts and a config are all.
    assert!(
        fetched() - before <= PARTS + 1 - 3,
        "{}",
        fetched() - before
    );
    let show = ["show-bundle", "--verify", "b.tar"];
    dxf(one.host(), work.path()).args(show).ok();
});

each_server!(a_registry_goes_away_in_the_middle_of_a_load, |far| {
    let (one, work) = (Registry::http(), scratch());
    for (seed, file, prefix) in [(1, "b.tar", "file"), (2, "-", "pipe")] {
        let bytes = furnish(&one, work.path(), seed);
        let save = ["save-bundle", "b.tar", "team/app:v1"];
        dxf(one.host(), work.path()).args(save).ok();
        let bundle = std::fs::read(work.path().join("b.tar")).expect("a bundle");
        // Each blob that is sent ends with a PUT.
        let (server, gone) = leaving(far, PUT, "*", 4);
        let to = format!("{}/{prefix}", server.host());
        let load = || {
            let load = dxf(&server.host(), work.path()).args(["load-bundle", file, &to]);
            load.stdin(bundle.clone())
        };
        let repo = format!("{prefix}/team/app");
        is_told(&load().env("DXF_JOBS", "1").run(), &server);
        assert!(far.raw().tags(&repo).is_empty());
        gone.store(false, Ordering::SeqCst);
        let loaded = load().ok();
        let sent = loaded
            .lines()
            .last()
            .and_then(|line| line.split(' ').next()?.parse().ok());
        assert!(
            sent.is_some_and(|sent: usize| sent <= PARTS + 1 - 3),
            "{loaded}"
        );
        let pull = ["pull-blob", &repo, "@v1"];
        assert!(dxf(far.host(), work.path()).args(pull).ok().stdout == bytes);
    }
});

#[test]
fn an_image_that_moves_while_it_is_saved_is_saved_as_it_was() {
    let (one, work) = (Registry::http(), scratch());
    furnish(&one, work.path(), 1);
    let read = || one.raw().manifest("team/app", "v1").expect(200).body;
    let old = read();
    furnish(&one, work.path(), 2);
    let new = read();
    assert!(old != new);
    let put = |raw: &Raw, bytes: &[u8]| drop(raw.put_manifest("team/app", "v1", MANIFEST, bytes));
    put(&one.raw(), &old);
    // The tag moves with the first blob.
    let (moved, raw, bytes) = (AtomicBool::new(false), one.raw(), new.clone());
    let moves = on(GET, "/v2/team/app/blobs/*").when(move |_| {
        if !moved.swap(true, Ordering::SeqCst) {
            put(&raw, &bytes);
        }
        false
    });
    let server = Server::builder([moves]).before(&one).start();
    let save = || dxf(&server.host(), work.path()).args(["save-bundle", "b.tar", "team/app:v1"]);
    for manifest in [old, new] {
        let saved = save().ok();
        assert!(saved.text().contains(&digest(&manifest)), "{saved}");
        let shown = dxf(one.host(), work.path())
            .args(["show-bundle", "--verify", "b.tar"])
            .ok();
        assert!(shown.text().contains(&digest(&manifest)), "{shown}");
    }
}
