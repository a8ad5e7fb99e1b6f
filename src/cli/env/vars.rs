//! The environment: every variable once, with what it means and what holds
//! without it, and the reading of each kind of value.
//!
//! An empty variable is an unset one. A value that breaks its rule is an error
//! that names the variable, before anything is sent.

use std::ffi::OsString;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use dxf_registry::text::without_login;
use dxf_registry::{Error, Result, Secret};

use crate::cli::out::size;

/// A variable the command obeys.
#[derive(Debug, Clone, Copy)]
pub struct Var {
    /// Its name.
    pub name: &'static str,
    /// What it means.
    pub meaning: &'static str,
    /// What holds when it is unset.
    pub default: &'static str,
    /// How it may be shown, and how it is looked up.
    pub kind: Kind,
}

/// How a variable may be shown, and how it is looked up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// As it is.
    Plain,
    /// Never.
    Secret,
    /// A proxy's URL, shown without the login it may hold; written in lower
    /// case too, which wins as it does in curl.
    Proxy,
    /// Plain, written in lower case too.
    BothCases,
}

macro_rules! variables {
    ($($constant:ident $name:literal $kind:ident $default:literal $meaning:literal)*) => {
        $(
            #[doc = $meaning]
            pub const $constant: Var = Var {
                name: $name, meaning: $meaning, default: $default, kind: Kind::$kind,
            };
        )*
        /// Every variable, in the order of the manual.
        pub const ALL: &[Var] = &[$($constant),*];
    };
}

