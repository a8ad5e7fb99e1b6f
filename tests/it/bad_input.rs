//! What is wrong is said in one line that names the thing and what to do, with
//! the exit code of the contract; nothing goes to standard output, nothing is
//! asked of a server that need not be, and no file is left half-written.

use std::net::TcpListener;
use std::path::Path;

use crate::support::bench::{Bench, Mode};
use crate::support::data::{blob, digest};
use crate::support::dxf::{Dxf, Output};
use crate::support::place::{Place, each_place};
use crate::support::registry::{Registry, USER};
use crate::support::rules::{ANY, GET, HEAD, on};
use crate::support::server::Server;
use crate::support::tls::Ca;

/// `sha256:…` of nothing that exists.
fn some() -> String {
    digest(b"some")
}

/// A registry that accepts no request.
fn untouched() -> Server {
    Server::script([])
}

/// The command failed with this code, and said nothing on stdout.
fn failed(dxf: Dxf, code: i32) -> Output {
    let output = dxf.fails(code);
    assert!(output.stdout.is_empty(), "{output}");
    output
}

#[test]
fn a_store_has_to_be_named() {
    for words in [
        &["push-blob", "a", "-"][..],
        &["pull-blob", "a", &some()],
        &["list-aliases", "a"],
        &["list-repos"],
        &["auth", "a", "pull"],
    ] {
        for host in [None, Some("")] {
            let dxf = Dxf::new().args(words);
            let dxf = match host {
                Some(host) => dxf.env("DXF_HOST", host),
                None => dxf,
            };
            failed(dxf, 2).says("DXF_HOST is not set; try DXF_HOST=");
        }
    }
}

#[test]
fn a_store_that_is_no_host_is_named() {
    for host in [
        "https://registry.example",
        "ftp://registry.example",
        "registry.example/path",
        "registry.example:port",
        "registry.example:99999",
        "oci:",
        "docker-archive:file.tar",
        "two words",
    ] {
        let dxf = Dxf::new().env("DXF_HOST", host).args(["list-repos"]);
        failed(dxf, 2).says("DXF_HOST").says(host);
    }
}

#[test]
fn words_that_are_none_are_told_before_anything_is_asked() {
    let server = untouched();
    let (some, long) = (some(), "a".repeat(300));
    for (words, named) in [
        (&["pull-blob", "a", "sha256:abc"][..], "sha256:abc"),
        (&["pull-blob", "a", "name"], "name"),
        (
            &["blob-size", "a", "md5:900150983cd24fb0d6963f7d28e17f72"],
            "md5",
        ),
        (&["blob-size", "a", &some.to_uppercase()], "SHA256"),
        (&["del-blob", "a", "@"], "alias"),
        (&["mount-blob", "a", "b", "sha256:"], "digest"),
        (&["set-alias", "a", "v", "name"], "a file is written ./NAME"),
        (&["set-alias", "a", "-v", &some], "-v"),
        (&["set-alias", "a", "a b", &some], "a b"),
        (&["set-alias", "a", &long, &some], "aaa"),
        (&["get-alias", "a", "../b"], "../b"),
        (&["del-alias", "a", "v/w"], "v/w"),
        (&["push-blob", "a", "/dev/null", "@.hidden"], ".hidden"),
        (&["pull-blob", "UPPER", &some], "UPPER"),
        (&["pull-blob", "a//b", &some], "a//b"),
        (&["pull-blob", "../a", &some], "../a"),
        (&["list-aliases", ""], "repository"),
        (&["mount-blob", "a", "B", &some], "B"),
        (&["auth", "a b", "pull"], "a b"),
    ] {
        let words: Vec<&str> = match words.iter().position(|word| word.starts_with("-v")) {
            // What begins with a dash is an option unless it is said not to be.
            Some(_) => [&words[..1], &["--"], &words[1..]].concat(),
            None => words.to_vec(),
        };
        let output = failed(Dxf::new().plain(&server.host()).args(&words), 2);
        assert!(output.stderr.contains(" invalid "), "{output}");
        output.says(named);
    }
    assert!(server.seen().is_empty());
}

