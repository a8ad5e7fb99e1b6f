//! The one error of the crate.
//!
//! Every failure says what was attempted on what, and why it failed, in one
//! line without secrets: URLs are kept without their query (signed URLs and
//! upload states carry credentials there) and text that came from a server has
//! lost its control characters. Errors travel through [`std::io::Error`] and
//! back, so that `io::copy` over a verified reader loses nothing.

use std::fmt;
use std::io;

use crate::digest::Digest;

/// A result whose error is [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why an operation failed.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// Words that break a grammar: a digest, reference, platform, setting.
    Invalid {
        /// The kind of word, such as `digest`.
        what: &'static str,
        /// The word as it was given.
        value: String,
        /// The rule it breaks.
        why: String,
    },
    /// Bytes whose digest is not the one they were asked by. (Boxed, because
    /// two sha512 sums would make every `Result` of the crate large.)
    Mismatch {
        /// What the bytes should hash to.
        expected: Box<Digest>,
        /// What they do hash to.
        actual: Box<Digest>,
    },
    /// Bytes of another length than was promised.
    Size {
        /// The thing measured: a digest or a file name.
        what: String,
        /// Bytes promised.
        expected: u64,
        /// Bytes found.
        actual: u64,
    },
    /// Data that breaks its format: a manifest, an answer, an archive.
    Malformed {
        /// The document.
        what: String,
        /// What is wrong with it.
        why: String,
    },
    /// A tag that does not point to what it was expected to point to.
    Conflict {
        /// The tag, and where it is.
        what: String,
        /// The manifest it points at, `None` when it is not found.
        found: Option<Box<Digest>>,
    },
    /// A file that changed while it was read: what was read is of no use.
    ChangedWhileRead {
        /// The file.
        what: String,
    },
    /// Something that another process works on at the moment.
    Busy {
        /// The file, or the thing in a store.
        what: String,
        /// What is done with it, such as `another process is writing it`.
        why: String,
    },
    /// Several things where one is wanted.
    Ambiguous {
        /// What was to be one, such as `app.tar contains several images`.
        what: String,
        /// The names to choose from; empty where they have none.
        choices: Vec<String>,
    },
    /// A thing that is not found, in a store without HTTP statuses.
    NotFound {
        /// The kind of thing and its name.
        what: String,
    },
    /// An alias or tag that does not exist, in a store that has no statuses.
    NoAlias {
        /// The name.
        alias: String,
        /// The store, as it calls itself.
        store: String,
    },
    /// A registry that answered 401 although everything known was tried, or a
    /// token server that gave no token.
    Unauthorized {
        /// Method and URL of the refused request.
        request: RequestLine,
        /// The HTTP status code, 401 of a registry.
        status: u16,
        /// What the registry said.
        errors: Vec<Diagnostic>,
        /// Where the refused credentials came from; `None` when there were none.
        source: Option<String>,
        /// The kinds of login that the registry accepts, where this crate knows
        /// none of them, such as `NTLM`; otherwise empty. (Boxed to stay small.)
        accepts: Box<[String]>,
    },
    /// Credentials that would have to travel over plain http.
    InsecureAuth {
        /// Where they would have gone.
        url: String,
    },
    /// An answer with a status the operation has no use for.
    Status {
        /// Method and URL of the request.
        request: RequestLine,
        /// The HTTP status code.
        status: u16,
        /// What the registry said, if it spoke the registry's error format.
        errors: Vec<Diagnostic>,
        /// Seconds the server asked to wait, where it said so.
        retry_after: Option<u64>,
    },
    /// No answer: name, connection, TLS, silence, or an answer cut short.
    Network {
        /// Method and URL of the request.
        request: RequestLine,
        /// The kind of trouble.
        kind: NetworkKind,
        /// In the words of the layer that met it.
        why: String,
    },
    /// A server that sent the client somewhere it must not go.
    Refused {
        /// Method and URL of the request.
        request: RequestLine,
        /// What it asked for and why that is refused.
        why: String,
    },
    /// A blob that the source repository does not hold, so it can't be mounted.
    NotMounted {
        /// The blob.
        digest: Digest,
        /// The repository it was to come from.
        from: String,
    },
    /// An operation that this store does not offer, or that would do more than
    /// was asked for, such as the removal of one tag of several.
    NotAllowed {
        /// What, and what could be done instead.
        what: String,
    },
    /// A layer that is kept elsewhere, and neither here nor to be had there.
    Elsewhere {
        /// The layer, and the place where it should be.
        what: String,
    },
    /// Something that exists but can't be used this way.
    Unsupported {
        /// What, and what could be done instead.
        what: String,
    },
    /// A credential helper that is missing, fails or talks nonsense.
    Helper {
        /// The program, such as `docker-credential-pass`.
        name: String,
        /// What happened, or the helper's own words.
        why: String,
    },
    /// None of the platforms there are fits the one wanted.
    NoPlatform {
        /// The platform asked for.
        wanted: String,
        /// Those there are.
        available: Vec<String>,
    },
    /// The machine's own files and streams.
    Io {
        /// The file or stream, and what was done with it.
        what: String,
        /// The operating system's reason.
        source: io::Error,
    },
    /// Any of the others, in something that has two sides.
    At {
        /// Where it happened: the side, and what it is called.
        place: String,
        /// What happened.
        error: Box<Error>,
    },
    /// The caller asked for an end.
    Stopped,
    /// The error of a store, source or writer that is not this crate's.
    Other(Box<dyn std::error::Error + Send + Sync>),
}

