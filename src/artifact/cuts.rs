//! Cutting a file: every so many bytes, or where its content says so.
//!
//! Content-defined cuts are FastCDC's (Xia et al. 2020, with its Gear table and
//! masks, normalisation level 1, no seed): whether a byte begins a new part
//! depends on the 64 bytes before it and on how long the part is by then, so
//! bytes that are inserted or changed move the cuts near them and no others. A
//! part is between a quarter and four times the average. The average is part of
//! the format and never derived from a file's size: a file that grew past some
//! limit would be split differently, and sent again as a whole.
//!
//! The scan is the one of the crate `fastcdc`, whose table it reads, but byte
//! by byte: the crate's wants a whole largest part in memory, which is 64 MiB
//! for the largest average.

use std::borrow::Cow;
use std::io::{self, Read};

use fastcdc::v2020::{Normalization, get_gear_with_seed, select_masks};

use crate::artifact::Split;
use crate::artifact::split::Kind;
use crate::descriptor::{Descriptor, media_type};
use crate::digest::Hasher;
use crate::error::{Error, Result};
use crate::stream::{Buffer, Stop};

/// Finds the ends of parts in bytes that come bit by bit.
struct Cutter {
    rule: Rule,
    /// The bytes of the part so far.
    len: u64,
}

enum Rule {
    Every(u64),
    Content(Gear),
}

/// FastCDC's rolling hash and its limits.
struct Gear {
    table: Cow<'static, [u64]>,
    hash: u64,
    average: u64,
    /// Below the average a cut is less likely than above it.
    masks: (u64, u64),
}

impl Cutter {
    fn new(split: Split) -> Cutter {
        let rule = match split.0 {
            Kind::Every(size) => Rule::Every(size),
            Kind::Content(average) => Rule::Content(Gear {
                table: get_gear_with_seed(0).0,
                hash: 0,
                average,
                // At most 16 MiB, so it fits everywhere.
                masks: select_masks(average as usize, Normalization::Level1),
            }),
        };
        Cutter { rule, len: 0 }
    }

    /// How many of `bytes` still belong to the part, where it ends among them;
    /// `None` when it continues after them.
    fn cut(&mut self, bytes: &[u8]) -> Option<usize> {
        let end = match &mut self.rule {
            Rule::Every(size) => usize::try_from(*size - self.len)
                .ok()
                .filter(|left| *left <= bytes.len()),
            Rule::Content(gear) => gear.cut(self.len, bytes),
        };
        self.len = match end {
            Some(_) => 0,
            None => self.len + bytes.len() as u64,
        };
        end
    }
}

impl Gear {
    /// The same for a part that has `len` bytes before these.
    fn cut(&mut self, len: u64, bytes: &[u8]) -> Option<usize> {
        let (least, most) = (self.average / 4, self.average * 4);
        // Where in `bytes` the part has so many bytes.
        let at = |limit: u64| {
            let left = limit.saturating_sub(len);
            bytes.len().min(usize::try_from(left).unwrap_or(usize::MAX))
        };
        let (skip, middle, last) = (at(least), at(self.average), at(most));
        let found = self
            .scan(bytes, skip..middle, self.masks.0)
            .or_else(|| self.scan(bytes, middle..last, self.masks.1));
        let end = found.or((len + last as u64 == most).then_some(last));
        if end.is_some() {
            self.hash = 0;
        }
        end
    }

    /// The first byte in `range` that begins a part.
    fn scan(&mut self, bytes: &[u8], range: std::ops::Range<usize>, mask: u64) -> Option<usize> {
        let begin = range.start;
        for (i, byte) in bytes[range].iter().enumerate() {
            let gear = self.table[usize::from(*byte)];
            self.hash = (self.hash << 1).wrapping_add(gear);
            if self.hash & mask == 0 {
                return Some(begin + i);
            }
        }
        None
    }
}

/// A part of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Piece {
    /// Where in the file it begins.
    pub offset: u64,
    /// Its digest and size.
    pub descriptor: Descriptor,
}

/// Reads a file once and cuts it, one [`Piece`] after the other.
///
/// ```
/// use dxf_registry::artifact::{Cuts, Split};
/// use dxf_registry::stream::Stop;
/// # fn main() -> dxf_registry::Result<()> {
/// let (split, stop) = (Split::every(3)?, Stop::new());
/// let mut cuts = Cuts::new("greeting", &b"hello"[..], split);
/// let mut sizes = Vec::new();
/// while let Some(piece) = cuts.next(&stop, &mut |_| Ok(()))? {
///     sizes.push((piece.offset, piece.descriptor.size));
/// }
/// assert_eq!(sizes, [(0, 3), (3, 2)]);
/// # Ok(())
/// # }
/// ```
pub struct Cuts<R> {
    what: String,
    from: R,
    cutter: Cutter,
    buffer: Buffer,
    /// What of the buffer was read and not yet cut.
    left: std::ops::Range<usize>,
    offset: u64,
    over: bool,
}

impl<R: Read> Cuts<R> {
    /// Cuts what `from` yields as `split` says; errors name `what`.
    pub fn new(what: impl Into<String>, from: R, split: Split) -> Cuts<R> {
        Cuts {
            what: what.into(),
            from,
            cutter: Cutter::new(split),
            buffer: Buffer::new(),
            left: 0..0,
            offset: 0,
            over: false,
        }
    }

