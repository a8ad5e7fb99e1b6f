//! Whether everything that names reach exists and has its digest.
//!
//! [`names`] starts from tags and looks at every blob once, however many of them
//! share it; [`node`] reads an image or index that was fetched already, and looks into its
//! layers too. Both report a [`Finding`] for each thing, and nothing is kept of
//! the bytes.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::io::{self, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::walk::{FilesOf, JoinedFile, Links, Step, Walk, is_its_fault};
use crate::blob::Blob;
use crate::descriptor::Descriptor;
use crate::digest::{Digest, Hasher};
use crate::error::{Error, Result};
use crate::fetch::{self, BlobRef, Sink};
use crate::image::{Node, check};
use crate::parallel;
use crate::reference::Target;
use crate::store::{Content, ReadStore};
use crate::stream::{Run, Watch};

/// How closely [`names`] looks at a blob.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum Scrutiny {
    /// Whether the store contains it, and its size: one request.
    Sizes,
    /// All its bytes.
    Digests {
        /// The files that blobs of a manifest are when concatenated. They are
        /// checked too, so their blobs are read in order.
        files_of: FilesOf,
    },
}

/// What a manifest names a thing as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Role {
    /// A manifest.
    Manifest,
    /// The config of an image.
    Config,
    /// A layer, or any other blob.
    Blob,
    /// A file in parts.
    File,
}

/// What was found out about one thing.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Finding {
    /// The name that leads to it; `None` for anything below a node that was given.
    pub name: Option<Arc<Target>>,
    /// What it is named as.
    pub role: Role,
    /// Its digest, size and type, as its entry names them. Findings share it, because
    /// names that lead to the same are many.
    pub blob: Arc<Descriptor>,
    /// What is wrong with it, if anything.
    pub wrong: Option<Arc<Error>>,
}

impl Finding {
    /// The result in short.
    pub fn verdict(&self) -> Verdict {
        match self.wrong.as_deref().map(Error::what) {
            None => Verdict::Right,
            Some(Error::Elsewhere { .. }) => Verdict::Elsewhere,
            Some(Error::Mismatch { actual, .. }) => Verdict::WrongDigest(**actual),
            Some(Error::Size { actual, .. }) => Verdict::WrongSize(*actual),
            Some(error) if error.is_not_found() => Verdict::Missing,
            Some(_) => Verdict::Wrong,
        }
    }
}

/// Whether something has the digest, size and type that its entry names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Verdict {
    /// It is.
    Right,
    /// The store does not contain it, and need not: its makers keep it elsewhere.
    Elsewhere,
    /// The store does not contain it.
    Missing,
    /// It has this many bytes.
    WrongSize(u64),
    /// Its bytes have this digest.
    WrongDigest(Digest),
    /// Its bytes are those, but not what they should be: a layer whose type or
    /// diff id is wrong, or that points outside the file system.
    Wrong,
}

impl Verdict {
    /// Whether nothing is wrong.
    pub fn is_good(&self) -> bool {
        matches!(self, Verdict::Right | Verdict::Elsewhere)
    }
}

