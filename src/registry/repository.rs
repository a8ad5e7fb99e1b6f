//! One repository of a registry: its blobs, manifests and tags.

use std::io::{self, Read};
use std::num::NonZeroU32;
use std::ops::Range;

use ::http::header::{
    ACCEPT, CONTENT_RANGE, CONTENT_TYPE, ETAG, HeaderMap, HeaderName, IF_MATCH, RANGE,
};

use crate::auth::Scope;
use crate::blob::{Blob, Source};
use crate::descriptor::Descriptor;
use crate::digest::{Digest, Hasher, Verify};
use crate::error::{Error, NetworkKind, Result, is_temporary_status};
use crate::http::retry::Budget;
use crate::http::{Body, Request, Response, Url};
use crate::manifest::{self, Manifest};
use crate::progress::Skipped;
use crate::reference::{Origin, RepoName, Tag, Target};
use crate::registry::conditional;
use crate::registry::download::{Download, SMALL, small_size};
use crate::registry::listing::{self, Listing};
use crate::registry::rate_limit::RateLimit;
use crate::registry::referrers::{self, Known};
use crate::registry::seen::Elsewhere;
use crate::registry::upload::Upload;
use crate::registry::{Registry, UploadMode, acknowledged, is_document};
use crate::secret::Secret;
use crate::store::{Content, Expected, Names, Put, ReadStore, Store, Tags, parsed};
use crate::stream::Watch;

/// The digest of what was answered (distribution-spec).
pub(super) const CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");

/// All manifest types but schema 1, which only a caller that wants it requests.
const MANIFEST_TYPES: &str = concat!(
    "application/vnd.docker.distribution.manifest.v2+json, ",
    "application/vnd.docker.distribution.manifest.list.v2+json, ",
    "application/vnd.oci.image.manifest.v1+json, ",
    "application/vnd.oci.image.index.v1+json"
);

/// What HEAD answers that says something: yes, no, or a refusal. Its reason is
/// in the body that HEAD has not, and some refuse nothing but HEAD, so the same
/// is asked with GET then.
const HEAD_ANSWERS: [u16; 11] = [200, 404, 400, 403, 405, 406, 410, 412, 415, 451, 501];

/// What putting a manifest answers when it worked: 201 by the specification.
pub(super) const PUT: [u16; 4] = [201, 200, 202, 204];

/// What deleting answers when it worked: 202 by the specification.
const DELETED: [u16; 3] = [202, 200, 204];

/// A repository. Cheap to clone.
#[derive(Clone)]
pub struct Repository {
    registry: Registry,
    name: RepoName,
    upload: UploadMode,
}

impl Repository {
    pub(super) fn new(registry: Registry, name: RepoName) -> Repository {
        let upload = registry.upload_mode();
        Repository {
            registry,
            name,
            upload,
        }
    }

    /// The registry it is in.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Its full name there.
    pub fn repo_name(&self) -> &RepoName {
        &self.name
    }

    /// The same repository, into which bytes are sent in another way than
    /// [`crate::registry::Settings::upload`] says.
    pub fn with_upload(&self, upload: UploadMode) -> Repository {
        Repository {
            upload,
            ..self.clone()
        }
    }

    pub(super) fn upload_mode(&self) -> UploadMode {
        self.upload
    }

    /// A blob of this repository that is fetched only when it is read.
    pub fn blob(&self, descriptor: Descriptor) -> Blob {
        let origin = Origin {
            host: self.registry.host().clone(),
            repo: self.name.clone(),
        };
        let source = Remote {
            repository: self.clone(),
            digest: descriptor.digest,
            size: descriptor.size,
            origin,
        };
        Blob::new(descriptor, source)
    }

    /// Asks for the first byte of a blob, along the way that a pull of all of
    /// it would go, redirects and all; the blob's size, `None` when it is not
    /// there.
    ///
    /// # Errors
    /// Those of the wire.
    pub fn touch(&self, digest: &Digest) -> Result<Option<u64>> {
        self.size_by_range(&["pull"], digest)
    }

