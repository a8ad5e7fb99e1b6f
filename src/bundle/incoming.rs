//! A bundle that is loaded while it arrives on a pipe: its index and its
//! manifests come first and are kept, and each blob is sent when it comes.
//!
//! No disk is needed beyond the largest blob: small ones wait in memory, and one
//! that is larger is in a nameless file, because an upload that fails has to read
//! it again. A stream in another order, which other programs write, is kept in a
//! file as a whole.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::listing::{is_omission, omission};
use super::parts::TABLE;
use super::{Bundle, LISTING, Listing, MAX_LISTING};
use crate::archive::{INDEX, Kept, blob_digest, blob_name, drain, whole};
use crate::blob::{Blob, Bytes, Source};
use crate::descriptor::Descriptor;
use crate::digest::{Digest, Verify};
use crate::error::{Error, Result};
use crate::file::{Follower, Growth, spool_name, unnamed};
use crate::image::layer::is_foreign;
use crate::manifest::{self, Kind, Manifest, is_manifest};
use crate::reference::RepoName;
use crate::stream::{Buffer, Hook, Run, Stop, read_bounded};
use crate::tar::index::{MAX_MEMBERS, normal};
use crate::tar::{self, Entries, Entry, Index};

/// The largest blob that waits in memory, bytes.
const SMALL: u64 = 2 << 20;
/// The most bytes that such blobs take at once.
const MEMORY: u64 = 16 << 20;
/// Why a stream is kept that breaks a format, or has another.
const UNCLEAR: &str = "it is not a plain bundle";

/// A bundle on a pipe.
pub struct Incoming<'a> {
    bundle: Arc<Bundle>,
    kept: Option<&'static str>,
    rest: Option<Rest<'a>>,
}

/// What comes after the manifests.
pub(super) struct Rest<'a> {
    what: String,
    folder: PathBuf,
    entries: Entries<Kept<'a>>,
    /// The first blob, of which the header was read.
    next: Option<Entry>,
}

impl<'a> Incoming<'a> {
    /// Reads the index and the manifests of a bundle, plain or compressed, that
    /// arrives on a pipe. Temporary files are in `folder`; `what` names the pipe
    /// in errors. What is in another order, or in another format that
    /// [`Bundle::open`] reads, is read to its end ([`Incoming::kept`]).
    ///
    /// # Errors
    /// As [`Bundle::open`], and the reader's own.
    pub fn open(
        what: &str,
        from: impl Read + Send + 'a,
        folder: &Path,
        run: Run<'_>,
    ) -> Result<Incoming<'a>> {
        let kept = Kept::new(what, from, folder, run.watch.stop)?;
        let mut entries = Entries::new(what, kept);
        let mut head = Head::new(what);
        let order = match head.read(&mut entries) {
            // What is wrong with it is found when all of it has arrived.
            Err(error) if error.is_corrupt() => Order::Other(UNCLEAR),
            order => order?,
        };
        match order {
            Order::Ours(next) => {
                entries.reader().forget();
                let bundle = Arc::new(Bundle::of_head(head.index)?);
                let rest = Some(Rest {
                    what: what.to_string(),
                    folder: folder.to_path_buf(),
                    entries,
                    next,
                });
                let kept = None;
                Ok(Incoming { bundle, kept, rest })
            }
            Order::Other(why) => {
                let tar = whole(what, entries, head.index.count())?;
                let bundle = Arc::new(Bundle::of(what, &tar, run)?);
                let (kept, rest) = (Some(why), None);
                Ok(Incoming { bundle, kept, rest })
            }
        }
    }

    /// What is known of the bundle: all of it but its blobs, unless it was kept.
    pub fn bundle(&self) -> &Arc<Bundle> {
        &self.bundle
    }

    /// Why all of it was read to a file first, if it was.
    pub fn kept(&self) -> Option<&str> {
        self.kept
    }

    pub(super) fn into_rest(self) -> Option<Rest<'a>> {
        self.rest
    }
}

/// The order of a stream.
enum Order {
    /// That of a bundle; this blob comes first.
    Ours(Option<Entry>),
    /// Another one, and how it differs.
    Other(&'static str),
}

/// What a member of the beginning is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    Manifest,
    /// The manifest that says what is left out.
    Omission,
    /// The list of what is left out.
    Listing,
    /// The config of that manifest.
    Nothing,
}

