//! Files and folders of this machine as layers.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::json;

use super::artifact::must_be_media_type;
use super::split::{Cut, must_fit};
use super::title::checked;
use super::unpack::stays_inside;
use super::{CONTENT_DIGEST, FILE_METADATA, FILE_PATH, TITLE, UNPACK, model};
use crate::artifact::Split;
use crate::blob::{Blob, FileRange, SourceRange};
use crate::descriptor::media_type;
use crate::error::{Error, Result};
use crate::image::Family;
use crate::image::make::{
    Contents, FileOptions, HardLinks, Layer, LayerOptions, Modified, Pattern,
};
use crate::parallel;
use crate::stream::Run;

/// The mode that is kept of a file: whether it can be run.
const EXECUTABLE: u32 = 0o755;
/// The mode of other files.
const PLAIN: u32 = 0o644;

/// A file or folder that becomes a layer, and its name there.
#[derive(Debug, Clone)]
pub struct Input {
    title: String,
    media_type: Option<String>,
    annotations: BTreeMap<String, String>,
    dialect: Dialect,
    from: From,
}

/// In whose words a layer says what its file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Dialect {
    Oras,
    /// Also in ModelPack's.
    ModelPack,
}

#[derive(Debug, Clone)]
enum From {
    Path(PathBuf),
    Blob(Box<Blob>),
}

/// How layers are made of files.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub struct Making<'a> {
    /// Where the compressed bytes of folders wait in files without names.
    pub folder: &'a Path,
    /// The times of the files in folders: 1970 unless set.
    pub modified: Modified,
    /// How files and archives of folders are cut into several layers, where they
    /// are larger than one part.
    pub split: Option<Split>,
    /// Which files of folders are left out, relative to the folder.
    pub exclude: &'a [Pattern],
    /// How many files are read at once, watched by whom.
    pub run: Run<'a>,
    /// Hears what can be stored and is of no use there.
    notice: Option<Notice<'a>>,
}

/// Hears words to a person.
type Notice<'a> = &'a (dyn Fn(&str) + Sync);

impl<'a> Making<'a> {
    /// Layers whose files are all from 1970.
    pub fn new(folder: &'a Path, run: Run<'a>) -> Making<'a> {
        Making {
            folder,
            modified: Modified::Fixed(0),
            split: None,
            exclude: &[],
            run,
            notice: None,
        }
    }

    /// The same; `notice` hears of symbolic links for which [`super::Pull`] and other
    /// tools refuse a folder.
    #[must_use]
    pub fn with_notice(self, notice: &'a (dyn Fn(&str) + Sync)) -> Making<'a> {
        let notice = Some(notice);
        Making { notice, ..self }
    }

    /// The same with other times of files in folders.
    #[must_use]
    pub fn with_modified(self, modified: Modified) -> Making<'a> {
        Making { modified, ..self }
    }

    /// The same with large files in parts.
    #[must_use]
    pub fn with_split(self, split: Split) -> Making<'a> {
        let split = Some(split);
        Making { split, ..self }
    }

    /// The same without the files of folders that `exclude` fits.
    #[must_use]
    pub fn without(self, exclude: &'a [Pattern]) -> Making<'a> {
        Making { exclude, ..self }
    }
}

impl Input {
    /// What is at `path`, under the name `title`. Without a type a file is
    /// `application/octet-stream`, a folder a tar compressed with gzip.
    ///
    /// # Errors
    /// [`Error::Invalid`] for an invalid media type; [`Error::Malformed`] for a
    /// name that no file can have.
    pub fn path(path: &Path, title: &str, media_type: Option<&str>) -> Result<Input> {
        Input::of(From::Path(path.to_path_buf()), title, media_type)
    }

    /// The bytes of `blob` as a file.
    ///
    /// # Errors
    /// As [`Input::path`].
    pub fn blob(blob: &Blob, title: &str, media_type: Option<&str>) -> Result<Input> {
        Input::of(From::Blob(Box::new(blob.clone())), title, media_type)
    }

    fn of(from: From, title: &str, media_type: Option<&str>) -> Result<Input> {
        media_type.map_or(Ok(()), must_be_media_type)?;
        Ok(Input {
            title: checked(title)?,
            media_type: media_type.map(str::to_string),
            annotations: BTreeMap::new(),
            dialect: Dialect::Oras,
            from,
        })
    }

