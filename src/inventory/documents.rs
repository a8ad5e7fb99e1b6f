//! A store whose manifests and configs are kept in a cache: they never change,
//! so those that were read before cost no request.

use std::collections::HashMap;
use std::io::{Cursor, Read};
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::cache::Cache;
use crate::descriptor::Descriptor;
use crate::digest::{Digest, Verify};
use crate::error::Result;
use crate::graph::mark::Names;
use crate::image::config;
use crate::manifest::{self, Manifest};
use crate::reference::{Origin, Tag, Target};
use crate::store::{self, Content, ReadStore, Tags, Verified};
use crate::stream::read_bounded;

/// Reads a store through a cache of small documents. A manifest asked for by
/// its digest, and a blob no larger than a config may be that is read whole,
/// are taken from the cache; everything else from the store.
pub struct Documents<'a> {
    store: &'a dyn ReadStore,
    cache: Option<Cache>,
    noted: Option<Mutex<Noted>>,
}

/// What manifests name; without anything those that the store does not contain.
type Noted = HashMap<Digest, Option<Arc<Names>>>;

impl<'a> Documents<'a> {
    /// `store`, with a cache or without one.
    pub fn new(store: &'a dyn ReadStore, cache: Option<Cache>) -> Documents<'a> {
        let noted = None;
        Documents {
            store,
            cache,
            noted,
        }
    }

    /// The same, which notes what each manifest names that is read by its digest,
    /// so that a mark afterwards reads none of them again.
    pub(crate) fn noting(self) -> Documents<'a> {
        let noted = Some(Mutex::default());
        Documents { noted, ..self }
    }

    /// What was noted so far; it is noted no longer.
    pub(crate) fn take_noted(&self) -> Noted {
        let noted = self.noted.as_ref().map(locked);
        noted
            .map(|mut noted| std::mem::take(&mut *noted))
            .unwrap_or_default()
    }

    fn note(&self, digest: &Digest, manifest: &Manifest) {
        // What can't be noted is an error for those who need it.
        if let (Some(noted), Ok(names)) = (&self.noted, Names::of(manifest)) {
            locked(noted).insert(*digest, Some(Arc::new(names)));
        }
    }

    fn kept(&self, digest: &Digest, limit: u64) -> Option<Vec<u8>> {
        self.cache.as_ref()?.document(digest, limit)
    }

    fn keep(&self, digest: &Digest, bytes: &[u8]) {
        if let Some(cache) = &self.cache {
            cache.keep(digest, bytes);
        }
    }
}

fn locked<T>(noted: &Mutex<T>) -> MutexGuard<'_, T> {
    // A map is consistent even after a panic elsewhere.
    noted.lock().unwrap_or_else(PoisonError::into_inner)
}

impl ReadStore for Documents<'_> {
    fn manifest(&self, target: &Target) -> Result<Manifest> {
        let Target::Digest(digest) = target else {
            return self.store.manifest(target);
        };
        // Its media type is not in the cache; its members tell the kind.
        let kept = self.kept(digest, manifest::MAX_SIZE);
        let manifest = match kept.map(|bytes| Manifest::new(None, bytes)) {
            Some(Ok(manifest)) => manifest,
            _ => {
                let manifest = self.store.manifest(target)?;
                self.keep(digest, manifest.bytes());
                manifest
            }
        };
        self.note(digest, &manifest);
        Ok(manifest)
    }

    fn pull_blob(&self, digest: &Digest, size: Option<u64>) -> Result<Verified<'_>> {
        let Some(len) = size.filter(|len| *len <= config::MAX_SIZE && self.cache.is_some()) else {
            return self.store.pull_blob(digest, size);
        };
        let bytes = match self.kept(digest, len) {
            Some(bytes) if bytes.len() as u64 == len => bytes,
            _ => {
                let found = self.store.pull_blob(digest, size)?;
                let bytes = read_bounded(&digest.to_string(), found.reader, len)?;
                self.keep(digest, &bytes);
                bytes
            }
        };
        let reader: Box<dyn Read + Send> = Box::new(Cursor::new(bytes));
        Ok(Verified {
            size,
            reader: Verify::new(reader, *digest, size),
        })
    }

    fn name(&self) -> String {
        self.store.name()
    }
    fn open_blob(&self, digest: &Digest, from: u64) -> Result<Content<'_>> {
        self.store.open_blob(digest, from)
    }
    fn tags(&self) -> Tags<'_> {
        self.store.tags()
    }
    fn tag_names(&self) -> store::Names<'_> {
        self.store.tag_names()
    }
    fn origin(&self) -> Option<Origin> {
        self.store.origin()
    }
    fn blob_size(&self, digest: &Digest) -> Result<Option<u64>> {
        self.store.blob_size(digest)
    }
    fn open_range(&self, digest: &Digest, range: Range<u64>) -> Result<Option<Content<'_>>> {
        self.store.open_range(digest, range)
    }
    fn head(&self, target: &Target) -> Result<Option<Descriptor>> {
        self.store.head(target)
    }
    fn referrers(&self, subject: &Digest) -> Result<Vec<Descriptor>> {
        self.store.referrers(subject)
    }
    fn referrers_among(
        &self,
        subject: &Digest,
        is_tag: &dyn Fn(&Tag) -> bool,
    ) -> Result<Vec<Descriptor>> {
        self.store.referrers_among(subject, is_tag)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::testing::Spy;

    #[test]
    fn what_was_read_once_is_not_asked_for_again() {
        let folder = tempfile::tempdir().unwrap();
        let spy = Spy::default();
        let blob = spy.blob(b"{}");
        let manifest = Manifest::alias(std::slice::from_ref(&blob)).unwrap();
        spy.insert(&manifest, None);
        let read = || {
            let store = Documents::new(&spy, Some(Cache::new(folder.path())));
            let found = store.manifest(&Target::Digest(manifest.digest()));
            assert_eq!(found.unwrap(), manifest);
            let found = store.pull_blob(&blob.digest, Some(2)).unwrap();
            assert_eq!(read_bounded("", found.reader, 9).unwrap(), b"{}");
            spy.asked()
        };
        assert_eq!(read(), ["manifest", "open_blob"]);
        assert!(read().is_empty());
        // Nothing in the cache is believed.
        let path = folder.path().join("sha256").join(blob.digest.hex());
        std::fs::write(path, b"[]").unwrap();
        assert_eq!(read(), ["open_blob"]);
        assert!(read().is_empty());
    }

    #[test]
    fn what_is_wrong_or_large_is_not_kept() {
        let folder = tempfile::tempdir().unwrap();
        let spy = Spy::default();
        let large = vec![0; config::MAX_SIZE as usize + 1];
        let (large, small) = (spy.blob(&large), spy.blob(b"{}"));
        let store = Documents::new(&spy, Some(Cache::new(folder.path())));
        assert!(store.pull_blob(&large.digest, Some(large.size)).is_ok());
        assert!(store.pull_blob(&small.digest, Some(1)).is_err());
        assert!(store.pull_blob(&small.digest, None).is_ok());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
