//! Which files of a folder are left out: the patterns of `.dockerignore`.

use std::str::FromStr;

use glob::MatchOptions;

use crate::error::{Error, Result};

/// As a shell has it: `*` ends at a slash, and finds hidden files too.
const OPTIONS: MatchOptions = MatchOptions {
    case_sensitive: true,
    require_literal_separator: true,
    require_literal_leading_dot: false,
};

/// A pattern for names below a folder: `*` and `?` within a name, `**` for any
/// number of folders, `[a-z]` and `[!a-z]`. What fits is left out, with all that
/// is in it; `!` in front takes back in what fits.
///
/// Patterns are relative to the folder, so `*.o` means those directly in it and
/// `**/*.o` all. Of several, the last one that fits counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    glob: glob::Pattern,
    takes_in: bool,
}

impl FromStr for Pattern {
    type Err = Error;

    fn from_str(word: &str) -> Result<Pattern> {
        let bad = |why: &str| Error::invalid("pattern", word, why);
        let (takes_in, rest) = match word.strip_prefix('!') {
            Some(rest) => (true, rest),
            None => (false, word),
        };
        let parts = rest.split('/').filter(|p| !p.is_empty() && *p != ".");
        let parts: Vec<&str> = parts.collect();
        if parts.is_empty() {
            return Err(bad("it names nothing"));
        }
        if parts.contains(&"..") {
            return Err(bad("it leads upwards"));
        }
        // Go's way to say `not`, which Docker's files use.
        let text = parts.join("/").replace("[^", "[!");
        let glob = glob::Pattern::new(&text).map_err(|e| bad(e.msg))?;
        Ok(Pattern { glob, takes_in })
    }
}

impl Pattern {
    /// Whether `path` fits any of `patterns`, taken by itself: `!` has no
    /// meaning here.
    pub fn any_fits(patterns: &[Pattern], path: &str) -> bool {
        patterns.iter().any(|pattern| pattern.fits(path))
    }

    /// Whether the name, or a folder on the way to it, fits.
    fn fits(&self, path: &str) -> bool {
        let ends = path.match_indices('/').map(|(at, _)| at);
        let mut heads = ends.chain([path.len()]).map(|end| &path[..end]);
        heads.any(|head| self.glob.matches_with(head, OPTIONS))
    }
}

/// Whether `path`, relative to the folder, is left out.
pub fn excludes(patterns: &[Pattern], path: &str) -> bool {
    let last = patterns.iter().rev().find(|pattern| pattern.fits(path));
    last.is_some_and(|pattern| !pattern.takes_in)
}

/// Whether something in a folder that is left out may be taken back in.
pub(super) fn may_take_in(patterns: &[Pattern]) -> bool {
    patterns.iter().any(|pattern| pattern.takes_in)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn out(patterns: &[&str], path: &str) -> bool {
        let patterns: Vec<Pattern> = patterns.iter().map(|p| p.parse().unwrap()).collect();
        excludes(&patterns, path)
    }

    #[test]
    fn patterns_fit_as_in_dockerignore() {
        assert!(out(&["*.o"], "a.o") && !out(&["*.o"], "d/a.o"));
        assert!(out(&["**/*.o"], "a.o") && out(&["**/*.o"], "d/e/a.o"));
        assert!(out(&["/d/"], "d") && out(&["d"], "d/e/f") && !out(&["d"], "dd"));
        assert!(out(&["d/**"], "d/e") && !out(&["d/**"], "d"));
        assert!(out(&["?.o"], "a.o") && !out(&["?.o"], "ab.o"));
        assert!(out(&["[a-c]"], "b") && !out(&["[!a-c]"], "b") && !out(&["[^a-c]"], "b"));
        assert!(out(&["*"], ".hidden"));
        assert!(out(&["./d/*"], "d/x"));
    }

    #[test]
    fn the_last_that_fits_counts() {
        let all = ["d", "!d/keep", "d/keep/not"];
        assert!(out(&all, "d/x") && !out(&all, "d/keep") && out(&all, "d/keep/not"));
        assert!(out(&["!a", "a"], "a") && !out(&["a", "!a"], "a"));
        assert!(!out(&[], "a"));
    }

    #[test]
    fn what_is_no_pattern_is_said() {
        for bad in ["", "!", "/", "../a", "a/../b", "[a", "a**b"] {
            let found = bad.parse::<Pattern>();
            assert!(matches!(found, Err(Error::Invalid { .. })), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn never_panics(word in r"[!*?\[\]a/.^-]{0,12}", path in "[a/.é]{0,9}") {
            if let Ok(pattern) = word.parse::<Pattern>() {
                let alone = excludes(std::slice::from_ref(&pattern), &path);
                prop_assert!(!alone || !word.starts_with('!'));
            }
        }
    }
}
