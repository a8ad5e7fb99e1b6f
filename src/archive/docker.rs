//! What `docker save` writes: a `manifest.json` that lists, for each image, its
//! config and its layers as members of the same tar.
//!
//! There is no manifest of a registry in it, so one is made, whose types say
//! what the layers' bytes are: plain, gzip or zstd. Read are the archives of
//! Docker (old and new), podman, skopeo (layers through links), crane (config
//! without `.json`, layers as `.tar.gz`), docker-drag and crpy.

use std::collections::HashMap;
use std::io::Read;

use serde::Deserialize;

use crate::blob::Blob;
use crate::bounds;
use crate::descriptor::{Descriptor, media_type};
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::file::Section;
use crate::graph::Budget;
use crate::image::layer::{self, Compression, Family, LayerType};
use crate::image::{Config, Image, MAX_LAYERS, config};
use crate::manifest::Builder;
use crate::parallel;
use crate::reference::Reference;
use crate::stream::Run;
use crate::tar::Index;

/// The file that makes a tar a docker-archive.
pub(crate) const LIST: &str = "manifest.json";
/// The file of Docker before 1.10 (2016), which engines still add.
pub(crate) const OLD_LIST: &str = "repositories";
/// The longest list that is read, bytes (as containers/image).
const MAX_LIST: u64 = bounds::DOCKER_LIST;

/// One image of the list.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Listed {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    #[serde(default)]
    layers: Option<Vec<String>>,
    #[serde(default)]
    layer_sources: Option<serde_json::Map<String, serde_json::Value>>,
}

impl Listed {
    /// The names, without those that are none (docker-drag writes
    /// `name:sha256:…`).
    pub fn names(&self) -> Vec<Reference> {
        let words = self.repo_tags.iter().flatten();
        words.filter_map(|word| word.parse().ok()).collect()
    }

    /// Whether only an engine that unpacks layers writes such an entry: Docker
    /// since 25 describes the plain layers it saves.
    pub fn is_an_engines(&self) -> bool {
        self.layer_sources
            .as_ref()
            .is_some_and(|sources| !sources.is_empty())
    }

    /// The digest that the config's name states.
    pub fn config_digest(&self) -> Option<Digest> {
        stated(&self.config)
    }
}

/// The images an archive lists; `None` when it has no list.
pub(crate) fn list(index: &Index) -> Result<Option<Vec<Listed>>> {
    if index.get(LIST).is_none() {
        return Ok(None);
    }
    let bytes = index.bytes(LIST, MAX_LIST)?;
    let list: Vec<Listed> =
        serde_json::from_slice(&bytes).map_err(|e| index.bad(format!("{LIST}: {e}")))?;
    for image in &list {
        let layers = image.layers.as_ref().map_or(0, Vec::len);
        if layers > MAX_LAYERS {
            return Err(index.bad(format!("{layers} layers exceed the limit of {MAX_LAYERS}")));
        }
    }
    Ok(Some(list))
}

/// A layer's digest, and how it is compressed.
type Known = (Digest, Compression);
/// The same with its bytes.
type Layer = (Section, Known);

/// Reads listed images; images share layers, and each is hashed once.
pub(crate) struct Reader<'a> {
    index: &'a Index,
    run: Run<'a>,
    known: HashMap<String, Known>,
    budget: Budget,
}

