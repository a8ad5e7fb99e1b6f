//! A folder of blobs that were downloaded once, named by their digest.
//!
//! Nothing in it is believed: a blob is hashed before it is used, and deleted
//! when it is not what its name says. Writers put whole files in place by
//! renaming, so any number of processes may share the folder. A cache that
//! can't be written never fails a transfer. Knows nothing of registries.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use crate::blob::{Blob, Source};
use crate::digest::{Digest, Hasher, Verify};
use crate::error::{Error, Result};
use crate::file::{self, Aside, Section};
use crate::reference::Origin;
use crate::stream::{Buffer, read_bounded};

/// The folders in a cache.
const ALGORITHMS: [&str; 2] = ["sha256", "sha512"];

/// A cache of blobs. Clones are the same cache.
#[derive(Clone, Debug)]
pub struct Cache {
    folder: Arc<Path>,
    hits: Hits,
}

/// The blobs that were read from a cache rather than from their store. Clones are
/// the same set.
#[derive(Clone, Debug, Default)]
pub struct Hits(Arc<Mutex<HashSet<Digest>>>);

impl Hits {
    /// Notes that a blob was read from a cache.
    pub fn add(&self, blob: &Digest) {
        self.lock().insert(*blob);
    }

    /// Whether a blob was read from a cache.
    pub fn contains(&self, blob: &Digest) -> bool {
        self.lock().contains(blob)
    }

    fn lock(&self) -> MutexGuard<'_, HashSet<Digest>> {
        // A set is consistent even after a panic elsewhere.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How much something takes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Usage {
    /// Blobs.
    pub blobs: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// What [`Cache::prune`] deletes.
#[derive(Debug, Clone, Copy, Default)]
pub struct Limits {
    /// What was not used for this long.
    pub older_than: Option<Duration>,
    /// What is beyond this many bytes, least recently used first.
    pub max_size: Option<u64>,
}

impl Cache {
    /// The cache in `folder`, which is made when the first blob comes.
    pub fn new(folder: impl Into<PathBuf>) -> Cache {
        Cache {
            folder: folder.into().into(),
            hits: Hits::default(),
        }
    }

    /// The same cache, which notes in `hits` the blobs that are read from it
    /// through [`Cache::wrap`].
    pub fn with_hits(self, hits: Hits) -> Cache {
        Cache { hits, ..self }
    }

    /// The same blob, read from the cache if it is cached, and added to the
    /// cache when it has been read to its end from elsewhere.
    pub fn wrap(&self, blob: Blob) -> Blob {
        let descriptor = blob.descriptor().clone();
        let cached = Cached {
            cache: self.clone(),
            blob,
        };
        Blob::new(descriptor, cached)
    }

    /// An existing blob, verified now; `None` if there is none.
    pub fn get(&self, digest: &Digest, size: u64) -> Option<Section> {
        let path = self.path(digest);
        let file = file::open_regular(File::options().read(true), &path).ok()??;
        let bytes = Section::whole(file.try_clone().ok()?).ok()?;
        let mut reader = Verify::new(bytes.reader(0), *digest, Some(size));
        let mut buffer = Buffer::new();
        loop {
            match reader.read(&mut buffer) {
                Ok(0) => break,
                Ok(_) => {}
                Err(e) => {
                    if Error::from(e).is_corrupt() {
                        let _ = fs::remove_file(&path);
                    }
                    return None;
                }
            }
        }
        // When it was last used; only pruning wants to know.
        let _ = file.set_modified(SystemTime::now());
        Some(bytes)
    }

    /// The bytes of a small blob, verified now; `None` if there is
    /// not, or larger than `limit` bytes.
    pub fn document(&self, digest: &Digest, limit: u64) -> Option<Vec<u8>> {
        let path = self.path(digest);
        let file = file::open_regular(File::options().read(true), &path).ok()??;
        let bytes = read_bounded("", &file, limit).ok()?;
        let mut hasher = Hasher::like(digest);
        hasher.update(&bytes);
        if hasher.finish() != *digest {
            let _ = fs::remove_file(&path);
            return None;
        }
        let _ = file.set_modified(SystemTime::now());
        Some(bytes)
    }

    /// Keeps a small blob, if its bytes are what `digest` says and the cache can
    /// be written.
    pub fn keep(&self, digest: &Digest, bytes: &[u8]) {
        let mut hasher = Hasher::like(digest);
        hasher.update(bytes);
        if hasher.finish() == *digest
            && let Ok(mut aside) = self.begin(digest)
            && aside.file_mut().write_all(bytes).is_ok()
        {
            let _ = aside.commit_unsynced();
        }
    }

    /// How much is in the cache.
    ///
    /// # Errors
    /// [`Error::Io`] when the folder can't be read; a missing one is empty.
    pub fn usage(&self) -> Result<Usage> {
        Ok(sum(&self.entries()?))
    }

