//! `login`: keeps a login that was tried first.

use std::io::Read;

use console::Term;
use dxf_registry::bounds;
use dxf_registry::credentials::{ConfigFile, Credentials, How};
use dxf_registry::stream::read_bounded;
use dxf_registry::{Error, Result, Secret};

use super::{config, host};
use crate::cli::args::Login;
use crate::cli::exit::Failure;
use crate::cli::session::Session;

/// `login [-u NAME] [<host>]`
pub fn run(s: &mut Session<'_, '_>, args: &Login) -> Result<(), Failure> {
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
            .warn("the password is stored unencrypted; a credential helper would protect it");
    }
    s.line(format_args!("login for {host} stored in {saved}"))
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
            let why = "name the user with -u NAME, and pipe the password with --password-stdin";
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

/// Restores the settings of the terminal, and ends its line: a shell whose
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
    let stdin: &mut dyn Read = &mut *s.stdin;
    let bytes = s
        .interrupt
        .waiting(|| read_bounded("standard input", stdin, bounds::PASSWORD))?;
    let text =
        String::from_utf8(bytes).map_err(|_| Error::invalid("password", "…", "it is not UTF-8"))?;
    match text.lines().next() {
        Some(line) if !line.is_empty() => Ok(line.to_string()),
        _ => {
            let why = "standard input has none; pipe it: … | dxf login -u NAME --password-stdin";
            Err(Error::invalid("password", "", why))
        }
    }
}
