//! Which repository of a registry has a blob, as far as this process knows: an
//! upload elsewhere in the registry can then be a mount, at no further request.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::digest::Digest;
use crate::reference::RepoName;

/// The blobs that are remembered; beyond that nothing new is.
const MOST: usize = 1 << 17;

/// Where blobs were seen.
#[derive(Debug, Default)]
pub(super) struct Seen(Mutex<HashMap<Digest, RepoName>>);

impl Seen {
    /// Notes that repository `name` has the blob.
    pub fn note(&self, digest: &Digest, name: &RepoName) {
        let mut seen = self.lock();
        if seen.len() < MOST {
            seen.entry(*digest).or_insert_with(|| name.clone());
        }
    }

    /// A repository that has the blob and is not `name`.
    pub fn elsewhere(&self, digest: &Digest, name: &RepoName) -> Option<RepoName> {
        self.lock()
            .get(digest)
            .filter(|seen| *seen != name)
            .cloned()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Digest, RepoName>> {
        // A map is consistent even after a panic elsewhere.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
