//! An image's config: the JSON that says how to run it and what its layers
//! hold (image-spec, config.md; Docker's image spec v1.2).
//!
//! Kept as the whole document, members in their order, because everything this
//! crate does not know must survive an edit.

use serde::Deserialize;
use serde_json::{Map, Value};

use super::layer::{Family, LayerType};
use crate::bounds;
use crate::descriptor::{Descriptor, media_type};
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::manifest::ImageManifest;
use crate::platform::Platform;

/// The largest config that is read, bytes (as containers/image).
pub const MAX_SIZE: u64 = bounds::CONFIG;

/// Whether a media type is that of a config which describes a file system.
pub fn is_config(media_type: &str) -> bool {
    matches!(
        media_type,
        media_type::DOCKER_CONFIG | media_type::OCI_CONFIG
    )
}

/// Whether an image with these descriptors is a file system: config and layers
/// have the types of one. Docker 1.10 and 1.11 gave configs other types; with
/// Docker's layers they are taken, as engines do.
pub fn describes<'a>(
    config: &Descriptor,
    layers: impl IntoIterator<Item = &'a Descriptor>,
) -> bool {
    let kinds = layers
        .into_iter()
        .map(|layer| LayerType::parse(&layer.media_type));
    let Some(kinds) = kinds.collect::<Option<Vec<_>>>() else {
        return false;
    };
    let is_docker = kinds.iter().all(|kind| kind.family == Family::Docker);
    is_config(&config.media_type) || is_docker && !kinds.is_empty() && is_old(&config.media_type)
}

/// Whether a manifest is one of a file system: no artifact that says its type,
/// though config and layers may have the types of an image's (oras).
pub fn is_file_system(manifest: &ImageManifest) -> bool {
    !is_artifact(manifest) && describes(&manifest.config, &manifest.layers)
}

/// Whether a manifest has a config that names its platform: an image,
/// or an artifact as `oras push --artifact-platform` makes one.
pub fn has_platform(manifest: &ImageManifest) -> bool {
    match is_artifact(manifest) {
        true => manifest.config.media_type == media_type::OCI_CONFIG,
        false => describes(&manifest.config, &manifest.layers),
    }
}

fn is_artifact(manifest: &ImageManifest) -> bool {
    let said = manifest.artifact_type.as_deref();
    said.is_some_and(|kind| !kind.is_empty())
}

/// The types of configs that Docker pushed by mistake (moby#22378).
fn is_old(media_type: &str) -> bool {
    matches!(
        media_type,
        "" | media_type::OCTET_STREAM | "application/json" | "text/html"
    )
}

/// A view of a config.
#[derive(Debug, Clone, PartialEq)]
pub struct Config(Value);

/// A step of an image's history.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Step {
    /// When, unchanged (RFC 3339).
    pub created: Option<String>,
    /// The command.
    pub created_by: String,
    /// A comment of its author.
    pub comment: String,
    /// Whether the step made no layer.
    pub empty_layer: bool,
}

impl Config {
    /// Reads a config document.
    ///
    /// # Errors
    /// [`Error::Malformed`] when it is not a JSON object.
    pub fn parse(bytes: &[u8]) -> Result<Config> {
        // Some builders wrote file names of other encodings into it; the bytes
        // stay what they are, this is a view.
        let text = String::from_utf8_lossy(bytes);
        let value = serde_json::from_str(&text).map_err(|e| Error::malformed("config", e))?;
        Config::from_value(value)
    }

    /// A config made elsewhere.
    ///
    /// # Errors
    /// [`Error::Malformed`] when it is not a JSON object.
    pub fn from_value(value: Value) -> Result<Config> {
        if !value.is_object() {
            return Err(Error::malformed("config", "it is not a JSON object"));
        }
        Ok(Config(value))
    }

    /// The whole document.
    pub fn value(&self) -> &Value {
        &self.0
    }

    /// The whole document, to be changed.
    pub fn into_value(self) -> Value {
        self.0
    }

    /// Where the image runs.
    pub fn platform(&self) -> Platform {
        let variant = self.text("variant");
        let mut platform = Platform::new(self.text("os"), self.text("architecture"));
        platform.variant = (!variant.is_empty()).then(|| variant.to_string());
        if let Some(version) = self.0.get("os.version") {
            let rest = &mut platform.rest;
            rest.insert("os.version".to_string(), version.clone());
        }
        platform
    }

