//! What reads input from outside, each with examples of what it expects.

use std::io::{self, Read, Write};
use std::path::Path;

use flate2::write::GzEncoder;
use serde_json::json;

use super::{Make, Target};
use crate::auth::challenge;
use crate::blob::Blob;
use crate::bundle::{Bundle, Listing};
use crate::credentials::config::Config;
use crate::files::{Pull, entries};
use crate::http::tls::{Roots, Tls};
use crate::image::layer::Uncompressed;
use crate::keeping::prune::Plan;
use crate::layout::index::Index;
use crate::manifest::Manifest;
use crate::place::Place;
use crate::reference::{self, Host, Reference, RepoName, Tag};
use crate::store::{Memory, Store};
use crate::stream::{Run, Watch};
use crate::tar::Entries;
use crate::{Digest, Platform, archive, http};

const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
/// The digest of `{}`.
const EMPTY: &str = "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";
/// One that vouches for `h.example`, of P-256.
const CERTIFICATE: &str = "\
-----BEGIN CERTIFICATE-----\n\
MIIBljCCATugAwIBAgIUGHbNPUSTI98+ITmehGVr6q/SFD8wCgYIKoZIzj0EAwIw\n\
FDESMBAGA1UEAwwJaC5leGFtcGxlMCAXDTI2MTEzMDAyNTk0NloYDzIxMjYxMTA2\n\
MDI1OTQ2WjAUMRIwEAYDVQQDDAloLmV4YW1wbGUwWTATBgcqhkjOPQIBBggqhkjO\n\
PQMBBwNCAAR61NXI5bhmMES5wIl7Z2N5lgIWbmqQRmM0DUh2/Uv0bAXKb8dSAnxg\n\
seyqHhBxnSrhxx+fJSeiNSLDftA+FMcso2kwZzAdBgNVHQ4EFgQU85gO3+ct6H7S\n\
Ss4mX5QIz3JNojUwHwYDVR0jBBgwFoAU85gO3+ct6H7SSs4mX5QIz3JNojUwDwYD\n\
VR0TAQH/BAUwAwEB/zAUBgNVHREEDTALggloLmV4YW1wbGUwCgYIKoZIzj0EAwID\n\
SQAwRgIhAM3JWHeBzF2T70agdXs5DUnqDzQUxlB9PX7J8aKr+US+AiEA2raMjy8I\n\
y+8k8EXpPyu6iKyVvrPASdtKUaGHT+kOk0Y=\n\
-----END CERTIFICATE-----\n";
const JSON: &[&str] = &[
    "\"schemaVersion\":2",
    "\"mediaType\":",
    "\"config\":",
    "\"layers\":[",
    "\"manifests\":[",
    "\"digest\":",
    "\"size\":",
    "\"annotations\":{",
    "\"platform\":{",
    "\"subject\":{",
    "\"urls\":[",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.v1+prettyjws",
    "sha512:",
];

/// Texts as examples.
fn texts(examples: &[&str]) -> Vec<Vec<u8>> {
    examples
        .iter()
        .map(|text| text.as_bytes().to_vec())
        .collect()
}

/// A reader of bytes.
fn bytes(
    examples: Vec<Vec<u8>>,
    words: &'static [&'static str],
    read: impl Fn(&[u8]) + 'static,
) -> Target {
    let read = Box::new(read);
    Target {
        examples,
        words,
        read,
    }
}

/// A reader of text: bytes that are none are read as text all the same.
fn text(
    examples: &[&str],
    words: &'static [&'static str],
    read: impl Fn(&str) + 'static,
) -> Target {
    let read = move |input: &[u8]| read(&String::from_utf8_lossy(input));
    bytes(texts(examples), words, read)
}

/// A descriptor of `{}`.
fn empty(media_type: &str) -> serde_json::Value {
    json!({"mediaType": media_type, "digest": EMPTY, "size": 2})
}

/// A manifest, an index and a schema 1 manifest.
fn manifests() -> Vec<Vec<u8>> {
    let oci = "application/vnd.oci.image.";
    let layer = empty(&format!("{oci}layer.v1.tar+gzip"));
    let image = json!({"schemaVersion": 2, "mediaType": format!("{oci}manifest.v1+json"),
        "config": empty(&format!("{oci}config.v1+json")), "layers": [layer, layer],
        "subject": empty(&format!("{oci}manifest.v1+json")), "artifactType": "text/x",
        "annotations": {"org.opencontainers.image.title": "a"}});
    let index = json!({"schemaVersion": 2, "mediaType": format!("{oci}index.v1+json"), "manifests": [
        {"mediaType": format!("{oci}manifest.v1+json"), "digest": EMPTY, "size": 2,
            "platform": {"os": "linux", "architecture": "arm", "variant": "v7", "os.version": "1"},
            "annotations": {"org.opencontainers.image.ref.name": "v1"}}]});
    let old = json!({"schemaVersion": 1, "name": "a/b", "tag": "v1", "architecture": "amd64",
        "fsLayers": [{"blobSum": DIGEST}], "history": [{"v1Compatibility": "{\"id\":\"a\"}"}],
        "signatures": [{"header": {"alg": "ES256", "jwk": {"crv": "P-256", "kty": "EC", "x": "AA", "y": "AA"}},
            "signature": "AA", "protected": "eyJmb3JtYXRMZW5ndGgiOjEsImZvcm1hdFRhaWwiOiJDbjAifQ"}]});
    [image, index, old]
        .iter()
        .map(|one| one.to_string().into_bytes())
        .collect()
}

