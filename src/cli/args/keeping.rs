//! What the commands that keep house take.

use clap::Args;

use super::words::{self, Named};

/// What `gc` takes.
#[derive(Args)]
pub struct Gc {
    /// The arguments.
    #[command(flatten)]
    pub words: Named<words::Repos>,
    /// Keep what was stored or used for less than this, such as 15m (1h)
    #[arg(long, value_name = "DURATION")]
    pub grace: Option<String>,
    /// Print what would be freed, and change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Free everything in a repository where nothing has an alias
    #[arg(long)]
    pub allow_empty: bool,
}
