//! Changing an image: a new manifest and config over layers that are not read.
//!
//! [`Image::edit`] begins with an image and [`Editor::finish`] ends with
//! another. Layers that stay are the blobs they were, so putting the result
//! where they are already sends nothing of them. Their diff ids come from the
//! config. What is not named stays member for member, in its order; an edit
//! that changes nothing gives the very same bytes.

mod history;
mod rebase;
mod settings;
mod time;
mod tree;

use serde_json::{Map, Value, json};

pub use self::time::Timestamp;
pub use self::tree::edit_images;

use self::history::History;
use super::layer::{Family, LayerType, is_foreign};
use super::make::{Layer, LayerOptions};
use super::{Config, Image};
use crate::blob::Blob;
use crate::descriptor::media_type;
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::manifest::Builder;
use crate::platform::Platform;

/// An image being changed. The first thing that goes wrong is kept, and what
/// follows it is not done; [`Editor::finish`] tells.
///
/// ```
/// use dxf_registry::image::{Family, Image};
/// # fn main() -> dxf_registry::Result<()> {
/// let empty = Image::scratch(&"linux/arm64".parse()?, Family::Oci)?;
/// let image = empty.edit()?.set_env("LANG", "C.UTF-8").cmd(&["/app"]).finish()?;
/// assert_eq!(image.config()?.env(), ["LANG=C.UTF-8"]);
/// assert!(image.edit()?.set_env("", "x").finish().is_err());
/// # Ok(())
/// # }
/// ```
#[must_use = "an editor changes nothing until it is finished"]
pub struct Editor {
    draft: Draft,
    failed: Option<Error>,
}

/// What the image is to become.
struct Draft {
    base: Image,
    family: Family,
    manifest: Builder,
    config: Map<String, Value>,
    layers: Vec<Kept>,
    history: History,
    /// Whether the last step is that of a layer which this edit added, and has
    /// not been given other words.
    is_fresh: bool,
    /// When the steps that are added were made.
    created: Option<Timestamp>,
    /// Whether layers were taken away.
    is_reduced: bool,
}

/// A layer, with what the manifest says of it.
#[derive(Clone)]
struct Kept {
    blob: Blob,
    listed: Value,
    diff_id: Digest,
}

impl Image {
    /// An image without layers, to begin from nothing.
    ///
    /// # Errors
    /// None that a caller could cause.
    pub fn scratch(platform: &Platform, family: Family) -> Result<Image> {
        let (config_type, manifest_type) = match family {
            Family::Docker => (media_type::DOCKER_CONFIG, media_type::DOCKER_MANIFEST),
            Family::Oci => (media_type::OCI_CONFIG, media_type::OCI_MANIFEST),
        };
        let mut config = json!({"architecture": platform.architecture, "os": platform.os});
        if let (Some(variant), Some(members)) = (&platform.variant, config.as_object_mut()) {
            members.insert("variant".to_string(), variant.as_str().into());
        }
        config["config"] = json!({});
        config["rootfs"] = json!({"type": "layers", "diff_ids": []});
        let config = Blob::bytes(config_type, config.to_string().into_bytes());
        let manifest = Builder::new(manifest_type)
            .config(config.descriptor())
            .layers::<Value>([])
            .build()?;
        Image::new(manifest, config, Vec::new())
    }

    /// Begins to change the image; only its config is read.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for something that is not an image of a file system, such as an
    /// alias of plain blobs; [`Error::Malformed`] for one whose config tells of
    /// other layers than its manifest; those of the config's source.
    pub fn edit(&self) -> Result<Editor> {
        let draft = Draft::of(self)?;
        Ok(Editor {
            draft,
            failed: None,
        })
    }

    /// The layer at `index`, counted from 0, to be added to another image. It
    /// is not read, and mounted where that is possible.
    ///
    /// # Errors
    /// As [`Image::edit`], and [`Error::NotFound`] where there is none.
    pub fn layer(&self, index: usize) -> Result<Layer> {
        let draft = Draft::of(self)?;
        let kept = draft
            .layers
            .get(index)
            .ok_or_else(|| draft.no_layer(index))?;
        let step = draft.history.layer(index);
        let words = step.and_then(|step| step.get("created_by")?.as_str());
        Ok(Layer {
            blob: kept.blob.clone(),
            diff_id: kept.diff_id,
            created_by: words.unwrap_or_default().to_string(),
        })
    }
}

