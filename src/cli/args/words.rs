//! The arguments of each command that are no options: their names, what they
//! are for, and what a shell completes them with. Help, usage, manual pages
//! and completions come from here.

use std::ffi::OsString;
use std::marker::PhantomData;
use std::ops::Deref;

use clap::builder::{PossibleValuesParser, Resettable};
use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches, ValueHint, value_parser};

use super::Words;
use crate::cli::manual::TOPICS;

/// An argument that is not an option.
#[derive(Clone, Copy)]
pub struct Positional {
    id: &'static str,
    name: &'static str,
    help: &'static str,
    hint: ValueHint,
    count: Count,
    /// The words to choose from; empty where there are too many.
    values: &'static [&'static str],
}

/// How often an argument is written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Count {
    One,
    AtMostOne,
    Several,
    Any,
}

/// The arguments of a command, in order.
pub trait Positionals {
    /// The arguments.
    const ALL: &'static [Positional];
}

/// The words of a command whose arguments are `P`.
pub struct Named<P> {
    words: Words,
    of: PhantomData<P>,
}

impl<P> Deref for Named<P> {
    type Target = Words;

    fn deref(&self) -> &Words {
        &self.words
    }
}

impl<P: Positionals> Args for Named<P> {
    fn augment_args(command: Command) -> Command {
        command.args(P::ALL.iter().map(Positional::arg))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Named::<P>::augment_args(command)
    }
}

impl<P: Positionals> FromArgMatches for Named<P> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Named<P>, clap::Error> {
        let words = P::ALL.iter().filter_map(|one| matches.get_raw(one.id));
        let words = words.flatten().map(OsString::from).collect();
        Ok(Named {
            words: Words { words },
            of: PhantomData,
        })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Named::from_arg_matches(matches)?;
        Ok(())
    }
}

/// The arguments of a command, described to clap only when the command is the one
/// that was written: describing all of them took most of the time that dxf needs
/// to start.
pub struct Later<T>(T);

impl<T> Deref for Later<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T: Args> Later<T> {
    /// `command` with its arguments; what it says of itself stays.
    fn describe(command: Command) -> Command {
        let about = Resettable::from(command.get_about().cloned());
        let long = Resettable::from(command.get_long_about().cloned());
        T::augment_args(command).about(about).long_about(long)
    }
}

impl<T: Args> Args for Later<T> {
    fn augment_args(command: Command) -> Command {
        command.defer(Later::<T>::describe)
    }

    fn augment_args_for_update(command: Command) -> Command {
        T::augment_args_for_update(command)
    }
}

impl<T: FromArgMatches> FromArgMatches for Later<T> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Later<T>, clap::Error> {
        T::from_arg_matches(matches).map(Later)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        self.0.update_from_arg_matches(matches)
    }
}

impl Positional {
    const fn new(name: &'static str, help: &'static str) -> Positional {
        Positional {
            id: name,
            name,
            help,
            // No files are offered for a name that is none's.
            hint: ValueHint::Other,
            count: Count::One,
            values: &[],
        }
    }

    const fn hint(self, hint: ValueHint) -> Positional {
        Positional { hint, ..self }
    }

    const fn count(self, count: Count) -> Positional {
        Positional { count, ..self }
    }

    const fn values(self, values: &'static [&'static str]) -> Positional {
        Positional { values, ..self }
    }

    /// Told apart from another argument of the same name.
    const fn id(self, id: &'static str, help: &'static str) -> Positional {
        Positional { id, help, ..self }
    }

    fn arg(&self) -> Arg {
        let arg = Arg::new(self.id).value_name(self.name).help(self.help);
        let arg = arg.value_hint(self.hint);
        let arg = match self.values {
            [] => arg.value_parser(value_parser!(OsString)),
            values => arg
                .value_parser(PossibleValuesParser::new(values))
                .ignore_case(true),
        };
        match self.count {
            Count::One => arg.required(true),
            Count::AtMostOne => arg,
            Count::Several => arg.required(true).num_args(1..).action(ArgAction::Append),
            Count::Any => arg.num_args(1..).action(ArgAction::Append),
        }
    }
}

