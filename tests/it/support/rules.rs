//! What the fault server is told to do: which requests a rule is for, what is
//! answered, and what goes wrong on the way.

use std::sync::Arc;
use std::time::Duration;

use super::wire::{Head, Headers, pairs};

pub const ANY: &str = "*";
pub const GET: &str = "GET";
pub const HEAD: &str = "HEAD";
pub const POST: &str = "POST";
pub const PUT: &str = "PUT";
pub const PATCH: &str = "PATCH";
pub const DELETE: &str = "DELETE";

/// A request whose body was read, as a closure given to [`Rule::with`] sees it.
#[derive(Clone, Debug)]
pub struct Request {
    pub method: String,
    pub path: String,
    pub query: String,
    pub headers: Headers,
    pub body: Vec<u8>,
}

impl Request {
    /// The decoded value of a query parameter.
    pub fn param(&self, key: &str) -> Option<String> {
        pairs(&self.query)
            .into_iter()
            .find_map(|(name, value)| (name == key).then_some(value))
    }
}

/// An answer made by hand.
#[derive(Clone, Debug, Default)]
pub struct Response {
    pub status: u16,
    pub headers: Headers,
    pub body: Vec<u8>,
}

impl Response {
    pub fn new(status: u16) -> Response {
        Response {
            status,
            ..Response::default()
        }
    }

    /// A field; `{origin}` in its value becomes the server's own origin.
    pub fn header(mut self, name: &str, value: &str) -> Response {
        self.headers.add(name, value);
        self
    }

    pub fn body(mut self, bytes: impl Into<Vec<u8>>) -> Response {
        self.body = bytes.into();
        self
    }

    /// `bytes`, or the part of them that the request's `Range` names.
    pub fn ranged(request: &Request, bytes: &[u8]) -> Response {
        let range = request.headers.get("range").and_then(parse_range);
        let Some((first, last)) = range else {
            return Response::new(200)
                .header("Accept-Ranges", "bytes")
                .body(bytes);
        };
        if first >= bytes.len() {
            let all = format!("bytes */{}", bytes.len());
            return Response::new(416).header("Content-Range", &all);
        }
        let last = last.unwrap_or(usize::MAX).min(bytes.len() - 1);
        let part = format!("bytes {first}-{last}/{}", bytes.len());
        Response::new(206)
            .header("Accept-Ranges", "bytes")
            .header("Content-Range", &part)
            .body(&bytes[first..=last])
    }
}

fn parse_range(value: &str) -> Option<(usize, Option<usize>)> {
    let (first, last) = value.strip_prefix("bytes=")?.split_once('-')?;
    let last = match last {
        "" => None,
        last => Some(last.parse().ok()?),
    };
    Some((first.parse().ok()?, last))
}

/// What goes wrong. Counts are bytes of the body.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    pub reset_after: Option<u64>,
    pub stall_upload_after: Option<u64>,
    pub upload_rate: Option<u64>,
    pub cut_after: Option<u64>,
    pub reset_response_after: Option<u64>,
    pub calm: Duration,
    pub stall_after: Option<u64>,
    pub drip: Option<(usize, Duration)>,
    pub wrong_length: Option<u64>,
    pub corrupt: bool,
    pub close_early: bool,
    pub lose_answer: bool,
    pub silent: bool,
    pub delay: Duration,
}

impl Faults {
    /// Whether a rule needs nothing to answer, because it never will.
    pub fn prevent_an_answer(&self) -> bool {
        self.reset_after.is_some()
            || self.stall_upload_after.is_some()
            || self.lose_answer
            || self.silent
    }
}

#[derive(Clone)]
pub enum Action {
    Forward,
    Reply(Response),
    With(Arc<dyn Fn(&Request) -> Response + Send + Sync>),
}

/// Chooses what goes wrong with one request.
pub type Choice = Arc<dyn Fn(&Head) -> Faults + Send + Sync>;

