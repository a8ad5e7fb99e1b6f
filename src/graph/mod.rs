//! Manifests and what they name, as a graph: from tags down to blobs, and to what
//! refers to them, whatever store they are in.
//!
//! [`Remote`] reads what a name points to, [`push`] stores it, [`Copier`] does
//! both, [`plan`] tells what [`push`] would do. [`Resolver`] finds the manifests
//! of an index, [`walk`] goes through all that names reach within a [`budget`],
//! [`verify`] checks it, [`mark`](mark::mark) tells what must stay. All know [`crate::Store`] and none of its kinds.

pub mod budget;
mod copy;
mod index;
pub mod mark;
mod plan;
mod pull;
mod push;
mod referrers;
mod related;
mod resolve;
#[cfg(feature = "schema1-signing")]
mod signed;
#[cfg(test)]
mod tests;
pub mod verify;
pub mod walk;

pub use crate::manifest::Select;
pub use budget::Budget;
pub use copy::{Copied, Copier, CopyOptions, Referrers};
pub use index::add_to_index;
pub use plan::{Action, Plan, plan};
pub use pull::{Remote, UrlFetcher};
pub use push::{Nondistributable, PushTarget, Summary, push, push_manifest};
pub(crate) use push::{push_again, send_all};
pub(crate) use referrers::Lists;
pub use referrers::{Referrer, Scheme};
pub use related::{Related, is_referrers_tag, is_related_tag, referrers_lists};
pub(crate) use related::{list_tag, related_stem};
pub use resolve::Resolver;
#[cfg(feature = "schema1-signing")]
pub use signed::{Signed, put_signed};
pub use verify::{Finding, Role, Scrutiny, Verdict};
pub use walk::{JoinedFile, Links, Step, Walk};
