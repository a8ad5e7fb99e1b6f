//! A bundle that was saved, read in its place. Nothing in it is trusted: manifests
//! and blobs are checked against their digests as they are read, and what is not
//! asked for is never looked at.

use std::collections::{BTreeMap, HashSet};
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use super::Listing;
use super::file::Joined;
use super::names::repository;
use super::parts::Piece;
use crate::archive::blob_name;
use crate::blob::{Blob, Source};
use crate::bounds;
use crate::descriptor::Descriptor;
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::graph::{Budget, is_related_tag};
use crate::manifest::{self, Manifest};
use crate::reference::{Reference, Target};
use crate::store::{Content, ReadStore, Tags};
use crate::stream::read_bounded;
use crate::tar::Index;

/// What a bundle lists under a name.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Entry {
    /// The name it had where it was saved, with a tag or a digest.
    pub name: Reference,
    /// Its manifest.
    pub descriptor: Descriptor,
}

impl Entry {
    /// Whether its name is one that is made for what belongs to another manifest.
    pub fn is_related(&self) -> bool {
        let tag = self.name.tag.as_ref();
        tag.is_some_and(|tag| is_related_tag(tag.as_str()))
    }

    /// The manifest that such a name says it belongs to.
    pub fn subject(&self) -> Option<Digest> {
        let tag = self.name.tag.as_ref().filter(|_| self.is_related())?;
        let stem = tag.as_str().split('.').next()?;
        stem.replacen('-', ":", 1).parse().ok()
    }
}

/// A bundle to read from.
///
/// As a [`ReadStore`] it has manifests and blobs by digest, and no tags: those
/// are of several repositories.
pub struct Bundle {
    pub(super) what: String,
    pub(super) entries: Vec<Entry>,
    pub(super) expected: Vec<Reference>,
    pub(super) omitted: Listing,
    pub(super) parts: Vec<Index>,
    /// Of a bundle in parts, the number of each of `parts`, and what is where.
    pub(super) table: Option<Parts>,
    /// Whether blobs that are not there, nor left out, are still to come.
    pub(super) arrives: bool,
}

/// A blob that is larger than a part, and therefore in several.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Cut {
    /// The digest of the whole blob.
    pub digest: Digest,
    /// The numbers of the parts with its pieces, in order, from 1. A load needs
    /// all of them at once.
    pub parts: Vec<usize>,
}

/// What is in which part.
#[derive(Default)]
pub(super) struct Parts {
    pub count: usize,
    /// The numbers of the parts that exist, from 1.
    pub there: Vec<usize>,
    /// The pieces of the blobs that are cut, in order.
    pub cut: BTreeMap<Digest, Vec<Piece>>,
    /// The parts that a blob is in.
    pub places: BTreeMap<Digest, Vec<usize>>,
}

impl Bundle {
    /// The numbers of the parts that are missing, from 1; none of a bundle in one
    /// file.
    pub fn absent_parts(&self) -> Vec<usize> {
        let table = self.table.as_ref();
        let all = table.map_or(0..0, |table| 0..table.count);
        let there = |number: &usize| table.is_some_and(|table| table.there.contains(number));
        all.map(|at| at + 1)
            .filter(|number| !there(number))
            .collect()
    }

    /// How many parts the bundle has; 0 of a bundle in one file.
    pub fn part_count(&self) -> usize {
        self.table.as_ref().map_or(0, |table| table.count)
    }

    /// The blobs that are cut, because they are larger than a part.
    pub fn cuts(&self) -> Vec<Cut> {
        let cut = self.table.iter().flat_map(|table| table.cut.keys());
        cut.map(|digest| Cut {
            digest: *digest,
            parts: self.parts_with(digest).to_vec(),
        })
        .collect()
    }

    /// Whether a blob is in a part that is missing.
    pub fn is_in_absent_part(&self, digest: &Digest) -> bool {
        let mut parts = self.parts_with(digest).iter();
        parts.any(|number| !self.has_part(*number))
    }

    /// Whether a part was given.
    pub fn has_part(&self, number: usize) -> bool {
        let table = self.table.as_ref();
        table.is_some_and(|table| table.there.contains(&number))
    }

