//! One member of a tar, as its headers describe it.

use std::borrow::Cow;

use ::tar::{EntryType, Header};

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

impl Kind {
    pub(super) fn of(header: &Header, path: &[u8]) -> Kind {
        // Before POSIX a folder was a file with a slash at its end.
        let is_old = header.as_bytes()[156] == 0;
        match header.entry_type() {
            EntryType::Regular if is_old && path.ends_with(b"/") => Kind::Directory,
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

/// One member of a tar.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The name, as it is written there: hostile until proven otherwise.
    pub path: Vec<u8>,
    /// The target of a link; empty for anything else.
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
    /// Whether the content there has holes left out, so that it differs
    /// from the content of the file.
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

    /// The name as text, with replacement characters for invalid UTF-8.
    pub fn name(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.path)
    }

    /// Bytes of memory that its words take.
    pub(crate) fn weight(&self) -> usize {
        let place = size_of::<(Vec<u8>, Vec<u8>)>();
        let attributes = self.attributes.iter();
        let attributes = attributes.map(|(key, value)| place + key.len() + value.len());
        self.path.len() + self.link.len() + attributes.sum::<usize>()
    }
}
