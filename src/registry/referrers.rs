//! Referrers: the manifests that are about another one, such as its signatures
//! (distribution-spec v1.1, "Listing Referrers", "Referrers Tag Schema").
//!
//! A registry without that API (distribution, GitLab, GHCR) leaves the
//! list to its clients: an index under a tag made of the subject's digest, which
//! the client that pushes a referrer updates. Knows nothing of what the
//! referrers are for.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::File;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ::http::header::{ACCEPT, HeaderName};

use crate::bounds;
use crate::descriptor::{Descriptor, media_type};
use crate::digest::{Digest, Hasher};
use crate::error::{Error, Result};
use crate::file::{PRIVATE, make_folder, try_lock};
use crate::http::Request;
use crate::http::retry::Budget;
use crate::manifest::{Manifest, ReferrersList};
use crate::reference::{RepoName, Tag, Target};
use crate::registry::Repository;
use crate::registry::listing::Pages;
use crate::store::ReadStore;

/// The subject that the registry itself has listed a manifest under.
pub(super) const SUBJECT: HeaderName = HeaderName::from_static("oci-subject");

/// More referrers than any manifest has.
const MAX_REFERRERS: usize = bounds::REFERRERS_LISTED;
/// How often a list is written again because another writer undid the change.
const RETRIES: usize = 20;
/// How often a list is read again only because others change it.
const LOOKS: usize = 20;
/// How many looks in a row have to find a list unchanged once others changed it.
const CALM: usize = 2;
/// How many times a wait is doubled, at most, while others undo changes.
const DOUBLED: usize = 5;
/// How often a list is read again because its entity tag was not that any more.
const MAX_REFUSED: usize = 50;
/// How many times as long as a change took the list is left alone before it is
/// read again; the shortest such time once others changed it, and the longest.
const SETTLE: u32 = 3;
const MIN_SETTLE: Duration = Duration::from_millis(100);
const MAX_SETTLE: Duration = Duration::from_secs(2);
/// How old a list may be when a changed one is put in its place. Other writers read the
/// list again a few times as long after their change as it took, and not later.
const MAX_AGE: Duration = Duration::from_secs(1);
/// The longest wait for other processes of this machine, and between two looks.
const MAX_TURN: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(10);
/// How many subjects are remembered for manifests that may be deleted later.
const MAX_REMEMBERED: usize = 10_000;

/// How many answers in a row that its page does not exist mean that a registry has
/// no such API: one alone may be a proxy's.
const NO_API: usize = 16;

/// What the repositories of a registry share about referrers.
#[derive(Default)]
pub(super) struct Known {
    /// Held while a list is changed: threads of one process need not undo each
    /// other's changes.
    changing: Mutex<()>,
    /// The subjects of manifests that came by. Deleting one takes it from its
    /// subject's list, and asking for every manifest that is to be deleted
    /// whether it has a subject would cost all the others a request.
    subjects: Mutex<HashMap<(RepoName, Digest), Digest>>,
    /// How often a repository answered that the API's page does not exist; `None`
    /// once it answered anything else.
    missing: Mutex<HashMap<RepoName, Option<usize>>>,
}

