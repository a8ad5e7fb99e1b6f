//! An archive that exists where a command is about to write one: images are
//! added to it, or the command refuses; what it contains is never lost in
//! silence.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use dxf_registry::archive::{self, Archive, Item};
use dxf_registry::file::Stamp;
use dxf_registry::{Error, Reference, Result};

use crate::cli::image::item::names;
use crate::cli::image::read::compressed;
use crate::cli::out::file::is_plain;
use crate::cli::session::Session;

/// The archive at a path, read before anything is written there.
pub struct Existing {
    path: PathBuf,
    items: Vec<Item>,
    /// The state of the file that was read; none where there is no file.
    stamp: Option<Stamp>,
}

impl Existing {
    /// Reads the archive at `path`. A file that does not exist or is empty
    /// contains no images, and a pipe or a device is only written to.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for a file that is not an archive of images.
    pub fn read(s: &Session<'_, '_>, path: &Path) -> Result<Existing> {
        let found = Existing {
            path: path.to_path_buf(),
            items: Vec::new(),
            stamp: stamp(path)?,
        };
        if found.stamp.is_none_or(|stamp| stamp.len == 0) {
            return Ok(found);
        }
        let items = archive::open(path, &s.context.tmpdir, s.run());
        let items = items
            .map(Archive::into_items)
            .map_err(|error| match error {
                Error::Io { .. } | Error::Stopped => error,
                _ => Error::Unsupported {
                    what: format!(
                        "{} exists and is not an image archive; name another file or remove it",
                        path.display()
                    ),
                },
            })?;
        Ok(Existing { items, ..found })
    }

    /// The images of the archive and `new` ones, which replace those of the same
    /// name. Layers that an engine unpacked are compressed, because the manifest
    /// that was made for them is written too.
    ///
    /// # Errors
    /// Those of compressing.
    pub fn with(&self, s: &Session<'_, '_>, new: &[Item]) -> Result<Vec<Item>> {
        let old = self.items.iter().flat_map(|item| kept(item, new));
        let mut all = old
            .map(|item| compressed(s, item))
            .collect::<Result<Vec<_>>>()?;
        all.extend_from_slice(new);
        Ok(all)
    }

    /// Fails when the file is no longer the one that was read: another process
    /// may have added an image.
    ///
    /// # Errors
    /// [`Error::ChangedWhileRead`].
    pub fn is_unchanged(&self) -> Result<()> {
        match stamp(&self.path)? == self.stamp {
            true => Ok(()),
            false => Err(Error::ChangedWhileRead {
                what: self.path.display().to_string(),
            }),
        }
    }

    /// Fails unless `new` has everything that the archive contains, by name.
    ///
    /// # Errors
    /// [`Error::Unsupported`] that names the images that would be lost.
    pub fn is_replaced_by(&self, new: &[Item]) -> Result<()> {
        let lost = |item: &&Item| !new.iter().any(|new| has_names_of(new, item));
        let lost: Vec<Item> = self.items.iter().filter(lost).cloned().collect();
        if lost.is_empty() {
            return Ok(());
        }
        let (path, names) = (self.path.display(), names(&lost));
        let what = format!("{path} exists and contains {names}; name a file to write");
        Err(Error::Unsupported { what })
    }
}

/// The state of the file at `path`; none where no regular file exists.
fn stamp(path: &Path) -> Result<Option<Stamp>> {
    if !is_plain(path) {
        return Ok(None);
    }
    match fs::metadata(path) {
        Ok(meta) => Ok(Some(Stamp::of(&meta))),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
        Err(e) => Err(Error::io(path.display().to_string(), e)),
    }
}

