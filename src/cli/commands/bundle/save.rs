//! `save-bundle`: images from anywhere into one file.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use dxf_registry::archive::Archive;
use dxf_registry::bounds;
use dxf_registry::bundle::{
    Bundle, Listing, MAX_LISTING, Plan, SaveOptions, SavedParts, Wanted, plan,
};
use dxf_registry::error::if_found;
use dxf_registry::graph::{Referrers, Remote};
use dxf_registry::stream::read_bounded;
use dxf_registry::{
    Error, Host, Place, Platform, ReadStore, Reference, Registry, RepoName, Result, Root, Store,
    Target, json,
};
use serde_json::json;

use crate::cli::args::{self, SaveBundle};
use crate::cli::bundle::{self, numbered, together};
use crate::cli::env::Shape;
use crate::cli::exit::Failure;
use crate::cli::image::destination::left_out;
use crate::cli::image::open;
use crate::cli::image::platform::platform_missing;
use crate::cli::image::read::{archived, compressed, uncached};
use crate::cli::input::{Line, lines};
use crate::cli::out::file::{Output, is_plain};
use crate::cli::out::size;
use crate::cli::session::Session;

/// The longest list of images that is read, bytes.
const MAX_LIST: u64 = bounds::IMAGE_LIST;

/// `save-bundle [options] FILE|- <image>… [--list FILE]`
pub fn run(s: &mut Session<'_, '_>, args: &SaveBundle) -> Result<(), Failure> {
    let words = args.words.take(1, usize::MAX)?;
    let path = Path::new(&words[0]);
    let listed = match &args.list {
        Some(list) => lines(s, list, MAX_LIST)?,
        None => Vec::new(),
    };
    if words.len() == 1 && listed.is_empty() {
        return Err(args::usage("too few arguments (an image to save)"));
    }
    no_image(&words[0])?;
    let part = args.part_size.as_deref().map(part_size).transpose()?;
    no_other_file(path, part.is_some())?;
    let platform = args.platform.as_deref().filter(|word| *word != "all");
    let platform: Option<Platform> = platform.map(str::parse).transpose()?;
    let mut options = SaveOptions::default().with_nondistributable(args.nondistributable.choice());
    options.platform = platform.as_ref();
    if !args.no_referrers {
        options.referrers = Referrers::Copy;
    }
    let mut since = Listing::default();
    for word in &args.since {
        since.merge(known(s, word)?);
    }
    if !args.since.is_empty() {
        options = options.with_since(&since);
    }
    let mut wanted = Vec::new();
    let mut sources = Sources::default();
    for word in &words[1..] {
        wanted.extend(found(s, word, &mut sources)?);
    }
    for Line { text, place } in &listed {
        let found = found(s, OsStr::new(text), &mut sources);
        wanted.extend(found.map_err(|e| e.at(place))?);
    }
    // Of a delta most images are known, and nothing else is asked about them.
    list_tags(&mut wanted, if args.since.is_empty() { 4 } else { 1 });
    let plan = plan(&wanted, &options, s.run()).map_err(platform_missing)?;
    for layer in &plan.left_out {
        s.console.warn(&left_out(&layer.digest));
    }
    if let Some(part) = part {
        if !is_plain(path) {
            return Err(args::usage("--part-size needs the name of a file"));
        }
        let cuts = plan.cuts(part).map_err(|error| match error {
            Error::Invalid { why, .. } => {
                let text = args.part_size.clone().unwrap_or_default();
                Error::invalid("--part-size", text, why)
            }
            error => error,
        })?;
        if !cuts.is_empty() {
            let (layers, parts) = (size::count(cuts.len(), "layer"), together(&cuts));
            let what = format!("{layers} larger than a part: load-bundle needs {parts}");
            s.console.warn(&what);
        }
        s.interrupt.keep();
        let parts = plan.write_parts(path, part, s.run())?;
        return report(s, &plan, Some(&parts));
    }
    if is_plain(path) {
        s.interrupt.keep();
        plan.write_file(path, s.run())?;
        return report(s, &plan, None);
    }
    let (mut output, run) = (Output::open(Some(path), s.interrupt)?, s.run());
    let (name, is_stdout) = (output.name(), output.is_stdout());
    plan.write_stream(&name, output.writer(s.out), run)?;
    match is_stdout {
        true => Ok(()),
        false => report(s, &plan, None),
    }
}

