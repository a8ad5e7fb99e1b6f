//! `export-image`: the merged file system of an image, as a tar or a folder.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use dxf_registry::file::AsideFolder;
use dxf_registry::image::RootFs;
use dxf_registry::{Error, Result};

use crate::cli::args::{self, ExportImage};
use crate::cli::exit::Failure;
use crate::cli::image::read::one;
use crate::cli::session::Session;

/// Names of files that were left out that a warning shows.
const MAX_NAMED: usize = 3;

/// `export-image <image> [DIR|-]`
pub fn run(s: &mut Session<'_, '_>, args: &ExportImage) -> Result<(), Failure> {
    let target = args.target.take(0, 1)?.first().filter(|word| *word != "-");
    if target.is_none() && s.terminal.stdout {
        return Err(args::usage(
            "name a folder, or send standard output to a file or program",
        ));
    }
    if let Some(target) = target {
        must_be_free(Path::new(target))?;
    }
    let image = one(s, &args.look)?;
    if !image.is_runnable() {
        let what = "an artifact with no file system; pull-files writes its files".into();
        return Err(Error::Unsupported { what }.into());
    }
    let files = RootFs::of(&image, &s.context.tmpdir, s.run())?;
    match target {
        Some(target) => folder(s, files, Path::new(target)),
        None => Ok(files.write_tar("standard output", s.out, s.interrupt.stop())?),
    }
}

/// # Errors
/// For a file, and for a folder with something in it.
fn must_be_free(target: &Path) -> Result<()> {
    let what = target.display().to_string();
    match fs::read_dir(target) {
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
        Err(e) => Err(Error::io(what, e)),
        Ok(mut entries) => match entries.next() {
            None => Ok(()),
            Some(_) => {
                let what = format!("{what} exists and is not empty");
                Err(Error::Unsupported { what })
            }
        },
    }
}

/// The folder appears when everything is in it.
fn folder(s: &Session<'_, '_>, files: RootFs, target: &Path) -> Result<(), Failure> {
    let failed = |e| Error::io(target.display().to_string(), e);
    let made = s.interrupt.litter(|| AsideFolder::beside(target));
    let (aside, _litter) = made.map_err(failed)?;
    let skipped = files.write_folder(&aside.path(), s.interrupt.stop())?;
    s.interrupt.stop().check()?;
    aside.commit().map_err(failed)?;
    if !skipped.is_empty() {
        let some = skipped
            .iter()
            .take(MAX_NAMED)
            .cloned()
            .collect::<Vec<_>>()
            .join(", ");
        let more = if skipped.len() > MAX_NAMED {
            ", …"
        } else {
            ""
        };
        let count = skipped.len();
        s.console.warn(&format!(
            "skipped {count} devices, pipes or sockets: {some}{more}; the tar contains them (export-image … -)"
        ));
    }
    Ok(())
}
