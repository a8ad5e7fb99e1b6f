//! The words of the command line, as they are written. What they mean is for
//! the commands to say; so is how many there must be, because the wording of
//! those errors is python-dxf's.

mod artifacts;
mod blobs;
mod edit;
mod images;
mod keeping;
mod repo;
mod tool;
mod words;

use std::ffi::{OsStr, OsString};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::{Parser, Subcommand};
use dxf_registry::image::Timestamp;
use dxf_registry::{Digest, Error, RepoName, Result, Root, Tag, Target};

use crate::cli::exit::Failure;
pub use artifacts::{About, Attach, ListReferrers, MakeIndex, Oci, PullFiles, PushFiles};
pub use blobs::{DelAlias, DelBlob, GetDigest, PullBlob, PushBlob, SetAlias, VerifyAlias};
pub use edit::{EditImage, Step, Verb};
pub use images::{
    Convert, CopyImage, Engine, Form, GetLayer, ListFiles, LoadImage, Look, Nondistributable,
    PullImage, PushImage, ResolveImage, RunImage,
};
pub use keeping::Gc;
pub use repo::repo;
pub use tool::{Auth, Cache, Login};
pub use words::Named;

/// Store anything in a container registry, or in a folder.
///
/// DXF_HOST names the store: a registry, as host or host:port, or oci:FOLDER.
/// Everything else comes from the environment too: see `dxf show-env`.
#[derive(Parser)]
#[command(
    name = "dxf",
    version,
    disable_help_subcommand = true,
    override_usage = "dxf <command> [options] <argument>…",
    subcommand_value_name = "command",
    subcommand_help_heading = "Commands"
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// Everything that can be done.
#[derive(Subcommand)]
pub enum Command {
    /// Store a file, standard input or a program's output; print its digest
    ///
    /// With --split the digest of each part is printed, and @alias names the
    /// file they make. cdc cuts where the content says so, so that a changed
    /// file shares most parts with the old one; AVG is the average part, a
    /// power of two from 16KiB to 16MiB (4MiB). After --, dxf runs CMD and
    /// stores what it prints; @alias is set only if CMD exits with 0.
    #[command(
        override_usage = "dxf push-blob [OPTIONS] <repo> <file> [@alias] | <repo> @alias -- <CMD>...",
        after_help = "Examples:\n  dxf push-blob team/models model.bin @v1\n  dxf push-blob --split 64MiB team/dumps @monday -- mysqldump shop\n  tar -c photos | dxf push-blob team/photos - @new"
    )]
    PushBlob(PushBlob),
    /// Write blobs to standard output, or to a file
    ///
    /// Without arguments a manifest is read from standard input.
    #[command(
        after_help = "Examples:\n  dxf pull-blob -o model.bin team/models @v1\n  dxf pull-blob team/dumps @monday | mysql shop"
    )]
    PullBlob(PullBlob),
    /// Print the sizes of blobs and aliases
    ///
    /// Without arguments a manifest is read from standard input.
    BlobSize(Named<words::RepoBlobs>),
    /// Take a blob over from another repository; print its digest
    MountBlob(Named<words::RepoMount>),
    /// Delete blobs; with @alias, the alias and all its blobs
    ///
    /// Blobs that another alias names are kept, unless --force is given.
    /// Without arguments a manifest is read from standard input, and its blobs
    /// are deleted.
    DelBlob(DelBlob),
    /// Name a list of blobs; print the manifest
    ///
    /// A file has a path separator in its name; it is hashed, not uploaded.
    #[command(after_help = "Examples:\n  dxf set-alias team/models both ./first.bin ./second.bin")]
    SetAlias(SetAlias),
    /// Print the digests of the blobs that aliases name
    ///
    /// Without arguments a manifest is read from standard input.
    GetAlias(Named<words::RepoAliases>),
    /// Delete aliases; print the digests of the blobs they named
    ///
    /// An alias is deleted by its manifest's digest, so aliases of the same
    /// blobs go too.
    #[command(after_help = "Examples:\n  dxf del-alias team/models v1")]
    DelAlias(DelAlias),
    /// Check that all the blobs aliases name are there and right, a line each
    ///
    /// Each blob is read once, from whatever holds it, and its digest checked.
    VerifyAlias(VerifyAlias),
    /// Print the config digests of aliases: an image's id
    ///
    /// Without arguments a manifest is read from standard input.
    GetDigest(GetDigest),
    /// Print the manifests of aliases, byte for byte
    GetManifest(Named<words::RepoAliases>),
    /// Print the names of a repository's aliases
    #[command(after_help = "Examples:\n  DXF_HOST=registry.example dxf list-aliases team/models")]
    ListAliases(Named<words::Repo>),
    /// Store files and folders under their names; print repository@digest
    ///
    /// They become one artifact, which oras and other tools read. The same files
    /// give the same digest everywhere. A file's media type may follow its path,
    /// as in report.json:application/json.
    PushFiles(PushFiles),
    /// Write the files of an artifact into a folder; print their names
    ///
    /// Files that are there and the same are not fetched.
    PullFiles(PullFiles),
    /// Print the names of the registry's repositories
    ListRepos(Named<words::Nothing>),
    /// Print a token for some actions: pull, push, delete, *
    Auth(Auth),
    /// Write an image to a file that `docker load` takes, or to a folder
    ///
    /// The file is a docker-archive and an OCI layout at once, named after the
    /// repository unless FILE is given; - is standard output.
    #[command(
        visible_alias = "pull",
        after_help = "Examples:\n  dxf pull-image docker.io/library/alpine:3.20 alpine.tar"
    )]
    PullImage(PullImage),
    /// Push an archive or layout of images; print repository@digest
    #[command(
        visible_alias = "push",
        after_help = "Examples:\n  dxf push-image app.tar registry.example/team/app:v1"
    )]
    PushImage(PushImage),
    /// Change an image and put it somewhere; print repository@digest
    ///
    /// `scratch` is an image with nothing in it. Layers that stay are not
    /// downloaded where they only have to be mounted. New ones are the same
    /// from the same files on every machine: root's, and from 1970.
    /// Neighbouring --add-path, --add-file and --remove-path make one layer.
    EditImage(EditImage),
    /// Copy an image or a repository; print repository@digest
    ///
    /// From any registry, folder or archive to any other. The copy has the
    /// digest of the original.
    #[command(
        visible_alias = "cp",
        after_help = "Examples:\n  dxf copy-image docker.io/library/alpine:3.20 registry.example/team/alpine:3.20\n  dxf copy-image --all-tags registry.example/team/app oci:./app"
    )]
    CopyImage(CopyImage),
    /// Give an image more tags; print repository:tag@digest
    TagImage(Named<words::ImageTags>),
    /// Print what refers to an image: signatures, attestations, other artifacts
    ///
    /// A tree: below the image, each referrer with its type, digest, size and
    /// annotations, and below it what refers to that one.
    ListReferrers(ListReferrers),
    /// Store files as an artifact that refers to an image; print repository@digest
    ///
    /// The artifact gets no tag: list-referrers and other tools find it by the
    /// image. Without files it consists of its annotations.
    Attach(Attach),
    /// Delete an artifact that refers to an image
    Detach(Named<words::ImageReferrer>),
    /// Make an index of images, or change one; print repository@digest
    ///
    /// The first argument names the index. Images in other places are copied to
    /// its repository first; their platforms are read from their configs.
    MakeIndex(MakeIndex),
    /// Store a manifest byte for byte; print repository@digest
    PutManifest(Named<words::RepoManifestFile>),
    /// Pull an image into Docker or podman, whichever is there
    LoadImage(LoadImage),
    /// Run an image in Docker or podman; end as it ends
    ///
    /// What follows the image is the command to run in it, as it is.
    #[command(
        override_usage = "dxf run-image [--engine E] [--platform P] [--keep] [--engine-arg ARG] <image> [cmd …]"
    )]
    RunImage(RunImage),
    /// Free what no alias reaches, in a folder; print what is freed
    ///
    /// Without arguments in all its repositories. What was stored or used within
    /// the last hour stays, because its alias may be on the way. A manifest that
    /// can't be read stops the command before anything is deleted.
    #[command(after_help = "Examples:\n  DXF_HOST=oci:./store dxf gc --dry-run")]
    Gc(Gc),
    /// Say how large the layer cache is, or make it smaller
    ///
    /// `prune` without limits empties it.
    Cache(Cache),
    /// Keep a login for a registry (DXF_HOST unless named)
    ///
    /// The password is read from the terminal, or from standard input.
    #[command(after_help = "Examples:\n  dxf login -u me registry.example")]
    Login(Login),
    /// Forget the login for a registry (DXF_HOST unless named)
    Logout(Named<words::Host>),
    /// Print the registries there are logins for
    ListLogins(Named<words::Nothing>),
    /// Print the platforms an image is for, and the manifest of each
    ListPlatforms(Named<words::Image>),
    /// Print an image's config, byte for byte
    GetConfig(Look),
    /// Print the commands an image was made with, one a line
    GetHistory(Look),
    /// Print an image's layers: number, digest, size, type and what made it
    ListLayers(Look),
    /// Write one layer of an image to standard output, or to a file
    GetLayer(GetLayer),
    /// Print the files of an image, or of one layer
    ListFiles(ListFiles),
    /// Print the hosts and addresses that a pull would contact
    ResolveImage(ResolveImage),
    /// Read everything an image refers to, and check digests, sizes and diff ids
    VerifyImage(Look),
    /// Show a page of the manual, or the help of a command
    ///
    /// Without a topic, print the commands and topics.
    Help(Named<words::Topic>),
    /// Print the variables that are in force, and where they come from
    ShowEnv(Named<words::Nothing>),
    /// Print a completion script for bash, elvish, fish, powershell or zsh
    Completions(Named<words::Shell>),
    /// Write the manual pages into a folder
    Man(Named<words::Folder>),
}

