//! An older version of a file, so that only what changed is downloaded.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::Read;
use std::ops::Range;
use std::path::Path;

use crate::artifact::{Cuts, Parts};
use crate::blob::{FileRange, Source};
use crate::descriptor::Descriptor;
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::fetch::{BlobRef, Sequence, SplitFile};
use crate::manifest::Manifest;
use crate::reference::{Origin, Target};
use crate::store::{Content, Names, ReadStore, Tags};
use crate::stream::Stop;

impl Parts {
    /// What is to be fetched to have the file; errors call it `name`.
    pub fn joined(&self, name: impl Into<String>) -> Sequence {
        let wanted = |part: &Descriptor| BlobRef {
            digest: part.digest,
            size: Some(part.size),
        };
        Sequence {
            blobs: self.parts.iter().map(wanted).collect(),
            whole: Some(SplitFile {
                name: name.into(),
                digest: self.digest,
            }),
        }
    }
}

/// A store, some of whose blobs are read from an older file on this machine.
pub struct Base<'a> {
    store: &'a dyn ReadStore,
    /// The parts found, and their sizes.
    found: HashMap<Digest, (FileRange, u64)>,
}

impl<'a> Base<'a> {
    /// Reads the file at `old` once, cut as `parts` was, to learn which of its
    /// parts exist. `file` is the same file, opened.
    ///
    /// # Errors
    /// [`Error::Unsupported`] when it is not known how `parts` was cut,
    /// [`Error::Io`], [`Error::Stopped`].
    pub fn new(
        store: &'a dyn ReadStore,
        parts: &Parts,
        old: &Path,
        file: File,
        stop: &Stop,
    ) -> Result<Base<'a>> {
        let split = parts.split.ok_or_else(|| Error::Unsupported {
            what: "the alias does not record how the file was split, so --base cannot be used"
                .into(),
        })?;
        let wanted: HashSet<Digest> = parts.parts.iter().map(|part| part.digest).collect();
        let mut base = Base {
            store,
            found: HashMap::new(),
        };
        let mut cuts = Cuts::new(old.display().to_string(), file, split);
        while let Some(piece) = cuts.next(stop, &mut |_| Ok(()))? {
            let (digest, size) = (piece.descriptor.digest, piece.descriptor.size);
            if wanted.contains(&digest) {
                let range = FileRange::new(old, piece.offset, size);
                base.found.insert(digest, (range, size));
            }
        }
        Ok(base)
    }

    fn local(&self, digest: &Digest, range: Range<u64>) -> Result<Option<Content<'_>>> {
        let Some((file, size)) = self.found.get(digest) else {
            return Ok(None);
        };
        let len = range.end.saturating_sub(range.start);
        Ok(Some(Content {
            size: Some(*size),
            reader: Box::new(file.open(range.start)?.take(len)),
        }))
    }
}

impl ReadStore for Base<'_> {
    fn name(&self) -> String {
        self.store.name()
    }

    fn open_blob(&self, digest: &Digest, from: u64) -> Result<Content<'_>> {
        match self.local(digest, from..u64::MAX)? {
            Some(content) => Ok(content),
            None => self.store.open_blob(digest, from),
        }
    }

    fn open_range(&self, digest: &Digest, range: Range<u64>) -> Result<Option<Content<'_>>> {
        match self.local(digest, range.clone())? {
            Some(content) => Ok(Some(content)),
            None => self.store.open_range(digest, range),
        }
    }

    fn blob_size(&self, digest: &Digest) -> Result<Option<u64>> {
        match self.found.get(digest) {
            Some((_, size)) => Ok(Some(*size)),
            None => self.store.blob_size(digest),
        }
    }

    fn manifest(&self, target: &Target) -> Result<Manifest> {
        self.store.manifest(target)
    }

    fn head(&self, target: &Target) -> Result<Option<Descriptor>> {
        self.store.head(target)
    }

    fn origin(&self) -> Option<Origin> {
        self.store.origin()
    }

    fn tags(&self) -> Tags<'_> {
        self.store.tags()
    }

    fn tag_names(&self) -> Names<'_> {
        self.store.tag_names()
    }

    fn referrers(&self, subject: &Digest) -> Result<Vec<Descriptor>> {
        self.store.referrers(subject)
    }
}
