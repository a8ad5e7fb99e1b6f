//! What `edit-image` takes. Its changes are made in the order they are written,
//! which clap keeps as an index of every word.

use std::ffi::{OsStr, OsString};

use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches, value_parser};

use super::Nondistributable;
use super::words::{self, Named};

/// What `edit-image` takes.
#[derive(Args)]
pub struct EditImage {
    /// The arguments.
    #[command(flatten)]
    pub words: Named<words::EditTo>,
    /// os/architecture[/variant] to select from an index, or all (default:
    /// DXF_PLATFORM, then this machine)
    #[arg(long, value_name = "P")]
    pub platform: Option<String>,
    /// Exclude matching files from --add-path (.dockerignore syntax)
    #[arg(long, value_name = "PATTERN")]
    pub exclude: Vec<String>,
    /// Owner of every added file, by number; `source` keeps the owner on this machine
    /// (default: root)
    #[arg(long, value_name = "UID[:GID]|source")]
    pub owner: Option<String>,
    /// Permissions of every added file, such as 644; for folders, read permission
    /// includes search permission
    #[arg(long, value_name = "MODE")]
    pub mode: Option<String>,
    /// Time of every added file, in seconds since 1970; `source` keeps the time on this
    /// machine (default: 1970)
    #[arg(long, value_name = "SECONDS|source")]
    pub mtime: Option<String>,
    /// Print what would change and be sent, without sending anything
    #[arg(long)]
    pub dry_run: bool,
    /// What is done with non-distributable layers.
    #[command(flatten)]
    pub nondistributable: Nondistributable,
    /// The changes.
    #[command(flatten)]
    pub steps: Steps,
}

/// Changes, in the order they were written.
pub struct Steps(pub Vec<Step>);

/// A change as it was written.
pub struct Step {
    /// Which one.
    pub verb: Verb,
    /// What is written after it.
    pub words: Vec<OsString>,
}

impl Step {
    /// The first word, which all but switches have.
    pub fn word(&self) -> &OsStr {
        self.words
            .first()
            .map(OsString::as_os_str)
            .unwrap_or_default()
    }
}

/// The changes there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the help says what each of them does")]
pub enum Verb {
    AddPath,
    AddFile,
    RemovePath,
    AddTar,
    RemoveLayer,
    Squash,
    Rebase,
    Env,
    Label,
    Annotation,
    Entrypoint,
    Cmd,
    Workdir,
    User,
    Expose,
    Volume,
    StopSignal,
    Created,
    History,
}

