//! Into a store: blobs first and each once, then manifests, children before
//! parents, the tag last, so that no reader ever sees a name whose content is not
//! all there.

use std::cmp::Reverse;
use std::collections::HashSet;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::referrers::Lists;
use crate::blob::Blob;
use crate::descriptor::Descriptor;
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::image::layer::is_foreign;
use crate::image::{Child, Node};
use crate::manifest::Manifest;
use crate::parallel;
use crate::progress::Skipped;
use crate::reference::{Origin, Target};
use crate::store::{Expected, Put, Store};
use crate::stream::Run;

/// How often blobs that a store denies are sent again.
const MAX_SENDS: usize = 2;
/// How often a thread that waits for another looks whether it is to end.
const PAUSE: Duration = Duration::from_millis(100);

/// What a push does with non-distributable layers, which the image's makers keep
/// elsewhere (image-spec, layer.md, "Non-Distributable Layers").
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Nondistributable {
    /// Leaves them out; the manifest still names them.
    #[default]
    Skip,
    /// Pushes them like all others.
    Send,
}

/// Where a node is pushed to.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub struct PushTarget<'a> {
    /// The repository.
    pub store: &'a dyn Store,
    /// The tag it gets there, or its own digest.
    pub target: &'a Target,
    /// What becomes of non-distributable layers.
    pub nondistributable: Nondistributable,
}

impl<'a> PushTarget<'a> {
    /// `target` in `store`, without non-distributable layers.
    pub fn new(store: &'a dyn Store, target: &'a Target) -> PushTarget<'a> {
        PushTarget {
            store,
            target,
            nondistributable: Nondistributable::Skip,
        }
    }

    /// The same, with another choice about non-distributable layers.
    pub fn with_nondistributable(self, nondistributable: Nondistributable) -> PushTarget<'a> {
        PushTarget {
            nondistributable,
            ..self
        }
    }
}

/// What [`push`] had to do.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Summary {
    /// Blobs that were sent.
    pub uploaded: usize,
    /// Blobs mounted from another repository.
    pub mounted: usize,
    /// Blobs that existed.
    pub existed: usize,
    /// Manifests that existed, so that nothing below them was checked.
    pub known_manifests: usize,
    /// Layers that were left out, because they must not be passed on.
    pub left_out: Vec<Descriptor>,
}

/// Puts a node and everything below it into a store.
///
/// A manifest that the store contains answers for all below it, so pushing an
/// image again costs two requests. Manifests are passed on byte for byte.
///
/// # Errors
/// Those of the store and of the blobs' sources; [`Error::Mismatch`] when the
/// target is a digest and not this node's; [`Error::Stopped`].
pub fn push(node: &Node, to: &PushTarget<'_>, run: Run<'_>) -> Result<Summary> {
    let known = Known::default();
    match put_there(node.manifest(), to, &known)? {
        Some(summary) => {
            report_existing(node.blobs().into_iter().map(Blob::descriptor), run);
            Ok(summary)
        }
        None => put_missing(node, to, &known, run),
    }
}

/// What a store is known to hold, because it was put there a moment ago, and what
/// is being put. Threads that copy images share it.
#[derive(Default)]
pub(super) struct Known {
    stored: Mutex<Stored>,
    changed: Condvar,
}

#[derive(Default)]
struct Stored {
    known: HashSet<Digest>,
    busy: HashSet<Digest>,
}

impl Known {
    pub fn has(&self, digest: &Digest) -> bool {
        self.lock().known.contains(digest)
    }

    pub fn add(&self, digests: impl IntoIterator<Item = Digest>) {
        self.lock().known.extend(digests);
    }

    /// Puts a blob, unless another thread puts it just now: then this one waits for
    /// that, and puts the blob itself only if the other failed.
    fn put_once(
        &self,
        blob: &Blob,
        run: Run<'_>,
        put: impl FnOnce() -> Result<Put>,
    ) -> Result<Put> {
        let digest = *blob.digest();
        let mut stored = self.lock();
        while stored.busy.contains(&digest) {
            run.watch.stop.check()?;
            let waited = self.changed.wait_timeout(stored, PAUSE);
            (stored, _) = waited.unwrap_or_else(PoisonError::into_inner);
        }
        if stored.known.contains(&digest) {
            drop(stored);
            report_existing([blob.descriptor()], run);
            return Ok(Put::Existed);
        }
        stored.busy.insert(digest);
        drop(stored);
        let _busy = Busy {
            known: self,
            digest,
        };
        let put = put()?;
        self.add([digest]);
        Ok(put)
    }

    fn lock(&self) -> MutexGuard<'_, Stored> {
        // A set is consistent even after a panic elsewhere.
        self.stored.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A blob that is being put, until this is dropped.
struct Busy<'a> {
    known: &'a Known,
    digest: Digest,
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.known.lock().busy.remove(&self.digest);
        self.known.changed.notify_all();
    }
}

