//! From a bundle into repositories, in phases: everything is looked up first;
//! then blobs, manifests by digest, children and subjects first, and all tags
//! at the end. A load that ends early has moved no tag, and the next one finds
//! what it stored.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::incoming::{Incoming, Receiver};
use super::look::{From, Looked, absent_images, lacks, placed};
use super::read::budget;
use super::{Bundle, Cut, Names};
use crate::blob::Blob;
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::graph::{is_related_tag, push_again, push_manifest, send_all};
use crate::image::Node;
use crate::manifest::Manifest;
use crate::parallel;
use crate::reference::{Reference, RepoName, Target};
use crate::store::{Put, Store};
use crate::stream::{Run, Stop};

/// The repositories that images are loaded into, by their names.
pub type Stores<'a> = dyn Fn(&RepoName) -> Result<Arc<dyn Store>> + 'a;

/// What has to be done for an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// Nothing: the name points to it already.
    UpToDate,
    /// The target has its manifest, which gets the name.
    Tag,
    /// It is loaded.
    Load,
}

/// An image of a bundle, and where it goes.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Image {
    /// Its name in the bundle.
    pub name: Reference,
    /// The repository it goes to.
    pub repo: RepoName,
    /// The name it gets there.
    pub target: Target,
    /// The digest of its manifest.
    pub digest: Digest,
    /// What has to be done for it.
    pub outcome: Outcome,
    /// The manifest that its name points to before, if that is another one.
    pub replaces: Option<Digest>,
    /// Whether it is about another manifest of the bundle, as signatures are.
    pub is_referrer: bool,
    /// Bytes of its blobs that the repository has.
    pub there: u64,
    /// Bytes of its blobs that the repository lacks.
    pub lacking: u64,
}

impl Image {
    /// Whether it belongs to another manifest, as signatures do.
    pub fn is_related(&self) -> bool {
        let tag = self.name.tag.as_ref();
        self.is_referrer || tag.is_some_and(|tag| is_related_tag(tag.as_str()))
    }
}

/// What a load has to do, decided before anything is written.
pub struct Load {
    bundle: Arc<Bundle>,
    images: Vec<Image>,
    /// What is put for each of them, unless it is up to date.
    puts: Vec<Option<Work>>,
    stores: BTreeMap<RepoName, Arc<dyn Store>>,
    /// The blobs to send, with the repositories that lack them.
    blobs: Vec<(Blob, Vec<RepoName>)>,
    /// The blobs that repositories take over from others, which have them.
    mounts: Vec<(Digest, RepoName, RepoName)>,
    /// Blobs that repositories say they have.
    existing: HashMap<RepoName, Vec<Blob>>,
    /// The parts of the bundle that are missing and needed.
    absent: BTreeSet<usize>,
    /// Blobs that are needed, and of which pieces are missing.
    cuts: Vec<Cut>,
}

/// What is put for an image.
pub(super) struct Work {
    pub manifest: Manifest,
    /// What is below the manifest, where that has to be put too.
    pub node: Option<Node>,
}

/// What a load came to.
#[derive(Debug, Clone, Copy, Default)]
#[non_exhaustive]
pub struct Loaded {
    /// Blobs that were sent, and their bytes.
    pub sent: (usize, u64),
    /// Blobs that were mounted from another repository.
    pub mounted: usize,
}

