//! Container tools as they are installed: Docker, podman, skopeo, umoci.
//!
//! A test whose tool is missing passes without it and prints `SKIPPED`.
//! `DXF_TEST_ENGINES=1` (scripts/test sets it where scripts/setup could install
//! the tools) turns a missing tool into a failure. An engine that is installed
//! but can't run a container, as in most containers, is skipped all the same:
//! no package would mend that.

use std::ffi::OsStr;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use dxf_registry::image::Node;
use dxf_registry::image::layer::Family;
use tempfile::TempDir;

use crate::support::dxf::signal;

/// Skips a test whose tool is not installed, or fails where it has to be.
pub fn missing(program: &str) {
    if std::env::var_os("DXF_TEST_ENGINES").is_some_and(|value| value == "1") {
        panic!("{program} is demanded but not installed; run scripts/setup");
    }
    skipped(program, "it is not installed (scripts/setup installs it)");
}

/// Prints that a test is skipped, where the test harness does not swallow it.
pub fn skipped(what: &str, why: &str) {
    let test = std::thread::current();
    let name = test.name().unwrap_or("a test");
    let _ = writeln!(std::io::stderr(), "SKIPPED {name}: {what}: {why}");
}

/// Whether a program can be started at all.
fn installed(program: &str) -> bool {
    let out = Command::new(program).arg("--version").output();
    out.is_ok_and(|out| out.status.success())
}

/// Where a program that failed says why.
fn last_line(said: &str) -> &str {
    said.trim_end().lines().last().unwrap_or_default()
}

/// What one container of the image `hello:1` has to print.
const HELLO: &str = "hello\n";

/// An archive that engines load as `localhost/hello:1`.
fn hello_archive(folder: &TempDir) -> String {
    let path = file(folder, "hello.tar");
    let image = crate::archive::image("linux/amd64", Family::Oci, crate::archive::GZIP);
    let item = dxf_registry::archive::Item::new(
        vec!["localhost/hello:1".parse().expect("a name")],
        Node::Image(image),
    );
    crate::archive::write(&[item], dxf_registry::archive::Form::Hybrid, &path);
    arg(&path)
}

/// A tool that is started anew for each command.
pub struct Tool {
    program: &'static str,
    options: &'static [&'static str],
    folder: TempDir,
}

impl Tool {
    pub fn find(program: &'static str) -> Option<Tool> {
        if !installed(program) {
            missing(program);
            return None;
        }
        if program != "podman" {
            return Some(Tool::new(program, &[]));
        }
        match podman_options() {
            Ok(options) => Some(Tool::new(program, options)),
            Err(why) => {
                skipped(program, why);
                None
            }
        }
    }

    fn new(program: &'static str, options: &'static [&'static str]) -> Tool {
        let folder = tempfile::tempdir().expect("a temporary folder");
        Tool {
            program,
            options,
            folder,
        }
    }

    fn command(&self) -> Command {
        let mut command = Command::new(self.program);
        // Nothing is read from, or left in, the home of the user who runs the tests.
        command.env("HOME", self.folder.path());
        if self.program == "podman" {
            let path = |name| self.folder.path().join(name);
            command.arg("--root").arg(path("root"));
            command.arg("--runroot").arg(path("run"));
            command.args(PODMAN).args(self.options);
        }
        if self.program == "skopeo" {
            command.arg("--insecure-policy");
        }
        command
    }

    /// A folder for `PATH` in which the tool is found, with the options that
    /// keep it within its own storage.
    pub fn on_path(&self) -> PathBuf {
        let folder = self.folder.path().join("bin");
        std::fs::create_dir_all(&folder).expect("a folder");
        let command = self.command();
        let words = std::iter::once(command.get_program()).chain(command.get_args());
        let words: Vec<_> = words.map(|word| word.to_string_lossy()).collect();
        let line = format!("PATH={} exec {} \"$@\"", path(), words.join(" "));
        // Written by another process: a thread of ours that starts a program
        // meanwhile would hand it the open file, which then can't be run.
        succeeded(
            Command::new("sh")
                .args([
                    "-c",
                    "printf '#!/bin/sh\\n%s\\n' \"$2\" > \"$1\" && chmod +x \"$1\"",
                    "sh",
                ])
                .arg(folder.join(self.program))
                .arg(line),
        );
        folder
    }

    /// What the tool prints; it has to succeed.
    pub fn run<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> String {
        succeeded(self.command().args(args))
    }

    /// The standard output of a container of `image`.
    pub fn container(&self, image: &str, words: &[&str]) -> String {
        let run = self.container_command(image);
        attempt(&mut self.command(), &[&run, words].concat()).unwrap_or_else(|why| panic!("{why}"))
    }

    fn container_command<'a>(&self, image: &'a str) -> Vec<&'a str> {
        [&["run", "--rm"], &LIMITS[..], &[image]].concat()
    }
}

