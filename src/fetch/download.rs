//! The way of blobs from a store to a writer: over one connection, and over
//! several where one is slow.
//!
//! What several connections fetch is handed over in order, so the writer is
//! never ahead of what was hashed, a file that is being made is always a
//! beginning of the whole, and memory stays bounded. A server that serves no
//! ranges, or wrong ones, is read over one connection.

use std::collections::HashMap;
use std::io::Read;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::digest::Digest;
use crate::error::{Error, NetworkKind, Result};
use crate::fetch::check::{Check, Item};
use crate::fetch::chunk::{Chunk, Chunks, shape};
use crate::fetch::throughput::{Throughput, Timed};
use crate::fetch::{Sequence, Sink, hashing};
use crate::parallel::{in_order, map};
use crate::progress::Progress;
use crate::store::{Content, ReadStore};
use crate::stream::{Run, Stop, Watch};

/// What a server gets to notice that connections were closed.
const NOTICED: Duration = Duration::from_millis(500);

/// Bytes on their way, not yet verified.
type Bytes<'a> = Box<dyn Read + Send + 'a>;

/// Blobs on their way.
pub struct Download<'a> {
    store: &'a dyn ReadStore,
    /// How far they have come.
    pub check: Check,
    run: Run<'a>,
    throughput: Throughput,
    ranged: bool,
    /// Whether sizes were asked for already.
    asked: bool,
}

/// A part that may have arrived early.
struct Filled {
    bytes: Vec<u8>,
    last: bool,
}

