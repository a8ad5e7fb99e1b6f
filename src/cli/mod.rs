//! The `dxf` command: words and variables in, lines and an exit code out.
//!
//! Everything of the process comes in as a parameter, so that tests run it with
//! buffers and a map. The registry is the library's business; this part only
//! reads arguments, calls it, and writes what scripts expect.

pub mod interrupt;
pub mod out;

mod args;
mod artifact;
mod bundle;
mod commands;
mod env;
mod exit;
mod help;
mod image;
mod input;
mod manual;
mod near;
mod repos;
mod session;

use std::ffi::OsString;
use std::io::{Read, Write};

use clap::FromArgMatches;
use dxf_registry::Error;
use dxf_registry::cache::Hits;

use args::{Cli, Command, guide};
use commands::{alias, artifact as artifacts, blob, logins, tool};
use env::Context;
use env::vars::Env;
use exit::Failure;
use interrupt::Interrupt;
use out::bars::{self, Show};
use out::console::{Console, Out, Terminals, stdout};
use out::label::{Label, Names};
use out::tally::Verb;
use session::{Input, Session};

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
    /// The names of all variables in the environment.
    pub variables: Vec<OsString>,
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
    let variables = streams.variables;
    let mut out = Out::new(streams.stdout, streams.terminal);
    let mut name = String::new();
    let words: Vec<OsString> = words.into_iter().collect();
    if let [_, first, rest @ ..] = words.as_slice()
        && first == "__complete"
    {
        let input = Input {
            stdin: streams.stdin,
            terminal: streams.terminal,
            console: &console,
            interrupt,
        };
        tool::complete::run(&mut out, Env::new(lookup), input, rest);
        // A shell that has left needs no names.
        let _ = out.flush();
        return exit::DONE;
    }
    let words = help::as_options(words);
    let done = match parse(&words) {
        Ok((_, Cli { command: None })) => {
            console.raw(help::help().as_str());
            Err(args::usage("too few arguments"))
        }
        Ok((
            said,
            Cli {
                command: Some(command),
            },
        )) => {
            name = said;
            let input = Input {
                stdin: streams.stdin,
                terminal: streams.terminal,
                console: &console,
                interrupt,
            };
            let all = matches!(command, Command::ShowEnv(_));
            tool::show_env::misspelt(&console, &variables, all);
            begin(&command, Env::new(lookup), &mut out, input)
        }
        Err(error) if error.use_stderr() => {
            let (command, said) = help::explain(&error, &words);
            name = command;
            Err(args::usage(said))
        }
        Err(text) => write!(out, "{}", help::lower(text.render())).map_err(stdout),
    };
    let done = done.and(out.flush().map_err(stdout));
    let interrupted = interrupt.stop().is_set();
    match done {
        _ if out.is_gone() && interrupted => interrupt.code(),
        Err(_) if out.is_gone() => exit::DONE,
        done => end(&name, done, &console, interrupt),
    }
}

/// Says what became of `command`; returns the exit code.
fn end(command: &str, done: Result<(), Failure>, console: &Console, interrupt: &Interrupt) -> u8 {
    let interrupted = interrupt.stop().is_set();
    match done {
        Ok(()) => exit::DONE,
        // Another program's, which has said all there is to say.
        Err(Failure::Ended(code)) => code,
        // Whatever broke then broke because of that.
        Err(_) if interrupted && interrupt.is_resumable() => {
            tell(command, &Failure::Resumable, console, interrupt)
        }
        Err(_) if interrupted => tell(command, &Error::Stopped.into(), console, interrupt),
        Err(failure) => tell(command, &failure, console, interrupt),
    }
}

