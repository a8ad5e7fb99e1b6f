//! Files of an artifact, written into a folder: each atomically, several
//! at once, and never outside of the folder.

use std::collections::hash_map::Entry::{Occupied, Vacant};
use std::collections::{BTreeSet, HashMap, HashSet};
use std::fs::{self, File, Permissions};
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use super::entries::{Entry, Form};
use super::input::contents;
use super::merge::{Existing, Others};
use super::names::TOP;
use super::unpack::{Archive, Members, decompress, is_below, unpack};
use crate::digest::{Digest, Hasher};
use crate::error::{Error, Result};
use crate::fetch;
use crate::file::{SHARED, make_folder, parent, rename, sync_folder};
use crate::image::make::Modified;
use crate::parallel;
use crate::store::ReadStore;
use crate::stream::{Buffer, Run, Stop, copy};
use crate::tar::Dialect;

/// Where files are written, and what happens to existing ones.
#[derive(Debug, Clone, Copy)]
pub struct Pull<'a> {
    folder: &'a Path,
    keep: bool,
}

/// What became of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Pulled {
    /// It was fetched.
    Written,
    /// The file or folder existed and was the same.
    Unchanged,
}

/// Writes the bytes of one entry, which is a file, to `path` instead of its name: as
/// [`fetch::into_file`], and executable where the entry is.
///
/// # Errors
/// Those of [`fetch::into_file`]; [`Error::Io`].
pub fn write_as(store: &dyn ReadStore, entry: &Entry, path: &Path, run: Run<'_>) -> Result<()> {
    fetch::into_file(store, std::slice::from_ref(&entry.content), path, run)?;
    make_executable(path, entry)
}

impl<'a> Pull<'a> {
    /// Into `folder`, which is made where it is missing.
    pub fn new(folder: &'a Path) -> Pull<'a> {
        Pull {
            folder,
            keep: false,
        }
    }

    /// The same, but nothing is replaced.
    #[must_use]
    pub fn without_replacing(self) -> Pull<'a> {
        Pull { keep: true, ..self }
    }

    /// Writes files, in no particular order, and returns what was done with each.
    ///
    /// A file or folder that exists and is the same is not fetched, provided that the
    /// artifact has the digest of a folder's contents (oras and this crate write it).
    /// What an earlier call left unfinished is continued.
    ///
    /// # Errors
    /// [`Error::NotAllowed`] for something in the way: a link, a file where a
    /// folder belongs, and anything that exists and must not be replaced;
    /// [`Error::Malformed`] for archives that point outside their folder;
    /// [`Error::Mismatch`] and [`Error::Size`] for wrong bytes; [`Error::Io`];
    /// those of the store.
    pub fn write(
        &self,
        store: &dyn ReadStore,
        entries: &[Entry],
        run: Run<'_>,
    ) -> Result<Vec<Pulled>> {
        let failed = |e| Error::io(self.folder.display().to_string(), e);
        make_folder(self.folder, SHARED).map_err(failed)?;
        for entry in entries {
            self.look(entry, run.watch.stop)?;
        }
        let single = entries.len() <= 1;
        let merging = Mutex::new(self.others(entries));
        let names: HashSet<String> = entries.iter().map(|e| e.name.to_lowercase()).collect();
        let work = |(at, (entry, twin)): (usize, (&Entry, Twin)), stop: &Stop| {
            // One level of threads: several files, or several parts of one.
            let run = Run {
                jobs: if single { run.jobs } else { 1 },
                ..run.stopped_by(stop)
            };
            let pulled = match (&entry.form, twin) {
                (_, Twin::Done) => Ok(Pulled::Unchanged),
                (Form::Tree | Form::Packed, _) => self.tree(store, entry, run, &merging),
                (Form::File, twin) => {
                    // Another file has the name of this one while it is fetched.
                    let apart = names.contains(&partial(entry));
                    self.file(store, entry, self.equal(twin).as_deref(), apart, run)
                }
                _ => self.folder(store, entry, run),
            };
            Ok((at, pulled?))
        };
        // Those that are equal to others come when these are there.
        let all = entries.iter().zip(twins(entries)).enumerate();
        let (first, then): (Vec<_>, Vec<_>) =
            all.partition(|(_, (_, twin))| !matches!(twin, Twin::Equal(_)));
        let mut pulled = vec![Pulled::Unchanged; entries.len()];
        for some in [first, then] {
            for (at, one) in parallel::map(run.jobs, some, run.watch.stop, work)? {
                pulled[at] = one;
            }
        }
        self.sync_folders(entries)?;
        Ok(pulled)
    }

