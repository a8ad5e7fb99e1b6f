//! How a file becomes a bundle: what it is, and which parts belong together. Names
//! are parsed here, and nothing else that is in it is trusted.

use std::io::Read;
use std::path::Path;

use super::listing::{is_omission, omission};
use super::parts::{MAX_TABLE, TABLE, Table};
use super::read::{Bundle, Entry, Parts};
use super::verify::sums;
use super::{LISTING, Listing, MAX_LISTING, NAME, charon, zip};
use crate::archive::{self, INDEX, MARK};
use crate::bounds;
use crate::descriptor::Descriptor;
use crate::descriptor::annotation::{FULL_NAME, REF_NAME};
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::file::Section;
use crate::manifest::{self, Manifest};
use crate::reference::{Reference, Target};
use crate::store::ReadStore;
use crate::stream::{Run, read_bounded};
use crate::tar::Index;

/// The longest file with the layout's version, bytes.
const MAX_MARK: u64 = bounds::BUNDLE_MARKER;

impl Bundle {
    /// Opens the bundle in a file, plain or compressed, or a payload of
    /// docker-charon. A compressed one is decompressed into a nameless file in
    /// `folder` first.
    ///
    /// # Errors
    /// [`Error::Malformed`] for something that is not a bundle, [`Error::Io`].
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
            let why = format!("it belongs to another bundle than {first}");
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
            None => check_index(&index, &bytes).map(|()| None)?,
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

    /// What the bundle says that it leaves out.
    fn omission(&self, entry: &Descriptor) -> Result<Listing> {
        let manifest = self.manifest(&Target::Digest(entry.digest))?.image()?;
        let layer = manifest.layers.into_iter().next();
        let layer = layer.filter(|layer| layer.media_type == LISTING);
        let blob = layer.map(|layer| self.blob(&layer)).transpose()?.flatten();
        let why = "it has no list of what it leaves out";
        let blob = blob.ok_or_else(|| Error::malformed(&self.what, why))?;
        Listing::parse(&self.what, &blob.read(MAX_LISTING)?)
    }
}

/// Why a file that begins so, and is so long, is not a bundle.
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

/// Refuses an index that differs from the one that was saved: a flipped bit would
/// load an image under another name. Other programs keep no digest of it.
fn check_index(index: &Index, bytes: &[u8]) -> Result<()> {
    let sums = sums(index)?;
    match sums.get(INDEX) {
        Some(saved) if *saved != Digest::of(bytes) => Err(index.bad(format!(
            "its {INDEX} is not the one that was saved: it was damaged or changed since"
        ))),
        _ => Ok(()),
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
