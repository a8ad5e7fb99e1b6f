//! Images that are not there, archives that are none, disks that are full: one
//! line, the documented code, and the old file as it was.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use dxf_registry::archive::{Form, Item};
use dxf_registry::image::layer::Family;

use crate::archive::write;
use crate::engine::{arg, file};
use crate::images::{Style, TWO, docker_image, index, only, seed};
use crate::support::bench::{Bench, Mode};
use crate::support::dxf::Dxf;
use crate::support::full_disk::full_disk;
use crate::support::rules::{GET, on};
use crate::support::scratch;

/// A folder with one file, which has to be all that is in it afterwards.
struct Old(tempfile::TempDir);

impl Old {
    fn new() -> Old {
        let dir = scratch();
        fs::write(dir.path().join("f.tar"), b"old").unwrap();
        Old(dir)
    }

    fn path(&self) -> std::path::PathBuf {
        self.0.path().join("f.tar")
    }

    fn is_as_it_was(&self) {
        assert_eq!(fs::read(self.path()).unwrap(), b"old");
        assert_eq!(fs::read_dir(self.0.path()).unwrap().count(), 1);
    }
}

#[test]
fn what_is_not_there_is_not_found() {
    let (bench, old) = (Bench::new(Mode::Http), Old::new());
    seed(
        bench.dxf(),
        &index(Family::Oci, Style::Pretty, &TWO),
        "a/b:2",
    );
    seed(bench.dxf(), &docker_image(), "a/b:1");
    let pull = |args: &[&str]| bench.dxf().arg("pull").args(args).arg(old.path());
    pull(&["a/b:none"]).fails(2).says("Not Found");
    let digest = format!("a/b@sha256:{}", "0".repeat(64));
    pull(&[&digest]).fails(2).says("Not Found");
    pull(&["a/B:1"]).fails(2).says("invalid");
    for image in ["a/b:2", "a/b:1"] {
        let said = pull(&["--platform=linux/s390x", image]).fails(2);
        said.says("linux/s390x").says("linux/amd64");
    }
    let said = pull(&["a/b:2"])
        .env("DXF_PLATFORM", "windows/amd64")
        .fails(2);
    said.says("linux/amd64, linux/arm64").says("--platform");
    // Commands about blobs go on as python-dxf does.
    let blob = bench.dxf().args(["get-alias", "a/b", "2"]);
    blob.env("DXF_PLATFORM", "windows/amd64").fails(1);
    pull(&["--platform=linux", "a/b:2"]).fails(2);
    pull(&["--format=docker", "--platform=all", "a/b:2"]).misused("one platform");
    pull(&["-o", "x", "a/b:1"]).misused("too many arguments");
    bench
        .dxf()
        .args(["pull", "--format=oci", "a/b:1", "-"])
        .misused("folder");
    bench.dxf().arg("pull").misused("too few arguments");
    old.is_as_it_was();
}

