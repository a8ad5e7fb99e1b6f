//! Manifests: the bytes that a registry stores, and views of them.
//!
//! The bytes are the truth. A manifest that is passed on is never serialised
//! again, so its digest does not change. What kind it is comes from the
//! Content-Type it was served with, else from its `mediaType`, else from its
//! shape; missing `mediaType` and missing `platform` are legal (image-spec).
//! Knows nothing of fetching.

mod build;
mod index;
mod referrers;
mod select;
mod view;

use std::collections::BTreeMap;

use serde::Deserialize;

pub use build::{Builder, repoint};
pub use index::IndexBuilder;
pub(crate) use referrers::ReferrersList;
pub use select::{
    ATTESTATION, ATTESTED, Select, best_fit, is_attestation, is_index, is_manifest, is_selectable,
};
pub use view::{ImageManifest, IndexManifest, Schema1History, Schema1Layer, Schema1Manifest};

use crate::bounds;
use crate::descriptor::{Descriptor, media_type};
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::json;
use crate::jws::{PublicKey, Signed};
#[cfg(feature = "schema1-signing")]
use crate::jws::{SigningKey, sign};

/// The largest manifest that is read, bytes (distribution-spec: at least 4 MiB).
pub const MAX_SIZE: u64 = bounds::MANIFEST;

/// How many layers or entries a manifest may name: far beyond any real one,
/// yet small enough that a hostile one can't exhaust anything.
const MAX_ENTRIES: usize = bounds::MANIFEST_ENTRIES;

/// The kinds of manifest there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kind {
    /// One image or artifact: config and layers (Docker schema 2, OCI manifest).
    Image,
    /// A list of manifests, one a platform (Docker list, OCI index).
    Index,
    /// Docker's first format, with its own signature.
    Schema1,
    /// Of a media type that this crate does not know: bytes, to be passed on as
    /// they are. What it refers to is not known either.
    Unknown,
}

/// The bytes of a manifest and their media type.
#[derive(Clone, PartialEq, Eq)]
pub struct Manifest {
    media_type: String,
    bytes: Vec<u8>,
    /// What the signatures of a signed one are of.
    payload: Option<Vec<u8>>,
    kind: Kind,
}

/// The members that tell the kinds apart.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Shape {
    media_type: Option<String>,
    schema_version: Option<u64>,
    config: Option<serde::de::IgnoredAny>,
    layers: Option<serde::de::IgnoredAny>,
    manifests: Option<serde::de::IgnoredAny>,
    fs_layers: Option<serde::de::IgnoredAny>,
}

/// The members that make a manifest a referrer. Go writes what is empty as
/// `null` where a struct says so.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct About {
    subject: Option<Descriptor>,
    artifact_type: Option<String>,
    config: Option<ConfigType>,
    #[serde(default, deserialize_with = "json::words_without_nulls")]
    annotations: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ConfigType {
    media_type: Option<String>,
}

impl Manifest {
    /// A manifest as it was served or stored.
    ///
    /// # Errors
    /// [`Error::Malformed`] when the bytes are no JSON object, when the types
    /// in Content-Type and body contradict each other, or when it claims to be
    /// image and index at once (CVE-2021-41190).
    pub fn new(content_type: Option<&str>, bytes: Vec<u8>) -> Result<Manifest> {
        let bad = |why: String| Error::malformed("manifest", why);
        if bytes.len() as u64 > MAX_SIZE {
            return Err(bad(format!("it is larger than {MAX_SIZE} bytes")));
        }
        let shape: Shape = serde_json::from_slice(&bytes)
            .map_err(|e| bad(format!("it is not the JSON of a manifest ({e})")))?;
        if shape.manifests.is_some() && (shape.layers.is_some() || shape.config.is_some()) {
            return Err(bad("it claims to be image and index at once".to_string()));
        }
        // Parameters (`; charset=utf-8`) are no part of the type.
        let served = content_type
            .map(|text| text.split(';').next().unwrap_or(text).trim())
            .filter(|text| kind_of(text).is_some());
        let written = shape.media_type.as_deref().filter(|text| !text.is_empty());
        if let (Some(served), Some(written)) = (served, written)
            && kind_of(written).is_some()
            && served != written
        {
            return Err(bad(format!(
                "it was served as {served} but says it is {written}"
            )));
        }
        let by_shape = shape.kind();
        let named = served.or(written).and_then(kind_of);
        let unknown = unknown_type(written, content_type);
        let kind = named
            .or(by_shape)
            .or(unknown.map(|_| Kind::Unknown))
            .ok_or_else(|| bad("it has neither layers nor manifests".into()))?;
        if by_shape.is_some_and(|shape| shape != kind) {
            return Err(bad(
                format!("its type and its members disagree ({kind:?})").to_lowercase()
            ));
        }
        let media_type = match (served.or(written), kind) {
            (_, Kind::Unknown) => unknown.unwrap_or_default(),
            (Some(text), _) => text,
            (None, Kind::Image) => media_type::OCI_MANIFEST,
            (None, Kind::Index) => media_type::OCI_INDEX,
            (None, Kind::Schema1) => media_type::SCHEMA1_SIGNED,
        };
        let payload = match kind {
            Kind::Schema1 => Signed::parse(&bytes)?.map(Signed::into_payload),
            Kind::Image | Kind::Index | Kind::Unknown => None,
        };
        Ok(Manifest {
            media_type: media_type.to_string(),
            bytes,
            payload,
            kind,
        })
    }

