//! Several layers made one.

use std::collections::HashMap;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use super::dest::Name;
use super::{Layer, LayerOptions, layer as make};
use crate::blob::Blob;
use crate::bounds;
use crate::error::{Error, Result};
use crate::file::{Section, Spool};
use crate::image::check::drain;
use crate::image::layer;
use crate::image::name::{leads_out, normal};
use crate::image::stack::{self, Stack};
use crate::stream::{Buffer, Run, copy};
use crate::tar::{self, Entries, Entry, Kind};

/// How large the sparse files of all layers may be together, bytes: a few bytes
/// of a layer can say that a file has many TiB of zeros, which other layers
/// would have to contain.
const MAX_SPARSE: u64 = bounds::SPARSE;

/// A name in the tree: one of those that a file has.
pub(super) struct Member {
    /// The file, its offset that in the spool, and its path left to the tree.
    pub file: Arc<Entry>,
    /// The same for all names of it.
    pub id: u64,
}

impl Member {
    /// Whether the file may have another name.
    pub fn has_links(&self) -> bool {
        Arc::strong_count(&self.file) > 1
    }
}

impl stack::Member for Member {
    fn kind(&self) -> Kind {
        self.file.kind
    }

    fn weight(&self) -> usize {
        // Its place in the list of what is visible, which is made at the end
        // while the tree still exists.
        let listed = size_of::<(Name, Member)>();
        self.file.weight() + size_of::<Member>() + size_of::<Entry>() + listed
    }
}

/// What some layers show, and the contents of it.
pub(super) struct Merged {
    pub seen: Seen,
    pub contents: Section,
}

/// Visible members by name, in the order of names: a list, because a second
/// tree of a million files would take a third of the memory that they may take.
pub(super) struct Seen(Vec<(Name, Member)>);

impl Seen {
    fn of(stack: Stack<Member>) -> Seen {
        let all = stack.finish().into_iter();
        let mut all: Vec<(Name, Member)> = all.map(|(name, member)| (Name(name), member)).collect();
        all.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        Seen(all)
    }

    pub fn get(&self, name: &Name) -> Option<&Member> {
        let at = self.0.binary_search_by(|(other, _)| other.cmp(name));
        at.ok().map(|at| &self.0[at].1)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&Name, &Member)> {
        self.0.iter().map(|(name, member)| (name, member))
    }
}

/// Layers on their way into one.
struct Squash<'a> {
    folder: &'a Path,
    run: Run<'a>,
    stack: Stack<Member>,
    /// Files so far, seen or not.
    files: u64,
    spool: Spool,
    spooled: u64,
    /// Bytes of all sparse files so far.
    sparse: u64,
    buffer: Buffer,
}

pub(super) fn squash(layers: &[Blob], options: LayerOptions<'_>) -> Result<Layer> {
    let Merged { seen, contents } = merge(layers, options.folder, options.run)?;
    let created_by = match layers.len() {
        1 => "dxf: squash 1 layer".to_string(),
        count => format!("dxf: squash {count} layers"),
    };
    make(members(seen, &contents), created_by, options)
}

/// Reads `layers`, each once; the contents wait in `folder`.
pub(super) fn merge(layers: &[Blob], folder: &Path, run: Run<'_>) -> Result<Merged> {
    let mut squash = Squash {
        folder,
        run,
        stack: Stack::new(),
        files: 0,
        spool: Spool::new(folder)?,
        spooled: 0,
        sparse: 0,
        buffer: Buffer::new(),
    };
    for blob in layers {
        squash.lay(blob)?;
    }
    Ok(Merged {
        seen: Seen::of(squash.stack),
        contents: squash.spool.finish(),
    })
}

