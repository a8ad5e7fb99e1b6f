//! What is in a bundle, decided before its first byte is written: all manifests
//! are fetched, and of blobs only the digests are known.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io::Write;
use std::path::Path;

use serde_json::{Value, json};

use super::names::{repositories, repository};
use super::parts::SUMS;
use super::{Cut, LISTING, Listing, MAX_LISTING, NAME, OMITTED, file, parts};
use crate::archive::{
    self, Content, INDEX, Item, LIST, MARK, Member, blob_name, docker_entries, full_name,
};
use crate::blob::Blob;
use crate::descriptor::annotation::{FULL_NAME, REF_NAME};
use crate::descriptor::{Descriptor, media_type};
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::graph::{Budget, Nondistributable, Referrers, Remote, Resolver, Scheme, Select};
use crate::hub;
use crate::image::Node;
use crate::image::layer::is_foreign;
use crate::manifest::{self, Builder, Kind, Manifest};
use crate::parallel;
use crate::platform::Platform;
use crate::reference::{Reference, Target};
use crate::stream::Run;
use crate::tar::index::MAX_MEMBERS;

/// An image to be saved.
pub struct Wanted {
    /// Where it is.
    pub from: Remote,
    /// What it is called there.
    pub target: Target,
    /// Its name in the bundle. A name without a tag is replaced by the digest.
    pub name: Reference,
}

/// What of images is saved.
#[derive(Debug, Clone, Copy, Default)]
#[non_exhaustive]
pub struct SaveOptions<'a> {
    /// The platform whose image of an index is saved; all of it without one.
    pub platform: Option<&'a Platform>,
    /// What becomes of signatures and other referrers.
    pub referrers: Referrers,
    /// What becomes of non-distributable layers.
    pub nondistributable: Nondistributable,
    /// What the other side has, and is left out.
    pub since: Option<&'a Listing>,
}

impl<'a> SaveOptions<'a> {
    /// Saves the image of this platform only.
    pub fn with_platform(self, platform: &'a Platform) -> SaveOptions<'a> {
        let platform = Some(platform);
        SaveOptions { platform, ..self }
    }

    /// Chooses what becomes of referrers.
    pub fn with_referrers(self, referrers: Referrers) -> SaveOptions<'a> {
        SaveOptions { referrers, ..self }
    }

    /// Leaves out what the other side has.
    pub fn with_since(self, since: &'a Listing) -> SaveOptions<'a> {
        let since = Some(since);
        SaveOptions { since, ..self }
    }

    /// Chooses what becomes of non-distributable layers.
    pub fn with_nondistributable(self, nondistributable: Nondistributable) -> SaveOptions<'a> {
        SaveOptions {
            nondistributable,
            ..self
        }
    }
}

/// What will be in a bundle.
pub struct Plan {
    members: Vec<Member>,
    /// The images that were asked for, by the names they have in the bundle.
    pub images: Vec<(Reference, Digest)>,
    /// Layers that are left out, because they must not be passed on.
    pub left_out: Vec<Descriptor>,
    /// The bytes of all manifests and blobs in the bundle.
    pub bytes: u64,
    /// Manifests and blobs that are left out because the other side has them, and
    /// their bytes.
    pub omitted: (usize, u64),
}

/// The parts that a bundle was written to.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SavedParts {
    /// How many there are.
    pub count: usize,
    /// The numbers, from 1, of those that were written. The others existed, and were
    /// right.
    pub written: Vec<usize>,
}

impl Plan {
    /// Writes the bundle to the file at `path`, which appears when it is
    /// complete. What an earlier call left in `NAME.partial` is checked and
    /// used.
    ///
    /// # Errors
    /// Those of the images' sources; [`Error::Mismatch`] and [`Error::Size`] for
    /// blobs that are not what the manifests say; [`Error::Busy`] while another
    /// process writes the file; [`Error::Io`], [`Error::Stopped`].
    pub fn write_file(&self, path: &Path, run: Run<'_>) -> Result<()> {
        let (tars, blobs) = parts::one(&self.members, path)?;
        file::write(&tars, &blobs, run)?.commit()
    }

