//! New layers: of a tar, of files and folders, or of other layers.
//!
//! The same input makes the same layer on every machine: members are sorted,
//! owners and times are fixed unless asked for, and [`gzip`] always writes the
//! same bytes. Only names are in memory; the compressed layer waits
//! in a nameless file in the folder that the caller gives.
//!
//! ```
//! use dxf_registry::image::make::{Layer, Contents, LayerOptions};
//! use dxf_registry::image::layer::Family;
//! use dxf_registry::stream::{Run, Stop, Watch};
//! use std::path::Path;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let mut parts = Contents::default();
//! parts.add_path(Path::new("src"), "/app/", &["**/tests.rs".parse()?])?; // /app/src
//! parts.add_file("/etc/motd", b"hello\n".to_vec(), 0o644)?;
//! parts.remove("/usr/share/doc")?;
//!
//! let (folder, stop) = (std::env::temp_dir(), Stop::new());
//! let run = Run::new(4, Watch::new(&(), &stop));
//! let options = LayerOptions { family: Family::Oci, folder: &folder, run };
//! let layer = Layer::from_contents(&parts, options)?;
//! assert_eq!(layer.blob.descriptor().media_type, "application/vnd.oci.image.layer.v1.tar+gzip");
//! # Ok(())
//! # }
//! ```

mod contents;
mod dest;
mod options;
mod over;
mod pattern;
mod root_fs;
mod squash;
mod walk;

use std::path::Path;

pub use contents::Contents;
pub use options::{FileOptions, HardLinks, Modified, Owner, Parents};
pub use pattern::{Pattern, excludes};
pub use root_fs::RootFs;

use super::check;
use super::files;
use super::gzip;
use super::layer::{Compression, Family, LayerType, Uncompressed};
use super::name::normal;
use crate::blob::Blob;
use crate::descriptor::Descriptor;
use crate::digest::{Digest, Hashed};
use crate::error::{Error, Result};
use crate::file::Section;
use crate::stream::{Run, Watch};
use crate::tar;
use crate::text::one_line;

/// A layer that is in no image yet.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Layer {
    /// Its bytes, under a media type that is true of them.
    pub blob: Blob,
    /// The digest of its bytes without compression.
    pub diff_id: Digest,
    /// What made it, for an image's history: one line, the same on every
    /// machine.
    pub created_by: String,
}

/// How layers are made.
#[derive(Clone, Copy)]
pub struct LayerOptions<'a> {
    /// Whose media types they get: those of the image they are for.
    pub family: Family,
    /// Where the compressed bytes wait in files without names.
    pub folder: &'a Path,
    /// How many blocks are compressed at once, watched by whom.
    pub run: Run<'a>,
}

impl Layer {
    /// The layer that a tar is, whatever its name: plain, gzip or zstd, told by
    /// its first bytes.
    ///
    /// Compressed bytes are kept as they are, plain ones become gzip. So does
    /// zstd for Docker's manifests: they have no type for it that podman and
    /// skopeo know. The file is read when the layer is, so it must stay.
    ///
    /// # Errors
    /// [`Error::Io`] and [`Error::Unsupported`] for something that is not a readable file,
    /// [`Error::Malformed`] for something that is not a tar, or one whose names lead out of
    /// it; [`Error::Stopped`].
    pub fn from_tar(path: &Path, options: LayerOptions<'_>) -> Result<Layer> {
        let watch = options.run.watch;
        let file = Blob::file(path, watch)?;
        let name = path.file_name().unwrap_or(path.as_os_str());
        let what = path.display().to_string();
        if file.size() == 0 {
            return Err(Error::malformed(what, "an empty file is not a tar"));
        }
        watch.progress.start(file.digest(), Some(file.size()));
        let plain = open(&file, &what, watch)?;
        let compression = plain.compression;
        let mut plain = Hashed::new(plain);
        check::names(&what, &mut plain)?;
        check::drain(&what, &mut plain)?;
        let diff_id = plain.finish();
        let keeps = match compression {
            Compression::None => false,
            Compression::Gzip => true,
            Compression::Zstd => options.family == Family::Oci,
        };
        let blob = if keeps {
            file.with_media_type(media_type(options.family, compression))
        } else {
            watch.progress.start(file.digest(), Some(file.size()));
            let plain = open(&file, &what, watch)?;
            let (digest, bytes) = gzip::set_aside(plain, options.folder, options.run)?;
            gzip_blob(options.family, digest, bytes)
        };
        watch.progress.finish(file.digest());
        Ok(Layer {
            blob,
            diff_id,
            created_by: format!("dxf: add {}", one_line(&name.to_string_lossy())),
        })
    }