/// Looks at every blob, config and child manifest that `targets` lead to: a
/// finding for each, once a name, in the order of the names and of their
/// manifests. An index counts with all its platforms; a file in parts counts
/// after its parts, when each of them is right.
///
/// # Errors
/// What keeps the manifest of a name from being read ([`Error::is_not_found`]
/// when it is missing), or a blob from being looked at, such as the network.
pub fn names(
    store: &dyn ReadStore,
    targets: Vec<Target>,
    scrutiny: Scrutiny,
    run: Run<'_>,
) -> Result<Vec<Finding>> {
    let stop = run.watch.stop;
    let jobs = (run.jobs / targets.len().max(1)).max(1);
    let mut walk = Walk::new(store, run);
    if let Scrutiny::Digests { files_of } = scrutiny {
        walk = walk.with_files(files_of);
    }
    let below = Mutex::new(HashMap::<Digest, Arc<[Named]>>::new());
    let named = parallel::map(run.jobs, targets, stop, |name, _| {
        let read = || {
            let root = walk.root(&name)?;
            let digest = root.manifest.digest;
            if let Some(found) = locked(&below).get(&digest) {
                return Ok(found.clone());
            }
            let found = walk.below(&root, jobs)?.into_iter().map(Named::new);
            let found: Arc<[Named]> = found.collect();
            locked(&below).insert(digest, found.clone());
            Ok(found)
        };
        let found = read().map_err(|e| corrupt(&name, e))?;
        Ok((Arc::new(name), found))
    })?;
    let mut known = files(store, &named, run)?;
    let unknown = |one: &&Named| {
        one.parts.is_none() && one.role != Role::Manifest && !known.contains_key(&one.key())
    };
    let blobs = unique(named.iter().flat_map(|(_, found)| &**found).filter(unknown));
    // Of what is right nothing is noted: it is most, or all.
    let wrong = Mutex::new(Known::new());
    parallel::for_each(run.jobs, blobs, stop, |one, stop| {
        let watch = Watch::new(run.watch.progress, stop);
        if let Some(error) = fault(look(store, &one.blob, scrutiny, watch))? {
            locked(&wrong).insert(one.key(), Some(error));
        }
        Ok(())
    })?;
    known.extend(wrong.into_inner().unwrap_or_else(PoisonError::into_inner));
    Ok(findings(&named, &known))
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A map or set is consistent even after a panic elsewhere.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What is wrong with what the manifests `roots` lead to, as [`names`] tells it with
/// [`Scrutiny::Sizes`]: each thing once, with the first name that leads to it. Many
/// roots take little memory, and those that are right none.
///
/// # Errors
/// As [`names`].
pub fn wrong(store: &dyn ReadStore, roots: Vec<Descriptor>, run: Run<'_>) -> Result<Vec<Finding>> {
    let (walk, seen) = (Walk::new(store, run), Mutex::new(HashSet::new()));
    let is_new = |one: &Named| locked(&seen).insert((one.blob.digest, one.blob.size));
    let found = walk.for_each(roots, |root, stop| {
        let name = Arc::new(Target::Digest(root.digest));
        let watch = Watch::new(run.watch.progress, stop);
        let below = walk.root(&name).and_then(|root| walk.below(&root, 1));
        let below = below.map_err(|e| corrupt(&name, e))?;
        let mut wrong = Vec::new();
        for one in below.into_iter().map(Named::new).filter(&is_new) {
            let looked = match one.role {
                Role::Manifest => None,
                _ => fault(look(store, &one.blob, Scrutiny::Sizes, watch))?,
            };
            let finding = one.finding(&name, looked);
            wrong.extend(Some(finding).filter(|one| !one.verdict().is_good()));
        }
        Ok(wrong)
    })?;
    Ok(found.into_iter().flatten().collect())
}

/// Reads the configs and layers of an image, or of each image of an index, and
/// looks at the names in the layers: one that points outside the file system is
/// wrong. A finding for each manifest, config and layer, and for each of the files
/// that `files_of` finds among layers, after its parts. The manifests were verified
/// when the node was made.
///
/// # Errors
/// What keeps a blob from being read at all, such as the network.
pub fn node(node: &Node, files_of: FilesOf, run: Run<'_>) -> Result<Vec<Finding>> {
    let right = |role, blob: Descriptor| Finding {
        name: None,
        role,
        blob: Arc::new(blob),
        wrong: None,
    };
    let mut findings = Vec::new();
    manifests(node, &mut |manifest| {
        findings.push(right(Role::Manifest, manifest));
    });
    let (mut layers, mut files) = (Vec::new(), Vec::new());
    for (_, image) in node.images() {
        match files_of(image.manifest()) {
            Ok(found) => files.extend(found.into_iter().map(Named::file)),
            // Another kind of manifest has no parts.
            Err(error) if !error.is_corrupt() => {}
            Err(error) => {
                let digest = image.manifest().digest();
                let wrong = Some(Arc::new(error));
                let its = findings.iter_mut().find(|one| one.blob.digest == digest);
                its.into_iter().for_each(|one| one.wrong.clone_from(&wrong));
            }
        }
        let (ids, wrong) = match check::diff_ids(image) {
            Ok(ids) => (ids, None),
            // Digests and sizes can be checked without a config.
            Err(error) => (None, blame(error)?),
        };
        findings.push(Finding {
            wrong,
            ..right(Role::Config, image.config_blob().descriptor().clone())
        });
        layers.extend(check::layers(image, ids));
    }
    layers.extend(node.listed_blobs().into_iter().map(|blob| (blob, None)));
    let mut seen = HashSet::new();
    layers.retain(|(blob, id)| seen.insert((*blob.digest(), *id)));
    let blobs: HashMap<Digest, &Blob> = layers.iter().map(|(b, _)| (*b.digest(), *b)).collect();
    let open = |digest: &Digest| match blobs.get(digest) {
        Some(blob) => Ok(Content {
            size: None,
            reader: blob.open(0)?,
        }),
        None => Err(Error::NotFound {
            what: digest.to_string(),
        }),
    };
    let files = unique(files.iter());
    let known = joined(&open, files.clone(), run)?;
    let layers = parallel::map(run.jobs, layers, run.watch.stop, |(blob, id), stop| {
        let wrong = match known.get(&key(blob.descriptor(), &[])) {
            Some(wrong) => wrong.clone(),
            None => {
                let checked = check::layer(blob, id, &check::names, run.stopped_by(stop));
                checked.err().map_or(Ok(None), blame)?
            }
        };
        Ok(Finding {
            wrong,
            ..right(Role::Blob, blob.descriptor().clone())
        })
    })?;
    findings.extend(layers);
    findings.extend(files.iter().filter_map(|file| {
        Some(Finding {
            wrong: known.get(&file.key())?.clone(),
            ..right(Role::File, Descriptor::clone(&file.blob))
        })
    }));
    Ok(findings)
}

fn manifests(node: &Node, each: &mut dyn FnMut(Descriptor)) {
    each(node.manifest().descriptor());
    if let Node::Index(index) = node {
        let mut children = index.children().iter();
        children
            .by_ref()
            .for_each(|child| manifests(&child.node, each));
    }
}

/// `error` as what is wrong with a blob, where it is about that.
fn blame(error: Error) -> Result<Option<Arc<Error>>> {
    let about_it = matches!(
        error.what(),
        Error::Elsewhere { .. } | Error::Unsupported { .. }
    );
    if error.is_corrupt() || error.is_not_found() || about_it {
        return Ok(Some(Arc::new(error)));
    }
    Err(error)
}

/// What is wrong with a blob that was looked at, if anything.
fn fault(looked: Result<()>) -> Result<Option<Arc<Error>>> {
    match looked {
        Ok(()) => Ok(None),
        Err(error) if is_its_fault(&error) => Ok(Some(Arc::new(error))),
        Err(error) => Err(error),
    }
}

/// Something that a name leads to.
struct Named {
    role: Role,
    /// Its digest, size and type.
    blob: Arc<Descriptor>,
    /// Whether its makers keep it (image-spec, layer.md, "Non-Distributable Layers").
    elsewhere: bool,
    /// What is wrong with it, of a manifest, which the walk fetched.
    wrong: Option<Arc<Error>>,
    /// Of a file in parts its parts, in order.
    parts: Option<Vec<Descriptor>>,
}

/// What is looked at once: a blob may be named with different sizes, of which one
/// is right, and a file be made of different parts.
type Key = (Digest, u64, Vec<Digest>);

fn key(blob: &Descriptor, parts: &[Descriptor]) -> Key {
    let parts = parts.iter().map(|part| part.digest).collect();
    (blob.digest, blob.size, parts)
}

impl Named {
    fn new(step: Step) -> Named {
        let (role, blob, links, parts) = match step {
            Step::Manifest(blob, links) => (Role::Manifest, blob, Some(links), None),
            Step::Config(blob) => (Role::Config, blob, None, None),
            Step::Blob(blob) => (Role::Blob, blob, None, None),
            Step::File(blob, parts) => (Role::File, blob, None, Some(parts)),
        };
        Named {
            role,
            elsewhere: blob.rest.contains_key("urls"),
            blob: bare(blob),
            wrong: links
                .and_then(|links: Result<Arc<Links>>| links.err())
                .map(Arc::new),
            parts,
        }
    }

    fn file(file: JoinedFile) -> Named {
        Named {
            role: Role::File,
            elsewhere: false,
            blob: bare(file.whole),
            wrong: None,
            parts: Some(file.parts),
        }
    }

    fn key(&self) -> Key {
        key(&self.blob, self.parts.as_deref().unwrap_or_default())
    }

    /// The finding about it; `known` is the result of reading its bytes.
    fn finding(&self, name: &Arc<Target>, known: Option<Arc<Error>>) -> Finding {
        let mut wrong = self.wrong.clone().or(known);
        let missing = wrong.as_ref().is_some_and(|error| error.is_not_found());
        if missing && self.elsewhere {
            let what = self.blob.digest.to_string();
            wrong = Some(Arc::new(Error::Elsewhere { what }));
        }
        Finding {
            name: Some(name.clone()),
            role: self.role,
            blob: self.blob.clone(),
            wrong,
        }
    }
}

/// Findings do not show annotations.
fn bare(blob: Descriptor) -> Arc<Descriptor> {
    Arc::new(Descriptor::new(blob.media_type, blob.digest, blob.size))
}

/// What came of looking at some things; of others nothing is known to be wrong.
type Known = HashMap<Key, Option<Arc<Error>>>;

/// Something by what it is looked at once for, which takes no memory of its own.
struct Once<'a>(&'a Named);

