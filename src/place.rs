//! Where an image is, or goes: the one grammar of an `<image>` argument.
//!
//! ```text
//! image   := [ host "/" ] repository [ ":" tag ] [ "@" digest ]
//!          | "oci:" folder [ ":" tag ] [ "@" digest ]
//!          | "oci-archive:" file [ ":" name ] | "docker-archive:" file [ ":" name ]
//!          | path [ ":" name ]
//! path    := what begins with "/", "./" or "../", or ends in ".tar" without a
//!            colon in it; to be read, also the name of an existing file
//! ```
//!
//! A path means a layout where there is a folder, and an archive otherwise.
//! Nothing is opened here; whether a file exists is all that is asked.

use std::ffi::OsStr;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::descriptor::{Descriptor, annotation};
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::graph::is_related_tag;
use crate::hub;
use crate::layout::Layout;
use crate::reference::{Host, Reference, Tag, Target};
use crate::store::ReadStore;
use crate::text;

/// What precedes a layout's folder.
const LAYOUT: &str = "oci:";

/// Places that other tools know by these prefixes, and this crate does not.
const UNKNOWN: [&str; 3] = ["containers-storage:", "dir:", "docker-daemon:"];

/// What repositories are in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Root {
    /// A registry.
    Registry(Host),
    /// A folder with an image layout for each repository.
    Folder(PathBuf),
}

/// Where an image is, or goes.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Place {
    /// A repository of a registry or of a folder.
    Repository {
        /// What the repository is in.
        root: Root,
        /// The reference as written.
        reference: Reference,
    },
    /// One OCI image layout.
    Layout {
        /// The layout's folder.
        folder: PathBuf,
        /// The tag, where one is written.
        tag: Option<Tag>,
        /// The digest, where one is written; it wins over the tag.
        digest: Option<Digest>,
    },
    /// An archive in a file.
    Archive {
        /// The file.
        path: PathBuf,
        /// What the archive was called.
        kind: ArchiveKind,
        /// What the image is called there, where that is written.
        name: Option<String>,
    },
}

/// The prefix of an archive's name. With either one, dxf reads both formats, and
/// writes an archive that is both at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ArchiveKind {
    /// `docker-archive:`, which knows images by their full names.
    Docker,
    /// `oci-archive:`, which knows images by tags.
    Oci,
}

impl ArchiveKind {
    /// The word before the colon.
    pub fn scheme(self) -> &'static str {
        match self {
            ArchiveKind::Docker => "docker-archive",
            ArchiveKind::Oci => "oci-archive",
        }
    }

    /// The kind whose scheme `word` begins with, and what follows the colon.
    fn split(word: &str) -> Option<(ArchiveKind, &str)> {
        let kinds = [ArchiveKind::Docker, ArchiveKind::Oci];
        kinds.into_iter().find_map(|kind| {
            let rest = word.strip_prefix(kind.scheme())?.strip_prefix(':')?;
            Some((kind, rest))
        })
    }
}

impl FromStr for Root {
    type Err = Error;

    /// Parses `host[:port]` or `oci:FOLDER`.
    fn from_str(text: &str) -> Result<Root> {
        // The rest of a URL may contain a password, so it is not repeated.
        let bad = |why: &str| Error::invalid("host", text, why);
        match text.strip_prefix(LAYOUT) {
            Some("") => return Err(bad("oci: needs a folder, such as oci:./store")),
            Some(folder) => return Ok(Root::Folder(folder.into())),
            None => {}
        }
        if let Some((scheme, _)) = text.split_once("://") {
            return Err(bad(&format!(
                "leave out {scheme}://: it takes host or host:port"
            )));
        }
        match text.split_once('/') {
            Some((_, "")) => Err(bad("leave out the / at its end")),
            Some(_) => Err(bad(
                "leave out the path, which belongs to the names of repositories; a folder is oci:FOLDER",
            )),
            None => text.parse().map(Root::Registry),
        }
    }
}

