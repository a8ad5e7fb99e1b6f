//! `push-image`: from an archive, a folder or standard input into any store.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::path::Path;
use std::sync::Arc;

use dxf_registry::archive::{self, Item, Provenance};
use dxf_registry::image::Node;
use dxf_registry::image::gzip::{self, Which};
use dxf_registry::layout::Layout;
use dxf_registry::transfer::{Foreign, Remote, To, Wanted, put};
use dxf_registry::{Digest, Error, Reference, Result, Store, Tag, Target};

use super::pull::targets;
use super::{Location, names};
use crate::cli::args::{self, PushImage};
use crate::cli::exit::Failure;
use crate::cli::session::Session;

/// What a layout's index calls an image (image-spec, annotations.md).
const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// The same in full, by containerd and by [`archive::write`].
const FULL_NAME: &str = "io.containerd.image.name";

/// `push-image [options] <FILE|DIR|-> <image>`
pub fn push(s: &mut Session<'_, '_>, args: &PushImage) -> Result<(), Failure> {
    let words = args.words.take(2, 2)?;
    let location = Location::parse(s, args::text(&words[1])?)?;
    let to = Destination::new(s, &location, args)?;
    let items = without_parts(items(s, &words[0])?);
    for item in chosen(items, args)? {
        let digest = to.put(s, item)?;
        s.line(format_args!("{}@{digest}", to.name))?;
    }
    Ok(())
}

/// Where images go.
struct Destination {
    store: Arc<dyn Store>,
    /// What to print of it.
    name: String,
    /// The name written there; none where every image has its own.
    target: Option<Target>,
    /// The digest written behind a tag: what the image must turn out to be.
    expected: Option<Digest>,
    foreign: Foreign,
}

impl Destination {
    fn new(
        s: &Session<'_, '_>,
        location: &Location,
        args: &PushImage,
    ) -> Result<Destination, Failure> {
        let Some(store) = location.store(s)? else {
            let what = "an archive is written by pull-image, from any image or archive";
            return Err(Error::Unsupported { what: what.into() }.into());
        };
        let (name, written) = match location {
            Location::Registry { host, reference } => {
                (format!("{host}/{}", reference.repo), asked(reference))
            }
            Location::Repository { reference, .. } => {
                (reference.repo.to_string(), asked(reference))
            }
            Location::Layout { folder, target } => {
                let target = target.clone();
                (format!("oci:{}", folder.display()), (target, None))
            }
            Location::Archive(path) => (path.display().to_string(), (None, None)),
        };
        let (target, expected) = match (args.all, written) {
            (false, written) => written,
            (true, (None, None)) => (None, None),
            (true, _) => {
                let why = "--all pushes each image under its own tags; leave out the tag";
                return Err(args::usage(why));
            }
        };
        // Docker's rule for a repository without a tag.
        let is_layout = matches!(location, Location::Layout { .. });
        let target = match target {
            None if !args.all && !is_layout => Some(Target::Tag("latest".parse()?)),
            target => target,
        };
        let foreign = if args.allow_nondistributable {
            Foreign::Send
        } else {
            Foreign::Skip
        };
        Ok(Destination {
            store,
            name,
            target,
            expected,
            foreign,
        })
    }

    fn put(&self, s: &Session<'_, '_>, item: Item) -> Result<Digest, Failure> {
        let item = compressed(s, item)?;
        let digest = item.node.manifest().digest();
        if let Some(expected) = self.expected.filter(|expected| *expected != digest) {
            return Err(Error::mismatch(expected, digest).into());
        }
        let targets = match &self.target {
            Some(target) => vec![target.clone()],
            None => targets(&item),
        };
        for target in &targets {
            let to = To {
                store: &*self.store,
                target,
                foreign: self.foreign,
            };
            let done = put(&item.node, &to, s.run())?;
            for layer in &done.left_out {
                s.console.warn(&format!(
                    "layer {} is not distributable and stays where it is; --allow-nondistributable pushes it",
                    layer.digest
                ));
            }
        }
        Ok(digest)
    }
}

