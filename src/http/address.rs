//! Which addresses a server may send its clients to.
//!
//! A registry names other places: in redirects, upload locations and token
//! realms. One on the internet has no business to make this machine talk to
//! itself or to its private network (server-side request forgery), and a name
//! hides an address as well as a number does. So there is one rule, asked
//! where names are resolved, about the addresses that are connected to.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::NextTimeout;

use crate::http::Url;

/// Where an address is, the more guarded the greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Network {
    /// Anywhere on the internet.
    Internet,
    /// A private network: RFC 1918, unique local, carrier-grade NAT.
    Private,
    /// This machine, its link (where clouds serve metadata), or no host at all.
    Host,
}

impl Network {
    /// Where `address` is.
    pub fn of(address: IpAddr) -> Network {
        match address {
            IpAddr::V4(address) => Network::of_v4(address),
            IpAddr::V6(address) => Network::of_v6(address),
        }
    }

    fn of_v4(a: Ipv4Addr) -> Network {
        match a.octets() {
            [0 | 127 | 224..=255, ..] | [169, 254, ..] | [192, 0, 0, _] => Network::Host,
            // 198.18/15 is for benchmarks, in laboratories and in VPNs.
            [10, ..]
            | [172, 16..=31, ..]
            | [192, 168, ..]
            | [100, 64..=127, ..]
            | [198, 18 | 19, ..] => Network::Private,
            _ => Network::Internet,
        }
    }

    fn of_v6(a: Ipv6Addr) -> Network {
        let v4 = |high: u16, low: u16| {
            let [a, b] = high.to_be_bytes();
            let [c, d] = low.to_be_bytes();
            Network::of_v4(Ipv4Addr::new(a, b, c, d))
        };
        match a.segments() {
            [0, 0, 0, 0, 0, 0, 0, 0 | 1] => Network::Host,
            // IPv4 in IPv6's clothes: compatible, mapped, NAT64, 6to4.
            [0, 0, 0, 0, 0, 0 | 0xffff, high, low] => v4(high, low),
            [0x64, 0xff9b, 0, 0, 0, 0, high, low] => v4(high, low),
            [0x2002, high, low, ..] => v4(high, low),
            [0x64, 0xff9b, 1, ..] => Network::Private,
            [0xfc00..=0xfdff, ..] => Network::Private,
            // Link-local, the site-local of old, multicast.
            [0xfe80..=0xffff, ..] => Network::Host,
            _ => Network::Internet,
        }
    }

    /// Where the host of `url` is as far as it is written: an address, or
    /// `localhost`. A name says nothing.
    pub fn written(url: &Url) -> Option<Network> {
        let host = url.host();
        let host = host.strip_suffix('.').unwrap_or(&host);
        if host == "localhost" || host.ends_with(".localhost") {
            return Some(Network::Host);
        }
        host.parse().ok().map(Network::of)
    }
}

/// Not resolved so far.
const UNKNOWN: u8 = u8::MAX;

/// Where requests may go whose target the user did not choose. Clones learn
/// together.
#[derive(Debug, Clone)]
pub struct AddressPolicy(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// Where the home is as it is written.
    written: Option<Network>,
    /// The home, for its name to be resolved when that matters.
    home: Url,
    /// The least guarded [`Network`] that its name ever led to: a name that
    /// changes its mind gains nothing.
    resolved: AtomicU8,
    /// A host of the user's own choice.
    chosen: Option<String>,
}

impl AddressPolicy {
    /// As far as the server at `home` may send its clients, and to the host of
    /// `chosen`, which the user chose.
    pub fn from(home: &Url, chosen: Option<&Url>) -> AddressPolicy {
        AddressPolicy(Arc::new(Inner {
            written: Network::written(home),
            home: home.clone(),
            resolved: AtomicU8::new(UNKNOWN),
            chosen: chosen.map(Url::host),
        }))
    }

    /// What the home's name was resolved to.
    fn learn(&self, addresses: &[std::net::SocketAddr]) {
        if let Some(least) = addresses.iter().map(|a| Network::of(a.ip())).min() {
            self.0.resolved.fetch_min(least as u8, Ordering::Relaxed);
        }
    }

    /// The most guarded network that may be reached.
    fn limit(&self) -> Network {
        if self.0.written.is_some_and(|n| n > Network::Internet) {
            // A laboratory, or this machine's own registry.
            return Network::Host;
        }
        match self.0.resolved.load(Ordering::Relaxed) {
            n if n == Network::Private as u8 => Network::Private,
            n if n == Network::Host as u8 => Network::Host,
            _ => Network::Internet,
        }
    }

