//! The commands about a registry as a whole: its repositories, and who one is
//! towards it.

use std::fmt::Display;
use std::io::Read;

use console::Term;
use dxf_registry::credentials::{ConfigFile, Credentials, How, Listed};
use dxf_registry::layout::Layouts;
use dxf_registry::registry::Granted;
use dxf_registry::stream::read_bounded;
use dxf_registry::text::one_line;
use dxf_registry::{Error, Host, Result, Secret, json};
use serde_json::{Value, json};

use super::args::{self, Auth, Login, Words};
use super::context::{Place, SESSIONS, Shape};
use super::env;
use super::exit::Failure;
use super::session::Session;

/// `list-repos`
pub fn repos(s: &mut Session<'_, '_>, words: &Words) -> Result<(), Failure> {
    words.none()?;
    match s.place()? {
        Place::Registry(host) => {
            let registry = s.registry(host)?;
            s.names(registry.repos())
        }
        Place::Folder(folder) => s.names(Layouts::new(folder).repos()),
    }
}

/// `auth [--explain] <repo> <action> …`
pub fn token(s: &mut Session<'_, '_>, args: &Auth) -> Result<(), Failure> {
    let (repo, rest) = args.words.repo(0, usize::MAX)?;
    let actions: Result<Vec<String>> = rest
        .iter()
        .map(|w| Ok(args::text(w)?.to_string()))
        .collect();
    let actions = actions?;
    let host = match s.place()? {
        Place::Registry(host) => host,
        Place::Folder(_) if args.explain => return s.line("a folder needs no credentials"),
        Place::Folder(_) => return Ok(()),
    };
    let granted = s.registry(host)?.authenticate(Some(&repo), &actions)?;
    match &granted.token {
        _ if args.explain => explanation(s, &granted),
        Some(token) => s.line(token.reveal()),
        None => Ok(()),
    }
}

/// What was asked and granted, without the token.
fn explanation(s: &mut Session<'_, '_>, granted: &Granted) -> Result<(), Failure> {
    let expires = granted
        .expires_in
        .map(|time| format!("{} s", time.as_secs()));
    let facts = [
        ("credentials", Some(granted.source.clone())),
        ("scheme", Some(granted.scheme.to_string())),
        ("realm", granted.realm.clone()),
        ("service", granted.service.clone()),
        (
            "asked",
            Some(granted.asked.join(" ")).filter(|asked| !asked.is_empty()),
        ),
        ("granted", granted.granted.clone()),
        ("expires", expires),
    ];
    let known = facts
        .into_iter()
        .filter_map(|(name, fact)| Some((name, fact?)));
    if s.context.shape == Shape::Json {
        let all = known.map(|(name, fact)| (name.to_string(), fact.into()));
        return s.line(json::python(&Value::Object(all.collect())));
    }
    for (name, fact) in known {
        s.foreign(format_args!("{name}: {fact}"))?;
    }
    Ok(())
}

/// The registry that `login` and `logout` are about.
fn host(s: &Session<'_, '_>, words: &Words) -> Result<Host, Failure> {
    match (words.take(0, 1)?.first(), &s.context.place) {
        (Some(word), _) => Ok(args::text(word)?.parse()?),
        (None, Some(Place::Registry(host))) => Ok(host.clone()),
        (None, Some(Place::Folder(_))) => {
            Err(args::usage("too few arguments (a folder needs no login)"))
        }
        (None, None) => Err(Failure::Unset(env::HOST.name)),
    }
}

/// The file that logins are kept in.
fn config(s: &Session<'_, '_>) -> Result<ConfigFile> {
    let file = s
        .context
        .login_files
        .iter()
        // Gone with the next boot, and made for root by podman alone.
        .find(|file| !file.starts_with(SESSIONS))
        .ok_or_else(|| Error::Unsupported {
            what: "there is no place to keep a login; set DOCKER_CONFIG to a folder".to_string(),
        })?;
    Ok(ConfigFile::new(file).with_helpers(s.context.helpers.clone()))
}

