//! `run-image`: from any store into Docker or podman, and run there.

use std::ffi::OsString;
use std::hash::{BuildHasher, RandomState};
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use dxf_registry::archive::Item;
use dxf_registry::{Error, Reference, Result};

use crate::cli::args::{self, Engine, RunImage};
use crate::cli::exit::Failure;
use crate::cli::image::engine::engine;
use crate::cli::image::item::names;
use crate::cli::image::open;
use crate::cli::image::platform::one_platform;
use crate::cli::image::read::items;
use crate::cli::out::console::Console;
use crate::cli::session::Session;

/// `run-image [options] <image> [cmd …]`
pub fn run(s: &mut Session<'_, '_>, args: &RunImage) -> Result<(), Failure> {
    let Some((word, words)) = args.words.split_first() else {
        return Err(args::usage("too few arguments"));
    };
    let place = open::to_read(s, word)?;
    let choice = one_platform(s, args.platform.as_deref())?;
    let engine = engine(args.engine)?;
    let item = only(items(s, &place, &choice, None)?)?;
    let load = |items: &[Item]| engine.load(s, items, &choice.platform).map(drop);
    let stay = match args.keep {
        true => Stay::Kept,
        false => Stay::Removed,
    };
    let guest = Guest::new(engine, item, stay, s.console, load)?;
    s.console.clear();
    let status = container(s, &guest, &args.engine_args, words)?;
    drop(guest);
    match code(status) {
        0 => Ok(()),
        code => Err(Failure::Ended(code)),
    }
}

fn only(items: Vec<Item>) -> Result<Item> {
    <[Item; 1]>::try_from(items)
        .map(|[item]| item)
        .map_err(|items| Error::Unsupported {
            what: format!("it contains several images: {}", names(&items)),
        })
}

/// What a shell makes of an end: the status, or 128 and the signal's number.
fn code(status: ExitStatus) -> u8 {
    let signal = || status.signal().map(|signal| signal + 128);
    let code = status.code().or_else(signal).unwrap_or(1);
    u8::try_from(code).unwrap_or(1)
}

/// An image in an engine, for the time it is run.
struct Guest<'a> {
    engine: Engine,
    /// What to run.
    name: String,
    /// Whether the name is ours, and goes with it.
    leaves: bool,
    console: &'a Console,
}

/// What becomes of an image in the engine after its container.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stay {
    Kept,
    Removed,
}

impl<'a> Guest<'a> {
    /// Has `load` put the image into the engine, unless the engine has it.
    ///
    /// One that is not to stay gets a unique name: whatever has its
    /// own name in the engine keeps that, and the same image under another name
    /// stays when ours is removed.
    fn new(
        engine: Engine,
        mut item: Item,
        stay: Stay,
        console: &'a Console,
        load: impl FnOnce(&[Item]) -> Result<()>,
    ) -> Result<Guest<'a>> {
        let there = |item: &Item| ids(item).find(|id| engine.has(id));
        let mut guest = Guest {
            engine,
            name: String::new(),
            leaves: false,
            console,
        };
        if stay == Stay::Kept {
            let items = [item];
            load(&items)?;
            let name = items[0].names.first().map(ToString::to_string);
            let found = name.or_else(|| there(&items[0]));
            guest.name = found.ok_or_else(|| Error::Unsupported {
                what: format!("{} cannot find the image that it loaded", engine.program()),
            })?;
        } else if let Some(id) = there(&item) {
            guest.name = id;
        } else {
            let name = format!("localhost/dxf-run:{:016x}", number());
            item.names = vec![name.parse::<Reference>()?];
            item.labels.clear();
            guest.name = name;
            guest.leaves = true;
            load(&[item])?;
        }
        Ok(guest)
    }
}

impl Drop for Guest<'_> {
    fn drop(&mut self) {
        // An engine that never took it has nothing to forget.
        if self.leaves && !self.engine.forget(&self.name) && self.engine.has(&self.name) {
            let (engine, name) = (self.engine.program(), &self.name);
            let words = format!("{engine} could not remove the image {name}");
            self.console.warn(&words);
        }
    }
}

/// A unique number. That of the process is the same in many containers
/// that share an engine.
fn number() -> u64 {
    RandomState::new().hash_one(std::process::id())
}

/// What an engine calls an image that has no name: by its config, or, where
/// containerd keeps the images, by its manifest.
fn ids(item: &Item) -> impl Iterator<Item = String> {
    let images = item.node.images();
    let config = images
        .first()
        .map(|(_, image)| *image.config_blob().digest());
    let digests = config.into_iter().chain([item.node.manifest().digest()]);
    digests.map(|digest| digest.hex())
}

/// Runs a container of the image to its end, with our own streams.
fn container(
    s: &Session<'_, '_>,
    guest: &Guest<'_>,
    options: &[OsString],
    words: &[OsString],
) -> Result<ExitStatus> {
    let mut command = guest.engine.command();
    command.args(["run", "--rm", "--interactive"]);
    if s.terminal.stdin && s.terminal.stdout {
        command.arg("--tty");
    }
    command.args(options).arg(&guest.name).args(words);
    let failed = |e| Error::io(format!("{} run", guest.engine.program()), e);
    s.interrupt.handed_over(|to| {
        // What was asked before this is not asked again.
        s.interrupt.stop().check()?;
        let mut child = command.spawn().map_err(failed)?;
        to(child.id());
        child.wait().map_err(failed)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_are_told_as_shells_tell_them() {
        let ended = |raw| code(ExitStatus::from_raw(raw));
        assert_eq!((ended(0), ended(7 << 8), ended(9)), (0, 7, 137));
    }
}
