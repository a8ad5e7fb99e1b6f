//! Where a command puts images: a repository of a registry or of a folder, one
//! layout (`oci:DIR[:tag]`), or an archive (`oci-archive:FILE[:tag]`,
//! `docker-archive:FILE[:name]`), which is replaced atomically and keeps the
//! images of other names.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use dxf_registry::archive::{self, Form, Item, Out, WriteOptions};
use dxf_registry::graph::{self, Plan, PushTarget, plan, push};
use dxf_registry::image::Node;
use dxf_registry::place::ArchiveKind;
use dxf_registry::{Digest, Error, Place, Platform, Result, Root, Store, Target};

use crate::cli::args::Nondistributable;
use crate::cli::exit::Failure;
use crate::cli::image::existing::Existing;
use crate::cli::image::folder::{Folder, parent};
use crate::cli::image::item::{self, targets};
use crate::cli::image::open;
use crate::cli::out::file::Output;
use crate::cli::session::Session;

impl Nondistributable {
    /// The same in the library's words.
    pub fn choice(&self) -> graph::Nondistributable {
        match self.allow_nondistributable {
            true => graph::Nondistributable::Send,
            false => graph::Nondistributable::Skip,
        }
    }
}

/// Where images go.
pub struct Destination {
    /// What to print of it: a repository, a folder or a file, without a tag.
    pub name: String,
    /// The tag or digest that is written, of a repository or a layout.
    pub target: Option<Target>,
    /// The digest that is written beside a tag.
    pub expected: Option<Digest>,
    to: Opened,
}

/// A place that can be put to.
enum Opened {
    Store(Arc<dyn Store>),
    Archive {
        path: PathBuf,
        kind: ArchiveKind,
        name: Option<String>,
        existing: Existing,
    },
}

impl Destination {
    /// What `place` means for something that is put there. Nothing is
    /// written yet, and no question was asked.
    ///
    /// # Errors
    /// For a place that can't be written to, as far as a look at it tells.
    pub fn new(s: &Session<'_, '_>, place: &Place) -> Result<Destination, Failure> {
        let name = match place {
            Place::Repository { root, reference } => match root {
                Root::Registry(host) => format!("{host}/{}", reference.repo),
                Root::Folder(_) => reference.repo.to_string(),
            },
            Place::Layout { folder, .. } => {
                Folder::open(folder)?;
                format!("oci:{}", folder.display())
            }
            Place::Archive { path, kind, .. } => {
                check_file(path)?;
                format!("{}:{}", kind.scheme(), path.display())
            }
            _ => place.to_string(),
        };
        let to = match place {
            Place::Archive { path, kind, name } => Opened::Archive {
                path: path.clone(),
                kind: *kind,
                name: name.clone(),
                existing: Existing::read(s, path)?,
            },
            _ => Opened::Store(open::store(s, s.context, place)?),
        };
        let (target, expected) = asked(place);
        Ok(Destination {
            name,
            to,
            target,
            expected,
        })
    }

    /// The repository, unless this is an archive.
    pub fn store(&self) -> Option<&Arc<dyn Store>> {
        match &self.to {
            Opened::Store(store) => Some(store),
            Opened::Archive { .. } => None,
        }
    }

    /// The same, for images that get a name here: a repository's tag is `latest` unless another one is written, as Docker has it.
    ///
    /// # Errors
    /// None, as `latest` is a tag.
    pub fn or_latest(mut self, place: &Place) -> Result<Destination> {
        if matches!(place, Place::Repository { .. }) && self.target.is_none() {
            self.target = Some(Target::Tag("latest".parse()?));
        }
        Ok(self)
    }

    /// Whether it is standard output, on which nothing else may stand then.
    pub fn is_stdout(&self) -> bool {
        match &self.to {
            Opened::Store(_) => false,
            Opened::Archive { path, .. } => is_stdout(path),
        }
    }

    /// Whether everything has to be put at once.
    pub fn is_archive(&self) -> bool {
        self.store().is_none()
    }

