//! A date in a tag, read as strftime would have written it.

use std::str::FromStr;

use crate::error::{Error, Result};

/// What a tag with a date looks like, such as `nightly-%Y-%m-%d`.
///
/// `%Y %m %d %H %M %S` are the parts of a moment in UTC, with as many digits as
/// strftime writes; `%F` is `%Y-%m-%d`, `%T` is `%H:%M:%S`, `%j` the day of the
/// year, `%s` seconds since 1970, `%%` a percent sign. A `*` at either end stands
/// for any other text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DateFormat {
    text: String,
    parts: Vec<Part>,
    /// Whether other text may come before the parts.
    after_any: bool,
    /// Whether other text may come after them.
    before_any: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Literal(char),
    Year,
    Month,
    Day,
    DayOfYear,
    Hour,
    Minute,
    Second,
    Unix,
}

impl FromStr for DateFormat {
    type Err = Error;

    fn from_str(text: &str) -> Result<DateFormat> {
        let bad = |why: &str| Error::invalid("--date-from-tag", text, why.to_string());
        let mut parts = Vec::new();
        let (after_any, format) = match text.strip_prefix('*') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (before_any, format) = match format.strip_suffix('*') {
            Some(rest) => (true, rest),
            None => (false, format),
        };
        if format.contains('*') {
            return Err(bad("it takes a * only at its beginning and its end"));
        }
        let mut chars = format.chars();
        while let Some(c) = chars.next() {
            if c != '%' {
                parts.push(Part::Literal(c));
                continue;
            }
            match chars.next() {
                Some('Y') => parts.push(Part::Year),
                Some('m') => parts.push(Part::Month),
                Some('d') => parts.push(Part::Day),
                Some('j') => parts.push(Part::DayOfYear),
                Some('H') => parts.push(Part::Hour),
                Some('M') => parts.push(Part::Minute),
                Some('S') => parts.push(Part::Second),
                Some('s') => parts.push(Part::Unix),
                Some('F') => {
                    let dash = Part::Literal('-');
                    parts.extend([Part::Year, dash, Part::Month, dash, Part::Day]);
                }
                Some('T') => {
                    let colon = Part::Literal(':');
                    parts.extend([Part::Hour, colon, Part::Minute, colon, Part::Second]);
                }
                Some('%') => parts.push(Part::Literal('%')),
                _ => return Err(bad("it takes %Y %m %d %j %H %M %S %s %F %T and %%")),
            }
        }
        let says_day = parts.contains(&Part::Day) && parts.contains(&Part::Month);
        let says_day = says_day || parts.contains(&Part::DayOfYear);
        let is_dated = says_day && parts.contains(&Part::Year);
        if !is_dated && !parts.contains(&Part::Unix) {
            return Err(bad("it needs a day, such as %Y-%m-%d"));
        }
        let text = text.to_string();
        Ok(DateFormat {
            text,
            parts,
            after_any,
            before_any,
        })
    }
}

impl std::fmt::Display for DateFormat {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

impl DateFormat {
    /// The moment that a whole tag says, seconds since 1970; `None` for a tag that
    /// does not fit or says no date that there is.
    pub fn read(&self, tag: &str) -> Option<i64> {
        if !self.after_any {
            return self.read_here(tag);
        }
        let mut starts = tag.char_indices();
        starts.find_map(|(at, _)| self.read_here(&tag[at..]))
    }

