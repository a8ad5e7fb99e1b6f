//! `sync`: repositories that follow others.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use super::readme::page;
use super::support::data::blob;
use super::support::dxf::Dxf;
use super::support::peers::each_server;
use super::support::registry::Registry;
use super::support::rules::{GET, HEAD, POST, PUT, on};
use super::support::scratch;
use super::support::server::Server;

/// Repositories with aliases in a folder.
fn fill(folder: &Path, names: &[(&str, &str, &[u8])]) {
    let at = scratch();
    let file = at.path().join("file");
    for (repo, tag, bytes) in names {
        fs::write(&file, bytes).unwrap();
        let name = file.display().to_string();
        of(folder)
            .args(["push-blob", repo, &name, &format!("@{tag}")])
            .ok();
    }
}

fn of(folder: &Path) -> Dxf {
    Dxf::new().env("DXF_HOST", format!("oci:{}", folder.display()))
}

fn tags(dxf: Dxf, repo: &str) -> String {
    dxf.args(["list-aliases", repo])
        .ok()
        .text()
        .replace('\n', " ")
        .trim()
        .to_string()
}

fn at(folder: &Path) -> String {
    format!("oci:{}", folder.display())
}

#[test]
fn a_registry_follows_another_and_a_second_run_costs_a_head_a_tag() {
    let (one, two) = (Registry::http(), Registry::http());
    let folder = scratch();
    fill(
        folder.path(),
        &[
            ("team/app", "v1", b"one"),
            ("team/app", "v2", b"two"),
            ("team/web", "v1", b"one"),
            ("other", "x", b"other"),
        ],
    );
    let whole = |host: &str| Dxf::new().plain(host);
    whole(one.host())
        .args(["sync", &at(folder.path()), one.host()])
        .ok();
    let (from, to) = (Server::before(&one, []), Server::before(&two, []));
    let words = |words: &[&str]| {
        let source = format!("{}/team/", from.host());
        let target = format!("{}/mirror/", to.host());
        let all = [&["sync", &source, &target], words].concat();
        whole(&to.host())
            .env("DXF_FROM_HOST", from.host())
            .env("DXF_FROM_INSECURE", "1")
            .args(all)
    };
    let dry = words(&["--dry-run"]).ok();
    assert_eq!(dry.text().matches("copy mirror/").count(), 3, "{dry}");
    assert_eq!(to.count(PUT, "*"), 0);
    let done = words(&[]).ok();
    assert!(
        done.stderr
            .contains("copied 3, deleted 0; 0 unchanged, 0 failed"),
        "{done}"
    );
    assert_eq!(tags(whole(two.host()), "mirror/app"), "v1 v2");
    assert_eq!(tags(whole(two.host()), "mirror/web"), "v1");
    let repos = whole(two.host()).args(["list-repos"]).ok();
    assert_eq!(repos.lines(), ["mirror/app", "mirror/web"]);
    // The blob of web is one of app's: mounted, not sent.
    let mounts = to.seen_at(POST, "/v2/mirror/web/blobs/uploads/");
    assert_eq!(mounts.len(), 1);
    assert!(mounts[0].query.contains("mirror"), "{}", mounts[0].query);
    assert_eq!(
        to.seen()
            .iter()
            .filter(|seen| seen.method == PUT && seen.path.contains("/web/blobs/"))
            .count(),
        0
    );
    let (before_from, before_to) = (from.seen().len(), to.seen().len());
    let again = words(&[]).ok();
    assert!(
        again.stderr.contains("copied 0, deleted 0; 3 unchanged"),
        "{again}"
    );
    let asked = |seen: Vec<super::support::server::Seen>, before: usize| {
        let methods = seen[before..].iter().map(|seen| seen.method.clone());
        let heads = methods.clone().filter(|method| method == "HEAD").count();
        let others: BTreeSet<String> = methods.filter(|method| method != "HEAD").collect();
        (heads, others)
    };
    // The lists of repositories and tags are the only other requests.
    assert_eq!(
        asked(from.seen(), before_from),
        (3, BTreeSet::from(["GET".to_string()]))
    );
    assert_eq!(asked(to.seen(), before_to), (3, BTreeSet::new()));
}

