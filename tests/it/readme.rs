//! README says what the command does: every variable and every command in its
//! tables exists, and each that exists is there.

use std::collections::BTreeSet;

use crate::support::dxf::Dxf;

const README: &str = include_str!("../../README.md");

/// Fails unless every row of a section's table ends with the name of a test
/// in `tests`, and there are at least so many.
pub fn assert_proved(heading: &str, tests: &str, least: usize) {
    let section = README.split(heading).nth(1).unwrap();
    let section = section.split("\n#").next().unwrap();
    let rows = section.lines().filter(|line| line.starts_with("| `"));
    let rows: Vec<&str> = rows.collect();
    assert!(rows.len() >= least, "{rows:#?}");
    for row in rows {
        let named = row.rsplit('`').nth(1).unwrap();
        assert!(tests.contains(&format!("\nfn {named}() {{")), "{row}");
    }
}

/// The code spans in the first cells of all tables.
fn first_cells() -> Vec<Vec<&'static str>> {
    let rows = README.lines().filter_map(|line| line.strip_prefix("| "));
    let cells = rows.map(|row| row.split(" | ").next().unwrap_or_default());
    // Cells of nothing but code spans: `A`, `B`
    let bare = |cell: &&str| {
        cell.split(", ")
            .all(|part| part.starts_with('`') && part.ends_with('`'))
    };
    let spans = |cell: &'static str| {
        cell.split(", ")
            .map(|part| part.trim_matches('`'))
            .collect()
    };
    cells.filter(bare).map(spans).collect()
}

#[test]
fn the_table_of_variables_is_that_of_show_env() {
    let is_name = |word: &&str| {
        word.bytes()
            .all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_')
    };
    let told: Vec<&str> = first_cells()
        .into_iter()
        .flatten()
        .filter(is_name)
        .collect();
    let unique: BTreeSet<&str> = told.iter().copied().collect();
    assert_eq!(
        unique.len(),
        told.len(),
        "a variable stands twice in {told:?}"
    );
    let shown = Dxf::new()
        .env("DXF_OUTPUT", "json")
        .args(["show-env"])
        .ok()
        .json();
    let names = shown
        .as_array()
        .expect("a list")
        .iter()
        .map(|one| one["name"].as_str());
    let known: BTreeSet<&str> = names.map(|name| name.expect("a name")).collect();
    let missing: Vec<_> = known.difference(&unique).collect();
    let unknown: Vec<_> = unique.difference(&known).collect();
    assert!(
        missing.is_empty() && unknown.is_empty(),
        "missing {missing:?}, unknown {unknown:?}"
    );
}

#[test]
fn the_table_of_commands_is_that_of_the_help() {
    let first_word = |span: &&'static str| span.split(' ').next();
    let is_command = |word: &&str| word.contains('-') && !word.starts_with('-');
    let spans: Vec<&str> = first_cells().into_iter().flatten().collect();
    let told: BTreeSet<&str> = spans.iter().filter_map(first_word).collect();
    let help = Dxf::new().args(["--help"]).ok();
    let (_, commands) = help
        .text()
        .split_once("Commands:\n")
        .expect("a list of commands");
    let (commands, _) = commands.split_once("\n\n").expect("an end");
    let known: BTreeSet<&str> = commands
        .lines()
        .filter_map(|line| line.strip_prefix("  ")?.split(' ').next())
        .filter(|word| !word.is_empty())
        .collect();
    let missing: Vec<_> = known.difference(&told).collect();
    assert!(missing.is_empty(), "missing {missing:?}");
    let unknown: Vec<_> = told
        .iter()
        .filter(|word| is_command(word) && !known.contains(*word))
        .collect();
    assert!(unknown.is_empty(), "unknown {unknown:?}");
}
