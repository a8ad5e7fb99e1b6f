//! The one place that writes manifests: new ones, or changed copies of existing
//! ones, which keep the order of their members and those this crate doesn't
//! know. A manifest that nothing changes is never written again.

use serde_json::{Map, Value};

use super::Manifest;
use crate::descriptor::Descriptor;
use crate::error::{Error, Result};
use crate::json;

/// Builds the JSON of a manifest. A member that exists keeps its place, a new
/// one goes to the end.
///
/// ```
/// use dxf_registry::{Blob, descriptor::media_type, manifest::Builder};
///
/// let config = Blob::empty();
/// let image = Builder::new(media_type::OCI_MANIFEST)
///     .config(config.descriptor())
///     .layers([config.descriptor()])
///     .build()?;
/// let changed = Builder::of(&image)?.member("artifactType", "text/x").build()?;
/// assert_eq!(changed.image()?.artifact_type.as_deref(), Some("text/x"));
/// # Ok::<(), dxf_registry::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Builder {
    /// What the manifest is served as: an old one may not say.
    served: Option<String>,
    members: Map<String, Value>,
}

impl Builder {
    /// A new manifest of a type: `schemaVersion` and `mediaType` so far.
    pub fn new(media_type: &str) -> Builder {
        let builder = Builder {
            served: None,
            members: Map::new(),
        };
        builder.member("schemaVersion", 2).media_type(media_type)
    }

    /// A copy of `manifest` to be changed.
    ///
    /// # Errors
    /// [`Error::Malformed`] for something that is not a JSON object.
    pub fn of(manifest: &Manifest) -> Result<Builder> {
        let builder = Builder::parse("manifest", manifest.bytes())?;
        Ok(Builder {
            served: Some(manifest.media_type().to_string()),
            ..builder
        })
    }

    /// A copy of the document `what`, which need not say its type.
    ///
    /// # Errors
    /// [`Error::Malformed`] for something that is not a JSON object.
    pub fn parse(what: &str, bytes: &[u8]) -> Result<Builder> {
        let members = serde_json::from_slice(bytes).map_err(|e| Error::malformed(what, e))?;
        Ok(Builder {
            served: None,
            members,
        })
    }

    /// Sets `mediaType`.
    #[must_use]
    pub fn media_type(self, media_type: &str) -> Builder {
        let served = Some(media_type.to_string());
        let builder = self.member("mediaType", media_type);
        Builder { served, ..builder }
    }

    /// Sets the descriptor of the config.
    #[must_use]
    pub fn config(self, config: &Descriptor) -> Builder {
        self.member("config", config)
    }

    /// Sets the layers, lowest first: descriptors, or their JSON.
    #[must_use]
    pub fn layers<T: Into<Value>>(self, layers: impl IntoIterator<Item = T>) -> Builder {
        self.list("layers", layers)
    }

    /// Sets the entries of an index: descriptors, or their JSON.
    #[must_use]
    pub fn manifests<T: Into<Value>>(self, entries: impl IntoIterator<Item = T>) -> Builder {
        self.list("manifests", entries)
    }

    /// Sets the annotations.
    #[must_use]
    pub fn annotations<K: Into<String>, V: Into<Value>>(
        self,
        annotations: impl IntoIterator<Item = (K, V)>,
    ) -> Builder {
        let annotations = annotations.into_iter();
        let annotations: Map<String, Value> =
            annotations.map(|(k, v)| (k.into(), v.into())).collect();
        self.member("annotations", annotations)
    }

    fn list<T: Into<Value>>(self, name: &str, entries: impl IntoIterator<Item = T>) -> Builder {
        let entries: Vec<Value> = entries.into_iter().map(Into::into).collect();
        self.member(name, entries)
    }

    /// Sets a member.
    #[must_use]
    pub fn member(mut self, name: &str, value: impl Into<Value>) -> Builder {
        self.members.insert(name.to_string(), value.into());
        self
    }

