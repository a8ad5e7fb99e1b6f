//! Garbage collection of a folder's repository: blobs and manifests that no tag
//! reaches are removed.
//!
//! Tags are the roots. A manifest that stays keeps what it names, its subject and
//! what refers to it. Tags made of a digest (lists of referrers, cosign's) stay
//! as long as the manifest with that digest does. What was written or used within
//! the grace stays with everything it names, because its tag may be on the way.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::descriptor::Descriptor;
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::file::Inode;
use crate::graph::mark::{Manifests, Names, mark};
use crate::graph::{is_referrers_tag, is_related_tag};
use crate::layout::Layout;
use crate::layout::sweep::{Frozen, Listed, Stored};
use crate::manifest::{Kind, Manifest, ReferrersList};
use crate::parallel;
use crate::stream::Run;

/// The grace unless another is given: longer than a slow push takes from its
/// last blob to its manifest.
pub const GRACE: Duration = Duration::from_secs(3600);

/// A collection of one repository's garbage.
pub struct Collection<'a> {
    layout: &'a Layout,
    grace: Duration,
    empty: Emptying,
    /// Manifests never change, so what was read before the lock counts.
    known: Mutex<HashMap<Digest, Arc<Names>>>,
}

/// What becomes of a repository in which nothing has a tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Emptying {
    /// It is left alone: its content may have been stored by digest alone.
    #[default]
    Refuse,
    /// Everything in it is garbage.
    Allow,
}

/// Something that was freed, or would be.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Garbage {
    /// Its digest.
    pub digest: Digest,
    /// Bytes.
    pub size: u64,
    /// Whether it is listed as a manifest.
    pub is_manifest: bool,
    /// The file, and the names that it had.
    file: Inode,
}

/// What came of a collection.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Collected {
    /// What nothing reaches.
    pub garbage: Vec<Garbage>,
    /// Files that nothing reaches and that are too young to go.
    pub young: u64,
    /// Whether the repository was left alone because nothing in it has a tag.
    pub is_untagged: bool,
}

/// The bytes that the file system has back after collections in the repositories
/// of one folder: a file with a name left in another repository frees none.
pub fn freed<'c>(collected: impl IntoIterator<Item = &'c Collected>) -> u64 {
    let mut files: HashMap<(u64, u64), (u64, u64, u64)> = HashMap::new();
    for garbage in collected.into_iter().flat_map(|one| &one.garbage) {
        let (removed, names, size) = files.entry(garbage.file.id).or_default();
        *removed += 1;
        *names = garbage.file.links.max(*names);
        *size = garbage.size;
    }
    let gone = files
        .values()
        .filter(|(removed, names, _)| removed >= names);
    gone.map(|(_, _, size)| size).sum()
}

impl<'a> Collection<'a> {
    /// A collection in `layout`, with a grace of an hour.
    pub fn new(layout: &'a Layout) -> Collection<'a> {
        Collection {
            layout,
            grace: GRACE,
            empty: Emptying::Refuse,
            known: Mutex::default(),
        }
    }

    /// With another grace.
    pub fn with_grace(self, grace: Duration) -> Collection<'a> {
        Collection { grace, ..self }
    }

