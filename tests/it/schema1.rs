//! Docker's first manifests against a registry that still takes them: signed
//! here, accepted and signed anew there, verified again, pulled and run.

use std::path::Path;
use std::process::Command;

use dxf_registry::descriptor::media_type::SCHEMA1_SIGNED;
use dxf_registry::graph::{Signed, put_signed};
use dxf_registry::image::layer::{Compression, Family};
use dxf_registry::image::schema1::make;
use dxf_registry::jws::SigningKey;
use dxf_registry::{Manifest, ReadStore, Repository, Store, Target};

use crate::archive::{GZIP, image, layers, read, with_run};
use crate::engine::{Docker, arg, file};
use crate::moby::library;
use crate::support::dxf::Dxf;
use crate::support::registry::Registry;
use crate::support::rules::{GET, on};
use crate::support::scratch;
use crate::support::server::Server;

fn old_registry() -> Registry {
    Registry::builder().schema1().start()
}

fn put(to: &Repository, tag: &str, key: &SigningKey) -> Manifest {
    let tag = tag.parse().unwrap();
    let to = Signed {
        store: to,
        repo: to.repo_name(),
        tag: &tag,
        key,
    };
    let image = image("linux/amd64", Family::Docker, GZIP);
    with_run(|run| put_signed(&image, &to, run)).unwrap()
}

#[test]
fn a_signed_image_goes_in_comes_back_and_runs() {
    let (registry, dir) = (old_registry(), scratch());
    let repo = library(registry.host()).repository("team/app".parse().unwrap());
    let key = SigningKey::generate().unwrap();
    let ours = put(&repo, "v1", &key);
    assert_eq!(ours.signers().unwrap(), [key.public().clone()]);

    // The registry keeps the payload, calls it by its digest, and signs it with
    // its own key when it serves it.
    let accept = [("Accept", SCHEMA1_SIGNED)];
    let raw = registry.raw();
    let served = raw.send("GET", "/v2/team/app/manifests/v1", &accept, b"");
    let served = served.expect(200);
    let told = served.headers.get("docker-content-digest").unwrap();
    assert_eq!(told, ours.digest().to_string());
    assert_eq!(served.headers.get("content-type"), Some(SCHEMA1_SIGNED));
    for target in ["v1".to_string(), told.to_string()] {
        let target: Target = target.parse().unwrap();
        let theirs = repo.manifest_as(&[SCHEMA1_SIGNED], &target).unwrap();
        assert_eq!(theirs.payload(), ours.payload());
        assert_eq!(theirs.digest(), ours.digest());
        let signers = theirs.signers().unwrap();
        assert!(signers.len() == 1 && signers[0] != *key.public());
    }
    let head = repo.head(&"v1".parse().unwrap()).unwrap().unwrap();
    assert_eq!(head.digest, ours.digest());

    let out = file(&dir, "app.tar");
    let dxf = || Dxf::new().plain(registry.host());
    dxf().args(["pull-image", "team/app:v1"]).arg(&out).ok();
    let item = &read(&out)[0];
    let config = item.node.images()[0].1.config().unwrap();
    let ids: Vec<_> = layers()
        .iter()
        .map(|l| dxf_registry::Digest::of(l))
        .collect();
    assert_eq!(config.diff_ids().unwrap(), ids);
    if let Some(docker) = Docker::start() {
        docker.run(["load", "-i", &arg(&out)]);
        let name = format!("{}/team/app:v1", registry.host());
        assert_eq!(docker.container(&name), "hello\n");
    }
}

