//! From a store: manifests and configs now, layers when they are read.

use std::collections::HashSet;
use std::io::Read;
use std::sync::Arc;

use super::related::Listed;
use crate::blob::{Blob, Source};
use crate::cache::Cache;
use crate::descriptor::Descriptor;
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::graph::{Budget, Resolver};
use crate::image::layer::{is_foreign, kept_elsewhere, urls};
use crate::image::{self, Child, Image, Index, Node, config};
use crate::manifest::{Kind, Manifest, Select, is_manifest};
use crate::parallel;
use crate::reference::{Origin, Tag, Target};
use crate::store::ReadStore;
use crate::stream::{Run, read_bounded};

/// How many addresses of a layer that is kept elsewhere are tried.
const MAX_PLACES: usize = 16;

/// Fetches layers that their makers keep elsewhere ([`Source::open`] over an
/// address of the descriptor's `urls`), without credentials.
pub trait UrlFetcher: Send + Sync {
    /// The bytes at `url` from offset `from`.
    ///
    /// # Errors
    /// Whatever keeps them from being read.
    fn open(&self, url: &str, from: u64) -> Result<Box<dyn Read + Send + '_>>;
}

/// A store to pull from, and what belongs to it.
#[derive(Clone)]
pub struct Remote(Arc<Inner>);

#[derive(Clone)]
struct Inner {
    store: Arc<dyn ReadStore>,
    origin: Option<Origin>,
    cache: Option<Cache>,
    elsewhere: Option<Arc<dyn UrlFetcher>>,
    configs: Configs,
    /// The store's tags, where those are listed rather than asked for.
    tags: Option<Arc<Listed>>,
}

/// When configs are fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Configs {
    /// With the manifest, because a caller that looks at an image wants its config.
    Now,
    /// When they are read, like layers.
    Later,
}

impl Remote {
    /// Pulls from `store` alone.
    pub fn new(store: Arc<dyn ReadStore>) -> Remote {
        let origin = store.origin();
        Remote(Arc::new(Inner {
            store,
            origin,
            cache: None,
            elsewhere: None,
            configs: Configs::Now,
            tags: None,
        }))
    }

    /// Keeps layers in a cache, and takes them from there.
    pub fn with_cache(&self, cache: Cache) -> Remote {
        let mut inner = (*self.0).clone();
        inner.cache = Some(cache);
        Remote(Arc::new(inner))
    }

    /// Fetches layers that the store lacks from where the manifest says they
    /// are.
    pub fn with_url_fetcher(&self, elsewhere: Arc<dyn UrlFetcher>) -> Remote {
        let mut inner = (*self.0).clone();
        inner.elsewhere = Some(elsewhere);
        Remote(Arc::new(inner))
    }

    /// Leaves configs where they are until they are read, as layers are: for
    /// callers that pass them on unread.
    pub fn without_configs(&self) -> Remote {
        let mut inner = (*self.0).clone();
        inner.configs = Configs::Later;
        Remote(Arc::new(inner))
    }

    /// Lists the tags of the store once, instead of asking for each of the tags
    /// that cosign or a client's list of referrers may have: for callers with many
    /// images of one repository, and for those that expect none of these tags.
    pub fn with_tags_listed(&self) -> Remote {
        let mut inner = (*self.0).clone();
        inner.tags = Some(Arc::default());
        Remote(Arc::new(inner))
    }

    /// The same, for callers that have listed the tags of the store: `tags` are all
    /// there are.
    pub fn with_tags(&self, tags: HashSet<Tag>) -> Remote {
        let mut inner = (*self.0).clone();
        inner.tags = Some(Arc::new(Listed::known(tags)));
        Remote(Arc::new(inner))
    }

    pub(super) fn listed(&self) -> Option<&Listed> {
        self.0.tags.as_deref()
    }

    /// The store.
    pub fn store(&self) -> &dyn ReadStore {
        &*self.0.store
    }

    /// What `target` points to. Layers are fetched when they are read, except
    /// those of a schema 1 image, which have to be read to convert it.
    ///
    /// # Errors
    /// Those of the store; [`Error::NoPlatform`] when nothing fits;
    /// [`Error::Malformed`] for manifests that break their format or bounds, and
    /// for those whose signatures are wrong.
    pub fn pull(&self, target: &Target, wanted: Select<'_>, run: Run<'_>) -> Result<Node> {
        let manifest = self.0.store.manifest(target)?;
        self.node(manifest, wanted, run)
    }

    /// The node of a manifest of this store; as [`Remote::pull`].
    ///
    /// # Errors
    /// As [`Remote::pull`].
    pub fn node(&self, manifest: Manifest, wanted: Select<'_>, run: Run<'_>) -> Result<Node> {
        let budget = &Budget::default();
        budget.hold(manifest.bytes().len() as u64)?;
        let chosen = self.resolver(budget, run).choose(manifest, wanted)?;
        self.whole(chosen, 0, budget, run)
    }

