//! The session of an upload at the registry: open it, follow its location,
//! take leave of it.

use std::time::{Duration, Instant};

use ::http::header::{HeaderName, LOCATION, RANGE};

use crate::digest::Digest;
use crate::error::{Error, Result, is_temporary_status};
use crate::http::{Request, Response, Url};
use crate::registry::location::{checked_location, end_of_range};
use crate::registry::repository::Repository;
use crate::registry::seen::{Basis, Elsewhere, Route, lock};
use crate::registry::upload::{CLOSED, PUSH};

/// How long the last requests may take when someone waits for the process.
const LAST_WORD: Duration = Duration::from_secs(2);

const CHUNK_MIN: HeaderName = HeaderName::from_static("oci-chunk-min-length");
const CHUNK_MAX: HeaderName = HeaderName::from_static("oci-chunk-max-length");

/// An open upload session.
pub struct Session {
    /// Where its next request goes.
    pub url: Url,
    /// The smallest chunk, where the registry names it.
    pub chunk_min: Option<u64>,
    /// The largest chunk, where the registry names it.
    pub chunk_max: Option<u64>,
}

/// What opening a session came to.
pub enum Opened {
    /// A session that waits for the blob.
    Session(Session),
    /// The registry took the blob from the other repository.
    Mounted,
}

impl Session {
    fn new(repository: &Repository, answer: Response) -> Result<Session> {
        let number = |name| answer.header(name)?.trim().parse().ok();
        let mut session = Session {
            url: answer.url.clone(),
            chunk_min: number(CHUNK_MIN),
            chunk_max: number(CHUNK_MAX),
        };
        if answer.header(LOCATION).is_none() {
            return Err(Error::malformed(
                format!("answer to {}", answer.line()),
                "it names no upload location",
            ));
        }
        session.follow(repository, answer)?;
        Ok(session)
    }

    /// Takes over the location an answer names, if it names one.
    pub fn follow(&mut self, repository: &Repository, answer: Response) -> Result<()> {
        let location = answer.header(LOCATION).map(str::to_string);
        let (base, line) = (answer.url.clone(), answer.line().clone());
        answer.drain();
        if let Some(location) = location {
            let refused = |why| Error::Refused {
                request: line.clone(),
                why,
            };
            let url = base
                .join(&location)
                .map_err(|e| refused(format!("its upload location is an {e}")))?;
            self.url = checked_location(repository, url).map_err(refused)?;
        }
        Ok(())
    }
}

/// Opens a session; with `from`, unless the blob can be mounted.
pub fn open(repository: &Repository, digest: &Digest, from: Option<&Elsewhere>) -> Result<Opened> {
    if let Some(from) = from
        && let Some(opened) = mount(repository, digest, from)?
    {
        return Ok(opened);
    }
    let uploads = Request::new("POST", repository.url("blobs/uploads/"));
    let answer = repository.attempt(&PUSH, &uploads, &[202])?;
    Session::new(repository, answer).map(Opened::Session)
}

/// Asks for a mount; `None` where the registry refuses it, or refused it before.
fn mount(repository: &Repository, digest: &Digest, from: &Elsewhere) -> Result<Option<Opened>> {
    let registry = repository.registry();
    let route = registry.seen().route(&from.name, repository.repo_name());
    let asked = lock(&route);
    if !asked.allows(from.basis) {
        return Ok(None);
    }
    // The other blobs wait for the answer to a guess: it is the same for them.
    let first = (from.basis == Basis::Guess && *asked == Route::Untried).then_some(asked);
    let url = repository
        .url("blobs/uploads/")
        .with_query("mount", &digest.to_string())
        .with_query("from", from.name.as_str());
    let scope = repository
        .scope(&PUSH)
        .with(&format!("repository:{}", from.name), &["pull"]);
    let answer = registry.attempt(&scope, &Request::new("POST", url), &[201, 202]);
    let mut asked = first.unwrap_or_else(|| lock(&route));
    // A mount is an optimisation: whatever a registry has against it
    // (Harbor denies, others answer 405 or 500), the upload continues.
    let answer = match answer {
        Ok(answer) => answer,
        Err(error) => {
            *asked = asked.after(&error);
            return Ok(None);
        }
    };
    if answer.status == 201 {
        *asked = Route::Open;
        drop(asked);
        answer.drain();
        return Ok(Some(Opened::Mounted));
    }
    if from.basis == Basis::Guess && *asked == Route::Untried {
        *asked = Route::Missed;
    }
    drop(asked);
    Session::new(repository, answer).map(|session| Some(Opened::Session(session)))
}

