//! `list-aliases`: the names of a repository's aliases, and what they name.

use std::sync::Arc;

use dxf_registry::graph::is_related_tag;
use dxf_registry::image::Timestamp;
use dxf_registry::inventory::{Describer, Description, Documents, Tagged, Version};
use dxf_registry::{Error, ReadStore, Result, Tag, text};
use glob::Pattern;
use serde_json::{Value, json};

use crate::cli::args::{self, ListAliases, Sort};
use crate::cli::env::Shape;
use crate::cli::exit::Failure;
use crate::cli::out::json::List;
use crate::cli::out::size;
use crate::cli::session::Session;

/// `list-aliases [-l] [--sort BY] [-r] [--all] <repo> [GLOB …]`
pub fn run(s: &mut Session<'_, '_>, args: &ListAliases) -> Result<(), Failure> {
    let is_plain = !args.long && args.sort.is_none() && !args.reverse;
    // python-dxf takes one argument.
    let most = if is_plain { 0 } else { usize::MAX };
    if is_plain && let Ok([repo, pattern, ..]) = args.words.take(2, usize::MAX) {
        let (repo, pattern) = (repo.display(), pattern.display());
        return Err(args::usage(format!(
            "too many arguments; did you mean dxf list-aliases --long {repo} '{pattern}'?"
        )));
    }
    let (repo, rest) = s.repo(&args.words, 0, most)?;
    let store = s.store(repo)?;
    if is_plain {
        return s.names(store.tag_names());
    }
    let wanted = Wanted::new(args, rest)?;
    let mut tags = s.valid(store.tags())?;
    tags.retain(|tag| wanted.fits(tag.as_str()));
    let needs_more = args.long || matches!(args.sort, Some(Sort::Created | Sort::Size));
    let mut rows: Vec<Row> = match needs_more {
        true => described(s, &*store, tags)?,
        false => tags
            .into_iter()
            .map(|tag| Row { tag, found: None })
            .collect(),
    };
    sort(&mut rows, args.sort);
    if args.reverse {
        rows.reverse();
    }
    match args.long {
        true => long(s, &rows)?,
        false => s.names(rows.iter().map(|row| Ok(row.tag.to_string())))?,
    }
    // What could not be read is the error in the end.
    let broken = rows.into_iter().find_map(|row| match row.found?.found {
        Err(error) if error.is_corrupt() => Some(error),
        _ => None,
    });
    match broken.map(Arc::try_unwrap) {
        Some(Ok(error)) => Err(error.into()),
        Some(Err(error)) => Err(Failure::Damaged(error.to_string())),
        None => Ok(()),
    }
}

/// Which tags to list.
struct Wanted {
    globs: Vec<Pattern>,
    with_related: bool,
}

impl Wanted {
    fn new(args: &ListAliases, words: &[std::ffi::OsString]) -> Result<Wanted, Failure> {
        let glob = |word: &std::ffi::OsString| {
            let word = args::text(word)?;
            Pattern::new(word).map_err(|e| {
                args::usage(format!("invalid pattern {}: {}", text::clean(word), e.msg))
            })
        };
        Ok(Wanted {
            globs: words.iter().map(glob).collect::<Result<_, Failure>>()?,
            with_related: args.all || !args.long,
        })
    }

    fn fits(&self, tag: &str) -> bool {
        let is_named = self.globs.is_empty() || self.globs.iter().any(|glob| glob.matches(tag));
        is_named && (self.with_related || !is_related_tag(tag))
    }
}

/// An alias, and what it names where that was looked at.
struct Row {
    tag: Tag,
    found: Option<Tagged>,
}

impl Row {
    fn description(&self) -> Option<&Description> {
        self.found.as_ref()?.found.as_deref().ok()
    }

    fn created(&self) -> Option<&Timestamp> {
        self.description()?.created.as_ref()
    }

    /// The kind, or why there is none.
    fn kind(&self) -> (&str, Option<&Error>) {
        match self.found.as_ref().map(|found| &found.found) {
            Some(Ok(found)) => (found.kind.name(), None),
            Some(Err(error)) if error.is_not_found() => ("missing", Some(error)),
            Some(Err(error)) if error.is_corrupt() => ("unreadable", Some(error)),
            Some(Err(error)) => ("unknown", Some(error)),
            None => ("", None),
        }
    }
}

fn described(s: &Session<'_, '_>, store: &dyn ReadStore, tags: Vec<Tag>) -> Result<Vec<Row>> {
    let documents = Documents::new(store, s.documents());
    let found = Describer::new(&documents, s.run()).each(tags)?;
    let rows = found.into_iter().map(|found| Row {
        tag: found.tag.clone(),
        found: Some(found),
    });
    Ok(rows.collect())
}

fn sort(rows: &mut [Row], by: Option<Sort>) {
    let name = |row: &Row| row.tag.to_string();
    match by {
        None => {}
        Some(Sort::Name) => rows.sort_by_cached_key(name),
        Some(Sort::Created) => {
            rows.sort_by_cached_key(|row| (row.created().map(Timestamp::unix_seconds), name(row)));
        }
        Some(Sort::Size) => {
            rows.sort_by_cached_key(|row| (row.description().and_then(|d| d.size), name(row)));
        }
        Some(Sort::Semver) => {
            rows.sort_by_cached_key(|row| (Version::parse(row.tag.as_str()), name(row)));
        }
    }
}

fn long(s: &mut Session<'_, '_>, rows: &[Row]) -> Result<(), Failure> {
    if s.context.shape == Shape::Json {
        let mut list = List::new();
        for row in rows {
            list.item(s.out, &value(row))?;
        }
        return list.end(s.out);
    }
    s.table(rows.iter().map(cells), &[3])
}

fn value(row: &Row) -> Value {
    let (kind, error) = row.kind();
    let found = row.description();
    let platforms = found.map(|found| found.platforms.iter().map(ToString::to_string));
    let mut value = json!({"name": row.tag.as_str(),
        "digest": row.found.as_ref().and_then(|found| found.digest),
        "kind": kind,
        "mediaType": found.map(|found| &found.manifest.media_type),
        "size": found.and_then(|found| found.size),
        "created": row.created().map(|time| time.utc().to_string()),
        "platforms": platforms.into_iter().flatten().collect::<Vec<_>>()});
    if let Some(error) = error {
        value["error"] = text::one_line(&error.to_string()).into();
    }
    value
}

fn cells(row: &Row) -> Vec<String> {
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".into());
    let digest = row.found.as_ref().and_then(|found| found.digest);
    let found = row.description();
    let platforms = found.map(|found| {
        let names = found.platforms.iter().map(|p| text::clean(&p.to_string()));
        names.collect::<Vec<_>>().join(",")
    });
    vec![
        row.tag.to_string(),
        or_dash(digest.map(|digest| digest.to_string())),
        text::clean(row.kind().0),
        or_dash(found.and_then(|found| found.size).map(size::show)),
        or_dash(row.created().map(|time| time.utc().to_string())),
        or_dash(platforms.filter(|names| !names.is_empty())),
    ]
}
