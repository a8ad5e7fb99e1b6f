//! Headers of members. No names of owners and no times of access, so that the
//! same entries make the same bytes.

use std::io;

use ::tar::{EntryType, Header};

use super::pax;
use super::{BLOCK, Entry, Kind};
use crate::error::{Error, Result};

/// What ends a tar: two blocks of zeros.
pub(crate) const END: [u8; 1024] = [0; 1024];
/// Bytes of a name, or of what a link points at, that a header has room for.
const ROOM: usize = 100;
/// The name of a member that has PAX records; it is never unpacked.
const RECORDS: &[u8] = b"PaxHeaders.0/records";
/// The name of a member that has a long name, as GNU tar writes it.
const LONG_NAME: &[u8] = b"././@LongLink";

/// How a header says what the plain fields have no room for. Digests depend on
/// it, so each use keeps the one it began with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// POSIX ustar with PAX records: layers.
    Pax,
    /// The same as Go's archive/tar writes it, and oras with it: folders are called
    /// as files are, and checksums end with a blank.
    Go,
    /// GNU's, which knows long names only: archives of images.
    Gnu,
}

/// The header of a member, after another one where it needs that.
///
/// # Errors
/// [`Error::Unsupported`] for a kind that only its maker knows,
/// [`Error::Malformed`] for a name that is empty or has a zero byte in it.
pub(crate) fn header(entry: &Entry, dialect: Dialect) -> Result<Vec<u8>> {
    let mut path = entry.path.clone();
    let is_folder = entry.kind == Kind::Directory && dialect != Dialect::Go;
    if is_folder && !path.ends_with(b"/") {
        path.push(b'/');
    }
    if path.is_empty() || path.contains(&0) || entry.link.contains(&0) {
        let why = "a name is empty or contains a zero byte";
        return Err(Error::malformed(entry.name(), why));
    }
    let mut out = match dialect {
        Dialect::Pax | Dialect::Go => records(entry, &path)?,
        Dialect::Gnu => long_name(&path)?,
    };
    let fill = |header: &mut Header| {
        header.set_mode(entry.mode & 0o7777);
        header.set_uid(entry.owner.0);
        header.set_gid(entry.owner.1);
        header.set_mtime(entry.modified);
        header.set_size(entry.size);
        if dialect == Dialect::Gnu {
            return Ok(());
        }
        header.set_device_major(entry.device.0)?;
        header.set_device_minor(entry.device.1)
    };
    let block = block(dialect, kind(entry)?, Names(&path, &entry.link), fill)?;
    out.extend(block);
    Ok(out)
}

/// The member with the PAX records that `entry` needs, if any.
fn records(entry: &Entry, path: &[u8]) -> Result<Vec<u8>> {
    let mut records = Vec::new();
    if path.len() > ROOM {
        records.extend(pax::written(b"path", path));
    }
    if entry.link.len() > ROOM {
        records.extend(pax::written(b"linkpath", &entry.link));
    }
    let mut attributes: Vec<_> = entry.attributes.iter().collect();
    attributes.sort();
    for (key, value) in attributes {
        records.extend(pax::written(key, value));
    }
    if records.is_empty() {
        return Ok(records);
    }
    let mut out = block(
        Dialect::Pax,
        EntryType::XHeader,
        Names(RECORDS, b""),
        |header| {
            header.set_mode(0o644);
            header.set_size(records.len() as u64);
            Ok(())
        },
    )?
    .to_vec();
    append(&mut out, &records);
    Ok(out)
}

/// The member with a name that no header has room for, if it is one.
fn long_name(path: &[u8]) -> Result<Vec<u8>> {
    if path.len() <= ROOM {
        return Ok(Vec::new());
    }
    // The name ends with a zero byte (GNU tar's manual).
    let text = [path, b"\0"].concat();
    let fill = |header: &mut Header| {
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(text.len() as u64);
        Ok(())
    };
    let mut out = block(
        Dialect::Gnu,
        EntryType::GNULongName,
        Names(LONG_NAME, b""),
        fill,
    )?
    .to_vec();
    append(&mut out, &text);
    Ok(out)
}

fn append(out: &mut Vec<u8>, text: &[u8]) {
    out.extend(text);
    out.resize(out.len() + padding(text.len() as u64), 0);
}

/// The name of a member, and what it links to.
struct Names<'a>(&'a [u8], &'a [u8]);

fn block(
    dialect: Dialect,
    kind: EntryType,
    names: Names<'_>,
    fill: impl FnOnce(&mut Header) -> io::Result<()>,
) -> Result<[u8; BLOCK as usize]> {
    let mut header = match dialect {
        Dialect::Pax | Dialect::Go => Header::new_ustar(),
        Dialect::Gnu => Header::new_gnu(),
    };
    let old = header.as_old_mut();
    let [path, link] = [names.0, names.1].map(|name| &name[..name.len().min(ROOM)]);
    old.name[..path.len()].copy_from_slice(path);
    old.linkname[..link.len()].copy_from_slice(link);
    header.set_entry_type(kind);
    fill(&mut header).map_err(|e| Error::io("tar header", e))?;
    header.set_cksum();
    if dialect == Dialect::Go {
        let sum = header.cksum().map_err(|e| Error::io("tar header", e))?;
        // It is below 2^18, so it fits.
        let text = format!("{sum:06o}\0 ");
        header.as_old_mut().cksum.copy_from_slice(text.as_bytes());
    }
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
    use crate::tar::Entries;
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
            let bytes = header(&entry, Dialect::Pax).unwrap();
            let read = Entries::new("t", &bytes[..]).next().unwrap().unwrap();
            assert_eq!(read.offset as usize, bytes.len());
            assert_eq!(Entry { offset: 0, ..read }, entry);
        }
        let bad = Entry {
            path: b"a\0b".to_vec(),
            ..plain.clone()
        };
        assert!(header(&bad, Dialect::Pax).is_err());
        let odd = Entry {
            kind: Kind::Other(b'V'),
            ..plain
        };
        assert!(header(&odd, Dialect::Pax).is_err());
        assert_eq!((padding(0), padding(1), padding(512)), (0, 511, 0));
    }

    #[test]
    fn gnu_headers_are_read_as_written() {
        let long = "blobs/sha512/".to_string() + &"a".repeat(128);
        for (name, size) in [("index.json", 3u64), (long.as_str(), 0), ("x", 9 << 30)] {
            let written = Entry::file(name, size);
            let bytes = header(&written, Dialect::Gnu).unwrap();
            let read = Entries::new("t", &bytes[..]).next().unwrap().unwrap();
            assert_eq!(read.offset as usize, bytes.len());
            assert_eq!(Entry { offset: 0, ..read }, written);
        }
        assert!(header(&Entry::file("", 1), Dialect::Gnu).is_err());
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
            let bytes = header(&entry, Dialect::Pax).unwrap();
            let read = Entries::new("t", &bytes[..]).next().unwrap().unwrap();
            prop_assert_eq!(Entry { offset: 0, ..read }, entry);
        }
    }
}
