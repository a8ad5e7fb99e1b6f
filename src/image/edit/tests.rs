use super::*;
use crate::Manifest;
use crate::image::tests::{Made, image, image_for, index};
use crate::image::{Node, check};
use crate::stream::{Run, Stop, Watch};
use proptest::prelude::*;

fn layer(text: &[u8]) -> Layer {
    let blob = Blob::bytes(
        "application/vnd.oci.image.layer.v1.tar",
        [text, b" of a layer"].concat(),
    );
    Layer {
        diff_id: *blob.digest(),
        blob,
        created_by: String::from_utf8_lossy(text).into_owned(),
    }
}

/// An image with these members in its config and manifest.
fn custom(layers: &[&[u8]], config: Value, manifest: Value) -> Image {
    let made: Vec<_> = layers.iter().map(|text| layer(text)).collect();
    let ids: Vec<_> = made.iter().map(|layer| layer.diff_id).collect();
    let mut members = json!({"zeta": 1, "architecture": "amd64", "os": "linux"});
    let into = |to: &mut Value, more: Value| {
        let more = more.as_object().unwrap().clone();
        to.as_object_mut().unwrap().extend(more);
    };
    into(&mut members, config);
    into(
        &mut members,
        json!({"rootfs": {"diff_ids": ids, "type": "layers"}, "alpha": [1.5]}),
    );
    let config = Blob::bytes(
        media_type::OCI_CONFIG,
        serde_json::to_vec_pretty(&members).unwrap(),
    );
    let listed: Vec<_> = made.iter().map(|layer| layer.blob.descriptor()).collect();
    let mut members = json!({"layers": listed, "odd": {"b": 1, "a": 2}, "config": config.descriptor(),
        "schemaVersion": 2, "mediaType": media_type::OCI_MANIFEST});
    into(&mut members, manifest);
    let manifest = Manifest::new(None, serde_json::to_vec_pretty(&members).unwrap()).unwrap();
    let blobs = made.into_iter().map(|layer| layer.blob).collect();
    Image::new(manifest, config, blobs).unwrap()
}

fn config(image: &Image) -> Value {
    image.config().unwrap().into_value()
}

fn history(image: &Image) -> Value {
    config(image)["history"].clone()
}

fn keys(value: &Value) -> Vec<&str> {
    value
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect()
}

fn checked(image: &Image) {
    let stop = Stop::new();
    check(image, Run::new(1, Watch::new(&(), &stop))).unwrap();
}

fn settings(image: &Image) -> Value {
    config(image)["config"].clone()
}

#[test]
fn an_edit_that_changes_nothing_gives_the_same_bytes() {
    let env =
        json!({"config": {"Env": ["A=b"], "Labels": {"l": "1"}}, "history": [{"created_by": "x"}]});
    for base in [
        image(&[Made::Gzip(b"a"), Made::Zstd(b"b")]),
        custom(&[b"one"], env, json!({"annotations": {"a": "b"}})),
        custom(
            &[b"one"],
            json!({"config": null, "history": null}),
            json!({}),
        ),
        custom(&[], json!({}), json!({})),
    ] {
        let same = base.edit().unwrap().unset_env("NO").unset_label("no");
        let same = same
            .unset_annotation("no")
            .unexpose("1")
            .unset_volume("/no");
        let same = same.cmd::<&str>(&["/hello"][..0]).finish().unwrap();
        if settings(&base)["Cmd"].is_null() {
            assert_eq!(same.manifest(), base.manifest());
            assert_eq!(same.config_blob().digest(), base.config_blob().digest());
        }
        let same = base.edit().unwrap().append(layer(b"x")).remove_top();
        // Steps that say nothing were added where there was no history.
        let same = same.finish();
        if base.layers().is_empty() {
            assert!(matches!(same, Err(Error::Unsupported { .. })));
        } else if config(&base)["history"].as_array().map_or(0, Vec::len) == base.layers().len() {
            assert_eq!(same.unwrap().manifest(), base.manifest());
        }
    }
    let base = custom(
        &[b"one"],
        json!({"config": {"Env": ["A=b"], "Cmd": ["x"]}}),
        json!({}),
    );
    let same = base
        .edit()
        .unwrap()
        .set_env("A", "b")
        .cmd(&["x"])
        .finish()
        .unwrap();
    assert_eq!(same.manifest(), base.manifest());
}

