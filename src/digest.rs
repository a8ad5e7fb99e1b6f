//! Content digests: `sha256:<64 hex>` and `sha512:<128 hex>`.
//!
//! A digest is parsed once, at the edge, and copied ever after; nothing else in
//! the crate handles digests as text. Algorithms other than the two registered
//! ones are refused before any request is made (image-spec, descriptor.md,
//! "Digests"). Knows nothing of files or HTTP.

use std::fmt;
use std::io::{self, Read};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest as _, Sha256, Sha512};

use crate::error::{Error, Result};

/// The name of some bytes: their hash and its algorithm.
///
/// ```
/// use dxf_registry::Digest;
/// let abc = Digest::of(b"abc");
/// assert!(abc.to_string().starts_with("sha256:ba7816bf"));
/// assert_eq!(abc.to_string().parse::<Digest>().unwrap(), abc);
/// assert!("sha256:BA78".parse::<Digest>().is_err());
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest(Sum);

#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Sum {
    Sha256([u8; 32]),
    Sha512([u8; 64]),
}

impl Digest {
    /// The sha256 digest of `bytes`.
    pub fn of(bytes: &[u8]) -> Digest {
        Digest(Sum::Sha256(Sha256::digest(bytes).into()))
    }

    /// `sha256` or `sha512`.
    pub fn algorithm(&self) -> &'static str {
        match self.0 {
            Sum::Sha256(_) => "sha256",
            Sum::Sha512(_) => "sha512",
        }
    }

    /// The hash alone, in lower-case hexadecimal.
    pub fn hex(&self) -> String {
        match &self.0 {
            Sum::Sha256(sum) => hex::encode(sum),
            Sum::Sha512(sum) => hex::encode(sum),
        }
    }
}

impl FromStr for Digest {
    type Err = Error;

    fn from_str(word: &str) -> Result<Digest> {
        let bad = |why: &str| Error::invalid("digest", word, why);
        let (algorithm, text) = word
            .split_once(':')
            .ok_or_else(|| bad("it must look like sha256:<64 hexadecimal digits>"))?;
        let (mut short, mut long) = ([0; 32], [0; 64]);
        let sum: &mut [u8] = match algorithm {
            "sha256" => &mut short,
            "sha512" => &mut long,
            _ => return Err(bad("only sha256 and sha512 are known")),
        };
        if text.len() != 2 * sum.len() {
            return Err(bad(&format!(
                "{algorithm} takes {} hexadecimal digits",
                2 * sum.len()
            )));
        }
        // Upper case is another string for the same bytes, and the spec forbids it.
        if text.bytes().any(|b| b.is_ascii_uppercase()) || hex::decode_to_slice(text, sum).is_err()
        {
            return Err(bad("expected lower-case hexadecimal after the colon"));
        }
        Ok(Digest(match algorithm {
            "sha256" => Sum::Sha256(short),
            _ => Sum::Sha512(long),
        }))
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.algorithm(), self.hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Digest, D::Error> {
        let word = std::borrow::Cow::<'de, str>::deserialize(from)?;
        word.parse().map_err(serde::de::Error::custom)
    }
}

/// Computes a [`Digest`] from bytes that arrive in pieces.
#[derive(Clone)]
pub struct Hasher(State);

#[derive(Clone)]
enum State {
    Sha256(Sha256),
    Sha512(Box<Sha512>),
}

impl Hasher {
    /// A hasher for sha256.
    pub fn new() -> Hasher {
        Hasher(State::Sha256(Sha256::new()))
    }

    /// A hasher of the algorithm that `digest` uses.
    pub fn like(digest: &Digest) -> Hasher {
        Hasher(match digest.0 {
            Sum::Sha256(_) => State::Sha256(Sha256::new()),
            Sum::Sha512(_) => State::Sha512(Box::new(Sha512::new())),
        })
    }

    /// Takes the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        match &mut self.0 {
            State::Sha256(state) => state.update(bytes),
            State::Sha512(state) => state.update(bytes),
        }
    }

    /// The digest of all bytes taken.
    pub fn finish(self) -> Digest {
        Digest(match self.0 {
            State::Sha256(state) => Sum::Sha256(state.finalize().into()),
            State::Sha512(state) => Sum::Sha512(state.finalize().into()),
        })
    }
}

impl Default for Hasher {
    fn default() -> Hasher {
        Hasher::new()
    }
}

/// A reader whose bytes are hashed on the way.
pub(crate) struct Hashed<R> {
    inner: R,
    hasher: Hasher,
}

impl<R: Read> Hashed<R> {
    pub(crate) fn new(inner: R) -> Hashed<R> {
        Hashed {
            inner,
            hasher: Hasher::new(),
        }
    }

    /// The digest of what was read.
    pub(crate) fn finish(self) -> Digest {
        self.hasher.finish()
    }
}

impl<R: Read> Read for Hashed<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buf)?;
        self.hasher.update(&buf[..n]);
        Ok(n)
    }
}

