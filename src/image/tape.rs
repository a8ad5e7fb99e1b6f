//! Headers of a layer's members as this crate writes them: ustar, with PAX
//! records for what that can't hold, which every engine reads. No names of
//! owners, no time of access, so that the same entries make the same bytes.

use std::io;

use tar::{EntryType, Header};

use super::entries::{BLOCK, Entry, Kind};
use super::pax;
use crate::error::{Error, Result};

/// What ends a tar: two blocks of zeros.
pub(crate) const END: [u8; 1024] = [0; 1024];
/// Bytes of a name, or of what a link points at, that a header has room for.
const ROOM: usize = 100;
/// What the members with the records are called; nobody unpacks them.
const RECORDS: &[u8] = b"PaxHeaders.0/records";

/// The header of a member, and before it another where it needs one.
///
/// # Errors
/// [`Error::Unsupported`] for a kind that only its maker knows,
/// [`Error::Malformed`] for a name with a zero byte in it.
pub(crate) fn header(entry: &Entry) -> Result<Vec<u8>> {
    let mut path = entry.path.clone();
    if entry.kind == Kind::Directory && !path.ends_with(b"/") {
        path.push(b'/');
    }
    if path.is_empty() || path.contains(&0) || entry.link.contains(&0) {
        let why = "a name is empty or holds a zero byte";
        return Err(Error::malformed(entry.name(), why));
    }
    let mut records = Vec::new();
    if path.len() > ROOM {
        records.extend(pax::written(b"path", &path));
    }
    if entry.link.len() > ROOM {
        records.extend(pax::written(b"linkpath", &entry.link));
    }
    let mut attributes: Vec<_> = entry.attributes.iter().collect();
    attributes.sort();
    for (key, value) in attributes {
        records.extend(pax::written(key, value));
    }
    let mut out = Vec::with_capacity(512);
    if !records.is_empty() {
        let size = records.len() as u64;
        out.extend(block(EntryType::XHeader, RECORDS, b"", |header| {
            header.set_mode(0o644);
            header.set_size(size);
            Ok(())
        })?);
        out.extend(&records);
        out.resize(out.len() + padding(size), 0);
    }
    let fill = |header: &mut Header| {
        header.set_mode(entry.mode & 0o7777);
        header.set_uid(entry.owner.0);
        header.set_gid(entry.owner.1);
        header.set_mtime(entry.modified);
        header.set_size(entry.size);
        header.set_device_major(entry.device.0)?;
        header.set_device_minor(entry.device.1)
    };
    out.extend(block(kind(entry)?, &path, &entry.link, fill)?);
    Ok(out)
}

fn block(
    kind: EntryType,
    path: &[u8],
    link: &[u8],
    fill: impl FnOnce(&mut Header) -> io::Result<()>,
) -> Result<[u8; BLOCK as usize]> {
    let mut header = Header::new_ustar();
    let old = header.as_old_mut();
    let (path, link) = (&path[..path.len().min(ROOM)], &link[..link.len().min(ROOM)]);
    old.name[..path.len()].copy_from_slice(path);
    old.linkname[..link.len()].copy_from_slice(link);
    header.set_entry_type(kind);
    fill(&mut header).map_err(|e| Error::io("tar header", e))?;
    header.set_cksum();
    Ok(*header.as_bytes())
}

fn kind(entry: &Entry) -> Result<EntryType> {
    Ok(match entry.kind {
        Kind::File => EntryType::Regular,
        Kind::Directory => EntryType::Directory,
        Kind::Symlink => EntryType::Symlink,
        Kind::HardLink => EntryType::Link,
        Kind::CharDevice => EntryType::Char,
        Kind::BlockDevice => EntryType::Block,
        Kind::Fifo => EntryType::Fifo,
        Kind::Other(kind) => {
            let what = format!("{:?}: a tar member of type {kind}", entry.name());
            return Err(Error::Unsupported { what });
        }
    })
}

/// Zero bytes that follow a content of `size` bytes.
pub(crate) fn padding(size: u64) -> usize {
    // Less than a block, so it fits.
    ((BLOCK - size % BLOCK) % BLOCK) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::entries::Entries;
    use proptest::prelude::*;

    #[test]
    fn members_are_read_as_written() {
        let long = b"d/".repeat(80);
        let plain = Entry {
            path: b"a/b".to_vec(),
            link: Vec::new(),
            size: 3,
            mode: 0o4755,
            owner: (1000, 3_000_000),
            modified: 1_700_000_000,
            kind: Kind::File,
            device: (0, 0),
            attributes: Vec::new(),
            offset: 0,
            sparse: false,
        };
        let attribute = (b"SCHILY.xattr.user.a".to_vec(), b"\x00=\n".to_vec());
        let all = [
            plain.clone(),
            Entry {
                path: [&long[..], b"f"].concat(),
                size: 9 << 30,
                attributes: vec![attribute],
                ..plain.clone()
            },
            Entry {
                link: [&long[..], b"f"].concat(),
                kind: Kind::Symlink,
                size: 0,
                ..plain.clone()
            },
            Entry {
                kind: Kind::CharDevice,
                device: (5, 1),
                size: 0,
                ..plain.clone()
            },
        ];
        for entry in all {
            let bytes = header(&entry).unwrap();
            let read = Entries::new("t", &bytes[..]).next().unwrap().unwrap();
            assert_eq!(read.offset as usize, bytes.len());
            assert_eq!(Entry { offset: 0, ..read }, entry);
        }
        let bad = Entry {
            path: b"a\0b".to_vec(),
            ..plain.clone()
        };
        assert!(header(&bad).is_err());
        let odd = Entry {
            kind: Kind::Other(b'V'),
            ..plain
        };
        assert!(header(&odd).is_err());
        assert_eq!((padding(0), padding(1), padding(512)), (0, 511, 0));
    }

    proptest! {
        #[test]
        fn whatever_is_written_is_read(
            path in proptest::collection::vec(1..=255u8, 1..300),
            link in proptest::collection::vec(1..=255u8, 1..300),
            value in proptest::collection::vec(any::<u8>(), 0..50),
            (mode, uid, modified) in (0..0o10000u32, any::<u32>(), 0..1u64 << 40),
            size in 0..1u64 << 60,
            is_link in any::<bool>(),
        ) {
            let entry = Entry {
                path,
                link: if is_link { link } else { Vec::new() },
                size: if is_link { 0 } else { size },
                mode,
                owner: (uid.into(), 7),
                modified,
                kind: if is_link { Kind::HardLink } else { Kind::File },
                device: (0, 0),
                attributes: vec![(b"SCHILY.xattr.user.x".to_vec(), value)],
                offset: 0,
                sparse: false,
            };
            let bytes = header(&entry).unwrap();
            let read = Entries::new("t", &bytes[..]).next().unwrap().unwrap();
            prop_assert_eq!(Entry { offset: 0, ..read }, entry);
        }
    }
}
