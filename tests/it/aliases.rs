//! Aliases are set, read and deleted, on a registry of each kind and on a
//! folder: what is printed, what exists afterwards, and what was asked.

use crate::support::data::{blob, digest};
use crate::support::place::{Place, each_place};
use crate::support::registry::Registry;

/// The manifest python-dxf writes for the blob `abc`, byte for byte.
const GOLDEN: &str = concat!(
    r#"{"config": {"digest": "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad", "#,
    r#""mediaType": "application/vnd.docker.container.image.v1+json", "size": 3}, "#,
    r#""layers": [{"digest": "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad", "#,
    r#""mediaType": "application/octet-stream", "size": 3}], "#,
    r#""mediaType": "application/vnd.docker.distribution.manifest.v2+json", "schemaVersion": 2}"#,
);

each_place!(set_alias_writes_what_python_dxf_writes, |at| {
    let name = at.put("team/a", b"abc");
    assert_eq!(GOLDEN.len(), 411);
    assert_eq!(at.says(["set-alias", "team/a", "v1", &name]), GOLDEN);
    at.asked([
        format!("HEAD /v2/team/a/blobs/{name}"),
        "PUT /v2/team/a/manifests/v1".into(),
    ]);
    assert_eq!(at.manifest("team/a", "v1").unwrap(), GOLDEN.as_bytes());
});

each_place!(set_alias_takes_digests_and_files_in_order, |at| {
    let (one, two) = (blob(1, 1000), blob(2, 2000));
    let (first, second) = (at.put("a", &one), at.put("a", &two));
    let path = format!("./{}", at.file(&one));
    let put = at.says(["set-alias", "a", "v1", &second, &path, &second]);
    // One HEAD a blob, however often it is named.
    at.asked([
        format!("HEAD /v2/a/blobs/{first}"),
        format!("HEAD /v2/a/blobs/{second}"),
        "PUT /v2/a/manifests/v1".into(),
    ]);
    assert_eq!(at.manifest("a", "v1").unwrap(), put.as_bytes());
    let blobs = at.says(["get-alias", "a", "v1"]);
    assert_eq!(blobs, format!("{second}\n{first}\n{second}\n"));
    // A file is hashed, not uploaded.
    let other = format!("./{}", at.file(b"nobody pushed this"));
    let failed = at.run(["set-alias", "a", "v2", &other]).fails(2);
    assert_eq!(
        failed
            .says("Not Found")
            .says(&digest(b"nobody pushed this"))
            .text(),
        ""
    );
    assert_eq!(at.tags("a"), ["v1"]);
    // A manifest's digest, and another alias.
    let manifest = at.says(["get-digest", "--manifest", "a", "v1"]);
    let manifest = manifest.trim();
    // A folder keeps manifests among its blobs.
    if at.bench.is_some() {
        at.run(["set-alias", "a", "v2", manifest])
            .fails(2)
            .says(&format!("dxf tag-image a@{manifest} v2"));
    }
    at.run(["set-alias", "a", "v2", "@v1"])
        .fails(2)
        .says("dxf tag-image a:OLD v2");
});

each_place!(set_alias_moves_a_name, |at| {
    let (first, second) = (at.put("a", b"1"), at.put("a", b"2"));
    at.says(["set-alias", "a", "v", &first]);
    at.says(["set-alias", "a", "v", &second]);
    assert_eq!(at.says(["get-alias", "a", "v"]), format!("{second}\n"));
    assert_eq!(at.tags("a"), ["v"]);
});

each_place!(an_alias_can_be_an_oci_artifact, |at| {
    let name = at.put("a", b"abc");
    let oci = |dxf: crate::support::dxf::Dxf| dxf.env("DXF_ALIAS_FORMAT", "oci");
    let put = oci(at.run(["set-alias", "a", "v", &name])).ok();
    assert_eq!(
        put.json()["config"]["mediaType"],
        "application/vnd.oci.empty.v1+json"
    );
    assert_eq!(
        put.json()["mediaType"],
        "application/vnd.oci.image.manifest.v1+json"
    );
    assert_eq!(at.manifest("a", "v").unwrap(), put.stdout);
    assert_eq!(at.run(["pull-blob", "a", "@v"]).ok().text(), "abc");
    assert_eq!(at.says(["get-alias", "a", "v"]), format!("{name}\n"));
});

each_place!(get_alias_is_one_request_an_alias, |at| {
    let (first, second) = (at.put("a", b"1"), at.put("a", b"2"));
    let manifest = at.says(["set-alias", "a", "both", &first, &second]);
    at.says(["set-alias", "a", "one", &first]);
    at.forget();
    let both = format!("{first}\n{second}\n");
    assert_eq!(at.says(["get-alias", "a", "both"]), both);
    at.asked(["GET /v2/a/manifests/both"]);
    assert_eq!(
        at.says(["get-alias", "a", "both", "one"]),
        format!("{both}{first}\n")
    );
    at.asked(["GET /v2/a/manifests/both", "GET /v2/a/manifests/one"]);
    assert_eq!(
        at.says(["get-alias", "a", &digest(manifest.as_bytes())]),
        both
    );
    at.forget();
    let piped = at.run(["get-alias", "a"]).stdin(manifest).ok();
    assert_eq!(piped.text(), both);
    at.asked([] as [&str; 0]);
});