variables! {
    HOST "DXF_HOST" Plain "unset" "the store: host or host:port of a registry, or oci:DIR for a folder"
    INSECURE "DXF_INSECURE" Plain "unset" "1: use http for DXF_HOST; auto: use https, and http only for this machine"
    USERNAME "DXF_USERNAME" Plain "unset" "user's name at DXF_HOST"
    PASSWORD "DXF_PASSWORD" Secret "unset" "password or access token at DXF_HOST"
    PASSWORD_FILE "DXF_PASSWORD_FILE" Plain "unset" "file whose first line is the password"
    AUTHORIZATION "DXF_AUTHORIZATION" Secret "unset" "value of the Authorization header, used without user name and password"
    AUTH_HOST "DXF_AUTH_HOST" Plain "the one the registry names" "the host of the token server, with its port"
    TOKEN "DXF_TOKEN" Secret "unset" "initial bearer token"
    ANONYMOUS "DXF_ANONYMOUS" Plain "0" "1: use no credentials"
    ALLOW_INSECURE_AUTH "DXF_ALLOW_INSECURE_AUTH" Plain "0" "1: send credentials over http"
    SKIPTLSVERIFY "DXF_SKIPTLSVERIFY" Plain "unset" "1: accept any certificate"
    TLSVERIFY "DXF_TLSVERIFY" Plain "system certificates" "PEM file of certificates to trust instead of the system's"
    REQUESTS_CA_BUNDLE "REQUESTS_CA_BUNDLE" Plain "unset" "used if DXF_TLSVERIFY is unset"
    SSL_CERT_FILE "SSL_CERT_FILE" Plain "unset" "used if REQUESTS_CA_BUNDLE is unset"
    CLIENT_CERT "DXF_CLIENT_CERT" Plain "unset" "PEM file of the client's certificate"
    CLIENT_KEY "DXF_CLIENT_KEY" Plain "DXF_CLIENT_CERT" "PEM file of the client's key"
    PROXY "DXF_PROXY" Proxy "unset" "proxy for http and https"
    FROM_HOST "DXF_FROM_HOST" Plain "DXF_HOST" "DXF_HOST of the source of a copy"
    FROM_INSECURE "DXF_FROM_INSECURE" Plain "unset" "DXF_INSECURE of the source of a copy"
    FROM_USERNAME "DXF_FROM_USERNAME" Plain "unset" "DXF_USERNAME of the source of a copy"
    FROM_PASSWORD "DXF_FROM_PASSWORD" Secret "unset" "DXF_PASSWORD of the source of a copy"
    FROM_PASSWORD_FILE "DXF_FROM_PASSWORD_FILE" Plain "unset" "DXF_PASSWORD_FILE of the source of a copy"
    FROM_AUTHORIZATION "DXF_FROM_AUTHORIZATION" Secret "unset" "DXF_AUTHORIZATION of the source of a copy"
    FROM_AUTH_HOST "DXF_FROM_AUTH_HOST" Plain "the one the registry names" "DXF_AUTH_HOST of the source of a copy"
    FROM_TOKEN "DXF_FROM_TOKEN" Secret "unset" "DXF_TOKEN of the source of a copy"
    FROM_ANONYMOUS "DXF_FROM_ANONYMOUS" Plain "0" "DXF_ANONYMOUS of the source of a copy"
    FROM_ALLOW_INSECURE_AUTH "DXF_FROM_ALLOW_INSECURE_AUTH" Plain "0" "DXF_ALLOW_INSECURE_AUTH of the source of a copy"
    FROM_SKIPTLSVERIFY "DXF_FROM_SKIPTLSVERIFY" Plain "unset" "DXF_SKIPTLSVERIFY of the source of a copy"
    FROM_TLSVERIFY "DXF_FROM_TLSVERIFY" Plain "system certificates" "DXF_TLSVERIFY of the source of a copy"
    FROM_CLIENT_CERT "DXF_FROM_CLIENT_CERT" Plain "unset" "DXF_CLIENT_CERT of the source of a copy"
    FROM_CLIENT_KEY "DXF_FROM_CLIENT_KEY" Plain "DXF_FROM_CLIENT_CERT" "DXF_CLIENT_KEY of the source of a copy"
    FROM_PROXY "DXF_FROM_PROXY" Proxy "unset" "DXF_PROXY of the source of a copy"
    HTTPS_PROXY "HTTPS_PROXY" Proxy "unset" "proxy for https, when DXF_PROXY is unset"
    HTTP_PROXY "HTTP_PROXY" Proxy "unset" "proxy for http, when DXF_PROXY is unset"
    ALL_PROXY "ALL_PROXY" Proxy "unset" "proxy for everything else"
    NO_PROXY "NO_PROXY" BothCases "unset" "names, suffixes, addresses and networks that need no proxy, separated by commas"
    TIMEOUT "DXF_TIMEOUT" Plain "30" "seconds without a byte before a connection counts as stalled"
    CONNECT_TIMEOUT "DXF_CONNECT_TIMEOUT" Plain "30" "seconds to wait for a connection"
    RETRIES "DXF_RETRIES" Plain "4" "retries after a failure; the count restarts after progress"
    RETRY_MAX_WAIT "DXF_RETRY_MAX_WAIT" Plain "60" "longest Retry-After to wait for, in seconds"
    JOBS "DXF_JOBS" Plain "8" "parallel transfers"
    LIMIT_RATE "DXF_LIMIT_RATE" Plain "none" "most bytes a second of all transfers, up and down together, such as 500K or 2M"
    REQUESTS_PER_SECOND "DXF_REQUESTS_PER_SECOND" Plain "none" "most requests a second, such as 10 or 0.5"
    UPLOAD "DXF_UPLOAD" Plain "auto" "auto, monolithic, or the size of a chunk such as 32MiB"
    SPLIT "DXF_SPLIT" Plain "unset" "how push-blob splits files: a size, cdc or cdc:AVG, as --split"
    CHUNK_SIZE "DXF_CHUNK_SIZE" Plain "256KiB" "most bytes read from a connection at a time"
    PLATFORM "DXF_PLATFORM" Plain "unset" "os/architecture[/variant] to select from an index"
    BLOB_INFO "DXF_BLOB_INFO" Plain "unset" "1: pull-blob writes digest and size before each blob"
    PROGRESS "DXF_PROGRESS" Plain "when stderr is a terminal" "1: always show progress, 0: never"
    ALIAS_FORMAT "DXF_ALIAS_FORMAT" Plain "docker" "manifest that set-alias writes: docker or oci"
    OUTPUT "DXF_OUTPUT" Plain "text" "text or json, for commands that list or inspect"
    LOG "DXF_LOG" Plain "unset" "http: print a line on stderr for each request"
    CACHE "DXF_CACHE" Plain "$XDG_CACHE_HOME/dxf" "folder of the layer cache, which also records unfinished uploads; 0: none"
    TMPDIR_DXF "DXF_TMPDIR" Plain "TMPDIR" "folder for temporary files"
    TMPDIR "TMPDIR" Plain "the system's" "used if DXF_TMPDIR is unset"
    DOCKER_AUTH_CONFIG "DOCKER_AUTH_CONFIG" Secret "unset" "Docker's config.json as text, read before the files"
    DOCKER_CONFIG "DOCKER_CONFIG" Plain "~/.docker" "folder of Docker's config.json"
    REGISTRY_AUTH_FILE "REGISTRY_AUTH_FILE" Plain "unset" "auth.json of podman, skopeo and buildah"
    XDG_RUNTIME_DIR "XDG_RUNTIME_DIR" Plain "/run/containers/UID" "folder that may contain containers/auth.json"
    XDG_CONFIG_HOME "XDG_CONFIG_HOME" Plain "~/.config" "the same"
    SOURCE_DATE_EPOCH "SOURCE_DATE_EPOCH" Plain "unset" "time that push-files writes into an artifact, seconds since 1970"
    XDG_CACHE_HOME "XDG_CACHE_HOME" Plain "~/.cache" "folder of caches"
    HOME "HOME" Plain "unset" "folder that contains .docker, .config and .cache"
    PATH "PATH" Plain "unset" "folders to search for credential helpers"
    PAGER "PAGER" Plain "less" "program that shows pages of the manual on a terminal"
    NO_COLOR "NO_COLOR" Plain "unset" "any value: no colours"
}

