//! What a registry can do, found out by asking it: one small blob or two and a tag
//! under a name of their own, which are removed again.
//!
//! Nothing here is secret: it is what people paste into a bug report.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::SystemTime;

use ::http::header::{DATE, IF_NONE_MATCH};

use crate::auth::Granted;
use crate::blob::Blob;
use crate::bounds;
use crate::descriptor::{Descriptor, media_type};
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::http::redirect::follow;
use crate::http::{Request, status};
use crate::manifest::{Builder, Manifest, ReferrersList};
use crate::reference::{RepoName, Tag, Target};
use crate::registry::detect::API_VERSION;
use crate::registry::seen::Elsewhere;
use crate::registry::session::{Farewell, Opened, open};
use crate::registry::{Registry, Repository, UploadMode, not_a_page};
use crate::store::{ReadStore, Store};
use crate::stream::{Watch, read_bounded};

/// The manifests that are tried, bytes, the largest first.
const SIZES: [usize; 4] = [4 << 20, 1 << 20, 256 << 10, 64 << 10];
/// A chunk of an upload, bytes; the blob has three.
const CHUNK: usize = 16 << 10;
/// More than this the clocks must not differ, seconds: tokens and certificates
/// have times in them.
const SKEW: u64 = 60;

/// Whether a registry can do something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ability {
    /// It can.
    Yes,
    /// It can't, or refuses to.
    No,
    /// It was not tried.
    Untried,
}

/// One thing that was looked at.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Check {
    /// What, such as `mounts`.
    pub name: &'static str,
    /// Whether that works.
    pub ability: Ability,
    /// What was seen.
    pub detail: String,
    /// What it means where it does not work, and what helps.
    pub advice: &'static str,
    /// Why it does not work.
    pub error: Option<Arc<Error>>,
}

impl Check {
    /// A check without advice.
    pub fn new(name: &'static str, ability: Ability, detail: impl Into<String>) -> Check {
        let (detail, advice, error) = (detail.into(), "", None);
        Check {
            name,
            ability,
            detail,
            advice,
            error,
        }
    }
}

/// How far [`examine`] goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reach {
    /// It only reads.
    Read,
    /// It also stores a blob and a tag, and removes them.
    Write,
}

/// What `registry` can do in `repo`. A registry that can't be reached is the first
/// check and the last.
pub fn examine(registry: &Registry, repo: &RepoName, reach: Reach) -> Vec<Check> {
    let mut doctor = Doctor {
        registry,
        repository: registry.repository(repo.clone()),
        checks: Vec::new(),
    };
    if doctor.connection() {
        if !doctor.login() {
            // Each would be refused for the same reason.
            let rest = ["catalog", "tags", "ranges", "referrers"].iter();
            rest.chain(&WRITING)
                .for_each(|name| doctor.untried(name, "not tested: the login was refused"));
            return doctor.checks;
        }
        doctor.lists();
        match reach {
            Reach::Read => doctor.read(),
            Reach::Write => doctor.write(),
        }
    }
    doctor.checks
}

struct Doctor<'a> {
    registry: &'a Registry,
    repository: Repository,
    checks: Vec<Check>,
}

