//! Why no answer arrived: the kinds of network failures.

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
