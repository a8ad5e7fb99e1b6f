//! One request, one answer: no redirect, no authorization, no second attempt.

use std::cell::Cell;
use std::io::{self, Read};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use ::http::header::{CONTENT_LENGTH, EXPECT, HeaderMap, HeaderName, HeaderValue, WARNING};
use rustls::ClientConfig;
use ureq::{Agent, AsSendBody};

use crate::error::{Error, RequestLine, Result};
use crate::http::{Exchange, Scheme, Settings, Url, UrlOrigin, connector, trouble};
use crate::stream::{Hook, read_bounded};

/// A configuration that can still be changed.
type Configuring = ureq::config::ConfigBuilder<ureq::typestate::AgentScope>;

/// Longer than any process lives.
const FOREVER: Duration = Duration::from_secs(100 * 365 * 24 * 3600);
/// More connections than that are kept for nobody.
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
/// How much of a body nobody wants is read to keep its connection.
const MAX_DRAIN: u64 = 64 * 1024;
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
    body: ureq::Body,
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

    /// The body, at most `limit` bytes of it.
    ///
    /// # Errors
    /// [`Error::Malformed`] when it is longer, [`Error::Network`] when it ends
    /// early.
    pub fn bytes(self, limit: u64) -> Result<Vec<u8>> {
        let what = format!("answer to {}", self.line);
        if self.content_length().is_some_and(|length| length > limit) {
            return Err(Error::malformed(
                what,
                format!("it is larger than {limit} bytes"),
            ));
        }
        read_bounded(&what, self.into_reader(), limit)
    }

    /// Reads what is left of a body nobody wants, so that its connection can be
    /// used again; gives up on long ones.
    pub fn drain(self) {
        let mut rest = self.into_reader().take(MAX_DRAIN);
        // The body is of no interest, and neither is what happens to it.
        let _ = io::copy(&mut rest, &mut io::sink());
    }

    /// The body, whose errors name the request.
    pub fn into_reader(self) -> BodyReader {
        BodyReader {
            inner: self.body.into_reader(),
            line: self.line,
        }
    }
}

/// The body of an answer; see [`Response::into_reader`].
pub struct BodyReader {
    inner: ureq::BodyReader<'static>,
    line: RequestLine,
}

impl Read for BodyReader {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.inner
            .read(buf)
            .map_err(|e| trouble::of_io(self.line.clone(), e).into())
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
}

impl Transport {
    /// A transport whose client certificate, if any, is for the origin of
    /// `home` alone.
    pub fn new(mut settings: Settings, home: Url) -> Transport {
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
        let home = request.url.origin() == self.home();
        // Names, connections and bodies included: somebody pressed a key.
        let config = self.config(patience).timeout_global(Some(patience));
        let tls = self.tls(home, request.url.scheme())?;
        let agent = connector::agent(config.build(), tls);
        self.send_with(&agent, request, patience)
    }

    fn send_with(&self, agent: &Agent, request: &Request<'_>, idle: Duration) -> Result<Response> {
        if !matches!(request.body, Body::Stream { len, .. } if len > EXPECT_ABOVE) {
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
        let answer = self.exchange(agent, request, idle, &sent);
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
        let proxy = self.0.settings.proxies.choose(&request.url)?;
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
        }
        let patience = match commits {
            0 => idle,
            bytes => idle.max(COMMIT + Duration::from_secs(bytes >> 20)),
        };
        let proxied = proxy.is_some();
        let failed = |e: ureq::Error| match trouble::of_ureq(request.line(), e) {
            error if proxied => trouble::at_the_proxy(error),
            error => error,
        };
        let body = match (request.method, request.body) {
            // Without a length ureq sends these chunked, which Google refuses
            // with 411 (rust-oci-client#176).
            ("POST" | "PUT" | "PATCH", Body::Empty) => Body::Bytes(&[]),
            (_, body) => body,
        };
        let answer = match body {
            Body::Empty => run(agent, builder.body(()), proxy, patience),
            Body::Bytes(bytes) => {
                sent.set(bytes.len() as u64);
                run(agent, builder.body(bytes), proxy, patience)
            }
            Body::Stream { open, len } => {
                let mut reader = Outgoing {
                    inner: open()?,
                    left: len,
                    sent,
                };
                let body = ureq::SendBody::from_reader(&mut reader);
                run(agent, builder.body(body), proxy, patience)
            }
        };
        let (head, body) = answer.map_err(failed)?.into_parts();
        Ok(Response {
            status: head.status.as_u16(),
            headers: head.headers,
            url: request.url.clone(),
            line: request.line(),
            body,
        })
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
        for text in answer
            .iter()
            .flat_map(|a| a.headers.get_all(WARNING))
            .filter_map(|v| v.to_str().ok())
        {
            if let Some(text) = text.strip_prefix("299 - ") {
                observer.warning(text.trim_matches('"'));
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
        let config = self.config(self.0.settings.idle_timeout).build();
        let agent = connector::agent(config, self.tls(home, url.scheme())?);
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
        // server is), so only a home that speaks http goes without.
        Ok(match (home, scheme) {
            (true, Scheme::Http) => None,
            (true, Scheme::Https) => Some(tls.home(self.0.home.authority())?),
            (false, _) => Some(tls.away()?),
        })
    }
}

/// One exchange with what may differ from one to the next.
fn run<B: AsSendBody>(
    agent: &Agent,
    request: ::http::Result<::http::Request<B>>,
    proxy: Option<ureq::Proxy>,
    patience: Duration,
) -> Result<::http::Response<ureq::Body>, ureq::Error> {
    let request = agent
        .configure_request(request?)
        .proxy(proxy)
        .timeout_per_read(Some(patience))
        .build();
    agent.run(request)
}

/// Yields exactly the promised bytes, counts them, and marks errors of the
/// source as such, so that a broken disk is not taken for a broken wire.
struct Outgoing<'a> {
    inner: Box<dyn Read + Send + 'a>,
    left: u64,
    sent: &'a Cell<u64>,
}

impl Read for Outgoing<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let room = buf
            .len()
            .min(usize::try_from(self.left).unwrap_or(usize::MAX));
        if room == 0 {
            return Ok(0);
        }
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
        self.left -= n as u64;
        self.sent.set(self.sent.get() + n as u64);
        Ok(n)
    }
}

fn why_of(error: &Error) -> String {
    match error {
        Error::Network { why, .. } => why.clone(),
        other => other.to_string(),
    }
}
