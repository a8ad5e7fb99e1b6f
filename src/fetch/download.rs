//! The way of blobs from a store to a writer: over one connection, and over
//! several where one is slow.
//!
//! What several connections fetch is handed over in order, so the writer is
//! never ahead of what was hashed, and a file that is being made is always a
//! beginning of the whole; what comes early waits elsewhere. A server that serves no
//! ranges, or wrong ones, is read over one connection.

use std::collections::HashMap;
use std::io::Read;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::digest::Digest;
use crate::error::{Error, NetworkKind, Result};
use crate::fetch::check::{Check, Item};
use crate::fetch::chunk::{Chunk, Chunks};
use crate::fetch::throughput::{Throughput, Timed};
use crate::fetch::waiting::{Held, Waiting};
use crate::fetch::{Sequence, Sink, hashing};
use crate::parallel::{in_order, map};
use crate::progress::Progress;
use crate::store::{Content, ReadStore};
use crate::stream::{Run, Stop, Watch};

/// What a server gets to notice that connections were closed.
const NOTICED: Duration = Duration::from_millis(500);

/// How much must be left of a blob to make another connection worth it, bytes.
const WORTH: u64 = 8 << 20;
/// Buffers between reading and hashing a blob, and where it is one of several that are
/// fetched at once: each of those waits for the others anyway.
pub const BUFFERS: usize = 4;
const BUFFERS_OF_MANY: usize = 2;
/// The largest of several blobs for which no thread is made that hashes it, bytes: those
/// that fetch the others use the processors meanwhile, and each thread more costs memory.
const SMALL_OF_MANY: u64 = 16 << 20;

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
    /// Where chunks wait for their turn, once there are several connections.
    waiting: Option<Waiting>,
}