impl Place {
    /// Where the image is that `word` names, to be read; a reference without a
    /// host is one of `root`, or else of Docker Hub.
    ///
    /// # Errors
    /// [`Error::Invalid`] saying what to write instead.
    pub fn to_read(word: &OsStr, root: Option<&Root>) -> Result<Place> {
        match is_path(word) || Path::new(word).is_file() {
            true => Place::at(word),
            false => Place::named(word, root),
        }
    }

    /// Where the image goes that `word` names. A file that happens to exist
    /// makes no path of a reference here, so that what is written does not
    /// depend on what is in the current folder.
    ///
    /// # Errors
    /// As [`Place::to_read`].
    pub fn to_write(word: &OsStr, root: Option<&Root>) -> Result<Place> {
        match is_path(word) {
            true => Place::at(word),
            false => Place::named(word, root),
        }
    }

    /// The archive or layout that `word` names, whether it looks like a path
    /// or not.
    ///
    /// # Errors
    /// As [`Place::to_read`].
    pub fn on_disk(word: &OsStr) -> Result<Place> {
        let is_there = Path::new(word).exists();
        match word.to_str().filter(|_| !is_there).map(prefixed) {
            Some(Ok(Some(place))) => Ok(place),
            Some(Err(error)) => Err(error),
            Some(Ok(None)) | None => Place::at(word),
        }
    }

    /// What is, or will be, at a path.
    fn at(word: &OsStr) -> Result<Place> {
        let (path, name) = match word.to_str() {
            Some(text) => split_path(text)?,
            None => (Path::new(word), None),
        };
        if path.is_dir() {
            return Ok(Place::Layout {
                folder: path.to_path_buf(),
                tag: name.map(tag).transpose()?,
                digest: None,
            });
        }
        let is_tag = name.is_some_and(|name| name.parse::<Tag>().is_ok());
        Ok(Place::Archive {
            path: path.to_path_buf(),
            kind: match is_tag {
                true => ArchiveKind::Oci,
                false => ArchiveKind::Docker,
            },
            name: name.map(str::to_string),
        })
    }

    fn named(word: &OsStr, root: Option<&Root>) -> Result<Place> {
        let text = word
            .to_str()
            .ok_or_else(|| Error::invalid("image", "…", "it is not UTF-8"))?;
        if let Some(place) = prefixed(text)? {
            return Ok(place);
        }
        let reference = reference(text)?;
        let root = match (&reference.host, root) {
            (Some(host), _) => Root::Registry(host.clone()),
            (None, Some(root)) => root.clone(),
            (None, None) => Root::Registry(hub::NAME.parse()?),
        };
        Ok(Place::Repository { root, reference })
    }

    /// The registry, where the image is in one.
    pub fn host(&self) -> Option<&Host> {
        match self {
            Place::Repository {
                root: Root::Registry(host),
                ..
            } => Some(host),
            _ => None,
        }
    }

    /// Whether this is an archive.
    pub fn is_archive(&self) -> bool {
        matches!(self, Place::Archive { .. })
    }

    /// Whether this is a file or a folder that does not exist.
    pub fn is_missing(&self) -> bool {
        match self {
            Place::Repository { .. } => false,
            Place::Layout { folder: path, .. } | Place::Archive { path, .. } => !path.exists(),
        }
    }

    /// Whether a tag, a digest or an archive's name for its image is written.
    pub fn is_named(&self) -> bool {
        match self {
            Place::Archive { name, .. } => name.is_some(),
            _ => self.written().is_some(),
        }
    }

    /// The tag and the digest that are written.
    pub fn tag_and_digest(&self) -> (Option<&Tag>, Option<Digest>) {
        match self {
            Place::Repository { reference, .. } => (reference.tag.as_ref(), reference.digest),
            Place::Layout { tag, digest, .. } => (tag.as_ref(), *digest),
            Place::Archive { .. } => (None, None),
        }
    }

