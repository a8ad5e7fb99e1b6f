//! Aliases of several platforms: what every command says of them, with
//! `DXF_PLATFORM` and without.

use serde_json::{Value, json};

use crate::support::data::digest;
use crate::support::dxf::Dxf;
use crate::support::place::{Place, each_place};

const DOCKER: &str = "application/vnd.docker.distribution.manifest.v2+json";
const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
const OCI: &str = "application/vnd.oci.image.manifest.v1+json";
const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// One image of an index, as it was put.
struct Image {
    text: String,
    kind: &'static str,
    config: String,
    layers: Vec<String>,
}

impl Image {
    /// Puts an image of these layers, and one all images of a repository share.
    fn put(at: &Place, kind: &'static str, name: &str, layers: &[&str]) -> Image {
        let config = format!("{{\"name\": \"{name}\"}}");
        let entry = |bytes: &str, kind: &str| {
            let digest = at.put("a", bytes.as_bytes());
            json!({"mediaType": kind, "size": bytes.len(), "digest": digest})
        };
        let config_entry = entry(&config, "application/vnd.oci.image.config.v1+json");
        let all = layers.iter().chain(&["shared"]);
        let layers: Vec<Value> = all.map(|l| entry(l, "application/octet-stream")).collect();
        let text = json!({
            "schemaVersion": 2, "mediaType": kind, "config": config_entry, "layers": layers,
            "annotations": {"note": "gr\u{fc}n"},
        });
        let text = text.to_string();
        at.put_manifest("a", &digest(text.as_bytes()), kind, text.as_bytes());
        let name = |entry: &Value| entry["digest"].as_str().unwrap().to_string();
        Image {
            kind,
            config: name(&config_entry),
            layers: layers.iter().map(name).collect(),
            text,
        }
    }

    fn digest(&self) -> String {
        digest(self.text.as_bytes())
    }

    /// Its entry in an index; `more` holds the platform, or nothing.
    fn entry(&self, more: Value) -> Value {
        let mut entry = json!({
            "mediaType": self.kind, "size": self.text.len(), "digest": self.digest(),
        });
        let members = entry.as_object_mut().unwrap();
        members.extend(more.as_object().unwrap().clone());
        entry
    }
}

fn platform(os: &str, architecture: &str, variant: Option<&str>) -> Value {
    let mut platform = json!({"os": os, "architecture": architecture});
    if let Some(variant) = variant {
        platform["variant"] = variant.into();
    }
    json!({ "platform": platform })
}

/// A Docker list of three platforms under the alias `multi`.
fn docker_list(at: &Place) -> ([Image; 3], String) {
    let images = [
        Image::put(at, DOCKER, "windows", &["w1", "w2"]),
        Image::put(at, DOCKER, "amd64", &["amd"]),
        Image::put(at, DOCKER, "arm64", &["arm"]),
    ];
    let list = json!({
        "schemaVersion": 2, "mediaType": DOCKER_LIST,
        "manifests": [
            images[0].entry(platform("windows", "amd64", None)),
            images[1].entry(platform("linux", "amd64", None)),
            images[2].entry(platform("linux", "arm64", Some("v8"))),
        ],
    });
    let text = list.to_string();
    at.put_manifest("a", "multi", DOCKER_LIST, text.as_bytes());
    (images, text)
}

/// `["…", "…"]` as Python writes it.
fn list(digests: &[String]) -> String {
    format!("[\"{}\"]", digests.join("\", \""))
}

/// `text` as a Python string in JSON.
fn quoted(text: &str) -> String {
    serde_json::to_string(text)
        .unwrap()
        .replace('\u{fc}', "\\u00fc")
}

fn for_platform(at: &Place, platform: &str) -> Dxf {
    at.dxf().env("DXF_PLATFORM", platform)
}

