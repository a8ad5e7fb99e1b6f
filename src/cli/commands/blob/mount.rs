//! `mount-blob`: takes a blob over from another repository.

use dxf_registry::{Digest, Result, alias};

use crate::cli::args::{self, Words};
use crate::cli::exit::Failure;
use crate::cli::session::Session;

/// `mount-blob <repo> <from-repo> <digest> [@alias]`
pub fn run(s: &mut Session<'_, '_>, words: &Words) -> Result<(), Failure> {
    let (repo, rest) = s.repo(words, 2, 3)?;
    let tag = args::alias(rest.get(2))?;
    let from = args::repo(args::text(&rest[0])?, s.context.root.as_ref())?;
    let digest: Digest = args::text(&rest[1])?.parse()?;
    let store = s.store(repo)?;
    store.mount_blob(&digest, &from, s.watch())?;
    if let Some(tag) = tag {
        alias::set(&*store, &tag, &[digest], s.context.format, s.run())?;
    }
    s.line(digest)
}
