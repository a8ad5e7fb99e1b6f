//! Bringing blobs here: read, hash and write at the same time, and into files
//! that appear atomically.
//!
//! Hashing takes longer than a local wire or a disk, so it has a thread of its
//! own over a few reused buffers. Where a connection is slow, several fetch
//! at once what comes next. A file that is not whole yet lies beside its place
//! as `NAME.partial`; its bytes are hashed again before it is continued, so
//! nothing in it is trusted.

mod check;
mod chunk;
mod download;
mod hashing;
mod partial;
mod range;
mod reader;
#[cfg(test)]
mod tests;
mod throughput;
mod waiting;

use std::io::Write;
use std::path::Path;

use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::store::{Content, ReadStore};
use crate::stream::{Run, Watch};

use check::Check;
use download::Download;
pub use partial::into_file;
pub(crate) use partial::{Partial, followed, into_unsynced_folder};
pub use range::ByteRange;
pub use reader::Reader;

/// What is to be fetched: a digest, and its size in bytes where it is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlobRef {
    /// The blob.
    pub digest: Digest,
    /// Its size; checked when known.
    pub size: Option<u64>,
}

/// Blobs to fetch, concatenated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sequence {
    /// The blobs, in order.
    pub blobs: Vec<BlobRef>,
    /// The file they make together, where they are the parts of one.
    pub whole: Option<SplitFile>,
}

impl From<BlobRef> for Sequence {
    fn from(one: BlobRef) -> Sequence {
        Sequence {
            blobs: vec![one],
            whole: None,
        }
    }
}

/// A file that is kept as several blobs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SplitFile {
    /// What to call it in an error.
    pub name: String,
    /// The digest of all of it, checked besides those of the blobs.
    pub digest: Digest,
}

/// Where bytes go, and what that is called in errors.
pub struct Sink<'a> {
    name: &'a str,
    to: &'a mut (dyn Write + Send),
    folder: Option<&'a Path>,
}

impl<'a> Sink<'a> {
    /// Bytes go to `to`, which errors call `name`.
    pub fn new(name: &'a str, to: &'a mut (dyn Write + Send)) -> Sink<'a> {
        Sink {
            name,
            to,
            folder: None,
        }
    }

    /// The same. What several connections bring before its turn waits in a file
    /// without a name in `folder`, instead of in memory, so that each of them may fetch
    /// more at a time.
    #[must_use]
    pub fn with_folder(self, folder: &'a Path) -> Sink<'a> {
        Sink {
            folder: Some(folder),
            ..self
        }
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let written = self.to.write_all(bytes);
        written.map_err(|e| Error::io(self.name, e))
    }
}

/// Writes a whole blob to `to`.
///
/// The bytes have been written when the verdict falls: a caller that writes to a
/// place that others read has to undo it after an error.
///
/// # Errors
/// [`crate::Error::Mismatch`], [`crate::Error::Size`], [`crate::Error::Io`] for `to`, and those of
/// the store.
pub fn write(
    content: Content<'_>,
    wanted: BlobRef,
    mut to: Sink<'_>,
    watch: Watch<'_>,
) -> Result<u64> {
    let mut check = Check::new(&[wanted.into()])?;
    check.learn(content.size);
    watch.progress.start(&wanted.digest, check.size());
    let mut reader = watch.reader(wanted.digest, content.reader);
    hashing::copy(&mut check, &mut reader, &mut to, download::BUFFERS)?;
    check.end_blob()?;
    watch.progress.finish(&wanted.digest);
    Ok(check.start())
}

/// Writes blobs to `to`, concatenated; over several connections where
/// one is slow and sizes are known, never more than [`Run::jobs`]. What arrives before
/// its turn waits in a temporary file of at most 32 MiB ([`Sink::with_folder`]), or in
/// memory, where it takes at most 8 MiB.
///
/// # Errors
/// As [`write()`]; what was written before an error is a beginning of the
/// whole, which may hold wrong bytes when the error is that.
pub fn into_writer(
    store: &dyn ReadStore,
    row: &[Sequence],
    mut to: Sink<'_>,
    run: Run<'_>,
) -> Result<u64> {
    Download::new(store, row, run)?.finish(&mut to)
}
