//! Every byte of a bundle checked against its digest, and which file to fetch again
//! where they differ.

use std::collections::BTreeMap;

use super::file::{self, Joined};
use super::parts::{MAX_TABLE, SUMS};
use super::read::Bundle;
use crate::archive::blob_digest;
use crate::blob::Blob;
use crate::descriptor::Descriptor;
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::file::Section;
use crate::parallel;
use crate::stream::Run;
use crate::tar::Index;

impl Bundle {
    /// Reads every manifest and blob in the bundle, and returns what is wrong, each
    /// error at the file that it is in ([`Error::At`]).
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Stopped`].
    pub fn verify(&self, run: Run<'_>) -> Result<Vec<Error>> {
        let (mut all, mut pieces) = (Vec::new(), Vec::new());
        for index in &self.parts {
            for (name, bytes) in index.files() {
                if let Some(digest) = blob_digest(name) {
                    let blob = blob_of(digest, Joined(vec![bytes.clone()]));
                    all.push((blob, index.what()));
                }
            }
            pieces.extend(members(index)?);
        }
        let mut found = parallel::map(run.jobs, all, run.watch.stop, |(blob, what), stop| {
            wrong(&blob, run.stopped_by(stop)).map(|error| Some(error?.at(what)))
        })?;
        let pieces = parallel::map(run.jobs, pieces, run.watch.stop, |piece, stop| {
            piece.check(run.stopped_by(stop))
        })?;
        let are_right = pieces.iter().all(Option::is_none);
        found.extend(pieces);
        // A piece that is wrong is the reason why the whole is.
        for digest in self.table.iter().flat_map(|table| table.cut.keys()) {
            if let (true, Some(bytes)) = (are_right, self.find(digest)) {
                let error = wrong(&blob_of(*digest, bytes), run)?;
                found.push(error.map(|error| error.at(&self.files_with(digest))));
            }
        }
        Ok(found.into_iter().flatten().collect())
    }

    /// What is wrong with the bytes of a blob of the bundle, at the file that they
    /// are in.
    pub(super) fn damage(&self, blob: &Blob, run: Run<'_>) -> Result<Option<Error>> {
        let digest = blob.digest();
        for index in self.parts.iter().filter(|_| self.is_cut(digest)) {
            let ours = members(index)?.into_iter();
            for piece in ours.filter(|piece| piece.name.contains(&digest.hex())) {
                if let Some(error) = piece.check(run)? {
                    return Ok(Some(error));
                }
            }
        }
        let found = wrong(blob, run)?;
        Ok(found.map(|error| error.at(&self.files_with(digest))))
    }
}

/// A member that no digest names, such as a piece of a blob that is cut.
struct Unnamed<'a> {
    name: String,
    digest: Digest,
    bytes: &'a Section,
    /// The file that it is in.
    what: &'a str,
}

impl Unnamed<'_> {
    /// What is wrong with its bytes.
    fn check(&self, run: Run<'_>) -> Result<Option<Error>> {
        let found = file::sum(self.bytes, run)?;
        let is_wrong = found != self.digest;
        Ok(is_wrong.then(|| Error::mismatch(self.digest, found).at(self.what)))
    }
}

/// The digests in a file of members that no digest names.
pub(super) fn sums(index: &Index) -> Result<BTreeMap<String, Digest>> {
    if index.get(SUMS).is_none() {
        return Ok(BTreeMap::new());
    }
    let sums = index.bytes(SUMS, MAX_TABLE)?;
    serde_json::from_slice(&sums).map_err(|e| index.bad(e))
}

/// Those members.
fn members(index: &Index) -> Result<Vec<Unnamed<'_>>> {
    let member = |(name, digest): (String, Digest)| {
        let (bytes, what) = (index.need(&name)?, index.what());
        Ok(Unnamed {
            name,
            digest,
            bytes,
            what,
        })
    };
    sums(index)?.into_iter().map(member).collect()
}

/// These bytes as a blob.
fn blob_of(digest: Digest, bytes: Joined) -> Blob {
    Blob::new(Descriptor::new("", digest, bytes.len()), bytes)
}

/// What is wrong with the bytes of a blob.
fn wrong(blob: &Blob, run: Run<'_>) -> Result<Option<Error>> {
    match file::check(blob, run) {
        Err(error) if error.is_corrupt() => Ok(Some(error)),
        checked => checked.map(|()| None),
    }
}
