//! Pushing a file in parts: read once to cut and hash it, while the parts that
//! are missing are sent.
//!
//! The digest of the whole is taken beside those of the parts, on a thread of
//! its own. Parts of a file are sent from the file; those of a stream wait in
//! files without a name, one for each transfer at the most. Which parts the
//! store holds is asked before each is sent, so an interrupted push resumes
//! with the missing parts when it is run again.

use std::collections::HashSet;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::artifact::input::{Bytes, FilePart, Input, too_many};
use crate::artifact::{Cuts, Parts, Piece, Split};
use crate::blob::Blob;
use crate::descriptor::Descriptor;
use crate::digest::{Digest, Hasher};
use crate::error::{Error, Result};
use crate::file::{Spool, Stable, spool_name};
use crate::graph::{push_again, push_manifest, send_all};
use crate::manifest::Manifest;
use crate::parallel::{self, Pipe, beside};
use crate::progress::Skipped;
use crate::reference::{Tag, Target};
use crate::store::{Put, Store};
use crate::stream::{BUFFER, Run, Stop, Watch};

/// Buffers on their way to the digest of the whole.
const BUFFERS: usize = 4;

/// A file whose parts are in a store.
pub struct Pushed {
    parts: Parts,
    file: Option<Arc<Stable>>,
    /// Those that the store claims to have, which can be sent after all.
    doubtful: Vec<Blob>,
}

/// A part on its way.
struct Job {
    descriptor: Descriptor,
    /// Nothing where the same part came before.
    blob: Option<Blob>,
}

/// Stores `input` in parts, as `split` cuts it. Progress hears of every part,
/// also of those that existed.
///
/// # Errors
/// [`Error::Invalid`] for more than [`Parts::MOST`] parts, before anything is
/// sent where the size is known; [`Error::Unsupported`] when a file changes
/// meanwhile; [`Error::Io`], the store's own.
///
/// ```
/// use dxf_registry::artifact::{self, Input, Parts, Split};
/// use dxf_registry::stream::{Run, Stop, Watch};
/// use dxf_registry::{ReadStore, layout::Layouts};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let folder = tempfile::tempdir()?;
/// let store = Layouts::new(folder.path()).repository(&"team/data".parse()?);
/// let stop = Stop::new();
/// let run = Run::new(4, Watch::new(&(), &stop));
///
/// let mut bytes = &b"hello world"[..];
/// let input = Input::stream("greeting", &mut bytes, folder.path());
/// let pushed = artifact::push(&store, input, Split::every(4)?, run)?;
/// pushed.tag(&store, &"v1".parse()?, run)?;
///
/// let manifest = store.manifest(&"v1".parse()?)?;
/// let parts = Parts::of(&manifest)?.expect("a file in parts");
/// assert_eq!((parts.size, parts.parts.len()), (11, 3));
/// # Ok(())
/// # }
/// ```
pub fn push(store: &dyn Store, input: Input<'_>, split: Split, run: Run<'_>) -> Result<Pushed> {
    input.fits(split)?;
    let Input { what, name, bytes } = input;
    let (file, reader, folder): (_, Box<dyn Read + Send>, _) = match bytes {
        // Bytes after its length were appended meanwhile.
        Bytes::File(file) => {
            let reader = file.whole().reader(0);
            (Some(file), Box::new(reader), None)
        }
        Bytes::Stream(from, folder) => (None, Box::new(from), Some(folder)),
    };
    let whole = Whole::new();
    let mut feed = Feed {
        cuts: Cuts::new(what, reader, split),
        split,
        whole: &whole,
        file: file.clone(),
        folder,
        seen: HashSet::new(),
        count: 0,
    };
    let (digest, sent) = beside(
        || whole.digest(),
        || {
            let _end = whole.full.closing();
            let next = |stop: &Stop| feed.next(stop);
            let work = |job, stop: &Stop| send(store, job, run.stopped_by(stop).watch);
            parallel::gather(run.jobs, run.watch.stop, next, work)
        },
    );
    // Whatever a store said about bytes that are not those hashed.
    if let Some(file) = &file {
        run.watch.stop.check()?;
        file.check()?;
    }
    let (parts, doubtful): (Vec<_>, Vec<_>) = sent?.into_iter().unzip();
    let parts = Parts {
        name,
        size: feed.cuts.offset(),
        digest,
        split: Some(split),
        parts,
    };
    // The bytes of a stream are gone; those of a file can be read again.
    let doubtful = doubtful.into_iter().flatten().filter(|_| file.is_some());
    Ok(Pushed {
        parts,
        doubtful: doubtful.collect(),
        file,
    })
}

