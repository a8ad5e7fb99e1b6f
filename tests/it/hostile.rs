//! The library's public face given hostile values: whatever comes back, it is
//! no panic.

use std::fs;
use std::io::Read;
use std::path::Path;
use std::time::Duration;

use dxf_registry::alias;
use dxf_registry::archive::{self, Archive, Form, Item, Out};
use dxf_registry::blob::{Bytes, FileRange};
use dxf_registry::cache::{Cache, Limits};
use dxf_registry::credentials::{ConfigFile, Credentials, Files, Helpers, Provider};
use dxf_registry::file::Section;
use dxf_registry::graph::{Nondistributable, PushTarget, Remote, Select, push};
use dxf_registry::http::{self, Proxies, Scheme, Url};
use dxf_registry::image::layer::{self, LayerType};
use dxf_registry::image::{Config, Image, Index, Node, check, files};
use dxf_registry::layout::{Layout, Layouts};
use dxf_registry::registry::{Settings, UploadMode};
use dxf_registry::stream::{Run, Watch, read_bounded};
use dxf_registry::{
    Blob, Descriptor, Digest, Error, Host, Manifest, Platform, ReadStore, Reference, Registry,
    RepoName, Store, Tag, Target, hub, json, text,
};
use proptest::prelude::*;
use serde_json::{Map, Value};

use crate::archive::multi;
use crate::support::bench::{Bench, Mode};
use crate::support::scratch;

const CASES: u32 = 256;

/// The members of every document the library reads.
const MEMBERS: &[&str] = &[
    "schemaVersion",
    "mediaType",
    "artifactType",
    "config",
    "layers",
    "manifests",
    "subject",
    "annotations",
    "platform",
    "os",
    "architecture",
    "variant",
    "digest",
    "size",
    "urls",
    "rootfs",
    "diff_ids",
    "history",
    "created",
    "created_by",
    "empty_layer",
    "Env",
    "Cmd",
    "Entrypoint",
    "fsLayers",
    "blobSum",
    "v1Compatibility",
    "name",
    "tag",
    "imageLayoutVersion",
    "org.opencontainers.image.ref.name",
    "auths",
    "auth",
    "identitytoken",
    "registrytoken",
    "credHelpers",
    "credsStore",
    "registry.example",
    "https://index.docker.io/v1/",
];

/// Words that mean something somewhere, and words that mean nothing anywhere.
fn word() -> impl Strategy<Value = String> {
    let known = prop::sample::select(vec![
        "",
        "application/vnd.docker.distribution.manifest.v2+json",
        "application/vnd.docker.distribution.manifest.list.v2+json",
        "application/vnd.docker.distribution.manifest.v1+prettyjws",
        "application/vnd.oci.image.manifest.v1+json",
        "application/vnd.oci.image.index.v1+json",
        "application/vnd.oci.image.config.v1+json",
        "application/vnd.oci.image.layer.v1.tar+zstd",
        "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
        "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
        "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a",
        "sha256:short",
        "sha512:",
        "linux",
        "linux/arm64/v8",
        "dG9rZW46c2VjcmV0",
        "1.0.0",
        "v1",
        "../../etc/passwd",
        "https://user:pw@registry.example:99999/?x#y",
        "{\"id\": 1}",
        "\u{1b}[2J",
    ]);
    prop_oneof![4 => known.prop_map(str::to_string), 1 => any::<String>()]
}

fn number() -> impl Strategy<Value = Value> {
    prop_oneof![
        any::<i64>().prop_map(Value::from),
        prop::sample::select(vec![0, 1, 2, 3, u64::MAX, 1 << 62]).prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
    ]
}

/// JSON in the shape of the library's documents, and in none.
fn document() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        1 => Just(Value::Null),
        1 => any::<bool>().prop_map(Value::from),
        3 => number(),
        6 => word().prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 64, 8, |inner| {
        let member = (prop::sample::select(MEMBERS), inner.clone());
        let members = prop::collection::vec(member, 0..10);
        prop_oneof![
            1 => prop::collection::vec(inner, 0..4).prop_map(Value::from),
            4 => members.prop_map(|members| {
                let named = members.into_iter().map(|(k, v)| (k.to_string(), v));
                Value::Object(named.collect::<Map<_, _>>())
            }),
        ]
    })
}

