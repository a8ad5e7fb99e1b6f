//! `del-alias`: deletes aliases, and prints what they named.

use dxf_registry::{Digest, Result, Tag, Target, alias};
use serde_json::Value;

use crate::cli::args::{self, DelAlias};
use crate::cli::exit::Failure;
use crate::cli::session::Session;

/// `del-alias [--only] <repo> <alias> …`
pub fn run(s: &mut Session<'_, '_>, args: &DelAlias) -> Result<(), Failure> {
    let (repo, rest) = s.repo(&args.words, 0, usize::MAX)?;
    let targets = args::targets(rest)?;
    let store = s.store(repo)?;
    let mut deleted = Vec::new();
    for target in &targets {
        deleted.push(match target {
            Target::Tag(tag) if args.only => alias::delete_only(&*store, tag, s.run())?,
            Target::Digest(_) if args.only => {
                return Err(args::usage("--only takes names, not digests"));
            }
            // Whatever DXF_PLATFORM says: an alias goes as a whole.
            target => {
                let gone = alias::delete(&*store, target, s.run())?;
                say_siblings(s, target, &gone.siblings);
                gone.pointed
            }
        });
    }
    for pointed in deleted {
        s.by_platform(pointed, child, |s, digests| {
            digests.iter().try_for_each(|digest| s.line(digest))
        })?;
    }
    Ok(())
}

/// Names the aliases that are gone too, unless they are to be deleted anyway.
fn say_siblings(s: &Session<'_, '_>, target: &Target, siblings: &Result<Vec<Tag>>) {
    match siblings {
        Ok(none) if none.is_empty() => {}
        Ok(gone) => s.console.warn(&format!(
            "{target} had the same manifest as these aliases, which are deleted too: {}; --only deletes a single alias",
            alias::named(gone)
        )),
        Err(error) => s.console.warn(&format!(
            "cannot check whether other aliases have the manifest of {target}: {error}"
        )),
    }
}

/// A platform of a deleted index: the digest of its manifest.
fn child(digests: &Vec<Digest>) -> Value {
    match digests.as_slice() {
        [one] => one.to_string().into(),
        all => all.iter().map(Digest::to_string).collect(),
    }
}
