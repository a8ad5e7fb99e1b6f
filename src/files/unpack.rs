//! The archive of a folder, unpacked: nothing is written outside of the folder,
//! and nothing through a link. The folder is filled under another name and gets its
//! own when it is complete.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::merge::{Existing, Others, is_real_folder};
use super::title::MAX_PART;
use crate::digest::{Digest, Hashed};
use crate::error::{Error, Result};
use crate::file::{AsideFolder, parent, set_link_time, sync_tree};
use crate::image::layer::{Uncompressed, is_excessive};
use crate::stream::{Buffer, CopyError, Stop, copy};
use crate::tar::{Entries, Entry, Kind};
use crate::text::one_line;

/// What is wrong with a link that leads out.
const OUTSIDE: &str = "it is a link that points outside the folder";
/// The permissions of folders that the archive does not list.
const FOLDER_MODE: u32 = 0o755;

/// The archive to unpack.
pub(super) struct Archive<'a> {
    /// What it is called in errors.
    pub what: &'a str,
    /// The name of the folder in the artifact, which may stand before every name
    /// in the archive.
    pub title: &'a str,
    /// What the digest of the tar must be, where it is known.
    pub tar: Option<Digest>,
    /// Its bytes, compressed as it is.
    pub size: u64,
    /// What the names in the archive are relative to.
    pub members: Members,
}

/// Where the members of an archive belong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Members {
    /// In a folder with the archive's title, which may stand before their names.
    InFolder,
    /// At the title, from the folder that all the artifact is written to, or from
    /// the one that the title is in.
    FromTop,
}

/// How the names of members become those of files below the folder that is filled.
struct Names {
    /// What every name begins with and loses.
    strip: Vec<Vec<u8>>,
    /// What every name gets instead.
    add: Vec<Vec<u8>>,
    /// What every name then is at or below; folders may be above.
    within: Vec<Vec<u8>>,
}

impl Names {
    /// As the name of the first member tells.
    fn of(archive: &Archive<'_>, first: &[&[u8]]) -> Names {
        let title = parts(archive.title.as_bytes()).unwrap_or_default();
        let (last, is_full) = (
            &title[title.len().saturating_sub(1)..],
            first.starts_with(&title),
        );
        let (strip, add, within) = match archive.members {
            Members::InFolder if is_full => (&title[..], &[][..], &[][..]),
            Members::InFolder if first.starts_with(last) => (last, &[][..], &[][..]),
            Members::InFolder => (&[][..], &[][..], &[][..]),
            // The folders above may be listed before it.
            Members::FromTop if is_full || title.starts_with(first) => {
                (&[][..], &[][..], &title[..])
            }
            Members::FromTop if first.starts_with(last) => {
                (&[][..], &title[..title.len() - 1], &title[..])
            }
            Members::FromTop => (&[][..], &title[..], &title[..]),
        };
        let owned = |parts: &[&[u8]]| parts.iter().map(|part| part.to_vec()).collect();
        Names {
            strip: owned(strip),
            add: owned(add),
            within: owned(within),
        }
    }

