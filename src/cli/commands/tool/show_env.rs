//! `show-env`: the variables that are in force, and where they come from.

use std::ffi::OsString;
use std::io::Write;

use dxf_registry::json;
use dxf_registry::text::one_line;
use serde_json::{Value, json};

use crate::cli::env::show::{Line, line};
use crate::cli::env::vars::{self, Env};
use crate::cli::env::{Context, Shape};
use crate::cli::exit::Failure;
use crate::cli::out::console::{Console, Out, stdout};

/// Warns of variables whose names begin like those here and mean nothing.
pub fn misspelt(console: &Console, variables: &[OsString]) {
    for name in variables.iter().filter_map(|name| name.to_str()) {
        let is_known = vars::ALL.iter().any(|var| var.name == name);
        if name.starts_with("DXF_") && !is_known {
            console.warn(&format!("{name} is set, but dxf has no such variable"));
        }
    }
}

/// `show-env`
pub fn run(out: &mut Out<'_>, env: Env<'_>, context: &Context) -> Result<(), Failure> {
    let lines: Vec<Line> = vars::ALL.iter().map(|var| line(var, env)).collect();
    match context.shape {
        Shape::Text => lines.iter().try_for_each(|line| {
            let value = one_line(&line.value);
            writeln!(out, "{} = {value}  ({})", line.name, line.source).map_err(stdout)
        }),
        Shape::Json => {
            let all: Value = lines
                .iter()
                .map(|l| json!({"name": l.name, "value": l.value, "source": l.source, "meaning": l.meaning}))
                .collect();
            writeln!(out, "{}", json::python(&all)).map_err(stdout)
        }
    }
}