impl<'a> Download<'a> {
    /// From the first byte of the first blob.
    ///
    /// # Errors
    /// Those of [`Check::new`].
    pub fn new(store: &'a dyn ReadStore, row: &[Sequence], run: Run<'a>) -> Result<Download<'a>> {
        Ok(Download {
            store,
            check: Check::new(row)?,
            run,
            throughput: Throughput::default(),
            ranged: true,
            asked: false,
        })
    }

    /// Brings everything that is left to `to`.
    ///
    /// # Errors
    /// As [`super::into_writer`].
    pub fn finish(&mut self, to: &mut Sink<'_>) -> Result<u64> {
        while let Some(item) = self.check.current() {
            let item = item.clone();
            if self.throughput.is_slow() && item.wanted.size.is_none() {
                self.ask_sizes()?;
            }
            if self.throughput.is_slow() && self.chunks().take(2).count() == 2 {
                self.together(Vec::new(), to)?;
            } else {
                self.alone(&item, to)?;
            }
        }
        Ok(self.check.start())
    }

    /// Fetches a blob, or what is left of it, over one connection; over more
    /// if that is slow.
    fn alone(&mut self, item: &Item, to: &mut Sink<'_>) -> Result<()> {
        let (watch, digest, seen) = (self.run.watch, item.wanted.digest, self.check.seen());
        let begun = Instant::now();
        let content = self.store.open_blob(&digest, seen);
        let content = content.map_err(|error| item.explain(error))?;
        self.throughput.opened(begun.elapsed());
        self.check.learn(content.size);
        watch.progress.start(&digest, self.check.size());
        if seen > 0 {
            watch.progress.advance(&digest, seen);
        }
        let mut reader = content.reader;
        loop {
            let size = self.check.size().unwrap_or(0);
            let left = size.saturating_sub(self.check.seen());
            let worth = self.worth();
            let mut timed = Timed::new(&mut reader, &mut self.throughput, left, worth);
            let mut counted = watch.reader(digest, &mut timed);
            hashing::copy(&mut self.check, &mut counted, to)?;
            if !timed.paused {
                break;
            }
            match self.second(item)? {
                Some(second) => return self.together(vec![reader, second], to),
                None => self.ranged = false,
            }
        }
        self.check.end_blob()?;
        watch.progress.finish(&digest);
        Ok(())
    }

    /// Asks for the sizes of what is left, several at once: without them
    /// nothing could be fetched at once. Done when it is known to be worth it.
    fn ask_sizes(&mut self) -> Result<()> {
        let (items, _) = self.check.rest();
        let (workers, _) = shape(self.run.jobs);
        let unknown = items.iter().filter(|item| item.wanted.size.is_none());
        let unknown: Vec<Digest> = unknown.map(|item| item.wanted.digest).collect();
        if std::mem::replace(&mut self.asked, true) || workers == 1 || unknown.len() < 2 {
            return Ok(());
        }
        let sizes = map(workers, unknown, self.run.watch.stop, |digest, _| {
            // A request without an answer now gets one, or an error, later.
            Ok((digest, self.store.blob_size(&digest).ok().flatten()))
        });
        let known: HashMap<Digest, Option<u64>> = sizes?.into_iter().collect();
        self.check.learn_all(&known);
        Ok(())
    }

    /// How much must be left of a blob to make another connection worth it.
    fn worth(&self) -> u64 {
        let (workers, most) = shape(self.run.jobs);
        match workers {
            1 => u64::MAX,
            _ if !self.ranged => u64::MAX,
            _ => 2 * most,
        }
    }

    /// What is left, as far as its sizes are known, for several connections.
    fn chunks(&self) -> Chunks {
        let (items, seen) = self.check.rest();
        let (workers, most) = shape(self.run.jobs);
        let sizes = items.iter().map_while(|item| item.wanted.size);
        let sizes = if workers == 1 {
            Vec::new()
        } else {
            sizes.collect()
        };
        Chunks::new(sizes, seen, most, self.ranged)
    }

    /// Tries a second connection while the first still works;
    /// `None` when the store does not take it well.
    fn second(&self, item: &Item) -> Result<Option<Bytes<'a>>> {
        let Some(chunk) = self.chunks().nth(1) else {
            return Ok(None);
        };
        let range = self.store.open_range(&item.wanted.digest, chunk.range);
        match range {
            Ok(Some(content)) if fits(&content, item) => Ok(Some(content.reader)),
            Err(Error::Stopped) => Err(Error::Stopped),
            // Whatever is wrong with it, the first connection still works.
            _ => Ok(None),
        }
    }

    /// Fetches what is left over several connections; `open` are those of the
    /// first chunks, where there are some already.
    fn together(&mut self, open: Vec<Bytes<'a>>, to: &mut Sink<'_>) -> Result<()> {
        let (mut chunks, mut open) = (self.chunks(), open.into_iter());
        let (workers, _) = shape(self.run.jobs);
        let items = self.check.rest().0.to_vec();
        let fetch = Fetch {
            store: self.store,
            items: &items,
            watch: self.run.watch,
            refused: AtomicBool::new(false),
            limited: AtomicBool::new(false),
            spare: Mutex::default(),
        };
        let (check, progress) = (&mut self.check, self.run.watch.progress);
        let mut unwritten = None;
        let done = in_order(
            workers,
            self.run.watch.stop,
            || Ok(chunks.next().map(|chunk| (chunk, open.next()))),
            |(chunk, open), stop| fetch.get(&chunk, open, stop),
            |filled: Filled| {
                if let Err(error) = to.write(&filled.bytes) {
                    unwritten = Some(error);
                    return Err(Error::Stopped);
                }
                arrived(check, &filled, progress)?;
                fetch.give_back(filled.bytes);
                Ok(())
            },
        );
        if let Some(error) = unwritten {
            // Some of it may have been written, so nothing can follow it.
            return Err(error);
        }
        if self.run.watch.stop.is_set() {
            return done;
        }
        if done.is_err() && fetch.limited.into_inner() {
            // One connection was taken well, so the rest comes over one, once the
            // server has noticed that the others are closed.
            self.run.jobs = 1;
            return self.run.watch.stop.wait(NOTICED);
        }
        if fetch.refused.into_inner() {
            // What went wrong with others meanwhile goes wrong again, alone.
            self.ranged = false;
            return Ok(());
        }
        done
    }
}

