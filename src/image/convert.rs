//! Between Docker's words and OCI's for the same image: manifest v2 schema 2
//! and image manifest, manifest list and index. Configs and layers keep their
//! bytes and get other media types, so an image keeps its id and its diff ids;
//! only the digests of manifests change.
//!
//! What Docker's format has no place for goes: annotations, `artifactType`,
//! `subject`, unknown members, and BuildKit's attestations, whose
//! annotations are all that tells them from images. What it has no word for
//! is refused: layers in zstd, artifacts, indexes in indexes. The other way
//! nothing is lost.

use serde_json::{Value, json};

use super::layer::{Compression, Family, LayerType};
use super::{Child, Image, Index, Node};
use crate::blob::Blob;
use crate::descriptor::{Descriptor, media_type};
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::manifest::{ATTESTED, Builder, Manifest, is_attestation, is_selectable};

/// The node in the words of `family`. What is all in them already is given
/// back unchanged, byte for byte; the same node always gives the same bytes.
///
/// # Errors
/// [`Error::Unsupported`] for what the family has no word for,
/// [`Error::Malformed`] for manifests that break their format.
pub fn convert(node: &Node, family: Family) -> Result<Node> {
    match node {
        Node::Image(image) => convert_image(image, family).map(Node::Image),
        Node::Index(index) => convert_index(index, family).map(Node::Index),
    }
}

/// The media types of a family's manifests.
fn manifest_type(family: Family) -> &'static str {
    match family {
        Family::Docker => media_type::DOCKER_MANIFEST,
        Family::Oci => media_type::OCI_MANIFEST,
    }
}

fn index_type(family: Family) -> &'static str {
    match family {
        Family::Docker => media_type::DOCKER_LIST,
        Family::Oci => media_type::OCI_INDEX,
    }
}

fn convert_image(image: &Image, family: Family) -> Result<Image> {
    // Words of neither family, such as those of an alias' blobs, may stay.
    let settled = image.manifest.media_type() == manifest_type(family)
        && image.blobs().all(|blob| !is_others(blob, family));
    if settled {
        return Ok(image.clone());
    }
    let config = image.config.with_media_type(config_type(image, family)?);
    let layers = image.layers.iter();
    let layers: Vec<Blob> = layers
        .map(|layer| Ok(layer.with_media_type(layer_type(layer.descriptor(), family)?)))
        .collect::<Result<_>>()?;
    let listed = layers.iter().map(|layer| entry(layer.descriptor(), family));
    let manifest = document(&image.manifest, family, manifest_type(family))?
        .member("config", entry(config.descriptor(), family))
        .layers(listed)
        .build()?;
    Image::new(manifest, config, layers)
}

fn convert_index(index: &Index, family: Family) -> Result<Index> {
    let mut children = Vec::new();
    let mut renamed: Vec<(Digest, Digest)> = Vec::new();
    for child in &index.children {
        if family == Family::Docker && is_attestation(&child.descriptor) {
            continue;
        }
        if let (Family::Docker, Node::Index(_)) = (family, &child.node) {
            return Err(no_word("an index within an index"));
        }
        let node = convert(&child.node, family)?;
        renamed.push((child.descriptor.digest, node.manifest().digest()));
        children.push(Child {
            descriptor: child.descriptor.clone(),
            node,
        });
    }
    let unchanged = children.len() == index.children.len()
        && renamed.iter().all(|(old, new)| old == new)
        && index.manifest.media_type() == index_type(family);
    if unchanged {
        return Ok(index.clone());
    }
    for child in &mut children {
        point(child, family, &renamed)?;
    }
    let listed = children
        .iter()
        .map(|child| entry(&child.descriptor, family));
    let manifest = document(&index.manifest, family, index_type(family))?
        .manifests(listed)
        .build()?;
    Index::new(manifest, children)
}

/// Lets an entry point at what its child has become.
fn point(child: &mut Child, family: Family, renamed: &[(Digest, Digest)]) -> Result<()> {
    let now = child.node.manifest().descriptor();
    let entry = &mut child.descriptor;
    if now.digest != entry.digest {
        // The content itself (image-spec, descriptor.md), which is another now.
        entry.rest.shift_remove("data");
    }
    (entry.media_type, entry.digest, entry.size) = (now.media_type, now.digest, now.size);
    if let Some(about) = entry.annotations.get_mut(ATTESTED)
        && let Some((_, new)) = renamed.iter().find(|(old, _)| old.to_string() == *about)
    {
        *about = new.to_string();
    }
    // Docker's list has to name the platform of an entry; its image's config does.
    if let (Family::Docker, false, Node::Image(image)) = (family, is_selectable(entry), &child.node)
        && entry.platform.is_none()
    {
        entry.platform = Some(image.config()?.platform().into());
    }
    Ok(())
}

