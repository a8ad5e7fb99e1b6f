//! What a layer is to hold, put together piece by piece.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::Read;
use std::ops::Bound;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::dest::{Dest, Name, is_whiteout};
use super::options::{FileOptions, HardLinks, Modified, Owner, Parents};
use super::pattern::Pattern;
use super::walk::{self, Found, Seen, What};
use crate::digest::{Digest, Hasher};
use crate::error::{Error, Result};
use crate::file::Stable;
use crate::image::name::{OPAQUE, WHITEOUT, join, split};
use crate::image::stack::MAX_FILES;
use crate::stream::{Buffer, Stop};
use crate::tar::{self, Entry, Kind};
use crate::text::one_line;

/// The record of a file's capabilities.
const CAPABILITY: &[u8] = b"SCHILY.xattr.security.capability";
/// Folders that are made without having been asked for.
const FOLDER_MODE: u32 = 0o755;
/// How many of its parts a layer's description names.
const NAMED: usize = 5;

/// Files, folders and removals for [`super::Layer::from_contents`]. What comes
/// later wins over earlier ones.
///
/// Names in the image begin at its root, with or without a `/` in front. They
/// are what they were given as until [`Contents::over`] looks at the layers
/// that they go on.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Contents {
    options: FileOptions,
    parts: BTreeMap<Name, Part>,
    removed: BTreeSet<Name>,
    said: Vec<String>,
    /// Calls so far that looked at this machine's files.
    walks: usize,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Part {
    body: Body,
    mode: u32,
    owner: (u64, u64),
    modified: u64,
    /// Extended attributes, as PAX records.
    attributes: Vec<(Vec<u8>, Vec<u8>)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Body {
    Folder,
    Symlink(Vec<u8>),
    Bytes(Vec<u8>),
    File {
        path: PathBuf,
        seen: Seen,
        /// Which walk found it: names of one file are links to each other when
        /// one walk found both.
        walk: usize,
    },
}

impl Contents {
    /// Nothing yet.
    pub fn new(options: FileOptions) -> Contents {
        Contents {
            options,
            ..Contents::default()
        }
    }

    /// Whether nothing was added or removed.
    pub fn is_empty(&self) -> bool {
        self.parts.is_empty() && self.removed.is_empty()
    }

    /// The symbolic links, each with its name and what it points to.
    pub(crate) fn links(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.parts
            .iter()
            .filter_map(|(name, part)| match &part.body {
                Body::Symlink(to) => Some((name.0.as_slice(), to.as_slice())),
                _ => None,
            })
    }

    /// Adds a file, a symbolic link or a folder with all that is in it, but for
    /// what fits `exclude` (relative to `src`).
    ///
    /// `src` becomes `dest`; with a `/` after `dest` it is put into that
    /// folder under its own name, as `cp` does. Of a `src` that ends with `/.`
    /// the contents alone are put there, and nothing is said of `dest` itself.
    ///
    /// Permissions are kept, symbolic links as well, and so are hard links
    /// within `src` and capabilities; other extended attributes are not.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a `dest` that points outside the image, or below a
    /// file of this layer; [`Error::Io`] for what does not exist or can't be
    /// read; [`Error::Unsupported`] for sockets, pipes and devices, and for
    /// names that begin with `.wh.`.
    pub fn add_path(
        &mut self,
        src: &Path,
        dest: &str,
        exclude: &[Pattern],
    ) -> Result<&mut Contents> {
        let to = Dest::parse(dest)?;
        let own = src.file_name().filter(|_| !means_contents(src));
        let name = match own {
            Some(own) if to.into => Name(join(&to.name.0, own.as_bytes())),
            _ => to.name,
        };
        self.walks += 1;
        let mut found = Vec::new();
        walk::walk(src, exclude, &mut |one| {
            found.push(one);
            bounded(found.len())
        })?;
        for one in found {
            if self.options.hard_links == HardLinks::AsFiles {
                // Names found by different walks are never links to each other.
                self.walks += 1;
            }
            let itself = one.below.is_empty();
            if itself && matches!(one.what, What::Folder) && (own.is_none() || name.0.is_empty()) {
                continue;
            }
            if itself && name.0.is_empty() {
                return Err(Error::invalid("path in an image", dest, "it is a folder"));
            }
            let name = match one.below.as_slice() {
                b"" => name.clone(),
                below => Name(join(&name.0, below)),
            };
            if is_whiteout(&name) {
                let what = format!(
                    "{}: names that begin with .wh. mean a removal; exclude it",
                    src.join(std::ffi::OsStr::from_bytes(&one.below)).display()
                );
                return Err(Error::Unsupported { what });
            }
            let part = self.part(one);
            self.put(name, part)?;
        }
        self.said.push(format!("add /{}", shown(&name)));
        Ok(self)
    }

    /// Adds a file of these bytes, with these permission bits.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a `dest` that is not a file's name, points outside the
    /// image, or below a file of this layer.
    pub fn add_file(&mut self, dest: &str, bytes: Vec<u8>, mode: u32) -> Result<&mut Contents> {
        let Dest { name, into } = Dest::parse(dest)?;
        if into || name.0.is_empty() {
            return Err(Error::invalid("path in an image", dest, "it is a folder"));
        }
        self.said.push(format!("add /{}", shown(&name)));
        let part = self.made(Body::Bytes(bytes), mode & 0o7777);
        self.put(name, part)?;
        Ok(self)
    }

    /// Removes a file, or a folder and all that is in it, of lower layers and of
    /// what was added so far. Whether there is anything is not looked at.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a path that points outside the image, or is all of
    /// it.
    pub fn remove(&mut self, path: &str) -> Result<&mut Contents> {
        let Dest { name, .. } = Dest::parse(path)?;
        if name.0.is_empty() {
            return Err(Error::invalid(
                "path in an image",
                path,
                "it is the whole image",
            ));
        }
        self.said.push(format!("remove /{}", shown(&name)));
        self.parts.remove(&name);
        take_below(&mut self.parts, &name);
        // One removal is enough; a second one below would bring the folder back.
        if !name.ancestors().any(|above| self.removed.contains(&above)) {
            self.removed.retain(|other| !other.is_below(&name));
            self.removed.insert(name);
        }
        Ok(self)
    }

    /// The same with every part and removal under the name that `name` gives.
    pub(super) fn renamed(
        &self,
        mut name: impl FnMut(&Name, Kind) -> Result<Name>,
    ) -> Result<Contents> {
        let mut made = Contents {
            parts: BTreeMap::new(),
            removed: BTreeSet::new(),
            ..self.clone()
        };
        for removed in &self.removed {
            made.removed.insert(name(removed, Kind::File)?);
        }
        for (old, part) in &self.parts {
            made.put(name(old, part.kind())?, part.clone())?;
        }
        Ok(made)
    }

    /// The same, with all folders on the way to its files.
    pub(super) fn with_parents(&self) -> Contents {
        let mut made = self.clone();
        made.options.parents = Parents::Written;
        made
    }

    /// Whether a name, or a folder on the way to it, is removed first.
    pub(super) fn is_removed(&self, name: &Name) -> bool {
        self.removed.contains(name) || name.ancestors().any(|above| self.removed.contains(&above))
    }

    /// The folders on the way to something that were not added themselves.
    pub(super) fn missing_folders(&self) -> BTreeSet<Name> {
        let names = self.parts.keys().chain(&self.removed);
        let above = names.flat_map(Name::ancestors);
        above
            .filter(|name| !self.parts.contains_key(name))
            .collect()
    }

    /// Says of a folder what lower layers say, unless it was added itself.
    pub(super) fn put_lower(&mut self, name: Name, lower: Lower) {
        self.parts.entry(name).or_insert(Part {
            body: Body::Folder,
            mode: lower.mode,
            owner: lower.owner,
            modified: lower.modified,
            attributes: lower.attributes,
        });
    }

    /// The digest of the tar that this is in a dialect, which is made and not kept.
    ///
    /// # Errors
    /// [`Error::Io`] for what can't be read, [`Error::ChangedWhileRead`] for a file
    /// that changed since it was added, [`Error::Stopped`].
    pub(crate) fn tar_digest(&self, dialect: tar::Dialect, stop: &Stop) -> Result<Digest> {
        let mut hasher = Hasher::new();
        let mut tar = tar::Stream::new(self.tar_members()).with_dialect(dialect);
        let mut buffer = Buffer::new();
        loop {
            stop.check()?;
            match tar.read(&mut buffer).map_err(|e| Error::io("tar", e))? {
                0 => return Ok(hasher.finish()),
                n => hasher.update(&buffer[..n]),
            }
        }
    }

    /// Whether all files were last changed at a full second, as those are that an
    /// archive gave their times.
    pub(crate) fn has_whole_times(&self) -> bool {
        let mut bodies = self.parts.values().map(|part| &part.body);
        bodies.all(|body| match body {
            Body::File { seen, .. } => seen.stamp.modified.1 == 0,
            _ => true,
        })
    }

    /// What was done, for an image's history.
    pub(super) fn description(&self) -> String {
        let named: Vec<&str> = self.said.iter().take(NAMED).map(String::as_str).collect();
        let more = match self.said.len().saturating_sub(NAMED) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        format!("dxf: {}{more}", named.join(", "))
    }

    fn part(&self, found: Found) -> Part {
        let Found {
            what,
            seen,
            capability,
            ..
        } = found;
        let attributes = capability.map(|value| (CAPABILITY.to_vec(), value));
        let owner = match self.options.owner {
            Owner::Fixed(user, group) => (user, group),
            Owner::Source => (seen.owner.0.into(), seen.owner.1.into()),
        };
        let modified = match self.options.modified {
            Modified::Fixed(time) => time,
            Modified::Source => u64::try_from(seen.stamp.modified.0).unwrap_or(0),
        };
        let mode = match what {
            // Not every system has one, and no reader needs it.
            What::Symlink(_) => 0o777,
            What::Folder => match self.options.mode {
                Some(mode) => (mode | ((mode & 0o444) >> 2)) & 0o7777,
                None => seen.mode,
            },
            _ => self.options.mode.map_or(seen.mode, |mode| mode & 0o7777),
        };
        let body = match what {
            What::Folder => Body::Folder,
            What::Symlink(target) => Body::Symlink(target),
            What::File(path) => Body::File {
                path,
                seen,
                walk: self.walks,
            },
        };
        Part {
            body,
            mode,
            owner,
            modified,
            attributes: attributes.into_iter().collect(),
        }
    }

    /// A part that never was a file.
    fn made(&self, body: Body, mode: u32) -> Part {
        let owner = match self.options.owner {
            Owner::Fixed(user, group) => (user, group),
            Owner::Source => (0, 0),
        };
        let modified = match self.options.modified {
            Modified::Fixed(time) => time,
            Modified::Source => 0,
        };
        Part {
            body,
            mode,
            owner,
            modified,
            attributes: Vec::new(),
        }
    }

    fn put(&mut self, name: Name, part: Part) -> Result<()> {
        let file = name.ancestors().find(|above| {
            let there = self.parts.get(above);
            there.is_some_and(|part| !matches!(part.body, Body::Folder))
        });
        if let Some(file) = file {
            let why = format!("/{} is not a folder in the same layer", shown(&file));
            return Err(Error::invalid("path in an image", shown(&name), why));
        }
        if !matches!(part.body, Body::Folder) {
            take_below(&mut self.parts, &name);
        }
        self.parts.insert(name, part);
        bounded(self.parts.len())
    }

    /// The members of the layer, sorted.
    pub(super) fn tar_members(&self) -> impl Iterator<Item = Result<tar::Member<'_>>> + Send {
        let mut first = HashMap::new();
        let all = self.members().into_iter();
        all.map(move |(name, member)| match member {
            Member::Part(part) => part.member(name, &mut first),
            Member::Folder => Ok(self.made(Body::Folder, FOLDER_MODE).empty(name)),
            Member::Mark => Ok(self.made(Body::Bytes(Vec::new()), 0o644).empty(name)),
        })
    }

    fn members(&self) -> BTreeMap<Name, Member<'_>> {
        let parts = self.parts.iter();
        let mut all: BTreeMap<Name, Member<'_>> = parts
            .map(|(name, part)| (name.clone(), Member::Part(part)))
            .collect();
        if self.options.parents == Parents::Written {
            for name in self.parts.keys().flat_map(Name::ancestors) {
                all.entry(name).or_insert(Member::Folder);
            }
        }
        for name in &self.removed {
            let below = (Bound::Excluded(name), Bound::Unbounded);
            let next = self.parts.range(below).next();
            let is_folder = match self.parts.get(name) {
                Some(part) if matches!(part.body, Body::Folder) => true,
                // What takes its place removes it.
                Some(_) => continue,
                None => next.is_some_and(|(next, _)| next.is_below(name)),
            };
            let mark = if is_folder {
                // overlayfs would show what is below a folder that takes the
                // place of a whiteout.
                all.entry(name.clone()).or_insert(Member::Folder);
                join(&name.0, OPAQUE)
            } else {
                let (folder, last) = split(&name.0);
                join(folder, &[WHITEOUT, last].concat())
            };
            all.insert(Name(mark), Member::Mark);
        }
        all
    }
}

