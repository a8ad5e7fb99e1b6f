//! `show-env`: the variables that are in force, and where they come from.

use std::ffi::OsString;
use std::io::Write;

use dxf_registry::text::one_line;
use dxf_registry::{Error, json};
use serde_json::{Value, json};

use crate::cli::env::show::{Line, line};
use crate::cli::env::vars::{self, Env};
use crate::cli::env::{faults, variable};
use crate::cli::exit::Failure;
use crate::cli::near::is_near;
use crate::cli::out::console::{Console, Out, Terminals, stdout};

/// Warns of variables whose names begin like those here and mean nothing: of all
/// of them, or only of those that resemble one.
pub fn misspelt(console: &Console, variables: &[OsString], all: bool) {
    for name in variables.iter().filter_map(|name| name.to_str()) {
        let is_known = vars::ALL.iter().any(|var| var.name == name);
        if !name.starts_with("DXF_") || is_known {
            continue;
        }
        let meant = vars::ALL.iter().find(|var| is_near(var.name, name));
        let hint = meant.map(|var| format!("; did you mean {}?", var.name));
        if all || hint.is_some() {
            let hint = hint.unwrap_or_default();
            console.warn(&format!(
                "{name} is set, but dxf has no such variable{hint}"
            ));
        }
    }
}

/// `show-env`. A bad value is marked; the command fails after all are printed.
pub fn run(out: &mut Out<'_>, env: Env<'_>, terminal: Terminals) -> Result<(), Failure> {
    let faults = faults(env, terminal);
    let lines: Vec<Line> = vars::ALL.iter().map(|var| line(var, env)).collect();
    let why = |name: &str| {
        let fault = faults.iter().find(|fault| variable(fault) == Some(name))?;
        match fault {
            Error::Invalid { why, .. } => Some(why.as_str()),
            _ => None,
        }
    };
    let is_json = env
        .raw(&vars::OUTPUT)
        .is_some_and(|(_, value)| value == "json");
    if is_json {
        let one = |l: &Line| {
            let mut one =
                json!({"name": l.name, "value": l.value, "source": l.source, "meaning": l.meaning});
            if let Some(why) = why(l.name) {
                one["invalid"] = why.into();
            }
            one
        };
        let all: Value = lines.iter().map(one).collect();
        writeln!(out, "{}", json::python(&all)).map_err(stdout)?;
    } else {
        for line in &lines {
            let value = one_line(&line.value);
            let mark = why(line.name).map(|why| format!("  INVALID: {}", one_line(why)));
            let mark = mark.unwrap_or_default();
            writeln!(out, "{} = {value}  ({}){mark}", line.name, line.source).map_err(stdout)?;
        }
    }
    match faults.into_iter().next() {
        Some(first) => Err(first.into()),
        None => Ok(()),
    }
}
