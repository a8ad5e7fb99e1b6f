//! `push-files`: files and folders under their names, as one artifact.

use std::ffi::OsString;
use std::path::Path;

use dxf_registry::artifact::Split;
use dxf_registry::files::{Artifact, SpecVersion};
use dxf_registry::graph::{PushTarget, add_to_index, push};
use dxf_registry::image::Node;
use dxf_registry::{Descriptor, Digest, Error, Platform, Result, Store, Tag, Target};

use crate::cli::args::{self, Oci, PushFiles};
use crate::cli::artifact::make::{self, Form};
use crate::cli::env;
use crate::cli::exit::Failure;
use crate::cli::session::Session;

/// `push-files [options] <repo> <alias> PATH[:TYPE]…`
pub fn run(s: &mut Session<'_, '_>, args: &PushFiles) -> Result<(), Failure> {
    in_order(args.words.take(2, usize::MAX)?)?;
    let (repo, rest) = s.repo(&args.words, 1, usize::MAX)?;
    let [alias, paths @ ..] = rest else {
        return Err(args::usage("too few arguments"));
    };
    let about = &args.about;
    let is_typed = about.kind.is_some() || about.config.is_some() || args.model;
    if paths.is_empty() && !is_typed && !about.is_annotated() {
        return Err(args::usage(
            "too few arguments (files to store, after the repository and the alias)",
        ));
    }
    let alias = args::text(alias)?;
    let tag: Tag = alias.strip_prefix('@').unwrap_or(alias).parse()?;
    let platform: Option<Platform> = args.platform.as_deref().map(str::parse).transpose()?;
    if args.oci == Some(Oci::V1_0) && (args.subject.is_some() || platform.is_some()) {
        return Err(args::usage(
            "--subject and --platform need version 1.1 of the specification",
        ));
    }
    let form = form(args)?;
    let store = s.store(repo.clone())?;
    let mut artifact = make::artifact(s, &args.about, paths, form)?;
    if let Some(word) = &args.subject {
        artifact = artifact.with_subject(subject(&*store, word)?);
    }
    if let Some(platform) = platform {
        let digest = for_platform(s, &*store, &artifact, &tag, platform)?;
        return s.line(format_args!("{repo}@{digest}"));
    }
    let tag = Target::Tag(tag);
    let digest = match args.oci {
        Some(version) => put(s, &*store, &artifact.with_version(of(version)), &tag)?,
        None if args.subject.is_some() => put(s, &*store, &artifact, &tag)?,
        None => either(s, &*store, artifact, &tag)?,
    };
    s.line(format_args!("{repo}@{digest}"))
}

/// Refuses files in place of the repository or the alias, where these follow.
fn in_order(words: &[OsString]) -> Result<(), Failure> {
    let exists = |word: &OsString| Path::new(word).exists();
    let new = |word: &OsString| word.to_str().filter(|_| !exists(word)).map(str::to_string);
    let is_tag = |word: &str| word.parse::<Tag>().is_ok();
    let [first, second, rest @ ..] = words else {
        return Ok(());
    };
    let (last, more) = match rest.split_last() {
        Some((last, more)) => (new(last).filter(|word| is_tag(word)), more),
        None => (None, rest),
    };
    let is_repo = |word: &String| args::repo(word, None).is_ok() && !is_tag(word);
    let (repo, file) = match (exists(first), new(second).filter(is_repo)) {
        // A repository of one part could be an alias.
        (true, Some(repo)) => (repo, first),
        _ if exists(second) && last.is_some() => (first.display().to_string(), second),
        _ => return Ok(()),
    };
    let more = if last.is_some() { more } else { rest };
    let files = [file].into_iter().chain(more);
    let files: Vec<String> = files.map(|file| file.display().to_string()).collect();
    Err(args::usage(format!(
        "the arguments are in the wrong order; did you mean dxf push-files {repo} {} {}?",
        last.as_deref().unwrap_or("ALIAS"),
        files.join(" ")
    )))
}

/// What the files become.
fn form(args: &PushFiles) -> Result<Form, Failure> {
    match &args.split {
        Some(text) => Ok(Form::Parts(asked(text)?)),
        None if args.model => Ok(Form::Model),
        None => Ok(Form::Layers),
    }
}

/// Pushes the artifact for one platform, and lists it in the index that the
/// alias points to.
fn for_platform(
    s: &Session<'_, '_>,
    store: &dyn Store,
    artifact: &Artifact,
    tag: &Tag,
    platform: Platform,
) -> Result<Digest> {
    let image = make::image(s, &artifact.clone().with_platform(&platform))?;
    let manifest = image.manifest();
    let mut entry = manifest.descriptor();
    let kind = manifest.referrer()?;
    if let Some(kind) = kind.artifact_type() {
        entry.rest.insert("artifactType".to_string(), kind.into());
    }
    entry.platform = Some(platform.into());
    let target = Target::Digest(entry.digest);
    push(
        &Node::Image(image),
        &PushTarget::new(store, &target),
        s.run(),
    )?;
    add_to_index(store, tag, &entry, s.interrupt.stop())
}

/// How large files are cut.
fn asked(text: &str) -> Result<Split, Failure> {
    let wrong = |why| args::usage(format!("invalid --split {text:?}: {why}"));
    env::split(text).map_err(wrong)
}

fn of(version: Oci) -> SpecVersion {
    match version {
        Oci::V1_0 => SpecVersion::V1_0,
        Oci::V1_1 => SpecVersion::V1_1,
    }
}

/// The manifest that an artifact is about, which must be there.
fn subject(store: &dyn Store, word: &str) -> Result<Descriptor> {
    let target: Target = word.strip_prefix('@').unwrap_or(word).parse()?;
    let found = store.head(&target)?;
    found.ok_or_else(|| Error::NotFound {
        what: format!("{target} in {}, which --subject names", store.name()),
    })
}

/// Pushes in version 1.1, or else, where the registry refuses such a manifest,
/// in 1.0, which has no subject.
fn either(
    s: &Session<'_, '_>,
    store: &dyn Store,
    artifact: Artifact,
    target: &Target,
) -> Result<Digest> {
    match put(s, store, &artifact, target) {
        Err(error) if refuses_version(&error) => {
            let digest = put(s, store, &artifact.with_version(SpecVersion::V1_0), target)?;
            s.console.warn(
                "the registry refuses manifests of OCI 1.1; pushed as 1.0 (--oci 1.0 does so at once)",
            );
            Ok(digest)
        }
        pushed => pushed,
    }
}

/// Whether a registry calls a manifest invalid that is none.
fn refuses_version(error: &Error) -> bool {
    let Error::Status {
        request,
        status: 400 | 415 | 422,
        errors,
        ..
    } = error.what()
    else {
        return false;
    };
    let invalid = ["MANIFEST_INVALID", "UNSUPPORTED"];
    request.url.contains("/manifests/") && errors.iter().any(|e| invalid.contains(&e.code.as_str()))
}

fn put(
    s: &Session<'_, '_>,
    store: &dyn Store,
    artifact: &Artifact,
    target: &Target,
) -> Result<Digest> {
    let image = make::image(s, artifact)?;
    let digest = image.manifest().digest();
    push(
        &Node::Image(image),
        &PushTarget::new(store, target),
        s.run(),
    )?;
    Ok(digest)
}
