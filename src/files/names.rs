//! The names that tools give the layers of their artifacts, where no annotation
//! says one: helm, flux, kitops and Docker's model runner.

use std::collections::HashMap;

use serde_json::Value;

use super::TITLE;
use crate::descriptor::Descriptor;
use crate::descriptor::annotation::VERSION;
use crate::manifest::ImageManifest;

/// The name of a layer whose archive has its own names from the top of the folder
/// that the artifact is written to.
pub(super) const TOP: &str = ".";

/// Helm's charts and their signatures (helm.sh/docs/topics/registries).
const HELM_CONFIG: &str = "application/vnd.cncf.helm.config.v1+json";
const HELM_CHART: &str = "application/vnd.cncf.helm.chart.content.v1.tar+gzip";
const HELM_PROVENANCE: &str = "application/vnd.cncf.helm.chart.provenance.v1.prov";
/// Flux' artifacts (fluxcd/pkg, oci).
const FLUX_CONFIG: &str = "application/vnd.cncf.flux.config.v1+json";
const FLUX_CONTENT: &str = "application/vnd.cncf.flux.content.v1.tar+gzip";
/// Kitops' models, whose config is a Kitfile (kitops-ml/kitops, pkg/artifact).
const KIT_CONFIG: &str = "application/vnd.kitops.modelkit.config.v1+json";
const KIT_LAYER: &str = "application/vnd.kitops.modelkit.";
/// What the types of Docker's models begin with.
const DOCKER_CONFIG: &str = "application/vnd.docker.ai.model.config.";
const DOCKER_LAYER: &str = "application/vnd.docker.ai.";

/// What a tool calls a layer.
pub(super) struct Given {
    pub name: String,
    /// Whether the layer is the archive of what has this name.
    pub is_archive: bool,
}

impl Given {
    fn file(name: String) -> Option<Given> {
        let is_archive = false;
        Some(Given { name, is_archive })
    }

    /// kitops keeps files alone, or in archives.
    fn of_kit(name: &str, layer: &Descriptor) -> Option<Given> {
        match layer.media_type.contains(".v1.raw") {
            true => Given::file(name.to_string()),
            false => Given::archive(name),
        }
    }

    fn archive(name: &str) -> Option<Given> {
        let (name, is_archive) = (name.to_string(), true);
        Some(Given { name, is_archive })
    }
}

/// Whether a layer is a file that kitops has compressed by itself.
pub(super) fn is_packed(media_type: &str) -> bool {
    let kind = media_type.strip_prefix(KIT_LAYER);
    kind.is_some_and(|kind| kind.contains(".v1.raw+"))
}

/// Names the layers of an artifact, in their order.
pub(super) struct Namer<'a> {
    image: &'a ImageManifest,
    config: &'a Value,
    /// How many layers of each type there were.
    before: HashMap<&'a str, usize>,
}

/// Whether the names of layers are in the artifact's config.
pub(super) fn are_in_config(image: &ImageManifest) -> bool {
    match image.config.media_type.as_str() {
        KIT_CONFIG => true,
        HELM_CONFIG => said(image, TITLE).is_none() || said(image, VERSION).is_none(),
        _ => false,
    }
}

fn said<'a>(image: &'a ImageManifest, name: &str) -> Option<&'a str> {
    let word = image.annotations.get(name).map(String::as_str);
    word.filter(|word| !word.is_empty())
}

impl<'a> Namer<'a> {
    /// For the layers of `image`; `config` is its config, or null where it was not
    /// read.
    pub fn new(image: &'a ImageManifest, config: &'a Value) -> Namer<'a> {
        Namer {
            image,
            config,
            before: HashMap::new(),
        }
    }

    /// What the tool that made the artifact calls the next layer.
    pub fn next(&mut self, layer: &'a Descriptor) -> Option<Given> {
        let before = self.before.entry(&layer.media_type).or_default();
        let number = std::mem::replace(before, *before + 1);
        match self.image.config.media_type.as_str() {
            HELM_CONFIG => self.helm(layer),
            FLUX_CONFIG if layer.media_type == FLUX_CONTENT => Given::archive(TOP),
            KIT_CONFIG => Given::of_kit(kit_path(self.config, layer, number)?, layer),
            kind if kind.starts_with(DOCKER_CONFIG) => self.docker(layer, number),
            _ => None,
        }
    }

    /// Helm makes the name of a chart's name and version.
    fn helm(&self, layer: &Descriptor) -> Option<Given> {
        let end = match layer.media_type.as_str() {
            HELM_CHART => "tgz",
            HELM_PROVENANCE => "tgz.prov",
            _ => return None,
        };
        let in_config = |name: &str| self.config.get(name)?.as_str();
        let chart = said(self.image, TITLE).or_else(|| in_config("name"))?;
        let version = said(self.image, VERSION).or_else(|| in_config("version"))?;
        let (chart, version) = (one_part(chart), one_part(version));
        Given::file(format!("{chart}-{version}.{end}"))
    }

    /// Docker's model runner goes by types (docker/model-runner,
    /// internal/bundle/unpack.go).
    fn docker(&self, layer: &Descriptor, number: usize) -> Option<Given> {
        let kind = layer.media_type.as_str();
        let end = match kind.strip_prefix(DOCKER_LAYER)? {
            "gguf.v3" => "gguf",
            "safetensors" => "safetensors",
            "mmproj" => return Given::file("model.mmproj".to_string()),
            "chat.template.jinja" => return Given::file("template.jinja".to_string()),
            "dir.tar" | "vllm.config.tar" => return Given::archive(TOP),
            _ => return None,
        };
        let all = self
            .image
            .layers
            .iter()
            .filter(|one| one.media_type == kind);
        Given::file(match all.count() {
            1 => format!("model.{end}"),
            count => format!("model-{:05}-of-{count:05}.{end}", number + 1),
        })
    }
}

/// The path that a Kitfile gives a layer: by its digest, or, from kitops before 1.3,
/// by its place among the layers of its kind.
fn kit_path<'v>(kitfile: &'v Value, layer: &Descriptor, number: usize) -> Option<&'v str> {
    let kind = layer.media_type.strip_prefix(KIT_LAYER)?;
    let (kind, _) = kind.split_once(".v1.")?;
    let model = &kitfile["model"];
    let list = |value: &'v Value| value.as_array().into_iter().flatten();
    let lists = [
        ("modelpart", list(&model["parts"])),
        ("dataset", list(&kitfile["datasets"])),
        ("code", list(&kitfile["code"])),
        ("docs", list(&kitfile["docs"])),
        ("prompt", list(&kitfile["prompts"])),
    ];
    let listed = lists
        .into_iter()
        .flat_map(|(kind, list)| list.map(move |one| (kind, one)));
    let all: Vec<(&str, &Value)> = [("model", model)].into_iter().chain(listed).collect();
    let digest = layer.digest.to_string();
    let same = |(_, one): &&(&str, &Value)| one["digest"].as_str() == Some(&digest);
    let mut of_kind = all.iter().filter(|(other, _)| *other == kind);
    let found = all.iter().find(same).or_else(|| of_kind.nth(number));
    found?.1["path"].as_str()
}

/// A word as part of a name.
fn one_part(word: &str) -> String {
    word.replace(['/', '\0'], "_")
}
