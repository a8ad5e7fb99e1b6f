//! One run of a command: its settings, its streams, and the store it works on.

use std::cell::RefCell;
use std::ffi::OsString;
use std::io::{Read, Write};
use std::path::Path;
use std::sync::Arc;

use dxf_registry::alias::{self, ByPlatform, Run};
use dxf_registry::cache::{Cache, Hits};
use dxf_registry::credentials::Credentials;
use dxf_registry::http::OnLimit;
use dxf_registry::layout::{Layout, Layouts};
use dxf_registry::progress::Progress;
use dxf_registry::registry::{Registry, Settings};
use dxf_registry::store::valid_names;
use dxf_registry::stream::{Watch, read_bounded};
use dxf_registry::text::{escaped, one_line};
use dxf_registry::{
    Digest, Error, Host, Manifest, ReadStore, RepoName, Result, Root, Store, Target, json, manifest,
};
use serde_json::Value;

use crate::cli::args::Words;
use crate::cli::env::{Context, Shape, vars};
use crate::cli::exit::Failure;
use crate::cli::interrupt::Interrupt;
use crate::cli::out::console::{Console, Out, Terminals, stdout};
use crate::cli::out::label::Names;
use crate::cli::out::log::Logger;
use crate::cli::out::table::table;
use crate::cli::repos::Repos;

/// The rest of what a command is given.
pub struct Input<'a> {
    /// Standard input.
    pub stdin: &'a mut (dyn Read + Send),
    /// Which streams are terminals.
    pub terminal: Terminals,
    /// Standard error.
    pub console: &'a Console,
    /// How the run may be ended.
    pub interrupt: &'a Interrupt,
}

/// What every command is given.
pub struct Session<'s, 'o> {
    /// The settings.
    pub context: &'s Context,
    /// Those for the source of a copy, where it has its own.
    pub source: Option<Context>,
    /// Standard output.
    pub out: &'s mut Out<'o>,
    /// Standard error.
    pub console: &'s Console,
    /// Standard input.
    pub stdin: &'s mut (dyn Read + Send),
    /// Which streams are terminals.
    pub terminal: Terminals,
    /// How the run may be ended.
    pub interrupt: &'s Interrupt,
    /// The layers that come from the cache.
    pub hits: Hits,
    /// The blobs that progress calls by the names of their files.
    pub names: Names,
    /// What to do where a registry limits requests.
    pub on_limit: OnLimit,
    progress: &'s dyn Progress,
    odd: RefCell<Option<Error>>,
}

impl<'s, 'o> Session<'s, 'o> {
    /// A run with `context`.
    pub fn new(
        context: &'s Context,
        out: &'s mut Out<'o>,
        input: Input<'s>,
        progress: &'s dyn Progress,
    ) -> Session<'s, 'o> {
        Session {
            context,
            source: None,
            out,
            console: input.console,
            stdin: input.stdin,
            terminal: input.terminal,
            interrupt: input.interrupt,
            hits: Hits::default(),
            names: Names::default(),
            on_limit: OnLimit::default(),
            progress,
            odd: RefCell::default(),
        }
    }

