//! What a repository contains, seen from its tags: what each is, how large, how
//! old, and for which platforms.
//!
//! [`Describer`] reads manifests and configs, never layers. With [`Documents`]
//! over the store, those that were read before come from a cache. Works on every
//! [`crate::ReadStore`] and knows none of its kinds.

mod describe;
mod documents;
mod usage;
mod version;

use std::sync::Arc;

use crate::error::{Error, Result};

pub use describe::{Describer, Description, TagKind, Tagged, believable};
pub use documents::Documents;
pub use usage::{Bytes, Counter, RepoUsage, TagUsage};
pub use version::Version;

/// Keeps an error that is about what was asked for apart from those that end
/// everything, such as the network's.
fn own<T>(result: Result<T>) -> Result<std::result::Result<T, Arc<Error>>> {
    match result {
        Ok(value) => Ok(Ok(value)),
        Err(error) if is_about_one(&error) => Ok(Err(Arc::new(error))),
        Err(error) => Err(error),
    }
}

fn is_about_one(error: &Error) -> bool {
    error.is_not_found() || error.is_corrupt() || matches!(error.what(), Error::Unsupported { .. })
}
