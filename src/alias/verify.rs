//! Whether all that aliases name is there, and is what it is called.
//!
//! Every blob is looked at once, however many aliases share it, and nothing is
//! kept of it.

use std::collections::{HashMap, HashSet};
use std::io;

use crate::descriptor::Descriptor;
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::fetch::{self, Wanted};
use crate::manifest::{Kind, Manifest};
use crate::parallel;
use crate::reference::Target;
use crate::store::Store;
use crate::stream::{Run, Watch};

use super::platforms::{CHILDREN, within};

/// How closely [`verify`] looks at a blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scrutiny {
    /// Whether it is there, and its size: one request.
    Sizes,
    /// All its bytes.
    Digests,
}

/// What was found out about a blob, or a manifest of an index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The alias that names it.
    pub alias: Target,
    /// Its digest, size and type as it is named there.
    pub blob: Descriptor,
    /// What is right or wrong with it.
    pub verdict: Verdict,
}

/// Whether a blob is what it is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is.
    Right,
    /// It is not there, and need not be: its makers keep it elsewhere.
    Elsewhere,
    /// It is not there.
    Missing,
    /// It has this many bytes.
    WrongSize(u64),
    /// Its bytes have this digest.
    WrongDigest(Digest),
}

impl Verdict {
    /// Whether nothing is wrong.
    pub fn is_good(&self) -> bool {
        matches!(self, Verdict::Right | Verdict::Elsewhere)
    }
}

/// Looks at every blob, config and child manifest that `aliases` name: a
/// finding for each, once an alias, in the order of the aliases and of their
/// manifests. An index counts with all its platforms.
///
/// # Errors
/// What keeps an alias itself from being read ([`Error::is_not_found`] when it
/// is missing), or a blob from being looked at, such as the network.
pub fn verify(
    store: &dyn Store,
    aliases: Vec<Target>,
    scrutiny: Scrutiny,
    run: Run<'_>,
) -> Result<Vec<Finding>> {
    let stop = run.watch.stop;
    let many = aliases.len().max(1);
    let named = parallel::map(run.jobs, aliases, stop, |alias, stop| {
        let jobs = (run.jobs / many).max(1);
        let run = Run::new(jobs, Watch::new(run.watch.progress, stop));
        let manifest = store.manifest(&alias).map_err(|e| corrupt(&alias, e))?;
        let mut walk = Walk::new(store, run);
        walk.manifest(&manifest, 1)?;
        Ok((alias, walk.found))
    })?;
    let mut seen = HashSet::new();
    let blobs: Vec<&Descriptor> = named
        .iter()
        .flat_map(|(_, found)| found)
        .filter(|found| found.verdict.is_none() && seen.insert(key(&found.blob)))
        .map(|found| &found.blob)
        .collect();
    let looked = parallel::map(run.jobs, blobs, stop, |blob, stop| {
        let watch = Watch::new(run.watch.progress, stop);
        Ok((key(blob), look(store, blob, scrutiny, watch)?))
    })?;
    Ok(findings(named, &looked.into_iter().collect()))
}

/// A blob may be named with different sizes, of which one is right.
type Key = (Digest, u64);

fn key(blob: &Descriptor) -> Key {
    (blob.digest, blob.size)
}

fn findings(named: Vec<(Target, Vec<Named>)>, looked: &HashMap<Key, Verdict>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (alias, found) in named {
        for Named {
            blob,
            elsewhere,
            verdict,
        } in found
        {
            let verdict = verdict.or_else(|| looked.get(&key(&blob)).copied());
            let verdict = match verdict.unwrap_or(Verdict::Missing) {
                Verdict::Missing if elsewhere => Verdict::Elsewhere,
                verdict => verdict,
            };
            findings.push(Finding {
                alias: alias.clone(),
                blob,
                verdict,
            });
        }
    }
    findings
}

/// Something an alias names.
struct Named {
    blob: Descriptor,
    /// Whether its makers keep it (image-spec, layer.md, "Non-Distributable
    /// Layers").
    elsewhere: bool,
    /// What is known already: manifests are checked when they are fetched.
    verdict: Option<Verdict>,
}

/// Collects what one alias names, within bounds.
struct Walk<'a> {
    store: &'a dyn Store,
    run: Run<'a>,
    fetched: usize,
    seen: HashSet<Key>,
    found: Vec<Named>,
}

