//! The library's table for those who come from moby-distribution: each row names
//! the test that proves it, here or in `schema1.rs`.

use std::io::Read;
use std::sync::{Arc, Mutex};

use dxf_registry::archive::{Form, Item};
use dxf_registry::blob::measure;
use dxf_registry::credentials::Credentials;
use dxf_registry::descriptor::media_type;
use dxf_registry::error::if_found;
use dxf_registry::fetch::{self, BlobRef, Sink};
use dxf_registry::graph::{PushTarget, Remote, Select, push};
use dxf_registry::http::{self, Exchange, Observer, Roots, Tls};
use dxf_registry::image::layer::{Compression, Family};
use dxf_registry::image::{Image, Node, check};
use dxf_registry::manifest::Kind;
use dxf_registry::registry::{Scheme, Settings, UploadMode};
use dxf_registry::store::Put;
use dxf_registry::stream::{Run, Watch};
use dxf_registry::{
    Blob, Digest, Error, Manifest, ReadStore, Registry, Repository, Store, Tag, Target,
};

use crate::archive::{GZIP, image, multi, read, with_run, write};
use crate::readme::assert_proved;
use crate::support::bench::{Bench, Mode};
use crate::support::data::blob;
use crate::support::registry::{PASSWORD, USER};
use crate::support::rules::{ANY, DELETE, GET, POST, on};
use crate::support::server::Server;
use crate::support::{lock, scratch};

/// The registry at `host` as a program sees it: plain http, without
/// a login.
pub fn library(host: &str) -> Registry {
    let settings = Settings::default().with_scheme(Scheme::Http);
    Registry::connect(host.parse().unwrap(), settings, Credentials::anonymous()).unwrap()
}

/// What a client of `bench` is told: where authorities are, and not to wait.
pub fn settings(bench: &Bench) -> Settings {
    let http = http::Settings::default().with_retries(0);
    let tls = Tls::default().with_roots(Roots::File(bench.ca_file()));
    let settings = Settings::default().with_http(http.with_tls(tls));
    match bench.mode {
        Mode::Http => settings.with_scheme(Scheme::Http),
        _ => settings,
    }
}

fn login() -> Credentials {
    Credentials::password(USER, PASSWORD.to_string())
}

fn connect(bench: &Bench) -> Registry {
    let host = bench.host().parse().unwrap();
    Registry::connect(host, settings(bench), login()).unwrap()
}

fn repository(bench: &Bench, name: &str) -> Repository {
    connect(bench).repository(name.parse().unwrap())
}

fn tagged(name: &str) -> Target {
    name.parse().unwrap()
}

fn bytes(content: &[u8]) -> Blob {
    Blob::bytes(media_type::OCTET_STREAM, content.to_vec())
}

fn send(node: &Node, store: &dyn Store, tag: &str) {
    let target = tagged(tag);
    let to = PushTarget::new(store, &target);
    with_run(|run| push(node, &to, run)).unwrap();
}

fn pulled(repo: &Repository, tag: &str) -> Node {
    let remote = Remote::new(Arc::new(repo.clone()));
    with_run(|run| remote.pull(&tagged(tag), Select::All, run)).unwrap()
}

#[test]
fn every_row_names_a_test_that_is_here() {
    let here = concat!(include_str!("moby.rs"), include_str!("schema1.rs"));
    assert_proved("//! # Coming from moby-distribution", here, 20);
}

#[test]
fn a_client_is_made_with_a_login() {
    for mode in [Mode::Http, Mode::Basic, Mode::Token] {
        let bench = Bench::new(mode);
        let repo = repository(&bench, "team/app");
        let made = repo.put_blob(&bytes(b"abc"), Watch::default()).unwrap();
        assert_eq!(made, Put::Uploaded);
        assert_eq!(repo.blob_size(&Digest::of(b"abc")).unwrap(), Some(3));
    }
}

#[test]
fn an_endpoint_is_detected() {
    for mode in [Mode::Http, Mode::Basic, Mode::Token] {
        // A server of the tests takes TLS for nonsense; the registry answers it.
        let bench = Bench::new(mode);
        let host = match mode {
            Mode::Http => bench.registry.host().to_string(),
            _ => bench.host(),
        };
        // What was said before does not count.
        let settings = settings(&bench).with_scheme(Scheme::Http);
        let found = Registry::detect(host.parse().unwrap(), settings, login()).unwrap();
        let right = match mode {
            Mode::Http => Scheme::Http,
            _ => Scheme::Https,
        };
        assert_eq!(found.scheme(), right, "{mode:?}");
        // Until the server was known, no login was sent to it.
        bench.front.assert_no_authorization();
        assert_eq!(found.repos().count(), 0);
    }
}

