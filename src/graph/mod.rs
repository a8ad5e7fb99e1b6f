//! Manifests and what they name, as a graph: from tags down to blobs, whatever
//! store they are in.
//!
//! [`walk`] goes through it, [`budget`] bounds what one name leads to, [`verify`] checks what a walk reaches.

pub mod budget;
pub mod verify;
pub mod walk;

pub use budget::Budget;
pub use verify::{Finding, Role, Scrutiny, Verdict};
pub use walk::{Links, Step, Walk};
