//! Aliases: tags whose manifests name blobs, in python-dxf's meaning.
//!
//! Reading an alias is one fetch ([`resolve`]) and a pure projection of what
//! came ([`blobs`], [`config`]); an alias of several platforms gives one answer
//! for each. Works on every [`Store`]; knows nothing of command lines and of
//! how answers are printed.

mod platforms;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use crate::blob::Blob;
use crate::descriptor::{Descriptor, media_type};
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::graph::{push_again, push_manifest, send_all};
use crate::manifest::{Builder, Kind, Manifest};
use crate::parallel;
use crate::reference::{Tag, Target};
use crate::store::{Expected, Store};
pub use crate::stream::Run;
use crate::stream::Watch;

pub use platforms::{ByPlatform, expand, resolve};

/// What a manifest of [`Format::Oci`] says it is.
pub const ARTIFACT_TYPE: &str = "application/vnd.dxf.alias.v1";

/// The manifest that [`set`] writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// python-dxf's: a Docker image whose config is the first blob, the same
    /// to the byte.
    #[default]
    Docker,
    /// An OCI artifact with an empty config, for registries and tools that
    /// take python-dxf's for a broken image.
    Oci,
}

/// How [`set`] and its like write; a [`Format`] alone is one, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SetOptions {
    /// The manifest to write.
    pub format: Format,
    /// What the alias has to be until then; anything, when `None`.
    pub expected: Option<Expected>,
}

impl From<Format> for SetOptions {
    fn from(format: Format) -> SetOptions {
        SetOptions {
            format,
            expected: None,
        }
    }
}

/// The blobs of an alias, in order: the layers of its manifest.
///
/// # Errors
/// [`Error::Unsupported`] for a kind of manifest that has no blobs,
/// [`Error::Malformed`].
pub fn blobs(manifest: &Manifest) -> Result<Vec<Descriptor>> {
    image_only(manifest)?;
    Ok(manifest.image()?.layers)
}

/// The digest of the config: of an image its id, of an alias its first blob.
///
/// # Errors
/// As [`blobs`].
pub fn config(manifest: &Manifest) -> Result<Digest> {
    image_only(manifest)?;
    Ok(manifest.image()?.config.digest)
}

fn image_only(manifest: &Manifest) -> Result<()> {
    let why = match manifest.kind() {
        Kind::Image => return Ok(()),
        Kind::Unknown => return Err(manifest.unknown()),
        Kind::Index => "a multi-platform index names no blobs; choose one of its platforms",
        // python-dxf gave schema 1 up as well; registries do by and by.
        Kind::Schema1 => {
            "a schema 1 manifest (Docker's format before 2016) is no alias; push the image again with a newer tool"
        }
    };
    Err(Error::Unsupported { what: why.into() })
}

/// Points an alias at blobs that the store has: one HEAD per blob, then the PUT.
///
/// # Errors
/// [`Error::NotFound`] for a blob that does not exist, [`Error::Unsupported`] for
/// none at all, [`Error::Conflict`] when the alias is not as expected, the
/// store's own.
pub fn set(
    store: &dyn Store,
    tag: &Tag,
    digests: &[Digest],
    settings: impl Into<SetOptions>,
    run: Run<'_>,
) -> Result<Manifest> {
    let mut unique = digests.to_vec();
    unique.sort();
    unique.dedup();
    let sizes = parallel::map(run.jobs, unique, run.watch.stop, |digest, _| {
        let size = store
            .size_to_write(&digest)?
            .ok_or_else(|| Error::NotFound {
                what: format!("blob {digest}; it must be pushed before an alias can name it"),
            })?;
        Ok((digest, size))
    })?;
    let sizes: BTreeMap<Digest, u64> = sizes.into_iter().collect();
    let known = |digest: &Digest| {
        let size = sizes.get(digest)?;
        Some(Descriptor::new(media_type::OCTET_STREAM, *digest, *size))
    };
    let blobs: Vec<Descriptor> = digests.iter().filter_map(known).collect();
    put(store, tag, &blobs, settings, run)
}

/// The same for blobs whose sizes are known because they were pushed just now:
/// no HEAD.
///
/// # Errors
/// As [`set`].
pub fn put(
    store: &dyn Store,
    tag: &Tag,
    blobs: &[Descriptor],
    settings: impl Into<SetOptions>,
    run: Run<'_>,
) -> Result<Manifest> {
    run.watch.stop.check()?;
    let settings = settings.into();
    let manifest = match settings.format {
        Format::Docker => Manifest::alias(blobs)?,
        Format::Oci => {
            let manifest = artifact(blobs)?;
            // Two bytes that the caller did not ask to hear about.
            store.put_blob(&Blob::empty(), Watch::new(&(), run.watch.stop))?;
            manifest
        }
    };
    let target = Target::Tag(tag.clone());
    push_manifest(store, &manifest, &target, settings.expected)?;
    Ok(manifest)
}

/// Stores blobs and points an alias at them.
///
/// Blobs that the store claims to contain, and then denies when the manifest
/// comes, are sent whatever it claims.
///
/// # Errors
/// As [`set`].
pub fn push(
    store: &dyn Store,
    tag: &Tag,
    blobs: &[Blob],
    settings: impl Into<SetOptions>,
    run: Run<'_>,
) -> Result<Manifest> {
    let settings = settings.into();
    for blob in blobs {
        store.put_blob(blob, run.watch)?;
    }
    let descriptors: Vec<Descriptor> = blobs.iter().map(|b| b.descriptor().clone()).collect();
    let empty = (settings.format == Format::Oci).then(Blob::empty);
    let again: Vec<&Blob> = blobs.iter().chain(&empty).collect();
    push_again(
        || put(store, tag, &descriptors, settings, run),
        || send_all(store, &again, run),
    )
}