each_place!(without_a_platform_there_is_an_answer_for_each, |at| {
    let ([windows, amd, arm], text) = docker_list(at);
    at.forget();
    let each = |answer: &dyn Fn(&Image) -> String| {
        let (amd, arm, windows) = (answer(&amd), answer(&arm), answer(&windows));
        format!(
            "{{\"linux/amd64\": {amd}, \"linux/arm64/v8\": {arm}, \"windows/amd64\": {windows}}}"
        )
    };
    let line = |answer: &dyn Fn(&Image) -> String| each(answer) + "\n";
    let blobs = line(&|image| list(&image.layers));
    assert_eq!(at.says(["get-alias", "a", "multi"]), blobs);
    let fetched: Vec<String> = [&windows, &amd, &arm]
        .map(|image| format!("GET /v2/a/manifests/{}", image.digest()))
        .into();
    let all = || std::iter::once("GET /v2/a/manifests/multi".to_string()).chain(fetched.clone());
    at.asked(all());
    assert_eq!(at.says(["pull-blob", "a", "@multi"]), blobs);
    at.asked(all());
    let sizes = line(&|image| (if image.layers.len() == 3 { 10 } else { 9 }).to_string());
    assert_eq!(at.says(["blob-size", "a", "@multi"]), sizes);
    let configs = line(&|image| quoted(&image.config));
    assert_eq!(at.says(["get-digest", "a", "multi"]), configs);
    let own = digest(text.as_bytes()) + "\n";
    assert_eq!(at.says(["get-digest", "--manifest", "a", "multi"]), own);
    let manifests = each(&|image| quoted(&image.text));
    assert_eq!(at.says(["get-manifest", "a", "multi"]), manifests);
    at.forget();
    // The same for the list on standard input, which is not asked for.
    for (command, said) in [
        ("get-alias", &blobs),
        ("pull-blob", &blobs),
        ("blob-size", &sizes),
        ("get-digest", &configs),
    ] {
        let piped = at.run([command, "a"]).stdin(text.clone()).ok();
        assert_eq!(piped.text(), said, "{command}");
        at.asked(fetched.clone());
    }
});

each_place!(a_platform_fetches_its_own_manifest_only, |at| {
    let ([_, amd, arm], text) = docker_list(at);
    at.forget();
    let two = |image: &Image| {
        let own = format!("GET /v2/a/manifests/{}", image.digest());
        ["GET /v2/a/manifests/multi".to_string(), own]
    };
    for (platform, image, bytes) in [
        ("linux/amd64", &amd, "amdshared"),
        ("linux/arm64/v8", &arm, "armshared"),
        // Every arm64 there is is v8.
        ("linux/arm64", &arm, "armshared"),
    ] {
        let says = |words: &[&str]| {
            let output = for_platform(at, platform).args(words).ok();
            at.asked(two(image));
            output.text().to_string()
        };
        let blobs = format!("{}\n", image.layers.join("\n"));
        assert_eq!(says(&["get-alias", "a", "multi"]), blobs);
        assert_eq!(says(&["blob-size", "a", "@multi"]), "9\n");
        assert_eq!(
            says(&["get-digest", "a", "multi"]),
            format!("{}\n", image.config)
        );
        let own = format!("{}\n", image.digest());
        assert_eq!(says(&["get-digest", "--manifest", "a", "multi"]), own);
        assert_eq!(says(&["get-manifest", "a", "multi"]), image.text);
        let pulled = for_platform(at, platform)
            .args(["pull-blob", "a", "@multi"])
            .ok();
        assert_eq!(pulled.text(), bytes);
        at.forget();
        let piped = for_platform(at, platform).args(["pull-blob", "a"]);
        assert_eq!(piped.stdin(text.clone()).ok().text(), bytes);
        at.forget();
        let file = for_platform(at, platform).args(["pull-blob", "a", "@multi", "-o", "f"]);
        assert_eq!(file.ok().text(), "");
        assert_eq!(
            std::fs::read(at.work().join("f")).unwrap(),
            bytes.as_bytes()
        );
        at.forget();
    }
});

each_place!(a_platform_says_nothing_of_a_single_manifest, |at| {
    let name = at.put("a", b"abc");
    let manifest = at.says(["set-alias", "a", "single", &name]);
    let plan9 = || for_platform(at, "plan9/mips");
    assert_eq!(
        plan9().args(["get-alias", "a", "single"]).ok().text(),
        name.clone() + "\n"
    );
    assert_eq!(
        plan9().args(["pull-blob", "a", "@single"]).ok().text(),
        "abc"
    );
    assert_eq!(
        plan9().args(["get-manifest", "a", "single"]).ok().text(),
        manifest
    );
});

