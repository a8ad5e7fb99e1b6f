//! A bundle in several files, for media with a size limit: which blob is in which
//! part.
//!
//! Each part is a tar of its own with the bundle's index and all manifests, so
//! that any of them tells what is in the bundle, and with a table of all parts
//! ([`TABLE`]). Blobs are cut only where they are larger than a part; a part
//! with a piece of one has its digest at the end ([`SUMS`]).

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs::File;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::Cut;
use super::file::{Spread, Tar};
use crate::archive::{Content, LIST, Member, blob_name};
use crate::blob::Blob;
use crate::bounds;
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::file::Section;
use crate::stream::Run;
use crate::tar::{self, Index};

/// The member with the table of all parts.
pub(super) const TABLE: &str = "vnd.dxf.parts.json";
/// The member with the digests of members that no digest names: pieces of blobs
/// and, of a bundle in one file, the index and what else comes before the manifests.
pub(super) const SUMS: &str = "vnd.dxf.sums.json";
/// The longest table, bytes.
pub(super) const MAX_TABLE: u64 = bounds::BUNDLE_LIST;
/// The media type of the table.
const TYPE: &str = "application/vnd.dxf.bundle.parts.v1+json";
/// Names end in three digits.
const MAX_PARTS: usize = bounds::BUNDLE_PARTS;
/// Bytes that the table takes for a blob, at most.
const LINE: u64 = 250;
/// Room for the digests of pieces; a part has one at most.
const ROOM: u64 = 2048;
/// Room for the header of a piece.
const HEADER: u64 = 2048;
const BLOCK: u64 = 512;

/// The table, as it is in each part.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Table {
    media_type: String,
    /// The digest of the bundle's index: the same in all its parts.
    pub bundle: Digest,
    /// Which part this is, from 1.
    pub part: usize,
    /// What is in each part.
    pub parts: Vec<Vec<Piece>>,
}

/// A blob, or a piece of one.
#[derive(Serialize, Deserialize, Clone, Copy, PartialEq, Eq)]
pub(super) struct Piece {
    /// The digest of the whole blob.
    pub digest: Digest,
    /// The bytes in this part.
    pub size: u64,
    /// Where a piece begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<u64>,
}

impl Piece {
    /// The name of the member.
    pub fn name(&self) -> String {
        match self.from {
            None => blob_name(&self.digest),
            Some(from) => {
                let (algorithm, hex) = (self.digest.algorithm(), self.digest.hex());
                format!("parts/{algorithm}/{hex}.{from}")
            }
        }
    }
}

impl Table {
    /// Reads the table of a part; `what` names that in errors.
    /// The digests of its pieces are checked when they are read.
    pub fn parse(what: &str, bytes: &[u8]) -> Result<Table> {
        let table: Table = serde_json::from_slice(bytes).map_err(|e| Error::malformed(what, e))?;
        let fits = (1..=table.parts.len()).contains(&table.part);
        if table.media_type != TYPE || !fits || table.parts.len() > MAX_PARTS {
            return Err(Error::malformed(what, "its table of parts can't be read"));
        }
        Ok(table)
    }

    /// What the tables of all parts of one bundle have in common: the same images
    /// can be cut to other sizes.
    pub fn set(&self) -> Digest {
        let all = (&self.bundle, &self.parts);
        // Strings and numbers always have a JSON form.
        Digest::of(&serde_json::to_vec(&all).unwrap_or_default())
    }
}

/// The parts beyond `count` that a former save to `path` left, which would be
/// taken for parts of this one. They are proven to belong to the parts that are
/// about to be replaced.
///
/// # Errors
/// [`Error::Unsupported`] for a file under the name of a part that is not proven.
pub(super) fn former(path: &Path, count: usize, run: Run<'_>) -> Result<Vec<PathBuf>> {
    let surplus = (count + 1..=MAX_PARTS).map(|number| (number, named(path, number)));
    let surplus = surplus.filter(|(_, path)| path.symlink_metadata().is_ok());
    let surplus: Vec<(usize, PathBuf)> = surplus.collect();
    let replaced: Vec<Digest> = match surplus.is_empty() {
        true => Vec::new(),
        false => (1..=count)
            .filter_map(|number| table(&named(path, number), run))
            .map(|table| table.set())
            .collect(),
    };
    let ours = surplus.into_iter().map(|(number, path)| {
        let table = table(&path, run).filter(|table| table.part == number);
        match table.is_some_and(|table| replaced.contains(&table.set())) {
            true => Ok(path),
            false => Err(Error::Unsupported {
                what: format!(
                    "{}: it belongs to another bundle, and would be loaded as a part of this \
                     one; remove it, or save under another name",
                    path.display()
                ),
            }),
        }
    });
    ours.collect()
}

