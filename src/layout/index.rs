//! The document `index.json` of a layout: which manifests it lists, and under
//! which tags (image-spec, image-layout.md, "index.json file").
//!
//! A tag is the annotation `org.opencontainers.image.ref.name` of an entry.
//! Whatever else other tools wrote into the document is kept as it came, so an
//! entry is only looked at, never rebuilt. Knows nothing of files; nothing in
//! the document is ever used as a path.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use serde::Deserialize;
use serde::de::{self, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::bounds;
use crate::descriptor::annotation::REF_NAME;
use crate::descriptor::{Descriptor, media_type};
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::reference::Tag;

/// The entries of an index at most: more than its largest size has room for
/// when each names a digest and a tag.
const MAX_ENTRIES: usize = bounds::INDEX_JSON_ENTRIES;
/// The members of the document at most; the specification knows six.
const MAX_MEMBERS: usize = bounds::INDEX_JSON_MEMBERS;
/// The member with the entries.
const MANIFESTS: &str = "manifests";
/// The member with what is said of the document itself.
const ANNOTATIONS: &str = "annotations";

/// What `index.json` says.
///
/// An entry is its text, so that tens of thousands of them take little more
/// memory than the document; tags and digests are found without reading them.
#[derive(Debug)]
pub(crate) struct Index {
    /// The document as it was read, which copies share.
    text: Arc<String>,
    /// The members of the document in order, as JSON; that of `manifests` is
    /// not used.
    members: Vec<(String, Box<str>)>,
    /// The entries in order; an empty one was removed.
    entries: Vec<Entry>,
    /// Names that are tags; copies of an index share them.
    by_tag: BTreeSet<(Arc<str>, usize)>,
    by_digest: BTreeSet<(Digest, Named, usize)>,
    subjects: Mutex<Option<Subjects>>,
}

/// The text of an entry; an empty one was removed.
#[derive(Debug, Clone)]
enum Entry {
    /// A part of the document.
    Read(Range<u32>),
    /// Copies of an index share it: there is one for every change.
    Written(Arc<str>),
}

/// Whether an entry has a name, a tag or any other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Named {
    No,
    Yes,
}

/// The listed manifests that are about another one, found out once an index.
#[derive(Debug, Default)]
pub(crate) struct Subjects {
    /// By what they are about, in the order of the index.
    pub known: HashMap<Digest, Vec<Digest>>,
    /// Those that could not be read, and may become readable.
    pub unread: Vec<Digest>,
}

impl Clone for Index {
    fn clone(&self) -> Index {
        Index {
            text: self.text.clone(),
            members: self.members.clone(),
            entries: self.entries.clone(),
            by_tag: self.by_tag.clone(),
            by_digest: self.by_digest.clone(),
            // Of the copy, which is about to change, nothing is known.
            subjects: Mutex::default(),
        }
    }
}

impl Index {
    /// An index of nothing.
    pub fn new() -> Index {
        let member = |name: &str, value: Value| (name.to_string(), value.to_string().into());
        let members = vec![
            member("schemaVersion", json!(2)),
            member("mediaType", json!(media_type::OCI_INDEX)),
            member(MANIFESTS, json!([])),
        ];
        Index::of(Arc::default(), members)
    }

    fn of(text: Arc<String>, members: Vec<(String, Box<str>)>) -> Index {
        Index {
            text,
            members,
            entries: Vec::new(),
            by_tag: BTreeSet::new(),
            by_digest: BTreeSet::new(),
            subjects: Mutex::default(),
        }
    }

