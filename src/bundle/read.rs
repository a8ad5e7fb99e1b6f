//! A bundle that was saved, read in its place. Nothing in it is trusted: names
//! are parsed, manifests and blobs are checked against their digests as they are
//! read, and what is not asked for is never looked at.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

use super::file::{self, Joined};
use super::listing::{is_omission, omission};
use super::names::repository;
use super::parts::{MAX_TABLE, Piece, SUMS, TABLE, Table};
use super::{LISTING, Listing, MAX_LISTING, NAME};
use super::{charon, zip};
use crate::archive::{self, INDEX, MARK, blob_digest, blob_name};
use crate::blob::{Blob, Source};
use crate::descriptor::Descriptor;
use crate::descriptor::annotation::{FULL_NAME, REF_NAME};
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::file::Section;
use crate::graph::is_related_tag;
use crate::manifest::{self, Manifest};
use crate::parallel;
use crate::reference::{Reference, Target};
use crate::store::{Content, ReadStore, Tags};
use crate::stream::{Run, read_bounded};
use crate::tar::Index;

/// The longest file with the layout's version, bytes.
const MAX_MARK: u64 = 4096;

/// What a bundle lists under a name.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Entry {
    /// The name it had where it was saved, with a tag or a digest.
    pub name: Reference,
    /// Its manifest.
    pub descriptor: Descriptor,
}

impl Entry {
    /// Whether its name is one that is made for what belongs to another manifest.
    pub fn is_related(&self) -> bool {
        let tag = self.name.tag.as_ref();
        tag.is_some_and(|tag| is_related_tag(tag.as_str()))
    }

    /// The manifest that such a name says it belongs to.
    pub fn subject(&self) -> Option<Digest> {
        let tag = self.name.tag.as_ref().filter(|_| self.is_related())?;
        let stem = tag.as_str().split('.').next()?;
        stem.replacen('-', ":", 1).parse().ok()
    }
}

/// A bundle to read from.
///
/// As a [`ReadStore`] it has manifests and blobs by digest, and no tags: those
/// are of several repositories.
pub struct Bundle {
    what: String,
    entries: Vec<Entry>,
    expected: Vec<Reference>,
    omitted: Listing,
    parts: Vec<Index>,
    /// Of a bundle in parts, the number of each of `parts`, and what is where.
    table: Option<Parts>,
    /// Whether blobs that are not there, nor left out, are still to come.
    arrives: bool,
}

/// A blob that is larger than a part, and therefore in several.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Cut {
    /// The digest of the whole blob.
    pub digest: Digest,
    /// The numbers of the parts with its pieces, in order, from 1. A load needs
    /// all of them at once.
    pub parts: Vec<usize>,
}

/// What is in which part.
#[derive(Default)]
struct Parts {
    count: usize,
    /// The numbers of the parts that exist, from 1.
    there: Vec<usize>,
    /// The pieces of the blobs that are cut, in order.
    cut: BTreeMap<Digest, Vec<Piece>>,
    /// The parts that a blob is in.
    places: BTreeMap<Digest, Vec<usize>>,
}

impl Bundle {
    /// Opens the bundle in a file, plain or compressed, or a payload of
    /// docker-charon. A compressed one is decompressed into a nameless file in
    /// `folder` first.
    ///
    /// # Errors
    /// [`Error::Malformed`] for what is no bundle, [`Error::Io`].
    pub fn open(path: &Path, folder: &Path, run: Run<'_>) -> Result<Bundle> {
        let tar = archive::plain(path, folder, run)?;
        Bundle::of(&path.display().to_string(), &tar, run)
    }

    /// Opens a bundle that arrives on a pipe, kept in a nameless file in
    /// `folder`; `what` names it in errors.
    ///
    /// # Errors
    /// As [`Bundle::open`], and the reader's own.
    pub fn open_stream(
        what: &str,
        from: impl Read + Send,
        folder: &Path,
        run: Run<'_>,
    ) -> Result<Bundle> {
        let tar = archive::spooled(what, from, folder, run)?;
        Bundle::of(what, &tar, run)
    }

