//! `save-bundle`, `load-bundle` and `show-bundle`: images and what belongs to
//! them, from several registries through a file into others.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use dxf_registry::image::layer::Family;
use serde_json::{Value, json};

use crate::images::{Style, TWO, docker_image, index, seed};
use crate::kills::{Killer, rounds};
use crate::readme::page;
use crate::support::data::{blob, digest};
use crate::support::dxf::Dxf;
use crate::support::peers::{docker_charon, each_server, oras};
use crate::support::raw::Raw;
use crate::support::registry::Registry;
use crate::support::scratch;
use crate::support::server::Server;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

fn dxf(registry: &Registry, folder: &Path) -> Dxf {
    Dxf::new().plain(registry.host()).current_dir(folder)
}

/// A tag of the registry: its name without the host, and its digest.
fn tags(raw: &Raw, repos: &[&str]) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for repo in repos {
        for tag in raw.tags(repo) {
            let bytes = raw.manifest(repo, &tag).expect(200).body;
            found.insert(format!("{repo}:{tag}"), digest(&bytes));
        }
    }
    found
}

/// A signature under cosign's tag for a manifest.
fn sign(raw: &Raw, repo: &str, signed: &str) {
    raw.push_blob(repo, b"{}");
    raw.push_blob(repo, b"a signature");
    let empty = json!({"mediaType": "application/vnd.oci.image.config.v1+json",
        "digest": digest(b"{}"), "size": 2});
    let layer = json!({"mediaType": "application/vnd.dev.cosign.simplesigning.v1+json",
        "digest": digest(b"a signature"), "size": 11});
    let manifest = json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": empty,
        "layers": [layer]});
    let tag = format!("{}.sig", signed.replace(':', "-"));
    raw.put_manifest(repo, &tag, MANIFEST, manifest.to_string().as_bytes());
}

/// The digests and types of what refers to an image, with what refers to those.
fn referrers(dxf: Dxf, image: &str) -> Vec<String> {
    let listed = dxf
        .args(["list-referrers", image])
        .env("DXF_OUTPUT", "json");
    fn below(value: &Value, found: &mut Vec<String>) {
        for one in value.as_array().expect("a list") {
            found.push(format!("{} {}", one["scheme"], one["digest"]));
            below(&one["referrers"], found);
        }
    }
    let mut found = Vec::new();
    for root in listed.ok().json().as_array().expect("a list") {
        below(&root["referrers"], &mut found);
    }
    found.sort();
    found
}

/// Two registries with images for two platforms, one of Docker's, an artifact
/// with an SBOM whose signature refers to that, an alias in parts, and a
/// signature under cosign's tag; the names of them all.
fn furnish(one: &Registry, other: &Registry, folder: &Path) -> Vec<String> {
    let (host, second) = (one.host(), other.host());
    seed(
        dxf(one, folder),
        &index(Family::Oci, Style::Pretty, &TWO),
        "team/app:v1",
    );
    seed(dxf(other, folder), &docker_image(), "tools/old:1");
    let run = |registry: &Registry, words: &[&str]| {
        dxf(registry, folder).args(words).ok().text().to_string()
    };
    std::fs::write(folder.join("a.txt"), "a file\n").expect("a file");
    std::fs::write(folder.join("sbom"), "an sbom\n").expect("a file");
    run(other, &["push-files", "tools/files", "v2", "a.txt"]);
    let sbom = ["attach", "--type", "test/sbom", "tools/files:v2", "sbom"];
    let told = run(other, &sbom);
    let about = ["attach", "--type", "test/about", "--annotation", "a=b"];
    run(other, &[&about[..], &[told.trim_end()]].concat());
    std::fs::write(folder.join("disk"), blob(7, 300_000)).expect("a file");
    run(
        one,
        &[
            "push-blob",
            "--split",
            "64KiB",
            "--min-size",
            "0",
            "team/data",
            "disk",
            "@d",
        ],
    );
    let signed = one.raw().manifest("team/app", "v1").expect(200).body;
    sign(&one.raw(), "team/app", &digest(&signed));
    vec![
        format!("{host}/team/app:v1"),
        format!("{host}/team/data:d"),
        format!("{second}/tools/old:1"),
        format!("{second}/tools/files:v2"),
    ]
}

const ONE: [&str; 2] = ["team/app", "team/data"];
const OTHER: [&str; 2] = ["tools/old", "tools/files"];

