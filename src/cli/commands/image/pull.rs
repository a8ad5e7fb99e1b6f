//! `pull-image`: from any store into a tar, a folder, or a pipe.

use std::path::PathBuf;

use dxf_registry::archive::{self, WriteOptions};
use dxf_registry::{Place, Result, Root, Tag, hub};

use crate::cli::args::{self, Form, PullImage};
use crate::cli::exit::Failure;
use crate::cli::image::destination::{must_load, write};
use crate::cli::image::existing::Existing;
use crate::cli::image::folder::{Folder, parent};
use crate::cli::image::item::name;
use crate::cli::image::open;
use crate::cli::image::platform::Choice;
use crate::cli::image::read::items;
use crate::cli::out::file::Output;
use crate::cli::session::Session;

/// `pull-image [options] <image> [FILE|DIR|-]`
pub fn run(s: &mut Session<'_, '_>, args: &PullImage) -> Result<(), Failure> {
    let words = args.words.take(1, 2)?;
    let place = open::to_read(s, &words[0])?;
    let choice = Choice::new(s, args.platform.as_deref())?;
    let name = args.tag.as_deref().map(name).transpose()?;
    let path = match (words.get(1), &args.output) {
        (Some(_), Some(_)) => return Err(args::usage("too many arguments")),
        (Some(word), None) => PathBuf::from(word),
        (None, Some(path)) => path.clone(),
        (None, None) => unnamed(s, &place, args.format)?,
    };
    let is_default = words.len() == 1 && args.output.is_none();
    if args.format == Form::Oci {
        let origin = is_default.then(|| origin(&place));
        let folder = match &origin {
            Some(origin) => Folder::open_default(&path, origin)?,
            None => Folder::open(&path)?,
        };
        let items = items(s, &place, &choice, name).map_err(|e| a_tag_of_its_own(e, args))?;
        return folder.fill(s, &items, origin.as_deref());
    }
    if args.format == Form::Docker && choice.all {
        let why = "--format docker holds the image of one platform, not all";
        return Err(args::usage(why));
    }
    let output = Output::open(Some(&path), s.interrupt)?;
    let items = items(s, &place, &choice, name).map_err(|e| a_tag_of_its_own(e, args))?;
    must_load(&place, &items)?;
    if is_default {
        Existing::read(s, &path)?.is_replaced_by(&items)?;
    }
    let form = match args.format {
        Form::Docker => archive::Form::Docker,
        Form::Hybrid | Form::Oci => archive::Form::Hybrid,
    };
    let options = WriteOptions {
        form,
        platform: Some(&choice.platform),
        folder: parent(&path),
    };
    write(s, &items, output, options)
}

/// What `1` is in `pull-image team/app 1`, where there is no image to write there.
fn a_tag_of_its_own(failure: Failure, args: &PullImage) -> Failure {
    let Ok([image, file]) = args.words.take(2, 2) else {
        return failure;
    };
    let (image, file) = (image.to_string_lossy(), file.to_string_lossy());
    let has_tag = image
        .rsplit('/')
        .next()
        .unwrap_or(&image)
        .contains([':', '@']);
    match failure {
        Failure::Error(error)
            if error.is_not_found() && !has_tag && file.parse::<Tag>().is_ok() =>
        {
            let hint = format!(
                "latest is assumed where no tag is written, and {file} is the file to write; \
                 for the tag {file} write {image}:{file}"
            );
            Failure::Hinted(Box::new(error), hint)
        }
        failure => failure,
    }
}

/// The default file. A user who wrote `> FILE` expects the image in FILE, so
/// that is refused before anything is fetched.
fn unnamed(s: &Session<'_, '_>, place: &Place, form: Form) -> Result<PathBuf, Failure> {
    let path = default_path(place, form)
        .ok_or_else(|| args::usage("too few arguments (a file to write to)"))?;
    if s.terminal.stdout_is_file {
        let why = format!(
            "standard output is a file, and the image would be written to {}; give - to write to \
             standard output, or a file name",
            path.display()
        );
        return Err(args::usage(why));
    }
    Ok(path)
}

/// The repository or layout at `place`, whatever image of it is meant.
fn origin(place: &Place) -> String {
    match place {
        Place::Repository { root, reference } => match root {
            Root::Registry(host) => {
                let name = hub::full_name(host.as_str(), reference.repo.as_str());
                format!("{host}/{name}")
            }
            Root::Folder(_) => reference.repo.to_string(),
        },
        Place::Layout { folder, .. } => {
            let full = std::path::absolute(folder);
            format!("oci:{}", full.as_ref().unwrap_or(folder).display())
        }
        _ => place.to_string(),
    }
}

/// The repository's whole name with `_` for `/`, as crpy and docker-drag have
/// it: `library_hello-world.tar`.
fn default_path(place: &Place, form: Form) -> Option<PathBuf> {
    let name = match place {
        Place::Repository { root, reference } => match root {
            Root::Registry(host) => hub::full_name(host.as_str(), reference.repo.as_str()),
            Root::Folder(_) => reference.repo.to_string(),
        },
        Place::Layout { folder, .. } => folder.file_name()?.to_str()?.to_string(),
        _ => return None,
    };
    let name = name.replace('/', "_");
    Some(match form {
        Form::Oci => name.into(),
        Form::Hybrid | Form::Docker => format!("{name}.tar").into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use dxf_registry::Reference;
    use std::path::Path;

    fn path(word: &str, form: Form) -> String {
        let reference: Reference = word.parse().unwrap();
        let host = reference.host.clone().unwrap();
        let root = Root::Registry(host);
        let place = Place::Repository { root, reference };
        default_path(&place, form).unwrap().display().to_string()
    }

    #[test]
    fn files_are_named_after_the_repository() {
        assert_eq!(
            path("docker.io/hello-world", Form::Hybrid),
            "library_hello-world.tar"
        );
        assert_eq!(path("r.example/team/app:1", Form::Docker), "team_app.tar");
        assert_eq!(path("r.example/team/app:1", Form::Oci), "team_app");
        let layout = Place::Layout {
            folder: "a/b".into(),
            tag: None,
            digest: None,
        };
        assert_eq!(
            default_path(&layout, Form::Hybrid).unwrap(),
            Path::new("b.tar")
        );
    }
}