/// The arguments of a command, not yet understood.
pub struct Words {
    words: Vec<OsString>,
}

/// A blob, or the blobs of an alias.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selector {
    /// One blob.
    Blob(Digest),
    /// What an alias, or a manifest's digest, names.
    Alias(Target),
}

impl Words {
    /// These words, and `more` after them.
    pub fn and(&self, more: &[OsString]) -> Words {
        let words = [&self.words[..], more].concat();
        Words { words }
    }

    /// The first `least` words and what follows them, `most` in all.
    ///
    /// # Errors
    /// Python's words for too few and too many.
    pub fn take(&self, least: usize, most: usize) -> Result<&[OsString], Failure> {
        match self.words.len() {
            n if n < least => Err(usage("too few arguments")),
            n if n > most => Err(usage("too many arguments")),
            _ => Ok(&self.words),
        }
    }

    /// A repository of `root` and at least `least` more words, `most` at the
    /// most.
    ///
    /// # Errors
    /// As [`Words::take`], and for a name that is none.
    pub fn repo(
        &self,
        root: Option<&Root>,
        least: usize,
        most: usize,
    ) -> Result<(RepoName, &[OsString]), Failure> {
        match self.take(least + 1, most.saturating_add(1))? {
            [word, rest @ ..] => Ok((repo(text(word)?, root)?, rest)),
            [] => Err(usage("too few arguments")),
        }
    }
}

