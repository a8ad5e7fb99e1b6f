//! What the commands about images take.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::words::{self, Named};

/// What `pull-image` takes.
#[derive(Args)]
pub struct PullImage {
    /// The arguments.
    #[command(flatten)]
    pub words: Named<words::ImageTarget>,
    /// What is written
    #[arg(long, value_enum, default_value_t = Form::Hybrid)]
    pub format: Form,
    /// os/architecture[/variant] to take of an index, or all of it (DXF_PLATFORM,
    /// else this machine's)
    #[arg(long, value_name = "P")]
    pub platform: Option<String>,
    /// Call the image NAME in the file
    #[arg(long, value_name = "NAME")]
    pub tag: Option<String>,
    /// Write to FILE, as the second argument says too
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

/// What `pull-image` writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Form {
    /// A tar that is docker-archive and OCI layout at once
    Hybrid,
    /// A folder with an OCI layout
    Oci,
    /// A docker-archive with uncompressed layers
    Docker,
}

/// What `push-image` takes.
#[derive(Args)]
pub struct PushImage {
    /// The arguments.
    #[command(flatten)]
    pub words: Named<words::ArchiveImage>,
    /// Push the image that the file calls NAME
    #[arg(long, value_name = "NAME", conflicts_with = "all")]
    pub tag: Option<String>,
    /// Push every image, each under its own tags
    #[arg(long)]
    pub all: bool,
    /// What is done with layers that must not be passed on.
    #[command(flatten)]
    pub nondistributable: Nondistributable,
}

/// What is done with layers that must not be passed on.
#[derive(Args)]
pub struct Nondistributable {
    /// Send layers too that their makers keep elsewhere (Windows)
    #[arg(long)]
    pub allow_nondistributable: bool,
}

/// What `copy-image` takes.
#[derive(Args)]
pub struct CopyImage {
    /// The arguments.
    #[command(flatten)]
    pub words: Named<words::FromTo>,
    /// os/architecture[/variant] to take of an index (all of it, as it is)
    #[arg(long, value_name = "P")]
    pub platform: Option<String>,
    /// Copy every tag of the repository to the same name
    #[arg(long, conflicts_with = "tags")]
    pub all_tags: bool,
    /// Copy every tag that GLOB fits (*, ? and [a-z]) to the same name
    #[arg(long, value_name = "GLOB")]
    pub tags: Option<glob::Pattern>,
    /// Copy signatures, SBOMs and whatever else refers to what is copied
    #[arg(long)]
    pub referrers: bool,
    /// Say it in Docker's or in OCI's words, which changes the digest
    #[arg(long, value_enum, value_name = "F", conflicts_with = "referrers")]
    pub convert: Option<Convert>,
    /// What is done with layers that must not be passed on.
    #[command(flatten)]
    pub nondistributable: Nondistributable,
}

/// Whose words an image is converted to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Convert {
    /// Docker's manifest v2 schema 2
    Docker,
    /// The OCI image specification's
    Oci,
}

/// What `load-image` takes.
#[derive(Args)]
pub struct LoadImage {
    /// The arguments.
    #[command(flatten)]
    pub words: Named<words::Image>,
    /// The engine (Docker if its daemon answers, else podman)
    #[arg(long, value_enum, value_name = "E")]
    pub engine: Option<Engine>,
    /// os/architecture[/variant] to take of an index (DXF_PLATFORM, else this
    /// machine's)
    #[arg(long, value_name = "P")]
    pub platform: Option<String>,
    /// Call the image NAME in the engine
    #[arg(long, value_name = "NAME")]
    pub tag: Option<String>,
}

/// What `run-image` takes.
#[derive(Args)]
pub struct RunImage {
    /// The engine (Docker if its daemon answers, else podman)
    #[arg(long, value_enum, value_name = "E")]
    pub engine: Option<Engine>,
    /// os/architecture[/variant] to take of an index (DXF_PLATFORM, else this
    /// machine's)
    #[arg(long, value_name = "P")]
    pub platform: Option<String>,
    /// Leave the image in the engine, under its name
    #[arg(long)]
    pub keep: bool,
    /// Give ARG to the engine's `run`, such as --engine-arg=--network=none; may
    /// be repeated
    #[arg(long = "engine-arg", value_name = "ARG", allow_hyphen_values = true)]
    pub engine_args: Vec<OsString>,
    /// Image, and the command to run in it with its arguments
    #[arg(value_name = "image", required = true, trailing_var_arg = true)]
    pub words: Vec<OsString>,
}

/// A container engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Engine {
    /// Docker
    Docker,
    /// podman
    Podman,
}

/// What most commands that look inside an image take.
#[derive(Args)]
pub struct Look {
    /// The arguments.
    #[command(flatten)]
    pub words: Named<words::Image>,
    /// Of several platforms, this one (DXF_PLATFORM, else this machine's)
    #[arg(long, value_name = "OS/ARCH")]
    pub platform: Option<String>,
}

/// What `get-layer` takes.
#[derive(Args)]
pub struct GetLayer {
    /// The image.
    #[command(flatten)]
    pub look: Look,
    /// The layer.
    #[command(flatten)]
    pub layer: Named<words::Layer>,
    /// Undo the layer's compression, whatever it is
    #[arg(long)]
    pub uncompressed: bool,
    /// Write to FILE, which appears when it is complete
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

/// What `get-file` takes.
#[derive(Args)]
pub struct GetFile {
    /// The image.
    #[command(flatten)]
    pub look: Look,
    /// The file.
    #[command(flatten)]
    pub path: Named<words::FileInImage>,
    /// Write to FILE, which appears when it is complete
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

/// What `export-image` takes.
#[derive(Args)]
pub struct ExportImage {
    /// The image.
    #[command(flatten)]
    pub look: Look,
    /// Where to write.
    #[command(flatten)]
    pub target: Named<words::FolderOrStdout>,
}

/// What `diff-images` takes.
#[derive(Args)]
pub struct DiffImages {
    /// The images.
    #[command(flatten)]
    pub words: Named<words::TwoImages>,
    /// Of several platforms, this one (DXF_PLATFORM, else this machine's)
    #[arg(long, value_name = "OS/ARCH")]
    pub platform: Option<String>,
}

/// What `list-files` takes.
#[derive(Args)]
pub struct ListFiles {
    /// The image.
    #[command(flatten)]
    pub look: Look,
    /// Only this layer, a number or the beginning of a digest, as it is
    #[arg(long, value_name = "N")]
    pub layer: Option<String>,
}

/// What `resolve-image` takes.
#[derive(Args)]
pub struct ResolveImage {
    /// The image.
    #[command(flatten)]
    pub look: Look,
    /// Only IPv4 addresses
    #[arg(short = '4', long, conflicts_with = "ipv6")]
    pub ipv4: bool,
    /// Only IPv6 addresses
    #[arg(short = '6', long)]
    pub ipv6: bool,
}
