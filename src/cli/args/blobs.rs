//! What the commands about blobs and aliases take.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, ValueEnum, ValueHint};

use super::words::{self, Named};

/// What `push-blob` takes.
#[derive(Args)]
pub struct PushBlob {
    /// The arguments.
    #[command(flatten)]
    pub words: Named<words::RepoFile>,
    /// Split the file into parts of this size, or by content (cdc)
    #[arg(long, value_name = "SIZE|cdc[:AVG]")]
    pub split: Option<String>,
    /// Fail if there are fewer bytes, and leave the alias unchanged
    #[arg(long, value_name = "SIZE")]
    pub min_size: Option<String>,
    /// Program to run, with its arguments; dxf stores its output under @alias if it
    /// exits with 0
    #[arg(last = true, value_name = "CMD", value_hint = ValueHint::CommandName)]
    pub command: Vec<OsString>,
}

/// What `pull-blob` takes.
#[derive(Args)]
pub struct PullBlob {
    /// The arguments.
    #[command(flatten)]
    pub words: Named<words::RepoBlobs>,
    /// Write to FILE atomically
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Download only the parts that OLDFILE, an older version, lacks
    #[arg(long, value_name = "OLDFILE")]
    pub base: Option<PathBuf>,
    /// Write only these bytes, unverified: FIRST-LAST, FIRST- or -COUNT
    #[arg(
        long,
        value_name = "A-B",
        allow_hyphen_values = true,
        conflicts_with = "base"
    )]
    pub range: Option<String>,
}

/// What `del-blob` takes.
#[derive(Args)]
pub struct DelBlob {
    /// The arguments.
    #[command(flatten)]
    pub words: Named<words::RepoBlobs>,
    /// Keep @alias, and delete only its blobs
    #[arg(long)]
    pub keep_alias: bool,
    /// Also delete blobs that other aliases name
    #[arg(long)]
    pub force: bool,
}

/// What `del-alias` takes.
#[derive(Args)]
pub struct DelAlias {
    /// The arguments.
    #[command(flatten)]
    pub words: Named<words::RepoAliases>,
    /// Delete only this alias, or refuse
    #[arg(long)]
    pub only: bool,
}

/// What `set-alias` takes.
#[derive(Args)]
pub struct SetAlias {
    /// The arguments.
    #[command(flatten)]
    pub words: Named<words::RepoMembers>,
    /// Update only if the alias points to DIGEST, or does not exist (`none`)
    #[arg(long, value_name = "DIGEST|none")]
    pub if_match: Option<String>,
}

/// What `verify-alias` takes.
#[derive(Args)]
pub struct VerifyAlias {
    /// The arguments.
    #[command(flatten)]
    pub words: Named<words::RepoAliases>,
    /// Check every alias of the repository
    #[arg(long)]
    pub all: bool,
    /// Check only sizes, without reading
    #[arg(long)]
    pub fast: bool,
}

/// What `get-digest` takes.
#[derive(Args)]
pub struct GetDigest {
    /// The arguments.
    #[command(flatten)]
    pub words: Named<words::RepoAliases>,
    /// Print the manifest's own digest
    #[arg(long)]
    pub manifest: bool,
}

/// What `list-aliases` takes.
#[derive(Args)]
pub struct ListAliases {
    /// The arguments.
    #[command(flatten)]
    pub words: Named<words::RepoGlobs>,
    /// Also print digest, kind, bytes, time and platforms
    #[arg(short, long)]
    pub long: bool,
    /// Sort, smallest or oldest first; unknown times and versions come before them
    #[arg(long, value_name = "BY")]
    pub sort: Option<Sort>,
    /// Reverse the order
    #[arg(short, long)]
    pub reverse: bool,
    /// With --long: also print aliases made of digests (sha256-…), which list referrers
    #[arg(long)]
    pub all: bool,
}

/// What aliases are ordered by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Sort {
    /// By name.
    Name,
    /// By the time when the content was made.
    Created,
    /// By the bytes that they reach.
    Size,
    /// As versions, such as v1.2.3.
    Semver,
}

/// What `list-repos` takes.
#[derive(Args)]
pub struct ListRepos {
    /// The arguments.
    #[command(flatten)]
    pub words: Named<words::Nothing>,
    /// Also print the number of aliases and the time of the newest
    #[arg(short, long)]
    pub long: bool,
}
