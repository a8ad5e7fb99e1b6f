//! `list-platforms`: the platforms an image is for.

use dxf_registry::graph::Budget;
use dxf_registry::graph::{Remote, Select};
use dxf_registry::image::{self, MAX_DEPTH};
use dxf_registry::manifest::{Kind, is_manifest};
use dxf_registry::{Descriptor, Error, Manifest, Platform, Result, Target, json};
use serde_json::json;

use crate::cli::args::Words;
use crate::cli::env::Shape;
use crate::cli::exit::Failure;
use crate::cli::image::open;
use crate::cli::image::platform::known;
use crate::cli::image::read::{node, remote};
use crate::cli::out::table::table;
use crate::cli::session::Session;

/// `list-platforms <image>`
pub fn run(s: &mut Session<'_, '_>, words: &Words) -> Result<(), Failure> {
    let words = words.take(1, 1)?;
    let place = open::to_read(s, &words[0])?;
    let mut found = Vec::new();
    if let Some(store) = open::repository(s, &place)? {
        let manifest = store.manifest(&place.target()?)?;
        walk(
            s,
            &remote(s, store),
            manifest,
            (0, &Budget::default()),
            &mut found,
        )?;
    } else {
        let node = node(s, &place, Select::All)?;
        found.extend(known(&node)?.into_iter().map(|(entry, _)| entry));
    }
    let name = |entry: &Descriptor| {
        let platform = entry.platform.as_ref();
        platform.map(ToString::to_string).unwrap_or_default()
    };
    if s.context.shape == Shape::Json {
        let one = |entry: &Descriptor| {
            let mut line = json!({"platform": name(entry), "digest": entry.digest,
                "size": entry.size, "mediaType": entry.media_type});
            if let Some(version) = entry.platform.as_ref().and_then(Platform::os_version) {
                line["osVersion"] = version.into();
            }
            line
        };
        return s.line(json::python(&found.iter().map(one).collect()));
    }
    let full = |entry: &Descriptor| match &entry.platform {
        Some(platform) => format!("{platform:#}"),
        None => String::new(),
    };
    let rows = found.iter().map(|e| vec![full(e), e.digest.to_string()]);
    table(s.out, &rows.collect::<Vec<_>>(), &[])
}

/// Finds the platforms of a store's image without fetching what the index says
/// already.
fn walk(
    s: &Session<'_, '_>,
    remote: &Remote,
    manifest: Manifest,
    (depth, budget): (usize, &Budget),
    found: &mut Vec<Descriptor>,
) -> Result<()> {
    if manifest.kind() != Kind::Index {
        let node = remote.node(manifest, Select::All, s.run())?;
        found.extend(known(&node)?.into_iter().map(|(entry, _)| entry));
        return Ok(());
    }
    if depth >= MAX_DEPTH {
        return Err(Error::malformed("index", "indexes lie too deep in it"));
    }
    let entries = manifest.index()?.manifests;
    budget.entries(entries.len())?;
    for entry in entries {
        if image::is_selectable(&entry) {
            found.push(entry);
        } else if entry.platform.is_none() && is_manifest(&entry) {
            let below = remote.store().manifest(&Target::Digest(entry.digest))?;
            walk(s, remote, below, (depth + 1, budget), found)?;
        }
    }
    Ok(())
}
