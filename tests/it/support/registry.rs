//! A real registry: Debian's `docker-registry`, or another of [`Program`], one
//! process a test, on a port of its own, with its storage in a folder that goes
//! with it.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tempfile::TempDir;

use super::lock;
use super::peers;
use super::raw::{Login, Raw};
use super::tls::Ca;
use super::token::TokenServer;

/// The one user that a registry with [`Builder::htpasswd`] and a token server
/// by default know.
pub const USER: &str = "tester";
/// That user's password.
pub const PASSWORD: &str = "staple-Battery-9x4";
/// bcrypt of [`PASSWORD`], cost 4. The registry takes nothing but bcrypt, and
/// making one here would need a package; perl's `crypt($password, "\$2b\$04\$…")`
/// made this one.
const PASSWORD_BCRYPT: &str = "$2b$04$7kQpWmZ1xTnE5uJc0RvYOe3AqzVAAHd0rTCO1IPc1oNme1jBTuSWK";

/// Which registry to start.
#[derive(Clone, Copy, Default, PartialEq)]
pub enum Program {
    /// Debian's `docker-registry`, which is distribution 2.8.
    #[default]
    Debian,
    /// distribution 3; like 2.8 it has no referrers API.
    Distribution3,
    /// `tests/peers/main.go`, which has the referrers API and keeps everything
    /// in memory. It knows plain http without a login only.
    Referrers,
}

impl Program {
    /// The command line, with an environment that is the same everywhere.
    fn command(self) -> Command {
        let mut command = Command::new(match self {
            Program::Debian => PathBuf::from("docker-registry"),
            Program::Distribution3 => peers::path("distribution"),
            Program::Referrers => peers::path("referrers"),
        });
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default());
        // Distribution 3 would send traces to a collector on this machine.
        command.env("OTEL_TRACES_EXPORTER", "none");
        // Both distributions read the same configuration.
        if self != Program::Referrers {
            command.args(["serve", "config.yml"]);
        }
        command
    }
}

/// How to start a [`Registry`].
#[derive(Default)]
pub struct Builder {
    program: Program,
    tls: bool,
    htpasswd: bool,
    no_delete: bool,
    schema1: bool,
    auth: String,
    issuer_pem: Option<String>,
    login: Login,
    env: Vec<(String, String)>,
}

impl Builder {
    /// Another registry than Debian's.
    pub fn program(mut self, program: Program) -> Builder {
        self.program = program;
        self
    }

    /// TLS, with the certificate of [`Ca::shared`].
    pub fn tls(mut self) -> Builder {
        self.tls = true;
        self
    }

    /// Basic authentication for [`USER`] with [`PASSWORD`], and for no other user.
    pub fn htpasswd(mut self) -> Builder {
        self.htpasswd = true;
        self.login = Login::basic(USER, PASSWORD);
        self
    }

    /// Bearer tokens of this server.
    pub fn token(mut self, server: &TokenServer) -> Builder {
        self.auth = format!(
            "auth:\n  token:\n    realm: {}\n    service: {}\n    issuer: {}\n    \
             rootcertbundle: issuer.pem\n",
            server.realm(),
            server.service(),
            server.issuer(),
        );
        self.issuer_pem = Some(server.issuer_pem());
        self.login = server.login();
        self
    }

    /// Refuses every DELETE, as a registry does unless told otherwise.
    pub fn no_delete(mut self) -> Builder {
        self.no_delete = true;
        self
    }

    /// Takes Docker's first manifests too, and gives them to a client that reads
    /// nothing newer.
    pub fn schema1(mut self) -> Builder {
        self.schema1 = true;
        self
    }

    pub fn start(self) -> Registry {
        Registry::start(self)
    }
}

/// A running registry; killed and waited for when dropped.
pub struct Registry {
    child: Child,
    reader: Option<JoinHandle<()>>,
    log: Arc<Mutex<String>>,
    folder: TempDir,
    host: String,
    tls: bool,
    login: Login,
}

impl Registry {
    /// Plain http, no authentication.
    pub fn http() -> Registry {
        Builder::default().start()
    }

    pub fn builder() -> Builder {
        Builder::default()
    }

