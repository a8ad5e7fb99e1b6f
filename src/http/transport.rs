//! One request, one answer: no redirect, no authorization, no second attempt.

use std::cell::Cell;
use std::collections::HashSet;
use std::io::{self, Read};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use ::http::header::{
    AUTHORIZATION, CONTENT_ENCODING, CONTENT_LENGTH, EXPECT, HeaderMap, HeaderName, HeaderValue,
    PROXY_AUTHORIZATION, WARNING,
};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use flate2::read::MultiGzDecoder;
use rustls::ClientConfig;
use ureq::{Agent, AsSendBody, Proxy};

use crate::error::{Error, NetworkKind, RequestLine, Result};
use crate::http::address::{AddressPolicy, GuardedResolver};
use crate::http::{Exchange, Limits, Scheme, Settings, Url, UrlOrigin, connection, network_error};
use crate::secret::Secret;
use crate::stream::{Hook, Stop, read_bounded};

/// A configuration that can still be changed.
type Configuring = ureq::config::ConfigBuilder<ureq::typestate::AgentScope>;

/// Longer than any process lives.
const FOREVER: Duration = Duration::from_secs(100 * 365 * 24 * 3600);
/// No more idle connections than this are kept.
const MAX_JOBS: usize = 1024;
/// Above this a refusal is asked for before the body is sent: a server that
/// answers early and closes would otherwise take its answer (401, 413) with
/// it, because the client sees the reset first.
const EXPECT_ABOVE: u64 = 1 << 20;
/// Larger writes save system calls; measured a fifth faster than ureq's own.
const OUTPUT_BUFFER: usize = 256 * 1024;
/// Beyond 64 KiB reads gain little.
const INPUT_BUFFER: usize = 128 * 1024;
/// The largest head of an answer, bytes.
const MAX_HEAD: usize = 64 * 1024;
/// Secrets of fewer bytes are not looked for in answers.
const SHORTEST_HIDDEN: usize = 6;
/// How much of an unneeded body is read to keep its connection, and how long:
/// a new connection takes no longer.
const MAX_DRAIN: u64 = 64 * 1024;
const DRAIN: Duration = Duration::from_secs(1);
/// How many times the idle timeout a whole head may take, which a
/// server could drag out for hours byte by byte.
const WHOLE_HEAD: u32 = 2;
/// Bodies that are held whole may come as slowly as this, bytes a second, but
/// for a beginning of as long as a head may take.
const SLOWEST: u64 = 1024;
/// After a kept-alive connection that had died, so many requests take new ones:
/// where one did, the others will, and the retry must not meet them.
const DISTRUST: u32 = 16;
/// So many different warnings are passed on, each once.
const MAX_WARNINGS: usize = 16;
/// What a registry gets to commit an upload after its last byte: this, and a
/// second for every MiB (large blobs are hashed again on the other side).
const COMMIT: Duration = Duration::from_secs(60);

/// A request, ready to be sent.
pub struct Request<'a> {
    /// The method, such as `GET`.
    pub method: &'a str,
    /// Where to.
    pub url: Url,
    /// Headers beside those of the connection.
    pub headers: HeaderMap,
    /// The body.
    pub body: Body<'a>,
    /// Bytes the server has to work through before it can answer.
    pub commits: u64,
    /// Whether a small body, too, waits for the server's consent.
    pub asks_first: bool,
}

/// The body of a request.
#[derive(Clone, Copy)]
pub enum Body<'a> {
    /// None; methods that could have one say `Content-Length: 0`.
    Empty,
    /// A small one.
    Bytes(&'a [u8]),
    /// One that can be opened again, of `len` bytes.
    Stream {
        /// Opens the body from its start.
        open: &'a Opener<'a>,
        /// Its length.
        len: u64,
    },
}

/// Opens a body; called once for every time it is sent.
pub type Opener<'a> = dyn Fn() -> Result<Box<dyn Read + Send + 'a>> + Sync + 'a;

