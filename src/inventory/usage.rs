//! How many bytes tags and repositories take, each blob counted once, and how
//! many of them deleting one would free.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::own;
use crate::bounds;
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::graph::walk::{Links, Step, Walk};
use crate::graph::{is_related_tag, list_tag, related_stem};
use crate::parallel;
use crate::reference::{RepoName, Tag, Target};
use crate::store::{ReadStore, valid_names};
use crate::stream::Run;

/// More than refer to any tag.
const MAX_REFERRERS: usize = bounds::REFERRERS;

/// Counts what repositories take. They are added one after the other; a blob
/// that several contain counts once, as a registry stores it.
#[derive(Default)]
pub struct Counter {
    /// The place of each digest in the lists.
    places: HashMap<Digest, u32>,
    sizes: Vec<u64>,
    /// How many manifests that tags name reach the blob.
    roots: Vec<u32>,
    /// How many repositories contain it.
    repos: Vec<u32>,
    added: Vec<Repo>,
    odd: Option<Error>,
}

struct Repo {
    name: RepoName,
    tags: Vec<(Tag, Reached)>,
    roots: HashMap<Digest, Vec<u32>>,
    /// What all of its tags reach.
    all: Vec<u32>,
}

/// The manifest of a tag, or why what it reaches is not known.
type Reached = std::result::Result<Digest, Arc<Error>>;

/// The bytes of a tag or repository.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Bytes {
    /// All that it reaches.
    pub total: u64,
    /// What nothing else reaches: for a tag no other tag, for a repository no
    /// other one.
    pub unique: u64,
    /// What deleting it frees: for a tag, deleting its manifest, and with that
    /// every tag of it.
    pub frees: u64,
}

impl Bytes {
    /// What others reach too.
    pub fn shared(&self) -> u64 {
        self.total - self.unique
    }
}

/// What a tag takes.
#[derive(Debug)]
#[non_exhaustive]
pub struct TagUsage {
    /// The tag.
    pub tag: Tag,
    /// The digest of its manifest and its bytes, or why they are unknown.
    pub found: std::result::Result<(Digest, Bytes), Arc<Error>>,
}

/// What a repository takes.
#[derive(Debug)]
#[non_exhaustive]
pub struct RepoUsage {
    /// The repository.
    pub repo: RepoName,
    /// All of it.
    pub bytes: Bytes,
    /// Its tags, in the store's order. Lists of referrers and cosign's tags
    /// count with what they are about, and are left out where a tag reaches that.
    pub tags: Vec<TagUsage>,
}

impl Counter {
    /// Nothing counted yet.
    pub fn new() -> Counter {
        Counter::default()
    }

    /// Adds what the tags of a repository reach: manifests, configs and blobs,
    /// all manifests of indexes, and what refers to any of them. Several tags are
    /// looked at at once.
    ///
    /// # Errors
    /// Those of the store that are not about one tag.
    pub fn add(&mut self, repo: RepoName, store: &dyn ReadStore, run: Run<'_>) -> Result<()> {
        let (tags, odd) = valid_names(store.tags())?;
        self.odd = self.odd.take().or(odd);
        let tagged = Tagged::read(store, tags, run)?;
        let (roots, tags) = tagged.with_related();
        let mut all = HashSet::new();
        let mut added = HashMap::new();
        for (root, blobs) in roots {
            let places: Vec<u32> = blobs
                .iter()
                .map(|(digest, size)| self.place(*digest, *size))
                .collect();
            for place in &places {
                self.roots[*place as usize] += 1;
                all.insert(*place);
            }
            added.insert(root, places);
        }
        for place in &all {
            self.repos[*place as usize] += 1;
        }
        self.added.push(Repo {
            name: repo,
            tags,
            roots: added,
            all: all.into_iter().collect(),
        });
        Ok(())
    }

    /// What is wrong with the first listed name that is not a tag, so that what it
    /// reaches was not counted; only once.
    pub fn take_odd(&mut self) -> Option<Error> {
        self.odd.take()
    }

    /// The bytes of all repositories together.
    pub fn total(&self) -> u64 {
        self.sum(0..self.sizes.len() as u32, |_| true)
    }

    /// What each repository takes, in the order they were added.
    pub fn usage(&self) -> Vec<RepoUsage> {
        self.added.iter().map(|repo| self.of(repo)).collect()
    }