    /// Opens a bundle of which these files are parts, in any order; some may be
    /// missing ([`Bundle::absent_parts`]).
    ///
    /// # Errors
    /// As [`Bundle::open`]; [`Error::Malformed`] for parts of different bundles,
    /// and for one that is given twice.
    pub fn open_parts(paths: &[&Path], folder: &Path, run: Run<'_>) -> Result<Bundle> {
        let (mut bundle, mut first) = (None::<Bundle>, String::new());
        for path in paths {
            let one = Bundle::open(path, folder, run)?;
            match &mut bundle {
                None => {
                    first = one.what.clone();
                    bundle = Some(one);
                }
                Some(bundle) => bundle.join(one, &first)?,
            }
        }
        bundle.ok_or_else(|| Error::NotFound {
            what: "a bundle".to_string(),
        })
    }

    /// Adds another part of the same bundle, whose first one is called `first`.
    fn join(&mut self, other: Bundle, first: &str) -> Result<()> {
        let bytes = |bundle: &Bundle| match bundle.parts.first() {
            Some(index) => index.bytes(INDEX, manifest::MAX_SIZE),
            None => Ok(Vec::new()),
        };
        let same = bytes(self)? == bytes(&other)?;
        let (Some(ours), Some(theirs), true) = (&mut self.table, other.table, same) else {
            let why = format!("it is no part of the bundle that {first} is a part of");
            return Err(Error::malformed(other.what, why));
        };
        if (&ours.places, &ours.cut) != (&theirs.places, &theirs.cut) {
            let why = format!(
                "its table of parts is not that of {first}: one of them is damaged, or cut to another size"
            );
            return Err(Error::malformed(other.what, why));
        }
        for number in theirs.there {
            if ours.there.contains(&number) {
                let why = format!("part {number} is given twice");
                return Err(Error::malformed(other.what, why));
            }
            ours.there.push(number);
        }
        self.parts.extend(other.parts);
        Ok(())
    }

    /// The numbers of the parts that are missing, from 1; none of a bundle in one
    /// file.
    pub fn absent_parts(&self) -> Vec<usize> {
        let table = self.table.as_ref();
        let all = table.map_or(0..0, |table| 0..table.count);
        let there = |number: &usize| table.is_some_and(|table| table.there.contains(number));
        all.map(|at| at + 1)
            .filter(|number| !there(number))
            .collect()
    }

    /// How many parts the bundle has; 0 of a bundle in one file.
    pub fn part_count(&self) -> usize {
        self.table.as_ref().map_or(0, |table| table.count)
    }

    /// The blobs that are cut, because they are larger than a part.
    pub fn cuts(&self) -> Vec<Cut> {
        let cut = self.table.iter().flat_map(|table| table.cut.keys());
        cut.map(|digest| Cut {
            digest: *digest,
            parts: self.parts_with(digest).to_vec(),
        })
        .collect()
    }

    /// Whether a blob is in a part that is missing.
    pub fn is_in_absent_part(&self, digest: &Digest) -> bool {
        let mut parts = self.parts_with(digest).iter();
        parts.any(|number| !self.has_part(*number))
    }

    /// Whether a part is there.
    pub fn has_part(&self, number: usize) -> bool {
        let table = self.table.as_ref();
        table.is_some_and(|table| table.there.contains(&number))
    }

    /// The numbers of the parts that a blob is in.
    pub(super) fn parts_with(&self, digest: &Digest) -> &[usize] {
        let table = self.table.as_ref();
        let places = table.and_then(|table| table.places.get(digest));
        places.map_or(&[], Vec::as_slice)
    }

    /// Whether a blob is cut.
    pub(super) fn is_cut(&self, digest: &Digest) -> bool {
        let table = self.table.as_ref();
        table.is_some_and(|table| table.cut.contains_key(digest))
    }

