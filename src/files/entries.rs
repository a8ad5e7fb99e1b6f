//! The files that a manifest names, in the words of the tools that write such
//! manifests. Some name no file at all; those get names made of what the
//! manifest says of them.

use serde::Deserialize;
use serde_json::Value;

use super::names::{Given, Namer, TOP, are_in_config, is_packed};
use super::split::joined;
use super::title::checked;
use super::{CONTENT_DIGEST, FILE_METADATA, FILE_PATH, TITLE, UNPACK};
use crate::artifact::Parts;
use crate::descriptor::{Descriptor, media_type};
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::fetch::{BlobRef, Sequence};
use crate::image::config;
use crate::manifest::{Kind, Manifest};
use crate::store::ReadStore;
use crate::stream::read_bounded;

/// The hexadecimal digits of a digest in a made-up name.
const DIGITS: usize = 12;

/// A file or folder of an artifact.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Entry {
    /// Its name: relative, `/` between the parts, nothing that leads out. `.` is the
    /// folder that the artifact is written to: the archive has names from there.
    pub name: String,
    /// Whether the artifact says the name. If not, it was made of the digest.
    pub is_named: bool,
    /// Its media type.
    pub media_type: String,
    /// The digest of its bytes: of a folder those of its archive, of a file in
    /// parts those of the whole.
    pub digest: Digest,
    /// How many those are.
    pub size: u64,
    /// What becomes of the bytes.
    pub form: Form,
    /// Whether the file can be run.
    pub is_executable: bool,
    pub(super) content: Sequence,
}

impl Entry {
    /// Whether it is a folder, as far as the manifest tells.
    pub fn is_folder(&self) -> bool {
        matches!(self.form, Form::Folder(_) | Form::Tree)
    }

    /// Its bytes, as [`crate::fetch`] takes them; of a folder its archive.
    pub fn sequence(&self) -> &Sequence {
        &self.content
    }
}

/// What the bytes of an [`Entry`] are.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Form {
    /// A file.
    File,
    /// The archive of a folder, with the digest of the tar in it where that is
    /// said.
    Folder(Option<Digest>),
    /// An archive that is a folder if everything in it is in one with the
    /// entry's name (oras-py), else a file.
    Either,
    /// The archive of a file or folder, with names from the top of the folder that
    /// the artifact is written to, or from the one that the entry is in (ModelPack,
    /// kitops, flux, Docker's models).
    Tree,
    /// A file that is compressed as it is, without a tar (kitops). Its digest and size
    /// are those of the compressed bytes.
    Packed,
}

/// The files that a manifest names.
///
/// # Errors
/// [`Error::Unsupported`] for an index, of which one manifest is to be chosen
/// first ([`crate::graph::Resolver::choose`]), and for an image;
/// [`Error::Malformed`] for names that no file can have, that lead out of their
/// folder, or that would be one file.
pub fn entries(manifest: &Manifest) -> Result<Vec<Entry>> {
    listed(manifest, &Value::Null)
}

/// The files that a manifest of `store` names. Where their names are in the config
/// (kitops, charts without annotations), that is read, too.
///
/// # Errors
/// As [`entries`]; those of the store.
pub fn entries_in(store: &dyn ReadStore, manifest: &Manifest) -> Result<Vec<Entry>> {
    if manifest.kind() != Kind::Image {
        return entries(manifest);
    }
    let config = manifest.image()?;
    if !are_in_config(&config) {
        return entries(manifest);
    }
    let config = config.config;
    let content = store.pull_blob(&config.digest, Some(config.size))?;
    let bytes = read_bounded(&config.digest.to_string(), content.reader, config::MAX_SIZE)?;
    // One that can't be read names nothing.
    listed(
        manifest,
        &serde_json::from_slice(&bytes).unwrap_or_default(),
    )
}

fn listed(manifest: &Manifest, config: &Value) -> Result<Vec<Entry>> {
    let unsupported = |what: &str| Err(Error::Unsupported { what: what.into() });
    match manifest.kind() {
        Kind::Image => {}
        Kind::Index => return unsupported("an index of manifests; name one of them by its digest"),
        Kind::Schema1 => return unsupported("a schema 1 image; pull-image writes it"),
        Kind::Unknown => return Err(manifest.unknown()),
    }
    if let Some(parts) = Parts::of(manifest)? {
        return Ok(vec![in_parts(&parts)?]);
    }
    let image = manifest.image()?;
    let named = image.layers.iter().any(|layer| name_of(layer).is_some());
    if !named && config::is_file_system(&image) {
        return unsupported(
            "an image, which has a file system and no files by name; pull-image writes it, and get-file one file of it",
        );
    }
    let mut found = Vec::new();
    let layers = joined(&image.layers)?;
    let mut namer = Namer::new(&image, config);
    for (layer, content) in &layers {
        // The empty layer of artifacts without files is none.
        if layer.media_type == media_type::OCI_EMPTY && name_of(layer).is_none() {
            continue;
        }
        let mut one = entry(layer, namer.next(layer))?;
        if let Some(parts) = content {
            one.content = parts.clone();
        }
        found.push(one);
    }
    if name_of(&image.config).is_some() {
        found.push(entry(&image.config, None)?);
    }
    must_differ(&found)?;
    Ok(found)
}

