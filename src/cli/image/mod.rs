//! What the commands about images share: where an image is, how it is read, which
//! platform of it to use, and where images go.

pub mod destination;
pub mod engine;
pub mod existing;
pub mod folder;
pub mod item;
pub mod layer;
pub mod open;
pub mod platform;
pub mod read;
pub mod transfer;