impl Load {
    /// Looks up what repositories lack of a bundle.
    ///
    /// # Errors
    /// Those of the stores; [`Error::NotFound`] naming what neither the bundle
    /// nor the repository contains; [`Error::Unsupported`] where two images would
    /// get one name; [`Error::Malformed`] and its like for a bundle that is not
    /// what it says.
    pub fn plan(
        bundle: &Arc<Bundle>,
        names: &Names,
        stores: &Stores<'_>,
        run: Run<'_>,
    ) -> Result<Load> {
        let wanted = placed(bundle, names)?;
        let mut opened = BTreeMap::new();
        let all = bundle.omitted().all_repositories();
        let others = all.filter_map(|name| names.repo(&name.parse().ok()?).ok());
        let repos = wanted.iter().map(|(_, repo, _)| repo.clone());
        for repo in repos.chain(others) {
            if !opened.contains_key(&repo) {
                opened.insert(repo.clone(), stores(&repo)?);
            }
        }
        // One level of threads: over many images, or within each of a few.
        let (jobs, within) = match wanted.len() < run.jobs {
            true => (1, run.jobs),
            false => (run.jobs, 1),
        };
        let gone = absent_images(bundle, names, stores)?;
        let budget = Arc::new(budget());
        let looked = parallel::map(jobs, wanted, run.watch.stop, |one, stop| {
            let run = Run::new(within, run.stopped_by(stop).watch);
            let from = From {
                bundle,
                names,
                budget: &budget,
                stores: &opened,
            };
            from.look(one, run)
        })?;
        let mut load = Load {
            bundle: bundle.clone(),
            images: Vec::new(),
            puts: Vec::new(),
            stores: opened,
            blobs: Vec::new(),
            mounts: Vec::new(),
            existing: HashMap::new(),
            absent: BTreeSet::new(),
            cuts: Vec::new(),
        };
        load.take(looked, gone)?;
        Ok(load)
    }

    /// The images, in the order of the bundle.
    pub fn images(&self) -> &[Image] {
        &self.images
    }

    /// How many blobs have to be sent, and their bytes.
    pub fn lacking(&self) -> (usize, u64) {
        let sizes = self.blobs.iter().map(|(blob, _)| blob.size());
        (self.blobs.len(), sizes.fold(0, u64::saturating_add))
    }

    /// The numbers of the parts of the bundle that have to be loaded too, before
    /// any image is complete: those that are missing here, and have what the
    /// repositories lack.
    pub fn absent_parts(&self) -> Vec<usize> {
        self.absent.iter().copied().collect()
    }

    /// The blobs that the repositories lack and that this load can't store,
    /// because some of their pieces are in parts that are missing here.
    pub fn cuts(&self) -> &[Cut] {
        &self.cuts
    }

    /// Does it. As long as parts of the bundle are missing, only blobs are sent.
    ///
    /// # Errors
    /// Those of the bundle and of the stores; no tag has moved then unless all
    /// that any tag needs is stored.
    pub fn run(&self, run: Run<'_>) -> Result<Loaded> {
        let loaded = self.send_blobs(run)?;
        self.finish(loaded, run)
    }

    /// The same for a bundle that is not all there yet: blobs are sent as they
    /// come, and tags are set after the last one.
    ///
    /// # Errors
    /// As [`Load::run`]; [`Error::Malformed`] when the stream ends too early.
    pub fn receive(&self, incoming: Incoming<'_>, run: Run<'_>) -> Result<Loaded> {
        let bundle = incoming.bundle().clone();
        let Some(rest) = incoming.into_rest() else {
            return self.run(run);
        };
        let mut receiver = Receiver::new(rest, &bundle, &self.blobs, run.jobs);
        let next = |stop: &Stop| receiver.next(stop);
        let done = parallel::gather(run.jobs, run.watch.stop, next, |one, stop| {
            self.send_blob(&one.blob, one.repos, run.stopped_by(stop))
        })?;
        self.finish(sum(done), run)
    }

    /// Reads such a bundle to its end, and stores nothing.
    ///
    /// # Errors
    /// As [`Load::receive`].
    pub fn pass(&self, incoming: Incoming<'_>, run: Run<'_>) -> Result<()> {
        let bundle = incoming.bundle().clone();
        match incoming.into_rest() {
            Some(rest) => Receiver::new(rest, &bundle, &self.blobs, 1).pass(run.watch.stop),
            None => Ok(()),
        }
    }

