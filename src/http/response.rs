//! An answer whose body is still on the wire, read within bounds of length and
//! of time.

use std::io::{self, Read};
use std::time::{Duration, Instant};

use ::http::header::{
    CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderName, RETRY_AFTER,
};
use flate2::read::MultiGzDecoder;

use crate::error::{Error, RequestLine, Result};
use crate::http::permits::Permit;
use crate::http::retry::retry_after;
use crate::http::{Body, Limits, Request, Settings, Url, network_error};
use crate::secret::Secret;
use crate::stream::{Stop, read_bounded};

/// Secrets of fewer bytes are not looked for in answers.
const SHORTEST_HIDDEN: usize = 6;
/// How much of an unneeded body is read to keep its connection, and how long:
/// a new connection takes no longer.
const MAX_DRAIN: u64 = 64 * 1024;
const DRAIN: Duration = Duration::from_secs(1);
/// How many times the idle timeout a whole head may take, which a
/// server could drag out for hours byte by byte.
pub(super) const WHOLE_HEAD: u32 = 2;
/// Bodies that are held whole may come as slowly as this, bytes a second, but
/// for a beginning of as long as a head may take.
const SLOWEST: u64 = 1024;

/// The codings that compress (RFC 9110, 8.4.1, and its registry).
const KNOWN: [&str; 7] = [
    "gzip",
    "x-gzip",
    "deflate",
    "br",
    "zstd",
    "compress",
    "x-compress",
];

/// How a body is compressed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Coding {
    /// With gzip, once.
    Gzip,
    /// In a way that is not read here, by its name.
    Other(String),
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
    limits: Limits,
    stop: Stop,
    /// None after a stop.
    permit: Option<Permit>,
}

impl Response {
    /// What answered `request`; its body is read as `settings` say, and a whole
    /// one with `patience`.
    pub(super) fn new(
        request: &Request<'_>,
        answer: ::http::Response<ureq::Body>,
        settings: &Settings,
        patience: Duration,
    ) -> Response {
        let (head, body) = answer.into_parts();
        Response {
            status: head.status.as_u16(),
            headers: head.headers,
            url: request.url.clone(),
            line: request.line(),
            sent: request.secrets(),
            body,
            patience,
            read_size: settings.read_size,
            limits: settings.limits.clone(),
            stop: settings.stop.clone(),
            permit: None,
        }
    }

    /// The same, sent with `permit`, which lasts as long as the body of a blob.
    pub(super) fn permitted_by(mut self, mut permit: Permit, method: &str) -> Response {
        // Other bodies are small, and other requests come between.
        if method != "GET" || !matches!(self.status, 200..=299) {
            permit.give_back();
        }
        self.permit = Some(permit);
        self
    }

    /// Whether the server refused one request more than it takes at once, so that
    /// this one is worth sending again: then waits a moment. It is not where a body
    /// arrived at a server that then broke down.
    ///
    /// # Errors
    /// [`Error::Stopped`].
    pub fn gives_way(&mut self, request: &Request<'_>) -> Result<bool> {
        let is_worth_it = self.refuses_more()
            && self.permit.as_mut().is_some_and(Permit::was_refused)
            && !(self.status == 503 && matches!(request.body, Body::Stream { .. }));
        match &self.permit {
            Some(permit) if is_worth_it => permit.settle(&self.stop).map(|()| true),
            _ => Ok(false),
        }
    }

    /// Whether it is how servers refuse a client one request more than they
    /// allow: nginx with 503, content networks with 429 and 403. A registry that
    /// denies something says so in JSON, an object store in XML.
    fn refuses_more(&self) -> bool {
        let waits = self.header(RETRY_AFTER).and_then(retry_after);
        let document = |kind: &str| kind.contains("json") || kind.contains("xml");
        match self.status {
            403 => !self.header(CONTENT_TYPE).is_some_and(document),
            429 | 503 => waits.unwrap_or(0) == 0,
            _ => false,
        }
    }

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

    /// How the body is compressed, although that was not asked for: proxies
    /// and object stores do it all the same.
    pub fn coding(&self) -> Option<Coding> {
        let text = self.header(CONTENT_ENCODING)?.to_ascii_lowercase();
        // Object stores keep words such as `aws-chunked` there, which change nothing.
        let is_known = |word: &&str| KNOWN.contains(word);
        let words: Vec<&str> = text.split(',').map(str::trim).filter(is_known).collect();
        match words.as_slice() {
            [] => None,
            ["gzip" | "x-gzip"] => Some(Coding::Gzip),
            words => Some(Coding::Other(words.join(", "))),
        }
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
        let (coding, body) = (self.coding(), self.into_reader());
        let mut body = Hurried::new(body, patience).take(limit);
        // What came before it broke off is better than nothing.
        let _ = match coding {
            Some(Coding::Gzip) => MultiGzDecoder::new(body)
                .take(limit)
                .read_to_end(&mut bytes),
            Some(Coding::Other(_)) => return bytes,
            None => body.read_to_end(&mut bytes),
        };
        bytes
    }

    fn read_within(self, patience: Duration, what: &str, limit: u64) -> Result<Vec<u8>> {
        let coding = self.coding();
        let body = Hurried::new(self.into_reader(), patience);
        match coding {
            None => return read_bounded(what, body, limit),
            Some(Coding::Gzip) => {}
            Some(Coding::Other(_)) => return Err(unreadable(what, coding)),
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
            limits: self.limits,
            stop: self.stop,
            waited: Duration::ZERO,
            permit: self.permit,
        }
    }
}

/// The error for a body that is compressed in a way that is not read here.
pub fn unreadable(what: impl Into<String>, coding: Option<Coding>) -> Error {
    let name = match coding {
        Some(Coding::Other(name)) => name,
        _ => "gzip".to_string(),
    };
    Error::malformed(
        what,
        format!("it is compressed with {name}, which was not requested"),
    )
}

/// The body of an answer; see [`Response::into_reader`].
pub struct BodyReader {
    inner: ureq::BodyReader<'static>,
    line: RequestLine,
    read_size: usize,
    limits: Limits,
    stop: Stop,
    /// How long the limits made it wait.
    waited: Duration,
    /// None after the end.
    permit: Option<Permit>,
}

impl Read for BodyReader {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let most = self.limits.piece(buf.len().min(self.read_size));
        let n = self
            .inner
            .read(&mut buf[..most])
            .map_err(|e| io::Error::from(network_error::of_io(self.line.clone(), e)))?;
        if n == 0 && most > 0 {
            self.permit = None;
        }
        self.waited += self.limits.pay(n, &self.stop)?;
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
