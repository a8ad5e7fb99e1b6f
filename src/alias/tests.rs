use super::*;
use crate::layout::{Layout, Layouts};
use crate::platform::Platform;
use crate::store::ReadStore;
use crate::store::testing::Spy;
use crate::stream::Stop;
use serde_json::json;

fn run(stop: &Stop) -> Run<'_> {
    Run {
        jobs: 4,
        watch: Watch::new(&(), stop),
    }
}

fn t(name: &str) -> Tag {
    name.parse().unwrap()
}

fn tag(name: &str) -> Target {
    Target::Tag(t(name))
}

fn p(name: &str) -> Platform {
    name.parse().unwrap()
}

/// A manifest of one made-up blob.
fn image(text: &str) -> Manifest {
    let d = Descriptor::new("", Digest::of(text.as_bytes()), text.len() as u64);
    Manifest::alias(&[d]).unwrap()
}

/// An index; entries are a platform (or none), more members and the child.
fn index(entries: &[(&str, &str, &Manifest)]) -> Manifest {
    let entries: Vec<_> = entries
        .iter()
        .map(|(platform, annotation, child)| {
            let mut entry = child.descriptor();
            entry.platform = (!platform.is_empty()).then(|| p(platform).into());
            if !annotation.is_empty() {
                entry.annotations.insert((*annotation).into(), "x".into());
            }
            entry
        })
        .collect();
    let document =
        json!({"schemaVersion": 2, "mediaType": media_type::OCI_INDEX, "manifests": entries});
    Manifest::new(None, document.to_string().into_bytes()).unwrap()
}

fn keys<T>(answer: &ByPlatform<T>) -> Vec<&str> {
    match answer {
        ByPlatform::One(_) => vec!["one"],
        ByPlatform::Each(each) => each.keys().map(String::as_str).collect(),
    }
}

/// A store with an index of several platforms and two attestations.
fn several() -> (Spy, Manifest, Vec<Manifest>) {
    let mem = Spy::default();
    let all: Vec<_> = ["amd64", "arm64", "v6", "v7", "a1", "a2"].map(image).into();
    let marker = "vnd.docker.reference.type";
    let top = index(&[
        ("linux/amd64", "", &all[0]),
        ("linux/arm64/v8", "", &all[1]),
        ("linux/arm/v6", "", &all[2]),
        ("linux/arm/v7", "", &all[3]),
        ("unknown/unknown", marker, &all[4]),
        ("", "", &all[5]),
    ]);
    all.iter().for_each(|m| mem.insert(m, None));
    mem.insert(&top, Some("x"));
    (mem, top, all)
}

#[test]
fn one_answer_or_one_for_each_platform() {
    let (stop, (mem, _, all)) = (Stop::new(), several());
    let each = resolve(&mem, &tag("x"), None, run(&stop)).unwrap();
    let last = format!("unknown/unknown@{}", all[5].digest());
    assert_eq!(
        keys(&each),
        [
            "linux/amd64",
            "linux/arm/v6",
            "linux/arm/v7",
            "linux/arm64/v8",
            "unknown/unknown",
            &last
        ]
    );
    assert_eq!(mem.asked().len(), 7);
    let sizes = each.as_ref().try_map(|m| Ok(blobs(m)?[0].size)).unwrap();
    let ByPlatform::Each(sizes) = sizes else {
        panic!("{sizes:?}")
    };
    assert_eq!(sizes["linux/amd64"], 5);
    let failed = each.try_map(|m| {
        if blobs(&m)?[0].size == 2 {
            Err(Error::Stopped)
        } else {
            Ok(m)
        }
    });
    assert!(matches!(failed, Err(Error::Stopped)));
    mem.insert(&all[0], Some("single"));
    // A single manifest has no platform to choose by.
    for platform in [None, Some(p("plan9/mips"))] {
        let one = resolve(&mem, &tag("single"), platform.as_ref(), run(&stop)).unwrap();
        assert_eq!(one, ByPlatform::One(all[0].clone()));
    }
    let missing = resolve(&mem, &tag("no"), None, run(&stop)).unwrap_err();
    assert!(missing.is_not_found());
}

