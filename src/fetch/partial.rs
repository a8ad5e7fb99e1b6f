//! A file that is being made: it lies beside its place as `NAME.partial` until
//! it is whole, and its bytes are hashed again before it is continued.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File, Permissions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::fetch::download::Download;
use crate::fetch::{Sequence, Sink};
use crate::file::{self, Follower, Growth};
use crate::parallel::{Pipe, beside};
use crate::store::ReadStore;
use crate::stream::{Buffer, Run, Stop, Watch};

/// The longest name of a file, bytes; how much of a longer one `NAME.partial` has,
/// and how many digits of its digest.
const MAX_NAME: usize = 255;
const STEM: usize = 200;
const DIGITS: usize = 16;
/// How much is written before it is sent on its way to the disk, bytes.
const FLUSH: u64 = 64 << 20;

/// Fetches blobs, concatenated, into the file at `path`; over several
/// connections as [`super::into_writer`].
///
/// The file appears when it is whole; an older one stays until then. What an
/// earlier call left in `NAME.partial` is checked and continued.
///
/// # Errors
/// As [`super::write()`]; after all but [`Error::Mismatch`] and its like the partial
/// file is kept for the next call.
pub fn into_file(
    store: &dyn ReadStore,
    row: &[Sequence],
    path: &Path,
    run: Run<'_>,
) -> Result<u64> {
    let (partial, bytes) = whole(Partial::open(path)?, store, row, run)?;
    partial.commit()?;
    Ok(bytes)
}

/// The same for one file of many: the name survives a loss of power when its folder was
/// synced, which the caller does once for all of them. What the file `equal` has is
/// copied, as far as it is right, and not fetched.
///
/// # Errors
/// As [`into_file`].
pub(crate) fn into_unsynced_folder(
    store: &dyn ReadStore,
    row: &[Sequence],
    path: &Path,
    equal: Option<&Path>,
    run: Run<'_>,
) -> Result<u64> {
    let mut partial = Partial::open(path)?;
    if let Some(equal) = equal {
        partial.begin_with(equal, run.watch.stop)?;
    }
    let (partial, bytes) = whole(partial, store, row, run)?;
    partial.commit_name()?;
    Ok(bytes)
}

/// The file with all of its bytes, and how many those are.
fn whole(
    mut partial: Partial,
    store: &dyn ReadStore,
    row: &[Sequence],
    run: Run<'_>,
) -> Result<(Partial, u64)> {
    let (synced, filled) = match partial.file.try_clone() {
        // It is brought to the disk at the end, in one go.
        Ok(_) if is_small(row) => (Ok(()), partial.fill(store, row, run, &|_| ())),
        Ok(same) => beside_flusher(
            || same.sync_data(),
            |pokes| {
                let flushed = AtomicU64::new(0);
                let grown = |len| {
                    if len >= flushed.load(Ordering::Relaxed) + FLUSH {
                        flushed.store(len, Ordering::Relaxed);
                        pokes.offer(());
                    }
                };
                partial.fill(store, row, run, &grown)
            },
        ),
        Err(error) => (Ok(()), Err(partial.failed(error))),
    };
    // Bytes that did not reach the disk are read from memory, where they look
    // as they should, until they are lost.
    if let Err(error) = synced {
        let error = partial.failed(error);
        partial.discard();
        return Err(error);
    }
    match filled {
        Ok(bytes) => Ok((partial, bytes)),
        Err(error) => Err(partial.given_up(error)),
    }
}

