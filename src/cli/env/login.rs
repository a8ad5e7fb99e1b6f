//! Who to be at a registry: the environment's own login, and the files of others.

use std::collections::HashSet;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Once};

use dxf_registry::credentials::{Files, Found, Login, Provider};
use dxf_registry::{Error, Host, RepoName, Result, Secret};

use crate::cli::env::vars::{self, Env};

/// The environment's login; a name with a password beats `DXF_AUTHORIZATION`,
/// as in python-dxf, and a name alone counts for nothing there.
pub fn login(env: Env<'_>, anonymous: bool) -> Result<Option<(Login, &'static str)>> {
    if anonymous {
        let source = env.on_this_side(&vars::ANONYMOUS).name;
        return Ok(Some((Login::Anonymous, source)));
    }
    if let Some(username) = env.text(&vars::USERNAME)? {
        let own = env.on_this_side(&vars::PASSWORD).name;
        let (password, source) = match (env.secret(&vars::PASSWORD)?, password_file(env)?) {
            (Some(password), _) => (Some(password), own),
            (None, Some(password)) => (Some(password), env.on_this_side(&vars::PASSWORD_FILE).name),
            // A password may be empty, unlike every other value.
            (None, None) => (env.is_empty(&vars::PASSWORD).then(|| "".into()), own),
        };
        let source = match source {
            "DXF_PASSWORD" => "DXF_USERNAME and DXF_PASSWORD",
            "DXF_PASSWORD_FILE" => "DXF_USERNAME and DXF_PASSWORD_FILE",
            "DXF_FROM_PASSWORD" => "DXF_FROM_USERNAME and DXF_FROM_PASSWORD",
            _ => "DXF_FROM_USERNAME and DXF_FROM_PASSWORD_FILE",
        };
        if let Some(password) = password {
            return Ok(Some((Login::Password { username, password }, source)));
        }
    }
    let header = env.header(&vars::AUTHORIZATION)?;
    let source = env.on_this_side(&vars::AUTHORIZATION).name;
    Ok(header.map(|header| (Login::Header(header), source)))
}

/// Of a user's name and a password the variable that is set without the other,
/// and that other, where nothing else says who to be.
pub fn half(env: Env<'_>) -> Option<(&'static str, &'static str)> {
    let name = |var| env.on_this_side(var).name;
    let is_set = |var| env.raw(var).is_some() || env.is_empty(var);
    let passwords = [&vars::PASSWORD, &vars::PASSWORD_FILE];
    let password = passwords.into_iter().find(|var| is_set(var));
    match (env.raw(&vars::USERNAME), password) {
        (None, Some(password)) => Some((name(password), name(&vars::USERNAME))),
        (Some(_), None) => Some((name(&vars::USERNAME), name(&vars::PASSWORD))),
        _ => None,
    }
}

/// The logins of others, where half of one is set in the environment: the first that
/// is used is worth a warning.
pub struct Instead {
    /// The logins of others.
    pub inner: Arc<dyn Provider>,
    /// The variable that is set, and the one that is not ([`half`]).
    pub half: (&'static str, &'static str),
    /// Shows a warning.
    pub warn: Box<dyn Fn(&str) + Send + Sync>,
    /// Shows it once.
    pub once: Once,
}

impl Provider for Instead {
    fn find(&self, host: &Host, repo: Option<&RepoName>) -> Result<Found> {
        let found = self.inner.find(host, repo)?;
        if found.login != Login::Anonymous {
            let ((set, unset), source) = (self.half, &found.source);
            let text = format!("{set} is set, but {unset} is not: dxf uses the login in {source}");
            self.once.call_once(|| (self.warn)(&text));
        }
        Ok(found)
    }

    fn has_login(&self, host: &Host, repo: Option<&RepoName>) -> bool {
        self.inner.has_login(host, repo)
    }
}

/// Whether no folder is known in which Docker keeps logins.
pub fn lacks_home(env: Env<'_>) -> bool {
    [&vars::HOME, &vars::DOCKER_CONFIG]
        .iter()
        .all(|var| env.path(var).is_none())
}

fn password_file(env: Env<'_>) -> Result<Option<Secret>> {
    let Some(path) = env.path(&vars::PASSWORD_FILE) else {
        return Ok(None);
    };
    let name = env.on_this_side(&vars::PASSWORD_FILE).name;
    let why = |why: String| Error::invalid(name, path.display().to_string(), why);
    let line = first_line(&path).map_err(|e| why(e.to_string()))?;
    if line.is_empty() {
        return Err(why("its first line is empty".to_string()));
    }
    Ok(Some(Secret::new(line)))
}

fn first_line(path: &Path) -> std::io::Result<String> {
    // The file may be a device; no password is longer than this.
    let mut line = String::new();
    BufReader::new(File::open(path)?.take(64 << 10)).read_line(&mut line)?;
    Ok(line.trim_end_matches(['\r', '\n']).to_string())
}

/// The files in which Docker, podman and their helpers keep logins, in the
/// order they are asked. `login` writes to the first.
pub fn login_files(env: Env<'_>) -> Vec<PathBuf> {
    let home = env.path(&vars::HOME);
    let under = |folder: &str| home.as_ref().map(|home| home.join(folder));
    let docker = env.path(&vars::DOCKER_CONFIG).or_else(|| under(".docker"));
    // containers-auth.json(5); the folder of a user's session has no other
    // name where the variable is unset, as under su and cron.
    let session = env.path(&vars::XDG_RUNTIME_DIR).map_or_else(
        || Path::new(SESSIONS).join(rustix::process::getuid().as_raw().to_string()),
        |folder| folder.join("containers"),
    );
    let mut podman = vec![session];
    podman.extend(
        env.path(&vars::XDG_CONFIG_HOME)
            .map(|folder| folder.join("containers")),
    );
    podman.extend(under(".config/containers"));
    let mut files: Vec<PathBuf> = docker
        .iter()
        .map(|folder| folder.join("config.json"))
        .collect();
    files.extend(env.path(&vars::REGISTRY_AUTH_FILE));
    files.extend(podman.iter().map(|folder| folder.join("auth.json")));
    let mut seen = HashSet::new();
    files.retain(|file| seen.insert(file.clone()));
    files
}

/// Where podman keeps the logins of a session without `XDG_RUNTIME_DIR`.
pub const SESSIONS: &str = "/run/containers";

/// Where logins are looked up: Docker's configuration in a variable, then the
/// files at `paths`.
pub fn files(env: Env<'_>, paths: &[PathBuf]) -> Result<Files> {
    let files = Files::new(paths.to_vec());
    let name = vars::DOCKER_AUTH_CONFIG.name;
    match env.secret(&vars::DOCKER_AUTH_CONFIG)? {
        Some(text) => files.with_text(name, &text).map_err(|error| match error {
            Error::Malformed { why, .. } => Error::invalid(name, "…", why),
            other => other,
        }),
        None => Ok(files),
    }
}
