//! What stands before a registry, or in its place: proxies, and portals.

use crate::support::data::digest;
use crate::support::dxf::Dxf;
use crate::support::registry::Registry;
use crate::support::rules::{ANY, DELETE, GET, HEAD, POST, PUT, on};
use crate::support::scratch;
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
    deleted.says("it is a web page \"Sign in\", not a registry's answer");
}

#[test]
fn a_web_page_takes_no_login_and_gives_no_token() {
    let page = on(ANY, "/*")
        .reply(200)
        .body("<html><title>Sign in</title>");
    let server = Server::script([page.header("Content-Type", "Text/HTML")]);
    let page = "it is a web page \"Sign in\", not a registry's answer";
    let login = ["login", "-u", "me", "--password-stdin"];
    let login = at(&server).args(login).arg(server.host()).stdin("secret\n");
    assert_eq!(login.fails(65).says(page).text(), "");
    at(&server).args(["auth", "a", "pull"]).fails(65).says(page);
    let doctor = at(&server).args(["doctor", "a"]).fails(65);
    doctor.says(page);
}

#[test]
fn a_page_that_says_it_was_stored_or_deleted_is_no_success() {
    let blob = digest(b"hello");
    for (kind, put, delete) in [("text/html", 201, 202), ("application/json", 200, 200)] {
        let page = |method, status| {
            let page = on(method, "/*").reply(status).body("\n<html>Sign in");
            page.header("Content-Type", kind)
        };
        let head = on(HEAD, "/v2/a/blobs/*").reply(200);
        let head = head.header("Content-Length", "5");
        let server = Server::script([head, page(PUT, put), page(DELETE, delete)]);
        let page = "it is a web page";
        let set = at(&server).args(["set-alias", "a", "v1", &blob]);
        assert_eq!(set.fails(65).says(page).text(), "");
        at(&server)
            .args(["del-blob", "a", &blob])
            .fails(65)
            .says(page);
    }
}