/// The table of a part in a file, if it is one.
fn table(path: &Path, run: Run<'_>) -> Option<Table> {
    let what = path.display().to_string();
    let is_file = path.symlink_metadata().is_ok_and(|meta| meta.is_file());
    let file = is_file.then(|| File::open(path).ok()).flatten()?;
    let tar = Section::whole(file).ok()?;
    let index = Index::new(&what, &tar, run.watch.stop).ok()?;
    Table::parse(&what, &index.bytes(TABLE, MAX_TABLE).ok()?).ok()
}

/// What is written: tars, and the blobs in them.
pub(super) type Written<'a> = (Vec<Tar>, Vec<Spread<'a>>);

/// One tar of all members, at `path`.
pub(super) fn one<'a>(members: &'a [Member], path: &Path) -> Result<Written<'a>> {
    let (mut tar, mut blobs) = (Tar::new(path), Vec::new());
    for member in members {
        match &member.content {
            Content::Bytes(bytes) => tar.add_bytes(&member.name, bytes.clone())?,
            Content::Blob(blob) => {
                let slots = vec![(0, tar.add(&member.name, blob.size())?)];
                blobs.push(Spread { blob, slots });
            }
        }
    }
    Ok((vec![tar], blobs))
}

/// The blobs among members.
fn blobs(members: &[Member]) -> Vec<&Blob> {
    let blobs = members.iter().filter_map(|member| match &member.content {
        Content::Blob(blob) => Some(&**blob),
        Content::Bytes(_) => None,
    });
    blobs.collect()
}

/// What is in each part: names and bytes.
fn head(members: &[Member]) -> Vec<(&str, &Vec<u8>)> {
    // An engine loads what is whole, and the table has the digest of the index.
    let head = members.iter();
    let head = head.filter(|member| ![LIST, SUMS].contains(&member.name.as_str()));
    let head = head.filter_map(|member| match &member.content {
        Content::Bytes(bytes) => Some((member.name.as_str(), bytes)),
        Content::Blob(_) => None,
    });
    head.collect()
}

/// The blobs that parts smaller than `size` cut.
pub(super) fn cuts(members: &[Member], size: u64) -> Result<Vec<Cut>> {
    let parts = packed(members, size)?;
    let mut cuts: Vec<Cut> = Vec::new();
    for (number, pieces) in (1..).zip(&parts) {
        for piece in pieces.iter().filter(|piece| piece.from.is_some()) {
            match cuts.last_mut().filter(|cut| cut.digest == piece.digest) {
                Some(cut) => cut.parts.push(number),
                None => cuts.push(Cut {
                    digest: piece.digest,
                    parts: vec![number],
                }),
            }
        }
    }
    Ok(cuts)
}

/// Tars that are smaller than `size`, at `path.001`, `path.002`, ….
pub(super) fn several<'a>(members: &'a [Member], path: &Path, size: u64) -> Result<Written<'a>> {
    let (blobs, head) = (blobs(members), head(members));
    let parts = packed(members, size)?;
    let bundle = head.first().map_or(&[][..], |(_, bytes)| bytes);
    let mut table = Table {
        media_type: TYPE.to_string(),
        bundle: Digest::of(bundle),
        part: 0,
        parts,
    };
    let mut tars = Vec::new();
    let mut spread: Vec<Spread<'a>> = Vec::new();
    let by_digest: HashMap<Digest, &Blob> = blobs.iter().map(|one| (*one.digest(), *one)).collect();
    let mut places = HashMap::new();
    for (number, pieces) in table.parts.clone().into_iter().enumerate() {
        table.part = number + 1;
        let mut tar = Tar::new(&named(path, number + 1));
        for (at, (name, bytes)) in head.iter().enumerate() {
            tar.add_bytes(name, bytes.to_vec())?;
            if at == 0 {
                let text = serde_json::to_vec(&table).unwrap_or_default();
                tar.add_bytes(TABLE, text)?;
            }
        }
        let cut = pieces.iter().filter(|piece| piece.from.is_some());
        let cut: Vec<String> = cut.map(Piece::name).collect();
        for piece in pieces {
            let slot = (number, tar.add(&piece.name(), piece.size)?);
            let place = *places.entry(piece.digest).or_insert_with(|| {
                let slots = Vec::new();
                spread.extend(
                    by_digest
                        .get(&piece.digest)
                        .map(|blob| Spread { blob, slots }),
                );
                spread.len() - 1
            });
            spread[place].slots.push(slot);
        }
        if !cut.is_empty() {
            tar.add_sums(SUMS, cut)?;
        }
        tars.push(tar);
    }
    Ok((tars, spread))
}

