//! The members of a tar: names, kinds and sizes, in order.
//!
//! Every header that says how long its text is (GNU `L` and `K`, PAX `x` and
//! `g`) is read within bounds, because a small compressed layer can hold a name
//! of many GiB.

use std::io::{self, Read};

use ::tar::{EntryType, Header};

use super::BLOCK;
use super::pax::Extended;
use crate::error::{Error, Result};
use crate::file::SectionReader;
use crate::stream::BUFFER;

/// The longest text a header may bring, bytes: Go's archive/tar reads no more.
const MAX_TEXT: u64 = 1 << 20;
/// More extension headers of one sparse file than any holes need.
const MAX_SPARSE: usize = 100_000;

/// What a member is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// Another name of a file that came before.
    HardLink,
    /// A device that moves characters.
    CharDevice,
    /// A device that moves blocks.
    BlockDevice,
    /// A named pipe.
    Fifo,
    /// A type only its maker knows.
    Other(u8),
}

/// One member of a tar.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The name, as it is written there: hostile until proven otherwise.
    pub path: Vec<u8>,
    /// What a link points at; empty for what is no link.
    pub link: Vec<u8>,
    /// The size of the file, bytes, holes included.
    pub size: u64,
    /// Permission bits.
    pub mode: u32,
    /// Owner and group, by number.
    pub owner: (u64, u64),
    /// Last change, seconds since 1970.
    pub modified: u64,
    /// What it is.
    pub kind: Kind,
    /// Major and minor number of a device.
    pub device: (u32, u32),
    /// What PAX records say beyond that and engines heed: extended attributes
    /// such as capabilities (`SCHILY.xattr.*`).
    pub attributes: Vec<(Vec<u8>, Vec<u8>)>,
    /// Where the content begins in the tar.
    pub offset: u64,
    /// Whether the content there has holes left out, so that it is not what
    /// the file holds.
    pub sparse: bool,
}

impl Entry {
    /// A regular file that anyone may read, owned by root, from 1970.
    pub(crate) fn file(name: &str, size: u64) -> Entry {
        Entry {
            path: name.as_bytes().to_vec(),
            link: Vec::new(),
            size,
            mode: 0o644,
            owner: (0, 0),
            modified: 0,
            kind: Kind::File,
            device: (0, 0),
            attributes: Vec::new(),
            offset: 0,
            sparse: false,
        }
    }

    /// The name as text, with what is no UTF-8 replaced.
    pub fn name(&self) -> std::borrow::Cow<'_, str> {
        String::from_utf8_lossy(&self.path)
    }

    /// Bytes of memory that its words take.
    pub(crate) fn weight(&self) -> usize {
        let attributes = self.attributes.iter();
        let attributes = attributes.map(|(key, value)| key.len() + value.len());
        self.path.len() + self.link.len() + attributes.sum::<usize>()
    }
}

/// How to leave out bytes of a reader.
type Skip<R> = fn(&mut R, u64) -> io::Result<()>;

/// The members of a tar, in order.
pub struct Entries<R> {
    what: String,
    reader: R,
    skip: Skip<R>,
    at: u64,
    /// Bytes of the last member's content that were not read yet.
    pending: u64,
    done: bool,
}

impl<R: Read> Entries<R> {
    /// Reads a tar to its end; `what` names it in errors.
    pub fn new(what: &str, reader: R) -> Entries<R> {
        Entries::with(what, reader, read_over)
    }

    fn with(what: &str, reader: R, skip: Skip<R>) -> Entries<R> {
        Entries {
            what: what.to_string(),
            reader,
            skip,
            at: 0,
            pending: 0,
            done: false,
        }
    }
}

impl Entries<SectionReader> {
    /// Reads the headers alone of a tar in a file.
    pub fn seeking(what: &str, reader: SectionReader) -> Entries<SectionReader> {
        Entries::with(what, reader, SectionReader::skip)
    }
}

