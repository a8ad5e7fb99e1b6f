//! `show-bundle`: what is in a bundle.

use dxf_registry::bundle::{Bundle, Entry};
use dxf_registry::descriptor::media_type;
use dxf_registry::error::if_found;
use dxf_registry::graph::{Budget, Resolver, Step, Walk};
use dxf_registry::manifest::Kind;
use dxf_registry::stream::Run;
use dxf_registry::{Digest, Error, Manifest, ReadStore, Result, Target, json, text};
use serde_json::{Value, json};

use crate::cli::args::ShowBundle;
use crate::cli::bundle::{is_or_are, opened, together};
use crate::cli::env::Shape;
use crate::cli::exit::Failure;
use crate::cli::out::size;
use crate::cli::session::Session;

/// `show-bundle FILE… [--verify]`
pub fn run(s: &mut Session<'_, '_>, args: &ShowBundle) -> Result<(), Failure> {
    let words = args.words.take(1, usize::MAX)?;
    let bundle = opened(s, words)?;
    let run = s.run();
    if args.index {
        let mut index = bundle.listing()?.to_bytes();
        index.push(b'\n');
        return s.write(&index);
    }
    let wrong = match args.verify {
        true => bundle.verify(run)?,
        false => Vec::new(),
    };
    let shown = match Shown::of(&bundle, run) {
        Err(_) if !wrong.is_empty() => return Err(damaged(wrong)),
        shown => shown?,
    };
    let (omitted, absent) = (bundle.omitted(), bundle.absent_parts());
    let (cuts, parts) = (bundle.cuts(), bundle.part_count());
    let (count, bytes) = omitted.count();
    match s.context.shape {
        Shape::Json => s.line(json::python(&json!({"images": shown.json(),
            "omitted": {"count": count, "bytes": bytes, "against": omitted.against()},
            "absentParts": absent, "parts": parts,
            "cuts": cuts.iter().map(|cut| json!({"digest": cut.digest, "parts": cut.parts}))
                .collect::<Value>()})))?,
        Shape::Text => {
            s.table(shown.rows(), &[2])?;
            if count > 0 {
                let (bytes, against) = (size::show(bytes), omitted.against().join(", "));
                s.line(format_args!("left out: {bytes} that are in {against}"))?;
            }
            for number in &absent {
                s.line(format_args!("part {number} is missing"))?;
            }
            if !cuts.is_empty() {
                let layers = size::count(cuts.len(), "layer");
                let needs = together(&cuts);
                s.line(format_args!("{layers} larger than a part: load {needs}"))?;
            }
        }
    }
    if !args.verify {
        return Ok(());
    }
    if !wrong.is_empty() {
        return Err(damaged(wrong));
    }
    let verified = match parts {
        0 => "verified".to_string(),
        all => format!("{} of {all} parts, verified", all - absent.len()),
    };
    if !absent.is_empty() {
        let what = format!("{verified}; {} missing", is_or_are(&absent));
        return Err(Failure::PartsMissing(what));
    }
    match s.context.shape {
        Shape::Text => s.line(verified),
        Shape::Json => Ok(()),
    }
}

/// The failure for what is wrong with a bundle: it names every file to be brought
/// again.
fn damaged(mut wrong: Vec<Error>) -> Failure {
    let mut files: Vec<String> = Vec::new();
    for error in &wrong {
        if let Error::At { place, .. } = error
            && !files.contains(place)
        {
            files.push(place.clone());
        }
    }
    let first = wrong.swap_remove(0);
    match (wrong.len(), files.as_slice()) {
        (0, _) => first.into(),
        (more, [_]) => Failure::Damaged(format!("{first}; {more} more in this file")),
        _ => Failure::Damaged(format!("damaged: {}; the first: {first}", files.join(", "))),
    }
}

/// One entry of a bundle.
struct Line {
    name: String,
    digest: Digest,
    /// The platforms that it runs on.
    platforms: Vec<String>,
    /// Its type, where it is an artifact.
    kind: Option<String>,
    /// What it refers to.
    subject: Option<Digest>,
    /// Whether it is about another manifest, as a signature under cosign's tag is.
    is_related: bool,
    /// Bytes of everything below it, and of its manifest; none of what is not in
    /// the bundle, because it was carried before.
    size: Option<u64>,
}