/// Gives a manifest its name if the store holds it; `None` when it does not.
pub(super) fn put_there(
    manifest: &Manifest,
    to: &PushTarget<'_>,
    known: &Known,
) -> Result<Option<Summary>> {
    let digest = own_digest(manifest, to.target)?;
    if !known.has(&digest) && to.store.head(&Target::Digest(digest))?.is_none() {
        return Ok(None);
    }
    if matches!(to.target, Target::Tag(_)) {
        match push_manifest(to.store, manifest, to.target, None) {
            // Collected since it was looked at.
            Err(error) if is_denied(&error) => return Ok(None),
            done => done?,
        }
    }
    known.add([digest]);
    Ok(Some(Summary {
        known_manifests: 1,
        ..Summary::default()
    }))
}

/// Reports blobs that the store has, because it has a manifest that lists them.
pub(super) fn report_existing<'a>(blobs: impl IntoIterator<Item = &'a Descriptor>, run: Run<'_>) {
    for blob in blobs {
        let progress = run.watch.progress;
        progress.skip(&blob.digest, blob.size, Skipped::Existed);
    }
}

/// Puts a node that the store lacks, and what the store lacks of what is below.
pub(super) fn put_missing(
    node: &Node,
    to: &PushTarget<'_>,
    known: &Known,
    run: Run<'_>,
) -> Result<Summary> {
    let (below, summary) = put_below(node, to, known, run)?;
    let manifests = || {
        put_children(&below.children, to.store, run)?;
        push_manifest(to.store, node.manifest(), to.target, None)
    };
    let mut lacking = Lacking {
        assumed: below.assumed.clone(),
        doubtful: below.doubtful.clone(),
    };
    push_again(manifests, || lacking.send(to.store, run))?;
    known.add(below.digests());
    known.add([own_digest(node.manifest(), to.target)?]);
    Ok(summary)
}

/// What lies below a node and the store lacked.
#[derive(Default)]
pub(super) struct Below<'a> {
    /// Its children, innermost last, which are not put yet.
    children: Vec<&'a Child>,
    /// Blobs that are in the store now.
    blobs: Vec<Digest>,
    /// Those that the store claims to have.
    doubtful: Vec<&'a Blob>,
    /// Those that came from there, and were not checked.
    assumed: Vec<&'a Blob>,
}

impl Below<'_> {
    fn digests(&self) -> Vec<Digest> {
        let children = self.children.iter().map(|child| child.descriptor.digest);
        self.blobs.iter().copied().chain(children).collect()
    }
}

/// Puts the blobs below a node that the store lacks.
fn put_below<'a>(
    node: &'a Node,
    to: &PushTarget<'_>,
    known: &Known,
    run: Run<'_>,
) -> Result<(Below<'a>, Summary)> {
    let mut summary = Summary::default();
    let children = missing(node, to.store, known, &mut summary, run)?;
    let mut blobs = needed(node, &children, to.nondistributable, &mut summary.left_out);
    blobs.retain(|blob| !known.has(blob.digest()));
    let sent: Vec<Digest> = blobs.iter().map(|blob| *blob.digest()).collect();
    let home = to.store.origin();
    let (assumed, blobs): (Vec<_>, Vec<_>) = blobs
        .into_iter()
        .partition(|blob| is_from(blob, home.as_ref()));
    summary.existed += assumed.len();
    let done = parallel::map(run.jobs, blobs, run.watch.stop, |blob, stop| {
        let run = run.stopped_by(stop);
        let put = known.put_once(blob, run, || to.store.put_blob(blob, run.watch))?;
        Ok((blob, put))
    })?;
    let doubtful = summary.count(done);
    let below = Below {
        children,
        blobs: sent,
        doubtful,
        assumed,
    };
    Ok((below, summary))
}

/// Whether a blob is one that a manifest in the repository `home` lists, so that
/// it need not be checked: an image that is edited keeps most of its layers.
/// Of a non-distributable layer, the target may have no more than the manifest's
/// entry.
pub(super) fn is_from(blob: &Blob, home: Option<&Origin>) -> bool {
    home.is_some() && blob.origin() == home && !is_foreign(blob.descriptor())
}

/// Blobs that may be why a store refuses a manifest.
struct Lacking<'a> {
    /// Those that were not checked.
    assumed: Vec<&'a Blob>,
    /// Those it claims to contain.
    doubtful: Vec<&'a Blob>,
}

impl Lacking<'_> {
    /// Checks those that were not checked, else sends those that the store
    /// claims to contain; gives whether there was any. One that is lost can't be
    /// read either, and the error names it.
    fn send(&mut self, store: &dyn Store, run: Run<'_>) -> Result<bool> {
        if self.assumed.is_empty() {
            return send_all(store, &self.doubtful, run);
        }
        let assumed = std::mem::take(&mut self.assumed);
        self.doubtful.extend(&assumed);
        parallel::for_each(run.jobs, assumed, run.watch.stop, |blob, stop| {
            store.put_blob(blob, run.stopped_by(stop).watch).map(drop)
        })?;
        Ok(true)
    }
}

