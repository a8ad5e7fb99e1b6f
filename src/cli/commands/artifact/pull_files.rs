//! `pull-files`: the files of an artifact, whatever tool pushed it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use dxf_registry::fetch::Sink;
use dxf_registry::files::{Entry, Form, Pull, Pulled, entries_in, write_as};
use dxf_registry::graph::{Budget, Resolver, Select};
use dxf_registry::image::make::Pattern;
use dxf_registry::manifest::{is_attestation, is_manifest};
use dxf_registry::{
    Error, Manifest, Platform, ReadStore, Result, Store, Target, fetch, json, text,
};
use serde_json::{Value, json};

use crate::cli::args::{self, PullFiles};
use crate::cli::env::Shape;
use crate::cli::exit::{Failure, OTHER_PLATFORM};
use crate::cli::image::open;
use crate::cli::out::file::{Output, is_plain};
use crate::cli::out::size;
use crate::cli::session::Session;

/// How many names an error has at most.
const SHOWN: usize = 5;

/// `pull-files [-o DIR] [--only GLOB]… [--keep] <repo> <alias|digest>`
pub fn run(s: &mut Session<'_, '_>, args: &PullFiles) -> Result<(), Failure> {
    let (store, target) = source(s, args)?;
    let manifest = chosen(s, &*store, &target, args.platform.as_deref());
    let manifest = manifest.map_err(of_platform)?;
    let mut found = entries_in(&*store, &manifest)?;
    s.names.add(&found);
    if let Some(name) = &args.file {
        return one(s, &*store, &found, name, args);
    }
    if !args.only.is_empty() {
        found = only(found, &args.only)?;
    }
    if args.list {
        return list(s, &found);
    }
    for entry in found.iter().filter(|entry| !entry.is_named) {
        s.console.warn(&format!(
            "the artifact names no file for {}; it is written to {}",
            entry.digest, entry.name
        ));
    }
    let folder = args.output.clone().unwrap_or_else(|| PathBuf::from("."));
    if folder == Path::new("-") {
        return Err(args::usage(
            "a folder can't go to standard output; --file NAME picks one file",
        ));
    }
    write(s, &*store, &found, &pull(&folder, args))
}

/// Where the artifact is, and its name there: two words, or one as images are
/// named, which is what `attach` prints.
fn source(s: &Session<'_, '_>, args: &PullFiles) -> Result<(Arc<dyn Store>, Target), Failure> {
    if let Ok([word]) = args.words.take(1, 1) {
        let place = open::to_read(s, word)?;
        if place.is_named() {
            return Ok((open::store(s, s.context, &place)?, place.target()?));
        }
    }
    if let Ok([first, file]) = args.words.take(2, 2)
        && open::to_read(s, first).is_ok_and(|place| place.is_named())
    {
        let (first, file) = (first.display(), file.display());
        return Err(args::usage(format!(
            "{first} names the artifact already; did you mean {first} --file {file}?"
        )));
    }
    let (repo, rest) = s.repo(&args.words, 1, 1)?;
    let word = args::text(&rest[0])?;
    let target: Target = word.strip_prefix('@').unwrap_or(word).parse()?;
    Ok((Arc::from(s.store(repo)?), target))
}

/// The manifest of a name, for one platform where it is an index.
fn chosen(
    s: &Session<'_, '_>,
    store: &dyn ReadStore,
    target: &Target,
    platform: Option<&str>,
) -> Result<Manifest> {
    let platform: Option<Platform> = platform.map(str::parse).transpose()?;
    let host = Platform::host();
    let wanted = match platform.as_ref().or(s.context.platform.as_ref()) {
        Some(platform) => Select::Platform(platform),
        None => Select::Host(&host),
    };
    let manifest = store.manifest(target)?;
    let budget = Budget::default();
    match Resolver::new(store, &budget, s.run()).choose(manifest.clone(), wanted) {
        Err(Error::NoPlatform { available, .. })
            if available.is_empty() && matches!(wanted, Select::Host(_)) =>
        {
            only_one(store, &manifest)
        }
        chosen => chosen,
    }
}

/// The failure to find a platform, which has an option here.
fn of_platform(error: Error) -> Failure {
    match &error {
        Error::NoPlatform { available, .. } if !available.is_empty() => {
            Failure::Hinted(Box::new(error), OTHER_PLATFORM.to_string())
        }
        _ => error.into(),
    }
}

/// The manifest of an index whose entries are for no platform, if it is the only
/// one.
fn only_one(store: &dyn ReadStore, index: &Manifest) -> Result<Manifest> {
    let mut entries = index.index()?.manifests;
    entries.retain(|entry| is_manifest(entry) && !is_attestation(entry));
    match entries.as_slice() {
        [only] => store.manifest(&Target::Digest(only.digest)),
        several => Err(Error::Ambiguous {
            what: "an index of artifacts without platforms; name one by its digest".into(),
            choices: several
                .iter()
                .take(SHOWN)
                .map(|e| e.digest.to_string())
                .collect(),
        }),
    }
}

