//! The search through credentials files. Which files there are, and in which
//! order, is the caller's knowledge.

use std::fmt;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::config::{Config, Entry};
use super::helper::{HelperFailure, Helpers};
use super::{Found, Login, Provider};
use crate::error::{Error, Result};
use crate::hub;
use crate::reference::{Host, RepoName};
use crate::secret::Secret;

/// Credentials files in the order they are asked; the first that knows a login
/// wins. Within one file: the entry with the longest path that fits, then the
/// host's helper, then the entry for the host.
///
/// A missing file is skipped. A file that is not valid is an error, because a
/// login that is silently ignored looks like a wrong one. A file that can't be
/// read and a helper that fails are noted in [`Found::trouble`], and the search
/// continues.
///
/// ```
/// use dxf_registry::credentials::{Files, Login, Provider};
/// let files = Files::new(["/nonexistent/config.json"]);
/// let found = files.find(&"quay.io".parse()?, None)?;
/// assert_eq!((found.login, found.source.as_str()), (Login::Anonymous, "none"));
/// # Ok::<(), dxf_registry::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Files {
    /// A configuration that was given as text, asked before the files.
    given: Option<Config>,
    paths: Vec<PathBuf>,
    helpers: Helpers,
}

impl Files {
    /// The files at `paths`, whether they exist or not.
    pub fn new<P: Into<PathBuf>>(paths: impl IntoIterator<Item = P>) -> Files {
        Files {
            given: None,
            paths: paths.into_iter().map(Into::into).collect(),
            helpers: Helpers::default(),
        }
    }

    /// Asks a configuration that was given as text (Docker's
    /// `DOCKER_AUTH_CONFIG`) before the files; `name` is what messages call it.
    ///
    /// ```
    /// use dxf_registry::credentials::{Files, Provider};
    /// let files = Files::new(["/nonexistent/config.json"]).with_text(
    ///     "DOCKER_AUTH_CONFIG",
    ///     &r#"{"auths": {"quay.io": {"auth": "bWU6c2VjcmV0"}}}"#.into(),
    /// )?;
    /// let found = files.find(&"quay.io".parse()?, None)?;
    /// assert_eq!(found.source, r#"DOCKER_AUTH_CONFIG, key "quay.io""#);
    /// # Ok::<(), dxf_registry::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Malformed`] for text that is not a configuration.
    pub fn with_text(self, name: &str, text: &Secret) -> Result<Files> {
        let given = Some(Config::parse(Path::new(name), text.reveal())?);
        Ok(Files { given, ..self })
    }

    /// Runs helpers as `helpers` says.
    pub fn with_helpers(self, helpers: Helpers) -> Files {
        Files { helpers, ..self }
    }

    /// The files that hold secrets and that others on this machine can read.
    pub fn exposed(&self) -> Vec<&Path> {
        let holds_secrets = |path: &Path| match Config::read(path) {
            Ok(Some(config)) => config.entries().next().is_some(),
            _ => false,
        };
        self.paths
            .iter()
            .map(PathBuf::as_path)
            .filter(|path| is_exposed(path) && holds_secrets(path))
            .collect()
    }

    /// The configurations in order, each read when it is needed.
    pub(super) fn configs(&self) -> impl Iterator<Item = Result<Option<Config>>> {
        let given = self.given.iter().map(|config| Ok(Some(config.clone())));
        given.chain(self.paths.iter().map(|path| Config::read(path)))
    }

    /// How helpers are run.
    pub(super) fn helpers(&self) -> &Helpers {
        &self.helpers
    }

    fn ask(&self, config: &Config, query: &Query<'_>) -> Result<Answer> {
        let entry = config.entry(query.host, query.repo.as_deref());
        // Only an entry can be for a path: helpers know whole hosts.
        if let Some(entry) = entry.as_ref().filter(|entry| entry.fit > 0) {
            return answer(config, entry);
        }
        let mut trouble = None;
        if let Some(name) = config.helper(query.host) {
            match self.ask_helper(config, name, query.host) {
                Ok(Some(found)) => return Ok(Answer::found(found)),
                Ok(None) => {}
                Err(failure) => trouble = Some(failure.into()),
            }
        }
        let answer = match entry {
            Some(entry) => answer(config, &entry)?,
            None => Answer::default(),
        };
        Ok(Answer { trouble, ..answer })
    }