    /// The moment that the beginning of `tag` says, or all of it.
    fn read_here(&self, tag: &str) -> Option<i64> {
        let mut rest = tag;
        let (mut year, mut month, mut day) = (1970, None, None);
        let (mut of_year, mut time, mut unix) = (None, 0, None);
        for part in &self.parts {
            match part {
                Part::Literal(c) => rest = rest.strip_prefix(*c)?,
                Part::Year => year = number(&mut rest, 4)?,
                Part::Month => month = Some(number(&mut rest, 2)?),
                Part::Day => day = Some(number(&mut rest, 2)?),
                Part::DayOfYear => of_year = Some(number(&mut rest, 3)?),
                Part::Hour => time += within(number(&mut rest, 2)?, 23)? * 3600,
                Part::Minute => time += within(number(&mut rest, 2)?, 59)? * 60,
                Part::Second => time += within(number(&mut rest, 2)?, 60)?,
                Part::Unix => {
                    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
                    unix = Some(number(&mut rest, digits)?);
                }
            }
        }
        if !rest.is_empty() && !self.before_any {
            return None;
        }
        if unix.is_some() {
            return unix;
        }
        let days = match (month, day, of_year) {
            (Some(month), Some(day), _) => {
                let days = days_from_civil(year, within(month, 12)?, day);
                (civil_from_days(days) == (year, month, day)).then_some(days)?
            }
            (_, _, Some(of_year)) => {
                let days = days_from_civil(year, 1, 1) + of_year - 1;
                (civil_from_days(days).0 == year).then_some(days)?
            }
            _ => return None,
        };
        Some(days * 86_400 + time)
    }
}

fn number(rest: &mut &str, digits: usize) -> Option<i64> {
    let (head, tail) = rest.split_at_checked(digits)?;
    *rest = tail;
    let plain = head.bytes().all(|b| b.is_ascii_digit());
    head.parse().ok().filter(|_| plain)
}

fn within(number: i64, most: i64) -> Option<i64> {
    (number <= most).then_some(number)
}

/// Days since 1970-01-01 of a date in the Gregorian calendar.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    // Years that begin in March, so that the odd day is the last of one:
    // https://howardhinnant.github.io/date_algorithms.html
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// Year, month and day of a number of days since 1970-01-01.
pub(super) fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 {
        shifted + 3
    } else {
        shifted - 9
    };
    let year = year + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(format: &str, tag: &str) -> Option<i64> {
        format.parse::<DateFormat>().unwrap().read(tag)
    }

    #[test]
    fn dates_in_tags() {
        let day = 1_709_164_800; // 2024-02-29
        assert_eq!(read("%Y-%m-%d", "2024-02-29"), Some(day));
        assert_eq!(read("nightly-%F", "nightly-2024-02-29"), Some(day));
        assert_eq!(read("%Y%m%dT%H%M%S", "20240229T010203"), Some(day + 3723));
        assert_eq!(read("%Y.%j", "2024.060"), Some(day));
        assert_eq!(read("b%s", "b1709164800"), Some(day));
        assert_eq!(read("*-%F", "shop-2024-02-29"), Some(day));
        assert_eq!(read("*%F*", "2024-02-29"), Some(day));
        assert_eq!(read("*%Y%m%d*", "x120240229-final"), Some(day));
        assert_eq!(read("*-%F", "shop-2024-02-29-b"), None);
        assert_eq!(read("*%F", "é2024-02-29"), Some(day));
        for (format, tag) in [
            ("%Y-%m-%d", "2024-02-30"),
            ("%Y-%m-%d", "2023-02-29"),
            ("%Y-%m-%d", "2024-13-01"),
            ("%Y-%m-%d", "2024-00-01"),
            ("%Y-%m-%d", "2024-02-29x"),
            ("%Y-%m-%d", "v2024-02-29"),
            ("%Y-%m-%d", "2024-2-29"),
            ("%Y-%m-%d", "+024-02-29"),
            ("%Y%m%d%H", "2024022924"),
            ("%Y.%j", "2023.366"),
            ("b%s", "b"),
            ("%Y-%m-%d", "ü024-02-29"),
        ] {
            assert_eq!(read(format, tag), None, "{format} {tag}");
        }
        for bad in [
            "", "%Y", "%Y-%m", "%H:%M", "%Q", "%", "%y-%m-%d", "%F*%T", "**%F",
        ] {
            assert!(bad.parse::<DateFormat>().is_err(), "{bad}");
        }
    }

    #[test]
    fn days_and_dates_agree() {
        for days in -800_000..800_000 {
            let (year, month, day) = civil_from_days(days);
            assert_eq!(days_from_civil(year, month, day), days);
        }
        assert_eq!(civil_from_days(0), (1970, 1, 1));
    }
}