    /// The tags, `size` a page. A registry may give fewer, and some refuse
    /// large numbers (Amazon's more than 1000).
    pub fn tags_paged(&self, size: NonZeroU32) -> Names<'_> {
        self.list(listing::paged(&self.url("tags/list"), size))
    }

    fn list(&self, first: Url) -> Names<'_> {
        let (scope, kind) = (self.scope(&["pull"]), listing::Kind::Tags);
        Box::new(Listing::new(&self.registry, scope, first, kind))
    }

    /// The bearer token that requests to this repository carry now, one for
    /// pushing before one for pulling; `None` where none was needed yet. It is
    /// a secret.
    pub fn token(&self) -> Option<Secret> {
        let held = |actions| self.registry.auth().held(&self.scope(actions));
        held(&["pull", "push"]).or_else(|| held(&["pull"]))
    }

    pub(super) fn scope(&self, actions: &[&str]) -> Scope {
        Scope::repository(&self.name, actions)
    }

    pub(super) fn run(
        &self,
        actions: &[&str],
        request: &Request<'_>,
        ok: &[u16],
    ) -> Result<Response> {
        self.registry.run(&self.scope(actions), request, ok)
    }

    pub(super) fn attempt(
        &self,
        actions: &[&str],
        request: &Request<'_>,
        ok: &[u16],
    ) -> Result<Response> {
        self.registry.attempt(&self.scope(actions), request, ok)
    }

    pub(super) fn url(&self, path: &str) -> Url {
        self.registry.url(&format!("{}/{path}", self.name))
    }

    pub(super) fn blob_url(&self, digest: &Digest) -> Url {
        self.url(&format!("blobs/{digest}"))
    }

    fn manifest_url(&self, target: &Target) -> Url {
        self.url(&format!("manifests/{target}"))
    }

    /// What this registry's repositories share about referrers.
    pub(super) fn known_referrers(&self) -> &Known {
        self.registry.referrers()
    }

    /// Tells people what they should know although nothing failed.
    pub(super) fn warn(&self, text: &str) {
        self.registry.settings().observer.warning(text);
    }

    /// The other repository of this registry that holds a blob, if one is known.
    fn mountable(&self, blob: &Blob) -> Option<Elsewhere> {
        let origin = blob.origin().filter(|origin| origin.repo != self.name)?;
        let is_here = origin.host == *self.registry.host();
        is_here.then(|| Elsewhere::known(&origin.repo))
    }

    /// A repository that a blob may be mounted from which this one lacks: where it
    /// was seen, else one that is called as its repository in another registry.
    fn elsewhere(&self, blob: &Blob) -> Option<Elsewhere> {
        let seen = || {
            let seen = self.registry.seen().elsewhere(blob.digest(), &self.name);
            seen.map(|name| Elsewhere::known(&name))
        };
        let guess = || {
            let origin = blob.origin().filter(|origin| origin.repo != self.name)?;
            Some(Elsewhere::guess(&origin.repo))
        };
        self.mountable(blob).or_else(seen).or_else(guess)
    }

    /// How many pulls the registry allows and how many are left, where it says
    /// so, as Docker Hub does: one HEAD, which counts as no pull.
    ///
    /// # Errors
    /// Those of the registry.
    pub fn rate_limit(&self) -> Result<Option<RateLimit>> {
        let request = Request::new("HEAD", self.manifest_url(&"latest".parse()?))
            .header(ACCEPT, MANIFEST_TYPES);
        let answer = self.run(&["pull"], &request, &HEAD_ANSWERS)?;
        let found = RateLimit::of(&answer.headers);
        answer.drain();
        Ok(found)
    }

    /// The manifest of a tag or digest, of one of the media types in `accept`
    /// where the registry has it in several. [`crate::ReadStore::manifest`] asks for all
    /// types but schema 1; some registries make one of that on demand.
    ///
    /// # Errors
    /// As [`crate::ReadStore::manifest`]; [`Error::Unsupported`] when it is of
    /// another type.
    pub fn manifest_as(&self, accept: &[&str], target: &Target) -> Result<Manifest> {
        let (manifest, _) = self.fetch_manifest(&["pull"], target, &accept.join(", "))?;
        // Registries may answer with what they have (RFC 9110, 15.5.7).
        if !accept.contains(&manifest.media_type()) {
            let what = format!(
                "{}: {target} exists only as {}",
                self.name(),
                manifest.media_type()
            );
            return Err(Error::Unsupported { what });
        }
        Ok(manifest)
    }

    /// The manifest of a tag or digest, asked for with the rights that
    /// `actions` need.
    pub(super) fn manifest_for(&self, actions: &[&str], target: &Target) -> Result<Manifest> {
        let fetched = self.fetch_manifest(actions, target, MANIFEST_TYPES)?;
        Ok(fetched.0)
    }

    /// The same with the entity tag that it has on the server, if it has one
    /// (RFC 9110, section 8.8.3).
    pub(super) fn manifest_with_etag(
        &self,
        actions: &[&str],
        target: &Target,
    ) -> Result<(Manifest, Option<String>)> {
        self.fetch_manifest(actions, target, MANIFEST_TYPES)
    }

    fn fetch_manifest(
        &self,
        actions: &[&str],
        target: &Target,
        accept: &str,
    ) -> Result<(Manifest, Option<String>)> {
        let request = Request::new("GET", self.manifest_url(target)).header(ACCEPT, accept);
        let scope = self.scope(actions);
        let answer = self
            .registry
            .read(&scope, &request, &[200], manifest::MAX_SIZE)?;
        let told = Self::told_digest(&answer.headers);
        let content_type = answer.content_type().map(str::to_string);
        let etag = answer.headers.get(ETAG).and_then(|tag| tag.to_str().ok());
        // A weak one is not a condition for a write (section 13.1.1).
        let etag = etag.filter(|tag| tag.starts_with('"')).map(str::to_string);
        let manifest = Manifest::new(content_type.as_deref(), answer.bytes)?;
        Self::check(target, told, &manifest)?;
        Ok((manifest, etag))
    }

    /// Puts a manifest and no more; whether the registry lists it under its
    /// subject by itself.
    pub(super) fn send_manifest(&self, manifest: &Manifest, target: &Target) -> Result<bool> {
        let request = self.put_request(manifest, target);
        let answer = self.run(&["pull", "push"], &request, &PUT)?;
        Self::was_put(answer, manifest, target)
    }

    /// Puts a list of referrers under its tag, if that has the entity tag `etag`
    /// still, where one is given. Without retries: the list is read again first.
    pub(super) fn send_list(
        &self,
        list: &Manifest,
        target: &Target,
        etag: Option<&str>,
    ) -> Result<()> {
        let request = self.put_request(list, target);
        let request = match etag {
            Some(etag) => request.header(IF_MATCH, etag),
            None => request,
        };
        let answer = self.attempt(&["pull", "push"], &request, &PUT)?;
        Self::was_put(answer, list, target).map(drop)
    }

    /// The request that puts a manifest.
    pub(super) fn put_request<'a>(&self, manifest: &'a Manifest, target: &Target) -> Request<'a> {
        Request::new("PUT", self.manifest_url(target))
            .header(CONTENT_TYPE, manifest.media_type())
            .body(Body::Bytes(manifest.bytes()))
    }

    /// What the answer to that request says; as [`Repository::send_manifest`].
    pub(super) fn was_put(answer: Response, manifest: &Manifest, target: &Target) -> Result<bool> {
        let told = Self::told_digest(&answer.headers);
        let listed = answer.headers.contains_key(referrers::SUBJECT);
        acknowledged(answer)?;
        Self::check(target, told, manifest)?;
        Ok(listed)
    }

    /// What a tag or digest points at, asked for with the rights that `actions`
    /// need.
    pub(super) fn head_for(&self, actions: &[&str], target: &Target) -> Result<Option<Descriptor>> {
        let request =
            Request::new("HEAD", self.manifest_url(target)).header(ACCEPT, MANIFEST_TYPES);
        let answer = self.run(actions, &request, &HEAD_ANSWERS)?;
        let length = answer.content_length().filter(|length| *length > 0);
        // Another digest than that which was asked for is no answer.
        let fits = |told: &Digest| match target {
            Target::Digest(asked) => asked == told || asked.algorithm() != told.algorithm(),
            Target::Tag(_) => true,
        };
        let told = Self::told_digest(&answer.headers).filter(fits);
        let told = told.zip(length);
        let media_type = answer.header(CONTENT_TYPE).unwrap_or_default().to_string();
        let status = answer.status;
        answer.drain();
        match (status, told) {
            (404, _) => Ok(None),
            (200, Some((digest, size))) => Ok(Some(Descriptor::new(media_type, digest, size))),
            // Without the header (Red Hat, old ECR), or where HEAD is unknown,
            // the bytes tell.
            _ => match self.manifest_for(actions, target) {
                Ok(manifest) => {
                    referrers::remember(self, &manifest, target);
                    Ok(Some(manifest.descriptor()))
                }
                Err(error) if error.is_not_found() => Ok(None),
                Err(error) => Err(error),
            },
        }
    }

    /// Sees to the referrers' list of a manifest that was put.
    fn note_put(&self, manifest: &Manifest, target: &Target, listed: bool) -> Result<()> {
        referrers::remember(self, manifest, target);
        if listed {
            return Ok(());
        }
        let digest = referrers::digest(manifest, target);
        referrers::added(self, &[(digest, manifest)])
    }

    /// The size of a blob, asked for with the rights that `actions` need.
    pub(super) fn size_for(&self, actions: &[&str], digest: &Digest) -> Result<Option<u64>> {
        self.registry.again(|| self.size_once(actions, digest))
    }

    /// The same without retries.
    pub(super) fn size_once(&self, actions: &[&str], digest: &Digest) -> Result<Option<u64>> {
        let head = Request::new("HEAD", self.blob_url(digest));
        let answer = self.attempt(actions, &head, &HEAD_ANSWERS)?;
        // The length of a compressed answer is not that of the blob.
        let length = answer
            .content_length()
            .filter(|_| answer.coding().is_none());
        let status = answer.status;
        let is_doubtful = is_document(&answer) && length.is_some_and(|length| length <= SMALL);
        answer.drain();
        match (status, length) {
            (404, _) => Ok(None),
            (200, Some(length)) if is_doubtful => self.size_by_reading(actions, digest, length),
            (200, Some(length)) if fits(digest, length) => Ok(Some(length)),
            _ => self.size_by_range(actions, digest),
        }
    }

    /// The size of a blob that may be another service's document: its bytes tell.
    fn size_by_reading(&self, actions: &[&str], digest: &Digest, size: u64) -> Result<Option<u64>> {
        let request = Request::new("GET", self.blob_url(digest));
        let answer = self.attempt(actions, &request, &[200])?;
        let mut body = Verify::new(answer.into_reader(), *digest, Some(size));
        io::copy(&mut body, &mut io::sink())?;
        Ok(Some(size))
    }

    fn size_by_range(&self, actions: &[&str], digest: &Digest) -> Result<Option<u64>> {
        let request = Request::new("GET", self.blob_url(digest)).header(RANGE, "bytes=0-0");
        let answer = self.attempt(actions, &request, &[200, 206, 404, 416])?;
        let range = answer
            .header(CONTENT_RANGE)
            .and_then(|value| value.rsplit_once('/')?.1.trim().parse().ok());
        let (status, length) = (answer.status, answer.content_length());
        let line = answer.line().clone();
        if let (200, true, Some(size @ ..=SMALL)) = (status, answer.coding().is_some(), length) {
            return small_size(answer, size, digest).map(Some);
        }
        if status != 200 {
            answer.drain();
        }
        let size = match status {
            404 => return Ok(None),
            206 | 416 => range,
            _ => length,
        };
        let why = match size {
            Some(size) if fits(digest, size) => return Ok(Some(size)),
            Some(0) => "it says that the blob is empty, and its digest says that it is not",
            Some(_) => "it says that the blob is not empty, and its digest says that it is",
            None => "it has no size",
        };
        Err(Error::malformed(format!("answer to {line}"), why))
    }

    /// Deletes what is at `url`. When the answer to a DELETE got lost, the next
    /// one finds nothing: that is what was wanted, not a failure.
    fn delete(&self, url: Url) -> Result<()> {
        let request = Request::new("DELETE", url);
        let (mut budget, mut perhaps_done) = (Budget::new(), false);
        loop {
            match self.attempt(&["delete"], &request, &DELETED) {
                Ok(answer) => return acknowledged(answer),
                Err(error) if perhaps_done && error.is_not_found() => return Ok(()),
                Err(error) => {
                    perhaps_done |= may_have_arrived(&error);
                    budget.again(self.registry.settings(), error)?;
                }
            }
        }
    }

    /// Checks the bytes of a manifest. What a header says never replaces the
    /// digest asked for (CVE-2025-24882).
    fn check(asked: &Target, told: Option<Digest>, manifest: &Manifest) -> Result<()> {
        let expected = match asked {
            Target::Digest(digest) => Some(*digest),
            Target::Tag(_) => told,
        };
        let Some(expected) = expected else {
            return Ok(());
        };
        let mut hasher = Hasher::like(&expected);
        hasher.update(manifest.payload());
        match hasher.finish() {
            actual if actual == expected => Ok(()),
            actual => Err(Error::mismatch(expected, actual)),
        }
    }

    fn told_digest(headers: &HeaderMap) -> Option<Digest> {
        let told = headers.get(CONTENT_DIGEST)?.to_str().ok()?;
        told.trim().parse().ok()
    }
}

