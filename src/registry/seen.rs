//! Which repository of a registry has a blob, as far as this process knows: an
//! upload elsewhere in the registry can then be a mount, at no further request.
//! And from which repositories the registry mounts nothing, so that no other
//! blob asks for the same in vain.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::digest::Digest;
use crate::error::Error;
use crate::reference::RepoName;

/// The blobs that are remembered; beyond that nothing new is.
const MOST: usize = 1 << 17;

/// A repository that a blob may be mounted from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Elsewhere {
    /// Its name.
    pub name: RepoName,
    /// Why it may have the blob.
    pub basis: Basis,
}

/// Why a repository may have a blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Basis {
    /// It had it a moment ago, or a user names it.
    Known,
    /// A repository of that name in another registry has it.
    Guess,
}

impl Elsewhere {
    /// A repository that has the blob.
    pub fn known(name: &RepoName) -> Elsewhere {
        let (name, basis) = (name.clone(), Basis::Known);
        Elsewhere { name, basis }
    }

    /// A repository that has the name of one in another registry.
    pub fn guess(name: &RepoName) -> Elsewhere {
        let (name, basis) = (name.clone(), Basis::Guess);
        Elsewhere { name, basis }
    }
}

/// What became of mounts from one repository into another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Route {
    /// None was tried.
    #[default]
    Untried,
    /// At least one was done.
    Open,
    /// A guess was wrong.
    Missed,
    /// The registry refused: it mounts nothing, or the login may not read there.
    Refused,
}

/// A route, locked while it is tried for the first time.
pub(super) type SharedRoute = Arc<Mutex<Route>>;

/// Where blobs were seen, and which mounts were refused.
#[derive(Debug, Default)]
pub(super) struct Seen {
    blobs: Mutex<HashMap<Digest, RepoName>>,
    routes: Mutex<HashMap<(RepoName, RepoName), SharedRoute>>,
}

impl Seen {
    /// Notes that repository `name` has the blob.
    pub fn note(&self, digest: &Digest, name: &RepoName) {
        let mut seen = lock(&self.blobs);
        if seen.len() < MOST {
            seen.entry(*digest).or_insert_with(|| name.clone());
        }
    }

    /// A repository that has the blob and is not `name`.
    pub fn elsewhere(&self, digest: &Digest, name: &RepoName) -> Option<RepoName> {
        lock(&self.blobs)
            .get(digest)
            .filter(|seen| *seen != name)
            .cloned()
    }

    /// What is known of mounts from repository `from` into `to`.
    pub fn route(&self, from: &RepoName, to: &RepoName) -> SharedRoute {
        let key = (from.clone(), to.clone());
        lock(&self.routes).entry(key).or_default().clone()
    }
}

impl Route {
    /// Whether a mount is worth asking for.
    pub fn allows(self, basis: Basis) -> bool {
        match self {
            Route::Untried | Route::Open => true,
            Route::Missed => basis == Basis::Known,
            Route::Refused => false,
        }
    }

    /// What a failed mount says of all others on this route: nothing, where the
    /// failure passes by itself or is about the one blob.
    pub fn after(self, error: &Error) -> Route {
        let is_login = matches!(error.what(), Error::Unauthorized { .. });
        match is_login || matches!(error.status(), Some(401 | 403 | 405 | 501)) {
            true => Route::Refused,
            false => self,
        }
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Maps and words are consistent even after a panic elsewhere.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
