//! `prune-aliases`: each way in which other tools lost data, the points of its
//! design, and what it does on every kind of store.

use std::fs;
use std::path::Path;

use dxf_registry::credentials::Credentials;
use dxf_registry::descriptor::media_type;
use dxf_registry::http::Scheme;
use dxf_registry::layout::Layouts;
use dxf_registry::registry::Settings;
use dxf_registry::stream::Watch;
use dxf_registry::{Blob, Descriptor, Digest, Manifest, Registry as Client, Store, Tag, Target};
use serde_json::{Value, json};

use super::readme::page;
use super::support::dxf::{Dxf, Output};
use super::support::full_disk::full_disk;
use super::support::peers::{Distribution3, each_server};
use super::support::registry::Registry;
use super::support::rules::{GET, HEAD, on};
use super::support::scratch;
use super::support::server::Server;

/// A repository `a` somewhere, for the command and for the library.
struct Repo {
    host: String,
    store: Box<dyn Store>,
}

impl Repo {
    fn on(registry: &Registry) -> Repo {
        let settings = Settings::default().with_scheme(Scheme::Http);
        let host = registry.host().parse().unwrap();
        let client = Client::connect(host, settings, Credentials::anonymous()).unwrap();
        Repo {
            host: registry.host().to_string(),
            store: Box::new(client.repository("a".parse().unwrap())),
        }
    }

    fn folder(at: &Path) -> Repo {
        Repo {
            host: format!("oci:{}", at.display()),
            store: Box::new(Layouts::new(at).repository(&"a".parse().unwrap())),
        }
    }

    fn dxf(&self, words: &[&str]) -> Dxf {
        Dxf::new()
            .plain(&self.host)
            .env("DXF_CACHE", "0")
            .args(words)
    }

    fn prune(&self, words: &[&str]) -> Dxf {
        self.dxf(&[&["prune-aliases", "a", "--max-delete", "100%"], words].concat())
    }

    fn tags(&self) -> String {
        let mut tags: Vec<String> = self
            .store
            .tags()
            .map(|tag| tag.unwrap().to_string())
            .collect();
        tags.retain(|tag| !tag.starts_with("sha256-"));
        tags.sort();
        tags.join(" ")
    }

    fn put(&self, kind: &str, text: &str) -> Descriptor {
        let blob = Blob::bytes(kind, text.as_bytes().to_vec());
        self.store.put_blob(&blob, Watch::default()).unwrap();
        blob.descriptor().clone()
    }

    fn manifest(&self, document: Value, at: Option<&str>) -> Manifest {
        let manifest = Manifest::new(None, document.to_string().into_bytes()).unwrap();
        let by_digest = Target::Digest(manifest.digest());
        let at = at.map_or(by_digest, |tag| tag.parse().unwrap());
        self.store.put_manifest(&manifest, &at).unwrap();
        manifest
    }

    /// An artifact that was made at `created`.
    fn made(&self, text: &str, created: Option<&str>, at: Option<&str>) -> Manifest {
        let config = self.put(media_type::OCI_EMPTY, "{}");
        let layer = self.put(media_type::OCTET_STREAM, text);
        let mut document = json!({"schemaVersion": 2, "mediaType": media_type::OCI_MANIFEST,
            "artifactType": "text/plain", "config": config, "layers": [layer]});
        if let Some(created) = created {
            document["annotations"] = json!({"org.opencontainers.image.created": created});
        }
        self.manifest(document, at)
    }

    fn about(&self, subject: &Manifest, text: &str) -> Manifest {
        let config = self.put(media_type::OCI_EMPTY, "{}");
        let layer = self.put(media_type::OCTET_STREAM, text);
        let document = json!({"schemaVersion": 2, "mediaType": media_type::OCI_MANIFEST,
            "artifactType": "text/plain", "config": config, "layers": [layer],
            "subject": subject.descriptor()});
        self.manifest(document, None)
    }

    fn index(&self, children: &[&Manifest], created: &str, at: &str) -> Manifest {
        let children: Vec<Descriptor> = children.iter().map(|one| one.descriptor()).collect();
        let document = json!({"schemaVersion": 2, "mediaType": media_type::OCI_INDEX,
            "manifests": children, "annotations": {"org.opencontainers.image.created": created}});
        self.manifest(document, Some(at))
    }

    /// An image whose config says when it was made.
    fn image(&self, text: &str, created: &str, at: &str) -> Manifest {
        let layer = self.put("application/vnd.oci.image.layer.v1.tar", text);
        let config = json!({"architecture": "amd64", "os": "linux", "created": created,
            "config": {}, "rootfs": {"type": "layers", "diff_ids": [layer.digest]}});
        let config = self.put(media_type::OCI_CONFIG, &config.to_string());
        let document = json!({"schemaVersion": 2, "mediaType": media_type::OCI_MANIFEST,
            "config": config, "layers": [layer]});
        self.manifest(document, Some(at))
    }