/// Whether a blob may be of this size: the empty one is, and no other. Some proxies
/// say 0 to every HEAD.
fn fits(digest: &Digest, size: u64) -> bool {
    (size == 0) == (Hasher::like(digest).finish() == *digest)
}

impl ReadStore for Repository {
    fn name(&self) -> String {
        format!("{}/{}", self.registry.host(), self.name)
    }

    fn origin(&self) -> Option<Origin> {
        Some(Origin {
            host: self.registry.host().clone(),
            repo: self.name.clone(),
        })
    }

    fn blob_size(&self, digest: &Digest) -> Result<Option<u64>> {
        self.size_for(&["pull"], digest)
    }

    fn open_blob(&self, digest: &Digest, from: u64) -> Result<Content<'_>> {
        let download = Download::open(self, digest, from)?;
        Ok(Content {
            size: download.size(),
            reader: Box::new(download),
        })
    }

    fn open_range(&self, digest: &Digest, range: Range<u64>) -> Result<Option<Content<'_>>> {
        let download = Download::open_range(self, digest, range)?;
        Ok(download.map(|download| Content {
            size: download.size(),
            reader: Box::new(download),
        }))
    }

    fn manifest(&self, target: &Target) -> Result<Manifest> {
        let manifest = self.manifest_for(&["pull"], target)?;
        referrers::remember(self, &manifest, target);
        Ok(manifest)
    }

    fn head(&self, target: &Target) -> Result<Option<Descriptor>> {
        self.head_for(&["pull"], target)
    }

    fn tag_names(&self) -> Names<'_> {
        self.list(self.url("tags/list"))
    }

    fn tags(&self) -> Tags<'_> {
        parsed(self.tag_names())
    }

    fn referrers(&self, subject: &Digest) -> Result<Vec<Descriptor>> {
        referrers::list(self, subject, &|_| true)
    }

    fn referrers_among(
        &self,
        subject: &Digest,
        is_tag: &dyn Fn(&Tag) -> bool,
    ) -> Result<Vec<Descriptor>> {
        referrers::list(self, subject, is_tag)
    }
}

