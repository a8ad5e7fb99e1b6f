//! Blobs: bytes with a descriptor, which can be opened again.
//!
//! A retry, a redirect and a fresh token all need a second reader, and a
//! chunked upload needs one from the middle, so nothing in this crate uploads
//! from a bare reader. Knows nothing of registries or archives.

use std::collections::BTreeMap;
use std::io::{Cursor, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::descriptor::{Descriptor, media_type};
use crate::digest::{Digest, Hasher, Verify};
use crate::error::{Error, Result};
use crate::file::{Section, Spool, Stable, Stamp, spool_name};
use crate::reference::Origin;
use crate::stream::{Buffer, Watch, copy};

/// Bytes that can be read more than once.
pub trait Source: Send + Sync {
    /// A reader over the bytes from offset `from` to the end.
    ///
    /// # Errors
    /// Whatever keeps the bytes from being read.
    fn open(&self, from: u64) -> Result<Box<dyn Read + Send + '_>>;

    /// The digest and the size in bytes that a reader from offset 0 verifies, where
    /// it does: [`Blob::verified`] does not hash such bytes again.
    fn verifies(&self) -> Option<(Digest, u64)> {
        None
    }

    /// The repository that already holds these bytes, where one is known.
    fn origin(&self) -> Option<&Origin> {
        None
    }
}

/// A blob to be stored: its descriptor, and where its bytes come from.
#[derive(Clone)]
pub struct Blob {
    descriptor: Descriptor,
    source: Arc<dyn Source>,
}

impl Blob {
    /// A blob whose descriptor is known to be true of `source`.
    pub fn new(descriptor: Descriptor, source: impl Source + 'static) -> Blob {
        Blob {
            descriptor,
            source: Arc::new(source),
        }
    }

    /// A blob of bytes in memory.
    pub fn bytes(media_type: &str, bytes: Vec<u8>) -> Blob {
        let descriptor = Descriptor::new(media_type, Digest::of(&bytes), bytes.len() as u64);
        Blob::new(descriptor, Bytes(bytes))
    }

    /// The config of manifests that have none: the two bytes `{}`
    /// (image-spec, manifest.md, "Guidance for an Empty Descriptor").
    pub fn empty() -> Blob {
        Blob::bytes(media_type::OCI_EMPTY, b"{}".to_vec())
    }

    /// A blob of a whole file, which is read once now to learn its digest.
    ///
    /// # Errors
    /// [`Error::Io`] when the file can't be read, [`Error::Unsupported`] when
    /// it is not a regular file (a pipe can't be read twice, but
    /// [`Blob::spooled`]), [`Error::Stopped`].
    pub fn file(path: &Path, watch: Watch<'_>) -> Result<Blob> {
        let what = path.display().to_string();
        let file = Arc::new(Stable::open(path)?);
        let mut bytes = file.reader(&file.whole(), 0);
        let total = Some(file.whole().len());
        let (digest, size) = Measured::new(&what, total, watch).hash(&mut bytes, None)?;
        let descriptor = Descriptor::new(media_type::OCTET_STREAM, digest, size);
        let source = FileRange {
            path: path.to_path_buf(),
            start: 0,
            len: size,
            stamp: Some(file.stamp()),
        };
        Ok(Blob::new(descriptor, source))
    }

    /// A blob of everything that a reader gives, of any size: its bytes wait
    /// in `folder`, in a file without a name, until the blob is dropped. `what`
    /// calls the reader by name in errors.
    ///
    /// ```
    /// use dxf_registry::{Blob, Digest, stream::{Stop, Watch}};
    ///
    /// let stop = Stop::new();
    /// let lines = std::io::repeat(b'y');
    /// let reader = std::io::Read::take(lines, 1000);
    /// let folder = std::env::temp_dir();
    /// let blob = Blob::spooled("yes", reader, &folder, Watch::new(&(), &stop))?;
    /// assert_eq!((blob.size(), blob.digest()), (1000, &Digest::of(&[b'y'; 1000])));
    /// # Ok::<(), dxf_registry::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Io`] for the reader and for the folder, [`Error::Stopped`].
    pub fn spooled(
        what: &str,
        mut from: impl Read,
        folder: &Path,
        watch: Watch<'_>,
    ) -> Result<Blob> {
        let mut spool = Spool::new(folder)?;
        let (digest, size) =
            Measured::new(what, None, watch).hash(&mut from, Some((folder, &mut spool)))?;
        let descriptor = Descriptor::new(media_type::OCTET_STREAM, digest, size);
        Ok(Blob::new(descriptor, spool.finish()))
    }

    /// The same bytes under another media type.
    pub fn with_media_type(&self, media_type: &str) -> Blob {
        let mut other = self.clone();
        other.descriptor.media_type = media_type.to_string();
        other
    }

    /// The same bytes with these annotations.
    pub fn with_annotations(&self, annotations: BTreeMap<String, String>) -> Blob {
        let mut other = self.clone();
        other.descriptor.annotations = annotations;
        other
    }

    /// The same bytes, whose errors say that they happened at `place`. Whole
    /// ones are verified as they are read, so that a store which gives wrong
    /// bytes is not taken for one that refuses right ones.
    pub fn at(&self, place: &str) -> Blob {
        let placed = Placed {
            blob: self.clone(),
            place: place.to_string(),
        };
        Blob::new(self.descriptor.clone(), placed)
    }

    /// Digest, size and media type.
    pub fn descriptor(&self) -> &Descriptor {
        &self.descriptor
    }

    /// The digest.
    pub fn digest(&self) -> &Digest {
        &self.descriptor.digest
    }

    /// The length, bytes.
    pub fn size(&self) -> u64 {
        self.descriptor.size
    }

    /// A reader over the bytes from offset `from`, unverified.
    ///
    /// # Errors
    /// As [`Source::open`].
    pub fn open(&self, from: u64) -> Result<Box<dyn Read + Send + '_>> {
        self.source.open(from)
    }

    /// A reader over all the bytes, which are hashed exactly once: it fails with
    /// [`Error::Mismatch`] or [`Error::Size`] instead of ending, inside an
    /// [`std::io::Error`], and never gives a byte more than the blob has.
    ///
    /// # Errors
    /// As [`Source::open`].
    pub fn verified(&self) -> Result<Box<dyn Read + Send + '_>> {
        let (bytes, expected) = (self.open(0)?, (*self.digest(), self.size()));
        Ok(match self.source.verifies() == Some(expected) {
            true => bytes,
            false => Box::new(Verify::new(bytes, expected.0, Some(expected.1))),
        })
    }

    /// Where its bytes come from.
    pub(crate) fn source(&self) -> Arc<dyn Source> {
        self.source.clone()
    }

    /// A repository that already has the blob, if one is known.
    pub fn origin(&self) -> Option<&Origin> {
        self.source.origin()
    }

    /// Everything in memory, verified; for configs and other small blobs.
    ///
    /// # Errors
    /// Those of the source; [`Error::Mismatch`], [`Error::Size`].
    pub fn read(&self, limit: u64) -> Result<Vec<u8>> {
        crate::stream::read_bounded(&self.digest().to_string(), self.verified()?, limit)
    }

    /// Copies the bytes to `to`, verified.
    ///
    /// # Errors
    /// Those of the source; [`Error::Io`] naming `what` for `to`'s.
    pub fn copy_to(&self, what: &str, to: &mut dyn Write) -> Result<u64> {
        let copied = copy(&mut self.verified()?, to, &mut Buffer::new());
        copied.map_err(|e| e.naming(self.digest().to_string(), what))
    }
}

