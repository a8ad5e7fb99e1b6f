//! A file that is read on one thread while another one writes it: who reads waits
//! for the bytes, who writes can wait for the reader.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// How far a file has come that is being written.
#[derive(Default)]
pub struct Growth {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// Bytes written so far.
    len: u64,
    /// Bytes that were read.
    read: u64,
    /// Whether bytes were taken back that had been read.
    cut: bool,
    /// Whether it is read no more.
    left: bool,
    /// Whether the writer waits for the reader no more.
    over: bool,
    /// What became of the file, once nothing more is written.
    end: Option<End>,
}

#[derive(Clone, Copy)]
enum End {
    Complete,
    Failed,
}

/// Ends the growth when it is dropped: however the writer ends, by a panic too,
/// the reader does not wait for ever.
pub struct Ending<'a>(&'a Growth);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.fail();
    }
}

impl Growth {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reports how many bytes are written; fewer than before if some were wrong.
    pub fn reach(&self, len: u64) {
        let mut state = self.lock();
        state.cut |= len < state.read;
        state.len = len;
        self.changed.notify_all();
    }

    /// Reports that all bytes are written and verified.
    pub fn complete(&self) {
        self.lock().end = Some(End::Complete);
        self.changed.notify_all();
    }

    /// Ends all waiting: no more bytes come, unless the file is complete.
    pub fn fail(&self) {
        let mut state = self.lock();
        state.end = state.end.or(Some(End::Failed));
        state.over = true;
        self.changed.notify_all();
    }

    /// Says that the file is read no more.
    pub fn leave(&self) {
        self.lock().left = true;
        self.changed.notify_all();
    }

    /// Whether the file is read no more.
    pub fn is_left(&self) -> bool {
        self.lock().left
    }

    /// Waits until the file is read no more, or [`Growth::fail`].
    pub fn wait_left(&self) {
        let read_on = |state: &mut State| !state.left && !state.over;
        let waited = self.changed.wait_while(self.lock(), read_on);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }

    /// Calls [`Growth::fail`] when it is dropped, however the writer ends.
    pub fn ending(&self) -> Ending<'_> {
        Ending(self)
    }

    /// Whether a reader was given bytes that were taken back.
    pub fn was_cut(&self) -> bool {
        self.lock().cut
    }

    /// A reader of `file` from offset `at`, which waits for bytes that are still to
    /// come.
    pub fn follower<'a>(&'a self, file: &'a File, at: u64) -> Follower<'a> {
        let growth = self;
        Follower { file, growth, at }
    }

    /// Waits until there is more than `at` bytes, and says how much more; 0 at the
    /// end.
    fn beyond(&self, at: u64) -> io::Result<u64> {
        let mut state = self.lock();
        loop {
            match state.end {
                // Anything after that is read for nothing.
                _ if state.cut && state.end.is_none() => return Err(failed()),
                _ if state.len > at => return Ok(state.len - at),
                Some(End::Complete) => return Ok(0),
                Some(End::Failed) => return Err(failed()),
                None => {}
            }
            let waited = self.changed.wait(state);
            state = waited.unwrap_or_else(PoisonError::into_inner);
        }
    }
}

fn failed() -> io::Error {
    io::Error::other("the file was not completed")
}

/// See [`Growth::follower`].
pub struct Follower<'a> {
    file: &'a File,
    growth: &'a Growth,
    at: u64,
}

impl Read for Follower<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let there = self.growth.beyond(self.at)?;
        let room = usize::try_from(there).unwrap_or(usize::MAX).min(buf.len());
        let n = self.file.read_at(&mut buf[..room], self.at)?;
        self.at += n as u64;
        let mut state = self.growth.lock();
        state.read = state.read.max(self.at);
        state.cut |= self.at > state.len;
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parallel::beside;
    use std::io::Write;

    fn read_all(file: &File, growth: &Growth) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        growth.follower(file, 0).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    #[test]
    fn a_reader_waits_for_what_comes_and_ends_with_it() {
        let (file, growth) = (tempfile::tempfile().unwrap(), Growth::default());
        let (read, ()) = beside(
            || read_all(&file, &growth),
            || {
                let _end = growth.ending();
                for (i, part) in [&b"one "[..], b"two ", b"three"].iter().enumerate() {
                    (&file).write_all(part).unwrap();
                    growth.reach((i as u64 + 1) * 4 + u64::from(i == 2));
                }
                growth.complete();
            },
        );
        assert_eq!(read.unwrap(), b"one two three");
        assert!(!growth.was_cut());
    }

    #[test]
    fn a_writer_that_fails_or_takes_bytes_back_ends_the_reader() {
        let (file, growth) = (tempfile::tempfile().unwrap(), Growth::default());
        (&file).write_all(b"wrong").unwrap();
        growth.reach(5);
        drop(growth.ending());
        assert!(read_all(&file, &growth).is_err());

        let growth = Growth::default();
        growth.reach(5);
        let mut follower = growth.follower(&file, 0);
        assert_eq!(follower.read(&mut [0; 5]).unwrap(), 5);
        growth.reach(0);
        assert!(growth.was_cut());
        assert!(follower.read(&mut [0; 5]).is_err());
        // From the beginning, after the right bytes have been written.
        file.write_all_at(b"right", 0).unwrap();
        growth.reach(5);
        growth.complete();
        assert_eq!(read_all(&file, &growth).unwrap(), b"right");
    }
    #[test]
    fn a_writer_waits_for_its_reader_unless_all_ends() {
        let (file, growth) = (tempfile::tempfile().unwrap(), Growth::default());
        (&file).write_all(b"abc").unwrap();
        let (text, ()) = beside(
            || {
                let mut text = Vec::new();
                growth.follower(&file, 1).read_to_end(&mut text).unwrap();
                growth.leave();
                text
            },
            || {
                growth.reach(3);
                growth.complete();
                growth.wait_left();
            },
        );
        assert_eq!((text.as_slice(), growth.is_left()), (&b"bc"[..], true));
        let growth = Growth::default();
        growth.complete();
        growth.fail();
        growth.wait_left();
        assert!(!growth.is_left());
    }
}
