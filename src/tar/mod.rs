//! Tar archives: read, written, and indexed by name.
//!
//! Nothing is unpacked and no name is trusted: what a name means to an image
//! or to a file system is for others to say. Formats: POSIX pax(1) "ustar" and
//! "pax", GNU tar's manual, "Basic Tar Format".

mod content;
mod entry;
pub(crate) mod index;
mod pax;
mod read;
mod sparse;
mod stream;
mod write;

pub use self::entry::{Entry, Kind};
pub(crate) use self::index::Index;
pub use self::read::Entries;
pub(crate) use self::stream::{Member, Stream};
pub(crate) use self::write::{Dialect, END, header, padding};

/// Headers and contents come in blocks of this many bytes.
pub(crate) const BLOCK: u64 = 512;
