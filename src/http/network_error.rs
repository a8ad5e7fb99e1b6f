//! What keeps an answer from arriving, in words: from the errors of ureq, rustls
//! and the operating system to the crate's own.

use std::io;

use rustls::CertificateError;

use crate::error::{CertificateFault as Fault, Error, NetworkKind, RequestLine};
use crate::http::address::Unreachable;
use crate::http::connection::Stale;

/// The error of an answer that trickles.
pub fn slow(line: RequestLine) -> Error {
    Error::Network {
        request: line,
        kind: NetworkKind::Slow,
        why: SLOW.to_string(),
    }
}

const SLOW: &str = "timed out: the server answers too slowly";

/// The error that ureq's is.
pub fn of_ureq(line: RequestLine, error: ureq::Error) -> Error {
    let (kind, why) = match error {
        ureq::Error::Other(e) if e.is::<Stale>() => (NetworkKind::Stale, e.to_string()),
        ureq::Error::Other(e) if e.is::<Unreachable>() => {
            let why = e.to_string();
            return Error::Refused { request: line, why };
        }
        ureq::Error::Io(e) => return of_io(line, e),
        ureq::Error::Timeout(t) => timeout_words(t),
        ureq::Error::HostNotFound => (
            NetworkKind::Name,
            "the host name has no address".to_string(),
        ),
        ureq::Error::ConnectionFailed => (NetworkKind::Connect, "no connection".to_string()),
        ureq::Error::ConnectProxyFailed(why) => {
            (NetworkKind::Proxy, format!("the proxy refused: {why}"))
        }
        ureq::Error::Rustls(e) => tls(&e),
        ureq::Error::Tls(why) => (NetworkKind::Tls, why.to_string()),
        ureq::Error::TlsRequired => (NetworkKind::Tls, "TLS is not available".to_string()),
        other => (NetworkKind::Protocol, other.to_string()),
    };
    Error::Network {
        request: line,
        kind,
        why,
    }
}

/// The same error, said of the proxy: who can't be reached is not the server.
pub fn at_the_proxy(error: Error) -> Error {
    match error {
        Error::Network {
            request,
            kind: NetworkKind::Connect | NetworkKind::Name,
            why,
        } => Error::Network {
            request,
            kind: NetworkKind::Proxy,
            why: format!("at the proxy: {why}"),
        },
        other => other,
    }
}

fn timeout_words(timeout: ureq::Timeout) -> (NetworkKind, String) {
    let why = match timeout {
        ureq::Timeout::Connect | ureq::Timeout::Resolve => "no connection in time",
        ureq::Timeout::PerWrite => "timed out: the server stopped reading",
        ureq::Timeout::RecvResponse => return (NetworkKind::Slow, SLOW.to_string()),
        _ => "timed out: the server went silent",
    };
    (NetworkKind::Timeout, why.to_string())
}

/// The error that a broken stream is; one of ours that travelled through it
/// comes back as itself.
pub fn of_io(line: RequestLine, error: io::Error) -> Error {
    let error = match Error::from_io(error) {
        Ok(ours) => return ours,
        Err(error) => error,
    };
    if error
        .get_ref()
        .is_some_and(|inner| inner.is::<ureq::Error>())
    {
        // The test above proves both steps.
        if let Some(Ok(inner)) = error
            .into_inner()
            .map(|inner| inner.downcast::<ureq::Error>())
        {
            return of_ureq(line, *inner);
        }
        return Error::Network {
            request: line,
            kind: NetworkKind::Protocol,
            why: "unknown".into(),
        };
    }
    let inner = error.get_ref();
    if let Some(error) = inner.and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        let (kind, why) = tls(error);
        return Error::Network {
            request: line,
            kind,
            why,
        };
    }
    let (kind, why) = broken(&error);
    Error::Network {
        request: line,
        kind,
        why,
    }
}

/// What the system says of a connection, and in what words.
fn broken(error: &io::Error) -> (NetworkKind, String) {
    use io::ErrorKind as Kind;
    match error.kind() {
        Kind::TimedOut | Kind::WouldBlock => (
            NetworkKind::Timeout,
            "timed out: the server went silent".into(),
        ),
        Kind::ConnectionRefused => (NetworkKind::Connect, "connection refused".into()),
        Kind::HostUnreachable | Kind::NetworkUnreachable | Kind::AddrNotAvailable => {
            (NetworkKind::Connect, error.to_string())
        }
        Kind::UnexpectedEof
        | Kind::ConnectionReset
        | Kind::ConnectionAborted
        | Kind::BrokenPipe => (NetworkKind::Cut, "the connection was cut".into()),
        // The resolver's errors have no kind of their own.
        _ if error.to_string().contains("lookup") => {
            (NetworkKind::Name, "the host name has no address".into())
        }
        _ => (NetworkKind::Cut, error.to_string()),
    }
}

/// What went wrong in TLS, and in what words.
fn tls(error: &rustls::Error) -> (NetworkKind, String) {
    use rustls::{AlertDescription as Alert, Error as Tls, InvalidMessage};
    let (kind, words) = match error {
        Tls::InvalidCertificate(error) => {
            let (fault, words) = certificate(error);
            return (NetworkKind::Certificate(fault), words);
        }
        Tls::InvalidMessage(InvalidMessage::InvalidContentType) => {
            (NetworkKind::NoTls, "the server does not speak TLS")
        }
        Tls::AlertReceived(Alert::HandshakeFailure) => (
            NetworkKind::Tls,
            "the server and dxf have no TLS version, cipher or key type in common",
        ),
        Tls::AlertReceived(Alert::CertificateRequired) => (
            NetworkKind::ClientCertificate,
            "the server asks for a client certificate",
        ),
        Tls::NoCertificatesPresented => (NetworkKind::Tls, "the server has no certificate"),
        other => return (NetworkKind::Tls, format!("TLS: {other}")),
    };
    (kind, words.to_string())
}

