//! Files on disk: written atomically and durably, locked, read while they must
//! not change, set aside. The one room that knows how files are opened safely.
//!
//! What is reported as written is on the disk: first the bytes, then the name,
//! then the folder. A path that the user wrote is followed through links; a
//! file that is found by its name never is. Knows nothing of what the bytes
//! mean.

mod aside;
mod folder;
mod growth;
mod inode;
mod locked;
mod regular;
mod section;
mod spool;
mod stable;
#[cfg(test)]
pub(crate) mod trace;

pub use aside::{Aside, AsideFolder, follow, sweep};
pub use folder::{
    PRIVATE, SHARED, SharedSync, make_folder, parent, set_link_time, sync_folder, sync_tree,
};
pub use growth::{Follower, Growth};
pub use inode::Inode;
pub use locked::{lock_folder, own, try_lock};
pub use regular::open_regular;
pub use section::{Section, SectionReader};
pub use spool::Spool;
pub(crate) use spool::{spool_name, unnamed};
pub use stable::{Stable, StableReader, Stamp};

use std::fs::File;
use std::io;
use std::path::Path;

/// Brings the bytes of the file at `path` to the disk.
pub(crate) fn sync_file(file: &File, path: &Path) -> io::Result<()> {
    note("sync", path);
    file.sync_all()
}

/// Renames `from` to `to`.
pub(crate) fn rename(from: &Path, to: &Path) -> io::Result<()> {
    note("rename", to);
    std::fs::rename(from, to)
}

/// Tells the tests what was done, in order.
fn note(_what: &'static str, _path: &Path) {
    #[cfg(test)]
    trace::note(_what, _path);
}