enum Condition {
    When(Box<dyn Fn(&Head) -> bool + Send + Sync>),
    Query(String, String),
    HasHeader(String, String),
    NoHeader(String),
    Larger(u64),
    Length(&'static str),
}

/// One line of a script. The first rule that matches a request and is not used
/// up decides; a rule without [`Rule::times`] is never used up.
pub struct Rule {
    method: &'static str,
    path: String,
    conditions: Vec<Condition>,
    pub times: Option<usize>,
    pub used: usize,
    pub action: Action,
    pub set: Headers,
    pub unset: Vec<String>,
    pub faults: Faults,
    pub choice: Option<Choice>,
}

/// A rule for requests with this method ([`ANY`] for all) and path. `*` in the
/// path stands for anything, slashes too. Without [`Rule::reply`] or
/// [`Rule::with`] the request is forwarded.
pub fn on(method: &'static str, path: &str) -> Rule {
    Rule {
        method,
        path: path.to_string(),
        conditions: Vec::new(),
        times: None,
        used: 0,
        action: Action::Forward,
        set: Headers::default(),
        unset: Vec::new(),
        faults: Faults::default(),
        choice: None,
    }
}

/// Which requests, and how often.
impl Rule {
    /// Only with this query parameter; its value is compared decoded.
    pub fn query(mut self, key: &str, value: &str) -> Rule {
        let condition = Condition::Query(key.to_string(), value.to_string());
        self.conditions.push(condition);
        self
    }

    /// Only with a field of that name whose value holds `part`.
    pub fn has_header(mut self, name: &str, part: &str) -> Rule {
        let condition = Condition::HasHeader(name.to_string(), part.to_string());
        self.conditions.push(condition);
        self
    }

    /// Only without that field.
    pub fn no_header(mut self, name: &str) -> Rule {
        self.conditions.push(Condition::NoHeader(name.to_string()));
        self
    }

    /// Only with exactly this `Range`, such as `bytes=1000-`.
    pub fn range(self, value: &str) -> Rule {
        self.has_header("range", value)
    }

    /// Only where `wanted` says so; asked once a request that fits otherwise.
    pub fn when(mut self, wanted: impl Fn(&Head) -> bool + Send + Sync + 'static) -> Rule {
        self.conditions.push(Condition::When(Box::new(wanted)));
        self
    }

    /// Exactly so often: fewer fail the test, later requests pass this rule by.
    pub fn times(mut self, count: usize) -> Rule {
        self.times = Some(count);
        self
    }

    pub fn is_spent(&self) -> bool {
        self.times.is_some_and(|times| self.used >= times)
    }

    pub fn matches(&self, head: &Head) -> bool {
        (self.method == ANY || self.method == head.method())
            && glob(&self.path, head.path())
            && self.conditions.iter().all(|condition| match condition {
                Condition::When(wanted) => wanted(head),
                Condition::Query(key, value) => pairs(head.query())
                    .iter()
                    .any(|(k, v)| k == key && v == value),
                Condition::HasHeader(name, part) => {
                    head.headers.all(name).any(|value| value.contains(part))
                }
                Condition::NoHeader(name) => head.headers.get(name).is_none(),
                Condition::Length(length) => head.headers.get("content-length") == Some(length),
                Condition::Larger(size) => head.length().is_some_and(|length| length > *size),
            })
    }

    pub fn name(&self) -> String {
        format!("on({}, {:?})", self.method, self.path)
    }
}

/// What is answered.
impl Rule {
    pub fn reply(mut self, status: u16) -> Rule {
        self.action = Action::Reply(Response::new(status));
        self
    }

    /// Any answer at all, made from the whole request.
    pub fn with(mut self, make: impl Fn(&Request) -> Response + Send + Sync + 'static) -> Rule {
        self.action = Action::With(Arc::new(make));
        self
    }

    /// Answers GET and HEAD with these bytes, whole or the range asked for.
    pub fn serve(self, bytes: impl Into<Vec<u8>>) -> Rule {
        let bytes = bytes.into();
        self.with(move |request| Response::ranged(request, &bytes))
    }

    /// A field of the answer; on a forwarded one it replaces the registry's.
    /// `{origin}` in the value becomes the server's own origin.
    pub fn header(mut self, name: &str, value: &str) -> Rule {
        self.set.add(name, value);
        self
    }

    /// Takes a field out of a forwarded answer.
    pub fn without_header(mut self, name: &str) -> Rule {
        self.unset.push(name.to_string());
        self
    }

