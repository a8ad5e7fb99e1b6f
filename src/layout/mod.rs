//! A folder on disk as a store: OCI image layouts (image-spec,
//! image-layout.md), one a repository, readable by skopeo, oras and crane.
//!
//! Blobs are verified before they get their names, `index.json` is changed
//! under a lock and replaced by a rename, so several processes can write to a
//! repository at once and none of them loses anything, killed or not. Besides
//! what the specification asks for, a layout that was written to has a folder
//! `.dxf` with the lock and the temporary files; those a killed process left
//! are removed by the next change.
//! Knows nothing of registries.

mod blobs;
mod commit;
mod files;
pub(crate) mod index;
mod lock;
pub(crate) mod read;
mod referrers;
mod store;
pub(crate) mod sweep;
#[cfg(test)]
mod tests;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::Value;

use crate::bounds;
use crate::descriptor::Descriptor;
use crate::digest::{Digest, Hasher};
use crate::error::{Error, Result};
use crate::file::{self, SharedSync, Stamp};
use crate::manifest::{Kind, Manifest};
use crate::reference::{RepoName, Target};
use crate::store::{Expected, Names, ReadStore, needs};
use crate::stream::{Stop, read_bounded};

use blobs::Blobs;
use commit::Commits;
use index::Index;
use lock::{Held, Patience};
use read::{Bytes, Files};
use referrers::{Change, Writing};

/// The file that makes a folder a layout.
const MARKER: &str = "oci-layout";
const MARKER_TEXT: &[u8] = br#"{"imageLayoutVersion":"1.0.0"}"#;
/// The marker is thirty bytes; this leaves room for members to come.
const MARKER_MAX: u64 = bounds::LAYOUT_MARKER;
const INDEX: &str = "index.json";
/// The largest `index.json` that is read or written: some fifty thousand tags.
const INDEX_MAX: u64 = bounds::INDEX_JSON;
/// Names a layout uses itself, so that no repository below it can have them.
/// No repository can be called that: names begin with a letter or digit.
const SCRATCH: &str = ".dxf";
const RESERVED: [&str; 3] = ["blobs", INDEX, MARKER];

/// A folder of repositories, each an OCI image layout at its own path.
///
/// ```
/// use dxf_registry::layout::Layouts;
/// use dxf_registry::stream::{Stop, Watch};
/// use dxf_registry::{Blob, ReadStore, Store};
///
/// let dir = tempfile::tempdir()?;
/// let repo = Layouts::new(dir.path()).repository(&"team/data".parse()?);
/// let blob = Blob::bytes("application/octet-stream", b"abc".to_vec());
/// repo.put_blob(&blob, Watch::new(&(), &Stop::new()))?;
/// assert_eq!(repo.blob_size(blob.digest())?, Some(3));
/// # Ok::<(), dxf_registry::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Layouts {
    dir: PathBuf,
    patience: Patience,
}

/// One repository in a folder: an OCI image layout.
///
/// Made by the first write to it; reading what was never written to says that
/// the repository is not found.
#[derive(Debug, Clone)]
pub struct Layout {
    dir: PathBuf,
    /// The repository's name and the folder it counts from.
    within: Option<(RepoName, Layouts)>,
    /// Of the folders of blobs.
    synced: SharedSync,
    /// Clones share what they read.
    last: Arc<Mutex<Last>>,
    commits: Commits,
    patience: Patience,
}

/// What was read last, so that it is read again only after it changed.
#[derive(Debug, Default)]
struct Last {
    /// The marker, found to be of a known version.
    marker: Option<Read<()>>,
    index: Option<Read<Arc<Index>>>,
}

#[derive(Debug)]
struct Read<T> {
    found: T,
    stamp: Stamp,
    /// While the file is open no other can have its inode.
    _file: File,
}

impl<T> Read<T> {
    /// `found` is what `file` at `path` contains.
    fn new(path: &Path, file: File, found: T) -> Result<Read<T>> {
        let stamp = Stamp::of(&file.metadata().map_err(files::failed(path))?);
        let _file = file;
        Ok(Read {
            found,
            stamp,
            _file,
        })
    }

    /// Whether the file at `path` is the one that was read, as it was then.
    fn is_at(&self, path: &Path) -> Result<bool> {
        let meta = files::look(path)?.filter(|meta| meta.is_file());
        Ok(meta.is_some_and(|meta| Stamp::of(&meta) == self.stamp))
    }
}

