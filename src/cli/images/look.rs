//! The commands that say what an image is made of.
//!
//! Where they take one image of several platforms, it is that of `--platform`,
//! of `DXF_PLATFORM`, or this machine's. Local archives and folders are looked
//! at as well as registries; see [`location`].

use std::ffi::OsStr;
use std::io::Read;
use std::path::Path;

use dxf_registry::image::{self, Image, MAX_DEPTH, Node, config::Step, layer};
use dxf_registry::manifest::Kind;
use dxf_registry::stream::{Buffer, CopyError, copy};
use dxf_registry::transfer::{Remote, Wanted};
use dxf_registry::{Blob, Descriptor, Error, Manifest, Platform, Result, Target, json, text};
use serde_json::{Value, json};

use super::super::args::{self, GetLayer, Look, Words};
use super::super::context::{Context, Shape};
use super::super::exit::Failure;
use super::super::output::Output;
use super::super::session::Session;
use super::super::size;
use super::{Archive, Location, host_platform, known, must_fit, node, remote};

/// Where the image is that `word` names.
///
/// A word that begins with `/`, `./` or `../`, which no reference does, is the
/// path of an archive, or of a folder with an OCI layout. So is the name of a
/// file that exists here; the host or tag of a reference tells it from one.
pub fn location(s: &Session<'_, '_>, word: &OsStr) -> Result<Location> {
    location_by(s.context, word)
}

/// The same where `context` holds.
pub fn location_by(context: &Context, word: &OsStr) -> Result<Location> {
    let path = Path::new(word);
    let bytes = word.as_encoded_bytes();
    let is_path = ["/", "./", "../"]
        .iter()
        .any(|lead| bytes.starts_with(lead.as_bytes()));
    if !is_path && !path.is_file() {
        return Location::parse_by(context, args::text(word)?);
    }
    Ok(if path.is_dir() {
        Location::Layout {
            folder: path.to_path_buf(),
            target: None,
        }
    } else {
        Location::Archive {
            path: path.to_path_buf(),
            kind: Archive::Docker,
            name: None,
        }
    })
}

/// The platform that is asked for, if one is.
fn asked(s: &Session<'_, '_>, look: &Look) -> Result<Option<Platform>> {
    match &look.platform {
        Some(platform) => platform.parse().map(Some),
        None => Ok(s.context.platform.clone()),
    }
}

/// The one image that `look` means, `more` words behind it.
pub fn one<'a>(
    s: &Session<'_, '_>,
    look: &'a Look,
    more: usize,
) -> Result<(Image, &'a [std::ffi::OsString]), Failure> {
    let words = look.words.take(1 + more, 1 + more)?;
    let (asked, host) = (asked(s, look)?, host_platform());
    let wanted = match &asked {
        Some(platform) => Wanted::Platform(platform),
        None => Wanted::Host(&host),
    };
    let node = node(s, &location(s, &words[0])?, wanted)?;
    match node {
        Node::Image(image) => {
            if let (Some(_), Some(platform)) = (&look.platform, &asked) {
                must_fit(&image, platform)?;
            }
            Ok((image, &words[1..]))
        }
        Node::Index(_) => Err(Error::Unsupported {
            what: "several images where one is wanted".to_string(),
        }
        .into()),
    }
}

/// `list-platforms <image>`
pub fn platforms(s: &mut Session<'_, '_>, words: &Words) -> Result<(), Failure> {
    let words = words.take(1, 1)?;
    let location = location(s, &words[0])?;
    let mut found = Vec::new();
    if let Some(store) = location.store(s)? {
        let manifest = store.manifest(&location.target()?)?;
        walk(s, &remote(s, store), manifest, 0, &mut found)?;
    } else {
        let node = node(s, &location, Wanted::All)?;
        found.extend(known(&node)?.into_iter().map(|(entry, _)| entry));
    }
    let name = |entry: &Descriptor| {
        let platform = entry.platform.as_ref();
        platform.map(ToString::to_string).unwrap_or_default()
    };
    if s.context.shape == Shape::Json {
        let one = |entry: &Descriptor| {
            json!({"platform": name(entry), "digest": entry.digest, "size": entry.size,
                "mediaType": entry.media_type})
        };
        return s.line(json::python(&found.iter().map(one).collect()));
    }
    let rows = found.iter().map(|e| vec![name(e), e.digest.to_string()]);
    table(s, &rows.collect::<Vec<_>>(), &[])
}