/// Without rustls' own words, which hold arrays of ASN.1.
fn certificate(error: &CertificateError) -> (Fault, String) {
    use CertificateError as Cert;
    let (fault, words) = match error {
        Cert::UnknownIssuer => (
            Fault::Untrusted,
            "the certificate is signed by an unknown authority",
        ),
        // A new authority under the old one's name, as after a renewal by hand.
        Cert::BadSignature => (
            Fault::Untrusted,
            "the certificate is not signed by the authority that is trusted under its name",
        ),
        Cert::Expired | Cert::ExpiredContext { .. } => {
            (Fault::Expired, "the certificate has expired")
        }
        Cert::NotValidYet | Cert::NotValidYetContext { .. } => (
            Fault::NotYetValid,
            "the certificate is not valid yet; check the clock",
        ),
        Cert::NotValidForNameContext { presented, .. } if presented.is_empty() => (
            Fault::WrongName,
            "the certificate has no subjectAltName; its common name is not used",
        ),
        Cert::NotValidForName | Cert::NotValidForNameContext { .. } => {
            (Fault::WrongName, "the certificate is for another name")
        }
        Cert::Other(other) if other.to_string().contains("CaUsedAsEndEntity") => (
            Fault::SelfSigned,
            "the certificate is a CA's own, and is not among those that are trusted",
        ),
        Cert::Other(other) if other.to_string().contains("UnsupportedCertVersion") => (
            Fault::WrongName,
            "the certificate has version 1, which names no host",
        ),
        other => return (Fault::Bad, bad_certificate(other)),
    };
    (fault, words.to_string())
}

fn bad_certificate(error: &CertificateError) -> String {
    use CertificateError as Cert;
    let fixed = match error {
        Cert::Revoked => "the certificate was revoked",
        Cert::InvalidPurpose | Cert::InvalidPurposeContext { .. } => {
            "the certificate is not for servers (extendedKeyUsage)"
        }
        Cert::BadEncoding => "the certificate is damaged",
        Cert::UnsupportedSignatureAlgorithmContext { .. }
        | Cert::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => {
            "the certificate or its issuer uses a type of key or signature that dxf cannot verify"
        }
        other => {
            let name = format!("{other:?}");
            let name = name.split(|c: char| !c.is_ascii_alphanumeric()).next();
            return format!("bad certificate: {}", name.unwrap_or_default());
        }
    };
    fixed.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::pki_types::UnixTime;
    use rustls::{AlertDescription, Error as Tls, InvalidMessage};

    fn kind(error: Tls) -> NetworkKind {
        let line = || RequestLine {
            method: "GET".to_string(),
            url: "https://r/v2/".to_string(),
        };
        let direct = of_ureq(line(), ureq::Error::Rustls(error.clone()));
        let travelled = of_io(line(), io::Error::other(error));
        match (direct, travelled) {
            (Error::Network { kind, .. }, Error::Network { kind: other, .. }) => {
                assert_eq!(kind, other);
                kind
            }
            (other, _) => panic!("{other}"),
        }
    }

    #[test]
    fn faults_of_tls_have_kinds() {
        let now = UnixTime::now();
        let (time, not_after) = (now, now);
        let faults = [
            (CertificateError::UnknownIssuer, Fault::Untrusted),
            (CertificateError::BadSignature, Fault::Untrusted),
            (CertificateError::Expired, Fault::Expired),
            (
                CertificateError::ExpiredContext { time, not_after },
                Fault::Expired,
            ),
            (CertificateError::NotValidYet, Fault::NotYetValid),
            (CertificateError::NotValidForName, Fault::WrongName),
            (CertificateError::Revoked, Fault::Bad),
        ];
        for (error, fault) in faults {
            let found = kind(Tls::InvalidCertificate(error));
            assert_eq!(found, NetworkKind::Certificate(fault));
        }
        let asked = Tls::AlertReceived(AlertDescription::CertificateRequired);
        assert_eq!(kind(asked), NetworkKind::ClientCertificate);
        let plain = Tls::InvalidMessage(InvalidMessage::InvalidContentType);
        assert_eq!(kind(plain), NetworkKind::NoTls);
        assert_eq!(kind(Tls::NoCertificatesPresented), NetworkKind::Tls);
    }

    #[test]
    fn what_a_proxy_refuses_is_the_proxy_s() {
        let line = RequestLine {
            method: "GET".to_string(),
            url: "https://r/v2/".to_string(),
        };
        for error in [
            of_ureq(line.clone(), ureq::Error::ConnectProxyFailed("403".into())),
            at_the_proxy(of_io(line, io::ErrorKind::ConnectionRefused.into())),
        ] {
            assert!(error.is_temporary(), "{error}");
            assert!(
                matches!(
                    error,
                    Error::Network {
                        kind: NetworkKind::Proxy,
                        ..
                    }
                ),
                "{error:?}"
            );
        }
    }
}
