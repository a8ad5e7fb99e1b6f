//! What belongs to manifests without being below them: signatures, bills of
//! materials and other referrers, and the referrers of these; and what cosign keeps
//! under tags made of a digest (`sha256-<hex>.sig`, `.att`, `.sbom`).

use std::collections::{BTreeMap, HashSet};
use std::sync::OnceLock;

use super::Remote;
use crate::bounds;
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::image::{Child, Index, Node};
use crate::manifest::{ReferrersList, Select};
use crate::parallel;
use crate::reference::{Tag, Target};
use crate::store::ReadStore;
use crate::stream::Run;

/// More than any image has, beside it or one about the other.
const MAX_RELATED: usize = bounds::REFERRERS;
/// What cosign appends to the tag that it makes of a digest.
const COSIGN: [&str; 3] = ["sig", "att", "sbom"];

/// Something that belongs to a manifest.
pub struct Related {
    /// What it is called: its digest, or the tag that cosign made for it.
    pub target: Target,
    /// What it is.
    pub node: Node,
}

/// What was met while related manifests were looked for.
pub(super) struct Seen {
    all: HashSet<Target>,
    /// How many of them were found to belong to others.
    found: usize,
}

impl Seen {
    /// The manifests that are begun with.
    pub fn new(subjects: &[Digest]) -> Seen {
        Seen {
            all: subjects.iter().copied().map(Target::Digest).collect(),
            found: 0,
        }
    }

    /// Notes a manifest, and says whether it is new.
    pub fn insert(&mut self, digest: Digest) -> bool {
        self.all.insert(Target::Digest(digest))
    }

    /// Notes something that belongs to a manifest, and says whether it is new.
    pub fn find(&mut self, target: &Target) -> bool {
        let is_new = self.all.insert(target.clone());
        self.found += usize::from(is_new);
        is_new
    }
}

impl Remote {
    /// Hands everything that belongs to a node's manifests to `each`, those
    /// first that others belong to.
    ///
    /// # Errors
    /// Those of the store and of `each`; [`Error::Malformed`] when there is no
    /// end of it.
    pub fn related(
        &self,
        node: &Node,
        run: Run<'_>,
        each: &mut dyn FnMut(Related) -> Result<()>,
    ) -> Result<()> {
        let mut subjects = digests(node);
        let mut seen = Seen::new(&subjects);
        while !subjects.is_empty() {
            let found = self.about_each(subjects, &mut seen, run)?;
            subjects = Vec::new();
            for (_, target) in found {
                let node = match self.pull(&target, Select::All, run) {
                    Ok(node) => node,
                    // Lists that clients keep outlive what they list.
                    Err(error) if error.is_not_found() => continue,
                    Err(error) => return Err(error),
                };
                let below = digests(&node).into_iter();
                subjects.extend(below.filter(|digest| {
                    let is_itself = target == Target::Digest(*digest);
                    seen.insert(*digest) || is_itself
                }));
                each(Related { target, node })?;
            }
        }
        Ok(())
    }

    /// How many referrers and cosign tags one manifest has, without theirs. An
    /// image without a signature is not asked about cosign's other tags.
    ///
    /// # Errors
    /// Those of the store.
    pub fn count_related(&self, subject: &Digest, run: Run<'_>) -> Result<usize> {
        let [signature, others @ ..] = cosign_tags(subject)?;
        let count = |questions: Vec<Option<Tag>>| -> Result<usize> {
            let found = parallel::map(run.jobs, questions, run.watch.stop, |tag, _| match tag {
                None => Ok(self.store().referrers(subject)?.len()),
                Some(tag) => Ok(usize::from(self.store().head(&Target::Tag(tag))?.is_some())),
            })?;
            Ok(found.into_iter().sum())
        };
        match count(vec![None, Some(signature)])? {
            0 => Ok(0),
            found => Ok(found + count(others.map(Some).to_vec())?),
        }
    }

    /// What belongs to each of `subjects` and was not `seen` before, with its
    /// subject, in order.
    pub(super) fn about_each(
        &self,
        subjects: Vec<Digest>,
        seen: &mut Seen,
        run: Run<'_>,
    ) -> Result<Vec<(Digest, Target)>> {
        let tags = self.listed().and_then(|listed| listed.of(self.store()));
        let may_be = |tag: &Tag| tags.is_none_or(|tags| tags.contains(tag));
        let mut questions = Vec::new();
        for subject in subjects {
            questions.push((subject, None));
            let tags = cosign_tags(&subject)?.into_iter().filter(may_be);
            questions.extend(tags.map(|tag| (subject, Some(tag))));
        }
        let found = parallel::map(run.jobs, questions, run.watch.stop, |(subject, tag), _| {
            let targets = match tag {
                None => {
                    let listed = self.store().referrers_among(&subject, &may_be)?.into_iter();
                    listed.map(|one| Target::Digest(one.digest)).collect()
                }
                Some(tag) => {
                    let target = Target::Tag(tag);
                    let found = self.store().head(&target)?.map(|_| target);
                    Vec::from_iter(found)
                }
            };
            let targets = targets.into_iter();
            Ok(targets.map(|one| (subject, one)).collect::<Vec<_>>())
        })?;
        let mut found: Vec<(Digest, Target)> = found.into_iter().flatten().collect();
        found.retain(|(_, target)| seen.find(target));
        match seen.found > MAX_RELATED {
            false => Ok(found),
            true => {
                let why = format!("there are more than {MAX_RELATED} of them");
                Err(Error::malformed("lists of referrers", why))
            }
        }
    }
}

