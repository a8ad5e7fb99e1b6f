//! `push-blob`: stores a file, standard input or the output of a program, as one
//! blob or in parts.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

use dxf_registry::artifact::{self, Input, Split};
use dxf_registry::stream::{Run, Watch};
use dxf_registry::{Blob, Error, RepoName, Result, Store, Tag, alias};

use crate::cli::args::{self, PushBlob};
use crate::cli::env;
use crate::cli::exit::Failure;
use crate::cli::input::{self, Program};
use crate::cli::interrupt::Interrupt;
use crate::cli::out::sum::Sum;
use crate::cli::out::{bars, size};
use crate::cli::session::Session;

/// What is to be stored.
enum Bytes<'w> {
    /// A file, or standard input where it is `-`.
    Word(&'w OsStr),
    /// The output of a program.
    Output(Program),
}

/// What is asked of the bytes besides storing them.
struct How {
    /// How to cut them, if at all.
    split: Option<Split>,
    /// How many there must be.
    least: u64,
    /// The name they get.
    tag: Option<Tag>,
}

impl How {
    fn asked(s: &Session<'_, '_>, args: &PushBlob, tag: Option<Tag>) -> Result<How, Failure> {
        let (split, least) = (asked(s, args)?, least(args)?);
        Ok(How { split, least, tag })
    }
}

/// `push-blob [--split SIZE|cdc[:AVG]] [--min-size SIZE] <repo> <file>|- [@alias]`,
/// or `<repo> @alias -- CMD …`
pub fn run(s: &mut Session<'_, '_>, args: &PushBlob) -> Result<(), Failure> {
    if runs(args) {
        return output(s, args);
    }
    names_an_alias(args)?;
    let words = args.words.and(&args.command);
    in_order(words.take(2, 3)?)?;
    let (repo, rest) = s.repo(&words, 1, 2)?;
    let tag = args::alias(rest.get(1))?;
    no_folder(&repo, &rest[0])?;
    no_alias(&repo, &rest[0])?;
    let how = How::asked(s, args, tag)?;
    let store = s.store(repo)?;
    put(s, &*store, Bytes::Word(&rest[0]), how)
}

/// Whether a program is to be run. Words after `--` are one only where a
/// repository and an alias come before it; else they are more of the same, such
/// as a file whose name begins with a dash.
fn runs(args: &PushBlob) -> bool {
    let alias = |word: &OsString| word.as_encoded_bytes().starts_with(b"@");
    !args.command.is_empty() && matches!(args.words.take(2, 2), Ok([_, name]) if alias(name))
}

/// Refuses a program without an alias, which would be taken for a file: a word
/// after `--` that begins with no dash needs no `--`.
fn names_an_alias(args: &PushBlob) -> Result<(), Failure> {
    let is_alias = |word: &OsString| word.as_encoded_bytes().starts_with(b"@");
    // A file may be followed by an alias, and by nothing else.
    if let (Ok([_, name]), Some(false)) =
        (args.words.take(2, 2), args.command.first().map(is_alias))
    {
        args::alias(Some(name))?;
    }
    let ([repo], Some(program)) = (args.words.take(1, 1).unwrap_or(&[]), args.command.first())
    else {
        return Ok(());
    };
    let missing = fs::metadata(program).err();
    let Some(error) = missing.filter(|_| !program.as_encoded_bytes().starts_with(b"-")) else {
        return Ok(());
    };
    let (repo, program) = (repo.display(), program.display().to_string());
    let hint =
        format!("to store what a program prints, write dxf push-blob {repo} @ALIAS -- {program}");
    Err(Failure::Hinted(Box::new(Error::io(program, error)), hint))
}

/// Stores what a program prints.
fn output(s: &mut Session<'_, '_>, args: &PushBlob) -> Result<(), Failure> {
    let (repo, rest) = s.repo(&args.words, 1, 1)?;
    let tag = args::alias(rest.first())?;
    let how = How::asked(s, args, tag)?;
    let store = s.store(repo)?;
    let program = Program::start(&args.command)?;
    let (interrupt, ending) = (s.interrupt, program.ending());
    interrupt.undoing(ending, || put(s, &*store, Bytes::Output(program), how))
}

/// Stores bytes, and names them.
fn put(
    s: &mut Session<'_, '_>,
    store: &dyn Store,
    bytes: Bytes<'_>,
    how: How,
) -> Result<(), Failure> {
    if let Some(split) = how.split {
        return in_parts(s, store, bytes, split, how);
    }
    let How { least, tag, .. } = how;
    let name = bytes.shown();
    let is_pipe = bytes.is_pipe();
    let blob = whole(s, bytes)?;
    enough(&name, blob.size(), least)?;
    match tag {
        Some(tag) => {
            let blobs = std::slice::from_ref(&blob);
            alias::push(store, &tag, blobs, s.context.format, s.run())?;
        }
        None => drop(store.put_blob(&blob, s.watch())?),
    }
    if is_pipe && blob.size() == 0 {
        warn_of_nothing(s, &name);
    }
    s.line(blob.digest())
}

