//! An OCI image layout in a tar: `index.json`, and blobs named by their digest
//! (image-spec, image-layout.md). Its manifests are those of the registry the
//! image came from, so they are used byte for byte.

use std::io::Read;

use crate::blob::{Blob, Source};
use crate::descriptor::Descriptor;
use crate::descriptor::annotation::{BUNDLE_NAME, FULL_NAME, REF_NAME};
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::graph::Budget;
use crate::image::layer::{LayerType, kept_elsewhere};
use crate::image::{self, Child, Image, MAX_DEPTH, Node};
use crate::manifest::{self, Kind, Manifest, is_manifest};
use crate::reference::Reference;
use crate::tar::Index;

/// The file that makes a tar an OCI layout.
pub(crate) const INDEX: &str = "index.json";
/// The file that says which version of the layout it is.
pub(crate) const MARK: &str = "oci-layout";

/// What the index of a layout lists.
pub(crate) struct Found {
    pub names: Vec<Reference>,
    pub label: Option<String>,
    pub node: Node,
}

/// Everything that is listed and exists.
///
/// An index of which only some platforms were saved (Docker's containerd store
/// does that) gives each image that is whole.
///
/// # Errors
/// [`Error::NotFound`] when a blob is missing.
pub(crate) fn read(index: &Index) -> Result<Vec<Found>> {
    let bytes = index.bytes(INDEX, manifest::MAX_SIZE)?;
    let (mut all, budget) = (Vec::new(), Budget::default());
    for entry in Manifest::new(None, bytes)?.index()?.manifests {
        let (names, label) = names(&entry);
        let nodes = match saved(index, &entry, 0, &budget)? {
            Saved::Whole(node) => vec![node],
            Saved::Parts(nodes) => nodes,
        };
        for node in nodes {
            all.push(Found {
                names: names.clone(),
                label: label.clone(),
                node,
            });
        }
    }
    Ok(all)
}

/// The full name of an entry, and what the layout calls it.
pub(crate) fn names(entry: &Descriptor) -> (Vec<Reference>, Option<String>) {
    let label = entry.annotations.get(REF_NAME);
    let full = entry
        .annotations
        .get(FULL_NAME)
        .and_then(|name| name.parse().ok());
    // podman and skopeo may put the whole name where others put the tag.
    let whole = label
        .filter(|label| label.contains(['/', ':']))
        .and_then(|label| label.parse().ok());
    (full.or(whole).into_iter().collect(), label.cloned())
}

/// Whether a bundle lists images: a part of one, or one that leaves out what the
/// other side has, is no archive.
pub(crate) fn is_bundle(index: &Index) -> Result<bool> {
    let bytes = index.bytes(INDEX, manifest::MAX_SIZE)?;
    let listed = Manifest::new(None, bytes)?.index()?.manifests;
    let mut names = listed.iter().map(|entry| &entry.annotations);
    Ok(names.any(|notes| notes.contains_key(BUNDLE_NAME)))
}

/// How much of what a descriptor points at exists.
enum Saved {
    /// All of it.
    Whole(Node),
    /// These images of an index.
    Parts(Vec<Node>),
}

fn saved(index: &Index, entry: &Descriptor, depth: usize, budget: &Budget) -> Result<Saved> {
    budget.hold(entry.size)?;
    let manifest = manifest(index, entry)?;
    match manifest.kind() {
        Kind::Image => {
            Image::of(manifest, |d| blob(index, d)).map(|image| Saved::Whole(Node::Image(image)))
        }
        Kind::Schema1 => Err(Error::Unsupported {
            what: "an archive of schema 1 manifests".to_string(),
        }),
        Kind::Unknown => {
            let blobs = manifest.artifact_blobs()?;
            let blobs: Result<_> = blobs.iter().map(|d| blob(index, d)).collect();
            image::Index::with_blobs(manifest, Vec::new(), blobs?)
                .map(|artifact| Saved::Whole(Node::Index(artifact)))
        }
        Kind::Index if depth >= MAX_DEPTH => Err(index.bad("indexes are nested too deep")),
        Kind::Index => saved_index(index, manifest, depth, budget),
    }
}

fn saved_index(index: &Index, manifest: Manifest, depth: usize, budget: &Budget) -> Result<Saved> {
    let (mut children, mut parts, mut missing) = (Vec::new(), Vec::new(), None);
    let mut blobs = Vec::new();
    let listed = manifest.index()?.manifests;
    budget.entries(listed.len())?;
    for descriptor in listed {
        if !is_manifest(&descriptor) {
            match blob(index, &descriptor) {
                Err(error) if error.is_not_found() => drop(missing.get_or_insert(error)),
                listed => blobs.push(listed?),
            }
            continue;
        }
        match saved(index, &descriptor, depth + 1, budget) {
            Ok(Saved::Whole(node)) => {
                if image::is_selectable(&descriptor) {
                    parts.push(node.clone());
                }
                children.push(Child { descriptor, node });
            }
            Ok(Saved::Parts(several)) => {
                parts.extend(several);
                missing.get_or_insert_with(|| not_whole(&descriptor.digest));
            }
            Err(error) if error.is_not_found() => drop(missing.get_or_insert(error)),
            Err(error) => return Err(error),
        }
    }
    match missing {
        None => {
            let index = image::Index::with_blobs(manifest, children, blobs)?;
            Ok(Saved::Whole(Node::Index(index)))
        }
        Some(error) if parts.is_empty() => Err(error),
        Some(_) => Ok(Saved::Parts(parts)),
    }
}

fn not_whole(digest: &Digest) -> Error {
    Error::NotFound {
        what: format!("all of index {digest}"),
    }
}

fn manifest(index: &Index, entry: &Descriptor) -> Result<Manifest> {
    let bytes = blob(index, entry)?.read(manifest::MAX_SIZE)?;
    let media_type = Some(entry.media_type.as_str());
    Manifest::new(media_type.filter(|name| !name.is_empty()), bytes)
}

/// The blob of a descriptor, in its place in the archive.
fn blob(index: &Index, wanted: &Descriptor) -> Result<Blob> {
    let name = blob_name(&wanted.digest);
    let Some(bytes) = index.get(&name) else {
        if LayerType::parse(&wanted.media_type).is_some_and(|layer| layer.foreign) {
            return Ok(Blob::new(wanted.clone(), Elsewhere(wanted.clone())));
        }
        return Err(Error::NotFound {
            what: format!("{name} in the archive"),
        });
    };
    if bytes.len() != wanted.size {
        return Err(Error::Size {
            what: name,
            expected: wanted.size,
            actual: bytes.len(),
        });
    }
    Ok(Blob::new(wanted.clone(), bytes.clone()))
}

/// The path of a blob in a layout.
pub(crate) fn blob_name(digest: &Digest) -> String {
    format!("blobs/{}/{}", digest.algorithm(), digest.hex())
}

/// The digest of the blob that has this path in a layout.
pub(crate) fn blob_digest(name: &str) -> Option<Digest> {
    let name = name.strip_prefix("blobs/")?;
    name.replacen('/', ":", 1).parse().ok()
}

/// A layer that was left out because it must not be passed on.
struct Elsewhere(Descriptor);

impl Source for Elsewhere {
    fn open(&self, _: u64) -> Result<Box<dyn Read + Send + '_>> {
        Err(kept_elsewhere(&self.0))
    }
}
