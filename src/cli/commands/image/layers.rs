//! `list-layers`: an image's layers, and what made them.

use dxf_registry::image::config::Step;
use dxf_registry::image::layer;
use dxf_registry::{Blob, Result, json, text};
use serde_json::json;

use crate::cli::args::Look;
use crate::cli::env::Shape;
use crate::cli::exit::Failure;
use crate::cli::image::read::one;
use crate::cli::out::size;
use crate::cli::session::Session;

/// `list-layers <image>`
pub fn run(s: &mut Session<'_, '_>, look: &Look) -> Result<(), Failure> {
    let image = one(s, look)?;
    // An alias of blobs has layers too, and nothing records their origin.
    let config = match image.is_runnable() {
        true => Some(image.config()?),
        false => None,
    };
    let (ids, steps) = match &config {
        Some(config) => (config.diff_ids()?, config.history()),
        None => (Vec::new(), Vec::new()),
    };
    let made: Vec<&Step> = steps.iter().filter(|step| !step.empty_layer).collect();
    let by = |i: usize| made.get(i).map_or("", |step| &step.created_by);
    let layers = image.layers().iter().enumerate();
    if s.context.shape == Shape::Json {
        let one = |(i, blob): (usize, &Blob)| {
            let layer = blob.descriptor();
            json!({"index": i, "digest": layer.digest, "size": layer.size,
                "mediaType": layer.media_type, "diff_id": ids.get(i), "created_by": by(i),
                "urls": layer::urls(layer)})
        };
        return s.line(json::python(&layers.map(one).collect()));
    }
    let rows = layers.map(|(i, blob)| {
        vec![
            i.to_string(),
            blob.digest().to_string(),
            size::show(blob.size()),
            text::clean(&blob.descriptor().media_type),
            text::clean(by(i)),
        ]
    });
    s.table(rows.collect::<Vec<_>>(), &[0, 2])
}
