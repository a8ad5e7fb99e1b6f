//! Blobs that are stored whole although the way there breaks, in one request
//! where the registry takes that.

use std::time::{Duration, Instant};

use crate::support::bench::each_registry;
use crate::support::data::{blob, digest};
use crate::support::dxf::push;
use crate::support::memory::{Memory, complaint};
use crate::support::registry::Registry;
use crate::support::rules::{DELETE, GET, HEAD, PATCH, POST, PUT, on};
use crate::support::server::Server;
use crate::support::{file, scratch};

const MIB: usize = 1 << 20;
const UPLOADS: &str = "/v2/a/blobs/uploads/*";

each_registry!(one_put_carries_the_whole_body, |reg| {
    let bytes = blob(1, 3 * MIB);
    let folder = scratch();
    let file = file(folder.path(), &bytes);
    let pushed = reg.dxf().args(["push-blob", "a", &file]).ok();
    assert_eq!(pushed.text(), digest(&bytes) + "\n");
    let seen = reg.requests();
    let methods: Vec<&str> = seen.iter().map(|one| one.method.as_str()).collect();
    assert_eq!(methods, [HEAD, POST, PUT]);
    // An empty body says so, and a known length is never sent in pieces.
    assert_eq!(seen[1].headers.get("content-length"), Some("0"));
    let length = bytes.len().to_string();
    assert_eq!(seen[2].headers.get("content-length"), Some(length.as_str()));
    assert!(
        seen.iter()
            .all(|one| one.headers.get("transfer-encoding").is_none())
    );
    assert!(reg.raw().blob("a", &digest(&bytes)).expect(200).body == bytes);
    assert_eq!(reg.registry.open_uploads("a"), 0);
    // Existing blobs are not sent again.
    reg.dxf().args(["push-blob", "a", &file]).ok();
    assert_eq!(reg.requests().len(), 1);
});

#[test]
fn an_empty_blob_is_stored() {
    let registry = Registry::http();
    let server = Server::before(&registry, []);
    let folder = scratch();
    let pushed = push(&server, &file(folder.path(), b"")).ok();
    assert_eq!(pushed.text(), digest(b"") + "\n");
    assert!(registry.raw().has_blob("a", &digest(b"")));
    let put = &server.seen_at(PUT, UPLOADS)[0];
    assert_eq!(put.headers.get("content-length"), Some("0"));
    // In chunks there is nothing to cut.
    let memory = Memory::new();
    let server = Server::script(memory.rules());
    push(&server, &file(folder.path(), b""))
        .env("DXF_UPLOAD", "1MiB")
        .ok();
    assert!(memory.holds(b"") && server.count(PATCH, "*") == 0);
}

#[test]
fn a_put_reset_anywhere_is_sent_again_whole() {
    let registry = Registry::http();
    let folder = scratch();
    for (seed, at) in [0, 1, 65_536, MIB as u64, 2 * MIB as u64 - 1]
        .into_iter()
        .enumerate()
    {
        let bytes = blob(seed as u64, 2 * MIB);
        let server = Server::before(&registry, [on(PUT, UPLOADS).times(1).reset_after(at)]);
        push(&server, &file(folder.path(), &bytes)).ok();
        assert!(registry.raw().blob("a", &digest(&bytes)).expect(200).body == bytes);
        let puts = server.seen_at(PUT, UPLOADS);
        let lengths: Vec<_> = puts
            .iter()
            .map(|put| put.headers.get("content-length"))
            .collect();
        assert_eq!(lengths, [Some("2097152"), Some("2097152")]);
        assert_eq!(puts[1].body_len, bytes.len() as u64);
        assert_ne!(
            puts[0].path, puts[1].path,
            "a session is used for one PUT only"
        );
        // This registry does not find a session again whose answer was missed,
        // but it was told.
        assert_eq!(server.seen_at(DELETE, UPLOADS)[0].path, puts[0].path);
    }
}

#[test]
fn a_stalled_put_is_sent_again() {
    let registry = Registry::http();
    let folder = scratch();
    let bytes = blob(7, 32 * MIB);
    let server = Server::before(
        &registry,
        [on(PUT, UPLOADS).times(1).stall_upload_after(MIB as u64)],
    );
    let started = Instant::now();
    push(&server, &file(folder.path(), &bytes))
        .env("DXF_TIMEOUT", "0.5")
        .ok();
    assert!(started.elapsed() < Duration::from_secs(20));
    assert!(registry.raw().has_blob("a", &digest(&bytes)));
}

