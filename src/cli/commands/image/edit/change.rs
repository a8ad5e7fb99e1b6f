//! The changes of `edit-image`: as they are asked for, made ready once, and
//! made to each image.

use std::cell::RefCell;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use dxf_registry::graph::Select;
use dxf_registry::image::make::{Contents, FileOptions, Layer, LayerOptions, Pattern};
use dxf_registry::image::{Editor, Image, Node};
use dxf_registry::{Blob, Error, Place, Result};

use super::read;
use super::words::{self, Content};
use crate::cli::args::{self, EditImage, Step, Verb};
use crate::cli::exit::Failure;
use crate::cli::image::layer::{find, number};
use crate::cli::image::open;
use crate::cli::session::Session;

/// The permissions of a file that is made of text.
const TEXT_MODE: u32 = 0o644;

/// A change that was asked for.
pub enum Asked {
    /// A layer of files, folders and removals.
    Parts(Vec<Part>, Vec<Pattern>, FileOptions),
    /// A layer of a tar.
    Tar(PathBuf),
    /// What needs nothing of this machine.
    Ready(Box<Change>),
}

/// A part of a layer.
pub enum Part {
    /// A file or folder.
    Path(PathBuf, String),
    /// What a file holds.
    File(PathBuf, String),
    /// A file that is made of text.
    Text(String, Vec<u8>),
    /// A removal.
    Removal(String),
}

/// A change that can be made.
pub enum Change {
    /// A layer of files, folders and removals on top, and the last one that
    /// was made: the images of an index often get the same.
    Add(Contents, Box<RefCell<Option<(Contents, Layer)>>>),
    /// A layer of a tar on top.
    Append(Box<Layer>),
    /// A layer away: its number, the beginning of its digest, or `top`.
    RemoveLayer(String),
    /// One layer of all.
    Squash,
    /// Another base, by where the old and the new one are.
    Rebase(Box<[Place; 2]>),
    /// What an editor does by itself.
    Set(Box<dyn Fn(Editor) -> Editor>),
}

/// What `args` ask for, in their order. Neighbouring parts make one layer.
pub fn parse(s: &Session<'_, '_>, args: &EditImage) -> Result<Vec<Asked>, Failure> {
    let exclude = args.exclude.iter().map(|word| word.parse());
    let exclude = exclude.collect::<Result<Vec<Pattern>>>()?;
    let (owner, mode, mtime) = (&args.owner, &args.mode, &args.mtime);
    let options = words::options(owner.as_deref(), mode.as_deref(), mtime.as_deref())?;
    let mut all: Vec<Asked> = Vec::new();
    for step in &args.steps.0 {
        let Some(part) = part(step)? else {
            all.push(match step.verb {
                Verb::AddTar => Asked::Tar(step.word().into()),
                _ => Asked::Ready(Box::new(change(s, step)?)),
            });
            continue;
        };
        match all.last_mut() {
            Some(Asked::Parts(parts, ..)) => parts.push(part),
            _ => all.push(Asked::Parts(vec![part], exclude.clone(), options)),
        }
    }
    Ok(all)
}

/// What a step puts into a layer, if that is what it does.
fn part(step: &Step) -> Result<Option<Part>, Failure> {
    let word = step.word();
    Ok(Some(match step.verb {
        Verb::AddPath => {
            let (src, dest) = words::path(word)?;
            Part::Path(src, dest)
        }
        Verb::AddFile => match words::file(word)? {
            (dest, Content::File(path)) => Part::File(path, dest),
            (dest, Content::Text(text)) => Part::Text(dest, text),
        },
        Verb::RemovePath => Part::Removal(args::text(word)?.to_string()),
        _ => return Ok(None),
    }))
}

fn change(s: &Session<'_, '_>, step: &Step) -> Result<Change, Failure> {
    let word = args::text(step.word())?.to_string();
    Ok(match step.verb {
        Verb::RemoveLayer => Change::RemoveLayer(word),
        Verb::Squash => Change::Squash,
        Verb::Rebase => {
            let place = |word| open::source(s, word);
            let new = step.words.last().map(|word| word.as_os_str());
            Change::Rebase(Box::new([
                place(step.word())?,
                place(new.unwrap_or_default())?,
            ]))
        }
        Verb::Workdir => set(move |e| e.workdir(&word)),
        Verb::User => set(move |e| e.user(&word)),
        Verb::StopSignal => set(move |e| e.stop_signal(&word)),
        Verb::History => set(move |e| e.history(&word)),
        Verb::Created => {
            let time = args::time(&word)?;
            set(move |e| e.created(&time))
        }
        Verb::Entrypoint => {
            let words = words::command(&word)?;
            set(move |e| e.entrypoint(&words))
        }
        Verb::Cmd => {
            let words = words::command(&word)?;
            set(move |e| e.cmd(&words))
        }
        Verb::Expose | Verb::Volume => switch(step.verb, &word),
        _ => pair(step.verb, &word)?,
    })
}

