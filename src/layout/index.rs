//! The document `index.json` of a layout: which manifests it holds, and under
//! which tags (image-spec, image-layout.md, "index.json file").
//!
//! A tag is the annotation `org.opencontainers.image.ref.name` of an entry.
//! Whatever else other tools wrote into the document is kept as it came, so an
//! entry is only looked at, never rebuilt. Knows nothing of files; nothing in
//! the document is ever used as a path.

use std::collections::HashMap;

use serde_json::{Value, json};

use crate::descriptor::{Descriptor, media_type};
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::manifest::Builder;
use crate::reference::Tag;

/// The annotation that names an entry.
const REF_NAME: &str = "org.opencontainers.image.ref.name";

/// What `index.json` says.
pub(crate) struct Index {
    document: Builder,
    entries: Vec<Value>,
}

impl Index {
    /// An index of nothing.
    pub fn new() -> Index {
        Index {
            document: Builder::new(media_type::OCI_INDEX),
            entries: Vec::new(),
        }
    }

    /// Reads the document `what`.
    pub fn parse(what: &str, bytes: &[u8]) -> Result<Index> {
        let mut document = Builder::parse(what, bytes)?;
        let entries = document.take_list("manifests");
        let entries =
            entries.ok_or_else(|| Error::malformed(what, "it has no list of manifests"))?;
        Ok(Index { document, entries })
    }

    /// The document as JSON.
    pub fn into_bytes(self) -> Vec<u8> {
        self.document.manifests(self.entries).into_bytes()
    }

    /// The entry of a tag; the first one, should a tool have written several.
    pub fn tagged(&self, tag: &Tag) -> Result<Option<Descriptor>> {
        let entry = self.entries.iter().find(|e| name(e) == Some(tag.as_str()));
        entry.map(descriptor).transpose()
    }

    /// An entry for a digest.
    pub fn listed(&self, digest: &Digest) -> Result<Option<Descriptor>> {
        let wanted = digest.to_string();
        let entry = self.entries.iter().find(|e| sum(e) == Some(&wanted));
        entry.map(descriptor).transpose()
    }

    /// Every entry, in the order of the document.
    pub fn descriptors(&self) -> Result<Vec<Descriptor>> {
        self.entries.iter().map(descriptor).collect()
    }

    /// The tags, sorted, each once. Names that are no tags (some tools write
    /// whole references) are left out: nothing here could ask for them.
    pub fn tags(&self) -> Vec<String> {
        let names = self.entries.iter().filter_map(name);
        let mut tags: Vec<String> = names
            .filter(|name| name.parse::<Tag>().is_ok())
            .map(str::to_string)
            .collect();
        tags.sort();
        tags.dedup();
        tags
    }

    /// Lists `manifest`, without a tag if it is not there yet.
    pub fn add(&mut self, manifest: &Descriptor) {
        if !matches!(self.listed(&manifest.digest), Ok(Some(_))) {
            self.entries.push(entry(manifest));
        }
    }

    /// Gives `tag` to `manifest`, taking it from whatever had it.
    pub fn tag(&mut self, manifest: &Descriptor, tag: &Tag) {
        self.untag(tag);
        let wanted = manifest.digest.to_string();
        let free =
            |e: &Value| sum(e) == Some(&wanted) && name(e).is_none() && descriptor(e).is_ok();
        let at = match self.entries.iter().position(free) {
            Some(at) => at,
            None => {
                self.entries.push(json!({}));
                self.entries.len() - 1
            }
        };
        let target = &mut self.entries[at];
        // What the bytes say is true, whatever stood here before.
        if let (Some(old), Value::Object(new)) = (target.as_object_mut(), entry(manifest)) {
            old.extend(new);
        }
        if !target["annotations"].is_object() {
            target["annotations"] = json!({});
        }
        target["annotations"][REF_NAME] = json!(tag.as_str());
    }

    /// Takes `tag` away and says whether there was one. Its manifest stays
    /// listed, as a registry keeps a manifest that lost its last tag.
    pub fn untag(&mut self, tag: &Tag) -> bool {
        let mut copies: HashMap<String, usize> = HashMap::new();
        for digest in self.entries.iter().filter_map(sum) {
            *copies.entry(digest.to_string()).or_default() += 1;
        }
        let before = self.entries.len();
        let mut found = false;
        self.entries.retain_mut(|e| {
            if name(e) != Some(tag.as_str()) {
                return true;
            }
            found = true;
            match sum(e).and_then(|digest| copies.get_mut(digest)) {
                Some(copies) if *copies > 1 => {
                    *copies -= 1;
                    false
                }
                _ => {
                    strip(e);
                    true
                }
            }
        });
        found || before != self.entries.len()
    }

    /// Takes every entry of a digest away and says whether there was one.
    pub fn remove(&mut self, digest: &Digest) -> bool {
        let (before, wanted) = (self.entries.len(), digest.to_string());
        self.entries.retain(|e| sum(e) != Some(&wanted));
        before != self.entries.len()
    }
}

fn name(entry: &Value) -> Option<&str> {
    entry.get("annotations")?.get(REF_NAME)?.as_str()
}

fn sum(entry: &Value) -> Option<&str> {
    entry.get("digest")?.as_str()
}

fn strip(entry: &mut Value) {
    if let Some(Value::Object(annotations)) = entry.get_mut("annotations") {
        annotations.shift_remove(REF_NAME);
        if annotations.is_empty()
            && let Some(entry) = entry.as_object_mut()
        {
            entry.shift_remove("annotations");
        }
    }
}

