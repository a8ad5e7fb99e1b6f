//! `verify-image`: everything an image refers to is read and checked. The layer
//! cache is left out of it: it is the store that is put to the test.

use dxf_registry::files::files_in_parts;
use dxf_registry::graph::Select;
use dxf_registry::graph::verify::{self, Finding, Role, Verdict};
use dxf_registry::image::{Image, Node};
use dxf_registry::{Error, Place, Platform, json, text};
use serde_json::{Value, json};

use crate::cli::args::VerifyImage;
use crate::cli::env::Shape;
use crate::cli::exit::Failure;
use crate::cli::image::open;
use crate::cli::image::platform::{must_fit, platform_missing};
use crate::cli::image::read::{self, node, uncached};
use crate::cli::out::size;
use crate::cli::session::Session;

/// `verify-image [--platform P|all] <image>`
pub fn run(s: &mut Session<'_, '_>, args: &VerifyImage) -> Result<(), Failure> {
    let node = match args.platform.as_deref() {
        None | Some("all") => {
            let words = args.words.take(1, 1)?;
            fetch(s, &open::to_read(s, &words[0])?)?
        }
        Some(_) => Node::Image(one(s, args)?),
    };
    let found = verify::node(&node, files_in_parts, s.run())?;
    report(s, &found)?;
    let wrong = found.iter().filter(|f| !f.verdict().is_good()).count();
    if wrong == 0 {
        return Ok(());
    }
    let what = format!("image {}", node.manifest().digest());
    let why = format!(
        "{wrong} of {} blobs and manifests are missing or wrong",
        found.len()
    );
    Err(Error::malformed(what, why).into())
}

/// The whole image, past the cache.
fn fetch(s: &Session<'_, '_>, place: &Place) -> Result<Node, Failure> {
    let Some(store) = open::repository(s, place)? else {
        return node(s, place, Select::All);
    };
    let target = place.target()?;
    Ok(uncached(s, store).pull(&target, Select::All, s.run())?)
}

/// The image for one platform, past the cache.
fn one(s: &Session<'_, '_>, args: &VerifyImage) -> Result<Image, Failure> {
    let words = args.words.take(1, 1)?;
    let place = open::to_read(s, &words[0])?;
    let platform: Option<Platform> = args.platform.as_deref().map(str::parse).transpose()?;
    if let (Some(store), Some(platform)) = (open::repository(s, &place)?, &platform) {
        let wanted = Select::Platform(platform);
        let pulled = uncached(s, store).pull(&place.target()?, wanted, s.run());
        if let Node::Image(image) = pulled.map_err(platform_missing)? {
            must_fit(&image, platform)?;
            return Ok(image);
        }
    }
    // An archive: its blobs are never cached.
    read::one_of(s, &words[0], args.platform.as_deref())
}

fn kind(found: &Finding) -> &'static str {
    match found.role {
        Role::Manifest => "manifest",
        Role::Config => "config",
        Role::File => "file",
        _ => "layer",
    }
}

fn verdict(found: &Finding) -> &'static str {
    match found.verdict() {
        Verdict::Right => "ok",
        // Not this store's to have, so not this store's fault.
        Verdict::Elsewhere => "elsewhere",
        _ => "wrong",
    }
}

fn why(found: &Finding) -> String {
    found
        .wrong
        .as_ref()
        .map(ToString::to_string)
        .unwrap_or_default()
}

fn value(found: &Finding) -> Value {
    let blob = &found.blob;
    json!({"kind": kind(found), "digest": blob.digest, "size": blob.size,
        "mediaType": blob.media_type, "verdict": verdict(found), "why": why(found)})
}

fn cells(found: &Finding) -> Vec<String> {
    vec![
        verdict(found).to_string(),
        kind(found).to_string(),
        found.blob.digest.to_string(),
        size::show(found.blob.size),
        text::clean(&why(found)),
    ]
}

fn report(s: &mut Session<'_, '_>, found: &[Finding]) -> Result<(), Failure> {
    match s.context.shape {
        Shape::Json => s.line(json::python(&found.iter().map(value).collect())),
        Shape::Text => {
            let cells: Vec<_> = found.iter().map(cells).collect();
            s.table(&cells, &[3])
        }
    }
}
