//! Images in a file: docker-archive, OCI layout in a tar, or both at once.
//!
//! Reading indexes the tar in place and returns [`Node`]s whose blobs are sections
//! of that file. Writing takes nodes with blobs from any source. This module does
//! not depend on registries or folder layouts.

mod docker;
mod kept;
mod oci;
mod plan;
mod store;
mod write;

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{Read, Seek};
use std::path::Path;

pub(crate) use self::docker::LIST;
pub(crate) use self::kept::{Kept, drain, spooled, whole};
pub(crate) use self::oci::{INDEX, MARK, blob_digest, blob_name};
pub(crate) use self::plan::{Content, Member, docker_entries};
pub use self::store::Archive;
pub use self::write::{Form, Out, WriteOptions, write};
pub(crate) use self::write::{header, plus, write_members};
use crate::descriptor::Descriptor;
use crate::error::{Error, Result};
use crate::file::Section;
use crate::hub;
use crate::image::Node;
use crate::image::layer::Compression;
use crate::reference::Reference;
use crate::stream::Run;
use crate::tar::Index;

/// One image or index of an archive, and what it is called there.
#[derive(Clone, Debug)]
pub struct Item {
    /// Its full names.
    pub names: Vec<Reference>,
    /// What an OCI layout calls it (`org.opencontainers.image.ref.name`):
    /// often only a tag.
    pub labels: Vec<String>,
    /// What it is.
    pub node: Node,
    /// Whose manifest it has.
    pub provenance: Provenance,
}

/// Where the manifest of an archived image comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Provenance {
    /// It came with the image and must be passed on byte for byte.
    Original,
    /// It was made when the image was saved or read, of layers that an engine
    /// had unpacked: compressing them loses nothing
    /// ([`crate::image::gzip::recompress`]).
    Made,
}

impl Item {
    /// What is written under `names`, with its own manifest.
    pub fn new(names: Vec<Reference>, node: Node) -> Item {
        Item {
            names,
            labels: Vec::new(),
            node,
            provenance: Provenance::Original,
        }
    }

    /// Adds what it is called: no name twice, however it is written.
    fn called(&mut self, names: Vec<Reference>, label: Option<String>) {
        let whole = |name: &Reference| full_name(name).unwrap_or_else(|| name.to_string());
        for name in names {
            if !self.names.iter().any(|known| whole(known) == whole(&name)) {
                self.names.push(name);
            }
        }
        self.labels.extend(label);
    }

    /// Whether `word` means this item: a full name, with or without what Docker
    /// leaves out, a tag, or the layout's own word for it.
    pub fn is_called(&self, word: &str) -> bool {
        let tag_of = |name: &Reference| name.tag.as_ref().is_some_and(|tag| tag.as_str() == word);
        let same = |name: &Reference| {
            let wanted = word
                .parse()
                .ok()
                .and_then(|wanted: Reference| full_name(&wanted));
            wanted.is_some() && full_name(name) == wanted
        };
        self.labels.iter().any(|label| label == word)
            || self.names.iter().any(|n| tag_of(n) || same(n))
    }
}

/// `docker.io/library/app:tag`: a name in full, as containerd keeps it; `None`
/// without a tag, because none was given.
pub(crate) fn full_name(name: &Reference) -> Option<String> {
    let tag = name.tag.as_ref()?;
    let host = name.host.as_ref().map_or(hub::NAME, |host| host.as_str());
    let host = if hub::is_hub(host) { hub::NAME } else { host };
    Some(format!(
        "{host}/{}:{tag}",
        hub::full_name(host, name.repo.as_str())
    ))
}

/// `app:tag`: a name as Docker shows it, without what it takes for granted.
fn familiar_name(name: &Reference) -> Option<String> {
    let full = full_name(name)?;
    let short = full.strip_prefix("docker.io/").unwrap_or(&full);
    let shorter = short
        .strip_prefix("library/")
        .filter(|rest| !rest.contains('/'));
    Some(shorter.unwrap_or(short).to_string())
}

/// Opens an archive in a file, plain or compressed, as a store to read from. A
/// compressed one is decompressed into a nameless file in `folder` first; a plain
/// one is not copied at all.
///
/// ```no_run
/// use dxf_registry::{ReadStore, archive, stream::Run};
///
/// let archive = archive::open("app.tar".as_ref(), "/var/tmp".as_ref(), Run::default())?;
/// for tag in archive.tags() {
///     println!("{}", tag?);
/// }
/// # Ok::<(), dxf_registry::Error>(())
/// ```
///
/// # Errors
/// [`Error::Malformed`] for a file that is not an archive of images or an unsafe
/// one, [`Error::Mismatch`] and [`Error::Size`] for content that is not what
/// its name says, [`Error::Unsupported`] for a folder and for archives of
/// Docker before 1.10, [`Error::Io`].
pub fn open(path: &Path, folder: &Path, run: Run<'_>) -> Result<Archive> {
    let items = read(path, folder, run)?;
    Archive::of(&path.display().to_string(), items)
}

/// Opens an archive that arrives on a pipe, kept in a nameless file in `folder`
/// until the [`Archive`] is dropped; `what` names it in errors.
///
/// # Errors
/// As [`open`], and the reader's own.
pub fn open_stream(
    what: &str,
    from: impl Read + Send,
    folder: &Path,
    run: Run<'_>,
) -> Result<Archive> {
    Archive::of(what, read_stream(what, from, folder, run)?)
}

