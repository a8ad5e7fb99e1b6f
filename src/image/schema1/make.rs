//! Today's images in Docker's first format, for what reads nothing newer.
//!
//! Follows distribution's `configManifestBuilder`, which did the same for old
//! engines: one layer a step of the history, an empty one where the step made
//! none, and ids that are digests of what is below.

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::{OF_THE_LAYER, Step};
use crate::blob::Blob;
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::image::config::{self, Config};
use crate::image::layer::{Compression, LayerType};
use crate::image::{Image, config::Step as Made};
use crate::jws;
use crate::reference::{RepoName, Tag};

/// An archive of no files, compressed: the layer of steps that made none. Every
/// tool uses these very bytes, so that most registries have them already.
const EMPTY_LAYER: [u8; 32] = [
    31, 139, 8, 0, 0, 9, 110, 136, 0, 255, 98, 24, 5, 163, 96, 20, 140, 88, 0, 8, 0, 0, 255, 255,
    46, 175, 181, 239, 0, 4, 0, 0,
];

/// When a step was made that does not say it: Go's zero, as Docker wrote it.
const NEVER: &str = "0001-01-01T00:00:00Z";

/// An image in the old format.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Schema1 {
    /// The manifest, to be signed ([`crate::Manifest::signed`]).
    pub payload: Vec<u8>,
    /// What the manifest names, each once.
    pub blobs: Vec<Blob>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Document<'a> {
    schema_version: u8,
    name: &'a str,
    tag: &'a str,
    architecture: String,
    fs_layers: Vec<Value>,
    history: Vec<Value>,
}

/// The image in the old format, which has the name it goes by written in it.
///
/// # Errors
/// [`Error::Unsupported`] for layers that are not gzip
/// ([`crate::image::gzip::recompress`] makes them so) or that are kept
/// elsewhere; [`Error::Malformed`] when config and layers disagree, and those of
/// the config's source.
pub fn make(image: &Image, repo: &RepoName, tag: &Tag) -> Result<Schema1> {
    image.layers().iter().try_for_each(is_gzip)?;
    let config_json = image.config_blob().read(config::MAX_SIZE)?;
    let config = Config::parse(&config_json)?;
    let empty = Blob::bytes("", EMPTY_LAYER.to_vec());
    let steps = steps(&config, image.layers(), &empty)?;
    let (mut layers, mut history) = (Vec::new(), Vec::new());
    let mut parent = String::new();
    for (at, (step, blob)) in steps.iter().enumerate() {
        let below = format!("{} {parent}", blob.digest().hex());
        let (id, text) = if at + 1 < steps.len() {
            let id = Digest::of(below.as_bytes()).hex();
            let text = lower(step, &id, &parent);
            (id, text)
        } else {
            let all = [below.as_bytes(), b" ", &config_json].concat();
            let id = Digest::of(&all).hex();
            let text = top(&config, step, &id, &parent);
            (id, text)
        };
        layers.push(json!({"blobSum": blob.digest()}));
        history.push(json!({"v1Compatibility": text}));
        parent = id;
    }
    // Newest first.
    layers.reverse();
    history.reverse();
    let document = Document {
        schema_version: 1,
        name: repo.as_str(),
        tag: tag.as_str(),
        architecture: config.platform().architecture,
        fs_layers: layers,
        history,
    };
    Ok(Schema1 {
        payload: jws::pretty(&document)?,
        blobs: each_once(steps.into_iter().map(|(_, blob)| blob)),
    })
}

fn is_gzip(layer: &Blob) -> Result<()> {
    let kind = LayerType::parse(&layer.descriptor().media_type);
    match kind {
        Some(kind) if kind.compression == Compression::Gzip && !kind.foreign => Ok(()),
        _ => Err(Error::Unsupported {
            what: format!(
                "layer {} is {}; schema 1 takes gzip that may be passed on",
                layer.digest(),
                layer.descriptor().media_type
            ),
        }),
    }
}