fn read_over<R: Read>(reader: &mut R, count: u64) -> io::Result<()> {
    let (mut left, mut buffer) = (count, vec![0; BUFFER.min(count as usize).max(1)]);
    while left > 0 {
        let room = buffer
            .len()
            .min(usize::try_from(left).unwrap_or(usize::MAX));
        match reader.read(&mut buffer[..room]) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(n) => left -= n as u64,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

impl<R: Read> Entries<R> {
    fn bad(&self, why: impl std::fmt::Display) -> Error {
        Error::malformed(&self.what, why)
    }

    /// An end where there should be bytes is damage, not the machine's fault.
    fn failed(&self, error: io::Error) -> Error {
        match Error::io(&self.what, error) {
            Error::Io { source, .. } if source.kind() == io::ErrorKind::UnexpectedEof => {
                self.bad("it is cut short")
            }
            other => other,
        }
    }

    /// The content of `entry`, which came last and is not sparse.
    pub(crate) fn content(&mut self, entry: &Entry) -> Content<'_, R> {
        let left = entry.size.min(self.pending);
        Content {
            entries: self,
            left,
        }
    }

    fn advance(&mut self) -> Result<Option<Entry>> {
        let mut extended = Extended::default();
        let mut started = false;
        loop {
            self.skip_pending()?;
            let Some(header) = self.header()? else {
                if started {
                    return Err(self.bad("it ends inside a member"));
                }
                return Ok(None);
            };
            started = true;
            match header.entry_type() {
                EntryType::GNULongName => extended.long_name = Some(self.long(&header)?),
                EntryType::GNULongLink => extended.long_link = Some(self.long(&header)?),
                EntryType::XHeader => {
                    let text = self.text(&header)?;
                    if !extended.take_pax(&text) {
                        return Err(self.bad("a PAX header breaks its format"));
                    }
                }
                // Says something of all members, never their names or sizes.
                EntryType::XGlobalHeader => drop(self.text(&header)?),
                _ => return self.member(&header, extended).map(Some),
            }
        }
    }

    fn skip_pending(&mut self) -> Result<()> {
        let pending = std::mem::take(&mut self.pending);
        (self.skip)(&mut self.reader, pending).map_err(|e| self.failed(e))?;
        self.at += pending;
        Ok(())
    }

    /// The next header; `None` at the end, which is a block of zeros or, as Go
    /// and Python allow, nothing at all.
    fn header(&mut self) -> Result<Option<Header>> {
        let mut header = Header::new_old();
        let bytes = header.as_mut_bytes();
        let mut filled = 0;
        while filled < bytes.len() {
            match self.reader.read(&mut bytes[filled..]) {
                Ok(0) if filled == 0 => return Ok(None),
                Ok(0) => return Err(self.bad("it is cut short")),
                Ok(n) => filled += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(self.failed(e)),
            }
        }
        self.at += BLOCK;
        let bytes = header.as_bytes();
        if bytes.iter().all(|b| *b == 0) {
            return Ok(None);
        }
        let sum = bytes[..148].iter().chain(&bytes[156..]);
        let sum = sum.map(|b| u32::from(*b)).sum::<u32>() + 8 * u32::from(b' ');
        if header.cksum().ok() != Some(sum) {
            return Err(self.bad("it is no tar, or damaged (a header's checksum is wrong)"));
        }
        Ok(Some(header))
    }

    /// The text an extension header brings.
    fn text(&mut self, header: &Header) -> Result<Vec<u8>> {
        let size = header.entry_size().map_err(|e| self.bad(e))?;
        if size > MAX_TEXT {
            return Err(self.bad(format!("a name or header of {size} bytes")));
        }
        let mut text = Vec::new();
        let read = (&mut self.reader)
            .take(size)
            .read_to_end(&mut text)
            .map_err(|e| self.failed(e))?;
        if (read as u64) < size {
            return Err(self.bad("it is cut short"));
        }
        self.at += size;
        self.pending = size.next_multiple_of(BLOCK) - size;
        Ok(text)
    }

    fn long(&mut self, header: &Header) -> Result<Vec<u8>> {
        let mut text = self.text(header)?;
        let end = text.iter().position(|b| *b == 0).unwrap_or(text.len());
        text.truncate(end);
        Ok(text)
    }

    fn member(&mut self, header: &Header, extended: Extended) -> Result<Entry> {
        let stored = self.stored_size(header, &extended)?;
        let kind = Kind::of(header.entry_type());
        let old_sparse = header.entry_type() == EntryType::GNUSparse;
        let mut size = extended.sparse_size.unwrap_or(stored);
        if old_sparse {
            size = self.old_sparse(header)?;
        }
        // Two names for one member are two members to two readers (TARmageddon).
        if extended.long_name.is_some() && extended.path.is_some() && !extended.sparse {
            return Err(self.bad("a member has a GNU and a PAX name"));
        }
        let path = extended.long_name.or(extended.path);
        let link = extended.long_link.or(extended.link);
        let entry = Entry {
            path: path.unwrap_or_else(|| header.path_bytes().into_owned()),
            link: match kind {
                Kind::Symlink | Kind::HardLink => link
                    .unwrap_or_else(|| header.link_name_bytes().unwrap_or_default().into_owned()),
                _ => Vec::new(),
            },
            size: if kind == Kind::File { size } else { 0 },
            mode: header.mode().unwrap_or(0) & 0o7777,
            owner: (
                extended.uid.or(header.uid().ok()).unwrap_or(0),
                extended.gid.or(header.gid().ok()).unwrap_or(0),
            ),
            modified: extended.modified.or(header.mtime().ok()).unwrap_or(0),
            kind,
            device: match kind {
                Kind::CharDevice | Kind::BlockDevice => device(header),
                _ => (0, 0),
            },
            attributes: extended.attributes,
            offset: self.at,
            sparse: extended.sparse || old_sparse,
        };
        // Like Go and Python: links, directories and devices have no content,
        // whatever their size says.
        if matches!(kind, Kind::File | Kind::Other(_)) {
            let padded = stored.checked_next_multiple_of(BLOCK);
            self.pending = padded
                .filter(|n| self.at.checked_add(*n).is_some())
                .ok_or_else(|| self.bad("a member is larger than any file"))?;
        }
        Ok(entry)
    }

    /// The bytes of content that follow the header.
    fn stored_size(&self, header: &Header, extended: &Extended) -> Result<u64> {
        let written = header.entry_size().map_err(|e| self.bad(e))?;
        match extended.size {
            // A PAX size is for what the header can't hold, which says 0 then;
            // two sizes are two archives to two readers (CVE-2026-33055).
            Some(size) if written != 0 && written != size => {
                Err(self.bad(format!("a member of {written} and of {size} bytes at once")))
            }
            Some(size) => Ok(size),
            None => Ok(written),
        }
    }

    /// Reads over the maps of an old GNU sparse file; its real size.
    fn old_sparse(&mut self, header: &Header) -> Result<u64> {
        let gnu = header
            .as_gnu()
            .ok_or_else(|| self.bad("a sparse file without its map"))?;
        let size = gnu.real_size().map_err(|e| self.bad(e))?;
        let mut more = gnu.is_extended();
        for _ in 0..MAX_SPARSE {
            if !more {
                return Ok(size);
            }
            let mut block = [0; BLOCK as usize];
            self.reader
                .read_exact(&mut block)
                .map_err(|e| self.failed(e))?;
            self.at += BLOCK;
            // 21 pairs of 24 bytes, then whether another block follows.
            more = block[504] != 0;
        }
        Err(self.bad("a sparse file with too many holes"))
    }
}

/// Major and minor number; old headers have no room for them.
fn device(header: &Header) -> (u32, u32) {
    let number = |found: io::Result<Option<u32>>| found.ok().flatten().unwrap_or(0);
    (number(header.device_major()), number(header.device_minor()))
}

impl Kind {
    fn of(kind: EntryType) -> Kind {
        match kind {
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => Kind::File,
            EntryType::Link => Kind::HardLink,
            EntryType::Symlink => Kind::Symlink,
            EntryType::Char => Kind::CharDevice,
            EntryType::Block => Kind::BlockDevice,
            EntryType::Directory => Kind::Directory,
            EntryType::Fifo => Kind::Fifo,
            other => Kind::Other(other.as_byte()),
        }
    }
}

/// The content of a member, of which nothing was read yet.
pub(crate) struct Content<'a, R> {
    entries: &'a mut Entries<R>,
    left: u64,
}

