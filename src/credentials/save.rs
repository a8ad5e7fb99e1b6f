//! The writing side: what `login` and `logout` do to a credentials file and
//! the helper it names. Where the login lands is Docker's rule: with the host's
//! helper if there is one, else in the file, in the clear but for base64.

use std::fmt;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::config::{self, Config};
use super::edit;
use super::helper::{Helper, Helpers};
use super::key::{self, Place};
use super::list::How;
use crate::error::{Error, Result};
use crate::file::{self, Aside};
use crate::reference::Host;
use crate::secret::Secret;

/// The credentials file that logins are kept in.
///
/// Only the one entry changes, and no other byte; the file is replaced
/// in one step, so a reader never sees half of it, and two programs that log in
/// at once both succeed.
///
/// ```no_run
/// use dxf_registry::credentials::ConfigFile;
/// let file = ConfigFile::new("/home/me/.docker/config.json");
/// let saved = file.save(&"quay.io".parse()?, "me", &"secret".into())?;
/// println!("kept in {saved}");
/// assert!(file.erase(&"quay.io".parse()?)?);
/// # Ok::<(), dxf_registry::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct ConfigFile {
    path: PathBuf,
    helpers: Helpers,
}

/// Where a login was saved.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Saved {
    /// The credentials file.
    pub file: PathBuf,
    /// The key of the entry.
    pub key: String,
    /// [`How::Auth`]: readable by every user who can read the file.
    pub how: How,
}

impl fmt::Display for Saved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.how {
            How::Helper(name) => write!(f, "{name}, key {:?}", self.key),
            _ => write!(f, "{}, key {:?}", self.file.display(), self.key),
        }
    }
}

impl ConfigFile {
    /// The file at `path`, whether it exists or not.
    pub fn new(path: impl Into<PathBuf>) -> ConfigFile {
        ConfigFile {
            path: path.into(),
            helpers: Helpers::default(),
        }
    }

    /// Runs helpers as `helpers` says.
    pub fn with_helpers(self, helpers: Helpers) -> ConfigFile {
        ConfigFile { helpers, ..self }
    }

    /// Whether this can be a login: to be asked before it is tried, because a
    /// registry would only call it wrong.
    ///
    /// # Errors
    /// [`Error::Invalid`] that says what is missing.
    pub fn check(username: &str, password: &Secret) -> Result<()> {
        if username.is_empty() || username.contains([':', '\0']) {
            let why = "it must not be empty or contain a colon";
            return Err(Error::invalid("username", username, why));
        }
        if password.is_empty() {
            return Err(Error::invalid("password", "", "it must not be empty"));
        }
        Ok(())
    }

    /// Keeps a login for `host`, in place of the one there was.
    ///
    /// # Errors
    /// When the file can't be understood or written, or the helper fails.
    pub fn save(&self, host: &Host, username: &str, password: &Secret) -> Result<Saved> {
        ConfigFile::check(username, password)?;
        let key = key::of_host(host);
        let config = Config::read(&self.path)?;
        let how = match config.as_ref().and_then(|config| config.helper(host)) {
            Some(name) => {
                let helper = self.helpers.named(name);
                helper.store(key, username, password)?;
                // An empty entry, as Docker leaves it: the login lies elsewhere.
                self.change(|text| edit::set(text, key, &[]))?;
                How::Helper(helper.program().to_string())
            }
            None => {
                let auth = config::encode(username, password);
                self.change(|text| edit::set(text, key, &[("auth", &auth)]))?;
                How::Auth
            }
        };
        Ok(Saved {
            file: self.path.clone(),
            key: key.to_string(),
            how,
        })
    }

