//! The commands about images, and what several of them need; what their
//! `<image>` arguments mean is in [`location`].

pub mod cache;
pub mod copy;
pub mod destination;
pub mod edit;
mod engine;
pub mod files;
pub mod load;
pub mod location;
pub mod look;
pub mod pull;
pub mod push;
pub mod resolve;
pub mod run;
pub mod tag;
pub mod verify;

use std::sync::Arc;

use dxf_registry::archive::{self, Item};
use dxf_registry::cache::Cache;
use dxf_registry::foreign::{Foreign, Reach};
use dxf_registry::http::{Scheme, Url};
use dxf_registry::image::{self, Image, Node};
use dxf_registry::transfer::{Remote, Wanted};
use dxf_registry::{Descriptor, Error, Platform, Reference, Result, Store};

pub use self::location::{Archive, Location};
use super::exit::Failure;
use super::session::Session;

/// The image at `location`, its layers unread; of an archive with several, the
/// only one, or an error that names them.
///
/// # Errors
/// Those of the store or the archive, [`Error::NoPlatform`].
pub fn node(s: &Session<'_, '_>, location: &Location, wanted: Wanted<'_>) -> Result<Node, Failure> {
    if let Some(store) = location.store(s)? {
        let remote = match location {
            Location::Registry { .. } => remote(s, store),
            // A folder is at hand already.
            _ => uncached(s, store),
        };
        let node = remote.pull(&location.target()?, wanted, s.run());
        return node.map_err(platform_missing);
    }
    choose(sole(s, location)?.node, wanted)
}

/// The one image of an archive.
///
/// # Errors
/// Those of the archive; [`Error::Unsupported`] that names several.
pub fn sole(s: &Session<'_, '_>, location: &Location) -> Result<Item> {
    let mut items = archived(s, location)?;
    match (items.pop(), items.is_empty()) {
        (Some(item), true) => Ok(item),
        (None, _) => Err(Error::NotFound {
            what: format!("an image in {location}"),
        }),
        (Some(last), false) => {
            items.push(last);
            Err(Error::Unsupported {
                what: format!("{location}: it holds several images: {}", names(&items)),
            })
        }
    }
}

/// The images of an archive; with a name behind its file, the one called so.
///
/// # Errors
/// Those of the archive; [`Error::NotFound`] that says what names there are.
pub fn archived(s: &Session<'_, '_>, location: &Location) -> Result<Vec<Item>> {
    let Location::Archive { path, name, kind } = location else {
        return Err(Error::Unsupported {
            what: format!("{location} is no archive"),
        });
    };
    let mut items = archive::read(path, &s.context.tmpdir, s.run())?;
    if let Some(name) = name {
        let all = names(&items);
        let full = match (kind, name.parse::<Reference>()) {
            // A name without a tag means Docker's own.
            (Archive::Docker, Ok(name)) if name.tag.is_none() => format!("{name}:latest"),
            _ => name.clone(),
        };
        items.retain(|item| item.is_called(&full));
        if items.is_empty() {
            let what = format!("{name} in {} (there are: {all})", path.display());
            return Err(Error::NotFound { what });
        }
    }
    Ok(items)
}

/// In these commands a platform that is not there is a thing that is not found.
pub fn platform_missing(error: Error) -> Failure {
    match error.what() {
        Error::NoPlatform { .. } => Failure::Missing(error),
        _ => error.into(),
    }
}

/// What of an index that is at hand is wanted.
///
/// # Errors
/// [`Error::NoPlatform`] as a thing that is not found.
pub fn choose(node: Node, wanted: Wanted<'_>) -> Result<Node, Failure> {
    let (platform, host) = match wanted {
        Wanted::All => return Ok(node),
        Wanted::Platform(platform) => (platform, false),
        Wanted::Host(platform) => (platform, true),
    };
    if let Node::Image(_) = &node {
        return Ok(node);
    }
    let known = known(&node)?;
    let entries: Vec<Descriptor> = known.iter().map(|(entry, _)| entry.clone()).collect();
    let best = image::best_fit(&entries, platform).map(|best| best.digest);
    let found = known.iter().find(|(entry, _)| match best {
        Some(best) => entry.digest == best,
        None => host && known.len() == 1,
    });
    let available = entries.iter().filter_map(|entry| entry.platform.as_ref());
    match found {
        Some((_, image)) => Ok(Node::Image((*image).clone())),
        None => Err(Failure::Missing(Error::NoPlatform {
            wanted: platform.to_string(),
            available: available.map(ToString::to_string).collect(),
        })),
    }
}

/// The images below that a platform can mean, each with the one it is for.
pub fn known(node: &Node) -> Result<Vec<(Descriptor, &Image)>> {
    let mut known = Vec::new();
    for (mut entry, image) in node.images() {
        if entry.platform.is_none() && image.is_runnable() {
            entry.platform = Some(image.config()?.platform());
        }
        if image::is_selectable(&entry) {
            known.push((entry, image));
        }
    }
    Ok(known)
}

/// Refuses an image that does not run on a platform named on the command line.
///
/// # Errors
/// [`Error::NoPlatform`] as a thing that is not found; those of the config.
pub fn must_fit(image: &Image, platform: &Platform) -> Result<(), Failure> {
    image.must_run_on(platform).map_err(platform_missing)
}

/// The names in an archive, for a message.
pub fn names(items: &[Item]) -> String {
    let all = items.iter().flat_map(|item| match item.names.as_slice() {
        [] if item.labels.is_empty() => vec![item.node.manifest().digest().to_string()],
        [] => item.labels.clone(),
        names => names.iter().map(ToString::to_string).collect(),
    });
    all.collect::<Vec<_>>().join(", ")
}

/// A store to pull from, and the places where makers keep layers of theirs. A
/// registry in a private network may name others in it.
pub fn uncached(s: &Session<'_, '_>, store: Arc<dyn Store>) -> Remote {
    let host = store.origin().map(|origin| origin.host);
    let home = host.and_then(|host| Url::new(Scheme::Https, host.as_str(), "/").ok());
    let reach = match home {
        Some(home) if home.is_local() => Reach::Everywhere,
        _ => Reach::Internet,
    };
    let foreign = Foreign::new(s.settings().http, reach);
    Remote::new(store).with_elsewhere(Arc::new(foreign))
}

/// The same with the layer cache, where there is one.
pub fn remote(s: &Session<'_, '_>, store: Arc<dyn Store>) -> Remote {
    let remote = uncached(s, store);
    match &s.context.cache {
        Some(folder) => remote.with_cache(Cache::new(folder.join("blobs"))),
        None => remote,
    }
}

/// The platform that this machine is, in Go's words.
pub fn host_platform() -> Platform {
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "386",
        "powerpc64" => "ppc64le",
        "loongarch64" => "loong64",
        other => other,
    };
    let os = match std::env::consts::OS {
        // Images are for Linux, in a virtual machine, there.
        "macos" => "linux",
        other => other,
    };
    Platform {
        os: os.to_string(),
        architecture: architecture.to_string(),
        variant: None,
        rest: serde_json::Map::new(),
    }
}
