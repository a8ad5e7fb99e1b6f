//! Names of registries, repositories and what they hold, in the grammar of
//! distribution/reference:
//!
//! ```text
//! reference       := name [ ":" tag ] [ "@" digest ]
//! name            := [ domain "/" ] path-component { "/" path-component }
//! domain          := host [ ":" port-number ]
//! host            := domain-name | IPv4 | "[" IPv6 "]"
//! path-component  := alpha-numeric { separator alpha-numeric }
//! separator       := "." | "_" | "__" | "-" { "-" }
//! tag             := /[A-Za-z0-9_][A-Za-z0-9._-]{0,127}/
//! ```
//!
//! Everything here becomes part of a URL or a path, so the grammar is also the
//! guard against `..` and friends (CVE-2024-3727). Defaults from the
//! environment are unknown here; Docker Hub's rules live in [`crate::hub`].

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;

use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::text::without_login;

/// The longest repository name, with its domain (distribution/reference).
const NAME_MAX: usize = 255;

/// A registry: `host[:port]`.
///
/// Printed as it was written, but compared without regard to case (RFC 3986,
/// 6.2.2.1): `Quay.io` and `quay.io` are one registry.
#[derive(Debug, Clone)]
pub struct Host(String);

/// A repository's path within its registry.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RepoName(String);

/// A tag: the name of a manifest within its repository.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tag(String);

/// What follows `/manifests/`: a tag or a digest.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Target {
    /// By name.
    Tag(Tag),
    /// By content.
    Digest(Digest),
}

/// The name of an image, as a person writes it.
///
/// ```
/// use dxf_registry::Reference;
/// let r: Reference = "quay.io/team/app:1.0".parse().unwrap();
/// assert_eq!(r.host.as_ref().unwrap().as_str(), "quay.io");
/// assert_eq!(r.repo.as_str(), "team/app");
/// assert_eq!(r.to_string(), "quay.io/team/app:1.0");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    /// The registry, where it is written.
    pub host: Option<Host>,
    /// The repository, exactly as written.
    pub repo: RepoName,
    /// The tag, where it is written.
    pub tag: Option<Tag>,
    /// The digest, where it is written; it wins over the tag.
    pub digest: Option<Digest>,
}

/// A repository in a registry: where a blob already lives.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Origin {
    /// The registry.
    pub host: Host,
    /// The repository.
    pub repo: RepoName,
}