each_server!(what_is_saved_is_loaded_elsewhere_whole, |target| {
    let (one, other, work) = (Registry::http(), Registry::http(), scratch());
    let names = furnish(&one, &other, work.path());
    let run = || dxf(&one, work.path());
    let saved = run().args(["save-bundle", "b.tar"]).args(&names).ok();
    assert_eq!(saved.lines().len(), names.len() + 1, "{saved}");
    for (line, name) in saved.lines().iter().zip(&names) {
        assert!(line.starts_with(&format!("{name}@sha256:")), "{line}");
    }
    // The same again, byte for byte, and on a pipe.
    run().args(["save-bundle", "c.tar"]).args(&names).ok();
    let bytes = std::fs::read(work.path().join("b.tar")).expect("a bundle");
    assert!(bytes == std::fs::read(work.path().join("c.tar")).expect("a bundle"));
    let piped = run().args(["save-bundle", "-"]).args(&names).ok();
    assert!(piped.stdout == bytes);

    let shown = run().args(["show-bundle", "--verify", "b.tar"]).ok();
    assert!(shown.text().contains("linux/arm64,linux/amd64"), "{shown}");
    assert!(shown.text().contains("\n  test/sbom"), "{shown}");
    let there = format!("{}/far", target.host());
    let dry = run()
        .args(["load-bundle", "--dry-run", "b.tar", &there])
        .ok();
    assert!(
        dry.text().contains("far/team/app:v1: load, ")
            && dry.text().contains(" to send, 0 B already in the target\n"),
        "{dry}"
    );
    assert!(target.raw().tags("far/team/app").is_empty());
    let loaded = run().args(["load-bundle", "b.tar", &there]).ok();
    assert!(
        loaded
            .text()
            .contains(&format!("{there}/team/app:v1@sha256:")),
        "{loaded}"
    );
    let far = |repos: [&str; 2]| repos.map(|repo| format!("far/{repo}"));
    for (from, repos) in [(&one, ONE), (&other, OTHER)] {
        let renamed = far(repos);
        let renamed: Vec<&str> = renamed.iter().map(String::as_str).collect();
        let expected = tags(&from.raw(), &repos).into_iter();
        // Lists under tags are of those registries that keep none.
        let expected: BTreeMap<_, _> = expected
            .filter(|(name, _)| !is_list(name))
            .map(|(name, digest)| (format!("far/{name}"), digest))
            .collect();
        let mut found = tags(&target.raw(), &renamed);
        found.retain(|name, _| !is_list(name));
        assert_eq!(found, expected);
    }
    for name in &names {
        let (_, short) = name.split_once('/').expect("a host");
        let expected = referrers(run(), name);
        assert_eq!(
            referrers(run(), &format!("{there}/{short}")),
            expected,
            "{name}"
        );
    }
    // Nothing to do a second time.
    let again = run().args(["load-bundle", "b.tar", &there]).ok();
    assert!(again.text().ends_with("0 blobs, 0 B sent\n"), "{again}");
});

/// Whether a name ends in the tag of a list of referrers.
fn is_list(name: &str) -> bool {
    name.rsplit(':')
        .next()
        .is_some_and(dxf_registry::graph::is_referrers_tag)
}

#[test]
fn into_a_folder_from_a_pipe() {
    let (one, other, work) = (Registry::http(), Registry::http(), scratch());
    let names = furnish(&one, &other, work.path());
    std::fs::write(
        work.path().join("list"),
        format!(
            "\u{feff}# all\r\n\n{} # the last\n",
            names.join(" # one\r\n")
        ),
    )
    .expect("a list");
    let run = || dxf(&one, work.path());
    let saved = run().args(["save-bundle", "--list", "list", "-"]).ok();
    let folder = work.path().join("store");
    let to = format!("oci:{}", folder.display());
    let load = [
        "load-bundle",
        "--map",
        "tools=kit",
        "--map",
        "nothing=base",
        "-",
        &to,
    ];
    let loaded = run().args(load).stdin(saved.stdout).ok();
    let unused = "--map nothing=base matches no image of the bundle";
    assert!(
        loaded.stderr.contains(unused) && !loaded.stderr.contains("tools"),
        "{loaded}"
    );
    let at = |words: &[&str]| Dxf::new().env("DXF_HOST", &to).args(words).ok();
    assert_eq!(
        at(&["list-repos"]).lines(),
        ["kit/files", "kit/old", "team/app", "team/data"]
    );
    assert_eq!(
        at(&["pull-blob", "team/data", "@d"]).stdout,
        blob(7, 300_000)
    );
    let here = Dxf::new().env("DXF_HOST", &to);
    assert_eq!(referrers(here, "kit/files:v2"), referrers(run(), &names[3]));
    // And from the folder through another bundle to a registry.
    let bundle = work.path().join("x.tar");
    let bundle = bundle.to_str().expect("a path");
    at(&["save-bundle", bundle, "kit/files:v2", "team/app:v1"]);
    let target = Registry::http();
    let load = dxf(&target, work.path()).args(["load-bundle", bundle]);
    assert!(load.ok().text().contains("/kit/files:v2@sha256:"));
    let app = |raw: &Raw| digest(&raw.manifest("team/app", "v1").expect(200).body);
    assert_eq!(app(&target.raw()), app(&one.raw()));
}