    /// Writes the bundle to files smaller than `size` bytes: `NAME.001`,
    /// `NAME.002` and so on. Existing parts that are right stay as they are. Parts
    /// that a former call wrote beyond the last one are removed when all of these
    /// are complete.
    ///
    /// # Errors
    /// As [`Plan::write_file`]; [`Error::Unsupported`] for a file that has the name of
    /// a part beyond the last one and is not such a part; [`Error::Invalid`] for a size in which index and
    /// manifests have no room, or that makes too many parts.
    pub fn write_parts(&self, path: &Path, size: u64, run: Run<'_>) -> Result<SavedParts> {
        let (tars, blobs) = parts::several(&self.members, path, size)?;
        let former = parts::former(path, tars.len(), run)?;
        let written = file::write(&tars, &blobs, run)?;
        // Before the parts that prove what these are have gone.
        for path in former {
            fs::remove_file(&path).map_err(|e| Error::io(path.display().to_string(), e))?;
        }
        let parts = SavedParts {
            count: tars.len(),
            written: written.numbers(),
        };
        written.commit()?;
        Ok(parts)
    }

    /// The blobs that [`Plan::write_parts`] cuts for this size, bytes: each of
    /// them is larger than a part.
    ///
    /// # Errors
    /// [`Error::Invalid`] as there.
    pub fn cuts(&self, size: u64) -> Result<Vec<Cut>> {
        parts::cuts(&self.members, size)
    }

    /// Writes the bundle to a pipe, which `what` names in errors.
    ///
    /// # Errors
    /// As [`Plan::write_file`].
    pub fn write_stream(
        &self,
        what: &str,
        to: &mut (dyn Write + Send),
        run: Run<'_>,
    ) -> Result<()> {
        archive::write_members(&self.members, what, to, run)
    }
}

/// Decides what a bundle of these images contains. The same images in the same
/// order make the same bundle, byte for byte.
///
/// # Errors
/// Those of the images' stores, [`Error::is_not_found`] among them;
/// [`Error::NoPlatform`]; [`Error::Unsupported`] for a schema 1 manifest, and
/// for more than one bundle may contain.
pub fn plan(wanted: &[Wanted], options: &SaveOptions<'_>, run: Run<'_>) -> Result<Plan> {
    // One level of threads: over many images, or within each of a few.
    let (jobs, within) = match wanted.len() < run.jobs {
        true => (1, run.jobs),
        false => (run.jobs, 1),
    };
    let all: Vec<&Wanted> = wanted.iter().collect();
    let taken = parallel::map(jobs, all, run.watch.stop, |one, stop| {
        let run = Run::new(within, run.stopped_by(stop).watch);
        take(one, options, run).map_err(|e| e.at(&one.name.to_string()))
    })?;
    let mut contents = Contents::default();
    for one in taken.into_iter().flatten() {
        contents.add(one, options)?;
    }
    contents.finish(options)
}

/// A manifest and its name.
struct Taken {
    name: Reference,
    what: What,
    /// Whether it was asked for, and does not only belong to what was.
    is_asked: bool,
}

/// What a name points to.
enum What {
    /// A manifest with all below it.
    Node(Node),
    /// A manifest that the other side has, with all below it.
    Known(Box<Descriptor>),
}

/// An image and what belongs to it.
fn take(one: &Wanted, options: &SaveOptions<'_>, run: Run<'_>) -> Result<Vec<Taken>> {
    let from = one.from.without_configs();
    let manifest = from.store().manifest(&one.target)?;
    if manifest.kind() == Kind::Schema1 {
        let what = "a schema 1 manifest (Docker's format before 2016), whose digest can't be \
                    kept; copy-image --convert oci makes a newer one of it";
        return Err(Error::Unsupported { what: what.into() });
    }
    let select = options.platform.map_or(Select::All, Select::Platform);
    let manifest = Resolver::new(from.store(), &Budget::default(), run).choose(manifest, select)?;
    let digest = manifest.digest();
    let target = match one.name.tag.clone() {
        Some(tag) => Target::Tag(tag),
        None => Target::Digest(digest),
    };
    let name = named(&one.name, target);
    let mut taken = Vec::new();
    let what = match options.is_known(&name, &digest) {
        true => {
            if options.referrers == Referrers::Copy {
                taken = beside(one, &manifest, options, run)?;
            }
            What::Known(Box::new(manifest.descriptor()))
        }
        false => {
            let node = from.node(manifest, Select::All, run)?;
            if let (Some(platform), Node::Image(image)) = (options.platform, &node) {
                image.must_run_on(platform)?;
            }
            if options.referrers == Referrers::Copy {
                from.related(&node, run, &mut |related| {
                    taken.push(one.related(related.target, related.node));
                    Ok(())
                })?;
            }
            What::Node(node.at(&one.name.to_string()))
        }
    };
    let is_asked = true;
    taken.insert(
        0,
        Taken {
            name,
            what,
            is_asked,
        },
    );
    Ok(taken)
}

