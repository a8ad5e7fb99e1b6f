//! Into a store: blobs first and each once, then manifests, children before
//! parents, the tag last, so that nobody ever sees a name whose content is not
//! all there.

use std::cmp::Reverse;
use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::blob::Blob;
use crate::descriptor::Descriptor;
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::image::layer::is_foreign;
use crate::image::{Child, Node};
use crate::manifest::Manifest;
use crate::parallel;
use crate::reference::Target;
use crate::store::{Put, Store};
use crate::stream::Run;

/// What is done with layers that must not be passed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Foreign {
    /// They stay where they are; the manifest goes on naming them.
    Skip,
    /// They are sent like all others.
    Send,
}

/// Where a node goes.
#[derive(Clone, Copy)]
pub struct To<'a> {
    /// The repository.
    pub store: &'a dyn Store,
    /// The name it gets there: a tag, or its own digest.
    pub target: &'a Target,
    /// What is done with layers that must not be passed on.
    pub foreign: Foreign,
}

/// What [`put`] had to do.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Summary {
    /// Blobs that were sent.
    pub uploaded: usize,
    /// Blobs taken over from another repository.
    pub mounted: usize,
    /// Blobs that were there.
    pub existed: usize,
    /// Manifests that were there, and answered for everything below them.
    pub known_manifests: usize,
    /// Layers that were left out, because they must not be passed on.
    pub left_out: Vec<Descriptor>,
}

/// Puts a node and everything below it into a store.
///
/// A manifest that is there already answers for all below it, so putting an
/// image again costs two requests. Manifests are passed on byte for byte.
///
/// # Errors
/// Those of the store and of the blobs' sources; [`Error::Mismatch`] when the
/// target is a digest and not this node's; [`Error::Stopped`].
pub fn put(node: &Node, to: &To<'_>, run: Run<'_>) -> Result<Summary> {
    let known = Known::default();
    match put_there(node.manifest(), to, &known)? {
        Some(summary) => Ok(summary),
        None => put_missing(node, to, &known, run),
    }
}

/// What a store is known to hold, because it was put there a moment ago.
#[derive(Default)]
pub(super) struct Known(Mutex<HashSet<Digest>>);

impl Known {
    fn has(&self, digest: &Digest) -> bool {
        self.lock().contains(digest)
    }

    fn add(&self, digests: impl IntoIterator<Item = Digest>) {
        self.lock().extend(digests);
    }

    fn lock(&self) -> MutexGuard<'_, HashSet<Digest>> {
        // A set stays whole whoever panicked with it.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Gives a manifest its name if the store holds it; `None` when it does not.
pub(super) fn put_there(
    manifest: &Manifest,
    to: &To<'_>,
    known: &Known,
) -> Result<Option<Summary>> {
    let digest = own_digest(manifest, to.target)?;
    if !known.has(&digest) && to.store.head(&Target::Digest(digest))?.is_none() {
        return Ok(None);
    }
    known.add([digest]);
    if matches!(to.target, Target::Tag(_)) {
        put_named(manifest, to.store, to.target)?;
    }
    Ok(Some(Summary {
        known_manifests: 1,
        ..Summary::default()
    }))
}

/// Puts a node that the store lacks, and what the store lacks of what is below.
pub(super) fn put_missing(
    node: &Node,
    to: &To<'_>,
    known: &Known,
    run: Run<'_>,
) -> Result<Summary> {
    let manifest = node.manifest();
    let mut summary = Summary::default();
    let missing = missing(node, to.store, known, &mut summary, run)?;
    let mut blobs = needed(node, &missing, to.foreign, &mut summary.left_out);
    blobs.retain(|blob| !known.has(blob.digest()));
    let sent: Vec<Digest> = blobs.iter().map(|blob| *blob.digest()).collect();
    let done = parallel::map(run.jobs, blobs, run.watch.stop, |blob, stop| {
        let put = to.store.put_blob(blob, run.stopped_by(stop).watch)?;
        Ok((blob, put))
    })?;
    let doubtful = summary.count(done);
    let manifests = || {
        put_children(&missing, to.store, run)?;
        put_named(manifest, to.store, to.target)
    };
    match manifests() {
        // A registry may say that it holds a blob and then that it does not:
        // collected meanwhile, or left half by a push that was cancelled.
        Err(error) if denies_blob(&error) && !doubtful.is_empty() => {
            parallel::for_each(run.jobs, doubtful, run.watch.stop, |blob, stop| {
                let watch = run.stopped_by(stop).watch;
                to.store.send_blob(blob, watch).map(drop)
            })?;
            manifests()?;
        }
        done => done?,
    }
    known.add(sent);
    known.add(missing.iter().map(|child| child.descriptor.digest));
    known.add([own_digest(manifest, to.target)?]);
    Ok(summary)
}

fn denies_blob(error: &Error) -> bool {
    error.has_code("MANIFEST_BLOB_UNKNOWN") || error.has_code("BLOB_UNKNOWN")
}

/// The digest a manifest has where it is going.
pub(super) fn own_digest(manifest: &Manifest, target: &Target) -> Result<Digest> {
    let own = manifest.digest();
    match target {
        Target::Digest(wanted) if wanted.algorithm() != own.algorithm() => Ok(*wanted),
        Target::Digest(wanted) if *wanted != own => Err(Error::mismatch(*wanted, own)),
        _ => Ok(own),
    }
}

/// The children below `node` that the store lacks, innermost last.
pub(super) fn missing<'a>(
    node: &'a Node,
    store: &dyn Store,
    known: &Known,
    summary: &mut Summary,
    run: Run<'_>,
) -> Result<Vec<&'a Child>> {
    let Node::Index(index) = node else {
        return Ok(Vec::new());
    };
    let children: Vec<&Child> = index.children().iter().collect();
    let there = parallel::map(run.jobs, children, run.watch.stop, |child, _| {
        let digest = child.descriptor.digest;
        let there = known.has(&digest) || store.head(&Target::Digest(digest))?.is_some();
        Ok((child, there))
    })?;
    let mut all = Vec::new();
    for (child, there) in there {
        if there {
            summary.known_manifests += 1;
            continue;
        }
        all.push(child);
        all.extend(missing(&child.node, store, known, summary, run)?);
    }
    Ok(all)
}