impl<'a> Request<'a> {
    /// A request without body or headers.
    pub fn new(method: &'a str, url: Url) -> Request<'a> {
        Request {
            method,
            url,
            headers: HeaderMap::new(),
            body: Body::Empty,
            commits: 0,
            asks_first: false,
        }
    }

    /// The same request with a header more. The value must be visible ASCII;
    /// any other is left out.
    pub fn header(mut self, name: HeaderName, value: &str) -> Request<'a> {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.insert(name, value);
        }
        self
    }

    /// The same request with a body.
    pub fn body(mut self, body: Body<'a>) -> Request<'a> {
        self.body = body;
        self
    }

    /// The same request, which ends an upload of `bytes` that were sent before.
    pub fn commits(mut self, bytes: u64) -> Request<'a> {
        self.commits = bytes;
        self
    }

    /// The same request, whose body waits for the server's consent
    /// (`Expect: 100-continue`) however small it is: a refusal then arrives even
    /// where the server closes the connection after it.
    pub fn asking_first(mut self) -> Request<'a> {
        self.asks_first = true;
        self
    }

    /// Method and URL, as they may be shown.
    pub fn line(&self) -> RequestLine {
        RequestLine {
            method: self.method.to_string(),
            url: self.url.to_string(),
        }
    }
}

/// The head of an answer, and its body still on the wire.
pub struct Response {
    /// The status code.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The URL that answered.
    pub url: Url,
    line: RequestLine,
    sent: Vec<Secret>,
    body: ureq::Body,
    patience: Duration,
    read_size: usize,
    pace: (Limits, Stop),
}

/// What must not be shown of a request: its credentials as they were sent, and the
/// password in them.
fn secrets(request: &Request<'_>) -> Vec<Secret> {
    let header = request.headers.get(AUTHORIZATION);
    let value = header.and_then(|value| value.to_str().ok());
    let sent = value.map(|value| value.split_once(' ').unwrap_or(("", value)).1.trim());
    let pair = sent.and_then(|sent| BASE64.decode(sent).ok());
    let pair = pair.and_then(|pair| String::from_utf8(pair).ok());
    let password = pair.and_then(|pair| Some(pair.split_once(':')?.1.to_string()));
    let form = match request.body {
        Body::Bytes(bytes) if request.method == "POST" => str::from_utf8(bytes).ok(),
        _ => None,
    };
    let fields = form.into_iter().flat_map(|form| form.split('&'));
    let token = fields.filter_map(|field| field.strip_prefix("refresh_token="));
    let token = token.map(str::to_string);
    let all = sent.map(str::to_string).into_iter().chain(password);
    all.chain(token).map(Secret::new).collect()
}

impl Response {
    /// A header as text, when there is one and it is text.
    pub fn header(&self, name: HeaderName) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// What `Content-Length` says. For a HEAD that is the length of what GET
    /// would send.
    pub fn content_length(&self) -> Option<u64> {
        self.header(CONTENT_LENGTH)?.trim().parse().ok()
    }

    /// The request this answers, as it may be shown.
    pub fn line(&self) -> &RequestLine {
        &self.line
    }

    /// Puts stars for the credentials that were sent into what the answer says: some
    /// servers repeat them in their complaints.
    pub fn hider(&self) -> impl Fn(&str) -> String + use<> {
        let sent = self.sent.clone();
        move |text| {
            // Stars for a short one would only show which it is.
            let long = sent.iter().map(Secret::reveal);
            let long = long.filter(|secret| secret.len() >= SHORTEST_HIDDEN);
            long.fold(text.to_string(), |text, secret| text.replace(secret, "***"))
        }
    }

    /// Whether the body is compressed, although that was not asked for: proxies
    /// and object stores do it all the same.
    pub fn is_gzipped(&self) -> bool {
        self.header(CONTENT_ENCODING)
            .is_some_and(|coding| matches!(coding.trim(), "gzip" | "x-gzip"))
    }

    /// The body, at most `limit` bytes of it, decoded.
    ///
    /// # Errors
    /// [`Error::Malformed`] when it is longer, [`Error::Network`] when it ends
    /// early or comes far too slowly.
    pub fn bytes(self, limit: u64) -> Result<Vec<u8>> {
        let what = format!("answer to {}", self.line);
        if self.content_length().is_some_and(|length| length > limit) {
            return Err(Error::malformed(
                what,
                format!("it is larger than {limit} bytes"),
            ));
        }
        let patience = self.patience;
        self.read_within(patience, &what, limit)
    }

    /// What an error's body says, as far as it comes soon: its first `limit`
    /// bytes.
    pub fn excerpt(self, limit: u64) -> Vec<u8> {
        let patience = self.patience;
        let mut bytes = Vec::new();
        let (gzipped, body) = (self.is_gzipped(), self.into_reader());
        let body = Hurried::new(body, patience).take(limit);
        // What came before it broke off is better than nothing.
        let _ = match gzipped {
            true => MultiGzDecoder::new(body)
                .take(limit)
                .read_to_end(&mut bytes),
            false => { body }.read_to_end(&mut bytes),
        };
        bytes
    }

