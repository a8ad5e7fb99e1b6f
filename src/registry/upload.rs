//! Uploading a blob: open a session, send the bytes, close it with the digest
//! (distribution-spec, "Pushing blobs").
//!
//! One whole `PUT` is what every registry takes, so it comes first. Chunks are
//! sent where the user wants them, where the registry names a largest chunk,
//! or after a 413 or repeated resets, which is how proxies with a body limit
//! look from here. The attempt is the unit of retry: each one opens the blob
//! again and sends everything that is missing.

use std::io::{self, Read};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ::http::header::{CONTENT_RANGE, CONTENT_TYPE, RANGE};

use crate::blob::Blob;
use crate::descriptor::{Descriptor, media_type};
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::http::retry::Budget;
use crate::http::{Body, Request};
use crate::progress::Skipped;
use crate::registry::location::{checked_location, end_of_range};
use crate::registry::plan::Plan;
use crate::registry::repository::{CONTENT_DIGEST, Repository};
use crate::registry::seen::Elsewhere;
use crate::registry::session::{Farewell, Opened, Session, Standing, open};
use crate::registry::sessions::Note;
use crate::registry::{UploadMode, acknowledged};
use crate::store::{Put, ReadStore};
use crate::stream::Watch;

/// What pushing needs; asked for as one, so that one token serves it all.
pub(super) const PUSH: [&str; 2] = ["pull", "push"];
/// Statuses of an upload that was closed: 201 by the specification.
pub(super) const CLOSED: [u16; 4] = [201, 200, 202, 204];
/// Statuses of a chunk that was taken: 202 by the specification, 201 from ECR.
const TAKEN: [u16; 4] = [202, 201, 200, 204];
/// How often the offset of a session is requested before it is given up.
const MAX_RESYNCS: u32 = 3;
/// One blob on its way into one repository.
pub struct Upload<'a> {
    repository: &'a Repository,
    blob: &'a Blob,
    watch: Watch<'a>,
    /// Whether reading the blob failed. What it is read from, maybe a registry
    /// too, was patient already.
    unreadable: Arc<AtomicBool>,
    /// Whether the registry was not asked yet if the blob exists.
    unasked: bool,
}

/// What an upload has learned.
struct State {
    plan: Plan,
    budget: Budget,
    note: Option<Note>,
    /// A session opened beforehand.
    opened: Option<Session>,
    /// How far any session came: getting there again is not progress.
    furthest: u64,
    /// Whether the last failure was counted and waited for already.
    counted: bool,
}

impl State {
    fn new(repository: &Repository, size: u64) -> State {
        let registry = repository.registry();
        State {
            plan: Plan::new(repository.upload_mode(), registry.host(), size),
            budget: Budget::new(),
            note: None,
            opened: None,
            furthest: 0,
            counted: false,
        }
    }

    fn remember(&mut self, session: &Session) {
        if let Some(note) = &mut self.note {
            note.write(&session.url);
        }
    }

    /// Notes how far a session came; whether that is progress.
    fn advance(&mut self, offset: u64) -> bool {
        let further = offset > self.furthest;
        if further {
            self.furthest = offset;
            self.budget.progress();
        }
        further
    }
}

impl<'a> Upload<'a> {
    /// An upload that has not begun.
    pub fn new(repository: &'a Repository, blob: &'a Blob, watch: Watch<'a>) -> Upload<'a> {
        Upload {
            repository,
            blob,
            watch,
            unreadable: Arc::default(),
            unasked: false,
        }
    }

    /// The same, of a blob that may be there. Where it can be mounted, asking
    /// first would be a request too many: mounting an existing blob does no harm.
    pub fn unasked(self) -> Upload<'a> {
        Upload {
            unasked: true,
            ..self
        }
    }

    /// Uploads the blob, or has it mounted from repository `from` of the same
    /// registry. A session that an earlier process left is gone on with.
    pub fn run(&self, from: Option<&Elsewhere>) -> Result<Put> {
        let mut state = State::new(self.repository, self.blob.size());
        let registry = self.repository.registry();
        if self.repository.upload_mode() != UploadMode::Monolithic {
            state.note = Note::open(registry.sessions(), self.repository, self.blob);
        }
        let done = self.run_with(&mut state, from);
        if let Some(note) = state.note {
            match &done {
                // The next process may have better luck with the same session.
                Err(error) if error.is_temporary() => {}
                Err(Error::Stopped) if note.is_written() => {}
                _ => note.remove(),
            }
        }
        done
    }

