//! `load-bundle`: the images of a bundle into a registry or a folder.

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::sync::Arc;

use dxf_registry::bundle::{Bundle, Image, Load, Names, Outcome};
use dxf_registry::{Error, ReadStore, RepoName, Result, Root, Store};
use serde_json::json;

use crate::cli::args::LoadBundle;
use crate::cli::bundle::{incoming, opened};
use crate::cli::env::Shape;
use crate::cli::env::vars;
use crate::cli::exit::Failure;
use crate::cli::out::json::List;
use crate::cli::out::size;
use crate::cli::session::Session;

/// `load-bundle FILE… [HOST/PREFIX|oci:FOLDER] [--map FROM=TO]… [--dry-run]`
pub fn run(s: &mut Session<'_, '_>, args: &LoadBundle) -> Result<(), Failure> {
    let words = args.words.take(1, usize::MAX)?;
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
    let load = plan(s, &bundle, (&root, &names))?;
    if !args.dry_run {
        s.interrupt.keep();
    }
    match incoming {
        Some(incoming) if args.dry_run => load.pass(incoming, s.run())?,
        Some(incoming) => drop(load.receive(incoming, s.run())?),
        None if args.dry_run => {}
        None => drop(load.run(s.run())?),
    }
    let absent = load.absent_parts();
    if !args.dry_run && !absent.is_empty() {
        return Err(Error::NotFound {
            what: rest(&bundle, absent),
        }
        .into());
    }
    report(s, &load, (&root, args.dry_run))
}

/// What to say of a bundle that is loaded but for these parts.
fn rest(bundle: &Bundle, absent: &[usize]) -> String {
    let numbers = absent.iter().map(ToString::to_string);
    let numbers = numbers.collect::<Vec<_>>().join(", ");
    let name = bundle.name();
    format!(
        "part {numbers} of the bundle that {name} is a part of; blobs of the other parts are stored, and no tag is set before the last part is loaded (a layer larger than a part needs all its parts at once)"
    )
}

/// Where images go: a registry or a folder, and what repositories are below.
type To = (Root, Option<RepoName>);

/// The files, and where to load them to: the last word, if it is no file.
fn split(words: &[OsString]) -> Result<(&[OsString], Option<To>), Failure> {
    let (Some((last, files)), false) = (words.split_last(), words.len() < 2) else {
        return Ok((words, None));
    };
    Ok(match target(last)? {
        Some(target) => (files, Some(target)),
        None => (words, None),
    })
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
    if Path::new(word).is_file() || text.ends_with(".tar") {
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

/// What has to be loaded.
fn plan(s: &Session<'_, '_>, bundle: &Arc<Bundle>, (root, names): (&Root, &Names)) -> Result<Load> {
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

fn report(
    s: &mut Session<'_, '_>,
    load: &Load,
    (root, dry_run): (&Root, bool),
) -> Result<(), Failure> {
    let mut list = List::new();
    for image in load.images().iter().filter(|image| !image.is_related()) {
        let name = match root {
            Root::Registry(host) => image.target.within(&format!("{host}/{}", image.repo)),
            Root::Folder(_) => image.target.within(image.repo.as_str()),
        };
        match s.context.shape {
            Shape::Json => {
                let value = json!({"name": name, "digest": image.digest, "from": image.name.to_string(),
                    "state": state(image), "there": image.there, "lacking": image.lacking});
                list.item(s.out, &value)?;
            }
            Shape::Text if dry_run => s.line(format_args!(
                "{name}: {}, {} there, {} to send",
                state(image),
                size::show(image.there),
                size::show(image.lacking)
            ))?,
            Shape::Text if image.name.digest.is_some() => s.line(name)?,
            Shape::Text => s.line(format_args!("{name}@{}", image.digest))?,
        }
    }
    match s.context.shape {
        Shape::Json => list.end(s.out),
        Shape::Text => {
            let (blobs, bytes) = load.lacking();
            let what = if dry_run { "to send" } else { "sent" };
            s.line(format_args!("{blobs} blobs, {} {what}", size::show(bytes)))
        }
    }
}

fn state(image: &Image) -> &'static str {
    match image.outcome {
        Outcome::UpToDate => "up to date",
        Outcome::Tag => "tag",
        _ => "load",
    }
}