/// A request as it may be shown: no query, no user information.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestLine {
    /// The HTTP method.
    pub method: String,
    /// The URL up to its query.
    pub url: String,
}

impl fmt::Display for RequestLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.method, self.url)
    }
}

/// What kept an answer from arriving.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum NetworkKind {
    /// The host name has no address.
    Name,
    /// No server accepted the connection.
    Connect,
    /// The proxy has no address, accepts no connection or refuses.
    Proxy,
    /// The peer's certificate is not accepted; never cured by trying again.
    Certificate(CertificateFault),
    /// The peer asks for a client certificate, and got none that it accepts.
    ClientCertificate,
    /// TLS itself, such as no version in common; never cured by trying again.
    Tls,
    /// The peer answered TLS with something else, such as plain HTTP.
    NoTls,
    /// Nothing came or went for the idle timeout.
    Timeout,
    /// Something came every now and then, but far too slowly to be of use.
    Slow,
    /// The connection ended before the answer did.
    Cut,
    /// A kept-alive connection was closed before the answer to its next request
    /// began, which says nothing about the server.
    Stale,
    /// What arrived is not HTTP.
    Protocol,
    /// Connections end early again and again, and the server offers no way to
    /// resume after what arrived.
    Broken,
}

/// Why a server's certificate is not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum CertificateFault {
    /// No trusted authority has signed it.
    Untrusted,
    /// It is an authority's own and not among the trusted ones, as of
    /// `openssl req -x509`.
    SelfSigned,
    /// It has expired.
    Expired,
    /// It is not valid yet, or this machine's clock is slow.
    NotYetValid,
    /// It is for another host, or for none.
    WrongName,
    /// Anything else: revoked, damaged, not for servers, of an unknown kind.
    Bad,
}

/// One entry of a registry's error answer (distribution-spec, "Error Codes").
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// The code, such as `BLOB_UNKNOWN`; empty when the registry sent none.
    pub code: String,
    /// The registry's words.
    pub message: String,
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.code.is_empty(), self.message.is_empty()) {
            (false, false) => write!(f, "{}: {}", self.code, self.message),
            (false, true) => f.write_str(&self.code),
            _ => f.write_str(&self.message),
        }
    }
}

impl Error {
    /// An [`Error::Invalid`] in one call.
    pub fn invalid(what: &'static str, value: impl Into<String>, why: impl Into<String>) -> Error {
        Error::Invalid {
            what,
            value: value.into(),
            why: why.into(),
        }
    }

    /// An [`Error::Mismatch`] in one call.
    pub fn mismatch(expected: Digest, actual: Digest) -> Error {
        Error::Mismatch {
            expected: Box::new(expected),
            actual: Box::new(actual),
        }
    }