    fn run_with(&self, state: &mut State, from: Option<&Elsewhere>) -> Result<Put> {
        loop {
            let error = match self.attempt(state, from) {
                Ok(put) => {
                    self.done(put);
                    return Ok(put);
                }
                Err(error) => error,
            };
            self.watch.stop.check()?;
            if self.unreadable.load(Ordering::Relaxed) {
                return Err(error);
            }
            // The answer to the last request may be all that was lost, and a
            // second client that commits the same blob may make ours fail.
            if may_have_committed(&error) && self.is_there().unwrap_or_default() {
                self.watch.progress.finish(self.blob.digest());
                return Ok(Put::Uploaded);
            }
            if session_is_gone(&error) {
                state.plan.restart();
            }
            if !std::mem::take(&mut state.counted) && !state.plan.learn(&error) {
                let settings = self.repository.registry().settings();
                state.budget.again(settings, error)?;
            }
        }
    }

    /// Reports how the blob came to be in the repository.
    fn done(&self, put: Put) {
        let (digest, size) = (self.blob.digest(), self.blob.size());
        let progress = self.watch.progress;
        match put {
            Put::Uploaded => progress.finish(digest),
            Put::Existed => progress.skip(digest, size, Skipped::Existed),
            Put::Mounted => progress.skip(digest, size, Skipped::Mounted),
        }
    }

    fn is_there(&self) -> Result<bool> {
        let size = self.repository.size_once(&PUSH, self.blob.digest())?;
        Ok(size == Some(self.blob.size()))
    }

    fn attempt(&self, state: &mut State, from: Option<&Elsewhere>) -> Result<Put> {
        let (digest, size) = (self.blob.digest(), self.blob.size());
        self.watch.progress.start(digest, Some(size));
        if let Some(session) = state.opened.take() {
            return self.fill(session, 0, state);
        }
        if let Some((session, stands)) = self.left_over(state) {
            return self.fill(session, stands, state);
        }
        match open(self.repository, digest, from)? {
            Opened::Mounted => Ok(Put::Mounted),
            Opened::Session(mut session) if self.unasked && self.is_there().unwrap_or_default() => {
                Farewell::new(self.repository).cancel(&mut session);
                Ok(Put::Existed)
            }
            Opened::Session(session) => self.fill(session, 0, state),
        }
    }

    /// The session of an earlier attempt, if it holds anything.
    fn left_over(&self, state: &mut State) -> Option<(Session, u64)> {
        let note = state.note.as_mut()?;
        let url = checked_location(self.repository, note.read()?).ok()?;
        let mut session = Session {
            url,
            chunk_min: None,
            chunk_max: None,
        };
        match self.stands(&mut session) {
            Ok(stands) if stands > 0 => Some((session, stands)),
            // The registry does not answer; the note stays for the next attempt.
            Err(error) if error.is_temporary() => None,
            // Empty, or unknown by now: a new one costs nothing.
            _ => {
                note.clear();
                Farewell::new(self.repository).delete(&session.url);
                None
            }
        }
    }

    /// Sends what is missing into an open session. On failure the session is
    /// cancelled, unless a note tells the next attempt, or process, where it is.
    fn fill(&self, mut session: Session, stands: u64, state: &mut State) -> Result<Put> {
        state.plan.limits(session.chunk_min, session.chunk_max);
        state.remember(&session);
        let sent = match state.plan.chunk() {
            None if stands == 0 => self.put_whole(&session, &state.plan),
            _ => self.put_chunks(&mut session, stands, state),
        };
        let Err(error) = sent else {
            return Ok(Put::Uploaded);
        };
        let registry = self.repository.registry();
        let stopped = self.watch.stop.is_set() || registry.settings().stop.is_set();
        match &mut state.note {
            Some(note) if stopped => self.keep(&mut session, note),
            Some(_) if error.is_temporary() => {}
            note => {
                note.iter_mut().for_each(Note::clear);
                Farewell::new(self.repository).cancel(&mut session);
            }
        }
        Err(error)
    }

    /// After a stop: keeps the session for the next process, if the registry
    /// still knows it and has bytes of it.
    fn keep(&self, session: &mut Session, note: &mut Note) {
        let farewell = Farewell::hurried(self.repository);
        match farewell.ask(session) {
            Standing::At(stands) if stands > 0 => {
                note.write(&session.url);
                let settings = self.repository.registry().settings();
                settings.observer.resumable();
            }
            // The next process may hear more.
            Standing::Unknown => {}
            Standing::At(_) | Standing::Gone => {
                note.clear();
                farewell.delete(&session.url);
            }
        }
    }

    fn put_whole(&self, session: &Session, plan: &Plan) -> Result<()> {
        let opened = AtomicBool::new(false);
        let opener = || self.reader(0, self.blob.size(), &opened);
        let body = Body::Stream {
            open: &opener,
            len: self.blob.size(),
        };
        let url = session
            .url
            .with_query("digest", &self.blob.digest().to_string());
        let request = Request::new("PUT", url)
            .header(CONTENT_TYPE, media_type::OCTET_STREAM)
            .body(body);
        self.close(&careful(request, plan))
    }

