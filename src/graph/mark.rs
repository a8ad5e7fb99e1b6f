//! What must stay: everything that some manifests reach, in every direction that
//! a manifest can be reached from.
//!
//! A [`super::Walk`] goes down only. Here a manifest that stays keeps what it
//! names, nested indexes included, its subject, and what refers to it. The caller
//! says what the roots are and how a repository is read, so a folder and a
//! registry have the same rules.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::bounds;
use crate::descriptor::Descriptor;
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::manifest::{Kind, Manifest, is_manifest};
use crate::parallel;
use crate::stream::Run;

/// The manifests that one mark reads at most. A repository has fewer.
const MAX_MANIFESTS: usize = bounds::REACHED;

/// A repository, as [`mark`] reads it.
pub trait Manifests: Sync {
    /// What the manifest `entry` names; `None` when the repository does not
    /// contain it, or it is not a manifest.
    ///
    /// # Errors
    /// Why it can't be read: nothing must be deleted then.
    fn names(&self, entry: &Descriptor) -> Result<Option<Arc<Names>>>;

    /// The manifests that refer to `subject`, by whatever scheme.
    ///
    /// # Errors
    /// Those of the store.
    fn related(&self, subject: &Digest) -> Result<Vec<Descriptor>>;
}

/// What a manifest names.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Names {
    /// What may be manifests: the entries of an index, and a subject.
    pub manifests: Vec<Descriptor>,
    /// Config and layers: their digests and sizes, because a repository's are many.
    pub blobs: Vec<(Digest, u64)>,
    /// What the manifest is about.
    pub subject: Option<Digest>,
}

impl Names {
    /// What `manifest` names.
    ///
    /// # Errors
    /// [`Error::Malformed`] for a manifest that breaks its format,
    /// [`Error::Unsupported`] for one of an unknown type.
    pub fn of(manifest: &Manifest) -> Result<Names> {
        let mut names = Names::default();
        match manifest.kind() {
            // An entry of another type may still be a manifest, of a format that
            // is yet to come.
            Kind::Index => names.manifests = manifest.index()?.manifests,
            Kind::Image => {
                let image = manifest.image()?;
                for blob in std::iter::once(image.config).chain(image.layers) {
                    match !blob.media_type.is_empty() && is_manifest(&blob) {
                        true => names.manifests.push(blob),
                        false => names.blobs.push((blob.digest, blob.size)),
                    }
                }
            }
            Kind::Schema1 => {
                let layers = manifest.schema1()?.fs_layers.into_iter();
                names.blobs = layers.map(|layer| (layer.blob_sum, 0)).collect();
            }
            Kind::Unknown => {
                let blobs = manifest.artifact_blobs()?.into_iter();
                names.blobs = blobs.map(|blob| (blob.digest, blob.size)).collect();
            }
        }
        if let Some(subject) = manifest.subject()? {
            names.subject = Some(subject.digest);
            names.manifests.push(subject);
        }
        names.blobs.shrink_to_fit();
        Ok(names)
    }
}

/// Something that is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Reached {
    /// The size that it is named with, bytes.
    pub size: u64,
    /// Whether it is a manifest that was read.
    pub is_manifest: bool,
}