    /// Puts images under the name that is written, or each under its own names,
    /// and gives the digest of each.
    ///
    /// # Errors
    /// [`Error::Mismatch`] for another image than the digest beside the tag
    /// says, [`Error::Unsupported`] for one name and several images, those of
    /// the destination and of the images' sources.
    pub fn put(
        &self,
        s: &mut Session<'_, '_>,
        items: &[Item],
        nondistributable: graph::Nondistributable,
    ) -> Result<Vec<Digest>, Failure> {
        let Opened::Store(store) = &self.to else {
            return self.write(s, items, &[]);
        };
        self.must_be_one(items)?;
        for item in items {
            self.put_one(s, &**store, item, nondistributable)?;
        }
        Ok(digests(items))
    }

    /// Writes images to the archive as [`Destination::put`] does, and beside
    /// them, under names of their own, `related` items.
    ///
    /// # Errors
    /// As [`Destination::put`]; [`Error::Unsupported`] when it is not an archive.
    pub fn write(
        &self,
        s: &mut Session<'_, '_>,
        items: &[Item],
        related: &[Item],
    ) -> Result<Vec<Digest>, Failure> {
        let Opened::Archive {
            path,
            kind,
            name,
            existing,
        } = &self.to
        else {
            let what = format!("{} is not an archive", self.name);
            return Err(Error::Unsupported { what }.into());
        };
        self.must_be_one(items)?;
        if *kind == ArchiveKind::Docker {
            must_load(&self.name, items)?;
        }
        let mut all = renamed(items, *kind, name.as_deref())?;
        all.extend_from_slice(related);
        add(s, &all, path, existing)?;
        Ok(digests(items))
    }

    /// Refuses several images where one name is written.
    fn must_be_one(&self, items: &[Item]) -> Result<()> {
        match (self.has_one_name(), items.len()) {
            (true, several @ 2..) => Err(Error::Unsupported {
                what: format!("{}: one name for {several} images", self.name),
            }),
            _ => Ok(()),
        }
    }

    /// What putting `node` there would have to do, under `target` or the name
    /// that is written; nothing to ask of an archive.
    ///
    /// # Errors
    /// As [`Destination::put`] before anything is sent.
    pub fn plan(
        &self,
        s: &Session<'_, '_>,
        node: &Node,
        target: Option<&Target>,
        nondistributable: graph::Nondistributable,
    ) -> Result<Option<Plan>> {
        let own = node.manifest().digest();
        if target.is_none() {
            self.check(&own)?;
        }
        let Opened::Store(store) = &self.to else {
            return Ok(None);
        };
        let own = Target::Digest(own);
        let target = target.or(self.target.as_ref()).unwrap_or(&own);
        let to = PushTarget::new(&**store, target).with_nondistributable(nondistributable);
        plan(node, &to, s.run()).map(Some)
    }

    fn has_one_name(&self) -> bool {
        match &self.to {
            Opened::Store(_) => self.target.is_some(),
            Opened::Archive { name, .. } => name.is_some(),
        }
    }

    fn put_one(
        &self,
        s: &Session<'_, '_>,
        store: &dyn Store,
        item: &Item,
        nondistributable: graph::Nondistributable,
    ) -> Result<(), Failure> {
        self.check(&item.node.manifest().digest())?;
        let targets = match &self.target {
            Some(target) => vec![target.clone()],
            None => targets(item),
        };
        for target in &targets {
            let to = PushTarget::new(store, target).with_nondistributable(nondistributable);
            let done = push(&item.node, &to, s.run())?;
            for layer in &done.left_out {
                s.console.warn(&left_out(&layer.digest));
            }
        }
        Ok(())
    }

    /// Holds a digest against the one that is written beside the tag.
    fn check(&self, digest: &Digest) -> Result<()> {
        match self.expected {
            Some(expected) if expected != *digest => Err(Error::mismatch(expected, *digest)),
            _ => Ok(()),
        }
    }
}

fn digests(items: &[Item]) -> Vec<Digest> {
    let digests = items.iter().map(|item| item.node.manifest().digest());
    digests.collect()
}

