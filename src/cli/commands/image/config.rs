//! `get-config`: an image's config, byte for byte.

use dxf_registry::Result;
use dxf_registry::image::config;

use crate::cli::args::Look;
use crate::cli::exit::Failure;
use crate::cli::image::read::one;
use crate::cli::session::Session;

/// `get-config <image>`
pub fn run(s: &mut Session<'_, '_>, look: &Look) -> Result<(), Failure> {
    let image = one(s, look)?;
    if s.terminal.stdout {
        return s.document(&image.config_blob().read(config::MAX_SIZE)?);
    }
    image.config_blob().copy_to("standard output", s.out)?;
    Ok(())
}
