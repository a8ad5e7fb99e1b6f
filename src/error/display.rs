//! The words of an error: one line, without secrets.

use std::fmt;

use super::{Diagnostic, Error, RequestLine};

impl fmt::Display for RequestLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.method, self.url)
    }
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

/// An answer that is of no use, and what the server said with it.
fn write_answer(
    f: &mut fmt::Formatter<'_>,
    request: &RequestLine,
    status: u16,
    errors: &[Diagnostic],
) -> fmt::Result {
    write!(f, "{}: {}", request, status)?;
    match reason(status) {
        "" => {}
        words => write!(f, " {words}")?,
    }
    for (i, said) in errors.iter().enumerate() {
        f.write_str(if i == 0 { " (" } else { ", " })?;
        write!(f, "{said}")?;
    }
    match errors {
        [] => Ok(()),
        _ => f.write_str(")"),
    }
}

fn write_list(f: &mut fmt::Formatter<'_>, lead: &str, names: &[String]) -> fmt::Result {
    match names {
        [] => Ok(()),
        names => write!(f, "{lead}{}", names.join(", ")),
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
                expected: promised,
                actual,
            } => {
                write!(
                    f,
                    "{what}: wrong size: expected {promised} bytes, got {actual}"
                )
            }
            Error::Malformed { what, why } => write!(f, "malformed {what}: {why}"),
            Error::Conflict { what, found } => match found {
                Some(found) => write!(f, "{what} is not as expected: it points to {found}"),
                None => write!(f, "{what} is not as expected: it does not exist"),
            },
            Error::ChangedWhileRead { what } => write!(f, "{what}: changed while it was read"),
            Error::Busy { what, why } => write!(f, "{what}: {why}"),
            Error::Ambiguous { what, choices } => {
                f.write_str(what)?;
                write_list(f, ": ", choices)
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
            }
            | Error::Status {
                request,
                status,
                errors,
                ..
            } => write_answer(f, request, *status, errors),
            Error::InsecureAuth { url } => {
                write!(
                    f,
                    "{url} asks for credentials, which are not sent over http"
                )
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
                    some => write_list(f, "there are: ", some),
                }
            }
            Error::Io { what, source } => write!(f, "{what}: {source}"),
            Error::At { place, error } => write!(f, "{place}: {error}"),
            Error::Stopped => f.write_str("interrupted"),
            Error::Other(error) => error.fmt(f),
        }
    }
}
