//! Runs a command as a user would: the built `dxf`, or python-dxf's. The
//! environment is empty but for what a test sets, and `HOME` is an empty folder.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use tempfile::TempDir;

use super::Secrets;
use super::server::Server;
use super::tls::Ca;

/// How long a command may take before it is killed and the test fails.
const LIMIT: Duration = Duration::from_secs(120);

/// `push-blob a FILE` against a scripted server.
pub fn push(server: &Server, file: &str) -> Dxf {
    let dxf = Dxf::new().plain(&server.host());
    dxf.args(["push-blob", "a", file])
        .limit(Duration::from_secs(60))
}

/// A command line in the making.
#[derive(Clone)]
pub struct Dxf {
    program: PathBuf,
    /// Whether it is the code under test, whose manners are checked.
    ours: bool,
    args: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    stdin: Vec<u8>,
    stdin_stays: bool,
    folder: Option<PathBuf>,
    stdout: Option<Arc<File>>,
    limit: Duration,
    secrets: Vec<Secrets>,
    home: Arc<TempDir>,
}

impl Default for Dxf {
    fn default() -> Dxf {
        Dxf::new()
    }
}

impl Dxf {
    /// The built binary, told nothing.
    pub fn new() -> Dxf {
        Dxf::program(Path::new(env!("CARGO_BIN_EXE_dxf")), true)
    }

    /// Another program, run the same way.
    pub fn foreign(program: &Path) -> Dxf {
        Dxf::program(program, false)
    }

    fn program(program: &Path, ours: bool) -> Dxf {
        let home = super::scratch();
        let mut env = vec![(OsString::from("HOME"), home.path().into())];
        // Coverage runs say where their counters go.
        env.extend(
            std::env::var_os("LLVM_PROFILE_FILE").map(|at| ("LLVM_PROFILE_FILE".into(), at)),
        );
        Dxf {
            program: program.to_path_buf(),
            ours,
            args: Vec::new(),
            env,
            stdin: Vec::new(),
            stdin_stays: false,
            folder: None,
            stdout: None,
            limit: LIMIT,
            secrets: vec![Secrets::default()],
            home: Arc::new(home),
        }
    }

    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Dxf {
        self.args.push(arg.as_ref().into());
        self
    }