#[test]
fn many_tags_of_one_image_send_its_blobs_once() {
    let folder = scratch();
    let bytes = blob(3, 8 << 20);
    fill(folder.path(), &[("a", "t0", &bytes)]);
    for i in 1..20 {
        let words = ["copy-image", "a:t0", &format!("a:t{i}")];
        of(folder.path()).args(words).ok();
    }
    let from = format!("oci:{}/a", folder.path().display());
    for words in [
        &["sync", &at(folder.path()), "HOST"][..],
        &["copy-image", "--all-tags", &from, "HOST/a"],
    ] {
        let registry = Registry::http();
        let to = Server::before(&registry, []);
        let host = to.host();
        let words: Vec<String> = words.iter().map(|w| w.replace("HOST", &host)).collect();
        Dxf::new().plain(&host).args(&words).ok();
        let tags = tags(Dxf::new().plain(registry.host()), "a");
        assert_eq!(tags.split(' ').count(), 20, "{tags}");
        let seen = to.seen();
        let sent = seen.iter().filter(|seen| seen.method == "PUT");
        let sent = sent.filter(|seen| seen.path.contains("/blobs/uploads/"));
        assert_eq!(sent.count(), 1, "{words:?}");
    }
}

#[test]
fn one_bad_tag_stops_no_other() {
    let (folder, registry) = (scratch(), Registry::http());
    fill(
        folder.path(),
        &[
            ("a", "bad", b"bad"),
            ("a", "good", b"good"),
            ("b", "x", b"x"),
        ],
    );
    let digest = super::support::data::digest(b"bad");
    let hex = digest.strip_prefix("sha256:").unwrap();
    fs::remove_file(folder.path().join("a/blobs/sha256").join(hex)).unwrap();
    let dxf = || Dxf::new().plain(registry.host());
    let done = dxf()
        .args(["sync", &at(folder.path()), registry.host()])
        .run();
    assert_eq!(done.code, Some(1), "{done}");
    assert!(done.stderr.contains("dxf: sync: a:bad:"), "{done}");
    assert!(
        done.stderr
            .contains("copied 2, deleted 0; 0 unchanged, 1 failed"),
        "{done}"
    );
    assert_eq!(tags(dxf(), "a"), "good");
    assert_eq!(tags(dxf(), "b"), "x");
    let json = dxf()
        .env("DXF_OUTPUT", "json")
        .args(["sync", &at(folder.path()), registry.host()]);
    let rows = json.run().json();
    let steps: BTreeSet<&str> = rows
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["step"].as_str().unwrap())
        .collect();
    assert_eq!(steps, BTreeSet::from(["failed", "same"]));
}

#[test]
fn what_the_source_lost_goes_within_bounds() {
    let (source, target) = (scratch(), scratch());
    let names: Vec<String> = (1..=5).map(|n| format!("v{n}")).collect();
    let all: Vec<(&str, &str, &[u8])> = names
        .iter()
        .map(|name| ("a", name.as_str(), name.as_bytes()))
        .collect();
    fill(source.path(), &all);
    fill(target.path(), &[("a", "own", b"own")]);
    let sync = |words: &[&str]| {
        let (from, to) = (at(source.path()), at(target.path()));
        Dxf::new().args([&["sync", &from, &to], words].concat())
    };
    sync(&[]).ok();
    assert_eq!(tags(of(target.path()), "a"), "own v1 v2 v3 v4 v5");
    of(source.path())
        .args(["del-alias", "--only", "a", "v1", "v2", "v3"])
        .ok();
    let dry = sync(&["--delete", "--exclude", "own", "--dry-run"]).ok();
    assert_eq!(dry.text().matches("delete a:").count(), 1, "{dry}");
    assert_eq!(tags(of(target.path()), "a"), "own v1 v2 v3 v4 v5");
    // A tenth is one; the rest is named.
    let one = sync(&["--delete", "--exclude", "own"]).ok();
    assert!(one.stderr.contains("2 more aliases"), "{one}");
    assert_eq!(tags(of(target.path()), "a"), "own v2 v3 v4 v5");
    sync(&["--delete", "--exclude", "own", "--max-delete", "50%"]).ok();
    assert_eq!(tags(of(target.path()), "a"), "own v4 v5");
}

