//! Blobs go in and come out, on a registry of each kind and on a folder: what
//! is printed, what exists afterwards, and what the server was asked.

use crate::support::bench::Mode;
use crate::support::data::{blob, digest};
use crate::support::place::{Place, each_place};
use crate::support::rules::{POST, Request, Response, on};

/// The request lines of an upload into `repo`: the session's address is its own.
fn sent(at: &Place, repo: &str, digest: &str, more: &[&str]) {
    let Some(bench) = &at.bench else { return };
    let lines = bench.request_lines();
    let session = format!("PUT /v2/{repo}/blobs/uploads/");
    assert_eq!(lines.len(), 3 + more.len(), "{lines:?}");
    assert_eq!(lines[0], format!("HEAD /v2/{repo}/blobs/{digest}"));
    assert_eq!(lines[1], format!("POST /v2/{repo}/blobs/uploads/"));
    assert!(lines[2].starts_with(&session), "{lines:?}");
    assert_eq!(lines[3..], *more);
}

each_place!(push_blob_sends_what_is_new_and_nothing_else, |at| {
    let bytes = blob(1, 300_000);
    let (file, name) = (at.file(&bytes), digest(&bytes));
    assert_eq!(
        at.says(["push-blob", "team/data", &file]),
        format!("{name}\n")
    );
    sent(at, "team/data", &name, &[]);
    assert!(at.has_blob("team/data", &name));
    assert_eq!(
        std::fs::read(at.blob_file("team/data", &name)).unwrap(),
        bytes
    );
    // It is there now.
    assert_eq!(
        at.says(["push-blob", "team/data", &file]),
        format!("{name}\n")
    );
    at.asked([format!("HEAD /v2/team/data/blobs/{name}")]);
    assert_eq!(at.open_uploads("team/data"), 0);
    assert!(at.tags("team/data").is_empty());
});

each_place!(push_blob_with_an_alias_names_it_too, |at| {
    let bytes = blob(2, 70_000);
    let (file, name) = (at.file(&bytes), digest(&bytes));
    let line = format!("{name}\n");
    assert_eq!(at.says(["push-blob", "a", &file, "@new"]), line);
    sent(at, "a", &name, &["PUT /v2/a/manifests/new"]);
    assert_eq!(at.says(["push-blob", "a", &file, "@other"]), line);
    at.asked([
        format!("HEAD /v2/a/blobs/{name}"),
        "PUT /v2/a/manifests/other".into(),
    ]);
    assert_eq!(at.tags("a"), ["new", "other"]);
    assert_eq!(at.manifest("a", "new"), at.manifest("a", "other"));
});

each_place!(push_blob_reads_standard_input, |at| {
    let bytes = blob(3, 200_000);
    let pushed = at
        .run(["push-blob", "a", "-", "@in"])
        .stdin(bytes.clone())
        .ok();
    assert_eq!(pushed.text(), digest(&bytes) + "\n");
    assert_eq!(at.run(["pull-blob", "a", "@in"]).ok().stdout, bytes);
    // Nothing at all is a blob as well.
    let empty = at.run(["push-blob", "a", "-"]).ok();
    assert_eq!(empty.text(), digest(b"") + "\n");
    assert_eq!(at.run(["pull-blob", "a", &digest(b"")]).ok().stdout, b"");
    assert_eq!(at.says(["blob-size", "a", &digest(b"")]), "0\n");
});

each_place!(pull_blob_gives_blobs_in_the_order_asked, |at| {
    let (one, two) = (blob(4, 100_000), blob(5, 2_500_000));
    let (first, second) = (at.put("a", &one), at.put("a", &two));
    at.says(["set-alias", "a", "both", &second, &first]);
    at.forget();
    assert_eq!(at.run(["pull-blob", "a", &first]).ok().stdout, one);
    at.asked([format!("GET /v2/a/blobs/{first}")]);
    assert!(at.run(["pull-blob", "a", "@both"]).ok().stdout == [&two[..], &one].concat());
    at.asked([
        "GET /v2/a/manifests/both".into(),
        format!("GET /v2/a/blobs/{second}"),
        format!("GET /v2/a/blobs/{first}"),
    ]);
    let several = at.run(["pull-blob", "a", &first, "@both", &first]).ok();
    assert!(several.stdout == [&one[..], &two, &one, &one].concat());
    at.forget();
    // A manifest's own digest stands for it as well.
    let manifest = digest(&at.manifest("a", "both").unwrap());
    let by_digest = at.run(["pull-blob", "a", &format!("@{manifest}")]).ok();
    assert!(by_digest.stdout == [&two[..], &one].concat());
});

