//! Models in the format of ModelPack (github.com/modelpack/model-spec, spec.md and
//! config.md): each file is a layer whose type says what it is to the model.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::{Map, Value, json};

use super::{CREATED, Input, TITLE};
use crate::blob::Blob;
use crate::bounds;
use crate::error::{Error, Result};
use crate::image::MAX_LAYERS;

/// The artifact type of a model.
pub const MODEL_TYPE: &str = "application/vnd.cncf.model.manifest.v1+json";
/// The type of a model's config.
pub const MODEL_CONFIG: &str = "application/vnd.cncf.model.config.v1+json";

/// Files of unknown kind from this size on are weights (as modctl), bytes.
const LARGE: u64 = 128 << 20;
/// The deepest folder in a model's folder.
const MAX_DEPTH: usize = bounds::MODEL_LEVELS;

/// The ends of names, by kind; the first that fits counts.
const ENDS: [(&str, &[&str]); 5] = [
    (
        "weight.config",
        &[
            ".json",
            ".jsonl",
            ".yaml",
            ".yml",
            ".toml",
            ".ini",
            ".cfg",
            ".conf",
            ".config",
            ".xml",
            ".jinja",
            "tokenizer.model",
            "merges.txt",
            "vocab.txt",
            ".vocab",
        ],
    ),
    (
        "weight",
        &[
            ".safetensors",
            ".gguf",
            ".ggml",
            ".bin",
            ".pt",
            ".pth",
            ".onnx",
            ".h5",
            ".hdf5",
            ".pb",
            ".tflite",
            ".ckpt",
            ".msgpack",
            ".model",
            ".pkl",
            ".pickle",
            ".npy",
            ".npz",
            ".keras",
            ".mlmodel",
            ".engine",
            ".trt",
            ".llamafile",
        ],
    ),
    ("dataset", &[".csv", ".tsv", ".parquet", ".arrow"]),
    (
        "code",
        &[
            ".py", ".ipynb", ".sh", ".c", ".h", ".cc", ".cpp", ".cu", ".js", ".ts", ".go", ".rs",
            ".java", ".so",
        ],
    ),
    (
        "doc",
        &[
            ".md", ".txt", ".rst", ".pdf", ".html", ".png", ".jpg", ".jpeg", ".svg", "license",
            "readme", "notice",
        ],
    ),
];

/// Formats of weights that a model's config names, by the ends of their names.
const FORMATS: [(&str, &str); 5] = [
    (".safetensors", "safetensors"),
    (".gguf", "gguf"),
    (".onnx", "onnx"),
    (".tflite", "tflite"),
    (".pt", "pytorch"),
];

/// Members of a config's descriptor, and the annotations of the manifest that
/// say the same.
const ABOUT: [(&str, &str); 8] = [
    ("createdAt", CREATED),
    ("vendor", "org.opencontainers.image.vendor"),
    ("version", "org.opencontainers.image.version"),
    ("title", TITLE),
    ("description", "org.opencontainers.image.description"),
    ("docURL", "org.opencontainers.image.documentation"),
    ("sourceURL", "org.opencontainers.image.source"),
    ("revision", "org.opencontainers.image.revision"),
];
/// The same for members that are lists.
const ABOUT_LISTS: [(&str, &str); 2] = [
    ("authors", "org.opencontainers.image.authors"),
    ("licenses", "org.opencontainers.image.licenses"),
];

/// What a file is to a model, as its layer's type says it: by its name, or where
/// that tells nothing by its size in bytes.
pub(super) fn media_type(title: &str, size: u64) -> String {
    let name = title.to_lowercase();
    let fits = |ends: &&[&str]| ends.iter().any(|end| name.ends_with(end));
    let known = ENDS.iter().find(|(_, ends)| fits(ends));
    let kind = match known {
        Some((kind, _)) => kind,
        None if size >= LARGE => "weight",
        None => "code",
    };
    format!("application/vnd.cncf.model.{kind}.v1.raw")
}

/// The files of a model: what is at `path`, or every file in that folder and
/// below it, in the order of their names. Links to files are followed, as model
/// caches consist of them.
///
/// # Errors
/// [`Error::Io`]; [`Error::Unsupported`] for links to folders, for folders in more
/// than 32 others, and for more files than a manifest may list; as
/// [`Input::path`].
pub fn model_files(path: &Path, title: &str, media_type: Option<&str>) -> Result<Vec<Input>> {
    let found = Vec::new();
    let mut files = Files { media_type, found };
    let meta = fs::metadata(path).map_err(|e| Error::io(path.display().to_string(), e))?;
    match meta.is_dir() {
        true => files.below(path, title, 0)?,
        false => files
            .found
            .push(Input::path(path, title, media_type)?.in_model()),
    }
    Ok(files.found)
}

/// The files of a model below a folder.
struct Files<'a> {
    media_type: Option<&'a str>,
    found: Vec<Input>,
}