/// The digest and the size in bytes of everything a reader gives; `what` calls
/// it by name in errors.
///
/// # Errors
/// [`Error::Io`], [`Error::Stopped`].
pub fn measure(what: &str, mut from: impl Read, watch: Watch<'_>) -> Result<(Digest, u64)> {
    Measured::new(what, None, watch).hash(&mut from, None)
}

/// A reader whose digest and size are taken, and how far that is reported.
struct Measured<'a> {
    what: &'a str,
    /// Bytes, where that is known.
    total: Option<u64>,
    watch: Watch<'a>,
}

impl<'a> Measured<'a> {
    fn new(what: &'a str, total: Option<u64>, watch: Watch<'a>) -> Measured<'a> {
        Measured { what, total, watch }
    }

    /// Reads to the end, and writes to the spool if there is one, which lies in
    /// the folder beside it.
    fn hash(
        self,
        from: &mut dyn Read,
        mut to: Option<(&Path, &mut Spool)>,
    ) -> Result<(Digest, u64)> {
        let (what, watch) = (self.what, self.watch);
        let (mut hasher, mut size, mut buffer) = (Hasher::new(), 0, Buffer::new());
        loop {
            watch.stop.check()?;
            let n = match from.read(&mut buffer) {
                Ok(0) => break,
                Ok(n) => n,
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(Error::io(what, e)),
            };
            hasher.update(&buffer[..n]);
            if let Some((folder, spool)) = &mut to {
                let written = spool.write_all(&buffer[..n]);
                written.map_err(|e| Error::io(spool_name(folder), e))?;
            }
            size += n as u64;
            watch.progress.prepare(what, size, self.total);
        }
        watch.progress.prepared(what);
        Ok((hasher.finish(), size))
    }
}

