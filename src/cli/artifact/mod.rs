//! What the commands about artifacts share.

pub mod make;
