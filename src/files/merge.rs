//! What was unpacked, moved into a folder that may have files already: from existing
//! ones, and from other layers of the same artifact.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use crate::digest::{Digest, Hasher};
use crate::error::{Error, Result};
use crate::file::{rename, sync_folder};
use crate::stream::Buffer;
use crate::text::one_line;

/// What happens to files that exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Existing {
    /// They are replaced.
    Replaced,
    /// They stay, and must not differ.
    Kept,
}

/// What else an artifact puts into the folder where its archives are unpacked.
pub(super) struct Others {
    /// Its files that are in no archive, and their digests.
    files: HashMap<PathBuf, Digest>,
    /// What archives contained, if there are several.
    unpacked: Option<HashSet<PathBuf>>,
}

impl Others {
    /// `files`, and what archives contain if there are several.
    pub fn new(has_several: bool, files: HashMap<PathBuf, Digest>) -> Others {
        Others {
            files,
            unpacked: has_several.then(HashSet::new),
        }
    }

    /// Whether another layer has a file for `to` which is not the one at `from`.
    fn differ(&self, from: &Path, to: &Path) -> bool {
        let file = self.files.get(to);
        let unpacked = self.unpacked.as_ref();
        file.is_some_and(|digest| file_digest(from, digest) != Some(*digest))
            || unpacked.is_some_and(|all| all.contains(to)) && !is_same(from, to)
    }

    /// Moves what was unpacked from the archive `what` into `to`, where everything
    /// else stays.
    ///
    /// # Errors
    /// [`Error::NotAllowed`] for a file that exists, differs and is to be kept, and for a
    /// file and a folder of one name; [`Error::Malformed`] for a file that another layer
    /// has, too, with other contents; [`Error::Io`].
    pub fn merge(&mut self, what: &str, from: &Path, to: &Path, existing: Existing) -> Result<()> {
        let mut files = Vec::new();
        must_fit(from, to, existing, &mut |file, at| {
            if self.differ(file, at) {
                let name = at.strip_prefix(to).unwrap_or(at).display().to_string();
                let why = "another layer of the artifact has this file, too, and it differs";
                return Err(Error::malformed(
                    what,
                    format!("{}: {why}", one_line(&name)),
                ));
            }
            if self.unpacked.is_some() {
                files.push(at.to_path_buf());
            }
            Ok(())
        })?;
        merge(from, to)?;
        if let Some(unpacked) = &mut self.unpacked {
            unpacked.extend(files);
        }
        Ok(())
    }
}

/// Whether a path is that of a folder, not of a link to one.
pub(super) fn is_real_folder(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|meta| meta.is_dir())
}

/// Moves what is in one folder into another, which nothing is removed from.
fn merge(from: &Path, to: &Path) -> Result<()> {
    for (from, to, is_folder) in pairs(from, to)? {
        if is_folder && is_real_folder(&to) {
            merge(&from, &to)?;
            continue;
        }
        rename(&from, &to).map_err(|e| Error::io(to.display().to_string(), e))?;
    }
    sync_folder(to).map_err(|e| Error::io(to.display().to_string(), e))
}

/// Judges a file that is to be moved from one path to another.
type EachFile<'a> = &'a mut dyn FnMut(&Path, &Path) -> Result<()>;

/// Refuses what can't be moved from one folder into another, before anything is;
/// `each` is asked about every file.
fn must_fit(from: &Path, to: &Path, existing: Existing, each: EachFile<'_>) -> Result<()> {
    for (from, to, is_folder) in pairs(from, to)? {
        if !is_folder {
            each(&from, &to)?;
        }
        let in_the_way = |why: &str| {
            let what = format!("{}: {why}", to.display());
            Err(Error::NotAllowed { what })
        };
        match fs::symlink_metadata(&to) {
            // A folder that is new is moved as a whole.
            Err(_) if is_folder => must_fit(&from, &to, existing, each)?,
            Err(_) => {}
            Ok(meta) if meta.is_dir() && is_folder => must_fit(&from, &to, existing, each)?,
            Ok(meta) if meta.is_dir() || is_folder => {
                return in_the_way("a file and a folder of one name");
            }
            Ok(_) if existing == Existing::Kept && !is_same(&from, &to) => {
                return in_the_way("it exists and is not overwritten");
            }
            Ok(_) => {}
        }
    }
    Ok(())
}

/// What is in a folder, what that becomes in another, and whether it is a folder.
fn pairs(from: &Path, to: &Path) -> Result<Vec<(PathBuf, PathBuf, bool)>> {
    let failed = |e| Error::io(from.display().to_string(), e);
    let pairs = fs::read_dir(from).map_err(failed)?.map(|entry| {
        let entry = entry.map_err(failed)?;
        let is_folder = entry.file_type().map_err(failed)?.is_dir();
        Ok((entry.path(), to.join(entry.file_name()), is_folder))
    });
    pairs.collect()
}

/// Whether two files are the same, or two links.
fn is_same(one: &Path, other: &Path) -> bool {
    if let (Ok(one), Ok(other)) = (fs::read_link(one), fs::read_link(other)) {
        return one == other;
    }
    let like = Digest::of(b"");
    file_digest(one, &like).is_some_and(|found| Some(found) == file_digest(other, &like))
}

/// The digest of a file, by the algorithm of `like`; `None` for what is no file.
fn file_digest(path: &Path, like: &Digest) -> Option<Digest> {
    let is_file = fs::symlink_metadata(path).is_ok_and(|meta| meta.is_file());
    let mut file = File::open(path).ok().filter(|_| is_file)?;
    let (mut hasher, mut buffer) = (Hasher::like(like), Buffer::new());
    loop {
        match file.read(&mut buffer).ok()? {
            0 => return Some(hasher.finish()),
            n => hasher.update(&buffer[..n]),
        }
    }
}