#[test]
fn a_ping_needs_no_login() {
    for mode in [Mode::Http, Mode::Basic, Mode::Token] {
        let bench = Bench::new(mode);
        let registry = connect(&bench);
        let ping = registry.ping().unwrap();
        assert_eq!(ping.status, if mode == Mode::Http { 200 } else { 401 });
        assert_eq!(ping.api_version.as_deref(), Some("registry/2.0"));
        assert!(ping.speaks_distribution());
        bench.front.assert_no_authorization();
        assert_eq!(bench.token_requests(), 0);
        // Who wants to know whether the login is right asks for the version.
        let version = registry.api_version().unwrap();
        assert_eq!(version.as_deref(), Some("registry/2.0"));
    }
    let wrong = Bench::new(Mode::Basic);
    let host = wrong.host().parse().unwrap();
    let credentials = Credentials::password("nobody", "nothing".to_string());
    let registry = Registry::connect(host, settings(&wrong), credentials).unwrap();
    assert!(registry.ping().is_ok());
    assert!(registry.api_version().unwrap_err().is_unauthorized());
    // Any web server answers something.
    let answers = [
        on(GET, "/v2/").reply(200).body("<html>"),
        on(GET, "/v2/").reply(404),
    ];
    for (answer, alive) in answers.into_iter().zip([true, false]) {
        let server = Server::script([answer]);
        let ping = library(&server.host()).ping();
        assert_eq!(ping.is_ok(), alive);
        assert!(ping.is_ok_and(|ping| !ping.speaks_distribution()) == alive);
    }
}

#[test]
fn blobs_go_up_from_paths_and_readers() {
    let (bench, dir) = (Bench::new(Mode::Token), scratch());
    let repo = repository(&bench, "team/app");
    let content = blob(1, 300_000);
    let path = dir.path().join("file");
    std::fs::write(&path, &content).unwrap();
    let from_path = Blob::file(&path, Watch::default()).unwrap();
    // A reader that can't say how much it gives.
    let from_reader = Blob::spooled("pipe", &content[1..], dir.path(), Watch::default()).unwrap();
    for made in [&from_path, &from_reader] {
        assert_eq!(
            repo.put_blob(made, Watch::default()).unwrap(),
            Put::Uploaded
        );
        // Existing blobs are not sent again.
        assert_eq!(repo.put_blob(made, Watch::default()).unwrap(), Put::Existed);
    }
    let raw = bench.raw();
    assert!(raw.blob("team/app", &from_path.digest().to_string()).body == content);
    assert!(raw.blob("team/app", &from_reader.digest().to_string()).body == content[1..]);
}

#[test]
fn an_upload_is_streamed_or_sent_at_one_time() {
    let bench = Bench::new(Mode::Http);
    let repo = repository(&bench, "team/app");
    let methods = |mode: Option<UploadMode>, seed: u64| -> Vec<String> {
        let repo = mode.map_or(repo.clone(), |mode| repo.with_upload(mode));
        bench.requests();
        let made = bytes(&blob(seed, 250_000));
        repo.send_blob(&made, Watch::default()).unwrap();
        assert_eq!(repo.blob_size(made.digest()).unwrap(), Some(250_000));
        let mut seen: Vec<String> = bench.requests().into_iter().map(|one| one.method).collect();
        seen.pop();
        seen
    };
    assert_eq!(methods(None, 1), ["POST", "PUT"]);
    assert_eq!(methods(Some(UploadMode::Monolithic), 2), ["POST", "PUT"]);
    let chunks = methods(Some(UploadMode::Chunked(100_000)), 3);
    assert_eq!(chunks, ["POST", "PATCH", "PATCH", "PATCH", "PUT", "HEAD"]);
    // The one it was made of stays as it was.
    assert_eq!(methods(None, 4), ["POST", "PUT"]);
}

