//! `edit-image`: what it changes, what it leaves alone, and what it moves.

use dxf_registry::image::Node;
use dxf_registry::image::layer::{Compression, Family};
use serde_json::{Value, json};

use crate::archive::{image, multi, read};
use crate::engine::{arg, hello};
use crate::images::{docker_image, seed};
use crate::support::dxf::{Dxf, Output};
use crate::support::place::{Place, each_place};

fn edit(at: &Place, words: &[&str]) -> Dxf {
    at.run(["edit-image"]).args(words)
}

/// The digest that was printed.
pub fn digest(out: &Output) -> String {
    let (_, digest) = out.text().trim_end().rsplit_once('@').expect("a digest");
    digest.to_string()
}

fn config(at: &Place, name: &str) -> Value {
    serde_json::from_str(&at.says(["get-config", name])).expect("JSON")
}

pub fn layers(at: &Place, name: &str) -> Vec<String> {
    let list = at.run(["list-layers", name]).env("DXF_OUTPUT", "json");
    let list = list.ok().json();
    let digests = list.as_array().expect("a list").iter();
    digests
        .map(|one| one["digest"].as_str().expect("a digest").to_string())
        .collect()
}

/// The names of the files a container sees.
fn files(at: &Place, name: &str) -> Vec<String> {
    let list = at
        .run(["list-files", name])
        .env("DXF_OUTPUT", "json")
        .ok()
        .json();
    let files = list.as_array().expect("a list").iter();
    files
        .map(|one| one["path"].as_str().expect("a name").to_string())
        .collect()
}

/// The base that most tests edit.
fn base(at: &Place) -> Vec<String> {
    seed(at.dxf(), &docker_image(), "team/app:1");
    layers(at, "team/app:1")
}

each_place!(owner_mode_and_time_of_added_files_are_as_asked, |at| {
    std::fs::create_dir_all(at.work().join("conf")).unwrap();
    std::fs::write(at.work().join("conf/a"), "a").unwrap();
    let edit = at
        .dxf()
        .current_dir(at.work())
        .args(["edit-image", "scratch", "own:1"]);
    let edit = edit.args(["--owner", "7:8", "--mode", "640", "--mtime", "86400"]);
    edit.args(["--add-path", "conf:/etc/conf", "--add-file", "/motd=hello"])
        .ok();
    let layer = at.work().join("layer.tar");
    let get = at.dxf().args(["get-layer", "--uncompressed", "-o"]);
    get.arg(&layer).args(["own:1", "0"]).ok();
    let mut list = std::process::Command::new("tar");
    let list = list
        .args(["--utc", "--numeric-owner", "-tvf"])
        .arg(&layer)
        .output();
    let list = String::from_utf8(list.expect("tar").stdout).expect("text");
    let lines: Vec<&str> = list.lines().collect();
    assert_eq!(lines.len(), 4, "{list}");
    assert!(
        lines
            .iter()
            .all(|line| line.contains(" 7/8 ") && line.contains("1970-01-02"))
    );
    assert!(
        lines[1].starts_with("drwxr-x---") && lines[1].ends_with("etc/conf/"),
        "{list}"
    );
    assert!(
        lines[2..].iter().all(|line| line.starts_with("-rw-r-----")),
        "{list}"
    );
});

