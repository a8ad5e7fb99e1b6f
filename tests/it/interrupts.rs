//! Signals, and a closed standard output: an end within a second,
//! nothing left behind but what is promised, no more than one line.

use std::fs::{self, File};
use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use super::support::data::{blob, digest};
use super::support::dxf::{Dxf, Output, Running, signal};
use super::support::registry::Registry;
use super::support::rules::{ANY, DELETE, GET, HEAD, PATCH, POST, PUT, Rule, on};
use super::support::server::Server;
use super::support::{scratch, until};

const SIGNALS: [(&str, i32); 2] = [("INT", 130), ("TERM", 143)];

/// Sends the signal; the command must end within a second, with its code, and
/// say so in a line at most.
fn stop(running: Running, (signal, code): (&str, i32)) -> Output {
    let begun = Instant::now();
    running.signal(signal);
    let output = running.finish();
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(1), "{took:?}: {output}");
    assert_eq!(output.code, Some(code), "{output}");
    let lines = output.stderr.matches('\n').count();
    assert!(
        lines <= 1 && (lines == 0 || output.stderr.starts_with("dxf: ")),
        "{output}"
    );
    output
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("a folder");
    let name = |entry: std::io::Result<fs::DirEntry>| entry.expect("an entry").file_name();
    entries
        .map(|entry| name(entry).to_string_lossy().into_owned())
        .collect()
}

const SESSION: &str = "/v2/a/blobs/uploads/1";

/// A registry that takes a session and then stalls the request `stalled`.
fn stalled_upload(stalled: Rule) -> Server {
    Server::script([
        on(HEAD, "/v2/a/blobs/*").reply(404),
        on(POST, "/v2/a/blobs/uploads/")
            .times(1)
            .reply(202)
            .header("Location", "/v2/a/blobs/uploads/1?state=x"),
        stalled,
        on(DELETE, "/v2/a/blobs/uploads/1").times(1).reply(204),
    ])
}

#[test]
fn an_upload_is_cancelled_at_the_registry() {
    // The larger one is worth a note, but this registry has nothing of it, or
    // can't tell.
    let known: [fn() -> Rule; 4] = [
        || on(GET, SESSION).reply(501),
        || on(GET, SESSION).reply(404),
        || on(GET, SESSION).reply(204),
        || on(GET, SESSION).reply(204).header("Range", "0-0"),
    ];
    for (size, mode, stands) in [
        (3 << 20, "auto", known[0]),
        (3 << 20, "2MiB", known[0]),
        (17 << 20, "auto", known[1]),
        (17 << 20, "auto", known[2]),
        (17 << 20, "2MiB", known[3]),
    ] {
        for signal in SIGNALS {
            let method = if mode == "auto" { PUT } else { PATCH };
            let path = SESSION;
            let server = stalled_upload(on(method, path).times(1).stall_upload_after(1 << 20));
            server.add([stands()]);
            let folder = scratch();
            let file = folder.path().join("file");
            fs::write(&file, blob(1, size)).expect("a file");
            let dxf = Dxf::new().plain(&server.host()).env("DXF_UPLOAD", mode);
            let cache = folder.path().join("cache");
            let dxf = dxf.env("DXF_CACHE", &cache);
            let running = dxf.args(["push-blob", "a"]).arg(&file).spawn();
            until("the upload", || {
                let sent = server.seen_at(method, path);
                sent.first().is_some_and(|seen| seen.body_len >= 1 << 20)
            });
            let output = stop(running, signal);
            assert!(output.stdout.is_empty() && !output.stderr.contains("to resume"));
            let last = server.seen().last().map(|seen| seen.line());
            assert_eq!(last.as_deref(), Some("DELETE /v2/a/blobs/uploads/1"));
            let notes = cache.join("uploads");
            assert!(!notes.exists() || names(&notes).is_empty());
        }
    }
}

#[test]
fn a_spooled_upload_leaves_no_temporary_file() {
    for signal in SIGNALS {
        let path = "/v2/a/blobs/uploads/1";
        let server = stalled_upload(on(PUT, path).stall_upload_after(1 << 20));
        let folder = scratch();
        let dxf = Dxf::new()
            .plain(&server.host())
            .env("DXF_TMPDIR", folder.path());
        let running = dxf
            .args(["push-blob", "a", "-"])
            .stdin(blob(1, 3 << 20))
            .spawn();
        until("the upload", || server.count(PUT, path) == 1);
        // The file has no name, so that not even SIGKILL could leave it.
        assert_eq!(names(folder.path()), [""; 0]);
        stop(running, signal);
        assert_eq!(names(folder.path()), [""; 0]);
    }
}

