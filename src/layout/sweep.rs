//! What a layout contains, named or not, and the removal of some of it.
//!
//! Decides nothing: what is reachable is the caller's to say.

use std::collections::HashSet;
use std::fs;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::index::Index;
use super::lock::Held;
use super::read::Files;
use super::{Layout, files};
use crate::descriptor::Descriptor;
use crate::digest::{Digest, Verify};
use crate::error::{Error, Result};
use crate::file::{self, Inode};
use crate::manifest::{self, Kind, Manifest};
use crate::reference::Target;
use crate::stream::Stop;

/// Names that other tools write into an entry.
const NAMES: [&str; 2] = [
    "org.opencontainers.image.ref.name",
    "io.containerd.image.name",
];

/// A layout at one moment; while it was locked for it, no other writer changes it.
pub(crate) struct Frozen<'a> {
    layout: &'a Layout,
    index: Arc<Index>,
    held: Option<Held<'a>>,
}

/// An entry of the index: what a mark needs of it, because they are many.
#[derive(Clone)]
pub(crate) struct Listed {
    /// The manifest.
    pub digest: Digest,
    /// Bytes, as the entry says.
    pub size: u64,
    /// Its tag, where its name is one.
    pub tag: Option<Box<str>>,
    /// Whether it has a name of any kind.
    pub is_named: bool,
}

/// A file among the blobs.
pub(crate) struct Stored {
    /// What it is called.
    pub digest: Digest,
    /// Bytes.
    pub size: u64,
    /// The file that the name refers to; it may have several names.
    pub inode: Inode,
}

impl Stored {
    /// How long ago the file was written, linked or used to answer a writer.
    pub fn age(&self) -> Duration {
        let now = SystemTime::now();
        now.duration_since(self.inode.changed).unwrap_or_default()
    }
}

impl Layout {
    /// Stores a manifest without what it names, which is elsewhere.
    ///
    /// # Errors
    /// As [`crate::Store::put_manifest`], but for what is missing.
    pub(crate) fn put_alone(&self, manifest: &Manifest, target: &Target) -> Result<()> {
        self.create()?;
        let _held = self.hold()?;
        let (mut index, blobs) = (Index::clone(&*self.index()?), self.blobs()?);
        let mut entry = manifest.descriptor();
        if let Target::Digest(digest) = target {
            entry.digest = *digest;
        }
        if blobs.size(&entry.digest)? != Some(entry.size) {
            let bytes = Verify::new(manifest.bytes(), entry.digest, Some(entry.size));
            blobs.write(&entry.digest, &mut { bytes })?;
        }
        match target {
            Target::Tag(tag) => index.tag(&entry, tag),
            Target::Digest(_) => index.add(&entry),
        }
        self.save(index)
    }

    /// The layout as it is now, for a look.
    pub(crate) fn snapshot(&self) -> Result<Frozen<'_>> {
        Ok(Frozen {
            layout: self,
            index: self.index()?,
            held: None,
        })
    }

    /// The layout, which no other writer changes while this lives.
    pub(crate) fn frozen(&self) -> Result<Frozen<'_>> {
        let held = Some(self.hold()?);
        Ok(Frozen {
            held,
            ..self.snapshot()?
        })
    }
}