    /// The files that have a blob or its pieces, for errors.
    fn files_with(&self, digest: &Digest) -> String {
        let whole = self.holder(&blob_name(digest));
        let pieces = self.table.iter().filter_map(|table| table.cut.get(digest));
        let pieces = pieces.flatten().filter_map(|one| self.holder(&one.name()));
        let files: Vec<&str> = whole.into_iter().chain(pieces).map(Index::what).collect();
        match files.is_empty() {
            true => self.what.clone(),
            false => files.join(", "),
        }
    }

    /// The file that is read for a member.
    fn holder(&self, name: &str) -> Option<&Index> {
        self.parts.iter().find(|index| index.get(name).is_some())
    }

    pub(super) fn of(what: &str, tar: &Section, run: Run<'_>) -> Result<Bundle> {
        let magic = read_bounded(what, tar.reader(0).take(4), 4)?;
        if magic == zip::MAGIC {
            return Bundle::of_charon(what, tar);
        }
        if let Some(why) = not_a_bundle(&magic, tar.len()) {
            return Err(Error::malformed(what, why));
        }
        Bundle::of_index(Index::new(what, tar, run.watch.stop)?)
    }

    /// A bundle of which blobs are still to come.
    pub(super) fn of_head(head: Index) -> Result<Bundle> {
        let bundle = Bundle::of_index(head)?;
        Ok(Bundle {
            arrives: true,
            ..bundle
        })
    }

    fn of_index(index: Index) -> Result<Bundle> {
        if index.get(INDEX).is_none() {
            return Err(index.bad(format!("it has no {INDEX}, so it is no bundle")));
        }
        check_version(&index)?;
        let bytes = index.bytes(INDEX, manifest::MAX_SIZE)?;
        let table = match index.get(TABLE) {
            Some(_) => Some(Parts::of(&index, &bytes)?),
            None => None,
        };
        let listed = Manifest::new(None, bytes)?.index()?.manifests;
        let mut bundle = Bundle {
            what: index.what().to_string(),
            entries: Vec::with_capacity(listed.len()),
            expected: Vec::new(),
            omitted: Listing::default(),
            parts: vec![index],
            table,
            arrives: false,
        };
        if let Some(entry) = omission(&bundle.what, &listed)? {
            bundle.omitted = bundle.omission(entry)?;
        }
        for entry in listed.into_iter().filter(|entry| !is_omission(entry)) {
            let entry = named(&bundle.what, entry)?;
            bundle.entries.push(entry);
        }
        Ok(bundle)
    }

    /// A payload of docker-charon.
    fn of_charon(what: &str, zip: &Section) -> Result<Bundle> {
        let payload = charon::read(what, zip)?;
        Ok(Bundle {
            what: what.to_string(),
            entries: payload.entries,
            expected: payload.expected,
            omitted: payload.omitted,
            parts: vec![Index::of_files(what, payload.files)],
            table: None,
            arrives: false,
        })
    }

    /// Images without a manifest in the bundle, that are expected where it is
    /// loaded: only payloads of docker-charon have some.
    pub fn expected(&self) -> &[Reference] {
        &self.expected
    }

    /// The bytes of a blob, unless some of them are missing.
    fn find(&self, digest: &Digest) -> Option<Joined> {
        let member = |name: &str| self.holder(name)?.get(name).cloned();
        if let Some(whole) = member(&blob_name(digest)) {
            return Some(Joined(vec![whole]));
        }
        let pieces = self.table.as_ref()?.cut.get(digest)?;
        let pieces = pieces.iter().map(|piece| member(&piece.name()));
        pieces.collect::<Option<Vec<_>>>().map(Joined)
    }

    /// What the bundle says that it leaves out.
    fn omission(&self, entry: &Descriptor) -> Result<Listing> {
        let manifest = self.manifest(&Target::Digest(entry.digest))?.image()?;
        let layer = manifest.layers.into_iter().next();
        let layer = layer.filter(|layer| layer.media_type == LISTING);
        let blob = layer.map(|layer| self.blob(&layer)).transpose()?.flatten();
        let why = "it does not say what it leaves out";
        let blob = blob.ok_or_else(|| Error::malformed(&self.what, why))?;
        Listing::parse(&self.what, &blob.read(MAX_LISTING)?)
    }

