//! What is pushed in parts: a file that must not change meanwhile, or a stream.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::artifact::{Parts, Split};
use crate::blob::Source;
use crate::error::{Error, Result};
use crate::file::{Section, Stable};

/// What is pushed.
pub struct Input<'a> {
    /// What it is called in messages.
    pub(super) what: String,
    pub(super) name: Option<String>,
    pub(super) bytes: Bytes<'a>,
}

/// Where it comes from.
#[non_exhaustive]
pub enum Bytes<'a> {
    File(Arc<Stable>),
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
            bytes: Bytes::File(Arc::new(Stable::open(path)?)),
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
            Bytes::File(file) => Some(file.stamp().len),
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

/// A part of a file that must not change.
pub struct FilePart(pub Arc<Stable>, pub Section);

impl Source for FilePart {
    fn open(&self, from: u64) -> Result<Box<dyn Read + Send + '_>> {
        self.0.check()?;
        Ok(Box::new(self.0.reader(&self.1, from)))
    }
}
