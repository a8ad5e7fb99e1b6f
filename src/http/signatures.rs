//! The signatures that certificates carry and ring can't check: those of NIST's
//! P-521, and SHA-512 with its smaller curves (rustls#2536). Everything else is
//! ring's.

use std::sync::{Arc, OnceLock};

use ecdsa::signature::hazmat::PrehashVerifier;
use rustls::SignatureScheme;
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, ring};
use rustls::pki_types::{
    AlgorithmIdentifier, InvalidSignature, SignatureVerificationAlgorithm, alg_id,
};
use sha2::{Digest, Sha512};

/// Checks, with a public key, a sum against its signature.
type Check = fn(&[u8], &[u8], &[u8]) -> Option<()>;

/// An ECDSA signature over a SHA-512 sum.
#[derive(Debug)]
struct Sha512With {
    curve: AlgorithmIdentifier,
    check: Check,
}

impl SignatureVerificationAlgorithm for Sha512With {
    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        self.curve
    }

    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        alg_id::ECDSA_SHA512
    }

    fn verify_signature(
        &self,
        public_key: &[u8],
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), InvalidSignature> {
        let sum = Sha512::digest(message);
        (self.check)(public_key, &sum, signature).ok_or(InvalidSignature)
    }
}

macro_rules! with {
    ($curve:ident, $id:ident) => {
        &Sha512With {
            curve: alg_id::$id,
            check: |key, sum, signature| {
                let key = $curve::ecdsa::VerifyingKey::from_sec1_bytes(key).ok()?;
                let signature = $curve::ecdsa::DerSignature::from_bytes(signature).ok()?;
                key.verify_prehash(sum, &signature).ok()
            },
        }
    };
}

static P256: &Sha512With = with!(p256, ECDSA_P256);
static P384: &Sha512With = with!(p384, ECDSA_P384);
static P521: &Sha512With = with!(p521, ECDSA_P521);

/// What TLS is made with: ring, and the signatures above.
pub fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    PROVIDER
        .get_or_init(|| Arc::new(with_ours(ring::default_provider())))
        .clone()
}

