//! One repository, wherever it is: in a registry, in a folder, in memory.
//!
//! [`ReadStore`] is what can be read from, [`Store`] what can be written to as
//! well. Everything above (aliases, images, copies) is written against these two
//! and knows no kind of store.

mod memory;
#[cfg(test)]
pub(crate) mod testing;

use std::io::{self, Read};
use std::ops::{Deref, Range};

pub use memory::Memory;

use crate::blob::Blob;
use crate::descriptor::Descriptor;
use crate::digest::{Digest, Verify};
use crate::error::{Error, Result, if_found};
use crate::manifest::{Kind, Manifest};
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
    /// Nothing: the blob existed.
    Existed,
    /// The blob was mounted from another repository of the same registry.
    Mounted,
    /// The bytes were sent.
    Uploaded,
}

/// What a tag has to be for [`Store::put_manifest_if`] to move it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    /// Missing.
    Nothing,
    /// A name for the manifest of this digest.
    Manifest(Digest),
}

impl Expected {
    /// Checks that the tag `what`, which points to `found`, points to the expected digest.
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

/// Tags, page by page.
pub type Tags<'a> = Box<dyn Iterator<Item = Result<Tag>> + 'a>;

/// Blobs, manifests and tags of one repository, to be read.
///
/// Four methods make a store; the others have defaults in terms of those four,
/// to be overridden where the store can do better. `&T`, `Box<T>` and `Arc<T>`
/// of a store are stores.
///
/// Errors are the same for every kind of store: [`Error::is_not_found`] for
/// what the store does not contain, [`Error::is_corrupt`] for bytes that do not
/// match their digest.
pub trait ReadStore: Send + Sync {
    /// The repository's name for messages.
    fn name(&self) -> String;

    /// A blob's bytes from offset `from` to its end. The store need not verify
    /// them; [`ReadStore::pull_blob`] does.
    ///
    /// # Errors
    /// One that [`Error::is_not_found`] when there is no such blob.
    fn open_blob(&self, digest: &Digest, from: u64) -> Result<Content<'_>>;

    /// The manifest of a tag or digest. The store verifies its bytes against
    /// the digest, and reads no more than [`crate::manifest::MAX_SIZE`] of them.
    ///
    /// # Errors
    /// One that [`Error::is_not_found`] when there is none,
    /// [`Error::Mismatch`], [`Error::Malformed`].
    fn manifest(&self, target: &Target) -> Result<Manifest>;

    /// The tags, in the store's order, fetched page by page. A name that is not
    /// a valid tag is an error in its place ([`valid_names`] passes over it).
    fn tags(&self) -> Tags<'_>;

    /// The names of the tags exactly as the store lists them, valid or not.
    fn tag_names(&self) -> Names<'_> {
        Box::new(self.tags().map(|tag| tag.map(|tag| tag.to_string())))
    }

    /// The repository of a registry that blobs of this store can be mounted
    /// from, if any.
    fn origin(&self) -> Option<Origin> {
        None
    }

    /// The size of a blob in bytes, or `None` when the store does not contain it.
    ///
    /// The default opens the blob, and reads it all where opening it does not
    /// tell its size.
    ///
    /// # Errors
    /// Those of the store.
    fn blob_size(&self, digest: &Digest) -> Result<Option<u64>> {
        let Some(mut content) = if_found(self.open_blob(digest, 0))? else {
            return Ok(None);
        };
        if let Some(size) = content.size {
            return Ok(Some(size));
        }
        let size = io::copy(&mut content.reader, &mut io::sink());
        size.map(Some).map_err(|e| Error::io(digest.to_string(), e))
    }

