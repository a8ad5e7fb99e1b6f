//! What a layout does as a store.

use std::io::{Seek, SeekFrom};

use crate::blob::Blob;
use crate::descriptor::Descriptor;
use crate::digest::{Digest, Verify};
use crate::error::{Error, Result};
use crate::manifest::{Manifest, ReferrersList};
use crate::progress::Skipped;
use crate::reference::{RepoName, Tag, Target};
use crate::store::{Content, Expected, Names, Put, ReadStore, Store, Tags, parsed, receive};
use crate::stream::Watch;

use super::index::Index;
use super::read::Files;
use super::referrers::{Change, Writing};
use super::{Layout, files};

impl ReadStore for Layout {
    fn name(&self) -> String {
        format!("oci:{}", self.dir.display())
    }

    fn blob_size(&self, digest: &Digest) -> Result<Option<u64>> {
        self.blobs()?.size(digest)
    }

    fn open_blob(&self, digest: &Digest, from: u64) -> Result<Content<'_>> {
        let Some((mut file, len)) = self.blobs()?.open(digest)? else {
            return Err(self.lost(digest));
        };
        file.seek(SeekFrom::Start(from))
            .map_err(|e| Error::io(digest.to_string(), e))?;
        Ok(Content {
            size: Some(len),
            reader: Box::new(file),
        })
    }

    fn manifest(&self, target: &Target) -> Result<Manifest> {
        self.find(target)?.ok_or_else(|| self.unknown(target))
    }

    fn head(&self, target: &Target) -> Result<Option<Descriptor>> {
        self.look(target)
    }

    fn tag_names(&self) -> Names<'_> {
        match self.index() {
            Ok(index) => Box::new(index.tags().into_iter().map(Ok)),
            Err(e) => Box::new(std::iter::once(Err(e))),
        }
    }

    fn tags(&self) -> Tags<'_> {
        parsed(self.tag_names())
    }

    fn referrers(&self, subject: &Digest) -> Result<Vec<Descriptor>> {
        self.referring(subject)
    }
}

impl Store for Layout {
    fn size_to_write(&self, digest: &Digest) -> Result<Option<u64>> {
        let (blobs, size) = (self.blobs()?, self.blob_size(digest)?);
        if size.is_some() {
            blobs.touch(digest);
        }
        Ok(size)
    }

    fn put_blob(&self, blob: &Blob, watch: Watch<'_>) -> Result<Put> {
        watch.stop.check()?;
        self.create()?;
        let (blobs, digest) = (self.blobs()?, *blob.digest());
        if blobs.size(&digest).ok().flatten() == Some(blob.size())
            && blobs.holds(&digest, watch.stop)?
        {
            blobs.touch(&digest);
            watch.progress.skip(&digest, blob.size(), Skipped::Existed);
            return Ok(Put::Existed);
        }
        files::make_folder(&self.scratch()?)?;
        receive(blob, watch, |mut bytes| {
            Ok(blobs.write(&digest, &mut bytes)?)
        })?;
        Ok(Put::Uploaded)
    }

    fn mount_blob(&self, digest: &Digest, from: &RepoName, watch: Watch<'_>) -> Result<Put> {
        let Some((_, root)) = &self.within else {
            return Err(Error::Unsupported {
                what: format!(
                    "{} is a layout of its own, without other repositories to mount from",
                    self.name()
                ),
            });
        };
        let (source, here) = (root.repository(from), self.blobs()?);
        let there = source.blobs()?;
        let Some(size) = there.size(digest)? else {
            return Err(Error::NotMounted {
                digest: *digest,
                from: from.to_string(),
            });
        };
        self.create()?;
        if here.holds(digest, watch.stop)? {
            here.touch(digest);
            watch.progress.skip(digest, size, Skipped::Existed);
            return Ok(Put::Existed);
        }
        files::make_folder(&self.scratch()?)?;
        if here.link(digest, &there, watch)? {
            return Ok(Put::Mounted);
        }
        // Another file system, or one without links.
        let content = source.open_blob(digest, 0)?;
        watch.progress.start(digest, Some(size));
        let bytes = watch.reader(*digest, content.reader);
        here.write(digest, &mut Verify::new(bytes, *digest, content.size))?;
        watch.progress.finish(digest);
        Ok(Put::Mounted)
    }

    fn delete_blob(&self, digest: &Digest) -> Result<()> {
        // Held, so that a manifest that is being put finds its blobs either
        // there or not, and never both.
        let _held = self.hold()?;
        if self.index()?.listed(digest)?.is_some() {
            return Err(Error::Unsupported {
                what: format!("{digest} is a manifest, not a blob"),
            });
        }
        if self.blobs()?.remove(digest)? {
            Ok(())
        } else {
            Err(self.lost(digest))
        }
    }

    fn put_manifest(&self, manifest: &Manifest, target: &Target) -> Result<()> {
        self.put(manifest, target, None)
    }

    fn put_manifest_if(&self, manifest: &Manifest, tag: &Tag, expected: Expected) -> Result<()> {
        self.put(manifest, &Target::Tag(tag.clone()), Some(expected))
    }

    fn delete_manifest(&self, digest: &Digest) -> Result<()> {
        let _held = self.hold()?;
        let (mut index, blobs) = (Index::clone(&*self.index()?), self.blobs()?);
        let manifest = self.read(digest, index.listed(digest)?.as_ref());
        let writing = Writing {
            index: &mut index,
            blobs: &blobs,
        };
        let list = match &manifest {
            Ok(Some(manifest)) => self.relist(writing, manifest, digest, Change::Remove)?,
            // What can't be read can be deleted.
            _ => None,
        };
        // The names first: a crash in between leaves a blob that nothing names,
        // not a name for nothing.
        let is_listed = index.remove(digest);
        if is_listed || list.is_some() {
            self.save(index)?;
        }
        if !is_listed && manifest?.is_none() {
            return Err(self.unknown(&Target::Digest(*digest)));
        }
        if let Some(list) = list {
            blobs.remove(&list)?;
        }
        blobs.remove(digest).map(drop)
    }

    fn unlist(&self, subject: &Digest, referrer: &Digest) -> Result<bool> {
        let _held = self.hold()?;
        let (mut index, blobs) = (Index::clone(&*self.index()?), self.blobs()?);
        let mut remove = |list: &mut ReferrersList| list.remove(referrer);
        let writing = Writing {
            index: &mut index,
            blobs: &blobs,
        };
        let Some(unused) = self.change_list(writing, subject, &mut remove)? else {
            return Ok(false);
        };
        self.save(index)?;
        if let Some(list) = unused {
            blobs.remove(&list)?;
        }
        Ok(true)
    }

    fn untag(&self, tag: &Tag) -> Result<()> {
        let _held = self.hold()?;
        let mut index = Index::clone(&*self.index()?);
        if !index.untag(tag) {
            return Err(self.unknown(&Target::Tag(tag.clone())));
        }
        self.save(index)
    }

    fn untag_all(&self, tags: &[(Tag, Digest)]) -> Result<Option<Vec<Option<Digest>>>> {
        if tags.is_empty() {
            return Ok(Some(Vec::new()));
        }
        let _held = self.hold()?;
        let mut index = Index::clone(&*self.index()?);
        let mut found = Vec::with_capacity(tags.len());
        let mut is_changed = false;
        for (tag, digest) in tags {
            let there = index.tagged(tag)?.map(|entry| entry.digest);
            is_changed |= there == Some(*digest) && index.untag(tag);
            found.push(there);
        }
        if is_changed {
            self.save(index)?;
        }
        Ok(Some(found))
    }
}
