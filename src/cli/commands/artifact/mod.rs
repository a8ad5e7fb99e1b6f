//! The commands about artifacts: named files, and what refers to an image.

pub mod attach;
pub mod detach;
pub mod index;
pub mod pull_files;
pub mod push_files;
pub mod put_manifest;
pub mod referrers;
