//! A server that misbehaves as told, alone or before a real registry. One
//! thread a connection, loopback only, HTTP/1.1 with keep-alive.
//!
//! It also judges: dropped, it fails the test for a request that was not expected, a
//! rule that was not used up, a credential sent to a stranger or to a client that
//! never asked for it, and an upload that was sent again without its body.

use std::collections::BTreeMap;
use std::io;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::exchange::{After, Exchange, Order, Upstream};
use super::lock;
use super::registry::Registry;
use super::rules::{Action, Faults, Response, Rule, glob};
use super::tls::Ca;
use super::wire::{Conn, Head, Headers, pairs};

/// One request as the server saw it.
#[derive(Clone, Debug)]
pub struct Seen {
    pub method: String,
    pub path: String,
    pub query: String,
    pub headers: Headers,
    /// Bytes of the request body that were taken.
    pub body_len: u64,
    /// Status of the answer; 0 where none was given.
    pub status: u16,
    /// Bytes of the answer's body that were sent.
    pub sent: u64,
}

impl Seen {
    /// `METHOD /path`, for comparing whole conversations.
    pub fn line(&self) -> String {
        format!("{} {}", self.method, self.path)
    }
}

/// How to start a [`Server`] that the short forms do not cover.
#[derive(Default)]
pub struct Builder {
    rules: Vec<Rule>,
    tls: Option<Arc<rustls::ServerConfig>>,
    upstream: Option<Upstream>,
    stranger: bool,
    crowd: Option<Crowd>,
}

/// What a server with a limit takes at once, and how it refuses more.
type Crowd = (usize, Rule);

impl Builder {
    /// TLS with the shared authority's certificate.
    pub fn tls(self) -> Builder {
        self.tls_with(Ca::shared().server_config())
    }

    /// TLS with a given configuration.
    pub fn tls_with(mut self, config: Arc<rustls::ServerConfig>) -> Builder {
        self.tls = Some(config);
        self
    }

    /// Forwards what no rule answers; speaks TLS if the registry does.
    pub fn before(mut self, registry: &Registry) -> Builder {
        let tls = registry
            .is_tls()
            .then(|| registry.authority().client_config());
        self.upstream = Some(Upstream {
            address: registry.host().to_string(),
            tls,
        });
        if registry.is_tls() {
            let config = registry.authority().server_config();
            return self.tls_with(config);
        }
        self
    }

    /// Any credential that arrives here fails the test.
    pub fn stranger(mut self) -> Builder {
        self.stranger = true;
        self
    }

    /// Takes `most` requests at once; `refusal` is what it does to one more.
    pub fn at_once(mut self, most: usize, refusal: Rule) -> Builder {
        self.crowd = Some((most, refusal));
        self
    }

    pub fn start(self) -> Server {
        Server::start(self)
    }
}

/// A running fault server.
pub struct Server {
    shared: Arc<Shared>,
    port: u16,
    acceptor: Option<JoinHandle<()>>,
}

/// What the threads of a server share.
pub struct Shared {
    pub origin: String,
    rules: Mutex<Vec<Rule>>,
    tls: Option<Arc<rustls::ServerConfig>>,
    pub upstream: Option<Upstream>,
    stranger: bool,
    crowd: Option<Crowd>,
    /// Requests that are being answered.
    busy: AtomicUsize,
    pub seen: Mutex<Vec<Seen>>,
    failures: Mutex<Vec<String>>,
    connections: AtomicUsize,
    stop: AtomicBool,
    open: Mutex<Vec<(Weak<TcpStream>, JoinHandle<()>)>>,
}

impl Server {
    pub fn builder(rules: impl IntoIterator<Item = Rule>) -> Builder {
        Builder {
            rules: rules.into_iter().collect(),
            ..Builder::default()
        }
    }

    /// Plain http; a request that no rule answers fails the test.
    pub fn script(rules: impl IntoIterator<Item = Rule>) -> Server {
        Server::builder(rules).start()
    }

    /// As [`Server::script`], over TLS of the shared authority.
    pub fn script_tls(rules: impl IntoIterator<Item = Rule>) -> Server {
        Server::builder(rules).tls().start()
    }

    /// Before a real registry: what no rule answers is forwarded.
    pub fn before(registry: &Registry, rules: impl IntoIterator<Item = Rule>) -> Server {
        Server::builder(rules).before(registry).start()
    }

    /// Plain http, and no credential may ever arrive here.
    pub fn stranger(rules: impl IntoIterator<Item = Rule>) -> Server {
        Server::builder(rules).stranger().start()
    }

