//! The folder `blobs/<algorithm>/<hex>` of a layout (image-spec,
//! image-layout.md, "Blobs").
//!
//! A blob's path comes from a parsed digest and from nothing else. What is
//! written was verified before it got its name; what lies there already is
//! trusted only after it was hashed again, because a name proves nothing about
//! a file that others could write. Knows nothing of manifests.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::digest::{Digest, Verify};
use crate::error::{Error, Result};
use crate::file::{Aside, SharedSync};
use crate::progress::Skipped;
use crate::stream::{Buffer, Stop, Watch, copy};

use super::files;

/// Where the blobs of one layout lie, and where they are written first.
pub(super) struct Blobs {
    blobs: PathBuf,
    scratch: PathBuf,
    synced: SharedSync,
}

impl Blobs {
    /// The blobs of the layout at `layout`, written first in `scratch`, which
    /// must be on the same file system.
    pub fn new(layout: &Path, scratch: PathBuf, synced: SharedSync) -> Blobs {
        Blobs {
            blobs: layout.join("blobs"),
            scratch,
            synced,
        }
    }

    fn folder(&self, digest: &Digest) -> PathBuf {
        self.blobs.join(digest.algorithm())
    }

    fn path(&self, digest: &Digest) -> PathBuf {
        self.folder(digest).join(digest.hex())
    }

    /// Whether the folders above a blob are folders, not links out of here.
    fn is_here(&self, digest: &Digest) -> Result<bool> {
        for folder in [&self.blobs, &self.folder(digest)] {
            match files::look(folder)? {
                Some(meta) if meta.is_dir() => {}
                Some(_) => {
                    let what = folder.display().to_string();
                    return Err(Error::malformed(what, "it is not a folder"));
                }
                None => return Ok(false),
            }
        }
        Ok(true)
    }

    /// The size of a blob; `None` when it is not found.
    pub fn size(&self, digest: &Digest) -> Result<Option<u64>> {
        if !self.is_here(digest)? {
            return Ok(None);
        }
        files::length(&self.path(digest))
    }

    /// A blob's file and its size, not verified; `None` when it is not found.
    pub fn open(&self, digest: &Digest) -> Result<Option<(fs::File, u64)>> {
        if !self.is_here(digest)? {
            return Ok(None);
        }
        files::open(&self.path(digest))
    }

    /// Notes that a writer relies on an existing blob, so that a collection
    /// of garbage leaves it alone until a manifest names it.
    pub fn touch(&self, digest: &Digest) {
        // Where the file is another user's the manifest's check must do.
        if let Ok(Some((file, _))) = self.open(digest) {
            let _ = file.set_modified(SystemTime::now());
        }
    }

    /// Whether a blob exists and its bytes have its digest.
    pub fn holds(&self, digest: &Digest, stop: &Stop) -> Result<bool> {
        let whole = match self.open(digest) {
            Ok(Some((file, len))) => drain(Verify::new(
                Watch::new(&(), stop).reader(*digest, file),
                *digest,
                Some(len),
            )),
            Ok(None) => return Ok(false),
            Err(e) => Err(e),
        };
        match whole {
            Ok(()) => Ok(true),
            // To be replaced, as if it did not exist.
            Err(e) if e.is_corrupt() => Ok(false),
            Err(e) => Err(e),
        }
    }

    /// Stores what `from` yields, which must fail where it would end wrongly.
    pub fn write(&self, digest: &Digest, from: &mut dyn Read) -> Result<()> {
        self.make_folders(digest)?;
        let path = self.path(digest);
        let aside = Aside::within(&self.scratch, &path, files::MODE);
        let mut aside = aside.map_err(files::failed(&self.scratch))?;
        let copied = copy(from, aside.file_mut(), &mut Buffer::new());
        let written = aside.path().display().to_string();
        copied.map_err(|e| e.naming(digest.to_string(), written))?;
        aside
            .commit_shared(&self.synced)
            .map_err(files::failed(&path))
    }

    /// Takes a blob over from `other` as a second name of the same file. Gives
    /// `false` where the file systems don't allow that.
    pub fn link(&self, digest: &Digest, other: &Blobs, watch: Watch<'_>) -> Result<bool> {
        self.make_folders(digest)?;
        let path = self.path(digest);
        // The new name is the one that is hashed, so nothing can be put in
        // place of the other one after it was looked at.
        let Ok(aside) = Aside::link(&other.path(digest), &self.scratch, &path) else {
            return Ok(false);
        };
        let len = aside.file().metadata().map_err(files::failed(&path))?.len();
        watch.progress.start(digest, Some(len));
        let bytes = watch.reader(*digest, aside.file());
        drain(Verify::new(bytes, *digest, Some(len)))?;
        aside
            .commit_shared(&self.synced)
            .map_err(files::failed(&path))?;
        watch.progress.skip(digest, len, Skipped::Mounted);
        Ok(true)
    }

    /// Removes a blob and says whether there was one.
    pub fn remove(&self, digest: &Digest) -> Result<bool> {
        let path = self.path(digest);
        if !self.is_here(digest)? || files::look(&path)?.is_none() {
            return Ok(false);
        }
        fs::remove_file(&path).map_err(files::failed(&path))?;
        Ok(true)
    }

    fn make_folders(&self, digest: &Digest) -> Result<()> {
        files::make_folder(&self.blobs)?;
        files::make_folder(&self.folder(digest))
    }
}

/// Reads to the end, to verify them.
fn drain(mut from: impl Read) -> Result<()> {
    let drained = copy(&mut from, &mut io::sink(), &mut Buffer::new());
    drained.map(drop).map_err(|e| e.into_io().into())
}
