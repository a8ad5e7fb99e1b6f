//! Files as a layout needs them: opened without following links, with errors
//! that name them.
//!
//! Knows nothing of what the files mean. Nothing is ever written in place, so
//! a reader sees the old file or the new one and needs no lock, and a process
//! that is killed leaves nothing but a temporary file.

use std::fs::{self, File, Metadata};
use std::io::{self, Write};
use std::path::Path;

use crate::error::{Error, Result};
use crate::file::{self, Aside};

/// The permissions of a layout's files, before the umask.
pub(super) const MODE: u32 = 0o644;

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
    match file::open_regular(File::options().read(true), path) {
        Ok(Some(file)) => {
            let len = file.metadata().map_err(failed(path))?.len();
            Ok(Some((file, len)))
        }
        Ok(None) => Err(irregular(path)),
        Err(e) if is_missing(&e) => Ok(None),
        Err(e) => Err(failed(path)(e)),
    }
}

fn irregular(path: &Path) -> Error {
    Error::malformed(path.display().to_string(), "it is not a regular file")
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

/// Makes the folder `path`, and those above it, mode 0755 less the umask; it
/// must not be a link to another.
pub(super) fn make_folder(path: &Path) -> Result<()> {
    file::make_folder(path, file::SHARED).map_err(failed(path))?;
    if is_folder(path)? {
        Ok(())
    } else {
        Err(Error::malformed(
            path.display().to_string(),
            "it is a link, not a folder",
        ))
    }
}

/// Writes a small file aside and puts it in its place, to stay there; returns
/// it.
pub(super) fn replace(path: &Path, bytes: &[u8], scratch: &Path) -> Result<File> {
    let mut aside = Aside::within(scratch, path, MODE).map_err(failed(scratch))?;
    let written = aside.file_mut().write_all(bytes);
    written.map_err(failed(aside.path()))?;
    let file = aside.file().try_clone().map_err(failed(path))?;
    aside.commit().map_err(failed(path))?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_and_folders_are_no_files() {
        let dir = tempfile::tempdir().unwrap();
        let (file, alias) = (dir.path().join("file"), dir.path().join("alias"));
        fs::write(&file, "x").unwrap();
        std::os::unix::fs::symlink(&file, &alias).unwrap();
        for path in [alias.as_path(), dir.path()] {
            assert!(matches!(open(path), Err(Error::Malformed { .. })));
            assert!(matches!(length(path), Err(Error::Malformed { .. })));
        }
        assert!(open(&file.join("below")).unwrap().is_none());
        let (folder, alias) = (dir.path().join("folder"), dir.path().join("other"));
        make_folder(&folder).unwrap();
        std::os::unix::fs::symlink(&folder, &alias).unwrap();
        assert!(make_folder(&alias).is_err());
    }
}
