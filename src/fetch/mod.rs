//! Bringing blobs here: read, hash and write at the same time, and into files
//! that are whole or not there.
//!
//! Hashing takes longer than a local wire or a disk, so it has a thread of its
//! own behind a few reused buffers. A file that is not whole yet lies beside
//! its place as `NAME.partial`; what it holds is hashed again before it is
//! continued, so nothing in it is trusted.

mod partial;
mod pump;
#[cfg(test)]
mod tests;

use std::io::Write;

use crate::digest::{Digest, Hasher};
use crate::error::Result;
use crate::store::Content;
use crate::stream::Watch;

pub use partial::into_file;
use pump::Pump;

/// What is to be fetched: a digest, and its size in bytes where it is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted {
    /// The blob.
    pub digest: Digest,
    /// Its size; checked when known.
    pub size: Option<u64>,
}

/// Writes a whole blob to `to`, which `name` calls by name in errors.
///
/// The bytes have been written when the verdict falls: whoever writes to a
/// place that others read has to undo it after an error.
///
/// # Errors
/// [`crate::Error::Mismatch`], [`crate::Error::Size`], [`crate::Error::Io`] for `to`, and those of
/// the store.
pub fn write(
    content: Content<'_>,
    wanted: Wanted,
    to: (&str, &mut dyn Write),
    watch: Watch<'_>,
) -> Result<u64> {
    let size = wanted.size.or(content.size);
    watch.progress.start(&wanted.digest, size);
    let mut pump = Pump::new(wanted, size, Hasher::like(&wanted.digest), 0);
    pump.run(&mut watch.reader(wanted.digest, content.reader), to)?;
    let bytes = pump.conclude()?;
    watch.progress.finish(&wanted.digest);
    Ok(bytes)
}
