//! The library's table for those who come from python-dxf's module: each row names
//! the test below that proves it.

use std::io::Read;
use std::num::NonZeroU32;
use std::path::Path;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use dxf_registry::alias::{self, ByPlatform, Format};
use dxf_registry::blob::measure;
use dxf_registry::credentials::{Credentials, Login};
use dxf_registry::error::NetworkKind;
use dxf_registry::http::{self, Roots, Tls};
use dxf_registry::layout::Layouts;
use dxf_registry::manifest::Kind;
use dxf_registry::progress::Progress;
use dxf_registry::registry::{InsecureAuth, Scheme, Settings};
use dxf_registry::store::Put;
use dxf_registry::stream::{Run, Stop, Watch};
use dxf_registry::{
    Blob, Digest, Error, Manifest, Platform, ReadStore, Registry, Repository, Store, Target,
};

use crate::readme::assert_proved;
use crate::support::bench::{Bench, Mode};
use crate::support::data::blob;
use crate::support::registry::{PASSWORD, USER};
use crate::support::rules::{ANY, GET, HEAD, Response, on};
use crate::support::server::Server;
use crate::support::{lock, scratch};

const DATA: &str = "application/octet-stream";

/// What every client here is told: where authorities are, and not to wait.
fn settings(bench: &Bench) -> Settings {
    let http = http::Settings::default().with_retries(0);
    match bench.mode {
        Mode::Http => Settings::default()
            .with_scheme(Scheme::Http)
            .with_http(http),
        _ => {
            let tls = Tls::default().with_roots(Roots::File(bench.ca_file()));
            Settings::default().with_http(http.with_tls(tls))
        }
    }
}

fn connect(bench: &Bench, credentials: Credentials) -> Registry {
    let host = bench.host().parse().unwrap();
    Registry::connect(host, settings(bench), credentials).unwrap()
}

fn repository(bench: &Bench, name: &str) -> Repository {
    let credentials = match bench.mode {
        Mode::Http => Credentials::anonymous(),
        _ => Credentials::password(USER, PASSWORD.to_string()),
    };
    connect(bench, credentials).repository(name.parse().unwrap())
}

/// Runs `body` on a folder, and on a registry that wants tokens.
fn everywhere(body: impl Fn(&dyn Store)) {
    let folder = scratch();
    body(&Layouts::new(folder.path()).repository(&"team/data".parse().unwrap()));
    let bench = Bench::new(Mode::Token);
    body(&repository(&bench, "team/data"));
}

fn bytes(text: &str) -> Blob {
    Blob::bytes(DATA, text.as_bytes().to_vec())
}

fn text(store: &dyn Store, digest: &Digest) -> String {
    let mut text = String::new();
    let mut pulled = store.pull_blob(digest, None).unwrap();
    pulled.reader.read_to_string(&mut text).unwrap();
    text
}

fn set(store: &dyn Store, name: &str, blobs: &[Blob]) -> Manifest {
    let tag = name.parse().unwrap();
    alias::push(store, &tag, blobs, Format::Docker, Run::default()).unwrap()
}

#[test]
fn every_row_names_a_test_that_is_here() {
    let here = include_str!("python_module.rs");
    assert_proved("//! # Coming from python-dxf's module", here, 25);
}

#[test]
fn a_client_is_made_from_a_host() {
    for mode in [Mode::Http, Mode::Basic, Mode::Token] {
        let bench = Bench::new(mode);
        let store = repository(&bench, "team/data");
        store.put_blob(&bytes("abc"), Watch::default()).unwrap();
        assert_eq!(text(&store, &Digest::of(b"abc")), "abc");
        assert_eq!(store.name(), format!("{}/team/data", bench.host()));
    }
    // Only the tests trust their certificate.
    let bench = Bench::new(Mode::Basic);
    let host = bench.host().parse().unwrap();
    let http = http::Settings::default().with_retries(0);
    let strict = Settings::default().with_http(http.clone());
    let strict = Registry::connect(host, strict, Credentials::anonymous()).unwrap();
    let failed = strict.repos().next().unwrap().unwrap_err();
    assert!(
        matches!(
            &failed,
            Error::Network {
                kind: NetworkKind::Certificate(_),
                ..
            }
        ),
        "{failed}"
    );
    let careless = Tls::default().with_roots(Roots::Unverified);
    let careless = Settings::default().with_http(http.with_tls(careless));
    let credentials = Credentials::password(USER, PASSWORD.to_string());
    let host = bench.host().parse().unwrap();
    let careless = Registry::connect(host, careless, credentials).unwrap();
    assert_eq!(careless.repos().count(), 0);
}

