//! One credentials file: Docker's `config.json`, or the `auth.json` of podman,
//! skopeo and buildah (containers-auth.json(5)), which is the same format with
//! path-scoped keys. Knows nothing of helpers but their names.

use std::fmt;
use std::fs::File;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde_json::{Map, Value};

use super::Login;
use super::key::{self, Place};
use crate::bounds;
use crate::error::{Error, Result};
use crate::reference::Host;
use crate::secret::Secret;
use crate::stream::read_bounded;

/// The largest file read, bytes.
pub(super) const LIMIT: u64 = bounds::LOGINS;

/// Several tools leave the padding away; Docker itself writes it.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// What Docker calls a user who is really an identity token.
const TOKEN_USER: &str = "<token>";
/// What Azure's registry calls the same (`az acr login`).
const AZURE_TOKEN_USER: &str = "00000000-0000-0000-0000-000000000000";

/// A credentials file, understood.
#[derive(Clone)]
pub(crate) struct Config {
    path: PathBuf,
    root: Map<String, Value>,
}

/// An entry of `auths` that contains a login.
pub(crate) struct Entry<'a> {
    /// The key, unchanged.
    pub key: &'a str,
    /// How much of a path the key names; 0 for a whole registry.
    pub fit: usize,
    value: &'a Value,
}

impl Config {
    /// Reads the file at `path`; `None` when there is none.
    ///
    /// # Errors
    /// When it can't be read or understood, naming it.
    pub fn read(path: &Path) -> Result<Option<Config>> {
        match read_text(path)? {
            Some(text) => Config::parse(path, &text).map(Some),
            None => Ok(None),
        }
    }

    /// Understands `text`, the contents of `path`. An empty file is an empty
    /// configuration, as for Docker.
    pub fn parse(path: &Path, text: &str) -> Result<Config> {
        let bad = |why: &str| Error::malformed(path.display().to_string(), why);
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let root = match text.trim() {
            "" => Map::new(),
            text => match serde_json::from_str(text) {
                Ok(Value::Object(root)) => root,
                Ok(_) => return Err(bad("it is not a JSON object")),
                // Line and column only: a parser's words may quote a secret.
                Err(e) => {
                    let why = format!("invalid JSON at line {}, column {}", e.line(), e.column());
                    return Err(bad(&why));
                }
            },
        };
        for name in ["auths", "credHelpers"] {
            if !matches!(
                root.get(name),
                None | Some(Value::Null) | Some(Value::Object(_))
            ) {
                return Err(bad(&format!("its \"{name}\" is not an object")));
            }
        }
        Ok(Config {
            path: path.to_path_buf(),
            root,
        })
    }

    /// Where the file is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn members(&self, name: &str) -> impl Iterator<Item = (&str, &Value)> {
        let members = self.root.get(name).and_then(Value::as_object);
        members.into_iter().flatten().map(|(k, v)| (k.as_str(), v))
    }

    /// The entries of `auths` that hold a login.
    pub fn entries(&self) -> impl Iterator<Item = Entry<'_>> {
        self.members("auths")
            .filter(|(_, value)| !is_marker(value))
            .map(|(key, value)| Entry { key, fit: 0, value })
    }

    /// The entry that fits `repo` at `host` most closely. Of several for the
    /// same place the key that Docker would write wins, then the first.
    pub fn entry(&self, host: &Host, repo: Option<&str>) -> Option<Entry<'_>> {
        let mut best: Option<(Entry<'_>, (usize, bool))> = None;
        for entry in self.entries() {
            let Some(fit) = Place::of_key(entry.key).fit(host, repo) else {
                continue;
            };
            let rank = (fit, entry.key == key::of_host(host));
            if best.as_ref().is_none_or(|(_, least)| rank > *least) {
                best = Some((Entry { fit, ..entry }, rank));
            }
        }
        best.map(|(entry, _)| entry)
    }

    /// The helper for `host`: its own in `credHelpers`, else `credsStore`. An
    /// empty name in `credHelpers` exempts the host from `credsStore`.
    pub fn helper(&self, host: &Host) -> Option<&str> {
        let own = self
            .members("credHelpers")
            .filter(|(key, _)| Place::of_key(key).is(host));
        // The key as Docker writes it before all other names of the host.
        let own = own.max_by_key(|(key, _)| *key == key::of_host(host));
        let name = match own {
            Some((_, name)) => name.as_str(),
            None => self.store(),
        };
        name.filter(|name| !name.is_empty())
    }

    /// The helper that keeps the logins of all other hosts.
    pub fn store(&self) -> Option<&str> {
        let name = self.root.get("credsStore").and_then(Value::as_str);
        name.filter(|name| !name.is_empty())
    }

    /// Hosts with a helper of their own, and its name.
    pub fn helpers(&self) -> impl Iterator<Item = (&str, &str)> {
        self.members("credHelpers")
            .filter_map(|(key, name)| Some((key, name.as_str()?)))
            .filter(|(_, name)| !name.is_empty())
    }

    /// The names under which a helper may know `host`: Docker's, then those
    /// the file mentions. (An empty entry of `auths` says that the login lies
    /// with the helper, under that very key.)
    pub fn names<'a>(&'a self, host: &'a Host) -> Vec<&'a str> {
        let mut names = vec![key::of_host(host)];
        let markers = self.members("auths").filter(|(_, value)| is_marker(value));
        for (key, _) in self.members("credHelpers").chain(markers) {
            if Place::of_key(key).is(host) && !names.contains(&key) {
                names.push(key);
            }
        }
        names
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Config({:?}, ***)", self.path)
    }
}

