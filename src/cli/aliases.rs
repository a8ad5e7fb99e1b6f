//! The commands about aliases.

use dxf_registry::alias::{self, ByPlatform};
use dxf_registry::store::Expected;
use dxf_registry::{Digest, Error, Manifest, Result, Store, Tag, Target, json};
use serde_json::Value;
use std::ffi::OsStr;
use std::path::Path;

use super::args::{self, DelAlias, GetDigest, SetAlias, Words};
use super::blobs::digests;
use super::exit::Failure;
use super::input;
use super::session::Session;

/// `set-alias [--if-match DIGEST|none] <repo> <alias> <digest>|<file> …`
pub fn set(s: &mut Session<'_, '_>, args: &SetAlias) -> Result<(), Failure> {
    let (repo, rest) = args.words.repo(2, usize::MAX)?;
    let settings = alias::Settings {
        format: s.context.format,
        expected: args.if_match.as_deref().map(expected).transpose()?,
    };
    let tag: Tag = args::text(&rest[0])?.parse()?;
    let named: Result<Vec<Named<'_>>> = rest[1..].iter().map(|word| blob(word)).collect();
    let named = named?;
    let store = s.store(repo)?;
    let digests: Result<Vec<Digest>> = named.iter().map(|blob| blob.digest(s)).collect();
    let manifest = alias::set(&*store, &tag, &digests?, settings, s.run())?;
    s.write(manifest.bytes())
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
            Named::File(path) => input::digest(path, s.interrupt.stop()),
        }
    }
}

/// `get-alias <repo> [<alias> …]`
pub fn get(s: &mut Session<'_, '_>, words: &Words) -> Result<(), Failure> {
    let (repo, rest) = words.repo(0, usize::MAX)?;
    let targets = args::targets(rest)?;
    let store = s.store(repo)?;
    let mut all = Vec::new();
    for found in s.manifests(&*store, &targets)? {
        all.push(found.try_map(|manifest| alias::blobs(&manifest))?);
    }
    for blobs in all {
        s.by_platform(
            blobs,
            |blobs| digests(blobs),
            |s, blobs| blobs.iter().try_for_each(|blob| s.line(blob.digest)),
        )?;
    }
    Ok(())
}

/// `del-alias [--only] <repo> <alias> …`
pub fn delete(s: &mut Session<'_, '_>, args: &DelAlias) -> Result<(), Failure> {
    let (repo, rest) = args.words.repo(0, usize::MAX)?;
    let targets = args::targets(rest)?;
    let store = s.store(repo)?;
    let mut deleted = Vec::new();
    for target in &targets {
        deleted.push(match target {
            Target::Tag(tag) if args.only => alias::delete_only(&*store, tag, s.run())?,
            Target::Digest(_) if args.only => {
                return Err(args::usage("--only takes names, no digests"));
            }
            // Whatever DXF_PLATFORM says: an alias goes as a whole.
            target => alias::delete(&*store, target, None)?,
        });
    }
    for pointed in deleted {
        s.by_platform(pointed, child, |s, digests| {
            digests.iter().try_for_each(|digest| s.line(digest))
        })?;
    }
    Ok(())
}

/// A platform of a deleted index: the digest of its manifest.
fn child(digests: &Vec<Digest>) -> Value {
    match digests.as_slice() {
        [one] => one.to_string().into(),
        all => all.iter().map(Digest::to_string).collect(),
    }
}

/// `get-digest [--manifest] <repo> [<alias> …]`
pub fn digest(s: &mut Session<'_, '_>, args: &GetDigest) -> Result<(), Failure> {
    let (repo, rest) = args.words.repo(0, usize::MAX)?;
    let targets = args::targets(rest)?;
    let store = s.store(repo)?;
    let found = if args.manifest && s.context.platform.is_none() && !targets.is_empty() {
        let asked: Result<Vec<_>> = targets.iter().map(|t| head(&*store, t)).collect();
        asked?
    } else {
        let wanted = |m: Manifest| {
            if args.manifest {
                Ok(m.digest())
            } else {
                alias::config(&m)
            }
        };
        let manifests = s.manifests(&*store, &targets)?.into_iter();
        let found: Result<Vec<_>> = manifests.map(|m| m.try_map(wanted)).collect();
        found?
    };
    for digest in found {
        s.by_platform(digest, |d| d.to_string().into(), |s, digest| s.line(digest))?;
    }
    Ok(())
}

/// The digest of a manifest, which no one needs to fetch for that.
fn head(store: &dyn Store, target: &Target) -> Result<ByPlatform<Digest>> {
    let found = store.head(target)?.ok_or_else(|| Error::NotFound {
        what: format!("alias {target} in {}", store.name()),
    })?;
    Ok(ByPlatform::One(found.digest))
}

/// `get-manifest <repo> <alias> …`
pub fn manifest(s: &mut Session<'_, '_>, words: &Words) -> Result<(), Failure> {
    let (repo, rest) = words.repo(0, usize::MAX)?;
    let targets = args::targets(rest)?;
    let store = s.store(repo)?;
    for target in &targets {
        match s.resolve(&*store, target)? {
            ByPlatform::One(manifest) => s.write(manifest.bytes())?,
            ByPlatform::Each(each) => {
                let text = |m: &Manifest| String::from_utf8_lossy(m.bytes()).into_owned();
                let members = each.iter().map(|(name, m)| (name.clone(), text(m).into()));
                s.write(json::python(&Value::Object(members.collect())).as_bytes())?;
            }
        }
    }
    Ok(())
}

/// `list-aliases <repo>`
pub fn list(s: &mut Session<'_, '_>, words: &Words) -> Result<(), Failure> {
    let (repo, _) = words.repo(0, 0)?;
    let store = s.store(repo)?;
    s.names(store.tags())
}
