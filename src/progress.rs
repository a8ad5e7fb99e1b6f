//! How far a transfer has come, told to whoever wants to know. The library
//! never draws; a terminal, a log or a test implements [`Progress`].

use crate::digest::Digest;

/// Hears about the bytes of blobs as they move. Called from several threads.
pub trait Progress: Send + Sync {
    /// A blob of `total` bytes (where known) begins, or begins again: a second
    /// call for the same blob means that counting starts from zero.
    fn start(&self, blob: &Digest, total: Option<u64>);
    /// `bytes` more have moved.
    fn advance(&self, blob: &Digest, bytes: u64);
    /// The last byte of the blob has moved and was accepted.
    fn finish(&self, blob: &Digest);
}

/// Silence.
impl Progress for () {
    fn start(&self, _: &Digest, _: Option<u64>) {}
    fn advance(&self, _: &Digest, _: u64) {}
    fn finish(&self, _: &Digest) {}
}
