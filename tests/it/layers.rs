//! Rooms of `src/` may name what lies below them and nothing above. The table
//! is the design; this test keeps it from rotting.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Layers from the bottom up. In some, neighbours do not know each other.
const LAYERS: &[(&str, bool)] = &[
    (
        "error digest descriptor reference manifest progress secret text json jws hub",
        true,
    ),
    ("file", true),
    ("blob stream parallel store fetch cache", true),
    ("http credentials", false),
    ("auth", true),
    ("registry layout image", false),
    ("archive alias artifact", false),
    ("transfer foreign", true),
    ("cli main", true),
];

/// Rooms that must not know one below them either, and why the layers allow
/// it: they work on a `Store`, whichever it is.
const NEVER: &[(&str, &str)] = &[
    ("archive", "registry"),
    ("alias", "registry"),
    ("alias", "layout"),
    ("alias", "image"),
    ("artifact", "registry"),
    ("artifact", "layout"),
];

#[test]
fn rooms_name_only_what_lies_below() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    collect(&src, &mut files);
    let lib = std::fs::read_to_string(src.join("lib.rs")).expect("src/lib.rs");
    let exports = exports(&lib);
    let mut found = Vec::new();
    for path in &files {
        let inside: Vec<String> = path
            .strip_prefix(&src)
            .expect("below src")
            .with_extension("")
            .iter()
            .map(|part| part.to_string_lossy().into_owned())
            .collect();
        // The crate's own page names every room, a room's tests whatever they
        // need.
        if inside == ["lib"] || inside.last().is_some_and(|name| name == "tests") {
            continue;
        }
        let text = std::fs::read_to_string(path).expect("a source file");
        found.extend(violations(&inside, &text, &exports));
    }
    assert!(files.len() > 10, "src/ was not found");
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn every_kind_of_naming_is_found() {
    let exports = exports("pub use error::{Error, Result};\npub use registry::Registry;\n");
    let seen = |inside: &[&str], text: &str| {
        let inside: Vec<String> = inside.iter().map(|part| part.to_string()).collect();
        violations(&inside, text, &exports)
    };
    // Upward, in every spelling.
    assert_eq!(seen(&["blob"], "use crate::http::Url;").len(), 1);
    assert_eq!(seen(&["blob"], "let x = crate::registry::get();").len(), 1);
    assert_eq!(
        seen(
            &["blob"],
            "use crate::{\n    digest::{Digest, Hasher},\n    http,\n};"
        )
        .len(),
        1
    );
    assert_eq!(seen(&["blob"], "use crate::Registry;").len(), 1);
    assert_eq!(seen(&["blob"], "use super::layout;").len(), 1);
    assert_eq!(
        seen(&["http", "retry"], "use super::super::auth::Scope;").len(),
        1
    );
    assert_eq!(seen(&["http", "mod"], "use super::auth;").len(), 1);
    // Sideways where neighbours are strangers, and the rooms with rules of their own.
    assert_eq!(
        seen(&["registry", "mod"], "use crate::layout::Layout;").len(),
        1
    );
    assert_eq!(
        seen(&["archive", "tar"], "use crate::registry::Repository;").len(),
        1
    );
    assert_eq!(seen(&["attic"], "").len(), 1);
    // Downward, within a room, in tests and in words.
    assert!(
        seen(
            &["registry", "mod"],
            "use crate::{Error, auth, store::Store};"
        )
        .is_empty()
    );
    assert!(
        seen(
            &["registry", "mod"],
            "use super::store;
use crate::registry::x;"
        )
        .is_empty()
    );
    assert!(seen(&["registry", "upload"], "use super::Registry;").is_empty());
    assert!(seen(&["digest"], "use crate::error::Result;\nuse crate::json;").is_empty());
    assert!(seen(&["blob"], "//! see [`crate::http`]\n/// crate::auth\n").is_empty());
    assert!(seen(&["blob"], "#[cfg(test)]\nmod tests { use crate::http; }").is_empty());
}

pub fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("a source folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

/// Which room each name that `lib.rs` re-exports comes from.
fn exports(lib: &str) -> BTreeMap<String, String> {
    let mut rooms = BTreeMap::new();
    for line in lib.split(';') {
        let Some((_, tail)) = line.split_once("pub use ") else {
            continue;
        };
        let tail = tail
            .trim_start_matches("crate::")
            .trim_start_matches("self::");
        let Some((room, names)) = tail.split_once("::") else {
            continue;
        };
        let names = names.split(|c: char| !c.is_alphanumeric() && c != '_');
        for name in names.filter(|name| !name.is_empty()) {
            rooms.insert(name.to_string(), room.to_string());
        }
    }
    rooms
}

fn violations(inside: &[String], text: &str, exports: &BTreeMap<String, String>) -> Vec<String> {
    let room = inside[0].as_str();
    let Some(own) = layer(room) else {
        return vec![format!(
            "src/{room}: no layer; give it one in tests/it/layers.rs"
        )];
    };
    let mut found = Vec::new();
    for name in named(inside, text) {
        let other = exports.get(&name).unwrap_or(&name).as_str();
        // Whatever is no room is something `lib.rs` itself defines.
        let Some(theirs) = layer(other).filter(|_| other != room) else {
            continue;
        };
        let neighbours = own == theirs && !LAYERS[own].1;
        if theirs > own || neighbours || NEVER.contains(&(room, other)) {
            found.push(format!("src/{}: must not know `{other}`", inside.join("/")));
        }
    }
    found
}

fn layer(room: &str) -> Option<usize> {
    LAYERS
        .iter()
        .position(|(rooms, _)| rooms.split(' ').any(|one| one == room))
}

/// What stands directly behind every path to the crate's root.
fn named(inside: &[String], text: &str) -> Vec<String> {
    let code = code(text);
    let mut names = Vec::new();
    let mut starts: Vec<usize> = code
        .match_indices("crate::")
        .filter(|(at, _)| !ends_in_word(&code[..*at]))
        .map(|(at, word)| at + word.len())
        .collect();
    // `super` leads to the root from a file directly below it, and once more
    // from each folder further down; `mod.rs` is its folder.
    let depth = inside.len() - usize::from(inside.len() > 1 && inside[inside.len() - 1] == "mod");
    let up = "super::".repeat(depth);
    starts.extend(
        code.match_indices(&up)
            .filter(|(at, _)| !ends_in_word(&code[..*at]) && !code[..*at].ends_with("super::"))
            .map(|(at, word)| at + word.len()),
    );
    for start in starts {
        names.extend(heads(&code[start..]));
    }
    names
}

fn ends_in_word(before: &str) -> bool {
    before.ends_with(|c: char| c.is_alphanumeric() || c == '_')
}

/// The first names of a path: one, or those of a `{…}` group.
fn heads(path: &str) -> Vec<String> {
    let word = |text: &str| -> String {
        text.trim_start()
            .chars()
            .take_while(|c| c.is_alphanumeric() || *c == '_')
            .collect()
    };
    let Some(group) = path.strip_prefix('{') else {
        return vec![word(path)];
    };
    let mut names = vec![word(group)];
    let mut depth = 1;
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 1 => names.push(word(&group[at + 1..])),
            _ => {}
        }
        if depth == 0 {
            break;
        }
    }
    names
}

/// The file without comments and without its tests, which close every file.
pub fn code(text: &str) -> String {
    let text = text.split("mod tests {").next().unwrap_or(text);
    text.lines()
        .map(|line| line.split("//").next().unwrap_or(line))
        .collect::<Vec<_>>()
        .join("\n")
}