/// What is in each part of fewer than `size` bytes.
fn packed(members: &[Member], size: u64) -> Result<Vec<Vec<Piece>>> {
    let (blobs, head) = (blobs(members), head(members));
    let fits = |size| match room(&head, &blobs, size)? {
        Some(room) => pack(&blobs, room),
        None => Ok(None),
    };
    if let Some(parts) = fits(size)? {
        return Ok(parts);
    }
    let (mut low, mut high) = (0, 64);
    while high < 1 << 50 && fits(high << 10)?.is_none() {
        (low, high) = (high, high * 2);
    }
    while high - low > 1 {
        let middle = (low + high) / 2;
        match fits(middle << 10)? {
            Some(_) => high = middle,
            None => low = middle,
        }
    }
    let why = format!(
        "use at least {high}KiB for these images: each part contains the index and the \
         manifests, and a bundle has at most {MAX_PARTS} parts"
    );
    Err(Error::invalid("--part-size", size.to_string(), why))
}

/// The bytes that a part has for blobs, if they are worth it.
fn room(head: &[(&str, &Vec<u8>)], blobs: &[&Blob], size: u64) -> Result<Option<u64>> {
    let total = blobs.iter().map(|blob| blob.size());
    let total = total.fold(0, u64::saturating_add);
    let cuts = (total / size.max(1)).min(MAX_PARTS as u64) * 2;
    let table = LINE * (blobs.len() as u64 + cuts) + 2 * HEADER;
    let mut fixed = Tar::room(TABLE, table)? + ROOM + tar::END.len() as u64;
    for (name, bytes) in head {
        fixed += Tar::room(name, bytes.len() as u64)?;
    }
    // The file systems that have a limit have it one byte below.
    let room = size.saturating_sub(1).saturating_sub(fixed) / BLOCK * BLOCK;
    Ok(Some(room).filter(|room| *room >= fixed.max(16 * HEADER)))
}

/// Which part each blob is in: the first that has room. `None` if that makes too
/// many parts.
fn pack(blobs: &[&Blob], room: u64) -> Result<Option<Vec<Vec<Piece>>>> {
    let mut parts: Vec<(u64, Vec<Piece>)> = Vec::new();
    for blob in blobs {
        let (digest, size) = (*blob.digest(), blob.size());
        let whole = Piece {
            digest,
            size,
            from: None,
        };
        let takes = Tar::room(&whole.name(), size)?;
        if takes <= room {
            match parts
                .iter_mut()
                .find(|(used, _)| used.saturating_add(takes) <= room)
            {
                Some((used, pieces)) => {
                    *used += takes;
                    pieces.push(whole);
                }
                None => parts.push((takes, vec![whole])),
            }
        } else {
            let mut from = 0;
            while from < size && parts.len() <= MAX_PARTS {
                let piece = Piece {
                    digest,
                    size: (size - from).min(room - HEADER),
                    from: Some(from),
                };
                from += piece.size;
                parts.push((Tar::room(&piece.name(), piece.size)?, vec![piece]));
            }
        }
        if parts.len() > MAX_PARTS {
            return Ok(None);
        }
    }
    if parts.is_empty() {
        parts.push((0, Vec::new()));
    }
    let parts = parts.into_iter().map(|(_, pieces)| pieces);
    Ok(Some(parts.collect()))
}

/// `NAME.001` for the first part.
fn named(path: &Path, number: usize) -> PathBuf {
    let mut name: OsString = path.file_name().unwrap_or_default().to_os_string();
    name.push(format!(".{number:03}"));
    path.with_file_name(name)
}
