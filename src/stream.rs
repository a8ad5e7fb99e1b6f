//! Moving bytes: one large buffer, counted, and stopped when asked.
//!
//! [`Stop`] is how an interrupt or a failed neighbour reaches a transfer;
//! [`Watch`] is what every transfer is given to report to and obey. Knows
//! nothing of what the bytes mean.

use std::io::{self, Read, Write};
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, LazyLock, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::progress::Progress;

/// Bytes moved at a time. Larger buys nothing on loopback, smaller costs calls.
pub const BUFFER: usize = 256 * 1024;

/// What a [`Buffer`] is aligned to, bytes: a page of most machines.
const PAGE: usize = 4096;

/// How many buffers that are not in use are kept: making one costs as much as filling it.
const SPARE: usize = 8;

/// Buffers that are not in use.
static UNUSED: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());

fn unused() -> MutexGuard<'static, Vec<Vec<u8>>> {
    // The list stays whole even after a panic in another thread.
    UNUSED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// [`BUFFER`] bytes to read into.
///
/// They begin at a page. A large vector begins 16 bytes after one, and there
/// the instruction with which a kernel copies (`rep movsb`) is half as fast on
/// AMD's Zen 3 and later.
pub struct Buffer {
    bytes: Vec<u8>,
    start: usize,
}

impl Buffer {
    /// Zeros, or what was in it when it was last used.
    pub fn new() -> Buffer {
        let unused = unused().pop();
        let bytes = unused.unwrap_or_else(|| vec![0; BUFFER + PAGE]);
        let start = bytes.as_ptr().align_offset(PAGE).min(PAGE);
        Buffer { bytes, start }
    }
}

impl Default for Buffer {
    fn default() -> Buffer {
        Buffer::new()
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let bytes = std::mem::take(&mut self.bytes);
        let mut unused = unused();
        if unused.len() < SPARE {
            unused.push(bytes);
        }
    }
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[self.start..self.start + BUFFER]
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start..self.start + BUFFER]
    }
}

/// A request to end, shared by everything that should hear it.
///
/// Clones are the same request. A [`Stop::child`] also ends when its parent
/// does, but not vice versa.
#[derive(Clone, Default)]
pub struct Stop(Arc<State>);

#[derive(Default)]
struct State {
    /// Kept alive, because requests further up come through it.
    _parent: Option<Parent>,
    /// A request that is never made.
    never: bool,
    set: AtomicBool,
    listeners: Mutex<Listeners>,
    woken: Condvar,
}

/// The hooks to call when the request is made. Each removes itself when it is
/// dropped, so that a long-lived `Stop` does not grow.
#[derive(Default)]
struct Listeners {
    children: Vec<Weak<State>>,
    hooks: Vec<(u64, Box<dyn FnOnce() + Send>)>,
    /// The number of the next hook.
    next: u64,
}

impl Stop {
    /// A request that was not made yet.
    pub fn new() -> Stop {
        Stop::default()
    }

    /// A narrower request, made through it or through `self`.
    pub fn child(&self) -> Stop {
        if self.0.never {
            return Stop::new();
        }
        let child = Stop(Arc::new(State {
            _parent: Some(Parent(self.clone())),
            ..State::default()
        }));
        let mut listeners = self.lock();
        if self.is_set() {
            child.0.set.store(true, Ordering::SeqCst);
        } else {
            listeners.children.push(Arc::downgrade(&child.0));
        }
        drop(listeners);
        child
    }

    /// Makes the request, here and in all children: wakes who waits, and runs
    /// the hooks of [`Stop::on_set`] once.
    pub fn set(&self) {
        if self.0.never {
            return;
        }
        let Listeners {
            children, hooks, ..
        } = {
            let mut listeners = self.lock();
            self.0.set.store(true, Ordering::SeqCst);
            std::mem::take(&mut *listeners)
        };
        self.0.woken.notify_all();
        for (_, hook) in hooks {
            hook();
        }
        for child in children.iter().filter_map(Weak::upgrade) {
            Stop(child).set();
        }
    }

