//! The one error of the crate.
//!
//! Every failure says what was attempted on what, and why it failed, in one
//! line without secrets: URLs are kept without their query (signed URLs and
//! upload states carry credentials there) and text that came from a server has
//! lost its control characters. Errors travel through [`std::io::Error`] and
//! back, so that `io::copy` over a verified reader loses nothing.

mod display;
mod kinds;
mod network;
mod travel;

use std::fmt;
use std::io;

use crate::digest::Digest;

pub use kinds::if_found;
pub(crate) use kinds::is_temporary_status;
pub use network::{CertificateFault, NetworkKind};

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
    /// Several things where one is expected.
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
        /// The kind of failure.
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

/// One entry of a registry's error answer (distribution-spec, "Error Codes").
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// The code, such as `BLOB_UNKNOWN`; empty when the registry sent none.
    pub code: String,
    /// The registry's words.
    pub message: String,
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

    /// The same, said to have happened at `place`. An error whose place is known
    /// keeps it, and a requested stop has none.
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