/// All of the bytes as one blob.
fn whole(s: &mut Session<'_, '_>, bytes: Bytes<'_>) -> Result<Blob> {
    match bytes {
        Bytes::Word(word) => input::blob(s, word),
        Bytes::Output(mut program) => {
            let (name, folder) = (program.name().to_string(), &s.context.tmpdir);
            let spool = || Blob::spooled(&name, &mut program, folder, s.watch());
            s.interrupt.waiting(spool)
        }
    }
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
        "the arguments are in the wrong order; did you mean dxf push-blob {repo} {file}{rest}?"
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

/// Refuses an alias in place of a file: the `-` before it was forgotten.
fn no_alias(repo: &RepoName, word: &OsStr) -> Result<(), Failure> {
    let missing = fs::metadata(word).err();
    match missing.filter(|_| word.as_encoded_bytes().starts_with(b"@")) {
        None => Ok(()),
        Some(error) => {
            let word = word.display().to_string();
            let hint =
                format!("to store standard input, write - first: dxf push-blob {repo} - {word}");
            Err(Failure::Hinted(Box::new(Error::io(word, error)), hint))
        }
    }
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
fn enough(name: &str, size: u64, least: u64) -> Result<()> {
    if size >= least {
        return Ok(());
    }
    let what = format!("{name}: {size} bytes are fewer than --min-size; no alias was set");
    Err(Error::Unsupported { what })
}

/// Warns that standard input or a program gave nothing, which no backup means to.
fn warn_of_nothing(s: &Session<'_, '_>, name: &str) {
    s.console.warn(&format!(
        "{name} was empty: stored 0 bytes; --min-size 1 refuses that"
    ));
}

impl<'w> Bytes<'w> {
    /// Whether they come from standard input or a program.
    fn is_pipe(&self) -> bool {
        !matches!(self, Bytes::Word(word) if *word != "-")
    }

    /// What they are called.
    fn shown(&self) -> String {
        match self {
            Bytes::Word(word) if *word == "-" => "standard input".to_string(),
            Bytes::Word(word) => word.display().to_string(),
            Bytes::Output(program) => program.name().to_string(),
        }
    }

    /// The file that holds them, unless they can be read once only.
    fn path(&self) -> Result<Option<&'w Path>> {
        match *self {
            Bytes::Word(word) if word != "-" && !is_pipe(word)? => Ok(Some(Path::new(word))),
            _ => Ok(None),
        }
    }
}

/// Stores bytes in parts, and names the file they make.
fn in_parts(
    s: &mut Session<'_, '_>,
    store: &dyn Store,
    mut bytes: Bytes<'_>,
    split: Split,
    how: How,
) -> Result<(), Failure> {
    let (run, interrupt) = (s.run(), s.interrupt);
    let name = bytes.shown();
    let file = bytes.path()?.map(Input::file).transpose()?;
    let bar = bars::named(s.context.show, s.console, &name);
    let is_pipe = bytes.is_pipe();
    let whole = Sum::new(&*bar, file.as_ref().and_then(Input::size));
    let mut opened;
    let mut stream;
    let input = match file {
        Some(file) => file,
        None => {
            let from: &mut (dyn Read + Send) = match &mut bytes {
                Bytes::Output(program) => program,
                Bytes::Word(word) if *word == "-" => s.stdin,
                Bytes::Word(word) => {
                    let open = || File::open(word).map_err(|e| Error::io(&name, e));
                    opened = interrupt.waiting(open)?;
                    &mut opened
                }
            };
            stream = Patient {
                from,
                interrupt,
                whole: &whole,
            };
            Input::stream(&name, &mut stream, &s.context.tmpdir)
        }
    };
    let run = Run::new(run.jobs, Watch::new(&whole, interrupt.stop()));
    let pushed = artifact::push(store, input, split, run)?;
    let size = pushed.parts().size;
    enough(&name, size, how.least)?;
    if let Some(tag) = how.tag {
        pushed.tag(store, &tag, run)?;
    }
    whole.done();
    whole.show(&name, s.context.show, s.console);
    if is_pipe && size == 0 {
        warn_of_nothing(s, &name);
    }
    let parts = &pushed.parts().parts;
    parts.iter().try_for_each(|part| s.line(part.digest))
}

/// Whether what `word` names, a pipe or a device, can be read once only.
fn is_pipe(word: &OsStr) -> Result<bool> {
    let meta = fs::metadata(word).map_err(|e| Error::io(word.display().to_string(), e))?;
    Ok(!meta.is_file() && !meta.is_dir())
}

/// A stream that may take long: a signal ends the command at once
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
