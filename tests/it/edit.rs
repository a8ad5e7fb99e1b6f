//! `edit-image`: what it changes, what it leaves alone, and what it moves.

use dxf_registry::image::layer::{Compression, Family};
use dxf_registry::image::{Image, Node};
use serde_json::{Value, json};

use crate::archive::{GZIP, image, multi, read};
use crate::engine::{Docker, Tool, arg, file, hello};
use crate::images::{docker_image, seed};
use crate::support::bench::{Bench, Mode};
use crate::support::dxf::{Dxf, Output};
use crate::support::place::{Place, each_place};
use crate::support::scratch;

fn edit(at: &Place, words: &[&str]) -> Dxf {
    at.run(["edit-image"]).args(words)
}

/// The digest that was printed.
fn digest(out: &Output) -> String {
    let (_, digest) = out.text().trim_end().rsplit_once('@').expect("a digest");
    digest.to_string()
}

fn config(at: &Place, name: &str) -> Value {
    serde_json::from_str(&at.says(["get-config", name])).expect("JSON")
}

fn layers(at: &Place, name: &str) -> Vec<String> {
    let list = at.run(["list-layers", name]).env("DXF_OUTPUT", "json");
    let list = list.ok().json();
    let digests = list.as_array().expect("a list").iter();
    digests.map(|one| one["digest"].as_str().expect("a digest").to_string()).collect()
}

/// The names of the files a container sees.
fn files(at: &Place, name: &str) -> Vec<String> {
    let list = at.run(["list-files", name]).env("DXF_OUTPUT", "json").ok().json();
    let files = list.as_array().expect("a list").iter();
    files.map(|one| one["path"].as_str().expect("a name").to_string()).collect()
}

/// The base that most tests edit.
fn base(at: &Place) -> Vec<String> {
    seed(at.dxf(), &docker_image(), "team/app:1");
    layers(at, "team/app:1")
}

each_place!(layers_come_and_go_and_the_rest_stays, |at| {
    let before = base(at);
    std::fs::create_dir_all(at.work().join("conf/deep")).unwrap();
    std::fs::write(at.work().join("conf/deep/a"), "a").unwrap();
    std::fs::write(at.work().join("conf/b.tmp"), "b").unwrap();
    let words = ["--add-path", "conf:/etc/conf", "--exclude", "**/*.tmp", "--add-file", "/motd=hi",
        "--remove-path", "/hello", "--env", "A=1", "--env", "B=2", "--env", "A-", "--label", "l=x",
        "--annotation", "n=v", "--entrypoint", "/bin/app -v", "--cmd", r#"["a b"]"#, "--workdir", "/etc",
        "--user", "1:1", "--expose", "80", "--volume", "/data", "--stop-signal", "SIGINT",
        "--history", "one step", "team/app:1", "team/app:2"];
    let out = edit(at, &words).ok();
    assert_eq!(out.stderr, "");
    let after = layers(at, "team/app:2");
    assert_eq!((after.len(), &after[..2]), (3, &before[..]));
    let (was, is) = (config(at, "team/app:1"), config(at, "team/app:2"));
    assert_eq!(is["config"], json!({"Cmd": ["a b"], "Env": ["B=2"], "Labels": {"l": "x"},
        "Entrypoint": ["/bin/app", "-v"], "WorkingDir": "/etc", "User": "1:1",
        "ExposedPorts": {"80/tcp": {}}, "Volumes": {"/data": {}}, "StopSignal": "SIGINT"}));
    assert_eq!(is["created"], was["created"]);
    let history = is["history"].as_array().unwrap();
    assert_eq!(history.len(), 4);
    assert!(history[2]["created"].is_null() && history[2]["created_by"].is_string());
    assert_eq!(history[3], json!({"created_by": "one step", "empty_layer": true}));
    let found = files(at, "team/app:2");
    for name in ["etc/conf/deep/a", "motd"] {
        assert!(found.iter().any(|f| f == name), "{found:?}");
    }
    assert!(!found.iter().any(|f| f == "hello" || f.ends_with("b.tmp")), "{found:?}");
    at.says(["verify-image", "team/app:2"]);
    // The same again, from other files of the same content, is the same image.
    std::fs::rename(at.work().join("conf"), at.work().join("old")).unwrap();
    std::fs::create_dir_all(at.work().join("conf/deep")).unwrap();
    std::fs::write(at.work().join("conf/deep/a"), "a").unwrap();
    assert_eq!(digest(&edit(at, &words).ok()), digest(&out));
    // Options are obeyed in their order.
    let out = edit(at, &["--remove-layer", "top", "--remove-layer", &before[1], "--add-file=/x=1",
        "--history=made x", "--created=epoch", "team/app:2", "team/other:3"]);
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
    for words in [vec![], vec!["--env", "NO-", "--cmd", "/hello"], vec!["--add-file=/x=1", "--remove-layer=2"]] {
        let out = edit(at, &[words.as_slice(), &["team/app:1", "team/copy:1"]].concat()).ok();
        assert_eq!(at.manifest("team/copy", "1").as_deref(), Some(same.as_slice()), "{out}");
    }
});