/// Every step with its layer, oldest first. An image that tells no history has
/// a step a layer.
fn steps(config: &Config, layers: &[Blob], empty: &Blob) -> Result<Vec<(Made, Blob)>> {
    let mut history = config.history();
    if history.is_empty() {
        history = vec![Made::default(); layers.len()];
    }
    let full = history.iter().filter(|step| !step.empty_layer).count();
    if full != layers.len() || history.is_empty() {
        let why = format!("{} layers but {full} steps with files", layers.len());
        return Err(Error::malformed("config", why));
    }
    let mut layers = layers.iter();
    let paired = history.into_iter().map(|step| {
        let own = if step.empty_layer {
            None
        } else {
            layers.next()
        };
        (step, own.unwrap_or(empty).clone())
    });
    Ok(paired.collect())
}

/// The JSON of a step that others follow: enough to be shown, not to be run.
fn lower(step: &Made, id: &str, parent: &str) -> String {
    let mut out = Map::new();
    out.insert("id".into(), id.into());
    if !parent.is_empty() {
        out.insert("parent".into(), parent.into());
    }
    if !step.comment.is_empty() {
        out.insert("comment".into(), step.comment.as_str().into());
    }
    let created = step.created.as_deref().unwrap_or(NEVER);
    out.insert("created".into(), created.into());
    let command = json!({"Cmd": [step.created_by]});
    out.insert("container_config".into(), command);
    if step.empty_layer {
        out.insert("throwaway".into(), true.into());
    }
    Value::Object(out).to_string()
}

/// The JSON of the newest step: the image's config.
fn top(config: &Config, step: &Made, id: &str, parent: &str) -> String {
    let mut out: Step = config.value().as_object().cloned().unwrap_or_default();
    for name in ["rootfs", "history"].iter().chain(&OF_THE_LAYER) {
        out.shift_remove(*name);
    }
    out.insert("id".into(), id.into());
    if !parent.is_empty() {
        out.insert("parent".into(), parent.into());
    }
    if step.empty_layer {
        out.insert("throwaway".into(), true.into());
    }
    Value::Object(out).to_string()
}

