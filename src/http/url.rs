//! Absolute http(s) URLs whose path and query stay exactly as they came.
//!
//! Signed URLs and upload states (`_state=…`) break when a byte of them is
//! encoded again or moved, so this is RFC 3986 reference resolution over the
//! text, and nothing more. `Display` leaves out the query, because it may be a
//! credential; [`Url::as_str`] has it.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

use crate::error::{Error, Result};
use crate::http::address::Network;
use crate::text::without_login;

/// How a server is spoken to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Scheme {
    /// Over TLS.
    #[default]
    Https,
    /// In the clear.
    Http,
}

impl Scheme {
    /// `https` or `http`.
    pub fn as_str(self) -> &'static str {
        match self {
            Scheme::Https => "https",
            Scheme::Http => "http",
        }
    }

    fn default_port(self) -> u16 {
        match self {
            Scheme::Https => 443,
            Scheme::Http => 80,
        }
    }
}

/// Scheme, host and port: what credentials are bound to (RFC 6454). Another
/// port of the same host is another party (GHSA-vh4v-2xq2-g5cg).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct UrlOrigin {
    scheme: Scheme,
    host: String,
    port: u16,
}

impl UrlOrigin {
    /// The port, the scheme's own where none was written.
    pub fn port(&self) -> u16 {
        self.port
    }
}

/// An absolute URL without fragment and user information.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Url {
    scheme: Scheme,
    authority: String,
    /// Path and query as they go into the request line; starts with `/`.
    target: String,
}

impl Url {
    /// The URL of `target` (a path with or without query) at `authority`.
    ///
    /// # Errors
    /// [`Error::Invalid`] when `authority` is not a host with an optional port.
    pub fn new(scheme: Scheme, authority: &str, target: &str) -> Result<Url> {
        check_authority(authority)?;
        let target = target.split('#').next().unwrap_or_default();
        let slash = if target.starts_with('/') { "" } else { "/" };
        Ok(Url {
            scheme,
            authority: authority.to_string(),
            target: sendable(&format!("{slash}{target}")),
        })
    }

    /// Parses an absolute URL.
    ///
    /// # Errors
    /// [`Error::Invalid`] for any scheme but http and https, for user
    /// information, and for an invalid URL.
    pub fn parse(text: &str) -> Result<Url> {
        let bad = |why: &str| Error::invalid("URL", without_login(without_query(text)), why);
        let (scheme, rest) = text
            .split_once("://")
            .ok_or_else(|| bad("it is not absolute"))?;
        let scheme = match scheme.to_ascii_lowercase().as_str() {
            "https" => Scheme::Https,
            "http" => Scheme::Http,
            _ => return Err(bad("its scheme is neither https nor http")),
        };
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        Url::new(scheme, &rest[..end], &rest[end..])
    }

    /// A URL at which no server answers: RFC 2606 keeps the name free for ever.
    pub fn nowhere() -> Url {
        Url {
            scheme: Scheme::Https,
            authority: "nowhere.invalid".to_string(),
            target: "/".to_string(),
        }
    }

    /// Resolves a reference as found in `Location` or `Link` (RFC 3986, 5.2).
    ///
    /// # Errors
    /// As [`Url::parse`].
    pub fn join(&self, reference: &str) -> Result<Url> {
        let reference = reference.trim().split('#').next().unwrap_or_default();
        if has_scheme(reference) {
            return Url::parse(reference);
        }
        if let Some(rest) = reference.strip_prefix("//") {
            let end = rest.find(['/', '?']).unwrap_or(rest.len());
            return Url::new(self.scheme, &rest[..end], &rest[end..]);
        }
        let path = self.path();
        let target = match reference.as_bytes().first() {
            None => self.target.clone(),
            Some(b'/') => without_dots(reference),
            Some(b'?') => format!("{path}{reference}"),
            Some(_) => {
                let folder = &path[..path.rfind('/').map_or(0, |at| at + 1)];
                without_dots(&format!("{folder}{reference}"))
            }
        };
        Url::new(self.scheme, &self.authority, &target)
    }

    /// The same URL with one more query parameter, its value encoded.
    pub fn with_query(&self, key: &str, value: &str) -> Url {
        let mark = match self.target.split_once('?') {
            None => "?",
            Some((_, query)) if query.is_empty() || query.ends_with('&') => "",
            Some(_) => "&",
        };
        let target = format!("{}{mark}{key}={}", self.target, encoded(value));
        Url {
            target,
            ..self.clone()
        }
    }

