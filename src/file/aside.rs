//! Files and folders that appear when they are complete: written under a
//! temporary name, `.NAME.XXXXXX.partial`, and renamed.
//!
//! The temporary file is locked as long as its process lives, which is how a
//! sweep tells one that was left from one in use, whatever the clock says.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File, Metadata, Permissions};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use tempfile::{Builder, NamedTempFile, TempDir};

use super::folder::{SharedSync, parent, sync_folder};
use super::locked::{is_kept, keep};
use super::regular::open_regular;
use super::{note, rename, sync_file};

const SUFFIX: &str = ".partial";
/// The characters that make a temporary name a new one.
const RANDOM: usize = 6;
/// Names end at 255 bytes; this much of the target's is in the temporary one.
const STEM: usize = 200;
/// How many links are followed, as in the kernel.
const LINKS: u32 = 40;

/// A file that is being written and has no name yet. Dropped before
/// [`Aside::commit`], it disappears.
#[derive(Debug)]
pub struct Aside {
    temp: NamedTempFile,
    target: PathBuf,
}

impl Aside {
    /// A file to replace what `path` leads to: a link stays one, even one to
    /// nothing yet. It has the permissions of the file it replaces, or those
    /// of any new file. What killed processes left of it is removed.
    ///
    /// # Errors
    /// When the file can't be made, or links lead nowhere.
    pub fn beside(path: &Path) -> io::Result<Aside> {
        Aside::beside_as(path, 0o666)
    }

    /// The same; a file that is new has the permissions `new`, before the umask.
    ///
    /// # Errors
    /// As [`Aside::beside`].
    pub fn beside_as(path: &Path, new: u32) -> io::Result<Aside> {
        let target = follow(path)?;
        let old = fs::metadata(&target).ok();
        let mode = old.as_ref().map(|old| old.mode() & 0o777);
        let folder = parent(&target).to_path_buf();
        let made = Aside::make(&folder, target, mode.unwrap_or(new & 0o777))?;
        if let Some(mode) = mode {
            // The umask is for new files.
            made.file().set_permissions(Permissions::from_mode(mode))?;
        }
        made.sweep(&folder);
        Ok(made)
    }

    /// The same for a file that holds secrets: readable by its owner alone,
    /// from the first byte on, and of the owner it had.
    ///
    /// # Errors
    /// As [`Aside::beside`].
    pub fn private(path: &Path) -> io::Result<Aside> {
        let target = follow(path)?;
        let old = fs::metadata(&target).ok();
        let mode = old.as_ref().map_or(0o600, |old| old.mode() & 0o600);
        let folder = parent(&target).to_path_buf();
        let made = Aside::make(&folder, target, mode)?;
        if let Some(old) = old {
            // Under sudo the file stays its owner's; without the right to give
            // it away it already is. By its handle: in a folder of that owner
            // the name may lead somewhere else by now.
            let _ = fchown(made.file(), Some(old.uid()), Some(old.gid()));
        }
        made.sweep(&folder);
        Ok(made)
    }

    /// A file in `folder` that is to become `target`, on the same file system;
    /// `mode` is its permissions before the umask. No link is followed.
    ///
    /// # Errors
    /// When the file can't be made.
    pub fn within(folder: &Path, target: &Path, mode: u32) -> io::Result<Aside> {
        Aside::make(folder, target.to_path_buf(), mode)
    }

    fn make(folder: &Path, target: PathBuf, mode: u32) -> io::Result<Aside> {
        loop {
            let mut builder = Builder::new();
            builder.permissions(Permissions::from_mode(mode));
            let (prefix, suffix) = (prefix(&target), SUFFIX);
            let temp = builder.prefix(&prefix).suffix(suffix).tempfile_in(folder)?;
            if keep(temp.as_file(), temp.path()) {
                return Ok(Aside { temp, target });
            }
        }
    }

    /// A second name in `folder` for the file `from`, to become `target`.
    ///
    /// # Errors
    /// Where file systems don't allow that, or a sweep came between.
    pub fn link(from: &Path, folder: &Path, target: &Path) -> io::Result<Aside> {
        let prefix = prefix(target);
        let mut builder = Builder::new();
        builder.prefix(&prefix).suffix(SUFFIX);
        let temp = builder.make_in(folder, |to| {
            fs::hard_link(from, to)?;
            let file = open_regular(File::options().read(true), to)
                .map(|file| file.filter(|file| keep(file, to)))
                .and_then(|file| file.ok_or(io::ErrorKind::InvalidInput.into()));
            file.inspect_err(|_| {
                let _ = fs::remove_file(to);
            })
        })?;
        let target = target.to_path_buf();
        Ok(Aside { temp, target })
    }

