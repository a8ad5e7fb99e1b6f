//! A folder that images are written to as an OCI layout.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use dxf_registry::archive::Item;
use dxf_registry::file::AsideFolder;
use dxf_registry::graph::{Nondistributable, PushTarget, push};
use dxf_registry::layout::Layout;
use dxf_registry::{Error, Result};

use crate::cli::args;
use crate::cli::exit::Failure;
use crate::cli::image::item::targets;
use crate::cli::session::Session;

/// The annotation of a layout that names the repository of its images.
const ORIGIN: &str = "vnd.dxf.repository";

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
                    let what = format!("{what} exists, and is neither empty nor an OCI layout");
                    Err(Error::Unsupported { what }.into())
                }
            },
        }
    }

    /// The default folder of images of `origin`. Two repositories may have one, and
    /// what is in it is asked for by tags alone.
    ///
    /// # Errors
    /// As [`Folder::open`]; [`Error::Unsupported`] for a folder of another repository.
    pub fn open_default(path: &Path, origin: &str) -> Result<Folder, Failure> {
        let folder = Folder::open(path)?;
        if let Folder::Old(path) = &folder
            && let Some(other) = Layout::at(path).annotation(ORIGIN)?
            && other != origin
        {
            let path = path.display();
            let what =
                format!("{path} exists and contains images of {other}; name a folder to write");
            return Err(Error::Unsupported { what }.into());
        }
        Ok(folder)
    }

    /// Puts everything there. A new folder appears when it is whole, and says what
    /// repository it is of where that is `origin`.
    pub fn fill(
        self,
        s: &Session<'_, '_>,
        items: &[Item],
        origin: Option<&str>,
    ) -> Result<(), Failure> {
        let target = match self {
            Folder::Old(path) => return fill(s, &path, items),
            Folder::New(path) => path,
        };
        let what = target.display().to_string();
        let failed = |e| Error::io(&what, e);
        let make = || AsideFolder::beside(&target);
        let (aside, _litter) = s.interrupt.litter(make).map_err(failed)?;
        fill(s, &aside.path(), items)?;
        if let Some(origin) = origin {
            Layout::at(aside.path()).annotate(ORIGIN, origin)?;
        }
        s.interrupt.stop().check()?;
        Ok(aside.commit().map_err(failed)?)
    }
}

fn fill(s: &Session<'_, '_>, path: &Path, items: &[Item]) -> Result<(), Failure> {
    let layout = Layout::at(path);
    for item in items {
        for target in targets(item) {
            let to =
                PushTarget::new(&layout, &target).with_nondistributable(Nondistributable::Send);
            push(&item.node, &to, s.run())?;
        }
    }
    Ok(())
}

pub fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    }
}