    /// Whether `url` may be asked as it is written; the error is a reason. Of
    /// names the resolver decides, and for what goes through a proxy the proxy.
    ///
    /// # Errors
    /// The address is in a network that the home is not in.
    pub fn permit(&self, url: &Url) -> Result<(), String> {
        let Some(network) = Network::written(url).filter(|_| !self.is_chosen(&url.host())) else {
            return Ok(());
        };
        // A home that is a name for this machine, and an address of this machine
        // in its answer, do not go together: that is how names are rebound.
        let by_name = self.0.written.is_none() && network == Network::Host;
        if network > self.limit() || by_name {
            return Err(refusal(url));
        }
        Ok(())
    }

    fn is_chosen(&self, host: &str) -> bool {
        self.0.chosen.as_deref() == Some(host)
    }
}

/// Why `url` is not asked.
fn refusal(url: impl fmt::Display) -> String {
    format!("{url} is a private address, which a server outside that network must not name")
}

/// Resolves names for connections, and keeps the rule.
#[derive(Debug)]
pub struct GuardedResolver {
    names: DefaultResolver,
    policy: AddressPolicy,
    home: bool,
}

impl GuardedResolver {
    /// For the home that `policy` speaks of, or for everywhere else.
    pub fn new(policy: AddressPolicy, home: bool) -> GuardedResolver {
        let names = DefaultResolver::default();
        GuardedResolver {
            names,
            policy,
            home,
        }
    }

    /// How far the home may send its clients, which takes a look at where it is
    /// itself when nothing was asked of it so far.
    fn limit(&self, config: &Config, timeout: NextTimeout) -> Network {
        let AddressPolicy(inner) = &self.policy;
        if inner.written.is_none() && inner.resolved.load(Ordering::Relaxed) == UNKNOWN {
            let uri = inner.home.as_str().parse().unwrap_or_default();
            if let Ok(found) = self.names.resolve(&uri, config, timeout) {
                self.policy.learn(&found);
            }
        }
        self.policy.limit()
    }

    /// The addresses of `host` that may be connected to.
    fn keep(
        &self,
        host: &str,
        found: ResolvedSocketAddrs,
        config: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        if self.home {
            self.policy.learn(&found);
            return Ok(found);
        }
        if self
            .policy
            .is_chosen(&host.trim_matches(['[', ']']).to_ascii_lowercase())
        {
            return Ok(found);
        }
        let mut kept = self.empty();
        for address in found.iter() {
            let network = Network::of(address.ip());
            if network == Network::Internet || network <= self.limit(config, timeout) {
                kept.push(*address);
            }
        }
        if kept.is_empty() {
            return Err(ureq::Error::Other(Box::new(Unreachable(refusal(host)))));
        }
        Ok(kept)
    }
}

impl Resolver for GuardedResolver {
    fn resolve(
        &self,
        uri: &Uri,
        config: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let found = self.names.resolve(uri, config, timeout)?;
        // It is the proxy's own name then, and the proxy is the user's choice.
        if config.proxy().is_some() {
            return Ok(found);
        }
        self.keep(uri.host().unwrap_or_default(), found, config, timeout)
    }
}

/// A name whose addresses may not be connected to; the words are the reason.
#[derive(Debug)]
pub struct Unreachable(pub String);