const REPO: Positional = Positional::new("repo", "Repository, such as team/app");
const MAYBE_REPO: Positional = REPO.count(Count::AtMostOne);
const REPOS: Positional = REPO.count(Count::Any);
const FROM_REPO: Positional = Positional::new("from-repo", "Repository that has the blob");
const DIGEST: Positional = Positional::new("digest", "Digest of the blob, such as sha256:…");
/// Not required by clap, because all words may follow a `--`.
const REPO_FIRST: Positional = REPO.count(Count::AtMostOne);
const FILE: Positional = Positional::new("file", "File to store, or - for standard input")
    .hint(ValueHint::FilePath)
    .count(Count::AtMostOne);
const TAG: Positional =
    Positional::new("@alias", "Alias to name the blob with").count(Count::AtMostOne);
const BLOBS: Positional =
    Positional::new("digest|@alias", "Blobs, by digest or alias").count(Count::Any);
const ALIAS: Positional = Positional::new("alias", "Alias to set");
const MEMBERS: Positional = Positional::new(
    "digest|file",
    "Digests, or files (written with a /) of the same content",
)
.hint(ValueHint::FilePath)
.count(Count::Several);
const ALIASES: Positional =
    Positional::new("alias", "Aliases, or digests of manifests").count(Count::Any);
const GLOBS: Positional = Positional::new(
    "GLOB",
    "With --long or another option: print only matching aliases (*, ?, [a-z])",
)
.count(Count::Any);
const ACTIONS: Positional =
    Positional::new("action", "Actions to request: pull, push, delete or *").count(Count::Any);
const IMAGE: Positional = Positional::new(
    "image",
    "Image: [host/]repository[:tag][@digest], oci:FOLDER[:tag], oci-archive:FILE[:tag], \
     docker-archive:FILE[:name], or a path",
)
.hint(ValueHint::AnyPath);
const FROM: Positional = IMAGE.id("from", "Image to read");
const SCRATCH: Positional =
    Positional::new("image|scratch", "Image to change, or an empty one").hint(ValueHint::AnyPath);
const TO: Positional = IMAGE.id("to", "Where to put it");
const SYNC_FROM: Positional = Positional::new(
    "SRC",
    "What to copy: HOST, HOST/PREFIX/, HOST/REPOSITORY or oci:FOLDER",
)
.hint(ValueHint::Other);
const SYNC_TO: Positional =
    Positional::new("DST", "Where to copy it, written in the same way").hint(ValueHint::Other);
const TARGET: Positional = Positional::new(
    "FILE|DIR|-",
    "Where to write (default: a file named after the repository)",
)
.hint(ValueHint::AnyPath)
.count(Count::AtMostOne);
const ARCHIVE: Positional = Positional::new(
    "FILE|DIR|-",
    "Archive, folder with an OCI layout, or standard input",
)
.hint(ValueHint::AnyPath);
const TAGS: Positional = Positional::new("tag", "Tags to set").count(Count::Several);
const IN_IMAGE: Positional = Positional::new("PATH", "File in the image, such as /etc/os-release");
const EXPORT: Positional = Positional::new(
    "DIR|-",
    "Folder to make, or - to write a tar to standard output (default: -)",
)
.hint(ValueHint::DirPath)
.count(Count::AtMostOne);
const FIRST: Positional = IMAGE.id("first", "Image to compare with");
const SECOND: Positional = IMAGE.id("second", "Image to compare");
const LAYER: Positional = Positional::new(
    "number|digest",
    "Layer, by number from 0 or by the start of its digest",
);
const ACTION: Positional = Positional::new(
    "size|prune",
    "Print the size of the cache, or delete from it",
)
.values(&["size", "prune"]);
const HOST: Positional =
    Positional::new("host", "Registry, as host or host:port").count(Count::AtMostOne);
const SHELL: Positional =
    Positional::new("shell", "Shell").values(&["bash", "elvish", "fish", "powershell", "zsh"]);
const TOPIC: Positional = Positional::new("topic", "Page of the manual, or a command")
    .values(TOPICS)
    .count(Count::AtMostOne);
const FOLDER: Positional = Positional::new("folder", "Folder to write to").hint(ValueHint::DirPath);

const PATHS: Positional = Positional::new(
    "PATH[:TYPE]",
    "Files and folders, optionally with a media type after a colon, or - for standard input",
)
.hint(ValueHint::AnyPath)
.count(Count::Any);
const MANIFEST: Positional = Positional::new("alias|digest", "Alias, or digest of a manifest");
/// Not required, because an image's name has it.
const IN_REPO: Positional = MANIFEST.count(Count::AtMostOne);
const MANIFEST_FILE: Positional =
    Positional::new("FILE|-", "File with the manifest, or - for standard input")
        .hint(ValueHint::FilePath);
