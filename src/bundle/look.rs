//! What a load finds out before it writes anything: where each image of a bundle
//! goes, what of it the target has, and what neither side has.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::load::{Image, Outcome, Stores, Work};
use super::{Bundle, Entry, Names};
use crate::blob::Blob;
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::graph::{Action, Budget, Lists, Nondistributable, PushTarget, Remote, Select, plan};
use crate::image::Node;
use crate::image::layer::is_foreign;
use crate::manifest::Manifest;
use crate::reference::{RepoName, Target};
use crate::store::{Content, ReadStore, Store, Tags};
use crate::stream::Run;

/// The images that a bundle expects where it is loaded, and that are not there.
pub(super) fn absent_images(
    bundle: &Bundle,
    names: &Names,
    stores: &Stores<'_>,
) -> Result<Vec<String>> {
    let mut absent = Vec::new();
    for name in bundle.expected() {
        let repo = names.repo(name)?;
        if stores(&repo)?.head(&name.target())?.is_none() {
            absent.push(name.target().within(repo.as_str()));
        }
    }
    Ok(absent)
}

/// The entries of a bundle, and where they go.
pub(super) type Placed<'a> = (&'a Entry, RepoName, Target);

pub(super) fn placed<'a>(bundle: &'a Bundle, names: &Names) -> Result<Vec<Placed<'a>>> {
    let mut taken: HashMap<(RepoName, Target), &Entry> = HashMap::new();
    let mut all = Vec::new();
    for entry in bundle.entries() {
        let (repo, target) = (names.repo(&entry.name)?, entry.name.target());
        match taken.insert((repo.clone(), target.clone()), entry) {
            Some(other) if other.descriptor.digest == entry.descriptor.digest => {}
            Some(other) if other.name == entry.name => {
                let (one, two) = (other.descriptor.digest, entry.descriptor.digest);
                let why = format!("it has two images called {}, {one} and {two}", entry.name);
                return Err(Error::malformed(bundle.name(), why));
            }
            Some(other) => {
                let what = format!(
                    "{} and {} would both be {}; give one another name with --map",
                    other.name,
                    entry.name,
                    target.within(repo.as_str())
                );
                return Err(Error::Unsupported { what });
            }
            None => all.push((entry, repo, target)),
        }
    }
    Ok(all)
}

/// What was found of one image.
pub(super) struct Looked {
    pub image: Image,
    pub work: Option<Work>,
    pub lacking: Vec<Blob>,
    pub existing: Vec<Blob>,
    /// Blobs that other repositories have.
    pub mounts: Vec<(Digest, RepoName)>,
    /// Blobs that are in parts of the bundle that are missing.
    pub waiting: Vec<Digest>,
    /// What neither the bundle nor the repository has.
    pub missing: Vec<String>,
}

/// What images are looked up with.
#[derive(Clone, Copy)]
pub(super) struct From<'a> {
    pub bundle: &'a Arc<Bundle>,
    pub names: &'a Names,
    /// What the manifests of all images have to be within.
    pub budget: &'a Arc<Budget>,
    pub stores: &'a BTreeMap<RepoName, Arc<dyn Store>>,
}

impl From<'_> {
    pub fn look(self, (entry, repo, target): Placed<'_>, run: Run<'_>) -> Result<Looked> {
        let digest = entry.descriptor.digest;
        let mut looked = Looked {
            image: Image {
                name: entry.name.clone(),
                repo,
                target,
                digest,
                outcome: Outcome::UpToDate,
                replaces: None,
                is_referrer: false,
                there: 0,
                lacking: 0,
            },
            work: None,
            lacking: Vec::new(),
            existing: Vec::new(),
            mounts: Vec::new(),
            waiting: Vec::new(),
            missing: Vec::new(),
        };
        let Some(store) = self.stores.get(&looked.image.repo) else {
            return Ok(looked);
        };
        let (by_digest, is_tag) = (
            Target::Digest(digest),
            matches!(looked.image.target, Target::Tag(_)),
        );
        if is_tag {
            let before = store.head(&looked.image.target)?.map(|head| head.digest);
            if before == Some(digest) {
                return Ok(looked);
            }
            looked.image.replaces = before;
        }
        let is_there = store.head(&by_digest)?.is_some();
        let merged = Merged {
            bundle: self.bundle.clone(),
            target: store.clone(),
            budget: self.budget.clone(),
        };
        let manifest = match merged.manifest(&by_digest) {
            Err(e) if e.is_not_found() => {
                looked.missing.push(format!("manifest {digest}"));
                return Ok(looked);
            }
            manifest => manifest?,
        };
        let subject = manifest.subject()?.map(|subject| subject.digest);
        looked.image.is_referrer = subject.is_some();
        let is_listed = is_there && Lists::default().has(&**store, subject.as_ref(), &digest)?;
        if is_listed && !is_tag {
            return Ok(looked);
        }
        let mut work = Work {
            manifest,
            node: None,
        };
        looked.image.outcome = Outcome::Tag;
        if !is_listed {
            looked.image.outcome = Outcome::Load;
            let remote = Remote::new(Arc::new(merged)).without_configs();
            let node = match remote.node(work.manifest.clone(), Select::All, run) {
                Err(e) if e.is_not_found() => {
                    looked.missing.push(e.to_string());
                    return Ok(looked);
                }
                node => node?,
            };
            if !is_there {
                looked.find_blobs(self, &node, &**store, run)?;
            }
            work.node = Some(node);
        }
        looked.work = Some(work);
        Ok(looked)
    }

    /// The repository that has a blob which the bundle leaves out.
    fn elsewhere(self, digest: &Digest) -> Result<Option<RepoName>> {
        for name in self.bundle.omitted().repositories(digest) {
            let repo = name.parse().and_then(|name| self.names.repo(&name));
            let Some((repo, store)) = repo.ok().and_then(|repo| self.stores.get_key_value(&repo))
            else {
                continue;
            };
            if store.size_to_write(digest)?.is_some() {
                return Ok(Some(repo.clone()));
            }
        }
        Ok(None)
    }
}

