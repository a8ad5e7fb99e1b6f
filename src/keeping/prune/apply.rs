//! Doing what a plan says.

use std::collections::{HashMap, HashSet};

use super::plan::{Belonging, RepoPlan};
use super::source::{Source, is_related};
use crate::alias::cannot_untag;
use crate::descriptor::Descriptor;
use crate::digest::Digest;
use crate::error::{Result, if_found};
use crate::graph::mark::{Reached, mark};
use crate::graph::verify::{Finding, wrong};
use crate::layout::Layout;
use crate::parallel;
use crate::reference::{Tag, Target};
use crate::store::Store;
use crate::stream::Run;

/// What came of a plan.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Applied {
    /// The tags that are gone now.
    pub deleted: Vec<String>,
    /// The tags that were gone already.
    pub gone: Vec<String>,
    /// The tags that are left.
    pub left: Vec<Left>,
    /// Signatures, lists and other referrers that went with their subjects.
    pub with: usize,
    /// The tags that were asked for afterwards.
    pub kept: usize,
    /// What is wrong with what they name.
    pub wrong: Vec<Finding>,
}

/// A tag that was to go, and is left.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Left {
    /// The tag.
    pub tag: String,
    /// Why.
    pub reason: String,
}

/// Deletes what `plan` says, of the store that it was made for. A tag that points
/// elsewhere now is left. With `backup` the manifests of all that goes are stored
/// there first, under their tags. Afterwards everything that is left is looked for
/// once more.
///
/// # Errors
/// Those of [`RepoPlan::must_be_of`]; the store's refusal to delete
/// anything; those of the store and of the backup, which leave the rest undone.
pub fn apply(
    store: &dyn Store,
    plan: &RepoPlan,
    backup: Option<&Layout>,
    run: Run<'_>,
) -> Result<Applied> {
    plan.must_be_of(store)?;
    let mut work = Work {
        store,
        plan,
        run,
        done: Applied::default(),
        kept: None,
        untags: true,
        gone: HashSet::new(),
    };
    let due = work.due()?;
    if let Some(backup) = backup {
        work.back_up(&due, backup)?;
    }
    work.delete(due)?;
    work.with()?;
    work.check()?;
    Ok(work.done)
}

fn moved(to: &Digest) -> String {
    format!("it moved to {to} since the plan was made")
}

struct Work<'a> {
    store: &'a dyn Store,
    plan: &'a RepoPlan,
    run: Run<'a>,
    done: Applied,
    /// What must stay, once that was needed.
    kept: Option<HashMap<Digest, Reached>>,
    /// Whether the store can remove one tag, as far as is known.
    untags: bool,
    /// Digests that were deleted as manifests.
    gone: HashSet<Digest>,
}

