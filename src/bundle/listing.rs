//! What one side is known to have: digests, their sizes, and the repositories
//! they are in. A list of a few kilobytes describes a bundle of gigabytes, so
//! that the next one can leave out what the first one brought.
//!
//! | member | value |
//! |---|---|
//! | `mediaType` | [`LISTING`] |
//! | `against` | the names of what a bundle was made against, which is what it leaves out |
//! | `repositories` | names, `[host/]repository` |
//! | `items` | manifests and blobs, sorted: `digest`, `size` in bytes, `in` (places in `repositories`), and of a manifest `needs` (places in `items`) |

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::OMITTED;
use super::names::repository;
use crate::bounds;
use crate::descriptor::Descriptor;
use crate::digest::Digest;
use crate::error::{Error, Result, if_found};
use crate::image::MAX_DEPTH;
use crate::manifest::{Kind, Manifest, is_manifest};
use crate::parallel;
use crate::reference::{Reference, Target};
use crate::store::ReadStore;
use crate::stream::Run;

/// The media type of a listing.
pub const LISTING: &str = "application/vnd.dxf.bundle.index.v1+json";
/// How often what refers to the last found is looked up.
const ROUNDS: usize = 8;
/// The longest listing that is read, bytes.
pub const MAX_LISTING: u64 = bounds::BUNDLE_LIST;
/// The most repositories and dependencies of all items of one.
const MAX_LINKS: usize = bounds::BUNDLE_LINKS;

/// Manifests and blobs, and the repositories that have them.
#[derive(Debug, Clone, Default)]
pub struct Listing {
    against: Vec<String>,
    items: BTreeMap<Digest, Item>,
}

#[derive(Debug, Clone, Default)]
struct Item {
    size: u64,
    repos: BTreeSet<Arc<str>>,
    /// What a manifest names.
    needs: Option<Vec<Digest>>,
}

/// A listing as it is written.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    media_type: String,
    #[serde(default)]
    against: Vec<String>,
    repositories: Vec<String>,
    items: Vec<Line>,
}

/// A place in a list, of which a document may name millions.
type Place = u32;

#[derive(Serialize, Deserialize)]
struct Line {
    digest: Digest,
    size: u64,
    r#in: Vec<Place>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    needs: Option<Vec<Place>>,
}

impl Line {
    /// How many repositories and dependencies it has.
    fn links(&self) -> usize {
        self.r#in.len() + self.needs.as_ref().map_or(0, Vec::len)
    }
}

/// The entry of a bundle's index that says what the bundle leaves out. A second one
/// is refused: each may be as long as a list can be, for the few bytes of an entry.
pub(super) fn omission<'e>(
    what: &str,
    entries: &'e [Descriptor],
) -> Result<Option<&'e Descriptor>> {
    let mut found = entries.iter().filter(|entry| is_omission(entry));
    match (found.next(), found.next()) {
        (_, Some(_)) => Err(Error::malformed(
            what,
            "it has two lists of what it leaves out",
        )),
        (one, None) => Ok(one),
    }
}

/// Whether an entry of a bundle's index says what the bundle leaves out.
pub(super) fn is_omission(entry: &Descriptor) -> bool {
    entry.artifact_type() == Some(OMITTED)
}

impl Listing {
    /// Reads a listing; `what` names it in errors.
    ///
    /// # Errors
    /// [`Error::Malformed`].
    pub fn parse(what: &str, bytes: &[u8]) -> Result<Listing> {
        let read: Document =
            serde_json::from_slice(bytes).map_err(|e| Error::malformed(what, e))?;
        if read.media_type != LISTING {
            let why = "it is no index of a bundle, as show-bundle --index prints one";
            return Err(Error::malformed(what, why));
        }
        let links = read.items.iter().map(Line::links);
        if links.fold(0, usize::saturating_add) > MAX_LINKS {
            let why = format!("it lists more than {MAX_LINKS} repositories and dependencies");
            return Err(Error::malformed(what, why));
        }
        let astray = || Error::malformed(what, "it refers to an item that it does not list");
        let names: Vec<Arc<str>> = read.repositories.into_iter().map(Arc::from).collect();
        let digests: Vec<Digest> = read.items.iter().map(|line| line.digest).collect();
        let mut items = BTreeMap::new();
        for line in read.items {
            let repos = line.r#in.iter();
            let repos = repos.map(|at| names.get(*at as usize).cloned().ok_or_else(astray));
            let needs = line.needs.map(|needs| {
                let needs = needs.iter();
                let digests = needs.map(|at| digests.get(*at as usize).copied());
                let digests = digests.map(|digest| digest.ok_or_else(astray));
                digests.collect::<Result<Vec<_>>>()
            });
            let item = Item {
                size: line.size,
                repos: repos.collect::<Result<_>>()?,
                needs: needs.transpose()?,
            };
            items.insert(line.digest, item);
        }
        Ok(Listing {
            against: read.against,
            items,
        })
    }

