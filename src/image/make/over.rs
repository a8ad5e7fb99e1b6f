//! The contents of a new layer, fitted to the layers below it.
//!
//! Engines take a folder that a layer has files in, but says nothing of, for
//! root's and 0755, whatever it is below, and a link for a folder. So the layer
//! says of every folder what the layers below say, and links are followed.

use super::contents::{Contents, Lower};
use super::dest::{LONGEST, Name, is_whiteout};
use crate::blob::Blob;
use crate::error::{Error, Result};
use crate::image::name::{join, split};
use crate::image::view::{Last, Seen, View};
use crate::stream::Watch;
use crate::tar::Kind;
use crate::text::one_line;

/// Where the files of a Windows image are, and what belongs to it.
const WINDOWS: (&str, &str) = ("Files", "Hives");

impl Contents {
    /// These contents for a layer on top of `layers` (lowest first), of an image
    /// for operating system `os`.
    ///
    /// Symbolic links to folders are followed inside the image. Folders that
    /// were not added themselves keep the permissions and owners that they have
    /// in `layers`, which are read from the top down until all of them are
    /// known; files directly at the root need nothing. On no layers every folder
    /// is written. Files of Windows images are below `Files/`.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for links without end, or that lead to what no
    /// file may be called; [`Error::Malformed`] for a layer that is not a tar;
    /// [`Error::Mismatch`] and [`Error::Size`] for wrong bytes; those of the
    /// layers' sources.
    pub fn over(&self, os: &str, layers: &[Blob], watch: Watch<'_>) -> Result<Contents> {
        if os == "windows" {
            return self.for_windows();
        }
        if layers.is_empty() {
            return Ok(self.with_parents());
        }
        let mut view = View::new(layers, watch);
        let mut made = self.renamed(|name, kind| self.followed(&mut view, name, kind))?;
        for folder in made.missing_folders() {
            // What this layer removes is not below it any more.
            if made.is_removed(&folder) {
                continue;
            }
            if let Some(Seen::Entry(_, entry)) = view.get(&folder.0)?
                && entry.kind == Kind::Directory
            {
                made.put_lower(folder, Lower::of(entry));
            }
        }
        Ok(made)
    }

    /// The name that a part gets, links of its folders followed, and of a folder
    /// itself.
    fn followed(&self, view: &mut View<'_>, name: &Name, kind: Kind) -> Result<Name> {
        let is_folder = kind == Kind::Directory;
        // What is removed first leads nowhere, the root is not a link, and a file
        // takes the place of one.
        let is_gone = name
            .ancestors()
            .next()
            .is_some_and(|above| self.is_removed(&above))
            || is_folder && self.is_removed(name);
        if is_gone || !is_folder && split(&name.0).0.is_empty() {
            return Ok(name.clone());
        }
        let last = match is_folder {
            true => Last::Followed,
            false => Last::Kept,
        };
        let found = Name(view.resolve(&name.0, last)?);
        if is_whiteout(&found) || found.0.contains(&0) || found.0.len() > LONGEST {
            let what = format!(
                "/{}: a link in the image points to an invalid file name",
                one_line(&String::from_utf8_lossy(&name.0))
            );
            return Err(Error::Unsupported { what });
        }
        Ok(found)
    }

    fn for_windows(&self) -> Result<Contents> {
        let (files, hives) = WINDOWS;
        let mut made = self.renamed(|name, _| Ok(Name(join(files.as_bytes(), &name.0))))?;
        for folder in [files, hives] {
            made.put_lower(Name(folder.into()), Lower::default());
        }
        Ok(made)
    }
}
