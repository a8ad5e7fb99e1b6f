//! What differs between two images: config, layers and files. Layers that both
//! begin with are the same in both and are not read.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::Image;
use super::layer;
use super::name::{OPAQUE, WHITEOUT, join, normal, split};
use super::stack::{self, Stack};
use crate::blob::Blob;
use crate::digest::{Digest, Hasher};
use crate::error::{Error, Result};
use crate::stream::{Buffer, Watch};
use crate::tar::{Entries, Entry, Kind};

/// How deep configs are compared member by member; below that as a whole.
const MAX_MEMBERS_DEPTH: usize = 8;

/// What differs between two images.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct Diff {
    /// Members of the configs, by their JSON pointer; layers and history are left
    /// out.
    pub config: Vec<Member>,
    /// The layers of both, lowest first: those of the first image, and those that
    /// only the second has.
    pub layers: Vec<DiffLayer>,
    /// Files, sorted by name.
    pub files: Vec<DiffFile>,
}

/// A member of the configs that differs.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Member {
    /// Where it is (RFC 6901), such as `/config/Env`.
    pub pointer: String,
    /// What the first image says.
    pub first: Option<Value>,
    /// What the second says.
    pub second: Option<Value>,
}

/// A layer of one image or of both.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct DiffLayer {
    /// Its digest.
    pub digest: Digest,
    /// Its size, bytes.
    pub size: u64,
    /// Which image has it.
    pub of: Of,
}

/// Which of two images has something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Of {
    /// The first.
    First,
    /// The second.
    Second,
    /// Both.
    Both,
}

/// A file that differs.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct DiffFile {
    /// Its name, without `/` in front.
    pub name: Vec<u8>,
    /// How it differs.
    pub change: Change,
}

/// How a file of the second image differs from that of the first: in kind,
/// content, permissions, owner, target or extended attributes. The time does not
/// count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Change {
    /// Only the second image has it.
    Added,
    /// Only the first image has it.
    Removed,
    /// Both have it.
    Changed,
    /// Only the first image has it in a layer above those that both share; the
    /// second has what the shared layers have, if anything.
    SetByFirst,
    /// The same of the second image.
    SetBySecond,
}

/// What differs between `first` and `second`. Layers above the ones that both
/// begin with are read, whole.
///
/// # Errors
/// [`Error::Malformed`] for a layer that is not a tar, a config that is not one, and for
/// more files than any image has; [`Error::Mismatch`] and [`Error::Size`] for wrong
/// bytes; those of the layers' sources.
pub fn diff(first: &Image, second: &Image, watch: Watch<'_>) -> Result<Diff> {
    let mut diff = Diff {
        layers: layers(first, second),
        ..Diff::default()
    };
    if first.config_blob().digest() != second.config_blob().digest() {
        let (first, second) = (document(first)?, document(second)?);
        members(&first, &second, "", &mut diff.config);
    }
    let same = |(one, two): &(&Blob, &Blob)| one.digest() == two.digest();
    let shared = first
        .layers()
        .iter()
        .zip(second.layers())
        .take_while(same)
        .count();
    let above = |image: &Image| Above::read(&image.layers()[shared..], watch);
    let (one, two) = (above(first)?, above(second)?);
    diff.files = files(&one, &two, shared > 0);
    Ok(diff)
}

/// A config without what is compared elsewhere.
fn document(image: &Image) -> Result<Value> {
    let mut value = image.config()?.into_value();
    if let Some(members) = value.as_object_mut() {
        members.remove("rootfs");
        members.remove("history");
    }
    Ok(value)
}