impl Entry<'_> {
    /// The login, in whichever of its forms it is kept.
    ///
    /// # Errors
    /// What is wrong with the entry of `path`.
    pub fn login(&self, path: &Path) -> Result<Login> {
        self.read().map_err(|why| {
            let what = format!("{}, key {:?}", path.display(), self.key);
            Error::malformed(what, why)
        })
    }

    /// The user's name, where the entry tells.
    pub fn username(&self) -> Option<String> {
        match self.pair() {
            Ok(Some((username, _))) if !is_token_user(&username) => Some(username),
            _ => text(self.value, "username").map(str::to_string),
        }
    }

    /// Whether the entry is a token of its own, not a name and password.
    pub fn is_token(&self) -> bool {
        matches!(self.read(), Ok(Login::Refresh(_) | Login::Bearer(_)))
    }

    /// In Docker's order: tokens before `auth`, `auth` before `username`.
    fn read(&self) -> Result<Login, &'static str> {
        if let Some(token) = text(self.value, "registrytoken") {
            return Ok(Login::Bearer(token.into()));
        }
        if let Some(token) = text(self.value, "identitytoken") {
            return Ok(Login::Refresh(token.into()));
        }
        let (username, password) = self.pair()?.ok_or("it contains no login")?;
        login(username, password)
    }

    fn pair(&self) -> Result<Option<(String, Secret)>, &'static str> {
        if !self.value.is_object() {
            return Err("it is not an object");
        }
        if let Some(auth) = text(self.value, "auth") {
            return decode(auth).map(Some);
        }
        let password = text(self.value, "password").map(Secret::from);
        match (text(self.value, "username"), password) {
            (Some(username), Some(password)) => Ok(Some((username.to_string(), password))),
            (None, Some(_)) => Err("it has a password and no username"),
            _ => Ok(None),
        }
    }
}

/// A name and password as a login; Docker and Azure mark identity tokens by
/// the name.
pub(super) fn login(username: String, password: Secret) -> Result<Login, &'static str> {
    if !is_token_user(&username) {
        return Ok(Login::Password { username, password });
    }
    if password.is_empty() {
        return Err("its identity token is empty");
    }
    Ok(Login::Refresh(password))
}

fn is_token_user(username: &str) -> bool {
    username == TOKEN_USER || username == AZURE_TOKEN_USER
}

/// What `auth` holds for a name and password.
pub(super) fn encode(username: &str, password: &Secret) -> String {
    BASE64.encode(format!("{username}:{}", password.reveal()))
}

fn decode(auth: &str) -> Result<(String, Secret), &'static str> {
    // Go's decoder passes over line breaks, which `base64` adds after 76 letters.
    let letters: String = auth.trim().split(['\r', '\n']).collect();
    let bytes = BASE64
        .decode(letters)
        .map_err(|_| "its \"auth\" is not base64")?;
    let pair = String::from_utf8(bytes).map_err(|_| "its \"auth\" is not text")?;
    let (username, password) = pair
        .split_once(':')
        .ok_or("its \"auth\" has no colon between name and password")?;
    if username.is_empty() {
        return Err("its \"auth\" has no username");
    }
    // Old Docker versions padded with NUL, and Docker still takes it away.
    Ok((username.to_string(), password.trim_matches('\0').into()))
}

/// A member that says something.
fn text<'a>(value: &'a Value, name: &str) -> Option<&'a str> {
    let text = value.get(name).and_then(Value::as_str);
    text.filter(|text| !text.is_empty())
}

/// Whether an entry only says that the login lies elsewhere.
fn is_marker(value: &Value) -> bool {
    let holds = |name| value.get(name).is_some_and(|v| *v != "" && !v.is_null());
    let empty = !["auth", "identitytoken", "registrytoken", "password"]
        .into_iter()
        .any(holds);
    value.is_null() || value.is_object() && empty
}

