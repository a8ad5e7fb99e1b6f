//! Indexes that are made or changed entry by entry. Members and entries that this
//! crate does not know are kept.

use serde_json::{Map, Value};

use super::select::{ATTESTED, is_selectable};
use super::{Builder, Kind, Manifest};
use crate::descriptor::{Descriptor, media_type};
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::platform::Platform;

/// An index that is being made, or changed.
///
/// ```
/// use dxf_registry::manifest::IndexBuilder;
/// use dxf_registry::{Blob, descriptor::media_type, manifest::Builder};
///
/// let config = Blob::empty();
/// let image = Builder::new(media_type::OCI_MANIFEST).config(config.descriptor());
/// let mut entry = image.layers([config.descriptor()]).build()?.descriptor();
/// entry.platform = Some(Box::new("linux/amd64".parse()?));
/// let mut index = IndexBuilder::default();
/// index.add(&entry);
/// assert_eq!(index.build()?.index()?.manifests, [entry]);
/// # Ok::<(), dxf_registry::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct IndexBuilder {
    document: Builder,
    entries: Vec<Value>,
}

impl Default for IndexBuilder {
    /// An OCI index of nothing.
    fn default() -> IndexBuilder {
        IndexBuilder {
            document: Builder::new(media_type::OCI_INDEX),
            entries: Vec::new(),
        }
    }
}

impl IndexBuilder {
    /// A copy of an index, to be changed.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for a manifest that is not an index.
    pub fn of(index: &Manifest) -> Result<IndexBuilder> {
        if index.kind() != Kind::Index {
            let what = "one manifest, not an index of several".to_string();
            return Err(Error::Unsupported { what });
        }
        let mut document = Builder::of(index)?;
        let entries = document.take_list("manifests").unwrap_or_default();
        Ok(IndexBuilder { document, entries })
    }

    /// Lists an entry once. One for the same platform, or of the same digest, is
    /// replaced in its place; gives the digest of another manifest that was.
    pub fn add(&mut self, entry: &Descriptor) -> Option<Digest> {
        let fits = is_selectable(entry);
        let is_same = |known: Descriptor| {
            known.digest == entry.digest || fits && is_for(&known, entry.platform.as_deref())
        };
        let mut known = self.entries.iter().map(read);
        let at = known.position(|known| known.is_some_and(is_same));
        let Some(at) = at else {
            self.entries.push(entry.into());
            return None;
        };
        let old = std::mem::replace(&mut self.entries[at], entry.into());
        let old = read(&old).map(|old| old.digest)?;
        (old != entry.digest).then_some(old)
    }

    /// Removes the entries of a digest and their attestations; whether there
    /// were any.
    pub fn remove(&mut self, digest: &Digest) -> bool {
        self.remove_if(|entry| entry.digest == *digest)
    }

    /// Removes the entries for exactly this platform and their attestations;
    /// whether there were any.
    pub fn remove_platform(&mut self, platform: &Platform) -> bool {
        self.remove_if(|entry| is_for(entry, Some(platform)))
    }

    fn remove_if(&mut self, is_meant: impl Fn(&Descriptor) -> bool) -> bool {
        let known = self.entries.iter().filter_map(read);
        let gone: Vec<Digest> = known.filter(is_meant).map(|one| one.digest).collect();
        self.entries.retain(|value| {
            read(value).is_none_or(|entry| {
                let about = entry.annotations.get(ATTESTED);
                let about = about.and_then(|text| text.parse::<Digest>().ok());
                !gone.contains(&entry.digest) && !about.is_some_and(|d| gone.contains(&d))
            })
        });
        !gone.is_empty()
    }

    /// Sets annotations beside the existing ones.
    pub fn annotate(&mut self, annotations: impl IntoIterator<Item = (String, String)>) {
        let mut annotations = annotations.into_iter().peekable();
        if annotations.peek().is_none() {
            return;
        }
        let mut all = match self.document.get("annotations") {
            Some(Value::Object(all)) => all.clone(),
            _ => Map::new(),
        };
        all.extend(annotations.map(|(name, value)| (name, value.into())));
        self.document = self.document.clone().annotations(all);
    }

    /// The index.
    ///
    /// # Errors
    /// As [`Manifest::new`].
    pub fn build(self) -> Result<Manifest> {
        self.document.manifests(self.entries).build()
    }
}

/// An entry; `None` for JSON that is not an entry, which is kept unchanged.
fn read(value: &Value) -> Option<Descriptor> {
    serde_json::from_value(value.clone()).ok()
}

fn is_for(entry: &Descriptor, platform: Option<&Platform>) -> bool {
    is_selectable(entry) && entry.platform.as_deref() == platform
}
