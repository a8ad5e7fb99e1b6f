//! `get-history`: the commands an image was made with.

use dxf_registry::{Result, json};
use serde_json::json;

use crate::cli::args::Look;
use crate::cli::env::Shape;
use crate::cli::exit::Failure;
use crate::cli::image::read::one;
use crate::cli::session::Session;

/// `get-history <image>`
pub fn run(s: &mut Session<'_, '_>, look: &Look) -> Result<(), Failure> {
    let image = one(s, look)?;
    let config = image.config()?;
    if s.context.shape == Shape::Json {
        let history = config.value().get("history").filter(|h| h.is_array());
        return s.line(json::python(history.unwrap_or(&json!([]))));
    }
    let mut steps = config.history().into_iter();
    steps.try_for_each(|step| s.line(&step.created_by))
}
