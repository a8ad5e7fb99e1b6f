//! How blobs are cut for several connections: small ones stay whole, large
//! ones are asked for in ranges.

use std::ops::Range;

/// The most one connection fetches at a time, bytes.
const MOST: u64 = 4 << 20;
/// The least, where a smaller blob allows it.
const LEAST: u64 = 1 << 20;

/// How many fetch at once, and how much each of them, where what arrives before its
/// turn takes `held` bytes at most: more connections fetch less each.
pub fn shape(jobs: usize, held: u64) -> (usize, u64) {
    let jobs = jobs.max(1);
    let most = (held / jobs as u64).clamp(LEAST, MOST);
    (jobs.min((held / most) as usize), most)
}

/// A part of a blob for one connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk {
    /// Which blob: its place in the row.
    pub blob: usize,
    /// Which of its bytes.
    pub range: Range<u64>,
    /// Whether these are all of them.
    pub whole: bool,
    /// Whether they end the blob.
    pub last: bool,
}

/// The chunks of blobs in a row, from some byte of the first on; ends before
/// a blob that one connection has to fetch alone.
pub struct Chunks {
    sizes: Vec<u64>,
    blob: usize,
    from: u64,
    most: u64,
    ranged: bool,
}

impl Chunks {
    /// Cuts blobs of these sizes into at most `most` bytes each, from byte
    /// `from` of the first; where no ranges are served, only blobs that need
    /// none.
    pub fn new(sizes: Vec<u64>, from: u64, most: u64, ranged: bool) -> Chunks {
        Chunks {
            sizes,
            blob: 0,
            from,
            most,
            ranged,
        }
    }
}

impl Iterator for Chunks {
    type Item = Chunk;

    fn next(&mut self) -> Option<Chunk> {
        let (blob, start) = (self.blob, self.from);
        let size = *self.sizes.get(blob)?;
        let whole = start == 0 && size <= self.most;
        if !whole && !self.ranged {
            return None;
        }
        let end = size.min(start.saturating_add(self.most));
        let last = end == size;
        (self.blob, self.from) = if last { (blob + 1, 0) } else { (blob, end) };
        Some(Chunk {
            blob,
            range: start..end,
            whole,
            last,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_waits_is_bounded_however_many_there_are() {
        assert_eq!(shape(8, 32 << 20), (8, MOST));
        assert_eq!(shape(2, 32 << 20), (2, MOST));
        assert_eq!(shape(8, 8 << 20), (8, LEAST));
        for (jobs, held) in (0..300).flat_map(|jobs| [(jobs, 8 << 20), (jobs, 32 << 20)]) {
            let (workers, most) = shape(jobs, held);
            assert!(workers >= 1 && workers as u64 * most <= held, "{jobs}");
        }
    }

    #[test]
    fn without_ranges_the_first_large_blob_ends_it() {
        let cut = |from, ranged| Chunks::new(vec![3, 0, 9, 2], from, 4, ranged).count();
        assert_eq!((cut(0, true), cut(0, false), cut(1, false)), (6, 2, 0));
    }

    proptest! {
        #[test]
        fn every_byte_comes_once_and_in_order(
            sizes in proptest::collection::vec(0u64..40, 0..8), from in 0u64..40, most in 1u64..16
        ) {
            let from = from.min(sizes.first().copied().unwrap_or(0).saturating_sub(1));
            let (mut blob, mut at) = (0, from);
            for one in Chunks::new(sizes.clone(), from, most, true) {
                prop_assert_eq!((one.blob, one.range.start), (blob, at));
                prop_assert!(one.range.end - one.range.start <= most && one.range.end <= sizes[blob]);
                prop_assert_eq!(one.last, one.range.end == sizes[blob]);
                prop_assert_eq!(one.whole, one.range == (0..sizes[blob]));
                (blob, at) = if one.last { (blob + 1, 0) } else { (blob, one.range.end) };
            }
            prop_assert_eq!((blob, at), (sizes.len(), if sizes.is_empty() { from } else { 0 }));
        }
    }
}
