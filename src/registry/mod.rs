//! A registry and its repositories over the wire (distribution-spec v1.1).
//! Knows nothing of images or aliases.

mod conditional;
mod detect;
pub mod doctor;
mod download;
mod listing;
mod location;
mod plan;
mod rate_limit;
mod referrers;
mod repository;
mod seen;
mod session;
mod sessions;
#[cfg(test)]
mod tests;
mod upload;

use std::cell::RefCell;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ::http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, LOCATION};

use crate::auth::challenge;
use crate::auth::{self, Auth, Refusal, Scope};
use crate::credentials::Credentials;
use crate::error::{Diagnostic, Error, RequestLine, Result};
use crate::http::address::AddressPolicy;
use crate::http::redirect::follow;
use crate::http::retry::Budget;
use crate::http::status::Foreign;
use crate::http::{self, Request, Response, Transport, Url, status};
use crate::hub;
use crate::reference::{Host, RepoName};
use crate::secret::Secret;
use crate::store::Names;

pub use crate::auth::{Granted, InsecureAuth};
pub use crate::http::Scheme;
pub use detect::Ping;
pub use rate_limit::RateLimit;
pub use repository::Repository;

/// How often a 401 is answered before it is final: a stale token, then one
/// whose scope the registry found too narrow.
const ANSWERS: usize = 2;
/// How often a request waits for others because the server takes no more at
/// once. Each time there are fewer, so only a server that changes its mind sees
/// as many tries.
const GIVES_WAY: usize = 32;

/// How to talk to a registry. The defaults are those of the command line;
/// fields may be assigned, or set in a row.
///
/// ```
/// use dxf_registry::registry::{Scheme, Settings, UploadMode};
///
/// let settings = Settings::default()
///     .with_scheme(Scheme::Http)
///     .with_upload(UploadMode::Chunked(32 << 20));
/// assert_eq!(settings.upload, UploadMode::Chunked(32 << 20));
/// ```
#[derive(Clone, Default)]
#[non_exhaustive]
pub struct Settings {
    /// Over TLS or in the clear; [`Registry::detect`] finds out.
    pub scheme: Scheme,
    /// Replaces the host of the token server that the registry names.
    pub auth_host: Option<Host>,
    /// What to do about credentials over http.
    pub insecure_auth: InsecureAuth,
    /// How bodies are cut.
    pub upload: UploadMode,
    /// A folder for notes of unfinished uploads, so that a later process can go
    /// on with them; none are kept without one.
    pub sessions: Option<PathBuf>,
    /// The wire below.
    pub http: http::Settings,
}

impl Settings {
    /// Over TLS or in the clear.
    pub fn with_scheme(mut self, scheme: Scheme) -> Settings {
        self.scheme = scheme;
        self
    }

    /// Another host for the token server.
    pub fn with_auth_host(mut self, auth_host: Host) -> Settings {
        self.auth_host = Some(auth_host);
        self
    }

    /// Something else to do about credentials over http.
    pub fn with_insecure_auth(mut self, insecure_auth: InsecureAuth) -> Settings {
        self.insecure_auth = insecure_auth;
        self
    }

    /// Another way to cut bodies.
    pub fn with_upload(mut self, upload: UploadMode) -> Settings {
        self.upload = upload;
        self
    }

    /// A folder for notes of unfinished uploads.
    pub fn with_sessions(mut self, sessions: impl Into<PathBuf>) -> Settings {
        self.sessions = Some(sessions.into());
        self
    }

    /// Another way to talk HTTP.
    pub fn with_http(mut self, http: http::Settings) -> Settings {
        self.http = http;
        self
    }
}

/// How the bytes of a blob are sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum UploadMode {
    /// In one request where the registry takes that, else in chunks of a size
    /// it takes.
    #[default]
    Auto,
    /// In one request, always.
    Monolithic,
    /// In chunks of this many bytes.
    Chunked(u64),
}

