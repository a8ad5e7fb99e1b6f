//! Somewhere to keep blobs, with a folder of files beside it: one of the three
//! registries of [`super::bench`], or a folder on disk with no server at all.

use std::cell::Cell;
use std::path::{Path, PathBuf};

use dxf_registry::layout::{Layout, Layouts};
use dxf_registry::stream::{Stop, Watch};
use dxf_registry::{Blob, Manifest, ReadStore, Store};
use tempfile::TempDir;

use super::bench::{Bench, Mode};
use super::data::digest;
use super::dxf::Dxf;

/// A place that commands work on.
pub struct Place {
    pub bench: Option<Bench>,
    work: TempDir,
    store: TempDir,
    files: Cell<u32>,
}

impl Place {
    /// A registry.
    pub fn registry(mode: Mode) -> Place {
        Place::new(Some(Bench::new(mode)))
    }

    /// A folder.
    pub fn folder() -> Place {
        Place::new(None)
    }

    fn new(bench: Option<Bench>) -> Place {
        Place {
            bench,
            work: super::scratch(),
            store: super::scratch(),
            files: Cell::new(0),
        }
    }

    /// Our command, told where the place is; it runs in the folder of files.
    pub fn dxf(&self) -> Dxf {
        let dxf = match &self.bench {
            Some(bench) => bench.dxf(),
            None => Dxf::new().env("DXF_HOST", format!("oci:{}", self.store.path().display())),
        };
        dxf.current_dir(self.work.path())
    }

    /// The same with these words.
    pub fn run<S: AsRef<std::ffi::OsStr>>(&self, words: impl IntoIterator<Item = S>) -> Dxf {
        self.dxf().args(words)
    }

    /// stdout of a command that succeeds and has nothing to say on stderr.
    pub fn says<S: AsRef<std::ffi::OsStr>>(&self, words: impl IntoIterator<Item = S>) -> String {
        let output = self.run(words).ok();
        assert_eq!(output.stderr, "", "{output}");
        output.text().to_string()
    }

    /// Writes a file; its name in the folder that commands run in.
    pub fn file(&self, bytes: &[u8]) -> String {
        let name = format!("file{}", self.files.replace(self.files.get() + 1));
        std::fs::write(self.work.path().join(&name), bytes).expect("a file");
        name
    }

    /// The folder that commands run in.
    pub fn work(&self) -> &Path {
        self.work.path()
    }

    /// The names in that folder, sorted, those of hidden files too.
    pub fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.work.path()).expect("a folder");
        let mut names: Vec<String> = entries
            .map(|entry| {
                entry
                    .expect("an entry")
                    .file_name()
                    .into_string()
                    .expect("a name")
            })
            .collect();
        names.sort();
        names
    }

    /// Where a blob lies on disk.
    pub fn blob_file(&self, repo: &str, digest: &str) -> PathBuf {
        match &self.bench {
            Some(bench) => bench.registry.blob_file(digest),
            None => {
                let store = self.store.path().join(repo).join("blobs");
                store.join(digest.replace(':', "/"))
            }
        }
    }

    /// Puts a blob there without the command under test; its digest.
    pub fn put(&self, repo: &str, bytes: &[u8]) -> String {
        match &self.bench {
            Some(bench) => drop(bench.raw().push_blob(repo, bytes)),
            None => {
                let blob = Blob::bytes("application/octet-stream", bytes.to_vec());
                let stop = Stop::new();
                let watch = Watch::new(&(), &stop);
                self.layout(repo).put_blob(&blob, watch).expect("a blob");
            }
        }
        digest(bytes)
    }

    /// Puts a manifest under a tag or its digest; its digest.
    pub fn put_manifest(&self, repo: &str, name: &str, kind: &str, bytes: &[u8]) -> String {
        match &self.bench {
            Some(bench) => drop(bench.raw().put_manifest(repo, name, kind, bytes)),
            None => {
                let manifest = Manifest::new(Some(kind), bytes.to_vec()).expect("a manifest");
                let target = name.parse().expect("a target");
                self.layout(repo)
                    .put_manifest(&manifest, &target)
                    .expect("putting it");
            }
        }
        digest(bytes)
    }

    /// The bytes of a manifest, where it is there.
    pub fn manifest(&self, repo: &str, name: &str) -> Option<Vec<u8>> {
        match &self.bench {
            Some(bench) => {
                let answer = bench.raw().manifest(repo, name);
                (answer.status != 404).then(|| answer.expect(200).body)
            }
            None => {
                let found = self.layout(repo).manifest(&name.parse().expect("a target"));
                found.ok().map(|manifest| manifest.bytes().to_vec())
            }
        }
    }

    pub fn has_blob(&self, repo: &str, digest: &str) -> bool {
        match &self.bench {
            Some(bench) => bench.raw().has_blob(repo, digest),
            None => self.blob_file(repo, digest).exists(),
        }
    }

    /// The tags, sorted.
    pub fn tags(&self, repo: &str) -> Vec<String> {
        let mut tags = match &self.bench {
            Some(bench) => bench.raw().tags(repo),
            None => {
                let layout = self.layout(repo);
                let tags: Result<Vec<_>, _> = layout.tag_names().collect();
                tags.unwrap_or_default()
            }
        };
        tags.sort();
        tags
    }

    /// Fails unless these are the requests since this was last called (or
    /// [`Place::forget`]), in any order, as [`Bench::requests`] counts them.
    /// A folder is asked nothing.
    pub fn asked<S: Into<String>>(&self, lines: impl IntoIterator<Item = S>) {
        let mut expected: Vec<String> = lines.into_iter().map(Into::into).collect();
        let Some(bench) = &self.bench else { return };
        let mut seen = bench.request_lines();
        seen.sort();
        expected.sort();
        assert_eq!(seen, expected);
    }

    /// The requests so far are not checked.
    pub fn forget(&self) {
        if let Some(bench) = &self.bench {
            bench.requests();
        }
    }

    /// Upload sessions that were left open.
    pub fn open_uploads(&self, repo: &str) -> usize {
        let bench = self.bench.as_ref();
        bench.map_or(0, |bench| bench.registry.open_uploads(repo))
    }

    fn layout(&self, repo: &str) -> Layout {
        Layouts::new(self.store.path()).repository(&repo.parse().expect("a repository"))
    }
}

/// Makes four tests of one body: on a folder, and against each registry.
macro_rules! each_place {
    ($(#[$attribute:meta])* $name:ident, |$at:ident| $body:block) => {
        mod $name {
            #[allow(unused_imports)]
            use super::*;
            fn body($at: &$crate::support::place::Place) $body

            $(#[$attribute])*
            #[test]
            fn folder() {
                body(&$crate::support::place::Place::folder());
            }

            $(#[$attribute])*
            #[test]
            fn http() {
                body(&$crate::support::place::Place::registry($crate::support::bench::Mode::Http));
            }

            $(#[$attribute])*
            #[test]
            fn tls_basic() {
                body(&$crate::support::place::Place::registry($crate::support::bench::Mode::Basic));
            }

            $(#[$attribute])*
            #[test]
            fn tls_token() {
                body(&$crate::support::place::Place::registry($crate::support::bench::Mode::Token));
            }
        }
    };
}

pub(crate) use each_place;
