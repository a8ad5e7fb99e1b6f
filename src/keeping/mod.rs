//! Keeping house: deleting tags by rules, freeing what nothing reaches, keeping
//! repositories in step.
//!
//! What must stay is marked first ([`crate::graph::mark`]), so that what can't be
//! read stops a run before anything is deleted.

pub mod gc;
pub mod prune;
pub mod sync;

use crate::error::{Error, Result};

/// The tags that an option such as `--only` names.
fn pattern(option: &'static str, text: &str) -> Result<glob::Pattern> {
    glob::Pattern::new(text).map_err(|e| Error::invalid(option, text, e.msg))
}
