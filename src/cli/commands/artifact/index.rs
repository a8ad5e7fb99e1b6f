//! `make-index`: an index of images or artifacts, or a change of one.

use std::ffi::OsString;

use dxf_registry::graph::{Nondistributable, PushTarget, Select, push, push_manifest};
use dxf_registry::image::{Image, Node};
use dxf_registry::manifest::{ATTESTED, Builder, Kind, Manifest, is_selectable};
use dxf_registry::store::Expected;
use dxf_registry::{Descriptor, Digest, Error, Platform, Result, Store, Target, descriptor};
use serde_json::Value;

use crate::cli::args::{self, MakeIndex};
use crate::cli::exit::Failure;
use crate::cli::image::destination::Destination;
use crate::cli::image::open;
use crate::cli::image::read::node;
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
        (false, []) => return Err(args::usage("too few arguments")),
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
    let mut index = Changed::new(old.as_ref())?;
    for word in &args.remove {
        index.remove(word)?;
    }
    for (entry, old) in index.add_all(s, &**store, sources)? {
        s.console.warn(&format!(
            "{entry} replaces {old}, which is for the same platform"
        ));
    }
    let manifest = index.manifest(annotations)?;
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

/// An index that is being made.
struct Changed {
    document: Builder,
    entries: Vec<Value>,
}

impl Changed {
    /// A new index, or a copy of one.
    fn new(old: Option<&Manifest>) -> Result<Changed> {
        let Some(old) = old else {
            let document = Builder::new(descriptor::media_type::OCI_INDEX);
            return Ok(Changed {
                document,
                entries: Vec::new(),
            });
        };
        if old.kind() != Kind::Index {
            let what =
                "it is one image and no index; make-index without --add and --remove makes one";
            return Err(Error::Unsupported {
                what: what.to_string(),
            });
        }
        let mut document = Builder::of(old)?;
        let entries = document.take_list("manifests").unwrap_or_default();
        Ok(Changed { document, entries })
    }

    /// Removes the entries of a digest or platform, and their attestations.
    fn remove(&mut self, word: &str) -> Result<()> {
        let (digest, platform) = match word.contains(':') {
            true => (Some(word.parse::<Digest>()?), None),
            false => (None, Some(word.parse::<Platform>()?)),
        };
        let mut gone: Vec<String> = Vec::new();
        for entry in self.entries.iter().filter_map(read) {
            let is_meant = Some(entry.digest) == digest
                || platform.is_some() && is_selectable(&entry) && same(&entry, platform.as_ref());
            if is_meant {
                gone.push(entry.digest.to_string());
            }
        }
        if gone.is_empty() {
            let what = format!("{word} in the index");
            return Err(Error::NotFound { what });
        }
        self.entries.retain(|value| {
            read(value).is_none_or(|entry| {
                let about = entry.annotations.get(ATTESTED);
                !gone.contains(&entry.digest.to_string())
                    && !about.is_some_and(|d| gone.contains(d))
            })
        });
        Ok(())
    }

    /// Copies images into `store` and lists them; what replaces what.
    fn add_all(
        &mut self,
        s: &Session<'_, '_>,
        store: &dyn Store,
        words: &[OsString],
    ) -> Result<Vec<(Digest, Digest)>, Failure> {
        let mut replaced = Vec::new();
        for word in words {
            let place = open::to_read(s, word)?;
            let node = node(s, &place, Select::All)?.at(&format!("source {place}"));
            for (entry, node) in entries(&node)? {
                s.interrupt.stop().check()?;
                let target = Target::Digest(entry.digest);
                let to =
                    PushTarget::new(store, &target).with_nondistributable(Nondistributable::Skip);
                push(&node, &to, s.run())?;
                replaced.extend(self.add(&entry).map(|old| (entry.digest, old)));
            }
        }
        Ok(replaced)
    }

    /// Lists an entry once; of one platform the last. The digest it replaces.
    fn add(&mut self, entry: &Descriptor) -> Option<Digest> {
        let known = |value: &Value| {
            read(value).map(|known| (known.digest, same(&known, entry.platform.as_ref())))
        };
        let fits = is_selectable(entry);
        let at = self.entries.iter().position(|value| {
            known(value).is_some_and(|(digest, same)| digest == entry.digest || fits && same)
        });
        match at {
            None => {
                self.entries.push(entry.into());
                None
            }
            Some(at) => {
                let old = std::mem::replace(&mut self.entries[at], entry.into());
                let old = read(&old).map(|old| old.digest)?;
                (old != entry.digest).then_some(old)
            }
        }
    }

    fn manifest(mut self, annotations: Vec<(String, String)>) -> Result<Manifest> {
        let mut document = self.document.manifests(std::mem::take(&mut self.entries));
        if !annotations.is_empty() {
            let mut all = match document.get("annotations") {
                Some(Value::Object(all)) => all.clone(),
                _ => serde_json::Map::new(),
            };
            all.extend(
                annotations
                    .into_iter()
                    .map(|(name, value)| (name, value.into())),
            );
            document = document.annotations(all);
        }
        document.build()
    }
}

/// An entry; `None` for what is none, which is kept as it is.
fn read(value: &Value) -> Option<Descriptor> {
    serde_json::from_value(value.clone()).ok()
}

fn same(entry: &Descriptor, platform: Option<&Platform>) -> bool {
    is_selectable(entry) && entry.platform.as_ref() == platform
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
    if image.is_runnable() {
        entry.platform = Some(image.config()?.platform());
    } else if let Some(kind) = image.manifest().referrer()?.artifact_type() {
        entry.rest.insert("artifactType".to_string(), kind.into());
    }
    Ok(entry)
}
