//! The one walk through what manifests name: from tags and digests down through
//! indexes to configs, layers and files in parts (image-spec, image-index.md and
//! manifest.md).
//!
//! Each manifest is fetched once for a [`Walk`], however many names lead to it,
//! and only what it names is kept. Every walk has the same bounds, so that no
//! repository makes one endless.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::Budget;
use crate::descriptor::{Descriptor, annotation};
use crate::digest::Digest;
use crate::error::{Error, Result, if_found};
use crate::image::MAX_DEPTH;
use crate::manifest::{Kind, Manifest, is_index, is_manifest};
use crate::parallel;
use crate::reference::{Tag, Target};
use crate::store::ReadStore;
use crate::stream::{Run, Stop};

/// What a manifest names, without its bytes.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Links {
    /// The manifest itself.
    pub manifest: Descriptor,
    /// The manifests of an index.
    pub children: Vec<Descriptor>,
    /// The config of an image.
    pub config: Option<Descriptor>,
    /// The layers of an image; the entries of an index that are not manifests
    /// (BuildKit's cache).
    pub blobs: Vec<Descriptor>,
    /// What the manifest says it is, where it is an artifact.
    pub artifact_type: Option<String>,
    /// When it was made, as its annotation `org.opencontainers.image.created`
    /// says.
    pub created: Option<String>,
    /// The files that several blobs are when concatenated, where
    /// [`Walk::with_files`] knows some.
    pub files: Vec<JoinedFile>,
}

/// A file that is kept as several blobs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JoinedFile {
    /// The file, as one blob would be it.
    pub whole: Descriptor,
    /// The blobs that it is when they are concatenated.
    pub parts: Vec<Descriptor>,
}

/// The files that blobs of a manifest are when concatenated.
pub type FilesOf = fn(&Manifest) -> Result<Vec<JoinedFile>>;

/// One thing that a walk reached.
#[derive(Debug)]
#[non_exhaustive]
pub enum Step {
    /// A manifest that an index names. `Err` says why it could not be had: the
    /// store does not contain it, or its bytes are not what the index says.
    Manifest(Descriptor, Result<Arc<Links>>),
    /// A config.
    Config(Descriptor),
    /// A layer, or a blob that an index names.
    Blob(Descriptor),
    /// A file in parts; the parts are among the steps too.
    File(Descriptor, Vec<Descriptor>),
}

/// A walk through one repository.
pub struct Walk<'a> {
    store: &'a dyn ReadStore,
    run: Run<'a>,
    files_of: FilesOf,
    known: Mutex<HashMap<Digest, Arc<Slot>>>,
}

/// A manifest; the first thread that locks it fetches it.
type Slot = Mutex<Option<Arc<Links>>>;

