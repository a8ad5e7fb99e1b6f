//! What [`super::push`] would have to do, asked of the store without sending
//! anything.

use super::push::{Known, PushTarget, Summary, is_from, missing, needed, own_digest};
use crate::blob::Blob;
use crate::descriptor::Descriptor;
use crate::error::Result;
use crate::image::Node;
use crate::parallel;
use crate::reference::{Origin, Target};
use crate::stream::Run;

/// What a push does with a blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Action {
    /// Its bytes will be sent.
    Upload,
    /// It will be mounted from another repository of the same registry, or
    /// sent where the registry does not do that.
    Mount,
    /// The target has it.
    Exists,
}

/// What [`super::push`] would have to do.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Plan {
    /// The blobs, largest first. Those of existing manifests are not
    /// checked, and not among them.
    pub blobs: Vec<(Blob, Action)>,
    /// How many manifests would be sent, and their bytes.
    pub manifests: (usize, u64),
    /// Layers that would be left out, because they must not be passed on.
    pub left_out: Vec<Descriptor>,
}

impl Plan {
    /// How many blobs have this fate, and their bytes.
    pub fn count(&self, fate: Action) -> (usize, u64) {
        let same = self.blobs.iter().filter(|(_, other)| *other == fate);
        same.fold((0, 0), |(n, bytes), (blob, _)| (n + 1, bytes + blob.size()))
    }
}

/// What putting a node into a store would have to do, as far as it is known
/// beforehand: a registry may refuse to mount.
///
/// # Errors
/// Those of the store; [`crate::Error::Mismatch`] as [`super::push`].
pub fn plan(node: &Node, to: &PushTarget<'_>, run: Run<'_>) -> Result<Plan> {
    let manifest = node.manifest();
    let digest = own_digest(manifest, to.target)?;
    let there = to.store.head(&Target::Digest(digest))?.is_some();
    let mut plan = Plan {
        blobs: Vec::new(),
        manifests: match (there, to.target) {
            (true, Target::Digest(_)) => (0, 0),
            _ => (1, manifest.bytes().len() as u64),
        },
        left_out: Vec::new(),
    };
    if there {
        return Ok(plan);
    }
    let mut summary = Summary::default();
    let missing = missing(node, to.store, &Known::default(), &mut summary, run)?;
    for child in &missing {
        plan.manifests.0 += 1;
        plan.manifests.1 += child.node.manifest().bytes().len() as u64;
    }
    let blobs = needed(node, &missing, to.nondistributable, &mut plan.left_out);
    let home = to.store.origin();
    plan.blobs = parallel::map(run.jobs, blobs, run.watch.stop, |blob, _| {
        if is_from(blob, home.as_ref()) {
            return Ok((blob.clone(), Action::Exists));
        }
        let fate = match to.store.blob_size(blob.digest())? {
            Some(size) if size == blob.size() => Action::Exists,
            _ if is_near(blob.origin(), home.as_ref()) => Action::Mount,
            _ => Action::Upload,
        };
        Ok((blob.clone(), fate))
    })?;
    Ok(plan)
}

/// Whether a blob is in another repository of the same registry.
fn is_near(blob: Option<&Origin>, home: Option<&Origin>) -> bool {
    let both = blob.zip(home);
    both.is_some_and(|(blob, home)| blob.host == home.host && blob.repo != home.repo)
}