/// A registry. Cheap to clone; clones share connections and tokens.
#[derive(Clone)]
pub struct Registry(Arc<Inner>);

struct Inner {
    host: Host,
    base: Url,
    upload: UploadMode,
    sessions: Option<PathBuf>,
    transport: Transport,
    auth: Auth,
    referrers: referrers::Known,
    seen: seen::Seen,
}

/// An answer that was read to its end.
struct Whole {
    status: u16,
    headers: HeaderMap,
    bytes: Vec<u8>,
}

impl Whole {
    /// The `Content-Type`, when there is one and it is text.
    fn content_type(&self) -> Option<&str> {
        self.headers.get(CONTENT_TYPE)?.to_str().ok()
    }
}

impl Registry {
    /// The registry at `host`. Nothing is sent yet.
    ///
    /// # Errors
    /// [`Error::Invalid`] when no URL can be made of `host`.
    pub fn connect(host: Host, settings: Settings, credentials: Credentials) -> Result<Registry> {
        let base = Url::new(settings.scheme, hub::api_host(host.as_str()), "/v2/")?;
        let chosen = settings.auth_host.as_ref();
        let chosen = chosen.map(|host| base.with_authority(host.as_str()));
        let policy = AddressPolicy::from(&base, chosen.transpose()?.as_ref());
        let auth_policy = auth::Policy {
            auth_host: settings.auth_host,
            insecure_auth: settings.insecure_auth,
        };
        let auth = Auth::new(host.clone(), base.clone(), auth_policy, credentials);
        let transport = Transport::new(settings.http, base.clone(), policy);
        Ok(Registry(Arc::new(Inner {
            host,
            base,
            upload: settings.upload,
            sessions: settings.sessions,
            transport,
            auth,
            referrers: referrers::Known::default(),
            seen: seen::Seen::default(),
        })))
    }

    /// Where its blobs were seen.
    fn seen(&self) -> &seen::Seen {
        &self.0.seen
    }

    /// What people call it.
    pub fn host(&self) -> &Host {
        &self.0.host
    }

    /// One of its repositories; on Docker Hub one-part names get `library/`.
    pub fn repository(&self, name: RepoName) -> Repository {
        let full = hub::full_name(self.0.host.as_str(), name.as_str());
        // `library/` in front leaves a legal name legal, but for its length.
        Repository::new(self.clone(), full.parse().unwrap_or(name))
    }

