//! Where each member of a tar is, so that it can be read in place.
//!
//! Nothing is ever unpacked. Names are keys into this index, never paths of
//! the file system; a tar that two readers could understand in two ways (a name
//! twice, links that leave it) is refused.

use std::collections::BTreeMap;
use std::io::Read;

use super::{Entries, Entry, Kind};
use crate::bounds;
use crate::error::{Error, Result};
use crate::file::Section;
use crate::stream::{Buffer, Stop, read_bounded};

/// More members than the largest archive of images has.
pub const MAX_MEMBERS: usize = bounds::MEMBERS;
/// The longest name, bytes: what file systems take.
const MAX_NAME: usize = bounds::MEMBER_NAME;

/// The members of one tar.
pub(crate) struct Index {
    what: String,
    files: BTreeMap<String, Section>,
    /// Name of a link → name of its target.
    links: BTreeMap<String, String>,
    /// How many members were taken, folders included.
    count: usize,
}

impl Index {
    /// Reads the headers of a tar; `what` names it in errors.
    pub fn new(what: &str, tar: &Section, stop: &Stop) -> Result<Index> {
        let mut index = Index {
            what: what.to_string(),
            files: BTreeMap::new(),
            links: BTreeMap::new(),
            count: 0,
        };
        for entry in Entries::seeking(what, tar.reader(0)) {
            stop.check()?;
            index.take(&entry?, tar)?;
        }
        Ok(index)
    }

    /// An index of files that were found in another way.
    pub fn of_files(what: &str, files: BTreeMap<String, Section>) -> Index {
        Index {
            what: what.to_string(),
            files,
            links: BTreeMap::new(),
            count: 0,
        }
    }

    /// How many members were taken.
    pub fn count(&self) -> usize {
        self.count
    }

    /// What it is called in errors.
    pub fn what(&self) -> &str {
        &self.what
    }

    /// An error that names the archive.
    pub fn bad(&self, why: impl std::fmt::Display) -> Error {
        Error::malformed(&self.what, why)
    }

    /// The file of a name, or the file that a link of that name points to.
    pub fn get(&self, name: &str) -> Option<&Section> {
        let name = normal(name.as_bytes()).ok()?;
        // One hop and no more: a link to a link leads nowhere.
        let target = self.links.get(&name).unwrap_or(&name);
        self.files.get(target)
    }

    /// The file of a name, which has to be there.
    pub fn need(&self, name: &str) -> Result<&Section> {
        self.get(name)
            .ok_or_else(|| self.bad(format!("it lacks {name:?}")))
    }

    /// The files, by name.
    pub fn files(&self) -> impl Iterator<Item = (&str, &Section)> {
        self.files.iter().map(|(name, file)| (name.as_str(), file))
    }

    /// A small file as bytes.
    pub fn bytes(&self, name: &str, limit: u64) -> Result<Vec<u8>> {
        let what = format!("{} in {}", name, self.what);
        read_bounded(&what, self.need(name)?.reader(0), limit)
    }

    /// Adds a member of a tar.
    pub fn take(&mut self, entry: &Entry, tar: &Section) -> Result<()> {
        self.count += 1;
        if self.count > MAX_MEMBERS {
            return Err(too_many(&self.what));
        }
        let name = normal(&entry.path)
            .map_err(|why| self.bad(format!("member {:?}: {why}", entry.name())))?;
        match entry.kind {
            Kind::Directory => Ok(()),
            _ if name.is_empty() => Err(self.bad("a member has no name")),
            Kind::File if entry.sparse => Err(self.bad(format!("{name:?} has holes left out"))),
            Kind::File => {
                let content = tar
                    .part(entry.offset, entry.size)
                    .ok_or_else(|| self.bad("it is cut short"))?;
                self.add_file(name, content)
            }
            Kind::Symlink | Kind::HardLink => {
                let target = self.target(&name, entry)?;
                self.add_link(name, target)
            }
            _ => Err(self.bad(format!(
                "{name:?} is a device, a pipe or another special file"
            ))),
        }
    }

    fn add_file(&mut self, name: String, content: Section) -> Result<()> {
        if self.links.contains_key(&name) {
            return Err(self.twice(&name));
        }
        if let Some(before) = self.files.get(&name) {
            // Some tools add a shared layer again; the same bytes do no harm.
            if !same(before, &content)? {
                return Err(self.twice(&name));
            }
            return Ok(());
        }
        self.files.insert(name, content);
        Ok(())
    }

    fn add_link(&mut self, name: String, target: String) -> Result<()> {
        let before = self.links.get(&name);
        if self.files.contains_key(&name) || before.is_some_and(|before| *before != target) {
            return Err(self.twice(&name));
        }
        self.links.insert(name, target);
        Ok(())
    }

    fn twice(&self, name: &str) -> Error {
        self.bad(format!(
            "it contains {name:?} twice, with different contents"
        ))
    }

    /// The target of a link. A symbolic one starts at its own folder
    /// (`docker save` writes `../<id>/layer.tar`), a hard one at the top.
    fn target(&self, name: &str, entry: &Entry) -> Result<String> {
        let out = || self.bad(format!("the link {name:?} points outside it"));
        let text = std::str::from_utf8(&entry.link).map_err(|_| out())?;
        if text.starts_with('/') || text.contains('\0') || text.len() > MAX_NAME {
            return Err(out());
        }
        let folder = match (entry.kind, name.rsplit_once('/')) {
            (Kind::Symlink, Some((folder, _))) => folder,
            _ => "",
        };
        let mut parts: Vec<&str> = Vec::new();
        for part in folder.split('/').chain(text.split('/')) {
            match part {
                "" | "." => {}
                ".." => drop(parts.pop().ok_or_else(out)?),
                part => parts.push(part),
            }
        }
        Ok(parts.join("/"))
    }
}

