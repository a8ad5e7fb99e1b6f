//! Folders, made and changed so that they survive a loss of power.

use std::collections::HashMap;
use std::fs::{DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// The mode of a folder that only its owner may look into.
pub const PRIVATE: u32 = 0o700;
/// The mode of a folder for every user, before the umask.
pub const SHARED: u32 = 0o755;

/// Makes the folder `path`, and those above it that are missing, with `mode`.
///
/// # Errors
/// When a folder can't be made, or something else has its name.
pub fn make_folder(path: &Path, mode: u32) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let above = parent(path);
    if above != path {
        make_folder(above, mode)?;
    }
    match DirBuilder::new().mode(mode).create(path) {
        // Another process may have been faster.
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        // That something exists is no reason why it is no folder.
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
            Err(io::ErrorKind::NotADirectory.into())
        }
        Err(e) => Err(e),
        Ok(()) => sync_folder(above),
    }
}

/// Sets when the symbolic link at `path` was last changed, seconds since 1970;
/// zero leaves it unchanged.
///
/// # Errors
/// When it does not exist, or belongs to another user.
pub fn set_link_time(path: &Path, seconds: u64) -> io::Result<()> {
    use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, utimensat};
    if seconds == 0 {
        return Ok(());
    }
    let time = Timespec {
        // Within what every file system keeps.
        tv_sec: u32::try_from(seconds).unwrap_or(u32::MAX).into(),
        tv_nsec: 0,
    };
    let times = Timestamps {
        last_access: time,
        last_modification: time,
    };
    Ok(utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW)?)
}

/// Makes the names in `folder` survive a loss of power.
///
/// # Errors
/// When the disk fails. That a file system can't do it is not an error, and neither
/// is a folder that is missing or can be written to but not read.
pub fn sync_folder(folder: &Path) -> io::Result<()> {
    use io::ErrorKind::{InvalidInput, NotADirectory, NotFound, PermissionDenied, Unsupported};
    super::note("sync folder", folder);
    match File::open(folder).and_then(|folder| folder.sync_all()) {
        Err(e)
            if matches!(
                e.kind(),
                InvalidInput | Unsupported | NotFound | NotADirectory | PermissionDenied
            ) =>
        {
            Ok(())
        }
        other => other,
    }
}

/// Makes everything in `folder` survive a loss of power: files, folders and
/// names. Cheaper than to sync each of many files.
///
/// # Errors
/// When the disk fails, or the folder can't be opened.
pub fn sync_tree(folder: &Path) -> io::Result<()> {
    super::note("sync tree", folder);
    // Whatever else is on that file system goes to the disk too.
    #[cfg(target_os = "linux")]
    rustix::fs::syncfs(File::open(folder)?)?;
    // Elsewhere nothing less waits for the disk.
    #[cfg(not(target_os = "linux"))]
    rustix::fs::sync();
    Ok(())
}

/// Syncs of folders, shared by threads that change the same one: a sync that
/// begins after several renames is enough for all of them. Clones share.
#[derive(Debug, Clone, Default)]
pub struct SharedSync(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    folders: Mutex<HashMap<PathBuf, Count>>,
    changed: Condvar,
}

/// The syncs of one folder, numbered from 1.
#[derive(Debug, Default)]
struct Count {
    begun: u64,
    /// The last that succeeded.
    done: u64,
    is_running: bool,
}

impl SharedSync {
    /// Makes the names that are in `folder` now survive a loss of power.
    ///
    /// # Errors
    /// As [`sync_folder`].
    pub fn sync(&self, folder: &Path) -> io::Result<()> {
        self.share(folder, || sync_folder(folder))
    }

    fn share(&self, folder: &Path, sync: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        let mut folders = self.lock();
        // One that runs already may have missed the newest name.
        let enough = folders.entry(folder.into()).or_default().begun + 1;
        let number = loop {
            let count = folders.entry(folder.into()).or_default();
            if count.done >= enough {
                return Ok(());
            }
            if !count.is_running {
                count.is_running = true;
                count.begun += 1;
                break count.begun;
            }
            let waited = self.0.changed.wait(folders);
            folders = waited.unwrap_or_else(PoisonError::into_inner);
        };
        drop(folders);
        let synced = sync();
        let mut folders = self.lock();
        let count = folders.entry(folder.into()).or_default();
        count.is_running = false;
        if synced.is_ok() {
            count.done = number;
        }
        self.0.changed.notify_all();
        synced
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<PathBuf, Count>> {
        // Numbers stay whole whatever panicked.
        let folders = self.0.folders.lock();
        folders.unwrap_or_else(PoisonError::into_inner)
    }
}

/// The folder that `path` is in; a bare name is in the current one.
pub fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if folder.as_os_str().is_empty() => Path::new("."),
        Some(folder) => folder,
        None => path,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file::trace;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::sync::atomic::{AtomicU64, Ordering};

    #[test]
    fn a_sync_counts_for_all_who_wait_before_it_begins() {
        let (shared, folder) = (SharedSync::default(), Path::new("f"));
        let (syncs, waiting) = (AtomicU64::new(0), AtomicU64::new(0));
        let open = Mutex::new(());
        let slow = || {
            syncs.fetch_add(1, Ordering::SeqCst);
            drop(open.lock());
            Ok(())
        };
        let closed = open.lock();
        std::thread::scope(|scope| {
            let first = scope.spawn(|| shared.share(folder, slow));
            while syncs.load(Ordering::SeqCst) == 0 {
                std::thread::yield_now();
            }
            // These come while the first runs, which may be too early for them.
            let more = [(); 8].map(|()| {
                scope.spawn(|| {
                    waiting.fetch_add(1, Ordering::SeqCst);
                    shared.share(folder, slow)
                })
            });
            while waiting.load(Ordering::SeqCst) < 8 {
                std::thread::yield_now();
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
            drop(closed);
            first.join().unwrap().unwrap();
            for one in more {
                one.join().unwrap().unwrap();
            }
        });
        let made = syncs.load(Ordering::SeqCst);
        assert!((2..9).contains(&made), "{made}");
        let failed = shared.share(folder, || Err(io::Error::other("the disk")));
        assert_eq!(failed.unwrap_err().to_string(), "the disk");
        shared.share(folder, slow).unwrap();
        assert_eq!(syncs.load(Ordering::SeqCst), made + 1);
    }

    #[test]
    fn new_folders_are_private_and_their_names_on_disk() {
        let dir = tempfile::Builder::new().prefix("top").tempdir().unwrap();
        let top = dir.path().file_name().unwrap().to_string_lossy();
        trace::take();
        let path = dir.path().join("a/b");
        make_folder(&path, PRIVATE).unwrap();
        let synced = [format!("sync folder {top}"), "sync folder a".to_string()];
        assert_eq!(trace::take(), synced);
        for made in [path.as_path(), parent(&path)] {
            let mode = fs::metadata(made).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, PRIVATE);
        }
        make_folder(&path, PRIVATE).unwrap();
        assert!(trace::take().is_empty());
        fs::write(dir.path().join("file"), "").unwrap();
        assert!(make_folder(&dir.path().join("file"), SHARED).is_err());
        assert!(make_folder(&dir.path().join("file/below"), SHARED).is_err());
        sync_folder(&dir.path().join("missing")).unwrap();
    }
}