impl<R: Read> Read for Content<'_, R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let room = buf
            .len()
            .min(usize::try_from(self.left).unwrap_or(usize::MAX));
        if room == 0 {
            return Ok(0);
        }
        let n = self.entries.reader.read(&mut buf[..room])?;
        if n == 0 {
            return Err(self.entries.bad("it is cut short").into());
        }
        self.left -= n as u64;
        self.entries.pending -= n as u64;
        self.entries.at += n as u64;
        Ok(n)
    }
}

impl<R: Read> Iterator for Entries<R> {
    type Item = Result<Entry>;

    fn next(&mut self) -> Option<Result<Entry>> {
        if self.done {
            return None;
        }
        let next = self.advance();
        self.done = !matches!(next, Ok(Some(_)));
        next.transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::Write;
    use std::process::{Command, Stdio};

    fn header(kind: EntryType, name: &[u8], size: u64) -> Header {
        let mut header = Header::new_gnu();
        header.as_old_mut().name[..name.len().min(100)]
            .copy_from_slice(&name[..name.len().min(100)]);
        header.set_entry_type(kind);
        header.set_size(size);
        header.set_mode(0o644);
        header.set_cksum();
        header
    }

    fn member(kind: EntryType, name: &[u8], content: &[u8]) -> Vec<u8> {
        let mut out = header(kind, name, content.len() as u64).as_bytes().to_vec();
        out.extend(content);
        out.resize(out.len().next_multiple_of(512), 0);
        out
    }

    fn pax(records: &[(&str, &str)]) -> Vec<u8> {
        let mut text = String::new();
        for (key, value) in records {
            let bare = key.len() + value.len() + 3;
            let mut len = bare + 1;
            while len != bare + len.to_string().len() {
                len = bare + len.to_string().len();
            }
            text += &format!("{len} {key}={value}\n");
        }
        member(EntryType::XHeader, b"pax", text.as_bytes())
    }

    fn list(bytes: &[u8]) -> Result<Vec<Entry>> {
        Entries::new("layer", bytes).collect()
    }

    fn refused(bytes: &[u8]) -> bool {
        list(bytes).is_err_and(|e| e.is_corrupt())
    }

    #[test]
    fn long_names_of_every_kind() {
        let long = "d/".repeat(100) + "f";
        let gnu = [
            member(
                EntryType::GNULongName,
                b"././@LongLink",
                format!("{long}\0").as_bytes(),
            ),
            member(EntryType::Regular, b"short", b"abc"),
        ]
        .concat();
        let paxed = [
            pax(&[("mtime", "1.5"), ("path", &long)]),
            member(EntryType::Regular, b"x", b"abc"),
        ]
        .concat();
        for bytes in [gnu, paxed] {
            let all = list(&bytes).unwrap();
            assert_eq!((all[0].name(), all[0].size), (long.as_str().into(), 3));
            assert_eq!(all[0].offset as usize, bytes.len() - 512);
        }
    }

    #[test]
    fn headers_that_contradict_each_other_are_refused() {
        let file = member(EntryType::Regular, b"a", b"abc");
        let two_sizes = [pax(&[("size", "512")]), file.clone()].concat();
        assert!(refused(&two_sizes));
        let same = [pax(&[("size", "3")]), file.clone()].concat();
        assert_eq!(list(&same).unwrap()[0].size, 3);
        let two_names = [
            pax(&[("path", "p")]),
            member(EntryType::GNULongName, b"L", b"l\0"),
            file.clone(),
        ]
        .concat();
        assert!(refused(&two_names));
        for text in ["x", "5 a=b", "99 path=x\n", "0 \n", "4 ab\n", "-3 a=b\n"] {
            assert!(
                refused(
                    &[
                        member(EntryType::XHeader, b"p", text.as_bytes()),
                        file.clone()
                    ]
                    .concat()
                ),
                "{text}"
            );
        }
        assert!(refused(&pax(&[("path", "p")])));
        assert!(refused(&file[..100]));
        let mut damaged = file.clone();
        damaged[0] ^= 1;
        assert!(refused(&damaged));
    }

    #[test]
    fn declared_sizes_cost_nothing() {
        let huge = header(EntryType::GNULongName, b"L", 1 << 40);
        assert!(refused(huge.as_bytes()));
        for size in [1 << 50, u64::MAX - 100] {
            assert!(refused(header(EntryType::Regular, b"f", size).as_bytes()));
        }
    }

    /// What the system's own tar writes, in each of its formats.
    #[test]
    fn reads_what_gnu_tar_writes() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        let long = "n".repeat(150);
        std::fs::create_dir(root.join("d")).unwrap();
        std::fs::write(root.join("d").join(&long), b"content").unwrap();
        std::fs::hard_link(root.join("d").join(&long), root.join("hard")).unwrap();
        std::os::unix::fs::symlink("d/x", root.join("soft")).unwrap();
        let sparse = std::fs::File::create(root.join("sparse")).unwrap();
        sparse.set_len(10 << 20).unwrap();
        drop(sparse);
        std::fs::OpenOptions::new()
            .append(true)
            .open(root.join("sparse"))
            .unwrap()
            .write_all(b"end")
            .unwrap();
        for format in ["gnu", "pax", "oldgnu"] {
            let out = Command::new("tar")
                .args([
                    "--sparse",
                    "--sort=name",
                    &format!("--format={format}"),
                    "-cf",
                    "-",
                    "d",
                    "hard",
                    "soft",
                    "sparse",
                ])
                .current_dir(root)
                .stderr(Stdio::inherit())
                .output()
                .unwrap();
            assert!(out.status.success());
            let all = list(&out.stdout).unwrap();
            let seen: Vec<_> = all
                .iter()
                .map(|e| (e.name().into_owned(), e.kind, e.size))
                .collect();
            let file = format!("d/{long}");
            assert_eq!(
                seen,
                [
                    ("d/".to_string(), Kind::Directory, 0),
                    (file.clone(), Kind::File, 7),
                    ("hard".into(), Kind::HardLink, 0),
                    ("soft".into(), Kind::Symlink, 0),
                    ("sparse".into(), Kind::File, (10 << 20) + 3),
                ],
                "{format}"
            );
            assert_eq!(
                (all[2].link.as_slice(), all[3].link.as_slice()),
                (file.as_bytes(), &b"d/x"[..])
            );
            assert!(all[4].sparse && !all[1].sparse);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(512))]
        #[test]
        fn damage_never_panics(at in 0usize..3000, byte in any::<u8>(), cut in 0usize..4000) {
            let mut bytes = [
                pax(&[("path", "p"), ("size", "3")]),
                member(EntryType::Regular, b"x", b"abc"),
                member(EntryType::GNULongName, b"L", b"long\0"),
                member(EntryType::Symlink, b"s", b""),
                header(EntryType::GNUSparse, b"s", 0).as_bytes().to_vec(),
            ].concat();
            let at = at % bytes.len();
            bytes[at] = byte;
            bytes.truncate(cut.max(1));
            // With the checksum of the damaged header put right, too.
            let block = at / 512 * 512;
            if bytes.len() >= block + 512 {
                let mut header = Header::new_old();
                header.as_mut_bytes().copy_from_slice(&bytes[block..block + 512]);
                header.set_cksum();
                let _ = list(&bytes);
                bytes[block..block + 512].copy_from_slice(header.as_bytes());
            }
            let _ = list(&bytes);
        }
    }
}