#[test]
fn a_dry_run_names_what_loses_its_name() {
    let (registry, folder) = (Registry::http(), scratch());
    let run = |words: &[&str]| dxf(&registry, folder.path()).args(words).ok();
    let mut digests = Vec::new();
    for (text, bundle) in [("old", "old.tar"), ("new", "new.tar")] {
        std::fs::write(folder.path().join("f"), text).expect("a file");
        run(&["push-files", "a", "v1", "f"]);
        let digest = run(&["get-digest", "--manifest", "a", "v1"]);
        digests.push(digest.text().trim().to_string());
        run(&["save-bundle", bundle, "a:v1"]);
    }
    let again = run(&["load-bundle", "--dry-run", "new.tar"]);
    assert!(again.text().contains("a:v1: up to date"), "{again}");
    let back = run(&["load-bundle", "--dry-run", "old.tar"]);
    let line = format!("a:v1: tag, replaces {}", digests[1]);
    assert!(back.text().contains(&line), "{back}");
    run(&["load-bundle", "old.tar"]);
    let now = run(&["get-digest", "--manifest", "a", "v1"]);
    assert_eq!(now.text().trim(), digests[0]);
}

#[test]
fn other_programs_read_a_bundle() {
    let (one, other, work) = (Registry::http(), Registry::http(), scratch());
    let names = furnish(&one, &other, work.path());
    let run = || dxf(&one, work.path());
    run().args(["save-bundle", "b.tar"]).args(&names).ok();
    let app = digest(&one.raw().manifest("team/app", "v1").expect(200).body);
    // Like any archive.
    run().args(["verify-image", "oci-archive:b.tar:v1"]).ok();
    let copy = ["copy-image", "oci-archive:b.tar:v1", "copied/app:v1"];
    assert!(run().args(copy).ok().text().contains(&app));
    let listed = run().args(["list-platforms", "./b.tar:v1"]).ok();
    assert_eq!(listed.lines().len(), 2, "{listed}");
    let Some(oras) = oras() else { return };
    let oras = oras.current_dir(work.path());
    let get = ["manifest", "fetch", "--oci-layout", "b.tar:v1"];
    assert_eq!(digest(&oras.clone().args(get).ok().stdout), app);
    let pull = ["pull", "--oci-layout", "b.tar:v2", "-o", "out"];
    oras.args(pull).ok();
    assert_eq!(
        std::fs::read(work.path().join("out/a.txt")).expect("a file"),
        b"a file\n"
    );
}

/// The bytes of a file.
fn size(folder: &Path, name: &str) -> u64 {
    std::fs::metadata(folder.join(name)).expect("a file").len()
}

each_server!(deltas_bring_what_is_new, |target| {
    let (one, work) = (Registry::http(), scratch());
    let run = || dxf(&one, work.path());
    let push = |name: &str, words: &[&str], bytes: &[u8]| {
        std::fs::write(work.path().join(name), bytes).expect("a file");
        run().arg("push-blob").args(words).ok();
    };
    let mut disk = blob(1, 2 << 20);
    let cdc = [
        "--split",
        "cdc:64KiB",
        "--min-size",
        "0",
        "team/disk",
        "disk",
        "@d",
    ];
    push("disk", &cdc, &disk);
    push("app", &["team/app", "app", "@v1"], &blob(2, 400_000));
    let names = ["team/disk:d", "team/app:v1"];
    let save = |words: &[&str]| run().arg("save-bundle").args(words).args(names).ok();
    let load = |words: &[&str]| run().arg("load-bundle").args(words).arg(target.host());
    save(&["first.tar"]);
    let index = run().args(["show-bundle", "--index", "first.tar"]).ok();
    std::fs::write(work.path().join("first.json"), &index.stdout).expect("a file");
    assert!(index.stdout.len() < 10_000, "{}", index.stdout.len());

    // The next month: some bytes in the middle of one, nothing of the other.
    disk.splice(1_000_000..1_000_000, blob(3, 1000));
    push("disk", &cdc, &disk);
    let saved = save(&["--since", "first.json", "second.tar"]);
    assert!(saved.text().contains(" left out\n"), "{saved}");
    assert!(
        size(work.path(), "second.tar") < 500_000,
        "{}",
        size(work.path(), "second.tar")
    );
    save(&["--since", "first.tar", "same.tar"]);
    let read = |name: &str| std::fs::read(work.path().join(name)).expect("a bundle");
    let shown = run().args(["show-bundle", "--verify", "second.tar"]).ok();
    assert!(shown.text().contains("that are in first.tar"), "{shown}");
    assert_eq!(read("second.tar").len(), read("same.tar").len());
    // What was carried is named once, and each line says it once.
    assert_eq!(shown.text().matches("already carried").count(), 1);
    let push = ["push-image", "second.tar", "other/app:v1"];
    let hint = "load-bundle loads a part of a bundle, or one that leaves blobs out";
    run().args(push).fails(65).says(hint);

    let refused = load(&["second.tar"]).fails(2);
    assert!(
        refused
            .stderr
            .contains("first load what it was made against: first.tar"),
        "{refused}"
    );
    assert!(refused.stderr.contains("/team/disk:d"), "{refused}");
    assert!(target.raw().tags("team/disk").is_empty());
    load(&["first.tar"]).ok();
    load(&["second.tar"]).ok();
    let pulled = dxf(target, work.path())
        .args(["pull-blob", "team/disk", "@d"])
        .ok();
    assert!(pulled.stdout == disk);
    assert_eq!(
        tags(&target.raw(), &["team/disk", "team/app"]),
        tags(&one.raw(), &["team/disk", "team/app"])
    );

    // Against the target itself: nothing is left to bring.
    let host = format!("{}/team/disk", target.host());
    let app = format!("{}/team/app:v1", target.host());
    let saved = save(&["--since", &host, "--since", &app, "third.tar"]);
    assert!(size(work.path(), "third.tar") < 40_000, "{saved}");
    assert!(
        load(&["third.tar"])
            .ok()
            .text()
            .ends_with("0 blobs, 0 B sent\n")
    );
});

