//! `set-alias`: names a list of blobs.

use std::ffi::OsStr;
use std::path::Path;

use dxf_registry::store::Expected;
use dxf_registry::{Digest, Error, Result, Store, Tag, Target, alias};

use crate::cli::args::{self, SetAlias};
use crate::cli::exit::Failure;
use crate::cli::input;
use crate::cli::session::Session;

/// `set-alias [--if-match DIGEST|none] <repo> <alias> <digest>|<file> …`
pub fn run(s: &mut Session<'_, '_>, args: &SetAlias) -> Result<(), Failure> {
    let (repo, rest) = s.repo(&args.words, 2, usize::MAX)?;
    let settings = alias::SetOptions {
        format: s.context.format,
        expected: args.if_match.as_deref().map(expected).transpose()?,
    };
    let tag: Tag = args::text(&rest[0])?.parse()?;
    let named: Result<Vec<Named<'_>>> = rest[1..].iter().map(|word| blob(word)).collect();
    let named = named.map_err(|error| match error.what() {
        Error::Invalid { what: "digest", .. } => Failure::Hinted(
            Box::new(error),
            format!(
                "a file is written ./NAME; to give an image or artifact another tag: \
                 dxf tag-image {repo}:OLD {tag}"
            ),
        ),
        _ => error.into(),
    })?;
    let store = s.store(repo.clone())?;
    let digests: Result<Vec<Digest>> = named.iter().map(|blob| blob.digest(s)).collect();
    let digests = digests?;
    let set = alias::set(&*store, &tag, &digests, settings, s.run());
    let manifest = set.map_err(|error| match manifest_among(&*store, &digests, &error) {
        Some(digest) => Failure::Hinted(
            Box::new(error),
            format!("it is a manifest, which gets a tag with: dxf tag-image {repo}@{digest} {tag}"),
        ),
        None => error.into(),
    })?;
    s.document(manifest.bytes())
}

/// The first of `digests` that is a manifest, if one of them is no blob.
fn manifest_among(store: &dyn Store, digests: &[Digest], error: &Error) -> Option<Digest> {
    let is_manifest = |digest: &&Digest| {
        let head = store.head(&Target::Digest(**digest));
        matches!(head, Ok(Some(_)))
    };
    let digests = digests.iter().filter(|_| error.is_not_found());
    digests.copied().find(|digest| is_manifest(&digest))
}

/// What `--if-match` says.
fn expected(word: &str) -> Result<Expected> {
    if word == "none" {
        return Ok(Expected::Nothing);
    }
    let why = "it takes none, or a digest as get-digest --manifest prints it";
    let digest = word.parse();
    digest
        .map(Expected::Manifest)
        .map_err(|_| Error::invalid("--if-match", word, why))
}

/// A blob by digest, or by the file it was made from.
enum Named<'a> {
    Digest(Digest),
    File(&'a Path),
}

/// What has a path separator is a file, whatever system this is.
fn blob(word: &OsStr) -> Result<Named<'_>> {
    let is_file = word.as_encoded_bytes().iter().any(|b| b"/\\".contains(b));
    if is_file {
        return Ok(Named::File(Path::new(word)));
    }
    Ok(Named::Digest(args::text(word)?.parse()?))
}

impl Named<'_> {
    fn digest(&self, s: &Session<'_, '_>) -> Result<Digest> {
        match self {
            Named::Digest(digest) => Ok(*digest),
            Named::File(path) => input::digest(path, s.watch()),
        }
    }
}
