//! A long life in short: thousands of random operations by several workers,
//! through a server that breaks connections, answers 503 and 429, and loses
//! answers. At the end a look past the client at the registry itself: what was
//! reported stored is there byte for byte, and what was deleted stayed away.
//!
//! `DXF_SOAK_OPERATIONS` makes it longer, `DXF_SOAK_SEED` repeats a run (as far
//! as threads can be repeated).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::support::data::{Random, blob, digest, seed, setting};
use super::support::dxf::{Dxf, Output};
use super::support::registry::Registry;
use super::support::rules::{ANY, Faults, GET, PATCH, PUT, Rule, on};
use super::support::server::Server;
use super::support::{lock, scratch};

const WORKERS: u64 = 4;
/// Where all workers push the same few blobs, often at the same time.
const COMMON: &str = "common";

/// Blobs by digest.
type Blobs = BTreeMap<String, Arc<Vec<u8>>>;
/// The digests an alias names; `None` for an alias that does not exist.
type Content = Option<Vec<String>>;

/// What a repository may look like.
#[derive(Default)]
struct Repo {
    name: String,
    /// Reported stored.
    blobs: Blobs,
    /// Everything each alias may name by now. A command that failed may have
    /// had its effect or not; one that succeeded leaves no doubt.
    aliases: BTreeMap<String, BTreeSet<Content>>,
}

impl Repo {
    fn may_be(&self, alias: &str) -> BTreeSet<Content> {
        let unknown = || BTreeSet::from([None]);
        self.aliases.get(alias).cloned().unwrap_or_else(unknown)
    }

    fn is(&mut self, alias: &str, content: Content) {
        self.aliases.insert(alias.into(), BTreeSet::from([content]));
    }

    fn may_also_be(&mut self, alias: &str, content: Content) {
        let mut all = self.may_be(alias);
        all.insert(content);
        self.aliases.insert(alias.into(), all);
    }

    /// A manifest was deleted, and every alias of it with it; or, in doubt,
    /// perhaps.
    fn lost(&mut self, content: &Content, for_sure: bool) {
        for all in self.aliases.values_mut() {
            if all.contains(content) {
                all.insert(None);
                if for_sure {
                    all.remove(content);
                }
            }
        }
    }
}

/// One worker's own repositories and its view of the common one.
struct Worker<'a> {
    random: Random,
    dxf: Dxf,
    files: TempDir,
    repos: Vec<Repo>,
    common: &'a Mutex<Blobs>,
    pool: &'a [Arc<Vec<u8>>],
    failed: u64,
}

/// What a command came to.
enum Outcome {
    Done(Output),
    NotFound(Output),
    /// Given up after its retries.
    Unknown,
}

