//! A range of bytes as people write it: `A-B`, `A-`, `-N`.

use std::fmt;
use std::ops::Range;
use std::str::FromStr;

use crate::error::{Error, Result};

/// Which bytes of something are wanted, counted as in HTTP (RFC 9110, 14.1.2).
///
/// ```
/// use dxf_registry::fetch::ByteRange;
/// # fn main() -> dxf_registry::Result<()> {
/// assert_eq!("0-4".parse::<ByteRange>()?.within(10)?, 0..5);
/// assert_eq!("-4".parse::<ByteRange>()?.within(10)?, 6..10);
/// assert!("10-".parse::<ByteRange>()?.within(10).is_err());
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ByteRange {
    /// From the first to the last byte, both counted from 0 and both included.
    Between(u64, u64),
    /// From a byte to the end.
    From(u64),
    /// The last so many.
    Last(u64),
}

impl ByteRange {
    /// The bytes of something with `size` bytes that this range selects. As in HTTP,
    /// what reaches beyond the end stops there.
    ///
    /// # Errors
    /// [`Error::Invalid`] when the blob ends before the range begins.
    pub fn within(self, size: u64) -> Result<Range<u64>> {
        let range = match self {
            ByteRange::Between(first, last) => first..last.saturating_add(1).min(size),
            ByteRange::From(first) => first..size,
            ByteRange::Last(count) => size.saturating_sub(count)..size,
        };
        if range.is_empty() {
            let why = format!("there are {size} bytes, numbered from 0");
            return Err(Error::invalid("range", self.to_string(), why));
        }
        Ok(range)
    }
}

impl fmt::Display for ByteRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ByteRange::Between(first, last) => write!(f, "{first}-{last}"),
            ByteRange::From(first) => write!(f, "{first}-"),
            ByteRange::Last(count) => write!(f, "-{count}"),
        }
    }
}

impl FromStr for ByteRange {
    type Err = Error;

    fn from_str(text: &str) -> Result<ByteRange> {
        let wrong = |why: &str| Error::invalid("range", text, why);
        let unreadable = || wrong("it takes FIRST-LAST, FIRST- or -COUNT, in bytes");
        let number = |digits: &str| {
            let plain = digits.bytes().all(|b| b.is_ascii_digit());
            let number = plain.then(|| digits.parse().ok()).flatten();
            number.ok_or_else(unreadable)
        };
        match text.split_once('-') {
            Some(("", count)) => match number(count)? {
                0 => Err(wrong("the last 0 bytes would be nothing")),
                count => Ok(ByteRange::Last(count)),
            },
            Some((first, "")) => Ok(ByteRange::From(number(first)?)),
            Some((first, last)) => match (number(first)?, number(last)?) {
                (first, last) if first > last => Err(wrong("it ends before it begins")),
                (first, last) => Ok(ByteRange::Between(first, last)),
            },
            None => Err(unreadable()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn words_and_what_they_mean_of_ten_bytes() {
        for (text, range) in [
            ("0-0", 0..1),
            ("0-9", 0..10),
            ("9-9", 9..10),
            ("3-99", 3..10),
            ("3-", 3..10),
            ("0-", 0..10),
            ("-1", 9..10),
            ("-10", 0..10),
            ("-99", 0..10),
            ("0-18446744073709551615", 0..10),
        ] {
            let parsed: ByteRange = text.parse().unwrap();
            assert_eq!(parsed.to_string(), text);
            assert_eq!(parsed.within(10).unwrap(), range, "{text}");
        }
        for outside in ["10-10", "10-", "99-100"] {
            let found = outside.parse::<ByteRange>().unwrap().within(10);
            assert!(matches!(found, Err(Error::Invalid { .. })), "{outside}");
        }
        assert!(ByteRange::Last(1).within(0).is_err());
        for bad in [
            "",
            "-",
            "1",
            "a-b",
            "1-b",
            "2-1",
            "-0",
            "--1",
            "1--2",
            "+1-2",
            "1-2-3",
            " 1-2",
            "0x1-2",
            "1-2,4-5",
            "1-99999999999999999999",
        ] {
            let parsed = bad.parse::<ByteRange>();
            assert!(matches!(parsed, Err(Error::Invalid { .. })), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn never_panics_and_never_leaves_the_bounds(
            text in "[0-9]{0,21}-[0-9]{0,21}|\\PC{0,12}", size in any::<u64>()
        ) {
            if let Ok(range) = text.parse::<ByteRange>()
                && let Ok(range) = range.within(size)
            {
                prop_assert!(range.start < range.end && range.end <= size);
            }
        }
    }
}
