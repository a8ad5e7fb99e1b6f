//! Into a registry that reads nothing newer than Docker's first format.

use crate::error::Result;
use crate::image::{Image, schema1};
use crate::jws::SigningKey;
use crate::manifest::Manifest;
use crate::parallel;
use crate::reference::{RepoName, Tag, Target};
use crate::store::Store;
use crate::stream::Run;

/// Where an image is stored in the old format, and the key that signs it.
#[derive(Clone, Copy)]
pub struct Signed<'a> {
    /// The repository.
    pub store: &'a dyn Store,
    /// Its name, which the manifest repeats and the registry compares.
    pub repo: &'a RepoName,
    /// The tag, which the manifest repeats too.
    pub tag: &'a Tag,
    /// What the manifest is signed with.
    pub key: &'a SigningKey,
}

/// Puts an image as a signed schema 1 manifest, its layers first; gives the
/// manifest. Most registries keep its payload and sign it again when they serve it;
/// only a registry that keeps the whole manifest serves the signature of this key.
///
/// ```no_run
/// use dxf_registry::jws::SigningKey;
/// use dxf_registry::stream::{Run, Stop, Watch};
/// use dxf_registry::graph::{Signed, put_signed};
/// # fn image() -> dxf_registry::Result<dxf_registry::image::Image> { unimplemented!() }
/// # fn repository() -> dxf_registry::Result<dxf_registry::Repository> { unimplemented!() }
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let key = SigningKey::from_pem(&std::fs::read_to_string("key.pem")?)?;
/// let repository = repository()?;
/// let to = Signed { store: &repository, repo: repository.repo_name(), tag: &"v1".parse()?, key: &key };
/// let stop = Stop::new();
/// let manifest = put_signed(&image()?, &to, Run::new(4, Watch::new(&(), &stop)))?;
/// println!("{} by {}", manifest.digest(), key.public().id());
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// As [`schema1::make`], and those of the store and of the layers' sources.
pub fn put_signed(image: &Image, to: &Signed<'_>, run: Run<'_>) -> Result<Manifest> {
    let old = schema1::make(image, to.repo, to.tag)?;
    let manifest = Manifest::signed(&old.payload, std::slice::from_ref(to.key))?;
    parallel::for_each(run.jobs, old.blobs, run.watch.stop, |blob, stop| {
        let watch = run.stopped_by(stop).watch;
        to.store.put_blob(&blob, watch).map(drop)
    })?;
    to.store
        .put_manifest(&manifest, &Target::Tag(to.tag.clone()))?;
    Ok(manifest)
}