each_place!(pull_blob_reads_a_manifest_from_standard_input, |at| {
    let (one, two) = (blob(6, 1000), blob(7, 2000));
    let (first, second) = (at.put("a", &one), at.put("a", &two));
    let manifest = at.says(["set-alias", "a", "both", &first, &second]);
    at.forget();
    let pulled = at.run(["pull-blob", "a"]).stdin(manifest.clone()).ok();
    assert_eq!(pulled.stdout, [&one[..], &two].concat());
    at.asked([
        format!("GET /v2/a/blobs/{first}"),
        format!("GET /v2/a/blobs/{second}"),
    ]);
    let size = at.run(["blob-size", "a"]).stdin(manifest).ok();
    assert_eq!(size.text(), "3000\n");
    at.asked([] as [&str; 0]);
});

each_place!(pull_blob_writes_a_file_that_is_whole, |at| {
    let (one, two) = (blob(8, 3_000_000), blob(9, 1000));
    let (first, second) = (at.put("a", &one), at.put("a", &two));
    at.says(["set-alias", "a", "both", &first, &second]);
    at.forget();
    for words in [["-o", "out", "a", "@both"], ["a", "@both", "-o", "out"]] {
        assert_eq!(at.says([&["pull-blob"], &words[..]].concat()), "");
        let all = std::fs::read(at.work().join("out")).unwrap();
        assert!(all == [&one[..], &two].concat());
        assert_eq!(at.names(), ["out"]);
    }
    // `-` is standard output still.
    let piped = at.run(["pull-blob", "-o", "-", "a", &second]).ok();
    assert_eq!(piped.stdout, two);
    // An existing file is replaced as a whole, by a longer or a shorter one.
    assert_eq!(at.says(["pull-blob", "--output", "out", "a", &second]), "");
    assert_eq!(std::fs::read(at.work().join("out")).unwrap(), two);
});