impl Files<'_> {
    fn below(&mut self, folder: &Path, title: &str, depth: usize) -> Result<()> {
        let failed = |path: &Path, e| Error::io(path.display().to_string(), e);
        let unsupported = |path: &Path, why: &str| {
            let what = format!("{}: {why}", path.display());
            Err(Error::Unsupported { what })
        };
        if depth > MAX_DEPTH {
            return unsupported(folder, "the folders of a model are too deep");
        }
        let entries = fs::read_dir(folder).map_err(|e| failed(folder, e))?;
        let names: std::io::Result<Vec<_>> = entries.map(|e| e.map(|e| e.file_name())).collect();
        let mut names = names.map_err(|e| failed(folder, e))?;
        names.sort();
        for name in names {
            let path = folder.join(&name);
            let Some(name) = name.to_str() else {
                return Err(Error::invalid(
                    "file name",
                    path.display().to_string(),
                    "it is not UTF-8",
                ));
            };
            let title = format!("{title}/{name}");
            let meta = fs::metadata(&path).map_err(|e| failed(&path, e))?;
            if !meta.is_dir() {
                self.found
                    .push(Input::path(&path, &title, self.media_type)?.in_model());
            } else if path.is_symlink() {
                return unsupported(&path, "a link to a folder; a model takes folders and files");
            } else {
                self.below(&path, &title, depth + 1)?;
            }
            if self.found.len() > MAX_LAYERS {
                return unsupported(
                    &path,
                    &format!("a manifest lists at most {MAX_LAYERS} files"),
                );
            }
        }
        Ok(())
    }
}

/// The config of a model of these layers: their digests, the format of its
/// weights where they all have the same, and what `annotations` of the manifest
/// say of it (`org.opencontainers.image.version` and its like).
pub fn model_config(layers: &[Blob], annotations: &BTreeMap<String, String>) -> Blob {
    let mut about = Map::new();
    for (member, annotation) in ABOUT {
        if let Some(text) = annotations.get(annotation) {
            about.insert(member.to_string(), text.as_str().into());
        }
    }
    for (member, annotation) in ABOUT_LISTS {
        if let Some(text) = annotations.get(annotation) {
            about.insert(member.to_string(), json!([text]));
        }
    }
    let digests: Vec<&crate::Digest> = layers.iter().map(Blob::digest).collect();
    let mut technical = Map::new();
    if let Some(format) = format(layers) {
        technical.insert("format".to_string(), format.into());
    }
    let config = json!({"descriptor": about, "modelfs": {"type": "layers", "diffIds": digests},
        "config": technical});
    Blob::bytes(MODEL_CONFIG, Value::to_string(&config).into_bytes())
}

/// The format of the weights, if all of them are in one that has a name.
fn format(layers: &[Blob]) -> Option<&'static str> {
    let is_weight = |layer: &&Blob| layer.descriptor().media_type.ends_with(".weight.v1.raw");
    let format = |layer: &Blob| {
        let title = layer.descriptor().annotations.get(TITLE)?;
        let known = FORMATS.iter().find(|(end, _)| title.ends_with(end));
        known.map(|(_, format)| *format)
    };
    let mut formats = layers.iter().filter(is_weight).map(format);
    let first = formats.next()??;
    formats.all(|other| other == Some(first)).then_some(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_what_a_file_is() {
        for (name, kind) in [
            ("model-00001-of-00002.safetensors", "weight"),
            ("a/Q4.GGUF", "weight"),
            ("config.json", "weight.config"),
            ("tokenizer.model", "weight.config"),
            ("other.model", "weight"),
            ("README.md", "doc"),
            ("LICENSE", "doc"),
            ("train.py", "code"),
            ("eval.parquet", "dataset"),
            ("what", "code"),
        ] {
            let expected = format!("application/vnd.cncf.model.{kind}.v1.raw");
            assert_eq!(media_type(name, 1), expected, "{name}");
        }
        assert!(media_type("what", LARGE).contains(".weight."));
    }

    #[test]
    fn a_config_names_the_layers_and_what_is_known() {
        let layer = |name: &str, kind: &str| {
            let said = BTreeMap::from([(TITLE.to_string(), name.to_string())]);
            let kind = format!("application/vnd.cncf.model.{kind}.v1.raw");
            Blob::bytes(&kind, name.as_bytes().to_vec()).with_annotations(said)
        };
        let layers = [layer("a.gguf", "weight"), layer("README", "doc")];
        let said = BTreeMap::from([
            ("org.opencontainers.image.version".into(), "3.1".into()),
            ("org.opencontainers.image.licenses".into(), "MIT".into()),
            ("other".into(), "x".into()),
        ]);
        let config = model_config(&layers, &said);
        let text = String::from_utf8(config.read(1000).unwrap()).unwrap();
        let expected = format!(
            r#"{{"descriptor":{{"version":"3.1","licenses":["MIT"]}},"modelfs":{{"type":"layers","diffIds":["{}","{}"]}},"config":{{"format":"gguf"}}}}"#,
            layers[0].digest(),
            layers[1].digest()
        );
        assert_eq!(text, expected);
        let mixed = [layer("a.gguf", "weight"), layer("b.bin", "weight")];
        assert_eq!(format(&mixed), None);
    }
}
