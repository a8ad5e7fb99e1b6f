//! Layers made, read back, and laid on each other.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::io::{Read, Write};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use proptest::prelude::*;

use super::*;
use crate::image::tests::{Made, image};
use crate::image::{files, layer};
use crate::stream::{Stop, Watch};
use crate::tar::{Dialect, Entries, Entry, Kind};

/// Calls `with` with options for tests.
fn settled<T>(family: Family, jobs: usize, with: impl FnOnce(LayerOptions<'_>) -> T) -> T {
    let (folder, stop) = (tempfile::tempdir().unwrap(), Stop::new());
    let run = Run::new(jobs, Watch::new(&(), &stop));
    let done = with(LayerOptions {
        family,
        folder: folder.path(),
        run,
    });
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    done
}

fn made(parts: &Contents) -> Layer {
    settled(Family::Oci, 2, |options| {
        Layer::from_contents(parts, options)
    })
    .unwrap()
}

/// A layer's tar, after both digests were found true.
fn plain(layer: &Layer) -> Vec<u8> {
    let stop = Stop::new();
    let mut bytes = Vec::new();
    let mut reader = layer::open(&layer.blob, Watch::new(&(), &stop)).unwrap();
    reader.read_to_end(&mut bytes).unwrap();
    assert_eq!(Digest::of(&bytes), layer.diff_id);
    bytes
}

fn entries(layer: &Layer) -> Vec<Entry> {
    let bytes = plain(layer);
    Entries::new("t", &bytes[..])
        .collect::<Result<_>>()
        .unwrap()
}

fn names(layer: &Layer) -> Vec<String> {
    let all = entries(layer);
    all.iter().map(|e| e.name().into_owned()).collect()
}

/// The parts of one call.
fn added(src: &Path, dest: &str, exclude: &[Pattern]) -> Contents {
    parts(|p| {
        p.add_path(src, dest, exclude).unwrap();
    })
}

fn text(name: &str, bytes: Vec<u8>) -> Contents {
    parts(|p| {
        p.add_file(name, bytes, 0o644).unwrap();
    })
}

fn parts(fill: impl FnOnce(&mut Contents)) -> Contents {
    let mut parts = Contents::new(FileOptions::default());
    fill(&mut parts);
    parts
}

/// What Debian's tar says of it.
fn listed(layer: &Layer, options: &[&str]) -> String {
    let mut child = Command::new("tar")
        .args(options)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(&plain(layer))
        .unwrap();
    let out = child.wait_with_output().unwrap();
    assert!(out.status.success());
    String::from_utf8(out.stdout).unwrap()
}

/// Some of everything that a layer takes.
fn tree(at: &Path) {
    fs::create_dir_all(at.join("d/empty")).unwrap();
    fs::write(at.join("d/one"), "one").unwrap();
    fs::write(at.join("d/run.sh"), "#!/bin/sh\n").unwrap();
    fs::hard_link(at.join("d/run.sh"), at.join("again")).unwrap();
    symlink("../outside", at.join("d/link")).unwrap();
    fs::write(at.join(format!("d/{}", "long".repeat(50))), "x").unwrap();
    fs::write(at.join("d-"), vec![7; 70_000]).unwrap();
    for (name, mode) in [("d", 0o755), ("d/empty", 0o700), ("d/one", 0o640)] {
        fs::set_permissions(at.join(name), Permissions::from_mode(mode)).unwrap();
    }
    fs::set_permissions(at.join("again"), Permissions::from_mode(0o4755)).unwrap();
    fs::set_permissions(at.join("d-"), Permissions::from_mode(0o644)).unwrap();
    let long = format!("d/{}", "long".repeat(50));
    fs::set_permissions(at.join(long), Permissions::from_mode(0o644)).unwrap();
    fs::set_permissions(at, Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn a_folder_is_read_back_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    tree(dir.path());
    let layer = made(&added(dir.path(), "app", &[]));
    let long = format!("app/d/{}", "long".repeat(50));
    let all = entries(&layer);
    let told: Vec<_> = all
        .iter()
        .map(|e| (e.name().into_owned(), e.kind, e.mode, e.size))
        .collect();
    let wanted = [
        ("app/", Kind::Directory, 0o755, 0),
        ("app/again", Kind::File, 0o4755, 10),
        ("app/d/", Kind::Directory, 0o755, 0),
        ("app/d/empty/", Kind::Directory, 0o700, 0),
        ("app/d/link", Kind::Symlink, 0o777, 0),
        (&long, Kind::File, 0o644, 1),
        ("app/d/one", Kind::File, 0o640, 3),
        ("app/d/run.sh", Kind::HardLink, 0o4755, 0),
        ("app/d-", Kind::File, 0o644, 70_000),
    ];
    let wanted = wanted.map(|(name, kind, mode, size)| (name.to_string(), kind, mode, size));
    assert_eq!(told, wanted);
    assert_eq!(
        (&all[4].link[..], &all[7].link[..]),
        (&b"../outside"[..], &b"app/again"[..])
    );
    assert!(all.iter().all(|e| (e.owner, e.modified) == ((0, 0), 0)));
    assert_eq!(layer.created_by, "dxf: add /app");
    // The same in the words of the tar that Debian has.
    let names: Vec<_> = told.iter().map(|(name, ..)| name.as_str()).collect();
    assert_eq!(listed(&layer, &["-t"]).lines().collect::<Vec<_>>(), names);
    assert_eq!(listed(&layer, &["-xO", "app/d/one"]), "one");
}

#[test]
fn the_same_tree_is_the_same_layer_everywhere() {
    let dir = tempfile::tempdir().unwrap();
    let (here, there) = (dir.path().join("here"), dir.path().join("there/deeper"));
    tree(&here);
    fs::create_dir_all(&there).unwrap();
    // Another place, mask, time and owner.
    let copy = "umask 077; cp -a \"$0/.\" \"$1\" && cd \"$1\" && { chown -hR 1234:77 . ; chmod 4755 again; }";
    let copied = Command::new("sh")
        .args(["-c", copy])
        .args([&here, &there])
        .stderr(Stdio::null())
        .status()
        .unwrap();
    assert!(copied.success());
    let file = fs::File::options().append(true).open(there.join("d/one"));
    let old = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
    file.unwrap().set_modified(old).unwrap();
    let layer = |at: &Path, jobs: usize, family: Family| {
        let parts = added(at, "/app/", &[]);
        settled(family, jobs, |s| Layer::from_contents(&parts, s)).unwrap()
    };
    let one = layer(&here, 1, Family::Oci);
    fs::rename(
        dir.path().join("there/deeper"),
        dir.path().join("there/here"),
    )
    .unwrap();
    let two = layer(&dir.path().join("there/here"), 4, Family::Oci);
    assert_eq!(one.blob.descriptor(), two.blob.descriptor());
    assert_eq!(
        (one.diff_id, &one.created_by),
        (two.diff_id, &two.created_by)
    );
    assert_eq!(one.created_by, "dxf: add /app/here");
    let docker = layer(&here, 2, Family::Docker);
    assert_eq!(docker.blob.digest(), one.blob.digest());
    let types = [&docker, &one].map(|layer| layer.blob.descriptor().media_type.as_str());
    let gzip = [
        "application/vnd.docker.image.rootfs.diff.tar.gzip",
        "application/vnd.oci.image.layer.v1.tar+gzip",
    ];
    assert_eq!(types, gzip);
    // These bytes are what a registry knows the layer by, for ever.
    let fixed = parts(|p| {
        p.add_file("etc/motd", b"hello\n".to_vec(), 0o644).unwrap();
        p.remove("/usr/share/doc").unwrap();
    });
    assert_eq!(&made(&fixed).diff_id.hex()[..12], "22717ce9536d");
}

#[test]
fn owners_and_times_are_kept_when_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("f");
    fs::write(&path, "x").unwrap();
    let file = fs::File::options().append(true).open(&path).unwrap();
    let then = SystemTime::UNIX_EPOCH + Duration::from_millis(1_234_567_999);
    file.set_modified(then).unwrap();
    let with = |options: FileOptions| {
        let mut parts = Contents::new(options);
        parts.add_path(&path, "f", &[]).unwrap();
        parts.add_file("g", vec![], 0o600).unwrap();
        entries(&made(&parts))
            .iter()
            .map(|e| (e.owner, e.modified))
            .collect::<Vec<_>>()
    };
    let fixed = FileOptions {
        owner: Owner::Fixed(1000, 4_000_000),
        modified: Modified::Fixed(77),
        ..FileOptions::default()
    };
    assert_eq!(with(fixed), [((1000, 4_000_000), 77); 2]);
    let kept = FileOptions {
        owner: Owner::Source,
        modified: Modified::Source,
        ..FileOptions::default()
    };
    use std::os::unix::fs::MetadataExt;
    let meta = fs::metadata(&path).unwrap();
    let own = (u64::from(meta.uid()), u64::from(meta.gid()));
    assert_eq!(with(kept), [(own, 1_234_567), ((0, 0), 0)]);
}

#[test]
fn destinations_mean_what_they_mean_to_cp() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("src")).unwrap();
    fs::write(dir.path().join("src/f"), "x").unwrap();
    let (folder, file) = (dir.path().join("src"), dir.path().join("src/f"));
    let of = |src: &Path, dest: &str| names(&made(&added(src, dest, &[])));
    assert_eq!(of(&folder, "/a/b"), ["a/b/", "a/b/f"]);
    assert_eq!(of(&folder, "/a/b/"), ["a/b/src/", "a/b/src/f"]);
    assert_eq!(of(&folder, "/"), ["src/", "src/f"]);
    // Contents alone: nothing is said of the folder that takes them.
    assert_eq!(of(&folder.join("."), "tmp"), ["tmp/f"]);
    assert_eq!(of(&folder.join("."), "tmp/"), ["tmp/f"]);
    assert_eq!(of(&folder, "/."), ["f"]);
    assert_eq!(of(&file, "/a/b"), ["a/b"]);
    assert_eq!(of(&file, "a/b/"), ["a/b/f"]);
    assert_eq!(of(&file, "/"), ["f"]);
    let written = FileOptions {
        parents: Parents::Written,
        ..FileOptions::default()
    };
    let mut parts = Contents::new(written);
    parts.add_path(&file, "a/b/", &[]).unwrap();
    let all = entries(&made(&parts));
    let told: Vec<_> = all
        .iter()
        .map(|e| (e.name().into_owned(), e.mode))
        .collect();
    assert_eq!(
        told[..2],
        [("a/".to_string(), 0o755), ("a/b/".to_string(), 0o755)]
    );
    assert_eq!(told.len(), 3);
}

