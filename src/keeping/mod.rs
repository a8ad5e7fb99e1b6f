//! Keeping house: deleting tags by rules, freeing what nothing reaches, keeping
//! repositories in step.
//!
//! What must stay is marked first ([`crate::graph::mark`]), so that what can't be
//! read stops a run before anything is deleted.

pub mod gc;
pub mod prune;
pub mod sync;
