//! python-dxf 12.1.1 and `dxf` side by side: what one wrote the other reads,
//! and what one prints the other prints.

use serde_json::{Value, json};

use crate::support::bench::{Bench, Mode, each_registry};
use crate::support::data::{blob, digest};
use crate::support::dxf::Dxf;
use crate::support::python;
use crate::support::registry::USER;
use crate::support::scratch;

const DOCKER: &str = "application/vnd.docker.distribution.manifest.v2+json";
const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";

/// Runs every step in one interpreter, as python-dxf's own `main` would:
/// starting one costs more than all that a step does.
const RUN_ALL: &str = r#"
import contextlib, io, json, os, sys, traceback
import dxf.main
done = []
for step in json.loads(sys.stdin.buffer.read()):
    out, err = io.BytesIO(), io.StringIO()
    sys.stdin = io.TextIOWrapper(io.BytesIO(step["stdin"].encode()), encoding="utf-8")
    stdout = io.TextIOWrapper(out, encoding="utf-8")
    with contextlib.redirect_stdout(stdout), contextlib.redirect_stderr(err):
        try:
            code = dxf.main.doit(step["words"], {**os.environ, **step["env"]})
        except SystemExit as end:
            code = end.code
        except Exception:
            traceback.print_exc()
            code = 1
        stdout.flush()
    done.append({"code": code, "out": out.getvalue().hex(), "err": err.getvalue()})
sys.__stdout__.write(json.dumps(done))
"#;

/// One command; `R` stands for the tool's own repository, `S` for another.
struct Step {
    words: Vec<String>,
    stdin: String,
    env: Vec<(&'static str, String)>,
}

fn step(words: &str) -> Step {
    Step {
        words: words.split_whitespace().map(str::to_string).collect(),
        stdin: String::new(),
        env: Vec::new(),
    }
}

impl Step {
    fn stdin(mut self, text: &str) -> Step {
        self.stdin = text.to_string();
        self
    }

    fn env(mut self, name: &'static str, value: &str) -> Step {
        self.env.push((name, value.to_string()));
        self
    }

