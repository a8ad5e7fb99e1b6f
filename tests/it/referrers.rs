//! What refers to an image: `list-referrers`.

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
