//! `diff-images`: what differs between two images.

use dxf_registry::image::{self, Change, Diff, Image, Member, Of};
use dxf_registry::{Error, Result, json};
use serde_json::{Value, json};

use crate::cli::args::DiffImages;
use crate::cli::env::Shape;
use crate::cli::exit::Failure;
use crate::cli::image::read::one_of;
use crate::cli::out::size;
use crate::cli::session::Session;

/// `diff-images [--platform P] <image> <image>`
pub fn run(s: &mut Session<'_, '_>, args: &DiffImages) -> Result<(), Failure> {
    let words = args.words.take(2, 2)?;
    let platform = args.platform.as_deref();
    let (first, second) = (
        one_of(s, &words[0], platform)?,
        one_of(s, &words[1], platform)?,
    );
    for image in [&first, &second] {
        must_be_runnable(image)?;
    }
    let found = image::diff(&first, &second, s.watch())?;
    match s.context.shape {
        Shape::Json => s.line(json::python(&value(&found))),
        Shape::Text => lines(&found).into_iter().try_for_each(|line| s.line(line)),
    }
}

fn must_be_runnable(image: &Image) -> Result<()> {
    match image.is_runnable() {
        true => Ok(()),
        false => Err(Error::Unsupported {
            what: "an artifact with no file system to compare".into(),
        }),
    }
}

fn change(change: Change) -> (char, &'static str) {
    match change {
        Change::Added => ('A', "added"),
        Change::Removed => ('D', "removed"),
        Change::SetByFirst => ('<', "set by first"),
        Change::SetBySecond => ('>', "set by second"),
        _ => ('M', "changed"),
    }
}

fn of(of: Of) -> (char, &'static str) {
    match of {
        Of::First => ('D', "first"),
        Of::Second => ('A', "second"),
        Of::Both => ('=', "both"),
    }
}

fn value(found: &Diff) -> Value {
    let member =
        |one: &Member| json!({"pointer": one.pointer, "first": one.first, "second": one.second});
    let config: Value = found.config.iter().map(member).collect();
    let layers = found
        .layers
        .iter()
        .map(|layer| json!({"digest": layer.digest, "size": layer.size, "of": of(layer.of).1}));
    let files = found.files.iter().map(|file| {
        json!({"path": String::from_utf8_lossy(&file.name), "change": change(file.change).1})
    });
    json!({"config": config, "layers": layers.collect::<Value>(), "files": files.collect::<Value>()})
}

/// A line for each difference: what it is about, how it differs, and its name.
fn lines(found: &Diff) -> Vec<String> {
    let mut lines = Vec::new();
    for one in &found.config {
        let show = |value: &Option<Value>| {
            value
                .as_ref()
                .map(json::python)
                .unwrap_or_else(|| "-".into())
        };
        lines.push(format!(
            "config M {} {} -> {}",
            one.pointer,
            show(&one.first),
            show(&one.second)
        ));
    }
    for layer in found.layers.iter().filter(|layer| layer.of != Of::Both) {
        lines.push(format!(
            "layer {} {} {}",
            of(layer.of).0,
            layer.digest,
            size::show(layer.size)
        ));
    }
    for file in &found.files {
        lines.push(format!(
            "file {} {}",
            change(file.change).0,
            String::from_utf8_lossy(&file.name)
        ));
    }
    lines
}