impl Store for Repository {
    fn size_to_write(&self, digest: &Digest) -> Result<Option<u64>> {
        self.size_for(&["pull", "push"], digest)
    }

    fn put_blob(&self, blob: &Blob, watch: Watch<'_>) -> Result<Put> {
        if let Some(from) = self.mountable(blob) {
            let put = Upload::new(self, blob, watch).unasked().run(Some(&from))?;
            self.registry.seen().note(blob.digest(), &self.name);
            return Ok(put);
        }
        match self.size_to_write(blob.digest()) {
            Ok(size) if size == Some(blob.size()) => {
                self.registry.seen().note(blob.digest(), &self.name);
                let (digest, size) = (blob.digest(), blob.size());
                watch.progress.skip(digest, size, Skipped::Existed);
                Ok(Put::Existed)
            }
            // Whatever a registry has against being asked, the upload will tell.
            Err(Error::Status { status, .. }) if !is_temporary_status(status) => {
                self.send_blob(blob, watch)
            }
            Err(error) => Err(error),
            Ok(_) => self.send_blob(blob, watch),
        }
    }

    fn send_blob(&self, blob: &Blob, watch: Watch<'_>) -> Result<Put> {
        // Another repository that may have it costs no request more.
        let from = self.elsewhere(blob);
        let put = Upload::new(self, blob, watch).run(from.as_ref())?;
        self.registry.seen().note(blob.digest(), &self.name);
        Ok(put)
    }

