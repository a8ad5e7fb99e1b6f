//! The progress of one thing that moves as several blobs: one bar for all.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use dxf_registry::Digest;
use dxf_registry::progress::Progress;

/// Adds up what is told of the blobs.
pub struct Sum<'a> {
    inner: &'a dyn Progress,
    /// What the sum is told under; never shown.
    key: Digest,
    total: Option<u64>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    blobs: HashMap<Digest, Moved>,
    /// Bytes told that move a second time: a bar goes forward only.
    ahead: u64,
    told: u64,
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
            state: Mutex::default(),
        }
    }

    /// All has moved.
    pub fn done(&self) {
        self.inner.finish(&self.key);
    }

    /// Whether nothing is on its way.
    pub fn is_quiet(&self) -> bool {
        let mut quiet = false;
        self.with(|state| quiet = state.blobs.is_empty());
        quiet
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

    fn with(&self, work: impl FnOnce(&mut State)) {
        // Progress that is off by a buffer is better than none.
        work(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner));
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
                // What a retry or an existing blob saved counts as done.
                self.tell(state, moved.total.saturating_sub(moved.done));
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        // A part that was there, and then more than was promised.
        whole.start(&b, Some(10));
        whole.finish(&b);
        whole.start(&b, Some(10));
        whole.finish(&b);
        whole.done();
        let heard = heard.0.into_inner().unwrap();
        assert_eq!(
            heard,
            ["start Some(30)", "4", "10", "3", "3", "10", "finish"]
        );
    }
}
