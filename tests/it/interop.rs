//! Artifacts and images that other programs make and read.

use std::path::Path;

use serde_json::Value;

use crate::engine::arg;
use crate::images::{Style, TWO, index, seed};
use crate::support::data::{blob, digest};
use crate::support::dxf::Dxf;
use crate::support::peers::{
    Distribution3, ReferrersRegistry, cosign, crane, each_server, oras, regctl,
};
use crate::support::python::oras_py;
use crate::support::registry::Registry;
use crate::support::scratch;
use dxf_registry::image::layer::Family;

/// What is attached to the artifact: the media types of the referrers.
const SBOM: &str = "application/vnd.test.sbom";
const NOTE: &str = "application/vnd.test.note";

fn dxf(registry: &Registry) -> Dxf {
    Dxf::new().plain(registry.host())
}

/// `team/tool:1`, pushed and given an SBOM by oras and a note by regctl.
fn make(registry: &Registry, folder: &Path) -> Option<()> {
    let host = registry.host();
    let subject = format!("{host}/team/tool:1");
    let oras = oras()?.current_dir(folder);
    let regctl = regctl(&[host])?;
    for (name, text) in [("tool.txt", "a tool\n"), ("sbom.json", "{}\n")] {
        std::fs::write(folder.join(name), text).expect("a file");
    }
    let push = [
        "push",
        "--plain-http",
        "--artifact-type=application/vnd.test.tool",
    ];
    oras.clone()
        .args(push)
        .args([&subject, "tool.txt:text/plain"])
        .ok();
    let attach = ["attach", "--plain-http", "--artifact-type", SBOM, &subject];
    oras.args(attach).arg("sbom.json:application/json").ok();
    let put = [
        "artifact",
        "put",
        "--artifact-type",
        NOTE,
        "--subject",
        &subject,
    ];
    regctl.args(put).stdin("a note\n").ok();
    Some(())
}

/// The artifact types that oras and regctl list for an artifact, sorted.
fn listed(host: &str, name: &str) -> [Vec<String>; 2] {
    let name = format!("{host}/{name}");
    let types = |list: &Value| {
        let list = list.as_array().expect("a list");
        let text = |one: &Value| one["artifactType"].as_str().expect("a type").to_string();
        let mut types: Vec<String> = list.iter().map(text).collect();
        types.sort();
        types
    };
    let oras = oras().expect("it made the artifact");
    let discover = ["discover", "--plain-http", "--format=json", &name];
    let seen = oras.args(discover).ok().json();
    let regctl = regctl(&[host]).expect("it made a referrer");
    let list = [
        "artifact",
        "list",
        "--format",
        "{{json .Descriptors}}",
        &name,
    ];
    [
        types(&seen["referrers"]),
        types(&regctl.args(list).ok().json()),
    ]
}

each_server!(attachments_of_each_are_listed_by_all, |registry| {
    let files = scratch();
    let Some(()) = make(registry, files.path()) else {
        return;
    };
    let words = [
        "attach",
        "team/tool:1",
        "--type",
        "application/vnd.test.ours",
    ];
    let dxf = || dxf(registry).current_dir(files.path());
    let made = dxf().args(words).arg("sbom.json:application/json").ok();
    let digest = made
        .text()
        .trim()
        .split_once('@')
        .expect("a digest")
        .1
        .to_string();
    let all = [NOTE, "application/vnd.test.ours", SBOM].map(String::from);
    let mut sorted = all.to_vec();
    sorted.sort();
    assert_eq!(
        listed(registry.host(), "team/tool:1"),
        [sorted.clone(), sorted]
    );
    let tree = dxf().args(["list-referrers", "team/tool:1"]).ok();
    for kind in &all {
        assert!(tree.text().contains(kind.as_str()), "{kind}: {tree}");
    }
    let only = dxf()
        .args(["list-referrers", "team/tool:1", "--type", SBOM])
        .ok();
    assert!(
        only.text().contains(SBOM) && !only.text().contains(NOTE),
        "{only}"
    );
    // What is attached comes out like any other artifact, by its digest.
    dxf()
        .args(["pull-files", "-o", "out", "team/tool", &digest])
        .ok();
    let read = std::fs::read(files.path().join("out/sbom.json")).expect("a file");
    assert_eq!(read, b"{}\n");
    dxf().args(["detach", "team/tool:1", &digest]).ok();
    let left = [NOTE, SBOM].map(String::from).to_vec();
    assert_eq!(listed(registry.host(), "team/tool:1"), [left.clone(), left]);
});

