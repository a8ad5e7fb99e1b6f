//! Layouts that skopeo reads, and layouts that skopeo wrote.

use std::fs::File;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use dxf_registry::descriptor::media_type;
use dxf_registry::layout::{Layout, Layouts};
use dxf_registry::stream::{Stop, Watch, read_bounded};
use dxf_registry::{Blob, Descriptor, Digest, Manifest, ReadStore, Store, Target};

use super::support::dxf::Dxf;
use super::support::scratch;

/// Runs skopeo and gives its stdout; a missing skopeo is a failure, not a
/// reason to skip.
fn skopeo(args: &[&str]) -> String {
    let out = Command::new("skopeo")
        .args(args)
        .output()
        .expect("skopeo can't be run; install it with: apt-get install skopeo");
    assert!(
        out.status.success(),
        "skopeo {args:?}: {}",
        String::from_utf8_lossy(&out.stderr)
    );
    String::from_utf8(out.stdout).unwrap()
}

fn target(text: &str) -> Target {
    text.parse().unwrap()
}

/// Puts an image of one layer into `repo` and tags it.
fn image(repo: &Layout, tag: &str, text: &str) -> Manifest {
    let (stop, layer_type) = (Stop::new(), "application/vnd.oci.image.layer.v1.tar");
    let layer = Blob::bytes(layer_type, text.as_bytes().to_vec());
    let config = serde_json::json!({
        "architecture": "amd64", "os": "linux", "config": {"Labels": {"text": text}},
        "rootfs": {"type": "layers", "diff_ids": [layer.digest()]},
        "history": [{"created_by": "a test"}],
    });
    let config = Blob::bytes(media_type::OCI_CONFIG, config.to_string().into_bytes());
    for blob in [&layer, &config] {
        repo.put_blob(blob, Watch::new(&(), &stop)).unwrap();
    }
    let entry = |b: &Blob| serde_json::to_value(b.descriptor()).unwrap();
    let manifest = serde_json::json!({
        "schemaVersion": 2, "mediaType": media_type::OCI_MANIFEST,
        "config": entry(&config), "layers": [entry(&layer)],
    });
    let manifest = Manifest::new(None, manifest.to_string().into_bytes()).unwrap();
    repo.put_manifest(&manifest, &target(tag)).unwrap();
    manifest
}

fn everything(repo: &Layout, manifest: &Manifest) -> Vec<Vec<u8>> {
    let image = manifest.image().unwrap();
    let read = |d: &Descriptor| {
        let blob = repo.pull_blob(&d.digest, Some(d.size)).unwrap();
        read_bounded("blob", blob.reader, d.size).unwrap()
    };
    std::iter::once(&image.config)
        .chain(&image.layers)
        .map(read)
        .collect()
}

fn at(dir: &Path, rest: &str) -> String {
    format!("oci:{}/{rest}", dir.display())
}

#[test]
fn skopeo_reads_what_was_put() {
    let dir = tempfile::tempdir().unwrap();
    let repo = Layouts::new(dir.path()).repository(&"team/app".parse().unwrap());
    let old = image(&repo, "v1", "old");
    let new = image(&repo, "v1", "new");
    image(&repo, "v2", "other");
    assert_ne!(old, new);
    let raw = skopeo(&["inspect", "--raw", &at(dir.path(), "team/app:v1")]);
    assert_eq!(raw.as_bytes(), new.bytes());
    let said: serde_json::Value =
        serde_json::from_str(&skopeo(&["inspect", &at(dir.path(), "team/app:v1")])).unwrap();
    assert_eq!(said["Digest"], new.digest().to_string());
    assert_eq!(said["Labels"]["text"], "new");
}

