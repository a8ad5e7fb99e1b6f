//! How every command behaves on the wire (distribution-spec, RFC 9110), and
//! several of them at once on one store.

use crate::support::bench::each_registry;
use crate::support::data::{blob, digest};
use crate::support::dxf::Dxf;
use crate::support::place::each_place;
use crate::support::registry::Registry;
use crate::support::rules::{POST, on};
use crate::support::server::{Seen, Server};

fn field<'a>(seen: &'a Seen, name: &str) -> &'a str {
    seen.headers.get(name).unwrap_or_default()
}

each_registry!(requests_say_what_registries_need, |reg| {
    let bytes = blob(1, 1_500_000);
    let name = digest(&bytes);
    let push = reg.dxf().args(["push-blob", "a", "-", "@v"]);
    push.stdin(bytes).ok();
    for words in [
        &["pull-blob", "a", "@v"][..],
        &["set-alias", "a", "w", &name],
        &["mount-blob", "b", "a", &name],
        &["get-digest", "--manifest", "a", "v"],
        &["list-aliases", "a"],
        &["list-repos"],
        &["auth", "a", "pull"],
        &["del-blob", "--force", "a", "@v"],
    ] {
        reg.dxf().args(words).ok();
    }
    for one in reg.front.seen() {
        let line = one.line();
        assert_eq!(field(&one, "accept-encoding"), "identity", "{line}");
        assert!(field(&one, "user-agent").starts_with("dxf/"), "{line}");
        assert_eq!(field(&one, "host"), reg.host(), "{line}");
        // What has a size says so, and what is empty too.
        assert_eq!(one.headers.get("transfer-encoding"), None, "{line}");
        let bodied = matches!(one.method.as_str(), "POST" | "PUT" | "PATCH");
        assert!(
            !bodied || one.headers.get("content-length").is_some(),
            "{line}"
        );
        if one.method == "POST" {
            assert_eq!(field(&one, "content-length"), "0", "{line}");
        }
        if one.path.contains("/manifests/") && ["GET", "HEAD"].contains(&one.method.as_str()) {
            for kind in [
                "application/vnd.docker.distribution.manifest.v2+json",
                "application/vnd.docker.distribution.manifest.list.v2+json",
                "application/vnd.oci.image.manifest.v1+json",
                "application/vnd.oci.image.index.v1+json",
            ] {
                assert!(field(&one, "accept").contains(kind), "{line}");
            }
        }
    }
});

/// Harbor denies a mount, others do not know how.
#[test]
fn a_mount_that_is_refused_becomes_a_copy() {
    for status in [403, 405, 500] {
        let registry = Registry::http();
        let name = registry.raw().push_blob("from", b"abc");
        let mount = on(POST, "/v2/to/blobs/uploads/").query("from", "from");
        let front = Server::before(&registry, [mount.times(1).reply(status)]);
        let dxf = Dxf::new()
            .plain(&front.host())
            .args(["mount-blob", "to", "from", &name]);
        assert_eq!(dxf.ok().text(), format!("{name}\n"), "{status}");
        assert!(registry.raw().has_blob("to", &name));
        assert_eq!(registry.open_uploads("to"), 0);
    }
}

each_place!(processes_at_once_lose_nothing, |at| {
    let files: Vec<(String, String)> = (0..8)
        .map(|i| {
            let bytes = blob(i, 50_000);
            (at.file(&bytes), digest(&bytes))
        })
        .collect();
    let running: Vec<_> = files
        .iter()
        .enumerate()
        .map(|(i, (file, _))| {
            at.run(["push-blob", "a/b", file, &format!("@v{i}")])
                .spawn()
        })
        .collect();
    for (running, (_, name)) in running.into_iter().zip(&files) {
        let output = running.finish();
        assert_eq!(
            (output.code, output.text()),
            (Some(0), format!("{name}\n").as_str()),
            "{output}"
        );
    }
    let expected: Vec<String> = (0..8).map(|i| format!("v{i}")).collect();
    assert_eq!(at.tags("a/b"), expected);
    for (i, (_, name)) in files.iter().enumerate() {
        let alias = at.says(["get-alias", "a/b", &format!("v{i}")]);
        assert_eq!(alias, format!("{name}\n"));
    }
    assert_eq!(at.open_uploads("a/b"), 0);
});
