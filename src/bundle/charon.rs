//! Payloads of docker-charon: a zip with `blobs/DIGEST`, a file for each
//! manifest, and `payload_descriptor.json`, which says what is where. Of an image
//! that was transferred before it has the name alone, of a blob the repository.

use std::collections::{BTreeMap, HashMap};

use serde::Deserialize;

use super::read::Entry;
use super::{Listing, zip};
use crate::archive::blob_name;
use crate::bounds;
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::file::Section;
use crate::manifest::{self, Kind, Manifest};
use crate::reference::{Reference, Target};
use crate::stream::read_bounded;

const DESCRIPTOR: &str = "payload_descriptor.json";
/// The longest descriptor that is read, bytes.
const MAX_DESCRIPTOR: u64 = bounds::BUNDLE_LIST;

#[derive(Deserialize)]
struct Descriptor {
    manifests_paths: BTreeMap<String, Option<String>>,
    blobs_paths: BTreeMap<Digest, Place>,
}

/// Where a blob is.
#[derive(Deserialize)]
#[serde(untagged)]
enum Place {
    Zip { zip_path: String },
    Registry { repository: String },
}

/// What a payload contains.
pub(super) struct Payload {
    /// Manifests and blobs, under the names that they have in a layout.
    pub files: BTreeMap<String, Section>,
    pub entries: Vec<Entry>,
    /// Images that the registry has.
    pub expected: Vec<Reference>,
    /// Blobs that the registry has.
    pub omitted: Listing,
}

/// Reads a payload; `what` names it in errors.
pub(super) fn read(what: &str, bytes: &Section) -> Result<Payload> {
    let members = zip::members(what, bytes)?;
    let bad = |why: String| Error::malformed(what, why);
    let take = |name: &str| {
        let member = members.get(name).cloned();
        member.ok_or_else(|| {
            bad(format!(
                "it lacks {name:?}, so it is no payload of docker-charon"
            ))
        })
    };
    let text = read_bounded(what, take(DESCRIPTOR)?.reader(0), MAX_DESCRIPTOR)?;
    let listed: Descriptor =
        serde_json::from_slice(&text).map_err(|e| bad(format!("{DESCRIPTOR}: {e}")))?;
    let mut payload = Payload {
        files: BTreeMap::new(),
        entries: Vec::new(),
        expected: Vec::new(),
        omitted: Listing::default(),
    };
    let (mut sizes, mut known) = (HashMap::new(), HashMap::new());
    for (name, path) in listed.manifests_paths {
        let mut name: Reference = name.parse().map_err(|e| bad(format!("{e}")))?;
        if let Target::Tag(tag) = name.target() {
            name.tag = Some(tag);
        }
        let Some(path) = path else {
            payload.expected.push(name);
            continue;
        };
        // Many names may stand for one manifest, which is read once.
        if let Some(descriptor) = known.get(&path).cloned() {
            payload.entries.push(Entry { name, descriptor });
            continue;
        }
        let member = take(&path)?;
        let bytes = read_bounded(what, member.reader(0), manifest::MAX_SIZE)?;
        let manifest = Manifest::new(None, bytes)?;
        if manifest.kind() == Kind::Image {
            let image = manifest.image()?;
            let blobs = std::iter::once(&image.config).chain(&image.layers);
            sizes.extend(blobs.map(|blob| (blob.digest, blob.size)));
        }
        let descriptor = manifest.descriptor();
        payload.files.insert(blob_name(&descriptor.digest), member);
        known.insert(path, descriptor.clone());
        payload.entries.push(Entry { name, descriptor });
    }
    for (digest, place) in listed.blobs_paths {
        match place {
            Place::Zip { zip_path } => {
                payload.files.insert(blob_name(&digest), take(&zip_path)?);
            }
            Place::Registry { repository } => {
                let size = sizes.get(&digest).copied().unwrap_or_default();
                payload.omitted.add(&digest, size, &repository.into(), None);
            }
        }
    }
    payload.omitted = payload.omitted.called("the payloads before it");
    Ok(payload)
}