    /// What the bundle leaves out, because the other side has it.
    pub fn omitted(&self) -> &Listing {
        &self.omitted
    }

    /// What the other side has when the bundle is loaded: what is in the bundle
    /// for which it leaves nothing out, and what it leaves out.
    ///
    /// # Errors
    /// [`Error::Malformed`] and its like.
    pub fn listing(&self) -> Result<Listing> {
        let mut all = Listing::default();
        for entry in &self.entries {
            let (repo, digest) = (repository(&entry.name), entry.descriptor.digest);
            if self.contains(&digest) {
                let manifest = self.manifest(&Target::Digest(digest))?;
                all.take(&repo, self, &digest, &manifest, 0)?;
            }
        }
        all.merge(self.omitted.clone());
        Ok(all.called(&self.short_name()))
    }

    /// The name of its file without the folder; of parts, the name that they share.
    pub(super) fn short_name(&self) -> String {
        let name = Path::new(&self.what).file_name();
        let name = name.map_or(self.what.clone(), |name| {
            name.to_string_lossy().into_owned()
        });
        let is_part = |(_, number): &(&str, &str)| number.parse::<u16>().is_ok();
        let stem = name.rsplit_once('.').filter(is_part).map(|(stem, _)| stem);
        match (&self.table, stem) {
            (Some(_), Some(stem)) => stem.to_string(),
            _ => name,
        }
    }

    /// What the bundle lists, in its order: each image, then what belongs to it.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Whether a blob or manifest is in the bundle.
    pub fn contains(&self, digest: &Digest) -> bool {
        self.find(digest).is_some()
    }

    /// Whether a member of this name is known.
    pub(super) fn has_member(&self, name: &str) -> bool {
        self.parts.iter().any(|index| index.get(name).is_some())
    }

    /// A blob that is in the bundle, or still to come, not yet checked.
    ///
    /// # Errors
    /// [`Error::Size`] for one of another size than the manifest says.
    pub fn blob(&self, wanted: &Descriptor) -> Result<Option<Blob>> {
        let Some(bytes) = self.find(&wanted.digest) else {
            let is_left_out = self.omitted.size(&wanted.digest) == Some(wanted.size);
            let coming = Coming(self.what.clone());
            return Ok((self.arrives && !is_left_out).then(|| Blob::new(wanted.clone(), coming)));
        };
        if bytes.len() != wanted.size {
            return Err(Error::Size {
                what: format!("{} in {}", wanted.digest, self.files_with(&wanted.digest)),
                expected: wanted.size,
                actual: bytes.len(),
            });
        }
        Ok(Some(Blob::new(wanted.clone(), bytes)))
    }