impl std::fmt::Debug for Blob {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Blob({}, {} bytes)", self.digest(), self.size())
    }
}

/// A source that says where it is when it fails.
struct Placed {
    blob: Blob,
    place: String,
}

impl Source for Placed {
    fn open(&self, from: u64) -> Result<Box<dyn Read + Send + '_>> {
        let inner = match from {
            0 => self.blob.verified(),
            // The middle alone proves nothing.
            _ => self.blob.open(from),
        };
        Ok(Box::new(PlacedReader {
            inner: inner.map_err(|e| e.at(&self.place))?,
            place: &self.place,
            left: self.blob.size().saturating_sub(from),
        }))
    }

    fn verifies(&self) -> Option<(Digest, u64)> {
        Some((*self.blob.digest(), self.blob.size()))
    }

    fn origin(&self) -> Option<&Origin> {
        self.blob.origin()
    }
}

struct PlacedReader<'a> {
    inner: Box<dyn Read + Send + 'a>,
    place: &'a str,
    left: u64,
}

impl Read for PlacedReader<'_> {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        let placed = |e: std::io::Error| match e.kind() {
            std::io::ErrorKind::Interrupted => e,
            _ => Error::io("blob", e).at(self.place).into(),
        };
        let n = self.inner.read(buf).map_err(placed)?;
        self.left = self.left.saturating_sub(n as u64);
        // Who knows the length reads no further, and would never hear the
        // verdict, which comes at the end.
        if self.left == 0 && n > 0 {
            self.inner.read(&mut [0]).map_err(placed)?;
        }
        Ok(n)
    }
}

/// Bytes in memory.
pub struct Bytes(pub Vec<u8>);

impl Source for Bytes {
    fn open(&self, from: u64) -> Result<Box<dyn Read + Send + '_>> {
        let mut cursor = Cursor::new(self.0.as_slice());
        cursor.set_position(from);
        Ok(Box::new(cursor))
    }
}

impl Source for Section {
    fn open(&self, from: u64) -> Result<Box<dyn Read + Send + '_>> {
        Ok(Box::new(self.reader(from)))
    }
}

/// A section of a file: the whole of it, or a member of an archive.
pub struct FileRange {
    path: PathBuf,
    start: u64,
    len: u64,
    /// What the whole file was when its digest was taken.
    stamp: Option<Stamp>,
}