each_place!(an_image_is_made_of_nothing, |at| {
    std::fs::write(at.work().join("app"), hello()).unwrap();
    let words = ["--platform=linux/arm64/v8", "--add-path=app:/bin/app", "--entrypoint=/bin/app",
        "scratch", "team/new:1"];
    let out = edit(at, &words).ok();
    at.says(["verify-image", "team/new:1"]);
    let is = config(at, "team/new:1");
    assert_eq!((&is["architecture"], &is["variant"]), (&json!("arm64"), &json!("v8")));
    assert_eq!(files(at, "team/new:1"), ["bin", "bin/app"]);
    assert_eq!(digest(&edit(at, &words).ok()), digest(&out));
    edit(at, &["--platform=all", "scratch", "team/new:2"]).misused("one platform");
    assert_eq!(at.tags("team/new"), ["1"]);
});

each_place!(every_platform_is_edited, |at| {
    seed(at.dxf(), &multi(), "team/multi:1");
    let words = ["--platform=all", "--add-file=/who=me", "--env=A=b", "team/multi:1", "team/multi:2"];
    let out = edit(at, &words).ok();
    let list = at.run(["list-platforms", "team/multi:2"]).ok();
    assert_eq!(list.lines().len(), 2);
    at.says(["verify-image", "team/multi:2"]);
    for platform in ["linux/arm64", "linux/amd64"] {
        let config = at.run(["get-config", "--platform", platform, "team/multi:2"]).ok().json();
        assert_eq!(config["config"]["Env"], json!(["A=b"]));
    }
    assert_eq!(digest(&edit(at, &words).ok()), digest(&out));
    // One of them gives an image, not an index.
    edit(at, &["--platform=linux/arm64", "--env=A=b", "team/multi:1", "team/one:1"]).ok();
    assert_eq!(config(at, "team/one:1")["architecture"], "arm64");
    edit(at, &["--platform=linux/s390x", "--env=A=b", "team/multi:1", "team/no:1"]).fails(2);
    assert!(at.manifest("team/no", "1").is_none());
});

each_place!(a_dry_run_tells_and_sends_nothing, |at| {
    let before = base(at);
    at.forget();
    let words = ["--dry-run", "--remove-layer=0", "--add-file=/x=1", "--env=A=b", "team/app:1", "team/new:1"];
    let out = edit(at, &words).ok();
    let lines = out.lines();
    let starts = |word: &str| lines.iter().filter(|line| line.starts_with(word)).count();
    assert_eq!((starts("keep "), starts("add "), starts("remove ")), (1, 1, 1), "{out}");
    assert!(lines.iter().any(|l| l.starts_with("set") && l.contains("config.Env")), "{out}");
    if let Some(bench) = &at.bench {
        assert!(bench.requests().iter().all(|one| matches!(one.method.as_str(), "GET" | "HEAD")));
    }
    assert!(at.manifest("team/new", "1").is_none());
    let told = edit(at, &words).env("DXF_OUTPUT", "json").ok().json();
    let transfer = &told["transfer"];
    // Registries take over what is elsewhere in them; a folder links it.
    let (mount, upload) = (&transfer["mount"]["blobs"], &transfer["upload"]["blobs"]);
    assert_eq!(mount.as_u64().unwrap() + upload.as_u64().unwrap(), 3, "{told}");
    assert_eq!(told["images"][0]["layers"][2]["digest"], before[0]);
    let real = edit(at, &words[1..]).ok();
    assert_eq!(told["digest"], digest(&real));
    let told = edit(at, &words).env("DXF_OUTPUT", "json").ok().json();
    assert_eq!(told["transfer"]["upload"]["blobs"], 0);
});

each_place!(what_can_not_be_done_is_one_line_and_nothing_is_pushed, |at| {
    base(at);
    let blob = at.put("team/app", b"plain");
    at.says(["set-alias", "team/app", "plain", &blob]);
    seed(at.dxf(), &multi(), "team/multi:1");
    seed(at.dxf(), &Node::Image(image("linux/amd64", Family::Oci, [Compression::Zstd; 2])), "team/zstd:1");
    let (absent, image) = (format!("sha256:{}", "0".repeat(64)), "team/app:1");
    let cases: [(&[&str], &str, i32); 24] = [
        (&["--remove-layer=2"], image, 2),
        (&["--remove-layer=deadbeef"], image, 2),
        (&["--remove-layer", &absent], image, 2),
        (&["--remove-layer=top", "--remove-layer=top"], image, 1),
        (&["--remove-layer=top", "--remove-layer=top", "--remove-layer=top"], image, 2),
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
        (&["--rebase", "team/zstd:1", "team/zstd:1"], "team/multi:1", 1),
        (&["--rebase", "team/none:1", "team/zstd:1"], image, 2),
        (&["--env=A=b"], "team/app:none", 2),
        (&["--env=A=b"], "team/app:plain", 1),
        (&["--platform=linux/s390x", "--env=A=b"], image, 2),
        (&["--platform=all", "--env=A=b"], "team/app:plain", 1),
    ];
    // Another image than zstd's is not on it.
    std::fs::write(at.work().join("x"), "x").unwrap();
    edit(at, &["--add-path=x", "--platform=linux/amd64", "scratch", "team/zstd:1"]).ok();
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
    edit(at, &["--dry-run", "--env=A=b", image, &format!("team/new:1@{absent}")]).fails(65);
    assert!(at.manifest("team/new", "1").is_none());
    assert!(at.tags("team/new").is_empty());
});