    /// Whether the request was made, here or above.
    pub fn is_set(&self) -> bool {
        self.0.set.load(Ordering::SeqCst)
    }

    /// Returns an error once a stop was requested.
    ///
    /// # Errors
    /// [`Error::Stopped`] from then on.
    pub fn check(&self) -> Result<()> {
        if self.is_set() {
            Err(Error::Stopped)
        } else {
            Ok(())
        }
    }

    /// Runs `hook` when the request is made, here or above; at once if it was.
    /// Dropping the returned value forgets the hook and frees its memory.
    #[must_use = "the hook is forgotten when this is dropped"]
    pub fn on_set(&self, hook: impl FnOnce() + Send + 'static) -> Hook {
        let mut listeners = self.lock();
        let number = listeners.next;
        if self.is_set() {
            drop(listeners);
            hook();
        } else if !self.0.never {
            listeners.next += 1;
            listeners.hooks.push((number, Box::new(hook)));
        }
        Hook {
            stop: self.clone(),
            number,
        }
    }

    /// Waits `time`, or less when the request is made meanwhile.
    ///
    /// # Errors
    /// [`Error::Stopped`] when it was.
    pub fn wait(&self, time: Duration) -> Result<()> {
        // Longer than a lifetime, and still a time that can be added to.
        const LONGEST: Duration = Duration::from_secs(100 * 365 * 24 * 3600);
        let waited = self
            .0
            .woken
            .wait_timeout_while(self.lock(), time.min(LONGEST), |_| !self.is_set());
        drop(waited.unwrap_or_else(PoisonError::into_inner));
        self.check()
    }

    fn lock(&self) -> MutexGuard<'_, Listeners> {
        // Lists stay whole even after a panic in another thread.
        let listeners = self.0.listeners.lock();
        listeners.unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a child holds of its parent; the parent forgets the child with it.
struct Parent(Stop);

impl Drop for Parent {
    fn drop(&mut self) {
        let alive = |child: &Weak<State>| child.strong_count() > 0;
        self.0.lock().children.retain(alive);
    }
}

/// What [`Stop::on_set`] runs, for as long as this lives.
pub struct Hook {
    stop: Stop,
    number: u64,
}

impl Drop for Hook {
    fn drop(&mut self) {
        let mut listeners = self.stop.lock();
        let place = |(number, _): &(u64, _)| *number == self.number;
        let found = listeners.hooks.iter().position(place);
        let hook = found.map(|found| listeners.hooks.swap_remove(found));
        // What it holds may use this very request when it is dropped.
        drop(listeners);
        drop(hook);
    }
}

/// What a transfer reports to and obeys.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub struct Watch<'a> {
    /// Hears how far the transfer has come.
    pub progress: &'a dyn Progress,
    /// Ends the transfer within one buffer.
    pub stop: &'a Stop,
}

/// Reports nothing and ends with the work.
impl Default for Watch<'_> {
    fn default() -> Self {
        // Shared by all callers, so nothing may set it.
        static NEVER: LazyLock<Stop> = LazyLock::new(|| {
            Stop(Arc::new(State {
                never: true,
                ..State::default()
            }))
        });
        Watch::new(&(), &NEVER)
    }
}

impl<'a> Watch<'a> {
    /// Reports to `progress` and obeys `stop`.
    pub fn new(progress: &'a dyn Progress, stop: &'a Stop) -> Watch<'a> {
        Watch { progress, stop }
    }

    /// A reader whose bytes are counted as progress of `blob`.
    pub fn reader<R: Read>(self, blob: Digest, inner: R) -> Watched<'a, R> {
        Watched {
            watch: self,
            blob,
            inner,
        }
    }
}

/// How work on several blobs is done: how many at once, and watched by whom.
#[derive(Clone, Copy)]
pub struct Run<'a> {
    /// Transfers at once.
    pub jobs: usize,
    /// Hears of every one of them, and ends them.
    pub watch: Watch<'a>,
}

/// Eight at once, not watched.
impl Default for Run<'_> {
    fn default() -> Self {
        Run::new(8, Watch::default())
    }
}

