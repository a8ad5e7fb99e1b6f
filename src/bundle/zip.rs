//! Where each member of a zip is, so that it can be read in place: of zips
//! whose members are stored without compression, which is all that payloads of
//! docker-charon are (APPNOTE.TXT 4.3, with zip64).

use std::collections::BTreeMap;

use crate::bounds;
use crate::error::{Error, Result};
use crate::file::Section;
use crate::stream::read_bounded;
use crate::tar::index::MAX_MEMBERS;

/// What a zip begins with.
pub(super) const MAGIC: [u8; 4] = *b"PK\x03\x04";
/// The longest list of members that is read, bytes.
const MAX_LIST: u64 = bounds::BUNDLE_LIST;
/// The end record and the longest comment after it, bytes.
const TAIL: u64 = 22 + 0xffff;

/// A cursor over fields of known lengths, little end first.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn bytes(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn number(&mut self, count: usize) -> Option<u64> {
        let bytes = self.bytes(count)?.iter().rev();
        Some(bytes.fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }

    fn is_next(&mut self, mark: &[u8]) -> bool {
        self.bytes(mark.len()) == Some(mark)
    }
}

/// The members of a zip, by name; `what` names it in errors.
///
/// # Errors
/// [`Error::Malformed`] for something that is not a zip, [`Error::Unsupported`] for members
/// that are compressed or encrypted.
pub(super) fn members(what: &str, zip: &Section) -> Result<BTreeMap<String, Section>> {
    let bad = || Error::malformed(what, "it is not a zip, or it is cut short");
    let list = list(what, zip)?.ok_or_else(bad)?;
    let (mut fields, mut found) = (Fields(&list), BTreeMap::new());
    let mut left = zip.len();
    while !fields.0.is_empty() {
        let member = member(&mut fields).ok_or_else(bad)?;
        if member.method != 0 || member.flags & 1 != 0 {
            let what = format!("{what}: {:?} in it is compressed or encrypted", member.name);
            return Err(Error::Unsupported { what });
        }
        let content = content(what, zip, &member)?.ok_or_else(bad)?;
        // Members over each other would be read many times.
        left = left.checked_sub(content.len()).ok_or_else(bad)?;
        if found.insert(member.name.clone(), content).is_some() {
            let why = format!("it has {:?} twice", member.name);
            return Err(Error::malformed(what, why));
        }
        if found.len() > MAX_MEMBERS {
            return Err(Error::malformed(what, "it has too many members"));
        }
    }
    Ok(found)
}

/// Bytes of the zip, which has to have them.
fn read(what: &str, zip: &Section, at: u64, len: u64) -> Result<Option<Vec<u8>>> {
    let part = zip.part(at, len).filter(|_| len <= MAX_LIST);
    part.map(|part| read_bounded(what, part.reader(0), len))
        .transpose()
}

/// The central directory.
fn list(what: &str, zip: &Section) -> Result<Option<Vec<u8>>> {
    let start = zip.len().saturating_sub(TAIL);
    let Some(tail) = read(what, zip, start, zip.len() - start)? else {
        return Ok(None);
    };
    let Some(at) = tail.windows(4).rposition(|mark| mark == b"PK\x05\x06") else {
        return Ok(None);
    };
    let end = |mut fields: Fields<'_>| {
        fields.bytes(12)?;
        Some((fields.number(4)?, fields.number(4)?))
    };
    let Some((mut size, mut offset)) = end(Fields(&tail[at..])) else {
        return Ok(None);
    };
    if size == 0xffff_ffff || offset == 0xffff_ffff {
        // The locator of zip64 stands right before the end record.
        let locator = (start + at as u64).checked_sub(20);
        let locator = locator
            .map(|at| read(what, zip, at, 20))
            .transpose()?
            .flatten();
        let record = locator.and_then(|bytes| {
            let mut fields = Fields(&bytes);
            let is_locator = fields.is_next(b"PK\x06\x07");
            fields.bytes(4)?;
            fields.number(8).filter(|_| is_locator)
        });
        let record = record
            .map(|at| read(what, zip, at, 56))
            .transpose()?
            .flatten();
        let whole = record.and_then(|bytes| {
            let mut fields = Fields(&bytes);
            let is_record = fields.is_next(b"PK\x06\x06");
            fields.bytes(36)?;
            Some((fields.number(8)?, fields.number(8)?)).filter(|_| is_record)
        });
        let Some(whole) = whole else {
            return Ok(None);
        };
        (size, offset) = whole;
    }
    read(what, zip, offset, size)
}

/// A member, as the list has it.
struct Member {
    name: String,
    flags: u64,
    method: u64,
    size: u64,
    offset: u64,
}

