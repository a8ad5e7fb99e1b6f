//! Who may see which credentials, and how a 401 is answered.
//!
//! No ping: requests go out, the registry's challenge decides. Authorization is
//! attached by looking at the URL of each hop and at nothing else: it is bound
//! to the registry's own scheme, host and port, so no redirect, upload location
//! or next page elsewhere ever carries it (CVE-2020-15157, GHSA-vh4v-2xq2-g5cg).
//! Tokens are kept for their life, one for every scope; threads that need the
//! same one wait for a single request.

pub(crate) mod challenge;
mod scope;
mod token;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ::http::header::{AUTHORIZATION, HeaderMap, HeaderValue};

use crate::auth::challenge::Challenge;
use crate::credentials::{Credentials, Found, Login};
use crate::error::{Diagnostic, Error, RequestLine, Result, is_temporary_status};
use crate::http::redirect::follow;
use crate::http::{Request, Response, Scheme, Transport, Url};
use crate::reference::{Host, RepoName};
use crate::secret::Secret;

use scope::Again;
pub use scope::Scope;
use token::{Realm, Token, authorization, granted};

/// How credentials may be used.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    /// Replaces the host of the token server that the registry names.
    pub auth_host: Option<Host>,
    /// What to do about credentials over http.
    pub insecure_auth: InsecureAuth,
}

/// What to do when credentials would travel in the clear.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum InsecureAuth {
    /// Stop with [`Error::InsecureAuth`].
    #[default]
    Refuse,
    /// Send them.
    Allow,
}

/// A request to a token server, and its outcome.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Granted {
    /// The token, where the registry uses tokens.
    pub token: Option<Secret>,
    /// `Bearer`, `Basic`, or `none`.
    pub scheme: &'static str,
    /// The token server, without query.
    pub realm: Option<String>,
    /// The registry's name there.
    pub service: Option<String>,
    /// The scopes asked for.
    pub asked: Vec<String>,
    /// What the token says it allows, where it can be read.
    pub granted: Option<String>,
    /// How long the token is good for.
    pub expires_in: Option<Duration>,
    /// Where the login came from, without secrets.
    pub source: String,
}

/// A 401, and what led to it.
pub struct Refusal<'a> {
    /// What the request needed.
    pub scope: &'a Scope,
    /// The answer.
    pub response: &'a Response,
    /// The `Authorization` that the request carried.
    pub sent: Option<&'a str>,
    /// Whether another 401 to the same request was dealt with before.
    pub again: bool,
}

/// What is known of one scope.
#[derive(Default)]
struct Slot {
    token: Option<Token>,
    /// Where the token came from and what it was asked to allow, so that the
    /// next one can be had before this one ends.
    terms: Option<(Realm, Scope)>,
}

/// The credentials of one registry and the tokens they were traded for.
pub struct Auth {
    host: Host,
    home: Url,
    policy: Policy,
    credentials: Credentials,
    state: Mutex<State>,
    /// The repositories for which the base was asked by [`Auth::reveal`], and
    /// whether that led to a login.
    asked: Mutex<HashMap<Option<RepoName>, bool>>,
}

#[derive(Default)]
struct State {
    /// The token that was given, until the registry refuses it.
    given: Option<Token>,
    /// Whether there ever was one.
    was_given: bool,
    /// What a registry that wants `Authorization` itself (Basic) gets, by
    /// repository: logins may be for a part of the registry only.
    basic: HashMap<Option<RepoName>, Secret>,
    /// Logins by repository: finding one may read files and run a helper.
    found: HashMap<Option<RepoName>, Found>,
    /// Tokens by the scope they were needed for. Each has a lock of its own:
    /// its holder fetches the token, the others wait and find it.
    slots: HashMap<Scope, Arc<Mutex<Slot>>>,
}

impl Auth {
    /// Credentials for the registry at `home`, which people call `host`.
    pub fn new(host: Host, home: Url, policy: Policy, credentials: Credentials) -> Auth {
        let given = credentials.token.clone().map(Token::given);
        let state = Mutex::new(State {
            was_given: given.is_some(),
            given,
            ..State::default()
        });
        Auth {
            host,
            home,
            policy,
            credentials,
            state,
            asked: Mutex::default(),
        }
    }

    /// Uses `token` from now on, instead of all stored tokens.
    pub fn give(&self, token: Secret) {
        let mut state = self.lock();
        state.basic.clear();
        state.slots.clear();
        state.given = Some(Token::given(token));
        state.was_given = true;
    }

