//! Bundles that are damaged, hostile or in the wrong place: one line that says
//! what is wrong, and no tag on anything.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::support::data::{blob, digest};
use crate::support::dxf::{Dxf, Output};
use crate::support::full_disk::full_disk;
use crate::support::registry::Registry;
use crate::support::scratch;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// A member of a tar.
type Member = (String, Vec<u8>);

/// A tar of these members, whatever they are called.
fn tar(members: &[Member]) -> Vec<u8> {
    let mut all = Vec::new();
    for (name, bytes) in members {
        all.extend(header(name, tar::EntryType::Regular, "", bytes.len()));
        all.extend(bytes);
        all.resize(all.len().next_multiple_of(512), 0);
    }
    all.resize(all.len() + 1024, 0);
    all
}

fn header(name: &str, kind: tar::EntryType, link: &str, size: usize) -> Vec<u8> {
    let mut header = tar::Header::new_gnu();
    header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
    header.as_old_mut().linkname[..link.len()].copy_from_slice(link.as_bytes());
    header.set_entry_type(kind);
    header.set_size(size as u64);
    header.set_mode(0o644);
    header.set_cksum();
    header.as_bytes().to_vec()
}

fn named(name: &str, bytes: &[u8]) -> Member {
    (name.to_string(), bytes.to_vec())
}

fn stored(bytes: &[u8]) -> Member {
    let name = digest(bytes).replace(':', "/");
    (format!("blobs/{name}"), bytes.to_vec())
}

fn described(kind: &str, bytes: &[u8]) -> Value {
    json!({"mediaType": kind, "digest": digest(bytes), "size": bytes.len()})
}

/// A manifest with a config and one layer.
fn manifest(layer: &[u8]) -> Value {
    json!({"schemaVersion": 2, "mediaType": MANIFEST,
        "config": described("application/vnd.oci.image.config.v1+json", b"{}"),
        "layers": [described(LAYER, layer)]})
}

/// The index of a bundle: each manifest with its name.
fn index(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let entries = entries.iter().map(|(name, bytes)| {
        let mut entry = described(MANIFEST, bytes);
        entry["annotations"] = json!({"vnd.dxf.bundle.name": name});
        entry
    });
    let index = json!({"schemaVersion": 2, "manifests": entries.collect::<Vec<_>>(),
        "mediaType": "application/vnd.oci.image.index.v1+json"});
    index.to_string().into_bytes()
}

