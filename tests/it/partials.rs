//! `pull-blob -o FILE` across runs: what lies in `FILE.partial` is gone on with.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::support::data::{blob, digest};
use crate::support::dxf::{Dxf, Running};
use crate::support::registry::Registry;
use crate::support::rules::{GET, HEAD, Rule, on};
use crate::support::scratch;
use crate::support::server::Server;

const MIB: usize = 1 << 20;

fn path(bytes: &[u8]) -> String {
    format!("/v2/a/blobs/{}", digest(bytes))
}

fn served(bytes: &[u8]) -> Rule {
    on(GET, &path(bytes)).serve(bytes)
}

fn pull(server: &Server, folder: &Path, blobs: &[&[u8]]) -> Dxf {
    Dxf::new()
        .plain(&server.host())
        .args(["pull-blob", "a", "-o", "file"])
        .args(blobs.iter().map(|bytes| digest(bytes)))
        .current_dir(folder)
        .env("DXF_JOBS", "1")
}

fn partial(folder: &Path) -> PathBuf {
    folder.join("file.partial")
}

fn len(path: &Path) -> u64 {
    std::fs::metadata(path).map_or(0, |meta| meta.len())
}

/// Waits until so many bytes are in the partial file, then ends the process
/// the hard way.
fn kill_at(running: Running, partial: &Path, bytes: u64) {
    let until = Instant::now() + Duration::from_secs(30);
    while len(partial) < bytes {
        assert!(Instant::now() < until, "{} of {bytes}", len(partial));
        std::thread::sleep(Duration::from_millis(2));
    }
    running.signal("KILL");
    assert_eq!(running.finish().signal, Some(9));
}

#[test]
fn killed_at_half_and_run_again_fetches_the_other_half_only() {
    let bytes = blob(1, 200 * MIB);
    let half = bytes.len() as u64 / 2;
    let folder = scratch();
    let server = Server::script([
        served(&bytes).times(1).stall_after(half),
        on(HEAD, &path(&bytes)).times(1).serve(&bytes[..]),
        served(&bytes).range(&format!("bytes={half}-")).times(1),
    ]);
    let running = pull(&server, folder.path(), &[&bytes]).spawn();
    kill_at(running, &partial(folder.path()), half);
    assert!(!folder.path().join("file").exists());
    let before = server.sent();
    pull(&server, folder.path(), &[&bytes]).ok();
    assert_eq!(server.sent() - before, bytes.len() as u64 - half);
    assert!(std::fs::read(folder.path().join("file")).expect("the file") == bytes);
    assert!(!partial(folder.path()).exists());
}

#[test]
fn killed_in_the_second_of_three_blobs_the_first_is_not_fetched_again() {
    let blobs = [blob(2, 2 * MIB), blob(3, 4 * MIB), blob(4, MIB)];
    let [first, second, third] = [&blobs[0][..], &blobs[1][..], &blobs[2][..]];
    let all = [first, second, third];
    let folder = scratch();
    let server = Server::script([
        served(first).times(1),
        served(second).times(1).stall_after(2 * MIB as u64),
        on(HEAD, "/v2/a/blobs/*").times(1).serve(first),
        on(HEAD, "/v2/a/blobs/*").times(1).serve(second),
        served(second)
            .range(&format!("bytes={}-", 2 * MIB))
            .times(1),
        served(third).times(1),
    ]);
    let running = pull(&server, folder.path(), &all).spawn();
    kill_at(running, &partial(folder.path()), 4 * MIB as u64);
    pull(&server, folder.path(), &all).ok();
    assert!(std::fs::read(folder.path().join("file")).expect("the file") == blobs.concat());
}

