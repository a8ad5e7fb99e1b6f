//! Keeping one repository in step with another: tags that differ are copied, and
//! tags that the source no longer has are deleted on request.
//!
//! A tag that is the same costs a HEAD on each side. What is wrong with one tag
//! stops no other.

use std::collections::{HashMap, HashSet};
use std::sync::OnceLock;

use crate::descriptor::Descriptor;
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::graph::{
    Copier, CopyOptions, Remote, Select, is_referrers_tag, is_related_tag, list_tag, related_stem,
};
use crate::inventory::{Describer, Version};
use crate::keeping::pattern;
use crate::keeping::prune::{MaxDelete, Repo, RepoPlan, plan_deletion};
use crate::manifest::Kind;
use crate::parallel;
use crate::reference::{Tag, Target};
use crate::store::{Store, valid_names};
use crate::stream::Run;

/// Which tags are kept in step.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Filter {
    tags: Vec<glob::Pattern>,
    exclude: Vec<glob::Pattern>,
    newest: Option<usize>,
}

impl Filter {
    /// Tags that fit, and no others.
    ///
    /// # Errors
    /// [`Error::Invalid`] for an invalid pattern.
    pub fn with_tags(mut self, glob: &str) -> Result<Filter> {
        self.tags.push(pattern("--tags", glob)?);
        Ok(self)
    }

    /// No tags that fit.
    ///
    /// # Errors
    /// [`Error::Invalid`] for an invalid pattern.
    pub fn with_exclude(mut self, glob: &str) -> Result<Filter> {
        self.exclude.push(pattern("--exclude", glob)?);
        Ok(self)
    }

    /// Only the `count` newest: by version if all tags are versions, otherwise by the
    /// time they were made. Tags made of a digest, such as cosign's, are not
    /// candidates: what is copied has its own.
    pub fn with_newest(self, count: usize) -> Filter {
        let newest = Some(count);
        Filter { newest, ..self }
    }

    fn fits(&self, tag: &str) -> bool {
        let any = |globs: &[glob::Pattern]| globs.iter().any(|glob| glob.matches(tag));
        (self.tags.is_empty() || any(&self.tags)) && !any(&self.exclude)
    }
}

/// What is to be done about a tag, or was.
#[derive(Debug)]
#[non_exhaustive]
pub enum Step {
    /// Nothing: both sides have the same.
    Same,
    /// It has to be copied.
    Copy,
    /// It was copied, and these blobs were sent.
    Copied {
        /// Blobs that were sent.
        sent: usize,
        /// Blobs that the target took over from another of its repositories.
        mounted: usize,
    },
    /// It could not be.
    Failed(Error),
}

/// A tag of the source.
#[derive(Debug)]
#[non_exhaustive]
pub struct Tagged {
    /// The tag.
    pub tag: Tag,
    /// Its digest in the source, once that was asked for.
    pub digest: Option<Digest>,
    /// What became of it.
    pub step: Step,
}

/// Where signatures and other referrers are looked for that a tag got since it was
/// copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Additions {
    /// Where the source lists them under a tag, which costs nothing to see.
    #[default]
    Tagged,
    /// Everywhere: a request for each unchanged tag.
    Ask,
}

/// Tags that belong to an image, by the digest in their names.
type Related = HashMap<String, Vec<Tag>>;

/// Two repositories, of which the second follows the first.
pub struct Pair<'a> {
    from: &'a Remote,
    to: &'a dyn Store,
    filter: &'a Filter,
    options: CopyOptions<'a>,
    additions: Additions,
    odd: OnceLock<Error>,
    /// All tags of the source, as they were compared.
    listed: OnceLock<HashSet<Tag>>,
}