impl Worker<'_> {
    fn run(&mut self, args: &[&str]) -> Outcome {
        let mut dxf = self.dxf.clone().args(args);
        if self.random.percent(25) {
            dxf = dxf.env("DXF_UPLOAD", "64KiB");
        }
        let output = dxf.run();
        if output.code != Some(0) {
            let one = output.stderr.matches('\n').count() == 1;
            assert!(one && output.stderr.starts_with("dxf: "), "{output}");
        }
        match output.code {
            Some(0) => Outcome::Done(output),
            Some(2) => Outcome::NotFound(output),
            Some(69 | 75) => {
                println!("given up: {}", output.stderr.trim_end());
                self.failed += 1;
                Outcome::Unknown
            }
            _ => panic!("nothing here ends like this: {output}"),
        }
    }

    fn step(&mut self) {
        let mut repo = {
            let at = self.random.below(self.repos.len() as u64) as usize;
            std::mem::take(&mut self.repos[at])
        };
        match self.random.below(100) {
            0..22 => self.push(&mut repo),
            22..32 => self.push_common(),
            32..52 => self.pull(&repo),
            52..66 => self.set_alias(&mut repo),
            66..78 => self.get_alias(&mut repo),
            78..84 => self.del_alias(&mut repo),
            84..92 => self.mount(&mut repo),
            92..97 => self.list_aliases(&repo),
            _ => self.list_repos(&repo),
        }
        let gap = self.repos.iter_mut().find(|repo| repo.name.is_empty());
        *gap.expect("the place it was taken from") = repo;
    }

    fn new_blob(&mut self) -> Vec<u8> {
        let size = match self.random.below(100) {
            0..2 => 0,
            2..60 => self.random.below(2000),
            60..90 => self.random.below(200_000),
            _ => self.random.below(3_000_000),
        };
        blob(self.random.word(), size as usize)
    }

    /// Pushes; whether it was reported stored.
    fn store(&mut self, repo: &str, bytes: &[u8], alias: Option<&str>) -> bool {
        let name = digest(bytes);
        let file = self.files.path().join("pushed");
        std::fs::write(&file, bytes).expect("a file to push");
        let path = file.display().to_string();
        let alias = alias.map(|alias| format!("@{alias}"));
        let mut args = vec!["push-blob", repo, &path];
        args.extend(alias.as_deref());
        let outcome = self.run(&args);
        match outcome {
            Outcome::Done(output) => {
                assert_eq!(output.text(), format!("{name}\n"));
                true
            }
            Outcome::NotFound(output) => {
                panic!("push-blob {repo} found something missing: {output}")
            }
            Outcome::Unknown => false,
        }
    }

    fn push(&mut self, repo: &mut Repo) {
        let known = self.random.percent(15).then(|| self.known(repo)).flatten();
        let bytes = match known {
            Some((_, bytes)) => bytes,
            None => Arc::new(self.new_blob()),
        };
        let alias = self.random.percent(20).then(|| self.alias());
        let content = Some(vec![digest(&bytes)]);
        let stored = self.store(&repo.name, &bytes, alias.as_deref());
        if stored {
            repo.blobs.insert(digest(&bytes), bytes);
        }
        match alias {
            Some(alias) if stored => repo.is(&alias, content),
            Some(alias) => repo.may_also_be(&alias, content),
            None => {}
        }
    }

    fn push_common(&mut self) {
        let bytes = self.random.pick(self.pool).clone();
        if self.store(COMMON, &bytes, None) {
            lock(self.common).insert(digest(&bytes), bytes);
        }
    }

    fn alias(&mut self) -> String {
        format!("alias-{}", self.random.below(6))
    }

    fn known(&mut self, repo: &Repo) -> Option<(String, Arc<Vec<u8>>)> {
        self.any_of(&repo.blobs)
    }

    fn any_of(&mut self, blobs: &Blobs) -> Option<(String, Arc<Vec<u8>>)> {
        let all: Vec<_> = blobs.iter().collect();
        let (name, bytes) = (!all.is_empty()).then(|| *self.random.pick(&all))?;
        Some((name.clone(), bytes.clone()))
    }

    fn pull(&mut self, repo: &Repo) {
        let mut names = Vec::new();
        let mut wanted = Vec::new();
        for _ in 0..=self.random.below(3) {
            if let Some((name, bytes)) = self.known(repo) {
                names.push(name);
                wanted.extend_from_slice(&bytes);
            }
        }
        if names.is_empty() || self.random.percent(10) {
            let missing = digest(&self.random.word().to_le_bytes());
            let outcome = self.run(&["pull-blob", &repo.name, &missing]);
            let found = matches!(outcome, Outcome::Done(_));
            assert!(!found, "pull-blob found what nobody pushed");
            return;
        }
        let file = self.files.path().join("pulled");
        let path = file.display().to_string();
        let to_file = self.random.percent(50);
        let mut args = vec!["pull-blob"];
        if to_file {
            args.extend(["-o", &path]);
        }
        args.push(&repo.name);
        args.extend(names.iter().map(String::as_str));
        match self.run(&args) {
            Outcome::Done(output) if to_file => {
                assert!(output.stdout.is_empty());
                let got = std::fs::read(&file).expect("the file it said it wrote");
                assert!(got == wanted, "other bytes in the file of {output}");
            }
            Outcome::Done(output) => assert!(output.stdout == wanted, "{output}"),
            Outcome::NotFound(output) => panic!("lost: {names:?} in {}: {output}", repo.name),
            Outcome::Unknown => assert!(!file.exists(), "half a file under its name"),
        }
        let _ = std::fs::remove_file(&file);
    }

    fn set_alias(&mut self, repo: &mut Repo) {
        let count = 1 + self.random.below(3);
        let parts: Vec<String> = (0..count)
            .filter_map(|_| Some(self.known(repo)?.0))
            .collect();
        if parts.is_empty() {
            return self.push(repo);
        }
        let alias = self.alias();
        let mut args = vec!["set-alias", &repo.name, &alias];
        args.extend(parts.iter().map(String::as_str));
        match self.run(&args) {
            Outcome::Done(output) => {
                let layers = output.json()["layers"].take();
                let layers = layers.as_array().expect("layers").clone();
                let named: Vec<_> = layers.iter().map(|l| l["digest"].as_str()).collect();
                let asked: Vec<_> = parts.iter().map(|p| Some(p.as_str())).collect();
                assert_eq!(named, asked);
                repo.is(&alias, Some(parts));
            }
            Outcome::NotFound(output) => {
                panic!("lost: one of {parts:?} in {}: {output}", repo.name)
            }
            Outcome::Unknown => repo.may_also_be(&alias, Some(parts)),
        }
    }

    fn get_alias(&mut self, repo: &mut Repo) {
        let alias = self.alias();
        let may_be = repo.may_be(&alias);
        let found = match self.run(&["get-alias", &repo.name, &alias]) {
            Outcome::Done(output) => Some(owned(&output.lines())),
            Outcome::NotFound(_) => None,
            Outcome::Unknown => return,
        };
        let name = &repo.name;
        assert!(
            may_be.contains(&found),
            "{name} {alias}: {found:?} of {may_be:?}"
        );
        repo.is(&alias, found);
    }

    fn del_alias(&mut self, repo: &mut Repo) {
        let alias = self.alias();
        let may_be = repo.may_be(&alias);
        let name = repo.name.clone();
        match self.run(&["del-alias", &name, &alias]) {
            Outcome::Done(output) => {
                let gone = Some(owned(&output.lines()));
                assert!(
                    may_be.contains(&gone),
                    "{name} {alias}: {gone:?} of {may_be:?}"
                );
                repo.lost(&gone, true);
                repo.is(&alias, None);
            }
            Outcome::NotFound(output) => {
                assert!(
                    may_be.contains(&None),
                    "{name} {alias}: lost {may_be:?}: {output}"
                );
                repo.is(&alias, None);
            }
            Outcome::Unknown => {
                for content in may_be.iter().filter(|content| content.is_some()) {
                    repo.lost(content, false);
                }
            }
        }
    }

    fn mount(&mut self, repo: &mut Repo) {
        let source = {
            let all = lock(self.common).clone();
            self.any_of(&all)
        };
        let Some((name, bytes)) = source else {
            return self.push_common();
        };
        match self.run(&["mount-blob", &repo.name, COMMON, &name]) {
            Outcome::Done(output) => {
                assert_eq!(output.text(), format!("{name}\n"));
                repo.blobs.insert(name, bytes);
            }
            Outcome::NotFound(output) => panic!("lost: {name} in {COMMON}: {output}"),
            Outcome::Unknown => {}
        }
    }

    fn list_aliases(&mut self, repo: &Repo) {
        let listed = match self.run(&["list-aliases", &repo.name]) {
            Outcome::Done(output) => owned(&output.lines()),
            // A repository without manifests is unknown to the registry.
            Outcome::NotFound(_) => Vec::new(),
            Outcome::Unknown => return,
        };
        check_names(repo, &listed);
    }

    fn list_repos(&mut self, repo: &Repo) {
        if let Outcome::Done(output) = self.run(&["list-repos"]) {
            let there = output.lines().contains(&repo.name.as_str());
            assert!(
                there || repo.blobs.is_empty(),
                "{} is not listed",
                repo.name
            );
        }
    }
}

