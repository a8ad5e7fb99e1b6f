//! `push-image`: from an archive, a folder or standard input into any store.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::path::Path;
use std::sync::Arc;

use dxf_registry::archive::{self, Item};
use dxf_registry::descriptor::annotation;
use dxf_registry::graph::{Remote, Select, is_referrers_tag};
use dxf_registry::image::Node;
use dxf_registry::layout::Layout;
use dxf_registry::{Descriptor, Digest, Error, Place, Result, Target};

use crate::cli::args::{self, PushImage};
use crate::cli::exit::Failure;
use crate::cli::image::destination::Destination;
use crate::cli::image::item::{must_differ, names, targets, without_related};
use crate::cli::image::open;
use crate::cli::image::read::{archived, compressed};
use crate::cli::session::Session;

/// `push-image [options] <FILE|DIR|-> <image>`
pub fn run(s: &mut Session<'_, '_>, args: &PushImage) -> Result<(), Failure> {
    let words = args.words.take(2, 2)?;
    let (file, image) = (&words[0], &words[1]);
    if file != "-" && Place::on_disk(file)?.is_missing() && Path::new(image).exists() {
        let (file, image) = (file.display(), image.display());
        let why = format!(
            "the arguments are in the wrong order; did you mean dxf push-image {image} {file}?"
        );
        return Err(args::usage(why));
    }
    let place = open::to_write(s, image)?;
    let to = destination(s, &place, args)?;
    let items = chosen(without_parts(given(s, file)?), args)?;
    if !to.is_archive() {
        must_differ(&items)?;
    }
    let foreign = args.nondistributable.choice();
    let at_once = if to.is_archive() { items.len() } else { 1 };
    for items in items.chunks(at_once.max(1)) {
        let items = items.iter().map(|item| compressed(s, item.clone()));
        let digests = to.put(s, &items.collect::<Result<Vec<_>>>()?, foreign)?;
        for digest in digests.iter().filter(|_| !to.is_stdout()) {
            s.line(format_args!("{}@{digest}", to.name))?;
        }
    }
    Ok(())
}

/// Where the images go: all under their own tags, or one under the tag that is
/// written.
fn destination(
    s: &Session<'_, '_>,
    place: &Place,
    args: &PushImage,
) -> Result<Destination, Failure> {
    let to = Destination::new(s, place)?;
    match args.all {
        false => Ok(to.or_latest(place)?),
        true if place.is_named() => {
            let why = "--all pushes each image under its own tags; leave out the tag";
            Err(args::usage(why))
        }
        true => Ok(to),
    }
}

/// The images that `word` names: an archive, a layout's folder, or `-`.
fn given(s: &mut Session<'_, '_>, word: &OsStr) -> Result<Vec<Item>, Failure> {
    if word == "-" {
        let (run, folder) = (s.run(), &s.context.tmpdir);
        let stdin = &mut *s.stdin;
        let read = || archive::open_stream("standard input", stdin, folder, run);
        return Ok(s.interrupt.waiting(read)?.into_items());
    }
    match Place::on_disk(word)? {
        Place::Layout {
            folder,
            tag,
            digest,
        } => {
            let digest = digest.map(Target::Digest);
            layout_items(s, &folder, digest.or(tag.map(Target::Tag)).as_ref())
        }
        place => Ok(archived(s, &place)?),
    }
}

/// The items but for nameless ones that others consist of: a layout may list
/// the images of an index beside it. Lists of referrers are not pushed either,
/// because the registry or its clients keep their own.
fn without_parts(mut items: Vec<Item>) -> Vec<Item> {
    items.retain(|item| {
        let tags = targets(item);
        let is_list =
            |target: &Target| matches!(target, Target::Tag(t) if is_referrers_tag(t.as_str()));
        !tags.iter().all(is_list)
    });
    let mut parts = HashSet::new();
    for item in &items {
        below(&item.node, &mut parts);
    }
    items.retain(|item| {
        let is_named = !item.names.is_empty() || !item.labels.is_empty();
        is_named || !parts.contains(&item.node.manifest().digest())
    });
    items
}

/// The digests of everything an index lists.
fn below(node: &Node, to: &mut HashSet<Digest>) {
    if let Node::Index(index) = node {
        for child in index.children() {
            to.insert(child.descriptor.digest);
            below(&child.node, to);
        }
    }
}

/// What a layout's index lists, or the one that `target` names.
fn layout_items(
    s: &Session<'_, '_>,
    path: &Path,
    target: Option<&Target>,
) -> Result<Vec<Item>, Failure> {
    if !path.join("oci-layout").exists() {
        let why = "it has no file oci-layout, so it is not an image layout; push-files stores the files of \
                   a folder";
        return Err(Error::malformed(path.display().to_string(), why).into());
    }
    let layout = Layout::at(path);
    let mut entries = layout.manifests()?;
    if let Some(target) = target {
        let chosen: HashSet<Digest> = entries
            .iter()
            .filter(|entry| names_it(entry, target))
            .map(|entry| entry.digest)
            .collect();
        entries.retain(|entry| chosen.contains(&entry.digest));
    }
    let remote = Remote::new(Arc::new(layout));
    let items = archive::items(&entries, |entry| {
        remote.pull(&Target::Digest(entry.digest), Select::All, s.run())
    })?;
    if items.is_empty() {
        let what = match target {
            Some(target) => format!("{target} in {}", path.display()),
            None => format!("an image in {}", path.display()),
        };
        return Err(Error::NotFound { what }.into());
    }
    Ok(items)
}

/// Whether an entry of a layout's index is what `target` names.
fn names_it(entry: &Descriptor, target: &Target) -> bool {
    match target {
        Target::Digest(digest) => entry.digest == *digest,
        Target::Tag(tag) => {
            let label = entry.annotations.get(annotation::REF_NAME);
            label.is_some_and(|label| label == tag.as_str())
        }
    }
}

/// The images to push.
fn chosen(mut items: Vec<Item>, args: &PushImage) -> Result<Vec<Item>, Failure> {
    if args.all {
        return Ok(items);
    }
    if let Some(word) = &args.tag {
        let all = names(&items);
        items.retain(|item| item.is_called(word));
        if items.is_empty() {
            let what = format!("an image called {word} (there are: {all})");
            return Err(Error::NotFound { what }.into());
        }
    }
    if args.tag.is_none() {
        items = without_related(items);
    }
    match items.len() {
        1 => Ok(items),
        several => {
            let what = format!(
                "it contains {several} images: {}; choose one with --tag, or push each with --all",
                names(&items)
            );
            Err(Error::Unsupported { what }.into())
        }
    }
}
