//! The examples of the manual and of README, run as they are written there.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use tempfile::TempDir;

use crate::readme::{page, pages};
use crate::support::data::blob;
use crate::support::dxf::Dxf;
use crate::support::registry::Registry;
use crate::support::scratch;

/// What ends the output of a command.
const END: &str = "--end of a command--";

/// How many examples each page has, and that all of them are run: the first three
/// of `bundles` by a test of their own, because they depend on each other.
const EXAMPLES: [(&str, usize); 10] = [
    ("artifacts", 5),
    ("blobs-and-aliases", 1),
    ("bundles", 4),
    ("ci", 3),
    ("editing-images", 1),
    ("getting-started", 2),
    ("housekeeping", 4),
    ("images", 3),
    ("large-files", 3),
    ("logins", 1),
];

/// What stands in a configuration of GitHub Actions, and a value for it.
const GITHUB: [(&str, &str); 4] = [
    ("${{ github.actor }}", "me"),
    ("${{ secrets.GITHUB_TOKEN }}", "secret"),
    ("${{ github.repository }}", "team/app"),
    ("${{ github.sha }}", "5d41402"),
];

/// Variables that GitLab and Jenkins set.
const CI: [(&str, &str); 8] = [
    ("CI_REGISTRY", "registry.example"),
    ("CI_REGISTRY_IMAGE", "registry.example/team/app"),
    ("CI_REGISTRY_USER", "me"),
    ("CI_REGISTRY_PASSWORD", "secret"),
    ("CI_PROJECT_PATH", "team/app"),
    ("CI_COMMIT_SHORT_SHA", "5d41402"),
    ("CI_COMMIT_REF_SLUG", "main"),
    ("BUILD_NUMBER", "7"),
];

/// A command of an example, and the lines that it prints, where the page has them.
struct Step {
    command: String,
    printed: Option<Vec<String>>,
}

/// Where an example is run.
struct Stage {
    /// `localhost:5000` and the registries whose names are in [`Stage::placed`].
    registry: Registry,
    /// The registries that are copied from or to.
    other: Registry,
    folder: TempDir,
}

impl Stage {
    fn new() -> Stage {
        let (registry, other) = (Registry::http(), Registry::http());
        let folder = scratch();
        fs::create_dir(folder.path().join(".bin")).unwrap();
        Stage {
            registry,
            other,
            folder,
        }
    }

    /// The text with the hosts of the manual replaced by those of this stage.
    fn placed(&self, text: &str) -> String {
        let mut text = text.to_string();
        for host in ["localhost:5000", "registry.example", "ghcr.io"] {
            text = text.replace(host, self.registry.host());
        }
        for host in ["quay.io", "mirror.example", "registry.internal:5000"] {
            text = text.replace(host, self.other.host());
        }
        text
    }

    /// Writes a file.
    fn file(&self, name: &str, bytes: impl AsRef<[u8]>) {
        fs::write(self.folder.path().join(name), bytes).unwrap();
    }

