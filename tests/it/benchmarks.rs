//! `scripts/bench` works: it measures this very binary, and its tables and
//! picture have the shape that README shows. Their values are not checked
//! here.

use std::fs;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::dxf::Dxf;
use crate::support::scratch;

fn bench() -> Dxf {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/bench/run");
    let path = std::env::var_os("PATH").unwrap_or_default();
    let dxf = Dxf::foreign(&script).env("PATH", path);
    dxf.limit(Duration::from_secs(100))
}

/// The cells of a table's rows.
fn rows<'a>(text: &'a str) -> Vec<Vec<&'a str>> {
    let lines = text.lines().filter_map(|line| line.strip_prefix("| "));
    let cells = |line: &'a str| line.trim_end_matches('|').split('|').map(str::trim);
    lines.map(|line| cells(line).collect()).collect()
}

#[test]
fn a_case_near_and_one_far_are_measured() {
    let folder = scratch();
    let file = |name: &str| folder.path().join(name).display().to_string();
    let (table, plot) = (file("table.md"), file("plot.svg"));
    let words = [
        "--quick",
        "--runs",
        "1",
        "--tools",
        "dxf,curl",
        "--only",
        "start-up",
        "--only",
        "far-set-alias",
        "--dxf",
        env!("CARGO_BIN_EXE_dxf"),
        "--out",
        &table,
        "--plot",
        &plot,
    ];
    let printed = bench().args(words).env("TMPDIR", folder.path()).ok();
    assert_eq!(fs::read_to_string(&table).unwrap(), printed.text());
    let ours: Vec<_> = rows(printed.text())
        .into_iter()
        .filter(|row| row[1] == "dxf")
        .collect();
    let [start_up, far] = &ours[..] else {
        panic!("{printed}")
    };
    assert_eq!((start_up[0], far[0]), ("list one alias", "name 10 blobs"));
    for row in rows(printed.text()).iter().filter(|row| !row[1].is_empty()) {
        assert_eq!(row.len(), 8, "{row:?}");
        for number in row[2..].iter().filter(|cell| !cell.is_empty()) {
            // Bold where the other tool was faster, on a busy machine perhaps.
            let number = number.trim_matches('*');
            assert!(number.parse::<f64>().is_ok(), "{row:?}");
        }
    }
    // Counted by the registry: a list is one request, a name for ten blobs as
    // many and the PUT.
    assert_eq!((start_up[5], far[5]), ("1", "11"));
    let picture = fs::read_to_string(&plot).unwrap();
    assert!(picture.starts_with("<svg ") && picture.ends_with("</svg>\n"));
    assert!(picture.contains(">curl</text>") && picture.len() < 20_000);
    let left: Vec<_> = fs::read_dir(folder.path()).unwrap().collect();
    assert_eq!(left.len(), 2, "{left:?}");
}

