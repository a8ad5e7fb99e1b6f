//! Files on disk: written atomically, locked, read in sections, set aside.
//!
//! Knows nothing of what the bytes mean.

mod section;
mod spool;

pub use section::{Section, SectionReader};
pub use spool::Spool;