#[test]
fn a_variable_with_a_bad_value_is_named_before_anything_is_asked() {
    let server = untouched();
    for (name, value) in [
        ("DXF_PLATFORM", "linux"),
        ("DXF_PLATFORM", "linux/amd64/v1/more"),
        ("DXF_PLATFORM", "linux/"),
        ("DXF_CHUNK_SIZE", "0"),
        ("DXF_CHUNK_SIZE", "1mb"),
        ("DXF_CHUNK_SIZE", "-1"),
        ("DXF_UPLOAD", "sometimes"),
        ("DXF_UPLOAD", "0"),
        ("DXF_TIMEOUT", "soon"),
        ("DXF_CONNECT_TIMEOUT", "0"),
        ("DXF_RETRIES", "-1"),
        ("DXF_RETRY_MAX_WAIT", "x"),
        ("DXF_JOBS", "0"),
        ("DXF_ALIAS_FORMAT", "rpm"),
        ("DXF_OUTPUT", "xml"),
        ("DXF_LOG", "all"),
        ("DXF_ANONYMOUS", "yes"),
        ("DXF_ALLOW_INSECURE_AUTH", "true"),
        ("DXF_AUTH_HOST", "https://auth.example"),
        ("DXF_CLIENT_KEY", "key.pem"),
    ] {
        let dxf = Dxf::new().plain(&server.host()).env(name, value);
        failed(dxf.args(["list-repos"]), 2).says(name).says(value);
    }
    let file = Dxf::new().plain(&server.host()).env("DXF_USERNAME", USER);
    let file = file.env("DXF_PASSWORD_FILE", "/no/such/file");
    let said = failed(file.args(["list-repos"]), 2).says("DXF_PASSWORD_FILE");
    said.says("/no/such/file");
    assert!(server.seen().is_empty());
}

#[test]
fn wrong_usage_is_told_in_python_s_words_before_anything_is_asked() {
    let server = untouched();
    let some = some();
    let few = "too few arguments";
    let many = "too many arguments";
    for (words, said) in [
        (&[][..], few),
        (&["push-blob"], few),
        (&["push-blob", "a"], few),
        (&["push-blob", "a", "f", "@v", "more"], many),
        (&["push-blob", "a", "f", "v"], "invalid alias"),
        (&["pull-blob"], few),
        (&["blob-size"], few),
        (&["mount-blob", "a", "b"], few),
        (&["mount-blob", "a", "b", &some, "@v", "more"], many),
        (&["mount-blob", "a", "b", &some, "v"], "invalid alias"),
        (&["del-blob"], few),
        (&["set-alias", "a"], few),
        (&["set-alias", "a", "v"], few),
        (&["get-alias"], few),
        (&["del-alias"], few),
        (&["get-digest"], few),
        (&["get-manifest"], few),
        (&["list-aliases"], few),
        (&["list-aliases", "a", "v"], many),
        (&["list-repos", "a"], "unrecognized arguments: a"),
        (&["auth"], few),
        (&["del-alias", "--only", "a", &some], "--only"),
        (&["shove", "--no-such-option"], "no command shove"),
        (&["pull-blob", "--no-such-option", "a"], "--no-such-option"),
    ] {
        let output = Dxf::new().plain(&server.host()).args(words).misused(said);
        let lines: Vec<&str> = output.stderr.lines().collect();
        let last = lines.last().unwrap();
        assert!(last.starts_with("dxf: ") && last.contains(said), "{output}");
        if let Some(command) = words.first().filter(|word| **word != "shove") {
            assert!(
                output.stderr.contains(&format!("usage: dxf {command}")),
                "{output}"
            );
        }
    }
    assert!(server.seen().is_empty());
}

each_place!(a_file_that_cannot_be_read_is_named, |at| {
    std::fs::create_dir(at.work().join("folder")).unwrap();
    std::os::unix::fs::symlink("loop", at.work().join("loop")).unwrap();
    at.put("a", b"abc");
    at.forget();
    for (name, why) in [
        ("missing", "No such file"),
        ("folder", ""),
        ("loop", "symbolic links"),
        ("folder/under/nothing", "No such file"),
    ] {
        failed(at.run(["push-blob", "a", name, "@v"]), 1)
            .says(name)
            .says(why);
        let path = format!("./{name}");
        failed(at.run(["set-alias", "a", "v", &path]), 1)
            .says(name)
            .says(why);
    }
    at.asked([] as [&str; 0]);
    assert!(at.tags("a").is_empty());
    let good = at.put("a", b"good");
    let words = ["pull-blob", "a", &good, "-o"];
    for (name, why) in [("folder", "directory"), ("nowhere/file", "No such file")] {
        failed(at.run(words).arg(name), 1).says(name).says(why);
    }
    assert_eq!(at.names(), ["folder", "loop"]);
    assert_eq!(
        std::fs::read_dir(at.work().join("folder")).unwrap().count(),
        0
    );
});

