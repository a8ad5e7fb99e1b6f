//! The commands about aliases, and about the repositories they are in.

pub mod delete;
pub mod digest;
pub mod get;
pub mod list;
pub mod manifest;
pub mod repos;
pub mod set;
pub mod usage;
pub mod verify;