/// Refuses an image in place of the file: FILE was forgotten.
fn no_image(word: &OsStr) -> Result<(), Failure> {
    let Some(text) = word.to_str() else {
        return Ok(());
    };
    let is_path = text.starts_with(['.', '/']) || text.ends_with(".tar");
    match is_path || !text.contains([':', '@']) || Path::new(word).exists() {
        true => Ok(()),
        false => Err(args::usage(format!(
            "{text} looks like an image, and the file to write comes first; ./{text} writes a file of that name"
        ))),
    }
}

/// Refuses to replace a file that is no archive, such as the list of images: `--list`
/// was forgotten.
fn no_other_file(path: &Path, in_parts: bool) -> Result<(), Failure> {
    let first = match in_parts {
        true => format!("{}.001", path.display()).into(),
        false => path.to_path_buf(),
    };
    let mut head = Vec::new();
    let is_file = is_plain(&first) && first.is_file();
    let read = |file: File| file.take(512).read_to_end(&mut head);
    if !is_file || File::open(&first).and_then(read).is_err() {
        return Ok(());
    }
    // A tar begins with the header of a member (POSIX.1-1988, ustar).
    let is_tar = head.get(257..262) == Some(b"ustar");
    match is_tar || head.is_empty() {
        true => Ok(()),
        false => {
            let name = first.display().to_string();
            let why = format!(
                "it exists and is no bundle; remove it first, or read the images from it with \
                 --list {name}"
            );
            Err(Error::invalid("file", name, why).into())
        }
    }
}

fn part_size(text: &str) -> Result<u64> {
    size::parse(text).map_err(|why| Error::invalid("--part-size", text, why))
}

/// What `word` says the other side has.
fn known(s: &Session<'_, '_>, word: &OsStr) -> Result<Listing, Failure> {
    let files = bundle::found(word);
    if files.iter().all(|file| file.is_file()) {
        return in_files(s, &files);
    }
    if let Some(folder) = folder(word) {
        let (folders, mut all) = (s.folders(folder), Listing::default());
        for repo in folders.repos() {
            let name = plain(None, repo?.parse()?);
            let layout = folders.repository(&name.repo);
            let listed = layout.manifests()?.into_iter();
            let targets = listed.map(|entry| Target::Digest(entry.digest));
            all.merge(Listing::of_store(
                &name,
                &layout,
                targets.collect(),
                s.run(),
            )?);
        }
        return Ok(all.called(&word.display().to_string()));
    }
    let text = args::text(word)?;
    if is_file_name(text, s.context.root.is_none()) {
        fs::metadata(word).map_err(|e| Error::io(text, e))?;
    }
    let listing = match registry(text)? {
        Some((host, prefix)) => below(s, &host, prefix)?,
        None => in_repository(s, word)?,
    };
    Ok(listing.called(text))
}

/// Whether a word that is not a file can't be anything else. Without `DXF_HOST` a word
/// alone would be one of Docker Hub's images, with all its tags.
fn is_file_name(word: &str, is_alone: bool) -> bool {
    let is_path = word.starts_with(['/', '.']);
    let is_called_so = [".tar", ".json", ".zip"]
        .iter()
        .any(|end| word.ends_with(end));
    let is_part = bundle::base(OsStr::new(word)).is_some() && !word.contains([':', '/']);
    is_path || is_called_so || is_part || (is_alone && !word.contains([':', '/']))
}