each_place!(what_is_not_there_is_not_found, |at| {
    let name = at.put("a", b"abc");
    at.says(["set-alias", "a", "v", &name]);
    let missing = digest(b"missing");
    for words in [
        &["pull-blob", "a", &missing][..],
        &["pull-blob", "a", "@missing"],
        &["pull-blob", "nobody/knows", &name],
        &["blob-size", "a", &missing],
        &["get-alias", "a", "missing"],
        &["get-alias", "nobody/knows", "v"],
        &["get-digest", "a", "missing"],
        &["get-digest", "--manifest", "a", "missing"],
        &["get-manifest", "a", &missing],
        &["list-aliases", "nobody/knows"],
        &["set-alias", "a", "w", &missing],
        &["del-alias", "a", "missing"],
        &["del-alias", "--only", "a", "missing"],
        &["del-blob", "a", &missing],
        &["del-blob", "a", "@missing"],
    ] {
        let output = failed(at.run(words), 2).says("Not Found");
        let thing = words[words.len() - 1].trim_start_matches('@');
        let named = output.stderr.contains(thing) || output.stderr.contains("nobody/knows");
        assert!(named, "{output}");
    }
    assert_eq!(at.tags("a"), ["v"]);
});

each_place!(bytes_that_do_not_match_are_no_blob, |at| {
    let bytes = blob(1, 300_000);
    let (good, bad) = (at.put("a", b"good"), at.put("a", &bytes));
    at.says(["set-alias", "a", "v", &good, &bad]);
    let mut wrong = bytes.clone();
    wrong[250_000] ^= 1;
    let file = at.blob_file("a", &bad);
    // A layout's blobs may be shared by hard links, so it is a new file.
    std::fs::remove_file(&file).unwrap();
    std::fs::write(&file, &wrong).unwrap();
    std::fs::write(at.work().join("old"), "as it was").unwrap();
    for words in [
        &["pull-blob", "a", &bad, "-o", "new"][..],
        &["pull-blob", "a", "@v", "-o", "new"],
        &["pull-blob", "a", "@v", "-o", "old"],
    ] {
        failed(at.run(words), 65).says("mismatch").says(&bad);
    }
    assert_eq!(at.names(), ["old"]);
    assert_eq!(std::fs::read(at.work().join("old")).unwrap(), b"as it was");
    // A pipe has them by then, so the exit code must tell.
    at.run(["pull-blob", "a", &bad]).fails(65).says(&bad);
    // What lies there is not taken for what is to be stored.
    std::fs::write(&file, &bytes[..1000]).unwrap();
    at.run(["pull-blob", "a", "@v"]).fails(65).says(&bad);
});

#[test]
fn a_manifest_that_is_none_is_malformed() {
    let place = Place::folder();
    for text in [
        "",
        "{",
        "[]",
        "{}",
        "null",
        "\u{0}",
        "{\"schemaVersion\": 2}",
    ] {
        for command in [
            "get-alias",
            "get-digest",
            "blob-size",
            "pull-blob",
            "del-blob",
        ] {
            let output = place.run([command, "a"]).stdin(text).run();
            // What is JSON but of no kind that has blobs is not corrupt.
            assert!(matches!(output.code, Some(65 | 1)), "{text:?}: {output}");
            assert_eq!(output.stderr.lines().count(), 1, "{text:?}: {output}");
            assert!(output.stdout.is_empty(), "{text:?}: {output}");
        }
    }
    failed(place.run(["get-alias", "a"]).stdin("{"), 65).says("malformed");
    let endless = vec![b' '; 20 << 20];
    failed(place.run(["get-alias", "a"]).stdin(endless), 65).says("standard input");
    let layer = r#"{"schemaVersion": 2, "config": {"digest": "x", "size": 1}, "layers": []}"#;
    failed(place.run(["get-alias", "a"]).stdin(layer), 65);
}