const REFERRER: Positional = Positional::new("digest", "Digest of the artifact to delete");
const INDEX: Positional =
    Positional::new("index", "Where to put the index").hint(ValueHint::AnyPath);
const BUNDLE: Positional = Positional::new("FILE|-", "Bundle to write, or - for standard output")
    .hint(ValueHint::FilePath);
const SAVED: Positional = IMAGE.id("saved", "Images to save").count(Count::Any);
const BUNDLES: Positional = Positional::new("FILE|-", "Bundle, or - for standard input")
    .hint(ValueHint::FilePath)
    .count(Count::Several);
const LOADED: Positional = Positional::new(
    "FILE|-",
    "Bundle or its parts, or - for standard input. The last argument may be where to load it: \
     HOST/PREFIX or oci:FOLDER (DXF_HOST)",
)
.hint(ValueHint::AnyPath)
.count(Count::Several);
const IMAGES: Positional = IMAGE
    .id("images", "Images and artifacts to list")
    .count(Count::Any);

macro_rules! words {
    ($($(#[doc = $doc:literal])* $name:ident [$($one:ident),*])*) => { $(
        $(#[doc = $doc])*
        pub struct $name;

        impl Positionals for $name {
            const ALL: &'static [Positional] = &[$($one),*];
        }
    )* };
}

words! {
    /// No arguments.
    Nothing []
    /// A repository, if any.
    MaybeRepo [MAYBE_REPO]
    /// Repositories, if any.
    Repos [REPOS]
    /// A repository, and patterns of aliases if any.
    RepoGlobs [REPO, GLOBS]
    /// A repository, a file and perhaps an alias.
    RepoFile [REPO_FIRST, FILE, TAG]
    /// A repository, and blobs if any.
    RepoBlobs [REPO, BLOBS]
    /// A repository, another one, and a blob to take from that.
    RepoMount [REPO, FROM_REPO, DIGEST, TAG]
    /// A repository, an alias and what it is to name.
    RepoMembers [REPO, ALIAS, MEMBERS]
    /// A repository, and aliases if any.
    RepoAliases [REPO, ALIASES]
    /// A repository, an alias, and files to put there.
    RepoFiles [REPO, ALIAS, PATHS]
    /// A repository, and a manifest in it; or both in one word.
    RepoManifest [REPO, IN_REPO]
    /// A repository, and what is to be done there.
    RepoActions [REPO, ACTIONS]
    /// An image.
    Image [IMAGE]
    /// A repository, a name, and a file with a manifest.
    RepoManifestFile [REPO, MANIFEST, MANIFEST_FILE]
    /// An image, and files to attach to it.
    ImageFiles [IMAGE, PATHS]
    /// An image, and what refers to it.
    ImageReferrer [IMAGE, REFERRER]
    /// A bundle to write, and images to save.
    BundleImages [BUNDLE, SAVED]
    /// A bundle to load, and where.
    BundleTarget [LOADED]
    /// A bundle to read.
    Bundle [BUNDLES]
    /// An index, and what it is to list.
    IndexImages [INDEX, IMAGES]
    /// An image, and where to write it.
    ImageTarget [IMAGE, TARGET]
    /// An archive, and where to push it.
    ArchiveImage [ARCHIVE, IMAGE]
    /// An image to change, and where to put it.
    EditTo [SCRATCH, TO]
    /// An image, and where to put it.
    FromTo [FROM, TO]
    /// Where to copy from, and where to.
    SyncPlaces [SYNC_FROM, SYNC_TO]
    /// An image and more tags.
    ImageTags [IMAGE, TAGS]
    /// A file of an image.
    FileInImage [IN_IMAGE]
    /// Where to write a file system.
    FolderOrStdout [EXPORT]
    /// Two images.
    TwoImages [FIRST, SECOND]
    /// Which layer.
    Layer [LAYER]
    /// What to do with the cache.
    CacheAction [ACTION]
    /// A registry.
    Host [HOST]
    /// A shell.
    Shell [SHELL]
    /// A page of the manual.
    Topic [TOPIC]
    /// A folder.
    Folder [FOLDER]
}
