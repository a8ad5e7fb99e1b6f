//! `logout`: forgets a login.

use dxf_registry::{Error, Result};

use super::{config, host};
use crate::cli::args::Words;
use crate::cli::exit::Failure;
use crate::cli::session::Session;

/// `logout [<host>]`
pub fn run(s: &mut Session<'_, '_>, words: &Words) -> Result<(), Failure> {
    let host = host(s, words)?;
    match config(s)?.erase(&host)? {
        true => s.line(format_args!("login for {host} removed")),
        false => Err(Error::NotFound {
            what: format!("login for {host}"),
        }
        .into()),
    }
}
