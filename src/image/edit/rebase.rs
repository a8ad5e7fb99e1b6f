//! Another base under the same layers.
//!
//! What the image has of its old base becomes what the new one has; what it
//! says itself stays. So a `PATH` that came with the base follows the base,
//! as it would have been had the image been built on the new one.

use crate::descriptor::annotation::{BASE_DIGEST, BASE_NAME};
use serde_json::{Map, Value};

use super::history::Base;
use super::settings::env_of;
use super::{Draft, Editor, object};
use crate::error::{Error, Result};
use crate::image::Image;

impl Editor {
    /// Puts the layers of `new` in the place of those of `old`, on which the
    /// image has to stand. The history follows, and of the settings
    /// (`config.config`: environment, labels, command …) every one that is the
    /// same in the image and in `old`. The `org.opencontainers.image.base.*`
    /// annotations are brought up to date where they are; `name` is what to
    /// call `new` there.
    pub fn rebase(self, old: &Image, new: &Image, name: Option<&str>) -> Editor {
        self.with(|draft| draft.rebase(&Draft::of(old)?, &Draft::of(new)?, name))
    }
}

impl Draft {
    fn rebase(&mut self, old: &Draft, new: &Draft, name: Option<&str>) -> Result<()> {
        let ids = |draft: &Draft| -> Vec<_> { draft.layers.iter().map(|l| l.diff_id).collect() };
        if !ids(self).starts_with(&ids(old)) {
            return Err(Error::Unsupported {
                what: format!(
                    "the image is not based on {}: its lowest layers differ",
                    old.base.manifest().digest()
                ),
            });
        }
        self.same_platform(old)?;
        self.same_platform(new)?;
        let adopt = |kept: &super::Kept| self.adopt(&kept.blob, kept.diff_id);
        let mut layers = new.layers.iter().map(adopt).collect::<Result<Vec<_>>>()?;
        layers.extend_from_slice(&self.layers[old.layers.len()..]);
        super::super::bounded(layers.len())?;
        self.history.replace_base(old.as_base(), new.as_base());
        self.layers = layers;
        self.merge(old, new)?;
        self.annotate(new, name)
    }

    fn as_base(&self) -> Base<'_> {
        Base {
            history: &self.history,
            layers: self.layers.len(),
        }
    }

    fn same_platform(&self, other: &Draft) -> Result<()> {
        let word = |draft: &Draft, name: &str| draft.config.get(name).cloned();
        let differs = |name: &&str| word(self, name) != word(other, name);
        match ["os", "architecture"].into_iter().find(differs) {
            None => Ok(()),
            Some(name) => Err(Error::Unsupported {
                what: format!(
                    "{} is for a different platform: {name} is {}",
                    other.base.manifest().digest(),
                    word(other, name).unwrap_or_default()
                ),
            }),
        }
    }

    fn merge(&mut self, old: &Draft, new: &Draft) -> Result<()> {
        // What a Windows kernel has to be.
        for name in ["os.version", "os.features"] {
            match member(&self.config, &old.config, &new.config, name) {
                Some(value) => self.config.insert(name.to_string(), value),
                None => self.config.shift_remove(name),
            };
        }
        let none = Map::new();
        let settings = |draft: &Draft| {
            let inner = draft.config.get("config").and_then(Value::as_object);
            inner.unwrap_or(&none).clone()
        };
        let (own, old, new) = (settings(self), settings(old), settings(new));
        let merged = merge(&own, &old, &new, setting);
        if merged != own {
            *object(&mut self.config, "config")? = merged;
        }
        Ok(())
    }

    fn annotate(&mut self, new: &Draft, name: Option<&str>) -> Result<()> {
        let all = self.manifest.members().get_mut("annotations");
        let Some(all) = all.and_then(Value::as_object_mut) else {
            return Ok(());
        };
        if let Some(digest) = all.get_mut(BASE_DIGEST) {
            *digest = new.base.manifest().digest().to_string().into();
        }
        match (all.get_mut(BASE_NAME), name) {
            (Some(there), Some(name)) => *there = name.into(),
            // Better no name than the old one.
            (Some(_), None) => drop(all.shift_remove(BASE_NAME)),
            (None, _) => {}
        }
        Ok(())
    }
}

type Members = Map<String, Value>;
/// The member of a name in the image, given those of image, old and new base.
type Choose = fn(&Members, &Members, &Members, &str) -> Option<Value>;

/// The image's members and the new base's, each as `choose` says.
fn merge(own: &Members, old: &Members, new: &Members, choose: Choose) -> Members {
    let more = new.keys().filter(|name| !own.contains_key(*name));
    let names = own.keys().chain(more);
    let chosen = names.filter_map(|name| Some((name.clone(), choose(own, old, new, name)?)));
    chosen.collect()
}

/// What the new base says, where the image says what the old one did.
fn member(own: &Members, old: &Members, new: &Members, name: &str) -> Option<Value> {
    let said = |members: &Members| members.get(name).filter(|value| !value.is_null()).cloned();
    if said(own) == said(old) {
        new.get(name).cloned()
    } else {
        own.get(name).cloned()
    }
}

/// A member of the settings; some consist of members, which are told apart.
fn setting(own: &Members, old: &Members, new: &Members, name: &str) -> Option<Value> {
    let whole = member(own, old, new, name);
    match name {
        "Env" => {
            let list = |members: &Members| -> Option<Vec<Value>> {
                Some(members.get(name)?.as_array()?.clone())
            };
            let Some(own) = list(own) else { return whole };
            let (old, new) = (list(old).unwrap_or_default(), list(new).unwrap_or_default());
            Some(Value::Array(env(&own, &old, &new)))
        }
        "Labels" | "ExposedPorts" | "Volumes" => {
            let object = |members: &Members| members.get(name).and_then(Value::as_object).cloned();
            let Some(own) = object(own) else { return whole };
            let (old, new) = (
                object(old).unwrap_or_default(),
                object(new).unwrap_or_default(),
            );
            Some(Value::Object(merge(&own, &old, &new, member)))
        }
        _ => whole,
    }
}

/// The environment of the new base, with what the image changed in the old
/// one's and then what it has of its own.
fn env(own: &[Value], old: &[Value], new: &[Value]) -> Vec<Value> {
    let find = |list: &[Value], entry: &Value| {
        let mut same = list.iter().filter(|other| env_of(other) == env_of(entry));
        same.next().cloned()
    };
    let kept = |entry: &Value| {
        let (mine, was) = (find(own, entry), find(old, entry));
        if mine == was {
            Some(entry.clone())
        } else {
            mine
        }
    };
    let mut merged: Vec<Value> = new.iter().filter_map(kept).collect();
    let further = own
        .iter()
        .filter(|entry| find(new, entry).is_none() && find(old, entry).as_ref() != Some(*entry));
    merged.extend(further.cloned());
    merged
}
