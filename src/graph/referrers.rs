//! Listing what refers to a manifest, by every scheme there is: the registry's
//! own list or the fallback tag, cosign's tags, and the attestations that
//! BuildKit puts into the index beside the image.

use std::collections::{HashMap, HashSet};

use super::Remote;
use super::related::Seen;
use crate::bounds;
use crate::descriptor::{Descriptor, media_type};
use crate::digest::Digest;
use crate::error::{Error, Result, if_found};
use crate::manifest::{ATTESTED, Kind, Manifest, is_attestation};
use crate::parallel;
use crate::reference::Target;
use crate::store::ReadStore;
use crate::stream::Run;

/// Deeper chains of referrers are refused.
const MAX_DEPTH: u32 = bounds::REFERRER_LEVELS;

/// The lists of referrers of one store, each asked for once.
#[derive(Default)]
pub(crate) struct Lists {
    by_subject: HashMap<Digest, HashSet<Digest>>,
}

impl Lists {
    /// Whether an existing manifest is listed under its subject, if it has one: a
    /// copy may have ended between the two, or the list may have been deleted.
    pub fn has(
        &mut self,
        store: &dyn ReadStore,
        subject: Option<&Digest>,
        digest: &Digest,
    ) -> Result<bool> {
        let Some(subject) = subject else {
            return Ok(true);
        };
        if let Some(list) = self.by_subject.get(subject) {
            return Ok(list.contains(digest));
        }
        let list = store.referrers(subject)?.into_iter();
        let list: HashSet<Digest> = list.map(|one| one.digest).collect();
        let is_listed = list.contains(digest);
        self.by_subject.insert(*subject, list);
        Ok(is_listed)
    }
}

/// How a referrer is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Scheme {
    /// Its manifest names its subject; the registry lists it, or the fallback tag.
    Subject,
    /// A tag that cosign makes of the subject's digest.
    CosignTag,
    /// An entry of the subject's index, with BuildKit's annotations.
    BuildKit,
}

impl Scheme {
    /// The scheme's name in listings.
    pub fn name(self) -> &'static str {
        match self {
            Scheme::Subject => "subject",
            Scheme::CosignTag => "cosign",
            Scheme::BuildKit => "buildkit",
        }
    }
}

/// A manifest that refers to another one.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Referrer {
    /// The digest of the manifest that it refers to.
    pub subject: Digest,
    /// Its digest, or the tag that cosign made for it.
    pub target: Target,
    /// Its manifest, with artifact type and annotations as that says them.
    pub descriptor: Descriptor,
    /// The type of its config, where it has one: some registries list that as
    /// the artifact type.
    pub config_type: Option<String>,
    /// How it is found.
    pub scheme: Scheme,
}

impl Referrer {
    /// Whether it is of this artifact type.
    pub fn is_of_type(&self, kind: &str) -> bool {
        self.descriptor.artifact_type() == Some(kind) || self.config_type.as_deref() == Some(kind)
    }
}

impl Remote {
    /// All that refers to a manifest or to the manifests it lists, and to the
    /// referrers up to `depth` levels (all without one). Subjects come before
    /// what refers to them; each digest comes once. Their types are read from
    /// the manifests, because lists of referrers may be wrong.
    ///
    /// # Errors
    /// Those of the store; [`Error::Malformed`] for more referrers or levels
    /// than any image has.
    pub fn referrers(
        &self,
        digest: &Digest,
        manifest: &Manifest,
        depth: Option<u32>,
        run: Run<'_>,
    ) -> Result<Vec<Referrer>> {
        let (mut subjects, attestations) = roots(digest, manifest)?;
        let mut seen = Seen::new(&subjects);
        let mut digests: HashSet<Digest> = subjects.iter().copied().collect();
        let mut all: Vec<Referrer> = Vec::new();
        let mut beside = attestations;
        for level in 0..depth.unwrap_or(u32::MAX) {
            if level >= MAX_DEPTH {
                let why = format!("they refer to each other more than {MAX_DEPTH} deep");
                return Err(Error::malformed("lists of referrers", why));
            }
            let mut found: Vec<Found> = std::mem::take(&mut beside);
            found.retain(|found| seen.find(&found.target));
            for (subject, target) in self.about_each(subjects, &mut seen, run)? {
                let scheme = match target {
                    Target::Digest(_) => Scheme::Subject,
                    Target::Tag(_) => Scheme::CosignTag,
                };
                found.push(Found {
                    subject,
                    target,
                    scheme,
                });
            }
            let read = parallel::map(run.jobs, found, run.watch.stop, |one, _| self.read(one))?;
            let mut read: Vec<Referrer> = read.into_iter().flatten().collect();
            // A tag can name any manifest, even one above it.
            read.retain(|one| digests.insert(one.descriptor.digest));
            subjects = read.iter().map(|one| one.descriptor.digest).collect();
            for digest in &subjects {
                seen.insert(*digest);
            }
            all.extend(read);
            if subjects.is_empty() {
                break;
            }
        }
        Ok(all)
    }

    /// A referrer as its manifest describes it; `None` for one that is gone,
    /// because lists that clients keep outlive what they list.
    fn read(&self, found: Found) -> Result<Option<Referrer>> {
        let Found {
            subject,
            target,
            scheme,
        } = found;
        let Some(manifest) = if_found(self.store().manifest(&target))? else {
            return Ok(None);
        };
        let mut descriptor = manifest.referrer()?;
        if let Target::Digest(digest) = target {
            descriptor.digest = digest;
        }
        let mut config_type = None;
        if manifest.kind() == Kind::Image {
            let image = manifest.image()?;
            let runnable = image.config.media_type == media_type::OCI_CONFIG;
            // cosign and BuildKit use an image's config type; what their
            // manifests are is the type of the first layer.
            if let (Some(layer), true) = (image.layers.first(), runnable)
                && scheme != Scheme::Subject
                && image.artifact_type.is_none()
            {
                let kind = layer.media_type.clone();
                descriptor.rest.insert("artifactType".into(), kind.into());
            }
            config_type = Some(image.config.media_type);
        }
        Ok(Some(Referrer {
            subject,
            target,
            descriptor,
            config_type,
            scheme,
        }))
    }
}

/// A referrer that was found and is not read yet.
struct Found {
    /// What it is about.
    subject: Digest,
    /// Its name.
    target: Target,
    scheme: Scheme,
}

/// The manifests whose referrers are listed, and the attestations among the
/// entries of an index.
fn roots(digest: &Digest, manifest: &Manifest) -> Result<(Vec<Digest>, Vec<Found>)> {
    let (mut subjects, mut attestations) = (vec![*digest], Vec::new());
    if manifest.kind() == Kind::Index {
        for entry in manifest.index()?.manifests {
            if !is_attestation(&entry) {
                subjects.push(entry.digest);
                continue;
            }
            let about = entry.annotations.get(ATTESTED);
            let about = about.and_then(|text| text.parse().ok());
            attestations.push(Found {
                subject: about.unwrap_or(*digest),
                target: Target::Digest(entry.digest),
                scheme: Scheme::BuildKit,
            });
        }
    }
    let mut once = HashSet::new();
    subjects.retain(|digest| once.insert(*digest));
    Ok((subjects, attestations))
}
