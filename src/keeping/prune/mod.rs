//! Deleting tags by rules, on any store.
//!
//! [`plan`] reads and decides, [`apply`] does what a plan says and nothing else;
//! what is printed as a dry run is the plan that is applied. What must stay is
//! marked from the tags that are kept, so that a manifest that can't be read stops
//! the run before anything is deleted.

mod apply;
mod choose;
mod date;
mod plan;
mod rules;
mod source;

pub use apply::{Applied, Left, apply};
pub use choose::{Aged, Verdict};
pub use date::DateFormat;
pub use plan::{Belonging, Plan, Planned, Repo, RepoPlan, plan, plan_deletion};
pub use rules::{Every, LastTag, MaxDelete, Rules};
