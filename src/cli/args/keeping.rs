//! What the commands that keep house take.

use std::path::PathBuf;

use clap::Args;

use super::words::{self, Named};

/// What `gc` takes.
#[derive(Args)]
pub struct Gc {
    /// The arguments.
    #[command(flatten)]
    pub words: Named<words::Repos>,
    /// Keep blobs stored or used within this time, such as 15m (default: 1h)
    #[arg(long, value_name = "DURATION")]
    pub grace: Option<String>,
    /// Print what would be deleted, and delete nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Also delete everything in repositories without aliases
    #[arg(long)]
    pub allow_empty: bool,
}

/// What `prune-aliases` takes.
#[derive(Args)]
pub struct PruneAliases {
    /// The arguments.
    #[command(flatten)]
    pub words: Named<words::Repos>,
    /// What chooses the aliases.
    #[command(flatten)]
    pub rules: RuleArgs,
    /// Write what would be deleted, and why, to a file
    #[arg(long, value_name = "FILE", conflicts_with_all = ["apply", "yes"])]
    pub plan: Option<PathBuf>,
    /// Delete what a plan lists, except aliases that moved since then
    #[arg(long, value_name = "FILE", conflicts_with_all = ["yes", "max_delete", "allow_empty"])]
    pub apply: Option<PathBuf>,
    /// Delete the aliases instead of only listing them
    #[arg(long)]
    pub yes: bool,
    /// Only list what would be deleted, as without --yes and --apply
    #[arg(long, conflicts_with = "yes")]
    pub dry_run: bool,
    /// Store the deleted manifests there; copy-image --all-tags --referrers restores
    /// them
    #[arg(long, value_name = "oci:FOLDER")]
    pub backup: Option<String>,
    /// Delete at most this many aliases of a repository, the oldest first (default: 10%)
    #[arg(long, value_name = "N|N%")]
    pub max_delete: Option<String>,
    /// Allow deleting the last alias of a repository
    #[arg(long)]
    pub allow_empty: bool,
}

/// The rules of `prune-aliases`.
#[derive(Args)]
pub struct RuleArgs {
    /// Keep the newest N
    #[arg(long, value_name = "N", conflicts_with = "apply")]
    pub keep_last: Option<usize>,
    /// Keep aliases at most this much older than the newest, such as 30d
    #[arg(long, value_name = "DURATION", conflicts_with = "apply")]
    pub keep_within: Option<String>,
    /// Keep the newest alias of each day, for the last N days that have one (UTC)
    #[arg(long, value_name = "N", conflicts_with = "apply")]
    pub keep_daily: Option<usize>,
    /// The same for weeks
    #[arg(long, value_name = "N", conflicts_with = "apply")]
    pub keep_weekly: Option<usize>,
    /// The same for months
    #[arg(long, value_name = "N", conflicts_with = "apply")]
    pub keep_monthly: Option<usize>,
    /// The same for years
    #[arg(long, value_name = "N", conflicts_with = "apply")]
    pub keep_yearly: Option<usize>,
    /// Keep aliases that match, such as 'v*'
    #[arg(long, value_name = "GLOB", conflicts_with = "apply")]
    pub keep: Vec<String>,
    /// Keep versions of a range, such as '>=1.2, <2'
    #[arg(long, value_name = "RANGE", conflicts_with = "apply")]
    pub keep_semver: Vec<String>,
    /// Apply the rules only to matching aliases, and keep all others
    #[arg(long, value_name = "GLOB", conflicts_with = "apply")]
    pub only: Vec<String>,
    /// Apply the rules to each group of aliases with the same captures, such as
    /// '^(.*)-[0-9]+$'
    #[arg(long, value_name = "REGEX", conflicts_with = "apply")]
    pub group_by: Option<String>,
    /// Take the date from the alias: '%Y-%m-%d', or '*-%Y-%m-%d' with other text before it
    #[arg(long, value_name = "FORMAT", conflicts_with = "apply")]
    pub date_from_tag: Option<String>,
}

/// What `sync` takes.
#[derive(Args)]
pub struct Sync {
    /// The arguments.
    #[command(flatten)]
    pub words: Named<words::SyncPlaces>,
    /// Copy only aliases that match
    #[arg(long, value_name = "GLOB")]
    pub tags: Vec<String>,
    /// Do not copy aliases that match
    #[arg(long, value_name = "GLOB")]
    pub exclude: Vec<String>,
    /// Copy only the newest N: by version if all are versions, otherwise by date
    #[arg(long, value_name = "N")]
    pub newest: Option<usize>,
    /// os/architecture[/variant] to copy of each index (default: all)
    #[arg(long, value_name = "P")]
    pub platform: Option<String>,
    /// Delete aliases that the source no longer has
    #[arg(long)]
    pub delete: bool,
    /// Delete at most this many aliases of a repository (default: 10%)
    #[arg(long, value_name = "N|N%", requires = "delete")]
    pub max_delete: Option<String>,
    /// Repository below SRC to copy, if the registry does not list them
    #[arg(long, value_name = "NAME")]
    pub repo: Vec<String>,
    /// File with the repositories below SRC, one per line, or - for standard input
    #[arg(long, value_name = "FILE")]
    pub repos_from: Option<PathBuf>,
    /// Also copy referrers added to unchanged aliases (a request for each)
    #[arg(long)]
    pub referrers: bool,
    /// Wait while a registry limits requests (429), however long that takes
    #[arg(long)]
    pub wait: bool,
    /// Print what would be copied and deleted, and change nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// What `doctor` takes.
#[derive(Args)]
pub struct Doctor {
    /// The arguments.
    #[command(flatten)]
    pub words: Named<words::MaybeRepo>,
    /// Check only what can be checked without writing
    #[arg(long)]
    pub read_only: bool,
}