#[test]
fn a_download_leaves_only_the_partial_that_the_next_one_continues() {
    let bytes = blob(1, 3 << 20);
    let name = digest(&bytes);
    for signal in SIGNALS {
        let path = format!("/v2/a/blobs/{name}");
        let server = Server::script([
            on(GET, &path)
                .times(1)
                .serve(bytes.clone())
                .stall_after(1 << 20),
            on(ANY, &path).serve(bytes.clone()),
        ]);
        let folder = scratch();
        let file = folder.path().join("file");
        fs::write(&file, "old").expect("an old file");
        let dxf = Dxf::new().plain(&server.host());
        let args = ["pull-blob", "-o", "file", "a", &name];
        let dxf = dxf.args(args).current_dir(folder.path());
        let running = dxf.clone().spawn();
        let partial = folder.path().join("file.partial");
        until("bytes in the partial", || {
            fs::metadata(&partial).is_ok_and(|meta| meta.len() > 0)
        });
        stop(running, signal).says("run the same command again to resume");
        assert_eq!(fs::read(&file).expect("the old file"), b"old");
        let kept = fs::read(&partial).expect("the partial");
        assert!(bytes.starts_with(&kept) && !kept.is_empty());
        dxf.ok();
        assert!(fs::read(&file).expect("the file") == bytes);
        assert_eq!(names(folder.path()), ["file"]);
        let resumed = server.seen_at(GET, &path);
        let range = resumed.last().and_then(|seen| seen.headers.get("range"));
        assert_eq!(range, Some(format!("bytes={}-", kept.len()).as_str()));
    }
}

#[test]
fn interrupted_files_say_how_they_continue() {
    let (registry, folder) = (Registry::http(), scratch());
    let bytes = blob(2, 3 << 20);
    fs::write(folder.path().join("big"), &bytes).expect("a file");
    let dxf = Dxf::new().current_dir(folder.path());
    let push = dxf.clone().plain(registry.host());
    push.args(["push-files", "a", "v1", "big"]).ok();
    let path = format!("/v2/a/blobs/{}", digest(&bytes));
    let stalls = on(GET, &path).times(1).stall_after(1 << 20);
    let server = Server::before(&registry, [stalls]);
    let pull = dxf.plain(&server.host());
    let pull = pull.args(["pull-files", "-o", "out", "a", "v1"]);
    let running = pull.clone().spawn();
    let partial = folder.path().join("out/big.partial");
    until("bytes in the partial", || {
        fs::metadata(&partial).is_ok_and(|meta| meta.len() > 0)
    });
    stop(running, SIGNALS[0]).says("run the same command again to resume");
    pull.ok();
    assert!(fs::read(folder.path().join("out/big")).expect("a file") == bytes);
    let resumed = server.seen_at(GET, &path);
    assert!(
        resumed
            .last()
            .is_some_and(|seen| seen.headers.get("range").is_some())
    );
}

#[test]
fn a_download_between_headers_leaves_nothing() {
    let bytes = blob(1, 3 << 20);
    let name = digest(&bytes);
    for signal in SIGNALS {
        let path = format!("/v2/a/blobs/{name}");
        let server = Server::script([on(GET, &path).serve(bytes.clone()).stall_after(1 << 20)]);
        let folder = scratch();
        let file = folder.path().join("file");
        let dxf = Dxf::new().plain(&server.host()).env("DXF_BLOB_INFO", "1");
        let dxf = dxf.args(["pull-blob", "-o", "file", "a", &name]);
        let running = dxf.current_dir(folder.path()).spawn();
        until("a temporary file with bytes", || {
            let name = names(folder.path()).pop();
            let at = name.map(|name| folder.path().join(name));
            at.and_then(|at| fs::metadata(at).ok())
                .is_some_and(|meta| meta.len() > 1000)
        });
        assert!(!file.exists());
        stop(running, signal);
        assert_eq!(names(folder.path()), [""; 0]);
        // What went to stdout is a beginning of the blob, and nothing else.
        let dxf = Dxf::new()
            .plain(&server.host())
            .args(["pull-blob", "a", &name]);
        let running = dxf.spawn();
        until("the second request", || {
            let seen = server.seen_at(GET, &path);
            seen.len() == 2 && seen[1].sent >= 1 << 20
        });
        let output = stop(running, signal);
        assert!(bytes.starts_with(&output.stdout));
    }
}

#[test]
fn waits_end_at_once() {
    for signal in SIGNALS {
        let busy = on(GET, "/v2/a/manifests/x").times(1).reply(503);
        let server = Server::script([
            busy.header("Retry-After", "50"),
            on(HEAD, "/v2/a/blobs/*").times(1).silent(),
        ]);
        let dxf = Dxf::new().plain(&server.host());
        let waiting = dxf.clone().args(["get-alias", "a", "x"]).spawn();
        until("the refusal", || server.count(GET, "*") == 1);
        stop(waiting, signal);
        let none = digest(b"none");
        let unanswered = dxf.args(["blob-size", "a", &none]).spawn();
        until("the question", || server.count(HEAD, "*") == 1);
        stop(unanswered, signal);
    }
}

