//! `del-blob`: deletes blobs, and with an alias all that it names.

use std::collections::{HashMap, HashSet};

use dxf_registry::alias::{self, ByPlatform};
use dxf_registry::graph::Walk;
use dxf_registry::stream::Run;
use dxf_registry::{Digest, Error, Manifest, Result, Store, Tag, Target};

use crate::cli::args::{self, DelBlob, Selector};
use crate::cli::exit::Failure;
use crate::cli::session::Session;

/// `del-blob [--keep-alias] [--force] <repo> [<digest>|@alias …]`
pub fn run(s: &mut Session<'_, '_>, args: &DelBlob) -> Result<(), Failure> {
    let (repo, rest) = s.repo(&args.words, 0, usize::MAX)?;
    let selectors = args::selectors(rest)?;
    let store = s.store(repo)?;
    let mut doomed = Doomed::new(&*store, s.run());
    if !args.force {
        doomed.keep(kept(&*store, &selectors, s.run())?);
    }
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
    let stays = doomed.delete()?;
    if !stays.is_empty() {
        s.console.warn(&spared(&stays));
    }
    Ok(())
}

/// What other aliases than those to be deleted reach, and which of them: blobs
/// that must stay. Blobs that are named by their digests are not looked for.
fn kept(store: &dyn Store, selectors: &[Selector], run: Run<'_>) -> Result<Kept> {
    let named: Vec<&Target> = selectors.iter().filter_map(alias_of).collect();
    if named.is_empty() {
        return Ok(Kept::new());
    }
    let goes = |tag: &Tag| named.contains(&&Target::Tag(tag.clone()));
    match Walk::new(store, run).reach_of_tags(&goes) {
        // No repository: that is for the alias to tell.
        Err(error) if error.is_not_found() => Ok(Kept::new()),
        reached => reached
            .map_err(|e| e.at("looking for blobs that other aliases name (--force skips this)")),
    }
}

fn alias_of(selector: &Selector) -> Option<&Target> {
    match selector {
        Selector::Alias(target) => Some(target),
        Selector::Blob(_) => None,
    }
}

/// What is said of the blobs that stay.
fn spared(stays: &[(Digest, Target)]) -> String {
    const SHOWN: usize = 20;
    let shown = stays.iter().take(SHOWN);
    let mut words: Vec<String> = shown
        .map(|(digest, alias)| format!("{digest} (alias {alias})"))
        .collect();
    if let more @ 1.. = stays.len().saturating_sub(SHOWN) {
        words.push(format!("and {more} more"));
    }
    let count = match stays.len() {
        1 => "1 blob was kept because another alias names it".to_string(),
        n => format!("{n} blobs were kept because other aliases name them"),
    };
    format!("{count}: {}; --force deletes them too", words.join(", "))
}

/// What must stay, with an alias that reaches it.
type Kept = HashMap<Digest, Target>;

/// What `del-blob` is about to delete, in order.
struct Doomed<'a> {
    store: &'a dyn Store,
    run: Run<'a>,
    kept: Kept,
    /// Blobs that were named by their digests.
    by_digest: HashSet<Digest>,
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
    fn new(store: &'a dyn Store, run: Run<'a>) -> Doomed<'a> {
        Doomed {
            store,
            run,
            kept: Kept::new(),
            by_digest: HashSet::new(),
            things: Vec::new(),
            seen: HashSet::new(),
        }
    }

    /// Spares what is in `kept`, unless it is named by its digest.
    fn keep(&mut self, kept: Kept) {
        self.kept = kept;
    }

    /// A blob that was named, however often.
    fn named(&mut self, digest: Digest) {
        self.by_digest.insert(digest);
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

    /// Deletes an alias now, and what it pointed to later. Where another alias has
    /// the same manifest, only the name goes.
    fn alias(&mut self, target: &Target) -> Result<()> {
        let manifest = self.store.manifest(target)?;
        let digest = alias::digest(&manifest, target);
        let pointed = match (self.kept.get(&digest), target) {
            (Some(_), Target::Tag(tag)) => alias::delete_only(self.store, tag, self.run)?,
            (Some(other), Target::Digest(_)) => {
                let what = format!("alias {other} names manifest {digest}; --force deletes both");
                return Err(Error::NotAllowed { what });
            }
            (None, _) => {
                let pointed = alias::pointed(&manifest)?;
                self.store.delete_manifest(&digest)?;
                pointed
            }
        };
        match pointed {
            ByPlatform::One(blobs) => self.add(blobs.into_iter().map(Thing::Blob)),
            ByPlatform::Each(each) => {
                self.add(each.into_values().flatten().map(Thing::Manifest));
            }
        }
        Ok(())
    }

    /// Adds what is missing: an alias may name a blob twice, and two
    /// platforms may share one, which can be deleted only once.
    fn add(&mut self, things: impl Iterator<Item = Thing>) {
        for thing in things {
            if self.seen.insert(thing) {
                self.things.push(thing);
            }
        }
    }

    /// Deletes everything in order, up to the first failure; gives the blobs that
    /// were spared, and an alias that needs each.
    fn delete(mut self) -> Result<Vec<(Digest, Target)>> {
        let mut stays = Vec::new();
        for thing in std::mem::take(&mut self.things) {
            match thing {
                Thing::Blob(digest) => self.delete_blob(digest, &mut stays)?,
                // Its blobs are needed too.
                Thing::Manifest(digest) if self.kept.contains_key(&digest) => {}
                Thing::Manifest(digest) => {
                    self.alias(&Target::Digest(digest))?;
                    for thing in std::mem::take(&mut self.things) {
                        if let Thing::Blob(digest) = thing {
                            self.delete_blob(digest, &mut stays)?;
                        }
                    }
                }
            }
        }
        Ok(stays)
    }

    fn delete_blob(&self, digest: Digest, stays: &mut Vec<(Digest, Target)>) -> Result<()> {
        match self
            .kept
            .get(&digest)
            .filter(|_| !self.by_digest.contains(&digest))
        {
            None => self.store.delete_blob(&digest),
            Some(alias) => {
                stays.push((digest, alias.clone()));
                Ok(())
            }
        }
    }
}
