//! Container engines as programs: whether one answers, loading an image through
//! its own `load`, which is fed as the layers arrive, and what it has already.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use dxf_registry::archive::{self, Form, Item, Out, WriteOptions};
use dxf_registry::image::layer::{Compression, LayerType};
use dxf_registry::text::one_line;
use dxf_registry::{Error, Platform, Result};

use crate::cli::args::Engine;
use crate::cli::env::vars;
use crate::cli::image::item::images;
use crate::cli::session::Session;

/// How much of what an engine says is read.
const MOST_WORDS: u64 = 1 << 20;

impl Engine {
    /// What it is called.
    pub fn program(self) -> &'static str {
        match self {
            Engine::Docker => "docker",
            Engine::Podman => "podman",
        }
    }

    /// The program, to be run without the secrets of this one.
    pub fn command(self) -> Command {
        let mut command = Command::new(self.program());
        for name in vars::secrets() {
            command.env_remove(name);
        }
        command
    }

    /// Whether it can be asked to load something; else, why not.
    fn ready(self) -> Result<(), String> {
        let mut command = self.command();
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

    /// Pulls images into the engine; returns what it says of them.
    ///
    /// # Errors
    /// Those of the images' sources, [`Error::Unsupported`] in the engine's own
    /// words.
    pub fn load(self, s: &Session<'_, '_>, items: &[Item], platform: &Platform) -> Result<String> {
        if let Some(item) = items.iter().find(|item| !is_loadable(item)) {
            let digest = item.node.manifest().digest();
            let what = format!("{digest} is not an image that an engine can load");
            return Err(Error::Unsupported { what });
        }
        let settings = WriteOptions {
            form: form(self, items),
            platform: Some(platform),
            folder: &s.context.tmpdir,
        };
        feed(self, |to| {
            archive::write(items, Out::Stream(to), &settings, s.run())
        })
    }

    /// Whether it has the image of this id.
    pub fn has(self, id: &str) -> bool {
        self.quietly(&["image", "inspect", id])
    }

    /// Removes an image's name, and the image where it has no other; whether
    /// that was possible.
    pub fn forget(self, name: &str) -> bool {
        self.quietly(&["image", "rm", name])
    }

    fn quietly(self, args: &[&str]) -> bool {
        let mut command = self.command();
        command
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // Ctrl-C on the terminal must not reach it.
            .process_group(0);
        command.status().is_ok_and(|status| status.success())
    }
}

/// The engine asked for, or the first that answers.
///
/// # Errors
/// [`Error::Unsupported`] when none does, saying why of each.
pub fn engine(wanted: Option<Engine>) -> Result<Engine> {
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

/// Whether there is an image in it. What engines say of an alias of plain blobs
/// is about files of their own.
fn is_loadable(item: &Item) -> bool {
    let images = item.node.images();
    images.iter().any(|(_, image)| image.is_runnable())
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
    // Files rather than pipes: nothing reads them while the image is written.
    let (mut out, mut err) = (
        tempfile::tempfile().map_err(failed)?,
        tempfile::tempfile().map_err(failed)?,
    );
    let mut child = engine
        .command()
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
    one_line(last.unwrap_or("it failed without a message")).to_string()
}