    /// The body of [`Rule::reply`].
    pub fn body(mut self, bytes: impl Into<Vec<u8>>) -> Rule {
        match &mut self.action {
            Action::Reply(response) => response.body = bytes.into(),
            _ => panic!("body() belongs behind reply()"),
        }
        self
    }

    /// Only with exactly this `Content-Length`.
    pub fn length(mut self, length: &'static str) -> Rule {
        self.conditions.push(Condition::Length(length));
        self
    }

    /// Only with a request body above `size`, judged by its Content-Length.
    pub fn larger(mut self, size: u64) -> Rule {
        self.conditions.push(Condition::Larger(size));
        self
    }

    /// 413 for a request body above `size`, judged by its Content-Length and
    /// without reading it, as proxies with a limit do.
    pub fn max_body(self, size: u64) -> Rule {
        self.larger(size).reply(413).close_early()
    }
}

/// What goes wrong on the way. The upload faults come before any answer.
impl Rule {
    /// Takes so many bytes of the request body, then resets the connection.
    pub fn reset_after(mut self, bytes: u64) -> Rule {
        self.faults.reset_after = Some(bytes);
        self
    }

    /// Takes so many bytes of the request body, then no more.
    pub fn stall_upload_after(mut self, bytes: u64) -> Rule {
        self.faults.stall_upload_after = Some(bytes);
        self
    }

    /// Takes the request body no faster than so many bytes a second.
    pub fn upload_rate(mut self, bytes: u64) -> Rule {
        self.faults.upload_rate = Some(bytes);
        self
    }

    /// Sends so many bytes of the answer's body, then closes.
    pub fn cut_after(mut self, bytes: u64) -> Rule {
        self.faults.cut_after = Some(bytes);
        self
    }

    /// Sends so many bytes of the answer's body, then resets.
    pub fn reset_response_after(mut self, bytes: u64) -> Rule {
        self.faults.reset_response_after = Some(bytes);
        self
    }

    /// Waits before a reset, so that the client has read what was sent: a reset
    /// takes along what still lies in the buffers of a busy machine, megabytes.
    pub fn calm(mut self, time: Duration) -> Rule {
        self.faults.calm = time;
        self
    }

    /// Sends so many bytes of the answer's body, then nothing.
    pub fn stall_after(mut self, bytes: u64) -> Rule {
        self.faults.stall_after = Some(bytes);
        self
    }

    /// Sends the answer's body so many bytes at a time.
    pub fn drip(mut self, bytes: usize, interval: Duration) -> Rule {
        self.faults.drip = Some((bytes, interval));
        self
    }

    /// Claims this Content-Length, whatever the body is, then closes.
    pub fn wrong_length(mut self, length: u64) -> Rule {
        self.faults.wrong_length = Some(length);
        self
    }

    /// Flips one bit in the first byte of the answer's body.
    pub fn corrupt(mut self) -> Rule {
        self.faults.corrupt = true;
        self
    }

    /// Answers without reading the request body, and closes at once: a client
    /// that is still sending sees a reset and may lose the answer.
    pub fn close_early(mut self) -> Rule {
        self.faults.close_early = true;
        self
    }

    /// Does all that was asked, then resets instead of answering.
    pub fn lose_answer(mut self) -> Rule {
        self.faults.lose_answer = true;
        self
    }

    /// Takes the request and never answers.
    pub fn silent(mut self) -> Rule {
        self.faults.silent = true;
        self
    }

    /// Other faults each time, as `choose` says.
    pub fn chosen(mut self, choose: impl Fn(&Head) -> Faults + Send + Sync + 'static) -> Rule {
        self.choice = Some(Arc::new(choose));
        self
    }

    /// Waits before the answer.
    pub fn delay(mut self, time: Duration) -> Rule {
        self.faults.delay = time;
        self
    }
}

/// Whether `text` fits `pattern`, where `*` stands for anything.
pub fn glob(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((before, after)) => text.strip_prefix(before).is_some_and(|rest| {
            after.is_empty() || {
                let starts = (0..=rest.len()).filter(|at| rest.is_char_boundary(*at));
                starts.into_iter().any(|at| glob(after, &rest[at..]))
            }
        }),
    }
}
