//! The half of `push-blob` that stores a file in parts.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::path::Path;

use dxf_registry::artifact::{self, Input, Split};
use dxf_registry::stream::{Run, Watch};
use dxf_registry::{Error, Result, Store, Tag};

use super::args::{self, PushBlob};
use super::bars;
use super::context;
use super::exit::Failure;
use super::session::Session;
use super::whole::Whole;

/// How the file is to be cut, if it is.
pub fn asked(s: &Session<'_, '_>, args: &PushBlob) -> Result<Option<Split>, Failure> {
    let Some(text) = &args.split else {
        return Ok(s.context.split);
    };
    let wrong = |why| args::usage(format!("invalid --split {text:?}: {why}"));
    context::split(text).map(Some).map_err(wrong)
}

/// Stores the file that `word` names, or standard input, in parts.
pub fn push(
    s: &mut Session<'_, '_>,
    store: &dyn Store,
    (word, tag): (&OsStr, Option<Tag>),
    split: Split,
) -> Result<(), Failure> {
    let (jobs, interrupt) = (s.run().jobs, s.interrupt);
    let (name, folder) = (word.display().to_string(), &s.context.tmpdir);
    let mut pipe;
    let (name, input) = if word == "-" {
        let name = "standard input";
        (name, Input::stream(name, s.stdin, folder))
    } else if is_pipe(word)? {
        pipe = interrupt.waiting(|| File::open(word).map_err(|e| Error::io(&name, e)))?;
        (&*name, Input::stream(&name, &mut pipe, folder))
    } else {
        (&*name, Input::file(Path::new(word))?)
    };
    let bar = bars::named(s.context.show, s.console, name);
    let whole = Whole::new(&*bar, input.size());
    let run = Run::new(jobs, Watch::new(&whole, interrupt.stop()));
    let pushed = artifact::push(store, input, split, run)?;
    if let Some(tag) = tag {
        pushed.tag(store, &tag, run)?;
    }
    whole.done();
    let parts = &pushed.parts().parts;
    parts.iter().try_for_each(|part| s.line(part.digest))
}

/// Whether what `word` names, a pipe or a device, can be read once only.
fn is_pipe(word: &OsStr) -> Result<bool> {
    let meta = fs::metadata(word).map_err(|e| Error::io(word.display().to_string(), e))?;
    Ok(!meta.is_file() && !meta.is_dir())
}