    fn read_within(self, patience: Duration, what: &str, limit: u64) -> Result<Vec<u8>> {
        let gzipped = self.is_gzipped();
        let body = Hurried::new(self.into_reader(), patience);
        if !gzipped {
            return read_bounded(what, body, limit);
        }
        // The coded form has the same bound, which only nonsense passes.
        let body = MultiGzDecoder::new(body.take(limit.saturating_add(1)));
        read_bounded(what, body, limit).map_err(|error| match error.what() {
            Error::Io { .. } => Error::malformed(what, "its gzip is broken"),
            _ => error,
        })
    }

    /// Reads the rest of an unneeded body, so that its connection can be
    /// used again; gives up on long and slow ones.
    pub fn drain(self) {
        let body = Hurried {
            patience: DRAIN,
            slowest: u64::MAX,
            ..Hurried::new(self.into_reader(), DRAIN)
        };
        // The body is of no interest, and neither is what happens to it.
        let _ = io::copy(&mut body.take(MAX_DRAIN), &mut io::sink());
    }

    /// The body, whose errors name the request.
    pub fn into_reader(self) -> BodyReader {
        BodyReader {
            inner: self.body.into_reader(),
            line: self.line,
            read_size: self.read_size.max(1),
            pace: self.pace,
            waited: Duration::ZERO,
        }
    }
}

/// The body of an answer; see [`Response::into_reader`].
pub struct BodyReader {
    inner: ureq::BodyReader<'static>,
    line: RequestLine,
    read_size: usize,
    pace: (Limits, Stop),
    /// How long the limits made it wait.
    waited: Duration,
}

impl Read for BodyReader {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let (limits, stop) = &self.pace;
        let most = limits.piece(buf.len().min(self.read_size));
        let n = self
            .inner
            .read(&mut buf[..most])
            .map_err(|e| io::Error::from(network_error::of_io(self.line.clone(), e)))?;
        self.waited += limits.pay(n, stop)?;
        Ok(n)
    }
}

/// The body of an answer that a caller waits for: one that trickles ends.
struct Hurried {
    inner: BodyReader,
    begun: Instant,
    patience: Duration,
    /// Bytes a second once the patience is over.
    slowest: u64,
    taken: u64,
}

impl Hurried {
    fn new(inner: BodyReader, patience: Duration) -> Hurried {
        Hurried {
            inner,
            begun: Instant::now(),
            patience: patience.saturating_mul(WHOLE_HEAD),
            slowest: SLOWEST,
            taken: 0,
        }
    }
}

impl Read for Hurried {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let allowed = self.patience + Duration::from_secs(self.taken / self.slowest);
        let allowed = allowed + self.inner.waited;
        if self.begun.elapsed() > allowed {
            return Err(network_error::slow(self.inner.line.clone()).into());
        }
        let n = self.inner.read(buf)?;
        self.taken += n as u64;
        Ok(n)
    }
}

/// Sends requests. Cheap to clone; clones share their connections.
#[derive(Clone)]
pub struct Transport(Arc<Inner>);

struct Inner {
    settings: Settings,
    /// The one place that gets the client certificate.
    home: Url,
    /// Each with what ends its connections when the stop is set.
    home_agent: OnceLock<(Agent, Hook)>,
    away_agent: OnceLock<(Agent, Hook)>,
    /// So that two threads don't both load the certificates.
    making: Mutex<()>,
    /// Where requests may go but to the home.
    policy: AddressPolicy,
    /// Requests that take a new connection still.
    distrust: AtomicU32,
    warned: Mutex<HashSet<String>>,
}

impl Transport {
    /// A transport whose client certificate, if any, is for the origin of
    /// `home` alone, and which goes elsewhere as far as `policy` lets it.
    pub fn new(mut settings: Settings, home: Url, policy: AddressPolicy) -> Transport {
        // Times are added to the clock below, and numbers to one another.
        settings.connect_timeout = settings.connect_timeout.min(FOREVER);
        settings.idle_timeout = settings.idle_timeout.min(FOREVER);
        settings.jobs = settings.jobs.min(MAX_JOBS);
        Transport(Arc::new(Inner {
            settings,
            home,
            home_agent: OnceLock::new(),
            away_agent: OnceLock::new(),
            making: Mutex::new(()),
            policy,
            distrust: AtomicU32::new(0),
            warned: Mutex::default(),
        }))
    }

