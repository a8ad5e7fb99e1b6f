//! `cache`: what the layers kept for later runs take, and giving it back.

use std::time::Duration;

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
            return Err(args::usage("limits are for prune"));
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
    let older_than = args.older_than.as_deref().map(duration).transpose()?;
    let max_size = args.max_size.as_deref().map(|text| {
        size::parse(text).map_err(|why| Error::invalid("--max-size", text, why.to_string()))
    });
    let max_size = max_size.transpose()?;
    Ok(Limits {
        max_size: max_size.or(older_than.is_none().then_some(0)),
        older_than,
    })
}

/// `90s`, `15m`, `12h`, `30d`, `2w`.
fn duration(text: &str) -> Result<Duration, Error> {
    const UNITS: [(char, u64); 5] = [
        ('s', 1),
        ('m', 60),
        ('h', 3600),
        ('d', 86_400),
        ('w', 604_800),
    ];
    let found = UNITS.iter().find_map(|(unit, seconds)| {
        let digits = text.strip_suffix(*unit)?;
        let plain = digits.bytes().all(|b| b.is_ascii_digit());
        let number: u64 = digits.parse().ok().filter(|_| plain)?;
        number.checked_mul(*seconds)
    });
    found.map(Duration::from_secs).ok_or_else(|| {
        let why = "it takes a whole number with s, m, h, d or w, such as 30d";
        Error::invalid("--older-than", text, why)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (text, seconds) in [("0s", 0), ("90s", 90), ("12h", 43_200), ("2w", 1_209_600)] {
            assert_eq!(duration(text).unwrap().as_secs(), seconds, "{text}");
        }
        for bad in [
            "",
            "d",
            "5",
            "-1d",
            "+1d",
            "1.5h",
            "1y",
            "99999999999999999w",
        ] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }
}