    /// The bearer token that a request for `scope` would carry.
    pub fn held(&self, scope: &Scope) -> Option<Secret> {
        self.token(scope).map(|token| token.secret)
    }

    /// Adds to `headers` what a request for `scope` to `url` may carry, which
    /// is nothing unless `url` is the registry itself. A token close to its end
    /// is left at home, so that the registry asks for a new one.
    pub fn attach(&self, scope: &Scope, url: &Url, headers: &mut HeaderMap) {
        if url.origin() != self.home.origin() {
            return;
        }
        let Some(value) = self.value(scope) else {
            return;
        };
        if let Ok(mut value) = HeaderValue::from_str(value.reveal()) {
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
    }

    fn value(&self, scope: &Scope) -> Option<Secret> {
        if let Some(basic) = self.lock().basic.get(&scope.repository_name()) {
            return Some(basic.clone());
        }
        let token = self.token(scope)?;
        Some(Secret::new(format!("Bearer {}", token.secret.reveal())))
    }

    fn token(&self, scope: &Scope) -> Option<Token> {
        let state = self.lock();
        let slot = state.slots.get(scope).cloned();
        let slots: Vec<_> = if slot.is_some() {
            Vec::new()
        } else {
            state.slots.values().cloned().collect()
        };
        let given = state.given.clone();
        drop(state);
        let usable = |token: &Token| !token.is_stale();
        let held = match slot {
            Some(slot) => lock(&slot).token.clone().filter(usable),
            // A token for push serves pull; one that is being fetched is not
            // waited for here.
            None => slots
                .iter()
                .filter_map(|slot| slot.try_lock().ok()?.token.clone())
                .find(|token| usable(token) && token.scope.covers(scope)),
        };
        held.or(given)
    }

    /// Deals with a 401. True when the request is worth sending again.
    ///
    /// # Errors
    /// [`Error::Unauthorized`] when the token server refuses the login,
    /// [`Error::InsecureAuth`], [`Error::Refused`], and those of the wire.
    pub fn answer(&self, refusal: &Refusal<'_>, transport: &Transport) -> Result<bool> {
        let refused = refusal.response;
        if refused.url.origin() != self.home.origin() {
            return Ok(false);
        }
        let challenges = challenge::of(&refused.headers);
        let of = |scheme: &str| challenges.iter().find(|c| c.scheme == scheme);
        if let Some(bearer) = of("bearer")
            && let Some(realm) = bearer.get("realm")
        {
            let realm = Realm::of(realm, bearer.get("service"), &self.home, &self.policy)?;
            let asked = bearer.get("scope").map(Scope::parse).unwrap_or_default();
            return self.renew(refusal, &asked, realm, transport);
        }
        match of("basic") {
            Some(_) => self.begin_basic(refusal, transport),
            None => Ok(false),
        }
    }

    /// Replaces a token that would end while a long request is on its way.
    /// Failing is not an error here: the request will be refused and answered.
    ///
    /// # Errors
    /// [`Error::InsecureAuth`] when the token given would travel in the clear.
    pub fn prepare(&self, scope: &Scope, transport: &Transport) -> Result<()> {
        let state = self.lock();
        if state.given.is_some() {
            self.guard_secrets()?;
        }
        let slot = state.slots.get(scope).cloned();
        drop(state);
        if let Some(slot) = slot {
            self.refresh(scope, &mut lock(&slot), transport);
        }
        Ok(())
    }

    fn refresh(&self, scope: &Scope, slot: &mut Slot, transport: &Transport) {
        if slot.token.as_ref().is_none_or(|token| !token.is_stale()) {
            return;
        }
        let Some((realm, wanted)) = &slot.terms else {
            return;
        };
        let whose = scope.repository_name().map_or(wanted, |_| scope);
        let fetched = self
            .find(whose, transport)
            .and_then(|found| self.trade(&found, wanted, realm, transport));
        slot.token = fetched.ok();
    }

    /// Deals with a 403 or 404 to a request that went without a login. Some
    /// registries hide from strangers what they may not see, and only their
    /// base has a challenge (Artifactory). Where there is a login, the base is
    /// asked, once a repository. True when the request is worth sending again.
    ///
    /// # Errors
    /// As [`Auth::answer`].
    pub fn reveal(&self, scope: &Scope, hidden: &Response, transport: &Transport) -> Result<bool> {
        if hidden.url.origin() != self.home.origin() {
            return Ok(false);
        }
        // Held until the answer arrives: another thread with the same question
        // gets the same answer.
        let mut asked = lock(&self.asked);
        if let Some(revealed) = asked.get(&scope.repository_name()) {
            return Ok(*revealed);
        }
        let (provider, repo) = (&self.credentials.provider, scope.repository_name());
        let mut revealed = false;
        if provider.has_login(&self.host, repo.as_ref()) {
            let base = Request::new("GET", self.home.clone());
            let base = follow(transport, &base, &|_, _| {})?;
            let refusal = Refusal {
                scope,
                response: &base,
                sent: None,
                again: false,
            };
            revealed = base.status == 401 && self.answer(&refusal, transport)?;
            base.drain();
        }
        asked.insert(repo, revealed);
        Ok(revealed)
    }

    fn renew(
        &self,
        refusal: &Refusal<'_>,
        asked: &Scope,
        realm: Realm,
        transport: &Transport,
    ) -> Result<bool> {
        let Refusal { scope, sent, .. } = *refusal;
        let slot = self.lock().slots.entry(scope.clone()).or_default().clone();
        let mut slot = lock(&slot);
        if slot
            .token
            .as_ref()
            .is_some_and(|token| !token.is_stale() && !token.is_in(sent))
        {
            return Ok(true);
        }
        let again = if refusal.again { Again::Yes } else { Again::No };
        let wanted = scope.asking(asked, again);
        let had = slot.terms.as_ref().map(|(_, had)| had);
        if refusal.again && had == Some(&wanted) {
            // A second token for the very same would be refused, too.
            return Ok(false);
        }
        // The registry may name other actions; the user decides which login is used.
        let whose = scope.repository_name().map_or(&wanted, |_| scope);
        let found = self.find(whose, transport)?;
        if self.lock().was_given && found.login == Login::Anonymous {
            // A given token is not to be replaced by anonymous access.
            return Ok(false);
        }
        self.lock().given.take_if(|token| token.is_in(sent));
        let traded = match self.trade(&found, &wanted, &realm, transport) {
            Err(error) if matches!(error.status(), Some(400 | 401 | 403)) => {
                match self.find_other(whose, &found.login, transport)? {
                    Some(other) => self.trade(&other, &wanted, &realm, transport)?,
                    None => return Err(error),
                }
            }
            traded => traded?,
        };
        slot.token = Some(traded);
        slot.terms = Some((realm, wanted));
        Ok(true)
    }

    fn begin_basic(&self, refusal: &Refusal<'_>, transport: &Transport) -> Result<bool> {
        let Refusal { scope, sent, .. } = *refusal;
        let mut found = self.find(scope, transport)?;
        let refused = |found: &Found| {
            let value = authorization(&found.login);
            value.is_some_and(|value| sent == Some(value.reveal()))
        };
        if refused(&found) {
            match self.find_other(scope, &found.login, transport)? {
                Some(other) => found = other,
                None => return Ok(false),
            }
        }
        let Some(value) = authorization(&found.login) else {
            return Ok(false);
        };
        self.guard(&found.login)?;
        self.lock().basic.insert(scope.repository_name(), value);
        Ok(true)
    }

    /// Refuses to let a login travel over http unless that was allowed.
    fn guard(&self, login: &Login) -> Result<()> {
        if *login != Login::Anonymous {
            self.guard_secrets()?;
        }
        Ok(())
    }

    fn guard_secrets(&self) -> Result<()> {
        let clear =
            self.home.scheme() == Scheme::Http && self.policy.insecure_auth == InsecureAuth::Refuse;
        if clear {
            return Err(Error::InsecureAuth {
                url: self.home.to_string(),
            });
        }
        Ok(())
    }

    fn trade(
        &self,
        found: &Found,
        scope: &Scope,
        realm: &Realm,
        transport: &Transport,
    ) -> Result<Token> {
        // A login goes to the realm over https, but what it buys would travel
        // in the clear, as would a token that needs no buying.
        self.guard(&found.login)?;
        if let Login::Bearer(token) = &found.login {
            return Ok(Token::given(token.clone()).for_scope(scope));
        }
        realm
            .fetch(&found.login, scope, transport)
            .map_err(|error| match error {
                // What passes by itself is tried again by the caller.
                Error::Status {
                    request,
                    status,
                    errors,
                    ..
                } if !is_temporary_status(status) => Error::Unauthorized {
                    request,
                    status,
                    errors,
                    source: self.tried(found),
                    accepts: Box::default(),
                },
                other => other,
            })
    }

    /// The error of a 401 whose `challenges` could not be answered.
    pub fn unauthorized(
        &self,
        scope: &Scope,
        challenges: &[Challenge],
        request: RequestLine,
        errors: Vec<Diagnostic>,
    ) -> Error {
        let state = self.lock();
        let source = if state.was_given {
            Some("the token given".to_string())
        } else {
            let found = state.found.get(&scope.repository_name());
            found.and_then(|found| self.tried(found))
        };
        drop(state);
        Error::Unauthorized {
            request,
            status: 401,
            errors,
            source,
            accepts: challenge::unsupported(challenges).into(),
        }
    }

    fn tried(&self, found: &Found) -> Option<String> {
        (found.login != Login::Anonymous).then(|| found.source.clone())
    }

    /// The login for the repository a scope speaks of. A helper that failed is
    /// no reason not to read in public, but it is one not to write.
    fn find(&self, scope: &Scope, transport: &Transport) -> Result<Found> {
        let repo = scope.repository_name();
        let known = self.lock().found.get(&repo).cloned();
        let found = match known {
            Some(found) => found,
            None => {
                let found = self.credentials.provider.find(&self.host, repo.as_ref())?;
                // Without a login a write fails of it, below.
                let goes_on = scope.only_pulls() || found.login != Login::Anonymous;
                if let Some(trouble) = found.trouble.as_ref().filter(|_| goes_on) {
                    let observer = &transport.settings().observer;
                    observer.warning(&trouble.to_string());
                }
                self.lock().found.insert(repo, found.clone());
                found
            }
        };
        if !scope.only_pulls() {
            found.require()?;
        }
        Ok(found)
    }

    /// Asks again after a login was refused: helpers hand out passwords that
    /// end (ECR's after twelve hours). `None` when it is the same.
    fn find_other(
        &self,
        scope: &Scope,
        than: &Login,
        transport: &Transport,
    ) -> Result<Option<Found>> {
        self.lock().found.remove(&scope.repository_name());
        let found = self.find(scope, transport)?;
        Ok((found.login != *than).then_some(found))
    }

    /// A token for exactly `scope`, whatever is stored already, after the
    /// registry's answer to a request for its base.
    ///
    /// # Errors
    /// As [`Auth::answer`].
    pub fn authenticate(
        &self,
        scope: Scope,
        base: &Response,
        transport: &Transport,
    ) -> Result<Granted> {
        let found = self.find(&scope, transport)?;
        let mut told = Granted {
            scheme: "none",
            source: found.source.clone(),
            ..Granted::default()
        };
        if base.status != 401 {
            return Ok(told);
        }
        let challenges = challenge::of(&base.headers);
        let refused = || self.unauthorized(&scope, &challenges, base.line().clone(), Vec::new());
        if !challenge::unsupported(&challenges).is_empty() {
            return Err(refused());
        }
        if let Some((realm, bearer)) = challenges
            .iter()
            .filter(|c| c.scheme == "bearer")
            .find_map(|c| Some((c.get("realm")?, c)))
        {
            let realm = Realm::of(realm, bearer.get("service"), &self.home, &self.policy)?;
            // Without an action python-dxf asks for what the challenge names.
            let scope = if scope.asks_nothing() {
                bearer.get("scope").map(Scope::parse).unwrap_or_default()
            } else {
                scope
            };
            let token = self.trade(&found, &scope, &realm, transport)?;
            told.scheme = "Bearer";
            told.realm = Some(realm.url.to_string());
            told.service = realm.service;
            told.asked = scope.entries().collect();
            told.granted = granted(&token.secret);
            told.expires_in = token.life;
            told.token = Some(token.secret);
        } else if challenges.iter().any(|c| c.scheme == "basic") {
            self.guard(&found.login)?;
            if found.login == Login::Anonymous {
                return Err(refused());
            }
            told.scheme = "Basic";
            if let Some(value) = authorization(&found.login) {
                self.lock().basic.insert(scope.repository_name(), value);
            }
        }
        Ok(told)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // The stored tokens are replaced whole, never half-way.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