    /// The same with annotations of the layer.
    #[must_use]
    pub fn with_annotations(self, annotations: BTreeMap<String, String>) -> Input {
        Input {
            annotations,
            ..self
        }
    }

    /// The same as a file of a model: with the type that its name means to
    /// ModelPack, unless it has one, and with ModelPack's annotations.
    #[must_use]
    pub fn in_model(self) -> Input {
        let dialect = Dialect::ModelPack;
        Input { dialect, ..self }
    }

    /// The name.
    pub fn title(&self) -> &str {
        &self.title
    }

    fn is_folder(&self) -> bool {
        matches!(&self.from, From::Path(path) if path.is_dir())
    }
}

/// The layers of `inputs`, in order; with [`Making::split`] several for one that
/// is larger than a part. Files are read to learn their digests and
/// again when they are sent; folders become a tar in a file of its own. The same
/// input makes the same layers on every machine; of a file's mode it is kept
/// whether it can be run.
///
/// # Errors
/// [`Error::Invalid`] for a name that occurs twice or lies below that of another
/// input; [`Error::Io`] for what can't be read, [`Error::Unsupported`] for what is
/// neither file nor folder; [`Error::Stopped`].
pub fn layers(inputs: &[Input], making: Making<'_>) -> Result<Vec<Blob>> {
    must_differ(inputs)?;
    let run = making.run;
    let files: Vec<&Input> = inputs.iter().filter(|input| !input.is_folder()).collect();
    let read = parallel::map(run.jobs, files, run.watch.stop, |input, stop| {
        let run = run.stopped_by(stop);
        file(input, Making { run, ..making })
    })?;
    let mut read = read.into_iter();
    let mut layers = Vec::with_capacity(inputs.len());
    for input in inputs {
        match &input.from {
            // A folder's blocks are compressed at once; one folder at a time.
            From::Path(path) if input.is_folder() => layers.extend(folder(input, path, making)?),
            _ => layers.extend(read.next().into_iter().flatten()),
        }
        if let Some(split) = making.split {
            must_fit(split, layers.len() as u64, None)?;
        }
    }
    must_name(&layers)?;
    Ok(layers)
}

fn must_differ(inputs: &[Input]) -> Result<()> {
    let titles: BTreeSet<&str> = inputs.iter().map(Input::title).collect();
    let mut seen = BTreeSet::new();
    for input in inputs {
        let bad = |why| Error::invalid("file name", input.title.clone(), why);
        if !seen.insert(input.title()) {
            return Err(bad("it occurs twice"));
        }
        let ends = input.title.match_indices('/').map(|(at, _)| at);
        if let Some(above) = ends
            .map(|at| &input.title[..at])
            .find(|a| titles.contains(a))
        {
            return Err(bad(&format!("it is in {above}, which is also given")));
        }
    }
    Ok(())
}

/// Refuses a part with the name of a file: other tools write both.
fn must_name(layers: &[Blob]) -> Result<()> {
    let mut seen = BTreeSet::new();
    for layer in layers {
        let title = layer.descriptor().annotations.get(TITLE);
        if let Some(title) = title.filter(|title| !seen.insert(title.as_str())) {
            let why = "a part of another file is called that";
            return Err(Error::invalid("file name", title.clone(), why));
        }
    }
    Ok(())
}

