//! Whom to trust, and who to be, in TLS. The system's own certificates are
//! loaded at the first https request and not before: starting up must be cheap.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::bounds;
use crate::error::{Error, Result};
use crate::http::signatures::provider;
use crate::http::verifier::{Careless, Trusting};

/// Certificate files are far smaller; a device or a mistake ends here.
const MAX_PEM: u64 = bounds::CERTIFICATES;

/// What TLS connections are made with.
#[derive(Clone, Default)]
pub struct Tls {
    /// Who vouches for servers.
    pub roots: Roots,
    /// Who to be, towards the registry's own host only.
    pub client: Option<ClientCert>,
    /// Folders in the manner of Docker's `certs.d`: below each, a folder named
    /// `host[:port]` may hold `*.crt` (trusted beside the roots) and
    /// `*.cert` with `*.key` (who to be), for that host only.
    pub certs_d: Vec<PathBuf>,
}

/// Who vouches for servers.
#[derive(Clone, Debug, Default)]
pub enum Roots {
    /// The operating system's certificates.
    #[default]
    System,
    /// The certificates of a PEM file, and no others; or of a folder whose files
    /// are named as `openssl rehash` names them. A server's own certificate is
    /// trusted unchanged.
    File(PathBuf),
    /// None: any certificate is accepted.
    Unverified,
}

/// The files of a client certificate, PEM.
#[derive(Clone, Debug)]
pub struct ClientCert {
    /// The certificate, followed by its chain.
    pub cert: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

impl Tls {
    /// Others who vouch for servers.
    pub fn with_roots(mut self, roots: Roots) -> Tls {
        self.roots = roots;
        self
    }

    /// Who to be, towards the registry's own host only.
    pub fn with_client(mut self, client: ClientCert) -> Tls {
        self.client = Some(client);
        self
    }

    /// The configuration towards strangers: no client certificate.
    pub(crate) fn away(&self) -> Result<Arc<ClientConfig>> {
        self.config(Vec::new(), None)
    }

    /// The configuration towards the registry `authority`.
    pub(crate) fn home(&self, authority: &str) -> Result<Arc<ClientConfig>> {
        let mut extra = Vec::new();
        let mut client = self.client.clone();
        for folder in &self.certs_d {
            let (roots, found) = read_certs_d(&folder.join(authority))?;
            extra.extend(roots);
            client = client.or(found);
        }
        self.config(extra, client)
    }

    fn config(
        &self,
        extra: Vec<CertificateDer<'static>>,
        client: Option<ClientCert>,
    ) -> Result<Arc<ClientConfig>> {
        let broken = |why: String| Error::Unsupported {
            what: format!("TLS: {why}"),
        };
        let verifier: Arc<dyn ServerCertVerifier> = match &self.roots {
            Roots::Unverified => Arc::new(Careless(provider())),
            roots => {
                let mut trusted = match roots {
                    Roots::File(path) if path.is_dir() => rehashed(path)?,
                    Roots::File(path) => certificates(path)?,
                    _ => system_roots(),
                };
                trusted.extend(extra);
                Arc::new(Trusting::new(trusted, provider()).map_err(broken)?)
            }
        };
        let config = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(|e| broken(e.to_string()))?
            .dangerous()
            .with_custom_certificate_verifier(verifier);
        Ok(Arc::new(match client {
            None => config.with_no_client_auth(),
            Some(client) => {
                let chain = certificates(&client.cert)?;
                let key = private_key(&client.key)?;
                config.with_client_auth_cert(chain, key).map_err(|_| {
                    let why = "its type is not supported, or it belongs to another certificate";
                    bad("client key", &client.key, why)
                })?
            }
        }))
    }
}

/// Certificates that can't be read are skipped, as in other programs: one bad
/// file in the system's folder must not end all TLS.
fn system_roots() -> Vec<CertificateDer<'static>> {
    rustls_native_certs::load_native_certs().certs
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>> {
    PrivateKeyDer::from_pem_slice(&read("client key", path)?).map_err(|_| {
        let why = "it contains no private key in PEM form";
        bad("client key", path, why)
    })
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let pem = read("certificate file", path)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let found = found.map_err(|_| bad("certificate file", path, "it is damaged"))?;
    if found.is_empty() {
        let why = "it contains no certificate in PEM form";
        return Err(bad("certificate file", path, why));
    }
    Ok(found)
}

/// The certificates that OpenSSL finds in a folder: those in files named by a
/// hash of eight digits and a number.
fn rehashed(folder: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let what = || format!("certificate folder {}", folder.display());
    let entries = fs::read_dir(folder).map_err(|e| Error::io(what(), e))?;
    let is_hash = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str());
        name.and_then(|name| name.split_once('.'))
            .is_some_and(|(hash, number)| {
                hash.len() == 8
                    && hash.bytes().all(|b| b.is_ascii_hexdigit())
                    && !number.is_empty()
                    && number.bytes().all(|b| b.is_ascii_digit())
            })
    };
    let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    files.retain(is_hash);
    files.sort();
    let mut found = Vec::new();
    for file in &files {
        found.extend(certificates(file)?);
    }
    if found.is_empty() {
        let why = "it contains no certificate that openssl rehash has named";
        return Err(bad("certificate folder", folder, why));
    }
    Ok(found)
}

