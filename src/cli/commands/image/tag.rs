//! `tag-image`: more names for what is in a repository already.

use dxf_registry::graph::push_manifest;
use dxf_registry::place::tag;
use dxf_registry::{Error, Tag};

use crate::cli::args::{self, Words};
use crate::cli::exit::Failure;
use crate::cli::image::destination::Destination;
use crate::cli::image::open;
use crate::cli::session::Session;

/// `tag-image <image> <tag> …`
pub fn run(s: &mut Session<'_, '_>, words: &Words) -> Result<(), Failure> {
    let words = words.take(2, usize::MAX)?;
    let place = open::to_read(s, &words[0])?;
    let tags = words[1..].iter().map(|word| tag(args::text(word)?));
    let tags: Vec<Tag> = tags.collect::<Result<_, _>>()?;
    let store = open::store(s, s.context, &place)?;
    let name = Destination::new(s, &place)?.name;
    let manifest = store.manifest(&place.target()?)?;
    if let [first, _, ..] = &tags[..]
        && !place.is_named()
        && store.head(&first.clone().into())?.is_some()
    {
        let (image, rest) = (words[0].display(), tags[1..].iter().map(Tag::as_str));
        let rest: Vec<&str> = rest.collect();
        let why = format!(
            "latest is assumed where no tag is written, and would replace {first}; for the image \
             {first} write {image}:{first} {}, otherwise {image}:latest",
            rest.join(" ")
        );
        return Err(Error::invalid("image", image.to_string(), why).into());
    }
    for tag in tags {
        s.interrupt.stop().check()?;
        let target = tag.into();
        push_manifest(&*store, &manifest, &target, None)?;
        s.line(format_args!(
            "{}@{}",
            target.within(&name),
            manifest.digest()
        ))?;
    }
    Ok(())
}
