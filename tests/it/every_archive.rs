//! An archive is an image wherever an image is read: `./app.tar` and its like, given
//! to every command that takes an image. The commands are those of the program.

use std::collections::BTreeSet;

use dxf_registry::archive::{Form, Item};
use dxf_registry::image::Node;
use dxf_registry::image::layer::Family;

use crate::archive::{GZIP, image, write};
use crate::run_image::Fake;
use crate::support::dxf::Dxf;
use crate::support::scratch;

/// The words of commands that read an image, which stands where `IMAGE` is.
const READING: &[&str] = &[
    "pull-image IMAGE new.tar",
    "push-image IMAGE oci:pushed:v1",
    "copy-image IMAGE oci:copied:v1",
    "edit-image --add-file /x=1 IMAGE oci:edited:v1",
    "make-index oci:listed:v1 IMAGE",
    "load-image --engine docker IMAGE",
    "run-image --engine docker IMAGE",
    "list-platforms IMAGE",
    "get-config IMAGE",
    "get-history IMAGE",
    "list-layers IMAGE",
    "get-layer IMAGE 0",
    "list-files IMAGE",
    "get-file IMAGE hello",
    "export-image IMAGE",
    "diff-images IMAGE IMAGE",
    "verify-image IMAGE",
    "list-referrers IMAGE",
    "save-bundle saved.bundle IMAGE",
];

/// The words of commands that change what they are given, or are about a
/// registry alone, and what they say of an archive.
const REFUSING: &[(&str, &str)] = &[
    ("tag-image IMAGE new", "this needs a registry or a folder"),
    (
        "attach --type test/x IMAGE app.tar",
        "this needs a registry or a folder",
    ),
    ("detach IMAGE DIGEST", "this needs a registry or a folder"),
    ("resolve-image IMAGE", "it is on this machine"),
];

/// The commands whose usage has an image among the arguments.
fn taking_images() -> BTreeSet<String> {
    let help = Dxf::new().arg("--help").ok();
    let (groups, _) = help.text().split_once("Options:\n").expect("options");
    let listed = groups.lines().filter_map(|line| {
        let words = line.strip_prefix("  ")?;
        let name = words.split([' ', ',']).next()?;
        name.starts_with(|c: char| c.is_ascii_lowercase())
            .then(|| name.to_string())
    });
    let takes = |name: &String| {
        let help = Dxf::new().args([name, "--help"]).ok();
        let usage = help
            .lines()
            .into_iter()
            .find(|line| line.starts_with("usage: "));
        usage.is_some_and(|usage| ["<image", "[image"].iter().any(|word| usage.contains(word)))
    };
    listed.filter(takes).collect()
}

fn name(words: &str) -> String {
    words.split(' ').next().unwrap_or_default().to_string()
}

#[test]
fn no_command_that_takes_an_image_is_forgotten() {
    let known = READING
        .iter()
        .chain(REFUSING.iter().map(|(words, _)| words));
    let known: BTreeSet<String> = known.map(|words| name(words)).collect();
    let found = taking_images();
    assert!(found.len() > 15, "{found:?}");
    let forgotten: Vec<&String> = found.difference(&known).collect();
    assert!(forgotten.is_empty(), "give these an archive: {forgotten:?}");
}

#[test]
fn every_command_reads_archives_of_every_kind() {
    let dir = scratch();
    let engine = Fake::new("exit 0");
    let image = image("linux/amd64", Family::Oci, GZIP);
    let digest = image.manifest().digest().to_string();
    let named = "r.example/team/app:v1".parse().expect("a name");
    let item = Item::new(vec![named], Node::Image(image));
    for (file, form) in [("docker.tar", Form::Docker), ("app.tar", Form::Hybrid)] {
        write(std::slice::from_ref(&item), form, &dir.path().join(file));
    }
    let dxf = || {
        let dxf = Dxf::new()
            .current_dir(dir.path())
            .env("DXF_PLATFORM", "linux/amd64");
        dxf.env("PATH", engine.path())
    };
    let copy = [
        "copy-image",
        "docker-archive:app.tar",
        "oci-archive:oci.tar:r.example/team/app:v1",
    ];
    dxf().args(copy).ok();
    let places = [
        "./app.tar",
        "./docker.tar",
        "./oci.tar",
        "docker-archive:docker.tar",
        "docker-archive:app.tar:r.example/team/app:v1",
        "oci-archive:oci.tar",
    ];
    for place in places {
        let words = |line: &str| -> Vec<String> {
            let word = |word: &str| match word {
                "IMAGE" => place.to_string(),
                "DIGEST" => digest.clone(),
                word => word.to_string(),
            };
            line.split(' ').map(word).collect()
        };
        for line in READING {
            dxf().args(words(line)).ok();
        }
        for (line, says) in REFUSING {
            dxf().args(words(line)).fails(1).says(says);
        }
    }
}
