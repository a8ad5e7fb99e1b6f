//! One blob from a reader to a writer, hashed on a thread of its own: hashing
//! takes longer than a local wire or a disk.

use std::io::{self, Read, Write};

use crate::digest::Hasher;
use crate::error::{Error, Result};
use crate::fetch::Wanted;
use crate::parallel::{Pipe, beside};
use crate::stream::BUFFER;

/// Buffers between reading and hashing.
const BUFFERS: usize = 4;

/// A buffer, and how many of its bytes count.
type Filled = (Vec<u8>, usize);

/// A blob on its way from a reader to a writer.
pub struct Pump {
    wanted: Wanted,
    pub size: Option<u64>,
    hasher: Hasher,
    seen: u64,
}

impl Pump {
    pub fn new(wanted: Wanted, size: Option<u64>, hasher: Hasher, seen: u64) -> Pump {
        Pump {
            wanted,
            size,
            hasher,
            seen,
        }
    }

    pub fn run(&mut self, from: &mut dyn Read, (name, to): (&str, &mut dyn Write)) -> Result<()> {
        let mut first = vec![0; BUFFER];
        let n = self.fill(from, &mut first)?;
        if n < first.len() {
            // Small enough that a thread would cost more than it saves.
            self.hasher.update(&first[..n]);
            return to.write_all(&first[..n]).map_err(|e| Error::io(name, e));
        }
        let (full, free) = (Pipe::new(BUFFERS), Pipe::new(BUFFERS));
        for _ in 1..BUFFERS {
            // There is room for all of them.
            let _ = free.send(vec![0; BUFFER]);
        }
        let mut hasher = self.hasher.clone();
        let (hasher, moved) = beside(
            || {
                while let Some((buffer, n)) = full.receive() {
                    let buffer: Vec<u8> = buffer;
                    hasher.update(&buffer[..n]);
                    let _ = free.send(buffer);
                }
                hasher
            },
            || {
                let moved = self.hand_over((first, n), from, (name, to), (&full, &free));
                full.close();
                moved
            },
        );
        self.hasher = hasher;
        moved
    }

    fn hand_over(
        &mut self,
        first: Filled,
        from: &mut dyn Read,
        (name, to): (&str, &mut dyn Write),
        (full, free): (&Pipe<Filled>, &Pipe<Vec<u8>>),
    ) -> Result<()> {
        let (mut buffer, mut n) = first;
        while n > 0 {
            to.write_all(&buffer[..n]).map_err(|e| Error::io(name, e))?;
            if full.send((buffer, n)).is_err() {
                break;
            }
            let Some(next) = free.receive() else { break };
            buffer = next;
            n = self.fill(from, &mut buffer)?;
        }
        Ok(())
    }

    /// Reads until `buffer` is full or everything is read; refuses bytes beyond
    /// the size.
    fn fill(&mut self, from: &mut dyn Read, buffer: &mut [u8]) -> Result<usize> {
        let mut n = 0;
        while n < buffer.len() {
            match from.read(&mut buffer[n..]) {
                Ok(0) => break,
                Ok(more) => n += more,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(Error::io(self.wanted.digest.to_string(), e)),
            }
        }
        self.seen += n as u64;
        match self.size {
            Some(size) if self.seen > size => Err(self.wrong_size(size)),
            _ => Ok(n),
        }
    }

    pub fn conclude(self) -> Result<u64> {
        if let Some(size) = self.size.filter(|size| *size != self.seen) {
            return Err(self.wrong_size(size));
        }
        match self.hasher.finish() {
            actual if actual == self.wanted.digest => Ok(self.seen),
            actual => Err(Error::mismatch(self.wanted.digest, actual)),
        }
    }

    fn wrong_size(&self, expected: u64) -> Error {
        Error::Size {
            what: self.wanted.digest.to_string(),
            expected,
            actual: self.seen,
        }
    }
}
