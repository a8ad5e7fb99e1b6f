//! The manifest of an artifact (image-spec, manifest.md, "Guidelines for Artifact
//! Usage"), member for member as oras writes it, so that equal input has equal
//! digests there and here.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{UNKNOWN_ARTIFACT, UNKNOWN_CONFIG};
use crate::blob::Blob;
use crate::descriptor::{Descriptor, media_type};
use crate::error::{Error, Result};
use crate::image::Image;
use crate::manifest::{Builder, Manifest};
use crate::platform::Platform;

/// The empty config's two bytes, in base64, as its descriptor carries them.
const EMPTY_DATA: &str = "e30=";
/// The longest part of a media type on each side of its slash (RFC 6838, 4.2).
const MAX_NAME: usize = 127;

/// The version of the image specification that a manifest keeps to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum SpecVersion {
    /// 1.0: the type of the artifact is that of its config.
    V1_0,
    /// 1.1: the manifest says the type of the artifact, and may have a subject.
    #[default]
    V1_1,
}

/// Files, and what their manifest says of them.
#[derive(Debug, Clone)]
pub struct Artifact {
    artifact_type: Option<String>,
    config: Option<Blob>,
    layers: Vec<Blob>,
    subject: Option<Descriptor>,
    annotations: BTreeMap<String, String>,
    version: SpecVersion,
}

impl Artifact {
    /// An artifact of a type, made of `layers`, in version 1.1.
    ///
    /// # Errors
    /// [`Error::Invalid`] for an invalid media type.
    pub fn new(artifact_type: &str, layers: Vec<Blob>) -> Result<Artifact> {
        must_be_media_type(artifact_type)?;
        Ok(Artifact {
            artifact_type: Some(artifact_type.to_string()),
            ..Artifact::untyped(layers)
        })
    }

    /// An artifact that says no type of its own: its config's counts, or else it
    /// is one of unknown type.
    pub fn untyped(layers: Vec<Blob>) -> Artifact {
        Artifact {
            artifact_type: None,
            config: None,
            layers,
            subject: None,
            annotations: BTreeMap::new(),
            version: SpecVersion::V1_1,
        }
    }

    /// The same with a config.
    #[must_use]
    pub fn with_config(self, config: Blob) -> Artifact {
        Artifact {
            config: Some(config),
            ..self
        }
    }

    /// The same for one platform, which its config says as that of an image does
    /// (oras `--artifact-platform`); a config of its own is kept.
    #[must_use]
    pub fn with_platform(self, platform: &Platform) -> Artifact {
        if self.config.is_some() {
            return self;
        }
        let mut said = json!({"architecture": platform.architecture, "os": platform.os});
        if let Some(version) = platform.os_version() {
            said["os.version"] = version.into();
        }
        if let Some(variant) = &platform.variant {
            said["variant"] = variant.as_str().into();
        }
        let config = Blob::bytes(media_type::OCI_CONFIG, said.to_string().into_bytes());
        // Without a type of its own it would be taken for an image.
        let artifact_type = self.artifact_type.clone();
        Artifact {
            artifact_type: artifact_type.or_else(|| Some(UNKNOWN_ARTIFACT.to_string())),
            config: Some(config),
            ..self
        }
    }

    /// The same as something that refers to another manifest.
    #[must_use]
    pub fn with_subject(self, subject: Descriptor) -> Artifact {
        let subject = Descriptor::new(subject.media_type, subject.digest, subject.size);
        Artifact {
            subject: Some(subject),
            ..self
        }
    }

    /// The same with annotations of the manifest.
    #[must_use]
    pub fn with_annotations(self, annotations: BTreeMap<String, String>) -> Artifact {
        Artifact {
            annotations,
            ..self
        }
    }

    /// The same in another version. 1.0 knows no subject, which is left out.
    #[must_use]
    pub fn with_version(self, version: SpecVersion) -> Artifact {
        Artifact { version, ..self }
    }

    /// The manifest with its config and layers, to be pushed
    /// ([`crate::graph::push`]).
    ///
    /// # Errors
    /// [`Error::Malformed`] for more layers than a manifest may have.
    pub fn image(&self) -> Result<Image> {
        let config = self.config();
        let mut layers = self.layers.clone();
        if layers.is_empty() && self.version == SpecVersion::V1_1 {
            layers.push(Blob::empty());
        }
        let manifest = self.manifest(&config, &layers)?;
        Image::new(manifest, config, layers)
    }

