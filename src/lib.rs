//! Store anything in a container registry: blobs, names for lists of blobs,
//! and whole images. Synchronous, without a container engine.
//!
//! This page leads from nothing to each of those; its examples run, most of them
//! on a folder, which is a [`Store`] like a registry is.
//!
//! * [A first blob](#a-first-blob)
//! * [A registry](#a-registry)
//! * [Names](#names)
//! * [Files](#files)
//! * [Images](#images), [changing them](#changing-images), [copying them](#copying)
//! * [Authentication](#authentication)
//! * [Progress and cancellation](#progress-and-cancellation)
//! * [Concurrency](#concurrency)
//! * [Errors](#errors)
//! * [Testing your program](#testing-your-program), [longer examples](#longer-examples)
//! * [Modules](#modules), [compatibility](#compatibility)
//! * Coming from [python-dxf's module](#coming-from-python-dxfs-module),
//!   [moby-distribution](#coming-from-moby-distribution)
//!
//! # A first blob
//!
//! ```
//! use dxf_registry::{Blob, ReadStore, Store, layout::Layouts, stream::Watch};
//! use std::io::Read;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! # let folder = folder.path();
//! let store = Layouts::new(folder).repository(&"team/data".parse()?);
//!
//! // A blob is stored under the digest of its bytes …
//! let blob = Blob::bytes("text/plain", b"hello".to_vec());
//! store.put_blob(&blob, Watch::default())?;
//!
//! // … and comes back verified: the reader fails where they were wrong.
//! let mut text = String::new();
//! store.pull_blob(blob.digest(), None)?.reader.read_to_string(&mut text)?;
//! assert_eq!(text, "hello");
//! # Ok(())
//! # }
//! ```
//!
//! [`Blob::file`] takes a file and [`Blob::spooled`] a reader of any length: neither
//! is kept in memory.
//!
//! # A registry
//!
//! Everything on this page that takes a [`Store`] takes a [`Repository`] too.
//! Nothing is sent before it is needed; a [`Registry`], its repositories and
//! their clones share connections and tokens, on any number of threads.
//!
//! ```no_run
//! use dxf_registry::{ReadStore, Registry, credentials::Credentials, registry::Settings};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let login = Credentials::password("me", "secret");
//! let registry = Registry::connect("registry.example:5000".parse()?, Settings::default(), login)?;
//! for tag in registry.repository("team/data".parse()?).tags() {
//!     println!("{}", tag?); // fetched page by page
//! }
//! # Ok(())
//! # }
//! ```
//!
//! [`registry::Settings`] configures it: scheme (https by
//! default), certificates, proxy, timeouts. Requests that fail temporarily are retried,
//! interrupted downloads resume.
//!
//! # Names
//!
//! An [`alias`] is a tag that names a list of blobs. A registry may delete
//! blobs without a name.
//!
//! ```
//! use dxf_registry::{Blob, ReadStore, alias, layout::Layouts, stream::Run};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! # let store = Layouts::new(folder.path()).repository(&"team/data".parse()?);
//! let parts = [&b"one"[..], b"two"].map(|part| Blob::bytes("text/plain", part.to_vec()));
//! alias::push(&store, &"v1".parse()?, &parts, alias::Format::Docker, Run::default())?;
//!
//! let manifest = store.manifest(&"v1".parse()?)?;
//! let listed = alias::blobs(&manifest)?;
//! assert_eq!((listed[1].digest, listed[1].size), (*parts[1].digest(), 3));
//! # Ok(())
//! # }
//! ```
//!
//! A [`Manifest`] is the bytes that the store returned, and views of them; it is passed
//! on byte for byte. [`alias::resolve`] chooses a platform, or gives
//! each. [`artifact`] keeps a large file in several blobs.
//!
//! # Files
//!
//! [`fetch::into_file`] writes a file atomically, and resumes what an earlier call
//! left unfinished.
//!
//! ```
//! use dxf_registry::{Blob, Store, fetch, layout::Layouts, stream::{Run, Watch}};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! # let store = Layouts::new(folder.path().join("store")).repository(&"a".parse()?);
//! # let blob = Blob::bytes("text/plain", b"hello".to_vec());
//! # store.put_blob(&blob, Watch::default())?;
//! let path = folder.path().join("hello.txt");
//! let wanted = fetch::BlobRef { digest: *blob.digest(), size: None };
//! fetch::into_file(&store, &[wanted.into()], &path, Run::default())?;
//! assert_eq!(std::fs::read(&path)?, b"hello");
//! # Ok(())
//! # }
//! ```
//!
//! # Images
//!
//! Images are values whose layers are fetched when they are read: an
//! [`image::Node`] comes from a store or an [`archive`], and goes to either.
//!
//! ```no_run
//! use dxf_registry::archive::{self, Form, Item, Out};
//! use dxf_registry::graph::{Remote, Select};
//! use dxf_registry::{Registry, credentials::Credentials, registry::Settings, stream::Run};
//! use std::{path::Path, sync::Arc};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let registry = Registry::connect("registry.example".parse()?, Settings::default(), Credentials::anonymous())?;
//! let remote = Remote::new(Arc::new(registry.repository("team/app".parse()?)));
//! let node = remote.pull(&"v1".parse()?, Select::All, Run::default())?; // layers come later
//!
//! let item = Item::new(vec!["registry.example/team/app:v1".parse()?], node);
//! let settings = archive::WriteOptions { form: Form::Hybrid, platform: None, folder: Path::new(".") };
//! archive::write(&[item], Out::File(Path::new("app.tar")), &settings, Run::default())?;
//! # Ok(())
//! # }
//! ```
//!
//! [`archive::open`] takes what Docker, podman, skopeo and crane save, and
//! [`graph::push()`] puts an image into a store. [`image::check()`] reads an image
//! and checks its digests and sizes; [`image::files`] lists what a container
//! would see.
//!
//! ## Changing images
//!
//! [`image::Image::edit`] begins with an image and ends with another; layers that
//! stay are neither read nor sent again. [`image::make`] makes new ones, the same
//! bytes on every machine.
//!
//! ```
//! use dxf_registry::image::make::{Contents, FileOptions, Layer, LayerOptions};
//! use dxf_registry::image::{Family, Image, Node};
//! use dxf_registry::layout::Layouts;
//! use dxf_registry::stream::Run;
//! use dxf_registry::graph::{PushTarget, push};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! # let store = Layouts::new(folder.path()).repository(&"team/app".parse()?);
//! let base = Image::scratch(&"linux/amd64".parse()?, Family::Oci)?;
//! let mut contents = Contents::new(FileOptions::default());
//! contents.add_file("/etc/motd", b"hello\n".to_vec(), 0o644)?;
//! let options = LayerOptions { family: Family::Oci, folder: folder.path(), run: Run::default() };
//! let layer = Layer::from_contents(&contents, options)?;
//!
//! let image = base.edit()?.append(layer).set_env("LANG", "C.UTF-8").finish()?;
//! let node = Node::Image(image);
//! push(&node, &PushTarget::new(&store, &"v2".parse()?), Run::default())?;
//! # Ok(())
//! # }
//! ```
//!
//! ## Copying
//!
//! [`graph::Copier`] copies between two stores. Existing blobs are not sent
//! again, one registry mounts what it has, and the rest streams through.
//!
//! ```
//! use dxf_registry::layout::Layouts;
//! use dxf_registry::graph::{Copier, CopyOptions, Referrers, Remote};
//! use dxf_registry::{Blob, ReadStore, alias, stream::Run};
//! use std::sync::Arc;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! let stores = Layouts::new(folder.path());
//! let (from, to) = (stores.repository(&"a".parse()?), stores.repository(&"b".parse()?));
//! # let blob = Blob::bytes("text/plain", b"hello".to_vec());
//! # alias::push(&from, &"v1".parse()?, &[blob], alias::Format::Oci, Run::default())?;
//! let options = CopyOptions::default().with_referrers(Referrers::Copy);
//! let copier = Copier::new(&Remote::new(Arc::new(from)), &to, options);
//! let copied = copier.copy(&"v1".parse()?, &"v1".parse()?, Run::default())?;
//! assert_eq!(to.head(&"v1".parse()?)?.map(|there| there.digest), Some(copied.digest));
//! # Ok(())
//! # }
//! ```
//!
//! # Authentication
//!
//! [`credentials::Credentials`] are a name and a password, a token, a closure that
//! is asked at the first 401, or a type that implements [`credentials::Provider`];
//! [`credentials::Files`] reads the logins of Docker and podman, credential helpers
//! included, from files whose paths it is given.
//!
//! ```
//! use dxf_registry::Host;
//! use dxf_registry::credentials::{Credentials, Files, Login};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let docker = Credentials::from_provider(Files::new(["/home/me/.docker/config.json"]));
//! let vault = Credentials::ask(|host: &Host, _| match host.as_str() {
//!     "registry.example" => Ok(Login::Password { username: "me".into(), password: "secret".into() }),
//!     _ => Ok(Login::Anonymous),
//! });
//! # let _ = (docker, vault);
//! # Ok(())
//! # }
//! ```
//!
//! Credentials go to the registry's own scheme, host and port and to the token
//! server it names, nowhere else, and over http only when
//! [`registry::InsecureAuth`] allows it. A [`Secret`] is never printed.
//!
//! # Progress and cancellation
//!
//! Every transfer takes a [`stream::Watch`]: where to report progress, and how to stop
//! it. `Watch::default()` is silent and cannot be stopped.
//!
//! ```
//! use dxf_registry::progress::Progress;
//! use dxf_registry::stream::{Stop, Watch};
//! use dxf_registry::{Blob, Digest, Error, Store, layout::Layouts};
//! use std::sync::atomic::{AtomicU64, Ordering};
//!
//! #[derive(Default)]
//! struct Moved(AtomicU64);
//! impl Progress for Moved {
//!     fn advance(&self, _: &Digest, bytes: u64) {
//!         self.0.fetch_add(bytes, Ordering::Relaxed);
//!     }
//! }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! # let store = Layouts::new(folder.path()).repository(&"a".parse()?);
//! let (moved, stop) = (Moved::default(), Stop::new());
//! let watch = Watch::new(&moved, &stop);
//! store.put_blob(&Blob::bytes("text/plain", b"hello".to_vec()), watch)?;
//! assert_eq!(moved.0.load(Ordering::Relaxed), 5);
//!
//! stop.set(); // from another thread, or where signals are heard
//! let refused = store.put_blob(&Blob::bytes("text/plain", b"other".to_vec()), watch);
//! assert!(matches!(refused, Err(Error::Stopped)));
//! # Ok(())
//! # }
//! ```
//!
//! A `Stop` in [`http::Settings`] ends requests that are waiting for an answer, too;
//! [`http::Observer`] hears of every exchange.
//!
//! # Concurrency
//!
//! What works on several blobs takes a [`stream::Run`]: how many at once, and how
//! it is watched. [`parallel`] serves your own loops: bounded, the first error
//! ends the others, everything is joined before it returns.
//!
//! ```
//! use dxf_registry::{Blob, Store, layout::Layouts, parallel, stream::Run};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! # let store = Layouts::new(folder.path()).repository(&"a".parse()?);
//! let (run, files) = (Run::default(), vec!["one", "two", "three"]);
//! let sizes = parallel::map(run.jobs, files, run.watch.stop, |text, stop| {
//!     let blob = Blob::bytes("text/plain", text.as_bytes().to_vec());
//!     store.put_blob(&blob, run.stopped_by(stop).watch)?;
//!     Ok(blob.size())
//! })?;
//! assert_eq!(sizes, [3, 3, 5]);
//! # Ok(())
//! # }
//! ```
//!
//! # Errors
//!
//! There is one, [`Error`]: a line that says what was tried on what and why it
//! failed, without secrets and fit for a terminal. What a program decides by, it
//! asks the error: [`Error::is_not_found`], [`Error::is_unauthorized`],
//! [`Error::is_corrupt`], [`Error::is_temporary`], [`Error::has_code`]. Readers
//! carry it inside [`std::io::Error`], and [`Error::from_io`] takes it out.
//!
//! ```
//! use dxf_registry::{Digest, ReadStore, layout::Layouts};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! # let store = Layouts::new(folder.path()).repository(&"a".parse()?);
//! let absent = Digest::of(b"never stored");
//! assert_eq!(store.blob_size(&absent)?, None); // to look is not a failure
//! let Err(error) = store.pull_blob(&absent, None) else { unreachable!() };
//! assert!(error.is_not_found());
//! # Ok(())
//! # }
//! ```
//!
//! # Testing your program
//!
//! A program that is written against `&dyn Store` is tested on a folder, which
//! needs no server, refuses what a registry refuses (a manifest whose blobs are
//! missing), and can be inspected with any tool that reads OCI layouts.
//!
//! ```
//! use dxf_registry::{Blob, ReadStore, Result, Store, Tag, alias, layout::Layouts, stream::Run};
//!
//! /// What is to be tested.
//! fn publish(store: &dyn Store, version: &Tag, report: &str) -> Result<()> {
//!     let blob = Blob::bytes("text/plain", report.as_bytes().to_vec());
//!     alias::push(store, version, &[blob], alias::Format::Oci, Run::default()).map(drop)
//! }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let folder = tempfile::tempdir()?;
//! let store = Layouts::new(folder.path()).repository(&"team/reports".parse()?);
//! publish(&store, &"v1".parse()?, "all is well")?;
//! assert_eq!(store.tags().collect::<Result<Vec<_>>>()?, ["v1"]);
//! # Ok(())
//! # }
//! ```
//!
//! # Longer examples
//!
//! An image of a store gets a layer and loses one, as python-docker's README has
//! it; of what stays nothing is read, until an archive asks for it.
//!
//! ```
//! use dxf_registry::archive::{self, Form, Item, Out};
//! use dxf_registry::image::make::{self, Contents, FileOptions, Layer};
//! use dxf_registry::image::{Family, Image, Node};
//! use dxf_registry::layout::Layouts;
//! use dxf_registry::stream::{Run, Stop, Watch};
//! use dxf_registry::graph::{PushTarget, Remote, Select, push};
//! use std::{fs, sync::Arc};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! # let folder = folder.path();
//! # let stop = Stop::new();
//! # let run = Run { jobs: 4, watch: Watch::new(&(), &stop) };
//! let platform = "linux/amd64".parse()?;
//! let store = Arc::new(Layouts::new(folder.join("store")).repository(&"team/app".parse()?));
//! let options = make::LayerOptions { family: Family::Oci, folder, run };
//! # let mut base = Image::scratch(&platform, Family::Oci)?.edit()?;
//! # for name in ["/base", "/old"] {
//! #     let mut contents = Contents::new(FileOptions::default());
//! #     contents.add_file(name, b"x".to_vec(), 0o644)?;
//! #     base = base.append(Layer::from_contents(&contents, options)?);
//! # }
//! # let base = Node::Image(base.finish()?);
//! # push(&base, &PushTarget::new(&*store, &"v1".parse()?), run)?;
//! # fs::create_dir(folder.join("site"))?;
//! # fs::write(folder.join("site/index.html"), "hello")?;
//! // image = registry.pull_image("team/app", "v1", lazy=True)
//! let remote = Remote::new(store.clone());
//! let Node::Image(image) = remote.pull(&"v1".parse()?, Select::Platform(&platform), run)? else {
//!     return Err("an index".into());
//! };
//!
//! // image.add_layer_path("site"), image.add_layer_contents({"/etc/motd": b"hello"})
//! let mut files = Contents::new(FileOptions::default());
//! files.add_path(&folder.join("site"), "/srv/site", &[])?;
//! files.add_file("/etc/motd", b"hello".to_vec(), 0o644)?;
//! let layer = Layer::from_contents(&files, options)?;
//!
//! // image.remove_layer(), image.layers[0].config["Env"].append("LANG=C.UTF-8")
//! let image = image.edit()?.remove_top().append(layer).set_env("LANG", "C.UTF-8").finish()?;
//! assert_eq!(image.layers().len(), 2);
//!
//! // registry.push_image(image), image.write_filename("app.tar")
//! let node = Node::Image(image);
//! let pushed = push(&node, &PushTarget::new(&*store, &"v2".parse()?), run)?;
//! assert_eq!(pushed.existed, 1); // the layer that stayed
//! let item = Item::new(vec!["team/app:v2".parse()?], node);
//! let form = archive::WriteOptions { form: Form::Hybrid, platform: Some(&platform), folder };
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
//! use dxf_registry::image::make::{self, Layer};
//! use dxf_registry::image::{Family, Image, Node, check};
//! use dxf_registry::layout::Layouts;
//! use dxf_registry::stream::{Run, Stop, Watch};
//! use dxf_registry::graph::{PushTarget, Remote, Select, push};
//! use std::sync::Arc;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! # let folder = folder.path();
//! # let stop = Stop::new();
//! # let run = Run { jobs: 4, watch: Watch::new(&(), &stop) };
//! let stores = Layouts::new(folder.join("store"));
//! let (from, to) = (stores.repository(&"team/app".parse()?), stores.repository(&"team/new".parse()?));
//! let options = make::LayerOptions { family: Family::Docker, folder, run };
//! # let tar = |name: &str| -> std::io::Result<()> {
//! #     let mut tar = tar::Builder::new(std::fs::File::create(folder.join(format!("{name}.tar")))?);
//! #     let mut header = tar::Header::new_gnu();
//! #     header.set_size(1);
//! #     header.set_mode(0o644);
//! #     tar.append_data(&mut header, name, &b"x"[..])?;
//! #     tar.finish()
//! # };
//! # (tar("base")?, tar("layer")?);
//! # let base = Layer::from_tar(&folder.join("base.tar"), options)?;
//! # let base = Image::scratch(&"linux/amd64".parse()?, Family::Docker)?.edit()?.append(base).finish()?;
//! # push(&Node::Image(base), &PushTarget::new(&from, &"v1".parse()?), run)?;
//! // ImageRef.from_image("team/app", "v1", "team/new", "v2").add_layer(LayerRef("layer.tar"))
//! let node = Remote::new(Arc::new(from)).pull(&"v1".parse()?, Select::All, run)?;
//! let Node::Image(image) = node else { return Err("an index".into()) };
//! let layer = Layer::from_tar(&folder.join("layer.tar"), options)?; // plain, gzip or zstd
//! let image = image.edit()?.append(layer).history("COPY layer.tar").finish()?;
//! check(&image, run)?; // every digest and diff id
//!
//! // image_ref.save("saved.tar")
//! let saved = folder.join("saved.tar");
//! let item = Item::new(vec!["team/new:v2".parse()?], Node::Image(image));
//! let form = archive::WriteOptions { form: Form::Hybrid, platform: None, folder };
//! archive::write(std::slice::from_ref(&item), Out::File(&saved), &form, run)?;
//!
//! // ImageRef.from_tarball(workplace, "saved.tar", "team/new", "v2").push()
//! let items = archive::open(&saved, folder, run)?.into_items();
//! assert_eq!(items[0].node.manifest().digest(), item.node.manifest().digest());
//! push(&items[0].node, &PushTarget::new(&to, &"v2".parse()?), run)?;
//! # Ok(())
//! # }
//! ```
//!
//! # Modules
//!
//! | modules | contents |
//! |---|---|
//! | [`digest`], [`descriptor`], [`mod@reference`], [`manifest`], [`jws`], [`secret`], [`error`] | basic values |
//! | [`blob`], [`store`], [`stream`], [`progress`], [`fetch`], [`mod@file`], [`parallel`] | bytes: reopened, watched, fetched into files |
//! | [`cache`] | layers that were downloaded once |
//! | [`http`], [`credentials`] | HTTP and authentication |
//! | [`registry`], [`layout`], [`store::Memory`] | the kinds of [`Store`] |
//! | [`alias`] | names for lists of blobs |
//! | [`artifact`] | a file kept as several blobs |
//! | [`image`] | images, their configs and layers, checks, and edits |
//! | [`archive`] | images in a file: docker-archive and OCI layout |
//! | [`inventory`] | what the tags of a repository name, how large and how old it is |
//! | [`graph`], [`nondistributable`] | images out of a store and into one, and layers that are kept elsewhere |
//! | [`keeping`] | deleting old tags, freeing what nothing reaches, mirrors |
//! | [`bounds`] | how much is read of servers and files at most |
//! | [`hub`], [`json`], [`text`] | for tools: Docker Hub's names, Python's JSON, text fit for a terminal |
//!
//! The library prints nothing and reads no environment variables (but for the
//! platform's own certificate lookup); paths, proxies and logins are given to it.
//!
//! # Coming from python-dxf's module
//!
//! Each row names its test in `tests/it/python_module.rs`.
//!
//! | the module | here | test |
//! |---|---|---|
//! | `DXFBase(host)`, `DXF(host, repo)`, `insecure`, `tlsverify` | `Registry::connect(host, settings, credentials)`, `.repository(name)`; `Settings::with_scheme`, `Tls::with_roots` | `a_client_is_made_from_a_host` |
//! | `auth=` a function, called at a 401 | `Credentials::ask(closure)`, asked again after a refusal | `an_auth_callback_is_asked_at_a_401_and_not_before` |
//! | … that raises | … that gives an `Error`, which ends the request | `an_auth_callback_may_fail_the_request` |
//! | `authenticate(username, password, actions)` | `Registry::authenticate(repo, actions)`; the login is in the `Credentials` | `a_token_is_granted_for_actions_or_refused` |
//! | `token`, got and set | `Repository::token`, `Registry::set_token`, `Credentials::with_token` | `a_token_is_asked_for_read_and_given_back` |
//! | `auth_host=` | `Settings::with_auth_host` | `an_auth_host_replaces_the_token_servers` |
//! | `DXFAuthInsecureError` | `Error::InsecureAuth`, unless `Settings::with_insecure_auth` allows it | `credentials_stay_at_home_over_http` |
//! | `timeout=` | `http::Settings::with_idle_timeout`, `with_connect_timeout` | `silence_ends_a_request` |
//! | `with DXFBase(…)`, `DXF.from_base(base, repo)` | every `Repository` of a `Registry` and its clones share connections and tokens | `many_repositories_share_one_connection_and_tokens` |
//! | `push_blob(filename)`, `push_blob(data=…, digest=…)` with bytes or an iterator | `put_blob` of `Blob::file`, `Blob::bytes`, `Blob::spooled`: a reader of any length, in a file without a name, its digest learnt on the way | `blobs_come_from_files_bytes_and_readers` |
//! | `push_blob(…, check_exists=False)` | `send_blob` | `looking_first_is_optional` |
//! | `progress=` | `Progress` in a `Watch`, for pulls too; `Stop` ends a transfer | `progress_is_heard_both_ways_and_can_end_a_transfer` |
//! | `pull_blob(digest, size=True)` | `pull_blob`: a reader and the size; wrong bytes are an error of the reader, not an end | `a_pull_is_a_reader_that_knows_its_size_and_checks_itself` |
//! | `blob_size`, `mount_blob`, `del_blob` | `blob_size`, `mount_blob`, `delete_blob`; a missing blob has no size (`None`) | `blobs_are_sized_mounted_and_deleted` |
//! | `set_alias(alias, *digests)`, `get_alias(alias, sizes=True)` | `alias::set`, `alias::blobs` | `aliases_are_set_and_read_with_their_sizes` |
//! | `get_alias(…, platform=…)` | `alias::resolve`: one, or each by platform | `aliases_of_platforms_give_one_or_all` |
//! | `make_manifest`, `set_manifest` | `Manifest::alias`, `put_manifest`: any manifest, its bytes kept | `manifests_are_made_put_and_got_byte_for_byte` |
//! | `get_manifest`, `get_manifest_and_response`, `head_manifest_and_response` | `manifest`: bytes, type and digest, of an index too; `head` | `manifests_are_made_put_and_got_byte_for_byte` |
//! | `get_digest` | `alias::config`, and `Manifest::digest` for the manifest's own | `digests_are_of_the_config_or_of_the_manifest` |
//! | `del_alias` | `alias::delete`, `alias::delete_only` | `an_alias_is_deleted_and_says_what_it_was` |
//! | `api_version_check()` | `Registry::api_version` with the login, `Registry::ping` without | `the_api_version_is_asked_for` |
//! | `list_aliases()`, `list_repos()` | `tags`, `Registry::repos` | `tags_and_repositories_are_listed` |
//! | `list_aliases(batch_size=100, iterate=True)`, `list_repos(…)` | `tags_paged`, `repos_paged`; every list is lazy | `lists_come_lazily_in_pages_of_the_size_asked_for` |
//! | `hash_bytes`, `hash_file`, `split_digest` | `Digest::of`, `blob::measure`, `Digest::algorithm` and `hex` | `bytes_and_files_are_hashed` |
//! | `DXFUnauthorizedError`, `DXFUnexpectedStatusCodeError`, `DXFUnexpectedDigestMethodError`, `DXFUnsupportedSchemaType` | `Error::is_unauthorized`, `Error::Status`, `Error::Invalid`, `Error::Unsupported` | `exceptions_are_kinds_of_one_error` |
//! | `DXFMountFailed` | `Error::NotMounted`; a mount that is merely refused becomes a copy | `blobs_are_sized_mounted_and_deleted` |
//! | `DXFDigestMismatchError` | `Error::Mismatch`, `Error::Size` | `a_pull_is_a_reader_that_knows_its_size_and_checks_itself` |
//! | `DXFPlatformDataNotFound` | `Error::NoPlatform` | `aliases_of_platforms_give_one_or_all` |
//!
//! # Coming from moby-distribution
//!
//! Each row names its test in `tests/it/moby.rs` or `tests/it/schema1.rs`.
//!
//! | moby-distribution | here | test |
//! |---|---|---|
//! | `DockerRegistryV2Client.from_api_endpoint(endpoint, username, password)` | `Registry::connect(host, settings, credentials)` | `a_client_is_made_with_a_login` |
//! | `APIEndpoint.is_secure_repository`, and the detection it is for | `Registry::detect`, `Registry::scheme`: a certificate that is not trusted is an error, and http is for this machine | `an_endpoint_is_detected` |
//! | `ping` | `Registry::ping`, without a login; `Registry::api_version` with one | `a_ping_needs_no_login` |
//! | `Blob(local_path=…)`, `Blob(fileobj=…)`, to upload | `put_blob` of `Blob::file`, `Blob::spooled`; existing blobs are not sent | `blobs_go_up_from_paths_and_readers` |
//! | `Blob.upload()`, `Blob.upload_at_one_time()` | `Repository::with_upload`: `UploadMode::Chunked`, `Monolithic`, or what the registry takes | `an_upload_is_streamed_or_sent_at_one_time` |
//! | `Blob.download()` to a path or a fileobj | `fetch::into_file`, `fetch::write`, `pull_blob`; digests are checked | `blobs_come_down_to_paths_and_writers` |
//! | `Blob.stat()`, `Blob.delete()` | `blob_size`, `delete_blob` | `blobs_are_statted_and_deleted` |
//! | `Blob.mount_from(repo)` | `mount_blob`; one that is refused becomes a copy, without a file or a session left over | `a_mount_falls_back_to_a_copy` |
//! | `ManifestRef.get(media_type)` | `Repository::manifest_as(&[media_type], target)`; `manifest` takes what there is, lists and indexes too | `manifests_are_got_by_media_type` |
//! | `ManifestRef.get_metadata()` | `head`: `None` if not found | `a_manifest_has_metadata_or_is_absent` |
//! | `ManifestRef.put(manifest)` | `put_manifest`, byte for byte | `manifests_are_put_byte_for_byte` |
//! | `ManifestRef.delete()`, `delete(raise_not_found=False)` | `delete_manifest`, `error::if_found(store.delete_manifest(…))` | `a_manifest_is_deleted_and_may_be_gone_already` |
//! | `put` of a schema 1 manifest, signed anew | with the feature `schema1-signing`: `graph::put_signed` makes one of an image; `Manifest::signed` | `a_signed_image_goes_in_comes_back_and_runs` |
//! | `get` of one, unverified | `Manifest::signers` verifies; images whose signatures are wrong are refused | `a_tampered_manifest_is_refused_here_and_there` |
//! | `MOBY_DISTRIBUTION_PRIVATE_KEY`, or a fresh one | `jws::SigningKey::from_pem`, EC P-256 without a password; `SigningKey::generate` | `keys_of_openssl_sign` |
//! | `Tags.list()`, `Tags.get(tag)` | `tags`, all pages; `head` | `tags_are_listed_and_looked_up` |
//! | `Tags.untag(tag)` | `untag`; a registry that can't is an error, and keeps the manifest | `untagging_takes_the_tag_and_nothing_else` |
//! | `ImageRef.from_image(…)`, `push` | `graph::Remote::pull`, `graph::push`: layers are mounted | `images_are_copied_and_mounted` |
//! | `ImageRef.from_tarball(…)`, `save(dest)`, `image_json` | `archive::open`, `archive::write`, `Image::config` | `images_come_from_tarballs_and_are_saved` |
//! | `add_layer` of a plain tar, called gzip | layers are called what they are, or compressed first | `layers_are_called_what_they_are` |
//! | a warning with the `Authorization` header in it | `http::Observer` hears of no header at all | `refusals_tell_no_credentials` |
//! | `sha256` alone | `sha512` too | `digests_may_be_sha512` |
//!
//! # Compatibility
//!
//! Versions follow semver; before 1.0 it is the second number that a breaking
//! change raises, and so does a newer oldest Rust (now 1.95). What may grow is
//! `#[non_exhaustive]`: [`Error`] and its kinds, settings, and what operations
//! tell. [`ReadStore`] and [`Store`] are open for stores of your own: methods are added to
//! them with a default only. Data that one version wrote, every later one reads.

pub mod alias;
pub mod archive;
pub mod artifact;
pub(crate) mod auth;
pub mod blob;
pub mod bounds;
pub mod bundle;
pub mod cache;
pub mod credentials;
pub mod descriptor;
pub mod digest;
pub mod error;
pub mod fetch;
pub mod file;
pub mod files;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
pub mod graph;
pub mod http;
pub mod hub;
pub mod image;
pub mod inventory;
pub mod json;
pub mod jws;
pub mod keeping;
pub mod layout;
pub mod manifest;
pub mod nondistributable;
pub mod parallel;
pub mod place;
pub mod platform;
pub mod progress;
pub mod reference;
pub mod registry;
pub mod secret;
pub mod store;
pub mod stream;
pub mod tar;
pub mod text;

pub use blob::Blob;
pub use descriptor::Descriptor;
pub use digest::Digest;
pub use error::{Error, Result};
pub use manifest::Manifest;
pub use place::{Place, Root};
pub use platform::Platform;
pub use reference::{Host, Reference, RepoName, Tag, Target};
pub use registry::{Registry, Repository};
pub use secret::Secret;
pub use store::{ReadStore, Store};