    /// A repository, as commands about images name it.
    fn place(&self, repository: &str) -> String {
        format!("{}/{repository}", self.host)
    }

    fn has(&self, digest: &Digest) -> bool {
        self.store.head(&Target::Digest(*digest)).unwrap().is_some()
    }

    /// Five aliases, a day apart.
    fn days(&self) {
        for day in 1..=5 {
            let created = format!("2024-05-0{day}T00:00:00Z");
            self.made(
                &format!("day {day}"),
                Some(&created),
                Some(&format!("d{day}")),
            );
        }
    }
}

/// Makes four tests of one body: on a folder, and on three registries.
macro_rules! each_store {
    ($name:ident, |$repo:ident| $body:block) => {
        mod $name {
            use super::*;
            fn check($repo: &Repo) $body

            #[test]
            fn folder() {
                let folder = scratch();
                check(&Repo::folder(folder.path()));
            }

            each_server!(server, |registry| {
                check(&Repo::on(registry));
            });
        }
    };
}

mod lost_data;

each_store!(children_referrers_and_shared_digests_survive, |repo| {
    const OLD: &str = "2024-01-01T00:00:00Z";
    const NEW: &str = "2024-06-01T00:00:00Z";
    // Children of an index that is kept, one of them with an old name as well.
    let (one, two) = (
        repo.made("1", Some(OLD), Some("child")),
        repo.made("2", Some(OLD), None),
    );
    let kept = repo.index(&[&one, &two], NEW, "kept");
    // Referrers of what is kept, and of what goes; cosign's tags of both.
    let signed = repo.about(&kept, "signature");
    let stem = |of: &Manifest| format!("sha256-{}", of.digest().hex());
    repo.made("cosign", Some(OLD), Some(&format!("{}.sig", stem(&two))));
    let gone = repo.made("gone", Some(OLD), Some("gone"));
    let with = repo.about(&gone, "with it");
    repo.made("goes", Some(OLD), Some(&format!("{}.sig", stem(&gone))));
    // Two names of one manifest, of which one is kept.
    let shared = repo.made("shared", Some("2024-02-01T00:00:00Z"), Some("shared"));
    repo.store
        .put_manifest(&shared, &"shared-old".parse().unwrap())
        .unwrap();
    let rules = ["--keep-last", "1", "--keep", "shared"];
    let before = repo.tags();
    let planned = repo.prune(&rules).ok();
    assert_eq!(repo.tags(), before, "{planned}");
    let warned = planned
        .stderr
        .contains("a: 1 of these have the manifest of an alias that is kept");
    assert_eq!(warned, !repo.host.starts_with("oci:"), "{planned}");
    let done = repo.prune(&[&rules[..], &["--yes"]].concat()).ok();
    assert_eq!(lines(&planned), lines(&done).replace("left  ", "delete"));
    for stays in [&one, &two, &kept, &signed, &shared] {
        assert!(repo.has(&stays.digest()), "{done}");
    }
    let tags = repo.tags();
    assert!(!tags.contains("gone") && tags.contains("kept"), "{tags}");
    let sig = |of: &Manifest| {
        repo.store
            .head(&format!("{}.sig", stem(of)).parse().unwrap())
    };
    assert!(sig(&two).unwrap().is_some() && sig(&gone).unwrap().is_none());
    // By tag where that can be done; elsewhere what is shared is left, and told.
    let untags = tags == "kept shared";
    assert!(untags || !repo.host.starts_with("oci:"), "{tags}");
    if tags.contains("child") {
        assert!(tags.contains("shared-old"), "{tags}");
        assert!(
            done.text().contains("deletes only whole manifests"),
            "{done}"
        );
        assert!(!repo.has(&gone.digest()) && !repo.has(&with.digest()));
    } else {
        assert_eq!(tags, "kept shared");
    }
    assert!(done.stderr.contains("were kept and verified"), "{done}");
    repo.dxf(&["verify-alias", "--all", "a"]).ok();
});

/// The words of each line but for the spaces that columns need.
fn lines(output: &Output) -> String {
    let words = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().take(4).collect();
        let what = words[0].replace("left", "delete");
        format!("{what} {}\n", words[1..].join(" "))
    };
    output.text().lines().map(words).collect()
}

