//! `verify-alias`: what is missing, cut, grown or changed is found, a line each,
//! and whatever several aliases share is looked at once.

use std::fs;
use std::io::Write;

use serde_json::{Value, json};

use crate::support::data::{blob, digest};
use crate::support::place::{Place, each_place};
use crate::support::scratch;

const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// `verdict alias digest` of every finding.
fn found(at: &Place, words: &[&str], code: i32) -> Vec<String> {
    let words = [&["verify-alias"], words].concat();
    let dxf = at.run(words).env("DXF_OUTPUT", "json");
    let output = match code {
        0 => dxf.ok(),
        code => dxf.fails(code),
    };
    let all = output.json();
    let one = |finding: &Value| {
        let text = |name: &str| finding[name].as_str().unwrap_or_default().to_string();
        format!("{} {} {}", text("verdict"), text("alias"), text("digest"))
    };
    all.as_array().expect("a list").iter().map(one).collect()
}

/// Changes the bytes of a blob where they lie.
fn spoil(at: &Place, digest: &str, change: impl FnOnce(&mut Vec<u8>)) {
    let path = at.blob_file("a", digest);
    let mut bytes = fs::read(&path).unwrap();
    change(&mut bytes);
    fs::remove_file(&path).unwrap();
    fs::File::create(&path).unwrap().write_all(&bytes).unwrap();
}

each_place!(each_shared_blob_is_read_once, |at| {
    let (one, two) = (at.put("a", &blob(1, 400_000)), at.put("a", &blob(2, 10)));
    at.says(["set-alias", "a", "both", &one, &two, &one]);
    at.says(["set-alias", "a", "one", &one]);
    at.forget();
    let all = [
        format!("ok both {one}"),
        format!("ok both {two}"),
        format!("ok one {one}"),
    ];
    assert_eq!(found(at, &["a", "both", "one"], 0), all);
    at.asked([
        "GET /v2/a/manifests/both".to_string(),
        "GET /v2/a/manifests/one".into(),
        format!("GET /v2/a/blobs/{one}"),
        format!("GET /v2/a/blobs/{two}"),
    ]);
    let mut listed = found(at, &["--fast", "--all", "a"], 0);
    // A registry lists its tags as it likes.
    listed.sort_by_key(|line| line.contains(" one "));
    assert_eq!(listed, all);
    at.asked([
        "GET /v2/a/tags/list".to_string(),
        "GET /v2/a/manifests/both".into(),
        "GET /v2/a/manifests/one".into(),
        format!("HEAD /v2/a/blobs/{one}"),
        format!("HEAD /v2/a/blobs/{two}"),
    ]);
    let text = at.says(["verify-alias", "a", "one"]);
    assert_eq!(text, format!("ok  one  {one}  390.6 KiB\n"));
});

each_place!(each_kind_of_damage_has_its_name, |at| {
    let bytes: Vec<_> = (0..4).map(|seed| blob(seed, 300_000)).collect();
    let names: Vec<_> = bytes.iter().map(|bytes| at.put("a", bytes)).collect();
    let mut words = vec!["set-alias", "a", "v"];
    words.extend(names.iter().map(String::as_str));
    at.says(&words);
    fs::remove_file(at.blob_file("a", &names[1])).unwrap();
    spoil(at, &names[2], |bytes| bytes.truncate(299_999));
    spoil(at, &names[3], |bytes| bytes[150_000] ^= 1);
    let line = |verdict: &str, at: usize| format!("{verdict} v {}", names[at]);
    let mut expected = vec![
        line("ok", 0),
        line("missing", 1),
        line("wrong size", 2),
        line("wrong digest", 3),
    ];
    assert_eq!(found(at, &["a", "v"], 65), expected);
    expected[3] = line("ok", 3);
    assert_eq!(found(at, &["--fast", "a", "v"], 65), expected);
    let failed = at.run(["verify-alias", "a", "v"]).fails(65);
    let mut changed = bytes[3].clone();
    changed[150_000] ^= 1;
    for words in ["has 299999 bytes", &digest(&changed), "missing       v"] {
        assert!(failed.text().contains(words), "{failed}");
    }
    failed.says("are missing or wrong");
});

each_place!(every_child_of_an_index_counts, |at| {
    let (shared, own) = (at.put("a", b"shared"), at.put("a", b"own"));
    let first = at.says(["set-alias", "a", "x", &shared]);
    let second = at.says(["set-alias", "a", "y", &own, &shared]);
    let entry = |text: &str, architecture: &str| {
        json!({"mediaType": "application/vnd.docker.distribution.manifest.v2+json",
            "digest": digest(text.as_bytes()), "size": text.len(),
            "platform": {"os": "linux", "architecture": architecture}})
    };
    let index = json!({"schemaVersion": 2, "mediaType": OCI_INDEX,
        "manifests": [entry(&first, "amd64"), entry(&second, "arm64")]});
    at.put_manifest("a", "multi", OCI_INDEX, index.to_string().as_bytes());
    let lines = |second_is: &str| {
        let mut lines = vec![
            format!("ok multi {}", digest(first.as_bytes())),
            format!("ok multi {shared}"),
            format!("{second_is} multi {}", digest(second.as_bytes())),
        ];
        if second_is == "ok" {
            lines.push(format!("ok multi {own}"));
        }
        lines
    };
    // Whatever DXF_PLATFORM says: an alias is checked as a whole.
    let one = at.run(["verify-alias", "a", "multi"]);
    one.env("DXF_PLATFORM", "linux/amd64").ok();
    assert_eq!(found(at, &["a", "multi"], 0), lines("ok"));
    fs::remove_file(at.blob_file("a", &digest(second.as_bytes()))).unwrap();
    assert_eq!(found(at, &["a", "multi"], 65), lines("missing"));
    assert_eq!(found(at, &["--fast", "a", "multi"], 65), lines("missing"));
});