    /// Deletes blobs beyond `limits`, and unfinished files of writers.
    /// Returns what was deleted. Blobs in use are read on.
    ///
    /// # Errors
    /// [`Error::Io`] when the folder can't be read, or a file not deleted.
    pub fn prune(&self, limits: &Limits) -> Result<Usage> {
        let now = SystemTime::now();
        let age = |entry: &Entry| now.duration_since(entry.used).unwrap_or_default();
        for algorithm in ALGORITHMS {
            file::sweep(&self.folder.join(algorithm));
        }
        let mut kept = self.entries()?;
        kept.sort_by_key(|entry| entry.used);
        let mut left = sum(&kept).bytes;
        let mut gone = Usage::default();
        for entry in &kept {
            let old = limits.older_than.is_some_and(|limit| age(entry) > limit);
            let too_much = limits.max_size.is_some_and(|limit| left > limit);
            if old || too_much {
                remove(&entry.path)?;
                left -= entry.size;
                gone.blobs += 1;
                gone.bytes += entry.size;
            }
        }
        Ok(gone)
    }

    fn path(&self, digest: &Digest) -> PathBuf {
        self.folder.join(digest.algorithm()).join(digest.hex())
    }

    /// The files that look like the cache's own; others are left alone.
    fn entries(&self) -> Result<Vec<Entry>> {
        let mut all = Vec::new();
        for algorithm in ALGORITHMS {
            let folder = self.folder.join(algorithm);
            let failed = |e| Error::io(folder.display().to_string(), e);
            let names = match fs::read_dir(&folder) {
                Ok(names) => names,
                Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
                Err(e) => return Err(failed(e)),
            };
            for name in names {
                let name = name.map_err(failed)?;
                let text = name.file_name().to_string_lossy().into_owned();
                if format!("{algorithm}:{text}").parse::<Digest>().is_err() {
                    continue;
                }
                // Another process may delete it between the two calls.
                let Ok(meta) = name.metadata() else { continue };
                all.push(Entry {
                    path: name.path(),
                    size: meta.len(),
                    used: meta.modified().unwrap_or(SystemTime::UNIX_EPOCH),
                });
            }
        }
        Ok(all)
    }

    /// A file to fill, in the folder where it will lie.
    fn begin(&self, digest: &Digest) -> io::Result<Aside> {
        let folder = self.folder.join(digest.algorithm());
        // Layers may be private.
        file::make_folder(&folder, file::PRIVATE)?;
        Aside::within(&folder, &self.path(digest), 0o600)
    }
}

struct Entry {
    path: PathBuf,
    size: u64,
    used: SystemTime,
}

fn sum(entries: &[Entry]) -> Usage {
    Usage {
        blobs: entries.len() as u64,
        bytes: entries.iter().map(|entry| entry.size).sum(),
    }
}

fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => {
            Err(Error::io(path.display().to_string(), e))
        }
        _ => Ok(()),
    }
}

struct Cached {
    cache: Cache,
    blob: Blob,
}

impl Source for Cached {
    fn open(&self, from: u64) -> Result<Box<dyn Read + Send + '_>> {
        if let Some(bytes) = self.cache.get(self.blob.digest(), self.blob.size()) {
            self.cache.hits.add(self.blob.digest());
            return Ok(Box::new(bytes.reader(from)));
        }
        let inner = self.blob.open(from)?;
        if from > 0 {
            return Ok(inner);
        }
        let temp = self.cache.begin(self.blob.digest()).ok();
        Ok(Box::new(Tee {
            inner,
            temp,
            left: self.blob.size(),
            hasher: Hasher::like(self.blob.digest()),
            digest: *self.blob.digest(),
        }))
    }

    fn origin(&self) -> Option<&Origin> {
        self.blob.origin()
    }
}

/// Reads, and keeps what was read if it is what its name says.
struct Tee<'a> {
    inner: Box<dyn Read + Send + 'a>,
    temp: Option<Aside>,
    left: u64,
    hasher: Hasher,
    digest: Digest,
}

