//! `load-image`: from any store into Docker or podman, through the engine's own
//! `load`, which is fed as the layers arrive.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::process::{Child, Command, Stdio};

use dxf_registry::archive::{self, Form, Item, Out, Settings};
use dxf_registry::image::layer::{Compression, LayerType};
use dxf_registry::text::one_line;
use dxf_registry::{Error, Result};

use super::Location;
use super::pull::{Choice, images, items, name};
use crate::cli::args::{self, Engine, LoadImage};
use crate::cli::exit::Failure;
use crate::cli::session::Session;

/// How much of what an engine says is read.
const MOST_WORDS: u64 = 1 << 20;

/// `load-image [options] <image>`
pub fn load(s: &mut Session<'_, '_>, args: &LoadImage) -> Result<(), Failure> {
    let word = args::text(&args.words.take(1, 1)?[0])?;
    let location = Location::parse(s, word)?;
    if args.platform.as_deref() == Some("all") {
        return Err(args::usage("an engine takes the image of one platform"));
    }
    let choice = Choice::new(s, args.platform.as_deref())?;
    let name = args.tag.as_deref().map(name).transpose()?;
    // Before anything is fetched: whether there is anybody to take it.
    let engine = engine(args.engine)?;
    let items = items(s, &location, &choice, name)?;
    let settings = Settings {
        form: form(engine, &items),
        platform: Some(&choice.platform),
        folder: &s.context.tmpdir,
    };
    let said = feed(engine, |to| {
        archive::write(&items, Out::Stream(to), &settings, s.run())
    })?;
    s.write(said.as_bytes())
}

impl Engine {
    fn program(self) -> &'static str {
        match self {
            Engine::Docker => "docker",
            Engine::Podman => "podman",
        }
    }

    /// Whether it can be asked to load something; else, why not.
    fn ready(self) -> Result<(), String> {
        let mut command = Command::new(self.program());
        match self {
            // The client alone loads nothing.
            Engine::Docker => command.args(["version", "--format", "{{.Server.Version}}"]),
            Engine::Podman => command.arg("--version"),
        };
        match command.stdin(Stdio::null()).output() {
            Ok(out) if out.status.success() => Ok(()),
            Ok(out) => Err(format!("{}: {}", self.program(), last_line(&out.stderr))),
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                Err(format!("{} is not installed", self.program()))
            }
            Err(e) => Err(format!("{}: {e}", self.program())),
        }
    }
}

/// The engine asked for, or the first that answers.
fn engine(wanted: Option<Engine>) -> Result<Engine> {
    let tried = match wanted {
        Some(engine) => vec![engine],
        None => vec![Engine::Docker, Engine::Podman],
    };
    let mut whys = Vec::new();
    for engine in tried {
        match engine.ready() {
            Ok(()) => return Ok(engine),
            Err(why) => whys.push(why),
        }
    }
    Err(Error::Unsupported {
        what: format!(
            "no container engine to load into: {}; pull-image needs none",
            whys.join("; ")
        ),
    })
}

/// Docker before 23 knows no zstd, and is older than any way to ask for it.
fn form(engine: Engine, items: &[Item]) -> Form {
    let zstd = images(items).flat_map(|image| image.layers()).any(|layer| {
        let kind = LayerType::parse(&layer.descriptor().media_type);
        kind.is_some_and(|kind| kind.compression == Compression::Zstd)
    });
    match engine {
        Engine::Docker if zstd => Form::Docker,
        _ => Form::Hybrid,
    }
}

/// Runs the engine's `load` on what `write` writes; returns what it printed.
fn feed(
    engine: Engine,
    write: impl FnOnce(&mut (dyn Write + Send)) -> Result<()>,
) -> Result<String> {
    let what = format!("{} load", engine.program());
    let failed = |e| Error::io(&what, e);
    // Files rather than pipes: nobody reads while the image is written.
    let (mut out, mut err) = (
        tempfile::tempfile().map_err(failed)?,
        tempfile::tempfile().map_err(failed)?,
    );
    let mut child = Command::new(engine.program())
        .arg("load")
        .stdin(Stdio::piped())
        .stdout(out.try_clone().map_err(failed)?)
        .stderr(err.try_clone().map_err(failed)?)
        .spawn()
        .map_err(failed)?;
    let written = write_to(&mut child, write);
    let status = child.wait().map_err(failed)?;
    let mut refused = || Error::Unsupported {
        what: format!("{what}: {}", last_line(&text(&mut err))),
    };
    match written {
        // An engine that gives up stops reading; its own words say why.
        Err(Error::Io { source, .. })
            if source.kind() == io::ErrorKind::BrokenPipe && !status.success() =>
        {
            Err(refused())
        }
        Err(error) => Err(error),
        Ok(()) if status.success() => Ok(String::from_utf8_lossy(&text(&mut out)).into_owned()),
        Ok(()) => Err(refused()),
    }
}

/// Writes everything and closes the pipe. What is cut off is refused by the
/// engine, which then cleans up after itself as it would not when killed.
fn write_to(
    child: &mut Child,
    write: impl FnOnce(&mut (dyn Write + Send)) -> Result<()>,
) -> Result<()> {
    match child.stdin.take() {
        Some(mut stdin) => write(&mut stdin),
        None => Ok(()),
    }
}

/// What was written to a file that a child has written to.
fn text(file: &mut File) -> Vec<u8> {
    let mut bytes = Vec::new();
    // Words that can't be read back are only words.
    let _ = file
        .rewind()
        .and_then(|()| file.take(MOST_WORDS).read_to_end(&mut bytes));
    bytes
}

/// The last line of what a program complained of.
fn last_line(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let last = text.lines().rev().find(|line| !line.trim().is_empty());
    one_line(last.unwrap_or("it failed and does not say why")).to_string()
}