#[test]
fn patterns_leave_files_out() {
    let dir = tempfile::tempdir().unwrap();
    for name in [
        "a.o",
        "keep.o",
        "d/x.o",
        "d/y",
        "out/deep/in",
        "out/z",
        "gone/f",
    ] {
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "x").unwrap();
    }
    let patterns = ["**/*.o", "!keep.o", "out", "!out/deep/in", "gone/"];
    let patterns = patterns.map(|p| p.parse().unwrap());
    let layer = made(&added(dir.path(), "/.", &patterns));
    assert_eq!(
        names(&layer),
        ["d/", "d/y", "keep.o", "out/", "out/deep/", "out/deep/in"]
    );
}

#[test]
fn later_parts_win_and_removals_reach_below() {
    let layer = |fill: &dyn Fn(&mut Contents)| names(&made(&parts(fill)));
    let text = |p: &mut Contents, name: &str| {
        p.add_file(name, b"x".to_vec(), 0o644).unwrap();
    };
    assert_eq!(
        layer(&|p| {
            p.remove("/a/b/").unwrap();
        }),
        ["a/.wh.b"]
    );
    // What was added is gone as well.
    assert_eq!(
        layer(&|p| {
            text(p, "a/b");
            p.remove("a").unwrap();
        }),
        [".wh.a"]
    );
    // One removal says it all.
    assert_eq!(
        layer(&|p| {
            p.remove("a/b").unwrap();
            p.remove("a").unwrap();
            p.remove("a/c").unwrap();
        }),
        [".wh.a"]
    );
    // A file takes the place of what is removed…
    assert_eq!(
        layer(&|p| {
            p.remove("a").unwrap();
            text(p, "a");
        }),
        ["a"]
    );
    // …a folder would show what is below it, and is made to hide it.
    let again = layer(&|p| {
        p.remove("a").unwrap();
        text(p, "a/b/c");
        text(p, "-");
    });
    assert_eq!(again, ["-", "a/", "a/.wh..wh..opq", "a/b/c"]);
    // A file where files were.
    assert_eq!(
        layer(&|p| {
            text(p, "a/b");
            text(p, "a");
        }),
        ["a"]
    );
    // Engines remove as they read: whiteouts stand before their neighbours.
    assert_eq!(
        layer(&|p| {
            text(p, "+");
            p.remove("z").unwrap();
        }),
        [".wh.z", "+"]
    );
    let mut under = parts(|p| text(p, "a"));
    assert!(under.add_file("a/b", vec![], 0o644).is_err());
    let many = parts(|p| (0..9).for_each(|i| text(p, &format!("f{i}"))));
    assert_eq!(
        made(&many).created_by,
        "dxf: add /f0, add /f1, add /f2, add /f3, add /f4 and 4 more"
    );
    assert!(parts(|_| ()).is_empty() && !many.is_empty());
    assert_eq!(entries(&made(&parts(|_| ()))), []);
}