macro_rules! text {
    ($($name:ident),*) => { $(
        impl $name {
            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    )* };
}
text!(Host, RepoName, Tag);

impl PartialEq for Host {
    fn eq(&self, other: &Host) -> bool {
        self.0.eq_ignore_ascii_case(&other.0)
    }
}

impl Eq for Host {}

impl Ord for Host {
    fn cmp(&self, other: &Host) -> Ordering {
        self.folded().cmp(other.folded())
    }
}

impl PartialOrd for Host {
    fn partial_cmp(&self, other: &Host) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Hash for Host {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.folded().for_each(|byte| state.write_u8(byte));
        // Ends the name, as the hash of a string does.
        state.write_u8(0xff);
    }
}

impl PartialEq<&str> for Tag {
    fn eq(&self, other: &&str) -> bool {
        self.0 == *other
    }
}

impl Host {
    /// What is compared.
    fn folded(&self) -> impl Iterator<Item = u8> {
        self.0.bytes().map(|byte| byte.to_ascii_lowercase())
    }

    /// The name without its port; an IPv6 address keeps its brackets.
    pub fn name(&self) -> &str {
        split_port(&self.0).0
    }

    /// The port, where one is written.
    pub fn port(&self) -> Option<u16> {
        split_port(&self.0).1.and_then(|port| port.parse().ok())
    }

    /// Whether the host is this machine: `localhost`, its sub-domains, or a
    /// loopback address.
    pub fn is_loopback(&self) -> bool {
        let name = self.name().to_ascii_lowercase();
        let bare = name.trim_start_matches('[').trim_end_matches(']');
        name == "localhost"
            || name.ends_with(".localhost")
            || bare
                .parse::<std::net::IpAddr>()
                .is_ok_and(|address| address.is_loopback())
    }
}

/// `host:port` in two; the colons inside `[…]` are the address's own.
fn split_port(text: &str) -> (&str, Option<&str>) {
    match text.rsplit_once(':') {
        Some((name, port)) if !port.contains(']') => (name, Some(port)),
        _ => (text, None),
    }
}

impl FromStr for Host {
    type Err = Error;

    fn from_str(text: &str) -> Result<Host> {
        let bad = |why| Error::invalid("host", without_login(text), why);
        if text.contains('@') {
            return Err(bad(
                "leave out what is before the @: a login is no part of it",
            ));
        }
        let (name, port) = split_port(text);
        // What comes before the first / of a URL.
        if matches!(text, "http:" | "https:") {
            return Err(bad("leave out the scheme, such as https://"));
        }
        if port.is_some_and(|port| {
            port.parse::<u16>().map_or(true, |p| p == 0) || port.starts_with('+')
        }) {
            return Err(bad("the port must be a number from 1 to 65535"));
        }
        let legal = match name.strip_prefix('[') {
            Some(rest) => rest
                .strip_suffix(']')
                .is_some_and(|inner| inner.parse::<std::net::Ipv6Addr>().is_ok()),
            None => name.split('.').all(is_label),
        };
        if !legal {
            return Err(bad(
                "it must look like name or name:port, without scheme or path",
            ));
        }
        Ok(Host(text.to_string()))
    }
}

fn is_label(label: &str) -> bool {
    let edge = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_alphanumeric());
    edge(label.bytes().next())
        && edge(label.bytes().last())
        && label
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

impl FromStr for RepoName {
    type Err = Error;

    fn from_str(text: &str) -> Result<RepoName> {
        let bad = |why| Error::invalid("repository", text, why);
        if text.len() > NAME_MAX {
            return Err(bad("it is longer than 255 characters"));
        }
        if !text.split('/').all(is_path_component) {
            return Err(bad(
                "it takes lower-case letters, digits and single . _ - between them, parts separated by /",
            ));
        }
        Ok(RepoName(text.to_string()))
    }
}

fn is_path_component(part: &str) -> bool {
    let word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let mut rest = part.as_bytes();
    loop {
        let n = rest.iter().take_while(|b| word(**b)).count();
        if n == 0 {
            return false;
        }
        rest = &rest[n..];
        if rest.is_empty() {
            return true;
        }
        let separator = rest.iter().take_while(|b| !word(**b)).count();
        match &rest[..separator] {
            b"." | b"_" | b"__" => {}
            dashes if dashes.iter().all(|b| *b == b'-') => {}
            _ => return false,
        }
        rest = &rest[separator..];
    }
}

impl FromStr for Tag {
    type Err = Error;

    fn from_str(text: &str) -> Result<Tag> {
        let first = text.bytes().next();
        let legal = first.is_some_and(|b| b.is_ascii_alphanumeric() || b == b'_')
            && text.len() <= 128
            && text
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
        if !legal {
            return Err(Error::invalid(
                "alias",
                text,
                "it takes up to 128 letters, digits and _ . -, and starts with no . or -",
            ));
        }
        Ok(Tag(text.to_string()))
    }
}

impl Target {
    /// The full name that this means in `repository`.
    pub fn within(&self, repository: &str) -> String {
        match self {
            Target::Tag(tag) => format!("{repository}:{tag}"),
            Target::Digest(digest) => format!("{repository}@{digest}"),
        }
    }

    /// The error for a store, by the name it calls itself, that lacks it.
    pub fn missing_in(&self, store: &str) -> Error {
        match self {
            Target::Tag(tag) => Error::NoAlias {
                alias: tag.to_string(),
                store: store.to_string(),
            },
            Target::Digest(digest) => Error::NotFound {
                what: format!("manifest {digest} in {store}"),
            },
        }
    }
}

impl FromStr for Target {
    type Err = Error;

    fn from_str(text: &str) -> Result<Target> {
        // A tag has no colon, so a word with one was meant as a digest.
        if text.contains(':') {
            Ok(Target::Digest(text.parse()?))
        } else {
            Ok(Target::Tag(text.parse()?))
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::Tag(tag) => tag.fmt(f),
            Target::Digest(digest) => digest.fmt(f),
        }
    }
}

impl From<Tag> for Target {
    fn from(tag: Tag) -> Target {
        Target::Tag(tag)
    }
}

impl From<Digest> for Target {
    fn from(digest: Digest) -> Target {
        Target::Digest(digest)
    }
}

impl Reference {
    /// What to ask the registry for: the digest, else the tag, else `latest`.
    pub fn target(&self) -> Target {
        match (&self.digest, &self.tag) {
            (Some(digest), _) => Target::Digest(*digest),
            (None, Some(tag)) => Target::Tag(tag.clone()),
            (None, None) => Target::Tag(Tag("latest".to_string())),
        }
    }
}

impl FromStr for Reference {
    type Err = Error;

    fn from_str(text: &str) -> Result<Reference> {
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest.parse()?)),
            None => (text, None),
        };
        // A colon before the last slash belongs to the host's port.
        let (name, tag) = match rest.rsplit_once(':') {
            Some((name, tag)) if !tag.contains('/') && !tag.contains(']') => {
                (name, Some(tag.parse()?))
            }
            _ => (rest, None),
        };
        let (host, path) = match name.split_once('/') {
            Some((first, path)) if is_domain(first) => (Some(first.parse()?), path),
            _ => (None, name),
        };
        if name.len() > NAME_MAX {
            return Err(Error::invalid(
                "reference",
                text,
                "its name is longer than 255 characters",
            ));
        }
        Ok(Reference {
            host,
            repo: path.parse()?,
            tag,
            digest,
        })
    }
}

