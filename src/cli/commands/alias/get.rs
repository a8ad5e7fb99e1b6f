//! `get-alias`: the digests of the blobs that aliases name.

use dxf_registry::{Result, alias};

use crate::cli::args::{self, Words};
use crate::cli::exit::Failure;
use crate::cli::out::json::digests;
use crate::cli::session::Session;

/// `get-alias <repo> [<alias> …]`
pub fn run(s: &mut Session<'_, '_>, words: &Words) -> Result<(), Failure> {
    let (repo, rest) = s.repo(words, 0, usize::MAX)?;
    let targets = args::targets(rest)?;
    let store = s.store(repo)?;
    let mut all = Vec::new();
    for found in s.manifests(&*store, &targets)? {
        all.push(found.try_map(|manifest| alias::blobs(&manifest))?);
    }
    for blobs in all {
        s.by_platform(
            blobs,
            |blobs| digests(blobs),
            |s, blobs| blobs.iter().try_for_each(|blob| s.line(blob.digest)),
        )?;
    }
    Ok(())
}
