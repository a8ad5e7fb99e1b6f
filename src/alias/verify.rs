//! Whether all that aliases name is there, and is what it is called.
//!
//! Every blob is looked at once, however many aliases share it, and nothing is
//! kept of it.

use std::collections::{HashMap, HashSet};
use std::io::{self, Write};

use crate::descriptor::{Descriptor, media_type};
use crate::digest::{Digest, Hasher};
use crate::error::{Error, Result};
use crate::fetch::{self, Wanted};
use crate::manifest::{Kind, Manifest};
use crate::parallel;
use crate::reference::Target;
use crate::store::ReadStore;
use crate::stream::{Run, Watch};

use super::platforms::{CHILDREN, within};

/// How closely [`verify`] looks at a blob.
#[derive(Debug, Clone, Copy)]
pub enum Scrutiny {
    /// Whether it is there, and its size: one request.
    Sizes,
    /// All its bytes.
    Digests {
        /// The file that the blobs of a manifest are one after the other, where
        /// they are one. It is checked too, so its blobs are read in order.
        whole: fn(&Manifest) -> Result<Option<Wanted>>,
    },
}

/// What was found out about a blob, a manifest of an index, or a whole file.
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
/// manifests. An index counts with all its platforms; a file that is kept as
/// several blobs counts behind them, when each of them is right.
///
/// # Errors
/// What keeps an alias itself from being read ([`Error::is_not_found`] when it
/// is missing), or a blob from being looked at, such as the network.
pub fn verify(
    store: &dyn ReadStore,
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
        let mut walk = Walk::new(store, scrutiny, run);
        let walked = walk.manifest(&manifest, 1);
        walked.map_err(|e| corrupt(&alias, e))?;
        Ok((alias, walk.found))
    })?;
    let mut known = files(store, &named, run)?;
    let unknown = |found: &&Named| {
        let is_blob = found.verdict.is_none() && found.parts.is_empty();
        is_blob && !known.contains_key(&found.key())
    };
    let blobs = unique(named.iter().flat_map(|(_, found)| found).filter(unknown));
    let looked = parallel::map(run.jobs, blobs, stop, |found, stop| {
        let watch = Watch::new(run.watch.progress, stop);
        Ok((found.key(), look(store, &found.blob, scrutiny, watch)?))
    })?;
    known.extend(looked);
    Ok(findings(named, &known))
}

fn unique<'a>(found: impl Iterator<Item = &'a Named>) -> Vec<&'a Named> {
    let mut seen = HashSet::new();
    found.filter(|found| seen.insert(found.key())).collect()
}

/// Reads the files that blobs are together, several at once; what that tells of
/// them and of their blobs.
fn files(
    store: &dyn ReadStore,
    named: &[(Target, Vec<Named>)],
    run: Run<'_>,
) -> Result<HashMap<Key, Verdict>> {
    let all = named.iter().flat_map(|(_, found)| found);
    let files = unique(all.filter(|found| !found.parts.is_empty()));
    let verdicts = parallel::map(run.jobs, files, run.watch.stop, |file, stop| {
        join(store, file, Watch::new(run.watch.progress, stop))
    })?;
    Ok(verdicts.into_iter().flatten().collect())
}

/// Reads one file; the verdicts go as far as the first part that is wrong.
fn join(store: &dyn ReadStore, file: &Named, watch: Watch<'_>) -> Result<Vec<(Key, Verdict)>> {
    let mut whole = Hashing(Hasher::like(&file.blob.digest));
    let mut verdicts = Vec::new();
    for part in &file.parts {
        let verdict = match read(store, part, &mut whole, watch) {
            Ok(()) => Verdict::Right,
            Err(error) => blame(error)?,
        };
        verdicts.push((key(part, &[]), verdict));
        if !verdict.is_good() {
            return Ok(verdicts);
        }
    }
    let verdict = match whole.0.finish() {
        actual if actual == file.blob.digest => Verdict::Right,
        actual => Verdict::WrongDigest(actual),
    };
    verdicts.push((file.key(), verdict));
    Ok(verdicts)
}

/// Hashes what is written to it, and keeps nothing.
struct Hashing(Hasher);

