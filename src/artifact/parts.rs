//! One file kept as several blobs: an OCI image manifest that lists the parts.
//!
//! A registry's largest blob, a proxy's largest body and the speed of one
//! connection all end before a disk image does. So the file is cut, and the
//! manifest puts it together again:
//!
//! | member | value |
//! |---|---|
//! | `mediaType` | `application/vnd.oci.image.manifest.v1+json` |
//! | `artifactType` | [`ARTIFACT_TYPE`] |
//! | `config` | the empty config `{}` (image-spec, "Guidelines for Artifact Usage") |
//! | `layers` | the parts in order, `application/octet-stream`; the file is their bytes one after the other, and a part that occurs twice is listed twice |
//! | annotation `org.opencontainers.image.title` | the file's name without folders; absent where there was none (standard input) |
//! | annotation `vnd.dxf.content.size` | the file's size in bytes, decimal |
//! | annotation `vnd.dxf.content.digest` | the file's digest |
//! | annotation `vnd.dxf.split` | how it was cut, as [`Split`] writes itself; a hint, of use for cutting an older file alike |
//!
//! An empty file is one empty part. The JSON is written as Python writes it
//! with sorted keys, so the same file cut alike has the same manifest, byte for
//! byte. A tool that does not know this type sees an alias of so many blobs:
//! python-dxf's `pull-blob` of it writes the file.

use std::collections::BTreeMap;

use crate::artifact::Split;
use crate::blob::Blob;
use crate::bounds;
use crate::descriptor::annotation::TITLE;
use crate::descriptor::{Descriptor, media_type};
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::graph::JoinedFile;
use crate::manifest::{Builder, Kind, Manifest};

/// What the manifest of a file in parts says it is.
pub const ARTIFACT_TYPE: &str = "application/vnd.dxf.parts.v1";

/// Its size.
const SIZE: &str = "vnd.dxf.content.size";
/// Its digest.
pub(crate) const DIGEST: &str = "vnd.dxf.content.digest";
/// How it was cut.
pub(crate) const SPLIT: &str = "vnd.dxf.split";

/// The longest name of a file there is (Linux, macOS, Windows), bytes.
const MAX_NAME: usize = 255;

/// A file that is kept as several blobs.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Parts {
    /// Its name, without folders; `None` where it has none.
    pub name: Option<String>,
    /// Its length, bytes: the sum of the parts'.
    pub size: u64,
    /// The digest of the whole.
    pub digest: Digest,
    /// What it was cut with, where that is known.
    pub split: Option<Split>,
    /// The parts, in order.
    pub parts: Vec<Descriptor>,
}

impl Parts {
    /// The file, as one blob, and its parts.
    #[must_use]
    pub fn into_file(self) -> JoinedFile {
        JoinedFile {
            whole: Descriptor::new(media_type::OCTET_STREAM, self.digest, self.size),
            parts: self.parts,
        }
    }

    /// The most parts a file may have: their manifest is within the 4 MiB that
    /// every registry takes (distribution-spec, "Pushing Manifests").
    pub const MOST: u64 = bounds::PARTS;

    /// The manifest. Its config, [`Parts::config`], must be stored before it.
    ///
    /// # Errors
    /// [`Error::Malformed`] when sizes don't add up, the name is invalid, or there
    /// are more parts than [`Parts::MOST`].
    pub fn manifest(&self) -> Result<Manifest> {
        self.check()?;
        if self.parts.len() as u64 > Parts::MOST {
            let why = format!(
                "{} parts exceed the limit of {}",
                self.parts.len(),
                Parts::MOST
            );
            return Err(bad(why));
        }
        let layer =
            |part: &Descriptor| Descriptor::new(media_type::OCTET_STREAM, part.digest, part.size);
        Builder::new(media_type::OCI_MANIFEST)
            .annotations(self.annotations())
            .member("artifactType", ARTIFACT_TYPE)
            .config(Parts::config().descriptor())
            .layers(self.parts.iter().map(layer))
            .build_sorted()
    }

    /// The config that every such manifest names.
    pub fn config() -> Blob {
        Blob::empty()
    }

