//! `pull-blob`: blobs to a file or to standard output, whole or in part.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use dxf_registry::alias::{self, ByPlatform};
use dxf_registry::artifact::{Base, Parts};
use dxf_registry::digest::{Digest, Hasher};
use dxf_registry::fetch::{self, BlobRef, ByteRange, Reader, Sequence, Sink};
use dxf_registry::stream::{Buffer, copy};
use dxf_registry::{Error, Manifest, ReadStore, Result, Target, json};
use serde_json::Value;

use crate::cli::args::{self, PullBlob, Selector};
use crate::cli::exit::Failure;
use crate::cli::out::file::{Output, is_plain};
use crate::cli::out::json::digests;
use crate::cli::session::{Session, blob_size};

/// A piece of what `pull-blob` writes.
enum Piece {
    /// Blobs, and the file that they are, where they are the parts of one.
    Row(Sequence, Option<Parts>),
    /// The digests of each platform, which python-dxf prints instead.
    List(Value),
}

/// `pull-blob [-o FILE] [--base OLDFILE | --range A-B] <repo> [<digest>|@alias …]`
pub fn run(s: &mut Session<'_, '_>, args: &PullBlob) -> Result<(), Failure> {
    let (repo, rest) = s.repo(&args.words, 0, usize::MAX)?;
    let selectors = args::selectors(rest)?;
    let range = args.range.as_deref().map(str::parse).transpose()?;
    let old = args.base.as_deref().map(opened).transpose()?;
    let store = s.store(repo)?;
    let pieces = pieces(s, &*store, &selectors)?;
    let file = args.output.as_deref();
    if let Some(range) = range {
        return part(s, &*store, &rows(pieces)?, range, file);
    }
    let Some(old) = old else {
        return whole(s, &*store, pieces, file);
    };
    let base = {
        let [Piece::Row(_, Some(parts))] = &pieces[..] else {
            return Err(args::usage(
                "--base works only with one alias that push-blob --split made",
            ));
        };
        Base::new(&*store, parts, old.0, old.1, s.interrupt.stop())?
    };
    whole(s, &base, pieces, file)
}

/// The file at `path`, to be read: an error comes before any request.
fn opened(path: &Path) -> Result<(&Path, File)> {
    let what = || path.display().to_string();
    let file = File::open(path).map_err(|e| Error::io(what(), e))?;
    let meta = file.metadata().map_err(|e| Error::io(what(), e))?;
    match meta.is_file() {
        true => Ok((path, file)),
        false => Err(Error::Unsupported {
            what: format!("{}: not a regular file", what()),
        }),
    }
}

/// Writes all of `pieces`, verified.
fn whole(
    s: &mut Session<'_, '_>,
    store: &dyn ReadStore,
    pieces: Vec<Piece>,
    file: Option<&Path>,
) -> Result<(), Failure> {
    if let Some(path) = file.filter(|path| is_plain(path) && !s.context.blob_info) {
        let rows = rows(pieces)?;
        s.interrupt.keep();
        fetch::into_file(store, &rows, path, s.run())?;
        return Ok(());
    }
    let mut output = Output::open(file, s.interrupt)?;
    if !output.is_stdout() {
        only_blobs(&pieces)?;
    }
    let mut row = Vec::new();
    for piece in pieces {
        match piece {
            Piece::Row(joined, _) => row.push(joined),
            Piece::List(digests) => {
                stream(s, store, std::mem::take(&mut row), &mut output)?;
                s.line(json::python(&digests))?;
            }
        }
    }
    stream(s, store, row, &mut output)?;
    Ok(output.commit()?)
}

/// Writes blobs, concatenated.
fn stream(
    s: &mut Session<'_, '_>,
    store: &dyn ReadStore,
    row: Vec<Sequence>,
    output: &mut Output,
) -> Result<(), Failure> {
    // Who wants something before each blob gets one at a time.
    if s.context.blob_info {
        return row
            .into_iter()
            .try_for_each(|joined| singly(s, store, joined, output));
    }
    let (run, name) = (s.run(), output.name());
    let to = Sink::new(&name, output.writer(s.out)).with_folder(&s.context.tmpdir);
    fetch::into_writer(store, &row, to, run)?;
    Ok(())
}

/// Writes some bytes of `row`, which cannot be verified.
fn part(
    s: &mut Session<'_, '_>,
    store: &dyn ReadStore,
    row: &[Sequence],
    range: ByteRange,
    file: Option<&Path>,
) -> Result<(), Failure> {
    let reader = Reader::new(store, row)?;
    let range = range.within(reader.size())?;
    let digest = row.iter().flat_map(|row| &row.blobs).next();
    let Some(BlobRef { digest, .. }) = digest.copied() else {
        return Ok(());
    };
    let mut output = Output::open(file, s.interrupt)?;
    let watch = s.watch();
    watch.progress.start(&digest, Some(range.end - range.start));
    let (name, mut from) = (output.name(), watch.reader(digest, reader.range(range)));
    let copied = copy(&mut from, output.writer(s.out), &mut Buffer::new());
    copied.map_err(|e| e.naming(digest.to_string(), &name))?;
    watch.progress.finish(&digest);
    output.commit()?;
    s.console
        .line("dxf: pull-blob: range not verified: digests cover whole blobs");
    Ok(())
}