#[test]
fn an_auth_callback_is_asked_at_a_401_and_not_before() {
    for mode in [Mode::Http, Mode::Basic, Mode::Token] {
        let bench = Bench::new(mode);
        let asked = Arc::new(Mutex::new(Vec::new()));
        let heard = asked.clone();
        let credentials = Credentials::ask(move |host, repo| {
            let mut asked = lock(&heard);
            asked.push(format!(
                "{host} {}",
                repo.map_or("all", |repo| repo.as_str())
            ));
            // The first one is refused: time to ask again.
            let password = if asked.len() == 1 { "wrong" } else { PASSWORD };
            Ok(Login::Password {
                username: USER.to_string(),
                password: password.to_string().into(),
            })
        });
        let store = connect(&bench, credentials).repository("team/data".parse().unwrap());
        assert!(lock(&asked).is_empty());
        store.put_blob(&bytes("abc"), Watch::default()).unwrap();
        store.put_blob(&bytes("def"), Watch::default()).unwrap();
        let expected = match mode {
            Mode::Http => 0,
            _ => 2,
        };
        let line = format!("{} team/data", bench.host());
        assert_eq!(*lock(&asked), vec![line; expected], "{mode:?}");
    }
}

#[test]
fn an_auth_callback_may_fail_the_request() {
    let bench = Bench::new(Mode::Basic);
    let credentials = Credentials::ask(|_, _| {
        Err(Error::NotFound {
            what: "the vault".to_string(),
        })
    });
    let store = connect(&bench, credentials).repository("team/data".parse().unwrap());
    let failed = store.blob_size(&Digest::of(b"abc")).unwrap_err();
    assert_eq!(failed.to_string(), "Not Found: the vault");
}

#[test]
fn a_token_is_asked_for_read_and_given_back() {
    let bench = Bench::new(Mode::Token);
    let store = repository(&bench, "team/data");
    assert!(store.token().is_none());
    store.put_blob(&bytes("abc"), Watch::default()).unwrap();
    let used = store.token().unwrap();
    // A caller without a login continues to use it, and requests none.
    let before = bench.token_requests();
    let other = connect(&bench, Credentials::anonymous().with_token(used.reveal()));
    let other = other.repository("team/data".parse().unwrap());
    other.put_blob(&bytes("def"), Watch::default()).unwrap();
    assert_eq!(other.token(), Some(used));
    assert_eq!(bench.token_requests(), before);
    // A token for another repository is refused, whatever sets it.
    let registry = store.registry();
    let elsewhere = "team/other".parse().unwrap();
    let granted = registry.authenticate(Some(&elsewhere), &["pull".to_string()]);
    let granted = granted.unwrap();
    assert_eq!(
        (granted.scheme, &*granted.asked),
        ("Bearer", &["repository:team/other:pull".to_string()][..])
    );
    let stranger = connect(&bench, Credentials::anonymous());
    stranger.set_token(granted.token.unwrap());
    let refused = stranger.repository("team/data".parse().unwrap());
    let refused = refused.blob_size(&Digest::of(b"abc")).unwrap_err();
    assert!(refused.is_unauthorized(), "{refused}");
    // And one that fits takes over in clones, too.
    let clone = stranger.clone().repository("team/data".parse().unwrap());
    stranger.set_token(store.token().unwrap());
    assert_eq!(clone.blob_size(&Digest::of(b"abc")).unwrap(), Some(3));
}

#[test]
fn an_auth_host_replaces_the_token_servers() {
    let bench = Bench::new(Mode::Token);
    let nobody = Server::script_tls([on(GET, "/*").reply(403)]);
    let moved = settings(&bench).with_auth_host(nobody.host().parse().unwrap());
    let credentials = Credentials::password(USER, PASSWORD.to_string());
    let moved = Registry::connect(bench.host().parse().unwrap(), moved, credentials).unwrap();
    let failed = moved.repos().next().unwrap().unwrap_err();
    assert!(failed.is_unauthorized(), "{failed}");
    assert_eq!((nobody.count(GET, "/*"), bench.token_requests()), (1, 0));
}

