//! Names of files in layers, and which of them mean the absence of another
//! (image-spec, layer.md, "Whiteouts").

use crate::tar::{Entry, Kind};

/// A file of this name in front hides another of a lower layer.
pub(super) const WHITEOUT: &[u8] = b".wh.";
/// A file of this name hides all that lower layers have in its folder.
pub(super) const OPAQUE: &[u8] = b".wh..wh..opq";

/// A name without what engines leave out: `/` in front and behind, `.` parts.
/// Where `..` leads is for whoever unpacks to refuse; here it is a name.
pub(super) fn normal(name: &[u8]) -> Vec<u8> {
    let parts = name.split(|b| *b == b'/');
    let parts: Vec<&[u8]> = parts.filter(|p| !p.is_empty() && *p != b".").collect();
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
    name.contains(&0) || name.split(|byte| *byte == b'/').any(|part| part == b"..")
}
