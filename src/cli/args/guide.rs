//! What the help says of each command beside its arguments: the group it is
//! listed in, the variables that matter for it, and the page of the manual.
//! [`command`] is the command line with all of this in it.

use std::ffi::OsStr;

use clap::{Command, CommandFactory};

use super::Cli;
use crate::cli::manual::TOPICS;

/// A group of commands, and its commands.
type Group = (&'static str, &'static [Guide]);

/// A command's name, the page of the manual about it, and its variables, if any.
type Guide = (&'static str, &'static str, &'static str);

const STORE: &str = "DXF_HOST, DXF_INSECURE, DXF_USERNAME, DXF_PASSWORD";
const LIST: &str = "DXF_HOST, DXF_INSECURE, DXF_USERNAME, DXF_PASSWORD, DXF_OUTPUT";
const READ: &str = "DXF_HOST, DXF_INSECURE, DXF_USERNAME, DXF_PASSWORD, DXF_PLATFORM, DXF_JOBS, DXF_CACHE, DXF_PROGRESS";
const PUSH: &str = "DXF_HOST, DXF_INSECURE, DXF_USERNAME, DXF_PASSWORD, DXF_UPLOAD, DXF_JOBS, DXF_TMPDIR, DXF_PROGRESS";
const VERIFY: &str =
    "DXF_HOST, DXF_INSECURE, DXF_USERNAME, DXF_PASSWORD, DXF_PLATFORM, DXF_JOBS, DXF_PROGRESS";
const LOOK: &str = "DXF_HOST, DXF_INSECURE, DXF_USERNAME, DXF_PASSWORD, DXF_PLATFORM, DXF_OUTPUT";
const COPY: &str = "DXF_HOST, DXF_INSECURE, DXF_USERNAME, DXF_PASSWORD, DXF_FROM_HOST, DXF_FROM_USERNAME, DXF_FROM_PASSWORD, DXF_JOBS";
const LOGIN: &str = "DXF_HOST, DOCKER_CONFIG, REGISTRY_AUTH_FILE";

/// Every command, in groups, in the order of the help.
const GROUPS: &[Group] = &[
    (
        "Blobs and aliases",
        &[
            (
                "push-blob",
                "large-files",
                "DXF_HOST, DXF_INSECURE, DXF_USERNAME, DXF_PASSWORD, DXF_SPLIT, DXF_JOBS, DXF_UPLOAD, DXF_TMPDIR",
            ),
            (
                "pull-blob",
                "large-files",
                "DXF_HOST, DXF_INSECURE, DXF_USERNAME, DXF_PASSWORD, DXF_JOBS, DXF_PLATFORM, DXF_BLOB_INFO",
            ),
            ("blob-size", "blobs-and-aliases", STORE),
            ("mount-blob", "blobs-and-aliases", STORE),
            ("del-blob", "blobs-and-aliases", STORE),
            (
                "set-alias",
                "blobs-and-aliases",
                "DXF_HOST, DXF_INSECURE, DXF_USERNAME, DXF_PASSWORD, DXF_ALIAS_FORMAT",
            ),
            ("get-alias", "blobs-and-aliases", LOOK),
            ("del-alias", "blobs-and-aliases", STORE),
            ("verify-alias", "blobs-and-aliases", VERIFY),
            ("get-digest", "blobs-and-aliases", LOOK),
            ("get-manifest", "blobs-and-aliases", LOOK),
            ("put-manifest", "artifacts", STORE),
            ("list-aliases", "blobs-and-aliases", LIST),
            ("list-repos", "blobs-and-aliases", LIST),
        ],
    ),
    (
        "Images",
        &[
            ("pull-image", "images", READ),
            ("push-image", "images", PUSH),
            ("copy-image", "images", COPY),
            ("edit-image", "editing-images", COPY),
            ("tag-image", "images", STORE),
            ("make-index", "artifacts", STORE),
            ("load-image", "images", READ),
            ("run-image", "images", READ),
            ("list-platforms", "images", LOOK),
            ("get-config", "images", LOOK),
            ("get-history", "images", LOOK),
            ("list-layers", "images", LOOK),
            ("get-layer", "images", READ),
            ("list-files", "images", LOOK),
            ("get-file", "images", READ),
            ("export-image", "images", READ),
            ("diff-images", "images", LOOK),
            ("resolve-image", "images", LOOK),
            (
                "verify-image",
                "images",
                "DXF_HOST, DXF_INSECURE, DXF_USERNAME, DXF_PASSWORD, DXF_JOBS, DXF_PROGRESS",
            ),
        ],
    ),
    (
        "Files",
        &[
            (
                "push-files",
                "artifacts",
                "DXF_HOST, DXF_INSECURE, DXF_USERNAME, DXF_PASSWORD, DXF_JOBS, SOURCE_DATE_EPOCH",
            ),
            ("pull-files", "artifacts", READ),
            ("attach", "artifacts", STORE),
            ("detach", "artifacts", STORE),
            ("list-referrers", "artifacts", LOOK),
        ],
    ),
    (
        "Bundles",
        &[
            ("save-bundle", "bundles", READ),
            ("load-bundle", "bundles", PUSH),
            ("show-bundle", "bundles", LIST),
        ],
    ),
    (
        "Housekeeping",
        &[
            ("show-usage", "housekeeping", LIST),
            ("prune-aliases", "housekeeping", STORE),
            ("gc", "housekeeping", "DXF_HOST"),
            ("sync", "housekeeping", COPY),
            ("cache", "images", "DXF_CACHE"),
        ],
    ),
    (
        "Logins",
        &[
            ("login", "logins", LOGIN),
            ("logout", "logins", LOGIN),
            ("list-logins", "logins", LOGIN),
            (
                "auth",
                "logins",
                "DXF_HOST, DXF_INSECURE, DXF_USERNAME, DXF_PASSWORD, DXF_AUTHORIZATION, DXF_AUTH_HOST",
            ),
        ],
    ),
    (
        "Tool",
        &[
            ("help", "getting-started", "PAGER, NO_COLOR"),
            ("show-env", "configuration", "DXF_OUTPUT"),
            ("doctor", "registries", STORE),
            ("completions", "getting-started", "DXF_HOST"),
            ("man", "getting-started", ""),
        ],
    ),
];

/// The longest name with its alias, and the blanks after it.
const COLUMN: usize = 18;

/// The command line, with everything that its help shows.
pub fn command() -> Command {
    let plain = Cli::command();
    let overview = overview(&plain);
    let template = format!(
        "{{about-with-newline}}\n{{usage-heading}} {{usage}}\n\n{overview}Options:\n{{options}}\n\n{}\n",
        topics()
    );
    plain.help_template(template).mut_subcommands(guided)
}

/// The command line as far as parsing a line whose first word is `word` needs it:
/// what the others say in their help is left out where that is a command.
pub fn command_for(word: Option<&OsStr>) -> Command {
    let mut plain = Cli::command();
    match word.and_then(|word| plain.find_subcommand_mut(word)) {
        Some(sub) => {
            *sub = guided(std::mem::take(sub));
            plain
        }
        None => command(),
    }
}

/// A command with its variables and its page after the examples.
fn guided(sub: Command) -> Command {
    let Some((_, topic, variables)) = guide(sub.get_name()) else {
        return sub;
    };
    let examples = sub.get_after_help().map(ToString::to_string);
    let examples = examples.map(|text| text + "\n\n").unwrap_or_default();
    let variables = match variables {
        "" => String::new(),
        some => format!("Variables: {some}\n"),
    };
    sub.after_help(format!("{examples}{variables}See: dxf help {topic}"))
}

/// What there is to say of a command.
pub fn guide(name: &str) -> Option<Guide> {
    let mut all = GROUPS.iter().flat_map(|(_, guides)| *guides);
    all.find(|(command, ..)| *command == name).copied()
}

/// The commands in groups, with a line each.
fn overview(all: &Command) -> String {
    let mut text = String::new();
    for (title, guides) in GROUPS {
        let known = guides
            .iter()
            .filter_map(|(name, ..)| all.find_subcommand(name));
        let lines: String = known.map(line).collect();
        if !lines.is_empty() {
            text += &format!("{title}:\n{lines}\n");
        }
    }
    text
}

/// A command's name, its other name if it has one, and what it does.
fn line(command: &Command) -> String {
    let aliases = command.get_visible_aliases();
    let names: Vec<&str> = std::iter::once(command.get_name()).chain(aliases).collect();
    let about = command.get_about().map(ToString::to_string);
    let (names, about) = (names.join(", "), about.unwrap_or_default());
    format!("  {names:COLUMN$}{about}\n")
}

/// The manual's topics, in lines that fit a terminal.
fn topics() -> String {
    const WIDTH: usize = 78;
    let mut text = "Topics (dxf help TOPIC):".to_string();
    let mut column = WIDTH;
    for (at, topic) in TOPICS.iter().enumerate() {
        let comma = if at + 1 < TOPICS.len() { "," } else { "" };
        if column + topic.len() + 2 > WIDTH {
            text += "\n ";
            column = 1;
        }
        text += &format!(" {topic}{comma}");
        column += topic.len() + 2;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::env::vars;

    #[test]
    fn every_command_has_a_group_a_page_variables_and_two_examples() {
        for command in Cli::command().get_subcommands() {
            let name = command.get_name();
            let Some((_, topic, variables)) = guide(name) else {
                panic!("{name} is in no group: list it in GROUPS of src/cli/args/guide.rs");
            };
            assert!(TOPICS.contains(&topic), "{name}: no page {topic}");
            for variable in variables.split(", ").filter(|name| !name.is_empty()) {
                let is_known = vars::ALL.iter().any(|var| var.name == variable);
                assert!(is_known, "{name}: {variable}");
            }
            let examples = command.get_after_help().map(ToString::to_string);
            let examples = examples.unwrap_or_default();
            let lines: Vec<&str> = examples.lines().collect();
            assert!(
                lines.first() == Some(&"Examples:") && lines.len() >= 3,
                "{name}: write two examples in its after_help"
            );
            for line in &lines[1..] {
                assert!(
                    line.starts_with("  ") && line.contains(&format!("dxf {name}")),
                    "{name}: {line}"
                );
            }
        }
    }

    #[test]
    fn summaries_are_imperatives_that_fit_a_line() {
        for command in Cli::command().get_subcommands() {
            let about = command.get_about().map(ToString::to_string);
            let about = about.unwrap_or_default();
            let fits = about.len() <= 70 && !about.ends_with('.');
            assert!(fits, "{}: {about}", command.get_name());
        }
        let help = command().render_help().to_string();
        let long: Vec<&str> = help.lines().filter(|line| line.len() > 92).collect();
        assert!(long.is_empty(), "{long:#?}");
    }

    #[test]
    fn a_command_is_in_one_group() {
        let mut names: Vec<&str> = GROUPS
            .iter()
            .flat_map(|(_, guides)| guides.iter().map(|(name, ..)| *name))
            .collect();
        let all = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all);
    }
}