#[test]
fn a_delta_of_nothing_takes_two_requests_an_image_and_one_a_repository() {
    let (one, work) = (Registry::http(), scratch());
    let mut names = three(&one, work.path());
    for repo in ["team/one", "team/two"] {
        let push = ["push-blob", repo, "f", "@v0"];
        dxf(&one, work.path()).args(push).ok();
        names.push(format!("{repo}:v0"));
    }
    let front = Server::builder([]).before(&one).start();
    let save = |words: &[&str]| {
        let run = Dxf::new().plain(&front.host()).current_dir(work.path());
        run.arg("save-bundle").args(words).args(&names).ok()
    };
    save(&["first.tar"]);
    let before = front.seen().len();
    let saved = save(&["--since", "first.tar", "none.tar"]);
    assert!(saved.text().contains("5 images, 0 B"), "{saved}");
    // The manifest, and its referrers; the tags.
    assert_eq!(front.seen().len() - before, 2 * 5 + 3);
    // A signature that came since is found among those.
    let signed = digest(&one.raw().manifest("team/one", "v0").expect(200).body);
    sign(&one.raw(), "team/one", &signed);
    let saved = save(&["--since", "first.tar", "some.tar"]);
    assert!(!saved.text().contains("5 images, 0 B"), "{saved}");
    let show = ["show-bundle", "some.tar"];
    let shown = dxf(&one, work.path()).args(show).ok();
    assert!(shown.text().contains("refers to "), "{shown}");
}

#[test]
fn images_of_one_registry_share_its_connections() {
    let (one, work) = (Registry::http(), scratch());
    let mut names = Vec::new();
    for number in 0..4 {
        std::fs::write(work.path().join("f"), blob(number, 1000)).expect("a file");
        let repo = format!("team/app{number}");
        let push = ["push-blob", &repo, "f", "@v1"];
        dxf(&one, work.path()).args(push).ok();
        names.push(format!("{}/{repo}:v1", one.host()));
    }
    // The scheme is found out with a request, by each client of a registry.
    let run = Dxf::new()
        .current_dir(work.path())
        .env("DXF_INSECURE", "auto");
    run.args(["save-bundle", "b.tar"]).args(&names).ok();
    let log = one.log();
    let asked = log
        .lines()
        .filter(|line| line.contains("http.request.uri=/v2/ ") && line.contains("completed"));
    assert_eq!(asked.count(), 1, "{log}");
}

each_server!(since_takes_all_below_a_prefix, |target| {
    let (one, other, work) = (Registry::http(), Registry::http(), scratch());
    let names = furnish(&one, &other, work.path());
    let run = || dxf(&one, work.path());
    let there = format!("{}/mirror", target.host());
    run().args(["save-bundle", "b.tar"]).args(&names).ok();
    run().args(["load-bundle", "b.tar", &there]).ok();
    for since in [there.clone(), format!("{there}/")] {
        let save = ["save-bundle", "--since", &since, "next.tar"];
        run().args(save).args(&names).ok();
        let shown = run().args(["show-bundle", "next.tar"]);
        let shown = shown.env("DXF_OUTPUT", "json").ok().json();
        let images = shown["images"].as_array().expect("a list");
        assert!(images.len() > names.len());
        assert!(
            images.iter().all(|image| image["omitted"] == true),
            "{shown}"
        );
        let loaded = run().args(["load-bundle", "next.tar", &there]).ok();
        assert!(loaded.text().ends_with("0 blobs, 0 B sent\n"), "{loaded}");
        // Into another place nothing is loaded.
        let elsewhere = format!("{}/other", target.host());
        run()
            .args(["load-bundle", "next.tar", &elsewhere])
            .fails(2)
            .says(&since);
    }
});

