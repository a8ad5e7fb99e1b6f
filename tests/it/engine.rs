//! Container tools as they are installed: Docker, podman, skopeo, umoci.
//!
//! A tool that is missing is said loudly and its test passes without it;
//! `DXF_TEST_ENGINES=1` (scripts/test sets it where scripts/setup could install
//! them) makes that a failure.

use std::ffi::OsStr;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// Says that a test is not run, or fails where it has to.
fn missing(what: &str, why: &str) {
    if std::env::var_os("DXF_TEST_ENGINES").is_some_and(|value| value == "1") {
        panic!("{what} is demanded but {why}; run scripts/setup");
    }
    eprintln!("SKIPPED: {what}: {why}");
}

/// A tool that is started anew for each command.
pub struct Tool {
    program: &'static str,
    folder: TempDir,
}

impl Tool {
    pub fn find(program: &'static str) -> Option<Tool> {
        let found = Command::new(program).arg("--version").output();
        if !found.is_ok_and(|out| out.status.success()) {
            missing(program, "it is not installed");
            return None;
        }
        let folder = tempfile::tempdir().expect("a temporary folder");
        Some(Tool { program, folder })
    }

    fn command(&self) -> Command {
        let mut command = Command::new(self.program);
        // Nothing is read from, or left in, the home of whoever runs the tests.
        command.env("HOME", self.folder.path());
        if self.program == "podman" {
            let path = |name| self.folder.path().join(name);
            command.arg("--root").arg(path("root"));
            command.arg("--runroot").arg(path("run"));
            command.args([
                "--storage-driver",
                "vfs",
                "--cgroup-manager",
                "cgroupfs",
                "--events-backend",
                "none",
            ]);
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
}

/// Where programs are looked for.
pub fn path() -> String {
    std::env::var("PATH").unwrap_or_default()
}

/// Runs a command that has to succeed and gives its standard output.
fn succeeded(command: &mut Command) -> String {
    let out: Output = command
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|e| panic!("{command:?}: {e}"));
    assert!(
        out.status.success(),
        "{command:?}: {}\n{}{}",
        out.status,
        String::from_utf8_lossy(&out.stdout),
        String::from_utf8_lossy(&out.stderr)
    );
    String::from_utf8_lossy(&out.stdout).into_owned()
}

/// A Docker engine of its own, without network; ended when dropped.
pub struct Docker {
    daemon: Child,
    folder: TempDir,
}

impl Docker {
    pub fn start() -> Option<Docker> {
        let installed = |program| Command::new(program).arg("--version").output().is_ok();
        if !installed("dockerd") || !installed("docker") {
            missing(
                "docker",
                "dockerd or docker is not installed (apt-get install docker.io)",
            );
            return None;
        }
        let mut log = String::new();
        // Its containerd may need longer than dockerd waits for it, on a
        // machine that is busy.
        for _ in 0..3 {
            let mut docker = Docker::launch();
            if docker.wait() {
                return Some(docker);
            }
            let file = docker.folder.path().join("log");
            log = std::fs::read_to_string(file).unwrap_or_default();
        }
        missing("docker", &format!("dockerd does not start here:\n{log}"));
        None
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
        let pid = self.daemon.id().to_string();
        let _ = Command::new("kill").arg(pid).status();
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
