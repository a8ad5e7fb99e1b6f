//! One file of an image, read without the layers below the one that has it.

use std::io::Write;

use super::Image;
use super::layer::{self, LayerType};
use super::name::normal;
use super::view::{Last, Seen, View};
use crate::blob::Blob;
use crate::descriptor::annotation;
use crate::error::{Error, Result};
use crate::stream::{Buffer, Watch, copy};
use crate::tar::{Entries, Entry, Kind};

/// A file as a container sees it.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ImageFile {
    /// What its layer says of it, under the name it has there. A hard link is
    /// the file it names.
    pub entry: Entry,
    /// The layer that has it, counted from the lowest, from 0.
    pub layer: usize,
    blob: Blob,
}

/// Finds the file that `path` means in a container of `image`: the top layer
/// that has it counts, whiteouts are applied, and symbolic links are followed
/// inside the image, 40 at most. Layers are read from the top, and none below
/// the one that has the file. Of an artifact only the folders are read, not its
/// single files.
///
/// # Errors
/// [`Error::NotFound`] where there is none, and for a file whose name has a `/` at its
/// end, as only those of folders may; [`Error::Unsupported`] for a folder
/// that has no member of its own, and for too many links; [`Error::Malformed`] for a
/// layer that is not a tar; [`Error::Mismatch`] and [`Error::Size`] for wrong
/// bytes; those of the layers' sources.
pub fn file(image: &Image, path: &str, watch: Watch<'_>) -> Result<ImageFile> {
    let layers = tars(image);
    let blobs: Vec<Blob> = layers.iter().map(|(_, blob)| (*blob).clone()).collect();
    let mut view = View::new(&blobs, watch);
    let mut name = view.resolve(path.as_bytes(), Last::Followed)?;
    // A hard link names a file, never another link that leads on.
    for _ in 0..2 {
        let (layer, entry) = match view.get(&name)? {
            Some(Seen::Entry(layer, entry)) => (layer, entry.clone()),
            Some(Seen::Folder) => return Err(folder(path)),
            None => break,
        };
        if entry.kind != Kind::Directory && names_folder(path) {
            let what = format!("folder {path} in the image; it is a file");
            return Err(Error::NotFound { what });
        }
        if entry.kind != Kind::HardLink {
            let (layer, blob) = layers[layer];
            let blob = blob.clone();
            return Ok(ImageFile { entry, layer, blob });
        }
        name = normal(&entry.link);
    }
    let what = format!("{path} in the image");
    Err(Error::NotFound { what })
}

/// Whether a path can only be that of a folder.
fn names_folder(path: &str) -> bool {
    let last = path.rsplit('/').next();
    path.contains('/') && matches!(last, Some("" | "."))
}

/// The layers to look into, with their numbers. An artifact may also have single
/// files as layers: they have a title, and neither a layer's type nor a mark that
/// they are to be unpacked.
fn tars(image: &Image) -> Vec<(usize, &Blob)> {
    let runs = image.is_runnable();
    let is_tar = |blob: &Blob| {
        let layer = blob.descriptor();
        let has = |name| layer.annotations.contains_key(name);
        LayerType::parse(&layer.media_type).is_some()
            || !has(annotation::TITLE)
            || has(annotation::UNPACK)
    };
    let all = image.layers().iter().enumerate();
    all.filter(|(_, blob)| runs || is_tar(blob)).collect()
}

impl ImageFile {
    /// Writes the content of a regular file to `to`, which is called `what` in
    /// errors. The layer is read to its end, so that wrong bytes end with an
    /// error.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for something that is not a regular file, [`Error::Io`] of `to`,
    /// and those of [`file()`].
    pub fn copy_to(&self, what: &str, to: &mut dyn Write, watch: Watch<'_>) -> Result<()> {
        match self.entry.kind {
            Kind::File => {}
            Kind::Directory => return Err(folder(&self.entry.name())),
            _ => {
                let what = format!("{} is not a regular file", self.entry.name());
                return Err(Error::Unsupported { what });
            }
        }
        let layer = self.blob.digest().to_string();
        let mut plain = layer::open(&self.blob, watch)?;
        let mut entries = Entries::new(&layer, &mut plain);
        while let Some(entry) = entries.next() {
            let entry = entry?;
            if entry.offset == self.entry.offset {
                let mut content = entries.content(&entry)?;
                let copied = copy(&mut content, to, &mut Buffer::new());
                copied.map_err(|e| e.naming(&layer, what))?;
                break;
            }
        }
        layer::hash(&layer, plain).map(drop)
    }
}

fn folder(path: &str) -> Error {
    let path = if path.is_empty() { "/" } else { path };
    let what = format!("{path} is a folder; export-image writes all files of an image");
    Error::Unsupported { what }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::tests::{Made, image, layer_of};
    use crate::stream::Stop;

    fn found(layers: &[&[&str]], path: &str) -> Result<(String, usize)> {
        let plain: Vec<Vec<u8>> = layers.iter().map(|names| layer_of(names)).collect();
        let made: Vec<Made<'_>> = plain.iter().map(|bytes| Made::Gzip(bytes)).collect();
        let stop = Stop::new();
        let watch = Watch::new(&(), &stop);
        let found = file(&image(&made), path, watch)?;
        let mut content = Vec::new();
        found.copy_to("memory", &mut content, watch)?;
        Ok((String::from_utf8(content).unwrap(), found.layer))
    }

    #[test]
    fn the_top_layer_counts_and_whiteouts_hide() {
        let layers: &[&[&str]] = &[&["a", "d/x", "d/y"], &["a"], &["d/.wh.x", "e"]];
        assert_eq!(found(layers, "/a").unwrap(), ("a".into(), 1));
        assert_eq!(found(layers, "d/y").unwrap(), ("d/y".into(), 0));
        for missing in ["d/x", "/nope", "a/b", "a/", "d/y/."] {
            assert!(
                found(layers, missing).is_err_and(|e| e.is_not_found()),
                "{missing}"
            );
        }
        let opaque: &[&[&str]] = &[&["d/x", "f/x"], &["d/.wh..wh..opq", "d/y", "f"]];
        for missing in ["d/x", "f/x"] {
            assert!(
                found(opaque, missing).is_err_and(|e| e.is_not_found()),
                "{missing}"
            );
        }
        assert!(found(layers, "d").is_err());
    }

    #[test]
    fn links_stay_inside_and_end() {
        let layers: &[&[&str]] = &[
            &["usr/lib/so", "lib -> usr/lib", "h = usr/lib/so"],
            &[
                "out -> ../../../usr/lib/so",
                "abs -> /lib/so",
                "l -> l",
                "to -> lib/../lib",
            ],
        ];
        for path in ["/lib/so", "out", "abs", "to/so", "h", "lib/../lib/so"] {
            assert_eq!(
                found(layers, path).unwrap(),
                ("usr/lib/so".into(), 0),
                "{path}"
            );
        }
        assert!(matches!(found(layers, "l"), Err(Error::Unsupported { .. })));
    }

    #[test]
    fn lower_layers_are_not_read() {
        let top = layer_of(&["a"]);
        let good = image(&[Made::Plain(b"no tar at all"), Made::Gzip(&top)]);
        let stop = Stop::new();
        let watch = Watch::new(&(), &stop);
        assert_eq!(file(&good, "a", watch).unwrap().layer, 1);
        assert!(file(&good, "b", watch).is_err());
    }
}