#[test]
fn what_is_written_wrong_is_named() {
    let (one, work) = (Registry::http(), scratch());
    let run = || dxf(&one, work.path());
    let names = three(&one, work.path());
    let save = |words: &[&str]| run().arg("save-bundle").args(words).arg(&names[0]);
    // An image where the file should be.
    for word in ["app:1.0", "h.example:5000/app"] {
        save(&[word]).misused("looks like an image");
    }
    save(&["nowhere/b.tar"])
        .fails(1)
        .says("nowhere/b.tar: No such file");
    for (since, code, why) in [
        ("carried.json", 1, "carried.json: No such file"),
        (
            "carried.jsn",
            2,
            "carried.jsn, neither a file nor a repository",
        ),
        (
            "team/nothing",
            2,
            "team/nothing, neither a file nor a repository",
        ),
        (
            "team/app:gone",
            2,
            "team/app:gone, neither a file nor an image",
        ),
    ] {
        save(&["--since", since, "b.tar"]).fails(code).says(why);
    }
    save(&["--part-size", "1K", "b.tar"])
        .fails(2)
        .says("invalid --part-size \"1K\": use at least ");
    assert!(!work.path().join("b.tar").exists());
    save(&["b.tar"]).ok();
    let load = |words: &[&str]| run().arg("load-bundle").args(words);
    let to = format!("{}/mirror", one.host());
    load(&[&to, "b.tar"]).misused(&format!("dxf load-bundle b.tar {to}"));
    let help = load(&["--help"]).ok();
    assert!(
        help.text().contains("<FILE|->... [HOST/PREFIX|oci:FOLDER]"),
        "{help}"
    );
    for (bytes, why) in [
        ("{\"mediaType\": 1}", "b.tar: it is not a bundle, but JSON"),
        ("words", "b.tar: it is not a bundle"),
        ("", "b.tar: it is not a bundle"),
    ] {
        std::fs::write(work.path().join("b.tar"), bytes).expect("a file");
        load(&["b.tar", &to]).fails(65).says(why);
    }
}

/// How many bytes of blobs a registry was asked for, by its log.
fn fetched(registry: &Registry) -> usize {
    let log = registry.log();
    let answered = |line: &&str| line.contains("response completed") && line.contains("/blobs/");
    log.lines()
        .filter(answered)
        .filter(|line| line.contains("method=GET"))
        .count()
}

#[test]
fn parts_are_loaded_one_by_one_and_remade() {
    let (one, target, work) = (Registry::http(), Registry::http(), scratch());
    let run = || dxf(&one, work.path());
    for seed in 0..6 {
        std::fs::write(work.path().join("f"), blob(seed, 90_000)).expect("a file");
        run()
            .args(["push-blob", "team/app", "f", &format!("@v{seed}")])
            .ok();
    }
    let names: Vec<String> = (0..6).map(|seed| format!("team/app:v{seed}")).collect();
    let save = || {
        run()
            .args(["save-bundle", "--part-size", "256KiB", "b"])
            .args(&names)
            .ok()
    };
    let saved = save();
    assert!(saved.text().ends_with(", in 3 parts\n"), "{saved}");
    let parts: Vec<_> = (1..4)
        .map(|part| size(work.path(), &format!("b.00{part}")))
        .collect();
    assert!(parts.iter().all(|size| *size < 256 << 10), "{parts:?}");
    let load = |parts: &[&str]| run().arg("load-bundle").args(parts).arg(target.host());
    let some = load(&["b.003", "b.001"]).fails(2);
    assert!(
        some.stderr
            .contains("stored 2 of 3 parts; load part 2 next"),
        "{some}"
    );
    assert!(target.raw().tags("team/app").is_empty());
    let allowed = load(&["--allow-missing-parts", "b.003"]).ok();
    assert!(allowed.text().contains("load part 2 next"), "{allowed}");
    let shown = run().args(["show-bundle", "b.001"]).ok();
    assert!(
        shown
            .text()
            .contains("part 2 is missing\npart 3 is missing\n"),
        "{shown}"
    );
    let push = ["push-image", "b.001", "other/app:v1"];
    let hint = "load-bundle loads a part of a bundle";
    run().args(push).fails(65).says(hint);
    let part = std::fs::read(work.path().join("b.001")).expect("a part");
    let push = ["push-image", "-", "other/app:v1"];
    run().args(push).stdin(part).fails(65).says(hint);
    let rest = load(&["b.002"]).ok();
    assert!(rest.text().ends_with("2 blobs, 175.7 KiB sent\n"), "{rest}");
    assert_eq!(
        tags(&target.raw(), &["team/app"]),
        tags(&one.raw(), &["team/app"])
    );

    let before = fetched(&one);
    std::fs::remove_file(work.path().join("b.002")).expect("a part");
    let elsewhere = Registry::http();
    let lost = run().args(["load-bundle", "b", elsewhere.host()]).fails(2);
    let named = "stored 2 of 3 parts; part 2 is missing (b.002); load part 2 next; ";
    assert!(lost.stderr.contains(named), "{lost}");
    let saved = save();
    let one_part = ", in 3 parts: wrote part 2, kept the others\n";
    assert!(saved.text().ends_with(one_part), "{saved}");
    let saved = save();
    let none = ", in 3 parts: kept all of them\n";
    assert!(saved.text().ends_with(none), "{saved}");
    assert_eq!(fetched(&one) - before, 2, "the two blobs of the part");
    let verify = |parts: &[&str]| run().args(["show-bundle", "--verify"]).args(parts);
    let all = verify(&["b.002", "b.001", "b.003"]).ok();
    assert!(all.text().ends_with("3 of 3 parts, verified\n"), "{all}");
    verify(&["b.001", "b.003"])
        .fails(2)
        .says("2 of 3 parts, verified; part 2 is missing");
    // The name that was given to save-bundle means all of them.
    let all = verify(&["b"]).ok();
    assert!(all.text().ends_with("3 of 3 parts, verified\n"), "{all}");
    let damaged = |name: &str| {
        let path = work.path().join(name);
        let mut bytes = std::fs::read(&path).expect("a part");
        let at = bytes.len() - 50_000;
        bytes[at] ^= 1;
        std::fs::write(&path, bytes).expect("a part");
    };
    damaged("b.003");
    let said = verify(&["b"]).fails(65).says("b.003: ").stderr;
    assert!(!said.contains("b.001") && !said.contains("b.002"), "{said}");
    damaged("b.002");
    verify(&["b"]).fails(65).says("damaged: b.002, b.003; ");
}

