//! What stands before a registry, or in its place: proxies, and portals.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

use crate::support::data::digest;
use crate::support::dxf::Dxf;
use crate::support::rules::{ANY, GET, HEAD, PUT, Rule, on};
use crate::support::server::Server;
use crate::support::tls::Ca;

const LIST: [&str; 2] = ["list-aliases", "a"];

fn tags() -> Rule {
    on(GET, "/v2/a/tags/list")
        .reply(200)
        .body(r#"{"tags":["v1"]}"#)
}

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
fn answers_that_are_compressed_although_nobody_asked_are_read() {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(br#"{"tags":["v1"]}"#).unwrap();
    let list = on(GET, "/v2/a/tags/list").reply(200);
    let list = list.header("Content-Encoding", "gzip");
    let server = Server::script([list.body(gzip.finish().unwrap())]);
    assert_eq!(at(&server).args(LIST).ok().text(), "v1\n");
}

#[test]
fn authorities_may_be_in_a_folder() {
    let server = Server::script_tls([tags()]);
    for variable in ["DXF_TLSVERIFY", "REQUESTS_CA_BUNDLE"] {
        let dxf = Dxf::new().env("DXF_HOST", server.host());
        let folder = dxf.home().join("ca");
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(folder.join("README"), "none here").unwrap();
        let dxf = dxf.env(variable, &folder);
        dxf.clone().args(LIST).fails(2).says("no file in it");
        std::fs::write(folder.join("5ad8a5d6.0"), Ca::shared().pem()).unwrap();
        assert_eq!(dxf.args(LIST).ok().text(), "v1\n");
    }
}

/// Passes on one connection, as `ssh -D` does (RFC 1928).
fn socks(listener: &TcpListener, to: &str) {
    let (mut client, _) = listener.accept().unwrap();
    let read = |client: &mut TcpStream, count: usize| {
        let mut bytes = vec![0; count];
        client.read_exact(&mut bytes).unwrap();
        bytes
    };
    let methods = usize::from(read(&mut client, 2)[1]);
    read(&mut client, methods);
    client.write_all(&[5, 0]).unwrap();
    let rest = match read(&mut client, 4)[3] {
        1 => 4,
        4 => 16,
        _ => usize::from(read(&mut client, 1)[0]),
    };
    read(&mut client, rest + 2);
    client.write_all(&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0]).unwrap();
    let mut server = TcpStream::connect(to).unwrap();
    let (mut up, mut down) = (client.try_clone().unwrap(), server.try_clone().unwrap());
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let _ = std::io::copy(&mut down, &mut client);
        });
        let _ = std::io::copy(&mut up, &mut server);
        let _ = server.shutdown(std::net::Shutdown::Both);
    });
}

#[test]
fn a_socks_proxy_is_gone_through() {
    for (variable, scheme) in [("ALL_PROXY", "socks5"), ("DXF_PROXY", "socks5h")] {
        let server = Server::script([tags()]);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let proxy = format!("{scheme}://{}", listener.local_addr().unwrap());
        let host = server.host();
        let passing = std::thread::spawn(move || socks(&listener, &host));
        // An address that nobody has.
        let dxf = Dxf::new().plain("192.0.2.1").env("DXF_RETRIES", "0");
        assert_eq!(dxf.env(variable, proxy).args(LIST).ok().text(), "v1\n");
        passing.join().unwrap();
    }
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
