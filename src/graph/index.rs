//! An index that grows by one manifest after the other, by several writers.

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

/// Lists a manifest of the store in the index that a tag points to, in place of
/// the one for its platform. A tag that does not exist gets an index of its own.
/// Gives the digest of the index.
///
/// The index is read again when another writer changed it meanwhile
/// ([`Store::put_manifest_if`] says how safe that is).
///
/// # Errors
/// [`Error::Unsupported`] where the tag points to something else than an index;
/// [`Error::Conflict`] when others change it all the time; those of the store.
pub fn add_to_index(
    store: &dyn Store,
    tag: &Tag,
    entry: &Descriptor,
    stop: &Stop,
) -> Result<Digest> {
    let target = Target::Tag(tag.clone());
    let mut tries = 0;
    loop {
        stop.check()?;
        let old = if_found(store.manifest(&target))?;
        let mut index = match &old {
            None => IndexBuilder::default(),
            Some(old) if old.kind() == Kind::Index => IndexBuilder::of(old)?,
            Some(_) => {
                let what = format!(
                    "{tag} in {} is one manifest and no index of platforms; choose another alias \
                     or delete it",
                    store.name()
                );
                return Err(Error::Unsupported { what });
            }
        };
        index.add(entry);
        let index = index.build()?;
        let expected = match old.map(|old| old.digest()) {
            Some(old) if old == index.digest() => return Ok(old),
            Some(old) => Expected::Manifest(old),
            None => Expected::Nothing,
        };
        match push_manifest(store, &index, &target, Some(expected)) {
            Err(error) if error.is_conflict() && tries < TRIES => tries += 1,
            done => return done.map(|()| index.digest()),
        }
    }
}
