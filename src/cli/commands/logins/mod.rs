//! The commands about logins.

use dxf_registry::credentials::ConfigFile;
use dxf_registry::{Error, Host, Result, Root};

use crate::cli::args::{self, Words};
use crate::cli::env::login::SESSIONS;
use crate::cli::env::vars;
use crate::cli::exit::Failure;
use crate::cli::session::Session;

pub mod list;
pub mod login;
pub mod logout;
pub mod token;

/// The registry that `login` and `logout` are about.
fn host(s: &Session<'_, '_>, words: &Words) -> Result<Host, Failure> {
    match (words.take(0, 1)?.first(), &s.context.root) {
        (Some(word), _) => Ok(args::text(word)?.parse()?),
        (None, Some(Root::Registry(host))) => Ok(host.clone()),
        (None, Some(Root::Folder(_))) => {
            Err(args::usage("too few arguments (a folder needs no login)"))
        }
        (None, None) => Err(Failure::Unset(vars::HOST.name)),
    }
}

/// The file that logins are kept in.
fn config(s: &Session<'_, '_>) -> Result<ConfigFile> {
    let file = s
        .context
        .login_files
        .iter()
        // Gone with the next boot, and made for root by podman alone.
        .find(|file| !file.starts_with(SESSIONS))
        .ok_or_else(|| Error::Unsupported {
            what: "no file to store a login in; set DOCKER_CONFIG to a folder".to_string(),
        })?;
    Ok(ConfigFile::new(file).with_helpers(s.context.helpers.clone()))
}
