//! Which proxy a URL is fetched through, if any: the rules of curl and Go, as
//! far as they agree. A bare name in the list of exceptions covers its
//! sub-domains, networks may be given as CIDR, ports may be named, and this
//! machine is never reached through a proxy.

use std::net::IpAddr;

use crate::error::{Error, Result};
use crate::http::url::{self, Scheme, Url};
use crate::secret::Secret;

/// The proxies to use; their URLs may carry a user's name and password.
#[derive(Clone, Default)]
pub struct Proxies {
    /// For `http` URLs.
    pub http: Option<Secret>,
    /// For `https` URLs.
    pub https: Option<Secret>,
    /// Hosts to reach directly, separated by commas.
    pub no_proxy: String,
    /// What `http` and `https` are called where they were set, such as a
    /// variable's name, for errors.
    pub names: [Option<&'static str>; 2],
}

impl Proxies {
    /// Whether a request to `url` goes through a proxy.
    pub fn apply_to(&self, url: &Url) -> bool {
        self.choose(url).is_ok_and(|proxy| proxy.is_some())
    }

    /// Whether one of them is spoken to over TLS.
    pub(crate) fn speak_tls(&self) -> bool {
        let https = |proxy: &Secret| {
            parse(proxy).is_some_and(|p| p.protocol() == ureq::ProxyProtocol::Https)
        };
        [&self.http, &self.https].into_iter().flatten().any(https)
    }

    /// The proxy for `url`.
    ///
    /// # Errors
    /// [`Error::Invalid`] when the proxy's URL is none; the URL itself is not
    /// repeated, because it may hold a password.
    pub(crate) fn choose(&self, url: &Url) -> Result<Option<ureq::Proxy>> {
        let (proxy, name) = match url.scheme() {
            Scheme::Http => (&self.http, self.names[0]),
            Scheme::Https => (&self.https, self.names[1]),
        };
        let Some(proxy) = proxy.as_ref().filter(|proxy| !proxy.is_empty()) else {
            return Ok(None);
        };
        if self.is_direct(url) {
            return Ok(None);
        }
        let parsed = parse(proxy).map(Some);
        parsed.ok_or_else(|| Error::invalid(name.unwrap_or("proxy"), "(not shown)", FORM))
    }

