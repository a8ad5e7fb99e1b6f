//! `copy-image`: from any store or archive to any other.

use std::collections::HashSet;
use std::sync::Arc;

use dxf_registry::archive::{Archive, Item};
use dxf_registry::graph::{
    Copied, Copier, CopyOptions, Nondistributable, Referrers, Related, Remote, Select,
    is_referrers_tag, referrers_lists,
};
use dxf_registry::image::{self, Family, Node};
use dxf_registry::{Digest, Error, Place, Platform, Result, Store, Tag, Target, json, parallel};
use serde_json::json;

use crate::cli::args::{self, Convert, CopyImage};
use crate::cli::env::Shape;
use crate::cli::exit::Failure;
use crate::cli::image::destination::{Destination, left_out};
use crate::cli::image::item::{must_differ, named, targets};
use crate::cli::image::open;
use crate::cli::image::platform::{choose, must_fit, platform_missing};
use crate::cli::image::read::{called, compressed, images_of, only, uncached};
use crate::cli::image::transfer::Transfer;
use crate::cli::out::json::List;
use crate::cli::session::Session;

/// `copy-image [options] <image> <image>`
pub fn run(s: &mut Session<'_, '_>, args: &CopyImage) -> Result<(), Failure> {
    let words = args.words.take(2, 2)?;
    let from = open::source(s, &words[0])?;
    let to = open::to_write(s, &words[1])?;
    let whole = args.all_tags || args.tags.is_some();
    if whole && (from.is_named() || to.is_named()) {
        let why =
            "--all-tags and --tags keep the names of the tags; leave the tags out of the arguments";
        return Err(args::usage(why));
    }
    let platform = args.platform.as_deref().filter(|word| *word != "all");
    let platform: Option<Platform> = platform.map(str::parse).transpose()?;
    let mut destination = Destination::new(s, &to).map_err(|e| e.at(&side("destination", &to)))?;
    if !whole {
        destination = destination.or_latest(&to)?;
    }
    let job = Job {
        args,
        platform,
        from,
        to: destination,
        to_name: side("destination", &to),
    };
    let source = job.source(s)?;
    if args.dry_run {
        return job.dry_run(s, &source);
    }
    let mut told = Told::new(s, &job.to);
    match job.to.store() {
        Some(store) => job.to_store(s, &source, &**store, &mut told)?,
        None => job.to_archive(s, &source, &mut told)?,
    }
    told.end(s)
}

/// What a side of a copy is called in an error.
fn side(side: &str, place: &Place) -> String {
    format!("{side} {place}")
}

/// A store to copy from: a repository, a layout or an archive.
struct Source {
    remote: Remote,
    images: Vec<Wanted>,
}

/// An image that is copied.
struct Wanted {
    /// Its name in the source.
    source: Target,
    /// The image as it is to be copied, with the names that an archive has for
    /// it; of a repository, it is not known yet.
    item: Option<Item>,
}

/// One name that an image is copied to.
struct Copy<'a> {
    source: &'a Target,
    target: Target,
    /// Whether it is the first of the image's names.
    is_first: bool,
}

struct Job<'a> {
    args: &'a CopyImage,
    platform: Option<Platform>,
    from: Place,
    to: Destination,
    to_name: String,
}