impl Layouts {
    /// The repositories below `dir`, which need not exist yet.
    pub fn new(dir: impl Into<PathBuf>) -> Layouts {
        Layouts {
            dir: dir.into(),
            patience: Patience::default(),
        }
    }

    /// The same, whose repositories stop waiting for other writers when `stop`
    /// is set, and tell `notice` after two seconds that they wait.
    pub fn with_notice(self, stop: Stop, notice: impl Fn(&str) + Send + Sync + 'static) -> Layouts {
        let patience = Patience::new(stop, Arc::new(notice));
        Layouts { patience, ..self }
    }

    /// One of the repositories. Its operations fail with [`Error::Invalid`]
    /// when a part of `name` is `blobs`, `index.json` or `oci-layout`: those
    /// are files of the layout above.
    pub fn repository(&self, name: &RepoName) -> Layout {
        Layout {
            // The grammar of names has no `..` and no empty part.
            dir: self.dir.join(name.as_str()),
            within: Some((name.clone(), self.clone())),
            synced: SharedSync::default(),
            last: Arc::default(),
            commits: Commits::default(),
            patience: self.patience.another(),
        }
    }

    /// The names of the repositories, sorted. Links are not followed. Of a
    /// folder that does not exist [`Error::NotFound`].
    pub fn repos(&self) -> Names<'_> {
        match self.walk() {
            Ok(names) => Box::new(names.into_iter().map(Ok)),
            Err(e) => Box::new(std::iter::once(Err(e))),
        }
    }

    fn walk(&self) -> Result<Vec<String>> {
        // Nothing to list looks like a path that is misspelt.
        if files::look(&self.dir)?.is_none() {
            let what = format!("folder {}", self.dir.display());
            return Err(Error::NotFound { what });
        }
        let (mut names, mut open) = (Vec::new(), vec![String::new()]);
        while let Some(above) = open.pop() {
            let dir = self.dir.join(&above);
            if files::look(&dir)?.is_none() {
                continue;
            }
            for entry in fs::read_dir(&dir).map_err(files::failed(&dir))? {
                let entry = entry.map_err(files::failed(&dir))?;
                let kind = entry.file_type().map_err(files::failed(&entry.path()))?;
                let Ok(part) = entry.file_name().into_string() else {
                    continue;
                };
                let name = if above.is_empty() {
                    part.clone()
                } else {
                    format!("{above}/{part}")
                };
                // A name that is too long ends the descent, too.
                if !kind.is_dir()
                    || RESERVED.contains(&part.as_str())
                    || name.parse::<RepoName>().is_err()
                {
                    continue;
                }
                if files::look(&entry.path().join(MARKER))?.is_some_and(|meta| meta.is_file()) {
                    names.push(name.clone());
                }
                open.push(name);
            }
        }
        names.sort();
        Ok(names)
    }
}

impl Layout {
    /// The layout at `dir`, which need not exist yet. It belongs to no folder
    /// of repositories, so nothing can be mounted into it.
    pub fn at(dir: impl Into<PathBuf>) -> Layout {
        Layout {
            dir: dir.into(),
            within: None,
            synced: SharedSync::default(),
            last: Arc::default(),
            commits: Commits::default(),
            patience: Patience::default(),
        }
    }

    /// The same, which waits as [`Layouts::with_notice`] does.
    pub fn with_notice(self, stop: Stop, notice: impl Fn(&str) + Send + Sync + 'static) -> Layout {
        let patience = Patience::new(stop, Arc::new(notice));
        Layout { patience, ..self }
    }

    /// What `index.json` lists, tagged or not, in its order.
    ///
    /// # Errors
    /// As [`ReadStore::manifest`].
    pub fn manifests(&self) -> Result<Vec<Descriptor>> {
        self.index()?.descriptors().collect()
    }

    /// An annotation of the layout as a whole, as [`Layout::annotate`] writes it.
    ///
    /// # Errors
    /// As [`ReadStore::manifest`].
    pub fn annotation(&self, name: &str) -> Result<Option<String>> {
        Ok(self.index()?.annotation(name))
    }

    /// Writes an annotation of the layout as a whole, which is about no image of it.
    ///
    /// # Errors
    /// As [`crate::Store::put_manifest`].
    pub fn annotate(&self, name: &str, value: &str) -> Result<()> {
        self.create()?;
        let _held = self.hold()?;
        let mut index = Index::clone(&*self.index()?);
        index.annotate(name, value);
        self.save(index)
    }