impl Squash<'_> {
    fn lay(&mut self, blob: &Blob) -> Result<()> {
        let (watch, what) = (self.run.watch, blob.digest().to_string());
        watch.progress.start(blob.digest(), Some(blob.size()));
        let mut plain = layer::open(blob, watch)?;
        let mut entries = Entries::new(&what, &mut plain);
        while let Some(entry) = entries.next() {
            self.take(&what, entry?, &mut entries)?;
            self.stack.check(&what)?;
        }
        drain(&what, &mut plain)?;
        watch.progress.finish(blob.digest());
        self.stack.lay();
        Ok(())
    }

    fn take(&mut self, what: &str, entry: Entry, entries: &mut Entries<impl Read>) -> Result<()> {
        if leads_out(&entry) {
            let why = format!("its member {:?} points outside it", entry.name());
            return Err(Error::malformed(what, why));
        }
        let name = normal(&entry.path);
        if self.stack.hides(&name) {
            return Ok(());
        }
        let member = match entry.kind {
            Kind::HardLink => self.link(what, &entry)?,
            _ => self.file(what, entry, entries)?,
        };
        self.stack.put(name, member);
        Ok(())
    }

    /// Another name of a file, which may be a lower layer's.
    fn link(&self, what: &str, entry: &Entry) -> Result<Member> {
        let target = self.stack.get(&normal(&entry.link));
        let target = target.filter(|target| target.file.kind != Kind::Directory);
        let target = target.ok_or_else(|| {
            let why = format!("its member {:?} links to nothing", entry.name());
            Error::malformed(what, why)
        })?;
        Ok(Member {
            file: target.file.clone(),
            id: target.id,
        })
    }

    fn file(
        &mut self,
        what: &str,
        mut entry: Entry,
        entries: &mut Entries<impl Read>,
    ) -> Result<Member> {
        if entry.sparse {
            self.sparse = self.sparse.saturating_add(entry.size);
            if self.sparse > MAX_SPARSE {
                let what = format!("{what}: {:?}, a sparse file of this size", entry.name());
                return Err(Error::Unsupported { what });
            }
        }
        let start = self.spooled;
        if entry.kind == Kind::File {
            let mut content = entries.content(&entry)?;
            let copied = copy(&mut content, &mut self.spool, &mut self.buffer);
            self.spooled +=
                copied.map_err(|e| e.naming(what, self.folder.display().to_string()))?;
        }
        entry.offset = start;
        // Emptied only, it would keep its memory.
        entry.path = Vec::new();
        self.files += 1;
        Ok(Member {
            file: Arc::new(entry),
            id: self.files,
        })
    }
}

/// What is to be seen as members of a tar, sorted; the first name of a file has
/// its content, and the others are links to it.
pub(super) fn members(
    seen: Seen,
    contents: &Section,
) -> impl Iterator<Item = Result<tar::Member<'_>>> + Send {
    let mut first: HashMap<u64, Vec<u8>> = HashMap::new();
    seen.0.into_iter().map(move |(name, member)| {
        let has_links = member.has_links();
        let Member { file, id } = member;
        let mut entry = Entry::clone(&file);
        entry.path = match name.0.as_slice() {
            b"" => b"./".to_vec(),
            path => path.to_vec(),
        };
        let mut content: Option<Box<dyn Read + Send>> = None;
        if let Some(first) = first.get(&id) {
            entry.link = first.clone();
            entry.kind = Kind::HardLink;
            entry.size = 0;
        } else {
            if has_links {
                first.insert(id, name.0);
            }
            if entry.kind == Kind::File {
                let part = contents.part(entry.offset, entry.size);
                content = part.map(|part| Box::new(part.reader(0)) as _);
            }
        }
        Ok(tar::Member { entry, content })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::tests::{Made, image, layer_of};

    #[test]
    fn what_is_kept_of_a_name_is_the_name_alone() {
        let long = "n".repeat(200);
        let names: Vec<String> = (0..100).map(|i| format!("{long}/{i}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let layer = layer_of(&names);
        let image = image(&[Made::Gzip(&layer)]);
        let merged = merge(image.layers(), &std::env::temp_dir(), Run::default()).unwrap();
        let all: Vec<_> = merged.seen.iter().collect();
        assert_eq!(all.len(), 100);
        for (name, member) in &all {
            assert!(name.0.starts_with(long.as_bytes()));
            assert_eq!(member.file.path.capacity(), 0);
            assert!(merged.seen.get(name).is_some_and(|it| it.id == member.id));
        }
        let sorted = all.windows(2).all(|two| two[0].0 < two[1].0);
        assert!(sorted && merged.seen.get(&Name(b"n".to_vec())).is_none());
    }
}
