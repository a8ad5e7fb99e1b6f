//! `run-image`: images of a registry as commands of this machine.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use dxf_registry::archive::{Form, Item};
use dxf_registry::image::Node;

use crate::archive::write;
use crate::built::{image_of, shell};
use crate::engine::{Docker, LIMITS, Tool, arg, file, path};
use crate::images::{docker_image, seed};
use crate::support::bench::{Bench, Mode};
use crate::support::dxf::Dxf;
use crate::support::scratch;

/// An image of the shell alone, which says hello.
fn shell_image() -> Node {
    Node::Image(image_of(vec![shell()]))
}

fn until(what: &str, mut happened: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !happened() {
        let waited = begun.elapsed();
        assert!(waited < Duration::from_secs(30), "waited for {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Reads a word, and says it with its own argument; ends with 7.
const ECHO: [&str; 5] = [
    "/bin/sh",
    "-c",
    "read x; echo \"$x $1\"; echo bad >&2; exit 7",
    "sh",
    "--keep",
];

/// A container's streams and status are the command's own, and nothing stays.
fn streams_and_status(run: &dyn Fn() -> Dxf, left: &dyn Fn() -> String) {
    let out = run().arg("team/app:1").ok();
    assert_eq!((out.text(), out.stderr.as_str()), ("hello\n", ""));
    let out = run().arg("team/app:1").args(ECHO).stdin("word\n").run();
    assert_eq!(out.code, Some(7), "{out}");
    assert_eq!(
        (out.text(), out.stderr.as_str()),
        ("word --keep\n", "bad\n")
    );
    assert_eq!(left(), "");
}

#[test]
fn docker_runs_an_image_of_a_registry() {
    let Some(docker) = Docker::start() else {
        return;
    };
    let bench = Bench::new(Mode::Http);
    let node = shell_image();
    seed(bench.dxf(), &node, "team/app:1");
    let run = || {
        let dxf = bench.dxf().env("DOCKER_HOST", docker.host());
        let dxf = dxf.env("PATH", path()).env("DXF_CACHE", "0");
        dxf.args(["run-image", "--engine-arg=--network=none"])
    };
    let containers = || docker.run(["ps", "-aq"]);
    let left = || docker.run(["image", "ls", "-aq"]) + &containers();
    streams_and_status(&run, &left);
    // It is told to end, and what it says then is what counts.
    let trap = "trap 'exit 9' TERM; echo up; read x";
    let running = run()
        .args(["team/app:1", "/bin/sh", "-c", trap])
        .stdin_stays()
        .spawn();
    until("the container", || {
        let id = containers();
        !id.is_empty() && docker.run(["logs", id.trim()]).contains("up")
    });
    running.signal("TERM");
    let out = running.finish();
    assert_eq!((out.code, out.stderr.as_str()), (Some(9), ""), "{out}");
    assert_eq!(left(), "");
    // An existing image is neither pulled nor removed.
    let name = format!("{}/team/app:1", bench.host());
    run().args(["--keep", "team/app:1"]).ok();
    assert_eq!(docker.container(&name), "hello\n");
    bench.requests();
    let out = run().arg("team/app:1").ok();
    assert_eq!(out.text(), "hello\n");
    let layer = node.images()[0].1.layers()[0].digest().to_string();
    let asked = bench.requests();
    assert!(!asked.is_empty() && asked.iter().all(|r| !r.path.contains(&layer)));
    assert_eq!(docker.container(&name), "hello\n");
    assert_eq!(containers(), "");
    // One that was asked for by its digest has no name to stay under.
    let digest = format!("team/app@{}", node.manifest().digest());
    let out = run().args(["--keep", &digest]).ok();
    assert_eq!(out.text(), "hello\n");
    // The engine's own complaint, and its status.
    let out = run().args(["team/app:1", "/no/such/program"]).run();
    assert_eq!(out.code, Some(127), "{out}");
    assert!(out.stderr.contains("/no/such/program"), "{out}");
    // Plain blobs under a name are nothing to an engine, and it is not asked.
    let push = bench.dxf().args(["push-blob", "team/app", "-", "@blob"]);
    push.stdin("no image").ok();
    let out = run().arg("team/app:blob").fails(1);
    out.says("is not an image that an engine can load");
}

#[test]
fn podman_runs_an_image_of_a_registry() {
    let Some(podman) = Tool::find("podman") else {
        return;
    };
    let bench = Bench::new(Mode::Http);
    seed(bench.dxf(), &shell_image(), "team/app:1");
    let run = || {
        let dxf = bench.dxf().env("PATH", podman.on_path());
        dxf.args(["run-image", "--engine=podman"])
            .args(LIMITS.iter().flat_map(|word| ["--engine-arg", word]))
    };
    let left = || podman.run(["images", "-aq"]) + &podman.run(["ps", "-aq"]);
    streams_and_status(&run, &left);
    run().args(["--keep", "team/app:1"]).ok();
    run().arg("team/app:1").ok();
    let name = format!("{}/team/app:1", bench.host());
    podman.run(["image", "inspect", &name]);
}

/// A `docker` that writes down what it is asked, and does `script` for `run`.
pub struct Fake {
    folder: tempfile::TempDir,
}

impl Fake {
    pub fn new(script: &str) -> Fake {
        let folder = scratch();
        let text = format!(
            "#!/bin/sh\nPATH={path}\necho \"$*\" >> {log}\ncase \"$1 $2\" in\n\
             'image inspect') exit 1;;\nload*) cat > {tar};;\nrun*) {script};;\nesac\n",
            path = path(),
            log = folder.path().join("log").display(),
            tar = folder.path().join("tar").display(),
        );
        // Written by another process: see `Tool::on_path`.
        let write = "printf %s \"$2\" > \"$1\" && chmod +x \"$1\"";
        let status = Command::new("sh")
            .args(["-c", write, "sh"])
            .arg(folder.path().join("docker"))
            .arg(text)
            .status();
        assert!(status.is_ok_and(|status| status.success()));
        Fake { folder }
    }

    /// For `PATH`.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    fn run(&self, bench: &Bench) -> Dxf {
        let dxf = bench.dxf().env("PATH", self.folder.path());
        dxf.arg("run-image")
    }

    /// What it was asked, without the questions what it has.
    fn asked(&self) -> Vec<String> {
        let log = std::fs::read_to_string(self.log()).unwrap_or_default();
        let _ = std::fs::remove_file(self.log());
        let lines = log.lines().filter(|line| !line.contains("inspect"));
        let lines = lines.filter(|line| !line.starts_with("version"));
        lines.map(without_number).collect()
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("log")
    }
}

/// A line without the number that makes a name ours.
fn without_number(line: &str) -> String {
    let word = |word: &str| match word.split_once("dxf-run:") {
        Some((head, _)) => format!("{head}dxf-run:N"),
        None => word.to_string(),
    };
    line.split(' ').map(word).collect::<Vec<_>>().join(" ")
}

#[test]
fn an_engine_inherits_no_secrets() {
    let bench = Bench::new(Mode::Http);
    seed(bench.dxf(), &docker_image(), "a/b:1");
    let fake = Fake::new("env > \"${0%/*}/env\"; exit 0");
    let secrets = [
        "DXF_PASSWORD",
        "DXF_FROM_PASSWORD",
        "DXF_FROM_AUTHORIZATION",
        "DOCKER_AUTH_CONFIG",
    ];
    let dxf = fake.run(&bench).env("HTTPS_PROXY", "http://theirs");
    let dxf = secrets.iter().fold(dxf, |dxf, name| {
        let value = if name.starts_with("DOCKER") {
            "{}"
        } else {
            "hunter2"
        };
        dxf.env(name, value)
    });
    dxf.arg("a/b:1").ok();
    let env = std::fs::read_to_string(fake.folder.path().join("env")).unwrap();
    assert!(env.contains("HTTPS_PROXY=http://theirs"), "{env}");
    for name in secrets {
        assert!(!env.contains(name), "{env}");
    }
}

#[test]
fn what_follows_the_image_is_passed_through() {
    let bench = Bench::new(Mode::Http);
    seed(bench.dxf(), &docker_image(), "a/b:1");
    let fake = Fake::new("exit 0");
    let gone = "image rm localhost/dxf-run:N";
    for (words, asked) in [
        (&["a/b:1"][..], ""),
        (
            &["a/b:1", "ls", "-l", "--keep", "--engine"],
            " ls -l --keep --engine",
        ),
        (&["a/b:1", "-x"], " -x"),
        (&["a/b:1", "--", "ls"], " -- ls"),
        (&["a/b:1", "ls", "--", "-l"], " ls -- -l"),
        (&["a/b:1", "--help"], " --help"),
        (&["--", "a/b:1", "-h"], " -h"),
    ] {
        fake.run(&bench).args(words).ok();
        let run = format!("run --rm --interactive localhost/dxf-run:N{asked}");
        assert_eq!(fake.asked(), ["load", &run, gone], "{words:?}");
    }
    let args = [
        "--engine-arg",
        "-v",
        "--engine-arg=/a:/a",
        "--keep",
        "a/b:1",
    ];
    fake.run(&bench).args(args).ok();
    let run = format!("run --rm --interactive -v /a:/a {}/a/b:1", bench.host());
    assert_eq!(fake.asked(), ["load", &run]);
}

#[test]
fn an_end_by_a_signal_is_told_as_shells_tell_it() {
    let bench = Bench::new(Mode::Http);
    seed(bench.dxf(), &docker_image(), "a/b:1");
    for (script, code) in [("kill -9 $$", 137), ("exit 125", 125), ("exit 255", 255)] {
        let fake = Fake::new(script);
        let out = fake.run(&bench).arg("a/b:1").run();
        assert_eq!((out.code, out.stderr.as_str()), (Some(code), ""), "{out}");
        assert_eq!(fake.asked().last().unwrap(), "image rm localhost/dxf-run:N");
    }
    // A program that takes its time over a signal is waited for.
    let fake =
        Fake::new("trap 'sleep 0.2; exit 5' TERM INT; touch $0.up; while :; do sleep 0.02; done");
    let running = fake.run(&bench).arg("a/b:1").spawn();
    let up = fake.folder.path().join("docker.up");
    until("the program", || up.exists());
    running.signal("TERM");
    let out = running.finish();
    assert_eq!((out.code, out.stderr.as_str()), (Some(5), ""), "{out}");
    assert_eq!(fake.asked().last().unwrap(), "image rm localhost/dxf-run:N");
}

#[test]
fn a_terminal_is_handed_through_where_there_is_one() {
    let bench = Bench::new(Mode::Http);
    seed(bench.dxf(), &docker_image(), "a/b:1");
    let fake = Fake::new("test -t 0 && test -t 1 && exit 3");
    // util-linux's script runs a command in a terminal of its own.
    let line = format!("{} run-image a/b:1", env!("CARGO_BIN_EXE_dxf"));
    let out = Dxf::foreign(std::path::Path::new("/usr/bin/script"))
        .args(["-qec", &line, "/dev/null"])
        .env("DXF_HOST", bench.host())
        .env("DXF_INSECURE", "1")
        .env("SHELL", "/bin/sh")
        .env("PATH", fake.folder.path())
        .stdin_stays()
        .run();
    assert_eq!(out.code, Some(3), "{out}");
    let run = "run --rm --interactive --tty localhost/dxf-run:N";
    assert_eq!(fake.asked()[1], run);
    // Half of one is none.
    let fake = Fake::new("exit 0");
    fake.run(&bench).arg("a/b:1").ok();
    assert!(!fake.asked()[1].contains("--tty"));
}

#[test]
fn ctrl_c_reaches_the_container_and_the_image_still_goes() {
    let bench = Bench::new(Mode::Http);
    seed(bench.dxf(), &docker_image(), "a/b:1");
    let fake = Fake::new("trap 'exit 5' INT; touch $0.up; while :; do sleep 0.02; done");
    let up = fake.folder.path().join("docker.up");
    let line = format!(
        "(until test -e {up}; do sleep 0.02; done; printf '\\003'; sleep 1) | \
         PATH={fake} /usr/bin/script -qec 'exec {dxf} run-image a/b:1' /dev/null",
        up = up.display(),
        fake = fake.folder.path().display(),
        dxf = env!("CARGO_BIN_EXE_dxf"),
    );
    let out = Dxf::foreign(std::path::Path::new("/bin/sh"))
        .args(["-c", &line])
        .env("DXF_HOST", bench.host())
        .env("DXF_INSECURE", "1")
        .env("SHELL", "/bin/sh")
        .env("PATH", path())
        .run();
    assert_eq!(out.code, Some(5), "{out}");
    assert!(!out.text().contains("dxf:"), "{out}");
    assert_eq!(fake.asked().last().unwrap(), "image rm localhost/dxf-run:N");
}

#[test]
fn what_cannot_be_run_is_said() {
    let bench = Bench::new(Mode::Http);
    seed(bench.dxf(), &docker_image(), "a/b:1");
    let (dir, none) = (scratch(), scratch());
    bench.requests();
    let nobody = || bench.dxf().env("PATH", none.path()).arg("run-image");
    let said = nobody().arg("a/b:1").fails(1);
    said.says("docker is not installed")
        .says("podman is not installed");
    nobody().misused("too few arguments");
    nobody().args(["--nonsense", "a/b:1"]).misused("--nonsense");
    nobody()
        .args(["--platform=all", "a/b:1"])
        .misused("one platform");
    assert!(bench.requests().is_empty(), "nothing is fetched for nobody");
    // What arrives damaged is not run.
    let fake = Fake::new("exit 0");
    let layer = *docker_image().images()[0].1.layers()[1].digest();
    let bad = format!("/v2/a/b/blobs/{layer}");
    let rule = crate::support::rules::on("GET", &bad).corrupt();
    bench.front.add_first([rule]);
    fake.run(&bench)
        .env("DXF_CACHE", "0")
        .arg("a/b:1")
        .fails(65);
    assert_eq!(fake.asked(), ["load", "image rm localhost/dxf-run:N"]);
    fake.run(&bench).arg("a/b:2").fails(2);
    let several = file(&dir, "two.tar");
    let item = |tag: &str| Item::new(vec![tag.parse().unwrap()], docker_image());
    write(
        &[item("r.example/a:1"), shell_item("r.example/b:1")],
        Form::Hybrid,
        &several,
    );
    let word = format!("docker-archive:{}", arg(&several));
    fake.run(&bench).arg(&word).fails(1).says("several images");
    assert_eq!(fake.asked(), Vec::<String>::new());
}

fn shell_item(name: &str) -> Item {
    Item::new(vec![name.parse().unwrap()], shell_image())
}
