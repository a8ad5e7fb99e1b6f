//! `push-files` and `pull-files`, alone and beside oras, oras-py and regctl.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use crate::support::data::blob;
use crate::support::dxf::Dxf;
use crate::support::peers::{each_server, oras, regctl};
use crate::support::place::{Place, each_place};
use crate::support::python::oras_py;
use crate::support::registry::Registry;
use crate::support::scratch;
use crate::support::server::Server;

/// Eleven files, two of them in folders, and two folders to be kept as such.
fn tree(at: &Path) -> Vec<String> {
    let mut names = Vec::new();
    for n in 0..9 {
        let name = format!("file {n}.txt");
        fs::write(at.join(&name), blob(n, 1000 * n as usize)).unwrap();
        names.push(name);
    }
    fs::create_dir_all(at.join("some/deep")).unwrap();
    for (n, name) in ["some/a.bin", "some/deep/ü.bin"].iter().enumerate() {
        fs::write(at.join(name), blob(20 + n as u64, 70_000)).unwrap();
        names.push(name.to_string());
    }
    for folder in ["d", "e"] {
        fs::create_dir_all(at.join(folder).join("sub/empty")).unwrap();
        fs::write(at.join(folder).join("one"), folder).unwrap();
        fs::write(at.join(folder).join("sub/two.sh"), blob(30, 300_000)).unwrap();
        fs::set_permissions(
            at.join(folder).join("sub/two.sh"),
            Permissions::from_mode(0o750),
        )
        .unwrap();
        symlink("sub/two.sh", at.join(folder).join("link")).unwrap();
        names.push(folder.to_string());
    }
    names
}

/// Whether everything that `names` name is the same in both folders, modes and
/// links included.
fn same(one: &Path, other: &Path, names: &[String]) {
    for name in names {
        let differs = Command::new("diff")
            .args(["-r", "--no-dereference"])
            .args([one.join(name), other.join(name)])
            .output()
            .expect("diff");
        assert!(differs.status.success(), "{name}: {differs:?}");
    }
    let mode = |at: &Path| fs::metadata(at.join("d/sub/two.sh")).map(|m| m.permissions().mode());
    if names.iter().any(|name| name == "d" || name == "d/sub") {
        assert_eq!(mode(one).unwrap(), mode(other).unwrap());
    }
}

#[test]
fn equal_files_are_fetched_once() {
    let (files, registry) = (scratch(), Registry::http());
    let bytes = blob(7, 300_000);
    let names = ["a", "a.partial", "b.sh", "d/a"];
    fs::create_dir(files.path().join("d")).unwrap();
    for name in names {
        fs::write(files.path().join(name), &bytes).unwrap();
    }
    fs::set_permissions(files.path().join("b.sh"), Permissions::from_mode(0o755)).unwrap();
    let push = Dxf::new().plain(registry.host()).current_dir(files.path());
    push.args(["push-files", "team/twins", "v1"])
        .args(names)
        .ok();
    let front = Server::before(&registry, []);
    let pull = || {
        let pull = Dxf::new().plain(&front.host()).current_dir(files.path());
        pull.args(["pull-files", "team/twins", "v1", "-o", "out"])
            .ok()
            .text()
            .to_string()
    };
    assert_eq!(pull().lines().collect::<Vec<_>>(), names);
    for name in names {
        assert!(fs::read(files.path().join("out").join(name)).unwrap() == bytes);
    }
    let mode = fs::metadata(files.path().join("out/b.sh"))
        .unwrap()
        .permissions();
    assert_eq!(mode.mode() & 0o111, 0o111);
    assert_eq!(front.count("GET", "/v2/team/twins/blobs/*"), 1);
    // One that was changed is not what another is made of.
    for name in ["a", "d/a"] {
        fs::write(files.path().join("out").join(name), "changed").unwrap();
    }
    assert_eq!(pull(), "a\nd/a\n");
    assert!(fs::read(files.path().join("out/d/a")).unwrap() == bytes);
    assert_eq!(front.count("GET", "/v2/team/twins/blobs/*"), 2);
}