#[test]
fn blobs_come_down_to_paths_and_writers() {
    let (bench, dir) = (Bench::new(Mode::Token), scratch());
    let repo = repository(&bench, "team/app");
    let content = blob(1, 300_000);
    let digest: Digest = bench.raw().push_blob("team/app", &content).parse().unwrap();
    let wanted = BlobRef { digest, size: None };
    let path = dir.path().join("file");
    fetch::into_file(&repo, &[wanted.into()], &path, Run::default()).unwrap();
    assert!(std::fs::read(&path).unwrap() == content);
    let mut to = Vec::new();
    let found = repo.open_blob(&digest, 0).unwrap();
    fetch::write(
        found,
        wanted,
        Sink::new("memory", &mut to),
        Watch::default(),
    )
    .unwrap();
    assert!(to == content);
    let mut read = Vec::new();
    let mut blob = repo.pull_blob(&digest, None).unwrap();
    assert_eq!(blob.size, Some(300_000));
    blob.reader.read_to_end(&mut read).unwrap();
    assert!(read == content);
    // Wrong bytes are an error, and no file.
    let rotten = bench.registry.blob_file(&digest.to_string());
    std::fs::write(rotten, vec![b'x'; content.len()]).unwrap();
    let path = dir.path().join("other");
    let failed = fetch::into_file(&repo, &[wanted.into()], &path, Run::default()).unwrap_err();
    assert!(failed.is_corrupt() && !path.exists(), "{failed}");
}

#[test]
fn blobs_are_statted_and_deleted() {
    let bench = Bench::new(Mode::Token);
    let repo = repository(&bench, "team/app");
    let digest: Digest = bench.raw().push_blob("team/app", b"abc").parse().unwrap();
    assert_eq!(repo.blob_size(&digest).unwrap(), Some(3));
    repo.delete_blob(&digest).unwrap();
    assert_eq!(repo.blob_size(&digest).unwrap(), None);
    assert!(repo.delete_blob(&digest).unwrap_err().is_not_found());
    assert!(if_found(repo.delete_blob(&digest)).unwrap().is_none());
}

#[test]
fn a_mount_falls_back_to_a_copy() {
    let bench = Bench::new(Mode::Token);
    let (from, to) = (
        repository(&bench, "team/from"),
        repository(&bench, "team/to"),
    );
    let mount = |digest: &Digest| to.mount_blob(digest, from.repo_name(), Watch::default());
    let digest: Digest = bench.raw().push_blob("team/from", b"abc").parse().unwrap();
    assert_eq!(mount(&digest).unwrap(), Put::Mounted);
    // A registry that can't: the session it opened instead is used.
    let other: Digest = bench.raw().push_blob("team/from", b"def").parse().unwrap();
    let opened = on(POST, "/v2/team/to/blobs/uploads/").query("mount", &other.to_string());
    bench.front.add_first([opened.reply(405)]);
    assert_eq!(mount(&other).unwrap(), Put::Uploaded);
    assert_eq!(to.blob_size(&other).unwrap(), Some(3));
    let absent = mount(&Digest::of(b"nowhere")).unwrap_err();
    assert!(matches!(absent, Error::NotMounted { .. }), "{absent}");
    assert_eq!(bench.registry.open_uploads("team/to"), 0);
}

#[test]
fn manifests_are_got_by_media_type() {
    let registry = crate::support::registry::Registry::builder()
        .schema1()
        .start();
    let repo = library(registry.host()).repository("team/app".parse().unwrap());
    let node = Node::Image(image("linux/amd64", Family::Docker, GZIP));
    send(&node, &repo, "v1");
    send(&multi(), &repo, "v2");
    let (v1, v2) = (tagged("v1"), tagged("v2"));
    let kind = |accept: &[&str], target| repo.manifest_as(accept, target).map(|m| m.kind());
    assert_eq!(
        kind(&[media_type::DOCKER_MANIFEST], &v1).unwrap(),
        Kind::Image
    );
    assert_eq!(kind(&[media_type::OCI_INDEX], &v2).unwrap(), Kind::Index);
    // This registry makes an old one for a client that accepts nothing else.
    let old = repo
        .manifest_as(&[media_type::SCHEMA1_SIGNED], &v1)
        .unwrap();
    assert_eq!(
        (old.kind(), old.signers().unwrap().len()),
        (Kind::Schema1, 1)
    );
    let other = kind(&[media_type::DOCKER_LIST], &v1).unwrap_err();
    assert!(matches!(other, Error::Unsupported { .. }), "{other}");
    assert!(
        kind(&[media_type::OCI_INDEX], &tagged("v3"))
            .unwrap_err()
            .is_not_found()
    );
    // Without a wish everything comes as it is, indexes too.
    assert_eq!(
        repo.manifest(&v2).unwrap().bytes(),
        multi().manifest().bytes()
    );
    assert_eq!(repo.manifest(&v1).unwrap(), *node.manifest());
}

#[test]
fn a_manifest_has_metadata_or_is_absent() {
    let bench = Bench::new(Mode::Token);
    let repo = repository(&bench, "team/app");
    send(&multi(), &repo, "v1");
    let told = repo.head(&tagged("v1")).unwrap().unwrap();
    // Of the index itself, not of the child an old client would be given.
    assert_eq!(told, multi().manifest().descriptor());
    assert_eq!(repo.head(&tagged("v2")).unwrap(), None);
}

