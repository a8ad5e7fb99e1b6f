//! `gc`: frees what no alias reaches, in a folder.

use dxf_registry::keeping::gc::{Collected, Collection, Emptying, GRACE, Garbage, freed};
use dxf_registry::layout::Layout;
use dxf_registry::{Error, RepoName, Result, Root, json};
use serde_json::{Value, json};

use crate::cli::args::{self, Gc};
use crate::cli::env::Shape;
use crate::cli::exit::Failure;
use crate::cli::out::size;
use crate::cli::session::Session;

/// `gc [--grace DURATION] [--dry-run] [--allow-empty] [<repo> …]`
pub fn run(s: &mut Session<'_, '_>, args: &Gc) -> Result<(), Failure> {
    let grace = args.grace.as_deref();
    let grace = grace.map(|text| args::duration("--grace", text));
    let grace = grace.transpose()?.unwrap_or(GRACE);
    let emptying = match args.allow_empty {
        true => Emptying::Allow,
        false => Emptying::Refuse,
    };
    let layouts = layouts(s, args)?;
    let all = layouts.iter().map(|(repo, layout)| {
        let collection = Collection::new(layout);
        (repo, collection.with_grace(grace).with_emptying(emptying))
    });
    let all: Vec<_> = all.collect();
    // All are read before the first is changed, so that a manifest that can't be
    // read stops it all.
    let mut done = Vec::new();
    for (repo, collection) in &all {
        let at = |e: Error| e.at(&format!("repository {repo}"));
        done.push((*repo, collection.plan(s.run()).map_err(at)?));
    }
    if !args.dry_run {
        done.clear();
        for (repo, collection) in &all {
            done.push((*repo, collection.collect(s.run())?));
        }
    }
    report(s, &done, args)
}

/// The repositories that are named, or all there are.
fn layouts(s: &Session<'_, '_>, args: &Gc) -> Result<Vec<(RepoName, Layout)>, Failure> {
    let root = s.root()?;
    let Root::Folder(folder) = root else {
        let what = "a registry frees space itself, with its own garbage collection; gc is for \
                    folders (DXF_HOST=oci:FOLDER)";
        return Err(Error::Unsupported { what: what.into() }.into());
    };
    let folders = s.folders(folder);
    let words = args.words.take(0, usize::MAX)?;
    let named = words
        .iter()
        .map(|word| args::repo(args::text(word)?, Some(root)));
    let mut names = named.collect::<Result<Vec<RepoName>>>()?;
    if names.is_empty() {
        let all = folders.repos().map(|name| name?.parse());
        names = all.collect::<Result<Vec<RepoName>>>()?;
    }
    names.sort();
    names.dedup();
    let layouts = names.into_iter().map(|name| {
        let layout = folders.repository(&name);
        (name, layout)
    });
    Ok(layouts.collect())
}

fn report(
    s: &mut Session<'_, '_>,
    done: &[(&RepoName, Collected)],
    args: &Gc,
) -> Result<(), Failure> {
    let bytes = freed(done.iter().map(|(_, collected)| collected));
    if s.context.shape == Shape::Json {
        let all: Vec<Value> = done.iter().map(|(repo, one)| value(repo, one)).collect();
        let document = json!({"dryRun": args.dry_run, "bytes": bytes, "repositories": all});
        return s.line(json::python(&document));
    }
    for (repo, collected) in done {
        for one in &collected.garbage {
            let Garbage { digest, size, .. } = one;
            s.line(format_args!("{repo} {digest} {}", size::show(*size)))?;
        }
        if collected.is_untagged {
            s.console.warn(&format!(
                "{repo} has no alias, so it was skipped; --allow-empty deletes all of it"
            ));
        }
    }
    let count: usize = done.iter().map(|(_, one)| one.garbage.len()).sum();
    let young: u64 = done.iter().map(|(_, one)| one.young).sum();
    let verb = if args.dry_run { "would free" } else { "freed" };
    let things = if count == 1 { "blob" } else { "blobs" };
    let mut said = format!(
        "{verb} {count} {things} and manifests, {}",
        size::show(bytes)
    );
    if young > 0 {
        said += &format!("; {young} are kept, because they are younger than --grace");
    }
    s.console.line(&said);
    Ok(())
}

fn value(repo: &RepoName, collected: &Collected) -> Value {
    let garbage = collected
        .garbage
        .iter()
        .map(|one| json!({"digest": one.digest, "size": one.size, "manifest": one.is_manifest}));
    let garbage: Vec<Value> = garbage.collect();
    json!({"repository": repo.as_str(), "freed": garbage, "young": collected.young,
        "untagged": collected.is_untagged})
}
