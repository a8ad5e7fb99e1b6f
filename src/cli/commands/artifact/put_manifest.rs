//! `put-manifest`: any manifest, byte for byte.

use std::fs::File;
use std::path::Path;

use dxf_registry::digest::Hasher;
use dxf_registry::graph::push_manifest;
use dxf_registry::stream::read_bounded;
use dxf_registry::{Error, Manifest, Target, manifest};

use crate::cli::args::{self, Words};
use crate::cli::exit::Failure;
use crate::cli::session::Session;

/// `put-manifest <repo> <alias|digest> FILE|-`
pub fn run(s: &mut Session<'_, '_>, words: &Words) -> Result<(), Failure> {
    let (repo, rest) = s.repo(words, 2, 2)?;
    let name = args::text(&rest[0])?;
    let target: Target = name.strip_prefix('@').unwrap_or(name).parse()?;
    let bytes = if rest[1] == "-" {
        let stdin = &mut *s.stdin;
        let read = || read_bounded("standard input", stdin, manifest::MAX_SIZE);
        s.interrupt.waiting(read)?
    } else {
        let path = Path::new(&rest[1]);
        let what = path.display().to_string();
        let file = File::open(path).map_err(|e| Error::io(&what, e))?;
        read_bounded(&what, file, manifest::MAX_SIZE)?
    };
    let manifest = Manifest::new(None, bytes)?;
    let mut digest = manifest.digest();
    if let Target::Digest(wanted) = &target {
        let mut hasher = Hasher::like(wanted);
        hasher.update(manifest.payload());
        digest = hasher.finish();
        if digest != *wanted {
            return Err(Error::mismatch(*wanted, digest).into());
        }
    }
    let store = s.store(repo.clone())?;
    push_manifest(&*store, &manifest, &target, None)?;
    s.line(format_args!("{repo}@{digest}"))
}