/// Everything that `roots` reach, themselves included. Each manifest is read once,
/// `run.jobs` of them at a time.
///
/// # Errors
/// Those of `source`; [`Error::NotFound`] for a root that the repository does not
/// contain: what it names can't be known. What is missing below a root names
/// nothing.
pub fn mark(
    source: &dyn Manifests,
    roots: impl IntoIterator<Item = Descriptor>,
    run: Run<'_>,
) -> Result<HashMap<Digest, Reached>> {
    let mut reached: HashMap<Digest, Reached> = HashMap::new();
    let mut seen = HashSet::new();
    let mut level: Vec<Descriptor> = roots.into_iter().collect();
    let roots: HashSet<Digest> = level.iter().map(|root| root.digest).collect();
    while !level.is_empty() {
        level.retain(|entry| seen.insert(entry.digest));
        if seen.len() > MAX_MANIFESTS {
            let why = format!("it leads to more than {MAX_MANIFESTS} manifests");
            return Err(Error::malformed("repository", why));
        }
        let read = parallel::map(run.jobs, level, run.watch.stop, |entry, _| {
            let names = source.names(&entry)?;
            let related = match names {
                Some(_) => source.related(&entry.digest)?,
                None => Vec::new(),
            };
            // The rest of the entry is no longer of use, and there are many.
            Ok((entry.digest, entry.size, names, related))
        })?;
        level = Vec::new();
        for (digest, size, names, related) in read {
            let is_manifest = names.is_some();
            reached.insert(digest, Reached { size, is_manifest });
            let Some(names) = names else {
                if roots.contains(&digest) {
                    let what = format!("manifest {digest}, although an alias names it");
                    return Err(Error::NotFound { what });
                }
                continue;
            };
            for (digest, size) in &names.blobs {
                let (size, is_manifest) = (*size, false);
                let blob = reached.entry(*digest);
                blob.or_insert(Reached { size, is_manifest });
            }
            level.extend(names.manifests.iter().cloned());
            level.extend(related);
        }
    }
    Ok(reached)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    /// Manifests by one letter, and who refers to whom.
    #[derive(Default)]
    struct Repository {
        names: HashMap<Digest, Names>,
        related: HashMap<Digest, Vec<Descriptor>>,
        reads: Mutex<Vec<Digest>>,
    }

    fn d(letter: &str) -> Descriptor {
        Descriptor::new("", Digest::of(letter.as_bytes()), 1)
    }

    impl Repository {
        fn manifest(&mut self, name: &str, manifests: &str, blobs: &str, subject: Option<&str>) {
            let list = |letters: &str| letters.chars().map(|c| d(&c.to_string())).collect();
            let blobs: Vec<Descriptor> = list(blobs);
            let mut names = Names {
                manifests: list(manifests),
                blobs: blobs.iter().map(|blob| (blob.digest, blob.size)).collect(),
                subject: subject.map(|subject| d(subject).digest),
            };
            if let Some(subject) = subject {
                names.manifests.push(d(subject));
                self.related
                    .entry(d(subject).digest)
                    .or_default()
                    .push(d(name));
            }
            self.names.insert(d(name).digest, names);
        }

        fn reach(&self, roots: &str) -> String {
            let roots = roots.chars().map(|c| d(&c.to_string()));
            let reached = mark(self, roots, Run::default()).unwrap();
            let all = ('a'..='z').map(String::from);
            all.filter(|c| reached.contains_key(&d(c).digest)).collect()
        }
    }

    impl Manifests for Repository {
        fn names(&self, entry: &Descriptor) -> Result<Option<Arc<Names>>> {
            self.reads.lock().unwrap().push(entry.digest);
            if *entry == d("x") {
                return Err(Error::malformed("manifest", "x"));
            }
            Ok(self.names.get(&entry.digest).cloned().map(Arc::new))
        }

        fn related(&self, subject: &Digest) -> Result<Vec<Descriptor>> {
            Ok(self.related.get(subject).cloned().unwrap_or_default())
        }
    }

    /// An index of two images, one signed, the signature's list of materials;
    /// and another image.
    fn repository() -> Repository {
        let mut all = Repository::default();
        all.manifest("i", "ab", "", None);
        all.manifest("a", "", "cl", None);
        all.manifest("b", "", "cm", None);
        all.manifest("s", "", "e", Some("b"));
        all.manifest("t", "", "f", Some("s"));
        all.manifest("o", "", "gl", None);
        all
    }

    #[test]
    fn down_and_up_and_sideways() {
        let all = repository();
        assert_eq!(all.reach("i"), "abcefilmst");
        assert_eq!(all.reads.lock().unwrap().len(), 5, "each manifest once");
        assert_eq!(all.reach("o"), "glo");
        assert_eq!(all.reach("a"), "acl");
        // A signature keeps its subject, and what is beside it.
        assert_eq!(all.reach("t"), "bcefmst");
        assert_eq!(all.reach(""), "");
    }

    #[test]
    fn a_missing_child_names_nothing_and_a_missing_root_stops() {
        let mut all = repository();
        all.manifest("i", "az", "", None);
        assert_eq!(all.reach("i"), "acilz");
        let missing = mark(&all, [d("z")], Run::default());
        assert!(matches!(missing, Err(Error::NotFound { .. })));
        all.manifest("i", "ax", "", None);
        assert!(mark(&all, [d("i")], Run::default()).is_err());
    }

    #[test]
    fn circles_end() {
        let mut all = Repository::default();
        all.manifest("a", "b", "", Some("b"));
        all.manifest("b", "a", "", Some("a"));
        assert_eq!(all.reach("a"), "ab");
    }
}