each_server!(referrers_of_oras_and_regctl_survive_a_folder, |registry| {
    let files = scratch();
    let Some(()) = make(registry, files.path()) else {
        return;
    };
    let folder = format!("oci:{}", files.path().join("layout").display());
    let out = format!("{folder}:1");
    dxf(registry)
        .args(["copy-image", "--referrers", "team/tool:1", &out])
        .ok();
    // To a registry of the same kind, and within it.
    dxf(registry)
        .args(["copy-image", "--referrers", &out, "new/tool:1"])
        .ok();
    let expected = [NOTE, SBOM].map(String::from).to_vec();
    for name in ["team/tool:1", "new/tool:1"] {
        assert_eq!(
            listed(registry.host(), name),
            [expected.clone(), expected.clone()],
            "{name}"
        );
        dxf(registry).args(["verify-image", name]).ok();
    }
    let pulled = files.path().join("pulled");
    let name = format!("{}/new/tool:1", registry.host());
    let oras = oras().expect("it made the artifact");
    oras.args(["pull", "--plain-http", "-o", &arg(&pulled), &name])
        .ok();
    assert_eq!(std::fs::read(pulled.join("tool.txt")).unwrap(), b"a tool\n");
});

each_server!(referrers_go_to_every_kind_of_registry, |registry| {
    let files = scratch();
    let Some(()) = make(registry, files.path()) else {
        return;
    };
    let expected = [NOTE, SBOM].map(String::from).to_vec();
    let others = [
        Some(Registry::http()),
        Distribution3::start(),
        ReferrersRegistry::start(),
    ];
    for to in others.iter().flatten() {
        let from = dxf(to)
            .env("DXF_FROM_HOST", registry.host())
            .env("DXF_FROM_INSECURE", "1");
        from.args(["copy-image", "--referrers", "team/tool:1", "new/tool:1"])
            .ok();
        assert_eq!(
            listed(to.host(), "new/tool:1"),
            [expected.clone(), expected.clone()]
        );
        // Lists under tags are for registries without the API only.
        let path = format!("/v2/new/tool/referrers/{}", digest(b""));
        let has_api = to.raw().get(&path).status == 200;
        let tags = to.raw().tags("new/tool");
        let lists = tags.iter().any(|tag| tag.starts_with("sha256-"));
        assert_eq!(lists, !has_api, "{tags:?}");
    }
});

each_server!(
    oras_reads_an_artifact_in_an_archive_and_a_folder,
    |registry| {
        let files = scratch();
        let Some(()) = make(registry, files.path()) else {
            return;
        };
        let (archive, folder) = (files.path().join("tool.tar"), files.path().join("layout"));
        for (kind, to) in [("oci-archive", &archive), ("oci", &folder)] {
            let name = format!("{kind}:{}:1", to.display());
            dxf(registry)
                .args(["copy-image", "team/tool:1", &name])
                .ok();
            let oras = oras().expect("it made the artifact");
            let (layout, pulled) = (format!("{}:1", to.display()), files.path().join(kind));
            oras.args(["pull", "--oci-layout", "-o", &arg(&pulled), &layout])
                .ok();
            assert_eq!(std::fs::read(pulled.join("tool.txt")).unwrap(), b"a tool\n");
        }
    }
);

each_server!(crane_and_regctl_read_what_is_pushed, |registry| {
    let (Some(crane), Some(regctl)) = (crane(), regctl(&[registry.host()])) else {
        return;
    };
    let node = index(Family::Oci, Style::Compact, &TWO);
    seed(dxf(registry), &node, "team/app:1");
    let name = format!("{}/team/app:1", registry.host());
    let bytes = node.manifest().bytes();
    assert_eq!(crane.clone().args(["manifest", &name]).ok().stdout, bytes);
    let get = ["manifest", "get", "--format=raw-body", &name];
    assert_eq!(regctl.clone().args(get).ok().stdout, bytes);
    // crane validates every layer of every platform.
    crane.args(["validate", "--remote", &name]).ok();
    let digest = regctl.args(["image", "digest", &name]).ok();
    assert_eq!(digest.text().trim(), node.manifest().digest().to_string());
});