    /// The listing as JSON, the same for the same content.
    pub fn to_bytes(&self) -> Vec<u8> {
        let all = self.items.values().flat_map(|item| &item.repos);
        let repositories: BTreeSet<&Arc<str>> = all.collect();
        let repositories: Vec<&Arc<str>> = repositories.into_iter().collect();
        let digests: Vec<&Digest> = self.items.keys().collect();
        let number = |at: usize| Place::try_from(at).ok();
        let place = |repo: &Arc<str>| number(repositories.binary_search(&repo).ok()?);
        let items = self.items.iter().map(|(digest, item)| Line {
            digest: *digest,
            size: item.size,
            r#in: item.repos.iter().filter_map(place).collect(),
            needs: item.needs.as_ref().map(|needs| {
                let places = needs.iter();
                places
                    .filter_map(|one| number(digests.binary_search(&one).ok()?))
                    .collect()
            }),
        });
        let document = Document {
            media_type: LISTING.to_string(),
            against: self.against.clone(),
            items: items.collect(),
            repositories: repositories.iter().map(ToString::to_string).collect(),
        };
        // Strings and numbers always have a JSON form.
        serde_json::to_vec(&document).unwrap_or_default()
    }

    /// What `targets` lead to in a repository, which `name` names. What is missing
    /// there is left out.
    ///
    /// # Errors
    /// Those of the store.
    pub fn of_store(
        name: &Reference,
        store: &dyn ReadStore,
        targets: Vec<Target>,
        run: Run<'_>,
    ) -> Result<Listing> {
        let repo = &repository(name).into();
        let found = parallel::map(run.jobs, targets, run.watch.stop, |target, _| {
            let mut listing = Listing::default();
            if let Some(manifest) = if_found(store.manifest(&target))? {
                let digest = match target {
                    Target::Digest(digest) => digest,
                    Target::Tag(_) => manifest.digest(),
                };
                listing.take(repo, store, &digest, &manifest, 0)?;
            }
            Ok(listing)
        })?;
        let mut all = Listing::default();
        found.into_iter().for_each(|one| all.merge(one));
        Ok(all)
    }

    /// Adds a manifest and all below it that `store` has.
    pub(super) fn take(
        &mut self,
        repo: &Arc<str>,
        store: &dyn ReadStore,
        digest: &Digest,
        manifest: &Manifest,
        depth: usize,
    ) -> Result<()> {
        let mut needs = Vec::new();
        match manifest.kind() {
            Kind::Schema1 => return Ok(()),
            Kind::Unknown => {
                for blob in manifest.artifact_blobs().unwrap_or_default() {
                    needs.push(blob.digest);
                    self.add(&blob.digest, blob.size, repo, None);
                }
            }
            Kind::Image => {
                let image = manifest.image()?;
                for blob in std::iter::once(&image.config).chain(&image.layers) {
                    needs.push(blob.digest);
                    self.add(&blob.digest, blob.size, repo, None);
                }
            }
            Kind::Index => {
                for entry in manifest.index()?.manifests {
                    needs.push(entry.digest);
                    if !is_manifest(&entry) {
                        self.add(&entry.digest, entry.size, repo, None);
                        continue;
                    }
                    let known = self.items.get(&entry.digest);
                    let is_new = known.is_none_or(|item| !item.repos.contains(repo));
                    if !is_new || depth > MAX_DEPTH {
                        continue;
                    }
                    let below = Target::Digest(entry.digest);
                    if let Some(below) = if_found(store.manifest(&below))? {
                        self.take(repo, store, &entry.digest, &below, depth + 1)?;
                    }
                }
            }
        }
        self.add(digest, manifest.bytes().len() as u64, repo, Some(needs));
        Ok(())
    }