#[test]
fn what_cannot_be_put_into_a_layer_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let said = |src: &Path, dest: &str| {
        let failed = Contents::default().add_path(src, dest, &[]).map(drop);
        failed.unwrap_err().to_string()
    };
    let missing = dir.path().join("missing");
    assert!(said(&missing, "/a").contains("missing: No such file"));
    fs::write(dir.path().join("f"), "x").unwrap();
    assert!(said(&dir.path().join("f"), "/a/../../b").contains("it leads upwards"));
    assert!(said(&dir.path().join("f"), "/.").contains("it is a folder"));
    let _socket = std::os::unix::net::UnixListener::bind(dir.path().join("sock")).unwrap();
    assert!(said(dir.path(), "/a").contains("sock: a layer takes files"));
    let mut parts = Contents::default();
    let pattern = ["sock".parse().unwrap()];
    parts.add_path(dir.path(), "a", &pattern).unwrap();
    fs::write(dir.path().join(".wh.f"), "x").unwrap();
    assert!(
        Contents::default()
            .add_path(dir.path(), "/a", &pattern)
            .unwrap_err()
            .to_string()
            .contains(".wh.f: names")
    );
    for bad in ["/", "..", "a/.wh.b"] {
        assert!(parts.remove(bad).is_err(), "{bad}");
        assert!(parts.add_file(bad, vec![], 0o644).is_err(), "{bad}");
    }
    assert!(parts.add_file("a/", vec![], 0o644).is_err());
}