/// Finds the platforms of a store's image without fetching what the index says
/// already.
fn walk(
    s: &Session<'_, '_>,
    remote: &Remote,
    manifest: Manifest,
    depth: usize,
    found: &mut Vec<Descriptor>,
) -> Result<()> {
    if manifest.kind() != Kind::Index {
        let node = remote.node(manifest, Wanted::All, s.run())?;
        found.extend(known(&node)?.into_iter().map(|(entry, _)| entry));
        return Ok(());
    }
    if depth >= MAX_DEPTH {
        return Err(Error::malformed("index", "indexes lie too deep in it"));
    }
    for entry in manifest.index()?.manifests {
        if image::is_selectable(&entry) {
            found.push(entry);
        } else if entry.platform.is_none() {
            let below = remote.store().manifest(&Target::Digest(entry.digest))?;
            walk(s, remote, below, depth + 1, found)?;
        }
    }
    Ok(())
}

/// `get-config <image>`
pub fn config(s: &mut Session<'_, '_>, look: &Look) -> Result<(), Failure> {
    let (image, _) = one(s, look, 0)?;
    image.config_blob().copy_to("standard output", s.out)?;
    Ok(())
}

/// `get-history <image>`
pub fn history(s: &mut Session<'_, '_>, look: &Look) -> Result<(), Failure> {
    let (image, _) = one(s, look, 0)?;
    let config = image.config()?;
    if s.context.shape == Shape::Json {
        let history = config.value().get("history").filter(|h| h.is_array());
        return s.line(json::python(history.unwrap_or(&json!([]))));
    }
    let mut steps = config.history().into_iter();
    steps.try_for_each(|step| s.line(text::one_line(&step.created_by)))
}

/// `list-layers <image>`
pub fn layers(s: &mut Session<'_, '_>, look: &Look) -> Result<(), Failure> {
    let (image, _) = one(s, look, 0)?;
    // An alias of blobs has layers too, and nobody wrote down where from.
    let config = match image.is_runnable() {
        true => Some(image.config()?),
        false => None,
    };
    let (ids, steps) = match &config {
        Some(config) => (config.diff_ids()?, config.history()),
        None => (Vec::new(), Vec::new()),
    };
    let made: Vec<&Step> = steps.iter().filter(|step| !step.empty_layer).collect();
    let by = |i: usize| made.get(i).map_or("", |step| &step.created_by);
    let layers = image.layers().iter().enumerate();
    if s.context.shape == Shape::Json {
        let one = |(i, blob): (usize, &Blob)| {
            let layer = blob.descriptor();
            json!({"index": i, "digest": layer.digest, "size": layer.size,
                "mediaType": layer.media_type, "diff_id": ids.get(i), "created_by": by(i),
                "urls": layer::urls(layer)})
        };
        return s.line(json::python(&layers.map(one).collect()));
    }
    let rows = layers.map(|(i, blob)| {
        vec![
            i.to_string(),
            blob.digest().to_string(),
            size::show(blob.size()),
            text::clean(&blob.descriptor().media_type),
            text::clean(by(i)),
        ]
    });
    table(s, &rows.collect::<Vec<_>>(), &[0, 2])
}

