//! Docker's first manifest format, turned into its second.
//!
//! Old registries still serve schema 1 alone. No engine loads it, so a config
//! is made of the history it carries, as containers/image does
//! (`docker_schema1.go`). The result is another image with another digest.
//! `make` (feature `schema1-signing`) goes the other way.

#[cfg(feature = "schema1-signing")]
mod make;

use std::collections::HashMap;

use serde_json::{Map, Value, json};

use crate::blob::Blob;
use crate::descriptor::media_type;
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::image::Image;
use crate::image::layer::{self, Family, LayerType};
use crate::manifest::{Builder, Schema1Manifest};
use crate::parallel;
use crate::stream::Run;

#[cfg(feature = "schema1-signing")]
pub use make::{Schema1, make};

/// Members of a layer's JSON that say nothing of the image.
const OF_THE_LAYER: [&str; 6] = ["id", "parent", "parent_id", "layer_id", "Size", "throwaway"];

/// The image that a schema 1 manifest describes. Every layer is read once, to
/// learn what the old format did not write down; `blob` gives a layer with its
/// true size.
///
/// # Errors
/// [`Error::Malformed`] when history and layers disagree, those of the layers.
pub fn convert(
    manifest: &Schema1Manifest,
    blob: impl Fn(&Digest) -> Result<Blob> + Sync,
    run: Run<'_>,
) -> Result<Image> {
    let (steps, kept) = steps(manifest)?;
    super::bounded(kept.len())?;
    let mut unique = kept.clone();
    unique.sort();
    unique.dedup();
    let read = parallel::map(run.jobs, unique, run.watch.stop, |digest, stop| {
        let watch = run.stopped_by(stop).watch;
        let found = blob(&digest)?;
        watch.progress.start(&digest, Some(found.size()));
        let plain = layer::open(&found, watch)?;
        let compression = plain.compression;
        let diff_id = layer::hash(&digest.to_string(), plain)?;
        watch.progress.finish(&digest);
        Ok((digest, (named(&found, compression), diff_id)))
    })?;
    // A layer that is listed twice was read once.
    let read: HashMap<Digest, (Blob, Digest)> = read.into_iter().collect();
    let all = kept.iter().filter_map(|digest| read.get(digest).cloned());
    let (layers, diff_ids): (Vec<Blob>, Vec<Digest>) = all.unzip();
    let config = config(&steps, &diff_ids)?;
    let manifest = Builder::new(media_type::DOCKER_MANIFEST)
        .config(config.descriptor())
        .layers(layers.iter().map(Blob::descriptor))
        .build()?;
    Image::new(manifest, config, layers)
}

fn named(blob: &Blob, compression: layer::Compression) -> Blob {
    let media_type = LayerType::new(Family::Docker, compression).media_type();
    blob.with_media_type(media_type.unwrap_or(media_type::OCTET_STREAM))
}

/// A layer's JSON.
type Step = Map<String, Value>;

/// The layers' JSON, oldest first, and the layers that hold files.
fn steps(manifest: &Schema1Manifest) -> Result<(Vec<Step>, Vec<Digest>)> {
    let bad = |why: String| Error::malformed("schema 1 manifest", why);
    let (layers, history) = (&manifest.fs_layers, &manifest.history);
    if layers.len() != history.len() || layers.is_empty() {
        let why = format!("{} layers but {} steps", layers.len(), history.len());
        return Err(bad(why));
    }
    let (mut steps, mut kept) = (Vec::new(), Vec::new());
    for (layer, step) in layers.iter().zip(history).rev() {
        let step: Step =
            serde_json::from_str(&step.v1_compatibility).map_err(|e| bad(e.to_string()))?;
        if !is_empty(&step) {
            kept.push(layer.blob_sum);
        }
        steps.push(step);
    }
    Ok((steps, kept))
}

fn is_empty(step: &Step) -> bool {
    step.get("throwaway") == Some(&Value::Bool(true))
}

fn config(steps: &[Step], diff_ids: &[Digest]) -> Result<Blob> {
    // The newest layer's JSON is the image's.
    let mut config = steps.last().cloned().unwrap_or_default();
    for name in OF_THE_LAYER {
        config.shift_remove(name);
    }
    let history: Vec<Value> = steps.iter().map(history).collect();
    config.insert(
        "rootfs".into(),
        json!({"type": "layers", "diff_ids": diff_ids}),
    );
    config.insert("history".into(), Value::Array(history));
    let bytes = serde_json::to_vec(&config).map_err(|e| Error::malformed("config", e))?;
    Ok(Blob::bytes(media_type::DOCKER_CONFIG, bytes))
}

