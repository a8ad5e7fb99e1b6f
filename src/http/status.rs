//! Turns an unexpected answer into an error.

use ::http::header::{CONTENT_TYPE, RETRY_AFTER};
use serde::Deserialize;
use serde_json::Value;

use crate::bounds;
use crate::error::{Diagnostic, Error};
use crate::http::Response;
use crate::http::retry::retry_after;
use crate::text::clean;

/// How much of an error's body is read, bytes.
const MAX_ERROR: u64 = bounds::ERROR_BODY;
/// How many of a registry's complaints are repeated.
const MAX_ENTRIES: usize = 5;

/// The error that `response` is, its body read and its connection freed.
pub fn refusal(response: Response) -> Error {
    let (request, status) = (response.line().clone(), response.status);
    let retry_after = response.header(RETRY_AFTER).and_then(retry_after);
    Error::Status {
        request,
        status,
        errors: diagnostics(response),
        retry_after,
    }
}

/// What the registry said, in whatever form it chose.
pub fn diagnostics(response: Response) -> Vec<Diagnostic> {
    let html = response
        .header(CONTENT_TYPE)
        .is_some_and(|t| t.to_ascii_lowercase().contains("html"));
    let text = text_of(response);
    parse(&text).unwrap_or_else(|| words(&text, html))
}

fn text_of(response: Response) -> String {
    let hide = response.hider();
    let body = response.excerpt(MAX_ERROR);
    hide(&String::from_utf8_lossy(&body))
}

/// A body that is no registry's, whatever its type says, and what it says.
pub enum Foreign {
    /// A web page, with its title.
    Page(Vec<Diagnostic>),
    /// A document, or a sentence.
    Words(Vec<Diagnostic>),
}

/// What the body is, unless it is an empty document or a word such as `OK`.
pub fn foreign(response: Response) -> Option<Foreign> {
    let text = text_of(response);
    let text = text.trim();
    if text.starts_with('<') {
        return Some(Foreign::Page(words(text, true)));
    }
    let is_json = text.starts_with(['{', '[']);
    let is_empty = |text: &str| {
        text.trim_matches(|c: char| "{}[] \t\r\n".contains(c))
            .is_empty()
    };
    match (is_json, text.contains(char::is_whitespace)) {
        (true, _) if is_empty(text) => None,
        (false, false) => None,
        _ => {
            let said = parse(text).filter(|said| !said.is_empty());
            Some(Foreign::Words(said.unwrap_or_else(|| words(text, false))))
        }
    }
}

/// The registry's form; and those of token servers: OAuth2's (RFC 6749, 5.2)
/// and old docker-registry's `details`.
#[derive(Deserialize)]
struct Answer {
    errors: Option<Vec<Entry>>,
    #[serde(default)]
    error: Value,
    #[serde(default, alias = "details", alias = "message")]
    error_description: Value,
}

#[derive(Deserialize)]
struct Entry {
    #[serde(default)]
    code: Value,
    #[serde(default)]
    message: Value,
    #[serde(default)]
    detail: Value,
}

fn parse(text: &str) -> Option<Vec<Diagnostic>> {
    let answer: Answer = serde_json::from_str(text).ok()?;
    let Some(errors) = answer.errors else {
        let only = diagnostic(&Entry {
            code: answer.error,
            message: answer.error_description,
            detail: Value::Null,
        });
        let says = !only.code.is_empty() || !only.message.is_empty();
        return says.then(|| vec![only]);
    };
    Some(errors.iter().take(MAX_ENTRIES).map(diagnostic).collect())
}

fn diagnostic(entry: &Entry) -> Diagnostic {
    let text = |value: &Value| match value {
        Value::String(text) => clean(text),
        Value::Null => String::new(),
        other => clean(&other.to_string()),
    };
    let mut message = text(&entry.message);
    // Registries put the digest or the reason they mean only there.
    if let Value::String(detail) = &entry.detail
        && !detail.is_empty()
    {
        message = format!("{message}: {}", clean(detail));
    }
    Diagnostic {
        code: text(&entry.code),
        message,
    }
}

/// A proxy's page or a line of text: its title, or its first words.
fn words(text: &str, html: bool) -> Vec<Diagnostic> {
    let text = text.trim();
    let shown = if html || text.starts_with('<') {
        let lower = text.to_ascii_lowercase();
        let title = lower
            .find("<title>")
            .map(|at| at + 7)
            .zip(lower.find("</title>"));
        match title {
            // Lower-casing ASCII moves no byte, so the places are the same.
            Some((from, to)) if from <= to => text.get(from..to).unwrap_or_default(),
            _ => "",
        }
    } else {
        text
    };
    let message = clean(shown);
    if message.is_empty() {
        Vec::new()
    } else {
        vec![Diagnostic {
            code: String::new(),
            message,
        }]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn shown(text: &str, html: bool) -> String {
        let entries = parse(text).unwrap_or_else(|| words(text, html));
        entries
            .iter()
            .map(Diagnostic::to_string)
            .collect::<Vec<_>>()
            .join(" | ")
    }

    #[test]
    fn reads_registries_proxies_and_object_stores() {
        for (text, html, expected) in [
            (
                r#"{"errors":[{"code":"DENIED","message":"no"},{"code":"X"}]}"#,
                false,
                "DENIED: no | X",
            ),
            (
                r#"{"errors":[{"code":"MANIFEST_BLOB_UNKNOWN","message":"blob unknown","detail":"sha256:ab"}]}"#,
                false,
                "MANIFEST_BLOB_UNKNOWN: blob unknown: sha256:ab",
            ),
            (r#"{"errors":[]}"#, false, ""),
            (
                r#"{"error":"invalid_grant","error_description":"it has expired"}"#,
                false,
                "invalid_grant: it has expired",
            ),
            (r#"{"details":"wrong password"}"#, false, "wrong password"),
            (r#"{"no":"words"}"#, false, r#"{"no":"words"}"#),
            (
                "<html><head><title>413 Too Large</title></head>",
                true,
                "413 Too Large",
            ),
            ("<Error><Code>AccessDenied</Code></Error>", false, ""),
            (
                "Client sent an HTTP request to an HTTPS server.\n",
                false,
                "Client sent an HTTP request to an HTTPS server.",
            ),
            ("\u{1b}[2Jgone", false, "?[2Jgone"),
            ("", false, ""),
        ] {
            assert_eq!(shown(text, html), expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn never_panics(text in "[<>/titleTITLE{}\":a-z]{0,60}|\\PC{0,60}") {
            let _ = shown(&text, true);
        }
    }
}