each_server!(what_cosign_signs_is_verified_after_a_copy, |registry| {
    let Some(cosign) = cosign() else { return };
    let files = scratch();
    let cosign = cosign.current_dir(files.path());
    cosign.clone().arg("generate-key-pair").ok();
    let node = index(Family::Oci, Style::Compact, &TWO);
    seed(dxf(registry), &node, "team/app:1");
    let digest = node.manifest().digest();
    let name = format!("{}/team/app@{digest}", registry.host());
    let write = [
        "--key=cosign.key",
        "--tlog-upload=false",
        "--allow-http-registry",
        "--yes",
    ];
    cosign.clone().arg("sign").args(write).arg(&name).ok();
    std::fs::write(files.path().join("predicate"), "{}").expect("a file");
    let attest = ["attest", "--predicate=predicate", "--type=custom"];
    cosign.clone().args(attest).args(write).arg(&name).ok();
    let folder = format!("oci:{}:1", files.path().join("layout").display());
    for (from, to) in [("team/app:1", &*folder), (&folder, "new/app:1")] {
        dxf(registry)
            .args(["copy-image", "--referrers", from, to])
            .ok();
    }
    let read = [
        "--key=cosign.pub",
        "--insecure-ignore-tlog",
        "--allow-http-registry",
    ];
    let name = format!("{}/new/app@{digest}", registry.host());
    let verified = cosign.clone().arg("verify").args(read).arg(&name).ok();
    assert!(verified.text().contains(&digest.to_string()), "{verified}");
    let verify = ["verify-attestation", "--type=custom"];
    cosign.args(verify).args(read).arg(&name).ok();
});

const PUSH: &str = "import sys, oras.client
client = oras.client.OrasClient(insecure=True)
client.push(target=sys.argv[1], files=['tool.txt'])";
const PULL: &str = "import sys, oras.client
client = oras.client.OrasClient(insecure=True)
client.pull(target=sys.argv[1], outdir=sys.argv[2])";

each_server!(oras_py_and_oras_pull_what_oras_py_pushed, |registry| {
    let (Some(push), Some(pull), Some(oras)) = (oras_py(PUSH), oras_py(PULL), oras()) else {
        return;
    };
    let files = scratch();
    std::fs::write(files.path().join("tool.txt"), "a tool\n").expect("a file");
    let name = format!("{}/team/py:1", registry.host());
    push.current_dir(files.path()).arg(&name).ok();
    let folder = format!("oci:{}:1", files.path().join("layout").display());
    for (from, to) in [("team/py:1", &*folder), (&folder, "new/py:1")] {
        dxf(registry).args(["copy-image", from, to]).ok();
    }
    dxf(registry).args(["verify-image", "new/py:1"]).ok();
    let name = format!("{}/new/py:1", registry.host());
    let pulled = ["oras-py", "oras"].map(|by| files.path().join(by));
    pull.args([&name, &arg(&pulled[0])]).ok();
    let words = ["pull", "--plain-http", "-o", &arg(&pulled[1]), &name];
    oras.args(words).ok();
    for folder in pulled {
        assert_eq!(std::fs::read(folder.join("tool.txt")).unwrap(), b"a tool\n");
    }
});

each_server!(blobs_and_aliases_work_on_every_server, |registry| {
    let files = scratch();
    let bytes = blob(5, 3 << 20);
    std::fs::write(files.path().join("data"), &bytes).expect("a file");
    std::fs::write(files.path().join("more"), "more").expect("a file");
    let run = |words: &[&str]| dxf(registry).current_dir(files.path()).args(words).ok();
    let aliases = |repo: &str| {
        let listed = run(&["list-aliases", repo]);
        let mut names: Vec<String> = listed.lines().into_iter().map(String::from).collect();
        names.sort();
        names
    };
    let name = digest(&bytes);
    for _ in ["the first time", "once more, where nothing is sent"] {
        let pushed = run(&["push-blob", "a/b", "data", "@v1"]);
        assert_eq!(pushed.text().trim(), name);
    }
    run(&["push-blob", "a/b", "more"]);
    run(&["set-alias", "a/b", "v2", &name, &digest(b"more")]);
    assert_eq!(aliases("a/b"), ["v1", "v2"]);
    let both = run(&["pull-blob", "a/b", "@v2"]).stdout;
    assert!(both == [&bytes[..], b"more"].concat());
    let size = run(&["blob-size", "a/b", &name]);
    assert_eq!(size.text().trim(), bytes.len().to_string());
    run(&["copy-image", "a/b:v1", "c/d:v1"]);
    assert_eq!(run(&["get-alias", "c/d", "v1"]).text().trim(), name);
    run(&["del-alias", "a/b", "v1"]);
    assert_eq!(aliases("a/b"), ["v2"]);
    let gone = dxf(registry).args(["pull-blob", "a/b", "@v1"]).fails(2);
    gone.says("there is no alias");
});
