//! What refers to an image: `attach`, `detach` and `list-referrers`; and the
//! commands that put manifests: `make-index`, `put-manifest`.

use serde_json::{Value, json};

use crate::support::data::digest;
use crate::support::place::{Place, each_place};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const REPO: &str = "team/app";

/// A manifest of blobs `{}`, told from others by `kind`.
fn manifest(kind: &str, members: Value) -> Vec<u8> {
    let empty = json!({"mediaType": "application/vnd.oci.empty.v1+json",
        "digest": digest(b"{}"), "size": 2});
    let mut manifest = json!({"schemaVersion": 2, "mediaType": MANIFEST,
        "artifactType": kind, "config": empty, "layers": [empty]});
    for (name, value) in members.as_object().expect("members") {
        manifest[name] = value.clone();
    }
    manifest.to_string().into_bytes()
}

fn entry(bytes: &[u8]) -> Value {
    json!({"mediaType": MANIFEST, "digest": digest(bytes), "size": bytes.len()})
}

/// Puts a manifest that `entry` describes; its entry.
fn put(at: &Place, bytes: &[u8]) -> Value {
    at.put_manifest(REPO, &digest(bytes), MANIFEST, bytes);
    entry(bytes)
}

/// Lists `entry` under the fallback tag of a subject, as a client does where
/// the registry has no list.
fn list_by_tag(at: &Place, subject: &Value, entry: &Value) {
    let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [entry]});
    let tag = text(&subject["digest"]).replace(':', "-");
    at.put_manifest(REPO, &tag, INDEX, index.to_string().as_bytes());
}

fn text(value: &Value) -> &str {
    value.as_str().expect("text")
}

fn listed(at: &Place, words: &[&str]) -> Value {
    let run = at.run(["list-referrers"]).args(words);
    run.env("DXF_OUTPUT", "json").ok().json()
}

each_place! {
    every_scheme_is_in_one_tree,
    |at| {
        at.put(REPO, b"{}");
        let image = put(at, &manifest("test/image", json!({})));
        let sbom = put(at, &manifest("test/sbom",
            json!({"subject": image, "annotations": {"of": "image"}})));
        // The list may have the config's type; the manifest has the last word.
        let mut wrong = sbom.clone();
        wrong["artifactType"] = "application/vnd.oci.empty.v1+json".into();
        list_by_tag(at, &image, &wrong);
        let signature = put(at, &manifest("test/signature", json!({"subject": sbom})));
        list_by_tag(at, &sbom, &signature);
        let cosign = manifest("test/cosign", json!({}));
        let tag = format!("{}.sig", text(&image["digest"]).replace(':', "-"));
        at.put_manifest(REPO, &tag, MANIFEST, &cosign);
        let attestation = manifest("test/attestation", json!({}));
        let mut attested = put(at, &attestation);
        attested["annotations"] = json!({"vnd.docker.reference.type": "attestation-manifest",
            "vnd.docker.reference.digest": image["digest"]});
        attested["platform"] = json!({"os": "unknown", "architecture": "unknown"});
        let mut child = image.clone();
        child["platform"] = json!({"os": "linux", "architecture": "arm64"});
        let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [child, attested]});
        at.put_manifest(REPO, "v1", INDEX, index.to_string().as_bytes());

        let found = listed(at, &["team/app:v1"]);
        assert_eq!(found[0]["referrers"], json!([]));
        assert_eq!((&found[1]["digest"], &found[1]["platform"]), (&image["digest"], &json!("linux/arm64")));
        let below = found[1]["referrers"].as_array().expect("a list");
        let schemes: Vec<_> = below.iter().map(|one| text(&one["scheme"])).collect();
        assert_eq!(schemes, ["buildkit", "subject", "cosign"]);
        assert_eq!(below[1]["artifactType"], "test/sbom");
        assert_eq!(below[1]["annotations"], json!({"of": "image"}));
        assert_eq!(below[1]["size"], sbom["size"]);
        assert_eq!(below[1]["referrers"][0]["digest"], signature["digest"]);
        assert_eq!(below[2]["tag"], json!(tag));

        let of_digest = format!("team/app@{}", text(&image["digest"]));
        let found = listed(at, &["--depth", "1", &of_digest]);
        let below = found[0]["referrers"].as_array().expect("a list");
        assert!(below.len() == 2 && below.iter().all(|one| one["referrers"] == json!([])), "{found}");
        let found = listed(at, &["--type", "test/signature", &of_digest]);
        assert_eq!(found[0]["referrers"].as_array().expect("a list").len(), 1);
        assert_eq!(found[0]["referrers"][0]["referrers"][0]["digest"], signature["digest"]);
        at.run(["list-referrers", "--type", "sbom", &of_digest]).fails(2).says("a media type is");
        let none = listed(at, &["--type", "test/none", &of_digest]);
        assert_eq!(none, json!([{"digest": image["digest"], "referrers": []}]));
        let one = at.says(["list-referrers", "--platform", "linux/arm64", "team/app:v1"]);
        assert!(one.contains(&format!("├── test/sbom {}", text(&sbom["digest"]))), "{one}");
        assert!(one.contains("│   │   of=image\n"), "{one}");
        assert!(one.contains(&format!("│   └── test/signature {}", text(&signature["digest"]))), "{one}");
        at.run(["list-referrers", "--platform", "linux/s390x", "team/app:v1"]).fails(2);
        at.run(["list-referrers", "team/app:none"]).fails(2).says("Not Found");
    }
}