    /// The parts of the file's name; `None` for one that belongs elsewhere.
    fn below<'n>(&'n self, name: &[&'n [u8]]) -> Option<Vec<&'n [u8]>> {
        let rest = without(name, &self.strip)?;
        let mut below: Vec<&[u8]> = self.add.iter().map(Vec::as_slice).collect();
        below.extend(rest);
        let same = below.iter().zip(&self.within).all(|(a, b)| *a == b);
        same.then_some(below)
    }
}

/// Whether the first member of an archive is in a folder called `title`.
pub(super) fn is_below(title: &str, from: impl Read + Send) -> Result<bool> {
    let plain = Uncompressed::new(title, from)?;
    let mut entries = Entries::new(title, plain);
    let last = title.rsplit('/').next().unwrap_or(title);
    loop {
        // What can't be read as a tar is a file like any other.
        let Some(Ok(entry)) = entries.next() else {
            return Ok(false);
        };
        let name = parts(&entry.path).unwrap_or_default();
        if let Some(first) = name.first() {
            return Ok(*first == last.as_bytes());
        }
    }
}

/// A folder that was unpacked and does not have its name yet. Dropped before
/// [`Unpacked::commit`], it disappears.
pub(super) struct Unpacked(AsideFolder);

/// Unpacks `from` beside the folder `target`.
///
/// # Errors
/// [`Error::Malformed`] for an archive that would write or point out of its
/// folder, that has a name twice, or contains devices; [`Error::Mismatch`] when
/// the tar is not the one that was promised; [`Error::Io`]; [`Error::Stopped`].
pub(super) fn unpack(
    archive: &Archive<'_>,
    from: impl Read + Send,
    target: &Path,
    stop: &Stop,
) -> Result<Unpacked> {
    let failed = |e| Error::io(target.display().to_string(), e);
    let aside = AsideFolder::beside(target).map_err(failed)?;
    fs::create_dir(aside.path()).map_err(failed)?;
    let plain = Uncompressed::new(archive.what, from)?;
    let mut plain = Hashed::new(plain);
    let mut filling = Filling {
        what: archive.what,
        root: aside.path(),
        folders: Vec::new(),
        turning: Vec::new(),
        size: archive.size,
        holes: 0,
    };
    filling.fill(archive, Entries::new(archive.what, &mut plain), stop)?;
    // What follows the end of the tar is part of the digest.
    io::copy(&mut plain, &mut io::sink()).map_err(|e| Error::io(archive.what, e))?;
    let found = plain.finish();
    if let Some(expected) = archive.tar.filter(|tar| *tar != found) {
        return Err(Error::mismatch(expected, found));
    }
    filling.finish()?;
    stop.check()?;
    Ok(Unpacked(aside))
}

/// Decompresses the file `from` beside `target`.
///
/// # Errors
/// [`Error::Malformed`] for bytes that can't be decompressed or grow too much;
/// [`Error::Io`].
pub(super) fn decompress(
    archive: &Archive<'_>,
    from: impl Read + Send,
    target: &Path,
) -> Result<Unpacked> {
    let failed = |e| Error::io(target.display().to_string(), e);
    let aside = AsideFolder::beside(target).map_err(failed)?;
    let path = aside.path().join(archive.title);
    fs::create_dir_all(parent(&path)).map_err(failed)?;
    let mut plain = Uncompressed::new(archive.what, from)?;
    let mut file = File::create_new(&path).map_err(failed)?;
    let copied = copy(&mut plain, &mut file, &mut Buffer::new());
    copied.map_err(|e| e.naming(archive.what, target.display().to_string()))?;
    Ok(Unpacked(aside))
}

impl Unpacked {
    /// Gives the folder its name, `target`. Existing files stay unless the
    /// archive had an entry of the same name.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::NotAllowed`] for a file where the archive has a folder, or
    /// a folder where it has a file.
    pub fn commit(self, target: &Path) -> Result<()> {
        let failed = |e| Error::io(target.display().to_string(), e);
        sync_tree(&self.0.path()).map_err(failed)?;
        let is_new = match fs::read_dir(target) {
            Ok(mut entries) => entries.next().is_none(),
            Err(e) => e.kind() == ErrorKind::NotFound,
        };
        if is_new {
            return self.0.commit().map_err(failed);
        }
        let what = target.display().to_string();
        let mut others = Others::new(false, HashMap::new());
        others.merge(&what, &self.0.path(), target, Existing::Replaced)
    }

    /// Moves what was unpacked from the archive `what` into `folder`, where everything
    /// else stays.
    ///
    /// # Errors
    /// As [`Unpacked::commit`]; [`Error::NotAllowed`] for a file that exists, differs
    /// and is to be kept; [`Error::Malformed`] for one that another layer has, too, with
    /// other contents.
    pub fn commit_into(
        self,
        folder: &Path,
        existing: Existing,
        what: &str,
        others: &mut Others,
    ) -> Result<()> {
        sync_tree(&self.0.path()).map_err(|e| Error::io(folder.display().to_string(), e))?;
        others.merge(what, &self.0.path(), folder, existing)
    }
}

/// The parts of a member's name; `None` for one that points outside its folder.
fn parts(name: &[u8]) -> Option<Vec<&[u8]>> {
    if name.first() == Some(&b'/') || name.contains(&0) {
        return None;
    }
    let parts = name.split(|b| *b == b'/');
    let parts: Vec<&[u8]> = parts.filter(|p| !matches!(*p, b"" | b".")).collect();
    (!parts.contains(&&b".."[..])).then_some(parts)
}

/// Whether a symbolic link in `folder`, so many parts deep, stays inside.
pub(super) fn stays_inside(depth: usize, link: &[u8]) -> bool {
    if link.is_empty() || link[0] == b'/' || link.contains(&0) {
        return false;
    }
    let mut depth = depth;
    for part in link.split(|b| *b == b'/') {
        match part {
            b"" | b"." => {}
            b".." => match depth.checked_sub(1) {
                Some(above) => depth = above,
                None => return false,
            },
            _ => depth += 1,
        }
    }
    true
}

/// Whether a symbolic link has `..` after a name.
fn turns_back(link: &[u8]) -> bool {
    let parts = link.split(|b| *b == b'/');
    let mut parts = parts.skip_while(|part| matches!(*part, b"" | b"." | b".."));
    parts.any(|part| part == b"..")
}

/// The name of a member.
#[derive(Clone, Copy)]
struct Name<'a> {
    /// Its parts below the folder.
    below: &'a [&'a [u8]],
    /// How it was found.
    names: &'a Names,
}

