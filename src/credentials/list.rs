//! What logins there are, without their secrets.

use std::fmt;
use std::path::PathBuf;

use super::config::Config;
use super::files::{Files, Trouble, readable};
use super::helper::Helpers;
use super::key::Place;
use crate::error::Result;

/// How a login is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum How {
    /// In the file, as name and password.
    Auth,
    /// In the file, as an identity token or a bearer token.
    Token,
    /// With this program.
    Helper(String),
}

impl fmt::Display for How {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            How::Auth => "auth",
            How::Token => "identity token",
            How::Helper(name) => name,
        })
    }
}

/// One login.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Listed {
    /// The credentials file that contains it, or names its helper; the name of the
    /// variable for a configuration given as text.
    pub file: PathBuf,
    /// The registry or repository, unchanged.
    pub key: String,
    /// The user's name, where it is known without the secret.
    pub username: Option<String>,
    /// How it is kept.
    pub how: How,
}

/// All logins that could be found.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Logins {
    /// In the order of the files.
    pub logins: Vec<Listed>,
    /// Files and helpers that could not be asked.
    pub troubles: Vec<Trouble>,
}

impl Files {
    /// The logins in the files, and with the helpers they name. A helper for
    /// one host is not run: it makes its answers on demand.
    ///
    /// ```
    /// use dxf_registry::credentials::Files;
    /// let found = Files::new(["/nonexistent/config.json"]).list()?;
    /// assert!(found.logins.is_empty());
    /// # Ok::<(), dxf_registry::Error>(())
    /// ```
    ///
    /// # Errors
    /// When a file is not valid.
    pub fn list(&self) -> Result<Logins> {
        let mut found = Logins::default();
        for config in self.configs() {
            if let Some(config) = readable(config, &mut found.troubles)? {
                in_file(&config, &mut found);
                with_helpers(&config, self.helpers(), &mut found);
            }
        }
        Ok(found)
    }
}

fn in_file(config: &Config, found: &mut Logins) {
    for entry in config.entries() {
        if Place::of_key(entry.key).is_aside() {
            continue;
        }
        found.logins.push(Listed {
            file: config.path().to_path_buf(),
            key: entry.key.to_string(),
            username: entry.username(),
            how: if entry.is_token() {
                How::Token
            } else {
                How::Auth
            },
        });
    }
}

fn with_helpers(config: &Config, helpers: &Helpers, found: &mut Logins) {
    let file = config.path();
    let mut add = |key: &str, username: Option<String>, program: &str| {
        found.logins.push(Listed {
            file: file.to_path_buf(),
            key: key.to_string(),
            username,
            how: How::Helper(program.to_string()),
        });
    };
    for (key, name) in config.helpers() {
        // The store's own list has these, and their users.
        if Some(name) != config.store() {
            add(key, None, helpers.named(name).program());
        }
    }
    let Some(name) = config.store() else {
        return;
    };
    let store = helpers.named(name);
    match store.list() {
        Ok(logins) => {
            for (key, username) in logins {
                if !Place::of_key(&key).is_aside() {
                    let username = Some(username).filter(|name| !name.is_empty());
                    add(&key, username, store.program());
                }
            }
        }
        Err(failure) => found.troubles.push(failure.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::credentials::testing::Keychain;

    #[test]
    fn lists_everything_but_secrets() {
        let keychain = Keychain::new("keeper");
        let helpers = keychain.helpers();
        let keeper = helpers.named("keeper");
        keeper
            .store("https://index.docker.io/v1/", "hub", &"hunter2".into())
            .unwrap();
        keeper
            .store(
                "https://index.docker.io/v1/access-token",
                "hub",
                &"hunter2".into(),
            )
            .unwrap();
        let dir = tempfile::tempdir().unwrap();
        let paths = ["none", "a", "b"].map(|name| dir.path().join(name));
        std::fs::write(
            &paths[1],
            r#"{"auths": {"r.io": {"auth": "bWU6aHVudGVyMg=="}, "https://index.docker.io/v1/": {},
                "az.io": {"auth": "MDAwMDAwMDAtMDAwMC0wMDAwLTAwMDAtMDAwMDAwMDAwMDAwOg==", "identitytoken": "hunter2"},
                "x.io/team": {"username": "you", "password": "hunter2"}, "bad.io": {"auth": "hunter2!"}},
                "credsStore": "keeper", "credHelpers": {"ecr.io": "ecr-login", "k.io": "keeper"}}"#,
        )
        .unwrap();
        std::fs::write(&paths[2], r#"{"credsStore": "nobody"}"#).unwrap();
        let found = Files::new(paths.clone())
            .with_helpers(helpers.clone())
            .list()
            .unwrap();
        let lines: Vec<_> = found
            .logins
            .iter()
            .map(|l| {
                format!(
                    "{} {} {}",
                    l.key,
                    l.username.as_deref().unwrap_or("-"),
                    l.how
                )
            })
            .collect();
        assert_eq!(
            lines,
            [
                "r.io me auth",
                "az.io - identity token",
                "x.io/team you auth",
                "bad.io - auth",
                "ecr.io - docker-credential-ecr-login",
                "https://index.docker.io/v1/ hub docker-credential-keeper",
            ]
        );
        assert!(found.logins.iter().all(|l| l.file == paths[1]));
        assert_eq!(found.troubles.len(), 1);
        assert!(
            found.troubles[0]
                .to_string()
                .contains("docker-credential-nobody")
        );
        assert!(!format!("{found:?}").contains("hunter2"));
    }
}
