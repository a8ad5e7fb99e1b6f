//! JSON documents that carry their own signatures, as libtrust writes them
//! (`+prettyjws`): the form of Docker's first manifests.
//!
//! The signatures stand in the document itself, so each of them says what it
//! was made of: the first `formatLength` bytes and the `formatTail` after
//! them. These bytes, the payload, are what the signatures vouch for and what
//! a registry digests. Nothing else in the document may be believed. Signing is
//! the feature `schema1-signing`; what is signed can always be verified.

mod key;
#[cfg(feature = "schema1-signing")]
mod signing;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::Value;

use crate::bounds;
use crate::error::{Error, Result};

pub use key::PublicKey;
#[cfg(feature = "schema1-signing")]
pub(crate) use signing::pretty;
#[cfg(feature = "schema1-signing")]
pub use signing::{SigningKey, sign};

/// More signatures than any document has; checking one takes time.
const MAX_SIGNATURES: usize = bounds::SIGNATURES;
/// A signed document, not verified yet.
#[derive(Debug)]
pub struct Signed {
    payload: Vec<u8>,
    signatures: Vec<Signature>,
}

#[derive(Debug)]
struct Signature {
    header: Header,
    protected: String,
    bytes: Vec<u8>,
}

/// The one member of a document that is looked at.
#[derive(Deserialize)]
struct Document {
    signatures: Option<Vec<Block>>,
}

#[derive(Deserialize)]
struct Block {
    header: Header,
    protected: String,
    signature: String,
}

#[derive(Debug, Deserialize)]
struct Header {
    alg: String,
    jwk: Option<Value>,
}

/// How the payload is found in the document.
#[derive(Clone, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase")]
struct Protected {
    format_length: usize,
    format_tail: String,
}

impl Signed {
    /// The signed document in `document`, `None` when it has no signatures.
    ///
    /// # Errors
    /// [`Error::Malformed`] when it has some, and they can't be read or are of
    /// different bytes.
    pub fn parse(document: &[u8]) -> Result<Option<Signed>> {
        let found: Document = serde_json::from_slice(document).map_err(bad)?;
        let blocks = found.signatures.unwrap_or_default();
        if blocks.len() > MAX_SIGNATURES {
            return Err(bad(format!("{} are too many", blocks.len())));
        }
        let mut format = None;
        let mut signatures = Vec::with_capacity(blocks.len());
        for block in blocks {
            let own: Protected =
                serde_json::from_slice(&decoded(&block.protected)?).map_err(bad)?;
            if format.get_or_insert_with(|| own.clone()) != &own {
                return Err(bad("they cover different bytes"));
            }
            signatures.push(Signature {
                header: block.header,
                protected: block.protected,
                bytes: decoded(&block.signature)?,
            });
        }
        let Some(format) = format else {
            return Ok(None);
        };
        let head = document.get(..format.format_length);
        let head = head.ok_or_else(|| bad("they cover more bytes than the manifest has"))?;
        let payload = [head, &decoded(&format.format_tail)?].concat();
        Ok(Some(Signed {
            payload,
            signatures,
        }))
    }

    /// What was signed.
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// What was signed, without the signatures.
    pub fn into_payload(self) -> Vec<u8> {
        self.payload
    }

    /// Checks every signature; the keys they were made with, in their order.
    /// Whether one of them is to be trusted is for the caller to know.
    ///
    /// # Errors
    /// [`Error::Malformed`] when a signature is wrong, [`Error::Unsupported`]
    /// for one that can't be checked: ES256, ES384, RS256, RS384 and RS512 can,
    /// with the public key beside them.
    pub fn verify(&self) -> Result<Vec<PublicKey>> {
        let payload = URL_SAFE_NO_PAD.encode(&self.payload);
        let check = |signature: &Signature| {
            let jwk = signature.header.jwk.as_ref();
            let jwk = jwk.ok_or_else(|| Error::Unsupported {
                what: "a signature without its public key (jwk)".to_string(),
            })?;
            let key = PublicKey::from_jwk(jwk)?;
            let signed = format!("{}.{payload}", signature.protected);
            key.verify(&signature.header.alg, signed.as_bytes(), &signature.bytes)?;
            Ok(key)
        };
        self.signatures.iter().map(check).collect()
    }
}

fn bad(why: impl std::fmt::Display) -> Error {
    Error::malformed("signatures", why)
}

fn decoded(text: &str) -> Result<Vec<u8>> {
    // libtrust reads padded text too.
    let text = text.trim_end_matches('=');
    URL_SAFE_NO_PAD.decode(text).map_err(bad)
}

#[cfg(all(test, feature = "schema1-signing"))]
mod tests;