fn set(change: impl Fn(Editor) -> Editor + 'static) -> Change {
    Change::Set(Box::new(change))
}

fn switch(verb: Verb, word: &str) -> Change {
    let (word, on) = words::switch(word);
    set(move |e| match (verb, on) {
        (Verb::Expose, true) => e.expose(&word),
        (Verb::Expose, false) => e.unexpose(&word),
        (_, true) => e.volume(&word),
        (_, false) => e.unset_volume(&word),
    })
}

fn pair(verb: Verb, word: &str) -> Result<Change, Failure> {
    let (name, value) = words::pair(&verb.option(), word)?;
    Ok(set(move |e| match (verb, &value) {
        (Verb::Env, Some(value)) => e.set_env(&name, value),
        (Verb::Env, None) => e.unset_env(&name),
        (Verb::Label, Some(value)) => e.set_label(&name, value),
        (Verb::Label, None) => e.unset_label(&name),
        (_, Some(value)) => e.set_annotation(&name, value),
        (_, None) => e.unset_annotation(&name),
    }))
}

impl Asked {
    /// Reads what it needs of this machine.
    pub fn make(self, options: LayerOptions<'_>) -> Result<Change> {
        let (parts, exclude, files) = match self {
            Asked::Ready(change) => return Ok(*change),
            Asked::Tar(path) => {
                return Ok(Change::Append(Box::new(Layer::from_tar(&path, options)?)));
            }
            Asked::Parts(parts, exclude, files) => (parts, exclude, files),
        };
        let mut layer = Contents::new(files);
        for part in parts {
            match part {
                Part::Path(src, dest) => layer.add_path(&src, &dest, &exclude)?,
                Part::File(src, dest) => layer.add_path(&followed(&src)?, &dest, &[])?,
                Part::Text(dest, text) => {
                    layer.add_file(&dest, text, files.mode.unwrap_or(TEXT_MODE))?
                }
                Part::Removal(path) => layer.remove(&path)?,
            };
        }
        Ok(Change::Add(layer, Box::default()))
    }
}

/// The file that links lead to; a folder has no content.
fn followed(path: &Path) -> Result<PathBuf> {
    let failed = |e| Error::io(path.display().to_string(), e);
    let path = path.canonicalize().map_err(failed)?;
    if path.is_dir() {
        return Err(failed(ErrorKind::IsADirectory.into()));
    }
    Ok(path)
}

impl Change {
    /// Makes the change to `image`, of which `editor` is.
    pub fn apply(
        &self,
        s: &Session<'_, '_>,
        image: &Image,
        editor: Editor,
        options: LayerOptions<'_>,
    ) -> Result<Editor, Failure> {
        Ok(match self {
            Change::Add(contents, last) => {
                let layers: Vec<Blob> = editor.layers().cloned().collect();
                let os = image.config()?.platform().os;
                let contents = contents.over(&os, &layers, options.run.watch)?;
                let made = last.take().filter(|(of, _)| *of == contents);
                let layer = match made {
                    Some((_, layer)) => layer,
                    None => Layer::from_contents(&contents, options)?,
                };
                last.replace(Some((contents, layer.clone())));
                editor.append(layer)
            }
            Change::Append(layer) => {
                if image.config()?.platform().os == "windows" {
                    layer.must_suit_windows(options.run.watch)?;
                }
                editor.append(Layer::clone(layer))
            }
            Change::Set(change) => change(editor),
            Change::Squash => editor.squash(options),
            Change::RemoveLayer(word) => remove(editor, word)?,
            Change::Rebase(bases) => {
                let [old, new] = &**bases;
                let (was, is) = (base(s, old, image)?, base(s, new, image)?);
                editor.rebase(&was, &is, Some(&new.to_string()))
            }
        })
    }
}

fn remove(editor: Editor, word: &str) -> Result<Editor> {
    if word == "top" {
        return Ok(editor.remove_top());
    }
    if let Some(number) = number(word) {
        return Ok(editor.remove(number));
    }
    let layers: Vec<&Blob> = editor.layers().collect();
    let digest = *find(&layers, word)?.digest();
    Ok(editor.remove_digest(&digest))
}

/// The image at `place` for the platform that `image` is for.
fn base(s: &Session<'_, '_>, place: &Place, image: &Image) -> Result<Image, Failure> {
    let platform = image.config()?.platform();
    let wanted = Select::Platform(&platform);
    let node = read(s, place, wanted)?;
    match node {
        Node::Image(image) => Ok(image),
        Node::Index(_) => Err(Error::Unsupported {
            what: format!("{place}: expected one image, found several"),
        }
        .into()),
    }
}
