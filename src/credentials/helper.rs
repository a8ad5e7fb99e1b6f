//! Docker's credential helpers: programs that keep logins in a keychain. The
//! protocol is docker-credential-helpers' `get`, `store`, `erase`, `list`: a
//! server's name or JSON on stdin, JSON or the reason for failing on stdout.
//! Knows nothing of files.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::io::{self, ErrorKind};
use std::process::Command;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::Login;
use super::config;
use super::process::{self, Output};
use crate::error::{Error, Result};
use crate::secret::Secret;

/// How long a helper may take; some ask a person to unlock the keychain.
const TIMEOUT: Duration = Duration::from_secs(30);

/// How credential helpers are run.
#[derive(Debug, Clone)]
pub struct Helpers {
    /// Folders to look for them in, as in `PATH`; `None`: where this process
    /// would look.
    pub path: Option<OsString>,
    /// How long one may take before it is killed.
    pub timeout: Duration,
    /// Environment variables of this process that a helper does not inherit,
    /// such as those with secrets; none.
    pub hidden: Vec<String>,
}

impl Default for Helpers {
    fn default() -> Helpers {
        Helpers {
            path: None,
            timeout: TIMEOUT,
            hidden: Vec::new(),
        }
    }
}

/// A helper that is missing, fails or talks nonsense.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct HelperFailure {
    /// The program, such as `docker-credential-pass`.
    pub name: String,
    /// What happened, or the helper's own words.
    pub why: String,
}

impl fmt::Display for HelperFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "credential helper {}: {}", self.name, self.why)
    }
}

impl From<HelperFailure> for Error {
    fn from(HelperFailure { name, why }: HelperFailure) -> Error {
        Error::Helper { name, why }
    }
}

/// One helper.
pub(super) struct Helper<'a> {
    program: String,
    settings: &'a Helpers,
}

impl Helpers {
    /// The helper that a credentials file calls `name`.
    pub(super) fn named(&self, name: &str) -> Helper<'_> {
        Helper {
            program: format!("docker-credential-{name}"),
            settings: self,
        }
    }
}

impl Helper<'_> {
    /// The program's name.
    pub fn program(&self) -> &str {
        &self.program
    }

    /// The login for `server`, if the helper knows one.
    pub fn get(&self, server: &str) -> Result<Option<Login>, HelperFailure> {
        let output = self.run("get", server.to_string())?;
        if self.says_unknown(&output)? {
            return Ok(None);
        }
        let mut answer = self.object(&output.stdout)?;
        let username = member(&mut answer, "Username");
        let secret = member(&mut answer, "Secret");
        // Docker Desktop's helper answers so for what it does not know.
        if username.is_empty() && secret.is_empty() {
            return Ok(None);
        }
        config::login(username, secret.into())
            .map(Some)
            .map_err(|why| self.failure(why))
    }

    /// Keeps a login for `server`.
    pub fn store(
        &self,
        server: &str,
        username: &str,
        secret: &Secret,
    ) -> Result<(), HelperFailure> {
        let login = json!({
            "ServerURL": server,
            "Username": username,
            "Secret": secret.reveal(),
        });
        let output = self.run("store", login.to_string())?;
        if output.status.success() {
            Ok(())
        } else {
            let HelperFailure { name, why } = self.complaint(&output);
            // Whatever a helper does, what it was given is not shown.
            let why = match secret.reveal() {
                "" => why,
                secret => why.replace(secret, "***"),
            };
            Err(HelperFailure { name, why })
        }
    }

    /// Forgets the login for `server`; whether there was one, as far as the
    /// helper tells.
    pub fn erase(&self, server: &str) -> Result<bool, HelperFailure> {
        let output = self.run("erase", server.to_string())?;
        self.says_unknown(&output).map(|unknown| !unknown)
    }

    /// The servers it knows a login for, and the users' names.
    pub fn list(&self) -> Result<BTreeMap<String, String>, HelperFailure> {
        let output = self.run("list", String::new())?;
        if self.says_unknown(&output)? || output.stdout.trim_ascii().is_empty() {
            return Ok(BTreeMap::new());
        }
        let logins = self.object(&output.stdout)?;
        let logins = logins.into_iter().map(|(server, name)| match name {
            Value::String(name) => (server, name),
            _ => (server, String::new()),
        });
        Ok(logins.collect())
    }

    fn run(&self, verb: &str, input: String) -> Result<Output, HelperFailure> {
        self.check_name()?;
        let input = input.into_bytes();
        let output = match self.start(&self.program, verb, input.clone()) {
            // Under WSL the helpers are Windows programs (docker/for-win#14039).
            Err(e) if e.kind() == ErrorKind::NotFound => {
                self.start(&format!("{}.exe", self.program), verb, input)
            }
            other => other,
        };
        output.map_err(|e| {
            self.failure(match e.kind() {
                ErrorKind::NotFound => "it is not installed, or not on the PATH".to_string(),
                ErrorKind::TimedOut => format!(
                    "it did not answer {verb:?} within {} s",
                    self.settings.timeout.as_secs_f32()
                ),
                _ => e.to_string(),
            })
        })
    }

    fn start(&self, program: &str, verb: &str, input: Vec<u8>) -> io::Result<Output> {
        let mut command = self.command(program, verb);
        process::run(&mut command, input, self.settings.timeout)
    }

    fn command(&self, program: &str, verb: &str) -> Command {
        let mut command = Command::new(program);
        command.arg(verb);
        for name in &self.settings.hidden {
            command.env_remove(name);
        }
        if let Some(path) = &self.settings.path {
            // The program itself is looked for there, too (std::process).
            command.env("PATH", path);
        }
        command
    }

    /// A name is a part of a file name: one with a slash would run any file.
    fn check_name(&self) -> Result<(), HelperFailure> {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"._-+".contains(&b);
        if self.program.bytes().all(plain) {
            return Ok(());
        }
        Err(HelperFailure {
            name: format!("{:?}", self.program),
            why: "its name may contain only letters, digits and . _ - +".to_string(),
        })
    }

    /// Whether a failed helper merely knows no login. The message is part of
    /// the protocol, and its only sign.
    fn says_unknown(&self, output: &Output) -> Result<bool, HelperFailure> {
        if output.status.success() {
            return Ok(false);
        }
        let said = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes));
        let unknown = |text: &str| text.to_lowercase().contains("credentials not found");
        if said.iter().any(|text| unknown(text)) {
            Ok(true)
        } else {
            Err(self.complaint(output))
        }
    }

    /// The parser's own words are not repeated: they quote what they dislike.
    /// Only the first value counts: some helpers print a notice after it, and
    /// Docker's decoder never looks there.
    fn object(&self, bytes: &[u8]) -> Result<Map<String, Value>, HelperFailure> {
        let mut values = serde_json::Deserializer::from_slice(bytes).into_iter();
        match values.next() {
            Some(Ok(Value::Object(members))) => Ok(members),
            _ => Err(self.failure("its answer is not the JSON of the protocol")),
        }
    }

    fn complaint(&self, output: &Output) -> HelperFailure {
        let words = [&output.stdout, &output.stderr].map(|bytes| words(bytes));
        match words.into_iter().flatten().next() {
            Some(words) => self.failure(format!("{words} ({})", output.status)),
            None => self.failure(format!("it failed ({})", output.status)),
        }
    }

    fn failure(&self, why: impl Into<String>) -> HelperFailure {
        HelperFailure {
            name: self.program.clone(),
            why: why.into(),
        }
    }
}