/// The names under which secrets of this command may be in the environment,
/// for the programs that it runs: they do not inherit them. A proxy that is not
/// this command's alone is theirs too.
pub fn secrets() -> impl Iterator<Item = String> {
    ALL.iter().flat_map(|var| match var.kind {
        Kind::Secret => vec![var.name.to_string()],
        Kind::Proxy if var.name.starts_with("DXF_") => {
            vec![var.name.to_string(), var.name.to_ascii_lowercase()]
        }
        Kind::Plain | Kind::Proxy | Kind::BothCases => Vec::new(),
    })
}

/// What the source's variables are called by, instead of `DXF_`.
const FROM: &str = "DXF_FROM_";

/// Whose variables are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    /// The destination of a copy, and everything that has but one side.
    Only,
    /// The source of a copy: `DXF_FROM_X` stands for `DXF_X`, where there is
    /// one, and nothing else does.
    Source,
}

/// Reads variables through a function, so that tests need no process.
#[derive(Clone, Copy)]
pub struct Env<'a> {
    lookup: &'a dyn Fn(&str) -> Option<OsString>,
    side: Side,
}

impl<'a> Env<'a> {
    /// Reads through `lookup`.
    pub fn new(lookup: &'a dyn Fn(&str) -> Option<OsString>) -> Env<'a> {
        Env {
            lookup,
            side: Side::Only,
        }
    }

    /// The variables of a copy's source; `None` when none of them is set.
    pub fn source(self) -> Option<Env<'a>> {
        let mut own = ALL.iter().filter(|var| var.name.starts_with(FROM));
        own.any(|var| self.raw(var).is_some()).then_some(Env {
            side: Side::Source,
            ..self
        })
    }

