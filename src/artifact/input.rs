//! What is pushed in parts: a file that must not change meanwhile, or a stream.

use std::fs::{File, Metadata};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::artifact::{Parts, Split};
use crate::blob::Source;
use crate::error::{Error, Result};
use crate::file::Section;

/// What is pushed.
pub struct Input<'a> {
    /// What it is called in messages.
    pub(super) what: String,
    pub(super) name: Option<String>,
    pub(super) bytes: Bytes<'a>,
}

/// Where it comes from.
pub enum Bytes<'a> {
    File(Arc<Opened>),
    Stream(&'a mut (dyn Read + Send), PathBuf),
}

impl<'a> Input<'a> {
    /// A regular file.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Unsupported`] for anything else than a file.
    pub fn file(path: &Path) -> Result<Input<'a>> {
        let what = path.display().to_string();
        let name = path.file_name().and_then(|name| name.to_str());
        Ok(Input {
            name: name.and_then(Parts::safe_name).map(str::to_string),
            bytes: Bytes::File(Arc::new(Opened::new(path, &what)?)),
            what,
        })
    }

    /// What `from` yields up to its end; its parts wait in `folder`. Errors
    /// call it `what`.
    pub fn stream(
        what: impl Into<String>,
        from: &'a mut (dyn Read + Send),
        folder: &Path,
    ) -> Input<'a> {
        Input {
            what: what.into(),
            name: None,
            bytes: Bytes::Stream(from, folder.to_path_buf()),
        }
    }

    /// How long it is, bytes, where that is known beforehand.
    pub fn size(&self) -> Option<u64> {
        match &self.bytes {
            Bytes::File(file) => Some(file.meta.len()),
            Bytes::Stream(..) => None,
        }
    }

    /// Refuses a split that makes more parts than a manifest lists, as far as
    /// the size tells. By content there are a fifth fewer than this counts.
    pub(super) fn fits(&self, split: Split) -> Result<()> {
        let Some(size) = self.size() else {
            return Ok(());
        };
        let count = size.div_ceil(split.size());
        if count <= Parts::MOST {
            return Ok(());
        }
        let least = size.div_ceil(Parts::MOST);
        let average = least.next_power_of_two();
        let by_content = split.is_content().then(|| Split::content(average).ok());
        let better = by_content.flatten().map(|split| split.to_string());
        let better = better.unwrap_or_else(|| least.to_string());
        Err(too_many(
            split,
            format!("{count} parts of {}", self.what),
            format!("the smallest that works is {better}"),
        ))
    }
}

/// More parts than a manifest lists.
pub fn too_many(split: Split, found: String, advice: String) -> Error {
    let most = Parts::MOST;
    let why = format!("a manifest lists at most {most} parts, not {found}; {advice}");
    Error::invalid("split", split.to_string(), why)
}

/// A file that must stay what it was.
pub struct Opened {
    what: String,
    file: Arc<File>,
    meta: Metadata,
}

impl Opened {
    fn new(path: &Path, what: &str) -> Result<Opened> {
        let failed = |e| Error::io(what, e);
        // Opening a pipe would wait for somebody at its other end.
        if !std::fs::metadata(path).map_err(failed)?.is_file() {
            return Err(Error::Unsupported {
                what: format!("{what}: not a regular file"),
            });
        }
        let file = File::open(path).map_err(failed)?;
        let meta = file.metadata().map_err(failed)?;
        Ok(Opened {
            what: what.to_string(),
            file: Arc::new(file),
            meta,
        })
    }

    /// All of it, as long as it was at first.
    pub fn whole(&self) -> Section {
        self.section(0, self.meta.len())
    }

    /// `len` bytes of it from `offset` on.
    pub fn section(&self, offset: u64, len: u64) -> Section {
        Section::new(self.file.clone(), offset, len)
    }

    /// Whether it is still what it was: sending what was not hashed would only
    /// be found out after the last byte.
    pub fn check(&self) -> Result<()> {
        let now = self.file.metadata().map_err(|e| Error::io(&self.what, e))?;
        if now.len() == self.meta.len() && now.modified().ok() == self.meta.modified().ok() {
            return Ok(());
        }
        Err(Error::Unsupported {
            what: format!("{}: changed while it was read", self.what),
        })
    }
}

/// A part of a file that must stay what it was.
pub struct FilePart(pub Arc<Opened>, pub Section);

impl Source for FilePart {
    fn open(&self, from: u64) -> Result<Box<dyn Read + Send + '_>> {
        self.0.check()?;
        self.1.open(from)
    }
}
