//! Files in a repository, kept as artifacts rather than as images.
//!
//! [`Parts`] is the manifest of one file that is kept as several blobs,
//! [`Split`] says where one of them ends and the next begins, [`push`] stores
//! them, [`Base`] finds those that an older file has. Works on every
//! [`crate::Store`]; knows nothing of command lines.

mod base;
mod cuts;
mod input;
mod parts;
mod push;
mod split;

pub use base::Base;
pub use cuts::{Cuts, Piece};
pub use input::Input;
pub use parts::{ARTIFACT_TYPE, Parts};
pub(crate) use parts::{DIGEST as PARTS_DIGEST, SPLIT as PARTS_SPLIT};
pub use push::{Pushed, push};
pub use split::Split;
