//! Files with holes: which parts of them are stored in a tar.

use crate::bounds;

use super::pax::number;

/// More parts than the holes of any file leave; 16 MiB of memory.
const MAX_PARTS: usize = bounds::SPARSE_PIECES;

/// Where a sparse file has content: pairs of offset and length.
#[derive(Debug, Clone, Default)]
pub(super) struct Map {
    numbers: Vec<u64>,
    /// Whether the pairs stand in front of the content itself (PAX 1.0).
    pub in_content: bool,
    /// A line of those in front of which not all was read.
    line: Vec<u8>,
    /// How many numbers of those in front are still to come.
    left: Option<u64>,
}

impl Map {
    /// Adds an offset or a length; `false` when there are too many.
    pub fn push(&mut self, number: u64) -> bool {
        self.numbers.push(number);
        self.numbers.len() <= 2 * MAX_PARTS
    }

    /// Takes the next bytes of a map in front of the content, decimal numbers
    /// a line each, of which the first says how many pairs follow. `None` when
    /// they break that format, else whether the map is complete.
    pub fn read(&mut self, text: &[u8]) -> Option<bool> {
        for byte in text {
            if *byte != b'\n' {
                self.line.push(*byte);
                // The digits of the largest number.
                if self.line.len() > 20 {
                    return None;
                }
                continue;
            }
            let found = number(&self.line)?;
            self.line.clear();
            match &mut self.left {
                None => self.left = Some(found.checked_mul(2)?),
                Some(left) => {
                    *left -= 1;
                    if !self.push(found) {
                        return None;
                    }
                }
            }
            if self.left == Some(0) {
                return Some(true);
            }
        }
        Some(false)
    }

    /// The parts of a file of `size` bytes, as first byte and the one after the
    /// last, if they are in order and add up to `stored` bytes.
    pub fn parts(&self, size: u64, stored: u64) -> Option<Vec<(u64, u64)>> {
        let (pairs, rest) = self.numbers.as_chunks::<2>();
        let (mut parts, mut at, mut sum) = (Vec::with_capacity(pairs.len()), 0, 0u64);
        for [start, len] in pairs {
            let end = start.checked_add(*len).filter(|end| *end <= size)?;
            if *start < at {
                return None;
            }
            (at, sum) = (end, sum + len);
            if *len > 0 {
                parts.push((*start, end));
            }
        }
        (rest.is_empty() && sum == stored).then_some(parts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_in_order_and_as_long_as_what_is_stored() {
        let parts = |numbers: &[u64], size, stored| {
            let mut map = Map::default();
            assert!(numbers.iter().all(|n| map.push(*n)));
            map.parts(size, stored)
        };
        assert_eq!(parts(&[], 9, 0), Some(vec![]));
        let two = Some(vec![(0, 2), (5, 7)]);
        assert_eq!(parts(&[0, 2, 5, 2, 9, 0], 9, 4), two);
        for (numbers, size, stored) in [
            (&[0, 2, 1, 2][..], 9, 4),
            (&[0, 2], 9, 3),
            (&[0, 2], 1, 2),
            (&[0, 2, 3], 9, 2),
            (&[u64::MAX, 2], u64::MAX, 2),
        ] {
            assert_eq!(parts(numbers, size, stored), None, "{numbers:?}");
        }
    }

    #[test]
    fn a_map_in_front_of_content_is_read_to_its_end() {
        let read = |text: &[u8]| {
            let mut map = Map::default();
            let (one, two) = text.split_at(text.len() / 2);
            let first = map.read(one)?;
            let done = first || map.read(two)?;
            Some((done, map.numbers))
        };
        assert_eq!(read(b"1\n0\n3\n\0\0"), Some((true, vec![0, 3])));
        assert_eq!(read(b"0\n\0"), Some((true, vec![])));
        assert_eq!(read(b"1\n0\n3"), Some((false, vec![0])));
        for broken in [
            &b"x\n"[..],
            b"1\nx\n3\n",
            b"18446744073709551615\n",
            &[b'1'; 512],
        ] {
            assert!(read(broken).is_none());
        }
    }
}