    fn ask_helper(
        &self,
        config: &Config,
        name: &str,
        host: &Host,
    ) -> Result<Option<Found>, HelperFailure> {
        let helper = self.helpers.named(name);
        for server in config.names(host) {
            if let Some(login) = helper.get(server)? {
                let source = format!("{}, helper {}", config.path().display(), helper.program());
                return Ok(Some(Found::new(login, source)));
            }
        }
        Ok(None)
    }
}

impl Provider for Files {
    fn find(&self, host: &Host, repo: Option<&RepoName>) -> Result<Found> {
        let query = Query {
            host,
            // Keys name a repository as the registry does (`docker.io/library/x`).
            repo: repo.map(|repo| hub::full_name(host.as_str(), repo.as_str())),
        };
        let mut troubles = Vec::new();
        for config in self.configs() {
            let Some(config) = readable(config, &mut troubles)? else {
                continue;
            };
            let answer = self.ask(&config, &query)?;
            troubles.extend(answer.trouble);
            if let Some(found) = answer.found {
                return Ok(found.after(troubles));
            }
        }
        Ok(Found::new(Login::Anonymous, "none").after(troubles))
    }

    fn has_login(&self, host: &Host, repo: Option<&RepoName>) -> bool {
        self.find(host, repo)
            .is_ok_and(|found| found.login != Login::Anonymous)
    }
}

/// The login in `config`; one that can't be read is noted, and the next
/// one's turn.
pub(super) fn readable(
    config: Result<Option<Config>>,
    troubles: &mut Vec<Trouble>,
) -> Result<Option<Config>> {
    match config {
        Err(Error::Io { what, source }) => {
            let kind = source.kind();
            troubles.push(Trouble::File {
                path: what.into(),
                kind,
            });
            Ok(None)
        }
        config => config,
    }
}

/// A place that may hold a login and could not be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Trouble {
    /// A credential helper that failed.
    Helper(HelperFailure),
    /// A credentials file that can't be read.
    File {
        /// The file.
        path: PathBuf,
        /// The operating system's reason.
        kind: io::ErrorKind,
    },
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Trouble::Helper(failure) => failure.fmt(f),
            Trouble::File { path, kind } => {
                write!(f, "credentials file {}: {kind}", path.display())
            }
        }
    }
}

impl From<HelperFailure> for Trouble {
    fn from(failure: HelperFailure) -> Trouble {
        Trouble::Helper(failure)
    }
}

impl From<Trouble> for Error {
    fn from(trouble: Trouble) -> Error {
        match trouble {
            Trouble::Helper(failure) => failure.into(),
            Trouble::File { path, kind } => {
                Error::io(format!("credentials file {}", path.display()), kind.into())
            }
        }
    }
}

struct Query<'a> {
    host: &'a Host,
    repo: Option<String>,
}

#[derive(Default)]
struct Answer {
    found: Option<Found>,
    trouble: Option<Trouble>,
}

impl Answer {
    fn found(found: Found) -> Answer {
        Answer {
            found: Some(found),
            trouble: None,
        }
    }
}

fn answer(config: &Config, entry: &Entry<'_>) -> Result<Answer> {
    let login = entry.login(config.path())?;
    let source = format!("{}, key {:?}", config.path().display(), entry.key);
    Ok(Answer::found(Found::new(login, source)))
}

