//! Moving a tag only while it points to the expected manifest.
//!
//! The distribution specification has no such request. So the tag is looked at
//! right before the PUT, and the PUT carries the condition for registries that obey it
//! (RFC 9110, section 13.1): its entity tag is the digest in quotes, as
//! distribution gives it. Where none does, a writer between the two requests
//! goes unnoticed.

use ::http::header::{IF_MATCH, IF_NONE_MATCH};

use crate::digest::Digest;
use crate::error::Result;
use crate::http::Request;
use crate::http::retry::Budget;
use crate::manifest::Manifest;
use crate::reference::Target;
use crate::registry::Repository;
use crate::registry::repository::{PUT, may_have_arrived};
use crate::store::{Expected, ReadStore};

const RIGHTS: [&str; 2] = ["pull", "push"];

/// Puts a manifest under a tag that is as `expected`; whether the registry
/// lists it under its subject by itself.
pub(super) fn put(
    repository: &Repository,
    manifest: &Manifest,
    target: &Target,
    expected: Expected,
) -> Result<bool> {
    let request = condition(repository.put_request(manifest, target), expected);
    let (mut budget, mut perhaps_done) = (Budget::new(), false);
    let check = |found| expected.check(&format!("alias {target} in {}", repository.name()), found);
    loop {
        let found = digest_of(repository, target)?;
        if perhaps_done && found == Some(manifest.digest()) {
            // The answer got lost, not the request.
            return Ok(false);
        }
        check(found)?;
        match repository.attempt(&RIGHTS, &request, &PUT) {
            Ok(answer) => return Repository::was_put(answer, manifest, target),
            Err(error) if error.status() == Some(412) => {
                let found = digest_of(repository, target)?;
                if perhaps_done && found == Some(manifest.digest()) {
                    // Its own first request came in between.
                    return Ok(false);
                }
                check(found)?;
                // Not because of the condition: Harbor's immutable tags.
                return Err(error);
            }
            Err(error) => {
                perhaps_done |= may_have_arrived(&error);
                budget.again(repository.registry().settings(), error)?;
            }
        }
    }
}

fn digest_of(repository: &Repository, target: &Target) -> Result<Option<Digest>> {
    let found = repository.head_for(&RIGHTS, target)?;
    Ok(found.map(|there| there.digest))
}

fn condition<'a>(request: Request<'a>, expected: Expected) -> Request<'a> {
    match expected {
        Expected::Nothing => request.header(IF_NONE_MATCH, "*"),
        Expected::Manifest(digest) => request.header(IF_MATCH, &format!("\"{digest}\"")),
    }
}