    /// The digests of the layers without compression, lowest first.
    ///
    /// # Errors
    /// [`Error::Malformed`] when they are missing or no digests.
    pub fn diff_ids(&self) -> Result<Vec<Digest>> {
        let listed = self.0.pointer("/rootfs/diff_ids");
        match listed {
            // An image of no layers may leave the list out.
            None | Some(Value::Null) => Ok(Vec::new()),
            Some(list) => Vec::<Digest>::deserialize(list)
                .map_err(|e| Error::malformed("config", format!("rootfs.diff_ids: {e}"))),
        }
    }

    /// The steps that made the image, first one first; those that are no
    /// objects are left out.
    pub fn history(&self) -> Vec<Step> {
        let steps = self.0.get("history").and_then(Value::as_array);
        steps
            .into_iter()
            .flatten()
            .filter_map(Value::as_object)
            .map(Step::of)
            .collect()
    }

    /// What is set for the process (`config.Env`): `NAME=value`.
    pub fn env(&self) -> Vec<&str> {
        self.list("Env")
    }

    /// The program to run (`config.Entrypoint`).
    pub fn entrypoint(&self) -> Vec<&str> {
        self.list("Entrypoint")
    }

    /// Its arguments, or the program where there is no entrypoint (`config.Cmd`).
    pub fn cmd(&self) -> Vec<&str> {
        self.list("Cmd")
    }

    /// When the image was made, unparsed.
    pub fn created(&self) -> Option<&str> {
        self.0.get("created").and_then(Value::as_str)
    }

    fn list(&self, name: &str) -> Vec<&str> {
        let list = self.0.get("config").and_then(|inner| inner.get(name));
        let words = list.and_then(Value::as_array).into_iter().flatten();
        words.filter_map(Value::as_str).collect()
    }

    fn text(&self, name: &str) -> &str {
        self.0.get(name).and_then(Value::as_str).unwrap_or_default()
    }
}

impl Step {
    fn of(members: &Map<String, Value>) -> Step {
        let text = |name: &str| members.get(name).and_then(Value::as_str);
        Step {
            created: text("created").map(str::to_string),
            created_by: text("created_by").unwrap_or_default().to_string(),
            comment: text("comment").unwrap_or_default().to_string(),
            empty_layer: members.get("empty_layer") == Some(&Value::Bool(true)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_what_is_there_and_keeps_the_rest() {
        let d = Digest::of(b"x");
        let text = format!(
            r#"{{"zeta":1,"os":"linux","architecture":"arm","variant":"v6","created":"2020-01-01T00:00:00Z",
            "config":{{"Env":["A=b"],"Cmd":["sh"],"Entrypoint":null,"Odd":7}},
            "rootfs":{{"type":"layers","diff_ids":["{d}"]}},
            "history":[{{"created_by":"/bin/sh -c x","empty_layer":true}},7,{{"comment":"c"}}]}}"#
        );
        let config = Config::parse(text.as_bytes()).unwrap();
        assert_eq!(config.platform().to_string(), "linux/arm/v6");
        assert_eq!(config.diff_ids().unwrap(), [d]);
        assert_eq!((config.env(), config.cmd()), (vec!["A=b"], vec!["sh"]));
        assert!(config.entrypoint().is_empty());
        let history = config.history();
        assert_eq!(history.len(), 2);
        assert!(history[0].empty_layer && !history[1].empty_layer);
        assert_eq!(config.created(), Some("2020-01-01T00:00:00Z"));
        let value: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(
            serde_json::to_string(&config.into_value()).unwrap(),
            serde_json::to_string(&value).unwrap()
        );
    }

    #[test]
    fn a_config_that_is_not_quite_utf_8_is_read() {
        let config =
            Config::parse(b"{\"os\":\"linux\",\"architecture\":\"amd64\",\"author\":\"Andr\xe9\"}");
        assert_eq!(config.unwrap().platform().to_string(), "linux/amd64");
    }

    #[test]
    fn what_is_no_config_is_malformed() {
        for bad in ["", "[]", "7", "null", "{"] {
            assert!(Config::parse(bad.as_bytes()).is_err(), "{bad}");
        }
        let empty = Config::parse(b"{}").unwrap();
        assert!(empty.diff_ids().unwrap().is_empty() && empty.platform().is_unknown());
        for bad in [
            r#"{"rootfs":{"diff_ids":["x"]}}"#,
            r#"{"rootfs":{"diff_ids":7}}"#,
        ] {
            assert!(Config::parse(bad.as_bytes()).unwrap().diff_ids().is_err());
        }
    }

    proptest! {
        #[test]
        fn never_panics(text in r#"[{}\[\]":,a-z0-9]{0,60}"#) {
            if let Ok(config) = Config::parse(text.as_bytes()) {
                let _ = (config.diff_ids(), config.history(), config.platform(), config.env());
            }
        }
    }
}
