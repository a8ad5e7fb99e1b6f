//! Bringing blobs here: read, hash and write at the same time, and into files
//! that are whole or not there.
//!
//! Hashing takes longer than a local wire or a disk, so it has a thread of its
//! own behind a few reused buffers. A file that is not whole yet lies beside
//! its place as `NAME.partial`; what it holds is hashed again before it is
//! continued, so nothing in it is trusted.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use crate::digest::{Digest, Hasher};
use crate::error::{Error, Result};
use crate::parallel::{Pipe, beside};
use crate::store::{Content, Store};
use crate::stream::{BUFFER, Watch};

/// Buffers between reading and hashing.
const BUFFERS: usize = 4;

/// What is to be fetched: a digest, and its size in bytes where it is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted {
    /// The blob.
    pub digest: Digest,
    /// Its size; checked when known.
    pub size: Option<u64>,
}

/// Writes a whole blob to `to`, which `name` calls by name in errors.
///
/// The bytes have been written when the verdict falls: whoever writes to a
/// place that others read has to undo it after an error.
///
/// # Errors
/// [`Error::Mismatch`], [`Error::Size`], [`Error::Io`] for `to`, and those of
/// the store.
pub fn write(
    content: Content<'_>,
    wanted: Wanted,
    to: (&str, &mut dyn Write),
    watch: Watch<'_>,
) -> Result<u64> {
    let size = wanted.size.or(content.size);
    watch.progress.start(&wanted.digest, size);
    let mut pump = Pump::new(wanted, size, Hasher::like(&wanted.digest), 0);
    pump.run(&mut watch.reader(wanted.digest, content.reader), to)?;
    let bytes = pump.conclude()?;
    watch.progress.finish(&wanted.digest);
    Ok(bytes)
}

/// A buffer, and how many of its bytes count.
type Filled = (Vec<u8>, usize);

/// A blob on its way from a reader to a writer.
struct Pump {
    wanted: Wanted,
    size: Option<u64>,
    hasher: Hasher,
    seen: u64,
}

impl Pump {
    fn new(wanted: Wanted, size: Option<u64>, hasher: Hasher, seen: u64) -> Pump {
        Pump {
            wanted,
            size,
            hasher,
            seen,
        }
    }

    fn run(&mut self, from: &mut dyn Read, (name, to): (&str, &mut dyn Write)) -> Result<()> {
        let mut first = vec![0; BUFFER];
        let n = self.fill(from, &mut first)?;
        if n < first.len() {
            // Small enough that a thread would cost more than it saves.
            self.hasher.update(&first[..n]);
            return to.write_all(&first[..n]).map_err(|e| Error::io(name, e));
        }
        let (full, free) = (Pipe::new(BUFFERS), Pipe::new(BUFFERS));
        for _ in 1..BUFFERS {
            // There is room for all of them.
            let _ = free.send(vec![0; BUFFER]);
        }
        let mut hasher = self.hasher.clone();
        let (hasher, moved) = beside(
            || {
                while let Some((buffer, n)) = full.receive() {
                    let buffer: Vec<u8> = buffer;
                    hasher.update(&buffer[..n]);
                    let _ = free.send(buffer);
                }
                hasher
            },
            || {
                let moved = self.hand_over((first, n), from, (name, to), (&full, &free));
                full.close();
                moved
            },
        );
        self.hasher = hasher;
        moved
    }

    fn hand_over(
        &mut self,
        first: Filled,
        from: &mut dyn Read,
        (name, to): (&str, &mut dyn Write),
        (full, free): (&Pipe<Filled>, &Pipe<Vec<u8>>),
    ) -> Result<()> {
        let (mut buffer, mut n) = first;
        while n > 0 {
            to.write_all(&buffer[..n]).map_err(|e| Error::io(name, e))?;
            if full.send((buffer, n)).is_err() {
                break;
            }
            let Some(next) = free.receive() else { break };
            buffer = next;
            n = self.fill(from, &mut buffer)?;
        }
        Ok(())
    }

    /// Reads until `buffer` is full or everything is read; refuses bytes beyond
    /// the size.
    fn fill(&mut self, from: &mut dyn Read, buffer: &mut [u8]) -> Result<usize> {
        let mut n = 0;
        while n < buffer.len() {
            match from.read(&mut buffer[n..]) {
                Ok(0) => break,
                Ok(more) => n += more,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(Error::io(self.wanted.digest.to_string(), e)),
            }
        }
        self.seen += n as u64;
        match self.size {
            Some(size) if self.seen > size => Err(self.wrong_size(size)),
            _ => Ok(n),
        }
    }