    /// The next part, after `sink` was given all of its bytes; `None` at the
    /// end. Nothing at all is one empty part.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Stopped`], those of `sink`; no part follows one.
    pub fn next(
        &mut self,
        stop: &Stop,
        sink: &mut dyn FnMut(&[u8]) -> Result<()>,
    ) -> Result<Option<Piece>> {
        let (mut hasher, mut size) = (Hasher::new(), 0);
        loop {
            stop.check()?;
            if self.left.is_empty() && !self.fill()? {
                break;
            }
            let bytes = &self.buffer[self.left.clone()];
            let end = self.cutter.cut(bytes);
            let bytes = &bytes[..end.unwrap_or(bytes.len())];
            sink(bytes)?;
            hasher.update(bytes);
            size += bytes.len() as u64;
            self.left.start += bytes.len();
            if end.is_some() {
                break;
            }
        }
        if size == 0 && self.offset > 0 {
            return Ok(None);
        }
        if size == 0 && std::mem::replace(&mut self.over, true) {
            return Ok(None);
        }
        let descriptor = Descriptor::new(media_type::OCTET_STREAM, hasher.finish(), size);
        let offset = self.offset;
        self.offset += size;
        Ok(Some(Piece { offset, descriptor }))
    }

    /// Bytes read so far by parts that were given out.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Reads more; whether there was any.
    fn fill(&mut self) -> Result<bool> {
        let n = loop {
            match self.from.read(&mut self.buffer) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                read => break read.map_err(|e| Error::io(&self.what, e))?,
            }
        };
        self.left = 0..n;
        Ok(n > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Bytes that look random.
    fn noise(seed: u64, len: usize) -> Vec<u8> {
        let mut state = seed | 1;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 32) as u8
        };
        (0..len).map(|_| next()).collect()
    }

    /// Reads at most so many bytes at a time, one after the other.
    struct Dribble<'a>(&'a [u8], Vec<usize>, usize);

    impl Read for Dribble<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.2 += 1;
            let most = self.1[self.2 % self.1.len()].min(buffer.len());
            self.0.read(&mut buffer[..most])
        }
    }

    fn pieces(from: impl Read, split: Split) -> Vec<Piece> {
        let mut cuts = Cuts::new("x", from, split);
        let mut pieces = Vec::new();
        while let Some(piece) = cuts.next(&Stop::new(), &mut |_| Ok(())).unwrap() {
            pieces.push(piece);
        }
        pieces
    }

    fn sizes(bytes: &[u8], split: Split) -> Vec<u64> {
        pieces(bytes, split)
            .iter()
            .map(|p| p.descriptor.size)
            .collect()
    }

    fn cdc() -> Split {
        Split::content(16 << 10).unwrap()
    }

    #[test]
    fn fixed_cuts() {
        let of = |size, text: &[u8]| sizes(text, Split::every(size).unwrap());
        assert_eq!(of(3, b"abcdefg"), [3, 3, 1]);
        assert_eq!(of(3, b"abcdef"), [3, 3]);
        assert_eq!(of(u64::MAX, b"abc"), [3]);
        assert_eq!(of(1, b""), [0]);
        assert_eq!(sizes(b"", cdc()), [0]);
    }

    #[test]
    fn cuts_are_those_of_fastcdc() {
        // Stored files are cut alike for ever, or nothing of them is found
        // again: neither this scan nor the crate's table may change.
        let bytes = noise(7, 400_000);
        let theirs = fastcdc::v2020::FastCDC::new(&bytes, 4 << 10, 16 << 10, 64 << 10);
        let theirs: Vec<u64> = theirs.map(|chunk| chunk.length as u64).collect();
        let ours = sizes(&bytes, cdc());
        assert_eq!(ours, theirs);
        assert_eq!(ours[..4], [16_900, 31_737, 17_100, 18_560]);
    }

    #[test]
    fn sameness_is_cut_at_the_largest() {
        let most = 64 << 10;
        assert_eq!(
            sizes(&vec![0; 3 * most + 5], cdc()),
            [most as u64, most as u64, most as u64, 5]
        );
    }

    #[test]
    fn what_is_inserted_moves_only_the_cuts_near_it() {
        let old = noise(3, 1 << 20);
        let new = [
            b"some bytes in front",
            &old[..500_000],
            b"and some more",
            &old[500_000..],
        ]
        .concat();
        let known: std::collections::HashSet<_> = pieces(&old[..], cdc())
            .into_iter()
            .map(|p| p.descriptor.digest)
            .collect();
        let new = pieces(&new[..], cdc());
        let unknown = new
            .iter()
            .filter(|p| !known.contains(&p.descriptor.digest))
            .count();
        assert!(new.len() > 40 && unknown <= 6, "{unknown} of {}", new.len());
    }

    proptest! {
        #[test]
        fn cuts_cover_everything_whatever_the_reads(
            seed: u64,
            len in 0usize..300_000,
            same in 0usize..100_000,
            size in prop_oneof![Just(None), (1u64..100_000).prop_map(Some)],
            reads in prop::collection::vec(1usize..70_000, 1..6),
        ) {
            let split = size.map_or(cdc(), |size| Split::every(size).unwrap());
            let mut bytes = noise(seed, len);
            bytes.extend(vec![7; same]);
            let mut seen = Vec::new();
            let mut cuts = Cuts::new("x", Dribble(&bytes, reads, 0), split);
            let mut pieces = Vec::new();
            loop {
                let mut part = Vec::new();
                let mut sink = |bytes: &[u8]| { part.extend_from_slice(bytes); Ok(()) };
                let Some(piece) = cuts.next(&Stop::new(), &mut sink).unwrap() else { break };
                prop_assert_eq!(piece.descriptor.digest, crate::Digest::of(&part));
                prop_assert_eq!((piece.offset, piece.descriptor.size), (seen.len() as u64, part.len() as u64));
                seen.extend(part);
                pieces.push(piece);
            }
            prop_assert!(seen == bytes);
            prop_assert_eq!(cuts.next(&Stop::new(), &mut |_| Ok(())).unwrap(), None);
            prop_assert_eq!(super::tests::pieces(&bytes[..], split), pieces);
        }
    }
}