#[test]
fn a_private_file_stays_private_when_it_is_replaced() {
    use std::os::unix::fs::PermissionsExt;
    let at = Place::folder();
    let name = at.put("a", b"abc");
    let old = at.file(b"old");
    let file = at.work().join(&old);
    std::fs::set_permissions(&file, PermissionsExt::from_mode(0o600)).unwrap();
    assert_eq!(at.says(["pull-blob", "a", &name, "-o", &old]), "");
    assert_eq!(std::fs::read(&file).unwrap(), b"abc");
    let mode = std::fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

each_place!(blob_info_stands_before_each_blob_even_in_a_pipe, |at| {
    let (first, second) = (at.put("a", b"abc"), at.put("a", b"hello\n"));
    at.says(["set-alias", "a", "both", &first, &second]);
    at.forget();
    let info = || at.dxf().env("DXF_BLOB_INFO", "1");
    let framed = format!("{first} 3\nabc{second} 6\nhello\n");
    assert_eq!(info().args(["pull-blob", "a", "@both"]).ok().text(), framed);
    at.asked([
        "GET /v2/a/manifests/both".into(),
        format!("GET /v2/a/blobs/{first}"),
        format!("GET /v2/a/blobs/{second}"),
    ]);
    let named = info().args(["pull-blob", "a", &first, &second]).ok();
    assert_eq!(named.text(), framed);
    assert_eq!(
        info()
            .args(["pull-blob", "a", "@both", "-o", "f"])
            .ok()
            .text(),
        ""
    );
    assert_eq!(
        std::fs::read(at.work().join("f")).unwrap(),
        framed.as_bytes()
    );
    // Nothing but 1 turns it on.
    let off = at.dxf().env("DXF_BLOB_INFO", "yes");
    assert_eq!(off.args(["pull-blob", "a", &first]).ok().text(), "abc");
});

each_place!(a_chunk_size_changes_no_byte, |at| {
    let bytes = blob(10, 1_300_000);
    let name = at.put("a", &bytes);
    for size in ["7", "8192", "64KiB", "4MiB"] {
        let pull = at.dxf().env("DXF_CHUNK_SIZE", size);
        assert!(
            pull.args(["pull-blob", "a", &name]).ok().stdout == bytes,
            "{size}"
        );
    }
});

each_place!(blob_size_is_a_line_for_each_argument, |at| {
    let (first, second) = (at.put("a", &blob(11, 12345)), at.put("a", &blob(12, 55)));
    at.says(["set-alias", "a", "both", &first, &second]);
    at.forget();
    assert_eq!(at.says(["blob-size", "a", &first]), "12345\n");
    at.asked([format!("HEAD /v2/a/blobs/{first}")]);
    let all = at.says(["blob-size", "a", "@both", &second, &first]);
    assert_eq!(all, "12400\n55\n12345\n");
    at.asked([
        "GET /v2/a/manifests/both".into(),
        format!("HEAD /v2/a/blobs/{first}"),
        format!("HEAD /v2/a/blobs/{second}"),
    ]);
});

each_place!(mount_blob_moves_no_byte, |at| {
    let bytes = blob(13, 500_000);
    let name = at.put("from/here", &bytes);
    let taken = || at.bench.as_ref().map_or(0, |bench| bench.front.taken());
    let before = taken();
    let line = format!("{name}\n");
    assert_eq!(at.says(["mount-blob", "to", "from/here", &name]), line);
    at.asked(["POST /v2/to/blobs/uploads/"]);
    assert_eq!(taken(), before);
    assert_eq!(at.run(["pull-blob", "to", &name]).ok().stdout, bytes);
    at.forget();
    let named = at.says(["mount-blob", "to", "from/here", &name, "@alias"]);
    assert_eq!(named, line);
    at.asked([
        "POST /v2/to/blobs/uploads/".into(),
        format!("HEAD /v2/to/blobs/{name}"),
        "PUT /v2/to/manifests/alias".into(),
    ]);
    assert_eq!(at.tags("to"), ["alias"]);
    assert_eq!(at.open_uploads("to"), 0);
});

#[test]
fn in_a_folder_a_mount_is_a_hard_link() {
    use std::os::unix::fs::MetadataExt;
    let at = Place::folder();
    let name = at.put("from", b"abc");
    at.says(["mount-blob", "to", "from", &name]);
    let inode = |repo| std::fs::metadata(at.blob_file(repo, &name)).unwrap().ino();
    assert_eq!(inode("from"), inode("to"));
}

each_place!(a_mount_that_is_not_done_becomes_a_copy, |at| {
    let bytes = blob(14, 400_000);
    let name = at.put("from", &bytes);
    if let Some(bench) = &at.bench {
        // The registry opens a session instead, as one does that mounts nothing.
        let (raw, origin) = (bench.raw(), bench.registry.origin());
        let open = move |_: &Request| {
            let opened = raw.send("POST", "/v2/to/blobs/uploads/", &[], b"");
            let opened = opened.expect(202);
            let location = opened.headers.get("location").expect("a Location");
            let path = location.strip_prefix(&origin).expect("its own address");
            Response::new(202).header("Location", path)
        };
        let mount = on(POST, "/v2/to/blobs/uploads/").query("from", "from");
        let mount = match bench.mode {
            Mode::Http => mount,
            _ => mount.has_header("Authorization", ""),
        };
        bench.front.add_first([mount.times(1).with(open)]);
    }
    assert_eq!(
        at.says(["mount-blob", "to", "from", &name, "@a"]),
        format!("{name}\n")
    );
    assert_eq!(at.run(["pull-blob", "to", "@a"]).ok().stdout, bytes);
    assert_eq!(at.open_uploads("to"), 0);
});

each_place!(
    a_mount_of_what_is_not_there_fails_and_leaves_no_session,
    |at| {
        at.put("from", b"other");
        let name = digest(b"missing");
        let words = ["mount-blob", "to", "from", &name, "@a"];
        let failed = at
            .run(words)
            .fails(1)
            .says("mount failed")
            .says("from")
            .says(&name);
        assert_eq!(failed.text(), "");
        assert_eq!(at.open_uploads("to"), 0);
        assert!(!at.has_blob("to", &name));
        assert_eq!(at.manifest("to", "a"), None);
    }
);

each_place!(del_blob_deletes_what_it_is_given, |at| {
    let (first, second, third) = (at.put("a", b"1"), at.put("a", b"2"), at.put("a", b"3"));
    at.forget();
    assert_eq!(at.says(["del-blob", "a", &first, &second]), "");
    at.asked([
        format!("DELETE /v2/a/blobs/{first}"),
        format!("DELETE /v2/a/blobs/{second}"),
    ]);
    assert!(!at.has_blob("a", &first) && !at.has_blob("a", &second));
    // It stops at the first that is missing.
    let missing = at.run(["del-blob", "a", &first, &third]).fails(2);
    assert_eq!(missing.says("Not Found").says(&first).text(), "");
    assert!(at.has_blob("a", &third));
});

each_place!(del_blob_of_an_alias_deletes_it_and_its_blobs, |at| {
    let (first, second) = (at.put("a", b"1"), at.put("a", b"2"));
    let text = at.says(["set-alias", "a", "both", &first, &second, &first]);
    let manifest = digest(text.as_bytes());
    at.forget();
    assert_eq!(at.says(["del-blob", "a", "@both"]), "");
    at.asked([
        "GET /v2/a/tags/list".into(),
        "GET /v2/a/manifests/both".into(),
        format!("DELETE /v2/a/manifests/{manifest}"),
        format!("DELETE /v2/a/blobs/{first}"),
        format!("DELETE /v2/a/blobs/{second}"),
    ]);
    assert!(at.tags("a").is_empty());
    assert!(!at.has_blob("a", &first) && !at.has_blob("a", &second));
});

each_place!(
    del_blob_may_keep_the_alias_or_read_it_from_standard_input,
    |at| {
        let name = at.put("a", b"1");
        let manifest = at.says(["set-alias", "a", "kept", &name]);
        at.forget();
        assert_eq!(at.says(["del-blob", "--keep-alias", "a", "@kept"]), "");
        at.asked([
            "GET /v2/a/tags/list".into(),
            "GET /v2/a/manifests/kept".into(),
            format!("DELETE /v2/a/blobs/{name}"),
        ]);
        assert!(!at.has_blob("a", &name));
        assert_eq!(at.tags("a"), ["kept"]);
        at.put("a", b"1");
        at.forget();
        let piped = at.run(["del-blob", "a"]).stdin(manifest).ok();
        assert_eq!((piped.text(), piped.stderr.as_str()), ("", ""));
        at.asked([format!("DELETE /v2/a/blobs/{name}")]);
        assert!(!at.has_blob("a", &name));
        assert_eq!(at.tags("a"), ["kept"]);
    }
);

each_place!(del_blob_keeps_what_another_alias_names, |at| {
    let (first, shared) = (at.put("a", b"1"), at.put("a", b"2"));
    let third = at.put("a", b"3");
    at.says(["set-alias", "a", "mon", &first, &shared]);
    at.says(["set-alias", "a", "tue", &shared, &third]);
    let done = at.run(["del-blob", "a", "@mon"]).ok();
    assert_eq!(done.text(), "");
    let done = done.says("1 blob was kept").says(&shared).says("alias tue");
    done.says("--force");
    assert!(!at.has_blob("a", &first) && at.has_blob("a", &shared));
    assert_eq!(at.tags("a"), ["tue"]);
    assert_eq!(at.says(["pull-blob", "a", "@tue"]), "23");
    // The alias that stays needs its blobs too.
    at.put("a", b"1");
    at.says(["set-alias", "a", "mon", &first, &shared]);
    at.run(["del-blob", "--keep-alias", "a", "@mon"])
        .ok()
        .says(&shared);
    assert!(!at.has_blob("a", &first) && at.has_blob("a", &shared));
    // What is named by its digest is meant.
    at.says(["del-blob", "a", &shared]);
    at.put("a", b"1");
    at.put("a", b"2");
    let forced = at.run(["del-blob", "--force", "a", "@mon"]).ok();
    assert_eq!(forced.stderr, "");
    assert!(!at.has_blob("a", &shared));
});

each_place!(del_blob_leaves_another_alias_of_the_same_manifest, |at| {
    let name = at.put("a", b"1");
    at.says(["set-alias", "a", "mon", &name]);
    at.says(["set-alias", "a", "tue", &name]);
    let done = at.run(["del-blob", "a", "@mon"]).run();
    // A registry that can't remove one name alone removes nothing.
    if done.code == Some(0) {
        done.says("1 blob was kept");
        assert_eq!(at.tags("a"), ["tue"]);
    } else {
        assert_eq!(done.code, Some(1));
        done.says("tue");
        assert_eq!(at.tags("a").len(), 2);
    }
    assert_eq!(at.says(["pull-blob", "a", "@tue"]), "1");
    // Both go where both are named, or with --force.
    let both = at.run(["del-blob", "a", "@tue"]).run();
    if both.code != Some(0) {
        at.run(["del-blob", "--force", "a", "@tue"]).ok();
    }
    assert!(at.tags("a").is_empty() && !at.has_blob("a", &name));
});
