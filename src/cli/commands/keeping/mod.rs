//! Commands that keep house: what exists, and what is deleted.

pub mod doctor;
pub mod gc;
pub mod prune;
pub mod sync;
