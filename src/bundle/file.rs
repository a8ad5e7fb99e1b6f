//! Bundles in files, one or several: blobs are fetched several at once, each to
//! its place, and what an earlier run left is used.
//!
//! The header of a blob is written after its bytes. A blob without a header was
//! not complete; one with a header is hashed before it counts. A file that is
//! there already, and right, stays as it is.
//!
//! Until it is complete, a list of its blobs is behind the tar: a run with another
//! plan, because an image moved meanwhile, takes from there what it needs.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::archive::{header, plus};
use crate::blob::{Blob, Source};
use crate::bounds;
use crate::digest::{Digest, Hasher};
use crate::error::{Error, Result};
use crate::fetch::Partial;
use crate::file::Section;
use crate::parallel;
use crate::stream::{Buffer, Run, copy};
use crate::tar;

/// Where a member is in a tar: its header, and `len` bytes after it.
pub(super) struct Slot {
    header: Vec<u8>,
    at: u64,
    len: u64,
}

impl Slot {
    /// Where the content begins.
    fn content(&self) -> u64 {
        self.at.saturating_add(self.header.len() as u64)
    }

    /// The content, in an open file.
    fn section(&self, file: &Arc<File>) -> Section {
        Section::new(file.clone(), self.content(), self.len)
    }
}

/// A tar that will be written.
pub(super) struct Tar {
    path: PathBuf,
    small: Vec<(Slot, Vec<u8>)>,
    /// Where the digests of pieces of blobs go, and the names of those.
    sums: Option<(Slot, Vec<String>)>,
    end: u64,
}

/// A blob and its slots, in order: more than one where it is cut.
pub(super) struct Spread<'a> {
    pub blob: &'a Blob,
    /// Each with the number of its tar.
    pub slots: Vec<(usize, Slot)>,
}

impl Tar {
    /// An empty one, to be at `path`.
    pub fn new(path: &Path) -> Tar {
        Tar {
            path: path.to_path_buf(),
            small: Vec::new(),
            sums: None,
            end: 0,
        }
    }

    /// The bytes that a member takes.
    pub fn room(name: &str, len: u64) -> Result<u64> {
        let header = header(name, len)?.len() as u64;
        plus(plus(header, len)?, tar::padding(len) as u64)
    }

    /// Adds a member.
    pub fn add(&mut self, name: &str, len: u64) -> Result<Slot> {
        let slot = Slot {
            header: header(name, len)?,
            at: self.end,
            len,
        };
        self.end = plus(self.end, Tar::room(name, len)?)?;
        Ok(slot)
    }

    /// Adds a member that is known.
    pub fn add_bytes(&mut self, name: &str, bytes: Vec<u8>) -> Result<()> {
        let slot = self.add(name, bytes.len() as u64)?;
        self.small.push((slot, bytes));
        Ok(())
    }

    /// Adds the member with the digests of pieces, which are learnt later.
    pub fn add_sums(&mut self, name: &str, pieces: Vec<String>) -> Result<()> {
        let unknown = vec![Digest::of(b""); pieces.len()];
        let len = sums(&pieces, &unknown).len() as u64;
        self.sums = Some((self.add(name, len)?, pieces));
        Ok(())
    }
}

/// The digests of members as JSON, of a length that depends on the names alone.
pub(super) fn sums(names: &[String], digests: &[Digest]) -> Vec<u8> {
    let pairs = names.iter().zip(digests);
    let pairs = pairs.map(|(name, digest)| (name.clone(), digest.to_string().into()));
    serde_json::Value::Object(pairs.collect())
        .to_string()
        .into_bytes()
}

/// Tars that are complete, under their temporary names.
pub(super) struct Written(Vec<Opened>);

impl Written {
    /// The numbers, from 1, of those that were not complete and right before.
    pub fn numbers(&self) -> Vec<usize> {
        let tars = (1..).zip(&self.0);
        let new = tars.filter(|(_, one)| one.partial.is_some());
        new.map(|(number, _)| number).collect()
    }

    /// Gives them their names.
    pub fn commit(self) -> Result<()> {
        self.0.into_iter().try_for_each(Opened::commit)
    }
}