/// `login [-u NAME] [<host>]`
pub fn login(s: &mut Session<'_, '_>, args: &Login) -> Result<(), Failure> {
    let host = host(s, &args.words)?;
    let file = config(s)?;
    let (username, password) = ask(s, args)?;
    ConfigFile::check(&username, &password)?;
    // A login that does not work would only fail later, and less clearly.
    let tried = Credentials::password(&username, password.clone());
    let registry = s.context.connect(&host, s.settings(), tried)?;
    registry.authenticate(None, &[])?;
    let saved = file.save(&host, &username, &password)?;
    if saved.how == How::Auth {
        s.console
            .warn("the password is kept unencrypted; a credential helper would keep it safe");
    }
    s.foreign(format_args!("login for {host} kept in {saved}"))
}

/// Name and password: given, in the environment, or asked for.
fn ask(s: &mut Session<'_, '_>, args: &Login) -> Result<(String, Secret)> {
    if let Some((name, password)) = s.context.password()
        && !args.password_stdin
        && args.username.as_ref().is_none_or(|given| given == name)
    {
        return Ok((name.to_string(), password.clone()));
    }
    let by_hand = s.terminal.stdin && s.terminal.stderr && !args.password_stdin;
    let username = match (&args.username, by_hand) {
        (Some(name), _) => name.clone(),
        (None, true) => prompt(s, "Username: ", Term::read_line)?,
        (None, false) => {
            let why = "name the user with -u NAME";
            return Err(Error::invalid("username", "", why));
        }
    };
    let password = if by_hand {
        prompt(s, "Password: ", Term::read_secure_line)?
    } else {
        piped(s)?
    };
    Ok((username, Secret::new(password)))
}

fn prompt(
    s: &Session<'_, '_>,
    words: &str,
    read: impl Fn(&Term) -> std::io::Result<String>,
) -> Result<String> {
    let term = Term::stderr();
    let answer = term
        .write_str(words)
        .and_then(|()| s.interrupt.waiting_with(echo_again(), || read(&term)));
    answer.map_err(|e| Error::io("the terminal", e))
}

/// Puts the terminal back as it is now, and ends its line: a shell whose
/// terminal shows nothing that is typed looks broken.
fn echo_again() -> impl Fn() + Send + 'static {
    use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};
    let before = tcgetattr(std::io::stdin()).ok();
    move || {
        if let Some(before) = &before {
            let _ = tcsetattr(std::io::stdin(), OptionalActions::Now, before);
            let _ = Term::stderr().write_line("");
        }
    }
}

/// The first line of standard input.
fn piped(s: &mut Session<'_, '_>) -> Result<String> {
    const LONGEST: u64 = 64 << 10;
    let stdin: &mut dyn Read = &mut *s.stdin;
    let bytes = s
        .interrupt
        .waiting(|| read_bounded("standard input", stdin, LONGEST))?;
    let text =
        String::from_utf8(bytes).map_err(|_| Error::invalid("password", "…", "it is not UTF-8"))?;
    Ok(text.lines().next().unwrap_or_default().to_string())
}

/// `logout [<host>]`
pub fn logout(s: &mut Session<'_, '_>, words: &Words) -> Result<(), Failure> {
    let host = host(s, words)?;
    match config(s)?.erase(&host)? {
        true => s.line(format_args!("login for {host} removed")),
        false => Err(Error::NotFound {
            what: format!("login for {host}"),
        }
        .into()),
    }
}

/// `list-logins`
pub fn logins(s: &mut Session<'_, '_>, words: &Words) -> Result<(), Failure> {
    words.none()?;
    let found = s.context.files.list()?;
    for trouble in &found.troubles {
        s.console.warn(&trouble.to_string());
    }
    if s.context.shape == Shape::Json {
        let all: Value = found.logins.iter().map(described).collect();
        return s.line(json::python(&all));
    }
    for login in &found.logins {
        let name = login.username.as_deref().unwrap_or("-");
        let (key, how, file) = (&login.key, &login.how, login.file.display());
        s.foreign(format_args!("{key} {name} ({how}, {file})"))?;
    }
    Ok(())
}

fn described(login: &Listed) -> Value {
    json!({
        "registry": login.key,
        "username": login.username,
        "kept": login.how.to_string(),
        "file": login.file.display().to_string(),
    })
}

impl Session<'_, '_> {
    /// Writes a line that holds words from elsewhere.
    fn foreign(&mut self, line: impl Display) -> Result<(), Failure> {
        let line = line.to_string();
        self.line(one_line(&line))
    }
}