each_place!(files_come_back_and_the_same_is_not_fetched, |place| {
    let files = scratch();
    let names = tree(files.path());
    let push = |alias: &str| {
        let words = ["push-files", "team/files", alias, "--type", "text/x-report"];
        place
            .dxf()
            .current_dir(files.path())
            .args(words)
            .args(&names)
            .ok()
    };
    let first = push("v1").text().to_string();
    assert!(first.starts_with("team/files@sha256:"), "{first}");
    fs::File::options()
        .write(true)
        .open(files.path().join("d/one"))
        .unwrap()
        .set_modified(std::time::UNIX_EPOCH)
        .unwrap();
    assert_eq!(push("v2").text(), first, "the same files, the same digest");
    let out = files.path().join("out");
    let pull = |more: &[&str]| {
        let words = ["pull-files", "team/files", "v1", "-o"];
        place
            .dxf()
            .current_dir(files.path())
            .args(words)
            .arg("out")
            .args(more)
    };
    let said = pull(&[]).ok();
    assert_eq!(
        said.lines(),
        names.iter().map(String::as_str).collect::<Vec<_>>()
    );
    same(files.path(), &out, &names);
    // Again: files and folders that are there are not fetched.
    assert_eq!(pull(&["--keep"]).ok().text(), "");
    fs::write(out.join("e/one"), "changed").unwrap();
    assert_eq!(pull(&[]).ok().text(), "e\n");
    fs::write(out.join("file 3.txt"), "changed").unwrap();
    let refused = pull(&["--keep", "--only", "file*"]).fails(1);
    refused.says("file 3.txt").says("not overwritten");
    assert_eq!(pull(&["--only", "file*"]).ok().text(), "file 3.txt\n");
    // By name, to standard output and to a file.
    let one = [
        "pull-files",
        "team/files",
        "@v1",
        "--file",
        "some/a.bin",
        "-o",
    ];
    let read = place.dxf().args(one).arg("-").ok().stdout;
    assert!(read == fs::read(files.path().join("some/a.bin")).unwrap());
    place
        .dxf()
        .current_dir(files.path())
        .args(one)
        .arg("one.bin")
        .ok();
    assert!(fs::read(files.path().join("one.bin")).unwrap() == read);
    let digest = first.trim().split_once('@').unwrap().1;
    let list = place.says(["pull-files", "--list", "team/files", digest]);
    assert_eq!(list.lines().count(), 13);
    assert!(list.contains("some/deep/ü.bin") && list.contains("application/octet-stream"));
    let json = place.dxf().env("DXF_OUTPUT", "json");
    let json = json
        .args(["pull-files", "--list", "team/files", "v1"])
        .ok()
        .json();
    assert_eq!(
        (json[12]["name"].as_str(), json[12]["folder"].as_bool()),
        (Some("e"), Some(true))
    );
    place.says(["verify-image", "team/files:v1"]);
});

each_place!(a_script_can_be_run_under_another_name_too, |place| {
    let files = scratch();
    let at = |name: &str| files.path().join(name);
    for (name, mode) in [("run.sh", 0o755), ("text", 0o644)] {
        fs::write(at(name), name).unwrap();
        fs::set_permissions(at(name), Permissions::from_mode(mode)).unwrap();
    }
    let dxf = |words: &[&str]| place.dxf().current_dir(files.path()).args(words).ok();
    dxf(&["push-files", "a", "v1", "run.sh", "text"]);
    dxf(&["pull-files", "a", "v1", "--file", "run.sh", "-o", "go"]);
    dxf(&["pull-files", "a", "v1", "--file", "text", "-o", "read"]);
    let runs = |name| fs::metadata(at(name)).unwrap().permissions().mode() & 0o111;
    assert_eq!((runs("go"), runs("read")), (runs("run.sh"), 0));
});

#[test]
fn a_link_that_points_outside_its_folder_is_told_when_it_is_pushed() {
    let (registry, files) = (Registry::http(), scratch());
    let top = files.path().join("some/d");
    fs::create_dir_all(top.join("sub")).unwrap();
    symlink("../sub", top.join("sub/inside")).unwrap();
    let push = |more: &[&str]| {
        let push = Dxf::new().plain(registry.host()).current_dir(files.path());
        let push = push.args(["push-files", "a", "v1", "some/d"]).args(more);
        push.ok().stderr
    };
    assert_eq!(push(&[]), "");
    symlink("../../d", top.join("sub/outside")).unwrap();
    let told = push(&[]);
    assert!(told.contains("some/d/sub/outside is a link"), "{told}");
    assert_eq!(told.lines().count(), 1, "{told}");
    // The one is refused of which it said so.
    let pull = Dxf::new().plain(registry.host()).current_dir(files.path());
    let pull = pull.args(["pull-files", "a", "v1", "-o", "out"]);
    pull.fails(65).says("some/d/sub/outside");
    assert_eq!(push(&["--exclude", "sub/outside"]), "");
    fs::remove_file(top.join("sub/outside")).unwrap();
    symlink("/usr/bin/python3", top.join("python")).unwrap();
    assert!(push(&[]).contains("some/d/python is a link"));
}

