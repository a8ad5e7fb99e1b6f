//! A bundle as the command line names it.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use dxf_registry::bundle::{Bundle, Cut, Incoming};
use dxf_registry::{Error, Result};

use crate::cli::session::Session;

/// The bundle in these files, which are its parts where there are several, or
/// on standard input.
///
/// # Errors
/// As [`Bundle::open_parts`].
pub fn opened(s: &mut Session<'_, '_>, files: &[OsString]) -> Result<Bundle> {
    let (run, folder) = (s.run(), &s.context.tmpdir);
    match files {
        [file] if file == "-" => {
            let stdin = &mut *s.stdin;
            s.interrupt
                .waiting(|| Bundle::open_stream("standard input", stdin, folder, run))
        }
        files => {
            let paths: Vec<PathBuf> = files.iter().flat_map(|file| found(file)).collect();
            let paths: Vec<&Path> = paths.iter().map(PathBuf::as_path).collect();
            Bundle::open_parts(&paths, folder, run)
        }
    }
}

/// The bundle that arrives on standard input or a named pipe, if that is what
/// `files` names.
///
/// # Errors
/// As [`Incoming::open`].
pub fn incoming<'s>(s: &mut Session<'s, '_>, files: &[OsString]) -> Result<Option<Incoming<'s>>> {
    let [file] = files else { return Ok(None) };
    let (interrupt, run, folder) = (s.interrupt, s.run(), &s.context.tmpdir);
    let what = match file == "-" {
        true => "standard input".to_string(),
        false => Path::new(file).display().to_string(),
    };
    let is_pipe = || fs::metadata(file).is_ok_and(|meta| !meta.is_file() && !meta.is_dir());
    if file != "-" && !is_pipe() {
        return Ok(None);
    }
    // Opening a pipe waits for the other end.
    let incoming = interrupt.waiting(|| {
        let from: Box<dyn Read + Send + 's> = match file == "-" {
            true => Box::new(s.take_stdin()),
            false => Box::new(File::open(file).map_err(|e| Error::io(&what, e))?),
        };
        Incoming::open(&what, from, folder, run)
    })?;
    if let Some(why) = incoming.kept() {
        let folder = folder.display();
        let words = format!("{what} is stored in {folder} before it is loaded: {why}");
        s.console.warn(&words);
    }
    Ok(Some(incoming))
}

/// The file of this name or, if there is none, its parts: `NAME.001` and so on. A
/// part stands for itself alone, because parts may be loaded one after another.
pub fn found(name: &OsStr) -> Vec<PathBuf> {
    let path = PathBuf::from(name);
    let parts = match path.exists() {
        true => Vec::new(),
        false => parts_of(&path),
    };
    match parts.is_empty() {
        true => vec![path],
        false => parts,
    }
}

/// The files beside `path` that have the names of its parts, in order.
fn parts_of(path: &Path) -> Vec<PathBuf> {
    let folder = path.parent().filter(|folder| *folder != Path::new(""));
    let listed = folder.unwrap_or(Path::new(".")).read_dir();
    let names = listed.into_iter().flatten().flatten();
    let names = names.map(|entry| entry.file_name());
    let ours = names.filter(|name| base(name) == path.file_name());
    let mut parts: Vec<PathBuf> = ours.map(|name| path.with_file_name(name)).collect();
    parts.sort();
    parts
}

/// `NAME` of `NAME.001`.
pub fn base(file: &OsStr) -> Option<&OsStr> {
    let file = Path::new(file);
    let number = file.extension()?.to_str()?;
    let is_part = number.len() == 3 && number.bytes().all(|byte| byte.is_ascii_digit());
    file.file_stem().filter(|_| is_part)
}

/// `part 2`, `parts 2 and 3`, `parts 1 and 3 to 5`.
pub fn numbered(numbers: &[usize]) -> String {
    let mut ranges: Vec<(usize, usize)> = Vec::new();
    for &number in numbers {
        match ranges.last_mut().filter(|(_, last)| last + 1 == number) {
            Some((_, last)) => *last = number,
            None => ranges.push((number, number)),
        }
    }
    let ranges = ranges.iter().flat_map(|&(first, last)| match last - first {
        0 => vec![first.to_string()],
        1 => vec![first.to_string(), last.to_string()],
        _ => vec![format!("{first} to {last}")],
    });
    let what = if numbers.len() == 1 { "part" } else { "parts" };
    format!("{what} {}", series(ranges.collect()))
}

/// `part 2 is`, `parts 2 and 3 are`.
pub fn is_or_are(numbers: &[usize]) -> String {
    let verb = if numbers.len() == 1 { "is" } else { "are" };
    format!("{} {verb}", numbered(numbers))
}

/// `a`, `a and b`, `a, b and c`.
fn series(mut words: Vec<String>) -> String {
    match (words.pop(), words.is_empty()) {
        (Some(last), false) => format!("{} and {last}", words.join(", ")),
        (last, _) => last.unwrap_or_default(),
    }
}

/// Which parts have to be loaded together: `parts 2 to 5 in one command`.
pub fn together(cuts: &[Cut]) -> String {
    let mut groups: Vec<&[usize]> = cuts.iter().map(|cut| cut.parts.as_slice()).collect();
    groups.sort_unstable();
    let groups = groups.iter();
    series(
        groups
            .map(|parts| format!("{} in one command", numbered(parts)))
            .collect(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_parts_are_read_aloud() {
        for (numbers, words) in [
            (&[2][..], "part 2"),
            (&[2, 3], "parts 2 and 3"),
            (&[2, 3, 4, 5], "parts 2 to 5"),
            (&[1, 3, 4, 5], "parts 1 and 3 to 5"),
            (&[1, 3, 5], "parts 1, 3 and 5"),
        ] {
            assert_eq!(numbered(numbers), words);
        }
    }

    #[test]
    fn a_name_stands_for_its_parts() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        for name in [
            "b.002",
            "b.001",
            "b.tar.001",
            "b.0001",
            "b.x01",
            "c",
            "c.001",
        ] {
            std::fs::write(at(name), "").unwrap();
        }
        let found = |name: &str| found(at(name).as_os_str());
        assert_eq!(found("b"), [at("b.001"), at("b.002")]);
        assert_eq!(found("b.001"), [at("b.001")]);
        assert_eq!(found("c"), [at("c")]);
        assert_eq!(found("gone"), [at("gone")]);
    }
}