    /// The layer of files and folders, as gzip.
    ///
    /// The files are read now, and the layer keeps no memory of them.
    ///
    /// # Errors
    /// [`Error::Io`] for what can't be read or written, naming it;
    /// [`Error::Unsupported`] for a file that changed since it was added;
    /// [`Error::Stopped`].
    pub fn from_contents(parts: &Contents, options: LayerOptions<'_>) -> Result<Layer> {
        let created_by = parts.description();
        layer(parts.tar_members(), created_by, options)
    }

    /// Refuses a layer with files where a Windows image has none: all of them
    /// are below `Files/` and `Hives/`.
    ///
    /// # Errors
    /// [`Error::Unsupported`] naming the first other file; those of reading the
    /// layer.
    pub fn must_suit_windows(&self, watch: Watch<'_>) -> Result<()> {
        files::list(&self.blob, watch, &mut |entry| {
            let name = normal(&entry.path);
            let first = name.split(|b| *b == b'/').next().unwrap_or_default();
            if matches!(first, b"" | b"Files" | b"Hives") {
                return Ok(());
            }
            let what = format!(
                "{}: the files of a layer for Windows are below Files/ and Hives/",
                one_line(&entry.name())
            );
            Err(Error::Unsupported { what })
        })
    }

    /// One layer that shows the files that `layers` show, lowest first, as
    /// gzip: whiteouts applied, hard links kept, extended attributes as well.
    ///
    /// Every layer is read once. The files wait in `options.folder`, without
    /// compression, until it is known which of them are to be seen.
    ///
    /// # Errors
    /// [`Error::Malformed`] for something that is not a tar, a name that points outside it, a
    /// link to nothing, and for more files than any image has;
    /// [`Error::Unsupported`] for sparse files of more than 1 GiB together; [`Error::Mismatch`] and
    /// [`Error::Size`] for wrong bytes; those of the layers' sources,
    /// [`Error::Io`] when the folder is full, [`Error::Stopped`].
    pub fn squashed(layers: &[Blob], options: LayerOptions<'_>) -> Result<Layer> {
        squash::squash(layers, options)
    }
}

/// The layer of `members`, in their order: made into a tar, hashed, compressed
/// and hashed again in one pass.
fn layer<'a>(
    members: impl Iterator<Item = Result<tar::Member<'a>>> + Send,
    created_by: String,
    options: LayerOptions<'_>,
) -> Result<Layer> {
    let mut plain = Hashed::new(tar::Stream::new(members));
    let (digest, bytes) = gzip::set_aside(&mut plain, options.folder, options.run)?;
    Ok(Layer {
        blob: gzip_blob(options.family, digest, bytes),
        diff_id: plain.finish(),
        created_by,
    })
}

/// A tar's bytes without compression, reported as progress of the file.
fn open<'a>(file: &'a Blob, what: &str, watch: Watch<'a>) -> Result<Uncompressed<'a>> {
    let reader = watch.reader(*file.digest(), file.open(0)?);
    Uncompressed::new(what, reader)
}

fn gzip_blob(family: Family, digest: Digest, bytes: Section) -> Blob {
    let name = media_type(family, Compression::Gzip);
    Blob::new(Descriptor::new(name, digest, bytes.len()), bytes)
}

/// The type of a layer; each family has one for every compression.
fn media_type(family: Family, compression: Compression) -> &'static str {
    let found = LayerType::new(family, compression).media_type();
    found.unwrap_or_default()
}

#[cfg(test)]
mod tests;