    /// The manifest python-dxf writes for a list of blobs, byte for byte: the
    /// first blob stands in as config, so the digest is a function of the list.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for no blobs at all.
    pub fn alias(blobs: &[Descriptor]) -> Result<Manifest> {
        let first = blobs.first().ok_or_else(|| Error::Unsupported {
            what: "an alias needs at least one blob".to_string(),
        })?;
        let entry = |d: &Descriptor, kind: &str| Descriptor::new(kind, d.digest, d.size);
        let layers = blobs.iter().map(|d| entry(d, media_type::OCTET_STREAM));
        Builder::new(media_type::DOCKER_MANIFEST)
            .config(&entry(first, media_type::DOCKER_CONFIG))
            .layers(layers)
            .build_sorted()
    }

    /// A schema 1 manifest with a signature of each of `keys`; `payload` is all
    /// of it but the signatures. `graph::put_signed` makes one of an
    /// image.
    ///
    /// # Errors
    /// [`Error::Malformed`] for something that is not a schema 1 manifest,
    /// [`Error::Unsupported`] without keys.
    #[cfg(feature = "schema1-signing")]
    pub fn signed(payload: &[u8], keys: &[SigningKey]) -> Result<Manifest> {
        let signed = sign(payload, keys)?;
        let manifest = Manifest::new(Some(media_type::SCHEMA1_SIGNED), signed)?;
        manifest.schema1()?;
        Ok(manifest)
    }

    /// The media type to serve and store it under.
    pub fn media_type(&self) -> &str {
        &self.media_type
    }

    /// The bytes exactly as they came.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The kind of manifest.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The bytes that are digested: all of them, but for the signatures of a
    /// signed schema 1 manifest.
    pub fn payload(&self) -> &[u8] {
        self.payload.as_deref().unwrap_or(&self.bytes)
    }

    /// The sha256 digest of [`Manifest::payload`]: the one a registry keeps the
    /// manifest by.
    pub fn digest(&self) -> Digest {
        Digest::of(self.payload())
    }

    /// Checks the signatures of a schema 1 manifest; the keys they were made
    /// with, none where there are no signatures.
    ///
    #[cfg_attr(feature = "schema1-signing", doc = "```")]
    #[cfg_attr(not(feature = "schema1-signing"), doc = "```ignore")]
    /// use dxf_registry::{Manifest, jws::SigningKey};
    ///
    /// let key = SigningKey::generate()?;
    /// let text = r#"{"schemaVersion": 1, "name": "a/b", "tag": "1", "fsLayers": []}"#;
    /// let manifest = Manifest::signed(text.as_bytes(), &[key])?;
    /// assert_eq!(manifest.signers()?.len(), 1);
    /// assert_eq!(manifest.payload(), text.as_bytes());
    ///
    /// let bytes = String::from_utf8_lossy(manifest.bytes()).replace("a/b", "a/c");
    /// let forged = Manifest::new(None, bytes.into_bytes())?;
    /// assert!(forged.signers().unwrap_err().is_corrupt());
    /// # Ok::<(), dxf_registry::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Malformed`] when a signature is wrong; [`Error::Unsupported`]
    /// for one that can't be checked, and for manifests that carry none by
    /// their nature.
    pub fn signers(&self) -> Result<Vec<PublicKey>> {
        self.is(Kind::Schema1)?;
        match Signed::parse(&self.bytes)? {
            Some(signed) => signed.verify(),
            None => Ok(Vec::new()),
        }
    }

