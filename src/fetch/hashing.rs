//! One blob from a reader to a writer, hashed on a thread of its own: hashing
//! takes longer than a local wire or a disk.

use std::io::{self, Read};

use crate::error::{Error, Result};
use crate::fetch::Sink;
use crate::fetch::check::Check;
use crate::parallel::{Pipe, beside};
use crate::stream::Buffer;

/// A buffer, and how many of its bytes count.
type Filled = (Buffer, usize);

/// Brings what `from` yields to `to`, with so many `buffers` between reading and hashing,
/// or with one, and no thread for the hash; it belongs to the blob that `check` expects
/// now. [`Check::end_blob`] checks that it was all of it.
pub fn copy(
    check: &mut Check,
    from: &mut dyn Read,
    to: &mut Sink<'_>,
    buffers: usize,
) -> Result<()> {
    let mut first = Buffer::new();
    let n = fill(check, from, &mut first)?;
    // What fits one buffer is hashed before a thread would have begun.
    if buffers <= 1 || n < first.len() {
        return one_by_one(check, (first, n), from, to);
    }
    let pipes = Pipes {
        full: Pipe::new(buffers),
        free: Pipe::new(buffers),
    };
    let (full, free) = (&pipes.full, &pipes.free);
    for _ in 1..buffers {
        // There is room for all of them.
        let _ = free.send(Buffer::new());
    }
    let mut hashers = check.hashers().clone();
    let (hashers, moved) = beside(
        || {
            while let Some((buffer, n)) = full.receive() {
                let buffer: Buffer = buffer;
                hashers.update(&buffer[..n]);
                let _ = free.send(buffer);
            }
            hashers
        },
        || {
            let _end = full.closing();
            hand_over(check, (first, n), from, to, &pipes)
        },
    );
    *check.hashers() = hashers;
    moved
}

/// Hashes and writes each buffer before it reads the next.
fn one_by_one(
    check: &mut Check,
    first: Filled,
    from: &mut dyn Read,
    to: &mut Sink<'_>,
) -> Result<()> {
    let (mut buffer, mut n) = first;
    loop {
        check.hashers().update(&buffer[..n]);
        to.write(&buffer[..n])?;
        // A buffer that is not full had the end in it.
        if n < buffer.len() {
            return Ok(());
        }
        n = fill(check, from, &mut buffer)?;
    }
}

/// Between the thread that moves bytes and the one that hashes them.
struct Pipes {
    /// Buffers that are to be hashed.
    full: Pipe<Filled>,
    /// Buffers that were.
    free: Pipe<Buffer>,
}

fn hand_over(
    check: &mut Check,
    first: Filled,
    from: &mut dyn Read,
    to: &mut Sink<'_>,
    pipes: &Pipes,
) -> Result<()> {
    let (mut buffer, mut n) = first;
    while n > 0 {
        to.write(&buffer[..n])?;
        if pipes.full.send((buffer, n)).is_err() {
            break;
        }
        let Some(next) = pipes.free.receive() else {
            break;
        };
        buffer = next;
        n = fill(check, from, &mut buffer)?;
    }
    Ok(())
}

/// Reads until `buffer` is full or everything is read; refuses bytes beyond
/// the size.
fn fill(check: &mut Check, from: &mut dyn Read, buffer: &mut [u8]) -> Result<usize> {
    let n = read_full(from, buffer).map_err(|e| {
        let what = check.current().map(|item| item.wanted.digest.to_string());
        Error::io(what.unwrap_or_default(), e)
    })?;
    check.count(n)?;
    Ok(n)
}

/// Reads until `buffer` is full or everything is read.
pub fn read_full(from: &mut dyn Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut n = 0;
    while n < buffer.len() {
        match from.read(&mut buffer[n..]) {
            Ok(0) => break,
            Ok(more) => n += more,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(n)
}