/// The blobs of the missing images, each once, the largest first: the last to
/// be begun is then a small one.
pub(super) fn needed<'a>(
    node: &'a Node,
    missing: &[&'a Child],
    foreign: Foreign,
    left_out: &mut Vec<Descriptor>,
) -> Vec<&'a Blob> {
    let (mut seen, mut blobs) = (HashSet::new(), Vec::new());
    let below = missing.iter().map(|child| &child.node);
    for node in std::iter::once(node).chain(below) {
        let Node::Image(image) = node else { continue };
        for blob in image.blobs().filter(|blob| seen.insert(*blob.digest())) {
            if foreign == Foreign::Skip && is_foreign(blob.descriptor()) {
                left_out.push(blob.descriptor().clone());
            } else {
                blobs.push(blob);
            }
        }
    }
    blobs.sort_by_key(|blob| Reverse(blob.size()));
    blobs
}

impl Summary {
    /// Counts what was done, and gives the blobs that were said to be there.
    fn count<'a>(&mut self, done: Vec<(&'a Blob, Put)>) -> Vec<&'a Blob> {
        for (_, put) in &done {
            match put {
                Put::Existed => self.existed += 1,
                Put::Mounted => self.mounted += 1,
                Put::Uploaded => self.uploaded += 1,
            }
        }
        let existed = done.into_iter().filter(|(_, put)| *put == Put::Existed);
        existed.map(|(blob, _)| blob).collect()
    }
}

/// Images first, several at once; then indexes, innermost first.
fn put_children(missing: &[&Child], store: &dyn Store, run: Run<'_>) -> Result<()> {
    let is_image = |child: &&&Child| matches!(child.node, Node::Image(_));
    let put = |child: &Child| {
        let target = Target::Digest(child.descriptor.digest);
        store.put_manifest(child.node.manifest(), &target)
    };
    let mut seen = HashSet::new();
    let images = missing.iter().filter(is_image);
    let images = images.filter(|child| seen.insert(child.descriptor.digest));
    let images: Vec<&Child> = images.copied().collect();
    parallel::for_each(run.jobs, images, run.watch.stop, |child, _| put(child))?;
    for child in missing.iter().rev().filter(|child| !is_image(child)) {
        run.watch.stop.check()?;
        put(child)?;
    }
    Ok(())
}

/// Puts a manifest under a name. What it lists has to be there.
///
/// # Errors
/// Those of the store, but not of one that refuses to change what would not
/// change.
pub fn put_named(manifest: &Manifest, store: &dyn Store, target: &Target) -> Result<()> {
    let Err(error) = store.put_manifest(manifest, target) else {
        return Ok(());
    };
    // Registries with tags that can't change refuse even what changes nothing.
    match (target, store.head(target)) {
        (Target::Tag(_), Ok(Some(there))) if there.digest == manifest.digest() => Ok(()),
        _ => Err(error),
    }
}