    /// Reads the document `what`.
    pub fn parse(what: &str, bytes: impl Into<Vec<u8>>) -> Result<Index> {
        let wrong = |why: &dyn fmt::Display| {
            let hint = "the manifests are still in blobs/: move this file away, and tag them again \
                        by their digests";
            Error::malformed(what, format!("{why}; {hint}"))
        };
        let text = Arc::new(String::from_utf8(bytes.into()).map_err(|e| wrong(&e))?);
        let document: Document = serde_json::from_str(&text).map_err(|e| wrong(&e))?;
        let listed = document.0.iter().find(|(name, _)| name == MANIFESTS);
        let (_, listed) = listed.ok_or_else(|| wrong(&"it has no list of manifests"))?;
        let listed: Entries = serde_json::from_str(listed.get()).map_err(|e| wrong(&e))?;
        let members = document.0.iter().map(|(name, value)| {
            let is_list = name == MANIFESTS;
            let text = if is_list { "[]" } else { value.get() };
            (name.clone(), text.into())
        });
        let mut index = Index::of(text.clone(), members.collect());
        let entries = listed.0.into_iter().map(|entry| part(&text, entry.get()));
        index.entries = entries.collect();
        // All at once, which takes less memory than one after the other.
        let keys = |at: usize| keys(index.entry(at), at);
        let all = 0..index.entries.len();
        let (tags, digests): (Vec<_>, Vec<_>) = all.map(keys).unzip();
        index.by_tag = tags.into_iter().flatten().collect();
        index.by_digest = digests.into_iter().flatten().collect();
        Ok(index)
    }

    /// The document as JSON.
    pub fn to_bytes(&self) -> Vec<u8> {
        let room: usize = self.texts().map(|entry| entry.len() + 1).sum();
        let mut out = String::with_capacity(room + 256);
        for (at, (name, value)) in self.members.iter().enumerate() {
            out.push(if at == 0 { '{' } else { ',' });
            out.push_str(&json!(name).to_string());
            out.push(':');
            if name != MANIFESTS {
                out.push_str(value);
                continue;
            }
            out.push('[');
            let mut lead = "";
            for entry in self.texts() {
                out.push_str(lead);
                out.push_str(entry);
                lead = ",";
            }
            out.push(']');
        }
        out.push('}');
        out.into_bytes()
    }

    /// An annotation of the document itself.
    pub fn annotation(&self, name: &str) -> Option<String> {
        let (_, all) = self.members.iter().find(|(name, _)| name == ANNOTATIONS)?;
        Some(value(all)[name].as_str()?.to_string())
    }

    /// Gives the document itself an annotation.
    pub fn annotate(&mut self, name: &str, text: &str) {
        let at = self
            .members
            .iter()
            .position(|(name, _)| name == ANNOTATIONS);
        let mut all = at.map_or_else(|| json!({}), |at| value(&self.members[at].1));
        if !all.is_object() {
            all = json!({});
        }
        all[name] = json!(text);
        let all = all.to_string().into();
        match at {
            Some(at) => self.members[at].1 = all,
            None => self.members.push((ANNOTATIONS.to_string(), all)),
        }
    }

    /// The entry of a tag; the first one, should a tool have written several.
    pub fn tagged(&self, tag: &Tag) -> Result<Option<Descriptor>> {
        self.descriptor_at(self.at_tag(tag).next())
    }

    /// An entry for a digest.
    pub fn listed(&self, digest: &Digest) -> Result<Option<Descriptor>> {
        let [unnamed, named] = [Named::No, Named::Yes].map(|n| self.at_digest(digest, n).next());
        self.descriptor_at(unnamed.into_iter().chain(named).min())
    }

