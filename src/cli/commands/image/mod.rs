//! The commands about images.

pub mod config;
pub mod copy;
pub mod diff;
pub mod edit;
pub mod export;
pub mod file;
pub mod files;
pub mod history;
pub mod layer;
pub mod layers;
pub mod load;
pub mod platforms;
pub mod pull;
pub mod push;
pub mod resolve;
pub mod run;
pub mod tag;
pub mod verify;