    /// The steps after the blobs.
    fn finish(&self, mut loaded: Loaded, run: Run<'_>) -> Result<Loaded> {
        loaded.mounted += self.mounts.len();
        let mounts = self.mounts.iter().collect();
        parallel::for_each(
            run.jobs,
            mounts,
            run.watch.stop,
            |(digest, to, from), stop| {
                let watch = run.stopped_by(stop).watch;
                self.store(to)?.mount_blob(digest, from, watch).map(drop)
            },
        )?;
        if !self.absent.is_empty() {
            return Ok(loaded);
        }
        self.put_images(run)?;
        self.put_referrers(run)?;
        self.put_tags(run)?;
        Ok(loaded)
    }

    fn take(&mut self, looked: Vec<Looked>, mut missing: Vec<String>) -> Result<()> {
        let mut places: HashMap<Digest, usize> = HashMap::new();
        for one in looked {
            let (repo, name) = (&one.image.repo, &one.image.name);
            missing.extend(one.missing.iter().map(|what| format!("{what} for {name}")));
            for blob in one.lacking {
                let at = *places.entry(*blob.digest()).or_insert_with(|| {
                    self.blobs.push((blob, Vec::new()));
                    self.blobs.len() - 1
                });
                if !self.blobs[at].1.contains(repo) {
                    self.blobs[at].1.push(repo.clone());
                }
            }
            let mounts = one.mounts.into_iter();
            self.mounts
                .extend(mounts.map(|(digest, from)| (digest, repo.clone(), from)));
            one.waiting.iter().for_each(|digest| self.wait(digest));
            let existing = self.existing.entry(repo.clone()).or_default();
            existing.extend(one.existing);
            self.images.push(one.image);
            self.puts.push(one.work);
        }
        if !missing.is_empty() {
            return Err(lacks(&self.bundle, &missing));
        }
        // The largest first: the last to be begun is then a small one.
        self.blobs.sort_by_key(|(blob, _)| Reverse(blob.size()));
        Ok(())
    }

    /// Notes which parts have a blob that is needed.
    fn wait(&mut self, digest: &Digest) {
        let parts = self.bundle.parts_with(digest);
        let absent = parts
            .iter()
            .filter(|number| !self.bundle.has_part(**number));
        self.absent.extend(absent);
        if self.bundle.is_cut(digest) && self.cuts.iter().all(|cut| cut.digest != *digest) {
            self.cuts.push(Cut {
                digest: *digest,
                parts: parts.to_vec(),
            });
        }
    }

    fn store(&self, repo: &RepoName) -> Result<&dyn Store> {
        let store = self.stores.get(repo).map(|store| &**store);
        store.ok_or_else(|| Error::NotFound {
            what: format!("repository {repo}"),
        })
    }

    fn send_blobs(&self, run: Run<'_>) -> Result<Loaded> {
        let blobs: Vec<_> = self.blobs.iter().collect();
        let done = parallel::map(run.jobs, blobs, run.watch.stop, |(blob, repos), stop| {
            self.send_blob(blob, repos, run.stopped_by(stop))
        })?;
        Ok(sum(done))
    }

    /// Sends a blob to one repository; the others mount it from there.
    fn send_blob(&self, blob: &Blob, repos: &[RepoName], run: Run<'_>) -> Result<Sent> {
        let (watch, mut puts) = (run.watch, Vec::new());
        let Some((first, others)) = repos.split_first() else {
            return Ok((blob.size(), puts));
        };
        let sent = self.store(first)?.send_blob(blob, watch);
        puts.push(sent.map_err(|e| self.blame(e, blob, run))?);
        for repo in others {
            let store = self.store(repo)?;
            puts.push(match store.mount_blob(blob.digest(), first, watch) {
                Err(e) if e.is_not_allowed() => store.send_blob(blob, watch)?,
                Err(Error::NotMounted { .. } | Error::Unsupported { .. }) => {
                    store.send_blob(blob, watch)?
                }
                put => put?,
            });
        }
        Ok((blob.size(), puts))
    }