impl<'a> Walk<'a> {
    /// A walk through `store`.
    pub fn new(store: &'a dyn ReadStore, run: Run<'a>) -> Walk<'a> {
        Walk {
            store,
            run,
            files_of: |_| Ok(Vec::new()),
            known: Mutex::default(),
        }
    }

    /// The same, asking `files_of` for the files that a manifest's blobs are.
    pub fn with_files(self, files_of: FilesOf) -> Walk<'a> {
        Walk { files_of, ..self }
    }

    /// What the manifest of a tag or digest names.
    ///
    /// # Errors
    /// Those of the store, [`Error::is_not_found`] among them;
    /// [`Error::Unsupported`] for a schema 1 manifest; [`Error::Malformed`].
    pub fn root(&self, target: &Target) -> Result<Arc<Links>> {
        if let Target::Digest(digest) = target {
            return self.links(digest, || self.store.manifest(target));
        }
        let manifest = self.store.manifest(target)?;
        self.links(&manifest.digest(), || Ok(manifest))
    }

    /// Everything below a manifest, each once, in the order of the manifests:
    /// the entries of an index, each with all that is below it; then config,
    /// layers, and the file they are. `jobs` manifests are fetched at once.
    ///
    /// # Errors
    /// What keeps a manifest from being read, such as the network;
    /// [`Error::Malformed`] for one that breaks its format or the bounds.
    pub fn below(&self, root: &Links, jobs: usize) -> Result<Vec<Step>> {
        let mut below = Below {
            walk: self,
            jobs,
            budget: Budget::default(),
            seen: HashSet::new(),
            steps: Vec::new(),
        };
        below.links(root, 1)?;
        Ok(below.steps)
    }

    /// What all of `targets` reach, the manifests themselves included, each with
    /// the first of them that reaches it. Several are fetched at once.
    ///
    /// # Errors
    /// As [`Walk::root`] and [`Walk::below`], and for a manifest whose bytes are
    /// wrong: it may have named anything. One that is missing, such as that of a
    /// tag deleted meanwhile, names nothing.
    pub fn reach(&self, targets: Vec<Target>) -> Result<HashMap<Digest, Target>> {
        let (run, stop) = (self.run, self.run.watch.stop);
        let reached = parallel::map(run.jobs, targets, stop, |target, _| {
            let digests = self.digests(&target)?;
            Ok((target, digests))
        })?;
        let mut by_digest = HashMap::new();
        for (target, digests) in reached {
            for digest in digests {
                by_digest.entry(digest).or_insert_with(|| target.clone());
            }
        }
        Ok(by_digest)
    }

    /// The digests of all that one name reaches.
    fn digests(&self, target: &Target) -> Result<Vec<Digest>> {
        let Some(root) = if_found(self.root(target))? else {
            return Ok(Vec::new());
        };
        let mut reached = vec![root.manifest.digest];
        for step in self.below(&root, 1)? {
            reached.push(match step {
                Step::Manifest(_, Err(error)) if !error.is_not_found() => return Err(error),
                Step::Manifest(blob, _) | Step::Config(blob) | Step::Blob(blob) => blob.digest,
                Step::File(..) => continue,
            });
        }
        Ok(reached)
    }

    /// What the tags of the repository reach, but for those that `except` leaves
    /// out: what must stay when those are deleted.
    ///
    /// # Errors
    /// As [`Walk::reach`]; [`Error::Invalid`] for a name that is not a tag,
    /// because nothing can be asked of it.
    pub fn reach_of_tags(&self, except: &dyn Fn(&Tag) -> bool) -> Result<HashMap<Digest, Target>> {
        let mut targets = Vec::new();
        for tag in self.store.tags() {
            self.run.watch.stop.check()?;
            let tag = tag?;
            if !except(&tag) {
                targets.push(Target::Tag(tag));
            }
        }
        self.reach(targets)
    }

    fn links(
        &self,
        digest: &Digest,
        fetch: impl FnOnce() -> Result<Manifest>,
    ) -> Result<Arc<Links>> {
        let slot = locked(&self.known).entry(*digest).or_default().clone();
        // Locked while it is fetched, so that it is fetched once.
        let mut slot = locked(&slot);
        if let Some(links) = &*slot {
            return Ok(links.clone());
        }
        let links = Arc::new(Links::of(&fetch()?, digest, self.files_of)?);
        *slot = Some(links.clone());
        Ok(links)
    }

    /// Calls `work` for each of `roots`, several at once. Those of images are forgotten
    /// after their turn, so that many of them take no memory; indexes are first, so
    /// that an image that one of them names too is still fetched once.
    ///
    /// # Errors
    /// The first of `work`.
    pub(crate) fn for_each<R: Send>(
        &self,
        roots: Vec<Descriptor>,
        work: impl Fn(&Descriptor, &Stop) -> Result<R> + Sync,
    ) -> Result<Vec<R>> {
        let (run, mut all) = (self.run, Vec::new());
        let (indexes, images): (Vec<_>, Vec<_>) = roots.into_iter().partition(is_index);
        for roots in [indexes, images] {
            let done = parallel::map(run.jobs, roots, run.watch.stop, |root, stop| {
                let done = work(&root, stop)?;
                if !is_index(&root) {
                    locked(&self.known).remove(&root.digest);
                }
                Ok(done)
            })?;
            all.extend(done);
        }
        Ok(all)
    }

    /// The manifest that an index names, which must be as large as it says.
    fn child(&self, entry: &Descriptor) -> Result<Arc<Links>> {
        let by_digest = Target::Digest(entry.digest);
        let links = self.links(&entry.digest, || self.store.manifest(&by_digest))?;
        if links.manifest.size != entry.size {
            return Err(Error::Size {
                what: entry.digest.to_string(),
                expected: entry.size,
                actual: links.manifest.size,
            });
        }
        Ok(links)
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing is left half done in either.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Links {
    /// What `manifest` names, which the store knows as `digest`.
    fn of(manifest: &Manifest, digest: &Digest, files_of: FilesOf) -> Result<Links> {
        let mut links = Links {
            manifest: manifest.descriptor(),
            children: Vec::new(),
            config: None,
            blobs: Vec::new(),
            artifact_type: None,
            created: None,
            files: Vec::new(),
        };
        links.manifest.digest = *digest;
        match manifest.kind() {
            Kind::Index => {
                let mut index = manifest.index()?;
                links.artifact_type = index.artifact_type.take();
                links.created = index.annotations.remove(annotation::CREATED);
                let entries = index.manifests.into_iter();
                (links.children, links.blobs) = entries.partition(is_manifest);
            }
            Kind::Image => {
                let mut image = manifest.image()?;
                links.artifact_type = image.artifact_type.take();
                links.created = image.annotations.remove(annotation::CREATED);
                links.config = Some(image.config);
                links.blobs = image.layers;
                links.files = files_of(manifest)?;
            }
            Kind::Schema1 => {
                let what = "a schema 1 manifest (Docker's format before 2016) is no alias; push \
                            the image again with a newer tool";
                return Err(Error::Unsupported { what: what.into() });
            }
            Kind::Unknown => links.blobs = manifest.artifact_blobs()?,
        }
        // A walk may keep those of a whole repository.
        links.children.shrink_to_fit();
        links.blobs.shrink_to_fit();
        links.files.shrink_to_fit();
        Ok(links)
    }
}

/// What is below one root, within bounds.
struct Below<'w, 'a> {
    walk: &'w Walk<'a>,
    jobs: usize,
    budget: Budget,
    /// With sizes: of two that are claimed one is wrong.
    seen: HashSet<(Digest, u64)>,
    steps: Vec<Step>,
}

impl Below<'_, '_> {
    fn links(&mut self, links: &Links, depth: usize) -> Result<()> {
        self.children(&links.children, depth)?;
        if let Some(config) = &links.config {
            self.add(config, Step::Config);
        }
        for blob in &links.blobs {
            self.add(blob, Step::Blob);
        }
        for JoinedFile { whole, parts } in &links.files {
            self.add(whole, |whole| Step::File(whole, parts.clone()));
        }
        Ok(())
    }

    fn children(&mut self, entries: &[Descriptor], depth: usize) -> Result<()> {
        if entries.is_empty() {
            return Ok(());
        }
        if depth > MAX_DEPTH {
            let why = format!("it nests indexes more than {MAX_DEPTH} deep");
            return Err(Error::malformed("index", why));
        }
        self.budget.entries(entries.len())?;
        let mut new: Vec<&Descriptor> = entries.iter().collect();
        new.retain(|entry| self.seen.insert((entry.digest, entry.size)));
        let (walk, stop) = (self.walk, self.walk.run.watch.stop);
        let fetched = parallel::map(self.jobs, new, stop, |entry, _| match walk.child(entry) {
            Err(error) if !is_its_fault(&error) => Err(error),
            links => Ok((entry, links)),
        })?;
        for (entry, links) in fetched {
            let below = links.as_ref().ok().cloned();
            self.steps.push(Step::Manifest(entry.clone(), links));
            if let Some(below) = below {
                self.links(&below, depth + 1)?;
            }
        }
        Ok(())
    }

    /// Adds what was not reached before.
    fn add(&mut self, blob: &Descriptor, step: impl FnOnce(Descriptor) -> Step) {
        if self.seen.insert((blob.digest, blob.size)) {
            self.steps.push(step(blob.clone()));
        }
    }
}

/// Whether `error` is about what was asked for, not about the way to it.
pub(super) fn is_its_fault(error: &Error) -> bool {
    let wrong = matches!(error.what(), Error::Mismatch { .. } | Error::Size { .. });
    wrong || error.is_not_found()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blob::Blob;
    use crate::descriptor::media_type;
    use crate::store::testing::Spy;
    use crate::store::{Content, Memory, Store, Tags};
    use crate::stream::Watch;
    use serde_json::json;

    fn blob(store: &Memory, text: &str) -> Descriptor {
        let blob = Blob::bytes(media_type::OCTET_STREAM, text.as_bytes().to_vec());
        store.put_blob(&blob, Watch::default()).unwrap();
        blob.descriptor().clone()
    }

    fn alias(store: &Memory, tag: &str, parts: &[&str]) -> Manifest {
        let blobs: Vec<_> = parts.iter().map(|part| blob(store, part)).collect();
        let manifest = Manifest::alias(&blobs).unwrap();
        store.put_manifest(&manifest, &target(tag)).unwrap();
        manifest
    }

    fn index(store: &Memory, tag: &str, entries: &[Descriptor]) -> Manifest {
        let document =
            json!({"schemaVersion": 2, "mediaType": media_type::OCI_INDEX, "manifests": entries});
        let manifest = Manifest::new(None, document.to_string().into_bytes()).unwrap();
        store.insert(&manifest, &target(tag));
        manifest
    }

    fn target(tag: &str) -> Target {
        Target::Tag(tag.parse().unwrap())
    }

    fn kinds(steps: &[Step]) -> String {
        let letter = |step: &Step| match step {
            Step::Manifest(_, Ok(_)) => 'm',
            Step::Manifest(_, Err(_)) => '?',
            Step::Config(_) => 'c',
            Step::Blob(_) => 'b',
            Step::File(..) => 'f',
        };
        steps.iter().map(letter).collect()
    }

    #[test]
    fn everything_below_a_name_once_and_in_order() {
        let store = Memory::default();
        let (a, b) = (
            alias(&store, "a", &["1", "2"]),
            alias(&store, "b", &["2", "3"]),
        );
        let both = index(
            &store,
            "both",
            &[a.descriptor(), b.descriptor(), a.descriptor()],
        );
        let walk = Walk::new(&store, Run::default());
        let root = walk.root(&target("both")).unwrap();
        assert_eq!(root.manifest.digest, both.digest());
        let steps = walk.below(&root, 2).unwrap();
        // An alias names its first blob as config too, so it is reached as that;
        // b's first blob was reached before.
        assert_eq!(kinds(&steps), "mcbmb");
    }

    #[test]
    fn a_missing_child_is_a_step_and_a_lost_store_is_none() {
        let store = Memory::default();
        let a = alias(&store, "a", &["1"]);
        let missing = Descriptor::new(media_type::OCI_MANIFEST, Digest::of(b"x"), 1);
        let mut short = a.descriptor();
        short.size -= 1;
        index(&store, "i", &[a.descriptor(), missing, short]);
        let walk = Walk::new(&store, Run::default());
        let steps = walk.below(&walk.root(&target("i")).unwrap(), 1).unwrap();
        assert_eq!(kinds(&steps), "mc??");
        // What is missing names nothing; what is wrong may have named anything.
        assert!(walk.reach(vec![target("i")]).is_err());
    }

    #[test]
    fn entries_that_are_blobs_are_not_fetched_as_manifests() {
        let store = Memory::default();
        let cached = blob(&store, "layer");
        let config = Descriptor {
            media_type: "application/vnd.buildkit.cacheconfig.v0".into(),
            ..blob(&store, "{}")
        };
        index(&store, "cache", &[cached, config]);
        let walk = Walk::new(&store, Run::default());
        let steps = walk
            .below(&walk.root(&target("cache")).unwrap(), 1)
            .unwrap();
        assert_eq!(kinds(&steps), "bb");
    }

    #[test]
    fn what_other_tags_reach_is_known() {
        let store = Memory::default();
        alias(&store, "old", &["1", "2"]);
        let new = alias(&store, "new", &["2", "3"]);
        let walk = Walk::new(&store, Run::default());
        let kept = walk.reach_of_tags(&|tag| tag.as_str() == "old").unwrap();
        let of = |text: &str| Digest::of(text.as_bytes());
        let expected = [of("2"), of("3"), new.digest()];
        assert_eq!(kept, expected.map(|digest| (digest, target("new"))).into());
    }

    #[test]
    fn a_tag_that_vanished_hides_no_other() {
        let spy = Spy::default();
        let blob = spy.blob(b"1");
        let kept = Manifest::alias(std::slice::from_ref(&blob)).unwrap();
        spy.insert(&kept, Some("kept"));
        let listed = Vanished(&spy);
        let reached = Walk::new(&listed, Run::default()).reach_of_tags(&|_| false);
        assert!(reached.unwrap().contains_key(&blob.digest));
    }

    /// Lists a tag that it does not contain.
    struct Vanished<'a>(&'a Spy);

    impl ReadStore for Vanished<'_> {
        fn name(&self) -> String {
            self.0.name()
        }
        fn open_blob(&self, digest: &Digest, from: u64) -> Result<Content<'_>> {
            self.0.open_blob(digest, from)
        }
        fn manifest(&self, target: &Target) -> Result<Manifest> {
            self.0.manifest(target)
        }
        fn tags(&self) -> Tags<'_> {
            let gone = std::iter::once("gone".parse());
            Box::new(gone.chain(self.0.tags()))
        }
    }

    #[test]
    fn nothing_is_followed_without_end() {
        let store = Memory::default();
        let a = alias(&store, "a", &["1"]);
        let one = index(&store, "1", &[a.descriptor()]);
        let two = index(&store, "2", &[one.descriptor()]);
        index(&store, "3", &[two.descriptor()]);
        let walk = Walk::new(&store, Run::default());
        let below = |tag: &str| walk.below(&walk.root(&target(tag)).unwrap(), 1);
        assert_eq!(kinds(&below("2").unwrap()), "mmc");
        assert!(matches!(below("3"), Err(Error::Malformed { .. })));
        let many = (0..=crate::graph::budget::MAX_ENTRIES)
            .map(|i| Descriptor::new(media_type::OCI_MANIFEST, Digest::of(&i.to_le_bytes()), 1));
        index(&store, "many", &many.collect::<Vec<_>>());
        assert!(matches!(below("many"), Err(Error::Malformed { .. })));
    }
}