    /// What points at this manifest.
    pub fn descriptor(&self) -> Descriptor {
        Descriptor::new(
            self.media_type.clone(),
            self.digest(),
            self.bytes.len() as u64,
        )
    }

    /// The manifest that this one refers to (`subject`), for manifests of any kind.
    ///
    /// # Errors
    /// [`Error::Malformed`] when it names one in an unknown way.
    pub fn subject(&self) -> Result<Option<Descriptor>> {
        Ok(self.about()?.and_then(|about| about.subject))
    }

    /// The entry of this manifest in a list of referrers: beside the three
    /// members of [`Manifest::descriptor`] its annotations and what it is, the
    /// `artifactType` or else the type of its config (distribution-spec,
    /// "Listing Referrers"). cosign#4641 shows what happens without them.
    ///
    /// # Errors
    /// As [`Manifest::subject`].
    pub fn referrer(&self) -> Result<Descriptor> {
        let mut descriptor = self.descriptor();
        let Some(about) = self.about()? else {
            return Ok(descriptor);
        };
        let written = about.artifact_type.filter(|text| !text.is_empty());
        let config = about.config.and_then(|config| config.media_type);
        if let Some(kind) = written.or(config.filter(|text| !text.is_empty())) {
            descriptor.rest.insert("artifactType".into(), kind.into());
        }
        descriptor.annotations = about.annotations;
        Ok(descriptor)
    }

    fn about(&self) -> Result<Option<About>> {
        match self.kind {
            // Older than subjects.
            Kind::Schema1 => Ok(None),
            Kind::Image | Kind::Index | Kind::Unknown => serde_json::from_slice(&self.bytes)
                .map(Some)
                .map_err(|e| Error::malformed("manifest", e)),
        }
    }

    /// The image view.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for a manifest of another kind,
    /// [`Error::Malformed`] for one that breaks its format.
    pub fn image(&self) -> Result<ImageManifest> {
        let image: ImageManifest = self.view(Kind::Image)?;
        bounded("layers", image.layers.len())?;
        Ok(image)
    }

    /// The index view.
    ///
    /// # Errors
    /// As [`Manifest::image`].
    pub fn index(&self) -> Result<IndexManifest> {
        let index: IndexManifest = self.view(Kind::Index)?;
        bounded("manifests", index.manifests.len())?;
        Ok(index)
    }

    /// The schema 1 view, of what is signed. [`Manifest::signers`] says whether
    /// the signatures are right.
    ///
    /// # Errors
    /// As [`Manifest::image`].
    pub fn schema1(&self) -> Result<Schema1Manifest> {
        let schema1: Schema1Manifest = self.view(Kind::Schema1)?;
        bounded("layers", schema1.fs_layers.len())?;
        Ok(schema1)
    }

    fn is(&self, wanted: Kind) -> Result<()> {
        if self.kind == wanted {
            return Ok(());
        }
        if self.kind == Kind::Unknown {
            return Err(self.unknown());
        }
        Err(Error::Unsupported {
            what: format!("{} is not {}", self.kind.words(), wanted.words()),
        })
    }

    /// The blobs of a manifest that is no image, index or schema 1 manifest: of an
    /// artifact manifest of OCI 1.1's release candidates.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for any other unknown type.
    pub(crate) fn artifact_blobs(&self) -> Result<Vec<Descriptor>> {
        if self.media_type != media_type::OCI_ARTIFACT {
            return Err(self.unknown());
        }
        let artifact: Artifact = self.view(Kind::Unknown)?;
        bounded("blobs", artifact.blobs.len())?;
        Ok(artifact.blobs)
    }

    /// The error for a manifest whose content is needed and not understood.
    pub(crate) fn unknown(&self) -> Error {
        Error::Unsupported {
            what: format!("a manifest of the unknown type {}", self.media_type),
        }
    }

    fn view<'a, T: Deserialize<'a>>(&'a self, wanted: Kind) -> Result<T> {
        self.is(wanted)?;
        // Members beside the payload are not signed.
        serde_json::from_slice(self.payload()).map_err(|e| Error::malformed("manifest", e))
    }
}

/// What an artifact manifest lists.
#[derive(Deserialize)]
struct Artifact {
    #[serde(default, deserialize_with = "json::null_as_default")]
    blobs: Vec<Descriptor>,
}

impl std::fmt::Debug for Manifest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Manifest({}, {})", self.media_type, self.digest())
    }
}

