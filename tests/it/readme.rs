//! README and the manual describe the command: every variable and every command
//! in their tables exists, and each that exists is there.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::dxf::Dxf;

/// The pages of the manual: topics and texts.
pub fn pages() -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/manual");
    let paths = fs::read_dir(folder).unwrap();
    let paths = paths.map(|entry| entry.unwrap().path());
    let mut pages: Vec<_> = paths
        .filter(|path| path.extension().is_some_and(|ext| ext == "md"))
        .map(|path| {
            let topic = path.file_stem().unwrap().to_str().unwrap().to_string();
            (topic, fs::read_to_string(&path).unwrap())
        })
        .collect();
    pages.sort();
    pages
}

/// The page of one topic.
pub fn page(topic: &str) -> String {
    let found = pages().into_iter().find(|(name, _)| name == topic);
    found.expect(topic).1
}

/// Fails unless every row of a table in the library's documentation ends with
/// the name of a test in `tests`, and there are at least so many.
pub fn assert_proved(heading: &str, tests: &str, least: usize) {
    let section = include_str!("../../src/lib.rs").split(heading).nth(1);
    let section = section.unwrap().split("\n//! #").next().unwrap();
    let rows = section.lines().filter(|line| line.starts_with("//! | `"));
    let rows: Vec<&str> = rows.collect();
    assert!(rows.len() >= least, "{rows:#?}");
    for row in rows {
        let named = row.rsplit('`').nth(1).unwrap();
        assert!(tests.contains(&format!("\nfn {named}() {{")), "{row}");
    }
}

/// The code spans in the first cells of all tables of a text.
fn first_cells(text: &str) -> Vec<Vec<&str>> {
    let rows = text.lines().filter_map(|line| line.strip_prefix("| "));
    let cells = rows.map(|row| row.split(" | ").next().unwrap_or_default());
    // Cells of nothing but code spans: `A`, `B`
    let bare = |cell: &&str| {
        cell.split(", ")
            .all(|part| part.starts_with('`') && part.ends_with('`'))
    };
    let spans = |cell| {
        let cell: &str = cell;
        cell.split(", ")
            .map(|part| part.trim_matches('`'))
            .collect()
    };
    cells.filter(bare).map(spans).collect()
}

#[test]
fn readme_is_short() {
    let lines = include_str!("../../README.md").lines().count();
    assert!(lines <= 200, "{lines} lines");
}

#[test]
fn every_script_is_in_readme() {
    let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts");
    let within = ["bench/run", "bench/instructions", "fuzz/run"].map(str::to_string);
    let names = fs::read_dir(scripts).unwrap().map(|entry| entry.unwrap());
    let names = names.map(|entry| entry.file_name().into_string().unwrap());
    let missing: Vec<String> = names
        .filter(|name| !matches!(name.as_str(), "bench" | "fuzz" | "deny.toml"))
        .chain(within)
        .filter(|name| !include_str!("../../README.md").contains(&format!("`scripts/{name}`")))
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn the_table_of_variables_is_that_of_show_env() {
    let is_name = |word: &&str| {
        word.bytes()
            .all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_')
    };
    let text = page("configuration");
    let told: Vec<&str> = first_cells(&text)
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
    fn first_word<'a>(span: &&'a str) -> Option<&'a str> {
        span.split(' ').next()
    }
    let is_command = |word: &&str| {
        let letters = |b: u8| b.is_ascii_lowercase() || b == b'-';
        word.contains('-') && !word.starts_with('-') && word.bytes().all(letters)
    };
    // Not the pages about other tools, which begin with their commands.
    let pages = pages().into_iter();
    let pages = pages.filter(|(topic, _)| !topic.starts_with("coming-from-"));
    let text: String = pages.map(|(_, text)| text).collect();
    let spans: Vec<&str> = first_cells(&text).into_iter().flatten().collect();
    let told: BTreeSet<&str> = spans.iter().filter_map(first_word).collect();
    let help = Dxf::new().args(["--help"]).ok();
    let (groups, _) = help.text().split_once("Options:\n").expect("options");
    // A line of a command: its name, perhaps another, and what it does.
    let known: BTreeSet<&str> = groups
        .lines()
        .filter_map(|line| line.strip_prefix("  ")?.split([' ', ',']).next())
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

#[test]
fn every_exit_code_has_a_row_on_its_page() {
    let page = page("exit-codes");
    let source = include_str!("../../src/cli/exit/mod.rs");
    let consts = source
        .lines()
        .filter_map(|line| line.strip_prefix("pub const "));
    let codes = consts.filter_map(|line| line.split_once(": u8 = ")?.1.strip_suffix(';'));
    let codes: Vec<&str> = codes.collect();
    assert!(codes.len() >= 7, "{codes:?}");
    for code in codes {
        assert!(page.contains(&format!("\n| {code} | ")), "{code}");
    }
}

#[test]
fn man_pages_are_made_without_a_warning() {
    let folder = tempfile::tempdir().unwrap();
    Dxf::new()
        .args(["man", "."])
        .current_dir(folder.path())
        .ok();
    let files = fs::read_dir(folder.path()).unwrap();
    let files: Vec<_> = files.map(|file| file.unwrap().path()).collect();
    let of = |section: &str| {
        let matches = |file: &&PathBuf| file.extension().is_some_and(|ext| ext == section);
        files.iter().filter(matches).count()
    };
    assert!(of("1") >= 40, "{files:?}");
    assert_eq!(of("7"), pages().len());
    for file in &files {
        let page = fs::read_to_string(file).unwrap();
        let foot = concat!("\"dxf ", env!("CARGO_PKG_VERSION"), "\" \"dxf manual\"");
        assert!(page.contains(foot), "{}", file.display());
    }
    let mut groff = Command::new("groff");
    groff
        .args(["-k", "-man", "-ww", "-z", "-Tutf8"])
        .args(&files);
    match groff.output() {
        Ok(done) => assert_eq!(String::from_utf8_lossy(&done.stderr), ""),
        Err(_) => crate::engine::missing("groff"),
    }
}