    /// Every entry, in the order of the document.
    pub fn descriptors(&self) -> impl Iterator<Item = Result<Descriptor>> + '_ {
        self.texts().map(|entry| descriptor(value(entry)))
    }

    /// The entries that are left.
    fn texts(&self) -> impl Iterator<Item = &str> + '_ {
        let all = (0..self.entries.len()).map(|at| self.entry(at));
        all.filter(|entry| !entry.is_empty())
    }

    fn entry(&self, at: usize) -> &str {
        match &self.entries[at] {
            Entry::Read(part) => &self.text[part.start as usize..part.end as usize],
            Entry::Written(text) => text,
        }
    }

    /// The tags, sorted, each once. Names that are no tags (some tools write
    /// whole references) are left out: nothing here could ask for them.
    pub fn tags(&self) -> Vec<String> {
        let mut tags: Vec<String> = self.by_tag.iter().map(|(tag, _)| tag.to_string()).collect();
        tags.dedup();
        tags
    }

    /// Lists `manifest`, without a tag if it is not listed yet.
    pub fn add(&mut self, manifest: &Descriptor) {
        if !matches!(self.listed(&manifest.digest), Ok(Some(_))) {
            self.push(entry(manifest).to_string().into());
        }
    }

    /// Points `tag` to `manifest`, and away from any other one.
    pub fn tag(&mut self, manifest: &Descriptor, tag: &Tag) {
        self.untag(tag);
        let free = self.at_digest(&manifest.digest, Named::No);
        let free = free.map(|at| (at, value(self.entry(at))));
        let free = free.filter(|(_, old)| descriptor(old.clone()).is_ok());
        let (at, mut target) = match { free }.next() {
            Some((at, old)) => (Some(at), old),
            None => (None, json!({})),
        };
        // What the bytes say is true, whatever stood here before.
        if let (Some(old), Value::Object(new)) = (target.as_object_mut(), entry(manifest)) {
            old.extend(new);
        }
        if !target["annotations"].is_object() {
            target["annotations"] = json!({});
        }
        target["annotations"][REF_NAME] = json!(tag.as_str());
        match at {
            Some(at) => self.set(at, target.to_string().into()),
            None => self.push(target.to_string().into()),
        }
    }

    /// Takes `tag` away and says whether there was one. Its manifest stays
    /// listed, as a registry keeps a manifest that lost its last tag.
    pub fn untag(&mut self, tag: &Tag) -> bool {
        let found: Vec<usize> = self.at_tag(tag).collect();
        for at in &found {
            let mut entry = value(self.entry(*at));
            let digest = sum(&entry);
            let copies = digest.map_or(0, |digest| {
                let [unnamed, named] = [Named::No, Named::Yes].map(|n| self.at_digest(&digest, n));
                unnamed.chain(named).take(2).count()
            });
            if copies > 1 {
                self.set(*at, "".into());
            } else {
                strip(&mut entry);
                self.set(*at, entry.to_string().into());
            }
        }
        !found.is_empty()
    }

    /// Whether an entry of a digest has a name.
    pub fn is_named(&self, digest: &Digest) -> bool {
        self.at_digest(digest, Named::Yes).next().is_some()
    }

    /// Takes every entry of a digest away and says whether there was one.
    pub fn remove(&mut self, digest: &Digest) -> bool {
        let unnamed = self.at_digest(digest, Named::No);
        let found: Vec<usize> = unnamed.chain(self.at_digest(digest, Named::Yes)).collect();
        for at in &found {
            self.set(*at, "".into());
        }
        !found.is_empty()
    }

    /// What `find` found out about all entries, once.
    pub fn subjects<T>(
        &self,
        find: impl FnOnce(&Index) -> Result<Subjects>,
        with: impl FnOnce(&Subjects) -> T,
    ) -> Result<T> {
        // It is whole or missing, whatever panicked.
        let mut subjects = self.subjects.lock().unwrap_or_else(PoisonError::into_inner);
        if subjects.is_none() {
            *subjects = Some(find(self)?);
        }
        Ok(with(subjects.get_or_insert_default()))
    }

    fn at_tag(&self, tag: &Tag) -> impl Iterator<Item = usize> + '_ {
        let tag: Arc<str> = tag.as_str().into();
        let range = (tag.clone(), 0)..=(tag, usize::MAX);
        self.by_tag.range(range).map(|(_, at)| *at)
    }

    fn at_digest(&self, digest: &Digest, named: Named) -> impl Iterator<Item = usize> + '_ {
        let range = (*digest, named, 0)..=(*digest, named, usize::MAX);
        self.by_digest.range(range).map(|(_, _, at)| *at)
    }

    fn descriptor_at(&self, at: Option<usize>) -> Result<Option<Descriptor>> {
        at.map(|at| descriptor(value(self.entry(at)))).transpose()
    }

    fn push(&mut self, entry: Arc<str>) {
        self.entries.push(Entry::Read(0..0));
        self.set(self.entries.len() - 1, entry);
    }

    /// Replaces an entry, or removes it for an empty one.
    fn set(&mut self, at: usize, entry: Arc<str>) {
        let (tag, digest) = keys(self.entry(at), at);
        tag.map(|key| self.by_tag.remove(&key));
        digest.map(|key| self.by_digest.remove(&key));
        let (tag, digest) = keys(&entry, at);
        self.entries[at] = Entry::Written(entry);
        self.by_tag.extend(tag);
        self.by_digest.extend(digest);
    }
}