/// Keeps podman within its own folders, and from asking systemd.
const PODMAN: [&str; 6] = [
    "--storage-driver",
    "vfs",
    "--cgroup-manager",
    "cgroupfs",
    "--events-backend",
    "none",
];

/// What a podman container needs on a machine that grants little.
pub const LIMITS: [&str; 3] = [
    "--network=none",
    "--ulimit=nofile=1024:1024",
    "--ulimit=nproc=1024:1024",
];

/// The options with which podman runs a container here: of two runtimes that
/// are installed one may refuse this kernel's cgroups and the other not.
fn podman_options() -> &'static Result<&'static [&'static str], String> {
    static FOUND: OnceLock<Result<&[&str], String>> = OnceLock::new();
    FOUND.get_or_init(|| {
        let choices: [&[&str]; 3] = [&[], &["--runtime=runc"], &["--runtime=crun"]];
        let mut why = String::new();
        for options in choices {
            let tool = Tool::new("podman", options);
            let tar = hello_archive(&tool.folder);
            let said = attempt(&mut tool.command(), &["load", "-i", &tar]).and_then(|_| {
                let run = tool.container_command("localhost/hello:1");
                attempt(&mut tool.command(), &run)
            });
            match said {
                Ok(said) if said == HELLO => return Ok(options),
                Ok(said) => why += &format!("\n  it prints {said:?}"),
                Err(failure) => why += &format!("\n  {}", last_line(&failure)),
            }
        }
        Err(format!("it can't run a container here:{why}"))
    })
}

/// Where programs are looked for.
pub fn path() -> String {
    std::env::var("PATH").unwrap_or_default()
}

/// Runs a command that has to succeed and gives its standard output.
fn succeeded(command: &mut Command) -> String {
    attempt(command, &[]).unwrap_or_else(|why| panic!("{why}"))
}

/// The standard output of a command with further arguments, or why it failed.
fn attempt(command: &mut Command, args: &[&str]) -> Result<String, String> {
    let out: Output = command
        .args(args)
        .stdin(Stdio::null())
        .output()
        .map_err(|e| format!("{command:?}: {e}"))?;
    if !out.status.success() {
        return Err(format!(
            "{command:?}: {}\n{}{}",
            out.status,
            String::from_utf8_lossy(&out.stdout),
            String::from_utf8_lossy(&out.stderr)
        ));
    }
    Ok(String::from_utf8_lossy(&out.stdout).into_owned())
}

/// A Docker engine of its own, without network; ended when dropped.
pub struct Docker {
    daemon: Child,
    folder: TempDir,
}

impl Docker {
    pub fn start() -> Option<Docker> {
        static RUNS: OnceLock<Result<(), String>> = OnceLock::new();
        if let Some(program) = ["dockerd", "docker"].into_iter().find(|p| !installed(p)) {
            missing(program);
            return None;
        }
        let runs = RUNS.get_or_init(|| Docker::patiently()?.says_hello());
        match runs.clone().and_then(|()| Docker::patiently()) {
            Ok(docker) => Some(docker),
            Err(why) => {
                let why = last_line(&why);
                skipped(
                    "docker",
                    &format!("it can't run a container here:\n  {why}"),
                );
                None
            }
        }
    }

    /// Its containerd may need longer than dockerd waits for it, on a machine
    /// that is busy.
    fn patiently() -> Result<Docker, String> {
        let mut log = String::new();
        for _ in 0..3 {
            let mut docker = Docker::launch();
            if docker.wait() {
                return Ok(docker);
            }
            let file = docker.folder.path().join("log");
            log = std::fs::read_to_string(file).unwrap_or_default();
        }
        Err(format!("dockerd does not start here:\n{log}"))
    }

