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
}

impl Proxies {
    /// Whether a request to `url` goes through a proxy.
    pub fn apply_to(&self, url: &Url) -> bool {
        self.choose(url).is_ok_and(|proxy| proxy.is_some())
    }

    /// The proxy for `url`.
    ///
    /// # Errors
    /// [`Error::Invalid`] when the proxy's URL is none; the URL itself is not
    /// repeated, because it may hold a password.
    pub(crate) fn choose(&self, url: &Url) -> Result<Option<ureq::Proxy>> {
        let proxy = match url.scheme() {
            Scheme::Http => &self.http,
            Scheme::Https => &self.https,
        };
        let Some(proxy) = proxy.as_ref().filter(|proxy| !proxy.is_empty()) else {
            return Ok(None);
        };
        if self.is_direct(url) {
            return Ok(None);
        }
        ureq::Proxy::new(proxy.reveal()).map(Some).map_err(|_| {
            Error::invalid(
                "proxy",
                "(not shown)",
                "it must look like http://[user:password@]host:port",
            )
        })
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
    // With a dot in front only what is below the name is meant.
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
}
