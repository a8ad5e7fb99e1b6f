//! An OCI image layout, read from wherever its files are: a folder, or a tar.

use std::collections::HashSet;
use std::io::Read;
use std::sync::Arc;

use super::index::{Index, Subjects};
use crate::descriptor::Descriptor;
use crate::digest::{Digest, Verify};
use crate::error::{Error, Result, if_found};
use crate::manifest::{self, Manifest, ReferrersList};
use crate::reference::Target;
use crate::store::{needs, refers_to};
use crate::stream::read_bounded;

/// A blob's bytes, not verified, and how many there are.
pub(crate) type Bytes<'a> = (Box<dyn Read + Send + 'a>, u64);

/// The files of a layout; the rest follows from them.
pub(crate) trait Files {
    /// What `index.json` says.
    fn index(&self) -> Result<Arc<Index>>;

    /// How long a blob is, bytes; `None` when there is none.
    fn size(&self, digest: &Digest) -> Result<Option<u64>>;

    /// A blob; `None` when there is none.
    fn bytes(&self, digest: &Digest) -> Result<Option<Bytes<'_>>>;

    /// The manifest in a blob; `listed` is its entry in the index. A child of
    /// an index has none, so a blob without one counts when it is a manifest.
    fn read(&self, digest: &Digest, listed: Option<&Descriptor>) -> Result<Option<Manifest>> {
        let Some((file, len)) = self.bytes(digest)? else {
            return Ok(None);
        };
        if listed.is_none() && len > manifest::MAX_SIZE {
            return Ok(None);
        }
        let size = listed.map_or(len, |entry| entry.size);
        let reader = Verify::new(file, *digest, Some(size));
        let bytes = read_bounded(&digest.to_string(), reader, manifest::MAX_SIZE)?;
        let media_type = listed.map(|entry| entry.media_type.as_str());
        let read = Manifest::new(media_type, bytes);
        match (read, listed) {
            (read, Some(_)) => read.map(Some),
            // A config is JSON with a member `config`, but not with this one's.
            (Ok(read), None) if needs(&read).is_ok() => Ok(Some(read)),
            (_, None) => Ok(None),
        }
    }

    /// The manifest of a tag or digest.
    fn find(&self, target: &Target) -> Result<Option<Manifest>> {
        let index = self.index()?;
        match target {
            Target::Tag(tag) => match index.tagged(tag)? {
                Some(entry) => self.read(&entry.digest, Some(&entry)),
                None => Ok(None),
            },
            Target::Digest(digest) => self.read(digest, index.listed(digest)?.as_ref()),
        }
    }

    /// What a tag or digest points to, from the index alone where that tells.
    fn look(&self, target: &Target) -> Result<Option<Descriptor>> {
        if let Target::Tag(tag) = target {
            let Some(index) = if_found(self.index())? else {
                return Ok(None);
            };
            let Some(entry) = index.tagged(tag)? else {
                return Ok(None);
            };
            if !entry.media_type.is_empty() {
                let there = self.size(&entry.digest)?.is_some();
                let clean = Descriptor::new(entry.media_type, entry.digest, entry.size);
                return Ok(there.then_some(clean));
            }
        }
        let Some(manifest) = if_found(self.find(target))?.flatten() else {
            return Ok(None);
        };
        let mut descriptor = manifest.descriptor();
        if let Target::Digest(digest) = target {
            descriptor.digest = *digest;
        }
        Ok(Some(descriptor))
    }

    /// The listed manifests whose subject is `subject`, and those that the
    /// fallback tag lists. All manifests of the index are read once an
    /// index; those found again each time, and verified.
    fn referring(&self, subject: &Digest) -> Result<Vec<Descriptor>> {
        let index = self.index()?;
        let digests: Vec<Digest> = index.subjects(
            |index| self.subjects(index),
            |subjects| {
                let known = subjects.known.get(subject).into_iter().flatten();
                known.chain(&subjects.unread).copied().collect()
            },
        )?;
        let mut found = Vec::new();
        for digest in digests {
            if let Some(manifest) = self.listed(&index, &digest)?
                && refers_to(&manifest, subject)
            {
                let mut referrer = manifest.referrer()?;
                referrer.digest = digest;
                found.push(referrer);
            }
        }
        for digest in self.listed_by_tag(subject)? {
            if found.iter().all(|known| known.digest != digest)
                && let Some(manifest) = self.listed(&index, &digest)?
                && refers_to(&manifest, subject)
            {
                let mut referrer = manifest.referrer()?;
                referrer.digest = digest;
                found.push(referrer);
            }
        }
        Ok(found)
    }

    /// The referrers under the fallback tag of `subject`: regctl lists its own
    /// nowhere else.
    fn listed_by_tag(&self, subject: &Digest) -> Result<Vec<Digest>> {
        let Some(manifest) = self.find(&Target::Tag(ReferrersList::tag(subject)?))? else {
            return Ok(Vec::new());
        };
        let kind = Some(manifest.media_type());
        let list = ReferrersList::parse(subject, kind, manifest.bytes())?;
        let entries = list.map(ReferrersList::into_entries).unwrap_or_default();
        Ok(entries.iter().map(|entry| entry.digest).collect())
    }

    /// What each manifest of the index is about.
    fn subjects(&self, index: &Index) -> Result<Subjects> {
        let (mut subjects, mut seen) = (Subjects::default(), HashSet::new());
        // Bounded by the size of the index, and each manifest by its own.
        for entry in index.descriptors() {
            let digest = entry?.digest;
            if !seen.insert(digest) {
                continue;
            }
            match self.listed(index, &digest)? {
                Some(manifest) => {
                    if let Ok(Some(about)) = manifest.subject() {
                        let known = subjects.known.entry(about.digest).or_default();
                        known.push(digest);
                    }
                }
                None => subjects.unread.push(digest),
            }
        }
        Ok(subjects)
    }

    /// A listed manifest; `None` for one that is kept elsewhere, or whose format
    /// is unknown.
    fn listed(&self, index: &Index, digest: &Digest) -> Result<Option<Manifest>> {
        match self.read(digest, index.listed(digest)?.as_ref()) {
            Err(Error::Malformed { .. }) => Ok(None),
            read => read,
        }
    }
}
