//! Images as values: a manifest, a config, and layers that are fetched when
//! they are read.
//!
//! A [`Node`] is what a name points to: one image, or an index of several.
//! The manifests are kept byte for byte. Nothing here knows where bytes come
//! from; [`crate::graph`] makes nodes of stores, [`crate::archive`] of files.

pub mod check;
pub mod config;
mod convert;
mod diff;
pub mod edit;
mod file;
pub mod files;
pub mod gzip;
pub mod layer;
pub mod make;
mod name;
pub mod schema1;
mod stack;
mod view;

use std::collections::HashSet;

pub use check::check;
pub use config::Config;
pub use convert::convert;
pub use diff::{Change, Diff, DiffFile, DiffLayer, Member, Of, diff};
pub use edit::{Editor, Timestamp, edit_images};
pub use file::{ImageFile, file};
pub use layer::{Compression, Family, LayerType};
pub use make::RootFs;

use crate::blob::Blob;
use crate::bounds;
pub use crate::manifest::{Select, best_fit, is_index, is_selectable};

use crate::descriptor::Descriptor;
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::manifest::{Kind, Manifest, is_manifest};
use crate::platform::Platform;

/// More layers than any file system driver stacks, few enough to be harmless.
pub const MAX_LAYERS: usize = bounds::LAYERS;
/// How deep indexes may be nested.
pub const MAX_DEPTH: usize = bounds::INDEX_LEVELS;

/// One image, or another artifact of the same shape.
#[derive(Clone, Debug)]
pub struct Image {
    manifest: Manifest,
    config: Box<Blob>,
    layers: Vec<Blob>,
}

/// Several manifests under one, with the descriptors that list them.
#[derive(Clone, Debug)]
pub struct Index {
    manifest: Manifest,
    children: Vec<Child>,
    blobs: Vec<Blob>,
}

/// An entry of an index.
#[derive(Clone, Debug)]
pub struct Child {
    /// What the index says of it.
    pub descriptor: Descriptor,
    /// What it is.
    pub node: Node,
}

/// What a name points to.
#[derive(Clone, Debug)]
pub enum Node {
    /// One image.
    Image(Image),
    /// An index of images.
    Index(Index),
}

impl Image {
    /// An image of its parts.
    ///
    /// # Errors
    /// [`Error::Malformed`] when the manifest lists other blobs, or more than
    /// [`MAX_LAYERS`] layers.
    pub fn new(manifest: Manifest, config: Blob, layers: Vec<Blob>) -> Result<Image> {
        let view = manifest.image()?;
        bounded(view.layers.len())?;
        let same = |listed: &Descriptor, blob: &Blob| {
            listed.digest == *blob.digest() && listed.size == blob.size()
        };
        let agree = view.layers.len() == layers.len()
            && same(&view.config, &config)
            && view.layers.iter().zip(&layers).all(|(a, b)| same(a, b));
        if !agree {
            return Err(Error::malformed(
                "manifest",
                "its blobs differ from those of the image",
            ));
        }
        Ok(Image {
            manifest,
            config: Box::new(config),
            layers,
        })
    }

    /// The image a manifest describes, each of its blobs as `blob` gives it.
    ///
    /// # Errors
    /// [`Error::Malformed`] for more than [`MAX_LAYERS`] layers, those of `blob`.
    pub fn of(
        manifest: Manifest,
        mut blob: impl FnMut(&Descriptor) -> Result<Blob>,
    ) -> Result<Image> {
        let view = manifest.image()?;
        bounded(view.layers.len())?;
        Ok(Image {
            config: Box::new(blob(&view.config)?),
            layers: view.layers.iter().map(&mut blob).collect::<Result<_>>()?,
            manifest,
        })
    }

    /// The manifest, byte for byte.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The config as a blob; its digest is what Docker calls the image id.
    pub fn config_blob(&self) -> &Blob {
        &self.config
    }

    /// The layers, lowest first; one that is used twice is listed twice.
    pub fn layers(&self) -> &[Blob] {
        &self.layers
    }

