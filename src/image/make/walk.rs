//! Files and folders of this machine, as they are to be put into a layer.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::pattern::{Pattern, excludes, may_take_in};
use crate::error::{Error, Result};
use crate::file::Stamp;
use crate::image::name::join;

/// Something that was found.
pub(super) struct Found {
    /// Its name below where the walk began; empty for that itself.
    pub below: Vec<u8>,
    /// What it is.
    pub what: What,
    /// What the system says of it.
    pub seen: Seen,
    /// A program's capabilities, as the system keeps them.
    pub capability: Option<Vec<u8>>,
}

/// What was found.
pub(super) enum What {
    File(PathBuf),
    Folder,
    /// A link, and what it points at.
    Symlink(Vec<u8>),
}

/// What the system says of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Seen {
    /// Which file, and which state of it.
    pub stamp: Stamp,
    pub links: u64,
    pub mode: u32,
    pub owner: (u32, u32),
}

impl Seen {
    fn of(meta: &Metadata) -> Seen {
        Seen {
            stamp: Stamp::of(meta),
            links: meta.nlink(),
            mode: meta.mode() & 0o7777,
            owner: (meta.uid(), meta.gid()),
        }
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
        let capability = match what {
            What::File(_) => capability(path).map_err(|e| failed(path, e))?,
            _ => None,
        };
        let seen = Seen::of(meta);
        (self.each)(Found {
            below,
            what,
            seen,
            capability,
        })
    }
}

/// The capabilities of a program (capabilities(7)); a layer without them makes
/// it one that can't do its work.
fn capability(path: &Path) -> io::Result<Option<Vec<u8>>> {
    use rustix::io::Errno;
    // vfs_cap_data has 24 bytes at most.
    let mut value = [0; 64];
    match rustix::fs::lgetxattr(path, c"security.capability", &mut value) {
        Ok(len) => Ok(Some(value[..len].to_vec())),
        Err(Errno::NODATA | Errno::NOTSUP | Errno::NOSYS | Errno::PERM) => Ok(None),
        Err(e) => Err(e.into()),
    }
}

fn failed(path: &Path, error: io::Error) -> Error {
    Error::io(path.display().to_string(), error)
}
