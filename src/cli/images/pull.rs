//! `pull-image`: from any store into a tar, a folder, or a pipe.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use dxf_registry::archive::{self, Item, Out, Settings};
use dxf_registry::file::AsideFolder;
use dxf_registry::image::{Image, Node};
use dxf_registry::layout::Layout;
use dxf_registry::transfer::{Foreign, To, Wanted, put};
use dxf_registry::{Error, Platform, Reference, Result, Tag, Target, hub};

use super::{Location, archived, choose, host_platform, must_fit, names, node};
use crate::cli::args::{self, Form, PullImage};
use crate::cli::exit::Failure;
use crate::cli::output::Output;
use crate::cli::session::Session;

/// `pull-image [options] <image> [FILE|DIR|-]`
pub fn pull(s: &mut Session<'_, '_>, args: &PullImage) -> Result<(), Failure> {
    let words = args.words.take(1, 2)?;
    let location = Location::parse(s, args::text(&words[0])?)?;
    let choice = Choice::new(s, args.platform.as_deref())?;
    let name = args.tag.as_deref().map(name).transpose()?;
    let path = match (words.get(1), &args.output) {
        (Some(_), Some(_)) => return Err(args::usage("too many arguments")),
        (Some(word), None) => PathBuf::from(word),
        (None, Some(path)) => path.clone(),
        (None, None) => default_path(&location, args.format)
            .ok_or_else(|| args::usage("too few arguments (a file to write to)"))?,
    };
    if args.format == Form::Oci {
        let folder = Folder::open(&path)?;
        let items = items(s, &location, &choice, name)?;
        return folder.fill(s, &items);
    }
    if args.format == Form::Docker && choice.all {
        let why = "--format docker holds the image of one platform, not all";
        return Err(args::usage(why));
    }
    let output = Output::open(Some(&path), s.interrupt)?;
    let items = items(s, &location, &choice, name)?;
    let form = match args.format {
        Form::Docker => archive::Form::Docker,
        Form::Hybrid | Form::Oci => archive::Form::Hybrid,
    };
    write(s, &items, output, (form, &choice.platform), &path)
}

/// Writes an archive where `output` is.
pub fn write(
    s: &mut Session<'_, '_>,
    items: &[Item],
    mut output: Output,
    (form, platform): (archive::Form, &Platform),
    path: &Path,
) -> Result<(), Failure> {
    let run = s.run();
    let folder = match output.file() {
        Some(_) => parent(path).to_path_buf(),
        None => s.context.tmpdir.clone(),
    };
    let settings = Settings {
        form,
        platform: Some(platform),
        folder: &folder,
    };
    let name = output.name();
    let out = match output.file() {
        Some(file) => {
            archive::write(items, Out::Open { file, name: &name }, &settings, run)?;
            return Ok(output.commit()?);
        }
        None => Out::Stream(output.writer(s.out)),
    };
    Ok(archive::write(items, out, &settings, run)?)
}

/// What of an index is wanted, from `--platform`, `DXF_PLATFORM` or the machine.
pub struct Choice {
    /// The whole index.
    all: bool,
    /// The platform asked for, or the machine's.
    pub platform: Platform,
    /// Who asked for it.
    by: By,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum By {
    Flag,
    Variable,
    Machine,
}

impl Choice {
    /// What `flag` says, where it is there.
    ///
    /// # Errors
    /// [`Error::Invalid`] for what is neither `all` nor a platform.
    pub fn new(s: &Session<'_, '_>, flag: Option<&str>) -> Result<Choice> {
        let all = flag == Some("all");
        let (platform, by) = match (flag, &s.context.platform) {
            (Some(flag), _) if !all => (flag.parse()?, By::Flag),
            (_, Some(platform)) => (platform.clone(), By::Variable),
            _ => (host_platform(), By::Machine),
        };
        Ok(Choice { all, platform, by })
    }