    /// Refuses an image that runs on another platform. What says none, and what
    /// is not an image of a file system, fits all.
    ///
    /// # Errors
    /// [`Error::NoPlatform`]; those of the config's source.
    pub fn must_run_on(&self, platform: &Platform) -> Result<()> {
        if !self.is_runnable() {
            return Ok(());
        }
        let there = self.config()?.platform();
        if there.is_unknown() || platform.fit(&there).is_some() {
            return Ok(());
        }
        Err(Error::NoPlatform {
            wanted: platform.to_string(),
            available: vec![there.to_string()],
        })
    }

    /// The same image, with `place` as where its blobs' errors happen
    /// ([`Blob::at`]).
    pub fn at(&self, place: &str) -> Image {
        Image {
            manifest: self.manifest.clone(),
            config: Box::new(self.config.at(place)),
            layers: self.layers.iter().map(|layer| layer.at(place)).collect(),
        }
    }

    /// Config and layers.
    pub fn blobs(&self) -> impl Iterator<Item = &Blob> {
        std::iter::once(&*self.config).chain(&self.layers)
    }

    /// The config, read and verified.
    ///
    /// # Errors
    /// Those of the config's source, [`Error::Mismatch`], [`Error::Size`],
    /// [`Error::Malformed`].
    pub fn config(&self) -> Result<Config> {
        Config::parse(&self.config.read(config::MAX_SIZE)?)
    }

    /// Whether this is a file system that an engine can run, as far as types
    /// tell: an attestation, a chart or an alias of plain blobs is not.
    pub fn is_runnable(&self) -> bool {
        let view = self.manifest.image();
        view.is_ok_and(|view| config::is_file_system(&view))
    }
}

fn bounded(layers: usize) -> Result<()> {
    if layers > MAX_LAYERS {
        let why = format!("{layers} layers exceed the limit of {MAX_LAYERS}");
        return Err(Error::malformed("manifest", why));
    }
    Ok(())
}

impl Index {
    /// An index and everything it lists, in its order.
    ///
    /// # Errors
    /// [`Error::Malformed`] when the manifest lists other children, or blobs.
    pub fn new(manifest: Manifest, children: Vec<Child>) -> Result<Index> {
        Index::with_blobs(manifest, children, Vec::new())
    }

    /// The same for an index some of whose entries are blobs, as those of
    /// BuildKit's cache: those entries in their order, apart from the others.
    ///
    /// # Errors
    /// [`Error::Malformed`] when the manifest lists others.
    pub fn with_blobs(manifest: Manifest, children: Vec<Child>, blobs: Vec<Blob>) -> Result<Index> {
        let (manifests, others): (Vec<_>, Vec<_>) = match manifest.kind() {
            Kind::Unknown => (Vec::new(), manifest.artifact_blobs()?),
            _ => {
                let listed = manifest.index()?.manifests.into_iter();
                listed.partition(is_manifest)
            }
        };
        let mut same = manifests
            .iter()
            .map(|d| d.digest)
            .eq(children.iter().map(|c| c.descriptor.digest));
        same &= others
            .iter()
            .map(|d| &d.digest)
            .eq(blobs.iter().map(Blob::digest));
        if !same {
            return Err(Error::malformed(
                "index",
                "its manifests differ from the given ones",
            ));
        }
        Ok(Index {
            manifest,
            children,
            blobs,
        })
    }

    /// The manifest, byte for byte.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The entries that are manifests, in order.
    pub fn children(&self) -> &[Child] {
        &self.children
    }

    /// The entries that are blobs, in order.
    pub fn blobs(&self) -> &[Blob] {
        &self.blobs
    }
}

impl Node {
    /// The manifest, byte for byte.
    pub fn manifest(&self) -> &Manifest {
        match self {
            Node::Image(image) => &image.manifest,
            Node::Index(index) => &index.manifest,
        }
    }

    /// The same node, with `place` as where its blobs' errors happen
    /// ([`Blob::at`]).
    pub fn at(&self, place: &str) -> Node {
        match self {
            Node::Image(image) => Node::Image(image.at(place)),
            Node::Index(index) => {
                let child = |child: &Child| Child {
                    descriptor: child.descriptor.clone(),
                    node: child.node.at(place),
                };
                Node::Index(Index {
                    manifest: index.manifest.clone(),
                    children: index.children.iter().map(child).collect(),
                    blobs: index.blobs.iter().map(|blob| blob.at(place)).collect(),
                })
            }
        }
    }

