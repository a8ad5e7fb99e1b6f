//! `get-file`: one file of an image.

use std::path::Path;

use dxf_registry::cache::Cache;
use dxf_registry::file::AsideFolder;
use dxf_registry::image::{self, Image};
use dxf_registry::{Error, Result};

use crate::cli::args::{self, GetFile};
use crate::cli::exit::Failure;
use crate::cli::image::open;
use crate::cli::image::read::one;
use crate::cli::out::file::Output;
use crate::cli::session::Session;

/// What to do about a file that an artifact has as a layer of its own.
const HINT: &str = "pull-files --file NAME -o - writes a file of an artifact";

/// `get-file [-o FILE] <image> PATH`
pub fn run(s: &mut Session<'_, '_>, args: &GetFile) -> Result<(), Failure> {
    let path = args::text(&args.path.take(1, 1)?[0])?;
    let mut image = one(s, &args.look)?;
    let place = open::to_read(s, &args.look.words.take(1, 1)?[0])?;
    // A layer is read to find the file, and again to write it.
    let is_far = s.context.cache.is_none() && place.host().is_some();
    let meanwhile = is_far.then(|| {
        let folder = &s.context.tmpdir;
        let made = s
            .interrupt
            .litter(|| AsideFolder::beside(&folder.join("get-file")));
        made.map_err(|e| Error::io(folder.display().to_string(), e))
    });
    let meanwhile = meanwhile.transpose()?;
    if let Some((folder, _)) = &meanwhile {
        image = kept(&image, &folder.path())?;
    }
    let found = image::file(&image, path, s.watch()).map_err(|error| {
        match error.is_not_found() && !image.is_runnable() {
            true => Failure::Hinted(Box::new(error), HINT.to_string()),
            false => error.into(),
        }
    })?;
    let mut output = Output::open_as(args.output.as_deref(), found.entry.mode, s.interrupt)?;
    let (name, watch) = (output.name(), s.watch());
    found.copy_to(&name, output.writer(s.out), watch)?;
    Ok(output.commit()?)
}

/// The same image, of which each layer is kept in `folder` once it was read.
fn kept(image: &Image, folder: &Path) -> Result<Image> {
    let cache = Cache::new(folder);
    let layers = image.layers().iter().cloned();
    let layers = layers.map(|layer| cache.wrap(layer)).collect();
    Image::new(
        image.manifest().clone(),
        image.config_blob().clone(),
        layers,
    )
}
