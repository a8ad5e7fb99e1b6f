//! Folders, made and changed so that they survive a loss of power.

use std::fs::{DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

/// The mode of a folder that only its owner may look into.
pub const PRIVATE: u32 = 0o700;
/// The mode of a folder for everybody, before the umask.
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
        Err(e) => Err(e),
        Ok(()) => sync_folder(above),
    }
}

/// Makes the names in `folder` survive a loss of power.
///
/// # Errors
/// When the disk fails. That a file system can't do it is no error, and neither
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
