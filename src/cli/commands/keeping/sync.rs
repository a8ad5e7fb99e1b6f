//! `sync`: keeps repositories in step with others.

use std::sync::Arc;

use dxf_registry::bounds;
use dxf_registry::graph::{CopyOptions, Referrers, Remote};
use dxf_registry::http::OnLimit;
use dxf_registry::keeping::prune::{self, MaxDelete, RepoPlan};
use dxf_registry::keeping::sync::{Additions, Filter, Pair, Step, Tagged};
use dxf_registry::layout::{Layout, Layouts};
use dxf_registry::{Error, Host, Platform, Registry, RepoName, Result, Store, json};
use serde_json::{Value, json};

use crate::cli::args::{self, Sync};
use crate::cli::env::Shape;
use crate::cli::exit::{self, Failure};
use crate::cli::input::{Line, lines};
use crate::cli::session::Session;

/// The largest list of repositories that is read, bytes.
const MAX_LIST: u64 = bounds::REPOSITORY_LIST;

/// `sync [options] <SRC> <DST>`
pub fn run(s: &mut Session<'_, '_>, args: &Sync) -> Result<(), Failure> {
    let words = args.words.take(2, 2)?;
    let platform = args
        .platform
        .as_deref()
        .map(str::parse::<Platform>)
        .transpose()?;
    let filter = filter(args)?;
    if args.wait {
        s.on_limit = OnLimit::Wait;
    }
    let (from, to) = (Side::parse(&words[0])?, Side::parse(&words[1])?);
    let source = from.open(s, Which::Source)?;
    let target = to.open(s, Which::Target)?;
    let mut options = CopyOptions::default().with_referrers(Referrers::Copy);
    options.platform = platform.as_ref();
    let mut told = Told::default();
    let is_listed = from.prefix().is_some() && args.repo.is_empty() && args.repos_from.is_none();
    for name in names(s, args, &from, &source)? {
        s.interrupt.stop().check()?;
        let into = to.name_for(&from, &name)?;
        let remote = Remote::new(source.store(s, &name));
        let store = target.store(s, &into);
        let pair = Pair::new(&remote, &*store, &filter, options);
        let pair = pair.with_additions(match args.referrers {
            true => Additions::Ask,
            false => Additions::Tagged,
        });
        let job = Job {
            args,
            pair,
            name: &into,
        };
        match job.run(s, &mut told) {
            Ok(()) => {}
            // A catalog names repositories that have blobs and no alias yet.
            Err(Failure::Error(error)) if is_listed && error.is_not_found() => {}
            // A repository that can't be read or written stops no other.
            Err(Failure::Error(error)) if !is_fatal(&error) => {
                told.failed += 1;
                let failure = from.failed(error, &words[0].to_string_lossy(), &into);
                s.console.line(&exit::line("sync", &failure));
            }
            Err(failure) => return Err(failure),
        }
    }
    told.end(s, args)
}

fn is_fatal(error: &Error) -> bool {
    matches!(
        error.what(),
        Error::Stopped
            | Error::Network { .. }
            | Error::Unauthorized { .. }
            | Error::InsecureAuth { .. }
    ) || error.status() == Some(429)
}

fn filter(args: &Sync) -> Result<Filter> {
    let mut filter = Filter::default();
    for glob in &args.tags {
        filter = filter.with_tags(glob)?;
    }
    for glob in &args.exclude {
        filter = filter.with_exclude(glob)?;
    }
    Ok(match args.newest {
        Some(count) => filter.with_newest(count),
        None => filter,
    })
}

/// One of the two arguments.
enum Side {
    /// A registry, and the names in it: all that begin with a prefix that ends in
    /// `/` or is empty, or one repository.
    Registry(Host, String),
    /// A folder of repositories.
    Folder(std::path::PathBuf),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Which {
    Source,
    Target,
}

/// A side that is connected to.
enum Opened {
    Registry(Registry),
    Folder(Layouts),
}

impl Side {
    fn parse(word: &std::ffi::OsStr) -> Result<Side> {
        let text = args::text(word)?;
        if let Some(folder) = text.strip_prefix("oci:") {
            return match folder {
                "" => Err(Error::invalid(
                    "place",
                    text,
                    "oci: needs a folder, such as oci:./store",
                )),
                folder => Ok(Side::Folder(folder.into())),
            };
        }
        if text.starts_with(['.', '/']) {
            let why = format!("a folder is written oci:{text}");
            return Err(Error::invalid("place", text, why));
        }
        let (host, path) = text.split_once('/').unwrap_or((text, ""));
        let side = Side::Registry(host.parse()?, path.to_string());
        // What is before a final / must be a name, too.
        let name = path.strip_suffix('/').unwrap_or(path);
        if !name.is_empty() {
            name.parse::<RepoName>()?;
        }
        Ok(side)
    }