    /// An [`Error::Malformed`] in one call.
    pub fn malformed(what: impl Into<String>, why: impl fmt::Display) -> Error {
        Error::Malformed {
            what: what.into(),
            why: why.to_string(),
        }
    }

    /// An [`Error::Other`] in one call: what a store of your own failed with.
    pub fn other(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
        Error::Other(error.into())
    }

    /// An [`Error::Io`] in one call; an [`Error`] that travelled inside
    /// `source` comes back as itself.
    pub fn io(what: impl Into<String>, source: io::Error) -> Error {
        let what = match what.into() {
            // A file that was named by an empty word.
            what if what.is_empty() => "\"\"".to_string(),
            what => what,
        };
        match unwrap_io(source) {
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
        unwrap_io(error)
    }

    /// The same, said to have happened at `place`. One whose place is known
    /// keeps it, and an end that was asked for has none.
    pub fn at(self, place: &str) -> Error {
        match self {
            Error::At { .. } | Error::Stopped => self,
            error => Error::At {
                place: place.to_string(),
                error: Box::new(error),
            },
        }
    }

    /// What happened, wherever it was ([`Error::At`]).
    pub fn what(&self) -> &Error {
        match self {
            Error::At { error, .. } => error.what(),
            error => error,
        }
    }

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
/// ([`Error::is_not_found`]), where that is no failure.
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

/// The words of RFC 9110 for the statuses a registry uses.
fn reason(status: u16) -> &'static str {
    match status {
        301 => "Moved Permanently",
        302 => "Found",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        408 => "Request Timeout",
        409 => "Conflict",
        411 => "Length Required",
        412 => "Precondition Failed",
        413 => "Content Too Large",
        415 => "Unsupported Media Type",
        416 => "Range Not Satisfiable",
        429 => "Too Many Requests",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        507 => "Insufficient Storage",
        _ => "",
    }
}

fn write_errors(f: &mut fmt::Formatter<'_>, errors: &[Diagnostic]) -> fmt::Result {
    for (i, e) in errors.iter().enumerate() {
        f.write_str(if i == 0 { " (" } else { ", " })?;
        write!(f, "{e}")?;
    }
    if errors.is_empty() {
        Ok(())
    } else {
        f.write_str(")")
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Invalid { what, value, why } => write!(f, "invalid {what} {value:?}: {why}"),
            Error::Mismatch { expected, actual } => {
                write!(f, "digest mismatch: expected {expected}, got {actual}")
            }
            Error::Size {
                what,
                expected,
                actual,
            } => {
                write!(
                    f,
                    "{what}: wrong size: expected {expected} bytes, got {actual}"
                )
            }
            Error::Malformed { what, why } => write!(f, "malformed {what}: {why}"),
            Error::Conflict { what, found } => match found {
                Some(found) => write!(f, "{what} is not as expected: it points at {found}"),
                None => write!(f, "{what} is not as expected: it does not exist"),
            },
            Error::ChangedWhileRead { what } => write!(f, "{what}: changed while it was read"),
            Error::Busy { what, why } => write!(f, "{what}: {why}"),
            Error::Ambiguous { what, choices } => {
                f.write_str(what)?;
                let lead = if choices.is_empty() { "" } else { ": " };
                write!(f, "{lead}{}", choices.join(", "))
            }
            // In the words of the status that a registry answers with, for
            // which scripts look.
            Error::NotFound { what } => write!(f, "Not Found: {what}"),
            Error::NoAlias { alias, store } => write!(f, "Not Found: alias {alias} in {store}"),
            Error::Unauthorized {
                request,
                status,
                errors,
                ..
            } => {
                write!(f, "{request}: {status} {}", reason(*status))?;
                write_errors(f, errors)
            }
            Error::InsecureAuth { url } => {
                write!(
                    f,
                    "{url} asks for credentials, which are not sent over http"
                )
            }
            Error::Status {
                request,
                status,
                errors,
                ..
            } => {
                write!(f, "{request}: {status}")?;
                match reason(*status) {
                    "" => {}
                    words => write!(f, " {words}")?,
                }
                write_errors(f, errors)
            }
            Error::Network { request, why, .. } => write!(f, "{request}: {why}"),
            Error::Refused { request, why } => write!(f, "{request}: refused: {why}"),
            Error::NotMounted { digest, from } => {
                write!(f, "mount failed: {from} does not have {digest}")
            }
            Error::NotAllowed { what }
            | Error::Elsewhere { what }
            | Error::Unsupported { what } => f.write_str(what),
            Error::Helper { name, why } => write!(f, "credential helper {name}: {why}"),
            Error::NoPlatform { wanted, available } => {
                write!(f, "no image for platform {wanted}; ")?;
                match available.as_slice() {
                    [] => f.write_str("none of its images names one"),
                    some => write!(f, "there are: {}", some.join(", ")),
                }
            }
            Error::Io { what, source } => write!(f, "{what}: {source}"),
            Error::At { place, error } => write!(f, "{place}: {error}"),
            Error::Stopped => f.write_str("interrupted"),
            Error::Other(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Io { source, .. } => Some(source),
            Error::At { error, .. } => Some(error),
            // Its own words are this error's, so its cause comes next.
            Error::Other(error) => error.source(),
            _ => None,
        }
    }
}

/// Finds an [`Error`] that travelled as an [`io::Error`].
fn unwrap_io(error: io::Error) -> std::result::Result<Error, io::Error> {
    if error.get_ref().is_some_and(|inner| inner.is::<Error>()) {
        // The test above proves both steps.
        if let Some(Ok(inner)) = error.into_inner().map(|inner| inner.downcast::<Error>()) {
            return Ok(*inner);
        }
        return Err(io::Error::other("lost error"));
    }
    Err(error)
}

/// The same without the path that tempfile appends: that one is
/// private, and what failed is named already.
fn without_path(error: io::Error) -> io::Error {
    // A type of its own, which can be told by its words alone.
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

#[cfg(test)]
mod tests {
    use super::*;

    fn line() -> RequestLine {
        RequestLine {
            method: "GET".into(),
            url: "https://r.example/v2/a/blobs/x".into(),
        }
    }

    #[test]
    fn a_place_changes_nothing_but_the_words() {
        let lost = || Error::NotFound { what: "x".into() };
        let placed = lost().at("source a").at("destination b");
        assert_eq!(placed.to_string(), "source a: Not Found: x");
        assert!(placed.is_not_found() && !placed.is_temporary());
        assert!(matches!(placed.what(), Error::NotFound { .. }));
        let travelled = Error::io("y", io::Error::from(placed));
        assert_eq!(travelled.to_string(), "source a: Not Found: x");
        assert!(matches!(Error::Stopped.at("a"), Error::Stopped));
    }

    #[test]
    fn a_file_is_named_once_and_never_by_nothing() {
        let nowhere = std::path::Path::new("/no/such/folder");
        let lost = tempfile::NamedTempFile::new_in(nowhere).unwrap_err();
        assert!(lost.to_string().contains(" at path "), "{lost}");
        let said = Error::io("x", lost).to_string();
        assert_eq!(said, "x: No such file or directory (os error 2)");
        let unnamed = Error::io("", io::ErrorKind::NotFound.into()).to_string();
        assert!(unnamed.starts_with("\"\": "), "{unnamed}");
    }

    #[test]
    fn every_variant_is_one_line() {
        let d = Digest::of(b"a");
        let said = vec![Diagnostic {
            code: "DENIED".into(),
            message: "no".into(),
        }];
        let all = [
            Error::invalid("digest", "sha1:x", "only sha256 and sha512 are known"),
            Error::mismatch(d, Digest::of(b"b")),
            Error::Size {
                what: "x".into(),
                expected: 1,
                actual: 2,
            },
            Error::malformed("manifest", "no layers"),
            Error::Conflict {
                what: "alias x".into(),
                found: Some(Box::new(d)),
            },
            Error::ChangedWhileRead { what: "x".into() },
            Error::Busy {
                what: "x".into(),
                why: "another process is writing it".into(),
            },
            Error::Ambiguous {
                what: "x contains several images".into(),
                choices: vec!["a".into(), "b".into()],
            },
            Error::NotAllowed { what: "x".into() },
            Error::Elsewhere { what: "x".into() },
            Error::other("of another crate"),
            Error::NotFound {
                what: "blob x".into(),
            },
            Error::NoAlias {
                alias: "x".into(),
                store: "oci:folder/a".into(),
            },
            Error::Unauthorized {
                request: line(),
                status: 401,
                errors: said.clone(),
                source: Some("DXF_PASSWORD".into()),
                accepts: Box::default(),
            },
            Error::InsecureAuth {
                url: "http://r".into(),
            },
            Error::Status {
                request: line(),
                status: 403,
                errors: said,
                retry_after: None,
            },
            Error::Network {
                request: line(),
                kind: NetworkKind::Cut,
                why: "cut".into(),
            },
            Error::Refused {
                request: line(),
                why: "http after https".into(),
            },
            Error::NotMounted {
                digest: d,
                from: "a".into(),
            },
            Error::Unsupported {
                what: "schema 1".into(),
            },
            Error::Helper {
                name: "docker-credential-x".into(),
                why: "it is not installed".into(),
            },
            Error::NoPlatform {
                wanted: "linux/s390x".into(),
                available: vec!["linux/amd64".into()],
            },
            Error::io("file", io::Error::from(io::ErrorKind::NotFound)),
            Error::malformed("manifest", "no layers").at("source r.example/a:b"),
            Error::Stopped,
        ];
        for e in &all {
            let s = e.to_string();
            assert!(!s.is_empty() && !s.contains('\n'), "{s:?}");
        }
        let refused = all.iter().find(|e| e.status() == Some(403));
        assert_eq!(
            refused.unwrap().to_string(),
            "GET https://r.example/v2/a/blobs/x: 403 Forbidden (DENIED: no)"
        );
    }

    #[test]
    fn questions_are_answered_by_kinds_and_statuses() {
        let status = |status| Error::Status {
            request: line(),
            status,
            errors: vec![],
            retry_after: None,
        };
        let what = || "x".to_string();
        let why = String::new();
        assert!(status(412).is_conflict() && !status(404).is_conflict());
        assert!(status(405).is_not_allowed() && !status(403).is_not_allowed());
        let refused = Error::NotAllowed { what: what() }.at("source a");
        assert!(refused.is_not_allowed() && !refused.is_conflict());
        assert!(Error::Busy { what: what(), why }.is_busy());
        assert!(Error::ChangedWhileRead { what: what() }.is_busy());
        let choices = vec!["a".to_string(), "b".to_string()];
        let several = Error::Ambiguous {
            what: what(),
            choices,
        };
        assert!(several.is_ambiguous() && several.to_string() == "x: a, b");
    }

    #[test]
    fn travels_through_io_and_back() {
        let inner = Error::mismatch(Digest::of(b"a"), Digest::of(b"b"));
        let there: io::Error = inner.into();
        assert_eq!(there.kind(), io::ErrorKind::InvalidData);
        assert!(matches!(Error::from(there), Error::Mismatch { .. }));
        let stopped: io::Error = Error::Stopped.into();
        assert!(matches!(Error::io("x", stopped), Error::Stopped));
        let foreign: io::Error = Error::other("of another crate").into();
        assert!(matches!(Error::from(foreign), Error::Other(_)));
        let disk = Error::io("f", io::Error::from(io::ErrorKind::StorageFull));
        let there: io::Error = disk.into();
        assert_eq!(there.kind(), io::ErrorKind::StorageFull);
    }

    #[test]
    fn temporary_means_worth_another_try() {
        for (status, temporary) in [
            (429, true),
            (503, true),
            (404, false),
            (400, false),
            (403, false),
        ] {
            let e = Error::Status {
                request: line(),
                status,
                errors: vec![],
                retry_after: None,
            };
            assert_eq!(e.is_temporary(), temporary, "{status}");
        }
        let tls = Error::Network {
            request: line(),
            kind: NetworkKind::Tls,
            why: String::new(),
        };
        assert!(!tls.is_temporary());
    }
}
