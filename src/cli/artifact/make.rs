//! An artifact of the files, types and annotations that the command line gives.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use dxf_registry::artifact::Split;
use dxf_registry::files::{self, Artifact, Input, Making, is_media_type, title};
use dxf_registry::image::Image;
use dxf_registry::image::make::{Modified, Pattern, excludes};
use dxf_registry::{Blob, Error, Result};

use crate::cli::args::{self, About};
use crate::cli::exit::Failure;
use crate::cli::input;
use crate::cli::session::Session;

/// Annotations by what they are of: `$manifest`, `$config`, or a path as it was
/// typed.
type Notes = BTreeMap<String, BTreeMap<String, String>>;

/// What files become in an artifact.
#[derive(Debug, Clone, Copy)]
pub enum Form {
    /// A layer for each file or folder.
    Layers,
    /// The same, but several for what is larger than a part.
    Parts(Split),
    /// The files of a model.
    Model,
}

/// The artifact of `paths`, each a path, optionally with `:TYPE` after it, or `-`
/// for standard input.
///
/// # Errors
/// [`Failure::Usage`] for options that contradict each other; those of
/// [`files::layers`].
pub fn artifact(
    s: &mut Session<'_, '_>,
    about: &About,
    paths: &[OsString],
    form: Form,
) -> Result<Artifact, Failure> {
    let mut notes = notes(about, s.context.epoch)?;
    let inputs = inputs(s, about, paths, form, &mut notes)?;
    let config = about.config.as_deref();
    let usual = match form {
        Form::Model => files::MODEL_CONFIG,
        _ => files::UNKNOWN_CONFIG,
    };
    let config = config
        .map(|word| self::config(s, word, usual))
        .transpose()?;
    let of_config = notes.remove("$config").unwrap_or_default();
    let manifest = notes.remove("$manifest").unwrap_or_default();
    if let Some(path) = notes.keys().next() {
        let what = format!("--annotation-file names {path}, which is not among the files");
        return Err(args::usage(what));
    }
    let modified = match about.keep_times {
        true => Modified::Source,
        false => Modified::Fixed(0),
    };
    let exclude = patterns(about)?;
    let making = Making::new(&s.context.tmpdir, s.run()).with_modified(modified);
    let console = s.console.clone();
    let notice = |text: &str| console.warn(text);
    let mut making = making.without(&exclude).with_notice(&notice);
    if let Form::Parts(split) = form {
        making = making.with_split(split);
    }
    let layers = files::layers(&inputs, making)?;
    let is_model = matches!(form, Form::Model);
    if is_model && layers.is_empty() {
        return Err(args::usage("a model needs files: give their paths"));
    }
    let (kind, config) = match (about.kind.as_deref(), is_model) {
        (kind, false) => (kind, config),
        (kind, true) => {
            let config = config.unwrap_or_else(|| files::model_config(&layers, &manifest));
            (Some(kind.unwrap_or(files::MODEL_TYPE)), Some(config))
        }
    };
    let mut made = match kind {
        Some(kind) => Artifact::new(kind, layers)?,
        None => Artifact::untyped(layers),
    };
    if let Some(config) = config {
        made = made.with_config(config.with_annotations(of_config));
    }
    Ok(made.with_annotations(manifest))
}

/// The image that an artifact is; progress calls its blobs by the names of their files.
///
/// # Errors
/// Those of [`Artifact::image`].
pub fn image(s: &Session<'_, '_>, artifact: &Artifact) -> Result<Image> {
    let image = artifact.image()?;
    s.names
        .add(&files::entries(image.manifest()).unwrap_or_default());
    Ok(image)
}

/// All annotations, and the time, which `SOURCE_DATE_EPOCH` gives too.
fn notes(about: &About, epoch: Option<u64>) -> Result<Notes, Failure> {
    let mut notes = Notes::new();
    if let Some(path) = &about.annotation_file {
        let what = path.display().to_string();
        let text = fs::read(path).map_err(|e| Error::io(&what, e))?;
        let why =
            "it is not a JSON object of objects of texts, such as {\"$manifest\":{\"a\":\"b\"}}";
        notes = serde_json::from_slice(&text).map_err(|_| Error::malformed(what, why))?;
    }
    let manifest = notes.entry("$manifest".to_string()).or_default();
    for word in &about.annotation {
        let Some((name, value)) = word.split_once('=').filter(|(name, _)| !name.is_empty()) else {
            let what = format!("--annotation takes NAME=VALUE, not {word:?}");
            return Err(args::usage(what));
        };
        if manifest
            .insert(name.to_string(), value.to_string())
            .is_some()
        {
            let what = format!("--annotation {name} is given twice");
            return Err(args::usage(what));
        }
    }
    let created = match (&about.created, epoch) {
        (Some(word), _) => Some(args::time(word)?),
        (None, Some(epoch)) => Some((UNIX_EPOCH + Duration::from_secs(epoch)).into()),
        (None, None) => None,
    };
    if let Some(time) = created {
        manifest.insert(files::CREATED.to_string(), time.to_string());
    }
    Ok(notes)
}

/// What is left out of folders.
fn patterns(about: &About) -> Result<Vec<Pattern>> {
    about.exclude.iter().map(|word| word.parse()).collect()
}

