//! The members of a tar: names, kinds and sizes, in order.
//!
//! Every header that says how long its text is (GNU `L` and `K`, PAX `x` and
//! `g`) is read within bounds, because a small compressed layer can hold a name
//! of many GiB.

use std::io::{self, Read};

use ::tar::{EntryType, GnuExtSparseHeader, GnuSparseHeader, Header};

use super::BLOCK;
use super::entry::{Entry, Kind};
use super::pax::Extended;
use super::sparse::Map;
use crate::bounds;
use crate::error::{Error, Result};
use crate::file::SectionReader;
use crate::stream::BUFFER;

/// The longest text a header may bring, bytes: Go's archive/tar reads no more.
const MAX_TEXT: u64 = bounds::TAR_TEXT;
/// The longest text that all headers of one member may bring, bytes: a name, a
/// link and records of the greatest length. Kept in memory until the member
/// comes, so without this the number of headers would be the bound.
const MAX_TEXTS: u64 = bounds::TAR_TEXTS;
/// The first bytes of files compressed in ways that are not read here.
const COMPRESSED: [(&[u8], &str); 2] = [(b"\xfd7zXZ\0", "xz"), (b"BZh", "bzip2")];

/// How to leave out bytes of a reader.
type Skip<R> = fn(&mut R, u64) -> io::Result<()>;

/// The members of a tar, in order.
pub struct Entries<R> {
    what: String,
    pub(super) reader: R,
    skip: Skip<R>,
    pub(super) at: u64,
    /// Bytes of the last member's content that were not read yet.
    pub(super) pending: u64,
    /// Where the last member has content, if it is sparse.
    pub(super) sparse: Option<Map>,
    /// Bytes stored for the last member.
    pub(super) stored: u64,
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
            sparse: None,
            stored: 0,
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
    pub(super) fn bad(&self, why: impl std::fmt::Display) -> Error {
        Error::malformed(&self.what, why)
    }

    /// An end where there should be bytes is damage, not the machine's fault.
    pub(super) fn failed(&self, error: io::Error) -> Error {
        match Error::io(&self.what, error) {
            Error::Io { source, .. } if source.kind() == io::ErrorKind::UnexpectedEof => {
                self.bad("it is cut short")
            }
            other => other,
        }
    }

    /// The reader, with what was not read of it.
    pub(crate) fn reader(&mut self) -> &mut R {
        &mut self.reader
    }

    /// The next block, which is not a header.
    pub(super) fn block(&mut self) -> Result<[u8; BLOCK as usize]> {
        let mut block = [0; BLOCK as usize];
        self.reader
            .read_exact(&mut block)
            .map_err(|e| self.failed(e))?;
        self.at += BLOCK;
        Ok(block)
    }