impl PartialEq for Once<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.0.key() == other.0.key()
    }
}

impl Eq for Once<'_> {}

impl Hash for Once<'_> {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.0.key().hash(state);
    }
}

fn unique<'a>(found: impl Iterator<Item = &'a Named>) -> Vec<&'a Named> {
    let mut seen = HashSet::new();
    found.filter(|one| seen.insert(Once(one))).collect()
}

fn findings(named: &[NamedBelow], known: &Known) -> Vec<Finding> {
    let looked = |one: &Named| match known.get(&one.key()) {
        // A file that was not joined, because a part of it is wrong.
        None if one.parts.is_some() => None,
        looked => Some(looked.cloned().flatten()),
    };
    let all = named
        .iter()
        .flat_map(|(name, found)| found.iter().map(move |one| (name, one)));
    let all = all.filter_map(|(name, one)| Some(one.finding(name, looked(one)?)));
    all.collect()
}

/// A name, and what it leads to; names of the same share it.
type NamedBelow = (Arc<Target>, Arc<[Named]>);

/// Reads the files in parts, several at once; what that says of them and of
/// their parts.
fn files(store: &dyn ReadStore, named: &[NamedBelow], run: Run<'_>) -> Result<Known> {
    let all = named.iter().flat_map(|(_, found)| &**found);
    let files = unique(all.filter(|one| one.parts.is_some()));
    joined(&|digest| store.open_blob(digest, 0), files, run)
}

