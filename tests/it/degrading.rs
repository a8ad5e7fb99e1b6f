//! What registries leave out, refuse or get wrong, and what is done instead.

use std::time::Duration;

use crate::support::data::{blob, digest};
use crate::support::dxf::Dxf;
use crate::support::memory::{Memory, complaint};
use crate::support::registry::Registry;
use crate::support::rules::{ANY, DELETE, GET, HEAD, POST, PUT, Response, Rule, on};
use crate::support::server::Server;
use crate::support::{file, scratch};

const TAGS: &str = "/v2/a/tags/list";
const UPLOADS: &str = "/v2/a/blobs/uploads/";

fn dxf(server: &Server) -> Dxf {
    let dxf = Dxf::new().plain(&server.host());
    dxf.limit(Duration::from_secs(20))
}

fn script(rules: impl IntoIterator<Item = Rule>, memory: &Memory) -> Server {
    Server::script(rules.into_iter().chain(memory.rules()))
}

/// The manifest an alias of `digests` has, as the command itself makes it.
fn manifest(digest: &str, size: usize) -> Vec<u8> {
    let memory = Memory::new();
    let server = script(
        [
            on(HEAD, "/v2/*")
                .reply(200)
                .header("Content-Length", &size.to_string()),
            on(PUT, "/v2/a/manifests/x").reply(201),
        ],
        &memory,
    );
    dxf(&server)
        .args(["set-alias", "a", "x", digest])
        .ok()
        .stdout
}

mod mounting {
    use super::*;

    fn mount(server: &Server, name: &str) -> Dxf {
        dxf(server).args(["mount-blob", "a", "from", name])
    }

    #[test]
    fn a_mount_that_is_granted_moves_no_bytes() {
        let registry = Registry::http();
        let server = Server::before(&registry, []);
        let name = registry.raw().push_blob("from", &blob(1, 1000));
        assert_eq!(mount(&server, &name).ok().text(), name.clone() + "\n");
        assert_eq!((server.seen().len(), server.taken()), (1, 0));
        assert!(registry.raw().has_blob("a", &name));
    }

    #[test]
    fn a_mount_refused_in_any_way_becomes_a_copy() {
        let registry = Registry::http();
        for (seed, status) in [400, 401, 403, 404, 405, 500, 503].into_iter().enumerate() {
            let bytes = blob(seed as u64, 300_000);
            let name = registry.raw().push_blob("from", &bytes);
            let refused = on(POST, UPLOADS)
                .query("mount", &name)
                .times(1)
                .reply(status);
            let server = Server::before(&registry, [refused]);
            assert_eq!(
                mount(&server, &name).ok().text(),
                name.clone() + "\n",
                "{status}"
            );
            assert!(registry.raw().blob("a", &name).expect(200).body == bytes);
            assert_eq!(registry.open_uploads("a"), 0);
        }
    }

    #[test]
    fn a_mount_answered_with_a_session_goes_on_in_it() {
        let memory = Memory::new();
        let bytes = blob(2, 1000);
        let name = memory.put(&bytes);
        let server = script([], &memory);
        mount(&server, &name).ok();
        assert_eq!((memory.begun(), memory.open()), (1, 0));
        assert_eq!(server.count(PUT, "/v2/a/blobs/uploads/session-1"), 1);
    }

    #[test]
    fn a_copy_that_breaks_off_is_begun_again() {
        for fault in [503, 404] {
            let memory = Memory::new();
            let name = memory.put(&blob(3, 1000));
            let broken = on(PUT, "/v2/a/blobs/uploads/*").times(1).reply(fault);
            let server = script([broken.header("Retry-After", "0")], &memory);
            mount(&server, &name).ok();
            assert_eq!(memory.open(), 0, "{fault}");
        }
    }

    #[test]
    fn a_session_that_cannot_be_opened_is_tried_again() {
        let memory = Memory::new();
        let name = memory.put(&blob(4, 1000));
        let busy = on(POST, UPLOADS)
            .times(3)
            .reply(503)
            .header("Retry-After", "0");
        let server = script([busy], &memory);
        mount(&server, &name).ok();
        assert_eq!(memory.open(), 0);
    }

    #[test]
    fn a_blob_the_source_lacks_fails_and_leaves_no_session() {
        let memory = Memory::new();
        let server = script([], &memory);
        mount(&server, &digest(b"?")).fails(1).says("mount failed");
        assert_eq!((memory.open(), memory.cancelled()), (0, 1));
    }