#[test]
fn a_registry_slow_to_commit_is_waited_for() {
    let memory = Memory::new();
    let late = on(PUT, UPLOADS).times(1).delay(Duration::from_millis(1500));
    let commit = late.reply(201);
    let server = Server::script([commit].into_iter().chain(memory.rules()));
    let folder = scratch();
    let bytes = blob(8, 1000);
    push(&server, &file(folder.path(), &bytes))
        .env("DXF_TIMEOUT", "0.5")
        .ok();
    assert_eq!(server.count(PUT, UPLOADS), 1);
}

#[test]
fn after_a_lost_answer_head_decides() {
    let registry = Registry::http();
    let folder = scratch();
    let bytes = blob(9, MIB);
    let server = Server::before(&registry, [on(PUT, UPLOADS).times(1).lose_answer()]);
    let pushed = push(&server, &file(folder.path(), &bytes)).ok();
    assert_eq!(pushed.text(), digest(&bytes) + "\n");
    assert_eq!(
        (server.count(PUT, UPLOADS), server.count(HEAD, "*")),
        (1, 2)
    );
}

#[test]
fn after_a_commit_that_failed_because_another_came_first_head_decides() {
    let folder = scratch();
    let bytes = blob(10, 1000);
    let blobs = format!("/v2/a/blobs/{}", digest(&bytes));
    for status in [400, 404, 409, 500, 504] {
        let memory = Memory::new();
        memory.put(&bytes);
        let server = Server::script(
            [
                on(HEAD, &blobs).times(1).reply(404),
                on(PUT, UPLOADS).times(1).reply(status),
            ]
            .into_iter()
            .chain(memory.rules()),
        );
        push(&server, &file(folder.path(), &bytes)).ok();
        assert_eq!(server.count(POST, UPLOADS), 1, "{status}");
    }
}

#[test]
fn a_session_that_died_before_its_put_is_begun_again() {
    let folder = scratch();
    let bytes = blob(11, 1000);
    let memory = Memory::new();
    let gone = on(PUT, UPLOADS).times(2).reply(404);
    let gone = gone.body(complaint("BLOB_UPLOAD_UNKNOWN", "upload unknown"));
    let server = Server::script([gone].into_iter().chain(memory.rules()));
    push(&server, &file(folder.path(), &bytes)).ok();
    assert!(memory.holds(&bytes) && memory.begun() == 3);
    // A registry that forgets every session is believed in the end.
    let memory = Memory::new();
    let gone = on(PUT, UPLOADS).reply(404);
    let server = Server::script([gone].into_iter().chain(memory.rules()));
    push(&server, &file(folder.path(), &bytes)).fails(2);
    assert_eq!(memory.begun(), 4);
}

#[test]
fn a_refused_upload_cancels_its_session() {
    let folder = scratch();
    let bytes = blob(12, 1000);
    for status in [400, 403, 409, 501] {
        let memory = Memory::new();
        let refused = on(PUT, UPLOADS).times(1).reply(status);
        let server = Server::script([refused].into_iter().chain(memory.rules()));
        push(&server, &file(folder.path(), &bytes)).run();
        assert_eq!((memory.open(), memory.cancelled()), (0, 1), "{status}");
        let delete = server.seen_at(DELETE, UPLOADS);
        assert_eq!(delete[0].path, "/v2/a/blobs/uploads/session-1");
    }
}

#[test]
fn an_interrupted_upload_cancels_its_session() {
    let folder = scratch();
    let bytes = blob(13, 32 * MIB);
    for (signal, code) in [("INT", 130), ("TERM", 143)] {
        let memory = Memory::new();
        let stuck = on(PUT, UPLOADS).times(1).stall_upload_after(MIB as u64);
        let server = Server::script([stuck].into_iter().chain(memory.rules()));
        let running = push(&server, &file(folder.path(), &bytes)).spawn();
        let until = Instant::now() + Duration::from_secs(20);
        while server
            .seen_at(PUT, UPLOADS)
            .first()
            .is_none_or(|put| put.body_len < MIB as u64)
        {
            assert!(Instant::now() < until);
            std::thread::sleep(Duration::from_millis(2));
        }
        let asked = Instant::now();
        running.signal(signal);
        assert_eq!(running.finish().code, Some(code));
        assert!(asked.elapsed() < Duration::from_secs(2));
        assert_eq!((memory.open(), memory.cancelled()), (0, 1));
    }
}