/// A member whatever its case, as Go's decoder takes it.
fn member(answer: &mut Map<String, Value>, name: &str) -> String {
    let value = answer
        .iter_mut()
        .find(|(key, _)| key.eq_ignore_ascii_case(name))
        .map(|(_, value)| value.take());
    match value {
        Some(Value::String(text)) => text,
        _ => String::new(),
    }
}

/// The first line of what a helper said, fit for a terminal. Nothing of an
/// answer in JSON: a helper may fail after it has shown the secret.
fn words(bytes: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(bytes);
    let line = text.lines().map(str::trim).find(|line| !line.is_empty())?;
    if text.contains('{') {
        return None;
    }
    let hidden =
        |c: char| c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let shown = line.chars().take(200);
    Some(shown.map(|c| if hidden(c) { '?' } else { c }).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::credentials::testing::Keychain;
    use std::time::Instant;

    fn get(script: &str) -> Result<Option<Login>, HelperFailure> {
        let keychain = Keychain::empty();
        keychain.script("x", script);
        keychain.helpers().named("x").get("r.io")
    }

    #[test]
    fn keeps_gives_lists_and_forgets() {
        let keychain = Keychain::new("x");
        let helpers = keychain.helpers();
        let x = helpers.named("x");
        assert_eq!(x.get("r.io").unwrap(), None);
        assert!(x.list().unwrap().is_empty());
        x.store("r.io", "me", &"p:\"1".into()).unwrap();
        x.store("https://index.docker.io/v1/", "<token>", &"t".into())
            .unwrap();
        assert_eq!(
            x.get("r.io").unwrap(),
            Some(Login::Password {
                username: "me".into(),
                password: "p:\"1".into()
            })
        );
        assert_eq!(
            x.get("https://index.docker.io/v1/").unwrap(),
            Some(Login::Refresh("t".into()))
        );
        let listed = x.list().unwrap();
        assert_eq!(listed.get("r.io").map(String::as_str), Some("me"));
        assert_eq!(listed.len(), 2);
        assert!(x.erase("r.io").unwrap());
        assert!(!x.erase("r.io").unwrap());
        assert_eq!(x.get("r.io").unwrap(), None);
    }

    #[test]
    fn not_found_is_an_answer() {
        for script in [
            "echo credentials not found in native keychain; exit 1",
            "echo 'Error: Credentials not found' >&2; exit 1",
            r#"echo '{"ServerURL":"","Username":"","Secret":""}'"#,
        ] {
            assert_eq!(get(script), Ok(None), "{script}");
        }
        let notice = r#"echo '{"Username":"u","Secret":"r.io"}'; echo 'A new version: {"#;
        let login = get(&format!("{notice}1}}'"));
        let expected = Login::Password {
            username: "u".into(),
            password: "r.io".into(),
        };
        assert_eq!(login, Ok(Some(expected)));
        let login = get(r#"read url; echo "{\"username\":\"u\",\"secret\":\"$url\"}""#);
        let expected = Login::Password {
            username: "u".into(),
            password: "r.io".into(),
        };
        assert_eq!(login, Ok(Some(expected)));
    }

    #[test]
    fn failures_name_the_helper_and_no_secret() {
        for (script, expected) in [
            (
                "echo 'the keychain is locked'; exit 3",
                "the keychain is locked (exit status: 3)",
            ),
            (
                "printf 'a\\033[2Jb\\nc' >&2; exit 1",
                "a?[2Jb (exit status: 1)",
            ),
            ("kill -9 $$", "it failed (signal: 9 (SIGKILL))"),
            (
                "echo '{\"Secret\":\"hunter2\"}'; exit 1",
                "it failed (exit status: 1)",
            ),
            ("echo hunter2", "its answer is not the JSON of the protocol"),
            ("echo '[1]'", "its answer is not the JSON of the protocol"),
            ("exit 0", "its answer is not the JSON of the protocol"),
            (
                "head -c 100000 /dev/zero",
                "its answer is longer than 65536 bytes",
            ),
            (
                "echo '{\"Username\":\"<token>\"}'",
                "its identity token is empty",
            ),
        ] {
            let failure = get(script).unwrap_err();
            assert_eq!(
                (failure.name.as_str(), failure.why.as_str()),
                ("docker-credential-x", expected)
            );
        }
        let keychain = Keychain::empty();
        keychain.script("x", "cat | tr -d '{}' ; exit 1");
        let failure = keychain
            .helpers()
            .named("x")
            .store("r.io", "u", &"hunter2".into());
        let said = format!("{:?} {0:?}", failure.unwrap_err());
        assert!(!said.contains("hunter2"), "{said}");
        assert!(
            !format!(
                "{:?}",
                get("echo '{\"Username\":\"u\",\"Secret\":\"hunter2\"}'")
            )
            .contains("hunter2")
        );
    }

    #[test]
    fn missing_and_impossible_helpers() {
        let helpers = Keychain::empty().helpers();
        let failure = helpers.named("nobody").get("r.io").unwrap_err();
        assert_eq!(
            Error::from(failure).to_string(),
            "credential helper docker-credential-nobody: it is not installed, or not on the PATH"
        );
        for name in ["../x", "a/b", "a\\b", "a\nb", "a b"] {
            let failure = helpers.named(name).get("r.io").unwrap_err();
            assert!(failure.why.contains("letters"), "{name}: {failure}");
            assert!(!failure.to_string().contains('\n'));
        }
    }

    #[test]
    fn windows_helpers_are_found_too() {
        let keychain = Keychain::empty();
        keychain.script("desktop.exe", "echo credentials not found; exit 1");
        assert_eq!(keychain.helpers().named("desktop").get("r.io"), Ok(None));
    }

    #[test]
    fn slow_helpers_are_killed() {
        let keychain = Keychain::empty();
        // The second leaves a grandchild that holds the pipes, the third an
        // open process without any.
        keychain.script("a", "exec sleep 5");
        keychain.script("b", "sleep 5 & sleep 5");
        keychain.script("c", "exec sleep 5 >&- 2>&-");
        let helpers = Helpers {
            timeout: Duration::from_millis(300),
            ..keychain.helpers()
        };
        for name in ["a", "b", "c"] {
            let begun = Instant::now();
            let failure = helpers.named(name).get("r.io").unwrap_err();
            assert_eq!(failure.why, "it did not answer \"get\" within 0.3 s");
            assert!(begun.elapsed() < Duration::from_secs(4));
        }
    }

    #[test]
    fn helpers_do_not_inherit_what_is_hidden() {
        let helpers = Helpers {
            path: Some("/p".into()),
            hidden: vec!["SECRET".to_string()],
            ..Helpers::default()
        };
        let helper = helpers.named("x");
        let command = helper.command("docker-credential-x", "get");
        let env: Vec<_> = command.get_envs().collect();
        assert!(env.contains(&("SECRET".as_ref(), None)));
        assert!(env.contains(&("PATH".as_ref(), Some("/p".as_ref()))));
    }
}
