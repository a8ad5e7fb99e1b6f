//! `attach`: an artifact that refers to an image.

use std::ffi::OsString;
use std::path::Path;

use dxf_registry::graph::{Budget, PushTarget, Resolver, Select, push, push_manifest};
use dxf_registry::image::Node;
use dxf_registry::{Descriptor, Error, Place, Platform, ReadStore, Tag, Target};

use crate::cli::args::{self, Attach};
use crate::cli::artifact::make::{self, Form};
use crate::cli::exit::Failure;
use crate::cli::image::destination::Destination;
use crate::cli::image::open;
use crate::cli::image::platform::platform_missing;
use crate::cli::session::Session;

/// `attach [options] <image> [PATH[:TYPE] …]`
pub fn run(s: &mut Session<'_, '_>, args: &Attach) -> Result<(), Failure> {
    let words = args.words.take(1, usize::MAX)?;
    let [image, paths @ ..] = words else {
        return Err(args::usage("too few arguments"));
    };
    let about = &args.about;
    if about.kind.is_none() && about.config.is_none() {
        return Err(args::usage("the artifact needs a type: --type T"));
    }
    if paths.is_empty() && !about.is_annotated() {
        return Err(args::usage("nothing to attach: give files or --annotation"));
    }
    let platform: Option<Platform> = args.platform.as_deref().map(str::parse).transpose()?;
    let place = open::to_read(s, image)?;
    let store = open::store(s, s.context, &place)?;
    let name = Destination::new(s, &place)?.name;
    if let Some(named) = tag_apart(image, &place, paths) {
        return Err(args::usage(named));
    }
    let artifact = make::artifact(s, about, paths, Form::Layers)?;
    let subject = subject(s, &*store, &place, platform.as_ref())?;
    let image = make::image(s, &artifact.with_subject(subject))?;
    let digest = image.manifest().digest();
    let (target, node) = (Target::Digest(digest), Node::Image(image));
    let done = push(&node, &PushTarget::new(&*store, &target), s.run())?;
    if done.known_manifests > 0 {
        // It may be missing from the subject's list, which is kept with the PUT.
        push_manifest(&*store, node.manifest(), &target, None)?;
    }
    s.line(format_args!("{name}@{digest}"))
}

/// What to write where the tag is a word of its own, as `push-files` takes it.
fn tag_apart(image: &OsString, place: &Place, paths: &[OsString]) -> Option<String> {
    let [word, _, ..] = paths else { return None };
    let tag = word.to_str()?;
    let is_tag = tag.parse::<Tag>().is_ok() && !Path::new(word).exists();
    let image = image.display();
    (is_tag && !place.is_named())
        .then(|| format!("there is no file {tag}; a tag belongs to the image: {image}:{tag}"))
}

/// The manifest at a place, or the one for a platform in it.
fn subject(
    s: &Session<'_, '_>,
    store: &dyn ReadStore,
    place: &Place,
    platform: Option<&Platform>,
) -> Result<Descriptor, Failure> {
    let target = place.target()?;
    let Some(platform) = platform else {
        let found = store.head(&target)?;
        return Ok(found.ok_or_else(|| Error::NotFound {
            what: format!("there is no {place} to attach to; push it first"),
        })?);
    };
    let budget = Budget::default();
    let resolver = Resolver::new(store, &budget, s.run());
    let chosen = resolver.choose(store.manifest(&target)?, Select::Platform(platform));
    Ok(chosen.map_err(platform_missing)?.descriptor())
}