/// A registry that got blobs and no alias yet, as after an upload that was ended.
#[test]
fn what_can_not_be_deleted_does_not_use_up_the_limit() {
    let registry = Registry::http();
    let (folder, dxf) = (scratch(), || Dxf::new().plain(registry.host()));
    fill(folder.path(), &[("a", "kept", b"kept")]);
    let sync = |words: &[&str]| {
        let (source, target) = (at(folder.path()), format!("{}/a/", registry.host()));
        let all = [&["sync", &source, &target], words].concat();
        dxf().args(all).ok()
    };
    sync(&[]);
    // This registry deletes whole manifests alone: these stay with the one that is kept.
    for old in ["old1", "old2", "old3"] {
        dxf().args(["tag-image", "a/a:kept", old]).ok();
    }
    for (tag, text) in [("z1", "one"), ("z2", "two")] {
        let at = format!("@{tag}");
        let push = dxf().stdin(text).args(["push-blob", "a/a", "-", &at]);
        push.ok();
    }
    sync(&["--delete", "--max-delete", "2"]);
    let left = tags(dxf(), "a/a");
    let left: BTreeSet<&str> = left.split(' ').collect();
    assert_eq!(left, BTreeSet::from(["kept", "old1", "old2", "old3"]));
}

#[test]
fn a_repository_without_aliases_has_nothing_to_copy() {
    let (from, to) = (Registry::http(), scratch());
    from.raw().push_blob("lib/base", b"a blob");
    let dxf = || Dxf::new().plain(from.host());
    assert_eq!(dxf().args(["list-repos"]).ok().text(), "lib/base\n");
    let target = at(to.path());
    let whole = dxf().args(["sync", from.host(), &target]).ok();
    assert!(whole.stderr.contains("0 failed"), "{whole}");
    let named = dxf().args(["sync", "--repo", "none", from.host(), &target]);
    let named = named.run();
    assert_eq!(named.code, Some(1), "{named}");
    assert!(named.stderr.contains("repository none: "), "{named}");
}

/// A list that is empty or can't be read is more likely a fault of the source.
#[test]
fn a_source_without_repositories_says_what_it_is() {
    let (folder, other) = (scratch(), scratch());
    fill(folder.path(), &[("a", "v1", b"one")]);
    let sync = |from: &str| Dxf::new().args(["sync", from, &at(other.path())]);
    let layout = format!("{}/a", at(folder.path()));
    sync(&layout).fails(2).says("copy-image --all-tags");
    fs::create_dir(folder.path().join("empty")).unwrap();
    let empty = format!("{}/empty", at(folder.path()));
    sync(&empty).fails(2).says("a repository in folder");
    assert_eq!(fs::read_dir(other.path()).unwrap().count(), 0);
}