    #[test]
    fn a_source_that_fails_is_not_asked_retries_times_retries_often() {
        let memory = Memory::new();
        let name = memory.put(&blob(5, 1000));
        let source = format!("/v2/from/blobs/{name}");
        let busy = on(GET, &source).reply(503).header("Retry-After", "0");
        let server = script([busy], &memory);
        mount(&server, &name).env("DXF_RETRIES", "2").fails(69);
        assert_eq!(server.count(GET, &source), 3);
        assert_eq!(memory.open(), 0);
    }
}

#[test]
fn without_a_digest_header_the_bytes_tell() {
    let name = digest(b"abc");
    let manifest = manifest(&name, 3);
    let sum = digest(&manifest);
    let kind = "application/vnd.docker.distribution.manifest.v2+json";
    let served = || {
        on(GET, "/v2/a/manifests/x")
            .reply(200)
            .header("Content-Type", kind)
    };
    let server = Server::script([
        on(HEAD, "/v2/a/manifests/x")
            .reply(200)
            .header("Content-Type", kind),
        served().body(manifest.clone()),
    ]);
    let asked = || dxf(&server).args(["get-digest", "--manifest", "a", "x"]);
    assert_eq!(asked().ok().text(), sum.clone() + "\n");
    assert!(dxf(&server).args(["get-manifest", "a", "x"]).ok().stdout == manifest);
    // A header that says otherwise is an error, and so is another manifest
    // than the one asked for by digest.
    let other = digest(b"other");
    let server = Server::script([served()
        .body(manifest.clone())
        .header("Docker-Content-Digest", &other)]);
    dxf(&server).args(["get-manifest", "a", "x"]).fails(65);
    let path = format!("/v2/a/manifests/{other}");
    let head = on(HEAD, &path).reply(200).header("Content-Type", kind);
    let head = head.body(manifest.clone());
    let server = Server::script([
        head.header("Docker-Content-Digest", &sum),
        on(GET, &path).reply(404),
    ]);
    let by_digest = ["get-digest", "--manifest", "a", &other];
    dxf(&server).args(by_digest).fails(2);
    let lies = on(GET, &path).reply(200).header("Content-Type", kind);
    let server = Server::script([lies.body(manifest).header("Docker-Content-Digest", &other)]);
    dxf(&server)
        .args(["get-manifest", "a", &other])
        .fails(65)
        .says("digest mismatch");
}

#[test]
fn without_head_the_size_is_asked_for_by_range() {
    let bytes = blob(6, 5000);
    let name = digest(&bytes);
    let path = format!("/v2/a/blobs/{name}");
    for status in [403, 405, 501] {
        let server = Server::script([
            on(HEAD, &path).reply(status),
            on(GET, &path).serve(&bytes[..]),
        ]);
        let size = dxf(&server).args(["blob-size", "a", &name]).ok();
        assert_eq!(size.text(), "5000\n", "{status}");
        assert!(server.sent() <= 1, "{status}");
    }
    // A HEAD without a length is no size of zero.
    let server = Server::script([
        on(HEAD, &path)
            .reply(200)
            .header("Transfer-Encoding", "chunked"),
        on(GET, &path).serve(&bytes[..]),
    ]);
    assert_eq!(
        dxf(&server).args(["blob-size", "a", &name]).ok().text(),
        "5000\n"
    );
    let server = Server::script([on(HEAD, &path).reply(405), on(GET, &path).reply(404)]);
    dxf(&server)
        .args(["blob-size", "a", &name])
        .fails(2)
        .says("Not Found");
}

#[test]
fn a_registry_without_a_catalog_says_so_in_its_own_way() {
    for (status, code) in [(401, 13), (403, 1), (404, 2), (405, 1)] {
        let server = Server::script([on(GET, "/v2/_catalog").times(1).reply(status)]);
        let failed = dxf(&server).args(["list-repos"]).fails(code);
        assert!(
            failed.stderr.contains(&status.to_string()),
            "{}",
            failed.stderr
        );
        if status != 401 {
            assert!(
                failed.stderr.contains("administrators"),
                "{}",
                failed.stderr
            );
        }
    }
}

