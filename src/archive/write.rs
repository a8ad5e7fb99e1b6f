//! Writing archives: to a file at offsets known beforehand, several blobs at
//! once; to a pipe one after the other. What does not match its digest fails,
//! and a file that fails was never there.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;

use serde_json::json;

use super::Item;
use super::docker::LIST;
use super::plan::{self, Content, Member};
use crate::blob::Blob;
use crate::digest::{Digest, Hasher};
use crate::error::{Error, Result};
use crate::file::{self, Aside, Section, Spool, spool_name};
use crate::image::{Image, layer};
use crate::parallel;
use crate::platform::Platform;
use crate::stream::{Buffer, Run, copy};
use crate::tar::{self, Dialect, Entry};

/// What kind of archive is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Form {
    /// Docker-archive and OCI layout at once, every byte as it came.
    Hybrid,
    /// Docker-archive with layers that are not compressed, for engines and
    /// tools that take no others. Of an index, one image.
    Docker,
}

/// Where an archive goes.
#[non_exhaustive]
pub enum Out<'a> {
    /// To a file, which is replaced when all is done.
    File(&'a Path),
    /// To a file that is open and empty, and that the caller brings to the disk
    /// and gives its name.
    Open {
        /// The file.
        file: &'a File,
        /// What to call it in errors.
        name: &'a str,
    },
    /// To a pipe.
    Stream(&'a mut (dyn Write + Send)),
}

/// How an archive is written.
#[derive(Clone, Copy)]
pub struct WriteOptions<'a> {
    /// What kind of archive.
    pub form: Form,
    /// Which image of an index gets its names in Docker's list; without one,
    /// or where none fits, the first.
    pub platform: Option<&'a Platform>,
    /// The folder for layers that are decompressed; those for [`Out::File`] are
    /// written beside it.
    pub folder: &'a Path,
}

/// Writes images to an archive. The same images give the same bytes.
///
/// # Errors
/// [`Error::Mismatch`], [`Error::Size`], [`Error::Malformed`] for content that
/// does not match its description, [`Error::Unsupported`] for what the format can't express,
/// those of the blobs' sources, [`Error::Io`], [`Error::Stopped`]. Then no new
/// file is left, and an existing file is untouched.
pub fn write(
    items: &[Item],
    out: Out<'_>,
    settings: &WriteOptions<'_>,
    run: Run<'_>,
) -> Result<()> {
    let path = match out {
        Out::Stream(to) => return write_stream(items, to, settings, run),
        Out::Open { file, name } => return fill(items, file, name, settings, run),
        Out::File(path) => path,
    };
    let what = path.display().to_string();
    match fs::metadata(path) {
        Ok(meta) if meta.is_dir() => {
            return Err(Error::io(what, io::ErrorKind::IsADirectory.into()));
        }
        // A pipe or a device is written to, not replaced.
        Ok(meta) if !meta.is_file() => {
            let mut to = File::options()
                .write(true)
                .open(path)
                .map_err(|e| Error::io(what, e))?;
            return write_stream(items, &mut to, settings, run);
        }
        _ => {}
    }
    write_file(items, path, settings, run)
}

fn write_file(
    items: &[Item],
    path: &Path,
    settings: &WriteOptions<'_>,
    run: Run<'_>,
) -> Result<()> {
    let failed = |e| Error::io(path.display().to_string(), e);
    let aside = Aside::beside(path).map_err(failed)?;
    let what = aside.target().display().to_string();
    let settings = WriteOptions {
        folder: file::parent(aside.target()),
        ..*settings
    };
    fill(items, aside.file(), &what, &settings, run)?;
    aside.commit().map_err(failed)
}

/// Writes a whole archive into an open file.
fn fill(
    items: &[Item],
    file: &File,
    what: &str,
    settings: &WriteOptions<'_>,
    run: Run<'_>,
) -> Result<()> {
    match settings.form {
        Form::Hybrid => {
            let members = plan::hybrid(items, settings.platform)?;
            at_offsets(&members, file, what, run)?;
        }
        Form::Docker => unpacked(items, &mut &*file, settings, run)?,
    }
    run.watch.stop.check()
}

