//! What `edit-image --dry-run` prints: each image before and after, and what
//! would be sent.

use std::collections::{BTreeMap, BTreeSet};

use dxf_registry::graph::Nondistributable;
use dxf_registry::image::{Image, Node};
use dxf_registry::{Blob, Result, json, text};
use serde_json::{Map, Value, json};

use crate::cli::env::Shape;
use crate::cli::exit::Failure;
use crate::cli::image::destination::Destination;
use crate::cli::image::transfer::Transfer;
use crate::cli::out::size;
use crate::cli::session::Session;

/// An image, and what became of it.
pub struct Edited<'a> {
    pub before: &'a Node,
    pub after: &'a Node,
}

/// Prints what changed, and what putting it would take.
pub fn report(
    s: &mut Session<'_, '_>,
    edited: Edited<'_>,
    to: &Destination,
    foreign: Nondistributable,
) -> Result<(), Failure> {
    let mut transfer = Transfer::new(to);
    let Edited { before, after } = edited;
    transfer.add(s, after, None, foreign)?;
    let images = pairs(before, after);
    let found = images.iter().map(|(was, is)| Diff::of(was, is));
    let diffs = found.collect::<Result<Vec<_>>>()?;
    let (name, digest) = (&to.name, after.manifest().digest());
    if s.context.shape == Shape::Json {
        let images: Vec<Value> = diffs.iter().map(Diff::value).collect();
        let whole = json!({"target": name, "digest": digest, "images": images, "transfer": transfer.value()});
        return s.line(json::python(&whole));
    }
    let mut rows = Vec::new();
    diffs.iter().for_each(|diff| diff.rows(&mut rows));
    rows.extend(transfer.rows());
    s.table(&rows, &[])?;
    s.line(format_args!("would print {name}@{digest}"))
}

/// Each image that was edited, before and after.
fn pairs<'a>(before: &'a Node, after: &'a Node) -> Vec<(&'a Image, &'a Image)> {
    let runnable = |node: &'a Node| {
        let images = node.images().into_iter().map(|(_, image)| image);
        images
            .filter(|image| image.is_runnable())
            .collect::<Vec<_>>()
    };
    runnable(before).into_iter().zip(runnable(after)).collect()
}

/// What became of an image.
struct Diff {
    platform: String,
    digests: [String; 2],
    layers: Vec<(&'static str, Blob, String)>,
    /// Members of manifest and config that differ: before and after.
    members: BTreeMap<String, (Value, Value)>,
}

impl Diff {
    fn of(was: &Image, is: &Image) -> Result<Diff> {
        let (mut old, mut new) = (BTreeMap::new(), BTreeMap::new());
        for (image, to) in [(was, &mut old), (is, &mut new)] {
            members(image.config()?.value(), to);
            for (name, value) in image.manifest().image()?.annotations {
                to.insert(format!("annotations.{name}"), value.into());
            }
        }
        let names: BTreeSet<String> = old.keys().chain(new.keys()).cloned().collect();
        let both = names.into_iter().map(|name| {
            let value = |all: &BTreeMap<String, Value>| all.get(&name).cloned().unwrap_or_default();
            let both = (value(&old), value(&new));
            (name, both)
        });
        Ok(Diff {
            platform: is.config()?.platform().to_string(),
            digests: [was, is].map(|image| image.manifest().digest().to_string()),
            layers: layers(was, is)?,
            members: both.filter(|(_, (was, is))| was != is).collect(),
        })
    }

    fn value(&self) -> Value {
        let layer = |(verb, blob, by): &(&str, Blob, String)| json!({"change": verb, "digest": blob.digest(), "size": blob.size(), "created_by": by});
        let member = |(name, (was, is)): (&String, &(Value, Value))| {
            (name.clone(), json!({"before": was, "after": is}))
        };
        let members: Map<String, Value> = self.members.iter().map(member).collect();
        json!({"platform": self.platform, "before": self.digests[0], "after": self.digests[1],
            "layers": self.layers.iter().map(layer).collect::<Vec<_>>(), "members": members})
    }

    fn rows(&self, rows: &mut Vec<Vec<String>>) {
        let [was, is] = &self.digests;
        let verb = if was == is { "same" } else { "image" };
        rows.push(vec![verb.into(), is.clone(), self.platform.clone()]);
        for (verb, blob, by) in &self.layers {
            rows.push(vec![
                verb.to_string(),
                blob.digest().to_string(),
                size::show(blob.size()),
                text::clean(by),
            ]);
        }
        for (name, (_, is)) in &self.members {
            let verb = if is.is_null() { "unset" } else { "set" };
            let value = if is.is_null() {
                String::new()
            } else {
                json::python(is)
            };
            rows.push(vec![verb.into(), text::clean(name), value]);
        }
    }
}

/// The members of a config one by one, without those that belong to the layers.
fn members(config: &Value, to: &mut BTreeMap<String, Value>) {
    for (name, value) in config.as_object().into_iter().flatten() {
        match (name.as_str(), value) {
            ("rootfs" | "history", _) => {}
            ("config", Value::Object(inner)) => {
                let inner = inner
                    .iter()
                    .map(|(name, v)| (format!("config.{name}"), v.clone()));
                to.extend(inner);
            }
            _ => {
                to.insert(name.clone(), value.clone());
            }
        }
    }
}

/// The layers of the new image, and those that were removed.
fn layers(was: &Image, is: &Image) -> Result<Vec<(&'static str, Blob, String)>> {
    let (mut old, mut all) = (was.layers().to_vec(), Vec::new());
    let steps = is.config()?.history().into_iter();
    let mut steps = steps.filter(|step| !step.empty_layer);
    for blob in is.layers() {
        let by = steps.next().map(|step| step.created_by);
        let verb = match old.iter().position(|other| other.digest() == blob.digest()) {
            Some(at) => {
                old.remove(at);
                "keep"
            }
            None => "add",
        };
        all.push((verb, blob.clone(), by.unwrap_or_default()));
    }
    all.extend(old.into_iter().map(|blob| ("remove", blob, String::new())));
    Ok(all)
}
