//! Places of images as the environment and the command line name them, and the
//! stores they are in.

use std::ffi::OsStr;
use std::sync::Arc;

use dxf_registry::{Error, Place, Result, Root, Store};

use crate::cli::env::Context;
use crate::cli::session::Session;

/// Where the image is that `word` names, to be read.
///
/// # Errors
/// As [`Place::to_read`].
pub fn to_read(s: &Session<'_, '_>, word: &OsStr) -> Result<Place> {
    Place::to_read(word, s.context.root.as_ref())
}

/// The same for the source of a copy.
///
/// # Errors
/// As [`Place::to_read`].
pub fn source(s: &Session<'_, '_>, word: &OsStr) -> Result<Place> {
    Place::to_read(word, s.source().root.as_ref())
}

/// Where the image goes that `word` names.
///
/// # Errors
/// As [`Place::to_write`].
pub fn to_write(s: &Session<'_, '_>, word: &OsStr) -> Result<Place> {
    Place::to_write(word, s.context.root.as_ref())
}

/// The repository or layout at `place`, unless that is an archive.
///
/// # Errors
/// Those of connecting.
pub fn repository(s: &Session<'_, '_>, place: &Place) -> Result<Option<Arc<dyn Store>>> {
    match place.is_archive() {
        true => Ok(None),
        false => store(s, s.context, place).map(Some),
    }
}

/// The repository or layout at `place`, talked to as `context` wants it.
///
/// # Errors
/// Those of connecting; [`Error::Unsupported`] for an archive.
pub fn store(s: &Session<'_, '_>, context: &Context, place: &Place) -> Result<Arc<dyn Store>> {
    match place {
        Place::Repository { root, reference } => Ok(match root {
            Root::Registry(host) => {
                let registry = s.registry_by(context, host)?;
                Arc::new(registry.repository(reference.repo.clone()))
            }
            Root::Folder(folder) => Arc::new(s.folders(folder).repository(&reference.repo)),
        }),
        Place::Layout { folder, .. } => Ok(Arc::new(s.layout(folder))),
        _ => Err(Error::Unsupported {
            what: format!("{place} is an archive, and this needs a registry or a folder"),
        }),
    }
}
