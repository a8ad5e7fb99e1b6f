//! Where stores and images meet: [`Remote`] makes a node of what a store holds,
//! [`put`] puts a node into a store. Both know [`crate::Store`] and none of its
//! kinds.

mod pull;
mod put;
mod signed;
#[cfg(test)]
mod tests;

pub use pull::{Elsewhere, Remote, Wanted};
pub use put::{Foreign, Summary, To, put};
pub use signed::{Signed, put_signed};
