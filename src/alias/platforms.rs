//! One answer, or one for each platform of an index, as python-dxf gives them.
//!
//! Independent of what the manifests are for.

use std::collections::BTreeMap;

use crate::descriptor::Descriptor;
use crate::error::{Error, Result};
use crate::graph::{Budget, Resolver};
use crate::manifest::{Kind, Manifest, Select, is_manifest};
use crate::platform::Platform;
use crate::reference::Target;
use crate::store::ReadStore;

use super::Run;

/// An answer about an alias: one, or one for each platform of an index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ByPlatform<T> {
    /// The alias is a single manifest, or a platform was chosen.
    One(T),
    /// By `os/architecture[/variant]`; a platform that occurs again has
    /// `@<digest>` after it.
    Each(BTreeMap<String, T>),
}

impl<T> ByPlatform<T> {
    /// The answers, each changed by `f`.
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

/// The same for a manifest that was read elsewhere. One that is not an index needs
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
    let budget = Budget::default();
    let resolver = Resolver::new(store, &budget, run);
    if let Some(wanted) = platform {
        let chosen = resolver.choose(manifest, Select::Platform(wanted))?;
        return Ok(ByPlatform::One(chosen));
    }
    must_list_manifests(&manifest)?;
    let mut each = BTreeMap::new();
    for (entry, child) in resolver.each(&manifest)? {
        insert(&mut each, &entry, child);
    }
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

fn key(entry: &Descriptor) -> String {
    let platform = entry.platform.as_deref();
    platform.map_or_else(|| "unknown/unknown".to_string(), Platform::to_string)
}

/// Refuses an index that lists nothing but blobs, as that of BuildKit's cache.
fn must_list_manifests(index: &Manifest) -> Result<()> {
    let entries = index.index()?.manifests;
    if entries.is_empty() || entries.iter().any(is_manifest) {
        return Ok(());
    }
    Err(Error::Unsupported {
        what: "an index of blobs, such as BuildKit's cache, is not an alias; copy-image copies it"
            .into(),
    })
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