#[test]
fn what_is_not_named_stays_member_for_member() {
    let base = custom(
        &[b"one", b"two"],
        json!({"config": {"Zed": 1, "Env": ["P=q", "A=1", "odd", 7, "A=2"], "Labels": null, "Cmd": null}, "created": "2020-01-01T00:00:00Z"}),
        json!({"annotations": {"z": "1", "a": "2"}, "subject": null}),
    );
    let edited = base
        .edit()
        .unwrap()
        .append(layer(b"three"))
        .set_env("A", "new");
    let edited = edited
        .set_label("k", "v")
        .unset_annotation("z")
        .finish()
        .unwrap();
    checked(&edited);
    let (was, is) = (config(&base), config(&edited));
    assert_eq!(keys(&is), [keys(&was), vec!["history"]].concat());
    assert_eq!(keys(&is["rootfs"]), ["diff_ids", "type"]);
    assert_eq!(is["created"], was["created"]);
    assert_eq!(is["config"]["Env"], json!(["P=q", "A=new", "odd", 7]));
    assert_eq!(keys(&is["config"]), ["Zed", "Env", "Labels", "Cmd"]);
    assert_eq!(is["history"], json!([{}, {}, {"created_by": "three"}]));
    let of = |image: &Image| -> Value { serde_json::from_slice(image.manifest().bytes()).unwrap() };
    let (was, is) = (of(&base), of(&edited));
    assert_eq!(keys(&is), keys(&was));
    assert_eq!(
        (&is["odd"], &is["annotations"]),
        (&was["odd"], &json!({"a": "2"}))
    );
    assert_eq!(is["layers"][1], was["layers"][1]);
    assert_eq!(keys(&is["config"]), keys(&was["config"]));
    let again = base
        .edit()
        .unwrap()
        .append(layer(b"three"))
        .set_env("A", "new");
    let again = again
        .set_label("k", "v")
        .unset_annotation("z")
        .finish()
        .unwrap();
    assert_eq!(again.manifest(), edited.manifest());
}

#[test]
fn layers_and_steps_go_together() {
    let steps = json!({"history": [{"created_by": "one"}, {"created_by": "e", "empty_layer": true},
        "odd", {"created_by": "two"}, {"created_by": "three"}, {"created_by": "f", "empty_layer": true}]});
    let base = custom(&[b"one", b"two", b"three"], steps, json!({}));
    let by = |image: &Image| -> Vec<String> {
        let steps = image.config().unwrap().history();
        steps.into_iter().map(|step| step.created_by).collect()
    };
    let edited = base.edit().unwrap().remove(1).finish().unwrap();
    checked(&edited);
    assert_eq!(by(&edited), ["one", "e", "three", "f"]);
    let edited = base
        .edit()
        .unwrap()
        .append(layer(b"four"))
        .remove(0)
        .remove(1);
    assert_eq!(by(&edited.finish().unwrap()), ["e", "two", "f", "four"]);
    let digest = *base.layers()[2].digest();
    let edited = base
        .edit()
        .unwrap()
        .append(base.layer(2).unwrap())
        .history("again");
    let edited = edited.history("of its own").finish().unwrap();
    assert_eq!(
        by(&edited),
        ["one", "e", "two", "three", "f", "again", "of its own"]
    );
    assert_eq!(edited.layers().len(), 4);
    let edited = edited
        .edit()
        .unwrap()
        .remove_digest(&digest)
        .finish()
        .unwrap();
    assert_eq!(by(&edited), ["one", "e", "two", "f", "of its own"]);
    // What is named is the layer just added, not one below it.
    let edited = base
        .edit()
        .unwrap()
        .append(layer(b"x"))
        .remove_top()
        .history("h");
    assert_eq!(
        history(&edited.finish().unwrap()).as_array().unwrap().len(),
        7
    );
    let fresh = base
        .edit()
        .unwrap()
        .created(&"2024-01-01T00:00:00Z".parse().unwrap());
    let fresh = fresh.append(layer(b"x")).history("words").finish().unwrap();
    let last = history(&fresh).as_array().unwrap().last().unwrap().clone();
    assert_eq!(
        last,
        json!({"created": "2024-01-01T00:00:00Z", "created_by": "words"})
    );
    assert_eq!(config(&fresh)["created"], "2024-01-01T00:00:00Z");
}

