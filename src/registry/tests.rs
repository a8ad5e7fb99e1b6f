//! What registries do to clients, played by a small server on this machine.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use super::*;
use crate::blob::Blob;
use crate::digest::Digest;
use crate::progress::Progress;
use crate::reference::Target;
use crate::store::{Put, ReadStore, Store};
use crate::stream::{Stop, Watch};

/// A request as the server saw it.
#[derive(Clone, Debug)]
struct Asked {
    method: String,
    target: String,
    head: String,
    body: Vec<u8>,
}

/// What the server does about it.
enum Answer {
    /// Status, headers, body.
    Say(u16, &'static [(&'static str, &'static str)], Vec<u8>),
    /// These bytes, and the connection is closed.
    Raw(Vec<u8>),
}

fn say(status: u16) -> Answer {
    Answer::Say(status, &[], Vec::new())
}

/// A registry that lives as long as the test.
struct Server {
    host: String,
    seen: Arc<Mutex<Vec<Asked>>>,
}

type Handler = dyn FnMut(&Asked) -> Answer + Send;

impl Server {
    fn start(handler: impl FnMut(&Asked) -> Answer + Send + 'static) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let host = listener.local_addr().unwrap().to_string();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let server = Server {
            host,
            seen: seen.clone(),
        };
        let handler: Arc<Mutex<Handler>> = Arc::new(Mutex::new(handler));
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (handler, seen) = (handler.clone(), seen.clone());
                thread::spawn(move || serve(stream.unwrap(), &handler, &seen));
            }
        });
        server
    }

    fn registry_with(&self, change: impl FnOnce(&mut Settings)) -> Registry {
        self.registry_as(change, Credentials::anonymous())
    }

    fn registry_as(
        &self,
        change: impl FnOnce(&mut Settings),
        credentials: Credentials,
    ) -> Registry {
        let mut settings = Settings {
            scheme: Scheme::Http,
            insecure_auth: InsecureAuth::Allow,
            ..Settings::default()
        };
        settings.http.retry_base = Duration::from_millis(1);
        change(&mut settings);
        Registry::connect(self.host.parse().unwrap(), settings, credentials).unwrap()
    }

    fn repository(&self) -> Repository {
        self.registry_with(|_| {}).repository("a".parse().unwrap())
    }

    fn count(&self, method: &str, part: &str) -> usize {
        let seen = self.seen.lock().unwrap();
        let is = |asked: &&Asked| asked.method == method && asked.target.contains(part);
        seen.iter().filter(is).count()
    }
}

fn serve(stream: TcpStream, handler: &Mutex<Handler>, seen: &Mutex<Vec<Asked>>) -> Option<()> {
    let mut from = BufReader::new(stream.try_clone().ok()?);
    let mut to = stream;
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if from.read_line(&mut head).ok()? == 0 {
                return None;
            }
        }
        let lower = head.to_ascii_lowercase();
        if lower.contains("expect: 100-continue") && lower.contains("old=proxy") {
            let refused = "HTTP/1.1 417 X\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
            to.write_all(refused.as_bytes()).ok()?;
            return None;
        }
        if lower.contains("expect: 100-continue") {
            to.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").ok()?;
        }
        let length = lower
            .lines()
            .find_map(|line| line.strip_prefix("content-length: ")?.parse().ok())
            .unwrap_or(0);
        let mut body = vec![0; length];
        from.read_exact(&mut body).ok()?;
        let mut words = head.split(' ');
        let asked = Asked {
            method: words.next()?.to_string(),
            target: words.next()?.to_string(),
            head: head.clone(),
            body,
        };
        seen.lock().unwrap().push(asked.clone());
        let answer = handler.lock().unwrap()(&asked);
        match answer {
            Answer::Raw(bytes) => {
                to.write_all(&bytes).ok()?;
                return None;
            }
            Answer::Say(status, headers, body) => {
                let mut text = format!("HTTP/1.1 {status} X\r\n");
                if asked.method != "HEAD" {
                    text.push_str(&format!("Content-Length: {}\r\n", body.len()));
                }
                for (name, value) in headers {
                    text.push_str(&format!("{name}: {value}\r\n"));
                }
                text.push_str("\r\n");
                to.write_all(text.as_bytes()).ok()?;
                to.write_all(&body).ok()?;
            }
        }
    }
}