    /// What is wrong with a blob of the bundle, if that is why a store refused it.
    /// Not looked at before: the store hashes it anyway.
    fn blame(&self, refused: Error, blob: &Blob, run: Run<'_>) -> Error {
        let in_doubt = refused.is_corrupt() || refused.status().is_some_and(|s| s < 500);
        match in_doubt.then(|| self.bundle.damage(blob, run)) {
            Some(Ok(Some(wrong))) => wrong,
            _ => refused,
        }
    }

    /// The images that have to be put, with all below them.
    fn lacked(&self) -> impl Iterator<Item = (&Image, &Node)> {
        let all = self.images.iter().zip(&self.puts);
        all.filter_map(|(image, work)| Some((image, work.as_ref()?.node.as_ref()?)))
    }

    fn put_images(&self, run: Run<'_>) -> Result<()> {
        let images = self.lacked().filter(|(image, _)| !image.is_referrer);
        parallel::for_each(
            run.jobs,
            images.collect(),
            run.watch.stop,
            |(image, node), stop| self.put_node(image, node, run.stopped_by(stop)),
        )
    }

    /// Referrers after what they refer to; those of one repository in order,
    /// because they may share a list.
    fn put_referrers(&self, run: Run<'_>) -> Result<()> {
        let mut by_repo: BTreeMap<&RepoName, Vec<(&Image, &Node)>> = BTreeMap::new();
        for (image, node) in self.lacked().filter(|(image, _)| image.is_referrer) {
            by_repo.entry(&image.repo).or_default().push((image, node));
        }
        let groups: Vec<_> = by_repo.into_values().collect();
        parallel::for_each(run.jobs, groups, run.watch.stop, |group, stop| {
            let run = Run::new(1, run.stopped_by(stop).watch);
            let mut group = group.into_iter();
            group.try_for_each(|(image, node)| self.put_node(image, node, run))
        })
    }

    /// Puts the manifests of an image by their digests, children first. Blobs
    /// that the store claimed to have and then denies are sent again.
    fn put_node(&self, image: &Image, node: &Node, run: Run<'_>) -> Result<()> {
        let store = self.store(&image.repo)?;
        let put = || put_below(store, node, &image.digest, run);
        push_again(put, || {
            let doubtful = self.existing.get(&image.repo);
            let doubtful: Vec<&Blob> = doubtful.into_iter().flatten().collect();
            send_all(store, &doubtful, Run::new(1, run.watch))
        })
    }

    fn put_tags(&self, run: Run<'_>) -> Result<()> {
        let all = self.images.iter().zip(&self.puts);
        let tags = all.filter(|(image, _)| matches!(image.target, Target::Tag(_)));
        let tags = tags.filter_map(|(image, work)| Some((image, &work.as_ref()?.manifest)));
        parallel::for_each(
            run.jobs,
            tags.collect(),
            run.watch.stop,
            |(image, manifest), _| {
                push_manifest(self.store(&image.repo)?, manifest, &image.target, None)
            },
        )
    }
}

/// The size of a blob, and what became of it in each repository.
type Sent = (u64, Vec<Put>);

fn sum(done: Vec<Sent>) -> Loaded {
    let mut loaded = Loaded::default();
    for (size, puts) in done {
        for put in puts {
            match put {
                Put::Uploaded => {
                    loaded.sent.0 += 1;
                    loaded.sent.1 += size;
                }
                Put::Mounted => loaded.mounted += 1,
                Put::Existed => {}
            }
        }
    }
    loaded
}

/// Puts the manifests below a node by their digests, then its own.
fn put_below(store: &dyn Store, node: &Node, digest: &Digest, run: Run<'_>) -> Result<()> {
    run.watch.stop.check()?;
    if let Node::Index(index) = node {
        for child in index.children() {
            put_below(store, &child.node, &child.descriptor.digest, run)?;
        }
    }
    store.put_manifest(node.manifest(), &Target::Digest(*digest))
}
