//! `blob-size`: the sizes of blobs and aliases.

use dxf_registry::alias::{self, ByPlatform};
use dxf_registry::{Error, Manifest, Result};

use crate::cli::args::{self, Selector, Words};
use crate::cli::exit::Failure;
use crate::cli::session::{Session, blob_size};

/// `blob-size <repo> [<digest>|@alias …]`
pub fn run(s: &mut Session<'_, '_>, words: &Words) -> Result<(), Failure> {
    let (repo, rest) = s.repo(words, 0, usize::MAX)?;
    let selectors = args::selectors(rest)?;
    let store = s.store(repo)?;
    let mut sizes = Vec::new();
    if selectors.is_empty() {
        sizes.push(s.stdin_manifest(&*store)?.try_map(total)?);
    }
    for selector in &selectors {
        sizes.push(match selector {
            Selector::Blob(digest) => ByPlatform::One(blob_size(&*store, digest)?),
            Selector::Alias(target) => s.resolve(&*store, target)?.try_map(total)?,
        });
    }
    for size in sizes {
        s.by_platform(size, |size| (*size).into(), |s, size| s.line(size))?;
    }
    Ok(())
}

/// The bytes of an alias' blobs; a sum no machine can hold is not a sum.
fn total(manifest: Manifest) -> Result<u64> {
    let mut sum = 0u64;
    for blob in alias::blobs(&manifest)? {
        let more = sum.checked_add(blob.size);
        sum =
            more.ok_or_else(|| Error::malformed("manifest", "the total size overflows 64 bits"))?;
    }
    Ok(sum)
}