fn in_parts(parts: &Parts) -> Result<Entry> {
    let name = parts.name.as_deref().map(checked).transpose()?;
    let is_named = name.is_some();
    let name = name.unwrap_or_else(|| made_up(&parts.digest, media_type::OCTET_STREAM));
    Ok(Entry {
        content: parts.joined(name.clone()),
        name,
        is_named,
        media_type: media_type::OCTET_STREAM.to_string(),
        digest: parts.digest,
        size: parts.size,
        form: Form::File,
        is_executable: false,
    })
}

/// The name that a layer says, title first.
fn name_of(layer: &Descriptor) -> Option<&str> {
    let names = [TITLE, FILE_PATH];
    let mut said = names.iter().filter_map(|name| layer.annotations.get(*name));
    said.next().map(String::as_str)
}

fn entry(layer: &Descriptor, given: Option<Given>) -> Result<Entry> {
    let is_archive = given.as_ref().is_some_and(|given| given.is_archive);
    let said = name_of(layer).map(str::to_string);
    let form = match &said {
        None if is_archive => Form::Tree,
        said => form(layer, said.as_deref().unwrap_or_default())?,
    };
    let said = said.or(given.map(|given| given.name));
    let name = match &said {
        Some(name) if form == Form::Tree && is_top(name) => TOP.to_string(),
        Some(name) => checked(name)?,
        None => made_up(&layer.digest, &layer.media_type),
    };
    let blob = BlobRef {
        digest: layer.digest,
        size: Some(layer.size),
    };
    Ok(Entry {
        form,
        is_named: said.is_some(),
        is_executable: is_executable(layer),
        media_type: layer.media_type.clone(),
        digest: layer.digest,
        size: layer.size,
        content: blob.into(),
        name,
    })
}

/// Whether a path is the folder itself.
fn is_top(path: &str) -> bool {
    !path.starts_with('/') && path.split('/').all(|part| matches!(part, "" | "."))
}

fn form(layer: &Descriptor, title: &str) -> Result<Form> {
    let said = |name: &str| layer.annotations.get(name).map(String::as_str);
    if is_packed(&layer.media_type) {
        return Ok(Form::Packed);
    }
    let is_tar = layer.media_type.ends_with(".tar") || layer.media_type.contains(".tar+");
    // ModelPack's archives are of the path that they are named by.
    let is_model = said(TITLE).is_none() && said(FILE_PATH).is_some() && is_tar;
    if said(UNPACK) == Some("true") || title.ends_with('/') && !is_model {
        let tar = said(CONTENT_DIGEST).map(str::parse).transpose();
        let tar =
            tar.map_err(|_| Error::malformed(title, "the digest of its tar can't be read"))?;
        return Ok(Form::Folder(tar));
    }
    if is_model {
        return Ok(Form::Tree);
    }
    let has_end = [".gz", ".tgz", ".tar", ".zst"]
        .iter()
        .any(|end| title.ends_with(end));
    Ok(
        match layer.media_type.ends_with("tar+gzip") && !title.is_empty() && !has_end {
            true => Form::Either,
            false => Form::File,
        },
    )
}

/// What ModelPack says of a file.
#[derive(Deserialize)]
struct Metadata {
    #[serde(default)]
    mode: u32,
}

/// Whether a layer says that its file can be run; nonsense says nothing.
fn is_executable(layer: &Descriptor) -> bool {
    let said = layer.annotations.get(FILE_METADATA);
    let said = said.and_then(|text| serde_json::from_str::<Metadata>(text).ok());
    said.is_some_and(|said| said.mode & 0o100 != 0)
}

/// A name for what has none: the beginning of its digest, and an end that its
/// type suggests.
fn made_up(digest: &Digest, media_type: &str) -> String {
    let hex: String = digest.hex().chars().take(DIGITS).collect();
    let ends = [
        (".tar+gzip", ".tar.gz"),
        (".tar+zstd", ".tar.zst"),
        (".tar.gzip", ".tar.gz"),
        (".tar", ".tar"),
        ("json", ".json"),
        ("+xml", ".xml"),
        ("yaml", ".yaml"),
        ("text/plain", ".txt"),
        (".gguf.v3", ".gguf"),
        (".safetensors", ".safetensors"),
        (".dduf", ".dduf"),
    ];
    let end = ends.iter().find(|(kind, _)| media_type.ends_with(kind));
    format!("{hex}{}", end.map_or("", |(_, end)| end))
}

/// Refuses names that would be one file, or one below another that is no
/// folder; those that differ in case alone are one on many disks.
fn must_differ(entries: &[Entry]) -> Result<()> {
    let mut seen = std::collections::BTreeMap::new();
    // What is in archives from the top is not known before they are read.
    for entry in entries.iter().filter(|entry| entry.name != TOP) {
        let twice = seen
            .insert(entry.name.to_lowercase(), &entry.form)
            .is_some();
        if twice {
            let why = "another file has the same name, or one that differs only in case";
            return Err(Error::malformed(format!("file name {:?}", entry.name), why));
        }
    }
    for entry in entries {
        let name = entry.name.to_lowercase();
        let mut ends = name.match_indices('/').map(|(at, _)| &name[..at]);
        if ends.any(|above| matches!(seen.get(above), Some(Form::File | Form::Either))) {
            let why = "it is below a file";
            return Err(Error::malformed(format!("file name {:?}", entry.name), why));
        }
    }
    Ok(())
}
