//! The commands about the tool itself.

pub mod cache;
pub mod complete;
pub mod completions;
pub mod help;
pub mod man;
pub mod show_env;
