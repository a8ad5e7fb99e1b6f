//! `get-digest`: the digests of configs, or of manifests.

use dxf_registry::alias::{self, ByPlatform};
use dxf_registry::{Digest, Manifest, Result, Store, Target};

use crate::cli::args::{self, GetDigest};
use crate::cli::exit::Failure;
use crate::cli::session::Session;

/// `get-digest [--manifest] <repo> [<alias> …]`
pub fn run(s: &mut Session<'_, '_>, args: &GetDigest) -> Result<(), Failure> {
    let (repo, rest) = s.repo(&args.words, 0, usize::MAX)?;
    let targets = args::targets(rest)?;
    let store = s.store(repo)?;
    let found = if args.manifest && s.context.platform.is_none() && !targets.is_empty() {
        let asked: Result<Vec<_>> = targets.iter().map(|t| head(&*store, t)).collect();
        asked?
    } else {
        let wanted = |m: Manifest| {
            if args.manifest {
                Ok(m.digest())
            } else {
                alias::config(&m)
            }
        };
        let manifests = s.manifests(&*store, &targets)?.into_iter();
        let found: Result<Vec<_>> = manifests.map(|m| m.try_map(wanted)).collect();
        found?
    };
    for digest in found {
        s.by_platform(digest, |d| d.to_string().into(), |s, digest| s.line(digest))?;
    }
    Ok(())
}

/// The digest of a manifest, which no one needs to fetch for that.
fn head(store: &dyn Store, target: &Target) -> Result<ByPlatform<Digest>> {
    let found = store.head(target)?;
    let found = found.ok_or_else(|| target.missing_in(&store.name()))?;
    Ok(ByPlatform::One(found.digest))
}