/// A tar with these members.
fn tar(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (name, bytes) in members {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, name, *bytes).unwrap();
    }
    tar.into_inner().unwrap()
}

/// Tars with members of every kind, and extended headers of both dialects.
fn tars() -> Vec<Vec<u8>> {
    let long = format!("{}/end", "d".repeat(150));
    let mut links = tar::Builder::new(Vec::new());
    for (kind, name, to) in [
        (tar::EntryType::Directory, "d/", ""),
        (tar::EntryType::Symlink, "d/l", "../a"),
        (tar::EntryType::Link, "h", "d/l"),
        (tar::EntryType::Fifo, "f", ""),
    ] {
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(kind);
        header.set_size(0);
        let done = match to {
            "" => links.append_data(&mut header, name, io::empty()),
            to => links.append_link(&mut header, name, to),
        };
        done.unwrap();
    }
    let records = b"18 path=x/../y/z\n30 mtime=1700000000.123456789\n22 GNU.sparse.major=1\n\
                    22 GNU.sparse.minor=0\n27 GNU.sparse.realsize=4096\n";
    let mut pax = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_ustar();
    header.set_entry_type(tar::EntryType::XHeader);
    header.set_size(records.len() as u64);
    pax.append_data(&mut header, "PaxHeaders/x", &records[..])
        .unwrap();
    let map = b"1\n0\n5\n\0\0\0hello";
    let mut header = tar::Header::new_ustar();
    header.set_size(map.len() as u64);
    pax.append_data(&mut header, "GNUSparseFile.0/x", &map[..])
        .unwrap();
    vec![
        tar(&[("a", b"hello"), (&long, b"x"), ("d/.wh.a", b"")]),
        links.into_inner().unwrap(),
        pax.into_inner().unwrap(),
    ]
}

/// Gives headers right checksums again, so that not only checksums are tested.
fn with_checksums(input: &[u8]) -> Vec<u8> {
    let mut bytes = input.to_vec();
    for block in bytes.chunks_exact_mut(512) {
        if &block[257..262] == b"ustar" {
            block[148..156].fill(b' ');
            let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
            block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        }
    }
    bytes
}

/// References, digests, hosts, repositories, tags and platforms as users write them.
fn reference() -> Target {
    let examples = [
        "team/app:v1",
        "localhost:5000/a/b@sha256:00",
        "[::1]:80/a",
        "docker.io/library/x:y",
        "oci:./x:v1",
        "oci-archive:f.tar:v1",
        "docker-archive:f.tar:a:b",
        "./app.tar",
        DIGEST,
        "linux/arm/v7",
        "windows/amd64:10.0.17763",
    ];
    text(
        &examples,
        &["oci:", "docker://", "[", "]", ":5000", "@sha512:"],
        |text| {
            let _ = text
                .parse::<Reference>()
                .map(|name| name.to_string().parse::<Reference>().unwrap());
            let _ = text
                .parse::<Digest>()
                .map(|digest| digest.to_string().parse::<Digest>().unwrap());
            let _ = (
                Place::to_read(text.as_ref(), None),
                text.parse::<Host>(),
                text.parse::<RepoName>(),
            );
            let _ = (
                text.parse::<Tag>(),
                text.parse::<reference::Target>(),
                text.parse::<Platform>(),
            );
        },
    )
}

/// `WWW-Authenticate` (RFC 9110, 11.6.1).
fn challenge_header() -> Target {
    let examples = [
        "Bearer realm=\"https://a/t\",service=\"s\",scope=\"repository:a:pull,push\"",
        "Basic realm=\"x\\\"y\", Negotiate, Digest qop=auth , nonce=\"1\"",
    ];
    text(&examples, &["Bearer ", "realm=", "\\\"", ", "], |text| {
        let _ = challenge::unsupported(&challenge::parse([text, text].into_iter()));
    })
}