impl<'a> Run<'a> {
    /// `jobs` at once, all watched by `watch`.
    pub fn new(jobs: usize, watch: Watch<'a>) -> Run<'a> {
        Run { jobs, watch }
    }

    /// For so many images: how many of them to transfer at once, and how to transfer
    /// each. Many are transferred side by side, few with several blobs at once.
    pub fn split(self, images: usize) -> (usize, Run<'a>) {
        match images >= self.jobs {
            true => (self.jobs, Run::new(1, self.watch)),
            false => (1, self),
        }
    }

    /// The same with another request to end, as [`crate::parallel`] hands out.
    pub fn stopped_by<'b>(self, stop: &'b Stop) -> Run<'b>
    where
        'a: 'b,
    {
        Run {
            jobs: self.jobs,
            watch: Watch::new(self.watch.progress, stop),
        }
    }
}

/// A reader that counts and can be stopped; see [`Watch::reader`].
pub struct Watched<'a, R> {
    watch: Watch<'a>,
    blob: Digest,
    inner: R,
}

impl<R: Read> Read for Watched<'_, R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.watch.stop.check()?;
        let n = self.inner.read(buf)?;
        if n > 0 {
            self.watch.progress.advance(&self.blob, n as u64);
        }
        Ok(n)
    }
}

/// Why [`copy`] ended early: which side failed.
#[derive(Debug)]
pub enum CopyError {
    /// The source.
    Read(io::Error),
    /// The destination.
    Write(io::Error),
}

impl CopyError {
    /// The error that names the side that failed: `source` or `destination`.
    pub fn naming(self, source: impl Into<String>, destination: impl Into<String>) -> Error {
        match self {
            CopyError::Read(error) => Error::io(source, error),
            CopyError::Write(error) => Error::io(destination, error),
        }
    }

    /// What happened, on whichever side.
    pub fn into_io(self) -> io::Error {
        match self {
            CopyError::Read(error) | CopyError::Write(error) => error,
        }
    }
}

/// Copies everything through `buffer`, which must not be empty.
///
/// # Errors
/// Which side failed, and how.
pub fn copy(from: &mut dyn Read, to: &mut dyn Write, buffer: &mut [u8]) -> Result<u64, CopyError> {
    let mut total = 0;
    loop {
        let n = match from.read(buffer) {
            Ok(0) => return Ok(total),
            Ok(n) => n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(CopyError::Read(e)),
        };
        to.write_all(&buffer[..n]).map_err(CopyError::Write)?;
        total += n as u64;
    }
}

/// More than most manifests and configs have, bytes.
const SMALL: usize = 8 << 10;