each_place!(layers_come_and_go_and_the_rest_stays, |at| {
    let before = base(at);
    std::fs::create_dir_all(at.work().join("conf/deep")).unwrap();
    std::fs::write(at.work().join("conf/deep/a"), "a").unwrap();
    std::fs::write(at.work().join("conf/b.tmp"), "b").unwrap();
    let words = [
        "--add-path",
        "conf:/etc/conf",
        "--exclude",
        "**/*.tmp",
        "--add-file",
        "/motd=hi",
        "--remove-path",
        "/hello",
        "--env",
        "A=1",
        "--env",
        "B=2",
        "--env",
        "A-",
        "--label",
        "l=x",
        "--annotation",
        "n=v",
        "--entrypoint",
        "/bin/app -v",
        "--cmd",
        r#"["a b"]"#,
        "--workdir",
        "/etc",
        "--user",
        "1:1",
        "--expose",
        "80",
        "--volume",
        "/data",
        "--stop-signal",
        "SIGINT",
        "--history",
        "files",
        "--history",
        "one step",
        "team/app:1",
        "team/app:2",
    ];
    let out = edit(at, &words).ok();
    assert_eq!(out.stderr, "");
    let after = layers(at, "team/app:2");
    assert_eq!((after.len(), &after[..2]), (3, &before[..]));
    let (was, is) = (config(at, "team/app:1"), config(at, "team/app:2"));
    assert_eq!(
        is["config"],
        json!({"Cmd": ["a b"], "Env": ["B=2"], "Labels": {"l": "x"},
        "Entrypoint": ["/bin/app", "-v"], "WorkingDir": "/etc", "User": "1:1",
        "ExposedPorts": {"80/tcp": {}}, "Volumes": {"/data": {}}, "StopSignal": "SIGINT"})
    );
    assert_eq!(is["created"], was["created"]);
    let history = is["history"].as_array().unwrap();
    assert_eq!(history.len(), 4);
    assert!(history[2]["created"].is_null() && history[2]["created_by"] == "files");
    assert_eq!(
        history[3],
        json!({"created_by": "one step", "empty_layer": true})
    );
    let found = files(at, "team/app:2");
    for name in ["etc/conf/deep/a", "motd"] {
        assert!(found.iter().any(|f| f == name), "{found:?}");
    }
    assert!(
        !found.iter().any(|f| f == "hello" || f.ends_with("b.tmp")),
        "{found:?}"
    );
    at.says(["verify-image", "team/app:2"]);
    // The same again, from other files of the same content, is the same image.
    std::fs::rename(at.work().join("conf"), at.work().join("old")).unwrap();
    std::fs::create_dir_all(at.work().join("conf/deep")).unwrap();
    std::fs::write(at.work().join("conf/deep/a"), "a").unwrap();
    assert_eq!(digest(&edit(at, &words).ok()), digest(&out));
    // Options are obeyed in their order.
    let out = edit(
        at,
        &[
            "--remove-layer",
            "top",
            "--remove-layer",
            &before[1],
            "--add-file=/x=1",
            "--history=made x",
            "--created=epoch",
            "team/app:2",
            "team/other:3",
        ],
    );
    out.ok();
    let is = config(at, "team/other:3");
    assert_eq!(layers(at, "team/other:3")[0], before[0]);
    assert_eq!(is["history"][1]["created_by"], "one step");
    assert_eq!(is["history"][2], json!({"created_by": "made x"}));
    assert_eq!(is["created"], "1970-01-01T00:00:00Z");
    at.says(["verify-image", "team/other:3"]);
});

each_place!(what_is_not_changed_is_the_same_image, |at| {
    base(at);
    let same = at.manifest("team/app", "1").expect("a manifest");
    let out = edit(at, &["--unset", "team/app:1", "team/app:2"]);
    out.misused("unset");
    for words in [
        vec![],
        vec!["--env", "NO-", "--cmd", "/hello"],
        vec!["--add-file=/x=1", "--remove-layer=2"],
    ] {
        let out = edit(
            at,
            &[words.as_slice(), &["team/app:1", "team/copy:1"]].concat(),
        )
        .ok();
        assert_eq!(
            at.manifest("team/copy", "1").as_deref(),
            Some(same.as_slice()),
            "{out}"
        );
    }
});

