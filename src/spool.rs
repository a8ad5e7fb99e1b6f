//! Bytes set aside in a file without a name, read again as a source.
//!
//! The system forgets such a file with its last handle, so nothing is left
//! behind however the process ends. The caller says in which folder, because
//! `/tmp` is memory on many machines. Knows nothing of what the bytes mean.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use crate::blob::Source;
use crate::error::{Error, Result};

/// A file being filled.
pub struct Spool {
    file: File,
    len: u64,
}

impl Spool {
    /// An empty file in `folder`.
    ///
    /// # Errors
    /// [`Error::Io`] naming the folder.
    pub fn new(folder: &Path) -> Result<Spool> {
        let file = tempfile::tempfile_in(folder)
            .map_err(|e| Error::io(format!("temporary file in {}", folder.display()), e))?;
        Ok(Spool { file, len: 0 })
    }

    /// The bytes written so far, to be read from now on.
    pub fn finish(self) -> Stretch {
        Stretch::new(Arc::new(self.file), 0, self.len)
    }
}

impl Write for Spool {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = self.file.write(bytes)?;
        self.len += n as u64;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// A stretch of an open file. Holding the file open keeps the bytes the same
/// when another one is put in its place.
#[derive(Clone)]
pub struct Stretch {
    file: Arc<File>,
    start: u64,
    len: u64,
}

impl Stretch {
    /// `len` bytes of `file` from offset `start`.
    pub fn new(file: Arc<File>, start: u64, len: u64) -> Stretch {
        Stretch { file, start, len }
    }

    /// The whole of an open file, as long as it is now.
    ///
    /// # Errors
    /// [`Error::Io`] when its length can't be asked for.
    pub fn whole(file: File) -> Result<Stretch> {
        let len = file.metadata().map_err(Error::from)?.len();
        Ok(Stretch::new(Arc::new(file), 0, len))
    }

    /// `len` bytes from offset `start` of this stretch, where that is inside.
    pub fn part(&self, start: u64, len: u64) -> Option<Stretch> {
        let end = start.checked_add(len)?;
        let start = self.start.saturating_add(start);
        (end <= self.len).then(|| Stretch::new(self.file.clone(), start, len))
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
    pub fn reader(&self, from: u64) -> StretchReader {
        StretchReader {
            stretch: self.clone(),
            at: from.min(self.len),
        }
    }
}

impl Source for Stretch {
    fn open(&self, from: u64) -> Result<Box<dyn Read + Send + '_>> {
        Ok(Box::new(self.reader(from)))
    }
}

/// Reads a [`Stretch`] without touching the file's own position, so that any
/// number of readers share one file.
pub struct StretchReader {
    stretch: Stretch,
    at: u64,
}

impl StretchReader {
    /// Leaves out the next `count` bytes.
    ///
    /// # Errors
    /// [`io::ErrorKind::UnexpectedEof`] when there are fewer.
    pub fn skip(&mut self, count: u64) -> io::Result<()> {
        match self.at.checked_add(count) {
            Some(at) if at <= self.stretch.len => {
                self.at = at;
                Ok(())
            }
            _ => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}

impl Read for StretchReader {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let left = self.stretch.len - self.at;
        let room = buf.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        if room == 0 {
            return Ok(0);
        }
        let n = self
            .stretch
            .file
            .read_at(&mut buf[..room], self.stretch.start.saturating_add(self.at))?;
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

    fn text(stretch: &Stretch, from: u64) -> String {
        let mut out = String::new();
        stretch
            .open(from)
            .unwrap()
            .read_to_string(&mut out)
            .unwrap();
        out
    }

    #[test]
    fn what_is_spooled_is_read_in_parts_and_leaves_no_name() {
        let dir = tempfile::tempdir().unwrap();
        let mut spool = Spool::new(dir.path()).unwrap();
        spool.write_all(b"hello world").unwrap();
        assert_eq!(dir.path().read_dir().unwrap().count(), 0);
        let all = spool.finish();
        assert_eq!((all.len(), text(&all, 6)), (11, "world".into()));
        let part = all.part(2, 5).unwrap();
        assert_eq!(
            (text(&part, 0), text(&part, 9)),
            ("llo w".into(), "".into())
        );
        assert!(part.part(1, 4).is_some() && part.part(1, 5).is_none());
        assert!(all.part(u64::MAX, 2).is_none());
        let mut reader = all.reader(0);
        reader.skip(11).unwrap();
        assert!(reader.skip(1).is_err());
    }

    #[test]
    fn a_file_cut_meanwhile_is_no_clean_end() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(10).unwrap();
        let whole = Stretch::whole(file.try_clone().unwrap()).unwrap();
        file.set_len(3).unwrap();
        let failed = whole.reader(0).read_to_end(&mut Vec::new()).unwrap_err();
        assert_eq!(failed.kind(), io::ErrorKind::UnexpectedEof);
    }
}