/// A command is ended when its file has the first bytes, so it hashes few of them.
#[test]
fn the_first_byte_is_waited_for_and_no_more() {
    let folder = scratch();
    let words = ["--quick", "--runs", "1", "--tools", "dxf", "--only"];
    let cases = ["first-byte", "--only", "pull-file", "--dxf"];
    let run = bench()
        .args(words)
        .args(cases)
        .arg(env!("CARGO_BIN_EXE_dxf"));
    let out = run.env("TMPDIR", folder.path()).ok();
    let ours: Vec<_> = rows(out.text())
        .into_iter()
        .filter(|row| row[1] == "dxf")
        .collect();
    let [whole, first] = &ours[..] else {
        panic!("{out}")
    };
    let title = "the first byte of 64 MiB in a file";
    assert_eq!((whole[0], first[0]), ("pull 64 MiB to a file", title));
    assert_eq!((whole[5], first[5]), ("1", "1"), "{out}");
    let cpu = |row: &[&str]| row[3].parse::<f64>().unwrap();
    assert!(cpu(first) * 2.0 < cpu(whole), "{out}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn two_builds_are_compared() {
    let dxf = env!("CARGO_BIN_EXE_dxf");
    let folder = scratch();
    let slow = folder.path().join("slow");
    // Written by another process: see `Tool::on_path`.
    // It takes processor time, which other tests at the same moment do not change.
    let count = "i=0; while [ $i -lt 500000 ]; do i=$((i + 1)); done";
    let write =
        "printf '#!/bin/sh\\n%s\\nexec %s \"$@\"\\n' \"$3\" \"$2\" > \"$1\" && chmod +x \"$1\"";
    let made = Dxf::foreign(Path::new("/bin/sh")).args(["-c", write, "sh"]);
    made.arg(&slow)
        .arg(dxf)
        .arg(count)
        .env("PATH", "/bin:/usr/bin")
        .ok();
    let compared = |ours: &Path, before: &Path| {
        let words = ["--quick", "--runs", "1", "--only", "push-existing"];
        let bench = bench().args(words).env("TMPDIR", folder.path());
        bench
            .arg("--dxf")
            .arg(ours)
            .arg("--before")
            .arg(before)
            .run()
    };
    let out = compared(&slow, Path::new(dxf));
    assert_eq!(out.code, Some(3), "{out}");
    assert!(out.stderr.contains("cpu is"), "{out}");
    let names: Vec<_> = rows(out.text()).iter().map(|row| row[1]).collect();
    assert_eq!(names, ["", "dxf", "before"], "{out}");
}

/// A run of one case that takes no time, with its tables in `table`.
fn listing(mode: &str, table: &Path) -> Dxf {
    let words = ["--quick", "--runs", "1", "--tools", "dxf,curl", "--only"];
    let words = words.into_iter().chain(["start-up", "--dxf"]);
    let run = bench().args(words).arg(env!("CARGO_BIN_EXE_dxf"));
    let folder = table.parent().unwrap();
    run.arg(mode).arg(table).env("TMPDIR", folder)
}

#[test]
fn tables_are_written_and_compared_with() {
    let folder = scratch();
    let table = folder.path().join("README.md");
    listing("--write", &table).ok();
    assert!(folder.path().join("speed.svg").exists());
    // Ratios of one run mean nothing, so the table gets ones that no run exceeds.
    let text = fs::read_to_string(&table).unwrap();
    let row = text
        .lines()
        .find(|line| line.starts_with("|  | curl"))
        .unwrap();
    let mut cells: Vec<&str> = row.split(" | ").collect();
    let last = cells.len() - 2;
    cells[last..].copy_from_slice(&["9999", "9999 |"]);
    let lenient = text.replace(row, &cells.join(" | "));
    fs::write(&table, &lenient).unwrap();
    listing("--check", &table).ok();
    cells[last] = "0.00";
    fs::write(&table, text.replace(row, &cells.join(" | "))).unwrap();
    let out = listing("--check", &table).run();
    assert_eq!(out.code, Some(3), "{out}");
    assert!(
        out.stderr.contains("list one alias: wall beside curl is"),
        "{out}"
    );
    fs::write(&table, lenient.replace("list one alias", "another case")).unwrap();
    assert_eq!(listing("--check", &table).run().code, Some(2));
    fs::write(&table, "no tables").unwrap();
    assert_eq!(listing("--check", &table).run().code, Some(2));
}

/// A run that was ended after some cases measures the others when it is repeated.
#[test]
fn a_run_is_continued() {
    let folder = scratch();
    let kept = folder.path().join("runs.json");
    listing("--keep", &kept).ok();
    let text = fs::read_to_string(&kept).unwrap();
    let mut runs: Value = serde_json::from_str(&text).unwrap();
    runs["cases"]["start-up"]["runs"]["dxf"][0]["wall"] = json!(777.0);
    fs::write(&kept, runs.to_string()).unwrap();
    let again = listing("--keep", &kept)
        .args(["--only", "far-set-alias"])
        .ok();
    let (old, new) = (rows(again.text()), again.text().contains("name 10 blobs"));
    assert!(old.iter().any(|row| row[2] == "777.00") && new, "{again}");
    runs["about"]["build"] = json!("another");
    fs::write(&kept, runs.to_string()).unwrap();
    let refused = listing("--keep", &kept).run();
    assert_eq!(refused.code, Some(2), "{refused}");
    assert!(refused.stderr.contains("other programs"), "{refused}");
}

/// With the test's own build, whose numbers mean nothing: release builds are what
/// the script's table is of.
#[test]
fn instructions_are_counted() {
    if !Path::new("/usr/bin/valgrind").exists() {
        eprintln!("SKIPPED: valgrind is not installed; scripts/setup does that");
        return;
    }
    let folder = scratch();
    let table = folder.path().join("table.md");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/bench/instructions");
    let count = |words: &[&str]| {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let run = Dxf::foreign(&script).limit(Duration::from_secs(300));
        let home = std::env::var_os("HOME").unwrap_or_default();
        let run = run.env("PATH", path).env("TMPDIR", folder.path());
        // For rustc, which rustup chooses.
        let run = run.env("HOME", home);
        let run = run.args(["--size", "1", "--dxf", env!("CARGO_BIN_EXE_dxf"), "--table"]);
        run.arg(&table).args(words).run()
    };
    let out = count(&["--write"]);
    assert_eq!(out.code, Some(0), "{out}");
    let text = fs::read_to_string(&table).unwrap();
    let row = text
        .lines()
        .find(|line| line.starts_with("| start"))
        .unwrap();
    fs::write(&table, text.replace(row, "| start (--version) | 1,000 |")).unwrap();
    let out = count(&[]);
    assert_eq!(out.code, Some(3), "{out}");
    assert!(out.stderr.starts_with("start (--version): "), "{out}");
}

/// At "z" the compiler fills a buffer byte by byte, and lends that code to the crates that
/// depend on it: a new connection took half a millisecond for it.
#[test]
fn nothing_that_fills_buffers_is_compiled_as_small_as_it_gets() {
    let profiles = include_str!("../../Cargo.toml");
    for name in ["ureq", "ureq-proto", "rustls", "rustls-webpki", "flate2"] {
        let small = format!("[profile.release.package.{name}]\nopt-level = \"z\"");
        assert!(!profiles.contains(&small), "{name}");
    }
}

#[test]
fn its_cases_have_names() {
    let listed = bench().args(["--list"]).ok();
    assert!(listed.lines().contains(&"pull-file"), "{listed}");
    let unknown = bench().args(["--only", "nothing"]).run();
    assert_eq!(unknown.code, Some(2));
    assert!(unknown.stderr.contains("pull-file"), "{unknown}");
}