    /// The names of its repositories, page by page, as many a page as the
    /// registry likes.
    pub fn repos(&self) -> Names<'_> {
        self.catalog(self.url("_catalog"))
    }

    /// The same with `size` names a page. A registry may give fewer, and some
    /// refuse large numbers (Amazon's more than 1000).
    pub fn repos_paged(&self, size: NonZeroU32) -> Names<'_> {
        self.catalog(listing::paged(&self.url("_catalog"), size))
    }

    fn catalog(&self, first: Url) -> Names<'_> {
        let kind = listing::Kind::Repositories;
        Box::new(listing::Listing::new(self, Scope::catalog(), first, kind))
    }

    /// Uses a bearer token from somewhere else from now on, in all clones,
    /// until the registry refuses it; then [`Credentials::provider`] is asked.
    pub fn set_token(&self, token: impl Into<Secret>) {
        self.auth().give(token.into());
    }

    /// Asks whether the registry speaks the API, and for a token that allows
    /// `actions` on `repo`, or listing when there is no repository. A token
    /// given beforehand is not used.
    ///
    /// # Errors
    /// [`Error::Unauthorized`] when the login is refused, and those of the wire.
    pub fn authenticate(&self, repo: Option<&RepoName>, actions: &[String]) -> Result<Granted> {
        let scope = match repo {
            Some(repo) => {
                let actions: Vec<&str> = actions.iter().map(String::as_str).collect();
                Scope::repository(self.repository(repo.clone()).repo_name(), &actions)
            }
            None => Scope::catalog(),
        };
        let granted = self.again(|| self.ask_for(&scope))?;
        if granted.scheme == "Basic" {
            // Basic is only known to be right once the registry took it.
            let answer = self.run(&scope, &Request::new("GET", self.0.base.clone()), &[200])?;
            not_a_page(answer)?.drain();
        }
        Ok(granted)
    }

    fn ask_for(&self, scope: &Scope) -> Result<Granted> {
        let request = Request::new("GET", self.0.base.clone());
        let base = follow(&self.0.transport, &request, &|_, _| {})?;
        if !matches!(base.status, 200 | 401) {
            return Err(status::refusal(base));
        }
        let base = not_a_page(base)?;
        let auth = &self.0.auth;
        let granted = auth.authenticate(scope.clone(), &base, &self.0.transport)?;
        base.drain();
        Ok(granted)
    }

    fn base(&self) -> &Url {
        &self.0.base
    }

    fn auth(&self) -> &Auth {
        &self.0.auth
    }

    fn transport(&self) -> &Transport {
        &self.0.transport
    }

    fn sessions(&self) -> Option<&Path> {
        self.0.sessions.as_deref()
    }

    fn upload_mode(&self) -> UploadMode {
        self.0.upload
    }

    fn referrers(&self) -> &referrers::Known {
        &self.0.referrers
    }

    fn settings(&self) -> &http::Settings {
        self.0.transport.settings()
    }

    /// A URL below `/v2/`.
    fn url(&self, path: &str) -> Url {
        // The path is made of parsed names only, so it joins.
        self.0
            .base
            .join(path)
            .unwrap_or_else(|_| self.0.base.clone())
    }

    /// Sends a request that may be repeated: retries what passes by itself,
    /// answers a 401, follows redirects; the caller names the statuses it
    /// understands.
    fn run(&self, scope: &Scope, request: &Request<'_>, ok: &[u16]) -> Result<Response> {
        self.again(|| self.attempt(scope, request, ok))
    }

    /// Does `work`, and does it again after what passes by itself. It must not
    /// try again on its own.
    fn again<T>(&self, mut work: impl FnMut() -> Result<T>) -> Result<T> {
        let mut budget = Budget::new();
        loop {
            match work() {
                Err(error) => budget.again(self.settings(), error)?,
                done => return done,
            }
        }
    }

    /// The same for an answer that is read whole, at most `limit` bytes of it:
    /// one that breaks off is requested again.
    fn read(&self, scope: &Scope, request: &Request<'_>, ok: &[u16], limit: u64) -> Result<Whole> {
        self.again(|| {
            let answer = self.attempt(scope, request, ok)?;
            Ok(Whole {
                status: answer.status,
                headers: answer.headers.clone(),
                bytes: answer.bytes(limit)?,
            })
        })
    }

    /// The same without retries, for requests that are part of a larger
    /// attempt. A request that is one more than the server takes at once waits
    /// until others have ended.
    fn attempt(&self, scope: &Scope, request: &Request<'_>, ok: &[u16]) -> Result<Response> {
        let mut given_way = 0;
        loop {
            let mut response = self.ask(scope, request, ok)?;
            if ok.contains(&response.status) {
                return match request.method {
                    "GET" => Ok(response),
                    _ => not_a_page(response),
                };
            }
            if given_way == GIVES_WAY || !response.gives_way(request)? {
                return Err(self.refusal(scope, response));
            }
            given_way += 1;
            response.drain();
        }
    }

    /// One answer, with the login that the registry asks for.
    fn ask(&self, scope: &Scope, request: &Request<'_>, ok: &[u16]) -> Result<Response> {
        let Inner {
            auth, transport, ..
        } = &*self.0;
        auth.prepare(scope, transport)?;
        let mut answered = 0;
        loop {
            let sent = RefCell::new(None);
            let response = follow(transport, request, &|url, headers| {
                auth.attach(scope, url, headers);
                let value = headers
                    .get(AUTHORIZATION)
                    .and_then(|value| value.to_str().ok());
                *sent.borrow_mut() = value.map(str::to_string);
            })?;
            let sent = sent.into_inner();
            // Before an upload a blob that only seems to be missing does no harm:
            // the upload meets the same. A tag that does could be overwritten.
            let uploads = !scope.only_pulls() && !request.url.path().contains("/manifests/");
            let expected = uploads && ok.contains(&response.status);
            let hides = matches!(response.status, 403 | 404) && sent.is_none() && !expected;
            if hides && answered == 0 && auth.reveal(scope, &response, transport)? {
                answered += 1;
                response.drain();
                continue;
            }
            if response.status == 401 && !ok.contains(&401) && answered < ANSWERS {
                let refusal = Refusal {
                    scope,
                    response: &response,
                    sent: sent.as_deref(),
                    again: answered > 0,
                };
                answered += 1;
                if auth.answer(&refusal, transport)? {
                    response.drain();
                    continue;
                }
            }
            return Ok(response);
        }
    }

    fn refusal(&self, scope: &Scope, response: Response) -> Error {
        // A 401 from anywhere else is that place's error, not a question to us.
        if response.status == 401 && response.url.origin() == self.0.base.origin() {
            let request = response.line().clone();
            let challenges = challenge::of(&response.headers);
            let errors = status::diagnostics(response);
            let auth = &self.0.auth;
            return auth.unauthorized(scope, &challenges, request, errors);
        }
        status::refusal(response)
    }
}

