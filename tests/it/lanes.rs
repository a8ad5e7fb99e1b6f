//! `tests/slow`, which `scripts/test --quick` leaves out: its names are those
//! of tests, and every test that needs an engine is among them.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

fn tests() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests")
}

fn listed() -> BTreeSet<String> {
    let text = fs::read_to_string(tests().join("slow")).expect("tests/slow");
    let lines = text.lines().map(str::trim);
    lines
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(str::to_string)
        .collect()
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

#[test]
fn every_name_is_that_of_a_test() {
    let names = listed();
    assert!(names.len() > 10);
    for name in names {
        let (module, function) = name.split_once("::").expect("module::function");
        let path = tests().join("it").join(module).with_extension("rs");
        let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{name}: {e}"));
        let there = text.split(|c| !is_word(c)).any(|word| word == function);
        assert!(there, "tests/slow: there is no test {name}");
    }
}

#[test]
fn every_test_that_needs_an_engine_is_slow() {
    let names = listed();
    let mut seen = 0;
    for entry in fs::read_dir(tests().join("it")).expect("tests/it") {
        let path = entry.expect("an entry").path();
        let module = path.file_stem().expect("a name").to_string_lossy();
        if path.is_dir() || module == "engine" || module == "lanes" {
            continue;
        }
        let mut function = "";
        let text = fs::read_to_string(&path).expect("a test");
        for line in text.lines() {
            let head = line.trim_start_matches("pub ").strip_prefix("fn ");
            function = head.map_or(function, |head| head.split('(').next().unwrap_or(head));
            if line.contains("Tool::find(") || line.contains("Docker::start(") {
                seen += 1;
                let name = format!("{module}::{function}");
                assert!(names.contains(&name), "{name} belongs in tests/slow");
            }
        }
    }
    assert!(seen > 10, "engines are asked for in other words now");
}