each_place!(get_digest_names_the_config_or_the_manifest, |at| {
    let (first, second) = (at.put("a", b"1"), at.put("a", b"2"));
    let manifest = at.says(["set-alias", "a", "both", &first, &second]);
    let own = digest(manifest.as_bytes());
    at.forget();
    assert_eq!(at.says(["get-digest", "a", "both"]), format!("{first}\n"));
    at.asked(["GET /v2/a/manifests/both"]);
    let told = at.says(["get-digest", "--manifest", "a", "both", &own]);
    assert_eq!(told, format!("{own}\n{own}\n"));
    at.asked([
        "HEAD /v2/a/manifests/both".into(),
        format!("HEAD /v2/a/manifests/{own}"),
    ]);
    for (words, said) in [
        (&["get-digest", "a"][..], &first),
        (&["get-digest", "--manifest", "a"], &own),
    ] {
        let piped = at.run(words).stdin(manifest.clone()).ok();
        assert_eq!(piped.text(), format!("{said}\n"));
    }
    at.asked([] as [&str; 0]);
});

each_place!(get_manifest_gives_the_bytes_as_stored, |at| {
    let name = at.put("a", b"abc");
    at.put("a", b"{}");
    // The formatting is kept, and neither a mediaType nor a line's end is added.
    let odd = format!(
        "{{ \"schemaVersion\":2,\n\t\"config\": {{\"mediaType\":\"application/vnd.oci.image.config.v1+json\",\"size\":2,\"digest\":\"{}\"}},\
         \n\"layers\":[{{\"mediaType\":\"text/plain\",\"size\":3,\"digest\":\"{name}\",\"annotations\":{{\"a\":\"\u{e4}\"}}}}]}}\n",
        digest(b"{}")
    );
    let kind = "application/vnd.oci.image.manifest.v1+json";
    let own = at.put_manifest("a", "odd", kind, odd.as_bytes());
    at.forget();
    assert_eq!(at.says(["get-manifest", "a", "odd"]), odd);
    at.asked(["GET /v2/a/manifests/odd"]);
    assert_eq!(
        at.says(["get-manifest", "a", &own, "odd"]),
        format!("{odd}{odd}")
    );
    // python-dxf fails without a mediaType.
    assert_eq!(at.says(["get-alias", "a", "odd"]), format!("{name}\n"));
    assert_eq!(at.says(["get-digest", "a", "odd"]), digest(b"{}") + "\n");
    assert_eq!(at.says(["blob-size", "a", "@odd"]), "3\n");
    assert_eq!(at.says(["pull-blob", "a", "@odd"]), "abc");
    let piped = at.run(["get-alias", "a"]).stdin(odd).ok();
    assert_eq!(piped.text(), format!("{name}\n"));
});

each_place!(names_that_do_not_resolve_print_nothing, |at| {
    let name = at.put("a", b"abc");
    at.says(["set-alias", "a", "there", &name]);
    for words in [
        &["get-alias", "a", "there", "missing"][..],
        &["get-digest", "a", "there", "missing"],
        &["get-digest", "--manifest", "a", "there", "missing"],
        &["blob-size", "a", "@there", "@missing"],
        &["pull-blob", "a", &name, "@missing"],
        &["pull-blob", "-o", "out", "a", "@there", "@missing"],
    ] {
        let failed = at.run(words).fails(2).says("Not Found").says("missing");
        assert_eq!(failed.text(), "", "{words:?}");
    }
    assert!(at.names().is_empty(), "{:?}", at.names());
});

each_place!(del_alias_takes_its_siblings_along, |at| {
    let (first, second) = (at.put("a", b"1"), at.put("a", b"2"));
    let manifest = at.says(["set-alias", "a", "v1", &first, &second]);
    at.says(["set-alias", "a", "v2", &first, &second]);
    at.says(["set-alias", "a", "other", &second]);
    at.forget();
    let gone = at.run(["del-alias", "a", "v1"]).ok();
    assert_eq!(gone.text(), format!("{first}\n{second}\n"));
    gone.says("deleted too: v2");
    at.asked([
        "GET /v2/a/manifests/v1".into(),
        "GET /v2/a/tags/list".into(),
        "HEAD /v2/a/manifests/v2".into(),
        "HEAD /v2/a/manifests/other".into(),
        format!("DELETE /v2/a/manifests/{}", digest(manifest.as_bytes())),
    ]);
    assert_eq!(at.tags("a"), ["other"]);
    assert!(at.has_blob("a", &first) && at.has_blob("a", &second));
    // What was deleted is gone, though the next name is missing and nothing is
    // printed.
    let failed = at.run(["del-alias", "a", "other", "missing"]).fails(2);
    assert_eq!(failed.says("missing").text(), "");
    assert!(at.tags("a").is_empty());
});