each_store!(every_kind_of_rule_prunes, |repo| {
    let left = |words: &[&str]| {
        repo.days();
        repo.prune(&[words, &["--yes"]].concat()).ok();
        repo.dxf(&["verify-alias", "--all", "a"]).ok();
        repo.tags()
    };
    assert_eq!(left(&["--keep-last", "2"]), "d4 d5");
    assert_eq!(left(&["--keep-within", "3d"]), "d2 d3 d4 d5");
    assert_eq!(left(&["--keep-daily", "1", "--keep", "d[12]"]), "d1 d2 d5");
    // 2024-05-05 is a Sunday.
    assert_eq!(left(&["--keep-weekly", "2"]), "d5");
    assert_eq!(left(&["--keep-monthly", "1", "--keep-yearly", "1"]), "d5");
    assert_eq!(left(&["--only", "d[1-3]", "--keep-last", "1"]), "d3 d4 d5");
});

each_store!(a_backup_brings_everything_back, |repo| {
    repo.days();
    let gone = repo
        .store
        .head(&"d1".parse().unwrap())
        .unwrap()
        .unwrap()
        .digest;
    let backup = scratch();
    let at = format!("oci:{}", backup.path().display());
    repo.prune(&["--keep-last", "1", "--yes", "--backup", &at])
        .ok();
    assert_eq!(repo.tags(), "d5");
    let size: u64 = fs::read_dir(backup.path().join("a/blobs/sha256"))
        .unwrap()
        .map(|file| file.unwrap().metadata().unwrap().len())
        .sum();
    assert!(size < 8192, "manifests only: {size}");
    let to = repo.place("a");
    let from = format!("{at}/a");
    repo.dxf(&["copy-image", "--all-tags", &from, &to]).ok();
    assert_eq!(repo.tags(), "d1 d2 d3 d4 d5");
    assert!(repo.has(&gone));
    repo.dxf(&["verify-alias", "--all", "a"]).ok();
});

#[test]
fn a_backup_on_a_full_disk_deletes_nothing() {
    let registry = Registry::http();
    let repo = Repo::on(&registry);
    repo.days();
    let script = r#""$1" prune-aliases a --keep-last 1 --max-delete 9 --yes --backup "oci:$2""#;
    if full_disk("4k", registry.host(), script, |dxf| dxf).is_none() {
        return;
    }
    assert_eq!(repo.tags(), "d1 d2 d3 d4 d5");
}

#[test]
fn what_is_kept_is_asked_for_again() {
    let folder = scratch();
    let repo = Repo::folder(folder.path());
    repo.days();
    let done = repo.prune(&["--keep-last", "4", "--yes"]).ok();
    assert!(done.stderr.contains("; 4 were kept and verified"), "{done}");
    let layer = Digest::of(b"day 5");
    fs::remove_file(folder.path().join("a/blobs/sha256").join(layer.hex())).unwrap();
    let broken = repo.prune(&["--keep-last", "3", "--yes"]).run();
    assert_eq!(broken.code, Some(65), "{broken}");
    assert!(broken.stderr.contains("missing or wrong"), "{broken}");
}

/// Tags of one manifest cost a HEAD each and one GET together, after the deletes too.
#[test]
fn what_is_kept_is_read_once_a_manifest() {
    let Some(registry) = Distribution3::start() else {
        return;
    };
    let repo = Repo::on(&registry);
    repo.days();
    let kept = repo.made("kept", Some("2024-06-01T00:00:00Z"), Some("k1"));
    for tag in ["k2", "k3", "k4"] {
        let tag = tag.parse().unwrap();
        repo.store.put_manifest(&kept, &tag).unwrap();
    }
    let folder = scratch();
    let front = Server::before(&registry, []);
    let at_front = Repo {
        host: front.host(),
        ..Repo::on(&registry)
    };
    let plan = folder.path().join("plan").display().to_string();
    at_front.prune(&["--keep-last", "1", "--plan", &plan]).ok();
    let before = front.count(GET, "/v2/a/manifests/*");
    let done = at_front.dxf(&["prune-aliases", "a", "--apply", &plan]).ok();
    assert_eq!(repo.tags(), "k1 k2 k3 k4", "{done}");
    assert!(done.stderr.contains("4 were kept and verified"), "{done}");
    assert_eq!(front.count(GET, "/v2/a/manifests/*") - before, 1, "{done}");
}

#[test]
fn a_plan_asks_for_no_list_of_referrers_that_no_tag_shows() {
    let registry = Registry::http();
    let repo = Repo::on(&registry);
    repo.days();
    let front = Server::before(&registry, []);
    let asked = |words: &[&str]| {
        let before = front.seen().len();
        Dxf::new()
            .plain(&front.host())
            .env("DXF_CACHE", "0")
            .args(words)
            .ok();
        let seen = front.seen().split_off(before);
        let lists = seen
            .iter()
            .filter(|one| one.path.contains("/sha256-"))
            .count();
        let heads = seen.iter().filter(|one| one.method == "HEAD").count();
        (heads, lists)
    };
    assert_eq!(asked(&["prune-aliases", "a", "--keep-last", "2"]), (5, 0));
    assert_eq!(asked(&["show-usage", "a"]), (5, 0));
    // One that a tag shows is asked for.
    let d5 = repo.store.manifest(&"d5".parse().unwrap()).unwrap();
    repo.about(&d5, "about it");
    let (_, lists) = asked(&["show-usage", "a"]);
    assert!(lists > 0);
}

