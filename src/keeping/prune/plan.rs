//! What is going to be deleted, and why: a document.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::choose::{Aged, HELD, NOT_NAMED, Verdict, held, within};
use super::rules::{MaxDelete, Rules};
use super::source::{Source, is_related};
use crate::bounds;
use crate::cache::Cache;
use crate::descriptor::Descriptor;
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::graph::mark::{Reached, mark};
use crate::inventory::{Describer, Documents, Tagged};
use crate::parallel;
use crate::reference::{Tag, Target};
use crate::store::ReadStore;
use crate::stream::Run;

/// What a plan's document says it is.
const FORMAT: &str = "dxf prune-aliases 1";
/// The largest document that is read, bytes: some hundred thousand tags.
pub(super) const MAX_SIZE: u64 = bounds::PLAN;
/// Ages before this are those of reproducible builds: 1970 and 1980.
const FIRST_SECOND: i64 = 347_155_200;

/// Plans for repositories, as a file has them.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Plan {
    plan: String,
    /// One for each repository.
    pub repositories: Vec<RepoPlan>,
}

/// What goes from one repository.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct RepoPlan {
    /// The repository with its registry or folder: a plan is for no other.
    pub store: String,
    /// The repository's name there.
    pub repository: String,
    /// How many tags there were.
    pub tags: usize,
    /// The tags that go.
    pub delete: Vec<Planned>,
    /// What belongs to their manifests and goes with them.
    pub with: Vec<Belonging>,
    /// The tags that stay.
    pub keep: Vec<Planned>,
    /// The tags that stay because their age is unknown.
    pub unknown: Vec<Planned>,
    /// The bytes that nothing reaches any more when all is deleted.
    pub bytes: u64,
}

impl RepoPlan {
    /// Fails unless the plan was made for `store`.
    ///
    /// # Errors
    /// [`Error::Invalid`] that names both stores.
    pub fn must_be_of(&self, store: &dyn ReadStore) -> Result<()> {
        let name = store.name();
        if self.store == name {
            return Ok(());
        }
        let why = format!("it was made for {}, and this is {name}", self.store);
        Err(Error::invalid("plan", &self.repository, why))
    }

    /// How many tags stay only because one run deletes no more.
    pub fn held(&self) -> usize {
        let held = |one: &&Planned| one.reason.starts_with(HELD);
        self.keep.iter().filter(held).count()
    }

    /// Whether the rules are about names, and no tag has one of these.
    pub fn names_none(&self) -> bool {
        let others = self.delete.len() + self.unknown.len();
        let is_other = |one: &Planned| one.reason == NOT_NAMED;
        others == 0 && !self.keep.is_empty() && self.keep.iter().all(is_other)
    }

    /// How many of the tags that go have the manifest of one that stays.
    pub fn shared(&self) -> usize {
        let kept = self.keep.iter().chain(&self.unknown);
        let kept: HashSet<Digest> = kept.map(|one| one.digest).collect();
        let shared = self.delete.iter();
        shared.filter(|one| kept.contains(&one.digest)).count()
    }
}

/// A tag, and why it goes or stays.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Planned {
    /// The tag.
    pub tag: String,
    /// The digest of its manifest.
    pub digest: Digest,
    /// When it was made, seconds since 1970, where that is known.
    pub created: Option<i64>,
    /// Why.
    pub reason: String,
}

/// A signature, a list of referrers or another referrer of a deleted image.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Belonging {
    /// The manifests that must be gone first.
    pub of: Vec<Digest>,
    /// Its tag; without one it is deleted by its digest.
    pub tag: Option<String>,
    /// The digest of its manifest.
    pub digest: Digest,
}

impl Plan {
    /// Plans as one document.
    pub fn new(repositories: Vec<RepoPlan>) -> Plan {
        let plan = FORMAT.to_string();
        Plan { plan, repositories }
    }

    /// The document as JSON, a line an entry.
    ///
    /// # Errors
    /// None that a plan could cause.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let text = serde_json::to_string_pretty(self);
        let text = text.map_err(|e| Error::malformed("plan", e))?;
        Ok((text + "\n").into_bytes())
    }

    /// Reads the document `what`.
    ///
    /// # Errors
    /// [`Error::Malformed`] for something that is not a plan; [`Error::Unsupported`] for one of
    /// another version.
    pub fn parse(what: &str, bytes: &[u8]) -> Result<Plan> {
        if bytes.len() as u64 > MAX_SIZE {
            return Err(Error::malformed(
                what,
                format!("it is larger than {MAX_SIZE} bytes"),
            ));
        }
        let plan: Plan = serde_json::from_slice(bytes).map_err(|e| Error::malformed(what, e))?;
        match plan.plan == FORMAT {
            true => Ok(plan),
            false => Err(Error::Unsupported {
                what: format!("{what}: a plan of another version; make it again with --plan"),
            }),
        }
    }
}