    /// With another treatment of a repository without tags.
    pub fn with_emptying(self, empty: Emptying) -> Collection<'a> {
        Collection { empty, ..self }
    }

    /// What would be freed now. Nothing is changed, and no writer waits.
    ///
    /// # Errors
    /// A manifest that can't be read or is of an unknown type; those of the layout.
    pub fn plan(&self, run: Run<'_>) -> Result<Collected> {
        let found = self.look(&self.layout.snapshot()?, run)?;
        Ok(found.collected())
    }

    /// Frees what nothing reaches, and says what that was. Writers wait only while
    /// files are removed, where [`Collection::plan`] has read the manifests.
    /// Killed at any moment, it leaves everything that a tag reaches, and the next
    /// collection frees the rest.
    ///
    /// # Errors
    /// As [`Collection::plan`], before anything is removed; [`Error::Stopped`].
    pub fn collect(&self, run: Run<'_>) -> Result<Collected> {
        let frozen = self.layout.frozen()?;
        let mut found = self.look(&frozen, run)?;
        found.garbage = frozen.remove(found.garbage, run.watch.stop)?;
        Ok(found.collected())
    }

    fn look(&self, frozen: &Frozen<'_>, run: Run<'_>) -> Result<Found> {
        let entries = frozen.entries()?;
        if self.empty == Emptying::Refuse && !entries.iter().any(|entry| entry.is_named) {
            return Ok(Found::default());
        }
        let stored = frozen.stored()?;
        let reading = Reading::new(self, frozen, &entries, &stored, run)?;
        let mut roots = reading.roots(&entries, &stored)?;
        let mut reached = mark(&reading, roots.clone(), run)?;
        let is_young = |blob: &Stored| blob.age() < self.grace;
        // A manifest whose tag is on the way keeps what it names.
        let begun = stored
            .iter()
            .filter(|blob| !reached.contains_key(&blob.digest));
        let begun = begun.filter(|blob| is_young(blob)).filter_map(|blob| {
            let manifest = frozen.sniff(blob)?;
            Some(Descriptor::new(
                manifest.media_type(),
                blob.digest,
                blob.size,
            ))
        });
        let begun: Vec<Descriptor> = begun.collect();
        if !begun.is_empty() {
            roots.extend(begun);
            reached = mark(&reading, roots, run)?;
        }
        let unreached = stored
            .into_iter()
            .filter(|blob| !reached.contains_key(&blob.digest));
        let (young, garbage): (Vec<_>, Vec<_>) = unreached.partition(is_young);
        Ok(Found {
            listed: entries.iter().map(|entry| entry.digest).collect(),
            garbage,
            young: young.len() as u64,
            is_tagged: true,
        })
    }

    fn known(&self, digest: &Digest) -> Option<Arc<Names>> {
        // A map is consistent even after a panic elsewhere.
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(digest).cloned()
    }

    fn learn(&self, digest: Digest, names: Arc<Names>) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert(digest, names);
    }
}

/// What a look found.
#[derive(Default)]
struct Found {
    listed: HashSet<Digest>,
    garbage: Vec<Stored>,
    young: u64,
    is_tagged: bool,
}

impl Found {
    fn collected(&self) -> Collected {
        let garbage = self.garbage.iter().map(|blob| Garbage {
            digest: blob.digest,
            size: blob.size,
            is_manifest: self.listed.contains(&blob.digest),
            file: blob.inode,
        });
        Collected {
            garbage: garbage.collect(),
            young: self.young,
            is_untagged: !self.is_tagged,
        }
    }
}

/// A layout as the mark reads it.
struct Reading<'c, 'f> {
    collection: &'c Collection<'c>,
    frozen: &'f Frozen<'f>,
    /// Manifests by what they are about; those under a tag made of a digest by
    /// that tag's stem.
    about: HashMap<Digest, Vec<Descriptor>>,
    by_stem: HashMap<String, Vec<Descriptor>>,
}

impl<'c, 'f> Reading<'c, 'f> {
    fn new(
        collection: &'c Collection<'c>,
        frozen: &'f Frozen<'f>,
        entries: &[Listed],
        stored: &[Stored],
        run: Run<'_>,
    ) -> Result<Reading<'c, 'f>> {
        let mut reading = Reading {
            collection,
            frozen,
            about: HashMap::new(),
            by_stem: HashMap::new(),
        };
        let is_there = |entry: &&Listed| {
            let found = stored.binary_search_by_key(&entry.digest, |blob| blob.digest);
            found.is_ok()
        };
        let mut seen = HashSet::new();
        let listed = entries.iter().filter(is_there);
        let listed: Vec<_> = listed.filter(|entry| seen.insert(entry.digest)).collect();
        let read = parallel::map(run.jobs, listed, run.watch.stop, |entry, _| {
            let names = reading.known_names(&entry.digest)?;
            let subject = names.and_then(|names| names.subject);
            Ok(subject.map(|subject| (subject, descriptor(entry))))
        })?;
        for (subject, entry) in read.into_iter().flatten() {
            reading.about.entry(subject).or_default().push(entry);
        }
        for entry in entries {
            if let Some(stem) = stem(entry) {
                let named = reading.by_stem.entry(stem.to_string()).or_default();
                named.push(descriptor(entry));
            }
        }
        Ok(reading)
    }