    /// The digest that is written, else the tag.
    fn written(&self) -> Option<Target> {
        match self.tag_and_digest() {
            (_, Some(digest)) => Some(Target::Digest(digest)),
            (tag, None) => tag.cloned().map(Target::Tag),
        }
    }

    /// Another image of the same repository or layout.
    pub fn with(&self, wanted: &Target) -> Place {
        let mut other = self.clone();
        let wanted = match wanted {
            Target::Tag(tag) => (Some(tag.clone()), None),
            Target::Digest(digest) => (None, Some(*digest)),
        };
        match &mut other {
            Place::Repository { reference, .. } => (reference.tag, reference.digest) = wanted,
            Place::Layout { tag, digest, .. } => (*tag, *digest) = wanted,
            Place::Archive { .. } => {}
        }
        other
    }

    /// What to ask the repository for: the digest, else the tag, else `latest`,
    /// or the only image of a layout.
    ///
    /// # Errors
    /// [`Error::Ambiguous`] for a layout with several images,
    /// [`Error::NotFound`] for a folder that is not a layout, [`Error::Unsupported`]
    /// for an archive.
    pub fn target(&self) -> Result<Target> {
        match self {
            Place::Repository { reference, .. } => Ok(reference.target()),
            Place::Layout { folder, .. } => self.written().map_or_else(|| only(folder), Ok),
            Place::Archive { .. } => Err(Error::Unsupported {
                what: format!("{self}: an archive is not a repository"),
            }),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, target) = match self {
            Place::Repository { root, reference } => {
                let repo = &reference.repo;
                let name = match root {
                    Root::Registry(host) => format!("{host}/{repo}"),
                    Root::Folder(folder) => {
                        format!("{LAYOUT}{}", folder.join(repo.as_str()).display())
                    }
                };
                (name, Some(reference.target()))
            }
            Place::Layout { folder, .. } => {
                (format!("{LAYOUT}{}", folder.display()), self.written())
            }
            Place::Archive { path, kind, name } => {
                let name = name.iter().map(|name| format!(":{name}"));
                let file = format!("{}:{}", kind.scheme(), path.display());
                (name.fold(file, |file, name| file + &name), None)
            }
        };
        match target {
            Some(target) => f.write_str(&target.within(&name)),
            None => f.write_str(&name),
        }
    }
}

/// Whether `word` is a path whatever exists.
fn is_path(word: &OsStr) -> bool {
    let bytes = word.as_encoded_bytes();
    let leads: [&[u8]; 3] = [b"/", b"./", b"../"];
    let is_tar = bytes.ends_with(b".tar") && !bytes.contains(&b':');
    is_tar || leads.iter().any(|lead| bytes.starts_with(lead))
}

/// A path, and the name of an image after it: of paths with a colon, the
/// longest that exists or ends in `.tar`.
fn split_path(text: &str) -> Result<(&Path, Option<&str>)> {
    let is_file = |path: &str| path.ends_with(".tar") || Path::new(path).exists();
    let mut colons = text.match_indices(':').map(|(at, _)| at).rev();
    match colons.find(|at| is_file(&text[..*at])) {
        Some(at) if !is_file(text) => {
            let name = &text[at + 1..];
            check_name(name)?;
            Ok((Path::new(&text[..at]), Some(name)))
        }
        _ => Ok((Path::new(text), None)),
    }
}

/// What a prefix before the colon says `word` is, if it has one.
fn prefixed(word: &str) -> Result<Option<Place>> {
    if let Some((kind, rest)) = ArchiveKind::split(word) {
        let (path, name) = split_archive(word, rest)?;
        return Ok(Some(Place::Archive { path, kind, name }));
    }
    if let Some(rest) = word.strip_prefix(LAYOUT) {
        return split_layout(rest).map(Some);
    }
    let bad = |why| Err(Error::invalid("image", shown(word), why));
    if let Some((scheme, _)) = word.split_once("://") {
        return bad(format!("leave out {scheme}://"));
    }
    match UNKNOWN.iter().find(|prefix| word.starts_with(**prefix)) {
        Some(prefix) => bad(format!(
            "{prefix} is not known; oci:FOLDER, oci-archive:FILE and docker-archive:FILE are"
        )),
        None => Ok(None),
    }
}

