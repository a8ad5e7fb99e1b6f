//! The `dxf` command: hands the process to [`cli::run`].

mod cli;

use std::io::{self, IsTerminal, Write};
use std::panic::{self, AssertUnwindSafe};
use std::path::Path;
use std::process::ExitCode;

use cli::console::Console;
use cli::interrupt::{self, Interrupt};
use cli::{Streams, Terminals};

fn main() -> ExitCode {
    panic::set_hook(Box::new(report));
    let interrupt = Interrupt::default();
    interrupt::listen(&interrupt);
    let streams = Streams {
        stdin: &mut io::stdin(),
        stdout: &mut io::stdout(),
        console: Console::new(Box::new(io::stderr())),
        terminal: Terminals {
            stdin: io::stdin().is_terminal(),
            stdout: io::stdout().is_terminal(),
            stderr: io::stderr().is_terminal(),
        },
    };
    let lookup = |name: &str| std::env::var_os(name);
    let run = AssertUnwindSafe(|| cli::run(std::env::args_os(), &lookup, streams, &interrupt));
    // The hook has said what there is to say; 101 means nothing to a script.
    ExitCode::from(panic::catch_unwind(run).unwrap_or(1))
}

/// One line about a mistake in this program: where, and not with what, because
/// a message may hold somebody's data.
fn report(info: &panic::PanicHookInfo<'_>) {
    let place = info.location().map(|at| {
        let file = Path::new(at.file()).file_name().unwrap_or_default();
        format!(" at {}:{}", file.display(), at.line())
    });
    let place = place.unwrap_or_default();
    // Where errors can't be written there is nowhere to say so.
    let _ = writeln!(io::stderr(), "dxf: internal error{place}; please report it");
}
