//! Files as a layout needs them: opened without following links, written
//! aside and renamed, locked between processes.
//!
//! Knows nothing of what the files mean. Nothing is ever written in place, so
//! a reader sees the old file or the new one and needs no lock, and a process
//! that is killed leaves nothing but a stray temporary file.

use std::fs::{self, File, Metadata};
use std::io::{self, Write};
use std::path::Path;
use std::time::{Duration, SystemTime};

use tempfile::{Builder, NamedTempFile};

use crate::error::{Error, Result};

/// Temporary files older than this belong to no living writer: one that has
/// not written for a day has long run into its idle timeout.
pub(super) const STRAY: Duration = Duration::from_secs(24 * 60 * 60);

const PREFIX: &str = "tmp-";

/// An [`Error::Io`] about `path`.
pub(super) fn failed(path: &Path) -> impl FnOnce(io::Error) -> Error + '_ {
    move |e| Error::io(path.display().to_string(), e)
}

/// What lies at `path`, links not followed; `None` for nothing.
pub(super) fn look(path: &Path) -> Result<Option<Metadata>> {
    match fs::symlink_metadata(path) {
        Ok(meta) => Ok(Some(meta)),
        Err(e) if is_missing(&e) => Ok(None),
        Err(e) => Err(failed(path)(e)),
    }
}

/// The length of the regular file at `path`; `None` for nothing there. A link
/// could lead out of the layout and a pipe could hang the reader, so anything
/// but a regular file is refused.
pub(super) fn length(path: &Path) -> Result<Option<u64>> {
    match look(path)? {
        Some(meta) if meta.is_file() => Ok(Some(meta.len())),
        Some(_) => Err(irregular(path)),
        None => Ok(None),
    }
}

/// Opens the regular file at `path`, and tells its length; `None` for nothing
/// there.
pub(super) fn open(path: &Path) -> Result<Option<(File, u64)>> {
    // Looking and opening are two steps, and another process may rename a new
    // file into place between them, again and again.
    for _ in 0..100 {
        let Some(seen) = look(path)? else {
            return Ok(None);
        };
        if !seen.is_file() {
            break;
        }
        let file = match File::open(path) {
            Ok(file) => file,
            Err(e) if is_missing(&e) => return Ok(None),
            Err(e) => return Err(failed(path)(e)),
        };
        let opened = file.metadata().map_err(failed(path))?;
        if same(&seen, &opened) {
            return Ok(Some((file, opened.len())));
        }
    }
    Err(irregular(path))
}

fn same(a: &Metadata, b: &Metadata) -> bool {
    use std::os::unix::fs::MetadataExt;
    (a.dev(), a.ino()) == (b.dev(), b.ino())
}

fn irregular(path: &Path) -> Error {
    Error::malformed(path.display().to_string(), "it is no regular file")
}

/// Whether the error says that there is nothing; a file where a folder of the
/// path should be means the same.
fn is_missing(e: &io::Error) -> bool {
    matches!(
        e.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

/// Whether `path` is a folder and no link to one.
pub(super) fn is_folder(path: &Path) -> Result<bool> {
    Ok(look(path)?.is_some_and(|meta| meta.is_dir()))
}

/// Makes `path` and the folders above it, mode 0755 less the umask.
pub(super) fn make_folders(path: &Path) -> Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o755);
    builder.create(path).map_err(failed(path))
}

/// The same for one folder, which must not be a link to another.
pub(super) fn make_folder(path: &Path) -> Result<()> {
    make_folders(path)?;
    if is_folder(path)? {
        Ok(())
    } else {
        Err(Error::malformed(
            path.display().to_string(),
            "it is no folder but a link",
        ))
    }
}

fn temporary() -> Builder<'static, 'static> {
    let mut builder = Builder::new();
    builder.prefix(PREFIX);
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644));
    builder
}

/// A temporary file in `folder`, mode 0644 less the umask, which disappears
/// unless it is [`put`] in its place.
pub(super) fn create(folder: &Path) -> Result<NamedTempFile> {
    temporary().tempfile_in(folder).map_err(failed(folder))
}

/// A temporary second name in `folder` for the file `from`.
pub(super) fn link(from: &Path, folder: &Path) -> io::Result<NamedTempFile<()>> {
    temporary().make_in(folder, |to| fs::hard_link(from, to))
}

/// Gives a temporary file its name, replacing what had it.
pub(super) fn put<F>(temp: NamedTempFile<F>, path: &Path) -> Result<()> {
    let aside = temp.path().to_path_buf();
    temp.persist(path).map_err(|e| failed(path)(e.error))?;
    // Renaming one name of a file to another name of the same file does
    // nothing and leaves both (POSIX, rename).
    let _ = fs::remove_file(aside);
    Ok(())
}

