//! Descriptors, platforms and media types (image-spec, descriptor.md and
//! image-index.md). Members this crate does not know are kept.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::digest::Digest;
use crate::error::{Error, Result};

/// The media types of manifests, configs and layers.
pub mod media_type {
    /// Docker image manifest, schema 2.
    pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
    /// Docker manifest list.
    pub const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
    /// OCI image manifest.
    pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
    /// OCI image index.
    pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
    /// Docker image manifest, schema 1, signed.
    pub const SCHEMA1_SIGNED: &str = "application/vnd.docker.distribution.manifest.v1+prettyjws";
    /// Docker image manifest, schema 1, unsigned.
    pub const SCHEMA1: &str = "application/vnd.docker.distribution.manifest.v1+json";
    /// Docker image config.
    pub const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
    /// OCI image config.
    pub const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
    /// The two bytes `{}`, as config of artifacts that have none.
    pub const OCI_EMPTY: &str = "application/vnd.oci.empty.v1+json";
    /// Bytes of no declared kind.
    pub const OCTET_STREAM: &str = "application/octet-stream";
}

/// What points at a blob or manifest: its type, digest and size.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// The media type of the content; empty when the document gave none.
    #[serde(default)]
    pub media_type: String,
    /// The digest of the content.
    pub digest: Digest,
    /// The length of the content, bytes.
    pub size: u64,
    /// Where an entry of an index runs; legal to be missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
    /// Free text about the content.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// Members of later versions of the specification, kept as they came.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

impl Descriptor {
    /// A descriptor with nothing but the three required members.
    pub fn new(media_type: impl Into<String>, digest: Digest, size: u64) -> Descriptor {
        Descriptor {
            media_type: media_type.into(),
            digest,
            size,
            platform: None,
            annotations: BTreeMap::new(),
            rest: Map::new(),
        }
    }

    /// What kind of artifact the content is, where the document says so, as
    /// lists of referrers do.
    pub fn artifact_type(&self) -> Option<&str> {
        self.rest.get("artifactType")?.as_str()
    }
}

