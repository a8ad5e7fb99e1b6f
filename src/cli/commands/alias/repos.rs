//! `list-repos`: the names of the registry's repositories, and how many aliases
//! they have.

use dxf_registry::graph::is_related_tag;
use dxf_registry::image::Timestamp;
use dxf_registry::inventory::{Describer, Documents};
use dxf_registry::store::valid_names;
use dxf_registry::stream::Run;
use dxf_registry::{ReadStore, RepoName, Result, Tag, parallel, text};
use serde_json::json;

use crate::cli::args::ListRepos;
use crate::cli::env::Shape;
use crate::cli::exit::Failure;
use crate::cli::out::json::List;
use crate::cli::repos::Repos;
use crate::cli::session::Session;

/// `list-repos [-l]`
pub fn run(s: &mut Session<'_, '_>, args: &ListRepos) -> Result<(), Failure> {
    let all = s.repos()?;
    if !args.long {
        return s.names(all.names());
    }
    let repos = s.valid(all.names().map(|name| name?.parse()))?;
    let rows = rows(s, repos, &all)?;
    match s.context.shape {
        Shape::Json => {
            let mut list = List::new();
            for row in rows {
                let newest = row.newest.map(|time| time.utc().to_string());
                let value =
                    json!({"name": row.repo.as_str(), "aliases": row.aliases, "newest": newest});
                list.item(s.out, &value)?;
            }
            list.end(s.out)?;
        }
        Shape::Text => {
            let cells = |row: &Row| {
                let newest = row.newest.as_ref().map(|time| time.utc().to_string());
                let name = text::clean(row.repo.as_str());
                vec![
                    name,
                    row.aliases.to_string(),
                    newest.unwrap_or_else(|| "-".into()),
                ]
            };
            s.table(rows.iter().map(cells), &[1])?;
        }
    }
    Ok(())
}

struct Row {
    repo: RepoName,
    aliases: usize,
    newest: Option<Timestamp>,
}

/// A row for each repository: many are looked at several at once, the aliases of
/// few are.
fn rows(s: &Session<'_, '_>, repos: Vec<RepoName>, all: &Repos) -> Result<Vec<Row>> {
    let (run, cache) = (s.run(), s.documents());
    let (outer, inner) = match repos.len() < run.jobs {
        true => (1, run.jobs),
        false => (run.jobs, 1),
    };
    parallel::map(outer, repos, run.watch.stop, |repo, stop| {
        let store = all.open(&repo);
        let run = Run {
            jobs: inner,
            ..run.stopped_by(stop)
        };
        let mut tags = tags(&*store)?;
        // As `list-aliases -l` lists them.
        tags.retain(|tag| !is_related_tag(tag.as_str()));
        let aliases = tags.len();
        let documents = Documents::new(&*store, cache.clone());
        let found = Describer::new(&documents, run).each(tags)?;
        let times = found
            .iter()
            .filter_map(|one| one.found.as_ref().ok()?.created.clone());
        let newest = times.max_by_key(Timestamp::unix_seconds);
        Ok(Row {
            repo,
            aliases,
            newest,
        })
    })
}

/// The tags of a repository; none where a catalog lists one that is gone.
fn tags(store: &dyn ReadStore) -> Result<Vec<Tag>> {
    match valid_names(store.tags()) {
        Ok((tags, _)) => Ok(tags),
        Err(error) if error.is_not_found() => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}