#[test]
fn a_tampered_manifest_is_refused_here_and_there() {
    let registry = old_registry();
    let repo = library(registry.host()).repository("team/app".parse().unwrap());
    let good = put(&repo, "v1", &SigningKey::generate().unwrap());
    let text = String::from_utf8(good.bytes().to_vec()).unwrap();
    let bytes = text.replacen("\"v1\"", "\"v2\"", 1).into_bytes();
    let bad = Manifest::new(Some(SCHEMA1_SIGNED), bytes.clone()).unwrap();
    assert!(bad.signers().unwrap_err().is_corrupt());
    let refused = repo.put_manifest(&bad, &"v2".parse().unwrap());
    assert_eq!(refused.unwrap_err().status(), Some(400));
    // What is added beside the signed bytes is not read.
    let beside = ",\n   \"name\": \"evil\", \"signatures\"";
    let added = text.replacen(",\n   \"signatures\"", beside, 1);
    let added = Manifest::new(Some(SCHEMA1_SIGNED), added.into_bytes()).unwrap();
    assert!(added.signers().is_ok());
    assert_eq!(added.schema1().unwrap().name, "team/app");

    let answer = |bytes: &[u8]| {
        let rule = on(GET, "/v2/team/app/manifests/v2").reply(200);
        rule.header("Content-Type", SCHEMA1_SIGNED).body(bytes)
    };
    let dir = scratch();
    let unreadable = text.replace("\"protected\": \"", "\"protected\": \"A");
    for tampered in [bytes, unreadable.into_bytes()] {
        let front = Server::before(&registry, [answer(&tampered)]);
        let dxf = Dxf::new().plain(&front.host()).current_dir(dir.path());
        dxf.args(["pull-image", "team/app:v2"])
            .fails(65)
            .says("signatures");
    }
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    // By its digest it is noticed before signatures are verified.
    let digest = good.digest();
    let rule = on(GET, "/v2/team/app/manifests/*").reply(200);
    let rule = rule
        .header("Content-Type", SCHEMA1_SIGNED)
        .body(bad.bytes());
    let front = Server::before(&registry, [rule]);
    let far = library(&front.host()).repository("team/app".parse().unwrap());
    let failed = far.manifest(&Target::Digest(digest)).unwrap_err();
    assert!(failed.is_corrupt(), "{failed}");
}

fn openssl(folder: &Path, words: &str) -> String {
    let out = Command::new("openssl")
        .args(words.split(' '))
        .current_dir(folder)
        .output()
        .expect("openssl; run scripts/setup");
    let told = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "openssl {words}: {told}");
    String::from_utf8(out.stdout).unwrap()
}

#[test]
fn keys_of_openssl_sign() {
    let (registry, dir) = (old_registry(), scratch());
    let repo = library(registry.host()).repository("team/app".parse().unwrap());
    let openssl = |words: &str| openssl(dir.path(), words);
    // SEC1 with its parameters in front and without; then PKCS#8.
    let sec1 = openssl("ecparam -name prime256v1 -genkey");
    assert!(sec1.contains("BEGIN EC PARAMETERS"), "{sec1}");
    let bare = openssl("ecparam -name prime256v1 -genkey -noout");
    assert!(bare.starts_with("-----BEGIN EC PRIVATE KEY"), "{bare}");
    std::fs::write(dir.path().join("sec1.pem"), &sec1).unwrap();
    let pkcs8 = openssl("pkcs8 -topk8 -nocrypt -in sec1.pem");
    let made = openssl("genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256");
    let ids: Vec<String> = [&sec1, &pkcs8, &bare, &made]
        .iter()
        .map(|pem| {
            let key = SigningKey::from_pem(pem).unwrap();
            // The registry compares the key's name with its own reckoning.
            put(&repo, "v1", &key);
            key.public().id()
        })
        .collect();
    assert!(ids[0] == ids[1] && ids[0] != ids[2] && ids[2] != ids[3]);
    for (words, why) in [
        ("ecparam -name secp384r1 -genkey", "P-256"),
        ("genpkey -algorithm ed25519", "P-256"),
        ("genrsa -traditional 2048", "RSA"),
        ("pkcs8 -topk8 -passout pass:x -in sec1.pem", "encrypted"),
        ("ec -aes128 -passout pass:x -in sec1.pem", "encrypted"),
        ("ec -no_public -in sec1.pem", "public half"),
    ] {
        let said = SigningKey::from_pem(&openssl(words)).unwrap_err();
        assert!(said.to_string().contains(why), "{words}: {said}");
    }
}

#[test]
fn layers_that_are_not_gzip_are_refused_before_anything_is_sent() {
    let zstd = image("linux/amd64", Family::Oci, [Compression::Zstd; 2]);
    let made = make(&zstd, &"a/b".parse().unwrap(), &"v1".parse().unwrap());
    let said = made.unwrap_err().to_string();
    assert!(said.contains("zstd") && said.contains("gzip"), "{said}");
}