impl Doctor<'_> {
    fn note(&mut self, name: &'static str, done: Result<String>, advice: &'static str) -> bool {
        let mut check = match done {
            Ok(detail) => Check::new(name, Ability::Yes, detail),
            Err(error) => Check {
                error: Some(Arc::new(error)),
                ..Check::new(name, Ability::No, "")
            },
        };
        if let Some(error) = &check.error {
            check.detail = error.to_string();
        }
        let works = check.error.is_none();
        self.checks.push(Check { advice, ..check });
        works
    }

    fn untried(&mut self, name: &'static str, why: &str) {
        self.checks.push(Check::new(name, Ability::Untried, why));
    }

    fn connection(&mut self) -> bool {
        let mut date = None;
        let asked = self.registry.again(|| {
            let request = Request::new("GET", self.registry.base().clone());
            let answer = follow(self.registry.transport(), &request, &|_, _| {})?;
            if !matches!(answer.status, 200 | 401) {
                return Err(status::refusal(answer));
            }
            let answer = not_a_page(answer)?;
            date = answer
                .headers
                .get(DATE)
                .and_then(|date| date.to_str().ok())
                .map(str::to_string);
            let speaks = answer
                .header(API_VERSION)
                .unwrap_or("no version named")
                .to_string();
            let said = format!(
                "{}, {}, {speaks}",
                self.registry.base().scheme().as_str(),
                answer.status
            );
            answer.drain();
            Ok(said)
        });
        let there = self.note("connection", asked, CONNECTION);
        if let (true, Some(date)) = (there, date) {
            self.clock(&date);
        }
        there
    }

    fn clock(&mut self, date: &str) {
        let Ok(theirs) = httpdate::parse_http_date(date) else {
            return self.untried("clock", "the registry sends no time");
        };
        let now = SystemTime::now();
        let apart = now
            .duration_since(theirs)
            .or_else(|e| Ok::<_, ()>(e.duration()));
        let apart = apart.unwrap_or_default().as_secs();
        let said = match apart > SKEW {
            false => Ok(format!("{apart} s apart")),
            true => Err(Error::malformed(
                "clock",
                format!("it is {apart} s off the registry's"),
            )),
        };
        self.note(
            "clock",
            said,
            "set the clock: tokens and certificates are refused otherwise",
        );
    }

    /// Whether the registry may be asked for more: not if it refuses the login.
    fn login(&mut self) -> bool {
        let actions = ["pull", "push", "delete"].map(str::to_string);
        let granted = self
            .registry
            .authenticate(Some(self.repository.repo_name()), &actions);
        let is_refused = granted.as_ref().is_err_and(|error| {
            error.status() == Some(401) || matches!(error.what(), Error::InsecureAuth { .. })
        });
        self.note("login", granted.map(said), LOGIN);
        !is_refused
    }

    fn lists(&mut self) {
        let catalog = match self.registry.repos().next() {
            Some(Err(error)) => Err(error),
            Some(Ok(_)) => Ok("repositories are listed".to_string()),
            None => Ok("no repositories".to_string()),
        };
        self.note("catalog", catalog, CATALOG);
        let tags = match self.repository.tags().next() {
            Some(Err(error)) if !error.is_not_found() => Err(error),
            Some(Ok(_)) => Ok("aliases are listed".to_string()),
            _ => Ok("no aliases".to_string()),
        };
        self.note("tags", tags, "list-aliases and prune-aliases do not work");
    }

    /// What reading an existing blob tells.
    fn read(&mut self) {
        let found = self.repository.tags().next().and_then(Result::ok);
        let Some(tag) = found else {
            return self.untried(
                "ranges",
                "the repository is empty, and --read-only stores nothing",
            );
        };
        match self.repository.manifest(&Target::Tag(tag)) {
            Err(error) => {
                self.note("manifests", Err(error), "");
            }
            Ok(manifest) => {
                self.note("manifests", Ok(manifest.media_type().to_string()), "");
                let blobs = manifest
                    .image()
                    .map(|image| image.layers)
                    .unwrap_or_default();
                if let Some(blob) = blobs.iter().find(|blob| blob.size > 4) {
                    let ranges = self.ranges(&blob.digest);
                    self.note("ranges", ranges, RANGES);
                }
                let listed = self.referrers(&manifest.digest());
                self.note(
                    "referrers",
                    listed.map(|_| "the API answers".into()),
                    REFERRERS,
                );
            }
        }
        for name in &WRITING {
            self.untried(name, "--read-only");
        }
    }

    fn write(&mut self) {
        let nonce = RandomState::new().hash_one(std::process::id());
        let small = Blob::bytes(
            media_type::OCTET_STREAM,
            format!("dxf doctor {nonce:016x}").into_bytes(),
        );
        let mut text = format!("dxf doctor {nonce:016x} ").into_bytes();
        text.resize(3 * CHUNK, b'.');
        let chunked = Blob::bytes(media_type::OCTET_STREAM, text);
        let sent = self.send(&small, UploadMode::Monolithic);
        let whole = self.note("uploads", sent, "DXF_UPLOAD=5MiB sends chunks instead");
        let sent = self.send(&chunked, UploadMode::Chunked(CHUNK as u64));
        let parts = self.note("chunks", sent, "DXF_UPLOAD=monolithic: no upload resumes");
        if whole {
            let mounted = self.mount(small.digest());
            self.note(
                "mounts",
                mounted,
                "copies within the registry send the bytes again",
            );
            let ranges = self.ranges(small.digest());
            self.note("ranges", ranges, RANGES);
            self.manifests(small.descriptor(), &format!("dxf-doctor-{nonce:016x}"));
        }
        let deleted = match (whole, parts) {
            (false, false) => return self.untried("delete-blob", "nothing could be stored"),
            (true, _) => self.repository.delete_blob(small.digest()),
            (false, true) => Ok(()),
        };
        if parts {
            // Its own verdict is that of the first.
            let _ = self.repository.delete_blob(chunked.digest());
        }
        self.note("delete-blob", deleted.map(|()| "202".into()), BLOBS);
    }

    fn send(&self, blob: &Blob, mode: UploadMode) -> Result<String> {
        let repository = self.repository.with_upload(mode);
        repository.put_blob(blob, Watch::default())?;
        Ok(format!("{} bytes", blob.size()))
    }

    fn mount(&self, digest: &Digest) -> Result<String> {
        let itself = Elsewhere::known(self.repository.repo_name());
        match open(&self.repository, digest, Some(&itself))? {
            Opened::Mounted => Ok("201".into()),
            Opened::Session(mut session) => {
                Farewell::new(&self.repository).cancel(&mut session);
                Err(Error::NotAllowed {
                    what: "the registry opened an upload instead".into(),
                })
            }
        }
    }

    fn ranges(&self, digest: &Digest) -> Result<String> {
        let refused = || Error::NotAllowed {
            what: "the registry sent all of it".into(),
        };
        let content = self
            .repository
            .open_range(digest, 1..4)?
            .ok_or_else(refused)?;
        let bytes = read_bounded("range", content.reader, 3)?;
        match bytes.len() {
            3 => Ok("206".into()),
            _ => Err(refused()),
        }
    }

    /// Manifests under a tag, what they can do, and their end.
    fn manifests(&mut self, blob: &Descriptor, name: &str) {
        let Ok(tag) = name.parse::<Tag>() else { return };
        let target = Target::Tag(tag.clone());
        let empty = Blob::empty();
        let stored = self
            .repository
            .put_blob(&empty, Watch::default())
            .and_then(|_| {
                let manifest = artifact(&empty, blob, None, 0)?;
                self.repository.put_manifest(&manifest, &target)?;
                Ok(manifest)
            });
        let manifest = match stored {
            Ok(manifest) => manifest,
            Err(error) => {
                self.note(
                    "oci-1.1",
                    Err(error),
                    "push-files --oci 1.0; DXF_ALIAS_FORMAT=docker",
                );
                return;
            }
        };
        self.note("oci-1.1", Ok("artifact types are accepted".into()), "");
        let conditional = self.conditional(&manifest, &target);
        self.note("conditional-put", conditional, CONDITION);
        let mut all = vec![manifest.digest()];
        self.subject(&empty, blob, &manifest, &mut all);
        self.largest(&empty, blob, &mut all);
        let untagged = self.repository.untag(&tag);
        self.note(
            "delete-tag",
            untagged.map(|()| "the tag alone".into()),
            TAGS,
        );
        let mut deleted = Ok(());
        for digest in all.iter().rev() {
            let done = self.repository.delete_manifest(digest);
            // One that went with its tag is gone as well.
            if let Err(error) = done
                && !error.is_not_found()
            {
                deleted = Err(error);
            }
        }
        self.tidy(&manifest.digest());
        self.note(
            "delete-manifest",
            deleted.map(|()| "by digest".into()),
            MANIFESTS,
        );
    }

    /// Removes the list of referrers that dxf keeps where the registry keeps none.
    fn tidy(&self, subject: &Digest) {
        let Ok(tag) = ReferrersList::tag(subject) else {
            return;
        };
        if let Ok(Some(list)) = self.repository.head(&Target::Tag(tag.clone()))
            && self.repository.untag(&tag).is_err()
        {
            // The checks of deletion report what can't be deleted.
            let _ = self.repository.delete_manifest(&list.digest);
        }
    }

    fn conditional(&self, manifest: &Manifest, target: &Target) -> Result<String> {
        let request = self
            .repository
            .put_request(manifest, target)
            .header(IF_NONE_MATCH, "*");
        match self
            .repository
            .attempt(&["pull", "push"], &request, &[200, 201, 202])
        {
            Err(error) if error.status() == Some(412) => Ok("412 if the tag exists".into()),
            Err(error) => Err(error),
            Ok(answer) => {
                answer.drain();
                Err(Error::NotAllowed {
                    what: "If-None-Match is ignored".into(),
                })
            }
        }
    }

    fn subject(&mut self, empty: &Blob, blob: &Descriptor, of: &Manifest, all: &mut Vec<Digest>) {
        let put = artifact(empty, blob, Some(&of.descriptor()), 0).and_then(|manifest| {
            let digest = manifest.digest();
            self.repository
                .put_manifest(&manifest, &Target::Digest(digest))?;
            Ok(digest)
        });
        let listed = put.and_then(|digest| {
            all.push(digest);
            let listed = self.referrers(&of.digest())?;
            match listed.contains(&digest.to_string()) {
                true => Ok("the API lists them".to_string()),
                false => Err(Error::NotAllowed {
                    what: "the API does not list a new one".into(),
                }),
            }
        });
        self.note("referrers", listed, REFERRERS);
    }

    /// The registry's own list of referrers, as it came.
    fn referrers(&self, subject: &Digest) -> Result<String> {
        let request = Request::new("GET", self.repository.url(&format!("referrers/{subject}")));
        let answer = self.repository.attempt(&["pull"], &request, &[200])?;
        let kind = answer
            .header(::http::header::CONTENT_TYPE)
            .unwrap_or_default()
            .to_string();
        let text = String::from_utf8_lossy(&answer.bytes(bounds::MANIFEST)?).into_owned();
        match kind.starts_with(media_type::OCI_INDEX) {
            true => Ok(text),
            false => Err(Error::NotAllowed {
                what: format!("the answer is {kind:?}, no index"),
            }),
        }
    }

    fn largest(&mut self, empty: &Blob, blob: &Descriptor, all: &mut Vec<Digest>) {
        let mut why = Ok(String::new());
        for size in SIZES {
            let put = artifact(empty, blob, None, size).and_then(|manifest| {
                let digest = manifest.digest();
                self.repository
                    .put_manifest(&manifest, &Target::Digest(digest))?;
                Ok((digest, manifest.bytes().len()))
            });
            match put {
                Ok((digest, size)) => {
                    all.push(digest);
                    why = Ok(format!("{size} bytes are accepted"));
                    break;
                }
                Err(error) => why = Err(error),
            }
        }
        self.note(
            "largest-manifest",
            why,
            "a file in very many parts needs a larger --split",
        );
    }
}

