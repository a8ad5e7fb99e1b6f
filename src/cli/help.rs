//! What is said about the command line itself: help, usage, and what clap makes
//! of words it does not understand, in the wording that scripts know from
//! python-dxf.

use std::ffi::{OsStr, OsString};

use clap::CommandFactory;
use clap::builder::StyledStr;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use dxf_registry::text::without_login;
use dxf_registry::{Host, Reference, Target};

use crate::cli::args::{Cli, guide};
use crate::cli::manual::{Page, TOPICS};

/// How `command` is used, in one line.
pub fn usage_line(command: &str) -> String {
    let mut all = guide::command();
    all.build();
    lower(match all.find_subcommand_mut(command) {
        Some(found) => found.render_usage(),
        None => all.render_usage(),
    })
}

/// The commands in groups, with a line about each, and the manual's topics.
pub fn help() -> String {
    lower(guide::command().render_help())
}

/// `help`, `help <command>` and `version` as the options that mean the same. A
/// word that only begins a topic stands for it.
pub fn as_options(words: Vec<OsString>) -> Vec<OsString> {
    match words.as_slice() {
        [dxf, help] if help == "help" => vec![dxf.clone(), "--help".into()],
        [dxf, version] if version == "version" => vec![dxf.clone(), "--version".into()],
        [dxf, help, command] if help == "help" => {
            if Cli::command().find_subcommand(command).is_some() {
                return vec![dxf.clone(), command.clone(), "--help".into()];
            }
            match topic(command) {
                Some(topic) => vec![dxf.clone(), help.clone(), topic.into()],
                None if command.as_encoded_bytes().starts_with(b"-") => words,
                // A topic with a slip: `help` says which.
                None if command.to_str().and_then(Page::near).is_some() => words,
                None if is_nearly_one(command) => vec![dxf.clone(), command.clone()],
                None => words,
            }
        }
        _ => words,
    }
}

/// Whether a word is the name of a command in another tool, or almost one here.
fn is_nearly_one(word: &OsStr) -> bool {
    let parsed = Cli::command().try_get_matches_from([OsStr::new("dxf"), word]);
    let guess = |error: clap::Error| error.get(ContextKind::SuggestedSubcommand).is_some();
    word.to_str().and_then(pointer).is_some() || parsed.err().is_some_and(guess)
}

/// The topic of this name, or the only one that begins with it.
fn topic(word: &OsStr) -> Option<&'static str> {
    let word = word.to_str()?;
    let exact = TOPICS.iter().find(|topic| **topic == word);
    let mut begun = TOPICS.iter().filter(|topic| topic.starts_with(word));
    exact
        .or_else(|| begun.next().filter(|_| begun.next().is_none()))
        .copied()
}

/// How an image is made that has no base.
const NEW: &str = "edit-image with the image scratch";

/// What other tools call something, and the commands for it here.
const POINTERS: [(&str, &str); 46] = [
    ("-v", "dxf --version"),
    ("backup", "dxf help housekeeping"),
    ("build", NEW),
    ("build-image", NEW),
    ("bundle", "save-bundle, load-bundle or show-bundle"),
    ("cat", "pull-blob or get-file"),
    ("catalog", "list-repos"),
    ("copy", "copy-image"),
    ("create-image", NEW),
    ("cron", "dxf help housekeeping"),
    ("del-image", "del-alias"),
    ("delete", "del-alias or del-blob"),
    ("digest", "get-digest"),
    ("discover", "list-referrers"),
    ("download", "pull-blob, pull-files or pull-image"),
    ("du", "show-usage"),
    ("garbage-collect", "gc"),
    ("get", "pull-blob, pull-files or pull-image"),
    ("images", "list-repos or list-aliases"),
    ("import", "push-image or load-bundle"),
    ("inspect", "get-manifest, get-config or list-layers"),
    ("list", "list-repos or list-aliases"),
    ("list-artifacts", "list-aliases or list-referrers"),
    ("list-blobs", "get-alias or list-layers"),
    ("list-images", "list-repos or list-aliases"),
    ("list-refs", "list-referrers"),
    ("list-tags", "list-aliases"),
    ("ls", "list-repos, list-aliases or list-files"),
    ("make-image", NEW),
    ("manifest", "get-manifest"),
    ("new-image", NEW),
    ("publish", "push-files"),
    ("put", "push-blob, push-files or push-image"),
    ("refs", "list-referrers"),
    ("restore", "pull-blob, or dxf help housekeeping"),
    ("rotation", "dxf help housekeeping"),
    ("rm", "del-alias or del-blob"),
    ("rm-alias", "del-alias"),
    ("run", "run-image"),
    ("save-image", "pull-image or save-bundle"),
    ("show-image", "get-manifest, get-config or list-layers"),
    ("show-manifest", "get-manifest"),
    ("tags", "list-aliases"),
    ("upload", "push-blob, push-files or push-image"),
    ("usage", "show-usage"),
    ("verify", "verify-alias or verify-image"),
];