#[test]
fn a_layer_larger_than_a_part_needs_its_parts_at_once() {
    let (one, work) = (Registry::http(), scratch());
    let run = || dxf(&one, work.path());
    for (alias, size) in [("@small", 90_000), ("@large", 600_000)] {
        std::fs::write(work.path().join("f"), blob(1, size)).expect("a file");
        run().args(["push-blob", "team/app", "f", alias]).ok();
    }
    let save = ["save-bundle", "--part-size", "256KiB", "b.tar"];
    let saved = run()
        .args(save)
        .args(["team/app:small", "team/app:large"])
        .ok();
    let cut = "1 layer larger than a part: load";
    assert!(saved.stderr.contains(cut), "{saved}");
    let shown = run().args(["show-bundle", "b.tar"]).ok();
    assert!(shown.text().contains(cut), "{shown}");
    let parts: Vec<String> = (1..10).map(|part| format!("b.tar.{part:03}")).collect();
    let parts = parts.iter().filter(|part| work.path().join(part).exists());
    let parts: Vec<&String> = parts.collect();
    let target = Registry::http();
    let to = format!("{}/far", target.host());
    let load = |files: &[&str]| run().arg("load-bundle").args(files).arg(&to);
    let mut pending = Vec::new();
    for _ in 0..2 {
        for part in parts.iter().rev() {
            let said = load(&["--allow-missing-parts", part]).run();
            assert!(said.code == Some(2) || said.code == Some(0), "{said}");
            let words = format!("{}{}", said.stderr, said.text());
            let remedy = format!("run dxf load-bundle b.tar {to} there");
            assert!(words.contains(" in one command, "), "{said}");
            assert!(words.contains(&remedy), "{said}");
            pending.push(words);
        }
    }
    // Parts that may come alone, and those that may not.
    let both = |words: &String| words.contains("; load part ") && words.contains(", and parts ");
    assert!(pending.iter().any(both), "{pending:?}");
    assert!(target.raw().tags("far/team/app").is_empty());
    std::fs::rename(work.path().join(parts[1]), work.path().join("away")).expect("a part");
    let lost = load(&["b.tar"]).fails(2);
    let (named, remedy) = (
        "part 2 is missing (b.tar.002); ",
        format!("b.tar {to} there"),
    );
    assert!(
        lost.stderr.contains(named) && lost.stderr.contains(&remedy),
        "{lost}"
    );
    std::fs::rename(work.path().join("away"), work.path().join(parts[1])).expect("a part");
    load(&["b.tar"]).ok();
    assert_eq!(target.raw().tags("far/team/app").len(), 2);
}

/// Runs a command of a table that is `docker-charon` or `dxf`.
fn run_line(line: &str, hosts: (&Registry, &Registry), folder: &Path) -> Option<()> {
    let (near, far) = hosts;
    let line = line.replace("registry.example", near.host());
    let line = line.replace("registry.internal", far.host());
    let words: Vec<&str> = line.split(' ').collect();
    match words[0] {
        "dxf" => drop(dxf(near, folder).args(&words[1..]).ok()),
        _ => {
            let charon = docker_charon()?.current_dir(folder);
            charon.args(&words[1..]).ok();
        }
    }
    Some(())
}

