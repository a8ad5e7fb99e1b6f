//! The ways in which other tools lost data, each a test by its name. Those that are
//! tested beside this file: ages from names (`names_are_not_ages_…`), 1970 and 1980
//! (`reproducible_builds_…`), `--keep-last 0` (`bad_input_…`), and a dry run that
//! differs from what is done (`the_plan_is_what_is_done`).

use std::fs::File;
use std::time::{Duration, SystemTime};

use super::*;

const OLD: &str = "2024-01-01T00:00:00Z";
const NEW: &str = "2024-06-01T00:00:00Z";

fn stays(repo: &Repo, output: &Output, manifests: &[&Manifest]) {
    for one in manifests {
        assert!(
            repo.has(&one.digest()),
            "{} is lost: {output}",
            one.digest()
        );
    }
    repo.dxf(&["verify-alias", "--all", "a"]).ok();
}

// https://github.com/Azure/acr-cli/issues/131, 342
each_store!(children_of_an_index_are_deleted_as_untagged, |repo| {
    let children = ["1", "2", "3"].map(|text| repo.made(text, Some(OLD), None));
    repo.index(&children.each_ref(), NEW, "multi");
    repo.made("old", Some(OLD), Some("old"));
    let done = repo.prune(&["--keep-last", "1", "--yes"]).ok();
    assert_eq!(repo.tags(), "multi");
    stays(repo, &done, &children.each_ref());
});

// https://github.com/snok/container-retention-policy/issues/63
each_store!(provenance_makes_an_index_of_an_image_overnight, |repo| {
    let image = repo.image("app", OLD, "build");
    let provenance = repo.made("provenance", None, None);
    let mut entry = json!(provenance.descriptor());
    entry["platform"] = json!({"os": "unknown", "architecture": "unknown"});
    entry["annotations"] = json!({"vnd.docker.reference.type": "attestation-manifest",
        "vnd.docker.reference.digest": image.digest()});
    let document = json!({"schemaVersion": 2, "mediaType": media_type::OCI_INDEX,
        "manifests": [image.descriptor(), entry]});
    repo.manifest(document, Some("app"));
    repo.made("older", Some("2023-01-01T00:00:00Z"), Some("older"));
    // The image's own tag goes, or is left where a registry deletes by digest only.
    let rules = [
        "--only",
        "build",
        "--only",
        "older",
        "--keep-last",
        "0",
        "--allow-empty",
    ];
    let done = repo.prune(&[&rules[..], &["--yes"]].concat()).ok();
    assert!(!repo.tags().contains("older"), "{done}");
    stays(repo, &done, &[&image, &provenance]);
});

// https://github.com/Azure/acr-cli/issues/133, 621
each_store!(
    referrers_are_deleted_or_kept_without_their_subject,
    |repo| {
        let kept = repo.made("kept", Some(NEW), Some("kept"));
        let signature = repo.about(&kept, "signature");
        let about_it = repo.about(&signature, "about the signature");
        let gone = repo.made("gone", Some(OLD), Some("gone"));
        let its = repo.about(&gone, "its");
        let done = repo.prune(&["--keep-last", "1", "--yes"]).ok();
        assert_eq!(repo.tags(), "kept");
        stays(repo, &done, &[&kept, &signature, &about_it]);
        // Where the subject is gone, so is what refers to it.
        assert!(
            repo.has(&gone.digest()) || !repo.has(&its.digest()),
            "{done}"
        );
    }
);

each_store!(a_list_of_referrers_goes_with_its_subject, |repo| {
    repo.made("kept", Some(NEW), Some("kept"));
    let gone = repo.made("gone", Some(OLD), Some("gone"));
    let its = repo.about(&gone, "its");
    let folder = scratch();
    let plan = folder.path().join("plan.json").display().to_string();
    let backup = format!("oci:{}", folder.path().join("removed").display());
    repo.prune(&["--keep-last", "1", "--plan", &plan]).ok();
    let apply = ["prune-aliases", "--apply", &plan, "--backup", &backup];
    let done = repo.dxf(&apply).ok();
    let tags: Vec<Tag> = repo.store.tags().map(Result::unwrap).collect();
    assert_eq!(tags, ["kept".parse::<Tag>().unwrap()], "{done}");
    // The same once more, as after an interruption.
    let again = repo.dxf(&apply).ok();
    assert!(again.stderr.contains("1 no longer existed"), "{again}");
    let to = repo.place("a");
    let from = format!("{backup}/a");
    let copy = ["copy-image", "--all-tags", "--referrers", &from, &to];
    // Neither needs the blobs, which only the store has.
    let dry = repo.dxf(&copy).arg("--dry-run").ok();
    assert!(dry.text().contains("upload  0 blobs"), "{dry}");
    repo.dxf(&copy).ok();
    let listed = repo.dxf(&["list-referrers", &format!("{to}:gone")]).ok();
    assert!(
        listed.text().contains(&its.digest().to_string()),
        "{listed}"
    );
});

