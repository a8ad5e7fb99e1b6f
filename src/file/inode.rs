//! The file that a name refers to.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// What tells one file from another, and when it was last given a name.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Inode {
    /// Device and number: the same for two names of one file.
    pub id: (u64, u64),
    /// The names it has.
    pub links: u64,
    /// The last change of the bytes, of the times or of the names.
    pub changed: SystemTime,
    /// The last change of the bytes, or what a program set as that.
    pub modified: SystemTime,
}

impl Inode {
    /// What the system reports.
    pub fn of(meta: &Metadata) -> Inode {
        Inode {
            id: (meta.dev(), meta.ino()),
            links: meta.nlink(),
            changed: time(meta.ctime(), meta.ctime_nsec()),
            modified: time(meta.mtime(), meta.mtime_nsec()),
        }
    }
}

/// A moment; what is before 1970 is 1970, which is as old.
fn time(seconds: i64, nanos: i64) -> SystemTime {
    let seconds = Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
    let nanos = Duration::from_nanos(u64::try_from(nanos).unwrap_or(0));
    UNIX_EPOCH
        .checked_add(seconds + nanos)
        .unwrap_or(UNIX_EPOCH)
}
