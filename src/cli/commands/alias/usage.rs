//! `show-usage`: how many bytes aliases and repositories take, and how many
//! deleting them frees.

use dxf_registry::inventory::{Bytes, Counter, Documents, RepoUsage, TagUsage};
use dxf_registry::{RepoName, json, text};
use serde_json::{Value, json};

use crate::cli::args::{self, Words};
use crate::cli::env::Shape;
use crate::cli::exit::Failure;
use crate::cli::out::size;
use crate::cli::session::Session;

/// `show-usage [<repo> …]`
pub fn run(s: &mut Session<'_, '_>, words: &Words) -> Result<(), Failure> {
    let words = words.take(0, usize::MAX)?;
    let repos = s.repos()?;
    let root = s.context.root.as_ref();
    let mut wanted = Vec::<RepoName>::new();
    for word in words {
        let repo = args::repo(args::text(word)?, root)?;
        if !wanted.contains(&repo) {
            wanted.push(repo);
        }
    }
    let all = wanted.is_empty();
    if all {
        wanted = s.valid(repos.names().map(|name| name?.parse()))?;
    }
    let mut counter = Counter::new();
    for repo in wanted {
        let store = repos.open(&repo);
        let documents = Documents::new(&*store, s.documents());
        match counter.add(repo, &documents, s.run()) {
            // A catalog may list repositories that are gone.
            Err(error) if all && error.is_not_found() => {}
            added => added?,
        }
    }
    s.note_odd(counter.take_odd());
    let usage = counter.usage();
    match s.context.shape {
        Shape::Json => {
            let repos: Value = usage.iter().map(value).collect();
            s.line(json::python(
                &json!({"total": counter.total(), "repositories": repos}),
            ))?;
        }
        Shape::Text => s.table(rows(&usage, counter.total()), &[1, 2, 3, 4])?,
    }
    let tags = usage.iter().flat_map(|repo| &repo.tags);
    match tags.filter(|tag| tag.found.is_err()).count() {
        0 => Ok(()),
        count => Err(Failure::Damaged(format!(
            "dxf cannot read everything that {count} of the aliases reach, so deleting others may free less"
        ))),
    }
}

fn value(repo: &RepoUsage) -> Value {
    let tag = |one: &TagUsage| {
        let mut value = match &one.found {
            Ok((digest, bytes)) => with(*bytes, json!({"digest": digest})),
            Err(error) => json!({"error": text::one_line(&error.to_string())}),
        };
        value["name"] = one.tag.as_str().into();
        value
    };
    let tags: Value = repo.tags.iter().map(tag).collect();
    with(
        repo.bytes,
        json!({"name": repo.repo.as_str(), "aliases": tags}),
    )
}

fn with(bytes: Bytes, mut value: Value) -> Value {
    for (name, count) in numbers(bytes) {
        value[name] = count.into();
    }
    value
}

fn numbers(bytes: Bytes) -> [(&'static str, u64); 4] {
    [
        ("total", bytes.total),
        ("unique", bytes.unique),
        ("shared", bytes.shared()),
        ("frees", bytes.frees),
    ]
}

fn rows(usage: &[RepoUsage], total: u64) -> Vec<Vec<String>> {
    let row = |name: String, bytes: Bytes| {
        let sizes = numbers(bytes).map(|(_, count)| size::show(count));
        std::iter::once(name).chain(sizes).collect::<Vec<String>>()
    };
    let mut rows = vec![
        ["NAME", "TOTAL", "UNIQUE", "SHARED", "FREES"]
            .map(String::from)
            .to_vec(),
    ];
    for repo in usage {
        let name = text::clean(repo.repo.as_str());
        rows.push(row(name.clone(), repo.bytes));
        for one in &repo.tags {
            let name = format!("{name}:{}", one.tag);
            rows.push(match &one.found {
                Ok((_, bytes)) => row(name, *bytes),
                Err(_) => vec![name, "unreadable".into()],
            });
        }
    }
    if usage.len() > 1 {
        rows.push(vec!["total".into(), size::show(total)]);
    }
    rows
}