    /// The same URL with another scheme.
    pub fn with_scheme(&self, scheme: Scheme) -> Url {
        Url {
            scheme,
            ..self.clone()
        }
    }

    /// The same URL at another host.
    ///
    /// # Errors
    /// [`Error::Invalid`] when `authority` is not a host with an optional port.
    pub fn with_authority(&self, authority: &str) -> Result<Url> {
        Url::new(self.scheme, authority, &self.target)
    }

    /// The URL that a server at `home` means. A server behind a TLS proxy often
    /// names itself by http, and loses its port on the way; that is put right,
    /// and so is https for the very address that speaks http. Nothing else is
    /// touched.
    pub fn as_meant_at(&self, home: &Url) -> Url {
        let lost_tls = self.scheme == Scheme::Http && home.scheme == Scheme::Https;
        // The other way only where the address is the very same: another port
        // of an http registry's host may well speak TLS.
        let same = self.authority.eq_ignore_ascii_case(&home.authority);
        if self.host() != home.host() || !(lost_tls || same) {
            return self.clone();
        }
        let authority = match self.origin().port == self.scheme.default_port() {
            true => home.authority.clone(),
            false => self.authority.clone(),
        };
        Url {
            scheme: home.scheme,
            authority,
            target: self.target.clone(),
        }
    }

    /// The whole text, query and all: for the wire only.
    pub fn as_str(&self) -> String {
        format!(
            "{}://{}{}",
            self.scheme.as_str(),
            self.authority,
            self.target
        )
    }

    /// How the server is spoken to.
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// `host[:port]` as written.
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// The path, without query.
    pub fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }

    /// The host without port, lower case, an IPv6 address without brackets.
    pub fn host(&self) -> String {
        let (name, _) = split_port(&self.authority);
        name.trim_start_matches('[')
            .trim_end_matches(']')
            .to_ascii_lowercase()
    }

    /// What credentials for this URL are bound to.
    pub fn origin(&self) -> UrlOrigin {
        let port = split_port(&self.authority)
            .1
            .and_then(|port| port.parse().ok());
        UrlOrigin {
            scheme: self.scheme,
            host: self.host(),
            port: port.unwrap_or(self.scheme.default_port()),
        }
    }

    /// Whether the host is written as an address of this machine or of a
    /// private network, or as `localhost`.
    pub fn is_local(&self) -> bool {
        Network::written(self).is_some_and(|network| network > Network::Internet)
    }
}

/// `host:port` in two; the colons inside `[…]` are the address's own.
pub(crate) fn split_port(authority: &str) -> (&str, Option<&str>) {
    match authority.rsplit_once(':') {
        Some((name, port)) if !port.contains(']') => (name, Some(port)),
        _ => (authority, None),
    }
}

fn check_authority(authority: &str) -> Result<()> {
    let bad = |why| Error::invalid("URL host", authority, why);
    if authority.contains('@') {
        return Err(Error::invalid(
            "URL host",
            "…@…",
            "user information is not allowed in it",
        ));
    }
    let (name, port) = split_port(authority);
    if port.is_some_and(|p| p.starts_with('+') || p.parse::<u16>().map_or(true, |p| p == 0)) {
        return Err(bad("its port is not a number from 1 to 65535"));
    }
    let legal = match name
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
    {
        Some(inner) => inner.parse::<Ipv6Addr>().is_ok(),
        // Buckets in object stores do have `_` in their host names.
        None => {
            !name.is_empty()
                && name
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b))
                && !is_disguised(name.strip_suffix('.').unwrap_or(name))
        }
    };
    if legal {
        Ok(())
    } else {
        Err(bad("it is not a host name or an address"))
    }
}

/// Whether resolvers would read `name` as an address although it is not written
/// as one: `127.1`, `2130706433` and `0x7f.1` are all this machine.
fn is_disguised(name: &str) -> bool {
    let is_number = |label: &str| match label.strip_prefix("0x").or(label.strip_prefix("0X")) {
        Some(digits) => digits.bytes().all(|b| b.is_ascii_hexdigit()),
        None => !label.is_empty() && label.bytes().all(|b| b.is_ascii_digit()),
    };
    name.split('.').all(is_number) && name.parse::<Ipv4Addr>().is_err()
}