    /// A member as it is now.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.members.get(name)
    }

    /// All members, for changes within one.
    pub fn members(&mut self) -> &mut Map<String, Value> {
        &mut self.members
    }

    /// Makes the config's descriptor point at other content ([`repoint`]).
    #[must_use]
    pub fn repoint_config(mut self, to: &Descriptor) -> Builder {
        if let Some(config) = self.members.get_mut("config") {
            repoint(config, to);
        }
        self
    }

    /// Takes the entries of a list out, as JSON; `null` is an empty list. The
    /// member keeps its place for [`Builder::layers`] or
    /// [`Builder::manifests`]. `None` where it is not a list.
    pub fn take_list(&mut self, name: &str) -> Option<Vec<Value>> {
        match self.members.get_mut(name).map(Value::take)? {
            Value::Array(entries) => Some(entries),
            Value::Null => Some(Vec::new()),
            _ => None,
        }
    }

    /// Drops every member but `schemaVersion` and `mediaType`.
    #[must_use]
    pub fn without_others(mut self) -> Builder {
        let keep = |name: &String, _: &mut Value| name == "schemaVersion" || name == "mediaType";
        self.members.retain(keep);
        self
    }

    /// Moves the members `names` to the front, in this order.
    #[must_use]
    pub fn first(mut self, names: &[&str]) -> Builder {
        let mut members = Map::new();
        for name in names {
            members.extend(self.members.shift_remove_entry(*name));
        }
        members.extend(self.members);
        self.members = members;
        self
    }

    /// The document, without blanks.
    pub fn into_bytes(self) -> Vec<u8> {
        Value::Object(self.members).to_string().into_bytes()
    }

    /// The manifest, without blanks.
    ///
    /// # Errors
    /// As [`Manifest::new`].
    pub fn build(mut self) -> Result<Manifest> {
        let served = self.served.take();
        Manifest::new(served.as_deref(), self.into_bytes())
    }

    /// The manifest in the bytes of Python's `json.dumps` with `sort_keys`, as
    /// python-dxf writes aliases.
    ///
    /// # Errors
    /// As [`Manifest::new`].
    pub fn build_sorted(self) -> Result<Manifest> {
        let text = json::python(&Value::Object(self.members));
        Manifest::new(self.served.as_deref(), text.into_bytes())
    }
}

/// Makes the JSON of a descriptor point at other content of the same type. The
/// content that it carries itself (`data`, image-spec, descriptor.md) is
/// removed.
pub fn repoint(listed: &mut Value, to: &Descriptor) {
    if let Some(members) = listed.as_object_mut() {
        members.insert("digest".to_string(), to.digest.to_string().into());
        members.insert("size".to_string(), to.size.into());
        members.shift_remove("data");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::descriptor::media_type;
    use crate::digest::Digest;
    use serde_json::json;

    fn text(builder: Builder) -> String {
        String::from_utf8(builder.into_bytes()).unwrap()
    }

    #[test]
    fn what_exists_keeps_its_place() {
        let old = r#"{"odd":{"z":1,"a":2},"layers":null,"mediaType":"x/y","config":{"size":1,"digest":"sha256:00","data":"e30=","urls":[]}}"#;
        let to = Descriptor::new("", Digest::of(b"abc"), 3);
        let mut builder = Builder::parse("manifest", old.as_bytes()).unwrap();
        assert_eq!(builder.take_list("layers"), Some(vec![]));
        assert_eq!(builder.take_list("odd"), None);
        let mut builder = Builder::parse("manifest", old.as_bytes()).unwrap();
        builder.take_list("layers");
        let builder = builder.layers([json!({})]).repoint_config(&to);
        let made = text(builder.clone().member("new", 1));
        let expected = format!(
            r#"{{"odd":{{"z":1,"a":2}},"layers":[{{}}],"mediaType":"x/y","config":{{"size":3,"digest":"{}","urls":[]}},"new":1}}"#,
            to.digest
        );
        assert_eq!(made, expected);
        assert_eq!(text(builder.without_others()), r#"{"mediaType":"x/y"}"#);
        assert!(Builder::parse("manifest", b"[]").is_err());
    }

    #[test]
    fn members_move_to_the_front() {
        let made = Builder::new(media_type::OCI_INDEX).manifests([json!(1)]);
        assert_eq!(
            text(made.first(&["manifests", "none"])),
            format!(
                r#"{{"manifests":[1],"schemaVersion":2,"mediaType":"{}"}}"#,
                media_type::OCI_INDEX
            )
        );
    }
}