    /// The bytes `range` of a blob and no more, not verified; it must not be
    /// empty. `None` where the store cannot read less than the rest of a blob,
    /// as by default: the caller then uses [`ReadStore::open_blob`].
    ///
    /// # Errors
    /// As [`ReadStore::open_blob`].
    fn open_range(&self, digest: &Digest, range: Range<u64>) -> Result<Option<Content<'_>>> {
        let _ = (digest, range);
        Ok(None)
    }

    /// A whole blob, verified as it is read. `size` is checked too where it is
    /// known.
    ///
    /// # Errors
    /// As [`ReadStore::open_blob`]. The reader fails with [`Error::Mismatch`] or
    /// [`Error::Size`] instead of ending, inside an [`std::io::Error`]:
    /// [`Error::from_io`] takes it out.
    fn pull_blob(&self, digest: &Digest, size: Option<u64>) -> Result<Verified<'_>> {
        let content = self.open_blob(digest, 0)?;
        let size = size.or(content.size);
        Ok(Verified {
            size,
            reader: Verify::new(content.reader, *digest, size),
        })
    }

    /// The descriptor of the manifest of a tag or digest, or `None` when there
    /// is none. The default fetches the manifest.
    ///
    /// # Errors
    /// Those of the store.
    fn head(&self, target: &Target) -> Result<Option<Descriptor>> {
        let Some(manifest) = if_found(self.manifest(target))? else {
            return Ok(None);
        };
        let mut descriptor = manifest.descriptor();
        if let Target::Digest(digest) = target {
            descriptor.digest = *digest;
        }
        Ok(Some(descriptor))
    }

    /// The descriptors of the manifests whose subject is `subject`, such as its
    /// signatures, each once; none when there is no such subject. Their
    /// [`Descriptor::artifact_type`] and annotations are those of the manifests.
    ///
    /// The default fetches the manifest of every tag, so it finds only referrers
    /// that have a tag.
    ///
    /// # Errors
    /// Those of the store; [`Error::Malformed`].
    fn referrers(&self, subject: &Digest) -> Result<Vec<Descriptor>> {
        let mut referrers = Vec::<Descriptor>::new();
        for name in self.tag_names() {
            // A name that is not a tag names no manifest either.
            let Ok(tag) = name?.parse() else { continue };
            let Some(manifest) = if_found(self.manifest(&Target::Tag(tag)))? else {
                continue;
            };
            if refers_to(&manifest, subject) && is_new(&referrers, manifest.digest()) {
                referrers.push(manifest.referrer()?);
            }
        }
        Ok(referrers)
    }

    /// The same for a caller that has listed the tags: `is_tag` says which there are,
    /// so that a list of referrers under a tag that does not exist costs no request.
    ///
    /// # Errors
    /// As [`ReadStore::referrers`].
    fn referrers_among(
        &self,
        subject: &Digest,
        is_tag: &dyn Fn(&Tag) -> bool,
    ) -> Result<Vec<Descriptor>> {
        let _ = is_tag;
        self.referrers(subject)
    }
}