    /// Reads every manifest and blob in the bundle, and gives what is wrong, each
    /// error at the file that it is in ([`Error::At`]).
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Stopped`].
    pub fn verify(&self, run: Run<'_>) -> Result<Vec<Error>> {
        let (mut all, mut pieces) = (Vec::new(), Vec::new());
        for index in &self.parts {
            for (name, bytes) in index.files() {
                if let Some(digest) = blob_digest(name) {
                    let blob = blob_of(digest, Joined(vec![bytes.clone()]));
                    all.push((blob, index.what()));
                }
            }
            pieces.extend(sums(index)?);
        }
        let mut found = parallel::map(run.jobs, all, run.watch.stop, |(blob, what), stop| {
            wrong(&blob, run.stopped_by(stop)).map(|error| Some(error?.at(what)))
        })?;
        let pieces = parallel::map(run.jobs, pieces, run.watch.stop, |piece, stop| {
            piece.check(run.stopped_by(stop))
        })?;
        let are_right = pieces.iter().all(Option::is_none);
        found.extend(pieces);
        // A piece that is wrong is the reason why the whole is.
        for digest in self.table.iter().flat_map(|table| table.cut.keys()) {
            if let (true, Some(bytes)) = (are_right, self.find(digest)) {
                let error = wrong(&blob_of(*digest, bytes), run)?;
                found.push(error.map(|error| error.at(&self.files_with(digest))));
            }
        }
        Ok(found.into_iter().flatten().collect())
    }

    /// What is wrong with the bytes of a blob of the bundle, at the file that they
    /// are in.
    pub(super) fn damage(&self, blob: &Blob, run: Run<'_>) -> Result<Option<Error>> {
        let digest = blob.digest();
        for index in self.parts.iter().filter(|_| self.is_cut(digest)) {
            let ours = sums(index)?.into_iter();
            for piece in ours.filter(|piece| piece.name.contains(&digest.hex())) {
                if let Some(error) = piece.check(run)? {
                    return Ok(Some(error));
                }
            }
        }
        let found = wrong(blob, run)?;
        Ok(found.map(|error| error.at(&self.files_with(digest))))
    }

    fn absent(&self, what: impl std::fmt::Display) -> Error {
        let what = format!("{what} in {}", self.what);
        Error::NotFound { what }
    }
}

/// A blob of a stream, which has to be taken when it comes.
struct Coming(String);

impl Source for Coming {
    fn open(&self, _: u64) -> Result<Box<dyn Read + Send + '_>> {
        let what = format!(
            "{} can't be read twice; save it to a file, and load that",
            self.0
        );
        Err(Error::Unsupported { what })
    }
}

/// Why a file that begins so, and is so long, is no bundle.
fn not_a_bundle(magic: &[u8], len: u64) -> Option<&'static str> {
    // The shortest tar, bytes.
    const BLOCK: u64 = 512;
    match magic {
        [] => Some("it is not a bundle: it is empty"),
        [b'{', ..] => Some(
            "it is not a bundle, but JSON; what show-bundle --index prints is for save-bundle \
             --since",
        ),
        _ if len < BLOCK => Some("it is not a bundle, or it is cut short"),
        _ => None,
    }
}

/// A piece of a blob that is cut.
struct Cutting<'a> {
    name: String,
    digest: Digest,
    bytes: &'a Section,
    /// The file that it is in.
    what: &'a str,
}

impl Cutting<'_> {
    /// What is wrong with its bytes.
    fn check(&self, run: Run<'_>) -> Result<Option<Error>> {
        let found = file::sum(self.bytes, run)?;
        let is_wrong = found != self.digest;
        Ok(is_wrong.then(|| Error::mismatch(self.digest, found).at(self.what)))
    }
}

/// The pieces in a part.
fn sums(index: &Index) -> Result<Vec<Cutting<'_>>> {
    if index.get(SUMS).is_none() {
        return Ok(Vec::new());
    }
    let sums = index.bytes(SUMS, MAX_TABLE)?;
    let sums = serde_json::from_slice::<BTreeMap<String, Digest>>(&sums);
    let pieces = sums.map_err(|e| index.bad(e))?.into_iter();
    let piece = |(name, digest): (String, Digest)| {
        let (bytes, what) = (index.need(&name)?, index.what());
        Ok(Cutting {
            name,
            digest,
            bytes,
            what,
        })
    };
    pieces.map(piece).collect()
}

/// These bytes as a blob.
fn blob_of(digest: Digest, bytes: Joined) -> Blob {
    Blob::new(Descriptor::new("", digest, bytes.len()), bytes)
}

/// What is wrong with the bytes of a blob.
fn wrong(blob: &Blob, run: Run<'_>) -> Result<Option<Error>> {
    match file::check(blob, run) {
        Err(error) if error.is_corrupt() => Ok(Some(error)),
        checked => checked.map(|()| None),
    }
}

impl Parts {
    /// The table of a part, whose index is `bytes`.
    fn of(index: &Index, bytes: &[u8]) -> Result<Parts> {
        let table = Table::parse(index.what(), &index.bytes(TABLE, MAX_TABLE)?)?;
        if table.bundle != Digest::of(bytes) {
            let why = "its index is not the one that its table of parts names: it is damaged";
            return Err(index.bad(why));
        }
        let mut parts = Parts {
            count: table.parts.len(),
            there: vec![table.part],
            ..Parts::default()
        };
        for (number, pieces) in table.parts.into_iter().enumerate() {
            for piece in pieces {
                parts
                    .places
                    .entry(piece.digest)
                    .or_default()
                    .push(number + 1);
                if piece.from.is_some() {
                    parts.cut.entry(piece.digest).or_default().push(piece);
                }
            }
        }
        for pieces in parts.cut.values_mut() {
            pieces.sort_by_key(|piece| piece.from);
        }
        Ok(parts)
    }
}

/// Refuses a layout of a version that is not known (image-layout.md, "oci-layout
/// file"); some programs write none.
fn check_version(index: &Index) -> Result<()> {
    if index.get(MARK).is_none() {
        return Ok(());
    }
    let mark = index.bytes(MARK, MAX_MARK)?;
    let mark: serde_json::Value = serde_json::from_slice(&mark).map_err(|e| index.bad(e))?;
    match mark["imageLayoutVersion"].as_str() {
        Some(version) if version.starts_with("1.") => Ok(()),
        Some(version) => {
            let what = format!("{}: layout version {version:?} is not known", index.what());
            Err(Error::Unsupported { what })
        }
        None => Err(index.bad("it names no layout version")),
    }
}

/// An entry under its name.
fn named(what: &str, descriptor: Descriptor) -> Result<Entry> {
    let bad = |why: String| Error::malformed(what, why);
    let notes = &descriptor.annotations;
    // Other tools' archives have whole names too, in one place or the other.
    let whole = notes.get(REF_NAME).filter(|name| name.contains(['/', ':']));
    let name = notes.get(NAME).or_else(|| notes.get(FULL_NAME)).or(whole);
    let name = name.ok_or_else(|| {
        bad(format!(
            "{} has no name with a repository; push-image pushes an archive",
            descriptor.digest
        ))
    })?;
    let mut name: Reference = name
        .parse()
        .map_err(|e| bad(format!("{}: {e}", descriptor.digest)))?;
    match name.target() {
        Target::Digest(digest) if digest != descriptor.digest => {
            Err(bad(format!("{name} is listed as {}", descriptor.digest)))
        }
        Target::Tag(tag) => {
            name.tag = Some(tag);
            Ok(Entry { name, descriptor })
        }
        Target::Digest(_) => {
            name.tag = None;
            Ok(Entry { name, descriptor })
        }
    }
}

impl ReadStore for Bundle {
    fn name(&self) -> String {
        self.what.clone()
    }

    fn blob_size(&self, digest: &Digest) -> Result<Option<u64>> {
        Ok(self.find(digest).map(|bytes| bytes.len()))
    }

    fn open_blob(&self, digest: &Digest, from: u64) -> Result<Content<'_>> {
        let bytes = self.find(digest);
        let bytes = bytes.ok_or_else(|| self.absent(format!("blob {digest}")))?;
        Ok(Content {
            size: Some(bytes.len()),
            reader: bytes.reader(from),
        })
    }

    fn manifest(&self, target: &Target) -> Result<Manifest> {
        let Target::Digest(digest) = target else {
            return Err(self.absent(target));
        };
        if !self.contains(digest) {
            return Err(self.absent(format!("manifest {digest}")));
        }
        let size = self.blob_size(digest)?;
        let content = self.pull_blob(digest, size)?;
        let bytes = read_bounded(&digest.to_string(), content.reader, manifest::MAX_SIZE);
        bytes
            .and_then(|bytes| Manifest::new(None, bytes))
            .map_err(|e| e.at(&self.files_with(digest)))
    }

    fn tags(&self) -> Tags<'_> {
        Box::new(std::iter::empty())
    }

    fn referrers(&self, subject: &Digest) -> Result<Vec<Descriptor>> {
        let mut found: Vec<Descriptor> = Vec::new();
        for entry in &self.entries {
            let digest = entry.descriptor.digest;
            if !self.contains(&digest) || found.iter().any(|known| known.digest == digest) {
                continue;
            }
            let manifest = self.manifest(&Target::Digest(digest))?;
            if manifest
                .subject()?
                .is_some_and(|named| named.digest == *subject)
            {
                found.push(manifest.referrer()?);
            }
        }
        Ok(found)
    }
}