#[test]
fn a_manifest_that_is_not_what_it_was_asked_by_is_refused() {
    let text = r#"{"schemaVersion": 2, "layers": []}"#;
    let server = Server::script([on(GET, "/v2/a/manifests/*")
        .reply(200)
        .header("Content-Type", "application/vnd.oci.image.manifest.v1+json")
        .body(text)]);
    let asked = digest(b"another");
    let dxf = || Dxf::new().plain(&server.host());
    failed(dxf().args(["get-manifest", "a", &asked]), 65)
        .says(&asked)
        .says("mismatch");
    failed(dxf().args(["get-alias", "a", "v"]), 65);
}

#[test]
fn a_kind_of_manifest_without_layers_is_told() {
    let schema1 = r#"{"schemaVersion": 1, "name": "a", "tag": "v", "fsLayers": [], "history": []}"#;
    let server = Server::script([on(GET, "/v2/a/manifests/v")
        .reply(200)
        .header(
            "Content-Type",
            "application/vnd.docker.distribution.manifest.v1+prettyjws",
        )
        .body(schema1)]);
    for words in [
        &["get-alias", "a", "v"][..],
        &["get-digest", "a", "v"],
        &["pull-blob", "a", "@v"],
        &["blob-size", "a", "@v"],
        &["del-alias", "a", "v"],
    ] {
        let dxf = Dxf::new().plain(&server.host()).args(words);
        failed(dxf, 1).says("schema 1").says("push the image again");
    }
    // Its bytes are its bytes.
    let whole = Dxf::new()
        .plain(&server.host())
        .args(["get-manifest", "a", "v"])
        .ok();
    assert_eq!(whole.text(), schema1);
}

#[test]
fn a_registry_that_is_down_is_named() {
    let port = {
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        free.local_addr().unwrap().port()
    };
    let host = format!("127.0.0.1:{port}");
    let down = |host: &str| Dxf::new().plain(host).env("DXF_RETRIES", "0");
    let said = failed(down(&host).args(["list-repos"]), 69).says(&host);
    said.says("check that the registry is running");
    let nowhere = down("no-such-host.invalid").args(["list-repos"]);
    failed(nowhere, 69)
        .says("no-such-host.invalid")
        .says("check the spelling");
}

#[test]
fn http_and_tls_taken_for_each_other_are_told() {
    let plain = Registry::http();
    let taken = Dxf::new()
        .env("DXF_HOST", plain.host())
        .args(["list-repos"]);
    failed(taken, 69)
        .says(plain.host())
        .says("set DXF_INSECURE=1");
    let tls = Registry::builder().tls().start();
    let taken = Dxf::new().plain(tls.host()).args(["list-repos"]);
    // Go's server answers such a request, in http.
    failed(taken, 1).says(tls.host()).says("unset DXF_INSECURE");
    let other = Server::script_tls([]);
    let taken = Dxf::new().plain(&other.host()).env("DXF_RETRIES", "0");
    failed(taken.args(["list-repos"]), 69)
        .says(&other.host())
        .says("unset DXF_INSECURE");
}

#[test]
fn an_unknown_certificate_is_told() {
    let tls = Registry::builder().tls().start();
    let dxf = || Dxf::new().env("DXF_HOST", tls.host());
    let folder = tempfile::tempdir().unwrap();
    let other = Ca::new().write_to(folder.path());
    for dxf in [dxf(), dxf().env("DXF_TLSVERIFY", &other)] {
        let said = failed(dxf.args(["list-repos"]), 69).says(tls.host());
        said.says("DXF_TLSVERIFY").says("DXF_SKIPTLSVERIFY=1");
    }
    let right = || {
        dxf()
            .env("DXF_TLSVERIFY", tls.ca_file())
            .args(["list-repos"])
    };
    right().ok();
    for skipping in [dxf(), dxf().env("DXF_TLSVERIFY", &other)] {
        skipping
            .env("DXF_SKIPTLSVERIFY", "1")
            .args(["list-repos"])
            .ok();
    }
    // What is named and is no certificate is told by its own name.
    for (path, words) in [
        ("/no/such/ca.pem", "No such file"),
        ("/dev/null", "certificate"),
    ] {
        let dxf = dxf().env("DXF_TLSVERIFY", path).args(["list-repos"]);
        let output = dxf.run();
        assert!(matches!(output.code, Some(1 | 2 | 69)), "{output}");
        assert_eq!(output.stderr.lines().count(), 1, "{output}");
        output.says(path).says(words);
    }
}