/// What a bundle, or the index of one, lists.
fn in_files(s: &Session<'_, '_>, files: &[PathBuf]) -> Result<Listing, Failure> {
    let Some(path) = files.first() else {
        return Ok(Listing::default());
    };
    let what = path.display().to_string();
    let mut first = [0];
    let file = File::open(path).map_err(|e| Error::io(&what, e))?;
    let n = (&file).read(&mut first).map_err(|e| Error::io(&what, e))?;
    if (n, first) != (1, *b"{") {
        let paths: Vec<&Path> = files.iter().map(PathBuf::as_path).collect();
        return Ok(Bundle::open_parts(&paths, &s.context.tmpdir, s.run())?.listing()?);
    }
    let bytes = read_bounded(&what, first.chain(&file), MAX_LISTING)?;
    let listing = Listing::parse(&what, &bytes)?;
    // The index stays on this side; the other one knows the bundle.
    match listing.against() {
        [] => Ok(listing.called(&file_name(path))),
        _ => Ok(listing),
    }
}

/// The registry, and what names begin with in it, where `word` is `HOST/`,
/// `HOST:PORT` or `HOST/PREFIX/`.
fn registry(word: &str) -> Result<Option<(Host, &str)>> {
    let is_host = |word: &str| match word.split_once(':') {
        Some((name, port)) => {
            (name.contains('.') || name == "localhost") && port.parse::<u16>().is_ok()
        }
        None => false,
    };
    match word.strip_suffix('/') {
        Some(rest) => {
            let (host, prefix) = rest.split_once('/').unwrap_or((rest, ""));
            Ok(Some((host.parse()?, prefix)))
        }
        None if is_host(word) => Ok(Some((word.parse()?, ""))),
        None => Ok(None),
    }
}

/// What all repositories below a prefix contain, under the names that images have
/// which go below that.
fn below(s: &Session<'_, '_>, host: &Host, prefix: &str) -> Result<Listing, Failure> {
    let (registry, mut all) = (s.registry(host)?, Listing::default());
    let above = match prefix {
        "" => String::new(),
        prefix => format!("{prefix}/"),
    };
    for repo in registry.repos() {
        let repo = repo?;
        let Some(rest) = repo.strip_prefix(&above) else {
            continue;
        };
        let store = registry.repository(repo.parse()?);
        // A registry lists those too that have become empty.
        let targets = if_found(store.tags().map(|tag| tag.map(Target::Tag)).collect())?;
        let (name, targets) = (plain(None, rest.parse()?), targets.unwrap_or_default());
        let mut listing = Listing::of_store(&name, &store, targets, s.run())?;
        listing.add_referrers(&name, &store, s.run())?;
        all.merge(listing);
    }
    match all.is_empty() {
        false => Ok(all),
        true => Err(nothing(format!("a repository below {host}/{above}"))),
    }
}

/// What a repository, an image or an alias contains; where there is no such
/// repository, what those below that name contain.
fn in_repository(s: &Session<'_, '_>, word: &OsStr) -> Result<Listing, Failure> {
    let place = open::to_read(s, word)?;
    let store = open::store(s, s.context, &place)?;
    let targets = match place.is_named() {
        true => Some(vec![place.target()?]),
        false => if_found(store.tags().map(|tag| tag.map(Target::Tag)).collect())?,
    };
    let (word, is_repo) = (word.display(), targets.is_some());
    let targets = targets.unwrap_or_default();
    let Some(target) = targets.first() else {
        let below = match &place {
            Place::Repository {
                root: Root::Registry(host),
                reference,
            } => below(s, host, reference.repo.as_str()).ok(),
            _ => None,
        };
        let empty = is_repo.then(Listing::default);
        let what = format!("{word}, neither a file nor a repository, nor a prefix of repositories");
        return below.or(empty).ok_or_else(|| nothing(what));
    };
    let name = name(&place, target)?;
    let mut listing = Listing::of_store(&name, &*store, targets, s.run())?;
    if place.host().is_some() {
        listing.add_referrers(&name, &*store, s.run())?;
    }
    match (listing.is_empty(), place.is_named()) {
        (true, true) => Err(nothing(format!("{word}, neither a file nor an image"))),
        _ => Ok(listing),
    }
}

