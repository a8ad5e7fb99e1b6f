//! Files and folders of this machine, as they are to be put into a layer.

use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::pattern::{Pattern, excludes, may_take_in};
use crate::error::{Error, Result};
use crate::image::name::join;

/// Something that was found.
pub(super) struct Found {
    /// Its name below where the walk began; empty for that itself.
    pub below: Vec<u8>,
    /// What it is.
    pub what: What,
    /// What the system says of it.
    pub seen: Seen,
}

/// What was found.
pub(super) enum What {
    File(PathBuf),
    Folder,
    /// A link, and what it points at.
    Symlink(Vec<u8>),
}

/// What the system says of a file; when that changes, so did the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Seen {
    /// Device and inode: the same for two names of one file.
    pub id: (u64, u64),
    pub links: u64,
    pub size: u64,
    pub mode: u32,
    pub owner: (u32, u32),
    /// Last change, in seconds since 1970 and their billionths.
    pub modified: (i64, i64),
}

impl Seen {
    fn of(meta: &Metadata) -> Seen {
        Seen {
            id: (meta.dev(), meta.ino()),
            links: meta.nlink(),
            size: meta.len(),
            mode: meta.mode() & 0o7777,
            owner: (meta.uid(), meta.gid()),
            modified: (meta.mtime(), meta.mtime_nsec()),
        }
    }

    /// Whether it is the same file with the same bytes.
    fn is_still(&self, meta: &Metadata) -> bool {
        let now = Seen::of(meta);
        (self.id, self.size, self.modified) == (now.id, now.size, now.modified)
    }
}

/// Hands `src` and, where it is a folder, all that is in it to `each`, but for
/// what the patterns leave out. Links are not followed.
pub(super) fn walk(
    src: &Path,
    exclude: &[Pattern],
    each: &mut dyn FnMut(Found) -> Result<()>,
) -> Result<()> {
    let meta = fs::symlink_metadata(src).map_err(|e| failed(src, e))?;
    let mut walk = Walk { exclude, each };
    if meta.is_dir() {
        walk.folder(src, &[], false)?;
    }
    walk.take(src, Vec::new(), &meta)
}

struct Walk<'a> {
    exclude: &'a [Pattern],
    each: &'a mut dyn FnMut(Found) -> Result<()>,
}

impl Walk<'_> {
    /// All that is in a folder; whether that was anything.
    fn folder(&mut self, path: &Path, below: &[u8], skipped: bool) -> Result<bool> {
        let mut any = false;
        for entry in fs::read_dir(path).map_err(|e| failed(path, e))? {
            let entry = entry.map_err(|e| failed(path, e))?;
            let below = join(below, entry.file_name().as_bytes());
            let out = !self.exclude.is_empty()
                && excludes(self.exclude, &String::from_utf8_lossy(&below));
            let path = entry.path();
            let meta = fs::symlink_metadata(&path).map_err(|e| failed(&path, e))?;
            let mut wanted = !out;
            if meta.is_dir() && (!out || may_take_in(self.exclude)) {
                wanted |= self.folder(&path, &below, out)?;
            }
            if wanted {
                self.take(&path, below, &meta)?;
                any = true;
            }
        }
        Ok(any && skipped)
    }

    fn take(&mut self, path: &Path, below: Vec<u8>, meta: &Metadata) -> Result<()> {
        let kind = meta.file_type();
        let what = if kind.is_dir() {
            What::Folder
        } else if kind.is_file() {
            What::File(path.to_path_buf())
        } else if kind.is_symlink() {
            let target = fs::read_link(path).map_err(|e| failed(path, e))?;
            What::Symlink(target.into_os_string().into_vec())
        } else {
            let what = format!(
                "{}: a layer takes files, folders and symbolic links, no sockets, pipes or devices; exclude it",
                path.display()
            );
            return Err(Error::Unsupported { what });
        };
        let seen = Seen::of(meta);
        (self.each)(Found { below, what, seen })
    }
}

fn failed(path: &Path, error: io::Error) -> Error {
    Error::io(path.display().to_string(), error)
}

/// Reads a file that has to be what it was when it was found.
pub(super) struct Unchanged<'a> {
    file: File,
    path: &'a Path,
    seen: &'a Seen,
}

impl<'a> Unchanged<'a> {
    pub fn open(path: &'a Path, seen: &'a Seen) -> Result<Unchanged<'a>> {
        let file = File::open(path).map_err(|e| failed(path, e))?;
        let reader = Unchanged { file, path, seen };
        reader.check()?;
        Ok(reader)
    }

    fn check(&self) -> Result<()> {
        let meta = self.file.metadata().map_err(|e| failed(self.path, e))?;
        if self.seen.is_still(&meta) {
            return Ok(());
        }
        let what = format!("{}: changed while it was read", self.path.display());
        Err(Error::Unsupported { what })
    }
}

impl Read for Unchanged<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.file.read(buf)?;
        if n == 0 {
            self.check()?;
        }
        Ok(n)
    }
}