/// Stores one part; returns it if the store reports that it existed.
fn send(store: &dyn Store, job: Job, watch: Watch<'_>) -> Result<(Descriptor, Option<Blob>)> {
    let Job { descriptor, blob } = job;
    let Some(blob) = blob else {
        let (digest, size) = (&descriptor.digest, descriptor.size);
        watch.progress.skip(digest, size, Skipped::Existed);
        return Ok((descriptor, None));
    };
    let existed = store.put_blob(&blob, watch)? == Put::Existed;
    Ok((descriptor, existed.then_some(blob)))
}

/// Makes jobs of what is read.
struct Feed<'a> {
    cuts: Cuts<Box<dyn Read + Send + 'a>>,
    split: Split,
    whole: &'a Whole,
    file: Option<Arc<Stable>>,
    /// Where the parts of a stream wait.
    folder: Option<PathBuf>,
    seen: HashSet<Digest>,
    count: u64,
}

impl Feed<'_> {
    fn next(&mut self, stop: &Stop) -> Result<Option<Job>> {
        let mut spool = None;
        let (whole, folder) = (self.whole, self.folder.as_deref());
        let mut sink = |bytes: &[u8]| {
            whole.feed(bytes)?;
            match folder {
                Some(folder) => set_aside(&mut spool, folder, bytes),
                None => Ok(()),
            }
        };
        let Some(piece) = self.cuts.next(stop, &mut sink)? else {
            return Ok(None);
        };
        self.count += 1;
        if self.count > Parts::MOST {
            let advice = "use larger parts".to_string();
            return Err(too_many(self.split, "one more".into(), advice));
        }
        let fresh = self.seen.insert(piece.descriptor.digest);
        let blob = fresh.then(|| self.blob(&piece, spool));
        Ok(Some(Job {
            descriptor: piece.descriptor,
            blob,
        }))
    }

    fn blob(&self, piece: &Piece, spool: Option<Spool>) -> Blob {
        let descriptor = piece.descriptor.clone();
        match (&self.file, spool) {
            (Some(file), _) => {
                let section = file.section(piece.offset, descriptor.size);
                Blob::new(descriptor, FilePart(file.clone(), section))
            }
            (None, Some(spool)) => Blob::new(descriptor, spool.finish()),
            // Nothing came, so nothing was set aside.
            (None, None) => Blob::bytes(&descriptor.media_type, Vec::new()),
        }
    }
}

/// Writes to the file that `spool` is, made with the first bytes.
fn set_aside(spool: &mut Option<Spool>, folder: &Path, bytes: &[u8]) -> Result<()> {
    let spool = match spool {
        Some(spool) => spool,
        none => none.insert(Spool::new(folder)?),
    };
    let written = spool.write_all(bytes);
    written.map_err(|e| Error::io(spool_name(folder), e))
}

/// The digest of everything, taken on a thread of its own.
struct Whole {
    full: Pipe<Vec<u8>>,
    free: Pipe<Vec<u8>>,
}

impl Whole {
    fn new() -> Whole {
        let (full, free) = (Pipe::new(BUFFERS), Pipe::new(BUFFERS));
        for _ in 0..BUFFERS {
            // There is room for all of them.
            let _ = free.send(Vec::with_capacity(BUFFER));
        }
        Whole { full, free }
    }

    fn feed(&self, bytes: &[u8]) -> Result<()> {
        // Neither pipe is closed while a writer feeds it.
        let mut buffer: Vec<u8> = self.free.receive().ok_or(Error::Stopped)?;
        buffer.clear();
        buffer.extend_from_slice(bytes);
        self.full.send(buffer).map_err(|_| Error::Stopped)
    }

    /// Hashes until the end.
    fn digest(&self) -> Digest {
        let mut hasher = Hasher::new();
        while let Some(buffer) = self.full.receive() {
            hasher.update(&buffer);
            let _ = self.free.send(buffer);
        }
        hasher.finish()
    }
}

impl Pushed {
    /// The file, and its parts.
    pub fn parts(&self) -> &Parts {
        &self.parts
    }

    /// Points an alias at the file.
    ///
    /// Parts that the store claims to contain, and then denies when the manifest
    /// comes, are sent whatever it claims; those of a stream are gone.
    ///
    /// # Errors
    /// Those of [`Parts::manifest`], the store's own.
    pub fn tag(&self, store: &dyn Store, tag: &Tag, run: Run<'_>) -> Result<Manifest> {
        run.watch.stop.check()?;
        let manifest = self.parts.manifest()?;
        let silent = Watch::new(&(), run.watch.stop);
        store.put_blob(&Parts::config(), silent)?;
        let target = Target::Tag(tag.clone());
        let again: Vec<&Blob> = self.doubtful.iter().collect();
        push_again(
            || push_manifest(store, &manifest, &target, None),
            || {
                if self.file.is_none() {
                    return Ok(false);
                }
                store.send_blob(&Parts::config(), silent)?;
                send_all(store, &again, run)?;
                Ok(true)
            },
        )?;
        Ok(manifest)
    }
}
