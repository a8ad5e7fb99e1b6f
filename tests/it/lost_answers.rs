//! Requests whose answers got lost or broke off: what was done is not undone
//! by asking again, and not reported as a failure.

use super::support::data::blob;
use super::support::dxf::Dxf;
use super::support::registry::Registry;
use super::support::rules::{DELETE, GET, on};
use super::support::server::Server;

/// A registry with a blob and an alias of it; the blob's digest.
fn stocked() -> (Registry, String) {
    let registry = Registry::http();
    let name = registry.raw().push_blob("a", &blob(1, 1000));
    let set = Dxf::new().plain(registry.host());
    set.args(["set-alias", "a", "x", &name]).ok();
    (registry, name)
}

#[test]
fn a_delete_whose_answer_was_lost_is_no_missing_alias() {
    let (registry, name) = stocked();
    let front = Server::before(&registry, [on(DELETE, "*").times(1).lose_answer()]);
    let dxf = Dxf::new().plain(&front.host());
    let deleted = dxf.clone().args(["del-alias", "a", "x"]).ok();
    assert_eq!(deleted.text(), format!("{name}\n"));
    assert!(registry.raw().tags("a").is_empty());
    assert_eq!(front.count(DELETE, "*"), 2);
    dxf.clone().args(["del-alias", "a", "x"]).fails(2);

    front.add_first([on(DELETE, "*").times(1).lose_answer()]);
    dxf.clone().args(["del-blob", "a", &name]).ok();
    assert!(!registry.raw().has_blob("a", &name));
    // Nothing was lost on the way this time.
    dxf.args(["del-blob", "a", &name]).fails(2);
}

#[test]
fn a_delete_that_was_never_taken_does_not_excuse_a_missing_blob() {
    let (registry, name) = stocked();
    let busy = on(DELETE, "*").times(1).reply(503);
    let front = Server::before(&registry, [busy.header("Retry-After", "0")]);
    let missing = format!("sha256:{}", "0".repeat(64));
    let dxf = Dxf::new().plain(&front.host());
    dxf.args(["del-blob", "a", &missing]).fails(2);
    assert!(registry.raw().has_blob("a", &name));
}

#[test]
fn a_manifest_or_a_list_that_broke_off_is_asked_for_again() {
    let (registry, name) = stocked();
    for path in ["/v2/a/manifests/x", "/v2/a/tags/list", "/v2/_catalog"] {
        let front = Server::before(
            &registry,
            [
                on(GET, path).times(1).cut_after(3),
                on(GET, path).times(1).reset_response_after(5),
            ],
        );
        let dxf = Dxf::new().plain(&front.host());
        let (args, said): (&[&str], _) = match path {
            "/v2/a/manifests/x" => (&["get-alias", "a", "x"], name.as_str()),
            "/v2/a/tags/list" => (&["list-aliases", "a"], "x"),
            _ => (&["list-repos"], "a"),
        };
        assert_eq!(dxf.args(args).ok().text(), format!("{said}\n"));
    }
}
