//! How an index becomes the manifests it names: the one that a platform means,
//! or all of them (image-spec, image-index.md). Indexes may be nested; what
//! one name leads to is taken from one [`Budget`].

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use super::Budget;
use crate::descriptor::{Descriptor, media_type};
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::image::{MAX_DEPTH, config};
use crate::manifest::{
    Kind, Manifest, Select, best_fit, is_attestation, is_index, is_manifest, is_selectable,
};
use crate::parallel;
use crate::platform::Platform;
use crate::reference::Target;
use crate::store::ReadStore;
use crate::stream::{Run, read_bounded};

/// Reads what indexes of a store name, within bounds.
pub struct Resolver<'a> {
    store: &'a dyn ReadStore,
    budget: &'a Budget,
    run: Run<'a>,
}

impl<'a> Resolver<'a> {
    /// Reads from `store`, at most what is left of `budget`.
    pub fn new(store: &'a dyn ReadStore, budget: &'a Budget, run: Run<'a>) -> Resolver<'a> {
        Resolver { store, budget, run }
    }

    /// The selected part of a manifest: itself, unless it is an index of which one
    /// platform is wanted. Fetches that one only, unless no entry fits; then
    /// those are fetched that do not say what they are for.
    ///
    /// # Errors
    /// [`Error::NoPlatform`] when nothing fits; [`Error::Malformed`] for indexes
    /// beyond the bounds; [`Error::Size`] and [`Error::Malformed`] for a manifest
    /// that is not what its index says; those of the store.
    pub fn choose(&self, manifest: Manifest, wanted: Select<'_>) -> Result<Manifest> {
        let (Select::Platform(platform) | Select::Host(platform)) = wanted else {
            return Ok(manifest);
        };
        let mut chosen = manifest;
        let mut depth = 0;
        while chosen.kind() == Kind::Index {
            let entries = self.entries(&chosen, depth)?;
            if let Some(best) = best_fit(&entries, platform) {
                chosen = self.fetch(best)?;
            } else {
                let all = self.with_platforms(entries, depth)?;
                match wanted.pick(&all)? {
                    Some(meant) => chosen = self.fetch(meant)?,
                    None => break,
                }
            }
            depth += 1;
        }
        Ok(chosen)
    }

    /// What a manifest offers to choose from: the entries of an index, and of
    /// those in it, that a platform can mean; or the image itself. An entry that
    /// says no platform is for that of its config.
    ///
    /// # Errors
    /// As [`Resolver::choose`]; those of a config.
    pub fn platforms(&self, manifest: &Manifest) -> Result<Vec<Descriptor>> {
        self.platforms_at(manifest, manifest.descriptor(), 0)
    }

    /// Every manifest that is not an index, of an index and of those in it, each with
    /// the entry that lists it. Several are fetched at once, a repeated one once.
    ///
    /// # Errors
    /// As [`Resolver::choose`].
    pub fn each(&self, index: &Manifest) -> Result<Vec<(Descriptor, Manifest)>> {
        let mut found = Vec::new();
        self.each_at(index, 0, &mut found)?;
        Ok(found)
    }

    /// The entries of an index nested in `depth` others.
    ///
    /// # Errors
    /// [`Error::Malformed`] beyond [`MAX_DEPTH`] and the budget.
    pub fn entries(&self, index: &Manifest, depth: usize) -> Result<Vec<Descriptor>> {
        if depth >= MAX_DEPTH {
            let why = format!("it nests indexes more than {MAX_DEPTH} deep");
            return Err(Error::malformed("index", why));
        }
        let entries = index.index()?.manifests;
        self.budget.entries(entries.len())?;
        Ok(entries)
    }

    /// The manifest that an entry names.
    ///
    /// # Errors
    /// [`Error::Size`] and [`Error::Malformed`] when it is not what the entry
    /// says; those of the store.
    pub fn fetch(&self, entry: &Descriptor) -> Result<Manifest> {
        self.budget.hold(entry.size)?;
        // The store verifies the digest.
        let manifest = self.store.manifest(&Target::Digest(entry.digest))?;
        must_be(entry, &manifest)?;
        Ok(manifest)
    }

    fn with_platforms(&self, entries: Vec<Descriptor>, depth: usize) -> Result<Vec<Descriptor>> {
        let mut found = Vec::new();
        for entry in entries {
            if is_selectable(&entry) {
                found.push(entry);
            } else if says_nothing(&entry) {
                self.run.watch.stop.check()?;
                let manifest = self.fetch(&entry)?;
                found.extend(self.platforms_at(&manifest, entry, depth + 1)?);
            }
        }
        Ok(found)
    }

    fn platforms_at(
        &self,
        manifest: &Manifest,
        mut entry: Descriptor,
        depth: usize,
    ) -> Result<Vec<Descriptor>> {
        if manifest.kind() == Kind::Index {
            return self.with_platforms(self.entries(manifest, depth)?, depth);
        }
        entry.platform = self.platform_of(manifest)?.map(Box::new);
        Ok(Some(entry).filter(is_selectable).into_iter().collect())
    }

    /// Where an image or artifact runs, as its config says; `None` where it has none
    /// that says so, and for what refers to another one, whatever it looks like.
    fn platform_of(&self, manifest: &Manifest) -> Result<Option<Platform>> {
        // The config of schema 1 is made of the layers' histories when it is
        // pulled.
        if manifest.kind() != Kind::Image || manifest.subject()?.is_some() {
            return Ok(None);
        }
        let image = manifest.image()?;
        if !config::has_platform(&image) {
            return Ok(None);
        }
        self.budget.hold(image.config.size)?;
        let (digest, size) = (&image.config.digest, image.config.size);
        let content = self.store.pull_blob(digest, Some(size))?;
        let bytes = read_bounded(&digest.to_string(), content.reader, config::MAX_SIZE)?;
        Ok(Some(config::Config::parse(&bytes)?.platform()))
    }

    fn each_at(
        &self,
        index: &Manifest,
        depth: usize,
        found: &mut Vec<(Descriptor, Manifest)>,
    ) -> Result<()> {
        let mut entries = self.entries(index, depth)?;
        entries.retain(is_manifest);
        // Two platforms may share a manifest; it is fetched once.
        let mut places: HashMap<(Digest, u64), usize> = HashMap::new();
        let mut repeated = 0;
        let mut unique: Vec<Descriptor> = Vec::new();
        for entry in &entries {
            match places.entry((entry.digest, entry.size)) {
                Entry::Vacant(place) => {
                    place.insert(unique.len());
                    unique.push(entry.clone());
                }
                // A copy takes memory too.
                Entry::Occupied(_) => repeated += entry.size,
            }
        }
        self.budget.hold(repeated)?;
        let (jobs, stop) = (self.run.jobs, self.run.watch.stop);
        let fetched = parallel::map(jobs, unique, stop, |entry, _| self.fetch(&entry))?;
        for entry in entries {
            let Some(child) = places
                .get(&(entry.digest, entry.size))
                .and_then(|at| fetched.get(*at))
            else {
                continue;
            };
            if child.kind() == Kind::Index {
                self.each_at(child, depth + 1, found)?;
            } else {
                found.push((entry, child.clone()));
            }
        }
        Ok(())
    }
}

/// Whether an entry may be an image, or an index of some, and does not say for
/// which platform.
fn says_nothing(entry: &Descriptor) -> bool {
    let unnamed = match &entry.platform {
        None => is_manifest(entry),
        Some(platform) => platform.is_unknown() && is_index(entry),
    };
    unnamed && !is_attestation(entry)
}

/// Refuses a manifest that is not what the entry of an index says. An image is
/// never taken for an index, nor an index for an image (CVE-2021-41190).
fn must_be(entry: &Descriptor, manifest: &Manifest) -> Result<()> {
    let actual = manifest.bytes().len() as u64;
    if actual != entry.size {
        return Err(Error::Size {
            what: entry.digest.to_string(),
            expected: entry.size,
            actual,
        });
    }
    let said = match entry.media_type.as_str() {
        media_type::OCI_INDEX | media_type::DOCKER_LIST => Kind::Index,
        media_type::OCI_MANIFEST | media_type::DOCKER_MANIFEST => Kind::Image,
        _ => manifest.kind(),
    };
    if manifest.kind() == said {
        return Ok(());
    }
    let why = format!("{} is not what it lists it as", entry.digest);
    Err(Error::malformed("index", why))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::tests::{Made, image_for};
    use crate::store::testing::Spy;
    use serde_json::json;

    fn index(entries: &[Descriptor]) -> Manifest {
        let index = json!({"schemaVersion": 2, "mediaType": media_type::OCI_INDEX,
            "manifests": entries});
        Manifest::new(None, index.to_string().into_bytes()).unwrap()
    }

    /// An entry for an image that is in `spy`, without a platform.
    fn stored(spy: &Spy, platform: &str) -> Descriptor {
        let image = image_for(platform, &[Made::Plain(platform.as_bytes())]);
        spy.blob(&image.config_blob().read(config::MAX_SIZE).unwrap());
        spy.insert(image.manifest(), None);
        image.manifest().descriptor()
    }

    #[test]
    fn an_entry_without_a_platform_is_for_that_of_its_config() {
        let spy = Spy::default();
        let mut said = stored(&spy, "linux/amd64");
        said.platform = Some(Box::new("linux/amd64".parse().unwrap()));
        let entries = [
            stored(&spy, "linux/arm64"),
            said,
            stored(&spy, "linux/s390x"),
        ];
        let top = index(&entries);
        let budget = Budget::default();
        let resolver = Resolver::new(&spy, &budget, Run::default());
        let offered = resolver.platforms(&top).unwrap();
        let names = offered.iter().filter_map(|e| e.platform.as_ref());
        let names: Vec<String> = names.map(ToString::to_string).collect();
        assert_eq!(names, ["linux/arm64", "linux/amd64", "linux/s390x"]);
        let choose = |wanted: &str, top: &Manifest| {
            spy.asked();
            let wanted = wanted.parse().unwrap();
            resolver.choose(top.clone(), Select::Platform(&wanted))
        };
        let chosen = choose("linux/amd64", &top).unwrap();
        assert_eq!(chosen.digest(), entries[1].digest);
        assert_eq!(spy.asked(), ["manifest"], "the others were not needed");
        assert_eq!(
            choose("linux/s390x", &top).unwrap().digest(),
            entries[2].digest
        );
        let error = choose("linux/arm/v7", &top).unwrap_err();
        assert!(
            error
                .to_string()
                .contains("linux/amd64, linux/arm64, linux/s390x"),
            "{error}"
        );
        // The same where the index is nested.
        spy.insert(&top, None);
        let outer = index(&[top.descriptor()]);
        assert_eq!(
            choose("linux/arm64", &outer).unwrap().digest(),
            entries[0].digest
        );
        assert_eq!(resolver.platforms(&outer).unwrap().len(), 3);
    }

    #[test]
    fn what_refers_to_an_image_is_not_meant_by_its_platform() {
        let spy = Spy::default();
        let entry = stored(&spy, "linux/amd64");
        let manifest = spy.manifest(&Target::Digest(entry.digest)).unwrap();
        let mut referrer: serde_json::Value = serde_json::from_slice(manifest.bytes()).unwrap();
        referrer["subject"] = json!(entry);
        let referrer = Manifest::new(None, referrer.to_string().into_bytes()).unwrap();
        spy.insert(&referrer, None);
        let top = index(&[referrer.descriptor(), entry.clone()]);
        let budget = Budget::default();
        let resolver = Resolver::new(&spy, &budget, Run::default());
        let wanted = "linux/amd64".parse().unwrap();
        let chosen = resolver.choose(top, Select::Platform(&wanted)).unwrap();
        assert_eq!(chosen.digest(), entry.digest);
    }

    #[test]
    fn an_image_is_not_taken_for_an_index() {
        let spy = Spy::default();
        let mut entry = stored(&spy, "linux/amd64");
        entry.platform = Some(Box::new("linux/amd64".parse().unwrap()));
        entry.media_type = media_type::OCI_INDEX.to_string();
        let top = index(&[entry.clone()]);
        let budget = Budget::default();
        let resolver = Resolver::new(&spy, &budget, Run::default());
        let wanted = "linux/amd64".parse().unwrap();
        let failed = resolver.choose(top.clone(), Select::Platform(&wanted));
        assert!(failed.unwrap_err().is_corrupt());
        assert!(resolver.each(&top).unwrap_err().is_corrupt());
    }
}
