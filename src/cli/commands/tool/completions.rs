//! `completions`: a script that completes words in a shell.

use std::io::Write;

use clap::{CommandFactory, ValueEnum};
use clap_complete::Shell;
use dxf_registry::Error;

use crate::cli::args::{self, Cli, Words};
use crate::cli::exit::Failure;
use crate::cli::out::console::{Out, stdout};

/// `completions <shell>`
pub fn run(out: &mut Out<'_>, words: &Words) -> Result<(), Failure> {
    let name = args::text(&words.take(1, 1)?[0])?;
    let shell = Shell::from_str(name, true).map_err(|_| {
        let shells: Vec<String> = Shell::value_variants()
            .iter()
            .map(Shell::to_string)
            .collect();
        Error::invalid("shell", name, format!("it takes {}", shells.join(", ")))
    })?;
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "dxf", &mut script);
    out.write_all(&script).map_err(stdout)
}
