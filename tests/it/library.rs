//! The library as a stranger meets it: a crate of their own that depends on it
//! and on nothing of the command line, which reads only its arguments.

use std::collections::{BTreeMap, HashMap};
use std::io::{Cursor, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

use dxf_registry::archive::Item;
use dxf_registry::cache::Cache;
use dxf_registry::credentials::{Credentials, Files};
use dxf_registry::graph::{Copier, CopyOptions, Referrers, Remote};
use dxf_registry::image::{Image, Node};
use dxf_registry::layout::{Layout, Layouts};
use dxf_registry::nondistributable::HttpFetcher;
use dxf_registry::progress::Progress;
use dxf_registry::registry::{Scheme, Settings};
use dxf_registry::store::{Content, Memory, Put, Tags, receive};
use dxf_registry::stream::{Run, Stop, Watch};
use dxf_registry::{Blob, Digest, Error, Manifest, ReadStore, Registry, Repository, Result};
use dxf_registry::{Secret, Store, Tag, Target, alias};

use crate::layers::{code, collect};
use crate::support::bench::{Bench, Mode};
use crate::support::scratch;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// A program that stores and fetches a blob; README promises that it is short.
const PROGRAM: &str = r#"use dxf_registry::{Blob, ReadStore, Registry, Store, credentials::Credentials};
use dxf_registry::{registry::Scheme, registry::Settings, stream::Watch};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let host = std::env::args().nth(1).ok_or("which host?")?.parse()?;
    let settings = Settings::default().with_scheme(Scheme::Http);
    let registry = Registry::connect(host, settings, Credentials::anonymous())?;
    let store = registry.repository("team/data".parse()?);
    let blob = Blob::bytes("text/plain", b"hello".to_vec());
    store.put_blob(&blob, Watch::default())?;
    let mut pulled = store.pull_blob(blob.digest(), None)?;
    std::io::copy(&mut pulled.reader, &mut std::io::stdout())?;
    Ok(())
}
"#;

/// This project's own way to build what it depends on, so that nearly all of
/// that has been built already.
const PROFILE: &str = r#"[profile.dev.package."*"]
opt-level = 2

[profile.dev.package.dxf-registry]
opt-level = 0
"#;

/// A crate that depends on this one as a library.
fn stranger(folder: &Path) {
    let manifest = format!(
        "[package]\nname = \"stranger\"\nversion = \"0.1.0\"\nedition = \"2024\"\n\n\
         [dependencies]\ndxf-registry = {{ path = {ROOT:?}, default-features = false }}\n\n\
         [workspace]\n\n{PROFILE}"
    );
    std::fs::create_dir(folder.join("src")).unwrap();
    std::fs::write(folder.join("Cargo.toml"), manifest).unwrap();
    std::fs::write(folder.join("src/main.rs"), PROGRAM).unwrap();
    // The versions that are here, so that nothing has to be fetched.
    let lock = Path::new(ROOT).join("Cargo.lock");
    std::fs::copy(lock, folder.join("Cargo.lock")).unwrap();
}

fn cargo(folder: &Path, words: &[&str]) -> Output {
    // Below it is `debug`, and in that the binary.
    let target = Path::new(env!("CARGO_BIN_EXE_dxf")).ancestors().nth(2);
    let mut cargo = Command::new(env!("CARGO"));
    // What cargo tells tests is not for another cargo: ring's build script
    // looks at it, and all would be built anew, here and in the next run.
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("CARGO") && name != "CARGO_HOME" {
            cargo.env_remove(name);
        }
    }
    cargo
        .args(words)
        .current_dir(folder)
        .env("CARGO_TARGET_DIR", target.unwrap())
        .output()
        .unwrap()
}

fn said(output: Output) -> String {
    let text = String::from_utf8(output.stdout).unwrap();
    let trouble = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{text}{trouble}");
    text
}

#[test]
fn a_stranger_stores_and_fetches_a_blob_without_the_command_lines_crates() {
    assert!(PROGRAM.lines().count() < 15);
    let folder = scratch();
    stranger(folder.path());
    let tree = [
        "tree",
        "--offline",
        "--edges",
        "normal,build",
        "--prefix",
        "none",
    ];
    let tree = said(cargo(folder.path(), &tree));
    let names: Vec<&str> = tree
        .lines()
        .filter_map(|line| line.split(' ').next())
        .collect();
    assert!(
        names.contains(&"dxf-registry") && names.contains(&"ureq"),
        "{tree}"
    );
    for name in [
        "clap",
        "clap_complete",
        "clap_mangen",
        "console",
        "indicatif",
        "signal-hook",
    ] {
        assert!(!names.contains(&name), "{tree}");
    }
    let bench = Bench::new(Mode::Http);
    let host = bench.host();
    let run = ["run", "--quiet", "--offline", "--", &host];
    assert_eq!(said(cargo(folder.path(), &run)), "hello");
    let requests = bench.requests();
    assert_eq!(requests.len(), 4, "{requests:#?}");
}

