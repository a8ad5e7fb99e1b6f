//! `del-blob`: deletes blobs, and with an alias all that it names.

use std::collections::HashSet;

use dxf_registry::alias::{self, ByPlatform};
use dxf_registry::{Digest, Manifest, Result, Store, Target};

use crate::cli::args::{self, DelBlob, Selector};
use crate::cli::exit::Failure;
use crate::cli::session::Session;

/// `del-blob [--keep-alias] <repo> [<digest>|@alias …]`
pub fn run(s: &mut Session<'_, '_>, args: &DelBlob) -> Result<(), Failure> {
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