/// A repository, and the name that its plan gets.
#[derive(Clone, Copy)]
pub struct Repo<'a> {
    /// Where its manifests are.
    pub store: &'a dyn ReadStore,
    /// What it is called in `DXF_HOST`.
    pub name: &'a str,
}

/// Reads the tags of `repo` and applies `rules` to them. Nothing is changed.
/// Manifests and configs that are in `cache` cost no request.
///
/// # Errors
/// Those of the store and of [`Rules::check`]; [`Error::Malformed`] for a manifest
/// that can't be read, because it may name anything.
pub fn plan(repo: Repo<'_>, rules: &Rules, cache: Option<Cache>, run: Run<'_>) -> Result<RepoPlan> {
    rules.check()?;
    let store = repo.store;
    let documents = Documents::new(store, cache).noting();
    let tags = store.tags().collect::<Result<Vec<Tag>>>()?;
    let (related, tags): (Vec<Tag>, Vec<Tag>) = tags.into_iter().partition(is_related);
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    let described = Describer::new(&documents, run).each(tags)?;
    let found = described.iter().filter_map(|one| one.found.as_ref().ok());
    let sizes: HashMap<Digest, u64> = found
        .map(|found| (found.manifest.digest, found.manifest.size))
        .collect();
    let mut aged = Vec::new();
    for tagged in described {
        aged.extend(age(tagged, rules, now)?);
    }
    let verdicts = rules.choose(&aged, now)?;
    let heads = parallel::map(run.jobs, related, run.watch.stop, |tag, _| {
        let head = store.head(&Target::Tag(tag.clone()))?;
        Ok(head.map(|head| (tag, head)))
    })?;
    let related: Vec<(Tag, Descriptor)> = heads.into_iter().flatten().collect();
    let mut plan = RepoPlan {
        store: store.name(),
        repository: repo.name.to_string(),
        tags: aged.len(),
        ..RepoPlan::default()
    };
    for (aged, verdict) in aged.into_iter().zip(verdicts) {
        let planned = Planned {
            reason: verdict.reason().to_string(),
            tag: aged.tag,
            digest: aged.digest,
            created: aged.created,
        };
        match verdict {
            Verdict::Delete(_) => plan.delete.push(planned),
            Verdict::Unknown => plan.unknown.push(planned),
            Verdict::Keep(_) => plan.keep.push(planned),
        }
    }
    let source = Source::new(&documents, related.clone()).with_known(documents.take_noted());
    fill(&mut plan, &sizes, &source, &related, run)?;
    Ok(plan)
}

/// Whether each of the tags is deleted, and why or why not.
fn gone_verdicts(
    tags: &[(Tag, Descriptor)],
    gone: &dyn Fn(&Tag) -> bool,
    most: usize,
) -> Vec<(bool, String)> {
    let digests: Vec<Digest> = tags.iter().map(|(_, head)| head.digest).collect();
    let all: Vec<usize> = (0..tags.len()).filter(|at| gone(&tags[*at].0)).collect();
    let chosen = within(&digests, &all, most);
    let mut verdicts = vec![(false, String::new()); tags.len()];
    for at in all {
        verdicts[at] = match chosen.contains(&at) {
            true => (true, "the source has no such alias".into()),
            false => (false, held(most)),
        };
    }
    verdicts
}

/// A plan to delete the tags that are `gone` from where `repo` follows, no more of
/// them than `most` says, and never all.
///
/// # Errors
/// As [`plan`].
pub fn plan_deletion(
    repo: Repo<'_>,
    gone: &dyn Fn(&Tag) -> bool,
    most: MaxDelete,
    run: Run<'_>,
) -> Result<RepoPlan> {
    let store = repo.store;
    let tags = store.tags().collect::<Result<Vec<Tag>>>()?;
    let heads = parallel::map(run.jobs, tags, run.watch.stop, |tag, _| {
        let head = store.head(&Target::Tag(tag.clone()))?;
        Ok(head.map(|head| (tag, head)))
    })?;
    let heads = heads.into_iter().flatten();
    let (related, tags): (Vec<_>, Vec<_>) = heads.partition(|(tag, _)| is_related(tag));
    let mut plan = RepoPlan {
        store: store.name(),
        repository: repo.name.to_string(),
        tags: tags.len(),
        ..RepoPlan::default()
    };
    let most = most.of(tags.len()).min(tags.len().saturating_sub(1));
    let sizes = tags
        .iter()
        .map(|(_, head)| (head.digest, head.size))
        .collect();
    let verdicts = gone_verdicts(&tags, gone, most);
    for ((tag, head), (is_deleted, reason)) in tags.into_iter().zip(verdicts) {
        let (tag, digest) = (tag.to_string(), head.digest);
        let planned = Planned {
            tag,
            digest,
            created: None,
            reason,
        };
        match is_deleted {
            true => plan.delete.push(planned),
            false => plan.keep.push(planned),
        }
    }
    let source = Source::new(store, related.clone());
    fill(&mut plan, &sizes, &source, &related, run)?;
    Ok(plan)
}