/// The text of the file at `path`; `None` when there is none.
pub(super) fn read_text(path: &Path) -> Result<Option<String>> {
    let name = path.display().to_string();
    let file = match File::open(path) {
        Ok(file) => file,
        // A file in place of a folder of the path was not made here either.
        Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        Err(e) => return Err(Error::io(name, e)),
    };
    let bytes = read_bounded(&name, file, LIMIT)?;
    match String::from_utf8(bytes) {
        Ok(text) => Ok(Some(text)),
        Err(_) => Err(Error::malformed(name, "it is not UTF-8")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn parse(text: &str) -> Result<Config> {
        Config::parse(Path::new("/c.json"), text)
    }

    fn host(text: &str) -> Host {
        text.parse().unwrap()
    }

    /// Key and login for `repo`, as text; secrets in the open.
    fn look(text: &str, at: &str, repo: &str) -> String {
        let config = parse(text).unwrap();
        let Some(entry) = config.entry(&host(at), Some(repo)) else {
            return "none".into();
        };
        let login = match entry.login(config.path()) {
            Ok(Login::Password { username, password }) => {
                format!("{username}:{}", password.reveal())
            }
            Ok(Login::Refresh(token)) => format!("refresh {}", token.reveal()),
            Ok(Login::Bearer(token)) => format!("bearer {}", token.reveal()),
            other => return format!("{other:?}"),
        };
        format!("{} {login}", entry.key)
    }

    fn auths(members: &str) -> String {
        format!(r#"{{"auths": {{{members}}}}}"#)
    }

    #[test]
    fn every_form_of_a_login() {
        let b64 = |text: &str| encode_text(text);
        let table = [
            (format!(r#"{{"auth": "{}"}}"#, b64("u:p:q")), "r u:p:q"),
            (format!(r#"{{"auth": "{}"}}"#, b64("u:")), "r u:"),
            (
                format!(r#"{{"auth": "{}"}}"#, b64("u:p").trim_end_matches('=')),
                "r u:p",
            ),
            (format!(r#"{{"auth": "{}\n"}}"#, b64("u:p\0\0")), "r u:p"),
            (
                format!(
                    r#"{{"auth": "{}"}}"#,
                    b64("user:pass").replacen("c", "c\\r\\n", 2)
                ),
                "r user:pass",
            ),
            (r#"{"username": "u", "password": "p"}"#.into(), "r u:p"),
            (
                format!(
                    r#"{{"auth": "{}", "username": "x", "password": "y"}}"#,
                    b64("u:p")
                ),
                "r u:p",
            ),
            (r#"{"identitytoken": "t"}"#.into(), "r refresh t"),
            (
                // What `az acr login` leaves.
                format!(
                    r#"{{"auth": "{}", "identitytoken": "t"}}"#,
                    b64("00000000-0000-0000-0000-000000000000:")
                ),
                "r refresh t",
            ),
            (
                format!(r#"{{"auth": "{}"}}"#, b64("<token>:t")),
                "r refresh t",
            ),
            (
                r#"{"username": "00000000-0000-0000-0000-000000000000", "password": "t"}"#.into(),
                "r refresh t",
            ),
            (
                r#"{"registrytoken": "b", "identitytoken": "t"}"#.into(),
                "r bearer b",
            ),
            ("{}".into(), "none"),
            (r#"{"auth": "", "email": "e"}"#.into(), "none"),
            ("null".into(), "none"),
        ];
        for (value, expected) in table {
            let text = auths(&format!(r#""r": {value}"#));
            assert_eq!(look(&text, "r", "a"), expected, "{value}");
        }
    }

    fn encode_text(text: &str) -> String {
        let (username, password) = text.split_once(':').unwrap();
        encode(username, &password.into())
    }

    #[test]
    fn wrong_entries_name_themselves_and_no_secret() {
        let table = [
            (r#"{"auth": "hunter2!"}"#.to_string(), "not base64"),
            (
                format!(r#"{{"auth": "{}"}}"#, BASE64.encode("hunter2")),
                "no colon",
            ),
            (
                format!(r#"{{"auth": "{}"}}"#, BASE64.encode(":hunter2")),
                "no username",
            ),
            (
                format!(r#"{{"auth": "{}"}}"#, BASE64.encode(b"a:\xff")),
                "not text",
            ),
            (
                format!(r#"{{"auth": "{}"}}"#, encode_text("<token>:")),
                "token is empty",
            ),
            (r#"{"password": "hunter2"}"#.into(), "no username"),
            (r#"{"auth": {"a": "hunter2"}}"#.into(), "no login"),
            (r#""hunter2""#.into(), "not an object"),
        ];
        for (value, expected) in table {
            let said = look(&auths(&format!(r#""r": {value}"#)), "r", "a");
            assert!(said.contains(expected), "{value}: {said}");
            assert!(said.contains("/c.json, key \\\"r\\\""), "{said}");
            assert!(!said.contains("hunter2"), "{said}");
        }
    }

    #[test]
    fn the_longest_path_wins() {
        let text = auths(
            r#""r.io/team": {"identitytoken": "team"}, "r.io": {"identitytoken": "all"},
               "https://r.io/team/app/": {"identitytoken": "app"}, "r.io/team/app/x": {}"#,
        );
        for (repo, token) in [
            ("team/app", "app"),
            ("team/app/x", "app"),
            ("team/app2", "team"),
            ("team", "team"),
            ("teams/app", "all"),
            ("x", "all"),
        ] {
            assert!(
                look(&text, "r.io", repo).ends_with(&format!(" refresh {token}")),
                "{repo}"
            );
        }
        assert_eq!(look(&text, "r.io:5000", "team/app"), "none");
        let config = parse(&text).unwrap();
        assert_eq!(config.entry(&host("r.io"), None).unwrap().key, "r.io");
    }

    #[test]
    fn of_equal_keys_docker_s_own_wins() {
        let text = auths(
            r#""docker.io": {"identitytoken": "a"}, "https://index.docker.io/v1/": {"identitytoken": "b"},
               "registry-1.docker.io": {"identitytoken": "c"}"#,
        );
        assert!(look(&text, "registry-1.docker.io", "library/x").ends_with("refresh b"));
        let text = auths(
            r#""http://r.io": {"identitytoken": "a"}, "https://r.io": {"identitytoken": "b"}"#,
        );
        assert!(look(&text, "r.io", "x").ends_with("refresh a"));
    }

    #[test]
    fn helpers_by_host() {
        let config = parse(
            r#"{"credsStore": "all", "credHelpers": {"docker.io": "hub", "r.io": "own", "none.io": ""},
                "auths": {"https://index.docker.io/v1/": {}, "https://x.io/v2/": {}}}"#,
        )
        .unwrap();
        for (at, helper) in [
            ("registry-1.docker.io", Some("hub")),
            ("r.io", Some("own")),
            ("r.io:5000", Some("all")),
            ("none.io", None),
        ] {
            assert_eq!(config.helper(&host(at)), helper, "{at}");
        }
        let names = |at: &str| config.names(&host(at)).join(" ");
        assert_eq!(names("docker.io"), "https://index.docker.io/v1/ docker.io");
        assert_eq!(names("x.io"), "x.io https://x.io/v2/");
        assert_eq!(
            parse(r#"{"credsStore": ""}"#).unwrap().helper(&host("a.b")),
            None
        );
    }

    #[test]
    fn files_that_are_no_configuration() {
        for empty in ["", " \n", "{}", "\u{feff}{}", r#"{"auths": null}"#] {
            assert!(parse(empty).unwrap().entry(&host("a.b"), None).is_none());
        }
        for bad in [
            "[]",
            "{",
            r#"{"auths": []}"#,
            r#"{"credHelpers": "hunter2"}"#,
            r#"{"a": hunter2}"#,
        ] {
            let said = parse(bad).err().unwrap().to_string();
            assert!(said.starts_with("malformed /c.json: "), "{said}");
            assert!(!said.contains("hunter2"), "{said}");
        }
    }

    #[test]
    fn reading_is_bounded_and_names_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.json");
        assert!(Config::read(&path).unwrap().is_none());
        std::fs::write(&path, vec![b' '; LIMIT as usize + 1]).unwrap();
        assert!(
            Config::read(&path)
                .err()
                .unwrap()
                .to_string()
                .contains("config.json: it is larger")
        );
        std::fs::write(&path, b"{\"\xff\": 1}").unwrap();
        assert!(
            Config::read(&path)
                .err()
                .unwrap()
                .to_string()
                .contains("not UTF-8")
        );
        assert!(Config::read(&path.join("below")).unwrap().is_none());
        assert!(matches!(Config::read(dir.path()), Err(Error::Io { .. })));
    }

    fn json() -> impl Strategy<Value = Value> {
        let word = "auths|credHelpers|credsStore|auth|identitytoken|username|password|r.io|docker.io/a|dTpw|\\PC{0,6}";
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<i32>().prop_map(Value::from),
            word.prop_map(Value::from)
        ];
        leaf.prop_recursive(4, 40, 6, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::hash_map(word, inner, 0..6)
                    .prop_map(|m| Value::Object(m.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn hostile_files_never_panic(value in json(), noise in "\\PC{0,40}") {
            for text in [value.to_string(), json!({"auths": value}).to_string(), noise] {
                let Ok(config) = parse(&text) else { continue };
                for entry in config.entries() {
                    let _ = (entry.username(), entry.is_token(), entry.login(config.path()).is_ok());
                }
                for at in ["r.io", "docker.io"] {
                    let at = host(at);
                    let _ = (config.entry(&at, Some("a/b")).is_some(), config.helper(&at), config.names(&at));
                }
                let _ = (config.store(), config.helpers().count());
            }
        }
    }
}