each_place!(a_file_in_parts_is_checked_as_a_whole, |at| {
    let content = blob(5, 250_000);
    let file = at.file(&content);
    let parts = at.says(["push-blob", "--split", "100000", "a", &file, "@v"]);
    let parts: Vec<&str> = parts.lines().collect();
    let lines = |verdicts: &[&str]| {
        let names = [parts[0], parts[1], parts[2]].map(str::to_string);
        let names = [digest(b"{}")]
            .into_iter()
            .chain(names)
            .chain([digest(&content)]);
        let lines = verdicts.iter().zip(names);
        lines
            .map(|(verdict, name)| format!("{verdict} v {name}"))
            .collect::<Vec<_>>()
    };
    at.forget();
    assert_eq!(found(at, &["a", "v"], 0), lines(&["ok"; 5]));
    at.asked([
        "GET /v2/a/manifests/v".to_string(),
        format!("GET /v2/a/blobs/{}", digest(b"{}")),
        format!("GET /v2/a/blobs/{}", parts[0]),
        format!("GET /v2/a/blobs/{}", parts[1]),
        format!("GET /v2/a/blobs/{}", parts[2]),
    ]);
    assert_eq!(found(at, &["--fast", "a", "v"], 0), lines(&["ok"; 4]));
    // Each part is right, but together they are another file.
    let other = at
        .says(["get-manifest", "a", "v"])
        .replace(parts[0], parts[1]);
    at.put_manifest("a", "v", OCI_MANIFEST, other.as_bytes());
    let odd = found(at, &["a", "v"], 65);
    assert!(
        odd.iter()
            .any(|line| *line == format!("wrong digest v {}", digest(&content))),
        "{odd:?}"
    );
    // Another alias of the same parts is not to blame for that.
    at.says(["push-blob", "--split", "100000", "a", &file, "@w"]);
    let both = found(at, &["a", "w", "v"], 65);
    assert_eq!(
        both.iter().filter(|line| line.starts_with("wrong")).count(),
        1
    );
    at.says(["push-blob", "--split", "100000", "a", &file, "@v"]);
    spoil(at, parts[1], |bytes| bytes[7] ^= 1);
    assert_eq!(
        found(at, &["a", "v"], 65),
        lines(&["ok", "ok", "wrong digest", "ok"])
    );
});

each_place!(the_files_of_an_artifact_are_checked_as_wholes, |at| {
    let (folder, bytes) = (scratch(), blob(9, 250_000));
    fs::write(folder.path().join("f"), &bytes).unwrap();
    fs::write(folder.path().join("small"), "s").unwrap();
    let push = ["push-files", "--split", "100000", "a", "v", "small", "f"];
    at.run(push).current_dir(folder.path()).ok();
    let whole = digest(&bytes);
    let lines = found(at, &["a", "v"], 0);
    assert_eq!(lines.last(), Some(&format!("ok v {whole}")), "{lines:?}");
    // Each part is right, but together they are another file.
    let told = at.says(["get-manifest", "a", "v"]);
    let (one, two) = (digest(&bytes[..100_000]), digest(&bytes[100_000..200_000]));
    let other = told
        .replace(&one, "X")
        .replace(&two, &one)
        .replace('X', &two);
    at.put_manifest("a", "w", OCI_MANIFEST, other.as_bytes());
    let lines = found(at, &["a", "w"], 65);
    let wrong = lines.iter().filter(|line| line.starts_with("wrong"));
    assert!(wrong.eq([&format!("wrong digest w {whole}")]), "{lines:?}");
    found(at, &["--fast", "a", "w"], 0);
    // `verify-image` reads them as wholes, too.
    let verify = |name: &str| at.dxf().args(["verify-image", name]);
    let right = verify("a:v").ok();
    let last = right.lines().last().expect("a line").to_string();
    assert!(
        last.starts_with("ok") && last.contains("file") && last.contains(&whole),
        "{last}"
    );
    let wrong = verify("a:w").fails(65);
    let rows = wrong.lines();
    let rows: Vec<&str> = rows
        .into_iter()
        .filter(|row| row.starts_with("wrong"))
        .collect();
    assert!(
        matches!(rows[..], [row] if row.contains(&whole)),
        "{rows:?}"
    );
});

each_place!(an_alias_that_is_missing_or_wrong_is_named, |at| {
    let name = at.put("a", b"abc");
    let manifest = at.says(["set-alias", "a", "v", &name]);
    let failed = at.run(["verify-alias", "a", "v", "absent"]).fails(2);
    assert_eq!(failed.says("absent").says("Not Found").text(), "");
    at.run(["verify-alias", "a"]).misused("too few arguments");
    let both = at.run(["verify-alias", "--all", "a", "v"]);
    both.misused("too many arguments");
    spoil(at, &digest(manifest.as_bytes()), |bytes| bytes[3] ^= 1);
    if at.bench.is_none() {
        // distribution does not hand such a manifest out.
        let failed = at.run(["verify-alias", "--all", "a"]).fails(65);
        failed.says("alias v");
    }
});
