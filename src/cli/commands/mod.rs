//! The commands, a file each. None knows another; what two of them need is in a
//! room of its own beside this one.

pub mod alias;
pub mod artifact;
pub mod blob;
pub mod bundle;
pub mod image;
pub mod keeping;
pub mod logins;
pub mod tool;