fn owned(lines: &[&str]) -> Vec<String> {
    lines.iter().map(|line| line.to_string()).collect()
}

/// Every alias that is surely there is listed, and none that surely is not.
fn check_names(repo: &Repo, listed: &[String]) {
    for (alias, may_be) in &repo.aliases {
        let there = listed.contains(alias);
        let fits = may_be.iter().any(|content| content.is_some() == there);
        assert!(
            fits,
            "{} lists {listed:?}, but {alias} is {may_be:?}",
            repo.name
        );
    }
    let known = |alias| repo.aliases.contains_key(alias);
    assert!(listed.iter().all(known), "{} lists {listed:?}", repo.name);
}

/// What goes wrong, all of it now and then. Waits are of no seconds, and the
/// first cut of an operation is not counted, so little time is lost.
fn faults(seed: u64) -> Vec<Rule> {
    let dice = Arc::new(Mutex::new(Random::new(seed)));
    let roll = |percent: u64| {
        let dice = dice.clone();
        move |_: &_| lock(&dice).percent(percent)
    };
    // Nine times of ten early enough to matter to a small body.
    let offset = |set: fn(&mut Faults, u64)| {
        let dice = dice.clone();
        move |_: &_| {
            let mut dice = lock(&dice);
            let range = *dice.pick(&[1, 100, 100, 3000, 200_000, 3_000_000]);
            let mut faults = Faults::default();
            set(&mut faults, dice.below(range));
            faults
        }
    };
    let uploads = "/v2/*/blobs/uploads/*";
    vec![
        on(ANY, "*")
            .when(roll(2))
            .reply(503)
            .header("Retry-After", "0"),
        on(ANY, "*")
            .when(roll(1))
            .reply(429)
            .header("Retry-After", "0"),
        on(ANY, "*")
            .when(roll(1))
            .reply(503)
            .header("Retry-After", "0")
            .close_early(),
        on(ANY, "*").when(roll(2)).lose_answer(),
        on(PUT, uploads)
            .when(roll(6))
            .chosen(offset(|f, n| f.reset_after = Some(n))),
        on(PATCH, uploads)
            .when(roll(3))
            .chosen(offset(|f, n| f.reset_after = Some(n))),
        on(GET, "*")
            .when(roll(5))
            .chosen(offset(|f, n| f.cut_after = Some(n))),
        on(GET, "*")
            .when(roll(3))
            .chosen(offset(|f, n| f.reset_response_after = Some(n))),
    ]
}