    fn close(&self, request: &Request<'_>) -> Result<()> {
        let answer = self.repository.attempt(&PUSH, request, &CLOSED)?;
        let told = answer
            .header(CONTENT_DIGEST)
            .and_then(|value| value.trim().parse::<Digest>().ok());
        acknowledged(answer)?;
        match told {
            // distribution answers a sha512 upload with the sha256 of it.
            Some(told)
                if told.algorithm() == self.blob.digest().algorithm()
                    && told != *self.blob.digest() =>
            {
                Err(Error::mismatch(*self.blob.digest(), told))
            }
            _ => Ok(()),
        }
    }

    /// Sends everything from offset `stands` on in chunks.
    fn put_chunks(&self, session: &mut Session, stands: u64, state: &mut State) -> Result<()> {
        let size = self.blob.size();
        let (mut offset, mut resyncs) = (stands, 0);
        self.watch.progress.advance(self.blob.digest(), stands);
        while offset < size {
            // A plan without chunks has been given up for whole bodies.
            let len = state.plan.chunk().unwrap_or(size).min(size - offset);
            let next = match self.patch(session, state, offset..offset + len) {
                Ok(next) => {
                    if state.advance(next) {
                        resyncs = 0;
                    }
                    next
                }
                Err(error) => {
                    self.watch.stop.check()?;
                    resyncs += 1;
                    let hopeless = self.unreadable.load(Ordering::Relaxed)
                        || session_is_gone(&error)
                        || state.plan.chunk().is_none();
                    if hopeless {
                        return Err(error);
                    }
                    if resyncs > MAX_RESYNCS {
                        // Still out of step: it forgets what it takes.
                        let forgets = error.status() == Some(416);
                        return Err(if forgets { self.lost(state) } else { error });
                    }
                    self.resync(session, state, error)?
                }
            };
            if next != offset + len {
                // Counted again from the registry's offset.
                self.watch.progress.start(self.blob.digest(), Some(size));
                self.watch.progress.advance(self.blob.digest(), next);
            }
            offset = next;
        }
        let url = session
            .url
            .with_query("digest", &self.blob.digest().to_string());
        self.close(&Request::new("PUT", url).commits(size))?;
        // Some registries take chunks and lose them (ECR); their 201 proves nothing.
        loop {
            match self.is_there() {
                Ok(true) => return Ok(()),
                Ok(false) => return Err(self.lost(state)),
                Err(error) => {
                    let settings = self.repository.registry().settings();
                    state.budget.again(settings, error)?;
                }
            }
        }
    }

    /// Sends one chunk; gives the offset of the next.
    fn patch(&self, session: &mut Session, state: &mut State, bytes: Range<u64>) -> Result<u64> {
        let (offset, end) = (bytes.start, bytes.end);
        let len = end - offset;
        let opened = AtomicBool::new(false);
        let opener = || self.reader(offset, len, &opened);
        let request = Request::new("PATCH", session.url.clone())
            .header(CONTENT_TYPE, media_type::OCTET_STREAM)
            // No `bytes ` in front and no total behind: the spec's own form.
            .header(CONTENT_RANGE, &format!("{offset}-{}", end - 1))
            .body(Body::Stream { open: &opener, len });
        let request = careful(request, &state.plan);
        let answer = self.repository.attempt(&PUSH, &request, &TAKEN)?;
        state.plan.trust();
        let stands = answer.header(RANGE).and_then(end_of_range);
        session.follow(self.repository, answer)?;
        state.remember(session);
        match stands {
            Some(stands) if stands > end => Err(Error::malformed(
                format!("answer to {}", request.line()),
                "it claims more bytes than were sent",
            )),
            // Taken, but not kept (ECR): nothing sent this way will ever be
            // whole. `0-0` alone may mean none or one; the next chunk will tell.
            Some(stands) if stands <= offset && offset > 0 => Err(self.lost(state)),
            Some(stands) if stands > offset => Ok(stands),
            _ => Ok(end),
        }
    }

    fn lost(&self, state: &mut State) -> Error {
        state.plan.avoid_chunks();
        Error::Unsupported {
            what: format!(
                "{}: the registry lost what was sent in chunks",
                self.repository.name()
            ),
        }
    }