/// Adds up the progress, and starts again on a second start.
#[derive(Default)]
struct Sum(Mutex<u64>);

impl Progress for Sum {
    fn start(&self, _: &Digest, _: Option<u64>) {
        *self.0.lock().unwrap() = 0;
    }
    fn advance(&self, _: &Digest, bytes: u64) {
        *self.0.lock().unwrap() += bytes;
    }
    fn finish(&self, _: &Digest) {}
}

fn put(repository: &Repository, blob: &Blob) -> Result<Put> {
    repository.put_blob(blob, Watch::new(&(), &Stop::new()))
}

const SESSION: &[(&str, &str)] = &[("Location", "/v2/a/blobs/uploads/1")];

#[test]
fn chunks_that_arrive_but_never_commit_come_to_an_end() {
    let server = Server::start(|asked| match asked.method.as_str() {
        "HEAD" => say(404),
        "POST" | "PATCH" => Answer::Say(202, SESSION, Vec::new()),
        "PUT" => say(500),
        _ => say(204),
    });
    let registry = server.registry_with(|s| {
        s.upload = UploadMode::Chunked(10);
        s.http.retries = 2;
    });
    let blob = Blob::bytes("x/y", vec![7; 25]);
    let failed = put(&registry.repository("a".parse().unwrap()), &blob);
    assert!(
        matches!(failed, Err(Error::Status { status: 500, .. })),
        "{failed:?}"
    );
    // One try and two more; each chunk counts as progress the first time only.
    assert_eq!(server.count("PUT", "digest="), 3);
}

#[test]
fn a_session_that_forgets_is_not_filled_for_ever() {
    // Takes a first chunk, refuses the second, and holds nothing.
    let server = Server::start(|asked| match asked.method.as_str() {
        "HEAD" => say(404),
        "POST" => Answer::Say(202, SESSION, Vec::new()),
        "PATCH" if asked.head.contains("ontent-range: 0-") => Answer::Say(202, SESSION, Vec::new()),
        "PATCH" => say(416),
        "GET" => Answer::Say(204, &[("Range", "0-0")], Vec::new()),
        "PUT" if asked.body.len() == 25 => say(201),
        _ => say(400),
    });
    let registry = server.registry_with(|s| s.upload = UploadMode::Chunked(10));
    let blob = Blob::bytes("x/y", vec![7; 25]);
    let done = put(&registry.repository("a".parse().unwrap()), &blob);
    // In the end it is sent whole.
    assert_eq!(done.unwrap(), Put::Uploaded);
    assert!(server.count("PATCH", "") < 12);
}

#[test]
fn a_session_that_vanished_is_replaced() {
    for mode in [UploadMode::Auto, UploadMode::Chunked(10)] {
        // Docker Hub forgets a session now and then and says 404.
        let (mut refused, mut closed) = (false, false);
        let server = Server::start(move |asked| match asked.method.as_str() {
            "POST" => Answer::Say(202, SESSION, Vec::new()),
            "PUT" | "PATCH" if !refused => {
                refused = true;
                say(404)
            }
            "PUT" => {
                closed = true;
                say(201)
            }
            "PATCH" => say(202),
            "HEAD" if closed => Answer::Say(200, &[("Content-Length", "25")], Vec::new()),
            _ => say(404),
        });
        let registry = server.registry_with(|s| s.upload = mode);
        let blob = Blob::bytes("x/y", vec![7; 25]);
        let done = put(&registry.repository("a".parse().unwrap()), &blob);
        assert_eq!(done.unwrap(), Put::Uploaded);
        assert_eq!(server.count("POST", "uploads"), 2);
    }
}

#[test]
fn who_may_not_look_may_still_push() {
    let server = Server::start(|asked| match asked.method.as_str() {
        "POST" => Answer::Say(202, SESSION, Vec::new()),
        "PUT" => say(201),
        _ => say(403),
    });
    let done = put(&server.repository(), &Blob::bytes("x/y", vec![7; 25]));
    assert_eq!(done.unwrap(), Put::Uploaded);
}