/// Where `entry`, which is a part of `text`, is in it.
fn part(text: &str, entry: &str) -> Entry {
    let at = (entry.as_ptr() as usize).checked_sub(text.as_ptr() as usize);
    let part =
        at.and_then(|at| Some(u32::try_from(at).ok()?..u32::try_from(at + entry.len()).ok()?));
    // The largest document ends far below 4 GiB.
    part.map_or_else(|| Entry::Written(entry.into()), Entry::Read)
}

type Keys = (Option<(Arc<str>, usize)>, Option<(Digest, Named, usize)>);

/// What an entry is found by.
fn keys(entry: &str, at: usize) -> Keys {
    if entry.is_empty() {
        return (None, None);
    }
    let entry = value(entry);
    let (name, digest) = (name(&entry), sum(&entry));
    let named = if name.is_some() {
        Named::Yes
    } else {
        Named::No
    };
    let tag = name.filter(|name| name.parse::<Tag>().is_ok());
    (
        tag.map(|tag| (tag.into(), at)),
        digest.map(|d| (d, named, at)),
    )
}

/// An entry; `null` for one that is nested too deep to be of any use.
fn value(entry: &str) -> Value {
    serde_json::from_str(entry).unwrap_or_default()
}

/// The members of a JSON object in order; the last of those of one name counts.
struct Document<'a>(Vec<(String, &'a RawValue)>);

impl<'de> Deserialize<'de> for Document<'de> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = Document<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members: Vec<(String, &RawValue)> = Vec::new();
                while let Some((name, value)) = map.next_entry::<String, &RawValue>()? {
                    if let Some(other) = members.iter_mut().find(|(other, _)| *other == name) {
                        other.1 = value;
                    } else if members.len() < MAX_MEMBERS {
                        members.push((name, value));
                    } else {
                        let why = format!("it has more than {MAX_MEMBERS} members");
                        return Err(de::Error::custom(why));
                    }
                }
                Ok(Document(members))
            }
        }
        from.deserialize_map(Members)
    }
}

/// The entries of a list; `null` is an empty one.
struct Entries<'a>(Vec<&'a RawValue>);

impl<'de> Deserialize<'de> for Entries<'de> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct List;
        impl<'de> Visitor<'de> for List {
            type Value = Entries<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of manifests")
            }

            fn visit_unit<E: de::Error>(self) -> Result<Self::Value, E> {
                Ok(Entries(Vec::new()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = list.next_element()? {
                    if entries.len() == MAX_ENTRIES {
                        let why = format!("it lists more than {MAX_ENTRIES} manifests");
                        return Err(de::Error::custom(why));
                    }
                    entries.push(entry);
                }
                Ok(Entries(entries))
            }
        }
        from.deserialize_any(List)
    }
}

fn name(entry: &Value) -> Option<&str> {
    entry.get("annotations")?.get(REF_NAME)?.as_str()
}