    fn start(builder: Builder) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a loopback port");
        let port = listener.local_addr().expect("an address").port();
        let scheme = if builder.tls.is_some() {
            "https"
        } else {
            "http"
        };
        let shared = Arc::new(Shared {
            origin: format!("{scheme}://127.0.0.1:{port}"),
            rules: Mutex::new(builder.rules),
            tls: builder.tls,
            upstream: builder.upstream,
            stranger: builder.stranger,
            crowd: builder.crowd,
            busy: AtomicUsize::new(0),
            seen: Mutex::default(),
            failures: Mutex::default(),
            connections: AtomicUsize::new(0),
            stop: AtomicBool::new(false),
            open: Mutex::default(),
        });
        let accepting = shared.clone();
        let acceptor = thread::spawn(move || accept(&listener, &accepting));
        Server {
            shared,
            port,
            acceptor: Some(acceptor),
        }
    }

    /// `127.0.0.1:PORT`.
    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The same server under another name, so another host to a client.
    pub fn localhost(&self) -> String {
        format!("localhost:{}", self.port)
    }

    /// `http://127.0.0.1:PORT`, or https.
    pub fn origin(&self) -> &str {
        &self.shared.origin
    }

    /// Puts more rules behind the ones that are there; for rules that have to
    /// name another server.
    pub fn add(&self, rules: impl IntoIterator<Item = Rule>) {
        lock(&self.shared.rules).extend(rules);
    }

    /// Puts rules before the ones that are there.
    pub fn add_first(&self, rules: impl IntoIterator<Item = Rule>) {
        lock(&self.shared.rules).splice(0..0, rules);
    }

    /// Every request so far, in the order the heads arrived.
    pub fn seen(&self) -> Vec<Seen> {
        lock(&self.shared.seen).clone()
    }

    /// The requests for this method ([`super::rules::ANY`] for all) and path.
    pub fn seen_at(&self, method: &str, path: &str) -> Vec<Seen> {
        let mut seen = self.seen();
        seen.retain(|one| (method == "*" || one.method == method) && glob(path, &one.path));
        seen
    }

    pub fn count(&self, method: &str, path: &str) -> usize {
        self.seen_at(method, path).len()
    }

    /// How many connections were made so far.
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// Bytes of answer bodies sent so far.
    pub fn sent(&self) -> u64 {
        self.seen().iter().map(|one| one.sent).sum()
    }

    /// Bytes of request bodies taken so far.
    pub fn taken(&self) -> u64 {
        self.seen().iter().map(|one| one.body_len).sum()
    }

    pub fn assert_no_authorization(&self) {
        for one in self.seen() {
            let line = one.line();
            let sent = one.headers.get("authorization").is_some();
            assert!(!sent, "a credential came with {line}");
        }
    }

    fn verdict(&self) -> Vec<String> {
        let mut failures = lock(&self.shared.failures).clone();
        for rule in lock(&self.shared.rules).iter() {
            if let Some(times) = rule.times.filter(|times| rule.used < *times) {
                let name = rule.name();
                failures.push(format!("{name} was used {} of {times} times", rule.used));
            }
        }
        for one in self.seen().iter().filter(|_| self.shared.stranger) {
            if one.headers.get("authorization").is_some() {
                failures.push(format!("a credential came to a stranger: {}", one.line()));
            }
        }
        failures.extend(sent_empty(&self.seen()));
        failures.extend(self.unasked());
        failures
    }

    /// The credentials that our command sent here, although nothing here ever
    /// asked for any and this is no token server: they were meant for others.
    fn unasked(&self) -> Vec<String> {
        let seen = self.seen();
        if seen.iter().any(|one| one.status == 401) {
            return Vec::new();
        }
        let ours = |one: &&Seen| {
            let agent = one.headers.get("user-agent").unwrap_or_default();
            let sent = one.headers.get("authorization").is_some();
            agent.starts_with("dxf/") && sent && one.path != "/token"
        };
        let lines = seen.iter().filter(ours).map(Seen::line);
        lines
            .map(|line| format!("a credential came unasked: {line}"))
            .collect()
    }
}

