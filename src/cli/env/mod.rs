//! The environment turned into typed settings, once.
//!
//! Nothing is contacted and no file is read here except the password file, so
//! that a wrong variable is reported before anything happens.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Once};

use dxf_registry::alias::Format;
use dxf_registry::artifact::Split;
use dxf_registry::credentials::{Credentials, Files, Helpers, Login, Provider};
use dxf_registry::registry::{Scheme, Settings};
use dxf_registry::{Error, Host, Platform, Registry, Result, Root, Secret};

use self::vars::Env;
use crate::cli::out::bars::Show;
use crate::cli::out::console::Terminals;
use crate::cli::out::log::Log;

pub mod login;
pub mod show;
pub mod vars;
pub mod wire;

/// How lists are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// One item a line.
    Text,
    /// One JSON document.
    Json,
}

/// Whom the environment's login is for.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Bound {
    /// The registry that is named beside it.
    Root,
    /// The one registry that is talked to: the source of a copy, however it is
    /// named.
    Source,
    /// This one, which the source turned out to be in; none where it is in no
    /// registry.
    To(Option<Host>),
}

/// Everything the environment says.
pub struct Context {
    /// The store, where one is named.
    pub root: Option<Root>,
    /// How to talk to registries.
    pub settings: Settings,
    /// Whether each is asked first how it is spoken to.
    detects: bool,
    /// The token to begin with.
    token: Option<Secret>,
    /// The login for `DXF_HOST`, where the environment has one.
    login: Option<(Login, &'static str)>,
    /// A user's name without a password, or the reverse ([`login::half`]).
    pub half_login: Option<(&'static str, &'static str)>,
    /// Whether no folder is known in which Docker keeps logins, as in the jobs of some
    /// crons.
    pub lacks_home: bool,
    /// Whom login and token are for.
    bound: Bound,
    /// The files with logins for every host, in the order they are asked.
    pub login_files: Vec<PathBuf>,
    /// Those files and `DOCKER_AUTH_CONFIG`.
    pub files: Files,
    /// Whether those files count.
    anonymous: bool,
    /// How the helpers they name are run.
    pub helpers: Helpers,
    /// When artifacts were made, seconds since 1970, where that is to be said.
    pub epoch: Option<u64>,
    /// The platform to take of a multi-platform alias.
    pub platform: Option<Platform>,
    /// How `push-blob` cuts files, where it does.
    pub split: Option<Split>,
    /// Where temporary files go that have no better place.
    pub tmpdir: PathBuf,
    /// Where layers and notes are kept for later runs.
    pub cache: Option<PathBuf>,
    /// What `set-alias` writes.
    pub format: Format,
    /// How lists are written.
    pub shape: Shape,
    /// How progress is shown.
    pub show: Show,
    /// What is logged.
    pub log: Log,
    /// Whether `pull-blob` names each blob before its bytes.
    pub blob_info: bool,
}

impl Context {
    /// Reads everything; `terminal` says who is looking.
    ///
    /// # Errors
    /// [`Error::Invalid`] naming the variable whose value is wrong.
    pub fn new(env: Env<'_>, terminal: Terminals) -> Result<Context> {
        let anonymous = env.switch(&vars::ANONYMOUS)?;
        let login_files = login::login_files(env);
        let helpers = Helpers {
            path: env.raw(&vars::PATH).map(|(_, path)| path),
            hidden: vars::secrets().collect(),
            ..Helpers::default()
        };
        Ok(Context {
            root: env.word(&vars::HOST)?,
            settings: wire::settings(env)?,
            detects: env
                .raw(&vars::INSECURE)
                .is_some_and(|(_, value)| value == "auto"),
            token: env.header(&vars::TOKEN)?.filter(|_| !anonymous),
            login: login::login(env, anonymous)?,
            half_login: login::half(env),
            lacks_home: !anonymous && login::lacks_home(env),
            bound: Bound::Root,
            files: login::files(env, &login_files)?.with_helpers(helpers.clone()),
            login_files,
            anonymous,
            helpers,
            epoch: env.with(&vars::SOURCE_DATE_EPOCH, |text| {
                let why = "it takes a number of seconds since 1970";
                text.parse::<u32>()
                    .map(u64::from)
                    .map_err(|_| why.to_string())
            })?,
            platform: env.word(&vars::PLATFORM)?,
            split: env.with(&vars::SPLIT, split)?,
            cache: cache(env),
            tmpdir: env
                .path(&vars::TMPDIR_DXF)
                .or_else(|| env.path(&vars::TMPDIR))
                .unwrap_or_else(std::env::temp_dir),
            format: env
                .one_of(
                    &vars::ALIAS_FORMAT,
                    &[("docker", Format::Docker), ("oci", Format::Oci)],
                )?
                .unwrap_or(Format::Docker),
            shape: env
                .one_of(
                    &vars::OUTPUT,
                    &[("text", Shape::Text), ("json", Shape::Json)],
                )?
                .unwrap_or(Shape::Text),
            show: progress(env, terminal.stderr),
            log: env
                .one_of(&vars::LOG, &[("http", Log::Http)])?
                .unwrap_or(Log::Off),
            blob_info: env.is_one(&vars::BLOB_INFO),
        })
    }

