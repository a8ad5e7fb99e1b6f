//! How a registry is spoken to, found out (`DXF_INSECURE=auto`): never in the
//! clear because something broke, and never with a login before it is known.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use dxf_registry::credentials::Credentials;
use dxf_registry::error::{CertificateFault, NetworkKind};
use dxf_registry::http::{self, Proxies};
use dxf_registry::registry::{Scheme, Settings};
use dxf_registry::{Error, Registry};

use crate::support::bench::{Bench, Mode};
use crate::support::dxf::Dxf;
use crate::support::proxy::Proxy;
use crate::support::registry::{self, PASSWORD, USER};
use crate::support::server::Server;
use crate::support::tls::{Ca, FAR_NAME};
use crate::support::{file, scratch};

fn auto(host: &str) -> Dxf {
    Dxf::new().env("DXF_HOST", host).env("DXF_INSECURE", "auto")
}

fn detect(host: &str, http: http::Settings) -> Result<Registry, Error> {
    let settings = Settings::default().with_http(http.with_retries(0));
    let credentials = Credentials::password(USER, PASSWORD.to_string());
    Registry::detect(host.parse().unwrap(), settings, credentials)
}

fn kind(found: Result<Registry, Error>) -> NetworkKind {
    match found {
        Err(Error::Network { kind, .. }) => kind,
        Err(other) => panic!("{other}"),
        Ok(found) => panic!("{:?}", found.scheme()),
    }
}

/// A server that says `words` to every client, and hangs up; how many did.
fn says(words: &'static [u8]) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let host = listener.local_addr().unwrap().to_string();
    let count = Arc::new(AtomicUsize::new(0));
    let counted = count.clone();
    thread::spawn(move || {
        // Ends with the test process; no other process knows the port.
        for mut stream in listener.incoming().flatten() {
            counted.fetch_add(1, Ordering::SeqCst);
            let mut some = [0; 4096];
            let _ = stream.read(&mut some);
            let _ = stream.write_all(words);
        }
    });
    (host, count)
}

#[test]
fn tls_with_a_good_certificate_is_taken() {
    for mode in [Mode::Basic, Mode::Token] {
        let bench = Bench::new(mode);
        let dxf = || bench.dxf().env("DXF_INSECURE", "auto");
        let dir = scratch();
        let file = file(dir.path(), b"abc");
        bench.dxf().args(["push-blob", "a/b", &file, "@v1"]).ok();
        let before = bench.front.seen().len();
        bench.requests();
        assert_eq!(dxf().args(["list-aliases", "a/b"]).ok().text(), "v1\n");
        // One request more than without, and that one sends no user's name.
        let first = bench.front.seen().remove(before);
        assert_eq!((first.line(), first.status), ("GET /v2/".to_string(), 401));
        assert!(first.headers.get("authorization").is_none());
        let lines = bench.request_lines();
        assert_eq!(lines, ["GET /v2/a/b/tags/list"]);
    }
}

#[test]
fn tls_with_a_bad_certificate_is_taken_only_when_told() {
    let dir = scratch();
    let stranger = Ca::new();
    let (cert, key) = Ca::shared().leaf(&["other.example"]);
    let other = Ca::shared().server_config_with(&cert, &key);
    for config in [stranger.server_config(), other] {
        let server = Server::builder([]).tls_with(config).start();
        let ca = Ca::shared().write_to(dir.path());
        let dxf = || {
            auto(&server.host())
                .env("DXF_TLSVERIFY", &ca)
                .login(USER, PASSWORD)
        };
        let failed = dxf().args(["list-repos"]).fails(69);
        failed.says("certificate").says("DXF_SKIPTLSVERIFY=1");
        assert!(server.seen().is_empty());
    }
    let tls = registry::Registry::builder().tls().start();
    auto(tls.host())
        .args(["list-repos"])
        .fails(69)
        .says("authority");
    let told = auto(tls.host()).env("DXF_SKIPTLSVERIFY", "1");
    told.args(["list-repos"]).ok();
    assert_eq!(
        kind(detect(tls.host(), http::Settings::default())),
        NetworkKind::Certificate(CertificateFault::Untrusted)
    );
}

