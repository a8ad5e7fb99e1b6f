//! What became of the blobs of a command: one line when it ends.

use std::time::Duration;

use dxf_registry::progress::Skipped;

use crate::cli::out::size;

/// What a command does with the blobs that it moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// It sends them to a store.
    Uploaded,
    /// It fetches them from a store.
    Downloaded,
    /// It looks into them.
    Read,
}

/// How many blobs moved, and how many did not have to.
#[derive(Debug, Clone, Copy, Default)]
pub struct Tally {
    moved: usize,
    mounted: usize,
    existed: usize,
    cached: usize,
    bytes: u64,
}

impl Tally {
    /// Counts a blob of which `bytes` moved.
    pub fn moved(&mut self, bytes: u64) {
        self.moved += 1;
        self.bytes += bytes;
    }

    /// Counts a blob that came from the cache.
    pub fn cached(&mut self) {
        self.cached += 1;
    }

    /// Counts a blob that did not have to move.
    pub fn skipped(&mut self, why: Skipped) {
        match why {
            Skipped::Mounted => self.mounted += 1,
            _ => self.existed += 1,
        }
    }

    /// All blobs.
    pub fn count(&self) -> usize {
        self.moved + self.mounted + self.existed + self.cached
    }

    /// The bytes that moved.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether there was one blob, and it moved.
    pub fn is_one_move(&self) -> bool {
        self.moved == 1 && self.count() == 1
    }

    /// `12 blobs: 3 uploaded, 9 already there, 48.2 MiB in 3.1 s`; `what` is what
    /// the blobs are.
    pub fn line(&self, what: &str, verb: Verb, took: Duration) -> String {
        let verb = match verb {
            Verb::Uploaded => "uploaded",
            Verb::Downloaded => "downloaded",
            Verb::Read => "read",
        };
        let counts = [
            (self.moved, verb),
            (self.mounted, "mounted"),
            (self.existed, "already there"),
            (self.cached, "from the cache"),
        ];
        let counts = counts.iter().filter(|(count, _)| *count > 0);
        let counts: String = counts
            .map(|(count, verb)| format!("{count} {verb}, "))
            .collect();
        let (count, bytes) = (self.count(), size::show(self.bytes));
        let s = if count == 1 { "" } else { "s" };
        let seconds = took.as_secs_f64();
        format!("{count} {what}{s}: {counts}{bytes} in {seconds:.1} s")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_that_are_zero_are_left_out() {
        let mut tally = Tally::default();
        let took = Duration::from_millis(3100);
        tally.moved(1 << 20);
        assert!(tally.is_one_move());
        let line = tally.line("part", Verb::Read, took);
        assert_eq!(line, "1 part: 1 read, 1.0 MiB in 3.1 s");
        tally.skipped(Skipped::Mounted);
        tally.skipped(Skipped::Existed);
        tally.skipped(Skipped::Existed);
        let line = tally.line("blob", Verb::Uploaded, took);
        let all = "4 blobs: 1 uploaded, 1 mounted, 2 already there, 1.0 MiB in 3.1 s";
        assert_eq!(line, all);
        let mut tally = Tally::default();
        tally.cached();
        tally.cached();
        let line = tally.line("blob", Verb::Downloaded, took);
        assert_eq!(line, "2 blobs: 2 from the cache, 0 B in 3.1 s");
    }
}
