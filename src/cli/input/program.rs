//! A program whose standard output is stored.
//!
//! A pipe ends the same way whether the program before it succeeded or died.
//! This reader waits for the program at the end of its output, and fails
//! instead of ending where the program failed.

use std::ffi::OsString;
use std::io::{self, Read};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use dxf_registry::{Error, Result};
use rustix::process::{Pid, Signal, kill_process};

use crate::cli::env::vars;

/// How long a program may take to end once it was asked to.
const GRACE: Duration = Duration::from_secs(2);

/// A program that runs while its output is read.
pub struct Program {
    name: String,
    child: Child,
    out: ChildStdout,
}

impl Program {
    /// Starts the program that `words` name, with their rest as its arguments.
    /// It has this process' standard input and error, and none of its secrets.
    ///
    /// # Errors
    /// [`Error::Io`] naming the program; [`Error::Invalid`] without words.
    pub fn start(words: &[OsString]) -> Result<Program> {
        let [name, args @ ..] = words else {
            return Err(Error::invalid("command", "", "it names no program"));
        };
        let shown = name.display().to_string();
        let mut command = Command::new(name);
        command.args(args).stdout(Stdio::piped());
        for secret in vars::secrets() {
            command.env_remove(secret);
        }
        let mut child = command.spawn().map_err(|e| Error::io(&shown, e))?;
        // It was asked for above.
        let out = child.stdout.take();
        let out = out.ok_or_else(|| Error::other(format!("{shown} has no standard output")))?;
        Ok(Program {
            name: shown,
            child,
            out,
        })
    }

    /// What it is called.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What asks it to end, for a process that is about to.
    pub fn ending(&self) -> impl Fn() + Send + 'static {
        let id = self.child.id();
        move || ask(id)
    }
}

impl Read for Program {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.out.read(buffer)? {
            0 if !buffer.is_empty() => match self.child.wait()? {
                status if status.success() => Ok(0),
                status => Err(failed(&self.name, status).into()),
            },
            n => Ok(n),
        }
    }
}

impl Drop for Program {
    /// A reader that stops needs no program. One that has ended is left alone.
    fn drop(&mut self) {
        let begun = Instant::now();
        let mut asked = false;
        while let Ok(None) = self.child.try_wait() {
            if !asked {
                ask(self.child.id());
                asked = true;
            }
            if begun.elapsed() > GRACE {
                // Nothing can be done about one that can't be killed.
                let _ = self.child.kill().and_then(|()| self.child.wait());
                return;
            }
            sleep(Duration::from_millis(5));
        }
    }
}

/// Asks a process to end. One that has ended already needs no signal.
fn ask(id: u32) {
    let pid = i32::try_from(id).ok().and_then(Pid::from_raw);
    let _ = pid.map(|pid| kill_process(pid, Signal::TERM));
}

fn failed(name: &str, status: ExitStatus) -> Error {
    let how = match (status.code(), status.signal()) {
        (Some(code), _) => format!("exited with status {code}"),
        (None, Some(signal)) => format!("was ended by signal {signal}"),
        (None, None) => "failed".to_string(),
    };
    Error::other(format!("{name} {how}, so no alias was set"))
}
