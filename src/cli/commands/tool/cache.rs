//! `cache`: what the layers kept for later runs take, and giving it back.

use dxf_registry::cache::{Cache, Limits, Usage};
use dxf_registry::{Error, json};
use serde_json::json;

use crate::cli::args::{self, Cache as Args};
use crate::cli::env::Shape;
use crate::cli::exit::Failure;
use crate::cli::out::size;
use crate::cli::session::Session;

/// `cache size|prune [--older-than DURATION] [--max-size SIZE]`
pub fn run(s: &mut Session<'_, '_>, args: &Args) -> Result<(), Failure> {
    let word = args::text(&args.words.take(1, 1)?[0])?;
    let cache = s
        .context
        .cache
        .as_ref()
        .map(|folder| Cache::new(folder.join("blobs")));
    let limits = limits(args)?;
    let (verb, usage) = match word.to_ascii_lowercase().as_str() {
        "prune" => (
            "deleted ",
            cache.map_or(Ok(Usage::default()), |c| c.prune(&limits))?,
        ),
        _ if args.older_than.is_some() || args.max_size.is_some() => {
            return Err(args::usage(
                "--older-than and --max-size are for cache prune",
            ));
        }
        _ => ("", cache.map_or(Ok(Usage::default()), |c| c.usage())?),
    };
    match s.context.shape {
        Shape::Json => {
            let value = json!({"blobs": usage.blobs, "bytes": usage.bytes});
            s.line(json::python(&value))
        }
        Shape::Text => {
            let blobs = if usage.blobs == 1 { "blob" } else { "blobs" };
            s.line(format_args!(
                "{verb}{} {blobs}, {}",
                usage.blobs,
                size::show(usage.bytes)
            ))
        }
    }
}

/// Without limits nothing is kept.
fn limits(args: &Args) -> Result<Limits, Error> {
    let older_than = args.older_than.as_deref();
    let older_than = older_than.map(|text| args::duration("--older-than", text));
    let older_than = older_than.transpose()?;
    let max_size = args.max_size.as_deref().map(|text| {
        size::parse(text).map_err(|why| Error::invalid("--max-size", text, why.to_string()))
    });
    let max_size = max_size.transpose()?;
    Ok(Limits {
        max_size: max_size.or(older_than.is_none().then_some(0)),
        older_than,
    })
}
