//! Descriptors and media types (image-spec, descriptor.md). Members that this
//! crate does not know are kept.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::digest::Digest;
use crate::json::{self, Members};
use crate::platform::Platform;

/// The media types of manifests, configs and layers.
pub mod media_type {
    /// Docker image manifest, schema 2.
    pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
    /// Docker manifest list.
    pub const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
    /// OCI image manifest.
    pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
    /// OCI artifact manifest, of the release candidates of version 1.1 only.
    pub const OCI_ARTIFACT: &str = "application/vnd.oci.artifact.manifest.v1+json";
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

/// The annotations that the specification or common practice give a meaning
/// (image-spec, annotations.md).
pub mod annotation {
    /// When something was made (RFC 3339).
    pub const CREATED: &str = "org.opencontainers.image.created";
    /// The version of what is packed.
    pub const VERSION: &str = "org.opencontainers.image.version";
    /// The name of a file.
    pub const TITLE: &str = "org.opencontainers.image.title";
    /// `true` on a layer that is a folder, to be unpacked under its title (oras).
    pub const UNPACK: &str = "io.deis.oras.content.unpack";
    /// What a layout's index calls an image: often only its tag.
    pub const REF_NAME: &str = "org.opencontainers.image.ref.name";
    /// The same in full, `docker.io/library/app:tag`, as containerd writes it.
    pub const FULL_NAME: &str = "io.containerd.image.name";
    /// The name that an image had where a bundle of it was saved:
    /// `[host/]repository:tag`, or `[host/]repository@digest`.
    pub const BUNDLE_NAME: &str = "vnd.dxf.bundle.name";
    /// The digest of the image that this one was built on.
    pub const BASE_DIGEST: &str = "org.opencontainers.image.base.digest";
    /// The reference of the image that this one was built on.
    pub const BASE_NAME: &str = "org.opencontainers.image.base.name";
}

/// What points at a blob or manifest: its type, digest and size. What few have is
/// elsewhere, because a repository's descriptors are many.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Descriptor {
    /// The media type of the content; empty when the document gave none.
    #[serde(default, deserialize_with = "json::null_as_default")]
    pub media_type: String,
    /// The digest of the content.
    pub digest: Digest,
    /// The length of the content, bytes.
    pub size: u64,
    /// Where an entry of an index runs; legal to be missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Box<Platform>>,
    /// Free text about the content.
    #[serde(
        default,
        deserialize_with = "json::words_without_nulls",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pub annotations: BTreeMap<String, String>,
    /// Members of later versions of the specification, kept as they came.
    #[serde(flatten)]
    pub rest: Members,
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
            rest: Members::default(),
        }
    }

    /// What kind of artifact the content is, where the document says so, as
    /// lists of referrers do.
    pub fn artifact_type(&self) -> Option<&str> {
        self.rest.get("artifactType")?.as_str()
    }
}

impl From<&Descriptor> for Value {
    fn from(descriptor: &Descriptor) -> Value {
        // Strings, numbers and maps with string keys always have a JSON form.
        serde_json::to_value(descriptor).unwrap_or_default()
    }
}

impl From<Descriptor> for Value {
    fn from(descriptor: Descriptor) -> Value {
        Value::from(&descriptor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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

    #[test]
    fn most_take_little_memory() {
        assert!(size_of::<Descriptor>() <= 144);
    }

    #[test]
    fn null_is_absent() {
        let digest = Digest::of(b"abc");
        let json = format!(
            r#"{{"mediaType":null,"digest":"{digest}","size":3,"platform":null,"annotations":null}}"#
        );
        let read: Descriptor = serde_json::from_str(&json).unwrap();
        assert_eq!(read, Descriptor::new("", digest, 3));
    }
}