each_place!(an_image_is_made_of_nothing, |at| {
    std::fs::write(at.work().join("app"), hello()).unwrap();
    let words = [
        "--platform=linux/arm64/v8",
        "--add-path=app:/bin/app",
        "--entrypoint=/bin/app",
        "scratch",
        "team/new:1",
    ];
    let out = edit(at, &words).ok();
    at.says(["verify-image", "team/new:1"]);
    let is = config(at, "team/new:1");
    assert_eq!(
        (&is["architecture"], &is["variant"]),
        (&json!("arm64"), &json!("v8"))
    );
    assert_eq!(files(at, "team/new:1"), ["bin/", "bin/app"]);
    assert_eq!(digest(&edit(at, &words).ok()), digest(&out));
    edit(at, &["--platform=all", "scratch", "team/new:2"]).misused("one platform");
    assert_eq!(at.tags("team/new"), ["1"]);
});

each_place!(only_the_lowest_layer_says_what_its_folders_are, |at| {
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::Symlink);
    header.set_size(0);
    tar.append_link(&mut header, "lib", "usr/lib").unwrap();
    let tar = at.file(&tar.into_inner().unwrap());
    let words = ["--add-tar", &tar, "--add-file=/lib/x=1", "scratch", "os:1"];
    edit(at, &words).ok();
    // A file below the link would make engines show a folder in its place.
    assert_eq!(files(at, "os:1"), ["lib", "usr/lib/x"]);
    let words = ["--env=A=b", "--add-file=/a/x=1", "scratch", "os:2"];
    edit(at, &words).ok();
    assert_eq!(files(at, "os:2"), ["a/", "a/x"]);
});

each_place!(every_platform_is_edited, |at| {
    seed(at.dxf(), &multi(), "team/multi:1");
    let words = [
        "--platform=all",
        "--add-file=/who=me",
        "--env=A=b",
        "team/multi:1",
        "team/multi:2",
    ];
    let out = edit(at, &words).ok();
    let list = at.run(["list-platforms", "team/multi:2"]).ok();
    assert_eq!(list.lines().len(), 2);
    at.says(["verify-image", "team/multi:2"]);
    for platform in ["linux/arm64", "linux/amd64"] {
        let config = at
            .run(["get-config", "--platform", platform, "team/multi:2"])
            .ok()
            .json();
        assert_eq!(config["config"]["Env"], json!(["A=b"]));
    }
    assert_eq!(digest(&edit(at, &words).ok()), digest(&out));
    // One of them gives an image, not an index.
    edit(
        at,
        &[
            "--platform=linux/arm64",
            "--env=A=b",
            "team/multi:1",
            "team/one:1",
        ],
    )
    .ok();
    assert_eq!(config(at, "team/one:1")["architecture"], "arm64");
    edit(
        at,
        &[
            "--platform=linux/s390x",
            "--env=A=b",
            "team/multi:1",
            "team/no:1",
        ],
    )
    .fails(2);
    assert!(at.manifest("team/no", "1").is_none());
});

each_place!(a_dry_run_tells_and_sends_nothing, |at| {
    let before = base(at);
    at.forget();
    let words = [
        "--dry-run",
        "--remove-layer=0",
        "--add-file=/x=1",
        "--env=A=b",
        "team/app:1",
        "team/new:1",
    ];
    let out = edit(at, &words).ok();
    let lines = out.lines();
    let starts = |word: &str| lines.iter().filter(|line| line.starts_with(word)).count();
    assert_eq!(
        (starts("keep "), starts("add "), starts("remove ")),
        (1, 1, 1),
        "{out}"
    );
    assert!(
        lines
            .iter()
            .any(|l| l.starts_with("set") && l.contains("config.Env")),
        "{out}"
    );
    if let Some(bench) = &at.bench {
        assert!(
            bench
                .requests()
                .iter()
                .all(|one| matches!(one.method.as_str(), "GET" | "HEAD"))
        );
    }
    assert!(at.manifest("team/new", "1").is_none());
    let told = edit(at, &words).env("DXF_OUTPUT", "json").ok().json();
    let transfer = &told["transfer"];
    // Registries take over what is elsewhere in them; a folder links it.
    let (mount, upload) = (&transfer["mount"]["blobs"], &transfer["upload"]["blobs"]);
    assert_eq!(
        mount.as_u64().unwrap() + upload.as_u64().unwrap(),
        3,
        "{told}"
    );
    assert_eq!(told["images"][0]["layers"][2]["digest"], before[0]);
    let real = edit(at, &words[1..]).ok();
    assert_eq!(told["digest"], digest(&real));
    let told = edit(at, &words).env("DXF_OUTPUT", "json").ok().json();
    assert_eq!(told["transfer"]["upload"]["blobs"], 0);
});