/// Uploads whose body was missing or shorter than it has to be: what a client
/// sends whose file was read to its end by the try before.
fn sent_empty(seen: &[Seen]) -> Vec<String> {
    let mut failures = Vec::new();
    let mut chunks = false;
    let mut whole = BTreeMap::new();
    let uploads = seen
        .iter()
        .filter(|one| one.path.contains("/blobs/uploads/"));
    for one in uploads {
        let promised = one.headers.get("content-length");
        let promised: u64 = promised.and_then(|text| text.parse().ok()).unwrap_or(0);
        let digest = pairs(&one.query)
            .into_iter()
            .find(|(key, _)| key == "digest");
        let digest = digest.map(|(_, digest)| digest).unwrap_or_default();
        let empty = match one.method.as_str() {
            "PATCH" => {
                chunks = true;
                promised == 0
            }
            "PUT" if promised == 0 => !chunks && digest != super::data::digest(b""),
            "PUT" => *whole.entry(digest).or_insert(promised) != promised,
            _ => false,
        };
        if empty {
            failures.push(format!("{} was sent without its whole body", one.line()));
        }
    }
    failures
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        // Wakes accept(), which then sees that it is over.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
        let open = std::mem::take(&mut *lock(&self.shared.open));
        for (socket, _) in &open {
            if let Some(socket) = socket.upgrade() {
                let _ = socket.shutdown(Shutdown::Both);
            }
        }
        let panicked = open
            .into_iter()
            .filter_map(|(_, thread)| thread.join().err())
            .count();
        let mut failures = self.verdict();
        if panicked > 0 {
            failures.push("a rule's own assertion failed".to_string());
        }
        let seen = self.seen().iter().map(Seen::line).collect::<Vec<_>>();
        let report = format!("{}\nseen: {seen:#?}", failures.join("\n"));
        if thread::panicking() {
            eprintln!("server at {}: {report}", self.origin());
        } else {
            assert!(failures.is_empty(), "server at {}: {report}", self.origin());
        }
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    while let Ok((tcp, _)) = listener.accept() {
        if shared.stop.load(Ordering::SeqCst) {
            return;
        }
        shared.connections.fetch_add(1, Ordering::SeqCst);
        let tcp = Arc::new(tcp);
        let weak = Arc::downgrade(&tcp);
        let serving = shared.clone();
        let thread = thread::spawn(move || {
            // A client that goes away is the client's business, and the tests'.
            let _ = Conn::accepted(tcp, serving.tls.clone()).and_then(|conn| serving.serve(conn));
        });
        let mut open = lock(&shared.open);
        open.retain(|(socket, thread)| socket.strong_count() > 0 || !thread.is_finished());
        open.push((weak, thread));
    }
}

impl Shared {
    fn serve(&self, mut conn: Conn) -> io::Result<()> {
        let mut upstream = None;
        while let Some(head) = conn.read_head()? {
            let closes = head.closes();
            let busy = self.busy.fetch_add(1, Ordering::SeqCst) + 1;
            let refusal = self.crowd.as_ref().filter(|(most, _)| busy > *most);
            let exchange = self.receive(head, refusal.map(|(_, rule)| rule));
            let after = exchange.run(&mut conn, &mut upstream);
            self.busy.fetch_sub(1, Ordering::SeqCst);
            match after? {
                After::Next if !closes => continue,
                After::Next | After::Finish => conn.finish(),
                After::Drop => {}
                After::Cut => conn.cut(),
                After::Reset => conn.reset(),
            }
            return Ok(());
        }
        Ok(())
    }

    fn receive(&self, head: Head, refusal: Option<&Rule>) -> Exchange<'_> {
        let mut seen = lock(&self.seen);
        seen.push(Seen {
            method: head.method().to_string(),
            path: head.path().to_string(),
            query: head.query().to_string(),
            headers: head.headers.clone(),
            body_len: 0,
            status: 0,
            sent: 0,
        });
        let order = match refusal {
            Some(refusal) => Order {
                action: refusal.action.clone(),
                set: refusal.set.clone(),
                unset: Vec::new(),
                faults: refusal.faults.clone(),
            },
            None => self.order(&head),
        };
        Exchange {
            shared: self,
            head,
            index: seen.len() - 1,
            order,
        }
    }

    fn order(&self, head: &Head) -> Order {
        let mut rules = lock(&self.rules);
        let rule = rules
            .iter_mut()
            .find(|rule| !rule.is_spent() && rule.matches(head));
        if let Some(rule) = rule {
            rule.used += 1;
            let faults = match &rule.choice {
                Some(choose) => choose(head),
                None => rule.faults.clone(),
            };
            let unanswered = self.upstream.is_none() && faults.prevent_an_answer();
            return Order {
                action: match &rule.action {
                    Action::Forward if unanswered => Action::Reply(Response::new(200)),
                    action => action.clone(),
                },
                set: rule.set.clone(),
                unset: rule.unset.clone(),
                faults,
            };
        }
        let action = if self.upstream.is_some() {
            Action::Forward
        } else {
            let what = format!("nobody expected {} {}", head.method(), head.line[1]);
            lock(&self.failures).push(what.clone());
            Action::Reply(Response::new(500).body(what))
        };
        Order {
            action,
            set: Headers::default(),
            unset: Vec::new(),
            faults: Faults::default(),
        }
    }

    /// Waits until the test is over or the client has left.
    pub fn stall(&self, conn: &Conn) {
        while !self.stop.load(Ordering::SeqCst) && !conn.is_gone() {
            thread::sleep(Duration::from_millis(10));
        }
    }

    pub fn pause(&self, time: Duration) {
        let until = Instant::now() + time;
        while !self.stop.load(Ordering::SeqCst) {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            thread::sleep(left.min(Duration::from_millis(20)));
        }
    }
}