    fn is_direct(&self, url: &Url) -> bool {
        let host = url.host();
        let address = host.parse::<IpAddr>().ok();
        let loopback = host == "localhost"
            || host.ends_with(".localhost")
            || address.is_some_and(|a| a.is_loopback());
        loopback
            || self
                .no_proxy
                .split([',', ' '])
                .any(|rule| matches(rule.trim(), &host, address, url))
    }
}

/// What is said of a proxy that is none.
const FORM: &str = "it must look like http://[user:password@]host:port; \
                    https, socks5, socks5h, socks4 and socks4a work too";

/// A URL by one of the schemes of curl; HTTP where there is none.
fn parse(proxy: &Secret) -> Option<ureq::Proxy> {
    let text = proxy.reveal();
    // ureq knows the schemes in lower case only.
    let lower = text.split_once("://").map(|(scheme, rest)| {
        let scheme = scheme.to_ascii_lowercase();
        format!("{scheme}://{rest}")
    });
    let parsed = ureq::Proxy::new(lower.as_deref().unwrap_or(text)).ok();
    // Of a port that is none, ureq makes its own.
    parsed.filter(|proxy| {
        let authority = proxy.uri().authority().map_or("", |a| a.as_str());
        let port = url::split_port(authority).1;
        !proxy.host().is_empty() && port.is_none_or(|port| port.parse::<u16>().is_ok())
    })
}

fn matches(rule: &str, host: &str, address: Option<IpAddr>, url: &Url) -> bool {
    if rule.is_empty() {
        return false;
    }
    if rule == "*" {
        return true;
    }
    let (name, port) = split_port(rule);
    if port.is_some_and(|port| port.parse() != Ok(url.origin().port())) {
        return false;
    }
    if let Some(address) = address {
        return in_network(name, address);
    }
    let name = name.to_ascii_lowercase();
    let bare = name.trim_start_matches('*').trim_start_matches('.');
    let below = host
        .strip_suffix(bare)
        .is_some_and(|rest| rest.ends_with('.'));
    // A name with a dot in front matches only names below it.
    below || (host == bare && bare == name)
}

/// A rule's port; the colons of an IPv6 address are not one.
fn split_port(rule: &str) -> (&str, Option<&str>) {
    if rule.matches(':').count() > 1 && !rule.starts_with('[') {
        return (rule, None);
    }
    url::split_port(rule)
}

fn in_network(rule: &str, address: IpAddr) -> bool {
    let rule = rule.trim_start_matches('[').trim_end_matches(']');
    let (network, bits) = match rule.split_once('/') {
        Some((network, bits)) => (network, bits.parse::<u32>().ok()),
        None => (rule, Some(128)),
    };
    let prefix = |a: u128, width: u32, bits: u32| match width.saturating_sub(bits) {
        shift if shift >= width => 0,
        shift => a >> shift,
    };
    match (network.parse::<IpAddr>(), address, bits) {
        (Ok(IpAddr::V4(n)), IpAddr::V4(a), Some(bits)) => {
            let number = |x: std::net::Ipv4Addr| u128::from(u32::from(x));
            prefix(number(n), 32, bits) == prefix(number(a), 32, bits)
        }
        (Ok(IpAddr::V6(n)), IpAddr::V6(a), Some(bits)) => {
            prefix(u128::from(n), 128, bits) == prefix(u128::from(a), 128, bits)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn direct(no_proxy: &str, url: &str) -> bool {
        let proxies = Proxies {
            no_proxy: no_proxy.to_string(),
            ..Proxies::default()
        };
        proxies.is_direct(&Url::parse(url).unwrap())
    }

    #[test]
    fn exceptions_match_as_in_curl_and_go() {
        for (rule, url, expected) in [
            ("example.com", "https://example.com/", true),
            ("example.com", "https://r.example.com/", true),
            ("example.com", "https://notexample.com/", false),
            (".example.com", "https://r.example.com/", true),
            (".example.com", "https://example.com/", false),
            ("*.example.com", "https://a.b.example.com/", true),
            (" a , EXAMPLE.com ", "https://example.COM/", true),
            ("*", "https://anything/", true),
            ("example.com:5000", "https://example.com:5000/", true),
            ("example.com:5000", "https://example.com/", false),
            ("example.com:443", "https://example.com/", true),
            ("10.0.0.0/8", "https://10.1.2.3/", true),
            ("10.0.0.0/8", "https://11.1.2.3/", false),
            ("0.0.0.0/0", "https://11.1.2.3/", true),
            ("10.1.2.3", "https://10.1.2.3:5000/", true),
            ("fd00::/8", "https://[fd12::1]/", true),
            ("[fd12::1]:443", "https://[fd12::1]/", true),
            ("10.0.0.0/x", "https://10.0.0.0/", false),
            ("", "https://example.com/", false),
            ("", "https://localhost:5000/", true),
            ("", "http://127.0.0.1/", true),
            ("", "http://[::1]/", true),
        ] {
            assert_eq!(direct(rule, url), expected, "{rule:?} {url}");
        }
    }

    #[test]
    fn each_scheme_has_its_own_and_passwords_stay_hidden() {
        let proxies = Proxies {
            https: Some("http://u:hunter2@p:3128".into()),
            ..Proxies::default()
        };
        let choose = |url: &str| proxies.choose(&Url::parse(url).unwrap());
        assert!(choose("https://r.example/").unwrap().is_some());
        assert!(choose("http://r.example/").unwrap().is_none());
        assert!(choose("https://127.0.0.1/").unwrap().is_none());
        let bad = Proxies {
            https: Some("bogus://u:hunter2@p".into()),
            ..Proxies::default()
        };
        let error = bad
            .choose(&Url::parse("https://r.example/").unwrap())
            .unwrap_err()
            .to_string();
        assert!(!error.contains("hunter2"), "{error}");
    }

    #[test]
    fn proxies_have_a_host_and_a_known_scheme() {
        for (url, works) in [
            ("http://p:3128", true),
            ("HTTP://p:3128", true),
            ("https://p", true),
            ("p:3128", true),
            ("p", true),
            ("socks5://p", true),
            ("SOCKS5H://u:w@127.0.0.1:1080", true),
            ("socks4://p", true),
            ("socks4a://p", true),
            ("socks://[::1]:1080", true),
            ("http://", false),
            ("http://:3128", false),
            ("socks5://:1080", false),
            ("ftp://p", false),
            ("socks6://p", false),
            ("http://p:99999", false),
            ("http://a b", false),
            ("://p", false),
            ("", false),
        ] {
            assert_eq!(parse(&url.into()).is_some(), works, "{url:?}");
        }
    }
}