impl Write for Hashing {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.0.update(buf);
        Ok(buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What is looked at once: a blob may be named with different sizes, of which one
/// is right, and a file be made of different parts.
type Key = (Digest, u64, Vec<Digest>);

fn key(blob: &Descriptor, parts: &[Descriptor]) -> Key {
    let parts = parts.iter().map(|part| part.digest).collect();
    (blob.digest, blob.size, parts)
}

fn findings(named: Vec<(Target, Vec<Named>)>, known: &HashMap<Key, Verdict>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (alias, found) in named {
        for one in found {
            let looked = known.get(&one.key()).copied();
            let verdict = match one.verdict.or(looked) {
                // Not joined, because a part of it is wrong.
                None => continue,
                Some(Verdict::Missing) if one.elsewhere => Verdict::Elsewhere,
                Some(verdict) => verdict,
            };
            findings.push(Finding {
                alias: alias.clone(),
                blob: one.blob,
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
    /// Of a whole file the blobs it is made of, in order.
    parts: Vec<Descriptor>,
}

impl Named {
    fn key(&self) -> Key {
        key(&self.blob, &self.parts)
    }
}

/// Collects what one alias names, within bounds.
struct Walk<'a> {
    store: &'a dyn ReadStore,
    scrutiny: Scrutiny,
    run: Run<'a>,
    fetched: usize,
    seen: HashSet<(Digest, u64)>,
    found: Vec<Named>,
}

impl<'a> Walk<'a> {
    fn new(store: &'a dyn ReadStore, scrutiny: Scrutiny, run: Run<'a>) -> Walk<'a> {
        Walk {
            store,
            scrutiny,
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
        if let Scrutiny::Digests { whole } = self.scrutiny
            && let Some(file) = whole(manifest)?
        {
            self.add_file(file, blobs)?;
        }
        Ok(())
    }

    fn index(&mut self, index: &Manifest, depth: usize) -> Result<()> {
        within(depth)?;
        let mut entries = index.index()?.manifests;
        entries.retain(|entry| !self.seen.contains(&(entry.digest, entry.size)));
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
        let new = self.seen.insert((blob.digest, blob.size));
        if new {
            self.found.push(Named {
                // Without annotations, of which nobody asked anything.
                blob: Descriptor::new(blob.media_type.clone(), blob.digest, blob.size),
                elsewhere: blob.rest.contains_key("urls"),
                verdict,
                parts: Vec::new(),
            });
        }
        new
    }

    /// Notes a whole file; one of one part is that part.
    fn add_file(&mut self, file: Wanted, parts: Vec<Descriptor>) -> Result<()> {
        let mut sizes = parts.iter().map(|part| part.size);
        let sum = || sizes.try_fold(0u64, u64::checked_add);
        let size = file
            .size
            .or_else(sum)
            .ok_or_else(|| Error::malformed("manifest", "its sizes add up to too much"))?;
        let blob = Descriptor::new(media_type::OCTET_STREAM, file.digest, size);
        if self.add(&blob, None)
            && let Some(found) = self.found.last_mut()
        {
            found.parts = parts;
        }
        Ok(())
    }
}

fn child(store: &dyn ReadStore, entry: &Descriptor) -> Result<(Verdict, Option<Manifest>)> {
    match store.manifest(&Target::Digest(entry.digest)) {
        Ok(child) => Ok(match child.bytes().len() as u64 {
            actual if actual != entry.size => (Verdict::WrongSize(actual), None),
            _ => (Verdict::Right, Some(child)),
        }),
        Err(error) => Ok((blame(error)?, None)),
    }
}

fn look(
    store: &dyn ReadStore,
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
        Scrutiny::Digests { .. } => match read(store, blob, &mut io::sink(), watch) {
            Ok(()) => Ok(Verdict::Right),
            Err(error) => blame(error),
        },
    }
}

fn read(
    store: &dyn ReadStore,
    blob: &Descriptor,
    to: &mut (dyn Write + Send),
    watch: Watch<'_>,
) -> Result<()> {
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
    fetch::write(content, wanted, ("nowhere", to), watch).map(drop)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::Layouts;

    #[test]
    fn sizes_that_add_up_to_too_much_are_no_file() {
        let folder = tempfile::tempdir().unwrap();
        let store = Layouts::new(folder.path()).repository(&"a".parse().unwrap());
        let mut walk = Walk::new(&store, Scrutiny::Sizes, Run::default());
        let digest = Digest::of(b"");
        let part = Descriptor::new(media_type::OCTET_STREAM, digest, u64::MAX);
        let file = Wanted { digest, size: None };
        let added = walk.add_file(file, vec![part; 2]);
        assert!(matches!(added, Err(Error::Malformed { .. })));
    }
}
