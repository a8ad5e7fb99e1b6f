//! `load-bundle -`: a bundle that is loaded while it arrives.

use std::io::Write;
use std::path::Path;

use crate::support::data::blob;
use crate::support::dxf::{Dxf, Output};
use crate::support::peers::each_server;
use crate::support::registry::Registry;
use crate::support::scratch;

/// An alias `team/app:v1` of six parts of 4 MiB and one small one; a bundle of it.
fn bundle(registry: &Registry, folder: &Path) -> Vec<u8> {
    let run = || Dxf::new().plain(registry.host()).current_dir(folder);
    std::fs::write(folder.join("f"), blob(1, (24 << 20) + 1000)).expect("a file");
    let push = ["push-blob", "--split", "4MiB", "--min-size", "0"];
    run().args(push).args(["team/app", "f", "@v1"]).ok();
    run().args(["save-bundle", "-", "team/app:v1"]).ok().stdout
}

/// `load-bundle -` where no file gets larger than 8 MiB.
fn load(to: &str, bytes: &[u8], folder: &Path) -> Dxf {
    let host = to.split('/').next().unwrap_or_default();
    let words = format!(
        "ulimit -f 16384; {} load-bundle - {to}",
        env!("CARGO_BIN_EXE_dxf")
    );
    let sh = Dxf::foreign(Path::new("/bin/sh")).args(["-c", &words]);
    sh.plain(host).env("DXF_TMPDIR", folder).stdin(bytes)
}

/// The blobs that a load says it sent.
fn sent(output: &Output) -> usize {
    let last = output.lines().last().copied().unwrap_or_default();
    let count = last.split(' ').next().unwrap_or_default();
    count.parse().unwrap_or_else(|_| panic!("{output}"))
}

each_server!(blobs_are_sent_as_they_arrive, |target| {
    let (one, work) = (Registry::http(), scratch());
    let bytes = bundle(&one, work.path());
    let raw = target.raw();
    // Broken off in the fourth blob: what came is kept, and no tag is set.
    let half = &bytes[..bytes.len() / 2 + 1000];
    let cut = load(target.host(), half, work.path()).fails(65);
    assert!(
        cut.stderr.contains("standard input: it is cut short"),
        "{cut}"
    );
    assert!(raw.tags("team/app").is_empty());
    let mut running = load(target.host(), &bytes, work.path()).spawn();
    let peak = running.peak();
    let loaded = running.finish();
    assert!((1..6).contains(&sent(&loaded)), "{loaded}");
    assert_eq!(loaded.stderr, "");
    assert!(peak < 32 << 10, "{peak} KiB");
    assert_eq!(raw.tags("team/app"), ["v1"]);
    let host = Dxf::new().plain(target.host());
    let pulled = host.args(["pull-blob", "team/app", "@v1"]).ok();
    assert!(pulled.stdout == blob(1, (24 << 20) + 1000));
});

#[test]
fn a_stream_goes_into_a_folder_and_comes_from_a_named_pipe() {
    let (one, work) = (Registry::http(), scratch());
    let bytes = bundle(&one, work.path());
    let pipe = work.path().join("pipe");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status();
    assert!(made.expect("mkfifo").success());
    let to = format!("oci:{}/store", work.path().display());
    let load = Dxf::new()
        .args(["load-bundle", "--dry-run"])
        .arg(&pipe)
        .arg(&to);
    let write = |load: Dxf| {
        let running = load.spawn();
        let mut pipe = std::fs::File::create(&pipe).expect("a pipe");
        pipe.write_all(&bytes).expect("a reader");
        drop(pipe);
        running.finish()
    };
    let dry = write(load);
    assert!(dry.text().ends_with("8 blobs, 24.0 MiB to send\n"), "{dry}");
    assert!(!work.path().join("store").exists());
    let load = Dxf::new().arg("load-bundle").arg(&pipe).arg(&to);
    assert_eq!(sent(&write(load)), 8);
    let at = Dxf::new().env("DXF_HOST", &to);
    let pulled = at.args(["pull-blob", "team/app", "@v1"]).ok();
    assert!(pulled.stdout == blob(1, (24 << 20) + 1000));
}

#[test]
fn what_cannot_be_loaded_as_it_arrives_is_stored_first() {
    let (one, far, work) = (Registry::http(), Registry::http(), scratch());
    let run = || Dxf::new().plain(one.host()).current_dir(work.path());
    bundle(&one, work.path());
    let save = ["save-bundle", "--part-size", "64MiB", "b", "team/app:v1"];
    run().args(save).ok();
    let part = std::fs::read(work.path().join("b.001")).expect("a part");
    let refused = load(far.host(), &part, work.path()).run();
    assert!(refused.code != Some(0), "{refused}");
    let load = run().args(["load-bundle", "-", far.host()]).stdin(part);
    let loaded = load.env("DXF_TMPDIR", work.path()).ok();
    assert!(
        loaded.stderr.contains("standard input is stored in "),
        "{loaded}"
    );
    assert!(
        loaded.stderr.contains("it is a part of a bundle"),
        "{loaded}"
    );
    assert_eq!(sent(&loaded), 8);
    // Nothing of a broken one is taken for a bundle.
    for (bytes, code) in [(&b""[..], 65), (b"PK\x03\x04", 65), (b"no bundle", 65)] {
        let load = run().args(["load-bundle", "-", far.host()]).stdin(bytes);
        load.fails(code).says("standard input");
    }
}
