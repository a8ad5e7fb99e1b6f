//! What a repository contains: aliases and repositories with kind, size, time
//! and platforms.

use dxf_registry::image::layer::Family;
use dxf_registry::image::{Image, Node};
use serde_json::Value;

use crate::archive::{GZIP, image, multi};
use crate::support::dxf::Dxf;
use crate::support::place::{Place, each_place};
use crate::support::rules::{GET, HEAD, on};
use crate::support::server::Server;

/// Puts an image or an index there, as no command is needed for.
pub fn put_node(at: &Place, repo: &str, tag: &str, node: &Node) {
    let one = |image: &Image, name: &str| {
        for blob in image.blobs() {
            at.put(repo, &blob.read(1 << 20).unwrap());
        }
        let manifest = image.manifest();
        at.put_manifest(repo, name, manifest.media_type(), manifest.bytes());
    };
    match node {
        Node::Image(image) => one(image, tag),
        Node::Index(index) => {
            for (_, image) in node.images() {
                one(image, &image.manifest().digest().to_string());
            }
            let manifest = index.manifest();
            at.put_manifest(repo, tag, manifest.media_type(), manifest.bytes());
        }
    }
}

/// One of each kind, and a list of referrers.
fn fill(at: &Place) {
    let blob = at.put("a/b", b"abc");
    at.says(["set-alias", "a/b", "alias", &blob]);
    at.says(["set-alias", "a/b", "again", &blob]);
    let file = at.file(b"abcdef");
    at.says(["push-blob", "--split", "4", "a/b", &file, "@parts"]);
    let one = image("linux/s390x", Family::Docker, GZIP);
    put_node(at, "a/b", "v1.10", &Node::Image(one));
    put_node(at, "a/b", "v1.9", &multi());
    let list = br#"{"schemaVersion": 2, "manifests": []}"#;
    let kind = "application/vnd.oci.image.index.v1+json";
    at.put_manifest("a/b", &format!("sha256-{}", "0".repeat(64)), kind, list);
}

fn rows(text: &str) -> Vec<Vec<&str>> {
    let row = |line| -> Vec<&str> {
        let cells = str::split(line, "  ").map(str::trim);
        cells.filter(|cell| !cell.is_empty()).collect()
    };
    text.lines().map(row).collect()
}

each_place!(a_long_list_says_what_each_alias_names, |at| {
    fill(at);
    let cache = at.work().join("cache");
    let long = |more: &[&str]| {
        let words = ["list-aliases", "-l", "a/b"].iter().chain(more);
        let out = at.run(words).env("DXF_CACHE", &cache).ok();
        out.text().to_string()
    };
    at.forget();
    let text = long(&["--sort", "name"]);
    let rows = rows(&text);
    let names: Vec<&str> = rows.iter().map(|row| row[0]).collect();
    assert_eq!(names, ["again", "alias", "parts", "v1.10", "v1.9"]);
    let kinds: Vec<&str> = rows.iter().map(|row| row[2]).collect();
    assert_eq!(kinds, ["alias", "alias", "parts", "image", "index"]);
    assert_eq!(
        (rows[0][1], rows[0][3], rows[0][4]),
        (rows[1][1], "414 B", "-")
    );
    assert_eq!(rows[3][4..], ["2020-01-01T00:00:00Z", "linux/s390x"]);
    assert_eq!(
        rows[4][4..],
        ["2020-01-01T00:00:00Z", "linux/arm64,linux/amd64"]
    );
    if let Some(bench) = &at.bench {
        let lines = bench.request_lines();
        let count = |method: &str| lines.iter().filter(|line| line.starts_with(method)).count();
        // The list, four manifests, two of the index, and three configs.
        assert_eq!(
            (count("HEAD"), count("GET")),
            (5, 1 + 4 + 2 + 3),
            "{lines:?}"
        );
    }
    // What is known costs a HEAD.
    assert_eq!(long(&["--sort", "name"]), text);
    if let Some(bench) = &at.bench {
        let lines = bench.request_lines();
        let count = |method: &str| lines.iter().filter(|line| line.starts_with(method)).count();
        assert_eq!((count("HEAD"), count("GET")), (5, 1), "{lines:?}");
    }
    let first = |text: String| text.split_whitespace().next().unwrap().to_string();
    assert_eq!(
        first(long(&["--all", "sha256-*"])),
        format!("sha256-{}", "0".repeat(64))
    );
    assert_eq!(first(long(&["--sort", "size", "-r"])), "v1.9");
    assert_eq!(long(&["x*"]), "");
    let names = |words: &[&str]| at.says(["list-aliases", "a/b"].iter().chain(words));
    assert_eq!(names(&["--sort", "semver", "v*"]), "v1.9\nv1.10\n");
    assert_eq!(
        names(&["--sort", "created", "-r", "[ap]*"]),
        "parts\nalias\nagain\n"
    );
});

each_place!(the_same_as_json, |at| {
    fill(at);
    let out = at
        .run(["list-aliases", "-l", "a/b", "v1.9"])
        .env("DXF_OUTPUT", "json");
    let list = out.ok().json();
    let digest = multi().manifest().digest().to_string();
    let one = &list[0];
    assert_eq!(
        (list.as_array().unwrap().len(), &one["digest"]),
        (1, &Value::from(digest))
    );
    assert_eq!(
        one["platforms"],
        serde_json::json!(["linux/arm64", "linux/amd64"])
    );
    assert_eq!(
        (&one["kind"], &one["created"]),
        (&"index".into(), &"2020-01-01T00:00:00Z".into())
    );
    let out = at
        .run(["list-aliases", "-l", "a/b", "x"])
        .env("DXF_OUTPUT", "json");
    assert_eq!(out.ok().text(), "[]\n");
});