impl Known {
    fn subjects(&self) -> MutexGuard<'_, HashMap<(RepoName, Digest), Digest>> {
        lock(&self.subjects)
    }

    fn has_no_api(&self, repository: &Repository) -> bool {
        let missing = lock(&self.missing);
        let count = missing.get(repository.repo_name()).copied().flatten();
        count.is_some_and(|count| count >= NO_API)
    }

    /// Notes an answer of the API, or `is_missing` that of a server without it. A
    /// registry's own 404, which is JSON, may be about the subject.
    fn answered(&self, repository: &Repository, is_missing: bool) {
        let mut all = lock(&self.missing);
        let name = repository.repo_name().clone();
        let count = all.entry(name).or_insert(Some(0));
        *count = count.filter(|_| is_missing).map(|count| count + 1);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing is half done while one of them is locked.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The descriptors of everything that is about `subject`, each once; `is_tag` says
/// which tags there may be.
pub(super) fn list(
    repository: &Repository,
    subject: &Digest,
    is_tag: &dyn Fn(&Tag) -> bool,
) -> Result<Vec<Descriptor>> {
    let mut found = match ask(repository, subject)? {
        Some(found) => found,
        None if !is_tag(&ReferrersList::tag(subject)?) => Vec::new(),
        None => match tagged(repository, &["pull"], subject)? {
            Tagged::List(list, _) => list.into_entries(),
            Tagged::Nothing | Tagged::Subject | Tagged::Other(_) => Vec::new(),
        },
    };
    let mut seen = HashSet::new();
    found.retain(|entry| seen.insert(entry.digest));
    Ok(found)
}

/// Keeps in mind what a manifest that came by is about.
pub(super) fn remember(repository: &Repository, manifest: &Manifest, target: &Target) {
    // One that names its subject badly is in no list.
    if let Ok(Some(subject)) = manifest.subject() {
        let key = (repository.repo_name().clone(), digest(manifest, target));
        let mut subjects = repository.known_referrers().subjects();
        if subjects.len() < MAX_REMEMBERED {
            subjects.insert(key, subject.digest);
        }
    }
}

/// Lists manifests that a registry took without listing them itself
/// (distribution-spec, "Pushing Manifests with Subject"); each list is written
/// once.
pub(super) fn added(repository: &Repository, manifests: &[(Digest, &Manifest)]) -> Result<()> {
    let mut by_subject: BTreeMap<Digest, Vec<Descriptor>> = BTreeMap::new();
    for (digest, manifest) in manifests {
        let Some(subject) = manifest.subject()? else {
            continue;
        };
        let mut entry = manifest.referrer()?;
        entry.digest = *digest;
        by_subject.entry(subject.digest).or_default().push(entry);
    }
    for (subject, entries) in by_subject {
        change(repository, &subject, &Change::Add(&entries))?;
    }
    Ok(())
}

/// Takes a manifest from a list that clients keep; whether it was in it.
pub(super) fn unlist(repository: &Repository, subject: &Digest, referrer: &Digest) -> Result<bool> {
    match ask(repository, subject)? {
        Some(_) => Ok(false),
        None => change(repository, subject, &Change::Remove(referrer)),
    }
}

/// Takes a manifest that was deleted from its subject's list, if it is known to
/// have one. It is gone whatever becomes of the list, so an error is reported and
/// not returned.
pub(super) fn deleted(repository: &Repository, digest: &Digest) {
    let key = (repository.repo_name().clone(), *digest);
    // In a statement of its own, so that the lock is released at once.
    let subject = repository.known_referrers().subjects().remove(&key);
    let Some(subject) = subject else {
        return;
    };
    if let Err(error) = unlist(repository, &subject, digest) {
        repository.warn(&format!(
            "{digest} is deleted and may still be listed as a referrer of {subject}: {error}"
        ));
    }
}

/// What a manifest is called by, when it was asked for or put as `target`.
pub(super) fn digest(manifest: &Manifest, target: &Target) -> Digest {
    match target {
        Target::Digest(digest) => *digest,
        Target::Tag(_) => manifest.digest(),
    }
}

/// What the registry's API says; `None` where it has none.
fn ask(repository: &Repository, subject: &Digest) -> Result<Option<Vec<Descriptor>>> {
    let known = repository.known_referrers();
    if known.has_no_api(repository) {
        return Ok(None);
    }
    let mut pages = Pages::new(repository.url(&format!("referrers/{subject}")));
    let mut found: Option<Vec<Descriptor>> = None;
    while let Some(url) = pages.take()? {
        let wrong = |why: &str| Error::malformed(format!("list at {url}"), why);
        let request = Request::new("GET", url.clone()).header(ACCEPT, media_type::OCI_INDEX);
        let ok: &[u16] = match found {
            None => &[200, 404, 405, 501],
            Some(_) => &[200],
        };
        let scope = repository.scope(&["pull"]);
        let registry = repository.registry();
        let answer = registry.read(&scope, &request, ok, bounds::MANIFEST)?;
        let is_json = answer
            .content_type()
            .is_some_and(|kind| kind.contains("json"));
        known.answered(repository, answer.status != 200 && !is_json);
        if answer.status != 200 {
            return Ok(None);
        }
        let list = ReferrersList::parse(subject, answer.content_type(), &answer.bytes)?;
        // Some front ends have a page of their own for every address.
        let list = match (list, &found) {
            (Some(list), _) => list,
            (None, None) => return Ok(None),
            (None, Some(_)) => return Err(wrong("one of its pages is not an index")),
        };
        pages.follow(&url, &answer.headers);
        let (found, list) = (found.get_or_insert_default(), list.into_entries());
        pages.count(&url, answer.bytes.len(), list.len())?;
        found.extend(list);
        if found.len() > MAX_REFERRERS {
            return Err(wrong("it is too long"));
        }
    }
    Ok(found)
}

/// What the tag under which clients keep a list points to.
enum Tagged {
    /// Nothing.
    Nothing,
    /// The subject: GitLab reads such a tag as the digest it is made of
    /// (oras-go#1396).
    Subject,
    /// Something of this type, which is not a list.
    Other(String),
    /// A list, and the entity tag that it has on the server, if it has one.
    List(ReferrersList, Option<String>),
}

fn tagged(repository: &Repository, actions: &[&str], subject: &Digest) -> Result<Tagged> {
    let target = Target::Tag(ReferrersList::tag(subject)?);
    let (manifest, etag) = match repository.manifest_with_etag(actions, &target) {
        Ok(found) => found,
        Err(error) if error.is_not_found() => return Ok(Tagged::Nothing),
        Err(error) => return Err(error),
    };
    let mut hasher = Hasher::like(subject);
    hasher.update(manifest.bytes());
    if hasher.finish() == *subject {
        return Ok(Tagged::Subject);
    }
    let media_type = manifest.media_type();
    Ok(
        match ReferrersList::parse(subject, Some(media_type), manifest.bytes())? {
            Some(list) => Tagged::List(list, etag),
            None => Tagged::Other(media_type.to_string()),
        },
    )
}

/// A change of a list that clients keep.
enum Change<'a> {
    Add(&'a [Descriptor]),
    Remove(&'a Digest),
}

impl Change<'_> {
    /// Makes the change, and says whether there was anything to change.
    fn apply(&self, list: &mut ReferrersList) -> bool {
        match self {
            Change::Add(entries) => {
                let added = entries.iter().filter(|entry| list.add(entry));
                added.count() > 0
            }
            Change::Remove(digest) => list.remove(digest),
        }
    }
}

/// Changes the list of `subject` until it is as it should be when read again:
/// between reading and writing it another client may have written its own list.
/// Processes of this machine take turns. A writer elsewhere that read the list
/// before this change has written it soon after, so the list is read again only
/// after a few times as long as the slowest round took. Once others were seen to
/// change it, it has to be the same in [`CALM`] looks in a row: each of them may undo what
/// another wrote, and be slower than this one. No list is put that was read long before:
/// not after a slow answer, and not a second time after a PUT that failed.
/// The specification obliges no registry to honour `If-Match`, which the PUT has where
/// the list came with an entity tag, so the gap is narrow and not closed.
///
/// Gives whether there was anything to change.
fn change(repository: &Repository, subject: &Digest, change: &Change<'_>) -> Result<bool> {
    let target = Target::Tag(ReferrersList::tag(subject)?);
    let mut writing = Writing {
        what: format!("{target} in {}, the list of referrers", repository.name()),
        repository,
        subject,
        change,
        target,
        budget: Budget::new(),
        refused: Refused::default(),
        is_old: false,
        seen: Seen::default(),
    };
    loop {
        match writing.round()? {
            Round::Done => return Ok(writing.seen.has_written),
            Round::Impossible => return Ok(false),
            Round::Again(Duration::ZERO) => {}
            Round::Again(wait) => repository.registry().settings().stop.wait(wait)?,
        }
    }
}

/// A list that is being changed.
struct Writing<'a> {
    repository: &'a Repository,
    subject: &'a Digest,
    change: &'a Change<'a>,
    target: Target,
    /// What errors call it.
    what: String,
    /// For PUTs that fail.
    budget: Budget,
    refused: Refused,
    /// Whether the last look took so long that what it found was not put.
    is_old: bool,
    seen: Seen,
}

