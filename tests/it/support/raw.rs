//! Speaks to a registry without the code under test: what a test puts there
//! beforehand, and looks at afterwards.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ureq::tls::{Certificate, RootCerts, TlsConfig};

use super::data::digest;
use super::tls::{Ca, provider};
use super::token::Mint;
use super::wire::Headers;

/// Who to be.
#[derive(Clone, Default)]
pub enum Login {
    #[default]
    Nobody,
    /// A whole `Authorization` value.
    Header(String),
    /// A fresh token with every right, a request.
    Minted(Mint),
}

impl Login {
    pub fn basic(user: &str, password: &str) -> Login {
        let pair = STANDARD.encode(format!("{user}:{password}"));
        Login::Header(format!("Basic {pair}"))
    }
}

/// An answer, read to its end.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: Headers,
    pub body: Vec<u8>,
}

impl Answer {
    /// This answer, if it has this status.
    pub fn expect(self, status: u16) -> Answer {
        let body = String::from_utf8_lossy(&self.body);
        assert_eq!(self.status, status, "{body}");
        self
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("text")
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).expect("JSON")
    }
}

/// A client that trusts the shared authority, follows nothing and repeats
/// nothing.
pub struct Raw {
    origin: String,
    login: Login,
    agent: ureq::Agent,
}

impl Raw {
    pub fn new(origin: &str, login: Login) -> Raw {
        let ca = Certificate::from_pem(Ca::shared().pem().as_bytes()).expect("a certificate");
        let tls = TlsConfig::builder()
            .unversioned_rustls_crypto_provider(provider())
            .root_certs(RootCerts::new_with_certs(&[ca]))
            .build();
        let config = ureq::Agent::config_builder()
            .tls_config(tls)
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .allow_non_standard_methods(true)
            .proxy(None)
            .build();
        Raw {
            origin: origin.to_string(),
            login,
            agent: config.into(),
        }
    }

    /// One request to a path of this origin, or to a whole URL.
    pub fn send(
        &self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Answer {
        let url = match target.starts_with('/') {
            true => format!("{}{target}", self.origin),
            false => target.to_string(),
        };
        let mut request = http::Request::builder().method(method).uri(&url);
        if let Some(value) = self.authorization(&url) {
            request = request.header("Authorization", value);
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let bodiless = matches!(method, "GET" | "HEAD" | "DELETE");
        let answer = if bodiless {
            self.agent.run(request.body(()).expect("a request"))
        } else {
            self.agent.run(request.body(body).expect("a request"))
        };
        let mut answer = answer.unwrap_or_else(|error| panic!("{method} {url}: {error}"));
        let mut fields = Headers::default();
        for (name, value) in answer.headers() {
            fields.add(name.as_str(), &String::from_utf8_lossy(value.as_bytes()));
        }
        let body = answer
            .body_mut()
            .with_config()
            .limit(u64::MAX)
            .read_to_vec();
        Answer {
            status: answer.status().as_u16(),
            headers: fields,
            body: body.unwrap_or_else(|error| panic!("{method} {url}: {error}")),
        }
    }

    pub fn get(&self, target: &str) -> Answer {
        self.send("GET", target, &[], b"")
    }

    /// Uploads a blob; its digest.
    pub fn push_blob(&self, repo: &str, bytes: &[u8]) -> String {
        let digest = digest(bytes);
        let session = self
            .send("POST", &format!("/v2/{repo}/blobs/uploads/"), &[], b"")
            .expect(202);
        let location = session.headers.get("location").expect("a Location");
        let target = format!("{location}&digest={digest}");
        let kind = [("Content-Type", "application/octet-stream")];
        self.send("PUT", &target, &kind, bytes).expect(201);
        digest
    }

    /// Puts a manifest under a tag or its digest; its digest.
    pub fn put_manifest(
        &self,
        repo: &str,
        reference: &str,
        media_type: &str,
        bytes: &[u8],
    ) -> String {
        let target = format!("/v2/{repo}/manifests/{reference}");
        self.send("PUT", &target, &[("Content-Type", media_type)], bytes)
            .expect(201);
        digest(bytes)
    }

    /// A manifest as stored; asks for every kind.
    pub fn manifest(&self, repo: &str, reference: &str) -> Answer {
        let kinds = [
            "application/vnd.oci.image.manifest.v1+json",
            "application/vnd.oci.image.index.v1+json",
            "application/vnd.docker.distribution.manifest.v2+json",
            "application/vnd.docker.distribution.manifest.list.v2+json",
        ];
        let target = format!("/v2/{repo}/manifests/{reference}");
        self.send("GET", &target, &[("Accept", &kinds.join(", "))], b"")
    }

    pub fn blob(&self, repo: &str, digest: &str) -> Answer {
        self.get(&format!("/v2/{repo}/blobs/{digest}"))
    }

    pub fn has_blob(&self, repo: &str, digest: &str) -> bool {
        let target = format!("/v2/{repo}/blobs/{digest}");
        self.send("HEAD", &target, &[], b"").status == 200
    }

    pub fn tags(&self, repo: &str) -> Vec<String> {
        let answer = self.get(&format!("/v2/{repo}/tags/list"));
        if answer.status == 404 {
            return Vec::new();
        }
        let tags = answer.expect(200).json()["tags"].take();
        serde_json::from_value::<Option<Vec<String>>>(tags)
            .expect("a list of tags")
            .unwrap_or_default()
    }

    fn authorization(&self, url: &str) -> Option<String> {
        match &self.login {
            Login::Nobody => None,
            Login::Header(value) => Some(value.clone()),
            Login::Minted(mint) => {
                let token = mint.token(&scopes(url));
                Some(format!("Bearer {token}"))
            }
        }
    }
}

/// What a token has to allow for this URL, and for a mount's source.
fn scopes(url: &str) -> Vec<String> {
    let (path, query) = super::wire::split_target(url);
    let name = path.split_once("/v2/").map_or("", |(_, rest)| rest);
    if name.starts_with("_catalog") {
        return vec!["registry:catalog:*".to_string()];
    }
    let ends = ["/blobs/", "/manifests/", "/tags/", "/referrers/"];
    let end = ends.iter().find_map(|end| name.find(end));
    let from = super::wire::pairs(query)
        .into_iter()
        .find_map(|(key, value)| (key == "from").then_some(value));
    end.map(|end| name[..end].to_string())
        .into_iter()
        .chain(from)
        .map(|repo| format!("repository:{repo}:pull,push,delete"))
        .collect()
}
