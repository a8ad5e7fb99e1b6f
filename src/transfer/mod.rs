//! Where stores and images meet: [`Remote`] makes a node of what a store holds,
//! [`put`] puts a node into a store. Both know [`crate::Store`] and none of its
//! kinds.

mod forecast;
mod pull;
mod put;
#[cfg(test)]
mod tests;

pub use forecast::{Fate, Forecast, forecast};
pub use pull::{Elsewhere, Remote, Wanted};
pub use put::{Foreign, Summary, To, put};