    fn conclude(self) -> Result<u64> {
        if let Some(size) = self.size.filter(|size| *size != self.seen) {
            return Err(self.wrong_size(size));
        }
        match self.hasher.finish() {
            actual if actual == self.wanted.digest => Ok(self.seen),
            actual => Err(Error::mismatch(self.wanted.digest, actual)),
        }
    }

    fn wrong_size(&self, expected: u64) -> Error {
        Error::Size {
            what: self.wanted.digest.to_string(),
            expected,
            actual: self.seen,
        }
    }
}

/// Fetches blobs, one behind the other, into the file at `path`.
///
/// The file appears when it is whole; an older one stays until then. What an
/// earlier call left in `NAME.partial` is checked and continued.
///
/// # Errors
/// As [`fn@write`]; after all but [`Error::Mismatch`] and its like the partial
/// file is kept for the next call.
pub fn into_file(
    store: &dyn Store,
    wanted: &[Wanted],
    path: &Path,
    watch: Watch<'_>,
) -> Result<u64> {
    let mut partial = Partial::open(path)?;
    match partial.fill(store, wanted, watch) {
        Ok(bytes) => {
            partial.commit()?;
            Ok(bytes)
        }
        Err(error) => {
            if error.is_corrupt() || partial.is_empty() {
                partial.discard();
            }
            Err(error)
        }
    }
}

/// A file that is being made beside its final place.
pub struct Partial {
    place: PathBuf,
    beside: PathBuf,
    file: File,
}

impl Partial {
    /// Opens `NAME.partial` for the file at `path`, locked against others. A
    /// `path` that is a symbolic link means the file it leads to.
    ///
    /// # Errors
    /// [`Error::Unsupported`] when `path` is a folder or another process is at
    /// work on it, [`Error::Io`].
    pub fn open(path: &Path) -> Result<Partial> {
        let place = fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
        if place.is_dir() {
            return Err(Error::Unsupported {
                what: format!("{}: is a folder", path.display()),
            });
        }
        let mut name = place.file_name().unwrap_or_default().to_os_string();
        name.push(".partial");
        let beside = place.with_file_name(name);
        let failed = |e| Error::io(beside.display().to_string(), e);
        // Once more where another process was just done.
        for _ in 0..3 {
            let file = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .open(&beside)
                .map_err(failed)?;
            if file.try_lock().is_err() {
                break;
            }
            // Between the two steps it may have got its name, under which
            // nothing is ever written.
            if is_at(&file, &beside) {
                return Ok(Partial {
                    place,
                    beside,
                    file,
                });
            }
        }
        Err(Error::Unsupported {
            what: format!("{}: another process is writing it", beside.display()),
        })
    }

    /// Whether there is nothing in it yet.
    pub fn is_empty(&self) -> bool {
        self.file.metadata().is_ok_and(|meta| meta.len() == 0)
    }

    /// Empties it.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn clear(&mut self) -> Result<()> {
        self.cut(0)
    }

    fn fill(&mut self, store: &dyn Store, wanted: &[Wanted], watch: Watch<'_>) -> Result<u64> {
        let mut start = 0;
        for one in wanted {
            let held = self.len()?.saturating_sub(start);
            let mut one = *one;
            if held > 0 && one.size.is_none() {
                one.size = store.blob_size(&one.digest)?;
            }
            start += match self.fetch(store, one, start, watch) {
                // What lay there was not the beginning of this blob after all.
                Err(error) if error.is_corrupt() && held > 0 => {
                    self.cut(start)?;
                    self.fetch(store, one, start, watch)?
                }
                done => done?,
            };
        }
        self.cut(start)?;
        Ok(start)
    }

    /// Fetches one blob to offset `start`, going on behind what is there.
    fn fetch(
        &mut self,
        store: &dyn Store,
        wanted: Wanted,
        start: u64,
        watch: Watch<'_>,
    ) -> Result<u64> {
        watch.progress.start(&wanted.digest, wanted.size);
        let (hasher, held) = self.held(wanted, start, watch)?;
        let mut pump = Pump::new(wanted, wanted.size, hasher, held);
        if wanted.size != Some(held) || held == 0 {
            let content = store.open_blob(&wanted.digest, held)?;
            pump.size = wanted.size.or(content.size);
            watch.progress.start(&wanted.digest, pump.size);
            watch.progress.advance(&wanted.digest, held);
            self.seek(start + held)?;
            let name = self.beside.display().to_string();
            pump.run(
                &mut watch.reader(wanted.digest, content.reader),
                (&name, &mut self.file),
            )?;
        }
        let bytes = pump.conclude()?;
        watch.progress.finish(&wanted.digest);
        Ok(bytes)
    }

    /// Hashes what is there of a blob that begins at `start`.
    fn held(&mut self, wanted: Wanted, start: u64, watch: Watch<'_>) -> Result<(Hasher, u64)> {
        let mut hasher = Hasher::like(&wanted.digest);
        let there = self.len()?.saturating_sub(start);
        let held = wanted.size.map_or(there, |size| there.min(size));
        self.seek(start)?;
        let (mut left, mut buffer) = (held, vec![0; BUFFER]);
        while left > 0 {
            watch.stop.check()?;
            let room = buffer
                .len()
                .min(usize::try_from(left).unwrap_or(usize::MAX));
            let n = self
                .file
                .read(&mut buffer[..room])
                .map_err(|e| self.failed(e))?;
            if n == 0 {
                break;
            }
            hasher.update(&buffer[..n]);
            watch.progress.advance(&wanted.digest, n as u64);
            left -= n as u64;
        }
        Ok((hasher, held - left))
    }

    /// Puts the file in its place.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn commit(self) -> Result<()> {
        self.file.sync_all().map_err(|e| self.failed(e))?;
        fs::rename(&self.beside, &self.place)
            .map_err(|e| Error::io(self.place.display().to_string(), e))
    }

    /// Removes it.
    pub fn discard(self) {
        // Nothing depends on it; the next call checks what it finds.
        let _ = fs::remove_file(&self.beside);
    }

    fn len(&self) -> Result<u64> {
        Ok(self.file.metadata().map_err(|e| self.failed(e))?.len())
    }

    fn cut(&mut self, len: u64) -> Result<()> {
        if self.len()? > len {
            self.file.set_len(len).map_err(|e| self.failed(e))?;
        }
        Ok(())
    }

    fn seek(&mut self, to: u64) -> Result<()> {
        self.file
            .seek(SeekFrom::Start(to))
            .map(drop)
            .map_err(|e| self.failed(e))
    }

    fn failed(&self, error: io::Error) -> Error {
        Error::io(self.beside.display().to_string(), error)
    }
}

