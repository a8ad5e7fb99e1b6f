//! `man`: writes man pages into a folder, those of the commands (section 1) and
//! those of the manual (section 7).

use std::io::{self, Write};
use std::path::Path;

use clap::CommandFactory;
use dxf_registry::Error;
use dxf_registry::file::{self, Aside};

use crate::cli::args::{Cli, Words};
use crate::cli::exit::Failure;
use crate::cli::manual::{PAGES, roff};

/// `man <folder>`
pub fn run(words: &Words) -> Result<(), Failure> {
    let folder = Path::new(&words.take(1, 1)?[0]);
    let failed = |what: &Path, e| Error::io(what.display().to_string(), e);
    file::make_folder(folder, file::SHARED).map_err(|e| failed(folder, e))?;
    let mut all = Cli::command();
    all.build();
    let pages = std::iter::once(all.clone()).chain(all.get_subcommands().cloned());
    for page in pages {
        let page = clap_mangen::Man::new(page);
        let path = folder.join(page.get_filename());
        let mut bytes = Vec::new();
        let rendered = page.render(&mut bytes);
        rendered
            .and_then(|()| write(&path, &bytes))
            .map_err(|e| failed(&path, e))?;
    }
    for page in PAGES {
        let path = folder.join(roff::file_name(page));
        write(&path, roff::render(page).as_bytes()).map_err(|e| failed(&path, e))?;
    }
    Ok(())
}

fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut aside = Aside::beside(path)?;
    aside.file_mut().write_all(bytes)?;
    aside.commit_unsynced()
}