/// A reference; what is wrong with it in the words of an image.
fn reference(text: &str) -> Result<Reference> {
    text.parse::<Reference>().map_err(|error| {
        let bad = |why: String| Error::invalid("image", shown(text), why);
        let (name, digest) = match text.split_once('@') {
            Some((name, digest)) => (name, Some(digest)),
            None => (text, None),
        };
        if digest.is_some_and(|digest| !digest.contains(':')) {
            return bad("a digest such as sha256:… follows @; a tag follows :".to_string());
        }
        let (name, tag) = match name.rsplit_once(':') {
            Some((name, tag)) if !tag.contains('/') => (name, format!(":{tag}")),
            _ => (name, String::new()),
        };
        let lower = name.to_lowercase();
        match error {
            Error::Invalid {
                what: "alias",
                value,
                why,
            } => Error::invalid("tag", value, why),
            _ if lower != name && !text.contains('@') && lower.parse::<Reference>().is_ok() => {
                bad(format!("names are lower-case: {lower}{tag}"))
            }
            other => other,
        }
    })
}

/// `word` with stars for what may be a login in it (`name:password@host`).
fn shown(word: &str) -> String {
    let is_digest = |text: &str| text.parse::<Digest>().is_ok();
    let end = match word.rsplit_once('@') {
        Some((rest, digest)) if is_digest(digest) => rest.len(),
        _ => word.len(),
    };
    let (name, digest) = word.split_at(end);
    let start = name.split_once("://").map_or(name, |(_, rest)| rest);
    match start.rsplit_once('@') {
        Some((login, _)) if login.contains(':') => text::without_login(name) + digest,
        _ => word.to_string(),
    }
}

/// A tag of an image, which only alias commands call an alias.
///
/// # Errors
/// [`Error::Invalid`] for an invalid tag.
pub fn tag(text: &str) -> Result<Tag> {
    text.parse().map_err(|error| match error {
        Error::Invalid { value, why, .. } => Error::invalid("tag", value, why),
        other => other,
    })
}

/// `DIR[:tag][@digest]`; a colon within the path is the path's own.
fn split_layout(rest: &str) -> Result<Place> {
    let (rest, digest) = match rest.rsplit_once('@') {
        Some((folder, digest)) if digest.contains(':') && !digest.contains('/') => {
            (folder, Some(digest.parse()?))
        }
        _ => (rest, None),
    };
    let (folder, tag) = match rest.rsplit_once(':') {
        Some((folder, name)) if !name.contains('/') && !folder.is_empty() => {
            (folder, Some(tag(name)?))
        }
        _ => (rest, None),
    };
    if folder.is_empty() {
        let why = "oci: needs a folder, such as oci:./store";
        return Err(Error::invalid("image", LAYOUT, why));
    }
    Ok(Place::Layout {
        folder: folder.into(),
        tag,
        digest,
    })
}

/// `FILE[:name]` after the scheme of `word`. Names have colons, and so may
/// paths: of files that exist the longest path that is one counts, else the path
/// ends at the first colon, as it does for skopeo.
fn split_archive(word: &str, rest: &str) -> Result<(PathBuf, Option<String>)> {
    let bad = |why| Err(Error::invalid("image", word, why));
    let is_file = |path: &str| !path.is_empty() && Path::new(path).exists();
    let colons = rest.match_indices(':').map(|(at, _)| at);
    let found = colons.rev().find(|at| is_file(&rest[..*at]));
    let at = match found.or_else(|| rest.find(':')) {
        _ if rest.is_empty() => return bad("a file follows the colon"),
        _ if is_file(rest) => return Ok((rest.into(), None)),
        None => return Ok((rest.into(), None)),
        Some(at) => at,
    };
    match (&rest[..at], &rest[at + 1..]) {
        ("", _) => bad("a file precedes the name"),
        (_, "") => bad("a name follows the second colon"),
        (path, name) => {
            check_name(name)?;
            Ok((path.into(), Some(name.to_string())))
        }
    }
}