#[test]
fn credentials_stay_at_home_over_http() {
    let server = Server::script([on(ANY, "*")
        .reply(401)
        .header("WWW-Authenticate", "Basic realm=\"r\"")]);
    let plain = Settings::default().with_scheme(Scheme::Http);
    let ask = |settings| {
        let credentials = Credentials::password("me", "secret".to_string());
        let registry = Registry::connect(server.host().parse().unwrap(), settings, credentials);
        registry.unwrap().repos().next().unwrap().unwrap_err()
    };
    let refused = ask(plain.clone());
    assert!(matches!(refused, Error::InsecureAuth { .. }), "{refused}");
    server.assert_no_authorization();
    let allowed = ask(plain.with_insecure_auth(InsecureAuth::Allow));
    assert!(allowed.is_unauthorized(), "{allowed}");
}

#[test]
fn blobs_come_from_files_bytes_and_readers() {
    let folder = scratch();
    let path = folder.path().join("file");
    let content = blob(1, 700_000);
    std::fs::write(&path, &content).unwrap();
    // A reader of unknown length, in pieces of odd sizes.
    let pieces = content
        .chunks(9_973)
        .map(|piece| Box::new(piece) as Box<dyn Read>);
    let stream = pieces.fold(Box::new(std::io::empty()) as Box<dyn Read>, |all, piece| {
        Box::new(all.chain(piece))
    });
    let watch = Watch::default();
    let blobs = [
        Blob::file(&path, watch).unwrap(),
        Blob::bytes(DATA, content.clone()),
        Blob::spooled("a stream", stream, folder.path(), watch).unwrap(),
    ];
    everywhere(|store| {
        for (number, blob) in blobs.iter().enumerate() {
            assert_eq!(blob.digest(), &Digest::of(&content));
            let put = store.put_blob(blob, watch).unwrap();
            assert_eq!(put == Put::Existed, number > 0);
            let again = store.send_blob(blob, watch).unwrap();
            assert!(matches!(again, Put::Uploaded | Put::Existed), "{again:?}");
        }
        let mut pulled = Vec::new();
        let mut reader = store.pull_blob(blobs[0].digest(), None).unwrap().reader;
        reader.read_to_end(&mut pulled).unwrap();
        assert!(pulled == content);
    });
}

#[test]
fn looking_first_is_optional() {
    let bench = Bench::new(Mode::Http);
    let store = repository(&bench, "team/data");
    let blob = bytes("abc");
    let path = format!("/v2/team/data/blobs/{}", blob.digest());
    assert_eq!(
        store.put_blob(&blob, Watch::default()).unwrap(),
        Put::Uploaded
    );
    bench.requests();
    assert_eq!(
        store.put_blob(&blob, Watch::default()).unwrap(),
        Put::Existed
    );
    assert_eq!(bench.request_lines(), [format!("HEAD {path}")]);
    assert_eq!(
        store.send_blob(&blob, Watch::default()).unwrap(),
        Put::Uploaded
    );
    let lines = bench.request_lines();
    assert!(
        lines[0] == "POST /v2/team/data/blobs/uploads/" && lines.len() == 2,
        "{lines:?}"
    );
}

#[derive(Default)]
struct Heard {
    total: AtomicU64,
    moved: AtomicU64,
    finished: AtomicUsize,
}

impl Progress for Heard {
    fn start(&self, _: &Digest, total: Option<u64>) {
        self.total.store(total.unwrap_or(0), Ordering::SeqCst);
        self.moved.store(0, Ordering::SeqCst);
    }

    fn advance(&self, _: &Digest, bytes: u64) {
        self.moved.fetch_add(bytes, Ordering::SeqCst);
    }