/// What comes before the blobs.
struct Head {
    index: Index,
    /// What is in the stream.
    wanted: HashMap<Digest, Role>,
    /// What may be there: manifests that are left out in one repository can be
    /// needed in another.
    possible: HashMap<Digest, Role>,
    omitted: Listing,
}

impl Head {
    fn new(what: &str) -> Head {
        Head {
            index: Index::of_files(what, BTreeMap::new()),
            wanted: HashMap::new(),
            possible: HashMap::new(),
            omitted: Listing::default(),
        }
    }

    /// Reads members up to the first blob.
    fn read(&mut self, entries: &mut Entries<Kept<'_>>) -> Result<Order> {
        let mut is_first = true;
        while let Some(entry) = entries.next().transpose()? {
            let name = normal(&entry.path).unwrap_or_default();
            let is_file = entry.kind == tar::Kind::File && !entry.sparse;
            if !is_file || is_first != (name == INDEX) {
                return Ok(Order::Other("its index does not come first"));
            }
            if name == TABLE {
                return Ok(Order::Other("it is a part of a bundle"));
            }
            let digest = blob_digest(&name);
            let role = digest.and_then(|digest| self.role(&digest));
            if digest.is_some() && role.is_none() {
                return Ok(match self.wanted.is_empty() {
                    true => Order::Ours(Some(entry)),
                    false => Order::Other("its manifests do not come first"),
                });
            }
            let limit = match role {
                Some(Role::Listing) => MAX_LISTING,
                _ => manifest::MAX_SIZE,
            };
            let bytes = read_bounded(self.index.what(), entries.content(&entry)?, limit)?;
            if let Some(kept) = entries.reader().so_far() {
                self.index.take(&entry, &kept)?;
            }
            match (digest, role) {
                (Some(digest), Some(role)) => self.take(digest, role, bytes)?,
                _ if is_first => self.begin(bytes)?,
                _ => {}
            }
            is_first = false;
        }
        Ok(match self.wanted.is_empty() && !is_first {
            true => Order::Ours(None),
            false => Order::Other(UNCLEAR),
        })
    }

    fn role(&self, digest: &Digest) -> Option<Role> {
        let role = self.wanted.get(digest);
        role.or_else(|| self.possible.get(digest)).copied()
    }

    /// Takes the index.
    fn begin(&mut self, bytes: Vec<u8>) -> Result<()> {
        let entries = Manifest::new(None, bytes)?.index()?.manifests;
        omission(self.index.what(), &entries)?;
        for entry in entries {
            let role = match is_omission(&entry) {
                true => Role::Omission,
                false => Role::Manifest,
            };
            self.wanted.insert(entry.digest, role);
        }
        Ok(())
    }

    /// Takes a blob, and learns from it which follow.
    fn take(&mut self, digest: Digest, role: Role, bytes: Vec<u8>) -> Result<()> {
        self.wanted.remove(&digest);
        self.possible.remove(&digest);
        match role {
            Role::Nothing => {}
            Role::Omission => {
                let image = Manifest::new(None, bytes)?.image()?;
                self.possible.insert(image.config.digest, Role::Nothing);
                let list = image.layers.into_iter().next();
                let list = list.filter(|layer| layer.media_type == LISTING);
                self.wanted
                    .extend(list.map(|layer| (layer.digest, Role::Listing)));
            }
            Role::Listing => {
                self.omitted = Listing::parse(self.index.what(), &bytes)?;
                let omitted = &self.omitted;
                let left_out = |digest: &Digest| omitted.size(digest).is_some();
                let moved = self.wanted.extract_if(|digest, _| left_out(digest));
                self.possible.extend(moved);
            }
            Role::Manifest => {
                let manifest = Manifest::new(None, bytes)?;
                if manifest.kind() == Kind::Index {
                    let below = manifest.index()?.manifests.into_iter();
                    below
                        .filter(is_manifest)
                        .try_for_each(|one| self.expects(&one))?;
                }
            }
        }
        Ok(())
    }