/// What `selectors` stand for; all of it is known before a byte is written.
fn pieces(
    s: &mut Session<'_, '_>,
    store: &dyn ReadStore,
    selectors: &[Selector],
) -> Result<Vec<Piece>> {
    if selectors.is_empty() {
        let found = s.stdin_manifest(store)?;
        return Ok(vec![piece("the manifest on standard input", found)?]);
    }
    let one = |selector: &Selector| match selector {
        Selector::Blob(digest) => {
            let (digest, size) = (*digest, None);
            Ok(Piece::Row(BlobRef { digest, size }.into(), None))
        }
        Selector::Alias(target) => piece(&called(target), s.resolve(store, target)?),
    };
    selectors.iter().map(one).collect()
}

/// An alias as it is written on the command line.
fn called(target: &Target) -> String {
    format!("@{target}")
}

fn piece(name: &str, found: ByPlatform<Manifest>) -> Result<Piece> {
    if let ByPlatform::One(manifest) = &found
        && let Some(parts) = Parts::of(manifest)?
    {
        return Ok(Piece::Row(parts.joined(name), Some(parts)));
    }
    Ok(match found.try_map(|manifest| alias::blobs(&manifest))? {
        ByPlatform::One(blobs) => {
            let wanted = blobs.iter().map(|blob| BlobRef {
                digest: blob.digest,
                size: Some(blob.size),
            });
            let (blobs, whole) = (wanted.collect(), None);
            Piece::Row(Sequence { blobs, whole }, None)
        }
        ByPlatform::Each(each) => {
            let members = each
                .iter()
                .map(|(name, blobs)| (name.clone(), digests(blobs)));
            Piece::List(Value::Object(members.collect()))
        }
    })
}

/// The blobs of `pieces`, where there is nothing else.
fn rows(pieces: Vec<Piece>) -> Result<Vec<Sequence>> {
    only_blobs(&pieces)?;
    let row = |piece| match piece {
        Piece::Row(row, _) => Some(row),
        Piece::List(_) => None,
    };
    Ok(pieces.into_iter().filter_map(row).collect())
}

/// A list of platforms is for a person or a script to choose from, not for a
/// file of bytes.
fn only_blobs(pieces: &[Piece]) -> Result<()> {
    let list = pieces.iter().find_map(|piece| match piece {
        Piece::Row(..) => None,
        Piece::List(each) => Some(each),
    });
    let Some(each) = list else { return Ok(()) };
    let names = each.as_object().into_iter().flat_map(|each| each.keys());
    let names: Vec<&str> = names.map(String::as_str).collect();
    let what = format!(
        "the alias is for several platforms; set DXF_PLATFORM to one of: {}",
        names.join(", ")
    );
    Err(Error::Unsupported { what })
}

/// Writes one blob after the other, and checks the file that they are.
fn singly(
    s: &mut Session<'_, '_>,
    store: &dyn ReadStore,
    Sequence { blobs, whole }: Sequence,
    output: &mut Output,
) -> Result<(), Failure> {
    let mut hasher = whole.as_ref().map(|whole| Hasher::like(&whole.digest));
    for wanted in blobs {
        one(s, store, wanted, hasher.as_mut(), output)?;
    }
    match whole.zip(hasher) {
        Some((whole, hasher)) => Ok(verdict(whole.digest, hasher.finish())?),
        None => Ok(()),
    }
}

fn verdict(expected: Digest, actual: Digest) -> Result<()> {
    match actual == expected {
        true => Ok(()),
        false => Err(Error::mismatch(expected, actual)),
    }
}

/// Writes one blob, verified; python-dxf's header first on request.
fn one(
    s: &mut Session<'_, '_>,
    store: &dyn ReadStore,
    wanted: BlobRef,
    whole: Option<&mut Hasher>,
    output: &mut Output,
) -> Result<(), Failure> {
    let mut content = store.open_blob(&wanted.digest, 0)?;
    let name = output.name();
    if s.context.blob_info {
        let size = match wanted.size.or(content.size) {
            Some(size) => size,
            None => blob_size(store, &wanted.digest)?,
        };
        let header = format!("{} {size}\n", wanted.digest);
        let written = output.writer(s.out).write_all(header.as_bytes());
        written.map_err(|e| Error::io(&name, e))?;
    }
    content.reader = Box::new(Hashed {
        from: content.reader,
        whole,
    });
    let watch = s.watch();
    fetch::write(
        content,
        wanted,
        Sink::new(&name, output.writer(s.out)),
        watch,
    )?;
    Ok(())
}

/// A part of a file, which is hashed too.
struct Hashed<'a, R> {
    from: R,
    /// The hash of the file that this is a part of.
    whole: Option<&'a mut Hasher>,
}

impl<R: Read> Read for Hashed<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.from.read(buffer)?;
        if let Some(whole) = &mut self.whole {
            whole.update(&buffer[..n]);
        }
        Ok(n)
    }
}
