//! Version numbers in tags (semver.org), as leniently as tags are written:
//! `v1`, `1.2` and `22.04.1` count too.

use std::cmp::Ordering;
use std::fmt;

/// A version that a tag is. Ordered as semver orders versions: numbers that are
/// missing count as 0, a pre-release (`1.2.0-rc.1`, and `1.2.0-alpine`) comes
/// before its release. What follows `+`, or `_` where a tag stands for one, does
/// not count; equal versions are ordered by their text.
///
/// ```
/// use dxf_registry::inventory::Version;
/// let version = |text| Version::parse(text).unwrap();
/// assert!(version("v1.9") < version("1.10.0-rc.1"));
/// assert!(version("1.10.0-rc.1") < version("1.10"));
/// assert!(Version::parse("latest").is_none());
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    numbers: Vec<u64>,
    /// The identifiers of a pre-release.
    before: Option<Vec<Identifier>>,
    text: String,
}

/// Part of a pre-release's name; numbers come before words.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Identifier {
    Number(u64),
    Word(String),
}

impl fmt::Display for Identifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Identifier::Number(number) => number.fmt(f),
            Identifier::Word(word) => f.write_str(word),
        }
    }
}

impl Version {
    /// The version in `text`; `None` if it is not a version.
    pub fn parse(text: &str) -> Option<Version> {
        let bare = text.strip_prefix(['v', 'V']).unwrap_or(text);
        let bare = bare.split(['+', '_']).next()?;
        let (numbers, before) = match bare.split_once('-') {
            Some((numbers, before)) => (numbers, Some(before)),
            None => (bare, None),
        };
        let numbers: Option<Vec<u64>> = numbers.split('.').map(number).collect();
        let identifier = |part: &str| match number(part) {
            Some(number) => Identifier::Number(number),
            None => Identifier::Word(part.to_string()),
        };
        Some(Version {
            numbers: numbers?,
            before: before.map(|before| before.split('.').map(identifier).collect()),
            text: text.to_string(),
        })
    }

    /// The number at `place`, major first; 0 where the version has fewer.
    pub fn number(&self, place: usize) -> u64 {
        self.numbers.get(place).copied().unwrap_or_default()
    }

    /// The same as semver.org has it, for ranges; `None` where it has more than
    /// three numbers, or a pre-release without a name.
    pub(crate) fn strict(&self) -> Option<semver::Version> {
        if self.numbers.len() > 3 {
            return None;
        }
        let mut strict = semver::Version::new(self.number(0), self.number(1), self.number(2));
        if let Some(before) = &self.before {
            let names: Vec<String> = before.iter().map(Identifier::to_string).collect();
            let names = names.join(".");
            // An empty one would be the release.
            let named = (!names.is_empty()).then_some(names)?;
            strict.pre = semver::Prerelease::new(&named).ok()?;
        }
        Some(strict)
    }

    /// Whether it is a pre-release.
    pub fn is_prerelease(&self) -> bool {
        self.before.is_some()
    }
}

fn number(text: &str) -> Option<u64> {
    let is_number = text.bytes().all(|b| b.is_ascii_digit());
    is_number.then(|| text.parse().ok())?
}

impl Ord for Version {
    fn cmp(&self, other: &Version) -> Ordering {
        let places = self.numbers.len().max(other.numbers.len());
        let numbers = (0..places).map(|place| self.number(place).cmp(&other.number(place)));
        let before = match (&self.before, &other.before) {
            (None, Some(_)) => Ordering::Greater,
            (Some(_), None) => Ordering::Less,
            (one, two) => one.cmp(two),
        };
        numbers
            .fold(Ordering::Equal, Ordering::then)
            .then(before)
            .then_with(|| self.text.cmp(&other.text))
    }
}

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Version) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn versions_are_ordered_as_semver_says() {
        let ordered = [
            "1.0.0-alpha",
            "1.0.0-alpha.1",
            "1.0.0-alpha.beta",
            "1.0.0-beta",
            "1.0.0-beta.2",
            "1.0.0-beta.11",
            "1.0.0-rc.1",
            "1",
            "1.0",
            "1.0.0",
            "1.0.0_build",
            "v1.0.0",
            "1.2",
            "1.10",
            "V2",
            "22.04",
            "22.04.1",
            "20240101",
        ];
        let parsed: Vec<Version> = ordered.map(|text| Version::parse(text).unwrap()).to_vec();
        let mut sorted = parsed.clone();
        sorted.reverse();
        sorted.sort();
        assert_eq!(sorted, parsed);
        for none in [
            "",
            "v",
            "latest",
            "x1",
            "1.x",
            "1..2",
            ".1",
            "-1",
            "99999999999999999999",
        ] {
            assert!(Version::parse(none).is_none(), "{none}");
        }
    }

    #[test]
    fn ranges_see_three_numbers_and_what_comes_before_a_release() {
        let strict = |text| Some(Version::parse(text)?.strict()?.to_string());
        for (tag, seen) in [
            ("v1", "1.0.0"),
            ("2024.01.15", "2024.1.15"),
            ("01.2.3", "1.2.3"),
            ("v1.2.3-rc.01+build", "1.2.3-rc.1"),
            ("1.2.3-alpine_3_19", "1.2.3-alpine"),
            ("1.2_b-1", "1.2.0"),
        ] {
            assert_eq!(strict(tag).as_deref(), Some(seen), "{tag}");
        }
        for tag in ["1.2.3.4", "1.2-", "1.2-a..b", "latest"] {
            assert_eq!(strict(tag), None, "{tag}");
        }
    }

    proptest! {
        #[test]
        fn parsing_never_panics(text in "\\PC{0,40}") {
            let _ = Version::parse(&text).and_then(|version| version.strict());
        }
    }
}
