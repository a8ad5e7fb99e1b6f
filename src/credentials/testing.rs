//! Credential helpers to test against: shell scripts in a folder of their own.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use tempfile::TempDir;

use super::Helpers;

/// Keeps one file a login, and says what Docker's helpers say.
const KEEPER: &str = r#"
kept="$(dirname "$0")/kept"
mkdir -p "$kept"
input=$(cat)
server=$(printf %s "$input" | sed 's/^{"ServerURL":"\([^"]*\)".*$/\1/')
file="$kept/$(printf %s "$server" | tr '/:' '__')"
case "$1" in
store) printf %s "$input" >"$file" ;;
get) cat "$file" 2>/dev/null || { echo "credentials not found in native keychain"; exit 1; } ;;
erase) rm "$file" 2>/dev/null || { echo "credentials not found in native keychain"; exit 1; } ;;
list)
    cat "$kept"/* 2>/dev/null |
        sed -e 's/}{/}\n{/g' |
        sed -e 's/^{"ServerURL":\("[^"]*"\),"Username":\("[^"]*"\),.*$/\1:\2/' |
        { printf '{'; paste -sd, - | tr -d '\n'; printf '}'; } ;;
esac
"#;

/// A folder with helpers, gone with the value.
pub(super) struct Keychain(TempDir);

impl Keychain {
    /// No helper yet.
    pub fn empty() -> Keychain {
        Keychain(tempfile::tempdir().unwrap())
    }

    /// With a working helper called `name`.
    pub fn new(name: &str) -> Keychain {
        let keychain = Keychain::empty();
        keychain.script(name, KEEPER);
        keychain
    }

    /// Adds a helper called `name`.
    pub fn script(&self, name: &str, body: &str) {
        let source = self.0.path().join("source");
        fs::write(&source, format!("#!/bin/sh\n{body}\n")).unwrap();
        fs::set_permissions(&source, fs::Permissions::from_mode(0o755)).unwrap();
        let target = self.0.path().join(format!("docker-credential-{name}"));
        // Copied by another process: a program that this one has open for
        // writing can't be run (ETXTBSY), and a neighbouring test that forks
        // meanwhile would keep it open.
        let copied = Command::new("cp").arg(&source).arg(&target).status();
        assert!(copied.unwrap().success());
    }

    /// Helpers are looked for in this folder, then where the shell's tools are.
    pub fn helpers(&self) -> Helpers {
        Helpers {
            path: Some(format!("{}:/usr/bin:/bin", self.0.path().display()).into()),
            ..Helpers::default()
        }
    }
}
