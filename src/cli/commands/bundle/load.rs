//! `load-bundle`: the images of a bundle into a registry or a folder.

use std::ffi::{OsStr, OsString};
use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::Arc;

use dxf_registry::bundle::{Bundle, Image, Load, Names, Outcome};
use dxf_registry::{RepoName, Result, Root, Store};
use serde_json::json;

use crate::cli::args::{self, LoadBundle};
use crate::cli::bundle::{base, found, incoming, is_or_are, numbered, opened, together};
use crate::cli::env::Shape;
use crate::cli::env::vars;
use crate::cli::exit::Failure;
use crate::cli::out::json::List;
use crate::cli::out::size;
use crate::cli::session::Session;

/// `load-bundle FILE… [HOST/PREFIX|oci:FOLDER] [--map FROM=TO]… [--dry-run]`
pub fn run(s: &mut Session<'_, '_>, args: &LoadBundle) -> Result<(), Failure> {
    let words = args.words.take(1, usize::MAX)?;
    if let Some(usage) = target_first(words) {
        return Err(usage);
    }
    let (files, target) = split(words)?;
    let (root, prefix) = match (target, &s.context.root) {
        (Some(target), _) => target,
        (None, Some(root)) => (root.clone(), None),
        (None, None) => return Err(Failure::Unset(vars::HOST.name)),
    };
    let mut names = Names::below(prefix.as_ref());
    for rule in &args.map {
        names = names.map(rule)?;
    }
    let incoming = incoming(s, files)?;
    let bundle = match &incoming {
        Some(incoming) => incoming.bundle().clone(),
        None => Arc::new(opened(s, files)?),
    };
    let entries = bundle.entries().iter().map(|entry| &entry.name);
    for rule in names.unused(entries.chain(bundle.expected())) {
        s.console
            .warn(&format!("--map {rule} matches no image of the bundle"));
    }
    let load = plan(s, &bundle, &root, &names)?;
    if !args.dry_run {
        s.interrupt.keep();
    }
    match incoming {
        Some(incoming) if args.dry_run => load.pass(incoming, s.run())?,
        Some(incoming) => drop(load.receive(incoming, s.run())?),
        None if args.dry_run => {}
        None => drop(load.run(s.run())?),
    }
    match load.absent_parts().is_empty() {
        true => report(s, &load, &root, args.dry_run),
        false => wait(s, args, (&load, &bundle, &root)),
    }
}

/// Says which parts are still missing.
fn wait(
    s: &mut Session<'_, '_>,
    args: &LoadBundle,
    (load, bundle, root): (&Load, &Bundle, &Root),
) -> Result<(), Failure> {
    let next = next(bundle, load, args.words.take(1, usize::MAX)?);
    if args.dry_run {
        s.console.warn(&format!("would have {next}"));
        return report(s, load, root, true);
    }
    // A piece of a layer is not stored before the others have been given.
    let mut pieces = load.cuts().iter().flat_map(|cut| &cut.parts);
    let is_stored = !pieces.any(|part| bundle.has_part(*part));
    match (args.allow_missing_parts && is_stored, s.context.shape) {
        (false, _) => Err(Failure::PartsMissing(next)),
        (true, Shape::Text) => s.line(next),
        (true, Shape::Json) => List::new().end(s.out),
    }
}

/// Which parts have to be loaded next, and how.
fn next(bundle: &Bundle, load: &Load, words: &[OsString]) -> String {
    let (cuts, absent) = (load.cuts(), load.absent_parts());
    let is_cut = |part: &usize| cuts.iter().any(|cut| cut.parts.contains(part));
    let alone: Vec<usize> = absent.into_iter().filter(|part| !is_cut(part)).collect();
    let cut: usize = cuts.iter().map(|cut| cut.parts.len()).sum();
    let all = bundle.part_count();
    let stored = all.saturating_sub(alone.len() + cut);
    let file = words.first().and_then(|word| Path::new(word).file_name());
    let part_of = file.and_then(base);
    let gone = match (file, part_of) {
        (Some(file), None) => missing(file, &load.absent_parts()),
        _ => String::new(),
    };
    let said = format!("stored {stored} of {all} parts; {gone}load ");
    let what = match (alone.is_empty(), together(cuts)) {
        (_, groups) if groups.is_empty() => {
            return said + &numbered(&alone) + " next; tags are set after the last part";
        }
        (true, groups) => groups,
        (false, groups) => format!("{}, and {groups}", numbered(&alone)),
    };
    let file = part_of
        .or(file)
        .map_or("FILE…".into(), OsStr::to_string_lossy);
    let to = words.last().filter(|_| words.len() > 1);
    let to = to.and_then(|word| target(word).ok()?.map(|_| word.to_string_lossy()));
    let to = to.map(|to| format!(" {to}")).unwrap_or_default();
    said + &format!(
        "{what}, because a layer is larger than a part: copy the parts into one folder and run dxf \
         load-bundle {file}{to} there"
    )
}

/// Which parts of the bundle called `name` are not there.
fn missing(name: &OsStr, parts: &[usize]) -> String {
    let file = match parts {
        [one] => format!(" ({}.{one:03})", name.display()),
        _ => String::new(),
    };
    format!("{} missing{file}; ", is_or_are(parts))
}

