//! Lists of aliases and repositories, page by page.

use crate::support::bench::{Bench, Mode, each_registry};
use crate::support::data::digest;
use crate::support::place::each_place;
use crate::support::rules::{GET, Response, Rule, on};

each_place!(list_aliases_names_every_tag, |at| {
    let name = at.put("a/b", b"abc");
    for alias in ["v1", "latest", "V1.0_x-y"] {
        at.says(["set-alias", "a/b", alias, &name]);
    }
    at.forget();
    // In the order the registry gives them.
    let text = at.says(["list-aliases", "a/b"]);
    let tags: Vec<&str> = text.lines().collect();
    let mut sorted = tags.clone();
    sorted.sort();
    assert_eq!(sorted, ["V1.0_x-y", "latest", "v1"]);
    at.asked(["GET /v2/a/b/tags/list"]);
    let missing = at.run(["list-aliases", "nobody/knows"]).fails(2);
    assert_eq!(missing.says("Not Found").says("nobody/knows").text(), "");
});

each_place!(list_repos_names_every_repository, |at| {
    assert_eq!(at.says(["list-repos"]), "");
    for repo in ["b", "a/b/c", "a-b"] {
        at.put(repo, b"abc");
    }
    at.forget();
    let mut listed = at
        .says(["list-repos"])
        .lines()
        .map(str::to_string)
        .collect::<Vec<_>>();
    at.asked(["GET /v2/_catalog"]);
    listed.sort();
    assert_eq!(listed, ["a-b", "a/b/c", "b"]);
});

/// Two names a page, from what `names` says; where a registry asks for a login
/// it continues to ask.
fn pages(path: &'static str, member: &'static str, names: &[&str], reg: &Bench) -> Rule {
    let names: Vec<String> = names.iter().map(|name| name.to_string()).collect();
    let rule = on(GET, path);
    let rule = match reg.mode {
        Mode::Http => rule,
        _ => rule.has_header("Authorization", ""),
    };
    rule.with(move |request| {
        let after = request.param("last");
        let from = after.map_or(0, |last| {
            1 + names
                .iter()
                .position(|name| *name == last)
                .expect("a name of the page before")
        });
        let page = &names[from..names.len().min(from + 2)];
        let body = serde_json::json!({ "name": "a/b", member: page });
        let answer = Response::new(200).body(body.to_string());
        match page.last() {
            Some(last) if from + 2 < names.len() => {
                answer.header("Link", &format!("<{path}?last={last}&n=2>; rel=\"next\""))
            }
            _ => answer,
        }
    })
}

// distribution 2.8 gives all tags in one page, whatever is asked for.
each_registry!(list_aliases_follows_the_pages, |reg| {
    let tags = ["a", "b", "c", "d", "e"];
    let path = "/v2/a/b/tags/list";
    reg.front.add_first([pages(path, "tags", &tags, reg)]);
    let listed = reg.dxf().args(["list-aliases", "a/b"]).ok();
    assert_eq!(
        (listed.lines(), listed.stderr.as_str()),
        (tags.to_vec(), "")
    );
    assert_eq!(reg.requests().len(), 3);
});

// The registry's own pages hold a hundred names.
each_registry!(list_repos_follows_the_registry_s_own_pages, |reg| {
    let mut repos: Vec<String> = (0..103).map(|i| format!("team/r{i:03}")).collect();
    let folder = reg
        .registry
        .blob_file(&digest(b""))
        .ancestors()
        .nth(5)
        .unwrap()
        .join("repositories");
    for repo in &repos {
        // What an upload leaves behind of a repository: a link to a blob.
        let link = folder
            .join(repo)
            .join("_layers/sha256")
            .join("0".repeat(64));
        std::fs::create_dir_all(&link).unwrap();
        std::fs::create_dir_all(folder.join(repo).join("_manifests")).unwrap();
    }
    let listed = reg.dxf().args(["list-repos"]).ok();
    let mut names: Vec<String> = listed.lines().iter().map(|name| name.to_string()).collect();
    names.sort();
    repos.sort();
    assert_eq!(names, repos);
    assert!(reg.requests().len() > 1);
});

#[test]
fn the_first_page_is_printed_before_the_last_is_there() {
    use crate::support::dxf::Dxf;
    use crate::support::server::Server;
    let page = |tag: &str| format!("{{\"name\": \"a\", \"tags\": [\"{tag}\"]}}");
    let server = Server::script([
        on(GET, "/v2/a/tags/list").query("last", "one").reply(404),
        on(GET, "/v2/a/tags/list")
            .reply(200)
            .body(page("one"))
            .header("Link", "</v2/a/tags/list?last=one>; rel=next"),
    ]);
    let cut = Dxf::new()
        .plain(&server.host())
        .args(["list-aliases", "a"])
        .fails(2);
    assert_eq!(cut.says("Not Found").text(), "one\n");
}

#[test]
fn an_odd_entry_hides_no_name() {
    use crate::support::dxf::Dxf;
    use crate::support::server::Server;
    let pages = ["tags/list", "_catalog"].map(|end| {
        let path = match end {
            "_catalog" => "/v2/_catalog",
            _ => "/v2/a/tags/list",
        };
        let member = match end {
            "_catalog" => "repositories",
            _ => "tags",
        };
        let list = r#"[1, "one", null, ["x"], {"a": "b"}, "tw\u006f", "-odd", "three"]"#;
        on(GET, path)
            .reply(200)
            .body(format!(r#"{{"name": "a", "{member}": {list}}}"#))
    });
    let server = Server::script(pages);
    for words in [&["list-aliases", "a"][..], &["list-repos"]] {
        let list = Dxf::new().plain(&server.host()).args(words).fails(65);
        assert_eq!(list.says("not a string").text(), "one\ntwo\nthree\n");
    }
}

#[test]
fn pages_that_go_in_a_circle_end() {
    use crate::support::dxf::Dxf;
    use crate::support::server::Server;
    let server = Server::script([on(GET, "/v2/_catalog")
        .reply(200)
        .body(r#"{"repositories": ["a"]}"#)
        .header("Link", "</v2/_catalog>; rel=\"next\"")]);
    let cut = Dxf::new()
        .plain(&server.host())
        .args(["list-repos"])
        .fails(65);
    assert_eq!(cut.says("its pages repeat").text(), "a\n");
}