    fn mount_blob(&self, digest: &Digest, from: &RepoName, watch: Watch<'_>) -> Result<Put> {
        let source = self.registry.repository(from.clone());
        super::upload::mount(self, digest, &source, watch)
    }

    fn delete_blob(&self, digest: &Digest) -> Result<()> {
        self.delete(self.blob_url(digest))
    }

    fn put_manifest(&self, manifest: &Manifest, target: &Target) -> Result<()> {
        let listed = self.send_manifest(manifest, target)?;
        self.note_put(manifest, target, listed)
    }

    fn put_manifest_if(&self, manifest: &Manifest, tag: &Tag, expected: Expected) -> Result<()> {
        let target = Target::Tag(tag.clone());
        let listed = conditional::put(self, manifest, &target, expected)?;
        self.note_put(manifest, &target, listed)
    }

    fn put_manifests(&self, manifests: &[(Digest, &Manifest)]) -> Result<()> {
        let mut unlisted = Vec::new();
        for (digest, manifest) in manifests {
            let target = Target::Digest(*digest);
            let listed = self.send_manifest(manifest, &target)?;
            referrers::remember(self, manifest, &target);
            if !listed {
                unlisted.push((*digest, *manifest));
            }
        }
        referrers::added(self, &unlisted)
    }

    fn unlist(&self, subject: &Digest, referrer: &Digest) -> Result<bool> {
        referrers::unlist(self, subject, referrer)
    }

