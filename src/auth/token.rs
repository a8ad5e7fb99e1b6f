//! Asking a token server for a token (distribution, "Token Authentication" and
//! "OAuth2"): where it may be, what is asked, how the answer is read.

use std::time::{Duration, Instant};

use ::http::header::{AUTHORIZATION, CONTENT_TYPE};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::Deserialize;
use serde_json::Value;

use crate::auth::{InsecureAuth, Policy, Scope};
use crate::bounds;
use crate::credentials::Login;
use crate::error::{Error, Result};
use crate::http::redirect::follow_where;
use crate::http::url::encoded;
use crate::http::{Body, Request, Response, Scheme, Transport, Url, status};
use crate::secret::Secret;
use crate::text::without_login;

/// The largest answer of a token server, bytes.
const MAX_ANSWER: u64 = bounds::TOKEN_ANSWER;
/// How long a token lives when its server does not say (token specification).
const DEFAULT_LIFE: Duration = Duration::from_secs(60);
/// Docker's name for "the password is a refresh token".
const REFRESH_USER: &str = "<token>";
/// Who asks, in OAuth2's words.
const CLIENT: &str = "dxf";

/// A bearer token and its life.
#[derive(Clone)]
pub struct Token {
    /// The token.
    pub secret: Secret,
    /// What it was asked to allow.
    pub scope: Scope,
    /// How long it is good for, where that is known.
    pub life: Option<Duration>,
    born: Instant,
}

impl Token {
    /// A token of unknown lifetime that was obtained elsewhere.
    pub fn given(secret: Secret) -> Token {
        Token {
            secret,
            scope: Scope::none(),
            life: None,
            born: Instant::now(),
        }
    }

    /// The same token, said to allow `scope`.
    pub fn for_scope(self, scope: &Scope) -> Token {
        Token {
            scope: scope.clone(),
            ..self
        }
    }

    /// Whether it is what an `Authorization` value carried.
    pub fn is_in(&self, authorization: Option<&str>) -> bool {
        authorization.and_then(|value| value.strip_prefix("Bearer ")) == Some(self.secret.reveal())
    }

    /// Whether it is too old to begin something with: past four fifths of its
    /// life, so that it does not end while a request is on its way.
    pub fn is_stale(&self) -> bool {
        self.life
            .is_some_and(|life| self.born.elapsed() >= life.mul_f64(0.8))
    }
}

/// Where tokens come from, as a challenge names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Realm {
    /// The token server.
    pub url: Url,
    /// The registry's name there; some registries leave it out.
    pub service: Option<String>,
}

impl Realm {
    /// Checks the realm that the registry at `home` named.
    ///
    /// It must speak https; the user may override the host. Whether its address
    /// may be connected to (CVE-2026-48978 and its kin) is decided there.
    ///
    /// # Errors
    /// [`Error::Refused`].
    pub fn of(text: &str, service: Option<&str>, home: &Url, policy: &Policy) -> Result<Realm> {
        let refused = |why: String| Error::Refused {
            request: crate::error::RequestLine {
                method: "GET".into(),
                url: home.to_string(),
            },
            why,
        };
        // A path is one of the registry's own; anything else without a scheme
        // would be taken for one, too.
        let scheme = text.split_once("://").map_or("", |(scheme, _)| scheme);
        let http = ["http", "https"].map(|known| scheme.eq_ignore_ascii_case(known));
        if http == [false, false] && (!text.starts_with('/') || text.starts_with("//")) {
            let shown = without_login(text.split(['?', '#']).next().unwrap_or_default());
            return Err(refused(format!(
                "its token realm {shown:?} is not an http or https URL"
            )));
        }
        let named = home
            .join(text)
            .map_err(|e| refused(format!("its token realm is an {e}")))?;
        // python-dxf forces https, and so does contract; a laboratory that was
        // told to send credentials in the clear keeps the realm unchanged.
        let lab = home.scheme() == Scheme::Http && policy.insecure_auth == InsecureAuth::Allow;
        let mut url = if lab {
            named
        } else {
            named.with_scheme(Scheme::Https)
        };
        if let Some(host) = &policy.auth_host {
            url = url.with_authority(host.as_str())?;
        }
        Ok(Realm {
            url,
            service: service.map(str::to_string),
        })
    }

