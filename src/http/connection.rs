//! How connections are made, and what is watched on them: a proxy in front, a
//! kept-alive connection that died, a proxy that drips its answer. Built of
//! ureq's parts, which do TCP, TLS, CONNECT and SOCKS.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Instant;

use rustls::ClientConfig;
use ureq::Timeout;
use ureq::config::Config;
use ureq::unversioned::transport::{
    Buffers, ConnectProxyConnector, ConnectionDetails, Connector, NextTimeout, SocksConnector,
    TcpConnector, Transport,
};
use ureq::{Agent, Proxy, ProxyProtocol};

use crate::http::Scheme;
use crate::http::address::GuardedResolver;
use crate::http::connector::OverTls;

/// An agent that connects to what `resolver` permits, over TLS with `tls`,
/// without which it speaks http only.
pub fn agent(config: Config, tls: Option<Arc<ClientConfig>>, resolver: GuardedResolver) -> Agent {
    let tls = OverTls(tls);
    let connector =
        ().chain(ForwardProxyConnector(tls.clone()))
            .chain(SocksConnector::default())
            .chain(ConnectProxyConnector::default())
            .chain(TcpConnector::default())
            .chain(tls)
            .chain(WatchingConnector);
    Agent::with_parts(config, connector, resolver)
}

/// Whether a request by `scheme` is sent to `proxy` itself, with the whole URL
/// in its request line, instead of through a tunnel: proxies as they are
/// installed refuse CONNECT to any port but 443 (RFC 9112, 3.2.2).
pub fn is_forwarded(scheme: Scheme, proxy: &Proxy) -> bool {
    let http = matches!(proxy.protocol(), ProxyProtocol::Http | ProxyProtocol::Https);
    scheme == Scheme::Http && http
}

/// Connects to the proxy that requests are forwarded by.
#[derive(Debug)]
struct ForwardProxyConnector(OverTls);

/// What a TCP connection is to ureq.
type Tcp = <TcpConnector as Connector<()>>::Out;

impl Connector for ForwardProxyConnector {
    type Out = <OverTls as Connector<Tcp>>::Out;

    fn connect(
        &self,
        details: &ConnectionDetails,
        _: Option<()>,
    ) -> Result<Option<Self::Out>, ureq::Error> {
        let Some(proxy) = forwarding(details) else {
            return Ok(None);
        };
        let addrs = details
            .resolver
            .resolve(proxy.uri(), details.config, details.timeout)?;
        let to_proxy = ConnectionDetails {
            uri: proxy.uri(),
            addrs,
            config: details.config,
            request_level: details.request_level,
            resolver: details.resolver,
            now: details.now,
            timeout: details.timeout,
            current_time: details.current_time.clone(),
            run_connector: details.run_connector.clone(),
            register_shutdown: details.register_shutdown.clone(),
        };
        let tcp = TcpConnector::default().connect(&to_proxy, None::<()>)?;
        self.0.connect(&to_proxy, tcp)
    }
}

/// The proxy that forwards requests to where `details` lead, if one does.
fn forwarding<'a>(details: &'a ConnectionDetails) -> Option<&'a Proxy> {
    let proxy = details.config.proxy()?;
    let scheme = match details.needs_tls() {
        true => Scheme::Https,
        false => Scheme::Http,
    };
    is_forwarded(scheme, proxy).then_some(proxy)
}

/// Wraps every connection in a [`Watched`].
#[derive(Debug)]
struct WatchingConnector;

impl<In: Transport> Connector<In> for WatchingConnector {
    type Out = Watched<In>;

    fn connect(
        &self,
        details: &ConnectionDetails,
        chained: Option<In>,
    ) -> Result<Option<Watched<In>>, ureq::Error> {
        let origin = forwarding(details)
            .and(details.uri.authority())
            .map(|authority| format!("http://{authority}"));
        Ok(chained.map(|inner| Watched {
            inner,
            made: Instant::now(),
            origin,
            reused: false,
            at_head: true,
            answered: false,
        }))
    }
}

/// A connection that reports whether it died while it was idle.
#[derive(Debug)]
struct Watched<T> {
    inner: T,
    made: Instant,
    /// What goes in front of the path in request lines, for a proxy that
    /// forwards.
    origin: Option<String>,
    /// It carried an exchange before the present one.
    reused: bool,
    /// What is sent next is the head of a request.
    at_head: bool,
    /// Something of the present answer arrived.
    answered: bool,
}