    fn of(&self, repo: &Repo) -> RepoUsage {
        let is_its_own = |place: u32| self.repos[place as usize] == 1;
        let unique = self.sum(repo.all.iter().copied(), is_its_own);
        let mut names = HashMap::<Digest, usize>::new();
        for root in repo.tags.iter().filter_map(|(_, root)| root.as_ref().ok()) {
            *names.entry(*root).or_default() += 1;
        }
        let mut by_root = HashMap::new();
        for (root, places) in &repo.roots {
            let is_its_own = |place: u32| self.roots[place as usize] == 1;
            let frees = self.sum(places.iter().copied(), is_its_own);
            let is_alone = names.get(root) == Some(&1);
            let bytes = Bytes {
                total: self.sum(places.iter().copied(), |_| true),
                unique: if is_alone { frees } else { 0 },
                frees,
            };
            by_root.insert(*root, bytes);
        }
        let tags = repo.tags.iter().map(|(tag, root)| TagUsage {
            tag: tag.clone(),
            found: root
                .clone()
                .map(|root| (root, by_root.get(&root).copied().unwrap_or_default())),
        });
        RepoUsage {
            repo: repo.name.clone(),
            bytes: Bytes {
                total: self.sum(repo.all.iter().copied(), |_| true),
                unique,
                frees: unique,
            },
            tags: tags.collect(),
        }
    }

    fn sum(&self, places: impl Iterator<Item = u32>, counts: impl Fn(u32) -> bool) -> u64 {
        let sizes = places.filter(|place| counts(*place));
        sizes.fold(0, |sum, place| {
            sum.saturating_add(self.sizes[place as usize])
        })
    }

    fn place(&mut self, digest: Digest, size: u64) -> u32 {
        // Fewer than 2^32: each takes a hundred bytes of memory.
        let next = self.sizes.len() as u32;
        let place = *self.places.entry(digest).or_insert(next);
        if place == next {
            self.sizes.push(size);
            self.roots.push(0);
            self.repos.push(0);
        }
        place
    }
}

/// Blobs and their sizes, each once.
type Blobs = Arc<[(Digest, u64)]>;

/// What one manifest reaches.
struct Found {
    blobs: Blobs,
    /// The manifests among them.
    manifests: Vec<Digest>,
}

/// The tags of a repository, and what the manifest of each reaches.
struct Tagged {
    tags: Vec<(Tag, Digest)>,
    found: HashMap<Digest, std::result::Result<Found, Arc<Error>>>,
}

impl Tagged {
    fn read(store: &dyn ReadStore, tags: Vec<Tag>, run: Run<'_>) -> Result<Tagged> {
        let stop = run.watch.stop;
        let related = tags.iter().filter(|tag| is_related_tag(tag.as_str()));
        let related: HashSet<Tag> = related.cloned().collect();
        let heads = parallel::map(run.jobs, tags, stop, |tag, _| {
            let head = store.head(&Target::Tag(tag.clone()))?;
            // One that is gone meanwhile reaches nothing.
            Ok(head.map(|head| (tag, head)))
        })?;
        let (mut tags, mut roots, mut seen) = (Vec::new(), Vec::new(), HashSet::new());
        for (tag, head) in heads.into_iter().flatten() {
            tags.push((tag, head.digest));
            if seen.insert(head.digest) {
                roots.push(head);
            }
        }
        let walk = Walk::new(store, run);
        let found = walk.for_each(roots, |root, _| {
            let root = root.digest;
            Ok((root, own(reach(store, &walk, root, &related))?))
        })?;
        let found = found.into_iter().collect();
        Ok(Tagged { tags, found })
    }

    /// What each manifest reaches, tags about its manifests included; and the
    /// tags that are not about any of them.
    fn with_related(mut self) -> (HashMap<Digest, Blobs>, Vec<(Tag, Reached)>) {
        let mut related = HashMap::<&str, Vec<Digest>>::new();
        for (tag, root) in &self.tags {
            if let Some(stem) = related_stem(tag.as_str()) {
                related.entry(stem).or_default().push(*root);
            }
        }
        let (mut roots, mut covered) = (HashMap::new(), HashSet::new());
        for (_, root) in self
            .tags
            .iter()
            .filter(|(tag, _)| !is_related_tag(tag.as_str()))
        {
            if !roots.contains_key(root)
                && let Some(blobs) = self.merged(root, &related, &mut covered)
            {
                roots.insert(*root, blobs);
            }
        }
        let is_covered = |tag: &Tag| {
            let stem = related_stem(tag.as_str());
            stem.is_some_and(|stem| covered.contains(stem))
        };
        let mut rows = Vec::new();
        for (tag, root) in &self.tags {
            let error = self.found.get(root).and_then(|found| found.as_ref().err());
            match error {
                Some(error) => rows.push((tag.clone(), Err(error.clone()))),
                None if is_covered(tag) => {}
                None => rows.push((tag.clone(), Ok(*root))),
            }
        }
        for (_, root) in rows.iter() {
            if let Ok(root) = root
                && let Some(Ok(found)) = self.found.remove(root)
            {
                roots.entry(*root).or_insert(found.blobs);
            }
        }
        (roots, rows)
    }

