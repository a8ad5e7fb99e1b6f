//! Uploads that are mounts: a blob that another repository of the destination has is
//! not sent.

use dxf_registry::image::Node;

use crate::images::{docker_image, seed};
use crate::support::bench::{Bench, Mode};
use crate::support::dxf::{Dxf, Output};
use crate::support::registry::Registry;
use crate::support::server::{Seen, Server};
use crate::support::token::TokenServer;

/// Copies `team/app:1` of `from` into another repository of `to`.
fn copied(from: &Registry, to: Dxf) -> Output {
    let source = format!("{}/team/app:1", from.host());
    let dxf = to.env("DXF_FROM_HOST", from.host());
    let dxf = dxf.env("DXF_FROM_INSECURE", "1");
    dxf.args(["copy-image", &source, "prod/app:1"]).ok()
}

fn source() -> (Registry, Node) {
    let (registry, node) = (Registry::http(), docker_image());
    seed(Dxf::new().plain(registry.host()), &node, "team/app:1");
    (registry, node)
}

/// The uploads that were begun as mounts, all that were begun, and those that were
/// ended with bytes.
fn uploads(seen: &[Seen]) -> (usize, usize, usize) {
    let begun = |one: &&Seen| one.method == "POST" && one.path.contains("/blobs/uploads/");
    let posts: Vec<&Seen> = seen.iter().filter(begun).collect();
    let mounts = posts.iter().filter(|one| one.query.contains("mount="));
    let ended = |one: &&Seen| one.method == "PUT" && one.path.contains("/blobs/uploads/");
    let puts = seen.iter().filter(ended).count();
    (mounts.count(), posts.len(), puts)
}

#[test]
fn a_repository_of_the_sources_name_is_mounted_from() {
    for mode in [Mode::Http, Mode::Token] {
        let ((from, node), to) = (source(), Bench::new(mode));
        seed(to.dxf(), &node, "team/app:old");
        to.requests();
        let blobs = node.blobs().len();
        let output = copied(&from, to.dxf());
        assert_eq!(uploads(&to.requests()), (blobs, blobs, 0), "{output}");
        to.dxf()
            .args(["verify-image", &format!("{}/prod/app:1", to.host())])
            .ok();
    }
}

#[test]
fn a_guess_that_is_wrong_costs_no_request() {
    let ((from, node), to) = (source(), Registry::http());
    let front = Server::before(&to, []);
    let output = copied(&from, Dxf::new().plain(&front.host()));
    let blobs = node.blobs().len();
    assert_eq!(uploads(&front.seen()), (1, blobs, blobs), "{output}");
    assert_eq!(to.open_uploads("prod/app"), 0);
}

/// The token that is given for both repositories is one for the destination alone.
#[test]
fn a_scope_that_is_refused_is_asked_for_once() {
    let (from, node) = source();
    let to = Bench::tokens(TokenServer::builder().closed("team/app").start());
    let output = copied(&from, to.dxf());
    let blobs = node.blobs().len();
    let seen = to.front.seen();
    let refused = seen.iter().filter(|one| one.query.contains("mount="));
    let refused: Vec<u16> = refused.map(|one| one.status).collect();
    // Without a token for both, and with the one that was given.
    assert_eq!(refused, [401, 401], "{output}");
    assert_eq!(uploads(&to.requests()), (0, blobs, blobs), "{output}");
    let asked = to.tokens.as_ref().unwrap().requests();
    let both = asked.iter().filter(|one| one.scopes.len() == 2);
    assert_eq!(both.count(), 1, "{asked:?}");
}
