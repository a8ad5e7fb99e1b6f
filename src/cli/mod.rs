//! The `dxf` command: words and variables in, lines and an exit code out.
//!
//! Everything of the process comes in as a parameter, so that tests run it with
//! buffers and a map. The registry is the library's business; this part only
//! reads arguments, calls it, and writes what scripts expect.

pub mod console;
pub mod interrupt;

mod aliases;
mod args;
mod auth;
mod bars;
mod blobs;
mod context;
mod env;
mod exit;
mod help;
mod images;
mod input;
mod log;
mod output;
mod own;
mod pull;
mod session;
mod size;
mod split;
mod verify;
mod whole;

use std::ffi::OsString;
use std::io::{Read, Write};

use clap::Parser;
use dxf_registry::Error;

use args::{Cli, Command};
use console::{Console, Out};
use context::Context;
use env::Env;
use exit::Failure;
use interrupt::Interrupt;
use session::Session;

/// What a process has to read from and write to.
pub struct Streams<'a> {
    /// Standard input.
    pub stdin: &'a mut (dyn Read + Send),
    /// Standard output.
    pub stdout: &'a mut (dyn Write + Send),
    /// Standard error.
    pub console: Console,
    /// Which of them a person sits at.
    pub terminal: Terminals,
}

/// Which streams are terminals.
#[derive(Debug, Clone, Copy, Default)]
pub struct Terminals {
    /// Standard input.
    pub stdin: bool,
    /// Standard output.
    pub stdout: bool,
    /// Standard error.
    pub stderr: bool,
}

/// Runs the command that `words` make, the program's name first, with the
/// variables that `lookup` finds; returns the exit code.
pub fn run(
    words: impl IntoIterator<Item = OsString>,
    lookup: &dyn Fn(&str) -> Option<OsString>,
    streams: Streams<'_>,
    interrupt: &Interrupt,
) -> u8 {
    let console = streams.console.clone();
    let mut out = Out::new(streams.stdout, streams.terminal);
    let mut name = String::new();
    let words: Vec<OsString> = words.into_iter().collect();
    let done = match Cli::try_parse_from(&words) {
        Ok(Cli { command: None }) => {
            console.raw(help::help().as_str());
            Err(args::usage("too few arguments"))
        }
        Ok(Cli {
            command: Some(command),
        }) => {
            name = command.name().to_string();
            let input = Input {
                stdin: streams.stdin,
                terminal: streams.terminal,
                console: &console,
                interrupt,
            };
            begin(&command, Env::new(lookup), &mut out, input)
        }
        Err(error) if error.use_stderr() => {
            let (command, said) = help::explain(&error, words.get(1).map(OsString::as_os_str));
            name = command;
            Err(args::usage(said))
        }
        Err(text) => write!(out, "{}", help::lower(text.render())).map_err(stdout),
    };
    let flushed = out.flush().map_err(stdout);
    let interrupted = interrupt.stop().is_set();
    if out.is_gone() {
        return if interrupted {
            interrupt.code()
        } else {
            exit::DONE
        };
    }
    match done.and(flushed) {
        Ok(()) => exit::DONE,
        // Another program's, which has said all there is to say.
        Err(Failure::Ended(code)) => code,
        // Whatever broke then broke because of that.
        Err(_) if interrupted => tell(&name, &Error::Stopped.into(), &console, interrupt),
        Err(failure) => tell(&name, &failure, &console, interrupt),
    }
}

/// Standard output that can't be written to.
fn stdout(error: std::io::Error) -> Failure {
    Failure::Error(Error::io("standard output", error))
}

/// Says why `command` failed; returns the exit code.
fn tell(command: &str, failure: &Failure, console: &Console, interrupt: &Interrupt) -> u8 {
    console.clear();
    if let Failure::Usage(_) = failure {
        console.raw(&help::usage_line(command));
    }
    console.line(&exit::line(command, failure));
    exit::code(failure, interrupt.code())
}

/// The rest of what a command is given.
struct Input<'a> {
    stdin: &'a mut (dyn Read + Send),
    terminal: Terminals,
    console: &'a Console,
    interrupt: &'a Interrupt,
}

/// Reads the environment, then does what was asked.
fn begin(
    command: &Command,
    env: Env<'_>,
    out: &mut Out<'_>,
    input: Input<'_>,
) -> Result<(), Failure> {
    match command {
        Command::Completions(words) => return own::completions(out, words),
        Command::Man(words) => return own::man(words),
        _ => {}
    }
    let context = Context::new(env, input.terminal)?;
    if let Command::ShowEnv(words) = command {
        return own::show_env(out, env, &context, words);
    }
    let source = match command {
        Command::CopyImage(_) | Command::EditImage(_) => context.source(env, input.terminal)?,
        _ => None,
    };
    let progress = bars::progress(context.show, input.console);
    let input = Input {
        stdin: &mut *input.stdin,
        ..input
    };
    let mut session = Session::new(&context, out, input, &*progress);
    session.source = source;
    dispatch(&mut session, command)
}

fn dispatch(s: &mut Session<'_, '_>, command: &Command) -> Result<(), Failure> {
    match command {
        Command::PushBlob(args) => blobs::push(s, args),
        Command::PullBlob(args) => pull::pull(s, args),
        Command::BlobSize(words) => blobs::size(s, words),
        Command::MountBlob(words) => blobs::mount(s, words),
        Command::DelBlob(args) => blobs::delete(s, args),
        Command::SetAlias(args) => aliases::set(s, args),
        Command::GetAlias(words) => aliases::get(s, words),
        Command::DelAlias(args) => aliases::delete(s, args),
        Command::VerifyAlias(args) => verify::verify(s, args),
        Command::GetDigest(args) => aliases::digest(s, args),
        Command::GetManifest(words) => aliases::manifest(s, words),
        Command::ListAliases(words) => aliases::list(s, words),
        Command::ListRepos(words) => auth::repos(s, words),
        Command::Auth(args) => auth::token(s, args),
        Command::PullImage(args) => images::pull::pull(s, args),
        Command::PushImage(args) => images::push::push(s, args),
        Command::EditImage(args) => images::edit::edit(s, args),
        Command::CopyImage(args) => images::copy::copy(s, args),
        Command::TagImage(words) => images::tag::tag(s, words),
        Command::LoadImage(args) => images::load::load(s, args),
        Command::RunImage(args) => images::run::run(s, args),
        Command::Cache(args) => images::cache::cache(s, args),
        Command::Login(args) => auth::login(s, args),
        Command::Logout(words) => auth::logout(s, words),
        Command::ListLogins(words) => auth::logins(s, words),
        Command::ListPlatforms(words) => images::look::platforms(s, words),
        Command::GetConfig(args) => images::look::config(s, args),
        Command::GetHistory(args) => images::look::history(s, args),
        Command::ListLayers(args) => images::look::layers(s, args),
        Command::GetLayer(args) => images::look::layer(s, args),
        Command::ListFiles(args) => images::files::list(s, args),
        Command::ResolveImage(args) => images::resolve::resolve(s, args),
        Command::VerifyImage(args) => images::verify::verify(s, args),
        // These were done before a session was needed.
        Command::ShowEnv(_) | Command::Completions(_) | Command::Man(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests;
