//! Commands that keep house: what exists, and what is deleted.

pub mod gc;
pub mod prune;
