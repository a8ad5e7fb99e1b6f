use crate::store::Store;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::thread::JoinHandle;

use serde_json::Value;

use super::*;
use crate::credentials::Credentials;
use crate::http::{self, Observer, Scheme};
use crate::registry::{Registry, Settings};
use serde_json::json;

/// One answer and the request it is for.
struct Step {
    request: String,
    status: u16,
    headers: String,
    body: String,
}

fn step(request: impl Into<String>, status: u16) -> Step {
    Step {
        request: request.into(),
        status,
        headers: String::new(),
        body: String::new(),
    }
}

impl Step {
    fn header(mut self, line: &str) -> Step {
        self.headers += &format!("{line}\r\n");
        self
    }

    fn index(mut self, body: impl Into<String>) -> Step {
        self.body = body.into();
        self.header(&format!("Content-Type: {}", media_type::OCI_INDEX))
    }
}

/// A registry that expects certain requests in a certain order.
struct Scripted {
    repository: Repository,
    heard: Arc<Heard>,
    server: JoinHandle<Vec<String>>,
}

#[derive(Default)]
struct Heard(Mutex<Vec<String>>);

impl Observer for Heard {
    fn warning(&self, text: &str) {
        self.0.lock().unwrap().push(text.to_string());
    }
}

impl Scripted {
    fn new(steps: impl IntoIterator<Item = Step>) -> Scripted {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let host = listener.local_addr().unwrap().to_string();
        let steps: Vec<Step> = steps.into_iter().collect();
        let server = std::thread::spawn(move || {
            let serve = |step: &Step| answer(&listener, step);
            let bodies = steps.iter().map(serve).collect();
            // What `bodies` sends; a request too many would come before it.
            answer(&listener, &step("", 200));
            bodies
        });
        let heard = Arc::new(Heard::default());
        let settings = Settings {
            scheme: Scheme::Http,
            http: http::Settings {
                retries: 0,
                observer: heard.clone(),
                ..Default::default()
            },
            ..Default::default()
        };
        let registry =
            Registry::connect(host.parse().unwrap(), settings, Credentials::anonymous()).unwrap();
        Scripted {
            repository: registry.repository("a".parse().unwrap()),
            heard,
            server,
        }
    }

    /// The bodies of the requests, which were those expected and no more.
    fn bodies(self) -> Vec<String> {
        let host = self.repository.registry().host().to_string();
        TcpStream::connect(host).unwrap();
        self.server.join().unwrap()
    }

    fn warnings(&self) -> Vec<String> {
        self.heard.0.lock().unwrap().clone()
    }
}

fn answer(listener: &TcpListener, step: &Step) -> String {
    let (mut stream, _) = listener.accept().unwrap();
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let (mut first, mut length) = (String::new(), 0);
    reader.read_line(&mut first).unwrap();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        let line = line.trim().to_ascii_lowercase();
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        if line.is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    // The server does not wait for the last, empty request.
    let (status, headers, text) = (step.status, &step.headers, &step.body);
    let asked = first.trim().trim_end_matches(" HTTP/1.1");
    assert_eq!(asked, step.request);
    let _ = write!(
        stream,
        "HTTP/1.1 {status} X\r\nConnection: close\r\nContent-Length: {}\r\n{headers}\r\n{text}",
        text.len()
    );
    String::from_utf8(body).unwrap()
}

fn subject() -> Manifest {
    Manifest::new(
        Some(media_type::OCI_INDEX),
        br#"{"schemaVersion":2,"manifests":[]}"#.to_vec(),
    )
    .unwrap()
}

/// A referrer of [`subject`], told from others by `kind`.
fn referrer(kind: &str) -> Manifest {
    let about = subject().descriptor();
    let config = Descriptor::new("app/config", Digest::of(b"{}"), 2);
    let text = json!({
        "schemaVersion": 2, "mediaType": media_type::OCI_MANIFEST, "artifactType": kind,
        "config": config, "layers": [], "subject": about, "annotations": {"kind": kind},
    });
    Manifest::new(None, text.to_string().into_bytes()).unwrap()
}

fn index(of: &[&Manifest]) -> String {
    let entries: Vec<_> = of.iter().map(|m| m.referrer().unwrap()).collect();
    json!({"schemaVersion": 2, "mediaType": media_type::OCI_INDEX, "manifests": entries})
        .to_string()
}

fn kinds(found: &[Descriptor]) -> Vec<&str> {
    found.iter().filter_map(Descriptor::artifact_type).collect()
}

fn api() -> String {
    format!("GET /v2/a/referrers/{}", subject().digest())
}