#[test]
fn reading_from_others_ends_at_once() {
    for signal in SIGNALS {
        let (folder, store) = (scratch(), scratch());
        let place = format!("oci:{}", store.path().display());
        let dxf = Dxf::new().env("DXF_HOST", &place);
        let dxf = dxf.env("DXF_TMPDIR", folder.path()).stdin_stays();
        let spooling = dxf
            .clone()
            .args(["push-blob", "a", "-"])
            .stdin(blob(1, 1000))
            .spawn();
        wait_for_handlers(&spooling);
        stop(spooling, signal);
        assert_eq!(names(folder.path()), [""; 0]);
        // A named pipe without a reader.
        let pipe = store.path().join("pipe");
        let made = Command::new("mkfifo").arg(&pipe).status();
        assert!(made.is_ok_and(|status| status.success()));
        let reading = dxf.clone().args(["push-blob", "a"]).arg(&pipe).spawn();
        wait_for_handlers(&reading);
        stop(reading, signal);
        let manifest = dxf.args(["get-alias", "a"]).spawn();
        wait_for_handlers(&manifest);
        stop(manifest, signal);
        assert_eq!(names(folder.path()), [""; 0]);
        assert_eq!(names(store.path()), ["pipe"]);
    }
}

/// Until the command catches both signals; before, they end it their own way.
fn wait_for_handlers(running: &Running) {
    until("signal handlers", || catches_both(running.id()));
}

fn catches_both(process: u32) -> bool {
    const BOTH: u64 = 1 << (2 - 1) | 1 << (15 - 1);
    let status = fs::read_to_string(format!("/proc/{process}/status"));
    let status = status.unwrap_or_default();
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
    let caught = caught.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    caught.is_some_and(|mask| mask & BOTH == BOTH)
}

#[test]
fn a_second_signal_does_not_wait_for_the_farewell() {
    for (first, second) in [("INT", "INT"), ("TERM", "TERM"), ("INT", "TERM")] {
        let path = "/v2/a/blobs/uploads/1";
        let server = Server::script([
            on(HEAD, "/v2/a/blobs/*").reply(404),
            on(POST, "/v2/a/blobs/uploads/")
                .reply(202)
                .header("Location", "/v2/a/blobs/uploads/1"),
            on(PUT, path).stall_upload_after(1 << 20),
            on(DELETE, path).times(1).silent(),
        ]);
        let folder = scratch();
        let dxf = Dxf::new()
            .plain(&server.host())
            .env("DXF_TMPDIR", folder.path());
        let running = dxf
            .args(["push-blob", "a", "-"])
            .stdin(blob(1, 3 << 20))
            .spawn();
        until("the upload", || server.count(PUT, path) == 1);
        running.signal(first);
        until("the farewell", || server.count(DELETE, path) == 1);
        let begun = Instant::now();
        running.signal(second);
        let output = running.finish();
        assert!(begun.elapsed() < Duration::from_millis(500), "{output}");
        assert!(matches!(output.code, Some(130 | 143)), "{output}");
        assert_eq!(names(folder.path()), [""; 0]);
    }
}

#[test]
fn a_reader_that_leaves_ends_it_quietly() {
    let registry = Registry::http();
    let bytes = blob(1, 3 << 20);
    let name = registry.raw().push_blob("a", &bytes);
    let dxf = Dxf::new().plain(registry.host());
    dxf.clone().args(["set-alias", "a", "x", &name]).ok();
    let commands: [&[&str]; 5] = [
        &["pull-blob", "a", &name],
        &["pull-blob", "a", "@x", "@x"],
        &["get-alias", "a", "x"],
        &["list-aliases", "a"],
        &["show-env"],
    ];
    for args in commands {
        for taken in [0, 1] {
            let (mut reader, writer) = std::io::pipe().expect("a pipe");
            let stdout = File::from(OwnedFd::from(writer));
            let running = dxf.clone().args(args).stdout_to(stdout).spawn();
            let _ = reader.read_exact(&mut vec![0; taken]);
            drop(reader);
            let output = running.finish();
            assert_eq!(
                (output.code, output.stderr.as_str()),
                (Some(0), ""),
                "{output}"
            );
        }
    }
}

