//! What an `<image>` argument means: a reference `[host/]repo[:tag][@digest]`,
//! `oci:DIR[:tag]`, `oci-archive:FILE[:tag]` or `docker-archive:FILE[:name]`.
//! An explicit host wins; without one `DXF_HOST` is used, and without that
//! Docker Hub.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use dxf_registry::layout::{Layout, Layouts};
use dxf_registry::{Error, Host, ReadStore, Reference, Result, Store, Tag, Target, hub};

use crate::cli::args;
use crate::cli::env::{Context, Place};
use crate::cli::session::Session;

/// What stands in front of a layout's folder.
const LAYOUT: &str = "oci:";

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
    /// An archive in a file (`oci-archive:FILE[:tag]`,
    /// `docker-archive:FILE[:name]`).
    Archive {
        /// The file.
        path: PathBuf,
        /// Which of the two it was called.
        kind: Archive,
        /// What the image is called there, where that is written.
        name: Option<String>,
    },
}

/// What an archive is called on the command line. Both are read whatever is in
/// them, and written as both at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Archive {
    /// `docker-archive:`, which knows images by their full names.
    Docker,
    /// `oci-archive:`, which knows them by tags.
    Oci,
}

impl Archive {
    /// Each with the word before its colon.
    const ALL: [(&'static str, Archive); 2] = [
        ("oci-archive", Archive::Oci),
        ("docker-archive", Archive::Docker),
    ];

    /// Which of them `word` begins with, and what stands behind the colon.
    fn split(word: &str) -> Option<(Archive, &str)> {
        Archive::ALL.into_iter().find_map(|(scheme, kind)| {
            let rest = word.strip_prefix(scheme)?.strip_prefix(':')?;
            Some((kind, rest))
        })
    }

    /// The word before its colon.
    pub fn word(self) -> &'static str {
        match self {
            Archive::Docker => "docker-archive",
            Archive::Oci => "oci-archive",
        }
    }
}

impl std::fmt::Display for Location {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Location::Registry { host, reference } => {
                let name = format!("{host}/{}", reference.repo);
                f.write_str(&reference.target().within(&name))
            }
            Location::Repository { folder, reference } => {
                let path = folder.join(reference.repo.as_str());
                let name = format!("oci:{}", path.display());
                f.write_str(&reference.target().within(&name))
            }
            Location::Layout { folder, target } => {
                let name = format!("oci:{}", folder.display());
                match target {
                    Some(target) => f.write_str(&target.within(&name)),
                    None => f.write_str(&name),
                }
            }
            Location::Archive { path, kind, name } => {
                write!(f, "{}:{}", kind.word(), path.display())?;
                match name {
                    Some(name) => write!(f, ":{name}"),
                    None => Ok(()),
                }
            }
        }
    }
}

impl Location {
    /// Whether `word` says by how it begins that it is a folder's or an
    /// archive's.
    pub fn is_local(word: &str) -> bool {
        word.starts_with(LAYOUT) || Archive::split(word).is_some()
    }

    /// What `word` means.
    ///
    /// # Errors
    /// [`Error::Invalid`] for what is no image's name.
    pub fn parse(s: &Session<'_, '_>, word: &str) -> Result<Location> {
        Location::parse_by(s.context, word)
    }

