//! The commands about blobs.

use std::collections::HashSet;

use dxf_registry::alias::{self, ByPlatform};
use dxf_registry::{Descriptor, Digest, Error, Manifest, Result, Store, Target};
use serde_json::Value;

use super::args::{self, DelBlob, PushBlob, Selector, Words};
use super::exit::Failure;
use super::input;
use super::session::Session;
use super::split;

/// `push-blob [--split SIZE|cdc[:AVG]] <repo> <file>|- [@alias]`
pub fn push(s: &mut Session<'_, '_>, args: &PushBlob) -> Result<(), Failure> {
    let (repo, rest) = args.words.repo(1, 2)?;
    let tag = args::alias(rest.get(1))?;
    let split = split::asked(s, args)?;
    let store = s.store(repo)?;
    if let Some(split) = split {
        return split::push(s, &*store, (&rest[0], tag), split);
    }
    let blob = input::blob(s, &rest[0])?;
    match tag {
        Some(tag) => {
            let blobs = std::slice::from_ref(&blob);
            alias::push(&*store, &tag, blobs, s.context.format, s.run())?;
        }
        None => drop(store.put_blob(&blob, s.watch())?),
    }
    s.line(blob.digest())
}

/// The digests of `blobs` as a JSON list.
pub fn digests(blobs: &[Descriptor]) -> Value {
    blobs.iter().map(|blob| blob.digest.to_string()).collect()
}

/// The size of a blob that has to be there.
pub fn size_of(store: &dyn Store, digest: &Digest) -> Result<u64> {
    store.blob_size(digest)?.ok_or_else(|| Error::NotFound {
        what: format!("blob {digest} in {}", store.name()),
    })
}

/// `blob-size <repo> [<digest>|@alias …]`
pub fn size(s: &mut Session<'_, '_>, words: &Words) -> Result<(), Failure> {
    let (repo, rest) = words.repo(0, usize::MAX)?;
    let selectors = args::selectors(rest)?;
    let store = s.store(repo)?;
    let mut sizes = Vec::new();
    if selectors.is_empty() {
        sizes.push(s.stdin_manifest(&*store)?.try_map(total)?);
    }
    for selector in &selectors {
        sizes.push(match selector {
            Selector::Blob(digest) => ByPlatform::One(size_of(&*store, digest)?),
            Selector::Alias(target) => s.resolve(&*store, target)?.try_map(total)?,
        });
    }
    for size in sizes {
        s.by_platform(size, |size| (*size).into(), |s, size| s.line(size))?;
    }
    Ok(())
}

/// The bytes of an alias' blobs; a sum no machine can hold is no sum.
fn total(manifest: Manifest) -> Result<u64> {
    let mut sum = 0u64;
    for blob in alias::blobs(&manifest)? {
        let more = sum.checked_add(blob.size);
        sum = more.ok_or_else(|| Error::malformed("manifest", "its sizes add up to too much"))?;
    }
    Ok(sum)
}

/// `mount-blob <repo> <from-repo> <digest> [@alias]`
pub fn mount(s: &mut Session<'_, '_>, words: &Words) -> Result<(), Failure> {
    let (repo, rest) = words.repo(2, 3)?;
    let tag = args::alias(rest.get(2))?;
    let from = args::text(&rest[0])?.parse()?;
    let digest: Digest = args::text(&rest[1])?.parse()?;
    let store = s.store(repo)?;
    store.mount_blob(&digest, &from, s.watch())?;
    if let Some(tag) = tag {
        alias::set(&*store, &tag, &[digest], s.context.format, s.run())?;
    }
    s.line(digest)
}

/// `del-blob [--keep-alias] <repo> [<digest>|@alias …]`
pub fn delete(s: &mut Session<'_, '_>, args: &DelBlob) -> Result<(), Failure> {
    let (repo, rest) = args.words.repo(0, usize::MAX)?;
    let selectors = args::selectors(rest)?;
    let store = s.store(repo)?;
    let mut doomed = Doomed::new(&*store);
    if selectors.is_empty() {
        doomed.blobs_of(s.stdin_manifest(&*store)?)?;
    }
    for selector in &selectors {
        match selector {
            Selector::Blob(digest) => doomed.named(*digest),
            Selector::Alias(target) if args.keep_alias => {
                doomed.blobs_of(alias::resolve(&*store, target, None, s.run())?)?;
            }
            // All aliases go before the first blob does, as in python-dxf.
            Selector::Alias(target) => doomed.alias(target)?,
        }
    }
    Ok(doomed.delete()?)
}

/// What `del-blob` is about to delete, in order.
struct Doomed<'a> {
    store: &'a dyn Store,
    things: Vec<Thing>,
    seen: HashSet<Thing>,
}

/// One thing to delete.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Thing {
    /// A blob that was named, or that the deleted alias named.
    Blob(Digest),
    /// A manifest of a deleted index, with its blobs.
    Manifest(Digest),
}

impl<'a> Doomed<'a> {
    fn new(store: &'a dyn Store) -> Doomed<'a> {
        Doomed {
            store,
            things: Vec::new(),
            seen: HashSet::new(),
        }
    }

    /// A blob that was named, however often.
    fn named(&mut self, digest: Digest) {
        self.seen.insert(Thing::Blob(digest));
        self.things.push(Thing::Blob(digest));
    }

    /// The blobs of a manifest, or of all its platforms.
    fn blobs_of(&mut self, found: ByPlatform<Manifest>) -> Result<()> {
        let manifests = match found {
            ByPlatform::One(manifest) => vec![manifest],
            ByPlatform::Each(each) => each.into_values().collect(),
        };
        for manifest in manifests {
            let blobs = alias::blobs(&manifest)?;
            self.add(blobs.iter().map(|blob| Thing::Blob(blob.digest)));
        }
        Ok(())
    }

    /// Deletes an alias now, and what it pointed to later.
    fn alias(&mut self, target: &Target) -> Result<()> {
        match alias::delete(self.store, target, None)? {
            ByPlatform::One(blobs) => self.add(blobs.into_iter().map(Thing::Blob)),
            ByPlatform::Each(each) => {
                self.add(each.into_values().flatten().map(Thing::Manifest));
            }
        }
        Ok(())
    }

    /// Adds what is not there yet: an alias may name a blob twice, and two
    /// platforms may share one, which can be deleted only once.
    fn add(&mut self, things: impl Iterator<Item = Thing>) {
        for thing in things {
            if self.seen.insert(thing) {
                self.things.push(thing);
            }
        }
    }

    /// Deletes everything in order, up to the first failure.
    fn delete(mut self) -> Result<()> {
        for thing in std::mem::take(&mut self.things) {
            match thing {
                Thing::Blob(digest) => self.store.delete_blob(&digest)?,
                Thing::Manifest(digest) => {
                    self.alias(&Target::Digest(digest))?;
                    for thing in std::mem::take(&mut self.things) {
                        if let Thing::Blob(digest) = thing {
                            self.store.delete_blob(&digest)?;
                        }
                    }
                }
            }
        }
        Ok(())
    }
}
