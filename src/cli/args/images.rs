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
    /// Format to write
    #[arg(long, value_enum, default_value_t = Form::Hybrid)]
    pub format: Form,
    /// os/architecture[/variant] to select from an index, or all (default:
    /// DXF_PLATFORM, then this machine)
    #[arg(long, value_name = "P")]
    pub platform: Option<String>,
    /// Name to record in the archive
    #[arg(long, value_name = "NAME")]
    pub tag: Option<String>,
    /// Write to FILE (same as the second argument)
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
    /// Push the image with this NAME in the archive
    #[arg(long, value_name = "NAME", conflicts_with = "all")]
    pub tag: Option<String>,
    /// Push all images, each under its own tags
    #[arg(long)]
    pub all: bool,
    /// What is done with non-distributable layers.
    #[command(flatten)]
    pub nondistributable: Nondistributable,
}

/// What is done with non-distributable layers.
#[derive(Args)]
pub struct Nondistributable {
    /// Also transfer non-distributable layers (Windows)
    #[arg(long)]
    pub allow_nondistributable: bool,
}

/// What `copy-image` takes.
#[derive(Args)]
pub struct CopyImage {
    /// The arguments.
    #[command(flatten)]
    pub words: Named<words::FromTo>,
    /// os/architecture[/variant] to select from an index (default: all)
    #[arg(long, value_name = "P")]
    pub platform: Option<String>,
    /// Copy all tags of the repository, under the same names; signatures and other
    /// referrers only with --referrers
    #[arg(long, conflicts_with = "tags")]
    pub all_tags: bool,
    /// Copy all tags that match GLOB (*, ?, [a-z]), under the same names
    #[arg(long, value_name = "GLOB")]
    pub tags: Option<glob::Pattern>,
    /// Also copy signatures, SBOMs and everything else that refers to the images
    #[arg(long)]
    pub referrers: bool,
    /// Convert to Docker or OCI format; changes the digest
    #[arg(long, value_enum, value_name = "F", conflicts_with = "referrers")]
    pub convert: Option<Convert>,
    /// Print what would be copied and sent, without sending anything
    #[arg(long)]
    pub dry_run: bool,
    /// What is done with non-distributable layers.
    #[command(flatten)]
    pub nondistributable: Nondistributable,
}

/// The format that an image is converted to.
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
    /// Engine (default: Docker if its daemon answers, then podman)
    #[arg(long, value_enum, value_name = "E")]
    pub engine: Option<Engine>,
    /// os/architecture[/variant] to select from an index (default: DXF_PLATFORM,
    /// then this machine)
    #[arg(long, value_name = "P")]
    pub platform: Option<String>,
    /// Name of the image in the engine
    #[arg(long, value_name = "NAME")]
    pub tag: Option<String>,
}

/// What `run-image` takes.
#[derive(Args)]
pub struct RunImage {
    /// Engine (default: Docker if its daemon answers, then podman)
    #[arg(long, value_enum, value_name = "E")]
    pub engine: Option<Engine>,
    /// os/architecture[/variant] to select from an index (default: DXF_PLATFORM,
    /// then this machine)
    #[arg(long, value_name = "P")]
    pub platform: Option<String>,
    /// Keep the image in the engine, under its name
    #[arg(long)]
    pub keep: bool,
    /// Option for the engine's `run`, such as --engine-arg=--network=none; may be
    /// repeated
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
    /// Platform to select (default: DXF_PLATFORM, then this machine)
    #[arg(long, value_name = "OS/ARCH")]
    pub platform: Option<String>,
}

/// What `verify-image` takes.
#[derive(Args)]
pub struct VerifyImage {
    /// The arguments.
    #[command(flatten)]
    pub words: Named<words::Image>,
    /// os/architecture[/variant] to check of an index (default: all)
    #[arg(long, value_name = "P")]
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
    /// Decompress the layer
    #[arg(long)]
    pub uncompressed: bool,
    /// Write to FILE atomically
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
    /// Write to FILE atomically
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
    /// Platform to select (default: DXF_PLATFORM, then this machine)
    #[arg(long, value_name = "OS/ARCH")]
    pub platform: Option<String>,
}

/// What `list-files` takes.
#[derive(Args)]
pub struct ListFiles {
    /// The image.
    #[command(flatten)]
    pub look: Look,
    /// List only this layer: a number, or the start of a digest
    #[arg(long, value_name = "N")]
    pub layer: Option<String>,
}

/// What `resolve-image` takes.
#[derive(Args)]
pub struct ResolveImage {
    /// The image.
    #[command(flatten)]
    pub look: Look,
    /// Print only IPv4 addresses
    #[arg(short = '4', long, conflicts_with = "ipv6")]
    pub ipv4: bool,
    /// Print only IPv6 addresses
    #[arg(short = '6', long)]
    pub ipv6: bool,
}
