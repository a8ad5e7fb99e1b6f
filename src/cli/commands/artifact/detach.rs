//! `detach`: deletes a manifest that refers to an image.

use dxf_registry::error::if_found;
use dxf_registry::manifest::Kind;
use dxf_registry::{Digest, Error, Place, ReadStore, Result, Store, Target};

use crate::cli::args::{self, Words};
use crate::cli::exit::Failure;
use crate::cli::image::open;
use crate::cli::session::Session;

/// `detach <image> <digest>`
pub fn run(s: &mut Session<'_, '_>, words: &Words) -> Result<(), Failure> {
    let words = words.take(2, 2)?;
    let place = open::to_read(s, &words[0])?;
    let digest: Digest = args::text(&words[1])?.parse()?;
    let store = open::store(s, s.context, &place)?;
    let subjects = subjects(&*store, &place)?;
    // The store learns the subject from the manifest, whose list it mends.
    let Some(referrer) = if_found(store.manifest(&Target::Digest(digest)))? else {
        return Ok(gone(&*store, &subjects, &digest)?);
    };
    let about = referrer.subject()?.map(|subject| subject.digest);
    let Some(about) = about.filter(|about| subjects.contains(about)) else {
        let what = format!(
            "{digest} does not refer to {place}; list-referrers prints what does, and del-alias \
             deletes the tags that cosign makes"
        );
        return Err(Error::Unsupported { what }.into());
    };
    match store.delete_manifest(&digest) {
        Err(refused) if refused.is_not_allowed() && store.unlist(&about, &digest)? => {
            s.console.warn(&format!(
                "{digest} was removed from the list of referrers, but the registry keeps its manifest: {refused}"
            ));
            Ok(())
        }
        done => Ok(done?),
    }
}

/// Removes a manifest that was deleted from the lists that still contain it.
fn gone(store: &dyn Store, subjects: &[Digest], digest: &Digest) -> Result<()> {
    let mut was_listed = false;
    for subject in subjects {
        was_listed |= store.unlist(subject, digest)?;
    }
    if was_listed {
        return Ok(());
    }
    let what = format!("{digest} in {}", store.name());
    Err(Error::NotFound { what })
}

/// An image's digest, and those of the manifests in an index. A digest needs no
/// manifest: a referrer may outlive its subject.
fn subjects(store: &dyn ReadStore, place: &Place) -> Result<Vec<Digest>> {
    let target = place.target()?;
    let mut found = Vec::new();
    if let Target::Digest(digest) = &target {
        found.push(*digest);
    }
    let manifest = match store.manifest(&target) {
        Ok(manifest) => manifest,
        Err(error) if error.is_not_found() && !found.is_empty() => return Ok(found),
        Err(error) => return Err(error),
    };
    found.push(manifest.digest());
    if manifest.kind() == Kind::Index {
        found.extend(manifest.index()?.manifests.iter().map(|entry| entry.digest));
    }
    Ok(found)
}