each_place!(what_can_not_be_stored_is_told, |place| {
    let files = scratch();
    tree(files.path());
    let push = |words: &[&str]| {
        let push = place
            .dxf()
            .current_dir(files.path())
            .args(["push-files", "team/bad", "v1"]);
        push.args(words)
    };
    for (words, code, said) in [
        (&["/etc/hostname"][..], 2, "absolute"),
        (&["../x"], 1, "No such file"),
        (&["d/one", "d/one"], 2, "twice"),
        (&["d", "d/one"], 2, "it is in d"),
        (&[".:text/plain"], 2, "write the names of its files"),
        (&["d/one:plain"], 2, "two names with a slash"),
        (&["none"], 1, "No such file"),
        (&["-"], 2, "--name"),
        (&["d/one", "--name", "x"], 2, "--name is for standard input"),
        (&["d/one", "--type", "report"], 2, "media type"),
        (&["d/one", "--annotation", "x"], 2, "NAME=VALUE"),
        (&["d/one", "--subject", "nothing"], 2, "nothing in "),
        (
            &["d/one", "--subject", "v1", "--oci", "1.0"],
            2,
            "version 1.1",
        ),
    ] {
        if said.contains("--") || said.contains("NAME=") || said.contains("version") {
            push(words).misused(said);
            continue;
        }
        let failed = push(words).fails(code);
        assert!(failed.stderr.contains(said), "{words:?}: {}", failed.stderr);
    }
    assert!(
        place
            .run(["list-aliases", "team/bad"])
            .run()
            .text()
            .is_empty()
    );
    let pull = |words: &[&str]| {
        place
            .dxf()
            .current_dir(files.path())
            .args(["pull-files"])
            .args(words)
    };
    push(&["d/one"]).ok();
    pull(&["team/bad", "nope"]).fails(2);
    pull(&["team/bad", "v1", "--only", "zz*"])
        .fails(2)
        .says("d/one");
    pull(&["team/bad", "v1", "--file", "zz"])
        .fails(2)
        .says("d/one");
    pull(&["team/bad", "v1", "--file", "d/one/", "-o", "-"])
        .fails(2)
        .says("it is a file");
    pull(&["team/bad", "v1", "-o", "-"]).misused("--file NAME picks one file");
});