    /// What has a name of its own: all names but those made of the digest of a
    /// manifest that the layout contains, which are kept and go with that.
    fn roots(&self, entries: &[Listed], stored: &[Stored]) -> Result<Vec<Descriptor>> {
        let mut stems: HashMap<&str, Option<Digest>> = HashMap::new();
        stems.extend(entries.iter().filter_map(stem).map(|stem| (stem, None)));
        let stored = if stems.is_empty() { &[] } else { stored };
        for blob in stored {
            let tag = ReferrersList::tag(&blob.digest)?;
            if let Some(subject) = stems.get_mut(tag.as_str()) {
                *subject = Some(blob.digest);
            }
        }
        let (mut roots, mut seen) = (Vec::new(), HashSet::new());
        for entry in entries {
            let subject = stem(entry).and_then(|stem| stems.get(stem)?.as_ref());
            let belongs = match subject {
                Some(subject) => self.belongs(entry, subject)?,
                None => false,
            };
            if entry.is_named && !belongs && seen.insert(entry.digest) {
                roots.push(descriptor(entry));
            }
        }
        Ok(roots)
    }

    /// Whether what has a tag made of the digest of `subject` is cosign's, or a
    /// list of referrers: an image can have such a tag as well.
    fn belongs(&self, entry: &Listed, subject: &Digest) -> Result<bool> {
        let tag = entry.tag.as_deref().unwrap_or_default();
        if !is_referrers_tag(tag) {
            return Ok(true);
        }
        match self.frozen.manifest(&entry.digest)? {
            Some(list) if list.kind() == Kind::Index => self.is_list(&list, subject),
            _ => Ok(false),
        }
    }

    fn is_list(&self, list: &Manifest, subject: &Digest) -> Result<bool> {
        for listed in list.index()?.manifests {
            let names = self.known_names(&listed.digest)?;
            if names.is_some_and(|names| names.subject != Some(*subject)) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn known_names(&self, digest: &Digest) -> Result<Option<Arc<Names>>> {
        if let Some(names) = self.collection.known(digest) {
            return Ok(Some(names));
        }
        let hint = "nothing was deleted; restore it, or delete it with del-alias";
        let manifest = self
            .frozen
            .manifest(digest)
            .map_err(|e| unreadable(digest, &e, hint))?;
        let Some(manifest) = manifest else {
            return Ok(None);
        };
        let names = Arc::new(Names::of(&manifest).map_err(|e| unreadable(digest, &e, hint))?);
        self.collection.learn(*digest, names.clone());
        Ok(Some(names))
    }
}

impl Manifests for Reading<'_, '_> {
    fn names(&self, entry: &Descriptor) -> Result<Option<Arc<Names>>> {
        self.known_names(&entry.digest)
    }

    fn related(&self, subject: &Digest) -> Result<Vec<Descriptor>> {
        let about = self.about.get(subject).into_iter().flatten();
        let tag = ReferrersList::tag(subject)?;
        let tagged = self.by_stem.get(tag.as_str()).into_iter().flatten();
        Ok(about.chain(tagged).cloned().collect())
    }
}

/// What the tag of an entry has of a digest, if it is made of one.
fn stem(entry: &Listed) -> Option<&str> {
    let tag = entry.tag.as_deref().filter(|tag| is_related_tag(tag))?;
    Some(tag.split('.').next().unwrap_or(tag))
}

fn descriptor(entry: &Listed) -> Descriptor {
    Descriptor::new("", entry.digest, entry.size)
}

fn unreadable(digest: &Digest, error: &Error, hint: &str) -> Error {
    match error {
        Error::Stopped => Error::Stopped,
        error => Error::malformed(format!("manifest {digest}"), format!("{error}; {hint}")),
    }
}