#[test]
fn what_skopeo_wrote_is_read_and_added_to() {
    let dir = tempfile::tempdir().unwrap();
    let layouts = Layouts::new(dir.path());
    let source = layouts.repository(&"source".parse().unwrap());
    image(&source, "v1", "text");
    std::fs::create_dir(dir.path().join("made")).unwrap();
    for tag in ["copied", "again"] {
        skopeo(&[
            "copy",
            "-q",
            &at(dir.path(), "source:v1"),
            &at(dir.path(), &format!("made/{tag}:{tag}")),
        ]);
    }
    // An archive holds the same layout, in a tar.
    let archive = format!("oci-archive:{}/a.tar:v1", dir.path().display());
    skopeo(&["copy", "-q", &at(dir.path(), "source:v1"), &archive]);
    skopeo(&[
        "copy",
        "-q",
        &archive,
        &at(dir.path(), "made/copied:archived"),
    ]);
    let names: Vec<_> = layouts.repos().map(Result::unwrap).collect();
    assert_eq!(names, ["made/again", "made/copied", "source"]);
    let made = layouts.repository(&"made/copied".parse().unwrap());
    let tags = || made.tags().map(Result::unwrap).collect::<Vec<_>>();
    assert_eq!(tags(), ["archived", "copied"]);
    let manifest = made.manifest(&target("copied")).unwrap();
    assert_eq!(
        Digest::of(manifest.bytes()),
        made.head(&target("copied")).unwrap().unwrap().digest
    );
    assert_eq!(everything(&made, &manifest).len(), 2);
    // What is added beside it leaves it as it was, for skopeo too.
    let added = image(&made, "added", "more");
    assert_eq!(tags(), ["added", "archived", "copied"]);
    let raw = skopeo(&["inspect", "--raw", &at(dir.path(), "made/copied:added")]);
    assert_eq!(raw.as_bytes(), added.bytes());
    let raw = skopeo(&["inspect", "--raw", &at(dir.path(), "made/copied:copied")]);
    assert_eq!(raw.as_bytes(), manifest.bytes());
    assert_eq!(everything(&made, &added)[1], b"more");
}

/// Names the folder for the process that [`killed_writers_leave_a_whole_layout`]
/// starts and kills.
const VICTIM: &str = "DXF_TEST_LAYOUT_VICTIM";

/// Does nothing unless it is that process.
#[test]
fn writes_until_killed() {
    let Some(dir) = std::env::var_os(VICTIM) else {
        return;
    };
    let repo = Layouts::new(dir).repository(&"a".parse().unwrap());
    for i in 0.. {
        image(
            &repo,
            &format!("t{}", i % 7),
            &format!("{}-{i}", std::process::id()),
        );
    }
}

#[test]
fn killed_writers_leave_a_whole_layout() {
    let dir = tempfile::tempdir().unwrap();
    let repo = Layouts::new(dir.path()).repository(&"a".parse().unwrap());
    for round in 0..12 {
        let mut victim = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "layout::writes_until_killed"])
            .env(VICTIM, dir.path())
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(std::time::Duration::from_millis(20 + 7 * round));
        victim.kill().unwrap();
        assert!(!victim.wait().unwrap().success(), "it ended by itself");
        if !dir.path().join("a/oci-layout").exists() {
            continue;
        }
        for tag in repo.tags().map(Result::unwrap) {
            let manifest = repo.manifest(&Target::Tag(tag)).unwrap();
            assert_eq!(everything(&repo, &manifest).len(), 2);
        }
        // The lock died with its holder.
        let mine = image(&repo, "mine", &round.to_string());
        assert_eq!(repo.manifest(&target("mine")).unwrap(), mine);
    }
    assert!(repo.tags().count() > 1, "nothing was written before a kill");
    for blob in std::fs::read_dir(dir.path().join("a/blobs/sha256")).unwrap() {
        let name = blob.unwrap().file_name().into_string().unwrap();
        let digest: Digest = format!("sha256:{name}").parse().unwrap();
        let whole = repo.pull_blob(&digest, None).unwrap();
        read_bounded("blob", whole.reader, 1 << 20).unwrap();
    }
}

