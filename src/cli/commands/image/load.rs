//! `load-image`: from any store into Docker or podman.

use crate::cli::args::LoadImage;
use crate::cli::exit::Failure;
use crate::cli::image::engine::engine;
use crate::cli::image::item::name;
use crate::cli::image::open;
use crate::cli::image::platform::one_platform;
use crate::cli::image::read::items;
use crate::cli::session::Session;

/// `load-image [options] <image>`
pub fn run(s: &mut Session<'_, '_>, args: &LoadImage) -> Result<(), Failure> {
    let place = open::to_read(s, &args.words.take(1, 1)?[0])?;
    let choice = one_platform(s, args.platform.as_deref())?;
    let name = args.tag.as_deref().map(name).transpose()?;
    // Before anything is fetched: whether an engine can take it.
    let engine = engine(args.engine)?;
    let items = items(s, &place, &choice, name)?;
    let said = engine.load(s, &items, &choice.platform)?;
    s.write(said.as_bytes())
}