    pub fn args<S: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = S>) -> Dxf {
        self.args
            .extend(args.into_iter().map(|arg| arg.as_ref().into()));
        self
    }

    /// Sets a variable, in place of what it was.
    pub fn env(mut self, key: &str, value: impl AsRef<OsStr>) -> Dxf {
        self = self.env_remove(key);
        self.env.push((key.into(), value.as_ref().into()));
        self
    }

    pub fn env_remove(mut self, key: &str) -> Dxf {
        self.env.retain(|(name, _)| name != key);
        self
    }

    /// `DXF_HOST`, and `DXF_INSECURE=1`.
    pub fn plain(self, host: &str) -> Dxf {
        self.env("DXF_HOST", host).env("DXF_INSECURE", "1")
    }

    /// `DXF_HOST`, and the shared authority as the one to trust.
    pub fn secure(self, host: &str) -> Dxf {
        let ca = Ca::shared().write_to(self.home());
        self.env("DXF_HOST", host).env("DXF_TLSVERIFY", ca)
    }

    /// `DXF_USERNAME` and `DXF_PASSWORD`; neither the password nor its Basic
    /// form may then show in any output.
    pub fn login(self, user: &str, password: &str) -> Dxf {
        let pair = format!("{user}:{password}");
        self.env("DXF_USERNAME", user)
            .env("DXF_PASSWORD", password)
            .secret(password)
            .secret(&STANDARD.encode(&pair))
            .secret(&URL_SAFE.encode(&pair))
    }

    /// One more word that must not show in any output.
    pub fn secret(mut self, word: &str) -> Dxf {
        let own = Secrets::default();
        own.add(word);
        self.secrets.push(own);
        self
    }

    /// A list of such words that may still grow.
    pub fn secrets(mut self, secrets: &Secrets) -> Dxf {
        self.secrets.push(secrets.clone());
        self
    }

    pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Dxf {
        self.stdin = bytes.into();
        self
    }

    /// Leaves stdin open behind its bytes, as a program does that has more to
    /// say, until the command ends.
    pub fn stdin_stays(mut self) -> Dxf {
        self.stdin_stays = true;
        self
    }

    /// Sends stdout to a file (such as `/dev/full`) instead of the test.
    pub fn stdout_to(mut self, file: File) -> Dxf {
        self.stdout = Some(Arc::new(file));
        self
    }

    pub fn current_dir(mut self, folder: impl AsRef<Path>) -> Dxf {
        self.folder = Some(folder.as_ref().to_path_buf());
        self
    }

    /// Less or more than two minutes.
    pub fn limit(mut self, time: Duration) -> Dxf {
        self.limit = time;
        self
    }

    /// The folder that `HOME` names, empty at first.
    pub fn home(&self) -> &Path {
        self.home.path()
    }

    /// Starts it and hands over the process, for tests that interrupt it.
    pub fn spawn(self) -> Running {
        let mut command = Command::new(&self.program);
        command.args(&self.args).env_clear();
        command.envs(self.env.iter().map(|(key, value)| (key, value)));
        command.current_dir(self.folder.as_deref().unwrap_or(self.home.path()));
        command.stdin(Stdio::piped()).stderr(Stdio::piped());
        match &self.stdout {
            Some(file) => command.stdout(file.try_clone().expect("a second handle")),
            None => command.stdout(Stdio::piped()),
        };
        let started = Instant::now();
        let mut child = command
            .spawn()
            .unwrap_or_else(|error| panic!("cannot run {}: {error}", self.program.display()));
        let mut stdin = child.stdin.take().expect("a piped stdin");
        let (input, stays) = (self.stdin.clone(), self.stdin_stays);
        Running {
            // A command may well end without reading it all.
            feeder: thread::spawn(move || {
                let _ = stdin.write_all(&input);
                stays.then_some(stdin)
            }),
            stdout: child.stdout.take().map(collect),
            stderr: collect(child.stderr.take().expect("a piped stderr")),
            child,
            started,
            what: self,
        }
    }

    /// Runs it to its end, whatever that is.
    pub fn run(self) -> Output {
        self.spawn().finish()
    }

    /// Runs it; it must succeed.
    pub fn ok(self) -> Output {
        let output = self.run();
        assert!(output.code == Some(0), "expected success of {output}");
        output
    }

    /// Runs it; it must fail with this code, saying so in one line.
    pub fn fails(self, code: i32) -> Output {
        let ours = self.ours;
        let output = self.run();
        assert!(
            output.code == Some(code),
            "expected exit {code} of {output}"
        );
        if ours {
            let one = output.stderr.matches('\n').count() == 1 && output.stderr.ends_with('\n');
            let named = output.stderr.starts_with("dxf: ");
            assert!(one && named, "expected one line `dxf: …` of {output}");
        }
        output
    }

    /// Runs it; it must call this wrong usage, with these words, and print
    /// nothing on stdout.
    pub fn misused(self, words: &str) -> Output {
        let output = self.run();
        let told = output.stderr.contains("usage:") && output.stderr.contains(words);
        let silent = output.stdout.is_empty();
        assert!(
            output.code == Some(2) && told && silent,
            "expected usage and {words:?} of {output}"
        );
        output
    }
}

/// A command on its way.
pub struct Running {
    child: Child,
    feeder: JoinHandle<Option<ChildStdin>>,
    stdout: Option<JoinHandle<Vec<u8>>>,
    stderr: JoinHandle<Vec<u8>>,
    started: Instant,
    what: Dxf,
}

/// Sends a signal by name to a process, and returns whether it arrived. Through the
/// shell, whose `kill` is built in: a small Debian has no other, and calling kill(2)
/// would be unsafe code.
pub fn signal(name: &str, process: u32) -> bool {
    let order = format!("kill -s {name} {process}");
    let status = Command::new("/bin/sh").args(["-c", &order]).status();
    status.is_ok_and(|status| status.success())
}

