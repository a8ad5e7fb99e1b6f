//! One answer, or one for each platform: how an index becomes the manifests it
//! names (image-spec, image-index.md).
//!
//! Knows nothing of what is wanted from those manifests.

use std::collections::{BTreeMap, HashMap};

use crate::descriptor::{Descriptor, media_type};
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::manifest::{Kind, Manifest, is_manifest};
use crate::parallel;
use crate::platform::Platform;
use crate::reference::Target;
use crate::store::ReadStore;

use super::Run;

/// How deep indexes may stand in indexes; the outermost counts.
const DEPTH: usize = 2;
/// How many manifests one alias may cost to fetch. The largest official image
/// has some twenty platforms, each with an attestation.
const CHILDREN: usize = 1024;
/// The annotation by which BuildKit marks its attestations.
const REFERENCE_TYPE: &str = "vnd.docker.reference.type";

/// An answer about an alias: one, or one for each platform of an index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ByPlatform<T> {
    /// The alias is a single manifest, or a platform was chosen.
    One(T),
    /// By `os/architecture[/variant]`; a platform that occurs again has
    /// `@<digest>` behind it.
    Each(BTreeMap<String, T>),
}

impl<T> ByPlatform<T> {
    /// The answer that `f` makes of each answer.
    ///
    /// # Errors
    /// The first error of `f`.
    pub fn try_map<U>(self, mut f: impl FnMut(T) -> Result<U>) -> Result<ByPlatform<U>> {
        Ok(match self {
            ByPlatform::One(value) => ByPlatform::One(f(value)?),
            ByPlatform::Each(values) => ByPlatform::Each(
                values
                    .into_iter()
                    .map(|(platform, value)| Ok((platform, f(value)?)))
                    .collect::<Result<_>>()?,
            ),
        })
    }

    /// The same answer, borrowed.
    pub fn as_ref(&self) -> ByPlatform<&T> {
        match self {
            ByPlatform::One(value) => ByPlatform::One(value),
            ByPlatform::Each(values) => {
                ByPlatform::Each(values.iter().map(|(k, v)| (k.clone(), v)).collect())
            }
        }
    }
}

/// The manifest of a tag or digest, and for an index those it names: the one
/// that runs on `platform`, or else all of them.
///
/// # Errors
/// [`Error::NoPlatform`] when none runs there, [`Error::Size`] for a manifest
/// that is not what the index says, the store's own.
pub fn resolve(
    store: &dyn ReadStore,
    target: &Target,
    platform: Option<&Platform>,
    run: Run<'_>,
) -> Result<ByPlatform<Manifest>> {
    expand(store, store.manifest(target)?, platform, run)
}

/// The same for a manifest that was read elsewhere. One that is no index needs
/// nothing from the store, whatever `platform` says.
///
/// # Errors
/// As [`resolve`].
pub fn expand(
    store: &dyn ReadStore,
    manifest: Manifest,
    platform: Option<&Platform>,
    run: Run<'_>,
) -> Result<ByPlatform<Manifest>> {
    if manifest.kind() != Kind::Index {
        return Ok(ByPlatform::One(manifest));
    }
    let mut walk = Walk {
        store,
        run,
        fetched: 0,
    };
    if let Some(wanted) = platform {
        let mut available = Vec::new();
        return match walk.choose(&manifest, wanted, 1, &mut available)? {
            Some(chosen) => Ok(ByPlatform::One(chosen)),
            None => Err(none_fits(wanted, available)),
        };
    }
    let mut each = BTreeMap::new();
    walk.each(&manifest, 1, &mut each)?;
    Ok(ByPlatform::Each(each))
}

/// The entries of an index by platform, none of them fetched.
pub(super) fn children(index: &Manifest) -> Result<ByPlatform<Descriptor>> {
    let mut each = BTreeMap::new();
    for entry in index.index()?.manifests {
        insert(&mut each, &entry.clone(), entry);
    }
    Ok(ByPlatform::Each(each))
}

/// Reads an index from its store, within bounds.
struct Walk<'a> {
    store: &'a dyn ReadStore,
    run: Run<'a>,
    fetched: usize,
}

