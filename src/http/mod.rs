//! One HTTP exchange and what may be repeated around it: URLs, redirects,
//! retries, TLS, proxies. Knows nothing of registries or tokens.

pub(crate) mod link;
pub mod proxy;
pub(crate) mod redirect;
pub(crate) mod retry;
pub mod tls;
pub mod transport;
mod trouble;
pub mod url;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::stream::Stop;

pub use proxy::Proxies;
pub use tls::{ClientCert, Roots, Tls};
pub use transport::{Body, Request, Response, Transport};
pub use url::{Scheme, Url, UrlOrigin};

/// How to talk HTTP. The defaults are those of the command line.
#[derive(Clone)]
pub struct Settings {
    /// How long a connection may take to be made, TLS included.
    pub connect_timeout: Duration,
    /// How long nothing may come or go. There is no total limit.
    pub idle_timeout: Duration,
    /// Tries after the first, counted anew whenever there was progress.
    pub retries: u32,
    /// The first wait between tries; each further one is three times as long.
    pub retry_base: Duration,
    /// The longest wait a server may ask for.
    pub retry_max_wait: Duration,
    /// Transfers at once.
    pub jobs: usize,
    /// Whom to trust, and who to be.
    pub tls: Tls,
    /// Whom to go through.
    pub proxies: Proxies,
    /// What to call oneself.
    pub user_agent: String,
    /// Ends everything that is going on.
    pub stop: Stop,
    /// Hears of every exchange.
    pub observer: Arc<dyn Observer>,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            connect_timeout: Duration::from_secs(30),
            idle_timeout: Duration::from_secs(30),
            retries: 4,
            retry_base: Duration::from_millis(300),
            retry_max_wait: Duration::from_secs(60),
            jobs: 8,
            tls: Tls::default(),
            proxies: Proxies::default(),
            user_agent: concat!("dxf/", env!("CARGO_PKG_VERSION")).to_string(),
            stop: Stop::new(),
            observer: Arc::new(()),
        }
    }
}

/// Hears of exchanges and of what servers want people to know.
pub trait Observer: Send + Sync {
    /// A request was answered, or was not.
    fn exchange(&self, exchange: &Exchange<'_>) {
        let _ = exchange;
    }

    /// A server sent a `Warning: 299` (distribution-spec, "Warnings"), or
    /// something went on beside the work that a person should know.
    fn warning(&self, text: &str) {
        let _ = text;
    }
}

/// Indifference.
impl Observer for () {}

/// One request and the head of its answer. Holds no secrets: no query, no
/// headers but lengths.
#[derive(Debug, Clone)]
pub struct Exchange<'a> {
    /// The HTTP method.
    pub method: &'a str,
    /// The URL without its query.
    pub url: &'a str,
    /// The status, or why there is none.
    pub status: Result<u16, &'a str>,
    /// Bytes of the request's body that were sent.
    pub sent: u64,
    /// Bytes the answer announces.
    pub received: Option<u64>,
    /// From the first byte sent to the end of the answer's head.
    pub took: Duration,
    /// `authorized`, a range, and other things worth knowing.
    pub note: &'a str,
}

impl fmt::Display for Exchange<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.method, self.url)?;
        match self.status {
            Ok(status) => write!(f, " {status}")?,
            Err(why) => write!(f, " failed: {why}")?,
        }
        if self.sent > 0 {
            write!(f, " sent={}", self.sent)?;
        }
        if let Some(received) = self.received {
            write!(f, " length={received}")?;
        }
        write!(f, " {:.3}s", self.took.as_secs_f64())?;
        if self.note.is_empty() {
            Ok(())
        } else {
            write!(f, " {}", self.note)
        }
    }
}