/// Fetches blobs, concatenated, into `NAME.partial` beside `path`, as
/// [`into_file`] does, while `read` reads on another thread what has arrived so far.
/// Nothing else is made of the file: it is removed when `read` has succeeded.
///
/// What `read` gets is verified when this returns, not before; it is called again
/// when it was given wrong bytes that an earlier call had left.
///
/// # Errors
/// As [`into_file`]; those of `read`, when all bytes were right.
pub(crate) fn followed<T: Send>(
    store: &dyn ReadStore,
    row: &[Sequence],
    path: &Path,
    run: Run<'_>,
    read: impl Fn(Follower<'_>) -> Result<T> + Sync,
) -> Result<T> {
    let mut partial = Partial::open(path)?;
    let file = partial.file.try_clone().map_err(|e| partial.failed(e))?;
    let growth = Growth::default();
    let follow = || read(growth.follower(&file, 0));
    let (followed, filled) = beside(follow, || {
        let _end = growth.ending();
        let filled = partial.fill(store, row, run, &|len| growth.reach(len));
        if filled.is_ok() {
            growth.complete();
        }
        filled
    });
    if let Err(error) = filled {
        return Err(partial.given_up(error));
    }
    let followed = match growth.was_cut() {
        true => follow(),
        false => followed,
    };
    match followed {
        // The next call has nothing to fetch.
        Err(Error::Stopped) => {}
        _ => partial.discard(),
    }
    followed
}

/// Runs `work` while another thread brings to the disk what `work` has written
/// so far, each time it is poked; what is left for the end is then little.
/// Returns what came of both: the system reports a failure only once.
fn beside_flusher<R>(
    sync: impl Fn() -> io::Result<()> + Sync,
    work: impl FnOnce(&Pipe<()>) -> R,
) -> (io::Result<()>, R) {
    let pokes = Pipe::new(1);
    beside(
        || {
            let mut synced = Ok(());
            while pokes.receive().is_some() {
                synced = synced.and_then(|()| sync());
            }
            synced
        },
        || {
            let _end = pokes.closing();
            work(&pokes)
        },
    )
}

/// Whether blobs are known to be no larger together than what is brought to the disk at
/// a time.
fn is_small(row: &[Sequence]) -> bool {
    let blobs = row.iter().flat_map(|one| &one.blobs);
    let sizes: Option<Vec<u64>> = blobs.map(|blob| blob.size).collect();
    let sum = |sizes: Vec<u64>| sizes.into_iter().fold(0, u64::saturating_add);
    sizes.map(sum).is_some_and(|size| size < FLUSH)
}

/// Learns how long the file is.
type Grown<'a> = &'a (dyn Fn(u64) + Sync);

/// Says how long the file is after each write.
struct Growing<'a> {
    file: &'a mut File,
    len: u64,
    grown: Grown<'a>,
}

impl Write for Growing<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = self.file.write(bytes)?;
        self.len += n as u64;
        (self.grown)(self.len);
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// A file that is being made beside its final place.
pub(crate) struct Partial {
    place: PathBuf,
    beside: PathBuf,
    file: File,
}

impl Partial {
    /// Opens `NAME.partial` for the file at `path`, locked against others, with
    /// the permissions of the file it replaces. A `path` that is a symbolic
    /// link means the file it leads to.
    ///
    /// # Errors
    /// [`Error::Unsupported`] when `path` is a folder or others could change it,
    /// [`Error::Busy`] when another process writes it, [`Error::Io`].
    pub fn open(path: &Path) -> Result<Partial> {
        let what = path.display();
        let place = file::follow(path).map_err(|e| Error::io(what.to_string(), e))?;
        let old = fs::metadata(&place).ok();
        if old.as_ref().is_some_and(|old| old.is_dir()) {
            return Err(Error::Unsupported {
                what: format!("{what}: is a folder"),
            });
        }
        // The temporary name means nothing to who gave the other one.
        if let Some(folder) = place.parent().filter(|folder| *folder != Path::new("")) {
            fs::metadata(folder).map_err(|e| Error::io(what.to_string(), e))?;
        }
        let beside = place.with_file_name(partial_name(place.file_name().unwrap_or_default()));
        // One that can't be written could not be continued either.
        let mode = old.map(|old| old.mode() & 0o777);
        let mode = mode.filter(|mode| mode & 0o222 != 0);
        let partial = Partial {
            file: file::own(&beside, mode.unwrap_or(0o666))?,
            place,
            beside,
        };
        if let Some(mode) = mode {
            let permissions = Permissions::from_mode(mode);
            let set = partial.file.set_permissions(permissions);
            set.map_err(|e| partial.failed(e))?;
        }
        Ok(partial)
    }