each_place!(
    what_can_not_be_done_is_one_line_and_nothing_is_pushed,
    |at| {
        base(at);
        let blob = at.put("team/app", b"plain");
        at.says(["set-alias", "team/app", "plain", &blob]);
        seed(at.dxf(), &multi(), "team/multi:1");
        seed(
            at.dxf(),
            &Node::Image(image("linux/amd64", Family::Oci, [Compression::Zstd; 2])),
            "team/zstd:1",
        );
        let (absent, image) = (format!("sha256:{}", "0".repeat(64)), "team/app:1");
        let cases: [(&[&str], &str, i32); 24] = [
            (&["--remove-layer=2"], image, 2),
            (&["--remove-layer=deadbeef"], image, 2),
            (&["--remove-layer", &absent], image, 2),
            (&["--remove-layer=top", "--remove-layer=top"], image, 1),
            (
                &[
                    "--remove-layer=top",
                    "--remove-layer=top",
                    "--remove-layer=top",
                ],
                image,
                2,
            ),
            (&["--add-path=missing:/x"], image, 1),
            (&["--add-file=/x=@missing"], image, 1),
            (&["--add-file=/../x=1"], image, 2),
            (&["--add-path=.:/a/../../x"], image, 2),
            (&["--add-tar=missing"], image, 1),
            (&["--remove-path=/"], image, 2),
            (&["--exclude=[", "--add-path=.:/x"], image, 2),
            (&["--env==x"], image, 2),
            (&["--env=-"], image, 2),
            (&["--label==x"], image, 2),
            (&["--cmd='open"], image, 2),
            (&["--expose=http"], image, 2),
            (&["--created=yesterday"], image, 2),
            (
                &["--rebase", "team/zstd:1", "team/zstd:1"],
                "team/multi:1",
                1,
            ),
            (&["--rebase", "team/none:1", "team/zstd:1"], image, 2),
            (&["--env=A=b"], "team/app:none", 2),
            (&["--env=A=b"], "team/app:plain", 1),
            (&["--platform=linux/s390x", "--env=A=b"], image, 2),
            (&["--platform=all", "--env=A=b"], "team/app:plain", 1),
        ];
        // Another image than zstd's is not on it.
        std::fs::write(at.work().join("x"), "x").unwrap();
        edit(
            at,
            &[
                "--add-path=x",
                "--platform=linux/amd64",
                "scratch",
                "team/zstd:1",
            ],
        )
        .ok();
        for (words, from, code) in cases {
            let out = edit(at, &[words, &[from, "team/new:1"]].concat()).fails(code);
            assert_eq!(out.text(), "", "{out}");
        }
        edit(at, &["--env=A", image, "team/new:1"]).misused("NAME=VALUE");
        edit(at, &["--add-file=A", image, "team/new:1"]).misused("DEST=TEXT");
        edit(at, &["--rebase", "a", image, "team/new:1"]).misused("too few arguments");
        edit(at, &[image]).misused("too few arguments");
        edit(at, &[image, "b", "c"]).misused("too many arguments");
        let digest = format!("team/new@{absent}");
        edit(at, &["--env=A=b", image, &digest]).fails(65);
        edit(
            at,
            &[
                "--dry-run",
                "--env=A=b",
                image,
                &format!("team/new:1@{absent}"),
            ],
        )
        .fails(65);
        assert!(at.manifest("team/new", "1").is_none());
        assert!(at.tags("team/new").is_empty());
    }
);