    /// The numbers of the parts that a blob is in.
    pub(super) fn parts_with(&self, digest: &Digest) -> &[usize] {
        let table = self.table.as_ref();
        let places = table.and_then(|table| table.places.get(digest));
        places.map_or(&[], Vec::as_slice)
    }

    /// Whether a blob is cut.
    pub(super) fn is_cut(&self, digest: &Digest) -> bool {
        let table = self.table.as_ref();
        table.is_some_and(|table| table.cut.contains_key(digest))
    }

    /// The files that have a blob or its pieces, for errors.
    pub(super) fn files_with(&self, digest: &Digest) -> String {
        let whole = self.holder(&blob_name(digest));
        let pieces = self.table.iter().filter_map(|table| table.cut.get(digest));
        let pieces = pieces.flatten().filter_map(|one| self.holder(&one.name()));
        let files: Vec<&str> = whole.into_iter().chain(pieces).map(Index::what).collect();
        match files.is_empty() {
            true => self.what.clone(),
            false => files.join(", "),
        }
    }

    /// The file that is read for a member.
    fn holder(&self, name: &str) -> Option<&Index> {
        self.parts.iter().find(|index| index.get(name).is_some())
    }

    /// Images without a manifest in the bundle, that are expected where it is
    /// loaded: only payloads of docker-charon have some.
    pub fn expected(&self) -> &[Reference] {
        &self.expected
    }

    /// The bytes of a blob, unless some of them are missing.
    pub(super) fn find(&self, digest: &Digest) -> Option<Joined> {
        let member = |name: &str| self.holder(name)?.get(name).cloned();
        if let Some(whole) = member(&blob_name(digest)) {
            return Some(Joined(vec![whole]));
        }
        let pieces = self.table.as_ref()?.cut.get(digest)?;
        let pieces = pieces.iter().map(|piece| member(&piece.name()));
        pieces.collect::<Option<Vec<_>>>().map(Joined)
    }

    /// What the bundle leaves out, because the other side has it.
    pub fn omitted(&self) -> &Listing {
        &self.omitted
    }

    /// What the other side has when the bundle is loaded: what is in the bundle
    /// for which it leaves nothing out, and what it leaves out.
    ///
    /// # Errors
    /// [`Error::Malformed`] and its like.
    pub fn listing(&self) -> Result<Listing> {
        let (mut all, bounded) = (Listing::default(), self.bounded());
        for entry in &self.entries {
            let (repo, digest) = (Arc::from(repository(&entry.name)), entry.descriptor.digest);
            if self.contains(&digest) && !all.has_read(&digest, &repo) {
                let manifest = bounded.manifest(&Target::Digest(digest))?;
                all.take(&repo, &bounded, &digest, &manifest, 0)?;
            }
        }
        all.merge(self.omitted.clone());
        Ok(all.called(&self.short_name()))
    }

    /// The name of its file without the folder; of parts, the name that they share.
    pub(super) fn short_name(&self) -> String {
        let name = Path::new(&self.what).file_name();
        let name = name.map_or(self.what.clone(), |name| {
            name.to_string_lossy().into_owned()
        });
        let is_part = |(_, number): &(&str, &str)| number.parse::<u16>().is_ok();
        let stem = name.rsplit_once('.').filter(is_part).map(|(stem, _)| stem);
        match (&self.table, stem) {
            (Some(_), Some(stem)) => stem.to_string(),
            _ => name,
        }
    }

    /// What the bundle lists, in its order: each image, then what belongs to it.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Whether a blob or manifest is in the bundle.
    pub fn contains(&self, digest: &Digest) -> bool {
        self.find(digest).is_some()
    }

    /// Whether a member of this name is known.
    pub(super) fn has_member(&self, name: &str) -> bool {
        self.parts.iter().any(|index| index.get(name).is_some())
    }

    /// A blob that is in the bundle, or still to come, not yet checked.
    ///
    /// # Errors
    /// [`Error::Size`] for one of another size than the manifest says.
    pub fn blob(&self, wanted: &Descriptor) -> Result<Option<Blob>> {
        let Some(bytes) = self.find(&wanted.digest) else {
            let is_left_out = self.omitted.size(&wanted.digest) == Some(wanted.size);
            let coming = Coming(self.what.clone());
            return Ok((self.arrives && !is_left_out).then(|| Blob::new(wanted.clone(), coming)));
        };
        if bytes.len() != wanted.size {
            return Err(Error::Size {
                what: format!("{} in {}", wanted.digest, self.files_with(&wanted.digest)),
                expected: wanted.size,
                actual: bytes.len(),
            });
        }
        Ok(Some(Blob::new(wanted.clone(), bytes)))
    }