impl Editor {
    fn with(mut self, change: impl FnOnce(&mut Draft) -> Result<()>) -> Editor {
        if self.failed.is_none() {
            self.failed = change(&mut self.draft).err();
        }
        self
    }

    /// The layers as they are now, lowest first.
    pub fn layers(&self) -> impl ExactSizeIterator<Item = &Blob> {
        self.draft.layers.iter().map(|kept| &kept.blob)
    }

    /// Adds a layer on top, in the words of this image's media types.
    pub fn append(self, layer: Layer) -> Editor {
        self.with(|draft| draft.append(layer))
    }

    /// Takes layer `index` away, counted from 0 at the bottom, and its step of
    /// the history.
    pub fn remove(self, index: usize) -> Editor {
        self.with(|draft| draft.remove(index))
    }

    /// Takes every layer with this digest away.
    pub fn remove_digest(self, digest: &Digest) -> Editor {
        self.with(|draft| {
            let before = draft.layers.len();
            for index in (0..before).rev() {
                if draft.layers[index].blob.digest() == digest {
                    draft.remove(index)?;
                }
            }
            if draft.layers.len() < before {
                return Ok(());
            }
            let what = format!("layer {digest} in the image");
            Err(Error::NotFound { what })
        })
    }

    /// Takes the top layer away.
    pub fn remove_top(self) -> Editor {
        self.with(|draft| draft.remove(draft.layers.len().saturating_sub(1)))
    }

    /// Makes one layer of all. They are read for it, and what the history says
    /// of them stays, but as steps that made no layer. Where one of them must
    /// not be passed on, none is made.
    pub fn squash(self, options: LayerOptions<'_>) -> Editor {
        self.with(|draft| draft.squash(options))
    }

    /// The editor again, unless something went wrong.
    ///
    /// # Errors
    /// That of the first change that could not be made.
    pub fn ok(mut self) -> Result<Editor> {
        match self.failed.take() {
            Some(error) => Err(error),
            None => Ok(self),
        }
    }

    /// The changed image.
    ///
    /// # Errors
    /// That of the first change that could not be made;
    /// [`Error::Unsupported`] when every layer was taken away.
    pub fn finish(self) -> Result<Image> {
        self.ok()?.draft.finish()
    }
}

impl Draft {
    fn of(image: &Image) -> Result<Draft> {
        if !image.is_runnable() {
            return Err(Error::Unsupported {
                what: format!(
                    "{} is not an image with a file system",
                    image.manifest().digest()
                ),
            });
        }
        let (manifest, config) = (image.manifest(), image.config()?);
        let diff_ids = diff_ids(image, &config)?;
        let mut members = Builder::of(manifest)?;
        let listed = members.take_list("layers").unwrap_or_default();
        let kept = image.layers().iter().zip(listed).zip(diff_ids);
        let config = members_of(config)?;
        Ok(Draft {
            base: image.clone(),
            family: Family::of(manifest.media_type()),
            manifest: members,
            history: History::of(&config),
            config,
            layers: kept
                .map(|((blob, listed), diff_id)| Kept {
                    blob: blob.clone(),
                    listed,
                    diff_id,
                })
                .collect(),
            is_fresh: false,
            created: None,
            is_reduced: false,
        })
    }

    fn no_layer(&self, index: usize) -> Error {
        Error::NotFound {
            what: match self.layers.len() {
                0 => format!("layer {index}: the image has none"),
                1 => format!("layer {index}: the image has 1 layer, number 0"),
                n => format!(
                    "layer {index}: the image has {n} layers, numbers 0 to {}",
                    n - 1
                ),
            },
        }
    }

    fn append(&mut self, layer: Layer) -> Result<()> {
        super::bounded(self.layers.len() + 1)?;
        let step = self.step(&layer.created_by);
        self.history.push_layer(step, self.layers.len());
        self.is_fresh = true;
        let kept = self.adopt(&layer.blob, layer.diff_id)?;
        self.layers.push(kept);
        Ok(())
    }

    /// A layer of another image in this one's words.
    fn adopt(&self, blob: &Blob, diff_id: Digest) -> Result<Kept> {
        let kind = LayerType::parse(&blob.descriptor().media_type).ok_or_else(|| {
            let media_type = &blob.descriptor().media_type;
            Error::invalid("media type of a layer", media_type, "no layer has it")
        })?;
        let family = self.family;
        let blob = match (LayerType { family, ..kind }).media_type() {
            Some(name) => blob.with_media_type(name),
            // Docker has no word for it.
            None => blob.clone(),
        };
        let listed = serde_json::to_value(blob.descriptor());
        Ok(Kept {
            listed: listed.map_err(|e| Error::malformed("manifest", e))?,
            blob,
            diff_id,
        })
    }

