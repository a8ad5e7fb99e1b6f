//! A request and its body, as they are sent.

use std::cell::Cell;
use std::io::{self, Read};
use std::time::Duration;

use ::http::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use crate::error::{Error, RequestLine, Result};
use crate::http::{Settings, Url};
use crate::secret::Secret;

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

    /// How long the server may be silent, when `idle` is what it may be between
    /// bytes.
    pub(super) fn patience(&self, idle: Duration) -> Duration {
        let streamed = match self.body {
            Body::Stream { len, .. } => len,
            _ => 0,
        };
        match self.commits.max(streamed) {
            0 => idle,
            bytes => idle.max(COMMIT + Duration::from_secs(bytes >> 20)),
        }
    }

    /// The body that is sent as it is, if there is one.
    pub(super) fn small_body(&self) -> Option<&'a [u8]> {
        match (self.method, self.body) {
            (_, Body::Bytes(bytes)) => Some(bytes),
            // Without a length ureq sends these chunked, which Google refuses
            // with 411 (rust-oci-client#176).
            ("POST" | "PUT" | "PATCH", Body::Empty) => Some(&[]),
            _ => None,
        }
    }

    /// What must not be shown of it: its credentials as they are sent, and the
    /// password in them.
    pub(super) fn secrets(&self) -> Vec<Secret> {
        let header = self.headers.get(AUTHORIZATION);
        let value = header.and_then(|value| value.to_str().ok());
        let sent = value.map(|value| value.split_once(' ').unwrap_or(("", value)).1.trim());
        let pair = sent.and_then(|sent| BASE64.decode(sent).ok());
        let pair = pair.and_then(|pair| String::from_utf8(pair).ok());
        let password = pair.and_then(|pair| Some(pair.split_once(':')?.1.to_string()));
        let form = match self.body {
            Body::Bytes(bytes) if self.method == "POST" => str::from_utf8(bytes).ok(),
            _ => None,
        };
        let fields = form.into_iter().flat_map(|form| form.split('&'));
        let token = fields.filter_map(|field| field.strip_prefix("refresh_token="));
        let token = token.map(str::to_string);
        let all = sent.map(str::to_string).into_iter().chain(password);
        all.chain(token).map(Secret::new).collect()
    }

    /// Method and URL, as they may be shown.
    pub fn line(&self) -> RequestLine {
        RequestLine {
            method: self.method.to_string(),
            url: self.url.to_string(),
        }
    }
}

/// Yields exactly the promised bytes, counts them, and marks errors of the
/// source as such, so that a broken disk is not taken for a broken wire.
pub(super) struct Outgoing<'a> {
    pub(super) inner: Box<dyn Read + Send + 'a>,
    /// Bytes still to come.
    pub(super) left: u64,
    /// Where they are counted.
    pub(super) sent: &'a Cell<u64>,
    /// Say how fast.
    pub(super) settings: &'a Settings,
}

impl Read for Outgoing<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let room = buf
            .len()
            .min(usize::try_from(self.left).unwrap_or(usize::MAX));
        if room == 0 {
            return Ok(0);
        }
        let (limits, stop) = (&self.settings.limits, &self.settings.stop);
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
