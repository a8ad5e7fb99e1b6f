//! One HTTP exchange and what may be repeated around it: URLs, redirects,
//! retries, TLS, proxies. Knows nothing of registries or tokens.
//!
//! Public is what a caller says about it ([`Settings`]) and hears of it
//! ([`Observer`]); the exchanges themselves are this crate's own.

pub(crate) mod address;
mod agents;
mod connection;
mod connector;
mod limits;
pub(crate) mod link;
mod network_error;
mod permits;
pub(crate) mod proxy;
pub(crate) mod redirect;
pub(crate) mod request;
pub(crate) mod response;
pub(crate) mod retry;
mod signatures;
pub(crate) mod status;
pub(crate) mod tls;
pub(crate) mod transport;
pub(crate) mod url;
mod verifier;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::http::permits::Permits;
use crate::stream::{BUFFER, Stop};

pub use limits::Limits;
pub use proxy::Proxies;
pub(crate) use request::{Body, Request};
pub(crate) use response::Response;
pub use tls::{ClientCert, Roots, Tls};
pub(crate) use transport::Transport;
pub use url::{Scheme, Url, UrlOrigin};

/// What to do about status 429: a server that answers no more requests for now,
/// such as Docker Hub when the pulls of some hours are used up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum OnLimit {
    /// Try again as after any other failure, then give up.
    #[default]
    Fail,
    /// Ask again until the server answers: as it says, else every 30 seconds.
    Wait,
}

/// How to talk HTTP. The defaults are those of the command line; fields may be
/// assigned, or set in a row.
///
/// ```
/// use dxf_registry::http::Settings;
/// use std::time::Duration;
///
/// let settings = Settings::default()
///     .with_idle_timeout(Duration::from_secs(10))
///     .with_retries(1)
///     .with_user_agent("backup/1.0");
/// assert_eq!(settings.retries, 1);
/// ```
#[derive(Clone)]
#[non_exhaustive]
pub struct Settings {
    /// How long a connection may take to be made, TLS included.
    pub connect_timeout: Duration,
    /// How long a connection may be silent. There is no total limit.
    pub idle_timeout: Duration,
    /// Retries after the first try; the count restarts after progress.
    pub retries: u32,
    /// The first wait between tries; each further one is three times as long.
    pub retry_base: Duration,
    /// The longest wait a server may ask for.
    pub retry_max_wait: Duration,
    /// Transfers at once.
    pub jobs: usize,
    /// The most bytes read from a connection at a time.
    pub read_size: usize,
    /// Whom to trust, and who to be.
    pub tls: Tls,
    /// Whom to go through.
    pub proxies: Proxies,
    /// What to call oneself.
    pub user_agent: String,
    /// Ends everything that is going on.
    pub stop: Stop,
    /// How fast to talk.
    pub limits: Limits,
    /// What to do where a server limits requests.
    pub on_limit: OnLimit,
    /// Hears of every exchange.
    pub observer: Arc<dyn Observer>,
    /// How many requests each server takes at once, as far as that is known.
    pub(crate) permits: Permits,
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
            read_size: BUFFER,
            tls: Tls::default(),
            proxies: Proxies::default(),
            user_agent: concat!("dxf/", env!("CARGO_PKG_VERSION")).to_string(),
            stop: Stop::new(),
            limits: Limits::none(),
            on_limit: OnLimit::Fail,
            observer: Arc::new(()),
            permits: Permits::default(),
        }
    }
}

impl Settings {
    /// Another limit for making a connection, TLS included.
    pub fn with_connect_timeout(mut self, connect_timeout: Duration) -> Settings {
        self.connect_timeout = connect_timeout;
        self
    }

    /// Another limit for silence on a connection.
    pub fn with_idle_timeout(mut self, idle_timeout: Duration) -> Settings {
        self.idle_timeout = idle_timeout;
        self
    }

    /// Another number of tries after the first.
    pub fn with_retries(mut self, retries: u32) -> Settings {
        self.retries = retries;
        self
    }

    /// Another limit for the wait that a server may ask for.
    pub fn with_retry_max_wait(mut self, retry_max_wait: Duration) -> Settings {
        self.retry_max_wait = retry_max_wait;
        self
    }

    /// Another answer to a server that limits requests.
    pub fn with_on_limit(mut self, on_limit: OnLimit) -> Settings {
        self.on_limit = on_limit;
        self
    }

    /// Another limit for the bytes read from a connection at a time; 0 counts
    /// as 1.
    pub fn with_read_size(mut self, read_size: usize) -> Settings {
        self.read_size = read_size;
        self
    }

    /// Others to trust, or to be.
    pub fn with_tls(mut self, tls: Tls) -> Settings {
        self.tls = tls;
        self
    }

    /// Proxies to go through.
    pub fn with_proxies(mut self, proxies: Proxies) -> Settings {
        self.proxies = proxies;
        self
    }

    /// Another name to call oneself.
    pub fn with_user_agent(mut self, user_agent: impl Into<String>) -> Settings {
        self.user_agent = user_agent.into();
        self
    }

    /// Limits, shared by all clones.
    pub fn with_limits(mut self, limits: Limits) -> Settings {
        self.limits = limits;
        self
    }

    /// Ends everything that is going on when `stop` is set.
    pub fn with_stop(mut self, stop: Stop) -> Settings {
        self.stop = stop;
        self
    }

    /// Tells `observer` of every exchange.
    pub fn with_observer(mut self, observer: impl Observer + 'static) -> Settings {
        self.observer = Arc::new(observer);
        self
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

    /// A request failed and will be sent again, and a user who watches would
    /// wonder about the silence: it costs two seconds or more.
    fn waiting(&self, text: &str) {
        let _ = text;
    }

    /// An upload was stopped, and its session was kept: another upload of the
    /// same blob to the same repository resumes from it.
    fn resumable(&self) {}
}

/// Indifference.
impl Observer for () {}

/// One request and the head of its answer. Holds no secrets: no query, no
/// headers but lengths.
#[derive(Debug, Clone)]
#[non_exhaustive]
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
