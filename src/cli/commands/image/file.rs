//! `get-file`: one file of an image.

use dxf_registry::image;

use crate::cli::args::{self, GetFile};
use crate::cli::exit::Failure;
use crate::cli::image::read::one;
use crate::cli::out::file::Output;
use crate::cli::session::Session;

/// What to do about a file that an artifact has as a layer of its own.
const HINT: &str = "pull-files --file NAME -o - writes a file of an artifact";

/// `get-file [-o FILE] <image> PATH`
pub fn run(s: &mut Session<'_, '_>, args: &GetFile) -> Result<(), Failure> {
    let path = args::text(&args.path.take(1, 1)?[0])?;
    let image = one(s, &args.look)?;
    let found = image::file(&image, path, s.watch()).map_err(|error| {
        match error.is_not_found() && !image.is_runnable() {
            true => Failure::Hinted(Box::new(error), HINT.to_string()),
            false => error.into(),
        }
    })?;
    let mut output = Output::open(args.output.as_deref(), s.interrupt)?;
    let (name, watch) = (output.name(), s.watch());
    found.copy_to(&name, output.writer(s.out), watch)?;
    Ok(output.commit()?)
}