    /// The file that a manifest describes; `None` when the manifest is of
    /// another kind.
    ///
    /// # Errors
    /// [`Error::Malformed`] when it says that it describes one but its sizes
    /// don't add up, or it has no digest, or a name that no file may have.
    pub fn of(manifest: &Manifest) -> Result<Option<Parts>> {
        if manifest.kind() != Kind::Image {
            return Ok(None);
        }
        let image = manifest.image()?;
        if image.artifact_type.as_deref() != Some(ARTIFACT_TYPE) {
            return Ok(None);
        }
        let said = |name: &str| {
            let value = image.annotations.get(name);
            value.ok_or_else(|| bad(format!("it has no {name}")))
        };
        let unreadable = |name: &str| bad(format!("its {name} can't be read"));
        let parts = Parts {
            name: image.annotations.get(TITLE).cloned(),
            size: said(SIZE)?.parse().map_err(|_| unreadable(SIZE))?,
            digest: said(DIGEST)?.parse().map_err(|_| unreadable(DIGEST))?,
            // Later versions may cut in ways unknown to this one; the parts
            // are the same for a reader that joins them.
            split: said(SPLIT).ok().and_then(|text| text.parse().ok()),
            parts: image.layers,
        };
        parts.check()?;
        Ok(Some(parts))
    }

    /// `name` where a file may be called that anywhere: one step of a path, no
    /// more than 255 bytes, nothing that a terminal would obey.
    pub fn safe_name(name: &str) -> Option<&str> {
        let step = !matches!(name, "" | "." | "..") && !name.contains(['/', '\\']);
        let plain = step && name.len() <= MAX_NAME && crate::text::one_line(name) == name;
        plain.then_some(name)
    }

    fn check(&self) -> Result<()> {
        if let Some(name) = &self.name
            && Parts::safe_name(name).is_none()
        {
            return Err(bad(format!("{name:?} is not a file name")));
        }
        let sum = self
            .parts
            .iter()
            .try_fold(0u64, |sum, part| sum.checked_add(part.size));
        match sum {
            Some(sum) if sum == self.size => Ok(()),
            _ => Err(bad("the sizes of its parts don't add up to its own")),
        }
    }

    fn annotations(&self) -> BTreeMap<&str, String> {
        let mut notes = BTreeMap::from([
            (SIZE, self.size.to_string()),
            (DIGEST, self.digest.to_string()),
        ]);
        if let Some(name) = &self.name {
            notes.insert(TITLE, name.clone());
        }
        if let Some(split) = self.split {
            notes.insert(SPLIT, split.to_string());
        }
        notes
    }
}