fn file(input: &Input, making: Making<'_>) -> Result<Vec<Blob>> {
    let mut annotations = input.annotations.clone();
    annotations.insert(TITLE.to_string(), input.title.clone());
    let stop = making.run.watch.stop;
    let cut = match (&input.from, making.split) {
        (From::Path(path), Some(split)) => {
            let source = FileRange::stable(path)?;
            let size = source.size();
            let what = path.display().to_string();
            let bytes = SourceRange::whole(Arc::new(source), size);
            Some(Cut::new(&what, bytes, split, stop)?)
        }
        (From::Blob(blob), Some(split)) => {
            let bytes = SourceRange::whole(blob.source(), blob.size());
            Some(Cut::new(&input.title, bytes, split, stop)?)
        }
        (_, None) => None,
    };
    let blob = match (&cut, &input.from) {
        (Some(cut), _) => cut.whole.clone(),
        (None, From::Blob(blob)) => Blob::clone(blob),
        (None, From::Path(path)) => Blob::file(path, making.run.watch)?,
    };
    let mode = match &input.from {
        From::Path(path) => {
            let meta = fs::metadata(path).map_err(|e| Error::io(path.display().to_string(), e))?;
            meta.permissions().mode()
        }
        From::Blob(_) => PLAIN,
    };
    let is_model = input.dialect == Dialect::ModelPack;
    if mode & 0o100 != 0 {
        annotations.insert(
            FILE_METADATA.to_string(),
            metadata(input, EXECUTABLE, &blob),
        );
    } else if is_model {
        annotations.insert(FILE_METADATA.to_string(), metadata(input, PLAIN, &blob));
    }
    if is_model {
        annotations.insert(FILE_PATH.to_string(), input.title.clone());
    }
    let kind = match &input.media_type {
        Some(kind) => kind.clone(),
        None if is_model => model::media_type(&input.title, blob.size()),
        None => media_type::OCTET_STREAM.to_string(),
    };
    let blob = blob.with_media_type(&kind).with_annotations(annotations);
    Ok(cut.map_or_else(|| vec![blob.clone()], |cut| cut.layers(&blob)))
}

/// What ModelPack says of a file.
fn metadata(input: &Input, mode: u32, blob: &Blob) -> String {
    let name = input.title.rsplit('/').next();
    let said = json!({"name": name, "mode": mode, "uid": 0, "gid": 0,
        "size": blob.size(), "mtime": "1970-01-01T00:00:00Z", "typeflag": b'0'});
    said.to_string()
}

/// What the archive of a folder contains.
pub(super) fn contents(
    path: &Path,
    title: &str,
    modified: Modified,
    exclude: &[Pattern],
) -> Result<Contents> {
    let mut contents = Contents::new(FileOptions {
        modified,
        hard_links: HardLinks::AsFiles,
        ..FileOptions::default()
    });
    // The folder itself, where the path is a link to it.
    let real = fs::canonicalize(path).map_err(|e| Error::io(path.display().to_string(), e))?;
    contents.add_path(&real, &format!("/{title}"), exclude)?;
    Ok(contents)
}

/// Tells of the first link for which the folder could not be unpacked.
fn tell_outside(input: &Input, contents: &Contents, notice: Notice<'_>) {
    let slashes = |name: &[u8]| name.iter().filter(|byte| **byte == b'/').count();
    // The folder's own name is above its members.
    let top = slashes(input.title.as_bytes()) + 1;
    let is_outside = |name, to| !stays_inside(slashes(name).saturating_sub(top), to);
    let mut links = contents.links();
    if let Some((name, _)) = links.find(|(name, to)| is_outside(name, to)) {
        notice(&format!(
            "{} is a link that points outside {}, which pull-files and oras refuse to unpack \
             with it; exclude it",
            String::from_utf8_lossy(name),
            input.title
        ));
    }
}

/// A folder as one layer or its parts, in the form of oras: every name in the tar
/// begins with the title.
fn folder(input: &Input, path: &Path, making: Making<'_>) -> Result<Vec<Blob>> {
    let contents = contents(path, &input.title, making.modified, making.exclude)?;
    if let Some(notice) = making.notice {
        tell_outside(input, &contents, notice);
    }
    let layer = Layer::from_contents(
        &contents,
        LayerOptions {
            family: Family::Oci,
            folder: making.folder,
            run: making.run,
        },
    )?;
    let mut annotations = input.annotations.clone();
    annotations.insert(CONTENT_DIGEST.to_string(), layer.diff_id.to_string());
    annotations.insert(UNPACK.to_string(), "true".to_string());
    annotations.insert(TITLE.to_string(), input.title.clone());
    let blob = match &input.media_type {
        Some(kind) => layer.blob.with_media_type(kind),
        None => layer.blob,
    };
    let blob = blob.with_annotations(annotations);
    let Some(split) = making.split else {
        return Ok(vec![blob]);
    };
    let bytes = SourceRange::whole(blob.source(), blob.size());
    let cut = Cut::new(&input.title, bytes, split, making.run.watch.stop)?;
    Ok(cut.layers(&blob))
}