#[test]
fn a_file_that_changes_makes_no_layer() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("f");
    fs::write(&path, "before").unwrap();
    let parts = added(&path, "f", &[]);
    for now in ["longer than before", "b", ""] {
        fs::write(&path, now).unwrap();
        let failed = settled(Family::Oci, 1, |s| Layer::from_contents(&parts, s));
        let said = failed.unwrap_err().to_string();
        assert!(said.ends_with("f: changed while it was read"), "{said}");
    }
    fs::remove_file(&path).unwrap();
    assert!(settled(Family::Oci, 1, |s| Layer::from_contents(&parts, s)).is_err());
}

#[test]
fn a_reader_of_another_length_breaks_no_tar() {
    for (bytes, size) in [(&b"abc"[..], 2), (b"abc", 4), (b"", 1), (b"a", 0)] {
        let whole = entries(&made(&text("f", vec![])));
        let entry = Entry {
            size,
            ..whole[0].clone()
        };
        let member = crate::tar::Member {
            entry,
            content: Some(Box::new(bytes)),
        };
        let failed = settled(Family::Oci, 1, |s| {
            layer([Ok(member)].into_iter(), String::new(), s)
        });
        assert!(matches!(failed, Err(Error::Size { .. })), "{size}");
    }
}

#[test]
fn tars_are_layers_whatever_they_are_called() {
    let dir = tempfile::tempdir().unwrap();
    let bytes = plain(&made(&text("f", vec![7; 9000])));
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&bytes).unwrap();
    let gzip = gzip.finish().unwrap();
    let zstd = zstd::encode_all(&bytes[..], 3).unwrap();
    let path = dir.path().join("some.zip");
    let layer = |bytes: &[u8], family: Family| {
        fs::write(&path, bytes).unwrap();
        let layer = settled(family, 2, |s| Layer::from_tar(&path, s)).unwrap();
        assert_eq!(plain(&layer).len(), 9216 + 512 + 1024);
        assert_eq!(layer.created_by, "dxf: add some.zip");
        (
            layer.blob.descriptor().media_type.clone(),
            *layer.blob.digest(),
            layer.diff_id,
        )
    };
    let diff_id = Digest::of(&bytes);
    let again = made(&text("f", vec![7; 9000]));
    let docker = "application/vnd.docker.image.rootfs.diff.tar.gzip".to_string();
    let oci = |suffix: &str| format!("application/vnd.oci.image.layer.v1.tar+{suffix}");
    for (family, name) in [(Family::Docker, docker.clone()), (Family::Oci, oci("gzip"))] {
        let kept = (name.clone(), Digest::of(&gzip), diff_id);
        assert_eq!(layer(&gzip, family), kept);
        assert_eq!(layer(&bytes, family), (name, *again.blob.digest(), diff_id));
    }
    assert_eq!(
        layer(&zstd, Family::Oci),
        (oci("zstd"), Digest::of(&zstd), diff_id)
    );
    assert_eq!(
        layer(&zstd, Family::Docker),
        (docker, *again.blob.digest(), diff_id)
    );
}

#[test]
fn what_is_no_tar_is_no_layer() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.tar");
    let good = plain(&made(&text("f", vec![7; 900])));
    let mut out = ::tar::Header::new_ustar();
    out.as_old_mut().name[..4].copy_from_slice(b"../x");
    out.set_size(0);
    out.set_cksum();
    let text = b"no tar at all".repeat(100);
    let mut cut = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    cut.write_all(&good).unwrap();
    let cut = cut.finish().unwrap();
    let bad: [&[u8]; 6] = [
        b"",
        b"text",
        &text,
        &good[..700],
        out.as_bytes(),
        &cut[..cut.len() - 5],
    ];
    for bytes in bad {
        fs::write(&path, bytes).unwrap();
        let failed = settled(Family::Oci, 1, |s| Layer::from_tar(&path, s));
        assert!(
            matches!(failed, Err(Error::Malformed { .. })),
            "{} bytes",
            bytes.len()
        );
    }
    let failed = settled(Family::Oci, 1, |s| Layer::from_tar(dir.path(), s));
    assert!(matches!(failed, Err(Error::Unsupported { .. })));
    fs::remove_file(&path).unwrap();
    let failed = settled(Family::Oci, 1, |s| Layer::from_tar(&path, s));
    assert!(matches!(failed, Err(Error::Io { .. })));
}