/// A folder that is being filled.
struct Filling<'a> {
    what: &'a str,
    root: PathBuf,
    /// The permissions and times that folders get when everything is in them.
    folders: Vec<(PathBuf, u32, u64)>,
    /// Links that go up after they went down, which are checked when everything
    /// is unpacked: below a link, up is somewhere else.
    turning: Vec<Entry>,
    /// The bytes of the archive.
    size: u64,
    /// The bytes of sparse files, holes included.
    holes: u64,
}

impl Filling<'_> {
    fn bad(&self, entry: &Entry, why: &str) -> Error {
        let name: String = entry.name().chars().take(200).collect();
        Error::malformed(self.what, format!("{}: {why}", one_line(&name)))
    }

    fn failed(&self, path: &Path, error: io::Error) -> Error {
        let name = path.strip_prefix(&self.root).unwrap_or(path);
        Error::io(format!("{}: {}", self.what, name.display()), error)
    }

    fn fill<R: Read>(
        &mut self,
        archive: &Archive<'_>,
        mut entries: Entries<R>,
        stop: &Stop,
    ) -> Result<()> {
        let mut names: Option<Names> = None;
        while let Some(entry) = entries.next() {
            let entry = entry?;
            stop.check()?;
            let Some(name) = parts(&entry.path) else {
                return Err(self.bad(&entry, "its name points outside the folder"));
            };
            if name.iter().any(|part| part.len() > MAX_PART) {
                return Err(self.bad(&entry, "its name is too long"));
            }
            if name.is_empty() {
                continue;
            }
            // All names begin with that of the folder, or none does.
            let names = names.get_or_insert_with(|| Names::of(archive, &name));
            let is_folder = entry.kind == Kind::Directory;
            let below = names.below(&name);
            let below = below.filter(|below| is_folder || below.len() >= names.within.len());
            let Some(below) = below else {
                return Err(self.bad(&entry, "it is outside the folder"));
            };
            if below.is_empty() {
                match entry.kind {
                    Kind::Directory => {
                        let root = self.root.clone();
                        self.folders.push((root, entry.mode, entry.modified));
                    }
                    _ => {
                        return Err(
                            self.bad(&entry, "it is named like the folder, but is no folder")
                        );
                    }
                }
                continue;
            }
            self.member(
                &entry,
                Name {
                    below: &below,
                    names,
                },
                &mut entries,
            )?;
        }
        names.map_or(Ok(()), |names| self.look_at_turning(&names))
    }

    fn member<R: Read>(
        &mut self,
        entry: &Entry,
        name: Name<'_>,
        entries: &mut Entries<R>,
    ) -> Result<()> {
        let path = self.place(entry, name.below)?;
        match entry.kind {
            Kind::Directory => self.folder(entry, path),
            Kind::File => self.file(entry, &path, entries),
            Kind::Symlink => {
                if !stays_inside(name.below.len() - 1, &entry.link) {
                    return Err(self.bad(entry, OUTSIDE));
                }
                if turns_back(&entry.link) {
                    self.turning.push(entry.clone());
                }
                let made = symlink(std::ffi::OsStr::from_bytes(&entry.link), &path);
                made.map_err(|e| self.taken(entry, &path, e))?;
                set_link_time(&path, entry.modified).map_err(|e| self.failed(&path, e))
            }
            Kind::HardLink => self.hard_link(entry, &path, name.names),
            _ => Err(self.bad(entry, "it is neither file, folder nor link")),
        }
    }

    /// Where a member goes, in folders that are made on the way.
    fn place(&self, entry: &Entry, name: &[&[u8]]) -> Result<PathBuf> {
        let mut path = self.root.clone();
        let Some((last, above)) = name.split_last() else {
            return Ok(path);
        };
        for part in above {
            path.push(std::ffi::OsStr::from_bytes(part));
            match fs::symlink_metadata(&path) {
                Ok(meta) if meta.is_dir() => {}
                Ok(_) => return Err(self.bad(entry, "it is below a file or a link")),
                Err(e) if e.kind() == ErrorKind::NotFound => {
                    fs::create_dir(&path).map_err(|e| self.failed(&path, e))?;
                }
                Err(e) => return Err(self.failed(&path, e)),
            }
        }
        path.push(std::ffi::OsStr::from_bytes(last));
        Ok(path)
    }

    fn taken(&self, entry: &Entry, path: &Path, error: io::Error) -> Error {
        match error.kind() {
            ErrorKind::AlreadyExists => self.bad(
                entry,
                "another file has this name, or one that differs only in case",
            ),
            _ => self.failed(path, error),
        }
    }

    fn folder(&mut self, entry: &Entry, path: PathBuf) -> Result<()> {
        match fs::create_dir(&path) {
            Err(e) if e.kind() == ErrorKind::AlreadyExists && is_real_folder(&path) => {}
            made => made.map_err(|e| self.taken(entry, &path, e))?,
        }
        self.folders.push((path, entry.mode, entry.modified));
        Ok(())
    }

    fn file<R: Read>(
        &mut self,
        entry: &Entry,
        path: &Path,
        entries: &mut Entries<R>,
    ) -> Result<()> {
        if entry.sparse {
            self.holes = self.holes.saturating_add(entry.size);
            if is_excessive(self.holes, self.size) {
                return Err(self.bad(entry, "the archive grows too much with its sparse files"));
            }
        }
        let mut options = OpenOptions::new();
        options.write(true).create_new(true).mode(0o600);
        let mut file = options.open(path).map_err(|e| self.taken(entry, path, e))?;
        let mut content = entries.content(entry)?;
        let copied = copy(&mut content, &mut file, &mut Buffer::new());
        let copied = copied.map_err(|error| match error {
            CopyError::Read(error) => Error::io(self.what, error),
            CopyError::Write(error) => self.failed(path, error),
        })?;
        if copied != entry.size {
            return Err(self.bad(entry, "it is cut short"));
        }
        self.settle(&file, entry).map_err(|e| self.failed(path, e))
    }

    /// Permissions, without those that give rights of others; and the time.
    fn settle(&self, mut file: &File, entry: &Entry) -> io::Result<()> {
        file.flush()?;
        if entry.modified > 0 {
            file.set_modified(time(entry.modified))?;
        }
        file.set_permissions(Permissions::from_mode(entry.mode & 0o777))
    }

    /// Another name of a file that was unpacked before.
    fn hard_link(&self, entry: &Entry, path: &Path, names: &Names) -> Result<()> {
        let out = || self.bad(entry, "it is a link to something that is not in the folder");
        let to = parts(&entry.link).ok_or_else(out)?;
        let to = names.below(&to).filter(|to| !to.is_empty());
        let to = to.ok_or_else(out)?;
        let mut from = self.root.clone();
        for part in to {
            from.push(std::ffi::OsStr::from_bytes(part));
            let meta = fs::symlink_metadata(&from).map_err(|_| out())?;
            if meta.is_symlink() {
                return Err(out());
            }
        }
        if !from.is_file() {
            return Err(out());
        }
        fs::hard_link(&from, path).map_err(|e| self.taken(entry, path, e))
    }

    /// Refuses links that go up from anything but a folder of the archive: `up/..`
    /// leads out where `up` is a link to the top.
    fn look_at_turning(&self, names: &Names) -> Result<()> {
        for entry in &self.turning {
            let name = parts(&entry.path).unwrap_or_default();
            let below = names.below(&name).unwrap_or_default();
            let mut at = self.root.clone();
            at.extend(below.iter().map(|part| std::ffi::OsStr::from_bytes(part)));
            at.pop();
            for part in entry.link.split(|b| *b == b'/') {
                match part {
                    b"" | b"." => {}
                    b".." if !is_real_folder(&at) => return Err(self.bad(entry, OUTSIDE)),
                    b".." => drop(at.pop()),
                    _ => at.push(std::ffi::OsStr::from_bytes(part)),
                }
            }
        }
        Ok(())
    }

    /// Gives folders their permissions and times, the deepest first.
    fn finish(&mut self) -> Result<()> {
        let root = (self.root.clone(), FOLDER_MODE, 0);
        let mut folders = vec![root];
        folders.append(&mut self.folders);
        for (path, mode, modified) in folders.iter().rev() {
            // A folder that its owner can't enter could not be replaced.
            let mode = Permissions::from_mode(mode & 0o777 | 0o700);
            let mut done = fs::set_permissions(path, mode);
            if *modified > 0 {
                let folder = done.and_then(|()| File::open(path));
                done = folder.and_then(|folder| folder.set_modified(time(*modified)));
            }
            done.map_err(|e| self.failed(path, e))?;
        }
        Ok(())
    }
}

/// Seconds since 1970, within what every file system keeps.
fn time(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds.min(u32::MAX.into()))
}

/// `name` without the parts of `prefix`, if it begins with them.
fn without<'n>(name: &[&'n [u8]], prefix: &[Vec<u8>]) -> Option<Vec<&'n [u8]>> {
    let head = name.get(..prefix.len())?;
    let same = head.iter().zip(prefix).all(|(a, b)| *a == b.as_slice());
    same.then(|| name[prefix.len()..].to_vec())
}
