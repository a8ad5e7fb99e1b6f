//! One repository, wherever it lives: in a registry, or in a folder on disk.
//!
//! Everything above (aliases, images, copies) is written against [`Store`] and
//! can't tell its kinds apart.

use std::io::Read;
use std::ops::Range;

use crate::blob::Blob;
use crate::descriptor::Descriptor;
use crate::digest::{Digest, Verify};
use crate::error::{Error, Result};
use crate::manifest::Manifest;
use crate::reference::{Origin, RepoName, Tag, Target};
use crate::stream::Watch;

/// The bytes of a blob, on their way.
pub struct Content<'a> {
    /// The size of the whole blob, bytes, where the store knows it.
    pub size: Option<u64>,
    /// The bytes asked for, not yet verified.
    pub reader: Box<dyn Read + Send + 'a>,
}

/// The bytes of a whole blob, verified as they are read.
pub struct Verified<'a> {
    /// The size of the blob, bytes, where the store knows it.
    pub size: Option<u64>,
    /// Fails at the end when size or digest are wrong.
    pub reader: Verify<Box<dyn Read + Send + 'a>>,
}

/// What [`Store::put_blob`] had to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Put {
    /// Nothing: the blob was there.
    Existed,
    /// The blob was taken over from another repository of the same registry.
    Mounted,
    /// The bytes were sent.
    Uploaded,
}

/// What a tag has to be for [`Store::put_manifest_if`] to move it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    /// Not there.
    Nothing,
    /// A name for the manifest of this digest.
    Manifest(Digest),
}

impl Expected {
    /// Holds against it what tag `what` was `found` to point at.
    ///
    /// # Errors
    /// [`Error::Conflict`] when that is something else.
    pub fn check(&self, what: &str, found: Option<Digest>) -> Result<()> {
        let wanted = match self {
            Expected::Nothing => None,
            Expected::Manifest(digest) => Some(*digest),
        };
        if found == wanted {
            return Ok(());
        }
        Err(Error::Conflict {
            what: what.to_string(),
            found: found.map(Box::new),
        })
    }
}

/// The names in a list, page by page.
pub type Names<'a> = Box<dyn Iterator<Item = Result<String>> + 'a>;

/// Blobs, manifests and tags of one repository.
///
/// Errors are the same for every kind of store: [`crate::Error::is_not_found`]
/// for what is not there, [`crate::Error::is_corrupt`] for bytes that are not
/// what their digest says.
pub trait Store: Send + Sync {
    /// The repository's name for messages.
    fn name(&self) -> String;

    /// Where a blob of this store can be mounted from, if anywhere.
    fn origin(&self) -> Option<Origin>;

    /// The size of a blob in bytes, or `None` when it is not there.
    ///
    /// # Errors
    /// Those of the store.
    fn blob_size(&self, digest: &Digest) -> Result<Option<u64>>;

    /// The same, asked by somebody who is about to write: where rights are
    /// asked for, those for reading and writing are asked for at once.
    ///
    /// # Errors
    /// As [`Store::blob_size`].
    fn size_to_write(&self, digest: &Digest) -> Result<Option<u64>> {
        self.blob_size(digest)
    }

    /// A blob's bytes from offset `from`. Whoever reads has to verify;
    /// [`Store::pull_blob`] does.
    ///
    /// # Errors
    /// One that [`crate::Error::is_not_found`] when there is no such blob.
    fn open_blob(&self, digest: &Digest, from: u64) -> Result<Content<'_>>;

