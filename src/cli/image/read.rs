//! What is at a place, opened to be read: of a store, or of an archive.

use std::ffi::OsStr;
use std::sync::Arc;

use dxf_registry::archive::{self, Item, Provenance};
use dxf_registry::graph::{Remote, Select};
use dxf_registry::http::{Scheme, Url};
use dxf_registry::image::gzip::{self, Which};
use dxf_registry::image::{Image, Node};
use dxf_registry::nondistributable::HttpFetcher;
use dxf_registry::place::ArchiveKind;
use dxf_registry::{Error, Place, Platform, Reference, Result, Store};

use crate::cli::args::Look;
use crate::cli::env::Context;
use crate::cli::exit::Failure;
use crate::cli::image::item::{named, names, without_related};
use crate::cli::image::open;
use crate::cli::image::platform::{Choice, choose, must_fit, platform_missing};
use crate::cli::session::Session;

/// The image at `place`, its layers unread; of an archive with several, the
/// only one, or an error that names them.
///
/// # Errors
/// Those of the store or the archive, [`Error::NoPlatform`].
pub fn node(s: &Session<'_, '_>, place: &Place, wanted: Select<'_>) -> Result<Node, Failure> {
    node_by(s, s.context, place, wanted)
}

/// The same at the source of a copy, which may have variables of its own.
///
/// # Errors
/// As [`node`].
pub fn source_node(
    s: &Session<'_, '_>,
    place: &Place,
    wanted: Select<'_>,
) -> Result<Node, Failure> {
    node_by(s, s.source(), place, wanted)
}

fn node_by(
    s: &Session<'_, '_>,
    context: &Context,
    place: &Place,
    wanted: Select<'_>,
) -> Result<Node, Failure> {
    if place.is_archive() {
        return choose(sole(s, place)?.node, wanted);
    }
    let store = open::store(s, context, place)?;
    let remote = match place.host() {
        Some(_) => remote(s, store),
        // A folder needs no request.
        None => uncached(s, store),
    };
    let node = remote.pull(&place.target()?, wanted, s.run());
    node.map_err(platform_missing)
}

/// The one image of an archive.
///
/// # Errors
/// Those of the archive; [`Error::Unsupported`] that names several.
pub fn sole(s: &Session<'_, '_>, place: &Place) -> Result<Item> {
    only(archived(s, place)?).map_err(|e| e.at(&place.to_string()))
}

/// The one image of an archive's `items`, beside what belongs to it.
///
/// # Errors
/// [`Error::NotFound`]; [`Error::Unsupported`] that names several.
pub fn only(items: Vec<Item>) -> Result<Item> {
    let mut items = without_related(items);
    let all = names(&items);
    match (items.pop(), items.is_empty()) {
        (Some(item), true) => Ok(item),
        (None, _) => Err(Error::NotFound {
            what: "an image".to_string(),
        }),
        (Some(_), false) => Err(Error::Unsupported {
            what: format!("it contains several images: {all}; name one after the file"),
        }),
    }
}

/// The images of an archive; with a name after its file, the one called so.
///
/// # Errors
/// Those of the archive; [`Error::NotFound`] that says what names there are.
pub fn archived(s: &Session<'_, '_>, place: &Place) -> Result<Vec<Item>> {
    called(images_of(s, place)?, place)
}

/// All images of an archive, under any name.
///
/// # Errors
/// Those of the archive.
pub fn images_of(s: &Session<'_, '_>, place: &Place) -> Result<Vec<Item>> {
    let Place::Archive { path, .. } = place else {
        return Err(Error::Unsupported {
            what: format!("{place} is not an archive"),
        });
    };
    Ok(archive::open(path, &s.context.tmpdir, s.run())?.into_items())
}