    fn start(builder: Builder) -> Registry {
        let only_plain = !builder.tls && !builder.htpasswd && builder.auth.is_empty();
        assert!(builder.program != Program::Referrers || only_plain);
        let folder = super::scratch();
        write_config(&builder, folder.path());
        let mut child = builder
            .program
            .command()
            .current_dir(folder.path())
            .envs(builder.env.iter().map(|(key, value)| (key, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| {
                panic!(
                    "cannot start a registry ({error}); these tests need a real registry: \
                     run scripts/setup, or: sudo apt-get install docker-registry"
                )
            });
        let log = Arc::new(Mutex::new(String::new()));
        let stderr = child.stderr.take().expect("a piped stderr");
        let (found, port) = mpsc::channel();
        let noted = log.clone();
        let reader = thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                if let Some(port) = listening_port(&line) {
                    let _ = found.send(port);
                }
                let mut log = lock(&noted);
                log.push_str(&line);
                log.push('\n');
            }
        });
        let mut registry = Registry {
            child,
            reader: Some(reader),
            log,
            folder,
            host: String::new(),
            tls: builder.tls,
            login: builder.login,
        };
        match port.recv_timeout(Duration::from_secs(30)) {
            Ok(port) => registry.host = format!("127.0.0.1:{port}"),
            Err(RecvTimeoutError::Timeout) => panic!("the registry did not start in 30 s"),
            Err(RecvTimeoutError::Disconnected) => panic!("the registry ended at once"),
        }
        registry
    }

    /// `127.0.0.1:PORT`.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The same registry under another name.
    pub fn localhost(&self) -> String {
        self.host.replace("127.0.0.1", "localhost")
    }

    pub fn is_tls(&self) -> bool {
        self.tls
    }

    /// `http://127.0.0.1:PORT`, or https.
    pub fn origin(&self) -> String {
        let scheme = if self.tls { "https" } else { "http" };
        format!("{scheme}://{}", self.host)
    }

    pub fn authority(&self) -> &'static Arc<Ca> {
        Ca::shared()
    }

    /// PEM file of the authority that signed this registry, its token server
    /// and every TLS fault server.
    pub fn ca_file(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// Speaks to the registry without dxf, with every right there is.
    pub fn raw(&self) -> Raw {
        Raw::new(&self.origin(), self.login.clone())
    }

    /// Where a blob lies on disk, for tests that damage or remove it.
    pub fn blob_file(&self, digest: &str) -> PathBuf {
        let (algorithm, hex) = digest.split_once(':').expect("a digest");
        let blobs = self.folder.path().join("data/docker/registry/v2/blobs");
        blobs.join(algorithm).join(&hex[..2]).join(hex).join("data")
    }

    /// Upload sessions left open in a repository. A cancelled one leaves its
    /// folder behind in this registry, but not the file that says when it began.
    pub fn open_uploads(&self, repo: &str) -> usize {
        let repos = self
            .folder
            .path()
            .join("data/docker/registry/v2/repositories");
        std::fs::read_dir(repos.join(repo).join("_uploads")).map_or(0, |sessions| {
            sessions
                .flatten()
                .filter(|session| session.path().join("startedat").exists())
                .count()
        })
    }

    /// The registry's own log so far, access log included.
    pub fn log(&self) -> String {
        lock(&self.log).clone()
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
        if thread::panicking() {
            let log = self.log();
            eprintln!("end of the log of the registry at {}:", self.host);
            eprintln!("{}", end_of(&log));
        }
    }
}

/// The last lines, shortened: the whole would bury what the test says.
fn end_of(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    let last = &lines[lines.len().saturating_sub(15)..];
    let cut = |line: &&str| line.chars().take(300).collect::<String>();
    last.iter().map(cut).collect::<Vec<_>>().join("\n")
}

fn write_config(builder: &Builder, folder: &Path) {
    let write = |name: &str, text: &str| {
        std::fs::write(folder.join(name), text).expect("writing the registry's folder");
    };
    let mut http = "http:\n  addr: 127.0.0.1:0\n  secret: only-in-tests\n".to_string();
    write("ca.pem", &Ca::shared().pem());
    if builder.tls {
        let (cert, key) = Ca::shared().loopback();
        write("cert.pem", cert);
        write("key.pem", key);
        http += "  tls:\n    certificate: cert.pem\n    key: key.pem\n";
    }
    let mut auth = builder.auth.clone();
    if builder.htpasswd {
        write("htpasswd", &format!("{USER}:{PASSWORD_BCRYPT}\n"));
        auth = "auth:\n  htpasswd:\n    realm: test\n    path: htpasswd\n".to_string();
    }
    if let Some(pem) = &builder.issuer_pem {
        write("issuer.pem", pem);
    }
    let compatibility = match builder.schema1 {
        true => "compatibility:\n  schema1:\n    enabled: true\n",
        false => "",
    };
    // Files, not the inmemory driver: that one copies a whole blob for every
    // piece that is added to it.
    let config = format!(
        "version: 0.1\nlog:\n  level: info\nstorage:\n  filesystem:\n    rootdirectory: data\n  \
         delete:\n    enabled: {}\n  maintenance:\n    uploadpurging:\n      enabled: false\n{http}{auth}{compatibility}",
        !builder.no_delete,
    );
    write("config.yml", &config);
}

/// The port in `… msg="listening on 127.0.0.1:35115, tls" …`.
fn listening_port(line: &str) -> Option<u16> {
    let (_, rest) = line.split_once("msg=\"listening on 127.0.0.1:")?;
    let digits = rest.find(|c: char| !c.is_ascii_digit())?;
    rest[..digits].parse().ok()
}