#[test]
fn a_platform_costs_its_own_manifest_only() {
    let (stop, (mem, top, all)) = (Stop::new(), several());
    let table = [
        ("linux/amd64", 0),
        ("linux/amd64/v3", 0),
        ("linux/arm64", 1),
        ("linux/arm/v6", 2),
        ("linux/arm", 3),
        ("linux/arm/v8", 3),
    ];
    for (wanted, at) in table {
        let one = resolve(&mem, &tag("x"), Some(&p(wanted)), run(&stop)).unwrap();
        assert_eq!(one, ByPlatform::One(all[at].clone()), "{wanted}");
        assert_eq!(mem.asked(), ["manifest", "manifest"]);
    }
    for wanted in ["linux/arm/v5", "windows/amd64", "unknown/unknown"] {
        let failed = expand(&mem, top.clone(), Some(&p(wanted)), run(&stop)).unwrap_err();
        let Error::NoPlatform {
            wanted: said,
            available,
        } = failed
        else {
            panic!("{failed}")
        };
        assert_eq!(said, wanted);
        assert_eq!(
            available,
            [
                "linux/amd64",
                "linux/arm/v6",
                "linux/arm/v7",
                "linux/arm64/v8"
            ]
        );
        // One says no platform; its config could.
        assert_eq!(mem.asked(), ["manifest"]);
    }
}

#[test]
fn indexes_stand_in_indexes_but_not_without_end() {
    let (stop, (mem, inner, all)) = (Stop::new(), several());
    let middle = index(&[("", "", &inner), ("linux/s390x", "", &all[0])]);
    let outer = index(&[("", "", &middle)]);
    mem.insert(&middle, None);
    let each = expand(&mem, middle.clone(), None, run(&stop)).unwrap();
    assert_eq!(keys(&each).len(), 7);
    assert!(keys(&each).contains(&"linux/s390x"));
    let one = expand(&mem, middle.clone(), Some(&p("linux/arm64")), run(&stop)).unwrap();
    assert_eq!(one, ByPlatform::One(all[1].clone()));
    mem.asked();
    expand(&mem, middle, Some(&p("linux/s390x")), run(&stop)).unwrap();
    assert_eq!(mem.asked().len(), 1, "the nested index was not needed");
    for platform in [None, Some(p("linux/arm64"))] {
        let failed = expand(&mem, outer.clone(), platform.as_ref(), run(&stop));
        assert!(matches!(failed, Err(Error::Malformed { .. })), "{failed:?}");
    }
}

#[test]
fn children_are_what_the_index_says() {
    let (stop, mem) = (Stop::new(), Spy::default());
    let child = image("1");
    mem.insert(&child, None);
    let text = String::from_utf8(index(&[("linux/amd64", "", &child)]).bytes().to_vec()).unwrap();
    let lie = text.replace("\"size\":411", "\"size\":412");
    assert_ne!(lie, text);
    let lie = Manifest::new(None, lie.into_bytes()).unwrap();
    for platform in [None, Some(p("linux/amd64"))] {
        let failed = expand(&mem, lie.clone(), platform.as_ref(), run(&stop));
        assert!(
            matches!(
                failed,
                Err(Error::Size {
                    expected: 412,
                    actual: 411,
                    ..
                })
            ),
            "{failed:?}"
        );
    }
    let lost = index(&[("linux/amd64", "", &image("2"))]);
    assert!(
        expand(&mem, lost, None, run(&stop))
            .unwrap_err()
            .is_not_found()
    );
    let many: Vec<_> = (0..=crate::graph::budget::MAX_ENTRIES)
        .map(|i| image(&i.to_string()))
        .collect();
    let many: Vec<_> = many.iter().map(|m| ("linux/amd64", "", m)).collect();
    mem.asked();
    let failed = expand(&mem, index(&many), None, run(&stop));
    assert!(matches!(failed, Err(Error::Malformed { .. })) && mem.asked().is_empty());
    // The same manifest for two platforms is fetched once.
    let twice = index(&[("linux/arm/v7", "", &child), ("linux/arm/v8", "", &child)]);
    assert_eq!(
        keys(&expand(&mem, twice, None, run(&stop)).unwrap()).len(),
        2
    );
    assert_eq!(mem.asked().len(), 1);
}