    fn sweep(&self, folder: &Path) {
        sweep_names(folder, Some(&prefix(&self.target)), false);
    }

    /// The open file.
    pub fn file(&self) -> &File {
        self.temp.as_file()
    }

    /// The same, to be written to.
    pub fn file_mut(&mut self) -> &mut File {
        self.temp.as_file_mut()
    }

    /// The temporary name.
    pub fn path(&self) -> &Path {
        self.temp.path()
    }

    /// The name it gets.
    pub fn target(&self) -> &Path {
        &self.target
    }

    /// Gives the file its name, replacing what had it. When this returns, both
    /// survive a loss of power.
    ///
    /// # Errors
    /// When it can't be written to the disk or renamed; it disappears then.
    pub fn commit(self) -> io::Result<()> {
        self.commit_shared(&SharedSync::default())
    }

    /// The same; threads that put many files into one folder share its sync.
    ///
    /// # Errors
    /// As [`Aside::commit`].
    pub fn commit_shared(self, folders: &SharedSync) -> io::Result<()> {
        sync_file(self.file(), self.path())?;
        let target = self.target.clone();
        self.commit_unsynced()?;
        folders.sync(parent(&target))
    }

    /// The same for what may be lost: an entry of a cache.
    ///
    /// # Errors
    /// When it can't be renamed.
    pub fn commit_unsynced(self) -> io::Result<()> {
        let aside = self.path().to_path_buf();
        note("rename", &self.target);
        let file = self.temp.persist(&self.target).map_err(|e| e.error)?;
        // Renaming one name of a file to another name of the same file does
        // nothing and leaves both (POSIX, rename).
        if file.metadata().is_ok_and(|meta| meta.nlink() > 1) {
            let _ = fs::remove_file(aside);
        }
        Ok(())
    }
}

impl AsRef<Path> for Aside {
    fn as_ref(&self) -> &Path {
        self.path()
    }
}

/// A folder that is being filled and has no name yet. Dropped before
/// [`AsideFolder::commit`], it disappears with all that is in it.
#[derive(Debug)]
pub struct AsideFolder {
    temp: TempDir,
    target: PathBuf,
    _kept: File,
}

impl AsideFolder {
    /// A folder to be at `target`, where nothing is or an empty folder.
    ///
    /// # Errors
    /// When it can't be made.
    pub fn beside(target: &Path) -> io::Result<AsideFolder> {
        let (folder, prefix) = (parent(target), prefix(target));
        loop {
            let mut builder = Builder::new();
            let temp = builder.prefix(&prefix).suffix(SUFFIX).tempdir_in(folder)?;
            let kept = match File::open(temp.path()) {
                // Another thread or process took it for one that was left.
                Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
                kept => kept?,
            };
            if keep(&kept, temp.path()) {
                sweep_names(folder, Some(&prefix), true);
                return Ok(AsideFolder {
                    temp,
                    target: target.to_path_buf(),
                    _kept: kept,
                });
            }
        }
    }

    /// What to make and fill: a folder like any other inside the temporary one,
    /// which is private.
    pub fn path(&self) -> PathBuf {
        self.temp.path().join("folder")
    }

    /// Gives the folder its name, and the permissions of the empty folder that
    /// had it.
    ///
    /// # Errors
    /// When it can't be renamed; it disappears then.
    pub fn commit(self) -> io::Result<()> {
        let from = self.path();
        if let Ok(meta) = fs::metadata(&self.target) {
            let mode = meta.mode() & 0o7777;
            fs::set_permissions(&from, Permissions::from_mode(mode))?;
        }
        rename(&from, &self.target)?;
        sync_folder(parent(&self.target))
    }
}

impl AsRef<Path> for AsideFolder {
    fn as_ref(&self) -> &Path {
        self.temp.path()
    }
}