/// A reader that fails instead of reporting the end of wrong bytes.
///
/// The last `read` returns [`Error::Mismatch`] or [`Error::Size`] (inside an
/// [`io::Error`]) where a plain reader would return 0. No byte beyond the
/// expected size is ever handed out.
pub struct Verify<R> {
    inner: R,
    hasher: Option<Hasher>,
    expected: Digest,
    size: Option<u64>,
    seen: u64,
}

impl<R: Read> Verify<R> {
    /// Verifies everything `inner` yields against `expected`, and its length
    /// against `size` bytes where that is known.
    pub fn new(inner: R, expected: Digest, size: Option<u64>) -> Verify<R> {
        Verify::resume(inner, expected, size, Hasher::like(&expected), 0)
    }

    /// The same for a reader that starts `seen` bytes into the content, whose
    /// first part is in `hasher` already.
    pub fn resume(
        inner: R,
        expected: Digest,
        size: Option<u64>,
        hasher: Hasher,
        seen: u64,
    ) -> Verify<R> {
        Verify {
            inner,
            hasher: Some(hasher),
            expected,
            size,
            seen,
        }
    }

    fn conclude(&mut self) -> Result<()> {
        let Some(hasher) = self.hasher.take() else {
            return Ok(());
        };
        if let Some(expected) = self.size.filter(|size| *size != self.seen) {
            return Err(Error::Size {
                what: self.expected.to_string(),
                expected,
                actual: self.seen,
            });
        }
        let actual = hasher.finish();
        if actual != self.expected {
            return Err(Error::mismatch(self.expected, actual));
        }
        Ok(())
    }
}

impl<R: Read> Read for Verify<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if buf.is_empty() {
            return Ok(0);
        }
        let n = self.inner.read(buf)?;
        if n == 0 {
            self.conclude()?;
            return Ok(0);
        }
        self.seen = self.seen.saturating_add(n as u64);
        if let Some(expected) = self.size.filter(|size| *size < self.seen) {
            self.hasher = None;
            return Err(Error::Size {
                what: self.expected.to_string(),
                expected,
                actual: self.seen,
            }
            .into());
        }
        match &mut self.hasher {
            Some(hasher) => hasher.update(&buf[..n]),
            // A failed reader that is read again must not look healthy.
            None => {
                return Err(
                    Error::malformed(self.expected.to_string(), "read past its end").into(),
                );
            }
        }
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ABC: &str = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[test]
    fn knows_both_algorithms() {
        assert_eq!(Digest::of(b"abc").to_string(), ABC);
        let long = format!("sha512:{}", "ab".repeat(64));
        let d: Digest = long.parse().unwrap();
        assert_eq!((d.algorithm(), d.to_string()), ("sha512", long));
        let mut h = Hasher::like(&d);
        h.update(b"abc");
        assert!(h.finish().to_string().starts_with("sha512:ddaf35a1"));
    }

    #[test]
    fn refuses_everything_else() {
        for bad in [
            "",
            "abc",
            "sha256",
            "sha256:",
            "sha256:ab",
            "sha1:da39a3ee5e6b4b0d3255bfef95601890afd80709",
            &ABC.to_uppercase(),
            &ABC.replace("ba7816", "BA7816"),
            &ABC.replace("ba7816", "../../"),
            &format!("{ABC}0"),
            &format!(" {ABC}"),
        ] {
            assert!(
                matches!(
                    bad.parse::<Digest>(),
                    Err(Error::Invalid { what: "digest", .. })
                ),
                "{bad}"
            );
        }
    }

    #[test]
    fn verify_fails_where_others_end() {
        let read = |bytes: &[u8], size| {
            let mut out = Vec::new();
            Verify::new(bytes, Digest::of(b"abc"), size)
                .read_to_end(&mut out)
                .map_err(Error::from)
        };
        assert!(read(b"abc", None).is_ok() && read(b"abc", Some(3)).is_ok());
        assert!(matches!(read(b"abd", Some(3)), Err(Error::Mismatch { .. })));
        assert!(matches!(
            read(b"ab", Some(3)),
            Err(Error::Size { actual: 2, .. })
        ));
        assert!(matches!(read(b"abcd", Some(3)), Err(Error::Size { .. })));
        assert!(matches!(read(b"", None), Err(Error::Mismatch { .. })));
    }

    #[test]
    fn verify_goes_on_where_it_was_left() {
        let mut hasher = Hasher::new();
        hasher.update(b"a");
        let mut rest = String::new();
        Verify::resume(&b"bc"[..], Digest::of(b"abc"), Some(3), hasher, 1)
            .read_to_string(&mut rest)
            .unwrap();
        assert_eq!(rest, "bc");
    }

    proptest! {
        #[test]
        fn parsing_never_panics(word in "\\PC*") {
            let _ = word.parse::<Digest>();
        }

        #[test]
        fn display_round_trips(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let d = Digest::of(&bytes);
            prop_assert_eq!(d.to_string().parse::<Digest>().unwrap(), d);
            let json = serde_json::to_string(&d).unwrap();
            prop_assert_eq!(serde_json::from_str::<Digest>(&json).unwrap(), d);
        }
    }
}