    /// A program that an example uses and that may not be installed.
    fn program(&self, name: &str, script: &str) {
        let path = self.folder.path().join(".bin").join(name);
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// Runs commands before the example.
    fn before(&self, script: &str) {
        self.shell(&self.placed(script)).ok();
    }

    fn shell(&self, script: &str) -> Dxf {
        let folder = self.folder.path();
        let dxf = Path::new(env!("CARGO_BIN_EXE_dxf")).parent().unwrap();
        let bin = folder.join(".bin");
        let path = format!("{}:{}:/usr/bin:/bin", bin.display(), dxf.display());
        let shell = Dxf::foreign(Path::new("/bin/sh"))
            .current_dir(folder)
            .plain(self.registry.host())
            .env("HOME", folder)
            .env("PATH", path);
        let shell = CI.iter().fold(shell, |shell, (name, value)| {
            shell.env(name, self.placed(value))
        });
        shell.args(["-euc", script])
    }
}

/// The examples of a page: the heading before each, and its steps.
fn examples(text: &str) -> Vec<(String, Vec<Step>)> {
    let (mut found, mut heading, mut kind) = (Vec::new(), String::new(), None);
    for line in text.lines() {
        match (line.strip_prefix("```"), kind) {
            (Some(_), Some(_)) => kind = None,
            (Some(language), None) => {
                kind = Some(language);
                found.push((heading.clone(), Vec::new()));
            }
            (None, Some(language)) => {
                let (_, steps) = found.last_mut().expect("an example");
                add(steps, language, line);
            }
            (None, None) => {
                if let Some(title) = line.strip_prefix("## ") {
                    heading = title.to_string();
                }
            }
        }
    }
    found
}

/// Adds a line of an example in `language` to its steps.
fn add(steps: &mut Vec<Step>, language: &str, line: &str) {
    let step = |command: &str, printed| Step {
        command: command.to_string(),
        printed,
    };
    let words = line.trim().trim_start_matches("- ");
    match language {
        "console" => match (line.strip_prefix("$ "), steps.last_mut()) {
            (Some(command), _) => steps.push(step(command, Some(Vec::new()))),
            (None, Some(last)) => last.printed.as_mut().unwrap().push(line.to_string()),
            (None, None) => panic!("{line} is no command"),
        },
        "sh" | "bash" if line.is_empty() || line.starts_with('#') => {}
        "sh" | "bash" => steps.push(step(line, None)),
        "yaml" => {
            let words = words.trim_start_matches("run: ");
            let words = GITHUB.iter().fold(words.to_string(), |words, (from, to)| {
                words.replace(from, to)
            });
            if words.starts_with("dxf ") {
                steps.push(step(&words, None));
            } else if let Some((name, value)) = words.split_once(": ")
                && name.starts_with("DXF_")
            {
                steps.push(step(&format!("export {name}=\"{value}\""), None));
            }
        }
        "groovy" => {
            for quoted in words.split('\'').skip(1).step_by(2) {
                if quoted.starts_with("dxf ") {
                    steps.push(step(quoted, None));
                } else if quoted.starts_with("DXF_") && quoted.contains('=') {
                    steps.push(step(&format!("export {quoted}"), None));
                }
            }
        }
        other => panic!("an example in {other}"),
    }
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

/// Runs every example of a page, as [`run_text`] does.
fn run(topic: &str, prepare: fn(&Stage)) {
    let count = run_text(&page(topic), prepare);
    assert!(EXAMPLES.contains(&(topic, count)), "{topic}: {count}");
}

/// Runs every example of a text on a stage of its own that `prepare` fills; how
/// many there were.
fn run_text(text: &str, prepare: fn(&Stage)) -> usize {
    let (examples, mut wrong) = (examples(text), Vec::new());
    for (heading, steps) in &examples {
        let stage = Stage::new();
        prepare(&stage);
        // The page's registries speak https; those of the stage do not.
        let from = steps.iter().any(|step| step.command.contains("DXF_FROM_"));
        let mut script = String::from(if from {
            "export DXF_FROM_INSECURE=1\n"
        } else {
            ""
        });
        for step in steps {
            let command = stage.placed(&step.command);
            let printed = step.printed.iter().flatten();
            script += &match printed.clone().any(|line| line.starts_with("dxf: ")) {
                // The page shows how it fails.
                true => format!("{{ {command}\n}} 2>&1 && exit 99\n"),
                false => format!("{command}\n"),
            };
            script += &format!("echo {END}\n");
        }
        let done = stage.shell(&script).ok();
        let end = format!("{END}\n");
        let found = done.text().split(&end).map(|text| text.lines().collect());
        assert!(!steps.is_empty(), "{heading}: nothing is run");
        for (Step { command, printed }, found) in steps.iter().zip(found) {
            let found: Vec<&str> = found;
            let Some(expected) = printed else { continue };
            let expected: Vec<String> = expected.iter().map(|line| stage.placed(line)).collect();
            let same = found.len() == expected.len()
                && expected.iter().zip(&found).all(|(a, b)| fits(a, b));
            if !same {
                wrong.push(format!("{heading}: {command}\nprints {found:#?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    examples.len()
}

#[test]
fn every_example_is_run() {
    for (topic, text) in pages() {
        let listed = EXAMPLES.iter().find(|(name, _)| *name == topic);
        let count = listed.map_or(0, |(_, count)| *count);
        let fences = text.lines().filter(|line| line.starts_with("```"));
        assert_eq!(fences.count(), 2 * count, "{topic}");
    }
}

#[test]
fn patterns_fit_what_they_stand_for() {
    assert!(fits("a@sha256:… 1", "a@sha256:77 1") && fits("a  b …", "a b"));
    assert!(!fits("a@sha256:…", "b@sha256:77") && !fits("a", "a b") && !fits("a … c", "a b"));
}

#[test]
fn artifacts() {
    run("artifacts", |at| {
        at.file("summary.json", "{\"total\": 3}\n");
        fs::create_dir(at.folder.path().join("charts")).unwrap();
        at.file("charts/one.svg", "<svg/>");
        at.file("config.json", "{}");
        at.file("model.safetensors", blob(1, 100_000));
        at.file("README.md", "# Tiny");
        at.file("tool", "#!/bin/sh\n");
        at.file("sbom.spdx.json", "{}");
        at.file("disk.img", blob(2, 300_000));
    });
}

/// The files that the pages about blobs begin with, and programs of a database.
fn files(at: &Stage) {
    at.file("model.bin", "dxf\n".repeat(1_250_000));
    at.file("a.txt", "hello\n");
    at.file("disk.img", blob(3, 5_000_000));
    at.program("cargo", "");
    at.program("mysqldump", "echo 'INSERT INTO orders VALUES (1);'");
    at.program("zstd", "cat");
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
    run("getting-started", files);
    run("blobs-and-aliases", files);
    run("large-files", files);
}

#[test]
fn the_page_about_logins() {
    // A password cannot be typed here; tests of `login` type it.
    let typed = "dxf login -u me registry.example  ";
    let piped = "echo secret | dxf login --password-stdin -u me registry.example  ";
    let text = page("logins");
    assert!(text.contains(typed));
    let count = run_text(&text.replace(typed, piped), |at| {
        at.program("pass", "echo secret");
    });
    assert!(EXAMPLES.contains(&("logins", count)));
}

/// An image, as an engine has it and in two registries.
fn images(at: &Stage) {
    at.before(
        "change='--platform linux/amd64 --created 2026-01-01T00:00:00Z --cmd /hello'
        dxf edit-image $change --add-file /hello=hello scratch quay.io/team/app:v1
        dxf copy-image quay.io/team/app:v1 quay.io/team/app:v2
        dxf pull-image --format docker --tag hello:1 quay.io/team/app:v1 .saved.tar
        dxf pull-image --tag team/app:v1 quay.io/team/app:v1 app.tar
        dxf copy-image quay.io/team/app:v1 team/app:7",
    );
    at.file("report.json", "{}");
    let load = "echo Loaded image: $(tar -xOf - manifest.json | cut -d'\"' -f8)";
    at.program(
        "docker",
        &format!("case $1 in save) cp .saved.tar $4;; load) {load};; version) ;; esac"),
    );
    if !Path::new("/usr/bin/skopeo").exists() {
        let index = "tar -xOf ${4#*:} index.json | grep -o 'sha256:[0-9a-f]*' | head -n 1";
        at.program("skopeo", index);
    }
}

#[test]
fn the_pages_about_images() {
    run("images", images);
    run("editing-images", |_| ());
    run("ci", |at| {
        images(at);
        at.file("report.json", "{}");
    });
}

#[test]
fn the_stream_of_the_page_about_bundles() {
    let text = page("bundles");
    let (_, stream) = text.split_once("```sh\n").expect("an example in sh");
    let count = run_text(&format!("```sh\n{stream}"), |at| {
        images(at);
        at.file("images.txt", at.placed("quay.io/team/app:v1\n"));
        // The host is this one.
        at.program("ssh", "shift; exec \"$@\"");
    });
    assert_eq!(count, 1);
}

#[test]
fn the_page_about_housekeeping() {
    run("housekeeping", |at| {
        files(at);
        at.before(
            "n=1
            for tag in pr-1 pr-2 v1 pr-3 pr-4; do
                dxf edit-image --created 2026-05-0${n}T00:00:00Z --add-file /n=$n scratch team/app:$tag
                n=$((n + 1))
            done
            dxf copy-image team/app:v1 team/base:v1",
        );
    });
}