    fn remove(&mut self, index: usize) -> Result<()> {
        if index >= self.layers.len() {
            return Err(self.no_layer(index));
        }
        self.layers.remove(index);
        if self.history.remove_layer(index) {
            self.is_fresh = false;
        }
        self.is_reduced = true;
        Ok(())
    }

    fn squash(&mut self, options: LayerOptions<'_>) -> Result<()> {
        if self.layers.len() < 2 {
            return Ok(());
        }
        let foreign = |kept: &&Kept| is_foreign(kept.blob.descriptor());
        if let Some(layer) = self.layers.iter().find(foreign) {
            return Err(Error::Unsupported {
                what: format!(
                    "layer {} is not distributable, and would be within another one",
                    layer.blob.digest()
                ),
            });
        }
        let blobs: Vec<Blob> = self.layers.iter().map(|kept| kept.blob.clone()).collect();
        let layer = Layer::squashed(&blobs, options)?;
        self.layers.clear();
        self.history.empty_all();
        self.append(layer)
    }

    /// A step of the history, in the order of the specification's members.
    fn step(&self, created_by: &str) -> Value {
        let mut step = Map::new();
        if let Some(created) = &self.created {
            step.insert("created".to_string(), created.to_string().into());
        }
        if !created_by.is_empty() {
            step.insert("created_by".to_string(), created_by.into());
        }
        Value::Object(step)
    }

    fn finish(mut self) -> Result<Image> {
        if self.layers.is_empty() && self.is_reduced {
            return Err(Error::Unsupported {
                what: "no layer would be left of this image".to_string(),
            });
        }
        self.history.write(&mut self.config);
        write_diff_ids(&self.layers, &mut self.config)?;
        let before = members_of(self.base.config()?)?;
        let mut config = self.base.config_blob().clone();
        if self.config != before {
            let bytes = serde_json::to_vec(&self.config);
            let bytes = bytes.map_err(|e| Error::malformed("config", e))?;
            config = Blob::bytes(&config.descriptor().media_type, bytes);
            self.manifest = self.manifest.repoint_config(config.descriptor());
        }
        let listed = self.layers.iter().map(|kept| kept.listed.clone());
        let made = self.manifest.layers(listed);
        if made == Builder::of(self.base.manifest())? {
            return Ok(self.base);
        }
        let manifest = made.build()?;
        let layers = self.layers.into_iter().map(|kept| kept.blob).collect();
        Image::new(manifest, config, layers)
    }
}

/// The diff id of each layer, which the config has to know.
fn diff_ids(image: &Image, config: &Config) -> Result<Vec<Digest>> {
    let (ids, layers) = (config.diff_ids()?, image.layers().len());
    if ids.len() == layers {
        return Ok(ids);
    }
    let why = format!("it lists {} layers, the manifest {layers}", ids.len());
    Err(Error::malformed("config", why))
}

fn members_of(config: Config) -> Result<Map<String, Value>> {
    match config.into_value() {
        Value::Object(members) => Ok(members),
        _ => Err(Error::malformed("config", "it is not a JSON object")),
    }
}

/// Writes the digests of the layers, unless they are unchanged.
fn write_diff_ids(layers: &[Kept], config: &mut Map<String, Value>) -> Result<()> {
    let ids: Vec<String> = layers.iter().map(|kept| kept.diff_id.to_string()).collect();
    let there = config
        .get("rootfs")
        .and_then(|rootfs| rootfs.get("diff_ids"));
    if there.and_then(Value::as_array).map_or(0, Vec::len) == 0 && ids.is_empty() {
        return Ok(());
    }
    let rootfs = object(config, "rootfs")?;
    if !rootfs.contains_key("type") {
        rootfs.insert("type".to_string(), "layers".into());
    }
    rootfs.insert("diff_ids".to_string(), ids.into());
    Ok(())
}

/// The object `name` in `parent`, made where there is none.
fn object<'a>(
    parent: &'a mut Map<String, Value>,
    name: &str,
) -> Result<&'a mut Map<String, Value>> {
    let slot = parent.entry(name).or_insert(Value::Null);
    if slot.is_null() {
        *slot = json!({});
    }
    let found = slot.as_object_mut();
    found.ok_or_else(|| Error::malformed("config", format!("{name} is not an object")))
}

#[cfg(test)]
mod tests;