fn history(step: &Step) -> Value {
    let mut out = Map::new();
    for name in ["created", "author", "comment"] {
        if let Some(value) = step.get(name) {
            out.insert(name.to_string(), value.clone());
        }
    }
    let command = step.get("container_config").and_then(|c| c.get("Cmd"));
    let words = command.and_then(Value::as_array).into_iter().flatten();
    let words: Vec<&str> = words.filter_map(Value::as_str).collect();
    if !words.is_empty() {
        out.insert("created_by".to_string(), words.join(" ").into());
    }
    if is_empty(step) {
        out.insert("empty_layer".to_string(), true.into());
    }
    Value::Object(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Manifest;
    use crate::image::check;
    use crate::stream::{Stop, Watch};
    use std::io::Write;

    fn gzip(bytes: &[u8]) -> Blob {
        let mut to = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        to.write_all(bytes).unwrap();
        Blob::bytes("", to.finish().unwrap())
    }

    fn manifest(layers: &[&Blob], history: &[Value]) -> Schema1Manifest {
        let document = json!({"schemaVersion": 1, "name": "a", "tag": "t", "architecture": "amd64",
            "fsLayers": layers.iter().map(|b| json!({"blobSum": b.digest()})).collect::<Vec<_>>(),
            "history": history.iter().map(|h| json!({"v1Compatibility": h.to_string()})).collect::<Vec<_>>()});
        let bytes = document.to_string().into_bytes();
        Manifest::new(Some(media_type::SCHEMA1_SIGNED), bytes)
            .unwrap()
            .schema1()
            .unwrap()
    }

    #[test]
    fn a_layer_listed_often_is_read_once() {
        let stop = Stop::new();
        let run = Run::new(2, Watch::new(&(), &stop));
        let layer = gzip(b"same");
        let step = json!({"id": "x"});
        let reads = std::sync::atomic::AtomicUsize::new(0);
        let blob = |_: &Digest| {
            reads.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            Ok(layer.clone())
        };
        let many = manifest(&vec![&layer; 50], &vec![step.clone(); 50]);
        assert_eq!(convert(&many, blob, run).unwrap().layers().len(), 50);
        assert_eq!(reads.load(std::sync::atomic::Ordering::Relaxed), 1);
        let most = crate::image::MAX_LAYERS + 1;
        let many = manifest(&vec![&layer; most], &vec![step; most]);
        assert!(convert(&many, blob, run).is_err());
        assert_eq!(reads.load(std::sync::atomic::Ordering::Relaxed), 1);
    }

    #[test]
    fn becomes_an_image_that_holds() {
        let stop = Stop::new();
        let run = Run::new(2, Watch::new(&(), &stop));
        let (base, empty, top) = (gzip(b"base"), gzip(b""), gzip(b"top"));
        let blobs = [base.clone(), empty.clone(), top.clone()];
        let m = manifest(
            &[&top, &empty, &base],
            &[
                json!({"id": "3", "parent": "2", "os": "linux", "architecture": "amd64", "config": {"Cmd": ["x"]},
                "container_config": {"Cmd": ["/bin/sh", "-c", "make"]}, "created": "2016-01-01T00:00:00Z", "Size": 3}),
                json!({"id": "2", "parent": "1", "throwaway": true, "container_config": {"Cmd": ["#(nop) ENV"]}}),
                json!({"id": "1", "comment": "first"}),
            ],
        );
        let find = |d: &Digest| Ok(blobs.iter().find(|b| b.digest() == d).unwrap().clone());
        let image = convert(&m, find, run).unwrap();
        check(&image, run).unwrap();
        assert_eq!(
            image
                .layers()
                .iter()
                .map(|l| *l.digest())
                .collect::<Vec<_>>(),
            [*base.digest(), *top.digest()]
        );
        let config = image.config().unwrap();
        assert_eq!(config.platform().to_string(), "linux/amd64");
        assert_eq!(
            config.diff_ids().unwrap(),
            [Digest::of(b"base"), Digest::of(b"top")]
        );
        let history = config.history();
        assert_eq!(
            history.iter().map(|s| s.empty_layer).collect::<Vec<_>>(),
            [false, true, false]
        );
        assert_eq!(
            (history[0].comment.as_str(), history[2].created_by.as_str()),
            ("first", "/bin/sh -c make")
        );
        assert!(config.value().get("id").is_none() && config.value().get("Size").is_none());
    }

    #[test]
    fn lists_that_disagree_are_refused() {
        let stop = Stop::new();
        let run = Run::new(1, Watch::new(&(), &stop));
        let a = gzip(b"a");
        for m in [
            manifest(&[&a], &[]),
            manifest(&[], &[]),
            manifest(&[&a], &[json!(7)]),
        ] {
            let made = convert(&m, |_| Ok(a.clone()), run);
            assert!(matches!(made, Err(Error::Malformed { .. })));
        }
    }
}
