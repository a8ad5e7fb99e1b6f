//! Where credentials come from: Docker's `config.json`, the containers tools'
//! `auth.json`, and the credential helpers both name; and where `login` and
//! `logout` keep them. Knows nothing of HTTP and of the environment: it answers
//! who to be for a repository, from files whose paths it is given; the
//! registry's own words decide how that is proved.

pub(crate) mod config;
mod edit;
mod files;
mod helper;
mod key;
mod list;
mod process;
mod save;
#[cfg(test)]
mod testing;

pub use files::{Files, Trouble, is_exposed};
pub use helper::{HelperFailure, Helpers};
pub use list::{How, Listed, Logins};
pub use save::{ConfigFile, Saved};

use std::fmt;
use std::sync::Arc;

use crate::error::Result;
use crate::reference::{Host, RepoName};
use crate::secret::Secret;

/// How to authenticate.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Login {
    /// Not at all.
    Anonymous,
    /// A user's name and password.
    Password {
        /// The name.
        username: String,
        /// The password, or a personal access token.
        password: Secret,
    },
    /// An `Authorization` value, sent unchanged to the token server, or to the
    /// registry itself where that asks for Basic.
    Header(Secret),
    /// A refresh token (`identitytoken`), to be traded for access tokens.
    Refresh(Secret),
    /// A bearer token, sent unchanged (`registrytoken`).
    Bearer(Secret),
}

/// A login, and where it was found.
#[derive(Debug, Clone)]
pub struct Found {
    /// The login.
    pub login: Login,
    /// File, key and helper, or the variables, in words without secrets.
    pub source: String,
    /// The first file or helper that could not be asked on the way to this
    /// login. Worth a warning; where the login is anonymous and the request
    /// needs one, [`Found::require`] makes it the error.
    pub trouble: Option<Trouble>,
}

impl Found {
    /// A login from `source`, found without errors.
    pub fn new(login: Login, source: impl Into<String>) -> Found {
        Found {
            login,
            source: source.into(),
            trouble: None,
        }
    }

    fn after(self, troubles: Vec<Trouble>) -> Found {
        Found {
            trouble: troubles.into_iter().next(),
            ..self
        }
    }

    /// The login for a request that is pointless without one, such as a push.
    /// (A pull takes [`Found::login`] unchanged: a public image needs no
    /// helper, working or not.)
    ///
    /// # Errors
    /// [`crate::Error::Helper`] or [`crate::Error::Io`] when a place that may hold
    /// the login could not be asked.
    pub fn require(&self) -> Result<&Login> {
        match (&self.login, &self.trouble) {
            (Login::Anonymous, Some(trouble)) => Err(trouble.clone().into()),
            (login, _) => Ok(login),
        }
    }
}

/// Finds the login for a repository. Asked once a repository, when the
/// registry first wants to know, and again when it says that a login has
/// expired: an answer is never remembered here.
pub trait Provider: Send + Sync {
    /// The login for `repo` (or for the registry as a whole) at `host`;
    /// [`Login::Anonymous`] when there is none.
    ///
    /// # Errors
    /// When a file can't be understood or a helper fails.
    fn find(&self, host: &Host, repo: Option<&RepoName>) -> Result<Found>;

    /// Whether there is a login that may be looked up before the registry asks
    /// for one, as where it hides what strangers may not see. What asks a
    /// person has none.
    fn has_login(&self, host: &Host, repo: Option<&RepoName>) -> bool {
        let _ = (host, repo);
        false
    }
}

impl Provider for Found {
    fn find(&self, _: &Host, _: Option<&RepoName>) -> Result<Found> {
        Ok(self.clone())
    }

    fn has_login(&self, _: &Host, _: Option<&RepoName>) -> bool {
        self.login != Login::Anonymous
    }
}

/// See [`Credentials::ask`].
struct Asked<F>(F);

impl<F> Provider for Asked<F>
where
    F: Fn(&Host, Option<&RepoName>) -> Result<Login> + Send + Sync,
{
    fn find(&self, host: &Host, repo: Option<&RepoName>) -> Result<Found> {
        Ok(Found::new((self.0)(host, repo)?, "the program"))
    }
}

/// Who to be towards one registry.
#[derive(Clone)]
pub struct Credentials {
    /// A initial bearer token (`DXF_TOKEN`), replaced after a 401.
    pub token: Option<Secret>,
    /// Called when the registry asks for credentials.
    pub provider: Arc<dyn Provider>,
}

impl Credentials {
    /// No credentials at all.
    pub fn anonymous() -> Credentials {
        Credentials::fixed(Login::Anonymous, "none")
    }

    /// Whatever `provider` finds: [`Files`], or your own provider.
    pub fn from_provider(provider: impl Provider + 'static) -> Credentials {
        Credentials {
            token: None,
            provider: Arc::new(provider),
        }
    }

    /// The login that `ask` gives, which is called when the registry first
    /// asks for credentials, and again when it refuses the login: time to
    /// read a vault, or to ask a person.
    ///
    /// ```
    /// use dxf_registry::credentials::{Credentials, Login};
    ///
    /// let credentials = Credentials::ask(|host, repo| {
    ///     // `repo` is none for what concerns the registry as a whole.
    ///     let _ = (host, repo);
    ///     Ok(Login::Password { username: "me".into(), password: "secret".into() })
    /// });
    /// ```
    pub fn ask(
        ask: impl Fn(&Host, Option<&RepoName>) -> Result<Login> + Send + Sync + 'static,
    ) -> Credentials {
        Credentials::from_provider(Asked(ask))
    }

    /// The same with an initial bearer token that was obtained before.
    pub fn with_token(mut self, token: impl Into<Secret>) -> Credentials {
        self.token = Some(token.into());
        self
    }

    /// The same login for every repository, from `source`.
    pub fn fixed(login: Login, source: impl Into<String>) -> Credentials {
        Credentials::from_provider(Found::new(login, source))
    }

    /// A user's name and password.
    pub fn password(username: impl Into<String>, password: impl Into<Secret>) -> Credentials {
        let login = Login::Password {
            username: username.into(),
            password: password.into(),
        };
        Credentials::fixed(login, "username and password")
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials(***)")
    }
}
