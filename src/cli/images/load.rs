//! `load-image`: from any store into Docker or podman.

use super::Location;
use super::engine::engine;
use super::pull::{Choice, items, name};
use crate::cli::args::{self, LoadImage};
use crate::cli::exit::Failure;
use crate::cli::session::Session;

/// `load-image [options] <image>`
pub fn load(s: &mut Session<'_, '_>, args: &LoadImage) -> Result<(), Failure> {
    let word = args::text(&args.words.take(1, 1)?[0])?;
    let location = Location::parse(s, word)?;
    let choice = one_platform(s, args.platform.as_deref())?;
    let name = args.tag.as_deref().map(name).transpose()?;
    // Before anything is fetched: whether there is anybody to take it.
    let engine = engine(args.engine)?;
    let items = items(s, &location, &choice, name)?;
    let said = engine.load(s, &items, &choice.platform)?;
    s.write(said.as_bytes())
}

/// The platform that `--platform` asks for, which can't be all of them.
pub fn one_platform(s: &Session<'_, '_>, flag: Option<&str>) -> Result<Choice, Failure> {
    if flag == Some("all") {
        return Err(args::usage("an engine takes the image of one platform"));
    }
    Ok(Choice::new(s, flag)?)
}