struct Shown(Vec<Line>);

impl Shown {
    fn of(bundle: &Bundle, run: Run<'_>) -> Result<Shown> {
        let bounded = bundle.bounded();
        let walk = Walk::new(&bounded, run);
        let entries = bundle.entries().iter();
        let lines = entries.map(|entry| Line::of(&bounded, &walk, run, entry));
        Ok(Shown(lines.collect::<Result<_>>()?))
    }

    fn json(&self) -> Value {
        let lines = self.0.iter().map(|line| {
            json!({"name": line.name, "digest": line.digest, "platforms": line.platforms,
                "artifactType": line.kind, "subject": line.subject, "size": line.size.unwrap_or(0),
                "omitted": line.size.is_none()})
        });
        lines.collect()
    }

    /// Each image, and below it what belongs to it.
    fn rows(&self) -> Vec<Vec<String>> {
        let row = |line: &Line| {
            let kind = match (&line.kind, line.size) {
                (Some(kind), _) => kind.clone(),
                (None, None) => "already carried".to_string(),
                (None, Some(_)) => "-".to_string(),
            };
            let size = line.size.map_or("-".to_string(), size::show);
            let name = match line.is_related {
                true => format!("  {kind}"),
                false => line.name.clone(),
            };
            let about = match (&line.subject, line.platforms.is_empty()) {
                (Some(subject), _) => format!("refers to {:.12}", subject.hex()),
                (None, false) => line.platforms.join(","),
                // The name says it.
                (None, true) if line.is_related => "-".to_string(),
                (None, true) => kind,
            };
            vec![name, about, size, line.digest.to_string()]
        };
        self.0.iter().map(row).collect()
    }
}

impl Line {
    fn of(bundle: &dyn ReadStore, walk: &Walk<'_>, run: Run<'_>, entry: &Entry) -> Result<Line> {
        let digest = entry.descriptor.digest;
        let target = Target::Digest(digest);
        if bundle.blob_size(&digest)?.is_none() {
            return Ok(Line {
                name: entry.name.to_string(),
                digest,
                platforms: Vec::new(),
                kind: None,
                subject: entry.subject(),
                is_related: entry.is_related() || entry.name.digest.is_some(),
                size: None,
            });
        }
        let manifest = bundle.manifest(&target)?;
        let budget = Budget::default();
        // A config may be left out, or be in a part that is missing.
        let offered = if_found(Resolver::new(bundle, &budget, run).platforms(&manifest))?;
        let offered = offered.unwrap_or_default();
        let platforms = offered.iter().filter_map(|one| one.platform.as_ref());
        let subject = match manifest.subject()? {
            Some(subject) => Some(subject.digest),
            None => entry.subject(),
        };
        let platforms: Vec<_> = platforms.map(|one| text::clean(&one.to_string())).collect();
        let mut size = manifest.bytes().len() as u64;
        for step in walk.below(&*walk.root(&target)?, run.jobs)? {
            size = size.saturating_add(match step {
                Step::Manifest(blob, _) | Step::Config(blob) | Step::Blob(blob) => blob.size,
                _ => 0,
            });
        }
        Ok(Line {
            name: entry.name.to_string(),
            digest: entry.descriptor.digest,
            kind: kind(&manifest)?.filter(|_| platforms.is_empty()),
            platforms,
            is_related: entry.is_related() || subject.is_some(),
            subject,
            size: Some(size),
        })
    }
}

/// The type of an artifact. cosign's have an image's config type; what they are
/// is the type of their first layer.
fn kind(manifest: &Manifest) -> Result<Option<String>> {
    let described = manifest.referrer()?;
    let kind = described.artifact_type();
    let layer = match (manifest.kind(), kind) {
        (Kind::Image, Some(media_type::OCI_CONFIG)) => manifest.image()?.layers.into_iter().next(),
        _ => None,
    };
    let kind = layer
        .as_ref()
        .map(|layer| layer.media_type.as_str())
        .or(kind);
    Ok(kind.map(text::clean))
}