#[test]
fn every_line_of_docker_charons_table_works() {
    let (one, far, work) = (Registry::http(), Registry::http(), scratch());
    let push = |name: &str, layers: &[&str]| {
        let raw = one.raw();
        let config =
            r#"{"os":"linux","architecture":"amd64","rootfs":{"type":"layers","diff_ids":[]}}"#;
        let entry = |kind: &str, bytes: &[u8]| {
            raw.push_blob("team/app", bytes);
            raw.push_blob("team/tool", bytes);
            json!({"mediaType": kind, "digest": digest(bytes), "size": bytes.len()})
        };
        let layer = "application/vnd.docker.image.rootfs.diff.tar.gzip";
        let layers: Vec<Value> = layers
            .iter()
            .map(|text| entry(layer, text.as_bytes()))
            .collect();
        let kind = "application/vnd.docker.distribution.manifest.v2+json";
        let manifest = json!({"schemaVersion": 2, "mediaType": kind, "layers": layers,
            "config": entry("application/vnd.docker.container.image.v1+json", config.as_bytes())});
        let (repo, tag) = name.split_once(':').expect("a tag");
        raw.put_manifest(repo, tag, kind, manifest.to_string().as_bytes());
    };
    push("team/app:v1", &["one", "two"]);
    push("team/app:v2", &["one", "new"]);
    push("team/tool:v1", &["two"]);
    let text = page("coming-from-docker-charon");
    let rows = text.lines().filter(|line| line.starts_with("| `"));
    let rows: Vec<Vec<&str>> = rows.map(|row| row.split('`').collect()).collect();
    assert_eq!(rows.len(), 4);
    for row in &rows {
        // A push is made by either, to registries of their own.
        let other = Registry::http();
        if row[1].contains("push-payload --registry registry.internal --file first") {
            let hosts = (&one, &other);
            let Some(()) = run_line(row[1], hosts, work.path()) else {
                return;
            };
        }
        if row[1].contains("make-payload") {
            let Some(()) = run_line(row[1], (&one, &far), work.path()) else {
                return;
            };
        }
        run_line(row[3], (&one, &far), work.path()).expect("dxf");
        if !other.raw().tags("team/app").is_empty() {
            assert_eq!(
                tags(&other.raw(), &["team/app"]),
                tags(&far.raw(), &["team/app"])
            );
        }
    }
    let repos = ["team/app", "team/tool"];
    assert_eq!(tags(&far.raw(), &repos), tags(&one.raw(), &repos));
    let run = || dxf(&one, work.path());
    run().args(["show-bundle", "--verify", "next.zip"]).ok();
    // Where the first was not loaded nothing is stored, and what lacks is named.
    let empty = Registry::http();
    let refused = run()
        .args(["load-bundle", "next.zip", empty.host()])
        .fails(2);
    assert!(refused.stderr.contains("team/tool:v1"), "{refused}");
    assert!(refused.stderr.contains(&digest(b"one")), "{refused}");
    assert!(empty.raw().tags("team/app").is_empty());
}

/// Three aliases with three blobs each; their names.
fn three(registry: &Registry, folder: &Path) -> Vec<String> {
    for seed in 0..3 {
        std::fs::write(folder.join("f"), blob(seed, 600_000)).expect("a file");
        let alias = format!("@v{seed}");
        let push = [
            "push-blob",
            "--split",
            "200000",
            "--min-size",
            "0",
            "team/app",
            "f",
            &alias,
        ];
        dxf(registry, folder).args(push).ok();
    }
    (0..3).map(|seed| format!("team/app:v{seed}")).collect()
}

#[test]
fn killed_saves_are_continued() {
    let (one, work) = (Registry::http(), scratch());
    let names = three(&one, work.path());
    let save = || {
        dxf(&one, work.path())
            .args(["save-bundle", "b.tar"])
            .args(&names)
    };
    let (mut killer, mut whole) = (Killer::new(Duration::from_millis(60)), 0);
    let mut killed = 0;
    for _ in 0..rounds() {
        killed += usize::from(killer.kill(save()).code.is_none());
        if work.path().join("b.tar").exists() {
            dxf(&one, work.path())
                .args(["show-bundle", "--verify", "b.tar"])
                .ok();
            std::fs::remove_file(work.path().join("b.tar")).expect("a bundle");
            whole += 1;
        }
    }
    save().ok();
    let read = || std::fs::read(work.path().join("b.tar")).expect("a bundle");
    let bytes = read();
    std::fs::remove_file(work.path().join("b.tar")).expect("a bundle");
    save().ok();
    assert!(bytes == read());
    // Nine parts and a config; what was on its way is fetched again.
    let most = (whole + 2) * 10 + killed * 8;
    assert!(fetched(&one) <= most, "{} of {most}", fetched(&one));
    killer.report();
}