/// The name a reference gives, and the digest it demands beside a tag.
fn asked(reference: &Reference) -> (Option<Target>, Option<Digest>) {
    match (&reference.tag, reference.digest) {
        (Some(tag), digest) => (Some(Target::Tag(tag.clone())), digest),
        (None, Some(digest)) => (Some(Target::Digest(digest)), None),
        (None, None) => (None, None),
    }
}

/// Layers that an engine unpacked are compressed again, always to the same
/// bytes; what has its own manifest is passed on as it is.
fn compressed(s: &Session<'_, '_>, mut item: Item) -> Result<Item> {
    if let (Provenance::Made, Node::Image(image)) = (item.provenance, &item.node) {
        let small = gzip::recompress(image, Which::Plain, &s.context.tmpdir, s.run())?;
        item.node = Node::Image(small);
    }
    Ok(item)
}

/// The images that `word` names: an archive, a layout's folder, or `-`.
fn items(s: &mut Session<'_, '_>, word: &OsStr) -> Result<Vec<Item>, Failure> {
    let (run, folder) = (s.run(), &s.context.tmpdir);
    if word == "-" {
        let stdin = &mut *s.stdin;
        let read = || archive::read_stream("standard input", stdin, folder, run);
        return Ok(s.interrupt.waiting(read)?);
    }
    let path = Path::new(word);
    if path.is_dir() {
        return layout_items(s, path, None);
    }
    if !path.exists()
        && let Some(word) = word.to_str()
        && ["oci:", "oci-archive:", "docker-archive:"]
            .iter()
            .any(|scheme| word.starts_with(scheme))
    {
        return match Location::parse(s, word)? {
            Location::Layout { folder, target } => layout_items(s, &folder, target.as_ref()),
            Location::Archive(path) => Ok(archive::read(&path, folder, run)?),
            _ => Err(args::usage("that is no archive")),
        };
    }
    Ok(archive::read(path, folder, run)?)
}

/// The items but for nameless ones that others consist of: a layout may list
/// the images of an index beside it.
fn without_parts(mut items: Vec<Item>) -> Vec<Item> {
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
    let layout = Layout::at(path);
    if !path.join("oci-layout").exists() {
        let why = "it has no file oci-layout, so it is no image layout";
        return Err(Error::malformed(path.display().to_string(), why).into());
    }
    let mut found: Vec<(Digest, Vec<Reference>, Vec<String>)> = Vec::new();
    for entry in layout.manifests()? {
        let label = entry.annotations.get(REF_NAME).cloned();
        let name = entry.annotations.get(FULL_NAME);
        let name = name.and_then(|name| name.parse().ok());
        match found
            .iter_mut()
            .find(|(digest, ..)| *digest == entry.digest)
        {
            Some((_, names, labels)) => {
                names.extend(name);
                labels.extend(label);
            }
            None => found.push((
                entry.digest,
                name.into_iter().collect(),
                label.into_iter().collect(),
            )),
        }
    }
    let remote = Remote::new(Arc::new(layout));
    match target {
        None => {}
        Some(Target::Digest(digest)) => found.retain(|(found, ..)| found == digest),
        Some(Target::Tag(tag)) => found.retain(|(_, _, labels)| has(labels, tag)),
    }
    let whole = |(digest, names, labels): (Digest, Vec<Reference>, Vec<String>)| {
        let node = remote.pull(&Target::Digest(digest), Wanted::All, s.run())?;
        Ok(Item {
            labels,
            ..Item::new(names, node)
        })
    };
    let items: Result<Vec<Item>> = found.into_iter().map(whole).collect();
    let items = items?;
    if items.is_empty() {
        let what = match target {
            Some(target) => format!("{target} in {}", path.display()),
            None => format!("an image in {}", path.display()),
        };
        return Err(Error::NotFound { what }.into());
    }
    Ok(items)
}

fn has(labels: &[String], tag: &Tag) -> bool {
    labels.iter().any(|label| label == tag.as_str())
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
    match items.len() {
        1 => Ok(items),
        several => {
            let what = format!(
                "it holds {several} images: {}; choose one with --tag, or push each with --all",
                names(&items)
            );
            Err(Error::Unsupported { what }.into())
        }
    }
}
