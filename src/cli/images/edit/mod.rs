//! `edit-image`: another image out of one that is there, or out of nothing.

mod change;
mod report;
mod words;

use dxf_registry::Result;
use dxf_registry::archive::Item;
use dxf_registry::image::{Family, Image, Node, build, edit_images};
use dxf_registry::transfer::{Foreign, Wanted};

use super::destination::Destination;
use super::pull::Choice;
use super::push::compressed;
use super::{Location, choose, look, platform_missing, sole, uncached};
use crate::cli::args::{self, EditImage};
use crate::cli::exit::Failure;
use crate::cli::session::Session;

/// What stands for an image with nothing in it, as in a Dockerfile.
const SCRATCH: &str = "scratch";

/// `edit-image [options] <image> <image>`
pub fn edit(s: &mut Session<'_, '_>, args: &EditImage) -> Result<(), Failure> {
    let words = args.words.take(2, 2)?;
    let asked = change::parse(s, args)?;
    let location = Location::parse(s, args::text(&words[1])?)?;
    let to = Destination::new(s, &location)?.or_latest(&location)?;
    let before = source(s, &words[0], args)?;
    let settings = build::Settings {
        family: Family::of(before.manifest().media_type()),
        folder: &s.context.tmpdir,
        run: s.run(),
    };
    let is_bare = before.images().iter().all(|(_, i)| i.layers().is_empty());
    let made = asked
        .into_iter()
        .map(|change| change.make(settings, is_bare));
    let changes = made.collect::<Result<Vec<_>>>()?;
    let after = edit_images(&before, &mut |image| -> Result<Image, Failure> {
        let mut editor = image.edit()?;
        for change in &changes {
            editor = change.apply(s, image, editor, settings)?.ok()?;
        }
        Ok(editor.finish()?)
    })?;
    let foreign = if args.allow_nondistributable {
        Foreign::Send
    } else {
        Foreign::Skip
    };
    if args.dry_run {
        return report::report(s, (&before, &after), &to, foreign);
    }
    let digests = to.put(s, &[Item::new(Vec::new(), after)], foreign)?;
    for digest in digests.iter().filter(|_| !to.is_stdout()) {
        s.line(format_args!("{}@{digest}", to.name))?;
    }
    Ok(())
}

/// What is to be changed. Its layers are not read, and so not kept in the cache
/// either when they have to be passed on.
fn source(s: &Session<'_, '_>, word: &std::ffi::OsStr, args: &EditImage) -> Result<Node, Failure> {
    let choice = Choice::new(s, args.platform.as_deref())?;
    if word == SCRATCH {
        if args.platform.as_deref() == Some("all") {
            return Err(args::usage(
                "an image made from nothing is for one platform",
            ));
        }
        return Ok(Node::Image(Image::scratch(&choice.platform, Family::Oci)?));
    }
    let location = look::location_by(s.source(), word)?;
    let node = read(s, &location, choice.wanted())?;
    choice.check(&node)?;
    Ok(node)
}

/// What is at `location`, past the cache.
fn read(s: &Session<'_, '_>, location: &Location, wanted: Wanted<'_>) -> Result<Node, Failure> {
    if let Location::Archive { .. } = location {
        let mut item = sole(s, location)?;
        item.node = choose(item.node, wanted)?;
        return Ok(compressed(s, item)?.node);
    }
    let store = location.repository_by(s, s.source())?;
    let found = uncached(s, store).pull(&location.target()?, wanted, s.run());
    found.map_err(platform_missing)
}