impl<'a> Reader<'a> {
    pub fn new(index: &'a Index, run: Run<'a>) -> Reader<'a> {
        Reader {
            index,
            run,
            known: HashMap::new(),
            budget: Budget::default(),
        }
    }

    /// A listed image, with a manifest made for it.
    pub fn image(&mut self, listed: &Listed) -> Result<Image> {
        let bytes = self.index.bytes(&listed.config, config::MAX_SIZE)?;
        self.budget.hold(bytes.len() as u64)?;
        let found = Digest::of(&bytes);
        if let Some(stated) = listed.config_digest().filter(|d| d.algorithm() == "sha256")
            && stated != found
        {
            return Err(Error::mismatch(stated, found));
        }
        let diff_ids = Config::parse(&bytes)?.diff_ids()?;
        let names = listed.layers.as_deref().unwrap_or_default();
        if names.len() != diff_ids.len() {
            let why = format!("{} layers, but {} diff ids", names.len(), diff_ids.len());
            return Err(self.index.bad(why));
        }
        self.learn(names)?;
        let layer = |(name, diff_id): (&String, Digest)| {
            let found = self.known.get(name).copied();
            let (digest, compression) = found.unwrap_or((diff_id, Compression::None));
            // The reader of a plain layer learns whether the config told the truth.
            let plain = compression == Compression::None;
            let digest = if plain { diff_id } else { digest };
            Ok((self.index.need(name)?.clone(), (digest, compression)))
        };
        let layers = names.iter().zip(diff_ids).map(layer);
        build(bytes, layers.collect::<Result<_>>()?)
    }

    /// Looks at the layers that no image before had.
    fn learn(&mut self, names: &[String]) -> Result<()> {
        let mut new: Vec<&String> = names
            .iter()
            .filter(|n| !self.known.contains_key(*n))
            .collect();
        new.sort();
        new.dedup();
        let Run { jobs, watch } = self.run;
        let index = self.index;
        let found = parallel::map(jobs, new, watch.stop, |name, stop| {
            let known = look(index, name, self.run.stopped_by(stop))?;
            Ok((name.clone(), known))
        })?;
        self.known.extend(found);
        Ok(())
    }
}

fn look(index: &Index, name: &str, run: Run<'_>) -> Result<Known> {
    let bytes = index.need(name)?;
    let mut head = Vec::with_capacity(Compression::MAGIC);
    bytes
        .reader(0)
        .take(Compression::MAGIC as u64)
        .read_to_end(&mut head)
        .map_err(|e| Error::io(name, e))?;
    let compression = Compression::sniff(&head);
    let digest = match (compression, stated(name)) {
        // Not looked at: the config has the digest of plain bytes.
        (Compression::None, _) => Digest::of(b""),
        (_, Some(digest)) if name.contains("blobs/") => digest,
        _ => {
            let unnamed = Digest::of(name.as_bytes());
            layer::hash(name, run.watch.reader(unnamed, bytes.reader(0)))?
        }
    };
    Ok((digest, compression))
}

/// A manifest in Docker's words; in OCI's when a layer is zstd, for which
/// Docker's have no generally known type.
fn build(config: Vec<u8>, layers: Vec<Layer>) -> Result<Image> {
    let zstd = layers.iter().any(|(_, (_, c))| *c == Compression::Zstd);
    let (family, manifest_type, config_type) = if zstd {
        (
            Family::Oci,
            media_type::OCI_MANIFEST,
            media_type::OCI_CONFIG,
        )
    } else {
        (
            Family::Docker,
            media_type::DOCKER_MANIFEST,
            media_type::DOCKER_CONFIG,
        )
    };
    let config = Blob::bytes(config_type, config);
    let layers: Vec<Blob> = layers
        .into_iter()
        .map(|(bytes, (digest, compression))| {
            let name = LayerType::new(family, compression).media_type();
            let name = name.unwrap_or(media_type::OCTET_STREAM);
            Blob::new(Descriptor::new(name, digest, bytes.len()), bytes)
        })
        .collect();
    let manifest = Builder::new(manifest_type)
        .config(config.descriptor())
        .layers(layers.iter().map(Blob::descriptor))
        .build()?;
    Image::new(manifest, config, layers)
}

/// The digest a member's name states: `blobs/sha256/<hex>`, `<hex>.json` of
/// Docker and skopeo, `sha256:<hex>` of crane.
fn stated(name: &str) -> Option<Digest> {
    let name = name.strip_prefix("./").unwrap_or(name);
    if let Some(rest) = name.strip_prefix("blobs/") {
        return rest.replacen('/', ":", 1).parse().ok();
    }
    let bare = name.strip_suffix(".json").unwrap_or(name);
    bare.parse()
        .or_else(|_| format!("sha256:{bare}").parse())
        .ok()
}