    /// Every image below, in order, with the descriptor of the index that
    /// lists it (its manifest's own for an image that stands alone).
    pub fn images(&self) -> Vec<(Descriptor, &Image)> {
        match self {
            Node::Image(image) => vec![(image.manifest.descriptor(), image)],
            Node::Index(index) => {
                let below = index.children.iter().map(|child| match &child.node {
                    Node::Image(image) => vec![(child.descriptor.clone(), image)],
                    deeper => deeper.images(),
                });
                below.flatten().collect()
            }
        }
    }

    /// The images below that a platform can mean, each with the one it is for:
    /// what the index says, or else its config, unless it refers to another
    /// image. One that stands alone is among them where its config says a platform.
    ///
    /// # Errors
    /// Those of a config that has to be read for it.
    pub fn platforms(&self) -> Result<Vec<(Descriptor, &Image)>> {
        let mut found = Vec::new();
        for (mut entry, image) in self.images() {
            let is_alone = matches!(self, Node::Image(_));
            let refers = !is_alone && image.manifest().subject()?.is_some();
            if entry.platform.is_none() && image.is_runnable() && !refers {
                entry.platform = Some(image.config()?.platform().into());
            }
            if is_selectable(&entry) {
                found.push((entry, image));
            }
        }
        Ok(found)
    }

    /// The selected part of this node: for a single image, the node itself.
    ///
    /// # Errors
    /// [`Error::NoPlatform`] when nothing fits; those of [`Node::platforms`].
    pub fn select(self, wanted: Select<'_>) -> Result<Node> {
        if let (Node::Image(_), _) | (_, Select::All) = (&self, wanted) {
            return Ok(self);
        }
        let found = self.platforms()?;
        let entries: Vec<Descriptor> = found.iter().map(|(entry, _)| entry.clone()).collect();
        let meant = wanted.pick(&entries)?.map(|entry| entry.digest);
        let mut images = found.iter();
        let image = images.find(|(entry, _)| Some(entry.digest) == meant);
        let image = image.map(|(_, image)| Node::Image((*image).clone()));
        Ok(image.unwrap_or(self))
    }

    /// Every blob below, each digest once, in the order of the manifests.
    pub fn blobs(&self) -> Vec<&Blob> {
        let mut seen = HashSet::<Digest>::new();
        let images = self.images().into_iter();
        images
            .flat_map(|(_, image)| image.blobs())
            .chain(self.listed_blobs())
            .filter(|blob| seen.insert(*blob.digest()))
            .collect()
    }