// https://github.com/goharbor/harbor/issues/8717: two tags deleted, six gone
each_store!(a_digest_that_other_tags_share_goes_with_one, |repo| {
    let shared = repo.made("shared", Some(OLD), Some("t1"));
    for tag in ["t2", "t3", "t4", "t5", "t6"] {
        repo.store
            .put_manifest(&shared, &tag.parse().unwrap())
            .unwrap();
    }
    let rules = ["--only", "t[56]", "--keep", "none", "--yes"];
    let done = repo.prune(&rules).ok();
    let tags = repo.tags();
    assert!(tags.starts_with("t1 t2 t3 t4"), "{tags}: {done}");
    let left = done.text().contains("deletes only whole manifests");
    assert_eq!(tags.ends_with("t5 t6"), left, "{tags}: {done}");
    stays(repo, &done, &[&shared]);
});

// https://github.com/project-zot/zot: keepTags
each_store!(a_rule_that_keeps_some_deletes_all_others, |repo| {
    repo.days();
    let done = repo.prune(&["--keep", "d1", "--yes"]).ok();
    assert_eq!(repo.tags(), "d1 d2 d3 d4 d5", "{done}");
    assert!(done.stderr.contains("choose none to delete"), "{done}");
    // Keep beats delete, whatever the order.
    repo.prune(&["--keep-last", "1", "--keep", "d1", "--yes"])
        .ok();
    assert_eq!(repo.tags(), "d1 d5");
});

// https://github.com/goharbor/harbor/issues/10555
#[test]
fn an_upgrade_changes_the_times_of_pushes() {
    let folder = scratch();
    let repo = Repo::folder(folder.path());
    repo.days();
    let before = repo.prune(&["--keep-last", "2"]).ok();
    let blobs = folder.path().join("a/blobs/sha256");
    for (at, entry) in fs::read_dir(blobs).unwrap().enumerate() {
        let file = File::options()
            .write(true)
            .open(entry.unwrap().path())
            .unwrap();
        let age = Duration::from_secs(3600 * (at as u64 * 7 % 11));
        file.set_modified(SystemTime::now() - age).unwrap();
    }
    assert_eq!(repo.prune(&["--keep-last", "2"]).ok().text(), before.text());
}

#[test]
fn an_image_without_an_age_is_deleted_or_stops_the_rule() {
    let folder = scratch();
    let repo = Repo::folder(folder.path());
    repo.days();
    repo.made("ageless", None, Some("ageless"));
    repo.made("odd", Some("yesterday"), Some("odd"));
    let done = repo.prune(&["--keep-daily", "2", "--yes"]).ok();
    assert_eq!(repo.tags(), "ageless d4 d5 odd", "{done}");
}

// https://github.com/goharbor/harbor/issues/11837: `--num 0` meant all, or nothing
#[test]
fn zero_means_all_or_nothing() {
    let folder = scratch();
    let repo = Repo::folder(folder.path());
    repo.days();
    let zero = ["--keep-last", "0", "--keep-daily", "0", "--yes"];
    assert_eq!(repo.prune(&zero).run().code, Some(2));
    repo.prune(&["--keep-last", "0", "--keep-daily", "1", "--yes"])
        .ok();
    assert_eq!(repo.tags(), "d5");
    let none = repo.dxf(&[
        "prune-aliases",
        "a",
        "--keep-last",
        "1",
        "--max-delete",
        "0",
        "--yes",
    ]);
    none.ok();
    assert_eq!(repo.tags(), "d5");
}
