//! A bundle as the command line names it.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

use dxf_registry::bundle::{Bundle, Incoming};
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
            let paths: Vec<&Path> = files.iter().map(Path::new).collect();
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
