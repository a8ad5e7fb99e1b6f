//! `get-manifest`: manifests, byte for byte.

use dxf_registry::alias::ByPlatform;
use dxf_registry::{Manifest, Result, json};
use serde_json::Value;

use crate::cli::args::{self, Words};
use crate::cli::exit::Failure;
use crate::cli::session::Session;

/// `get-manifest <repo> <alias> …`
pub fn run(s: &mut Session<'_, '_>, words: &Words) -> Result<(), Failure> {
    let (repo, rest) = s.repo(words, 0, usize::MAX)?;
    let targets = args::targets(rest)?;
    let store = s.store(repo)?;
    for target in &targets {
        match s.resolve(&*store, target)? {
            ByPlatform::One(manifest) => s.document(manifest.bytes())?,
            ByPlatform::Each(each) => {
                let text = |m: &Manifest| String::from_utf8_lossy(m.bytes()).into_owned();
                let members = each.iter().map(|(name, m)| (name.clone(), text(m).into()));
                s.document(json::python(&Value::Object(members.collect())).as_bytes())?;
            }
        }
    }
    Ok(())
}