/// Puts an image of `{}` under a tag; its reference by digest.
fn image(at: &Place, tag: &str) -> String {
    at.put(REPO, b"{}");
    let bytes = manifest("test/image", json!({}));
    at.put_manifest(REPO, tag, MANIFEST, &bytes);
    format!("team/app@{}", digest(&bytes))
}

each_place! {
    what_is_attached_can_be_detached,
    |at| {
        let image = image(at, "v1");
        std::fs::create_dir(at.work().join("a")).expect("a folder");
        std::fs::write(at.work().join("a/sbom.json"), "{ }").expect("a file");
        let words = ["attach", "--type", "test/sbom", "--annotation", "k=v", "team/app:v1", "a/sbom.json:text/json"];
        let told = at.says(words);
        let told = told.trim_end();
        let (_, attached) = told.split_once('@').expect("a digest");
        assert!(told.contains("team/app@sha256:"), "{told}");
        let stored: Value = serde_json::from_slice(&at.manifest(REPO, attached).expect("a manifest")).expect("JSON");
        assert_eq!(stored["artifactType"], "test/sbom");
        assert_eq!(stored["subject"]["digest"], image.rsplit('@').next().expect("a digest"));
        assert_eq!(stored["config"]["data"], "e30=");
        assert_eq!(stored["annotations"], json!({"k": "v"}));
        assert_eq!(stored["layers"][0]["mediaType"], "text/json");
        assert_eq!(stored["layers"][0]["annotations"]["org.opencontainers.image.title"], "a/sbom.json");
        assert_eq!(at.says(words).trim_end(), told, "the same again");
        let note = ["attach", "--type", "test/note", "--annotation", "a=b", &image];
        let note = at.says(note);
        let found = listed(at, &["team/app:v1"]);
        assert_eq!(found[0]["referrers"].as_array().expect("a list").len(), 2);
        assert_eq!(found[0]["referrers"][0]["digest"], attached);
        assert_eq!(at.says(["detach", "team/app:v1", attached]), "");
        let found = listed(at, &["team/app:v1"]);
        assert_eq!(found[0]["referrers"].as_array().expect("a list").len(), 1);
        assert!(note.contains(text(&found[0]["referrers"][0]["digest"])));
        at.run(["detach", "team/app:v1", attached]).fails(2).says("Not Found");
        let own = image.rsplit('@').next().expect("a digest");
        at.run(["detach", "team/app:v1", own]).fails(1).says("does not refer to");
    }
}

each_place! {
    bad_attachments_push_nothing,
    |at| {
        image(at, "v1");
        std::fs::write(at.work().join("f"), "f").expect("a file");
        let attach = |words: &[&str]| at.run(["attach"]).args(words);
        attach(&["--type", "t/t", "team/app:none", "f"]).fails(2).says("push it first");
        attach(&["--type", "t", "team/app:v1", "f"]).fails(2).says("media type");
        attach(&["--type", "t/t", "team/app:v1", "f:text"]).fails(2).says("media type");
        attach(&["--type", "t/t", "team/app:v1", "/etc/hostname"]).fails(2).says("absolute");
        attach(&["--type", "t/t", "team/app:v1", "f", "./f"]).fails(2).says("twice");
        attach(&["--type", "t/t", "team/app:v1"]).misused("nothing to attach");
        attach(&["team/app:v1", "f"]).misused("needs a type");
        assert!(!at.has_blob(REPO, &digest(b"f")));
        assert_eq!(at.tags(REPO), ["v1"]);
    }
}

