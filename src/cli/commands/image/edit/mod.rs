//! `edit-image`: another image out of an existing one, or out of nothing.

mod change;
mod report;
mod words;

use std::ffi::OsStr;

use dxf_registry::archive::Item;
use dxf_registry::graph::Select;
use dxf_registry::image::make::LayerOptions;
use dxf_registry::image::{Family, Image, Node, edit_images};
use dxf_registry::{Host, Place, Result};

use crate::cli::args::{self, EditImage};
use crate::cli::exit::Failure;
use crate::cli::image::destination::Destination;
use crate::cli::image::open;
use crate::cli::image::platform::{Choice, choose, platform_missing};
use crate::cli::image::read::{compressed, sole, uncached};
use crate::cli::session::Session;
use report::{Edited, report};

/// The name of an empty image, as in a Dockerfile.
const SCRATCH: &str = "scratch";

/// `edit-image [options] <image> <image>`
pub fn run(s: &mut Session<'_, '_>, args: &EditImage) -> Result<(), Failure> {
    let words = args.words.take(2, 2)?;
    let asked = change::parse(s, args)?;
    let place = open::to_write(s, &words[1])?;
    let to = Destination::new(s, &place)?.or_latest(&place)?;
    let from = From::parse(s, &words[0])?;
    if let Some(context) = &mut s.source {
        context.found(from.host());
    }
    let before = from.read(s, args)?;
    let options = LayerOptions {
        family: Family::of(before.manifest().media_type()),
        folder: &s.context.tmpdir,
        run: s.run(),
    };
    let changes = asked.into_iter().map(|asked| asked.make(options));
    let changes = changes.collect::<Result<Vec<_>>>()?;
    let after = edit_images(&before, &mut |image| -> Result<Image, Failure> {
        let mut editor = image.edit()?;
        for change in &changes {
            editor = change.apply(s, image, editor, options)?.ok()?;
        }
        Ok(editor.finish()?)
    })?;
    let foreign = args.nondistributable.choice();
    if args.dry_run {
        let (before, after) = (&before, &after);
        return report(s, Edited { before, after }, &to, foreign);
    }
    let digests = to.put(s, &[Item::new(Vec::new(), after)], foreign)?;
    for digest in digests.iter().filter(|_| !to.is_stdout()) {
        s.line(format_args!("{}@{digest}", to.name))?;
    }
    Ok(())
}

/// What is to be changed.
enum From {
    Scratch,
    Place(Place),
}

impl From {
    fn parse(s: &Session<'_, '_>, word: &OsStr) -> Result<From> {
        if word == SCRATCH {
            return Ok(From::Scratch);
        }
        open::source(s, word).map(From::Place)
    }

    fn host(&self) -> Option<&Host> {
        match self {
            From::Place(place) => place.host(),
            From::Scratch => None,
        }
    }

    /// Its layers are not read, and so not kept in the cache either when they
    /// have to be passed on.
    fn read(&self, s: &Session<'_, '_>, args: &EditImage) -> Result<Node, Failure> {
        let choice = Choice::new(s, args.platform.as_deref())?;
        let From::Place(place) = self else {
            if args.platform.as_deref() == Some("all") {
                let why = "an image made from scratch is for one platform";
                return Err(args::usage(why));
            }
            return Ok(Node::Image(Image::scratch(&choice.platform, Family::Oci)?));
        };
        let node = read(s, place, choice.wanted())?;
        choice.check(&node)?;
        Ok(node)
    }
}

/// What is at `place`, past the cache.
fn read(s: &Session<'_, '_>, place: &Place, wanted: Select<'_>) -> Result<Node, Failure> {
    if place.is_archive() {
        let mut item = sole(s, place)?;
        item.node = choose(item.node, wanted)?;
        return Ok(compressed(s, item)?.node);
    }
    let store = open::store(s, s.source(), place)?;
    let found = uncached(s, store).pull(&place.target()?, wanted, s.run());
    found.map_err(platform_missing)
}
