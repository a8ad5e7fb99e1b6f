//! Store anything in a container registry: blobs, names for lists of blobs,
//! and whole images. Synchronous, without a container engine.
//!
//! A [`Store`] is one repository, wherever it lives: [`registry::Repository`]
//! is one in a registry, [`layout::Layout`] one in a folder on disk. Everything
//! else is written against the trait.
//!
//! ```
//! use dxf_registry::{Blob, Store, alias, layout::Layouts, stream::{Stop, Watch}};
//! use std::io::Read;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let folder = tempfile::tempdir()?;
//! let store = Layouts::new(folder.path()).repository(&"team/data".parse()?);
//! let stop = Stop::new();
//! let watch = Watch::new(&(), &stop); // no progress wanted
//!
//! // A blob is stored under its digest …
//! let blob = Blob::bytes("application/octet-stream", b"hello".to_vec());
//! store.put_blob(&blob, watch)?;
//!
//! // … and an alias is a name for a list of blobs.
//! let run = alias::Run { jobs: 4, watch };
//! alias::set(&store, &"greeting".parse()?, &[*blob.digest()], alias::Format::Docker, run)?;
//!
//! let manifest = store.manifest(&"greeting".parse()?)?;
//! let first = &alias::blobs(&manifest)?[0];
//! let mut text = String::new();
//! store.pull_blob(&first.digest, Some(first.size))?.reader.read_to_string(&mut text)?;
//! assert_eq!(text, "hello");
//! # Ok(())
//! # }
//! ```
//!
//! The same against a registry, with a user's name and password:
//!
//! ```no_run
//! use dxf_registry::{Registry, Store, credentials::Credentials, registry::Settings};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let credentials = Credentials::password("me", "secret");
//! let registry = Registry::connect("registry.example:5000".parse()?, Settings::default(), credentials)?;
//! for tag in registry.repository("team/data".parse()?).tags() {
//!     println!("{}", tag?);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! Whole images are values that are fetched when they are read: an
//! [`image::Node`] comes from a store or an archive, and goes to either.
//!
//! ```no_run
//! use dxf_registry::archive::{self, Form, Item, Out};
//! use dxf_registry::stream::{Run, Stop, Watch};
//! use dxf_registry::transfer::{Remote, Wanted};
//! use dxf_registry::{Registry, credentials::Credentials, registry::Settings};
//! use std::{path::Path, sync::Arc};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let registry = Registry::connect("registry.example".parse()?, Settings::default(), Credentials::anonymous())?;
//! let remote = Remote::new(Arc::new(registry.repository("team/app".parse()?)));
//! let stop = Stop::new();
//! let run = Run { jobs: 4, watch: Watch::new(&(), &stop) };
//!
//! let node = remote.pull(&"v1".parse()?, Wanted::All, run)?; // layers come later
//! let item = Item::new(vec!["registry.example/team/app:v1".parse()?], node);
//! let settings = archive::Settings { form: Form::Hybrid, platform: None, folder: Path::new(".") };
//! archive::write(&[item], Out::File(Path::new("app.tar")), &settings, run)?;
//! # Ok(())
//! # }
//! ```
//!
//! # Where things are
//!
//! | modules | what they hold |
//! |---|---|
//! | [`digest`], [`descriptor`], [`mod@reference`], [`manifest`], [`secret`], [`error`] | the words everything else is said in |
//! | [`blob`], [`store`], [`stream`], [`progress`], [`fetch`], [`spool`], [`parallel`] | bytes: opened again, watched, fetched into files |
//! | [`cache`] | layers that were downloaded once |
//! | [`http`], [`credentials`] | the wire, and who one is |
//! | [`registry`], [`layout`] | the two kinds of [`Store`] |
//! | [`alias`] | names for lists of blobs |
//! | [`artifact`] | a file kept as several blobs |
//! | [`image`] | images, their configs and layers, and whether they are what they say |
//! | [`archive`] | images in a file: docker-archive and OCI layout |
//! | [`transfer`], [`foreign`] | images out of a store and into one, and layers that are kept elsewhere |
//! | [`hub`], [`json`], [`text`] | Docker Hub's names, Python's JSON, text fit for a terminal |
//!
//! The library prints nothing, reads no environment variables (but for the
//! platform's own certificate lookup), and has one error, [`Error`].

pub mod alias;
pub mod archive;
pub mod artifact;
pub(crate) mod auth;
pub mod blob;
pub mod cache;
pub mod credentials;
pub mod descriptor;
pub mod digest;
pub mod error;
pub mod fetch;
pub mod foreign;
pub mod http;
pub mod hub;
pub mod image;
pub mod json;
pub mod layout;
pub mod manifest;
pub mod parallel;
pub mod progress;
pub mod reference;
pub mod registry;
pub mod secret;
pub mod spool;
pub mod store;
pub mod stream;
pub mod text;
pub mod transfer;

pub use blob::Blob;
pub use descriptor::{Descriptor, Platform};
pub use digest::Digest;
pub use error::{Error, Result};
pub use manifest::Manifest;
pub use reference::{Host, Reference, RepoName, Tag, Target};
pub use registry::{Registry, Repository};
pub use secret::Secret;
pub use store::Store;
