//! What people write at their first try, and the line that tells them what to
//! write instead.

use std::fs;

use crate::support::dxf::Dxf;
use crate::support::registry::Registry;
use crate::support::scratch;

#[test]
fn a_word_that_is_missing_or_in_another_place_is_named() {
    let dir = scratch();
    fs::write(dir.path().join("f"), "x").unwrap();
    let store = format!("oci:{}", dir.path().join("store").display());
    let dxf = |words: &[&str]| {
        let dxf = Dxf::new().env("DXF_HOST", &store);
        dxf.current_dir(dir.path()).args(words)
    };
    let digest = dxf(&["push-files", "team/build", "v1", "f"]).ok();
    let digest = digest.text().trim().to_string();

    dxf(&["push-blob", "a", "@x"])
        .fails(1)
        .says("write - first: dxf push-blob a - @x");
    dxf(&["push-blob", "a", "f", "x"])
        .misused("invalid alias x: an alias is written with @ here: @x");
    let hex = "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03";
    for (word, meant) in [
        ("v1", "; an alias is written @v1".to_string()),
        (hex, format!("; did you mean sha256:{hex}?")),
    ] {
        dxf(&["del-blob", "a", word]).fails(2).says(&meant);
        dxf(&["mount-blob", "a", "b", word]).fails(2).says(&meant);
    }
    dxf(&["get-digest", "team/build", "v1"])
        .ok()
        .says("--manifest prints the digest of the manifest");
    dxf(&["help", "nosuch"]).misused("getting-started");
    dxf(&["help", "ls"]).misused("did you mean list-repos");
    dxf(&["help", "pull-imag"]).misused("did you mean pull-image?");
    dxf(&["push-blob", "a", "DAY", "--", "echo", "x"])
        .misused("invalid alias DAY: an alias is written with @ here: @DAY");
    dxf(&["sync", "oci:x", "./y"])
        .fails(2)
        .says("a folder is written oci:./y");
    dxf(&["list-aliases", "team/build", "v*"])
        .misused("did you mean dxf list-aliases --long team/build 'v*'?");
    dxf(&["pull-files", "team/build:v1", "f"]).misused("did you mean team/build:v1 --file f?");
    dxf(&["pull-files", "a", "v1", "--file", "f", "--file", "g"])
        .misused("did you mean --only, which takes several?");
    dxf(&[
        "pull-blob",
        "a",
        &format!("sha256:{hex}"),
        "-o",
        "missing/f",
    ])
    .fails(1)
    .says("there is no folder missing");
    fs::create_dir(dir.path().join("plain")).unwrap();
    dxf(&["push", "plain", "team/build:v2"])
        .fails(65)
        .says("push-files stores the files of a folder");
    dxf(&["push-files", "team/build", "build"]).misused("too few arguments (files to store");
    let kind = "--type=application/vnd.example";
    dxf(&["push-files", kind, "team/empty", "v1"]).ok();
    dxf(&["attach", "team/build", "v1", "f", kind])
        .misused("there is no file v1; a tag belongs to the image: team/build:v1");
    dxf(&["save-bundle", "app:2", "team/build:v1"])
        .misused("app:2 looks like an image, and the file to write comes first");
    assert!(!dir.path().join("app:2").exists());
    dxf(&["save-bundle", "./app:2", "team/build:v1"]).ok();

    // An artifact is named as images are, or by two words.
    for name in ["team/build:v1", &digest] {
        let listed = dxf(&["pull-files", "--list", name]).ok();
        assert!(listed.text().starts_with("f "), "{listed}");
    }
    dxf(&["pull-files", "team/build"]).misused("too few arguments");
    fs::create_dir_all(dir.path().join("out/lib")).unwrap();
    fs::write(dir.path().join("out/lib/a"), "a").unwrap();
    dxf(&["push-files", "team/folder", "v1", "out"]).ok();
    dxf(&["pull-files", "team/folder", "v1", "--file", "out/lib/a"])
        .fails(2)
        .says("out is stored as one folder")
        .says("dxf get-file");
    let inside = dxf(&["get-file", "team/folder:v1", "out/lib/a"]).ok();
    assert_eq!(inside.text(), "a");
    dxf(&["push-files", "team/mixed", "v1", "out", "f"]).ok();
    let inside = dxf(&["get-file", "team/mixed:v1", "out/lib/a"]).ok();
    assert_eq!(inside.text(), "a");
    dxf(&["get-file", "team/mixed:v1", "f"])
        .fails(2)
        .says("Not Found: f in the image; pull-files --file NAME -o - writes");
    for url in ["http://r.example/team", "https://r.example/team"] {
        dxf(&["load-bundle", "./app:2", url])
            .fails(2)
            .says("leave out the scheme");
    }
}

#[test]
fn a_repository_that_is_missing_is_named() {
    let registry = Registry::http();
    for words in [
        &["list-aliases", "nope"][..],
        &["prune-aliases", "nope", "--keep-last", "1"],
    ] {
        let dxf = Dxf::new().plain(registry.host()).args(words);
        let said = dxf
            .fails(2)
            .says("there is no repository nope; dxf list-repos");
        assert!(said.stderr.contains("Not Found"), "{said}");
    }
}

#[test]
fn aliases_without_an_age_are_counted() {
    let dir = scratch();
    let store = format!("oci:{}", dir.path().display());
    let dxf = |words: &[&str]| Dxf::new().env("DXF_HOST", &store).args(words);
    for day in 10..15 {
        let alias = format!("@shop-2026-11-{day}");
        dxf(&["push-blob", "a", "-", &alias])
            .stdin(format!("{day}"))
            .ok();
    }
    let prune = |more: &[&str]| {
        let words = [&["prune-aliases", "a", "--keep-daily", "2"], more].concat();
        dxf(&words)
    };
    prune(&["--yes"])
        .ok()
        .says("5 of 5 aliases are kept because their age is unknown")
        .says("--date-from-tag '*%Y-%m-%d*' reads it");
    let dated = ["--date-from-tag", "*-%Y-%m-%d"];
    let said = prune(&dated).ok();
    assert!(said.text().contains("shop-2026-11-10"), "{said}");
    let said = said.says("the rules would delete 2 more; one run deletes no more than 1");
    assert!(said.stderr.contains("nothing was deleted; --yes"), "{said}");
    let all = [&dated[..], &["--max-delete", "100%", "--yes"]].concat();
    prune(&all).ok().says("deleted 3 of 5 aliases");
    // Nothing to do, and nothing said of it but that.
    let said = prune(&all).ok();
    assert!(
        said.stderr
            .ends_with("a: deleted 0 of 2 aliases; 2 were kept and verified\n"),
        "{said}"
    );
    assert_eq!(said.text(), "");
    dxf(&["prune-aliases", "a", "--keep-daily", "0"])
        .fails(2)
        .says("--keep-daily")
        .says("give 1 or more");
}