    /// What holds for the source of a copy, where that has variables of its
    /// own; where it names no store, `DXF_HOST` is the one for it too.
    ///
    /// # Errors
    /// As [`Context::new`].
    pub fn source(&self, env: Env<'_>, terminal: Terminals) -> Result<Option<Context>> {
        let Some(env) = env.source() else {
            return Ok(None);
        };
        let mut source = Context::new(env, terminal)?;
        // The limits are the whole process's.
        source.settings.http.limits = self.settings.http.limits.clone();
        if source.root.is_none() {
            source.bound = Bound::Source;
            source.root = self.root.clone();
        }
        Ok(Some(source))
    }

    /// The registry at `host`. Plain http is, like the login, for `DXF_HOST`
    /// alone, and for hosts on this machine, whose traffic stays here; every
    /// other host is spoken to over https.
    ///
    /// # Errors
    /// As [`Registry::detect`].
    pub fn connect(
        &self,
        host: &Host,
        settings: Settings,
        credentials: Credentials,
    ) -> Result<Registry> {
        if !self.is_here(host) && !host.is_loopback() {
            let settings = settings.with_scheme(Scheme::Https);
            return Registry::connect(host.clone(), settings, credentials);
        }
        match self.detects {
            true => Registry::detect(host.clone(), settings, credentials),
            false => Registry::connect(host.clone(), settings, credentials),
        }
    }

    /// Says which registry the source is in, if any. From then on its login is
    /// for no other: an edit may read further images beside it.
    pub fn found(&mut self, source: Option<&Host>) {
        if self.bound == Bound::Source {
            self.bound = Bound::To(source.cloned());
        }
    }

    /// Whether what the environment says of one registry is said of `host`.
    fn is_here(&self, host: &Host) -> bool {
        match &self.bound {
            Bound::Root => self.root == Some(Root::Registry(host.clone())),
            Bound::Source => true,
            Bound::To(source) => source.as_ref() == Some(host),
        }
    }

    /// Who to be at `host`: what the environment says is for `DXF_HOST` alone. `warn`
    /// shows what is odd about it, if it matters.
    pub fn credentials(
        &self,
        host: &Host,
        warn: impl Fn(&str) + Send + Sync + 'static,
    ) -> Credentials {
        let here = self.is_here(host);
        let others: Arc<dyn Provider> = Arc::new(self.files.clone());
        match &self.login {
            Some((login, source)) if here || self.anonymous => Credentials {
                token: self.token.clone().filter(|_| here),
                ..Credentials::fixed(login.clone(), *source)
            },
            _ => Credentials {
                token: self.token.clone().filter(|_| here),
                provider: match self.half_login.filter(|_| here) {
                    Some(half) => Arc::new(login::Instead {
                        inner: others,
                        half,
                        warn: Box::new(warn),
                        once: Once::new(),
                    }),
                    None => others,
                },
            },
        }
    }

    /// The name and password of the environment, if both are set.
    pub fn password(&self) -> Option<(&str, &Secret)> {
        match &self.login {
            Some((Login::Password { username, password }, _)) => Some((username, password)),
            _ => None,
        }
    }
}

/// Every value that breaks its rule, for both sides of a copy. Each is hidden
/// once it is known, so that the next one shows.
pub fn faults(env: Env<'_>, terminal: Terminals) -> Vec<Error> {
    let mut faults: Vec<Error> = Vec::new();
    while faults.len() < vars::ALL.len() {
        let known = faults.iter().filter_map(variable);
        let hidden: Vec<&str> = known.collect();
        let lookup = |name: &str| {
            let is_hidden = hidden.iter().any(|one| one.eq_ignore_ascii_case(name));
            env.value(name).filter(|_| !is_hidden)
        };
        let rest = Env::new(&lookup);
        let read = Context::new(rest, terminal);
        let read = read.and_then(|context| context.source(rest, terminal).map(drop));
        let Err(fault) = read else { break };
        let name = variable(&fault);
        let is_new = name.is_some_and(|name| !hidden.contains(&name));
        faults.push(fault);
        if !is_new {
            break;
        }
    }
    faults
}

/// The variable whose value an error is about.
pub fn variable(fault: &Error) -> Option<&'static str> {
    match fault {
        Error::Invalid { what, .. } => {
            let found = vars::ALL.iter().find(|var| var.name == *what);
            found.map(|var| var.name)
        }
        _ => None,
    }
}

