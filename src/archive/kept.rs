//! A tar that arrives on a pipe, or is compressed, kept in a file as it is read.
//!
//! Its members are counted meanwhile: a few kilobytes can decompress to millions of
//! them, which would fill the disk before anything looks at them.

use std::io::{self, Read, Write};
use std::path::Path;

use crate::error::{Error, Result};
use crate::file::{Section, Spool, spool_name};
use crate::image::layer::Uncompressed;
use crate::stream::{Buffer, CopyError, Run, Stop, copy};
use crate::tar::Entries;
use crate::tar::index::{MAX_MEMBERS, too_many};

/// The bytes of a pipe, decompressed, which go to a nameless file too as long as
/// there is one.
pub(crate) struct Kept<'a> {
    from: Box<dyn Read + Send + 'a>,
    to: Option<Spool>,
    place: String,
    stop: Stop,
}

impl<'a> Kept<'a> {
    /// What arrives, kept in a file in `folder`; `what` names it in errors.
    pub fn new(
        what: &str,
        from: impl Read + Send + 'a,
        folder: &Path,
        stop: &Stop,
    ) -> Result<Kept<'a>> {
        Ok(Kept {
            to: Some(Spool::new(folder)?),
            from: Box::new(Uncompressed::new(what, from)?),
            place: spool_name(folder),
            stop: stop.clone(),
        })
    }

    /// What was kept so far, if there is a file.
    pub fn so_far(&self) -> Option<Section> {
        self.to.as_ref().map(Spool::so_far)
    }

    /// Keeps nothing from now on, and frees the room of what was kept.
    pub fn forget(&mut self) {
        self.to = None;
    }
}

impl Read for Kept<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.stop.check()?;
        let n = self.from.read(buf)?;
        if let Some(spool) = &mut self.to {
            let kept = spool.write_all(&buf[..n]);
            kept.map_err(|e| Error::io(&self.place, e))?;
        }
        Ok(n)
    }
}

/// All of a tar of which `count` members were read, once the rest has arrived.
///
/// # Errors
/// Those of its reader; [`Error::Malformed`] as soon as there are too many members.
/// What else is wrong with it is for those to say who read it.
pub(crate) fn whole(what: &str, mut entries: Entries<Kept<'_>>, count: usize) -> Result<Section> {
    let mut left = MAX_MEMBERS.saturating_sub(count);
    for entry in entries.by_ref() {
        match entry {
            Err(error) if error.is_corrupt() => break,
            entry => drop(entry?),
        }
        left = left.checked_sub(1).ok_or_else(|| too_many(what))?;
    }
    drain(what, entries.reader())?;
    let kept = entries.reader().so_far();
    kept.ok_or_else(|| Error::malformed(what, "it was not kept"))
}

/// Reads all there is.
pub(crate) fn drain(what: &str, reader: &mut impl Read) -> Result<()> {
    match copy(reader, &mut io::sink(), &mut Buffer::new()) {
        Err(CopyError::Read(e) | CopyError::Write(e)) => Err(Error::io(what, e)),
        Ok(_) => Ok(()),
    }
}

/// The tar that arrives on a pipe, decompressed, in a nameless file in `folder`.
pub(crate) fn spooled(
    what: &str,
    from: impl Read + Send,
    folder: &Path,
    run: Run<'_>,
) -> Result<Section> {
    let kept = Kept::new(what, from, folder, run.watch.stop)?;
    whole(what, Entries::new(what, kept), 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Counts the bytes that are read.
    struct Counted<R>(R, u64);

    impl<R: Read> Read for &mut Counted<R> {
        fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
            let n = self.0.read(buf)?;
            self.1 += n as u64;
            Ok(n)
        }
    }

    #[test]
    fn too_many_members_end_early() {
        let folder = tempfile::tempdir().unwrap();
        for kind in [::tar::EntryType::Regular, ::tar::EntryType::Directory] {
            let mut header = ::tar::Header::new_gnu();
            header.set_entry_type(kind);
            header.set_path("a").unwrap();
            header.set_size(0);
            header.set_cksum();
            let all = header.as_bytes().repeat(3 * MAX_MEMBERS);
            let mut from = Counted(&all[..], 0);
            let failed = spooled("it", &mut from, folder.path(), Run::default());
            let error = failed.err().unwrap().to_string();
            assert!(error.contains("too many members"), "{error}");
            let most = (MAX_MEMBERS as u64 + 1000) * 512;
            assert!(from.1 < most, "{} of {}", from.1, all.len());
        }
    }

    #[test]
    fn what_is_no_tar_is_kept_whole() {
        let folder = tempfile::tempdir().unwrap();
        for bytes in [&b""[..], b"PK", &[7; 3000]] {
            let kept = spooled("it", bytes, folder.path(), Run::default()).unwrap();
            let mut found = Vec::new();
            kept.reader(0).read_to_end(&mut found).unwrap();
            assert_eq!(found, bytes);
        }
    }
}