/// The commands for what other tools call `word`.
fn pointer(word: &str) -> Option<String> {
    let found = POINTERS.iter().find(|(name, _)| *name == word)?;
    Some(found.1.to_string())
}

/// Text of clap's, with the word that scripts look for as argparse writes it.
pub fn lower(text: StyledStr) -> String {
    text.to_string().replacen("Usage:", "usage:", 1)
}

/// What clap does not understand, in the words of this command: the command
/// it was said of, if it was one, and what is wrong. `words` are those that were
/// written, the program's name first.
pub fn explain(error: &clap::Error, words: &[OsString]) -> (String, String) {
    let word = words.get(1).map(OsString::as_os_str);
    let get = |kind| error.get(kind).map(ContextValue::to_string);
    let rendered = error.render().to_string();
    let said = match error.kind() {
        ErrorKind::InvalidSubcommand => format!(
            "there is no command {}",
            get(ContextKind::InvalidSubcommand).unwrap_or_default()
        ),
        ErrorKind::MissingRequiredArgument => "too few arguments".to_string(),
        ErrorKind::UnknownArgument if is_word(error) => format!(
            "too many arguments (unrecognized arguments: {})",
            without_login(&get(ContextKind::InvalidArg).unwrap_or_default())
        ),
        _ => {
            let first = rendered.lines().next().unwrap_or_default();
            let said = first.trim_start_matches("error: ");
            said.replace("invalid digit found in string", "it takes a whole number")
        }
    };
    let hint =
        meant(error, word).or_else(|| with_tag(words, &get(ContextKind::InvalidArg)?, &rendered));
    let said = match hint {
        Some(hint) => format!("{said}; did you mean {hint}?"),
        None => match error.get(ContextKind::ValidValue) {
            Some(ContextValue::Strings(known)) if !known.is_empty() => {
                format!("{said}; it takes {}", known.join(", "))
            }
            _ => said,
        },
    };
    (said_of(&rendered, word), said)
}

/// The probable meaning: this tool's name for another tool's word, otherwise the
/// likeliest of clap's guesses.
fn meant(error: &clap::Error, word: Option<&OsStr>) -> Option<String> {
    let named = [ContextKind::InvalidSubcommand, ContextKind::InvalidArg];
    let pointed = named.into_iter().find_map(|kind| {
        let wrong = error.get(kind)?.to_string();
        match word.and_then(OsStr::to_str) {
            // Docker's option; a password on the command line shows in lists of processes.
            Some("login") if wrong == "-p" => Some("--password-stdin".to_string()),
            Some("pull-files") if is_twice(error) && wrong.starts_with("--file ") => {
                Some("--only, which takes several".to_string())
            }
            Some("list-repos") if is_word(error) => on_host(&wrong),
            Some(word) if word == wrong => pointer(&wrong),
            Some(word) => longer(word, &wrong),
            None => None,
        }
    });
    let guessed = [
        ContextKind::SuggestedSubcommand,
        ContextKind::SuggestedArg,
        ContextKind::SuggestedValue,
    ];
    pointed.or_else(|| {
        let mut guessed = guessed.into_iter();
        guessed.find_map(|kind| best(error.get(kind)?))
    })
}

