//! Looks inside images without an engine: one file, all of them, and what differs
//! between two.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;

use dxf_registry::image::layer::Family;
use dxf_registry::image::{Image, Node};
use dxf_registry::tar::{Entries, Kind};

use crate::archive::{GZIP, image, layers};
use crate::engine::hello;
use crate::inventory::put_node;
use crate::support::bench::Mode;
use crate::support::peers;
use crate::support::place::{Place, each_place};

/// An image, and another that begins with its first layer only.
fn fill(at: &Place) -> Image {
    let whole = image("linux/amd64", Family::Oci, GZIP);
    put_node(at, "a", "both", &Node::Image(whole.clone()));
    let edit = [
        "edit-image",
        "--remove-layer",
        "1",
        "--env",
        "A=1",
        "--add-file",
        "/new=text\n",
    ];
    let words = edit.iter().chain(&["a:both", "a:other"]);
    at.run(words.copied().collect::<Vec<_>>()).ok();
    whole
}

/// `repo:tag` as this place is reached.
fn named(at: &Place, tag: &str) -> String {
    match &at.bench {
        Some(bench) => format!("{}/a:{tag}", bench.host()),
        None => format!("a:{tag}"),
    }
}

each_place!(one_file_is_written_as_it_is, |at| {
    fill(at);
    let image = named(at, "both");
    at.forget();
    let out = at
        .run(["get-file", &image, "/soft"])
        .env("DXF_CACHE", "0")
        .ok();
    assert_eq!(out.text(), "long");
    if let Some(bench) = &at.bench {
        // The config and one layer: the one below is not read, and the one that has
        // the file only once.
        let lines = bench.request_lines();
        let blobs = lines.iter().filter(|line| line.contains("/blobs/")).count();
        assert_eq!(blobs, 2, "{lines:?}");
    }
    at.run(["get-file", "-o", "hello", &image, "hello"]).ok();
    assert_eq!(fs::read(at.work().join("hello")).unwrap(), hello());
    at.run(["get-file", &image, "/gone"]).fails(2).says("/gone");
    for folder in ["/", "", "."] {
        at.run(["get-file", &image, folder])
            .fails(1)
            .says("is a folder");
    }
    assert_eq!(at.names(), ["hello"]);
});

/// The permissions of a file below the work folder, those of its set-user-ID bits too.
fn mode(at: &Place, name: &str) -> u32 {
    let meta = fs::metadata(at.work().join(name)).unwrap();
    meta.permissions().mode() & 0o7777
}

each_place!(
    one_file_keeps_its_permissions_and_none_of_another_user,
    |at| {
        fill(at);
        let image = named(at, "tools");
        let allow = |name: &str, mode| {
            fs::write(at.work().join(name), name).unwrap();
            fs::set_permissions(at.work().join(name), Permissions::from_mode(mode)).unwrap();
        };
        allow("tool", 0o4755);
        allow("secret", 0o400);
        allow("old", 0o640);
        fs::create_dir(at.work().join("plain")).unwrap();
        let by_umask = mode(at, "plain");
        at.run(["edit-image", "--add-path", "tool", "--add-path", "secret"])
            .args([&named(at, "both"), &image])
            .ok();
        let listed = at.run(["list-files", &image]).ok();
        assert!(listed.text().contains("-rwsr-xr-x"), "{}", listed.text());
        for (from, to, expected) in [
            ("tool", "new", 0o755 & by_umask),
            ("secret", "quiet", 0o400 & by_umask),
            ("tool", "old", 0o640),
        ] {
            at.run(["get-file", "-o", to, &image, from]).ok();
            assert_eq!(fs::read(at.work().join(to)).unwrap(), from.as_bytes());
            assert_eq!(mode(at, to), expected, "{to}");
        }
    }
);

each_place!(a_file_system_becomes_a_folder_or_a_tar, |at| {
    fill(at);
    let image = named(at, "both");
    at.run(["export-image", &image, "root"]).ok();
    let root = at.work().join("root");
    assert_eq!(fs::read(root.join("hello")).unwrap(), hello());
    assert_eq!(fs::read(root.join("hard")).unwrap(), b"long");
    assert!(
        fs::symlink_metadata(root.join("soft"))
            .unwrap()
            .is_symlink()
    );
    assert!(!root.join("gone").exists());
    // Existing files stay.
    at.run(["export-image", &image, "root"])
        .fails(1)
        .says("is not empty");
    fs::create_dir(at.work().join("empty")).unwrap();
    at.run(["export-image", &image, "empty"]).ok();
    assert!(at.work().join("empty/hello").exists());
    assert_eq!(at.names(), ["empty", "root"]);
    let tar = at.run(["export-image", &image]).ok().stdout;
    let names: Vec<String> = Entries::new("t", &tar[..])
        .map(|entry| entry.unwrap().name().into_owned())
        .collect();
    assert!(
        names.contains(&"hello".to_string()) && !names.contains(&"gone".to_string()),
        "{names:?}"
    );
    assert_eq!(at.run(["export-image", &image, "-"]).ok().stdout, tar);
    at.run(["export-image", &image, "no/such/folder"]).fails(1);
});