fn with_ours(provider: CryptoProvider) -> CryptoProvider {
    let known = provider.signature_verification_algorithms;
    let mut all = known.all.to_vec();
    all.extend([P256 as &dyn SignatureVerificationAlgorithm, P384, P521]);
    let mut mapping = known.mapping.to_vec();
    // In TLS 1.3 the scheme fixes the curve and the first counts; in TLS 1.2 it
    // fixes the sum alone.
    let ours: Vec<&'static dyn SignatureVerificationAlgorithm> = vec![P521, P256, P384];
    mapping.push((SignatureScheme::ECDSA_NISTP521_SHA512, Vec::leak(ours)));
    // rustls wants these for ever; they are made once.
    CryptoProvider {
        signature_verification_algorithms: WebPkiSupportedAlgorithms {
            all: Vec::leak(all),
            mapping: Vec::leak(mapping),
        },
        ..provider
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::verifier::Trusting;
    use rustls::client::danger::ServerCertVerifier;
    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, ServerName, UnixTime};

    /// An authority and its certificate for `localhost`, made by
    /// `openssl x509 -req -sha512 -days 36500` with keys of one curve.
    const P521_BOTH: &str = "\
-----BEGIN CERTIFICATE-----
MIICAzCCAWSgAwIBAgIUJTeb8AO3AnrGdBSri7vAuY6TTz0wCgYIKoZIzj0EAwQw
EjEQMA4GA1UEAwwHQ0EgcDUyMTAgFw0yNjExMjkwNDQ0NTdaGA8yMTI2MTEwNTA0
NDQ1N1owEjEQMA4GA1UEAwwHQ0EgcDUyMTCBmzAQBgcqhkjOPQIBBgUrgQQAIwOB
hgAEADtTcavp6Gge8+GwD1wwNZGC7yDLW636qKMGrE4zoICdmfYh0jzrJvr1MLzh
ulUum+5tOOEzXyu9guuNXYA/TAWRAKWS3IpmoCKiwW9Y7Avq4oon39FTD6qg3p5E
3FpRU4btXBiAX5E5H4n5M8b5CWr2KIOEHYxXsEzQ/p3ht21ooRCZo1MwUTAdBgNV
HQ4EFgQUSu58kSqqQIBOqLkXg9YozfAfi8EwHwYDVR0jBBgwFoAUSu58kSqqQIBO
qLkXg9YozfAfi8EwDwYDVR0TAQH/BAUwAwEB/zAKBggqhkjOPQQDBAOBjAAwgYgC
QgHHwMR4/4OAmTWFSWh09ZjWnqWJosGZ6uUShDyEc7sEkCi0QbeePkdqesfJ6Lov
PqX4EQpY1YdLrYu53+lnxQLBRAJCAd6WOXdVNWYEoSCbMbXY8CjqLzk5pEo/LGtu
WgTw/D50zlxMPuH1vV9vpZjXI6Y//F96APui+nfksAws2Ty8Sxph
-----END CERTIFICATE-----
-----BEGIN CERTIFICATE-----
MIICCTCCAWugAwIBAgIUXtefzLUPX8zYFoNsna4d7kxHlZwwCgYIKoZIzj0EAwQw
EjEQMA4GA1UEAwwHQ0EgcDUyMTAgFw0yNjExMjkwNDQ0NThaGA8yMTI2MTEwNTA0
NDQ1OFowFDESMBAGA1UEAwwJbG9jYWxob3N0MIGbMBAGByqGSM49AgEGBSuBBAAj
A4GGAAQAneFnHV4RXUGiZ0sVWshHM1lMPRb6Z4wD7nTM6tw3tdUFm5n0arJZ4Nor
bn2htdPaVzC8pL1fyEuRlgRpeTTRjAkB2dWbzE466WcqrCx4sjcaAd5Pjy8jDqe8
h3j0G7vfYOd+fJe8Yb4bz8UZzP+Fqm/KkJR+DYJntSipo5XVwVr9YMSjWDBWMBQG
A1UdEQQNMAuCCWxvY2FsaG9zdDAdBgNVHQ4EFgQU3+yFufDSEmgLGfDFTQR+sMet
URswHwYDVR0jBBgwFoAUSu58kSqqQIBOqLkXg9YozfAfi8EwCgYIKoZIzj0EAwQD
gYsAMIGHAkIBPEbJ3Xbq0Oh2iSQ1YKA2lwUSXhSVIKQQD+fPtsXMUE+xgy+dYcYg
bJn/J/FfzRIQnnaaZXihpVIZrrj45/Hb4UMCQV+DChyu6ANw1DQm/l+zWEE0ozVr
qQ5CjSlUTBf9xYMAjIsuXR3NUZfYHTMkRJ6ClJFIGOryDr3x/Jv8/bz7q/tR
-----END CERTIFICATE-----";
    /// The same with an authority of P-384 and a server of P-256.
    const P384_OVER_P256: &str = "\
-----BEGIN CERTIFICATE-----
MIIBuTCCAT6gAwIBAgIURTuG+Dq45a5/21uVTDM5UDD0dLgwCgYIKoZIzj0EAwQw
EjEQMA4GA1UEAwwHQ0EgcDM4NDAgFw0yNjExMjkwNDQ0NThaGA8yMTI2MTEwNTA0
NDQ1OFowEjEQMA4GA1UEAwwHQ0EgcDM4NDB2MBAGByqGSM49AgEGBSuBBAAiA2IA
BNWy/0LmbSlNOAQ47gbKYJchyog+gu3Is6JilhScA+xqh6/WPMCScmyZRU0zzjWi
9NoULFZkaN3v6lrUFMgrShc+uRdxZeijyEri+6nUWFp78JKh3sIUoZUpFVVARZpa
rKNTMFEwHQYDVR0OBBYEFJopP7OEu3C7B0LOkBsydBWsHO+SMB8GA1UdIwQYMBaA
FJopP7OEu3C7B0LOkBsydBWsHO+SMA8GA1UdEwEB/wQFMAMBAf8wCgYIKoZIzj0E
AwQDaQAwZgIxAKkFDReGwGDPhDi4ZzhzST4ua39d+AZ/VoQXjaTeMswiGcLg4zGd
UpblVKEQGfZ/nAIxALxiBbAamhxOX1V+t+Yb7KFzLg7KpOrBN/dUA7NCNMFHlbtH
D6DAcBSJRFG2duPedg==
-----END CERTIFICATE-----
-----BEGIN CERTIFICATE-----
MIIBozCCASigAwIBAgIULsr/F8YtuyzsK64Wb7ZGFvavclQwCgYIKoZIzj0EAwQw
EjEQMA4GA1UEAwwHQ0EgcDM4NDAgFw0yNjExMjkwNDQ0NThaGA8yMTI2MTEwNTA0
NDQ1OFowFDESMBAGA1UEAwwJbG9jYWxob3N0MFkwEwYHKoZIzj0CAQYIKoZIzj0D
AQcDQgAEIydidYrL9b2nlUTBKspKgGk51p6yd9B84naBfLcmuGnE9K5Tcp50xAJj
SduwKzNDRrYOm5nOPPdHHH4zAvIY6aNYMFYwFAYDVR0RBA0wC4IJbG9jYWxob3N0
MB0GA1UdDgQWBBQ/IIA37f4p2yhus98JhfmCkiB7xzAfBgNVHSMEGDAWgBSaKT+z
hLtwuwdCzpAbMnQVrBzvkjAKBggqhkjOPQQDBANpADBmAjEAwIxUabR51VIcYjCK
kgcUKUcdjcg0NPFAR1usPAO5QDR/8W+mdwW6vg8VXnnEjVrRAjEA070cFjnnxE1r
30prM1zQHNOf9tcCNcU0DcEUKczBEuSYXs+aDzWOO5V/czaUb9b4
-----END CERTIFICATE-----";
    /// The same with P-256 for both.
    const P256_BOTH: &str = "\
-----BEGIN CERTIFICATE-----
MIIBezCCASGgAwIBAgIUX2sLEM/wp1zx5WmZhsW9HAmOQRkwCgYIKoZIzj0EAwQw
EjEQMA4GA1UEAwwHQ0EgcDI1NjAgFw0yNjExMjkwNDQ0NThaGA8yMTI2MTEwNTA0
NDQ1OFowEjEQMA4GA1UEAwwHQ0EgcDI1NjBZMBMGByqGSM49AgEGCCqGSM49AwEH
A0IABPr3GFzH5h8MVibypZKrq34P6OdSiWbAe69g5zjQAysTWBh+gONoR6gN1AFH
ZUvZWaoTqYKwCCC32ZzZcur408+jUzBRMB0GA1UdDgQWBBTHKGeC5zOsEFeWx2TB
MqqCYCQNzjAfBgNVHSMEGDAWgBTHKGeC5zOsEFeWx2TBMqqCYCQNzjAPBgNVHRMB
Af8EBTADAQH/MAoGCCqGSM49BAMEA0gAMEUCIQCbE85mM0SHbKxi8cl75X8hFUX4
8DjvtJ/WvEG7hl7KagIgPS22jYn7dJyfft1Iwk2+qlvoE5jK1nngUxiHkYtc2dM=
-----END CERTIFICATE-----
-----BEGIN CERTIFICATE-----
MIIBgjCCASigAwIBAgIUBpj7ryCle2d6jnuoRykl4GMCHoQwCgYIKoZIzj0EAwQw
EjEQMA4GA1UEAwwHQ0EgcDI1NjAgFw0yNjExMjkwNDQ0NThaGA8yMTI2MTEwNTA0
NDQ1OFowFDESMBAGA1UEAwwJbG9jYWxob3N0MFkwEwYHKoZIzj0CAQYIKoZIzj0D
AQcDQgAE+VZQQn1gyJvZp5kdvBbGs5hRBkZl2H2RXiRiYJtlVJxE/hsZEOM3gaWt
4qvuRvy837TREffg/KCjxw/VyvfZG6NYMFYwFAYDVR0RBA0wC4IJbG9jYWxob3N0
MB0GA1UdDgQWBBSY8/hi7+3cKpztFGJaR6VG2oUuGDAfBgNVHSMEGDAWgBTHKGeC
5zOsEFeWx2TBMqqCYCQNzjAKBggqhkjOPQQDBANIADBFAiEAjEeFbIRD+tq7/DPj
3w1NVrQikGnu77BD8j7OKJLmm1kCIDSKJb0IVwKDI6BIxKmB0rdeGWnBDHCgBiG6
HXxGih3h
-----END CERTIFICATE-----";

    #[test]
    fn sha512_with_every_curve_is_checked() {
        let name = ServerName::try_from("localhost").unwrap();
        for pem in [P521_BOTH, P384_OVER_P256, P256_BOTH] {
            let both: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
            let [authority, server] = &both.unwrap()[..] else {
                panic!("two certificates");
            };
            let judge = Trusting::new(vec![authority.clone()], provider()).unwrap();
            let ask = |server: &CertificateDer<'_>| {
                judge.verify_server_cert(server, &[], &name, &[], UnixTime::now())
            };
            ask(server).unwrap();
            // The last byte is of the signature.
            let mut forged = server.to_vec();
            *forged.last_mut().unwrap() ^= 1;
            assert!(ask(&forged.into()).is_err());
        }
    }
}