/// `Link` (RFC 8288).
fn link_header() -> Target {
    let examples = [
        "</v2/a/tags/list?n=1&last=b>; rel=\"next\"",
        "<a>; rel=prev, <b>; rel=next; x=\",\"",
    ];
    text(
        &examples,
        &["<", ">", "; rel=next", "rel=\"next\""],
        |text| {
            let _ = http::link::next([text, text].into_iter());
        },
    )
}

/// Manifests and indexes of every kind.
fn manifest() -> Target {
    bytes(manifests(), JSON, |input| {
        let Ok(manifest) = Manifest::new(None, input.to_vec()) else {
            return;
        };
        let _ = (
            manifest.kind(),
            manifest.payload(),
            manifest.digest(),
            manifest.descriptor(),
        );
        let _ = (
            manifest.image(),
            manifest.index(),
            manifest.schema1(),
            manifest.signers(),
        );
        let _ = (manifest.subject(), manifest.referrer(), entries(&manifest));
    })
}

/// Tars, with the headers of both dialects.
fn tar_and_pax() -> Target {
    let words = &[
        "18 path=",
        "GNU.sparse.map=",
        "size=9999999999999",
        "SCHILY.xattr.",
        "99999",
        "ustar\0",
    ];
    bytes(tars(), words, |input| {
        for bytes in [input.to_vec(), with_checksums(input)] {
            let mut entries = Entries::new("a.tar", &bytes[..]);
            while let Some(Ok(entry)) = entries.next() {
                let _ = entry.name();
                if let Ok(content) = entries.content(&entry) {
                    // A sparse file may be of any size.
                    let _ = io::copy(&mut content.take(1 << 20), &mut io::sink());
                }
            }
        }
    })
}

/// Layers in gzip and zstd.
fn compressed() -> Target {
    let mut examples = Vec::new();
    for bytes in tars() {
        let mut gzip = GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&bytes).unwrap();
        examples.push(gzip.finish().unwrap());
        examples.push(zstd::encode_all(&bytes[..], 1).unwrap());
    }
    bytes(examples, &["\u{1f}", "\u{8}"], |input| {
        if let Ok(plain) = Uncompressed::new("layer", input) {
            let _ = io::copy(&mut plain.take(64 << 20), &mut io::sink());
        }
    })
}

/// Opens a tar whose member `name` is the input, beside blobs of `{}`.
fn in_archive(name: &str, input: &[u8], folder: &Path) {
    let blob = format!("blobs/{}", EMPTY.replace(':', "/"));
    let layout = b"{\"imageLayoutVersion\":\"1.0.0\"}";
    let config = b"{\"os\":\"linux\",\"architecture\":\"amd64\",\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[]}}";
    let bytes = tar(&[
        ("oci-layout", layout),
        (&blob, b"{}"),
        ("c.json", config),
        ("l/layer.tar", &[0; 1024]),
        (name, input),
    ]);
    let _ = archive::open_stream("a.tar", &bytes[..], folder, Run::default());
    if let Ok(bundle) = Bundle::open_stream("a.tar", &bytes[..], folder, Run::default()) {
        let _ = (bundle.absent_parts(), bundle.listing(), bundle.entries());
        let _ = bundle.verify(Run::default());
    }
}

/// The `manifest.json` of an archive.
fn docker_archive() -> Target {
    let folder = tempfile::tempdir().unwrap();
    let docker =
        r#"[{"Config":"c.json","RepoTags":["a:b"],"Layers":["l/layer.tar"],"LayerSources":{}}]"#;
    text(
        &[docker, "[]"],
        &["\"Config\":", "\"Layers\":[", "\"RepoTags\":null"],
        move |text| {
            in_archive("manifest.json", text.as_bytes(), folder.path());
        },
    )
}

/// The `index.json` of a folder, alone and in an archive.
fn layout_index() -> Target {
    let folder = tempfile::tempdir().unwrap();
    bytes(manifests(), JSON, move |input| {
        if let Ok(mut index) = Index::parse("index.json", input) {
            let tag: Tag = "v1".parse().unwrap();
            let _ = (
                index.tagged(&tag),
                index.tags(),
                index.descriptors().count(),
                index.untag(&tag),
            );
            Index::parse("index.json", index.to_bytes()).unwrap();
        }
        in_archive("index.json", input, folder.path());
    })
}