    /// What `word` means where `context` holds.
    ///
    /// # Errors
    /// As [`Location::parse`].
    pub fn parse_by(context: &Context, word: &str) -> Result<Location> {
        if let Some((kind, rest)) = Archive::split(word) {
            let (path, name) = split_archive(word, rest)?;
            return Ok(Location::Archive { path, kind, name });
        }
        if let Some(rest) = word.strip_prefix(LAYOUT) {
            let (folder, target) = split_layout(rest)?;
            return Ok(Location::Layout { folder, target });
        }
        let reference: Reference = word.parse()?;
        if let Some(host) = &reference.host {
            let host = host.clone();
            return Ok(Location::Registry { host, reference });
        }
        Ok(match &context.place {
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
        match self {
            Location::Archive { .. } => Ok(None),
            _ => self.repository(s).map(Some),
        }
    }

    /// The repository.
    ///
    /// # Errors
    /// Those of connecting; [`Error::Unsupported`] for an archive.
    pub fn repository(&self, s: &Session<'_, '_>) -> Result<Arc<dyn Store>> {
        self.repository_by(s, s.context)
    }

    /// The repository, talked to as `context` wants it.
    ///
    /// # Errors
    /// As [`Location::repository`].
    pub fn repository_by(&self, s: &Session<'_, '_>, context: &Context) -> Result<Arc<dyn Store>> {
        Ok(match self {
            Location::Registry { host, reference } => {
                let registry = s.registry_by(context, host)?;
                Arc::new(registry.repository(reference.repo.clone()))
            }
            Location::Repository { folder, reference } => {
                Arc::new(Layouts::new(folder).repository(&reference.repo))
            }
            Location::Layout { folder, .. } => Arc::new(Layout::at(folder)),
            Location::Archive { .. } => {
                return Err(Error::Unsupported {
                    what: format!("{self}: an archive is no repository"),
                });
            }
        })
    }

    /// Another image of the same repository.
    pub fn with(&self, wanted: &Target) -> Location {
        let mut other = self.clone();
        match &mut other {
            Location::Registry { reference, .. } | Location::Repository { reference, .. } => {
                (reference.tag, reference.digest) = match wanted {
                    Target::Tag(tag) => (Some(tag.clone()), None),
                    Target::Digest(digest) => (None, Some(*digest)),
                };
            }
            Location::Layout { target, .. } => *target = Some(wanted.clone()),
            Location::Archive { .. } => {}
        }
        other
    }

    /// Whether a tag, a digest or an archive's name for its image is written.
    pub fn is_named(&self) -> bool {
        match self {
            Location::Registry { reference, .. } | Location::Repository { reference, .. } => {
                reference.tag.is_some() || reference.digest.is_some()
            }
            Location::Layout { target, .. } => target.is_some(),
            Location::Archive { name, .. } => name.is_some(),
        }
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
            Location::Archive { .. } => Err(Error::Unsupported {
                what: format!("{self}: an archive is no repository"),
            }),
        }
    }
}

/// Where the image is that `word` names.
///
/// A word that begins with `/`, `./` or `../`, which no reference does, is the
/// path of an archive, or of a folder with an OCI layout. So is the name of a
/// file that exists here; the host or tag of a reference tells it from one.
pub fn location(s: &Session<'_, '_>, word: &OsStr) -> Result<Location> {
    location_by(s.context, word)
}

/// The same where `context` holds.
pub fn location_by(context: &Context, word: &OsStr) -> Result<Location> {
    let path = Path::new(word);
    let bytes = word.as_encoded_bytes();
    let is_path = ["/", "./", "../"]
        .iter()
        .any(|lead| bytes.starts_with(lead.as_bytes()));
    if !is_path && !path.is_file() {
        return Location::parse_by(context, args::text(word)?);
    }
    Ok(if path.is_dir() {
        Location::Layout {
            folder: path.to_path_buf(),
            target: None,
        }
    } else {
        Location::Archive {
            path: path.to_path_buf(),
            kind: Archive::Docker,
            name: None,
        }
    })
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

/// `FILE[:name]` behind the scheme of `word`. Names have colons, and so may
/// paths: of files that exist the longest path that is one counts, else the path
/// ends at the first colon, as it does for skopeo.
fn split_archive(word: &str, rest: &str) -> Result<(PathBuf, Option<String>)> {
    let bad = |why| Err(Error::invalid("image", word, why));
    let is_file = |path: &str| !path.is_empty() && Path::new(path).exists();
    let colons = rest.match_indices(':').map(|(at, _)| at);
    let found = colons.rev().find(|at| is_file(&rest[..*at]));
    let at = match found.or_else(|| rest.find(':')) {
        _ if rest.is_empty() => return bad("a file belongs behind the colon"),
        _ if is_file(rest) => return Ok((rest.into(), None)),
        None => return Ok((rest.into(), None)),
        Some(at) => at,
    };
    let (path, name) = (&rest[..at], &rest[at + 1..]);
    match (path, name) {
        ("", _) => bad("a file belongs before the name"),
        (_, "") => bad("a name belongs behind the second colon"),
        (path, name) => {
            // Whatever it is called, it is by something that can be a name.
            name.parse::<Reference>()
                .map(drop)
                .or_else(|e| name.parse::<Tag>().map(drop).map_err(|_| e))?;
            Ok((path.into(), Some(name.to_string())))
        }
    }
}

/// The only image of a layout.
fn only(folder: &Path) -> Result<Target> {
    let layout = Layout::at(folder);
    let tags: Vec<String> = layout.tag_names().collect::<Result<_>>()?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn archives_end_at_a_colon() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name).display().to_string();
        std::fs::write(at("a:b.tar"), "").unwrap();
        std::fs::write(at("plain.tar"), "").unwrap();
        let split =
            |word: &str| split_archive(word, word).map(|(p, n)| (p.display().to_string(), n));
        for (word, path, name) in [
            (at("a:b.tar"), at("a:b.tar"), None),
            (at("a:b.tar:v1"), at("a:b.tar"), Some("v1")),
            (
                at("plain.tar:r.example:5000/app:v1"),
                at("plain.tar"),
                Some("r.example:5000/app:v1"),
            ),
            (at("new.tar"), at("new.tar"), None),
            (at("new.tar:app:v1"), at("new.tar"), Some("app:v1")),
            (
                "new.tar:App".to_string(),
                "new.tar".to_string(),
                Some("App"),
            ),
        ] {
            assert_eq!(
                split(&word).unwrap(),
                (path, name.map(str::to_string)),
                "{word}"
            );
        }
        for bad in ["", ":x", "new.tar:", "new.tar:a b"] {
            assert!(split(bad).is_err(), "{bad}");
        }
    }
}