#[test]
fn a_full_disk_behind_stdout_is_a_failure() {
    let registry = Registry::http();
    let name = registry.raw().push_blob("a", &blob(1, 300_000));
    let dxf = Dxf::new().plain(registry.host());
    dxf.clone().args(["set-alias", "a", "x", &name]).ok();
    let commands: [&[&str]; 7] = [
        &["pull-blob", "a", &name],
        &["pull-blob", "-o", "/dev/full", "a", &name],
        &["push-blob", "a", "/dev/null"],
        &["get-alias", "a", "x"],
        &["get-manifest", "a", "x"],
        &["list-aliases", "a"],
        &["show-env"],
    ];
    for args in commands {
        let full = fs::OpenOptions::new().write(true).open("/dev/full");
        let dxf = dxf.clone().stdout_to(full.expect("/dev/full"));
        dxf.args(args).fails(1).says("No space left");
    }
}

/// `ulimit -f` ends a program by a signal if the program does not mind it.
#[test]
fn a_limit_on_the_size_of_files_is_told_and_leaves_nothing() {
    let registry = Registry::http();
    let folder = scratch();
    let run = |words: &[&str], program: Dxf| {
        let dxf = program.plain(registry.host()).current_dir(folder.path());
        let dxf = dxf.env("DXF_CACHE", "0").env("DXF_TMPDIR", folder.path());
        dxf.args(words)
    };
    fs::write(folder.path().join("f"), blob(1, 300_000)).expect("a file");
    let name = digest(&blob(1, 300_000));
    run(&["push-blob", "a", "f", "@v1"], Dxf::new()).ok();
    run(&["push-files", "a", "v2", "f"], Dxf::new()).ok();
    run(
        &["edit-image", "scratch", "a:v3", "--add-path", "f:/f"],
        Dxf::new(),
    )
    .ok();
    run(&["save-bundle", "b.tar", "a:v2"], Dxf::new()).ok();
    let before = names(folder.path());
    let commands: [&[&str]; 8] = [
        &["pull-blob", "-o", "out", "a", &name],
        &["pull-files", "a", "v2", "-o", "out"],
        &["pull-image", "a:v3", "out"],
        &["get-layer", "a:v3", "0", "-o", "out"],
        &["export-image", "a:v3", "out"],
        &["save-bundle", "out", "a:v2"],
        &["load-bundle", "b.tar", "oci:out"],
        &["sync", &format!("{}/a", registry.host()), "oci:out"],
    ];
    for words in commands {
        let limited = "ulimit -f 200; exec \"$@\"";
        let shell = Dxf::foreign(Path::new("/bin/sh"));
        let shell = shell.args(["-c", limited, "sh", env!("CARGO_BIN_EXE_dxf")]);
        let output = run(words, shell).fails(1);
        let left = names(folder.path()).into_iter();
        let left: Vec<String> = left.filter(|name| !before.contains(name)).collect();
        let is_folder = matches!(words[0], "pull-files" | "load-bundle" | "sync");
        let may_stay = |name: &String| name.ends_with("out.partial") || is_folder && name == "out";
        assert!(left.iter().all(may_stay), "{left:?}: {output}");
        let output = output.says("File too large");
        // That has a line for each alias, and no hints.
        assert!(
            words[0] == "sync" || output.stderr.contains("ulimit -f"),
            "{output}"
        );
        let out = folder.path().join("out");
        let _ = fs::remove_dir_all(&out);
        let _ = fs::remove_file(folder.path().join("out.partial"));
    }
}

#[test]
fn a_crash_leaves_no_core_with_passwords_in_it() {
    use std::os::unix::process::ExitStatusExt;
    // SIGABRT ends a program with a core dump, where those are allowed. (So
    // does SIGQUIT, but a shell's background jobs are born ignoring that.)
    let abort = |program: &str, args: &[&str]| {
        let folder = scratch();
        let mut child = Command::new("/bin/sh")
            .args(["-c", "ulimit -c unlimited; exec \"$@\"", "sh", program])
            .args(args)
            .current_dir(folder.path())
            .env("DXF_HOST", "oci:store")
            .env("DXF_TMPDIR", folder.path())
            .stdin(std::process::Stdio::piped())
            .stderr(std::process::Stdio::null())
            .spawn()
            .expect("a shell");
        let name = Path::new(program).file_name().expect("a name");
        until("the program", || {
            let comm = fs::read_to_string(format!("/proc/{}/comm", child.id()));
            let runs = comm.is_ok_and(|comm| Some(comm.trim()) == name.to_str());
            runs && (name == "cat" || catches_both(child.id()))
        });
        assert!(signal("ABRT", child.id()));
        let status = child.wait().expect("its end");
        assert_eq!(status.signal(), Some(6));
        (status.core_dumped(), names(folder.path()))
    };
    let (dumped, left) = abort(env!("CARGO_BIN_EXE_dxf"), &["push-blob", "a", "-"]);
    assert!(
        !dumped && !left.iter().any(|name| name.contains("core")),
        "{left:?}"
    );
    println!("another program would have: {}", abort("/bin/cat", &[]).0);
}
