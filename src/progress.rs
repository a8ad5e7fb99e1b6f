//! The progress of a transfer, reported to the caller. The library
//! never draws; a terminal, a log or a test implements [`Progress`].

use crate::digest::Digest;

/// Hears about the bytes of blobs as they move. Called from several threads.
///
/// ```
/// use dxf_registry::{Digest, progress::Progress};
/// use std::sync::atomic::{AtomicU64, Ordering};
///
/// #[derive(Default)]
/// struct Moved(AtomicU64);
///
/// impl Progress for Moved {
///     fn advance(&self, _: &Digest, bytes: u64) {
///         self.0.fetch_add(bytes, Ordering::Relaxed);
///     }
/// }
/// ```
pub trait Progress: Send + Sync {
    /// A blob of `total` bytes (where known) begins, or begins again: a second
    /// call for the same blob means that counting starts from zero.
    fn start(&self, blob: &Digest, total: Option<u64>) {
        let _ = (blob, total);
    }

    /// `bytes` more have moved.
    fn advance(&self, blob: &Digest, bytes: u64) {
        let _ = (blob, bytes);
    }

    /// The last byte of the blob has moved and was accepted.
    fn finish(&self, blob: &Digest) {
        let _ = blob;
    }

    /// A blob of `size` bytes did not have to move (0 if the registry mounted it
    /// without telling its size). Comes instead of `finish`,
    /// with or without a `start` before it.
    fn skip(&self, blob: &Digest, size: u64, why: Skipped) {
        let _ = (blob, size, why);
    }

    /// Before anything moves, `done` bytes of the file or stream `what` have been
    /// read to compute its digest, of `total` (where known).
    fn prepare(&self, what: &str, done: u64, total: Option<u64>) {
        let _ = (what, done, total);
    }

    /// `what` has been read to its end.
    fn prepared(&self, what: &str) {
        let _ = what;
    }
}

/// Why a blob did not have to move.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Skipped {
    /// The destination already had it.
    Existed,
    /// The registry took it from another of its repositories.
    Mounted,
}

/// Silence.
impl Progress for () {}