/// Opens a blob.
type Open<'o, 'c> = &'o (dyn Fn(&Digest) -> Result<Content<'c>> + Sync);

fn joined(open: Open<'_, '_>, files: Vec<&Named>, run: Run<'_>) -> Result<Known> {
    let joined = parallel::map(run.jobs, files, run.watch.stop, |file, stop| {
        join(open, file, Watch::new(run.watch.progress, stop))
    })?;
    Ok(joined.into_iter().flatten().collect())
}

/// Reads one file, as far as the first part that is wrong.
fn join(
    open: Open<'_, '_>,
    file: &Named,
    watch: Watch<'_>,
) -> Result<Vec<(Key, Option<Arc<Error>>)>> {
    let mut whole = Hashing(Hasher::like(&file.blob.digest));
    let mut known = Vec::new();
    for part in file.parts.as_deref().unwrap_or_default() {
        let content = open(&part.digest);
        let wrong = fault(content.and_then(|content| read(content, part, &mut whole, watch)))?;
        let is_wrong = wrong.is_some();
        known.push((key(part, &[]), wrong));
        if is_wrong {
            return Ok(known);
        }
    }
    let wrong = match whole.0.finish() {
        actual if actual == file.blob.digest => None,
        actual => Some(Arc::new(Error::mismatch(file.blob.digest, actual))),
    };
    known.push((file.key(), wrong));
    Ok(known)
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

fn look(
    store: &dyn ReadStore,
    blob: &Descriptor,
    scrutiny: Scrutiny,
    watch: Watch<'_>,
) -> Result<()> {
    if let Scrutiny::Digests { .. } = scrutiny {
        return read(
            store.open_blob(&blob.digest, 0)?,
            blob,
            &mut io::sink(),
            watch,
        );
    }
    let what = blob.digest.to_string();
    match store.blob_size(&blob.digest)? {
        None => Err(Error::NotFound { what }),
        Some(actual) => same_size(blob, actual),
    }
}

fn same_size(blob: &Descriptor, actual: u64) -> Result<()> {
    if actual == blob.size {
        return Ok(());
    }
    Err(Error::Size {
        what: blob.digest.to_string(),
        expected: blob.size,
        actual,
    })
}

fn read(
    content: Content<'_>,
    blob: &Descriptor,
    to: &mut (dyn Write + Send),
    watch: Watch<'_>,
) -> Result<()> {
    content.size.map_or(Ok(()), |size| same_size(blob, size))?;
    let wanted = BlobRef {
        digest: blob.digest,
        size: Some(blob.size),
    };
    fetch::write(content, wanted, Sink::new("nowhere", to), watch).map(drop)
}

/// `error` with the name, where the bytes of its manifest are wrong, or of a
/// kind that this crate does not know.
fn corrupt(name: &Target, error: Error) -> Error {
    match error {
        error if error.is_corrupt() => Error::malformed(format!("alias {name}"), error),
        Error::Unsupported { what } => Error::Unsupported {
            what: format!("alias {name}: {what}"),
        },
        error => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::descriptor::media_type;
    use crate::manifest::Manifest;
    use crate::store::testing::Spy;
    use serde_json::json;

    #[test]
    fn layers_of_others_need_not_be_there() {
        let spy = Spy::default();
        let here = spy.blob(b"1").digest;
        let kind = media_type::OCTET_STREAM;
        let entry = |digest: Digest| json!({"mediaType": kind, "digest": digest, "size": 1});
        let mut foreign = entry(Digest::of(b"2"));
        foreign["urls"] = json!(["https://x.example/2"]);
        let document = json!({"schemaVersion": 2, "mediaType": media_type::OCI_MANIFEST,
            "config": entry(here), "layers": [foreign, entry(Digest::of(b"3"))]});
        let manifest = Manifest::new(None, document.to_string().into_bytes()).unwrap();
        spy.insert(&manifest, Some("x"));
        let x = || vec![Target::Tag("x".parse().unwrap())];
        let found = names(&spy, x(), Scrutiny::Sizes, Run::default()).unwrap();
        let verdicts: Vec<_> = found.iter().map(Finding::verdict).collect();
        let expected = [Verdict::Right, Verdict::Elsewhere, Verdict::Missing];
        assert_eq!(verdicts, expected);
        spy.refuse("blob_size", 503);
        let failed = names(&spy, x(), Scrutiny::Sizes, Run::default());
        assert_eq!(failed.unwrap_err().status(), Some(503));
    }
}