    /// The file that has the bytes of another already.
    fn equal(&self, twin: Twin<'_>) -> Option<PathBuf> {
        match twin {
            Twin::Equal(other) => Some(self.folder.join(&other.name)),
            Twin::None | Twin::Done => None,
        }
    }

    /// Refuses what is in the way, before anything is fetched.
    fn look(&self, entry: &Entry, stop: &Stop) -> Result<()> {
        let mut path = self.folder.to_path_buf();
        let mut left = entry.name.split('/').peekable();
        while let Some(part) = left.next() {
            path.push(part);
            let meta = match fs::symlink_metadata(&path) {
                Err(e) if e.kind() == ErrorKind::NotFound => return Ok(()),
                meta => meta.map_err(|e| Error::io(path.display().to_string(), e))?,
            };
            let is_last = left.peek().is_none();
            let fits = match &entry.form {
                _ if !is_last => meta.is_dir(),
                Form::File | Form::Packed => meta.is_file(),
                Form::Folder(_) => meta.is_dir(),
                Form::Either | Form::Tree => meta.is_dir() || meta.is_file(),
            };
            let in_the_way = |what: &str| {
                let what = format!("{}: {what}", path.display());
                Err(Error::NotAllowed { what })
            };
            if !fits {
                return in_the_way(match meta.is_symlink() {
                    true => "a symbolic link is in the way; remove it",
                    false => "another file is in the way; remove it, or choose another folder",
                });
            }
            let is_same = || match holds(&path, entry, stop)? {
                true => Ok(true),
                false => is_same_folder(&path, entry, stop),
            };
            // What is compressed or in an archive from the top is known when it is unpacked.
            let is_known = !matches!(entry.form, Form::Tree | Form::Packed);
            if is_last && self.keep && is_known && !is_same()? {
                return in_the_way("it exists and is not overwritten");
            }
        }
        Ok(())
    }

    /// The path of an entry, in folders that are made.
    fn path(&self, entry: &Entry) -> Result<PathBuf> {
        let path = self.folder.join(&entry.name);
        let parent = path.parent().unwrap_or(self.folder);
        make_folder(parent, SHARED).map_err(|e| Error::io(parent.display().to_string(), e))?;
        Ok(path)
    }

    /// Fetches a file, or copies it from an equal one; `apart` under a name that no other
    /// file has.
    fn file(
        &self,
        store: &dyn ReadStore,
        entry: &Entry,
        equal: Option<&Path>,
        apart: bool,
        run: Run<'_>,
    ) -> Result<Pulled> {
        let path = self.path(entry)?;
        let there = holds(&path, entry, run.watch.stop)?;
        if !there && apart {
            let fetched = self.fetched(store, entry, &path, equal, run)?;
            fetched.place(&path)?;
        } else if !there {
            let row = std::slice::from_ref(&entry.content);
            fetch::into_unsynced_folder(store, row, &path, equal, run)?;
        }
        make_executable(&path, entry)?;
        Ok(match there {
            true => Pulled::Unchanged,
            false => Pulled::Written,
        })
    }

    /// Fetches the archive of a folder, or what may be one.
    fn folder(&self, store: &dyn ReadStore, entry: &Entry, run: Run<'_>) -> Result<Pulled> {
        let path = self.path(entry)?;
        let row = std::slice::from_ref(&entry.content);
        if is_same_folder(&path, entry, run.watch.stop)? {
            return Ok(Pulled::Unchanged);
        }
        match &entry.form {
            Form::Folder(tar) => {
                // Not synced: what a loss of power leaves of it is checked again.
                let at = beside(&path, entry);
                let archive = archive(entry, *tar);
                let unpacked = fetch::followed(store, row, &at, run, |from| {
                    unpack(&archive, from, &path, run.watch.stop)
                })?;
                unpacked.commit(&path)?;
            }
            _ => self.either(store, entry, &path, run)?,
        }
        Ok(Pulled::Written)
    }

