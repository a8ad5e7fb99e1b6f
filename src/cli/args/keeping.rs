//! What the commands that keep house take.

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
    /// Print what would be freed without changing anything
    #[arg(long)]
    pub dry_run: bool,
    /// Also free repositories without aliases
    #[arg(long)]
    pub allow_empty: bool,
}
