//! Bytes set aside in a file without a name, read again as a [`Section`].
//!
//! The system forgets such a file with its last handle, so nothing is left
//! over, however the process ends. The caller says in which folder, because
//! `/tmp` is memory on many machines.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

use super::Section;
use crate::error::{Error, Result};

/// What errors call a file without a name in `folder`, such as a [`Spool`].
pub(crate) fn spool_name(folder: &Path) -> String {
    format!("temporary file in {}", folder.display())
}

/// An empty file without a name in `folder`.
///
/// # Errors
/// [`Error::Io`] naming the folder.
pub(crate) fn unnamed(folder: &Path) -> Result<File> {
    tempfile::tempfile_in(folder).map_err(|e| Error::io(spool_name(folder), e))
}

/// A file being filled.
pub struct Spool {
    file: Arc<File>,
    len: u64,
}

impl Spool {
    /// An empty file in `folder`.
    ///
    /// # Errors
    /// [`Error::Io`] naming the folder.
    pub fn new(folder: &Path) -> Result<Spool> {
        let file = Arc::new(unnamed(folder)?);
        Ok(Spool { file, len: 0 })
    }

    /// The bytes written so far, to be read from now on.
    pub fn finish(self) -> Section {
        self.so_far()
    }

    /// The bytes written so far; more may follow.
    pub fn so_far(&self) -> Section {
        Section::new(self.file.clone(), 0, self.len)
    }
}

impl Write for Spool {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = (&*self.file).write(bytes)?;
        self.len += n as u64;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        (&*self.file).flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    fn text(section: &Section, from: u64) -> String {
        let mut out = String::new();
        section.reader(from).read_to_string(&mut out).unwrap();
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
}