each_place!(types_annotations_and_times_are_as_asked, |place| {
    let files = scratch();
    tree(files.path());
    let notes = r#"{"$manifest":{"k":"v"},"$config":{"c":"1"},"d/one":{"note":"x"}}"#;
    fs::write(files.path().join("notes.json"), notes).unwrap();
    let push = place
        .dxf()
        .current_dir(files.path())
        .args(["push-files", "team/typed", "v1"]);
    push.args([
        "--config",
        "file 1.txt:text/x-config",
        "--type",
        "text/x-model",
    ])
    .args([
        "--annotation-file",
        "notes.json",
        "--annotation",
        "a=b",
        "--created",
        "epoch",
    ])
    .args(["d/one:text/plain", "-", "--name", "in/put.json"])
    .stdin("{}")
    .ok();
    let manifest = place.manifest("team/typed", "v1").unwrap();
    let manifest: serde_json::Value = serde_json::from_slice(&manifest).unwrap();
    assert_eq!(manifest["artifactType"], "text/x-model");
    assert_eq!(manifest["config"]["mediaType"], "text/x-config");
    assert_eq!(manifest["config"]["annotations"]["c"], "1");
    let layers = &manifest["layers"];
    assert_eq!(layers[0]["mediaType"], "text/plain");
    assert_eq!(layers[0]["annotations"]["note"], "x");
    assert_eq!(
        layers[1]["annotations"]["org.opencontainers.image.title"],
        "in/put.json"
    );
    let said = manifest["annotations"].to_string();
    let expected = r#"{"a":"b","k":"v","org.opencontainers.image.created":"1970-01-01T00:00:00Z"}"#;
    assert_eq!(said, expected);
    // The time can come from the environment, and 1.0 is written when asked for.
    let push = place
        .dxf()
        .current_dir(files.path())
        .env("SOURCE_DATE_EPOCH", "86400");
    push.args(["push-files", "team/typed", "v2", "d/one", "--oci", "1.0"])
        .ok();
    let manifest = String::from_utf8(place.manifest("team/typed", "v2").unwrap()).unwrap();
    assert!(manifest.contains("1970-01-02T00:00:00Z") && !manifest.contains("artifactType"));
    // An alias of blobs and a file in parts come out too.
    fs::write(files.path().join("big"), blob(5, 300_000)).unwrap();
    let big = place
        .dxf()
        .current_dir(files.path())
        .args(["push-blob", "--split", "cdc:16KiB"]);
    big.args(["team/typed", "big", "@parts"]).ok();
    place
        .dxf()
        .current_dir(files.path())
        .args(["push-blob", "team/typed", "d/one", "@plain"])
        .ok();
    let pull = |alias: &str| {
        let pull = place.dxf().current_dir(files.path());
        pull.args(["pull-files", "-o", "out", "team/typed", alias])
            .ok()
    };
    assert_eq!(pull("parts").text(), "big\n");
    assert!(fs::read(files.path().join("out/big")).unwrap() == blob(5, 300_000));
    let plain = pull("plain");
    assert!(plain.stderr.contains("names no file"), "{}", plain.stderr);
    assert_eq!(
        fs::read(files.path().join("out").join(plain.text().trim())).unwrap(),
        b"d"
    );
});

each_server!(oras_and_regctl_read_what_dxf_pushes, |registry| {
    let files = scratch();
    let names = tree(files.path());
    let dxf = || Dxf::new().plain(registry.host()).current_dir(files.path());
    let words = ["push-files", "team/ours", "v1", "--type", "text/x-report"];
    dxf().args(words).args(&names).ok();
    let name = format!("{}/team/ours:v1", registry.host());
    if let Some(oras) = oras() {
        let out = files.path().join("by oras");
        oras.args(["pull", "--plain-http", "-o"])
            .arg(&out)
            .arg(&name)
            .ok();
        same(files.path(), &out, &names);
    }
    if let Some(regctl) = regctl(&[registry.host()]) {
        let out = files.path().join("by regctl");
        fs::create_dir(&out).unwrap();
        regctl
            .args(["artifact", "get", "-o"])
            .arg(&out)
            .arg(&name)
            .ok();
        same(files.path(), &out, &names[..11]);
        assert!(
            out.join("d/d/one").is_file(),
            "it puts folders below themselves"
        );
    }
});

each_server!(dxf_reads_what_oras_and_regctl_push, |registry| {
    let files = scratch();
    let names = tree(files.path());
    let pull = |repo: &str, out: &str| {
        let pull = Dxf::new().plain(registry.host()).current_dir(files.path());
        pull.args(["pull-files", "-o", out, repo, "v1"]).ok();
        files.path().join(out)
    };
    if let Some(oras) = oras() {
        let name = format!("{}/by/oras:v1", registry.host());
        let push = oras
            .current_dir(files.path())
            .args(["push", "--plain-http", &name]);
        push.args(&names).ok();
        same(files.path(), &pull("by/oras", "from oras"), &names);
        let again = Dxf::new().plain(registry.host()).current_dir(files.path());
        let again = again
            .args(["pull-files", "-o", "from oras", "by/oras", "v1"])
            .ok();
        assert_eq!(again.text(), "");
    }
    if let Some(regctl) = regctl(&[registry.host()]) {
        let name = format!("{}/by/regctl:v1", registry.host());
        let put = [
            "artifact",
            "put",
            "--file-title",
            "--artifact-type",
            "text/x-t",
            "-f",
            "d",
        ];
        regctl.current_dir(files.path()).args(put).arg(&name).ok();
        // It makes every symbolic link one to itself.
        let folder = ["d/one", "d/sub"].map(String::from);
        same(files.path(), &pull("by/regctl", "from regctl"), &folder);
    }
});

