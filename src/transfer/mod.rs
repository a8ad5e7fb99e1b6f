//! Where stores and images meet: [`Remote`] makes a node of what a store holds,
//! [`put`] puts a node into a store, [`Copier`] does both. All know
//! [`crate::Store`] and none of its kinds.

mod copy;
mod forecast;
mod pull;
mod put;
mod related;
#[cfg(feature = "schema1-signing")]
mod signed;
#[cfg(test)]
mod tests;

pub use copy::{Copied, Copier, How, Referrers};
pub use forecast::{Fate, Forecast, forecast};
pub use pull::{Elsewhere, Remote, Wanted};
pub use put::{Foreign, Summary, To, put, put_named};
pub use related::{Related, is_referrers_tag};
#[cfg(feature = "schema1-signing")]
pub use signed::{Signed, put_signed};