    /// Standard input, to be read for longer than a call; nothing is left there.
    pub fn take_stdin(&mut self) -> &'s mut (dyn Read + Send) {
        // Of no size, so nothing is allocated.
        std::mem::replace(&mut self.stdin, Box::leak(Box::new(std::io::empty())))
    }

    /// The valid ones of the names that a store lists. What is wrong with another is
    /// noted.
    pub fn valid<T>(&self, names: impl Iterator<Item = Result<T>>) -> Result<Vec<T>> {
        let (valid, odd) = valid_names(names)?;
        self.note_odd(odd);
        Ok(valid)
    }

    /// Notes a name that is not valid, which a command that succeeds fails with in
    /// the end.
    pub fn note_odd(&self, odd: Option<Error>) {
        let mut noted = self.odd.borrow_mut();
        *noted = noted.take().or(odd);
    }

    /// How a command ends that succeeded.
    pub fn end(self) -> Result<(), Failure> {
        self.odd.into_inner().map_or(Ok(()), |odd| Err(odd.into()))
    }

    /// What transfers report to and obey.
    pub fn watch(&self) -> Watch<'s> {
        Watch::new(self.progress, self.interrupt.stop())
    }

    /// What works on several things at once.
    pub fn run(&self) -> Run<'s> {
        Run {
            jobs: self.context.settings.http.jobs,
            watch: self.watch(),
        }
    }

    /// Where `DXF_HOST` points.
    ///
    /// # Errors
    /// [`Failure::Unset`] where it is not set.
    pub fn root(&self) -> Result<&'s Root, Failure> {
        let root = self.context.root.as_ref();
        root.ok_or(Failure::Unset(vars::HOST.name))
    }

    /// How to talk to registries, heard by the log and obeying signals.
    pub fn settings(&self) -> Settings {
        self.settings_by(self.context)
    }

    fn settings_by(&self, context: &Context) -> Settings {
        let mut settings = context.settings.clone();
        settings.http.stop = self.interrupt.stop().clone();
        settings.http.on_limit = self.on_limit;
        settings.http.observer = Arc::new(Logger::new(
            self.console,
            self.context.log,
            self.context.show,
            self.interrupt,
        ));
        settings
    }

    /// The registry at `host`.
    pub fn registry(&self, host: &Host) -> Result<Registry> {
        self.registry_by(self.context, host)
    }

    /// The registry at `host`, as `context` wants it talked to.
    pub fn registry_by(&self, context: &Context, host: &Host) -> Result<Registry> {
        let credentials = self.credentials(context, host);
        context.connect(host, self.settings_by(context), credentials)
    }

    /// Who to be at `host`, as `context` says.
    pub fn credentials(&self, context: &Context, host: &Host) -> Credentials {
        let console = self.console.clone();
        context.credentials(host, move |text| console.warn(text))
    }

    /// The cache of blobs, where there is one.
    pub fn cache(&self) -> Option<Cache> {
        let folder = self.context.cache.as_ref()?;
        let cache = Cache::new(folder.join("blobs"));
        Some(cache.with_hits(self.hits.clone()))
    }

    /// The cache of manifests and configs of `DXF_HOST`; a folder needs none.
    pub fn documents(&self) -> Option<Cache> {
        match self.context.root {
            Some(Root::Folder(_)) => None,
            _ => self.cache(),
        }
    }

    /// The settings for the source of a copy.
    pub fn source(&self) -> &Context {
        self.source.as_ref().unwrap_or(self.context)
    }

    /// The repository that the first of `words` names in the store that
    /// `DXF_HOST` names, and the `least` to `most` words after it.
    ///
    /// # Errors
    /// As [`Words::repo`].
    pub fn repo<'w>(
        &self,
        words: &'w Words,
        least: usize,
        most: usize,
    ) -> Result<(RepoName, &'w [OsString]), Failure> {
        words.repo(self.context.root.as_ref(), least, most)
    }

    /// A repository of the store that `DXF_HOST` names.
    pub fn store(&self, repo: RepoName) -> Result<Box<dyn Store>, Failure> {
        Ok(self.repos()?.open(&repo))
    }

    /// All repositories of the store that `DXF_HOST` names.
    ///
    /// # Errors
    /// As [`Session::root`], and where the registry can't be set up.
    pub fn repos(&self) -> Result<Repos, Failure> {
        Ok(match self.root()? {
            Root::Registry(host) => Repos::Registry(self.registry(host)?),
            Root::Folder(folder) => Repos::Folder(self.folders(folder)),
        })
    }

    /// The repositories in a folder, which say when they wait for another
    /// writer, and wait no longer than the run.
    pub fn folders(&self, folder: &Path) -> Layouts {
        let console = self.console.clone();
        let stop = self.interrupt.stop().clone();
        Layouts::new(folder).with_notice(stop, move |text| console.warn(text))
    }

    /// The layout in a folder, which waits likewise.
    pub fn layout(&self, folder: &Path) -> Layout {
        let console = self.console.clone();
        let stop = self.interrupt.stop().clone();
        Layout::at(folder).with_notice(stop, move |text| console.warn(text))
    }

    /// What an alias names, for the platform asked for.
    pub fn resolve(&self, store: &dyn ReadStore, target: &Target) -> Result<ByPlatform<Manifest>> {
        alias::resolve(store, target, self.context.platform.as_ref(), self.run())
    }

    /// What each of `targets` names; without any, what the manifest on
    /// standard input does.
    pub fn manifests(
        &mut self,
        store: &dyn ReadStore,
        targets: &[Target],
    ) -> Result<Vec<ByPlatform<Manifest>>> {
        if targets.is_empty() {
            return Ok(vec![self.stdin_manifest(store)?]);
        }
        targets.iter().map(|t| self.resolve(store, t)).collect()
    }

    /// The manifest on standard input, for the platform asked for.
    pub fn stdin_manifest(&mut self, store: &dyn ReadStore) -> Result<ByPlatform<Manifest>> {
        if self.terminal.stdin {
            self.console.line(
                "dxf: reading a manifest from the terminal; give aliases or digests to name blobs",
            );
        }
        let stdin = &mut *self.stdin;
        let bytes = self
            .interrupt
            .waiting(|| read_bounded("standard input", stdin, manifest::MAX_SIZE))?;
        if bytes.is_empty() {
            let why = "standard input is empty; give a digest or an alias, or pipe a manifest";
            return Err(Error::malformed("manifest", why));
        }
        let manifest = Manifest::new(None, bytes)?;
        alias::expand(store, manifest, self.context.platform.as_ref(), self.run())
    }

    /// Writes bytes to standard output as they are.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.clear();
        self.out.write_all(bytes).map_err(stdout)
    }

    /// Writes a document to standard output unchanged; on a terminal without
    /// anything that it would obey, and with an end of its line, so that the shell's
    /// prompt begins a new one.
    pub fn document(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        if !self.terminal.stdout {
            return self.write(bytes);
        }
        self.write(escaped(&String::from_utf8_lossy(bytes)).as_bytes())?;
        match bytes.ends_with(b"\n") {
            true => Ok(()),
            false => self.write(b"\n"),
        }
    }

    /// Writes rows in columns to standard output, as [`table`] does.
    pub fn table<R: AsRef<[String]>>(
        &mut self,
        rows: impl IntoIterator<Item = R, IntoIter: Clone>,
        right: &[usize],
    ) -> Result<(), Failure> {
        self.clear();
        table(self.out, rows, right)
    }

    /// Removes bars from the screen that standard output is written to: they would
    /// stay above it.
    pub fn clear(&self) {
        if self.terminal.stdout {
            self.console.clear();
        }
    }

    /// Writes a line to standard output, made fit for a terminal.
    pub fn line(&mut self, line: impl std::fmt::Display) -> Result<(), Failure> {
        self.clear();
        writeln!(self.out, "{}", one_line(&line.to_string())).map_err(stdout)
    }

    /// Writes names that came from elsewhere, one a line or as a JSON list, as
    /// they arrive. One that is not a name is left out, and is the error in the end.
    pub fn names(&mut self, names: impl Iterator<Item = Result<String>>) -> Result<(), Failure> {
        let (mut lead, mut odd) = ("[", false);
        for name in names {
            let name = match name {
                Ok(name) => name,
                Err(error) if error.is_corrupt() => {
                    self.note_odd(Some(error));
                    odd = true;
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            match self.context.shape {
                Shape::Text => self.line(&name)?,
                Shape::Json => {
                    self.write(format!("{lead}{}", json::python(&name.into())).as_bytes())?
                }
            }
            lead = ", ";
        }
        match (self.context.shape, lead) {
            (Shape::Text, _) => {}
            (Shape::Json, "[") if !odd => self.line("[]")?,
            (Shape::Json, "[") => {}
            (Shape::Json, _) => self.line("]")?,
        }
        Ok(())
    }

    /// Writes what one platform says as `one` does, what several say as a line
    /// of JSON with a member for each.
    pub fn by_platform<T>(
        &mut self,
        found: ByPlatform<T>,
        value: impl Fn(&T) -> Value,
        one: impl FnOnce(&mut Self, T) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        match found {
            ByPlatform::One(found) => one(self, found),
            ByPlatform::Each(each) => {
                let members = each
                    .iter()
                    .map(|(name, found)| (name.clone(), value(found)));
                self.line(json::python(&Value::Object(members.collect())))
            }
        }
    }
}

/// The size of a blob that has to be there.
pub fn blob_size(store: &dyn ReadStore, digest: &Digest) -> Result<u64> {
    store.blob_size(digest)?.ok_or_else(|| Error::NotFound {
        what: format!("blob {digest} in {}", store.name()),
    })
}