/// Writes tars that contain these blobs.
pub(super) fn write(tars: &[Tar], blobs: &[Spread<'_>], run: Run<'_>) -> Result<Written> {
    let opened = tars.iter().enumerate();
    let opened = opened.map(|(number, tar)| Opened::new(tar, number, blobs, run));
    let opened: Vec<Opened> = opened.collect::<Result<_>>()?;
    let mut wanted: Vec<&Spread<'_>> = blobs.iter().collect();
    // The largest first: the last to be begun is then a small one.
    wanted.sort_by_key(|one| Reverse(one.blob.size()));
    parallel::for_each(run.jobs, wanted, run.watch.stop, |one, stop| {
        one.put(&opened, run.stopped_by(stop))
    })?;
    for (number, (tar, one)) in tars.iter().zip(&opened).enumerate() {
        run.watch.stop.check()?;
        one.put_sums(tar, number, blobs, run)?;
    }
    Ok(Written(opened))
}

/// What the list of blobs behind a tar ends with; before it is its length.
const MARK: &[u8; 8] = b"dxf-left";
/// The longest list of blobs that is read, bytes.
const MAX_LEFT: u64 = bounds::BUNDLE_LIST;

/// A blob in a file that is not complete: its digest, where its header and its
/// bytes begin, and their number.
type Left = (Digest, u64, u64, u64);

/// The blobs of a file that a run with another plan left, as far as they seem to
/// be complete.
fn left(file: &Arc<File>) -> Option<BTreeMap<Digest, Section>> {
    let len = file.metadata().ok()?.len();
    let mut tail = [0; 16];
    file.read_exact_at(&mut tail, len.checked_sub(16)?).ok()?;
    let (count, mark) = tail.split_at(8);
    let count = u64::from_le_bytes(count.try_into().ok()?);
    let start = len.checked_sub(16)?.checked_sub(count)?;
    if mark != MARK || count > MAX_LEFT {
        return None;
    }
    let mut text = vec![0; usize::try_from(count).ok()?];
    file.read_exact_at(&mut text, start).ok()?;
    let list: Vec<Left> = serde_json::from_slice(&text).ok()?;
    let complete = list.into_iter().filter(|(_, header, content, size)| {
        let mut block = [0; 1];
        let end = content.checked_add(*size).is_some_and(|end| end <= start);
        end && file.read_exact_at(&mut block, *header).is_ok() && block != [0]
    });
    let section = |(digest, _, content, size)| (digest, Section::new(file.clone(), content, size));
    Some(complete.map(section).collect())
}

/// The list of the blobs in a tar, to be put behind it.
fn list_of(blobs: &[Spread<'_>], number: usize) -> Vec<u8> {
    let whole = blobs.iter().filter_map(|one| match one.slots.as_slice() {
        [(tar, slot)] if *tar == number => {
            Some((*one.blob.digest(), slot.at, slot.content(), slot.len))
        }
        _ => None,
    });
    let mut list = serde_json::to_vec(&whole.collect::<Vec<Left>>()).unwrap_or_default();
    let len = list.len() as u64;
    list.extend(len.to_le_bytes());
    list.extend(MARK);
    list
}

/// The file of a tar.
struct Opened {
    file: Arc<File>,
    what: String,
    /// Where the tar ends.
    end: u64,
    /// Blobs that a run with another plan left.
    left: BTreeMap<Digest, Section>,
    /// The file under its temporary name, unless it was complete already.
    partial: Option<Partial>,
}

impl Opened {
    fn new(tar: &Tar, number: usize, blobs: &[Spread<'_>], run: Run<'_>) -> Result<Opened> {
        let what = tar.path.display().to_string();
        let end = plus(tar.end, tar::END.len() as u64)?;
        let opened = |file, partial, left| Opened {
            file,
            what,
            end,
            left,
            partial,
        };
        if let Ok(file) = File::open(&tar.path) {
            let file = Arc::new(file);
            if tar.is_whole(&file, number, blobs, run)? {
                return Ok(opened(file, None, BTreeMap::new()));
            }
        }
        let mut partial = Partial::open(&tar.path)?;
        let (mut file, mut others) = (same(&partial)?, BTreeMap::new());
        // Another plan puts blobs to other places, and so did older versions.
        let mut small = tar.small.iter();
        if !small.all(|(slot, bytes)| has(&file, slot, Some(bytes))) {
            others = left(&file).unwrap_or_default();
            partial.discard();
            partial = Partial::open(&tar.path)?;
            file = same(&partial)?;
        }
        tar.begin(&file, end, &list_of(blobs, number))
            .map_err(|e| partial.failed(e))?;
        Ok(opened(file, Some(partial), others))
    }

    /// Writes what was learnt about pieces.
    fn put_sums(&self, tar: &Tar, number: usize, blobs: &[Spread<'_>], run: Run<'_>) -> Result<()> {
        let (Some((slot, names)), Some(_)) = (&tar.sums, &self.partial) else {
            return Ok(());
        };
        let digests = pieces(blobs, number).map(|slot| sum(&slot.section(&self.file), run));
        let bytes = sums(names, &digests.collect::<Result<Vec<_>>>()?);
        let written = self.file.write_all_at(&bytes, slot.content());
        written
            .and_then(|()| self.file.write_all_at(&slot.header, slot.at))
            .map_err(|e| Error::io(&self.what, e))
    }

    fn commit(self) -> Result<()> {
        let Some(partial) = self.partial else {
            return Ok(());
        };
        let cut = self.file.set_len(self.end);
        cut.map_err(|e| partial.failed(e))?;
        partial.commit()
    }
}

/// The file of a partial one, to be shared.
fn same(partial: &Partial) -> Result<Arc<File>> {
    let file = partial.file().try_clone();
    file.map(Arc::new).map_err(|e| partial.failed(e))
}

impl Tar {
    /// Writes what is known of the tar, which ends at `end`, and the list of its
    /// blobs behind it.
    fn begin(&self, file: &File, end: u64, list: &[u8]) -> io::Result<()> {
        // Padding and end are zeros, which is what a file has where nothing is.
        file.set_len(end)?;
        file.write_all_at(list, end)?;
        for (slot, bytes) in self.small.iter().rev() {
            file.write_all_at(bytes, slot.content())?;
            file.write_all_at(&slot.header, slot.at)?;
        }
        Ok(())
    }

    /// Whether an existing file is this tar, complete and undamaged.
    fn is_whole(
        &self,
        file: &Arc<File>,
        number: usize,
        blobs: &[Spread<'_>],
        run: Run<'_>,
    ) -> Result<bool> {
        let end = plus(self.end, tar::END.len() as u64)?;
        let long = file
            .metadata()
            .is_ok_and(|meta| meta.is_file() && meta.len() == end);
        let mut small = self.small.iter();
        if !long || !small.all(|(slot, bytes)| has(file, slot, Some(bytes))) {
            return Ok(false);
        }
        let mut blobs_here = blobs.iter();
        let headers = blobs_here.all(|one| {
            let mut here = one.slots.iter().filter(|(tar, _)| *tar == number);
            here.all(|(_, slot)| has(file, slot, None))
        });
        if !headers {
            return Ok(false);
        }
        if let Some((slot, names)) = &self.sums {
            let digests = pieces(blobs, number).map(|slot| sum(&slot.section(file), run));
            let bytes = sums(names, &digests.collect::<Result<Vec<_>>>()?);
            if !has(file, slot, Some(&bytes)) {
                return Ok(false);
            }
        }
        let whole = blobs.iter().filter_map(|one| match one.slots.as_slice() {
            [(tar, slot)] if *tar == number => Some((one.blob, slot)),
            _ => None,
        });
        let right = parallel::map(
            run.jobs,
            whole.collect(),
            run.watch.stop,
            |(blob, slot), stop| is_right(blob, slot.section(file), run.stopped_by(stop)),
        )?;
        Ok(right.into_iter().all(|right| right))
    }
}

/// The slots in a tar that have a piece of a blob.
fn pieces<'a>(blobs: &'a [Spread<'_>], number: usize) -> impl Iterator<Item = &'a Slot> {
    let cut = blobs.iter().filter(|one| one.slots.len() > 1);
    let slots = cut.flat_map(|one| &one.slots);
    slots
        .filter(move |(tar, _)| *tar == number)
        .map(|(_, slot)| slot)
}

/// Whether `file` has this header, and these bytes after it.
fn has(file: &File, slot: &Slot, content: Option<&[u8]>) -> bool {
    let same = |bytes: &[u8], at: u64| {
        let mut found = vec![0; bytes.len()];
        file.read_exact_at(&mut found, at).is_ok() && found == bytes
    };
    same(&slot.header, slot.at) && content.is_none_or(|bytes| same(bytes, slot.content()))
}

impl Spread<'_> {
    /// Fetches the blob to its places, but for those that have it.
    fn put(&self, files: &[Opened], run: Run<'_>) -> Result<()> {
        let slots = self.slots.iter();
        let slots = slots.filter_map(|(number, slot)| Some((files.get(*number)?, slot)));
        let slots: Vec<(&Opened, &Slot)> = slots.collect();
        let is_new = |(file, _): &&(&Opened, &Slot)| file.partial.is_some();
        let new = slots.iter().filter(is_new).count();
        if new == 0 {
            return Ok(());
        }
        let sections = slots.iter().map(|(file, slot)| slot.section(&file.file));
        let whole = Joined(sections.collect());
        let mut headers = slots.iter();
        let complete = headers.all(|(file, slot)| has(&file.file, slot, None));
        if complete && is_right(self.blob, whole, run)? {
            return Ok(());
        }
        match new == slots.len() {
            true => self.fill(&slots, run)?,
            false => self.fill_some(&slots, run)?,
        }
        for (file, slot) in slots.iter().filter(is_new) {
            let written = file.file.write_all_at(&slot.header, slot.at);
            written.map_err(|e| Error::io(&file.what, e))?;
        }
        Ok(())
    }

    /// Fetches all of the blob, from what a run with another plan left if it is
    /// there.
    fn fill(&self, slots: &[(&Opened, &Slot)], run: Run<'_>) -> Result<()> {
        let mut left = slots.iter().map(|(file, _)| &file.left);
        if let Some(left) = left.find_map(|left| left.get(self.blob.digest())) {
            let blob = Blob::new(self.blob.descriptor().clone(), left.clone());
            match fetch(&blob, slots, run) {
                Err(error) if error.is_corrupt() => {}
                copied => return copied,
            }
        }
        fetch(self.blob, slots, run)
    }

    /// Fetches the pieces that are missing, and reads those that exist: the blob is
    /// hashed on its way.
    fn fill_some(&self, slots: &[(&Opened, &Slot)], run: Run<'_>) -> Result<()> {
        let mut from = 0;
        let pieces = slots.iter().map(|(file, slot)| {
            let at = from;
            from += slot.len;
            match file.partial {
                Some(_) => Piece::Missing(Box::new(self.blob.clone()), at, slot.len),
                None => Piece::There(slot.section(&file.file)),
            }
        });
        let pieces = Pieces(pieces.collect());
        fetch(
            &Blob::new(self.blob.descriptor().clone(), pieces),
            slots,
            run,
        )
    }
}

/// A piece of a blob that is cut.
enum Piece {
    /// It is in its file.
    There(Section),
    /// It is so many bytes of the blob, from an offset on.
    Missing(Box<Blob>, u64, u64),
}

/// A blob of which some pieces are in their files.
struct Pieces(Vec<Piece>);

impl Source for Pieces {
    fn open(&self, mut from: u64) -> Result<Box<dyn Read + Send + '_>> {
        let mut all: Box<dyn Read + Send + '_> = Box::new(io::empty());
        for piece in &self.0 {
            let len = match piece {
                Piece::There(section) => section.len(),
                Piece::Missing(_, _, len) => *len,
            };
            let skipped = from.min(len);
            from -= skipped;
            all = match piece {
                Piece::There(section) => Box::new(all.chain(section.reader(skipped))),
                Piece::Missing(blob, at, len) => {
                    let bytes = Later(blob, at + skipped, None).take(len - skipped);
                    Box::new(all.chain(bytes))
                }
            };
        }
        Ok(all)
    }
}

/// The bytes of a blob from an offset on, which are asked for when they are read.
struct Later<'a>(&'a Blob, u64, Option<Box<dyn Read + Send + 'a>>);

impl Read for Later<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.2.is_none() {
            self.2 = Some(self.0.open(self.1)?);
        }
        self.2.as_mut().map_or(Ok(0), |reader| reader.read(buf))
    }
}

/// Fetches all of a blob: never a byte more than announced, and no end before.
fn fetch(blob: &Blob, slots: &[(&Opened, &Slot)], run: Run<'_>) -> Result<()> {
    let (digest, watch) = (*blob.digest(), run.watch);
    watch.progress.start(&digest, Some(blob.size()));
    let to = slots.iter().rev();
    let mut to = Into(
        to.map(|(file, slot)| (*file, slot.content(), slot.len))
            .collect(),
    );
    let what = slots.first().map_or("", |(file, _)| &file.what);
    let mut bytes = watch.reader(digest, blob.verified()?);
    pour(&mut bytes, &mut to, &digest, what)?;
    watch.progress.finish(&digest);
    Ok(())
}

fn pour(from: &mut dyn Read, to: &mut dyn Write, digest: &Digest, what: &str) -> Result<()> {
    copy(from, to, &mut Buffer::new())
        .map(drop)
        .map_err(|e| e.naming(digest.to_string(), what))
}

/// A writer to places in files, the last of them first: each with an offset and
/// the bytes that it has room for. A file that is complete stays as it is.
struct Into<'a>(Vec<(&'a Opened, u64, u64)>);