/// The text of a document, whole or damaged.
fn document_bytes() -> impl Strategy<Value = Vec<u8>> {
    let damaged = (document(), any::<prop::sample::Index>(), any::<u8>());
    prop_oneof![
        4 => document().prop_map(|value| value.to_string().into_bytes()),
        1 => damaged.prop_map(|(value, at, byte)| {
            let mut bytes = value.to_string().into_bytes();
            let at = at.index(bytes.len());
            bytes[at] = byte;
            bytes
        }),
        1 => prop::collection::vec(any::<u8>(), 0..200),
    ]
}

/// A manifest that is one by its outside, and hostile within.
fn manifest() -> impl Strategy<Value = (Option<String>, Vec<u8>)> {
    let dressed = document().prop_map(|mut value| {
        if let Value::Object(members) = &mut value {
            members.insert("schemaVersion".into(), 2.into());
        }
        value.to_string().into_bytes()
    });
    (
        prop::option::of(word()),
        prop_oneof![dressed, document_bytes()],
    )
}

/// An image whose blobs are few and may be missing.
fn plausible() -> impl Strategy<Value = Vec<u8>> {
    let entry = || {
        (word(), word(), number()).prop_map(|(kind, digest, size)| {
            let digest = digest
                .parse::<Digest>()
                .unwrap_or_else(|_| Digest::of(b"{}"));
            serde_json::json!({"mediaType": kind, "digest": digest, "size": size, "urls": [kind]})
        })
    };
    let entries = prop::collection::vec(entry(), 0..4);
    (entry(), entries, any::<bool>()).prop_map(|(config, listed, index)| {
        let document = match index {
            true => serde_json::json!({"schemaVersion": 2, "manifests": listed}),
            false => serde_json::json!({"schemaVersion": 2, "config": config, "layers": listed}),
        };
        document.to_string().into_bytes()
    })
}

/// Asks a manifest for everything it can say.
fn question(manifest: &Manifest) {
    let _ = (
        manifest.image(),
        manifest.index(),
        manifest.schema1(),
        manifest.subject(),
        manifest.referrer(),
        manifest.descriptor(),
        alias::blobs(manifest),
        alias::config(manifest),
    );
    let listed = manifest.image().map(|image| image.layers);
    let listed = listed.or_else(|_| manifest.index().map(|index| index.manifests));
    for entry in listed.unwrap_or_default() {
        let _ = (entry.artifact_type(), layer::urls(&entry));
        let _ = (
            layer::kept_elsewhere(&entry),
            entry.platform.map(|p| p.to_string()),
        );
    }
    let _ = Index::new(manifest.clone(), Vec::new());
}

fn bytes(content: Vec<u8>) -> Blob {
    Blob::bytes("application/octet-stream", content)
}

/// Does everything that is done with what an archive or a store gave.
fn use_up(node: &Node, folder: &Path) {
    for (_, image) in node.images() {
        let _ = (
            check(image, Run::default()),
            files::merged(image, Watch::default()),
        );
        let _ = image.config().map(|config| question_config(&config));
    }
    for blob in node.blobs() {
        let read = blob
            .open(0)
            .map(|reader| std::io::copy(&mut reader.take(1 << 20), &mut std::io::sink()));
        drop(read);
        let _ = blob
            .open(u64::MAX)
            .map(|mut reader| reader.read(&mut [0; 9]));
        let _ = files::list(blob, Watch::default(), &mut |entry| {
            let _ = entry.name();
            Ok(())
        });
    }
    let item = Item::new(Vec::new(), node.clone());
    let settings = archive::WriteOptions {
        form: Form::Hybrid,
        platform: None,
        folder,
    };
    let _ = archive::write(
        &[item],
        Out::Stream(&mut std::io::sink()),
        &settings,
        Run::default(),
    );
    let copy = Layout::at(folder.join("copy"));
    let target = "v1".parse().unwrap();
    let to = PushTarget::new(&copy, &target).with_nondistributable(Nondistributable::Send);
    let _ = push(node, &to, Run::default());
}