#[test]
fn a_registry_may_name_a_blob_by_its_own_kind_of_digest() {
    let other: &'static str = Box::leak(Digest::of(b"abc").to_string().into_boxed_str());
    let headers: &'static [(&str, &str)] = Box::leak(Box::new([("Docker-Content-Digest", other)]));
    let server = Server::start(move |asked| match asked.method.as_str() {
        "POST" => Answer::Say(202, SESSION, Vec::new()),
        "PUT" => Answer::Say(201, headers, Vec::new()),
        _ => say(404),
    });
    let sha512 = concat!(
        "sha512:ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a",
        "2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f"
    );
    let descriptor =
        crate::descriptor::Descriptor::new("x/y", sha512.parse::<Digest>().unwrap(), 3);
    let blob = Blob::new(descriptor, crate::blob::Bytes(b"abc".to_vec()));
    assert_eq!(put(&server.repository(), &blob).unwrap(), Put::Uploaded);
    let wrong = Blob::bytes("x/y", b"abd".to_vec());
    assert!(matches!(
        put(&server.repository(), &wrong),
        Err(Error::Mismatch { .. })
    ));
}

#[test]
fn mounting_is_tried_again_like_everything_else() {
    let mut failures = 2;
    let server = Server::start(move |asked| match asked.method.as_str() {
        "POST" if failures > 0 => {
            failures -= 1;
            say(503)
        }
        "POST" => say(201),
        _ => say(404),
    });
    let done = server.repository().mount_blob(
        &Digest::of(b"x"),
        &"b".parse().unwrap(),
        Watch::new(&(), &Stop::new()),
    );
    assert_eq!(done.unwrap(), Put::Mounted);
}

#[test]
fn bytes_that_are_sent_twice_count_once() {
    let mut asked_for_token = false;
    let server = Server::start(move |asked| match asked.method.as_str() {
        "HEAD" => say(404),
        "POST" => Answer::Say(202, SESSION, Vec::new()),
        "PUT" if !asked_for_token => {
            asked_for_token = true;
            Answer::Say(
                307,
                &[("Location", "/v2/a/blobs/uploads/2?digest=x")],
                Vec::new(),
            )
        }
        "PUT" => say(201),
        _ => say(404),
    });
    let (sum, stop) = (Sum::default(), Stop::new());
    let blob = Blob::bytes("x/y", vec![7; 25]);
    server
        .repository()
        .put_blob(&blob, Watch::new(&sum, &stop))
        .unwrap();
    assert_eq!(*sum.0.lock().unwrap(), 25);
}

