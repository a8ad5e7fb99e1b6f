//! What the commands about artifacts take.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::words::{self, Named};

/// What `push-files` takes.
#[derive(Args)]
pub struct PushFiles {
    /// The arguments.
    #[command(flatten)]
    pub words: Named<words::RepoFiles>,
    /// How the artifact is described.
    #[command(flatten)]
    pub about: About,
    /// Manifest that the artifact refers to: a digest or an alias
    #[arg(long, value_name = "DIGEST|ALIAS")]
    pub subject: Option<String>,
    /// Version of the image specification: 1.0 for registries that refuse 1.1
    #[arg(long, value_name = "VERSION")]
    pub oci: Option<Oci>,
    /// Split larger files and folders into parts of this size, or by content (cdc);
    /// other tools see the parts
    #[arg(long, value_name = "SIZE|cdc[:AVG]", conflicts_with = "model")]
    pub split: Option<String>,
    /// Store the files as a model in the format of ModelPack, each file of a
    /// folder by itself
    #[arg(long)]
    pub model: bool,
    /// os/architecture[/variant] that the files are for: the alias is an index of
    /// the artifacts for each platform, and this one is added or replaced
    #[arg(long, value_name = "P")]
    pub platform: Option<String>,
}

/// How an artifact of files is described.
#[derive(Args)]
pub struct About {
    /// Type of the artifact, such as application/vnd.example.report.v1
    #[arg(long = "type", value_name = "TYPE")]
    pub kind: Option<String>,
    /// Config of the artifact
    #[arg(long, value_name = "FILE[:TYPE]")]
    pub config: Option<std::ffi::OsString>,
    /// Annotation of the artifact
    #[arg(long, value_name = "NAME=VALUE")]
    pub annotation: Vec<String>,
    /// JSON file with annotations of $manifest, $config and each PATH
    #[arg(long, value_name = "FILE")]
    pub annotation_file: Option<PathBuf>,
    /// Time to record in the artifact: now, epoch or 2026-01-31T12:00:00Z
    #[arg(long, value_name = "TIME")]
    pub created: Option<String>,
    /// File name for standard input (if PATH is -)
    #[arg(long, value_name = "NAME[:TYPE]")]
    pub name: Option<String>,
    /// Keep the times of the files in folders
    #[arg(long)]
    pub keep_times: bool,
    /// Folder that every PATH is relative to (default: the current one)
    #[arg(short = 'C', long, value_name = "DIR")]
    pub directory: Option<PathBuf>,
    /// Exclude matching files from folders (.dockerignore syntax); may be repeated
    #[arg(long, value_name = "PATTERN")]
    pub exclude: Vec<String>,
}

impl About {
    /// Whether there is anything that makes sense without a file.
    pub fn is_annotated(&self) -> bool {
        !self.annotation.is_empty() || self.annotation_file.is_some()
    }
}

/// A version of the image specification.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Oci {
    /// Without artifact types and subjects, for registries that refuse 1.1
    #[value(name = "1.0")]
    V1_0,
    /// The current version
    #[value(name = "1.1")]
    V1_1,
}

/// What `pull-files` takes.
#[derive(Args)]
pub struct PullFiles {
    /// The arguments.
    #[command(flatten)]
    pub words: Named<words::RepoManifest>,
    /// Folder to write to; with --file a file, or - for standard output
    #[arg(short, long, value_name = "DIR")]
    pub output: Option<PathBuf>,
    /// Write only matching files, such as '*.json' or 'docs/**'; may be repeated
    #[arg(long, value_name = "GLOB")]
    pub only: Vec<String>,
    /// Write only this file; -o names the file to write
    #[arg(long, value_name = "NAME", conflicts_with_all = ["only", "list"])]
    pub file: Option<String>,
    /// Print name, size, type and digest of each file, and write nothing
    #[arg(long, conflicts_with_all = ["output", "keep"])]
    pub list: bool,
    /// Fail if a file or folder exists and differs
    #[arg(long)]
    pub keep: bool,
    /// Platform to select from an index
    #[arg(long, value_name = "PLATFORM")]
    pub platform: Option<String>,
}

/// What `list-referrers` takes.
#[derive(Args)]
pub struct ListReferrers {
    /// The arguments.
    #[command(flatten)]
    pub words: Named<words::Image>,
    /// Print only referrers of this artifact type, and their parents
    #[arg(long = "type", value_name = "T")]
    pub kind: Option<String>,
    /// Levels to follow; 1 stops at direct referrers (default: all)
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub depth: Option<u32>,
    /// os/architecture[/variant] to select from an index (default: the index and all
    /// its entries)
    #[arg(long, value_name = "P")]
    pub platform: Option<String>,
}

/// What `attach` takes.
#[derive(Args)]
pub struct Attach {
    /// The arguments.
    #[command(flatten)]
    pub words: Named<words::ImageFiles>,
    /// How the artifact is described.
    #[command(flatten)]
    pub about: About,
    /// os/architecture[/variant] of an index's entry to attach to (default: the
    /// index)
    #[arg(long, value_name = "P")]
    pub platform: Option<String>,
}

/// What `make-index` takes.
#[derive(Args)]
pub struct MakeIndex {
    /// The arguments.
    #[command(flatten)]
    pub words: Named<words::IndexImages>,
    /// Annotation of the index
    #[arg(long, value_name = "NAME=VALUE")]
    pub annotation: Vec<String>,
    /// Add an image to an existing index; replaces one for the same platform
    #[arg(long, value_name = "IMAGE")]
    pub add: Vec<std::ffi::OsString>,
    /// Remove a platform or a digest from an existing index
    #[arg(long, value_name = "PLATFORM|DIGEST")]
    pub remove: Vec<String>,
}