#[test]
fn an_answer_of_another_service_is_no_receipt() {
    let (blob, folder) = (digest(b"hello"), scratch());
    let file = folder.path().join("f");
    std::fs::write(&file, "hello").unwrap();
    let file = file.to_str().unwrap();
    for (body, said) in [
        (r#"{"status":"ok","code":0}"#, r#"{\"status\":\"ok\""#),
        (
            r#" {"errors":[{"code":"DENIED","message":"log in"}]}"#,
            "DENIED: log in",
        ),
        (r#"[{"id":1}]"#, "it says"),
        ("{\"cut", "it says"),
        ("Please sign in", "it says \"Please sign in\""),
    ] {
        let done = |method, path| {
            let done = on(method, path).reply(200).body(body);
            done.header("Content-Type", "application/json")
        };
        let head = || {
            let head = on(HEAD, "/v2/a/blobs/*").reply(200);
            head.header("Content-Length", "5")
        };
        let server = Server::script([
            head(),
            done(PUT, "/v2/a/manifests/*"),
            done(DELETE, "/v2/a/blobs/*"),
        ]);
        let set = at(&server).args(["set-alias", "a", "v1", &blob]).fails(65);
        assert_eq!(set.says(said).says("not a registry's").text(), "");
        let gone = at(&server).args(["del-blob", "a", &blob]);
        gone.fails(65).says("not a registry's");
        let session = on(POST, "/v2/a/blobs/uploads/").reply(202);
        let server = Server::script([
            on(HEAD, "/v2/a/blobs/*").reply(404),
            session.header("Location", "/v2/a/blobs/uploads/1"),
            done(PUT, "/v2/a/blobs/uploads/1"),
            on(DELETE, "/v2/a/blobs/uploads/1").reply(204),
        ]);
        let push = at(&server).args(["push-blob", "a", file]).fails(65);
        assert_eq!(push.says("not a registry's").text(), "");
    }
    // What some registries say with their 200 is nothing else's.
    for body in ["", "{}", "{ }\n", "[]", "OK", "null"] {
        let head = on(HEAD, "/v2/a/blobs/*").reply(200);
        let server = Server::script([
            head.header("Content-Length", "5"),
            on(PUT, "/v2/a/manifests/v1").reply(200).body(body),
            on(DELETE, "/v2/a/blobs/*").reply(200).body(body),
        ]);
        at(&server).args(["set-alias", "a", "v1", &blob]).ok();
        at(&server).args(["del-blob", "a", &blob]).ok();
    }
    let signed = on(DELETE, "/v2/a/blobs/*").reply(200).body(r#"{"a":1}"#);
    let signed = signed.header("Docker-Distribution-Api-Version", "registry/2.0");
    let server = Server::script([signed]);
    at(&server).args(["del-blob", "a", &blob]).ok();
}

#[test]
fn an_answer_without_a_list_is_no_empty_list() {
    let list = |body: &str| {
        let body = body.to_string();
        let server = Server::script([on(GET, "/v2/*").reply(200).body(body)]);
        let run = |args: &[&str]| at(&server).args(args).run();
        [run(&["list-aliases", "a"]), run(&["list-repos"])]
    };
    for body in [r#"{"status":"ok"}"#, r#"{"errors":[]}"#, "null", "[]"] {
        for listed in list(body) {
            assert_eq!(listed.code, Some(65), "{body}");
        }
    }
    for body in ["{}", r#"{"name":"a","tags":null,"repositories":null}"#] {
        for listed in list(body) {
            assert_eq!(listed.code, Some(0), "{body}");
        }
    }
}

#[test]
fn only_the_empty_blob_has_no_bytes() {
    let (blob, empty) = (digest(b"hello"), digest(b""));
    let server = Server::script([
        on(HEAD, &format!("/v2/a/blobs/{blob}")).reply(200),
        on(GET, &format!("/v2/a/blobs/{blob}")).reply(200),
        on(HEAD, &format!("/v2/a/blobs/{empty}"))
            .reply(200)
            .header("Content-Length", "7"),
        on(GET, &format!("/v2/a/blobs/{empty}")).serve(&b"<html>!"[..]),
    ]);
    for digest in [&blob, &empty] {
        let size = at(&server).args(["blob-size", "a", digest]).fails(65);
        assert_eq!(size.says("its digest says that it is").text(), "");
        let set = at(&server).args(["set-alias", "a", "v1", digest]).fails(65);
        assert_eq!(set.text(), "");
    }
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

#[test]
fn an_odd_name_in_a_list_hides_no_other_from_any_command() {
    let registry = Registry::http();
    let blob = registry.raw().push_blob("a", b"hello");
    for tag in ["v1", "v2"] {
        let set = Dxf::new().plain(registry.host());
        set.args(["set-alias", "a", tag, &blob]).ok();
    }
    let list = |path: &str, member: &str, names: &str| {
        let body = format!(r#"{{"name":"a","{member}":[{names}]}}"#);
        on(GET, path).reply(200).body(body)
    };
    let odd = r#""v1","../x",null,5,"\u001b[31m","v2""#;
    let tags = list("/v2/a/tags/list", "tags", odd);
    let repos = list("/v2/_catalog", "repositories", r#""../a",7,"a""#);
    let server = Server::before(&registry, [tags, repos]);
    let home = scratch();
    let copy = format!("oci:{}", home.path().join("copy").display());
    let mirror = format!("oci:{}", home.path().join("mirror").display());
    let host = server.host();
    let repo = format!("{host}/a");
    for (args, code) in [
        (&["list-aliases", "a"][..], 65),
        (&["list-aliases", "-l", "a"], 65),
        (&["verify-alias", "--all", "a"], 65),
        (&["show-usage", "a"], 65),
        (&["copy-image", "--all-tags", "a", &copy], 65),
        (&["sync", &repo, &mirror], 1),
    ] {
        let odd = at(&server).args(args).run();
        let shown = odd.text().to_string();
        assert_eq!(odd.code, Some(code), "{args:?}: {}", odd.stderr);
        let why = "malformed list: invalid alias \"../x\"";
        assert!(odd.stderr.contains(why), "{args:?}: {}", odd.stderr);
        assert!(!odd.stderr.contains('\u{1b}'), "{}", odd.stderr);
        assert!(args[0] == "copy-image" || shown.contains("v1") && shown.contains("v2"));
    }
    for args in [&["list-repos", "-l"][..], &["show-usage"]] {
        let done = at(&server).args(args).fails(65);
        assert!(done.text().contains('a'), "{args:?}: {}", done.text());
    }
    let copied = Dxf::new().env("DXF_HOST", format!("oci:{}", home.path().display()));
    let copied = copied.args(["list-aliases", "copy"]).ok();
    assert_eq!(copied.text(), "v1\nv2\n");
    let deleted = at(&server).args(["prune-aliases", "a", "--keep-last", "1", "--yes"]);
    deleted.fails(65).says("../x");
}

#[test]
fn a_list_that_is_cut_off_is_an_error_and_no_odd_name() {
    let registry = Registry::http();
    let blob = registry.raw().push_blob("a", b"hello");
    let set = Dxf::new().plain(registry.host());
    set.args(["set-alias", "a", "v1", &blob]).ok();
    let pages = on(GET, "/v2/a/tags/list").reply(200);
    let pages = pages.body(r#"{"name":"a","tags":["v1"]}"#);
    let pages = pages.header("Link", "</v2/a/tags/list>; rel=next");
    let server = Server::before(&registry, [pages]);
    for args in [
        &["list-aliases", "-l", "a"][..],
        &["verify-alias", "--all", "a"],
        &["show-usage", "a"],
    ] {
        let failed = at(&server).args(args).fails(65).says("its pages repeat");
        assert_eq!(failed.text(), "", "{args:?}");
    }
    let folder = scratch();
    let copy = format!("oci:{}", folder.path().join("copy").display());
    let words = ["copy-image", "--all-tags", "a", &copy];
    at(&server).args(words).fails(65).says("its pages repeat");
    assert!(!folder.path().join("copy").exists());
}

#[test]
fn a_document_that_answers_everything_has_no_size() {
    let said = r#"{"error":"log in first"}"#;
    let kind = "application/json; charset=utf-8";
    let portal = on(ANY, "*").reply(200).header("Content-Type", kind);
    let server = Server::script([portal.body(said)]);
    let size = at(&server).args(["blob-size", "a", &digest(b"hello")]);
    assert_eq!(size.fails(65).text(), "");
    // A blob that is such a document has one.
    let name = digest(said.as_bytes());
    let size = at(&server).args(["blob-size", "a", &name]).ok();
    assert_eq!(size.text(), format!("{}\n", said.len()));
}
