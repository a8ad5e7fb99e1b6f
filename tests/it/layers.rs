//! A file of `src/` may name what lies below it and nothing above or beside it.
//! The tables are the design; this test keeps it up to date. A change that adds a
//! room gives it a line here.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Rooms and single files, lowest line first; those of one line do not know
/// each other. The longest entry that fits a file counts, so that a file may
/// lie elsewhere than its room: `cli/out` below `cli`.
const LAYERS: &[&str] = &[
    "bounds",
    "error text json secret hub",
    "digest",
    "platform jws progress",
    "descriptor reference",
    "manifest stream",
    "file parallel",
    "tar",
    "blob",
    "store",
    "fetch cache",
    "http credentials",
    "auth",
    "registry layout image",
    "graph",
    "archive alias artifact nondistributable",
    "files bundle",
    "inventory",
    "place keeping",
    "fuzz",
    "cli/exit cli/interrupt cli/near",
    "cli/out",
    "cli/env",
    "cli/manual",
    "cli/args",
    "cli/repos",
    "cli/session",
    "cli/input cli/image",
    "cli/artifact cli/bundle",
    "cli/commands",
    "cli/help",
    "cli",
    "main",
];

/// Who may name what does not lie below them, and why.
const ALLOWED: &[(&str, &str, &str)] = &[(
    "error",
    "digest",
    "an error carries the two digests that differ",
)];

/// Who must not name something although it lies below them, and why.
const NEVER: &[(&str, &str, &str)] = &[
    ("archive", "registry", ANY_STORE),
    ("graph", "registry", ANY_STORE),
    ("graph", "layout", ANY_STORE),
    ("alias", "registry", ANY_STORE),
    ("alias", "layout", ANY_STORE),
    ("alias", "image", "an alias names blobs of any kind"),
    ("artifact", "registry", ANY_STORE),
    ("inventory", "registry", ANY_STORE),
    ("inventory", "layout", ANY_STORE),
    ("artifact", "layout", ANY_STORE),
];

/// What is done in one place, and the files that do it.
const ALONE: &[(&str, &[&str])] = &[
    ("thread::scope", &["parallel"]),
    ("thread::spawn", &["parallel"]),
    ("fs::rename", &["file"]),
    (
        "tempfile::",
        &["file/aside", "file/spool", "cli/image/engine"],
    ),
    // `Blob::verified` knows which sources verify already.
    (".open(0)?, *", &[]),
    ("std::env::var", &["main"]),
    ("std::env::temp_dir", &["cli/env"]),
    ("process::exit", &["cli/interrupt"]),
    // What the library waits for can be stopped.
    ("thread::sleep", &["cli"]),
    ("println!", &[]),
    ("print!", &[]),
];

/// Constants called a maximum that bound nothing which is read, by what they are
/// about instead; all others are in `bounds`.
const NO_BOUNDS: &[(&str, &[&str])] = &[
    (
        "tries",
        &[
            "graph/push MAX_SENDS",
            "graph/pull MAX_PLACES",
            "registry/download MAX_RESTARTS",
            "registry/upload MAX_RESYNCS",
            "registry/referrers MAX_REFUSED",
            "registry/plan MAX_RESTARTS",
        ],
    ),
    (
        "work that is done at once, and what is kept for later",
        &[
            "graph/copy MAX_WAITING",
            "graph/copy MAX_WAITING_SIZE",
            "http/response MAX_DRAIN",
            "http/transport MAX_JOBS",
            "fetch/reader MOST",
            "fetch/chunk MOST",
            "registry/referrers MAX_REMEMBERED",
            "registry/seen MOST",
            "image/diff MAX_MEMBERS_DEPTH",
        ],
    ),
    (
        "names, whose grammar or system has it so",
        &[
            "reference NAME_MAX",
            "files/title MAX_PART",
            "files/artifact MAX_NAME",
            "fetch/partial MAX_NAME",
            "artifact/parts MAX_NAME",
        ],
    ),
    (
        "what is shown",
        &[
            "http/status MAX_ENTRIES",
            "cli/exit LIMITED",
            "cli/image/engine MOST_WORDS",
            "cli/out/bars MOST",
            "cli/out/label MAX_NAME",
            "cli/out/console MAX_WARNING",
            "cli/commands/image/export MAX_NAMED",
            "cli/commands/tool/complete MOST",
        ],
    ),
    (
        "registries' own limits, and a variable's largest value",
        &[
            "registry/plan NGINX_LARGEST",
            "registry/plan GHCR_LARGEST",
            "registry/plan QUAY_LARGEST",
            "cli/env/wire MOST",
        ],
    ),
];