#[test]
fn a_plan_reads_each_manifest_and_config_once_without_a_cache() {
    let registry = Registry::http();
    let repo = Repo::on(&registry);
    repo.days();
    let image = repo.image("child", "2024-05-06T00:00:00Z", "child");
    repo.index(&[&image], "2024-05-06T00:00:00Z", "index");
    let front = Server::before(&registry, []);
    let dxf = Dxf::new().plain(&front.host()).env("DXF_CACHE", "0");
    // One at a time: two may begin to read the same config.
    let dxf = dxf.env("DXF_JOBS", "1");
    dxf.args(["prune-aliases", "a", "--keep-last", "2"]).ok();
    assert_eq!(front.count(HEAD, "*"), 7);
    assert_eq!(front.count(GET, "/v2/a/manifests/*"), 7);
    let reads = front.seen_at(GET, "/v2/a/blobs/*");
    let paths: std::collections::BTreeSet<_> = reads.iter().map(|seen| &seen.path).collect();
    assert_eq!(reads.len(), paths.len());
}

#[test]
fn reproducible_builds_are_not_the_oldest() {
    let folder = scratch();
    let repo = Repo::folder(folder.path());
    repo.image("1", "1970-01-01T00:00:00Z", "epoch");
    repo.image("2", "1980-01-01T00:00:00Z", "zip");
    repo.image("3", "2999-01-01T00:00:00Z", "future");
    repo.made("none", None, Some("none"));
    repo.image("4", "2024-01-01T00:00:00Z", "old");
    repo.image("5", "2024-01-02T00:00:00Z", "new");
    let done = repo.prune(&["--keep-last", "1", "--yes"]).ok();
    assert_eq!(repo.tags(), "epoch future new none zip");
    assert_eq!(done.text().matches("unknown").count(), 8, "{done}");
}

#[test]
fn names_are_not_ages_unless_they_are_said_to_be() {
    let folder = scratch();
    let repo = Repo::folder(folder.path());
    repo.made("1", Some("2024-03-01T00:00:00Z"), Some("v9"));
    repo.made("2", Some("2024-04-01T00:00:00Z"), Some("v10"));
    repo.made("3", Some("2024-02-01T00:00:00Z"), Some("v11"));
    repo.prune(&["--keep-last", "1", "--yes"]).ok();
    assert_eq!(repo.tags(), "v10");
    // A date in the name goes before what the manifest says.
    repo.made("4", Some("2024-05-01T00:00:00Z"), Some("n-2024-01-01"));
    repo.made("5", Some("2024-04-01T00:00:00Z"), Some("n-2024-01-02"));
    let by_name = [
        "--keep-last",
        "1",
        "--only",
        "n-*",
        "--date-from-tag",
        "n-%Y-%m-%d",
        "--yes",
    ];
    repo.prune(&by_name).ok();
    assert_eq!(repo.tags(), "n-2024-01-02 v10");
}

#[test]
fn the_plan_is_what_is_done() {
    let folder = scratch();
    let repo = Repo::folder(folder.path());
    repo.days();
    let plan = folder.path().join("plan.json").display().to_string();
    let shown = repo.prune(&["--keep-last", "2", "--plan", &plan]).ok();
    assert_eq!(repo.tags(), "d1 d2 d3 d4 d5");
    let document: Value = serde_json::from_slice(&fs::read(&plan).unwrap()).unwrap();
    let one = &document["repositories"][0];
    assert_eq!(one["delete"].as_array().unwrap().len(), 3);
    assert_eq!(one["delete"][0]["reason"], "no rule keeps it");
    // Manifests and layers; the kept ones have the same config.
    let sizes = ["d1", "d2", "d3"].map(|tag| {
        let head = repo.store.head(&tag.parse().unwrap()).unwrap().unwrap();
        head.size + "day 1".len() as u64
    });
    assert_eq!(one["bytes"], sizes.iter().sum::<u64>());
    assert!(one["delete"][0]["digest"].is_string());
    // Meanwhile one moves, one goes, and another is new and old.
    repo.made("moved", Some("2024-05-01T00:00:00Z"), Some("d1"));
    repo.dxf(&["del-alias", "--only", "a", "d2"]).ok();
    repo.made("new", Some("2024-01-01T00:00:00Z"), Some("other"));
    let done = repo.dxf(&["prune-aliases", "--apply", &plan]).ok();
    assert_eq!(repo.tags(), "d1 d4 d5 other");
    assert!(done.text().contains("moved to"), "{done}");
    assert!(
        done.stderr
            .contains("deleted 1 of 5 aliases, left 1, 1 no longer existed"),
        "{done}"
    );
    assert_eq!(lines(&shown), lines(&done));
    // Again, there is nothing to do.
    repo.dxf(&["prune-aliases", "--apply", &plan]).ok();
    assert_eq!(repo.tags(), "d1 d4 d5 other");
}

