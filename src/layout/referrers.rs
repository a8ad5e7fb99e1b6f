//! Lists of referrers in a layout. Its own index says what each manifest is about,
//! which is enough for this crate and oras; regctl looks for a list under a tag
//! made of the subject's digest, as in a registry without the API.

use super::Layout;
use super::blobs::Blobs;
use super::index::Index;
use super::read::Files;
use crate::digest::Digest;
use crate::error::Result;
use crate::manifest::{Manifest, ReferrersList};

/// What becomes of a manifest in its subject's list.
#[derive(Clone, Copy)]
pub(super) enum Change {
    Add,
    Remove,
}

/// What a change of lists works on, while the layout is locked.
pub(super) struct Writing<'a> {
    pub index: &'a mut Index,
    pub blobs: &'a Blobs,
}

impl Layout {
    /// Brings the list of a manifest's subject up to date, if it has a subject,
    /// and gives the digest of the old list when nothing lists that any more.
    ///
    /// A manifest under the tag that is not a list is left alone.
    pub(super) fn relist(
        &self,
        writing: Writing<'_>,
        manifest: &Manifest,
        digest: &Digest,
        change: Change,
    ) -> Result<Option<Digest>> {
        let Ok(Some(subject)) = manifest.subject() else {
            return Ok(None);
        };
        let mut entry = manifest.referrer()?;
        entry.digest = *digest;
        let changed = self.change_list(writing, &subject.digest, &mut |list| match change {
            Change::Add => list.add(&entry),
            Change::Remove => list.remove(digest),
        })?;
        Ok(changed.flatten())
    }

    /// Changes the list of the referrers of `subject`; `None` when there was
    /// nothing to change, else the digest of an old list that nothing lists any
    /// more.
    pub(super) fn change_list(
        &self,
        writing: Writing<'_>,
        subject: &Digest,
        change: &mut dyn FnMut(&mut ReferrersList) -> bool,
    ) -> Result<Option<Option<Digest>>> {
        let Writing { index, blobs } = writing;
        let tag = ReferrersList::tag(subject)?;
        let old = index.tagged(&tag)?;
        let mut list = match &old {
            None => ReferrersList::new(),
            Some(entry) => match self.read(&entry.digest, Some(entry)) {
                Ok(Some(found)) => {
                    let kind = Some(found.media_type());
                    match ReferrersList::parse(subject, kind, found.bytes()) {
                        Ok(Some(list)) => list,
                        _ => return Ok(None),
                    }
                }
                _ => return Ok(None),
            },
        };
        if !change(&mut list) {
            return Ok(None);
        }
        if list.is_empty() {
            index.untag(&tag);
        } else {
            let list = list.into_manifest()?;
            blobs.write(&list.digest(), &mut list.bytes())?;
            index.tag(&list.descriptor(), &tag);
        }
        let unused = old.map(|old| old.digest).filter(|old| !index.is_named(old));
        Ok(Some(unused.filter(|old| index.remove(old))))
    }
}