/// The folder for what a later run may need, unless it is turned off.
fn cache(env: Env<'_>) -> Option<PathBuf> {
    if let Some(folder) = env.path(&vars::CACHE) {
        return Some(folder).filter(|folder| folder != Path::new("0"));
    }
    let home = || Some(env.path(&vars::HOME)?.join(".cache"));
    let folder = env.path(&vars::XDG_CACHE_HOME).or_else(home)?;
    Some(folder.join("dxf"))
}

/// How files are cut: `64MiB`, `cdc`, `cdc:1MiB`.
pub fn split(text: &str) -> Result<Split, String> {
    const RULE: &str = "it takes a size such as 64MiB, cdc, or cdc and a size such as cdc:1MiB";
    let size = |text| crate::cli::out::size::parse(text).map_err(|_| RULE.to_string());
    let split = match text.split_once(':') {
        None if text == "cdc" => Split::content(Split::AVERAGE),
        None => Split::every(size(text)?),
        Some(("cdc", average)) => Split::content(size(average)?),
        Some(_) => return Err(RULE.to_string()),
    };
    split.map_err(|e| match e {
        Error::Invalid { why, .. } => why,
        other => other.to_string(),
    })
}

fn progress(env: Env<'_>, terminal: bool) -> Show {
    let asked = env.raw(&vars::PROGRESS).map(|(_, value)| value);
    let asked = asked.as_deref().and_then(|value| value.to_str());
    match (asked, terminal) {
        (Some("0"), _) => Show::Nothing,
        (_, true) if env.raw(&vars::NO_COLOR).is_some() => Show::Bars,
        (_, true) => Show::Colours,
        (Some("1"), false) => Show::Lines,
        (_, false) => Show::Nothing,
    }
}

#[cfg(test)]
mod tests {
    use super::login::SESSIONS;
    use super::*;
    use dxf_registry::http::{Roots, Scheme};
    use dxf_registry::registry::UploadMode;
    use std::collections::HashMap;
    use std::ffi::OsString;

    fn made(pairs: &[(&str, &str)]) -> Result<Context> {
        let map: HashMap<String, OsString> = pairs
            .iter()
            .map(|(k, v)| (k.to_string(), v.into()))
            .collect();
        let lookup = |name: &str| map.get(name).cloned();
        Context::new(Env::new(&lookup), Terminals::default())
    }

    fn source(pairs: &[(&str, &str)]) -> String {
        let mut all = vec![("DXF_HOST", "r.example")];
        all.extend_from_slice(pairs);
        let host: Host = "r.example".parse().unwrap();
        let credentials = made(&all).unwrap().credentials(&host, |_| {});
        let token = credentials.token.map_or("", |_| "token, ");
        let found = credentials.provider.find(&host, None).unwrap();
        format!("{token}{}", found.source)
    }

    #[test]
    fn hosts_and_folders() {
        let place = |text| made(&[("DXF_HOST", text)]).map(|c| c.root);
        assert_eq!(place("").unwrap(), None);
        assert_eq!(
            place("oci:some/dir").unwrap(),
            Some(Root::Folder("some/dir".into()))
        );
        assert!(matches!(
            place("localhost:5000").unwrap(),
            Some(Root::Registry(_))
        ));
        for bad in ["https://r.example", "oci:", "r.example/path", "file:///x"] {
            let said = place(bad).unwrap_err().to_string();
            assert!(said.contains("DXF_HOST") && said.contains(bad), "{said}");
        }
    }

