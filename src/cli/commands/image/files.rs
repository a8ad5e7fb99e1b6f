//! `list-files`: what a container of an image would see, or what one layer
//! adds, as `tar tv` shows it.

use dxf_registry::image::files;
use dxf_registry::tar::{Entry, Kind};
use dxf_registry::text::one_line;
use dxf_registry::{Blob, Error};
use serde_json::{Value, json};

use crate::cli::args::ListFiles;
use crate::cli::env::Shape;
use crate::cli::exit::Failure;
use crate::cli::image::layer::find;
use crate::cli::image::read::one;
use crate::cli::out::json::List;
use crate::cli::session::Session;

/// `list-files [--layer N] <image>`
pub fn run(s: &mut Session<'_, '_>, args: &ListFiles) -> Result<(), Failure> {
    let image = one(s, &args.look)?;
    if let Some(word) = &args.layer {
        let layers: Vec<&Blob> = image.layers().iter().collect();
        let blob = find(&layers, word)?;
        let same = |other: &Blob| other.digest() == blob.digest();
        let layer = image.layers().iter().position(same).unwrap_or(0);
        let watch = s.watch();
        return listing(s, |add| {
            files::list(blob, watch, &mut |entry| add(&entry, layer))
        });
    }
    if !image.is_runnable() {
        return Err(Error::Unsupported {
            what: "an artifact with no file system; pull-files writes its files, \
                   and --layer N lists a folder of it"
                .into(),
        }
        .into());
    }
    let watch = s.watch();
    listing(s, |add| {
        files::each_merged(&image, watch, &mut |found| add(&found.entry, found.layer))
    })
}

/// Takes a member and the layer that has it.
type Add<'a> = dyn FnMut(&Entry, usize) -> Result<(), Error> + 'a;

/// Writes members as they come from `each`: a layer may be larger than memory.
fn listing(
    s: &mut Session<'_, '_>,
    each: impl FnOnce(&mut Add<'_>) -> Result<(), Error>,
) -> Result<(), Failure> {
    let (mut list, mut failed) = (Listing::new(s), None);
    let listed = each(&mut |entry, layer| {
        list.add(s, entry, layer).map_err(|failure| {
            failed = Some(failure);
            Error::Stopped
        })
    });
    match (failed, listed) {
        (Some(failure), _) => Err(failure),
        (None, Err(error)) => Err(error.into()),
        (None, Ok(())) => list.end(s),
    }
}

/// A list being written.
struct Listing(Option<List>);

impl Listing {
    fn new(s: &Session<'_, '_>) -> Listing {
        Listing((s.context.shape == Shape::Json).then(List::new))
    }

    fn add(&mut self, s: &mut Session<'_, '_>, e: &Entry, layer: usize) -> Result<(), Failure> {
        match &mut self.0 {
            Some(list) => list.item(s.out, &value(e, layer)),
            None => s.line(line(e)),
        }
    }

    fn end(self, s: &mut Session<'_, '_>) -> Result<(), Failure> {
        match self.0 {
            Some(list) => list.end(s.out),
            None => Ok(()),
        }
    }
}

fn value(e: &Entry, layer: usize) -> Value {
    json!({"path": e.name(), "type": kind(e.kind).1, "mode": format!("{:04o}", e.mode),
        "uid": e.owner.0, "gid": e.owner.1, "size": e.size, "modified": e.modified,
        "link": String::from_utf8_lossy(&e.link), "layer": layer})
}

fn line(e: &Entry) -> String {
    let owner = format!("{}/{}", e.owner.0, e.owner.1);
    let link = String::from_utf8_lossy(&e.link);
    let link = match e.kind {
        Kind::Symlink => format!(" -> {link}"),
        Kind::HardLink => format!(" link to {link}"),
        _ => String::new(),
    };
    let name = one_line(&format!("{}{link}", e.name()));
    format!("{} {owner:<9} {:>11} {name}", mode(e), e.size)
}

/// Its letter as `ls` has it, and its name.
fn kind(kind: Kind) -> (char, &'static str) {
    match kind {
        Kind::File => ('-', "file"),
        Kind::Directory => ('d', "directory"),
        Kind::Symlink => ('l', "symlink"),
        Kind::HardLink => ('h', "hardlink"),
        Kind::CharDevice => ('c', "char"),
        Kind::BlockDevice => ('b', "block"),
        Kind::Fifo => ('p', "fifo"),
        Kind::Other(_) => ('?', "other"),
    }
}

/// `-rwxr-xr-x`
fn mode(e: &Entry) -> String {
    let mut text = String::from(kind(e.kind).0);
    for (shift, special, letter) in [(6, 0o4000, 's'), (3, 0o2000, 's'), (0, 0o1000, 't')] {
        let bits = e.mode >> shift;
        text.push(if bits & 4 != 0 { 'r' } else { '-' });
        text.push(if bits & 2 != 0 { 'w' } else { '-' });
        text.push(match (e.mode & special != 0, bits & 1 != 0) {
            (true, true) => letter,
            (true, false) => letter.to_ascii_uppercase(),
            (false, true) => 'x',
            (false, false) => '-',
        });
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_look_like_those_of_tar() {
        let mut entry = Entry {
            path: b"bin/\x1b[2Jsu\n".to_vec(),
            link: Vec::new(),
            size: 7,
            mode: 0o4755,
            owner: (0, 1000),
            modified: 0,
            kind: Kind::File,
            device: (0, 0),
            attributes: Vec::new(),
            offset: 0,
            sparse: false,
        };
        assert_eq!(line(&entry), "-rwsr-xr-x 0/1000              7 bin/?[2Jsu ");
        entry.kind = Kind::Symlink;
        entry.link = b"../x".to_vec();
        entry.path = b"l".to_vec();
        entry.mode = 0o1776;
        assert_eq!(line(&entry), "lrwxrwxrwT 0/1000              7 l -> ../x");
    }
}