/// Refuses a web page in place of an answer, as a captive portal or a web
/// interface on the registry's port gives it. The answer to a GET is looked at
/// by who asked for it.
fn not_a_page(response: Response) -> Result<Response> {
    if !is_page(&response) {
        return Ok(response);
    }
    let line = response.line().clone();
    Err(page(&line, &status::diagnostics(response)))
}

/// Whether the headers are those of a web page. Registries that are written in
/// Python say of their 201 and 202 without a body that they are HTML, too.
fn is_page(response: &Response) -> bool {
    let empty = response.status == 204 || response.content_length() == Some(0);
    let counts = response.status == 200 || !empty && !response.headers.contains_key(LOCATION);
    let html = |text: &str| text.to_ascii_lowercase().contains("html");
    counts && response.header(CONTENT_TYPE).is_some_and(html) && !is_signed(response)
}

/// Whether the headers are those of a document that any service may answer
/// everything with, and not those of a blob.
fn is_document(response: &Response) -> bool {
    let json = |text: &str| text.to_ascii_lowercase().contains("json");
    response.header(CONTENT_TYPE).is_some_and(json) && !is_signed(response)
}

/// Whether the headers are those of a registry.
fn is_signed(response: &Response) -> bool {
    [repository::CONTENT_DIGEST, detect::API_VERSION]
        .iter()
        .any(|name| response.headers.contains_key(name))
}

/// Reads the answer to what was stored or deleted. A web page of no type, or of a
/// wrong one, is known by how it begins; and a document that some other service
/// answers everything with is no receipt either.
fn acknowledged(response: Response) -> Result<()> {
    if response.status != 200 || response.content_length() == Some(0) || is_signed(&response) {
        response.drain();
        return Ok(());
    }
    let line = response.line().clone();
    match status::foreign(response) {
        Some(Foreign::Page(said)) => Err(page(&line, &said)),
        Some(Foreign::Words(said)) => {
            let why = format!("it says{}, which is not a registry's answer", quoted(&said));
            Err(Error::malformed(format!("answer to {line}"), why))
        }
        None => Ok(()),
    }
}

fn page(line: &RequestLine, said: &[Diagnostic]) -> Error {
    let why = format!("it is a web page{}, not a registry's answer", quoted(said));
    Error::malformed(format!("answer to {line}"), why)
}

/// The first of what an answer says, after a blank.
fn quoted(said: &[Diagnostic]) -> String {
    let first = said.first().map(|said| format!(" {:?}", said.to_string()));
    first.unwrap_or_default()
}
