//! `get-config`: an image's config, byte for byte.

use dxf_registry::Result;

use crate::cli::args::Look;
use crate::cli::exit::Failure;
use crate::cli::image::read::one;
use crate::cli::session::Session;

/// `get-config <image>`
pub fn run(s: &mut Session<'_, '_>, look: &Look) -> Result<(), Failure> {
    let image = one(s, look)?;
    image.config_blob().copy_to("standard output", s.out)?;
    // A terminal's line is ended.
    s.document(b"")
}