fn entry(manifest: &Descriptor) -> Value {
    json!({"mediaType": manifest.media_type, "digest": manifest.digest, "size": manifest.size})
}

fn descriptor(entry: &Value) -> Result<Descriptor> {
    let mut entry = entry.clone();
    if let Some(members) = entry.as_object_mut() {
        // Go writes what is not there as `null`.
        members.retain(|_, value| !value.is_null());
    }
    serde_json::from_value(entry).map_err(|e| Error::malformed("index.json", e))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn t(text: &str) -> Tag {
        text.parse().unwrap()
    }

    fn m(bytes: &[u8]) -> Descriptor {
        Descriptor::new(
            media_type::OCI_MANIFEST,
            Digest::of(bytes),
            bytes.len() as u64,
        )
    }

    fn text(index: Index) -> String {
        String::from_utf8(index.into_bytes()).unwrap()
    }

    #[test]
    fn a_moved_tag_leaves_its_manifest_listed() {
        let mut index = Index::new();
        index.tag(&m(b"1"), &t("a"));
        index.tag(&m(b"1"), &t("b"));
        index.tag(&m(b"2"), &t("a"));
        // 1 is still tagged b, so no second entry for it is left behind.
        assert_eq!(
            (index.tags(), index.entries.len()),
            (vec!["a".into(), "b".into()], 2)
        );
        index.tag(&m(b"2"), &t("b"));
        assert_eq!(index.entries.len(), 3);
        assert!(
            index
                .listed(&m(b"1").digest)
                .unwrap()
                .unwrap()
                .annotations
                .is_empty()
        );
        index.add(&m(b"1"));
        index.tag(&m(b"1"), &t("c"));
        assert_eq!(index.entries.len(), 3, "the untagged entry was used");
        assert!(index.untag(&t("c")) && !index.untag(&t("c")));
        assert!(index.remove(&m(b"2").digest) && !index.remove(&m(b"2").digest));
        assert_eq!((index.tags(), index.entries.len()), (vec![], 1));
    }

    #[test]
    fn what_others_wrote_is_kept() {
        let d = m(b"1").digest;
        let written = format!(
            r#"{{"schemaVersion":2,"x":{{"b":1,"a":2}},"manifests":[{{"mediaType":"t/x","digest":"{d}","size":1,"annotations":{{"z":"1","{REF_NAME}":"v1","y":"2"}},"platform":{{"os":"linux","architecture":"amd64","os.features":["f"]}}}},{{"digest":"blake3:00","odd":true}}],"annotations":null}}"#
        );
        let index = Index::parse("i", written.as_bytes()).unwrap();
        assert_eq!(text(index), written);
        let mut index = Index::parse("i", written.as_bytes()).unwrap();
        assert_eq!(index.tagged(&t("v1")).unwrap().unwrap().digest, d);
        index.tag(&m(b"2"), &t("v1"));
        let text = text(index);
        assert!(
            text.contains(r#""annotations":{"z":"1","y":"2"},"platform":{"os":"linux""#),
            "{text}"
        );
        assert!(
            text.contains(r#"{"digest":"blake3:00","odd":true}"#),
            "{text}"
        );
    }

    #[test]
    fn nulls_and_names_that_are_no_tags() {
        let index = Index::parse("i", br#"{"manifests":null}"#).unwrap();
        assert!(index.tags().is_empty());
        let d = m(b"1").digest;
        let written = format!(
            r#"{{"manifests":[{{"digest":"{d}","size":1,"platform":null,"annotations":{{"{REF_NAME}":"docker.io/a:b"}}}}]}}"#
        );
        let index = Index::parse("i", written.as_bytes()).unwrap();
        assert!(index.tags().is_empty() && index.listed(&d).unwrap().is_some());
        for bad in [
            "",
            "[]",
            "null",
            "{}",
            r#"{"manifests":{}}"#,
            r#"{"manifests":1}"#,
        ] {
            let failed = Index::parse("i", bad.as_bytes());
            assert!(matches!(failed, Err(Error::Malformed { .. })), "{bad}");
        }
    }

    fn value() -> impl Strategy<Value = Value> {
        let d = m(b"1").digest.to_string();
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            Just(json!(d)),
            Just(json!("a")),
            Just(json!("../../x")),
        ];
        let key = prop_oneof![
            Just("digest".to_string()),
            Just("size".to_string()),
            Just("mediaType".to_string()),
            Just("annotations".to_string()),
            Just("platform".to_string()),
            Just(REF_NAME.to_string()),
        ];
        leaf.prop_recursive(3, 32, 6, move |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                proptest::collection::vec((key.clone(), inner), 0..6)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn hostile_documents_never_panic(entries in proptest::collection::vec(value(), 0..5), cut in 0usize..400) {
            let bytes = json!({"manifests": entries}).to_string().into_bytes();
            let _ = Index::parse("i", &bytes[..cut.min(bytes.len())]);
            let mut index = Index::parse("i", &bytes).unwrap();
            let _ = (index.tags(), index.descriptors());
            let _ = (index.tagged(&t("a")), index.listed(&m(b"1").digest));
            index.add(&m(b"2"));
            index.untag(&t("a"));
            index.tag(&m(b"1"), &t("a"));
            prop_assert_eq!(index.tagged(&t("a")).unwrap().unwrap().digest, m(b"1").digest);
            index.remove(&m(b"1").digest);
            prop_assert!(index.tagged(&t("a")).unwrap().is_none());
            prop_assert!(Index::parse("i", &index.into_bytes()).is_ok());
        }
    }
}