    fn words_for(&self, tool: &str) -> Vec<String> {
        let named = |word: &String| match word.as_str() {
            "R" => format!("{tool}/r"),
            "S" => format!("{tool}/s"),
            word => word.to_string(),
        };
        self.words.iter().map(named).collect()
    }
}

/// What a tool did at one step.
#[derive(PartialEq)]
struct Done {
    code: i64,
    out: Vec<u8>,
    err: String,
}

fn by_python(reg: &Bench, folder: &std::path::Path, steps: &[Step]) -> Vec<Done> {
    let request: Vec<Value> = steps
        .iter()
        .map(|step| {
            let env: serde_json::Map<String, Value> = step
                .env
                .iter()
                .map(|(name, value)| (name.to_string(), value.as_str().into()))
                .collect();
            json!({"words": step.words_for("py"), "stdin": step.stdin, "env": env})
        })
        .collect();
    let run = reg
        .tell(python::interpreter())
        .args(["-c", RUN_ALL])
        .current_dir(folder);
    let answer = run.stdin(Value::from(request).to_string()).ok().json();
    let done = answer.as_array().expect("a list").iter().map(|done| Done {
        code: done["code"].as_i64().expect("a code"),
        out: hex::decode(done["out"].as_str().expect("hex")).expect("hex"),
        err: done["err"].as_str().expect("text").to_string(),
    });
    done.collect()
}

fn by_dxf(reg: &Bench, folder: &std::path::Path, steps: &[Step]) -> Vec<Done> {
    let run = |step: &Step| {
        let dxf = reg.dxf().args(step.words_for("rs")).current_dir(folder);
        let dxf = step
            .env
            .iter()
            .fold(dxf, |dxf, (name, value)| dxf.env(name, value));
        let output = dxf.stdin(step.stdin.clone()).run();
        Done {
            code: output.code.map_or(-1, i64::from),
            out: output.stdout,
            err: output.stderr,
        }
    };
    steps.iter().map(run).collect()
}

/// Runs the steps with both tools; each must print the same and end the same.
fn same(reg: &Bench, folder: &std::path::Path, steps: &[Step]) {
    let (theirs, ours) = (by_python(reg, folder, steps), by_dxf(reg, folder, steps));
    assert_eq!(theirs.len(), ours.len());
    for ((step, theirs), ours) in steps.iter().zip(&theirs).zip(&ours) {
        let shown = |done: &Done| {
            format!(
                "exit {}\n{}\n{}",
                done.code,
                String::from_utf8_lossy(&done.out),
                done.err
            )
        };
        assert!(
            (theirs.code, &theirs.out) == (ours.code, &ours.out),
            "{:?}\npython-dxf: {}\ndxf: {}",
            step.words,
            shown(theirs),
            shown(ours)
        );
    }
}

fn folder() -> (tempfile::TempDir, String, String) {
    let folder = scratch();
    let (one, two) = (blob(1, 20_000), b"hello\n".to_vec());
    std::fs::write(folder.path().join("one"), &one).unwrap();
    std::fs::write(folder.path().join("two"), &two).unwrap();
    (folder, digest(&one), digest(&two))
}

each_registry!(each_pulls_what_the_other_pushed, |reg| {
    let (folder, one, two) = folder();
    let python = |words: &[&str]| reg.python().current_dir(folder.path()).args(words).ok();
    let dxf = |words: &[&str]| reg.dxf().current_dir(folder.path()).args(words).ok();
    for (repo, writer, reader) in [
        (
            "a",
            &python as &dyn Fn(&[&str]) -> crate::support::dxf::Output,
            &dxf as &dyn Fn(&[&str]) -> _,
        ),
        ("b", &dxf, &python),
    ] {
        assert_eq!(
            writer(&["push-blob", repo, "one", "@v"]).text(),
            one.clone() + "\n"
        );
        writer(&["push-blob", repo, "two"]);
        let set = writer(&["set-alias", repo, "both", &one, "./two"]);
        assert!(reader(&["pull-blob", repo, "@v"]).stdout == blob(1, 20_000));
        let both = reader(&["pull-blob", repo, "@both"]).stdout;
        assert!(both == [&blob(1, 20_000)[..], b"hello\n"].concat());
        assert_eq!(
            reader(&["get-alias", repo, "both"]).text(),
            format!("{one}\n{two}\n")
        );
        assert_eq!(reader(&["get-manifest", repo, "both"]).stdout, set.stdout);
    }
    // The same blobs under the same name are the same manifest.
    let manifest = |repo| reg.raw().manifest(repo, "both").expect(200);
    assert_eq!(manifest("a").body, manifest("b").body);
    let told = |repo| {
        reg.dxf()
            .args(["get-digest", "--manifest", repo, "both"])
            .ok()
    };
    assert_eq!(told("a").stdout, told("b").stdout);
});

each_registry!(a_script_prints_the_same_with_either_tool, |reg| {
    let (folder, one, two) = folder();
    let missing = digest(b"missing");
    let text = |names: &[(&str, usize)]| {
        let layer = |(digest, size): &(&str, usize)| json!({"digest": digest, "mediaType": "application/octet-stream", "size": size});
        let layers: Vec<Value> = names.iter().map(layer).collect();
        json!({"config": layers[0], "layers": layers, "mediaType": DOCKER, "schemaVersion": 2})
            .to_string()
    };
    let both = text(&[(&one, 20_000), (&two, 6)]);
    let steps = [
        step("list-aliases R"),
        step("push-blob R one"),
        step("push-blob R two @two"),
        step("push-blob R one @one"),
        step("push-blob R missing"),
        step("push-blob R one v"),
        step("push-blob R"),
        step("push-blob R one @v more"),
        step(&format!("blob-size R {one} @two {two}")),
        step(&format!("blob-size R {missing}")),
        step(&format!("set-alias R both {one} ./two")),
        step(&format!("set-alias R again {one} {two}")),
        step(&format!("set-alias R twice {two} {two}")),
        step(&format!("set-alias R v {missing}")),
        step("set-alias R v"),
        step("get-alias R both"),
        step("get-alias R both one"),
        step("get-alias R one missing"),
        step("get-alias R").stdin(&both),
        step("get-alias R both").env("DXF_PLATFORM", "linux/amd64"),
        step("get-digest R both one"),
        step("get-digest R missing"),
        step("get-digest R").stdin(&both),
        step("get-manifest R both"),
        step("get-manifest R both twice"),
        step("get-manifest R"),
        step(&format!("pull-blob R {one}")),
        step(&format!("pull-blob R @both {two} @two")),
        step("pull-blob R @one @missing"),
        step(&format!("pull-blob R {missing}")),
        step("pull-blob R").stdin(&both),
        step("blob-size R @both @one"),
        step("blob-size R").stdin(&both),
        step("list-aliases R more"),
        step(&format!("mount-blob S R {one}")),
        step(&format!("mount-blob S R {two} @m")),
        step(&format!("mount-blob S R {missing}")),
        step("mount-blob S R"),
        step(&format!("mount-blob S R {two} m")),
        step("get-alias S m"),
        step("list-aliases S"),
        step("del-alias R both"),
        step("get-alias R again"),
        step("del-alias R one missing"),
        step("get-alias R one"),
        step("del-alias R"),
        step(&format!("del-blob R {one}")),
        step(&format!("del-blob R {one}")),
        // Blobs that another alias names are kept here, and were not there.
        step("del-alias R twice"),
        step("del-blob R @two"),
        step("get-alias R two"),
        step(&format!("blob-size R {two}")),
        step(&format!("del-blob S {two} {one}")),
        step(&format!("pull-blob S {two}")),
    ];
    same(reg, folder.path(), &steps);
});

// The names both repositories share come in the order the registry has them,
// which is no order at all; so both tools are asked about one.
each_registry!(lists_are_the_same_with_either_tool, |reg| {
    let name = reg.raw().push_blob("a", b"abc");
    for alias in ["c", "a", "b", "B"] {
        reg.dxf().args(["set-alias", "a", alias, &name]).ok();
    }
    for words in [&["list-aliases", "a"][..], &["list-repos"]] {
        let (theirs, ours) = (reg.python().args(words).ok(), reg.dxf().args(words).ok());
        assert_eq!(theirs.text(), ours.text());
    }
});

/// An image of one blob, and its entry in a list.
fn image(reg: &Bench, repo: &str, architecture: &str, variant: Option<&str>) -> Value {
    let entry = |text: &str| {
        json!({"digest": reg.raw().push_blob(repo, text.as_bytes()), "size": text.len(),
               "mediaType": "application/octet-stream"})
    };
    let (config, layer) = (
        entry(&format!("{{\"{architecture}\": 1}}")),
        entry(architecture),
    );
    let text = json!({"schemaVersion": 2, "mediaType": DOCKER, "config": config,
                      "layers": [layer], "annotations": {"note": "gr\u{fc}n \u{1f600}"}});
    let text = text.to_string();
    let name = digest(text.as_bytes());
    reg.raw().put_manifest(repo, &name, DOCKER, text.as_bytes());
    let mut platform = json!({"os": "linux", "architecture": architecture});
    if let Some(variant) = variant {
        platform["variant"] = variant.into();
    }
    json!({"mediaType": DOCKER, "size": text.len(), "digest": name, "platform": platform})
}

each_registry!(several_platforms_print_the_same_with_either_tool, |reg| {
    let (folder, _, _) = folder();
    let mut list = String::new();
    for repo in ["py/r", "rs/r"] {
        let entries = [
            image(reg, repo, "s390x", None),
            image(reg, repo, "amd64", None),
            image(reg, repo, "arm", Some("v7")),
        ];
        list =
            json!({"schemaVersion": 2, "mediaType": DOCKER_LIST, "manifests": entries}).to_string();
        for alias in ["one", "two"] {
            reg.raw()
                .put_manifest(repo, alias, DOCKER_LIST, list.as_bytes());
        }
    }
    let mut steps = Vec::new();
    for platform in ["", "linux/amd64", "linux/arm/v7", "plan9/mips"] {
        for words in [
            "get-alias R one",
            "get-alias R one two",
            "get-digest R one",
            "get-manifest R one",
            "blob-size R @one @two",
            "pull-blob R @one",
        ] {
            steps.push(step(words).env("DXF_PLATFORM", platform));
        }
        for words in ["get-alias R", "get-digest R", "blob-size R"] {
            steps.push(step(words).stdin(&list).env("DXF_PLATFORM", platform));
        }
    }
    steps.push(step("pull-blob R").stdin(&list));
    // It takes the sibling along and leaves the platforms.
    steps.push(step("del-alias R one").env("DXF_PLATFORM", "linux/amd64"));
    steps.push(step("get-alias R two"));
    same(reg, folder.path(), &steps);
    for repo in ["py/r", "rs/r"] {
        reg.raw()
            .put_manifest(repo, "one", DOCKER_LIST, list.as_bytes());
    }
    let gone = digest(b"amd64");
    let steps = [
        step("del-blob R @one"),
        step("get-alias R one"),
        step(&format!("blob-size R {gone}")),
    ];
    same(reg, folder.path(), &steps);
});

#[test]
fn a_wrong_password_ends_both_tools_the_same() {
    for mode in [Mode::Basic, Mode::Token] {
        let reg = Bench::new(mode);
        for words in [&["list-aliases", "a"][..], &["pull-blob", "a", "@v"]] {
            for dxf in [reg.python(), reg.dxf()] {
                let wrong = dxf.login(USER, "wrong-Password-3").args(words);
                assert_eq!(wrong.fails(13).text(), "");
            }
        }
    }
}

#[test]
fn usage_errors_have_python_s_words() {
    let reg = Bench::new(Mode::Http);
    for (words, said) in [
        (&["push-blob", "a"][..], "too few arguments"),
        (&["push-blob", "a", "f", "@v", "w"], "too many arguments"),
        (&["push-blob", "a", "f", "v"], "invalid alias"),
        (&["mount-blob", "a", "b"], "too few arguments"),
        (
            &["mount-blob", "a", "b", "c", "@v", "w"],
            "too many arguments",
        ),
        (&["mount-blob", "a", "b", "c", "v"], "invalid alias"),
        (&["set-alias", "a", "v"], "too few arguments"),
        (&["list-aliases", "a", "b"], "too many arguments"),
        (&["list-repos", "a"], "unrecognized arguments: a"),
    ] {
        for dxf in [reg.python(), reg.dxf()] {
            dxf.args(words).misused(said);
        }
    }
    assert!(reg.requests().is_empty());
}

#[test]
fn a_token_of_either_tool_serves_the_other() {
    let reg = Bench::new(Mode::Token);
    let words = ["auth", "a", "pull", "push"];
    let (theirs, ours) = (reg.python().args(words).ok(), reg.dxf().args(words).ok());
    let nobody = |dxf: Dxf, token: &str| {
        let dxf = dxf.env_remove("DXF_USERNAME").env_remove("DXF_PASSWORD");
        dxf.env("DXF_TOKEN", token.trim())
    };
    let pushed = nobody(reg.dxf(), theirs.text()).args(["push-blob", "a", "-", "@v"]);
    pushed.stdin("abc").ok();
    let pulled = nobody(reg.python(), ours.text()).args(["pull-blob", "a", "@v"]);
    assert_eq!(pulled.ok().text(), "abc");
}

/// Where python-dxf's README promises what python-dxf does not do.
#[test]
fn what_crashes_python_dxf_works_as_its_readme_says() {
    let reg = Bench::new(Mode::Http);
    let (first, second) = (
        reg.raw().push_blob("a", b"abc"),
        reg.raw().push_blob("a", b"12345"),
    );
    reg.dxf()
        .args(["set-alias", "a", "v", &first, &second])
        .ok();
    // An int is what it needs, and a string what it gets.
    let chunked = |dxf: Dxf| {
        dxf.env("DXF_CHUNK_SIZE", "2")
            .args(["pull-blob", "a", "@v"])
    };
    chunked(reg.python()).fails(1);
    assert_eq!(chunked(reg.dxf()).ok().text(), "abc12345");
    // Into a pipe its lines come behind the bytes they are about.
    let info = |dxf: Dxf| dxf.env("DXF_BLOB_INFO", "1").args(["pull-blob", "a", "@v"]);
    let promised = format!("{first} 3\nabc{second} 5\n12345");
    assert_ne!(info(reg.python()).ok().text(), promised);
    assert_eq!(info(reg.dxf()).ok().text(), promised);
    // OCI lets a manifest go without saying what it is.
    let entry = json!({"mediaType": "text/plain", "size": 3, "digest": first});
    let bare = json!({"schemaVersion": 2, "config": entry, "layers": [entry]}).to_string();
    let kind = "application/vnd.oci.image.manifest.v1+json";
    reg.raw().put_manifest("a", "bare", kind, bare.as_bytes());
    reg.python().args(["get-alias", "a", "bare"]).fails(1);
    assert_eq!(
        reg.dxf().args(["get-alias", "a", "bare"]).ok().text(),
        first + "\n"
    );
}