impl Job<'_> {
    fn options(&self) -> CopyOptions<'_> {
        let mut options = CopyOptions::default().with_nondistributable(self.foreign());
        options.platform = self.platform.as_ref();
        options.convert = self.family();
        options.expected = self.to.expected;
        options.referrers = self.referrers();
        options
    }

    /// What becomes of referrers. Those of many tags or of another digest are
    /// not worth the requests to count them.
    fn referrers(&self) -> Referrers {
        let is_one = !self.is_whole() && self.args.convert.is_none();
        match self.args.referrers {
            true => Referrers::Copy,
            false if is_one => Referrers::Count,
            false => Referrers::Leave,
        }
    }

    fn family(&self) -> Option<Family> {
        self.args.convert.map(|convert| match convert {
            Convert::Docker => Family::Docker,
            Convert::Oci => Family::Oci,
        })
    }

    fn foreign(&self) -> Nondistributable {
        self.args.nondistributable.choice()
    }

    fn wanted(&self) -> Select<'_> {
        match &self.platform {
            Some(platform) => Select::Platform(platform),
            None => Select::All,
        }
    }

    fn is_whole(&self) -> bool {
        self.args.all_tags || self.args.tags.is_some()
    }

    /// What the source is called in an error; of many tags none is named.
    fn source_name(&self) -> String {
        let name = side("source", &self.from);
        match name.strip_suffix(":latest") {
            Some(repository) if self.is_whole() => repository.to_string(),
            _ => name,
        }
    }

    fn fits(&self, tag: &str) -> bool {
        self.args.tags.as_ref().is_none_or(|glob| glob.matches(tag))
    }

    /// The source, where it is a repository.
    fn remote(&self, s: &Session<'_, '_>) -> Result<Remote> {
        let store = open::store(s, s.source(), &self.from);
        Ok(uncached(s, store.map_err(|e| e.at(&self.source_name()))?))
    }

    /// What is copied, in order, by its names in the source.
    fn targets(&self, s: &Session<'_, '_>, remote: &Remote) -> Result<Vec<Target>> {
        if !self.is_whole() {
            return Ok(vec![self.from.target()?]);
        }
        let mut found = s.valid(remote.store().tags())?;
        self.lists_left_behind(s, &found);
        // Copying referrers updates the destination's list.
        found.retain(|tag| self.fits(tag.as_str()) && !is_referrers_tag(tag.as_str()));
        match found.is_empty() {
            true => Err(self.no_tags(&remote.store().name())),
            false => Ok(found.into_iter().map(Target::Tag).collect()),
        }
    }

    fn no_tags(&self, name: &str) -> Error {
        let what = match &self.args.tags {
            Some(glob) => format!("no tag of {name} matches {glob}"),
            None => format!("{name} has no tags"),
        };
        Error::NotFound { what }
    }

    fn source(&self, s: &Session<'_, '_>) -> Result<Source, Failure> {
        if self.from.is_archive() {
            return self.archive(s);
        }
        let remote = self.remote(s)?;
        let targets = self.targets(s, &remote);
        let targets = targets.map_err(|e| e.at(&self.source_name()))?;
        let wanted = |source| Wanted { source, item: None };
        let images = targets.into_iter().map(wanted).collect();
        Ok(Source { remote, images })
    }

    /// An archive as a source, with what belongs to the images that are copied.
    fn archive(&self, s: &Session<'_, '_>) -> Result<Source, Failure> {
        let from = self.source_name();
        let mut all = images_of(s, &self.from).map_err(|e| e.at(&from))?;
        let chosen = self.chosen(&all)?;
        let mut images = Vec::new();
        for mut item in chosen {
            let old = item.node.manifest().digest();
            item = compressed(s, item).map_err(|e| e.at(&from))?;
            let same = |other: &&mut Item| other.node.manifest().digest() == old;
            if let Some(other) = all.iter_mut().find(same) {
                other.node = item.node.clone();
            }
            let source = Target::Digest(item.node.manifest().digest());
            let node = choose(item.node, self.wanted()).map_err(|e| e.at(&from))?;
            item.node = self.finished(node)?.at(&from);
            let item = Some(item);
            images.push(Wanted { source, item });
        }
        let archive = Archive::of(&self.from.to_string(), all).map_err(|e| e.at(&from))?;
        let remote = Remote::new(Arc::new(archive));
        Ok(Source { remote, images })
    }

    /// The images of an archive that are copied, with the names that count.
    fn chosen(&self, all: &[Item]) -> Result<Vec<Item>, Failure> {
        let from = self.source_name();
        let mut items = called(all.to_vec(), &self.from).map_err(|e| e.at(&from))?;
        if !self.is_whole() {
            let item = only(items).map_err(|e| e.at(&from))?;
            return Ok(vec![item]);
        }
        let fits = |tag: &str| self.fits(tag) && !is_referrers_tag(tag);
        for item in &mut items {
            let tag_fits = |tag: &Tag| fits(tag.as_str());
            item.names.retain(|n| n.tag.as_ref().is_some_and(tag_fits));
            item.labels.retain(|label| fits(label));
        }
        items.retain(|item| !item.names.is_empty() || !item.labels.is_empty());
        if items.is_empty() {
            return Err(self.no_tags(&self.from.to_string()).at(&from).into());
        }
        if !self.to.is_archive() {
            must_differ(&items).map_err(|e| e.at(&from))?;
        }
        Ok(items)
    }

    fn to_store(
        &self,
        s: &mut Session<'_, '_>,
        source: &Source,
        to: &dyn Store,
        told: &mut Told,
    ) -> Result<(), Failure> {
        let copier = Copier::new(&source.remote, to, self.options());
        let copies: Vec<Copy> = source
            .images
            .iter()
            .flat_map(|it| self.copies(it))
            .collect();
        let (at_once, each) = s.run().split(copies.len());
        // Names are printed while others are still to come, and none is begun
        // after a failure.
        for some in copies.chunks(at_once) {
            let done = parallel::map(
                at_once,
                some.iter().collect(),
                each.watch.stop,
                |one, stop| Ok(copier.copy(one.source, &one.target, each.stopped_by(stop))),
            )?;
            for (one, done) in some.iter().zip(done) {
                self.copied(s, one, done.map_err(platform_missing)?, told)?;
            }
        }
        Ok(())
    }

    /// Prints what was copied, once for all names of an image.
    fn copied(
        &self,
        s: &mut Session<'_, '_>,
        one: &Copy,
        done: Copied,
        told: &mut Told,
    ) -> Result<(), Failure> {
        for layer in &done.summary.left_out {
            s.console.warn(&left_out(&layer.digest));
        }
        if one.is_first {
            let name = one.target.within(&self.to.name);
            told.one(s, &self.to.name, name, &done.digest)?;
            self.left_behind(s, done.left);
        }
        Ok(())
    }

    /// The names that an image gets, each a copy of its own.
    fn copies<'b>(&self, image: &'b Wanted) -> impl Iterator<Item = Copy<'b>> + use<'b> {
        let targets = self.targets_of(image).into_iter().enumerate();
        targets.map(|(n, target)| Copy {
            source: &image.source,
            target,
            is_first: n == 0,
        })
    }

    /// Says how many signatures and other referrers were not copied.
    fn left_behind(&self, s: &Session<'_, '_>, count: usize) {
        let (verb, them) = match count {
            0 => return,
            1 => ("referrer was", "it"),
            _ => ("referrers were", "them"),
        };
        let name = &self.from;
        s.console.warn(&format!(
            "{count} {verb} not copied (signatures, SBOMs and the like of {name}); --referrers copies {them}, too"
        ));
    }

    /// Says the same of many tags, as far as those tell: nothing is asked for it.
    fn lists_left_behind(&self, s: &Session<'_, '_>, tags: &[Tag]) {
        let lists = tags.iter().filter(|tag| is_referrers_tag(tag.as_str()));
        let images = match lists.count() {
            0 => return,
            1 => "1 image".to_string(),
            count => format!("{count} images"),
        };
        if self.args.all_tags && !self.args.referrers {
            s.console.warn(&format!(
                "what refers to {images} is not copied (signatures, SBOMs and the like); \
                 --referrers copies it, too"
            ));
        }
    }

    /// The names that an image gets in a repository.
    fn targets_of(&self, image: &Wanted) -> Vec<Target> {
        match (&self.to.target, &image.item) {
            (Some(target), _) => vec![target.clone()],
            (None, Some(item)) => targets(item),
            (None, None) => vec![image.source.clone()],
        }
    }

    /// Prints what would be sent, and what would be printed then.
    fn dry_run(&self, s: &mut Session<'_, '_>, source: &Source) -> Result<(), Failure> {
        let from = self.source_name();
        // As a copy does: what the destination has need not be in the source.
        let remote = source.remote.without_configs();
        let mut transfer = Transfer::new(&self.to);
        let mut copied = Vec::new();
        for image in &source.images {
            s.interrupt.stop().check()?;
            let item = self.item(s, &remote, image)?;
            let targets = self.targets_of(image);
            for target in &targets {
                // Only the image itself has to be the one beside the tag.
                let target = Some(target).filter(|target| self.to.target.as_ref() != Some(target));
                let added = transfer.add(s, &item.node, target, self.foreign());
                added.map_err(|e| e.at(&self.to_name))?;
            }
            if self.args.referrers {
                let mut each = |found: Related| {
                    let target = Some(&found.target);
                    transfer.add(s, &found.node, target, self.foreign())
                };
                let done = remote.related(&item.node, s.run(), &mut each);
                done.map_err(|e| e.at(&from))?;
            }
            let name = match (self.to.is_archive(), targets.first()) {
                (false, Some(target)) => target.within(&self.to.name),
                _ => self.to.name.clone(),
            };
            copied.push((name, item.node.manifest().digest()));
        }
        self.would(s, &copied, &transfer)
    }

    fn would(
        &self,
        s: &mut Session<'_, '_>,
        copied: &[(String, Digest)],
        transfer: &Transfer,
    ) -> Result<(), Failure> {
        if s.context.shape == Shape::Json {
            let images = copied.iter();
            let images = images.map(|(name, digest)| json!({"name": name, "digest": digest}));
            let images: Vec<_> = images.collect();
            let whole = json!({"images": images, "transfer": transfer.value()});
            return s.line(json::python(&whole));
        }
        let rows: Vec<_> = transfer.rows().collect();
        s.table(&rows, &[])?;
        for (_, digest) in copied {
            s.line(format_args!("would print {}@{digest}", self.to.name))?;
        }
        Ok(())
    }

    fn to_archive(
        &self,
        s: &mut Session<'_, '_>,
        source: &Source,
        told: &mut Told,
    ) -> Result<(), Failure> {
        let from = self.source_name();
        let (mut items, mut related) = (Vec::new(), Vec::new());
        for image in &source.images {
            s.interrupt.stop().check()?;
            let item = self.item(s, &source.remote, image)?;
            if self.args.referrers {
                let mut each = |found: Related| {
                    related.push(found);
                    Ok(())
                };
                let done = source.remote.related(&item.node, s.run(), &mut each);
                done.map_err(|e| e.at(&from))?;
            }
            if self.referrers() == Referrers::Count {
                let digest = item.node.manifest().digest();
                let left = source.remote.count_related(&digest, s.run());
                self.left_behind(s, left.unwrap_or(0));
            }
            items.push(item);
        }
        let related = beside(&items, related, &from)?;
        let done = self.to.write(s, &items, &related);
        for digest in done.map_err(|e| e.at(&self.to_name))? {
            told.one(s, &self.to.name, self.to.name.clone(), &digest)?;
        }
        Ok(())
    }

    fn item(&self, s: &Session<'_, '_>, remote: &Remote, image: &Wanted) -> Result<Item, Failure> {
        match &image.item {
            Some(item) => Ok(item.clone()),
            None => self.pulled(s, remote, &image.source),
        }
    }

    /// An image of a repository, with its name.
    fn pulled(
        &self,
        s: &Session<'_, '_>,
        remote: &Remote,
        target: &Target,
    ) -> Result<Item, Failure> {
        let from = self.source_name();
        let node = remote.pull(target, self.wanted(), s.run());
        let node = node.map_err(|e| platform_missing(e.at(&from)))?;
        let node = self.finished(node)?.at(&from);
        Ok(named(&self.from.with(target), node))
    }

    /// The image in the words and for the platform asked for.
    fn finished(&self, node: Node) -> Result<Node, Failure> {
        let from = self.source_name();
        if let (Some(platform), Node::Image(image)) = (&self.platform, &node) {
            must_fit(image, platform).map_err(|e| e.at(&from))?;
        }
        Ok(match self.family() {
            Some(family) => image::convert(&node, family).map_err(|e| e.at(&from))?,
            None => node,
        })
    }
}

