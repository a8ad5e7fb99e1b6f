//! Chunks of several connections that arrived before their turn: in a file without
//! a name, so that they take no memory, or in memory where there is no folder for one.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::chunk::shape;
use super::hashing::read_full;
use crate::error::{Error, Result};
use crate::file::{spool_name, unnamed};
use crate::stream::BUFFER;

/// What waits in a file, all connections together, bytes.
const IN_FILE: u64 = 32 << 20;
/// What waits in memory.
const IN_MEMORY: u64 = 8 << 20;

/// A place for what arrives before its turn.
pub struct Waiting {
    file: Option<(File, PathBuf)>,
    /// How many fetch at once.
    pub workers: usize,
    /// The most that each fetches at a time, bytes.
    pub most: u64,
    spare: Mutex<Spare>,
    /// Whether the file could not be written or read.
    broken: AtomicBool,
}

/// What was used and is free again.
#[derive(Default)]
struct Spare {
    buffers: Vec<Vec<u8>>,
    /// Where in the file there is room for a chunk.
    places: Vec<u64>,
    /// The end of the file.
    end: u64,
}

/// A chunk that arrived.
pub enum Held {
    /// In memory.
    Memory(Vec<u8>),
    /// So many bytes in the file, from a place on.
    File(u64, u64),
}

impl Waiting {
    /// A place for `jobs` connections: in a file in `folder`, or in memory if there can
    /// be none.
    pub fn new(jobs: usize, folder: Option<&Path>) -> Waiting {
        // Several connections are an advantage and no need, so it is no error.
        let file = folder.and_then(|at| Some((unnamed(at).ok()?, at.to_path_buf())));
        let held = if file.is_some() { IN_FILE } else { IN_MEMORY };
        let (workers, most) = shape(jobs, held);
        Waiting {
            file,
            workers,
            most,
            spare: Mutex::default(),
            broken: AtomicBool::new(false),
        }
    }

    /// Whether it was the file that failed, such as on a full disk.
    pub fn is_broken(&self) -> bool {
        self.broken.load(Ordering::SeqCst)
    }

    fn spare(&self) -> MutexGuard<'_, Spare> {
        // Lists stay whole even after a panic in another thread.
        self.spare.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn buffer(&self, len: u64) -> Vec<u8> {
        let mut buffer = self.spare().buffers.pop().unwrap_or_default();
        // No chunk is larger than what shape() allows.
        buffer.resize(len as usize, 0);
        buffer
    }

    fn failed(&self, error: io::Error) -> Error {
        self.broken.store(true, Ordering::SeqCst);
        let folder = self.file.as_ref().map(|(_, folder)| spool_name(folder));
        Error::io(folder.unwrap_or_default(), error)
    }