/// What belongs to a manifest that the other side has: of that it may lack some.
fn beside(
    one: &Wanted,
    manifest: &Manifest,
    options: &SaveOptions<'_>,
    run: Run<'_>,
) -> Result<Vec<Taken>> {
    let from = one.from.without_configs();
    let mut taken = Vec::new();
    for found in from.referrers(&manifest.digest(), manifest, None, run)? {
        // Those in an index are below it.
        if found.scheme == Scheme::BuildKit {
            continue;
        }
        let name = named(&one.name, found.target.clone());
        taken.push(match options.is_known(&name, &found.descriptor.digest) {
            true => Taken {
                name,
                what: What::Known(Box::new(plain(&found.descriptor))),
                is_asked: false,
            },
            false => one.related(
                found.target.clone(),
                from.pull(&found.target, Select::All, run)?,
            ),
        });
    }
    Ok(taken)
}

/// A descriptor as an index has it, not as a list of referrers does.
fn plain(listed: &Descriptor) -> Descriptor {
    Descriptor::new(listed.media_type.clone(), listed.digest, listed.size)
}

impl Wanted {
    fn related(&self, target: Target, node: Node) -> Taken {
        Taken {
            name: named(&self.name, target),
            what: What::Node(node.at(&self.name.to_string())),
            is_asked: false,
        }
    }
}

impl SaveOptions<'_> {
    /// Whether the other side has a manifest, and everything below it, where it
    /// will look for it.
    fn is_known(&self, name: &Reference, digest: &Digest) -> bool {
        let since = self.since.filter(|since| since.size(digest).is_some());
        since.is_some_and(|since| self::since(since, name, digest).is_some())
    }
}

/// A manifest with all below it, where the other side has that in the repository
/// that the image called `name` goes to.
fn since(since: &Listing, name: &Reference, digest: &Digest) -> Option<Listing> {
    let mut places = repositories(name).into_iter();
    places.find_map(|repo| since.whole(digest, &repo))
}

/// The name of what is called `target` in the repository of `image`.
fn named(image: &Reference, target: Target) -> Reference {
    let (tag, digest) = match target {
        Target::Tag(tag) => (Some(tag), None),
        Target::Digest(digest) => (None, Some(digest)),
    };
    let mut name = Reference {
        host: image.host.clone(),
        repo: image.repo.clone(),
        tag,
        digest,
    };
    // Docker Hub has many names and leaves out one part of them.
    if let Some(host) = name.host.as_ref().filter(|host| hub::is_hub(host.as_str())) {
        let repo = hub::full_name(host.as_str(), name.repo.as_str());
        name.repo = repo.parse().unwrap_or(name.repo);
        name.host = hub::NAME.parse().ok();
    }
    name
}

/// What was found for a bundle so far.
#[derive(Default)]
struct Contents {
    names: HashMap<String, Digest>,
    entries: Vec<(Reference, Descriptor)>,
    images: Vec<(Reference, Digest)>,
    /// Images for Docker's own list.
    items: Vec<Item>,
    sizes: HashMap<Digest, u64>,
    manifests: Vec<Member>,
    configs: Vec<Member>,
    blobs: Vec<Member>,
    left_out: Vec<Descriptor>,
    omitted: Listing,
}