/// What is said of a layer that stayed where it was.
pub fn left_out(layer: &Digest) -> String {
    format!(
        "layer {layer} is not distributable and was not pushed; --allow-nondistributable pushes it"
    )
}

/// The name that is written, and the digest that is demanded beside a tag.
fn asked(place: &Place) -> (Option<Target>, Option<Digest>) {
    match place.tag_and_digest() {
        (Some(tag), digest) => (Some(Target::Tag(tag.clone())), digest),
        (None, Some(digest)) => (Some(Target::Digest(digest)), None),
        (None, None) => (None, None),
    }
}

fn is_stdout(path: &Path) -> bool {
    path == Path::new("-") || path == Path::new("/dev/stdout")
}

/// Looks whether an archive could be written, before anything is fetched.
fn check_file(path: &Path) -> Result<()> {
    let failed = |kind: std::io::ErrorKind| Error::io(path.display().to_string(), kind.into());
    if path.is_dir() {
        return Err(failed(std::io::ErrorKind::IsADirectory));
    }
    match path.parent() {
        Some(folder) if folder != Path::new("") && !folder.is_dir() => {
            Err(failed(std::io::ErrorKind::NotFound))
        }
        _ => Ok(()),
    }
}

/// The items under the name that is written, where one is.
fn renamed(items: &[Item], kind: ArchiveKind, name: Option<&str>) -> Result<Vec<Item>> {
    let mut items = items.to_vec();
    let Some(name) = name else {
        return Ok(items);
    };
    let is_label = kind == ArchiveKind::Oci && name.parse::<dxf_registry::Tag>().is_ok();
    for item in &mut items {
        (item.names, item.labels) = match is_label {
            true => (Vec::new(), vec![name.to_string()]),
            false => (vec![item::name(name)?], Vec::new()),
        };
    }
    Ok(items)
}

/// Writes an archive where `output` is. Files without a name go to the folder of
/// `options`, or to that for temporary files where the archive is streamed.
pub fn write(
    s: &mut Session<'_, '_>,
    items: &[Item],
    output: Output,
    options: WriteOptions<'_>,
) -> Result<(), Failure> {
    let output = written(s, items, output, options)?;
    Ok(output.commit()?)
}

/// The same, with the file still under its temporary name.
fn written(
    s: &mut Session<'_, '_>,
    items: &[Item],
    mut output: Output,
    options: WriteOptions<'_>,
) -> Result<Output, Failure> {
    let run = s.run();
    let name = output.name();
    let out = match output.file() {
        Some(file) => {
            archive::write(items, Out::Open { file, name: &name }, &options, run)?;
            return Ok(output);
        }
        None => Out::Stream(output.writer(s.out)),
    };
    let folder = &s.context.tmpdir;
    archive::write(items, out, &WriteOptions { folder, ..options }, run)?;
    Ok(output)
}

/// Refuses to write a file for engines in which no engine would find an image;
/// `from` names what the items are of.
///
/// # Errors
/// [`Error::Unsupported`] for an alias of blobs, or another artifact.
pub fn must_load(from: impl std::fmt::Display, items: &[Item]) -> Result<()> {
    let mut images = items.iter().flat_map(|item| item.node.images());
    if images.any(|(_, image)| image.is_runnable()) {
        return Ok(());
    }
    let what = format!(
        "{from}: not an image that an engine can load; pull-blob writes the blobs of an alias, \
         and an OCI layout (--format oci, oci:, oci-archive:) takes anything"
    );
    Err(Error::Unsupported { what })
}

/// Adds images to the archive that exists, or writes a new one.
fn add(
    s: &mut Session<'_, '_>,
    items: &[Item],
    path: &Path,
    existing: &Existing,
) -> Result<(), Failure> {
    let items = existing.with(s, items)?;
    let output = Output::open(Some(path), s.interrupt)?;
    let platform = s.context.platform.clone().unwrap_or_else(Platform::host);
    let options = WriteOptions {
        form: Form::Hybrid,
        platform: Some(&platform),
        folder: parent(path),
    };
    let output = written(s, &items, output, options)?;
    existing.is_unchanged()?;
    Ok(output.commit()?)
}
