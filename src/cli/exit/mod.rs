//! Failures: their exit codes, their one line, and what to do about them.
//!
//! The only place with exit codes.

pub mod hint;

use dxf_registry::Error;
use dxf_registry::text::one_line;

/// All went well.
pub const DONE: u8 = 0;
/// Any failure without a code of its own.
pub const FAILED: u8 = 1;
/// Not found, or wrong usage: python-dxf uses ENOENT, and argparse the same.
pub const NOT_FOUND: u8 = 2;
/// The registry wants other credentials: python-dxf's EACCES.
pub const UNAUTHORIZED: u8 = 13;
/// Data that is not what it claims to be: sysexits' EX_DATAERR.
pub const DATA: u8 = 65;
/// No answer: EX_UNAVAILABLE.
pub const NETWORK: u8 = 69;
/// Asked too often: EX_TEMPFAIL.
pub const LIMITED: u8 = 75;

/// What to do where an image or artifact is not for a platform.
pub const OTHER_PLATFORM: &str = "try --platform with one of these";

/// Why a command ended early.
#[derive(Debug)]
pub enum Failure {
    /// Words that make no command.
    Usage(String),
    /// A variable that has to be set.
    Unset(&'static str),
    /// The requested thing is not found, although the library has another error
    /// for that: a platform of an image.
    Missing(Error),
    /// Parts of a bundle that have to come too, before the command can end.
    PartsMissing(String),
    /// A signal ended the command, and the same command resumes from there.
    Resumable,
    /// Blobs that a check found missing or wrong.
    Damaged(String),
    /// What the library says, and what the command knows to do about it.
    Hinted(Box<Error>, String),
    /// A program that was run for the user ended with this status.
    Ended(u8),
    /// What the library says.
    Error(Error),
}

impl Failure {
    /// The same, said to have happened at `place` ([`Error::at`]).
    pub fn at(self, place: &str) -> Failure {
        match self {
            Failure::Missing(error) => Failure::Missing(error.at(place)),
            Failure::Error(error) => Failure::Error(error.at(place)),
            Failure::Hinted(error, hint) => Failure::Hinted(Box::new(error.at(place)), hint),
            failure => failure,
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure::Error(error)
    }
}

/// The exit code of `failure`; `interrupted` is the one of a signal.
pub fn code(failure: &Failure, interrupted: u8) -> u8 {
    let error = match failure {
        Failure::Usage(_) | Failure::Unset(_) | Failure::Missing(_) | Failure::PartsMissing(_) => {
            return NOT_FOUND;
        }
        Failure::Ended(code) => return *code,
        Failure::Resumable => return interrupted,
        Failure::Damaged(_) => return DATA,
        Failure::Error(error) => error.what(),
        Failure::Hinted(error, _) => error.what(),
    };
    match error {
        Error::Invalid { .. } => NOT_FOUND,
        e if e.is_not_found() => NOT_FOUND,
        Error::Unauthorized { .. } => UNAUTHORIZED,
        e if e.is_corrupt() => DATA,
        Error::Network { .. } => NETWORK,
        Error::Status { status: 429, .. } => LIMITED,
        Error::Status { status: 500.., .. } => NETWORK,
        e if e.is_temporary() => NETWORK,
        Error::Stopped => interrupted,
        _ => FAILED,
    }
}

/// The line that says what `operation` failed of.
pub fn line(operation: &str, failure: &Failure) -> String {
    let lead = match operation {
        "" => "dxf".to_string(),
        operation => format!("dxf: {operation}"),
    };
    let (said, hint) = match failure {
        Failure::Usage(words) | Failure::Damaged(words) | Failure::PartsMissing(words) => {
            (words.clone(), None)
        }
        Failure::Ended(code) => (format!("it ended with {code}"), None),
        Failure::Resumable => (
            Error::Stopped.to_string(),
            Some("run the same command again to resume".into()),
        ),
        Failure::Unset(name) => (
            format!("{name} is not set"),
            Some("try DXF_HOST=registry.example:5000, or DXF_HOST=oci:FOLDER for a folder".into()),
        ),
        Failure::Missing(error) if hint::lists_nothing(error) => (error.to_string(), None),
        Failure::Missing(error) => (error.to_string(), Some(OTHER_PLATFORM.into())),
        Failure::Hinted(error, hint) => (error.to_string(), Some(hint.clone())),
        Failure::Error(error) => (error.to_string(), hint::of(error)),
    };
    let said = short(&said);
    match hint {
        Some(hint) => format!("{lead}: {said}; {}", short(&hint)),
        None => format!("{lead}: {said}"),
    }
}

/// One line of `text`, which may hold the words of a server, a file or the
/// command line: of a long one the beginning and the end, where the name of
/// what failed and the reason are.
fn short(text: &str) -> String {
    const FIRST: usize = 600;
    const LAST: usize = 300;
    let text = one_line(text);
    let length = text.chars().count();
    if length <= FIRST + LAST {
        return text;
    }
    let first: String = text.chars().take(FIRST).collect();
    let last: String = text.chars().skip(length - LAST).collect();
    format!("{first}…{last}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use dxf_registry::error::{CertificateFault, Diagnostic, NetworkKind, RequestLine};
    use dxf_registry::{Digest, RepoName};
    use std::io::ErrorKind;

    fn request(method: &str, url: &str) -> RequestLine {
        RequestLine {
            method: method.into(),
            url: url.into(),
        }
    }

    fn status(method: &str, url: &str, status: u16, code: &str) -> Error {
        Error::Status {
            request: request(method, url),
            status,
            errors: vec![Diagnostic {
                code: code.into(),
                message: "words".into(),
            }],
            retry_after: None,
        }
    }

    fn unauthorized(source: Option<&str>) -> Error {
        Error::Unauthorized {
            request: request("GET", "https://r.example:5000/v2/a/tags/list"),
            status: 401,
            errors: vec![],
            source: source.map(str::to_string),
            accepts: Box::default(),
        }
    }

    fn network(kind: NetworkKind, why: &str) -> Error {
        let scheme = match kind {
            NetworkKind::Protocol => "http",
            _ => "https",
        };
        Error::Network {
            request: request("GET", &format!("{scheme}://r/v2/")),
            kind,
            why: why.into(),
        }
    }

    #[test]
    fn codes_are_the_contracts() {
        let digest = Digest::of(b"a");
        let url = "https://r/v2/x";
        let table = [
            (Error::invalid("digest", "x", "y"), 2),
            (status("GET", url, 404, ""), 2),
            (Error::NotFound { what: "x".into() }, 2),
            (unauthorized(None), 13),
            (Error::mismatch(digest, Digest::of(b"b")), 65),
            (Error::malformed("x", "y"), 65),
            (network(NetworkKind::Tls, ""), 69),
            (status("GET", url, 503, ""), 69),
            (status("GET", url, 408, ""), 69),
            (status("GET", url, 429, ""), 75),
            (status("GET", url, 403, ""), 1),
            (status("GET", url, 405, ""), 1),
            (Error::InsecureAuth { url: url.into() }, 1),
            (Error::Unsupported { what: "x".into() }, 1),
            (
                Error::NotMounted {
                    digest,
                    from: "a".into(),
                },
                1,
            ),
            (
                Error::NoPlatform {
                    wanted: "x".into(),
                    available: vec![],
                },
                1,
            ),
            (Error::io("f", ErrorKind::NotFound.into()), 1),
            (Error::Stopped, 143),
        ];
        for (error, wanted) in table {
            let said = error.to_string();
            assert_eq!(code(&error.into(), 143), wanted, "{said}");
        }
        assert_eq!(code(&Failure::Usage(String::new()), 130), 2);
        assert_eq!(code(&Failure::Unset("DXF_HOST"), 130), 2);
    }

    #[test]
    fn hints_fit_the_failure() {
        let ecr = "https://1.dkr.ecr.eu-west-1.amazonaws.com/v2/a/blobs/uploads/";
        let table = [
            (unauthorized(None), "dxf login r.example:5000"),
            (
                unauthorized(Some("DXF_TOKEN")),
                "from DXF_TOKEN were refused",
            ),
            (
                "./folder/app".parse::<RepoName>().unwrap_err(),
                "; a folder of repositories is DXF_HOST=oci:FOLDER",
            ),
            (
                Error::InsecureAuth {
                    url: "http://r".into(),
                },
                "DXF_ALLOW_INSECURE_AUTH=1",
            ),
            (
                status("GET", "https://r/v2/a/manifests/x", 404, "MANIFEST_UNKNOWN"),
                "Not Found",
            ),
            (
                status(
                    "GET",
                    "https://r/v2/a/b/manifests/x",
                    404,
                    "MANIFEST_UNKNOWN",
                ),
                "no alias or image x in a/b; dxf list-aliases a/b prints the existing ones, with DXF_HOST=r",
            ),
            (
                status("DELETE", "https://r/x", 405, "UNSUPPORTED"),
                "storage.delete.enabled",
            ),
            (
                status("DELETE", "https://r/x", 400, "UNSUPPORTED"),
                "storage.delete.enabled",
            ),
            (
                status("POST", ecr, 404, "NAME_UNKNOWN"),
                "aws ecr create-repository",
            ),
            (
                status("GET", "https://r/v2/_catalog", 404, ""),
                "administrators",
            ),
            (network(NetworkKind::Connect, "refused"), "running"),
            (
                network(NetworkKind::Certificate(CertificateFault::Untrusted), "no"),
                "its authority's PEM file in DXF_TLSVERIFY",
            ),
            (
                network(NetworkKind::Certificate(CertificateFault::SelfSigned), "no"),
                "this certificate in DXF_TLSVERIFY",
            ),
            (
                network(NetworkKind::Certificate(CertificateFault::Expired), "no"),
                "DXF_SKIPTLSVERIFY=1 accepts it",
            ),
            (
                network(NetworkKind::ClientCertificate, "no"),
                "DXF_CLIENT_CERT",
            ),
            (network(NetworkKind::Proxy, "no"), "NO_PROXY"),
            (network(NetworkKind::Protocol, "no"), "unset DXF_INSECURE"),
            (
                network(NetworkKind::NoTls, "the server does not speak TLS"),
                "DXF_INSECURE=1",
            ),
            (
                Error::NoPlatform {
                    wanted: "x/y".into(),
                    available: vec!["linux/arm64".into()],
                },
                "linux/arm64",
            ),
            (Error::io("f", ErrorKind::StorageFull.into()), "free space"),
            (
                Error::io("f.bin.partial", ErrorKind::StorageFull.into()),
                "free space where f.bin goes and run the same command again; f.bin.partial is kept",
            ),
            (
                Error::io("s/a/.dxf/.0a.x.partial", ErrorKind::StorageFull.into()),
                "; free space there and run the same command again",
            ),
            (Error::io("f", ErrorKind::FileTooLarge.into()), "ulimit -f"),
            (
                status("GET", "https://r/v2/a/b/manifests/latest", 404, ""),
                "no alias or image latest in a/b (latest is assumed where no tag is written)",
            ),
            (Error::invalid("alias", "@v1", "why"), "without @ here"),
            (
                Error::NoAlias {
                    alias: "v1".into(),
                    store: "oci:folder/a".into(),
                },
                "Not Found: alias v1 in oci:folder/a; dxf list-aliases prints",
            ),
        ];
        for (error, wanted) in table {
            let said = line("op", &error.into());
            assert!(
                said.starts_with("dxf: op: ") && said.contains(wanted),
                "{said}"
            );
            assert!(!said.contains('\n'));
        }
    }

    #[test]
    fn a_command_s_own_hint_changes_no_code() {
        let failure = Failure::Hinted(Box::new(unauthorized(None)), "do this".into());
        assert_eq!(code(&failure, 130), 13);
        let said = line("op", &failure);
        assert!(said.ends_with("401 Unauthorized; do this"), "{said}");
    }

    #[test]
    fn the_source_of_a_copy_has_variables_of_its_own() {
        let no_tls = || network(NetworkKind::NoTls, "the server does not speak TLS");
        let asked = || Error::InsecureAuth {
            url: "http://r".into(),
        };
        for (error, wanted) in [
            (no_tls(), "DXF_FROM_INSECURE=1"),
            (asked(), "DXF_FROM_ALLOW_INSECURE_AUTH=1"),
            (
                unauthorized(None),
                "DXF_FROM_USERNAME and DXF_FROM_PASSWORD",
            ),
            (
                unauthorized(Some("DXF_PASSWORD_FILE")),
                "from DXF_PASSWORD_FILE were",
            ),
        ] {
            let said = line("op", &error.at("source r").into());
            assert!(said.contains(wanted), "{said}");
        }
        let url = "https://r/v2/a/manifests/x";
        let missing = status("GET", url, 404, "MANIFEST_UNKNOWN").at("source r");
        let missing = line("op", &missing.into());
        assert!(missing.contains("dxf list-aliases a") && missing.ends_with("with DXF_HOST=r"));
        let there = line("op", &no_tls().at("destination r").into());
        assert!(there.contains("set DXF_INSECURE=1"), "{there}");
    }

    #[test]
    fn logins_of_other_kinds_are_named() {
        let mut error = unauthorized(Some("DXF_PASSWORD"));
        if let Error::Unauthorized { accepts, .. } = &mut error {
            *accepts = ["Negotiate", "NTLM"].map(String::from).into();
        }
        let said = line("op", &error.into());
        assert!(
            said.contains("accepts Negotiate or NTLM logins only"),
            "{said}"
        );
        assert!(!said.contains("refused"), "{said}");
        let none = Error::NoPlatform {
            wanted: "x/y".into(),
            available: vec![],
        };
        let said = line("op", &Failure::Missing(none));
        assert!(said.ends_with("none of its images names one"), "{said}");
    }

    #[test]
    fn a_registry_that_speaks_http_is_not_asked_for_https() {
        let url = "http://r.example:5000/v2/a/manifests/x";
        let said = |code| line("op", &status("PUT", url, 400, code).into());
        assert!(said("").contains("unset DXF_INSECURE"));
        assert!(!said("MANIFEST_INVALID").contains("DXF_INSECURE"));
    }

    #[test]
    fn ecr_is_named_what_makes_its_passwords() {
        let url = "https://1.dkr.ecr.eu-west-1.amazonaws.com/v2/a/tags/list";
        let refused = |source: Option<&str>| Error::Unauthorized {
            status: 401,
            request: request("GET", url),
            errors: vec![],
            source: source.map(str::to_string),
            accepts: Box::default(),
        };
        let mut expired = status("GET", url, 403, "DENIED");
        if let Error::Status { errors, .. } = &mut expired {
            errors[0].message = "Your authorization token has expired.".into();
        }
        for error in [refused(None), refused(Some("config.json")), expired] {
            let said = line("op", &error.into());
            assert!(
                said.contains("get-login-password --region eu-west-1 |"),
                "{said}"
            );
        }
        // No code tells a password that has expired from a permission that is missing.
        let denied = line("op", &status("GET", url, 403, "DENIED").into());
        for said in ["lacks the permission", "12 hours", "get-login-password"] {
            assert!(denied.contains(said), "{denied}");
        }
        let elsewhere = line("op", &status("GET", "https://r/v2/a", 403, "DENIED").into());
        assert!(!elsewhere.contains("12 hours"), "{elsewhere}");
    }

    #[test]
    fn a_server_cannot_write_on_the_terminal() {
        let mut error = status("GET", "https://r/x", 400, "X");
        if let Error::Status { errors, .. } = &mut error {
            errors[0].message = format!("\x1b[2J\ndxf: all is well{}", "!".repeat(5000));
        }
        let said = line("op", &error.into());
        assert!(!said.contains('\x1b') && !said.contains('\n'));
        for failure in [
            Failure::Usage(format!("a\nb{}", "x".repeat(100_000))),
            Failure::Damaged("x".repeat(100_000)),
            Error::invalid("digest", "x".repeat(100_000), "the reason").into(),
            Error::malformed("x".repeat(100_000), "the reason").into(),
        ] {
            let said = line("op", &failure);
            assert!(
                said.chars().count() < 1500 && !said.contains('\n'),
                "{said}"
            );
            let has_reason = matches!(failure, Failure::Error(_));
            assert_eq!(said.contains("the reason"), has_reason, "{said}");
        }
    }
}