each_place!(repositories_with_their_newest_alias, |at| {
    fill(at);
    at.put("empty", b"x");
    let text = at.says(["list-repos", "-l"]);
    let mut rows = rows(&text);
    rows.sort();
    assert_eq!(
        rows,
        [
            vec!["a/b", "5", "2020-01-01T00:00:00Z"],
            vec!["empty", "0", "-"]
        ]
    );
    let out = at
        .run(["list-repos", "--long"])
        .env("DXF_OUTPUT", "json")
        .ok();
    let list = out.json();
    let list = list.as_array().unwrap();
    let found = list.iter().find(|repo| repo["name"] == "a/b").unwrap();
    assert_eq!(
        (&found["aliases"], &found["newest"]),
        (&5.into(), &"2020-01-01T00:00:00Z".into())
    );
});

each_place!(usage_counts_each_blob_once, |at| {
    let (a, b) = (at.put("a", b"0123456789"), at.put("a", b"0"));
    at.put("b", b"0");
    at.says(["set-alias", "a", "both", &a, &b]);
    at.says(["set-alias", "a", "again", &a, &b]);
    at.says(["set-alias", "a", "one", &b]);
    at.says(["set-alias", "b", "one", &b]);
    let (two, one) = (552, 411);
    let out = at.run(["show-usage"]).env("DXF_OUTPUT", "json").ok().json();
    assert_eq!(out["total"], two + one + 11);
    let repos = out["repositories"].as_array().unwrap();
    let find = |list: &[Value], name: &str| -> Value {
        list.iter().find(|one| one["name"] == name).unwrap().clone()
    };
    let repo = find(repos, "a");
    let is = |found: &Value, total: u64, unique: u64, frees: u64| {
        let expected = [total, unique, total - unique, frees].map(Value::from);
        let found = ["total", "unique", "shared", "frees"].map(|name| found[name].clone());
        assert_eq!(found, expected);
    };
    is(&repo, two + one + 11, two + 10, two + 10);
    let aliases = repo["aliases"].as_array().unwrap();
    is(&find(aliases, "both"), two + 11, 0, two + 10);
    is(&find(aliases, "one"), one + 1, 0, 0);
    is(&find(repos, "b"), one + 1, 0, 0);
    // Alone, with nothing to share with.
    let text = at.says(["show-usage", "b", "b"]);
    let cells: Vec<Vec<&str>> = rows(&text);
    assert_eq!(cells[0], ["NAME", "TOTAL", "UNIQUE", "SHARED", "FREES"]);
    assert_eq!(cells[1], ["b", "412 B", "412 B", "0 B", "412 B"]);
    assert_eq!(cells[2], ["b:one", "412 B", "412 B", "0 B", "412 B"]);
    assert_eq!(cells.len(), 3);
    at.run(["show-usage", "nobody/knows"]).fails(2);
});

#[test]
fn one_bad_manifest_does_not_hide_the_others() {
    let alias = dxf_registry::Manifest::alias(&[dxf_registry::Descriptor::new(
        "application/octet-stream",
        dxf_registry::Digest::of(b"abc"),
        3,
    )]);
    let good = alias.unwrap();
    let (bad, odd) = (
        r#"{"layers": 7"#,
        r#"{"mediaType": "application/vnd.x", "blobs": []}"#,
    );
    let digest = |bytes: &[u8]| dxf_registry::Digest::of(bytes).to_string();
    let mut rules = vec![
        on(GET, "/v2/a/tags/list")
            .reply(200)
            .body(r#"{"tags": ["bad", "gone", "good", "odd"]}"#),
        on(HEAD, "/v2/a/manifests/gone").reply(404),
    ];
    for (tag, bytes) in [
        ("bad", bad.as_bytes()),
        ("good", good.bytes()),
        ("odd", odd.as_bytes()),
    ] {
        let named = digest(bytes);
        rules.push(
            on(HEAD, &format!("/v2/a/manifests/{tag}"))
                .reply(200)
                .header("Docker-Content-Digest", &named)
                .body(bytes.to_vec()),
        );
        rules.push(
            on(GET, &format!("/v2/a/manifests/{named}"))
                .reply(200)
                .body(bytes.to_vec()),
        );
    }
    let server = Server::script(rules);
    let dxf = Dxf::new().plain(&server.host());
    let out = dxf.args(["list-aliases", "-l", "a"]).fails(65);
    let text = out.text();
    let kinds: Vec<&str> = rows(text).iter().map(|row| row[2]).collect();
    assert_eq!(
        kinds,
        ["unreadable", "missing", "alias", "unknown"],
        "{text}"
    );
}

#[test]
fn patterns_that_are_none_are_refused_before_any_request() {
    let server = Server::script([]);
    let dxf = || Dxf::new().plain(&server.host());
    dxf()
        .args(["list-aliases", "-l", "a", "["])
        .misused("invalid pattern");
    dxf()
        .args(["list-aliases", "a", "v*"])
        .misused("too many arguments");
}
