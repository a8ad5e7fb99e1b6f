//! Commands that keep house: what is there, and what goes.

pub mod gc;
