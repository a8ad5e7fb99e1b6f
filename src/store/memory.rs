//! A repository in memory, for tests and for content that is passed on at once.

use std::collections::{BTreeMap, HashMap};
use std::io::Cursor;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Content, Expected, Put, ReadStore, Store, Tags, is_new, needs, receive, refers_to};
use crate::blob::Blob;
use crate::descriptor::Descriptor;
use crate::digest::{Digest, Hasher};
use crate::error::{Error, Result};
use crate::manifest::Manifest;
use crate::progress::Skipped;
use crate::reference::{Origin, Tag, Target};
use crate::stream::Watch;

/// A repository in memory. It behaves as a registry that allows everything:
/// manifests are refused while something they name is missing, and a deleted
/// manifest takes its tags with it.
///
/// ```
/// use dxf_registry::{Blob, ReadStore, Store, alias, store::Memory, stream::Run};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let store = Memory::new();
/// let blob = Blob::bytes("text/plain", b"hello".to_vec());
/// alias::push(&store, &"v1".parse()?, &[blob], alias::Format::Oci, Run::default())?;
/// assert_eq!(store.tags().collect::<Result<Vec<_>, _>>()?, ["v1"]);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Default)]
pub struct Memory {
    origin: Option<Origin>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    blobs: HashMap<Digest, Arc<[u8]>>,
    manifests: BTreeMap<Digest, Manifest>,
    tags: BTreeMap<Tag, Digest>,
}

impl Memory {
    /// An empty repository.
    pub fn new() -> Memory {
        Memory::default()
    }

    /// The same, as repository `origin` of a registry, for messages and mounts.
    pub fn with_origin(mut self, origin: Origin) -> Memory {
        self.origin = Some(origin);
        self
    }

    /// The digests of all blobs, sorted.
    pub fn blobs(&self) -> Vec<Digest> {
        let mut digests: Vec<Digest> = self.state().blobs.keys().copied().collect();
        digests.sort();
        digests
    }

    /// The digests of all manifests, sorted.
    pub fn manifests(&self) -> Vec<Digest> {
        self.state().manifests.keys().copied().collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Each change is one insertion or removal, so the maps stay whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn absent(&self, what: impl std::fmt::Display) -> Error {
        Error::NotFound {
            what: format!("{what} in {}", self.name()),
        }
    }

    fn put(&self, manifest: &Manifest, target: &Target, expected: Option<Expected>) -> Result<()> {
        let digest = match target {
            Target::Tag(_) => manifest.digest(),
            Target::Digest(wanted) => same(manifest, wanted)?,
        };
        let mut state = self.state();
        if let (Target::Tag(tag), Some(expected)) = (target, expected) {
            let found = state.tags.get(tag).copied();
            expected.check(&format!("alias {tag} in {}", self.name()), found)?;
        }
        for needed in needs(manifest)? {
            if !state.blobs.contains_key(&needed) && !state.manifests.contains_key(&needed) {
                return Err(self.absent(format!("{needed} (named by the manifest)")));
            }
        }
        state.insert(manifest, digest, target);
        Ok(())
    }

    /// Stores a manifest without looking for what it names.
    #[cfg(test)]
    pub(crate) fn insert(&self, manifest: &Manifest, target: &Target) {
        self.state().insert(manifest, manifest.digest(), target);
    }
}

impl State {
    fn insert(&mut self, manifest: &Manifest, digest: Digest, target: &Target) {
        self.manifests.insert(digest, manifest.clone());
        if let Target::Tag(tag) = target {
            self.tags.insert(tag.clone(), digest);
        }
    }
}

/// The digest of a manifest, which must be `wanted`.
fn same(manifest: &Manifest, wanted: &Digest) -> Result<Digest> {
    let mut hasher = Hasher::like(wanted);
    hasher.update(manifest.payload());
    match hasher.finish() {
        digest if digest == *wanted => Ok(digest),
        digest => Err(Error::mismatch(*wanted, digest)),
    }
}

impl ReadStore for Memory {
    fn name(&self) -> String {
        match &self.origin {
            Some(Origin { host, repo }) => format!("{host}/{repo}"),
            None => "memory".to_string(),
        }
    }

    fn open_blob(&self, digest: &Digest, from: u64) -> Result<Content<'_>> {
        let bytes = self.state().blobs.get(digest).cloned();
        let bytes = bytes.ok_or_else(|| self.absent(format!("blob {digest}")))?;
        let size = Some(bytes.len() as u64);
        let mut reader = Cursor::new(bytes);
        reader.set_position(from);
        Ok(Content {
            size,
            reader: Box::new(reader),
        })
    }

    fn manifest(&self, target: &Target) -> Result<Manifest> {
        let state = self.state();
        let digest = match target {
            Target::Tag(tag) => state.tags.get(tag),
            Target::Digest(digest) => Some(digest),
        };
        let manifest = digest.and_then(|digest| state.manifests.get(digest));
        manifest
            .cloned()
            .ok_or_else(|| target.missing_in(&self.name()))
    }

    fn tags(&self) -> Tags<'_> {
        let tags: Vec<Tag> = self.state().tags.keys().cloned().collect();
        Box::new(tags.into_iter().map(Ok))
    }

    fn origin(&self) -> Option<Origin> {
        self.origin.clone()
    }

    fn referrers(&self, subject: &Digest) -> Result<Vec<Descriptor>> {
        let mut referrers = Vec::new();
        for (digest, manifest) in &self.state().manifests {
            if refers_to(manifest, subject) && is_new(&referrers, *digest) {
                let mut referrer = manifest.referrer()?;
                referrer.digest = *digest;
                referrers.push(referrer);
            }
        }
        Ok(referrers)
    }
}

impl Store for Memory {
    fn put_blob(&self, blob: &Blob, watch: Watch<'_>) -> Result<Put> {
        if self.state().blobs.contains_key(blob.digest()) {
            let (digest, size) = (blob.digest(), blob.size());
            watch.progress.skip(digest, size, Skipped::Existed);
            return Ok(Put::Existed);
        }
        self.send_blob(blob, watch)
    }

    fn send_blob(&self, blob: &Blob, watch: Watch<'_>) -> Result<Put> {
        let mut bytes = Vec::new();
        receive(blob, watch, |reader| {
            reader.read_to_end(&mut bytes).map(drop)
        })?;
        self.state().blobs.insert(*blob.digest(), bytes.into());
        Ok(Put::Uploaded)
    }

    fn put_manifest(&self, manifest: &Manifest, target: &Target) -> Result<()> {
        self.put(manifest, target, None)
    }

    fn put_manifest_if(&self, manifest: &Manifest, tag: &Tag, expected: Expected) -> Result<()> {
        self.put(manifest, &Target::Tag(tag.clone()), Some(expected))
    }

    fn delete_blob(&self, digest: &Digest) -> Result<()> {
        let gone = self.state().blobs.remove(digest);
        gone.map(drop)
            .ok_or_else(|| self.absent(format!("blob {digest}")))
    }

    fn delete_manifest(&self, digest: &Digest) -> Result<()> {
        let mut state = self.state();
        state.tags.retain(|_, other| other != digest);
        let gone = state.manifests.remove(digest);
        gone.map(drop)
            .ok_or_else(|| self.absent(format!("manifest {digest}")))
    }

    fn untag(&self, tag: &Tag) -> Result<()> {
        let gone = self.state().tags.remove(tag);
        gone.map(drop)
            .ok_or_else(|| Target::Tag(tag.clone()).missing_in(&self.name()))
    }
}