#[test]
fn manifests_are_put_byte_for_byte() {
    let bench = Bench::new(Mode::Token);
    let repo = repository(&bench, "team/app");
    let node = Node::Image(image("linux/amd64", Family::Oci, GZIP));
    send(&node, &repo, "v1");
    let digest = node.manifest().digest();
    for target in [tagged("v2"), Target::Digest(digest)] {
        repo.put_manifest(node.manifest(), &target).unwrap();
        let stored = bench.raw().manifest("team/app", &target.to_string());
        assert_eq!(stored.expect(200).body, node.manifest().bytes());
    }
    let missing = Manifest::alias(&[bytes(b"nowhere").descriptor().clone()]).unwrap();
    let refused = repo.put_manifest(&missing, &tagged("v3")).unwrap_err();
    assert!(refused.has_code("MANIFEST_BLOB_UNKNOWN"), "{refused}");
}

#[test]
fn a_manifest_is_deleted_and_may_be_gone_already() {
    let bench = Bench::new(Mode::Token);
    let repo = repository(&bench, "team/app");
    send(
        &Node::Image(image("linux/amd64", Family::Oci, GZIP)),
        &repo,
        "v1",
    );
    let digest = repo.head(&tagged("v1")).unwrap().unwrap().digest;
    assert_eq!(if_found(repo.delete_manifest(&digest)).unwrap(), Some(()));
    assert!(repo.delete_manifest(&digest).unwrap_err().is_not_found());
    assert_eq!(if_found(repo.delete_manifest(&digest)).unwrap(), None);
    // Only absence is no failure.
    let closed = crate::support::registry::Registry::builder()
        .no_delete()
        .start();
    let closed = library(closed.host()).repository("team/app".parse().unwrap());
    let refused = if_found(closed.delete_manifest(&digest)).unwrap_err();
    assert_eq!(refused.status(), Some(405));
}

#[test]
fn tags_are_listed_and_looked_up() {
    let bench = Bench::new(Mode::Token);
    let repo = repository(&bench, "team/app");
    assert!(repo.tags().next().unwrap().unwrap_err().is_not_found());
    send(&multi(), &repo, "b");
    send(&multi(), &repo, "a");
    let tags: Vec<String> = repo.tag_names().map(Result::unwrap).collect();
    assert_eq!(tags, ["a", "b"]);
    let found = repo.head(&tagged("a")).unwrap().unwrap();
    assert_eq!(found.digest, multi().manifest().digest());
}

#[test]
fn untagging_takes_the_tag_and_nothing_else() {
    let bench = Bench::new(Mode::Http);
    let repo = repository(&bench, "team/app");
    send(&multi(), &repo, "v1");
    let tag: Tag = "v1".parse().unwrap();
    // This registry can't, and nothing is deleted by digest instead.
    let refused = repo.untag(&tag).unwrap_err();
    assert!(matches!(refused, Error::NotAllowed { .. }), "{refused}");
    for (_, image) in pulled(&repo, "v1").images() {
        with_run(|run| check(image, run)).unwrap();
    }
    bench.requests();
    let path = "/v2/team/app/manifests/v1";
    bench
        .front
        .add_first([on(DELETE, path).times(1).reply(202)]);
    repo.untag(&tag).unwrap();
    assert_eq!(bench.request_lines(), [format!("DELETE {path}")]);
}

#[test]
fn images_are_copied_and_mounted() {
    let bench = Bench::new(Mode::Token);
    let (from, to) = (
        repository(&bench, "team/from"),
        repository(&bench, "team/to"),
    );
    send(&multi(), &from, "v1");
    bench.requests();
    send(&pulled(&from, "v1"), &to, "v2");
    assert_eq!(pulled(&to, "v2").manifest(), multi().manifest());
    // No layer came through this machine.
    let lines = bench.request_lines();
    let layers: Vec<String> = multi().images()[0]
        .1
        .layers()
        .iter()
        .map(|l| l.digest().to_string())
        .collect();
    let fetched =
        |line: &&String| line.starts_with("GET") && layers.iter().any(|l| line.contains(l));
    assert_eq!(lines.iter().filter(fetched).count(), 0, "{lines:#?}");
}