/// A [`ReadStore`] that can also be written to.
///
/// Two more methods make one. Without [`Store::mount_blob`], [`Store::untag`]
/// and the `delete_…` methods it can do everything but those.
pub trait Store: ReadStore {
    /// Stores a blob unless the store contains it already.
    ///
    /// The store verifies digest and size before the blob can be read from it,
    /// and leaves nothing that can be read when it fails. It reports the bytes
    /// it takes to `watch.progress`: `start` before the first, `finish` after
    /// the blob is accepted, and `skip` for [`Put::Existed`] and [`Put::Mounted`].
    /// [`receive`] reports a blob that is written.
    ///
    /// # Errors
    /// Those of the blob's source and of the store; [`Error::Stopped`].
    fn put_blob(&self, blob: &Blob, watch: Watch<'_>) -> Result<Put>;

    /// Stores a manifest under a tag, which moves atomically, or under its
    /// digest. A manifest with a subject is among the
    /// [`ReadStore::referrers`] of that from then on, where the store can list
    /// manifests without a tag.
    ///
    /// The store may refuse a manifest that names a blob or manifest it does not
    /// contain, with an error that [`Error::is_not_found`]; a registry's has the
    /// code `MANIFEST_BLOB_UNKNOWN` ([`Error::has_code`]).
    ///
    /// # Errors
    /// Those of the store.
    fn put_manifest(&self, manifest: &Manifest, target: &Target) -> Result<()>;

    /// Stores manifests under their digests, in order, each as
    /// [`Store::put_manifest`] does. The default calls that; a store whose lists of
    /// referrers are kept by its clients writes each list once.
    ///
    /// # Errors
    /// Those of the store.
    fn put_manifests(&self, manifests: &[(Digest, &Manifest)]) -> Result<()> {
        manifests.iter().try_for_each(|(digest, manifest)| {
            self.put_manifest(manifest, &Target::Digest(*digest))
        })
    }

    /// Stores a blob even if the store claims to contain it: the retry after a
    /// registry first claimed that and then refused a manifest because it lacks
    /// the blob. The default is [`Store::put_blob`].
    ///
    /// # Errors
    /// As [`Store::put_blob`].
    fn send_blob(&self, blob: &Blob, watch: Watch<'_>) -> Result<Put> {
        self.put_blob(blob, watch)
    }

    /// As [`ReadStore::blob_size`], before a write: a registry asks for the
    /// rights to read and to write in one go. The default is `blob_size`.
    ///
    /// # Errors
    /// As [`ReadStore::blob_size`].
    fn size_to_write(&self, digest: &Digest) -> Result<Option<u64>> {
        self.blob_size(digest)
    }

    /// Takes a blob over from repository `from` beside this one, without moving
    /// its bytes through this machine.
    ///
    /// # Errors
    /// [`Error::NotMounted`] when `from` does not contain the blob;
    /// [`Error::NotAllowed`], as by default.
    fn mount_blob(&self, digest: &Digest, from: &RepoName, watch: Watch<'_>) -> Result<Put> {
        let _ = (from, watch);
        Err(not_allowed(self, &format!("mount {digest}")))
    }

    /// Deletes a blob.
    ///
    /// # Errors
    /// One that [`Error::is_not_found`] when there is no such blob, the refusal
    /// (405) of a registry that deletes nothing, [`Error::NotAllowed`], as by
    /// default.
    fn delete_blob(&self, digest: &Digest) -> Result<()> {
        Err(not_allowed(self, &format!("delete blob {digest}")))
    }

    /// Stores a manifest under a tag that is as `expected`. The default looks
    /// first and stores then, so another process's write between the two is
    /// overwritten; a store that can do both in one step overrides it.
    ///
    /// # Errors
    /// [`Error::Conflict`] when the tag is not as expected.
    fn put_manifest_if(&self, manifest: &Manifest, tag: &Tag, expected: Expected) -> Result<()> {
        let target = Target::Tag(tag.clone());
        let found = self.head(&target)?.map(|found| found.digest);
        expected.check(&format!("alias {tag} in {}", self.name()), found)?;
        self.put_manifest(manifest, &target)
    }

    /// Deletes a manifest, and with it every tag that points to it.
    ///
    /// # Errors
    /// As [`Store::delete_blob`].
    fn delete_manifest(&self, digest: &Digest) -> Result<()> {
        Err(not_allowed(self, &format!("delete manifest {digest}")))
    }

    /// Removes a manifest from the list of the referrers of `subject`, where
    /// clients keep that list; whether it contained it. The default does nothing:
    /// a store that lists by itself lists what it contains.
    ///
    /// # Errors
    /// Those of the store.
    fn unlist(&self, subject: &Digest, referrer: &Digest) -> Result<bool> {
        let _ = (subject, referrer);
        Ok(false)
    }

    /// Removes one tag and leaves its manifest.
    ///
    /// # Errors
    /// One that [`Error::is_not_found`] when there is no such tag;
    /// [`Error::NotAllowed`], as by default.
    fn untag(&self, tag: &Tag) -> Result<()> {
        Err(not_allowed(self, &format!("remove alias {tag} alone")))
    }

    /// Removes each of `tags` that points to the digest beside it, all of them in one
    /// step, and leaves their manifests. Gives what each of them pointed to, if it
    /// existed; `None` where the store removes one tag at a time, as by default: the
    /// caller then uses [`Store::untag`].
    ///
    /// # Errors
    /// Those of the store; no tag is removed then.
    fn untag_all(&self, tags: &[(Tag, Digest)]) -> Result<Option<Vec<Option<Digest>>>> {
        let _ = tags;
        Ok(None)
    }
}

/// Whatever points to a store is that store. Every method is passed on, those
/// with a default too; a test compares the lists.
impl<P> ReadStore for P
where
    P: Deref<Target: ReadStore> + Send + Sync,
{
    fn name(&self) -> String {
        (**self).name()
    }
    fn open_blob(&self, digest: &Digest, from: u64) -> Result<Content<'_>> {
        (**self).open_blob(digest, from)
    }
    fn manifest(&self, target: &Target) -> Result<Manifest> {
        (**self).manifest(target)
    }
    fn tags(&self) -> Tags<'_> {
        (**self).tags()
    }
    fn tag_names(&self) -> Names<'_> {
        (**self).tag_names()
    }
    fn origin(&self) -> Option<Origin> {
        (**self).origin()
    }
    fn blob_size(&self, digest: &Digest) -> Result<Option<u64>> {
        (**self).blob_size(digest)
    }
    fn open_range(&self, digest: &Digest, range: Range<u64>) -> Result<Option<Content<'_>>> {
        (**self).open_range(digest, range)
    }
    fn pull_blob(&self, digest: &Digest, size: Option<u64>) -> Result<Verified<'_>> {
        (**self).pull_blob(digest, size)
    }
    fn head(&self, target: &Target) -> Result<Option<Descriptor>> {
        (**self).head(target)
    }
    fn referrers(&self, subject: &Digest) -> Result<Vec<Descriptor>> {
        (**self).referrers(subject)
    }
    fn referrers_among(
        &self,
        subject: &Digest,
        is_tag: &dyn Fn(&Tag) -> bool,
    ) -> Result<Vec<Descriptor>> {
        (**self).referrers_among(subject, is_tag)
    }
}

