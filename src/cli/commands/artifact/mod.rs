//! The commands about artifacts: named files, and what refers to an image.

pub mod pull_files;
pub mod push_files;
pub mod referrers;