fn nothing(what: String) -> Failure {
    Error::NotFound { what }.into()
}

/// The name of a repository.
fn plain(host: Option<Host>, repo: RepoName) -> Reference {
    Reference {
        host,
        repo,
        tag: None,
        digest: None,
    }
}

/// The folder of repositories that `oci:FOLDER` means, unless it is one layout.
fn folder(word: &OsStr) -> Option<&Path> {
    let folder = Path::new(word.to_str()?.strip_prefix("oci:")?);
    (folder.is_dir() && !folder.join("oci-layout").exists()).then_some(folder)
}

fn file_name(path: &Path) -> String {
    path.file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

/// Of a repository with at least `many` images its tags are listed once, rather than
/// asked for four times an image.
fn list_tags(wanted: &mut [Wanted], many: usize) {
    let repo = |one: &Wanted| one.from.store().name();
    let mut remotes = HashMap::new();
    for one in &*wanted {
        let (_, count) = remotes
            .entry(repo(one))
            .or_insert((one.from.with_tags_listed(), 0));
        *count += 1;
    }
    for one in wanted {
        if let Some((listed, _)) = remotes.get(&repo(one)).filter(|(_, count)| *count >= many) {
            one.from = listed.clone();
        }
    }
}

/// The stores of images, each opened once: those of one registry share connections
/// and tokens.
#[derive(Default)]
struct Sources {
    registries: BTreeMap<Host, Registry>,
    remotes: HashMap<String, Remote>,
}

impl Sources {
    /// The store at `place`, which is in the repository that `key` names.
    fn remote(&mut self, s: &Session<'_, '_>, place: &Place, key: String) -> Result<Remote> {
        if let Some(remote) = self.remotes.get(&key) {
            return Ok(remote.clone());
        }
        let store: Arc<dyn Store> = match place {
            Place::Repository {
                root: Root::Registry(host),
                reference,
            } => Arc::new(self.registry(s, host)?.repository(reference.repo.clone())),
            place => open::store(s, s.context, place)?,
        };
        let remote = uncached(s, store);
        self.remotes.insert(key, remote.clone());
        Ok(remote)
    }

    fn registry(&mut self, s: &Session<'_, '_>, host: &Host) -> Result<Registry> {
        let registry = match self.registries.get(host) {
            Some(registry) => return Ok(registry.clone()),
            None => s.registry(host)?,
        };
        self.registries.insert(host.clone(), registry.clone());
        Ok(registry)
    }
}

/// The images that `word` names, each with the store it is in.
fn found(s: &Session<'_, '_>, word: &OsStr, sources: &mut Sources) -> Result<Vec<Wanted>, Failure> {
    let place = open::to_read(s, word)?;
    if place.is_archive() {
        return in_archive(s, &place);
    }
    let target = place.target()?;
    let name = name(&place, &target)?;
    let key = Reference {
        tag: None,
        digest: None,
        ..name.clone()
    };
    let from = sources.remote(s, &place, key.to_string())?;
    Ok(vec![Wanted { from, target, name }])
}

/// What an image is called in a bundle.
fn name(place: &Place, target: &Target) -> Result<Reference> {
    let mut name = match place {
        Place::Repository { root, reference } => {
            let mut name = reference.clone();
            name.host = match root {
                Root::Registry(host) => Some(host.clone()),
                Root::Folder(_) => None,
            };
            name
        }
        Place::Layout { folder, .. } => {
            let last = folder.canonicalize().ok();
            let last = last.as_deref().unwrap_or(folder).file_name();
            let last = last.unwrap_or_default().to_string_lossy();
            let repo = last.parse().map_err(|_| {
                let why = "a bundle names the image like its folder, and this is not the name of a \
                           repository; rename the folder";
                Error::invalid("image", last, why)
            })?;
            let (tag, _) = place.tag_and_digest();
            Reference {
                host: None,
                repo,
                tag: tag.cloned(),
                digest: None,
            }
        }
        _ => {
            return Err(Error::Unsupported {
                what: format!("{place}: it has no name"),
            });
        }
    };
    if let (None, Target::Tag(tag)) = (&name.tag, target) {
        name.tag = Some(tag.clone());
    }
    Ok(name)
}

/// The images of an archive under their whole names.
fn in_archive(s: &Session<'_, '_>, place: &Place) -> Result<Vec<Wanted>, Failure> {
    let items = archived(s, place)?
        .into_iter()
        .map(|item| compressed(s, item));
    let items: Vec<_> = items.collect::<Result<_>>()?;
    let what = place.to_string();
    let names: Vec<_> = items
        .iter()
        .flat_map(|item| {
            let digest = item.node.manifest().digest();
            item.names.iter().map(move |name| (name.clone(), digest))
        })
        .collect();
    if names.is_empty() {
        let why = "it has no image with a name; push-image it to a repository first";
        return Err(Error::malformed(what, why).into());
    }
    let from = Remote::new(Arc::new(Archive::of(&what, items)?));
    let wanted = names.into_iter().map(|(name, digest)| Wanted {
        from: from.clone(),
        target: Target::Digest(digest),
        name,
    });
    Ok(wanted.collect())
}

fn report(s: &mut Session<'_, '_>, plan: &Plan, parts: Option<&SavedParts>) -> Result<(), Failure> {
    if s.context.shape == Shape::Json {
        let images = plan.images.iter();
        let images =
            images.map(|(name, digest)| json!({"name": name.to_string(), "digest": digest}));
        let mut value = json!({"images": images.collect::<Vec<_>>(), "bytes": plan.bytes,
            "omitted": plan.omitted.1, "parts": parts.map_or(1, |parts| parts.count)});
        if let Some(parts) = parts {
            value["written"] = parts.written.as_slice().into();
        }
        return s.line(json::python(&value));
    }
    for (name, digest) in &plan.images {
        match name.digest {
            Some(_) => s.line(name)?,
            None => s.line(format_args!("{name}@{digest}"))?,
        }
    }
    let images = size::count(plan.images.len(), "image");
    let mut line = format!("{images}, {}", size::show(plan.bytes));
    if plan.omitted.0 > 0 {
        line += &format!(", {} left out", size::show(plan.omitted.1));
    }
    if let Some(parts) = parts.filter(|parts| parts.count > 1) {
        line += &format!(", in {} parts", parts.count);
        line += &match parts.written.len() {
            0 => ": kept all of them".to_string(),
            all if all == parts.count => String::new(),
            _ => format!(": wrote {}, kept the others", numbered(&parts.written)),
        };
    }
    s.line(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_is_no_file_to_write() {
        for word in [
            "app:1",
            "h.example/app:1",
            "app@sha256:1",
            "oci:x",
            "h:5000/app",
        ] {
            assert!(no_image(OsStr::new(word)).is_err(), "{word}");
        }
        for word in [
            "month",
            "month.tar",
            "a:b.tar",
            "./app:1",
            "/x/app:1",
            "-",
            "a/b",
        ] {
            assert!(no_image(OsStr::new(word)).is_ok(), "{word}");
        }
    }

    #[test]
    fn registries_end_in_a_port_or_a_slash() {
        let found = |word| {
            let found = registry(word).unwrap();
            found.map(|(host, prefix)| (host.to_string(), prefix))
        };
        for (word, host, prefix) in [
            ("localhost:5000", "localhost:5000", ""),
            ("r.example/", "r.example", ""),
            ("r.example:5000/a/b/", "r.example:5000", "a/b"),
        ] {
            assert_eq!(found(word), Some((host.to_string(), prefix)), "{word}");
        }
        for word in ["alpine:3", "r.example/a", "localhost:5000/a", "app"] {
            assert!(found(word).is_none(), "{word}");
        }
    }
}