each_place!(a_platform_that_is_not_there_is_told_which_are, |at| {
    docker_list(at);
    for words in [
        &["get-alias", "a", "multi"][..],
        &["blob-size", "a", "@multi"],
        &["get-digest", "a", "multi"],
        &["get-digest", "--manifest", "a", "multi"],
        &["get-manifest", "a", "multi"],
        &["pull-blob", "a", "@multi"],
        &["pull-blob", "a", "@multi", "-o", "out"],
    ] {
        let failed = for_platform(at, "plan9/mips").args(words).fails(1);
        let failed = failed.says("plan9/mips").says("DXF_PLATFORM");
        let failed = failed.says("linux/amd64, linux/arm64/v8, windows/amd64");
        assert_eq!(failed.text(), "", "{words:?}");
    }
    // Several platforms are no bytes for a file.
    let failed = at.run(["pull-blob", "a", "@multi", "-o", "out"]).fails(1);
    let failed = failed.says("DXF_PLATFORM").says("linux/arm64/v8");
    assert_eq!(failed.text(), "");
    assert!(at.names().is_empty(), "{:?}", at.names());
});

each_place!(del_alias_of_an_index_keeps_its_manifests, |at| {
    let ([windows, amd, arm], text) = docker_list(at);
    at.forget();
    let said = at.says(["del-alias", "a", "multi"]);
    let (w, a, r) = (windows.digest(), amd.digest(), arm.digest());
    let expected = format!(
        "{{\"linux/amd64\": \"{a}\", \"linux/arm64/v8\": \"{r}\", \"windows/amd64\": \"{w}\"}}\n"
    );
    assert_eq!(said, expected);
    at.asked([
        "GET /v2/a/manifests/multi".to_string(),
        "GET /v2/a/tags/list".to_string(),
        format!("DELETE /v2/a/manifests/{}", digest(text.as_bytes())),
    ]);
    assert!(at.tags("a").is_empty());
    assert_eq!(
        at.says(["get-alias", "a", &a]),
        format!("{}\n", amd.layers.join("\n"))
    );
});

each_place!(del_alias_and_del_blob_take_an_index_as_a_whole, |at| {
    docker_list(at);
    let said = for_platform(at, "linux/amd64")
        .args(["del-alias", "a", "multi"])
        .ok();
    assert_eq!(said.json().as_object().unwrap().len(), 3);
    let (images, _) = docker_list(at);
    let deleted = for_platform(at, "linux/amd64")
        .args(["del-blob", "a", "@multi"])
        .ok();
    assert_eq!((deleted.text(), deleted.stderr.as_str()), ("", ""));
    assert!(at.tags("a").is_empty());
    for image in images {
        assert_eq!(at.manifest("a", &image.digest()), None);
        // The layer that all share is deleted once, and that is no error.
        assert!(image.layers.iter().all(|layer| !at.has_blob("a", layer)));
    }
});

each_place!(del_blob_may_keep_an_index, |at| {
    let (images, _) = docker_list(at);
    assert_eq!(at.says(["del-blob", "--keep-alias", "a", "@multi"]), "");
    assert_eq!(at.tags("a"), ["multi"]);
    for image in &images {
        assert!(at.manifest("a", &image.digest()).is_some());
        assert!(image.layers.iter().all(|layer| !at.has_blob("a", layer)));
    }
});

/// What BuildKit pushes: no `mediaType` at the top, and an attestation beside
/// the image it is of; here with an entry besides that names no platform.
fn buildkit_index(at: &Place) -> ([Image; 3], String) {
    let image = Image::put(at, OCI, "arm", &["arm"]);
    let attestation = Image::put(at, OCI, "attestation", &["in-toto"]);
    let bare = Image::put(at, OCI, "bare", &["bare"]);
    let mut about = platform("unknown", "unknown", None);
    about["annotations"] = json!({
        "vnd.docker.reference.type": "attestation-manifest",
        "vnd.docker.reference.digest": image.digest(),
    });
    let index = json!({"schemaVersion": 2, "manifests": [
        image.entry(platform("linux", "arm", Some("v7"))),
        attestation.entry(about),
        bare.entry(json!({})),
    ]});
    let text = index.to_string();
    at.put_manifest("a", "multi", OCI_INDEX, text.as_bytes());
    ([image, attestation, bare], text)
}