/// Reads everything, but no more than `limit` bytes.
///
/// # Errors
/// [`Error::Malformed`] naming `what` when there is more; the reader's own.
pub fn read_bounded(what: &str, from: impl Read, limit: u64) -> Result<Vec<u8>> {
    // An empty vector would be read into 32 bytes at first.
    let room = usize::try_from(limit.saturating_add(1)).unwrap_or(SMALL);
    let mut bytes = Vec::with_capacity(room.min(SMALL));
    from.take(limit.saturating_add(1))
        .read_to_end(&mut bytes)
        .map_err(|e| Error::io(what, e))?;
    bytes.shrink_to_fit();
    if bytes.len() as u64 > limit {
        return Err(Error::malformed(
            what,
            format!("it is larger than {limit} bytes"),
        ));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicU64;
    use std::time::Instant;

    #[test]
    fn unused_buffers_are_kept_within_reason() {
        let many: Vec<Buffer> = (0..2 * SPARE).map(|_| Buffer::new()).collect();
        assert!(many.iter().all(|buffer| buffer.len() == BUFFER));
        drop(many);
        assert!((1..=SPARE).contains(&unused().len()));
    }

    #[test]
    fn a_buffer_begins_at_a_page() {
        let mut buffer = Buffer::new();
        assert_eq!(
            (buffer.len(), buffer.as_ptr().align_offset(PAGE)),
            (BUFFER, 0)
        );
        buffer.fill(0);
        buffer[BUFFER - 1] = 7;
        assert_eq!(buffer.iter().filter(|byte| **byte != 0).count(), 1);
    }

    #[test]
    fn stop_reaches_children_and_not_parents() {
        let top = Stop::new();
        let (a, b) = (top.child(), top.child());
        a.set();
        assert!(a.is_set() && !b.is_set() && !top.is_set());
        top.set();
        assert!(b.is_set() && matches!(b.check(), Err(Error::Stopped)));
        assert!(matches!(
            b.wait(Duration::from_secs(60)),
            Err(Error::Stopped)
        ));
    }

    #[test]
    fn waiting_ends_with_the_request() {
        let stop = Stop::new();
        let child = stop.child();
        let begun = Instant::now();
        std::thread::scope(|s| {
            s.spawn(|| assert!(child.wait(Duration::from_secs(30)).is_err()));
            s.spawn(|| assert!(stop.wait(Duration::from_secs(30)).is_err()));
            stop.set();
        });
        assert!(begun.elapsed() < Duration::from_secs(10));
        assert!(Stop::new().wait(Duration::from_millis(1)).is_ok());
        // For ever is no time to panic about.
        assert!(stop.wait(Duration::MAX).is_err());
    }

    #[test]
    fn hooks_run_once_and_children_s_too() {
        let count = Arc::new(AtomicU64::new(0));
        let add = |n| {
            let count = count.clone();
            move || {
                count.fetch_add(n, Ordering::SeqCst);
            }
        };
        let stop = Stop::new();
        let grandchild = stop.child().child();
        let _hooks = [stop.on_set(add(1)), grandchild.on_set(add(10))];
        drop(grandchild.on_set(add(1000)));
        stop.set();
        stop.set();
        grandchild.set();
        let _late = grandchild.on_set(add(100));
        assert_eq!(count.load(Ordering::SeqCst), 111);
        assert!(stop.child().is_set());
    }

    #[test]
    fn nothing_stays_after_its_owner() {
        let (stop, held) = (Stop::new(), Arc::new(()));
        for _ in 0..100 {
            let (child, held) = (stop.child(), held.clone());
            let _hook = child.on_set(move || drop(held));
        }
        assert!(stop.lock().children.is_empty() && stop.lock().hooks.is_empty());
        assert_eq!(Arc::strong_count(&held), 1);
    }

    struct Count(AtomicU64);
    impl Progress for Count {
        fn start(&self, _: &Digest, _: Option<u64>) {}
        fn advance(&self, _: &Digest, bytes: u64) {
            self.0.fetch_add(bytes, Ordering::SeqCst);
        }
        fn finish(&self, _: &Digest) {}
    }

    #[test]
    fn watched_readers_count_and_stop() {
        let (count, stop) = (Count(AtomicU64::new(0)), Stop::new());
        let watch = Watch::new(&count, &stop);
        let mut out = Vec::new();
        let mut reader = watch.reader(Digest::of(b""), &b"hello"[..]);
        assert_eq!(copy(&mut reader, &mut out, &mut [0; 2]).unwrap(), 5);
        assert_eq!(
            (out.as_slice(), count.0.load(Ordering::SeqCst)),
            (&b"hello"[..], 5)
        );
        stop.set();
        let failed = copy(&mut reader, &mut out, &mut [0; 2]);
        let Err(CopyError::Read(e)) = failed else {
            panic!("{failed:?}")
        };
        assert!(matches!(Error::from(e), Error::Stopped));
    }

    #[test]
    fn what_nobody_watches_nobody_can_stop() {
        Watch::default().stop.set();
        assert!(Run::default().watch.stop.check().is_ok());
        let child = Watch::default().stop.child();
        child.set();
        assert!(child.is_set() && !Watch::default().stop.is_set());
    }

    #[test]
    fn bounded_reads_end() {
        assert_eq!(read_bounded("x", &b"abc"[..], 3).unwrap(), b"abc");
        assert!(matches!(
            read_bounded("x", &b"abcd"[..], 3),
            Err(Error::Malformed { .. })
        ));
    }
}
