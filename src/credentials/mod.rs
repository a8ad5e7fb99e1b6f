//! Where credentials come from. Knows nothing of HTTP: it answers who to be
//! for a repository, and [`crate::auth`] decides how to prove it.

use std::fmt;
use std::sync::Arc;

use crate::error::Result;
use crate::reference::{Host, RepoName};
use crate::secret::Secret;

/// How to prove who one is.
#[derive(Debug, Clone, PartialEq, Eq)]
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
    /// An `Authorization` value, sent as it is to the token server, or to the
    /// registry itself where that asks for Basic.
    Header(Secret),
    /// A refresh token (`identitytoken`), to be traded for access tokens.
    Refresh(Secret),
    /// A bearer token, sent as it is (`registrytoken`).
    Bearer(Secret),
}

/// A login, and where it was found.
#[derive(Debug, Clone)]
pub struct Found {
    /// The login.
    pub login: Login,
    /// File, key and helper, or the variables, in words without secrets.
    pub source: String,
}

/// Finds the login for a repository. Asked once a repository, when the
/// registry first wants to know.
pub trait Provider: Send + Sync {
    /// The login for `repo` (or for the registry as a whole) at `host`;
    /// [`Login::Anonymous`] when there is none.
    ///
    /// # Errors
    /// When a file can't be understood or a helper fails.
    fn find(&self, host: &Host, repo: Option<&RepoName>) -> Result<Found>;
}

impl Provider for Found {
    fn find(&self, _: &Host, _: Option<&RepoName>) -> Result<Found> {
        Ok(self.clone())
    }
}

/// Who to be towards one registry.
#[derive(Clone)]
pub struct Credentials {
    /// A bearer token to begin with (`DXF_TOKEN`), replaced after a 401.
    pub token: Option<Secret>,
    /// Asked when the registry wants to know who one is.
    pub provider: Arc<dyn Provider>,
}

impl Credentials {
    /// No credentials at all.
    pub fn anonymous() -> Credentials {
        Credentials::fixed(Login::Anonymous, "none")
    }

    /// The same login for every repository, from `source`.
    pub fn fixed(login: Login, source: impl Into<String>) -> Credentials {
        let source = source.into();
        Credentials {
            token: None,
            provider: Arc::new(Found { login, source }),
        }
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