    fn resolver<'a>(&'a self, budget: &'a Budget, run: Run<'a>) -> Resolver<'a> {
        Resolver::new(&*self.0.store, budget, run)
    }

    /// A blob of the store, fetched when it is read.
    pub fn blob(&self, descriptor: &Descriptor) -> Blob {
        let lazy = Blob::new(
            descriptor.clone(),
            Lazy {
                remote: self.clone(),
                wanted: descriptor.clone(),
            },
        );
        match &self.0.cache {
            Some(cache) => cache.wrap(lazy),
            None => lazy,
        }
    }

    fn whole(
        &self,
        manifest: Manifest,
        depth: usize,
        budget: &Budget,
        run: Run<'_>,
    ) -> Result<Node> {
        match manifest.kind() {
            Kind::Image => self.image(manifest, budget).map(Node::Image),
            Kind::Schema1 => {
                // The signature was checked; the result is an unsigned image.
                manifest.signers()?;
                let blob = |digest: &Digest| self.blob_of_unknown_size(digest);
                image::schema1::convert(&manifest.schema1()?, blob, run).map(Node::Image)
            }
            Kind::Index => self.index(manifest, depth, budget, run).map(Node::Index),
            Kind::Unknown => {
                let blobs = manifest.artifact_blobs()?;
                let blobs = blobs.iter().map(|blob| self.blob(blob)).collect();
                Index::with_blobs(manifest, Vec::new(), blobs).map(Node::Index)
            }
        }
    }

    fn image(&self, manifest: Manifest, budget: &Budget) -> Result<Image> {
        let layers = manifest.image()?.layers;
        Image::of(manifest, |descriptor| {
            // The config of an alias is its first blob, of any size.
            let is_config = self.0.configs == Configs::Now
                && config::is_config(&descriptor.media_type)
                && descriptor.size <= config::MAX_SIZE
                && layers.iter().all(|layer| layer.digest != descriptor.digest);
            if is_config {
                budget.hold(descriptor.size)?;
                self.held(descriptor)
            } else {
                Ok(self.blob(descriptor))
            }
        })
    }

    /// A small blob, fetched now and kept in memory.
    fn held(&self, wanted: &Descriptor) -> Result<Blob> {
        let found = self.0.store.pull_blob(&wanted.digest, Some(wanted.size))?;
        let what = wanted.digest.to_string();
        let bytes = read_bounded(&what, found.reader, config::MAX_SIZE)?;
        let origin = self.0.origin.clone();
        Ok(Blob::new(wanted.clone(), Held { bytes, origin }))
    }

    fn blob_of_unknown_size(&self, digest: &Digest) -> Result<Blob> {
        let size = self.0.store.blob_size(digest)?;
        let size = size.ok_or_else(|| Error::NotFound {
            what: format!("{digest} in {}", self.0.store.name()),
        })?;
        Ok(self.blob(&Descriptor::new("", *digest, size)))
    }

    fn index(
        &self,
        manifest: Manifest,
        depth: usize,
        budget: &Budget,
        run: Run<'_>,
    ) -> Result<Index> {
        let resolver = self.resolver(budget, run);
        let entries = resolver.entries(&manifest, depth)?.into_iter();
        let (manifests, blobs): (Vec<_>, Vec<_>) = entries.partition(is_manifest);
        let blobs = blobs.iter().map(|entry| self.blob(entry)).collect();
        let children = parallel::map(run.jobs, manifests, run.watch.stop, |descriptor, stop| {
            let child = resolver.fetch(&descriptor)?;
            // One level of threads: what lies deeper is done one by one.
            let one = Run {
                jobs: 1,
                ..run.stopped_by(stop)
            };
            let node = self.whole(child, depth + 1, budget, one)?;
            Ok(Child { descriptor, node })
        })?;
        Index::with_blobs(manifest, children, blobs)
    }
}

/// Bytes in memory that a repository has too.
struct Held {
    bytes: Vec<u8>,
    origin: Option<Origin>,
}

impl Source for Held {
    fn open(&self, from: u64) -> Result<Box<dyn Read + Send + '_>> {
        let from = usize::try_from(from).unwrap_or(usize::MAX);
        Ok(Box::new(&self.bytes[from.min(self.bytes.len())..]))
    }

    fn origin(&self) -> Option<&Origin> {
        self.origin.as_ref()
    }
}

/// Bytes that a store has.
struct Lazy {
    remote: Remote,
    wanted: Descriptor,
}

impl Source for Lazy {
    fn open(&self, from: u64) -> Result<Box<dyn Read + Send + '_>> {
        let wanted = &self.wanted;
        let content = match self.remote.0.store.open_blob(&wanted.digest, from) {
            Err(error) if error.is_not_found() && is_foreign(wanted) => {
                return self.elsewhere(from);
            }
            content => content?,
        };
        if let Some(size) = content.size.filter(|size| *size != wanted.size) {
            return Err(Error::Size {
                what: wanted.digest.to_string(),
                expected: wanted.size,
                actual: size,
            });
        }
        Ok(content.reader)
    }

    fn origin(&self) -> Option<&Origin> {
        // A layer the registry lacks can't be mounted from it, but asking
        // costs one request and fails softly.
        self.remote.0.origin.as_ref()
    }
}

impl Lazy {
    /// Tries each address in turn. One that is none is the manifest's fault, not
    /// that of the words that were written.
    fn elsewhere(&self, from: u64) -> Result<Box<dyn Read + Send + '_>> {
        let mut last = kept_elsewhere(&self.wanted);
        let Some(elsewhere) = &self.remote.0.elsewhere else {
            return Err(last);
        };
        for url in urls(&self.wanted).into_iter().take(MAX_PLACES) {
            match elsewhere.open(url, from) {
                Ok(reader) => return Ok(reader),
                Err(error @ Error::Invalid { .. }) => {
                    last = Error::malformed(format!("layer {}", self.wanted.digest), error);
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }
}
