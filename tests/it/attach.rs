//! `attach`, `detach`, `make-index` and copies of referrers: on every registry,
//! and where a registry does not do its part.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::bench::{Bench, Mode};
use crate::support::data::digest;
use crate::support::dxf::Dxf;
use crate::support::peers::{each_server, oras, regctl};
use crate::support::registry::{PASSWORD, Registry, USER};
use crate::support::rules::{DELETE, GET, PUT, Response, on};
use crate::support::scratch;
use crate::support::server::Server;

const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// Pushes an artifact to `team/app:v1`; its digest.
fn subject(dxf: Dxf) -> String {
    let words = ["push-files", "team/app", "v1", "-", "--name", "app"];
    let pushed = dxf.args(words).stdin("app").ok();
    told(pushed.text())
}

/// Attaches a note to it; the digest of that.
fn attach(dxf: Dxf, note: &str) -> String {
    let words = [
        "attach",
        "--type",
        "test/note",
        "team/app:v1",
        "--annotation",
    ];
    let attached = dxf.args(words).arg(format!("note={note}")).ok();
    told(attached.text())
}

/// The digest in `name@digest`.
fn told(line: &str) -> String {
    let (_, digest) = line.trim_end().split_once('@').expect("a digest");
    digest.to_string()
}

/// The digests of what is attached to `name`.
fn listed(dxf: Dxf, name: &str) -> Vec<String> {
    let list = dxf.env("DXF_OUTPUT", "json").args(["list-referrers", name]);
    let found = list.ok().json();
    let below = found[0]["referrers"].as_array().expect("a list").iter();
    below
        .map(|one| one["digest"].as_str().expect("a digest").to_string())
        .collect()
}

each_server!(what_is_attached_is_listed_by_all_and_detached, |registry| {
    let dxf = || Dxf::new().plain(registry.host());
    subject(dxf());
    let (one, two) = (attach(dxf(), "1"), attach(dxf(), "2"));
    let mut both = vec![one.clone(), two.clone()];
    let mut found = listed(dxf(), "team/app:v1");
    both.sort();
    found.sort();
    assert_eq!(found, both);
    if let Some(oras) = oras() {
        let name = format!("{}/team/app:v1", registry.host());
        let tree = oras.args(["discover", "--plain-http", "--format", "json", &name]);
        let tree = tree.ok().text().to_string();
        assert!(tree.contains(&one) && tree.contains(&two), "{tree}");
    }
    dxf().args(["detach", "team/app:v1", &one]).ok();
    assert_eq!(listed(dxf(), "team/app:v1"), [two]);
    dxf()
        .args(["detach", "team/app:v1", &one])
        .fails(2)
        .says("Not Found");
});

each_server!(indexes_are_made_of_artifacts, |registry| {
    let dxf = || Dxf::new().plain(registry.host());
    let push = |repo: &str, tag: &str| {
        let words = [
            "push-files",
            repo,
            tag,
            "-",
            "--name",
            "f",
            "--type",
            "test/file",
        ];
        told(dxf().args(words).stdin(tag.to_string()).ok().text())
    };
    let (one, two) = (push("team/one", "a"), push("team/two", "b"));
    dxf()
        .args(["make-index", "team/all:v1", "team/one:a", "team/two:b"])
        .ok();
    let index = || registry.raw().manifest("team/all", "v1").json();
    let entry = |at: usize| index()["manifests"][at]["digest"].clone();
    assert_eq!((entry(0), entry(1)), (json!(one), json!(two)));
    assert_eq!(index()["manifests"][0]["artifactType"], "test/file");
    dxf()
        .args(["make-index", "team/all:v1", "--remove", &one])
        .ok();
    assert_eq!(index()["manifests"].as_array().map(Vec::len), Some(1));
    let words = ["pull-files", "team/all", &two, "--file", "f", "-o", "-"];
    assert_eq!(dxf().args(words).ok().text(), "b");
});

