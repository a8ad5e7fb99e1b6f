//! `doctor`: what a registry can do, and what that means here.

use std::borrow::Cow;
use std::sync::Arc;

use dxf_registry::registry::doctor::{Ability, Check, Reach, examine};
use dxf_registry::{Error, RepoName, Result, Root, json};
use serde_json::{Value, json};

use crate::cli::args::{self, Doctor};
use crate::cli::env::Shape;
use crate::cli::exit::{Failure, hint};
use crate::cli::session::Session;

/// The repository that is used where none is named.
const REPO: &str = "dxf-doctor";

/// `doctor [--read-only] [<repo>]`
pub fn run(s: &mut Session<'_, '_>, args: &Doctor) -> Result<(), Failure> {
    let words = args.words.take(0, 1)?;
    let root = s.root()?;
    let Root::Registry(host) = root else {
        let what = "a folder needs no doctor; verify-alias --all reads what is in it";
        return Err(Error::Unsupported { what: what.into() }.into());
    };
    let repo: RepoName = match words.first() {
        Some(word) => args::repo(args::text(word)?, Some(root))?,
        None => args::repo(REPO, Some(root))?,
    };
    let reach = match args.read_only {
        true => Reach::Read,
        false => Reach::Write,
    };
    let registry = s.registry(host);
    let mut checks = vec![proxy(s)];
    // A registry that is only just asked how it is spoken to may be unreachable.
    match registry {
        Ok(registry) => checks.extend(examine(&registry, &repo, reach)),
        Err(error) => return Err(error.into()),
    }
    report(s, &checks)?;
    // What else a registry can't do is no failure of the examination.
    let needed = checks.into_iter().filter(is_needed);
    match needed.filter_map(|one| one.error).find_map(Arc::into_inner) {
        Some(error) => Err(error.into()),
        None => Ok(()),
    }
}

fn proxy(s: &Session<'_, '_>) -> Check {
    let names = s.context.settings.http.proxies.names;
    let mut names: Vec<&str> = names.into_iter().flatten().collect();
    names.dedup();
    // Their addresses may contain a password.
    let detail = match names[..] {
        [] => "none".to_string(),
        [one] => format!("as {one} says"),
        _ => format!("as {} say", names.join(" and ")),
    };
    Check::new("proxy", Ability::Yes, detail)
}

fn word(ability: Ability) -> &'static str {
    match ability {
        Ability::Yes => "yes",
        Ability::No => "no",
        _ => "untried",
    }
}

fn report(s: &mut Session<'_, '_>, checks: &[Check]) -> Result<(), Failure> {
    if s.context.shape == Shape::Json {
        let all = checks.iter().map(|one| {
            json!({"name": one.name, "ability": word(one.ability), "detail": one.detail,
                "advice": advice(one)})
        });
        let all: Vec<Value> = all.collect();
        return s.line(json::python(&Value::Array(all)));
    }
    let rows = checks.iter().map(|one| {
        let said = match advice(one) {
            Some(advice) => format!("{} ({advice})", one.detail),
            None => one.detail.clone(),
        };
        vec![one.name.to_string(), word(one.ability).to_string(), said]
    });
    s.table(rows.collect::<Vec<_>>(), &[])
}

/// What helps: what every command advises, where that is about the way there.
fn advice(check: &Check) -> Option<Cow<'static, str>> {
    if check.ability != Ability::No {
        return None;
    }
    let error = check.error.as_deref().filter(|_| is_needed(check));
    let advice = error.and_then(hint::of).map(Cow::Owned);
    advice.or_else(|| (!check.advice.is_empty()).then_some(Cow::Borrowed(check.advice)))
}

/// Whether nothing works where this does not.
fn is_needed(check: &Check) -> bool {
    matches!(check.name, "connection" | "login")
}
