//! What the commands about logins and the tool itself take.

use clap::Args;

use super::words::{self, Named};

/// What `auth` takes.
#[derive(Args)]
pub struct Auth {
    /// The arguments.
    #[command(flatten)]
    pub words: Named<words::RepoActions>,
    /// Print where the credentials came from, what was requested and granted
    #[arg(long)]
    pub explain: bool,
}

/// What `cache` takes.
#[derive(Args)]
pub struct Cache {
    /// The arguments.
    #[command(flatten)]
    pub words: Named<words::CacheAction>,
    /// Delete layers unused for this long, such as 12h or 30d
    #[arg(long, value_name = "DURATION")]
    pub older_than: Option<String>,
    /// Delete the least recently used layers above this total size
    #[arg(long, value_name = "SIZE")]
    pub max_size: Option<String>,
}

/// What `login` takes.
#[derive(Args)]
pub struct Login {
    /// The arguments.
    #[command(flatten)]
    pub words: Named<words::Host>,
    /// User name
    #[arg(short, long, value_name = "NAME")]
    pub username: Option<String>,
    /// Read the password from standard input
    #[arg(long)]
    pub password_stdin: bool,
}