    /// The blobs that indexes list, here and below.
    pub fn listed_blobs(&self) -> Vec<&Blob> {
        let Node::Index(index) = self else {
            return Vec::new();
        };
        let below = index.children.iter();
        let below = below.flat_map(|child| child.node.listed_blobs());
        index.blobs.iter().chain(below).collect()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::descriptor::media_type;
    use crate::manifest::ATTESTATION;
    use serde_json::json;
    use std::io::Write;

    /// A layer of a test image: what its plain bytes are, and how it is kept.
    #[derive(Clone, Copy)]
    pub enum Made<'a> {
        Plain(&'a [u8]),
        Gzip(&'a [u8]),
        Zstd(&'a [u8]),
    }

    impl Made<'_> {
        fn plain(&self) -> &[u8] {
            match self {
                Made::Plain(b) | Made::Gzip(b) | Made::Zstd(b) => b,
            }
        }

        fn blob(&self) -> Blob {
            let compression = match self {
                Made::Plain(_) => Compression::None,
                Made::Gzip(_) => Compression::Gzip,
                Made::Zstd(_) => Compression::Zstd,
            };
            let kind = LayerType::new(layer::Family::Oci, compression)
                .media_type()
                .unwrap();
            Blob::bytes(
                kind,
                match self {
                    Made::Plain(bytes) => bytes.to_vec(),
                    Made::Gzip(bytes) => {
                        let mut to =
                            flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
                        to.write_all(bytes).unwrap();
                        to.finish().unwrap()
                    }
                    Made::Zstd(bytes) => zstd::encode_all(*bytes, 3).unwrap(),
                },
            )
        }
    }

    /// A layer of members: `name` holds its own name, `name/` is a folder,
    /// `name -> target` a link, `name = target` a hard link, `|name` a pipe; all with the same mode and time.
    pub fn layer_of(members: &[&str]) -> Vec<u8> {
        let mut to = ::tar::Builder::new(Vec::new());
        for member in members {
            let mut header = ::tar::Header::new_gnu();
            header.set_mode(0o4755);
            header.set_mtime(1_000_000_000);
            header.set_size(0);
            if let Some((name, target)) = member.split_once(" -> ") {
                header.set_entry_type(::tar::EntryType::Symlink);
                to.append_link(&mut header, name, target).unwrap();
            } else if let Some((name, target)) = member.split_once(" = ") {
                header.set_entry_type(::tar::EntryType::Link);
                to.append_link(&mut header, name, target).unwrap();
            } else if let Some(name) = member.strip_prefix('|') {
                header.set_entry_type(::tar::EntryType::Fifo);
                to.append_data(&mut header, name, &b""[..]).unwrap();
            } else if member.ends_with('/') {
                header.set_entry_type(::tar::EntryType::Directory);
                to.append_data(&mut header, member, &b""[..]).unwrap();
            } else {
                header.set_size(member.len() as u64);
                to.append_data(&mut header, member, member.as_bytes())
                    .unwrap();
            }
        }
        to.into_inner().unwrap()
    }

    /// An OCI image for `platform`, true in every digest.
    pub fn image_for(platform: &str, layers: &[Made<'_>]) -> Image {
        let platform: Platform = platform.parse().unwrap();
        let diff_ids: Vec<_> = layers.iter().map(|l| Digest::of(l.plain())).collect();
        let config = json!({"os": platform.os, "architecture": platform.architecture,
            "variant": platform.variant, "config": {"Cmd": ["/hello"]},
            "rootfs": {"type": "layers", "diff_ids": diff_ids}, "history": []});
        let config = Blob::bytes(media_type::OCI_CONFIG, config.to_string().into_bytes());
        let layers: Vec<Blob> = layers.iter().map(Made::blob).collect();
        let listed: Vec<_> = layers.iter().map(Blob::descriptor).collect();
        // Indented, so that a manifest that was written again is noticed.
        let manifest = json!({"schemaVersion": 2, "mediaType": media_type::OCI_MANIFEST,
            "config": config.descriptor(), "layers": listed, "odd": 1});
        let bytes = serde_json::to_vec_pretty(&manifest).unwrap();
        Image::new(Manifest::new(None, bytes).unwrap(), config, layers).unwrap()
    }

    pub fn image(layers: &[Made<'_>]) -> Image {
        image_for("linux/amd64", layers)
    }

    /// An index of images, with an attestation of the first at its end.
    pub fn index(images: &[Image]) -> Index {
        let mut children: Vec<Child> = images
            .iter()
            .map(|image| {
                let mut descriptor = image.manifest().descriptor();
                descriptor.platform = Some(image.config().unwrap().platform().into());
                Child {
                    descriptor,
                    node: Node::Image(image.clone()),
                }
            })
            .collect();
        let statement = Blob::bytes("application/vnd.in-toto+json", b"{}".to_vec());
        let config = json!({"os": "unknown", "architecture": "unknown",
            "rootfs": {"type": "layers", "diff_ids": [statement.digest()]}});
        let config = Blob::bytes(media_type::OCI_CONFIG, config.to_string().into_bytes());
        let manifest = json!({"schemaVersion": 2, "mediaType": media_type::OCI_MANIFEST,
            "config": config.descriptor(), "layers": [statement.descriptor()]});
        let manifest = Manifest::new(None, manifest.to_string().into_bytes()).unwrap();
        let mut descriptor = manifest.descriptor();
        descriptor.platform = Some(Box::new("unknown/unknown".parse().unwrap()));
        descriptor
            .annotations
            .insert(ATTESTATION.into(), "attestation-manifest".into());
        let node = Node::Image(Image::new(manifest, config, vec![statement]).unwrap());
        children.push(Child { descriptor, node });
        let listed: Vec<_> = children.iter().map(|c| &c.descriptor).collect();
        let manifest =
            json!({"schemaVersion": 2, "mediaType": media_type::OCI_INDEX, "manifests": listed});
        let manifest = Manifest::new(None, serde_json::to_vec_pretty(&manifest).unwrap()).unwrap();
        Index::new(manifest, children).unwrap()
    }

    #[test]
    fn parts_must_be_those_the_manifest_lists() {
        let (a, b) = (image(&[Made::Gzip(b"a")]), image(&[Made::Gzip(b"b")]));
        let wrong = Image::new(
            a.manifest().clone(),
            a.config_blob().clone(),
            b.layers().to_vec(),
        );
        assert!(matches!(wrong, Err(Error::Malformed { .. })));
        assert!(Image::new(a.manifest().clone(), a.config_blob().clone(), vec![]).is_err());
        let index = index(std::slice::from_ref(&a));
        assert!(Index::new(index.manifest().clone(), vec![]).is_err());
        assert!(Index::new(a.manifest().clone(), vec![]).is_err());
    }

    #[test]
    fn nodes_list_what_is_below_once() {
        let (a, b) = (
            image_for("linux/amd64", &[Made::Gzip(b"base"), Made::Gzip(b"a")]),
            image_for("linux/arm64", &[Made::Gzip(b"base"), Made::Gzip(b"b")]),
        );
        let node = Node::Index(index(&[a.clone(), b]));
        let runnable: Vec<_> = node.images().iter().map(|(_, i)| i.is_runnable()).collect();
        assert_eq!(runnable, [true, true, false]);
        assert_eq!(node.blobs().len(), 2 + 3 + 2);
        assert_eq!(Node::Image(a).blobs().len(), 3);
    }

    #[test]
    fn what_refers_to_an_image_is_not_for_a_platform() {
        let image = image(&[Made::Gzip(b"a")]);
        let mut referrer: serde_json::Value =
            serde_json::from_slice(image.manifest().bytes()).unwrap();
        referrer["subject"] = json!(image.manifest().descriptor());
        let referrer = Manifest::new(None, referrer.to_string().into_bytes()).unwrap();
        let (config, layers) = (image.config_blob().clone(), image.layers().to_vec());
        let referrer = Image::new(referrer, config, layers).unwrap();
        let children: Vec<Child> = [&referrer, &image]
            .map(|image| Child {
                descriptor: image.manifest().descriptor(),
                node: Node::Image(image.clone()),
            })
            .into();
        let listed: Vec<_> = children.iter().map(|c| &c.descriptor).collect();
        let manifest =
            json!({"schemaVersion": 2, "mediaType": media_type::OCI_INDEX, "manifests": listed});
        let manifest = Manifest::new(None, manifest.to_string().into_bytes()).unwrap();
        let node = Node::Index(Index::new(manifest, children).unwrap());
        let found = node.platforms().unwrap();
        let digests: Vec<_> = found.iter().map(|(entry, _)| entry.digest).collect();
        assert_eq!(digests, [image.manifest().digest()]);
        assert_eq!(Node::Image(referrer).platforms().unwrap().len(), 1);
    }

    #[test]
    fn configs_of_old_dockers_are_configs() {
        let layer = Blob::bytes(
            "application/vnd.docker.image.rootfs.diff.tar",
            b"a".to_vec(),
        );
        let made = |config: &str, layers: &[Blob]| {
            let config = Blob::bytes(config, br#"{"os":"linux"}"#.to_vec());
            let manifest = crate::manifest::Builder::new(media_type::DOCKER_MANIFEST)
                .config(config.descriptor())
                .layers(layers.iter().map(Blob::descriptor));
            Image::new(manifest.build().unwrap(), config, layers.to_vec()).unwrap()
        };
        for old in [
            "application/octet-stream",
            "application/json",
            "text/html",
            "",
        ] {
            assert!(
                made(old, std::slice::from_ref(&layer)).is_runnable(),
                "{old}"
            );
            let oci = layer.with_media_type("application/vnd.oci.image.layer.v1.tar");
            assert!(!made(old, &[oci]).is_runnable(), "{old}");
            assert!(!made(old, &[]).is_runnable(), "{old}");
        }
        assert!(!made("text/plain", &[layer]).is_runnable());
    }

    #[test]
    fn thousands_of_layers_are_refused() {
        let blob = Descriptor::new("x/y", Digest::of(b""), 0);
        let manifest = Manifest::alias(&vec![blob; MAX_LAYERS + 1]).unwrap();
        let made = Image::of(manifest, |d| {
            Ok(Blob::new(d.clone(), crate::blob::Bytes(vec![])))
        });
        assert!(matches!(made, Err(Error::Malformed { .. })));
    }
}
