//! Certificates for loopback: one authority a test process, and one leaf that
//! is good on every port of `127.0.0.1` and `localhost`, and under one name that
//! only a proxy knows the way to.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use rustls::server::WebPkiClientVerifier;

/// A host name without an address: loopback is never reached through a proxy,
/// and is a private place, so tests of either need a registry elsewhere.
pub const FAR_NAME: &str = "registry.test";

/// A certificate authority and the loopback certificate it signed.
pub struct Ca {
    issuer: CertifiedIssuer<'static, KeyPair>,
    cert_pem: String,
    key_pem: String,
}

impl Ca {
    /// The authority that every server of this process uses unless told
    /// otherwise, so that one CA file opens registry, realm and storage.
    pub fn shared() -> &'static Arc<Ca> {
        static SHARED: OnceLock<Arc<Ca>> = OnceLock::new();
        SHARED.get_or_init(|| Arc::new(Ca::new()))
    }

    /// Another authority: what it signs is not trusted by the shared CA file.
    pub fn new() -> Ca {
        let mut params = CertificateParams::default();
        params
            .distinguished_name
            .push(DnType::CommonName, "dxf test authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().expect("a key");
        let issuer = CertifiedIssuer::self_signed(params, key).expect("an authority");
        let (cert_pem, key_pem) = leaf(&issuer, &["localhost", "127.0.0.1", FAR_NAME]);
        Ca {
            issuer,
            cert_pem,
            key_pem,
        }
    }

    /// The authority's own certificate.
    pub fn pem(&self) -> String {
        self.issuer.pem()
    }

    /// Certificate and key, PEM, of the loopback leaf.
    pub fn loopback(&self) -> (&str, &str) {
        (&self.cert_pem, &self.key_pem)
    }

    /// A fresh leaf for these names, for instance a client's certificate or
    /// one with the wrong name.
    pub fn leaf(&self, names: &[&str]) -> (String, String) {
        leaf(&self.issuer, names)
    }

    /// Writes the authority's certificate into `folder`.
    pub fn write_to(&self, folder: &Path) -> PathBuf {
        let path = folder.join("ca.pem");
        std::fs::write(&path, self.pem()).expect("writing the CA file");
        path
    }

    pub fn server_config(&self) -> Arc<rustls::ServerConfig> {
        let (cert, key) = self.loopback();
        self.server_config_with(cert, key)
    }

    /// A server with another certificate, PEM, than the one for loopback.
    pub fn server_config_with(&self, cert: &str, key: &str) -> Arc<rustls::ServerConfig> {
        let config = rustls::ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .expect("protocol versions")
            .with_no_client_auth();
        finish_server(config, (cert, key))
    }

    /// A server that turns away clients without a certificate of `clients`.
    pub fn server_config_for_clients_of(&self, clients: &Ca) -> Arc<rustls::ServerConfig> {
        let verifier = WebPkiClientVerifier::builder_with_provider(clients.roots(), provider())
            .build()
            .expect("a client verifier");
        let config = rustls::ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .expect("protocol versions")
            .with_client_cert_verifier(verifier);
        finish_server(config, self.loopback())
    }

    pub fn client_config(&self) -> Arc<rustls::ClientConfig> {
        let config = rustls::ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .expect("protocol versions")
            .with_root_certificates(self.roots())
            .with_no_client_auth();
        Arc::new(config)
    }

    fn roots(&self) -> Arc<rustls::RootCertStore> {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(self.issuer.der().clone()).expect("a root");
        Arc::new(roots)
    }
}

fn leaf(issuer: &CertifiedIssuer<'static, KeyPair>, names: &[&str]) -> (String, String) {
    let names: Vec<String> = names.iter().map(|name| name.to_string()).collect();
    let mut params = CertificateParams::new(names).expect("names");
    params
        .distinguished_name
        .push(DnType::CommonName, "dxf test");
    // Python 3.13 verifies strictly and misses this one otherwise.
    params.use_authority_key_identifier_extension = true;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    let key = KeyPair::generate().expect("a key");
    let cert = params.signed_by(&key, issuer).expect("a certificate");
    (cert.pem(), key.serialize_pem())
}

fn finish_server(
    config: rustls::ConfigBuilder<rustls::ServerConfig, rustls::server::WantsServerCert>,
    (cert, key): (&str, &str),
) -> Arc<rustls::ServerConfig> {
    let cert = CertificateDer::from_pem_slice(cert.as_bytes()).expect("a certificate");
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).expect("a key");
    Arc::new(
        config
            .with_single_cert(vec![cert], key)
            .expect("a matching key"),
    )
}

pub fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}
