//! The contents of an archive that is docker-archive and OCI layout at once,
//! decided before the first byte is written: the lists first, then every blob
//! once, by name.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::docker::LIST;
use super::oci::{INDEX, MARK, blob_name};
use super::{Item, familiar_name, full_name};
use crate::blob::Blob;
use crate::descriptor::annotation::{FULL_NAME, REF_NAME};
use crate::descriptor::{Descriptor, media_type};
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::image::layer::is_foreign;
use crate::image::{Image, Node};
use crate::manifest::{Builder, best_fit};
use crate::platform::Platform;

/// One member, and what is in it.
pub(crate) struct Member {
    pub name: String,
    pub content: Content,
}

/// The bytes of a member.
#[derive(Clone)]
pub(crate) enum Content {
    Bytes(Vec<u8>),
    Blob(Box<Blob>),
}

impl Content {
    pub fn size(&self) -> u64 {
        match self {
            Content::Bytes(bytes) => bytes.len() as u64,
            Content::Blob(blob) => blob.size(),
        }
    }
}

/// The members of a hybrid archive, in their order.
pub(crate) fn hybrid(items: &[Item], platform: Option<&Platform>) -> Result<Vec<Member>> {
    let mut blobs = BTreeMap::new();
    let mut entries = Vec::new();
    let mut loadable = Vec::new();
    for item in items {
        collect(&item.node, &item.node.manifest().digest(), &mut blobs)?;
        entries.extend(index_entries(item));
        loadable.extend(docker_entries(item, platform)?);
    }
    let bytes = |value: &Value| Content::Bytes(value.to_string().into_bytes());
    let index = Builder::new(media_type::OCI_INDEX).manifests(entries);
    let mut members = vec![
        (
            MARK.to_string(),
            bytes(&json!({"imageLayoutVersion": "1.0.0"})),
        ),
        (INDEX.to_string(), Content::Bytes(index.into_bytes())),
    ];
    if !loadable.is_empty() {
        members.push((LIST.to_string(), bytes(&Value::Array(loadable))));
    }
    let members = members.into_iter().chain(blobs);
    Ok(members
        .map(|(name, content)| Member { name, content })
        .collect())
}

/// Every manifest and blob below a node, under the digest it is listed by.
fn collect(node: &Node, digest: &Digest, to: &mut BTreeMap<String, Content>) -> Result<()> {
    let manifest = Content::Bytes(node.manifest().bytes().to_vec());
    add(digest, manifest, to)?;
    match node {
        Node::Image(image) => {
            for blob in image.blobs() {
                add(blob.digest(), Content::Blob(Box::new(blob.clone())), to)?;
            }
            Ok(())
        }
        Node::Index(index) => {
            for blob in index.blobs() {
                add(blob.digest(), Content::Blob(Box::new(blob.clone())), to)?;
            }
            let mut children = index.children().iter();
            children.try_for_each(|child| collect(&child.node, &child.descriptor.digest, to))
        }
    }
}

fn add(digest: &Digest, content: Content, to: &mut BTreeMap<String, Content>) -> Result<()> {
    let size = content.size();
    let known = to.entry(blob_name(digest)).or_insert(content).size();
    if known == size {
        return Ok(());
    }
    Err(Error::Size {
        what: digest.to_string(),
        expected: known,
        actual: size,
    })
}

/// What the layout's index says of an item: once for each name, and for each
/// label that is not the tag of one.
pub(crate) fn index_entries(item: &Item) -> Vec<Descriptor> {
    let mut plain = item.node.manifest().descriptor();
    if let Node::Image(image) = &item.node
        && image.is_runnable()
    {
        let platform = image.config().map(|config| config.platform()).ok();
        plain.platform = platform
            .filter(|platform| !platform.is_unknown())
            .map(Box::new);
    }
    let named = |annotations: &[(&str, String)]| {
        let mut entry = plain.clone();
        let pairs = annotations.iter().map(|(k, v)| (k.to_string(), v.clone()));
        entry.annotations.extend(pairs);
        entry
    };
    let by_name = item.names.iter().filter_map(|name| {
        let (tag, full) = (name.tag.as_ref()?, full_name(name)?);
        Some(named(&[(REF_NAME, tag.to_string()), (FULL_NAME, full)]))
    });
    let is_tag = |label: &String| {
        let mut tags = item.names.iter().filter_map(|name| name.tag.as_ref());
        tags.any(|tag| tag.as_str() == label)
    };
    let labels = item.labels.iter().filter(|label| !is_tag(label));
    let by_label = labels.map(|label| named(&[(REF_NAME, label.clone())]));
    let mut entries: Vec<_> = by_name.chain(by_label).collect();
    if entries.is_empty() {
        entries.push(plain);
    }
    entries
}

/// What Docker's list says of an item: each image it can load, and the names
/// with the one that `platform` means.
///
/// Docker refuses a whole archive for one image of another operating system,
/// so only those of the chosen one's stand there; attestations are no images.
pub(crate) fn docker_entries(item: &Item, platform: Option<&Platform>) -> Result<Vec<Value>> {
    let mut images = loadable(item)?;
    images.retain(|(_, image)| {
        !image
            .layers()
            .iter()
            .any(|layer| is_foreign(layer.descriptor()))
    });
    let Some(chosen) = chosen(&images, platform) else {
        return Ok(Vec::new());
    };
    let os = |d: &Descriptor| d.platform.as_ref().map(|p| p.os.clone());
    let chosen_os = os(&images[chosen].0);
    let images = images.iter().enumerate();
    let entries = images
        .filter(|(_, (descriptor, _))| os(descriptor) == chosen_os)
        .map(|(i, (_, image))| {
            let tags = (i == chosen).then(|| repo_tags(item)).flatten();
            let layers: Vec<_> = image
                .layers()
                .iter()
                .map(|l| blob_name(l.digest()))
                .collect();
            let config = blob_name(image.config_blob().digest());
            json!({"Config": config, "RepoTags": tags, "Layers": layers})
        });
    Ok(entries.collect())
}

/// The names of an item in Docker's list; `None` when it has none, because a
/// name that was not given would replace another image.
pub(crate) fn repo_tags(item: &Item) -> Option<Vec<String>> {
    let tags: Vec<String> = item.names.iter().filter_map(familiar_name).collect();
    (!tags.is_empty()).then_some(tags)
}

/// The images of an item that are a file system.
fn loadable(item: &Item) -> Result<Vec<(Descriptor, &Image)>> {
    let mut images = match item.node {
        // Whether or not its config says a platform.
        Node::Image(_) => item.node.images(),
        Node::Index(_) => item.node.platforms()?,
    };
    images.retain(|(_, image)| image.is_runnable());
    Ok(images)
}

/// The place of the image that `platform` means, or else of the first.
fn chosen(images: &[(Descriptor, &Image)], platform: Option<&Platform>) -> Option<usize> {
    let descriptors: Vec<Descriptor> = images.iter().map(|(d, _)| d.clone()).collect();
    let best = platform.and_then(|wanted| best_fit(&descriptors, wanted));
    descriptors
        .iter()
        .position(|d| best.is_none_or(|best| best.digest == d.digest))
}

/// The image of an item that Docker's own format can hold.
pub(crate) fn one_image<'a>(item: &'a Item, platform: Option<&Platform>) -> Result<&'a Image> {
    let images = loadable(item)?;
    let found = chosen(&images, platform).map(|i| images[i].1);
    found.ok_or_else(|| Error::Unsupported {
        what: format!(
            "{} is not an image that an engine can load",
            item.node.manifest().digest()
        ),
    })
}
