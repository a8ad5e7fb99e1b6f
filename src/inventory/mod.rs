//! What a repository contains, seen from its tags: what each is, how large, how
//! old, and for which platforms.
//!
//! [`Describer`] reads manifests and configs, never layers. With [`Documents`]
//! over the store, those that were read before come from a cache. Works on every
//! [`crate::ReadStore`] and knows none of its kinds.

mod describe;
mod documents;

pub use describe::{Describer, Description, TagKind, Tagged, believable};
pub use documents::Documents;