    /// The same for whoever pulls.
    pub fn wanted(&self) -> Wanted<'_> {
        match self.by {
            _ if self.all => Wanted::All,
            By::Machine => Wanted::Host(&self.platform),
            By::Flag | By::Variable => Wanted::Platform(&self.platform),
        }
    }

    /// An image that stands alone is taken whatever `DXF_PLATFORM` says, as the
    /// commands about aliases do, but not against what the command line says.
    ///
    /// # Errors
    /// [`Error::NoPlatform`] as a thing that is not found.
    pub fn check(&self, node: &Node) -> Result<(), Failure> {
        let Node::Image(image) = node else {
            return Ok(());
        };
        match self.by {
            By::Flag => must_fit(image, &self.platform),
            _ => Ok(()),
        }
    }
}

/// What is at `location`, under the names it is to have.
pub fn items(
    s: &Session<'_, '_>,
    location: &Location,
    choice: &Choice,
    name: Option<Reference>,
) -> Result<Vec<Item>, Failure> {
    let mut items = match location {
        Location::Archive { .. } => {
            let items = archived(s, location)?;
            let chosen = items.into_iter().map(|mut item| {
                item.node = choose(item.node, choice.wanted())?;
                Ok(item)
            });
            chosen.collect::<Result<Vec<Item>, Failure>>()?
        }
        _ => vec![named(location, node(s, location, choice.wanted())?)],
    };
    for item in &items {
        choice.check(&item.node)?;
    }
    if let Some(name) = name {
        let [item] = items.as_mut_slice() else {
            let what = format!("--tag names one image, not each of {}", names(&items));
            return Err(Error::Unsupported { what }.into());
        };
        item.names = vec![name];
        item.labels.clear();
    }
    Ok(items)
}

/// A node under the name it was asked by. A digest is no name, and none is
/// made up for it.
pub fn named(location: &Location, node: Node) -> Item {
    let (host, reference) = match location {
        Location::Registry { host, reference } => (Some(host.clone()), reference),
        Location::Repository { reference, .. } => (None, reference),
        Location::Layout { .. } | Location::Archive { .. } => {
            let mut item = Item::new(Vec::new(), node);
            if let Ok(Target::Tag(tag)) = location.target() {
                item.labels.push(tag.to_string());
            }
            return item;
        }
    };
    let tag = match (reference.tag.clone(), reference.target()) {
        (Some(tag), _) | (None, Target::Tag(tag)) => tag,
        (None, Target::Digest(_)) => return Item::new(Vec::new(), node),
    };
    let name = Reference {
        host,
        repo: reference.repo.clone(),
        tag: Some(tag),
        digest: None,
    };
    Item::new(vec![name], node)
}

/// The name that `--tag` gives.
pub fn name(word: &str) -> Result<Reference> {
    let mut name: Reference = word.parse()?;
    match name.target() {
        Target::Tag(tag) => name.tag = Some(tag),
        Target::Digest(_) => {
            return Err(Error::invalid("--tag", word, "a digest is no name"));
        }
    }
    Ok(name)
}

/// The repository's whole name with `_` for `/`, as crpy and docker-drag have
/// it: `library_hello-world.tar`.
fn default_path(location: &Location, form: Form) -> Option<PathBuf> {
    let name = match location {
        Location::Registry { host, reference } => {
            hub::full_name(host.as_str(), reference.repo.as_str())
        }
        Location::Repository { reference, .. } => reference.repo.to_string(),
        Location::Layout { folder, .. } => folder.file_name()?.to_str()?.to_string(),
        Location::Archive { .. } => return None,
    };
    let name = name.replace('/', "_");
    Some(match form {
        Form::Oci => name.into(),
        Form::Hybrid | Form::Docker => format!("{name}.tar").into(),
    })
}

fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    }
}

/// A folder that is, or becomes, an OCI layout.
pub enum Folder {
    /// There is a layout, which gets more images.
    Old(PathBuf),
    /// There is nothing, or an empty folder.
    New(PathBuf),
}

