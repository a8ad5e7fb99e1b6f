//! A bundle as the command line names it.

use std::ffi::OsString;
use std::path::Path;

use dxf_registry::Result;
use dxf_registry::bundle::Bundle;

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
