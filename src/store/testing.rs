//! For tests: a store that records its requests, and fails on demand.

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use super::{Content, Expected, Memory, Put, ReadStore, Store, Tags};
use crate::blob::Blob;
use crate::descriptor::Descriptor;
use crate::digest::Digest;
use crate::error::{Diagnostic, Error, RequestLine, Result};
use crate::manifest::Manifest;
use crate::reference::{Origin, Tag, Target};
use crate::stream::Watch;

#[derive(Default)]
pub struct Spy {
    pub memory: Memory,
    /// Whether tags cannot be moved.
    pub immutable: AtomicBool,
    asked: Mutex<Vec<String>>,
    /// The status that these operations fail with; 0 is [`Error::NotAllowed`].
    refused: Mutex<HashMap<&'static str, u16>>,
    /// Blobs that the store claims to contain until a manifest needs them.
    ghosts: Mutex<HashSet<Digest>>,
}

/// A registry's answer that means `status`.
pub fn status(status: u16, code: &str) -> Error {
    let request = RequestLine {
        method: "X".into(),
        url: "https://m.example/v2/a".into(),
    };
    Error::Status {
        request,
        status,
        errors: vec![Diagnostic {
            code: code.into(),
            message: String::new(),
        }],
        retry_after: None,
    }
}

impl Spy {
    /// As if it were repository `a` of `m.example`.
    pub fn in_registry() -> Spy {
        Spy {
            memory: Memory::new().with_origin(Origin {
                host: "m.example".parse().unwrap(),
                repo: "a".parse().unwrap(),
            }),
            ..Spy::default()
        }
    }

    pub fn refuse(&self, operation: &'static str, status: u16) {
        self.refused.lock().unwrap().insert(operation, status);
    }

    pub fn pretend(&self, blob: &Digest) {
        self.ghosts.lock().unwrap().insert(*blob);
    }

    /// The operations since the last time, each with what it was about.
    pub fn asked_of(&self) -> Vec<String> {
        std::mem::take(&mut *self.asked.lock().unwrap())
    }

    /// The operations since the last time.
    pub fn asked(&self) -> Vec<String> {
        let first = |line: &String| line.split(' ').next().unwrap().to_string();
        self.asked_of().iter().map(first).collect()
    }

    /// A blob that was always there.
    pub fn blob(&self, bytes: &[u8]) -> Descriptor {
        let blob = Blob::bytes("", bytes.to_vec());
        self.memory.put_blob(&blob, Watch::default()).unwrap();
        blob.descriptor().clone()
    }

    /// A manifest that was always there, whatever it names.
    pub fn insert(&self, manifest: &Manifest, tag: Option<&str>) {
        let target = match tag {
            Some(tag) => tag.parse().unwrap(),
            None => Target::Digest(manifest.digest()),
        };
        self.memory.insert(manifest, &target);
    }

    fn note(&self, operation: &'static str, what: impl std::fmt::Display) -> Result<()> {
        self.asked
            .lock()
            .unwrap()
            .push(format!("{operation} {what}"));
        match self.refused.lock().unwrap().get(operation) {
            Some(0) => Err(Error::NotAllowed {
                what: operation.into(),
            }),
            Some(code) => Err(status(*code, "")),
            None => Ok(()),
        }
    }

    fn note_put(&self, target: &Target) -> Result<()> {
        self.note("put_manifest", target)?;
        if self.immutable.load(SeqCst) && self.memory.head(target)?.is_some() {
            return Err(status(409, "TAG_IMMUTABLE"));
        }
        match self.ghosts.lock().unwrap().is_empty() {
            true => Ok(()),
            false => Err(status(404, "MANIFEST_BLOB_UNKNOWN")),
        }
    }
}

impl ReadStore for Spy {
    fn name(&self) -> String {
        self.memory.name()
    }

    fn open_blob(&self, digest: &Digest, from: u64) -> Result<Content<'_>> {
        self.note("open_blob", digest)?;
        self.memory.open_blob(digest, from)
    }

    fn open_range(&self, digest: &Digest, range: Range<u64>) -> Result<Option<Content<'_>>> {
        self.note("open_range", digest)?;
        self.memory.open_range(digest, range)
    }

    fn manifest(&self, target: &Target) -> Result<Manifest> {
        self.note("manifest", target)?;
        self.memory.manifest(target)
    }

    fn tags(&self) -> Tags<'_> {
        match self.note("tags", "") {
            Ok(()) => self.memory.tags(),
            Err(error) => Box::new(std::iter::once(Err(error))),
        }
    }

    fn origin(&self) -> Option<Origin> {
        self.memory.origin()
    }

    fn blob_size(&self, digest: &Digest) -> Result<Option<u64>> {
        self.note("blob_size", digest)?;
        self.memory.blob_size(digest)
    }

    fn head(&self, target: &Target) -> Result<Option<Descriptor>> {
        self.note("head", target)?;
        self.memory.head(target)
    }

    fn referrers(&self, subject: &Digest) -> Result<Vec<Descriptor>> {
        self.note("referrers", subject)?;
        self.memory.referrers(subject)
    }
}

impl Store for Spy {
    fn put_blob(&self, blob: &Blob, watch: Watch<'_>) -> Result<Put> {
        self.note("put_blob", blob.digest())?;
        match self.ghosts.lock().unwrap().contains(blob.digest()) {
            true => Ok(Put::Existed),
            false => self.memory.put_blob(blob, watch),
        }
    }

    fn send_blob(&self, blob: &Blob, watch: Watch<'_>) -> Result<Put> {
        self.note("send_blob", blob.digest())?;
        self.ghosts.lock().unwrap().remove(blob.digest());
        self.memory.send_blob(blob, watch)
    }

    fn put_manifest(&self, manifest: &Manifest, target: &Target) -> Result<()> {
        self.note_put(target)?;
        self.memory.put_manifest(manifest, target)
    }

    fn put_manifest_if(&self, manifest: &Manifest, tag: &Tag, expected: Expected) -> Result<()> {
        self.note_put(&Target::Tag(tag.clone()))?;
        self.memory.put_manifest_if(manifest, tag, expected)
    }

    fn delete_blob(&self, digest: &Digest) -> Result<()> {
        self.note("delete_blob", digest)?;
        self.memory.delete_blob(digest)
    }

    fn delete_manifest(&self, digest: &Digest) -> Result<()> {
        self.note("delete_manifest", digest)?;
        self.memory.delete_manifest(digest)
    }

    fn untag(&self, tag: &Tag) -> Result<()> {
        self.note("untag", tag)?;
        self.memory.untag(tag)
    }
}