fn at_tag(method: &str) -> String {
    format!(
        "{method} /v2/a/manifests/sha256-{}",
        subject().digest().hex()
    )
}

fn at(method: &str, manifest: &Manifest) -> String {
    format!("{method} /v2/a/manifests/{}", manifest.digest())
}

fn put(repository: &Repository, manifest: &Manifest) -> Result<()> {
    repository.put_manifest(manifest, &Target::Digest(manifest.digest()))
}

fn delete(repository: &Repository, manifest: &Manifest) {
    repository.delete_manifest(&manifest.digest()).unwrap();
}

fn found(steps: impl IntoIterator<Item = Step>) -> Result<Vec<Descriptor>> {
    let server = Scripted::new(steps);
    let found = server.repository.referrers(&subject().digest());
    server.bodies();
    found
}

#[test]
fn tags_are_cut_to_size() {
    assert_eq!(
        ReferrersList::tag(&Digest::of(b"abc")).unwrap().as_str(),
        "sha256-ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    );
    let long: Digest = format!("sha512:{}", "ab".repeat(64)).parse().unwrap();
    let expected = format!("sha512-{}", "ab".repeat(32));
    assert_eq!(ReferrersList::tag(&long).unwrap().as_str(), expected);
}

#[test]
fn the_api_answers_page_by_page_and_nothing_twice() {
    let (a, b) = (referrer("a"), referrer("b"));
    let next = api().replacen("GET ", "", 1) + "?last=a";
    let pages = [
        step(api(), 200)
            .index(index(&[&a, &a]))
            .header(&format!("Link: <{next}>; rel=\"next\"")),
        step(format!("GET {next}"), 200).index(index(&[&b, &a])),
    ];
    let list = found(pages).unwrap();
    assert_eq!(kinds(&list), ["a", "b"]);
    assert_eq!(list[0], a.referrer().unwrap());
    let none = step(api(), 200).index(r#"{"schemaVersion":2,"manifests":null}"#);
    assert!(found([none]).unwrap().is_empty());
}

#[test]
fn pages_stay_on_the_server_and_end() {
    let page = |link: &str| {
        let header = format!("Link: <{link}>; rel=\"next\"");
        step(api(), 200).index(index(&[])).header(&header)
    };
    let itself = api().replacen("GET ", "", 1);
    let next = |status| step(format!("GET {itself}?n=2"), status);
    for steps in [
        vec![page("http://other.example/v2/")],
        vec![page(&itself)],
        vec![page("?n=2"), next(200).index("{}")],
        vec![page("?n=2"), next(404)],
    ] {
        let error = found(steps).unwrap_err();
        assert!(error.is_corrupt() || error.is_not_found(), "{error}");
    }
}

#[test]
fn an_api_that_is_missing_many_times_is_asked_for_no_more() {
    let check = |answer: &dyn Fn() -> Step, is_asked: bool| {
        let mut steps = Vec::new();
        for n in 0..=super::NO_API {
            steps.extend((n < super::NO_API || is_asked).then(answer));
            steps.push(step(at_tag("GET"), 404));
        }
        let server = Scripted::new(steps);
        for _ in 0..=super::NO_API {
            let found = server.repository.referrers(&subject().digest());
            assert!(found.unwrap().is_empty());
        }
        server.bodies();
    };
    check(&|| step(api(), 404), false);
    // What a registry says itself may be about the subject.
    let own = || step(api(), 404).header("Content-Type: application/json");
    check(&own, true);
}

#[test]
fn without_the_api_the_tag_answers() {
    let a = referrer("a");
    let web_page = Step {
        body: "<html>".into(),
        ..step(api(), 200).header("Content-Type: text/html")
    };
    for refusal in [
        step(api(), 404),
        step(api(), 405),
        step(api(), 501),
        web_page,
    ] {
        let list = step(at_tag("GET"), 200).index(index(&[&a, &a]));
        assert_eq!(kinds(&found([refusal, list]).unwrap()), ["a"]);
    }
    let none = [step(api(), 404), step(at_tag("GET"), 404)];
    assert!(found(none).unwrap().is_empty());
    // Trouble is neither an empty list nor a missing API.
    assert_eq!(found([step(api(), 500)]).unwrap_err().status(), Some(500));
    let broken = [step(api(), 404), step(at_tag("GET"), 500)];
    assert_eq!(found(broken).unwrap_err().status(), Some(500));
}

#[test]
fn what_is_no_list_has_no_referrers() {
    let subject_itself = String::from_utf8(subject().bytes().to_vec()).unwrap();
    let image = Manifest::alias(&[Descriptor::new("", Digest::of(b""), 0)]).unwrap();
    let image = Step {
        body: String::from_utf8(image.bytes().to_vec()).unwrap(),
        ..step(at_tag("GET"), 200)
    };
    let docker = index(&[&referrer("a")]).replace(media_type::OCI_INDEX, media_type::DOCKER_LIST);
    let docker = Step {
        body: docker,
        ..step(at_tag("GET"), 200)
    };
    for tagged in [
        step(at_tag("GET"), 200).index(subject_itself),
        image,
        docker,
    ] {
        assert!(found([step(api(), 404), tagged]).unwrap().is_empty());
    }
    // A broken entry may be the signature that a reader looks for.
    let entry = r#"{"manifests":[{"mediaType":"x","digest":"sha256:../x","size":1}]}"#;
    let error = found([step(api(), 200).index(entry)]).unwrap_err();
    assert!(error.is_corrupt(), "{error}");
}

#[test]
fn only_manifests_with_a_subject_cost_more() {
    let plain = subject();
    let server = Scripted::new([
        step(at("PUT", &plain), 201),
        step(at("GET", &plain), 200).index(String::from_utf8(plain.bytes().to_vec()).unwrap()),
        step(at("DELETE", &plain), 202),
        // Listed by the registry itself.
        step(at("PUT", &referrer("a")), 201).header(&format!("OCI-Subject: {}", plain.digest())),
    ]);
    put(&server.repository, &plain).unwrap();
    let target = Target::Digest(plain.digest());
    assert_eq!(server.repository.manifest(&target).unwrap(), plain);
    delete(&server.repository, &plain);
    put(&server.repository, &referrer("a")).unwrap();
    server.bodies();
}

#[test]
fn pushing_lists_what_the_registry_does_not() {
    let (a, b) = (referrer("a"), referrer("b"));
    let both = index(&[&a, &b]);
    let server = Scripted::new([
        step(at("PUT", &a), 201),
        step(at_tag("GET"), 404),
        step(at_tag("PUT"), 201),
        step(at_tag("GET"), 200).index(index(&[&a])),
        // Beside the existing entries, whose other members stay.
        step(at("PUT", &b), 201),
        step(at_tag("GET"), 200).index(index(&[&a]).replacen('{', r#"{"x":[1],"#, 1)),
        step(at_tag("PUT"), 201),
        step(at_tag("GET"), 200).index(both.clone()),
        // Already there.
        step(at("PUT", &a), 201),
        step(at_tag("GET"), 200).index(both.clone()),
    ]);
    for manifest in [&a, &b, &a] {
        put(&server.repository, manifest).unwrap();
    }
    let bodies = server.bodies();
    assert_eq!(
        serde_json::from_str::<Value>(&bodies[2]).unwrap(),
        serde_json::from_str::<Value>(&index(&[&a])).unwrap()
    );
    let mut both: Value = serde_json::from_str(&both).unwrap();
    both["x"] = json!([1]);
    assert_eq!(serde_json::from_str::<Value>(&bodies[6]).unwrap(), both);
    assert!(bodies[6].contains(r#""annotations":{"kind":"b"}"#));
}

#[test]
fn a_change_that_another_writer_undid_is_made_again() {
    let (a, b) = (referrer("a"), referrer("b"));
    let theirs = || step(at_tag("GET"), 200).index(index(&[&b]));
    let both = || step(at_tag("GET"), 200).index(index(&[&b, &a]));
    let server = Scripted::new([
        step(at("PUT", &a), 201),
        step(at_tag("GET"), 404),
        step(at_tag("PUT"), 201),
        theirs(),
        step(at_tag("PUT"), 201),
        both(),
        both(),
    ]);
    put(&server.repository, &a).unwrap();
    assert_eq!(server.bodies()[4], index(&[&b, &a]));
    // While others change it, it is read again: one of them may have begun before.
    let server = Scripted::new([
        step(at("PUT", &a), 201),
        step(at_tag("GET"), 404),
        step(at_tag("PUT"), 201),
        step(at_tag("GET"), 200).index(index(&[&a, &b])),
        theirs(),
        step(at_tag("PUT"), 201),
        both(),
        both(),
    ]);
    put(&server.repository, &a).unwrap();
    assert_eq!(server.bodies()[5], index(&[&b, &a]));
    // One of them may also be slower than a single look at a list that stays the same.
    let server = Scripted::new([
        step(at("PUT", &a), 201),
        step(at_tag("GET"), 404),
        step(at_tag("PUT"), 201),
        both(),
        both(),
        theirs(),
        step(at_tag("PUT"), 201),
        both(),
        both(),
    ]);
    put(&server.repository, &a).unwrap();
    assert_eq!(server.bodies()[6], index(&[&b, &a]));
    // But not for ever.
    let rounds = (0..=RETRIES).flat_map(|_| [theirs(), step(at_tag("PUT"), 201)]);
    let steps = std::iter::once(step(at("PUT", &a), 201)).chain(rounds);
    let server = Scripted::new(steps.chain([theirs()]));
    let error = put(&server.repository, &a).unwrap_err();
    assert!(error.is_busy(), "{error}");
    server.bodies();
}

#[test]
fn one_list_is_written_once_for_several_manifests() {
    let (a, b) = (referrer("a"), referrer("b"));
    let server = Scripted::new([
        step(at("PUT", &a), 201),
        step(at("PUT", &b), 201),
        step(at_tag("GET"), 404),
        step(at_tag("PUT"), 201),
        step(at_tag("GET"), 200).index(index(&[&a, &b])),
    ]);
    let both = [(a.digest(), &a), (b.digest(), &b)];
    server.repository.put_manifests(&both).unwrap();
    let list: Value = serde_json::from_str(&server.bodies()[3]).unwrap();
    assert_eq!(list["manifests"].as_array().map(Vec::len), Some(2));
}

#[test]
fn a_list_is_put_only_while_it_has_its_entity_tag() {
    let (a, b, c) = (referrer("a"), referrer("b"), referrer("c"));
    let tagged = |tag: &str, of: &[&Manifest]| {
        let list = step(at_tag("GET"), 200).index(index(of));
        list.header(&format!("ETag: {tag}"))
    };
    let server = Scripted::new([
        step(at("PUT", &a), 201),
        tagged("\"1\"", &[&b]),
        // Another writer was faster.
        step(at_tag("PUT"), 412),
        tagged("\"2\"", &[&b, &c]),
        // A tag that is not that of what is stored can't be fulfilled.
        step(at_tag("PUT"), 412),
        tagged("\"2\"", &[&b, &c]),
        step(at_tag("PUT"), 201),
        tagged("\"3\"", &[&b, &c, &a]),
    ]);
    put(&server.repository, &a).unwrap();
    assert_eq!(server.bodies()[6], index(&[&b, &c, &a]));
    // Without a condition there is nothing to be tried again.
    let server = Scripted::new([
        step(at("PUT", &a), 201),
        tagged("W/\"1\"", &[&b]),
        step(at_tag("PUT"), 412),
    ]);
    let error = put(&server.repository, &a).unwrap_err();
    assert_eq!(error.status(), Some(412));
    server.bodies();
}

#[test]
fn a_tag_that_is_no_list_is_left_alone() {
    let a = referrer("a");
    let tagged = |manifest: &Manifest| Step {
        body: String::from_utf8(manifest.bytes().to_vec()).unwrap(),
        ..step(at_tag("GET"), 200).header(&format!("Content-Type: {}", manifest.media_type()))
    };
    let server = Scripted::new([step(at("PUT", &a), 201), tagged(&referrer("b"))]);
    let error = put(&server.repository, &a).unwrap_err();
    assert!(error.to_string().contains("not a list"), "{error}");
    server.bodies();
    // As GitLab does: nothing is ever written over the subject.
    let server = Scripted::new([step(at("PUT", &a), 201), tagged(&subject())]);
    put(&server.repository, &a).unwrap();
    assert_eq!(server.warnings().len(), 1);
    server.bodies();
}

#[test]
fn deleting_takes_from_the_list_of_a_registry_without_api() {
    let (a, b) = (referrer("a"), referrer("b"));
    let listed = |digest: Digest| format!("OCI-Subject: {digest}");
    let seen = || step(at("PUT", &a), 201).header(&listed(subject().digest()));
    let server = Scripted::new([
        seen(),
        step(at("DELETE", &a), 202),
        step(api(), 404),
        step(at_tag("GET"), 200).index(index(&[&a, &b])),
        step(at_tag("PUT"), 201),
        step(at_tag("GET"), 200).index(index(&[&b])),
        // With the API, and when the list can't be had.
        seen(),
        step(at("DELETE", &a), 202),
        step(api(), 200).index(index(&[])),
        seen(),
        step(at("DELETE", &a), 202),
        step(api(), 500),
        // Forgotten with that.
        step(at("DELETE", &a), 202),
    ]);
    for _ in 0..3 {
        put(&server.repository, &a).unwrap();
        delete(&server.repository, &a);
    }
    delete(&server.repository, &a);
    let warnings = server.warnings();
    assert!(
        warnings.len() == 1 && warnings[0].contains("still be listed"),
        "{warnings:?}"
    );
    assert_eq!(server.bodies()[4], index(&[&b]));
}