    /// The variable that is read for `var` on this side.
    pub fn on_this_side(&self, var: &Var) -> Var {
        let rest = var.name.strip_prefix("DXF_");
        let own = rest.filter(|_| self.side == Side::Source).and_then(|rest| {
            ALL.iter()
                .find(|own| own.name.strip_prefix(FROM) == Some(rest))
        });
        *own.unwrap_or(var)
    }

    /// The value as it is, and the name it was found under.
    pub fn raw(&self, var: &Var) -> Option<(String, OsString)> {
        let var = &self.on_this_side(var);
        let found = |name: String| {
            let value = (self.lookup)(&name).filter(|value| !value.is_empty())?;
            Some((name, value))
        };
        let lower = matches!(var.kind, Kind::Proxy | Kind::BothCases)
            .then(|| found(var.name.to_ascii_lowercase()))
            .flatten();
        // A web server hands a client's `Proxy:` header to CGI programs as
        // HTTP_PROXY (CVE-2016-5385); a client cannot set the lower-case name.
        let cgi = var.name == HTTP_PROXY.name && (self.lookup)("REQUEST_METHOD").is_some();
        lower.or_else(|| found(var.name.to_string()).filter(|_| !cgi))
    }

    /// The value of any variable, as the process has it.
    pub fn value(&self, name: &str) -> Option<OsString> {
        (self.lookup)(name)
    }

    /// Whether the variable is set to nothing at all.
    pub fn is_empty(&self, var: &Var) -> bool {
        (self.lookup)(self.on_this_side(var).name).is_some_and(|value| value.is_empty())
    }

    /// The value as text.
    pub fn text(&self, var: &Var) -> Result<Option<String>> {
        let Some((_, value)) = self.raw(var) else {
            return Ok(None);
        };
        match value.into_string() {
            Ok(text) => Ok(Some(text)),
            Err(_) => {
                let name = self.on_this_side(var).name;
                Err(Error::invalid(name, "…", "it is not UTF-8"))
            }
        }
    }

    /// A value that no output may show.
    pub fn secret(&self, var: &Var) -> Result<Option<Secret>> {
        Ok(self.text(var)?.map(Secret::new))
    }

    /// A secret that is going to be part of a header.
    pub fn header(&self, var: &Var) -> Result<Option<Secret>> {
        let value = self.secret(var)?;
        let fits = |b: u8| b == b' ' || b.is_ascii_graphic();
        match value {
            Some(value) if !value.reveal().bytes().all(fits) => {
                let why = "it takes only printable ASCII characters";
                let name = self.on_this_side(var).name;
                Err(Error::invalid(name, "…", why))
            }
            value => Ok(value),
        }
    }

    /// A file or folder.
    pub fn path(&self, var: &Var) -> Option<PathBuf> {
        self.raw(var).map(|(_, value)| value.into())
    }

    /// Whether python-dxf's kind of switch is on: `1` and nothing else.
    pub fn is_one(&self, var: &Var) -> bool {
        self.raw(var).is_some_and(|(_, value)| value == "1")
    }

    /// A switch of this command's own, which takes no third value.
    pub fn switch(&self, var: &Var) -> Result<bool> {
        let word = self.one_of(var, &[("0", false), ("1", true)])?;
        Ok(word.unwrap_or(false))
    }

    /// One of some words.
    pub fn one_of<T: Copy>(&self, var: &Var, words: &[(&str, T)]) -> Result<Option<T>> {
        self.with(var, |text| {
            let found = words.iter().find(|(word, _)| *word == text);
            found.map(|(_, value)| *value).ok_or_else(|| {
                let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
                format!("it takes {}", known.join(" or "))
            })
        })
    }

    /// A whole number within `least` and `most`.
    pub fn number(&self, var: &Var, least: u64, most: u64) -> Result<Option<u64>> {
        self.with(var, |text| {
            let number = text.parse::<u64>().ok().filter(|_| !text.starts_with('+'));
            number
                .filter(|n| (least..=most).contains(n))
                .ok_or_else(|| format!("it takes a number from {least} to {most}"))
        })
    }