    /// What a repository of this source failed with; `word` is what was written.
    fn failed(&self, error: Error, word: &str, into: &RepoName) -> Failure {
        let is_one = self.prefix().is_none() && error.is_not_found();
        let error = error.at(&format!("repository {into}"));
        match is_one {
            true => Failure::Hinted(
                Box::new(error),
                format!(
                    "there is no repository of this name; {word}/ is all repositories below it"
                ),
            ),
            false => Failure::Error(error),
        }
    }

    /// The error for a source that lists no repository below `prefix`.
    fn lists_none(&self, prefix: &str) -> Error {
        let what = match self {
            Side::Folder(folder) if Layout::at(folder).manifests().is_ok() => {
                let oci = format!("oci:{}", folder.display());
                let why = format!(
                    "it is itself a layout, not a folder of repositories; copy-image --all-tags {oci} DST copies its aliases"
                );
                return Error::invalid("place", oci, why);
            }
            Side::Folder(folder) => format!("a repository in folder {}", folder.display()),
            Side::Registry(host, _) => format!(
                "a repository below {host}/{prefix}; --repo NAME and --repos-from FILE name them where the registry does not list them"
            ),
        };
        Error::NotFound { what }
    }

    fn open(&self, s: &mut Session<'_, '_>, which: Which) -> Result<Opened, Failure> {
        Ok(match self {
            Side::Folder(folder) => Opened::Folder(s.folders(folder)),
            Side::Registry(host, _) => {
                if which == Which::Source
                    && let Some(source) = &mut s.source
                {
                    source.found(Some(host));
                }
                let context = match which {
                    Which::Source => s.source(),
                    Which::Target => s.context,
                };
                Opened::Registry(s.registry_by(context, host)?)
            }
        })
    }

    /// What is before the names that differ between repositories; `None` where
    /// this is one repository.
    fn prefix(&self) -> Option<&str> {
        match self {
            Side::Registry(_, path) if path.is_empty() || path.ends_with('/') => Some(path),
            Side::Registry(..) => None,
            Side::Folder(_) => Some(""),
        }
    }

    /// What repository `name` of `from` is called on this side.
    fn name_for(&self, from: &Side, name: &RepoName) -> Result<RepoName> {
        let rest = match from.prefix() {
            Some(prefix) => name.as_str().strip_prefix(prefix).unwrap_or(name.as_str()),
            None => name.as_str(),
        };
        match (self, self.prefix()) {
            (_, Some(prefix)) => format!("{prefix}{rest}").parse(),
            (Side::Registry(_, path), None) if from.prefix().is_none() => path.parse(),
            (_, None) => Err(Error::invalid(
                "destination",
                rest,
                "several repositories cannot be copied into one; end it with / to copy them below it",
            )),
        }
    }
}

impl Opened {
    fn store(&self, _: &Session<'_, '_>, name: &RepoName) -> Arc<dyn Store> {
        match self {
            Opened::Registry(registry) => Arc::new(registry.repository(name.clone())),
            Opened::Folder(layouts) => Arc::new(layouts.repository(name)),
        }
    }

    fn repos(&self, s: &Session<'_, '_>) -> Result<Vec<RepoName>> {
        let names = match self {
            Opened::Registry(registry) => registry.repos(),
            Opened::Folder(layouts) => layouts.repos(),
        };
        s.valid(names.map(|name| name?.parse()))
    }
}

/// The repositories of the source: those that are named, or all there are.
fn names(
    s: &mut Session<'_, '_>,
    args: &Sync,
    from: &Side,
    source: &Opened,
) -> Result<Vec<RepoName>, Failure> {
    let Some(prefix) = from.prefix() else {
        let Side::Registry(_, path) = from else {
            return Ok(Vec::new());
        };
        return Ok(vec![path.parse()?]);
    };
    let within = |name: &String| format!("{prefix}{name}").parse();
    let mut named: Vec<RepoName> = args.repo.iter().map(within).collect::<Result<_>>()?;
    if let Some(file) = &args.repos_from {
        for Line { text, place } in lines(s, file, MAX_LIST)? {
            named.push(within(&text).map_err(|e| e.at(&place))?);
        }
    }
    if !named.is_empty() {
        return Ok(named);
    }
    let mut all = source.repos(s)?;
    all.retain(|name| name.as_str().starts_with(prefix));
    match all.is_empty() {
        false => Ok(all),
        true => Err(from.lists_none(prefix).into()),
    }
}

struct Job<'a> {
    args: &'a Sync,
    pair: Pair<'a>,
    name: &'a RepoName,
}