/// What the index of a layout lists, in its order: each image once, with all the
/// names it has there. `read` gets it.
///
/// # Errors
/// Those of `read`.
pub fn items(
    entries: &[Descriptor],
    mut read: impl FnMut(&Descriptor) -> Result<Node>,
) -> Result<Vec<Item>> {
    let (mut items, mut known) = (Vec::<Item>::new(), HashMap::new());
    for entry in entries {
        let (names, label) = oci::names(entry);
        let at = match known.get(&entry.digest) {
            Some(&at) => at,
            None => {
                items.push(Item::new(Vec::new(), read(entry)?));
                known.insert(entry.digest, items.len() - 1);
                items.len() - 1
            }
        };
        items[at].called(names, label);
    }
    Ok(items)
}

/// The images of an archive in a file.
fn read(path: &Path, folder: &Path, run: Run<'_>) -> Result<Vec<Item>> {
    let what = path.display().to_string();
    contents(&what, &plain(path, folder, run)?, run)
}

/// The tar in a file, in its place or decompressed into a nameless file in
/// `folder`.
pub(crate) fn plain(path: &Path, folder: &Path, run: Run<'_>) -> Result<Section> {
    let what = path.display().to_string();
    let failed = |e| Error::io(&what, e);
    let mut file = File::open(path).map_err(failed)?;
    let meta = file.metadata().map_err(failed)?;
    if meta.is_dir() {
        return Err(Error::Unsupported {
            what: format!("{what} is a folder, not an archive; try oci:{what}"),
        });
    }
    if !meta.is_file() {
        return spooled(&what, file, folder, run);
    }
    let mut head = Vec::with_capacity(Compression::MAGIC);
    (&mut file)
        .take(Compression::MAGIC as u64)
        .read_to_end(&mut head)
        .map_err(failed)?;
    file.rewind().map_err(failed)?;
    if Compression::sniff(&head) != Compression::None {
        return spooled(&what, file, folder, run);
    }
    Section::whole(file)
}

/// The images of an archive that arrives on a pipe.
fn read_stream(
    what: &str,
    from: impl Read + Send,
    folder: &Path,
    run: Run<'_>,
) -> Result<Vec<Item>> {
    contents(what, &spooled(what, from, folder, run)?, run)
}

fn contents(what: &str, tar: &Section, run: Run<'_>) -> Result<Vec<Item>> {
    let index = Index::new(what, tar, run.watch.stop)?;
    let listed = docker::list(&index)?;
    if index.get(oci::INDEX).is_some() {
        match oci_items(&index, listed.as_deref()) {
            // Not everything the layout lists exists; what the other list names may.
            Err(error) if error.is_not_found() => {
                if listed.is_none() {
                    let remedy = match oci::is_bundle(&index)? {
                        true => {
                            "; load-bundle loads a part of a bundle, or one that leaves blobs out"
                        }
                        false => "",
                    };
                    return Err(index.bad(format!("it is incomplete: {error}{remedy}")));
                }
            }
            Ok(items) if items.is_empty() => {}
            done => return done,
        }
    }
    let Some(listed) = listed else {
        return Err(no_images(&index));
    };
    let mut reader = docker::Reader::new(&index, run);
    let mut item = |listed: &docker::Listed| {
        Ok(Item {
            names: listed.names(),
            labels: Vec::new(),
            node: Node::Image(reader.image(listed)?),
            provenance: Provenance::Made,
        })
    };
    let items: Vec<Item> = listed.iter().map(&mut item).collect::<Result<_>>()?;
    if items.is_empty() {
        return Err(index.bad("it lists no image"));
    }
    Ok(items)
}

fn no_images(index: &Index) -> Error {
    if index.get(docker::OLD_LIST).is_some() {
        return Error::Unsupported {
            what: "an archive of Docker before 1.10, which has no manifest.json; load it into an engine and save it again".to_string(),
        };
    }
    index.bad(format!(
        "it has neither {} nor {}, so it is not an archive of images",
        docker::LIST,
        oci::INDEX
    ))
}

fn oci_items(index: &Index, listed: Option<&[docker::Listed]>) -> Result<Vec<Item>> {
    // An engine that unpacks layers writes the old list beside new manifests
    // (Docker since 25); tools that keep what they pulled do not.
    let mut lists = listed.unwrap_or_default().iter();
    let engines = index.get(docker::OLD_LIST).is_some() || lists.any(docker::Listed::is_an_engines);
    let provenance = if engines {
        Provenance::Made
    } else {
        Provenance::Original
    };
    let mut items: Vec<Item> = Vec::new();
    let all = oci::read(index)?;
    // What the layout says of a name counts: two images may share a config.
    let given: HashSet<String> = all
        .iter()
        .flat_map(|found| &found.names)
        .filter_map(full_name)
        .collect();
    let is_new = |name: &Reference| full_name(name).is_none_or(|name| !given.contains(&name));
    for found in all {
        let digest = found.node.manifest().digest();
        let same = |item: &&mut Item| item.node.manifest().digest() == digest;
        let mut names = found.names;
        for entry in listed.unwrap_or_default() {
            let has = |digest| {
                found
                    .node
                    .images()
                    .iter()
                    .any(|(_, i)| *i.config_blob().digest() == digest)
            };
            if entry.config_digest().is_some_and(has) {
                names.extend(entry.names().into_iter().filter(is_new));
            }
        }
        if let Some(item) = items.iter_mut().find(same) {
            item.called(names, found.label);
            continue;
        }
        let mut item = Item::new(Vec::new(), found.node);
        item.provenance = provenance;
        item.called(names, found.label);
        items.push(item);
    }
    Ok(items)
}

#[cfg(test)]
mod tests;
