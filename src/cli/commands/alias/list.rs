//! `list-aliases`: the names of a repository's aliases.

use dxf_registry::Result;

use crate::cli::args::Words;
use crate::cli::exit::Failure;
use crate::cli::session::Session;

/// `list-aliases <repo>`
pub fn run(s: &mut Session<'_, '_>, words: &Words) -> Result<(), Failure> {
    let (repo, _) = s.repo(words, 0, 0)?;
    let store = s.store(repo)?;
    s.names(store.tag_names())
}