each_place!(a_base_is_replaced, |at| {
    let text = |name: &str| format!("--add-file=/os={name}");
    edit(
        at,
        &[&text("1"), "--env=PATH=/1", "--env=V=1", "scratch", "os:1"],
    )
    .ok();
    edit(
        at,
        &[
            &text("2"),
            "--remove-path=/gone",
            "--add-tar",
            &tar(at),
            "--env=PATH=/2",
            "scratch",
            "os:2",
        ],
    )
    .ok();
    let app = [
        "--add-file=/app=x",
        "--env=V=9",
        "--annotation=org.opencontainers.image.base.name=os",
        "--annotation=org.opencontainers.image.base.digest=old",
        "os:1",
        "app:1",
    ];
    edit(at, &app).ok();
    let out = edit(at, &["--rebase", "os:1", "os:2", "app:1", "app:2"]).ok();
    at.says(["verify-image", "app:2"]);
    let (app, os) = (layers(at, "app:2"), layers(at, "os:2"));
    assert_eq!(
        (app.len(), &app[..2], &app[2]),
        (3, &os[..], &layers(at, "app:1")[1])
    );
    let env = config(at, "app:2")["config"]["Env"].clone();
    assert_eq!(env, json!(["PATH=/2", "V=9"]));
    let manifest: Value = serde_json::from_slice(&at.manifest("app", "2").unwrap()).unwrap();
    let annotation = |name: &str| {
        let name = format!("org.opencontainers.image.base.{name}");
        manifest["annotations"][name].as_str().unwrap().to_string()
    };
    assert!(annotation("name").ends_with("/os:2"), "{manifest}");
    assert_eq!(
        annotation("digest"),
        at.says(["get-digest", "--manifest", "os", "2"]).trim()
    );
    edit(at, &["--rebase", "os:2", "os:1", "app:1", "app:3"]).fails(1);
    edit(at, &["--rebase", "os:1", "app:2", "os:2", "app:3"]).fails(1);
    // It stands on an image of its own, which has no such layer.
    assert_eq!(at.tags("app"), ["1", "2"]);
    assert_eq!(files(at, "app:2"), ["app", "in-tar", "os"]);
    let back = edit(at, &["--rebase", "os:2", "os:1", "app:2", "app:1b"]).ok();
    assert_eq!(layers(at, "app:1b"), layers(at, "app:1"), "{back} {out}");
});

each_place!(every_platform_gets_its_new_base, |at| {
    seed(at.dxf(), &multi(), "os:1");
    let all = |words: &[&str]| edit(at, &[&["--platform=all"], words].concat()).ok();
    all(&["--add-file=/app=x", "os:1", "app:1"]);
    all(&["--add-file=/news=x", "os:1", "os:2"]);
    all(&["--rebase", "os:1", "os:2", "app:1", "app:2"]);
    at.says(["verify-image", "app:2"]);
    for platform in ["linux/arm64", "linux/amd64"] {
        let list = at.run(["list-files", "--platform", platform, "app:2"]).ok();
        let names: Vec<_> = list.lines().iter().map(|line| line.to_string()).collect();
        let has = |name: &str| names.iter().any(|line| line.ends_with(name));
        assert!(has("app") && has("news"), "{names:?}");
    }
});

/// A tar with one file.
fn tar(at: &Place) -> String {
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(1);
    header.set_mode(0o644);
    tar.append_data(&mut header, "in-tar", &b"x"[..]).unwrap();
    at.file(&tar.into_inner().unwrap())
}