fn inputs(
    s: &mut Session<'_, '_>,
    about: &About,
    paths: &[OsString],
    form: Form,
    notes: &mut Notes,
) -> Result<Vec<Input>, Failure> {
    let mut inputs = Vec::new();
    let base = about.directory.as_deref().unwrap_or(Path::new(""));
    let exclude = patterns(about)?;
    for word in &expanded(paths, base, &exclude)? {
        let (path, kind) = split(word, base)?;
        let kind = kind.as_deref();
        let found = if path == Path::new("-") {
            vec![standard_input(s, about, form)?]
        } else {
            let at = base.join(&path);
            fs::metadata(&at).map_err(|e| Error::io(at.display().to_string(), e))?;
            if path.is_absolute() {
                let why = "it is absolute; give its folder with -C, and a path in that";
                return Err(Error::invalid("file name", path.display().to_string(), why).into());
            }
            let title = title(&path)?;
            let mut found = match form {
                Form::Model => files::model_files(&at, &title, kind)?,
                _ => vec![Input::path(&at, &title, kind)?],
            };
            found.retain(|one| {
                let below = one.title().strip_prefix(&title);
                let below = below.and_then(|rest| rest.strip_prefix('/'));
                !below.is_some_and(|below| excludes(&exclude, below))
            });
            found
        };
        let typed = [word.to_str(), path.to_str()];
        for input in found {
            let names = typed.iter().flatten().copied().chain([input.title()]);
            let said = names.into_iter().find_map(|name| notes.remove(name));
            inputs.push(input.with_annotations(said.unwrap_or_default()));
        }
    }
    if about.name.is_some() && !paths.iter().any(|word| word == "-") {
        return Err(args::usage(
            "--name is for standard input: give - as a path",
        ));
    }
    Ok(inputs)
}

/// The paths, with those of everything in the folder `base` for `.`, in order.
fn expanded(paths: &[OsString], base: &Path, exclude: &[Pattern]) -> Result<Vec<OsString>> {
    let here = Path::new(".");
    let mut all = Vec::new();
    for word in paths {
        // Of equal components; `./` is the same.
        if Path::new(word) != here {
            all.push(word.clone());
            continue;
        }
        let folder = base.join(here);
        let failed = |e| Error::io(folder.display().to_string(), e);
        let mut names = Vec::new();
        for entry in fs::read_dir(&folder).map_err(failed)? {
            names.push(entry.map_err(failed)?.file_name());
        }
        names.sort();
        names.retain(|name| !name.to_str().is_some_and(|name| excludes(exclude, name)));
        all.extend(names.iter().map(|name| here.join(name).into_os_string()));
    }
    Ok(all)
}

/// The file that standard input is.
fn standard_input(s: &mut Session<'_, '_>, about: &About, form: Form) -> Result<Input, Failure> {
    let Some(name) = &about.name else {
        return Err(args::usage("standard input needs a name: --name NAME"));
    };
    let (name, kind) = named(name);
    let title = title(Path::new(name))?;
    let blob = input::blob(s, OsStr::new("-"))?;
    let input = Input::blob(&blob, &title, kind)?;
    Ok(match form {
        Form::Model => input.in_model(),
        _ => input,
    })
}

/// `NAME[:TYPE]` of standard input.
fn named(word: &str) -> (&str, Option<&str>) {
    match word.rsplit_once(':') {
        Some((name, kind)) if is_media_type(kind) => (name, Some(kind)),
        _ => (word, None),
    }
}

/// The config of an artifact, of the type `usual` unless it says another one.
fn config(s: &mut Session<'_, '_>, word: &OsStr, usual: &str) -> Result<Blob> {
    let (path, kind) = split(word, Path::new(""))?;
    let blob = input::blob(s, path.as_os_str())?;
    Ok(blob.with_media_type(kind.as_deref().unwrap_or(usual)))
}

/// `PATH[:TYPE]` with a path in `base`, split at the last colon. If a file with the
/// whole name exists, it is that file.
fn split(word: &OsStr, base: &Path) -> Result<(PathBuf, Option<String>)> {
    let bytes = word.as_bytes();
    let whole = PathBuf::from(word);
    let Some(colon) = bytes.iter().rposition(|byte| *byte == b':') else {
        return Ok((whole, None));
    };
    if fs::symlink_metadata(base.join(&whole)).is_ok() {
        return Ok((whole, None));
    }
    let path = PathBuf::from(OsStr::from_bytes(&bytes[..colon]));
    let kind = args::text(OsStr::from_bytes(&bytes[colon + 1..]))?;
    let is_there = fs::symlink_metadata(base.join(&path)).is_ok();
    match is_media_type(kind) {
        true => Ok((path, Some(kind.to_string()))),
        false if is_there => {
            let why = "a type is two names with a slash between, such as text/plain";
            Err(Error::invalid("media type", kind, why))
        }
        false => Ok((whole, None)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_stand_behind_the_last_colon() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::write(at("a:text"), "").unwrap();
        fs::write(at("b"), "").unwrap();
        let of = |name: &str| split(at(name).as_os_str(), Path::new(""));
        assert_eq!(of("a:text").unwrap(), (at("a:text"), None));
        assert_eq!(
            of("a:text:text/x").unwrap(),
            (at("a:text"), Some("text/x".into()))
        );
        assert_eq!(of("b").unwrap(), (at("b"), None));
        assert_eq!(of("b:a/b").unwrap(), (at("b"), Some("a/b".into())));
        assert!(matches!(of("b:plain"), Err(Error::Invalid { .. })));
        assert_eq!(of("none:plain").unwrap(), (at("none:plain"), None));
        assert_eq!(named("a:b"), ("a:b", None));
        assert_eq!(named("a:b/c"), ("a", Some("b/c")));
    }
}