/// The new manifest so far, its type in its place. Docker's format has no
/// members but blobs and children.
fn document(old: &Manifest, family: Family, kind: &str) -> Result<Builder> {
    let builder = Builder::of(old)?
        .member("schemaVersion", 2)
        .media_type(kind)
        .first(&["schemaVersion", "mediaType"]);
    Ok(match family {
        Family::Oci => builder,
        Family::Docker => builder.without_others(),
    })
}

/// A descriptor as the family writes it.
fn entry(descriptor: &Descriptor, family: Family) -> Value {
    if family == Family::Oci {
        return json!(descriptor);
    }
    let mut entry = json!({"mediaType": descriptor.media_type, "size": descriptor.size,
        "digest": descriptor.digest});
    if let Some(urls) = descriptor.rest.get("urls") {
        entry["urls"] = urls.clone();
    }
    if let Some(platform) = &descriptor.platform {
        entry["platform"] = json!(platform);
    }
    entry
}

/// Whether a blob's type is a word of the other family.
fn is_others(blob: &Blob, family: Family) -> bool {
    let written = blob.descriptor().media_type.as_str();
    let others_config = match family {
        Family::Docker => media_type::OCI_CONFIG,
        Family::Oci => media_type::DOCKER_CONFIG,
    };
    written == others_config || LayerType::parse(written).is_some_and(|kind| kind.family != family)
}

fn config_type(image: &Image, family: Family) -> Result<&str> {
    let written = image.config.descriptor().media_type.as_str();
    match (family, written) {
        // Also one that Docker gave a wrong type.
        (Family::Docker, _) if image.is_runnable() => Ok(media_type::DOCKER_CONFIG),
        (Family::Oci, _) if image.is_runnable() => Ok(media_type::OCI_CONFIG),
        (Family::Docker, media_type::OCI_CONFIG | media_type::DOCKER_CONFIG) => {
            Ok(media_type::DOCKER_CONFIG)
        }
        (Family::Docker, other) => Err(no_word(&format!("a config of type {other}"))),
        (Family::Oci, media_type::DOCKER_CONFIG) => Ok(media_type::OCI_CONFIG),
        (Family::Oci, other) => Ok(other),
    }
}

fn layer_type(layer: &Descriptor, family: Family) -> Result<&str> {
    let written = layer.media_type.as_str();
    let kind = LayerType::parse(written).map(|kind| LayerType { family, ..kind });
    let word = kind.and_then(LayerType::media_type);
    match (family, kind, word) {
        // Some tools have a type for it; engines that read lists of Docker's
        // have none.
        (Family::Docker, Some(kind), _) if kind.compression == Compression::Zstd => {
            Err(no_word("a layer compressed with zstd"))
        }
        (_, _, Some(word)) => Ok(word),
        (Family::Docker, _, None) => Err(no_word(&format!("a layer of type {written}"))),
        // OCI has room for layers of any type.
        (Family::Oci, _, None) => Ok(written),
    }
}

