//! Errors through [`std::io::Error`] and back, so that `io::copy` loses nothing.

use std::io;

use super::{Error, NetworkKind};

impl Error {
    /// An [`Error::Io`] in one call; an [`Error`] that travelled inside
    /// `source` comes back as itself.
    pub fn io(what: impl Into<String>, source: io::Error) -> Error {
        let what = match what.into() {
            // A file that was named by an empty word.
            what if what.is_empty() => "\"\"".to_string(),
            what => what,
        };
        match Error::from_io(source) {
            Ok(error) => error,
            Err(source) => Error::Io {
                what,
                source: without_path(source),
            },
        }
    }

    /// Finds an [`Error`] that travelled as an [`io::Error`].
    ///
    /// # Errors
    /// The [`io::Error`] itself, where it is nothing more.
    pub fn from_io(error: io::Error) -> std::result::Result<Error, io::Error> {
        if error.get_ref().is_some_and(|inner| inner.is::<Error>()) {
            // The test above proves both steps.
            if let Some(Ok(inner)) = error.into_inner().map(|inner| inner.downcast::<Error>()) {
                return Ok(*inner);
            }
            return Err(io::Error::other("lost error"));
        }
        Err(error)
    }
}

/// The same without the path that tempfile appends: that one is
/// private, and what failed is named already.
fn without_path(error: io::Error) -> io::Error {
    // A type of its own, which can be recognised only by its text.
    let said = error.get_ref().map(ToString::to_string);
    match said
        .as_deref()
        .and_then(|said| said.split_once(" at path "))
    {
        Some((words, _)) if words.ends_with(')') => io::Error::new(error.kind(), words),
        _ => error,
    }
}

impl From<Error> for io::Error {
    fn from(error: Error) -> io::Error {
        // Not `Interrupted`: io::copy would silently try again for ever.
        let kind = match error.what() {
            Error::Io { source, .. } => source.kind(),
            Error::Network {
                kind: NetworkKind::Cut,
                ..
            } => io::ErrorKind::UnexpectedEof,
            Error::Mismatch { .. } | Error::Size { .. } | Error::Malformed { .. } => {
                io::ErrorKind::InvalidData
            }
            _ => io::ErrorKind::Other,
        };
        io::Error::new(kind, error)
    }
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Error {
        Error::io("input or output", error)
    }
}
