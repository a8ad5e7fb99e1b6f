//! `push-blob`: stores a file or standard input, as one blob or in parts.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

use dxf_registry::artifact::{self, Input, Split};
use dxf_registry::stream::{Run, Watch};
use dxf_registry::{Error, RepoName, Result, Store, Tag, alias};

use crate::cli::args::{self, PushBlob};
use crate::cli::exit::Failure;
use crate::cli::interrupt::Interrupt;
use crate::cli::out::sum::Sum;
use crate::cli::out::{bars, size};
use crate::cli::session::Session;
use crate::cli::{env, input};

/// `push-blob [--split SIZE|cdc[:AVG]] [--min-size SIZE] <repo> <file>|- [@alias]`
pub fn run(s: &mut Session<'_, '_>, args: &PushBlob) -> Result<(), Failure> {
    in_order(args.words.take(2, 3)?)?;
    let (repo, rest) = s.repo(&args.words, 1, 2)?;
    let tag = args::alias(rest.get(1))?;
    no_folder(&repo, &rest[0])?;
    let split = asked(s, args)?;
    let least = least(args)?;
    let store = s.store(repo)?;
    if let Some(split) = split {
        return in_parts(s, &*store, (&rest[0], tag), (split, least));
    }
    let blob = input::blob(s, &rest[0])?;
    enough(&rest[0], blob.size(), least)?;
    match tag {
        Some(tag) => {
            let blobs = std::slice::from_ref(&blob);
            alias::push(&*store, &tag, blobs, s.context.format, s.run())?;
        }
        None => drop(store.put_blob(&blob, s.watch())?),
    }
    s.line(blob.digest())
}

/// Refuses a file and a repository in the wrong order.
fn in_order(words: &[OsString]) -> Result<(), Failure> {
    let [file, repo, rest @ ..] = words else {
        return Ok(());
    };
    let is_repo = repo
        .to_str()
        .is_some_and(|word| args::repo(word, None).is_ok());
    if !is_repo || !Path::new(file).is_file() || Path::new(repo).exists() {
        return Ok(());
    }
    let rest: String = rest
        .iter()
        .map(|word| format!(" {}", word.display()))
        .collect();
    let (file, repo) = (file.display(), repo.display());
    Err(args::usage(format!(
        "the arguments are the other way round; did you mean dxf push-blob {repo} {file}{rest}?"
    )))
}

/// Refuses a folder, and says how to store one.
fn no_folder(repo: &RepoName, word: &OsStr) -> Result<()> {
    if !Path::new(word).is_dir() {
        return Ok(());
    }
    let folder = word.display();
    let what = format!(
        "{folder}: a folder, not a regular file; try dxf push-files {repo} ALIAS {folder}, \
         or tar -c {folder} | dxf push-blob {repo} - @ALIAS"
    );
    Err(Error::Unsupported { what })
}

/// How the file is to be cut, if it is.
fn asked(s: &Session<'_, '_>, args: &PushBlob) -> Result<Option<Split>, Failure> {
    let Some(text) = &args.split else {
        return Ok(s.context.split);
    };
    let wrong = |why| args::usage(format!("invalid --split {text:?}: {why}"));
    env::split(text).map(Some).map_err(wrong)
}

/// The least number of bytes to store.
fn least(args: &PushBlob) -> Result<u64, Failure> {
    let Some(text) = &args.min_size else {
        return Ok(0);
    };
    let wrong = |why| args::usage(format!("invalid --min-size {text:?}: {why}"));
    size::parse(text).map_err(wrong)
}

/// Refuses what is shorter than it should be: a program that fails ends a pipe
/// as one that succeeds does, only sooner.
fn enough(word: &OsStr, size: u64, least: u64) -> Result<()> {
    if size >= least {
        return Ok(());
    }
    let what = format!(
        "{}: {size} bytes are fewer than --min-size; no alias was set",
        shown(word)
    );
    Err(Error::Unsupported { what })
}

/// What the input is called.
fn shown(word: &OsStr) -> String {
    match word == "-" {
        true => "standard input".to_string(),
        false => word.display().to_string(),
    }
}

/// Stores the file that `word` names, or standard input, in parts.
fn in_parts(
    s: &mut Session<'_, '_>,
    store: &dyn Store,
    (word, tag): (&OsStr, Option<Tag>),
    (split, least): (Split, u64),
) -> Result<(), Failure> {
    let (jobs, interrupt) = (s.run().jobs, s.interrupt);
    let is_stdin = word == "-";
    let name = shown(word);
    let is_file = !is_stdin && !is_pipe(word)?;
    let file = is_file.then(|| Input::file(Path::new(word))).transpose()?;
    let bar = bars::named(s.context.show, s.console, &name);
    let whole = Sum::new(&*bar, file.as_ref().and_then(Input::size));
    let mut opened;
    let mut stream;
    let input = match file {
        Some(file) => file,
        None => {
            let from: &mut (dyn Read + Send) = if is_stdin {
                s.stdin
            } else {
                let open = || File::open(word).map_err(|e| Error::io(&name, e));
                opened = interrupt.waiting(open)?;
                &mut opened
            };
            stream = Patient {
                from,
                interrupt,
                whole: &whole,
            };
            Input::stream(&name, &mut stream, &s.context.tmpdir)
        }
    };
    let run = Run::new(jobs, Watch::new(&whole, interrupt.stop()));
    let pushed = artifact::push(store, input, split, run)?;
    enough(word, pushed.parts().size, least)?;
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

/// A stream from somebody who may take long: a signal ends the command at once
/// while nothing is on its way. What is, is cancelled first.
struct Patient<'a> {
    from: &'a mut (dyn Read + Send),
    interrupt: &'a Interrupt,
    whole: &'a Sum<'a>,
}

impl Read for Patient<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.whole.is_quiet() {
            self.interrupt.waiting(|| self.from.read(buffer))
        } else {
            self.from.read(buffer)
        }
    }
}
