//! The content of a member, with the holes of a sparse file as zeros.

use std::io::{self, Read};

use super::BLOCK;
use super::entry::Entry;
use super::read::Entries;
use super::sparse::Map;
use crate::error::Result;

/// What is wrong with a sparse file, in errors.
const MAP: &str = "the map of a sparse file breaks its format, or contradicts its sizes";

impl<R: Read> Entries<R> {
    /// The content of `entry`, which came last: holes are zeros.
    pub(crate) fn content(&mut self, entry: &Entry) -> Result<Content<'_, R>> {
        let (mut part, mut parts) = ((0, entry.size), Vec::new());
        if let Some(map) = self.sparse.take() {
            parts = self.parts(map, entry.size)?;
            part = (0, 0);
        }
        Ok(Content {
            entries: self,
            at: 0,
            size: entry.size,
            part,
            parts: parts.into_iter(),
        })
    }

    /// The parts of a sparse file of `size` bytes that are stored.
    fn parts(&mut self, mut map: Map, size: u64) -> Result<Vec<(u64, u64)>> {
        let mut stored = self.stored;
        if map.in_content {
            let mut done = false;
            while !done {
                stored = stored.checked_sub(BLOCK).ok_or_else(|| self.bad(MAP))?;
                let block = self.block()?;
                self.pending -= BLOCK;
                done = map.read(&block).ok_or_else(|| self.bad(MAP))?;
            }
        }
        map.parts(size, stored).ok_or_else(|| self.bad(MAP))
    }
}

/// The content of a member, of which nothing was read yet.
pub(crate) struct Content<'a, R> {
    entries: &'a mut Entries<R>,
    at: u64,
    size: u64,
    /// The part that is read, or comes next after a hole: first byte and the
    /// one after the last.
    part: (u64, u64),
    parts: std::vec::IntoIter<(u64, u64)>,
}

impl<R: Read> Read for Content<'_, R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.at >= self.part.1 {
            let end = (self.size, self.size);
            self.part = self.parts.next().unwrap_or(end);
        }
        let is_hole = self.at < self.part.0;
        let end = if is_hole { self.part.0 } else { self.part.1 };
        let left = usize::try_from(end - self.at).unwrap_or(usize::MAX);
        let room = buf.len().min(left);
        if room == 0 {
            return Ok(0);
        }
        let mut n = room;
        if is_hole {
            buf[..room].fill(0);
        } else {
            n = self.entries.reader.read(&mut buf[..room])?;
            if n == 0 {
                return Err(self.entries.bad("it is cut short").into());
            }
            self.entries.pending -= n as u64;
            self.entries.at += n as u64;
        }
        self.at += n as u64;
        Ok(n)
    }
}
