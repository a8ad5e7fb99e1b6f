//! A token server: trades a password, a refresh token or nothing for signed
//! tokens that the real registry accepts.
//!
//! The registry trusts a token whose `x5c` header holds a certificate from its
//! `rootcertbundle`, so one self-signed certificate does for both.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use serde_json::{Value, json};

use super::raw::Login;
use super::registry::{PASSWORD, USER};
use super::rules::{ANY, Request, Response, on};
use super::server::Server;
use super::wire::pairs;
use super::{Secrets, lock};

/// docker-registry takes a token up to this long after its `exp` (`Leeway` in
/// registry/auth/token/token.go), so `exp` lies that much earlier here. It counts
/// whole seconds: a token of two really ends between two and three.
const REGISTRY_LEEWAY: u64 = 60;

/// Members an answer carries the token in.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Member {
    Token,
    AccessToken,
    Both,
    /// Both, with an empty `access_token`.
    EmptyAccessToken,
}

/// One request for a token, whether it was granted or not.
#[derive(Clone, Debug)]
pub struct Asked {
    pub method: String,
    pub scopes: Vec<String>,
    pub service: Option<String>,
    /// Who asked, right password or not; `None` for an anonymous request.
    pub user: Option<String>,
    /// `password`, `refresh_token`; nothing for a GET.
    pub grant_type: Option<String>,
    /// Whether a refresh token was asked for.
    pub offline: bool,
    pub authorization: Option<String>,
    pub status: u16,
}

/// How to start a [`TokenServer`].
pub struct Builder {
    user: String,
    password: String,
    anonymous_pull: bool,
    lifetime: Option<u64>,
    member: Member,
    slow: Duration,
    only: Option<Vec<String>>,
    closed: Option<String>,
}

impl Builder {
    /// Grants `pull` to a request without credentials; otherwise that is 401.
    pub fn anonymous_pull(mut self) -> Builder {
        self.anonymous_pull = true;
        self
    }

    /// How long tokens live, to the second; `expires_in` says so.
    pub fn lifetime(mut self, seconds: u64) -> Builder {
        self.lifetime = Some(seconds);
        self
    }

    pub fn member(mut self, member: Member) -> Builder {
        self.member = member;
        self
    }

    /// Waits before every answer.
    pub fn slow(mut self, time: Duration) -> Builder {
        self.slow = time;
        self
    }

    /// Grants nothing on this repository, whatever the login: a token for it and
    /// others is one for the others.
    pub fn closed(mut self, repo: &str) -> Builder {
        self.closed = Some(format!("repository:{repo}:"));
        self
    }

    pub fn start(self) -> TokenServer {
        TokenServer::start(self)
    }
}

/// A running token server, TLS with the shared authority.
pub struct TokenServer {
    server: Server,
    state: Arc<State>,
}

struct State {
    rules: Builder,
    mint: Mint,
    asked: Mutex<Vec<Asked>>,
    refresh: Mutex<Vec<String>>,
    counter: AtomicUsize,
    secrets: Secrets,
}

/// What signs tokens.
#[derive(Clone)]
pub struct Mint(Arc<Key>);

struct Key {
    pair: EcdsaKeyPair,
    certificate: rcgen::Certificate,
}

impl TokenServer {
    /// Knows [`USER`] with [`PASSWORD`]; tokens live five minutes.
    pub fn builder() -> Builder {
        Builder {
            user: USER.to_string(),
            password: PASSWORD.to_string(),
            anonymous_pull: false,
            lifetime: None,
            member: Member::Both,
            slow: Duration::ZERO,
            only: None,
            closed: None,
        }
    }

    fn start(rules: Builder) -> TokenServer {
        let state = Arc::new(State {
            rules,
            mint: Mint::new(),
            asked: Mutex::default(),
            refresh: Mutex::default(),
            counter: AtomicUsize::new(0),
            secrets: Secrets::default(),
        });
        let answering = state.clone();
        let rule = on(ANY, "/token").with(move |request| answering.answer(request));
        let server = Server::builder([rule]).tls().start();
        TokenServer { server, state }
    }