/// Puts nodes under their digests, in order: what is below all of them first, so
/// that a store can write a list of referrers once for all of them.
pub(super) fn put_all(
    nodes: &[(Digest, Node)],
    to: &PushTarget<'_>,
    known: &Known,
    run: Run<'_>,
) -> Result<()> {
    let mut all = Vec::new();
    let mut lists = Lists::default();
    for (digest, node) in nodes {
        if known.has(digest) {
            continue;
        }
        if to.store.head(&Target::Digest(*digest))?.is_some() {
            let subject = node.manifest().subject()?.map(|subject| subject.digest);
            if lists.has(to.store, subject.as_ref(), digest)? {
                known.add([*digest]);
            } else {
                // The store lists it with the PUT.
                all.push((*digest, node.manifest(), Below::default()));
            }
            continue;
        }
        let (below, _) = put_below(node, to, known, run)?;
        known.add(below.blobs.iter().copied());
        all.push((*digest, node.manifest(), below));
    }
    let manifests: Vec<(Digest, &Manifest)> = all.iter().map(|(d, m, _)| (*d, *m)).collect();
    let children: Vec<&Child> = all.iter().flat_map(|(.., b)| b.children.clone()).collect();
    let mut lacking = Lacking {
        assumed: all.iter().flat_map(|(.., b)| b.assumed.clone()).collect(),
        doubtful: all.iter().flat_map(|(.., b)| b.doubtful.clone()).collect(),
    };
    let put = || {
        put_children(&children, to.store, run)?;
        to.store.put_manifests(&manifests)
    };
    push_again(put, || lacking.send(to.store, run))?;
    known.add(children.iter().map(|child| child.descriptor.digest));
    known.add(manifests.iter().map(|(digest, _)| *digest));
    Ok(())
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
    nondistributable: Nondistributable,
    left_out: &mut Vec<Descriptor>,
) -> Vec<&'a Blob> {
    let (mut seen, mut blobs) = (HashSet::new(), Vec::new());
    let below = missing.iter().map(|child| &child.node);
    for node in std::iter::once(node).chain(below) {
        let listed: Vec<&Blob> = match node {
            Node::Image(image) => image.blobs().collect(),
            Node::Index(index) => index.blobs().iter().collect(),
        };
        for blob in listed
            .into_iter()
            .filter(|blob| seen.insert(*blob.digest()))
        {
            if nondistributable == Nondistributable::Skip && is_foreign(blob.descriptor()) {
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

/// Stores a manifest under a tag or its digest, where `expected` is given only if
/// the tag is so. What it names must be in the store.
///
/// A registry whose tags are immutable refuses even the manifest that the tag
/// points to already (ECR answers 400, Harbor 412, Quay 409, Artifactory 403):
/// that is not a failure here. The tag is looked up after such a refusal only, which
/// costs nothing where tags can move.
///
/// # Errors
/// Those of the store; [`Error::Conflict`] when the tag is not as expected.
pub fn push_manifest(
    store: &dyn Store,
    manifest: &Manifest,
    target: &Target,
    expected: Option<Expected>,
) -> Result<()> {
    let done = match (target, expected) {
        (Target::Tag(tag), Some(expected)) => store.put_manifest_if(manifest, tag, expected),
        _ => store.put_manifest(manifest, target),
    };
    let Err(refused) = done else {
        return Ok(());
    };
    let digest = manifest.digest();
    // A tag that was to move and points there already was moved by another writer.
    let to_move = expected.is_some_and(|expected| expected != Expected::Manifest(digest));
    let in_doubt = refused.status().is_some_and(|status| {
        (400..500).contains(&status) && !matches!(status, 401 | 404 | 408 | 429)
    });
    // One that lacks a blob is no longer right, whatever the tag points to.
    let in_doubt = in_doubt && !is_denied(&refused);
    if matches!(target, Target::Tag(_))
        && in_doubt
        && !to_move
        && let Ok(Some(there)) = store.head(target)
        && there.digest == digest
    {
        return Ok(());
    }
    Err(refused)
}

/// Pushes manifests with `push`; where the store denies a blob that it claimed to
/// contain, because it was collected meanwhile (Google's registry) or left
/// incomplete by a push that was cancelled (Docker Hub), `send` stores such blobs
/// whatever the store claims ([`Store::send_blob`]), and `push` is called again.
/// If `send` has nothing to send, the error is returned.
pub(crate) fn push_again<T>(
    mut push: impl FnMut() -> Result<T>,
    mut send: impl FnMut() -> Result<bool>,
) -> Result<T> {
    for _ in 0..MAX_SENDS {
        match push() {
            Err(error) if is_denied(&error) => {
                if !send()? {
                    return Err(error);
                }
            }
            done => return done,
        }
    }
    push()
}

/// Whether a store refused a manifest for something that it lacks. A folder says
/// so without a code.
fn is_denied(error: &Error) -> bool {
    error.denies_blob() || matches!(error.what(), Error::NotFound { .. })
}

/// Stores blobs that the store claims to contain, several at once; gives whether
/// there are any.
pub(crate) fn send_all(store: &dyn Store, blobs: &[&Blob], run: Run<'_>) -> Result<bool> {
    parallel::for_each(run.jobs, blobs.to_vec(), run.watch.stop, |blob, stop| {
        let watch = run.stopped_by(stop).watch;
        store.send_blob(blob, watch).map(drop)
    })?;
    Ok(!blobs.is_empty())
}
