//! How much one name may lead to, over all the indexes below it.
//!
//! An index of a megabyte can list another one four thousand times, and that one
//! as many images: each document is within its own bounds, all of them together
//! are not. Whatever reads manifests below a name, from a store or an archive,
//! takes what it reads from one budget.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::bounds;
use crate::error::{Error, Result};

/// The entries of all indexes below one name, repeated ones included. The
/// largest official image has some forty.
pub const MAX_ENTRIES: u64 = bounds::INDEX_ENTRIES;
/// The bytes of manifests and configs that are in memory for one name, or
/// for one archive.
pub const MAX_HELD: u64 = bounds::HELD;

/// What is left of [`MAX_ENTRIES`] and [`MAX_HELD`]. Threads may share it.
#[derive(Debug)]
pub struct Budget {
    entries: AtomicU64,
    bytes: AtomicU64,
    /// What `bytes` began with.
    most: u64,
}

impl Default for Budget {
    fn default() -> Budget {
        Budget {
            entries: AtomicU64::new(MAX_ENTRIES),
            bytes: AtomicU64::new(MAX_HELD),
            most: MAX_HELD,
        }
    }
}

impl Budget {
    /// One for many names together: `bytes` of manifests and configs, and any number
    /// of entries.
    pub(crate) fn of_bytes(bytes: u64) -> Budget {
        Budget {
            entries: AtomicU64::new(u64::MAX),
            bytes: AtomicU64::new(bytes),
            most: bytes,
        }
    }

    /// Takes the entries of one more index.
    ///
    /// # Errors
    /// [`Error::Malformed`] when there are more than [`MAX_ENTRIES`].
    pub fn entries(&self, count: usize) -> Result<()> {
        let limit = format!("more than {MAX_ENTRIES} manifests, counting repeated ones");
        take(&self.entries, count as u64, &limit)
    }

    /// Takes room for a manifest or config.
    ///
    /// # Errors
    /// [`Error::Malformed`] when there are more than [`MAX_HELD`] bytes, or
    /// than this budget is of.
    pub fn hold(&self, bytes: u64) -> Result<()> {
        let limit = format!("more than {} MiB of manifests and configs", self.most >> 20);
        take(&self.bytes, bytes, &limit)
    }
}

fn take(left: &AtomicU64, amount: u64, limit: &str) -> Result<()> {
    let less = |left: u64| left.checked_sub(amount);
    match left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, less) {
        Ok(_) => Ok(()),
        Err(_) => Err(Error::malformed("index", format!("it leads to {limit}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeated_entries_and_bytes_add_up() {
        let budget = Budget::default();
        budget.entries(4000).unwrap();
        let error = budget.entries(97).unwrap_err();
        assert!(error.is_corrupt() && error.to_string().contains("more than 4096 manifests"));
        budget.entries(96).unwrap();
        assert!(budget.entries(1).is_err());
        budget.hold(MAX_HELD - 1).unwrap();
        assert!(budget.hold(u64::MAX).is_err());
        let error = budget.hold(2).unwrap_err().to_string();
        assert!(error.contains("more than 32 MiB"), "{error}");
        budget.hold(1).unwrap();
    }
}
