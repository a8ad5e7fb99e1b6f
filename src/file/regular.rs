//! Opening a file by a name that others could have given to something else.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::OFlags;

/// Opens the regular file at `path` as `options` say; `None` for anything else:
/// a link could lead elsewhere, and a pipe would keep the caller waiting.
///
/// # Errors
/// Those of opening, such as [`io::ErrorKind::NotFound`].
pub fn open_regular(options: &mut OpenOptions, path: &Path) -> io::Result<Option<File>> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    match options.custom_flags(bits(flags)).open(path) {
        Ok(file) => Ok(file.metadata()?.is_file().then_some(file)),
        // The error for a link, a socket or a folder differs between systems.
        Err(_) if fs::symlink_metadata(path).is_ok_and(|meta| !meta.is_file()) => Ok(None),
        Err(e) => Err(e),
    }
}

/// Opens the regular file that `path` leads to, for reading.
///
/// # Errors
/// Those of opening.
pub(super) fn open_followed(path: &Path) -> io::Result<Option<File>> {
    let mut options = File::options();
    match options
        .read(true)
        .custom_flags(bits(OFlags::NONBLOCK))
        .open(path)
    {
        Ok(file) => Ok(file.metadata()?.is_file().then_some(file)),
        Err(_) if fs::metadata(path).is_ok_and(|meta| !meta.is_file()) => Ok(None),
        Err(e) => Err(e),
    }
}

fn bits(flags: OFlags) -> i32 {
    // The kernel's flags are a C int; none of them is its sign.
    flags.bits() as i32
}

/// Whether `file` is what has the name `path`.
pub(super) fn is_at(file: &File, path: &Path) -> bool {
    let (Ok(ours), Ok(there)) = (file.metadata(), fs::symlink_metadata(path)) else {
        return false;
    };
    (ours.dev(), ours.ino()) == (there.dev(), there.ino())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{CWD, FileType, Mode, mknodat};
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;

    #[test]
    fn only_regular_files_are_opened() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::write(at("file"), "x").unwrap();
        symlink("file", at("link")).unwrap();
        mknodat(CWD, at("pipe"), FileType::Fifo, Mode::RWXU, 0).unwrap();
        let _socket = UnixListener::bind(at("socket")).unwrap();
        let open = |name: &str| open_regular(File::options().read(true), &at(name));
        assert!(open("file").unwrap().is_some());
        for name in ["link", "pipe", "socket", "."] {
            assert!(open(name).unwrap().is_none(), "{name}");
        }
        assert_eq!(open("missing").unwrap_err().kind(), io::ErrorKind::NotFound);
        assert!(open_followed(&at("link")).unwrap().is_some());
        for name in ["pipe", "socket", "."] {
            assert!(open_followed(&at(name)).unwrap().is_none(), "{name}");
        }
    }
}