    /// After a chunk that failed: asks for the offset of the session. A session
    /// that can't tell is given up for a new one.
    fn resync(&self, session: &mut Session, state: &mut State, error: Error) -> Result<u64> {
        let settings = self.repository.registry().settings();
        let at_once = state.plan.learn(&error) || error.status() == Some(416);
        if !at_once && !state.budget.wait(settings, &error)? {
            return Err(error);
        }
        loop {
            match self.stands(session) {
                Ok(stands) => return Ok(stands),
                Err(again) if state.budget.wait(settings, &again)? => {}
                Err(again) => {
                    if !again.is_temporary() {
                        // It can't tell. The failure was waited for above, or
                        // needs no wait.
                        state.counted = !at_once;
                        if at_once {
                            state.plan.restart();
                        }
                    }
                    return Err(error);
                }
            }
        }
    }

    /// How many bytes the registry holds of an open session.
    fn stands(&self, session: &mut Session) -> Result<u64> {
        let request = Request::new("GET", session.url.clone());
        let answer = self.repository.attempt(&PUSH, &request, &[204, 200, 202])?;
        let stands = answer.header(RANGE).and_then(end_of_range);
        session.follow(self.repository, answer)?;
        // Taking silence for nothing would send bytes a second time.
        let silent =
            || Error::malformed(format!("answer to {}", request.line()), "it has no Range");
        Ok(stands.ok_or_else(silent)?.min(self.blob.size()))
    }

    /// The blob's bytes from `offset` on. When a body is sent again (a 401, a
    /// redirect), its bytes are counted again from where it began.
    fn reader(
        &self,
        offset: u64,
        len: u64,
        opened: &AtomicBool,
    ) -> Result<Box<dyn Read + Send + 'a>> {
        let (digest, progress) = (self.blob.digest(), self.watch.progress);
        if opened.swap(true, Ordering::Relaxed) {
            progress.start(digest, Some(self.blob.size()));
            progress.advance(digest, offset);
        }
        let unreadable = self.unreadable.clone();
        let inner = self.blob.open(offset);
        let inner = inner.inspect_err(|_| unreadable.store(true, Ordering::Relaxed))?;
        let inner = Confessing {
            inner: inner.take(len),
            failed: unreadable,
        };
        Ok(Box::new(self.watch.reader(*digest, inner)))
    }
}

/// Remembers that reading failed, which on the wire looks like any other
/// failure.
struct Confessing<R> {
    inner: R,
    failed: Arc<AtomicBool>,
}

impl<R: Read> Read for Confessing<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buf);
        if read
            .as_ref()
            .is_err_and(|e| e.kind() != io::ErrorKind::Interrupted)
        {
            self.failed.store(true, Ordering::Relaxed);
        }
        read
    }
}

/// Takes a blob over from `source`: by a mount, or through this machine.
///
/// # Errors
/// [`Error::NotMounted`] when `source` does not hold the blob.
pub fn mount(
    repository: &Repository,
    digest: &Digest,
    source: &Repository,
    watch: Watch<'_>,
) -> Result<Put> {
    let registry = repository.registry();
    let from = Elsewhere::known(source.repo_name());
    let opened = registry.again(|| open(repository, digest, Some(&from)))?;
    let mut session = match opened {
        Opened::Mounted => {
            watch.progress.skip(digest, 0, Skipped::Mounted);
            return Ok(Put::Mounted);
        }
        Opened::Session(session) => session,
    };
    let size = source.size_for(&["pull"], digest);
    let size = match size {
        Ok(Some(size)) => size,
        other => {
            Farewell::new(repository).cancel(&mut session);
            return match other {
                Err(error) if !error.is_not_found() => Err(error),
                _ => Err(Error::NotMounted {
                    digest: *digest,
                    from: source.name(),
                }),
            };
        }
    };
    let blob = source.blob(Descriptor::new(media_type::OCTET_STREAM, *digest, size));
    let upload = Upload::new(repository, &blob, watch);
    let mut state = State::new(repository, size);
    state.opened = Some(session);
    upload.run_with(&mut state, None)
}

/// The request, asking first where the plan has met a refusal.
fn careful<'a>(request: Request<'a>, plan: &Plan) -> Request<'a> {
    match plan.is_wary() {
        true => request.asking_first(),
        false => request,
    }
}

fn may_have_committed(error: &Error) -> bool {
    // 400 and 409 come from registries where two clients commit one blob.
    method(error) == "PUT"
        && (error.is_temporary() || matches!(error.status(), Some(400 | 404 | 409)))
}

/// Whether a session is unknown by now: registries forget them when they are
/// started again, and Docker Hub after a while.
fn session_is_gone(error: &Error) -> bool {
    matches!(error.status(), Some(404 | 410)) && matches!(method(error), "PUT" | "PATCH")
}

fn method(error: &Error) -> &str {
    match error {
        Error::Status { request, .. } | Error::Network { request, .. } => &request.method,
        _ => "",
    }
}