    /// What `root` and the tags about its manifests reach; the stems of those
    /// tags are `covered`.
    fn merged(
        &self,
        root: &Digest,
        related: &HashMap<&str, Vec<Digest>>,
        covered: &mut HashSet<String>,
    ) -> Option<Blobs> {
        let its = self.found.get(root)?.as_ref().ok()?;
        let (mut blobs, mut seen, mut left) = (None, HashSet::from([*root]), vec![*root]);
        while let Some(next) = left.pop() {
            let Some(Ok(found)) = self.found.get(&next) else {
                continue;
            };
            if next != *root {
                let all: &mut HashMap<Digest, u64> =
                    blobs.get_or_insert_with(|| its.blobs.iter().copied().collect());
                all.extend(found.blobs.iter().copied());
            }
            for stem in found.manifests.iter().map(list_tag) {
                let about = related.get(stem.as_str()).into_iter().flatten();
                left.extend(about.filter(|root| seen.insert(**root)));
                covered.insert(stem);
            }
        }
        // Most have none about them.
        Some(blobs.map_or_else(|| its.blobs.clone(), |all| all.into_iter().collect()))
    }
}

/// What a manifest reaches, and what refers to it and to the manifests below it.
fn reach(
    store: &dyn ReadStore,
    walk: &Walk<'_>,
    root: Digest,
    tags: &HashSet<Tag>,
) -> Result<Found> {
    let mut found = Below::default();
    let mut seen = HashSet::from([root]);
    let mut left = vec![root];
    while let Some(next) = left.pop() {
        let links = match walk.root(&Target::Digest(next)) {
            // Lists that clients keep outlive what they list.
            Err(error) if error.is_not_found() && next != root => continue,
            links => links?,
        };
        for digest in found.add(walk, &links)? {
            let referrers = store.referrers_among(&digest, &|tag| tags.contains(tag))?;
            let referrers = referrers.into_iter().map(|referrer| referrer.digest);
            left.extend(referrers.filter(|referrer| seen.insert(*referrer)));
        }
        // The manifest itself is none of them.
        if seen.len() > MAX_REFERRERS + 1 {
            let why = format!("there are more than {MAX_REFERRERS} of them");
            return Err(Error::malformed("lists of referrers", why));
        }
    }
    Ok(Found {
        blobs: found.blobs.into_iter().collect(),
        manifests: found.manifests,
    })
}

/// What is below one manifest, as far as that is known.
#[derive(Default)]
struct Below {
    blobs: HashMap<Digest, u64>,
    manifests: Vec<Digest>,
}