impl Looked {
    /// Finds out which blobs the repository lacks.
    fn find_blobs(
        &mut self,
        from: From<'_>,
        node: &Node,
        store: &dyn Store,
        run: Run<'_>,
    ) -> Result<()> {
        let target = Target::Digest(self.image.digest);
        let to = PushTarget::new(store, &target).with_nondistributable(Nondistributable::Send);
        for (blob, action) in plan(node, &to, run)?.blobs {
            let ours = from.bundle.blob(blob.descriptor())?;
            match (action, ours) {
                (Action::Exists, ours) => {
                    self.image.there = self.image.there.saturating_add(blob.size());
                    self.existing.extend(ours);
                }
                (_, Some(ours)) => {
                    self.image.lacking = self.image.lacking.saturating_add(blob.size());
                    self.lacking.push(ours);
                }
                // The image's makers keep it elsewhere, and every engine knows.
                (_, None) if is_foreign(blob.descriptor()) => {}
                (_, None) => match from.elsewhere(blob.digest())? {
                    Some(repo) => {
                        self.image.there = self.image.there.saturating_add(blob.size());
                        self.mounts.push((*blob.digest(), repo));
                    }
                    None if from.bundle.is_in_absent_part(blob.digest()) => {
                        self.waiting.push(*blob.digest());
                    }
                    None => self.missing.push(blob.digest().to_string()),
                },
            }
        }
        Ok(())
    }
}

/// The error for what can't be loaded, in one line.
pub(super) fn lacks(bundle: &Bundle, missing: &[String]) -> Error {
    const SHOWN: usize = 3;
    let mut what = missing
        .iter()
        .take(SHOWN)
        .cloned()
        .collect::<Vec<_>>()
        .join(", ");
    if let more @ 1.. = missing.len().saturating_sub(SHOWN) {
        what += &format!(" and {more} more");
    }
    let mut what = format!("{what}: neither in {} nor in the target", bundle.name());
    let against = bundle.omitted().against();
    if !against.is_empty() {
        let names = against.join(", ");
        what += &format!("; first load what it was made against: {names}");
    }
    if against.contains(&bundle.short_name()) {
        what += ", an earlier one of that name";
    }
    Error::NotFound { what }
}

/// The manifests of a bundle, and those that it leaves out from where they are.
struct Merged {
    bundle: Arc<Bundle>,
    target: Arc<dyn Store>,
    budget: Arc<Budget>,
}

impl Merged {
    /// The one of the two that has a digest.
    fn of(&self, digest: &Digest) -> &dyn ReadStore {
        match self.bundle.contains(digest) {
            true => &*self.bundle,
            false => &*self.target,
        }
    }
}

impl ReadStore for Merged {
    fn name(&self) -> String {
        self.bundle.name()
    }

    fn open_blob(&self, digest: &Digest, from: u64) -> Result<Content<'_>> {
        self.of(digest).open_blob(digest, from)
    }

    fn manifest(&self, target: &Target) -> Result<Manifest> {
        let manifest = match target {
            Target::Digest(digest) => self.of(digest).manifest(target),
            Target::Tag(_) => self.target.manifest(target),
        }?;
        let held = self.budget.hold(manifest.bytes().len() as u64);
        held.map_err(|e| e.at(&self.bundle.name()))?;
        Ok(manifest)
    }

    fn tags(&self) -> Tags<'_> {
        self.bundle.tags()
    }
}
