//! The files of a layer, and those of an image: its layers on top of each other, with whiteouts
//! applied (image-spec, layer.md, "Whiteouts"). Only lists; unpacks nothing,
//! so names may be as hostile as they like.

use super::Image;
use super::layer;
use super::name::normal;
use super::stack::{Member, Stack};
use crate::blob::Blob;
use crate::error::Result;
use crate::stream::Watch;
use crate::tar::{Entries, Entry, Kind};

/// A file of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Found {
    /// What it is, under the name it has in its layer.
    pub entry: Entry,
    /// The layer that has it, counted from the lowest, from 0.
    pub layer: usize,
}

impl Member for Found {
    fn kind(&self) -> Kind {
        self.entry.kind
    }

    fn weight(&self) -> usize {
        self.entry.weight() + size_of::<Found>()
    }
}

/// What a container of `image` would see, sorted by name.
///
/// # Errors
/// As [`each_merged`].
pub fn merged(image: &Image, watch: Watch<'_>) -> Result<Vec<Found>> {
    let mut all = Vec::new();
    each_merged(image, watch, &mut |found| {
        all.push(found);
        Ok(())
    })?;
    Ok(all)
}

/// Hands what [`merged`] gives to `each`, one by one, for which less memory is
/// needed.
///
/// # Errors
/// [`Error::Malformed`] for a layer that is not a tar and for more files than
/// [`bounds::FILES`], or whose names take more memory than
/// [`bounds::FILES_MEMORY`]; [`Error::Mismatch`] and [`Error::Size`] for wrong
/// bytes; those of the layers' sources and of `each`.
///
/// [`Error::Malformed`]: crate::Error::Malformed
/// [`Error::Mismatch`]: crate::Error::Mismatch
/// [`Error::Size`]: crate::Error::Size
/// [`bounds::FILES`]: crate::bounds::FILES
/// [`bounds::FILES_MEMORY`]: crate::bounds::FILES_MEMORY
pub fn each_merged(
    image: &Image,
    watch: Watch<'_>,
    each: &mut dyn FnMut(Found) -> Result<()>,
) -> Result<()> {
    let mut stack = Stack::new();
    for (layer, blob) in image.layers().iter().enumerate() {
        let what = blob.digest().to_string();
        watch.progress.start(blob.digest(), Some(blob.size()));
        list(blob, watch, &mut |mut entry| {
            let name = normal(&entry.path);
            if name == entry.path {
                entry.path = Vec::new();
            }
            if !stack.hides(&name) {
                // In a box, because a tree is half full of places.
                stack.put(name, Box::new(Found { entry, layer }));
            }
            stack.check(&what)
        })?;
        watch.progress.finish(blob.digest());
        stack.lay();
    }
    stack.finish().into_iter().try_for_each(|(name, found)| {
        let mut found = *found;
        if found.entry.path.is_empty() {
            found.entry.path = name;
        }
        each(found)
    })
}

/// Hands every member of a layer to `each`, and reads the layer to its end, so
/// that a list which was taken from wrong bytes ends with an error.
///
/// # Errors
/// [`crate::Error::Malformed`] for something that is not a tar, [`crate::Error::Mismatch`] and
/// [`crate::Error::Size`] for wrong bytes, those of the layer's source and of `each`.
pub fn list(
    layer: &Blob,
    watch: Watch<'_>,
    each: &mut dyn FnMut(Entry) -> Result<()>,
) -> Result<()> {
    let what = layer.digest().to_string();
    let mut plain = layer::open(layer, watch)?;
    for entry in Entries::new(&what, &mut plain) {
        each(entry?)?;
    }
    layer::hash(&what, plain).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::stack::PLACE;
    use crate::image::tests::{Made, image};
    use crate::stream::Stop;

    fn layer(names: &[&str]) -> Vec<u8> {
        let mut to = ::tar::Builder::new(Vec::new());
        for name in names {
            let mut header = ::tar::Header::new_gnu();
            header.set_size(0);
            header.set_mode(0o644);
            if name.ends_with('/') {
                header.set_entry_type(::tar::EntryType::Directory);
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

    #[test]
    fn the_memory_of_names_is_counted() {
        let mut stack = Stack::new();
        let entry = || Entry::file("a name", 0);
        for i in 0..1000u32 {
            let found = Found {
                entry: entry(),
                layer: 0,
            };
            stack.put(i.to_string().into_bytes(), Box::new(found));
        }
        let each = size_of::<Found>() + entry().path.len() + 1 + PLACE;
        assert!(stack.weight() > 1000 * each, "{}", stack.weight());
        stack.hides(b".wh..wh..opq");
        stack.check("it").unwrap();
        stack.lay();
        stack.hides(b".wh..wh..opq");
        stack.lay();
        assert_eq!(stack.weight(), 0);
    }

    fn is(layers: &[&[&str]], wanted: &[(&str, usize)]) {
        let wanted: Vec<_> = wanted.iter().map(|(n, l)| (n.to_string(), *l)).collect();
        assert_eq!(names(layers), wanted);
    }

    #[test]
    fn a_layer_is_listed_and_proven() {
        let stop = Stop::new();
        let watch = Watch::new(&(), &stop);
        let bytes = [layer(&["a"]), vec![0; 5000]].concat();
        let mut names = Vec::new();
        let mut each = |entry: Entry| {
            names.push(entry.name().into_owned());
            Ok(())
        };
        let blob = Blob::bytes("x/y", zstd::encode_all(&bytes[..], 1).unwrap());
        list(&blob, watch, &mut each).unwrap();
        let mut lying = blob.descriptor().clone();
        lying.digest = crate::Digest::of(b"another");
        let bytes = blob.read(9000).unwrap();
        let wrong = Blob::new(lying, crate::blob::Bytes(bytes));
        assert!(list(&wrong, watch, &mut each).is_err_and(|e| e.is_corrupt()));
        assert_eq!(names[0], "a");
    }

    #[test]
    fn upper_layers_win() {
        is(&[&["a", "b"], &["b", "c"]], &[("a", 0), ("b", 1), ("c", 1)]);
        // A file in the place of a folder.
        is(&[&["d/", "d/x", "dx"], &["d"]], &[("d", 1), ("dx", 0)]);
    }

    #[test]
    fn what_is_above_a_name_is_a_folder() {
        is(&[&["d", "e"], &["d/x"]], &[("d/x", 1), ("e", 0)]);
        is(&[&["d"], &["d/x/y/z"]], &[("d/x/y/z", 1)]);
        is(
            &[&["d/x", "d-"], &["d/x/y", "d/z"]],
            &[("d-", 0), ("d/x/y", 1), ("d/z", 1)],
        );
        is(&[&["d", "d/x"]], &[("d/x", 0)]);
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