/// A member of a layer, as tests say it.
#[derive(Debug, Clone)]
enum Op {
    File(String, u8),
    Folder(String),
    Symlink(String, String),
    /// A name for one of the existing files, counted from the first.
    HardLink(String, usize),
    Hide(String),
    HideAll(String),
}

/// What a name points to: its kind with its bytes or target, and which other
/// names are the same file.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Seen {
    kind: &'static str,
    bytes: Vec<u8>,
    file: usize,
}

/// A file system that layers are unpacked into, in the simplest way.
#[derive(Default)]
struct Disk {
    files: BTreeMap<String, Seen>,
    next: usize,
}

impl Disk {
    fn put(&mut self, name: &str, kind: &'static str, bytes: Vec<u8>) {
        self.next += 1;
        let file = self.next;
        self.set(name, Seen { kind, bytes, file });
    }

    fn set(&mut self, name: &str, seen: Seen) {
        if seen.kind != "folder" {
            self.hide_below(name);
        }
        // A name can't lie below a file, so the file gives way.
        for (end, _) in name.match_indices('/') {
            if self
                .files
                .get(&name[..end])
                .is_some_and(|above| above.kind != "folder")
            {
                self.files.remove(&name[..end]);
            }
        }
        self.files.insert(name.to_string(), seen);
    }

    fn hide_below(&mut self, name: &str) {
        let prefix = format!("{name}/");
        self.files.retain(|other, _| !other.starts_with(&prefix));
    }

    /// The names of each file as one number, so that two disks compare.
    fn shown(&self) -> Vec<(String, &'static str, Vec<u8>, usize)> {
        let first = |file: usize| self.files.values().position(|seen| seen.file == file);
        let all = self.files.iter();
        all.map(|(name, seen)| {
            (
                name.clone(),
                seen.kind,
                seen.bytes.clone(),
                first(seen.file).unwrap(),
            )
        })
        .collect()
    }
}

/// Writes a layer of `ops`, leaving out what no engine could unpack, and
/// unpacks it onto `disk`.
fn lay(ops: &[Op], disk: &mut Disk) -> Vec<u8> {
    let mut to = ::tar::Builder::new(Vec::new());
    let mut put = |kind: ::tar::EntryType, name: &str, link: Option<&str>, bytes: &[u8]| {
        let mut header = ::tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(0o750);
        header.set_uid(5);
        header.set_gid(6);
        header.set_mtime(99);
        header.set_size(bytes.len() as u64);
        match link {
            Some(link) => to.append_link(&mut header, name, link).unwrap(),
            None => to.append_data(&mut header, name, bytes).unwrap(),
        }
    };
    // Lower layers lose what is hidden before anything is added.
    for op in ops {
        match op {
            Op::Hide(name) => {
                let (folder, last) = name.rsplit_once('/').unwrap_or(("", name));
                let folder = if folder.is_empty() {
                    String::new()
                } else {
                    format!("{folder}/")
                };
                put(
                    ::tar::EntryType::Regular,
                    &format!("{folder}.wh.{last}"),
                    None,
                    b"",
                );
                disk.files.remove(name);
                disk.hide_below(name);
            }
            Op::HideAll(name) => {
                put(
                    ::tar::EntryType::Regular,
                    &format!("{name}/.wh..wh..opq"),
                    None,
                    b"",
                );
                disk.hide_below(name);
            }
            _ => {}
        }
    }
    let mut here: Vec<(&str, bool)> = Vec::new();
    for op in ops {
        let (name, is_folder) = match op {
            Op::Folder(name) => (name.as_str(), true),
            Op::File(name, _) | Op::Symlink(name, _) | Op::HardLink(name, _) => {
                (name.as_str(), false)
            }
            Op::Hide(_) | Op::HideAll(_) => continue,
        };
        // A layer names nothing twice, and nothing lies in a file.
        let under = |inner: &str, outer: &str| inner.starts_with(&format!("{outer}/"));
        let clash = |(other, folder): &(&str, bool)| {
            *other == name || !folder && under(name, other) || !is_folder && under(other, name)
        };
        if here.iter().any(clash) {
            continue;
        }
        here.push((name, is_folder));
        match op {
            Op::File(name, byte) => {
                let bytes = vec![*byte; usize::from(*byte) * 9];
                put(::tar::EntryType::Regular, name, None, &bytes);
                disk.put(name, "file", bytes);
            }
            Op::Folder(name) => {
                put(::tar::EntryType::Directory, name, None, b"");
                disk.put(name, "folder", vec![]);
            }
            Op::Symlink(name, target) => {
                put(::tar::EntryType::Symlink, name, Some(target), b"");
                disk.put(name, "link", target.clone().into_bytes());
            }
            Op::HardLink(name, which) => {
                let there = disk.files.iter().filter(|(_, seen)| seen.kind != "folder");
                let there: Vec<_> = there.map(|(n, s)| (n.clone(), s.clone())).collect();
                if let Some((target, seen)) = there.get(which % there.len().max(1))
                    && target != name
                    && !target.starts_with(&format!("{name}/"))
                {
                    put(::tar::EntryType::Link, name, Some(target), b"");
                    disk.set(name, seen.clone());
                }
            }
            Op::Hide(_) | Op::HideAll(_) => {}
        }
    }
    to.into_inner().unwrap()
}

