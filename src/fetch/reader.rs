//! Any bytes of blobs in a row, without fetching those around them.

use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;

use crate::error::{Error, Result};
use crate::fetch::Sequence;
use crate::fetch::check::{Item, items};
use crate::store::ReadStore;

/// The first request at a new place, bytes; twice as much with every
/// request that continues from there.
const FIRST: u64 = 1 << 20;
/// The largest request, bytes.
const MOST: u64 = 256 << 20;
/// How far ahead a seek may go that reads on instead of asking again, bytes.
const NEAR: u64 = 256 << 10;

/// Reads and seeks in blobs as if they were one file.
///
/// A seek costs nothing; a read at a new place costs a request for a range, and
/// a read a little further on none. **Nothing is verified**: a digest is of a
/// whole blob, so a registry can give wrong bytes here unnoticed. Use
/// [`ReadStore::pull_blob`] or [`super::into_file`] for what has to be right.
///
/// Where a server ignores ranges, what lies before the place is read and
/// thrown away. For a file in parts see [`crate::artifact::Parts::joined`].
///
/// ```
/// use dxf_registry::{Blob, Store, fetch::{Reader, BlobRef}, layout::Layouts, stream::{Stop, Watch}};
/// use std::io::{Read, Seek, SeekFrom};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let folder = tempfile::tempdir()?;
/// let store = Layouts::new(folder.path()).repository(&"team/data".parse()?);
/// let stop = Stop::new();
/// let mut row = Vec::new();
/// for text in ["hello, ", "world"] {
///     let blob = Blob::bytes("text/plain", text.into());
///     store.put_blob(&blob, Watch::new(&(), &stop))?;
///     row.push(BlobRef { digest: *blob.digest(), size: Some(blob.size()) }.into());
/// }
///
/// let mut reader = Reader::new(&store, &row)?;
/// reader.seek(SeekFrom::End(-7))?;
/// let mut text = String::new();
/// reader.read_to_string(&mut text)?;
/// assert_eq!(text, ", world");
/// # Ok(())
/// # }
/// ```
pub struct Reader<'a> {
    store: &'a dyn ReadStore,
    blobs: Vec<Placed>,
    size: u64,
    /// Where the next read is.
    at: u64,
    /// What was asked for and not read yet.
    open: Option<Open<'a>>,
    /// The size of a request; all of the range of a [`Reader::range`].
    ahead: u64,
}

/// A blob and its place in the row.
struct Placed {
    item: Item,
    range: Range<u64>,
}

struct Open<'a> {
    reader: Box<dyn Read + Send + 'a>,
    range: Range<u64>,
}

impl<'a> Reader<'a> {
    /// A reader over concatenated blobs. Sizes that are not known are
    /// asked for.
    ///
    /// # Errors
    /// Those of the store; [`Error::NotFound`], [`Error::Malformed`] when the
    /// sizes add up to too much.
    pub fn new(store: &'a dyn ReadStore, row: &[Sequence]) -> Result<Reader<'a>> {
        let (mut blobs, mut start) = (Vec::new(), 0u64);
        for item in items(row) {
            let digest = item.wanted.digest;
            let size = match item.wanted.size {
                Some(size) => Some(size),
                None => store.blob_size(&digest)?,
            };
            let size = size.ok_or_else(|| Error::NotFound {
                what: format!("blob {digest} in {}", store.name()),
            })?;
            let end = start.checked_add(size);
            let end = end
                .ok_or_else(|| Error::malformed("manifest", "the total size overflows 64 bits"))?;
            blobs.push(Placed {
                item,
                range: start..end,
            });
            start = end;
        }
        Ok(Reader {
            store,
            blobs,
            size: start,
            at: 0,
            open: None,
            ahead: FIRST,
        })
    }

    /// The bytes there are.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The bytes `range` alone, asked for with one request a blob.
    pub fn range(mut self, range: Range<u64>) -> impl Read + use<'a> {
        self.at = range.start;
        self.ahead = u64::MAX;
        // The reader may stop there, so nothing after it is requested.
        self.size = self.size.min(range.end);
        self
    }

    /// Makes `open` begin at `at`, by reading on or with a new request.
    fn place(&mut self) -> Result<()> {
        if let Some(open) = &mut self.open {
            let near = open.range.start..open.range.end.min(open.range.start + NEAR);
            if open.range.start == self.at && !open.range.is_empty() {
                return Ok(());
            }
            if near.contains(&self.at) {
                return skip(open, self.at);
            }
        }
        let goes_on = self
            .open
            .take()
            .is_some_and(|open| open.range.end == self.at);
        self.ahead = match (self.ahead, goes_on) {
            (u64::MAX, _) => u64::MAX,
            (ahead, true) => (ahead * 2).min(MOST),
            _ => FIRST,
        };
        self.open = Some(self.ask()?);
        Ok(())
    }

    fn ask(&self) -> Result<Open<'a>> {
        let found = self.blobs.partition_point(|blob| blob.range.end <= self.at);
        let Placed { item, range } = &self.blobs[found];
        let digest = &item.wanted.digest;
        let end = range
            .end
            .min(self.at.saturating_add(self.ahead))
            .min(self.size);
        let (from, to) = (self.at - range.start, end - range.start);
        let size = range.end - range.start;
        let ranged = match from == 0 && to == size {
            true => Ok(None),
            false => self.store.open_range(digest, from..to),
        };
        let content = match ranged {
            Ok(Some(content)) => Ok(content),
            Ok(None) => self.store.open_blob(digest, from),
            Err(error) => Err(error),
        };
        let content = content.map_err(|error| item.explain(error))?;
        if let Some(actual) = content.size.filter(|actual| *actual != size) {
            return Err(Error::Size {
                what: digest.to_string(),
                expected: size,
                actual,
            });
        }
        Ok(Open {
            reader: content.reader,
            range: self.at..end,
        })
    }
}

impl Read for Reader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() || self.at >= self.size {
            return Ok(0);
        }
        self.place()?;
        let Some(open) = &mut self.open else {
            return Ok(0);
        };
        let left = open.range.end - open.range.start;
        let most = usize::try_from(left)
            .unwrap_or(usize::MAX)
            .min(buffer.len());
        let n = open.reader.read(&mut buffer[..most])?;
        if n == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        open.range.start += n as u64;
        self.at += n as u64;
        if open.range.is_empty() {
            // A body that was read to its end leaves its connection to the next.
            // What goes wrong there is nothing to who has his bytes.
            let _ = open.reader.read(&mut [0]);
        }
        Ok(n)
    }
}

impl Seek for Reader<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let at = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(by) => self.size.checked_add_signed(by),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
        };
        self.at = at.ok_or_else(|| {
            io::Error::new(io::ErrorKind::InvalidInput, "a place before the beginning")
        })?;
        Ok(self.at)
    }
}

/// Reads on to `at`.
fn skip(open: &mut Open<'_>, at: u64) -> Result<()> {
    let wanted = at - open.range.start;
    let skipped = io::copy(&mut (&mut open.reader).take(wanted), &mut io::sink())?;
    if skipped < wanted {
        return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
    }
    open.range.start = at;
    Ok(())
}