/// The error for a tar, called `what`, with more than [`MAX_MEMBERS`].
pub(crate) fn too_many(what: &str) -> Error {
    Error::malformed(what, "it has too many members")
}

/// A name without `./` and doubled slashes; `Err` says why it has no place in
/// an archive.
pub(crate) fn normal(name: &[u8]) -> std::result::Result<String, &'static str> {
    if name.len() > MAX_NAME {
        return Err("its name is too long");
    }
    let text = std::str::from_utf8(name).map_err(|_| "its name is not UTF-8")?;
    if text.starts_with('/') {
        return Err("its name is absolute");
    }
    if text.contains('\0') {
        return Err("its name contains a zero byte");
    }
    let parts: Vec<&str> = text
        .split('/')
        .filter(|p| !p.is_empty() && *p != ".")
        .collect();
    if parts.contains(&"..") {
        return Err("its name points outside");
    }
    Ok(parts.join("/"))
}

fn same(a: &Section, b: &Section) -> Result<bool> {
    if a.len() != b.len() {
        return Ok(false);
    }
    let (mut a, mut b) = (a.reader(0), b.reader(0));
    let (mut left, mut right) = (Buffer::new(), Buffer::new());
    loop {
        let n = a.read(&mut left).map_err(Error::from)?;
        b.read_exact(&mut right[..n]).map_err(Error::from)?;
        if left[..n] != right[..n] {
            return Ok(false);
        }
        if n == 0 {
            return Ok(true);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file::Spool;
    use ::tar::EntryType;
    use proptest::prelude::*;
    use std::io::Write;

    fn member(name: &str, content: &[u8]) -> Vec<u8> {
        raw(EntryType::Regular, name, "", content)
    }

    fn link(name: &str, to: &str) -> Vec<u8> {
        raw(EntryType::Symlink, name, to, b"")
    }

    fn raw(kind: EntryType, name: &str, to: &str, content: &[u8]) -> Vec<u8> {
        let mut header = ::tar::Header::new_gnu();
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.as_old_mut().linkname[..to.len()].copy_from_slice(to.as_bytes());
        header.set_entry_type(kind);
        header.set_size(content.len() as u64);
        header.set_cksum();
        let mut out = header.as_bytes().to_vec();
        out.extend(content);
        out.resize(out.len().next_multiple_of(512), 0);
        out
    }

    fn index(members: &[Vec<u8>]) -> Result<Index> {
        let mut spool = Spool::new(&std::env::temp_dir()).unwrap();
        spool.write_all(&members.concat()).unwrap();
        Index::new("it.tar", &spool.finish(), &Stop::new())
    }

    fn refused(members: &[Vec<u8>]) -> bool {
        matches!(index(members), Err(Error::Malformed { .. }))
    }

    #[test]
    fn names_are_normal_and_links_take_one_hop() {
        let i = index(&[
            raw(EntryType::Directory, "./", "", b""),
            member("./a//b", b"one"),
            link("c/d/layer.tar", "../../a/b"),
            link("twice", "c/d/layer.tar"),
            link("loop", "loop"),
            raw(EntryType::Link, "hard", "a/b", b""),
            member("a/b", b"one"),
        ])
        .unwrap();
        for name in ["a/b", "./a/b", "c/d/layer.tar", "hard"] {
            assert_eq!(i.bytes(name, 10).unwrap(), b"one", "{name}");
        }
        for name in ["twice", "loop", "/a/b", "../a/b", "nothing", ""] {
            assert!(
                matches!(i.need(name), Err(Error::Malformed { .. })),
                "{name}"
            );
        }
        assert!(matches!(i.bytes("a/b", 2), Err(Error::Malformed { .. })));
    }

    #[test]
    fn what_could_mean_two_things_is_refused() {
        assert!(refused(&[member("a", b"1"), member("a", b"2")]));
        assert!(refused(&[member("a", b"1"), member("./a", b"12")]));
        assert!(refused(&[member("a", b"1"), link("a", "b")]));
        assert!(refused(&[link("a", "b"), member("a", b"1")]));
        assert!(refused(&[link("a", "b"), link("a", "c")]));
        for name in ["/a", "../a", "a/../../b", "a/.."] {
            assert!(refused(&[member(name, b"")]), "{name}");
        }
        for to in ["/etc/passwd", "../../x", "a/../../../x"] {
            assert!(refused(&[link("d/l", to)]), "{to}");
        }
        for kind in [
            EntryType::Char,
            EntryType::Block,
            EntryType::Fifo,
            EntryType::new(b'Z'),
        ] {
            assert!(refused(&[raw(kind, "x", "", b"")]));
        }
        assert!(refused(&[member("a", b"1")[..512].to_vec()]));
        assert!(refused(&[
            b"no tar at all, but long enough to have a header".repeat(20)
        ]));
        let mut cut = member("a", &[7; 2000]);
        cut.truncate(1500);
        assert!(refused(&[cut]));
    }

    proptest! {
        #[test]
        fn names_never_lead_out(name in "[a./\\\\ \0]{0,12}") {
            if let Ok(name) = normal(name.as_bytes()) {
                prop_assert!(!name.starts_with('/') && !name.split('/').any(|p| p == ".." || p == "."));
            }
        }

        #[test]
        fn damage_never_panics(at in 0usize..2560, byte in any::<u8>()) {
            let mut all = [member("a/b", b"one"), link("l", "a/b"), member("c", b"two")].concat();
            let at = at % all.len();
            all[at] = byte;
            let _ = index(&[all]);
        }
    }
}