#[test]
fn a_failed_run_leaves_its_partial_and_an_interrupted_one_too() {
    let bytes = blob(5, 2 * MIB);
    let folder = scratch();
    let server = Server::script([
        served(&bytes).times(1).cut_after(MIB as u64),
        on(GET, &path(&bytes)).times(1).reply(403),
        on(HEAD, &path(&bytes)).serve(&bytes[..]),
        served(&bytes).times(1).stall_after(MIB as u64 / 2),
        served(&bytes).times(1),
    ]);
    pull(&server, folder.path(), &[&bytes]).fails(1);
    let held = len(&partial(folder.path()));
    assert!(held > 0 && held <= MIB as u64, "{held}");
    let running = pull(&server, folder.path(), &[&bytes]).spawn();
    let until = Instant::now() + Duration::from_secs(30);
    while len(&partial(folder.path())) <= held && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(2));
    }
    running.signal("INT");
    assert_eq!(running.finish().code, Some(130));
    pull(&server, folder.path(), &[&bytes]).ok();
    let asked = server.seen_at(GET, "*");
    let range = |at: usize| asked[at].headers.get("range").map(str::to_string);
    assert_eq!(range(2), Some(format!("bytes={held}-")));
    assert_ne!((range(3), range(3)), (range(2), None));
    assert!(std::fs::read(folder.path().join("file")).expect("the file") == bytes);
}

#[test]
fn a_damaged_partial_is_begun_again() {
    let bytes = blob(6, 2 * MIB);
    let folder = scratch();
    let mut damaged = bytes[..MIB].to_vec();
    damaged[7] ^= 1;
    let too_long = blob(7, 3 * MIB);
    for held in [damaged, too_long, blob(8, 2 * MIB), bytes[..1].to_vec()] {
        let server = Server::script([
            on(HEAD, &path(&bytes)).times(1).serve(&bytes[..]),
            served(&bytes),
        ]);
        std::fs::write(partial(folder.path()), &held).expect("a partial");
        pull(&server, folder.path(), &[&bytes]).ok();
        assert!(std::fs::read(folder.path().join("file")).expect("the file") == bytes);
        assert!(!partial(folder.path()).exists());
    }
}

#[test]
fn a_partial_that_is_whole_needs_no_bytes() {
    let bytes = blob(9, MIB);
    let folder = scratch();
    std::fs::write(partial(folder.path()), &bytes).expect("a partial");
    let server = Server::script([on(HEAD, &path(&bytes)).times(1).serve(&bytes[..])]);
    pull(&server, folder.path(), &[&bytes]).ok();
    assert!(std::fs::read(folder.path().join("file")).expect("the file") == bytes);
}

#[test]
fn a_server_that_ignores_the_range_of_a_second_run_is_skipped_through() {
    let bytes = blob(10, MIB);
    let folder = scratch();
    std::fs::write(partial(folder.path()), &bytes[..300_000]).expect("a partial");
    let server = Server::script([
        on(HEAD, &path(&bytes)).times(1).serve(&bytes[..]),
        on(GET, &path(&bytes)).times(1).reply(200).body(&bytes[..]),
    ]);
    pull(&server, folder.path(), &[&bytes]).ok();
    assert!(std::fs::read(folder.path().join("file")).expect("the file") == bytes);
}

#[test]
fn an_older_file_stays_until_the_new_one_is_whole() {
    let bytes = blob(11, MIB);
    let folder = scratch();
    std::fs::write(folder.path().join("file"), "old").expect("a file");
    let server = Server::script([
        served(&bytes).times(1).cut_after(300_000),
        on(GET, &path(&bytes)).times(1).reply(404),
        on(HEAD, &path(&bytes)).times(1).serve(&bytes[..]),
        served(&bytes).times(1),
    ]);
    pull(&server, folder.path(), &[&bytes]).fails(2);
    assert_eq!(
        std::fs::read(folder.path().join("file")).expect("a file"),
        b"old"
    );
    pull(&server, folder.path(), &[&bytes]).ok();
    assert!(std::fs::read(folder.path().join("file")).expect("the file") == bytes);
}