/// Writes every member at its place, the largest first: the last to be begun
/// is then a small one.
fn at_offsets(members: &[Member], file: &File, what: &str, run: Run<'_>) -> Result<()> {
    let failed = |e| Error::io(what, e);
    let (mut at, mut blobs) = (0, Vec::new());
    for member in members {
        let header = header(&member.name, member.content.size())?;
        file.write_all_at(&header, at).map_err(failed)?;
        at = plus(at, header.len() as u64)?;
        match &member.content {
            Content::Bytes(bytes) => file.write_all_at(bytes, at).map_err(failed)?,
            Content::Blob(blob) => blobs.push((blob, at)),
        }
        let size = member.content.size();
        at = plus(plus(at, size)?, tar::padding(size) as u64)?;
    }
    // Padding and end are zeros, which is what a file has where nothing is.
    file.set_len(plus(at, tar::END.len() as u64)?)
        .map_err(failed)?;
    blobs.sort_by_key(|(blob, _)| std::cmp::Reverse(blob.size()));
    parallel::for_each(run.jobs, blobs, run.watch.stop, |(blob, at), stop| {
        let mut to = At { file, at };
        send(blob, &mut to, what, run.stopped_by(stop))
    })
}

/// The sum of two offsets in a file.
pub(crate) fn plus(a: u64, b: u64) -> Result<u64> {
    a.checked_add(b)
        .filter(|sum| i64::try_from(*sum).is_ok())
        .ok_or_else(|| Error::malformed("manifest", "the total size overflows 64 bits"))
}

/// A writer into the middle of a file.
struct At<'a> {
    file: &'a File,
    at: u64,
}

impl Write for At<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = self.file.write_at(bytes, self.at)?;
        self.at += n as u64;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A blob, verified: never a byte more than announced, and no end before.
fn send(blob: &Blob, to: &mut dyn Write, what: &str, run: Run<'_>) -> Result<()> {
    let (digest, watch) = (*blob.digest(), run.watch);
    watch.progress.start(&digest, Some(blob.size()));
    let mut reader = watch.reader(digest, blob.verified()?);
    let copied = copy(&mut reader, to, &mut Buffer::new());
    copied.map_err(|e| e.naming(digest.to_string(), what))?;
    watch.progress.finish(&digest);
    Ok(())
}

fn write_stream(
    items: &[Item],
    to: &mut (dyn Write + Send),
    settings: &WriteOptions<'_>,
    run: Run<'_>,
) -> Result<()> {
    const WHAT: &str = "output";
    match settings.form {
        Form::Hybrid => {
            let members = plan::hybrid(items, settings.platform)?;
            return write_members(&members, WHAT, to, run);
        }
        Form::Docker => unpacked(items, to, settings, run)?,
    }
    to.flush().map_err(|e| Error::io(WHAT, e))
}

/// Writes a tar of these members, in order, to a pipe that `what` names in
/// errors.
pub(crate) fn write_members(
    members: &[Member],
    what: &str,
    to: &mut (dyn Write + Send),
    run: Run<'_>,
) -> Result<()> {
    let failed = |e| Error::io(what, e);
    for member in members {
        let size = member.content.size();
        to.write_all(&header(&member.name, size)?).map_err(failed)?;
        match &member.content {
            Content::Bytes(bytes) => to.write_all(bytes).map_err(failed)?,
            Content::Blob(blob) => send(blob, to, what, run)?,
        }
        to.write_all(&tar::END[..tar::padding(size)])
            .map_err(failed)?;
    }
    to.write_all(&tar::END).map_err(failed)?;
    to.flush().map_err(failed)
}