/// Whether `name` can be an image's in an archive: a reference or a tag.
fn check_name(name: &str) -> Result<()> {
    let parsed = name.parse::<Reference>().map(drop);
    parsed.or_else(|error| name.parse::<Tag>().map(drop).map_err(|_| error))
}

/// The only image of a layout.
fn only(folder: &Path) -> Result<Target> {
    let name = format!("{LAYOUT}{}", folder.display());
    if !folder.join("oci-layout").exists() {
        let what = format!("an image layout in {name} (it has no file oci-layout)");
        return Err(Error::NotFound { what });
    }
    let layout = Layout::at(folder);
    let mut tags: Vec<String> = layout.tag_names().collect::<Result<_>>()?;
    // What belongs to an image is not another one.
    tags.retain(|tag| !is_related_tag(tag));
    let several = |what: &str, choices| Error::Ambiguous {
        what: format!("{name} contains several images{what}; name one as oci:DIR:TAG"),
        choices,
    };
    match tags.as_slice() {
        [tag] => Ok(Target::Tag(tag.parse()?)),
        [] => match images(&layout)?.as_slice() {
            [one] => Ok(Target::Digest(one.digest)),
            [] => Err(Error::NotFound {
                what: format!("an image in {name}"),
            }),
            _ => Err(several(" without names", Vec::new())),
        },
        _ => Err(several("", tags)),
    }
}