each_server!(files_in_parts_are_read_as_one, |registry| {
    let files = scratch();
    let names = tree(files.path());
    let dxf = || Dxf::new().plain(registry.host()).current_dir(files.path());
    let push = |split: &str| {
        let words = ["push-files", "team/split", "v1", "--split", split];
        dxf().args(words).args(&names).ok().text().to_string()
    };
    assert_eq!(push("64KiB"), push("64KiB"));
    dxf()
        .args(["pull-files", "-o", "out", "team/split", "v1"])
        .ok();
    same(files.path(), &files.path().join("out"), &names);
    let list = dxf()
        .args(["pull-files", "--list", "team/split", "v1"])
        .ok();
    assert_eq!(list.lines().len(), names.len(), "{}", list.text());
    dxf()
        .args(["push-files", "team/split", "v2", "d", "--split", "20"])
        .fails(2)
        .says("smallest size that works");
    // To other tools the parts are files.
    let Some(oras) = oras() else { return };
    let name = format!("{}/team/split:v1", registry.host());
    let pull = oras.args(["pull", "--plain-http", "-o"]);
    pull.arg(files.path().join("oras")).arg(&name).ok();
    let parts = files.path().join("oras/some/deep");
    let read = |name: &str| fs::read(parts.join(name)).unwrap();
    let whole = [read("ü.bin.part0001"), read("ü.bin.part0002")].concat();
    assert!(whole == fs::read(files.path().join("some/deep/ü.bin")).unwrap());
});

/// Whether a config is one by the rules of ModelPack (model-spec,
/// schema/config-schema.json), as far as it has members.
fn fits_model_schema(config: &serde_json::Value) {
    let members = |value: &serde_json::Value, known: &[&str]| {
        for name in value.as_object().expect("an object").keys() {
            assert!(known.contains(&name.as_str()), "{name} in {value}");
        }
    };
    let texts = |value: &serde_json::Value| value.as_array().unwrap().iter().all(|v| v.is_string());
    members(config, &["descriptor", "config", "modelfs"]);
    assert_eq!(
        config.as_object().unwrap().len(),
        3,
        "all three are required"
    );
    let lists = ["authors", "licenses", "datasetsURL"];
    let words = [
        "createdAt",
        "family",
        "name",
        "docURL",
        "sourceURL",
        "version",
        "revision",
        "vendor",
        "title",
        "description",
    ];
    members(&config["descriptor"], &[&lists[..], &words].concat());
    for (name, value) in config["descriptor"].as_object().unwrap() {
        let is_list = lists.contains(&name.as_str());
        assert!(
            if is_list {
                texts(value)
            } else {
                value.is_string()
            },
            "{name}"
        );
    }
    let technical = [
        "architecture",
        "format",
        "paramSize",
        "precision",
        "quantization",
    ];
    members(&config["config"], &technical);
    assert!(
        config["config"]
            .as_object()
            .unwrap()
            .values()
            .all(|v| v.is_string())
    );
    members(&config["modelfs"], &["type", "diffIds"]);
    assert_eq!(config["modelfs"]["type"], "layers");
    assert!(texts(&config["modelfs"]["diffIds"]) && config["modelfs"]["diffIds"][0].is_string());
}