fn each_once(blobs: impl Iterator<Item = Blob>) -> Vec<Blob> {
    let mut seen = std::collections::HashSet::new();
    blobs.filter(|blob| seen.insert(*blob.digest())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::descriptor::media_type;
    use crate::image::check;
    use crate::image::schema1::convert;
    use crate::image::tests::{Made as Layer, image};
    use crate::manifest::Manifest;
    use crate::stream::{Run, Stop, Watch};
    use proptest::prelude::*;

    fn names() -> (RepoName, Tag) {
        ("team/app".parse().unwrap(), "v1".parse().unwrap())
    }

    /// An image of `layers` whose config is `edit`ed.
    fn edited(layers: &[Layer<'_>], edit: impl Fn(&mut Value)) -> Image {
        let base = image(layers);
        let mut value = base.config().unwrap().into_value();
        edit(&mut value);
        let config = Blob::bytes(media_type::OCI_CONFIG, value.to_string().into_bytes());
        let mut view = base.manifest().image().unwrap();
        view.config = config.descriptor().clone();
        let manifest = Manifest::new(None, serde_json::to_vec(&view).unwrap()).unwrap();
        Image::new(manifest, config, base.layers().to_vec()).unwrap()
    }

    fn back(made: &Schema1) -> Image {
        let stop = Stop::new();
        let run = Run::new(2, Watch::new(&(), &stop));
        let manifest = Manifest::new(Some(media_type::SCHEMA1), made.payload.clone()).unwrap();
        let find = |d: &Digest| {
            let found = made.blobs.iter().find(|blob| blob.digest() == d);
            Ok(found.unwrap().clone())
        };
        let image = convert(&manifest.schema1().unwrap(), find, run).unwrap();
        check(&image, run).unwrap();
        image
    }

    #[test]
    fn there_and_back_the_image_runs_the_same() {
        let (repo, tag) = names();
        let layers = [Layer::Gzip(b"base"), Layer::Gzip(b"top")];
        let there = edited(&layers, |config| {
            config["history"] = json!([
                {"created": "2020-01-01T00:00:00Z", "created_by": "ADD base"},
                {"created_by": "ENV a=b", "empty_layer": true},
                {"created_by": "ADD top", "comment": "c"},
                {"created_by": "CMD x", "empty_layer": true},
            ]);
            config["odd"] = 7.into();
        });
        let made = make(&there, &repo, &tag).unwrap();
        assert_eq!(made.blobs.len(), 3);
        let again = back(&made);
        let (a, b) = (there.config().unwrap(), again.config().unwrap());
        assert_eq!(a.diff_ids().unwrap(), b.diff_ids().unwrap());
        assert_eq!((b.cmd(), b.platform()), (a.cmd(), a.platform()));
        let empty: Vec<bool> = b.history().iter().map(|step| step.empty_layer).collect();
        assert_eq!(empty, [false, true, false, true]);
        assert_eq!(
            (&b.value()["odd"], b.history()[0].created_by.as_str()),
            (&7.into(), "ADD base")
        );
        assert_eq!(make(&there, &repo, &tag).unwrap().payload, made.payload);
    }

    #[test]
    fn ids_are_those_distribution_gives() {
        let (repo, tag) = names();
        let made = make(&image(&[Layer::Gzip(b"a"), Layer::Gzip(b"b")]), &repo, &tag).unwrap();
        let document: Value = serde_json::from_slice(&made.payload).unwrap();
        let step = |at: usize| -> Value {
            let text = document["history"][at]["v1Compatibility"].as_str().unwrap();
            serde_json::from_str(text).unwrap()
        };
        let sum = document["fsLayers"][1]["blobSum"].as_str().unwrap();
        let id = Digest::of(format!("{} ", &sum[7..]).as_bytes()).hex();
        assert_eq!(
            (&step(1)["id"], &step(0)["parent"]),
            (&id.clone().into(), &id.into())
        );
        assert!(step(1).get("parent").is_none() && step(0).get("rootfs").is_none());
        let text = String::from_utf8(made.payload).unwrap();
        let lead = "{\n   \"schemaVersion\": 1,\n   \"name\": \"team/app\",\n   \"tag\": \"v1\",";
        assert!(text.starts_with(lead), "{text}");
    }

    #[test]
    fn what_the_format_can_t_say_is_refused() {
        let (repo, tag) = names();
        for layer in [Layer::Plain(b"a"), Layer::Zstd(b"a")] {
            let refused = make(&image(&[layer]), &repo, &tag);
            assert!(matches!(refused, Err(Error::Unsupported { .. })));
        }
        let none = make(&image(&[]), &repo, &tag);
        assert!(matches!(none, Err(Error::Malformed { .. })));
        let short = edited(&[Layer::Gzip(b"a")], |config| {
            config["history"] = json!([{"empty_layer": true}]);
        });
        assert!(matches!(
            make(&short, &repo, &tag),
            Err(Error::Malformed { .. })
        ));
        assert_eq!(
            Digest::of(&EMPTY_LAYER).to_string(),
            "sha256:a3ed95caeb02ffe68cdd9fd84406680ae93d633cb16422d00e8a7c22955b46d4"
        );
    }

    proptest! {
        #[test]
        fn any_history_that_fits_survives(empty in proptest::collection::vec(any::<bool>(), 1..6), word in "\\PC{0,12}") {
            let (repo, tag) = names();
            let contents: Vec<Vec<u8>> = (0..empty.len()).map(|at| vec![at as u8]).collect();
            let full = contents.iter().zip(&empty).filter(|(_, empty)| !**empty);
            let layers: Vec<Layer<'_>> = full.map(|(bytes, _)| Layer::Gzip(bytes)).collect();
            let there = edited(&layers, |config| {
                config["history"] = empty.iter().map(|e| json!({"created_by": word, "empty_layer": e})).collect();
            });
            let again = back(&make(&there, &repo, &tag).unwrap());
            let steps = again.config().unwrap().history();
            prop_assert_eq!(steps.iter().map(|s| s.empty_layer).collect::<Vec<_>>(), empty);
        }
    }
}