#[test]
fn a_wrong_password_is_told_with_where_it_came_from() {
    for mode in [Mode::Basic, Mode::Token] {
        let reg = Bench::new(mode);
        for words in [
            &["pull-blob", "a", &some()][..],
            &["push-blob", "a", "/dev/null"],
            &["list-aliases", "a"],
            &["auth", "a", "pull"],
        ] {
            let wrong = reg.dxf().login(USER, "wrong-Password-1").args(words);
            failed(wrong, 13)
                .says("DXF_USERNAME and DXF_PASSWORD")
                .says("refused");
            let nobody = reg.anonymous().args(words);
            let said = failed(nobody, 13).says("set DXF_USERNAME and DXF_PASSWORD");
            said.says("dxf login");
            let homeless = reg.anonymous().env_remove("HOME").args(words);
            failed(homeless, 13).says("HOME is not set");
            for (set, unset) in [
                ("DXF_USERNAME", "DXF_PASSWORD"),
                ("DXF_PASSWORD", "DXF_USERNAME"),
            ] {
                let half = reg.anonymous().env(set, "half-of-it").args(words);
                failed(half, 13).says(&format!("{set} is set, but {unset} is not"));
            }
        }
    }
}

#[test]
fn a_login_is_not_sent_over_http() {
    let server = Server::stranger([on(ANY, "/v2/*")
        .reply(401)
        .header("WWW-Authenticate", "Basic realm=\"test\"")]);
    let dxf = || Dxf::new().plain(&server.host()).login(USER, "a-Password-2");
    for words in [&["list-aliases", "a"][..], &["auth", "a", "pull"]] {
        failed(dxf().args(words), 1)
            .says("DXF_ALLOW_INSECURE_AUTH=1")
            .says("https");
    }
    server.assert_no_authorization();
}

#[test]
fn other_refusals_are_told_as_they_are() {
    let refusal = r#"{"errors": [{"code": "DENIED", "message": "not for you"}]}"#;
    let server = Server::script([
        on(GET, "/v2/denied/*").reply(403).body(refusal),
        on(HEAD, "/v2/denied/*").reply(403),
        on(ANY, "/v2/busy/*")
            .reply(429)
            .header("Retry-After", "3600"),
        on(ANY, "/v2/down/*").reply(503).header("Retry-After", "0"),
    ]);
    let dxf = |repo: &str| {
        let dxf = Dxf::new().plain(&server.host()).env("DXF_RETRIES", "2");
        dxf.args(["get-alias", repo, "v"])
    };
    failed(dxf("denied"), 1)
        .says("403 Forbidden")
        .says("not for you");
    failed(dxf("busy"), 75)
        .says("429")
        .says("3600 s")
        .says("DXF_RETRY_MAX_WAIT");
    assert_eq!(server.count(GET, "/v2/busy/*"), 1);
    failed(dxf("down"), 69).says("503");
    assert_eq!(server.count(GET, "/v2/down/*"), 3);
}

#[test]
fn an_interrupted_command_says_so_and_leaves_no_file() {
    for (signal, code) in [("INT", 130), ("TERM", 143)] {
        let bytes = blob(2, 100_000);
        let name = digest(&bytes);
        let server = Server::script([on(GET, &format!("/v2/a/blobs/{name}"))
            .serve(bytes.clone())
            .stall_after(50_000)]);
        let folder = tempfile::tempdir().unwrap();
        let dxf = Dxf::new().plain(&server.host()).current_dir(folder.path());
        let running = dxf.args(["pull-blob", "a", &name, "-o", "out"]).spawn();
        wait_for(|| server.sent() == 50_000);
        running.signal(signal);
        let output = running.finish();
        assert_eq!(output.code, Some(code), "{output}");
        let said = "dxf: pull-blob: interrupted; run the same command again to resume\n";
        assert_eq!(output.stderr, said);
        assert!(!folder.path().join("out").exists());
    }
}

