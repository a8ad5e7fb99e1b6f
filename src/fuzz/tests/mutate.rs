//! Inputs that look like the examples, and are not.

use super::MAX_INPUT;

/// Words that break more than one kind of text.
const COMMON: &[&str] = &[
    "null",
    "true",
    "-1",
    "0",
    "1e308",
    "18446744073709551615",
    "9223372036854775808",
    "\"\"",
    "[]",
    "{}",
    "[[",
    "{\"a\":",
    "\\u0000",
    "\\ud800",
    "\"",
    "\\",
    ",",
    ":",
    "/",
    "..",
    "../",
    "\r\n",
    "\0",
    "é",
    "\u{202e}",
    "%00",
    "=",
    ";",
    "@",
    "sha256:",
    "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
];

/// Makes inputs; the same seed makes the same ones.
pub struct Mutator {
    state: u64,
    words: &'static [&'static str],
}

impl Mutator {
    /// A mutator that inserts `words`, too.
    pub fn new(seed: u64, words: &'static [&'static str]) -> Mutator {
        Mutator {
            state: seed | 1,
            words,
        }
    }

    /// An example, changed in a few places.
    pub fn next(&mut self, examples: &[Vec<u8>]) -> Vec<u8> {
        let mut input = examples[self.below(examples.len())].clone();
        for _ in 0..1 + self.below(6) {
            let other = &examples[self.below(examples.len())];
            self.change(&mut input, other);
            input.truncate(MAX_INPUT);
        }
        input
    }

    fn change(&mut self, input: &mut Vec<u8>, other: &[u8]) {
        let range = self.range(input.len());
        match self.below(9) {
            0 if !range.is_empty() => input[range.start] ^= 1 << self.below(8),
            1 if !range.is_empty() => input[range.start] = self.below(256) as u8,
            2 => drop(input.drain(range)),
            3 => {
                let copy = input[range.clone()].to_vec();
                let times = 1 + self.below(4);
                input.splice(range.end..range.end, copy.repeat(times));
            }
            4 => {
                let from = self.range(other.len());
                input.splice(range, other[from].iter().copied());
            }
            5 => input.truncate(range.start),
            6 => input[range].fill(b'0'),
            _ => {
                let words = if self.below(2) == 0 {
                    COMMON
                } else {
                    self.words
                };
                let word = words[self.below(words.len())];
                let kept = if self.below(2) == 0 {
                    range.start..range.start
                } else {
                    range
                };
                input.splice(kept, word.bytes());
            }
        }
    }

    /// Any range, rather a short one.
    fn range(&mut self, len: usize) -> std::ops::Range<usize> {
        let start = self.below(len + 1);
        let longest = if self.below(4) == 0 {
            len - start
        } else {
            (len - start).min(8)
        };
        start..start + self.below(longest + 1)
    }

    /// A number below `limit`, which is not 0 (xorshift).
    fn below(&mut self, limit: usize) -> usize {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        (self.state >> 16) as usize % limit
    }
}
