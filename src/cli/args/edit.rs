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
    /// os/architecture[/variant] to take of an index, or all of it (DXF_PLATFORM,
    /// else this machine's)
    #[arg(long, value_name = "P")]
    pub platform: Option<String>,
    /// Leave out of every --add-path what fits, as .dockerignore has it
    #[arg(long, value_name = "PATTERN")]
    pub exclude: Vec<String>,
    /// Owner of every added file, by number, or `source` for that on this
    /// machine (root)
    #[arg(long, value_name = "UID[:GID]|source")]
    pub owner: Option<String>,
    /// Permissions of every added file, such as 644; folders get them too, and
    /// may be entered by those they let read
    #[arg(long, value_name = "MODE")]
    pub mode: Option<String>,
    /// Time of every added file, seconds since 1970, or `source` for that on
    /// this machine (1970)
    #[arg(long, value_name = "SECONDS|source")]
    pub mtime: Option<String>,
    /// Print what would change and what would be sent, and send nothing
    #[arg(long)]
    pub dry_run: bool,
    /// What is done with layers that must not be passed on.
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
    /// What is written behind it.
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
        "Add a file or folder (SRC/.: what is in it) at DEST, else at the root",
    ),
    (
        Verb::AddFile,
        "add-file",
        &["DEST=TEXT|DEST=@FILE"],
        "Add a file of this text, or of what FILE holds",
    ),
    (
        Verb::RemovePath,
        "remove-path",
        &["PATH"],
        "Remove a file or folder, without a look whether it is there",
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
        "Remove a layer, as list-layers prints it",
    ),
    (
        Verb::Squash,
        "squash",
        &[],
        "Make one layer of all (they are downloaded)",
    ),
    (
        Verb::Rebase,
        "rebase",
        &["OLD", "NEW"],
        "Put image NEW in the place of image OLD below the other layers",
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
        "The program to run: words as in a shell, or a JSON list; empty: none",
    ),
    (
        Verb::Cmd,
        "cmd",
        &["WORDS"],
        "Its arguments, in the same way",
    ),
    (
        Verb::Workdir,
        "workdir",
        &["PATH"],
        "The folder it starts in",
    ),
    (Verb::User, "user", &["USER[:GROUP]"], "Who runs it"),
    (
        Verb::Expose,
        "expose",
        &["PORT[/PROTOCOL][-]"],
        "Say, or take back, that it listens at a port",
    ),
    (
        Verb::Volume,
        "volume",
        &["PATH[-]"],
        "Say, or take back, that it keeps data in a folder",
    ),
    (
        Verb::StopSignal,
        "stop-signal",
        &["SIGNAL"],
        "The signal that ends it",
    ),
    (
        Verb::Created,
        "created",
        &["now|epoch|TIME"],
        "When the image, and what follows of the history, was made",
    ),
    (
        Verb::History,
        "history",
        &["TEXT"],
        "What the history says of the layer added before, else a step of its own",
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
            .next_help_heading("Changes, made in the order they are written")
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
