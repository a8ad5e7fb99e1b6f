//! Moments as configs write them (RFC 3339).

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::error::{Error, Result};

/// A moment, in the words it came in.
///
/// ```
/// use dxf_registry::image::Timestamp;
/// let time: Timestamp = "2024-02-29T12:00:00.5+01:00".parse().unwrap();
/// assert_eq!(time.to_string(), "2024-02-29T12:00:00.5+01:00");
/// assert_eq!(Timestamp::from(std::time::UNIX_EPOCH).to_string(), "1970-01-01T00:00:00Z");
/// assert!("yesterday".parse::<Timestamp>().is_err());
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timestamp(String);

impl From<SystemTime> for Timestamp {
    /// Whole seconds, in UTC; what is before 1970 becomes its first second,
    /// what has a year of five digits the last that has not.
    fn from(time: SystemTime) -> Timestamp {
        let seconds = time.duration_since(UNIX_EPOCH).map_or(0, |t| t.as_secs());
        let seconds = seconds.min(LAST);
        let (year, month, day) = date(seconds / 86_400);
        let of_day = seconds % 86_400;
        let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
        Timestamp(format!(
            "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z"
        ))
    }
}

/// The end of the year 9999.
const LAST: u64 = 253_402_300_799;

/// The date that is so many days after 1970-01-01, in the Gregorian calendar.
fn date(mut days: u64) -> (u64, u64, u64) {
    let mut year = 1970;
    loop {
        let length = if is_leap(year) { 366 } else { 365 };
        if days < length {
            break;
        }
        days -= length;
        year += 1;
    }
    let mut month = 1;
    while days >= days_of(year, month) {
        days -= days_of(year, month);
        month += 1;
    }
    (year, month, days + 1)
}

fn is_leap(year: u64) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

fn days_of(year: u64, month: u64) -> u64 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

impl Timestamp {
    /// The same moment in UTC, to the second.
    pub fn utc(&self) -> Timestamp {
        let seconds = u64::try_from(self.unix_seconds()).unwrap_or_default();
        (UNIX_EPOCH + Duration::from_secs(seconds)).into()
    }

    /// Seconds since 1970-01-01T00:00:00Z; fractions are dropped.
    ///
    /// ```
    /// use dxf_registry::image::Timestamp;
    /// let time: Timestamp = "2024-02-29T12:00:00.5+01:00".parse().unwrap();
    /// assert_eq!(time.unix_seconds(), 1_709_204_400);
    /// ```
    pub fn unix_seconds(&self) -> i64 {
        // The parser has checked the shape; what it lets through is a number.
        let number = |from: usize, to: usize| {
            let digits = self.0.get(from..to).unwrap_or_default();
            digits.parse::<i64>().unwrap_or_default()
        };
        let days = days_before(number(0, 4), number(5, 7), number(8, 10));
        let of_day = number(11, 13) * 3600 + number(14, 16) * 60 + number(17, 19);
        let end = self.0.len();
        let zone = match self.0.ends_with('Z') {
            true => 0,
            false => number(end - 5, end - 3) * 3600 + number(end - 2, end) * 60,
        };
        let is_west = self.0.as_bytes().get(end.saturating_sub(6)) == Some(&b'-');
        days * 86_400 + of_day - if is_west { -zone } else { zone }
    }
}

/// The days from 1970-01-01 to a date of the Gregorian calendar.
fn days_before(year: i64, month: i64, day: i64) -> i64 {
    // Years that begin in March have their leap day at the end.
    let year = if month <= 2 { year - 1 } else { year };
    let leap_days = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    year * 365 + leap_days + of_year - 719_468
}

impl FromStr for Timestamp {
    type Err = Error;

    fn from_str(text: &str) -> Result<Timestamp> {
        match parse(text) {
            Some(()) => Ok(Timestamp(text.to_string())),
            None => Err(Error::invalid(
                "time",
                text,
                "it must look like 2024-01-31T12:00:00Z",
            )),
        }
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// RFC 3339, section 5.6, without leap seconds, which Go does not read.
fn parse(text: &str) -> Option<()> {
    let fixed = text.get(..19)?;
    let shape = "dddd-dd-ddTdd:dd:dd".bytes();
    let fits = |(want, is): (u8, u8)| match want {
        b'd' => is.is_ascii_digit(),
        other => is == other,
    };
    if !shape.zip(fixed.bytes()).all(fits) {
        return None;
    }
    let number = |from: usize, to: usize| fixed.get(from..to)?.parse::<u64>().ok();
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let in_day = number(11, 13)? < 24 && number(14, 16)? < 60 && number(17, 19)? < 60;
    let in_year = (1..=12).contains(&month) && (1..=days_of(year, month)).contains(&day);
    let rest = text.get(19..)?;
    let zone = match rest.strip_prefix('.') {
        None => rest,
        Some(fraction) => {
            let zone = fraction.trim_start_matches(|c: char| c.is_ascii_digit());
            (zone.len() < fraction.len()).then_some(zone)?
        }
    };
    let is_zone = match zone.as_bytes() {
        b"Z" => true,
        [b'+' | b'-', h1, h2, b':', m1, m2] => {
            let digits = [h1, h2, m1, m2].iter().all(|b| b.is_ascii_digit());
            digits && [*h1, *h2] < *b"24" && *m1 < b'6'
        }
        _ => false,
    };
    (in_day && in_year && is_zone).then_some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn seconds_become_dates() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_709_251_199, "2024-02-29T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            let time = Timestamp::from(UNIX_EPOCH + Duration::from_secs(seconds));
            assert_eq!(time.to_string(), text);
        }
    }

    #[test]
    fn zones_move_the_moment() {
        for (text, seconds) in [
            ("1970-01-01T00:00:00Z", 0),
            ("1970-01-01T00:00:00.999+01:30", -5_400),
            ("1969-12-31T23:00:00-02:00", 3_600),
            ("0000-01-01T00:00:00Z", -62_167_219_200),
            ("2100-03-01T00:00:00Z", 4_107_542_400),
        ] {
            let time: Timestamp = text.parse().unwrap();
            assert_eq!(time.unix_seconds(), seconds, "{text}");
        }
    }

    #[test]
    fn only_moments_are_read() {
        for good in [
            "2024-02-29T23:59:59Z",
            "2020-01-01T00:00:00.123456789-23:59",
        ] {
            assert!(good.parse::<Timestamp>().is_ok(), "{good}");
        }
        for bad in [
            "",
            "2024-02-29",
            "2023-02-29T00:00:00Z",
            "2024-13-01T00:00:00Z",
            "2024-01-01T24:00:00Z",
            "2024-01-01T00:00:00",
            "2024-01-01T00:00:00.Z",
            "2024-01-01T00:00:00+24:00",
            "2024-01-01 00:00:00Z",
            "2024-01-01T00:00:00Zx",
            "2024-01-01T00:00:0\u{e9}Z",
        ] {
            assert!(bad.parse::<Timestamp>().is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(seconds in 0u64..40_000_000_000) {
            let time = Timestamp::from(UNIX_EPOCH + Duration::from_secs(seconds));
            let back: Timestamp = time.to_string().parse().unwrap();
            prop_assert_eq!(back.unix_seconds(), seconds as i64);
            prop_assert_eq!(back, time);
        }

        #[test]
        fn parsing_never_panics(text in "\\PC{0,40}") {
            let _ = text.parse::<Timestamp>();
        }
    }
}