#[test]
fn a_writer_that_waits_for_another_says_so_and_can_be_stopped() {
    let folder = scratch();
    let host = format!("oci:{}", folder.path().display());
    let dxf = || Dxf::new().env("DXF_HOST", &host);
    let pushed = dxf().args(["push-blob", "a", "-", "@v"]).stdin("x").ok();
    let set = || dxf().args(["set-alias", "a", "w", pushed.text().trim()]);
    let lock = folder.path().join("a/.dxf/lock");
    let held = File::options().write(true).open(lock).expect("a lock");
    held.lock().expect("nobody else has it");
    let running = set().spawn();
    std::thread::sleep(Duration::from_secs(4));
    let begun = Instant::now();
    running.signal("INT");
    let output = running.finish();
    assert!(begun.elapsed() < Duration::from_secs(1), "{output}");
    assert_eq!(output.code, Some(130), "{output}");
    let said = output.stderr.matches("waiting for another writer").count();
    assert_eq!(said, 1, "{output}");
    drop(held);
    set().ok();
}

/// An OCI layout at `folder` with images of one layer, and `tags` tags of them.
fn many(folder: &Path, images: usize, tags: usize) {
    let blobs = folder.join("blobs/sha256");
    std::fs::create_dir_all(&blobs).unwrap();
    let put = |kind: &str, bytes: &[u8]| {
        let digest = Digest::of(bytes);
        std::fs::write(blobs.join(digest.hex()), bytes).unwrap();
        Descriptor::new(kind, digest, bytes.len() as u64)
    };
    let made = |i: usize| {
        let layer = put(
            "application/vnd.oci.image.layer.v1.tar+gzip",
            format!("layer {i}").as_bytes(),
        );
        let created = format!(
            "2024-01-01T{:02}:{:02}:{:02}Z",
            i / 3600,
            i / 60 % 60,
            i % 60
        );
        let config = serde_json::json!({"architecture": "amd64", "os": "linux", "created": created,
            "rootfs": {"type": "layers", "diff_ids": [layer.digest]}});
        let config = put(media_type::OCI_CONFIG, config.to_string().as_bytes());
        let manifest = serde_json::json!({"schemaVersion": 2, "mediaType": media_type::OCI_MANIFEST,
            "config": config, "layers": [layer]});
        put(media_type::OCI_MANIFEST, manifest.to_string().as_bytes())
    };
    let images: Vec<Descriptor> = (0..images).map(made).collect();
    let entry = |i: usize| {
        let mut entry = images[i % images.len()].clone();
        entry
            .annotations
            .insert("org.opencontainers.image.ref.name".into(), format!("v{i}"));
        entry
    };
    let entries: Vec<Descriptor> = (0..tags).map(entry).collect();
    let index = serde_json::json!({"schemaVersion": 2, "manifests": entries});
    std::fs::write(folder.join("index.json"), index.to_string()).unwrap();
    std::fs::write(
        folder.join("oci-layout"),
        r#"{"imageLayoutVersion":"1.0.0"}"#,
    )
    .unwrap();
}

/// Of a repository's many tags and blobs little is in memory, whatever is asked.
#[test]
fn ten_thousand_tags_take_little_memory() {
    let folder = scratch();
    many(&folder.path().join("a"), 2500, 10_000);
    let peak = |words: &[&str]| {
        let dxf = Dxf::new().env("DXF_HOST", format!("oci:{}", folder.path().display()));
        let dxf = dxf.env("DXF_CACHE", "0").env("DXF_JOBS", "8");
        let mut running = dxf.args(words).spawn();
        let peak = running.peak();
        let done = running.finish();
        assert_eq!(done.code, Some(0), "{done}");
        peak
    };
    let least = peak(&["list-aliases", "a"]);
    for (words, most) in [
        (&["list-aliases", "-l", "a"][..], 12),
        (&["show-usage", "a"], 12),
        (
            &[
                "prune-aliases",
                "a",
                "--keep-last",
                "2475",
                "--max-delete",
                "50",
            ],
            18,
        ),
        (&["gc", "a", "--grace", "0s", "--dry-run"], 16),
        (&["verify-alias", "a", "--all"], 16),
    ] {
        let more = peak(words).saturating_sub(least);
        assert!(more < most << 10, "{words:?}: {more} KiB more than {least}");
    }
}
