//! What is read from files and standard input, to be stored or only hashed.
//!
//! An upload needs its digest first and its bytes perhaps twice, so whatever
//! can't be read again is spooled.

mod lines;
mod program;

use std::ffi::OsStr;
use std::fs::{self, File};
use std::path::Path;

use dxf_registry::blob::measure;
use dxf_registry::stream::Watch;
use dxf_registry::{Blob, Digest, Error, Result};

use crate::cli::session::Session;
pub use lines::{Line, lines};
pub use program::Program;

/// The blob that `word` names: a file, or `-` for standard input.
pub fn blob(s: &mut Session<'_, '_>, word: &OsStr) -> Result<Blob> {
    let (folder, watch) = (s.context.tmpdir.clone(), s.watch());
    if word == "-" {
        let (stdin, interrupt) = (&mut *s.stdin, s.interrupt);
        return interrupt.waiting(|| Blob::spooled("standard input", stdin, &folder, watch));
    }
    let path = Path::new(word);
    let what = path.display().to_string();
    let meta = fs::metadata(path).map_err(|e| Error::io(&what, e))?;
    if meta.is_file() || meta.is_dir() {
        return Blob::file(path, watch);
    }
    // A pipe or a device: what it yields now is all there is. Opening one waits
    // for the other end.
    s.interrupt.waiting(|| {
        let from = File::open(path).map_err(|e| Error::io(&what, e))?;
        Blob::spooled(&what, from, &folder, watch)
    })
}

/// The digest of what is at `path`, which is read once.
pub fn digest(path: &Path, watch: Watch<'_>) -> Result<Digest> {
    let what = path.display().to_string();
    let from = File::open(path).map_err(|e| Error::io(&what, e))?;
    measure(&what, from, watch).map(|(digest, _)| digest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashing_needs_no_second_look() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        fs::write(&path, "abc").unwrap();
        assert_eq!(digest(&path, Watch::default()).unwrap(), Digest::of(b"abc"));
        assert!(digest(&dir.path().join("none"), Watch::default()).is_err());
    }
}