    /// Reads `len` bytes, or as many as there are, and says how many those were; `what`
    /// is what they are called in errors.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn fill(&self, what: &str, from: &mut dyn Read, len: u64) -> Result<(Held, u64)> {
        let failed = |e| Error::io(what, e);
        let Some((file, _)) = self.file.as_ref().filter(|_| len > BUFFER as u64) else {
            let mut bytes = self.buffer(len);
            let n = read_full(from, &mut bytes).map_err(failed)?;
            return Ok((Held::Memory(bytes), n as u64));
        };
        let place = self.place();
        let (mut buffer, mut done) = (self.buffer(BUFFER as u64), 0);
        while done < len {
            let room = buffer.len().min((len - done) as usize);
            let n = read_full(from, &mut buffer[..room]).map_err(failed)?;
            let written = file.write_all_at(&buffer[..n], place + done);
            written.map_err(|e| self.failed(e))?;
            done += n as u64;
            if n < room {
                break;
            }
        }
        self.spare().buffers.push(buffer);
        Ok((Held::File(place, len), done))
    }

    /// Room for a chunk in the file.
    fn place(&self) -> u64 {
        let mut spare = self.spare();
        if let Some(place) = spare.places.pop() {
            return place;
        }
        spare.end += self.most;
        spare.end - self.most
    }

    /// Hands the bytes of a chunk to `to`, in order, and forgets it.
    ///
    /// # Errors
    /// [`Error::Io`]; those of `to`.
    pub fn give(&self, held: Held, mut to: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
        let (place, len) = match held {
            Held::Memory(bytes) => {
                to(&bytes)?;
                self.spare().buffers.push(bytes);
                return Ok(());
            }
            Held::File(place, len) => (place, len),
        };
        let Some((file, _)) = &self.file else {
            return Ok(());
        };
        let (mut buffer, mut done) = (self.buffer(BUFFER as u64), 0);
        while done < len {
            let room = buffer.len().min((len - done) as usize);
            let read = file.read_exact_at(&mut buffer[..room], place + done);
            read.map_err(|e| self.failed(e))?;
            to(&buffer[..room])?;
            done += room as u64;
        }
        let mut spare = self.spare();
        spare.buffers.push(buffer);
        spare.places.push(place);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(len: usize, of: u8) -> Vec<u8> {
        (0..len).map(|i| (i * 31) as u8 ^ of).collect()
    }

    #[test]
    fn chunks_come_back_from_memory_and_file() {
        let dir = tempfile::tempdir().unwrap();
        for folder in [None, Some(dir.path())] {
            let waiting = Waiting::new(4, folder);
            for round in 0..3 {
                let sizes = [0, 10, BUFFER, BUFFER + 1, 3 * BUFFER];
                let chunks = sizes.map(|len| bytes(len, round));
                let held: Vec<Held> = chunks
                    .iter()
                    .map(|chunk| {
                        let len = chunk.len() as u64;
                        let (held, n) = waiting.fill("x", &mut &chunk[..], len).unwrap();
                        assert_eq!(n, len);
                        held
                    })
                    .collect();
                for (held, chunk) in held.into_iter().zip(&chunks) {
                    let mut got = Vec::new();
                    let take = |part: &[u8]| {
                        got.extend_from_slice(part);
                        Ok(())
                    };
                    waiting.give(held, take).unwrap();
                    assert!(got == *chunk);
                }
            }
            // What is given makes room for others.
            let file = waiting.file.as_ref();
            let size = file.map_or(0, |(file, _)| file.metadata().unwrap().len());
            assert!(size <= 2 * waiting.most, "{size}");
        }
        assert_eq!(dir.path().read_dir().unwrap().count(), 0);
    }

    #[test]
    fn what_is_cut_short_is_told() {
        let dir = tempfile::tempdir().unwrap();
        for folder in [None, Some(dir.path())] {
            let waiting = Waiting::new(4, folder);
            let (_, n) = waiting.fill("x", &mut &[1; 400_000][..], 500_000).unwrap();
            assert_eq!(n, 400_000);
        }
    }

    #[test]
    fn a_file_that_fails_is_told_from_the_connection() {
        struct Cut;
        impl Read for Cut {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::ErrorKind::ConnectionReset.into())
            }
        }
        let dir = tempfile::tempdir().unwrap();
        let mut waiting = Waiting::new(4, Some(dir.path()));
        let len = 2 * BUFFER;
        assert!(waiting.fill("x", &mut Cut, len as u64).is_err() && !waiting.is_broken());
        // One that can't be written.
        std::fs::write(dir.path().join("f"), "").unwrap();
        let file = File::open(dir.path().join("f")).unwrap();
        waiting.file = Some((file, dir.path().to_path_buf()));
        let failed = waiting.fill("x", &mut &bytes(len, 0)[..], len as u64);
        let said = failed.err().unwrap().to_string();
        assert!(
            said.contains("temporary file in") && waiting.is_broken(),
            "{said}"
        );
    }

    #[test]
    fn without_a_folder_less_is_fetched_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let missing = dir.path().join("missing");
        for (folder, most) in [
            (Some(dir.path()), 4 << 20),
            (Some(missing.as_path()), 1 << 20),
            (None, 1 << 20),
        ] {
            let waiting = Waiting::new(8, folder);
            assert_eq!((waiting.workers, waiting.most), (8, most));
        }
    }
}
