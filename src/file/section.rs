//! A section of an open file, read by any number of readers at once.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use crate::error::{Error, Result};

/// A section of an open file. Holding the file open keeps the bytes the same
/// when another one is put in its place.
#[derive(Clone)]
pub struct Section {
    file: Arc<File>,
    start: u64,
    len: u64,
}

impl Section {
    /// `len` bytes of `file` from offset `start`.
    pub fn new(file: Arc<File>, start: u64, len: u64) -> Section {
        Section { file, start, len }
    }

    /// The whole of an open file, as long as it is now.
    ///
    /// # Errors
    /// [`Error::Io`] when its length can't be asked for.
    pub fn whole(file: File) -> Result<Section> {
        let len = file.metadata().map_err(Error::from)?.len();
        Ok(Section::new(Arc::new(file), 0, len))
    }

    /// `len` bytes from offset `start` of this section, where that is inside.
    pub fn part(&self, start: u64, len: u64) -> Option<Section> {
        let end = start.checked_add(len)?;
        let start = self.start.saturating_add(start);
        (end <= self.len).then(|| Section::new(self.file.clone(), start, len))
    }

    /// The length, bytes.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether there is not one byte.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// A reader from offset `from`.
    pub fn reader(&self, from: u64) -> SectionReader {
        SectionReader {
            section: self.clone(),
            at: from.min(self.len),
        }
    }
}

/// Reads a [`Section`] without touching the file's own position, so that any
/// number of readers share one file.
pub struct SectionReader {
    section: Section,
    at: u64,
}

impl SectionReader {
    /// Leaves out the next `count` bytes.
    ///
    /// # Errors
    /// [`io::ErrorKind::UnexpectedEof`] when there are fewer.
    pub fn skip(&mut self, count: u64) -> io::Result<()> {
        match self.at.checked_add(count) {
            Some(at) if at <= self.section.len => {
                self.at = at;
                Ok(())
            }
            _ => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}

impl Read for SectionReader {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let left = self.section.len - self.at;
        let room = buf.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        if room == 0 {
            return Ok(0);
        }
        let n = self
            .section
            .file
            .read_at(&mut buf[..room], self.section.start.saturating_add(self.at))?;
        if n == 0 {
            // The file was cut after its length was taken.
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.at += n as u64;
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_cut_meanwhile_is_no_clean_end() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(10).unwrap();
        let whole = Section::whole(file.try_clone().unwrap()).unwrap();
        file.set_len(3).unwrap();
        let failed = whole.reader(0).read_to_end(&mut Vec::new()).unwrap_err();
        assert_eq!(failed.kind(), io::ErrorKind::UnexpectedEof);
    }
}
