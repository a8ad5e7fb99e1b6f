//! What a layer says of its files that they do not say themselves.

/// Whose the files of a layer are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Owner {
    /// This user's and group's, by number.
    Fixed(u64, u64),
    /// Whose they are on this machine, by number.
    Source,
}

/// When the files of a layer were last changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Modified {
    /// Then, seconds since 1970.
    Fixed(u64),
    /// When they were on this machine, in whole seconds; text that was never a
    /// file, and folders made on the way: 1970.
    Source,
}

/// Whether a layer says something of the folders that contain its files and that
/// were not added themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Parents {
    /// Nothing. What lower layers have there stays: a `/tmp` for every user,
    /// a `/lib` that is a link. Engines make what is missing, for root and 0755.
    Implied,
    /// They are folders, 0755, whatever lower layers have there. For the lowest
    /// layer of an image.
    Written,
}

/// What becomes of several names of one file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum HardLinks {
    /// They are names of one file in the layer too.
    Kept,
    /// Each is a file of its own.
    AsFiles,
}

/// What is not taken from the files themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct FileOptions {
    /// Root's unless set.
    pub owner: Owner,
    /// 1970 unless set.
    pub modified: Modified,
    /// Implied unless set.
    pub parents: Parents,
    /// Kept unless set.
    pub hard_links: HardLinks,
    /// Permission bits of files; folders have them too, and may be entered by
    /// those they let read. What they are on this machine unless set.
    pub mode: Option<u32>,
}

impl Default for FileOptions {
    fn default() -> FileOptions {
        FileOptions {
            owner: Owner::Fixed(0, 0),
            modified: Modified::Fixed(0),
            parents: Parents::Implied,
            hard_links: HardLinks::Kept,
            mode: None,
        }
    }
}
