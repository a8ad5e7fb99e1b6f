//! The commands about artifacts: files under their names, and what refers to
//! other manifests.

pub mod pull_files;
pub mod push_files;