    fn manifest(&self, config: &Blob, layers: &[Blob]) -> Result<Manifest> {
        let mut made = Builder::new(media_type::OCI_MANIFEST);
        let declared = match (self.version, &self.artifact_type, &self.config) {
            (SpecVersion::V1_0, ..) | (_, None, Some(_)) => None,
            (_, Some(declared), _) => Some(declared.as_str()),
            (_, None, None) => Some(UNKNOWN_ARTIFACT),
        };
        if let Some(declared) = declared {
            made = made.member("artifactType", declared);
        }
        made = made
            .member("config", listed(config))
            .layers(layers.iter().map(listed));
        if let (Some(subject), SpecVersion::V1_1) = (&self.subject, self.version) {
            made = made.member("subject", subject);
        }
        if !self.annotations.is_empty() {
            made = made.annotations(self.annotations.clone());
        }
        made.build()
    }

    fn config(&self) -> Blob {
        if let Some(config) = &self.config {
            return config.clone();
        }
        match self.version {
            SpecVersion::V1_1 => Blob::empty(),
            SpecVersion::V1_0 => {
                let media_type = self.artifact_type.as_deref().unwrap_or(UNKNOWN_CONFIG);
                Blob::bytes(media_type, b"{}".to_vec())
            }
        }
    }
}

/// The descriptor of a blob as JSON; the empty one carries its content.
fn listed(blob: &Blob) -> Value {
    let mut listed = Value::from(blob.descriptor());
    if let (media_type::OCI_EMPTY, Some(members)) = (
        blob.descriptor().media_type.as_str(),
        listed.as_object_mut(),
    ) {
        members.insert("data".to_string(), EMPTY_DATA.into());
    }
    listed
}

/// Whether a word is a media type: one slash, and on both sides of it a letter
/// or digit and at most 126 of a few more characters (RFC 6838, 4.2).
pub fn is_media_type(word: &str) -> bool {
    let name = |part: &str| {
        let first = part.bytes().next();
        first.is_some_and(|b| b.is_ascii_alphanumeric())
            && part.len() <= MAX_NAME
            && part
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"!#$&^_.+-".contains(&b))
    };
    word.split_once('/')
        .is_some_and(|(kind, rest)| name(kind) && name(rest))
}

pub(super) fn must_be_media_type(word: &str) -> Result<()> {
    if is_media_type(word) {
        return Ok(());
    }
    let why = "a media type is two names with a slash between, such as text/plain";
    Err(Error::invalid("media type", word, why))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(artifact: &Artifact) -> String {
        let image = artifact.image().unwrap();
        String::from_utf8(image.manifest().bytes().to_vec()).unwrap()
    }

    #[test]
    fn manifests_are_those_of_oras() {
        let empty = r#"{"mediaType":"application/vnd.oci.empty.v1+json","digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","size":2,"data":"e30="}"#;
        let bare = Artifact::new("text/x-sbom", Vec::new()).unwrap();
        assert_eq!(
            text(&bare),
            format!(
                r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","artifactType":"text/x-sbom","config":{empty},"layers":[{empty}]}}"#
            )
        );
        let old = bare.clone().with_version(SpecVersion::V1_0);
        assert_eq!(
            text(&old),
            r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"text/x-sbom","digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","size":2},"layers":[]}"#
        );
        let subject = bare.image().unwrap().manifest().descriptor();
        let about = bare.with_subject(subject.clone());
        let words = BTreeMap::from([("k".to_string(), "v".to_string())]);
        let about = text(&about.with_annotations(words));
        let end = format!(
            r#""subject":{{"mediaType":"{}","digest":"{}","size":{}}},"annotations":{{"k":"v"}}}}"#,
            subject.media_type, subject.digest, subject.size
        );
        assert!(about.ends_with(&end), "{about}");
        assert!(text(&Artifact::untyped(Vec::new())).contains(UNKNOWN_ARTIFACT));
        let config = Blob::bytes("text/x-config", b"1".to_vec());
        let own = text(&Artifact::untyped(Vec::new()).with_config(config));
        assert!(!own.contains("artifactType") && own.contains("text/x-config"));
    }

    #[test]
    fn media_types_have_one_slash() {
        let long = format!("a/{}", "b".repeat(127));
        for good in ["text/plain", "application/vnd.a+json", "a/b", long.as_str()] {
            assert!(is_media_type(good), "{good}");
        }
        let long = format!("a/{}", "b".repeat(128));
        for bad in [
            "",
            "a",
            "a/",
            "/b",
            "a/b/c",
            "a b/c",
            "+a/b",
            "a/ü",
            long.as_str(),
        ] {
            assert!(!is_media_type(bad), "{bad}");
            assert!(Artifact::new(bad, Vec::new()).is_err());
        }
    }
}