impl<P> Store for P
where
    P: Deref<Target: Store> + Send + Sync,
{
    fn put_blob(&self, blob: &Blob, watch: Watch<'_>) -> Result<Put> {
        (**self).put_blob(blob, watch)
    }
    fn put_manifest(&self, manifest: &Manifest, target: &Target) -> Result<()> {
        (**self).put_manifest(manifest, target)
    }
    fn put_manifests(&self, manifests: &[(Digest, &Manifest)]) -> Result<()> {
        (**self).put_manifests(manifests)
    }
    fn send_blob(&self, blob: &Blob, watch: Watch<'_>) -> Result<Put> {
        (**self).send_blob(blob, watch)
    }
    fn size_to_write(&self, digest: &Digest) -> Result<Option<u64>> {
        (**self).size_to_write(digest)
    }
    fn mount_blob(&self, digest: &Digest, from: &RepoName, watch: Watch<'_>) -> Result<Put> {
        (**self).mount_blob(digest, from, watch)
    }
    fn delete_blob(&self, digest: &Digest) -> Result<()> {
        (**self).delete_blob(digest)
    }
    fn put_manifest_if(&self, manifest: &Manifest, tag: &Tag, expected: Expected) -> Result<()> {
        (**self).put_manifest_if(manifest, tag, expected)
    }
    fn delete_manifest(&self, digest: &Digest) -> Result<()> {
        (**self).delete_manifest(digest)
    }
    fn unlist(&self, subject: &Digest, referrer: &Digest) -> Result<bool> {
        (**self).unlist(subject, referrer)
    }
    fn untag(&self, tag: &Tag) -> Result<()> {
        (**self).untag(tag)
    }
    fn untag_all(&self, tags: &[(Tag, Digest)]) -> Result<Option<Vec<Option<Digest>>>> {
        (**self).untag_all(tags)
    }
}

/// Whether `subject` is what a manifest is about. A subject that cannot be
/// parsed is none.
pub(crate) fn refers_to(manifest: &Manifest, subject: &Digest) -> bool {
    let named = manifest.subject().ok().flatten();
    named.is_some_and(|named| named.digest == *subject)
}

fn is_new(listed: &[Descriptor], digest: Digest) -> bool {
    listed.iter().all(|other| other.digest != digest)
}

/// What the error of a name in a list is about.
const ENTRY: &str = "list";

/// The error of a name in a list that is not valid. It hides no other; any other
/// error of a list ends it.
pub(crate) fn odd_name(error: Error) -> Error {
    Error::malformed(ENTRY, error)
}