#[test]
fn disabled_deletes_say_what_to_do() {
    let registry = Registry::builder().no_delete().start();
    let server = Server::before(&registry, []);
    let name = registry.raw().push_blob("a", b"abc");
    dxf(&server).args(["set-alias", "a", "x", &name]).ok();
    let hint = "storage.delete.enabled";
    dxf(&server)
        .args(["del-alias", "a", "x"])
        .fails(1)
        .says(hint);
    dxf(&server)
        .args(["del-blob", "a", &name])
        .fails(1)
        .says(hint);
    assert!(registry.raw().has_blob("a", &name));
}

#[test]
fn an_immutable_tag_that_is_right_already_is_success() {
    let name = digest(b"abc");
    let put = manifest(&name, 3);
    for (status, same) in [
        (400, true),
        (403, true),
        (409, true),
        (412, true),
        (409, false),
    ] {
        let memory = Memory::new();
        memory.put(b"abc");
        let there = if same {
            put.clone()
        } else {
            manifest(&name, 4)
        };
        let server = script(
            [
                on(PUT, "/v2/a/manifests/x").times(1).reply(status),
                on(HEAD, "/v2/a/manifests/x").times(1).with(move |_| {
                    let kind = "application/vnd.docker.distribution.manifest.v2+json";
                    let answer = Response::new(200).header("Content-Type", kind);
                    answer
                        .header("Docker-Content-Digest", &digest(&there))
                        .body(there.clone())
                }),
            ],
            &memory,
        );
        let set = dxf(&server).args(["set-alias", "a", "x", &name]);
        if same {
            assert!(set.ok().stdout == put, "{status}");
        } else {
            assert!(set.fails(1).stdout.is_empty());
        }
    }
}

#[test]
fn a_blob_unknown_after_head_said_yes_is_sent_all_the_same() {
    let folder = scratch();
    let bytes = blob(7, 5000);
    let name = file(folder.path(), &bytes);
    for code in ["MANIFEST_BLOB_UNKNOWN", "BLOB_UNKNOWN"] {
        let memory = Memory::new();
        let lied = on(HEAD, &format!("/v2/a/blobs/{}", digest(&bytes))).times(1);
        let lied = lied.reply(200).header("Content-Length", "5000");
        let put = || on(PUT, "/v2/a/manifests/x");
        let unknown = put()
            .times(1)
            .reply(404)
            .body(complaint(code, "blob unknown"));
        let server = script([lied, unknown, put().reply(201)], &memory);
        let pushed = dxf(&server).args(["push-blob", "a", &name, "@x"]).ok();
        assert_eq!(pushed.text(), digest(&bytes) + "\n");
        assert!(memory.holds(&bytes));
        assert_eq!(server.count(PUT, "/v2/a/manifests/x"), 2);
    }
    // Twice, and no more.
    let memory = Memory::new();
    let unknown = on(PUT, "/v2/a/manifests/x").reply(404);
    let unknown = unknown.body(complaint("MANIFEST_BLOB_UNKNOWN", "blob unknown"));
    let server = script([unknown], &memory);
    dxf(&server).args(["push-blob", "a", &name, "@x"]).fails(2);
    assert_eq!(server.count(PUT, "/v2/a/manifests/x"), 3);
}

#[test]
fn an_unknown_repository_is_told_before_any_byte_is_sent() {
    let folder = scratch();
    let name = file(folder.path(), &blob(8, 5000));
    let unknown = complaint("NAME_UNKNOWN", "the repository does not exist");
    let server = Server::script([
        on(HEAD, "*").reply(404),
        on(POST, UPLOADS).times(1).reply(404).body(unknown),
    ]);
    dxf(&server)
        .args(["push-blob", "a", &name])
        .fails(2)
        .says("NAME_UNKNOWN");
    assert_eq!(server.seen().len(), 2);
}

mod pages {
    use super::*;

