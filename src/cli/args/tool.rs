//! What the commands about logins and the tool itself take.

use clap::Args;

use super::words::{self, Named};

/// What `auth` takes.
#[derive(Args)]
pub struct Auth {
    /// The arguments.
    #[command(flatten)]
    pub words: Named<words::RepoActions>,
    /// Print where credentials come from, what was asked and what granted
    #[arg(long)]
    pub explain: bool,
}

/// What `cache` takes.
#[derive(Args)]
pub struct Cache {
    /// The arguments.
    #[command(flatten)]
    pub words: Named<words::CacheAction>,
    /// Delete what was not used for this long, such as 12h or 30d
    #[arg(long, value_name = "DURATION")]
    pub older_than: Option<String>,
    /// Delete the least recently used until no more than this is left
    #[arg(long, value_name = "SIZE")]
    pub max_size: Option<String>,
}

/// What `login` takes.
#[derive(Args)]
pub struct Login {
    /// The arguments.
    #[command(flatten)]
    pub words: Named<words::Host>,
    /// The user's name
    #[arg(short, long, value_name = "NAME")]
    pub username: Option<String>,
    /// Read the password from standard input, even from a terminal
    #[arg(long)]
    pub password_stdin: bool,
}
