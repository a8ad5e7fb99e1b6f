//! The way to a registry: what TLS trusts, which login is used, which proxies are
//! gone through, and what is said when the two sides speak differently.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::path::PathBuf;

use crate::support::bench::{Bench, Mode};
use crate::support::dxf::{Dxf, Output};
use crate::support::proxy::Proxy;
use crate::support::registry::{PASSWORD, Registry, USER};
use crate::support::rules::{ANY, GET, Rule, on};
use crate::support::server::Server;
use crate::support::tls::{Ca, FAR_NAME};

const LIST: [&str; 2] = ["list-aliases", "a"];

fn tags() -> Rule {
    on(GET, "/v2/a/tags/list")
        .reply(200)
        .body(r#"{"tags":["v1"]}"#)
}

fn works(dxf: Dxf) {
    assert_eq!(dxf.args(LIST).ok().text(), "v1\n");
}

fn file(dxf: &Dxf, name: &str, text: &str) -> PathBuf {
    let path = dxf.home().join(name);
    std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
    std::fs::write(&path, text).expect("a file");
    path
}

fn at(server: &Server) -> Dxf {
    Dxf::new().env("DXF_HOST", server.host())
}

#[test]
fn a_certificate_is_trusted_by_whoever_is_named() {
    let server = Server::script_tls([tags()]);
    for variable in ["DXF_TLSVERIFY", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"] {
        let dxf = at(&server);
        let ca = file(&dxf, "ca.pem", &Ca::shared().pem());
        let wrong = file(&dxf, "wrong.pem", &Ca::new().pem());
        works(dxf.clone().env(variable, &ca));
        let other = dxf.clone().env(variable, &wrong).args(LIST).fails(69);
        other.says("authority").says("DXF_TLSVERIFY");
        works(dxf.env(variable, &wrong).env("DXF_SKIPTLSVERIFY", "1"));
    }
    // The system does not know it, and trying again does not help.
    let before = server.seen().len();
    let unknown = at(&server).args(LIST).fails(69).says("unknown authority");
    assert!(unknown.took.as_millis() < 250, "{unknown}");
    assert_eq!(server.seen().len(), before);
    // The first in order counts alone.
    let dxf = at(&server);
    let ca = file(&dxf, "ca.pem", &Ca::shared().pem());
    let wrong = file(&dxf, "wrong.pem", &Ca::new().pem());
    works(
        dxf.clone()
            .env("DXF_TLSVERIFY", &ca)
            .env("SSL_CERT_FILE", &wrong),
    );
    let dxf = dxf.env("DXF_TLSVERIFY", &wrong);
    dxf.env("SSL_CERT_FILE", &ca).args(LIST).fails(69);
}

#[test]
fn a_certificate_file_that_is_none_is_an_error() {
    let server = Server::script_tls([]);
    let dxf = at(&server);
    let empty = file(&dxf, "empty.pem", "");
    let text = file(&dxf, "text.pem", "-----BEGIN CERTIFICATE-----\nxx\n");
    for path in [
        empty,
        text,
        dxf.home().join("missing.pem"),
        dxf.home().into(),
    ] {
        let list = dxf.clone().env("DXF_TLSVERIFY", &path).args(LIST).run();
        assert!(matches!(list.code, Some(1 | 2)), "{list}");
        assert_eq!(list.stderr.lines().count(), 1, "{list}");
        list.says(&path.display().to_string());
    }
}

#[test]
fn bad_certificates_say_what_is_bad() {
    let config = |names: &[&str]| {
        let (cert, key) = Ca::shared().leaf(names);
        Ca::shared().server_config_with(&cert, &key)
    };
    let other = Server::builder([]).tls_with(config(&["r.example"])).start();
    let dxf = Dxf::new().secure(&other.host());
    let list = dxf.clone().args(LIST).fails(69);
    list.says("for another name").says("DXF_SKIPTLSVERIFY");
}

#[test]
fn the_same_trust_holds_for_tokens_and_storage() {
    let reg = Bench::new(Mode::Token);
    let name = reg.raw().push_blob("a", b"abc");
    let storage = Server::script_tls([on(GET, "/there").serve(*b"abc")]);
    reg.front.add_first([on(GET, "/v2/a/blobs/*")
        .has_header("authorization", "")
        .reply(307)
        .header("Location", &format!("{}/there", storage.origin()))]);
    let pull = ["pull-blob", "a", &name];
    assert_eq!(reg.dxf().args(pull).ok().stdout, b"abc");
    let skip = reg.dxf().env_remove("DXF_TLSVERIFY");
    let skip = skip.env("DXF_SKIPTLSVERIFY", "1");
    assert_eq!(skip.args(pull).ok().stdout, b"abc");
}

/// What a user keeps for one host in the manner of Docker.
fn certs_d(dxf: &Dxf, folder: &str, host: &str, name: &str, text: &str) {
    file(dxf, &format!("{folder}/certs.d/{host}/{name}"), text);
}

#[test]
fn a_client_certificate_is_shown_to_its_host_alone() {
    let clients = Ca::new();
    let (cert, key) = clients.leaf(&["client.test"]);
    let closed = || {
        let config = Ca::shared().server_config_for_clients_of(&clients);
        Server::builder([tags()]).tls_with(config).start()
    };
    let server = closed();
    let nobody = Dxf::new().secure(&server.host()).env("DXF_RETRIES", "0");
    nobody.args(LIST).fails(69).says("DXF_CLIENT_CERT");

    let dxf = Dxf::new().secure(&server.host());
    let (cert_file, key_file) = (file(&dxf, "c.pem", &cert), file(&dxf, "k.pem", &key));
    let both = file(&dxf, "both.pem", &format!("{cert}{key}"));
    works(
        dxf.clone()
            .env("DXF_CLIENT_CERT", &cert_file)
            .env("DXF_CLIENT_KEY", &key_file),
    );
    works(dxf.env("DXF_CLIENT_CERT", &both));

    for folder in [".docker", ".config/containers"] {
        let dxf = at(&server).env("DXF_RETRIES", "0");
        certs_d(&dxf, folder, &server.host(), "ca.crt", &Ca::shared().pem());
        certs_d(&dxf, folder, &server.host(), "client.cert", &cert);
        certs_d(&dxf, folder, &server.host(), "client.key", &key);
        works(dxf.clone());
        // Another port is another host: neither trusted nor introduced to.
        let other = closed();
        dxf.clone()
            .env("DXF_HOST", other.host())
            .args(LIST)
            .fails(69);
        certs_d(&dxf, folder, &other.host(), "ca.crt", &Ca::shared().pem());
        dxf.env("DXF_HOST", other.host()).args(LIST).fails(69);
    }
    // A redirect does not take it along.
    let other = closed();
    let first = Ca::shared().server_config_for_clients_of(&clients);
    let first = Server::builder([on(GET, "/v2/a/tags/list")
        .reply(307)
        .header("Location", &format!("{}/v2/a/tags/list", other.origin()))])
    .tls_with(first)
    .start();
    let dxf = Dxf::new().secure(&first.host()).env("DXF_RETRIES", "0");
    let both = file(&dxf, "both.pem", &format!("{cert}{key}"));
    let away = dxf.env("DXF_CLIENT_CERT", &both).args(LIST).fails(69);
    away.says(&other.host());
    assert!(other.seen().is_empty());
}

#[test]
fn two_sides_that_speak_differently_are_told_apart() {
    let clear = Registry::http();
    let list = Dxf::new()
        .env("DXF_HOST", clear.host())
        .args(LIST)
        .fails(69);
    list.says("does not speak TLS").says("DXF_INSECURE=1");

    // A Go server answers http on its TLS port with a 400 that says so.
    let reg = Bench::new(Mode::Basic);
    let dxf = Dxf::new().plain(reg.registry.host());
    let list = dxf.args(LIST).fails(1);
    list.says("HTTP request to an HTTPS server")
        .says("unset DXF_INSECURE");
    // One that says nothing in words.
    let secure = Server::script_tls([]);
    let dxf = Dxf::new().plain(&secure.host()).env("DXF_RETRIES", "0");
    let list = dxf.login(USER, PASSWORD).args(LIST).fails(69);
    assert!(
        list.stderr.contains("DXF_INSECURE") || list.stderr.contains("cut"),
        "{list}"
    );
    assert!(secure.seen().is_empty());
    // No server: one line, and no other scheme is tried.
    let gone = Server::script([]).host();
    let dxf = Dxf::new().secure(&gone).env("DXF_RETRIES", "0");
    dxf.args(LIST).fails(69).says("refused").says("running");
    let dxf = Dxf::new()
        .secure("no-such-host.test")
        .env("DXF_RETRIES", "0");
    dxf.args(LIST)
        .fails(69)
        .says("no address")
        .says("check the spelling");
}

fn through(proxy: &Proxy, variable: &str, login: &str) -> Dxf {
    let dxf = Dxf::new().secure(FAR_NAME).login(USER, PASSWORD);
    let dxf = dxf.env("DXF_RETRIES", "0").secret("proxy-word");
    let dxf = dxf.secret(&STANDARD.encode("p:proxy-word"));
    dxf.env(variable, format!("http://{login}{}", proxy.host()))
}

#[test]
fn proxies_are_gone_through_and_told_nothing_else() {
    let reg = Bench::new(Mode::Basic);
    let name = reg.raw().push_blob("a", b"abc");
    let login = format!("Basic {}", STANDARD.encode("p:proxy-word"));
    let proxy = Proxy::with_login(&reg.host(), &login);
    for variable in [
        "HTTPS_PROXY",
        "https_proxy",
        "ALL_PROXY",
        "all_proxy",
        "DXF_PROXY",
    ] {
        let dxf = through(&proxy, variable, "p:proxy-word@");
        let pull = dxf.args(["pull-blob", "a", &name]).ok();
        assert_eq!(pull.stdout, b"abc", "{variable}");
    }
    let heads = proxy.seen();
    assert!(heads.len() >= 5);
    for head in heads {
        assert!(
            head.starts_with("CONNECT registry.test:443 HTTP/1.1\r\n"),
            "{head}"
        );
        let lower = head.to_lowercase();
        assert!(lower.contains("\r\nproxy-authorization: basic "), "{head}");
        assert!(!lower.contains("\r\nauthorization:"), "{head}");
    }
    for one in reg.front.seen() {
        assert_eq!(one.headers.get("proxy-authorization"), None);
    }
    // The wrong one first: its variable counts for other schemes only.
    let none = through(&proxy, "HTTP_PROXY", "p:proxy-word@");
    none.args(LIST).fails(69).says("no address");
    let own = through(&proxy, "DXF_PROXY", "p:proxy-word@");
    own.env("HTTPS_PROXY", "http://127.0.0.1:1")
        .args(["blob-size", "a", &name])
        .ok();
}

#[test]
fn a_proxy_that_refuses_is_named_without_its_password() {
    let reg = Bench::new(Mode::Basic);
    let proxy = Proxy::with_login(&reg.host(), "Basic something-else");
    for log in ["", "http"] {
        let dxf = through(&proxy, "HTTPS_PROXY", "p:proxy-word@").env("DXF_LOG", log);
        let refused = dxf.args(LIST).run();
        assert_eq!(refused.code, Some(69), "{refused}");
        refused.says("proxy");
    }
    for url in [
        "bogus://p:proxy-word@x",
        "http://p:proxy-word@",
        "http://p:proxy-word@h:99999",
    ] {
        let dxf = through(&proxy, "X", "").env("HTTPS_PROXY", url);
        let bad: Output = dxf.clone().args(LIST).run();
        assert!(matches!(bad.code, Some(2 | 69)), "{bad}");
        assert_eq!(bad.stderr.lines().count(), 1, "{bad}");
        let shown = dxf.arg("show-env").ok();
        assert!(shown.text().contains("HTTPS_PROXY = "), "{shown}");
    }
    assert!(reg.front.seen().is_empty());
}

#[test]
fn exceptions_and_loopback_go_direct() {
    let reg = Bench::new(Mode::Basic);
    let name = reg.raw().push_blob("a", b"abc");
    let proxy = Proxy::to(&reg.host());
    for exception in [
        "registry.test",
        "test",
        " x , .test",
        "*",
        "registry.test:443",
        "REGISTRY.TEST",
    ] {
        for variable in ["NO_PROXY", "no_proxy"] {
            let dxf = through(&proxy, "HTTPS_PROXY", "").env(variable, exception);
            dxf.args(LIST).fails(69).says("no address");
        }
    }
    let nearby = reg
        .dxf()
        .env("DXF_PROXY", format!("http://{}", proxy.host()));
    assert_eq!(nearby.args(["blob-size", "a", &name]).ok().text(), "3\n");
    assert!(proxy.seen().is_empty());
    let other =
        through(&proxy, "HTTPS_PROXY", "").env("NO_PROXY", "registry.test:5000,egistry.test");
    assert_eq!(other.args(["blob-size", "a", &name]).ok().text(), "3\n");
    assert!(!proxy.seen().is_empty());
}

#[test]
fn http_goes_through_its_proxy_too() {
    let server = Server::script([tags()]);
    let proxy = Proxy::to(&server.host());
    let dxf = Dxf::new().plain(FAR_NAME);
    works(dxf.env("http_proxy", format!("http://{}", proxy.host())));
    // Proxies as they are installed refuse CONNECT to any port but 443.
    let head = &proxy.seen()[0];
    let line = "GET http://registry.test/v2/a/tags/list HTTP/1.1\r\n";
    assert!(head.starts_with(line), "{head}");
    // A web server hands `Proxy:` of a request to programs under this name.
    let cgi = Dxf::new().plain(FAR_NAME).env("REQUEST_METHOD", "GET");
    let cgi = cgi.env("HTTP_PROXY", format!("http://{}", proxy.host()));
    cgi.env("DXF_RETRIES", "0").args(LIST).fails(69);
    assert_eq!(proxy.seen().len(), 1);
}

#[test]
fn token_servers_are_reached_through_the_proxy_as_well() {
    let challenge = format!("Bearer realm=\"https://{FAR_NAME}/token\",service=\"s\"");
    let registry = Server::script_tls([
        on(GET, "/v2/a/tags/list")
            .has_header("authorization", "Bearer ")
            .reply(200)
            .body(r#"{"tags":["v1"]}"#),
        on(GET, "/token")
            .times(1)
            .reply(200)
            .body(r#"{"token":"t"}"#),
        on(ANY, "/v2/*")
            .reply(401)
            .header("WWW-Authenticate", &challenge),
    ]);
    let proxy = Proxy::to(&registry.host());
    works(through(&proxy, "HTTPS_PROXY", ""));
}