/// The entries that match any of `globs`, or are in a folder that does.
fn only(found: Vec<Entry>, globs: &[String]) -> Result<Vec<Entry>> {
    let patterns: Result<Vec<Pattern>> = globs.iter().map(|glob| glob.parse()).collect();
    let patterns = patterns?;
    let names: Vec<&str> = found.iter().map(|entry| entry.name.as_str()).collect();
    if !names.iter().any(|name| Pattern::any_fits(&patterns, name)) {
        let mut what = format!(
            "no file matches {}; there are: {}",
            globs.join(", "),
            some(&names)
        );
        what += &globs
            .iter()
            .find_map(|glob| whole(&found, glob))
            .unwrap_or_default();
        return Err(Error::NotFound { what });
    }
    let mut found = found;
    found.retain(|entry| Pattern::any_fits(&patterns, &entry.name));
    Ok(found)
}

/// A few names, for an error.
fn some(names: &[&str]) -> String {
    let mut shown: Vec<String> = names
        .iter()
        .take(SHOWN)
        .map(|n| text::one_line(n))
        .collect();
    match names.len() {
        0 => shown.push("none".to_string()),
        n if n > SHOWN => shown.push(format!("{} more", n - SHOWN)),
        _ => {}
    }
    shown.join(", ")
}

/// What to say of a file that is in a folder, which is one layer.
fn whole(found: &[Entry], file: &str) -> Option<String> {
    let inside = |entry: &&Entry| entry.is_folder() && below(file, &entry.name);
    let folder = &found.iter().find(inside)?.name;
    Some(format!(
        "; {folder} is stored as one folder: pull it whole, or print a file of it with dxf get-file"
    ))
}

/// Whether a file lies in a folder, by their names.
fn below(file: &str, folder: &str) -> bool {
    let rest = file.strip_prefix(folder);
    rest.is_some_and(|rest| rest.starts_with('/'))
}

/// Writes one file under another name, or to standard output.
fn one(
    s: &mut Session<'_, '_>,
    store: &dyn ReadStore,
    found: &[Entry],
    name: &str,
    args: &PullFiles,
) -> Result<(), Failure> {
    let wanted = name.trim_end_matches('/');
    let Some(entry) = found.iter().find(|entry| entry.name == wanted) else {
        let names: Vec<&str> = found.iter().map(|entry| entry.name.as_str()).collect();
        let mut what = format!("file {name}; there are: {}", some(&names));
        what += &whole(found, wanted).unwrap_or_default();
        return Err(Error::NotFound { what }.into());
    };
    if name.ends_with('/') && entry.form == Form::File {
        let what = format!("folder {name}; it is a file");
        return Err(Error::NotFound { what }.into());
    }
    let output = args.output.as_deref().unwrap_or(Path::new("."));
    if output.is_dir() {
        return write(s, store, std::slice::from_ref(entry), &pull(output, args));
    }
    if entry.form == Form::Packed {
        let what =
            format!("{name} is compressed in the artifact: give an existing folder with -o DIR");
        return Err(Error::Unsupported { what }.into());
    }
    if entry.is_folder() {
        let what = format!("{name} is a folder: give an existing folder with -o DIR");
        return Err(Error::Unsupported { what }.into());
    }
    if args.keep && output != Path::new("-") && output.exists() {
        let what = format!(
            "{} exists, and --keep does not overwrite it",
            output.display()
        );
        return Err(Error::NotAllowed { what }.into());
    }
    if is_plain(output) {
        s.interrupt.keep();
        return Ok(write_as(store, entry, output, s.run())?);
    }
    let row = std::slice::from_ref(entry.sequence());
    let mut to = Output::open(Some(output), s.interrupt)?;
    let (run, shown) = (s.run(), to.name());
    let sink = Sink::new(&shown, to.writer(s.out)).with_folder(&s.context.tmpdir);
    fetch::into_writer(store, row, sink, run)?;
    Ok(to.commit()?)
}

/// How files get into `folder`.
fn pull<'a>(folder: &'a Path, args: &PullFiles) -> Pull<'a> {
    match args.keep {
        true => Pull::new(folder).without_replacing(),
        false => Pull::new(folder),
    }
}

/// Writes files, and prints the names of those that were fetched.
fn write(
    s: &mut Session<'_, '_>,
    store: &dyn ReadStore,
    found: &[Entry],
    pull: &Pull<'_>,
) -> Result<(), Failure> {
    s.interrupt.keep();
    let pulled = pull.write(store, found, s.run())?;
    for (entry, pulled) in found.iter().zip(pulled) {
        if pulled == Pulled::Written {
            s.line(&entry.name)?;
        }
    }
    Ok(())
}

fn list(s: &mut Session<'_, '_>, found: &[Entry]) -> Result<(), Failure> {
    if s.context.shape == Shape::Json {
        let one = |entry: &Entry| {
            json!({"name": entry.name, "size": entry.size, "mediaType": entry.media_type,
                "digest": entry.digest, "folder": entry.is_folder(), "named": entry.is_named})
        };
        return s.line(json::python(&found.iter().map(one).collect::<Value>()));
    }
    let row = |entry: &Entry| {
        vec![
            text::clean(&entry.name),
            size::show(entry.size),
            text::clean(&entry.media_type),
            entry.digest.to_string(),
        ]
    };
    let rows: Vec<Vec<String>> = found.iter().map(row).collect();
    s.table(&rows, &[1])
}
