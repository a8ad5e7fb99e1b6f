//! Standard error and standard output: one writes whole lines between bars,
//! the other notices a reader that went away.

use std::collections::HashSet;
use std::io::{self, BufWriter, ErrorKind, Write};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use dxf_registry::Error;
use dxf_registry::text::{head, one_line};
use indicatif::MultiProgress;

use crate::cli::exit::Failure;

/// The longest warning that is shown whole, characters: room for a list of twenty
/// digests, and not for whatever a server sends.
const MAX_WARNING: usize = 4000;

/// Standard error, shared by everything that has something to say.
#[derive(Clone)]
pub struct Console(Arc<Inner>);

struct Inner {
    stderr: Mutex<Box<dyn Write + Send>>,
    bars: OnceLock<MultiProgress>,
    said: Mutex<HashSet<String>>,
}

impl Console {
    /// Writes to `stderr`.
    pub fn new(stderr: Box<dyn Write + Send>) -> Console {
        Console(Arc::new(Inner {
            stderr: Mutex::new(stderr),
            bars: OnceLock::new(),
            said: Mutex::new(HashSet::new()),
        }))
    }

    /// Writes a line, made fit for a terminal; bars step aside for it.
    pub fn line(&self, line: &str) {
        self.raw(&one_line(line));
    }

    /// Writes text of this command, such as its usage, unchanged.
    pub fn raw(&self, words: &str) {
        let write = || {
            let mut stderr = lock(&self.0.stderr);
            // Where errors can't be written there is nowhere to say so.
            let _ = writeln!(stderr, "{words}").and_then(|()| stderr.flush());
        };
        match self.0.bars.get() {
            Some(bars) => bars.suspend(write),
            None => write(),
        }
    }

    /// Writes a warning the first time it comes up. Of one longer than any of this
    /// command's own, such as of a server, the beginning is shown.
    pub fn warn(&self, words: &str) {
        let words = one_line(&head(words, MAX_WARNING));
        if lock(&self.0.said).insert(words.clone()) {
            self.raw(&format!("dxf: warning: {words}"));
        }
    }

    /// The bars that lines have to step around from now on.
    pub fn bars(&self) -> &MultiProgress {
        self.0.bars.get_or_init(MultiProgress::new)
    }

    /// Takes unfinished bars off the screen, so that an error stands alone.
    pub fn clear(&self) {
        if let Some(bars) = self.0.bars.get() {
            // A terminal that can't be cleared can still be written to.
            let _ = bars.clear();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A half-written line is no reason to lose the next one.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Which streams are terminals.
#[derive(Debug, Clone, Copy, Default)]
pub struct Terminals {
    /// Standard input.
    pub stdin: bool,
    /// Standard output.
    pub stdout: bool,
    /// Standard error.
    pub stderr: bool,
    /// Whether standard output is a regular file of its own, as of `> FILE`;
    /// one that standard error goes to as well is a log.
    pub stdout_is_file: bool,
}

/// Standard output: buffered, every write checked.
pub struct Out<'a> {
    to: BufWriter<&'a mut (dyn Write + Send)>,
    eager: bool,
    gone: bool,
}

impl<'a> Out<'a> {
    /// Writes to `to`; on a terminal every line at once.
    pub fn new(to: &'a mut (dyn Write + Send), terminal: Terminals) -> Out<'a> {
        Out {
            to: BufWriter::with_capacity(64 << 10, to),
            eager: terminal.stdout,
            gone: false,
        }
    }

    /// Whether the reader went away (`dxf … | head`): no failure, but an end.
    pub fn is_gone(&self) -> bool {
        self.gone
    }

    fn note<T>(&mut self, result: io::Result<T>) -> io::Result<T> {
        self.gone |= matches!(&result, Err(e) if e.kind() == ErrorKind::BrokenPipe);
        result
    }
}

impl Write for Out<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.to.write(bytes);
        let n = self.note(written)?;
        if self.eager && bytes[..n].contains(&b'\n') {
            self.flush()?;
        }
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        let flushed = self.to.flush();
        self.note(flushed)
    }
}

/// Standard output that can't be written to.
pub fn stdout(error: io::Error) -> Failure {
    Failure::Error(Error::io("standard output", error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warnings_are_bounded_and_come_once() {
        #[derive(Clone, Default)]
        struct Kept(Arc<Mutex<Vec<u8>>>);
        impl Write for Kept {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                lock(&self.0).write(bytes)
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let kept = Kept::default();
        let console = Console::new(Box::new(kept.clone()));
        let digests = format!("sha256:{} ", "0".repeat(64)).repeat(20);
        console.warn(&format!("{digests}; and what to do"));
        console.warn(&format!("{digests}; and what to do"));
        console.warn(&"x".repeat(1 << 20));
        let said = String::from_utf8(lock(&kept.0).clone()).unwrap();
        let lines: Vec<&str> = said.lines().collect();
        assert_eq!(lines.len(), 2, "{said}");
        assert!(lines[0].ends_with("; and what to do"), "{said}");
        assert!(lines[1].ends_with("x…") && lines[1].len() < 4100);
    }

    struct Gone;
    impl Write for Gone {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_reader_that_left_is_noticed() {
        let mut gone = Gone;
        let mut out = Out::new(&mut gone, Terminals::default());
        assert!(out.write_all(b"x").is_ok() && !out.is_gone());
        assert!(out.flush().is_err() && out.is_gone());
        // What is still buffered would be tried again on drop.
        std::mem::forget(out);
    }

    #[test]
    fn a_terminal_sees_each_line() {
        let mut seen = Vec::new();
        let terminal = Terminals {
            stdout: true,
            ..Terminals::default()
        };
        let mut out = Out::new(&mut seen, terminal);
        out.write_all(b"one\ntw").unwrap();
        assert_eq!(out.to.buffer(), b"");
        out.write_all(b"o").unwrap();
        assert_eq!(out.to.buffer(), b"o");
    }
}