impl FileRange {
    /// `len` bytes of the file at `path`, from offset `start`. Opening fails with
    /// [`Error::ChangedWhileRead`] once the file changes.
    pub fn new(path: impl Into<PathBuf>, start: u64, len: u64) -> FileRange {
        let path = path.into();
        // A missing file can't change; opening it reports that it is missing.
        let stamp = std::fs::metadata(&path).ok();
        FileRange {
            stamp: stamp.map(|meta| Stamp::of(&meta)),
            path,
            start,
            len,
        }
    }
}

impl FileRange {
    /// The whole file at `path`, which must not change.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Unsupported`] for anything but a regular file.
    pub fn stable(path: &Path) -> Result<FileRange> {
        let stamp = Stable::open(path)?.stamp();
        let whole = FileRange::new(path, 0, stamp.len);
        Ok(FileRange {
            stamp: Some(stamp),
            ..whole
        })
    }

    /// The length, bytes.
    pub fn size(&self) -> u64 {
        self.len
    }
}

/// Some bytes of a source.
pub(crate) struct SourceRange {
    /// What they are bytes of.
    pub source: Arc<dyn Source>,
    /// Where in it they begin.
    pub start: u64,
    /// How many they are.
    pub len: u64,
}

impl SourceRange {
    /// All `len` bytes of `source`.
    pub fn whole(source: Arc<dyn Source>, len: u64) -> SourceRange {
        SourceRange {
            source,
            start: 0,
            len,
        }
    }
}

impl Source for SourceRange {
    fn open(&self, from: u64) -> Result<Box<dyn Read + Send + '_>> {
        let reader = self.source.open(self.start.saturating_add(from))?;
        Ok(Box::new(reader.take(self.len.saturating_sub(from))))
    }
}

impl Source for FileRange {
    fn open(&self, from: u64) -> Result<Box<dyn Read + Send + '_>> {
        let file = Arc::new(match self.stamp {
            Some(stamp) => Stable::reopen(&self.path, stamp)?,
            None => Stable::open(&self.path)?,
        });
        let section = file.whole().part(self.start, self.len);
        let section = section.ok_or_else(|| file.changed())?;
        Ok(Box::new(file.reader(&section, from)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream::Stop;

    fn read(source: &dyn Source, from: u64) -> String {
        let mut out = String::new();
        source.open(from).unwrap().read_to_string(&mut out).unwrap();
        out
    }

    #[test]
    fn sources_open_anywhere_and_again() {
        let bytes = Bytes(b"hello".to_vec());
        assert_eq!(
            (read(&bytes, 0), read(&bytes, 3), read(&bytes, 9)),
            ("hello".into(), "lo".into(), "".into())
        );
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(b"xxhelloyy").unwrap();
        let range = FileRange::new(file.path(), 2, 5);
        assert_eq!(
            (read(&range, 0), read(&range, 3), read(&range, 9)),
            ("hello".into(), "lo".into(), "".into())
        );
        assert!(FileRange::new(file.path(), 5, 5).open(0).is_err());
        // Of the same length, and yet another file's bytes.
        let times = std::fs::FileTimes::new().set_modified(std::time::UNIX_EPOCH);
        file.as_file().set_times(times).unwrap();
        let failed = range.open(0).err();
        assert!(matches!(failed, Some(Error::ChangedWhileRead { .. })));
    }

    #[test]
    fn what_comes_once_is_spooled_and_leaves_nothing() {
        let (dir, stop) = (tempfile::tempdir().unwrap(), Stop::new());
        let watch = Watch::new(&(), &stop);
        let blob = Blob::spooled("x", &b"abc"[..], dir.path(), watch).unwrap();
        assert_eq!((*blob.digest(), blob.size()), (Digest::of(b"abc"), 3));
        assert_eq!(blob.read(10).unwrap(), b"abc");
        assert_eq!(blob.read(10).unwrap(), b"abc");
        assert_eq!(dir.path().read_dir().unwrap().count(), 0);
        struct Broken;
        impl Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
                Err(std::io::Error::other("broken"))
            }
        }
        let failed = Blob::spooled("x", Broken, dir.path(), watch).unwrap_err();
        assert_eq!(failed.to_string(), "x: broken");
        let nowhere = dir.path().join("nowhere");
        assert!(Blob::spooled("x", &b"abc"[..], &nowhere, watch).is_err());
        stop.set();
        let stopped = Blob::spooled("x", &b"abc"[..], dir.path(), watch);
        assert!(matches!(stopped, Err(Error::Stopped)));
    }