    fn page(query: Option<&'static str>, tags: &str, link: Option<&str>) -> Rule {
        let mut rule = on(GET, TAGS)
            .reply(200)
            .body(format!(r#"{{"tags":{tags}}}"#));
        if let Some(query) = query {
            rule = rule.query("p", query);
        }
        match link {
            Some(link) => rule.header("Link", link),
            None => rule,
        }
    }

    fn list(server: &Server) -> Dxf {
        dxf(server).args(["list-aliases", "a"])
    }

    #[test]
    fn every_form_of_link_is_followed() {
        for link in [
            "</v2/a/tags/list?p=2>; rel=\"next\"",
            "<?p=2>; rel=next",
            "<list?p=2>; type=\"x\"; rel=\"next\"",
            "<{origin}/v2/a/tags/list?p=2>;rel=\"next\"",
            "/v2/a/tags/list?p=2; rel=\"next\"",
            "</v2/a/tags/list?p=0>; rel=\"prev\", </v2/a/tags/list?p=2>; rel=\"next\"",
        ] {
            let server = Server::script([
                page(Some("2"), r#"["c"]"#, None).times(1),
                page(None, r#"["a","b"]"#, Some(link)).times(1),
            ]);
            assert_eq!(list(&server).ok().text(), "a\nb\nc\n", "{link}");
        }
    }

    #[test]
    fn none_is_none() {
        for tags in ["null", "[]"] {
            let server = Server::script([page(None, tags, None)]);
            assert!(list(&server).ok().stdout.is_empty());
        }
        let server = Server::script([on(GET, TAGS).reply(200).body("{\"name\":\"a\"}")]);
        assert!(list(&server).ok().stdout.is_empty());
    }

    #[test]
    fn pages_that_go_round_end() {
        // To itself, and by way of another.
        let server = Server::script([page(None, r#"["a"]"#, Some("</v2/a/tags/list>; rel=next"))]);
        let failed = list(&server).fails(65).says("its pages repeat");
        assert_eq!((failed.text(), server.seen().len()), ("a\n", 1));
        let server = Server::script([
            page(Some("2"), r#"["b"]"#, Some("<?p=1>; rel=next")),
            page(None, r#"["a"]"#, Some("<?p=2>; rel=next")),
        ]);
        list(&server).fails(65);
        assert_eq!(server.seen().len(), 3);
    }

    #[test]
    fn another_server_is_not_asked() {
        let stranger = Server::stranger([]);
        let link = format!("<{}/v2/a/tags/list>; rel=next", stranger.origin());
        let server = Server::script([page(None, r#"["a"]"#, Some(&link))]);
        let failed = list(&server).fails(65).says("another server");
        assert_eq!(failed.text(), "a\n");
        assert!(stranger.seen().is_empty());
    }

    #[test]
    fn a_page_that_fails_is_asked_for_again_and_no_other() {
        let server = Server::script([
            on(GET, TAGS)
                .query("p", "2")
                .times(2)
                .reply(429)
                .header("Retry-After", "0"),
            page(Some("2"), r#"["b"]"#, None).times(1),
            page(None, r#"["a"]"#, Some("<?p=2>; rel=next")).times(1),
        ]);
        assert_eq!(list(&server).ok().text(), "a\nb\n");
    }

    #[test]
    fn repeated_names_are_printed_as_they_come() {
        let server = Server::script([
            page(Some("2"), r#"["a","b"]"#, None),
            page(None, r#"["a"]"#, Some("<?p=2>; rel=next")),
        ]);
        assert_eq!(list(&server).ok().text(), "a\na\nb\n");
    }

    #[test]
    fn nonsense_is_an_error() {
        for body in [
            "",
            "[]",
            "{\"tags\":[1]}",
            "{\"tags\":[\"a\\u001b[2J\"]}",
            "<html>",
        ] {
            let server = Server::script([on(ANY, TAGS).reply(200).body(body)]);
            assert!(list(&server).fails(65).stdout.is_empty(), "{body}");
        }
    }

    #[test]
    fn an_odd_name_hides_no_other() {
        let next = "</v2/a/tags/list?last=x>; rel=\"next\"";
        let page = r#"{"tags":["a","b c","","d"]}"#;
        let server = Server::script([
            on(ANY, TAGS)
                .query("last", "x")
                .reply(200)
                .body(r#"{"tags":["e"]}"#),
            on(ANY, TAGS).reply(200).header("Link", next).body(page),
        ]);
        let listed = list(&server).fails(65);
        assert_eq!(listed.says("b c").text(), "a\nd\ne\n");
    }
}

#[test]
fn a_delete_that_is_done_in_other_words_is_done() {
    let name = digest(b"abc");
    for status in [200, 202, 204] {
        let server = Server::script([on(DELETE, "/v2/a/blobs/*").times(1).reply(status)]);
        dxf(&server).args(["del-blob", "a", &name]).ok();
    }
}
