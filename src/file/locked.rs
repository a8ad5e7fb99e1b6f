//! Locks between processes. The system releases them when their process ends.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use super::regular::{is_at, open_regular};
use crate::error::{Error, Result};

/// Takes the lock at `path`, which is created where it is missing; `None` while
/// another process has it. Dropping the file releases it. Any process that may
/// read the file can take the lock, so a caller that waits has to print that.
///
/// # Errors
/// [`Error::Io`]; [`Error::Malformed`] for anything but a regular file.
pub fn try_lock(path: &Path) -> Result<Option<File>> {
    let failed = |e| Error::io(path.display().to_string(), e);
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false);
    let file = open_regular(&mut options, path).map_err(failed)?;
    let file = file
        .ok_or_else(|| Error::malformed(path.display().to_string(), "it is not a regular file"))?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(e)) => Err(failed(e)),
    }
}

/// Takes the lock of a folder, and waits for it; `None` where folders can't be
/// locked, as on some network file systems.
pub fn lock_folder(folder: &Path) -> Option<File> {
    let folder = File::open(folder).ok()?;
    folder.lock().ok()?;
    Some(folder)
}

/// Opens the file at `path`, to read and write, for this process alone; creates
/// it with `mode` where it is missing.
///
/// # Errors
/// [`Error::Io`]; [`Error::Busy`] while another process has it;
/// [`Error::Unsupported`] for a file that another user could have made or could
/// change: a link, a file with a second name, another user's file.
pub fn own(path: &Path, mode: u32) -> Result<File> {
    let failed = |e| Error::io(path.display().to_string(), e);
    let unfit = |why: &str| Error::Unsupported {
        what: format!("{}: {why}", path.display()),
    };
    loop {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let file = open_regular(options.mode(mode), path).map_err(failed)?;
        let file = file.ok_or_else(|| unfit("is not a regular file"))?;
        if let Err(e) = file.try_lock() {
            return Err(match e {
                TryLockError::WouldBlock => Error::Busy {
                    what: path.display().to_string(),
                    why: "another process is writing it".to_string(),
                },
                TryLockError::Error(e) => failed(e),
            });
        }
        // It may have got its final name meanwhile.
        if !is_at(&file, path) {
            continue;
        }
        let meta = file.metadata().map_err(failed)?;
        return match distrust((meta.uid(), meta.nlink())) {
            None => Ok(file),
            Some(why) => Err(unfit(why)),
        };
    }
}

/// Why a file of this owner, with so many names, is not to be written to.
fn distrust((owner, links): (u32, u64)) -> Option<&'static str> {
    if owner != rustix::process::geteuid().as_raw() {
        return Some("belongs to another user; remove it");
    }
    (links > 1).then_some("is a hard link to another file; remove it")
}

/// Locks a file that was made under a name that no other process knows yet; whether
/// it still has that name. A sweep that came between has removed it.
pub(super) fn keep(file: &File, path: &Path) -> bool {
    // Where nothing can be locked nothing is swept either.
    !matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)) && is_at(file, path)
}

/// Whether a process has the file open that it is making.
pub(super) fn is_kept(file: &File) -> io::Result<bool> {
    match file.try_lock() {
        Ok(()) => Ok(false),
        Err(TryLockError::WouldBlock) => Ok(true),
        Err(TryLockError::Error(e)) => Err(e),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    #[test]
    fn a_file_that_others_reach_is_not_written() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let said = |name: &str| own(&at(name), 0o600).unwrap_err().to_string();
        let first = own(&at("file"), 0o600).unwrap();
        assert_eq!(
            first.metadata().unwrap().permissions().mode() & 0o777,
            0o600
        );
        assert!(said("file").ends_with("another process is writing it"));
        drop(first);
        own(&at("file"), 0o600).unwrap();
        symlink("file", at("link")).unwrap();
        assert!(said("link").ends_with("is not a regular file"));
        fs::hard_link(at("file"), at("second")).unwrap();
        assert!(said("second").contains("hard link"));
        let me = rustix::process::geteuid().as_raw();
        assert_eq!(distrust((me, 1)), None);
        assert!(distrust((me + 1, 1)).unwrap().contains("another user"));
    }

    #[test]
    fn locks_are_files_and_no_links() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        fs::write(&path, "").unwrap();
        let held = try_lock(&path).unwrap().unwrap();
        assert!(try_lock(&path).unwrap().is_none());
        drop(held);
        let new = dir.path().join("new");
        assert!(try_lock(&new).unwrap().is_some() && try_lock(&path).unwrap().is_some());
        symlink("lock", dir.path().join("link")).unwrap();
        assert!(try_lock(&dir.path().join("link")).is_err());
        assert!(lock_folder(dir.path()).is_some());
        assert!(lock_folder(&dir.path().join("missing")).is_none());
    }

    #[test]
    fn a_file_that_got_its_name_is_not_opened_again() {
        let dir = tempfile::tempdir().unwrap();
        let (aside, place) = (dir.path().join("out.partial"), dir.path().join("out"));
        let file = File::create(&aside).unwrap();
        assert!(keep(&file, &aside));
        fs::rename(&aside, &place).unwrap();
        assert!(!keep(&file, &aside));
        fs::write(&aside, "").unwrap();
        assert!(!keep(&file, &aside) && keep(&file, &place));
    }
}
