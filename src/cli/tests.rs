//! The command as a script sees it: words and variables in, streams and an
//! exit code out. The store is a folder, so nothing here needs a network.

use std::collections::HashMap;
use std::ffi::OsString;
use std::io::{self, Write};
use std::path::Path;
use std::sync::{Arc, Mutex};

use dxf_registry::Digest;
use tempfile::TempDir;

use super::out::console::Terminals;
use super::{Streams, run};
use crate::cli::interrupt::Interrupt;
use crate::cli::out::console::Console;

/// A buffer that several writers share.
#[derive(Clone, Default)]
pub struct Shared(Arc<Mutex<Vec<u8>>>);

impl Shared {
    /// What was written.
    pub fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A folder to work in, with variables that point into it.
struct Place {
    dir: TempDir,
    env: HashMap<String, String>,
}

/// What a command did.
#[derive(Debug)]
struct Done {
    code: u8,
    out: String,
    err: String,
}

impl Place {
    fn new() -> Place {
        let dir = tempfile::tempdir().unwrap();
        let store = format!("oci:{}/store", dir.path().display());
        let mut place = Place {
            dir,
            env: HashMap::new(),
        };
        let tmp = place.path("tmp");
        std::fs::create_dir(&tmp).unwrap();
        place.set("DXF_HOST", &store).set("DXF_TMPDIR", &tmp);
        place
    }

    fn set(&mut self, name: &str, value: &str) -> &mut Place {
        self.env.insert(name.to_string(), value.to_string());
        self
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }

    fn file(&self, name: &str, bytes: &str) -> String {
        let path = self.path(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }

    fn run(&self, words: &[&str]) -> Done {
        self.pipe(words, "")
    }

    fn pipe(&self, words: &[&str], stdin: &str) -> Done {
        let mut out = Vec::new();
        let (code, err) = self.run_into(words, stdin, &mut out);
        let out = String::from_utf8(out).unwrap();
        Done { code, out, err }
    }

    /// Runs a command whose output is a terminal.
    fn at_terminal(&self, words: &[&str]) -> Done {
        let mut out = Vec::new();
        let terminal = Terminals {
            stdout: true,
            ..Terminals::default()
        };
        let (code, err) = self.run_at(terminal, (words, ""), &mut out);
        let out = String::from_utf8(out).unwrap();
        Done { code, out, err }
    }

    fn run_into(
        &self,
        words: &[&str],
        stdin: &str,
        stdout: &mut (dyn Write + Send),
    ) -> (u8, String) {
        self.run_at(Terminals::default(), (words, stdin), stdout)
    }

    fn run_at(
        &self,
        terminal: Terminals,
        (words, stdin): (&[&str], &str),
        stdout: &mut (dyn Write + Send),
    ) -> (u8, String) {
        let err = Shared::default();
        let streams = Streams {
            stdin: &mut stdin.as_bytes(),
            stdout,
            console: Console::new(Box::new(err.clone())),
            terminal,
            variables: self.env.keys().map(OsString::from).collect(),
        };
        let words = std::iter::once("dxf").chain(words.iter().copied());
        let lookup = |name: &str| self.env.get(name).map(OsString::from);
        let code = run(
            words.map(OsString::from),
            &lookup,
            streams,
            &Interrupt::default(),
        );
        (code, err.text())
    }

    /// The output of a command that must succeed without a word.
    fn ok(&self, words: &[&str]) -> String {
        let done = self.run(words);
        assert_eq!((done.code, done.err.as_str()), (0, ""), "{words:?}");
        done.out
    }
}

fn abc() -> String {
    Digest::of(b"abc").to_string()
}

#[test]
fn usage_errors_say_what_python_says() {
    let place = Place::new();
    for (words, said) in [
        (vec![], "too few arguments"),
        (vec!["push-blob"], "too few arguments"),
        (vec!["push-blob", "r"], "too few arguments"),
        (vec!["push-blob", "r", "f", "@a", "x"], "too many arguments"),
        (vec!["push-blob", "r", "f", "a"], "invalid alias"),
        (vec!["mount-blob", "r", "s"], "too few arguments"),
        (
            vec!["mount-blob", "r", "s", "d", "@a", "x"],
            "too many arguments",
        ),
        (vec!["mount-blob", "r", "s", "d", "a"], "invalid alias"),
        (vec!["set-alias", "r", "a"], "too few arguments"),
        (vec!["list-aliases", "r", "x"], "too many arguments"),
        (vec!["list-aliases"], "too few arguments"),
        (vec!["list-repos", "x"], "unrecognized arguments: x"),
        (
            vec!["no-such-command"],
            "there is no command no-such-command",
        ),
        (vec!["pull-blob", "--no-such", "r"], "--no-such"),
        (vec!["completions"], "too few arguments"),
        (
            vec!["copy-image", "--convert", "x", "a", "b"],
            "it takes docker, oci",
        ),
        (vec!["run-image", "--engine", "x", "a"], "docker, podman"),
        (vec!["pull-blob", "-o", "", "r"], "a value is required"),
    ] {
        let done = place.run(&words);
        assert_eq!((done.code, done.out.as_str()), (2, ""), "{words:?}");
        assert!(done.err.contains("usage: dxf"), "{words:?}: {}", done.err);
        let last = done.err.lines().last().unwrap();
        assert!(
            last.starts_with("dxf: ") && last.contains(said),
            "{words:?}: {last}"
        );
        if let Some(command) = words
            .first()
            .filter(|c| !["no-such-command", "pul-blob"].contains(c))
        {
            assert!(
                done.err.contains(&format!("usage: dxf {command}")),
                "{}",
                done.err
            );
        }
    }
    assert!(!Path::new(&place.path("store")).exists());
}

#[test]
fn words_are_checked_before_anything_happens() {
    let place = Place::new();
    let file = place.file("f", "abc");
    for words in [
        vec!["push-blob", "BAD", &file],
        vec!["push-blob", "r", &file, "@-bad"],
        vec!["pull-blob", "r", "name"],
        vec!["pull-blob", "r", "sha256:00"],
        vec!["set-alias", "r", "bad/alias", &abc()],
        vec!["get-alias", "r", "sha1:00"],
        vec!["mount-blob", "r", "BAD", &abc()],
    ] {
        let done = place.run(&words);
        assert_eq!((done.code, done.out.as_str()), (2, ""), "{words:?}");
        assert_eq!(done.err.lines().count(), 1, "{}", done.err);
        assert!(
            done.err
                .starts_with(&format!("dxf: {}: invalid ", words[0])),
            "{}",
            done.err
        );
    }
    assert!(!Path::new(&place.path("store")).exists());
}

#[test]
fn a_store_has_to_be_named() {
    let mut place = Place::new();
    place.set("DXF_HOST", "");
    let done = place.run(&["list-aliases", "r"]);
    assert_eq!((done.code, done.out.as_str()), (2, ""));
    assert!(
        done.err
            .starts_with("dxf: list-aliases: DXF_HOST is not set; try DXF_HOST="),
        "{}",
        done.err
    );
    place.set("DXF_HOST", "https://r.example");
    let done = place.run(&["list-aliases", "r"]);
    assert_eq!(done.code, 2);
    assert!(
        done.err.contains("DXF_HOST") && done.err.lines().count() == 1,
        "{}",
        done.err
    );
}

#[test]
fn help_and_version_need_nothing() {
    let mut place = Place::new();
    place.set("DXF_TIMEOUT", "bad");
    let version = place.ok(&["--version"]);
    assert_eq!(version, format!("dxf {}\n", env!("CARGO_PKG_VERSION")));
    assert!(place.ok(&["--help"]).contains("push-blob"));
    assert!(place.ok(&["pull-blob", "--help"]).contains("--output"));
    assert_eq!(place.ok(&["help"]), place.ok(&["--help"]));
    assert_eq!(
        place.ok(&["help", "push-blob"]),
        place.ok(&["push-blob", "--help"])
    );
    assert!(
        place
            .ok(&["push-blob", "-h"])
            .contains("Examples:\n  dxf push-blob team")
    );
    assert_eq!(place.ok(&["version"]), version);
    for (word, said) in [
        (
            "ls",
            "there is no command ls; did you mean list-repos, list-aliases or list-files?",
        ),
        ("rm", "del-alias or del-blob"),
        ("-v", "did you mean dxf --version?"),
        ("inspect", "get-manifest"),
        ("restore", "dxf help housekeeping"),
    ] {
        let done = place.run(&[word]);
        assert_eq!((done.code, done.out.as_str()), (2, ""), "{done:?}");
        assert!(done.err.contains(said), "{done:?}");
    }
    assert!(
        place
            .run(&["help", "nope"])
            .err
            .contains("it takes getting-started, ")
    );
    for (words, meant) in [
        (["help", "imagse"], "images"),
        (["cache", "prnue"], "prune"),
        (["completions", "fsh"], "fish"),
        (["help", "rotation"], "dxf help housekeeping"),
        (["help", "list-refs"], "list-referrers"),
        (["list-tags", "team/x"], "list-aliases"),
        (
            ["list-repos", "localhost:5000"],
            "DXF_HOST=localhost:5000 dxf list-repos",
        ),
        (["prune-aliases", "--daily"], "--keep-daily"),
    ] {
        let said = place.run(&words).err;
        assert!(
            said.ends_with(&format!("; did you mean {meant}?\n")),
            "{said}"
        );
    }
    assert!(place.ok(&["completions", "bash"]).contains("push-blob"));
    let zsh = place.ok(&["completions", "zsh"]);
    for line in [
        "File to store, or - for standard input:_files",
        ":(size prune)",
        "compdef _dxf dxf",
    ] {
        assert!(zsh.contains(line), "{line}");
    }
    let help = place.ok(&["set-alias", "-h"]);
    assert!(help.contains("<repo> <alias> <digest|file>..."), "{help}");
    assert_eq!(place.run(&["completions", "tcsh"]).code, 2);
    let man = place.path("man");
    place.ok(&["man", &man]);
    assert!(Path::new(&man).join("dxf-push-blob.1").exists());
}

#[test]
fn blobs_go_in_and_come_out() {
    let place = Place::new();
    let file = place.file("f", "abc");
    assert_eq!(place.ok(&["push-blob", "r", &file]), format!("{}\n", abc()));
    assert_eq!(place.ok(&["pull-blob", "r", &abc()]), "abc");
    assert_eq!(place.ok(&["blob-size", "r", &abc(), &abc()]), "3\n3\n");
    let piped = place.pipe(&["push-blob", "r", "-", "@piped"], "from a pipe");
    assert_eq!((piped.code, piped.err.as_str()), (0, ""));
    assert_eq!(piped.out, format!("{}\n", Digest::of(b"from a pipe")));
    assert_eq!(
        place.ok(&["pull-blob", "r", "@piped", &abc()]),
        "from a pipeabc"
    );
    assert_eq!(std::fs::read_dir(place.path("tmp")).unwrap().count(), 0);
    assert_eq!(
        place.ok(&["mount-blob", "other/repo", "r", &abc(), "@m"]),
        format!("{}\n", abc())
    );
    assert_eq!(place.ok(&["list-repos"]), "other/repo\nr\n");
}

#[test]
fn an_alias_is_pythons_to_the_byte() {
    let place = Place::new();
    let file = place.file("f", "abc");
    place.ok(&["push-blob", "r", &file]);
    let put = place.ok(&["set-alias", "r", "a", &file]);
    assert_eq!(put.len(), 411);
    assert_eq!(place.ok(&["get-manifest", "r", "a"]), put);
    assert_eq!(
        place.ok(&["get-alias", "r", "a", "a"]),
        format!("{0}\n{0}\n", abc())
    );
    assert_eq!(place.ok(&["get-digest", "r", "a"]), format!("{}\n", abc()));
    let own = Digest::of(put.as_bytes()).to_string();
    assert_eq!(
        place.ok(&["get-digest", "--manifest", "r", "a"]),
        format!("{own}\n")
    );
    assert_eq!(place.ok(&["get-alias", "r", &own]), format!("{}\n", abc()));
    assert_eq!(place.ok(&["pull-blob", "r", &format!("@{own}")]), "abc");
    assert_eq!(place.ok(&["list-aliases", "r"]), "a\n");
    // A manifest on standard input needs no store.
    let elsewhere = Place::new();
    for (command, said) in [
        ("get-alias", abc()),
        ("get-digest", abc()),
        ("blob-size", "3".into()),
    ] {
        let done = elsewhere.pipe(&[command, "r"], &put);
        assert_eq!(
            (done.code, done.out, done.err),
            (0, format!("{said}\n"), String::new())
        );
    }
    assert_eq!(place.pipe(&["pull-blob", "r"], &put).out, "abc");
    assert_eq!(elsewhere.pipe(&["get-alias", "r"], "{").code, 65);
    assert_eq!(place.ok(&["del-alias", "r", "a"]), format!("{}\n", abc()));
    assert_eq!(place.ok(&["list-aliases", "r"]), "");
}

#[test]
fn nothing_is_printed_unless_every_name_resolves() {
    let place = Place::new();
    let file = place.file("f", "abc");
    place.ok(&["push-blob", "r", &file, "@a"]);
    let missing = format!("@{}", "missing");
    for words in [
        vec!["get-alias", "r", "a", "missing"],
        vec!["get-digest", "r", "a", "missing"],
        vec!["get-digest", "--manifest", "r", "a", "missing"],
        vec!["blob-size", "r", "@a", &missing],
        vec!["pull-blob", "r", "@a", &missing],
    ] {
        let done = place.run(&words);
        assert_eq!((done.code, done.out.as_str()), (2, ""), "{words:?}");
        assert!(
            done.err.contains("Not Found") && done.err.lines().count() == 1,
            "{}",
            done.err
        );
    }
    let done = place.run(&["del-alias", "r", "a", "missing"]);
    assert_eq!((done.code, done.out.as_str()), (2, ""));
    assert_eq!(place.ok(&["list-aliases", "r"]), "");
    assert_eq!(place.ok(&["del-alias", "r"]), "");
}

#[test]
fn blob_info_frames_the_bytes() {
    let mut place = Place::new();
    let (one, two) = (place.file("1", "abc"), place.file("2", "hello\n"));
    place.ok(&["push-blob", "r", &one]);
    place.ok(&["push-blob", "r", &two]);
    place.ok(&["set-alias", "r", "both", &one, &two]);
    place.set("DXF_BLOB_INFO", "1").set("DXF_CHUNK_SIZE", "2");
    let hello = Digest::of(b"hello\n");
    assert_eq!(
        place.ok(&["pull-blob", "r", "@both"]),
        format!("{} 3\nabc{hello} 6\nhello\n", abc())
    );
    assert_eq!(place.ok(&["blob-size", "r", "@both"]), "9\n");
}

#[test]
fn an_output_file_is_whole_or_not_there() {
    let place = Place::new();
    let file = place.file("f", "abc");
    place.ok(&["push-blob", "r", &file, "@a"]);
    let target = place.path("out");
    assert_eq!(place.ok(&["pull-blob", "r", "@a", "-o", &target]), "");
    assert_eq!(std::fs::read_to_string(&target).unwrap(), "abc");
    assert_eq!(place.ok(&["pull-blob", "-o", "-", "r", "@a"]), "abc");
    let other = place.path("other");
    let missing = Digest::of(b"missing").to_string();
    assert_eq!(
        place
            .run(&["pull-blob", "r", "-o", &other, &abc(), &missing])
            .code,
        2
    );
    assert!(!Path::new(&other).exists());
    let folder = place.path("tmp");
    assert_eq!(
        place.run(&["pull-blob", "r", "-o", &folder, &abc()]).code,
        1
    );
}

#[test]
fn deleting_an_alias_takes_its_blobs_unless_told_otherwise() {
    let place = Place::new();
    let file = place.file("f", "abc");
    place.ok(&["push-blob", "r", &file]);
    place.ok(&["set-alias", "r", "twice", &file, &file]);
    assert_eq!(place.ok(&["del-blob", "--keep-alias", "r", "@twice"]), "");
    assert_eq!(place.ok(&["list-aliases", "r"]), "twice\n");
    let gone = place.run(&["blob-size", "r", &abc()]);
    assert_eq!((gone.code, gone.out.as_str()), (2, ""));
    assert_eq!(place.run(&["del-blob", "r", &abc()]).code, 2);
    place.ok(&["push-blob", "r", &file]);
    assert_eq!(place.ok(&["del-blob", "r", "@twice"]), "");
    assert_eq!(place.ok(&["list-aliases", "r"]), "");
    assert_eq!(place.run(&["pull-blob", "r", &abc()]).code, 2);
}

/// Two tags of the same blobs share a manifest.
#[test]
fn only_removes_one_of_two_siblings() {
    let place = Place::new();
    let file = place.file("f", "abc");
    for alias in ["@a", "@b"] {
        place.ok(&["push-blob", "r", &file, alias]);
    }
    assert_eq!(
        place.ok(&["del-alias", "--only", "r", "a"]),
        format!("{}\n", abc())
    );
    assert_eq!(place.ok(&["list-aliases", "r"]), "b\n");
    let digest = Digest::of(b"x").to_string();
    assert_eq!(place.run(&["del-alias", "--only", "r", &digest]).code, 2);
}

/// What a writer that fails says.
struct Broken(io::ErrorKind);

impl Write for Broken {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(self.0.into())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_reader_that_left_is_no_failure_but_a_full_disk_is() {
    let place = Place::new();
    let file = place.file("f", "abc");
    place.ok(&["push-blob", "r", &file, "@a"]);
    for words in [
        vec!["pull-blob", "r", "@a"],
        vec!["list-aliases", "r"],
        vec!["show-env"],
        vec!["--help"],
    ] {
        let quiet = place.run_into(&words, "", &mut Broken(io::ErrorKind::BrokenPipe));
        assert_eq!(quiet, (0, String::new()), "{words:?}");
        let (code, err) = place.run_into(&words, "", &mut Broken(io::ErrorKind::StorageFull));
        assert_eq!(code, 1, "{words:?}");
        assert!(
            err.contains("standard output") && err.lines().count() == 1,
            "{err}"
        );
    }
}

#[test]
fn lists_can_be_json() {
    let mut place = Place::new();
    place.set("DXF_OUTPUT", "json");
    let file = place.file("f", "abc");
    place.ok(&["push-blob", "r", &file]);
    assert_eq!(place.ok(&["list-aliases", "r"]), "[]\n");
    place.ok(&["set-alias", "r", "a", &file]);
    place.ok(&["set-alias", "r", "b", &file, &file]);
    assert_eq!(place.ok(&["list-aliases", "r"]), "[\"a\", \"b\"]\n");
    assert_eq!(place.ok(&["list-repos"]), "[\"r\"]\n");
    assert_eq!(place.ok(&["list-logins"]), "[]\n");
    assert!(place.ok(&["show-env"]).starts_with("[{\"meaning\": "));
}

#[test]
fn progress_goes_to_stderr_and_only_when_asked_for() {
    let mut place = Place::new();
    let file = place.file("f", "abc");
    place.ok(&["push-blob", "r", &file, "@a"]);
    place.set("DXF_PROGRESS", "1");
    let done = place.run(&["pull-blob", "r", "@a"]);
    assert_eq!((done.code, done.out.as_str()), (0, "abc"));
    let lines: Vec<&str> = done.err.lines().collect();
    assert!(
        lines[0].starts_with("sha256:ba7816bf:   0% 0/3 "),
        "{}",
        done.err
    );
    assert!(
        lines
            .last()
            .unwrap()
            .starts_with("sha256:ba7816bf: 100% 3/3 "),
        "{}",
        done.err
    );
}

#[test]
fn no_secret_is_shown() {
    let mut place = Place::new();
    for name in ["DXF_PASSWORD", "DXF_AUTHORIZATION", "DXF_TOKEN"] {
        place.set(name, "hunter2");
    }
    place
        .set("DXF_HOST", "r.example")
        .set("DXF_USERNAME", "me")
        .set("https_proxy", "http://me:hunter2@proxy:1");
    let mut wrong = Place::new();
    wrong.set("DXF_HOTS", "r.example");
    let done = wrong.run(&["show-env"]);
    let warned = "dxf: warning: DXF_HOTS is set, but dxf has no such variable; did \
                  you mean DXF_HOST?\n";
    assert_eq!((done.code, done.err.as_str()), (0, warned));
    // Every command names a slip; only show-env names what may belong to another program.
    wrong.set("DXF_SCRIPTS", "1");
    assert_eq!(wrong.run(&["help", "limits"]).err, warned);
    assert_eq!(wrong.run(&["show-env"]).err.lines().count(), 2);
    let shown = place.ok(&["show-env"]);
    assert!(!shown.contains("hunter2"), "{shown}");
    for line in [
        "DXF_PASSWORD = ***  (environment: DXF_PASSWORD)",
        "DXF_AUTHORIZATION = ***  (environment: DXF_AUTHORIZATION, overridden by DXF_USERNAME)",
        "HTTPS_PROXY = http://***@proxy:1  (environment: https_proxy)",
        "DXF_TIMEOUT = 30  (default)",
    ] {
        assert!(shown.lines().any(|l| l == line), "{line}\n{shown}");
    }
}

#[test]
fn a_bad_variable_is_named_and_nothing_else_happens() {
    let mut place = Place::new();
    place.set("DXF_JOBS", "many");
    let done = place.run(&["list-aliases", "r"]);
    assert_eq!((done.code, done.out.as_str()), (2, ""));
    assert_eq!(
        done.err,
        "dxf: list-aliases: invalid DXF_JOBS \"many\": it takes a number from 1 to 256\n"
    );
}

#[test]
fn a_shell_is_offered_the_names_in_the_store() {
    let mut place = Place::new();
    let file = place.file("f", "abc");
    place.ok(&["push-blob", "team/one", &file, "@v1"]);
    place.ok(&["push-blob", "team/two", &file, "@v2"]);
    let offered = |place: &Place, words: &[&str]| {
        let done = place.run(&[&["__complete"], words].concat());
        assert_eq!((done.code, done.err.as_str()), (0, ""), "{done:?}");
        done.out
    };
    assert_eq!(offered(&place, &["list-aliases", "team/t"]), "team/two\n");
    assert_eq!(offered(&place, &["pull-blob", "team/one", ""]), "@v1\n");
    assert_eq!(
        offered(&place, &["pull-image", "team/two:"]),
        "team/two:v2\n"
    );
    for words in [&["pull-blob", "team/none", "@"][..], &["nope", ""], &[]] {
        assert_eq!(offered(&place, words), "");
    }
    place.set("DXF_JOBS", "bad");
    assert_eq!(offered(&place, &["list-aliases", ""]), "");
}

#[test]
fn show_env_marks_every_bad_value() {
    let mut place = Place::new();
    place.set("DXF_JOBS", "many");
    place.set("DXF_TIMEOUT", "soon");
    place.set("DXF_FROM_HOST", "https://x");
    let done = place.run(&["show-env"]);
    assert_eq!(done.code, 2, "{done:?}");
    assert!(
        done.err.starts_with("dxf: show-env: invalid DXF_"),
        "{done:?}"
    );
    for line in [
        "DXF_JOBS = many  (environment: DXF_JOBS)  INVALID: it takes a number from 1 to 256",
        "DXF_TIMEOUT = soon  (environment: DXF_TIMEOUT)  INVALID: ",
        "DXF_FROM_HOST = https://x  (environment: DXF_FROM_HOST)  INVALID: ",
        "DXF_RETRIES = 4  (default)",
    ] {
        assert!(done.out.contains(line), "{line}: {done:?}");
    }
    assert_eq!(done.out.matches("INVALID").count(), 3, "{done:?}");
    place.set("DXF_OUTPUT", "json");
    let done = place.run(&["show-env"]);
    assert_eq!(done.out.matches("\"invalid\": ").count(), 3, "{done:?}");
}

#[test]
fn what_other_variables_decide_is_shown_where_it_holds() {
    let mut place = Place::new();
    let shown = place.ok(&["show-env"]);
    for line in [
        "DXF_TLSVERIFY = system certificates  (default)",
        "DXF_CACHE = ~/.cache/dxf  (default)",
    ] {
        assert!(shown.contains(line), "{shown}");
    }
    place
        .set("SSL_CERT_FILE", "/other.pem")
        .set("REQUESTS_CA_BUNDLE", "/ca.pem");
    place.set("XDG_CACHE_HOME", "/var/c");
    let shown = place.ok(&["show-env"]);
    for line in [
        "DXF_TLSVERIFY = /ca.pem  (environment: REQUESTS_CA_BUNDLE)",
        "DXF_FROM_TLSVERIFY = /ca.pem  (environment: REQUESTS_CA_BUNDLE)",
        "DXF_CACHE = /var/c/dxf  (environment: XDG_CACHE_HOME)",
    ] {
        assert!(shown.contains(line), "{shown}");
    }
}

/// A folder has no tokens.
#[test]
fn auth_at_a_folder() {
    let place = Place::new();
    assert_eq!(place.ok(&["auth", "r", "pull"]), "");
    let done = place.run(&["auth", "r"]);
    assert_eq!((done.code, done.out.as_str()), (0, ""));
    assert!(done.err.contains("name actions"), "{}", done.err);
    assert_eq!(
        place.ok(&["auth", "--explain", "r"]),
        "a folder needs no credentials\n"
    );
    let done = place.run(&["login"]);
    assert_eq!((done.code, done.out.as_str()), (2, ""));
}

#[test]
fn a_mistake_is_told_what_to_write_instead() {
    let mut place = Place::new();
    let logins = place.path("logins");
    place.set("DOCKER_CONFIG", &logins);
    let file = place.file("f", "abc");
    place.ok(&["push-blob", "r", &file, "@a"]);
    let folder = place.path("tmp");
    for (words, code, said) in [
        (
            &["push-blob", &file, "team/x", "@v"][..],
            2,
            format!(
                "the arguments are in the wrong order; did you mean dxf push-blob team/x {file} @v?"
            ),
        ),
        (
            &["push-blob", "team/x:v1", &file],
            2,
            "team/x @v1".to_string(),
        ),
        (
            &["push-blob", "r.example:1/team/x", &file],
            2,
            "DXF_HOST=r.example:1 dxf … team/x".to_string(),
        ),
        (
            &["push-blob", "r", &folder],
            1,
            format!("dxf push-files r ALIAS {folder}, or tar -c {folder} | dxf push-blob r -"),
        ),
        (
            &["mount-blob", "r", "r:v", &abc()],
            2,
            "an argument of its own".to_string(),
        ),
        (
            &["get-alias", "r", "nope"],
            2,
            "dxf list-aliases".to_string(),
        ),
        (
            &["pull-blob", "r"],
            65,
            "standard input is empty; give a digest or an alias".to_string(),
        ),
        (
            &["get-config", "team/x", "v1"],
            2,
            "did you mean team/x:v1?".to_string(),
        ),
        (
            &["verify-image", "--platform", "linux/amd64", "r", "@v1"],
            2,
            "did you mean r:v1?".to_string(),
        ),
        (
            &["copy-image", "r:a", "team/x", "v1"],
            2,
            "did you mean team/x:v1?".to_string(),
        ),
        (
            &["tag-image", "r:a", "r:b"],
            2,
            "write the tag alone".to_string(),
        ),
        (
            &["push-files", "r", &file, "v1"],
            2,
            format!("did you mean dxf push-files r v1 {file}?"),
        ),
        (
            &["push-files", &file, "team/x", "v1"],
            2,
            format!("did you mean dxf push-files team/x v1 {file}?"),
        ),
        (
            &["push-files", &file, "team/x", &folder],
            2,
            format!("did you mean dxf push-files team/x ALIAS {file} {folder}?"),
        ),
        (&["login", "r.example"], 2, "--password-stdin".to_string()),
        (
            &["login", "-u", "me", "r.example"],
            2,
            "standard input has none".to_string(),
        ),
        (
            &["copy-image", "--tags", "zz*", "r", "oci:x"],
            2,
            format!("source oci:{}: Not Found: no tag of", place.path("store/r")),
        ),
    ] {
        let done = place.run(words);
        assert_eq!((done.code, done.out.as_str()), (code, ""), "{done:?}");
        assert!(
            done.err.lines().last().unwrap().contains(&said),
            "{said}: {done:?}"
        );
    }
    std::fs::remove_file(blob_file(&place)).unwrap();
    let done = place.run(&["verify-alias", "r", "a"]);
    assert_eq!(done.code, 65);
    assert!(
        done.err.contains("in oci:") && done.err.contains("missing or wrong"),
        "{done:?}"
    );
}

#[test]
fn what_is_too_short_moves_no_alias() {
    let place = Place::new();
    let file = place.file("f", "abc");
    place.ok(&["push-blob", "--min-size", "3", "r", &file, "@a"]);
    for split in [&[][..], &["--split", "64M"]] {
        let words = [&["push-blob", "--min-size", "1K"], split, &["r", "-", "@a"]].concat();
        let done = place.pipe(&words, "xyz");
        assert_eq!((done.code, done.out.as_str()), (1, ""), "{done:?}");
        assert!(
            done.err.contains("standard input: 3 bytes are fewer"),
            "{done:?}"
        );
        assert_eq!(place.ok(&["pull-blob", "r", "@a"]), "abc");
    }
    let done = place.run(&["push-blob", "--min-size", "x", "r", &file]);
    assert_eq!((done.code, done.out.as_str()), (2, ""), "{done:?}");
}

/// The file of the blob `abc` in repository `r`.
fn blob_file(place: &Place) -> String {
    let hex = Digest::of(b"abc").hex();
    place.path(&format!("store/r/blobs/sha256/{hex}"))
}

#[test]
fn a_document_ends_its_line_on_a_terminal() {
    let place = Place::new();
    let file = place.file("f", "abc");
    place.ok(&["push-blob", "r", &file, "@a"]);
    let bytes = place.ok(&["get-manifest", "r", "a"]);
    let shown = place.at_terminal(&["get-manifest", "r", "a"]);
    assert_eq!((shown.code, shown.out), (0, format!("{bytes}\n")));
    let shown = place.at_terminal(&["set-alias", "r", "a", &abc()]);
    assert_eq!((shown.code, shown.out), (0, format!("{bytes}\n")));
}

#[test]
fn a_document_shows_a_terminal_nothing_that_it_would_obey() {
    let place = Place::new();
    let config = place.file("config", "{\"a\":\"\u{9b}2J\u{7f}\"}");
    place.ok(&["push-files", "--config", &config, "r", "v"]);
    let note = "a=\u{9b}2J\u{7f}\u{202e}";
    place.ok(&["push-files", "--annotation", note, "r", "v"]);
    let bytes = place.ok(&["get-manifest", "r", "v"]);
    assert!(bytes.contains('\u{9b}'), "{bytes}");
    let shown = place.at_terminal(&["get-manifest", "r", "v"]).out;
    assert!(
        shown.contains(r"\u009b2J\u007f\u202e") && !shown.trim_end().contains(char::is_control),
        "{shown:?}"
    );
    let value = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
    assert_eq!(value(&shown), value(&bytes));
    place.ok(&["put-manifest", "r", "w", &place.file("m", &bytes)]);
    assert_eq!(place.ok(&["get-manifest", "r", "w"]), bytes);
}

#[test]
fn a_path_means_its_file_in_every_command() {
    let place = Place::new();
    let tar = place.path("app.tar");
    place.ok(&[
        "edit-image",
        "--env",
        "A=1",
        "--add-file",
        "/f=x",
        "scratch",
        &tar,
    ]);
    place.ok(&["push-image", &tar, "team/app:v1"]);
    let copied = place.path("copied.tar");
    let said = place.ok(&["copy-image", "team/app:v1", &copied]);
    assert!(said.starts_with("docker-archive:/"), "{said}");
    for words in [
        &["list-layers"][..],
        &["list-platforms"],
        &["list-files"],
        &["get-config"],
        &["get-history"],
        &["verify-image"],
    ] {
        let of = |image: &str| place.ok(&[words, &[image]].concat());
        assert_eq!(of(&tar), of("team/app:v1"), "{words:?}");
        assert_eq!(of(&copied), of("team/app:v1"), "{words:?}");
    }
    place.ok(&["get-layer", "--uncompressed", &tar, "0"]);
    place.ok(&["pull-image", &tar, &place.path("pulled.tar")]);
    place.ok(&["copy-image", &tar, "team/other"]);
    place.ok(&["edit-image", "--user", "u", &tar, "team/third"]);
    assert_eq!(
        place.ok(&["list-repos"]),
        "team/app\nteam/other\nteam/third\n"
    );
    let layout = place.path("layout");
    place.ok(&["pull-image", "--format", "oci", "team/app:v1", &layout]);
    let of_layout = place.ok(&["list-layers", &format!("{layout}:v1")]);
    assert_eq!(of_layout, place.ok(&["list-layers", &layout]));
    for (words, said) in [
        (&["tag-image", tar.as_str(), "v2"][..], "is an archive"),
        (&["tag-image", "team/app:v1", ".x"], "invalid tag"),
        (&["set-alias", "team/app", ".x", "./f"], "invalid alias"),
        (
            &["push-image", "team/app:v1", tar.as_str()],
            "the arguments are in the wrong order; did you mean dxf push-image",
        ),
        (&["copy-image", "oci:none", "team/x"], "no file oci-layout"),
        (
            &["list-files", "--layer", "9", "team/app:v1"],
            "layer 9: the image has 1 layer, number 0",
        ),
        (
            &["get-layer", &tar, "1"],
            "layer 1: the image has 1 layer, number 0",
        ),
    ] {
        let done = place.run(words);
        assert!(done.err.contains(said), "{words:?}: {done:?}");
    }
}
