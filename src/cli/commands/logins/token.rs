//! `auth`: a token for some actions, or why there is none.

use dxf_registry::registry::{Granted, RateLimit};
use dxf_registry::{Result, Root, hub, json};
use serde_json::Value;

use crate::cli::args::{self, Auth};
use crate::cli::env::Shape;
use crate::cli::exit::Failure;
use crate::cli::session::Session;

/// `auth [--explain] <repo> <action> …`
pub fn run(s: &mut Session<'_, '_>, args: &Auth) -> Result<(), Failure> {
    let (repo, rest) = s.repo(&args.words, 0, usize::MAX)?;
    let actions: Result<Vec<String>> = rest
        .iter()
        .map(|w| Ok(args::text(w)?.to_string()))
        .collect();
    let actions = actions?;
    let host = match s.root()? {
        Root::Registry(host) => host,
        Root::Folder(_) if args.explain => return s.line("a folder needs no credentials"),
        Root::Folder(_) => {
            no_token(s, &actions, "a folder");
            return Ok(());
        }
    };
    let registry = s.registry(host)?;
    let granted = registry.authenticate(Some(&repo), &actions)?;
    match &granted.token {
        _ if args.explain => {
            // The only registry that says it; no other is asked.
            let limit = match hub::is_hub(host.as_str()) {
                true => registry.repository(repo).rate_limit()?,
                false => None,
            };
            explanation(s, &granted, limit.as_ref())
        }
        Some(token) => s.line(token.reveal()),
        None => {
            no_token(s, &actions, host.as_str());
            Ok(())
        }
    }
}

/// Says why nothing is printed, unless a script asks for certain actions and
/// takes what it gets.
fn no_token(s: &Session<'_, '_>, actions: &[String], place: &str) {
    if actions.is_empty() {
        s.console.warn(&format!(
            "{place} gives no token; name actions to ask for one (pull, push, delete, *)"
        ));
    }
}

/// How many pulls are left.
fn pulls(limit: &RateLimit) -> String {
    let mut words = format!("{} allowed", limit.limit);
    if let Some(window) = limit.window {
        words += &format!(" in {} s", window.as_secs());
    }
    if let Some(left) = limit.remaining {
        words += &format!(", {left} left");
    }
    if let Some(source) = &limit.counted_for {
        words += &format!(", counted for {source}");
    }
    words
}

/// What was asked and granted, without the token.
fn explanation(
    s: &mut Session<'_, '_>,
    granted: &Granted,
    limit: Option<&RateLimit>,
) -> Result<(), Failure> {
    let expires = granted
        .expires_in
        .map(|time| format!("{} s", time.as_secs()));
    let facts = [
        ("credentials", Some(granted.source.clone())),
        ("scheme", Some(granted.scheme.to_string())),
        ("realm", granted.realm.clone()),
        ("service", granted.service.clone()),
        (
            "asked",
            Some(granted.asked.join(" ")).filter(|asked| !asked.is_empty()),
        ),
        ("granted", granted.granted.clone()),
        ("expires", expires),
        ("pulls", limit.map(pulls)),
    ];
    let known = facts
        .into_iter()
        .filter_map(|(name, fact)| Some((name, fact?)));
    if s.context.shape == Shape::Json {
        let all = known.map(|(name, fact)| (name.to_string(), fact.into()));
        return s.line(json::python(&Value::Object(all.collect())));
    }
    for (name, fact) in known {
        s.line(format_args!("{name}: {fact}"))?;
    }
    Ok(())
}
