//! Signing (feature `schema1-signing`).

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::SystemRandom;
use ring::signature::{self, EcdsaKeyPair, KeyPair};
use rustls::pki_types::{PrivateKeyDer, pem::PemObject};
use serde_json::{Value, json};

use super::key::{Key, PublicKey, der};
use crate::error::{Error, Result};

/// Version and algorithm of a P-256 key in PKCS#8 (RFC 5208, 5915).
const P256_PKCS8: &str = "020100301306072a8648ce3d020106082a8648ce3d030107";
/// What libtrust indents by.
const INDENT: &str = "   ";

/// An EC P-256 key that documents are signed with.
pub struct SigningKey {
    pair: EcdsaKeyPair,
    public: PublicKey,
}

impl SigningKey {
    /// A new key. It suffices as long as the signer's identity does not matter.
    ///
    /// # Errors
    /// [`Error::Unsupported`] when no random numbers can be had.
    pub fn generate() -> Result<SigningKey> {
        let curve = &signature::ECDSA_P256_SHA256_FIXED_SIGNING;
        let made = EcdsaKeyPair::generate_pkcs8(curve, &SystemRandom::new());
        SigningKey::from_pkcs8(made.map_err(|_| no_random())?.as_ref())
    }

    /// The first private key of a PEM file: PKCS#8 (`PRIVATE KEY`) or SEC1
    /// (`EC PRIVATE KEY`), on the curve P-256, not encrypted.
    ///
    /// # Errors
    /// [`Error::Invalid`] for anything else; nothing of the text is in it.
    pub fn from_pem(text: &str) -> Result<SigningKey> {
        if text.contains("ENCRYPTED") {
            return Err(invalid("it is encrypted; openssl pkcs8 -topk8 -nocrypt"));
        }
        match PrivateKeyDer::from_pem_slice(text.as_bytes()) {
            Ok(PrivateKeyDer::Pkcs8(key)) => SigningKey::from_pkcs8(key.secret_pkcs8_der()),
            // ring reads PKCS#8 alone.
            Ok(PrivateKeyDer::Sec1(key)) => {
                let head = hex::decode(P256_PKCS8).unwrap_or_default();
                let wrapped = [head, der(0x04, key.secret_sec1_der())].concat();
                SigningKey::from_pkcs8(&der(0x30, &wrapped))
            }
            Ok(_) => Err(invalid("it is an RSA key; it has to be EC P-256")),
            Err(_) => Err(invalid("it is not a private key in PEM form")),
        }
    }

    fn from_pkcs8(key: &[u8]) -> Result<SigningKey> {
        let curve = &signature::ECDSA_P256_SHA256_FIXED_SIGNING;
        let pair = EcdsaKeyPair::from_pkcs8(curve, key, &SystemRandom::new())
            .map_err(|_| invalid("it is not an EC P-256 key with its public half"))?;
        let point = pair.public_key().as_ref().to_vec();
        Ok(SigningKey {
            pair,
            public: PublicKey(Key::P256(point)),
        })
    }

    /// The public half.
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    fn sign(&self, bytes: &[u8]) -> Result<Vec<u8>> {
        let signed = self.pair.sign(&SystemRandom::new(), bytes);
        Ok(signed.map_err(|_| no_random())?.as_ref().to_vec())
    }
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SigningKey({})", self.public.id())
    }
}

impl PublicKey {
    fn to_jwk(&self) -> Value {
        let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let curve = |crv: &str, point: &[u8]| {
            let (x, y) = point[1..].split_at(point.len() / 2);
            json!({"crv": crv, "kid": self.id(), "kty": "EC", "x": text(x), "y": text(y)})
        };
        match &self.0 {
            Key::P256(point) => curve("P-256", point),
            Key::P384(point) => curve("P-384", point),
            Key::Rsa { n, e } => {
                json!({"e": text(e), "kid": self.id(), "kty": "RSA", "n": text(n)})
            }
        }
    }
}

/// `payload` with a signature of each of `keys`.
///
/// # Errors
/// [`Error::Unsupported`] when `payload` is not JSON object with members, when
/// there are no keys, or when no random numbers can be had.
pub fn sign(payload: &[u8], keys: &[SigningKey]) -> Result<Vec<u8>> {
    let cannot = |what: &str| Error::Unsupported {
        what: what.to_string(),
    };
    let object: serde_json::Map<String, Value> = serde_json::from_slice(payload)
        .map_err(|_| cannot("signing something that is not a JSON object"))?;
    if object.is_empty() || keys.is_empty() {
        return Err(cannot("signing nothing, or with no key"));
    }
    // The closing brace and the space before it make room for the signatures.
    let text = payload.trim_ascii_end();
    let head = text[..text.len() - 1].trim_ascii_end();
    let protected = json!({
        "formatLength": head.len(),
        "formatTail": URL_SAFE_NO_PAD.encode(&payload[head.len()..]),
    });
    let protected = URL_SAFE_NO_PAD.encode(protected.to_string());
    let signed = format!("{protected}.{}", URL_SAFE_NO_PAD.encode(payload));
    let block = |key: &SigningKey| {
        Ok(json!({
            "header": {"jwk": key.public().to_jwk(), "alg": "ES256"},
            "signature": URL_SAFE_NO_PAD.encode(key.sign(signed.as_bytes())?),
            "protected": protected,
        }))
    };
    let blocks: Vec<Value> = keys.iter().map(block).collect::<Result<_>>()?;
    let blocks = String::from_utf8_lossy(&pretty(&Value::Array(blocks))?)
        .replace('\n', &format!("\n{INDENT}"));
    let tail = format!(",\n{INDENT}\"signatures\": {blocks}\n}}");
    Ok([head, tail.as_bytes()].concat())
}

/// JSON as Docker indented it before signing.
///
/// # Errors
/// [`Error::Malformed`] for what can't be written as JSON.
pub(crate) fn pretty(value: &impl serde::Serialize) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    let form = serde_json::ser::PrettyFormatter::with_indent(INDENT.as_bytes());
    value
        .serialize(&mut serde_json::Serializer::with_formatter(&mut out, form))
        .map_err(|e| Error::malformed("manifest", e))?;
    Ok(out)
}

fn invalid(why: &str) -> Error {
    Error::invalid("signing key", "…", why)
}

fn no_random() -> Error {
    Error::Unsupported {
        what: "signing: the system gives no random numbers".to_string(),
    }
}
