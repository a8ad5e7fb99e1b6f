//! Blobs in a row, and whether the bytes that come are theirs.

use std::collections::HashMap;
use std::sync::Arc;

use crate::digest::{Digest, Hasher};
use crate::error::{Error, Result};
use crate::fetch::{BlobRef, Sequence, SplitFile};

/// One blob of the row.
#[derive(Debug, Clone)]
pub struct Item {
    /// The blob.
    pub wanted: BlobRef,
    /// The file it is a part of: which part, and of how many.
    part: Option<(usize, usize, Arc<SplitFile>)>,
}

impl Item {
    /// The error as a person understands it: of a part that is missing it says
    /// which part of what.
    pub fn explain(&self, error: Error) -> Error {
        match &self.part {
            Some((number, count, whole)) if error.is_not_found() => Error::NotFound {
                what: format!(
                    "part {} of {count} of {}, {}",
                    number + 1,
                    whole.name,
                    self.wanted.digest
                ),
            },
            _ => error,
        }
    }

    fn begins(&self) -> Option<&SplitFile> {
        match &self.part {
            Some((0, _, whole)) => Some(whole),
            _ => None,
        }
    }

    fn ends(&self) -> Option<&SplitFile> {
        match &self.part {
            Some((number, count, whole)) if number + 1 == *count => Some(whole),
            _ => None,
        }
    }
}

/// The blobs in a row.
pub fn items(row: &[Sequence]) -> Vec<Item> {
    let mut items = Vec::new();
    for Sequence { blobs, whole } in row {
        let (count, whole) = (blobs.len(), whole.clone().map(Arc::new));
        items.extend(blobs.iter().enumerate().map(|(number, wanted)| Item {
            wanted: *wanted,
            part: whole.clone().map(|whole| (number, count, whole)),
        }));
    }
    items
}

/// The hash of a blob, and of the file it is a part of.
#[derive(Clone)]
pub struct Hashers {
    blob: Hasher,
    whole: Option<Hasher>,
}

impl Hashers {
    /// Takes bytes in.
    pub fn update(&mut self, bytes: &[u8]) {
        self.blob.update(bytes);
        if let Some(whole) = &mut self.whole {
            whole.update(bytes);
        }
    }
}

/// How far the bytes have come, all of them checked.
pub struct Check {
    items: Vec<Item>,
    at: usize,
    /// Bytes of the blobs before.
    start: u64,
    /// Bytes of this one.
    seen: u64,
    hashers: Hashers,
    /// Where the file's hash stood before this blob.
    before: Option<Hasher>,
}

impl Check {
    /// Expects these blobs in order.
    ///
    /// # Errors
    /// [`Error::Mismatch`] for a file of no parts that is not empty.
    pub fn new(row: &[Sequence]) -> Result<Check> {
        for joined in row.iter().filter(|joined| joined.blobs.is_empty()) {
            if let Some(whole) = &joined.whole {
                verdict(whole.digest, Hasher::like(&whole.digest))?;
            }
        }
        let mut check = Check {
            items: items(row),
            at: 0,
            start: 0,
            seen: 0,
            hashers: Hashers {
                blob: Hasher::new(),
                whole: None,
            },
            before: None,
        };
        check.begin();
        Ok(check)
    }

    /// The blob that comes now; `None` when all have come.
    pub fn current(&self) -> Option<&Item> {
        self.items.get(self.at)
    }

    /// The blobs from this one on, and how much of this one has come.
    pub fn rest(&self) -> (&[Item], u64) {
        (&self.items[self.at..], self.seen)
    }

    /// Bytes of this blob that have come.
    pub fn seen(&self) -> u64 {
        self.seen
    }

    /// Bytes of the blobs before this one.
    pub fn start(&self) -> u64 {
        self.start
    }

    /// The size of this blob, where it is known.
    pub fn size(&self) -> Option<u64> {
        self.current()?.wanted.size
    }

    /// Learns the size of this blob; what was known before stays.
    pub fn learn(&mut self, size: Option<u64>) {
        if let Some(item) = self.items.get_mut(self.at) {
            item.wanted.size = item.wanted.size.or(size);
        }
    }

    /// Learns the sizes of this blob and those after it.
    pub fn learn_all(&mut self, sizes: &HashMap<Digest, Option<u64>>) {
        for item in &mut self.items[self.at..] {
            let told = sizes.get(&item.wanted.digest).copied().flatten();
            item.wanted.size = item.wanted.size.or(told);
        }
    }

    /// Counts bytes that are about to be hashed.
    ///
    /// # Errors
    /// [`Error::Size`] beyond the size of the blob.
    pub fn count(&mut self, bytes: usize) -> Result<()> {
        self.seen += bytes as u64;
        match self.size() {
            Some(size) if self.seen > size => Err(self.wrong_size(size)),
            _ => Ok(()),
        }
    }

    /// The hashes, for the thread that works on them.
    pub fn hashers(&mut self) -> &mut Hashers {
        &mut self.hashers
    }

    /// Says that this blob is complete, and moves on to the next.
    ///
    /// # Errors
    /// [`Error::Size`], [`Error::Mismatch`].
    pub fn end_blob(&mut self) -> Result<()> {
        let Some(item) = self.items.get(self.at) else {
            return Ok(());
        };
        if let Some(size) = item.wanted.size.filter(|size| *size != self.seen) {
            return Err(self.wrong_size(size));
        }
        verdict(item.wanted.digest, self.hashers.blob.clone())?;
        if let (Some(whole), Some(hasher)) = (item.ends(), &self.hashers.whole) {
            verdict(whole.digest, hasher.clone())?;
        }
        self.at += 1;
        self.start += self.seen;
        self.before = self.hashers.whole.take();
        self.begin();
        Ok(())
    }

    /// Begins this blob again.
    pub fn begin(&mut self) {
        self.seen = 0;
        let Some(item) = self.items.get(self.at) else {
            return;
        };
        if let Some(whole) = item.begins() {
            // A file of one part with its own digest is checked with that.
            let alone = whole.digest == item.wanted.digest && item.ends().is_some();
            self.before = (!alone).then(|| Hasher::like(&whole.digest));
        } else if item.part.is_none() {
            self.before = None;
        }
        self.hashers = Hashers {
            blob: Hasher::like(&item.wanted.digest),
            whole: self.before.clone(),
        };
    }

    fn wrong_size(&self, expected: u64) -> Error {
        let what = self.current().map(|item| item.wanted.digest.to_string());
        Error::Size {
            what: what.unwrap_or_default(),
            expected,
            actual: self.seen,
        }
    }
}

fn verdict(expected: Digest, hasher: Hasher) -> Result<()> {
    match hasher.finish() {
        actual if actual == expected => Ok(()),
        actual => Err(Error::mismatch(expected, actual)),
    }
}