#[test]
fn what_can_not_be_done_is_said() {
    let base = custom(&[b"one", b"two"], json!({}), json!({}));
    let edit = || base.edit().unwrap();
    let missing = [edit().remove(2), edit().remove_digest(&Digest::of(b""))];
    for edited in missing {
        assert!(edited.finish().unwrap_err().is_not_found());
    }
    assert!(base.layer(2).is_err());
    let none = edit().remove_top().remove(0).finish();
    assert!(matches!(none, Err(Error::Unsupported { .. })));
    let other = edit().remove_top().remove(0).append(layer(b"x")).finish();
    assert_eq!(other.unwrap().layers().len(), 1);
    let wrong = [
        edit().set_env("", "x"),
        edit().set_env("A=B", "x"),
        edit().set_env("A", "\0"),
        edit().unset_env(""),
        edit().set_label("", "x"),
        edit().set_annotation("", "x"),
        edit().cmd(&["a\0"]),
        edit().workdir("relative"),
        edit().volume("relative"),
        edit().stop_signal("kill it"),
        edit().user(":"),
        edit().expose("0"),
        edit().expose("65536/tcp"),
        edit().expose("80/http"),
        edit().expose("+80"),
    ];
    for edited in wrong {
        // What follows a mistake does not cure it.
        let error = edited.set_env("A", "b").finish().unwrap_err();
        assert!(matches!(error, Error::Invalid { .. }), "{error}");
    }
    let alias = Manifest::alias(&[layer(b"x").blob.descriptor().clone()]).unwrap();
    let alias = Image::of(alias, |d| {
        Ok(Blob::new(d.clone(), crate::blob::Bytes(vec![])))
    })
    .unwrap();
    assert!(matches!(
        alias.edit().err(),
        Some(Error::Unsupported { .. })
    ));
    let ids = json!({"rootfs": {"diff_ids": []}});
    let mut lying = config(&base);
    lying["rootfs"] = ids["rootfs"].clone();
    let lying = Blob::bytes(media_type::OCI_CONFIG, lying.to_string().into_bytes());
    let mut manifest: Value = serde_json::from_slice(base.manifest().bytes()).unwrap();
    manifest["config"] = serde_json::to_value(lying.descriptor()).unwrap();
    let manifest = Manifest::new(None, manifest.to_string().into_bytes()).unwrap();
    let lying = Image::new(manifest, lying, base.layers().to_vec()).unwrap();
    assert!(matches!(lying.edit().err(), Some(Error::Malformed { .. })));
    for odd in [json!({"config": 7}), json!({"config": {"Env": 7}})] {
        let odd = custom(&[b"one"], odd, json!({}));
        assert!(odd.edit().unwrap().set_env("A", "b").finish().is_err());
    }
}

