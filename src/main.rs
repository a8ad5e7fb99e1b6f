//! The `dxf` command: hands the process to [`cli::run`].

mod cli;

use std::fs::{File, Metadata};
use std::io::{self, IsTerminal, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::MetadataExt;
use std::panic::{self, AssertUnwindSafe};
use std::path::Path;
use std::process::ExitCode;

use cli::Streams;
use cli::interrupt::{self, Interrupt};
use cli::out::console::{Console, Terminals};

fn main() -> ExitCode {
    keep_memory_private();
    panic::set_hook(Box::new(report));
    let interrupt = Interrupt::default();
    interrupt::listen(&interrupt);
    let streams = Streams {
        variables: std::env::vars_os().map(|(name, _)| name).collect(),
        // Neither is locked: a prompt for a password has a lock of its own, and
        // an archive is streamed from a worker.
        stdin: &mut io::stdin(),
        stdout: &mut io::stdout(),
        console: Console::new(Box::new(io::stderr())),
        terminal: Terminals {
            stdin: io::stdin().is_terminal(),
            stdout: io::stdout().is_terminal(),
            stderr: io::stderr().is_terminal(),
            stdout_is_file: stdout_is_file(),
        },
    };
    let lookup = |name: &str| std::env::var_os(name);
    let run = AssertUnwindSafe(|| cli::run(std::env::args_os(), &lookup, streams, &interrupt));
    // The hook has said what there is to say; 101 means nothing to a script.
    ExitCode::from(panic::catch_unwind(run).unwrap_or(1))
}

/// Whether standard output is a regular file to which standard error does not
/// go. What the system can't tell counts as none.
fn stdout_is_file() -> bool {
    let meta = |fd: BorrowedFd<'_>| File::from(fd.try_clone_to_owned().ok()?).metadata().ok();
    let id = |meta: &Metadata| (meta.dev(), meta.ino());
    let (out, err) = (meta(io::stdout().as_fd()), meta(io::stderr().as_fd()));
    out.is_some_and(|out| out.is_file() && err.is_none_or(|err| id(&err) != id(&out)))
}

/// Keeps passwords and tokens out of core dumps, and other processes of the
/// user from reading them. Not by RLIMIT_CORE, which collectors of core dumps
/// don't heed (core(5)) and programs started from here would inherit.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn keep_memory_private() {
    use rustix::process::{DumpableBehavior, set_dumpable_behavior};
    // Where it can't be done, all else can be.
    let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
}

/// The same where there is nothing finer.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn keep_memory_private() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Core);
    limit.current = Some(0);
    // Where it can't be done, all else can be.
    let _ = setrlimit(Resource::Core, limit);
}

/// One line about a mistake in this program: where, and not with what, because
/// a message may contain private data.
fn report(info: &panic::PanicHookInfo<'_>) {
    let place = info.location().map(|at| {
        let file = Path::new(at.file()).file_name().unwrap_or_default();
        format!(" at {}:{}", file.display(), at.line())
    });
    let place = place.unwrap_or_default();
    // Where errors can't be written there is nowhere to say so.
    let _ = writeln!(io::stderr(), "dxf: internal error{place}; please report it");
}