/// The members of a bundle of one image.
fn members(name: &str, manifest: &Value, layer: &[u8]) -> Vec<Member> {
    let manifest = manifest.to_string();
    vec![
        named("index.json", &index(&[(name, manifest.as_bytes())])),
        named("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#),
        stored(manifest.as_bytes()),
        stored(b"{}"),
        stored(layer),
    ]
}

/// One that has nothing wrong with it.
fn right() -> Vec<Member> {
    members("evil.example/team/app:v1", &manifest(b"layer"), b"layer")
}

fn load(far: &Registry, folder: &Path, bytes: &[u8]) -> [Output; 2] {
    fs::write(folder.join("bad.tar"), bytes).expect("a bundle");
    let run = || Dxf::new().plain(far.host()).current_dir(folder);
    let to = format!("{}/below", far.host());
    let file = run().args(["load-bundle", "bad.tar", &to]).run();
    [
        file,
        run().args(["load-bundle", "-", &to]).stdin(bytes).run(),
    ]
}

/// What is hostile, and a word of what is said of it.
fn hostile() -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let with = |at: usize, member: Member| {
        let mut all = right();
        all[at] = member;
        tar(&all)
    };
    let plus = |extra: &[u8]| {
        let whole = tar(&right());
        [&whole[..whole.len() - 1024], extra, &[0; 1024]].concat()
    };
    let link = |to: &str| plus(&header("l", tar::EntryType::Symlink, to, 0));
    let called = |name: &str| tar(&members(name, &manifest(b"layer"), b"layer"));
    let with_layer = |layer: Value| {
        let mut manifest = manifest(b"layer");
        manifest["layers"] = json!([layer]);
        tar(&members("a/b:v1", &manifest, b"layer"))
    };
    let mut longer = described(LAYER, b"layer");
    longer["size"] = json!(6);
    let mut large = manifest(b"layer");
    large["annotations"] = json!({"a": "x".repeat(5 << 20)});
    let (one, two) = (
        manifest(b"layer").to_string(),
        manifest(b"other").to_string(),
    );
    let twice = index(&[("a/b:v1", one.as_bytes()), ("a/b:v1", two.as_bytes())]);
    let mut omission = described(MANIFEST, one.as_bytes());
    omission["artifactType"] = json!("application/vnd.dxf.bundle.omitted.v1");
    let omissions = json!({"schemaVersion": 2, "manifests": [omission, omission]});
    let omissions = omissions.to_string();
    let whole = tar(&right());
    let mut sum = whole.clone();
    sum[3] ^= 1;
    let mut json_bit = whole.clone();
    json_bit[512] ^= 1;
    vec![
        ("a name that leads out", called("../x:v1"), "\"..\""),
        ("an absolute name", called("/x:v1"), "/x"),
        ("no name", called(""), ""),
        (
            "a member that leads out",
            plus(&header("../evil", tar::EntryType::Regular, "", 0)),
            "outside",
        ),
        (
            "an absolute member",
            plus(&header("/evil", tar::EntryType::Regular, "", 0)),
            "absolute",
        ),
        ("a link out", link("../../etc/passwd"), "l"),
        (
            "a device",
            plus(&header("d", tar::EntryType::Char, "", 0)),
            "d",
        ),
        (
            "a second index",
            plus(&tar(&[named("index.json", b"{}")])),
            "twice",
        ),
        (
            "a blob under another's name",
            plus(&tar(&[(stored(b"layer").0, b"layes".to_vec())])),
            "",
        ),
        (
            "an unknown layout",
            with(1, named("oci-layout", br#"{"imageLayoutVersion":"9.0"}"#)),
            "9.0",
        ),
        (
            "a large manifest",
            tar(&members("a/b:v1", &large, b"layer")),
            "",
        ),
        (
            "another manifest",
            with(2, (stored(one.as_bytes()).0, b"{}".to_vec())),
            "",
        ),
        (
            "another config",
            with(3, (stored(b"{}").0, b"[]".to_vec())),
            "",
        ),
        (
            "another layer",
            with(4, (stored(b"layer").0, b"LAYER".to_vec())),
            "",
        ),
        ("a layer of another size", with_layer(longer), "5"),
        (
            "a layer that is not there",
            with_layer(described(LAYER, b"gone")),
            "",
        ),
        (
            "two lists of what is left out",
            with(0, named("index.json", omissions.as_bytes())),
            "two lists of what it leaves out",
        ),
        ("one name twice", with(0, named("index.json", &twice)), ""),
        ("a header with a flipped bit", sum, "bad.tar"),
        ("an index with a flipped bit", json_bit, ""),
        ("cut off in the index", whole[..600].to_vec(), ""),
        (
            "cut off in a blob",
            whole[..whole.len() - 1534].to_vec(),
            "",
        ),
    ]
}

#[test]
fn hostile_bundles_are_refused_in_one_line() {
    let (work, mut wrong) = (scratch(), Vec::new());
    for (what, bytes, words) in hostile() {
        let far = Registry::http();
        let done = load(&far, work.path(), &bytes);
        let is_told = |done: &Output| {
            let lines = done.stderr.lines();
            let lines = lines.filter(|line| !line.contains("warning: "));
            matches!(done.code, Some(1 | 2 | 65)) && lines.count() == 1
        };
        let tags = ["below/team/app", "below/a/b"].map(|repo| far.raw().tags(repo));
        let is_clean = tags.iter().all(Vec::is_empty);
        if !done.iter().all(is_told) || !done[0].stderr.contains(words) || !is_clean {
            wrong.push(format!("{what}: {} {}", done[0], done[1]));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    // The same without a fault, from a host that is not asked.
    let far = Registry::http();
    for done in load(&far, work.path(), &tar(&right())) {
        assert_eq!(done.code, Some(0), "{done}");
    }
    assert_eq!(far.raw().tags("below/team/app"), ["v1"]);
}

/// A name costs a hundred bytes, and its manifest megabytes.
#[test]
fn a_large_manifest_with_many_names_is_refused() {
    let (far, work) = (Registry::http(), scratch());
    let mut large = manifest(b"layer");
    large["annotations"] = json!({"a": "x".repeat(4_000_000)});
    let large = large.to_string();
    // An index is small, and leads there too.
    let above: Vec<String> = (0..200)
        .map(|number| {
            let about = json!({"number": number.to_string()});
            json!({"schemaVersion": 2, "annotations": about,
                "mediaType": "application/vnd.oci.image.index.v1+json",
                "manifests": [described(MANIFEST, large.as_bytes())]})
            .to_string()
        })
        .collect();
    let names: Vec<String> = (0..200).map(|n| format!("a/b{n}:v1")).collect();
    let direct: Vec<&[u8]> = vec![large.as_bytes(); 200];
    let nested: Vec<&[u8]> = above.iter().map(String::as_bytes).collect();
    for manifests in [direct, nested] {
        let entries = names.iter().map(String::as_str).zip(manifests.clone());
        let mut all = members("a/b:v1", &manifest(b"layer"), b"layer");
        all[0].1 = index(&entries.collect::<Vec<_>>());
        all[2] = stored(large.as_bytes());
        all.splice(3..3, above.iter().map(|text| stored(text.as_bytes())));
        let bytes = tar(&all);
        let done = load(&far, work.path(), &bytes);
        let run = || Dxf::new().current_dir(work.path());
        let show = run().args(["show-bundle", "bad.tar"]).run();
        let list = run().args(["show-bundle", "--index", "bad.tar"]).run();
        for done in done.into_iter().chain([show, list]) {
            assert_eq!(done.code, Some(65), "{done}");
            assert!(done.stderr.contains("256 MiB of manifests"), "{done}");
        }
        assert!(far.raw().tags("below/a/b0").is_empty());
    }
}

/// Names that other programs' archives have in their one place for them.
#[test]
fn hostile_names_of_other_programs_are_refused() {
    let (far, work) = (Registry::http(), scratch());
    let manifest = manifest(b"layer").to_string();
    for name in [
        "../../etc/passwd:v1",
        "host.example/../../up:v1",
        "/absolute:v1",
        "a/b:v1/../../x",
        "a//b:v1",
        "r.example/UPPER/x:v1",
        "a/b:v1\u{1b}[31m",
        "a/b:v1\nc/d:v2",
        "a/b: v1",
        "a/b:\u{0}",
        "a/b@sha256:0",
        "oci:/tmp/x:v1",
        "%2e%2e/x:v1",
        &format!("a/{}:v1", "b".repeat(300)),
        &format!("a/b:{}", "v".repeat(200)),
        &"a/".repeat(100_000),
    ] {
        for key in [
            "org.opencontainers.image.ref.name",
            "io.containerd.image.name",
        ] {
            let mut entry = described(MANIFEST, manifest.as_bytes());
            entry["annotations"] = json!({key: name});
            let index = json!({"schemaVersion": 2, "manifests": [entry]}).to_string();
            let mut all = right();
            all[0] = named("index.json", index.as_bytes());
            for done in load(&far, work.path(), &tar(&all)) {
                let told: String = name.chars().take(40).collect();
                assert!(matches!(done.code, Some(1 | 2 | 65)), "{told}: {done}");
                assert_eq!(done.stderr.lines().count(), 1, "{told}: {done}");
                assert!(!done.stderr.contains(['\u{1b}', '\u{0}']), "{told}: {done}");
            }
        }
    }
    let run = Dxf::new().plain(far.host());
    assert_eq!(run.arg("list-repos").ok().text(), "");
}

#[test]
fn too_many_members_are_refused() {
    let (far, work) = (Registry::http(), scratch());
    let mut all = tar(&right());
    all.truncate(all.len() - 1024);
    for number in 0..100_001 {
        let name = format!("blobs/sha256/{number:064x}");
        all.extend(header(&name, tar::EntryType::Regular, "", 0));
    }
    for done in load(&far, work.path(), &all) {
        assert_eq!(done.code, Some(65), "{done}");
        assert!(done.stderr.contains("too many"), "{done}");
        assert!(far.raw().tags("below/team/app").is_empty());
    }
}

/// Two aliases in a registry.
fn near(folder: &Path) -> Registry {
    let registry = Registry::http();
    for seed in 0..2 {
        fs::write(folder.join("f"), blob(seed, 300_000)).expect("a file");
        let alias = format!("@v{seed}");
        let push = ["push-blob", "team/app", "f", &alias];
        Dxf::new()
            .plain(registry.host())
            .current_dir(folder)
            .args(push)
            .ok();
    }
    registry
}

#[test]
fn parts_of_a_former_save_do_not_stay() {
    let work = scratch();
    let one = near(work.path());
    let run = || Dxf::new().plain(one.host()).current_dir(work.path());
    let save = |size: &str, names: &[&str]| {
        let save = run().args(["save-bundle", "--part-size", size, "b"]);
        save.args(names)
    };
    let path = |number: usize| work.path().join(format!("b.{number:03}"));
    let count = || (1..99).filter(|number| path(*number).exists()).count();
    let both = ["team/app:v0", "team/app:v1"];
    save("128KiB", &both).ok();
    let many = count();
    assert!(many > 4, "{many}");
    fs::copy(path(many), work.path().join("old")).expect("a part");
    // A part was carried away meanwhile.
    fs::remove_file(path(1)).expect("a part");
    save("512KiB", &both).ok();
    assert_eq!(count(), 2);
    // The same images in other pieces are another set.
    let load = ["load-bundle", "--dry-run", "b.001", "old"];
    run().args(load).fails(65).says("or cut to another size");
    // What is not proven to be of the former save is in the way.
    for name in ["old", "f"] {
        fs::copy(work.path().join(name), path(many)).expect("a file");
        let refused = save("512KiB", &both[..1]).fails(1);
        assert!(
            refused.stderr.contains("it belongs to another bundle"),
            "{refused}"
        );
        assert_eq!(count(), 3);
    }
    fs::remove_file(path(many)).expect("a file");
    save("512KiB", &both[..1]).ok();
    assert_eq!(count(), 1);
    run().args(["show-bundle", "--verify", "b.001"]).ok();
}

#[test]
fn words_that_fit_no_bundle_are_refused() {
    let (work, far) = (scratch(), Registry::http());
    let one = near(work.path());
    let run = || Dxf::new().plain(one.host()).current_dir(work.path());
    run()
        .args(["save-bundle", "b.tar", "team/app:v0", "team/app:v1"])
        .ok();
    let to = format!("{}/below", far.host());
    let refused = |words: &[&str], said: &str| {
        let done = run().args(words).run();
        assert!(matches!(done.code, Some(1 | 2 | 65)), "{done}");
        assert!(done.stderr.contains(said), "{done}");
        assert_eq!(done.stderr.lines().count(), 1, "{done}");
    };
    refused(
        &["load-bundle", "b.tar", &format!("{to}/Bad_.Name")],
        "Bad_.Name",
    );
    refused(&["load-bundle", "b.tar", "--map", "team", &to], "FROM=TO");
    for part in ["b.002", "b.02", "b.0002", "b.2"] {
        refused(
            &["load-bundle", "b.tar", part],
            &format!("{part}: No such file"),
        );
    }
    refused(&["load-bundle", "gone.zip"], "gone.zip");
    refused(&["load-bundle", "."], ".");
    refused(&["save-bundle", ".", "team/app:v0"], ".");
    refused(&["save-bundle", "--list", "none", "x.tar"], "none");
    // --list was forgotten.
    for name in ["images.txt", "x.001"] {
        fs::write(work.path().join(name), "team/app:v0\n").unwrap();
    }
    let no_bundle = "it exists and is no bundle";
    refused(&["save-bundle", "images.txt", "team/app:v0"], no_bundle);
    refused(
        &["save-bundle", "--part-size", "1MiB", "x", "team/app:v0"],
        no_bundle,
    );
    for name in ["images.txt", "x.001"] {
        let kept = fs::read_to_string(work.path().join(name)).unwrap();
        assert_eq!(kept, "team/app:v0\n");
    }
    assert!(far.raw().tags("below/team/app").is_empty());
    // Two images that would get one name.
    run()
        .args(["copy-image", "team/app:v0", "other/app:v1"])
        .ok();
    run()
        .args(["save-bundle", "c.tar", "team/app:v1", "other/app:v1"])
        .ok();
    let map = ["load-bundle", "c.tar", "--map", "other=team", &to];
    refused(&map, "give one another name with --map");
    assert!(far.raw().tags("below/team/app").is_empty());
}

#[test]
fn lists_come_from_every_editor() {
    let work = scratch();
    let one = near(work.path());
    let run = || Dxf::new().plain(one.host()).current_dir(work.path());
    let list = "\u{feff}# two\r\n\r\n  team/app:v0  \r\n\t# and\r\nteam/app:v1";
    fs::write(work.path().join("list"), list).expect("a list");
    // An older bundle stays until the new one is complete.
    run().args(["save-bundle", "b.tar", "team/app:v1"]).ok();
    let old = fs::read(work.path().join("b.tar")).expect("a bundle");
    let save = ["save-bundle", "b.tar", "--list", "list", "team/app:gone"];
    run().args(save).fails(2).says("gone");
    let kept = fs::read(work.path().join("b.tar")).expect("a bundle");
    assert!(kept == old);
    let saved = run().args(["save-bundle", "b.tar", "--list", "list"]).ok();
    assert_eq!(saved.lines().len(), 3, "{saved}");
    let save = run()
        .args(["save-bundle", "c.tar", "--list", "-"])
        .stdin(list);
    assert_eq!(save.ok().text(), saved.text());
    // A line that names no image is named itself.
    let list = format!("{list}\nteam/App:v1 # oh\n");
    fs::write(work.path().join("list"), &list).expect("a list");
    let save = ["save-bundle", "d.tar", "--list"];
    run().args(save).arg("list").fails(2).says("list, line 6: ");
    let piped = run().args(save).arg("-").stdin(&*list);
    piped.fails(2).says("standard input, line 6: ");
}

#[test]
fn full_disks_are_told_and_what_was_fetched_stays() {
    let (work, far) = (scratch(), Registry::http());
    let one = near(work.path());
    let run = || Dxf::new().plain(one.host()).current_dir(work.path());
    fs::write(work.path().join("f"), blob(9, 4 << 20)).expect("a file");
    run().args(["push-blob", "team/app", "f", "@large"]).ok();
    run().args(["save-bundle", "b.tar", "team/app:large"]).ok();
    for (script, host) in [
        (
            "\"$1\" save-bundle \"$2/b.tar\" team/app:v0 team/app:v1; code=$?; ls \"$2\"; exit $code",
            one.host(),
        ),
        ("DXF_TMPDIR=\"$2\" \"$1\" load-bundle - < b.tar", far.host()),
    ] {
        let with = |dxf: Dxf| dxf.current_dir(work.path());
        let Some(done) = full_disk("400k", host, script, with) else {
            return;
        };
        assert!(
            done.text().is_empty() || done.text() == "b.tar.partial\n",
            "{done}"
        );
    }
    assert!(far.raw().tags("team/app").is_empty());
}
