//! What stands before a registry, or in its place: proxies, and portals.

use crate::support::data::digest;
use crate::support::dxf::Dxf;
use crate::support::rules::{ANY, GET, HEAD, PUT, on};
use crate::support::server::Server;

fn at(server: &Server) -> Dxf {
    let dxf = Dxf::new().plain(&server.host());
    dxf.env("DXF_RETRIES", "0")
}

#[test]
fn a_web_page_in_place_of_the_registry_is_no_success() {
    let page = "<html><title>Sign in</title></html>";
    let page = on(ANY, "/*").reply(200).body(page);
    let server = Server::script([page.header("Content-Type", "text/html; charset=utf-8")]);
    let blob = digest(b"hello");
    let page = "it is a web page";
    at(&server)
        .args(["blob-size", "a", &blob])
        .fails(65)
        .says(page);
    let set = at(&server).args(["set-alias", "a", "v1", &blob]);
    assert_eq!(set.fails(65).says(page).text(), "");
    let deleted = at(&server).args(["del-blob", "a", &blob]).fails(65);
    deleted.says("it is a web page \"Sign in\", and no registry's");
}

#[test]
fn a_head_of_no_length_is_asked_again() {
    let (blob, empty) = (digest(b"hello"), digest(b""));
    let path = |digest: &str| format!("/v2/a/blobs/{digest}");
    let server = Server::script([
        on(HEAD, "/v2/a/blobs/*")
            .reply(200)
            .header("Content-Length", "0"),
        on(GET, &path(&blob)).serve(&b"hello"[..]),
    ]);
    let size = at(&server).args(["blob-size", "a", &blob]).ok();
    assert_eq!(size.text(), "5\n");
    let size = at(&server).args(["blob-size", "a", &empty]).ok();
    assert_eq!(size.text(), "0\n");
}

#[test]
fn a_put_that_is_answered_200_without_a_page_is_one() {
    let blob = digest(b"hello");
    let server = Server::script([
        on(HEAD, "/v2/a/blobs/*")
            .reply(200)
            .header("Content-Length", "5"),
        on(PUT, "/v2/a/manifests/v1").reply(200),
    ]);
    at(&server).args(["set-alias", "a", "v1", &blob]).ok();
}