    /// Whether one container runs.
    fn says_hello(&self) -> Result<(), String> {
        let tar = hello_archive(&self.folder);
        attempt(&mut self.client(), &["load", "-i", &tar])?;
        let run = ["run", "--rm", "--network=none", "localhost/hello:1"];
        let said = attempt(&mut self.client(), &run)?;
        let hello = said == HELLO;
        hello
            .then_some(())
            .ok_or(format!("a container prints {said:?}"))
    }

    fn launch() -> Docker {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = |name: &str| folder.path().join(name);
        let log = File::create(path("log")).expect("a log file");
        let daemon = Command::new("dockerd")
            .args(["--iptables=false", "--ip6tables=false", "--bridge=none"])
            .args(["--storage-driver=vfs", "--host"])
            .arg(format!("unix://{}", path("sock").display()))
            .arg("--data-root")
            .arg(path("data"))
            .arg("--exec-root")
            .arg(path("exec"))
            .arg("--pidfile")
            .arg(path("pid"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("dockerd starts");
        Docker { daemon, folder }
    }

    fn wait(&mut self) -> bool {
        let end = Instant::now() + Duration::from_secs(30);
        while Instant::now() < end {
            let ended = self.daemon.try_wait().is_ok_and(|status| status.is_some());
            if ended {
                return false;
            }
            if self
                .client()
                .arg("version")
                .output()
                .is_ok_and(|out| out.status.success())
            {
                return true;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        false
    }

    /// The address for `DOCKER_HOST`.
    pub fn host(&self) -> String {
        format!("unix://{}", self.folder.path().join("sock").display())
    }

    pub fn client(&self) -> Command {
        let mut command = Command::new("docker");
        command.env("DOCKER_HOST", self.host());
        command.env("HOME", self.folder.path());
        command
    }

    /// What the client prints; it has to succeed.
    pub fn run<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> String {
        succeeded(self.client().args(args))
    }

    /// The standard output of a container of `image`.
    pub fn container(&self, image: &str) -> String {
        self.run(["run", "--rm", "--network=none", image])
    }

    /// The id of an image.
    pub fn id(&self, image: &str) -> String {
        let id = self.run(["image", "inspect", "--format={{.Id}}", image]);
        id.trim().to_string()
    }
}

impl Drop for Docker {
    fn drop(&mut self) {
        // dockerd ends its containerd only when it is asked to.
        signal("TERM", self.daemon.id());
        let end = Instant::now() + Duration::from_secs(15);
        while Instant::now() < end && matches!(self.daemon.try_wait(), Ok(None)) {
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
    }
}

/// A program for this kernel that needs nothing else: prints `hello`.
pub fn hello() -> Vec<u8> {
    let message = b"hello\n";
    // write(1, message, 6); exit(0)
    let mut code = vec![
        0xb8, 1, 0, 0, 0, 0xbf, 1, 0, 0, 0, 0x48, 0x8d, 0x35, 16, 0, 0, 0,
    ];
    code.extend([0xba, message.len() as u8, 0, 0, 0, 0x0f, 0x05]);
    code.extend([0xb8, 60, 0, 0, 0, 0x31, 0xff, 0x0f, 0x05]);
    code.extend(message);
    let base = 0x40_0000u64;
    let size = (120 + code.len()) as u64;
    let mut elf = b"\x7fELF\x02\x01\x01".to_vec();
    elf.resize(16, 0);
    // Executable, x86-64, entry behind both headers, one program header.
    elf.extend([2, 0, 62, 0, 1, 0, 0, 0]);
    for word in [base + 120, 64, 0] {
        elf.extend(word.to_le_bytes());
    }
    elf.extend([0, 0, 0, 0, 64, 0, 56, 0, 1, 0, 0, 0, 0, 0, 0, 0]);
    // Load the whole file, readable and executable.
    elf.extend([1, 0, 0, 0, 5, 0, 0, 0]);
    for word in [0, base, base, size, size, 0x1000] {
        elf.extend(word.to_le_bytes());
    }
    elf.extend(code);
    elf
}

/// A path as an argument.
pub fn arg(path: &Path) -> String {
    path.display().to_string()
}

/// `kind:path`, skopeo's and podman's way to name an archive.
pub fn named(kind: &str, path: &Path) -> String {
    format!("{kind}:{}", path.display())
}

/// A file in a folder, as a path.
pub fn file(folder: &TempDir, name: &str) -> PathBuf {
    folder.path().join(name)
}