    /// The realm for a registry's configuration.
    pub fn realm(&self) -> String {
        format!("{}/token", self.server.origin())
    }

    /// `127.0.0.1:PORT`.
    pub fn host(&self) -> String {
        self.server.host()
    }

    /// A space and a slash, because real ones have them and they must be escaped.
    pub fn service(&self) -> &'static str {
        "test registry/1"
    }

    pub fn issuer(&self) -> &'static str {
        "dxf-test-issuer"
    }

    /// The certificate that makes a registry trust the tokens.
    pub fn issuer_pem(&self) -> String {
        self.state.mint.0.certificate.pem()
    }

    /// Every request for a token so far.
    pub fn requests(&self) -> Vec<Asked> {
        lock(&self.state.asked).clone()
    }

    /// Tokens and refresh tokens handed out, which must never be printed.
    pub fn secrets(&self) -> Secrets {
        self.state.secrets.clone()
    }

    /// A refresh token that works, as if handed out earlier.
    pub fn refresh_token(&self) -> String {
        self.state.new_refresh()
    }

    /// A token for these scopes, without asking over the wire.
    pub fn mint(&self, scopes: &[&str]) -> String {
        let scopes: Vec<String> = scopes.iter().map(|scope| scope.to_string()).collect();
        self.state.mint.token(&scopes)
    }

    /// Lets [`super::raw::Raw`] make its own tokens.
    pub fn login(&self) -> Login {
        Login::Minted(self.state.mint.clone())
    }
}

impl State {
    fn answer(&self, request: &Request) -> Response {
        thread::sleep(self.rules.slow);
        let (mut asked, right) = match request.method.as_str() {
            "GET" => self.read_get(request),
            "POST" => self.read_post(request),
            _ => return Response::new(405),
        };
        let anonymous = asked.user.is_none() && asked.grant_type.is_none();
        let allowed = right || (anonymous && self.rules.anonymous_pull);
        asked.status = if allowed { 200 } else { 401 };
        let offline = asked.offline;
        let scopes = asked.scopes.clone();
        lock(&self.asked).push(asked);
        if !allowed {
            let errors = json!({"errors": [{"code": "UNAUTHORIZED", "message": "who are you?"}]});
            return reply(401, &errors);
        }
        let pull = ["pull".to_string()];
        let only = if right {
            self.rules.only.as_deref()
        } else {
            Some(&pull[..])
        };
        let closed = self.rules.closed.as_deref();
        let is_open = |scope: &&String| closed.is_none_or(|closed| !scope.starts_with(closed));
        let scopes: Vec<String> = scopes.iter().filter(is_open).cloned().collect();
        let lifetime = self.rules.lifetime.unwrap_or(300);
        let token = self.mint.sign(&access(&scopes, only), lifetime);
        self.secrets.add(&token);
        let mut body = json!({"expires_in": lifetime});
        match self.rules.member {
            Member::Token => body["token"] = json!(token),
            Member::AccessToken => body["access_token"] = json!(token),
            Member::Both => {
                body["token"] = json!(token);
                body["access_token"] = json!(token);
            }
            Member::EmptyAccessToken => {
                body["token"] = json!(token);
                body["access_token"] = json!("");
            }
        }
        if offline && right {
            body["refresh_token"] = json!(self.new_refresh());
        }
        reply(200, &body)
    }

    fn read_get(&self, request: &Request) -> (Asked, bool) {
        let asked = ask(request, pairs(&request.query));
        let login = asked
            .authorization
            .as_deref()
            .and_then(|value| value.strip_prefix("Basic "))
            .and_then(|value| STANDARD.decode(value).ok())
            .and_then(|pair| String::from_utf8(pair).ok());
        let Some((user, password)) = login.as_deref().and_then(|pair| pair.split_once(':')) else {
            return (asked, false);
        };
        let right = user == self.rules.user && password == self.rules.password;
        let user = Some(user.to_string());
        (Asked { user, ..asked }, right)
    }

