//! What a caller can ask any error, without matching its variant.

use super::{Error, NetworkKind, Result};

impl Error {
    /// Whether the thing asked for does not exist: a 404, or the same of a
    /// store without statuses.
    pub fn is_not_found(&self) -> bool {
        matches!(
            self.what(),
            Error::Status { status: 404, .. } | Error::NotFound { .. } | Error::NoAlias { .. }
        )
    }

    /// Whether another process changed it in the meantime: read it again
    /// before the next try. Includes the statuses 409 and 412.
    pub fn is_conflict(&self) -> bool {
        matches!(
            self.what(),
            Error::Conflict { .. }
                | Error::Status {
                    status: 409 | 412,
                    ..
                }
        )
    }

    /// Whether the store does not offer the operation at all: another way has
    /// to be found. Includes the statuses 405 and 501, and the registry's code
    /// `UNSUPPORTED`.
    pub fn is_not_allowed(&self) -> bool {
        let status = matches!(self.status(), Some(405 | 501));
        status || self.has_code("UNSUPPORTED") || matches!(self.what(), Error::NotAllowed { .. })
    }

    /// Whether another process works on the same thing, or did while it was
    /// read: the same call may succeed later.
    pub fn is_busy(&self) -> bool {
        matches!(
            self.what(),
            Error::Busy { .. } | Error::ChangedWhileRead { .. }
        )
    }

    /// Whether one of several things has to be named.
    pub fn is_ambiguous(&self) -> bool {
        matches!(self.what(), Error::Ambiguous { .. })
    }

    /// Whether the registry wants other credentials than it got.
    pub fn is_unauthorized(&self) -> bool {
        matches!(self.what(), Error::Unauthorized { .. })
    }

    /// Whether the data, not the way to it, is wrong.
    pub fn is_corrupt(&self) -> bool {
        matches!(
            self.what(),
            Error::Mismatch { .. } | Error::Size { .. } | Error::Malformed { .. }
        )
    }

    /// Whether the same request may succeed later: lost connections, silence,
    /// and the statuses 408, 429, 499, 500, 502, 503, 504, 522.
    pub fn is_temporary(&self) -> bool {
        match self.what() {
            Error::Network { kind, .. } => {
                use NetworkKind as Kind;
                matches!(
                    kind,
                    Kind::Name
                        | Kind::Connect
                        | Kind::Proxy
                        | Kind::Timeout
                        | Kind::Cut
                        | Kind::Stale
                )
            }
            Error::Status { status, .. } => is_temporary_status(*status),
            _ => false,
        }
    }

    /// The HTTP status of the error, if it has one.
    pub fn status(&self) -> Option<u16> {
        match self.what() {
            Error::Status { status, .. } => Some(*status),
            Error::Unauthorized { status, .. } => Some(*status),
            _ => None,
        }
    }

    /// Whether the registry named `code` (such as `BLOB_UNKNOWN`) in its answer.
    pub fn has_code(&self, code: &str) -> bool {
        match self.what() {
            Error::Status { errors, .. } | Error::Unauthorized { errors, .. } => {
                errors.iter().any(|e| e.code == code)
            }
            _ => false,
        }
    }

    /// Whether the registry refused a manifest for a blob that it lacks.
    pub(crate) fn denies_blob(&self) -> bool {
        self.has_code("MANIFEST_BLOB_UNKNOWN") || self.has_code("BLOB_UNKNOWN")
    }
}

/// What was found: `None` for a missing thing
/// ([`Error::is_not_found`]), where that is not a failure.
///
/// ```
/// use dxf_registry::error::if_found;
/// use dxf_registry::{Digest, Store, layout::Layouts};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = tempfile::tempdir()?;
/// let store = Layouts::new(folder.path()).repository(&"team/data".parse()?);
/// assert!(if_found(store.delete_manifest(&Digest::of(b"long gone")))?.is_none());
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// All others.
pub fn if_found<T>(result: Result<T>) -> Result<Option<T>> {
    match result {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}

/// Statuses that pass by themselves; 499 and 522 are what nginx and Cloudflare
/// say when they lost their registry.
pub(crate) fn is_temporary_status(status: u16) -> bool {
    matches!(status, 408 | 429 | 499 | 500 | 502 | 503 | 504 | 522)
}