#[test]
fn indexes_are_made_across_registries() {
    let (from, to) = (Bench::new(Mode::Basic), Bench::new(Mode::Http));
    let words = ["push-files", "team/one", "a", "-", "--name", "f"];
    let one = told(from.dxf().args(words).stdin("1").ok().text());
    let dxf = to.dxf().env("DXF_FROM_HOST", from.host());
    let dxf = dxf.env("DXF_FROM_TLSVERIFY", from.ca_file());
    let dxf = dxf.env("DXF_FROM_USERNAME", USER);
    let dxf = dxf.env("DXF_FROM_PASSWORD", PASSWORD).secret(PASSWORD);
    dxf.args(["make-index", "team/all:v1", "team/one:a"]).ok();
    let index = to.raw().manifest("team/all", "v1").json();
    assert_eq!(index["manifests"][0]["digest"], one.as_str());
}

/// distribution without `delete.enabled` answers 405.
#[test]
fn where_nothing_is_deleted_it_is_no_longer_listed() {
    let registry = Registry::builder().no_delete().start();
    let dxf = || Dxf::new().plain(registry.host());
    subject(dxf());
    let (one, two) = (attach(dxf(), "1"), attach(dxf(), "2"));
    let done = dxf().args(["detach", "team/app:v1", &one]).ok();
    assert!(
        done.stderr.contains("was removed from the list"),
        "{}",
        done.stderr
    );
    assert_eq!(listed(dxf(), "team/app:v1"), [two]);
    // Not listed, and not to be deleted.
    let refused = dxf().args(["detach", "team/app:v1", &one]).run();
    assert_eq!(refused.code, Some(1), "{refused}");
    // A registry that lists by itself lists what it has.
    let empty = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": []});
    let api = on(GET, "/v2/team/app/referrers/*").reply(200);
    let api = api.header("Content-Type", INDEX).body(empty.to_string());
    let front = Server::before(&registry, [api]);
    let refused = Dxf::new().plain(&front.host());
    refused.args(["detach", "team/app:v1", &one]).fails(1);
}

#[test]
fn what_was_deleted_elsewhere_is_taken_from_the_list() {
    let registry = Registry::http();
    let dxf = || Dxf::new().plain(registry.host());
    let subject = subject(dxf());
    let (one, two) = (attach(dxf(), "1"), attach(dxf(), "2"));
    let path = format!("/v2/team/app/manifests/{one}");
    registry.raw().send(DELETE, &path, &[], b"").expect(202);
    dxf().args(["detach", "team/app:v1", &one]).ok();
    let tag = subject.replace(':', "-");
    let list = registry.raw().manifest("team/app", &tag).json();
    assert_eq!(list["manifests"].as_array().map(Vec::len), Some(1));
    assert_eq!(list["manifests"][0]["digest"], two.as_str());
    dxf()
        .args(["detach", "team/app:v1", &one])
        .fails(2)
        .says("Not Found");
}

#[test]
fn a_list_that_changed_since_it_was_read_is_read_again() {
    let registry = Registry::http();
    let front = Server::before(&registry, []);
    let dxf = || Dxf::new().plain(&front.host());
    subject(dxf());
    let one = attach(dxf(), "1");
    let refused = on(PUT, "/v2/team/app/manifests/sha256-*");
    let refused = refused.has_header("if-match", "\"sha256:").times(1);
    front.add([refused.reply(412)]);
    let two = attach(dxf(), "2");
    assert_eq!(listed(dxf(), "team/app:v1"), [one, two]);
}