#[test]
fn killed_loads_leave_no_tag_on_what_is_not_whole() {
    let (one, far, work) = (Registry::http(), Registry::http(), scratch());
    let names = three(&one, work.path());
    dxf(&one, work.path())
        .args(["save-bundle", "b.tar"])
        .args(&names)
        .ok();
    let load = |prefix: &str| {
        let to = format!("{}/{prefix}", far.host());
        dxf(&one, work.path()).args(["load-bundle", "b.tar", &to])
    };
    let bytes = std::fs::read(work.path().join("b.tar")).expect("a bundle");
    let stream = |prefix: &str| {
        let to = format!("{}/{prefix}", far.host());
        let load = dxf(&one, work.path()).args(["load-bundle", "-", &to]);
        load.stdin(&bytes[..])
    };
    let expected: Vec<String> = tags(&one.raw(), &["team/app"]).into_values().collect();
    let (mut killer, mut number) = (Killer::new(Duration::from_millis(80)), 0);
    for _ in 0..rounds() {
        let prefix = format!("r{number}");
        let output = killer.kill(match number % 4 < 2 {
            true => load(&prefix),
            false => stream(&prefix),
        });
        let repo = format!("{prefix}/team/app");
        let raw = far.raw();
        let there = raw.tags(&repo);
        for tag in &there {
            let manifest = raw.manifest(&repo, tag).expect(200).json();
            for layer in manifest["layers"].as_array().expect("layers") {
                assert!(
                    raw.has_blob(&repo, layer["digest"].as_str().expect("a digest")),
                    "{output}"
                );
            }
        }
        if output.code == Some(0) {
            assert_eq!(there.len(), names.len());
        }
        // Every other place is loaded whole after one kill.
        if there.len() == names.len() || number % 2 == 0 {
            load(&prefix).ok();
            assert_eq!(
                tags(&raw, &[&repo]).into_values().collect::<Vec<_>>(),
                expected
            );
            number += 1;
        }
    }
    load("end").ok();
    killer.report();
}

/// The commands in the blocks of the page, block by block.
fn blocks(text: &str) -> Vec<Vec<&str>> {
    let blocks = text.split("```console\n").skip(1);
    let blocks = blocks.map(|block| block.split("```").next().unwrap_or_default());
    blocks
        .map(|block| {
            block
                .lines()
                .filter_map(|line| line.strip_prefix("$ "))
                .collect()
        })
        .collect()
}

#[test]
fn the_manuals_months_are_carried_over() {
    let (hub, one, far, work) = (
        Registry::http(),
        Registry::http(),
        Registry::http(),
        scratch(),
    );
    let shell = |line: &str| {
        let line = line
            .replace("docker.io", hub.host())
            .replace("registry.example", one.host());
        let line = line
            .replace("registry.internal:5000", far.host())
            .replace("4GiB", "1MiB");
        let line = line.replace("dxf ", &format!("{} ", env!("CARGO_BIN_EXE_dxf")));
        let sh = Dxf::foreign(Path::new("/bin/sh")).current_dir(work.path());
        sh.env("DXF_INSECURE", "auto")
            .env("PATH", "/usr/bin:/bin")
            .args(["-c", &line])
            .ok();
    };
    seed(
        dxf(&hub, work.path()),
        &docker_image(),
        "library/alpine:3.20",
    );
    let mut disk = blob(9, 1_500_000);
    let push = |bytes: &[u8]| {
        std::fs::write(work.path().join("disk"), bytes).expect("a file");
        let push = [
            "push-blob",
            "--split",
            "cdc:64KiB",
            "--min-size",
            "0",
            "team/app",
            "disk",
            "@v1",
        ];
        dxf(&one, work.path()).args(push).ok();
    };
    push(&disk);
    let text = page("bundles");
    let [full, there, month] = &blocks(&text)[..] else {
        panic!("three blocks")
    };
    full.iter().chain(there).for_each(|line| shell(line));
    assert!(size(work.path(), "full.002") > 0);
    for turn in 1..4 {
        disk.splice(turn * 300_000..turn * 300_000, blob(turn as u64, 10_000));
        push(&disk);
        month.iter().for_each(|line| shell(line));
        assert!(size(work.path(), "month.001") < 500_000);
        let pulled = dxf(&far, work.path()).args(["pull-blob", "mirror/team/app", "@v1"]);
        assert!(pulled.ok().stdout == disk);
    }
    let alpine = |raw: &Raw, repo: &str| digest(&raw.manifest(repo, "3.20").expect(200).body);
    assert_eq!(
        alpine(&far.raw(), "mirror/library/alpine"),
        alpine(&hub.raw(), "library/alpine")
    );
}

#[test]
fn a_flipped_bit_is_the_bundles_fault() {
    let (one, work) = (Registry::http(), scratch());
    let names = three(&one, work.path());
    let run = || dxf(&one, work.path());
    run().args(["save-bundle", "b.tar"]).args(&names).ok();
    let path = work.path().join("b.tar");
    let mut bytes = std::fs::read(&path).expect("a bundle");
    let at = bytes.len() - 100_000;
    bytes[at] ^= 1;
    std::fs::write(&path, &bytes).expect("a bundle");
    let far = Registry::http();
    let refused = run().args(["load-bundle", "b.tar", far.host()]).fails(65);
    assert!(refused.stderr.contains("b.tar"), "{refused}");
    assert!(far.raw().tags("team/app").is_empty());
    run()
        .args(["show-bundle", "--verify", "b.tar"])
        .fails(65)
        .says("b.tar");
    // Cut off, and not a bundle at all.
    std::fs::write(&path, &bytes[..at]).expect("a bundle");
    run().args(["load-bundle", "b.tar", far.host()]).fails(65);
    std::fs::write(&path, "no bundle").expect("a file");
    run()
        .args(["load-bundle", "b.tar", far.host()])
        .fails(65)
        .says("b.tar");
}
