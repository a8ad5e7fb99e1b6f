//! `get-layer`: one layer of an image.

use std::io::Read;

use dxf_registry::image::layer;
use dxf_registry::stream::{Buffer, copy};
use dxf_registry::{Blob, Result};

use crate::cli::args::{self, GetLayer};
use crate::cli::exit::Failure;
use crate::cli::image::layer::find;
use crate::cli::image::read::one;
use crate::cli::out::file::Output;
use crate::cli::session::Session;

/// `get-layer <image> N|digest-prefix`
pub fn run(s: &mut Session<'_, '_>, args: &GetLayer) -> Result<(), Failure> {
    let word = &args.layer.take(1, 1)?[0];
    let image = one(s, &args.look)?;
    let layers: Vec<&Blob> = image.layers().iter().collect();
    let blob = find(&layers, args::text(word)?)?;
    let mut output = Output::open(args.output.as_deref(), s.interrupt)?;
    let (name, watch) = (output.name(), s.watch());
    let what = blob.digest().to_string();
    watch.progress.start(blob.digest(), Some(blob.size()));
    let mut plain;
    let mut raw;
    let reader: &mut dyn Read = if args.uncompressed {
        plain = layer::open(blob, watch)?;
        &mut plain
    } else {
        raw = watch.reader(*blob.digest(), blob.verified()?);
        &mut raw
    };
    let copied = copy(reader, output.writer(s.out), &mut Buffer::new());
    copied.map_err(|e| e.naming(&what, &name))?;
    watch.progress.finish(blob.digest());
    Ok(output.commit()?)
}