/// What lower layers say of a folder.
pub(super) struct Lower {
    mode: u32,
    owner: (u64, u64),
    modified: u64,
    attributes: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Default for Lower {
    fn default() -> Lower {
        Lower {
            mode: FOLDER_MODE,
            owner: (0, 0),
            modified: 0,
            attributes: Vec::new(),
        }
    }
}

impl Lower {
    pub fn of(entry: &Entry) -> Lower {
        Lower {
            mode: entry.mode,
            owner: entry.owner,
            modified: entry.modified,
            attributes: entry.attributes.clone(),
        }
    }
}

/// The contents of the layer.
enum Member<'a> {
    Part(&'a Part),
    /// A folder on the way to something.
    Folder,
    /// A whiteout.
    Mark,
}

/// The first name of every file that has several, by what it is.
type First = HashMap<(usize, (u64, u64)), Vec<u8>>;

impl Part {
    fn member(&self, name: Name, first: &mut First) -> Result<tar::Member<'_>> {
        let mut member = self.empty(name);
        match &self.body {
            Body::Folder | Body::Symlink(_) => {}
            Body::Bytes(bytes) => {
                member.entry.size = bytes.len() as u64;
                member.content = Some(Box::new(bytes.as_slice()));
            }
            Body::File { path, seen, walk } => {
                let known = match seen.links {
                    0 | 1 => None,
                    _ => first.get(&(*walk, seen.stamp.id)),
                };
                if let Some(known) = known {
                    member.entry.kind = Kind::HardLink;
                    member.entry.link = known.clone();
                    return Ok(member);
                }
                if seen.links > 1 {
                    first.insert((*walk, seen.stamp.id), member.entry.path.clone());
                }
                member.entry.size = seen.stamp.len;
                let file = Arc::new(Stable::reopen(path, seen.stamp)?);
                member.content = Some(Box::new(file.reader(&file.whole(), 0)));
            }
        }
        Ok(member)
    }

