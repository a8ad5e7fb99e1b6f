//! What is read from files and standard input, to be stored or only hashed.
//!
//! An upload needs its digest first and its bytes perhaps twice, so whatever
//! can't be read again is spooled.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::Path;

use dxf_registry::blob::FileRange;
use dxf_registry::descriptor::media_type;
use dxf_registry::digest::Hasher;
use dxf_registry::stream::{BUFFER, Stop};
use dxf_registry::{Blob, Descriptor, Digest, Error, Result};
use tempfile::{NamedTempFile, TempPath};

use super::interrupt::Litter;
use super::session::Session;

/// A blob to be stored, and the file its bytes wait in.
pub struct Stored {
    /// The blob.
    pub blob: Blob,
    _spool: Option<(Litter, TempPath)>,
}

/// The blob that `word` names: a file, or `-` for standard input.
pub fn blob(s: &mut Session<'_, '_>, word: &OsStr) -> Result<Stored> {
    if word == "-" {
        let (stdin, interrupt) = (&mut *s.stdin, s.interrupt);
        let folder = &s.context.tmpdir;
        let (file, litter) = scratch(folder, |path| interrupt.litter(path))?;
        return interrupt
            .waiting(|| spool(("standard input", stdin), file, interrupt.stop()))
            .map(|(blob, path)| stored(blob, litter, path));
    }
    let path = Path::new(word);
    let what = path.display().to_string();
    let meta = fs::metadata(path).map_err(|e| Error::io(&what, e))?;
    if meta.is_file() || meta.is_dir() {
        let blob = Blob::file(path, s.watch())?;
        return Ok(Stored { blob, _spool: None });
    }
    // A pipe or a device: what it yields now is all there is. Opening one waits
    // for somebody at its other end.
    let (file, litter) = scratch(&s.context.tmpdir, |path| s.interrupt.litter(path))?;
    let (blob, path) = s.interrupt.waiting(|| {
        let mut from = File::open(path).map_err(|e| Error::io(&what, e))?;
        spool((&what, &mut from), file, s.interrupt.stop())
    })?;
    Ok(stored(blob, litter, path))
}

/// The digest of what is at `path`, which is read once.
pub fn digest(path: &Path, stop: &Stop) -> Result<Digest> {
    let what = path.display().to_string();
    let mut from = File::open(path).map_err(|e| Error::io(&what, e))?;
    hash((&what, &mut from), (&what, &mut std::io::sink()), stop).map(|(digest, _)| digest)
}

fn stored(blob: Blob, litter: Litter, path: TempPath) -> Stored {
    Stored {
        blob,
        _spool: Some((litter, path)),
    }
}

fn scratch(folder: &Path, guard: impl Fn(&Path) -> Litter) -> Result<(NamedTempFile, Litter)> {
    let file = tempfile::Builder::new().prefix("dxf-").tempfile_in(folder);
    let file = file.map_err(|e| Error::io(format!("a file in {}", folder.display()), e))?;
    let litter = guard(file.path());
    Ok((file, litter))
}

fn spool(
    from: (&str, &mut dyn Read),
    mut file: NamedTempFile,
    stop: &Stop,
) -> Result<(Blob, TempPath)> {
    let what = file.path().display().to_string();
    let (digest, size) = hash(from, (&what, &mut file), stop)?;
    file.flush().map_err(|e| Error::io(&what, e))?;
    let path = file.into_temp_path();
    let descriptor = Descriptor::new(media_type::OCTET_STREAM, digest, size);
    Ok((
        Blob::new(descriptor, FileRange::new(path.to_path_buf(), 0, size)),
        path,
    ))
}

/// Copies between two named streams and learns digest and size on the way.
fn hash(
    (source, from): (&str, &mut dyn Read),
    (target, to): (&str, &mut dyn Write),
    stop: &Stop,
) -> Result<(Digest, u64)> {
    let (mut hasher, mut size, mut buffer) = (Hasher::new(), 0, vec![0; BUFFER]);
    loop {
        stop.check()?;
        let n = match from.read(&mut buffer) {
            Ok(0) => return Ok((hasher.finish(), size)),
            Ok(n) => n,
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(Error::io(source, e)),
        };
        hasher.update(&buffer[..n]);
        to.write_all(&buffer[..n])
            .map_err(|e| Error::io(target, e))?;
        size += n as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::interrupt::Interrupt;

    #[test]
    fn a_spooled_stream_can_be_read_again_and_is_gone_afterwards() {
        let (dir, interrupt) = (tempfile::tempdir().unwrap(), Interrupt::default());
        let (file, litter) = scratch(dir.path(), |path| interrupt.litter(path)).unwrap();
        let (blob, path) = spool(("x", &mut &b"abc"[..]), file, interrupt.stop()).unwrap();
        let stored = stored(blob, litter, path);
        assert_eq!(
            (*stored.blob.digest(), stored.blob.size()),
            (Digest::of(b"abc"), 3)
        );
        assert_eq!(stored.blob.read(10).unwrap(), b"abc");
        assert_eq!(stored.blob.read(10).unwrap(), b"abc");
        drop(stored);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn hashing_needs_no_second_look() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        fs::write(&path, "abc").unwrap();
        assert_eq!(digest(&path, &Stop::new()).unwrap(), Digest::of(b"abc"));
        assert!(digest(&dir.path().join("none"), &Stop::new()).is_err());
    }
}
