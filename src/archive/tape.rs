//! Tar headers as this crate writes them: GNU's format, one fixed mode, no
//! owner, no time, so that the same images make the same bytes.

use tar::{EntryType, Header};

use crate::error::{Error, Result};
pub(crate) use crate::image::tape::{END, padding};

/// Files anyone may read, as skopeo and crane write them.
const MODE: u32 = 0o644;

/// The header of a file, with another one before it for a name too long.
pub(crate) fn header(name: &str, size: u64) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    let field = Header::new_gnu().as_old().name.len();
    if name.len() > field {
        // The name ends with a zero byte (GNU tar's manual).
        let text = [name.as_bytes(), b"\0"].concat();
        let long = block(EntryType::GNULongName, b"././@LongLink", text.len() as u64);
        out.extend_from_slice(long.as_bytes());
        out.extend_from_slice(&text);
        out.resize(out.len() + padding(text.len() as u64), 0);
    }
    let short = &name.as_bytes()[..name.len().min(field)];
    out.extend_from_slice(block(EntryType::Regular, short, size).as_bytes());
    if name.is_empty() || name.contains('\0') {
        return Err(Error::invalid(
            "member name",
            name,
            "it is empty or holds a zero byte",
        ));
    }
    Ok(out)
}

fn block(kind: EntryType, name: &[u8], size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.as_old_mut().name[..name.len()].copy_from_slice(name);
    header.set_entry_type(kind);
    header.set_mode(MODE);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(size);
    header.set_cksum();
    header
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::entries::Entries;

    #[test]
    fn headers_are_read_as_written() {
        let long = "blobs/sha512/".to_string() + &"a".repeat(128);
        for (name, size) in [("index.json", 3u64), (long.as_str(), 0), ("x", 9 << 30)] {
            let bytes = header(name, size).unwrap();
            let entry = Entries::new("t", &bytes[..]).next().unwrap().unwrap();
            assert_eq!((entry.name(), entry.size), (name.into(), size));
            assert_eq!((entry.mode, entry.owner, entry.modified), (MODE, (0, 0), 0));
            assert_eq!(entry.offset as usize, bytes.len());
        }
        assert!(header("", 1).is_err());
    }
}