/// Files of the library, with what they do outside tests.
fn library() -> Vec<(PathBuf, String)> {
    let src = Path::new(ROOT).join("src");
    let mut files = Vec::new();
    collect(&src, &mut files);
    files.retain(|path| {
        let inside = path.strip_prefix(&src).unwrap();
        let first = inside.iter().next().unwrap();
        // Tests that have a file of their own, and the binary.
        let tests = ["tests.rs", "testing.rs"]
            .iter()
            .any(|name| inside.ends_with(name));
        let is_test = tests || first == "fuzz";
        first != "cli" && first != "main.rs" && !is_test
    });
    assert!(files.len() > 60, "{files:?}");
    let read = |path: PathBuf| {
        let text = std::fs::read_to_string(&path).unwrap();
        (path, code(&text))
    };
    files.into_iter().map(read).collect()
}

#[test]
fn the_library_prints_nothing_and_asks_no_environment() {
    const NEVER: [&str; 12] = [
        "println!",
        "eprintln!",
        "print!(",
        "eprint!(",
        "dbg!",
        "std::env",
        "env::",
        "temp_dir",
        "io::stdout",
        "io::stderr",
        "io::stdin",
        "process::exit",
    ];
    for (path, text) in library() {
        // What the program was built for, not what it runs in.
        let text = text.replace("std::env::consts", "");
        for word in NEVER {
            assert!(!text.contains(word), "{}: {word}", path.display());
        }
    }
}

#[test]
fn no_panic_is_asked_for() {
    // Errors are values here, also those that can't happen.
    const NEVER: [&str; 6] = [
        ".unwrap()",
        ".expect(",
        "panic!(",
        "unreachable!",
        "todo!",
        "unimplemented!",
    ];
    for (path, text) in library() {
        for word in NEVER {
            assert!(!text.contains(word), "{}: {word}", path.display());
        }
    }
}

/// Answers one request a connection with 404, and hands the connections over.
fn answered(listener: &TcpListener, count: usize) -> Vec<TcpStream> {
    let answer = |mut stream: TcpStream| {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            head.push(byte[0]);
        }
        let text = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n";
        stream.write_all(text).unwrap();
        stream
    };
    let streams = listener.incoming().take(count);
    streams.map(|stream| answer(stream.unwrap())).collect()
}

#[test]
fn a_registry_that_is_gone_leaves_no_connection_in_the_stop() {
    const COUNT: usize = 20;
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let host = listener.local_addr().unwrap().to_string();
    let server = std::thread::spawn(move || answered(&listener, COUNT));
    let stop = Stop::new();
    for _ in 0..COUNT {
        let mut settings = Settings::default().with_scheme(Scheme::Http);
        settings.http = settings.http.with_stop(stop.clone());
        let host = host.parse().unwrap();
        let registry = Registry::connect(host, settings, Credentials::anonymous()).unwrap();
        let store = registry.repository("a".parse().unwrap());
        let size = store.blob_size(&Digest::of(b"x"));
        assert_eq!(size.unwrap(), None);
    }
    for mut stream in server.join().unwrap() {
        let patience = std::time::Duration::from_secs(10);
        stream.set_read_timeout(Some(patience)).unwrap();
        assert_eq!(stream.read(&mut [0]).unwrap(), 0, "it is still open");
    }
    assert!(!stop.is_set());
}

#[test]
fn handles_are_cheap_to_share() {
    fn shared<T: Send + Sync + 'static>() {}
    fn cloned<T: Clone + Send + Sync + 'static>() {}
    cloned::<Registry>();
    cloned::<Repository>();
    cloned::<Layouts>();
    cloned::<Layout>();
    cloned::<Remote>();
    cloned::<Cache>();
    cloned::<Blob>();
    cloned::<Manifest>();
    cloned::<Image>();
    cloned::<Node>();
    cloned::<Stop>();
    cloned::<Watch<'static>>();
    cloned::<Run<'static>>();
    cloned::<Settings>();
    cloned::<Credentials>();
    cloned::<Secret>();
    shared::<Box<dyn Store>>();
    shared::<Memory>();
    shared::<Files>();
    shared::<HttpFetcher>();
    shared::<Item>();
    shared::<Error>();
    assert!(size_of::<Registry>() <= size_of::<usize>());
}