    /// Seconds, with or without a fraction.
    pub fn seconds(&self, var: &Var) -> Result<Option<Duration>> {
        const YEAR: f64 = 31_536_000.0;
        self.with(var, |text| {
            let number = text.parse::<f64>().ok();
            number
                .filter(|n| (0.001..=YEAR).contains(n))
                .map(Duration::from_secs_f64)
                .ok_or_else(|| "it takes a number of seconds larger than 0".to_string())
        })
    }

    /// A number of bytes.
    pub fn size(&self, var: &Var) -> Result<Option<u64>> {
        self.with(var, |text| size::parse(text).map_err(str::to_string))
    }

    /// A word of the registry world.
    pub fn word<T: FromStr<Err = Error>>(&self, var: &Var) -> Result<Option<T>> {
        self.with(var, |text| text.parse().map_err(reason))
    }

    /// A value that `parse` understands, or says why it doesn't.
    pub fn with<T>(
        &self,
        var: &Var,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Result<Option<T>> {
        let Some(text) = self.text(var)? else {
            return Ok(None);
        };
        match parse(&text) {
            Ok(value) => Ok(Some(value)),
            // Some write a login into the name of a host.
            Err(why) => {
                let name = self.on_this_side(var).name;
                Err(Error::invalid(name, without_login(&text), why))
            }
        }
    }
}

/// The rule that a word broke, without the word.
fn reason(error: Error) -> String {
    match error {
        Error::Invalid { why, .. } => why,
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dxf_registry::{Host, Platform};

    fn with<T>(pairs: &[(&str, &str)], work: impl FnOnce(Env<'_>) -> T) -> T {
        let lookup = |name: &str| {
            let found = pairs.iter().find(|(key, _)| *key == name);
            found.map(|(_, value)| OsString::from(value))
        };
        work(Env::new(&lookup))
    }

    #[test]
    fn every_name_stands_once_and_is_explained() {
        let mut names: Vec<&str> = ALL.iter().map(|var| var.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), ALL.len());
        assert!(
            ALL.iter()
                .all(|v| v.meaning.len() > 5 && !v.default.is_empty())
        );
    }

    #[test]
    fn a_bad_value_names_its_variable() {
        let said = |pairs: &[(&str, &str)], f: &dyn Fn(Env<'_>) -> Option<Error>| {
            with(pairs, f).map(|e| e.to_string()).unwrap_or_default()
        };
        for (var, value) in [
            (&RETRIES, "-1"),
            (&RETRIES, "+1"),
            (&RETRIES, "x"),
            (&RETRIES, "11"),
        ] {
            let text = said(&[(var.name, value)], &|e| e.number(var, 0, 10).err());
            assert!(
                text.contains("DXF_RETRIES") && text.contains(value),
                "{text}"
            );
        }
        for value in ["0", "-1", "nan", "inf", "soon", "1e99"] {
            let text = said(&[("DXF_TIMEOUT", value)], &|e| e.seconds(&TIMEOUT).err());
            assert!(text.contains("DXF_TIMEOUT"), "{value}: {text}");
        }
        let text = said(&[("DXF_ANONYMOUS", "yes")], &|e| e.switch(&ANONYMOUS).err());
        assert!(
            text.contains("DXF_ANONYMOUS") && text.contains("0 or 1"),
            "{text}"
        );
        let text = said(&[("DXF_AUTH_HOST", "https://x")], &|e| {
            e.word::<Host>(&AUTH_HOST).err()
        });
        assert!(text.contains("DXF_AUTH_HOST"), "{text}");
    }

    #[test]
    fn a_source_has_variables_of_its_own_and_no_others() {
        let host = ("DXF_HOST", "to.example");
        with(&[host, ("DXF_PASSWORD", "p")], |env| {
            assert!(env.source().is_none());
        });
        let from = ("DXF_FROM_INSECURE", "1");
        with(
            &[host, ("DXF_PASSWORD", "p"), from, ("DXF_JOBS", "3")],
            |env| {
                let source = env.source().unwrap();
                assert!(source.raw(&HOST).is_none() && source.raw(&PASSWORD).is_none());
                assert!(source.is_one(&INSECURE) && !env.is_one(&INSECURE));
                assert_eq!(source.number(&JOBS, 1, 9).unwrap(), Some(3));
            },
        );
        with(&[("DXF_FROM_ANONYMOUS", "x")], |env| {
            let said = env.source().unwrap().switch(&ANONYMOUS).unwrap_err();
            assert!(said.to_string().contains("DXF_FROM_ANONYMOUS"), "{said}");
        });
        // Each is the twin of one that means the same for everything else.
        for own in ALL.iter().filter(|var| var.name.starts_with(FROM)) {
            let twin = own.name.replacen(FROM, "DXF_", 1);
            let twin = ALL.iter().find(|var| var.name == twin).expect(own.name);
            assert_eq!(own.kind, twin.kind, "{}", own.name);
        }
    }

    #[test]
    fn secrets_are_known_by_name() {
        let names: Vec<String> = secrets().collect();
        for name in [
            "DXF_PASSWORD",
            "DXF_FROM_TOKEN",
            "DXF_AUTHORIZATION",
            "dxf_proxy",
            "DOCKER_AUTH_CONFIG",
        ] {
            assert!(names.iter().any(|known| known == name), "{name}");
        }
        for name in ["DXF_HOST", "DXF_PASSWORD_FILE", "HTTPS_PROXY", "PATH"] {
            assert!(names.iter().all(|known| known != name), "{name}");
        }
    }

    #[test]
    fn empty_means_unset() {
        with(&[("DXF_TIMEOUT", ""), ("DXF_PLATFORM", "")], |env| {
            assert_eq!(env.seconds(&TIMEOUT).unwrap(), None);
            assert!(env.word::<Platform>(&PLATFORM).unwrap().is_none());
            assert!(!env.switch(&ANONYMOUS).unwrap());
        });
        with(&[("DXF_TIMEOUT", "0.5")], |env| {
            assert_eq!(
                env.seconds(&TIMEOUT).unwrap(),
                Some(Duration::from_millis(500))
            );
        });
    }

    #[test]
    fn proxies_come_in_both_cases_but_not_from_cgi() {
        let found = |pairs: &[(&str, &str)]| {
            with(pairs, |env| env.raw(&HTTP_PROXY)).map(|(_, value)| value.into_string().unwrap())
        };
        let (upper, lower) = (("HTTP_PROXY", "u"), ("http_proxy", "l"));
        assert_eq!(found(&[upper]).as_deref(), Some("u"));
        assert_eq!(found(&[upper, lower]).as_deref(), Some("l"));
        let cgi = ("REQUEST_METHOD", "GET");
        assert_eq!(found(&[upper, cgi]), None);
        assert_eq!(found(&[upper, lower, cgi]).as_deref(), Some("l"));
    }

    #[test]
    fn secrets_are_not_quoted_in_errors() {
        use std::os::unix::ffi::OsStringExt;
        let lookup = |_: &str| Some(OsString::from_vec(vec![b'p', 0xff]));
        let said = Env::new(&lookup).secret(&PASSWORD).unwrap_err().to_string();
        assert!(
            said.contains("DXF_PASSWORD") && !said.contains('p'),
            "{said}"
        );
    }
    #[test]
    fn headers_are_visible_ascii() {
        for (value, fits) in [("Basic abc==", true), ("a\nb", false), ("a\u{e9}", false)] {
            let got = with(&[("DXF_TOKEN", value)], |env| env.header(&TOKEN));
            assert_eq!(got.is_ok(), fits, "{value:?}");
        }
    }
}