/// An old item without the names that new ones take: nothing when no name is
/// left to call it by, or when a new one is the same image.
fn kept(old: &Item, new: &[Item]) -> Vec<Item> {
    if !is_named(old) {
        let same = |item: &Item| item.node.manifest() == old.node.manifest();
        return match new.iter().any(same) {
            true => Vec::new(),
            false => vec![old.clone()],
        };
    }
    let mut item = old.clone();
    item.names
        .retain(|name| !new.iter().any(|new| takes(new, name)));
    item.labels.retain(|label| {
        let mut unnamed = new.iter().filter(|new| new.names.is_empty());
        let is_taken = unnamed.any(|new| new.labels.contains(label));
        // A label beside a name is most often that name's tag, and goes with it.
        !is_tag(&old.names, label) && !is_taken
    });
    match is_named(&item) {
        true => vec![item],
        false => Vec::new(),
    }
}

fn is_named(item: &Item) -> bool {
    !item.names.is_empty() || !item.labels.is_empty()
}

/// Whether `new` takes a name: its own, or, when it has only labels, every name
/// with such a tag, because the label is what a reader asks for.
fn takes(new: &Item, name: &Reference) -> bool {
    match new.names.is_empty() {
        true => {
            let names = std::slice::from_ref(name);
            new.labels.iter().any(|label| is_tag(names, label))
        }
        false => new.is_called(&name.to_string()),
    }
}

fn is_tag(names: &[Reference], label: &str) -> bool {
    let mut tags = names.iter().filter_map(|name| name.tag.as_ref());
    tags.any(|tag| tag.as_str() == label)
}

/// Whether `new` is called all that `old` is called; without any name, whether
/// it is the same image.
fn has_names_of(new: &Item, old: &Item) -> bool {
    match (old.names.is_empty(), old.labels.is_empty()) {
        (false, _) => old.names.iter().all(|n| new.is_called(&n.to_string())),
        (true, false) => old.labels.iter().all(|label| new.labels.contains(label)),
        (true, true) => new.node.manifest() == old.node.manifest(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dxf_registry::image::{Family, Image, Node};

    fn item(names: &[&str], labels: &[&str]) -> Item {
        let image = Image::scratch(&"linux/amd64".parse().unwrap(), Family::Oci).unwrap();
        let names = names.iter().map(|name| name.parse().unwrap()).collect();
        Item {
            labels: labels.iter().map(ToString::to_string).collect(),
            ..Item::new(names, Node::Image(image))
        }
    }

    /// What is left of an old item, as its names and labels.
    fn left(old: &Item, new: &Item) -> Vec<String> {
        let words = |item: &Item| {
            let names = item.names.iter().map(ToString::to_string);
            names.chain(item.labels.clone()).collect::<Vec<_>>()
        };
        let kept = kept(old, std::slice::from_ref(new));
        kept.iter().flat_map(words).collect()
    }

    #[test]
    fn only_the_names_of_new_images_are_taken() {
        let old = item(&["r.io/a/b:1", "r.io/a/b:2"], &["1", "2", "extra"]);
        assert_eq!(
            left(&old, &item(&["r.io/a/b:1"], &[])),
            ["r.io/a/b:2", "extra"]
        );
        // Another repository's tag is another name, a mere label is every one's.
        let other = item(&["r.io/c/d:1"], &["1"]);
        assert_eq!(left(&old, &other), ["r.io/a/b:1", "r.io/a/b:2", "extra"]);
        assert_eq!(left(&old, &item(&[], &["1"])), ["r.io/a/b:2", "extra"]);
        assert!(left(&item(&[], &["v"]), &item(&[], &["v"])).is_empty());
        assert_eq!(left(&item(&[], &["v"]), &item(&[], &["w"])), ["v"]);
    }

    #[test]
    fn a_file_is_replaced_by_the_same_names_only() {
        let new = item(&["app:1"], &[]);
        assert!(has_names_of(
            &new,
            &item(&["docker.io/library/app:1"], &["1"])
        ));
        assert!(!has_names_of(&new, &item(&["app:2"], &[])));
        assert!(!has_names_of(&new, &item(&["app:1", "app:2"], &[])));
        assert!(!has_names_of(&new, &item(&[], &["1"])));
        assert!(has_names_of(&new, &item(&[], &[])));
    }
}
