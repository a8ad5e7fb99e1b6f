//! `verify-image`: everything an image refers to is read and checked. The layer
//! cache is left out of it: it is the store that is put to the test.

use dxf_registry::image::{Finding, Image, Node, examine};
use dxf_registry::transfer::Wanted;
use dxf_registry::{Descriptor, Error, Platform, json, text};
use serde_json::{Value, json};

use crate::cli::args::Look;
use crate::cli::env::Shape;
use crate::cli::exit::Failure;
use crate::cli::image::location::{Location, location};
use crate::cli::image::platform::{must_fit, platform_missing};
use crate::cli::image::read::{self, node, uncached};
use crate::cli::out::size;
use crate::cli::out::table::table;
use crate::cli::session::Session;

/// `verify-image [--platform P|all] <image>`
pub fn run(s: &mut Session<'_, '_>, args: &Look) -> Result<(), Failure> {
    let node = match args.platform.as_deref() {
        None | Some("all") => {
            let words = args.words.take(1, 1)?;
            fetch(s, &location(s, &words[0])?)?
        }
        Some(_) => Node::Image(one(s, args)?),
    };
    let images: Vec<&Image> = node.images().into_iter().map(|(_, image)| image).collect();
    let found = examine(&images, s.run())?;
    let mut rows = Vec::new();
    // Manifests were held against their digests when they were fetched.
    manifests(&node, &mut |manifest| {
        rows.push(Row::right("manifest", manifest))
    });
    let is_config = |f: &Finding| {
        images
            .iter()
            .any(|i| i.config_blob().digest() == f.blob.digest())
    };
    rows.extend(found.iter().map(|found| {
        let kind = if is_config(found) { "config" } else { "layer" };
        Row::new(kind, found)
    }));
    report(s, &rows)?;
    let wrong = rows.iter().filter(|row| row.verdict == "wrong").count();
    if wrong == 0 {
        return Ok(());
    }
    let what = format!("image {}", node.manifest().digest());
    let why = format!("{wrong} of {} things it refers to are wrong", rows.len());
    Err(Error::malformed(what, why).into())
}

/// The whole image, past the cache.
fn fetch(s: &Session<'_, '_>, location: &Location) -> Result<Node, Failure> {
    let Some(store) = location.store(s)? else {
        return node(s, location, Wanted::All);
    };
    let target = location.target()?;
    Ok(uncached(s, store).pull(&target, Wanted::All, s.run())?)
}

/// The image for one platform, past the cache.
fn one(s: &Session<'_, '_>, args: &Look) -> Result<Image, Failure> {
    let words = args.words.take(1, 1)?;
    let location = location(s, &words[0])?;
    let platform: Option<Platform> = args.platform.as_deref().map(str::parse).transpose()?;
    if let (Some(store), Some(platform)) = (location.store(s)?, &platform) {
        let wanted = Wanted::Platform(platform);
        let pulled = uncached(s, store).pull(&location.target()?, wanted, s.run());
        if let Node::Image(image) = pulled.map_err(platform_missing)? {
            must_fit(&image, platform)?;
            return Ok(image);
        }
    }
    // Of an archive: nothing of it is ever cached.
    read::one(s, args, 0).map(|(image, _)| image)
}

fn manifests(node: &Node, each: &mut dyn FnMut(Descriptor)) {
    each(node.manifest().descriptor());
    if let Node::Index(index) = node {
        index
            .children()
            .iter()
            .for_each(|c| manifests(&c.node, each));
    }
}

/// A line of the report.
struct Row {
    kind: &'static str,
    blob: Descriptor,
    verdict: &'static str,
    why: String,
}

impl Row {
    fn right(kind: &'static str, blob: Descriptor) -> Row {
        Row {
            kind,
            blob,
            verdict: "ok",
            why: String::new(),
        }
    }

    fn new(kind: &'static str, found: &Finding) -> Row {
        let right = Row::right(kind, found.blob.descriptor().clone());
        let Some(error) = &found.wrong else {
            return right;
        };
        Row {
            verdict: match error {
                // Not this store's to have, so not this store's fault.
                Error::Elsewhere { .. } => "elsewhere",
                _ => "wrong",
            },
            why: error.to_string(),
            ..right
        }
    }

    fn value(&self) -> Value {
        json!({"kind": self.kind, "digest": self.blob.digest, "size": self.blob.size,
            "mediaType": self.blob.media_type, "verdict": self.verdict, "why": self.why})
    }

    fn cells(&self) -> Vec<String> {
        vec![
            self.verdict.to_string(),
            self.kind.to_string(),
            self.blob.digest.to_string(),
            size::show(self.blob.size),
            text::clean(&self.why),
        ]
    }
}

fn report(s: &mut Session<'_, '_>, rows: &[Row]) -> Result<(), Failure> {
    match s.context.shape {
        Shape::Json => s.line(json::python(&rows.iter().map(Row::value).collect())),
        Shape::Text => {
            let cells: Vec<_> = rows.iter().map(Row::cells).collect();
            table(s.out, &cells, &[3])
        }
    }
}
