//! No server decides how much of this machine's memory, time or terminal it
//! gets.

use std::time::Duration;

use crate::support::data::{blob, digest};
use crate::support::dxf::Dxf;
use crate::support::registry::{PASSWORD, USER};
use crate::support::rules::{ANY, GET, HEAD, POST, Response, Rule, on};
use crate::support::server::Server;

const MANIFEST: &str = "/v2/a/manifests/x";
const IMAGE: &str = "application/vnd.oci.image.manifest.v1+json";

fn dxf(server: &Server) -> Dxf {
    Dxf::new().plain(&server.host()).env("DXF_RETRIES", "0")
}

/// Far less than was on offer: what lay in the sockets' buffers was sent.
fn assert_left_unread(server: &Server, path: &str) {
    let sent: u64 = server.seen_at(ANY, path).iter().map(|one| one.sent).sum();
    assert!(sent < 20 << 20, "{sent} bytes were sent");
}

#[test]
fn manifests_have_a_largest_size() {
    let limit = 4 << 20;
    let manifest = |size: usize| {
        let head = br#"{"schemaVersion":2,"layers":[],"config":{"digest":"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855","size":0,"mediaType":"x"},"annotations":{"a":""#;
        let mut bytes = head.to_vec();
        bytes.resize(size - 3, b'x');
        bytes.extend(b"\"}}");
        bytes
    };
    let whole = |bytes: Vec<u8>| {
        on(GET, MANIFEST)
            .reply(200)
            .header("Content-Type", IMAGE)
            .body(bytes)
    };
    let fits = Server::script([whole(manifest(limit))]);
    let got = dxf(&fits).args(["get-manifest", "a", "x"]).ok();
    assert_eq!(got.stdout.len(), limit);
    for chunked in [false, true] {
        let rule = whole(manifest(limit + 1));
        let rule = match chunked {
            true => rule.header("Transfer-Encoding", "chunked"),
            false => rule,
        };
        let server = Server::script([rule]);
        let got = dxf(&server).args(["get-manifest", "a", "x"]).fails(65);
        got.says("larger than 4194304 bytes");
    }
    let endless = Server::script([on(GET, MANIFEST).with(|_| {
        Response::new(200)
            .header("Transfer-Encoding", "chunked")
            .body(vec![b' '; 100 << 20])
    })]);
    dxf(&endless).args(["get-manifest", "a", "x"]).fails(65);
    assert_left_unread(&endless, MANIFEST);
    // Announced, but not even begun to be read.
    let announced = Server::script([whole(b"{".to_vec()).wrong_length(5 << 30).stall_after(1)]);
    let got = dxf(&announced).args(["get-manifest", "a", "x"]).fails(65);
    assert!(got.took < Duration::from_secs(5), "{got}");
}

#[test]
fn token_answers_have_a_largest_size() {
    for chunked in [false, true] {
        let token = "x".repeat(1 << 20);
        let answer = on(GET, "/token").with(move |_| {
            let answer = Response::new(200).body(format!("{{\"token\":\"{token}\"}}"));
            match chunked {
                true => answer.header("Transfer-Encoding", "chunked"),
                false => answer,
            }
        });
        let realm = Server::script_tls([answer]);
        let challenge = format!("Bearer realm=\"{}/token\"", realm.origin());
        let registry = Server::script_tls([on(ANY, "/v2/*")
            .reply(401)
            .header("WWW-Authenticate", &challenge)]);
        let dxf = Dxf::new().secure(&registry.host()).login(USER, PASSWORD);
        let list = dxf.args(["list-aliases", "a"]).fails(65);
        list.says("larger than 131072 bytes");
    }
}

