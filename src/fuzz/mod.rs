//! Damaged and made-up input for everything that reads what a server, a file or
//! a user sent. Nothing may panic, hang, or take memory that the input does not
//! account for.
//!
//! [`targets`] are the readers. The tests feed each with mutations of its examples;
//! `scripts/fuzz/run` lets libFuzzer look for inputs that lead to new code, for
//! which the crate is built with `--cfg fuzzing`.

mod targets;
#[cfg(test)]
mod tests;

/// A reader, with what it expects.
pub struct Target {
    examples: Vec<Vec<u8>>,
    /// What the reader's grammar consists of.
    words: &'static [&'static str],
    read: Read,
}

type Read = Box<dyn Fn(&[u8])>;
/// Makes a target.
type Make = fn() -> Target;

impl Target {
    /// The target of this name, of [`names`].
    pub fn named(name: &str) -> Option<Target> {
        let (_, make) = targets::ALL.iter().find(|(known, _)| *known == name)?;
        Some(make())
    }

    /// Inputs that are right, to begin with.
    pub fn examples(&self) -> &[Vec<u8>] {
        &self.examples
    }

    /// What inputs are made of.
    pub fn words(&self) -> &[&'static str] {
        self.words
    }

    /// Reads an input; a panic is a fault.
    pub fn read(&self, input: &[u8]) {
        (self.read)(input);
    }
}

/// The names of all targets.
pub fn names() -> impl Iterator<Item = &'static str> {
    targets::ALL.iter().map(|(name, _)| *name)
}
