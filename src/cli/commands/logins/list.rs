//! `list-logins`: the registries there are logins for.

use dxf_registry::credentials::Listed;
use dxf_registry::{Result, json};
use serde_json::{Value, json};

use crate::cli::env::Shape;
use crate::cli::exit::Failure;
use crate::cli::session::Session;

/// `list-logins`
pub fn run(s: &mut Session<'_, '_>) -> Result<(), Failure> {
    let found = s.context.files.list()?;
    for trouble in &found.troubles {
        s.console.warn(&trouble.to_string());
    }
    if s.context.shape == Shape::Json {
        let all: Value = found.logins.iter().map(described).collect();
        return s.line(json::python(&all));
    }
    for login in &found.logins {
        let name = login.username.as_deref().unwrap_or("-");
        let (key, how, file) = (&login.key, &login.how, login.file.display());
        s.line(format_args!("{key} {name} ({how}, {file})"))?;
    }
    Ok(())
}

fn described(login: &Listed) -> Value {
    json!({
        "registry": login.key,
        "username": login.username,
        "kept": login.how.to_string(),
        "file": login.file.display().to_string(),
    })
}