    /// Expects a manifest, unless it came.
    fn expects(&mut self, one: &Descriptor) -> Result<()> {
        if self.index.get(&blob_name(&one.digest)).is_some() {
            return Ok(());
        }
        if self.wanted.len() >= MAX_MEMBERS {
            let why = "its indexes list too many manifests";
            return Err(Error::malformed(self.index.what(), why));
        }
        let list = match self.omitted.size(&one.digest) {
            Some(_) => &mut self.possible,
            None => &mut self.wanted,
        };
        list.insert(one.digest, Role::Manifest);
        Ok(())
    }
}

/// A blob that came, and where it goes.
pub(super) struct Arrived<'l> {
    pub blob: Blob,
    pub repos: &'l [RepoName],
    /// Its file, if it is read from there while it comes.
    growing: Option<Arc<Growing>>,
}

impl Drop for Arrived<'_> {
    /// The next large one is not read before.
    fn drop(&mut self) {
        if let Some(growing) = &self.growing {
            growing.growth.leave();
        }
    }
}

/// Takes the blobs of a stream as they come.
pub(super) struct Receiver<'a, 'l> {
    rest: Rest<'a>,
    bundle: &'l Bundle,
    wanted: HashMap<Digest, &'l (Blob, Vec<RepoName>)>,
    seen: HashSet<Digest>,
    jobs: usize,
    large: Option<(Entry, Arc<Growing>)>,
}

impl<'a, 'l> Receiver<'a, 'l> {
    /// Takes these blobs, for at most `jobs` uploads at once.
    pub fn new(
        rest: Rest<'a>,
        bundle: &'l Bundle,
        blobs: &'l [(Blob, Vec<RepoName>)],
        jobs: usize,
    ) -> Receiver<'a, 'l> {
        let wanted = blobs.iter().map(|one| (*one.0.digest(), one)).collect();
        Receiver {
            rest,
            bundle,
            wanted,
            seen: HashSet::new(),
            jobs: jobs.max(1),
            large: None,
        }
    }

    /// Reads everything, and keeps nothing.
    pub fn pass(&mut self, stop: &Stop) -> Result<()> {
        while let Some(entry) = self.entry()? {
            stop.check()?;
            if let Some(digest) = self.digest(&entry)? {
                self.seen.insert(digest);
            }
        }
        self.end()
    }

