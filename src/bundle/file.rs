//! A bundle in a file: several blobs are fetched at once, each to its place,
//! and what an earlier run left is used.
//!
//! The header of a blob is written after its bytes. A blob without a header was
//! not complete; one with a header is hashed before it counts.

use std::cmp::Reverse;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use crate::archive::{At, Content, Member, header, plus, send};
use crate::blob::Blob;
use crate::digest::Verify;
use crate::error::{Error, Result};
use crate::fetch::Partial;
use crate::file::Section;
use crate::parallel;
use crate::stream::{Buffer, CopyError, Run, copy};
use crate::tar;

/// A member, and where its header begins.
struct Placed<'a> {
    member: &'a Member,
    header: Vec<u8>,
    at: u64,
}

impl Placed<'_> {
    /// Where the content begins.
    fn content(&self) -> u64 {
        self.at.saturating_add(self.header.len() as u64)
    }
}

/// Writes a tar of these members to the file at `path`.
pub(super) fn write(members: &[Member], path: &Path, run: Run<'_>) -> Result<()> {
    let (placed, end) = placed(members)?;
    let partial = Partial::open(path)?;
    let failed = |e| partial.failed(e);
    let file = Arc::new(partial.file().try_clone().map_err(failed)?);
    // Another plan puts blobs to other places.
    let is_ours = placed.first().is_some_and(|first| is_there(&file, first));
    if !is_ours {
        file.set_len(0).map_err(failed)?;
    }
    // Padding and end are zeros, which is what a file has where nothing is.
    file.set_len(end).map_err(failed)?;
    let mut blobs = Vec::new();
    for one in placed.iter().rev() {
        match &one.member.content {
            Content::Blob(blob) => blobs.push((&**blob, one)),
            Content::Bytes(bytes) => file
                .write_all_at(bytes, one.content())
                .and_then(|()| file.write_all_at(&one.header, one.at))
                .map_err(failed)?,
        }
    }
    // The largest first: the last to be begun is then a small one.
    blobs.sort_by_key(|(blob, _)| Reverse(blob.size()));
    let what = path.display().to_string();
    let done = parallel::for_each(run.jobs, blobs, run.watch.stop, |(blob, one), stop| {
        put(blob, one, (&file, &what), run.stopped_by(stop))
    });
    done.and_then(|()| run.watch.stop.check())?;
    partial.commit()
}

/// Where each member goes, and where the tar ends.
fn placed(members: &[Member]) -> Result<(Vec<Placed<'_>>, u64)> {
    let (mut at, mut placed) = (0, Vec::with_capacity(members.len()));
    for member in members {
        let size = member.content.size();
        let header = header(&member.name, size)?;
        let one = Placed { member, header, at };
        at = plus(plus(one.content(), size)?, tar::padding(size) as u64)?;
        placed.push(one);
    }
    Ok((placed, plus(at, tar::END.len() as u64)?))
}

/// Whether `file` has this header, and this content where it is known.
fn is_there(file: &File, one: &Placed<'_>) -> bool {
    let same = |bytes: &[u8], at: u64| {
        let mut found = vec![0; bytes.len()];
        file.read_exact_at(&mut found, at).is_ok() && found == bytes
    };
    let content = match &one.member.content {
        Content::Bytes(bytes) => same(bytes, one.content()),
        Content::Blob(_) => true,
    };
    content && same(&one.header, one.at)
}

/// Fetches a blob to its place, unless it is there.
fn put(
    blob: &Blob,
    one: &Placed<'_>,
    (file, what): (&Arc<File>, &str),
    run: Run<'_>,
) -> Result<()> {
    let failed = |e| Error::io(what, e);
    if is_there(file, one) {
        let bytes = Section::new(file.clone(), one.content(), blob.size());
        match check(&Blob::new(blob.descriptor().clone(), bytes), run) {
            Err(error) if error.is_corrupt() => {}
            checked => return checked,
        }
        let nothing = vec![0; one.header.len()];
        file.write_all_at(&nothing, one.at).map_err(failed)?;
    }
    let at = one.content();
    send(blob, &mut At { file, at }, what, run)?;
    file.write_all_at(&one.header, one.at).map_err(failed)
}

/// Reads all of a blob.
///
/// # Errors
/// [`Error::Mismatch`] and [`Error::Size`] for wrong bytes; those of its source.
pub(super) fn check(blob: &Blob, run: Run<'_>) -> Result<()> {
    let (digest, watch) = (*blob.digest(), run.watch);
    watch.progress.start(&digest, Some(blob.size()));
    let verified = Verify::new(blob.open(0)?, digest, Some(blob.size()));
    let mut reader = watch.reader(digest, verified);
    copy(&mut reader, &mut std::io::sink(), &mut Buffer::new()).map_err(|e| match e {
        CopyError::Read(e) | CopyError::Write(e) => Error::io(digest.to_string(), e),
    })?;
    watch.progress.finish(&digest);
    Ok(())
}
