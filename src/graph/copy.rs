//! From one store to another: existing content is not read, blobs of the same
//! registry are mounted, everything else is streamed through this machine and
//! never touches its disk.

use super::pull::Remote;
use super::push::{
    Known, Nondistributable, PushTarget, Summary, own_digest, push_manifest, put_all, put_missing,
    put_there, report_existing,
};
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::image::{Family, Node, convert};
use crate::manifest::{Kind, Manifest, Select};
use crate::parallel::beside;
use crate::platform::Platform;
use crate::reference::Target;
use crate::store::Store;
use crate::stream::Run;

/// How many referrers are put together, and the bytes of their manifests.
const MAX_WAITING: usize = 500;
const MAX_WAITING_SIZE: usize = 8 << 20;

/// What of a repository is copied, and how.
#[derive(Debug, Clone, Copy, Default)]
#[non_exhaustive]
pub struct CopyOptions<'a> {
    /// The platform whose image of an index is copied; all of it without one.
    pub platform: Option<&'a Platform>,
    /// The format that manifests are converted to; without one the copy keeps
    /// its digest.
    pub convert: Option<Family>,
    /// The digest that the copy must have.
    pub expected: Option<Digest>,
    /// What becomes of signatures and other referrers.
    pub referrers: Referrers,
    /// What becomes of non-distributable layers.
    pub nondistributable: Nondistributable,
}

impl<'a> CopyOptions<'a> {
    /// Copies the image of this platform only.
    pub fn with_platform(self, platform: &'a Platform) -> CopyOptions<'a> {
        let platform = Some(platform);
        CopyOptions { platform, ..self }
    }

    /// Converts manifests to this format.
    pub fn with_convert(self, family: Family) -> CopyOptions<'a> {
        let convert = Some(family);
        CopyOptions { convert, ..self }
    }

    /// Fails unless the copy has this digest.
    pub fn with_expected(self, digest: Digest) -> CopyOptions<'a> {
        let expected = Some(digest);
        CopyOptions { expected, ..self }
    }

    /// Chooses what becomes of referrers.
    pub fn with_referrers(self, referrers: Referrers) -> CopyOptions<'a> {
        CopyOptions { referrers, ..self }
    }

    /// Chooses what becomes of non-distributable layers.
    pub fn with_nondistributable(self, nondistributable: Nondistributable) -> CopyOptions<'a> {
        CopyOptions {
            nondistributable,
            ..self
        }
    }
}

/// What becomes of signatures and other referrers, which belong to an image
/// without being named by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Referrers {
    /// They are not copied.
    #[default]
    Leave,
    /// They are not copied, but counted while the rest is ([`Copied::left`]).
    Count,
    /// They are copied too ([`Remote::related`]).
    Copy,
}

/// Copies from one repository to another, one name after the other. What it
/// put there once it does not ask for again.
pub struct Copier<'a> {
    from: Remote,
    to: &'a dyn Store,
    options: CopyOptions<'a>,
    known: Known,
    /// Those whose referrers were copied.
    related: Known,
}

/// What a copy came to.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Copied {
    /// The digest of what is under the name now.
    pub digest: Digest,
    /// What had to be done for that.
    pub summary: Summary,
    /// How many referrers were not copied, with [`Referrers::Count`]. Zero if
    /// the image existed or the source does not say.
    pub left: usize,
}

/// Referrers that are put together.
#[derive(Default)]
struct Waiting {
    nodes: Vec<(Digest, Node)>,
    /// The bytes of their manifests.
    size: usize,
}

impl Waiting {
    fn add(&mut self, digest: Digest, node: Node) {
        self.size += node.manifest().bytes().len();
        self.nodes.push((digest, node));
    }

    /// Whether there are so many that they are to be put.
    fn is_full(&self) -> bool {
        self.nodes.len() >= MAX_WAITING || self.size >= MAX_WAITING_SIZE
    }
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
    pub fn new(from: &Remote, to: &'a dyn Store, options: CopyOptions<'a>) -> Copier<'a> {
        Copier {
            from: from.without_configs(),
            to,
            options,
            known: Known::default(),
            related: Known::default(),
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
        self.give(taken, &from, target, run).map_err(|e| e.at(&to))
    }

