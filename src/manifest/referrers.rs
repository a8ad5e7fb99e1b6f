//! Lists of referrers that clients keep under a tag made of the subject's digest
//! (distribution-spec v1.1, "Referrers Tag Schema").

use serde_json::Value;

use super::{Builder, Manifest};
use crate::descriptor::{Descriptor, media_type};
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::reference::Tag;

/// An index of referrers. Unknown members are kept.
pub(crate) struct ReferrersList {
    document: Builder,
    entries: Vec<Descriptor>,
}

impl ReferrersList {
    /// A list of nothing.
    pub fn new() -> ReferrersList {
        ReferrersList {
            document: Builder::new(media_type::OCI_INDEX),
            entries: Vec::new(),
        }
    }

    /// The list in `bytes`; `None` when they are no OCI index at all.
    ///
    /// # Errors
    /// [`Error::Malformed`] for an index with an entry that can't be used: a
    /// signature must not be overlooked because its neighbour is broken.
    pub fn parse(
        subject: &Digest,
        content_type: Option<&str>,
        bytes: &[u8],
    ) -> Result<Option<ReferrersList>> {
        let Ok(mut document) = Builder::parse("list of referrers", bytes) else {
            return Ok(None);
        };
        let served = content_type.map(|text| text.split(';').next().unwrap_or(text).trim());
        let written = document.get("mediaType").and_then(Value::as_str);
        let named = written.filter(|text| !text.is_empty()).or(served);
        let image = document.get("layers").is_some() || document.get("config").is_some();
        if named != Some(media_type::OCI_INDEX) || image {
            return Ok(None);
        }
        let Some(entries) = document.take_list("manifests") else {
            return Ok(None);
        };
        let entries = entries.into_iter().map(serde_json::from_value);
        let entries: Vec<Descriptor> = entries
            .collect::<Result<_, _>>()
            .map_err(|e| Error::malformed(format!("list of the referrers of {subject}"), e))?;
        Ok(Some(ReferrersList { document, entries }))
    }

    /// The tag for the referrers of `subject`: at most 32 characters of the
    /// algorithm and 64 of the hash.
    pub fn tag(subject: &Digest) -> Result<Tag> {
        let (algorithm, hex) = (subject.algorithm(), subject.hex());
        format!("{algorithm:.32}-{hex:.64}").parse()
    }

    /// Adds an entry, unless the list has it, and says whether it did.
    pub fn add(&mut self, entry: &Descriptor) -> bool {
        let is_new = self.entries.iter().all(|old| old.digest != entry.digest);
        if is_new {
            self.entries.push(entry.clone());
        }
        is_new
    }

    /// Removes an entry, and says whether there was one.
    pub fn remove(&mut self, digest: &Digest) -> bool {
        let before = self.entries.len();
        self.entries.retain(|entry| entry.digest != *digest);
        self.entries.len() != before
    }

    /// Whether nothing is listed.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The digests of what is listed.
    pub fn digests(&self) -> Vec<Digest> {
        self.entries.iter().map(|entry| entry.digest).collect()
    }

    /// What is listed.
    pub fn into_entries(self) -> Vec<Descriptor> {
        self.entries
    }

    /// The list as it is put under its tag.
    pub fn into_manifest(self) -> Result<Manifest> {
        // Older clients left version and type out.
        self.document
            .manifests(&self.entries)
            .member("schemaVersion", 2)
            .media_type(media_type::OCI_INDEX)
            .build()
    }
}