/// A store of a stranger's: six methods over two maps.
#[derive(Default)]
struct Shelf {
    blobs: Mutex<HashMap<Digest, Vec<u8>>>,
    manifests: Mutex<BTreeMap<String, Manifest>>,
}

fn missing<T>(found: Option<T>, what: &impl ToString) -> Result<T> {
    found.ok_or_else(|| Error::NotFound {
        what: what.to_string(),
    })
}

impl ReadStore for Shelf {
    fn name(&self) -> String {
        "shelf".into()
    }

    fn open_blob(&self, digest: &Digest, from: u64) -> Result<Content<'_>> {
        let bytes = missing(self.blobs.lock().unwrap().get(digest).cloned(), digest)?;
        let size = Some(bytes.len() as u64);
        let mut reader = Cursor::new(bytes);
        reader.set_position(from);
        Ok(Content {
            size,
            reader: Box::new(reader),
        })
    }

    fn manifest(&self, target: &Target) -> Result<Manifest> {
        let manifests = self.manifests.lock().unwrap();
        missing(manifests.get(&target.to_string()).cloned(), target)
    }

    fn tags(&self) -> Tags<'_> {
        let names: Vec<String> = self.manifests.lock().unwrap().keys().cloned().collect();
        let tags = names.into_iter().filter(|name| !name.contains(':'));
        Box::new(tags.map(|name| name.parse()))
    }
}

impl Store for Shelf {
    fn put_blob(&self, blob: &Blob, watch: Watch<'_>) -> Result<Put> {
        let mut bytes = Vec::new();
        receive(blob, watch, |reader| {
            reader.read_to_end(&mut bytes).map(drop)
        })?;
        self.blobs.lock().unwrap().insert(*blob.digest(), bytes);
        Ok(Put::Uploaded)
    }

    fn put_manifest(&self, manifest: &Manifest, target: &Target) -> Result<()> {
        let mut manifests = self.manifests.lock().unwrap();
        manifests.insert(manifest.digest().to_string(), manifest.clone());
        manifests.insert(target.to_string(), manifest.clone());
        Ok(())
    }
}

/// Counts the bytes of blobs, and those that were finished.
#[derive(Default)]
struct Counted(AtomicU64, AtomicU64);

impl Progress for Counted {
    fn advance(&self, _: &Digest, bytes: u64) {
        self.0.fetch_add(bytes, Relaxed);
    }
    fn finish(&self, _: &Digest) {
        self.1.fetch_add(1, Relaxed);
    }
}

#[test]
fn six_methods_make_a_store() {
    let scratch = scratch();
    let (shelf, stop) = (Arc::new(Shelf::default()), Stop::new());
    let (pushed, copied) = (Counted::default(), Counted::default());
    let blobs = ["one", "three"].map(|text| Blob::bytes("text/plain", text.into()));
    let run = Run::new(2, Watch::new(&pushed, &stop));
    let tag = "v1".parse().unwrap();
    let put = alias::push(&shelf, &tag, &blobs, alias::Format::Docker, run).unwrap();
    assert_eq!((pushed.0.load(Relaxed), pushed.1.load(Relaxed)), (8, 2));
    let tags: Vec<Tag> = shelf.tags().map(Result::unwrap).collect();
    assert_eq!(tags, ["v1"]);
    assert_eq!(shelf.blob_size(blobs[1].digest()).unwrap(), Some(5));

    let folder = Layout::at(scratch.path());
    let options = CopyOptions::default().with_referrers(Referrers::Copy);
    let target = Target::Tag(tag);
    let run = Run::new(2, Watch::new(&copied, &stop));
    let copier = Copier::new(&Remote::new(shelf.clone()), &folder, options);
    let done = copier.copy(&target, &target, run).unwrap();
    assert_eq!((done.digest, done.summary.uploaded), (put.digest(), 2));
    assert_eq!((copied.0.load(Relaxed), copied.1.load(Relaxed)), (8, 2));
    assert_eq!(folder.manifest(&target).unwrap().bytes(), put.bytes());
    let refused = shelf.delete_blob(blobs[0].digest()).unwrap_err();
    assert!(refused.is_not_allowed(), "{refused}");
}
