//! The commands about images, and what their `<image>` arguments mean: a
//! reference `[host/]repo[:tag][@digest]`, `oci:DIR[:tag]`, `oci-archive:FILE`
//! or `docker-archive:FILE`. An explicit host wins; without one `DXF_HOST` is
//! used, and without that Docker Hub.

pub mod cache;
mod engine;
pub mod files;
pub mod load;
pub mod look;
pub mod pull;
pub mod push;
pub mod resolve;
pub mod run;
pub mod verify;

use std::path::PathBuf;
use std::sync::Arc;

use dxf_registry::archive::{self, Item};
use dxf_registry::cache::Cache;
use dxf_registry::foreign::{Foreign, Reach};
use dxf_registry::http::{Scheme, Url};
use dxf_registry::image::{self, Image, Node};
use dxf_registry::layout::{Layout, Layouts};
use dxf_registry::transfer::{Remote, Wanted};
use dxf_registry::{Descriptor, Error, Host, Platform, Reference, Result, Store, Target, hub};

use super::context::Place;
use super::exit::Failure;
use super::session::Session;

/// Where an image is, or goes.
#[derive(Debug, Clone)]
pub enum Location {
    /// A repository of a registry.
    Registry {
        /// The registry.
        host: Host,
        /// The reference as written.
        reference: Reference,
    },
    /// A repository of the folder that `DXF_HOST` names.
    Repository {
        /// The folder.
        folder: PathBuf,
        /// The reference as written.
        reference: Reference,
    },
    /// One OCI image layout (`oci:DIR[:tag]`).
    Layout {
        /// The layout's folder.
        folder: PathBuf,
        /// The tag or digest, where one is written.
        target: Option<Target>,
    },
    /// An archive in a file (`oci-archive:`, `docker-archive:`).
    Archive(PathBuf),
}

impl Location {
    /// What `word` means.
    ///
    /// # Errors
    /// [`Error::Invalid`] for what is no image's name.
    pub fn parse(s: &Session<'_, '_>, word: &str) -> Result<Location> {
        for scheme in ["oci-archive:", "docker-archive:"] {
            if let Some(file) = word.strip_prefix(scheme) {
                return Ok(Location::Archive(file.into()));
            }
        }
        if let Some(rest) = word.strip_prefix("oci:") {
            let (folder, target) = split_layout(rest)?;
            return Ok(Location::Layout { folder, target });
        }
        let reference: Reference = word.parse()?;
        if let Some(host) = &reference.host {
            let host = host.clone();
            return Ok(Location::Registry { host, reference });
        }
        Ok(match &s.context.place {
            Some(Place::Registry(host)) => Location::Registry {
                host: host.clone(),
                reference,
            },
            Some(Place::Folder(folder)) => Location::Repository {
                folder: folder.clone(),
                reference,
            },
            None => Location::Registry {
                host: hub::NAME.parse()?,
                reference,
            },
        })
    }

    /// The repository, unless this is an archive.
    ///
    /// # Errors
    /// Those of connecting.
    pub fn store(&self, s: &Session<'_, '_>) -> Result<Option<Arc<dyn Store>>> {
        Ok(Some(match self {
            Location::Registry { host, reference } => {
                Arc::new(s.registry(host)?.repository(reference.repo.clone()))
            }
            Location::Repository { folder, reference } => {
                Arc::new(Layouts::new(folder).repository(&reference.repo))
            }
            Location::Layout { folder, .. } => Arc::new(Layout::at(folder)),
            Location::Archive(_) => return Ok(None),
        }))
    }

    /// What to ask the repository for. Of a layout without a tag that is its
    /// only image.
    ///
    /// # Errors
    /// [`Error::Unsupported`] when a layout holds several.
    pub fn target(&self) -> Result<Target> {
        match self {
            Location::Registry { reference, .. } | Location::Repository { reference, .. } => {
                Ok(reference.target())
            }
            Location::Layout {
                target: Some(target),
                ..
            } => Ok(target.clone()),
            Location::Layout {
                folder,
                target: None,
            } => only(folder),
            Location::Archive(path) => Err(Error::Unsupported {
                what: format!("{}: an archive is no repository", path.display()),
            }),
        }
    }
}

/// `DIR[:tag][@digest]`; a colon within the path is the path's own.
fn split_layout(rest: &str) -> Result<(PathBuf, Option<Target>)> {
    if rest.is_empty() {
        return Err(Error::invalid(
            "image",
            "oci:",
            "a folder belongs behind oci:",
        ));
    }
    if let Some((folder, digest)) = rest.rsplit_once('@')
        && digest.contains(':')
        && !digest.contains('/')
    {
        return Ok((folder.into(), Some(Target::Digest(digest.parse()?))));
    }
    match rest.rsplit_once(':') {
        Some((folder, tag)) if !tag.contains('/') && !folder.is_empty() => {
            Ok((folder.into(), Some(Target::Tag(tag.parse()?))))
        }
        _ => Ok((rest.into(), None)),
    }
}

/// The only image of a layout.
fn only(folder: &std::path::Path) -> Result<Target> {
    let layout = Layout::at(folder);
    let tags: Vec<String> = layout.tags().collect::<Result<_>>()?;
    let several = |what: &str| Error::Unsupported {
        what: format!(
            "oci:{}: it holds {what}; name one as oci:DIR:TAG",
            folder.display()
        ),
    };
    match tags.as_slice() {
        [tag] => Ok(Target::Tag(tag.parse()?)),
        [] => match layout.manifests()?.as_slice() {
            [one] => Ok(Target::Digest(one.digest)),
            [] => Err(Error::NotFound {
                what: format!("an image in oci:{}", folder.display()),
            }),
            _ => Err(several("several images without names")),
        },
        tags => Err(several(&tags.join(", "))),
    }
}

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
    let Location::Archive(path) = location else {
        return Err(location
            .target()
            .map(drop)
            .err()
            .unwrap_or(Error::Stopped)
            .into());
    };
    let mut items = archive::read(path, &s.context.tmpdir, s.run())?;
    match (items.pop(), items.is_empty()) {
        (Some(item), true) => Ok(choose(item.node, wanted)?),
        (None, _) => Err(Error::NotFound {
            what: format!("an image in {}", path.display()),
        }
        .into()),
        (Some(last), false) => {
            items.push(last);
            Err(Error::Unsupported {
                what: format!(
                    "{}: it holds several images: {}",
                    path.display(),
                    names(&items)
                ),
            }
            .into())
        }
    }
}

/// In these commands a platform that is not there is a thing that is not found.
pub fn platform_missing(error: Error) -> Failure {
    match error {
        Error::NoPlatform { .. } => Failure::Missing(error),
        error => error.into(),
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
    if !image.is_runnable() {
        return Ok(());
    }
    let there = image.config()?.platform();
    if there.is_unknown() || platform.fit(&there).is_some() {
        return Ok(());
    }
    Err(Failure::Missing(Error::NoPlatform {
        wanted: platform.to_string(),
        available: vec![there.to_string()],
    }))
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