/// Words that make no command.
pub fn usage(words: impl Into<String>) -> Failure {
    Failure::Usage(words.into())
}

/// A word that is no file name.
pub fn text(word: &OsStr) -> Result<&str> {
    word.to_str()
        .ok_or_else(|| Error::invalid("argument", word.display().to_string(), "it is not UTF-8"))
}

/// An optional `@alias` to set.
pub fn alias(word: Option<&OsString>) -> Result<Option<Tag>, Failure> {
    let Some(word) = word else { return Ok(None) };
    match text(word)?.strip_prefix('@') {
        Some(name) => Ok(Some(name.parse()?)),
        None => Err(usage("invalid alias (it is written @NAME)")),
    }
}

/// `now`, `epoch`, or a moment.
pub fn time(word: &str) -> Result<Timestamp> {
    match word {
        "now" => Ok(SystemTime::now().into()),
        "epoch" => Ok(UNIX_EPOCH.into()),
        moment => moment.parse(),
    }
}

/// `90s`, `15m`, `12h`, `30d` or `2w`, as the value of option `name`.
pub fn duration(name: &'static str, text: &str) -> Result<Duration> {
    const UNITS: [(char, u64); 5] = [
        ('s', 1),
        ('m', 60),
        ('h', 3600),
        ('d', 86_400),
        ('w', 604_800),
    ];
    let found = UNITS.iter().find_map(|(unit, seconds)| {
        let digits = text.strip_suffix(*unit)?;
        let plain = digits.bytes().all(|b| b.is_ascii_digit());
        let number: u64 = digits.parse().ok().filter(|_| plain)?;
        number.checked_mul(*seconds)
    });
    found.map(Duration::from_secs).ok_or_else(|| {
        let why = "it takes a whole number with s, m, h, d or w, such as 30d";
        Error::invalid(name, text, why)
    })
}

/// Digests and `@aliases`.
pub fn selectors(words: &[OsString]) -> Result<Vec<Selector>> {
    let one = |word: &OsString| {
        let word = text(word)?;
        Ok(match word.strip_prefix('@') {
            Some(name) => Selector::Alias(name.parse()?),
            None => Selector::Blob(word.parse()?),
        })
    };
    words.iter().map(one).collect()
}

/// Aliases, or digests of manifests.
pub fn targets(words: &[OsString]) -> Result<Vec<Target>> {
    words.iter().map(|word| text(word)?.parse()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn clap_finds_no_fault_with_the_tree() {
        Cli::command().debug_assert();
    }

    #[test]
    fn selectors_are_told_by_shape() {
        let digest = Digest::of(b"abc");
        let words: Vec<OsString> = [
            digest.to_string(),
            "@name".to_string(),
            format!("@{digest}"),
        ]
        .map(OsString::from)
        .to_vec();
        let found = selectors(&words).unwrap();
        assert_eq!(found[0], Selector::Blob(digest));
        assert!(matches!(&found[1], Selector::Alias(Target::Tag(_))));
        assert_eq!(found[2], Selector::Alias(Target::Digest(digest)));
        for bad in ["name", "@", "@-x", "@a/b", "sha1:00", ""] {
            assert!(selectors(&[bad.into()]).is_err(), "{bad}");
        }
    }

    #[test]
    fn durations() {
        for (text, seconds) in [("0s", 0), ("90s", 90), ("12h", 43_200), ("2w", 1_209_600)] {
            assert_eq!(duration("--x", text).unwrap().as_secs(), seconds, "{text}");
        }
        for bad in [
            "",
            "d",
            "5",
            "-1d",
            "+1d",
            "1.5h",
            "1y",
            "99999999999999999w",
        ] {
            assert!(duration("--x", bad).is_err(), "{bad}");
        }
    }
}