/// How a look at the list ended, and the change of it where there was one to make.
enum Round {
    /// The change is made.
    Done,
    /// There is no list that could be changed.
    Impossible,
    /// The list is to be read again after this time.
    Again(Duration),
}

impl Writing<'_> {
    /// Reads the list, and writes it if the change is not in it.
    fn round(&mut self) -> Result<Round> {
        let _held = lock(&self.repository.known_referrers().changing);
        let _turn = turn(self.repository, self.subject)?;
        let begun = Instant::now();
        let (mut list, etag) = match tagged(self.repository, &["pull", "push"], self.subject)? {
            Tagged::List(list, etag) => (list, etag),
            Tagged::Nothing => (ReferrersList::new(), None),
            Tagged::Subject => {
                tell_unlisted(self.repository, self.subject, self.change);
                return Ok(Round::Impossible);
            }
            // The specification wants this left alone and reported.
            Tagged::Other(kind) => {
                let what = format!("{}, is {kind}, not a list", self.what);
                return Err(Error::Unsupported { what });
            }
        };
        let is_made = !self.change.apply(&mut list);
        self.seen.look(list.digests(), is_made);
        if is_made && self.seen.is_calm() {
            return Ok(Round::Done);
        }
        // Once: where every answer is that slow, the others wait longer, too.
        self.is_old = !is_made && !self.is_old && begun.elapsed() > MAX_AGE;
        if self.is_old || !is_made && !self.write(list, etag)? {
            return Ok(Round::Again(Duration::ZERO));
        }
        Ok(Round::Again(self.seen.wait(begun.elapsed(), is_made)))
    }

    /// Writes the list, unless it is not that which was read any more; whether it was
    /// written.
    fn write(&mut self, list: ReferrersList, etag: Option<String>) -> Result<bool> {
        if self.seen.writes > RETRIES || self.refused.count > MAX_REFUSED {
            return Err(Error::Busy {
                what: self.what.clone(),
                why: "other writers keep changing it; try again later".to_string(),
            });
        }
        let condition = etag.filter(|etag| self.refused.etag.as_ref() != Some(etag));
        let manifest = list.into_manifest()?;
        let sent = self
            .repository
            .send_list(&manifest, &self.target, condition.as_deref());
        match sent {
            Err(error) if error.status() == Some(412) && condition.is_some() => {
                self.refused.count += 1;
                self.refused.etag = condition;
                return Ok(false);
            }
            Err(error) => {
                // It may have arrived nevertheless, or arrive later.
                self.seen.has_written = true;
                self.seen.raced = true;
                let settings = self.repository.registry().settings();
                self.budget.again(settings, error)?;
                return Ok(false);
            }
            Ok(()) => {}
        }
        self.budget.progress();
        self.seen.has_written = true;
        self.seen.writes += 1;
        Ok(true)
    }
}