    /// The open file, to read and to write.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Whether there is nothing in it yet.
    pub fn is_empty(&self) -> bool {
        self.file.metadata().is_ok_and(|meta| meta.len() == 0)
    }

    /// Begins a new file with the bytes of another, which are checked like those of an
    /// earlier call.
    fn begin_with(&mut self, other: &Path, stop: &Stop) -> Result<()> {
        let from = file::open_regular(File::options().read(true), other);
        // Without it they are fetched.
        let Some(from) = from.ok().flatten().filter(|_| self.is_empty()) else {
            return Ok(());
        };
        loop {
            stop.check()?;
            // By the kernel, which may share the bytes.
            match io::copy(&mut (&from).take(FLUSH), &mut self.file) {
                Ok(0) => return Ok(()),
                Ok(_) => {}
                Err(error) => return Err(self.failed(error)),
            }
        }
    }

    fn fill(
        &mut self,
        store: &dyn ReadStore,
        row: &[Sequence],
        run: Run<'_>,
        grown: Grown<'_>,
    ) -> Result<u64> {
        let mut download = Download::new(store, row, run)?;
        self.take_up(&mut download, store, run.watch)?;
        let begun = download.check.start();
        grown(begun + download.check.seen());
        let held = download.check.seen() > 0;
        let bytes = match self.fetch(&mut download, grown) {
            // What lay there was not the beginning of this blob after all.
            Err(error) if error.is_corrupt() && held && download.check.start() == begun => {
                self.cut(begun)?;
                download.check.begin();
                grown(begun);
                self.fetch(&mut download, grown)?
            }
            done => done?,
        };
        self.cut(bytes)?;
        Ok(bytes)
    }

    /// Fetches what is missing, and appends it.
    fn fetch(&mut self, download: &mut Download<'_>, grown: Grown<'_>) -> Result<u64> {
        let len = download.check.start() + download.check.seen();
        self.seek(len)?;
        let name = self.beside.display().to_string();
        let mut to = Growing {
            file: &mut self.file,
            len,
            grown,
        };
        let folder = file::parent(&self.place);
        download.finish(&mut Sink::new(&name, &mut to).with_folder(folder))
    }

    /// Hashes the existing bytes, up to their end or the first wrong one.
    fn take_up(
        &mut self,
        download: &mut Download<'_>,
        store: &dyn ReadStore,
        watch: Watch<'_>,
    ) -> Result<()> {
        let there = self.len()?;
        while let Some(item) = download.check.current() {
            let (digest, begun) = (item.wanted.digest, download.check.start());
            if there <= begun {
                break;
            }
            if download.check.size().is_none() {
                download.check.learn(store.blob_size(&digest)?);
            }
            let size = download.check.size();
            let held = size.map_or(there - begun, |size| size.min(there - begun));
            watch.progress.start(&digest, size);
            self.hash(download, held, watch)?;
            if size != Some(held) {
                break;
            }
            if let Err(error) = download.check.end_blob() {
                if !error.is_corrupt() {
                    return Err(error);
                }
                self.cut(begun)?;
                download.check.begin();
                break;
            }
            watch.progress.finish(&digest);
        }
        Ok(())
    }