fn question_config(config: &Config) {
    let _ = (config.platform(), config.diff_ids(), config.history());
    let _ = (
        config.env(),
        config.entrypoint(),
        config.cmd(),
        config.created(),
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(CASES))]

    #[test]
    fn words_are_parsed_or_refused(text in prop_oneof![word(), "\\PC{0,60}", "[a-z0-9:/@.\\[\\]-]{0,60}"], other in word()) {
        fn both<T: std::str::FromStr + std::fmt::Display>(text: &str) {
            if let Ok(value) = text.parse::<T>() {
                let again = value.to_string();
                assert!(again.parse::<T>().is_ok(), "{again}");
            }
        }
        both::<Digest>(&text);
        both::<Host>(&text);
        both::<RepoName>(&text);
        both::<Tag>(&text);
        both::<Target>(&text);
        both::<Reference>(&text);
        both::<Platform>(&text);
        if let Ok(host) = text.parse::<Host>() {
            let _ = (host.name(), host.port(), host.is_loopback());
        }
        if let (Ok(one), Ok(two)) = (text.parse::<Platform>(), other.parse::<Platform>()) {
            let _ = one.fit(&two);
        }
        if let Ok(url) = Url::parse(&text).and_then(|url| url.join(&other)) {
            let _ = (url.origin(), url.host(), url.is_local(), url.with_query(&text, &other));
        }
        let _ = Url::new(Scheme::Http, &text, &other);
        let _ = (LayerType::parse(&text), hub::full_name(&text, &other), hub::api_host(&text));
        let _ = (text::clean(&text), text::one_line(&text), json::python(&Value::from(text)));
    }

    #[test]
    fn manifests_say_what_they_can((kind, content) in manifest()) {
        if let Ok(manifest) = Manifest::new(kind.as_deref(), content) {
            question(&manifest);
        }
    }

    #[test]
    fn configs_say_what_they_can(content in document_bytes()) {
        if let Ok(config) = Config::parse(&content) {
            question_config(&config);
        }
        let _ = serde_json::from_slice::<Descriptor>(&content).map(|d| (d.artifact_type().map(str::len), layer::urls(&d).len()));
        let _ = serde_json::from_slice::<Platform>(&content).map(|p| (p.to_string(), p.is_unknown()));
    }

    #[test]
    fn aliases_are_made_of_any_descriptors(sizes in prop::collection::vec(any::<u64>(), 0..5), kind in any::<String>()) {
        let blobs: Vec<Descriptor> = sizes.iter().map(|size| Descriptor::new(kind.clone(), Digest::of(b""), *size)).collect();
        prop_assert_eq!(Manifest::alias(&blobs).is_ok(), !blobs.is_empty());
    }

    #[test]
    fn sources_open_anywhere(start in any::<u64>(), len in any::<u64>(), from in any::<u64>()) {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        std::io::Write::write_all(&mut file, b"0123456789").unwrap();
        let some = |blob: Blob| {
            let _ = blob.open(from).map(|mut reader| reader.read(&mut [0; 32]));
            let _ = blob.read(64);
        };
        let descriptor = || Descriptor::new("", Digest::of(b"0123456789"), len);
        some(Blob::new(descriptor(), FileRange::new(file.path(), start, len)));
        some(Blob::new(descriptor(), FileRange::new(file.path(), start % 12, len % 12)));
        some(Blob::new(descriptor(), Bytes(b"0123456789".to_vec())));
        let stretch = Section::new(file.reopen().unwrap().into(), start, len);
        let _ = stretch.part(from, len).map(|part| some(Blob::new(descriptor(), part)));
        some(Blob::new(descriptor(), stretch));
        let _ = read_bounded("x", &b"abc"[..], len);
    }

    #[test]
    fn stores_with_hostile_manifests_are_read(content in plausible(), wanted in word()) {
        let folder = scratch();
        let store = Layouts::new(folder.path()).repository(&"a".parse().unwrap());
        for known in [&b"abc"[..], b"{}"] {
            store.put_blob(&bytes(known.to_vec()), Watch::default()).unwrap();
        }
        let Ok(manifest) = Manifest::new(None, content) else { return Ok(()) };
        let target: Target = "v1".parse().unwrap();
        question(&manifest);
        let _ = Image::of(manifest.clone(), |listed| Ok(Blob::new(listed.clone(), Bytes(b"abc".to_vec()))))
            .map(|image| use_up(&Node::Image(image), folder.path()));
        if store.put_manifest(&manifest, &target).is_ok() {
            let platform = wanted.parse::<Platform>().ok();
            let _ = alias::resolve(&store, &target, platform.as_ref(), Run::default());
            let remote = Remote::new(std::sync::Arc::new(store.clone()));
            if let Ok(node) = remote.pull(&target, Select::All, Run::default()) {
                use_up(&node, folder.path());
            }
            let _ = alias::delete(&store, &target, Run::default());
        }
    }

    #[test]
    fn hostile_folders_are_read(index in document_bytes(), marker in document_bytes(), content in document_bytes(), well in any::<bool>()) {
        let folder = scratch();
        let digest = Digest::of(b"abc");
        let blobs = folder.path().join("blobs/sha256");
        fs::create_dir_all(&blobs).unwrap();
        let marker = if well { br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec() } else { marker };
        fs::write(folder.path().join("oci-layout"), marker).unwrap();
        fs::write(folder.path().join("index.json"), index).unwrap();
        fs::write(blobs.join(digest.hex()), &content).unwrap();
        let store = Layout::at(folder.path());
        let targets = [Target::Digest(digest), "v1".parse().unwrap()];
        for target in &targets {
            let _ = (store.manifest(target).map(|manifest| question(&manifest)), store.head(target));
        }
        let _ = (store.manifests(), store.tags().count(), store.referrers(&digest));
        let _ = (store.blob_size(&digest), store.open_blob(&digest, u64::MAX).map(|mut c| c.reader.read(&mut [0; 9])));
        let _ = store.put_blob(&bytes(content), Watch::default());
        let _ = (store.untag(&"v1".parse().unwrap()), store.delete_manifest(&digest), store.delete_blob(&digest));
    }

    #[test]
    fn hostile_logins_are_read(content in document_bytes(), host in word(), repo in word(), name in word()) {
        let folder = scratch();
        let path = folder.path().join("config.json");
        fs::write(&path, content).unwrap();
        let host: Host = host.parse().unwrap_or_else(|_| "registry.example".parse().unwrap());
        // A folder without programs, so that no helper of this machine runs.
        let helpers = Helpers { path: Some(folder.path().into()), timeout: Duration::from_secs(1), ..Helpers::default() };
        let files = Files::new([&path]).with_helpers(helpers.clone());
        let _ = (files.find(&host, None), files.find(&host, repo.parse().ok().as_ref()));
        let _ = (files.exposed(), files.list());
        let file = ConfigFile::new(&path).with_helpers(helpers);
        let _ = (file.save(&host, &name, &repo.into()), file.erase(&host));
    }

    #[test]
    fn any_bytes_may_be_called_an_archive_or_a_layer(content in prop::collection::vec(any::<u8>(), 0..2000), magic in 0usize..4) {
        let folder = scratch();
        let start: &[u8] = [&b""[..], b"\x1f\x8b\x08\0\0\0\0\0", b"\x28\xb5\x2f\xfd\x04", b"index.json\0"][magic];
        let content = [start, &content].concat();
        let read = archive::open_stream("x", &content[..], folder.path(), Run::default());
        prop_assert!(read.is_err());
        let blob = bytes(content);
        let _ = files::list(&blob, Watch::default(), &mut |_| Ok(()));
        let _ = layer::diff_id(&blob, Watch::default());
    }

    #[test]
    fn odd_settings_are_refused_or_obeyed(chunk in any::<u64>(), jobs in prop::sample::select(vec![0, 1, 2, usize::MAX]), agent in any::<String>(), proxy in word()) {
        let proxies = Proxies { http: Some(proxy.clone().into()), no_proxy: proxy, ..Proxies::default() };
        let mut http = http::Settings::default()
            .with_retries(0)
            .with_connect_timeout(Duration::from_millis(100))
            .with_user_agent(agent)
            .with_proxies(proxies);
        (http.jobs, http.retry_base) = (jobs, Duration::MAX);
        let settings = Settings::default().with_scheme(Scheme::Http).with_http(http).with_upload(UploadMode::Chunked(chunk));
        // No server listens there.
        let registry = Registry::connect("127.0.0.1:1".parse().unwrap(), settings, Credentials::anonymous()).unwrap();
        let store = registry.repository("a".parse().unwrap());
        prop_assert!(store.put_blob(&bytes(b"abc".to_vec()), Watch::default()).is_err());
        let folder = scratch();
        let cache = Cache::new(folder.path());
        let limits = Limits { older_than: Some(Duration::MAX), max_size: Some(chunk) };
        let _ = (cache.get(&Digest::of(b"abc"), chunk).is_some(), cache.usage(), cache.prune(&limits));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn damaged_archives_are_read(wounds in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6), cut in prop::option::of(any::<prop::sample::Index>())) {
        thread_local!(static WHOLE: Vec<u8> = whole());
        let mut content = WHOLE.with(Vec::clone);
        for (at, byte) in wounds {
            let at = at.index(content.len());
            content[at] = byte;
        }
        if let Some(cut) = cut {
            content.truncate(cut.index(content.len()));
        }
        let folder = scratch();
        let path = folder.path().join("archive.tar");
        fs::write(&path, content).unwrap();
        let opened = archive::open(&path, folder.path(), Run::default());
        for item in opened.map(Archive::into_items).unwrap_or_default() {
            let _ = item.is_called("app:v1");
            use_up(&item.node, folder.path());
        }
    }
}

