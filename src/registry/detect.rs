//! Whether a registry exists, and its scheme where the user did not choose one.
//! Everything here goes out without credentials.

use ::http::header::{HeaderName, WWW_AUTHENTICATE};

use crate::auth::Scope;
use crate::credentials::Credentials;
use crate::error::{Error, NetworkKind, Result};
use crate::http::redirect::follow;
use crate::http::{Request, Scheme, status};
use crate::reference::Host;
use crate::registry::{Registry, Settings};

/// What a registry calls what it speaks. Optional by the OCI's specification,
/// sent by all that are old.
pub(super) const API_VERSION: HeaderName =
    HeaderName::from_static("docker-distribution-api-version");
/// The value of all of them.
const DISTRIBUTION: &str = "registry/2.0";

/// What answered at a registry's address.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Ping {
    /// 200, or 401 where it wants to know who asks.
    pub status: u16,
    /// What it says it speaks, such as `registry/2.0`.
    pub api_version: Option<String>,
    asks_for_token: bool,
}

impl Ping {
    /// Whether what answered speaks the registry API: it says so, or it asks
    /// for a token as only registries do. A registry that does neither can't be
    /// distinguished from any other web server this way.
    pub fn speaks_distribution(&self) -> bool {
        let said = self.api_version.as_deref();
        said.is_some_and(|said| said.starts_with(DISTRIBUTION)) || self.asks_for_token
    }
}

impl Registry {
    /// The registry at `host`, with the scheme that it turns out to speak;
    /// `settings.scheme` is ignored. One request is sent, without credentials, before
    /// this returns; the registry and its clones use the scheme that it found.
    ///
    /// Over TLS with a certificate that [`crate::http::Tls`] trusts, that is
    /// what is used. A server that answers TLS with something else is spoken to
    /// by http if it is on this machine ([`Host::is_loopback`]), and nowhere
    /// else: choose [`Scheme::Http`] for that. Any other failure is
    /// an error, so that an attacker who breaks connections cannot force them into the
    /// clear.
    ///
    /// ```no_run
    /// use dxf_registry::{Registry, credentials::Credentials, registry::{Scheme, Settings}};
    ///
    /// let host = "localhost:5000".parse()?;
    /// let registry = Registry::detect(host, Settings::default(), Credentials::anonymous())?;
    /// println!("{}", registry.scheme() == Scheme::Https);
    /// # Ok::<(), dxf_registry::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Network`]: of kind [`NetworkKind::NoTls`] for a server elsewhere
    /// that does not speak TLS, of kind [`NetworkKind::Certificate`] for a
    /// certificate that is not trusted, and those of the wire.
    pub fn detect(host: Host, settings: Settings, credentials: Credentials) -> Result<Registry> {
        let with = |scheme| {
            let settings = settings.clone().with_scheme(scheme);
            Registry::connect(host.clone(), settings, credentials.clone())
        };
        let secure = with(Scheme::Https)?;
        match secure.knock() {
            Ok(_) => Ok(secure),
            Err(error) if speaks_no_tls(&error) && host.is_loopback() => {
                let plain = with(Scheme::Http)?;
                plain.knock()?;
                Ok(plain)
            }
            Err(error) => Err(error),
        }
    }

    /// How it is spoken to.
    pub fn scheme(&self) -> Scheme {
        self.base().scheme()
    }

    /// Asks whether a registry answers, and over which scheme. No credentials are
    /// sent, and none are needed.
    ///
    /// # Errors
    /// [`Error::Status`] for an answer that is neither 200 nor 401, and those of
    /// the wire.
    pub fn ping(&self) -> Result<Ping> {
        self.again(|| {
            let request = Request::new("GET", self.base().clone());
            let answer = follow(self.transport(), &request, &|_, _| {})?;
            if !matches!(answer.status, 200 | 401) {
                return Err(status::refusal(answer));
            }
            let challenges = answer.headers.get_all(WWW_AUTHENTICATE);
            let bearer = |text: &str| text.to_ascii_lowercase().starts_with("bearer ");
            let ping = Ping {
                status: answer.status,
                api_version: answer.header(API_VERSION).map(str::to_string),
                asks_for_token: answer.status == 401
                    && challenges.iter().any(|c| c.to_str().is_ok_and(bearer)),
            };
            answer.drain();
            Ok(ping)
        })
    }

    /// What the registry says it speaks, such as `registry/2.0`, to a client that it
    /// knows: a 401 is answered as for any other request.
    ///
    /// # Errors
    /// [`Error::Unauthorized`], and those of the wire.
    pub fn api_version(&self) -> Result<Option<String>> {
        let request = Request::new("GET", self.base().clone());
        let answer = self.run(&Scope::catalog(), &request, &[200])?;
        let version = answer.header(API_VERSION).map(str::to_string);
        answer.drain();
        Ok(version)
    }

    /// One request without credentials; whatever answers it will do.
    fn knock(&self) -> Result<u16> {
        self.again(|| {
            let request = Request::new("GET", self.base().clone());
            let answer = self.transport().send(&request)?;
            let status = answer.status;
            answer.drain();
            Ok(status)
        })
    }
}

fn speaks_no_tls(error: &Error) -> bool {
    matches!(
        error,
        Error::Network {
            kind: NetworkKind::NoTls,
            ..
        }
    )
}
