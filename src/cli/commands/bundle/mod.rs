//! The commands about bundles.

pub mod load;
pub mod save;
pub mod show;
