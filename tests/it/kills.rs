//! Commands that are killed at a random moment: what was reported stays, what
//! exists is whole, and the same command again succeeds.
//!
//! `DXF_KILL_ROUNDS` makes it longer, `DXF_KILL_SEED` repeats the moments (as
//! far as a machine repeats its own).

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use super::support::data::{Random, blob, digest, seed, setting};
use super::support::dxf::{Dxf, Output};
use super::support::raw::Answer;
use super::support::registry::Registry;
use super::support::scratch;

/// Kills of each kind.
pub fn rounds() -> u64 {
    setting("DXF_KILL_ROUNDS", 40)
}

/// Starts commands and kills them.
pub struct Killer {
    random: Random,
    /// The latest moment of a kill; follows the commands, so that about half
    /// of them are still at work then.
    latest: Duration,
    hit: u64,
}

impl Killer {
    pub fn new(latest: Duration) -> Killer {
        Killer {
            random: Random::new(seed("DXF_KILL_SEED")),
            latest,
            hit: 0,
        }
    }

    /// Runs the command and kills it, unless it was faster.
    pub fn kill(&mut self, dxf: Dxf) -> Output {
        let most = self.latest.as_micros() as u64;
        let running = dxf.spawn();
        std::thread::sleep(Duration::from_micros(self.random.below(most.max(1))));
        let output = running.kill();
        match output.code {
            Some(0) => self.latest = self.latest * 9 / 10,
            None => {
                self.hit += 1;
                self.latest = self.latest * 11 / 10;
            }
            _ => panic!("neither done nor killed: {output}"),
        }
        output
    }

    /// A test that never kills in time proves nothing.
    pub fn report(&self) {
        println!("{} killed of {}", self.hit, rounds());
        assert!(
            self.hit * 5 >= rounds(),
            "hardly any was killed: {}",
            self.hit
        );
    }
}

/// Whether a command got so far as to say that all is done. A killed one may
/// have, and is believed.
fn reported(output: &Output, name: &str) -> bool {
    let said = output.text() == format!("{name}\n");
    assert!(
        said || (output.code != Some(0) && output.stdout.is_empty()),
        "{output}"
    );
    said
}

#[test]
fn a_killed_push_leaves_a_whole_blob_or_none() {
    let registry = Registry::http();
    let raw = registry.raw();
    let folder = scratch();
    let file = folder.path().join("file");
    let dxf = Dxf::new()
        .plain(registry.host())
        .env("DXF_CACHE", folder.path());
    let push = dxf.args(["push-blob", "a"]).arg(&file);
    // The large ones are worth a note, from which the next process resumes.
    for (size, part) in [(2 << 20, 8), (17 << 20, 1)] {
        fs::write(&file, blob(size, size as usize)).expect("a file");
        let mut killer = Killer::new(push.clone().ok().took);
        for round in 0..(rounds() * part / 8).max(5) {
            let bytes = blob(killer.random.word() ^ round, size as usize);
            fs::write(&file, &bytes).expect("a file");
            let name = digest(&bytes);
            let output = killer.kill(push.clone());
            let mut there = raw.blob("a", &name);
            // The registry is still storing what the killed process had sent, and
            // its link to the blob is empty for a moment.
            for _ in 0..50 {
                if there.status != 500 {
                    break;
                }
                thread::sleep(Duration::from_millis(20));
                there = raw.blob("a", &name);
            }
            assert!(
                there.status == 200 || !reported(&output, &name),
                "lost: {output}"
            );
            assert!(
                there.status == 404 || there.body == bytes,
                "corrupt: {output}"
            );
            assert!(reported(&push.clone().ok(), &name));
            assert!(raw.blob("a", &name).expect(200).body == bytes);
        }
        println!("{} killed", killer.hit);
        assert!(killer.hit > 0);
    }
}