    fn kind(&self) -> Kind {
        match self.body {
            Body::Folder => Kind::Directory,
            Body::Symlink(_) => Kind::Symlink,
            Body::Bytes(_) | Body::File { .. } => Kind::File,
        }
    }

    /// The member without its content.
    fn empty<'a>(&self, name: Name) -> tar::Member<'a> {
        let (kind, link) = match &self.body {
            Body::Symlink(target) => (Kind::Symlink, target.clone()),
            _ => (self.kind(), Vec::new()),
        };
        let entry = Entry {
            path: name.0,
            link,
            size: 0,
            mode: self.mode,
            owner: self.owner,
            modified: self.modified,
            kind,
            device: (0, 0),
            attributes: self.attributes.clone(),
            offset: 0,
            sparse: false,
        };
        tar::Member {
            entry,
            content: None,
        }
    }
}

/// Whether a path ends with `/.`, or has no name of its own (`.`, `..`, `/`).
fn means_contents(src: &Path) -> bool {
    src.as_os_str().as_bytes().ends_with(b"/.") || src.file_name().is_none()
}

fn take_below(parts: &mut BTreeMap<Name, Part>, name: &Name) {
    let below = parts.range((Bound::Excluded(name), Bound::Unbounded));
    let below = below.take_while(|(other, _)| other.is_below(name));
    let doomed: Vec<Name> = below.map(|(name, _)| name.clone()).collect();
    for name in doomed {
        parts.remove(&name);
    }
}

fn bounded(files: usize) -> Result<()> {
    if files <= MAX_FILES {
        return Ok(());
    }
    let what = format!("more than {MAX_FILES} files in one layer");
    Err(Error::Unsupported { what })
}

/// A name for people.
fn shown(name: &Name) -> String {
    one_line(&String::from_utf8_lossy(&name.0))
}