    /// The bytes `range` of a blob, none behind them, not verified; it must not
    /// be empty. `None` where asking for less than the rest saves nothing or is
    /// not served: then [`Store::open_blob`] is the way.
    ///
    /// # Errors
    /// As [`Store::open_blob`].
    fn open_range(&self, digest: &Digest, range: Range<u64>) -> Result<Option<Content<'_>>> {
        let _ = (digest, range);
        Ok(None)
    }

    /// A whole blob, verified as it is read. `size` is checked too where it is
    /// known.
    ///
    /// # Errors
    /// As [`Store::open_blob`]. The reader fails with [`crate::Error::Mismatch`]
    /// or [`crate::Error::Size`] instead of ending, inside an
    /// [`std::io::Error`]: [`crate::Error::from_io`] takes it out.
    fn pull_blob(&self, digest: &Digest, size: Option<u64>) -> Result<Verified<'_>> {
        let content = self.open_blob(digest, 0)?;
        let size = size.or(content.size);
        Ok(Verified {
            size,
            reader: Verify::new(content.reader, *digest, size),
        })
    }

    /// Stores a blob unless it is there.
    ///
    /// # Errors
    /// What the blob's source has, what the store has against it, and
    /// [`crate::Error::Stopped`].
    fn put_blob(&self, blob: &Blob, watch: Watch<'_>) -> Result<Put>;

    /// Stores a blob without looking whether it is there: what to do when a
    /// registry first said that it holds a blob and then that it does not.
    ///
    /// # Errors
    /// As [`Store::put_blob`].
    fn send_blob(&self, blob: &Blob, watch: Watch<'_>) -> Result<Put> {
        self.put_blob(blob, watch)
    }

    /// Takes a blob over from repository `from` of the same registry, or folder.
    ///
    /// # Errors
    /// [`crate::Error::NotMounted`] when `from` does not hold the blob.
    fn mount_blob(&self, digest: &Digest, from: &RepoName, watch: Watch<'_>) -> Result<Put>;

    /// Deletes a blob.
    ///
    /// # Errors
    /// One that [`crate::Error::is_not_found`] when there is no such blob, and
    /// the refusal (405) of a registry that deletes nothing.
    fn delete_blob(&self, digest: &Digest) -> Result<()>;

    /// The manifest of a tag or digest, verified.
    ///
    /// # Errors
    /// One that [`crate::Error::is_not_found`] when there is none,
    /// [`crate::Error::Mismatch`], [`crate::Error::Malformed`].
    fn manifest(&self, target: &Target) -> Result<Manifest>;

    /// What a tag or digest points at, without fetching it where that can be
    /// avoided; `None` when it is not there.
    ///
    /// # Errors
    /// Those of the store.
    fn head(&self, target: &Target) -> Result<Option<Descriptor>>;

    /// Stores a manifest under a tag or its digest. One with a subject is
    /// listed among the [`Store::referrers`] of that from then on.
    ///
    /// # Errors
    /// What the store has against it: a registry that misses a blob names
    /// `MANIFEST_BLOB_UNKNOWN`, for which [`crate::Error::has_code`] asks.
    fn put_manifest(&self, manifest: &Manifest, target: &Target) -> Result<()>;

    /// Stores a manifest under a tag that is as `expected`. Where a store can't
    /// do both in one step, as here, another writer may come in between unseen.
    ///
    /// # Errors
    /// [`crate::Error::Conflict`] when the tag is not as expected.
    fn put_manifest_if(&self, manifest: &Manifest, tag: &Tag, expected: Expected) -> Result<()> {
        let target = Target::Tag(tag.clone());
        let found = self.head(&target)?.map(|found| found.digest);
        expected.check(&format!("alias {tag} in {}", self.name()), found)?;
        self.put_manifest(manifest, &target)
    }

    /// Deletes a manifest, and with it every tag that points at it.
    ///
    /// # Errors
    /// As [`Store::delete_blob`].
    fn delete_manifest(&self, digest: &Digest) -> Result<()>;

    /// Removes one tag and leaves its manifest.
    ///
    /// # Errors
    /// [`crate::Error::NotAllowed`] where the registry can't do that.
    fn untag(&self, tag: &Tag) -> Result<()>;

    /// The tags, in the store's order, fetched page by page.
    fn tags(&self) -> Names<'_>;

    /// What stands for the manifests that name `subject` as theirs, such as its
    /// signatures, each once; none when there is no such subject. Their
    /// [`Descriptor::artifact_type`] and annotations say what they are.
    ///
    /// # Errors
    /// Those of the store; [`crate::Error::Malformed`].
    fn referrers(&self, subject: &Digest) -> Result<Vec<Descriptor>>;
}

/// Points a tag at a manifest, where `expected` is given only a tag that is so.
///
/// Where tags are immutable a second PUT of the very same manifest is refused
/// (ECR says 400, Harbor 412, Quay 409, Artifactory 403), though all is as
/// it was asked to be. Asking first would cost everyone a request.
pub(crate) fn put_unless_same(
    store: &dyn Store,
    manifest: &Manifest,
    tag: &Tag,
    expected: Option<Expected>,
) -> Result<()> {
    let target = Target::Tag(tag.clone());
    let done = match expected {
        Some(expected) => store.put_manifest_if(manifest, tag, expected),
        None => store.put_manifest(manifest, &target),
    };
    let Err(refused) = done else {
        return Ok(());
    };
    if expected.is_some_and(|e| e != Expected::Manifest(manifest.digest())) {
        // It was to be moved. Being there already, it is another writer's.
        return Err(refused);
    }
    let in_doubt = refused.status().is_some_and(|status| {
        (400..500).contains(&status) && !matches!(status, 401 | 404 | 408 | 429)
    });
    if in_doubt
        && let Ok(Some(there)) = store.head(&target)
        && there.digest == manifest.digest()
    {
        return Ok(());
    }
    Err(refused)
}
