//! `help`: shows a page of the manual, in a pager on a terminal.

use std::io::{self, Write};
use std::process::{Command, Stdio};

use console::Term;
use dxf_registry::{Error, Result};

use crate::cli::args::{self, Words};
use crate::cli::env::vars::{self, Env};
use crate::cli::exit::Failure;
use crate::cli::interrupt::Interrupt;
use crate::cli::manual::Page;
use crate::cli::manual::text::{Bold, Style, render};
use crate::cli::out::console::{Out, stdout};
use crate::cli::session::Input;

/// The widest line: longer ones are hard to read.
const WIDEST: usize = 100;
/// How wide a page is where there is no terminal.
const USUAL: usize = 80;

/// `help <topic>`
pub fn run(
    out: &mut Out<'_>,
    env: Env<'_>,
    input: &Input<'_>,
    words: &Words,
) -> Result<(), Failure> {
    let topic = args::text(&words.take(1, 1)?[0])?;
    let Some(page) = Page::find(&topic.to_ascii_lowercase()) else {
        let why = "`dxf help` lists the topics";
        return Err(Error::invalid("topic", topic, why).into());
    };
    if !input.terminal.stdout {
        let text = render(
            &page,
            Style {
                width: USUAL,
                bold: Bold::No,
            },
        );
        return out.write_all(text.as_bytes()).map_err(stdout);
    }
    let width = usize::from(Term::stdout().size().1).clamp(20, WIDEST);
    let bold = match env.raw(&vars::NO_COLOR) {
        Some(_) => Bold::No,
        None => Bold::Yes,
    };
    let text = render(&page, Style { width, bold });
    let pager = env.text(&vars::PAGER)?;
    match page_through(pager.as_deref().unwrap_or("less"), input.interrupt, &text) {
        Ok(()) => Ok(()),
        // Without the program the page is shown all the same.
        Err(_) => out.write_all(text.as_bytes()).map_err(stdout),
    }
}

/// Runs the pager with the text on its standard input, until the user leaves
/// it. Signals are for the pager meanwhile.
fn page_through(pager: &str, interrupt: &Interrupt, text: &str) -> io::Result<()> {
    // A shell, as man and git do it: the variable may have options in it. Unless
    // the user has set up less otherwise, it leaves when all fits on the screen
    // and shows bold text.
    let line = format!(": \"${{LESS=FRX}}\"; export LESS; {pager}");
    let mut command = Command::new("sh");
    command.args(["-c", &line]).stdin(Stdio::piped());
    for name in vars::secrets() {
        command.env_remove(name);
    }
    let status = interrupt.handed_over(|started| {
        let mut child = command.spawn()?;
        started(child.id());
        if let Some(mut stdin) = child.stdin.take() {
            // A pager that is left early reads no further.
            let _ = stdin.write_all(text.as_bytes());
        }
        child.wait()
    })?;
    // 127 is the shell's "not found"; it has read nothing then.
    match status.code() {
        Some(126 | 127) => Err(io::ErrorKind::NotFound.into()),
        _ => Ok(()),
    }
}