#[test]
fn a_dry_run_shows_a_plan_and_deletes_nothing() {
    let folder = scratch();
    let repo = Repo::folder(folder.path());
    repo.days();
    let plan = folder.path().join("plan.json").display().to_string();
    repo.prune(&["--keep-last", "2", "--plan", &plan]).ok();
    let dry = |words: &[&str]| {
        let done = repo.dxf(words).arg("--dry-run").ok();
        assert_eq!(repo.tags(), "d1 d2 d3 d4 d5");
        assert!(done.text().contains("no rule keeps it"), "{done}");
        done.stderr
    };
    let said = dry(&["prune-aliases", "--apply", &plan]);
    let hint = format!("nothing was deleted; --apply {plan} deletes them");
    assert!(said.contains(&hint), "{said}");
    let said = dry(&["prune-aliases", "a", "--keep-last", "1"]);
    assert!(said.contains("--yes deletes them"), "{said}");
    let both = [
        "prune-aliases",
        "a",
        "--keep-last",
        "1",
        "--yes",
        "--dry-run",
    ];
    repo.dxf(&both).misused("--dry-run");
}

#[test]
fn names_that_no_alias_has_are_told() {
    let folder = scratch();
    let repo = Repo::folder(folder.path());
    repo.days();
    let words = ["prune-aliases", "a", "--keep-last", "1", "--only"];
    let only = |glob| repo.dxf(&words).arg(glob).ok().stderr;
    let said = only("nightly-*");
    assert!(
        said.contains("a: --only matches none of its 5 aliases"),
        "{said}"
    );
    assert!(!only("d1").contains("--only matches"));
}

#[test]
fn one_run_deletes_a_tenth_unless_told_otherwise_and_never_the_last() {
    let folder = scratch();
    let repo = Repo::folder(folder.path());
    repo.days();
    let few = repo
        .dxf(&["prune-aliases", "a", "--keep-last", "1", "--yes"])
        .ok();
    assert_eq!(repo.tags(), "d2 d3 d4 d5");
    assert!(
        few.stderr.contains("a tenth") && few.stderr.contains("--max-delete"),
        "{few}"
    );
    repo.prune(&["--only", "*", "--keep", "none", "--yes"]).ok();
    assert_eq!(repo.tags(), "d5");
    repo.prune(&["--keep", "none", "--yes", "--allow-empty"])
        .ok();
    assert_eq!(repo.tags(), "");
}

/// A folder with five aliases, which are all there after `check`.
fn untouched(check: impl FnOnce(&Repo, &Path)) {
    let folder = scratch();
    let repo = Repo::folder(folder.path());
    repo.days();
    check(&repo, folder.path());
    assert_eq!(repo.tags(), "d1 d2 d3 d4 d5");
}

fn refused(repo: &Repo, words: &[&str], said: &str) {
    repo.prune(words).fails(2).says(said);
}

#[test]
fn rules_that_keep_nothing_are_refused() {
    untouched(|repo, _| {
        refused(repo, &["--yes"], "they keep nothing");
        refused(repo, &["--keep-last", "0", "--yes"], "they keep nothing");
        refused(repo, &["--only", "*", "--yes"], "they keep nothing");
        refused(repo, &["--keep-within", "0s", "--yes"], "they keep nothing");
    });
}

#[test]
fn a_rule_that_cannot_be_read_is_refused() {
    untouched(|repo, _| {
        let wrong = [
            ("--keep-semver", "one"),
            ("--keep-semver", ""),
            ("--group-by", "("),
            ("--keep", "["),
            ("--keep", "a***"),
            ("--only", "[z-a"),
            ("--date-from-tag", "%Q"),
            ("--keep-within", "soon"),
            ("--max-delete", "101%"),
            ("--max-delete", "some"),
        ];
        for (option, value) in wrong {
            let rule = ["prune-aliases", "a", option, value];
            let words = [&rule[..], &["--keep", "d1", "--yes"]].concat();
            repo.dxf(&words).fails(2).says(option);
        }
        let negative = repo.prune(&["--keep-last", "-1", "--yes"]);
        negative.misused("unexpected argument");
        let elsewhere = ["--keep-last", "1", "--yes", "--backup", "registry.example"];
        refused(repo, &elsewhere, "oci:FOLDER");
    });
}