/// The items of an archive that have the name after its file, if there is one.
///
/// # Errors
/// [`Error::NotFound`] that says what names there are.
pub fn called(mut items: Vec<Item>, place: &Place) -> Result<Vec<Item>> {
    let Place::Archive {
        path,
        name: Some(name),
        kind,
    } = place
    else {
        return Ok(items);
    };
    let all = names(&items);
    let full = match (kind, name.parse::<Reference>()) {
        // A name without a tag means Docker's own.
        (ArchiveKind::Docker, Ok(name)) if name.tag.is_none() => format!("{name}:latest"),
        _ => name.clone(),
    };
    items.retain(|item| item.is_called(&full));
    if items.is_empty() {
        let what = format!("{name} in {} (there are: {all})", path.display());
        return Err(Error::NotFound { what });
    }
    Ok(items)
}

/// What is at `place`, under the names it is to have.
pub fn items(
    s: &Session<'_, '_>,
    place: &Place,
    choice: &Choice,
    name: Option<Reference>,
) -> Result<Vec<Item>, Failure> {
    let mut items = match place {
        Place::Archive { .. } => {
            let items = without_related(archived(s, place)?);
            let chosen = items.into_iter().map(|mut item| {
                item.node = choose(item.node, choice.wanted())?;
                Ok(item)
            });
            chosen.collect::<Result<Vec<Item>, Failure>>()?
        }
        _ => vec![named(place, node(s, place, choice.wanted())?)],
    };
    for item in &items {
        choice.check(&item.node)?;
    }
    if let Some(name) = name {
        let [item] = items.as_mut_slice() else {
            let what = format!("--tag names one image, not each of {}", names(&items));
            return Err(Error::Unsupported { what }.into());
        };
        item.names = vec![name];
        item.labels.clear();
    }
    Ok(items)
}

/// The requested platform, if there is one.
fn asked(s: &Session<'_, '_>, flag: Option<&str>) -> Result<Option<Platform>> {
    match flag {
        Some(platform) => platform.parse().map(Some),
        None => Ok(s.context.platform.clone()),
    }
}

/// The one image that `look` means.
///
/// # Errors
/// Those of the store or the archive; for an index, that it is one.
pub fn one(s: &Session<'_, '_>, look: &Look) -> Result<Image, Failure> {
    let words = look.words.take(1, 1)?;
    one_of(s, &words[0], look.platform.as_deref())
}

/// The one image at `place`, for the platform that `flag` says, if it does.
///
/// # Errors
/// As [`one`].
pub fn one_of(s: &Session<'_, '_>, place: &OsStr, flag: Option<&str>) -> Result<Image, Failure> {
    let (asked, host) = (asked(s, flag)?, Platform::host());
    let wanted = match &asked {
        Some(platform) => Select::Platform(platform),
        None => Select::Host(&host),
    };
    let node = node(s, &open::to_read(s, place)?, wanted)?;
    match node {
        Node::Image(image) => {
            if let (Some(_), Some(platform)) = (flag, &asked) {
                must_fit(&image, platform)?;
            }
            Ok(image)
        }
        Node::Index(_) => Err(Error::Unsupported {
            what: "expected one image, found several".to_string(),
        }
        .into()),
    }
}

/// Layers that an engine unpacked are compressed again, always to the same
/// bytes; an item with its own manifest is passed on unchanged.
pub fn compressed(s: &Session<'_, '_>, mut item: Item) -> Result<Item> {
    if let (Provenance::Made, Node::Image(image)) = (item.provenance, &item.node) {
        let small = gzip::recompress(image, Which::Plain, &s.context.tmpdir, s.run())?;
        item.node = Node::Image(small);
    }
    Ok(item)
}

/// The same with the layer cache, where there is one.
pub fn remote(s: &Session<'_, '_>, store: Arc<dyn Store>) -> Remote {
    let remote = uncached(s, store);
    match s.cache() {
        Some(cache) => remote.with_cache(cache),
        None => remote,
    }
}

/// A store to pull from, and the `urls` of non-distributable layers. A
/// registry in a private network may name others in it.
pub fn uncached(s: &Session<'_, '_>, store: Arc<dyn Store>) -> Remote {
    let host = store.origin().map(|origin| origin.host);
    let home = host.and_then(|host| Url::new(Scheme::Https, host.as_str(), "/").ok());
    let home = home.unwrap_or_else(Url::nowhere);
    let fetcher = HttpFetcher::new(s.settings().http, &home);
    Remote::new(store).with_url_fetcher(Arc::new(fetcher))
}