#[test]
fn no_list_is_put_that_was_read_long_before() {
    const LIST: &str = "/v2/team/app/manifests/sha256-*";
    // A PUT that fails, before and after it arrived, and an answer that takes its time;
    // each time another writer is faster.
    for case in ["refused", "lost", "slow"] {
        let registry = Arc::new(Registry::http());
        let front = Server::before(&registry, []);
        let dxf = || Dxf::new().plain(&front.host());
        subject(dxf());
        let first = attach(dxf(), "1");
        let theirs = Arc::new(Mutex::new(String::new()));
        let (other, told) = (registry.clone(), theirs.clone());
        let meanwhile = move || {
            let note = attach(Dxf::new().plain(other.host()), "theirs");
            *told.lock().unwrap() = note;
        };
        let raw = registry.clone();
        let stall = match case {
            "slow" => on(GET, LIST).with(move |request| {
                let list = request.path.rsplit('/').next().unwrap();
                let old = raw.raw().manifest("team/app", list).body;
                meanwhile();
                std::thread::sleep(Duration::from_millis(1100));
                Response::new(200).header("Content-Type", INDEX).body(old)
            }),
            _ => on(PUT, LIST).with(move |request| {
                if case == "lost" {
                    let list = request.path.rsplit('/').next().unwrap();
                    raw.raw()
                        .put_manifest("team/app", list, INDEX, &request.body);
                }
                meanwhile();
                Response::new(502)
            }),
        };
        front.add([stall.times(1)]);
        let ours = attach(dxf(), "ours");
        let mut expected = vec![first, theirs.lock().unwrap().clone(), ours];
        let mut found = listed(dxf(), "team/app:v1");
        expected.sort();
        found.sort();
        assert_eq!(found, expected, "{case}");
    }
}

#[test]
fn a_list_is_written_once_for_all_copied_referrers() {
    let (from, to) = (Registry::http(), Registry::http());
    let dxf = || Dxf::new().plain(from.host());
    subject(dxf());
    let attached: Vec<String> = (0..5).map(|n| attach(dxf(), &n.to_string())).collect();
    let front = Server::before(&to, []);
    let copy = Dxf::new().plain(&front.host());
    let copy = copy.env("DXF_FROM_HOST", from.host());
    let copy = copy.env("DXF_FROM_INSECURE", "1");
    copy.args(["copy-image", "--referrers", "team/app:v1", "new/app:v1"])
        .ok();
    assert_eq!(front.count(PUT, "/v2/new/app/manifests/sha256-*"), 1);
    let found = listed(Dxf::new().plain(to.host()), "new/app:v1");
    assert_eq!(found, attached);
}

#[test]
fn a_copy_in_a_folder_is_listed_by_regctl() {
    let registry = Registry::http();
    let dxf = || Dxf::new().plain(registry.host());
    subject(dxf());
    let attached = attach(dxf(), "1");
    let folder = scratch();
    let to = format!("oci:{}:v1", folder.path().join("copy").display());
    dxf()
        .args(["copy-image", "--referrers", "team/app:v1", &to])
        .ok();
    let Some(regctl) = regctl(&[]) else { return };
    let name = format!("ocidir://{}:v1", folder.path().join("copy").display());
    let list = regctl.args(["artifact", "list", &name]).ok();
    assert!(list.text().contains(&attached), "{}", list.text());
}

/// The API's pages are followed, and what it lists is filtered here.
#[test]
fn pages_of_the_api_are_followed_and_types_are_filtered() {
    let registry = Registry::http();
    let dxf = || Dxf::new().plain(registry.host());
    let subject = subject(dxf());
    let note = attach(dxf(), "1");
    let words = [
        "attach",
        "--type",
        "test/sbom",
        "team/app:v1",
        "--annotation",
        "a=b",
    ];
    let sbom = told(dxf().args(words).ok().text());
    let entry = |of: &str| {
        let bytes = registry.raw().manifest("team/app", of).body;
        json!({"mediaType": "application/vnd.oci.image.manifest.v1+json",
            "digest": digest(&bytes), "size": bytes.len()})
    };
    let page = |entries: &[Value]| {
        json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries}).to_string()
    };
    let path = format!("/v2/team/app/referrers/{subject}");
    let next = format!("<{path}?page=2>; rel=\"next\"");
    let api = |path: &str| on(GET, path).reply(200).header("Content-Type", INDEX);
    let front = Server::before(
        &registry,
        [
            api(&path).query("page", "2").body(page(&[entry(&sbom)])),
            api(&path).header("Link", &next).body(page(&[entry(&note)])),
            api("/v2/team/app/referrers/*").body(page(&[])),
        ],
    );
    let dxf = || Dxf::new().plain(&front.host());
    assert_eq!(listed(dxf(), "team/app:v1"), [note, sbom.clone()]);
    let words = ["list-referrers", "--type", "test/sbom", "team/app:v1"];
    let found = dxf().env("DXF_OUTPUT", "json").args(words).ok().json();
    assert_eq!(found[0]["referrers"].as_array().map(Vec::len), Some(1));
    assert_eq!(found[0]["referrers"][0]["digest"], sbom.as_str());
}