#[test]
fn settings_are_docker_s() {
    let scratch = Image::scratch(&"linux/arm/v7".parse().unwrap(), Family::Docker).unwrap();
    let edited = scratch.edit().unwrap().append(layer(b"x"));
    let edited = edited
        .entrypoint(&["/app", "-x"])
        .cmd(&["run"])
        .workdir("/srv")
        .user("1:2");
    let edited = edited
        .expose("80")
        .expose("53/udp")
        .volume("/data")
        .stop_signal("SIGTERM");
    let edited = edited
        .set_label("b", "1")
        .set_label("a", "2")
        .set_annotation("n", "v");
    let edited = edited.finish().unwrap();
    checked(&edited);
    assert_eq!(edited.manifest().media_type(), media_type::DOCKER_MANIFEST);
    assert_eq!(
        edited.layers()[0].descriptor().media_type,
        "application/vnd.docker.image.rootfs.diff.tar"
    );
    assert_eq!(
        edited.config().unwrap().platform().to_string(),
        "linux/arm/v7"
    );
    assert_eq!(
        settings(&edited),
        json!({"Entrypoint": ["/app", "-x"], "Cmd": ["run"], "WorkingDir": "/srv", "User": "1:2",
            "ExposedPorts": {"80/tcp": {}, "53/udp": {}}, "Volumes": {"/data": {}},
            "StopSignal": "SIGTERM", "Labels": {"b": "1", "a": "2"}})
    );
    assert_eq!(edited.manifest().image().unwrap().annotations["n"], "v");
    let none: [&str; 0] = [];
    let bare = edited
        .edit()
        .unwrap()
        .entrypoint(&none)
        .cmd(&none)
        .workdir("")
        .user("");
    let bare = bare
        .unexpose("80/tcp")
        .unexpose("53/udp")
        .unset_volume("/data")
        .stop_signal("");
    let bare = bare
        .unset_label("a")
        .unset_label("b")
        .unset_annotation("n")
        .remove_top();
    let bare = bare.append(layer(b"y")).finish().unwrap();
    assert_eq!(settings(&bare), json!({}));
}

#[test]
fn a_new_base_brings_what_came_with_the_old_one() {
    let old = custom(
        &[b"os 1"],
        json!({"config": {"Env": ["PATH=/bin", "V=1", "GONE=1", "MINE=0"], "Cmd": ["sh"], "User": "root",
            "Labels": {"v": "1", "own": "0", "gone": "1"}},
            "history": [{"created_by": "os 1"}, {"created_by": "CMD", "empty_layer": true}]}),
        json!({}),
    );
    let app = old
        .edit()
        .unwrap()
        .append(layer(b"app"))
        .set_env("MINE", "1")
        .set_env("APP", "x");
    let app = app.set_label("own", "1").user("me").set_annotation(
        "org.opencontainers.image.base.digest",
        &old.manifest().digest().to_string(),
    );
    let app = app
        .set_annotation("org.opencontainers.image.base.name", "os:1")
        .finish()
        .unwrap();
    let new = custom(
        &[b"os 2", b"more"],
        json!({"config": {"Env": ["NEW=1", "PATH=/usr/bin", "V=2", "MINE=9"], "Cmd": ["bash"], "User": "admin",
            "Labels": {"v": "2", "own": "9"}, "Healthcheck": {"Test": ["x"]}}}),
        json!({}),
    );
    let rebased = app
        .edit()
        .unwrap()
        .rebase(&old, &new, Some("os:2"))
        .finish()
        .unwrap();
    checked(&rebased);
    assert_eq!(rebased.layers().len(), 3);
    assert_eq!(
        settings(&rebased),
        json!({"Env": ["NEW=1", "PATH=/usr/bin", "V=2", "MINE=1", "APP=x"], "Cmd": ["bash"], "User": "me",
            "Labels": {"v": "2", "own": "1"}, "Healthcheck": {"Test": ["x"]}})
    );
    assert_eq!(history(&rebased), json!([{}, {}, {"created_by": "app"}]));
    let annotations = rebased.manifest().image().unwrap().annotations;
    assert_eq!(
        annotations["org.opencontainers.image.base.digest"],
        new.manifest().digest().to_string()
    );
    assert_eq!(annotations["org.opencontainers.image.base.name"], "os:2");
    // There and back again.
    let back = rebased
        .edit()
        .unwrap()
        .rebase(&new, &old, None)
        .finish()
        .unwrap();
    assert_eq!(history(&back), history(&app));
    assert!(
        !back
            .manifest()
            .image()
            .unwrap()
            .annotations
            .contains_key("org.opencontainers.image.base.name")
    );
    assert_eq!(
        settings(&back)["Env"],
        json!(["PATH=/bin", "V=1", "GONE=1", "MINE=1", "APP=x"])
    );
    // Not on it, and for something else.
    let refused = |base: &Image, new: &Image| {
        let error = app
            .edit()
            .unwrap()
            .rebase(base, new, None)
            .finish()
            .unwrap_err();
        assert!(matches!(error, Error::Unsupported { .. }), "{error}");
    };
    refused(&new, &old);
    refused(&old, &image_for("linux/arm64", &[Made::Gzip(b"x")]));
    let same = app
        .edit()
        .unwrap()
        .rebase(&old, &old, Some("os:1"))
        .finish()
        .unwrap();
    assert_eq!(same.manifest(), app.manifest());
}

