//! Runs a small program to its end, with a bound on its time and its answer.
//! It does not interpret the answer.

use std::io::{self, ErrorKind, Read, Write};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::{Duration, Instant};

use crate::bounds;
use crate::parallel;
use crate::stream::Stop;

/// The longest answer taken, bytes.
const LIMIT: u64 = bounds::HELPER_ANSWER;
/// How long to wait for the last words on stderr of a program that has ended:
/// a daemon that it started may keep the pipe open.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// What a program said.
pub(super) struct Output {
    /// How it ended.
    pub status: ExitStatus,
    /// All of its standard output.
    pub stdout: Vec<u8>,
    /// The beginning of its standard error.
    pub stderr: Vec<u8>,
}

/// Runs `command`, gives it `input`, and takes its answer. A program that is
/// not done within `timeout` is killed.
///
/// # Errors
/// Why it could not be started, or that it said too much or took too long.
pub(super) fn run(command: &mut Command, input: Vec<u8>, timeout: Duration) -> io::Result<Output> {
    let deadline = Instant::now() + timeout;
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let output = converse(&mut child, input, deadline);
    if output.is_err() {
        // Both fail only when it has ended by itself, which is as good.
        let _ = child.kill();
        let _ = child.wait();
    }
    output
}

fn converse(child: &mut Child, input: Vec<u8>, deadline: Instant) -> io::Result<Output> {
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let answer = in_background(move || {
        if let Some(mut stdin) = stdin {
            // A program that fails before it reads says why by itself.
            let _ = stdin.write_all(&input);
        }
        beginning(&mut stdout.ok_or(ErrorKind::BrokenPipe)?)
    });
    let complaint = in_background(move || {
        let mut stderr = stderr.ok_or(ErrorKind::BrokenPipe)?;
        let bytes = beginning(&mut stderr)?;
        // Closing the pipe would end a program that is only talkative.
        io::copy(&mut stderr, &mut io::sink())?;
        Ok(bytes)
    });
    let left = deadline.saturating_duration_since(Instant::now());
    let stdout = answer.recv_timeout(left).map_err(|_| too_late())??;
    if stdout.len() as u64 > LIMIT {
        let why = format!("its answer is longer than {LIMIT} bytes");
        return Err(io::Error::new(ErrorKind::InvalidData, why));
    }
    let status = wait(child, deadline)?;
    let stderr = match complaint.recv_timeout(LAST_WORDS) {
        Ok(Ok(bytes)) => bytes,
        _ => Vec::new(),
    };
    Ok(Output {
        status,
        stdout,
        stderr,
    })
}

fn beginning(from: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.take(LIMIT + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Reads on a detached thread: a grandchild can keep a pipe open
/// long after the program was killed, and must not keep us.
fn in_background(
    work: impl FnOnce() -> io::Result<Vec<u8>> + Send + 'static,
) -> Receiver<io::Result<Vec<u8>>> {
    let (send, receive) = sync_channel(1);
    // After the timeout the receiver is gone, so sending may fail.
    parallel::detached(move || drop(send.send(work())));
    receive
}

/// Waits for a program that has closed its output, so nearly always is done.
fn wait(child: &mut Child, deadline: Instant) -> io::Result<ExitStatus> {
    let pause = Stop::new();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        if Instant::now() >= deadline {
            return Err(too_late());
        }
        pause.wait(Duration::from_millis(2))?;
    }
}

fn too_late() -> io::Error {
    io::Error::new(ErrorKind::TimedOut, "it did not answer in time")
}