/// Unpacks one layer of plain members.
fn unpacked(bytes: &[u8]) -> Disk {
    let mut disk = Disk::default();
    let mut all = Entries::new("t", bytes);
    while let Some(entry) = all.next() {
        let entry = entry.unwrap();
        let name = entry.name().trim_end_matches('/').to_string();
        let link = String::from_utf8(entry.link.clone()).unwrap();
        assert!(!name.contains(".wh."), "{name}");
        assert!(
            entry.kind == Kind::HardLink
                || (entry.mode, entry.owner, entry.modified) == (0o750, (5, 6), 99)
        );
        match entry.kind {
            Kind::File => {
                let mut bytes = Vec::new();
                all.content(&entry)
                    .unwrap()
                    .read_to_end(&mut bytes)
                    .unwrap();
                disk.put(&name, "file", bytes);
            }
            Kind::Directory => disk.put(&name, "folder", vec![]),
            Kind::Symlink => disk.put(&name, "link", link.into_bytes()),
            Kind::HardLink => {
                let seen = disk.files[&link].clone();
                disk.set(&name, seen);
            }
            other => panic!("{other:?}"),
        }
    }
    disk
}

fn squashed(layers: &[Vec<u8>]) -> Layer {
    let made: Vec<Made<'_>> = layers
        .iter()
        .enumerate()
        .map(|(i, bytes)| match i % 3 {
            0 => Made::Gzip(bytes),
            1 => Made::Zstd(bytes),
            _ => Made::Plain(bytes),
        })
        .collect();
    let whole = image(&made);
    let one = settled(Family::Oci, 2, |s| Layer::squashed(whole.layers(), s)).unwrap();
    // What lists files sees the same.
    let stop = Stop::new();
    let seen = |image| {
        let found = files::merged(&image, Watch::new(&(), &stop)).unwrap();
        found
            .into_iter()
            .map(|f| {
                (
                    f.entry.name().trim_end_matches('/').to_string(),
                    f.entry.mode,
                    f.entry.owner,
                )
            })
            .collect::<Vec<_>>()
    };
    assert_eq!(
        seen(image(&[Made::Plain(&plain(&one))])),
        seen(whole.clone())
    );
    one
}