impl Walk<'_> {
    /// The manifest that runs on `wanted`. Fetches that one only, but for
    /// indexes that stand in the index and don't say what they are for.
    fn choose(
        &mut self,
        index: &Manifest,
        wanted: &Platform,
        depth: usize,
        available: &mut Vec<String>,
    ) -> Result<Option<Manifest>> {
        within(depth)?;
        let entries = index.index()?.manifests;
        if let Some(entry) = best(&entries, wanted) {
            let child = self.fetch(vec![entry.clone()])?.pop();
            return match child {
                Some(child) if child.kind() == Kind::Index => {
                    self.choose(&child, wanted, depth + 1, available)
                }
                child => Ok(child),
            };
        }
        available.extend(images(&entries).map(key));
        for entry in entries.into_iter().filter(is_bare_index) {
            for child in self.fetch(vec![entry])? {
                if child.kind() != Kind::Index {
                    continue;
                }
                if let Some(found) = self.choose(&child, wanted, depth + 1, available)? {
                    return Ok(Some(found));
                }
            }
        }
        Ok(None)
    }

    /// Every manifest an index names, and those of the indexes in it.
    fn each(
        &mut self,
        index: &Manifest,
        depth: usize,
        out: &mut BTreeMap<String, Manifest>,
    ) -> Result<()> {
        within(depth)?;
        let entries = manifests(index)?;
        // Two platforms may share a manifest; it is fetched once.
        let mut places: HashMap<(Digest, u64), usize> = HashMap::new();
        let mut unique = Vec::new();
        for entry in &entries {
            places.entry((entry.digest, entry.size)).or_insert_with(|| {
                unique.push(entry.clone());
                unique.len() - 1
            });
        }
        let fetched = self.fetch(unique)?;
        for entry in &entries {
            let at = places.get(&(entry.digest, entry.size));
            let Some(child) = at.and_then(|at| fetched.get(*at)) else {
                continue;
            };
            if child.kind() == Kind::Index {
                self.each(child, depth + 1, out)?;
            } else {
                insert(out, entry, child.clone());
            }
        }
        Ok(())
    }

    fn fetch(&mut self, entries: Vec<Descriptor>) -> Result<Vec<Manifest>> {
        self.fetched += entries.len();
        if self.fetched > CHILDREN {
            let why = format!("it names more than {CHILDREN} manifests");
            return Err(Error::malformed("index", why));
        }
        let (store, stop) = (self.store, self.run.watch.stop);
        parallel::map(self.run.jobs, entries, stop, |entry, _| {
            // The store verifies the digest.
            let child = store.manifest(&Target::Digest(entry.digest))?;
            let actual = child.bytes().len() as u64;
            if actual != entry.size {
                return Err(Error::Size {
                    what: entry.digest.to_string(),
                    expected: entry.size,
                    actual,
                });
            }
            Ok(child)
        })
    }
}

fn within(depth: usize) -> Result<()> {
    if depth > DEPTH {
        let why = format!("indexes stand in it more than {DEPTH} deep");
        return Err(Error::malformed("index", why));
    }
    Ok(())
}

/// The entries that are there to be run: not BuildKit's attestations.
fn images(entries: &[Descriptor]) -> impl Iterator<Item = &Descriptor> {
    entries.iter().filter(|entry| {
        !entry.annotations.contains_key(REFERENCE_TYPE)
            && entry.platform.as_ref().is_some_and(|p| !p.is_unknown())
    })
}

/// The entry that runs best on `wanted`; the first of equals.
fn best<'a>(entries: &'a [Descriptor], wanted: &Platform) -> Option<&'a Descriptor> {
    let fits = images(entries).filter_map(|e| Some((wanted.fit(e.platform.as_ref()?)?, e)));
    fits.min_by_key(|(fit, _)| *fit).map(|(_, entry)| entry)
}

fn is_bare_index(entry: &Descriptor) -> bool {
    let is_index = [media_type::OCI_INDEX, media_type::DOCKER_LIST];
    entry.platform.as_ref().is_none_or(Platform::is_unknown)
        && !entry.annotations.contains_key(REFERENCE_TYPE)
        && is_index.contains(&entry.media_type.as_str())
}

fn key(entry: &Descriptor) -> String {
    let platform = entry.platform.as_ref();
    platform.map_or_else(|| "unknown/unknown".to_string(), Platform::to_string)
}

/// The entries of an index but for those that are blobs, as BuildKit's cache
/// lists them.
///
/// # Errors
/// [`Error::Unsupported`] when it lists nothing but blobs.
fn manifests(index: &Manifest) -> Result<Vec<Descriptor>> {
    let mut entries = index.index()?.manifests;
    let listed = entries.len();
    entries.retain(is_manifest);
    match (listed, entries.len()) {
        (1.., 0) => Err(Error::Unsupported {
            what: "an index of blobs, such as BuildKit's cache, is no alias; copy-image copies it"
                .into(),
        }),
        _ => Ok(entries),
    }
}

/// Adds a value under its entry's platform; python-dxf loses all but the last
/// of several.
fn insert<T>(out: &mut BTreeMap<String, T>, entry: &Descriptor, value: T) {
    let mut key = key(entry);
    if out.contains_key(&key) {
        key = format!("{key}@{}", entry.digest);
    }
    out.insert(key, value);
}

fn none_fits(wanted: &Platform, mut available: Vec<String>) -> Error {
    for name in &mut available {
        // They come from the store and go into a message.
        *name = name.replace(char::is_control, "?");
    }
    available.sort();
    available.dedup();
    if available.is_empty() {
        available.push("none".to_string());
    }
    Error::NoPlatform {
        wanted: wanted.to_string(),
        available,
    }
}