/// An image whose config says more than ASCII can.
fn accented(kept: [Compression; 2]) -> Image {
    let base = image("linux/amd64", Family::Docker, kept);
    let mut config = base.config().unwrap().into_value();
    config["author"] = "Žofie Švédová".into();
    let config = Blob::bytes(media_type::DOCKER_CONFIG, config.to_string().into_bytes());
    let mut view = base.manifest().image().unwrap();
    view.config = config.descriptor().clone();
    let manifest = Manifest::new(None, serde_json::to_vec(&view).unwrap()).unwrap();
    Image::new(manifest, config, base.layers().to_vec()).unwrap()
}

#[test]
fn images_come_from_tarballs_and_are_saved() {
    let (bench, dir) = (Bench::new(Mode::Token), scratch());
    let repo = repository(&bench, "team/app");
    let there = accented(GZIP);
    let tar = dir.path().join("app.tar");
    // Without a name of its own, as `RepoTags: []` says it.
    write(
        &[Item::new(vec![], Node::Image(there.clone()))],
        Form::Hybrid,
        &tar,
    );
    send(&read(&tar)[0].node, &repo, "v1");
    let Node::Image(stored) = pulled(&repo, "v1") else {
        panic!("an index")
    };
    // Layers that are compressed stay what they are, and so does the config.
    assert_eq!(stored.manifest(), there.manifest());
    with_run(|run| check(&stored, run)).unwrap();
    let config = stored.config().unwrap();
    assert_eq!(config.value()["author"], "Žofie Švédová");
    let text = String::from_utf8_lossy(stored.manifest().bytes());
    assert!(!text.contains("null") && !text.contains("{}"), "{text}");
    let saved = dir.path().join("saved.tar");
    write(
        &[Item::new(
            vec!["app:v1".parse().unwrap()],
            Node::Image(stored),
        )],
        Form::Docker,
        &saved,
    );
    let again = &read(&saved)[0];
    assert_eq!(again.names[0].to_string(), "app:v1");
}

#[test]
fn layers_are_called_what_they_are() {
    // A plain layer that is pushed under the name of gzip is no image.
    let (bench, dir) = (Bench::new(Mode::Http), scratch());
    let repo = repository(&bench, "team/app");
    let tar = dir.path().join("app.tar");
    let plain = accented([Compression::None; 2]);
    write(&[Item::new(vec![], Node::Image(plain))], Form::Hybrid, &tar);
    let out = bench
        .dxf()
        .args(["push-image", &tar.display().to_string(), "team/app:v1"])
        .ok();
    assert!(out.text().contains("team/app@sha256:"));
    for (_, image) in pulled(&repo, "v1").images() {
        with_run(|run| check(image, run)).unwrap();
        assert_eq!(image.config().unwrap().value()["author"], "Žofie Švédová");
    }
}

#[derive(Clone, Default)]
struct Heard(Arc<Mutex<String>>);

impl Observer for Heard {
    fn exchange(&self, exchange: &Exchange<'_>) {
        lock(&self.0).push_str(&format!("{exchange} {exchange:?}\n"));
    }
}

#[test]
fn refusals_tell_no_credentials() {
    let bench = Bench::new(Mode::Basic);
    let heard = Heard::default();
    let told = settings(&bench);
    let http = told.http.clone().with_observer(heard.clone());
    let host = bench.host().parse().unwrap();
    let registry = Registry::connect(host, told.with_http(http), login()).unwrap();
    let repo = registry.repository("team/app".parse().unwrap());
    let failed = repo.manifest(&tagged("v1")).unwrap_err();
    assert!(failed.is_not_found());
    let text = format!("{failed} {failed:?} {}", lock(&heard.0));
    let basic = {
        use base64::Engine;
        base64::engine::general_purpose::STANDARD.encode(format!("{USER}:{PASSWORD}"))
    };
    assert!(
        text.contains("authorized") && !text.contains(PASSWORD) && !text.contains(&basic),
        "{text}"
    );
}

#[test]
fn digests_may_be_sha512() {
    let bench = Bench::new(Mode::Http);
    let repo = repository(&bench, "team/app");
    let content = blob(1, 10_000);
    let like: Digest = format!("sha512:{}", "0".repeat(128)).parse().unwrap();
    let mut hasher = dxf_registry::digest::Hasher::like(&like);
    hasher.update(&content);
    let digest = hasher.finish();
    let (sha256, size) = measure("x", &content[..], Watch::default()).unwrap();
    assert_eq!((sha256, size), (Digest::of(&content), 10_000));
    let path = format!("/v2/team/app/blobs/{digest}");
    bench
        .front
        .add_first([on(ANY, &path).serve(content.clone())]);
    let mut read = Vec::new();
    repo.pull_blob(&digest, None)
        .unwrap()
        .reader
        .read_to_end(&mut read)
        .unwrap();
    assert!(read == content);
}