    /// The bundle as something that looks at all of it reads it: its index may lead
    /// to one large manifest thousands of times.
    pub fn bounded(&self) -> Bounded<'_> {
        Bounded {
            bundle: self,
            budget: budget(),
        }
    }

    fn absent(&self, what: impl std::fmt::Display) -> Error {
        let what = format!("{what} in {}", self.what);
        Error::NotFound { what }
    }
}

/// A blob of a stream, which has to be taken when it comes.
struct Coming(String);

impl Source for Coming {
    fn open(&self, _: u64) -> Result<Box<dyn Read + Send + '_>> {
        let what = format!(
            "{} can't be read twice; save it to a file, and load that",
            self.0
        );
        Err(Error::Unsupported { what })
    }
}

impl ReadStore for Bundle {
    fn name(&self) -> String {
        self.what.clone()
    }

    fn blob_size(&self, digest: &Digest) -> Result<Option<u64>> {
        Ok(self.find(digest).map(|bytes| bytes.len()))
    }

    fn open_blob(&self, digest: &Digest, from: u64) -> Result<Content<'_>> {
        let bytes = self.find(digest);
        let bytes = bytes.ok_or_else(|| self.absent(format!("blob {digest}")))?;
        Ok(Content {
            size: Some(bytes.len()),
            reader: bytes.reader(from),
        })
    }

    fn manifest(&self, target: &Target) -> Result<Manifest> {
        let Target::Digest(digest) = target else {
            return Err(self.absent(target));
        };
        if !self.contains(digest) {
            return Err(self.absent(format!("manifest {digest}")));
        }
        let size = self.blob_size(digest)?;
        let content = self.pull_blob(digest, size)?;
        let bytes = read_bounded(&digest.to_string(), content.reader, manifest::MAX_SIZE);
        bytes
            .and_then(|bytes| Manifest::new(None, bytes))
            .map_err(|e| e.at(&self.files_with(digest)))
    }

    fn tags(&self) -> Tags<'_> {
        Box::new(std::iter::empty())
    }

    fn referrers(&self, subject: &Digest) -> Result<Vec<Descriptor>> {
        let (mut found, mut seen) = (Vec::new(), HashSet::new());
        for entry in &self.entries {
            let digest = entry.descriptor.digest;
            if !self.contains(&digest) || !seen.insert(digest) {
                continue;
            }
            let manifest = self.manifest(&Target::Digest(digest))?;
            if manifest
                .subject()?
                .is_some_and(|named| named.digest == *subject)
            {
                found.push(manifest.referrer()?);
            }
        }
        Ok(found)
    }
}

/// What all manifests that one look at a bundle reads have to be within.
pub(super) fn budget() -> Budget {
    Budget::of_bytes(bounds::BUNDLE_MANIFESTS)
}

/// A [`Bundle`] of which no more manifests are read than one has, those that are
/// read again included.
pub struct Bounded<'a> {
    bundle: &'a Bundle,
    budget: Budget,
}

impl ReadStore for Bounded<'_> {
    fn name(&self) -> String {
        self.bundle.name()
    }

    fn blob_size(&self, digest: &Digest) -> Result<Option<u64>> {
        self.bundle.blob_size(digest)
    }

    fn open_blob(&self, digest: &Digest, from: u64) -> Result<Content<'_>> {
        self.bundle.open_blob(digest, from)
    }

    /// # Errors
    /// As those of a [`Bundle`]; [`Error::Malformed`] once all manifests that were
    /// read are more than a bundle has.
    fn manifest(&self, target: &Target) -> Result<Manifest> {
        let manifest = self.bundle.manifest(target)?;
        let held = self.budget.hold(manifest.bytes().len() as u64);
        held.map_err(|e| e.at(&self.bundle.what))?;
        Ok(manifest)
    }

    fn tags(&self) -> Tags<'_> {
        self.bundle.tags()
    }

    fn referrers(&self, subject: &Digest) -> Result<Vec<Descriptor>> {
        self.bundle.referrers(subject)
    }
}