#[test]
fn nothing_reported_stored_is_lost_and_nothing_deleted_comes_back() {
    let seed = seed("DXF_SOAK_SEED");
    let operations = setting("DXF_SOAK_OPERATIONS", 2000);
    let begun = Instant::now();
    let registry = Registry::http();
    let front = Server::before(&registry, faults(seed));
    let common = Mutex::new(Blobs::new());
    let pool: Vec<_> = (0..12)
        .map(|n| Arc::new(blob(seed ^ n, 1 << (2 * n.min(10)))))
        .collect();
    let worker = |n: u64| Worker {
        random: Random::new(seed.wrapping_add(n)),
        dxf: Dxf::new()
            .plain(&front.host())
            .limit(Duration::from_secs(60)),
        files: scratch(),
        repos: (0..3)
            .map(|r| Repo {
                name: format!("worker{n}/repo{r}"),
                ..Repo::default()
            })
            .collect(),
        common: &common,
        pool: &pool,
        failed: 0,
    };
    let workers: Vec<Worker<'_>> = std::thread::scope(|scope| {
        let running: Vec<_> = (0..WORKERS)
            .map(|n| {
                let mut worker = worker(n);
                scope.spawn(move || {
                    (n..operations)
                        .step_by(WORKERS as usize)
                        .for_each(|_| worker.step());
                    worker
                })
            })
            .collect();
        let ended = running.into_iter().map(|worker| worker.join());
        ended.map(|worker| worker.expect("a worker")).collect()
    });
    let failed: u64 = workers.iter().map(|worker| worker.failed).sum();
    let (requests, took) = (front.seen().len(), begun.elapsed());
    println!("{operations} operations, {requests} requests, {failed} given up, {took:?}");
    assert!(
        failed <= 1 + operations / 50,
        "{failed} of {operations} gave up"
    );
    let raw = registry.raw();
    let held = |repo: &str, blobs: &Blobs| {
        for (name, bytes) in blobs {
            let got = raw.blob(repo, name).expect(200).body;
            assert!(got == **bytes, "{repo} {name} holds other bytes");
        }
    };
    held(COMMON, &lock(&common));
    for repo in workers.iter().flat_map(|worker| &worker.repos) {
        held(&repo.name, &repo.blobs);
        check_names(repo, &raw.tags(&repo.name));
        for (alias, may_be) in &repo.aliases {
            let answer = raw.manifest(&repo.name, alias);
            let found = (answer.status == 200).then(|| {
                let layers = answer.json()["layers"].take();
                let layers = layers.as_array().expect("layers").iter();
                layers
                    .map(|l| l["digest"].as_str().expect("a digest").to_string())
                    .collect()
            });
            assert!(
                may_be.contains(&found),
                "{} {alias}: {found:?} of {may_be:?}",
                repo.name
            );
        }
    }
}
