//! What `docker save` writes: a `manifest.json` that lists, for each image, its
//! config and its layers as members of the same tar.
//!
//! There is no manifest of a registry in it, so one is made, whose types say
//! what the layers' bytes are: plain, gzip or zstd. Read are the archives of
//! Docker (old and new), podman, skopeo (layers behind links), crane (config
//! without `.json`, layers as `.tar.gz`), docker-drag and crpy.

use serde::Deserialize;
use serde_json::json;

use super::index::Index;
use crate::blob::Blob;
use crate::descriptor::{Descriptor, media_type};
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::image::layer::{self, Compression, Family, LayerType};
use crate::image::{Config, Image, MAX_LAYERS, config};
use crate::manifest::Manifest;
use crate::parallel;
use crate::reference::Reference;
use crate::spool::Stretch;
use crate::stream::Run;

/// The file that makes a tar a docker-archive.
pub(crate) const LIST: &str = "manifest.json";
/// The file of Docker before 1.10 (2016), which engines still add.
pub(crate) const OLD_LIST: &str = "repositories";
/// The longest list that is read, bytes (as containers/image).
const MAX_LIST: u64 = 1 << 20;

/// One image of the list.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Listed {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    #[serde(default)]
    layers: Option<Vec<String>>,
}

impl Listed {
    /// The names, without those that are none (docker-drag writes
    /// `name:sha256:…`).
    pub fn names(&self) -> Vec<Reference> {
        let words = self.repo_tags.iter().flatten();
        words.filter_map(|word| word.parse().ok()).collect()
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
            return Err(index.bad(format!("{layers} layers are more than {MAX_LAYERS}")));
        }
    }
    Ok(Some(list))
}

/// A listed image, with a manifest made for it.
pub(crate) fn read(index: &Index, listed: &Listed, run: Run<'_>) -> Result<Image> {
    let bytes = index.bytes(&listed.config, config::MAX_SIZE)?;
    let found = Digest::of(&bytes);
    if let Some(stated) = listed.config_digest().filter(|d| d.algorithm() == "sha256")
        && stated != found
    {
        return Err(Error::mismatch(stated, found));
    }
    let diff_ids = Config::parse(&bytes)?.diff_ids()?;
    let names = listed.layers.as_deref().unwrap_or_default();
    if names.len() != diff_ids.len() {
        let why = format!("{} layers for {} diff ids", names.len(), diff_ids.len());
        return Err(index.bad(why));
    }
    let work = names.iter().zip(diff_ids).collect();
    let layers = parallel::map(run.jobs, work, run.watch.stop, |(name, diff_id), stop| {
        read_layer(index, name, diff_id, run.stopped_by(stop))
    })?;
    build(bytes, layers)
}

/// A layer, its digest, and how it is compressed.
type Layer = (Stretch, Digest, Compression);

fn read_layer(index: &Index, name: &str, diff_id: Digest, run: Run<'_>) -> Result<Layer> {
    let bytes = index.need(name)?.clone();
    let unnamed = Descriptor::new("", diff_id, bytes.len());
    let compression = layer::sniff(&Blob::new(unnamed, bytes.clone()))?;
    let digest = match (compression, stated(name)) {
        // Whoever reads the layer finds out whether the config tells the truth.
        (Compression::None, _) => diff_id,
        (_, Some(digest)) if name.contains("blobs/") => digest,
        _ => layer::hash(name, run.watch.reader(diff_id, bytes.reader(0)))?,
    };
    Ok((bytes, digest, compression))
}

/// A manifest in Docker's words; in OCI's when a layer is zstd, for which
/// Docker's have no generally known type.
fn build(config: Vec<u8>, layers: Vec<Layer>) -> Result<Image> {
    let zstd = layers.iter().any(|(_, _, c)| *c == Compression::Zstd);
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
        .map(|(bytes, digest, compression)| {
            let name = LayerType::new(family, compression).media_type();
            let name = name.unwrap_or(media_type::OCTET_STREAM);
            Blob::new(Descriptor::new(name, digest, bytes.len()), bytes)
        })
        .collect();
    let listed: Vec<&Descriptor> = layers.iter().map(Blob::descriptor).collect();
    let document = json!({"schemaVersion": 2, "mediaType": manifest_type,
        "config": config.descriptor(), "layers": listed});
    let manifest = Manifest::new(None, document.to_string().into_bytes())?;
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