/// Whether others on this machine can read the file at `path`.
pub fn is_exposed(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|file| file.is_file() && file.mode() & 0o077 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::credentials::testing::Keychain;
    use crate::error::Error;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use tempfile::TempDir;

    const HUB: &str = "https://index.docker.io/v1/";

    struct Home {
        dir: TempDir,
        keychain: Keychain,
    }

    impl Home {
        fn new() -> Home {
            Home {
                dir: tempfile::tempdir().unwrap(),
                keychain: Keychain::new("keeper"),
            }
        }

        fn path(&self, name: &str) -> PathBuf {
            self.dir.path().join(name)
        }

        fn write(&self, name: &str, text: &str) -> &Home {
            fs::write(self.path(name), text).unwrap();
            self
        }

        fn keep(&self, server: &str, username: &str) -> &Home {
            let helpers = self.keychain.helpers();
            let keeper = helpers.named("keeper");
            keeper.store(server, username, &"secret".into()).unwrap();
            self
        }

        fn find(&self, host: &str, repo: &str) -> Result<Found> {
            let paths = ["none", "a", "b"].map(|name| self.path(name));
            let files = Files::new(paths).with_helpers(self.keychain.helpers());
            files.find(&host.parse().unwrap(), Some(&repo.parse().unwrap()))
        }

        /// User or token, and source without the folder's name.
        fn told(&self, host: &str, repo: &str) -> String {
            let found = self.find(host, repo).unwrap();
            let who = match found.login {
                Login::Password { username, .. } => username,
                Login::Refresh(token) => token.reveal().to_string(),
                other => format!("{other:?}"),
            };
            let folder = format!("{}/", self.dir.path().display());
            format!("{who} from {}", found.source.replace(&folder, ""))
        }
    }

    #[test]
    fn the_first_file_with_an_answer_wins() {
        let home = Home::new();
        home.write(
            "a",
            r#"{"auths": {"r.io": {"identitytoken": "a"}, "x.io": {}}}"#,
        )
        .write(
            "b",
            r#"{"auths": {"r.io/team": {"identitytoken": "b"}, "x.io": {"identitytoken": "b"},
                    "docker.io/library/busybox": {"identitytoken": "box"}}}"#,
        );
        assert_eq!(home.told("r.io", "team/app"), r#"a from a, key "r.io""#);
        assert_eq!(home.told("x.io", "app"), r#"b from b, key "x.io""#);
        assert_eq!(home.told("y.io", "app"), "Anonymous from none");
        let boxed = r#"box from b, key "docker.io/library/busybox""#;
        assert_eq!(home.told("registry-1.docker.io", "busybox"), boxed);
        assert_eq!(home.told("docker.io", "library/busybox"), boxed);
    }

    #[test]
    fn paths_before_helpers_before_hosts() {
        let home = Home::new();
        home.keep("r.io", "kept").keep(HUB, "hub").keep("own.io", "own").write(
            "a",
            r#"{"auths": {"r.io": {"identitytoken": "host"}, "r.io/team": {"identitytoken": "team"},
                          "old.io": {"identitytoken": "old"}, "free.io": {"identitytoken": "free"}},
                "credsStore": "keeper",
                "credHelpers": {"own.io": "keeper", "free.io": ""}}"#,
        );
        let helper = "a, helper docker-credential-keeper";
        assert_eq!(home.told("r.io", "app"), format!("kept from {helper}"));
        assert_eq!(
            home.told("r.io", "team/app"),
            r#"team from a, key "r.io/team""#
        );
        assert_eq!(home.told("docker.io", "app"), format!("hub from {helper}"));
        assert_eq!(home.told("own.io", "app"), format!("own from {helper}"));
        // The helper does not know it, so the entry counts.
        assert_eq!(home.told("old.io", "app"), r#"old from a, key "old.io""#);
        assert_eq!(home.told("free.io", "app"), r#"free from a, key "free.io""#);
        assert_eq!(home.told("r.io:5000", "app"), "Anonymous from none");
    }

    #[test]
    fn empty_entries_tell_the_name_the_helper_knows() {
        let home = Home::new();
        home.keep("registry-1.docker.io", "helm").write(
            "a",
            r#"{"auths": {"registry-1.docker.io": {}}, "credsStore": "keeper"}"#,
        );
        assert!(home.told("docker.io", "app").starts_with("helm from "));
    }

    #[test]
    fn a_missing_helper_is_trouble_for_pushes_only() {
        let home = Home::new();
        home.write("a", r#"{"credsStore": "desktop"}"#);
        let found = home.find("r.io", "app").unwrap();
        assert_eq!(found.login, Login::Anonymous);
        assert_eq!(
            found.trouble.as_ref().unwrap().to_string(),
            "credential helper docker-credential-desktop: it is not installed, or not on the PATH"
        );
        assert!(matches!(found.require(), Err(Error::Helper { .. })));

        home.write("b", r#"{"auths": {"r.io": {"identitytoken": "b"}}}"#);
        let found = home.find("r.io", "app").unwrap();
        assert!(found.trouble.is_some() && found.require().is_ok());
        assert!(Found::new(Login::Anonymous, "none").require().is_ok());
    }

    #[test]
    fn broken_files_are_errors_that_name_them() {
        let home = Home::new();
        home.write("a", "{");
        let said = home.find("r.io", "app").unwrap_err().to_string();
        assert!(
            said.contains(&home.path("a").display().to_string()),
            "{said}"
        );
    }

    #[test]
    fn unreadable_files_are_troubles_and_the_next_one_s_turn() {
        let home = Home::new();
        fs::create_dir(home.path("a")).unwrap();
        let found = home.find("r.io", "app").unwrap();
        assert_eq!(found.login, Login::Anonymous);
        let said = found.trouble.as_ref().unwrap().to_string();
        let path = home.path("a").display().to_string();
        assert!(said.contains(&path) && said.contains("directory"), "{said}");
        assert!(matches!(found.require(), Err(Error::Io { .. })));

        home.write("b", r#"{"auths": {"r.io": {"identitytoken": "b"}}}"#);
        assert_eq!(home.told("r.io", "app"), r#"b from b, key "r.io""#);
        let listed = Files::new([home.path("a"), home.path("b")]).list().unwrap();
        assert_eq!((listed.logins.len(), listed.troubles.len()), (1, 1));
    }

    #[test]
    fn text_is_asked_before_files() {
        let home = Home::new();
        home.write(
            "a",
            r#"{"auths": {"r.io": {"identitytoken": "a"}, "x.io": {"identitytoken": "x"}}}"#,
        );
        let text = r#"{"auths": {"r.io": {"identitytoken": "hunter2"}}}"#;
        let files = Files::new([home.path("a")]);
        let files = files.with_text("THE_VARIABLE", &text.into()).unwrap();
        let source = |host: &str| files.find(&host.parse().unwrap(), None).unwrap().source;
        assert_eq!(source("r.io"), r#"THE_VARIABLE, key "r.io""#);
        assert!(source("x.io").ends_with(r#"a, key "x.io""#));
        assert_eq!(files.list().unwrap().logins.len(), 3);
        assert!(!format!("{files:?}").contains("hunter2"));
        let bad = Files::new(["a"]).with_text("THE_VARIABLE", &"{hunter2".into());
        let said = bad.unwrap_err().to_string();
        assert!(
            said.starts_with("malformed THE_VARIABLE") && !said.contains("hunter2"),
            "{said}"
        );
    }

    #[test]
    fn only_readable_secrets_are_exposed() {
        let home = Home::new();
        home.write("a", r#"{"auths": {"r.io": {"identitytoken": "a"}}}"#);
        home.write("b", r#"{"credsStore": "x"}"#);
        let files = Files::new([home.path("a"), home.path("b"), home.path("none")]);
        for (mode, exposed) in [(0o600, false), (0o640, true), (0o604, true), (0o400, false)] {
            for name in ["a", "b"] {
                let mode = fs::Permissions::from_mode(mode);
                fs::set_permissions(home.path(name), mode).unwrap();
            }
            assert_eq!(is_exposed(&home.path("a")), exposed, "{mode:o}");
            let expected = if exposed {
                vec![home.path("a")]
            } else {
                vec![]
            };
            assert_eq!(files.exposed(), expected, "{mode:o}");
        }
    }
}
