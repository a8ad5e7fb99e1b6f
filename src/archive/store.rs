//! An archive of images as a store to read from.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::json;

use super::Item;
use super::plan::index_entries;
use crate::blob::Blob;
use crate::descriptor::Descriptor;
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::image::Node;
use crate::layout::index::Index;
use crate::layout::read::{Bytes, Files};
use crate::manifest::Manifest;
use crate::reference::Target;
use crate::store::{Content, Names, ReadStore, Tags, parsed};

/// The images of an archive, as [`super::open`] found them.
///
/// A store to read from: the tags are those of the images' names and what an
/// OCI layout calls them. Whatever an image of a docker-archive has no manifest
/// for was made when it was opened. Blobs are sections of the file.
pub struct Archive {
    name: String,
    items: Vec<Item>,
    /// The index of a layout with these images.
    index: Arc<Index>,
    blobs: BTreeMap<Digest, Blob>,
}

impl Archive {
    /// The store of images that were read before; `name` names it in errors.
    ///
    /// # Errors
    /// [`Error::Malformed`] for more names than an index may list.
    pub fn of(name: &str, items: Vec<Item>) -> Result<Archive> {
        let (mut blobs, mut entries) = (BTreeMap::new(), Vec::new());
        for item in &items {
            let digest = item.node.manifest().digest();
            collect(&item.node, digest, &mut blobs);
            entries.extend(index_entries(item));
        }
        let index = json!({"manifests": entries}).to_string();
        let index = Arc::new(Index::parse(name, index.as_bytes())?);
        Ok(Archive {
            name: name.to_string(),
            items,
            index,
            blobs,
        })
    }

    /// The images and indexes, in their order, with everything the archive
    /// calls them.
    pub fn items(&self) -> &[Item] {
        &self.items
    }

    /// The same, for good.
    pub fn into_items(self) -> Vec<Item> {
        self.items
    }

    fn absent(&self, what: impl std::fmt::Display) -> Error {
        let what = format!("{what} in {}", self.name);
        Error::NotFound { what }
    }
}

/// Every manifest and blob below a node, under the digest it is listed by.
fn collect(node: &Node, digest: Digest, to: &mut BTreeMap<Digest, Blob>) {
    let manifest = node.manifest();
    let mut descriptor = manifest.descriptor();
    descriptor.digest = digest;
    let bytes = crate::blob::Bytes(manifest.bytes().to_vec());
    to.insert(digest, Blob::new(descriptor, bytes));
    match node {
        Node::Image(image) => {
            let blobs = image.blobs();
            to.extend(blobs.map(|blob| (*blob.digest(), blob.clone())));
        }
        Node::Index(index) => {
            let blobs = index.blobs().iter();
            to.extend(blobs.map(|blob| (*blob.digest(), blob.clone())));
            for child in index.children() {
                collect(&child.node, child.descriptor.digest, to);
            }
        }
    }
}

impl Files for Archive {
    fn index(&self) -> Result<Arc<Index>> {
        Ok(self.index.clone())
    }

    fn size(&self, digest: &Digest) -> Result<Option<u64>> {
        Ok(self.blobs.get(digest).map(Blob::size))
    }

    fn bytes(&self, digest: &Digest) -> Result<Option<Bytes<'_>>> {
        let blob = self.blobs.get(digest);
        blob.map(|blob| Ok((blob.open(0)?, blob.size())))
            .transpose()
    }
}

impl ReadStore for Archive {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn blob_size(&self, digest: &Digest) -> Result<Option<u64>> {
        self.size(digest)
    }

    fn open_blob(&self, digest: &Digest, from: u64) -> Result<Content<'_>> {
        let blob = self.blobs.get(digest);
        let blob = blob.ok_or_else(|| self.absent(format!("blob {digest}")))?;
        Ok(Content {
            size: Some(blob.size()),
            reader: blob.open(from)?,
        })
    }

    fn manifest(&self, target: &Target) -> Result<Manifest> {
        let found = self.find(target)?;
        found.ok_or_else(|| self.absent(format!("image {target}")))
    }

    fn head(&self, target: &Target) -> Result<Option<Descriptor>> {
        self.look(target)
    }

    fn tag_names(&self) -> Names<'_> {
        Box::new(self.index.tags().into_iter().map(Ok))
    }

    fn tags(&self) -> Tags<'_> {
        parsed(self.tag_names())
    }

    fn referrers(&self, subject: &Digest) -> Result<Vec<Descriptor>> {
        self.referring(subject)
    }
}