/// The offset of a session, as far as one request tells.
#[derive(Debug, PartialEq, Eq)]
pub enum Standing {
    /// The registry has this many bytes.
    At(u64),
    /// The registry does not know the session, or can't tell.
    Gone,
    /// No answer that says either.
    Unknown,
}

/// The last requests about a session. None of them is repeated: a session that
/// is left open only costs the registry space until it is cleaned up.
pub struct Farewell<'a> {
    repository: &'a Repository,
    /// When the last answer is due, if someone waits for the process to end.
    until: Option<Instant>,
}

impl<'a> Farewell<'a> {
    /// In no hurry, unless the registry's requests were stopped.
    pub fn new(repository: &'a Repository) -> Farewell<'a> {
        if repository.registry().settings().stop.is_set() {
            return Farewell::hurried(repository);
        }
        let until = None;
        Farewell { repository, until }
    }

    /// All requests together within two seconds.
    pub fn hurried(repository: &'a Repository) -> Farewell<'a> {
        let until = Some(Instant::now() + LAST_WORD);
        Farewell { repository, until }
    }

    /// Cancels a session. distribution signs the size into a location, so the
    /// location is stale once a request broke off: then a fresh one is requested.
    pub fn cancel(&self, session: &mut Session) {
        let refused = matches!(self.delete(&session.url), Some(404 | 416));
        if !refused {
            return;
        }
        let stale = session.url.clone();
        if matches!(self.ask(session), Standing::At(_)) && session.url != stale {
            self.delete(&session.url);
        }
    }

    /// Asks for the offset of a session, and uses the location that it has now.
    pub fn ask(&self, session: &mut Session) -> Standing {
        let Some(answer) = self.send("GET", &session.url) else {
            return Standing::Unknown;
        };
        let status = answer.status;
        if !matches!(status, 200 | 202 | 204) {
            answer.drain();
            return match status {
                300..=399 | 401 => Standing::Unknown,
                status if is_temporary_status(status) => Standing::Unknown,
                _ => Standing::Gone,
            };
        }
        let stands = answer.header(RANGE).and_then(end_of_range);
        match (stands, session.follow(self.repository, answer)) {
            (Some(stands), Ok(())) => Standing::At(stands),
            _ => Standing::Gone,
        }
    }

    /// Sends the `DELETE` alone; gives the status of its answer.
    pub fn delete(&self, url: &Url) -> Option<u16> {
        let answer = self.send("DELETE", url)?;
        let status = answer.status;
        answer.drain();
        if status != 401 || self.until.is_some() {
            return Some(status);
        }
        // distribution wants the right to delete for every DELETE.
        let rights = ["delete", "pull", "push"];
        let request = Request::new("DELETE", url.clone());
        match self.repository.attempt(&rights, &request, &CLOSED) {
            Ok(answer) => Some(answer.status),
            Err(error) => error.status(),
        }
    }

    /// One request with the token that the upload had, to the registry itself.
    fn send(&self, method: &'static str, url: &Url) -> Option<Response> {
        let registry = self.repository.registry();
        if url.origin() != registry.base().origin() {
            return None;
        }
        let mut request = Request::new(method, url.clone());
        let scope = self.repository.scope(&PUSH);
        registry.auth().attach(&scope, url, &mut request.headers);
        let transport = registry.transport();
        let answer = match self.until {
            None => transport.send(&request),
            Some(until) => {
                let left = until.checked_duration_since(Instant::now())?;
                transport.send_last(&request, left)
            }
        };
        answer.ok()
    }
}