impl Frozen<'_> {
    /// The entries of the index.
    pub fn entries(&self) -> Result<Vec<Listed>> {
        let named = |entry: &Descriptor| NAMES.iter().any(|n| entry.annotations.contains_key(*n));
        let listed = |mut entry: Descriptor| Listed {
            digest: entry.digest,
            size: entry.size,
            is_named: named(&entry),
            tag: entry.annotations.remove(NAMES[0]).map(String::into),
        };
        let entries = self.index.descriptors();
        entries.map(|entry| entry.map(listed)).collect()
    }

    /// The manifest in a blob; `None` where there is none, and for a blob that is
    /// not listed and no manifest.
    pub fn manifest(&self, digest: &Digest) -> Result<Option<Manifest>> {
        self.layout
            .read(digest, self.index.listed(digest)?.as_ref())
    }

    /// The manifest in a blob that is listed nowhere, if it is one: cheap for
    /// what can't be.
    pub fn sniff(&self, blob: &Stored) -> Option<Manifest> {
        if blob.size > manifest::MAX_SIZE || self.first(&blob.digest) != Some(b'{') {
            return None;
        }
        // What can't be read is not a manifest that a tag could be given to.
        self.layout.read(&blob.digest, None).ok().flatten()
    }

    fn first(&self, digest: &Digest) -> Option<u8> {
        let (mut file, _) = self.layout.blobs().ok()?.open(digest).ok()??;
        let mut byte = [0];
        std::io::Read::read_exact(&mut file, &mut byte).ok()?;
        Some(byte[0])
    }

    /// Every file among the blobs whose name is a digest, by that.
    pub fn stored(&self) -> Result<Vec<Stored>> {
        let mut stored = Vec::new();
        let top = self.layout.dir()?.join("blobs");
        for algorithm in ["sha256", "sha512"] {
            let folder = top.join(algorithm);
            if !files::is_folder(&top)? || !files::is_folder(&folder)? {
                continue;
            }
            for entry in fs::read_dir(&folder).map_err(files::failed(&folder))? {
                let entry = entry.map_err(files::failed(&folder))?;
                let name = entry.file_name();
                let digest = name
                    .to_str()
                    .map(|hex| format!("{algorithm}:{hex}").parse());
                let Some(Ok(digest)) = digest else { continue };
                let Some(meta) = files::look(&entry.path())? else {
                    continue;
                };
                if meta.is_file() {
                    let (size, inode) = (meta.len(), Inode::of(&meta));
                    stored.push(Stored {
                        digest,
                        size,
                        inode,
                    });
                }
            }
        }
        stored.sort_unstable_by_key(|blob| blob.digest);
        Ok(stored)
    }

    /// Takes `garbage` out of the index, then removes its files: indexes first,
    /// then other manifests, then the rest, so that a manifest never outlives
    /// what it names, wherever this ends. Files that were used since they were
    /// listed stay. Gives what was removed.
    pub fn remove(self, garbage: Vec<Stored>, stop: &Stop) -> Result<Vec<Stored>> {
        debug_assert!(self.held.is_some());
        let gone: HashSet<Digest> = garbage.iter().map(|blob| blob.digest).collect();
        let mut index = Index::clone(&self.index);
        let mut is_changed = false;
        for digest in &gone {
            is_changed |= index.remove(digest);
        }
        if is_changed {
            self.layout.save(index)?;
        }
        let (mut indexes, mut images, mut rest) = (Vec::new(), Vec::new(), Vec::new());
        for blob in garbage {
            match self.sniff(&blob).map(|manifest| manifest.kind()) {
                Some(Kind::Index) => indexes.push(blob),
                Some(_) => images.push(blob),
                None => rest.push(blob),
            }
        }
        let mut removed = Vec::new();
        for blobs in [indexes, images, rest] {
            let before = removed.len();
            for blob in blobs {
                stop.check()?;
                if self.unlink(&blob)? {
                    removed.push(blob);
                }
            }
            if removed.len() > before {
                self.sync()?;
            }
        }
        removed.sort_by_key(|blob| blob.digest);
        Ok(removed)
    }

    /// Removes a file unless a writer relied on it since it was listed; whether
    /// it did.
    fn unlink(&self, blob: &Stored) -> Result<bool> {
        let blobs = self.layout.blobs()?;
        let Some((file, _)) = blobs.open(&blob.digest)? else {
            return Ok(false);
        };
        let meta = file
            .metadata()
            .map_err(|e| Error::io(blob.digest.to_string(), e))?;
        let now = Inode::of(&meta);
        let is_used = now.id != blob.inode.id || now.modified > blob.inode.modified;
        Ok(!is_used && blobs.remove(&blob.digest)?)
    }

    fn sync(&self) -> Result<()> {
        let top = self.layout.dir()?.join("blobs");
        for algorithm in ["sha256", "sha512"] {
            let folder = top.join(algorithm);
            if files::is_folder(&folder)? {
                file::sync_folder(&folder).map_err(files::failed(&folder))?;
            }
        }
        Ok(())
    }
}