#[test]
fn projections() {
    let m = image("abc");
    assert_eq!(blobs(&m).unwrap()[0].digest, Digest::of(b"abc"));
    assert_eq!(config(&m).unwrap(), Digest::of(b"abc"));
    let bare = format!(
        r#"{{"config":{{"digest":"{}","size":1}},"layers":[]}}"#,
        Digest::of(b"1")
    );
    assert!(
        blobs(&Manifest::new(None, bare.into()).unwrap())
            .unwrap()
            .is_empty()
    );
    let schema1 = Manifest::new(None, r#"{"schemaVersion":1,"fsLayers":[]}"#.into()).unwrap();
    for m in [schema1, index(&[])] {
        assert!(matches!(blobs(&m), Err(Error::Unsupported { .. })));
        assert!(matches!(config(&m), Err(Error::Unsupported { .. })));
    }
}

#[test]
fn setting_asks_once_a_blob_and_puts_once() {
    let (stop, mem) = (Stop::new(), Spy::default());
    let (a, b) = (mem.blob(b"abc").digest, mem.blob(b"de").digest);
    let made = set(&mem, &t("x"), &[b, a, b], Format::Docker, run(&stop)).unwrap();
    let order: Vec<_> = blobs(&made)
        .unwrap()
        .iter()
        .map(|d| (d.digest, d.size))
        .collect();
    assert_eq!(order, [(b, 2), (a, 3), (b, 2)]);
    assert_eq!(mem.asked(), ["blob_size", "blob_size", "put_manifest"]);
    set(&mem, &t("x"), &[a], Format::Docker, run(&stop)).unwrap();
    assert_eq!(mem.memory.manifest(&tag("x")).unwrap().bytes().len(), 411);
    mem.asked();
    let lost = Digest::of(b"lost");
    let failed = set(&mem, &t("x"), &[a, lost], Format::Docker, run(&stop)).unwrap_err();
    assert!(
        failed.is_not_found() && failed.to_string().contains(&lost.to_string()),
        "{failed}"
    );
    for format in [Format::Docker, Format::Oci] {
        let failed = set(&mem, &t("x"), &[], format, run(&stop));
        assert!(matches!(failed, Err(Error::Unsupported { .. })));
    }
    assert!(!mem.asked().contains(&"put_manifest".to_string()));
}

#[test]
fn the_oci_format_is_an_artifact_with_a_config_that_exists() {
    let (stop, dir) = (Stop::new(), tempfile::tempdir().unwrap());
    let repo = Layouts::new(dir.path()).repository(&"a".parse().unwrap());
    let blob = Blob::bytes(media_type::OCTET_STREAM, b"abc".to_vec());
    repo.put_blob(&blob, run(&stop).watch).unwrap();
    let made = set(&repo, &t("x"), &[*blob.digest()], Format::Oci, run(&stop)).unwrap();
    assert_eq!(repo.manifest(&tag("x")).unwrap(), made);
    assert_eq!(made.media_type(), media_type::OCI_MANIFEST);
    let said = made.image().unwrap();
    assert_eq!(said.artifact_type.as_deref(), Some(ARTIFACT_TYPE));
    assert_eq!(said.config.media_type, media_type::OCI_EMPTY);
    assert_eq!(repo.blob_size(&said.config.digest).unwrap(), Some(2));
    assert_eq!(blobs(&made).unwrap()[0].digest, *blob.digest());
    let again = put(
        &repo,
        &t("y"),
        &[blob.descriptor().clone()],
        Format::Oci,
        run(&stop),
    );
    assert_eq!(again.unwrap(), made);
}

#[test]
fn an_immutable_tag_that_is_right_already_is_no_failure() {
    let (stop, mem) = (Stop::new(), Spy::default());
    let (a, b) = (mem.blob(b"a").digest, mem.blob(b"b").digest);
    set(&mem, &t("x"), &[a], Format::Docker, run(&stop)).unwrap();
    for code in [400, 403, 409, 412] {
        mem.refuse("put_manifest", code);
        mem.asked();
        set(&mem, &t("x"), &[a], Format::Docker, run(&stop)).unwrap();
        assert_eq!(mem.asked(), ["blob_size", "put_manifest", "head"]);
        for (name, digest) in [("x", b), ("new", a)] {
            let failed = set(&mem, &t(name), &[digest], Format::Docker, run(&stop));
            assert_eq!(failed.unwrap_err().status(), Some(code));
        }
    }
    for code in [404, 429, 500] {
        mem.refuse("put_manifest", code);
        mem.asked();
        let failed = set(&mem, &t("x"), &[a], Format::Docker, run(&stop));
        assert_eq!(failed.unwrap_err().status(), Some(code));
        assert_eq!(mem.asked(), ["blob_size", "put_manifest"]);
    }
    mem.refuse("put_manifest", 400);
    mem.refuse("head", 500);
    let failed = set(&mem, &t("x"), &[a], Format::Docker, run(&stop));
    assert_eq!(
        failed.unwrap_err().status(),
        Some(400),
        "the first refusal is what matters"
    );
}

#[test]
fn deleting_goes_by_digest_and_says_what_was() {
    let (mem, stop) = (Spy::default(), Stop::new());
    let m = image("1");
    for name in ["x", "y"] {
        mem.insert(&m, Some(name));
    }
    let was = delete(&mem, &tag("x"), run(&stop)).unwrap();
    assert_eq!(was.pointed, ByPlatform::One(vec![Digest::of(b"1")]));
    assert_eq!(was.siblings.unwrap(), [t("y")]);
    assert_eq!(mem.asked(), ["manifest", "tags", "head", "delete_manifest"]);
    let gone = delete(&mem, &tag("y"), run(&stop));
    assert!(gone.unwrap_err().is_not_found());
    let (mem, top, all) = several();
    let was = delete(&mem, &top.digest().into(), run(&stop)).unwrap();
    let ByPlatform::Each(was) = was.pointed else {
        panic!("one")
    };
    assert_eq!(
        (was.len(), &was["linux/amd64"]),
        (6, &vec![all[0].digest()])
    );
    assert!(mem.memory.manifest(&all[0].digest().into()).is_ok());
}

#[test]
fn one_alias_alone_is_untagged_where_that_works() {
    let (stop, dir) = (Stop::new(), tempfile::tempdir().unwrap());
    let repo = Layout::at(dir.path().join("a"));
    let blob = Blob::bytes(media_type::OCTET_STREAM, b"abc".to_vec());
    repo.put_blob(&blob, run(&stop).watch).unwrap();
    for name in ["x", "y"] {
        set(
            &repo,
            &t(name),
            &[*blob.digest()],
            Format::Docker,
            run(&stop),
        )
        .unwrap();
    }
    let was = delete_only(&repo, &t("x"), run(&stop)).unwrap();
    assert_eq!(was, ByPlatform::One(vec![*blob.digest()]));
    assert!(
        delete_only(&repo, &t("x"), run(&stop))
            .unwrap_err()
            .is_not_found()
    );
    assert_eq!(repo.tags().map(Result::unwrap).collect::<Vec<_>>(), ["y"]);
    delete(&repo, &tag("y"), run(&stop)).unwrap();
    assert_eq!(repo.manifests().unwrap(), []);
}

#[test]
fn one_alias_alone_where_tags_cannot_be_removed() {
    // 0 stands for Error::Unsupported; 404 is said of tags by some registries.
    for code in [0, 400, 404, 405] {
        let (stop, mem) = (Stop::new(), Spy::default());
        let m = image("1");
        for name in ["x", "y", "z"] {
            mem.insert(&m, Some(name));
        }
        mem.insert(&image("2"), Some("other"));
        mem.refuse("untag", code);
        let failed = delete_only(&mem, &t("x"), run(&stop)).unwrap_err();
        assert!(
            matches!(failed, Error::NotAllowed { .. }),
            "{code}: {failed}"
        );
        assert!(failed.to_string().ends_with("too: y, z"), "{failed}");
        assert!(!mem.asked().contains(&"delete_manifest".to_string()));
        for sibling in ["y", "z"] {
            mem.memory.untag(&t(sibling)).unwrap();
        }
        delete_only(&mem, &t("x"), run(&stop)).unwrap();
        assert_eq!(mem.asked().last().unwrap(), "delete_manifest");
        assert!(
            mem.memory.manifest(&tag("other")).is_ok() && mem.memory.manifest(&tag("x")).is_err()
        );
    }
    let (stop, mem) = (Stop::new(), Spy::default());
    mem.insert(&image("1"), Some("x"));
    mem.refuse("untag", 403);
    let failed = delete_only(&mem, &t("x"), run(&stop)).unwrap_err();
    assert_eq!(failed.status(), Some(403));
    // A sibling that can't be looked at might be one.
    mem.insert(&image("1"), Some("y"));
    mem.refuse("untag", 405);
    mem.refuse("head", 500);
    let failed = delete_only(&mem, &t("x"), run(&stop)).unwrap_err();
    assert_eq!(failed.status(), Some(500));
    assert!(mem.memory.manifest(&tag("x")).is_ok());
}

#[test]
fn long_lists_of_siblings_are_cut() {
    let tags: Vec<_> = (0..25).map(|i| t(&format!("t{i}"))).collect();
    assert!(named(&tags).ends_with("t19 and 5 more"));
    assert_eq!(named(&tags[..2]), "t0, t1");
}

#[test]
fn what_is_there_already_is_not_taken_for_ones_own() {
    let (mem, stop) = (Spy::default(), Stop::new());
    let one = mem.blob(b"1").digest;
    let set = |expected| {
        let settings = SetOptions {
            expected: Some(expected),
            ..SetOptions::default()
        };
        set(&mem, &t("x"), &[one], settings, run(&stop))
    };
    let first = set(Expected::Nothing).unwrap();
    let refused = set(Expected::Nothing).unwrap_err();
    assert!(matches!(refused, Error::Conflict { .. }), "{refused}");
    // A registry whose tags are immutable refuses what changes nothing, too.
    mem.refuse("put_manifest", 412);
    set(Expected::Manifest(first.digest())).unwrap();
}
