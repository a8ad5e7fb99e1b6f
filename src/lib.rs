//! Store anything in a container registry.

pub mod archive;
pub mod blob;
pub mod cache;
pub mod credentials;
pub mod descriptor;
pub mod digest;
pub mod error;
pub mod hub;
pub mod image;
pub mod json;
pub mod manifest;
pub mod parallel;
pub mod progress;
pub mod reference;
pub mod secret;
pub mod spool;
pub mod store;
pub mod stream;
pub mod transfer;

pub use blob::Blob;
pub use descriptor::{Descriptor, Platform};
pub use digest::Digest;
pub use error::{Error, Result};
pub use manifest::Manifest;
pub use reference::{Host, Reference, RepoName, Tag, Target};
pub use secret::Secret;
pub use store::Store;