fn read(what: &'static str, path: &Path) -> Result<Vec<u8>> {
    let open = || fs::File::open(path);
    let file = open().map_err(|e| Error::io(format!("{what} {}", path.display()), e))?;
    crate::stream::read_bounded(&path.display().to_string(), file, MAX_PEM)
}

fn bad(what: &'static str, path: &Path, why: &str) -> Error {
    Error::invalid(what, path.display().to_string(), why)
}

type HostFiles = (Vec<CertificateDer<'static>>, Option<ClientCert>);

fn read_certs_d(folder: &Path) -> Result<HostFiles> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Ok((Vec::new(), None));
    };
    let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    files.sort();
    let with = |extension: &'static str| {
        files
            .iter()
            .filter(move |file| file.extension().is_some_and(|e| e == extension))
    };
    let mut roots = Vec::new();
    for file in with("crt") {
        roots.extend(certificates(file)?);
    }
    let client = with("cert").find_map(|cert| {
        let key = cert.with_extension("key");
        key.is_file().then(|| ClientCert {
            cert: cert.clone(),
            key,
        })
    });
    Ok((roots, client))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made() -> (String, String) {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_string()]).unwrap();
        (made.cert.pem(), made.signing_key.serialize_pem())
    }

    #[test]
    fn files_replace_the_system_and_must_hold_something() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ca.pem");
        let tls = Tls {
            roots: Roots::File(path.clone()),
            ..Tls::default()
        };
        assert!(matches!(tls.away(), Err(Error::Io { .. })));
        fs::write(&path, "no certificate here").unwrap();
        assert!(matches!(tls.away(), Err(Error::Invalid { .. })));
        fs::write(&path, made().0).unwrap();
        assert!(tls.away().is_ok());
    }

    #[test]
    fn folders_are_read_as_openssl_reads_them() {
        let dir = tempfile::tempdir().unwrap();
        let roots = Roots::File(dir.path().to_path_buf());
        let tls = Tls::default().with_roots(roots);
        fs::write(dir.path().join("ca.pem"), made().0).unwrap();
        assert!(matches!(tls.away(), Err(Error::Invalid { .. })));
        fs::write(dir.path().join("0a1b2c3d.0"), made().0).unwrap();
        fs::write(dir.path().join("0a1b2c3d.r0"), "a list of revoked ones").unwrap();
        fs::write(dir.path().join("0a1b2c3d.10"), made().0).unwrap();
        assert_eq!(rehashed(dir.path()).unwrap().len(), 2);
        assert!(tls.away().is_ok());
    }

    #[test]
    fn a_key_of_another_certificate_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let (cert, key) = (dir.path().join("cert"), dir.path().join("key"));
        fs::write(&cert, made().0).unwrap();
        fs::write(&key, made().1).unwrap();
        let tls = Tls::default().with_roots(Roots::Unverified);
        let tls = tls.with_client(ClientCert { cert, key });
        let said = tls.home("r.example").err().unwrap().to_string();
        assert!(said.contains("another certificate"), "{said}");
        assert!(tls.away().is_ok());
    }

    #[test]
    fn certs_d_speaks_for_its_host_only() {
        let dir = tempfile::tempdir().unwrap();
        let host = dir.path().join("r.example:5000");
        fs::create_dir(&host).unwrap();
        let (cert, key) = made();
        fs::write(host.join("ca.crt"), &cert).unwrap();
        fs::write(host.join("me.cert"), &cert).unwrap();
        fs::write(host.join("me.key"), &key).unwrap();
        let tls = Tls {
            roots: Roots::Unverified,
            certs_d: vec![dir.path().to_path_buf()],
            ..Tls::default()
        };
        let there = tls.home("r.example:5000").unwrap();
        assert!(there.client_auth_cert_resolver.has_certs());
        for other in [tls.home("r.example"), tls.away()] {
            assert!(!other.unwrap().client_auth_cert_resolver.has_certs());
        }
    }
}