fn no_word(what: &str) -> Error {
    Error::Unsupported {
        what: format!("Docker's format cannot express {what}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::tests::{Made, image, image_for, index};

    fn types(image: &Image) -> Vec<String> {
        let all = image
            .blobs()
            .map(|blob| blob.descriptor().media_type.clone());
        std::iter::once(image.manifest.media_type().to_string())
            .chain(all)
            .collect()
    }

    #[test]
    fn images_change_their_types_and_nothing_else() {
        let oci = image(&[Made::Gzip(b"a"), Made::Plain(b"b")]);
        let docker = convert_image(&oci, Family::Docker).unwrap();
        assert_eq!(
            types(&docker),
            [
                media_type::DOCKER_MANIFEST,
                media_type::DOCKER_CONFIG,
                "application/vnd.docker.image.rootfs.diff.tar.gzip",
                "application/vnd.docker.image.rootfs.diff.tar"
            ]
        );
        let digests = |image: &Image| image.blobs().map(|b| *b.digest()).collect::<Vec<_>>();
        assert_eq!(digests(&docker), digests(&oci));
        let text = String::from_utf8(docker.manifest.bytes().to_vec()).unwrap();
        assert!(
            !text.contains("odd") && !text.contains("annotations"),
            "{text}"
        );
        // There and back, and again: always the same bytes.
        let back = convert_image(&docker, Family::Oci).unwrap();
        assert_eq!(types(&back), types(&oci));
        let again = convert_image(&back, Family::Docker).unwrap();
        assert_eq!(again.manifest, docker.manifest);
        for (image, family) in [(&oci, Family::Oci), (&docker, Family::Docker)] {
            let same = convert_image(image, family).unwrap();
            assert_eq!(same.manifest, *image.manifest());
        }
    }

    #[test]
    fn nothing_is_lost_on_the_way_to_oci() {
        let oci = image(&[Made::Gzip(b"a")]);
        let mut value: Value = serde_json::from_slice(oci.manifest.bytes()).unwrap();
        value["mediaType"] = json!(media_type::DOCKER_MANIFEST);
        value["annotations"] = json!({"k": "v"});
        let mixed = Manifest::new(None, value.to_string().into_bytes()).unwrap();
        let mixed = Image::new(mixed, *oci.config.clone(), oci.layers.clone()).unwrap();
        let all_oci = convert_image(&mixed, Family::Oci).unwrap();
        let view = all_oci.manifest.image().unwrap();
        assert_eq!(view.annotations["k"], "v");
        assert_eq!(view.rest["odd"], 1);
    }

    #[test]
    fn lists_lose_attestations_and_indexes_point_them_anew() {
        let images = [
            image_for("linux/amd64", &[Made::Gzip(b"a")]),
            image_for("linux/arm64", &[Made::Gzip(b"b")]),
        ];
        let oci = index(&images);
        let list = convert_index(&oci, Family::Docker).unwrap();
        let listed = list.manifest.index().unwrap().manifests;
        assert_eq!(listed.len(), 2);
        assert_eq!(
            listed[1].platform.as_ref().unwrap().to_string(),
            "linux/arm64"
        );
        assert!(
            listed
                .iter()
                .all(|d| d.media_type == media_type::DOCKER_MANIFEST)
        );
        // A list that has an attestation all the same, of a converted image.
        let mut children = list.children.clone();
        let mut attestation = oci.children[2].clone();
        let about = children[0].descriptor.digest.to_string();
        attestation
            .descriptor
            .annotations
            .insert(ATTESTED.into(), about);
        children.push(attestation);
        let listed: Vec<_> = children.iter().map(|c| &c.descriptor).collect();
        let bytes =
            json!({"schemaVersion": 2, "mediaType": media_type::DOCKER_LIST, "manifests": listed});
        let bytes = bytes.to_string().into_bytes();
        let mixed = Index::new(Manifest::new(None, bytes).unwrap(), children).unwrap();
        let back = convert_index(&mixed, Family::Oci).unwrap();
        let listed = back.manifest.index().unwrap().manifests;
        assert_eq!(
            listed[2].annotations[ATTESTED],
            listed[0].digest.to_string()
        );
        assert_eq!(listed[0].digest, back.children[0].node.manifest().digest());
    }

    #[test]
    fn an_entry_does_not_hold_what_it_pointed_at_before() {
        let docker = convert_image(&image(&[Made::Gzip(b"a")]), Family::Docker).unwrap();
        let mut descriptor = docker.manifest.descriptor();
        descriptor.rest.insert("data".into(), "eyJvbGQiOjF9".into());
        let bytes = json!({"schemaVersion": 2, "mediaType": media_type::OCI_INDEX,
            "manifests": [descriptor]});
        let manifest = Manifest::new(None, bytes.to_string().into_bytes()).unwrap();
        let node = Node::Image(docker);
        let mixed = Index::new(manifest, vec![Child { descriptor, node }]).unwrap();
        let all_oci = convert_index(&mixed, Family::Oci).unwrap();
        let text = String::from_utf8(all_oci.manifest.bytes().to_vec()).unwrap();
        assert!(!text.contains("data"), "{text}");
    }

    #[test]
    fn what_docker_has_no_word_for_is_refused() {
        let artifact = {
            let blob = Blob::bytes("text/plain", b"x".to_vec());
            let config = Blob::bytes(media_type::OCI_EMPTY, b"{}".to_vec());
            let document = json!({"schemaVersion": 2, "mediaType": media_type::OCI_MANIFEST,
                "config": config.descriptor(), "layers": [blob.descriptor()]});
            let manifest = Manifest::new(None, document.to_string().into_bytes()).unwrap();
            Image::new(manifest, config, vec![blob]).unwrap()
        };
        for (image, word) in [
            (image(&[Made::Zstd(b"a")]), "zstd"),
            (artifact.clone(), "empty"),
        ] {
            let said = convert_image(&image, Family::Docker)
                .unwrap_err()
                .to_string();
            assert!(said.contains(word), "{said}");
        }
        let alias = Manifest::alias(&[Descriptor::new("", Digest::of(b"x"), 1)]).unwrap();
        let alias = Image::of(alias, |_| Ok(Blob::bytes("text/plain", b"x".to_vec()))).unwrap();
        let same = convert_image(&alias, Family::Docker).unwrap();
        assert_eq!(same.manifest, alias.manifest);
        let same = convert_image(&artifact, Family::Oci).unwrap();
        assert_eq!(same.manifest, artifact.manifest);
    }
}