#[test]
fn what_must_not_be_passed_on_is_not_put_into_another_layer() {
    let base = custom(&[b"windows"], json!({}), json!({}));
    let mut foreign = layer(b"base");
    let name = "application/vnd.oci.image.layer.nondistributable.v1.tar";
    foreign.blob = foreign.blob.with_media_type(name);
    let editor = base.edit().unwrap().append(foreign);
    let (stop, folder) = (Stop::new(), std::env::temp_dir());
    let squashed = editor.squash(LayerOptions {
        family: Family::Oci,
        folder: &folder,
        run: Run::new(1, Watch::new(&(), &stop)),
    });
    let said = squashed.finish().unwrap_err();
    assert!(matches!(said, Error::Unsupported { .. }), "{said}");
    assert!(said.to_string().contains("distributable"), "{said}");
}

#[test]
fn an_image_without_environment_gets_that_of_its_new_base() {
    let old = custom(&[b"os 1"], json!({"config": {"Cmd": ["sh"]}}), json!({}));
    let new = custom(
        &[b"os 2"],
        json!({"config": {"Env": ["PATH=/bin"], "Labels": {"v": "2"}}}),
        json!({}),
    );
    let app = old.edit().unwrap().append(layer(b"app")).finish().unwrap();
    let rebased = app.edit().unwrap().rebase(&old, &new, None);
    assert_eq!(
        settings(&rebased.finish().unwrap()),
        json!({"Env": ["PATH=/bin"], "Labels": {"v": "2"}})
    );
    // One that took all of its old base's away gets what it never saw.
    let had = custom(&[b"os 1"], json!({"config": {"Env": ["A=1"]}}), json!({}));
    let app = had.edit().unwrap().append(layer(b"app")).unset_env("A");
    let new = custom(
        &[b"os 2"],
        json!({"config": {"Env": ["A=2", "B=2"]}}),
        json!({}),
    );
    let rebased = app.rebase(&had, &new, None).finish().unwrap();
    assert_eq!(settings(&rebased)["Env"], json!(["B=2"]));
}