impl Contents {
    fn add(&mut self, one: Taken, options: &SaveOptions<'_>) -> Result<()> {
        let descriptor = match &one.what {
            What::Node(node) => node.manifest().descriptor(),
            What::Known(descriptor) => Descriptor::clone(descriptor),
        };
        let digest = descriptor.digest;
        if one.is_asked {
            self.images.push((one.name.clone(), digest));
        }
        match self.names.insert(one.name.to_string(), digest) {
            Some(known) if known == digest => return Ok(()),
            Some(_) => {
                let what = format!("{} changed while it was saved; try again", one.name);
                return Err(Error::Unsupported { what });
            }
            None => {}
        }
        let known = options.since;
        let known = known.and_then(|known| since(known, &one.name, &digest));
        match (known, one.what) {
            (Some(below), _) => self.omitted.merge(below),
            (None, What::Known(_)) => {}
            (None, What::Node(node)) => {
                self.node(&node, &digest, options)?;
                if one.is_asked && one.name.tag.is_some() {
                    self.items.push(Item::new(vec![one.name.clone()], node));
                }
            }
        }
        self.entries.push((one.name, descriptor));
        Ok(())
    }

    fn node(&mut self, node: &Node, digest: &Digest, options: &SaveOptions<'_>) -> Result<()> {
        let bytes = node.manifest().bytes();
        if !self.is_new(digest, bytes.len() as u64)? {
            return Ok(());
        }
        self.manifests.push(Member {
            name: blob_name(digest),
            content: Content::Bytes(bytes.to_vec()),
        });
        match node {
            Node::Image(image) => {
                if let Some(config) = self.blob(image.config_blob(), options)? {
                    self.configs.push(config);
                }
                self.all(image.layers(), options)
            }
            Node::Index(index) => {
                self.all(index.blobs(), options)?;
                let mut children = index.children().iter();
                children
                    .try_for_each(|child| self.node(&child.node, &child.descriptor.digest, options))
            }
        }
    }

    fn all(&mut self, blobs: &[Blob], options: &SaveOptions<'_>) -> Result<()> {
        for blob in blobs {
            if let Some(member) = self.blob(blob, options)? {
                self.blobs.push(member);
            }
        }
        Ok(())
    }

    /// A blob that is not in the bundle yet and belongs there.
    fn blob(&mut self, blob: &Blob, options: &SaveOptions<'_>) -> Result<Option<Member>> {
        let (digest, size) = (blob.digest(), blob.size());
        if !self.is_new(digest, size)? {
            return Ok(None);
        }
        if let Some(since) = options
            .since
            .filter(|since| since.size(digest) == Some(size))
        {
            for repo in since.places(digest) {
                self.omitted.add(digest, size, repo, None);
            }
            return Ok(None);
        }
        if options.nondistributable == Nondistributable::Skip && is_foreign(blob.descriptor()) {
            self.left_out.push(blob.descriptor().clone());
            return Ok(None);
        }
        Ok(Some(Member {
            name: blob_name(digest),
            content: Content::Blob(Box::new(blob.clone())),
        }))
    }

    fn is_new(&mut self, digest: &Digest, size: u64) -> Result<bool> {
        match self.sizes.insert(*digest, size) {
            None => Ok(true),
            Some(known) if known == size => Ok(false),
            Some(expected) => Err(Error::Size {
                what: digest.to_string(),
                expected,
                actual: size,
            }),
        }
    }