    fn finish(&self, _: &Digest) {
        self.finished.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn progress_is_heard_both_ways_and_can_end_a_transfer() {
    let content = blob(2, 1 << 20);
    everywhere(|store| {
        let (heard, stop) = (Heard::default(), Stop::new());
        let watch = Watch::new(&heard, &stop);
        let blob = Blob::bytes(DATA, content.clone());
        store.put_blob(&blob, watch).unwrap();
        let told = || {
            let counts = [&heard.total, &heard.moved].map(|count| count.load(Ordering::SeqCst));
            (counts, heard.finished.load(Ordering::SeqCst))
        };
        assert_eq!(told(), ([1 << 20, 1 << 20], 1));
        heard.moved.store(0, Ordering::SeqCst);
        let pulled = store.pull_blob(blob.digest(), None).unwrap();
        let read = std::io::copy(
            &mut watch.reader(*blob.digest(), pulled.reader),
            &mut std::io::sink(),
        );
        assert_eq!((read.unwrap(), told().0[1]), (1 << 20, 1 << 20));
        stop.set();
        let other = bytes("another");
        assert!(matches!(store.put_blob(&other, watch), Err(Error::Stopped)));
        assert_eq!(store.blob_size(other.digest()).unwrap(), None);
    });
}

#[test]
fn a_pull_is_a_reader_that_knows_its_size_and_checks_itself() {
    everywhere(|store| {
        let blob = bytes("hello");
        store.put_blob(&blob, Watch::default()).unwrap();
        let mut pulled = store.pull_blob(blob.digest(), None).unwrap();
        assert_eq!(pulled.size, Some(5));
        let mut some = [0; 2];
        pulled.reader.read_exact(&mut some).unwrap();
        assert_eq!(&some, b"he");
        let Err(absent) = store.pull_blob(&Digest::of(b"absent"), None) else {
            panic!("it was never put");
        };
        assert!(absent.is_not_found(), "{absent}");
        let mut short = store.pull_blob(blob.digest(), Some(4)).unwrap().reader;
        let failed = short.read_to_end(&mut Vec::new()).unwrap_err();
        let failed = Error::from_io(failed).unwrap();
        assert!(
            matches!(failed, Error::Size { expected: 4, .. }),
            "{failed}"
        );
    });
    let server = Server::script([on(GET, "/v2/a/blobs/*").serve(*b"world")]);
    let plain = Settings::default().with_scheme(Scheme::Http);
    let registry = Registry::connect(
        server.host().parse().unwrap(),
        plain,
        Credentials::anonymous(),
    );
    let store = registry.unwrap().repository("a".parse().unwrap());
    let mut wrong = store.pull_blob(&Digest::of(b"hello"), None).unwrap().reader;
    let failed = wrong.read_to_end(&mut Vec::new()).unwrap_err();
    let failed = Error::from_io(failed).unwrap();
    assert!(matches!(failed, Error::Mismatch { .. }), "{failed}");
}

#[test]
fn blobs_are_sized_mounted_and_deleted() {
    let here = |store: &dyn Store, other: &dyn Store| {
        let blob = bytes("abc");
        assert_eq!(store.blob_size(blob.digest()).unwrap(), None);
        store.put_blob(&blob, Watch::default()).unwrap();
        assert_eq!(store.blob_size(blob.digest()).unwrap(), Some(3));
        let from = "team/data".parse().unwrap();
        let mounted = other.mount_blob(blob.digest(), &from, Watch::default());
        assert_eq!(mounted.unwrap(), Put::Mounted);
        assert_eq!(text(other, blob.digest()), "abc");
        let absent = Digest::of(b"absent");
        let refused = other
            .mount_blob(&absent, &from, Watch::default())
            .unwrap_err();
        assert!(matches!(refused, Error::NotMounted { .. }), "{refused}");
        store.delete_blob(blob.digest()).unwrap();
        assert_eq!(store.blob_size(blob.digest()).unwrap(), None);
        assert!(store.delete_blob(blob.digest()).unwrap_err().is_not_found());
    };
    let folder = scratch();
    let layouts = Layouts::new(folder.path());
    let named = |name: &str| layouts.repository(&name.parse().unwrap());
    here(&named("team/data"), &named("team/other"));
    let bench = Bench::new(Mode::Token);
    here(
        &repository(&bench, "team/data"),
        &repository(&bench, "team/other"),
    );
}

#[test]
fn aliases_are_set_and_read_with_their_sizes() {
    everywhere(|store| {
        let (one, two) = (bytes("abc"), bytes("defgh"));
        for blob in [&one, &two] {
            store.put_blob(blob, Watch::default()).unwrap();
        }
        let digests = [*one.digest(), *two.digest()];
        let tag = "v1".parse().unwrap();
        let set = alias::set(store, &tag, &digests, Format::Docker, Run::default()).unwrap();
        let read = store.manifest(&"v1".parse().unwrap()).unwrap();
        assert_eq!(read.bytes(), set.bytes());
        let blobs = alias::blobs(&read).unwrap();
        let told: Vec<_> = blobs.iter().map(|blob| (blob.digest, blob.size)).collect();
        assert_eq!(told, [(digests[0], 3), (digests[1], 5)]);
        let absent = alias::set(
            store,
            &tag,
            &[Digest::of(b"x")],
            Format::Docker,
            Run::default(),
        );
        assert!(absent.unwrap_err().is_not_found());
    });
}

/// An index of two platforms, each of one blob.
fn multi(store: &dyn Store) {
    let mut entries = Vec::new();
    for platform in ["linux/amd64", "linux/arm64/v8"] {
        let manifest = set(store, &platform.replace('/', "-"), &[bytes(platform)]);
        let mut entry = manifest.descriptor();
        entry.platform = Some(Box::new(platform.parse().unwrap()));
        entries.push(entry);
    }
    let index = serde_json::json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": entries,
    });
    let index = Manifest::new(None, index.to_string().into_bytes()).unwrap();
    store
        .put_manifest(&index, &"multi".parse().unwrap())
        .unwrap();
}