/// The checks that store something first.
const WRITING: [&str; 6] = [
    "uploads",
    "chunks",
    "mounts",
    "delete-tag",
    "delete-manifest",
    "delete-blob",
];
const CONNECTION: &str = "DXF_INSECURE=1 for http, DXF_TLSVERIFY for a certificate of your own, \
    DXF_PROXY for a proxy";
const LOGIN: &str = "dxf login, or DXF_USERNAME and DXF_PASSWORD; auth --explain shows details";
const CATALOG: &str = "list-repos does not work; name the repositories to sync with --repo";
const BLOBS: &str = "del-blob does not work; the registry's garbage collection does that";
const CONDITION: &str = "set-alias --if-match checks first; a writer in between goes unnoticed";
const TAGS: &str = "del-alias --only leaves an alias that shares its manifest; prune-aliases too";
const MANIFESTS: &str = "del-alias and prune-aliases do not work; on distribution set \
    REGISTRY_STORAGE_DELETE_ENABLED=true, and see `dxf help registries`";
const RANGES: &str = "downloads use one connection, and restart after an interruption";
const REFERRERS: &str = "dxf keeps lists of referrers under tags (sha256-…), as oras and regctl do";

/// What a login was, in words.
fn said(login: Granted) -> String {
    let Granted { scheme, source, .. } = login;
    let from = match source.as_str() {
        "none" => "without credentials".to_string(),
        source => format!("with the credentials from {source}"),
    };
    match (scheme, login.granted) {
        ("none", _) => "the registry asks for none".to_string(),
        (_, Some(rights)) => format!("{scheme} {from}, granted: {rights}"),
        (_, None) => format!("{scheme} {from}; the registry does not say which rights they give"),
    }
}

/// An artifact of one layer; with `size` its manifest has so many bytes.
fn artifact(
    empty: &Blob,
    layer: &Descriptor,
    subject: Option<&Descriptor>,
    size: usize,
) -> Result<Manifest> {
    let make = |padding: usize| {
        let mut manifest = Builder::new(media_type::OCI_MANIFEST)
            .member("artifactType", "application/vnd.dxf.doctor.v1")
            .config(empty.descriptor())
            .layers([layer]);
        if let Some(subject) = subject {
            let subject =
                serde_json::to_value(subject).map_err(|e| Error::malformed("subject", e))?;
            manifest = manifest.member("subject", subject);
        }
        if padding > 0 {
            manifest = manifest.annotations([("padding", ".".repeat(padding))]);
        }
        manifest.build()
    };
    if size == 0 {
        return make(0);
    }
    let frame = make(1)?.bytes().len();
    make(size.saturating_sub(frame) + 1)
}