/// The tags of a store, listed when they are first needed.
#[derive(Default)]
pub(super) struct Listed(OnceLock<Option<HashSet<Tag>>>);

impl Listed {
    /// Tags that were listed already.
    pub fn known(tags: HashSet<Tag>) -> Listed {
        Listed(OnceLock::from(Some(tags)))
    }

    /// The tags; `None` where a registry does not list them.
    fn of(&self, store: &dyn ReadStore) -> Option<&HashSet<Tag>> {
        let tags = || store.tags().collect::<Result<_>>().ok();
        self.0.get_or_init(tags).as_ref()
    }
}

/// The tags under which cosign keeps what belongs to a manifest.
fn cosign_tags(subject: &Digest) -> Result<[Tag; 3]> {
    let stem = list_tag(subject);
    let tag = |suffix: &str| format!("{stem}.{suffix}").parse();
    let [signature, attestations, sbom] = COSIGN;
    Ok([tag(signature)?, tag(attestations)?, tag(sbom)?])
}

/// The tag under which clients keep the list of a manifest's referrers where
/// the registry keeps none (distribution-spec, "Referrers Tag Schema").
pub(crate) fn list_tag(subject: &Digest) -> String {
    // No longer than a tag may be, with cosign's suffix.
    format!("{}-{:.64}", subject.algorithm(), subject.hex())
}

/// Whether a tag is one for a list of referrers, which is the business of the code that puts
/// referrers to keep, not to copy: another repository has its own.
pub fn is_referrers_tag(tag: &str) -> bool {
    let hex = ["sha256-", "sha512-"]
        .iter()
        .find_map(|lead| tag.strip_prefix(lead));
    hex.is_some_and(|hex| hex.len() == 64 && hex.bytes().all(|b| b.is_ascii_hexdigit()))
}

/// The lists of `referrers`, one for each of their subjects, under the tags where
/// clients such as regctl look for them. Nodes without a subject are in none.
///
/// # Errors
/// [`Error::Malformed`] for a referrer whose manifest can't be described.
pub fn referrers_lists(referrers: &[Node]) -> Result<Vec<(Tag, Node)>> {
    let mut by_subject: BTreeMap<Digest, (ReferrersList, Vec<Child>)> = BTreeMap::new();
    for node in referrers {
        let Ok(Some(subject)) = node.manifest().subject() else {
            continue;
        };
        let descriptor = node.manifest().referrer()?;
        let empty = || (ReferrersList::new(), Vec::new());
        let (list, children) = by_subject.entry(subject.digest).or_insert_with(empty);
        if list.add(&descriptor) {
            let node = node.clone();
            children.push(Child { descriptor, node });
        }
    }
    let lists = by_subject.into_iter().map(|(subject, (list, children))| {
        let index = Index::new(list.into_manifest()?, children)?;
        Ok((ReferrersList::tag(&subject)?, Node::Index(index)))
    });
    lists.collect()
}

/// Whether a tag is made of a digest, for what belongs to the manifest with that
/// digest: a list of referrers, or one of cosign's.
pub fn is_related_tag(tag: &str) -> bool {
    related_stem(tag).is_some()
}

/// Of a tag that is made of a digest the part that names it, as
/// [`list_tag`] writes it.
pub(crate) fn related_stem(tag: &str) -> Option<&str> {
    let stem = COSIGN.iter().find_map(|suffix| {
        let stem = tag.strip_suffix(suffix)?;
        stem.strip_suffix('.')
    });
    Some(stem.unwrap_or(tag)).filter(|stem| is_referrers_tag(stem))
}

/// The digests of a node's manifests, its own first.
fn digests(node: &Node) -> Vec<Digest> {
    fn below(node: &Node, to: &mut Vec<Digest>) {
        if let Node::Index(index) = node {
            for child in index.children() {
                to.push(child.descriptor.digest);
                below(&child.node, to);
            }
        }
    }
    let mut found = vec![node.manifest().digest()];
    below(node, &mut found);
    let mut seen = HashSet::new();
    found.retain(|digest| seen.insert(*digest));
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subjects_and_what_is_below_are_none_of_what_belongs_to_them() {
        let [subject, below, about] = [b"1", b"2", b"3"].map(|bytes| Digest::of(bytes));
        let mut seen = Seen::new(&[subject]);
        assert!(seen.insert(below) && !seen.insert(subject));
        assert!(!seen.find(&Target::Digest(subject)));
        assert!(seen.find(&Target::Digest(about)) && !seen.find(&Target::Digest(about)));
        assert_eq!(seen.found, 1);
    }
}