each_server!(a_model_is_one_to_other_tools, |registry| {
    let files = scratch();
    let model = files.path().join("m");
    fs::create_dir_all(model.join("sub")).unwrap();
    fs::write(model.join("sub/model.safetensors"), blob(1, 100_000)).unwrap();
    fs::write(model.join("config.json"), "{}").unwrap();
    fs::write(model.join("README.md"), "read").unwrap();
    symlink("sub/model.safetensors", model.join("same.safetensors")).unwrap();
    let dxf = || Dxf::new().plain(registry.host()).current_dir(files.path());
    let words = [
        "push-files",
        "--model",
        "team/model",
        "v1",
        "m",
        "--annotation",
    ];
    let push = dxf().args(words).arg("org.opencontainers.image.version=2");
    let more = [
        "licenses=MIT",
        "authors=A B",
        "title=T",
        "documentation=https://x.example",
    ];
    let more = more.map(|said| format!("--annotation=org.opencontainers.image.{said}"));
    push.args(more).args(["--created", "epoch"]).ok();
    let manifest = dxf().args(["get-manifest", "team/model", "v1"]).ok().json();
    let kind = |name: &str| format!("application/vnd.cncf.model.{name}");
    assert_eq!(manifest["artifactType"], kind("manifest.v1+json"));
    assert_eq!(manifest["config"]["mediaType"], kind("config.v1+json"));
    let layers = manifest["layers"].as_array().unwrap();
    let told: Vec<(&str, &str)> = layers
        .iter()
        .map(|layer| {
            let name = &layer["annotations"]["org.cncf.model.filepath"];
            (name.as_str().unwrap(), layer["mediaType"].as_str().unwrap())
        })
        .collect();
    let expected = [
        ("m/README.md", "doc.v1.raw"),
        ("m/config.json", "weight.config.v1.raw"),
        ("m/same.safetensors", "weight.v1.raw"),
        ("m/sub/model.safetensors", "weight.v1.raw"),
    ];
    let expected = expected.map(|(name, end)| (name, kind(end)));
    assert!(
        told.iter().zip(&expected).all(|(a, b)| *a == (b.0, &b.1)),
        "{told:?}"
    );
    let config = manifest["config"]["digest"].as_str().unwrap();
    let config = dxf().args(["pull-blob", "team/model", config]).ok().json();
    assert_eq!(config["descriptor"]["version"], "2");
    assert_eq!(config["config"]["format"], "safetensors");
    assert_eq!(config["modelfs"]["diffIds"][3], layers[3]["digest"]);
    fits_model_schema(&config);
    for layer in layers {
        let said = layer["annotations"]["org.cncf.model.file.metadata+json"].as_str();
        let said: serde_json::Value = serde_json::from_str(said.unwrap()).unwrap();
        assert_eq!(said["size"], layer["size"]);
        assert_eq!(
            (&said["typeflag"], said["mode"].as_u64()),
            (&48.into(), Some(0o644))
        );
        assert_eq!(said["mtime"], "1970-01-01T00:00:00Z");
    }
    let out = files.path().join("out");
    dxf()
        .args(["pull-files", "-o", "out", "team/model", "v1"])
        .ok();
    same(files.path(), &out, &["m/README.md".into(), "m/sub".into()]);
    let Some(oras) = oras() else { return };
    let name = format!("{}/team/model:v1", registry.host());
    let pull = oras.args(["pull", "--plain-http", "-o"]);
    pull.arg(files.path().join("oras")).arg(&name).ok();
    let names = ["m/README.md".to_string(), "m/sub".to_string()];
    same(files.path(), &files.path().join("oras"), &names);
});

each_server!(artifacts_are_kept_by_platform, |registry| {
    let files = scratch();
    let dxf = || Dxf::new().plain(registry.host()).current_dir(files.path());
    let push = |platform: &str, text: &str| {
        fs::write(files.path().join("tool"), text).unwrap();
        let words = ["push-files", "--platform", platform, "team/tool", "v1"];
        let push = dxf().args(words).args(["tool", "--type", "text/x-tool"]);
        push.ok().text().to_string()
    };
    let first = push("linux/amd64", "amd");
    let both = push("linux/arm/v7", "arm");
    assert_ne!(first, both);
    assert_eq!(push("linux/arm/v7", "arm"), both, "the same again");
    let pull = |platform: &str| {
        let words = ["pull-files", "--platform", platform, "team/tool", "v1"];
        dxf().args(words).args(["--file", "tool", "-o", "-"])
    };
    assert_eq!(pull("linux/amd64").ok().text(), "amd");
    assert_eq!(pull("linux/arm/v7").ok().text(), "arm");
    pull("linux/s390x").fails(1).says("linux/amd64");
    push("linux/amd64", "new");
    assert_eq!(pull("linux/amd64").ok().text(), "new");
    let index = dxf().args([
        "get-manifest",
        "team/tool",
        &both.trim()["team/tool@".len()..],
    ]);
    let index = index.env("DXF_PLATFORM", "linux/arm/v7").ok().json();
    assert_eq!(
        index["config"]["mediaType"],
        "application/vnd.oci.image.config.v1+json"
    );
    // A folder alone makes no image of it.
    fs::create_dir_all(files.path().join("folder")).unwrap();
    let words = ["push-files", "--platform", "linux/amd64", "team/tool", "v2"];
    dxf().args(words).arg("folder").ok();
    let image = format!("{}/team/tool:v2", registry.host());
    dxf().args(["verify-image", &image]).ok();
    dxf().args(["pull-image", &image, "out.tar"]).fails(1);
    // An alias of one manifest is left alone.
    dxf()
        .args(["push-files", "team/tool", "plain", "tool"])
        .ok();
    let words = [
        "push-files",
        "--platform",
        "linux/amd64",
        "team/tool",
        "plain",
        "tool",
    ];
    dxf().args(words).fails(1).says("not an index of platforms");
    // oras pushes one for a platform, and make-index finds out which.
    let Some(oras) = oras() else { return };
    let name = format!("{}/team/tool:by-oras", registry.host());
    let push = [
        "push",
        "--plain-http",
        "--artifact-platform",
        "linux/riscv64",
        &name,
    ];
    oras.current_dir(files.path()).args(push).arg("tool").ok();
    let image = |tag: &str| format!("{}/team/tool:{tag}", registry.host());
    dxf()
        .args(["make-index", &image("all"), &image("by-oras")])
        .ok();
    let listed = dxf().args(["list-platforms", &image("all")]).ok();
    assert!(listed.text().contains("linux/riscv64"), "{}", listed.text());
    let words = [
        "pull-files",
        "--platform",
        "linux/riscv64",
        "team/tool",
        "all",
    ];
    assert_eq!(
        dxf()
            .args(words)
            .args(["--file", "tool", "-o", "-"])
            .ok()
            .text(),
        "new"
    );
});

