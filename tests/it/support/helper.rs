//! Credential helpers: scripts that speak Docker's protocol, in a folder for
//! `PATH`. Each writes down how it was called and in what environment.

use std::path::PathBuf;
use std::process::Command;

use tempfile::TempDir;

/// Keeps one file a login, and says what Docker's helpers say.
const KEEPER: &str = r#"
mkdir -p "$here/kept"
input=$(cat)
server=$(printf %s "$input" | sed 's/^{.*"ServerURL":"\([^"]*\)".*$/\1/')
file="$here/kept/$(printf %s "$server" | tr '/:' '__')"
unknown() { echo "credentials not found in native keychain"; exit 1; }
case "$1" in
store) printf %s "$input" >"$file" ;;
get) cat "$file" 2>/dev/null || unknown ;;
erase) rm "$file" 2>/dev/null || unknown ;;
list)
    printf '{'
    for file in "$here"/kept/*; do
        [ -e "$file" ] || continue
        sed -e 's/^.*"ServerURL":\("[^"]*"\).*"Username":\("[^"]*"\).*$/\1:\2/' \
            -e 't' -e 's/^.*"Secret".*$//' "$file"
    done | paste -sd, - | tr -d '\n'
    printf '}' ;;
esac
"#;

/// A folder with helpers.
pub struct Helpers(TempDir);

impl Helpers {
    pub fn new() -> Helpers {
        Helpers(super::scratch())
    }

    /// One that works, called `docker-credential-NAME`.
    pub fn keeper(self, name: &str) -> Helpers {
        self.script(name, KEEPER)
    }

    /// One with this body, for the shell; `$here` is its folder.
    pub fn script(self, name: &str, body: &str) -> Helpers {
        let folder = self.0.path();
        let source = folder.join("source");
        let here = folder.display();
        let text = format!(
            "#!/bin/sh\nhere='{here}'\necho \"{name} $*\" >>\"$here/calls\"\n\
             tr '\\0' '\\n' </proc/$$/environ >>\"$here/environment\"\n{body}\n"
        );
        std::fs::write(&source, text).expect("a script");
        // Installed by another process: a program that this one has open for
        // writing can't be run (ETXTBSY), and a neighbouring test that forks
        // meanwhile would keep it open.
        let target = folder.join(format!("docker-credential-{name}"));
        let installed = Command::new("install")
            .args(["-m", "755"])
            .args([&source, &target])
            .status();
        assert!(installed.expect("install(1)").success());
        self
    }

    /// For `PATH`: this folder, then the shell's tools.
    pub fn path(&self) -> String {
        format!("{}:/usr/bin:/bin", self.0.path().display())
    }

    /// `NAME VERB` of every call so far.
    pub fn calls(&self) -> Vec<String> {
        self.read("calls").lines().map(str::to_string).collect()
    }

    /// What all calls together found in their environment.
    pub fn environment(&self) -> String {
        self.read("environment")
    }

    /// A file beside the helpers.
    pub fn file(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.file(name)).unwrap_or_default()
    }
}