/// Whether `path` still leads to `file`.
#[cfg(unix)]
fn is_at(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let id = |meta: fs::Metadata| (meta.dev(), meta.ino());
    match (file.metadata(), fs::symlink_metadata(path)) {
        (Ok(file), Ok(path)) => id(file) == id(path),
        _ => false,
    }
}

/// An open file can't be renamed there.
#[cfg(not(unix))]
fn is_at(_: &File, _: &Path) -> bool {
    true
}

impl Write for Partial {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blob::Blob;
    use crate::descriptor::Descriptor;
    use crate::manifest::Manifest;
    use crate::reference::{Origin, RepoName, Tag, Target};
    use crate::store::{Names, Put};
    use crate::stream::Stop;
    use std::sync::Mutex;

    /// Blobs in memory; remembers from where they were read.
    #[derive(Default)]
    struct Memory {
        blobs: Vec<Vec<u8>>,
        asked: Mutex<Vec<u64>>,
        corrupt: bool,
    }

    impl Store for Memory {
        fn name(&self) -> String {
            "memory".into()
        }
        fn origin(&self) -> Option<Origin> {
            None
        }
        fn blob_size(&self, digest: &Digest) -> Result<Option<u64>> {
            Ok(self
                .blobs
                .iter()
                .find(|b| Digest::of(b) == *digest)
                .map(|b| b.len() as u64))
        }
        fn open_blob(&self, digest: &Digest, from: u64) -> Result<Content<'_>> {
            self.asked.lock().unwrap().push(from);
            let blob = self
                .blobs
                .iter()
                .find(|b| Digest::of(b) == *digest)
                .unwrap();
            let mut bytes = blob[from as usize..].to_vec();
            if self.corrupt {
                bytes.reverse();
            }
            Ok(Content {
                size: Some(blob.len() as u64),
                reader: Box::new(io::Cursor::new(bytes)),
            })
        }
        fn put_blob(&self, _: &Blob, _: Watch<'_>) -> Result<Put> {
            unreachable!()
        }
        fn mount_blob(&self, _: &Digest, _: &RepoName, _: Watch<'_>) -> Result<Put> {
            unreachable!()
        }
        fn delete_blob(&self, _: &Digest) -> Result<()> {
            unreachable!()
        }
        fn manifest(&self, _: &Target) -> Result<Manifest> {
            unreachable!()
        }
        fn head(&self, _: &Target) -> Result<Option<Descriptor>> {
            unreachable!()
        }
        fn put_manifest(&self, _: &Manifest, _: &Target) -> Result<()> {
            unreachable!()
        }
        fn delete_manifest(&self, _: &Digest) -> Result<()> {
            unreachable!()
        }
        fn untag(&self, _: &Tag) -> Result<()> {
            unreachable!()
        }
        fn tags(&self) -> Names<'_> {
            unreachable!()
        }
    }

    fn memory() -> (Memory, Vec<Wanted>, Vec<u8>) {
        let blobs: Vec<Vec<u8>> = [0usize, 10, 3 * BUFFER + 7, BUFFER]
            .iter()
            .map(|len| (0..*len).map(|i| (i * 31 + len) as u8).collect())
            .collect();
        let wanted = blobs
            .iter()
            .map(|b| Wanted {
                digest: Digest::of(b),
                size: Some(b.len() as u64),
            })
            .collect();
        let whole = blobs.concat();
        (
            Memory {
                blobs,
                ..Memory::default()
            },
            wanted,
            whole,
        )
    }

    fn run(store: &Memory, wanted: &[Wanted], path: &Path) -> Result<u64> {
        into_file(store, wanted, path, Watch::new(&(), &Stop::new()))
    }

    #[test]
    fn blobs_are_written_whole_and_verified() {
        let (store, wanted, whole) = memory();
        let (stop, mut out) = (Stop::new(), Vec::new());
        for one in &wanted {
            let content = store.open_blob(&one.digest, 0).unwrap();
            write(content, *one, ("out", &mut out), Watch::new(&(), &stop)).unwrap();
        }
        assert!(out == whole);
        let store = Memory {
            corrupt: true,
            ..store
        };
        for one in &wanted[1..] {
            let content = store.open_blob(&one.digest, 0).unwrap();
            let failed = write(
                content,
                *one,
                ("out", &mut io::sink()),
                Watch::new(&(), &stop),
            );
            assert!(matches!(failed, Err(Error::Mismatch { .. })));
            let content = store.open_blob(&one.digest, 0).unwrap();
            let short = Wanted {
                size: Some(5),
                ..*one
            };
            assert!(matches!(
                write(
                    content,
                    short,
                    ("out", &mut io::sink()),
                    Watch::new(&(), &stop)
                ),
                Err(Error::Size { .. })
            ));
        }
    }

    #[test]
    fn a_partial_file_is_continued_wherever_it_ends() {
        let (store, wanted, whole) = memory();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out");
        for (at, sizes) in [
            (0, true),
            (5, true),
            (10, true),
            (BUFFER, true),
            (whole.len() - 1, true),
            (whole.len(), true),
            (BUFFER, false),
        ] {
            fs::write(dir.path().join("out.partial"), &whole[..at]).unwrap();
            store.asked.lock().unwrap().clear();
            let wanted: Vec<Wanted> = wanted
                .iter()
                .map(|w| Wanted {
                    size: w.size.filter(|_| sizes),
                    ..*w
                })
                .collect();
            assert_eq!(run(&store, &wanted, &path).unwrap(), whole.len() as u64);
            assert!(fs::read(&path).unwrap() == whole, "{at}");
            assert!(!dir.path().join("out.partial").exists());
        }
        // The last run began inside the third blob.
        assert_eq!(*store.asked.lock().unwrap(), [0, BUFFER as u64 - 10, 0]);
    }

    #[test]
    fn a_damaged_partial_is_begun_again_and_an_old_file_stays() {
        let (store, wanted, whole) = memory();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out");
        let mut damaged = whole[..2 * BUFFER].to_vec();
        damaged[20] ^= 1;
        fs::write(dir.path().join("out.partial"), &damaged).unwrap();
        run(&store, &wanted, &path).unwrap();
        assert!(fs::read(&path).unwrap() == whole);
        let store = Memory {
            corrupt: true,
            ..store
        };
        assert!(matches!(
            run(&store, &wanted, &path),
            Err(Error::Mismatch { .. })
        ));
        assert!(fs::read(&path).unwrap() == whole && !dir.path().join("out.partial").exists());
        assert!(matches!(
            run(&store, &wanted, dir.path()),
            Err(Error::Unsupported { .. })
        ));
    }

    #[cfg(unix)]
    #[test]
    fn a_file_that_got_its_name_is_not_written_again() {
        let dir = tempfile::tempdir().unwrap();
        let (beside, place) = (dir.path().join("out.partial"), dir.path().join("out"));
        let file = File::create(&beside).unwrap();
        assert!(is_at(&file, &beside));
        fs::rename(&beside, &place).unwrap();
        assert!(!is_at(&file, &beside));
        fs::write(&beside, "").unwrap();
        assert!(!is_at(&file, &beside) && is_at(&file, &place));
    }

    #[test]
    fn two_writers_of_one_file_do_not_mix() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out");
        let _held = Partial::open(&path).unwrap();
        assert!(matches!(
            Partial::open(&path),
            Err(Error::Unsupported { .. })
        ));
    }
}
