//! Lists in files: a name a line, with comments.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use dxf_registry::stream::read_bounded;
use dxf_registry::{Error, Result};

use crate::cli::session::Session;

/// A line of a list, which is not empty.
#[derive(Debug, PartialEq, Eq)]
pub struct Line {
    /// What it says, without its comment.
    pub text: String,
    /// The file and the number of the line, for errors.
    pub place: String,
}

/// The lines of the list at `path`, or on standard input (`-`), of at most `limit`
/// bytes. A comment begins with a `#` at the start of a line or after a blank.
///
/// # Errors
/// [`Error::Io`]; [`Error::Malformed`] for a list that is too long or not UTF-8.
pub fn lines(s: &mut Session<'_, '_>, path: &Path, limit: u64) -> Result<Vec<Line>> {
    if path == Path::new("-") {
        let (what, stdin) = ("standard input", &mut *s.stdin);
        let waiting = || read_bounded(what, stdin, limit);
        let bytes = s.interrupt.waiting(waiting)?;
        return parsed(what, &bytes);
    }
    let what = path.display().to_string();
    let file = File::open(path).map_err(|e| Error::io(&what, e))?;
    let bytes = read_bounded(&what, file.take(limit + 1), limit)?;
    parsed(&what, &bytes)
}

fn parsed(what: &str, bytes: &[u8]) -> Result<Vec<Line>> {
    let bytes = bytes.strip_prefix("\u{feff}".as_bytes()).unwrap_or(bytes);
    let mut found = Vec::new();
    for (number, line) in (1..).zip(bytes.split(|byte| *byte == b'\n')) {
        let place = format!("{what}, line {number}");
        let line = std::str::from_utf8(line);
        let line = line.map_err(|_| Error::malformed(&place, "it is not UTF-8"))?;
        let text = without_comment(line).to_string();
        if !text.is_empty() {
            found.push(Line { text, place });
        }
    }
    Ok(found)
}

fn without_comment(line: &str) -> &str {
    let is_comment = |(at, _): &(usize, &str)| {
        let before = line[..*at].chars().next_back();
        before.is_none_or(char::is_whitespace)
    };
    let at = line.match_indices('#').find(is_comment);
    at.map_or(line, |(at, _)| &line[..at]).trim()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_end_lines() {
        for (line, text) in [
            ("app:1 # the app", "app:1"),
            ("# app:1", ""),
            ("\t#x", ""),
            ("./a#b.tar\t# c # d", "./a#b.tar"),
            (" app:1\r", "app:1"),
        ] {
            assert_eq!(without_comment(line), text);
        }
    }

    #[test]
    fn lines_are_counted_from_one() {
        let list = "\u{feff}# all\r\n\r\n  one # first\r\n\ttwo";
        let found = parsed("list", list.as_bytes()).unwrap();
        let found: Vec<_> = found.iter().map(|l| (&*l.text, &*l.place)).collect();
        assert_eq!(found, [("one", "list, line 3"), ("two", "list, line 4")]);
        assert_eq!(parsed("list", b"\xef\xbb\xbf").unwrap(), []);
        let error = parsed("list", b"one\n\xff\n").unwrap_err().to_string();
        assert!(error.contains("list, line 2"), "{error}");
    }
}
