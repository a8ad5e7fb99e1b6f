//! `copy-image`: from any store or archive to any other.

use dxf_registry::archive::Item;
use dxf_registry::graph::{
    Copier, CopyOptions, Nondistributable, Referrers, Remote, Select, is_referrers_tag,
};
use dxf_registry::image::{self, Family, Node};
use dxf_registry::{Digest, Error, Place, Platform, Result, Tag, Target};
use serde_json::json;

use crate::cli::args::{self, Convert, CopyImage};
use crate::cli::env::Shape;
use crate::cli::exit::Failure;
use crate::cli::image::destination::{Destination, left_out};
use crate::cli::image::item::{must_differ, named, names};
use crate::cli::image::open;
use crate::cli::image::platform::{choose, must_fit, platform_missing};
use crate::cli::image::read::{archived, compressed, uncached};
use crate::cli::out::json::List;
use crate::cli::session::Session;

/// `copy-image [options] <image> <image>`
pub fn run(s: &mut Session<'_, '_>, args: &CopyImage) -> Result<(), Failure> {
    let words = args.words.take(2, 2)?;
    let from = open::source(s, &words[0])?;
    let to = open::to_write(s, &words[1])?;
    let whole = args.all_tags || args.tags.is_some();
    if whole && (from.is_named() || to.is_named()) {
        let why = "every tag goes to its own name; leave the tags out";
        return Err(args::usage(why));
    }
    let is_archive = from.is_archive();
    let to_archive = to.is_archive();
    if args.referrers && (is_archive || to_archive) {
        let why = "--referrers copies between registries and folders; archives hold none";
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
    let mut told = Told::new(s, &job.to);
    match (is_archive, job.to.is_archive()) {
        (false, false) => job.between_stores(s, &mut told)?,
        (true, _) => job.read_archive(s, &mut told)?,
        (false, true) => job.write_archive(s, &mut told)?,
    }
    told.end(s)
}

/// What a side of a copy is called in an error.
fn side(side: &str, place: &Place) -> String {
    format!("{side} {place}")
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
        if self.args.referrers {
            options.referrers = Referrers::Copy;
        }
        options
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

    fn source_name(&self) -> String {
        side("source", &self.from)
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
    fn targets(&self, remote: &Remote) -> Result<Vec<Target>> {
        if !self.is_whole() {
            return Ok(vec![self.from.target()?]);
        }
        let mut found = Vec::new();
        for tag in remote.store().tag_names() {
            let tag = tag?;
            // Whoever copies referrers brings the destination's list up to date.
            if self.fits(&tag) && !is_referrers_tag(&tag) {
                found.push(Target::Tag(tag.parse::<Tag>()?));
            }
        }
        match found.is_empty() {
            true => Err(self.no_tags(&remote.store().name())),
            false => Ok(found),
        }
    }

    fn no_tags(&self, name: &str) -> Error {
        let what = match &self.args.tags {
            Some(glob) => format!("a tag of {name} that {glob} fits"),
            None => format!("a tag of {name}"),
        };
        Error::NotFound { what }
    }

    fn between_stores(&self, s: &mut Session<'_, '_>, told: &mut Told) -> Result<(), Failure> {
        let Some(to) = self.to.store() else {
            return Ok(());
        };
        let remote = self.remote(s)?;
        let targets = self.targets(&remote);
        let targets = targets.map_err(|e| e.at(&self.source_name()))?;
        let copier = Copier::new(&remote, &**to, self.options());
        for source in targets {
            s.interrupt.stop().check()?;
            let target = self.to.target.as_ref().unwrap_or(&source);
            let done = copier.copy(&source, target, s.run());
            let done = done.map_err(platform_missing)?;
            for layer in &done.summary.left_out {
                s.console.warn(&left_out(&layer.digest));
            }
            let name = target.within(&self.to.name);
            told.one(s, (&self.to.name, name), &done.digest)?;
        }
        Ok(())
    }

    /// What is in a file has been read already; its images go one by one.
    fn read_archive(&self, s: &mut Session<'_, '_>, told: &mut Told) -> Result<(), Failure> {
        let from = self.source_name();
        let mut items = archived(s, &self.from).map_err(|e| e.at(&from))?;
        if self.is_whole() {
            for item in &mut items {
                let tag_fits = |tag: &Tag| self.fits(tag.as_str());
                item.names.retain(|n| n.tag.as_ref().is_some_and(tag_fits));
                item.labels.retain(|label| self.fits(label));
            }
            items.retain(|item| !item.names.is_empty() || !item.labels.is_empty());
            if items.is_empty() {
                return Err(self.no_tags(&self.from.to_string()).at(&from).into());
            }
            if !self.to.is_archive() {
                must_differ(&items).map_err(|e| e.at(&from))?;
            }
        } else if items.len() > 1 {
            let all = names(&items);
            let what = format!("it holds several images: {all}; name one behind the file");
            return Err(Error::Unsupported { what }.at(&from).into());
        }
        let items = items.into_iter().map(|mut item| {
            item = compressed(s, item).map_err(|e| e.at(&from))?;
            let node = choose(item.node, self.wanted()).map_err(|e| e.at(&from))?;
            item.node = self.finished(node)?.at(&from);
            Ok(item)
        });
        let items = items.collect::<Result<Vec<Item>, Failure>>()?;
        self.put(s, &items, told)
    }

    fn write_archive(&self, s: &mut Session<'_, '_>, told: &mut Told) -> Result<(), Failure> {
        let from = self.source_name();
        let remote = self.remote(s)?;
        let mut items = Vec::new();
        for target in self.targets(&remote).map_err(|e| e.at(&from))? {
            s.interrupt.stop().check()?;
            let node = remote.pull(&target, self.wanted(), s.run());
            let node = node.map_err(|e| platform_missing(e.at(&from)))?;
            let node = self.finished(node)?.at(&from);
            items.push(named(&self.from.with(&target), node));
        }
        self.put(s, &items, told)
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

    fn put(&self, s: &mut Session<'_, '_>, items: &[Item], told: &mut Told) -> Result<(), Failure> {
        let at_once = if self.to.is_archive() { items.len() } else { 1 };
        for items in items.chunks(at_once.max(1)) {
            let done = self.to.put(s, items, self.foreign());
            for digest in done.map_err(|e| e.at(&self.to_name))? {
                let name = match &self.to.target {
                    Some(target) => target.within(&self.to.name),
                    None => self.to.name.clone(),
                };
                told.one(s, (&self.to.name, name), &digest)?;
            }
        }
        Ok(())
    }
}

/// Says what was copied, as it is done.
enum Told {
    /// Something else stands on standard output.
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
        (repo, name): (&str, String),
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