#[test]
fn of_many_files_killed_at_half_only_the_rest_is_fetched() {
    const COUNT: usize = 24;
    let size = MIB;
    let (registry, files) = (Registry::http(), scratch());
    let name = |n: usize| format!("d/{n:02}");
    std::fs::create_dir(files.path().join("d")).unwrap();
    for n in 0..COUNT {
        std::fs::write(files.path().join(name(n)), blob(n as u64, size)).unwrap();
    }
    let dxf = |host: &str| Dxf::new().plain(host).current_dir(files.path());
    let push = dxf(registry.host()).args(["push-files", "a", "v1"]);
    push.args((0..COUNT).map(name)).ok();
    // Half of the files come, and half of each of the four after them.
    let stalls = (COUNT / 2..COUNT / 2 + 4).map(|n| {
        let served = served(&blob(n as u64, size)).times(1);
        served.stall_after(size as u64 / 2)
    });
    let front = Server::before(&registry, stalls);
    let pull = || {
        let pull = dxf(&front.host()).args(["pull-files", "a", "v1", "-o", "out"]);
        pull.env("DXF_JOBS", "4")
    };
    let out = files.path().join("out");
    let last = out.join(format!("{}.partial", name(COUNT / 2 + 3)));
    let running = pull().spawn();
    let held = || {
        let file = |n| len(&out.join(name(n))) + len(&out.join(name(n) + ".partial"));
        (0..COUNT).map(file).sum::<u64>()
    };
    let half = (COUNT / 2 * size + 4 * size / 2) as u64;
    let until = Instant::now() + Duration::from_secs(30);
    while held() < half {
        assert!(Instant::now() < until, "{} of {half}", held());
        std::thread::sleep(Duration::from_millis(2));
    }
    kill_at(running, &last, size as u64 / 2);
    let before = front.sent();
    let fetched = pull().ok();
    let again = front.sent() - before;
    let rest = (COUNT * size) as u64 - half;
    // And the manifest.
    assert!((rest..rest + 40_000).contains(&again), "{again} of {rest}");
    assert_eq!(fetched.lines().len(), COUNT / 2);
    for n in 0..COUNT {
        assert!(std::fs::read(out.join(name(n))).unwrap() == blob(n as u64, size));
    }
    assert_eq!(std::fs::read_dir(out.join("d")).unwrap().count(), COUNT);
}

#[test]
fn a_folder_killed_at_half_fetches_the_rest_and_a_damaged_one_is_begun_again() {
    let (registry, files) = (Registry::http(), scratch());
    std::fs::create_dir(files.path().join("d")).unwrap();
    for n in 0..4 {
        std::fs::write(files.path().join(format!("d/{n}")), blob(n, MIB)).unwrap();
    }
    let dxf = |host: &str| Dxf::new().plain(host).current_dir(files.path());
    let push = dxf(registry.host()).args(["push-files", "a", "v1", "d"]);
    push.ok();
    let listed = dxf(registry.host()).args(["get-manifest", "a", "v1"]);
    let layer = listed.ok().json()["layers"][0].clone();
    let (digest, size) = (
        layer["digest"].as_str().unwrap(),
        layer["size"].as_u64().unwrap(),
    );
    let half = 2 * MIB as u64;
    let place = format!("/v2/a/blobs/{digest}");
    let bytes = registry.raw().blob("a", digest).body;
    let stalls = on(GET, &place).serve(&bytes[..]).times(1).stall_after(half);
    let front = Server::before(&registry, [stalls]);
    let left = files
        .path()
        .join("out")
        .join(format!(".d.{}.layer.partial", &digest[7..19]));
    let pull = || {
        let pull = dxf(&front.host()).env("DXF_JOBS", "1");
        pull.args(["pull-files", "a", "v1", "-o", "out"])
    };
    kill_at(pull().spawn(), &left, half);
    assert!(!files.path().join("out/d").exists());
    let held = len(&left);
    let before = front.sent();
    pull().ok();
    assert!(
        front.sent() - before < size - held + 10_000,
        "{} of {size}",
        front.sent() - before
    );
    let same = |n: usize| std::fs::read(files.path().join(format!("out/d/{n}"))).unwrap();
    assert!((0..4).all(|n| same(n) == blob(n as u64, MIB)));
    let names = || {
        let all = std::fs::read_dir(files.path().join("out")).unwrap();
        all.map(|one| one.unwrap().file_name()).collect::<Vec<_>>()
    };
    assert_eq!(names(), ["d"]);
    // What was unpacked from wrong bytes is thrown away.
    std::fs::remove_dir_all(files.path().join("out/d")).unwrap();
    for (at, len) in [
        (5, half as usize),
        (100_000, half as usize),
        (0, bytes.len()),
    ] {
        let mut damaged = bytes[..len].to_vec();
        damaged[at] ^= 1;
        std::fs::write(&left, damaged).unwrap();
        pull().ok();
        assert!((0..4).all(|n| same(n) == blob(n as u64, MIB)));
        assert_eq!(names(), ["d"]);
        std::fs::remove_dir_all(files.path().join("out/d")).unwrap();
    }
}