#[test]
fn a_manifest_or_list_that_breaks_off_is_asked_for_again() {
    let manifest = br#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"a/b","digest":"sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad","size":3},"layers":[]}"#;
    let mut cut = 0;
    let server = Server::start(move |asked| {
        cut += 1;
        match () {
            () if cut % 2 == 1 => {
                Answer::Raw(b"HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n{\"sch".to_vec())
            }
            () if asked.target.contains("manifests") => Answer::Say(200, &[], manifest.to_vec()),
            () => Answer::Say(200, &[], br#"{"tags":["x"]}"#.to_vec()),
        }
    });
    let repository = server.repository();
    let tag = Target::Tag("x".parse().unwrap());
    assert_eq!(repository.manifest(&tag).unwrap().bytes(), manifest);
    let tags: Result<Vec<String>> = repository.tag_names().collect();
    assert_eq!(tags.unwrap(), ["x"]);
}

#[test]
fn a_list_ends_with_an_error_but_not_with_an_odd_name() {
    let server = Server::start(|_| {
        let link = &[("Link", "<https://u:p@h/x>; rel=next")];
        Answer::Say(200, link, br#"{"tags":["x"]}"#.to_vec())
    });
    let tags: Vec<Result<String>> = server.repository().tag_names().collect();
    assert!(
        matches!(tags.as_slice(), [Ok(_), Err(Error::Malformed { .. })]),
        "{tags:?}"
    );
    let server = Server::start(|_| Answer::Say(200, &[], br#"{"tags":["x","/","y"]}"#.to_vec()));
    let tags: Vec<Result<String>> = server.repository().tag_names().collect();
    assert!(
        matches!(
            tags.as_slice(),
            [Ok(_), Err(Error::Malformed { .. }), Ok(_)]
        ),
        "{tags:?}"
    );
}

#[test]
fn empty_bodies_say_so() {
    // Google answers 411 to a POST without a length (rust-oci-client#176).
    let server = Server::start(|asked| match asked.method.as_str() {
        "POST" | "PATCH" => Answer::Say(202, SESSION, Vec::new()),
        "PUT" => say(201),
        _ => say(404),
    });
    put(&server.repository(), &Blob::bytes("x/y", Vec::new())).unwrap();
    let registry = server.registry_with(|s| s.upload = UploadMode::Chunked(10));
    let _ = put(
        &registry.repository("a".parse().unwrap()),
        &Blob::bytes("x/y", vec![7; 25]),
    );
    let seen = server.seen.lock().unwrap();
    assert!(seen.len() > 6);
    for asked in seen.iter().filter(|a| a.method != "HEAD") {
        let (head, length) = (asked.head.to_ascii_lowercase(), asked.body.len());
        assert!(!head.contains("transfer-encoding"), "{head}");
        let may_be_silent = matches!(asked.method.as_str(), "GET" | "DELETE");
        assert!(
            may_be_silent || head.contains(&format!("content-length: {length}\r\n")),
            "{head}"
        );
    }
}

/// Answers 401 with a realm on the same server to whatever has no token `t`.
fn with_tokens(mut token: impl FnMut() -> Answer + Send + 'static) -> Server {
    Server::start(move |asked| {
        if asked.target.starts_with("/token") {
            return token();
        }
        if asked.head.contains("Bearer t\r\n") {
            return Answer::Say(200, &[], br#"{"tags":["x"]}"#.to_vec());
        }
        let challenge = &[("WWW-Authenticate", "Bearer realm=/token")];
        Answer::Say(401, challenge, Vec::new())
    })
}

fn tags(registry: &Registry, repo: &str) -> Result<Vec<String>> {
    registry
        .repository(repo.parse().unwrap())
        .tag_names()
        .collect()
}

#[test]
fn a_token_server_that_is_down_is_not_asked_once_more_for_every_try() {
    let server = with_tokens(|| say(503));
    let registry = server.registry_with(|s| s.http.retries = 2);
    assert_eq!(tags(&registry, "a").unwrap_err().status(), Some(503));
    assert_eq!(server.count("GET", "/token"), 3);
    assert!(registry.authenticate(None, &[]).is_err());
    assert_eq!(server.count("GET", "/token"), 6);
}

#[test]
fn tokens_are_read_as_servers_write_them() {
    for answer in [
        r#"{"token":"t"}"#,
        r#"{"access_token":"t","token":"other","expires_in":300}"#,
        r#"{"access_token":"","token":"t","expires_in":"300"}"#,
        r#"{"access_token":null,"token":"t","expires_in":null}"#,
    ] {
        let server = with_tokens(|| Answer::Say(200, &[], answer.as_bytes().to_vec()));
        assert_eq!(tags(&server.registry_with(|_| {}), "a").unwrap(), ["x"]);
    }
}

#[test]
fn a_token_that_was_given_is_not_swapped_for_an_anonymous_one() {
    let server = with_tokens(|| Answer::Say(200, &[], br#"{"token":"t"}"#.to_vec()));
    let given = |login| Credentials {
        token: Some("stale".into()),
        ..login
    };
    let registry = server.registry_as(|_| {}, given(Credentials::anonymous()));
    for repo in ["a", "b", "a"] {
        assert!(tags(&registry, repo).unwrap_err().is_unauthorized());
    }
    assert_eq!(server.count("GET", "/token"), 0);
    let registry = server.registry_as(|_| {}, given(Credentials::password("u", "p")));
    assert_eq!(tags(&registry, "a").unwrap(), ["x"]);
}

#[test]
fn a_proxy_that_knows_no_expectations_gets_none() {
    let server = Server::start(|asked| match asked.method.as_str() {
        "POST" => Answer::Say(
            202,
            &[("Location", "/v2/a/blobs/uploads/1?old=proxy")],
            Vec::new(),
        ),
        "PUT" if asked.body.len() == 2 << 20 => say(201),
        _ => say(404),
    });
    let done = put(&server.repository(), &Blob::bytes("x/y", vec![7; 2 << 20]));
    assert_eq!(done.unwrap(), Put::Uploaded);
    assert_eq!(server.count("POST", "uploads"), 1);
}