fn bounded(what: &str, count: usize) -> Result<()> {
    if count > MAX_ENTRIES {
        return Err(Error::malformed(
            "manifest",
            format!("{count} {what} exceed the limit"),
        ));
    }
    Ok(())
}

impl Kind {
    fn words(self) -> &'static str {
        match self {
            Kind::Image => "an image manifest",
            Kind::Index => "a multi-platform index",
            Kind::Schema1 => "a schema 1 manifest (Docker's format before 2016)",
            Kind::Unknown => "a manifest of an unknown type",
        }
    }
}

impl Shape {
    fn kind(&self) -> Option<Kind> {
        if self.manifests.is_some() {
            Some(Kind::Index)
        } else if self.layers.is_some() || self.config.is_some() {
            Some(Kind::Image)
        } else if self.fs_layers.is_some() || self.schema_version == Some(1) {
            Some(Kind::Schema1)
        } else {
            None
        }
    }
}

/// The type of a manifest that this crate does not know: what it says itself,
/// or what it was served as, where that is more than "JSON".
fn unknown_type<'a>(written: Option<&'a str>, served: Option<&'a str>) -> Option<&'a str> {
    let specific = |text: &&str| text.starts_with("application/vnd.") && kind_of(text).is_none();
    written.or(served).filter(specific)
}

