//! What the extension headers of a tar say of the member after them.

use std::collections::BTreeMap;

use super::sparse::Map;

/// Keys of extended attributes begin like this (star's words, which Go's and
/// libarchive's tars took over).
const XATTR: &[u8] = b"SCHILY.xattr.";
/// Keys of what Windows keeps of a file begin like this (hcsshim).
const WINDOWS: &[u8] = b"MSWINDOWS.";
/// When a file was made, which layers of Windows have.
const CREATED: &[u8] = b"LIBARCHIVE.creationtime";

/// Names and sizes that its own header could not hold.
#[derive(Default)]
pub(super) struct Extended {
    /// GNU's long name.
    pub long_name: Option<Vec<u8>>,
    /// GNU's long link.
    pub long_link: Option<Vec<u8>>,
    /// PAX's name.
    pub path: Option<Vec<u8>>,
    /// PAX's link.
    pub link: Option<Vec<u8>>,
    /// The bytes of content that follow.
    pub size: Option<u64>,
    /// The bytes the file has with its holes.
    pub sparse_size: Option<u64>,
    /// Where it has content between holes, when it has holes.
    pub sparse: Option<Map>,
    /// The owner's number.
    pub uid: Option<u64>,
    /// The group's number.
    pub gid: Option<u64>,
    /// Last change, whole seconds since 1970.
    pub modified: Option<u64>,
    /// Extended attributes, and what else headers have no field for, under
    /// their whole keys.
    pub attributes: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl Extended {
    /// Takes PAX records, `length key=value\n` with the length counting
    /// itself; `false` when they break that format.
    pub fn take_pax(&mut self, text: &[u8]) -> bool {
        let mut rest = text;
        while !rest.is_empty() {
            let Some((key, value, len)) = record(rest) else {
                return false;
            };
            if !self.take(key, value) {
                return false;
            }
            rest = &rest[len..];
        }
        true
    }

    fn take(&mut self, key: &[u8], value: &[u8]) -> bool {
        if let Some(key) = key.strip_prefix(b"GNU.sparse.") {
            return self.take_sparse(key, value);
        }
        match key {
            b"path" => self.path = Some(value.to_vec()),
            b"linkpath" => self.link = Some(value.to_vec()),
            b"size" => {
                self.size = number(value);
                return self.size.is_some();
            }
            b"uid" => self.uid = number(value),
            b"gid" => self.gid = number(value),
            b"mtime" => {
                self.modified = seconds(value);
                self.attributes.remove(key);
                if !is_whole(value) {
                    self.keep(key, value);
                }
            }
            key if key.starts_with(XATTR) || key.starts_with(WINDOWS) || key == CREATED => {
                self.keep(key, value);
            }
            _ => {}
        }
        true
    }

    fn keep(&mut self, key: &[u8], value: &[u8]) {
        self.attributes.insert(key.to_vec(), value.to_vec());
    }

    /// Takes a record about holes (GNU tar's manual, "PAX Format, Version 0.0",
    /// 0.1 and 1.0).
    fn take_sparse(&mut self, key: &[u8], value: &[u8]) -> bool {
        let map = self.sparse.get_or_insert_with(Map::default);
        match key {
            b"name" => self.long_name = Some(value.to_vec()),
            b"size" | b"realsize" => {
                self.sparse_size = number(value);
                return self.sparse_size.is_some();
            }
            b"offset" | b"numbytes" => return number(value).is_some_and(|n| map.push(n)),
            b"map" => {
                let mut numbers = value.split(|b| *b == b',').map(number);
                return numbers.all(|n| n.is_some_and(|n| map.push(n)));
            }
            b"major" => map.in_content = value == b"1",
            _ => {}
        }
        true
    }
}

/// Key and value of the first record, and its whole length.
fn record(text: &[u8]) -> Option<(&[u8], &[u8], usize)> {
    let blank = text.iter().position(|b| *b == b' ')?;
    let len = usize::try_from(number(&text[..blank])?).ok()?;
    if !(blank + 2..=text.len()).contains(&len) {
        return None;
    }
    let record = text[blank + 1..len].strip_suffix(b"\n")?;
    let equals = record.iter().position(|b| *b == b'=')?;
    Some((&record[..equals], &record[equals + 1..], len))
}

/// A record as it is written: its length counts its own digits too.
pub(super) fn written(key: &[u8], value: &[u8]) -> Vec<u8> {
    // A blank, an equals sign and the end of the line.
    let bare = key.len() + value.len() + 3;
    let mut len = bare + 1;
    while len != bare + len.to_string().len() {
        len = bare + len.to_string().len();
    }
    let head = format!("{len} ");
    [head.as_bytes(), key, b"=", value, b"\n"].concat()
}

/// A time without its fraction; one before 1970 is 1970.
fn seconds(value: &[u8]) -> Option<u64> {
    if value.starts_with(b"-") {
        return Some(0);
    }
    number(value.split(|b| *b == b'.').next()?)
}

/// Whether a time is one that a header's field can say as well.
fn is_whole(value: &[u8]) -> bool {
    let mut parts = value.splitn(2, |b| *b == b'.');
    let whole = parts.next().is_some_and(|whole| number(whole).is_some());
    whole && parts.next().unwrap_or_default().iter().all(|b| *b == b'0')
}

/// A decimal number and nothing else.
pub(super) fn number(text: &[u8]) -> Option<u64> {
    let digits = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    let text = std::str::from_utf8(text).ok().filter(|_| digits)?;
    text.parse().ok()
}
