//! An index that grows by one manifest after the other, by several writers.

use std::time::{Duration, Instant};

use super::push_manifest;
use crate::descriptor::Descriptor;
use crate::digest::Digest;
use crate::error::{Error, Result, if_found};
use crate::manifest::{IndexBuilder, Kind};
use crate::reference::{Tag, Target};
use crate::store::{Expected, Store};
use crate::stream::Stop;

/// How often an index is changed again because another writer changed it.
const TRIES: usize = 20;
/// How many times as long as a change took the index is left alone before it is
/// read again, and the longest such time.
const SETTLE: u32 = 3;
const MAX_SETTLE: Duration = Duration::from_secs(2);

/// Lists a manifest of the store in the index that a tag points to, in place of
/// the one for its platform. A tag that does not exist gets an index of its own.
/// Gives the digest of the index.
///
/// Several writers may do this at once. No registry is obliged to put an index
/// only if it is what was read, so it is read again after it was written, and
/// changed again where another writer has written an older one.
///
/// # Errors
/// [`Error::Unsupported`] where the tag points to something else than an index;
/// [`Error::Busy`] when others change it all the time; those of the store.
pub fn add_to_index(
    store: &dyn Store,
    tag: &Tag,
    entry: &Descriptor,
    stop: &Stop,
) -> Result<Digest> {
    let target = Target::Tag(tag.clone());
    for _ in 0..TRIES {
        stop.check()?;
        let begun = Instant::now();
        let old = if_found(store.manifest(&target))?;
        let (mut index, expected) = match &old {
            None => (IndexBuilder::default(), Expected::Nothing),
            Some(old) if old.kind() != Kind::Index => {
                let what = format!(
                    "{tag} in {} is a single manifest, not an index of platforms; choose another alias \
                     or delete it",
                    store.name()
                );
                return Err(Error::Unsupported { what });
            }
            Some(old) if old.index()?.manifests.contains(entry) => return Ok(old.digest()),
            Some(old) => (IndexBuilder::of(old)?, Expected::Manifest(old.digest())),
        };
        index.add(entry);
        match push_manifest(store, &index.build()?, &target, Some(expected)) {
            Err(error) if error.is_conflict() => {}
            done => done?,
        }
        stop.wait((begun.elapsed() * SETTLE).min(MAX_SETTLE))?;
    }
    Err(Error::Busy {
        what: format!("{tag} in {}", store.name()),
        why: "other writers keep changing it; try again later".to_string(),
    })
}