/// What one writer of a list has seen of it.
#[derive(Default)]
struct Seen {
    writes: usize,
    /// Whether it was written, or may have been.
    has_written: bool,
    /// How often it was read and had the change, after the first write.
    looks: usize,
    /// How many looks in a row found it as it was.
    same: usize,
    /// Whether others were seen to change it.
    raced: bool,
    /// What it contained, with the change.
    last: Vec<Digest>,
    /// How long the slowest round took.
    slowest: Duration,
}

impl Seen {
    /// Notes what the list contains with the change, and whether it had the change.
    fn look(&mut self, digests: Vec<Digest>, is_made: bool) {
        let is_same = std::mem::replace(&mut self.last, digests) == self.last && is_made;
        if !self.has_written {
            return;
        }
        self.looks += usize::from(is_made);
        self.raced |= !is_same;
        self.same = if is_same { self.same + 1 } else { 0 };
    }

    /// Whether others have finished with the list, as far as can be told.
    fn is_calm(&self) -> bool {
        let enough = if self.raced { CALM } else { 1 };
        !self.has_written || self.same >= enough || self.looks > LOOKS
    }

    /// How long to leave the list alone after a round that took so long, and which found
    /// the change in it or wrote it. It is another time for each of several writers.
    fn wait(&mut self, took: Duration, is_made: bool) -> Duration {
        self.slowest = self.slowest.max(took);
        let settle = self.slowest * SETTLE;
        let (least, spread) = match (self.raced, is_made) {
            (true, true) => (settle.max(MIN_SETTLE), 1),
            // Those that change a list at the same time would do so again.
            _ => (settle, (1 << self.writes.min(DOUBLED)) - 2),
        };
        (least + least.mul_f64(random() * f64::from(spread.max(0)))).min(MAX_SETTLE)
    }
}

/// A number from 0 to 1, another one each time.
fn random() -> f64 {
    RandomState::new().hash_one(()) as f64 / u64::MAX as f64
}

/// What became of conditional PUTs that were refused.
#[derive(Default)]
struct Refused {
    count: usize,
    /// The last entity tag. Where the list has it still, it is not that of the
    /// registry's own store, but of a cache in front of it, and no condition.
    etag: Option<String>,
}

/// Waits until no other process with the same folder for notes changes the list,
/// for a minute at most; `None` where there is no such folder, or files can't be
/// locked. There are few lock files, which stay, so unrelated lists may wait for
/// each other.
fn turn(repository: &Repository, subject: &Digest) -> Result<Option<File>> {
    let name = format!("{} {subject}", repository.name());
    let place = Digest::of(name.as_bytes()).hex();
    let Some(notes) = repository.registry().sessions() else {
        return Ok(None);
    };
    if make_folder(notes, PRIVATE).is_err() {
        return Ok(None);
    }
    // Beside the notes of uploads, of which old ones are removed.
    let path = notes.with_file_name(format!("referrers-{place:.1}.lock"));
    let begun = Instant::now();
    while begun.elapsed() < MAX_TURN {
        match try_lock(&path) {
            Ok(None) => repository.registry().settings().stop.wait(POLL)?,
            Ok(held) => return Ok(held),
            // Another user's, for instance.
            Err(_) => return Ok(None),
        }
    }
    Ok(None)
}

fn tell_unlisted(repository: &Repository, subject: &Digest, change: &Change<'_>) {
    if matches!(change, Change::Add(_)) {
        repository.warn(&format!(
            "{} has no API for referrers and can't hold a list of them, so what was pushed is not \
             listed as a referrer of {subject}",
            repository.name()
        ));
    }
}
