//! Whom to trust, and who to be, in TLS. The system's own certificates are
//! loaded at the first https request and not before: starting up must be cheap.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ureq::tls::{
    Certificate, ClientCert as Identity, PemItem, PrivateKey, RootCerts, TlsConfig, parse_pem,
};

use crate::error::{Error, Result};

/// Certificate files are far smaller; a device or a mistake ends here.
const MAX_PEM: u64 = 16 << 20;

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
    /// The certificates of a PEM file, and no others.
    File(PathBuf),
    /// Nobody: every certificate is taken.
    Unverified,
}

/// The files of a client certificate, PEM.
#[derive(Clone, Debug)]
pub struct ClientCert {
    /// The certificate, its chain behind it.
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
    pub(crate) fn away(&self) -> Result<TlsConfig> {
        self.config(Vec::new(), None)
    }

    /// The configuration towards the registry `authority`.
    pub(crate) fn home(&self, authority: &str) -> Result<TlsConfig> {
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
        extra: Vec<Certificate<'static>>,
        client: Option<ClientCert>,
    ) -> Result<TlsConfig> {
        let mut roots = match &self.roots {
            Roots::System => system_roots(),
            Roots::File(path) => certificates(path)?,
            Roots::Unverified => Vec::new(),
        };
        roots.extend(extra);
        Ok(TlsConfig::builder()
            .root_certs(RootCerts::Specific(Arc::new(roots)))
            .disable_verification(matches!(self.roots, Roots::Unverified))
            .client_cert(client.as_ref().map(identity).transpose()?)
            .build())
    }
}

/// Certificates that can't be read are left out, as everybody does: one bad
/// file in the system's folder must not end all TLS.
fn system_roots() -> Vec<Certificate<'static>> {
    let found = rustls_native_certs::load_native_certs();
    found
        .certs
        .iter()
        .map(|der| Certificate::from_der(der).to_owned())
        .collect()
}

fn identity(client: &ClientCert) -> Result<Identity> {
    let chain = certificates(&client.cert)?;
    let key = PrivateKey::from_pem(&read("client key", &client.key)?).map_err(|_| {
        bad(
            "client key",
            &client.key,
            "it holds no private key in PEM form",
        )
    })?;
    Ok(Identity::new_with_certs(&chain, key))
}

fn certificates(path: &Path) -> Result<Vec<Certificate<'static>>> {
    let pem = read("certificate file", path)?;
    let mut found = Vec::new();
    for item in parse_pem(&pem) {
        match item {
            Ok(PemItem::Certificate(certificate)) => found.push(certificate),
            Ok(_) => {}
            Err(_) => return Err(bad("certificate file", path, "it is damaged")),
        }
    }
    if found.is_empty() {
        return Err(bad(
            "certificate file",
            path,
            "it holds no certificate in PEM form",
        ));
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

type HostFiles = (Vec<Certificate<'static>>, Option<ClientCert>);

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
        let RootCerts::Specific(roots) = tls.away().unwrap().root_certs().clone() else {
            panic!()
        };
        assert_eq!(roots.len(), 1);
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
        assert!(there.client_cert().is_some() && there.disable_verification());
        assert!(tls.home("r.example").unwrap().client_cert().is_none());
        assert!(tls.away().unwrap().client_cert().is_none());
    }
}