/// Docker's own format. How large a layer is without compression is known
/// only at its end, and a header comes first, so each is set aside in a
/// nameless file: several are fetched and decompressed at once, and written in
/// their order.
fn unpacked(
    items: &[Item],
    to: &mut (dyn Write + Send),
    settings: &WriteOptions<'_>,
    run: Run<'_>,
) -> Result<()> {
    const WHAT: &str = "archive";
    let (mut list, mut layers, mut seen) = (Vec::new(), Vec::new(), HashSet::new());
    for item in items {
        let image = plan::one_image(item, settings.platform)?;
        let (config, diff_ids) = parts(image)?;
        let name = format!("{}.json", image.config_blob().digest().hex());
        if seen.insert(name.clone()) {
            member(to, &name, &mut &config[..], config.len() as u64)?;
        }
        let files: Vec<_> = diff_ids.iter().map(layer_name).collect();
        list.push(json!({"Config": name, "RepoTags": plan::repo_tags(item), "Layers": files}));
        for (blob, diff_id) in image.layers().iter().zip(diff_ids) {
            if seen.insert(layer_name(&diff_id)) {
                layers.push((blob, diff_id));
            }
        }
    }
    let mut layers = layers.into_iter();
    parallel::in_order(
        run.jobs,
        run.watch.stop,
        || Ok(layers.next()),
        |(blob, diff_id), stop| {
            let bytes = unpack(blob, diff_id, settings.folder, run.stopped_by(stop))?;
            Ok((layer_name(&diff_id), bytes))
        },
        |(name, bytes)| member(to, &name, &mut bytes.reader(0), bytes.len()),
    )?;
    let list = serde_json::Value::Array(list).to_string();
    member(to, LIST, &mut list.as_bytes(), list.len() as u64)?;
    to.write_all(&tar::END).map_err(|e| Error::io(WHAT, e))
}

fn layer_name(diff_id: &Digest) -> String {
    format!("{}/layer.tar", diff_id.hex())
}

fn parts(image: &Image) -> Result<(Vec<u8>, Vec<Digest>)> {
    let config = image.config_blob().read(crate::image::config::MAX_SIZE)?;
    let diff_ids = crate::image::Config::parse(&config)?.diff_ids()?;
    if diff_ids.len() != image.layers().len() {
        let why = format!(
            "{} diff ids for {} layers",
            diff_ids.len(),
            image.layers().len()
        );
        return Err(Error::malformed("config", why));
    }
    Ok((config, diff_ids))
}

/// A layer without its compression, proven to be what the config says.
fn unpack(blob: &Blob, diff_id: Digest, folder: &Path, run: Run<'_>) -> Result<Section> {
    run.watch.progress.start(blob.digest(), Some(blob.size()));
    let (mut spool, mut hasher) = (Spool::new(folder)?, Hasher::like(&diff_id));
    let mut plain = layer::open(blob, run.watch)?;
    let mut tee = Tee(&mut spool, &mut hasher);
    let copied = copy(&mut plain, &mut tee, &mut Buffer::new());
    copied.map_err(|e| e.naming(blob.digest().to_string(), spool_name(folder)))?;
    let found = hasher.finish();
    if found != diff_id {
        return Err(Error::mismatch(diff_id, found));
    }
    run.watch.progress.finish(blob.digest());
    Ok(spool.finish())
}

struct Tee<'a>(&'a mut Spool, &'a mut Hasher);

impl Write for Tee<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = self.0.write(bytes)?;
        self.1.update(&bytes[..n]);
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The header of a file anyone may read, as skopeo and crane write them.
pub(crate) fn header(name: &str, size: u64) -> Result<Vec<u8>> {
    tar::header(&Entry::file(name, size), Dialect::Gnu)
}

fn member(
    to: &mut (dyn Write + Send),
    name: &str,
    content: &mut dyn io::Read,
    size: u64,
) -> Result<()> {
    let failed = |e| Error::io("archive", e);
    to.write_all(&header(name, size)?).map_err(failed)?;
    let copied = copy(content, to, &mut Buffer::new());
    copied.map_err(|e| Error::io(name, e.into_io()))?;
    to.write_all(&tar::END[..tar::padding(size)])
        .map_err(failed)
}
