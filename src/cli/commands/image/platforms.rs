//! `list-platforms`: the platforms an image is for.

use dxf_registry::graph::{Budget, Resolver};
use dxf_registry::manifest::{Kind, Select};
use dxf_registry::{Descriptor, Place, Platform, json};
use serde_json::json;

use crate::cli::args::Words;
use crate::cli::env::Shape;
use crate::cli::exit::Failure;
use crate::cli::image::open;
use crate::cli::image::read::{node, remote};
use crate::cli::session::Session;

/// `list-platforms <image>`
pub fn run(s: &mut Session<'_, '_>, words: &Words) -> Result<(), Failure> {
    let words = words.take(1, 1)?;
    let place = open::to_read(s, &words[0])?;
    let found = platforms(s, &place)?;
    let name = |entry: &Descriptor| {
        let platform = entry.platform.as_deref();
        platform.map(ToString::to_string).unwrap_or_default()
    };
    if s.context.shape == Shape::Json {
        let one = |entry: &Descriptor| {
            let mut line = json!({"platform": name(entry), "digest": entry.digest,
                "size": entry.size, "mediaType": entry.media_type});
            if let Some(version) = entry.platform.as_deref().and_then(Platform::os_version) {
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
    s.table(rows.collect::<Vec<_>>(), &[])
}

/// What an index says itself is not fetched.
fn platforms(s: &Session<'_, '_>, place: &Place) -> Result<Vec<Descriptor>, Failure> {
    let node = match open::repository(s, place)? {
        None => node(s, place, Select::All)?,
        Some(store) => {
            let remote = remote(s, store);
            let manifest = remote.store().manifest(&place.target()?)?;
            if manifest.kind() == Kind::Index {
                let budget = Budget::default();
                let resolver = Resolver::new(remote.store(), &budget, s.run());
                return Ok(resolver.platforms(&manifest)?);
            }
            remote.node(manifest, Select::All, s.run())?
        }
    };
    let found = node.platforms()?.into_iter();
    Ok(found.map(|(entry, _)| entry).collect())
}