impl Work<'_> {
    /// The tags that are still what the plan says.
    fn due(&mut self) -> Result<Vec<(Tag, Digest)>> {
        let (run, stop) = (self.run, self.run.watch.stop);
        let heads = parallel::map(
            run.jobs,
            self.plan.delete.iter().collect(),
            stop,
            |one, _| {
                let tag: Tag = one.tag.parse()?;
                let head = self.store.head(&Target::Tag(tag.clone()))?;
                Ok((tag, one.digest, head.map(|head| head.digest)))
            },
        )?;
        let mut due = Vec::new();
        for (tag, digest, found) in heads {
            match found {
                None => self.done.gone.push(tag.to_string()),
                Some(found) if found == digest => due.push((tag, digest)),
                Some(found) => self.leave(&tag, moved(&found)),
            }
        }
        Ok(due)
    }

    fn leave(&mut self, tag: &Tag, reason: String) {
        let tag = tag.to_string();
        self.done.left.push(Left { tag, reason });
    }

    /// Stores the manifests that will be deleted, without their blobs.
    fn back_up(&self, due: &[(Tag, Digest)], backup: &Layout) -> Result<()> {
        let source = Source::new(self.store, Vec::new());
        for (tag, digest) in due {
            self.keep(&source, digest, Some(tag), backup)?;
        }
        for one in self.owned() {
            let tag = one.tag.as_deref().map(str::parse).transpose()?;
            self.keep(&source, &one.digest, tag.as_ref(), backup)?;
        }
        Ok(())
    }

    fn keep(
        &self,
        source: &Source<'_>,
        digest: &Digest,
        tag: Option<&Tag>,
        backup: &Layout,
    ) -> Result<()> {
        // An earlier run that was interrupted may have deleted it.
        if self.store.head(&Target::Digest(*digest))?.is_none() {
            return Ok(());
        }
        let below = mark(source, [Descriptor::new("", *digest, 0)], self.run)?;
        for (digest, _) in below.iter().filter(|(_, reached)| reached.is_manifest) {
            let by_digest = Target::Digest(*digest);
            if let Some(manifest) = if_found(self.store.manifest(&by_digest))? {
                backup.put_alone(&manifest, &by_digest)?;
            }
        }
        if let Some(tag) = tag {
            let manifest = self.store.manifest(&Target::Digest(*digest))?;
            backup.put_alone(&manifest, &Target::Tag(tag.clone()))?;
        }
        Ok(())
    }

    fn delete(&mut self, due: Vec<(Tag, Digest)>) -> Result<()> {
        if let Some(found) = self.store.untag_all(&due)? {
            for ((tag, digest), found) in due.into_iter().zip(found) {
                match found.filter(|found| *found != digest) {
                    Some(found) => self.leave(&tag, moved(&found)),
                    // Of one that is gone, another prune was faster.
                    None => self.done.deleted.push(tag.to_string()),
                }
            }
            return Ok(());
        }
        for (tag, digest) in due {
            self.run.watch.stop.check()?;
            if self.gone.contains(&digest) {
                // It went with another tag of the same manifest.
                self.done.deleted.push(tag.to_string());
                continue;
            }
            match self.delete_one(&tag, &digest)? {
                None => self.done.deleted.push(tag.to_string()),
                Some(reason) => self.leave(&tag, reason),
            }
        }
        Ok(())
    }

    /// Deletes a tag, or says why it is left.
    fn delete_one(&mut self, tag: &Tag, digest: &Digest) -> Result<Option<String>> {
        let target = Target::Tag(tag.clone());
        // A backup and many deletes take minutes, in which tags move.
        match self.store.head(&target)? {
            Some(found) if found.digest != *digest => return Ok(Some(moved(&found.digest))),
            _ => {}
        }
        if self.untags {
            match self.store.untag(tag) {
                Ok(()) => return Ok(None),
                Err(error) if cannot_untag(self.store, &target, &error) => self.untags = false,
                // Another prune was faster.
                Err(error) if error.is_not_found() => return Ok(None),
                Err(error) => return Err(error),
            }
        }
        if self.must_stay(digest)? {
            return Ok(Some(format!(
                "the registry deletes only whole manifests, and a kept alias needs {digest}"
            )));
        }
        match self.store.delete_manifest(digest) {
            Err(error) if !error.is_not_found() => return Err(error),
            _ => {}
        }
        self.gone.insert(*digest);
        Ok(None)
    }

    /// Whether a tag that stays reaches a manifest, as the tags are now.
    fn must_stay(&mut self, digest: &Digest) -> Result<bool> {
        if self.kept.is_none() {
            self.kept = Some(self.kept_now()?);
        }
        Ok(self
            .kept
            .as_ref()
            .is_some_and(|kept| kept.contains_key(digest)))
    }

    fn kept_now(&self) -> Result<HashMap<Digest, Reached>> {
        let planned = self.plan.delete.iter();
        let planned: HashMap<&str, Digest> =
            planned.map(|one| (one.tag.as_str(), one.digest)).collect();
        let belongs = self.plan.with.iter().filter_map(|one| one.tag.as_deref());
        let belongs: HashSet<&str> = belongs.collect();
        let tags = self.store.tags().collect::<Result<Vec<Tag>>>()?;
        let heads = parallel::map(self.run.jobs, tags, self.run.watch.stop, |tag, _| {
            let head = self.store.head(&Target::Tag(tag.clone()))?;
            Ok(head.map(|head| (tag, head)))
        })?;
        let heads = heads.into_iter().flatten();
        let stays = |tag: &Tag, digest: &Digest| {
            planned.get(tag.as_str()) != Some(digest) && !belongs.contains(tag.as_str())
        };
        let stay = heads.filter(|(tag, head)| stays(tag, &head.digest));
        let (related, roots): (Vec<_>, Vec<_>) = stay.partition(|(tag, _)| is_related(tag));
        // A tag made of a digest is a root here: what it keeps is little.
        let all = roots.iter().chain(&related).map(|(_, head)| head.clone());
        let all: Vec<Descriptor> = all.collect();
        let source = Source::new(self.store, related);
        mark(&source, all, self.run)
    }

    /// What belongs to manifests of which no tag is left.
    fn owned(&self) -> Vec<&Belonging> {
        let left: HashSet<&str> = self.done.left.iter().map(|one| one.tag.as_str()).collect();
        let left = self
            .plan
            .delete
            .iter()
            .filter(|one| left.contains(one.tag.as_str()));
        let left: HashSet<Digest> = left.map(|one| one.digest).collect();
        let with = self.plan.with.iter();
        with.filter(|one| one.of.iter().all(|digest| !left.contains(digest)))
            .collect()
    }

    /// Deletes what belonged to what is gone.
    fn with(&mut self) -> Result<()> {
        let mut owned: Vec<Belonging> = self.owned().into_iter().cloned().collect();
        let tagged = owned.iter().filter_map(|one| {
            let tag = one.tag.as_deref()?.parse::<Tag>();
            Some(tag.map(|tag| (tag, one.digest)))
        });
        let tagged = tagged.collect::<Result<Vec<_>>>()?;
        if let Some(found) = self.store.untag_all(&tagged)? {
            let done = tagged.iter().zip(found);
            let done = done.filter(|((_, digest), found)| found.as_ref() == Some(digest));
            self.done.with += done.count();
            // Where tags are removed, manifests are the store's to collect.
            return Ok(());
        }
        // Lists before their entries: a registry client that deletes an entry
        // updates the list, which then is no longer what the plan says.
        owned.sort_by_key(|one| one.tag.is_none());
        for one in owned {
            self.run.watch.stop.check()?;
            let done = match &one.tag {
                Some(tag) => {
                    let tag: Tag = tag.parse()?;
                    let target = Target::Tag(tag.clone());
                    let found = self.store.head(&target)?.map(|head| head.digest);
                    found == Some(one.digest) && self.delete_one(&tag, &one.digest)?.is_none()
                }
                // Where tags are removed, manifests are the registry's to collect.
                None if self.untags => false,
                None if self.must_stay(&one.digest)? => false,
                None => if_found(self.store.delete_manifest(&one.digest))?.is_some(),
            };
            self.done.with += usize::from(done);
        }
        Ok(())
    }

    /// Looks for everything that is left.
    fn check(&mut self) -> Result<()> {
        let kept = self.plan.keep.iter().chain(&self.plan.unknown);
        let mut kept: Vec<Target> = kept.map(|one| one.tag.parse()).collect::<Result<_>>()?;
        let left = self.done.left.iter().map(|one| one.tag.parse());
        kept.extend(left.collect::<Result<Vec<Target>>>()?);
        let heads = parallel::map(self.run.jobs, kept, self.run.watch.stop, |target, _| {
            self.store.head(&target)
        })?;
        // One without was deleted by another meanwhile.
        let mut roots: Vec<Descriptor> = heads.into_iter().flatten().collect();
        self.done.kept = roots.len();
        let mut seen = HashSet::new();
        roots.retain(|root| seen.insert(root.digest));
        self.done.wrong = wrong(self.store, roots, self.run)?;
        Ok(())
    }
}