/// Checks a chunk whose turn it is.
fn arrived(check: &mut Check, filled: &Filled, progress: &dyn Progress) -> Result<()> {
    check.count(filled.bytes.len())?;
    check.hashers().update(&filled.bytes);
    if filled.last {
        let digest = check.current().map(|item| item.wanted.digest);
        check.end_blob()?;
        digest.inspect(|digest| progress.finish(digest));
    }
    Ok(())
}

/// What the workers of [`Download::together`] share.
struct Fetch<'f, 'a> {
    store: &'a dyn ReadStore,
    items: &'f [Item],
    watch: Watch<'a>,
    /// Whether a range was not served.
    refused: AtomicBool,
    /// Whether the store refused one connection more.
    limited: AtomicBool,
    spare: Mutex<Vec<Vec<u8>>>,
}

impl<'a> Fetch<'_, 'a> {
    fn get(&self, chunk: &Chunk, open: Option<Bytes<'a>>, stop: &Stop) -> Result<Filled> {
        let item = &self.items[chunk.blob];
        let digest = item.wanted.digest;
        if chunk.range.start == 0 {
            self.watch.progress.start(&digest, item.wanted.size);
        }
        let fresh = open.is_none();
        let reader = match open {
            Some(reader) => reader,
            None => self.open(chunk, item)?,
        };
        let watch = Watch::new(self.watch.progress, stop);
        let mut reader = watch.reader(digest, reader);
        let len = chunk.range.end - chunk.range.start;
        let mut bytes = self.buffer(len);
        let failed = |e| Error::io(digest.to_string(), e);
        let n = hashing::read_full(&mut reader, &mut bytes).map_err(failed)?;
        // A body that was read to its end leaves its connection to the next.
        let more = match fresh {
            true => reader.read(&mut [0]).map_err(failed)?,
            false => 0,
        };
        if n < bytes.len() || more > 0 {
            return Err(Error::Size {
                what: digest.to_string(),
                expected: chunk.range.end,
                actual: chunk.range.start + (n + more) as u64,
            });
        }
        Ok(Filled {
            bytes,
            last: chunk.last,
        })
    }

    fn open(&self, chunk: &Chunk, item: &Item) -> Result<Bytes<'a>> {
        let explain = |error: Error| {
            if is_limit(&error) {
                self.limited.store(true, Ordering::SeqCst);
            }
            item.explain(error)
        };
        let digest = &item.wanted.digest;
        if chunk.whole {
            let content = self.store.open_blob(digest, 0).map_err(explain)?;
            return Ok(content.reader);
        }
        let content = self.store.open_range(digest, chunk.range.clone());
        match content.map_err(explain)? {
            Some(content) if fits(&content, item) => Ok(content.reader),
            _ => {
                self.refused.store(true, Ordering::SeqCst);
                Err(Error::Unsupported {
                    what: format!("{digest}: the server does not support ranges"),
                })
            }
        }
    }

    fn buffer(&self, len: u64) -> Vec<u8> {
        let spare = self.spare.lock();
        let spare = spare.unwrap_or_else(PoisonError::into_inner).pop();
        let mut buffer = spare.unwrap_or_default();
        // No chunk is larger than what shape() allows.
        buffer.resize(len as usize, 0);
        buffer
    }

    fn give_back(&self, buffer: Vec<u8>) {
        let spare = self.spare.lock();
        spare.unwrap_or_else(PoisonError::into_inner).push(buffer);
    }
}

/// Whether it is how servers refuse a client more connections than they allow:
/// nginx with 503, content networks with 429 and 403, others by hanging up.
fn is_limit(error: &Error) -> bool {
    let cut = matches!(
        error.what(),
        Error::Network {
            kind: NetworkKind::Cut,
            ..
        }
    );
    cut || matches!(error.status(), Some(403 | 429 | 503))
}

/// Whether the store says of the blob's size what is known of it.
fn fits(content: &Content<'_>, item: &Item) -> bool {
    content.size.is_none() || item.wanted.size.is_none() || content.size == item.wanted.size
}