#[test]
fn a_killed_pull_leaves_the_old_file_or_the_new() {
    let registry = Registry::http();
    let bytes = blob(1, 6 << 20);
    let name = registry.raw().push_blob("a", &bytes);
    let folder = scratch();
    let (file, partial) = (
        folder.path().join("file"),
        folder.path().join("file.partial"),
    );
    let dxf = Dxf::new().plain(registry.host());
    let pull = dxf.args(["pull-blob", "-o"]).arg(&file).args(["a", &name]);
    let mut killer = Killer::new(pull.clone().ok().took);
    for _ in 0..rounds() {
        let old = killer.random.percent(50).then(|| blob(2, 1000));
        let _ = fs::remove_file(&file);
        if let Some(old) = &old {
            fs::write(&file, old).expect("an old file");
        }
        let output = killer.kill(pull.clone());
        let found = fs::read(&file).ok();
        let new = found.as_ref() == Some(&bytes);
        assert!(new || found == old, "half a file under its name: {output}");
        assert!(new || output.code != Some(0), "lost: {output}");
        // Several times in a row now and then: partials of partials.
        if killer.random.percent(60) {
            pull.clone().ok();
            assert!(fs::read(&file).expect("the file") == bytes && !partial.exists());
        }
    }
    killer.report();
}

#[test]
fn a_killed_set_alias_leaves_the_old_alias_or_the_new() {
    let registry = Registry::http();
    let raw = registry.raw();
    let names = [1, 2].map(|n| raw.push_blob("a", &blob(n, 1000)));
    let dxf = Dxf::new().plain(registry.host());
    let set = |n: usize| dxf.clone().args(["set-alias", "a", "x", &names[n % 2]]);
    let alias = || {
        // The registry answers 500 for a link that it is still writing.
        let asked = || raw.manifest("a", "x");
        let settled = |answer: &Answer| answer.status != 500;
        let mut tries = std::iter::repeat_with(asked).take(50);
        let manifest = tries.find(settled).expect("an answer").expect(200).json();
        manifest["layers"][0]["digest"].as_str().map(str::to_string)
    };
    let mut killer = Killer::new(set(0).ok().took);
    for round in 1..=rounds() as usize {
        let output = killer.kill(set(round));
        let found = alias().expect("a digest");
        assert!(names.contains(&found), "{found}");
        if output.code == Some(0) || !output.stdout.is_empty() {
            assert_eq!(found, names[round % 2], "lost: {output}");
        }
        set(round).ok();
        assert_eq!(alias().as_ref(), Some(&names[round % 2]));
    }
    killer.report();
}

/// A folder store and what it was reported to hold.
struct Store {
    folder: TempDir,
    blobs: BTreeMap<String, Vec<u8>>,
    aliases: BTreeMap<String, String>,
}

impl Store {
    fn dxf(&self) -> Dxf {
        let place = format!("oci:{}", self.folder.path().join("store").display());
        let dxf = Dxf::new().env("DXF_HOST", place);
        dxf.env("DXF_ALIAS_FORMAT", "oci")
            .current_dir(self.folder.path())
    }

    fn layout(&self) -> PathBuf {
        self.folder.path().join("store/team/app")
    }

    /// Every file under a digest's name has that digest, the index is JSON, and
    /// everything it names exists, down to the blobs. Gives the aliases.
    fn check(&self) -> BTreeMap<String, String> {
        let blobs = self.layout().join("blobs/sha256");
        for entry in fs::read_dir(&blobs).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let bytes = fs::read(entry.path()).expect("a blob");
            assert_eq!(digest(&bytes), format!("sha256:{name}"), "corrupt");
        }
        for (name, bytes) in &self.blobs {
            assert!(
                fs::read(blobs.join(&name[7..])).ok().as_ref() == Some(bytes),
                "lost: {name}"
            );
        }
        let Ok(index) = fs::read(self.layout().join("index.json")) else {
            assert!(self.aliases.is_empty(), "lost: the index");
            return BTreeMap::new();
        };
        let index: Value = serde_json::from_slice(&index).expect("an index");
        let read = |entry: &Value| {
            let name = entry["digest"].as_str().expect("a digest").to_string();
            let bytes = fs::read(blobs.join(&name[7..]));
            let bytes = bytes.unwrap_or_else(|_| panic!("the index names {name}, which is lost"));
            assert_eq!(entry["size"].as_u64(), Some(bytes.len() as u64));
            (name, bytes)
        };
        let alias = |entry: &Value| {
            let manifest: Value = serde_json::from_slice(&read(entry).1).expect("a manifest");
            read(&manifest["config"]);
            let tag = entry["annotations"]["org.opencontainers.image.ref.name"].as_str()?;
            Some((tag.to_string(), read(&manifest["layers"][0]).0))
        };
        let entries = index["manifests"].as_array().expect("manifests");
        entries.iter().filter_map(alias).collect()
    }
}