fn op() -> impl Strategy<Value = Op> {
    let name = proptest::collection::vec("[ab-]", 1..4).prop_map(|parts| parts.join("/"));
    (0..9u8, name.clone(), name, any::<u8>()).prop_map(|(kind, name, other, byte)| match kind {
        0..=2 => Op::File(name, byte),
        3 => Op::Folder(name),
        4 => Op::Symlink(name, other),
        5 | 6 => Op::HardLink(name, byte.into()),
        7 => Op::Hide(name),
        _ => Op::HideAll(name),
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]
    #[test]
    fn a_squashed_stack_shows_what_the_stack_shows(
        stack in proptest::collection::vec(proptest::collection::vec(op(), 0..8), 1..5),
    ) {
        let mut disk = Disk::default();
        let layers: Vec<Vec<u8>> = stack.iter().map(|ops| lay(ops, &mut disk)).collect();
        let one = squashed(&layers);
        prop_assert_eq!(unpacked(&plain(&one)).shown(), disk.shown());
    }
}

#[test]
fn squashing_fills_holes_within_bounds() {
    let sparse = |name: &str, size: u64| {
        let map = format!("{},3", size - 3);
        let records = [
            ("GNU.sparse.size", size.to_string()),
            ("GNU.sparse.map", map),
        ];
        let mut to = ::tar::Builder::new(Vec::new());
        let records = records.iter().map(|(k, v)| (*k, v.as_bytes()));
        to.append_pax_extensions(records).unwrap();
        let mut header = ::tar::Header::new_ustar();
        header.set_size(3);
        to.append_data(&mut header, name, &b"end"[..]).unwrap();
        to.into_inner().unwrap()
    };
    let one = squashed(&[sparse("f", 70_000), sparse("g", 3)]);
    let all = entries(&one);
    assert_eq!((all[0].size, all[0].sparse), (70_000, false));
    let bytes = plain(&one);
    let content = &bytes[all[0].offset as usize..][..70_000];
    assert!(content.ends_with(b"end") && content[..69_997].iter().all(|b| *b == 0));
    let whole = image(&[Made::Plain(&sparse("f", 2 << 30))]);
    let refused = settled(Family::Oci, 1, |s| Layer::squashed(whole.layers(), s));
    assert!(matches!(refused, Err(Error::Unsupported { .. })));
}

#[test]
fn squashing_keeps_what_names_do_not_show() {
    let attribute = (
        b"SCHILY.xattr.security.capability".to_vec(),
        b"\x01\0\0\x02".to_vec(),
    );
    let entry = |path: &str, kind: Kind| Entry {
        path: path.into(),
        link: Vec::new(),
        size: 0,
        mode: 0o644,
        owner: (0, 0),
        modified: 0,
        kind,
        device: (0, 0),
        attributes: Vec::new(),
        offset: 0,
        sparse: false,
    };
    let all = [
        Entry {
            mode: 0o1777,
            ..entry("./", Kind::Directory)
        },
        Entry {
            device: (1, 3),
            ..entry("dev/null", Kind::CharDevice)
        },
        Entry {
            attributes: vec![attribute],
            ..entry("ping", Kind::File)
        },
        entry("pipe", Kind::Fifo),
    ];
    let lower: Vec<u8> = all
        .iter()
        .flat_map(|e| crate::tar::header(e, Dialect::Pax).unwrap())
        .collect();
    let one = squashed(&[lower, lay(&[Op::Hide("x".into())], &mut Disk::default())]);
    let found: Vec<Entry> = entries(&one)
        .into_iter()
        .map(|e| Entry { offset: 0, ..e })
        .collect();
    assert_eq!(
        found,
        [
            all[0].clone(),
            all[1].clone(),
            all[2].clone(),
            all[3].clone()
        ]
    );
    assert_eq!(one.created_by, "dxf: squash 2 layers");
    let again = squashed(&[plain(&one)]);
    assert_eq!(again.blob.digest(), one.blob.digest());
    let failed = |bytes: &[u8]| {
        let image = image(&[Made::Gzip(bytes)]);
        settled(Family::Oci, 1, |s| Layer::squashed(image.layers(), s)).unwrap_err()
    };
    let dangling = Entry {
        link: b"nothing".to_vec(),
        ..entry("a", Kind::HardLink)
    };
    for (bad, said) in [
        (dangling, "links to nothing"),
        (entry("../a", Kind::File), "points outside"),
    ] {
        let error = failed(&crate::tar::header(&bad, Dialect::Pax).unwrap());
        assert!(
            error.is_corrupt() && error.to_string().contains(said),
            "{error}"
        );
    }
    assert!(failed(b"no tar").is_corrupt());
}

/// What a layer of `contents` on top of `lower` has: names with kind, permissions
/// and owner.
fn on_top(lower: &[Layer], contents: &Contents) -> Vec<(String, u32, u64)> {
    let layers: Vec<Blob> = lower.iter().map(|layer| layer.blob.clone()).collect();
    let stop = Stop::new();
    let watch = Watch::new(&(), &stop);
    let fitted = contents.over("linux", &layers, watch).unwrap();
    let all = entries(&made(&fitted)).into_iter();
    all.map(|e| (e.name().into_owned(), e.mode, e.owner.0))
        .collect()
}

/// A layer with `/tmp` for every user, `/home/app` of user 1000 and `/lib`, a
/// link to `/usr/lib`.
fn debian() -> Layer {
    let folder = tempfile::tempdir().unwrap();
    symlink("usr/lib", folder.path().join("lib")).unwrap();
    fs::create_dir(folder.path().join("tmp")).unwrap();
    fs::set_permissions(folder.path().join("tmp"), Permissions::from_mode(0o1777)).unwrap();
    let mut contents = Contents::default();
    contents
        .add_path(&folder.path().join("."), "/", &[])
        .unwrap();
    contents.add_file("/usr/lib/ld.so", vec![1], 0o755).unwrap();
    made(
        &contents
            .over("linux", &[], Watch::new(&(), &Stop::new()))
            .unwrap(),
    )
}

fn home() -> Layer {
    let mut contents = Contents::new(FileOptions {
        owner: Owner::Fixed(1000, 1000),
        ..FileOptions::default()
    });
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir_all(folder.path().join("home/app")).unwrap();
    fs::set_permissions(
        folder.path().join("home/app"),
        Permissions::from_mode(0o750),
    )
    .unwrap();
    contents
        .add_path(&folder.path().join("home"), "/home", &[])
        .unwrap();
    made(&contents)
}

#[test]
fn folders_keep_what_lower_layers_say_of_them() {
    let lower = [debian(), home()];
    let parts = parts(|p| {
        p.add_file("/tmp/x", vec![1], 0o644).unwrap();
        p.add_file("/home/app/y", vec![1], 0o644).unwrap();
        p.add_file("/new/z", vec![1], 0o644).unwrap();
    });
    let made = on_top(&lower, &parts);
    let of = |name: &str| {
        made.iter()
            .find(|(n, ..)| n == name)
            .map(|(_, m, o)| (*m, *o))
    };
    assert_eq!(of("tmp/").or(of("tmp")), Some((0o1777, 0)));
    assert_eq!(of("home/app/").or(of("home/app")), Some((0o750, 1000)));
    // What is nowhere is the engine's to make.
    assert_eq!(of("new/").or(of("new")), None);
    assert_eq!(of("new/z"), Some((0o644, 0)));
}

#[test]
fn links_of_lower_layers_are_followed() {
    let lower = [debian()];
    let plain = |contents: &Contents| -> Vec<String> {
        let all = on_top(&lower, contents).into_iter();
        all.map(|(name, ..)| name.trim_end_matches('/').to_string())
            .collect()
    };
    let add = parts(|p| {
        p.add_file("/lib/new", vec![1], 0o644).unwrap();
    });
    assert_eq!(plain(&add), ["usr", "usr/lib", "usr/lib/new"]);
    let remove = parts(|p| {
        p.remove("/lib/ld.so").unwrap();
    });
    assert_eq!(plain(&remove), ["usr", "usr/lib", "usr/lib/.wh.ld.so"]);
    // The link itself is removed, or replaced by a file.
    let link = parts(|p| {
        p.remove("/lib").unwrap();
    });
    assert_eq!(plain(&link), [".wh.lib"]);
    let file = parts(|p| {
        p.add_file("/lib", vec![1], 0o644).unwrap();
    });
    assert_eq!(plain(&file), ["lib"]);
    let both = parts(|p| {
        p.remove("/lib").unwrap();
        p.add_file("/lib/new", vec![1], 0o644).unwrap();
    });
    assert_eq!(plain(&both), ["lib", "lib/.wh..wh..opq", "lib/new"]);
}

#[test]
fn files_at_the_root_need_no_lower_layer() {
    let broken = [Blob::bytes("x/y", b"no tar".to_vec())];
    let stop = Stop::new();
    let watch = Watch::new(&(), &stop);
    let root = parts(|p| {
        p.add_file("/a", vec![1], 0o644).unwrap();
        p.remove("/b").unwrap();
    });
    assert_eq!(root.over("linux", &broken, watch).unwrap(), root);
    let deeper = parts(|p| {
        p.add_file("/a/b", vec![1], 0o644).unwrap();
    });
    assert!(deeper.over("linux", &broken, watch).is_err());
}

#[test]
fn windows_has_its_files_in_a_folder() {
    let stop = Stop::new();
    let watch = Watch::new(&(), &stop);
    let contents = parts(|p| {
        p.add_file("/app/t", vec![1], 0o644).unwrap();
        p.remove("/a.exe").unwrap();
    });
    let layer = made(&contents.over("windows", &[], watch).unwrap());
    let names = names(&layer);
    let names: Vec<&str> = names
        .iter()
        .map(|name| name.trim_end_matches('/'))
        .collect();
    assert_eq!(names, ["Files", "Files/.wh.a.exe", "Files/app/t", "Hives"]);
    layer.must_suit_windows(watch).unwrap();
    let other = made(&contents);
    assert!(other.must_suit_windows(watch).is_err());
}

#[test]
fn capabilities_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ping");
    fs::write(&path, "x").unwrap();
    let value = [1, 0, 0, 2, 0, 32, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let flags = rustix::fs::XattrFlags::empty();
    let set = rustix::fs::lsetxattr(&path, c"security.capability", &value, flags);
    let entry = entries(&made(&added(&path, "/bin/ping", &[])))
        .pop()
        .unwrap();
    let kept = entry.attributes.iter().map(|(_, value)| value.as_slice());
    // Only root may set one.
    let expected: &[&[u8]] = if set.is_ok() { &[&value] } else { &[] };
    assert_eq!(kept.collect::<Vec<_>>(), expected);
}