    /// Hashes the first `held` bytes of the blob that comes now.
    fn hash(&mut self, download: &mut Download<'_>, held: u64, watch: Watch<'_>) -> Result<()> {
        self.seek(download.check.start())?;
        let digest = download.check.current().map(|item| item.wanted.digest);
        let (mut left, mut buffer) = (held, Buffer::new());
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
            download.check.count(n)?;
            download.check.hashers().update(&buffer[..n]);
            digest.inspect(|digest| watch.progress.advance(digest, n as u64));
            left -= n as u64;
        }
        Ok(())
    }

    /// Puts the file in its place, to stay there.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn commit(self) -> Result<()> {
        let place = self.commit_name()?;
        let synced = file::sync_folder(file::parent(&place));
        synced.map_err(|e| Error::io(place.display().to_string(), e))
    }

    /// The same, but the folder is not synced; returns the place.
    fn commit_name(self) -> Result<PathBuf> {
        if let Err(error) = file::sync_file(&self.file, &self.beside) {
            let error = self.failed(error);
            // Not to be trusted by the next call.
            self.discard();
            return Err(error);
        }
        let renamed = file::rename(&self.beside, &self.place);
        renamed.map_err(|e| Error::io(self.place.display().to_string(), e))?;
        Ok(self.place)
    }

    /// Removes it after an error that makes it worthless, else leaves it to the
    /// next call.
    fn given_up(self, error: Error) -> Error {
        if error.is_corrupt() || self.is_empty() {
            self.discard();
        }
        error
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

    /// An error of the file, which it names.
    pub fn failed(&self, error: io::Error) -> Error {
        Error::io(self.beside.display().to_string(), error)
    }
}

/// `NAME.partial`; of a name that has no room for that, its beginning and its
/// digest.
fn partial_name(name: &OsStr) -> OsString {
    const END: &str = ".partial";
    let mut made = name.to_os_string();
    if name.len() + END.len() > MAX_NAME {
        let digest = Digest::of(name.as_bytes()).hex().to_string();
        made = OsStr::from_bytes(&name.as_bytes()[..STEM]).to_os_string();
        made.push(".");
        made.push(&digest[..DIGITS]);
    }
    made.push(END);
    made
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
    use crate::file::trace;

    #[test]
    fn links_are_written_through_and_planted_ones_refused() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        std::os::unix::fs::symlink("real", at("link")).unwrap();
        Partial::open(&at("link")).unwrap().commit().unwrap();
        assert!(fs::symlink_metadata(at("link")).unwrap().is_symlink());
        assert!(at("real").is_file());
        fs::write(at("victim"), "mine").unwrap();
        std::os::unix::fs::symlink("victim", at("out.partial")).unwrap();
        assert!(Partial::open(&at("out")).is_err());
        fs::remove_file(at("out.partial")).unwrap();
        fs::hard_link(at("victim"), at("out.partial")).unwrap();
        assert!(Partial::open(&at("out")).is_err());
        assert_eq!(fs::read(at("victim")).unwrap(), b"mine");
    }

    #[test]
    fn what_is_reported_is_on_the_disk() {
        let dir = tempfile::Builder::new().prefix("top").tempdir().unwrap();
        let top = dir.path().file_name().unwrap().to_string_lossy();
        let path = dir.path().join("out");
        trace::take();
        Partial::open(&path).unwrap().commit().unwrap();
        let synced = format!("sync folder {top}");
        assert_eq!(trace::take(), ["sync out.partial", "rename out", &synced]);
    }

    #[test]
    fn a_failure_while_writing_is_not_forgotten() {
        let (synced, done) = beside_flusher(
            || Err(io::Error::other("the disk")),
            |pokes| {
                pokes.offer(());
                7
            },
        );
        assert_eq!(
            (synced.unwrap_err().to_string(), done),
            ("the disk".into(), 7)
        );
    }

    #[test]
    fn the_longest_name_has_a_partial_file_too() {
        let dir = tempfile::tempdir().unwrap();
        let path = |end: &str| dir.path().join("n".repeat(254) + end);
        let (one, _other) = (
            Partial::open(&path("1")),
            Partial::open(&path("2")).unwrap(),
        );
        one.unwrap().commit().unwrap();
        assert!(path("1").is_file() && !path("2").exists());
        assert_eq!(partial_name(OsStr::new(&"n".repeat(247))).len(), 255);
    }

    #[test]
    fn a_replaced_file_keeps_who_may_read_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out");
        let mode = || fs::metadata(&path).unwrap().mode() & 0o7777;
        for (before, after) in [(0o600, 0o600), (0o4755, 0o755), (0o666, 0o666)] {
            fs::write(&path, "").unwrap();
            fs::set_permissions(&path, Permissions::from_mode(before)).unwrap();
            Partial::open(&path).unwrap().commit().unwrap();
            assert_eq!(mode(), after);
        }
    }
}