    /// The files that entries are by themselves, which archives must not replace.
    fn others(&self, entries: &[Entry]) -> Others {
        let trees = entries.iter().filter(|entry| entry.form == Form::Tree);
        let files = entries.iter().filter(|entry| entry.form == Form::File);
        let files = files.map(|entry| (self.folder.join(&entry.name), entry.digest));
        Others::new(trees.count() > 1, files.collect())
    }

    /// Fetches an archive with names from the top of the folder, or a file that is
    /// compressed. One at a time is moved there: several may make the same folder.
    fn tree(
        &self,
        store: &dyn ReadStore,
        entry: &Entry,
        run: Run<'_>,
        merging: &Mutex<Others>,
    ) -> Result<Pulled> {
        let name = entry.name.rsplit('/').next().filter(|name| *name != TOP);
        let path = self.folder.join(name.unwrap_or("files"));
        let row = std::slice::from_ref(&entry.content);
        let archive = Archive {
            members: Members::FromTop,
            ..archive(entry, None)
        };
        let unpacked = fetch::followed(store, row, &beside(&path, entry), run, |from| match entry
            .form
        {
            Form::Packed => decompress(&archive, from, &path),
            _ => unpack(&archive, from, &path, run.watch.stop),
        })?;
        let existing = match self.keep {
            true => Existing::Kept,
            false => Existing::Replaced,
        };
        let mut others = merging.lock().unwrap_or_else(PoisonError::into_inner);
        unpacked.commit_into(self.folder, existing, &entry.name, &mut others)?;
        drop(others);
        make_executable(&self.folder.join(&entry.name), entry)?;
        Ok(Pulled::Written)
    }

    /// Fetches what may be a file or the archive of a folder, which the whole of it
    /// tells.
    fn either(
        &self,
        store: &dyn ReadStore,
        entry: &Entry,
        path: &Path,
        run: Run<'_>,
    ) -> Result<()> {
        let fetched = self.fetched(store, entry, path, None, run)?;
        let open =
            || File::open(&fetched.0).map_err(|e| Error::io(fetched.0.display().to_string(), e));
        if is_below(&entry.name, open()?)? {
            let unpacked = unpack(&archive(entry, None), open()?, path, run.watch.stop)?;
            return unpacked.commit(path);
        }
        fetched.place(path)
    }

    /// The bytes of an entry, beside its path.
    fn fetched(
        &self,
        store: &dyn ReadStore,
        entry: &Entry,
        path: &Path,
        equal: Option<&Path>,
        run: Run<'_>,
    ) -> Result<Fetched> {
        let fetched = Fetched(beside(path, entry));
        if !holds(&fetched.0, entry, run.watch.stop)? {
            let row = std::slice::from_ref(&entry.content);
            fetch::into_unsynced_folder(store, row, &fetched.0, equal, run)?;
        }
        Ok(fetched)
    }

    /// Makes the names of files survive a loss of power: each folder is synced once, after
    /// all of its files are there, because that takes long. A file that was there may be
    /// one of a call that was killed before this.
    fn sync_folders(&self, entries: &[Entry]) -> Result<()> {
        // Archives are synced with what is in them.
        let is_file = |entry: &&Entry| matches!(entry.form, Form::File | Form::Either);
        let files = entries.iter().filter(is_file);
        let paths = files.map(|entry| self.folder.join(&entry.name));
        let folders: BTreeSet<PathBuf> = paths.map(|path| parent(&path).into()).collect();
        for folder in folders {
            sync_folder(&folder).map_err(|e| Error::io(folder.display().to_string(), e))?;
        }
        Ok(())
    }
}

/// What an earlier entry of the same bytes spares this one.
#[derive(Debug, Clone, Copy)]
enum Twin<'a> {
    /// There is none.
    None,
    /// It is the same layer, which is unpacked once.
    Done,
    /// It is a file too, under another name.
    Equal(&'a Entry),
}