/// Where the links at `path` end, whether there is a file or not.
///
/// # Errors
/// When there are too many, or one can't be read.
pub fn follow(path: &Path) -> io::Result<PathBuf> {
    let mut path = path.to_path_buf();
    for _ in 0..LINKS {
        match fs::symlink_metadata(&path) {
            Ok(meta) if meta.is_symlink() => {
                let to = fs::read_link(&path)?;
                path = path.parent().unwrap_or(Path::new("")).join(to);
            }
            _ => return Ok(path),
        }
    }
    Err(io::Error::other("too many levels of symbolic links"))
}

/// Removes the temporary files in `folder` that ended processes of this user
/// left.
pub fn sweep(folder: &Path) {
    sweep_names(folder, None, false);
}

/// The same, of those with a name that begins with `prefix`. Folders or files:
/// a folder may hold more than was left in it.
fn sweep_names(folder: &Path, prefix: Option<&OsStr>, folders: bool) {
    let Ok(entries) = fs::read_dir(folder) else {
        return;
    };
    // Cleaning up is a courtesy: what can't be removed now may be later.
    for entry in entries.flatten() {
        if is_temporary(&entry.file_name(), prefix) {
            let meta = entry
                .metadata()
                .ok()
                .filter(|meta| meta.is_dir() == folders);
            meta.inspect(|meta| remove_left(&entry.path(), meta));
        }
    }
}

/// Removes what is at `path` unless its process lives.
fn remove_left(path: &Path, meta: &Metadata) {
    if meta.uid() != rustix::process::geteuid().as_raw() {
        return;
    }
    let opened = match meta.is_dir() {
        true => File::open(path).ok(),
        false => open_regular(File::options().read(true), path)
            .ok()
            .flatten(),
    };
    // Locked until it is removed, so that the process that just made it notices.
    if let Some(file) = opened.filter(|file| is_kept(file).is_ok_and(|kept| !kept)) {
        let _ = match meta.is_dir() {
            true => fs::remove_dir_all(path),
            false => fs::remove_file(path),
        };
        drop(file);
    }
}

/// What a temporary name for `target` begins with.
fn prefix(target: &Path) -> OsString {
    let name = target.file_name().unwrap_or_default().as_bytes();
    let name = &name[..name.len().min(STEM)];
    OsStr::from_bytes(&[b".", name, b"."].concat()).to_os_string()
}

