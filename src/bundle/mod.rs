//! Bundles: images from any number of repositories, with all that belongs to
//! them, in one file that is carried to where no network leads.
//!
//! A bundle is a tar that is an OCI image layout (image-spec, image-layout.md),
//! with `index.json` first, then manifests, configs and layers, each once.
//! [`plan()`] decides what is in one, [`Plan::write_file`] writes it; [`Bundle`]
//! reads one, and [`Load`] puts its images into the repositories of a registry
//! or a folder. Everything works on [`crate::Store`] and knows none of its kinds.
//!
//! A bundle can leave out what the other side has: a [`Listing`] says what that
//! is, and the bundle says what it leaves out ([`OMITTED`]).
//!
//! Each entry of the index has the image's whole name in the annotation
//! [`NAME`], beside the names by which containerd, skopeo, podman and oras know
//! it.

mod charon;
mod file;
mod incoming;
mod listing;
mod load;
mod look;
mod names;
mod open;
mod parts;
mod read;
mod save;
#[cfg(test)]
mod tests;
mod verify;
mod zip;

pub use incoming::Incoming;
pub use listing::{LISTING, Listing, MAX_LISTING};
pub use load::{Image, Load, Loaded, Outcome, Stores};
pub use names::Names;
pub use read::{Bounded, Bundle, Cut, Entry};
pub use save::{Plan, SaveOptions, SavedParts, Wanted, plan};

pub use crate::descriptor::annotation::BUNDLE_NAME as NAME;

/// The artifact type of the manifest in a bundle whose only layer is a
/// [`Listing`] of what the bundle leaves out.
pub const OMITTED: &str = "application/vnd.dxf.bundle.omitted.v1";
