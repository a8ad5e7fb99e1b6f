//! `get-digest`: the digests of configs, or of manifests.

use std::cell::Cell;

use dxf_registry::alias::{self, ByPlatform};
use dxf_registry::descriptor::media_type;
use dxf_registry::manifest::Kind;
use dxf_registry::{Digest, Manifest, Result, Store, Target};

use crate::cli::args::{self, GetDigest};
use crate::cli::exit::Failure;
use crate::cli::session::Session;

/// `get-digest [--manifest] <repo> [<alias> …]`
pub fn run(s: &mut Session<'_, '_>, args: &GetDigest) -> Result<(), Failure> {
    let (repo, rest) = s.repo(&args.words, 0, usize::MAX)?;
    let targets = args::targets(rest)?;
    let store = s.store(repo)?;
    let empty = Cell::new(false);
    let found = if args.manifest && s.context.platform.is_none() && !targets.is_empty() {
        let asked: Result<Vec<_>> = targets.iter().map(|t| head(&*store, t)).collect();
        asked?
    } else {
        let wanted = |m: Manifest| match args.manifest {
            true => Ok(m.digest()),
            false => {
                empty.set(empty.get() || has_no_config(&m));
                alias::config(&m)
            }
        };
        let manifests = s.manifests(&*store, &targets)?.into_iter();
        let found: Result<Vec<_>> = manifests.map(|m| m.try_map(wanted)).collect();
        found?
    };
    if empty.get() {
        s.console.warn(
            "this is the digest of an empty config, which all artifacts without a config have; \
             --manifest prints the digest of the manifest",
        );
    }
    for digest in found {
        s.by_platform(digest, |d| d.to_string().into(), |s, digest| s.line(digest))?;
    }
    Ok(())
}

/// Whether a manifest is an artifact without a config.
fn has_no_config(manifest: &Manifest) -> bool {
    let image = manifest.image();
    manifest.kind() == Kind::Image
        && image.is_ok_and(|image| image.config.media_type == media_type::OCI_EMPTY)
}

/// The digest of a manifest, which no one needs to fetch for that.
fn head(store: &dyn Store, target: &Target) -> Result<ByPlatform<Digest>> {
    let found = store.head(target)?;
    let found = found.ok_or_else(|| target.missing_in(&store.name()))?;
    Ok(ByPlatform::One(found.digest))
}
