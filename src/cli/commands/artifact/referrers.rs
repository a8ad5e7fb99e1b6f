//! `list-referrers`: what refers to an image, as a tree.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use dxf_registry::archive::Archive;
use dxf_registry::files::is_media_type;
use dxf_registry::graph::{Budget, Referrer, Remote, Resolver, Select};
use dxf_registry::manifest::{Kind, Manifest};
use dxf_registry::{Digest, Error, Place, Platform, Target, json, text};
use serde_json::{Value, json};

use crate::cli::args::ListReferrers;
use crate::cli::env::Shape;
use crate::cli::exit::Failure;
use crate::cli::image::open;
use crate::cli::image::platform::platform_missing;
use crate::cli::image::read::{called, images_of, only, uncached};
use crate::cli::out::size;
use crate::cli::session::Session;

/// `list-referrers [--type T] [--depth N] [--platform P] <image>`
pub fn run(s: &mut Session<'_, '_>, args: &ListReferrers) -> Result<(), Failure> {
    let words = args.words.take(1, 1)?;
    if let Some(kind) = args.kind.as_deref().filter(|kind| !is_media_type(kind)) {
        let why = "a media type is two names with a slash between, such as application/spdx+json";
        return Err(Error::invalid("--type", kind, why).into());
    }
    let platform: Option<Platform> = args.platform.as_deref().map(str::parse).transpose()?;
    let place = open::to_read(s, &words[0])?;
    let (remote, target) = opened(s, &place)?;
    let mut manifest = remote.store().manifest(&target)?;
    let mut digest = match target {
        Target::Digest(digest) => digest,
        Target::Tag(_) => manifest.digest(),
    };
    if let (Some(platform), Kind::Index) = (&platform, manifest.kind()) {
        let budget = Budget::default();
        let resolver = Resolver::new(remote.store(), &budget, s.run());
        let chosen = resolver.choose(manifest, Select::Platform(platform));
        manifest = chosen.map_err(platform_missing)?;
        digest = manifest.digest();
    }
    let found = remote.referrers(&digest, &manifest, args.depth, s.run())?;
    let tree = Tree::new(&digest, &manifest, &found, args.kind.as_deref())?;
    match s.context.shape {
        Shape::Json => s.line(json::python(&tree.json())),
        Shape::Text => tree.lines().into_iter().try_for_each(|line| s.line(line)),
    }
}

/// The store that contains the image, and its name there.
fn opened(s: &Session<'_, '_>, place: &Place) -> Result<(Remote, Target), Failure> {
    if !place.is_archive() {
        let remote = uncached(s, open::store(s, s.context, place)?);
        return Ok((remote, place.target()?));
    }
    let what = place.to_string();
    let all = images_of(s, place)?;
    let item = only(called(all.clone(), place)?).map_err(|e| e.at(&what))?;
    let target = Target::Digest(item.node.manifest().digest());
    Ok((Remote::new(Arc::new(Archive::of(&what, all)?)), target))
}

/// The referrers by what they refer to.
struct Tree<'a> {
    /// The image, and the manifests of an index that have referrers, with their
    /// platforms.
    roots: Vec<(Digest, String)>,
    below: HashMap<Digest, Vec<&'a Referrer>>,
}

impl<'a> Tree<'a> {
    /// The tree of what was `found`; with a `kind`, of referrers of that type
    /// and those that lead to one.
    fn new(
        digest: &Digest,
        manifest: &Manifest,
        found: &'a [Referrer],
        kind: Option<&str>,
    ) -> Result<Tree<'a>, Failure> {
        let (mut leads, mut below) = (HashSet::new(), HashMap::<_, Vec<&Referrer>>::new());
        // Subjects precede what refers to them.
        for one in found.iter().rev() {
            let fits = kind.is_none_or(|kind| one.is_of_type(kind));
            if fits || leads.contains(&one.descriptor.digest) {
                leads.insert(one.subject);
                below.entry(one.subject).or_default().push(one);
            }
        }
        below.values_mut().for_each(|list| list.reverse());
        let mut roots = vec![(*digest, String::new())];
        if manifest.kind() == Kind::Index {
            for entry in manifest.index()?.manifests {
                let is_new = roots.iter().all(|(known, _)| *known != entry.digest);
                let listed = found
                    .iter()
                    .any(|one| one.descriptor.digest == entry.digest);
                if is_new && !listed && below.contains_key(&entry.digest) {
                    let platform = entry.platform.map(|p| text::clean(&p.to_string()));
                    roots.push((entry.digest, platform.unwrap_or_default()));
                }
            }
        }
        Ok(Tree { roots, below })
    }

    fn of(&self, digest: &Digest) -> &[&'a Referrer] {
        self.below.get(digest).map_or(&[], Vec::as_slice)
    }

    fn json(&self) -> Value {
        let roots = self.roots.iter().map(|(digest, platform)| {
            let mut root = json!({"digest": digest, "referrers": self.json_of(digest)});
            if !platform.is_empty() {
                root["platform"] = platform.as_str().into();
            }
            root
        });
        roots.collect()
    }

    fn json_of(&self, subject: &Digest) -> Value {
        let one = |one: &&Referrer| {
            let it = &one.descriptor;
            let mut value = json!({"artifactType": it.artifact_type(), "digest": it.digest,
                "size": it.size, "mediaType": it.media_type, "annotations": it.annotations,
                "scheme": one.scheme.name(), "referrers": self.json_of(&it.digest)});
            if let Target::Tag(tag) = &one.target {
                value["tag"] = tag.as_str().into();
            }
            value
        };
        self.of(subject).iter().map(one).collect()
    }

    fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for (digest, platform) in &self.roots {
            lines.push(format!("{digest} {platform}").trim_end().to_string());
            self.lines_of(digest, "", &mut lines);
        }
        lines
    }

    fn lines_of(&self, subject: &Digest, indent: &str, lines: &mut Vec<String>) {
        let all = self.of(subject);
        for (i, one) in all.iter().enumerate() {
            let (branch, rest) = match i + 1 == all.len() {
                true => ("└── ", "    "),
                false => ("├── ", "│   "),
            };
            let it = &one.descriptor;
            let kind = text::clean(it.artifact_type().unwrap_or("-"));
            let size = size::show(it.size);
            let tag = match &one.target {
                Target::Tag(tag) => format!(" {tag}"),
                Target::Digest(_) => String::new(),
            };
            lines.push(format!("{indent}{branch}{kind} {} {size}{tag}", it.digest));
            let indent = format!("{indent}{rest}");
            let bar = if self.of(&it.digest).is_empty() {
                "    "
            } else {
                "│   "
            };
            for (key, value) in &it.annotations {
                let line = format!("{key}={value}");
                lines.push(format!("{indent}{bar}{}", text::one_line(&line)));
            }
            self.lines_of(&it.digest, &indent, lines);
        }
    }
}