    /// The folder, unless the name takes a place that a layout needs, or leads
    /// out of the folder of repositories: no link below it is followed, as
    /// [`Layouts::repos`] follows none.
    fn dir(&self) -> Result<&Path> {
        let Some((name, root)) = &self.within else {
            return Ok(&self.dir);
        };
        let mut path = root.dir.clone();
        for part in name.as_str().split('/') {
            if RESERVED.contains(&part) {
                return Err(Error::invalid(
                    "repository",
                    name.as_str(),
                    format!(
                        "no part of a repository's name in a folder may be {}",
                        RESERVED.join(" or ")
                    ),
                ));
            }
            path.push(part);
            if files::look(&path)?.is_some_and(|meta| meta.is_symlink()) {
                let why = "it is a link, which a folder of repositories must not contain; \
                           name the folder that it leads to";
                return Err(Error::malformed(path.display().to_string(), why));
            }
        }
        Ok(&self.dir)
    }

    fn scratch(&self) -> Result<PathBuf> {
        Ok(self.dir()?.join(SCRATCH))
    }

    fn blobs(&self) -> Result<Blobs> {
        let dir = self.dir()?;
        let scratch = dir.join(SCRATCH);
        Ok(Blobs::new(dir, scratch, self.synced.clone()))
    }

    fn is_there(&self) -> Result<bool> {
        Ok(files::length(&self.dir()?.join(MARKER))?.is_some())
    }

    fn absent(&self) -> Error {
        Error::NotFound {
            what: format!("repository {}", self.name()),
        }
    }

    /// The error for a blob that is not found.
    fn lost(&self, digest: &Digest) -> Error {
        match self.is_there() {
            Ok(true) => Error::NotFound {
                what: format!("blob {digest} in {}", self.name()),
            },
            Ok(false) => self.absent(),
            Err(e) => e,
        }
    }

    /// The error for a manifest that is not found.
    fn unknown(&self, target: &Target) -> Error {
        target.missing_in(&self.name())
    }

    /// Makes the layout unless it exists.
    fn create(&self) -> Result<()> {
        let (marker, index) = (self.dir()?.join(MARKER), self.dir()?.join(INDEX));
        if files::length(&marker)?.is_some() && files::length(&index)?.is_some() {
            return Ok(());
        }
        files::make_folder(&self.dir()?.join("blobs"))?;
        let _held = self.lock()?;
        if files::length(&index)?.is_none() {
            files::replace(&index, &Index::new().to_bytes(), &self.scratch()?)?;
        }
        // Last: from here on it is a layout, and it is whole.
        if files::length(&marker)?.is_none() {
            files::replace(&marker, MARKER_TEXT, &self.scratch()?)?;
        }
        Ok(())
    }

