//! Single names in layers on top of each other, as a container sees them:
//! whiteouts applied, links of folders followed inside the image. A layer is
//! listed when a name needs it, the top one first, and only once.

use std::collections::{BTreeMap, HashSet};
use std::ops::Bound;

use super::files::list;
use super::name::{OPAQUE, WHITEOUT, join, normal, split};
use super::stack::{PLACE, bounded};
use crate::blob::Blob;
use crate::bounds;
use crate::error::{Error, Result};
use crate::stream::Watch;
use crate::tar::{Entry, Kind};

/// How many links one name may lead through (Linux: 40).
const MAX_LINKS: usize = bounds::LINKS;

/// What a name is.
pub(super) enum Seen<'a> {
    /// A member of this layer, counted from the lowest.
    Entry(usize, &'a Entry),
    /// A folder that has files and no member of its own: root's, 0755.
    Folder,
}

/// The files of some layers, looked up by name.
pub(super) struct View<'a> {
    layers: &'a [Blob],
    watch: Watch<'a>,
    /// The layers that were listed, the top one first.
    listed: Vec<Listed>,
    files: usize,
    weight: usize,
}

#[derive(Default)]
struct Listed {
    // In boxes, because a tree is half full of places.
    files: BTreeMap<Vec<u8>, Box<Entry>>,
    /// What whiteouts take away of lower layers.
    gone: HashSet<Vec<u8>>,
    /// Folders of which lower layers show nothing.
    opaque: HashSet<Vec<u8>>,
}

impl Listed {
    /// Whether lower layers show nothing under `name`.
    fn hides(&self, name: &[u8]) -> bool {
        let is_file = |at: &[u8]| {
            self.files
                .get(at)
                .is_some_and(|e| e.kind != Kind::Directory)
        };
        self.gone.contains(name)
            || ancestors(name).any(|above| {
                self.gone.contains(above) || self.opaque.contains(above) || is_file(above)
            })
    }

    fn has_below(&self, folder: &[u8]) -> bool {
        let start = join(folder, b"");
        let range = (Bound::Excluded(start.as_slice()), Bound::Unbounded);
        let next = self.files.range::<[u8], _>(range).next();
        next.is_some_and(|(name, _)| name.starts_with(&start))
    }
}

/// The folders above a name, the root last.
fn ancestors(name: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::successors(Some(name), |name| (!name.is_empty()).then(|| split(name).0)).skip(1)
}

impl<'a> View<'a> {
    /// `layers`, lowest first.
    pub fn new(layers: &'a [Blob], watch: Watch<'a>) -> View<'a> {
        View {
            layers,
            watch,
            listed: Vec::new(),
            files: 0,
            weight: 0,
        }
    }

    /// What a normal name is whose folders are no links.
    ///
    /// # Errors
    /// Those of [`list`]; [`Error::Malformed`] for more files than any image
    /// has.
    pub fn get(&mut self, name: &[u8]) -> Result<Option<Seen<'_>>> {
        let Some(at) = self.find(name)? else {
            return Ok(None);
        };
        let entry = self.listed[at].files.get(name);
        let layer = self.layers.len() - 1 - at;
        Ok(Some(
            entry.map_or(Seen::Folder, |entry| Seen::Entry(layer, entry)),
        ))
    }

    /// The place among `listed` of the layer that shows `name`.
    fn find(&mut self, name: &[u8]) -> Result<Option<usize>> {
        for at in 0..self.layers.len() {
            if at == self.listed.len() {
                self.read_next()?;
            }
            let layer = &self.listed[at];
            if layer.files.contains_key(name) || layer.has_below(name) {
                return Ok(Some(at));
            }
            if layer.hides(name) {
                break;
            }
        }
        Ok(None)
    }

    fn read_next(&mut self) -> Result<()> {
        let layer = &self.layers[self.layers.len() - 1 - self.listed.len()];
        let what = layer.digest().to_string();
        let mut listed = Listed::default();
        let (files, weight) = (&mut self.files, &mut self.weight);
        self.watch
            .progress
            .start(layer.digest(), Some(layer.size()));
        list(layer, self.watch, &mut |entry| {
            let name = normal(&entry.path);
            *files += 1;
            *weight += PLACE + name.len() + entry.weight() + size_of::<Entry>();
            bounded(&what, *files, *weight)?;
            let (folder, last) = split(&name);
            match last.strip_prefix(WHITEOUT) {
                _ if last == OPAQUE => drop(listed.opaque.insert(folder.to_vec())),
                Some(rest) => drop(listed.gone.insert(join(folder, rest))),
                None => drop(listed.files.insert(name, Box::new(entry))),
            }
            Ok(())
        })?;
        self.watch.progress.finish(layer.digest());
        self.listed.push(listed);
        Ok(())
    }

    /// The name that a path means, links of its folders followed, and one in
    /// its last part if `last` asks for it. Parts that don't exist stay as they
    /// are. `..` of a link's target never points outside the root.
    ///
    /// # Errors
    /// As [`View::get`]; [`Error::Unsupported`] for too many links.
    pub fn resolve(&mut self, path: &[u8], last: Last) -> Result<Vec<u8>> {
        let parts = |path: &[u8]| -> Vec<Vec<u8>> {
            let parts = path.split(|b| *b == b'/').rev();
            parts.map(<[u8]>::to_vec).collect()
        };
        let (mut left, mut done, mut links) = (parts(path), Vec::new(), 0);
        while let Some(part) = left.pop() {
            match part.as_slice() {
                b"" | b"." => continue,
                b".." => done.truncate(split(&done).0.len()),
                part => done = join(&done, part),
            }
            if left.is_empty() && last == Last::Kept {
                break;
            }
            let Some(Seen::Entry(_, entry)) = self.get(&done)? else {
                continue;
            };
            if entry.kind != Kind::Symlink {
                continue;
            }
            let target = entry.link.clone();
            links += 1;
            if links > MAX_LINKS {
                let path = String::from_utf8_lossy(path);
                let what = format!("{path}: more than {MAX_LINKS} symbolic links");
                return Err(Error::Unsupported { what });
            }
            let above = if target.starts_with(b"/") {
                0
            } else {
                split(&done).0.len()
            };
            done.truncate(above);
            left.extend(parts(&target));
        }
        Ok(done)
    }
}

/// What becomes of a link in the last part of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Last {
    Followed,
    Kept,
}
