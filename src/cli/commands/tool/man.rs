//! `man`: writes man pages into a folder, those of the commands (section 1) and
//! those of the manual (section 7).

use std::io::{self, Write};
use std::path::Path;

use clap::{Command, CommandFactory};
use clap_mangen::Man;
use dxf_registry::Error;
use dxf_registry::file::{self, Aside};

use crate::cli::args::{Cli, Words, guide};
use crate::cli::env::vars;
use crate::cli::exit::Failure;
use crate::cli::manual::{PAGES, roff};

/// `man <folder>`
pub fn run(words: &Words) -> Result<(), Failure> {
    let folder = Path::new(&words.take(1, 1)?[0]);
    let failed = |what: &Path, e| Error::io(what.display().to_string(), e);
    file::make_folder(folder, file::SHARED).map_err(|e| failed(folder, e))?;
    let mut all = Cli::command();
    all.build();
    let mut pages = vec![("dxf.1".to_string(), overview(&all))];
    for command in all.get_subcommands() {
        let page = man(command);
        pages.push((page.get_filename(), of_command(page, command)));
    }
    for page in PAGES {
        pages.push((roff::file_name(page), Ok(roff::render(page).into_bytes())));
    }
    for (name, bytes) in pages {
        let path = folder.join(name);
        bytes
            .and_then(|bytes| write(&path, &bytes))
            .map_err(|e| failed(&path, e))?;
    }
    Ok(())
}

/// The page of a command, with the program and the manual at its foot.
fn man(command: &Command) -> Man {
    let source = concat!("dxf ", env!("CARGO_PKG_VERSION"));
    Man::new(command.clone())
        .source(source)
        .manual("dxf manual")
}

fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut aside = Aside::beside(path)?;
    aside.file_mut().write_all(bytes)?;
    aside.commit_unsynced()
}

/// The page about the program as a whole.
fn overview(all: &Command) -> io::Result<Vec<u8>> {
    let page = man(all);
    let mut out = Vec::new();
    page.render_title(&mut out)?;
    page.render_name_section(&mut out)?;
    page.render_synopsis_section(&mut out)?;
    page.render_description_section(&mut out)?;
    page.render_subcommands_section(&mut out)?;
    page.render_options_section(&mut out)?;
    let topics: Vec<String> = PAGES
        .iter()
        .map(|page| format!(".BR dxf\\-{} (7)", page.topic.replace('-', "\\-")))
        .collect();
    writeln!(out, ".SH SEE ALSO\n{}", topics.join(",\n"))?;
    Ok(out)
}

/// The page about a command: what clap knows, then examples, variables, exit
/// status and the page of the manual.
fn of_command(page: Man, command: &Command) -> io::Result<Vec<u8>> {
    let mut out = Vec::new();
    page.render_title(&mut out)?;
    page.render_name_section(&mut out)?;
    page.render_synopsis_section(&mut out)?;
    page.render_description_section(&mut out)?;
    page.render_options_section(&mut out)?;
    let examples = command.get_after_help().map(ToString::to_string);
    writeln!(out, ".SH EXAMPLES\n.nf")?;
    for line in examples.unwrap_or_default().lines().skip(1) {
        writeln!(out, "{}", roff::line(line.trim()))?;
    }
    writeln!(out, ".fi")?;
    let Some((_, topic, variables)) = guide::guide(command.get_name()) else {
        return Ok(out);
    };
    if !variables.is_empty() {
        writeln!(out, ".SH ENVIRONMENT")?;
    }
    for name in variables.split(", ").filter(|name| !name.is_empty()) {
        let var = vars::ALL.iter().find(|var| var.name == name);
        let meaning = var.map_or("", |var| var.meaning);
        writeln!(out, ".TP\n.B {name}\n{}", roff::line(meaning))?;
    }
    writeln!(
        out,
        ".SH EXIT STATUS\n0 after success; the other codes are in\n.BR dxf\\-exit\\-codes (7)."
    )?;
    let topic = topic.replace('-', "\\-");
    writeln!(out, ".SH SEE ALSO\n.BR dxf (1),\n.BR dxf\\-{topic} (7)")?;
    Ok(out)
}