fn bad(why: impl std::fmt::Display) -> Error {
    Error::malformed("manifest of a file in parts", why)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parts(contents: &[&[u8]]) -> Parts {
        let whole = contents.concat();
        Parts {
            name: Some("disk.img".into()),
            size: whole.len() as u64,
            digest: Digest::of(&whole),
            split: Some("3".parse().unwrap()),
            parts: contents
                .iter()
                .map(|part| {
                    Descriptor::new(
                        media_type::OCTET_STREAM,
                        Digest::of(part),
                        part.len() as u64,
                    )
                })
                .collect(),
        }
    }

    #[test]
    fn what_is_written_is_read_again() {
        let mut file = parts(&[b"abc", b"abc", b"d"]);
        let manifest = file.manifest().unwrap();
        let (abc, d) = (Digest::of(b"abc"), Digest::of(b"d"));
        let layer = |digest, size| {
            format!(
                "{{\"digest\": \"{digest}\", \"mediaType\": \"application/octet-stream\", \"size\": {size}}}"
            )
        };
        let expected = format!(
            "{{\"annotations\": {{\"org.opencontainers.image.title\": \"disk.img\", \"vnd.dxf.content.digest\": \"{}\", \
             \"vnd.dxf.content.size\": \"7\", \"vnd.dxf.split\": \"3\"}}, \"artifactType\": \"application/vnd.dxf.parts.v1\", \
             \"config\": {{\"digest\": \"{}\", \"mediaType\": \"application/vnd.oci.empty.v1+json\", \"size\": 2}}, \
             \"layers\": [{}, {}, {}], \"mediaType\": \"application/vnd.oci.image.manifest.v1+json\", \"schemaVersion\": 2}}",
            Digest::of(b"abcabcd"),
            Digest::of(b"{}"),
            layer(abc, 3),
            layer(abc, 3),
            layer(d, 1),
        );
        assert_eq!(String::from_utf8_lossy(manifest.bytes()), expected);
        assert_eq!(Parts::of(&manifest).unwrap().unwrap(), file);
        file.name = None;
        file.split = None;
        let unnamed = file.manifest().unwrap();
        assert_eq!(Parts::of(&unnamed).unwrap().unwrap(), file);
        let empty = parts(&[b""]);
        let manifest = empty.manifest().unwrap();
        assert_eq!(Parts::of(&manifest).unwrap().unwrap(), empty);
    }

    #[test]
    fn other_manifests_are_no_files() {
        let layers = parts(&[b"abc"]).parts;
        let alias = Manifest::alias(&layers).unwrap();
        assert!(Parts::of(&alias).unwrap().is_none());
        let index = Manifest::new(None, br#"{"manifests":[]}"#.to_vec()).unwrap();
        assert!(Parts::of(&index).unwrap().is_none());
    }

    #[test]
    fn contradictions_are_refused() {
        let good = parts(&[b"abc", b"de"]);
        let text = String::from_utf8(good.manifest().unwrap().bytes().to_vec()).unwrap();
        let whole = good.digest.to_string();
        for (what, by) in [
            (
                "\"vnd.dxf.content.size\": \"5\"",
                "\"vnd.dxf.content.size\": \"6\"",
            ),
            (
                "\"vnd.dxf.content.size\": \"5\"",
                "\"vnd.dxf.content.size\": \"-5\"",
            ),
            ("\"vnd.dxf.content.size\": \"5\"", "\"x\": \"5\""),
            ("\"size\": 3", "\"size\": 18446744073709551615"),
            (whole.as_str(), "sha256:00"),
            ("vnd.dxf.content.digest", "y"),
            ("disk.img", ".."),
            ("disk.img", "a/b"),
            ("disk.img", "a\\\\b"),
            ("disk.img", "a\\nb"),
            ("disk.img", "a\\u202eb"),
        ] {
            let text = text.replacen(what, by, 1);
            let manifest = Manifest::new(None, text.clone().into_bytes()).unwrap();
            let found = Parts::of(&manifest);
            assert!(matches!(found, Err(Error::Malformed { .. })), "{text}");
        }
        // A way of cutting that is not known yet is nothing to refuse.
        let text = text.replace("\"vnd.dxf.split\": \"3\"", "\"vnd.dxf.split\": \"rabin:9\"");
        let manifest = Manifest::new(None, text.into_bytes()).unwrap();
        assert_eq!(Parts::of(&manifest).unwrap().unwrap().split, None);
        let wrong = Parts { size: 4, ..good };
        assert!(wrong.manifest().is_err());
    }

    #[test]
    fn the_most_parts_make_a_manifest_that_registries_take() {
        let part = Descriptor::new("", Digest::of(b"x"), 1 << 40);
        let count = Parts::MOST as usize;
        let mut file = Parts {
            // Every two bytes of it are six in JSON.
            name: Some("\u{e9}".repeat(127)),
            size: (1 << 40) * count as u64,
            digest: Digest::of(b""),
            split: None,
            parts: vec![part.clone(); count],
        };
        let manifest = file.manifest().unwrap();
        assert!(manifest.bytes().len() as u64 <= crate::manifest::MAX_SIZE);
        file.parts.push(part);
        file.size += 1 << 40;
        assert!(matches!(file.manifest(), Err(Error::Malformed { .. })));
    }

    #[test]
    fn names() {
        for good in ["a", "a b", "a.tar.gz", "...", "\u{e9}"] {
            assert_eq!(Parts::safe_name(good), Some(good));
        }
        let long = "x".repeat(256);
        for bad in ["", ".", "..", "a/b", "/", "a\\b", "\0", "\x1b[2J", &long] {
            assert_eq!(Parts::safe_name(bad), None, "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn reading_never_panics(size in "\\PC{0,8}", name in "\\PC{0,8}", layers in "\\[[0-9{}\",:]{0,16}\\]") {
            let text = format!(
                r#"{{"artifactType":{ARTIFACT_TYPE:?},"config":{},"layers":{layers},"annotations":{{"{SIZE}":{size:?},"{TITLE}":{name:?}}}}}"#,
                r#"{"digest":"sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad","size":3}"#,
            );
            if let Ok(manifest) = Manifest::new(None, text.into_bytes()) {
                let _ = Parts::of(&manifest);
            }
        }
    }
}
