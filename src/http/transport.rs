//! One request, one answer: no redirect, no authorization, no second attempt.

use std::cell::Cell;
use std::collections::HashSet;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use ::http::header::{CONTENT_LENGTH, EXPECT, HeaderValue, PROXY_AUTHORIZATION, WARNING};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ureq::{Agent, AsSendBody, Proxy};

use crate::bounds;
use crate::error::{Error, NetworkKind, Result};
use crate::http::address::AddressPolicy;
use crate::http::agents::Agents;
use crate::http::request::{Body, Outgoing, Request};
use crate::http::response::{Response, WHOLE_HEAD};
use crate::http::{Exchange, Settings, Url, connection, network_error};

/// Longer than any process lives.
const FOREVER: Duration = Duration::from_secs(100 * 365 * 24 * 3600);
/// No more idle connections than this are kept.
const MAX_JOBS: usize = 1024;
/// Above this size, dxf asks the server before it sends the body: a server that
/// answers early and closes would otherwise take its answer (401, 413) with
/// it, because the client sees the reset first.
const EXPECT_ABOVE: u64 = 1 << 20;
/// After a kept-alive connection that had died, so many requests take new ones:
/// where one did, the others will, and the retry must not meet them.
const DISTRUST: u32 = 16;
/// So many different warnings are passed on, each once.
const MAX_WARNINGS: usize = bounds::WARNINGS;

/// Sends requests. Cheap to clone; clones share their connections.
#[derive(Clone)]
pub struct Transport(Arc<Inner>);

struct Inner {
    settings: Settings,
    agents: Agents,
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
            agents: Agents::new(home, policy),
            distrust: AtomicU32::new(0),
            warned: Mutex::default(),
        }))
    }

    /// The settings it was made with.
    pub fn settings(&self) -> &Settings {
        &self.0.settings
    }

    /// One request, one answer.
    ///
    /// # Errors
    /// [`Error::Network`] without an answer, [`Error::Stopped`], and what the
    /// body's reader fails with.
    pub fn send(&self, request: &Request<'_>) -> Result<Response> {
        let settings = &self.0.settings;
        settings.stop.check()?;
        let agent = self.0.agents.get(&request.url, settings)?;
        let origin = request.url.origin();
        let mut permit = settings.permits.acquire(origin, &settings.stop)?;
        let answer = self.send_with(&agent, request, settings.idle_timeout);
        if answer.as_ref().is_err_and(hangs_up) {
            // The next try waits for the others to end.
            permit.was_refused();
        }
        Ok(answer?.permitted_by(permit, request.method))
    }

    /// One last request after the stop was set, such as the cancelling of an
    /// upload, on a connection of its own with little patience.
    ///
    /// # Errors
    /// As [`Transport::send`], but for [`Error::Stopped`].
    pub fn send_last(&self, request: &Request<'_>, patience: Duration) -> Result<Response> {
        // Names, connections and bodies included: the user interrupted.
        let settings = &self.0.settings;
        let agent = self.0.agents.hurried(&request.url, settings, patience)?;
        self.send_with(&agent, request, patience)
    }

    fn send_with(&self, agent: &Agent, request: &Request<'_>, idle: Duration) -> Result<Response> {
        self.0.agents.permit(&request.url).map_err(|why| {
            let request = request.line();
            Error::Refused { request, why }
        })?;
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
            // beginning a whole upload again would be a waste.
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
        let settings = &self.0.settings;
        // The last requests of a run that was stopped wait for nothing.
        if !settings.stop.is_set() {
            settings.limits.request(&settings.stop)?;
        }
        let proxy = settings.proxies.choose(&request.url)?;
        let by = |proxy: &&Proxy| connection::is_forwarded(request.url.scheme(), proxy);
        let forwarding = proxy.as_ref().filter(by);
        let (proxied, forwarded) = (proxy.is_some(), forwarding.is_some());
        let failed = |e: ureq::Error| match network_error::of_ureq(request.line(), e) {
            error if proxied => network_error::at_the_proxy(error),
            error => error,
        };
        let head = head(request, forwarding.and_then(login_at));
        let way = Way {
            patience: request.patience(idle),
            anew: self.is_distrustful(),
            proxy,
        };
        let mut stream = match request.body {
            Body::Stream { open, len } => Some(Outgoing {
                inner: open()?,
                left: len,
                sent,
                settings,
            }),
            _ => None,
        };
        let answer = match (&mut stream, request.small_body()) {
            (Some(stream), _) => {
                let body = ureq::SendBody::from_reader(stream);
                run(agent, head.body(body), way)
            }
            (None, Some(bytes)) => {
                sent.set(bytes.len() as u64);
                run(agent, head.body(bytes), way)
            }
            (None, None) => run(agent, head.body(()), way),
        };
        let answer = self.watched(answer).map_err(failed)?;
        if forwarded && answer.status() == 407 {
            // As a tunnel's refusal is: it is not the server's.
            let why = "proxy server responded 407/407".to_string();
            return Err(failed(ureq::Error::ConnectProxyFailed(why)));
        }
        Ok(Response::new(request, answer, settings, idle))
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
            self.warn(answer);
        }
    }

    /// Passes on what a server wants people to know, once: lists repeat it on
    /// every page. Credentials are hidden in it.
    fn warn(&self, answer: &Response) {
        let hide = answer.hider();
        for value in answer.headers.get_all(WARNING) {
            let text = value.to_str().ok().and_then(|v| v.strip_prefix("299 - "));
            let Some(text) = text.map(&hide) else {
                continue;
            };
            let mut warned = self.0.warned.lock().unwrap_or_else(PoisonError::into_inner);
            if warned.len() < MAX_WARNINGS && warned.insert(text.clone()) {
                drop(warned);
                self.0.settings.observer.warning(text.trim_matches('"'));
            }
        }
    }
}

/// What is sent of `request` before its body, with a login for the proxy that
/// forwards it.
fn head(request: &Request<'_>, login: Option<HeaderValue>) -> ::http::request::Builder {
    let mut builder = ::http::Request::builder()
        .method(request.method)
        .uri(request.url.as_str());
    if let Some(headers) = builder.headers_mut() {
        headers.extend(request.headers.clone());
        if let Body::Stream { len, .. } = request.body {
            headers.insert(CONTENT_LENGTH, HeaderValue::from(len));
        }
        if let Some(login) = login {
            headers.insert(PROXY_AUTHORIZATION, login);
        }
    }
    builder
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

fn is_stale<T>(answer: &Result<T>) -> bool {
    let kind = |error: &Error| match error {
        Error::Network { kind, .. } => Some(*kind),
        _ => None,
    };
    answer.as_ref().err().and_then(kind) == Some(NetworkKind::Stale)
}

/// Whether it is how servers refuse a connection without a word.
fn hangs_up(error: &Error) -> bool {
    let kind = match error {
        Error::Network { kind, .. } => Some(*kind),
        _ => None,
    };
    matches!(kind, Some(NetworkKind::Cut | NetworkKind::Connect))
}

fn why_of(error: &Error) -> String {
    match error {
        Error::Network { why, .. } => why.clone(),
        other => other.to_string(),
    }
}