fn sum(entry: &Value) -> Option<Digest> {
    entry.get("digest")?.as_str()?.parse().ok()
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

fn descriptor(mut entry: Value) -> Result<Descriptor> {
    if let Some(members) = entry.as_object_mut() {
        // Go writes absent members as `null`.
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
        String::from_utf8(index.to_bytes()).unwrap()
    }

    #[test]
    fn a_moved_tag_leaves_its_manifest_listed() {
        let mut index = Index::new();
        index.tag(&m(b"1"), &t("a"));
        index.tag(&m(b"1"), &t("b"));
        index.tag(&m(b"2"), &t("a"));
        // 1 is still tagged b, so no second entry for it remains.
        assert_eq!(
            (index.tags(), index.descriptors().count()),
            (vec!["a".into(), "b".into()], 2)
        );
        index.tag(&m(b"2"), &t("b"));
        assert_eq!(index.descriptors().count(), 3);
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
        assert_eq!(
            index.descriptors().count(),
            3,
            "the untagged entry was used"
        );
        assert!(index.untag(&t("c")) && !index.untag(&t("c")));
        assert!(index.remove(&m(b"2").digest) && !index.remove(&m(b"2").digest));
        assert_eq!((index.tags(), index.descriptors().count()), (vec![], 1));
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

    #[test]
    fn one_name_costs_as_much_among_many() {
        let mut index = Index::new();
        let names: Vec<Tag> = (0..5000).map(|i| t(&format!("t{i}"))).collect();
        let one = m(b"1");
        for (i, name) in names.iter().enumerate() {
            let other = m(&i.to_le_bytes());
            index.tag(if i % 2 == 0 { &one } else { &other }, name);
        }
        let again = Index::parse("i", index.to_bytes()).unwrap();
        for name in &names {
            assert!(again.tagged(name).unwrap().is_some());
            assert!(index.untag(name));
        }
        // 1 is listed once, as each of the others is.
        assert_eq!((index.tags().len(), index.descriptors().count()), (0, 2501));
        assert!(index.remove(&one.digest) && index.listed(&one.digest).unwrap().is_none());
    }

    #[test]
    fn documents_are_bounded() {
        let many = |entry: &str, n: usize| vec![entry; n].join(",");
        let listed = format!(r#"{{"manifests":[{}]}}"#, many("{}", MAX_ENTRIES + 1));
        let failed = Index::parse("i", listed.as_bytes())
            .unwrap_err()
            .to_string();
        assert!(failed.contains("more than 131072 manifests"), "{failed}");
        let members: Vec<String> = (0..=MAX_MEMBERS).map(|i| format!(r#""{i}":1"#)).collect();
        let members = format!("{{{}}}", members.join(","));
        let failed = Index::parse("i", members.as_bytes())
            .unwrap_err()
            .to_string();
        assert!(failed.contains("more than 1024 members"), "{failed}");
        // Of two members of one name the last counts, wherever it is.
        let twice = br#"{"manifests":1,"x":1,"manifests":[{"a":1}],"x":2}"#;
        let index = Index::parse("i", twice).unwrap();
        assert_eq!(text(index), r#"{"manifests":[{"a":1}],"x":2}"#);
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
            let mut index = Index::parse("i", &bytes[..]).unwrap();
            let _ = (index.tags(), index.descriptors().count());
            let _ = (index.tagged(&t("a")), index.listed(&m(b"1").digest));
            index.add(&m(b"2"));
            index.untag(&t("a"));
            index.tag(&m(b"1"), &t("a"));
            prop_assert_eq!(index.tagged(&t("a")).unwrap().unwrap().digest, m(b"1").digest);
            index.remove(&m(b"1").digest);
            prop_assert!(index.tagged(&t("a")).unwrap().is_none());
            prop_assert!(Index::parse("i", index.to_bytes()).is_ok());
        }
    }
}