    /// The settings it was made with.
    pub fn settings(&self) -> &Settings {
        &self.0.settings
    }

    /// The origin the client certificate is for.
    pub fn home(&self) -> UrlOrigin {
        self.0.home.origin()
    }

    /// One request, one answer.
    ///
    /// # Errors
    /// [`Error::Network`] without an answer, [`Error::Stopped`], and what the
    /// body's reader fails with.
    pub fn send(&self, request: &Request<'_>) -> Result<Response> {
        self.0.settings.stop.check()?;
        let agent = self.agent(&request.url)?;
        self.send_with(&agent, request, self.0.settings.idle_timeout)
    }

    /// One last request after the stop was set, such as the cancelling of an
    /// upload, on a connection of its own with little patience.
    ///
    /// # Errors
    /// As [`Transport::send`], but for [`Error::Stopped`].
    pub fn send_last(&self, request: &Request<'_>, patience: Duration) -> Result<Response> {
        // Names, connections and bodies included: the user interrupted.
        let config = self.config(patience).timeout_global(Some(patience));
        let agent = self.connecting(config, &request.url)?;
        self.send_with(&agent, request, patience)
    }

    /// An agent for `url` and others of its kind, at home or away.
    fn connecting(&self, config: Configuring, url: &Url) -> Result<Agent> {
        let home = url.origin() == self.home();
        let resolver = GuardedResolver::new(self.0.policy.clone(), home);
        let tls = self.tls(home, url.scheme())?;
        Ok(connection::agent(config.build(), tls, resolver))
    }

    fn send_with(&self, agent: &Agent, request: &Request<'_>, idle: Duration) -> Result<Response> {
        if request.url.origin() != self.home() {
            self.0.policy.permit(&request.url).map_err(|why| {
                let request = request.line();
                Error::Refused { request, why }
            })?;
        }
        let asks = |len| len > EXPECT_ABOVE || request.asks_first;
        if !matches!(request.body, Body::Stream { len, .. } if asks(len)) {
            return self.tell(agent, request, idle);
        }
        let mut asking = Request {
            url: request.url.clone(),
            headers: request.headers.clone(),
            ..*request
        };
        let expectation = HeaderValue::from_static("100-continue");
        asking.headers.insert(EXPECT, expectation);
        let answer = self.tell(agent, &asking, idle)?;
        if answer.status != 417 {
            return Ok(answer);
        }
        // Old proxies meet no expectations (RFC 9110, 10.1.1: try without).
        answer.drain();
        self.tell(agent, request, idle)
    }

    fn tell(&self, agent: &Agent, request: &Request<'_>, idle: Duration) -> Result<Response> {
        let begun = Instant::now();
        let sent = Cell::new(0);
        let mut answer = self.exchange(agent, request, idle, &sent);
        if matches!(request.body, Body::Stream { .. }) && sent.get() == 0 && is_stale(&answer) {
            // Nothing of the body left, so nothing came of it (RFC 9110, 9.2.2);
            // to begin a whole upload anew would be a pity.
            answer = self.exchange(agent, request, idle, &sent);
        }
        self.report(request, answer.as_ref(), sent.get(), begun.elapsed());
        answer
    }