each_place! {
    indexes_are_made_and_changed,
    |at| {
        at.put(REPO, b"{}");
        let mut names = Vec::new();
        for arch in ["amd64", "arm64", "riscv64"] {
            let config = json!({"os": "linux", "architecture": arch, "config": {},
                "rootfs": {"type": "layers", "diff_ids": []}}).to_string();
            at.put("team/parts", config.as_bytes());
            let bytes = json!({"schemaVersion": 2, "mediaType": MANIFEST, "layers": [],
                "config": {"mediaType": "application/vnd.oci.image.config.v1+json",
                    "digest": digest(config.as_bytes()), "size": config.len()}}).to_string();
            at.put_manifest("team/parts", arch, MANIFEST, bytes.as_bytes());
            names.push(digest(bytes.as_bytes()));
        }
        let told = at.says(["make-index", "--annotation", "a=b", "team/app:all", "team/parts:amd64", "team/parts:arm64"]);
        let bytes = at.manifest(REPO, "all").expect("an index");
        assert_eq!(told, format!("team/app@{}\n", digest(&bytes)).replace("team/app", told.split('@').next().expect("a name")));
        let index: Value = serde_json::from_slice(&bytes).expect("JSON");
        assert_eq!(index["annotations"], json!({"a": "b"}));
        assert_eq!(index["manifests"][0]["platform"], json!({"os": "linux", "architecture": "amd64"}));
        assert_eq!(index["manifests"][1]["digest"], names[1].as_str());
        at.says(["make-index", "--add", "team/parts:riscv64", "--remove", "linux/amd64", "team/app:all"]);
        let index: Value = serde_json::from_slice(&at.manifest(REPO, "all").expect("an index")).expect("JSON");
        let listed: Vec<&str> = index["manifests"].as_array().expect("a list").iter().map(|one| text(&one["digest"])).collect();
        assert_eq!(listed, [&names[1], &names[2]]);
        assert_eq!(index["annotations"], json!({"a": "b"}));
        at.run(["make-index", "--remove", "linux/amd64", "team/app:all"]).fails(2).says("Not Found");
        at.run(["make-index", "team/app:all"]).misused("too few arguments");
    }
}

each_place! {
    any_manifest_is_put_byte_for_byte,
    |at| {
        at.put(REPO, b"{}");
        let bytes = manifest("test/odd", json!({"unknown": [1, 2]}));
        let file = at.file(&bytes);
        let told = at.says(["put-manifest", REPO, "odd", &file]);
        assert_eq!(told, format!("{REPO}@{}\n", digest(&bytes)));
        assert_eq!(at.manifest(REPO, "odd").expect("a manifest"), bytes);
        at.run(["put-manifest", REPO, &digest(&bytes), "-"]).stdin(bytes.clone()).ok();
        at.run(["put-manifest", REPO, &digest(b"other"), &file]).fails(65);
        at.run(["put-manifest", REPO, "odd", "none"]).fails(1);
        at.run(["put-manifest", REPO, "odd", "-"]).stdin("no JSON").fails(65);
    }
}

/// Fifty processes of one user attach to one image of a registry that keeps no list,
/// and half as many on as many machines, who know nothing of each other.
#[test]
fn many_writers_lose_nothing() {
    attach_at_once(50, |_| "cache".to_string());
    attach_at_once(25, |n| format!("cache{n}"));
}

fn attach_at_once(count: usize, cache: impl Fn(usize) -> String) {
    let at = Place::registry(crate::support::bench::Mode::Http);
    image(&at, "v1");
    let running: Vec<_> = (0..count)
        .map(|n| {
            let note = format!("n={n}");
            let words = [
                "attach",
                "--type",
                "t/t",
                "--annotation",
                &note,
                "team/app:v1",
            ];
            // Processes of one user find each other by their cache.
            at.run(words)
                .env("DXF_CACHE", at.work().join(cache(n)))
                .spawn()
        })
        .collect();
    for one in running {
        let done = one.finish();
        assert_eq!(done.stderr, "", "{done}");
    }
    let found = listed(&at, &["team/app:v1"]);
    let found = found[0]["referrers"].as_array().expect("a list").clone();
    let notes: std::collections::BTreeSet<String> = found
        .iter()
        .map(|one| text(&one["annotations"]["n"]).to_string())
        .collect();
    assert_eq!(notes.len(), count, "{found:?}");
}

/// regctl lists what refers to an image under the fallback tag alone.
#[test]
fn a_folder_lists_what_only_the_tag_lists() {
    let at = Place::folder();
    let image = image(&at, "v1");
    let note = ["attach", "--type", "t/t", "--annotation", "a=b", &image];
    let told = at.says(note);
    let (_, attached) = told.trim_end().split_once('@').expect("a digest");
    let blob = at.blob_file(REPO, attached);
    let path = blob
        .ancestors()
        .nth(3)
        .expect("a layout")
        .join("index.json");
    let bytes = std::fs::read(&path).expect("an index");
    let mut index: Value = serde_json::from_slice(&bytes).expect("JSON");
    let entries = index["manifests"].as_array_mut().expect("a list");
    let all = entries.len();
    entries.retain(|entry| entry["digest"] != attached);
    assert_eq!(entries.len(), all - 1);
    std::fs::write(&path, index.to_string()).expect("writing it");
    let found = listed(&at, &["team/app:v1"]);
    assert_eq!(found[0]["referrers"][0]["digest"], attached, "{found}");
}