impl fmt::Display for Unreachable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Unreachable {}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::SocketAddr;

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    #[test]
    fn every_address_is_in_a_network() {
        for (address, network) in [
            ("8.8.8.8", Network::Internet),
            ("192.0.2.1", Network::Internet),
            ("172.32.0.1", Network::Internet),
            ("100.63.0.1", Network::Internet),
            ("10.1.2.3", Network::Private),
            ("172.16.0.1", Network::Private),
            ("192.168.1.1", Network::Private),
            ("100.64.0.1", Network::Private),
            ("198.19.255.255", Network::Private),
            ("127.9.9.9", Network::Host),
            ("0.1.2.3", Network::Host),
            ("169.254.169.254", Network::Host),
            ("192.0.0.192", Network::Host),
            ("224.0.0.1", Network::Host),
            ("255.255.255.255", Network::Host),
            ("2001:db8::1", Network::Internet),
            ("64:ff9b::8.8.8.8", Network::Internet),
            ("2002:808:808::1", Network::Internet),
            ("fd12::1", Network::Private),
            ("64:ff9b::10.0.0.1", Network::Private),
            ("64:ff9b:1::1", Network::Private),
            ("2002:a00:1::1", Network::Private),
            ("::ffff:192.168.1.1", Network::Private),
            ("::", Network::Host),
            ("::1", Network::Host),
            ("::127.0.0.1", Network::Host),
            ("::ffff:127.0.0.1", Network::Host),
            ("64:ff9b::127.0.0.1", Network::Host),
            ("2002:7f00:1::", Network::Host),
            ("fe80::1", Network::Host),
            ("ff02::1", Network::Host),
        ] {
            assert_eq!(Network::of(address.parse().unwrap()), network, "{address}");
        }
    }

    /// A home at `home` whose name led to `addresses`.
    fn policy(home: &str, addresses: &[&str]) -> AddressPolicy {
        let policy = AddressPolicy::from(&url(home), None);
        let addresses: Vec<SocketAddr> = addresses
            .iter()
            .map(|a| SocketAddr::new(a.parse().unwrap(), 443))
            .collect();
        policy.learn(&addresses);
        policy
    }

    #[test]
    fn a_registry_sends_its_clients_no_nearer_than_it_is_itself() {
        let internet = policy("https://r.example/", &["8.8.8.8"]);
        let private = policy("https://r.corp/", &["10.0.0.1", "10.0.0.2"]);
        let both = policy("https://r.example/", &["10.0.0.1", "8.8.8.8"]);
        let by_name = policy("https://r.test/", &["127.0.0.1"]);
        let lab = policy("http://127.0.0.1:5000/", &["127.0.0.1"]);
        let proxied = policy("https://r.example/", &[]);
        for (policy, target, permitted) in [
            (&internet, "https://8.8.4.4/", true),
            (&internet, "https://name/", true),
            (&internet, "https://10.0.0.9/", false),
            (&internet, "https://localhost/", false),
            (&private, "http://10.0.0.9:9000/", true),
            (&private, "https://169.254.169.254/", false),
            (&private, "https://[::1]/", false),
            (&both, "https://10.0.0.9/", false),
            (&by_name, "https://127.0.0.1/", false),
            (&by_name, "https://10.0.0.9/", true),
            (&lab, "https://10.0.0.9/", true),
            (&lab, "https://[::1]/", true),
            (&proxied, "https://10.0.0.9/", false),
        ] {
            assert_eq!(policy.permit(&url(target)).is_ok(), permitted, "{target}");
        }
    }

    fn kept(policy: &AddressPolicy, host: &str, addresses: &[&str]) -> Option<usize> {
        let away = GuardedResolver::new(policy.clone(), false);
        let mut found = away.empty();
        for address in addresses {
            found.push(SocketAddr::new(address.parse().unwrap(), 443));
        }
        away.keep(host, found, &Config::default(), NextTimeout::default())
            .ok()
            .map(|kept| kept.len())
    }

    #[test]
    fn a_name_counts_for_its_addresses() {
        let internet = policy("https://r.example/", &["8.8.8.8"]);
        assert_eq!(
            kept(&internet, "cdn.example", &["8.8.4.4", "2001:4860::8"]),
            Some(2)
        );
        assert_eq!(kept(&internet, "evil.example", &["127.0.0.1"]), None);
        assert_eq!(
            kept(&internet, "evil.example", &["10.0.0.1", "8.8.4.4"]),
            Some(1)
        );
        let private = policy("https://r.corp/", &["10.0.0.1"]);
        assert_eq!(kept(&private, "minio.corp", &["10.0.0.2"]), Some(1));
        assert_eq!(kept(&private, "evil.corp", &["169.254.169.254"]), None);
        // Names for this machine may name one another.
        let host = policy("https://r.test/", &["127.0.0.1"]);
        assert_eq!(kept(&host, "auth.test", &["127.0.0.1"]), Some(1));
        // A name that led to the internet once stays there.
        internet.learn(&["127.0.0.1:443".parse().unwrap()]);
        assert_eq!(kept(&internet, "evil.example", &["127.0.0.1"]), None);
    }

    #[test]
    fn the_users_own_choice_is_not_questioned() {
        let chosen = url("https://auth.corp:8443/");
        let policy = AddressPolicy::from(&url("https://r.example/"), Some(&chosen));
        assert_eq!(kept(&policy, "auth.corp", &["10.0.0.1"]), Some(1));
        assert_eq!(kept(&policy, "other.corp", &["10.0.0.1"]), None);
        let policy =
            AddressPolicy::from(&url("https://r.example/"), Some(&url("https://127.0.0.1/")));
        assert!(policy.permit(&url("https://127.0.0.1/")).is_ok());
        assert!(policy.permit(&url("https://127.0.0.2/")).is_err());
    }
}