    /// Fetches as much as is needed to know what is copied.
    fn take(&self, source: &Target, run: Run<'_>) -> Result<Taken> {
        let manifest = self.from.store().manifest(source)?;
        if manifest.kind() == Kind::Schema1 && self.options.convert.is_none() {
            let what = "a schema 1 manifest (Docker's format before 2016) can't be copied as it \
                        is; it can be converted";
            return Err(Error::Unsupported { what: what.into() });
        }
        let is_index = manifest.kind() == Kind::Index;
        let node = match self.options.platform {
            Some(platform) => self.from.node(manifest, Select::Platform(platform), run)?,
            None if self.options.convert.is_some() => self.from.node(manifest, Select::All, run)?,
            None => return Ok(Taken::Manifest(manifest)),
        };
        if let (Some(platform), false, Node::Image(image)) =
            (self.options.platform, is_index, &node)
        {
            image.must_run_on(platform)?;
        }
        match self.options.convert {
            Some(family) => convert(&node, family).map(Taken::Node),
            None => Ok(Taken::Node(node)),
        }
    }

    /// Puts what was taken; `from` is what to call the source.
    fn give(&self, taken: Taken, from: &str, target: &Target, run: Run<'_>) -> Result<Copied> {
        let manifest = match &taken {
            Taken::Manifest(manifest) => manifest,
            Taken::Node(node) => node.manifest(),
        };
        let digest = own_digest(manifest, target)?;
        if let Some(expected) = self.options.expected.filter(|expected| *expected != digest) {
            return Err(Error::mismatch(expected, digest));
        }
        let alone = self.options.referrers != Referrers::Copy;
        let by_digest = Target::Digest(digest);
        // What belongs to it lies between it and its name.
        let first = if alone { target } else { &by_digest };
        let there = put_there(manifest, &self.to(first), &self.known)?;
        if let (Some(summary), true) = (&there, alone) {
            // What an index has below it was not fetched.
            if let Ok(image) = manifest.image() {
                report_existing(std::iter::once(&image.config).chain(&image.layers), run);
            }
            let (summary, left) = (summary.clone(), 0);
            return Ok(Copied {
                digest,
                summary,
                left,
            });
        }
        let node = match taken {
            Taken::Node(node) => node,
            Taken::Manifest(manifest) => {
                let node = self.from.node(manifest, Select::All, run);
                node.map_err(|e| e.at(from))?
            }
        };
        let node = node.at(from);
        let (summary, left) = match there {
            Some(summary) => (summary, 0),
            None => self.put_counting(&node, first, run)?,
        };
        if !alone {
            // Other tags of the same manifest have the same.
            if !self.related.has(&digest) {
                self.give_related(&node, from, run)?;
                self.related.add([digest]);
            }
            if *target != by_digest {
                push_manifest(self.to, node.manifest(), target, None)?;
            }
        }
        Ok(Copied {
            digest,
            summary,
            left,
        })
    }

    /// Puts a node that the destination lacks; counts its referrers meanwhile,
    /// where asked for. That they can't be counted is no reason to fail.
    fn put_counting(&self, node: &Node, target: &Target, run: Run<'_>) -> Result<(Summary, usize)> {
        let put = || put_missing(node, &self.to(target), &self.known, run);
        if self.options.referrers != Referrers::Count {
            return Ok((put()?, 0));
        }
        let subject = node.manifest().digest();
        let (left, summary) = beside(|| self.from.count_related(&subject, run), put);
        Ok((summary?, left.unwrap_or(0)))
    }

    /// Copies what belongs to a node. Referrers are put several at a time.
    fn give_related(&self, node: &Node, from: &str, run: Run<'_>) -> Result<()> {
        let to = self.to.name();
        let mut waiting = Waiting::default();
        let give = |waiting: &mut Waiting| {
            let nodes = std::mem::take(waiting).nodes;
            let Some((first, _)) = nodes.first() else {
                return Ok(());
            };
            let to_it = Target::Digest(*first);
            let put = put_all(&nodes, &self.to(&to_it), &self.known, run);
            put.map_err(|e| e.at(&format!("destination {to}, the referrers of {from}")))
        };
        self.from
            .related(node, run, &mut |related| {
                let node = related.node.at(from);
                let place = related.target.within(&to);
                match &related.target {
                    Target::Digest(digest) => {
                        waiting.add(*digest, node);
                        match waiting.is_full() {
                            true => give(&mut waiting),
                            false => Ok(()),
                        }
                    }
                    tag @ Target::Tag(_) => {
                        let to_it = self.to(tag);
                        let put = match put_there(node.manifest(), &to_it, &self.known)? {
                            Some(_) => Ok(()),
                            None => put_missing(&node, &to_it, &self.known, run).map(drop),
                        };
                        put.map_err(|e| e.at(&format!("destination {place}")))
                    }
                }
            })
            .map_err(|e| e.at(from))?;
        give(&mut waiting)
    }

    fn to<'b>(&'b self, target: &'b Target) -> PushTarget<'b> {
        PushTarget::new(self.to, target).with_nondistributable(self.options.nondistributable)
    }
}
