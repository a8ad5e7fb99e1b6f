//! What servers, and whatever stands before them, do to connections: answers
//! that trickle, kept-alive connections that die, bodies compressed unasked,
//! proxies of all kinds, and addresses that no client should be sent to.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use flate2::Compression;
use flate2::write::GzEncoder;

use crate::support::data::{blob, digest};
use crate::support::dxf::Dxf;
use crate::support::proxy::Proxy;
use crate::support::registry::{PASSWORD, USER};
use crate::support::rules::{ANY, GET, HEAD, POST, PUT, Response, Rule, on};
use crate::support::server::Server;

const LIST: [&str; 2] = ["list-aliases", "a"];
const TAGS: &str = r#"{"tags":["v1"]}"#;

/// A server whose connections are in the hands of `serve`, until the test ends.
struct Wild(String);

impl Wild {
    fn new(serve: impl Fn(Peer) -> io::Result<()> + Send + Sync + 'static) -> Wild {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let host = listener.local_addr().expect("an address").to_string();
        let serve = Arc::new(serve);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let serve = serve.clone();
                // Clients hang up on most of what is served here.
                thread::spawn(move || drop(serve(Peer(BufReader::new(stream)))));
            }
        });
        Wild(host)
    }
}

struct Peer(BufReader<TcpStream>);

impl Peer {
    /// A request's line, its body read; nothing at the end.
    fn request(&mut self) -> io::Result<Option<String>> {
        Ok(self.request_with("")?.map(|(line, _)| line))
    }

    /// The same, and the value of a header.
    fn request_with(&mut self, name: &str) -> io::Result<Option<(String, Option<String>)>> {
        let (mut first, mut length) = (String::new(), 0);
        let mut wanted = None;
        if self.0.read_line(&mut first)? == 0 {
            return Ok(None);
        }
        loop {
            let mut line = String::new();
            self.0.read_line(&mut line)?;
            let lower = line.trim().to_ascii_lowercase();
            if let Some(value) = lower.strip_prefix("content-length:") {
                length = value.trim().parse().unwrap_or(0);
            }
            let value = lower.strip_prefix(name).filter(|_| !name.is_empty());
            if let Some(value) = value.and_then(|rest| rest.strip_prefix(':')) {
                wanted = Some(value.trim().to_string());
            }
            if lower.is_empty() {
                break;
            }
        }
        io::copy(&mut (&mut self.0).take(length), &mut io::sink())?;
        Ok(Some((first.trim_end().to_string(), wanted)))
    }

    fn say(&mut self, text: &str) -> io::Result<()> {
        self.0.get_mut().write_all(text.as_bytes())
    }

    /// `text` again and again, far more often than the limit of silence allows.
    fn trickle(&mut self, text: &str) -> io::Result<()> {
        loop {
            self.say(text)?;
            thread::sleep(Duration::from_millis(200));
        }
    }
}

fn lock(list: &Mutex<Vec<String>>) -> std::sync::MutexGuard<'_, Vec<String>> {
    list.lock().expect("no panic in a server")
}

fn hasty(host: &str) -> Dxf {
    Dxf::new().plain(host).env("DXF_TIMEOUT", "1")
}

#[test]
fn a_head_that_never_ends_does() {
    for (begin, more) in [
        ("", "HTTP/1.1 103 Early Hints\r\n\r\n"),
        ("", "HTTP/1.1 100 Continue\r\n\r\n"),
        ("HTTP/1.1 200 OK\r\nX: ", "a"),
    ] {
        let wild = Wild::new(move |mut peer| {
            peer.request()?;
            peer.say(begin)?;
            peer.trickle(more)
        });
        // Twice the limit of silence, and no second try.
        let ended = hasty(&wild.0).args(LIST).fails(69).says("too slowly");
        assert!(ended.took < Duration::from_secs(6), "{ended}");
    }
}