impl Folder {
    /// Looks what is at `path`.
    ///
    /// # Errors
    /// For a file, and for a folder with anything else in it.
    pub fn open(path: &Path) -> Result<Folder, Failure> {
        let what = path.display().to_string();
        if path == Path::new("-") {
            return Err(args::usage("a folder can't go to standard output"));
        }
        match fs::read_dir(path) {
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(Folder::New(path.into())),
            Err(e) => Err(Error::io(what, e).into()),
            Ok(_) if path.join("oci-layout").is_file() => Ok(Folder::Old(path.into())),
            Ok(mut entries) => match entries.next() {
                None => Ok(Folder::New(path.into())),
                Some(_) => {
                    let what = format!("{what} is a folder with other things in it");
                    Err(Error::Unsupported { what }.into())
                }
            },
        }
    }

    /// Puts everything there. A new folder appears when it is whole.
    fn fill(self, s: &Session<'_, '_>, items: &[Item]) -> Result<(), Failure> {
        let target = match self {
            Folder::Old(path) => return fill(s, &path, items),
            Folder::New(path) => path,
        };
        let what = target.display().to_string();
        let failed = |e| Error::io(&what, e);
        let make = || AsideFolder::beside(&target);
        let (aside, _litter) = s.interrupt.litter(make).map_err(failed)?;
        fill(s, &aside.path(), items)?;
        s.interrupt.stop().check()?;
        Ok(aside.commit().map_err(failed)?)
    }
}

fn fill(s: &Session<'_, '_>, path: &Path, items: &[Item]) -> Result<(), Failure> {
    let layout = Layout::at(path);
    for item in items {
        for target in targets(item) {
            let to = To {
                store: &layout,
                target: &target,
                foreign: Foreign::Send,
            };
            put(&item.node, &to, s.run())?;
        }
    }
    Ok(())
}

/// The tags an item is to have in a repository, or its digest.
pub fn targets(item: &Item) -> Vec<Target> {
    let tags = item.names.iter().filter_map(|name| name.tag.clone());
    let labels = item.labels.iter().filter_map(|label| label.parse().ok());
    let mut targets: Vec<Tag> = Vec::new();
    for tag in tags.chain(labels) {
        if !targets.contains(&tag) {
            targets.push(tag);
        }
    }
    if targets.is_empty() {
        return vec![Target::Digest(item.node.manifest().digest())];
    }
    targets.into_iter().map(Target::Tag).collect()
}

/// The images of `items`, for what can be said of images alone.
pub fn images(items: &[Item]) -> impl Iterator<Item = &Image> {
    let images = items.iter().flat_map(|item| item.node.images());
    images.map(|(_, image)| image)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(word: &str, form: Form) -> String {
        let reference: Reference = word.parse().unwrap();
        let host = reference.host.clone().unwrap();
        let location = Location::Registry { host, reference };
        default_path(&location, form).unwrap().display().to_string()
    }

    #[test]
    fn files_are_named_after_the_repository() {
        assert_eq!(
            path("docker.io/hello-world", Form::Hybrid),
            "library_hello-world.tar"
        );
        assert_eq!(path("r.example/team/app:1", Form::Docker), "team_app.tar");
        assert_eq!(path("r.example/team/app:1", Form::Oci), "team_app");
        let layout = Location::Layout {
            folder: "a/b".into(),
            target: None,
        };
        assert_eq!(
            default_path(&layout, Form::Hybrid).unwrap(),
            Path::new("b.tar")
        );
    }

    #[test]
    fn names_have_tags_and_no_digests() {
        assert_eq!(name("app").unwrap().to_string(), "app:latest");
        assert_eq!(name("r.example/a:1").unwrap().to_string(), "r.example/a:1");
        assert!(name(&format!("a@sha256:{}", "0".repeat(64))).is_err());
    }
}
