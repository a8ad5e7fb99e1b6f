//! How a file is cut: every so many bytes, or where its content says so.

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, Result};

/// How a file is cut. Written as a number of bytes, or as `cdc:` and a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Split(pub(super) Kind);

/// The two ways of cutting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kind {
    /// Every so many bytes, never 0.
    Every(u64),
    /// By content, so many bytes on average: a power of two within the bounds.
    Content(u64),
}

/// What a part may weigh on average when content decides.
const AVERAGES: std::ops::RangeInclusive<u64> = 16 << 10..=16 << 20;

impl Split {
    /// The default average size of a part, bytes. Smaller ones find more
    /// that is unchanged and cost more requests: of 3 GiB with two changes,
    /// this one sends half a percent again.
    pub const AVERAGE: u64 = 4 << 20;

    /// A part every `size` bytes.
    ///
    /// # Errors
    /// [`Error::Invalid`] for 0.
    pub fn every(size: u64) -> Result<Split> {
        match size {
            0 => Err(invalid("0", "a part needs at least one byte")),
            size => Ok(Split(Kind::Every(size))),
        }
    }

    /// Parts of `average` bytes on average, cut where the content says so.
    ///
    /// # Errors
    /// [`Error::Invalid`] unless it is a power of two from 16 KiB to 16 MiB.
    pub fn content(average: u64) -> Result<Split> {
        if !average.is_power_of_two() || !AVERAGES.contains(&average) {
            let why = "the average of cdc is a power of two from 16KiB to 16MiB";
            return Err(invalid(format!("cdc:{average}"), why));
        }
        Ok(Split(Kind::Content(average)))
    }

    /// The bytes of a part: exactly, but for the last one, or on average.
    pub fn size(self) -> u64 {
        match self.0 {
            Kind::Every(size) | Kind::Content(size) => size,
        }
    }

    /// Whether content decides where a part ends.
    pub fn is_content(self) -> bool {
        matches!(self.0, Kind::Content(_))
    }
}

fn invalid(value: impl Into<String>, why: &str) -> Error {
    Error::invalid("split", value, why)
}

impl fmt::Display for Split {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Kind::Every(size) => write!(f, "{size}"),
            Kind::Content(average) => write!(f, "cdc:{average}"),
        }
    }
}

impl FromStr for Split {
    type Err = Error;

    fn from_str(text: &str) -> Result<Split> {
        let number = |digits: &str| {
            let plain = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
            let number = plain.then(|| digits.parse().ok()).flatten();
            number.ok_or_else(|| invalid(text, "it takes a number of bytes, or cdc: and one"))
        };
        match text.strip_prefix("cdc:") {
            Some(average) => Split::content(number(average)?),
            None => Split::every(number(text)?),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words() {
        for good in ["1", "67108864", "cdc:16384", "cdc:4194304"] {
            assert_eq!(good.parse::<Split>().unwrap().to_string(), good);
        }
        for bad in [
            "",
            "0",
            "-1",
            "+1",
            "cdc",
            "cdc:",
            "cdc:0",
            "cdc:3000000",
            "cdc:8192",
            "64MiB",
            "99999999999999999999",
        ] {
            assert!(bad.parse::<Split>().is_err(), "{bad}");
        }
        assert!(Split::content(Split::AVERAGE).is_ok());
    }
}