/// The valid ones of the names in a list, and an [`Error::Malformed`] for the first
/// that is not: one odd name hides no other.
///
/// # Errors
/// Any other error of the list, such as that of one which is longer than its bound.
pub fn valid_names<T>(names: impl Iterator<Item = Result<T>>) -> Result<(Vec<T>, Option<Error>)> {
    let (mut valid, mut odd) = (Vec::new(), None);
    for name in names {
        match name {
            Ok(name) => valid.push(name),
            Err(error @ Error::Invalid { .. }) => {
                odd.get_or_insert_with(|| odd_name(error));
            }
            Err(Error::Malformed { what, why }) if what == ENTRY => {
                odd.get_or_insert(Error::Malformed { what, why });
            }
            Err(error) => return Err(error),
        }
    }
    Ok((valid, odd))
}

/// The tags among `names`.
pub(crate) fn parsed(names: Names<'_>) -> Tags<'_> {
    Box::new(names.map(|name| name?.parse()))
}

fn not_allowed(store: &(impl ReadStore + ?Sized), task: &str) -> Error {
    Error::NotAllowed {
        what: format!("{} can't {task}", store.name()),
    }
}

/// What a store does when it takes a blob, but for the writing: opens it, gives
/// `write` its bytes verified, and reports them to `watch`, which can stop it.
///
/// # Errors
/// Those of the blob's source and of `write`; [`Error::Mismatch`],
/// [`Error::Size`] through the reader; [`Error::Stopped`].
pub fn receive(
    blob: &Blob,
    watch: Watch<'_>,
    write: impl FnOnce(&mut (dyn Read + '_)) -> io::Result<()>,
) -> Result<()> {
    watch.stop.check()?;
    let digest = *blob.digest();
    watch.progress.start(&digest, Some(blob.size()));
    let mut bytes = watch.reader(digest, blob.verified()?);
    write(&mut bytes).map_err(|e| Error::io(digest.to_string(), e))?;
    watch.progress.finish(&digest);
    Ok(())
}

/// The digests a manifest needs: its config and layers, or its children. Not
/// layers with `urls`, which are kept elsewhere (image-spec, layer.md,
/// "Non-Distributable Layers"), and not its subject, which need not exist.
///
/// # Errors
/// [`Error::Unsupported`] for a manifest of an unknown type.
pub(crate) fn needs(manifest: &Manifest) -> Result<Vec<Digest>> {
    Ok(match manifest.kind() {
        Kind::Image => {
            let image = manifest.image()?;
            let own = |layer: &&Descriptor| !layer.rest.contains_key("urls");
            let layers = image.layers.iter().filter(own).map(|layer| layer.digest);
            std::iter::once(image.config.digest).chain(layers).collect()
        }
        Kind::Index => {
            let children = manifest.index()?.manifests;
            children.iter().map(|child| child.digest).collect()
        }
        Kind::Schema1 => {
            let layers = manifest.schema1()?.fs_layers;
            layers.iter().map(|layer| layer.blob_sum).collect()
        }
        Kind::Unknown => {
            let blobs = manifest.artifact_blobs()?;
            blobs.iter().map(|blob| blob.digest).collect()
        }
    })
}

#[cfg(test)]
mod tests {
    /// The methods between two lines of this file.
    fn methods(from: &str, to: &str) -> Vec<String> {
        let text = include_str!("store.rs");
        let text = &text[text.find(from).unwrap()..];
        let text = &text[..text.find(to).unwrap()];
        let lines = text.lines().filter_map(|line| line.strip_prefix("    fn "));
        lines
            .map(|l| l[..l.find('(').unwrap()].to_string())
            .collect()
    }

    #[test]
    fn a_pointer_to_a_store_passes_every_method_on() {
        let read = methods("pub trait ReadStore", "\n}\n");
        assert!(read.len() > 10 && read[0] == "name");
        assert_eq!(methods("impl<P> ReadStore", "\n}\n"), read);
        let write = methods("pub trait Store", "\n}\n");
        assert!(write.len() > 8 && write[0] == "put_blob");
        assert_eq!(methods("impl<P> Store", "\n}\n"), write);
    }
}