    #[test]
    fn a_file_is_hashed_and_watched_for_change() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(b"abc").unwrap();
        let stop = Stop::new();
        let blob = Blob::file(file.path(), Watch::new(&(), &stop)).unwrap();
        assert_eq!((*blob.digest(), blob.size()), (Digest::of(b"abc"), 3));
        assert_eq!(blob.read(10).unwrap(), b"abc");
        file.write_all(b"d").unwrap();
        assert!(blob.open(0).is_err());
        assert!(Blob::file(&std::env::temp_dir(), Watch::new(&(), &stop)).is_err());
        stop.set();
        assert!(matches!(
            Blob::file(file.path(), Watch::new(&(), &stop)),
            Err(Error::Stopped)
        ));
    }

    /// Bytes, and what their readers are said to verify.
    struct Sworn(&'static [u8], Option<(Digest, u64)>);

    impl Source for Sworn {
        fn open(&self, from: u64) -> Result<Box<dyn Read + Send + '_>> {
            Ok(Box::new(&self.0[from as usize..]))
        }

        fn verifies(&self) -> Option<(Digest, u64)> {
            self.1
        }
    }

    #[test]
    fn bytes_are_hashed_once_and_never_not() {
        let right = Blob::bytes("x", b"abc".to_vec());
        let expected = (*right.digest(), right.size());
        let blob = |bytes, verifies| Blob::new(right.descriptor().clone(), Sworn(bytes, verifies));
        // Wrong bytes pass where the source says that it verifies exactly these:
        // nothing hashes them again, however often they were given a place.
        for blob in [
            blob(b"abX", Some(expected)),
            blob(b"abX", Some(expected)).at("a").at("b"),
        ] {
            assert_eq!(blob.read(10).unwrap(), b"abX");
            assert_eq!(blob.copy_to("x", &mut Vec::new()).unwrap(), 3);
        }
        // Where it verifies nothing, or something else, they are hashed here.
        let others = [None, Some((Digest::of(b"abX"), 3)), Some((expected.0, 4))];
        for (verifies, bytes) in others
            .into_iter()
            .flat_map(|one| [&b"abX"[..], b"ab", b"abcd", b""].map(|bytes| (one, bytes)))
        {
            for blob in [blob(bytes, verifies), blob(bytes, verifies).at("a").at("b")] {
                let mut found = Vec::new();
                let copied = blob.copy_to("x", &mut found);
                assert!(copied.is_err_and(|e| e.is_corrupt()) && found.len() <= 3);
                assert!(blob.read(10).is_err_and(|e| e.is_corrupt()));
            }
            assert_eq!(blob(b"abc", verifies).at("a").read(10).unwrap(), b"abc");
        }
    }

    #[test]
    fn the_verdict_comes_before_the_last_byte_is_given_away() {
        let right = Blob::bytes("x", b"abc".to_vec());
        let wrong = Blob::new(right.descriptor().clone(), Bytes(b"abX".to_vec()));
        let read = |blob: &Blob, from| {
            let mut found = Vec::new();
            let placed = blob.at("source a");
            let reader = placed.open(from)?;
            reader
                .take(3 - from)
                .read_to_end(&mut found)
                .map_err(|e| Error::io("x", e))?;
            Ok::<_, Error>(found)
        };
        assert_eq!(read(&right, 0).unwrap(), b"abc");
        assert_eq!(read(&right, 1).unwrap(), b"bc");
        let said = read(&wrong, 0).unwrap_err();
        assert!(said.is_corrupt(), "{said}");
        assert!(
            said.to_string().starts_with("source a: digest mismatch"),
            "{said}"
        );
    }
}