/// What a registry says refers to what is bounded, and may lead round in a circle.
#[test]
fn lists_that_lie_are_listed_once_or_refused() {
    let registry = Registry::http();
    let dxf = || Dxf::new().plain(registry.host());
    let subject = subject(dxf());
    let note = attach(dxf(), "1");
    let entry = |digest: &str| {
        json!({"mediaType": "application/vnd.oci.image.manifest.v1+json",
            "digest": digest, "size": 2})
    };
    let page = |entries: &[Value]| {
        json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries}).to_string()
    };
    let api = |digest: &str| {
        let api = on(GET, &format!("/v2/team/app/referrers/{digest}"));
        api.reply(200).header("Content-Type", INDEX)
    };
    let both = page(&[entry(&note), entry(&subject)]);
    let front = Server::before(
        &registry,
        [api(&subject).body(both.clone()), api(&note).body(both)],
    );
    assert_eq!(
        listed(Dxf::new().plain(&front.host()), "team/app:v1"),
        [note]
    );
    // Page after page of others.
    let next = AtomicUsize::new(0);
    let endless = on(GET, &format!("/v2/team/app/referrers/{subject}")).with(move |_| {
        let first = next.fetch_add(2000, Ordering::SeqCst);
        let digests = (first..first + 2000).map(|n| entry(&format!("sha256:{n:064x}")));
        let link = format!(
            "</v2/team/app/referrers/sha256:{:064x}>; rel=\"next\"",
            first
        );
        let link = link.replace("referrers/sha256:", &format!("referrers/{subject}?last="));
        let page = page(&digests.collect::<Vec<_>>());
        let answer = Response::new(200).header("Content-Type", INDEX);
        answer.header("Link", &link).body(page)
    });
    let front = Server::before(&registry, [endless]);
    let list = Dxf::new()
        .plain(&front.host())
        .args(["list-referrers", "team/app:v1"]);
    let mut running = list.spawn();
    let peak = running.peak();
    let done = running.finish();
    assert_eq!((done.code, done.text()), (Some(65), ""), "{done}");
    assert!(done.stderr.contains("too long"), "{done}");
    // A hundred thousand entries; the program without optimization is large itself.
    assert!((1..250 << 10).contains(&peak), "{peak} KiB");
}

/// The tag for the list is taken: nothing is written over it.
#[test]
fn a_fallback_tag_that_is_no_list_stays() {
    let registry = Registry::http();
    let dxf = || Dxf::new().plain(registry.host());
    let subject = subject(dxf());
    let tag = subject.replace(':', "-");
    dxf()
        .args(["push-files", "team/app", &tag, "-", "--name", "other"])
        .stdin("other")
        .ok();
    let before = registry.raw().manifest("team/app", &tag).body;
    assert!(listed(dxf(), "team/app:v1").is_empty());
    let words = [
        "attach",
        "--type",
        "t/t",
        "team/app:v1",
        "--annotation",
        "a=b",
    ];
    dxf().args(words).fails(1).says("not a list");
    assert!(registry.raw().manifest("team/app", &tag).body == before);
    // More than any image has.
    let entries = (0..10_001).map(|n| {
        json!({"mediaType": "application/vnd.oci.image.manifest.v1+json",
            "digest": format!("sha256:{n:064x}"), "size": 2})
    });
    let index = json!({"schemaVersion": 2, "mediaType": INDEX,
        "manifests": entries.collect::<Vec<_>>()});
    let list = on(GET, &format!("/v2/team/app/manifests/{tag}")).reply(200);
    let list = list.header("Content-Type", INDEX).body(index.to_string());
    let front = Server::before(&registry, [list]);
    let list = Dxf::new().plain(&front.host());
    let list = list.args(["list-referrers", "team/app:v1"]).fails(65);
    assert_eq!(list.says("more than 10000").text(), "");
}