    fn delete_manifest(&self, digest: &Digest) -> Result<()> {
        self.delete(self.manifest_url(&Target::Digest(*digest)))?;
        referrers::deleted(self, digest);
        Ok(())
    }

    fn untag(&self, tag: &Tag) -> Result<()> {
        match self.delete(self.manifest_url(&Target::Tag(tag.clone()))) {
            Ok(()) => Ok(()),
            // distribution before 3.0 answers 400 or 405 to a tag.
            Err(error) if matches!(error.status(), Some(400 | 405 | 501)) => {
                Err(Error::NotAllowed {
                    what: format!("{error}; this registry cannot delete a single tag"),
                })
            }
            Err(error) => Err(error),
        }
    }
}

/// Whether a request that failed so may have had its effect all the same.
pub(super) fn may_have_arrived(error: &Error) -> bool {
    match error {
        Error::Network { kind, .. } => matches!(
            kind,
            NetworkKind::Cut | NetworkKind::Stale | NetworkKind::Timeout | NetworkKind::Slow
        ),
        // Sent by a proxy in front of a registry, or after the registry did its work.
        _ => matches!(error.status(), Some(500 | 502 | 504)),
    }
}

/// A blob that stays in its repository until it is read.
struct Remote {
    repository: Repository,
    digest: Digest,
    size: u64,
    origin: Origin,
}

impl Source for Remote {
    fn open(&self, from: u64) -> Result<Box<dyn Read + Send + '_>> {
        let content = self.repository.open_blob(&self.digest, from)?;
        Ok(match from {
            0 => Box::new(Verify::new(content.reader, self.digest, Some(self.size))),
            // Only the middle: the receiving side has the whole and checks it.
            _ => content.reader,
        })
    }

    fn verifies(&self) -> Option<(Digest, u64)> {
        Some((self.digest, self.size))
    }

    fn origin(&self) -> Option<&Origin> {
        Some(&self.origin)
    }
}