fn members(first: &Value, second: &Value, at: &str, found: &mut Vec<Member>) {
    if first == second {
        return;
    }
    let deep = at.matches('/').count() >= MAX_MEMBERS_DEPTH;
    let (Value::Object(one), Value::Object(two), false) = (first, second, deep) else {
        let there = |value: &Value| Some(value.clone()).filter(|value| !value.is_null());
        return found.push(Member {
            pointer: at.to_string(),
            first: there(first),
            second: there(second),
        });
    };
    let names: BTreeSet<&String> = one.keys().chain(two.keys()).collect();
    for name in names {
        let at = format!("{at}/{}", name.replace('~', "~0").replace('/', "~1"));
        let of = |members: &serde_json::Map<String, Value>| {
            members.get(name).cloned().unwrap_or_default()
        };
        members(&of(one), &of(two), &at, found);
    }
}

fn layers(first: &Image, second: &Image) -> Vec<DiffLayer> {
    let digests = |image: &Image| -> BTreeSet<Digest> {
        image.layers().iter().map(|layer| *layer.digest()).collect()
    };
    let (one, two) = (digests(first), digests(second));
    let row = |layer: &Blob, of| DiffLayer {
        digest: *layer.digest(),
        size: layer.size(),
        of,
    };
    let mut rows = Vec::new();
    for layer in first.layers() {
        let of = if two.contains(layer.digest()) {
            Of::Both
        } else {
            Of::First
        };
        rows.push(row(layer, of));
    }
    let new = second
        .layers()
        .iter()
        .filter(|layer| !one.contains(layer.digest()));
    rows.extend(new.map(|layer| row(layer, Of::Second)));
    rows
}

/// A file, with the digest of its content.
struct Hashed {
    entry: Entry,
    content: Option<Digest>,
}

impl stack::Member for Hashed {
    fn kind(&self) -> Kind {
        self.entry.kind
    }

    fn weight(&self) -> usize {
        self.entry.weight() + size_of::<Hashed>()
    }
}

impl Hashed {
    fn is_like(&self, other: &Hashed) -> bool {
        let facts = |one: &Hashed| {
            let entry = &one.entry;
            (
                entry.kind,
                entry.mode & 0o7777,
                entry.owner,
                entry.device,
                one.content,
            )
        };
        let sorted = |entry: &Entry| {
            let mut attributes = entry.attributes.clone();
            attributes.sort();
            attributes
        };
        facts(self) == facts(other)
            && self.entry.link == other.entry.link
            && sorted(&self.entry) == sorted(&other.entry)
    }
}

/// The files of the layers above the shared ones, and what those hide of them.
struct Above {
    files: BTreeMap<Vec<u8>, Box<Hashed>>,
    /// Names of the shared layers that are taken away, with all below them.
    gone: BTreeSet<Vec<u8>>,
    /// Folders that show nothing of the shared layers.
    opaque: BTreeSet<Vec<u8>>,
}

impl Above {
    fn read(layers: &[Blob], watch: Watch<'_>) -> Result<Above> {
        let (mut gone, mut opaque) = (BTreeSet::new(), BTreeSet::new());
        // A whiteout that hides nothing of these layers may hide much of the shared ones.
        let mut hiding = 0;
        let mut stack = Stack::new();
        for blob in layers {
            let what = blob.digest().to_string();
            watch.progress.start(blob.digest(), Some(blob.size()));
            let mut plain = layer::open(blob, watch)?;
            let mut entries = Entries::new(&what, &mut plain);
            while let Some(entry) = entries.next() {
                let mut entry = entry?;
                let name = normal(&entry.path);
                // It is not needed twice.
                entry.path = Vec::new();
                let (folder, last) = split(&name);
                match last.strip_prefix(WHITEOUT) {
                    _ if last == OPAQUE => drop(opaque.insert(folder.to_vec())),
                    Some(rest) => drop(gone.insert(join(folder, rest))),
                    None => {}
                }
                if stack.hides(&name) {
                    hiding += name.len() + stack::PLACE;
                } else {
                    let content = match entry.kind {
                        Kind::File => Some(hash(&mut entries, &entry)?),
                        _ => None,
                    };
                    stack.put(name, Box::new(Hashed { entry, content }));
                }
                stack.check_with(&what, gone.len() + opaque.len(), hiding)?;
            }
            layer::hash(&what, plain)?;
            watch.progress.finish(blob.digest());
            stack.lay();
        }
        let files = stack.finish();
        Ok(Above {
            files,
            gone,
            opaque,
        })
    }