    fn read_post(&self, request: &Request) -> (Asked, bool) {
        let form = pairs(&String::from_utf8_lossy(&request.body));
        let field = |name: &str| {
            form.iter()
                .find_map(|(key, value)| (key == name).then(|| value.clone()))
        };
        let right = match field("grant_type").as_deref() {
            Some("refresh_token") => {
                field("refresh_token").is_some_and(|token| lock(&self.refresh).contains(&token))
            }
            Some("password") => {
                field("username").as_ref() == Some(&self.rules.user)
                    && field("password").as_ref() == Some(&self.rules.password)
            }
            _ => false,
        };
        let user = field("username");
        let asked = Asked {
            user,
            ..ask(request, form)
        };
        (asked, right)
    }

    fn new_refresh(&self) -> String {
        let number = self.counter.fetch_add(1, Ordering::SeqCst);
        let token = format!("refresh-me-{number}-{:x}", std::process::id());
        self.secrets.add(&token);
        lock(&self.refresh).push(token.clone());
        token
    }
}

/// What both kinds of request have in common.
fn ask(request: &Request, params: Vec<(String, String)>) -> Asked {
    let value = |name: &str| {
        params
            .iter()
            .find_map(|(key, value)| (key == name).then(|| value.clone()))
    };
    Asked {
        method: request.method.clone(),
        scopes: params
            .iter()
            .filter(|(key, _)| key == "scope")
            .flat_map(|(_, value)| value.split(' '))
            .filter(|scope| !scope.is_empty())
            .map(str::to_string)
            .collect(),
        service: value("service"),
        user: None,
        grant_type: value("grant_type"),
        offline: value("offline_token").as_deref() == Some("true")
            || value("access_type").as_deref() == Some("offline"),
        authorization: request.headers.get("authorization").map(str::to_string),
        status: 0,
    }
}

fn reply(status: u16, body: &Value) -> Response {
    Response::new(status)
        .header("Content-Type", "application/json")
        .body(body.to_string())
}

/// The `access` claim: `repository:a/b:pull,push` taken apart.
fn access(scopes: &[String], only: Option<&[String]>) -> Value {
    let entries = scopes.iter().filter_map(|scope| {
        let (kind, rest) = scope.split_once(':')?;
        let (name, actions) = rest.rsplit_once(':')?;
        let actions: Vec<&str> = actions
            .split(',')
            .filter(|action| only.is_none_or(|only| only.iter().any(|one| one == action)))
            .collect();
        Some(json!({"type": kind, "name": name, "actions": actions}))
    });
    entries.collect()
}

impl Mint {
    fn new() -> Mint {
        let random = SystemRandom::new();
        let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(algorithm, &random).expect("a key");
        let pair = EcdsaKeyPair::from_pkcs8(algorithm, pkcs8.as_ref(), &random).expect("a key");
        let same = rcgen::KeyPair::try_from(pkcs8.as_ref()).expect("the same key");
        let certificate = rcgen::CertificateParams::default()
            .self_signed(&same)
            .expect("a certificate");
        Mint(Arc::new(Key { pair, certificate }))
    }

    /// A token for these scopes that lives five minutes.
    pub fn token(&self, scopes: &[String]) -> String {
        self.sign(&access(scopes, None), 300)
    }

    fn sign(&self, access: &Value, lifetime: u64) -> String {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .expect("a clock after 1970")
            .as_secs();
        let header = json!({
            "alg": "ES256",
            "typ": "JWT",
            "x5c": [STANDARD.encode(self.0.certificate.der())],
        });
        let claims = json!({
            "iss": "dxf-test-issuer",
            "sub": USER,
            "aud": "test registry/1",
            "exp": now + 1 + lifetime - REGISTRY_LEEWAY,
            "nbf": now - 2 * REGISTRY_LEEWAY,
            "iat": now,
            "jti": format!("{now}-{lifetime}"),
            "access": access,
        });
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(&header), part(&claims));
        let signature = self
            .0
            .pair
            .sign(&SystemRandom::new(), signed.as_bytes())
            .expect("a signature");
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}