    fn advance(&mut self) -> Result<Option<Entry>> {
        let mut extended = Extended::default();
        let (mut started, mut texts) = (false, 0);
        loop {
            self.skip_pending()?;
            let Some(header) = self.header()? else {
                if started {
                    return Err(self.bad("it ends inside a member"));
                }
                return Ok(None);
            };
            started = true;
            let kind = header.entry_type();
            if kind.is_gnu_longname() || kind.is_gnu_longlink() || kind.is_pax_local_extensions() {
                texts += header.entry_size().unwrap_or(0);
                if texts > MAX_TEXTS {
                    return Err(self.bad(format!("a member with headers of {texts} bytes")));
                }
            }
            match kind {
                EntryType::GNULongName => extended.long_name = Some(self.long(&header)?),
                EntryType::GNULongLink => extended.long_link = Some(self.long(&header)?),
                EntryType::XHeader => {
                    let text = self.text(&header)?;
                    if !extended.take_pax(&text) {
                        return Err(self.bad("a PAX header breaks its format"));
                    }
                }
                // Says something of all members, never their names or sizes.
                EntryType::XGlobalHeader => self.pending = self.padded(&header)?,
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
                Ok(0) => {
                    self.check_compression(&bytes[..filled])?;
                    return Err(self.bad("it is cut short"));
                }
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
            self.check_compression(bytes)?;
            return Err(self.bad("it is not a tar, or it is damaged (wrong checksum in a header)"));
        }
        Ok(Some(header))
    }

    /// A file that is compressed looks like a damaged tar otherwise.
    fn check_compression(&self, head: &[u8]) -> Result<()> {
        let known = COMPRESSED.iter().find(|(magic, _)| head.starts_with(magic));
        let Some((_, name)) = known.filter(|_| self.at <= BLOCK) else {
            return Ok(());
        };
        let what = &self.what;
        let what = format!(
            "{what} is compressed with {name}; decompress it first (dxf reads gzip and zstd directly)"
        );
        Err(Error::Unsupported { what })
    }

    /// The bytes that the content of a header takes, padding included.
    fn padded(&self, header: &Header) -> Result<u64> {
        let size = header.entry_size().map_err(|e| self.bad(e))?;
        self.to_blocks(size)
    }

    pub(super) fn to_blocks(&self, size: u64) -> Result<u64> {
        let padded = size.checked_next_multiple_of(BLOCK);
        padded
            .filter(|n| self.at.checked_add(*n).is_some())
            .ok_or_else(|| self.bad("a member is larger than any file"))
    }

    /// The text of an extension header.
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

    fn member(&mut self, header: &Header, mut extended: Extended) -> Result<Entry> {
        let stored = self.stored_size(header, &extended)?;
        if header.entry_type() == EntryType::GNUSparse {
            extended.sparse_size = Some(self.old_sparse(header, &mut extended)?);
        }
        let size = extended.sparse_size.unwrap_or(stored);
        // Two names for one member are two members to two readers (TARmageddon).
        if extended.long_name.is_some() && extended.path.is_some() && extended.sparse.is_none() {
            return Err(self.bad("a member has a GNU and a PAX name"));
        }
        let path = extended.long_name.or(extended.path);
        let path = path.unwrap_or_else(|| header.path_bytes().into_owned());
        let kind = Kind::of(header, &path);
        let link = extended.long_link.or(extended.link);
        let entry = Entry {
            path,
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
            attributes: extended.attributes.into_iter().collect(),
            offset: self.at,
            sparse: extended.sparse.is_some(),
        };
        self.sparse = extended.sparse;
        self.stored = stored;
        // Like Go and Python: links, directories and devices have no content,
        // whatever their size says.
        if matches!(kind, Kind::File | Kind::Other(_)) {
            self.pending = self.to_blocks(stored)?;
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

    /// Reads the map of an old GNU sparse file; its real size.
    fn old_sparse(&mut self, header: &Header, extended: &mut Extended) -> Result<u64> {
        let gnu = header
            .as_gnu()
            .ok_or_else(|| self.bad("a sparse file without its map"))?;
        let map = extended.sparse.insert(Map::default());
        self.take_pairs(map, &gnu.sparse)?;
        let mut more = gnu.is_extended();
        while more {
            let mut next = GnuExtSparseHeader::new();
            next.as_mut_bytes().copy_from_slice(&self.block()?);
            self.take_pairs(map, next.sparse())?;
            more = next.is_extended();
        }
        gnu.real_size().map_err(|e| self.bad(e))
    }

    fn take_pairs(&self, map: &mut Map, pairs: &[GnuSparseHeader]) -> Result<()> {
        for pair in pairs.iter().filter(|pair| !pair.is_empty()) {
            let start = pair.offset().map_err(|e| self.bad(e))?;
            let len = pair.length().map_err(|e| self.bad(e))?;
            if !(map.push(start) && map.push(len)) {
                return Err(self.bad("a sparse file with too many holes"));
            }
        }
        Ok(())
    }
}

/// Major and minor number; old headers have no room for them.
fn device(header: &Header) -> (u32, u32) {
    let number = |found: io::Result<Option<u32>>| found.ok().flatten().unwrap_or(0);
    (number(header.device_major()), number(header.device_minor()))
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

    #[test]
    fn headers_of_one_member_have_one_bound() {
        let record = pax(&[("SCHILY.xattr.u", &"a".repeat(MAX_TEXT as usize - 50))]);
        let file = member(EntryType::Regular, b"a", b"abc");
        let three = [record.repeat(3), file.clone()].concat();
        assert_eq!(list(&three).unwrap()[0].attributes.len(), 1);
        assert!(refused(&[record.repeat(4), file.clone()].concat()));
        // Those of all members are not kept, so there may be any number.
        let global = member(EntryType::XGlobalHeader, b"g", &[b'x'; 9000]);
        assert_eq!(list(&[global.repeat(9), file].concat()).unwrap().len(), 1);
    }

    #[test]
    fn what_headers_have_no_field_for_is_kept() {
        let kept = |records: &[(&str, &str)]| {
            let bytes = [pax(records), member(EntryType::Regular, b"x", b"")].concat();
            let entry = list(&bytes).unwrap().remove(0);
            let keys = entry.attributes.into_iter();
            let keys: Vec<_> = keys.map(|(k, _)| String::from_utf8(k).unwrap()).collect();
            (keys.join(" "), entry.modified)
        };
        assert_eq!(kept(&[("mtime", "7"), ("atime", "1.5")]), ("".into(), 7));
        assert_eq!(kept(&[("mtime", "7.000")]), ("".into(), 7));
        assert_eq!(kept(&[("mtime", "7.5")]), ("mtime".into(), 7));
        assert_eq!(kept(&[("mtime", "-7")]), ("mtime".into(), 0));
        assert_eq!(kept(&[("mtime", "-7"), ("mtime", "7")]), ("".into(), 7));
        let windows = [("MSWINDOWS.rawsd", "AQ=="), ("SCHILY.xattr.a", "b")];
        assert_eq!(kept(&windows).0, "MSWINDOWS.rawsd SCHILY.xattr.a");
    }

    #[test]
    fn an_old_file_with_a_slash_is_a_folder() {
        for (byte, kind) in [(0, Kind::Directory), (b'0', Kind::File)] {
            let mut old = Header::new_old();
            old.as_old_mut().name[..2].copy_from_slice(b"d/");
            old.set_size(0);
            old.as_mut_bytes()[156] = byte;
            old.set_cksum();
            assert_eq!(list(old.as_bytes()).unwrap()[0].kind, kind);
        }
    }

    #[test]
    fn a_compressed_file_is_called_by_its_format() {
        for (magic, name) in [(&b"\xfd7zXZ\0"[..], "xz"), (b"BZh9", "bzip2")] {
            for len in [20, 2000] {
                let mut bytes = magic.to_vec();
                bytes.resize(len, 7);
                let error = list(&bytes).unwrap_err().to_string();
                assert!(error.contains(name), "{error}");
            }
        }
        let file = member(EntryType::Regular, b"BZh", b"abc");
        assert_eq!(list(&file).unwrap()[0].path, b"BZh");
    }

    /// The content of a file that GNU tar writes with `options`, and of the one
    /// after it.
    fn sparse_round_trip(root: &std::path::Path, options: &[&str]) {
        let out = Command::new("tar")
            .args(["--sparse", "-cf", "-"])
            .args(options)
            .args(["sparse", "plain"])
            .current_dir(root)
            .stderr(Stdio::inherit())
            .output()
            .unwrap();
        assert!(out.status.success(), "{options:?}");
        let mut all = Entries::new("t", &out.stdout[..]);
        for (name, sparse) in [("sparse", true), ("plain", false)] {
            let entry = all.next().unwrap().unwrap();
            assert_eq!((entry.name(), entry.sparse), (name.into(), sparse));
            let mut read = Vec::new();
            let mut content = all.content(&entry).unwrap();
            content.read_to_end(&mut read).unwrap();
            assert!(
                read == std::fs::read(root.join(name)).unwrap(),
                "{options:?}"
            );
        }
        assert!(all.next().is_none());
    }

    #[test]
    fn holes_are_read_as_zeros_in_every_format() {
        use std::os::unix::fs::FileExt;
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        std::fs::write(root.join("plain"), b"content").unwrap();
        for parts in [0, 1, 3, 60] {
            let file = std::fs::File::create(root.join("sparse")).unwrap();
            file.set_len(4 << 20).unwrap();
            for part in 0..parts {
                file.write_all_at(b"part", part * (64 << 10) + 5).unwrap();
            }
            drop(file);
            sparse_round_trip(root, &["--format=gnu"]);
            for version in ["0.0", "0.1", "1.0"] {
                let version = format!("--sparse-version={version}");
                sparse_round_trip(root, &["--format=pax", &version]);
            }
        }
    }

    #[test]
    fn a_map_that_contradicts_the_sizes_is_refused() {
        let records = |map| [("GNU.sparse.size", "9"), ("GNU.sparse.map", map)];
        for (map, good) in [("0,3", true), ("0,4", false), ("8,3", false), ("3", false)] {
            let bytes = [pax(&records(map)), member(EntryType::Regular, b"x", b"abc")].concat();
            let mut all = Entries::new("t", &bytes[..]);
            let entry = all.next().unwrap().unwrap();
            assert_eq!(all.content(&entry).is_ok(), good, "{map}");
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