    /// Forgets the login for `host`, under all of the host's names and with
    /// its helper; entries for single paths stay. Says whether there was one.
    ///
    /// # Errors
    /// When the file can't be understood or written, or the helper fails; what
    /// the file contained is gone even then.
    pub fn erase(&self, host: &Host) -> Result<bool> {
        let Some(config) = Config::read(&self.path)? else {
            return Ok(false);
        };
        let doomed = |key: &str| Place::of_key(key).ends_with(host);
        let erased = self.change(|text| edit::remove(text, doomed))?;
        let forgotten = match config.helper(host) {
            Some(name) => forget(&self.helpers.named(name), &config, host)?,
            None => false,
        };
        Ok(erased || forgotten)
    }

    /// Puts what `edit` makes of the file's text in its place; whether it made
    /// anything of it.
    fn change(&self, edit: impl Fn(&str) -> Option<String>) -> Result<bool> {
        let name = self.path.display().to_string();
        let failed = |e| Error::io(format!("writing {name}"), e);
        // A `config.json` that is a link (dotfiles, secrets mounted by name)
        // stays one.
        let path = file::follow(&self.path).map_err(failed)?;
        let folder = file::parent(&path);
        file::make_folder(folder, file::PRIVATE).map_err(failed)?;
        // The folder itself is locked, since the file is replaced and a lock
        // file would remain. Where that can't be done replacing is still
        // atomic.
        let _lock = file::lock_folder(folder);
        let text = config::read_text(&path)?.unwrap_or_default();
        Config::parse(&self.path, &text)?;
        match edit(&text) {
            None => Ok(false),
            Some(new) if new == text => Ok(true),
            Some(new) if new.len() as u64 > config::LIMIT => {
                Err(Error::malformed(name, "it would grow too large to be read"))
            }
            Some(new) => replace(&path, &new).map_err(failed).map(|()| true),
        }
    }
}

/// Makes `helper` forget `host` under every name it lists; under those the
/// file knows where it lists none.
fn forget(helper: &Helper<'_>, config: &Config, host: &Host) -> Result<bool> {
    let listed = helper.list();
    let mut known = false;
    if let Ok(logins) = &listed {
        for server in logins
            .keys()
            .filter(|key| Place::of_key(key).ends_with(host))
        {
            known |= helper.erase(server)?;
        }
    }
    if !known {
        for server in config.names(host) {
            match (helper.erase(server), &listed) {
                (Ok(erased), Err(_)) => known |= erased,
                (Err(failure), Err(_)) => return Err(failure.into()),
                // It said that there is nothing, so neither answer counts:
                // some helpers fail then, and some say they have erased it.
                (_, Ok(_)) => {}
            }
        }
    }
    Ok(known)
}

