//! The commands about blobs.

pub mod delete;
pub mod mount;
pub mod pull;
pub mod push;
pub mod size;