each_place!(del_alias_only_removes_one_or_refuses, |at| {
    let name = at.put("a", b"1");
    for alias in ["v1", "v2"] {
        at.says(["set-alias", "a", alias, &name]);
    }
    at.says(["set-alias", "a", "single", &name, &name]);
    if at.bench.is_some() {
        // distribution 2.8 can't remove a tag.
        let refused = at
            .run(["del-alias", "--only", "a", "v1"])
            .fails(1)
            .says("v2");
        assert_eq!(refused.text(), "");
        assert!(!refused.stderr.contains("single"), "{refused}");
        assert_eq!(at.tags("a"), ["single", "v1", "v2"]);
    } else {
        assert_eq!(
            at.says(["del-alias", "--only", "a", "v1"]),
            format!("{name}\n")
        );
        assert_eq!(at.tags("a"), ["single", "v2"]);
    }
    let alone = at.says(["del-alias", "--only", "a", "single"]);
    assert_eq!(alone, format!("{name}\n{name}\n"));
    assert!(!at.tags("a").contains(&"single".to_string()));
});

#[test]
fn a_registry_that_deletes_nothing_is_named_as_such() {
    let registry = Registry::builder().no_delete().start();
    let name = registry.raw().push_blob("a", b"abc");
    let dxf = || crate::support::dxf::Dxf::new().plain(registry.host());
    dxf().args(["set-alias", "a", "v", &name]).ok();
    for words in [
        &["del-blob", "a", &name][..],
        &["del-alias", "a", "v"],
        &["del-alias", "--only", "a", "v"],
        &["del-blob", "a", "@v"],
    ] {
        let refused = dxf().args(words).fails(1);
        assert_eq!(
            refused.says("storage.delete.enabled").text(),
            "",
            "{words:?}"
        );
    }
    assert_eq!(registry.raw().tags("a"), ["v"]);
    assert!(registry.raw().has_blob("a", &name));
}

/// What a folder has that no server counts for us.
#[test]
fn a_folder_is_made_by_the_first_write_only() {
    let at = Place::folder();
    for words in [
        &["list-aliases", "a"][..],
        &["get-alias", "a", "v"],
        &["blob-size", "a", &digest(b"x")],
        &["del-alias", "a", "v"],
        &["del-blob", "a", &digest(b"x")],
    ] {
        assert_eq!(at.run(words).fails(2).says("Not Found").text(), "");
    }
    assert_eq!(at.says(["list-repos"]), "");
    // A path that is misspelt is no empty folder.
    let misspelt = at
        .run(["list-repos"])
        .env("DXF_HOST", "oci:/nowhere/at/all");
    misspelt.fails(2).says("/nowhere/at/all").says("Not Found");
}

each_place!(del_alias_names_the_aliases_that_go_too, |at| {
    let name = at.put("a", b"1");
    let other = at.put("a", b"2");
    for alias in ["mon", "tue", "wed"] {
        at.says(["set-alias", "a", alias, &name]);
    }
    at.says(["set-alias", "a", "other", &other]);
    let done = at.run(["del-alias", "a", "mon"]).ok();
    assert_eq!(done.text(), format!("{name}\n"));
    done.says("deleted too: tue, wed").says("--only");
    assert_eq!(at.tags("a"), ["other"]);
    let alone = at.run(["del-alias", "a", "other"]).ok();
    assert_eq!(alone.stderr, "");
});

#[test]
fn a_manifest_of_an_unknown_type_is_printed() {
    use crate::support::dxf::Dxf;
    use crate::support::rules::{GET, HEAD, on};
    use crate::support::server::Server;
    let kind = "application/vnd.example.thing.v9+json";
    let body = r#"{"schemaVersion": 2, "things": [1]}"#;
    let rules = [HEAD, GET].map(|method| {
        let rule = on(method, "/v2/a/manifests/*").reply(200);
        rule.header("Content-Type", kind).body(body)
    });
    let server = Server::builder(rules).start();
    let dxf = || Dxf::new().plain(&server.host());
    let printed = dxf().args(["get-manifest", "a", "x"]).ok();
    assert_eq!(printed.text(), body);
    let image = format!("{}/a:x", server.host());
    for words in [
        &["get-alias", "a", "x"][..],
        &["get-digest", "a", "x"],
        &["pull-blob", "a", "@x"],
        &["verify-alias", "a", "x"],
        &["pull-image", &image, "-"],
        &["copy-image", &image, "oci:folder"],
    ] {
        let refused = dxf().args(words).fails(1);
        assert_eq!(refused.says("of the unknown type").says(kind).text(), "");
    }
}
