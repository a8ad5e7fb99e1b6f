//! Layers on top of each other, with whiteouts applied (image-spec, layer.md,
//! "Whiteouts"). Returns which members are visible; the caller chooses what to keep
//! of them.

use std::collections::BTreeMap;
use std::ops::Bound;

use super::name::{OPAQUE, WHITEOUT, join, split};
use crate::bounds;
use crate::error::{Error, Result};
use crate::tar::Kind;

/// More files than the largest images have, few enough to be held in memory.
pub(super) const MAX_FILES: usize = bounds::FILES;
/// How much memory they may take together, bytes, for the same reason.
const MAX_MEMORY: usize = bounds::FILES_MEMORY;
/// About how much of that a name takes beside its bytes and what is kept of it:
/// its place in a tree whose nodes are half full, and its allocations.
pub(super) const PLACE: usize = 120;

/// What is kept of a member.
pub(super) trait Member {
    /// What it is.
    fn kind(&self) -> Kind;
    /// Bytes of memory that it takes, beside its place.
    fn weight(&self) -> usize;
}

impl<T: Member> Member for Box<T> {
    fn kind(&self) -> Kind {
        (**self).kind()
    }

    fn weight(&self) -> usize {
        (**self).weight()
    }
}

/// Layers, the uppermost of which is being laid.
pub(super) struct Stack<T> {
    lower: Tree<T>,
    upper: Tree<T>,
    hidden: Vec<Hidden>,
    /// Bytes of the names of what is hidden.
    hidden_weight: usize,
}

/// # Errors
/// [`Error::Malformed`] naming `what` for more files, or more memory for them, than
/// any image takes.
pub(super) fn bounded(what: &str, files: usize, memory: usize) -> Result<()> {
    if files <= MAX_FILES && memory <= MAX_MEMORY {
        return Ok(());
    }
    let mib = MAX_MEMORY >> 20;
    let why = format!("it has more than {MAX_FILES} files, or names of more than {mib} MiB");
    Err(Error::malformed(what, why))
}

/// What a whiteout takes away.
enum Hidden {
    /// A file, or a folder and all below it.
    All(Vec<u8>),
    /// Everything below a folder.
    Below(Vec<u8>),
}

impl<T: Member> Stack<T> {
    pub fn new() -> Stack<T> {
        Stack {
            lower: Tree::new(),
            upper: Tree::new(),
            hidden: Vec::new(),
            hidden_weight: 0,
        }
    }

    /// Whether a normal name is a whiteout's, which is heeded then.
    pub fn hides(&mut self, name: &[u8]) -> bool {
        let (folder, last) = split(name);
        match last.strip_prefix(WHITEOUT) {
            _ if last == OPAQUE => self.hidden.push(Hidden::Below(folder.to_vec())),
            Some(rest) => self.hidden.push(Hidden::All(join(folder, rest))),
            None => return false,
        }
        self.hidden_weight += name.len() + PLACE;
        true
    }

    /// Adds a member to the uppermost layer, under its normal name.
    pub fn put(&mut self, name: Vec<u8>, member: T) {
        // Engines follow a link to a folder within a layer.
        self.upper.make_way(&name, |kind| kind != Kind::Symlink);
        self.upper.put(name, member);
    }

    /// What a name points to: in the uppermost layer, else in those below it.
    pub fn get(&self, name: &[u8]) -> Option<&T> {
        let upper = self.upper.files.get(name);
        upper.or_else(|| self.lower.files.get(name))
    }

    /// # Errors
    /// [`Error::Malformed`] naming `what` for more files than any image has, and
    /// for more memory than [`MAX_MEMORY`].
    pub fn check(&self, what: &str) -> Result<()> {
        self.check_with(what, 0, 0)
    }

    /// The same, with so many more names of so many bytes.
    pub fn check_with(&self, what: &str, names: usize, bytes: usize) -> Result<()> {
        let files = self.lower.files.len() + self.upper.files.len() + self.hidden.len() + names;
        bounded(what, files, self.weight() + bytes)
    }

    /// About how many bytes of memory all of it takes.
    pub fn weight(&self) -> usize {
        self.lower.weight + self.upper.weight + self.hidden_weight
    }

    /// The uppermost layer is whole; another may follow.
    pub fn lay(&mut self) {
        // Whiteouts are about lower layers, wherever in the layer they stand.
        for hidden in self.hidden.drain(..) {
            match hidden {
                Hidden::Below(folder) => self.lower.remove_below(&folder),
                Hidden::All(name) => self.lower.remove(&name),
            }
        }
        self.hidden_weight = 0;
        // A name below a file or a link of a lower layer hides that, with or
        // without a member for the folder: so it is where layers are mounted.
        for name in self.upper.files.keys() {
            self.lower.make_way(name, |_| true);
        }
        for (name, member) in std::mem::replace(&mut self.upper, Tree::new()).files {
            self.lower.put(name, member);
        }
    }

    /// All that is to be seen, by name.
    pub fn finish(mut self) -> BTreeMap<Vec<u8>, T> {
        self.lay();
        self.lower.files
    }
}

/// Files by name.
struct Tree<T> {
    files: BTreeMap<Vec<u8>, T>,
    weight: usize,
}

impl<T: Member> Tree<T> {
    fn new() -> Tree<T> {
        Tree {
            files: BTreeMap::new(),
            weight: 0,
        }
    }

    /// Adds a file; one that is not a folder takes the place of a folder and all
    /// that was in it, whether that folder had a member of its own or not.
    fn put(&mut self, name: Vec<u8>, member: T) {
        if member.kind() != Kind::Directory {
            self.remove_below(&name);
        }
        self.drop_one(&name);
        self.weight += PLACE + name.len() + member.weight();
        self.files.insert(name, member);
    }

    /// Removes the file that is in the way of `name`, because it has the place
    /// of one of the folders above, if it is such that `gives_way`.
    fn make_way(&mut self, name: &[u8], gives_way: impl Fn(Kind) -> bool) {
        let ends = name.iter().enumerate().rev().filter(|(_, b)| **b == b'/');
        for (end, _) in ends {
            match self.files.get(&name[..end]).map(Member::kind) {
                // What is above a folder is one.
                Some(Kind::Directory) => return,
                Some(kind) if gives_way(kind) => return self.drop_one(&name[..end]),
                Some(_) => return,
                None => {}
            }
            let mut below = self
                .files
                .range::<[u8], _>((Bound::Excluded(&name[..=end]), Bound::Unbounded));
            if below
                .next()
                .is_some_and(|(next, _)| next.starts_with(&name[..=end]))
            {
                return;
            }
        }
    }

    fn remove(&mut self, name: &[u8]) {
        self.drop_one(name);
        self.remove_below(name);
    }

    fn remove_below(&mut self, folder: &[u8]) {
        let mut prefix = folder.to_vec();
        if !prefix.is_empty() {
            prefix.push(b'/');
        }
        let below = self.files.range(prefix.clone()..);
        let below = below.take_while(|(name, _)| name.starts_with(&prefix));
        // The root stays, although everything is below it.
        let below = below.filter(|(name, _)| !name.is_empty());
        let doomed: Vec<Vec<u8>> = below.map(|(name, _)| name.clone()).collect();
        for name in doomed {
            self.drop_one(&name);
        }
    }

    fn drop_one(&mut self, name: &[u8]) {
        if let Some(member) = self.files.remove(name) {
            self.weight -= PLACE + name.len() + member.weight();
        }
    }
}
