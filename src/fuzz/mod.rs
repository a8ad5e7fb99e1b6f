//! Damaged and made-up input for everything that reads what a server, a file or
//! a user sent. Nothing may panic, hang, or take memory that the input does not
//! account for.
//!
//! One [`Harness`] mutates examples; [`targets`] are the readers, a test each.
//! A run of the tests takes some hundred inputs a target, always the same ones;
//! `DXF_FUZZ_SECONDS=600 cargo test --release --lib fuzz -- --nocapture` takes new
//! ones for ten minutes each, and prints how many, or the one that failed. With
//! `DXF_FUZZ_SEED` it takes those of an earlier run.

mod mutate;
mod targets;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use mutate::Mutator;

/// How many inputs a target gets without a time limit.
const INPUTS: u32 = 300;
/// No input of this size is worth more, even unoptimised on a busy machine.
const LONGEST: Duration = Duration::from_secs(20);
/// What a run with a time limit may take at its peak, KiB.
const MAX_MEMORY: u64 = 1 << 20;
/// The largest input, bytes.
const MAX_INPUT: usize = 64 << 10;

/// Feeds a reader with mutations of examples.
struct Harness {
    name: &'static str,
    examples: Vec<Vec<u8>>,
    /// What the reader's grammar consists of.
    words: &'static [&'static str],
}

impl Harness {
    /// Runs `read` for as long as `DXF_FUZZ_SECONDS` says.
    fn run(&self, read: impl Fn(&[u8])) {
        let number = |name| {
            let text = std::env::var(name).ok()?;
            text.parse::<u64>().ok()
        };
        let limit = number("DXF_FUZZ_SECONDS");
        let seed = number("DXF_FUZZ_SEED").unwrap_or(match limit {
            Some(_) => SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .unwrap()
                .as_nanos() as u64,
            None => 1,
        });
        // At once, because a reader that hangs would not let it be printed later.
        if limit.is_some() {
            println!("{}: seed {seed}", self.name);
        }
        let end = limit.map(|seconds| Instant::now() + Duration::from_secs(seconds));
        let mut mutator = Mutator::new(seed, self.words);
        self.examples
            .iter()
            .for_each(|example| self.feed(example, &read));
        let mut count = 0;
        while end.map_or(count < INPUTS, |end| Instant::now() < end) {
            self.feed(&mutator.next(&self.examples), &read);
            count += 1;
            if end.is_some() && count % 1024 == 0 {
                let peak = peak();
                assert!(peak < MAX_MEMORY, "{}: {peak} KiB of memory", self.name);
            }
        }
        if let Some(seconds) = limit {
            println!("{}: {count} inputs in {seconds} s", self.name);
        }
    }

    fn feed(&self, input: &[u8], read: impl Fn(&[u8])) {
        let begun = Instant::now();
        let done = catch_unwind(AssertUnwindSafe(|| read(input)));
        let took = begun.elapsed();
        let shown = || format!("{}: b\"{}\"", self.name, input.escape_ascii());
        assert!(done.is_ok(), "{}", shown());
        assert!(took < LONGEST, "{took:?}: {}", shown());
    }
}

/// The most memory that this process has had, KiB; 0 where the system does not say.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let number = line.and_then(|line| line.split_whitespace().next());
    number.and_then(|text| text.parse().ok()).unwrap_or(0)
}