const ANY_STORE: &str = "it works on a store, whichever it is";

/// Folders whose files do not know each other; only their `mod.rs` knows them.
const STRANGERS: &[&str] = &[
    "cli/commands",
    "cli/commands/alias",
    "cli/commands/artifact",
    "cli/commands/blob",
    "cli/commands/bundle",
    "cli/commands/image",
    "cli/commands/keeping",
    "cli/commands/logins",
    "cli/commands/tool",
];

/// A file of `src/` as its module's path, such as `http/retry`; `http` is
/// `http/mod.rs`.
type Modules = BTreeSet<String>;

#[test]
fn files_name_only_what_lies_below() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    collect(&src, &mut files);
    assert!(files.len() > 10, "src/ was not found");
    let named: Vec<(String, &PathBuf)> = files.iter().map(|f| (module(&src, f), f)).collect();
    let modules: Modules = named.iter().map(|(module, _)| module.clone()).collect();
    let lib = std::fs::read_to_string(src.join("lib.rs")).expect("src/lib.rs");
    let exports = exports(&lib);
    let mut found = Vec::new();
    for (module, path) in &named {
        // The crate's own page names every room, a room's tests whatever they
        // need.
        if module == "lib" || last(module) == "tests" {
            continue;
        }
        let text = std::fs::read_to_string(path).expect("a source file");
        found.extend(violations(module, &text, &modules, &exports));
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn bounds_are_in_one_table() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    collect(&src, &mut files);
    let known: Vec<&str> = NO_BOUNDS
        .iter()
        .flat_map(|(_, of)| of.iter().copied())
        .collect();
    let mut found = Vec::new();
    for path in &files {
        let module = module(&src, path);
        if matches!(last(&module), "tests" | "testing") || within(&module, "fuzz") {
            continue;
        }
        let text = std::fs::read_to_string(path).expect("a source file");
        for name in code(&text).lines().filter_map(maximum) {
            let constant = format!("{module} {name}");
            if module != "bounds" && !known.contains(&constant.as_str()) {
                found.push(constant);
            }
        }
    }
    assert!(files.len() > 10 && found.is_empty(), "{}", found.join("\n"));
}

/// The name of a constant that this line gives a number to and that sounds like a bound.
fn maximum(line: &str) -> Option<&str> {
    let (before, rest) = line.split_once("const ")?;
    let (name, rest) = rest.split_once(": ")?;
    let (_, value) = rest.split_once(" = ")?;
    let is_item = before.trim().is_empty() || before.trim().starts_with("pub");
    let sounds = ["MAX", "MOST", "LIMIT", "LONGEST", "LARGEST"];
    let is_number = value.starts_with(|c: char| c.is_ascii_digit());
    (is_item && is_number && sounds.iter().any(|word| name.contains(word))).then_some(name)
}

