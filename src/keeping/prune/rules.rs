//! What a user may say of the tags that stay.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use regex_lite::Regex;
use semver::VersionReq;

use super::date::{DateFormat, civil_from_days};
use crate::error::{Error, Result};
use crate::keeping::pattern;

pub(super) const DAY: i64 = 86_400;

/// How many tags one run may delete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum MaxDelete {
    /// So many.
    Tags(usize),
    /// So many of a hundred.
    Percent(u8),
    /// A tenth, and at least one.
    Default,
}

impl MaxDelete {
    /// `N` or `N%`.
    ///
    /// # Errors
    /// [`Error::Invalid`].
    pub fn parse(text: &str) -> Result<MaxDelete> {
        let number = text.strip_suffix('%').unwrap_or(text);
        let plain = !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit());
        let parsed = number.parse::<usize>().ok().filter(|_| plain);
        match (parsed, number.len() < text.len()) {
            (Some(n), false) => Ok(MaxDelete::Tags(n)),
            (Some(n), true) if n <= 100 => Ok(MaxDelete::Percent(n as u8)),
            _ => Err(Error::invalid(
                "--max-delete",
                text,
                "it takes a number, or 0% to 100%",
            )),
        }
    }

    /// The number for a repository of `tags`.
    pub fn of(self, tags: usize) -> usize {
        match self {
            MaxDelete::Tags(n) => n,
            MaxDelete::Percent(p) => tags.saturating_mul(p.into()) / 100,
            MaxDelete::Default => (tags / 10).max(1),
        }
    }
}

impl fmt::Display for MaxDelete {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            MaxDelete::Tags(n) => write!(f, "{n}"),
            MaxDelete::Percent(p) => write!(f, "{p}%"),
            MaxDelete::Default => f.write_str("a tenth"),
        }
    }
}

/// Whether a repository may end without tags.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum LastTag {
    /// The newest stays whatever the rules say.
    #[default]
    Keep,
    /// It may.
    Delete,
}

/// How often a calendar rule keeps a tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Every {
    /// One a day (UTC).
    Day,
    /// One a week (ISO 8601, from Monday).
    Week,
    /// One a month.
    Month,
    /// One a year.
    Year,
}

impl Every {
    /// What the command line calls a rule of this kind.
    pub fn option(self) -> &'static str {
        match self {
            Every::Day => "--keep-daily",
            Every::Week => "--keep-weekly",
            Every::Month => "--keep-monthly",
            Every::Year => "--keep-yearly",
        }
    }

    /// What all moments of one day, week, month or year have in common.
    pub(super) fn bucket(self, created: i64) -> i64 {
        let days = created.div_euclid(DAY);
        let (year, month, _) = civil_from_days(days);
        match self {
            Every::Day => days,
            // 1970-01-01 was a Thursday.
            Every::Week => (days + 3).div_euclid(7),
            Every::Month => year * 12 + month,
            Every::Year => year,
        }
    }
}

/// What chooses the tags that go.
#[derive(Debug, Clone)]
pub struct Rules {
    pub(super) only: Vec<glob::Pattern>,
    pub(super) keep: Vec<glob::Pattern>,
    pub(super) versions: Vec<(String, VersionReq)>,
    pub(super) last: usize,
    pub(super) within: Option<Duration>,
    pub(super) every: BTreeMap<Every, usize>,
    pub(super) group_by: Option<Regex>,
    pub(super) date: Option<DateFormat>,
    pub(super) max_delete: MaxDelete,
    pub(super) last_tag: LastTag,
}

impl Default for Rules {
    fn default() -> Rules {
        Rules {
            only: Vec::new(),
            keep: Vec::new(),
            versions: Vec::new(),
            last: 0,
            within: None,
            every: BTreeMap::new(),
            group_by: None,
            date: None,
            max_delete: MaxDelete::Default,
            last_tag: LastTag::Keep,
        }
    }
}

impl Rules {
    /// Tags that fit are candidates, and no others.
    ///
    /// # Errors
    /// [`Error::Invalid`] for an invalid pattern.
    pub fn with_only(mut self, glob: &str) -> Result<Rules> {
        self.only.push(pattern("--only", glob)?);
        Ok(self)
    }

    /// Keeps tags that fit.
    ///
    /// # Errors
    /// [`Error::Invalid`] for an invalid pattern.
    pub fn with_keep(mut self, glob: &str) -> Result<Rules> {
        self.keep.push(pattern("--keep", glob)?);
        Ok(self)
    }

    /// Keeps tags that are versions of a range such as `>=1.2, <2` or `^1.2`; a
    /// leading `v` and missing numbers are allowed in a tag.
    ///
    /// # Errors
    /// [`Error::Invalid`] for an invalid range.
    pub fn with_keep_semver(mut self, range: &str) -> Result<Rules> {
        let parsed = VersionReq::parse(range)
            .map_err(|e| Error::invalid("--keep-semver", range, e.to_string()))?;
        self.versions.push((range.to_string(), parsed));
        Ok(self)
    }

    /// Keeps the newest `count` of each group.
    pub fn with_keep_last(self, count: usize) -> Rules {
        Rules {
            last: count,
            ..self
        }
    }

    /// Keeps what is no older than `age` before the newest of its group.
    pub fn with_keep_within(self, age: Duration) -> Rules {
        let within = Some(age);
        Rules { within, ..self }
    }

    /// Keeps the newest of each of the last `count` days, weeks, months or years
    /// that have one.
    pub fn with_keep_every(mut self, every: Every, count: usize) -> Rules {
        self.every.insert(every, count);
        self
    }

    /// Makes a group of the tags for which `regex` captures the same, or matches
    /// the same where it captures nothing. A tag that it does not match is kept.
    ///
    /// # Errors
    /// [`Error::Invalid`] for an invalid regular expression.
    pub fn with_group_by(mut self, regex: &str) -> Result<Rules> {
        let parsed =
            Regex::new(regex).map_err(|e| Error::invalid("--group-by", regex, e.to_string()))?;
        self.group_by = Some(parsed);
        Ok(self)
    }

    /// Takes the age from the tag where that has a date.
    pub fn with_date_from_tag(mut self, format: DateFormat) -> Rules {
        self.date = Some(format);
        self
    }

    /// Bounds what one run deletes: the oldest first.
    pub fn with_max_delete(self, max_delete: MaxDelete) -> Rules {
        Rules { max_delete, ..self }
    }

    /// Says whether a repository may end without tags.
    pub fn with_last_tag(self, last_tag: LastTag) -> Rules {
        Rules { last_tag, ..self }
    }

    /// The bound of a run.
    pub fn max_delete(&self) -> MaxDelete {
        self.max_delete
    }

    /// The date in a tag, where tags are asked for one.
    pub fn date_in(&self, tag: &str) -> Option<i64> {
        self.date.as_ref()?.read(tag)
    }

    /// # Errors
    /// [`Error::Invalid`] for rules that keep nothing, unless a repository may
    /// end without tags.
    pub fn check(&self) -> Result<()> {
        let keeps = !self.keep.is_empty() || !self.versions.is_empty() || self.ages();
        if keeps || self.last_tag == LastTag::Delete {
            return Ok(());
        }
        let why = "they keep nothing; give --keep-last N or another --keep rule, or \
                   --allow-empty to delete all that --only names";
        Err(Error::invalid("rules", "none", why))
    }

    /// Whether a rule looks at ages.
    pub fn ages(&self) -> bool {
        self.last > 0
            || self.within.is_some_and(|within| !within.is_zero())
            || self.every.values().any(|count| *count > 0)
    }
}