#[test]
fn a_plan_of_another_place_is_refused() {
    untouched(|repo, at| {
        let plan = at.join("plan.json").display().to_string();
        repo.prune(&["--keep-last", "1", "--plan", &plan]).ok();
        untouched(|other, _| {
            for more in [&[][..], &["--dry-run"]] {
                let apply = other.dxf(&["prune-aliases", "--apply", &plan]);
                apply.args(more).fails(2).says("was made for");
            }
        });
        let registry = Registry::http();
        let other = Repo::on(&registry);
        other.days();
        let apply = other.dxf(&["prune-aliases", "--apply", &plan]);
        apply.fails(2).says("was made for");
        assert_eq!(other.tags(), "d1 d2 d3 d4 d5");
        let absent = repo.dxf(&["prune-aliases", "b", "--apply", &plan]);
        absent.fails(2).says("the plan does not contain it");
    });
}

#[test]
fn a_plan_that_cannot_be_read_is_refused() {
    untouched(|repo, at| {
        let plan = at.join("plan.json");
        let name = plan.display().to_string();
        repo.prune(&["--keep-last", "1", "--plan", &name]).ok();
        let made = fs::read_to_string(&plan).unwrap();
        let apply = || repo.dxf(&["prune-aliases", "--apply", &name]);
        fs::write(&plan, made.replace("aliases 1", "aliases 9")).unwrap();
        apply().fails(1).says("another version");
        fs::write(&plan, made.replace("\"d1\"", "\"d 1\"")).unwrap();
        apply().fails(2).says("d 1");
        for broken in ["", "{", "[]", "null", &made[..made.len() / 2]] {
            fs::write(&plan, broken).unwrap();
            apply().fails(65).says("plan.json");
        }
        fs::remove_file(&plan).unwrap();
        apply().fails(1).says("plan.json");
    });
}

#[test]
fn a_manifest_that_cannot_be_read_deletes_nothing() {
    for bytes in ["{}", "", "[1]"] {
        untouched(|repo, at| {
            let d5 = repo.store.head(&"d5".parse().unwrap()).unwrap().unwrap();
            let path = at.join("a/blobs/sha256").join(d5.digest.hex());
            fs::write(path, bytes).unwrap();
            let broken = repo.prune(&["--keep-last", "1", "--yes"]).fails(65);
            broken.says("nothing was deleted");
        });
    }
    // One of a type that nothing is known of, and that may name other manifests.
    let folder = scratch();
    let repo = Repo::folder(folder.path());
    repo.days();
    let strange = br#"{"schemaVersion":3,"mediaType":"application/vnd.next.v3+json"}"#;
    let digest = Digest::of(strange);
    let at = folder.path().join("a");
    fs::write(at.join("blobs/sha256").join(digest.hex()), strange).unwrap();
    let list = fs::read(at.join("index.json")).unwrap();
    let mut list: Value = serde_json::from_slice(&list).unwrap();
    let entry = json!({"mediaType": "application/vnd.next.v3+json", "digest": digest,
        "size": strange.len(), "annotations": {"org.opencontainers.image.ref.name": "d6"}});
    list["manifests"].as_array_mut().unwrap().push(entry);
    fs::write(at.join("index.json"), list.to_string()).unwrap();
    let output = repo.prune(&["--keep-last", "1", "--yes"]).run();
    assert_ne!(output.code, Some(0), "{output}");
    assert!(output.stderr.contains("nothing was deleted"), "{output}");
    assert_eq!(repo.tags(), "d1 d2 d3 d4 d5 d6", "{output}");
}

// A tag that moves after the plan's tags were looked at, while a backup is written
// or others are deleted.
each_server!(a_tag_that_moves_while_others_go_is_left, |registry| {
    let repo = Repo::on(registry);
    repo.days();
    let front = Server::before(registry, []);
    let work = scratch();
    let plan = work.path().join("plan.json").display().to_string();
    let dxf = |words: &[&str]| Dxf::new().plain(&front.host()).args(words);
    let rules = ["--keep-last", "2", "--max-delete", "100%", "--plan", &plan];
    dxf(&[&["prune-aliases", "a"], &rules[..]].concat()).ok();
    let d2: Target = "d2".parse().unwrap();
    let old = repo.store.head(&d2).unwrap().unwrap();
    let moved = repo.made("moved", Some("2024-05-02T00:00:00Z"), Some("d2"));
    let first = on(HEAD, "/v2/a/manifests/d2").times(1).reply(200);
    let first = first.header("Docker-Content-Digest", &old.digest.to_string());
    let first = first.header("Content-Type", &old.media_type);
    front.add_first([first.header("Content-Length", &old.size.to_string())]);
    let done = dxf(&["prune-aliases", "--apply", &plan]).ok();
    assert!(done.text().contains("moved to"), "{done}");
    assert!(repo.tags().contains("d2"), "{done}");
    assert!(repo.has(&moved.digest()), "{done}");
    repo.dxf(&["verify-alias", "--all", "a"]).ok();
});