#[test]
fn a_killed_writer_of_a_folder_leaves_it_sound() {
    let mut store = Store {
        folder: scratch(),
        blobs: BTreeMap::new(),
        aliases: BTreeMap::new(),
    };
    let file = store.folder.path().join("file");
    fs::write(&file, blob(1, 1 << 20)).expect("a file");
    let mut killer = Killer::new(store.dxf().args(["push-blob", "warm", "file"]).ok().took);
    for _ in 0..rounds() {
        let bytes = blob(killer.random.word(), 1 << killer.random.below(21));
        let name = digest(&bytes);
        let alias = format!("alias-{}", killer.random.below(5));
        let other = store.blobs.keys().next().cloned();
        // The command, and the blob and alias there are when it is done.
        let (args, held, named): (Vec<String>, _, _) = match (killer.random.below(10), other) {
            (0..3, Some(other)) => (
                words(&["set-alias", "team/app", &alias, &other]),
                None,
                Some(other),
            ),
            (3..5, _) => {
                let from = store
                    .dxf()
                    .args(["push-blob", "team/base", "-"])
                    .stdin(bytes.clone());
                from.ok();
                (
                    words(&["mount-blob", "team/app", "team/base", &name]),
                    Some(bytes),
                    None,
                )
            }
            (5..7, _) => {
                fs::write(&file, &bytes).expect("a file");
                let at = format!("@{alias}");
                (
                    words(&["push-blob", "team/app", "file", &at]),
                    Some(bytes),
                    Some(name.clone()),
                )
            }
            _ => {
                fs::write(&file, &bytes).expect("a file");
                (words(&["push-blob", "team/app", "file"]), Some(bytes), None)
            }
        };
        let command = store.dxf().args(&args);
        let output = killer.kill(command.clone());
        let found = store.check();
        for (alias_there, content) in &store.aliases {
            let changing = named.is_some() && *alias_there == alias;
            let fits = found.get(alias_there) == Some(content)
                || (changing && found.get(alias_there) == named.as_ref());
            assert!(
                fits,
                "lost: {alias_there} is {:?}; {output}",
                found.get(alias_there)
            );
        }
        // What was reported, and what is reported now.
        for done in [output.code == Some(0) || !output.stdout.is_empty(), true] {
            if done {
                if let Some(bytes) = &held {
                    store.blobs.insert(digest(bytes), bytes.clone());
                }
                if let Some(named) = &named {
                    store.aliases.insert(alias.clone(), named.clone());
                }
                assert_eq!(store.check(), store.aliases);
            } else {
                command.clone().ok();
            }
        }
    }
    killer.report();
    for alias in store.aliases.keys() {
        skopeo_reads(&store.layout(), alias);
    }
}

fn words(args: &[&str]) -> Vec<String> {
    args.iter().map(|arg| arg.to_string()).collect()
}

fn skopeo_reads(layout: &Path, alias: &str) {
    let image = format!("oci:{}:{alias}", layout.display());
    let output = Command::new("skopeo")
        .args(["inspect", "--raw", &image])
        .output();
    let output = output.expect("skopeo can't be run; install it with: apt-get install skopeo");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "skopeo on {alias}: {said}");
}
