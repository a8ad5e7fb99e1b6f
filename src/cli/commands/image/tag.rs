//! `tag-image`: more names for what is in a repository already.

use dxf_registry::Tag;
use dxf_registry::transfer::put_named;

use crate::cli::args::{self, Words};
use crate::cli::exit::Failure;
use crate::cli::image::destination::Destination;
use crate::cli::image::location::Location;
use crate::cli::session::Session;

/// `tag-image <image> <tag> …`
pub fn run(s: &mut Session<'_, '_>, words: &Words) -> Result<(), Failure> {
    let words = words.take(2, usize::MAX)?;
    let location = Location::parse(s, args::text(&words[0])?)?;
    let tags = words[1..].iter().map(|word| args::text(word)?.parse());
    let tags: Vec<Tag> = tags.collect::<Result<_, _>>()?;
    let store = location.repository(s)?;
    let name = Destination::new(s, &location)?.name;
    let manifest = store.manifest(&location.target()?)?;
    for tag in tags {
        s.interrupt.stop().check()?;
        let target = tag.into();
        put_named(&manifest, &*store, &target)?;
        s.line(format_args!(
            "{}@{}",
            target.within(&name),
            manifest.digest()
        ))?;
    }
    Ok(())
}