/// Writes a small file aside and puts it in its place, to stay there.
pub(super) fn replace(path: &Path, bytes: &[u8], scratch: &Path) -> Result<()> {
    let mut temp = create(scratch)?;
    temp.write_all(bytes)
        .and_then(|()| temp.as_file().sync_all())
        .map_err(failed(temp.path()))?;
    put(temp, path)?;
    path.parent().map_or(Ok(()), sync)
}

/// Makes what was renamed into `folder` survive a loss of power.
pub(super) fn sync(folder: &Path) -> Result<()> {
    match File::open(folder).and_then(|folder| folder.sync_all()) {
        // Some network file systems can't do it, and some folders are not there.
        Err(e)
            if matches!(
                e.kind(),
                io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported
            ) || is_missing(&e) =>
        {
            Ok(())
        }
        other => other.map_err(failed(folder)),
    }
}

/// Takes the lock at `path`, waiting for it; dropping the file releases it,
/// and so does the end of the process.
pub(super) fn lock(path: &Path) -> Result<File> {
    // A link is refused; whoever comes first creates the file, which stays.
    length(path)?;
    let file = File::options()
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)
        .map_err(failed(path))?;
    file.lock().map_err(failed(path))?;
    Ok(file)
}

/// Removes the temporary files in `folder` that killed processes left, as far
/// as they are older than `age`.
pub(super) fn sweep(folder: &Path, age: Duration) {
    let Ok(entries) = fs::read_dir(folder) else {
        return;
    };
    // Cleaning up is a courtesy: what can't be removed now may be later.
    for entry in entries.flatten() {
        let ours = entry.file_name().to_string_lossy().starts_with(PREFIX);
        let old = || {
            let changed = entry.metadata().ok().and_then(|meta| changed(&meta));
            changed.is_some_and(|t| t.elapsed().is_ok_and(|passed| passed >= age))
        };
        if ours && old() {
            let _ = fs::remove_file(entry.path());
        }
    }
}

fn changed(meta: &Metadata) -> Option<SystemTime> {
    use std::os::unix::fs::MetadataExt;
    // Not the time of modification: a second name for an old file is new.
    let seconds = u64::try_from(meta.ctime()).ok()?;
    Some(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn temporary_files_end_in_their_place_or_nowhere() {
        let dir = tempfile::tempdir().unwrap();
        let there = dir.path().join("there");
        replace(&there, b"one", dir.path()).unwrap();
        replace(&there, b"two", dir.path()).unwrap();
        drop(create(dir.path()).unwrap());
        put(link(&there, dir.path()).unwrap(), &there).unwrap();
        let mut text = String::new();
        let (mut file, len) = open(&there).unwrap().unwrap();
        file.read_to_string(&mut text).unwrap();
        assert_eq!((text.as_str(), len), ("two", 3));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn only_old_strays_of_ours_are_swept() {
        let dir = tempfile::tempdir().unwrap();
        let names = || {
            let mut names: Vec<_> = fs::read_dir(dir.path())
                .unwrap()
                .map(|e| e.unwrap().file_name().into_string().unwrap())
                .collect();
            names.sort();
            names
        };
        for name in ["lock", "tmp-abc"] {
            fs::write(dir.path().join(name), "").unwrap();
        }
        sweep(dir.path(), STRAY);
        assert_eq!(names(), ["lock", "tmp-abc"]);
        sweep(dir.path(), Duration::ZERO);
        assert_eq!(names(), ["lock"]);
        sweep(&dir.path().join("missing"), STRAY);
    }

    #[test]
    fn links_and_folders_are_no_files() {
        let dir = tempfile::tempdir().unwrap();
        let (file, alias) = (dir.path().join("file"), dir.path().join("alias"));
        fs::write(&file, "x").unwrap();
        std::os::unix::fs::symlink(&file, &alias).unwrap();
        for path in [alias.as_path(), dir.path()] {
            assert!(matches!(open(path), Err(Error::Malformed { .. })));
            assert!(matches!(length(path), Err(Error::Malformed { .. })));
            assert!(lock(path).is_err());
        }
        assert!(open(&file.join("below")).unwrap().is_none());
        let (folder, alias) = (dir.path().join("folder"), dir.path().join("other"));
        make_folder(&folder).unwrap();
        std::os::unix::fs::symlink(&folder, &alias).unwrap();
        assert!(make_folder(&alias).is_err());
    }
}
