//! Names of files in layers, and which of them mean the absence of another
//! (image-spec, layer.md, "Whiteouts").

use crate::tar::{Entry, Kind};

/// A file of this name in front hides another of a lower layer.
pub(super) const WHITEOUT: &[u8] = b".wh.";
/// A file of this name hides all that lower layers have in its folder.
pub(super) const OPAQUE: &[u8] = b".wh..wh..opq";

/// A name as engines read it: without `/` at the start and end and without `.`
/// parts; `..` takes the part before it away, and is a part itself where it
/// leads out.
pub(super) fn normal(name: &[u8]) -> Vec<u8> {
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in name.split(|b| *b == b'/') {
        match part {
            b"" | b"." => {}
            b".." if parts.last().is_some_and(|last| *last != b"..") => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join(&b'/')
}

/// Folder and last part of a name.
pub(super) fn split(name: &[u8]) -> (&[u8], &[u8]) {
    match name.iter().rposition(|b| *b == b'/') {
        Some(at) => (&name[..at], &name[at + 1..]),
        None => (b"", name),
    }
}

/// The name of `last` in `folder`.
pub(super) fn join(folder: &[u8], last: &[u8]) -> Vec<u8> {
    if folder.is_empty() {
        return last.to_vec();
    }
    [folder, b"/", last].concat()
}

/// Whether an unpacker that trusts the names of `entry` would write or read
/// outside of the image.
pub(super) fn leads_out(entry: &Entry) -> bool {
    let link = entry.kind == Kind::HardLink && is_outside(&entry.link);
    is_outside(&entry.path) || link
}

fn is_outside(name: &[u8]) -> bool {
    let normal = normal(name);
    name.contains(&0) || normal == b".." || normal.starts_with(b"../")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_engines_read_them() {
        for (name, is, out) in [
            ("/a//b/./", "a/b", false),
            ("usr/bin/../x", "usr/x", false),
            ("a/../../x", "../x", true),
            ("../../x", "../../x", true),
            ("a/..", "", false),
            ("..", "..", true),
            ("..a/x", "..a/x", false),
        ] {
            assert_eq!(normal(name.as_bytes()), is.as_bytes());
            assert_eq!(is_outside(name.as_bytes()), out, "{name}");
        }
        assert!(is_outside(b"a\0"));
    }
}