fn has_scheme(reference: &str) -> bool {
    reference.split_once("://").is_some_and(|(scheme, _)| {
        scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b))
    })
}

/// Removes `.` and `..` segments of the path (RFC 3986, 5.2.4).
fn without_dots(target: &str) -> String {
    let (path, query) = match target.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (target, None),
    };
    let mut kept: Vec<&str> = Vec::new();
    let segments: Vec<&str> = path.split('/').skip(1).collect();
    for (i, segment) in segments.iter().enumerate() {
        let last = i + 1 == segments.len();
        match *segment {
            "." if last => kept.push(""),
            "." => {}
            ".." => {
                kept.pop();
                if last {
                    kept.push("");
                }
            }
            other => kept.push(other),
        }
    }
    let path = format!("/{}", kept.join("/"));
    match query {
        Some(query) => format!("{path}?{query}"),
        None => path,
    }
}

/// Encodes only the bytes no request line can hold.
fn sendable(target: &str) -> String {
    let legal = |b: &u8| (0x21..0x7f).contains(b) && !b"\"<>\\^`".contains(b);
    if target.as_bytes().iter().all(legal) {
        return target.to_string();
    }
    encode_unless(target, |b| legal(&b))
}

/// `text` as the value of a query parameter.
pub fn encoded(text: &str) -> String {
    // `:`, `/` and `,` are legal there, and registries expect scopes and
    // digests to be readable.
    encode_unless(text, |b| {
        b.is_ascii_alphanumeric() || b"-._~:/,*@".contains(&b)
    })
}

fn encode_unless(text: &str, keep: impl Fn(u8) -> bool) -> String {
    let mut out = String::with_capacity(text.len());
    for b in text.bytes() {
        if keep(b) {
            out.push(char::from(b));
        } else {
            out.push_str(&format!("%{b:02X}"));
        }
    }
    out
}

fn without_query(text: &str) -> &str {
    text.split('?').next().unwrap_or_default()
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}://{}{}",
            self.scheme.as_str(),
            self.authority,
            self.path()
        )
    }
}

impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn join(base: &str, reference: &str) -> String {
        Url::parse(base).unwrap().join(reference).unwrap().as_str()
    }

    #[test]
    fn references_resolve_byte_for_byte() {
        let base = "https://r.example:5000/v2/a/blobs/uploads/?x=1";
        for (reference, expected) in [
            (
                "https://cdn.example/x?sig=%2B+'{}|",
                "https://cdn.example/x?sig=%2B+'{}|",
            ),
            ("http://r.example:5000/x", "http://r.example:5000/x"),
            ("//other.example/p?q", "https://other.example/p?q"),
            (
                "/v2/up/1?_state=a%2Fb&&c",
                "https://r.example:5000/v2/up/1?_state=a%2Fb&&c",
            ),
            ("abc?x", "https://r.example:5000/v2/a/blobs/uploads/abc?x"),
            ("../x", "https://r.example:5000/v2/a/blobs/x"),
            ("../../../../../x/.", "https://r.example:5000/x/"),
            ("?n=2", "https://r.example:5000/v2/a/blobs/uploads/?n=2"),
            ("", "https://r.example:5000/v2/a/blobs/uploads/?x=1"),
            ("/x#fragment", "https://r.example:5000/x"),
            (
                "/a?next=http://x/y",
                "https://r.example:5000/a?next=http://x/y",
            ),
            ("/a b<é>", "https://r.example:5000/a%20b%3C%C3%A9%3E"),
        ] {
            assert_eq!(join(base, reference), expected, "{reference}");
        }
    }

    #[test]
    fn only_http_and_no_user_information() {
        for bad in [
            "ftp://x/",
            "file:///etc/passwd",
            "x",
            "/x",
            "https://",
            "https:///x",
            "https://u:p@h/",
            "https://h:0/",
            "https://h:99999/",
            "https://a b/",
            "https://[::1/",
            "javascript://x",
            "https://2130706433/",
            "https://127.1/",
            "https://0x7f.1./",
            "https://0300.0250.0.1/",
        ] {
            assert!(Url::parse(bad).is_err(), "{bad}");
        }
        let secret = Url::parse("https://user:hunter2@h/")
            .unwrap_err()
            .to_string();
        assert!(!secret.contains("hunter2"), "{secret}");
    }

    #[test]
    fn the_digest_goes_behind_whatever_is_there() {
        let url = |text: &str| {
            Url::parse(text)
                .unwrap()
                .with_query("digest", "sha256:ab")
                .as_str()
        };
        assert_eq!(url("https://h/u"), "https://h/u?digest=sha256:ab");
        assert_eq!(
            url("https://h/u?_state=x%3D"),
            "https://h/u?_state=x%3D&digest=sha256:ab"
        );
        assert_eq!(url("https://h/u?"), "https://h/u?digest=sha256:ab");
        let plus = Url::parse("https://h/")
            .unwrap()
            .with_query("scope", "a b&c=+")
            .as_str();
        assert_eq!(plus, "https://h/?scope=a%20b%26c%3D%2B");
    }

    #[test]
    fn origins_know_default_ports_and_case() {
        let origin = |text: &str| Url::parse(text).unwrap().origin();
        assert_eq!(
            origin("https://R.example/x"),
            origin("HTTPS://r.example:443/y?z")
        );
        assert_ne!(
            origin("https://r.example/"),
            origin("https://r.example:5000/")
        );
        assert_ne!(
            origin("https://r.example/"),
            origin("http://r.example:443/")
        );
        assert_eq!(origin("http://[::1]/"), origin("http://[::1]:80/"));
    }

    #[test]
    fn a_server_behind_tls_is_understood() {
        let home = Url::parse("https://r.example:5000/v2/").unwrap();
        let meant = |text: &str| Url::parse(text).unwrap().as_meant_at(&home).as_str();
        assert_eq!(meant("http://r.example:5000/u"), "https://r.example:5000/u");
        assert_eq!(meant("http://R.example/u?a"), "https://r.example:5000/u?a");
        assert_eq!(meant("https://r.example/u"), "https://r.example/u");
        assert_eq!(meant("http://other.example/u"), "http://other.example/u");
        // In the opposite case only the very same address is taken for a mistake.
        let home = Url::parse("http://r.example:5000/v2/").unwrap();
        let meant = |text: &str| Url::parse(text).unwrap().as_meant_at(&home).as_str();
        assert_eq!(meant("https://r.example:5000/u"), "http://r.example:5000/u");
        assert_eq!(
            meant("https://r.example:5001/u"),
            "https://r.example:5001/u"
        );
        assert_eq!(meant("https://r.example/u"), "https://r.example/u");
    }

    #[test]
    fn local_addresses_are_recognised() {
        for local in [
            "127.0.0.1",
            "10.1.2.3",
            "192.168.0.1",
            "169.254.169.254",
            "172.16.0.1",
            "0.0.0.0",
            "[::1]",
            "[fe80::1]",
            "[fd00::1]",
            "localhost",
            "x.localhost",
            "[::ffff:10.0.0.1]",
            "100.100.100.200",
            "127.0.0.1.",
            "localhost.",
        ] {
            assert!(
                Url::parse(&format!("https://{local}:1/"))
                    .unwrap()
                    .is_local(),
                "{local}"
            );
        }
        for public in [
            "r.example",
            "8.8.8.8",
            "[2001:db8::1]",
            "172.32.0.1",
            "r1.0x",
        ] {
            assert!(
                !Url::parse(&format!("https://{public}/"))
                    .unwrap()
                    .is_local(),
                "{public}"
            );
        }
    }

    #[test]
    fn display_hides_the_query() {
        let url = Url::parse("https://h/p?sig=secret").unwrap();
        assert_eq!(format!("{url} {url:?}"), "https://h/p https://h/p");
    }

    proptest! {
        #[test]
        fn resolution_never_panics_and_can_always_be_sent(reference in "\\PC{0,60}") {
            let base = Url::parse("https://r.example/v2/x/").unwrap();
            if let Ok(url) = base.join(&reference) {
                prop_assert!(url.as_str().parse::<http::Uri>().is_ok(), "{}", url.as_str());
            }
        }

        #[test]
        fn legal_targets_are_untouched(target in "/[a-zA-Z0-9_~!$&'()*+,;=:@%-]{0,30}(\\?[a-zA-Z0-9._~!$&'()*+,;=:@%/?-]{0,30})?") {
            let base = Url::parse("https://r.example/").unwrap();
            prop_assert_eq!(base.join(&target).unwrap().as_str(), format!("https://r.example{target}"));
        }
    }
}