// Names that look like something else are aliases like all others.
each_store!(odd_names_are_pruned_as_they_are_written, |repo| {
    let names = [
        "v1.2.3-rc.1_build",
        "01.2.3",
        "1.2.3.4",
        "sha256-abc",
        "deadbeef",
        "_",
        "a.b-c_d",
        "1970-01-01",
    ];
    for (n, name) in names.iter().enumerate() {
        let created = format!("2024-05-0{}T00:00:00Z", n + 1);
        repo.made(name, Some(&created), Some(name));
    }
    // An image with the tag of a digest that no manifest has.
    let lone = format!("sha256-{}", "0".repeat(64));
    let image = repo.made("lone", Some("2024-01-01T00:00:00Z"), Some(&lone));
    // A bracket is a class of characters, and no member of a tag.
    let rules = ["--keep-last", "1", "--keep", "[0-9]*", "--keep", "v?.[!x]*"];
    repo.prune(&[&rules[..], &["--yes"]].concat()).ok();
    let left = "01.2.3 1.2.3.4 1970-01-01 v1.2.3-rc.1_build";
    let tags = repo.tags().replace(&format!(" {lone}"), "");
    assert_eq!(tags, left);
    assert!(
        repo.has(&image.digest()),
        "kept: what it is about is unknown"
    );
    repo.dxf(&["verify-alias", "--all", "a"]).ok();
});

// The parts that a file in parts shares with an older version stay with it.
each_store!(parts_that_versions_share_stay, |repo| {
    let mut bytes = crate::support::data::blob(7, 3 << 20);
    for day in 1..=4 {
        bytes.truncate(bytes.len() - 1000);
        bytes.extend(format!("day {day}").bytes());
        let name = format!("@2024-06-0{day}");
        let push = ["push-blob", "--split", "cdc", "a", "-", &name];
        repo.dxf(&push).stdin(bytes.clone()).ok();
    }
    let rules = ["--date-from-tag", "%Y-%m-%d", "--keep-last", "1", "--yes"];
    repo.prune(&rules).ok();
    assert_eq!(repo.tags(), "2024-06-04");
    if repo.host.starts_with("oci:") {
        repo.dxf(&["gc", "--grace", "0s"]).ok();
    }
    let back = repo.dxf(&["pull-blob", "a", "@2024-06-04"]).ok();
    assert!(back.stdout == bytes);
});

#[test]
fn a_registry_that_refuses_says_what_to_do_there() {
    let registry = Registry::builder().no_delete().start();
    let repo = Repo::on(&registry);
    repo.days();
    let refused = repo.prune(&["--keep-last", "1", "--yes"]).run();
    assert_eq!(refused.code, Some(1), "{refused}");
    assert!(
        refused.stderr.contains("REGISTRY_STORAGE_DELETE_ENABLED"),
        "{refused}"
    );
    assert!(refused.stderr.contains("Harbor"), "{refused}");
    assert_eq!(repo.tags(), "d1 d2 d3 d4 d5");
}

#[test]
fn two_prunes_at_once_lose_nothing() {
    let registry = Registry::http();
    let repo = Repo::on(&registry);
    repo.days();
    let running: Vec<_> = (0..2)
        .map(|_| repo.prune(&["--keep-last", "2", "--yes"]).spawn())
        .collect();
    for running in running {
        let output = running.finish();
        assert_eq!(output.code, Some(0), "{output}");
    }
    assert_eq!(repo.tags(), "d4 d5");
    repo.dxf(&["verify-alias", "--all", "a"]).ok();
}

#[test]
fn the_manuals_nightly_backup_rotates() {
    let page = page("housekeeping");
    let rules = "--date-from-tag %Y-%m-%d --keep-daily 7 --keep-weekly 4 --max-delete 3 --yes";
    assert!(page.contains(&format!("dxf prune-aliases team/dumps {rules}\n")));
    let folder = scratch();
    let host = format!("oci:{}", folder.path().display());
    let dxf = |words: &str| {
        let words = words.split(' ');
        Dxf::new().env("DXF_HOST", &host).args(words)
    };
    for day in 1..=60 {
        let date = match day {
            1..=31 => format!("2024-07-{day:02}"),
            _ => format!("2024-08-{:02}", day - 31),
        };
        let push = dxf(&format!("push-blob --split cdc team/dumps - @{date}"));
        push.stdin(format!("dump of {date}")).ok();
        dxf(&format!("prune-aliases team/dumps {rules}")).ok();
        dxf(&format!("verify-alias team/dumps {date}")).ok();
        // Nothing waits for another night.
        let rest = dxf(&format!("prune-aliases team/dumps {rules}")).ok();
        assert_eq!(rest.text(), "", "{date}");
    }
    // Seven days to Thursday the 29th of August, and the Sundays of two weeks more (that
    // of the last is among the seven).
    let kept = dxf("list-aliases team/dumps").ok();
    let days = ["11", "18", "23", "24", "25", "26", "27", "28", "29"];
    assert_eq!(kept.lines(), days.map(|day| format!("2024-08-{day}")));
    dxf("gc --grace 0s").ok();
    let old = dxf("pull-blob team/dumps @2024-08-11").ok();
    assert_eq!(old.text(), "dump of 2024-08-11");
}