/// The only option of a command whose name ends as `wrong` does: `--keep-daily` for
/// `--daily`.
fn longer(command: &str, wrong: &str) -> Option<String> {
    let end = format!("-{}", wrong.strip_prefix("--")?);
    let mut known = guide::command();
    known.build();
    let command = known.find_subcommand(command)?;
    let mut names = command.get_arguments().filter_map(|arg| arg.get_long());
    let found = names.find(|name| name.ends_with(&end))?;
    let is_only = !names.any(|name| name.ends_with(&end));
    is_only.then(|| format!("--{found}"))
}

/// The image that was meant where its tag is an argument of its own, as in commands
/// about aliases.
fn with_tag(words: &[OsString], extra: &str, rendered: &str) -> Option<String> {
    let usage = rendered.split("Usage: dxf ").nth(1)?.lines().next()?;
    let at = words.iter().position(|word| word == extra)?;
    let image: Reference = words.get(at.checked_sub(1)?)?.to_str()?.parse().ok()?;
    let target: Target = extra.strip_prefix('@').unwrap_or(extra).parse().ok()?;
    let is_bare = image.tag.is_none() && image.digest.is_none();
    (usage.ends_with("<image>") && is_bare).then(|| target.within(&image.to_string()))
}

/// The command for a host that `list-repos` was given as an argument.
fn on_host(word: &str) -> Option<String> {
    let host: Host = word.parse().ok().filter(|_| word.contains(['.', ':']))?;
    Some(format!("DXF_HOST={host} dxf list-repos"))
}

/// Whether an option was written twice that takes one value.
fn is_twice(error: &clap::Error) -> bool {
    error.kind() == ErrorKind::ArgumentConflict && error.to_string().contains("multiple times")
}

/// Whether what is too much is not an option.
fn is_word(error: &clap::Error) -> bool {
    let arg = error
        .get(ContextKind::InvalidArg)
        .map(ContextValue::to_string);
    arg.is_some_and(|arg| !arg.starts_with('-') || arg == "-")
}

/// The command whose usage clap shows with an error, if it is one. With an
/// option's bad value it shows none; then it is the command that was written.
fn said_of(rendered: &str, word: Option<&OsStr>) -> String {
    let shown = match rendered.split("Usage: dxf ").nth(1) {
        Some(usage) => usage.split_whitespace().next().map(OsStr::new),
        None => word,
    };
    let known = Cli::command();
    shown
        .and_then(|shown| known.find_subcommand(shown))
        .map(|command| command.get_name().to_string())
        .unwrap_or_default()
}

/// The likeliest of clap's guesses, which it puts last.
fn best(guesses: &ContextValue) -> Option<String> {
    match guesses {
        ContextValue::String(one) => Some(one.clone()),
        ContextValue::Strings(many) => many.last().cloned(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_are_found_and_no_commands() {
        assert_eq!(topic("large-files".as_ref()), Some("large-files"));
        assert_eq!(topic("large".as_ref()), Some("large-files"));
        assert_eq!(topic("coming".as_ref()), None);
        assert_eq!(topic("nope".as_ref()), None);
        let known = Cli::command();
        for topic in TOPICS {
            assert!(known.find_subcommand(topic).is_none(), "{topic}");
        }
    }

    #[test]
    fn usage_is_one_line_a_command() {
        assert_eq!(
            usage_line("push-blob"),
            "usage: dxf push-blob [OPTIONS] <repo> <file> [@alias] | <repo> @alias -- <CMD>..."
        );
        assert!(usage_line("").starts_with("usage: dxf <command>"));
        let named = Cli::command();
        for command in named.get_subcommands() {
            let line = usage_line(command.get_name());
            assert!(
                line.starts_with(&format!("usage: dxf {}", command.get_name())),
                "{line}"
            );
        }
    }
}
