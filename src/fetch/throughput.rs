//! Whether the connection is what slows a download down.
//!
//! Only the time spent waiting for bytes counts: a slow disk or a slow reader
//! of standard output is not cured by more connections. A connection that gives
//! more than [`ENOUGH`] is left alone, because there hashing and writing are
//! the limit, and on loopback several were no faster than one.

use std::io::{self, Read};
use std::time::{Duration, Instant};

/// How much waiting makes a verdict.
const WINDOW: Duration = Duration::from_millis(100);
/// What is fast enough for one connection, bytes a second.
const ENOUGH: f64 = (64 << 20) as f64;

/// What is known of the speed of one connection.
#[derive(Default)]
pub struct Throughput {
    waited: Duration,
    bytes: u64,
    opened: bool,
    slow: bool,
}

impl Throughput {
    /// Counts the wait for an answer. The first one is not counted: names,
    /// connections and tokens are asked for once.
    pub fn opened(&mut self, took: Duration) {
        if std::mem::replace(&mut self.opened, true) {
            self.note(0, took);
        }
    }

    /// Whether one connection was slow.
    pub fn is_slow(&self) -> bool {
        self.slow
    }

    fn note(&mut self, bytes: usize, took: Duration) {
        self.waited += took;
        self.bytes += bytes as u64;
        if self.waited >= WINDOW {
            self.slow |= (self.bytes as f64) < ENOUGH * self.waited.as_secs_f64();
            (self.waited, self.bytes) = (Duration::ZERO, 0);
        }
    }
}

/// A reader that is timed, and that pauses, as if at its end, when the throughput is
/// slow and there is enough left to be worth more connections.
pub struct Timed<'a, R> {
    inner: R,
    throughput: &'a mut Throughput,
    left: u64,
    worth: u64,
    /// Whether it stopped short of the end.
    pub paused: bool,
}

impl<'a, R: Read> Timed<'a, R> {
    /// Times `inner`, which has `left` bytes; pauses while more than `worth`
    /// are left.
    pub fn new(inner: R, throughput: &'a mut Throughput, left: u64, worth: u64) -> Timed<'a, R> {
        Timed {
            inner,
            throughput,
            left,
            worth,
            paused: false,
        }
    }
}

impl<R: Read> Read for Timed<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.throughput.is_slow() && self.left > self.worth {
            self.paused = true;
        }
        if self.paused {
            return Ok(0);
        }
        let begun = Instant::now();
        let n = self.inner.read(buffer)?;
        self.throughput.note(n, begun.elapsed());
        self.left = self.left.saturating_sub(n as u64);
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_takes_a_while_and_stays() {
        let ms = Duration::from_millis;
        let mut throughput = Throughput::default();
        throughput.opened(ms(5000));
        assert!(!throughput.is_slow());
        for _ in 0..100 {
            throughput.note(1 << 20, ms(10)); // 100 MiB/s
        }
        assert!(!throughput.is_slow());
        throughput.note(1 << 20, ms(90));
        assert!(!throughput.is_slow());
        throughput.opened(ms(40));
        assert!(throughput.is_slow());
        throughput.note(1 << 30, ms(200));
        assert!(throughput.is_slow());
    }

    #[test]
    fn a_slow_reader_pauses_only_where_it_pays() {
        let mut throughput = Throughput {
            slow: true,
            ..Throughput::default()
        };
        for (worth, got) in [(2, 0), (3, 3), (u64::MAX, 3)] {
            let mut out = Vec::new();
            let mut timed = Timed::new(&b"abc"[..], &mut throughput, 3, worth);
            timed.read_to_end(&mut out).unwrap();
            assert_eq!((out.len(), timed.paused), (got, got == 0));
        }
    }
}
