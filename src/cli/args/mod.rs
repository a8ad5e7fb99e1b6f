//! The words of the command line, as they are written. What they mean is for
//! the commands to say; so is how many there must be, because the wording of
//! those errors is python-dxf's.

mod artifacts;
mod blobs;
mod bundles;
mod edit;
pub mod guide;
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
pub use blobs::{ListAliases, ListRepos, Sort};
pub use bundles::{LoadBundle, SaveBundle, ShowBundle};
pub use edit::{EditImage, Step, Verb};
pub use images::{
    Convert, CopyImage, DiffImages, Engine, ExportImage, Form, GetFile, GetLayer, ListFiles,
    LoadImage, Look, Nondistributable, PullImage, PushImage, ResolveImage, RunImage, VerifyImage,
};
pub use keeping::{Doctor, Gc, PruneAliases, RuleArgs, Sync};
pub use repo::repo;
pub use tool::{Auth, Cache, Login};
pub use words::{Later, Named};

/// Store files and images in a container registry, or in a folder
///
/// DXF_HOST names the store: a registry, as host or host:port, or oci:FOLDER. All other
/// settings are environment variables too: see `dxf help configuration`.
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
    /// Store a file, standard input or a program's output; print the digest
    ///
    /// With --split, dxf prints the digest of each part, and @alias names the
    /// whole file. `cdc` chooses the boundaries by content, so that versions of
    /// a file share most parts; AVG is the average size of a part, a power of two
    /// from 16KiB to 16MiB (default 4MiB). After --, dxf runs CMD and stores its
    /// output; it sets @alias only if CMD exits with 0.
    #[command(
        override_usage = "dxf push-blob [OPTIONS] <repo> <file> [@alias] | <repo> @alias -- <CMD>...",
        after_help = "Examples:\n  dxf push-blob team/models model.bin @v1\n  dxf push-blob --split 64MiB team/dumps @monday -- mysqldump shop\n  tar -c photos | dxf push-blob team/photos - @new"
    )]
    PushBlob(Later<PushBlob>),
    /// Write blobs to standard output or a file
    ///
    /// Without arguments, dxf reads a manifest from standard input and writes
    /// its blobs. With -o it resumes after an interruption.
    #[command(
        after_help = "Examples:\n  dxf pull-blob -o model.bin team/models @v1\n  dxf pull-blob team/dumps @monday | mysql shop"
    )]
    PullBlob(Later<PullBlob>),
    /// Print the sizes of blobs and aliases
    ///
    /// Without arguments, dxf reads a manifest from standard input.
    #[command(
        after_help = "Examples:\n  dxf blob-size team/models @v1\n  dxf get-alias team/models v1 | xargs dxf blob-size team/models"
    )]
    BlobSize(Later<Named<words::RepoBlobs>>),
    /// Copy a blob from another repository; print its digest
    ///
    /// The registry copies it if it can; otherwise dxf does.
    #[command(
        after_help = "Examples:\n  dxf mount-blob team/copy team/models $(dxf get-alias team/models v1)\n  dxf mount-blob team/copy team/models $(dxf get-alias team/models v1) @v1"
    )]
    MountBlob(Later<Named<words::RepoMount>>),
    /// Delete blobs; with @alias, the alias and its blobs
    ///
    /// Of @alias, blobs that another alias names are kept, unless --force is
    /// given. A digest is deleted even if an alias names it. Without arguments, dxf reads a manifest from standard input and deletes
    /// its blobs.
    #[command(
        after_help = "Examples:\n  dxf del-blob team/models @v1\n  dxf del-blob --keep-alias team/models @v1"
    )]
    DelBlob(Later<DelBlob>),
    /// Name a list of blobs; print the manifest
    ///
    /// An argument that contains / is a file; dxf hashes it and does not upload
    /// it.
    #[command(
        after_help = "Examples:\n  dxf set-alias team/models both ./first.bin ./second.bin\n  dxf set-alias --if-match none team/models v1 ./first.bin"
    )]
    SetAlias(Later<SetAlias>),
    /// Print the digests of the blobs that aliases name
    ///
    /// Without arguments, dxf reads a manifest from standard input.
    #[command(
        after_help = "Examples:\n  dxf get-alias team/models v1\n  dxf get-manifest team/models v1 | dxf get-alias team/models"
    )]
    GetAlias(Later<Named<words::RepoAliases>>),
    /// Delete aliases; print the digests of their blobs
    ///
    /// Registries delete by the manifest's digest, so other aliases with the
    /// same manifest go too, unless --only is given.
    #[command(
        after_help = "Examples:\n  dxf del-alias team/models v1\n  dxf del-alias --only team/models v1"
    )]
    DelAlias(Later<DelAlias>),
    /// Check that all blobs of aliases exist and are intact
    ///
    /// dxf reads each blob once and checks its digest, prints a line for each
    /// blob of each alias, and exits with 65 if one is missing or wrong.
    #[command(
        after_help = "Examples:\n  dxf verify-alias team/models v1\n  dxf verify-alias --fast --all team/models"
    )]
    VerifyAlias(Later<VerifyAlias>),
    /// Print the digests of configs (image ids) or manifests
    ///
    /// The digest of the config is an image's id. All artifacts without a config have the
    /// same one. --manifest prints the digests that push-image and push-files print.
    /// Without arguments, dxf reads a manifest from standard input.
    #[command(
        after_help = "Examples:\n  dxf get-digest team/app v1\n  dxf get-digest --manifest team/app v1"
    )]
    GetDigest(Later<GetDigest>),
    /// Print manifests byte for byte
    #[command(
        after_help = "Examples:\n  dxf get-manifest team/app v1\n  DXF_PLATFORM=linux/amd64 dxf get-manifest team/app v1"
    )]
    GetManifest(Later<Named<words::RepoAliases>>),
    /// Print the aliases of a repository
    ///
    /// With --long, dxf prints name, manifest digest, kind, bytes, time and
    /// platforms of each. The bytes are those of everything the alias reaches,
    /// each blob counted once. Times that reproducible builds write (1970, 1980)
    /// are unknown (-).
    #[command(
        after_help = "Examples:\n  dxf list-aliases team/models\n  dxf list-aliases -l --sort created team/app 'v1.*'"
    )]
    ListAliases(Later<ListAliases>),
    /// Store files and folders as an artifact; print its digest
    ///
    /// Other tools such as oras read the artifact. The same files give the same
    /// digest everywhere. A media type may follow a path, as in
    /// report.json:application/json.
    #[command(
        after_help = "Examples:\n  dxf push-files team/reports 2026-11 summary.json charts\n  dxf push-files team/reports 2026-11 --type application/vnd.example.report.v1 summary.json:application/json"
    )]
    PushFiles(Later<PushFiles>),
    /// Write the files of an artifact to a folder; print their names
    ///
    /// dxf does not fetch files that are up to date.
    #[command(
        after_help = "Examples:\n  dxf pull-files team/reports 2026-11 -o reports\n  dxf pull-files team/reports 2026-11 --only '*.json' -o reports"
    )]
    PullFiles(Later<PullFiles>),
    /// Print the repositories of the registry
    ///
    /// With --long, dxf prints name, number of aliases and the time of the newest.
    /// It reads the manifest of every alias.
    #[command(
        after_help = "Examples:\n  dxf list-repos -l\n  DXF_HOST=registry.example DXF_OUTPUT=json dxf list-repos"
    )]
    ListRepos(Later<ListRepos>),
    /// Print the bytes that aliases and repositories take
    ///
    /// Without arguments, dxf reads all repositories. TOTAL is everything an alias
    /// reaches, each blob once: indexes with their images, and what refers to them.
    /// UNIQUE is the part that nothing else in these repositories reaches. FREES is
    /// what the next garbage collection frees if you delete the manifest of the
    /// alias, and with it every alias of that manifest. Manifests without an alias
    /// are not counted.
    #[command(
        after_help = "Examples:\n  dxf show-usage team/app team/base\n  DXF_OUTPUT=json dxf show-usage"
    )]
    ShowUsage(Later<Named<words::Repos>>),
    /// Print a token for actions: pull, push, delete, *
    ///
    /// With --explain, dxf prints where the credentials came from, and what the
    /// registry granted; no secrets.
    #[command(
        after_help = "Examples:\n  DXF_TOKEN=$(dxf auth team/models pull push)\n  dxf auth --explain team/models pull"
    )]
    Auth(Later<Auth>),
    /// Write an image to a file that `docker load` reads, or to a folder
    ///
    /// The file is a docker-archive and an OCI layout at once, named after the
    /// repository unless FILE is given; - is standard output.
    #[command(
        visible_alias = "pull",
        after_help = "Examples:\n  dxf pull-image docker.io/library/alpine:3.20 alpine.tar\n  dxf pull-image --format oci --platform all team/app:v1 layout"
    )]
    PullImage(Later<PullImage>),
    /// Push an archive or a layout; print repository@digest
    #[command(
        visible_alias = "push",
        after_help = "Examples:\n  dxf push-image app.tar registry.example/team/app:v1\n  docker save app | dxf push-image - team/app:v1"
    )]
    PushImage(Later<PushImage>),
    /// Change an image without downloading it, or make one; print its digest
    ///
    /// The image `scratch` is empty: with it, dxf makes a new image. New layers are reproducible: owner root,
    /// times 1970. Consecutive --add-path, --add-file and --remove-path make
    /// one layer. The new image has another digest: signatures and attached artifacts stay
    /// with the old one.
    #[command(
        after_help = "Examples:\n  dxf edit-image --add-path ./site:/srv --env LANG=C.UTF-8 team/app:v1 team/app:v2\n  dxf edit-image --dry-run --rebase debian:12.1 debian:12.2 team/app:v1 team/app:v2"
    )]
    EditImage(Later<EditImage>),
    /// Copy an image or a repository; print repository@digest
    ///
    /// The source and the destination are registries, folders or archives. The
    /// copy has the digest of the original.
    #[command(
        visible_alias = "cp",
        after_help = "Examples:\n  dxf copy-image docker.io/library/alpine:3.20 registry.example/team/alpine:3.20\n  dxf copy-image --all-tags registry.example/team/app oci:./app"
    )]
    CopyImage(Later<CopyImage>),
    /// Give an image more tags; print repository:tag@digest
    #[command(
        after_help = "Examples:\n  dxf tag-image team/app:v1 stable latest\n  dxf tag-image team/app@sha256:… v1"
    )]
    TagImage(Later<Named<words::ImageTags>>),
    /// Print what refers to an image: signatures, SBOMs, artifacts
    ///
    /// The output is a tree: below the image each referrer with its type,
    /// digest, the size of its manifest and annotations, and below it what refers to
    /// that one.
    #[command(
        after_help = "Examples:\n  dxf list-referrers team/app:v1\n  dxf list-referrers --type application/spdx+json team/app:v1"
    )]
    ListReferrers(Later<ListReferrers>),
    /// Store files as an artifact that refers to an image or artifact
    ///
    /// It gets no alias: list-referrers and other tools find it by what it refers
    /// to. --type is the type of the artifact; the type of a file follows its path,
    /// as in sbom.json:application/spdx+json. Without files the artifact consists of
    /// its annotations. Prints host/repository@digest.
    #[command(
        after_help = "Examples:\n  dxf attach --type application/spdx+json team/app:v1 sbom.json:application/spdx+json\n  dxf attach --type application/vnd.example.approval --annotation by=me team/app:v1"
    )]
    Attach(Later<Attach>),
    /// Delete an artifact that refers to an image
    #[command(
        after_help = "Examples:\n  dxf detach team/app:v1 sha256:…\n  dxf detach registry.example/team/app:v1 sha256:…"
    )]
    Detach(Later<Named<words::ImageReferrer>>),
    /// Make an index of images, or change one; print its digest
    ///
    /// The first argument names the index. dxf first copies images in other
    /// places to its repository, and reads their platforms from their configs.
    #[command(
        after_help = "Examples:\n  dxf make-index team/app:v1 team/app:v1-amd64 team/app:v1-arm64\n  dxf make-index --remove linux/386 team/app:v1"
    )]
    MakeIndex(Later<MakeIndex>),
    /// Store a manifest byte for byte; print repository@digest
    #[command(
        after_help = "Examples:\n  dxf put-manifest team/app v2 manifest.json\n  dxf get-manifest team/app v1 | dxf put-manifest team/app v2 -"
    )]
    PutManifest(Later<Named<words::RepoManifestFile>>),
    /// Save images and everything that refers to them to one file
    ///
    /// Images may be in any registries and folders; each layer is in the file
    /// once. load-bundle puts them into another registry, and other tools read the
    /// file as an OCI layout. Prints name@digest of each image.
    #[command(
        after_help = "Examples:\n  dxf save-bundle month.tar docker.io/library/alpine:3.20 registry.example/team/app:v1\n  dxf save-bundle --list images.txt month.tar"
    )]
    SaveBundle(Later<SaveBundle>),
    /// Load the images of a bundle into a registry or a folder
    ///
    /// Images go to the repositories they came from, without the host, below
    /// HOST/PREFIX or in oci:FOLDER (DXF_HOST). Tags are set last, when everything
    /// is stored. Prints name@digest of each image.
    #[command(
        override_usage = "dxf load-bundle [OPTIONS] <FILE|->... [HOST/PREFIX|oci:FOLDER]",
        after_help = "Examples:\n  dxf load-bundle month.tar registry.internal:5000/mirror\n  dxf load-bundle --map docker.io/library=base month.tar registry.internal:5000"
    )]
    LoadBundle(Later<LoadBundle>),
    /// Print the images in a bundle: names, platforms, sizes and digests
    #[command(
        after_help = "Examples:\n  dxf show-bundle --verify month.tar\n  dxf show-bundle --index month.tar > month.json"
    )]
    ShowBundle(Later<ShowBundle>),
    /// Pull an image into Docker or podman
    ///
    /// No file is written in between.
    #[command(
        after_help = "Examples:\n  dxf load-image team/app:v1\n  dxf load-image --engine podman --tag app:test team/app:v1"
    )]
    LoadImage(Later<LoadImage>),
    /// Run an image in Docker or podman, and exit with its status
    ///
    /// The words after the image are the command to run in it.
    #[command(
        override_usage = "dxf run-image [--engine E] [--platform P] [--keep] [--engine-arg ARG] <image> [cmd …]",
        after_help = "Examples:\n  dxf run-image docker.io/library/alpine:3.20 uname -a\n  dxf run-image --engine-arg=--network=none team/app:v1"
    )]
    RunImage(Later<RunImage>),
    /// Copy a registry, a repository or a folder; skip what is up to date
    ///
    /// A place is HOST, HOST/PREFIX/ (all repositories below), HOST/REPOSITORY, or
    /// oci:FOLDER. dxf skips aliases that are the same on both sides. If an alias
    /// fails, dxf copies the others and exits with 1. DXF_FROM_* configure the source.
    #[command(
        after_help = "Examples:\n  dxf sync registry.example/team/ mirror.example/team/ --exclude 'pr-*'\n  dxf sync registry.example/team/app oci:./mirror --newest 5 --delete"
    )]
    Sync(Later<Sync>),
    /// Delete old aliases by rules; print which, and why
    ///
    /// Nothing is deleted without --yes or --apply. An alias is kept if one rule
    /// keeps it, if its age is unknown, or if it is the last one of its repository;
    /// --keep and --keep-semver alone delete nothing. An image that is kept keeps
    /// its referrers.
    #[command(
        after_help = "Examples:\n  dxf prune-aliases team/dumps --keep-daily 7 --keep-weekly 4 --date-from-tag %Y-%m-%d --yes\n  dxf prune-aliases team/app --only 'pr-*' --keep-within 30d --plan plan.json\n  dxf prune-aliases --apply plan.json --backup oci:./removed"
    )]
    PruneAliases(Later<PruneAliases>),
    /// Print what a registry can do, and what that means for dxf
    ///
    /// For its checks, dxf stores a small blob and an alias (dxf-doctor-…) in the
    /// repository, and deletes them again. The output contains no secrets: add it to
    /// a bug report.
    #[command(after_help = "Examples:\n  dxf doctor team/app\n  dxf doctor --read-only team/app")]
    Doctor(Later<Doctor>),
    /// Delete the blobs of a folder that no alias reaches; print them
    ///
    /// Without arguments, dxf goes through all repositories of the folder. It keeps
    /// everything that was stored or used within the last hour, because its alias may
    /// follow. A manifest that cannot be read stops the command before anything is
    /// deleted.
    #[command(
        after_help = "Examples:\n  DXF_HOST=oci:./store dxf gc --dry-run\n  DXF_HOST=oci:./store dxf gc team/models"
    )]
    Gc(Later<Gc>),
    /// Print the size of the layer cache, or shrink it
    ///
    /// `prune` without limits empties it.
    #[command(
        after_help = "Examples:\n  dxf cache size\n  dxf cache prune --older-than 30d --max-size 10GiB"
    )]
    Cache(Later<Cache>),
    /// Log in to a registry
    ///
    /// dxf tries the login, then stores it where Docker stores it. The default
    /// registry is DXF_HOST. It reads the password from the terminal, or from
    /// standard input.
    #[command(
        after_help = "Examples:\n  dxf login -u me registry.example\n  pass registry | dxf login -u me --password-stdin registry.example"
    )]
    Login(Later<Login>),
    /// Log out of a registry
    ///
    /// The default registry is DXF_HOST.
    #[command(after_help = "Examples:\n  dxf logout\n  dxf logout registry.example")]
    Logout(Later<Named<words::Host>>),
    /// Print the registries that have a login
    #[command(after_help = "Examples:\n  dxf list-logins\n  DXF_OUTPUT=json dxf list-logins")]
    ListLogins(Later<Named<words::Nothing>>),
    /// Print an image's platforms and their manifests
    #[command(
        after_help = "Examples:\n  dxf list-platforms docker.io/library/alpine:3.20\n  DXF_OUTPUT=json dxf list-platforms team/app:v1"
    )]
    ListPlatforms(Later<Named<words::Image>>),
    /// Print an image's config byte for byte
    #[command(
        after_help = "Examples:\n  dxf get-config team/app:v1\n  dxf get-config --platform linux/arm64 team/app:v1 | jq .config.Env"
    )]
    GetConfig(Later<Look>),
    /// Print the commands that made an image, one per line
    #[command(
        after_help = "Examples:\n  dxf get-history team/app:v1\n  dxf get-history --platform linux/arm64 docker.io/library/alpine:3.20"
    )]
    GetHistory(Later<Look>),
    /// Print an image's layers: number, digest, size, type, command
    #[command(
        after_help = "Examples:\n  dxf list-layers team/app:v1\n  DXF_OUTPUT=json dxf list-layers team/app:v1"
    )]
    ListLayers(Later<Look>),
    /// Write one layer of an image to standard output or a file
    #[command(
        after_help = "Examples:\n  dxf get-layer -o layer.tgz team/app:v1 0\n  dxf get-layer --uncompressed team/app:v1 0 | tar t"
    )]
    GetLayer(Later<GetLayer>),
    /// Print the files of an image, or of one layer
    #[command(
        after_help = "Examples:\n  dxf list-files team/app:v1\n  dxf list-files --layer 0 team/app:v1"
    )]
    ListFiles(Later<ListFiles>),
    /// Print one file of an image
    ///
    /// dxf reads layers from the top, and none below the one that has the file.
    /// Links are followed inside the image.
    #[command(
        after_help = "Examples:\n  dxf get-file team/app:v1 /etc/os-release\n  dxf get-file -o app team/app:v1 /usr/bin/app"
    )]
    GetFile(Later<GetFile>),
    /// Write the merged file system of an image to a folder, or as a tar
    ///
    /// dxf applies whiteouts, and writes nothing outside the folder, which appears
    /// when it is complete. Files belong to you, and devices are left out. The tar
    /// contains owners and devices too.
    #[command(
        after_help = "Examples:\n  dxf export-image team/app:v1 rootfs\n  dxf export-image team/app:v1 - | tar t"
    )]
    ExportImage(Later<ExportImage>),
    /// Print what differs between two images: config, layers and files
    ///
    /// dxf prints a line for each difference: config, layer or file; A (added), D
    /// (removed) or M (changed) in the second image; and what. It does not read the
    /// layers that both images begin with: < and > mark files that only the first or
    /// only the second image has in its layers above those. Times of files do not
    /// count.
    #[command(
        after_help = "Examples:\n  dxf diff-images team/app:v1 team/app:v2\n  DXF_OUTPUT=json dxf diff-images team/app:v1 app.tar"
    )]
    DiffImages(Later<DiffImages>),
    /// Print the hosts and addresses that a pull would contact
    ///
    /// dxf fetches one byte of each layer, to see where the registry redirects.
    #[command(
        after_help = "Examples:\n  dxf resolve-image docker.io/library/alpine:3.20\n  dxf resolve-image -4 team/app:v1"
    )]
    ResolveImage(Later<ResolveImage>),
    /// Check every digest, size and diff id of an image
    ///
    /// dxf reads everything that the image refers to, without the cache, and
    /// exits with 65 if something is missing or wrong. It does not read what refers
    /// to the image, such as signatures.
    #[command(
        after_help = "Examples:\n  dxf verify-image team/app:v1\n  dxf verify-image oci:./layout:v1"
    )]
    VerifyImage(Later<VerifyImage>),
    /// Show a page of the manual, or the help of a command
    ///
    /// Without a topic, dxf lists the commands and topics.
    #[command(after_help = "Examples:\n  dxf help large-files\n  dxf help push-blob")]
    Help(Later<Named<words::Topic>>),
    /// Print every variable, its value, and where the value came from
    #[command(after_help = "Examples:\n  dxf show-env\n  DXF_OUTPUT=json dxf show-env")]
    ShowEnv(Later<Named<words::Nothing>>),
    /// Print a completion script for bash, zsh, fish and others
    #[command(
        after_help = "Examples:\n  dxf completions bash > ~/.local/share/bash-completion/completions/dxf\n  dxf completions fish > ~/.config/fish/completions/dxf.fish"
    )]
    Completions(Later<Named<words::Shell>>),
    /// Write the man pages into a folder
    ///
    /// Commands are in section 1, the pages of the manual in section 7.
    #[command(
        after_help = "Examples:\n  dxf man dxf-man\n  dxf man /tmp/dxf-man && man /tmp/dxf-man/dxf-push-blob.1"
    )]
    Man(Later<Named<words::Folder>>),
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

/// A word that is not a file name.
pub fn text(word: &OsStr) -> Result<&str> {
    word.to_str()
        .ok_or_else(|| Error::invalid("argument", word.display().to_string(), "it is not UTF-8"))
}

/// An optional `@alias` to set.
pub fn alias(word: Option<&OsString>) -> Result<Option<Tag>, Failure> {
    let Some(word) = word else { return Ok(None) };
    match text(word)?.strip_prefix('@') {
        Some(name) => Ok(Some(name.parse()?)),
        None => {
            let name = word.display();
            Err(usage(format!(
                "invalid alias {name}: an alias is written with @ here: @{name}"
            )))
        }
    }
}

/// `now`, `epoch`, or a moment.
pub fn time(word: &str) -> Result<Timestamp> {
    match word {
        "now" => Ok(SystemTime::now().into()),
        "epoch" => Ok(UNIX_EPOCH.into()),
        moment => moment.parse().map_err(|_| {
            let why = "it must be now, epoch, or look like 2024-01-31T12:00:00Z";
            Error::invalid("time", moment, why)
        }),
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