/// What a layout lists, but for what only belongs to another image; where it
/// lists nothing else, all of it.
fn images(layout: &Layout) -> Result<Vec<Descriptor>> {
    let all = layout.manifests()?;
    if let [_] = all.as_slice() {
        return Ok(all);
    }
    let is_image = |entry: &&Descriptor| {
        let name = entry.annotations.get(annotation::REF_NAME);
        let manifest = || layout.manifest(&Target::Digest(entry.digest));
        let is_about = || manifest().is_ok_and(|m| matches!(m.subject(), Ok(Some(_))));
        !name.is_some_and(|name| is_related_tag(name)) && !is_about()
    };
    let images: Vec<Descriptor> = all.iter().filter(is_image).cloned().collect();
    Ok(if images.is_empty() { all } else { images })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(word: &str) -> Result<String> {
        let root = Root::Registry("r.example".parse().unwrap());
        Place::to_read(word.as_ref(), Some(&root)).map(|place| place.to_string())
    }

    fn written(word: &str) -> String {
        let root = Root::Folder("store".into());
        let place = Place::to_write(word.as_ref(), Some(&root));
        place.unwrap().to_string()
    }

    #[test]
    fn references_have_a_default_host() {
        for (word, place) in [
            ("team/app", "r.example/team/app:latest"),
            ("team/app:v1", "r.example/team/app:v1"),
            ("quay.io/team/app:v1.tar", "quay.io/team/app:v1.tar"),
            ("h:5000/app.tar", "h:5000/app.tar:latest"),
            ("oci:a/b", "oci:a/b"),
            ("oci:a/b:v1", "oci:a/b:v1"),
            ("docker-archive:a.tar:app:v1", "docker-archive:a.tar:app:v1"),
        ] {
            assert_eq!(read(word).unwrap(), place, "{word}");
        }
        assert_eq!(written("team/app:v1"), "oci:store/team/app:v1");
        let hub = Place::to_read("app".as_ref(), None).unwrap();
        assert_eq!(hub.to_string(), "docker.io/app:latest");
    }

    #[test]
    fn a_layout_may_have_a_tag_and_a_digest() {
        let digest = Digest::of(b"abc");
        let place = Place::to_write(format!("oci:d:v1@{digest}").as_ref(), None).unwrap();
        let (tag, found) = place.tag_and_digest();
        assert_eq!((tag.unwrap().as_str(), found.unwrap()), ("v1", digest));
        assert_eq!(place.target().unwrap(), Target::Digest(digest));
    }

    #[test]
    fn paths_are_known_by_their_look() {
        for (word, place) in [
            ("./app.tar", "docker-archive:./app.tar"),
            ("app.tar", "docker-archive:app.tar"),
            ("team/app.tar", "docker-archive:team/app.tar"),
            ("/no/file", "docker-archive:/no/file"),
            ("../no-file", "docker-archive:../no-file"),
            ("./app.tar:v1", "oci-archive:./app.tar:v1"),
            ("./no:file", "docker-archive:./no:file"),
        ] {
            assert_eq!(read(word).unwrap(), place, "{word}");
            assert_eq!(written(word), place, "{word}");
        }
        // A file of this crate, whose name could be a repository's: only to read.
        assert_eq!(read("src/lib.rs").unwrap(), "docker-archive:src/lib.rs");
        assert_eq!(written("src/lib.rs"), "oci:store/src/lib.rs:latest");
        assert_eq!(read("./src").unwrap(), "oci:./src");
        assert_eq!(read("src").unwrap(), "r.example/src:latest");
        let on_disk = |word: &str| Place::on_disk(word.as_ref()).unwrap().to_string();
        assert_eq!(on_disk("src"), "oci:src");
        assert_eq!(on_disk("oci:src:v1"), "oci:src:v1");
        assert_eq!(on_disk("none"), "docker-archive:none");
    }

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
            ("new.tar:App".into(), "new.tar".into(), Some("App")),
        ] {
            let expected = (path, name.map(str::to_string));
            assert_eq!(split(&word).unwrap(), expected, "{word}");
        }
        for bad in ["", ":x", "new.tar:", "new.tar:a b"] {
            assert!(split(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn errors_say_what_to_write_instead() {
        for (word, said) in [
            ("docker://h:5000/x:1", "leave out docker://"),
            ("http://h:5000/x:1", "leave out http://"),
            ("docker-daemon:app:v1", "oci-archive:FILE"),
            ("dir:app", "oci:FOLDER"),
            ("Team/Hello:V1", "lower-case: team/hello:V1"),
            ("team/hello@1", "a tag follows :"),
            ("team/hello:-x", "invalid tag"),
            ("oci:", "needs a folder"),
            ("oci:a:-x", "invalid tag"),
            ("team//x", "invalid repository"),
        ] {
            let error = read(word).unwrap_err().to_string();
            assert!(error.contains(said), "{word}: {error}");
        }
    }

    #[test]
    fn a_login_is_not_repeated() {
        let digest = Digest::of(b"abc");
        for word in [
            "me:hush@h/a/b",
            "Me:hush@h:5/A",
            "docker://me:hu/sh@h/a",
            "https://me:hush@h/a",
            &format!("dir:me:hush@h/a@{digest}"),
        ] {
            let error = read(word).unwrap_err().to_string();
            assert!(!error.contains("sh@") && !error.contains("hush"), "{error}");
        }
        let error = read("team/hello@1").unwrap_err().to_string();
        assert!(error.contains("team/hello@1"), "{error}");
    }

    #[test]
    fn a_root_is_a_registry_or_a_folder() {
        let root = |text: &str| text.parse::<Root>();
        assert_eq!(root("oci:a/b").unwrap(), Root::Folder("a/b".into()));
        assert!(matches!(root("localhost:5000").unwrap(), Root::Registry(_)));
        for (text, said) in [
            ("http://u:hunter2@r", "leave out http://"),
            ("h:5000/", "leave out the / at its end"),
            ("h/path", "leave out the path"),
            ("h:99999", "1 to 65535"),
            ("oci:", "needs a folder"),
        ] {
            let error = root(text).unwrap_err();
            let Error::Invalid { why, .. } = &error else {
                panic!("{error}");
            };
            assert!(why.contains(said) && !why.contains("hunter2"), "{error}");
        }
    }
}