    /// Asks for a token that allows `scope`, once: every request that needs the token
    /// tries again, and tries of both would multiply.
    ///
    /// # Errors
    /// [`Error::Status`] for a refusal, [`Error::Malformed`] for an answer
    /// without a token, and those of the wire.
    pub fn fetch(&self, login: &Login, scope: &Scope, transport: &Transport) -> Result<Token> {
        if let Login::Refresh(refresh) = login {
            let response = self.post(refresh, scope, transport)?;
            // Servers older than OAuth2 know the GET only, and one that has
            // moved says so in a way that is for GET only.
            if !matches!(response.status, 301..=303 | 404 | 405) {
                return read(response, scope);
            }
            response.drain();
        }
        read(self.get(login, scope, transport)?, scope)
    }

    fn get(&self, login: &Login, scope: &Scope, transport: &Transport) -> Result<Response> {
        let mut url = self.url.clone();
        if let Some(service) = &self.service {
            url = url.with_query("service", service);
        }
        for entry in scope.entries() {
            url = url.with_query("scope", &entry);
        }
        let request = Request::new("GET", url);
        let request = match authorization(login) {
            Some(value) => request.header(AUTHORIZATION, value.reveal()),
            None => request,
        };
        self.follow(&request, *login == Login::Anonymous, transport)
    }

    fn post(&self, refresh: &Secret, scope: &Scope, transport: &Transport) -> Result<Response> {
        let mut form = format!("grant_type=refresh_token&client_id={CLIENT}");
        let entries = scope.to_string();
        let service = self.service.clone().unwrap_or_default();
        for (key, value) in [
            ("service", service.as_str()),
            ("scope", &entries),
            ("refresh_token", refresh.reveal()),
        ] {
            if !value.is_empty() {
                // A form has its own blank, and `+` means one.
                let value = encoded(value).replace('+', "%2B");
                form.push_str(&format!("&{key}={value}"));
            }
        }
        let request = Request::new("POST", self.url.clone())
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(Body::Bytes(form.as_bytes()));
        self.follow(&request, false, transport)
    }

    /// Follows a token server that has moved, but takes no login to another.
    fn follow(
        &self,
        request: &Request<'_>,
        anonymous: bool,
        transport: &Transport,
    ) -> Result<Response> {
        follow_where(transport, request, &|_, _| {}, &|url| {
            if url.origin() != self.url.origin() && !anonymous {
                return Err(
                    "the token server redirects there, and dxf does not send the login to another server".into(),
                );
            }
            Ok(())
        })
    }
}

/// The `Authorization` a login is, where it is one.
pub fn authorization(login: &Login) -> Option<Secret> {
    let basic = |user: &str, password: &Secret| {
        let pair = BASE64.encode(format!("{user}:{}", password.reveal()));
        Secret::new(format!("Basic {pair}"))
    };
    match login {
        Login::Anonymous | Login::Bearer(_) => None,
        Login::Password { username, password } => Some(basic(username, password)),
        Login::Header(value) => Some(value.clone()),
        Login::Refresh(token) => Some(basic(REFRESH_USER, token)),
    }
}

#[derive(Deserialize)]
struct Answer {
    access_token: Option<String>,
    token: Option<String>,
    #[serde(default)]
    expires_in: Value,
}

fn read(response: Response, scope: &Scope) -> Result<Token> {
    let born = Instant::now();
    let line = response.line().clone();
    if response.status != 200 {
        return Err(status::refusal(response));
    }
    let what = format!("token from {}", line.url);
    let bytes = response.bytes(MAX_ANSWER)?;
    let answer: Answer = serde_json::from_slice(&bytes)
        .map_err(|_| Error::malformed(what.as_str(), "it is not the JSON of a token"))?;
    let filled = |token: Option<String>| token.filter(|token| !token.is_empty());
    let token = filled(answer.access_token)
        .or(filled(answer.token))
        .ok_or_else(|| Error::malformed(what.as_str(), "the answer contains none"))?;
    // Anything else would end up inside a header.
    if !token.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(Error::malformed(
            what,
            "it contains characters that a token cannot have",
        ));
    }
    // A number by the specification; some servers quote it.
    let seconds = match &answer.expires_in {
        Value::String(text) => text.trim().parse().ok(),
        other => other.as_f64(),
    };
    let life = match seconds {
        Some(seconds) if f64::is_finite(seconds) && seconds > 0.0 => {
            Duration::from_secs_f64(seconds.min(1e9))
        }
        _ => DEFAULT_LIFE,
    };
    Ok(Token {
        secret: token.into(),
        scope: scope.clone(),
        life: Some(life),
        born,
    })
}