fn is_temporary(name: &OsStr, prefix: Option<&OsStr>) -> bool {
    let stem = name.as_bytes().strip_suffix(SUFFIX.as_bytes());
    let Some((before, random)) = stem.and_then(|stem| stem.split_last_chunk::<RANDOM>()) else {
        return false;
    };
    let ours = match prefix {
        Some(prefix) => before == prefix.as_bytes(),
        None => before.starts_with(b".") && before.ends_with(b".") && before.len() > 2,
    };
    ours && random.iter().all(u8::is_ascii_alphanumeric)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file::trace;
    use std::io::Write;
    use std::os::unix::fs::symlink;

    fn write(mut aside: Aside, bytes: &[u8]) -> Aside {
        aside.file_mut().write_all(bytes).unwrap();
        aside
    }

    fn names(dir: &Path) -> Vec<String> {
        let entries = fs::read_dir(dir).unwrap();
        let names = entries.map(|e| e.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.collect();
        names.sort();
        names
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o7777
    }

    #[test]
    fn bytes_name_and_folder_reach_the_disk_in_this_order() {
        let dir = Builder::new().prefix("top").tempdir().unwrap();
        let top = dir
            .path()
            .file_name()
            .unwrap()
            .to_string_lossy()
            .into_owned();
        let path = dir.path().join("f");
        drop(write(Aside::beside(&path).unwrap(), b"half"));
        assert!(names(dir.path()).is_empty());
        trace::take();
        let aside = write(Aside::beside(&path).unwrap(), b"whole");
        assert!(!path.exists() && aside.path().exists());
        aside.commit().unwrap();
        let expected = [
            "sync f".into(),
            "rename f".into(),
            format!("sync folder {top}"),
        ];
        assert_eq!(trace::take(), expected);
        assert_eq!(fs::read(&path).unwrap(), b"whole");
        assert_eq!(names(dir.path()), ["f"]);
        assert!(Aside::beside(&dir.path().join("no/f")).is_err());
    }

    #[test]
    fn folders_that_are_made_at_once_are_not_taken_for_left_ones() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("files");
        let make = || {
            for _ in 0..200 {
                let aside = AsideFolder::beside(&target).unwrap();
                fs::create_dir(aside.path()).unwrap();
            }
        };
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(make);
            }
        });
        assert!(names(dir.path()).is_empty());
    }

    #[test]
    fn links_stay_and_permissions_too() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::write(at("old"), "old").unwrap();
        fs::set_permissions(at("old"), Permissions::from_mode(0o4646)).unwrap();
        symlink("old", at("middle")).unwrap();
        symlink("middle", at("link")).unwrap();
        symlink("new", at("dangling")).unwrap();
        for link in ["link", "dangling"] {
            write(Aside::beside(&at(link)).unwrap(), b"x")
                .commit()
                .unwrap();
            assert!(fs::symlink_metadata(at(link)).unwrap().is_symlink());
        }
        fs::write(at("plain"), "").unwrap();
        // What runs as its owner must not be another user's data.
        assert_eq!(mode(&at("old")), 0o646);
        assert_eq!(mode(&at("new")), mode(&at("plain")));
        assert_eq!(fs::read(at("old")).unwrap(), b"x");
        symlink("loop", at("loop")).unwrap();
        assert!(Aside::beside(&at("loop")).is_err());
        let secret = Aside::private(&at("secret")).unwrap();
        assert_eq!(secret.file().metadata().unwrap().mode() & 0o777, 0o600);
        secret.commit().unwrap();
        Aside::private(&at("old")).unwrap().commit().unwrap();
        assert_eq!((mode(&at("secret")), mode(&at("old"))), (0o600, 0o600));
    }

    #[test]
    fn a_second_name_gets_its_place() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::write(at("a"), "x").unwrap();
        for _ in 0..2 {
            let link = Aside::link(&at("a"), dir.path(), &at("b")).unwrap();
            sweep(dir.path());
            link.commit().unwrap();
            assert_eq!(names(dir.path()), ["a", "b"]);
        }
        symlink("a", at("c")).unwrap();
        assert!(Aside::link(&at("c"), dir.path(), &at("d")).is_err());
        assert_eq!(names(dir.path()), ["a", "b", "c"]);
    }

    #[test]
    fn only_what_was_left_is_swept() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let alive = Aside::beside(&at("f")).unwrap();
        let open = AsideFolder::beside(&at("f")).unwrap();
        let left = [".f.abc123.partial", ".g.ABCdef.partial", "..abcdef.partial"];
        let other = [
            ".f.abc12.partial",
            "f.abc123.partial",
            ".f.abc-12.partial",
            "f.partial",
        ];
        for name in left.iter().chain(&other) {
            fs::write(at(name), "").unwrap();
        }
        symlink("f.partial", at(".f.linked.partial")).unwrap();
        fs::create_dir_all(at(".f.folder.partial/below")).unwrap();
        drop(Aside::beside(&at("f")).unwrap());
        assert!(!at(left[0]).exists() && at(".f.folder.partial").exists());
        drop(AsideFolder::beside(&at("f")).unwrap());
        assert!(!at(".f.folder.partial").exists());
        assert!(at(left[1]).exists());
        sweep(dir.path());
        assert!(!at(left[1]).exists() && at(left[2]).exists());
        assert!(alive.path().exists() && open.temp.path().exists());
        assert!(other.iter().all(|name| at(name).exists()));
        assert!(at(".f.linked.partial").is_symlink());
        sweep(&at("missing"));
    }

    #[test]
    fn a_folder_appears_when_it_is_full() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("f");
        for empty in [false, true] {
            let aside = AsideFolder::beside(&target).unwrap();
            fs::create_dir(aside.path()).unwrap();
            fs::write(aside.path().join("x"), "").unwrap();
            if empty {
                fs::remove_file(target.join("x")).unwrap();
                fs::set_permissions(&target, Permissions::from_mode(0o750)).unwrap();
            }
            aside.commit().unwrap();
            assert_eq!(names(dir.path()), ["f"]);
            assert_eq!(names(&target), ["x"]);
        }
        assert_eq!(mode(&target), 0o750);
    }

    #[test]
    fn the_longest_names_have_room() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("n".repeat(255));
        Aside::beside(&path).unwrap().commit().unwrap();
        assert!(path.exists());
    }
}