each_place!(writers_for_several_platforms_lose_nothing, |place| {
    let all: Vec<String> = (0..6).map(|n| format!("linux/test{n}")).collect();
    let running: Vec<_> = all
        .iter()
        .map(|platform| {
            let words = ["push-files", "--platform", platform, "team/all", "v1", "-"];
            let push = place.run(words).args(["--name", "f"]);
            push.stdin(platform.as_str()).spawn()
        })
        .collect();
    for one in running {
        let done = one.finish();
        assert_eq!((done.code, done.stderr.as_str()), (Some(0), ""), "{done}");
    }
    let index = place.manifest("team/all", "v1").unwrap();
    let index: serde_json::Value = serde_json::from_slice(&index).unwrap();
    let listed = index["manifests"].as_array().unwrap().iter();
    let mut listed: Vec<String> = listed
        .map(|one| {
            format!(
                "linux/{}",
                one["platform"]["architecture"].as_str().unwrap()
            )
        })
        .collect();
    listed.sort();
    assert_eq!(listed, all);
});

#[test]
fn of_an_index_without_platforms_one_is_named() {
    let place = Place::folder();
    for name in ["one", "two"] {
        let words = ["push-files", "team/all", name, "-", "--name", name];
        place.run(words).stdin(name).ok();
    }
    place.says(["make-index", "team/all:v1", "team/all:one"]);
    let pull = ["pull-files", "--list", "team/all", "v1"];
    assert!(place.says(pull).starts_with("one"));
    place.says(["make-index", "team/all:v1", "team/all:one", "team/all:two"]);
    place
        .run(pull)
        .fails(1)
        .says("name one by its digest: sha256:");
}

#[test]
fn oras_py_and_dxf_read_each_other() {
    let registry = Registry::http();
    let files = scratch();
    let names = tree(files.path());
    let host = registry.host();
    let dxf = || Dxf::new().plain(host).current_dir(files.path());
    dxf()
        .args(["push-files", "ours/py", "v1"])
        .args(&names)
        .ok();
    let script = format!(
        "import oras.client\n\
         client = oras.client.OrasClient(insecure=True)\n\
         client.pull(target='{host}/ours/py:v1', outdir='pulled', overwrite=True)\n\
         client.push(target='{host}/by/py:v1', files=['file 3.txt', 'd'], disable_path_validation=True)\n"
    );
    let Some(python) = oras_py(&script) else {
        return;
    };
    python.current_dir(files.path()).ok();
    // It unpacks no folders of oras' form by itself in every version; files it does.
    same(files.path(), &files.path().join("pulled"), &names[..11]);
    dxf()
        .args(["pull-files", "-o", "from py", "by/py", "v1"])
        .ok();
    let theirs = [names[3].clone(), "d".to_string()];
    same(files.path(), &files.path().join("from py"), &theirs);
}