#[test]
fn what_is_done_in_one_place_is_done_nowhere_else() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    collect(&src, &mut files);
    let mut found = Vec::new();
    for path in &files {
        let module = module(&src, path);
        // Fuzzing is a test.
        if matches!(last(&module), "tests" | "testing" | "trace") || within(&module, "fuzz") {
            continue;
        }
        let code = code(&std::fs::read_to_string(path).expect("a source file"));
        for (word, places) in ALONE {
            let may = places.iter().any(|place| within(&module, place));
            if code.contains(word) && !may {
                found.push(format!("src/{module}: {word} belongs in {places:?}"));
            }
        }
    }
    assert!(files.len() > 10 && found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn every_kind_of_naming_is_found() {
    let exports = exports("pub use error::{Error, Result};\npub use registry::Registry;\n");
    let modules = "blob digest error json http http/retry layout registry registry/upload auth \
                   auth/scope archive archive/tar store attic cli/commands cli/commands/pull \
                   cli/commands/push cli/commands/push/words cli/out";
    let modules: Modules = modules.split_whitespace().map(str::to_string).collect();
    let seen = |file: &str, text: &str| violations(file, text, &modules, &exports).len();
    // Upward, in every spelling.
    assert_eq!(seen("blob", "use crate::http::Url;"), 1);
    assert_eq!(seen("blob", "let x = crate::registry::get();"), 1);
    let group = "use crate::{\n    digest::{Digest, Hasher},\n    http,\n};";
    assert_eq!(seen("blob", group), 1);
    assert_eq!(seen("blob", "use crate::Registry;"), 1);
    assert_eq!(seen("blob", "use super::layout;"), 1);
    assert_eq!(seen("http/retry", "use super::super::auth::Scope;"), 1);
    assert_eq!(seen("http", "use super::auth;"), 1);
    assert_eq!(
        seen("http", "use super::{auth::{self, scope::Scope}, json};"),
        2
    );
    // Sideways, the rooms with rules of their own, and one without a line.
    assert_eq!(seen("registry", "use crate::layout::Layout;"), 1);
    assert_eq!(seen("archive/tar", "use crate::registry::Repository;"), 1);
    assert_eq!(seen("attic", ""), 1);
    // One command and another; their folder knows all, and each its own files.
    assert_eq!(seen("cli/commands/pull", "use super::push::words;"), 1);
    assert_eq!(
        seen(
            "cli/commands/pull",
            "use crate::cli::{out, commands::push};"
        ),
        1
    );
    assert_eq!(seen("cli/commands", "use self::pull;"), 0);
    assert_eq!(seen("cli/commands/push", "use self::words::Word;"), 0);
    assert_eq!(seen("cli/commands/push/words", "use super::Push;"), 0);
    // Downward, within a room, allowed, in tests and in words.
    assert_eq!(
        seen("registry", "use crate::{Error, auth, store::Store};"),
        0
    );
    assert_eq!(
        seen("registry", "use super::store;\nuse crate::registry::x;"),
        0
    );
    assert_eq!(seen("registry/upload", "use super::Registry;"), 0);
    assert_eq!(
        seen("digest", "use crate::error::Result;\nuse crate::json;"),
        0
    );
    assert_eq!(seen("error", "use crate::digest::Digest;"), 0);
    assert_eq!(
        seen("blob", "//! see [`crate::http`]\n/// crate::auth\n"),
        0
    );
    assert_eq!(
        seen("blob", "#[cfg(test)]\nmod tests { use crate::http; }"),
        0
    );
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

fn module(src: &Path, file: &Path) -> String {
    let inside = file.strip_prefix(src).expect("below src");
    let module = inside.with_extension("").display().to_string();
    match module.strip_suffix("/mod") {
        Some(room) => room.to_string(),
        None => module,
    }
}

fn last(module: &str) -> &str {
    module.rsplit('/').next().unwrap_or(module)
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

fn violations(
    module: &str,
    text: &str,
    modules: &Modules,
    exports: &BTreeMap<String, String>,
) -> Vec<String> {
    let Some(own) = layer(module) else {
        return vec![format!(
            "src/{module}: no layer; give it one in tests/it/layers.rs"
        )];
    };
    let mut found = BTreeSet::new();
    for path in paths(module, text) {
        // Whatever is no module is something `lib.rs` itself defines.
        let Some(other) = named(&path, modules, exports).filter(|other| other != module) else {
            continue;
        };
        let Some(theirs) = layer(&other) else {
            continue;
        };
        let below = theirs.0 < own.0 || theirs.1 == own.1;
        let listed = |table: &[(&str, &str, &str)]| {
            let fits =
                |(from, to, _): &(&str, &str, &str)| within(module, from) && within(&other, to);
            table.iter().any(fits)
        };
        if !below && !listed(ALLOWED) || listed(NEVER) || strangers(module, &other) {
            found.insert(format!("src/{module}: must not know `{other}`"));
        }
    }
    found.into_iter().collect()
}

/// The line of the entry that fits a module best, and that entry.
fn layer(module: &str) -> Option<(usize, &'static str)> {
    let entries = LAYERS.iter().enumerate();
    let entries = entries.flat_map(|(at, line)| line.split(' ').map(move |entry| (at, entry)));
    entries
        .filter(|(_, entry)| within(module, entry))
        .max_by_key(|(_, entry)| entry.len())
}

fn within(module: &str, room: &str) -> bool {
    let rest = module.strip_prefix(room);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Whether two modules lie in different files, or folders, of one whose files
/// do not know each other.
fn strangers(one: &str, other: &str) -> bool {
    STRANGERS.iter().any(|folder| {
        let part = |module: &str| -> Option<String> {
            let rest = module.strip_prefix(folder)?.strip_prefix('/')?;
            rest.split('/').next().map(str::to_string)
        };
        matches!((part(one), part(other)), (Some(one), Some(other)) if one != other)
    })
}

/// The module that a path from the crate's root leads to or into.
fn named(path: &[String], modules: &Modules, exports: &BTreeMap<String, String>) -> Option<String> {
    let first = path.first()?;
    if let Some(room) = exports.get(first) {
        return Some(room.clone());
    }
    let ends = (1..=path.len()).rev();
    ends.map(|end| path[..end].join("/"))
        .find(|module| modules.contains(module))
}

/// Every path in the code that begins at the crate's root, or can be traced to
/// it: `crate::`, `self::` and any number of `super::`.
fn paths(module: &str, text: &str) -> Vec<Vec<String>> {
    let code = code(text);
    let own: Vec<String> = module.split('/').map(str::to_string).collect();
    let mut found = Vec::new();
    for (word, up) in [("crate::", own.len()), ("self::", 0), ("super::", 1)] {
        for (at, _) in code.match_indices(word) {
            let before = &code[..at];
            if before.ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':') {
                continue;
            }
            let (mut rest, mut up) = (&code[at + word.len()..], up);
            while let Some(further) = rest.strip_prefix("super::") {
                (rest, up) = (further, up + 1);
            }
            let base = &own[..own.len().saturating_sub(up)];
            for path in expand(rest) {
                found.push([base, &path].concat());
            }
        }
    }
    found
}

/// The paths of a use tree: `a::{b, c::d}` is `a::b` and `a::c::d`.
fn expand(tree: &str) -> Vec<Vec<String>> {
    let tree = tree.trim_start();
    if let Some(group) = tree.strip_prefix('{') {
        return branches(group).into_iter().flat_map(expand).collect();
    }
    let end = tree.find(|c: char| !c.is_alphanumeric() && c != '_');
    let (word, rest) = tree.split_at(end.unwrap_or(tree.len()));
    let further = rest.strip_prefix("::").map(expand).unwrap_or_default();
    let word = word.to_string();
    if further.is_empty() {
        return vec![vec![word]];
    }
    let longer = |path: Vec<String>| [vec![word.clone()], path].concat();
    further.into_iter().map(longer).collect()
}

/// What stands between the commas of a group, up to the brace that ends it.
fn branches(group: &str) -> Vec<&str> {
    let (mut depth, mut start, mut found) = (1, 0, Vec::new());
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 || (c == ',' && depth == 1) {
            found.push(&group[start..at]);
            start = at + 1;
        }
        if depth == 0 {
            break;
        }
    }
    found
}

/// The file without comments and without its tests, which close every file.
pub fn code(text: &str) -> String {
    let text = text.split("mod tests {").next().unwrap_or(text);
    text.lines()
        .map(|line| line.split("//").next().unwrap_or(line))
        .collect::<Vec<_>>()
        .join("\n")
}
