//! Files and archives of folders that are kept as several layers, because a
//! registry's largest blob is smaller than they are.
//!
//! The parts of a file are consecutive layers of the type
//! `application/octet-stream`. Each has a name of its own (`NAME.part0001`), which
//! is what other tools write, and the digest of the file in
//! `vnd.dxf.content.digest`. The first one also has the descriptor that the file
//! would have as one layer, with all its annotations, in `vnd.dxf.content+json`.

use std::collections::BTreeMap;

use super::{TITLE, WHOLE};
use crate::artifact::{Cuts, PARTS_DIGEST, PARTS_SPLIT, Parts, Piece, Split};
use crate::blob::{Blob, SourceRange};
use crate::descriptor::{Descriptor, media_type};
use crate::digest::Hasher;
use crate::error::{Error, Result};
use crate::fetch::{BlobRef, Sequence, SplitFile};
use crate::graph::JoinedFile;
use crate::image::MAX_LAYERS;
use crate::manifest::Manifest;
use crate::stream::Stop;

/// A source that was read once, cut and hashed.
pub(super) struct Cut {
    /// All of it, as one blob.
    pub whole: Blob,
    split: Split,
    pieces: Vec<Piece>,
}

impl Cut {
    /// Cuts the bytes of `from`, which errors call `what`.
    ///
    /// # Errors
    /// [`Error::Invalid`] for more parts than a manifest may list;
    /// [`Error::Io`], [`Error::Stopped`].
    pub fn new(what: &str, from: SourceRange, split: Split, stop: &Stop) -> Result<Cut> {
        let SourceRange {
            source, len: size, ..
        } = from;
        if !split.is_content() {
            must_fit(split, size.div_ceil(split.size()), Some(size))?;
        }
        let mut hasher = Hasher::new();
        let mut pieces = Vec::new();
        let mut cuts = Cuts::new(what, source.open(0)?, split);
        let mut sink = |bytes: &[u8]| {
            hasher.update(bytes);
            Ok(())
        };
        while let Some(piece) = cuts.next(stop, &mut sink)? {
            pieces.push(piece);
            must_fit(split, pieces.len() as u64, Some(size))?;
        }
        let size = cuts.offset();
        drop(cuts);
        let descriptor = Descriptor::new(media_type::OCTET_STREAM, hasher.finish(), size);
        let whole = SourceRange {
            source,
            start: 0,
            len: size,
        };
        Ok(Cut {
            whole: Blob::new(descriptor, whole),
            split,
            pieces,
        })
    }

    /// The layers for it, where `whole` is what it would be as one: that, or its
    /// parts.
    pub fn layers(&self, whole: &Blob) -> Vec<Blob> {
        if self.pieces.len() <= 1 {
            return vec![whole.clone()];
        }
        let title = whole.descriptor().annotations.get(TITLE);
        let title = title.map_or("", String::as_str);
        let parts = self.pieces.iter().enumerate().map(|(i, piece)| {
            let mut said = BTreeMap::from([
                (TITLE.to_string(), format!("{title}.part{:04}", i + 1)),
                (PARTS_DIGEST.to_string(), whole.digest().to_string()),
            ]);
            if i == 0 {
                let descriptor = serde_json::Value::from(whole.descriptor());
                said.insert(WHOLE.to_string(), descriptor.to_string());
                said.insert(PARTS_SPLIT.to_string(), self.split.to_string());
            }
            let source = SourceRange {
                source: whole.source(),
                start: piece.offset,
                len: piece.descriptor.size,
            };
            Blob::new(piece.descriptor.clone(), source).with_annotations(said)
        });
        parts.collect()
    }
}

/// Refuses more layers than a manifest may list. Of one file the size is given.
pub(super) fn must_fit(split: Split, count: u64, size: Option<u64>) -> Result<()> {
    let most = MAX_LAYERS as u64;
    if count <= most {
        return Ok(());
    }
    let advice = match size.filter(|_| !split.is_content()) {
        Some(size) => format!("the smallest size that works is {}", size.div_ceil(most)),
        None => "use larger parts".to_string(),
    };
    let why = format!("a manifest lists at most {most} layers, and this makes more; {advice}");
    Err(Error::invalid("split", split.to_string(), why))
}

/// The files that a manifest keeps in parts: the only one of `push-blob --split`,
/// or those among an artifact's files. For [`crate::graph::verify`].
///
/// # Errors
/// [`Error::Malformed`] for parts that are not complete or not those of one file.
pub fn files_in_parts(manifest: &Manifest) -> Result<Vec<JoinedFile>> {
    if let Some(parts) = Parts::of(manifest)? {
        return Ok(vec![parts.into_file()]);
    }
    let layers = manifest.image()?.layers;
    let whole = joined(&layers)?.into_iter();
    let files = whole.filter_map(|(whole, sequence)| {
        let blobs = sequence?.blobs.into_iter();
        let parts = blobs.filter_map(|blob| {
            let mut same = layers.iter().filter(|one| one.digest == blob.digest);
            same.find(|one| Some(one.size) == blob.size).cloned()
        });
        let parts = parts.collect();
        Some(JoinedFile { whole, parts })
    });
    Ok(files.collect())
}

/// The layers of a manifest as files: a layer, or several consecutive ones that
/// are the parts of one, each with the bytes to fetch.
///
/// # Errors
/// [`Error::Malformed`] for parts that are not complete or not those of one file.
pub(super) fn joined(layers: &[Descriptor]) -> Result<Vec<(Descriptor, Option<Sequence>)>> {
    let mut found = Vec::new();
    let mut left = layers.iter().peekable();
    while let Some(first) = left.next() {
        let Some(text) = first.annotations.get(WHOLE) else {
            if first.annotations.contains_key(PARTS_DIGEST) {
                let why = "it is not after the first part of its file";
                return Err(Error::malformed(format!("part {}", first.digest), why));
            }
            found.push((first.clone(), None));
            continue;
        };
        let whole: Descriptor =
            serde_json::from_str(text).map_err(|e| Error::malformed("file in parts", e))?;
        let bad = |why: &str| Error::malformed(format!("file in parts {}", whole.digest), why);
        let digest = whole.digest.to_string();
        let (mut blobs, mut size) = (Vec::new(), 0u64);
        let mut part = Some(first);
        while let Some(one) = part {
            if one.annotations.get(PARTS_DIGEST) != Some(&digest) {
                return Err(bad("one of its layers is not a part of it"));
            }
            blobs.push(BlobRef {
                digest: one.digest,
                size: Some(one.size),
            });
            size = size.saturating_add(one.size);
            part = if size < whole.size { left.next() } else { None };
        }
        if size != whole.size {
            return Err(bad("the sizes of its parts don't add up to its own"));
        }
        let name = whole.annotations.get(TITLE).unwrap_or(&digest).clone();
        let digest = whole.digest;
        let whole_file = Some(SplitFile { name, digest });
        let whole_file = Sequence {
            blobs,
            whole: whole_file,
        };
        found.push((whole, Some(whole_file)));
    }
    Ok(found)
}
