//! From one store to another: what is there already is not looked at, what one
//! registry has in both repositories is mounted, everything else streams
//! through this machine and its memory alone.

use super::pull::{Remote, Wanted};
use super::put::{Foreign, Known, Summary, To, own_digest, put_missing, put_named, put_there};
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::image::{Family, Node, convert};
use crate::manifest::{Kind, Manifest};
use crate::platform::Platform;
use crate::reference::Target;
use crate::store::Store;
use crate::stream::Run;

/// What of a repository is copied, and how.
#[derive(Debug, Clone, Copy)]
pub struct How<'a> {
    /// The platform whose image is taken of an index; without one all of it.
    pub platform: Option<&'a Platform>,
    /// Whose words the copy is in; without one it keeps its digest.
    pub convert: Option<Family>,
    /// The digest that the copy must turn out to have, where one is known.
    pub expected: Option<Digest>,
    /// What is done about signatures and their like.
    pub referrers: Referrers,
    /// What is done with layers that must not be passed on.
    pub foreign: Foreign,
}

/// What is done about what belongs to an image without being below it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Referrers {
    /// It stays behind.
    Leave,
    /// It goes too ([`Remote::related`]).
    Copy,
}

/// Copies from one repository to another, one name after the other. What it
/// put there once it does not ask for again.
pub struct Copier<'a> {
    from: Remote,
    to: &'a dyn Store,
    how: How<'a>,
    known: Known,
}

/// What a copy came to.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Copied {
    /// The digest of what is under the name now.
    pub digest: Digest,
    /// What had to be done for that.
    pub summary: Summary,
}

/// What is going to be copied.
enum Taken {
    /// Only the manifest was fetched yet.
    Manifest(Manifest),
    /// Everything below it is known too.
    Node(Node),
}

impl<'a> Copier<'a> {
    /// Copies from `from` to `to`.
    pub fn new(from: &Remote, to: &'a dyn Store, how: How<'a>) -> Copier<'a> {
        Copier {
            from: from.without_configs(),
            to,
            how,
            known: Known::default(),
        }
    }

    /// Copies what `source` names, and gives it the name `target`: everything
    /// below it first, the name last.
    ///
    /// # Errors
    /// Those of both stores, saying which of them ([`Error::At`]);
    /// [`Error::NoPlatform`]; [`Error::Mismatch`] when `target` is another
    /// digest; those of [`convert`]; [`Error::Unsupported`] for a schema 1
    /// manifest, which can only be converted.
    pub fn copy(&self, source: &Target, target: &Target, run: Run<'_>) -> Result<Copied> {
        let from = format!("source {}", source.within(&self.from.store().name()));
        let to = format!("destination {}", target.within(&self.to.name()));
        let taken = self.take(source, run).map_err(|e| e.at(&from))?;
        self.give(taken, (&from, target), run)
            .map_err(|e| e.at(&to))
    }

    /// Fetches as much as is needed to know what is copied.
    fn take(&self, source: &Target, run: Run<'_>) -> Result<Taken> {
        let manifest = self.from.store().manifest(source)?;
        if manifest.kind() == Kind::Schema1 && self.how.convert.is_none() {
            let what = "a schema 1 manifest (Docker's format before 2016) can't be copied as it \
                        is; it can be converted";
            return Err(Error::Unsupported { what: what.into() });
        }
        let is_index = manifest.kind() == Kind::Index;
        let node = match self.how.platform {
            Some(platform) => self.from.node(manifest, Wanted::Platform(platform), run)?,
            None if self.how.convert.is_some() => self.from.node(manifest, Wanted::All, run)?,
            None => return Ok(Taken::Manifest(manifest)),
        };
        if let (Some(platform), false, Node::Image(image)) = (self.how.platform, is_index, &node) {
            image.must_run_on(platform)?;
        }
        match self.how.convert {
            Some(family) => convert(&node, family).map(Taken::Node),
            None => Ok(Taken::Node(node)),
        }
    }

    /// Puts what was taken; `from` is what to call the source.
    fn give(&self, taken: Taken, (from, target): (&str, &Target), run: Run<'_>) -> Result<Copied> {
        let manifest = match &taken {
            Taken::Manifest(manifest) => manifest,
            Taken::Node(node) => node.manifest(),
        };
        let digest = own_digest(manifest, target)?;
        if let Some(expected) = self.how.expected.filter(|expected| *expected != digest) {
            return Err(Error::mismatch(expected, digest));
        }
        let alone = self.how.referrers == Referrers::Leave;
        let by_digest = Target::Digest(digest);
        // What belongs to it lies between it and its name.
        let first = if alone { target } else { &by_digest };
        let there = put_there(manifest, &self.to(first), &self.known)?;
        if let (Some(summary), true) = (&there, alone) {
            let summary = summary.clone();
            return Ok(Copied { digest, summary });
        }
        let node = match taken {
            Taken::Node(node) => node,
            Taken::Manifest(manifest) => {
                let node = self.from.node(manifest, Wanted::All, run);
                node.map_err(|e| e.at(from))?
            }
        };
        let node = node.at(from);
        let summary = match there {
            Some(summary) => summary,
            None => put_missing(&node, &self.to(first), &self.known, run)?,
        };
        if !alone {
            self.give_related(&node, from, run)?;
            if *target != by_digest {
                put_named(node.manifest(), self.to, target)?;
            }
        }
        Ok(Copied { digest, summary })
    }

    fn give_related(&self, node: &Node, from: &str, run: Run<'_>) -> Result<()> {
        let to = self.to.name();
        self.from
            .related(node, run, &mut |related| {
                let (node, to_it) = (related.node.at(from), self.to(&related.target));
                let put = || match put_there(node.manifest(), &to_it, &self.known)? {
                    Some(_) => Ok(()),
                    None => put_missing(&node, &to_it, &self.known, run).map(drop),
                };
                let place = related.target.within(&to);
                put().map_err(|e: Error| e.at(&format!("destination {place}")))
            })
            .map_err(|e| e.at(from))
    }

    fn to<'b>(&'b self, target: &'b Target) -> To<'b> {
        To {
            store: self.to,
            target,
            foreign: self.how.foreign,
        }
    }
}