/// `get-layer <image> N|digest-prefix`
pub fn layer(s: &mut Session<'_, '_>, args: &GetLayer) -> Result<(), Failure> {
    let (image, rest) = one(s, &args.look, 1)?;
    let layers: Vec<&Blob> = image.layers().iter().collect();
    let blob = find(&layers, args::text(&rest[0])?)?;
    let mut output = Output::open(args.output.as_deref(), s.interrupt)?;
    let (name, watch) = (output.name(), s.watch());
    let what = blob.digest().to_string();
    watch.progress.start(blob.digest(), Some(blob.size()));
    let mut plain;
    let mut raw;
    let reader: &mut dyn Read = if args.uncompressed {
        plain = layer::open(blob, watch)?;
        &mut plain
    } else {
        let bytes = blob.open(0)?;
        let verified = dxf_registry::digest::Verify::new(bytes, *blob.digest(), Some(blob.size()));
        raw = watch.reader(*blob.digest(), verified);
        &mut raw
    };
    let copied = copy(reader, output.writer(s.out), &mut Buffer::new());
    copied.map_err(|e| match e {
        CopyError::Read(e) => Error::io(&what, e),
        CopyError::Write(e) => Error::io(&name, e),
    })?;
    watch.progress.finish(blob.digest());
    Ok(output.commit()?)
}

/// The number of a layer, from 0, if `word` is one. What has more digits than
/// any number of layers begins a digest.
pub fn number(word: &str) -> Option<usize> {
    let digits = word.len() <= 4 && word.bytes().all(|b| b.is_ascii_digit());
    word.parse().ok().filter(|_| digits)
}

/// The layer that `word` means: its number, or the beginning of its digest.
pub fn find<'a>(layers: &[&'a Blob], word: &str) -> Result<&'a Blob> {
    if let Some(number) = number(word) {
        return layers.get(number).copied().ok_or_else(|| Error::NotFound {
            what: match layers.len() {
                0 => format!("layer {number}: the image has none"),
                1 => format!("layer {number}: the image has layer 0 alone"),
                n => format!("layer {number}: the image has 0 to {}", n - 1),
            },
        });
    }
    let wanted = word.to_ascii_lowercase();
    let begins = |blob: &&Blob| {
        let (whole, hex) = (blob.digest().to_string(), blob.digest().hex());
        whole.starts_with(&wanted) || hex.starts_with(&wanted)
    };
    let mut fitting: Vec<&Blob> = layers.iter().copied().filter(begins).collect();
    fitting.dedup_by_key(|blob| *blob.digest());
    match fitting.as_slice() {
        _ if wanted.is_empty() => Err(Error::invalid("layer", "", "it takes a number or a digest")),
        [] => Err(Error::NotFound {
            what: format!("a layer that begins with {}", text::clean(word)),
        }),
        [first, rest @ ..] if rest.iter().all(|b| b.digest() == first.digest()) => Ok(first),
        several => {
            let why = format!("{} layers begin so", several.len());
            Err(Error::invalid("layer", text::clean(word), why))
        }
    }
}

/// Writes rows in columns, fit for a terminal; those in `right` are aligned at
/// their ends.
pub fn table(
    s: &mut Session<'_, '_>,
    rows: &[Vec<String>],
    right: &[usize],
) -> Result<(), Failure> {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    for row in rows {
        let mut line = String::new();
        for (column, cell) in row.iter().enumerate() {
            let gap = widths[column].saturating_sub(cell.chars().count());
            let gap = " ".repeat(gap);
            match right.contains(&column) {
                true => line += &format!("{gap}{cell}  "),
                false => line += &format!("{cell}{gap}  "),
            }
        }
        s.line(text::one_line(line.trim_end()))?;
    }
    Ok(())
}

/// A JSON document, written member by member.
pub struct List(&'static str);

impl List {
    /// Nothing written yet.
    pub fn new() -> List {
        List("[")
    }

    /// Writes one item.
    pub fn item(&mut self, s: &mut Session<'_, '_>, item: &Value) -> Result<(), Failure> {
        let lead = std::mem::replace(&mut self.0, ", ");
        s.write(format!("{lead}{}", json::python(item)).as_bytes())
    }

    /// Ends the document.
    pub fn end(self, s: &mut Session<'_, '_>) -> Result<(), Failure> {
        match self.0 {
            "[" => s.line("[]"),
            _ => s.line("]"),
        }
    }
}