/// A sound archive of an index of two images.
fn whole() -> Vec<u8> {
    let folder = scratch();
    let item = Item::new(
        vec!["registry.example/team/app:v1".parse().unwrap()],
        multi(),
    );
    let settings = archive::WriteOptions {
        form: Form::Hybrid,
        platform: None,
        folder: folder.path(),
    };
    let path = folder.path().join("whole.tar");
    archive::write(&[item], Out::File(&path), &settings, Run::default()).unwrap();
    fs::read(path).unwrap()
}

#[test]
fn times_beyond_all_reason_are_no_panic() {
    let bench = Bench::new(Mode::Http);
    let http = http::Settings::default()
        .with_connect_timeout(Duration::MAX)
        .with_idle_timeout(Duration::MAX)
        .with_retry_max_wait(Duration::MAX)
        .with_retries(u32::MAX);
    let settings = Settings::default()
        .with_scheme(Scheme::Http)
        .with_http(http);
    let registry = Registry::connect(
        bench.host().parse().unwrap(),
        settings,
        Credentials::anonymous(),
    );
    let store = registry.unwrap().repository("a".parse().unwrap());
    let blob = bytes(b"abc".to_vec());
    store.put_blob(&blob, Watch::default()).unwrap();
    assert_eq!(store.blob_size(blob.digest()).unwrap(), Some(3));
    let none = http::Settings::default()
        .with_retries(0)
        .with_connect_timeout(Duration::ZERO)
        .with_idle_timeout(Duration::ZERO);
    let settings = Settings::default()
        .with_scheme(Scheme::Http)
        .with_http(none);
    let host = bench.host().parse().unwrap();
    let registry = Registry::connect(host, settings, Credentials::anonymous()).unwrap();
    let hasty = registry.repository("a".parse().unwrap());
    match hasty.blob_size(blob.digest()) {
        Ok(size) => assert_eq!(size, Some(3)),
        Err(error) => assert!(matches!(error, Error::Network { .. }), "{error}"),
    }
}