/// `config.json` of docker and podman.
fn credential_config() -> Target {
    let examples = [
        r#"{"auths":{"https://index.docker.io/v1/":{"auth":"YTpi"},"h:5000/team":{"username":"a","password":"b"}},"credHelpers":{"q.io":"x"},"credsStore":"y"}"#,
        r#"{"auths":{"h":{"identitytoken":"t","registrytoken":"r"}}}"#,
    ];
    let host: Host = "h:5000".parse().unwrap();
    text(
        &examples,
        &["\"auths\":{", "\"auth\":\"", "YTpi", "Og==", "https://"],
        move |text| {
            let path = Path::new("config.json");
            let Ok(config) = Config::parse(path, text) else {
                return;
            };
            let _ = (
                config.helper(&host),
                config.store(),
                config.helpers().count(),
                config.names(&host),
            );
            for entry in config.entries().chain(config.entry(&host, Some("team/a"))) {
                let _ = (
                    entry.login(path).is_ok(),
                    entry.username(),
                    entry.is_token(),
                );
            }
        },
    )
}

/// Files of certificates.
fn pem() -> Target {
    let folder = tempfile::tempdir().unwrap();
    let key = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIA==\n-----END PRIVATE KEY-----\n";
    let examples = [&format!("{CERTIFICATE}{key}"), CERTIFICATE];
    text(
        &examples,
        &["-----BEGIN ", "-----END ", "CERTIFICATE-----\n", "\r"],
        move |text| {
            let path = folder.path().join("ca.pem");
            std::fs::write(&path, text).unwrap();
            let _ = Tls::default()
                .with_roots(Roots::File(path))
                .home("h.example");
        },
    )
}

/// What bundles have of their own.
fn bundle_index() -> Target {
    let folder = tempfile::tempdir().unwrap();
    let listing = json!({"mediaType": "application/vnd.dxf.bundle.index.v1+json", "against": ["b"],
        "repositories": ["h/a"], "items": [{"digest": EMPTY, "size": 2, "in": [0], "needs": [0]}]});
    let table = json!({"mediaType": "application/vnd.dxf.bundle.parts.v1+json", "parts": 2, "part": 1,
        "blobs": [{"digest": EMPTY, "size": 2, "parts": [1]}]});
    let examples = [listing.to_string(), table.to_string()];
    let examples = [examples[0].as_str(), &examples[1]];
    text(
        &examples,
        &["\"items\":[", "\"in\":[", "\"needs\":[", "\"parts\":"],
        move |text| {
            let _ = Listing::parse("bundle.json", text.as_bytes());
            in_archive("vnd.dxf.parts.json", text.as_bytes(), folder.path());
        },
    )
}

/// Plans of `prune-aliases`.
fn prune_plan() -> Target {
    let empty = String::from_utf8(Plan::new(Vec::new()).to_bytes().unwrap()).unwrap();
    let full = empty.replace(
        "[]",
        &format!(
            "[{{\"repository\":\"a\",\"delete\":[{{\"alias\":\"v1\",\"digest\":\"{DIGEST}\"}}]}}]"
        ),
    );
    text(
        &[&empty, &full],
        &[
            "\"repositories\":",
            "\"delete\":[",
            "\"aliases\":[",
            "\"digest\":",
        ],
        |text| {
            if let Ok(plan) = Plan::parse("plan.json", text.as_bytes()) {
                plan.to_bytes().unwrap();
            }
        },
    )
}

/// A tar that is unpacked into a folder, beside which nothing may appear.
fn artifact_tar() -> Target {
    let outer = tempfile::tempdir().unwrap();
    let target = outer.path().join("target");
    let words = &["../", "/etc/x", "target/../../x", "./", "ustar\0"];
    bytes(tars(), words, move |input| {
        let store = Memory::new();
        let layer = Blob::bytes(
            "application/vnd.oci.image.layer.v1.tar",
            with_checksums(input),
        );
        store.put_blob(&layer, Watch::default()).unwrap();
        let mut listed = serde_json::to_value(layer.descriptor()).unwrap();
        listed["annotations"] =
            json!({"org.opencontainers.image.title": "d", "io.deis.oras.content.unpack": "true"});
        let manifest = json!({"schemaVersion": 2, "artifactType": "text/x", "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": empty("application/vnd.oci.empty.v1+json"), "layers": [listed]});
        let manifest = Manifest::new(None, manifest.to_string().into_bytes()).unwrap();
        let _ = Pull::new(&target).write(&store, &entries(&manifest).unwrap(), Run::default());
        let left: Vec<_> = std::fs::read_dir(outer.path()).unwrap().collect();
        assert!(left.len() <= 1, "{left:?}");
        let _ = std::fs::remove_dir_all(&target);
    })
}

/// Every target, by its name.
pub const ALL: [(&str, Make); 13] = [
    ("reference", reference),
    ("challenge", challenge_header),
    ("link", link_header),
    ("manifest", manifest),
    ("tar", tar_and_pax),
    ("compressed", compressed),
    ("docker-archive", docker_archive),
    ("index", layout_index),
    ("credentials", credential_config),
    ("pem", pem),
    ("bundle", bundle_index),
    ("plan", prune_plan),
    ("artifact", artifact_tar),
];