each_place!(tars_are_told_by_their_bytes, |at| {
    let plain = tar(at);
    let bytes = std::fs::read(at.work().join(&plain)).unwrap();
    let zstd = at.file(&zstd::encode_all(bytes.as_slice(), 3).unwrap());
    edit(
        at,
        &["--add-tar", &plain, "--add-tar", &zstd, "scratch", "tars:1"],
    )
    .ok();
    let list = at
        .run(["list-layers", "tars:1"])
        .env("DXF_OUTPUT", "json")
        .ok()
        .json();
    let kind = |n: usize| list[n]["mediaType"].as_str().unwrap().to_string();
    assert!(
        kind(0).ends_with("+gzip") && kind(1).ends_with("+zstd"),
        "{list}"
    );
    assert_eq!(list[0]["diff_id"], list[1]["diff_id"]);
    at.says(["verify-image", "tars:1"]);
    let bad = at.file(b"no tar at all");
    edit(at, &["--add-tar", &bad, "scratch", "tars:2"]).fails(65);
    assert_eq!(at.tags("tars"), ["1"]);
});

each_place!(all_layers_become_one, |at| {
    base(at);
    let words = [
        "--add-file=/x=1",
        "--squash",
        "--add-file=/y=1",
        "team/app:1",
        "team/flat:1",
    ];
    let out = edit(at, &words).ok();
    at.says(["verify-image", "team/flat:1"]);
    let (before, after) = (files(at, "team/app:1"), files(at, "team/flat:1"));
    let mut expected = [before, vec!["x".to_string(), "y".to_string()]].concat();
    expected.sort();
    let mut found = after.clone();
    found.sort();
    assert_eq!(found, expected);
    assert_eq!(layers(at, "team/flat:1").len(), 2);
    let history = config(at, "team/flat:1")["history"]
        .as_array()
        .unwrap()
        .clone();
    let empty: Vec<bool> = history
        .iter()
        .map(|step| step["empty_layer"] == true)
        .collect();
    assert_eq!(empty, [true, true, true, false, false]);
    assert_eq!(digest(&edit(at, &words).ok()), digest(&out));
});

each_place!(archives_and_folders_are_sources_and_targets, |at| {
    base(at);
    let made = edit(at, &["--env=A=b", "team/app:1", "oci-archive:out.tar:v2"]).ok();
    assert!(
        made.text().starts_with("oci-archive:out.tar@sha256:"),
        "{made}"
    );
    let items = read(&at.work().join("out.tar"));
    assert_eq!(
        (items.len(), items[0].labels.as_slice()),
        (1, &["v2".to_string()][..])
    );
    // Out of the file, into a folder, and over the file itself.
    let layout = edit(at, &["--env=C=d", "out.tar", "oci:layout:v3"]).ok();
    assert!(layout.text().starts_with("oci:layout@sha256:"), "{layout}");
    let same = edit(
        at,
        &[
            "--env=C=d",
            "oci-archive:out.tar:v2",
            "docker-archive:out.tar:app:v3",
        ],
    )
    .ok();
    assert_eq!(digest(&same), digest(&layout));
    let items = read(&at.work().join("out.tar"));
    // The image that the file contained stays there.
    assert_eq!((items.len(), &items[0].labels[0][..]), (2, "v2"));
    assert!(items[1].names[0].to_string().ends_with("app:v3"));
    assert_eq!(at.names(), ["layout", "out.tar"]);
    // What an engine saved has plain layers; they are compressed on the way.
    let saved = at.work().join("saved.tar");
    at.run(["pull-image", "--format=docker", "team/app:1"])
        .arg(&saved)
        .ok();
    edit(at, &["--env=A=b", &arg(&saved), "team/saved:1"]).ok();
    at.says(["verify-image", "team/saved:1"]);
    edit(
        at,
        &["--env=A=b", "team/app:1", "oci-archive:no/folder/f.tar"],
    )
    .fails(1);
    // A path, so a file that is missing and no repository of that name.
    edit(at, &["--env=A=b", "no.tar", "team/app:2"]).fails(1);
});