fn member(fields: &mut Fields<'_>) -> Option<Member> {
    if !fields.is_next(b"PK\x01\x02") {
        return None;
    }
    fields.bytes(4)?;
    let (flags, method) = (fields.number(2)?, fields.number(2)?);
    fields.bytes(8)?;
    let (packed, mut size) = (fields.number(4)?, fields.number(4)?);
    let mut count = || usize::try_from(fields.number(2)?).ok();
    let (name, extra, comment) = (count()?, count()?, count()?);
    fields.bytes(8)?;
    let mut offset = fields.number(4)?;
    let name = std::str::from_utf8(fields.bytes(name)?).ok()?.to_string();
    let mut extra = Fields(fields.bytes(extra)?);
    fields.bytes(comment)?;
    // Of zip64, those numbers follow that had no room, in order.
    while extra.0.len() >= 4 {
        let (id, len) = (extra.number(2)?, usize::try_from(extra.number(2)?).ok()?);
        let mut wide = Fields(extra.bytes(len)?);
        if id != 1 {
            continue;
        }
        if size == 0xffff_ffff {
            size = wide.number(8)?;
        }
        if packed == 0xffff_ffff {
            wide.number(8)?;
        }
        if offset == 0xffff_ffff {
            offset = wide.number(8)?;
        }
    }
    Some(Member {
        name,
        flags,
        method,
        size,
        offset,
    })
}

/// The bytes of a member, which follow a header of their own.
fn content(what: &str, zip: &Section, member: &Member) -> Result<Option<Section>> {
    let Some(header) = read(what, zip, member.offset, 30)? else {
        return Ok(None);
    };
    let lens = |mut fields: Fields<'_>| {
        let is_header = fields.is_next(&MAGIC);
        fields.bytes(22)?;
        Some(fields.number(2)? + fields.number(2)?).filter(|_| is_header)
    };
    let start = lens(Fields(&header)).and_then(|lens| member.offset.checked_add(30 + lens));
    Ok(start.and_then(|start| zip.part(start, member.size)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::Write;

    /// A zip of stored members, as Python's `zipfile` writes it.
    fn zip(members: &[(&str, &[u8])]) -> Vec<u8> {
        let (mut bytes, mut list) = (Vec::new(), Vec::new());
        for (name, content) in members {
            let (offset, len) = (bytes.len() as u32, content.len() as u32);
            let rest = [
                [0; 8].as_slice(),
                &len.to_le_bytes(),
                &len.to_le_bytes(),
                &(name.len() as u16).to_le_bytes(),
                &[0; 2],
            ]
            .concat();
            bytes.extend(
                [
                    &MAGIC[..],
                    &[20, 0, 0, 0, 0, 0],
                    &rest,
                    name.as_bytes(),
                    content,
                ]
                .concat(),
            );
            list.extend(
                [
                    &b"PK\x01\x02"[..],
                    &[20, 0, 20, 0, 0, 0, 0, 0],
                    &rest,
                    &[0; 10],
                    &offset.to_le_bytes(),
                    name.as_bytes(),
                ]
                .concat(),
            );
        }
        let (offset, size) = (bytes.len() as u32, list.len() as u32);
        bytes.extend(list);
        bytes.extend(
            [
                &b"PK\x05\x06"[..],
                &[0; 8],
                &size.to_le_bytes(),
                &offset.to_le_bytes(),
                &[0, 0],
            ]
            .concat(),
        );
        bytes
    }

    fn read_all(bytes: &[u8]) -> Result<Vec<(String, Vec<u8>)>> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        let members = members("z", &Section::whole(file).unwrap())?;
        let read = |(name, section): (String, Section)| {
            Ok((name, read_bounded("z", section.reader(0), 1 << 20)?))
        };
        members.into_iter().map(read).collect()
    }

    #[test]
    fn members_over_each_other_are_refused() {
        let mut bytes = zip(&[("a", &[1; 1000]), ("b", &[2; 1000])]);
        let list = bytes.windows(4).position(|mark| mark == b"PK\x01\x02");
        let list = list.unwrap();
        assert!(read_all(&bytes).is_ok());
        // Both entries of the list lead to the first, and claim all up to the list.
        let size = u32::try_from(list - 31).unwrap().to_le_bytes();
        for entry in [list, list + 47] {
            bytes[entry + 20..entry + 24].copy_from_slice(&size);
            bytes[entry + 24..entry + 28].copy_from_slice(&size);
            bytes[entry + 42..entry + 46].copy_from_slice(&[0; 4]);
        }
        assert!(read_all(&bytes).is_err_and(|e| e.is_corrupt()));
    }

    #[test]
    fn stored_members_are_found() {
        let bytes = zip(&[("b", b"two"), ("a/x", b"1")]);
        let found = read_all(&bytes).unwrap();
        assert_eq!(
            found,
            [("a/x".into(), b"1".to_vec()), ("b".into(), b"two".to_vec())]
        );
        for bad in [
            &bytes[..bytes.len() - 23],
            b"",
            b"PK\x05\x06",
            &zip(&[("a", b"1"), ("a", b"2")]),
        ] {
            assert!(read_all(bad).is_err_and(|e| e.is_corrupt()));
        }
        let mut packed = bytes.clone();
        let at = packed
            .windows(4)
            .position(|mark| mark == b"PK\x01\x02")
            .unwrap();
        packed[at + 10] = 8;
        assert!(matches!(read_all(&packed), Err(Error::Unsupported { .. })));
    }

    proptest! {
        #[test]
        fn damaged_zips_never_panic(at in 0usize..1000, byte in any::<u8>(), cut in 0usize..1000) {
            let mut bytes = zip(&[("b", b"two"), ("a/x", b"1")]);
            let at = at % bytes.len();
            bytes[at] = byte;
            bytes.truncate(bytes.len() - cut % 60);
            let _ = read_all(&bytes);
        }
    }
}