impl Running {
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Waits for its end; the most memory it took until then, KiB.
    pub fn peak(&mut self) -> u64 {
        let status = format!("/proc/{}/status", self.id());
        let mut peak = 0;
        while self.is_running() {
            // The highest so far; gone when the process is, and that of these tests
            // until the program has begun.
            let text = std::fs::read_to_string(&status).unwrap_or_default();
            let begun = text
                .lines()
                .next()
                .is_some_and(|name| name.ends_with("\tdxf"));
            let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
            let line = line.filter(|_| begun);
            let told = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse().ok());
            peak = peak.max(told.unwrap_or(0));
            assert!(
                self.started.elapsed() < self.what.limit,
                "it takes too long"
            );
            thread::sleep(Duration::from_millis(5));
        }
        peak
    }

    /// Sends a signal by name, such as `INT`, to this process alone.
    pub fn signal(&self, name: &str) {
        assert!(signal(name, self.child.id()), "no signal {name}");
    }

    /// Sends SIGINT, and again after a moment: two that come together are one.
    pub fn interrupt_twice(&self) {
        self.signal("INT");
        thread::sleep(Duration::from_millis(200));
        self.signal("INT");
    }

    /// Ends it with SIGKILL, unless it has ended by itself.
    pub fn kill(mut self) -> Output {
        let _ = self.child.kill();
        self.finish()
    }

    /// Waits for its end; kills it and fails when that takes too long.
    pub fn finish(mut self) -> Output {
        let mut in_time = true;
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("waiting for the command") {
                break status;
            }
            if in_time && self.started.elapsed() > self.what.limit {
                in_time = false;
                let _ = self.child.kill();
            }
            thread::sleep(Duration::from_millis(2));
        };
        let took = self.started.elapsed();
        let _ = self.feeder.join();
        let stdout = self.stdout.map_or_else(Vec::new, join);
        let stderr = String::from_utf8_lossy(&join(self.stderr)).into_owned();
        let output = Output::new(status, stdout, stderr, took, self.what);
        assert!(in_time, "timed out: {output}");
        output.check_manners();
        output
    }
}

fn collect(mut from: impl Read + Send + 'static) -> JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = from.read_to_end(&mut bytes);
        bytes
    })
}

fn join(thread: JoinHandle<Vec<u8>>) -> Vec<u8> {
    thread.join().unwrap_or_default()
}

/// What a command left behind. Its `Display` shows argv, environment and both
/// streams.
pub struct Output {
    pub stdout: Vec<u8>,
    pub stderr: String,
    /// Nothing where a signal ended it.
    pub code: Option<i32>,
    pub signal: Option<i32>,
    pub took: Duration,
    what: Dxf,
}

impl Output {
    fn new(
        status: ExitStatus,
        stdout: Vec<u8>,
        stderr: String,
        took: Duration,
        what: Dxf,
    ) -> Output {
        use std::os::unix::process::ExitStatusExt;
        Output {
            stdout,
            stderr,
            code: status.code(),
            signal: status.signal(),
            took,
            what,
        }
    }

    /// stdout as text.
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.stdout).unwrap_or_else(|_| panic!("no text: {self}"))
    }

    /// The lines of stdout.
    pub fn lines(&self) -> Vec<&str> {
        self.text().lines().collect()
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.stdout).unwrap_or_else(|_| panic!("no JSON: {self}"))
    }

    /// Fails unless stderr holds `words`.
    pub fn says(self, words: &str) -> Output {
        assert!(self.stderr.contains(words), "expected {words:?} of {self}");
        self
    }

    /// Never a panic, and never a secret; `auth` prints a token on stdout, for
    /// that is what it is for.
    fn check_manners(&self) {
        if !self.what.ours {
            return;
        }
        assert!(!self.stderr.contains("panicked"), "a panic in {self}");
        let is_auth = self.what.args.first().is_some_and(|arg| arg == "auth");
        for word in self.what.secrets.iter().flat_map(Secrets::list) {
            if word.is_empty() {
                continue;
            }
            let stdout = !is_auth && contains(&self.stdout, word.as_bytes());
            let told = self.stderr.contains(&word);
            assert!(!stdout && !told, "the secret {word:?} shows in {self}");
        }
    }
}

fn contains(bytes: &[u8], word: &[u8]) -> bool {
    // A blob's first megabyte: a secret shows in what is said, not in data,
    // and unoptimised code is slow to search more.
    let bytes = &bytes[..bytes.len().min(1 << 20)];
    bytes.windows(word.len()).any(|part| part == word)
}

impl fmt::Display for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |bytes: &[u8]| {
            let text = String::from_utf8_lossy(&bytes[..bytes.len().min(4000)]).into_owned();
            format!("{text}\n({} bytes)", bytes.len())
        };
        write!(
            f,
            "{:?} {:?}\nenv: {:#?}\ncode {:?} signal {:?} after {:?}\n-- stdout --\n{}\n-- stderr --\n{}",
            self.what.program,
            self.what.args,
            self.what.env,
            self.code,
            self.signal,
            self.took,
            shown(&self.stdout),
            shown(self.stderr.as_bytes()),
        )
    }
}

impl fmt::Debug for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