/// The command's name, and what the words mean.
fn parse(words: &[OsString]) -> Result<(String, Cli), clap::Error> {
    let all = guide::command_for(words.get(1).map(OsString::as_os_str));
    let found = all.try_get_matches_from(words)?;
    let name = found.subcommand_name().unwrap_or_default().to_string();
    Ok((name, Cli::from_arg_matches(&found)?))
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

/// Reads the environment, then does what was asked.
fn begin(
    command: &Command,
    env: Env<'_>,
    out: &mut Out<'_>,
    input: Input<'_>,
) -> Result<(), Failure> {
    match command {
        Command::Completions(words) => return tool::completions::run(out, words),
        Command::Man(words) => return tool::man::run(words),
        Command::Help(words) => return tool::help::run(out, env, &input, words),
        Command::ShowEnv(_) => return tool::show_env::run(out, env, input.terminal),
        _ => {}
    }
    let context = Context::new(env, input.terminal)?;
    let source = match command {
        Command::CopyImage(_)
        | Command::EditImage(_)
        | Command::Sync(_)
        | Command::MakeIndex(_) => context.source(env, input.terminal)?,
        _ => None,
    };
    let (hits, names) = (Hits::default(), Names::default());
    let label = Label::Blob {
        verb: verb(command),
        hits: hits.clone(),
        names: names.clone(),
    };
    let show = match input.terminal.stdout && prints_bytes(command) {
        true => Show::Nothing,
        false => context.show,
    };
    let progress = bars::progress(show, input.console, label);
    let input = Input {
        stdin: &mut *input.stdin,
        ..input
    };
    let mut session = Session::new(&context, out, input, &*progress);
    (session.source, session.hits, session.names) = (source, hits, names);
    let done = dispatch(&mut session, command).and_then(|()| session.end());
    done.map_err(|failure| no_login(failure, &context))
}

/// Whether a command writes the bytes that it fetches to standard output; on a
/// terminal, bars would be among them.
fn prints_bytes(command: &Command) -> bool {
    match command {
        Command::PullBlob(args) => args.output.is_none(),
        Command::GetLayer(args) => args.output.is_none(),
        Command::GetFile(args) => args.output.is_none(),
        _ => false,
    }
}

/// What a command does with the blobs that it moves.
fn verb(command: &Command) -> Verb {
    match command {
        Command::PullBlob(_)
        | Command::PullFiles(_)
        | Command::PullImage(_)
        | Command::LoadImage(_)
        | Command::RunImage(_)
        | Command::SaveBundle(_)
        | Command::ExportImage(_)
        | Command::GetLayer(_) => Verb::Downloaded,
        Command::VerifyAlias(_)
        | Command::VerifyImage(_)
        | Command::ShowBundle(_)
        | Command::ListFiles(_)
        | Command::GetFile(_)
        | Command::DiffImages(_) => Verb::Read,
        _ => Verb::Uploaded,
    }
}

/// A refusal where half of a login is set, which counts for nothing, or where no
/// login could be looked up.
fn no_login(failure: Failure, context: &Context) -> Failure {
    match (failure, context.half_login) {
        (Failure::Error(error), Some((set, unset))) if is_no_login(&error) => {
            let hint = format!("{set} is set, but {unset} is not; it takes both");
            Failure::Hinted(Box::new(error), hint)
        }
        (Failure::Error(error), None) if is_no_login(&error) && context.lacks_home => {
            let hint = "HOME is not set, so dxf cannot read the login that is stored there; set \
                        HOME, or DXF_USERNAME and DXF_PASSWORD";
            Failure::Hinted(Box::new(error), hint.to_string())
        }
        (failure, _) => failure,
    }
}

/// Whether a registry refused a request that had no credentials.
fn is_no_login(error: &Error) -> bool {
    matches!(error.what(), Error::Unauthorized { source: None, .. })
}

fn dispatch(s: &mut Session<'_, '_>, command: &Command) -> Result<(), Failure> {
    match command {
        Command::PushBlob(args) => blob::push::run(s, args),
        Command::PullBlob(args) => blob::pull::run(s, args),
        Command::BlobSize(words) => blob::size::run(s, words),
        Command::MountBlob(words) => blob::mount::run(s, words),
        Command::DelBlob(args) => blob::delete::run(s, args),
        Command::SetAlias(args) => alias::set::run(s, args),
        Command::GetAlias(words) => alias::get::run(s, words),
        Command::DelAlias(args) => alias::delete::run(s, args),
        Command::VerifyAlias(args) => alias::verify::run(s, args),
        Command::GetDigest(args) => alias::digest::run(s, args),
        Command::GetManifest(words) => alias::manifest::run(s, words),
        Command::ListAliases(args) => alias::list::run(s, args),
        Command::ListRepos(args) => alias::repos::run(s, args),
        Command::ShowUsage(words) => alias::usage::run(s, words),
        Command::PushFiles(args) => artifacts::push_files::run(s, args),
        Command::PullFiles(args) => artifacts::pull_files::run(s, args),
        Command::Auth(args) => logins::token::run(s, args),
        Command::PullImage(args) => commands::image::pull::run(s, args),
        Command::PushImage(args) => commands::image::push::run(s, args),
        Command::EditImage(args) => commands::image::edit::run(s, args),
        Command::CopyImage(args) => commands::image::copy::run(s, args),
        Command::TagImage(words) => commands::image::tag::run(s, words),
        Command::Attach(args) => artifacts::attach::run(s, args),
        Command::Detach(words) => artifacts::detach::run(s, words),
        Command::MakeIndex(args) => artifacts::index::run(s, args),
        Command::PutManifest(words) => artifacts::put_manifest::run(s, words),
        Command::ListReferrers(args) => artifacts::referrers::run(s, args),
        Command::SaveBundle(args) => commands::bundle::save::run(s, args),
        Command::LoadBundle(args) => commands::bundle::load::run(s, args),
        Command::ShowBundle(args) => commands::bundle::show::run(s, args),
        Command::LoadImage(args) => commands::image::load::run(s, args),
        Command::RunImage(args) => commands::image::run::run(s, args),
        Command::PruneAliases(args) => commands::keeping::prune::run(s, args),
        Command::Sync(args) => commands::keeping::sync::run(s, args),
        Command::Doctor(args) => commands::keeping::doctor::run(s, args),
        Command::Gc(args) => commands::keeping::gc::run(s, args),
        Command::Cache(args) => tool::cache::run(s, args),
        Command::Login(args) => logins::login::run(s, args),
        Command::Logout(words) => logins::logout::run(s, words),
        Command::ListLogins(_) => logins::list::run(s),
        Command::ListPlatforms(words) => commands::image::platforms::run(s, words),
        Command::GetConfig(args) => commands::image::config::run(s, args),
        Command::GetHistory(args) => commands::image::history::run(s, args),
        Command::ListLayers(args) => commands::image::layers::run(s, args),
        Command::GetLayer(args) => commands::image::layer::run(s, args),
        Command::ListFiles(args) => commands::image::files::run(s, args),
        Command::GetFile(args) => commands::image::file::run(s, args),
        Command::ExportImage(args) => commands::image::export::run(s, args),
        Command::DiffImages(args) => commands::image::diff::run(s, args),
        Command::ResolveImage(args) => commands::image::resolve::run(s, args),
        Command::VerifyImage(args) => commands::image::verify::run(s, args),
        // These were done before a session was needed.
        Command::ShowEnv(_) | Command::Completions(_) | Command::Man(_) | Command::Help(_) => {
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests;