fn kind_of(text: &str) -> Option<Kind> {
    match text {
        media_type::DOCKER_MANIFEST | media_type::OCI_MANIFEST => Some(Kind::Image),
        media_type::DOCKER_LIST | media_type::OCI_INDEX => Some(Kind::Index),
        media_type::SCHEMA1 | media_type::SCHEMA1_SIGNED => Some(Kind::Schema1),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn abc() -> Descriptor {
        Descriptor::new("", Digest::of(b"abc"), 3)
    }

    #[test]
    fn an_unknown_type_is_passed_on_and_named() {
        let artifact = "application/vnd.oci.artifact.manifest.v1+json";
        let made = |served: Option<&str>, body: &Value| {
            Manifest::new(served, body.to_string().into_bytes())
        };
        let itself = json!({"mediaType": artifact, "blobs": []});
        let (itself, served) = (
            (itself.clone(), made(None, &itself)),
            (
                json!({"blobs": []}),
                made(Some(artifact), &json!({"blobs": []})),
            ),
        );
        for (body, manifest) in [itself, served] {
            let manifest = manifest.unwrap();
            let known = (manifest.kind(), manifest.media_type());
            assert_eq!(known, (Kind::Unknown, artifact));
            assert_eq!(manifest.bytes(), body.to_string().as_bytes());
            for failed in [manifest.image().err(), manifest.index().err()] {
                let said = failed.unwrap().to_string();
                assert_eq!(said, format!("a manifest of the unknown type {artifact}"));
            }
        }
        let vague = made(Some("application/json"), &json!({"blobs": []}));
        let vague = vague.unwrap_err().to_string();
        assert!(vague.contains("neither layers"), "{vague}");
    }

    #[test]
    fn alias_is_pythons_to_the_byte() {
        let m = Manifest::alias(&[abc()]).unwrap();
        assert_eq!(m.bytes().len(), 411);
        let d = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(
            String::from_utf8_lossy(m.bytes()),
            format!(
                "{{\"config\": {{\"digest\": \"{d}\", \"mediaType\": \"application/vnd.docker.container.image.v1+json\", \"size\": 3}}, \
                 \"layers\": [{{\"digest\": \"{d}\", \"mediaType\": \"application/octet-stream\", \"size\": 3}}], \
                 \"mediaType\": \"application/vnd.docker.distribution.manifest.v2+json\", \"schemaVersion\": 2}}"
            )
        );
        assert_eq!(m.media_type(), media_type::DOCKER_MANIFEST);
        assert!(Manifest::alias(&[]).is_err());
    }

    fn made(content_type: Option<&str>, body: &str) -> Result<(Kind, String)> {
        Manifest::new(content_type, body.as_bytes().to_vec())
            .map(|m| (m.kind(), m.media_type().to_string()))
    }

    #[test]
    fn type_from_header_then_body_then_shape() {
        let oci = Some(media_type::OCI_MANIFEST);
        let body = r#"{"schemaVersion":2,"config":{},"layers":[]}"#;
        assert_eq!(
            made(oci, body).unwrap(),
            (Kind::Image, media_type::OCI_MANIFEST.into())
        );
        assert_eq!(
            made(None, body).unwrap(),
            (Kind::Image, media_type::OCI_MANIFEST.into())
        );
        assert_eq!(made(Some("application/json"), body).unwrap().0, Kind::Image);
        assert_eq!(
            made(
                Some(&format!("{}; charset=utf-8", media_type::OCI_INDEX)),
                r#"{"manifests":[]}"#
            )
            .unwrap()
            .0,
            Kind::Index
        );
        let typed = format!(
            r#"{{"mediaType":"{}","layers":[]}}"#,
            media_type::DOCKER_MANIFEST
        );
        assert_eq!(
            made(Some("text/plain"), &typed).unwrap().1,
            media_type::DOCKER_MANIFEST
        );
        assert_eq!(
            made(None, r#"{"schemaVersion":1,"fsLayers":[]}"#)
                .unwrap()
                .0,
            Kind::Schema1
        );
    }

    #[test]
    fn contradictions_are_refused() {
        let both = r#"{"layers":[],"manifests":[]}"#;
        let typed = format!(
            r#"{{"mediaType":"{}","layers":[]}}"#,
            media_type::DOCKER_MANIFEST
        );
        for (content_type, body) in [
            (None, both),
            (Some(media_type::OCI_MANIFEST), typed.as_str()),
            (Some(media_type::OCI_INDEX), r#"{"layers":[]}"#),
            (None, "{}"),
            (None, "[]"),
            (None, "null"),
            (None, "not json"),
            (None, ""),
        ] {
            assert!(
                matches!(made(content_type, body), Err(Error::Malformed { .. })),
                "{body}"
            );
        }
        let deep = "[".repeat(200_000);
        assert!(made(None, &format!("{{\"x\":{deep}")).is_err());
        assert!(Manifest::new(None, vec![b' '; MAX_SIZE as usize + 1]).is_err());
    }

    #[test]
    fn views_refuse_the_wrong_kind_and_hostile_members() {
        let image = Manifest::alias(&[abc()]).unwrap();
        assert_eq!(image.image().unwrap().layers[0].size, 3);
        assert!(matches!(image.index(), Err(Error::Unsupported { .. })));
        let evil = r#"{"config":{"mediaType":"","digest":"sha256:../../x","size":1},"layers":[]}"#;
        let evil = Manifest::new(None, evil.into()).unwrap();
        assert!(matches!(evil.image(), Err(Error::Malformed { .. })));
    }

    #[test]
    fn referrers_carry_type_and_annotations() {
        let subject =
            json!({"mediaType": media_type::OCI_MANIFEST, "digest": abc().digest, "size": 3});
        let config = json!({"mediaType": "app/config", "digest": abc().digest, "size": 3});
        let made =
            |document: Value| Manifest::new(None, document.to_string().into_bytes()).unwrap();
        let image = made(
            json!({"config": config, "layers": [], "subject": subject, "artifactType": "app/x", "annotations": {"a": "b"}}),
        );
        assert_eq!(image.subject().unwrap().unwrap().digest, abc().digest);
        let entry = image.referrer().unwrap();
        assert_eq!(entry.artifact_type(), Some("app/x"));
        assert_eq!(entry.annotations["a"], "b");
        assert_eq!(
            (entry.digest, entry.size),
            (image.digest(), image.bytes().len() as u64)
        );
        let typed = made(
            json!({"config": config, "layers": [], "subject": subject, "artifactType": "", "annotations": {"a": null, "b": null}}),
        );
        assert_eq!(
            typed.referrer().unwrap().artifact_type(),
            Some("app/config")
        );
        let index = made(json!({"manifests": [], "subject": subject}));
        assert!(index.subject().unwrap().is_some());
        assert_eq!(index.referrer().unwrap(), index.descriptor());
        for none in [
            json!({"config": config, "layers": [], "subject": null}),
            json!({"schemaVersion": 1, "fsLayers": [], "subject": 7}),
        ] {
            assert_eq!(made(none).subject().unwrap(), None);
        }
        let evil = made(json!({"manifests": [], "subject": {"digest": "sha256:../x", "size": 1}}));
        assert!(matches!(evil.subject(), Err(Error::Malformed { .. })));
    }

    proptest! {
        #[test]
        fn mutated_manifests_never_panic(at in 0usize..411, byte in any::<u8>(), cut in 0usize..411) {
            let mut bytes = Manifest::alias(&[abc()]).unwrap().bytes().to_vec();
            bytes[at] = byte;
            bytes.truncate(411 - cut);
            if let Ok(m) = Manifest::new(None, bytes) {
                let _ = (m.image(), m.index(), m.schema1(), m.referrer());
            }
        }
    }
}
