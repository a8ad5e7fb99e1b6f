//! Keys that check signatures.

use ring::signature::{self, RsaPublicKeyComponents, UnparsedPublicKey};
use serde::Deserialize;
use serde_json::Value;

use crate::digest::Digest;
use crate::error::{Error, Result};

/// `SubjectPublicKeyInfo` of a P-256 key up to its point (RFC 5480).
const P256_SPKI: &str = "3059301306072a8648ce3d020106082a8648ce3d030107034200";
/// The same of a P-384 key.
const P384_SPKI: &str = "3076301006072a8648ce3d020106052b81040022036200";
/// The algorithm of an RSA key (RFC 8017, A.1).
const RSA_ALGORITHM: &str = "300d06092a864886f70d0101010500";

/// The key a signature was made with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKey(pub(super) Key);

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Key {
    /// The point, uncompressed, as all of them here.
    P256(Vec<u8>),
    P384(Vec<u8>),
    Rsa {
        n: Vec<u8>,
        e: Vec<u8>,
    },
}

/// A key as JSON (RFC 7517), with libtrust's own `kid`.
#[derive(Deserialize)]
struct Jwk {
    kty: String,
    kid: Option<String>,
    #[serde(default)]
    crv: String,
    #[serde(default)]
    x: String,
    #[serde(default)]
    y: String,
    #[serde(default)]
    n: String,
    #[serde(default)]
    e: String,
}

impl PublicKey {
    /// libtrust's fingerprint: twelve groups of four letters and digits.
    pub fn id(&self) -> String {
        let digest = Digest::of(&self.spki()).hex();
        let bytes = hex::decode(digest).unwrap_or_default();
        // 240 bits are 48 letters of five, so nothing is left over.
        let text = base32(&bytes[..bytes.len().min(30)]);
        let groups: Vec<&str> = (0..text.len() / 4)
            .map(|at| &text[4 * at..4 * at + 4])
            .collect();
        groups.join(":")
    }

    pub(super) fn from_jwk(jwk: &Value) -> Result<PublicKey> {
        let jwk = Jwk::deserialize(jwk).map_err(super::bad)?;
        let key = match (jwk.kty.as_str(), jwk.crv.as_str()) {
            ("EC", "P-256") => Key::P256(point(&jwk, 32)?),
            ("EC", "P-384") => Key::P384(point(&jwk, 48)?),
            ("RSA", _) => Key::Rsa {
                n: number(&jwk.n)?,
                e: number(&jwk.e)?,
            },
            (kty, crv) => {
                let what = format!("a signature by a key of kind {kty} {crv}");
                return Err(Error::Unsupported { what });
            }
        };
        let key = PublicKey(key);
        if jwk.kid.is_some_and(|kid| kid != key.id()) {
            return Err(super::bad("the name of a key is wrong (kid)"));
        }
        Ok(key)
    }

    pub(super) fn verify(&self, alg: &str, bytes: &[u8], signed: &[u8]) -> Result<()> {
        let right = match (&self.0, alg) {
            (Key::P256(point), "ES256") => {
                UnparsedPublicKey::new(&signature::ECDSA_P256_SHA256_FIXED, point)
                    .verify(bytes, signed)
            }
            (Key::P384(point), "ES384") => {
                UnparsedPublicKey::new(&signature::ECDSA_P384_SHA384_FIXED, point)
                    .verify(bytes, signed)
            }
            (Key::Rsa { n, e }, "RS256" | "RS384" | "RS512") => {
                let kind = match alg {
                    "RS256" => &signature::RSA_PKCS1_2048_8192_SHA256,
                    "RS384" => &signature::RSA_PKCS1_2048_8192_SHA384,
                    _ => &signature::RSA_PKCS1_2048_8192_SHA512,
                };
                RsaPublicKeyComponents { n, e }.verify(kind, bytes, signed)
            }
            _ => {
                let what = format!("a signature of kind {alg} by such a key");
                return Err(Error::Unsupported { what });
            }
        };
        right.map_err(|_| super::bad("one of them is wrong: the signed bytes differ"))
    }

    /// The key as `SubjectPublicKeyInfo`, DER.
    fn spki(&self) -> Vec<u8> {
        let with = |prefix: &str, bytes: &[u8]| {
            let prefix = hex::decode(prefix).unwrap_or_default();
            [&prefix, bytes].concat()
        };
        match &self.0 {
            Key::P256(point) => with(P256_SPKI, point),
            Key::P384(point) => with(P384_SPKI, point),
            Key::Rsa { n, e } => {
                let pair = der(0x30, &[integer(n), integer(e)].concat());
                let bits = der(0x03, &[&[0], pair.as_slice()].concat());
                der(0x30, &with(RSA_ALGORITHM, &bits))
            }
        }
    }
}

fn point(jwk: &Jwk, len: usize) -> Result<Vec<u8>> {
    let (x, y) = (super::decoded(&jwk.x)?, super::decoded(&jwk.y)?);
    if x.len() != len || y.len() != len {
        return Err(super::bad("a key has numbers of the wrong length"));
    }
    Ok([&[4], x.as_slice(), &y].concat())
}

/// A number without zeros in front.
fn number(text: &str) -> Result<Vec<u8>> {
    let bytes = super::decoded(text)?;
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    Ok(bytes[zeros..].to_vec())
}

/// An element of DER (X.690, 8.1).
pub(super) fn der(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len().to_be_bytes();
    let zeros = length.iter().take_while(|byte| **byte == 0).count();
    let length = &length[zeros..];
    let mut out = vec![tag];
    match length {
        [] => out.push(0),
        [short] if *short < 0x80 => out.push(*short),
        long => {
            out.push(0x80 | long.len() as u8);
            out.extend(long);
        }
    }
    out.extend(content);
    out
}

/// A number without zeros in front, as DER, which has signs.
fn integer(bytes: &[u8]) -> Vec<u8> {
    match bytes.first() {
        Some(first) if *first < 0x80 => der(0x02, bytes),
        _ => der(0x02, &[&[0], bytes].concat()),
    }
}

/// RFC 4648, 6, for whole groups of five bytes.
fn base32(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let mut out = String::new();
    for group in bytes.chunks(5) {
        let bits = group.iter().fold(0u64, |bits, b| bits << 8 | u64::from(*b));
        for at in (0..8).rev() {
            out.push(LETTERS[(bits >> (5 * at)) as usize & 31].into());
        }
    }
    out
}
