//! Files that must not change while they are read: their digest was taken
//! before, and sending something else would only be found out at the end.

use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

use super::regular::open_followed;
use super::{Section, SectionReader};
use crate::error::{Error, Result};

/// What tells one state of a file from another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stamp {
    /// Device and inode: the same for two names of one file.
    pub id: (u64, u64),
    /// The length, bytes.
    pub len: u64,
    /// Last change of the bytes, in seconds since 1970 and their billionths.
    pub modified: (i64, i64),
}

impl Stamp {
    /// The state that the system reports.
    pub fn of(meta: &Metadata) -> Stamp {
        Stamp {
            id: (meta.dev(), meta.ino()),
            len: meta.len(),
            modified: (meta.mtime(), meta.mtime_nsec()),
        }
    }
}

/// An open regular file that must not change.
#[derive(Debug)]
pub struct Stable {
    what: String,
    file: Arc<File>,
    stamp: Stamp,
}

impl Stable {
    /// Opens the file that `path` leads to.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Unsupported`] for anything but a regular file.
    pub fn open(path: &Path) -> Result<Stable> {
        let what = path.display().to_string();
        let failed = |e| Error::io(&what, e);
        let file = open_followed(path).map_err(failed)?;
        let file = file.ok_or_else(|| Error::Unsupported {
            what: format!("{what}: not a regular file"),
        })?;
        let stamp = Stamp::of(&file.metadata().map_err(failed)?);
        let file = Arc::new(file);
        Ok(Stable { what, file, stamp })
    }

    /// The same, for a file whose state was noted before.
    ///
    /// # Errors
    /// As [`Stable::open`], and as [`Stable::check`].
    pub fn reopen(path: &Path, stamp: Stamp) -> Result<Stable> {
        let file = Stable {
            stamp,
            ..Stable::open(path)?
        };
        file.check().map(|()| file)
    }

    /// The state it must stay in.
    pub fn stamp(&self) -> Stamp {
        self.stamp
    }

    /// All of it, as long as it was at first.
    pub fn whole(&self) -> Section {
        self.section(0, self.stamp.len)
    }

    /// `len` bytes of it from `offset` on.
    pub fn section(&self, offset: u64, len: u64) -> Section {
        Section::new(self.file.clone(), offset, len)
    }

    /// A reader of a section of it that fails at its end if the file changed.
    pub fn reader(self: &Arc<Self>, section: &Section, from: u64) -> StableReader {
        StableReader {
            bytes: section.reader(from),
            file: self.clone(),
        }
    }

    /// Whether it is unchanged.
    ///
    /// # Errors
    /// [`Error::ChangedWhileRead`], [`Error::Io`].
    pub fn check(&self) -> Result<()> {
        let now = self.file.metadata().map_err(|e| Error::io(&self.what, e))?;
        if Stamp::of(&now) == self.stamp {
            return Ok(());
        }
        Err(self.changed())
    }

    /// The error for a file that changed.
    pub fn changed(&self) -> Error {
        let what = self.what.clone();
        Error::ChangedWhileRead { what }
    }
}

/// Reads from a [`Stable`] file.
pub struct StableReader {
    bytes: SectionReader,
    file: Arc<Stable>,
}

impl Read for StableReader {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let read = self.bytes.read(buf);
        if !matches!(read, Ok(1..)) {
            self.file.check()?;
        }
        read
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn changed(path: &Path, change: impl FnOnce()) -> [String; 2] {
        fs::write(path, "hello world").unwrap();
        let file = Arc::new(Stable::open(path).unwrap());
        let stamp = file.stamp();
        let mut reader = file.reader(&file.section(0, 5), 2);
        let mut all = String::new();
        let whole = || file.reader(&file.whole(), 0);
        whole().read_to_string(&mut all).unwrap();
        assert_eq!(all, "hello world");
        reader.read_exact(&mut [0; 2]).unwrap();
        change();
        let read = reader.read_to_end(&mut Vec::new()).unwrap_err();
        [
            read.to_string(),
            Stable::reopen(path, stamp).unwrap_err().to_string(),
        ]
    }

    #[test]
    fn every_change_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        let open = || File::options().write(true).open(&path).unwrap();
        let before = fs::FileTimes::new().set_modified(std::time::UNIX_EPOCH);
        let cut = changed(&path, || open().set_len(3).unwrap());
        let grown = changed(&path, || open().set_len(30).unwrap());
        let touched = changed(&path, || open().set_times(before).unwrap());
        for said in cut.iter().chain(&grown).chain(&touched) {
            assert!(said.ends_with("f: changed while it was read"), "{said}");
        }
        // Another file of the same length and time.
        let stable = Stable::open(&path).unwrap();
        let at = stable.file.metadata().unwrap().modified().unwrap();
        let other = dir.path().join("other");
        fs::write(&other, "hello world").unwrap();
        File::open(&other).unwrap().set_modified(at).unwrap();
        fs::rename(&other, &path).unwrap();
        stable.check().unwrap();
        assert!(Stable::reopen(&path, stable.stamp()).is_err());
        assert!(Stable::open(dir.path()).is_err());
    }
}