/// The manifest of [`Format::Oci`] (image-spec, manifest.md, "Guidelines for
/// Artifact Usage"); like python-dxf's a function of the blobs alone.
fn artifact(blobs: &[Descriptor]) -> Result<Manifest> {
    if blobs.is_empty() {
        // In the same words.
        return Manifest::alias(blobs);
    }
    let layer = |d: &Descriptor| Descriptor::new(media_type::OCTET_STREAM, d.digest, d.size);
    let config = Blob::empty();
    Builder::new(media_type::OCI_MANIFEST)
        .member("artifactType", ARTIFACT_TYPE)
        .config(config.descriptor())
        .layers(blobs.iter().map(layer))
        .build_sorted()
}

/// What [`delete`] deleted.
#[derive(Debug)]
#[non_exhaustive]
pub struct Deleted {
    /// What the alias pointed to: its blobs, or for an index the one manifest of
    /// each platform; none of them is deleted.
    pub pointed: ByPlatform<Vec<Digest>>,
    /// The other aliases of the same manifest, which are gone too; or why they
    /// could not be listed.
    pub siblings: Result<Vec<Tag>>,
}

/// Deletes the manifest an alias points at, by its digest as python-dxf does,
/// so that every other alias of that manifest is deleted too.
///
/// # Errors
/// As [`resolve`], before anything is deleted; the store's own.
pub fn delete(store: &dyn Store, target: &Target, run: Run<'_>) -> Result<Deleted> {
    let manifest = store.manifest(target)?;
    let pointed = pointed(&manifest)?;
    let digest = digest(&manifest, target);
    let siblings = siblings(store, target, &digest, run);
    store.delete_manifest(&digest)?;
    Ok(Deleted { pointed, siblings })
}

/// The digest that a store knows the `manifest` of `target` by.
pub fn digest(manifest: &Manifest, target: &Target) -> Digest {
    match target {
        Target::Digest(digest) => *digest,
        Target::Tag(_) => manifest.digest(),
    }
}

/// What an alias of `manifest` points to: its blobs, or for an index the one
/// manifest of each platform.
///
/// # Errors
/// As [`blobs`].
pub fn pointed(manifest: &Manifest) -> Result<ByPlatform<Vec<Digest>>> {
    if manifest.kind() == Kind::Index {
        let children = platforms::children(manifest)?;
        return children.try_map(|child| Ok(vec![child.digest]));
    }
    let layers = blobs(manifest)?;
    let digests = layers.iter().map(|layer| layer.digest).collect();
    Ok(ByPlatform::One(digests))
}

/// Deletes one alias and leaves every other alias of its manifest. Gives what
/// it pointed at, as [`delete`]. Where the store can't remove a tag, the
/// manifest is deleted if no other tag points at it.
///
/// # Errors
/// [`Error::NotAllowed`] naming the tags that would go too; the store's own.
pub fn delete_only(store: &dyn Store, tag: &Tag, run: Run<'_>) -> Result<ByPlatform<Vec<Digest>>> {
    let target = Target::Tag(tag.clone());
    let manifest = store.manifest(&target)?;
    let pointed = pointed(&manifest)?;
    let Err(refused) = store.untag(tag) else {
        return Ok(pointed);
    };
    if !cannot_untag(store, &target, &refused) {
        return Err(refused);
    }
    let digest = manifest.digest();
    let others = siblings(store, &target, &digest, run)?;
    if others.is_empty() {
        store.delete_manifest(&digest)?;
        return Ok(pointed);
    }
    Err(Error::NotAllowed {
        what: format!(
            "{} can't remove the alias {tag} alone, and deleting its manifest {digest} would remove these aliases too: {}",
            store.name(),
            named(&others)
        ),
    })
}

/// Whether the store has no way to remove a tag, as the distribution registry
/// before version 3 (measured on 2.8.2: 400 DIGEST_INVALID, tag there or not).
pub(crate) fn cannot_untag(store: &dyn Store, target: &Target, refused: &Error) -> bool {
    match refused {
        Error::NotAllowed { .. } | Error::Unsupported { .. } => true,
        // The tag existed a moment ago. If it still does, "not found" was
        // said of the digest that a tag is not.
        refused if refused.is_not_found() => matches!(store.head(target), Ok(Some(_))),
        refused => matches!(refused.status(), Some(400 | 405 | 415 | 501)),
    }
}

/// The other tags that point at `digest`: one HEAD a tag.
fn siblings(store: &dyn Store, target: &Target, digest: &Digest, run: Run<'_>) -> Result<Vec<Tag>> {
    let mut others = Vec::new();
    for other in store.tags() {
        run.watch.stop.check()?;
        // A name that is not a tag can't be looked up, so nothing is deleted.
        let other = other?;
        if *target != Target::Tag(other.clone()) {
            others.push(other);
        }
    }
    let found = parallel::map(run.jobs, others, run.watch.stop, |other, _| {
        let there = store.head(&Target::Tag(other.clone()))?;
        Ok(there.filter(|there| there.digest == *digest).map(|_| other))
    })?;
    let mut found: Vec<Tag> = found.into_iter().flatten().collect();
    // Lists of a registry come in any order.
    found.sort();
    Ok(found)
}

/// The first twenty of `tags`, for a message of one line.
pub fn named(tags: &[Tag]) -> String {
    const SHOWN: usize = 20;
    let shown: Vec<&str> = tags.iter().take(SHOWN).map(Tag::as_str).collect();
    match tags.len().saturating_sub(SHOWN) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}