    /// Whether nothing of the shared layers shows under `name`.
    fn hides(&self, name: &[u8]) -> bool {
        let mut above = Some(name);
        while let Some(at) = above {
            let is_below = at.len() < name.len();
            let is_file = || {
                self.files
                    .get(at)
                    .is_some_and(|one| one.entry.kind != Kind::Directory)
            };
            if self.gone.contains(at) || is_below && (self.opaque.contains(at) || is_file()) {
                return true;
            }
            above = (!at.is_empty()).then(|| split(at).0);
        }
        false
    }
}

fn hash(entries: &mut Entries<impl std::io::Read>, entry: &Entry) -> Result<Digest> {
    let mut content = entries.content(entry)?;
    let (mut hasher, mut buffer) = (Hasher::new(), Buffer::new());
    loop {
        match std::io::Read::read(&mut content, &mut buffer) {
            Ok(0) => return Ok(hasher.finish()),
            Ok(n) => hasher.update(&buffer[..n]),
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            Err(e) => return Err(Error::io("layer", e)),
        }
    }
}

fn files(first: &Above, second: &Above, is_shared: bool) -> Vec<DiffFile> {
    let mut names: Vec<&Vec<u8>> = first.files.keys().chain(second.files.keys()).collect();
    if is_shared {
        names.extend(first.gone.iter().chain(&second.gone));
    }
    names.sort_unstable();
    names.dedup();
    let mut found: Vec<DiffFile> = Vec::new();
    for name in names {
        let (one, two) = (first.files.get(name), second.files.get(name));
        // Nothing shows where nothing is below, or where it is hidden.
        let is_bare = |above: &Above| !is_shared || above.hides(name);
        let change = match (one, two) {
            (Some(one), Some(two)) if one.is_like(two) => continue,
            (Some(_), Some(_)) => Change::Changed,
            (Some(_), None) if is_bare(second) => Change::Removed,
            (Some(_), None) => Change::SetByFirst,
            (None, Some(_)) if is_bare(first) => Change::Added,
            (None, Some(_)) => Change::SetBySecond,
            (None, None) => match (first.hides(name), second.hides(name)) {
                (true, false) => Change::Added,
                (false, true) => Change::Removed,
                _ => continue,
            },
        };
        found.push(DiffFile {
            name: name.clone(),
            change,
        });
    }
    without_ways(found, first, second)
}

