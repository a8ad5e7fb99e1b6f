//! Plain technical English: phrasings that readers stumbled over do not come
//! back, in README, the manual, the help, messages and comments.

use std::fs;
use std::path::Path;

use crate::readme::pages;
use crate::support::dxf::Dxf;

/// Phrasings, in lower case, and what to write instead.
const FORBIDDEN: &[(&str, &str)] = &[
    ("whoever", "the user, the caller, the process"),
    ("nobody", "no user, no caller, not"),
    ("anybody", "any user, any client"),
    ("somebody", "a user, another process"),
    ("one's own", "your own"),
    ("who one is", "authenticate, authentication"),
    ("goes on with", "resumes from, continues with"),
    ("go on with", "resume from, continue with"),
    ("whole or not there", "atomically"),
    ("what is there", "existing blobs, what exists"),
    ("that is there", "existing, that exists"),
    ("unless it is there", "unless it exists"),
    ("it is there twice", "it appears twice"),
    ("that is not there", "that does not exist, missing"),
    ("one behind the other", "concatenated, in order"),
    ("stands behind", "follows"),
    ("stand behind", "follow"),
    (", as ever,", "as before"),
    ("makes do with", "falls back to"),
    ("is borne", "raise the limit"),
    ("told by a", "recognised by, an argument that"),
    ("past disk and cache", "without touching disk or cache"),
    ("leads out of", "points outside"),
    ("end as it ends", "exit with its status"),
    ("the verdict on", "check the exit status"),
    ("without a look", "it need not exist"),
    ("lie in indexes", "nested"),
    ("other way round", "in the wrong order"),
    ("spelled right", "check the spelling"),
];

/// The lines of `text` that contain a forbidden phrasing.
fn found(name: &str, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let lower = line.to_lowercase();
        for (phrase, better) in FORBIDDEN {
            if lower.contains(phrase) {
                let at = number + 1;
                found.push(format!("{name}:{at}: \"{phrase}\": write {better}"));
            }
        }
    }
    found
}

#[test]
fn readme_the_manual_and_the_changelog_are_plain_english() {
    let mut bad = found("README.md", include_str!("../../README.md"));
    bad.extend(found("CHANGELOG.md", include_str!("../../CHANGELOG.md")));
    for (topic, text) in pages() {
        bad.extend(found(&topic, &text));
    }
    assert!(bad.is_empty(), "{bad:#?}");
}

#[test]
fn the_help_is_plain_english() {
    let overview = Dxf::new().args(["--help"]).ok();
    let mut bad = found("--help", overview.text());
    let (groups, _) = overview.text().split_once("Options:\n").expect("options");
    let lines = groups.lines().filter_map(|line| line.strip_prefix("  "));
    let names: Vec<&str> = lines
        .filter_map(|line| line.split([' ', ',']).next())
        .collect();
    assert!(names.len() >= 40, "{names:?}");
    for name in names {
        let help = Dxf::new().args([name, "--help"]).ok();
        bad.extend(found(name, help.text()));
    }
    assert!(bad.is_empty(), "{bad:#?}");
}

#[test]
fn messages_and_comments_are_plain_english() {
    let mut bad = Vec::new();
    for (name, text) in sources("src") {
        bad.extend(found(&name, &words(&text)));
    }
    for (name, text) in sources("tests").into_iter().chain(sources("examples")) {
        bad.extend(found(&name, &comments(&text)));
    }
    assert!(bad.is_empty(), "{bad:#?}");
}

/// The files of Rust below a folder, with their names.
fn sources(folder: &str) -> Vec<(String, String)> {
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)];
    let mut sources = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ext| ext == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                sources.push((path.display().to_string(), text));
            }
        }
    }
    sources
}

/// The lines that are comments; lines of code are empty.
fn comments(source: &str) -> String {
    let lines = source.lines().map(|line| {
        let is_comment = line.trim_start().starts_with("//");
        if is_comment { line } else { "" }
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// Comments and messages alone: names of functions and data of tests go.
fn words(source: &str) -> String {
    let is_data = |line: &str| line.contains("named(\"") || line.contains("docker-credential-");
    let mut words = String::new();
    for line in source.lines() {
        let is_text = line.contains("//") || line.contains('"');
        let is_name = line.trim_start().starts_with("fn ");
        if is_text && !is_name && !is_data(line) && !line.contains("credsStore") {
            words += line;
        }
        words.push('\n');
    }
    words
}
