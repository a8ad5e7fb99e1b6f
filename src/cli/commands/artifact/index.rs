//! `make-index`: an index of images or artifacts, or a change of one.

use std::ffi::OsString;

use dxf_registry::graph::{Nondistributable, PushTarget, Select, push, push_manifest};
use dxf_registry::image::{Image, Node, config};
use dxf_registry::manifest::{IndexBuilder, Kind};
use dxf_registry::store::Expected;
use dxf_registry::{Descriptor, Digest, Error, Result, Store, Target};

use crate::cli::args::{self, MakeIndex};
use crate::cli::exit::Failure;
use crate::cli::image::destination::Destination;
use crate::cli::image::open;
use crate::cli::image::read::source_node;
use crate::cli::session::Session;

/// `make-index [options] <image> [<image> …]`
pub fn run(s: &mut Session<'_, '_>, args: &MakeIndex) -> Result<(), Failure> {
    let words = args.words.take(1, usize::MAX)?;
    let is_change = !args.add.is_empty() || !args.remove.is_empty();
    let sources = match (is_change, &words[1..]) {
        (true, []) => &args.add,
        (true, _) => {
            return Err(args::usage(
                "--add and --remove change one index; use --add for each image",
            ));
        }
        (false, []) => {
            return Err(args::usage(
                "too few arguments (images to list in the index)",
            ));
        }
        (false, sources) => &sources.to_vec(),
    };
    let annotations = annotations(&args.annotation)?;
    let place = open::to_write(s, &words[0])?;
    let to = Destination::new(s, &place)?.or_latest(&place)?;
    let (Some(store), Some(target @ Target::Tag(tag))) = (to.store(), &to.target) else {
        return Err(args::usage("the index needs a tag in a registry or folder"));
    };
    let old = match is_change {
        true => Some(store.manifest(target)?),
        false => None,
    };
    let mut index = match &old {
        Some(old) if old.kind() != Kind::Index => {
            let what =
                "it is an image, not an index; make-index without --add and --remove makes one";
            return Err(Error::Unsupported { what: what.into() }.into());
        }
        Some(old) => IndexBuilder::of(old)?,
        None => IndexBuilder::default(),
    };
    for word in &args.remove {
        remove(&mut index, word)?;
    }
    for (entry, old) in add_all(s, &mut index, &**store, sources)? {
        s.console.warn(&format!(
            "{entry} replaces {old}, which is for the same platform"
        ));
    }
    index.annotate(annotations);
    let manifest = index.build()?;
    let digest = manifest.digest();
    let expected = match (&old, to.expected) {
        (Some(old), expected) => Some(Expected::Manifest(expected.unwrap_or(old.digest()))),
        (None, Some(expected)) if expected != digest => {
            return Err(Error::mismatch(expected, digest).into());
        }
        (None, _) => None,
    };
    push_manifest(&**store, &manifest, &tag.clone().into(), expected)?;
    s.line(format_args!("{}@{digest}", to.name))
}

/// `NAME=VALUE` of each option.
fn annotations(words: &[String]) -> Result<Vec<(String, String)>, Failure> {
    let split = words.iter().map(|word| match word.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_string(), value.to_string())),
        _ => Err(args::usage(format!(
            "--annotation takes NAME=VALUE, not {word:?}"
        ))),
    });
    split.collect()
}

/// Removes the entries that a digest or a platform names.
fn remove(index: &mut IndexBuilder, word: &str) -> Result<()> {
    let found = match word.contains(':') {
        true => index.remove(&word.parse()?),
        false => index.remove_platform(&word.parse()?),
    };
    if found {
        return Ok(());
    }
    let what = format!("{word} in the index");
    Err(Error::NotFound { what })
}

/// Copies images into `store` and lists them; what replaces what.
fn add_all(
    s: &Session<'_, '_>,
    index: &mut IndexBuilder,
    store: &dyn Store,
    words: &[OsString],
) -> Result<Vec<(Digest, Digest)>, Failure> {
    let mut replaced = Vec::new();
    for word in words {
        let place = open::source(s, word)?;
        let node = source_node(s, &place, Select::All)?.at(&format!("source {place}"));
        for (entry, node) in entries(&node)? {
            s.interrupt.stop().check()?;
            let target = Target::Digest(entry.digest);
            let to = PushTarget::new(store, &target).with_nondistributable(Nondistributable::Skip);
            push(&node, &to, s.run())?;
            replaced.extend(index.add(&entry).map(|old| (entry.digest, old)));
        }
    }
    Ok(replaced)
}

/// What an index lists of a node: the image, or what its index lists.
fn entries(node: &Node) -> Result<Vec<(Descriptor, Node)>> {
    match node {
        Node::Image(image) => Ok(vec![(
            described(image, image.manifest().descriptor())?,
            node.clone(),
        )]),
        Node::Index(index) => {
            let children = index.children().iter().map(|child| {
                let entry = child.descriptor.clone();
                let entry = match &child.node {
                    Node::Image(image) => described(image, entry)?,
                    Node::Index(_) => entry,
                };
                Ok((entry, child.node.clone()))
            });
            children.collect()
        }
    }
}

/// An entry with the platform of its image, or the type of its artifact.
fn described(image: &Image, mut entry: Descriptor) -> Result<Descriptor> {
    if entry.platform.is_some() {
        return Ok(entry);
    }
    if config::has_platform(&image.manifest().image()?) {
        let platform = image.config()?.platform();
        entry.platform = Some(platform)
            .filter(|p| image.is_runnable() || !p.is_unknown())
            .map(Box::new);
    }
    if image.is_runnable() {
        return Ok(entry);
    }
    if let Some(kind) = image.manifest().referrer()?.artifact_type() {
        entry.rest.insert("artifactType".to_string(), kind.into());
    }
    Ok(entry)
}
