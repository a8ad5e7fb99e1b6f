//! The progress of one thing that moves as several blobs: one bar for all.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use dxf_registry::Digest;
use dxf_registry::progress::{Progress, Skipped};

use crate::cli::out::bars::Show;
use crate::cli::out::console::Console;
use crate::cli::out::tally::{Tally, Verb};

/// Adds up the progress of the blobs.
pub struct Sum<'a> {
    inner: &'a dyn Progress,
    /// The key under which the sum is reported; never shown.
    key: Digest,
    total: Option<u64>,
    begun: Instant,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    blobs: HashMap<Digest, Moved>,
    /// Reported bytes that move a second time: a bar only moves forward.
    ahead: u64,
    told: u64,
    tally: Tally,
}

/// How far a blob has come.
struct Moved {
    total: u64,
    done: u64,
}

impl<'a> Sum<'a> {
    /// Tells `inner` of `total` bytes, where that is known.
    pub fn new(inner: &'a dyn Progress, total: Option<u64>) -> Sum<'a> {
        let key = Digest::of(b"");
        inner.start(&key, total);
        Sum {
            inner,
            key,
            total,
            begun: Instant::now(),
            state: Mutex::default(),
        }
    }

    /// All has moved.
    pub fn done(&self) {
        self.inner.finish(&self.key);
    }

    /// Says how many parts were uploaded, where progress of `name` is shown.
    pub fn show(&self, name: &str, show: Show, console: &Console) {
        if show != Show::Nothing {
            let took = self.begun.elapsed();
            let say = |state: &mut State| state.tally.line("part", Verb::Uploaded, took);
            console.line(&format!("{name}: {}", self.with(say)));
        }
    }

    /// Whether nothing is on its way.
    pub fn is_quiet(&self) -> bool {
        self.with(|state| state.blobs.is_empty())
    }

    fn tell(&self, state: &mut State, bytes: u64) {
        let paid = bytes.min(state.ahead);
        state.ahead -= paid;
        let left = self.total.map_or(u64::MAX, |total| total - state.told);
        let more = (bytes - paid).min(left);
        state.told += more;
        if more > 0 {
            self.inner.advance(&self.key, more);
        }
    }

    fn with<T>(&self, work: impl FnOnce(&mut State) -> T) -> T {
        // Progress that is off by a buffer is better than none.
        work(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Progress for Sum<'_> {
    fn start(&self, blob: &Digest, total: Option<u64>) {
        self.with(|state| {
            let total = total.unwrap_or_default();
            let before = state.blobs.insert(*blob, Moved { total, done: 0 });
            state.ahead += before.map_or(0, |before| before.done);
        });
    }

    fn advance(&self, blob: &Digest, bytes: u64) {
        self.with(|state| {
            if let Some(moved) = state.blobs.get_mut(blob) {
                moved.done += bytes;
                self.tell(state, bytes);
            }
        });
    }

    fn finish(&self, blob: &Digest) {
        self.with(|state| {
            if let Some(moved) = state.blobs.remove(blob) {
                state.tally.moved(moved.done);
                // What a retry saved counts as done.
                self.tell(state, moved.total.saturating_sub(moved.done));
            }
        });
    }

    fn skip(&self, blob: &Digest, size: u64, why: Skipped) {
        self.with(|state| {
            let done = state.blobs.remove(blob).map_or(0, |moved| moved.done);
            state.tally.skipped(why);
            self.tell(state, size.saturating_sub(done));
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[derive(Default)]
    struct Heard(Mutex<Vec<String>>);

    impl Progress for Heard {
        fn start(&self, _: &Digest, total: Option<u64>) {
            self.0.lock().unwrap().push(format!("start {total:?}"));
        }
        fn advance(&self, _: &Digest, bytes: u64) {
            self.0.lock().unwrap().push(bytes.to_string());
        }
        fn finish(&self, _: &Digest) {
            self.0.lock().unwrap().push("finish".to_string());
        }
    }

    #[test]
    fn parts_add_up_and_never_go_back() {
        let heard = Heard::default();
        let whole = Sum::new(&heard, Some(30));
        let (a, b) = (Digest::of(b"a"), Digest::of(b"b"));
        assert!(whole.is_quiet());
        whole.start(&a, Some(10));
        assert!(!whole.is_quiet());
        whole.start(&b, Some(10));
        whole.advance(&a, 4);
        whole.advance(&b, 10);
        // Again from the start, and a little further.
        whole.start(&a, Some(10));
        whole.advance(&a, 4);
        whole.advance(&a, 3);
        whole.finish(&a);
        whole.finish(&b);
        // Existing parts, and then more bytes than announced.
        whole.start(&b, Some(10));
        whole.skip(&b, 10, Skipped::Mounted);
        whole.skip(&b, 10, Skipped::Existed);
        whole.done();
        let tally = whole.with(|state| state.tally.line("part", Verb::Uploaded, Duration::ZERO));
        let sum = "4 parts: 2 uploaded, 1 mounted, 1 already there, 17 B in 0.0 s";
        assert_eq!(tally, sum);
        let heard = heard.0.into_inner().unwrap();
        assert_eq!(
            heard,
            ["start Some(30)", "4", "10", "3", "3", "10", "finish"]
        );
    }
}