/// What a token says it allows, when it is a JWT in distribution's form. Read
/// for explanations only; nothing trusts it.
pub fn granted(token: &Secret) -> Option<String> {
    #[derive(Deserialize)]
    struct Claims {
        access: Vec<Access>,
    }
    #[derive(Deserialize)]
    struct Access {
        r#type: String,
        name: String,
        actions: Vec<String>,
    }
    let claims = token.reveal().split('.').nth(1)?;
    let json = base64::engine::general_purpose::URL_SAFE_NO_PAD
        .decode(claims)
        .ok()?;
    let claims: Claims = serde_json::from_slice(&json).ok()?;
    let scope = claims.access.iter().fold(Scope::none(), |scope, a| {
        let actions: Vec<&str> = a.actions.iter().map(String::as_str).collect();
        if actions.is_empty() {
            scope
        } else {
            scope.with(&format!("{}:{}", a.r#type, a.name), &actions)
        }
    });
    Some(scope.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn realm(home: &str, text: &str, policy: &Policy) -> Result<String> {
        Realm::of(text, None, &Url::parse(home).unwrap(), policy).map(|r| r.url.as_str())
    }

    #[test]
    fn realms_are_https() {
        let plain = Policy::default();
        let public = "https://r.example/";
        assert_eq!(
            realm(public, "https://auth.example/token?a=b", &plain).unwrap(),
            "https://auth.example/token?a=b"
        );
        assert_eq!(
            realm(public, "http://auth.example/t", &plain).unwrap(),
            "https://auth.example/t"
        );
        assert_eq!(
            realm(public, "/token", &plain).unwrap(),
            "https://r.example/token"
        );
        for evil in [
            "https://user:pw@auth.example/t",
            "ftp://auth.example/",
            "file:/etc/passwd",
            "file:///etc/passwd",
            "junk",
            "",
            "//auth.example/t",
            "https://",
        ] {
            assert!(
                matches!(realm(public, evil, &plain), Err(Error::Refused { .. })),
                "{evil}"
            );
        }
    }

    #[test]
    fn the_user_may_pin_the_host_and_open_the_laboratory() {
        let pinned = Policy {
            auth_host: Some("auth.mine:8443".parse().unwrap()),
            ..Policy::default()
        };
        assert_eq!(
            realm("https://r.example/", "https://evil/t?x=y", &pinned).unwrap(),
            "https://auth.mine:8443/t?x=y"
        );
        let lab = Policy {
            insecure_auth: InsecureAuth::Allow,
            ..Policy::default()
        };
        assert_eq!(
            realm("http://r.example/", "http://auth.example/t", &lab).unwrap(),
            "http://auth.example/t"
        );
        assert_eq!(
            realm("https://r.example/", "http://auth.example/t", &lab).unwrap(),
            "https://auth.example/t"
        );
    }

    #[test]
    fn logins_become_headers() {
        let login = Login::Password {
            username: "u".into(),
            password: "p".into(),
        };
        assert_eq!(authorization(&login).unwrap().reveal(), "Basic dTpw");
        assert_eq!(
            authorization(&Login::Header("X y".into()))
                .unwrap()
                .reveal(),
            "X y"
        );
        assert!(authorization(&Login::Anonymous).is_none());
    }

    #[test]
    fn tokens_tell_what_they_allow() {
        let claims = br#"{"access":[{"type":"repository","name":"a/b","actions":["pull"]},{"type":"x","name":"y","actions":[]}]}"#;
        let jwt = format!(
            "e30.{}.sig",
            base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(claims)
        );
        assert_eq!(granted(&jwt.into()).as_deref(), Some("repository:a/b:pull"));
        assert_eq!(granted(&"opaque".into()), None);
    }

    proptest::proptest! {
        #[test]
        fn any_token_is_survived(claims in "\\PC{0,60}|\\{\"access\":\\[.{0,40}\\]\\}", rest in "[.a-zA-Z0-9_-]{0,40}") {
            let _ = granted(&rest.clone().into());
            let jwt = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(claims);
            let _ = granted(&format!("e30.{jwt}.{rest}").into());
        }

        #[test]
        fn any_realm_is_survived(realm in "(https?://)?[a-z0-9.@:/\\[\\]?#%-]{0,40}|\\PC{0,40}") {
            let home = Url::parse("https://r.example/").unwrap();
            if let Ok(found) = Realm::of(&realm, None, &home, &Policy::default()) {
                assert_eq!(found.url.scheme(), Scheme::Https);
            }
        }
    }
}
