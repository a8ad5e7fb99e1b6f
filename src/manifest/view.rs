//! Typed views of what a manifest says, read-only. `null` is an empty list or
//! map, as Go and Python write them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::descriptor::Descriptor;
use crate::digest::Digest;
use crate::json;

/// What an image manifest says.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct ImageManifest {
    /// The image's config; for an alias its first blob.
    pub config: Descriptor,
    /// The layers, lowest first; for an alias its blobs in order.
    #[serde(default, deserialize_with = "json::null_as_default")]
    pub layers: Vec<Descriptor>,
    /// What an artifact is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// The manifest this one is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Descriptor>,
    /// Free text about the whole.
    #[serde(
        default,
        deserialize_with = "json::words_without_nulls",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pub annotations: BTreeMap<String, String>,
    /// Everything else, `mediaType` and `schemaVersion` included.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

/// What an index says.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct IndexManifest {
    /// The entries, in order.
    #[serde(deserialize_with = "json::null_as_default")]
    pub manifests: Vec<Descriptor>,
    /// What kind of artifacts the index lists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// The manifest this one is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Descriptor>,
    /// Free text about the whole.
    #[serde(
        default,
        deserialize_with = "json::words_without_nulls",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pub annotations: BTreeMap<String, String>,
    /// Everything else, `mediaType` and `schemaVersion` included.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

/// What a schema 1 manifest says of its image; layers come newest first.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Schema1Manifest {
    /// The repository it was made for.
    #[serde(default, deserialize_with = "json::null_as_default")]
    pub name: String,
    /// The tag it was made for.
    #[serde(default, deserialize_with = "json::null_as_default")]
    pub tag: String,
    /// The processor it runs on.
    #[serde(default, deserialize_with = "json::null_as_default")]
    pub architecture: String,
    /// The layers, newest first.
    #[serde(deserialize_with = "json::null_as_default")]
    pub fs_layers: Vec<Schema1Layer>,
    /// The configs of the layers, newest first.
    #[serde(default, deserialize_with = "json::null_as_default")]
    pub history: Vec<Schema1History>,
}

/// A layer of a schema 1 manifest.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Schema1Layer {
    /// The layer's digest.
    pub blob_sum: Digest,
}

/// One layer's config in a schema 1 manifest.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Schema1History {
    /// A JSON document in a string.
    pub v1_compatibility: String,
}