/// A change, its option, the names of its words and what it does.
type Row = (Verb, &'static str, &'static [&'static str], &'static str);

const CHANGES: [Row; 19] = [
    (
        Verb::AddPath,
        "add-path",
        &["SRC[:DEST]"],
        "Add a file or folder at DEST, or into DEST/ (default: the root); SRC/.: its contents",
    ),
    (
        Verb::AddFile,
        "add-file",
        &["DEST=TEXT|DEST=@FILE"],
        "Add a file with this text, or with the contents of FILE",
    ),
    (
        Verb::RemovePath,
        "remove-path",
        &["PATH"],
        "Remove a file or folder (it need not exist)",
    ),
    (
        Verb::AddTar,
        "add-tar",
        &["FILE"],
        "Add a tar as a layer: plain, gzip or zstd",
    ),
    (
        Verb::RemoveLayer,
        "remove-layer",
        &["N|DIGEST|top"],
        "Remove a layer, by its number in list-layers or its digest",
    ),
    (
        Verb::Squash,
        "squash",
        &[],
        "Merge all layers into one (downloads them)",
    ),
    (
        Verb::Rebase,
        "rebase",
        &["OLD", "NEW"],
        "Replace base image OLD with image NEW",
    ),
    (
        Verb::Env,
        "env",
        &["NAME=VALUE|NAME-"],
        "Set or remove an environment variable",
    ),
    (
        Verb::Label,
        "label",
        &["NAME=VALUE|NAME-"],
        "Set or remove a label",
    ),
    (
        Verb::Annotation,
        "annotation",
        &["NAME=VALUE|NAME-"],
        "Set or remove an annotation of the manifest",
    ),
    (
        Verb::Entrypoint,
        "entrypoint",
        &["WORDS"],
        "Set the program to run: words as in a shell, or a JSON list; empty: none",
    ),
    (
        Verb::Cmd,
        "cmd",
        &["WORDS"],
        "Set its arguments, in the same way",
    ),
    (
        Verb::Workdir,
        "workdir",
        &["PATH"],
        "Set the folder it starts in",
    ),
    (
        Verb::User,
        "user",
        &["USER[:GROUP]"],
        "Set the user that runs it",
    ),
    (
        Verb::Expose,
        "expose",
        &["PORT[/PROTOCOL][-]"],
        "Add or remove a port that it listens on",
    ),
    (
        Verb::Volume,
        "volume",
        &["PATH[-]"],
        "Add or remove a folder for data",
    ),
    (
        Verb::StopSignal,
        "stop-signal",
        &["SIGNAL"],
        "Set the signal that stops it",
    ),
    (
        Verb::Created,
        "created",
        &["now|epoch|TIME"],
        "Set the time of the image and of the following history entries",
    ),
    (
        Verb::History,
        "history",
        &["TEXT"],
        "Set the history text of the layer added before, or add an entry",
    ),
];

impl Verb {
    /// The option, for a message.
    pub fn option(self) -> String {
        let row = CHANGES.iter().find(|(verb, ..)| *verb == self);
        format!("--{}", row.map_or("", |(_, name, ..)| name))
    }
}

impl Args for Steps {
    fn augment_args(command: Command) -> Command {
        command
            .next_help_heading("Changes, applied in the order in which you write them")
            .args(CHANGES.iter().map(|(_, name, words, help)| {
                let arg = Arg::new(*name).long(*name).action(ArgAction::Append);
                let arg = arg.value_parser(value_parser!(OsString)).help(*help);
                match words {
                    // A switch that may stand several times.
                    [] => arg.num_args(0).default_missing_value(""),
                    words => arg.num_args(words.len()).value_names(*words),
                }
            }))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Steps::augment_args(command)
    }
}

impl FromArgMatches for Steps {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Steps, clap::Error> {
        let mut found = Vec::new();
        for (verb, name, words, _) in CHANGES {
            let indices = matches.indices_of(name).into_iter().flatten();
            let occurrences = matches.get_occurrences::<OsString>(name);
            let first = indices.step_by(words.len().max(1));
            for (index, said) in first.zip(occurrences.into_iter().flatten()) {
                let words = said.cloned().collect();
                found.push((index, Step { verb, words }));
            }
        }
        found.sort_by_key(|(index, _)| *index);
        Ok(Steps(found.into_iter().map(|(_, step)| step).collect()))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Steps::from_arg_matches(matches)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crate::cli::args::{Cli, Command};
    use clap::Parser;

    #[test]
    fn changes_keep_their_order() {
        let line = "dxf edit-image --env A=1 --rebase a b --squash --add-path x --env=B=2 from \
            --rebase c d --squash to --remove-layer top";
        let Some(Command::EditImage(args)) = Cli::parse_from(line.split_whitespace()).command
        else {
            panic!("another command");
        };
        let said: Vec<String> = args
            .steps
            .0
            .iter()
            .map(|step| {
                let words: Vec<_> = step.words.iter().map(|w| w.to_str().unwrap()).collect();
                format!("{} {}", step.verb.option(), words.join(" "))
                    .trim()
                    .to_string()
            })
            .collect();
        let expected = [
            "--env A=1",
            "--rebase a b",
            "--squash",
            "--add-path x",
            "--env B=2",
            "--rebase c d",
            "--squash",
            "--remove-layer top",
        ];
        assert_eq!(said, expected);
        assert_eq!(args.words.take(2, 2).unwrap(), ["from", "to"]);
    }
}