/// Where an image runs: `os/architecture[/variant]`.
///
/// ```
/// use dxf_registry::Platform;
/// let wanted: Platform = "linux/arm64".parse().unwrap();
/// let there: Platform = "linux/arm64/v8".parse().unwrap();
/// assert!(wanted.fit(&there).is_some());
/// assert!("linux".parse::<Platform>().is_err());
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Platform {
    /// Operating system, in Go's words: `linux`, `windows`.
    #[serde(default)]
    pub os: String,
    /// Processor, in Go's words: `amd64`, `arm64`.
    #[serde(default)]
    pub architecture: String,
    /// Version of the processor: `v7`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
    /// `os.version`, `os.features` and what else there is.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

impl Platform {
    /// How well an image for `there` runs where `self` is wanted: 0 is the very
    /// platform, larger is an older variant of the same processor, `None` does
    /// not run. Lower variants run on higher ones (arm v5 to v7, amd64 v1 to
    /// v4), never the other way, and no other processor ever fits.
    pub fn fit(&self, there: &Platform) -> Option<u32> {
        if self.os != there.os || self.architecture != there.architecture {
            return None;
        }
        let (wanted, found) = (self.implied_variant(), there.implied_variant());
        if wanted == found {
            return Some(0);
        }
        if !matches!(self.architecture.as_str(), "arm" | "amd64") {
            return None;
        }
        let level = |v: Option<&str>| v?.strip_prefix('v')?.parse::<u32>().ok();
        level(wanted)?.checked_sub(level(found)?)
    }

    /// Whether this is no platform at all: the entries BuildKit adds for its
    /// attestations say `unknown/unknown`.
    pub fn is_unknown(&self) -> bool {
        let blank = |word: &str| word.is_empty() || word == "unknown";
        blank(&self.os) && blank(&self.architecture)
    }

    /// The variant that is meant where none is written (containerd's rules).
    fn implied_variant(&self) -> Option<&str> {
        match (self.architecture.as_str(), self.variant.as_deref()) {
            ("arm64", None | Some("" | "8")) => Some("v8"),
            ("arm", None | Some("")) => Some("v7"),
            ("amd64", None | Some("")) => Some("v1"),
            (_, Some("")) => None,
            (_, variant) => variant,
        }
    }
}

impl FromStr for Platform {
    type Err = Error;

    fn from_str(text: &str) -> Result<Platform> {
        let bad = |why| Error::invalid("platform", text, why);
        let parts: Vec<&str> = text.split('/').collect();
        if !(2..=3).contains(&parts.len()) {
            return Err(bad("it must look like linux/amd64 or linux/arm/v7"));
        }
        let legal = |part: &&str| {
            !part.is_empty()
                && part
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
        };
        if !parts.iter().all(legal) {
            return Err(bad(
                "only letters, digits and . _ - may stand between the slashes",
            ));
        }
        Ok(Platform {
            os: parts[0].to_string(),
            architecture: parts[1].to_string(),
            variant: parts.get(2).map(|v| v.to_string()),
            rest: Map::new(),
        })
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let or_unknown = |word: &str| -> String {
            if word.is_empty() {
                "unknown".into()
            } else {
                word.into()
            }
        };
        write!(
            f,
            "{}/{}",
            or_unknown(&self.os),
            or_unknown(&self.architecture)
        )?;
        match self.variant.as_deref() {
            None | Some("") => Ok(()),
            Some(variant) => write!(f, "/{variant}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn p(text: &str) -> Platform {
        text.parse().unwrap()
    }

    #[test]
    fn parses_and_prints() {
        for good in ["linux/amd64", "linux/arm/v7", "windows/amd64"] {
            assert_eq!(p(good).to_string(), good);
        }
        for bad in [
            "",
            "linux",
            "linux/",
            "/amd64",
            "a/b/c/d",
            "linux/a b",
            "linux//v7",
        ] {
            assert!(bad.parse::<Platform>().is_err(), "{bad}");
        }
    }

    #[test]
    fn fits_as_processors_do() {
        let table = [
            ("linux/amd64", "linux/amd64", Some(0)),
            ("linux/arm64", "linux/arm64/v8", Some(0)),
            ("linux/arm64/v8", "linux/arm64", Some(0)),
            ("linux/arm/v7", "linux/arm/v6", Some(1)),
            ("linux/arm/v7", "linux/arm/v5", Some(2)),
            ("linux/arm/v5", "linux/arm/v6", None),
            ("linux/amd64/v4", "linux/amd64/v3", Some(1)),
            ("linux/amd64/v4", "linux/amd64", Some(3)),
            ("linux/amd64", "linux/amd64/v2", None),
            ("linux/amd64", "linux/386", None),
            ("linux/arm64", "linux/arm/v7", None),
            ("linux/s390x", "linux/s390x", Some(0)),
            ("linux/ppc64le", "linux/ppc64le/power9", None),
            ("windows/amd64", "linux/amd64", None),
        ];
        for (wanted, there, fit) in table {
            assert_eq!(p(wanted).fit(&p(there)), fit, "{wanted} on {there}");
        }
    }

    #[test]
    fn unknown_members_survive() {
        let json = format!(
            r#"{{"mediaType":"x/y","digest":"{}","size":3,"platform":{{"os":"windows","architecture":"amd64","os.version":"10"}},"urls":["https://e"]}}"#,
            Digest::of(b"abc")
        );
        let d: Descriptor = serde_json::from_str(&json).unwrap();
        assert_eq!(d.rest["urls"][0], "https://e");
        let again = serde_json::to_string(&d).unwrap();
        assert!(
            again.contains("os.version") && again.contains("urls"),
            "{again}"
        );
        assert!(serde_json::from_str::<Descriptor>(&json.replace("3,", "-3,")).is_err());
    }

    proptest! {
        #[test]
        fn parsing_never_panics(text in "\\PC*") {
            if let Ok(platform) = text.parse::<Platform>() {
                prop_assert_eq!(platform.to_string(), text);
            }
        }
    }
}
