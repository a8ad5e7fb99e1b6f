//! Reading a blob through connections that break.
//!
//! A short read is not the end of a blob: the reader asks the registry again
//! for what is missing, and the reader never notices. Only an answer that
//! begins exactly where it should is taken (RFC 9110, 14.4); one that starts
//! over is skipped through, a few times at most, so that a server that ignores
//! ranges can't make the work quadratic.

use std::io::{self, Cursor, Read};
use std::ops::Range;

use ::http::header::{CONTENT_RANGE, RANGE};
use flate2::read::MultiGzDecoder;

use crate::digest::{Digest, Hasher, Verify};
use crate::error::{Error, NetworkKind, RequestLine, Result};
use crate::http::response::{Coding, unreadable};
use crate::http::retry::Budget;
use crate::http::status::refusal;
use crate::http::{Request, Response};
use crate::registry::Repository;
use crate::stream::{Buffer, read_bounded};

/// Compressed blobs of so many bytes are hashed to learn which form the digest is of.
pub(super) const SMALL: u64 = 1 << 20;
/// How often a server may send a blob from its start when asked for its rest.
const MAX_RESTARTS: u32 = 3;

/// The body of an answer, decoded where that is needed.
type Body = Box<dyn Read + Send>;

/// The bytes of a blob from some offset to its end, or to where a range ends.
pub struct Download {
    repository: Repository,
    digest: Digest,
    /// Size of the whole blob, once an answer named it.
    size: Option<u64>,
    /// The same, from an answer that was not compressed.
    plain: Option<u64>,
    /// The next byte to hand out.
    offset: u64,
    /// The first byte that is not wanted, where that is before the end.
    end: Option<u64>,
    body: Option<Body>,
    budget: Budget,
    restarts: u32,
    /// Whether the rest was refused, so that only the whole can be asked for.
    whole: bool,
    /// Whether nothing but the range asked for will do.
    strict: bool,
    line: RequestLine,
}

impl Download {
    /// Asks for the blob from `offset` on.
    pub fn open(repository: &Repository, digest: &Digest, offset: u64) -> Result<Download> {
        let mut download = Download::new(repository, digest, offset, None);
        if let Err(error) = download.ask() {
            download.recover(error)?;
        }
        Ok(download)
    }