/// A part that may have arrived early.
struct Filled {
    held: Held,
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
            waiting: None,
        })
    }

    /// Brings everything that is left to `to`.
    ///
    /// # Errors
    /// As [`super::into_writer`].
    pub fn finish(&mut self, to: &mut Sink<'_>) -> Result<u64> {
        while let Some(item) = self.check.current() {
            let item = item.clone();
            if self.throughput.is_slow() {
                self.prepare(to);
            }
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
        let buffers = self.buffers();
        loop {
            let size = self.check.size().unwrap_or(0);
            let left = size.saturating_sub(self.check.seen());
            let worth = self.worth();
            let mut timed = Timed::new(&mut reader, &mut self.throughput, left, worth);
            let mut counted = watch.reader(digest, &mut timed);
            hashing::copy(&mut self.check, &mut counted, to, buffers)?;
            if !timed.paused {
                break;
            }
            self.prepare(to);
            match self.second(item)? {
                Some(second) => return self.together(vec![reader, second], to),
                None => self.ranged = false,
            }
        }
        self.check.end_blob()?;
        watch.progress.finish(&digest);
        Ok(())
    }

    /// How many buffers there are between reading and hashing the blob that comes now.
    fn buffers(&self) -> usize {
        let is_small = |size| size <= SMALL_OF_MANY;
        match self.run.jobs {
            2.. => BUFFERS,
            _ if self.check.size().is_some_and(is_small) => 1,
            _ => BUFFERS_OF_MANY,
        }
    }

    /// Makes a place for what several connections bring.
    fn prepare(&mut self, to: &Sink<'_>) {
        if self.waiting.is_none() {
            self.waiting = Some(Waiting::new(self.run.jobs, to.folder));
        }
    }

    /// How many connections there may be; one before a place was made for what
    /// several bring.
    fn workers(&self) -> usize {
        let prepared = self.waiting.as_ref().map_or(1, |waiting| waiting.workers);
        prepared.min(self.run.jobs)
    }

    /// Asks for the sizes of what is left, several at once: without them
    /// nothing could be fetched at once. Done when it is known to be worth it.
    fn ask_sizes(&mut self) -> Result<()> {
        let (items, _) = self.check.rest();
        let workers = self.workers();
        let unknown = items.iter().filter(|item| item.wanted.size.is_none());
        let unknown: Vec<Digest> = unknown.map(|item| item.wanted.digest).collect();
        if std::mem::replace(&mut self.asked, true) || workers <= 1 || unknown.len() < 2 {
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
        match self.ranged && self.run.jobs > 1 {
            true => WORTH,
            false => u64::MAX,
        }
    }

    /// What is left, as far as its sizes are known, for several connections.
    fn chunks(&self) -> Chunks {
        let (items, seen) = self.check.rest();
        let sizes = items.iter().map_while(|item| item.wanted.size);
        match &self.waiting {
            Some(waiting) if self.workers() > 1 => {
                Chunks::new(sizes.collect(), seen, waiting.most, self.ranged)
            }
            _ => Chunks::new(Vec::new(), seen, u64::MAX, self.ranged),
        }
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
        let workers = self.workers();
        let Some(waiting) = &self.waiting else {
            return Ok(());
        };
        let items = self.check.rest().0.to_vec();
        let fetch = Fetch {
            store: self.store,
            items: &items,
            watch: self.run.watch,
            refused: AtomicBool::new(false),
            limited: AtomicBool::new(false),
            waiting,
        };
        let (check, progress) = (&mut self.check, self.run.watch.progress);
        let mut unwritten = None;
        let done = in_order(
            workers,
            self.run.watch.stop,
            || Ok(chunks.next().map(|chunk| (chunk, open.next()))),
            |(chunk, open), stop| fetch.get(&chunk, open, stop),
            |filled: Filled| {
                waiting.give(filled.held, |bytes| {
                    if let Err(error) = to.write(bytes) {
                        unwritten = Some(error);
                        return Err(Error::Stopped);
                    }
                    check.count(bytes.len())?;
                    check.hashers().update(bytes);
                    Ok(())
                })?;
                match filled.last {
                    true => end_blob(check, progress),
                    false => Ok(()),
                }
            },
        );
        let trouble = Trouble {
            is_broken: waiting.is_broken(),
            is_limited: fetch.limited.into_inner(),
            is_refused: fetch.refused.into_inner(),
        };
        match unwritten {
            // Some of it may have been written, so nothing can follow it.
            Some(error) => Err(error),
            None => self.after(done, &trouble),
        }
    }

    /// Decides how what is left comes after several connections have ended as `done`.
    fn after(&mut self, done: Result<()>, trouble: &Trouble) -> Result<()> {
        if self.run.watch.stop.is_set() {
            return done;
        }
        if done.is_err() && trouble.is_broken {
            // What was written is a beginning, and the rest may wait in memory.
            self.waiting = Some(Waiting::new(self.run.jobs, None));
            return Ok(());
        }
        if done.is_err() && trouble.is_limited {
            // One connection was taken well, so the rest comes over one, once the
            // server has noticed that the others are closed.
            self.run.jobs = 1;
            return self.run.watch.stop.wait(NOTICED);
        }
        if trouble.is_refused {
            // What went wrong with others meanwhile goes wrong again, alone.
            self.ranged = false;
            return Ok(());
        }
        done
    }
}

/// What became of several connections.
struct Trouble {
    /// What waits for its turn could not be kept in a file.
    is_broken: bool,
    /// The store refused one connection more.
    is_limited: bool,
    /// A range was not served.
    is_refused: bool,
}

/// Checks a blob of which all has come.
fn end_blob(check: &mut Check, progress: &dyn Progress) -> Result<()> {
    let digest = check.current().map(|item| item.wanted.digest);
    check.end_blob()?;
    digest.inspect(|digest| progress.finish(digest));
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
    waiting: &'f Waiting,
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
        let what = digest.to_string();
        let (held, n) = self.waiting.fill(&what, &mut reader, len)?;
        let failed = |e| Error::io(&what, e);
        // A body that was read to its end leaves its connection to the next.
        let more = match fresh {
            true => reader.read(&mut [0]).map_err(failed)?,
            false => 0,
        };
        if n < len || more > 0 {
            return Err(Error::Size {
                expected: chunk.range.end,
                actual: chunk.range.start + n + more as u64,
                what,
            });
        }
        Ok(Filled {
            held,
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
