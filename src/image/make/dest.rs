//! Where in an image something goes.

use std::cmp::Ordering;

use crate::bounds;
use crate::error::{Error, Result};
use crate::image::name::{WHITEOUT, normal};

/// Linux opens no longer path.
pub(super) const LONGEST: usize = bounds::MEMBER_NAME;

/// A file's name in a layer: no `/` at the start or end, no `.` or `..`. The
/// empty name is the root.
///
/// Sorted as a walk through the tree meets them, a folder before what is in it,
/// whiteouts before their neighbours: an engine that unpacks one entry after
/// the other would remove the first one's files (image-spec, layer.md, "Whiteouts").
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Name(pub Vec<u8>);

impl Name {
    /// Whether this is in folder `above`, however deep.
    pub fn is_below(&self, above: &Name) -> bool {
        let rest = self.0.strip_prefix(above.0.as_slice());
        above.0.is_empty() && !self.0.is_empty() || rest.is_some_and(|rest| rest.starts_with(b"/"))
    }

    /// The folders that contain this, the innermost first, without the root.
    pub fn ancestors(&self) -> impl Iterator<Item = Name> {
        let ends = self.0.iter().enumerate().rev();
        let ends = ends.filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
        ends.map(|at| Name(self.0[..at].to_vec()))
    }

    fn sort_key(&self) -> impl Iterator<Item = (bool, &[u8])> {
        let parts = self.0.split(|byte| *byte == b'/');
        parts.map(|part| (!part.starts_with(WHITEOUT), part))
    }
}

impl Ord for Name {
    fn cmp(&self, other: &Name) -> Ordering {
        self.sort_key().cmp(other.sort_key())
    }
}

impl PartialOrd for Name {
    fn partial_cmp(&self, other: &Name) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// A place in an image, as the user wrote it.
pub(super) struct Dest {
    pub name: Name,
    /// Whether it is a folder to put something into (`dir/`).
    pub into: bool,
}

impl Dest {
    /// # Errors
    /// [`Error::Invalid`] for a path that is empty, points outside, or means a removal.
    pub fn parse(word: &str) -> Result<Dest> {
        let bad = |why: &str| Err(Error::invalid("path in an image", word, why));
        if word.is_empty() {
            return bad("it is empty");
        }
        if word.len() > LONGEST {
            return bad("it is longer than any path");
        }
        if word.contains('\0') {
            return bad("it contains a zero byte");
        }
        // Also where it would come back in: what `a` is, is not known here.
        if word.split('/').any(|part| part == "..") {
            return bad("it leads upwards");
        }
        let name = Name(normal(word.as_bytes()));
        if is_whiteout(&name) {
            return bad("names that begin with .wh. mean a removal");
        }
        let into = word.ends_with('/');
        Ok(Dest { name, into })
    }
}

/// Whether a name, or a folder on the way to it, would be taken for a whiteout.
pub(super) fn is_whiteout(name: &Name) -> bool {
    let mut parts = name.0.split(|byte| *byte == b'/');
    parts.any(|part| part.starts_with(WHITEOUT))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn name(text: &str) -> Name {
        Name(text.into())
    }

    #[test]
    fn names_are_sorted_as_a_walk_meets_them() {
        let mut names: Vec<Name> = ["a/b", "a-b", "a", "a/.wh.x", "a/+", "", "a/b/c"]
            .map(name)
            .to_vec();
        names.sort();
        let sorted: Vec<_> = ["", "a", "a/.wh.x", "a/+", "a/b", "a/b/c", "a-b"]
            .map(name)
            .to_vec();
        assert_eq!(names, sorted);
        assert!(name("a/b").is_below(&name("a")) && name("a").is_below(&name("")));
        assert!(!name("a-b").is_below(&name("a")) && !name("a").is_below(&name("a")));
        assert!(!name("").is_below(&name("")));
        let above: Vec<Name> = name("a/b/c").ancestors().collect();
        assert_eq!(above, [name("a/b"), name("a")]);
    }

    #[test]
    fn places_are_within_the_image() {
        for (word, path, into) in [
            ("/a/b", "a/b", false),
            ("a//./b/", "a/b", true),
            ("/", "", true),
            ("/.", "", false),
            (".", "", false),
        ] {
            let dest = Dest::parse(word).unwrap();
            assert_eq!((dest.name, dest.into), (name(path), into), "{word}");
        }
        let long = "a".repeat(5000);
        for bad in [
            "",
            "..",
            "a/../b",
            "/../x",
            "a\0",
            ".wh.a",
            "a/.wh.b/c",
            &long,
        ] {
            assert!(
                matches!(Dest::parse(bad), Err(Error::Invalid { .. })),
                "{bad}"
            );
        }
    }

    proptest! {
        #[test]
        fn no_word_leads_out(word in r"[a./\x00w h-]{0,12}") {
            if let Ok(dest) = Dest::parse(&word) {
                let own = String::from_utf8(dest.name.0).unwrap();
                let whole = own.split('/').all(|part| !["", ".", ".."].contains(&part));
                prop_assert!(whole || own.is_empty(), "{own}");
                prop_assert!(!own.contains('\0') && !own.starts_with('/'));
            }
        }
    }
}