/// Puts `text` at `path` in one step, readable by its owner alone from the
/// first byte on.
fn replace(path: &Path, text: &str) -> io::Result<()> {
    let mut aside = Aside::private(path)?;
    aside.file_mut().write_all(text.as_bytes())?;
    aside.commit()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::credentials::testing::Keychain;
    use crate::credentials::{Files, Login, Provider};
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};
    use tempfile::TempDir;

    const HUB: &str = "https://index.docker.io/v1/";

    struct Home(TempDir);

    impl Home {
        fn new() -> Home {
            Home(tempfile::tempdir().unwrap())
        }

        fn with(text: &str) -> Home {
            let home = Home::new();
            fs::write(home.path(), text).unwrap();
            home
        }

        fn path(&self) -> PathBuf {
            self.0.path().join("config.json")
        }

        fn file(&self) -> ConfigFile {
            ConfigFile::new(self.path())
        }

        fn text(&self) -> String {
            fs::read_to_string(self.path()).unwrap()
        }

        fn mode(&self) -> u32 {
            fs::metadata(self.path()).unwrap().permissions().mode() & 0o7777
        }

        fn names(&self) -> Vec<String> {
            let entries = fs::read_dir(self.0.path()).unwrap();
            let names = entries.map(|e| e.unwrap().file_name().into_string().unwrap());
            names.collect()
        }
    }

    fn host(text: &str) -> Host {
        text.parse().unwrap()
    }

    fn login(username: &str, password: &str) -> Login {
        Login::Password {
            username: username.into(),
            password: password.into(),
        }
    }

    #[test]
    fn a_first_login_makes_docker_s_file() {
        let home = Home::new();
        let path = home.0.path().join("new/.docker/config.json");
        let file = ConfigFile::new(&path);
        let saved = file.save(&host("r.io:5000"), "u", &"p:q".into()).unwrap();
        assert_eq!(
            saved.to_string(),
            format!("{}, key \"r.io:5000\"", path.display())
        );
        assert_eq!(
            fs::read_to_string(&path).unwrap(),
            "{\n\t\"auths\": {\n\t\t\"r.io:5000\": {\n\t\t\t\"auth\": \"dTpwOnE=\"\n\t\t}\n\t}\n}"
        );
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&path), 0o600);
        assert_eq!(mode(path.parent().unwrap()), 0o700);
        let found = Files::new([&path]).find(&host("r.io:5000"), None).unwrap();
        assert_eq!(found.login, login("u", "p:q"));
    }

    #[test]
    fn hub_logins_are_found_and_erased_under_all_names() {
        let home = Home::with(
            r#"{"auths":{"docker.io":{"auth":"b2xkOm9sZA=="},"docker.io/me":{"auth":"bWU6bWU="},"https://index.docker.io/v1/refresh-token":{"auth":"dDp0"}}}"#,
        );
        let saved = home
            .file()
            .save(&host("registry-1.docker.io"), "u", &"p".into())
            .unwrap();
        assert_eq!(saved.key, HUB);
        let find = |repo: &str| {
            let repo = repo.parse().unwrap();
            Files::new([home.path()])
                .find(&host("index.docker.io"), Some(&repo))
                .unwrap()
                .login
        };
        assert_eq!(
            (find("you/x"), find("me/x")),
            (login("u", "p"), login("me", "me"))
        );
        assert!(home.file().erase(&host("docker.io")).unwrap());
        assert_eq!(
            home.text(),
            r#"{"auths":{"docker.io/me":{"auth":"bWU6bWU="}}}"#
        );
        assert!(!home.file().erase(&host("docker.io")).unwrap());
    }

    #[test]
    fn other_settings_stay_to_the_byte() {
        let before = "{\n  \"HttpHeaders\" : {\"X\": \"\\u00e9\"},\n  \"auths\": {\n    \"q.io\": { }\n  },\n  \"n\": 1.50\n}\n";
        let home = Home::with(before);
        home.file().save(&host("r.io"), "u", &"p".into()).unwrap();
        let entry = ",\n    \"r.io\": {\n      \"auth\": \"dTpw\"\n    }";
        assert_eq!(home.text(), before.replace("{ }", &format!("{{ }}{entry}")));
        assert!(home.file().erase(&host("r.io")).unwrap());
        assert_eq!(home.text(), before);
        assert_eq!(home.names(), ["config.json"]);
    }

    #[test]
    fn modes_only_get_stricter() {
        for (before, after) in [
            (0o644, 0o600),
            (0o600, 0o600),
            (0o400, 0o400),
            (0o660, 0o600),
        ] {
            let home = Home::with("{}");
            fs::set_permissions(home.path(), fs::Permissions::from_mode(before)).unwrap();
            home.file().save(&host("r.io"), "u", &"p".into()).unwrap();
            assert_eq!(home.mode(), after, "{before:o}");
        }
    }

    #[test]
    fn links_are_written_through() {
        let home = Home::new();
        let (real, link) = (home.0.path().join("real/c.json"), home.path());
        symlink("middle", &link).unwrap();
        symlink("real/c.json", home.0.path().join("middle")).unwrap();
        for username in ["a", "b"] {
            home.file()
                .save(&host("r.io"), username, &"p".into())
                .unwrap();
            assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
            assert!(fs::symlink_metadata(&real).unwrap().is_file());
        }
        assert_eq!(fs::read_to_string(&real).unwrap(), home.text());
        let round = home.0.path().join("round");
        symlink("round", &round).unwrap();
        let failed = ConfigFile::new(&round).save(&host("r.io"), "a", &"p".into());
        assert!(matches!(failed, Err(Error::Io { .. })), "{failed:?}");
    }

    #[test]
    fn what_is_not_understood_is_not_touched() {
        for text in ["{", "[]", r#"{"auths": [1]}"#, "\u{0}"] {
            let home = Home::with(text);
            assert!(home.file().save(&host("r.io"), "u", &"p".into()).is_err());
            assert!(home.file().erase(&host("r.io")).is_err());
            assert_eq!(home.text(), text);
        }
        let home = Home::new();
        assert!(!home.file().erase(&host("r.io")).unwrap());
        for (username, password) in [("", "p"), ("a:b", "p"), ("a", "")] {
            let failed = home.file().save(&host("r.io"), username, &password.into());
            assert!(matches!(failed, Err(Error::Invalid { .. })));
        }
        assert!(home.names().is_empty());
    }

    #[test]
    fn helpers_keep_what_is_theirs() {
        let keychain = Keychain::new("keeper");
        let home = Home::with(
            r#"{"auths":{"r.io":{"auth":"b2xkOm9sZA=="}},"credsStore":"keeper","credHelpers":{"free.io":""}}"#,
        );
        let file = home.file().with_helpers(keychain.helpers());
        let saved = file.save(&host("r.io"), "u", &"hunter2".into()).unwrap();
        assert_eq!(saved.to_string(), "docker-credential-keeper, key \"r.io\"");
        assert!(
            home.text()
                .starts_with(r#"{"auths":{"r.io":{}},"credsStore""#),
            "{}",
            home.text()
        );
        let files = Files::new([home.path()]).with_helpers(keychain.helpers());
        assert_eq!(
            files.find(&host("r.io"), None).unwrap().login,
            login("u", "hunter2")
        );

        assert_eq!(
            file.save(&host("free.io"), "u", &"p".into()).unwrap().how,
            How::Auth
        );
        // Only the helper has it, under another of Docker Hub's names.
        let helpers = keychain.helpers();
        let keeper = helpers.named("keeper");
        keeper.store("index.docker.io", "u", &"p".into()).unwrap();
        for name in ["r.io", "free.io", "docker.io"] {
            assert!(file.erase(&host(name)).unwrap(), "{name}");
            assert!(!file.erase(&host(name)).unwrap(), "{name}");
        }
        assert!(keeper.list().unwrap().is_empty());
    }

    #[test]
    fn a_failing_helper_fails_and_logs_out_of_the_file() {
        let keychain = Keychain::empty();
        keychain.script("x", "echo locked; exit 1");
        let home = Home::with(r#"{"auths":{"r.io":{"auth":"dTpw"}},"credsStore":"x"}"#);
        let file = home.file().with_helpers(keychain.helpers());
        let before = home.text();
        let failed = file.save(&host("r.io"), "u", &"p".into()).unwrap_err();
        assert_eq!(
            failed.to_string(),
            "credential helper docker-credential-x: locked (exit status: 1)"
        );
        assert_eq!(home.text(), before);
        assert!(matches!(
            file.erase(&host("r.io")),
            Err(Error::Helper { .. })
        ));
        assert_eq!(home.text(), r#"{"auths":{},"credsStore":"x"}"#);
    }

    #[test]
    fn logins_at_once_lose_nothing() {
        let home = Home::new();
        std::thread::scope(|scope| {
            for thread in 0..8 {
                let file = home.file();
                scope.spawn(move || {
                    for n in 0..10 {
                        let name = host(&format!("h{thread}-{n}.io"));
                        file.save(&name, "u", &"p".into()).unwrap();
                        if n % 2 == 1 {
                            assert!(file.erase(&name).unwrap());
                        }
                    }
                });
            }
        });
        let config = Config::read(&home.path()).unwrap().unwrap();
        assert_eq!(config.entries().count(), 40);
        assert_eq!(home.names(), ["config.json"]);
    }
}