impl<T: Transport> Watched<T> {
    /// Sends the first `amount` bytes of the output with a request line that
    /// names the origin.
    fn transmit_absolute(
        &mut self,
        amount: usize,
        origin: &str,
        timeout: NextTimeout,
    ) -> Result<(), ureq::Error> {
        let head = with_origin(&self.inner.buffers().output()[..amount], origin);
        let mut rest = head.as_slice();
        while !rest.is_empty() {
            let output = self.inner.buffers().output();
            let (now, later) = rest.split_at(rest.len().min(output.len()));
            output[..now.len()].copy_from_slice(now);
            self.inner.transmit_output(now.len(), timeout)?;
            rest = later;
        }
        Ok(())
    }

    /// Tells an end that says nothing about the server from one that does: a
    /// server closes a kept-alive connection when it likes, even as it is used.
    fn judge(&self, error: ureq::Error) -> ureq::Error {
        use io::ErrorKind as Kind;
        let cut = matches!(&error, ureq::Error::Io(e) if matches!(
            e.kind(),
            Kind::UnexpectedEof | Kind::ConnectionReset | Kind::ConnectionAborted | Kind::BrokenPipe
        ));
        match cut && self.reused && !self.answered {
            true => ureq::Error::Other(Box::new(Stale)),
            false => error,
        }
    }
}

impl<T: Transport> Transport for Watched<T> {
    fn buffers(&mut self) -> &mut dyn Buffers {
        self.inner.buffers()
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), ureq::Error> {
        let at_head = std::mem::take(&mut self.at_head);
        let sent = match self.origin.clone().filter(|_| at_head) {
            Some(origin) => self.transmit_absolute(amount, &origin, timeout),
            None => self.inner.transmit_output(amount, timeout),
        };
        sent.map_err(|error| self.judge(error))
    }

    fn await_input(&mut self, mut timeout: NextTimeout) -> Result<bool, ureq::Error> {
        if timeout.reason == Timeout::Connect {
            // The answer to a CONNECT: ureq grants every read of it the whole
            // time, and a proxy that drips would have for ever.
            let left = timeout.after.saturating_sub(self.made.elapsed());
            if left.is_zero() {
                return Err(ureq::Error::Timeout(Timeout::Connect));
            }
            timeout.after = left.into();
        }
        match self.inner.await_input(timeout) {
            Ok(false) if self.reused && !self.answered => Err(ureq::Error::Other(Box::new(Stale))),
            Ok(more) => {
                self.answered |= more;
                Ok(more)
            }
            Err(error) => Err(self.judge(error)),
        }
    }

    /// ureq asks between two exchanges, and only then.
    fn is_open(&mut self) -> bool {
        (self.reused, self.at_head, self.answered) = (true, true, false);
        self.inner.is_open()
    }

    fn is_tls(&self) -> bool {
        self.inner.is_tls()
    }
}

/// A request's head whose first line names the whole URL.
fn with_origin(head: &[u8], origin: &str) -> Vec<u8> {
    let path = head
        .iter()
        .position(|byte| *byte == b' ')
        .map_or(0, |at| at + 1);
    [&head[..path], origin.as_bytes(), &head[path..]].concat()
}

/// A kept-alive connection was closed before the request on it was answered.
#[derive(Debug)]
pub struct Stale;

impl fmt::Display for Stale {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the connection was cut")
    }
}

impl std::error::Error for Stale {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_forwarded_request_names_the_whole_url() {
        let head = b"GET /v2/?n=1 HTTP/1.1\r\nhost: h:5000\r\n\r\n";
        assert_eq!(
            with_origin(head, "http://h:5000"),
            b"GET http://h:5000/v2/?n=1 HTTP/1.1\r\nhost: h:5000\r\n\r\n"
        );
    }

    #[test]
    fn only_http_is_forwarded_and_only_by_http_proxies() {
        for (scheme, proxy, forwarded) in [
            (Scheme::Http, "http://p:3128", true),
            (Scheme::Http, "https://p:3128", true),
            (Scheme::Http, "socks5h://p:1080", false),
            (Scheme::Https, "http://p:3128", false),
        ] {
            let of = Proxy::new(proxy).unwrap();
            assert_eq!(is_forwarded(scheme, &of), forwarded, "{proxy}");
        }
    }
}