impl Job<'_> {
    fn run(&self, s: &mut Session<'_, '_>, told: &mut Told) -> Result<(), Failure> {
        let mut tags = self.pair.compare(s.run())?;
        if !self.args.dry_run {
            tags = self.pair.copy(tags, s.run())?;
        }
        for one in &tags {
            told.tag(s, self.name, one)?;
        }
        if let Some(odd) = self.pair.odd() {
            told.failed += 1;
            s.console.line(&format!("dxf: sync: {}: {odd}", self.name));
        }
        let failed = tags.iter().any(|one| matches!(one.step, Step::Failed(_)));
        if self.args.delete && !failed && self.pair.odd().is_none() {
            self.delete(s, told)?;
        }
        Ok(())
    }

    fn delete(&self, s: &mut Session<'_, '_>, told: &mut Told) -> Result<(), Failure> {
        if self.pair.lists_nothing() {
            s.console.warn(&format!(
                "{}: the source lists no aliases, so nothing is deleted; del-alias deletes those \
                 that are no longer needed",
                self.name
            ));
            return Ok(());
        }
        let most = self.args.max_delete.as_deref().map(MaxDelete::parse);
        let most = most.transpose()?.unwrap_or(MaxDelete::Default);
        let plan = self.pair.deletions(self.name.as_str(), most, s.run())?;
        let held = plan.held();
        if held > 0 {
            s.console.warn(&format!(
                "{}: the source lacks {held} more aliases, which one run does not delete: --max-delete",
                self.name
            ));
        }
        let left = match self.args.dry_run {
            true => Vec::new(),
            false => prune::apply(self.pair.target(), &plan, None, s.run())?.left,
        };
        let is_left = |tag: &str| left.iter().any(|one| one.tag == tag);
        told.deleted(s, self.name, &plan, &is_left, self.args.dry_run)
    }
}

/// What was done, as it is printed.
#[derive(Default)]
struct Told {
    same: usize,
    copied: usize,
    deleted: usize,
    failed: usize,
    rows: Vec<Value>,
}

impl Told {
    fn tag(
        &mut self,
        s: &mut Session<'_, '_>,
        name: &RepoName,
        one: &Tagged,
    ) -> Result<(), Failure> {
        let word = match &one.step {
            Step::Same => {
                self.same += 1;
                "same"
            }
            Step::Copy => {
                self.copied += 1;
                "copy"
            }
            Step::Copied { .. } => {
                self.copied += 1;
                "copied"
            }
            _ => {
                self.failed += 1;
                "failed"
            }
        };
        let mut why = None;
        if let Step::Failed(error) = &one.step {
            s.console
                .line(&format!("dxf: sync: {name}:{}: {error}", one.tag));
            why = Some(error.to_string());
        }
        let digest = one.digest.map(|digest| digest.to_string());
        if s.context.shape == Shape::Json {
            self.rows
                .push(json!({"repository": name.as_str(), "tag": one.tag.as_str(),
                "digest": digest, "step": word, "error": why}));
            return Ok(());
        }
        match &one.step {
            Step::Same => Ok(()),
            _ => s.line(format_args!(
                "{word} {name}:{} {}",
                one.tag,
                digest.unwrap_or_default()
            )),
        }
    }

    fn deleted(
        &mut self,
        s: &mut Session<'_, '_>,
        name: &RepoName,
        plan: &RepoPlan,
        is_left: &dyn Fn(&str) -> bool,
        is_dry: bool,
    ) -> Result<(), Failure> {
        for one in &plan.delete {
            let word = match is_left(&one.tag) {
                true => "left",
                false if is_dry => "delete",
                false => "deleted",
            };
            self.deleted += usize::from(word != "left");
            match s.context.shape {
                Shape::Json => self
                    .rows
                    .push(json!({"repository": name.as_str(), "tag": one.tag,
                    "digest": one.digest, "step": word, "error": null})),
                Shape::Text => s.line(format_args!("{word} {name}:{} {}", one.tag, one.digest))?,
            }
        }
        Ok(())
    }

    fn end(self, s: &mut Session<'_, '_>, args: &Sync) -> Result<(), Failure> {
        if s.context.shape == Shape::Json {
            s.line(json::python(&Value::Array(self.rows)))?;
        }
        let would = if args.dry_run { "would have " } else { "" };
        s.console.line(&format!(
            "{would}copied {}, deleted {}; {} unchanged, {} failed",
            self.copied, self.deleted, self.same, self.failed
        ));
        match self.failed {
            0 => Ok(()),
            _ => Err(Failure::Error(Error::Unsupported {
                what: "some aliases or repositories could not be copied: see above".to_string(),
            })),
        }
    }
}