each_place!(two_images_are_compared, |at| {
    let whole = fill(at);
    let (both, other) = (named(at, "both"), named(at, "other"));
    assert_eq!(at.says(["diff-images", &both, &both]), "");
    at.forget();
    let out = at
        .run(["diff-images", &both, &other])
        .env("DXF_CACHE", "0")
        .ok();
    let lines = out.lines();
    let has = |line: &str| assert!(lines.contains(&line), "{line}: {lines:#?}");
    has("config M /config/Env - -> [\"A=1\"]");
    has(&format!("layer D {} 170 B", whole.layers()[1].digest()).replace(" 170 B", &size(&whole)));
    for line in ["file > new", "file < hard", "file < soft", "file A gone"] {
        has(line);
    }
    if let Some(bench) = &at.bench {
        let first = whole.layers()[0].digest().to_string();
        let lines = bench.request_lines();
        assert!(!lines.iter().any(|line| line.contains(&first)), "{lines:?}");
    }
    let json = at
        .run(["diff-images", &both, &other])
        .env("DXF_OUTPUT", "json")
        .ok()
        .json();
    assert_eq!(json["config"][0]["pointer"], "/config/Env");
    let of: Vec<&str> = json["layers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|l| l["of"].as_str().unwrap())
        .collect();
    assert_eq!(of, ["both", "first", "second"]);
    let files = json["files"].as_array().unwrap();
    assert!(
        files
            .iter()
            .any(|file| file["path"] == "gone" && file["change"] == "added")
    );
});

fn size(image: &Image) -> String {
    let bytes = image.layers()[1].size();
    format!(" {bytes} B")
}

#[test]
fn a_layer_that_leads_out_is_refused() {
    let at = Place::folder();
    let mut layer = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(4);
    header.as_old_mut().name[..9].copy_from_slice(b"../escape");
    header.set_cksum();
    layer.append(&header, &b"evil"[..]).unwrap();
    fs::write(at.work().join("evil.tar"), layer.into_inner().unwrap()).unwrap();
    let [plain, _] = layers();
    fs::write(at.work().join("good.tar"), plain).unwrap();
    let good = ["edit-image", "--add-tar", "good.tar", "scratch", "a:good"];
    at.run(good).ok();
    at.run(["export-image", "a:good", "good"]).ok();
    assert_eq!(fs::read(at.work().join("good/hello")).unwrap(), hello());
    let evil = ["edit-image", "--add-tar", "evil.tar", "scratch", "a:evil"];
    let made = at.run(evil).run();
    if made.code == Some(0) {
        at.run(["export-image", "a:evil", "evil"]).fails(65);
    }
    assert!(!at.work().join("evil").exists());
    assert!(!at.work().parent().unwrap().join("escape").exists());
}

/// What a tar says of each file: its name, kind, and content or target.
fn listed(tar: &[u8]) -> Vec<(String, Kind, Vec<u8>)> {
    let entries = Entries::new("t", tar).map(Result::unwrap);
    let mut listed: Vec<_> = entries
        .filter(|entry| entry.kind != Kind::Directory)
        .map(|entry| {
            let from = usize::try_from(entry.offset).unwrap();
            let content = tar[from..from + usize::try_from(entry.size).unwrap()].to_vec();
            // Of two names of a file either may be the first.
            let (kind, content) = match entry.kind {
                Kind::HardLink => (Kind::File, b"long".to_vec()),
                Kind::Symlink => (Kind::Symlink, entry.link.clone()),
                kind => (kind, content),
            };
            let name = entry.name().trim_start_matches("./").to_string();
            (name, kind, content)
        })
        .collect();
    listed.sort_by(|one, two| one.0.cmp(&two.0));
    listed
}

#[test]
fn crane_and_regctl_see_the_same_files() {
    let (Some(crane), at) = (peers::crane(), Place::registry(Mode::Http)) else {
        return;
    };
    fill(&at);
    let image = named(&at, "both");
    let theirs = crane.args(["export", &image, "-"]).ok().stdout;
    let ours = at.run(["export-image", &image, "-"]).ok().stdout;
    let (theirs, ours) = (listed(&theirs), listed(&ours));
    assert_eq!(ours.len(), 4);
    assert_eq!(names(&ours), names(&theirs));
    assert!(ours == theirs);
    let host = at.bench.as_ref().unwrap().host();
    if let Some(regctl) = peers::regctl(&[&host]) {
        let file = regctl
            .args(["image", "get-file", &image, "/hello"])
            .ok()
            .stdout;
        assert_eq!(file, at.run(["get-file", &image, "/hello"]).ok().stdout);
    }
}

fn names(listed: &[(String, Kind, Vec<u8>)]) -> Vec<&str> {
    listed.iter().map(|one| one.0.as_str()).collect()
}