    /// Asks for the bytes `range`; `None` when the answer is anything but
    /// these bytes: ranges are a server's choice (RFC 9110, 14.2).
    pub fn open_range(
        repository: &Repository,
        digest: &Digest,
        range: Range<u64>,
    ) -> Result<Option<Download>> {
        let mut download = Download::new(repository, digest, range.start, Some(range.end));
        download.strict = true;
        let asked = match download.ask() {
            Err(error) if error.is_temporary() => download.recover(error),
            asked => asked,
        };
        match asked {
            Ok(()) => {
                download.strict = false;
                Ok(Some(download))
            }
            Err(error) if error.is_corrupt() || error.status() == Some(416) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn new(repository: &Repository, digest: &Digest, offset: u64, end: Option<u64>) -> Download {
        let line = RequestLine {
            method: "GET".to_string(),
            url: repository.blob_url(digest).to_string(),
        };
        Download {
            repository: repository.clone(),
            digest: *digest,
            size: None,
            plain: None,
            offset,
            end,
            body: None,
            budget: Budget::new(),
            restarts: 0,
            whole: false,
            strict: false,
            line,
        }
    }

    /// Size of the whole blob, bytes, if the registry named it.
    pub fn size(&self) -> Option<u64> {
        self.size
    }

    fn ask(&mut self) -> Result<()> {
        let request = Request::new("GET", self.repository.blob_url(&self.digest));
        let request = match self.range() {
            Some(range) if !self.whole => request.header(RANGE, &range),
            _ => request,
        };
        let response = self
            .repository
            .attempt(&["pull"], &request, &[200, 206, 416])?;
        self.take(response)
    }

    /// The range to ask for; `None` for the whole.
    fn range(&self) -> Option<String> {
        match (self.offset, self.end) {
            (0, None) => None,
            (offset, None) => Some(format!("bytes={offset}-")),
            (offset, Some(end)) => Some(format!("bytes={offset}-{}", end.saturating_sub(1))),
        }
    }

    fn take(&mut self, response: Response) -> Result<()> {
        let coding = response.coding();
        if coding.is_some() && response.status == 200 && !self.strict {
            let small = response.content_length().filter(|size| *size <= SMALL);
            if let Some(size) = small {
                return self.take_small(response, size);
            }
        }
        let coded = coding.is_some() && self.is_coded(&response)?;
        match response.status {
            200 if coded && !self.strict && coding != Some(Coding::Gzip) => {
                Err(unreadable(answer_to(&response), coding))
            }
            200 | 206 if coded && self.strict => Err(wrong(&response, "a compressed part")),
            206 if coded && self.whole => Err(wrong(
                &response,
                "a compressed part, which was not requested",
            )),
            206 if coded => self.ask_for_all(response),
            206 if self.offset > 0 || self.end.is_some() => self.take_part(response),
            200 if self.strict => Err(wrong(&response, "the whole instead of a range")),
            416 if self.strict => Err(refusal(response)),
            200 => self.take_whole(response, coded),
            416 if self.offset > 0 && self.size.is_none_or(|size| size == self.offset) => {
                response.drain();
                self.size = Some(self.offset);
                self.body = None;
                Ok(())
            }
            // The rest exists, whatever this server has against being asked
            // for it.
            416 if self.offset > 0 && !self.whole => self.ask_for_all(response),
            416 => Err(refusal(response)),
            status => {
                let why = format!("status {status} for a range that was not requested");
                Err(wrong(&response, why))
            }
        }
    }

    /// Asks for the whole, where the answer to a range is of no use.
    fn ask_for_all(&mut self, response: Response) -> Result<()> {
        response.drain();
        self.whole = true;
        self.ask()
    }

    /// Takes the range that was asked for, and no other.
    fn take_part(&mut self, response: Response) -> Result<()> {
        let range = response.header(CONTENT_RANGE).and_then(content_range);
        let Some((start, last, total)) = range else {
            let why = "a partial answer without a readable Content-Range";
            return Err(wrong(&response, why));
        };
        if start != self.offset {
            let why = format!("asked for byte {}, got byte {start}", self.offset);
            return Err(wrong(&response, why));
        }
        if self.end.is_some_and(|end| last >= end) {
            let why = format!("it continues to byte {last}, which was not requested");
            return Err(wrong(&response, why));
        }
        self.learn_size(total)?;
        self.body = Some(Box::new(response.into_reader()));
        Ok(())
    }

    /// Takes all of the blob, of which a beginning may be known.
    fn take_whole(&mut self, response: Response, coded: bool) -> Result<()> {
        let mut body: Body = if coded {
            Box::new(MultiGzDecoder::new(response.into_reader()))
        } else {
            self.learn_size(response.content_length())?;
            Box::new(response.into_reader())
        };
        if self.offset > 0 {
            self.restarts += 1;
            if self.restarts > MAX_RESTARTS {
                return Err(Error::Network {
                    request: self.line.clone(),
                    kind: NetworkKind::Broken,
                    why: "the download was interrupted and cannot resume, because the server ignores Range".into(),
                });
            }
            skip(&mut body, self.offset)?;
        }
        self.body = Some(body);
        Ok(())
    }

    /// Takes a compressed answer of `size` bytes in the form that the digest
    /// names.
    fn take_small(&mut self, response: Response, size: u64) -> Result<()> {
        let mut body: Body = match small(response, size, &self.digest)? {
            Small::Plain(bytes) => {
                self.learn_size(Some(size))?;
                Box::new(Cursor::new(bytes))
            }
            Small::Coded(bytes) => Box::new(MultiGzDecoder::new(Cursor::new(bytes))),
        };
        skip(&mut body, self.offset)?;
        self.body = Some(body);
        Ok(())
    }

    /// Whether a compressed answer has to be decoded to be the blob: some servers
    /// compress whatever they send, others say so of blobs that are gzip by
    /// themselves. The size of the blob tells, and is asked for when it is not
    /// known.
    fn is_coded(&mut self, response: &Response) -> Result<bool> {
        if self.plain.is_none() {
            self.plain = self.repository.size_for(&["pull"], &self.digest)?;
        }
        let sent = response.content_length();
        let (told, span) = match response.status {
            206 => {
                let range = response.header(CONTENT_RANGE).and_then(content_range);
                let span = range.map(|(start, last, _)| last - start + 1);
                (range.and_then(|(_, _, total)| total), span)
            }
            _ => (sent, sent),
        };
        // A front may compress only the part, whose range then counts bytes of the blob.
        let coded = self.plain.is_some() && (self.plain != told || span != sent);
        if coded {
            self.learn_size(self.plain)?;
        }
        Ok(coded)
    }

    fn learn_size(&mut self, told: Option<u64>) -> Result<()> {
        match (self.size, told) {
            (Some(known), Some(told)) if known != told => Err(Error::Size {
                what: self.digest.to_string(),
                expected: known,
                actual: told,
            }),
            (None, told) => {
                self.size = told;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Waits and asks again, until there is a body or patience ends.
    fn recover(&mut self, mut error: Error) -> Result<()> {
        let repository = self.repository.clone();
        loop {
            self.budget.again(repository.registry().settings(), error)?;
            match self.ask() {
                Ok(()) => return Ok(()),
                Err(again) => error = again,
            }
        }
    }

    fn is_complete(&self) -> bool {
        // Where neither is known the end of the body has to be believed; the
        // digest decides.
        let end = self.end.into_iter().chain(self.size).min();
        end.is_none_or(|end| self.offset >= end)
    }

    /// Drops the body, read to its end where that is here, so that the
    /// connection can be used again.
    fn finish(&mut self) {
        if let Some(mut body) = self.body.take() {
            // Whatever comes is not wanted any more.
            let _ = body.read(&mut [0]);
        }
    }
}

impl Read for Download {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let wanted = self.end.map_or(u64::MAX, |end| end - self.offset);
        let most = buf.len().min(usize::try_from(wanted).unwrap_or(usize::MAX));
        let buf = &mut buf[..most];
        if buf.is_empty() {
            if wanted == 0 {
                self.finish();
            }
            return Ok(0);
        }
        loop {
            let Some(body) = &mut self.body else {
                return Ok(0);
            };
            let error = match body.read(buf) {
                Ok(0) if self.is_complete() => {
                    self.body = None;
                    // Without a length a stop looks like the end.
                    self.repository.registry().settings().stop.check()?;
                    return Ok(0);
                }
                Ok(0) => Error::Network {
                    request: self.line.clone(),
                    kind: NetworkKind::Cut,
                    why: "the connection was cut".to_string(),
                },
                Ok(n) => {
                    self.offset += n as u64;
                    self.budget.progress();
                    return Ok(n);
                }
                Err(error) => Error::from(error),
            };
            self.body = None;
            self.recover(error)?;
        }
    }
}

/// The bytes of a compressed answer, held against the digest.
enum Small {
    /// They are the blob: it is gzip by itself.
    Plain(Vec<u8>),
    /// The blob is in them.
    Coded(Vec<u8>),
}

fn small(response: Response, size: u64, digest: &Digest) -> Result<Small> {
    let (what, coding) = (answer_to(&response), response.coding());
    let bytes = read_bounded(&digest.to_string(), response.into_reader(), size)?;
    let mut hasher = Hasher::like(digest);
    hasher.update(&bytes);
    match (hasher.finish() == *digest, coding) {
        (true, _) => Ok(Small::Plain(bytes)),
        (false, Some(Coding::Gzip)) => Ok(Small::Coded(bytes)),
        (false, coding) => Err(unreadable(what, coding)),
    }
}

/// The size of the blob in a small compressed answer.
pub(super) fn small_size(response: Response, size: u64, digest: &Digest) -> Result<u64> {
    let bytes = match small(response, size, digest)? {
        Small::Plain(_) => return Ok(size),
        Small::Coded(bytes) => bytes,
    };
    let mut body = Verify::new(MultiGzDecoder::new(Cursor::new(bytes)), *digest, None);
    Ok(io::copy(&mut body, &mut io::sink())?)
}

/// What is wrong with an answer to a request for a blob.
fn wrong(response: &Response, why: impl std::fmt::Display) -> Error {
    Error::malformed(answer_to(response), why)
}

fn answer_to(response: &Response) -> String {
    format!("answer to GET {}", response.url)
}

/// `bytes 5-9/10` → first byte, last byte and total; the total may be unknown
/// (`*`).
fn content_range(value: &str) -> Option<(u64, u64, Option<u64>)> {
    let (range, total) = value.trim().strip_prefix("bytes")?.trim().split_once('/')?;
    let (start, end) = range.split_once('-')?;
    let (start, end): (u64, u64) = (start.trim().parse().ok()?, end.trim().parse().ok()?);
    let total = match total.trim() {
        "*" => None,
        number => Some(number.parse().ok()?),
    };
    (start <= end && total.is_none_or(|total| end < total)).then_some((start, end, total))
}

fn skip(body: &mut dyn Read, bytes: u64) -> Result<()> {
    let mut buffer = Buffer::new();
    let mut left = bytes;
    while left > 0 {
        let room = buffer
            .len()
            .min(usize::try_from(left).unwrap_or(usize::MAX));
        match body.read(&mut buffer[..room])? {
            0 => {
                return Err(Error::Size {
                    what: "the part already here".into(),
                    expected: bytes,
                    actual: bytes - left,
                });
            }
            n => left -= n as u64,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn ranges_are_read_strictly() {
        for (value, expected) in [
            ("bytes 5-9/10", Some((5, 9, Some(10)))),
            ("bytes 0-0/1", Some((0, 0, Some(1)))),
            ("bytes 5-9/*", Some((5, 9, None))),
            ("bytes 5-9/9", None),
            ("bytes 9-5/10", None),
            ("bytes */10", None),
            ("5-9/10", None),
            ("bytes 5-9", None),
            ("", None),
        ] {
            assert_eq!(content_range(value), expected, "{value}");
        }
    }

    proptest! {
        #[test]
        fn never_panics(value in "(bytes )?[0-9*/ -]{0,40}|\\PC{0,40}") {
            let _ = content_range(&value);
        }
    }
}
