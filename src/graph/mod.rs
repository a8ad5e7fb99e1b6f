//! Manifests and what they name, as a graph: from tags down to blobs, whatever
//! store they are in.
//!
//! [`walk`] goes through it, [`verify`] checks what a walk reaches.

pub mod verify;
pub mod walk;

pub use verify::{Finding, Role, Scrutiny, Verdict};
pub use walk::{Links, Step, Walk};