#[test]
fn outputs_that_are_in_the_way_stay() {
    let bench = Bench::new(Mode::Http);
    let dir = scratch();
    seed(bench.dxf(), &docker_image(), "a/b:1");
    fs::write(file(&dir, "mine"), b"mine").unwrap();
    bench.requests();
    let pull = |args: &[&str]| bench.dxf().arg("pull").args(args).arg(dir.path());
    pull(&["a/b:1"]).fails(1).says("directory");
    pull(&["--format=docker", "a/b:1"])
        .fails(1)
        .says("directory");
    pull(&["--format=oci", "a/b:1"])
        .fails(1)
        .says("neither empty nor an OCI layout");
    let onto = bench.dxf().args(["pull", "--format=oci", "a/b:1"]);
    onto.arg(file(&dir, "mine")).fails(1);
    assert!(
        bench.requests().is_empty(),
        "known before anything is asked"
    );
    let missing = bench.dxf().args(["pull", "a/b:1"]);
    missing.arg(file(&dir, "no/f.tar")).fails(1);
    assert_eq!(fs::read(file(&dir, "mine")).unwrap(), b"mine");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn wrong_bytes_leave_nothing() {
    let (bench, old) = (Bench::new(Mode::Http), Old::new());
    let node = docker_image();
    seed(bench.dxf(), &node, "a/b:1");
    let layer = *node.images()[0].1.layers()[0].digest();
    let path = format!("/v2/a/b/blobs/{layer}");
    bench.front.add_first([on(GET, &path).corrupt()]);
    let dir = scratch();
    for form in ["hybrid", "docker"] {
        let pull = bench.dxf().args(["pull", "--format", form, "a/b:1"]);
        pull.arg(old.path()).fails(65);
        old.is_as_it_was();
    }
    let pull = bench.dxf().args(["pull", "--format=oci", "a/b:1"]);
    pull.arg(file(&dir, "new")).fails(65);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    let cache = bench.dxf().env("DXF_CACHE", file(&dir, "cache"));
    cache
        .clone()
        .args(["pull", "a/b:1"])
        .arg(old.path())
        .fails(65);
    // What was wrong is not believed the next time.
    let again = cache.plain(bench.registry.host()).args(["pull", "a/b:1"]);
    again.arg(file(&dir, "good.tar")).ok();
    assert_eq!(
        only(&file(&dir, "good.tar")).node.manifest(),
        node.manifest()
    );
}

#[test]
fn what_is_no_archive_is_malformed() {
    let bench = Bench::new(Mode::Http);
    let dir = scratch();
    let path = file(&dir, "f.tar");
    write(&[Item::new(vec![], docker_image())], Form::Hybrid, &path);
    let whole = fs::read(&path).unwrap();
    let cut = &whole[..whole.len() / 2];
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut gzip, &whole).unwrap();
    let gzip = gzip.finish().unwrap();
    for bytes in [b"no archive".as_slice(), b"", cut, &gzip[..gzip.len() / 2]] {
        fs::write(&path, bytes).unwrap();
        let push = || bench.dxf().env("DXF_TMPDIR", dir.path()).arg("push");
        push().args([&arg(&path), "a/b:1"]).fails(65);
        push().args(["-", "a/b:1"]).stdin(bytes).fails(65);
    }
    let push = |from: &Path| bench.dxf().arg("push").arg(from).arg("a/b:1");
    push(&file(&dir, "none.tar")).fails(1).says("none.tar");
    push(dir.path()).fails(65).says("oci-layout");
    let archive = |name| format!("oci-archive:{}", file(&dir, name).display());
    let push = |to: &str| bench.dxf().args(["push", &arg(&path), to]);
    push(&archive("x")).fails(65);
    push(&archive("none/x")).fails(1).says("none/x");
    assert!(bench.requests().is_empty());
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn a_full_disk_is_said_and_the_old_file_stays() {
    let bench = Bench::new(Mode::Http);
    seed(bench.dxf(), &docker_image(), "a/b:1");
    let full = fs::File::options().write(true).open("/dev/full").unwrap();
    let pull = bench.dxf().args(["pull", "a/b:1", "-"]).stdout_to(full);
    pull.fails(1).says("free space");
    let script = r#"printf old > "$2/f.tar" || exit 99
        "$1" pull a/b:1 "$2/f.tar"; code=$?
        ls -A "$2"; cat "$2/f.tar"; exit $code"#;
    let with = |dxf: Dxf| dxf.env("DXF_CACHE", "0");
    let Some(done) = full_disk("8k", &bench.host(), script, with) else {
        return;
    };
    assert_eq!(done.text(), "f.tar\nold", "{done}");
}

#[test]
fn interrupted_it_leaves_nothing() {
    let bench = Bench::new(Mode::Http);
    let node = docker_image();
    seed(bench.dxf(), &node, "a/b:1");
    let layer = *node.images()[0].1.layers()[0].digest();
    bench
        .front
        .add_first([on(GET, &format!("/v2/a/b/blobs/{layer}")).stall_after(10)]);
    let dir = scratch();
    for form in ["hybrid", "oci", "docker"] {
        let pull = bench.dxf().args(["pull", "--format", form, "a/b:1"]);
        let running = pull.arg(file(&dir, "out")).spawn();
        let end = Instant::now() + Duration::from_secs(20);
        let begun = || {
            let asked = |seen: &crate::support::server::Seen| seen.path.contains(&layer.hex());
            bench
                .front
                .seen()
                .iter()
                .filter(|s| s.method == GET && asked(s))
                .count()
                > 0
                && fs::read_dir(dir.path()).unwrap().count() == 1
        };
        while !begun() {
            assert!(Instant::now() < end, "the pull does not begin");
            std::thread::sleep(Duration::from_millis(5));
        }
        // The second one does not wait for the connection.
        running.interrupt_twice();
        assert_eq!(running.finish().code, Some(130));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "{form}");
    }
}

#[test]
fn an_alias_of_blobs_is_no_image_for_an_engine() {
    let bench = Bench::new(Mode::Http);
    let name = bench.raw().push_blob("a/b", b"no image");
    bench.dxf().args(["set-alias", "a/b", "v", &name]).ok();
    let folder = scratch();
    let at = |words: &[&str]| bench.dxf().current_dir(folder.path()).args(words);
    let refused = at(&["pull-image", "a/b:v"]).fails(1);
    refused
        .says("not an image that an engine can load")
        .says("pull-blob");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    let file = "docker-archive:file.tar";
    let refused = at(&["copy-image", "a/b:v", file]).fails(1);
    refused.says("not an image that an engine can load");
    assert!(!folder.path().join("file.tar").exists());
    at(&["copy-image", "a/b:v", "oci-archive:file.tar"]).ok();
    at(&["pull-image", "--format", "oci", "a/b:v", "out"]).ok();
    assert!(folder.path().join("out/index.json").is_file());
}

#[test]
fn a_default_folder_takes_the_images_of_one_repository() {
    let bench = Bench::new(Mode::Http);
    for repo in ["a/b", "a_b"] {
        let image = format!("{repo}:v1");
        let make = ["edit-image", "--add-file", "/f=x", "scratch", &image];
        bench.dxf().args(make).ok();
        let again = ["tag-image", &image, "v2"];
        bench.dxf().args(again).ok();
    }
    let folder = scratch();
    let pull = |image: &str, more: &[&str]| {
        let dxf = bench.dxf().current_dir(folder.path());
        dxf.args(["pull-image", "--format", "oci", image])
            .args(more)
    };
    pull("a/b:v1", &[]).ok();
    pull("a/b:v2", &[]).ok();
    let before = fs::read(folder.path().join("a_b/index.json")).unwrap();
    let refused = pull("a_b:v1", &[])
        .fails(1)
        .says("a_b exists and contains images of");
    refused.says("/a/b").says("name a folder");
    let after = fs::read(folder.path().join("a_b/index.json")).unwrap();
    assert!(before == after);
    // A folder that is named is what is meant, and one without a note is old.
    pull("a_b:v1", &["-o", "a_b"]).ok();
    pull("a_b:v1", &["-o", "own"]).ok();
    let list = Dxf::new().args(["list-platforms", "oci:own:v1"]);
    list.current_dir(folder.path()).ok();
    fs::rename(folder.path().join("own"), folder.path().join("a_b.new")).unwrap();
    fs::remove_dir_all(folder.path().join("a_b")).unwrap();
    fs::rename(folder.path().join("a_b.new"), folder.path().join("a_b")).unwrap();
    pull("a/b:v2", &[]).ok();
}
