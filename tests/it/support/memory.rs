//! The upload API of a registry, in memory: what a real one does not show
//! (sessions that tell where they stand after a broken request) or can't be
//! made to do. Its rules come behind those of a test, which break them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use super::data::digest;
use super::lock;
use super::rules::{DELETE, GET, HEAD, PATCH, POST, PUT, Request, Response, Rule, on};

const SESSIONS: &str = "/v2/*/blobs/uploads/*";

/// Blobs and open sessions. Clones are the same memory.
#[derive(Clone, Default)]
pub struct Memory(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    sessions: BTreeMap<String, Vec<u8>>,
    blobs: BTreeMap<String, Vec<u8>>,
    begun: usize,
    cancelled: usize,
}

impl Memory {
    pub fn new() -> Memory {
        Memory::default()
    }

    /// What a well-behaved registry answers.
    pub fn rules(&self) -> Vec<Rule> {
        let rule = |method, path, answer: fn(&mut State, &Request) -> Response| {
            let state = self.0.clone();
            on(method, path).with(move |request| answer(&mut lock(&state), request))
        };
        vec![
            rule(POST, "/v2/*/blobs/uploads/", State::begin),
            rule(PATCH, SESSIONS, State::append),
            rule(PUT, SESSIONS, State::commit),
            rule(GET, SESSIONS, State::tell),
            rule(DELETE, SESSIONS, State::cancel),
            rule(HEAD, "/v2/*/blobs/*", State::blob),
            rule(GET, "/v2/*/blobs/*", State::blob),
        ]
    }

    /// Opens a session, for rules that answer more about it.
    pub fn begin(&self, request: &Request) -> Response {
        lock(&self.0).begin(request)
    }

    /// Takes only the first bytes of a chunk, and says so.
    pub fn append_part(&self, request: &Request, bytes: usize) -> Response {
        let mut part = request.clone();
        part.body.truncate(bytes);
        lock(&self.0).append(&part)
    }

    pub fn put(&self, bytes: &[u8]) -> String {
        let name = digest(bytes);
        lock(&self.0).blobs.insert(name.clone(), bytes.to_vec());
        name
    }

    pub fn holds(&self, bytes: &[u8]) -> bool {
        lock(&self.0)
            .blobs
            .get(&digest(bytes))
            .is_some_and(|blob| blob == bytes)
    }

    /// Sessions begun so far.
    pub fn begun(&self) -> usize {
        lock(&self.0).begun
    }

    /// Sessions that are neither committed nor cancelled.
    pub fn open(&self) -> usize {
        lock(&self.0).sessions.len()
    }

    /// Sessions ended by a DELETE.
    pub fn cancelled(&self) -> usize {
        lock(&self.0).cancelled
    }

    /// Loses every session, as a registry that was started again.
    pub fn forget_sessions(&self) {
        lock(&self.0).sessions.clear();
    }
}

/// The body of an error in the registry's own form.
pub fn complaint(code: &str, message: &str) -> String {
    format!(r#"{{"errors":[{{"code":"{code}","message":"{message}"}}]}}"#)
}

fn id(request: &Request) -> String {
    let last = request.path.rsplit('/').next();
    last.unwrap_or_default().to_string()
}

fn unknown() -> Response {
    Response::new(404).body(complaint("BLOB_UPLOAD_UNKNOWN", "upload unknown"))
}

impl State {
    fn begin(&mut self, request: &Request) -> Response {
        self.begun += 1;
        let id = format!("session-{}", self.begun);
        self.sessions.insert(id.clone(), Vec::new());
        Response::new(202).header("Location", &format!("{}{id}", request.path))
    }

    fn stands(request: &Request, status: u16, held: usize) -> Response {
        Response::new(status)
            .header("Location", &request.path)
            .header("Range", &format!("0-{}", held.saturating_sub(1)))
    }

    fn append(&mut self, request: &Request) -> Response {
        let Some(held) = self.sessions.get_mut(&id(request)) else {
            return unknown();
        };
        let range = request.headers.get("content-range").unwrap_or("0-");
        let start = range
            .split_once('-')
            .and_then(|(start, _)| start.parse().ok());
        if start != Some(held.len()) {
            return State::stands(request, 416, held.len());
        }
        held.extend_from_slice(&request.body);
        State::stands(request, 202, held.len())
    }

    fn commit(&mut self, request: &Request) -> Response {
        let Some(mut bytes) = self.sessions.remove(&id(request)) else {
            return unknown();
        };
        bytes.extend_from_slice(&request.body);
        let wanted = request.param("digest").unwrap_or_default();
        if digest(&bytes) != wanted {
            return Response::new(400).body(complaint("DIGEST_INVALID", "not these bytes"));
        }
        self.blobs.insert(wanted, bytes);
        Response::new(201)
    }

    fn tell(&mut self, request: &Request) -> Response {
        match self.sessions.get(&id(request)) {
            Some(held) => State::stands(request, 204, held.len()),
            None => unknown(),
        }
    }

    fn cancel(&mut self, request: &Request) -> Response {
        match self.sessions.remove(&id(request)) {
            Some(_) => {
                self.cancelled += 1;
                Response::new(204)
            }
            None => unknown(),
        }
    }

    fn blob(&mut self, request: &Request) -> Response {
        match self.blobs.get(&id(request)) {
            Some(bytes) => Response::ranged(request, bytes),
            None => Response::new(404).body(complaint("BLOB_UNKNOWN", "blob unknown")),
        }
    }
}
