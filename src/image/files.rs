//! The files of an image: its layers on top of each other, with whiteouts
//! applied (image-spec, layer.md, "Whiteouts"). Only lists; unpacks nothing,
//! so names may be as hostile as they like.

use std::collections::BTreeMap;

use super::Image;
use super::entries::{self, Entry, Kind};
use super::name::{OPAQUE, WHITEOUT, join, normal, split};
use crate::error::{Error, Result};
use crate::stream::Watch;

/// More files than the largest images have, few enough to be held in memory.
pub(super) const MAX_FILES: usize = 2_000_000;
/// How many bytes their names may have together, for the same reason.
const MAX_NAMES: usize = 256 << 20;

/// A file of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// What it is, under the name it has in its layer.
    pub entry: Entry,
    /// The layer that has it, counted from the lowest, from 0.
    pub layer: usize,
}

/// What a container of `image` would see, sorted by name.
///
/// # Errors
/// [`Error::Malformed`] for a layer that is no tar and for more files than any
/// image has; [`Error::Mismatch`] and [`Error::Size`] for wrong bytes; those of
/// the layers' sources.
pub fn merged(image: &Image, watch: Watch<'_>) -> Result<Vec<Found>> {
    let mut tree = Tree::default();
    for (layer, blob) in image.layers().iter().enumerate() {
        let mut upper = Tree::default();
        let mut hidden = Vec::new();
        watch.progress.start(blob.digest(), Some(blob.size()));
        entries::list(blob, watch, &mut |entry| {
            let name = normal(&entry.path);
            let (folder, last) = split(&name);
            match last.strip_prefix(WHITEOUT) {
                _ if last == OPAQUE => hidden.push(Hidden::Below(folder.to_vec())),
                Some(rest) => hidden.push(Hidden::All(join(folder, rest))),
                None => upper.put(name, Found { entry, layer }),
            }
            let much = tree.files.len() + upper.files.len() + hidden.len();
            if much > MAX_FILES || tree.names + upper.names > MAX_NAMES {
                let why = "it has more files than any image";
                return Err(Error::malformed(blob.digest().to_string(), why));
            }
            Ok(())
        })?;
        watch.progress.finish(blob.digest());
        // Whiteouts are about lower layers, wherever in the layer they stand.
        for hidden in hidden {
            match hidden {
                Hidden::Below(folder) => tree.remove_below(&folder),
                Hidden::All(name) => tree.remove(&name),
            }
        }
        for (name, found) in upper.files {
            tree.put(name, found);
        }
    }
    Ok(tree.files.into_values().collect())
}

/// What a whiteout takes away.
enum Hidden {
    /// A file, or a folder and all below it.
    All(Vec<u8>),
    /// Everything below a folder.
    Below(Vec<u8>),
}

/// Files by name.
#[derive(Default)]
struct Tree {
    files: BTreeMap<Vec<u8>, Found>,
    names: usize,
}

impl Tree {
    /// Adds a file; one that is no folder takes the place of a folder and all
    /// that was in it.
    fn put(&mut self, name: Vec<u8>, found: Found) {
        if found.entry.kind != Kind::Directory
            && let Some(before) = self.files.get(&name)
            && before.entry.kind == Kind::Directory
        {
            self.remove_below(&name);
        }
        let length = name.len();
        if self.files.insert(name, found).is_none() {
            self.names += length;
        }
    }

    fn remove(&mut self, name: &[u8]) {
        self.drop_one(name);
        self.remove_below(name);
    }

    fn remove_below(&mut self, folder: &[u8]) {
        let mut prefix = folder.to_vec();
        if !prefix.is_empty() {
            prefix.push(b'/');
        }
        let below = self.files.range(prefix.clone()..);
        let below = below.take_while(|(name, _)| name.starts_with(&prefix));
        let doomed: Vec<Vec<u8>> = below.map(|(name, _)| name.clone()).collect();
        for name in doomed {
            self.drop_one(&name);
        }
    }

    fn drop_one(&mut self, name: &[u8]) {
        if self.files.remove(name).is_some() {
            self.names -= name.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::tests::{Made, image};
    use crate::stream::Stop;

    fn layer(names: &[&str]) -> Vec<u8> {
        let mut to = tar::Builder::new(Vec::new());
        for name in names {
            let mut header = tar::Header::new_gnu();
            header.set_size(0);
            header.set_mode(0o644);
            if name.ends_with('/') {
                header.set_entry_type(tar::EntryType::Directory);
            }
            to.append_data(&mut header, name, &b""[..]).unwrap();
        }
        to.into_inner().unwrap()
    }

    fn names(layers: &[&[&str]]) -> Vec<(String, usize)> {
        let plain: Vec<Vec<u8>> = layers.iter().map(|names| layer(names)).collect();
        let made: Vec<Made<'_>> = plain.iter().map(|bytes| Made::Gzip(bytes)).collect();
        let stop = Stop::new();
        let found = merged(&image(&made), Watch::new(&(), &stop)).unwrap();
        let name = |f: &Found| (f.entry.name().into_owned(), f.layer);
        found.iter().map(name).collect()
    }

    fn is(layers: &[&[&str]], wanted: &[(&str, usize)]) {
        let wanted: Vec<_> = wanted.iter().map(|(n, l)| (n.to_string(), *l)).collect();
        assert_eq!(names(layers), wanted);
    }

    #[test]
    fn upper_layers_win() {
        is(&[&["a", "b"], &["b", "c"]], &[("a", 0), ("b", 1), ("c", 1)]);
        // A file in the place of a folder.
        is(&[&["d/", "d/x", "dx"], &["d"]], &[("d", 1), ("dx", 0)]);
    }

    #[test]
    fn whiteouts_hide_what_lies_below_alone() {
        is(
            &[&["a", "d/", "d/x"], &[".wh.d", "b"]],
            &[("a", 0), ("b", 1)],
        );
        // An opaque folder keeps its own files, whichever come first.
        is(
            &[&["d/", "d/x", "dx"], &["d/y", "d/.wh..wh..opq", "d/z"]],
            &[("d/", 0), ("d/y", 1), ("d/z", 1), ("dx", 0)],
        );
        is(&[&["a"], &[".wh.a", "a"]], &[("a", 1)]);
        is(&[&["a"], &[".wh..wh..opq"]], &[]);
        is(&[&[".wh.never"]], &[]);
    }
}