    fn exchange(
        &self,
        agent: &Agent,
        request: &Request<'_>,
        idle: Duration,
        sent: &Cell<u64>,
    ) -> Result<Response> {
        let (limits, stop) = (&self.0.settings.limits, &self.0.settings.stop);
        // The last requests of a run that was stopped wait for nothing.
        if !stop.is_set() {
            limits.request(stop)?;
        }
        let proxy = self.0.settings.proxies.choose(&request.url)?;
        let forwarded = proxy
            .as_ref()
            .filter(|proxy| connection::is_forwarded(request.url.scheme(), proxy));
        let mut builder = ::http::Request::builder()
            .method(request.method)
            .uri(request.url.as_str());
        let mut commits = request.commits;
        if let Some(headers) = builder.headers_mut() {
            headers.extend(request.headers.clone());
            if let Body::Stream { len, .. } = request.body {
                headers.insert(CONTENT_LENGTH, HeaderValue::from(len));
                commits = commits.max(len);
            }
            if let Some(login) = forwarded.and_then(login_at) {
                headers.insert(PROXY_AUTHORIZATION, login);
            }
        }
        let forwarded = forwarded.is_some();
        let way = Way {
            patience: match commits {
                0 => idle,
                bytes => idle.max(COMMIT + Duration::from_secs(bytes >> 20)),
            },
            anew: self.is_distrustful(),
            proxy,
        };
        let proxied = way.proxy.is_some();
        let failed = |e: ureq::Error| match network_error::of_ureq(request.line(), e) {
            error if proxied => network_error::at_the_proxy(error),
            error => error,
        };
        let body = match (request.method, request.body) {
            // Without a length ureq sends these chunked, which Google refuses
            // with 411 (rust-oci-client#176).
            ("POST" | "PUT" | "PATCH", Body::Empty) => Body::Bytes(&[]),
            (_, body) => body,
        };
        let answer = self.watched(match body {
            Body::Empty => run(agent, builder.body(()), way),
            Body::Bytes(bytes) => {
                sent.set(bytes.len() as u64);
                run(agent, builder.body(bytes), way)
            }
            Body::Stream { open, len } => {
                let mut reader = Outgoing {
                    inner: open()?,
                    left: len,
                    sent,
                    pace: (&self.0.settings.limits, &self.0.settings.stop),
                };
                let body = ureq::SendBody::from_reader(&mut reader);
                run(agent, builder.body(body), way)
            }
        });
        let (head, body) = answer.map_err(failed)?.into_parts();
        if forwarded && head.status == 407 {
            // As a tunnel's refusal is: it is not the server's.
            let why = "proxy server responded 407/407".to_string();
            return Err(failed(ureq::Error::ConnectProxyFailed(why)));
        }
        Ok(Response {
            status: head.status.as_u16(),
            headers: head.headers,
            url: request.url.clone(),
            line: request.line(),
            sent: secrets(request),
            body,
            patience: idle,
            read_size: self.0.settings.read_size,
            pace: (self.0.settings.limits.clone(), self.0.settings.stop.clone()),
        })
    }

    /// Has the next requests take new connections if this one met a dead one.
    fn watched<T>(&self, answer: Result<T, ureq::Error>) -> Result<T, ureq::Error> {
        if let Err(ureq::Error::Other(error)) = &answer
            && error.is::<connection::Stale>()
        {
            self.0.distrust.store(DISTRUST, Ordering::Relaxed);
        }
        answer
    }

    /// Whether the next request takes a new connection.
    fn is_distrustful(&self) -> bool {
        let less = |left: u32| left.checked_sub(1);
        let distrust = &self.0.distrust;
        distrust
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, less)
            .is_ok()
    }

    fn report(
        &self,
        request: &Request<'_>,
        answer: Result<&Response, &Error>,
        sent: u64,
        took: Duration,
    ) {
        let observer = &self.0.settings.observer;
        let url = request.url.to_string();
        let why = answer.err().map(why_of).unwrap_or_default();
        let range = request
            .headers
            .get(::http::header::RANGE)
            .and_then(|v| v.to_str().ok());
        let authorized = request.headers.contains_key(::http::header::AUTHORIZATION);
        let note = match (authorized, range) {
            (true, Some(range)) => format!("authorized {range}"),
            (true, None) => "authorized".to_string(),
            (false, range) => range.unwrap_or_default().to_string(),
        };
        observer.exchange(&Exchange {
            method: request.method,
            url: &url,
            status: answer.map(|a| a.status).map_err(|_| why.as_str()),
            sent,
            received: answer.ok().and_then(Response::content_length),
            took,
            note: &note,
        });
        if let Ok(answer) = answer {
            self.warn(&answer.headers);
        }
    }

    /// Passes on what a server wants people to know, once: lists repeat it on
    /// every page.
    fn warn(&self, headers: &HeaderMap) {
        for value in headers.get_all(WARNING) {
            let text = value.to_str().ok().and_then(|v| v.strip_prefix("299 - "));
            let Some(text) = text else { continue };
            let mut warned = self.0.warned.lock().unwrap_or_else(PoisonError::into_inner);
            if warned.len() < MAX_WARNINGS && warned.insert(text.to_string()) {
                drop(warned);
                self.0.settings.observer.warning(text.trim_matches('"'));
            }
        }
    }

    fn agent(&self, url: &Url) -> Result<Agent> {
        let home = url.origin() == self.home();
        let cell = if home {
            &self.0.home_agent
        } else {
            &self.0.away_agent
        };
        if let Some((agent, _)) = cell.get() {
            return Ok(agent.clone());
        }
        let _one = self.0.making.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((agent, _)) = cell.get() {
            return Ok(agent.clone());
        }
        let config = self.config(self.0.settings.idle_timeout);
        let agent = self.connecting(config, url)?;
        // A blocked read ends within a millisecond of the stop, not after the
        // idle timeout; the agent is of no use afterwards.
        let doomed = agent.clone();
        let hook = self.0.settings.stop.on_set(move || doomed.shutdown());
        Ok(cell.get_or_init(|| (agent, hook)).0.clone())
    }

    fn config(&self, idle: Duration) -> Configuring {
        let settings = &self.0.settings;
        let idle_connections = settings.jobs + 1;
        Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .proxy(None)
            .user_agent(&settings.user_agent)
            .accept_encoding("identity")
            .timeout_connect(Some(settings.connect_timeout))
            .timeout_per_read(Some(idle))
            .timeout_per_write(Some(idle))
            .max_response_header_size(MAX_HEAD)
            .input_buffer_size(INPUT_BUFFER)
            .output_buffer_size(OUTPUT_BUFFER)
            .max_idle_connections(4 * idle_connections)
            .max_idle_connections_per_host(idle_connections)
    }

    fn tls(&self, home: bool, scheme: Scheme) -> Result<Option<Arc<ClientConfig>>> {
        let tls = &self.0.settings.tls;
        // Strangers may be reached over https from an http registry (its token
        // server is), and so may a proxy; only a home that speaks http goes
        // without.
        let proxied = self.0.settings.proxies.speak_tls();
        Ok(match (home, scheme) {
            (true, Scheme::Http) if !proxied => None,
            (true, Scheme::Https) => Some(tls.home(self.0.home.authority())?),
            _ => Some(tls.away()?),
        })
    }
}