/// Leaves out the folders that a layer lists only because something in them is
/// another: whether they differ from those of the shared layers is not known.
fn without_ways(mut found: Vec<DiffFile>, first: &Above, second: &Above) -> Vec<DiffFile> {
    let is_folder = |name: &[u8]| {
        let one = first.files.get(name).or_else(|| second.files.get(name));
        one.is_some_and(|one| one.entry.kind == Kind::Directory)
    };
    let is_way = |name: &[u8]| {
        let below = join(name, b"");
        // They are sorted by name.
        let next = found.partition_point(|file| file.name < below);
        let next = found.get(next);
        name.is_empty() || next.is_some_and(|next| next.name.starts_with(&below))
    };
    let is_kept = |file: &DiffFile| {
        let is_unsure = matches!(file.change, Change::SetByFirst | Change::SetBySecond);
        !(is_unsure && is_folder(&file.name) && is_way(&file.name))
    };
    let kept: Vec<bool> = found.iter().map(is_kept).collect();
    let mut kept = kept.into_iter();
    found.retain(|_| kept.next() != Some(false));
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::tests::{Made, image};

    /// A layer of members: `name=content`, or a folder `name/`.
    fn layer(members: &[&str]) -> Vec<u8> {
        let mut to = ::tar::Builder::new(Vec::new());
        for (i, member) in members.iter().enumerate() {
            let (name, content) = member.split_once('=').unwrap_or((member, ""));
            let mut header = ::tar::Header::new_gnu();
            header.set_mode(0o644);
            header.set_mtime(i as u64);
            header.set_size(content.len() as u64);
            if name.ends_with('/') {
                header.set_entry_type(::tar::EntryType::Directory);
            }
            to.append_data(&mut header, name, content.as_bytes())
                .unwrap();
        }
        to.into_inner().unwrap()
    }

    fn made(layers: &[&[&str]]) -> Image {
        let plain: Vec<Vec<u8>> = layers.iter().map(|names| layer(names)).collect();
        let made: Vec<Made<'_>> = plain.iter().map(|bytes| Made::Gzip(bytes)).collect();
        image(&made)
    }

    fn changes(first: &[&[&str]], second: &[&[&str]]) -> String {
        let found = diff(&made(first), &made(second), Watch::default()).unwrap();
        let line = |file: &DiffFile| {
            let letter = match file.change {
                Change::Added => 'A',
                Change::Removed => 'D',
                Change::Changed => 'M',
                Change::SetByFirst => '<',
                Change::SetBySecond => '>',
            };
            format!("{letter}{}", String::from_utf8_lossy(&file.name))
        };
        found.files.iter().map(line).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn without_shared_layers_all_is_known() {
        let first: &[&[&str]] = &[&["a=1", "b=2", "d/", "d/x=1"], &["c=3"]];
        let second: &[&[&str]] = &[&["c=3", "b=3", "d/", "e="]];
        assert_eq!(changes(first, second), "Da Mb Dd/x Ae");
        assert_eq!(changes(first, first), "");
        // The same files in other layers, and from another time.
        assert_eq!(changes(&[&["a=1"], &["b=1"]], &[&["b=1", "a=1"]]), "");
    }

    #[test]
    fn above_shared_layers_it_says_what_it_knows() {
        let base: &[&str] = &["d/", "d/x=1", "d/y=1", "a=1"];
        let second: &[&[&str]] = &[base, &["d/", "d/x=2", "d/.wh.y", "new=1"]];
        assert_eq!(changes(&[base], second), ">d/x Dd/y >new");
        assert_eq!(changes(second, &[base]), "<d/x Ad/y <new");
        let third: &[&[&str]] = &[base, &["d/x=2", "new=2"]];
        assert_eq!(changes(second, third), "Ad/y Mnew");
        assert_eq!(changes(&[base, &[".wh.a"]], &[base, &["a=1"]]), "Aa");
        let opaque: &[&[&str]] = &[base, &["d/.wh..wh..opq", "d/z=1"]];
        assert_eq!(changes(&[base, &["d/x=1"]], opaque), "Dd/x >d/z");
    }

    #[test]
    fn shared_layers_are_not_read() {
        let top = layer(&["a=1"]);
        let (bad, good) = (Made::Plain(b"no tar"), Made::Gzip(&top));
        let (one, two) = (image(&[bad]), image(&[Made::Plain(b"no tar"), good]));
        let found = diff(&one, &two, Watch::default()).unwrap();
        assert_eq!(found.files.len(), 1);
        let of: Vec<Of> = found.layers.iter().map(|layer| layer.of).collect();
        assert_eq!(of, [Of::Both, Of::Second]);
        assert!(diff(&one, &made(&[]), Watch::default()).is_err());
    }

    #[test]
    fn configs_are_compared_by_member() {
        let (first, second) = (
            serde_json::json!({"a": 1, "config": {"Env": ["A=1"], "x/y": 1, "Cmd": null}}),
            serde_json::json!({"a": 1, "config": {"Env": ["A=2"]}, "b": {}}),
        );
        let mut found = Vec::new();
        members(&first, &second, "", &mut found);
        let pointers: Vec<&str> = found.iter().map(|one| one.pointer.as_str()).collect();
        assert_eq!(pointers, ["/b", "/config/Env", "/config/x~1y"]);
        assert_eq!(found[2].second, None);
    }
}