#[test]
fn the_manual_cleans_a_registry() {
    let page = page("housekeeping");
    let folder = scratch();
    let at = folder.path().display();
    let registry = Registry::http();
    let repo = Repo::on(&registry);
    for (n, tag) in ["pr-1", "pr-2", "v1", "pr-3", "pr-4"].iter().enumerate() {
        repo.made(
            tag,
            Some(&format!("2024-05-0{}T00:00:00Z", n + 1)),
            Some(tag),
        );
    }
    let run = |line: &str| {
        assert!(page.contains(&format!("$ dxf {line}\n")), "{line}");
        let line = line.replace("plan.json", &format!("{at}/plan.json"));
        let line = line
            .replace("./removed", &format!("{at}/removed"))
            .replace("team/app", "a");
        let words = line.split(' ').map(|word| word.trim_matches('\''));
        repo.dxf(&words.collect::<Vec<_>>()).ok()
    };
    let rules = "prune-aliases team/app --keep-last 2 --keep 'v*'";
    let shown = run(rules);
    assert_eq!(shown.lines().len(), 1, "a tenth: {shown}");
    run(&format!("{rules} --max-delete 50% --plan plan.json"));
    run("prune-aliases --apply plan.json --backup oci:./removed");
    assert_eq!(repo.tags(), "pr-3 pr-4 v1");
}

/// Commands for those who come from registry-cli, and what is left then of
/// `FROM_REGISTRY_CLI`.
const ROWS: [(&str, &str); 11] = [
    (
        "prune-aliases team/app --keep-last 10 --max-delete 100%",
        ALL,
    ),
    (
        "prune-aliases team/app --keep-last 10 --max-delete 100% --yes",
        ALL,
    ),
    (
        "prune-aliases team/app --keep-last 3 --max-delete 100% --yes",
        "latest pr-3 v3",
    ),
    (
        "prune-aliases team/app --keep-last 3 --keep v1 --keep latest --max-delete 100% --yes",
        "latest pr-3 v1 v3",
    ),
    (
        "prune-aliases team/app --keep-last 3 --keep 'v*' --max-delete 100% --yes",
        "latest pr-3 v1 v2 v3",
    ),
    (
        "prune-aliases team/app --only 'pr-*' --keep-last 1 --max-delete 100% --yes",
        "latest pr-3 v1 v2 v3",
    ),
    (
        "prune-aliases team/app --keep-last 3 --keep-within 72h --max-delete 100% --yes",
        "latest pr-2 pr-3 v3",
    ),
    (
        "prune-aliases team/app --keep-within 72h --max-delete 100% --yes",
        "latest pr-2 pr-3 v3",
    ),
    (
        "prune-aliases team/app --keep-within 72h --keep latest --max-delete 100% --yes",
        "latest pr-2 pr-3 v3",
    ),
    (
        "prune-aliases team/app --only 'pr-*' --allow-empty --max-delete 100% --yes",
        "latest v1 v2 v3",
    ),
    (
        "del-alias --only team/app pr-1",
        "latest pr-2 pr-3 v1 v2 v3",
    ),
];
const ALL: &str = "latest pr-1 pr-2 pr-3 v1 v2 v3";

/// A day apart, in this order.
const FROM_REGISTRY_CLI: [&str; 7] = ["v1", "pr-1", "v2", "pr-2", "pr-3", "v3", "latest"];

#[test]
fn who_comes_from_registry_cli_deletes_the_same() {
    let text = page("coming-from-registry-cli");
    let rows = text
        .lines()
        .filter(|line| line.contains("prune-aliases team/app -"));
    assert_eq!(rows.count(), ROWS.len() - 1);
    let registry = Registry::http();
    let repo = Repo::on(&registry);
    for (line, left) in ROWS {
        assert!(text.contains(&format!("dxf {line}` |")), "{line}");
        for (n, tag) in FROM_REGISTRY_CLI.iter().enumerate() {
            let created = format!("2024-05-0{}T00:00:00Z", n + 1);
            repo.made(tag, Some(&created), Some(tag));
        }
        let line = line.replace("team/app", "a");
        let words = line.split(' ').map(|word| word.trim_matches('\''));
        repo.dxf(&words.collect::<Vec<_>>()).ok();
        assert_eq!(repo.tags(), left, "{line}");
    }
}