#[test]
fn a_source_that_lists_nothing_deletes_nothing() {
    let (registry, target) = (Registry::http(), scratch());
    let full = scratch();
    let names = ["v1", "v2", "v3"].map(|tag| ("a", tag, tag.as_bytes()));
    fill(full.path(), &names);
    let (from, host) = (at(full.path()), registry.host().to_string());
    Dxf::new().plain(&host).args(["sync", &from, &host]).ok();
    let lists = [
        (200, r#"{"name":"a","tags":[]}"#),
        (200, r#"{"name":"a","tags":null}"#),
        (200, r#"{"name":"a"}"#),
        (200, r#"{"name":"a","tags":["v1","v2"#),
        (200, r#"{"name":"a","tags":["v1","bad tag"]}"#),
        (200, r#"{"name":"a","tags":[1,2]}"#),
        (200, "<html>sign in</html>"),
        (200, ""),
        (404, ""),
        (403, ""),
    ];
    for (at_place, (status, body)) in lists.into_iter().enumerate() {
        let list = on(GET, "/v2/a/tags/list").reply(status).body(body);
        let front = Server::before(&registry, [list]);
        let source = format!("{}/a", front.host());
        let into = at(target.path());
        fill(target.path(), &names);
        let words = ["sync", &source, &into, "--delete", "--max-delete", "100%"];
        let output = Dxf::new().plain(&front.host()).args(words).run();
        let why = format!("{body:?}: {output}");
        assert_eq!(tags(of(target.path()), "a"), "v1 v2 v3", "{why}");
        match at_place {
            0 | 1 => assert!(output.stderr.contains("so nothing is deleted"), "{why}"),
            2 => {}
            _ => assert_ne!(output.code, Some(0), "{why}"),
        }
    }
}

/// Killed at any time, the aliases that the target has are complete, and the next
/// run brings the others.
#[test]
fn killed_and_run_again_it_ends_in_step() {
    let (registry, folder) = (Registry::http(), scratch());
    let all: Vec<(String, Vec<u8>)> = (10..30)
        .map(|n| (format!("v{n}"), blob(n, 100_000)))
        .collect();
    let names: Vec<_> = all
        .iter()
        .map(|(tag, bytes)| ("a", tag.as_str(), &bytes[..]))
        .collect();
    fill(folder.path(), &names);
    let front = Server::before(&registry, []);
    let dxf = || Dxf::new().plain(&front.host());
    let words = ["sync", &at(folder.path()), &front.host()];
    for sent in [1, 7, 14] {
        let slow = dxf().env("DXF_LIMIT_RATE", "1M").args(words);
        let mut running = slow.spawn();
        while front.count(PUT, "/v2/a/manifests/*") < sent && running.is_running() {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        running.kill();
        let back = Dxf::new().plain(registry.host());
        let whole = back.args(["verify-alias", "--all", "a"]).run();
        // At first there may be no repository yet.
        let is_new = sent == 1 && whole.stderr.contains("NAME_UNKNOWN");
        assert!(whole.code == Some(0) || is_new, "{whole}");
    }
    dxf().args(words).ok();
    let list: Vec<&str> = all.iter().map(|(tag, _)| tag.as_str()).collect();
    let found = tags(dxf(), "a");
    let mut found: Vec<&str> = found.split(' ').collect();
    found.sort();
    assert_eq!(found, list);
    let back = Dxf::new().plain(registry.host());
    back.args(["verify-alias", "--all", "a"]).ok();
    let again = dxf().args(words).ok();
    assert!(again.stderr.contains("20 unchanged"), "{again}");
}

/// One whose manifest or blob is wrong or missing in a registry is named, and the
/// others are copied.
#[test]
fn a_bad_alias_of_a_registry_stops_no_other_and_keeps_deletes_away() {
    let (registry, folder) = (Registry::http(), scratch());
    let names = ["v1", "v2", "v3"].map(|tag| ("a", tag, tag.as_bytes()));
    fill(folder.path(), &names);
    let host = registry.host().to_string();
    let words = ["sync", &at(folder.path()), &host];
    Dxf::new().plain(&host).args(words).ok();
    let more: [(&str, &str, &[u8]); 2] = [("a", "old", b"old"), ("a", "older", b"older")];
    let bad = || on(GET, "/v2/a/manifests/*");
    for rule in [
        bad().reply(200).body("{}"),
        bad().reply(404),
        bad().reply(403),
        bad().reply(500),
        on(HEAD, "/v2/a/manifests/v2").reply(404),
    ] {
        let front = Server::before(&registry, [rule.times(1)]);
        let target = scratch();
        fill(target.path(), &more);
        let (source, into) = (format!("{}/a", front.host()), at(target.path()));
        let dxf = Dxf::new().plain(&front.host()).env("DXF_RETRIES", "0");
        let dxf = dxf.env("DXF_JOBS", "1").env("DXF_CACHE", "0");
        let output = dxf.args(["sync", &source, &into, "--delete"]).run();
        assert_eq!(output.code, Some(1), "{output}");
        assert!(output.stderr.contains("1 failed"), "{output}");
        assert!(output.text().matches("copied ").count() == 2, "{output}");
        let left = tags(of(target.path()), "a");
        assert!(left.starts_with("old older "), "{left}: {output}");
    }
}

#[test]
fn filters_choose_tags() {
    let source = scratch();
    fill(
        source.path(),
        &[
            ("a", "v1.9", b"1"),
            ("a", "v1.10", b"2"),
            ("a", "v2.0", b"3"),
            ("a", "pr-1", b"4"),
        ],
    );
    let copied = |words: &[&str]| {
        let target = scratch();
        let (from, to) = (at(source.path()), at(target.path()));
        Dxf::new()
            .args([&["sync", &from, &to], words].concat())
            .ok();
        tags(of(target.path()), "a")
    };
    assert_eq!(copied(&["--exclude", "pr-*"]), "v1.10 v1.9 v2.0");
    assert_eq!(
        copied(&["--tags", "v1*", "--tags", "pr-*", "--exclude", "v1.9"]),
        "pr-1 v1.10"
    );
    assert_eq!(copied(&["--tags", "v*", "--newest", "2"]), "v1.10 v2.0");
}

#[test]
fn one_repository_goes_to_another_or_below_a_prefix() {
    let (registry, folder) = (Registry::http(), scratch());
    fill(
        folder.path(),
        &[("team/app", "v1", b"one"), ("team/deep/web", "v1", b"two")],
    );
    let dxf = || Dxf::new().plain(registry.host());
    let host = registry.host();
    dxf().args(["sync", &at(folder.path()), host]).ok();
    let app = format!("{host}/team/app");
    dxf().args(["sync", &app, &format!("{host}/copy")]).ok();
    assert_eq!(tags(dxf(), "copy"), "v1");
    dxf().args(["sync", &app, &format!("{host}/below/")]).ok();
    assert_eq!(tags(dxf(), "below/team/app"), "v1");
    let back = scratch();
    dxf()
        .args(["sync", &format!("{host}/team/"), &at(back.path())])
        .ok();
    let repos = of(back.path()).args(["list-repos"]).ok();
    assert_eq!(repos.lines(), ["app", "deep/web"]);
    let list = back.path().join("list");
    fs::write(&list, "# the ones we need\nteam/app\n\n").unwrap();
    let chosen = scratch();
    let words = [
        "--repos-from",
        &list.display().to_string(),
        "--repo",
        "team/deep/web",
    ];
    dxf()
        .args(["sync", host, &at(chosen.path())])
        .args(words)
        .ok();
    let repos = of(chosen.path()).args(["list-repos"]).ok();
    assert_eq!(repos.lines(), ["team/app", "team/deep/web"]);
    fs::write(&list, "team/app # ours\n\nteam/app:v1\n").unwrap();
    let words = ["--repos-from", words[1]];
    let bad = dxf().args(["sync", host, &at(chosen.path())]).args(words);
    bad.fails(2).says(&format!("{}, line 3: ", words[1]));
    dxf()
        .args(["sync", host, &format!("{host}/one")])
        .fails(2)
        .says("end it with /");
    let above = format!("{host}/team");
    let lines = dxf().args(["sync", &above, &at(chosen.path())]).run();
    assert_eq!(lines.code, Some(1), "{lines}");
    lines.says(&format!("{above}/ is all repositories below it"));
    dxf()
        .args(["sync", &format!("{host}/none/"), host])
        .fails(2)
        .says("--repos-from");
}

#[test]
fn a_mount_that_is_refused_is_an_upload() {
    let (registry, folder) = (Registry::http(), scratch());
    let bytes = blob(1, 100_000);
    fill(folder.path(), &[("a", "x", &bytes), ("b", "x", &bytes)]);
    let refuse = on(POST, "/v2/b/blobs/uploads/").when(|head| head.query().contains("mount="));
    let front = Server::before(&registry, [refuse.reply(403)]);
    let dxf = Dxf::new().plain(&front.host());
    dxf.args(["sync", &at(folder.path()), &front.host()]).ok();
    let back = Dxf::new().plain(registry.host());
    assert_eq!(back.args(["pull-blob", "b", "@x"]).ok().stdout, bytes);
}

#[test]
fn a_limit_is_waited_out_where_that_is_asked_for() {
    let (folder, registry) = (scratch(), Registry::http());
    fill(folder.path(), &[("a", "v1", b"one")]);
    let limited = || on(POST, "/v2/a/blobs/uploads/").times(2).reply(429);
    let sync = |words: &[&str]| {
        let front = Server::before(&registry, [limited()]);
        let dxf = Dxf::new().plain(&front.host()).env("DXF_RETRIES", "0");
        let (host, from) = (front.host(), at(folder.path()));
        let all = [&["sync", &from, &host], words].concat();
        let output = dxf.args(all).run();
        // A rule that was not used up fails the test.
        if output.code != Some(0) {
            let push = Dxf::new().plain(&host).args(["push-blob", "a", "-"]);
            push.stdin("x").run();
        }
        output
    };
    let refused = sync(&[]);
    assert_eq!(refused.code, Some(75), "{refused}");
    let waited = sync(&["--wait"]);
    assert_eq!(waited.code, Some(0), "{waited}");
    assert_eq!(tags(Dxf::new().plain(registry.host()), "a"), "v1");
}

each_server!(referrers_of_unchanged_aliases_follow, |registry| {
    let (source, target) = (scratch(), scratch());
    fs::write(source.path().join("bill"), "bill").unwrap();
    let dxf = || Dxf::new().plain(registry.host()).current_dir(source.path());
    dxf().args(["push-blob", "a", "./bill", "@v1"]).ok();
    let image = format!("{}/a:v1", registry.host());
    let sync = |words: &[&str]| {
        let into = at(target.path());
        let all = [&["sync", registry.host(), &into], words].concat();
        dxf().args(all).ok()
    };
    sync(&[]);
    dxf()
        .args(["attach", "--type", "text/plain", &image, "bill"])
        .ok();
    let done = sync(&["--referrers"]);
    assert!(done.stderr.contains("copied 1,"), "{done}");
    let here = format!("{}/a:v1", at(target.path()));
    let listed = of(target.path()).args(["list-referrers", &here]).ok();
    assert!(listed.text().contains("text/plain"), "{listed}");
    let again = sync(&["--referrers"]);
    assert!(again.stderr.contains("copied 0,"), "{again}");
});

#[test]
fn what_a_folder_lists_by_tag_follows_without_being_asked_for() {
    let (source, target) = (scratch(), scratch());
    fill(
        source.path(),
        &[
            ("a", "v1", b"one"),
            ("a", "v2", b"two"),
            ("a", "v10", b"ten"),
        ],
    );
    let sync = || {
        let (from, to) = (at(source.path()), at(target.path()));
        Dxf::new().args(["sync", &from, &to, "--newest", "2"]).ok()
    };
    sync();
    assert_eq!(tags(of(target.path()), "a"), "v10 v2");
    fs::write(source.path().join("file"), "about").unwrap();
    let image = format!("{}/a:v10", at(source.path()));
    of(source.path())
        .current_dir(source.path())
        .args(["attach", "--type", "text/plain", &image, "file"])
        .ok();
    // One of cosign's, which is no version and takes no version's place.
    let digest = of(source.path())
        .args(["get-digest", "--manifest", "a", "v2"])
        .ok();
    let signature = format!("{}.sig", digest.text().trim().replace(':', "-"));
    fill(source.path(), &[("a", &signature, b"signature")]);
    let done = sync();
    assert!(done.stderr.contains("copied 2,"), "{done}");
    let here = format!("{}/a:v10", at(target.path()));
    let listed = of(target.path()).args(["list-referrers", &here]).ok();
    assert!(listed.text().contains("text/plain"), "{listed}");
    let signed = Dxf::new().env("DXF_HOST", at(target.path()));
    signed.args(["get-alias", "a", &signature]).ok();
    assert!(sync().stderr.contains("copied 0,"));
}

/// The list of tags was read already: it tells that there is no signature and no
/// list of referrers.
#[test]
fn what_no_tag_shows_is_not_asked_for() {
    let (registry, source) = (Registry::http(), scratch());
    let all = [("a", "v1", &b"one"[..]), ("a", "v2", b"two")];
    fill(source.path(), &all);
    let digest = of(source.path())
        .args(["get-digest", "--manifest", "a", "v2"])
        .ok();
    let signature = format!("{}.sig", digest.text().trim().replace(':', "-"));
    fill(source.path(), &[("a", &signature, b"signature")]);
    let host = registry.host();
    let up = Dxf::new().plain(host);
    up.args(["sync", &at(source.path()), host]).ok();
    let (front, target) = (Server::before(&registry, []), scratch());
    let sync = || {
        let (from, into) = (format!("{}/a", front.host()), at(target.path()));
        let dxf = Dxf::new().plain(&front.host());
        dxf.args(["sync", &from, &into, "--tags", "v*"]).ok()
    };
    let done = sync();
    assert!(done.stderr.contains("copied 2,"), "{done}");
    assert_eq!(tags(of(target.path()), "a"), format!("{signature} v1 v2"));
    // The one tag that is made of a digest, when it is copied.
    let made_of_digests = "/v2/a/manifests/sha256-*";
    assert_eq!(front.count(HEAD, made_of_digests), 1, "{done}");
    assert_eq!(front.count(GET, made_of_digests), 1, "{done}");
    assert_eq!(front.count(GET, "/v2/a/tags/list"), 1, "{done}");
}

#[test]
fn the_manual_mirrors_a_registry() {
    let page = page("housekeeping");
    let (one, two) = (Registry::http(), Registry::http());
    let (source, mirror) = (scratch(), scratch());
    let names: Vec<String> = (1..=6).map(|n| format!("v{n}")).collect();
    let mut all: Vec<(&str, &str, &[u8])> = names
        .iter()
        .map(|name| ("app", name.as_str(), name.as_bytes()))
        .collect();
    all.push(("app", "pr-1", b"pr"));
    fill(source.path(), &all);
    let at_team = format!("{}/team/", one.host());
    Dxf::new()
        .plain(one.host())
        .args(["sync", &at(source.path()), &at_team])
        .ok();
    let run = |line: &str| {
        assert!(page.contains(&format!("dxf {line}\n")), "{line}");
        let line = line
            .replace("registry.example", one.host())
            .replace("mirror.example", two.host());
        let line = line.replace("oci:./mirror", &at(mirror.path()));
        let words = line.split(' ').map(|word| word.trim_matches('\''));
        Dxf::new().plain(two.host()).args(words).ok()
    };
    run("sync registry.example/team/ mirror.example/team/ --exclude 'pr-*'");
    assert_eq!(
        tags(Dxf::new().plain(two.host()), "team/app"),
        "v1 v2 v3 v4 v5 v6"
    );
    of(source.path())
        .args(["del-alias", "--only", "app", "pr-1"])
        .ok();
    let host = Dxf::new().plain(one.host());
    host.args(["del-alias", "team/app", "pr-1"]).ok();
    run("sync registry.example/team/ oci:./mirror --newest 5 --delete");
    assert_eq!(tags(of(mirror.path()), "app"), "v2 v3 v4 v5 v6");
}