/// What Docker takes for a registry before the first slash: a name with a dot,
/// a port or capitals, or `localhost`.
fn is_domain(first: &str) -> bool {
    first.contains(['.', ':'])
        || first == "localhost"
        || first.bytes().any(|b| b.is_ascii_uppercase())
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(host) = &self.host {
            write!(f, "{host}/")?;
        }
        self.repo.fmt(f)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        match &self.digest {
            Some(digest) => write!(f, "@{digest}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const D: &str = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[test]
    fn hosts() {
        for good in [
            "localhost",
            "localhost:5000",
            "r.example.com",
            "127.0.0.1:80",
            "[::1]:5000",
            "[::1]",
            "a-b.c",
            "X.Y",
        ] {
            assert_eq!(good.parse::<Host>().unwrap().as_str(), good);
        }
        for bad in [
            "",
            ":5000",
            "host:",
            "host:0",
            "host:70000",
            "host:+5",
            "https://h",
            "h/p",
            "a@b",
            "a b",
            "h?x",
            "h#x",
            "-a",
            "a-",
            "a..b",
            "[::1",
            "::1",
            "[zz]",
            "a_b",
            "host:5000:1",
        ] {
            assert!(bad.parse::<Host>().is_err(), "{bad}");
        }
        let h: Host = "[::1]:5000".parse().unwrap();
        assert_eq!(
            (h.name(), h.port(), h.is_loopback()),
            ("[::1]", Some(5000), true)
        );
        let h: Host = "r.example".parse().unwrap();
        assert_eq!(
            (h.name(), h.port(), h.is_loopback()),
            ("r.example", None, false)
        );
    }

    #[test]
    fn hosts_have_no_case() {
        let (a, b): (Host, Host) = (
            "Quay.io:5000".parse().unwrap(),
            "quay.IO:5000".parse().unwrap(),
        );
        assert_eq!((&a, a.cmp(&b)), (&b, Ordering::Equal));
        assert_eq!(std::collections::HashSet::from([a.clone(), b]).len(), 1);
        assert_eq!(a.to_string(), "Quay.io:5000");
        assert_ne!(a, "quay.io".parse().unwrap());
    }

    #[test]
    fn repositories() {
        for good in ["a", "a/b", "a.b_c__d-e--f/0", "library/ubuntu"] {
            assert_eq!(good.parse::<RepoName>().unwrap().as_str(), good);
        }
        let long = "a".repeat(256);
        for bad in [
            "", "A", "a//b", "/a", "a/", "..", "a/../b", "a..b", "a___b", "-a", "a-", "a b", "a:b",
            "a@b", "é", &long,
        ] {
            assert!(bad.parse::<RepoName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn tags_and_targets() {
        let longest = "t".repeat(128);
        for good in ["latest", "1.0", "_x", "A-b.c", &longest] {
            assert_eq!(good.parse::<Tag>().unwrap().as_str(), good);
        }
        let longer = "t".repeat(129);
        for bad in ["", ".x", "-x", "a/b", "../x", "a:b", "a b", &longer] {
            assert!(bad.parse::<Tag>().is_err(), "{bad}");
        }
        assert!(matches!(D.parse::<Target>().unwrap(), Target::Digest(_)));
        assert!(matches!("v1".parse::<Target>().unwrap(), Target::Tag(_)));
        assert!("sha256:zz".parse::<Target>().is_err());
    }

    #[test]
    fn references() {
        let table = [
            ("ubuntu", None, "ubuntu", None, false),
            ("ubuntu:22.04", None, "ubuntu", Some("22.04"), false),
            ("me/app", None, "me/app", None, false),
            ("localhost/app", Some("localhost"), "app", None, false),
            (
                "localhost:5000/app:x",
                Some("localhost:5000"),
                "app",
                Some("x"),
                false,
            ),
            ("r.io/a/b/c", Some("r.io"), "a/b/c", None, false),
            (
                "[::1]:5000/app:1",
                Some("[::1]:5000"),
                "app",
                Some("1"),
                false,
            ),
            ("Foo/app", Some("Foo"), "app", None, false),
            (&format!("app@{D}"), None, "app", None, true),
            (
                &format!("r.io/app:t@{D}"),
                Some("r.io"),
                "app",
                Some("t"),
                true,
            ),
        ];
        for (text, host, repo, tag, digest) in table {
            let r: Reference = text.parse().unwrap_or_else(|e| panic!("{text}: {e}"));
            assert_eq!(r.host.as_ref().map(Host::as_str), host, "{text}");
            assert_eq!(r.repo.as_str(), repo, "{text}");
            assert_eq!(r.tag.as_ref().map(Tag::as_str), tag, "{text}");
            assert_eq!(r.digest.is_some(), digest, "{text}");
            assert_eq!(r.to_string(), text);
        }
        for bad in [
            "",
            ":",
            "a:",
            "@",
            "app@sha256:ab",
            "App",
            "https://r.io/a",
            "r.io/",
            "a/B",
            "a b",
        ] {
            assert!(bad.parse::<Reference>().is_err(), "{bad}");
        }
    }

    #[test]
    fn digest_wins_over_tag_wins_over_latest() {
        let target = |text: &str| text.parse::<Reference>().unwrap().target().to_string();
        assert_eq!(target("a"), "latest");
        assert_eq!(target("a:b"), "b");
        assert_eq!(target(&format!("a:b@{D}")), D);
    }

    proptest! {
        #[test]
        fn parsing_never_panics_and_printing_round_trips(text in "[a-zA-Z0-9.:/@_\\[\\]-]{0,40}|\\PC{0,20}") {
            if let Ok(r) = text.parse::<Reference>() {
                prop_assert_eq!(r.to_string(), text.clone());
            }
            let _ = text.parse::<Host>();
            if let Ok(name) = text.parse::<RepoName>() {
                prop_assert!(!name.as_str().contains(".."));
            }
        }
    }
}