/// Where images go: a registry or a folder, and what repositories are below.
type To = (Root, Option<RepoName>);

/// The files, and where to load them to: the last word, if it is not a file.
fn split(words: &[OsString]) -> Result<(&[OsString], Option<To>), Failure> {
    let (Some((last, files)), false) = (words.split_last(), words.len() < 2) else {
        return Ok((words, None));
    };
    Ok(match target(last)? {
        Some(target) => (files, Some(target)),
        None => (words, None),
    })
}

/// What to say where the target comes before the files.
fn target_first(words: &[OsString]) -> Option<Failure> {
    let [first, files @ ..] = words else {
        return None;
    };
    let is_file = |word: &OsString| word == "-" || found(word).iter().all(|file| file.exists());
    let is_target = first.to_str()?.contains(['/', ':']) && target(first).ok()?.is_some();
    if !is_target || is_file(first) || !is_file(files.last()?) {
        return None;
    }
    let files: Vec<_> = files.iter().map(|file| file.to_string_lossy()).collect();
    let (files, first) = (files.join(" "), first.display());
    Some(args::usage(format!(
        "{first} is not a file, and the target comes last: dxf load-bundle {files} {first}"
    )))
}

/// What `HOST/PREFIX` or `oci:FOLDER` means; `None` for the name of a file.
fn target(word: &OsStr) -> Result<Option<To>> {
    let Some(text) = word
        .to_str()
        .filter(|text| !text.starts_with(['/', '.', '-']))
    else {
        return Ok(None);
    };
    if text.starts_with("oci:") {
        return Ok(Some((text.parse()?, None)));
    }
    if found(word).iter().any(|file| file.exists()) || is_file_name(text) {
        return Ok(None);
    }
    let (host, prefix) = match text.split_once('/') {
        Some((host, prefix)) => (host, Some(prefix.trim_end_matches('/'))),
        None => (text, None),
    };
    let prefix = prefix.filter(|prefix| !prefix.is_empty());
    let host: Root = host.parse()?;
    Ok(Some((host, prefix.map(str::parse).transpose()?)))
}

/// Whether a word is the name of a bundle or a part that does not exist, rather
/// than a host.
fn is_file_name(word: &str) -> bool {
    const ENDS: [&str; 5] = ["tar", "zip", "gz", "tgz", "zst"];
    let Some((_, end)) = word.rsplit_once('.') else {
        return false;
    };
    // The last label of a host is never a number; that of a misspelt part may be.
    let is_part = !end.is_empty() && end.bytes().all(|byte| byte.is_ascii_digit());
    ENDS.contains(&end) || (is_part && word.parse::<Ipv4Addr>().is_err())
}

/// What has to be loaded.
fn plan(s: &Session<'_, '_>, bundle: &Arc<Bundle>, root: &Root, names: &Names) -> Result<Load> {
    match root {
        Root::Registry(host) => {
            let registry = s.registry(host)?;
            let store = |repo: &RepoName| -> Result<Arc<dyn Store>> {
                Ok(Arc::new(registry.repository(repo.clone())))
            };
            Load::plan(bundle, names, &store, s.run())
        }
        Root::Folder(folder) => {
            let folders = s.folders(folder);
            let store = |repo: &RepoName| -> Result<Arc<dyn Store>> {
                Ok(Arc::new(folders.repository(repo)))
            };
            Load::plan(bundle, names, &store, s.run())
        }
    }
}

fn report(s: &mut Session<'_, '_>, load: &Load, root: &Root, dry_run: bool) -> Result<(), Failure> {
    let mut list = List::new();
    for image in load.images().iter().filter(|image| !image.is_related()) {
        let name = match root {
            Root::Registry(host) => image.target.within(&format!("{host}/{}", image.repo)),
            Root::Folder(_) => image.target.within(image.repo.as_str()),
        };
        match s.context.shape {
            Shape::Json => {
                let value = json!({"name": name, "digest": image.digest, "from": image.name.to_string(),
                    "state": state(image), "replaces": image.replaces, "there": image.there,
                    "lacking": image.lacking});
                list.item(s.out, &value)?;
            }
            Shape::Text if dry_run && image.outcome == Outcome::Load => s.line(format_args!(
                "{name}: load, {} to send, {} already in the target{}",
                size::show(image.lacking),
                size::show(image.there),
                replaced(image)
            ))?,
            Shape::Text if dry_run => {
                s.line(format_args!("{name}: {}{}", state(image), replaced(image)))?
            }
            Shape::Text if image.name.digest.is_some() => s.line(name)?,
            Shape::Text => s.line(format_args!("{name}@{}", image.digest))?,
        }
    }
    match s.context.shape {
        Shape::Json => list.end(s.out),
        Shape::Text => {
            let (blobs, bytes) = load.lacking();
            let what = if dry_run { "to send" } else { "sent" };
            let blobs = size::count(blobs, "blob");
            s.line(format_args!("{blobs}, {} {what}", size::show(bytes)))
        }
    }
}

/// What the name no longer points to then.
fn replaced(image: &Image) -> String {
    let digest = image.replaces.map(|digest| format!(", replaces {digest}"));
    digest.unwrap_or_default()
}

fn state(image: &Image) -> &'static str {
    match image.outcome {
        Outcome::UpToDate => "up to date",
        Outcome::Tag => "tag",
        _ => "load",
    }
}