    /// Keeps other writers away while what it returns lives.
    fn lock(&self) -> Result<Held<'_>> {
        let scratch = self.scratch()?;
        files::make_folder(&scratch)?;
        let held = self.patience.lock(&scratch.join("lock"))?;
        file::sweep(&scratch);
        Ok(held)
    }

    /// Keeps other writers away from an existing layout.
    fn hold(&self) -> Result<Held<'_>> {
        // Nothing is made for a change that finds nothing to change.
        if self.is_there()? {
            self.lock()
        } else {
            Err(self.absent())
        }
    }

    /// Replaces the index; only while the layout is locked.
    fn save(&self, index: Index) -> Result<()> {
        let (path, bytes) = (self.dir()?.join(INDEX), index.to_bytes());
        if bytes.len() as u64 > INDEX_MAX {
            return Err(Error::Unsupported {
                what: format!("{}: too many manifests for one layout", self.name()),
            });
        }
        let file = files::replace(&path, &bytes, &self.scratch()?)?;
        self.last().index = Some(Read::new(&path, file, Arc::new(index))?);
        Ok(())
    }

    /// The marker at `path`, of a version that is known.
    fn marker(&self, path: &Path) -> Result<Read<()>> {
        let Some((file, _)) = files::open(path)? else {
            return Err(self.absent());
        };
        let what = path.display().to_string();
        let text = read_bounded(&what, &file, MARKER_MAX)?;
        let text: Value = serde_json::from_slice(&text).map_err(|e| Error::malformed(&what, e))?;
        match text["imageLayoutVersion"].as_str() {
            Some(version) if version.starts_with("1.") => Read::new(path, file, ()),
            Some(version) => Err(Error::Unsupported {
                what: format!("{what}: layout version {version:?} is not known"),
            }),
            None => Err(Error::malformed(what, "it names no layout version")),
        }
    }

    fn last(&self) -> MutexGuard<'_, Last> {
        // Each half is replaced as a whole.
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Fails unless everything `manifest` names exists, as a registry does
    /// (`MANIFEST_BLOB_UNKNOWN`): a tag never points to half an image.
    fn check(&self, manifest: &Manifest) -> Result<()> {
        let blobs = self.blobs()?;
        for digest in needs(manifest)? {
            if blobs.size(&digest)?.is_none() {
                let kind = match manifest.kind() {
                    Kind::Index => "manifest",
                    Kind::Image | Kind::Schema1 | Kind::Unknown => "blob",
                };
                return Err(Error::NotFound {
                    what: format!("{kind} {digest} (named by the manifest) in {}", self.name()),
                });
            }
        }
        Ok(())
    }

    /// Stores a manifest; looks at the tag first, when something is expected of
    /// it, while other writers are kept away.
    fn put(&self, manifest: &Manifest, target: &Target, expected: Option<Expected>) -> Result<()> {
        if manifest.payload() != manifest.bytes() {
            let what = "a layout stores bytes under their digest, and a signed schema 1 manifest has a different one";
            return Err(Error::Unsupported {
                what: what.to_string(),
            });
        }
        let mut entry = manifest.descriptor();
        if let Target::Digest(wanted) = target {
            let mut hasher = Hasher::like(wanted);
            hasher.update(manifest.bytes());
            entry.digest = hasher.finish();
            if entry.digest != *wanted {
                return Err(Error::mismatch(*wanted, entry.digest));
            }
        }
        let expect = |found: Option<Descriptor>| match expected {
            Some(expected) => expected.check(
                &format!("alias {target} in {}", self.name()),
                found.map(|entry| entry.digest),
            ),
            None => Ok(()),
        };
        if !self.is_there()? {
            // Nothing is made for a tag that can't be as expected.
            expect(None)?;
        }
        self.create()?;
        self.commits.make(self, &|index| {
            if let Target::Tag(tag) = target {
                expect(index.tagged(tag)?)?;
            }
            self.check(manifest)?;
            let blobs = self.blobs()?;
            // Four MiB at most, which need not be interruptible.
            if !blobs.holds(&entry.digest, &Stop::new())? {
                blobs.write(&entry.digest, &mut manifest.bytes())?;
            }
            self.list(index, manifest, &entry, target)
        })
    }

    /// Changes what `index` says of a manifest, and the list of what refers to its
    /// subject; gives the digest of a list that is no longer listed.
    fn list(
        &self,
        index: &mut Index,
        manifest: &Manifest,
        entry: &Descriptor,
        target: &Target,
    ) -> Result<Option<Digest>> {
        let enter = |index: &mut Index| match target {
            Target::Tag(tag) => index.tag(entry, tag),
            Target::Digest(_) => index.add(entry),
        };
        if let Ok(None) = manifest.subject() {
            enter(index);
            return Ok(None);
        }
        // All of it or nothing.
        let mut changed = index.clone();
        enter(&mut changed);
        let blobs = self.blobs()?;
        let writing = Writing {
            index: &mut changed,
            blobs: &blobs,
        };
        let unused = self.relist(writing, manifest, &entry.digest, Change::Add)?;
        *index = changed;
        Ok(unused)
    }
}

impl Files for Layout {
    fn index(&self) -> Result<Arc<Index>> {
        let dir = self.dir()?;
        let (marker, path) = (dir.join(MARKER), dir.join(INDEX));
        // Held, so that several threads read it once.
        let mut last = self.last();
        if !matches!(&last.marker, Some(read) if read.is_at(&marker)?) {
            last.marker = Some(self.marker(&marker)?);
        }
        if let Some(read) = &last.index
            && read.is_at(&path)?
        {
            return Ok(read.found.clone());
        }
        let Some((file, _)) = files::open(&path)? else {
            return Ok(Arc::new(Index::new()));
        };
        let what = path.display().to_string();
        let index = Index::parse(&what, read_bounded(&what, &file, INDEX_MAX)?)?;
        let read = last.index.insert(Read::new(&path, file, Arc::new(index))?);
        Ok(read.found.clone())
    }

    fn size(&self, digest: &Digest) -> Result<Option<u64>> {
        self.blobs()?.size(digest)
    }

    fn bytes(&self, digest: &Digest) -> Result<Option<Bytes<'_>>> {
        let found = self.blobs()?.open(digest)?;
        Ok(found.map(|(file, len)| (Box::new(file) as _, len)))
    }
}
