//! The recipes of the manual, run as they are written there.

use std::fs;
use std::path::Path;

use crate::readme::page;
use crate::support::data::blob;
use crate::support::dxf::Dxf;
use crate::support::registry::Registry;
use crate::support::scratch;

/// Where the manual has its registry.
const HOST: &str = "localhost:5000";
/// What ends the output of a command.
const END: &str = "--end of a command--";

/// A command of a recipe, and the lines that it prints.
type Step = (String, Vec<String>);

/// The blocks of a page: the heading before each, and its steps.
fn recipes(text: &str) -> Vec<(String, Vec<Step>)> {
    let (mut found, mut heading, mut inside) = (Vec::new(), String::new(), false);
    for line in text.lines() {
        match (line, inside) {
            ("```console", _) => {
                inside = true;
                found.push((heading.clone(), Vec::<Step>::new()));
            }
            ("```", true) => inside = false,
            (line, true) => {
                let steps = &mut found.last_mut().expect("a block").1;
                match (line.strip_prefix("$ "), steps.last_mut()) {
                    (Some(command), _) => steps.push((command.to_string(), Vec::new())),
                    (None, Some(last)) => last.1.push(line.to_string()),
                    (None, None) => panic!("{heading}: {line} is no command"),
                }
            }
            (line, false) => {
                if let Some(title) = line.strip_prefix("## ") {
                    heading = title.to_string();
                }
            }
        }
    }
    found
}

/// Whether a line is as the manual prints it, where `…` stands for anything.
fn fits(pattern: &str, line: &str) -> bool {
    let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let (pattern, line) = (words(pattern), words(line));
    let mut parts = pattern.split('…').map(str::trim);
    let Some(mut rest) = parts.next().and_then(|first| line.strip_prefix(first)) else {
        return false;
    };
    for part in parts {
        let Some(at) = rest.find(part) else {
            return false;
        };
        rest = &rest[at + part.len()..];
    }
    rest.is_empty() || pattern.ends_with('…')
}

/// Runs every block of a page, as [`run_text`] does.
fn run(topic: &str, prepare: fn(&Path)) -> usize {
    run_text(&page(topic), prepare)
}

/// Runs every block of a text in a folder of its own that `prepare` fills, with
/// a registry of its own where the manual has one; how many there were.
fn run_text(text: &str, prepare: fn(&Path)) -> usize {
    let recipes = recipes(text);
    for (heading, steps) in &recipes {
        let (registry, folder) = (Registry::http(), scratch());
        prepare(folder.path());
        let mut script = String::new();
        for (command, _) in steps {
            let command = command.replace(HOST, registry.host());
            script += &format!("{command}\necho {END}\n");
        }
        let dxf = Path::new(env!("CARGO_BIN_EXE_dxf"));
        let path = format!(
            "{}:/usr/bin:/bin",
            dxf.parent().expect("a folder").display()
        );
        let done = Dxf::foreign(Path::new("/bin/sh"))
            .current_dir(folder.path())
            .env("PATH", path)
            .args(["-euc", &script])
            .ok();
        let text = done.text().replace(registry.host(), HOST);
        let printed: Vec<&str> = text.split(&format!("{END}\n")).collect();
        for ((command, expected), printed) in steps.iter().zip(printed) {
            let printed: Vec<&str> = printed.lines().collect();
            let same = printed.len() == expected.len()
                && expected.iter().zip(&printed).all(|(a, b)| fits(a, b));
            assert!(
                same,
                "{heading}: {command}\nprinted {printed:#?}\nnot {expected:#?}"
            );
        }
    }
    recipes.len()
}

#[test]
fn patterns_fit_what_they_stand_for() {
    assert!(fits("a@sha256:… 1", "a@sha256:77 1") && fits("a  b …", "a b"));
    assert!(!fits("a@sha256:…", "b@sha256:77") && !fits("a", "a b") && !fits("a … c", "a b"));
}

#[test]
fn artifacts() {
    let count = run("artifacts", |folder| {
        let write = |name: &str, bytes: &[u8]| fs::write(folder.join(name), bytes).unwrap();
        write("summary.json", b"{\"total\": 3}\n");
        fs::create_dir(folder.join("charts")).unwrap();
        write("charts/one.svg", b"<svg/>");
        write("config.json", b"{}");
        write("model.safetensors", &blob(1, 100_000));
        write("README.md", b"# Tiny");
        write("tool", b"#!/bin/sh\n");
        write("sbom.spdx.json", b"{}");
        write("disk.img", &blob(2, 300_000));
    });
    assert!(count >= 5, "{count} recipes");
}

/// The files that the pages about blobs begin with.
fn files(folder: &Path) {
    fs::write(folder.join("model.bin"), "dxf\n".repeat(1_250_000)).unwrap();
    fs::write(folder.join("a.txt"), "hello\n").unwrap();
    fs::write(folder.join("disk.img"), blob(3, 5_000_000)).unwrap();
}

#[test]
fn the_tour_of_readme() {
    let readme = include_str!("../../README.md");
    let (_, tour) = readme.split_once("## A tour\n").expect("a tour");
    let (tour, _) = tour.split_once("\n## ").expect("more sections");
    assert_eq!(run_text(tour, files), 1);
}

#[test]
fn the_pages_about_blobs() {
    assert_eq!(run("getting-started", files), 1);
    assert_eq!(run("blobs-and-aliases", files), 1);
    assert_eq!(run("large-files", files), 2);
    assert_eq!(run("editing-images", files), 1);
}