#[test]
fn a_file_that_shrinks_on_the_way_is_an_error_and_no_blob() {
    let folder = scratch();
    let bytes = blob(14, 32 * MIB);
    let name = file(folder.path(), &bytes);
    let memory = Memory::new();
    let path = name.clone();
    // The file shrinks when it is known and hashed, before it is opened again.
    let begin = on(POST, UPLOADS).times(1).with(move |request| {
        let file = std::fs::OpenOptions::new().write(true).open(&path);
        file.and_then(|file| file.set_len(MIB as u64))
            .expect("a shorter file");
        let location = format!("{}session-x", request.path);
        crate::support::rules::Response::new(202).header("Location", &location)
    });
    let server = Server::script([begin].into_iter().chain(memory.rules()));
    let failed = push(&server, &name).fails(1).says("changed");
    assert!(failed.stdout.is_empty());
    assert_eq!(server.count(PUT, UPLOADS), 0);
}

#[test]
fn a_file_that_changes_while_it_is_sent_is_an_error_and_no_blob() {
    let folder = scratch();
    for shrinks in [false, true] {
        let bytes = blob(15, 24 * MIB);
        let name = file(folder.path(), &bytes);
        let registry = Registry::http();
        let server = Server::before(
            &registry,
            [on(PUT, UPLOADS).delay(Duration::from_millis(1))],
        );
        server.add_first([on(PUT, UPLOADS).times(1).stall_upload_after(4 * MIB as u64)]);
        let running = push(&server, &name).env("DXF_TIMEOUT", "0.5").spawn();
        let until = Instant::now() + Duration::from_secs(20);
        while server.seen_at(PUT, UPLOADS).is_empty() {
            assert!(Instant::now() < until);
            std::thread::sleep(Duration::from_millis(2));
        }
        let open = std::fs::OpenOptions::new()
            .write(true)
            .open(&name)
            .expect("the file");
        if shrinks {
            open.set_len(5 * MIB as u64).expect("a shorter file");
        } else {
            std::os::unix::fs::FileExt::write_all_at(&open, b"other", 23 * MIB as u64)
                .expect("another file");
        }
        drop(open);
        let failed = running.finish();
        assert!(matches!(failed.code, Some(1 | 65)), "{failed}");
        assert!(failed.stdout.is_empty() && failed.stderr.starts_with("dxf: "));
        assert!(!registry.raw().has_blob("a", &digest(&bytes)));
    }
}

#[test]
fn bytes_that_are_not_what_they_were_are_refused_by_the_registry_and_by_us() {
    let folder = scratch();
    let bytes = blob(16, 1000);
    let other = digest(&blob(17, 1000));
    // A registry that says it stored something else is not believed.
    let memory = Memory::new();
    let lies = on(PUT, UPLOADS)
        .reply(201)
        .header("Docker-Content-Digest", &other);
    let server = Server::script([lies].into_iter().chain(memory.rules()));
    push(&server, &file(folder.path(), &bytes))
        .fails(65)
        .says("digest mismatch");
}

#[test]
fn standard_input_is_sent_again_too() {
    let registry = Registry::http();
    let server = Server::before(&registry, [on(PUT, UPLOADS).times(1).reset_after(1000)]);
    let bytes = blob(18, 3 * MIB);
    push(&server, "-").stdin(bytes.clone()).ok();
    assert!(registry.raw().blob("a", &digest(&bytes)).expect(200).body == bytes);
}

#[test]
fn a_registry_that_cannot_be_asked_is_pushed_to_all_the_same() {
    let folder = scratch();
    let bytes = blob(19, 1000);
    for status in [400, 403, 405, 501] {
        let memory = Memory::new();
        let silent = "/v2/a/blobs/sha256:*";
        let server = Server::script(
            [
                on(HEAD, silent).reply(status),
                on(GET, silent).reply(status),
            ]
            .into_iter()
            .chain(memory.rules()),
        );
        push(&server, &file(folder.path(), &bytes)).ok();
        assert!(memory.holds(&bytes), "{status}");
    }
}

#[test]
fn a_redirected_put_carries_its_whole_body_there() {
    let folder = scratch();
    let bytes = blob(20, 3 * MIB);
    for status in [307, 308] {
        let store = Server::stranger([on(PUT, "/kept").times(1).reply(201)]);
        let location = format!("http://{}/kept?sig=x", store.localhost());
        let memory = Memory::new();
        let away = on(PUT, UPLOADS)
            .times(1)
            .reply(status)
            .header("Location", &location);
        let server = Server::script([away].into_iter().chain(memory.rules()));
        push(&server, &file(folder.path(), &bytes)).ok();
        assert_eq!(store.taken(), bytes.len() as u64);
    }
}