impl Below {
    /// Adds a manifest and all below it; the manifests that are new.
    fn add(&mut self, walk: &Walk<'_>, links: &Links) -> Result<Vec<Digest>> {
        let mut manifests = vec![links.manifest.clone()];
        for step in walk.below(links, 1)? {
            match step {
                Step::Manifest(entry, Ok(_)) => manifests.push(entry),
                // An index may list more than its repository contains.
                Step::Manifest(_, Err(error)) if error.is_not_found() => {}
                Step::Manifest(_, Err(error)) => return Err(error),
                Step::Config(blob) | Step::Blob(blob) => {
                    self.blobs.insert(blob.digest, blob.size);
                }
                _ => {}
            }
        }
        let mut new = Vec::new();
        for manifest in manifests {
            if self.blobs.insert(manifest.digest, manifest.size).is_none() {
                new.push(manifest.digest);
            }
        }
        self.manifests.extend(&new);
        Ok(new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::descriptor::{Descriptor, media_type};
    use crate::manifest::Manifest;
    use crate::store::testing::Spy;
    use serde_json::{Value, json};

    fn put(spy: &Spy, tag: Option<&str>, document: Value) -> Descriptor {
        let manifest = Manifest::new(None, document.to_string().into_bytes()).unwrap();
        spy.insert(&manifest, tag);
        manifest.descriptor()
    }

    /// A manifest of blobs with these texts, the first of them its config.
    fn blobs(
        spy: &Spy,
        tag: Option<&str>,
        texts: &[&str],
        subject: Option<&Descriptor>,
    ) -> Descriptor {
        let listed: Vec<Value> = texts
            .iter()
            .map(|text| json!(spy.blob(text.as_bytes())))
            .collect();
        put(
            spy,
            tag,
            json!({"config": listed[0], "layers": listed[1..], "subject": subject}),
        )
    }

    fn counted(repos: &[(&str, &Spy)]) -> Counter {
        let mut counter = Counter::new();
        for (name, spy) in repos {
            counter
                .add(name.parse().unwrap(), *spy, Run::default())
                .unwrap();
        }
        counter
    }

    /// Total, unique and freed bytes by tag, in the order of the names.
    fn rows(repo: &RepoUsage) -> Vec<(String, u64, u64, u64)> {
        let row = |tag: &TagUsage| {
            let (_, bytes) = tag.found.as_ref().unwrap();
            assert_eq!(bytes.shared(), bytes.total - bytes.unique);
            (tag.tag.to_string(), bytes.total, bytes.unique, bytes.frees)
        };
        let mut rows: Vec<_> = repo.tags.iter().map(row).collect();
        rows.sort();
        rows
    }

    #[test]
    fn a_blob_counts_once_and_is_freed_with_its_last_name() {
        let spy = Spy::default();
        let a = blobs(&spy, Some("a"), &["1", "333"], None);
        blobs(&spy, Some("again"), &["1", "333"], None);
        let b = blobs(&spy, Some("b"), &["1", "55555", "55555"], None);
        let usage = counted(&[("r", &spy)]).usage();
        assert_eq!(
            rows(&usage[0]),
            [
                ("a".into(), a.size + 4, 0, a.size + 3),
                ("again".into(), a.size + 4, 0, a.size + 3),
                ("b".into(), b.size + 6, b.size + 5, b.size + 5),
            ]
        );
        let total = a.size + b.size + 9;
        let all = Bytes {
            total,
            unique: total,
            frees: total,
        };
        assert_eq!(usage[0].bytes, all);
    }

    #[test]
    fn repositories_share_blobs() {
        let (one, two) = (Spy::default(), Spy::default());
        let a = blobs(&one, Some("a"), &["1", "22"], None);
        let b = blobs(&two, Some("b"), &["1", "333"], None);
        let counter = counted(&[("one", &one), ("two", &two)]);
        let usage = counter.usage();
        let bytes = |repo: &RepoUsage| (repo.bytes.total, repo.bytes.unique, repo.bytes.frees);
        assert_eq!(bytes(&usage[0]), (a.size + 3, a.size + 2, a.size + 2));
        assert_eq!(bytes(&usage[1]), (b.size + 4, b.size + 3, b.size + 3));
        assert_eq!(
            rows(&usage[1]),
            [("b".into(), b.size + 4, b.size + 3, b.size + 3)]
        );
        assert_eq!(counter.total(), a.size + b.size + 6);
    }

    #[test]
    fn what_refers_to_a_manifest_counts_with_it() {
        let spy = Spy::default();
        let child = blobs(&spy, None, &["1", "22"], None);
        let index = put(&spy, Some("i"), json!({"manifests": [child]}));
        let bill = blobs(&spy, None, &["1", "4444"], Some(&child));
        let signature = blobs(&spy, None, &["1", "7777777"], Some(&bill));
        let tag = format!("{}.sig", list_tag(&index.digest));
        let cosign = blobs(&spy, Some(&tag), &["1", "88888888"], None);
        let orphan = format!("{}.sig", list_tag(&Digest::of(b"gone")));
        let alone = blobs(&spy, Some(&orphan), &["999999999"], None);
        let manifests = [&child, &index, &bill, &signature, &cosign];
        let total = manifests.iter().map(|one| one.size).sum::<u64>() + 1 + 2 + 4 + 7 + 8;
        let expected = [
            ("i".to_string(), total, total, total),
            (orphan, alone.size + 9, alone.size + 9, alone.size + 9),
        ];
        assert_eq!(rows(&counted(&[("r", &spy)]).usage()[0]), expected);
    }

    #[test]
    fn what_cannot_be_read_is_said_of_its_tag() {
        let spy = Spy::default();
        put(&spy, Some("bad"), json!({"config": 7, "layers": []}));
        let gone = Descriptor::new(media_type::OCI_MANIFEST, Digest::of(b"x"), 7);
        let index = put(&spy, Some("sparse"), json!({"manifests": [gone]}));
        let usage = counted(&[("r", &spy)]).usage();
        let found = |at: usize| usage[0].tags[at].found.as_ref();
        assert!(found(0).unwrap_err().is_corrupt());
        assert_eq!(found(1).unwrap().1.total, index.size);
        spy.refuse("manifest", 503);
        let mut counter = Counter::new();
        assert!(
            counter
                .add("r".parse().unwrap(), &spy, Run::default())
                .is_err()
        );
    }
}
