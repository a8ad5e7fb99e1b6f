//! Store anything in a container registry.

pub mod alias;
pub mod auth;
pub mod blob;
pub mod credentials;
pub mod descriptor;
pub mod digest;
pub mod error;
pub mod fetch;
pub mod http;
pub mod hub;
pub mod json;
pub mod layout;
pub mod manifest;
pub mod parallel;
pub mod progress;
pub mod reference;
pub mod registry;
pub mod secret;
pub mod store;
pub mod stream;
pub mod text;

pub use blob::Blob;
pub use descriptor::{Descriptor, Platform};
pub use digest::Digest;
pub use error::{Error, Result};
pub use manifest::Manifest;
pub use reference::{Host, Reference, RepoName, Tag, Target};
pub use registry::{Registry, Repository};
pub use secret::Secret;
pub use store::Store;