#[test]
fn bodies_that_trickle_are_not_waited_for() {
    let trickling = |status: &'static str| {
        move |mut peer: Peer| {
            while let Some(line) = peer.request()? {
                if line.contains("/tags/list") {
                    peer.say(&format!(
                        "HTTP/1.1 {status}\r\nContent-Length: 60000\r\n\r\n"
                    ))?;
                    peer.trickle("a")?;
                }
                peer.say("HTTP/1.1 200 OK\r\nContent-Length: 15\r\n\r\n{\"tags\":[\"v1\"]}")?;
            }
            Ok(())
        }
    };
    // A redirect's body is not read.
    let moved = Wild::new(trickling("307 Moved\r\nLocation: /elsewhere"));
    let list = hasty(&moved.0).args(LIST).ok();
    assert_eq!(list.text(), "v1\n");
    assert!(list.took < Duration::from_secs(6), "{list}");
    // An error's is worth a moment, a list's a little more.
    for (status, code) in [("403 No", 1), ("404 No", 2), ("200 OK", 69)] {
        let wild = Wild::new(trickling(status));
        let ended = hasty(&wild.0).args(LIST).fails(code);
        assert!(ended.took < Duration::from_secs(6), "{status}: {ended}");
    }
}

#[test]
fn an_https_proxy_that_trickles_ends_in_time() {
    let wild = Wild::new(|mut peer| {
        peer.request()?;
        peer.say("HTTP/1.1 200 OK\r\nX: ")?;
        peer.trickle("a")
    });
    let dxf = Dxf::new().secure("registry.test").env("DXF_RETRIES", "0");
    let dxf = dxf.env("HTTPS_PROXY", format!("http://{}", wild.0));
    let ended = dxf.env("DXF_CONNECT_TIMEOUT", "1").args(LIST).fails(69);
    assert!(ended.took < Duration::from_secs(6), "{ended}");
}

/// A registry for uploads that answers once on each connection and resets it at
/// the second request, having said nothing of the sort.
fn one_answer_each(seen: Arc<AtomicUsize>) -> Wild {
    Wild::new(move |mut peer| {
        let Some(line) = peer.request()? else {
            return Ok(());
        };
        let answer = match line.split(' ').next() {
            Some("HEAD") => "404 No\r\n",
            Some("POST") => "202 Go\r\nLocation: /v2/a/blobs/uploads/1\r\n",
            Some("PATCH") => "202 Go on\r\nLocation: /v2/a/blobs/uploads/1\r\n",
            Some("PUT") => "201 Made\r\n",
            _ => "200 OK\r\n",
        };
        seen.fetch_add(1, Ordering::Relaxed);
        peer.say(&format!("HTTP/1.1 {answer}Content-Length: 0\r\n\r\n"))?;
        peer.request().map(drop)
    })
}

#[test]
fn connections_that_die_after_each_answer_cost_no_tries() {
    let seen = Arc::new(AtomicUsize::new(0));
    let wild = one_answer_each(seen.clone());
    let files: Vec<Vec<u8>> = (0..10).map(|n| blob(n, 1000)).collect();
    for file in &files {
        let dxf = Dxf::new().plain(&wild.0).env("DXF_RETRIES", "0");
        let push = dxf.args(["push-blob", "a", "-"]).stdin(file.clone()).ok();
        assert_eq!(push.text(), format!("{}\n", digest(file)));
        assert!(push.took < Duration::from_secs(2), "{push}");
    }
    assert_eq!(seen.load(Ordering::Relaxed), 30, "HEAD, POST and PUT each");
}

#[test]
fn chunks_and_tokens_survive_connections_that_die_after_each_answer() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let heard = seen.clone();
    // A registry and its token server in one: each of its connections answers
    // once and is reset at the second request.
    let wild = Wild::new(move |mut peer| {
        let Some((line, token)) = peer.request_with("authorization")? else {
            return Ok(());
        };
        let method = line.split(' ').next().unwrap_or_default().to_string();
        let made = lock(&heard).iter().any(|seen| seen == "PUT");
        let place = peer.0.get_ref().local_addr()?;
        let asks = format!("401 No\r\nWWW-Authenticate: Bearer realm=\"http://{place}/token\"\r\n");
        let (name, answer) = match method.as_str() {
            "GET" if line.contains("/token") => {
                lock(&heard).push("token".to_string());
                let body = r#"{"token":"abc"}"#;
                let length = body.len();
                peer.say(&format!(
                    "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{body}"
                ))?;
                return peer.request().map(drop);
            }
            _ if token.is_none() => ("401", asks.as_str()),
            "HEAD" if made => ("HEAD", "200 OK\r\n"),
            "HEAD" => ("HEAD", "404 No\r\n"),
            "POST" => ("POST", "202 Go\r\nLocation: /v2/a/blobs/uploads/1\r\n"),
            "PATCH" => ("PATCH", "202 Go on\r\nLocation: /v2/a/blobs/uploads/1\r\n"),
            _ => ("PUT", "201 Made\r\n"),
        };
        lock(&heard).push(name.to_string());
        let length = if method == "HEAD" { 1000 } else { 0 };
        peer.say(&format!(
            "HTTP/1.1 {answer}Content-Length: {length}\r\n\r\n"
        ))?;
        peer.request().map(drop)
    });
    let file = blob(1, 1000);
    let dxf = Dxf::new().plain(&wild.0).env("DXF_RETRIES", "0");
    let dxf = dxf.env("DXF_ALLOW_INSECURE_AUTH", "1");
    let dxf = dxf.env("DXF_UPLOAD", "400").args(["push-blob", "a", "-"]);
    let push = dxf.stdin(file.clone()).ok();
    assert_eq!(push.text(), format!("{}\n", digest(&file)));
    assert!(push.took < Duration::from_secs(2), "{push}");
    let count = |name: &str| lock(&seen).iter().filter(|seen| *seen == name).count();
    assert_eq!((count("PATCH"), count("POST"), count("PUT")), (3, 1, 1));
    assert!(count("token") <= 2, "{:?}", lock(&seen));
}

