//! The session of an upload at the registry: open it, follow its location,
//! cancel it.

use std::time::Duration;

use ::http::header::{HeaderName, LOCATION};

use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::http::{Request, Response, Url};
use crate::reference::RepoName;
use crate::registry::location::checked_location;
use crate::registry::repository::Repository;
use crate::registry::upload::{CLOSED, PUSH};

/// How long the cancelling of a session may take.
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
pub fn open(repository: &Repository, digest: &Digest, from: Option<&RepoName>) -> Result<Opened> {
    let uploads = repository.url("blobs/uploads/");
    if let Some(from) = from {
        let url = uploads
            .with_query("mount", &digest.to_string())
            .with_query("from", from.as_str());
        let scope = repository
            .scope(&PUSH)
            .with(&format!("repository:{from}"), &["pull"]);
        // A mount is an optimisation: whatever a registry has against it
        // (Harbor denies, others answer 405 or 500), the upload goes on.
        if let Ok(answer) =
            repository
                .registry()
                .attempt(&scope, &Request::new("POST", url), &[201, 202])
        {
            return match answer.status {
                201 => {
                    answer.drain();
                    Ok(Opened::Mounted)
                }
                _ => Session::new(repository, answer).map(Opened::Session),
            };
        }
    }
    let answer = repository.attempt(&PUSH, &Request::new("POST", uploads), &[202])?;
    Session::new(repository, answer).map(Opened::Session)
}

/// Cancels a session nobody will use, as well as can be done: it only costs
/// the registry space until it is cleaned up.
pub fn cancel(repository: &Repository, url: &Url) {
    let registry = repository.registry();
    if url.origin() != registry.base().origin() {
        return;
    }
    let mut request = Request::new("DELETE", url.clone());
    registry
        .auth()
        .attach(&repository.scope(&PUSH), url, &mut request.headers);
    let transport = registry.transport();
    let stopped = transport.settings().stop.is_set();
    let answer = if stopped {
        transport.send_last(&request, LAST_WORD)
    } else {
        transport.send(&request)
    };
    let Ok(answer) = answer else { return };
    let refused = answer.status == 401 && !stopped;
    answer.drain();
    if refused {
        // distribution wants the right to delete for every DELETE.
        let rights = ["delete", "pull", "push"];
        let _ = repository.attempt(&rights, &Request::new("DELETE", url.clone()), &CLOSED);
    }
}