/// What belongs to images, as items without a name or with cosign's tag, each
/// once, and none that is copied itself; and the lists of all referrers.
fn beside(items: &[Item], related: Vec<Related>, from: &str) -> Result<Vec<Item>> {
    let nodes: Vec<Node> = related.iter().map(|r| r.node.clone().at(from)).collect();
    let mut seen: HashSet<Target> = items.iter().flat_map(targets).collect();
    let digests = items.iter().map(|item| item.node.manifest().digest());
    seen.extend(digests.map(Target::Digest));
    let mut found = Vec::new();
    for Related { target, node } in related {
        if seen.insert(target.clone()) {
            let mut item = Item::new(Vec::new(), node.at(from));
            if let Target::Tag(tag) = target {
                item.labels.push(tag.to_string());
            }
            found.push(item);
        }
    }
    for (tag, list) in referrers_lists(&nodes)? {
        let labels = vec![tag.to_string()];
        let item = Item::new(Vec::new(), list);
        found.push(Item { labels, ..item });
    }
    Ok(found)
}

/// Reports each copy when it is done.
enum Told {
    /// Something else is written to standard output.
    Nothing,
    Lines,
    Json(List),
}

impl Told {
    fn new(s: &Session<'_, '_>, to: &Destination) -> Told {
        match s.context.shape {
            _ if to.is_stdout() => Told::Nothing,
            Shape::Text => Told::Lines,
            Shape::Json => Told::Json(List::new()),
        }
    }

    /// The line is that of `push-image`; `name` has the tag too.
    fn one(
        &mut self,
        s: &mut Session<'_, '_>,
        repo: &str,
        name: String,
        digest: &Digest,
    ) -> Result<(), Failure> {
        match self {
            Told::Nothing => Ok(()),
            Told::Lines => s.line(format_args!("{repo}@{digest}")),
            Told::Json(list) => list.item(s.out, &json!({"name": name, "digest": digest})),
        }
    }

    fn end(self, s: &mut Session<'_, '_>) -> Result<(), Failure> {
        match self {
            Told::Json(list) => list.end(s.out),
            Told::Nothing | Told::Lines => Ok(()),
        }
    }
}