impl<'a> Pair<'a> {
    /// `to` follows `from` in the tags that `filter` names.
    pub fn new(
        from: &'a Remote,
        to: &'a dyn Store,
        filter: &'a Filter,
        options: CopyOptions<'a>,
    ) -> Pair<'a> {
        Pair {
            from,
            to,
            filter,
            options,
            additions: Additions::default(),
            odd: OnceLock::new(),
            listed: OnceLock::new(),
        }
    }

    /// Looks for added referrers elsewhere.
    pub fn with_additions(self, additions: Additions) -> Pair<'a> {
        Pair { additions, ..self }
    }

    /// What is wrong with the first name in the source's list that is not a tag, once
    /// [`Pair::compare`] has read it. The others are kept in step.
    pub fn odd(&self) -> Option<&Error> {
        self.odd.get()
    }

    /// Whether the source lists no tag at all, once [`Pair::compare`] has read its
    /// list. That is more likely a fault than a wish to delete everything.
    pub fn lists_nothing(&self) -> bool {
        self.listed.get().is_some_and(HashSet::is_empty)
    }

    /// What differs. Nothing is changed.
    ///
    /// # Errors
    /// What keeps the source from being listed; [`Error::Stopped`].
    pub fn compare(&self, run: Run<'_>) -> Result<Vec<Tagged>> {
        let (tags, related) = self.tags(run)?;
        parallel::map(run.jobs, tags, run.watch.stop, |tag, _| {
            let compared = self.compare_one(&tag, &related, run);
            let (digest, step) = match compared {
                Ok((digest, step)) => (digest, step),
                Err(error) if is_everywhere(&error) => return Err(error),
                Err(error) => (None, Step::Failed(error)),
            };
            Ok(Tagged { tag, digest, step })
        })
    }

    /// Copies what differs; the tags in their order.
    ///
    /// # Errors
    /// As [`Pair::compare`], and what would stop every other tag too, such as the
    /// network.
    pub fn copy(&self, tags: Vec<Tagged>, run: Run<'_>) -> Result<Vec<Tagged>> {
        // What belongs to an image and has no tag in the list is not asked for.
        let from = self
            .listed
            .get()
            .map(|tags| self.from.with_tags(tags.clone()));
        let copier = Copier::new(from.as_ref().unwrap_or(self.from), self.to, self.options);
        let due = tags
            .iter()
            .filter(|one| matches!(one.step, Step::Copy))
            .count();
        let (outer, each) = run.split(due);
        parallel::map(outer, tags, run.watch.stop, |one, stop| {
            if !matches!(one.step, Step::Copy) {
                return Ok(one);
            }
            let target = Target::Tag(one.tag.clone());
            let step = match copier.copy(&target, &target, each.stopped_by(stop)) {
                Ok(done) => Step::Copied {
                    sent: done.summary.uploaded,
                    mounted: done.summary.mounted,
                },
                Err(error) if is_everywhere(&error) => return Err(error),
                Err(error) => Step::Failed(error),
            };
            Ok(Tagged { step, ..one })
        })
    }

    /// What the target has and the source has not, as a plan for
    /// [`crate::keeping::prune::apply`]. The source has a tag that it listed now or
    /// when [`Pair::compare`] asked. Tags that the filter leaves out stay, and all of
    /// them if one of the lists is empty.
    ///
    /// # Errors
    /// Those of both stores.
    pub fn deletions(&self, name: &str, most: MaxDelete, run: Run<'_>) -> Result<RepoPlan> {
        let tags = self.from.store().tags().collect::<Result<HashSet<Tag>>>()?;
        let is_listed = |tag: &Tag| {
            let before = self.listed.get().is_some_and(|tags| tags.contains(tag));
            before || tags.contains(tag) || tags.is_empty() || self.lists_nothing()
        };
        let gone = |tag: &Tag| {
            let text = tag.as_str();
            !is_listed(tag) && self.filter.fits(text) && !is_related_tag(text)
        };
        let repo = Repo {
            store: self.to,
            name,
        };
        plan_deletion(repo, &gone, most, run)
    }

    /// The repository that follows.
    pub fn target(&self) -> &'a dyn Store {
        self.to
    }

    /// The tags that are to be kept in step, and those that go with their images.
    fn tags(&self, run: Run<'_>) -> Result<(Vec<Tag>, Related)> {
        let (mut tags, mut related) = (Vec::new(), Related::new());
        let (listed, odd) = valid_names(self.from.store().tags())?;
        if let Some(odd) = odd {
            let _ = self.odd.set(odd);
        }
        let _ = self.listed.set(listed.iter().cloned().collect());
        for tag in listed {
            // Copying referrers updates the target's list.
            let stem = related_stem(tag.as_str());
            let goes_with = is_referrers_tag(tag.as_str()) || self.filter.newest.is_some();
            if let Some(stem) = stem.filter(|_| goes_with).map(str::to_string) {
                related.entry(stem).or_default().push(tag);
            } else if self.filter.fits(tag.as_str()) {
                tags.push(tag);
            }
        }
        match self.filter.newest {
            Some(count) if count < tags.len() => Ok((self.newest(tags, count, run)?, related)),
            _ => Ok((tags, related)),
        }
    }

    fn newest(&self, tags: Vec<Tag>, count: usize, run: Run<'_>) -> Result<Vec<Tag>> {
        let versions = tags.iter().map(|tag| Version::parse(tag.as_str()));
        let versions: Option<Vec<Version>> = versions.collect();
        let mut ordered: Vec<Tag> = match versions {
            Some(versions) => {
                let mut all: Vec<_> = versions.into_iter().zip(tags).collect();
                all.sort_by(|one, other| other.cmp(one));
                all.into_iter().map(|(_, tag)| tag).collect()
            }
            None => {
                let found = Describer::new(self.from.store(), run).each(tags)?;
                let age = found.into_iter().map(|one| {
                    let made = one
                        .found
                        .as_ref()
                        .ok()
                        .and_then(|found| found.created.clone());
                    (made.map(|time| time.unix_seconds()), one.tag)
                });
                let mut all: Vec<_> = age.collect();
                all.sort_by(|one, other| other.cmp(one));
                all.into_iter().map(|(_, tag)| tag).collect()
            }
        };
        ordered.truncate(count);
        Ok(ordered)
    }

    fn compare_one(
        &self,
        tag: &Tag,
        related: &Related,
        run: Run<'_>,
    ) -> Result<(Option<Digest>, Step)> {
        let target = Target::Tag(tag.clone());
        let Some(there) = self.from.store().head(&target)? else {
            let what = format!("alias {tag}, which was listed");
            return Err(Error::NotFound { what });
        };
        let here = self.to.head(&target)?.map(|here| here.digest);
        let wanted = match (here, self.options.platform) {
            (Some(here), Some(_)) if here != there.digest => self.for_platform(&target, run)?,
            _ => there.digest,
        };
        let is_same = here == Some(wanted) && !self.lacks(&wanted, related)?;
        let step = if is_same { Step::Same } else { Step::Copy };
        Ok((Some(there.digest), step))
    }

    /// Whether the source has something about `subject` that the target has not.
    fn lacks(&self, subject: &Digest, related: &Related) -> Result<bool> {
        let tags = related
            .get(&list_tag(subject))
            .map_or(&[][..], Vec::as_slice);
        let (lists, others): (Vec<_>, Vec<_>) =
            tags.iter().partition(|tag| is_referrers_tag(tag.as_str()));
        for tag in others {
            let target = Target::Tag(tag.clone());
            let digest = |head: Option<Descriptor>| head.map(|head| head.digest);
            if digest(self.from.store().head(&target)?) != digest(self.to.head(&target)?) {
                return Ok(true);
            }
        }
        if lists.is_empty() && self.additions == Additions::Tagged {
            return Ok(false);
        }
        let there = self.from.store().referrers(subject)?;
        if there.is_empty() {
            return Ok(false);
        }
        let here = self.to.referrers(subject)?.into_iter();
        let here: HashSet<Digest> = here.map(|one| one.digest).collect();
        Ok(there.iter().any(|one| !here.contains(&one.digest)))
    }

    /// The digest of what is copied of an index for one platform.
    fn for_platform(&self, target: &Target, run: Run<'_>) -> Result<Digest> {
        let manifest = self.from.store().manifest(target)?;
        match self.options.platform {
            Some(platform) if manifest.kind() == Kind::Index => {
                let select = Select::Platform(platform);
                let node = self.from.without_configs().node(manifest, select, run)?;
                Ok(node.manifest().digest())
            }
            _ => Ok(manifest.digest()),
        }
    }
}

/// Whether an error would meet every other tag as well.
fn is_everywhere(error: &Error) -> bool {
    let what = error.what();
    matches!(
        what,
        Error::Stopped | Error::Network { .. } | Error::Unauthorized { .. }
    ) || matches!(what, Error::InsecureAuth { .. } | Error::Helper { .. })
        || error.status() == Some(429)
}