each_place!(
    attestations_and_entries_without_a_platform_are_told_apart,
    |at| {
        let ([image, attestation, bare], text) = buildkit_index(at);
        let expected = format!(
            "{{\"linux/arm/v7\": {}, \"unknown/unknown\": {}, \"unknown/unknown@{}\": {}}}\n",
            list(&image.layers),
            list(&attestation.layers),
            bare.digest(),
            list(&bare.layers),
        );
        assert_eq!(at.says(["get-alias", "a", "multi"]), expected);
        assert_eq!(at.says(["pull-blob", "a", "@multi"]), expected);
        let piped = at.run(["get-alias", "a"]).stdin(text).ok();
        assert_eq!(piped.text(), expected);
        // No machine has the platform of an attestation.
        let chosen = for_platform(at, "linux/arm/v7")
            .args(["pull-blob", "a", "@multi"])
            .ok();
        assert_eq!(chosen.text(), "armshared");
        let failed = for_platform(at, "unknown/unknown")
            .args(["get-alias", "a", "multi"])
            .fails(1);
        let failed = failed.says("there are: linux/arm/v7;");
        assert_eq!(failed.text(), "");
        assert_eq!(at.says(["del-blob", "a", "@multi"]), "");
        assert!(at.tags("a").is_empty());
        for image in [image, attestation, bare] {
            assert_eq!(at.manifest("a", &image.digest()), None);
        }
    }
);

each_place!(an_index_in_an_index_is_read_through, |at| {
    let inner = [
        Image::put(at, OCI, "amd64", &["amd"]),
        Image::put(at, OCI, "s390x", &["big"]),
    ];
    let index = |manifests: Vec<Value>| {
        json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": manifests}).to_string()
    };
    let middle = index(vec![
        inner[0].entry(platform("linux", "amd64", None)),
        inner[1].entry(platform("linux", "s390x", None)),
    ]);
    let name = digest(middle.as_bytes());
    at.put_manifest("a", &name, OCI_INDEX, middle.as_bytes());
    let entry = json!({"mediaType": OCI_INDEX, "size": middle.len(), "digest": name});
    at.put_manifest("a", "multi", OCI_INDEX, index(vec![entry]).as_bytes());
    let expected = format!(
        "{{\"linux/amd64\": {}, \"linux/s390x\": {}}}\n",
        list(&inner[0].layers),
        list(&inner[1].layers)
    );
    assert_eq!(at.says(["get-alias", "a", "multi"]), expected);
    let chosen = for_platform(at, "linux/s390x")
        .args(["pull-blob", "a", "@multi"])
        .ok();
    assert_eq!(chosen.text(), "bigshared");
    let failed = for_platform(at, "linux/mips")
        .args(["get-alias", "a", "multi"])
        .fails(1);
    failed.says("linux/amd64, linux/s390x");
});

each_place!(single_and_multi_platform_aliases_stand_side_by_side, |at| {
    let ([windows, amd, arm], _) = docker_list(at);
    let name = at.put("a", b"abc");
    at.says(["set-alias", "a", "single", &name]);
    let said = at.says(["get-alias", "a", "single", "multi"]);
    let expected = format!(
        "{name}\n{{\"linux/amd64\": {}, \"linux/arm64/v8\": {}, \"windows/amd64\": {}}}\n",
        list(&amd.layers),
        list(&arm.layers),
        list(&windows.layers),
    );
    assert_eq!(said, expected);
    let sizes = at.says(["blob-size", "a", "@multi", &name]);
    assert_eq!(
        sizes,
        "{\"linux/amd64\": 9, \"linux/arm64/v8\": 9, \"windows/amd64\": 10}\n3\n"
    );
});