impl<'a> Walk<'a> {
    fn new(store: &'a dyn Store, run: Run<'a>) -> Walk<'a> {
        Walk {
            store,
            run,
            fetched: 0,
            seen: HashSet::new(),
            found: Vec::new(),
        }
    }

    fn manifest(&mut self, manifest: &Manifest, depth: usize) -> Result<()> {
        if manifest.kind() == Kind::Index {
            return self.index(manifest, depth);
        }
        let blobs = super::blobs(manifest)?;
        let config = manifest.image()?.config;
        for blob in std::iter::once(&config).chain(&blobs) {
            self.add(blob, None);
        }
        Ok(())
    }

    fn index(&mut self, index: &Manifest, depth: usize) -> Result<()> {
        within(depth)?;
        let mut entries = index.index()?.manifests;
        entries.retain(|entry| !self.seen.contains(&key(entry)));
        self.fetched += entries.len();
        if self.fetched > CHILDREN {
            let why = format!("it names more than {CHILDREN} manifests");
            return Err(Error::malformed("index", why));
        }
        let (store, stop) = (self.store, self.run.watch.stop);
        let children = parallel::map(self.run.jobs, entries, stop, |entry, _| {
            let (verdict, child) = child(store, &entry)?;
            Ok((entry, verdict, child))
        })?;
        for (entry, verdict, child) in children {
            if !self.add(&entry, Some(verdict)) {
                continue;
            }
            if let Some(child) = child {
                self.manifest(&child, depth + 1)?;
            }
        }
        Ok(())
    }

    /// Notes what is named; false when it was noted before.
    fn add(&mut self, blob: &Descriptor, verdict: Option<Verdict>) -> bool {
        let new = self.seen.insert(key(blob));
        if new {
            self.found.push(Named {
                // Without annotations, of which nobody asked anything.
                blob: Descriptor::new(blob.media_type.clone(), blob.digest, blob.size),
                elsewhere: blob.rest.contains_key("urls"),
                verdict,
            });
        }
        new
    }
}

fn child(store: &dyn Store, entry: &Descriptor) -> Result<(Verdict, Option<Manifest>)> {
    match store.manifest(&Target::Digest(entry.digest)) {
        Ok(child) => Ok(match child.bytes().len() as u64 {
            actual if actual != entry.size => (Verdict::WrongSize(actual), None),
            _ => (Verdict::Right, Some(child)),
        }),
        Err(error) => Ok((blame(error)?, None)),
    }
}

fn look(
    store: &dyn Store,
    blob: &Descriptor,
    scrutiny: Scrutiny,
    watch: Watch<'_>,
) -> Result<Verdict> {
    match scrutiny {
        Scrutiny::Sizes => Ok(match store.blob_size(&blob.digest)? {
            None => Verdict::Missing,
            Some(actual) if actual != blob.size => Verdict::WrongSize(actual),
            Some(_) => Verdict::Right,
        }),
        Scrutiny::Digests => match read(store, blob, watch) {
            Ok(()) => Ok(Verdict::Right),
            Err(error) => blame(error),
        },
    }
}

fn read(store: &dyn Store, blob: &Descriptor, watch: Watch<'_>) -> Result<()> {
    let content = store.open_blob(&blob.digest, 0)?;
    if let Some(actual) = content.size.filter(|size| *size != blob.size) {
        return Err(Error::Size {
            what: blob.digest.to_string(),
            expected: blob.size,
            actual,
        });
    }
    let wanted = Wanted {
        digest: blob.digest,
        size: Some(blob.size),
    };
    fetch::write(content, wanted, ("nowhere", &mut io::sink()), watch).map(drop)
}

/// The verdict that `error` is, where it is the blob's fault.
fn blame(error: Error) -> Result<Verdict> {
    match error {
        Error::Mismatch { actual, .. } => Ok(Verdict::WrongDigest(*actual)),
        Error::Size { actual, .. } => Ok(Verdict::WrongSize(actual)),
        error if error.is_not_found() => Ok(Verdict::Missing),
        error => Err(error),
    }
}

/// `error` with the name of the alias, where its manifest's bytes are wrong.
fn corrupt(alias: &Target, error: Error) -> Error {
    match error {
        error if error.is_corrupt() => Error::malformed(format!("alias {alias}"), error),
        error => error,
    }
}
