//! A repository with tags, as the mark reads it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::descriptor::Descriptor;
use crate::digest::Digest;
use crate::error::{Error, Result, if_found};
use crate::graph::mark::{Manifests, Names};
use crate::graph::{is_referrers_tag, is_related_tag};
use crate::manifest::{ReferrersList, is_manifest};
use crate::reference::{Tag, Target};
use crate::store::ReadStore;

/// A store, and what is known of its tags.
pub(super) struct Source<'a> {
    store: &'a dyn ReadStore,
    known: Mutex<HashMap<Digest, Option<Arc<Names>>>>,
    /// What refers to a manifest, asked for once.
    referrers: Mutex<HashMap<Digest, Vec<Descriptor>>>,
    /// Tags made of a digest, by that.
    by_stem: HashMap<String, Vec<(Tag, Descriptor)>>,
}

impl<'a> Source<'a> {
    /// `store`, with the manifests of the tags that are made of a digest.
    pub fn new(store: &'a dyn ReadStore, related: Vec<(Tag, Descriptor)>) -> Source<'a> {
        let mut by_stem: HashMap<String, Vec<(Tag, Descriptor)>> = HashMap::new();
        for (tag, manifest) in related {
            let stem = tag
                .as_str()
                .split('.')
                .next()
                .unwrap_or_default()
                .to_string();
            by_stem.entry(stem).or_default().push((tag, manifest));
        }
        Source {
            store,
            known: Mutex::default(),
            referrers: Mutex::default(),
            by_stem,
        }
    }

    /// The same, with what is known of manifests that were read.
    pub fn with_known(self, names: HashMap<Digest, Option<Arc<Names>>>) -> Source<'a> {
        let known = Mutex::new(names);
        Source { known, ..self }
    }

    /// What a manifest names; `None` when the store does not contain it.
    pub fn known(&self, digest: &Digest) -> Result<Option<Arc<Names>>> {
        if let Some(names) = locked(&self.known).get(digest) {
            return Ok(names.clone());
        }
        let read = || {
            let manifest = if_found(self.store.manifest(&Target::Digest(*digest)))?;
            let names = manifest.map(|manifest| Names::of(&manifest)).transpose()?;
            Ok(names.map(Arc::new))
        };
        let names = read().map_err(|e: Error| match e.what() {
            Error::Malformed { .. } | Error::Unsupported { .. } => {
                let why = format!("{e}; what it names is unknown, so nothing was deleted");
                Error::malformed(format!("manifest {digest}"), why)
            }
            _ => e,
        })?;
        locked(&self.known).insert(*digest, names.clone());
        Ok(names)
    }

    /// The tags that belong to a manifest and go with it: cosign's, and the list
    /// of its referrers. An image may have a tag that looks like the latter's.
    pub fn belongings(&self, subject: &Digest) -> Result<Vec<(Tag, Descriptor)>> {
        let stem = ReferrersList::tag(subject)?;
        let mut found = Vec::new();
        for (tag, manifest) in self.by_stem.get(stem.as_str()).into_iter().flatten() {
            if !is_referrers_tag(tag.as_str()) || self.is_list(&manifest.digest, subject)? {
                found.push((tag.clone(), manifest.clone()));
            }
        }
        Ok(found)
    }

    /// The referrers of a manifest that have no tag made of its digest.
    pub fn referrers(&self, subject: &Digest) -> Result<Vec<Descriptor>> {
        if let Some(known) = locked(&self.referrers).get(subject) {
            return Ok(known.clone());
        }
        let is_tag = |tag: &Tag| {
            let tags = self.by_stem.get(tag.as_str()).into_iter().flatten();
            tags.into_iter().any(|(known, _)| known == tag)
        };
        let found = self.store.referrers_among(subject, &is_tag)?;
        locked(&self.referrers).insert(*subject, found.clone());
        Ok(found)
    }

    /// Whether an index lists nothing but referrers of `subject`.
    fn is_list(&self, list: &Digest, subject: &Digest) -> Result<bool> {
        let Some(names) = self.known(list)? else {
            return Ok(false);
        };
        if !names.blobs.is_empty() {
            return Ok(false);
        }
        for entry in &names.manifests {
            let names = self.known(&entry.digest)?;
            if names.is_some_and(|names| names.subject != Some(*subject)) {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

fn locked<T>(map: &Mutex<T>) -> MutexGuard<'_, T> {
    // A map is consistent even after a panic elsewhere.
    map.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Manifests for Source<'_> {
    fn names(&self, entry: &Descriptor) -> Result<Option<Arc<Names>>> {
        // An entry of another type is a blob: none of those is deleted here.
        if !is_manifest(entry) {
            return Ok(None);
        }
        self.known(&entry.digest)
    }

    fn related(&self, subject: &Digest) -> Result<Vec<Descriptor>> {
        let tagged = self
            .belongings(subject)?
            .into_iter()
            .map(|(_, manifest)| manifest);
        Ok(self.referrers(subject)?.into_iter().chain(tagged).collect())
    }
}

/// Whether a tag is one that belongs to a manifest, and is not a candidate.
pub(super) fn is_related(tag: &Tag) -> bool {
    is_related_tag(tag.as_str())
}