/// What may differ from one exchange to the next.
struct Way {
    proxy: Option<Proxy>,
    /// How long the server may be silent.
    patience: Duration,
    /// On a new connection.
    anew: bool,
}

fn run<B: AsSendBody>(
    agent: &Agent,
    request: ::http::Result<::http::Request<B>>,
    way: Way,
) -> Result<::http::Response<ureq::Body>, ureq::Error> {
    let mut config = agent
        .configure_request(request?)
        .proxy(way.proxy)
        .timeout_per_read(Some(way.patience))
        .timeout_recv_response(Some(way.patience.saturating_mul(WHOLE_HEAD)));
    if way.anew {
        config = config.max_idle_age(Duration::ZERO);
    }
    agent.run(config.build())
}

/// What a proxy that forwards wants to see of a login in its URL.
fn login_at(proxy: &Proxy) -> Option<HeaderValue> {
    let (user, password) = (proxy.username(), proxy.password());
    user.or(password)?;
    let pair = format!(
        "{}:{}",
        user.unwrap_or_default(),
        password.unwrap_or_default()
    );
    let mut value = HeaderValue::try_from(format!("Basic {}", BASE64.encode(pair))).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// Yields exactly the promised bytes, counts them, and marks errors of the
/// source as such, so that a broken disk is not taken for a broken wire.
struct Outgoing<'a> {
    inner: Box<dyn Read + Send + 'a>,
    left: u64,
    sent: &'a Cell<u64>,
    pace: (&'a Limits, &'a Stop),
}

impl Read for Outgoing<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let room = buf
            .len()
            .min(usize::try_from(self.left).unwrap_or(usize::MAX));
        if room == 0 {
            return Ok(0);
        }
        let (limits, stop) = self.pace;
        let room = limits.piece(room);
        let n = loop {
            match self.inner.read(&mut buf[..room]) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(Error::io("reading what is sent", e).into()),
                Ok(n) => break n,
            }
        };
        if n == 0 {
            let promised = self.sent.get() + self.left;
            return Err(Error::Size {
                what: "what is sent".into(),
                expected: promised,
                actual: self.sent.get(),
            }
            .into());
        }
        limits.pay(n, stop)?;
        self.left -= n as u64;
        self.sent.set(self.sent.get() + n as u64);
        Ok(n)
    }
}

fn is_stale<T>(answer: &Result<T>) -> bool {
    let kind = |error: &Error| match error {
        Error::Network { kind, .. } => Some(*kind),
        _ => None,
    };
    answer.as_ref().err().and_then(kind) == Some(NetworkKind::Stale)
}

fn why_of(error: &Error) -> String {
    match error {
        Error::Network { why, .. } => why.clone(),
        other => other.to_string(),
    }
}