/// What is spared, entry by entry.
fn twins<'a>(entries: &'a [Entry]) -> Vec<Twin<'a>> {
    let mut seen: HashMap<(bool, Digest), &'a Entry> = HashMap::new();
    let twin = |entry: &'a Entry| {
        let (is_top, is_file) = (entry.name == TOP, entry.form == Form::File);
        if !is_top && !is_file {
            return Twin::None;
        }
        match seen.entry((is_top, entry.digest)) {
            Occupied(_) if is_top => Twin::Done,
            Occupied(other) if other.get().name != entry.name => Twin::Equal(other.get()),
            Occupied(_) => Twin::None,
            Vacant(first) => {
                first.insert(entry);
                Twin::None
            }
        }
    };
    entries.iter().map(twin).collect()
}

/// What a file is called while it is fetched, in lower case.
fn partial(entry: &Entry) -> String {
    format!("{}.partial", entry.name.to_lowercase())
}

/// The archive of the folder that `entry` names.
fn archive(entry: &Entry, tar: Option<Digest>) -> Archive<'_> {
    Archive {
        what: &entry.name,
        title: &entry.name,
        tar,
        size: entry.size,
        members: Members::InFolder,
    }
}

/// Where the archive of a folder waits while it is fetched and unpacked.
fn beside(path: &Path, entry: &Entry) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let digits: String = entry.digest.hex().chars().take(12).collect();
    // Short enough for any name that is itself.
    let name: String = name.chars().take(40).collect();
    path.with_file_name(format!(".{name}.{digits}.layer"))
}

/// An archive that is of no more use when its folder is complete, or that is damaged.
struct Fetched(PathBuf);

impl Fetched {
    fn place(&self, path: &Path) -> Result<()> {
        rename(&self.0, path).map_err(|e| Error::io(path.display().to_string(), e))
    }
}

impl Drop for Fetched {
    fn drop(&mut self) {
        // What was fetched in part has another name and stays.
        let _ = fs::remove_file(&self.0);
    }
}

/// Whether the file at `path` is the one that `entry` names.
fn holds(path: &Path, entry: &Entry, stop: &Stop) -> Result<bool> {
    let same = fs::symlink_metadata(path).is_ok_and(|m| m.is_file() && m.len() == entry.size);
    if !same {
        return Ok(false);
    }
    let Ok(mut file) = File::open(path) else {
        return Ok(false);
    };
    let mut hasher = Hashing(Hasher::like(&entry.digest), stop);
    let read = copy(&mut file, &mut hasher, &mut Buffer::new());
    stop.check()?;
    Ok(read.is_ok() && hasher.0.finish() == entry.digest)
}

/// Whether the folder at `path` is the one that `entry` names: whether it makes
/// the same tar, with the times of its files (as oras writes one, or as this crate)
/// or without any.
fn is_same_folder(path: &Path, entry: &Entry, stop: &Stop) -> Result<bool> {
    let Form::Folder(Some(tar)) = &entry.form else {
        return Ok(false);
    };
    if !fs::symlink_metadata(path).is_ok_and(|meta| meta.is_dir()) {
        return Ok(false);
    }
    let ways = [
        (Modified::Source, Dialect::Go),
        (Modified::Source, Dialect::Pax),
        (Modified::Fixed(0), Dialect::Pax),
    ];
    for (modified, dialect) in ways {
        // What can't be read or put into a tar did not come out of one.
        let Ok(contents) = contents(path, &entry.name, modified, &[]) else {
            return Ok(false);
        };
        if modified == Modified::Source && !contents.has_whole_times() {
            continue;
        }
        let made = contents.tar_digest(dialect, stop);
        stop.check()?;
        if made.is_ok_and(|made| made == *tar) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// A hash of what is written to it.
struct Hashing<'a>(Hasher, &'a Stop);

impl std::io::Write for Hashing<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.1.check().map_err(std::io::Error::other)?;
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Lets those run a file who may read it.
fn make_executable(path: &Path, entry: &Entry) -> Result<()> {
    if !entry.is_executable {
        return Ok(());
    }
    let failed = |e| Error::io(path.display().to_string(), e);
    let mode = fs::metadata(path).map_err(failed)?.permissions().mode();
    let mode = mode | ((mode & 0o444) >> 2);
    fs::set_permissions(path, Permissions::from_mode(mode)).map_err(failed)
}