/// Waits until something is so.
fn wait_for(condition: impl Fn() -> bool) {
    let started = std::time::Instant::now();
    while !condition() {
        assert!(started.elapsed().as_secs() < 30, "it never came to that");
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
}

#[test]
fn a_reader_that_leaves_ends_the_command_quietly() {
    let at = Place::folder();
    let name = at.put("a", &blob(3, 4 << 20));
    let dxf = env!("CARGO_BIN_EXE_dxf");
    let script = |command: &str| {
        // Not the status of head, but that of dxf.
        format!("{{ {dxf} {command}; echo $? >&2; }} | head -c 10 | wc -c")
    };
    for command in [
        format!("pull-blob a {name}"),
        "--help".to_string(),
        "show-env".to_string(),
    ] {
        let shell = Dxf::foreign(Path::new("/bin/sh")).env("PATH", "/usr/bin:/bin");
        let host = at
            .blob_file("a", &name)
            .ancestors()
            .nth(4)
            .unwrap()
            .to_path_buf();
        let shell = shell.env("DXF_HOST", format!("oci:{}", host.display()));
        let output = shell.args(["-c", &script(&command)]).ok();
        assert_eq!(
            (output.text().trim(), output.stderr.as_str()),
            ("10", "0\n"),
            "{output}"
        );
    }
}

each_place!(a_full_disk_is_told, |at| {
    let name = at.put("a", &blob(4, 200_000));
    at.says(["set-alias", "a", "v", &name]);
    for words in [
        &["pull-blob", "a", &name][..],
        &["pull-blob", "a", &name, "-o", "/dev/full"],
        &["get-manifest", "a", "v"],
        &["list-aliases", "a"],
        &["get-alias", "a", "v"],
        &["show-env"],
    ] {
        let full = std::fs::OpenOptions::new()
            .write(true)
            .open("/dev/full")
            .unwrap();
        let output = at.run(words).stdout_to(full).fails(1);
        output.says("No space left on device");
    }
});

#[test]
fn a_tag_that_is_a_word_of_its_own_is_told() {
    let registry = Registry::http();
    registry.raw().push_blob("team/hello", b"abc");
    let dxf = || Dxf::new().plain(registry.host());
    for form in ["hybrid", "oci"] {
        let pull = dxf().args(["pull-image", "--format", form, "team/hello", "1"]);
        let said = pull.fails(2).says("latest is assumed").says("Not Found");
        said.says("1 is the file to write; for the tag 1 write team/hello:1");
    }
    let other = dxf().args(["pull-image", "team/hello:2", "1"]).fails(2);
    assert!(!other.stderr.contains("file to write"), "{other}");
}

#[test]
fn sizes_that_add_up_to_too_much_are_told() {
    let half = 1u64 << 63;
    let kind = "application/vnd.oci.image.manifest.v1+json";
    let layer = |bytes: &[u8]| {
        let name = digest(bytes);
        format!(r#"{{"mediaType":"x","digest":"{name}","size":{half}}}"#)
    };
    let (one, two) = (layer(b"1"), layer(b"2"));
    let manifest = format!(
        r#"{{"schemaVersion":2,"mediaType":"{kind}","config":{one},"layers":[{one},{two}]}}"#
    );
    let served = on(GET, "/v2/a/manifests/v").reply(200).body(manifest);
    let large = on(HEAD, "/v2/a/blobs/*").reply(200);
    let server = Server::script([
        served.header("Content-Type", kind),
        large.header("Content-Length", &half.to_string()),
    ]);
    let size = Dxf::new().plain(&server.host());
    let failed = size.args(["blob-size", "a", "@v"]).fails(65);
    assert_eq!(failed.says("overflows 64 bits").text(), "");
}

#[test]
fn a_damaged_index_of_a_folder_is_no_empty_one() {
    let at = Place::folder();
    let name = at.put("a", b"abc");
    at.says(["set-alias", "a", "v", &name]);
    let blobs = at
        .blob_file("a", &name)
        .ancestors()
        .nth(2)
        .map(Path::to_path_buf);
    let index = blobs.expect("a store").with_file_name("index.json");
    std::fs::write(&index, br#"{"schemaVersion":2,"manif"#).expect("an index");
    for words in [
        &["list-aliases", "a"][..],
        &["list-aliases", "-l", "a"],
        &["show-usage", "a"],
        &["verify-alias", "--all", "a"],
        &["set-alias", "a", "w", &name],
    ] {
        let failed = at.run(words).fails(65).says("still in blobs/");
        assert_eq!(failed.text(), "", "{words:?}");
    }
    assert_eq!(std::fs::read(&index).expect("it").len(), 25);
}
