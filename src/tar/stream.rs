//! A tar made of members while it is read.

use std::io::{self, Read};

use super::{Dialect, END, Entry, header, padding};
use crate::error::{Error, Result};

/// One member of a tar.
pub(crate) struct Member<'a> {
    /// What its header says.
    pub entry: Entry,
    /// As many bytes as that says, where it says any.
    pub content: Option<Box<dyn Read + Send + 'a>>,
}

/// A tar that is made while it is read.
pub(crate) struct Stream<'a, I> {
    members: I,
    dialect: Dialect,
    /// A header, padding or the end, and how much of it was read.
    block: io::Cursor<Vec<u8>>,
    content: Option<Content<'a>>,
    ended: bool,
}

struct Content<'a> {
    name: String,
    reader: Box<dyn Read + Send + 'a>,
    size: u64,
    left: u64,
}

impl<'a, I: Iterator<Item = Result<Member<'a>>>> Stream<'a, I> {
    /// The tar of `members`, in their order.
    pub fn new(members: I) -> Stream<'a, I> {
        Stream {
            members,
            dialect: Dialect::Pax,
            block: io::Cursor::default(),
            content: None,
            ended: false,
        }
    }

    /// The same with headers in another dialect.
    pub fn with_dialect(self, dialect: Dialect) -> Stream<'a, I> {
        Stream { dialect, ..self }
    }

    fn advance(&mut self) -> Result<()> {
        match self.members.next() {
            Some(member) => {
                let Member { entry, content } = member?;
                self.block = io::Cursor::new(header(&entry, self.dialect)?);
                self.content = Some(Content {
                    name: entry.name().into_owned(),
                    reader: content.unwrap_or_else(|| Box::new(io::empty())),
                    size: entry.size,
                    left: entry.size,
                });
            }
            None => {
                self.block = io::Cursor::new(END.to_vec());
                self.ended = true;
            }
        }
        Ok(())
    }
}

impl Content<'_> {
    /// A member of another length than its header says would make all that
    /// follows unreadable.
    fn read(&mut self, buf: &mut [u8]) -> Result<usize> {
        let failed = |e| Error::io(&self.name, e);
        let room = usize::try_from(self.left).unwrap_or(usize::MAX);
        if room == 0 {
            // Sources check themselves when they are asked for their end.
            return match self.reader.read(&mut [0]).map_err(failed)? {
                0 => Ok(0),
                _ => Err(self.wrong(self.size + 1)),
            };
        }
        let room = buf.len().min(room);
        match self.reader.read(&mut buf[..room]).map_err(failed)? {
            0 => Err(self.wrong(self.size - self.left)),
            n => {
                self.left -= n as u64;
                Ok(n)
            }
        }
    }

    fn wrong(&self, actual: u64) -> Error {
        Error::Size {
            what: self.name.clone(),
            expected: self.size,
            actual,
        }
    }
}

impl<'a, I: Iterator<Item = Result<Member<'a>>>> Read for Stream<'a, I> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        while !buf.is_empty() {
            let n = self.block.read(buf)?;
            if n > 0 {
                return Ok(n);
            }
            if let Some(content) = &mut self.content {
                let n = content.read(buf)?;
                if n > 0 {
                    return Ok(n);
                }
                self.block = io::Cursor::new(END[..padding(content.size)].to_vec());
                self.content = None;
            } else if self.ended {
                return Ok(0);
            } else {
                self.advance()?;
            }
        }
        Ok(0)
    }
}