    #[test]
    fn logins_have_an_order() {
        let (name, password) = (("DXF_USERNAME", "u"), ("DXF_PASSWORD", "p"));
        let header = ("DXF_AUTHORIZATION", "Basic x");
        let token = ("DXF_TOKEN", "t");
        let anonymous = ("DXF_ANONYMOUS", "1");
        assert_eq!(source(&[]), "none");
        assert_eq!(
            source(&[name, password, header]),
            "DXF_USERNAME and DXF_PASSWORD"
        );
        assert_eq!(source(&[name, header]), "DXF_AUTHORIZATION");
        assert_eq!(source(&[name]), "none");
        let empty = ("DXF_PASSWORD", "");
        assert_eq!(
            source(&[name, empty, header]),
            "DXF_USERNAME and DXF_PASSWORD"
        );
        assert_eq!(source(&[empty]), "none");
        assert_eq!(source(&[token, header]), "token, DXF_AUTHORIZATION");
        assert_eq!(source(&[anonymous, token, name, password]), "DXF_ANONYMOUS");
    }

    #[test]
    fn half_a_login_is_noticed() {
        let half = |pairs: &[(&str, &str)]| made(pairs).unwrap().half_login;
        let (name, password) = (("DXF_USERNAME", "u"), ("DXF_PASSWORD", "p"));
        assert_eq!(half(&[]), None);
        assert_eq!(half(&[name, password]), None);
        assert_eq!(half(&[name, ("DXF_PASSWORD", "")]), None);
        assert_eq!(half(&[name]), Some(("DXF_USERNAME", "DXF_PASSWORD")));
        assert_eq!(half(&[password]), Some(("DXF_PASSWORD", "DXF_USERNAME")));
    }