/// What the rules need to know of a tag; `None` when it vanished.
fn age(tagged: Tagged, rules: &Rules, now: i64) -> Result<Option<Aged>> {
    let tag = tagged.tag.to_string();
    let (digest, found) = match (tagged.digest, tagged.found) {
        (None, Err(error)) if error.is_not_found() => return Ok(None),
        (Some(digest), Ok(found)) => (digest, found),
        (_, Err(error)) => {
            let why = format!("{error}; what it names is unknown, so nothing was deleted");
            return Err(Error::malformed(format!("alias {tag}"), why));
        }
        (None, Ok(_)) => return Ok(None),
    };
    let believable = |seconds: &i64| (FIRST_SECOND..=now).contains(seconds);
    let written = rules.date_in(&tag).filter(believable);
    let made = found.created.as_ref().map(|time| time.unix_seconds());
    Ok(Some(Aged::new(tag, digest, written.or(made))))
}

/// Adds what is deleted with the tags, and the bytes that become free; `sizes` are those
/// of the tags' manifests.
fn fill(
    plan: &mut RepoPlan,
    sizes: &HashMap<Digest, u64>,
    source: &Source<'_>,
    related: &[(Tag, Descriptor)],
    run: Run<'_>,
) -> Result<()> {
    let size = |digest: &Digest| sizes.get(digest).copied().unwrap_or_default();
    let roots = |planned: &mut dyn Iterator<Item = &Planned>| -> Vec<Descriptor> {
        let digests: HashSet<Digest> = planned.map(|one| one.digest).collect();
        let root = |digest: Digest| Descriptor::new("", digest, size(&digest));
        digests.into_iter().map(root).collect()
    };
    let stay = roots(&mut plan.keep.iter().chain(&plan.unknown));
    let go = roots(&mut plan.delete.iter());
    let left = mark(source, go.iter().cloned(), run)?;
    let mut kept = mark(source, stay.iter().cloned(), run)?;
    // Tags made of the digest of something that is elsewhere are kept.
    let mut owned = HashSet::new();
    let all = left.iter().chain(&kept);
    for (digest, _) in all.filter(|(_, reached)| reached.is_manifest) {
        owned.extend(source.belongings(digest)?.into_iter().map(|(tag, _)| tag));
    }
    let lone = related.iter().filter(|(tag, _)| !owned.contains(tag));
    let lone: Vec<Descriptor> = lone.map(|(_, manifest)| manifest.clone()).collect();
    if !lone.is_empty() {
        drop(kept);
        kept = mark(source, stay.into_iter().chain(lone), run)?;
    }
    let free = left
        .iter()
        .filter(|(digest, _)| !kept.contains_key(*digest));
    plan.bytes = free
        .map(|(_, reached)| reached.size)
        .fold(0, u64::saturating_add);
    plan.with = belongings(source, &go, &kept, run)?;
    Ok(())
}

/// What belongs to the manifests that nothing reaches any more, with the manifests
/// of the tags that lead there.
fn belongings(
    source: &Source<'_>,
    go: &[Descriptor],
    kept: &HashMap<Digest, Reached>,
    run: Run<'_>,
) -> Result<Vec<Belonging>> {
    let roots: HashSet<Digest> = go.iter().map(|root| root.digest).collect();
    let mut found: BTreeMap<(Option<String>, Digest), Vec<Digest>> = BTreeMap::new();
    let mut ordered: Vec<Digest> = roots.iter().copied().collect();
    ordered.sort();
    for root in ordered {
        if kept.contains_key(&root) {
            continue;
        }
        let below = mark(source, [Descriptor::new("", root, 0)], run)?;
        for (digest, reached) in below {
            if !reached.is_manifest || kept.contains_key(&digest) {
                continue;
            }
            for (tag, manifest) in source.belongings(&digest)? {
                let key = (Some(tag.to_string()), manifest.digest);
                found.entry(key).or_default().push(root);
            }
            for referrer in source.referrers(&digest)? {
                let gone = !kept.contains_key(&referrer.digest);
                if gone && !roots.contains(&referrer.digest) {
                    found.entry((None, referrer.digest)).or_default().push(root);
                }
            }
        }
    }
    let found = found
        .into_iter()
        .map(|((tag, digest), of)| Belonging { of, tag, digest });
    Ok(found.collect())
}