impl Read for Tee<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buf)?;
        if let Some(mut temp) = self.temp.take() {
            let whole = self.left == n as u64;
            // A full disk, a blob that is longer than it should be, an end
            // before its time: then nothing is kept.
            let wrong = n as u64 > self.left || (n == 0 && !whole);
            if !wrong && temp.file_mut().write_all(&buf[..n]).is_ok() {
                self.left -= n as u64;
                self.hasher.update(&buf[..n]);
                if whole {
                    if self.hasher.clone().finish() == self.digest {
                        let _ = temp.commit_unsynced();
                    }
                } else {
                    self.temp = Some(temp);
                }
            }
        }
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blob::Bytes;
    use std::sync::atomic::{AtomicUsize, Ordering};

    struct Counted(Vec<u8>, Arc<AtomicUsize>);

    impl Source for Counted {
        fn open(&self, from: u64) -> Result<Box<dyn Read + Send + '_>> {
            self.1.fetch_add(1, Ordering::SeqCst);
            Ok(Box::new(&self.0[from as usize..]))
        }
    }

    fn counted(bytes: &[u8]) -> (Blob, Arc<AtomicUsize>) {
        let count = Arc::new(AtomicUsize::new(0));
        let descriptor = Blob::bytes("x/y", bytes.to_vec()).descriptor().clone();
        (
            Blob::new(descriptor, Counted(bytes.to_vec(), count.clone())),
            count,
        )
    }

    #[test]
    fn a_second_read_costs_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::new(dir.path().join("made/later"));
        let (blob, count) = counted(&[7; 100_000]);
        assert_eq!(cache.usage().unwrap(), Usage::default());
        let hits = Hits::default();
        let cache = cache.with_hits(hits.clone());
        for time in 0..3 {
            assert_eq!(hits.contains(blob.digest()), time > 1);
            assert_eq!(
                cache.wrap(blob.clone()).read(200_000).unwrap(),
                [7; 100_000]
            );
        }
        assert_eq!(count.load(Ordering::SeqCst), 1);
        let mut rest = Vec::new();
        cache
            .wrap(blob)
            .open(99_990)
            .unwrap()
            .read_to_end(&mut rest)
            .unwrap();
        assert_eq!(rest, [7; 10]);
        assert_eq!(
            cache.usage().unwrap(),
            Usage {
                blobs: 1,
                bytes: 100_000
            }
        );
    }

    #[test]
    fn what_arrives_wrong_is_not_kept() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::new(dir.path());
        let descriptor = Blob::bytes("x/y", b"good bytes".to_vec());
        let descriptor = descriptor.descriptor().clone();
        let blob = Blob::new(descriptor, Bytes(b"evil bytes".to_vec()));
        assert!(cache.wrap(blob).read(100).is_err());
        assert_eq!(cache.usage().unwrap(), Usage::default());
    }

    #[test]
    fn what_is_damaged_is_fetched_again() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::new(dir.path());
        let (blob, count) = counted(b"good bytes");
        cache.wrap(blob.clone()).read(100).unwrap();
        let path = cache.path(blob.digest());
        for damage in [&b"evil bytes"[..], b"short"] {
            fs::write(&path, damage).unwrap();
            assert_eq!(cache.wrap(blob.clone()).read(100).unwrap(), b"good bytes");
            assert_eq!(fs::read(&path).unwrap(), b"good bytes");
        }
        assert_eq!(count.load(Ordering::SeqCst), 3);
    }

    #[test]
    fn wrong_cut_and_abandoned_downloads_are_never_handed_out() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::new(dir.path());
        let (good, _) = counted(b"good bytes");
        for bad in [&b"evil bytes"[..], b"short", b"far too long to be it"] {
            let lying = Blob::new(good.descriptor().clone(), Bytes(bad.to_vec()));
            assert!(cache.wrap(lying).read(100).is_err());
            assert!(cache.get(good.digest(), good.size()).is_none());
        }
        cache
            .wrap(good.clone())
            .open(0)
            .unwrap()
            .read_exact(&mut [0; 3])
            .unwrap();
        assert_eq!(dir.path().join("sha256").read_dir().unwrap().count(), 0);
    }

    #[test]
    fn a_cache_that_cannot_be_written_does_no_harm() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        fs::write(&file, b"").unwrap();
        let (blob, _) = counted(b"bytes");
        assert_eq!(
            Cache::new(file.join("below")).wrap(blob).read(10).unwrap(),
            b"bytes"
        );
    }

    #[test]
    fn pruning_takes_the_least_used_first() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::new(dir.path());
        let day = Duration::from_secs(86_400);
        for (i, bytes) in [b"aaaa", b"bbbb", b"cccc"].iter().enumerate() {
            let (blob, _) = counted(*bytes);
            cache.wrap(blob.clone()).read(10).unwrap();
            let file = File::options()
                .append(true)
                .open(cache.path(blob.digest()))
                .unwrap();
            file.set_modified(SystemTime::now() - day * (10 - i as u32))
                .unwrap();
        }
        let stranger = dir.path().join("sha256/notes.txt");
        fs::write(&stranger, b"mine").unwrap();
        let old = dir.path().join("sha256/.x.abcdef.partial");
        fs::write(&old, b"left").unwrap();
        let gone = cache.prune(&Limits {
            older_than: Some(day * 9 + day / 2),
            max_size: None,
        });
        assert_eq!(gone.unwrap(), Usage { blobs: 1, bytes: 4 });
        // Reading makes `bbbb` the most recently used.
        cache.get(&Digest::of(b"bbbb"), 4).unwrap();
        let gone = cache.prune(&Limits {
            older_than: None,
            max_size: Some(5),
        });
        assert_eq!(gone.unwrap(), Usage { blobs: 1, bytes: 4 });
        assert!(cache.get(&Digest::of(b"bbbb"), 4).is_some());
        assert!(stranger.exists() && !old.exists());
    }
}