    #[test]
    fn a_password_file_is_read_to_its_first_line() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("pw");
        std::fs::write(&file, "secret \r\nmore\n").unwrap();
        let path = file.to_str().unwrap();
        let context = made(&[("DXF_USERNAME", "u"), ("DXF_PASSWORD_FILE", path)]).unwrap();
        assert_eq!(context.password().unwrap().1.reveal(), "secret ");
        std::fs::write(&file, "\n").unwrap();
        let bad = made(&[("DXF_USERNAME", "u"), ("DXF_PASSWORD_FILE", path)]);
        assert!(bad.err().unwrap().to_string().contains("DXF_PASSWORD_FILE"));
    }

    #[test]
    fn other_hosts_get_nothing_of_the_environment() {
        let variables = [
            ("DXF_HOST", "a.example"),
            ("DXF_TOKEN", "t"),
            ("DXF_INSECURE", "1"),
        ];
        let context = made(&variables).unwrap();
        let other: Host = "b.example".parse().unwrap();
        assert!(context.credentials(&other, |_| {}).token.is_none());
        let scheme = |host: &str| {
            let settings = context.settings.clone();
            let host = host.parse().unwrap();
            context
                .connect(&host, settings, Credentials::anonymous())
                .unwrap()
                .scheme()
        };
        assert_eq!(scheme("a.example"), Scheme::Http);
        assert_eq!(scheme("b.example"), Scheme::Https);
        assert_eq!(scheme("localhost:5001"), Scheme::Http);
    }

    #[test]
    fn login_files_are_found_where_their_owners_put_them() {
        let of = |pairs: &[(&str, &str)]| {
            let session = format!("{SESSIONS}/{}/", rustix::process::getuid().as_raw());
            let files = made(pairs).unwrap().login_files;
            files
                .iter()
                .map(|f| f.display().to_string().replace(&session, "SESSION/"))
                .collect::<Vec<_>>()
                .join(" ")
        };
        assert_eq!(of(&[]), "SESSION/auth.json");
        assert_eq!(
            of(&[
                ("HOME", "h"),
                ("XDG_RUNTIME_DIR", "x"),
                ("REGISTRY_AUTH_FILE", "r")
            ]),
            "h/.docker/config.json r x/containers/auth.json h/.config/containers/auth.json"
        );
        assert_eq!(
            of(&[("HOME", "h"), ("DOCKER_CONFIG", "d")]),
            "d/config.json SESSION/auth.json h/.config/containers/auth.json"
        );
        assert_eq!(
            of(&[
                ("HOME", "h"),
                ("XDG_RUNTIME_DIR", "x"),
                ("XDG_CONFIG_HOME", "c")
            ]),
            "h/.docker/config.json x/containers/auth.json c/containers/auth.json \
             h/.config/containers/auth.json"
        );
        assert_eq!(
            of(&[
                ("XDG_CONFIG_HOME", "h/.config"),
                ("HOME", "h"),
                ("XDG_RUNTIME_DIR", "x")
            ]),
            "h/.docker/config.json x/containers/auth.json h/.config/containers/auth.json"
        );
    }

    #[test]
    fn a_configuration_may_be_a_variable() {
        let text = r#"{"auths": {"r.example": {"auth": "dTpw"}}}"#;
        let said = source(&[("DOCKER_AUTH_CONFIG", text)]);
        assert_eq!(said, r#"DOCKER_AUTH_CONFIG, key "r.example""#);
        let bad = made(&[("DOCKER_AUTH_CONFIG", "{hunter2")]).err().unwrap();
        let said = bad.to_string();
        assert!(
            said.contains("DOCKER_AUTH_CONFIG") && !said.contains("hunter2"),
            "{said}"
        );
    }

    #[test]
    fn certificates_have_an_order() {
        let which = |pairs: &[(&str, &str)]| match made(pairs).unwrap().settings.http.tls.roots {
            Roots::System => "system".to_string(),
            Roots::Unverified => "none".to_string(),
            Roots::File(file) => file.display().to_string(),
        };
        let all = [
            ("SSL_CERT_FILE", "ssl"),
            ("REQUESTS_CA_BUNDLE", "requests"),
            ("DXF_TLSVERIFY", "own"),
            ("DXF_SKIPTLSVERIFY", "1"),
        ];
        let expected = ["system", "ssl", "requests", "own", "none"];
        for (n, wanted) in expected.iter().enumerate() {
            assert_eq!(which(&all[..n]), *wanted);
        }
        assert_eq!(which(&[("DXF_SKIPTLSVERIFY", "true")]), "system");
        assert!(made(&[("DXF_CLIENT_KEY", "k")]).is_err());
        let client = made(&[("DXF_CLIENT_CERT", "both")])
            .unwrap()
            .settings
            .http
            .tls
            .client;
        assert_eq!(client.unwrap().key, PathBuf::from("both"));
    }

    #[test]
    fn proxies_have_an_order() {
        let pairs = [
            ("ALL_PROXY", "all"),
            ("https_proxy", "s"),
            ("DXF_PROXY", "own"),
        ];
        let of = |n: usize| {
            let proxies = made(&pairs[..n]).unwrap().settings.http.proxies;
            let text = |p: Option<Secret>| p.map_or(String::new(), |s| s.reveal().to_string());
            format!("{} {}", text(proxies.http), text(proxies.https))
        };
        assert_eq!(
            [of(0), of(1), of(2), of(3)],
            [" ", "all all", "all s", "own own"]
        );
    }

    #[test]
    fn numbers_and_words() {
        let context = made(&[
            ("DXF_UPLOAD", "5MiB"),
            ("DXF_CHUNK_SIZE", "8192"),
            ("DXF_JOBS", "3"),
            ("DXF_RETRY_MAX_WAIT", "0"),
            ("DXF_INSECURE", "1"),
        ])
        .unwrap();
        assert_eq!(context.settings.upload, UploadMode::Chunked(5 << 20));
        assert_eq!(
            (context.settings.http.read_size, context.settings.http.jobs),
            (8192, 3)
        );
        assert!(context.settings.http.retry_max_wait.is_zero());
        assert_eq!(context.settings.scheme, Scheme::Http);
        let detects = |value| made(&[("DXF_INSECURE", value)]).unwrap().detects;
        assert!(detects("auto") && !detects("1") && !detects("automatic"));
        for (name, value) in [
            ("DXF_UPLOAD", "fast"),
            ("DXF_UPLOAD", "0"),
            ("DXF_CHUNK_SIZE", "0"),
            ("DXF_CHUNK_SIZE", "2GiB"),
            ("DXF_JOBS", "0"),
            ("DXF_RETRIES", "many"),
            ("DXF_LOG", "all"),
            ("DXF_OUTPUT", "yaml"),
            ("DXF_ALIAS_FORMAT", "x"),
            ("DXF_PLATFORM", "linux"),
            ("DXF_ALLOW_INSECURE_AUTH", "2"),
        ] {
            let said = made(&[(name, value)]).err().map(|e| e.to_string());
            assert!(said.is_some_and(|s| s.contains(name)), "{name}={value}");
        }
    }

    #[test]
    fn progress_is_shown_to_whoever_looks() {
        let of = |value: &str, terminal| {
            let lookup = |name: &str| (name == "DXF_PROGRESS").then(|| value.into());
            progress(Env::new(&lookup), terminal)
        };
        assert_eq!(of("0", true), Show::Nothing);
        assert_eq!(of("1", false), Show::Lines);
        assert_eq!(of("1", true), Show::Colours);
        assert_eq!(of("", false), Show::Nothing);
        assert_eq!(of("", true), Show::Colours);
    }
}