impl Write for Into<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        while self.0.last().is_some_and(|(_, _, left)| *left == 0) {
            self.0.pop();
        }
        let Some((file, at, left)) = self.0.last_mut() else {
            // A caller that writes more than the size of a blob has not verified it.
            return Err(io::ErrorKind::InvalidData.into());
        };
        let room = bytes
            .len()
            .min(usize::try_from(*left).unwrap_or(usize::MAX));
        let n = match file.partial {
            Some(_) => file.file.write_at(&bytes[..room], *at)?,
            None => room,
        };
        (*at, *left) = (*at + n as u64, *left - n as u64);
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The bytes of several sections, one after the other.
#[derive(Clone)]
pub(super) struct Joined(pub Vec<Section>);

impl Joined {
    /// The bytes in all.
    pub fn len(&self) -> u64 {
        let lens = self.0.iter().map(Section::len);
        lens.fold(0, u64::saturating_add)
    }

    /// A reader from offset `from`.
    pub fn reader(&self, mut from: u64) -> Box<dyn Read + Send> {
        let mut all: Box<dyn Read + Send> = Box::new(io::empty());
        for section in &self.0 {
            let skipped = from.min(section.len());
            from -= skipped;
            all = Box::new(all.chain(section.reader(skipped)));
        }
        all
    }
}