fn gzipped(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).expect("memory");
    encoder.finish().expect("memory")
}

/// An answer that a front compresses although no client asked for it.
fn coded(path: &str, status: u16, coding: &str, bytes: &[u8]) -> Rule {
    let rule = on(GET, path).reply(status);
    rule.header("Content-Encoding", coding).body(gzipped(bytes))
}

#[test]
fn answers_compressed_unasked_are_read() {
    let manifest = br#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"x","digest":"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855","size":0},"layers":[]}"#;
    for coding in ["gzip", "x-gzip", "GZip", "aws-chunked,gzip"] {
        let realm = Server::script_tls([coded("/token", 200, coding, br#"{"token":"t"}"#)]);
        let registry = Server::script_tls([
            coded("/v2/a/tags/list", 200, coding, TAGS.as_bytes())
                .has_header("authorization", "Bearer t"),
            coded("/v2/a/manifests/v1", 200, coding, manifest)
                .has_header("authorization", "Bearer t"),
            coded(
                "/v2/a/manifests/no",
                403,
                coding,
                br#"{"errors":[{"code":"DENIED","message":"go away"}]}"#,
            )
            .has_header("authorization", "Bearer t"),
            on(ANY, "/v2/*").reply(401).header(
                "WWW-Authenticate",
                &format!("Bearer realm=\"{}/token\"", realm.origin()),
            ),
        ]);
        let dxf = Dxf::new().secure(&registry.host()).login(USER, PASSWORD);
        assert_eq!(dxf.clone().args(LIST).ok().text(), "v1\n");
        let got = dxf.clone().args(["get-manifest", "a", "v1"]).ok();
        assert_eq!(got.stdout, manifest);
        dxf.args(["get-manifest", "a", "no"])
            .fails(1)
            .says("go away");
    }
}

#[test]
fn a_compressed_blob_is_kept_in_the_form_that_its_digest_names() {
    // Compressed by a front that ignores the request, and gzip by itself and said to be.
    // The digest tells of small ones, the size of large ones.
    for size in [200_000, 2 << 20] {
        let plain = blob(5, size);
        let archive = gzipped(&plain);
        for (stored, sent) in [(&plain, gzipped(&plain)), (&archive, archive.clone())] {
            let path = format!("/v2/a/blobs/{}", digest(stored));
            let server = Server::script([
                on(HEAD, &path)
                    .reply(200)
                    .header("Content-Length", &stored.len().to_string()),
                on(GET, &path)
                    .reply(200)
                    .header("Content-Encoding", "gzip")
                    .body(sent),
            ]);
            let dxf = Dxf::new().plain(&server.host()).env("DXF_RETRIES", "0");
            let name = digest(stored);
            let pull = dxf.clone().args(["pull-blob", "a", &name]).ok();
            assert!(pull.stdout == *stored);
            let file = dxf.home().join("blob");
            let words = [
                "pull-blob",
                "-o",
                file.to_str().expect("a path"),
                "a",
                &name,
            ];
            dxf.args(words).ok();
            assert!(std::fs::read(&file).expect("a file") == *stored);
        }
    }
}

#[test]
fn a_part_that_is_compressed_unasked_is_no_part_of_the_blob() {
    for (size, whole_too) in [(20_000, true), (20_000, false), (2 << 20, true)] {
        let plain = vec![b'x'; size];
        let path = format!("/v2/a/blobs/{}", digest(&plain));
        let served = plain.clone();
        let server = Server::script([on(ANY, &path).with(move |request| {
            let mut answer = Response::ranged(request, &served);
            let coded = request.method == "GET" && (answer.status == 206 || whole_too);
            if coded {
                answer.body = gzipped(&answer.body);
                answer = answer.header("Content-Encoding", "gzip");
            }
            answer
        })]);
        let dxf = Dxf::new().plain(&server.host()).env("DXF_RETRIES", "0");
        for (range, count) in [("5-14", 10), ("-7", 7), ("100-", size - 100)] {
            let name = digest(&plain);
            let part = dxf.clone().args(["pull-blob", "--range", range, "a"]);
            assert!(part.arg(&name).ok().stdout == vec![b'x'; count], "{range}");
        }
    }
}

#[test]
fn the_length_of_a_compressed_answer_is_no_size_of_a_blob() {
    let (plain, archive) = (blob(6, 5000), gzipped(&blob(6, 5000)));
    for (stored, sent) in [(&plain, gzipped(&plain)), (&archive, archive.clone())] {
        let name = digest(stored);
        // One that compresses whole answers alone, and one that keeps ranges.
        for ranges in [false, true] {
            let (sent, stored) = (sent.clone(), stored.clone());
            let len = stored.len();
            let path = format!("/v2/a/blobs/{name}");
            let server = Server::script([on(ANY, &path).with(move |request| {
                match request.headers.get("range") {
                    Some(_) if ranges => Response::ranged(request, &stored),
                    _ => Response::new(200)
                        .header("Content-Encoding", "gzip")
                        .body(sent.clone()),
                }
            })]);
            let dxf = Dxf::new().plain(&server.host()).env("DXF_RETRIES", "0");
            let size = dxf.args(["blob-size", "a", &name]).ok();
            assert_eq!(size.text(), format!("{len}\n"), "{ranges}");
        }
    }
    let server = Server::script([on(ANY, "/v2/a/blobs/*")
        .reply(200)
        .header("Content-Encoding", "GZIP")
        .body(gzipped(b"another"))]);
    let dxf = Dxf::new().plain(&server.host()).env("DXF_RETRIES", "0");
    let size = dxf.args(["blob-size", "a", &digest(b"this")]).fails(65);
    assert_eq!(size.says("digest mismatch").text(), "");
}

#[test]
fn what_is_compressed_in_another_way_is_named() {
    let stored = blob(7, 3000);
    let name = digest(&stored);
    let server = |coding: &str, sent: Vec<u8>| {
        let coded = on(GET, "/v2/*").with(move |request| Response::ranged(request, &sent));
        let head = on(HEAD, "/v2/a/blobs/*").reply(200);
        let head = head.header("Content-Length", "3000");
        Server::script([head, coded.header("Content-Encoding", coding)])
    };
    let at = |server: &Server, words: &[&str]| {
        let dxf = Dxf::new().plain(&server.host()).env("DXF_RETRIES", "0");
        dxf.args(words)
    };
    let range = ["pull-blob", "--range", "5-14", "a", &name];
    for (coding, said) in [
        ("br", "with br"),
        ("Deflate", "with deflate"),
        ("gzip, zstd", "with gzip, zstd"),
    ] {
        let server = server(coding, b"what is not read".to_vec());
        for words in [
            &LIST[..],
            &["get-manifest", "a", "x"],
            &["pull-blob", "a", &name],
            &range,
        ] {
            let refused = at(&server, words).fails(65).says(said);
            assert_eq!(refused.text(), "", "{coding} {words:?}");
        }
    }
    // A label that says nothing, or that is about the blob itself.
    for coding in ["identity", "aws-chunked", "utf-8", "", "zstd"] {
        let server = server(coding, stored.clone());
        assert!(
            at(&server, &["pull-blob", "a", &name]).ok().stdout == stored,
            "{coding}"
        );
        assert!(at(&server, &range).ok().stdout == stored[5..15], "{coding}");
    }
}

#[test]
fn a_compressed_answer_has_the_bounds_of_a_plain_one() {
    let server = Server::script([coded(
        "/v2/a/manifests/x",
        200,
        "gzip",
        &vec![b' '; 100 << 20],
    )]);
    let mut running = Dxf::new()
        .plain(&server.host())
        .args(["get-manifest", "a", "x"])
        .spawn();
    let peak = running.peak();
    let got = running.finish();
    assert_eq!(got.code, Some(65), "{got}");
    assert!(peak < 64 << 10, "{peak} KiB of memory");
    let broken = Server::script([on(GET, "/v2/a/tags/list")
        .reply(200)
        .header("Content-Encoding", "gzip")
        .body(TAGS)]);
    Dxf::new()
        .plain(&broken.host())
        .args(LIST)
        .fails(65)
        .says("gzip");
}

#[test]
fn an_http_registry_is_reached_by_absolute_urls() {
    let server = Server::script([
        on(GET, "/v2/a/tags/list").reply(200).body(TAGS),
        on(HEAD, "/v2/a/blobs/*").reply(404),
        on(POST, "/v2/a/blobs/uploads/")
            .reply(202)
            .header("Location", "/v2/a/blobs/uploads/1?s=x"),
        on(PUT, "/v2/a/blobs/uploads/1").reply(201),
    ]);
    let login = format!("Basic {}", BASE64_STANDARD.encode("u:p@w"));
    let proxy = Proxy::with_login(&server.host(), &login);
    let dxf = |login: &str| {
        let dxf = Dxf::new()
            .plain("registry.test:5000")
            .env("DXF_RETRIES", "0");
        dxf.env("HTTP_PROXY", format!("http://{login}{}", proxy.host()))
    };
    assert_eq!(dxf("u:p%40w@").args(LIST).ok().text(), "v1\n");
    let bytes = blob(3, 3 << 20);
    let push = dxf("u:p%40w@")
        .args(["push-blob", "a", "-"])
        .stdin(bytes.clone());
    assert_eq!(push.ok().text(), format!("{}\n", digest(&bytes)));
    let put = &server.seen_at(PUT, "/v2/a/blobs/uploads/1")[0];
    assert_eq!(put.query, format!("s=x&digest={}", digest(&bytes)));
    for head in proxy.seen() {
        let url = head.split(' ').nth(1).expect("a target");
        assert!(url.starts_with("http://registry.test:5000/v2/"), "{head}");
        assert!(
            head.to_ascii_lowercase()
                .contains("\r\nhost: registry.test:5000\r\n"),
            "{head}"
        );
    }
    dxf("u:wrong@")
        .args(LIST)
        .fails(69)
        .says("proxy")
        .says("407");
}

/// A SOCKS 5 proxy without logins that leads to `target` whatever it is asked
/// for; counts the names it got.
fn socks(target: String, names: Arc<AtomicUsize>) -> Wild {
    Wild::new(move |Peer(mut client)| {
        let mut byte = [0; 1];
        let mut next = |client: &mut BufReader<TcpStream>, count: usize| -> io::Result<Vec<u8>> {
            let mut bytes = vec![0; count];
            client.read_exact(&mut bytes)?;
            byte[0] = *bytes.last().unwrap_or(&0);
            Ok(bytes)
        };
        let methods = next(&mut client, 2)?[1];
        next(&mut client, methods.into())?;
        client.get_mut().write_all(&[5, 0])?;
        match next(&mut client, 4)?[3] {
            3 => {
                names.fetch_add(1, Ordering::Relaxed);
                let length = next(&mut client, 1)?[0];
                next(&mut client, length.into())?
            }
            1 => next(&mut client, 4)?,
            _ => next(&mut client, 16)?,
        };
        next(&mut client, 2)?;
        client
            .get_mut()
            .write_all(&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0])?;
        let mut server = TcpStream::connect(&target)?;
        let (mut up, mut down) = (server.try_clone()?, client.get_ref().try_clone()?);
        thread::spawn(move || io::copy(&mut up, &mut down));
        io::copy(&mut client, &mut server).map(drop)
    })
}

#[test]
fn socks_proxies_are_used() {
    let server = Server::script([on(GET, "/v2/a/tags/list").reply(200).body(TAGS)]);
    let names = Arc::new(AtomicUsize::new(0));
    let proxy = socks(server.host(), names.clone());
    for variable in ["ALL_PROXY", "DXF_PROXY", "http_proxy"] {
        for scheme in ["socks5", "socks5h", "SOCKS5"] {
            // An address, so that no name has to be looked up first.
            let dxf = Dxf::new().plain("192.0.2.1:5000").env("DXF_RETRIES", "0");
            let dxf = dxf.env(variable, format!("{scheme}://{}", proxy.0));
            assert_eq!(dxf.args(LIST).ok().text(), "v1\n");
        }
    }
    let dxf = Dxf::new().plain("registry.test").env("DXF_RETRIES", "0");
    let dxf = dxf.env("ALL_PROXY", format!("socks5h://{}", proxy.0));
    assert_eq!(dxf.args(LIST).ok().text(), "v1\n");
    assert_eq!(names.load(Ordering::Relaxed), 1);
}

#[test]
fn a_proxy_that_is_none_is_named_by_its_variable() {
    for variable in ["HTTP_PROXY", "all_proxy", "DXF_PROXY"] {
        for url in ["ftp://u:hunter2@p:1", "http://", "socks9://u:hunter2@p"] {
            let dxf = Dxf::new().plain("registry.test").secret("hunter2");
            let bad = dxf.env(variable, url).args(LIST).fails(2);
            bad.says(&variable.to_ascii_uppercase()).says("socks5");
        }
    }
}

#[test]
fn a_registry_by_name_sends_nobody_to_this_machine() {
    let inner = Server::script([]);
    let to = |path: &str| format!("{}{path}", inner.origin());
    let server = Server::script([
        on(GET, "/v2/a/blobs/*")
            .reply(307)
            .header("Location", &to("/internal")),
        on(GET, "/v2/a/tags/list")
            .reply(302)
            .header("Location", &to("/internal")),
        on(HEAD, "/v2/a/blobs/*").reply(404),
        on(POST, "/v2/a/blobs/uploads/")
            .reply(202)
            .header("Location", &to("/up")),
        on(POST, "/v2/b/blobs/uploads/")
            .reply(307)
            .header("Location", &to("/up")),
        on(HEAD, "/v2/b/blobs/*").reply(404),
    ]);
    let proxy = Proxy::to(&server.host());
    let dxf = || {
        let dxf = Dxf::new().plain("registry.test").env("DXF_RETRIES", "0");
        dxf.env("HTTP_PROXY", format!("http://{}", proxy.host()))
    };
    let name = digest(b"abc");
    for words in [
        vec!["pull-blob", "a", &name],
        vec!["list-aliases", "a"],
        vec!["push-blob", "a", "-"],
        vec!["push-blob", "b", "-"],
    ] {
        let refused = dxf().args(words).stdin("abc").fails(1);
        refused.says("private address");
    }
    assert!(inner.seen().is_empty());
}

#[test]
fn an_upload_location_keeps_its_tls_at_another_port() {
    let store = Server::script_tls([on(PUT, "/up").reply(201)]);
    let registry = Server::script([
        on(HEAD, "/v2/a/blobs/*").reply(404),
        on(POST, "/v2/a/blobs/uploads/")
            .reply(202)
            .header("Location", &format!("{}/up", store.origin())),
    ]);
    let dxf = Dxf::new().secure("x").plain(&registry.host());
    let push = dxf.args(["push-blob", "a", "-"]).stdin("abc").ok();
    assert_eq!(push.text(), format!("{}\n", digest(b"abc")));
    assert_eq!(store.count(PUT, "/up"), 1);
}

#[test]
fn a_warning_is_passed_on_once() {
    let page = |next: usize| {
        move |_: &_| {
            let page = Response::new(200).header("Warning", "299 - \"mind the gap\"");
            let page = (0..20).fold(page, |page, n| {
                page.header("Warning", &format!("299 - \"{next} {n}\""))
            });
            let page = page.body(format!(r#"{{"tags":["v{next}"]}}"#));
            match next {
                5 => page,
                _ => page.header("Link", &format!("<?p={}>; rel=next", next + 1)),
            }
        }
    };
    let path = "/v2/a/tags/list";
    let mut rules: Vec<Rule> = (1..=5)
        .map(|n| on(GET, path).query("p", &n.to_string()).with(page(n)))
        .collect();
    rules.push(on(GET, path).with(page(0)));
    let server = Server::script(rules);
    let list = Dxf::new().plain(&server.host()).args(LIST).ok();
    assert_eq!(list.lines().len(), 6);
    assert_eq!(list.stderr.matches("mind the gap").count(), 1, "{list}");
    assert!(list.stderr.lines().count() <= 16, "{list}");
}