#[test]
fn every_image_of_an_index_is_changed_and_its_attestation_dropped() {
    let images = ["linux/amd64", "linux/arm64"].map(|p| image_for(p, &[Made::Gzip(p.as_bytes())]));
    let plain = index(&images);
    let mut value: Value = serde_json::from_slice(plain.manifest().bytes()).unwrap();
    let about = images[0].manifest().digest().to_string();
    value["manifests"][2]["annotations"]["vnd.docker.reference.digest"] = about.into();
    value["manifests"][1]["odd"] = 7.into();
    value["odd"] = json!({"z": 1, "a": 2});
    let manifest = Manifest::new(None, value.to_string().into_bytes()).unwrap();
    let listed = manifest.index().unwrap().manifests;
    let children = plain
        .children()
        .iter()
        .zip(listed)
        .map(|(child, descriptor)| super::super::Child {
            descriptor,
            node: child.node.clone(),
        });
    let whole = Node::Index(super::super::Index::new(manifest, children.collect()).unwrap());
    let edited = edit_images(&whole, &mut |image| {
        image.edit()?.append(layer(b"x")).finish()
    })
    .unwrap();
    let after: Value = serde_json::from_slice(edited.manifest().bytes()).unwrap();
    assert_eq!(keys(&after), keys(&value));
    assert_eq!(
        (&after["odd"], &after["manifests"][1]["odd"]),
        (&value["odd"], &json!(7))
    );
    assert_eq!(after["manifests"].as_array().unwrap().len(), 2);
    assert_eq!(
        after["manifests"][0]["platform"],
        value["manifests"][0]["platform"]
    );
    for (_, image) in edited.images() {
        checked(image);
        assert_eq!(image.layers().len(), 2);
    }
    // One alone: the attestation of the other stays.
    let edited =
        edit_images(
            &whole,
            &mut |image| match image.config()?.platform().architecture.as_str() {
                "arm64" => image.edit()?.set_env("A", "b").finish(),
                _ => Ok(image.clone()),
            },
        );
    assert_eq!(edited.unwrap().images().len(), 3);
    let same = edit_images(&whole, &mut |image| image.edit()?.finish()).unwrap();
    assert_eq!(same.manifest(), whole.manifest());
    let nothing = edit_images(&Node::Index(index(&[])), &mut |image| Ok(image.clone()));
    assert!(matches!(nothing, Err(Error::Unsupported { .. })));
}

proptest! {
    #[test]
    fn any_edit_of_any_config_keeps_what_is_not_named(
        empty in proptest::collection::vec(any::<bool>(), 0..8),
        odd in r#"[a-z"{}\[\]0-9 ]{0,20}"#,
        remove in 0usize..4,
        env in "[A-Z]{1,3}",
    ) {
        let steps: Vec<Value> = empty.iter().enumerate().map(|(i, empty)| match empty {
            true => json!({"created_by": i, "empty_layer": true}),
            false => json!({"created_by": i, "odd": odd}),
        }).collect();
        let members = json!({"odd": {odd.clone(): [odd.clone()]}, "history": steps, "config": {"Odd": odd}});
        let base = custom(&[b"one", b"two", b"three"], members, json!({"also": odd}));
        let edited = base.edit().unwrap().append(layer(b"four")).remove(remove).set_env(&env, &odd);
        let edited = edited.finish().unwrap();
        checked(&edited);
        let (was, is) = (config(&base), config(&edited));
        prop_assert_eq!(&was["odd"], &is["odd"]);
        prop_assert_eq!(&was["config"]["Odd"], &is["config"]["Odd"]);
        // Each step that is left is one of the old ones, or the new one.
        let known = |step: &&Value| {
            steps.contains(step) || **step == json!({}) || step["created_by"] == "four"
        };
        prop_assert!(is["history"].as_array().unwrap().iter().all(|step| known(&step)));
        prop_assert_eq!(edited.layers().len(), 3);
    }

    #[test]
    fn odd_configs_never_panic(config in r#"[{}\[\]":,a-z0-9]{0,60}"#, name in "(history|rootfs|config|os)") {
        let value: Value = serde_json::from_str(&config).unwrap_or_else(|_| json!([config, {}]));
        let base = custom(&[], json!({"architecture": "amd64"}), json!({"annotations": {}}));
        let mut members = base.config().unwrap().into_value();
        members[name.as_str()] = value;
        let blob = Blob::bytes(media_type::OCI_CONFIG, members.to_string().into_bytes());
        let mut manifest: Value = serde_json::from_slice(base.manifest().bytes()).unwrap();
        manifest["config"] = serde_json::to_value(blob.descriptor()).unwrap();
        let manifest = Manifest::new(None, manifest.to_string().into_bytes()).unwrap();
        let odd = Image::new(manifest, blob, Vec::new()).unwrap();
        if let Ok(editor) = odd.edit() {
            let _ = editor.append(layer(b"x")).set_env("A", "b").history("h").volume("/v")
                .rebase(&odd, &base, None).finish();
        }
    }
}
