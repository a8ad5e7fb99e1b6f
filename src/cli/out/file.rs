//! Where a stream of blobs goes: to standard output, straight through to what
//! is not a regular file (a pipe, a terminal, `/dev/…`), or to a file beside its
//! final name first, and there by a rename, so that no reader ever sees half of it.
//!
//! Blobs alone go to a file by [`dxf_registry::fetch::into_file`], which knows
//! how to resume one; this covers the cases in between too.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use dxf_registry::file::Aside;
use dxf_registry::{Error, Result};

use crate::cli::interrupt::{Interrupt, Litter};
use crate::cli::out::console::Out;

/// Something bytes are written to.
pub enum Output {
    /// Standard output.
    Stdout,
    /// What can't be renamed.
    Through(File, PathBuf),
    /// A file under its temporary name. (Boxed: it is much the largest.)
    Aside(Box<Aside>, Litter),
}

impl Output {
    /// Opens `path`; without one, or for `-`, standard output.
    ///
    /// # Errors
    /// For a folder, and whatever keeps the file from being made.
    pub fn open(path: Option<&Path>, interrupt: &Interrupt) -> Result<Output> {
        Output::open_as(path, 0o666, interrupt)
    }

    /// The same; a file that is new has the permissions `new`, before the umask.
    ///
    /// # Errors
    /// As [`Output::open`].
    pub fn open_as(path: Option<&Path>, new: u32, interrupt: &Interrupt) -> Result<Output> {
        let Some(path) = path.filter(|path| !is_stdout(path)) else {
            return Ok(Output::Stdout);
        };
        let what = path.display().to_string();
        let failed = |e| Error::io(&what, e);
        if path.is_dir() {
            return Err(failed(io::ErrorKind::IsADirectory.into()));
        }
        if !is_plain(path) {
            let file = OpenOptions::new().write(true).open(path).map_err(failed)?;
            return Ok(Output::Through(file, path.to_path_buf()));
        }
        let made = interrupt.litter(|| Aside::beside_as(path, new));
        let (aside, litter) = made.map_err(failed)?;
        Ok(Output::Aside(Box::new(aside), litter))
    }

    /// Whether the bytes go to standard output.
    pub fn is_stdout(&self) -> bool {
        matches!(self, Output::Stdout)
    }

    /// What to write to; `out` is standard output.
    pub fn writer<'a>(&'a mut self, out: &'a mut Out<'_>) -> &'a mut (dyn Write + Send) {
        match self {
            Output::Stdout => out,
            Output::Through(file, _) => file,
            Output::Aside(aside, _) => aside.file_mut(),
        }
    }

    /// The file under its temporary name, where there is one.
    pub fn file(&self) -> Option<&File> {
        match self {
            Output::Aside(aside, _) => Some(aside.file()),
            Output::Stdout | Output::Through(..) => None,
        }
    }

    /// What to call it in an error.
    pub fn name(&self) -> String {
        match self {
            Output::Stdout => "standard output".to_string(),
            Output::Through(_, path) => path.display().to_string(),
            Output::Aside(aside, _) => aside.target().display().to_string(),
        }
    }

    /// Gives the file its name, now that it is complete.
    ///
    /// # Errors
    /// When it can't be written to the disk or renamed.
    pub fn commit(self) -> Result<()> {
        let Output::Aside(aside, _litter) = self else {
            return Ok(());
        };
        let what = aside.target().display().to_string();
        aside.commit().map_err(|e| Error::io(what, e))
    }
}

/// Whether a file can be made at `path`: it does not exist, or it is a file. What lies
/// in /dev may look like the file it stands for, but it belongs to the process that
/// opened that; /dev/shm is a folder like any other, in memory.
pub fn is_plain(path: &Path) -> bool {
    let fit = fs::metadata(path).map_or(true, |meta| meta.is_file());
    let device = path.starts_with("/dev") && !path.starts_with("/dev/shm");
    fit && !is_stdout(path) && !device
}

fn is_stdout(path: &Path) -> bool {
    ["-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"]
        .iter()
        .any(|name| path == Path::new(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::out::console::Terminals;
    use std::fs::Permissions;

    fn write(path: &Path, bytes: &[u8]) -> Output {
        let (mut none, interrupt) = (Vec::new(), Interrupt::default());
        let mut output = Output::open(Some(path), &interrupt).unwrap();
        let mut out = Out::new(&mut none, Terminals::default());
        output.writer(&mut out).write_all(bytes).unwrap();
        output
    }

    fn names(dir: &Path) -> Vec<String> {
        let entries = fs::read_dir(dir).unwrap();
        let mut names: Vec<String> = entries
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn the_name_appears_when_the_file_is_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        drop(write(&path, b"half"));
        assert!(names(dir.path()).is_empty());
        let output = write(&path, b"whole");
        assert!(!path.exists());
        output.commit().unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"whole");
        assert_eq!(names(dir.path()), ["f"]);
        assert!(Output::open(Some(dir.path()), &Interrupt::default()).is_err());
        let missing = dir.path().join("no").join("f");
        assert!(Output::open(Some(&missing), &Interrupt::default()).is_err());
    }

    #[test]
    fn links_and_permissions_stay() {
        use std::os::unix::fs::{PermissionsExt, symlink};
        let dir = tempfile::tempdir().unwrap();
        let (file, link) = (dir.path().join("f"), dir.path().join("l"));
        fs::write(&file, "old").unwrap();
        fs::set_permissions(&file, Permissions::from_mode(0o640)).unwrap();
        symlink("f", &link).unwrap();
        write(&link, b"new").commit().unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read(&file).unwrap(), b"new");
        assert_eq!(
            fs::metadata(&file).unwrap().permissions().mode() & 0o777,
            0o640
        );
        // As any new file, not as a private one.
        let (new, plain) = (dir.path().join("new"), dir.path().join("plain"));
        write(&new, b"x").commit().unwrap();
        fs::write(&plain, "x").unwrap();
        let mode = |path| fs::metadata(path).unwrap().permissions().mode();
        assert_eq!(mode(&new), mode(&plain));
    }

    #[test]
    fn memory_is_a_folder_and_not_a_device() {
        assert!(is_plain(Path::new("/dev/shm/dxf-no-such-file")));
        for name in ["/dev/fd/7", "/dev/stderr", "/dev/null"] {
            assert!(!is_plain(Path::new(name)), "{name}");
        }
    }

    #[test]
    fn what_is_no_file_is_written_through() {
        for name in ["-", "/dev/stdout"] {
            let output = Output::open(Some(Path::new(name)), &Interrupt::default());
            assert!(output.unwrap().is_stdout());
        }
        write(Path::new("/dev/null"), b"x").commit().unwrap();
        assert!(!is_plain(Path::new("/dev/fd/3")) && is_plain(Path::new("/dev/shm/new")));
    }
}