    /// The next blob that is wanted; none at the end, after which everything came
    /// that has to.
    pub fn next(&mut self, stop: &Stop) -> Result<Option<Arrived<'l>>> {
        if let Some(growing) = self.fill(stop)? {
            // One at a time is on disk.
            growing.growth.wait_left();
        }
        while let Some(entry) = self.entry()? {
            stop.check()?;
            let Some(digest) = self.digest(&entry)? else {
                continue;
            };
            let Some((blob, repos)) = self.wanted.get(&digest).copied() else {
                self.seen.insert(digest);
                continue;
            };
            if blob.size() != entry.size {
                return Err(Error::Size {
                    what: format!("{digest} in {}", self.rest.what),
                    expected: blob.size(),
                    actual: entry.size,
                });
            }
            if !self.seen.insert(digest) {
                self.again(&entry, blob)?;
                continue;
            }
            return self.arrived(entry, blob, repos, stop).map(Some);
        }
        self.end().map(|()| None)
    }

    fn entry(&mut self) -> Result<Option<Entry>> {
        let next = self.rest.next.take().map(Ok);
        next.or_else(|| self.rest.entries.next()).transpose()
    }

    /// The digest of a blob; none of what is not one.
    fn digest(&self, entry: &Entry) -> Result<Option<Digest>> {
        let bad =
            |why: &str| Error::malformed(&self.rest.what, format!("{:?}: {why}", entry.name()));
        let name = normal(&entry.path).map_err(bad)?;
        match entry.kind {
            tar::Kind::Directory => return Ok(None),
            tar::Kind::File if !entry.sparse => {}
            _ => {
                return Err(bad(
                    "it is no plain file; save the stream to a file and load that",
                ));
            }
        }
        if self.bundle.has_member(&name) || self.seen.len() > MAX_MEMBERS {
            return Err(bad("it appears twice, or the bundle has too many members"));
        }
        Ok(blob_digest(&name))
    }

    /// A blob that appears twice has the same bytes both times, or it is refused.
    fn again(&mut self, entry: &Entry, blob: &Blob) -> Result<()> {
        let content = self.rest.entries.content(entry)?;
        let mut verified = Verify::new(content, *blob.digest(), Some(blob.size()));
        drain(&self.rest.what, &mut verified).map_err(|e| e.at(&self.rest.what))
    }

    fn arrived(
        &mut self,
        entry: Entry,
        blob: &Blob,
        repos: &'l [RepoName],
        stop: &Stop,
    ) -> Result<Arrived<'l>> {
        let descriptor = blob.descriptor().clone();
        if entry.size <= SMALL.min(MEMORY / self.jobs as u64) {
            let content = self.rest.entries.content(&entry)?;
            let bytes = read_bounded(&self.rest.what, content, entry.size)?;
            let (blob, growing) = (Blob::new(descriptor, Bytes(bytes)), None);
            return Ok(Arrived {
                blob,
                repos,
                growing,
            });
        }
        let growing = Arc::new(Growing::new(&self.rest.folder, stop)?);
        self.large = Some((entry, growing.clone()));
        if self.jobs == 1 {
            self.fill(stop)?;
        }
        let blob = Blob::new(descriptor, Grown(growing.clone()));
        let growing = Some(growing);
        Ok(Arrived {
            blob,
            repos,
            growing,
        })
    }

    /// Reads the rest of the last large blob, if it is not all there.
    fn fill(&mut self, stop: &Stop) -> Result<Option<Arc<Growing>>> {
        let Some((entry, growing)) = self.large.take() else {
            return Ok(None);
        };
        let mut content = self.rest.entries.content(&entry)?;
        let (mut buffer, mut len) = (Buffer::new(), 0);
        loop {
            stop.check()?;
            let n = match content.read(&mut buffer) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(Error::io(&self.rest.what, e)),
                Ok(n) => n,
            };
            // What the registry had after all needs no more bytes.
            if n == 0 || growing.growth.is_left() {
                break;
            }
            let written = growing.file.write_all_at(&buffer[..n], len);
            written.map_err(|e| Error::io(&growing.place, e))?;
            len += n as u64;
            growing.growth.reach(len);
        }
        growing.growth.complete();
        Ok(Some(growing))
    }

    /// Everything that is needed must have arrived. After the end of a tar there may be more.
    fn end(&mut self) -> Result<()> {
        let missing = |(digest, one): (&Digest, &&(Blob, Vec<RepoName>))| {
            let is_needed = !is_foreign(one.0.descriptor());
            (is_needed && !self.seen.contains(digest)).then(|| digest.to_string())
        };
        if let Some(missing) = self.wanted.iter().filter_map(missing).min() {
            let why = format!(
                "it ends before {missing}; run the command again: stored blobs are not sent again"
            );
            return Err(Error::malformed(&self.rest.what, why));
        }
        drain(&self.rest.what, self.rest.entries.reader())
    }
}

/// A blob in a nameless file, read any number of times, also while it arrives.
struct Growing {
    file: File,
    place: String,
    growth: Arc<Growth>,
    stop: Stop,
    /// Ends all waiting with `stop`, which is set when the stream fails, too.
    _hook: Hook,
}

impl Growing {
    fn new(folder: &Path, stop: &Stop) -> Result<Growing> {
        let growth = Arc::new(Growth::default());
        let ended = growth.clone();
        Ok(Growing {
            file: unnamed(folder)?,
            place: spool_name(folder),
            growth,
            stop: stop.clone(),
            _hook: stop.on_set(move || ended.fail()),
        })
    }
}

/// The source of a [`Growing`] blob.
struct Grown(Arc<Growing>);

impl Source for Grown {
    fn open(&self, from: u64) -> Result<Box<dyn Read + Send + '_>> {
        let follower = self.0.growth.follower(&self.0.file, from);
        Ok(Box::new(GrownReader(follower, &self.0.stop)))
    }
}

/// A reader that says that it was stopped where that is why no more bytes come.
struct GrownReader<'a>(Follower<'a>, &'a Stop);

impl Read for GrownReader<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.0.read(buf).map_err(|e| match self.1.check() {
            Err(stopped) => stopped.into(),
            Ok(()) => e,
        })
    }
}
