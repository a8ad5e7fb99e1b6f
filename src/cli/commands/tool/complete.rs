//! `__complete`: the repositories and aliases that a shell offers while a command
//! is written. The scripts of `completions` call it; it is never an error.

use std::ffi::OsString;
use std::io::Write;
use std::time::Duration;

use clap::Command;
use dxf_registry::layout::Layouts;
use dxf_registry::{Result, Root, parallel};

use crate::cli::args::guide;
use crate::cli::env::Context;
use crate::cli::env::vars::Env;
use crate::cli::exit::Failure;
use crate::cli::out::console::Out;
use crate::cli::session::{Input, Session};

/// How long a user waits for names, at most.
const PATIENCE: Duration = Duration::from_secs(2);
/// The most names that are offered.
const MOST: usize = 1000;

/// What a word may be completed with.
#[derive(Debug, PartialEq, Eq)]
enum Slot<'a> {
    Repos,
    /// Aliases of a repository, after this prefix.
    Aliases(&'a str, String),
}

/// `__complete <word> …`: the words of the command, the unfinished one last.
pub fn run(out: &mut Out<'_>, env: Env<'_>, input: Input<'_>, words: &[OsString]) {
    let words: Vec<&str> = words.iter().filter_map(|word| word.to_str()).collect();
    let Some((current, before)) = words.split_last() else {
        return;
    };
    let Some(slot) = slot(before, current) else {
        return;
    };
    let Ok(mut context) = Context::new(env, input.terminal) else {
        return;
    };
    context.settings.http.retries = 0;
    context.settings.http.connect_timeout = PATIENCE;
    let stop = input.interrupt.stop().clone();
    parallel::detached(move || {
        std::thread::sleep(PATIENCE);
        stop.set();
    });
    let input = Input {
        stdin: &mut *input.stdin,
        ..input
    };
    let session = Session::new(&context, out, input, &());
    let names = names(&session, &slot).unwrap_or_default();
    for name in names.iter().filter(|name| name.starts_with(current)) {
        // A shell that has left needs no names.
        let _ = writeln!(out, "{name}");
    }
}

/// What the word after `before` may be completed with.
fn slot<'a>(before: &[&'a str], current: &'a str) -> Option<Slot<'a>> {
    let (name, words) = before.split_first()?;
    let mut all = guide::command();
    all.build();
    let command = all.find_subcommand(name)?;
    let given = positionals(command, words)?;
    if current.starts_with('-') {
        return None;
    }
    let at = command.get_positionals().nth(given.len());
    let at = at.or_else(|| command.get_positionals().last())?;
    let called = at.get_value_names()?.first()?.to_string();
    let in_first = |prefix: &str| {
        let repo = given.first()?;
        Some(Slot::Aliases(repo, prefix.to_string()))
    };
    match called.as_str() {
        "repo" | "from-repo" => Some(Slot::Repos),
        "alias" | "alias|digest" => in_first(""),
        "@alias" | "digest|@alias" => in_first("@"),
        "image" | "image|scratch" | "index" => match current.rsplit_once(':') {
            Some((repo, _)) => Some(Slot::Aliases(repo, format!("{repo}:"))),
            None => Some(Slot::Repos),
        },
        _ => None,
    }
}

/// The words that are no options and no values of options; `None` where an
/// option waits for its value.
fn positionals<'a>(command: &Command, words: &[&'a str]) -> Option<Vec<&'a str>> {
    let takes_value = |word: &str| {
        let found = command.get_arguments().find(|arg| {
            let long = arg
                .get_long()
                .is_some_and(|long| word == format!("--{long}"));
            long || arg
                .get_short()
                .is_some_and(|short| word == format!("-{short}"))
        });
        found.is_some_and(|arg| arg.get_action().takes_values())
    };
    let mut given = Vec::new();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        if !word.starts_with('-') || *word == "-" {
            given.push(*word);
        } else if takes_value(word) {
            words.next()?;
        }
    }
    Some(given)
}

/// The names for a slot, as many as come in time.
fn names(s: &Session<'_, '_>, slot: &Slot<'_>) -> Result<Vec<String>, Failure> {
    match slot {
        Slot::Repos => match s.root()? {
            Root::Registry(host) => Ok(some(s.registry(host)?.repos(), "")),
            Root::Folder(folder) => Ok(some(Layouts::new(folder).repos(), "")),
        },
        Slot::Aliases(repo, prefix) => {
            let store = s.store(repo.parse()?)?;
            Ok(some(store.tag_names(), prefix))
        }
    }
}

/// The valid names, after a prefix.
fn some<T: ToString>(names: impl Iterator<Item = Result<T>>, prefix: &str) -> Vec<String> {
    let good = names.filter_map(Result::ok).take(MOST);
    good.map(|name| format!("{prefix}{}", name.to_string()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_completed_by_its_place() {
        let aliases = |repo, prefix: &str| Some(Slot::Aliases(repo, prefix.to_string()));
        for (before, current, expected) in [
            (&["push-blob"][..], "te", Some(Slot::Repos)),
            (&["push-blob", "team/a"], "", None),
            (&["push-blob", "team/a", "f"], "@", aliases("team/a", "@")),
            (&["pull-blob", "team/a"], "", aliases("team/a", "@")),
            (
                &["pull-blob", "-o", "f", "team/a", "@x"],
                "",
                aliases("team/a", "@"),
            ),
            (&["pull-blob", "-o"], "", None),
            (&["pull-blob"], "-", None),
            (&["get-alias", "team/a", "v1"], "v", aliases("team/a", "")),
            (&["pull-image"], "team/a:", aliases("team/a", "team/a:")),
            (&["copy-image", "team/a:1"], "te", Some(Slot::Repos)),
            (&["make-index"], "te", Some(Slot::Repos)),
            (&["nope"], "", None),
            (&[], "", None),
        ] {
            assert_eq!(slot(before, current), expected, "{before:?} {current:?}");
        }
    }
}