    fn finish(mut self, options: &SaveOptions<'_>) -> Result<Plan> {
        let omitted = self.omitted.count();
        let mut first = Vec::new();
        if !self.omitted.is_empty() {
            for name in options.since.into_iter().flat_map(Listing::against) {
                self.omitted = std::mem::take(&mut self.omitted).against_too(name);
            }
            first = self.omission()?;
        }
        let index = self.index(first.first())?;
        if index.len() as u64 > manifest::MAX_SIZE {
            return Err(too_much(format!("{} images", self.entries.len())));
        }
        let mark = json!({"imageLayoutVersion": "1.0.0"}).to_string();
        let mut members = vec![small(INDEX, index), small(MARK, mark.into_bytes())];
        let mut loadable = Vec::new();
        // An engine loads what is whole.
        for item in self.items.iter().filter(|_| first.is_empty()) {
            loadable.extend(docker_entries(item, None)?);
        }
        if !loadable.is_empty() {
            let list = Value::Array(loadable).to_string();
            members.push(small(LIST, list.into_bytes()));
        }
        members.insert(1, sums_of(&members));
        members.extend(first);
        let lists = members.len();
        members.extend(self.manifests);
        members.extend(self.configs);
        members.extend(self.blobs);
        if members.len() > MAX_MEMBERS {
            return Err(too_much(format!("{} blobs", members.len())));
        }
        let sizes = members[lists..].iter().map(|one| one.content.size());
        Ok(Plan {
            bytes: sizes.fold(0, u64::saturating_add),
            members,
            images: self.images,
            left_out: self.left_out,
            omitted,
        })
    }

    /// The manifest that says what is left out, and its blobs.
    fn omission(&mut self) -> Result<Vec<Member>> {
        let (config, list) = (Blob::empty(), self.omitted.to_bytes());
        if list.len() as u64 > MAX_LISTING {
            return Err(too_much(format!(
                "{} things left out",
                self.omitted.count().0
            )));
        }
        let layer = Descriptor::new(LISTING, Digest::of(&list), list.len() as u64);
        let manifest = Builder::new(media_type::OCI_MANIFEST)
            .member("artifactType", OMITTED)
            .config(config.descriptor())
            .layers([&layer])
            .build()?;
        let mut members = vec![
            small(&blob_name(&manifest.digest()), manifest.bytes().to_vec()),
            small(&blob_name(&layer.digest), list),
        ];
        let name = blob_name(config.digest());
        let mut others = self.configs.iter().chain(&self.blobs);
        if others.all(|other| other.name != name) {
            members.push(small(&name, b"{}".to_vec()));
        }
        Ok(members)
    }

    /// The `index.json` of the bundle, with the manifest that says what is left
    /// out. oras and podman know images by their
    /// tags, which several may share; those have their whole names there.
    fn index(&self, omission: Option<&Member>) -> Result<Vec<u8>> {
        let mut tags: HashMap<String, HashSet<Digest>> = HashMap::new();
        for (name, entry) in &self.entries {
            let tag = name.tag.iter().map(ToString::to_string);
            for tag in tag {
                tags.entry(tag).or_default().insert(entry.digest);
            }
        }
        let entries = self.entries.iter().map(|(name, entry)| {
            let mut entry = entry.clone();
            let mut note = |key: &str, value| entry.annotations.insert(key.into(), value);
            note(NAME, name.to_string());
            if let Some(tag) = &name.tag {
                let is_shared = tags.get(tag.as_str()).is_some_and(|all| all.len() > 1);
                let short = match is_shared {
                    true => format!("{}:{tag}", repository(name)),
                    false => tag.to_string(),
                };
                note(REF_NAME, short);
                if let Some(full) = name.host.as_ref().and_then(|_| full_name(name)) {
                    note(FULL_NAME, full);
                }
            }
            entry
        });
        let mut entries: Vec<Descriptor> = entries.collect();
        if let Some(Content::Bytes(bytes)) = omission.map(|member| &member.content) {
            entries.push(Manifest::new(None, bytes.clone())?.referrer()?);
        }
        let index = Builder::new(media_type::OCI_INDEX).manifests(entries);
        Ok(index.into_bytes())
    }
}

/// The digests of members that no digest names.
fn sums_of(members: &[Member]) -> Member {
    let bytes = members.iter().filter_map(|member| match &member.content {
        Content::Bytes(bytes) => Some((member.name.clone(), Digest::of(bytes))),
        Content::Blob(_) => None,
    });
    let (names, digests): (Vec<_>, Vec<_>) = bytes.unzip();
    small(SUMS, file::sums(&names, &digests))
}

fn small(name: &str, bytes: Vec<u8>) -> Member {
    Member {
        name: name.to_string(),
        content: Content::Bytes(bytes),
    }
}

fn too_much(count: String) -> Error {
    let what = format!("{count} in one bundle; save them in several");
    Error::Unsupported { what }
}