#[test]
fn a_folder_store_is_read_by_oras() {
    let place = Place::folder();
    let files = scratch();
    let names = tree(files.path());
    let push = place.dxf().current_dir(files.path());
    push.args(["push-files", "team/local", "v1"])
        .args(&names)
        .ok();
    let layout = files.path().join("layout");
    let to = format!("oci:{}:v1", layout.display());
    place.says(["copy-image", "team/local:v1", &to]);
    let Some(oras) = oras() else { return };
    let out = files.path().join("out");
    let name = format!("{}:v1", layout.display());
    oras.args(["pull", "--oci-layout", "-o"])
        .arg(&out)
        .arg(&name)
        .ok();
    same(files.path(), &out, &names);
}

each_place!(files_of_another_folder_are_named_from_there, |place| {
    let files = scratch();
    let at = files.path().join("dist");
    fs::create_dir_all(at.join("d/deep")).unwrap();
    for name in ["app", "d/a.txt", "d/b.o", "d/deep/c.o"] {
        fs::write(at.join(name), name).unwrap();
    }
    let push = |folder: &Path, words: &[&str]| {
        let push = place.dxf().current_dir(folder);
        let push = push.args(["push-files", "team/dist", "v1"]).args(words);
        push.ok().text().to_string()
    };
    let listed = || {
        let out = scratch();
        let pull = place.dxf().current_dir(out.path());
        pull.args(["pull-files", "team/dist", "v1"]).ok();
        let mut find = Command::new("find");
        find.args([".", "-type", "f"]).current_dir(out.path());
        let found = find.output().unwrap().stdout;
        let mut names: Vec<String> = String::from_utf8(found)
            .unwrap()
            .lines()
            .map(String::from)
            .collect();
        names.sort();
        names.join(" ")
    };
    let here = push(&at, &["app:text/plain", "d"]);
    assert_eq!(
        push(files.path(), &["-C", "dist", "app:text/plain", "d"]),
        here
    );
    assert_eq!(listed(), "./app ./d/a.txt ./d/b.o ./d/deep/c.o");
    let all = push(files.path(), &["-C", "dist", "app", "d"]);
    assert_eq!(push(files.path(), &["-C", "dist", "."]), all);
    assert_eq!(push(&at, &["./"]), all);
    push(files.path(), &["-C", "dist", "--exclude", "d", "."]);
    assert_eq!(listed(), "./app");
    let out = [
        "-C",
        "dist",
        "--exclude",
        "**/*.o",
        "--exclude",
        "!deep/c.o",
        "d",
        "app",
    ];
    push(files.path(), &out);
    assert_eq!(listed(), "./app ./d/a.txt ./d/deep/c.o");
    push(
        files.path(),
        &["-C", "dist", "--model", "--exclude", "*.o", "d"],
    );
    assert_eq!(listed(), "./d/a.txt ./d/deep/c.o");
    let push = |words: &[&str]| {
        let push = place.dxf().current_dir(files.path());
        push.args(["push-files", "team/dist", "v2", "-C", "dist"])
            .args(words)
    };
    push(&["/etc/hostname"])
        .fails(2)
        .says("give its folder with -C");
    push(&["../dist/app"]).fails(2).says("outside this folder");
    push(&["none"]).fails(1).says("dist/none");
    push(&["d", "--exclude", "../x"])
        .fails(2)
        .says("leads upwards");
});

/// The peak memory of a pull of 200 files of 1 MiB, so many at once.
fn peak_of_many(registry: &Registry, jobs: &str) -> u64 {
    let out = scratch();
    let pull = Dxf::new().plain(registry.host()).current_dir(out.path());
    let pull = pull.env("DXF_JOBS", jobs).args(["pull-files", "a", "v1"]);
    let mut running = pull.spawn();
    let peak = running.peak();
    assert_eq!(running.finish().code, Some(0));
    assert_eq!(fs::read_dir(out.path()).unwrap().count(), 200);
    peak
}

#[test]
fn several_files_at_once_take_a_buffer_each() {
    let (registry, files) = (Registry::http(), scratch());
    let names: Vec<String> = (0..200).map(|n| format!("f{n}")).collect();
    for (n, name) in names.iter().enumerate() {
        fs::write(files.path().join(name), blob(n as u64, 1 << 20)).unwrap();
    }
    let push = Dxf::new().plain(registry.host()).current_dir(files.path());
    push.args(["push-files", "a", "v1"]).args(&names).ok();
    let (one, many) = (peak_of_many(&registry, "1"), peak_of_many(&registry, "8"));
    // Nothing that a thread of its own for every hash takes.
    assert!(one > 0 && many < one + (8 << 10), "{one} KiB, {many} KiB");
}