#[test]
fn lists_have_a_largest_page_and_an_end() {
    let huge = |chunked: bool| {
        on(GET, "/v2/a/tags/list").with(move |_| {
            let page = format!(r#"{{"tags":["{}"]}}"#, "x".repeat(100 << 20));
            let answer = Response::new(200).body(page);
            match chunked {
                true => answer.header("Transfer-Encoding", "chunked"),
                false => answer,
            }
        })
    };
    for chunked in [false, true] {
        let server = Server::script([huge(chunked)]);
        let list = dxf(&server).args(["list-aliases", "a"]).fails(65);
        list.says("larger than");
        assert!(server.sent() < 60 << 20, "{}", server.sent());
    }
    let round = Server::script([on(GET, "/v2/a/tags/list")
        .reply(200)
        .header("Link", "</v2/a/tags/list?last=x>; rel=\"next\"")
        .body(r#"{"tags":["x"]}"#)]);
    let list = dxf(&round).args(["list-aliases", "a"]).fails(65);
    assert!(list.text().starts_with("x\n"));
    list.says("its pages repeat");
    assert!(round.seen().len() <= 3);
}

#[test]
fn a_page_of_short_names_takes_little_memory() {
    let names = 999_999;
    let server = Server::script([on(GET, "/v2/a/tags/list").with(move |_| {
        let list = "\"x\",".repeat(names);
        Response::new(200).body(format!("{{\"tags\":[{}\"x\"]}}", list))
    })]);
    let mut running = dxf(&server).args(["list-aliases", "a"]).spawn();
    let peak = running.peak();
    let list = running.finish();
    assert_eq!((list.code, list.stdout.len()), (Some(0), 2 * (names + 1)));
    assert!(peak < 80 << 10, "{peak} KiB of memory");
}

/// Commands that sort or choose have all names in memory.
#[test]
fn lists_have_a_largest_number_of_names_and_bytes() {
    let endless = |member: &'static str, name: &'static str, count: usize| {
        let asked = std::sync::atomic::AtomicUsize::new(0);
        on(GET, "/v2/*").with(move |request| {
            if !request.path.contains(member) {
                return Response::new(200).body("{}");
            }
            let page = asked.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            let names = format!("\"{name}\",").repeat(count);
            let list = match member {
                "tags" => format!("{{\"tags\":[{names}\"x\"]}}"),
                _ => format!("{{\"repositories\":[{names}\"x\"]}}"),
            };
            let path = request.path.split('?').next().unwrap_or_default();
            let next = format!("<{path}?n={page}>; rel=\"next\"");
            Response::new(200).header("Link", &next).body(list)
        })
    };
    let long: &'static str = Box::leak("n".repeat(100).into_boxed_str());
    for (words, member) in [
        (&["list-aliases", "a"][..], "tags"),
        (&["prune-aliases", "a", "--keep-last", "1"], "tags"),
        (&["list-repos"], "_catalog"),
    ] {
        for (name, count) in [("x", 300_000), (long, 20_000)] {
            let server = Server::script([endless(member, name, count)]);
            let mut running = dxf(&server).args(words).spawn();
            let peak = running.peak();
            let output = running.finish();
            assert_eq!(output.code, Some(65), "{output}");
            let output = output.says("it has more than 1000000 entries, or 32 MiB");
            assert!(peak < 128 << 10, "{peak} KiB of memory: {output}");
        }
    }
}

#[test]
fn the_body_of_an_error_is_not_read_to_its_end() {
    let page = |status: u16, kind: &'static str| {
        on(ANY, "/v2/*").with(move |request| {
            if request.method == "HEAD" {
                return Response::new(status);
            }
            Response::new(status)
                .header("Content-Type", kind)
                .body(vec![b'x'; 100 << 20])
        })
    };
    for (status, kind, code) in [
        (400, "text/html", 1),
        (403, "application/json", 1),
        (404, "text/plain", 2),
        (503, "application/json", 69),
        (429, "text/html", 75),
    ] {
        let server = Server::script([page(status, kind)]);
        let list = dxf(&server).args(["list-aliases", "a"]).fails(code);
        assert!(list.stderr.len() < 1000, "{list}");
        let push = dxf(&server).stdin("x").args(["push-blob", "a", "-"]);
        push.fails(code);
        assert_left_unread(&server, "*");
    }
    // Neither is that of a refusal that is answered, nor of a redirect.
    let server = Server::script([
        on(GET, "/v2/a/blobs/*").with(|_| {
            Response::new(307)
                .header("Location", "/there")
                .body(vec![b'x'; 100 << 20])
        }),
        on(GET, "/there").serve(*b"abc"),
    ]);
    let pull = dxf(&server).args(["pull-blob", "a", &digest(b"abc")]);
    assert_eq!(pull.ok().stdout, b"abc");
    assert_left_unread(&server, "/v2/*");
}

#[test]
fn heads_have_a_largest_size() {
    let flood = |count: usize, size: usize| -> Rule {
        let mut rule = on(GET, "/v2/a/tags/list").reply(200);
        for i in 0..count {
            rule = rule.header(&format!("X-{i}"), &"y".repeat(size));
        }
        rule.body(r#"{"tags":[]}"#)
    };
    for (count, size) in [(5000, 100), (1, 1 << 20), (100_000, 0)] {
        let server = Server::script([flood(count, size)]);
        let list = dxf(&server).args(["list-aliases", "a"]).fails(69);
        assert!(list.took < Duration::from_secs(10), "{list}");
    }
    let server = Server::script([flood(50, 100)]);
    dxf(&server).args(["list-aliases", "a"]).ok();
}

#[test]
fn json_has_a_largest_depth() {
    let deep = |lead: &str| {
        let depth = 200_000;
        format!("{lead}{}{}}}", "[".repeat(depth), "]".repeat(depth))
    };
    let server = Server::script([
        on(GET, MANIFEST)
            .reply(200)
            .header("Content-Type", IMAGE)
            .body(deep(r#"{"schemaVersion":2,"layers":"#)),
        on(GET, "/v2/b/tags/list")
            .reply(200)
            .body(deep(r#"{"tags":"#)),
        on(GET, "/v2/c/tags/list")
            .reply(403)
            .body(deep(r#"{"errors":"#)),
    ]);
    dxf(&server).args(["get-alias", "a", "x"]).fails(65);
    dxf(&server).args(["list-aliases", "b"]).fails(65);
    dxf(&server).args(["list-aliases", "c"]).fails(1);
    let stdin = dxf(&server).stdin(deep(r#"{"layers":"#));
    stdin.args(["get-alias", "a"]).fails(65);
}

#[test]
fn sizes_that_are_only_claimed_cost_nothing() {
    let digest = digest(b"abc");
    let huge = u64::MAX;
    let manifest = format!(
        r#"{{"schemaVersion":2,"mediaType":"{IMAGE}","config":{{"mediaType":"x","digest":"{digest}","size":{huge}}},"layers":[{{"mediaType":"x","digest":"{digest}","size":{huge}}},{{"mediaType":"x","digest":"{digest}","size":{huge}}}]}}"#
    );
    let server = Server::script([
        on(GET, MANIFEST)
            .reply(200)
            .header("Content-Type", IMAGE)
            .body(manifest),
        on(ANY, "/v2/a/blobs/*").serve(*b"abc"),
    ]);
    let pull = dxf(&server).args(["pull-blob", "a", "@x"]).fails(65);
    assert!(pull.took < Duration::from_secs(5));
    dxf(&server).args(["blob-size", "a", "@x"]).fails(65);
    // A blob that is longer than its manifest says is not read on for ever.
    let name = crate::support::data::digest(&blob(1, 1000));
    let manifest = format!(
        r#"{{"schemaVersion":2,"mediaType":"{IMAGE}","config":{{"mediaType":"x","digest":"{name}","size":1000}},"layers":[{{"mediaType":"x","digest":"{name}","size":1000}}]}}"#
    );
    let long = Server::script([
        on(GET, MANIFEST)
            .reply(200)
            .header("Content-Type", IMAGE)
            .body(manifest),
        on(GET, "*").with(|_| {
            Response::new(200)
                .header("Transfer-Encoding", "chunked")
                .body(vec![7; 100 << 20])
        }),
    ]);
    dxf(&long).args(["pull-blob", "a", "@x"]).fails(65);
    assert_left_unread(&long, "*");
}

/// What no terminal may see, and what must be left of it.
const EVIL: &str =
    "\u{1b}[2J\u{1b}]0;owned\u{7}\u{9b}31m\u{202e}good\r\nfake: line\u{2028}\u{0}\u{7f}";

fn assert_harmless(text: &str) {
    let wild = text
        .chars()
        .any(|c| (c.is_control() && c != '\n') || ('\u{202a}'..='\u{202e}').contains(&c));
    assert!(!wild, "{text:?}");
    assert!(
        !text.contains('\u{2028}') && !text.contains("\nfake"),
        "{text:?}"
    );
}

#[test]
fn a_server_cannot_write_on_the_terminal() {
    let message = serde_json::json!({"errors": [{
        "code": EVIL, "message": EVIL, "detail": EVIL,
    }]});
    let server = Server::script([
        on(GET, "/v2/a/tags/list")
            .reply(403)
            .body(message.to_string()),
        on(GET, "/v2/b/tags/list").reply(403).body(EVIL),
        on(GET, "/v2/c/tags/list")
            .reply(403)
            .header("Content-Type", "text/html")
            .body(format!("<title>{EVIL}</title>")),
        on(GET, "/v2/d/tags/list")
            .reply(200)
            .body(serde_json::json!({"tags": ["fine", EVIL]}).to_string()),
        on(GET, "/v2/_catalog")
            .reply(200)
            .body(serde_json::json!({"repositories": ["fine", EVIL]}).to_string()),
        on(GET, MANIFEST)
            .reply(200)
            .header("Content-Type", IMAGE)
            .body(serde_json::json!({"schemaVersion": 2, "layers": EVIL}).to_string()),
        on(GET, "/v2/e/manifests/x").reply(200).body(
            serde_json::json!({"manifests": [{"mediaType": EVIL, "digest": EVIL, "size": 1,
                "platform": {"os": EVIL, "architecture": EVIL}}]})
            .to_string(),
        ),
        on(GET, "/v2/f/tags/list")
            .reply(307)
            .header("Location", "http://h\u{9b}31m/\u{202e}x"),
        on(GET, "/v2/g/tags/list")
            .reply(200)
            .header("Warning", "299 - \"take \u{9b}31m \u{202e}care\"")
            .body(r#"{"tags":["x"]}"#),
        on(POST, "*")
            .reply(202)
            .header("Location", "http://h\u{9b}/"),
        on(HEAD, "*").reply(404),
    ]);
    for (words, code) in [
        (&["list-aliases", "a"][..], 1),
        (&["list-aliases", "b"], 1),
        (&["list-aliases", "c"], 1),
        (&["list-aliases", "d"], 65),
        (&["list-repos"], 65),
        (&["get-alias", "a", "x"], 65),
        (&["get-alias", "e", "x"], 65),
        (&["list-aliases", "f"], 1),
        (&["push-blob", "a", "-"], 65),
    ] {
        for log in ["", "http"] {
            let run = dxf(&server).env("DXF_LOG", log).args(words).run();
            assert_harmless(&run.stderr);
            assert_harmless(run.text());
            assert_eq!(run.code, Some(code), "{run}");
            if log.is_empty() {
                assert_eq!(run.stderr.lines().count(), 1, "{run}");
            }
        }
    }
    let warned = dxf(&server).args(["list-aliases", "g"]).ok();
    assert_harmless(&warned.stderr);
    assert_eq!(warned.text(), "x\n");
}

#[test]
fn a_status_line_cannot_write_on_the_terminal() {
    use std::io::{Read, Write};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let host = listener.local_addr().expect("an address").to_string();
    let serving = std::thread::spawn(move || {
        let (mut socket, _) = listener.accept().expect("a client");
        let _ = socket.read(&mut [0; 1000]);
        let answer = b"HTTP/1.1 403 \x1b[2J\x9b31mowned\r\nX: \x1b[2J\r\nContent-Length: 0\r\n\r\n";
        let _ = socket.write_all(answer);
    });
    let dxf = Dxf::new().plain(&host).env("DXF_RETRIES", "0");
    let list = dxf.env("DXF_LOG", "http").args(["list-aliases", "a"]).run();
    assert!(matches!(list.code, Some(1 | 69)), "{list}");
    assert_harmless(&list.stderr);
    serving.join().expect("the server");
}