#[test]
fn aliases_of_platforms_give_one_or_all() {
    everywhere(|store| {
        multi(store);
        let target: Target = "multi".parse().unwrap();
        let digests = |platform: Option<&str>| -> Result<ByPlatform<Digest>, Error> {
            let platform: Option<Platform> = platform.map(|text| text.parse().unwrap());
            alias::resolve(store, &target, platform.as_ref(), Run::default())?
                .try_map(|manifest| alias::config(&manifest))
        };
        let ByPlatform::Each(each) = digests(None).unwrap() else {
            panic!("all of them");
        };
        let names: Vec<&str> = each.keys().map(String::as_str).collect();
        assert_eq!(names, ["linux/amd64", "linux/arm64/v8"]);
        let arm = ByPlatform::One(Digest::of(b"linux/arm64/v8"));
        assert_eq!(digests(Some("linux/arm64")).unwrap(), arm);
        let none = digests(Some("windows/amd64")).unwrap_err();
        assert!(matches!(none, Error::NoPlatform { .. }), "{none}");
    });
}

#[test]
fn manifests_are_made_put_and_got_byte_for_byte() {
    everywhere(|store| {
        let blob = bytes("abc");
        store.put_blob(&blob, Watch::default()).unwrap();
        let made = Manifest::alias(&[blob.descriptor().clone()]).unwrap();
        // As `make_manifest` writes it.
        let digest = blob.digest();
        let written = format!(
            "{{\"config\": {{\"digest\": \"{digest}\", \"mediaType\": \"application/vnd.docker.container.image.v1+json\", \"size\": 3}}, \
             \"layers\": [{{\"digest\": \"{digest}\", \"mediaType\": \"application/octet-stream\", \"size\": 3}}], \
             \"mediaType\": \"application/vnd.docker.distribution.manifest.v2+json\", \"schemaVersion\": 2}}"
        );
        assert_eq!(std::str::from_utf8(made.bytes()).unwrap(), written);
        let target: Target = "made".parse().unwrap();
        assert_eq!(store.head(&target).unwrap(), None);
        store.put_manifest(&made, &target).unwrap();
        let got = store.manifest(&target).unwrap();
        assert_eq!(got.bytes(), made.bytes());
        assert_eq!(
            (got.media_type(), got.kind()),
            (made.media_type(), Kind::Image)
        );
        let head = store.head(&target).unwrap().unwrap();
        assert_eq!(
            (head.digest, head.size),
            (got.digest(), got.bytes().len() as u64)
        );
        assert_eq!(head.media_type, got.media_type());
        // By digest too, and one that is kept in a file.
        let by_digest = store.manifest(&Target::Digest(got.digest())).unwrap();
        let kept = Manifest::new(Some(got.media_type()), by_digest.bytes().to_vec()).unwrap();
        store.put_manifest(&kept, &"copy".parse().unwrap()).unwrap();
        let copied = store.head(&"copy".parse().unwrap()).unwrap().unwrap();
        assert_eq!(copied.digest, got.digest());
    });
}

