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
//! Between two stores everything is streamed, or mounted where both are in one
//! registry; the copy has the digest of the original:
//!
//! ```
//! use dxf_registry::layout::{Layout, Layouts};
//! use dxf_registry::stream::{Run, Stop, Watch};
//! use dxf_registry::transfer::{Copier, Foreign, How, Referrers, Remote};
//! use dxf_registry::{Blob, Manifest, Store};
//! use std::sync::Arc;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! # let stop = Stop::new();
//! # let run = Run { jobs: 4, watch: Watch::new(&(), &stop) };
//! # let source = Layouts::new(folder.path()).repository(&"team/app".parse()?);
//! # let blob = Blob::bytes("application/octet-stream", b"hello".to_vec());
//! # source.put_blob(&blob, run.watch)?;
//! # let manifest = Manifest::alias(&[blob.descriptor().clone()])?;
//! # source.put_manifest(&manifest, &"v1".parse()?)?;
//! let to = Layout::at(folder.path().join("copy"));
//! let how = How { foreign: Foreign::Skip, referrers: Referrers::Copy, platform: None, convert: None, expected: None };
//! let from = Remote::new(Arc::new(source));
//! let copied = Copier::new(&from, &to, how).copy(&"v1".parse()?, &"v2".parse()?, run)?;
//! assert_eq!(to.manifest(&"v2".parse()?)?.digest(), copied.digest);
//! # Ok(())
//! # }
//! ```
//!
//! # Editing images
//!
//! An image of a store gets a layer and loses one, as python-docker's README has
//! it; of what stays nothing is read, until an archive asks for it.
//!
//! ```
//! use dxf_registry::archive::{self, Form, Item, Out};
//! use dxf_registry::image::build::{self, Layer, Parts, Rules};
//! use dxf_registry::image::{Family, Image, Node};
//! use dxf_registry::layout::Layouts;
//! use dxf_registry::stream::{Run, Stop, Watch};
//! use dxf_registry::transfer::{Foreign, Remote, To, Wanted, put};
//! use std::{fs, sync::Arc};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! # let folder = folder.path();
//! # let stop = Stop::new();
//! # let run = Run { jobs: 4, watch: Watch::new(&(), &stop) };
//! let platform = "linux/amd64".parse()?;
//! let store = Arc::new(Layouts::new(folder.join("store")).repository(&"team/app".parse()?));
//! let settings = build::Settings { family: Family::Oci, folder, run };
//! # let mut base = Image::scratch(&platform, Family::Oci)?.edit()?;
//! # for name in ["/base", "/old"] {
//! #     let mut parts = Parts::new(Rules::default());
//! #     parts.add_file(name, b"x".to_vec(), 0o644)?;
//! #     base = base.append(Layer::from_parts(&parts, settings)?);
//! # }
//! # let base = Node::Image(base.finish()?);
//! # put(&base, &To { store: &*store, target: &"v1".parse()?, foreign: Foreign::Skip }, run)?;
//! # fs::create_dir(folder.join("site"))?;
//! # fs::write(folder.join("site/index.html"), "hello")?;
//! // image = registry.pull_image("team/app", "v1", lazy=True)
//! let remote = Remote::new(store.clone());
//! let Node::Image(image) = remote.pull(&"v1".parse()?, Wanted::Platform(&platform), run)? else {
//!     return Err("an index".into());
//! };
//!
//! // image.add_layer_path("site"), image.add_layer_contents({"/etc/motd": b"hello"})
//! let mut files = Parts::new(Rules::default());
//! files.add_path(&folder.join("site"), "/srv/site", &[])?;
//! files.add_file("/etc/motd", b"hello".to_vec(), 0o644)?;
//! let layer = Layer::from_parts(&files, settings)?;
//!
//! // image.remove_layer(), image.layers[0].config["Env"].append("LANG=C.UTF-8")
//! let image = image.edit()?.remove_top().append(layer).set_env("LANG", "C.UTF-8").finish()?;
//! assert_eq!(image.layers().len(), 2);
//!
//! // registry.push_image(image), image.write_filename("app.tar")
//! let node = Node::Image(image);
//! let to = To { store: &*store, target: &"v2".parse()?, foreign: Foreign::Skip };
//! assert_eq!(put(&node, &to, run)?.existed, 1); // the layer that stayed
//! let item = Item::new(vec!["team/app:v2".parse()?], node);
//! let form = archive::Settings { form: Form::Hybrid, platform: Some(&platform), folder };
//! archive::write(&[item], Out::File(&folder.join("app.tar")), &form, run)?;
//! # assert!(folder.join("app.tar").exists());
//! # Ok(())
//! # }
//! ```
//!
//! And moby-distribution's `ImageRef`: out of one repository into another, with a
//! tar on top; from an archive, and into one.
//!
//! ```
//! use dxf_registry::archive::{self, Form, Item, Out};
//! use dxf_registry::image::build::{self, Layer};
//! use dxf_registry::image::{Family, Image, Node, check};
//! use dxf_registry::layout::Layouts;
//! use dxf_registry::stream::{Run, Stop, Watch};
//! use dxf_registry::transfer::{Foreign, Remote, To, Wanted, put};
//! use std::sync::Arc;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! # let folder = folder.path();
//! # let stop = Stop::new();
//! # let run = Run { jobs: 4, watch: Watch::new(&(), &stop) };
//! let stores = Layouts::new(folder.join("store"));
//! let (from, to) = (stores.repository(&"team/app".parse()?), stores.repository(&"team/new".parse()?));
//! let settings = build::Settings { family: Family::Docker, folder, run };
//! # let tar = |name: &str| -> std::io::Result<()> {
//! #     let mut tar = tar::Builder::new(std::fs::File::create(folder.join(format!("{name}.tar")))?);
//! #     let mut header = tar::Header::new_gnu();
//! #     header.set_size(1);
//! #     header.set_mode(0o644);
//! #     tar.append_data(&mut header, name, &b"x"[..])?;
//! #     tar.finish()
//! # };
//! # (tar("base")?, tar("layer")?);
//! # let base = Layer::from_tar(&folder.join("base.tar"), settings)?;
//! # let base = Image::scratch(&"linux/amd64".parse()?, Family::Docker)?.edit()?.append(base).finish()?;
//! # put(&Node::Image(base), &To { store: &from, target: &"v1".parse()?, foreign: Foreign::Skip }, run)?;
//! // ImageRef.from_image("team/app", "v1", "team/new", "v2").add_layer(LayerRef("layer.tar"))
//! let node = Remote::new(Arc::new(from)).pull(&"v1".parse()?, Wanted::All, run)?;
//! let Node::Image(image) = node else { return Err("an index".into()) };
//! let layer = Layer::from_tar(&folder.join("layer.tar"), settings)?; // plain, gzip or zstd
//! let image = image.edit()?.append(layer).history("COPY layer.tar").finish()?;
//! check(&image, run)?; // every digest and diff id
//!
//! // image_ref.save("saved.tar")
//! let saved = folder.join("saved.tar");
//! let item = Item::new(vec!["team/new:v2".parse()?], Node::Image(image));
//! let form = archive::Settings { form: Form::Hybrid, platform: None, folder };
//! archive::write(std::slice::from_ref(&item), Out::File(&saved), &form, run)?;
//!
//! // ImageRef.from_tarball(workplace, "saved.tar", "team/new", "v2").push()
//! let items = archive::read(&saved, folder, run)?;
//! assert_eq!(items[0].node.manifest().digest(), item.node.manifest().digest());
//! put(&items[0].node, &To { store: &to, target: &"v2".parse()?, foreign: Foreign::Skip }, run)?;
//! # Ok(())
//! # }
//! ```
//!
//! # Where things are
//!
//! | modules | what they hold |
//! |---|---|
//! | [`digest`], [`descriptor`], [`mod@reference`], [`manifest`], [`jws`], [`secret`], [`error`] | the words everything else is said in |
//! | [`blob`], [`store`], [`stream`], [`progress`], [`fetch`], [`spool`], [`parallel`] | bytes: opened again, watched, fetched into files |
//! | [`cache`] | layers that were downloaded once |
//! | [`http`], [`credentials`] | the wire, and who one is |
//! | [`registry`], [`layout`] | the two kinds of [`Store`] |
//! | [`alias`] | names for lists of blobs |
//! | [`artifact`] | a file kept as several blobs |
//! | [`image`] | images, their configs and layers, whether they are what they say, and how to change them |
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
pub mod jws;
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