impl Source for Joined {
    fn open(&self, from: u64) -> Result<Box<dyn Read + Send + '_>> {
        Ok(self.reader(from))
    }
}

/// The digest of a piece of a blob.
pub(super) fn sum(bytes: &Section, run: Run<'_>) -> Result<Digest> {
    let (mut hasher, mut reader, mut buffer) = (Hasher::new(), bytes.reader(0), Buffer::new());
    loop {
        run.watch.stop.check()?;
        match reader.read(&mut buffer) {
            Ok(0) => return Ok(hasher.finish()),
            Ok(n) => hasher.update(&buffer[..n]),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(Error::io("a piece of a blob", e)),
        }
    }
}

/// Whether these are the bytes of a blob.
fn is_right(blob: &Blob, bytes: impl Source + 'static, run: Run<'_>) -> Result<bool> {
    match check(&Blob::new(blob.descriptor().clone(), bytes), run) {
        Err(error) if error.is_corrupt() => Ok(false),
        checked => checked.map(|()| true),
    }
}

/// Reads all of a blob.
///
/// # Errors
/// [`Error::Mismatch`] and [`Error::Size`] for wrong bytes; those of its source.
pub(super) fn check(blob: &Blob, run: Run<'_>) -> Result<()> {
    let (digest, watch) = (*blob.digest(), run.watch);
    watch.progress.start(&digest, Some(blob.size()));
    let mut bytes = watch.reader(digest, blob.verified()?);
    pour(&mut bytes, &mut io::sink(), &digest, "memory")?;
    watch.progress.finish(&digest);
    Ok(())
}