#[test]
fn digests_are_of_the_config_or_of_the_manifest() {
    everywhere(|store| {
        let blob = bytes("abc");
        let manifest = set(store, "v1", std::slice::from_ref(&blob));
        assert_eq!(alias::config(&manifest).unwrap(), *blob.digest());
        let head = store.head(&"v1".parse().unwrap()).unwrap().unwrap();
        assert_eq!(head.digest, Digest::of(manifest.bytes()));
    });
}

#[test]
fn an_alias_is_deleted_and_says_what_it_was() {
    everywhere(|store| {
        let blob = bytes("abc");
        set(store, "v1", std::slice::from_ref(&blob));
        let was = alias::delete(store, &"v1".parse().unwrap(), Run::default()).unwrap();
        assert_eq!(was.pointed, ByPlatform::One(vec![*blob.digest()]));
        assert_eq!(store.head(&"v1".parse().unwrap()).unwrap(), None);
        let again = alias::delete(store, &"v1".parse().unwrap(), Run::default());
        assert!(again.unwrap_err().is_not_found());
        assert_eq!(store.blob_size(blob.digest()).unwrap(), Some(3));
    });
}

#[test]
fn lists_come_lazily_in_pages_of_the_size_asked_for() {
    let page = |names: &'static str| {
        move |request: &crate::support::rules::Request| {
            assert_eq!(request.param("n").as_deref(), Some("2"));
            let first = request.param("last").is_none();
            let (one, two) = names.split_once(';').unwrap();
            let answer = Response::new(200).body(if first { one } else { two });
            match first {
                true => answer.header("Link", "<?n=2&last=b>; rel=\"next\""),
                false => answer,
            }
        }
    };
    let server = Server::script([
        on(GET, "/v2/team/data/tags/list").with(page(r#"{"tags":["a","b"]};{"tags":["c"]}"#)),
        on(GET, "/v2/_catalog").with(page(r#"{"repositories":["a","b"]};{"repositories":["c"]}"#)),
    ]);
    let plain = Settings::default().with_scheme(Scheme::Http);
    let registry = Registry::connect(
        server.host().parse().unwrap(),
        plain,
        Credentials::anonymous(),
    );
    let registry = registry.unwrap();
    let store = registry.repository("team/data".parse().unwrap());
    let two = NonZeroU32::new(2).unwrap();
    for (path, mut names) in [
        ("/v2/team/data/tags/list", store.tags_paged(two)),
        ("/v2/_catalog", registry.repos_paged(two)),
    ] {
        assert_eq!(server.count(GET, path), 0);
        assert_eq!(names.next().unwrap().unwrap(), "a");
        assert_eq!(names.next().unwrap().unwrap(), "b");
        assert_eq!(server.count(GET, path), 1);
        assert_eq!(names.next().unwrap().unwrap(), "c");
        assert!(names.next().is_none());
        assert_eq!(server.count(GET, path), 2);
    }
}

#[test]
fn tags_and_repositories_are_listed() {
    let bench = Bench::new(Mode::Token);
    let store = repository(&bench, "team/data");
    set(&store, "v1", &[bytes("abc")]);
    set(&store, "v2", &[bytes("def")]);
    let names = |names: dxf_registry::store::Names<'_>| -> Vec<String> {
        let mut names: Vec<String> = names.collect::<Result<_, _>>().unwrap();
        names.sort();
        names
    };
    assert_eq!(names(store.tag_names()), ["v1", "v2"]);
    assert_eq!(names(store.tags_paged(NonZeroU32::MIN)), ["v1", "v2"]);
    assert_eq!(names(store.registry().repos()), ["team/data"]);
}

#[test]
fn the_api_version_is_asked_for() {
    for mode in [Mode::Http, Mode::Basic, Mode::Token] {
        let bench = Bench::new(mode);
        let registry = repository(&bench, "a").registry().clone();
        let version = registry.api_version().unwrap();
        assert_eq!(version.as_deref(), Some("registry/2.0"));
        let ping = connect(&bench, Credentials::anonymous()).ping().unwrap();
        let expected = if mode == Mode::Http { 200 } else { 401 };
        assert_eq!((ping.status, ping.speaks_distribution()), (expected, true));
    }
}

#[test]
fn many_repositories_share_one_connection_and_tokens() {
    let bench = Bench::new(Mode::Token);
    let registry = repository(&bench, "a").registry().clone();
    let before = bench.front.connections();
    for name in ["team/a", "team/b", "team/c"] {
        let store = registry.repository(name.parse().unwrap());
        store.put_blob(&bytes(name), Watch::default()).unwrap();
        assert_eq!(text(&store, &Digest::of(name.as_bytes())), name);
    }
    assert_eq!(bench.front.connections() - before, 1);
    assert_eq!(bench.token_requests(), 3);
}

#[test]
fn bytes_and_files_are_hashed() {
    let dir = scratch();
    let path = dir.path().join("file");
    std::fs::write(&path, "abc").unwrap();
    let abc = Digest::of(b"abc");
    let file = std::fs::File::open(&path).unwrap();
    assert_eq!(measure("file", file, Watch::default()).unwrap(), (abc, 3));
    assert_eq!(Blob::file(&path, Watch::default()).unwrap().digest(), &abc);
    let split: Digest = abc.to_string().parse().unwrap();
    assert_eq!((split.algorithm(), split.hex().len()), ("sha256", 64));
    assert!(Blob::file(Path::new("/nobody/knows"), Watch::default()).is_err());
}

#[test]
fn exceptions_are_kinds_of_one_error() {
    let md5 = "md5:d41d8cd98f00b204e9800998ecf8427e".parse::<Digest>();
    assert!(matches!(md5, Err(Error::Invalid { .. })));
    let bench = Bench::new(Mode::Basic);
    let wrong = connect(&bench, Credentials::password(USER, "wrong".to_string()));
    let refused = wrong.repos().next().unwrap().unwrap_err();
    assert!(
        refused.is_unauthorized() && refused.status() == Some(401),
        "{refused}"
    );
    let server = Server::script([
        on(HEAD, "/v2/a/blobs/*").reply(403),
        on(GET, "/v2/a/blobs/*").reply(403).body(r#"{"errors":[{"code":"DENIED","message":"no"}]}"#),
        on(GET, "/v2/a/manifests/old").reply(200)
            .header("Content-Type", "application/vnd.docker.distribution.manifest.v1+json")
            .body(r#"{"schemaVersion":1,"name":"a","tag":"old","architecture":"amd64","fsLayers":[],"history":[]}"#),
    ]);
    let plain = Settings::default().with_scheme(Scheme::Http);
    let registry = Registry::connect(
        server.host().parse().unwrap(),
        plain,
        Credentials::anonymous(),
    );
    let store = registry.unwrap().repository("a".parse().unwrap());
    let denied = store.blob_size(&Digest::of(b"abc")).unwrap_err();
    assert!(
        denied.status() == Some(403) && denied.has_code("DENIED"),
        "{denied}"
    );
    let old = store.manifest(&"old".parse().unwrap()).unwrap();
    let unsupported = alias::blobs(&old).unwrap_err();
    assert!(
        matches!(unsupported, Error::Unsupported { .. }),
        "{unsupported}"
    );
}

#[test]
fn silence_ends_a_request() {
    let server = Server::script([on(GET, "/v2/_catalog").silent()]);
    let http = http::Settings::default()
        .with_retries(0)
        .with_idle_timeout(Duration::from_millis(200));
    let plain = Settings::default()
        .with_scheme(Scheme::Http)
        .with_http(http);
    let registry = Registry::connect(
        server.host().parse().unwrap(),
        plain,
        Credentials::anonymous(),
    );
    let failed = registry.unwrap().repos().next().unwrap().unwrap_err();
    assert!(
        matches!(
            &failed,
            Error::Network {
                kind: NetworkKind::Timeout,
                ..
            }
        ) && failed.is_temporary(),
        "{failed}"
    );
}

#[test]
fn a_token_is_granted_for_actions_or_refused() {
    let bench = Bench::public();
    let anybody = connect(&bench, Credentials::anonymous());
    let repo = "team/data".parse().unwrap();
    let granted = anybody.authenticate(Some(&repo), &["pull".to_string()]);
    let granted = granted.unwrap();
    assert!(granted.token.is_some() && granted.realm.is_some());
    let store = anybody.repository(repo);
    let refused = store.put_blob(&bytes("abc"), Watch::default());
    assert!(refused.unwrap_err().is_unauthorized());
    let login = repository(&bench, "team/data");
    let wrong = connect(&bench, Credentials::password(USER, "wrong".to_string()));
    let wrong = wrong.authenticate(Some(login.repo_name()), &["pull".to_string()]);
    assert!(wrong.unwrap_err().is_unauthorized());
}