    /// Adds what refers to the manifests that are listed in a repository, and what
    /// refers to that; `name` names it.
    ///
    /// # Errors
    /// Those of the store.
    pub fn add_referrers(
        &mut self,
        name: &Reference,
        store: &dyn ReadStore,
        run: Run<'_>,
    ) -> Result<()> {
        let repo = &repository(name).into();
        let mut asked = BTreeSet::new();
        // There may be no end of them.
        for _ in 0..ROUNDS {
            let manifests = self.items.iter().filter(|(_, item)| item.needs.is_some());
            let open = manifests.map(|(digest, _)| *digest);
            let open: Vec<Digest> = open.filter(|digest| asked.insert(*digest)).collect();
            let found = parallel::map(run.jobs, open, run.watch.stop, |digest, _| {
                let listed = if_found(store.referrers(&digest))?.unwrap_or_default();
                let manifests = listed.into_iter().map(|one| {
                    let manifest = if_found(store.manifest(&Target::Digest(one.digest)))?;
                    Ok(manifest.map(|manifest| (one.digest, manifest)))
                });
                manifests.collect::<Result<Vec<_>>>()
            })?;
            for (digest, manifest) in found.into_iter().flatten().flatten() {
                self.take(repo, store, &digest, &manifest, 0)?;
            }
        }
        Ok(())
    }

    /// Adds one thing that is in `repo`.
    pub(super) fn add(
        &mut self,
        digest: &Digest,
        size: u64,
        repo: &Arc<str>,
        needs: Option<Vec<Digest>>,
    ) {
        let item = self.items.entry(*digest).or_default();
        item.size = size;
        item.repos.insert(repo.clone());
        item.needs = needs.or(item.needs.take());
    }

    /// Adds all that another one lists.
    pub fn merge(&mut self, other: Listing) {
        for name in other.against {
            if !self.against.contains(&name) {
                self.against.push(name);
            }
        }
        for (digest, item) in other.items {
            let ours = self.items.entry(digest).or_default();
            ours.size = item.size;
            ours.repos.extend(item.repos);
            ours.needs = item.needs.or(ours.needs.take());
        }
    }

    /// The same, called `name` where something is made against it.
    pub fn called(self, name: &str) -> Listing {
        let against = vec![name.to_string()];
        Listing { against, ..self }
    }

    /// The same, also made against `name`.
    pub(super) fn against_too(mut self, name: &str) -> Listing {
        if !self.against.iter().any(|known| known == name) {
            self.against.push(name.to_string());
        }
        self
    }

    /// What the bundle was made against that leaves this out.
    pub fn against(&self) -> &[String] {
        &self.against
    }

    /// Whether nothing is listed.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// How many manifests and blobs are listed, and their bytes.
    pub fn count(&self) -> (usize, u64) {
        let sizes = self.items.values().map(|item| item.size);
        (self.items.len(), sizes.fold(0, u64::saturating_add))
    }

    /// The size of a manifest or blob that is listed, bytes.
    pub fn size(&self, digest: &Digest) -> Option<u64> {
        self.items.get(digest).map(|item| item.size)
    }

    /// Whether the list has a manifest, with what it needs, in a repository.
    pub(super) fn has_read(&self, digest: &Digest, repo: &str) -> bool {
        let item = self.items.get(digest);
        item.is_some_and(|item| item.needs.is_some() && item.repos.contains(repo))
    }

    /// The repositories that anything is in.
    pub(super) fn all_repositories(&self) -> impl Iterator<Item = &str> {
        let all = self.items.values().flat_map(|item| &item.repos);
        all.map(|repo| &**repo).collect::<BTreeSet<_>>().into_iter()
    }

    /// The repositories that have a manifest or blob.
    pub fn repositories(&self, digest: &Digest) -> impl Iterator<Item = &str> {
        self.places(digest).map(|repo| &**repo)
    }

    /// The same, to be shared.
    pub(super) fn places(&self, digest: &Digest) -> impl Iterator<Item = &Arc<str>> {
        let item = self.items.get(digest).into_iter();
        item.flat_map(|item| &item.repos)
    }

    /// A manifest and everything below it, where all of it is in `repo`.
    pub(super) fn whole(&self, digest: &Digest, repo: &str) -> Option<Listing> {
        let (mut found, mut open) = (Listing::default(), vec![*digest]);
        self.items.get(digest)?.needs.as_ref()?;
        while let Some(next) = open.pop() {
            let item = self
                .items
                .get(&next)
                .filter(|item| item.repos.contains(repo))?;
            if found.items.insert(next, item.clone()).is_none() {
                open.extend(item.needs.iter().flatten());
            }
        }
        Some(found)
    }
}
