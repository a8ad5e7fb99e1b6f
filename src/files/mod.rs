//! Files under their names, as OCI artifacts: the layers of a manifest are
//! files and folders, with their names in annotations (image-spec, annotations.md,
//! `org.opencontainers.image.title`).
//!
//! [`layers`] reads files and folders of this machine, [`Artifact`] is the
//! manifest of them, [`entries`] finds the files that a manifest names, whatever
//! tool wrote it (oras, oras-py, regctl, helm, flux, ModelPack, Docker's models;
//! [`entries_in`] also kitops, whose config has the names),
//! and [`Pull`] writes them into a folder. [`Making::with_split`] stores large
//! files in parts, [`model_files`] and [`model_config`] make models in the format
//! of ModelPack. Works on every [`crate::Store`].
//!
//! ```
//! use dxf_registry::files::{Artifact, Input, Making, Pull, entries, layers};
//! use dxf_registry::graph::{PushTarget, push};
//! use dxf_registry::image::Node;
//! use dxf_registry::store::Memory;
//! use dxf_registry::stream::Run;
//! use dxf_registry::{ReadStore, Target};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let here = tempfile::tempdir()?;
//! let path = here.path().join("report.txt");
//! std::fs::write(&path, "all is well\n")?;
//! let input = Input::path(&path, "report.txt", None)?;
//! let making = Making::new(here.path(), Run::default());
//! let artifact = Artifact::new("text/x-report", layers(&[input], making)?)?;
//!
//! let (store, target) = (Memory::default(), "v1".parse::<Target>()?);
//! push(&Node::Image(artifact.image()?), &PushTarget::new(&store, &target), Run::default())?;
//!
//! let files = entries(&store.manifest(&target)?)?;
//! let out = here.path().join("out");
//! Pull::new(&out).write(&store, &files, Run::default())?;
//! assert_eq!(std::fs::read(out.join("report.txt"))?, b"all is well\n");
//! # Ok(())
//! # }
//! ```

mod artifact;
mod entries;
mod input;
mod merge;
mod model;
mod names;
mod pull;
mod split;
#[cfg(test)]
mod tests;
mod title;
mod unpack;

use crate::descriptor::annotation::UNPACK;
pub use crate::descriptor::annotation::{CREATED, TITLE};
pub use artifact::{Artifact, SpecVersion, is_media_type};
pub use entries::{Entry, Form, entries, entries_in};
pub use input::{Input, Making, layers};
pub use model::{MODEL_CONFIG, MODEL_TYPE, model_config, model_files};
pub use pull::{Pull, Pulled, write_as};
pub use split::files_in_parts;
pub use title::title;

/// oras' annotation with the digest of a folder's tar without compression.
const CONTENT_DIGEST: &str = "io.deis.oras.content.digest";
/// The annotation of a first part with the descriptor that its file would have.
const WHOLE: &str = "vnd.dxf.content+json";
/// ModelPack's annotation with the name of a file.
const FILE_PATH: &str = "org.cncf.model.filepath";
/// ModelPack's annotation with the mode, owner and time of a file, as JSON.
const FILE_METADATA: &str = "org.cncf.model.file.metadata+json";
/// The artifact type where none is given, as oras has it.
const UNKNOWN_ARTIFACT: &str = "application/vnd.unknown.artifact.v1";
/// The config type where none is given, as oras has it.
pub const UNKNOWN_CONFIG: &str = "application/vnd.unknown.config.v1+json";
