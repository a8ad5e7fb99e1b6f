//! `verify-alias`: every blob an alias names is looked at, or read.

use dxf_registry::files::files_in_parts;
use dxf_registry::graph::verify::{self, Finding, Scrutiny, Verdict};
use dxf_registry::{ReadStore, Result, Target};
use serde_json::{Value, json};

use crate::cli::args::{self, VerifyAlias};
use crate::cli::env::Shape;
use crate::cli::exit::Failure;
use crate::cli::out::json::List;
use crate::cli::out::size;
use crate::cli::session::Session;

/// `verify-alias [--fast] <repo> <alias> …|--all`
pub fn run(s: &mut Session<'_, '_>, args: &VerifyAlias) -> Result<(), Failure> {
    let (least, most) = match args.all {
        true => (0, 0),
        false => (1, usize::MAX),
    };
    let (repo, rest) = s.repo(&args.words, least, most)?;
    let mut targets = args::targets(rest)?;
    let store = s.store(repo)?;
    if args.all {
        let tags = s.valid(store.tags())?;
        targets = tags.into_iter().map(Target::Tag).collect();
    }
    let scrutiny = match args.fast {
        true => Scrutiny::Sizes,
        false => Scrutiny::Digests {
            files_of: files_in_parts,
        },
    };
    let found = verify::names(&*store, targets, scrutiny, s.run())?;
    report(s, &found)?;
    let bad = found.iter().filter(|f| !f.verdict().is_good()).count();
    if bad == 0 {
        return Ok(());
    }
    let (all, name) = (found.len(), store.name());
    let are = if bad == 1 { "is" } else { "are" };
    let what = format!("{bad} of {all} blobs and manifests in {name} {are} missing or wrong");
    Err(Failure::Damaged(what))
}

fn report(s: &mut Session<'_, '_>, found: &[Finding]) -> Result<(), Failure> {
    match s.context.shape {
        Shape::Json => {
            s.clear();
            let mut list = List::new();
            for one in found {
                list.item(s.out, &value(one))?;
            }
            list.end(s.out)
        }
        Shape::Text => s.table(found.iter().map(cells), &[3]),
    }
}

/// The verdict, and what there is instead of what should be.
fn words(found: &Finding) -> (&'static str, Value) {
    match found.verdict() {
        Verdict::Right => ("ok", Value::Null),
        Verdict::Elsewhere => ("elsewhere", Value::Null),
        Verdict::Missing => ("missing", Value::Null),
        Verdict::WrongSize(actual) => ("wrong size", json!(actual)),
        Verdict::WrongDigest(actual) => ("wrong digest", json!(actual)),
        _ => ("wrong", Value::Null),
    }
}

fn name(found: &Finding) -> String {
    found
        .name
        .as_deref()
        .map(Target::to_string)
        .unwrap_or_default()
}

fn value(found: &Finding) -> Value {
    let (verdict, actual) = words(found);
    json!({"alias": name(found), "digest": found.blob.digest, "size": found.blob.size,
        "mediaType": found.blob.media_type, "verdict": verdict, "actual": actual})
}

fn cells(found: &Finding) -> Vec<String> {
    let (verdict, actual) = words(found);
    vec![
        verdict.to_string(),
        name(found),
        found.blob.digest.to_string(),
        size::show(found.blob.size),
        match actual {
            Value::Null => String::new(),
            Value::String(digest) => digest,
            bytes => format!("has {bytes} bytes"),
        },
    ]
}