#[test]
fn http_is_for_this_machine() {
    let clear = registry::Registry::http();
    for host in [clear.host().to_string(), clear.localhost()] {
        auto(&host).args(["list-repos"]).ok();
        let found = detect(&host, http::Settings::default()).unwrap();
        assert_eq!(found.scheme(), Scheme::Http);
        assert_eq!(found.repos().count(), 0);
    }
    // The same server under a name that could be anywhere.
    let proxy = Proxy::to(clear.host());
    let far = format!("{FAR_NAME}:80");
    let through = || auto(&far).env("DXF_PROXY", format!("http://{}", proxy.host()));
    let failed = through().args(["list-repos"]).fails(69);
    failed.says("does not speak TLS").says("DXF_INSECURE=1");
    assert!(!clear.log().contains(FAR_NAME), "http was tried");
    // Told, it is spoken to.
    through().env("DXF_INSECURE", "1").args(["list-repos"]).ok();
    let proxies = Proxies {
        http: Some(format!("http://{}", proxy.host()).into()),
        https: Some(format!("http://{}", proxy.host()).into()),
        ..Proxies::default()
    };
    let http = http::Settings::default().with_proxies(proxies);
    assert_eq!(kind(detect(&far, http)), NetworkKind::NoTls);
}

#[test]
fn a_login_stays_at_home_over_http_that_was_found() {
    let clear = registry::Registry::builder().htpasswd().start();
    let dxf = || auto(clear.host()).login(USER, PASSWORD);
    let failed = dxf().args(["list-repos"]).fails(1);
    failed
        .says("not sent over http")
        .says("DXF_ALLOW_INSECURE_AUTH=1");
    let allowed = dxf().env("DXF_ALLOW_INSECURE_AUTH", "1");
    allowed.args(["list-repos"]).ok();
}

#[test]
fn what_breaks_is_no_reason_for_http() {
    // Neither of them, and each would have been an invitation.
    let quick = || http::Settings::default().with_idle_timeout(Duration::from_millis(300));
    for (words, wanted, connections) in [
        // One that hangs up: tried once more, as any cut is, over TLS.
        (&b""[..], NetworkKind::Cut, 2),
        // Another protocol; on this machine http is tried, and is none either.
        (b"SSH-2.0-x\r\n", NetworkKind::Protocol, 2),
        // Half an answer in TLS.
        (b"\x16\x03\x03\x00\x40\x02", NetworkKind::Cut, 2),
        // A refusal in TLS.
        (b"\x15\x03\x03\x00\x02\x02\x28", NetworkKind::Tls, 1),
    ] {
        let (host, count) = says(words);
        assert_eq!(kind(detect(&host, quick())), wanted, "{words:?}");
        assert_eq!(count.load(Ordering::SeqCst), connections, "{words:?}");
    }
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let host = silent.local_addr().unwrap().to_string();
    let timeout = quick().with_connect_timeout(Duration::from_millis(300));
    assert_eq!(kind(detect(&host, timeout)), NetworkKind::Timeout);
    drop(silent);
    assert_eq!(kind(detect(&host, quick())), NetworkKind::Connect);
}

#[test]
fn a_login_is_tried_where_it_will_be_used() {
    let bench = Bench::new(Mode::Basic);
    let folder = scratch();
    let dxf = bench.anonymous().env("DXF_INSECURE", "auto");
    let dxf = dxf.env("DOCKER_CONFIG", folder.path());
    dxf.args(["login", "-u", USER, "--password-stdin", &bench.host()])
        .stdin(PASSWORD)
        .ok();
    let shown = Dxf::new()
        .env("DXF_INSECURE", "auto")
        .args(["show-env"])
        .ok();
    assert!(shown.text().contains("DXF_INSECURE = auto"), "{shown}");
}
