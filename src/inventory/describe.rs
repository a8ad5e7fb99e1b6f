//! What a tag names: its kind, how many bytes it reaches, when it was made and
//! where it runs. Manifests and configs are read, layers are not.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use super::own;
use crate::descriptor::annotation::CREATED;
use crate::descriptor::{Descriptor, media_type};
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::graph::walk::{Links, Step, Walk};
use crate::image::Timestamp;
use crate::image::config::{self, Config};
use crate::manifest::{is_attestation, is_selectable};
use crate::platform::Platform;
use crate::reference::{Tag, Target};
use crate::store::ReadStore;
use crate::stream::{Run, read_bounded};
use crate::{alias, artifact, parallel};

/// What nothing was made before: times up to the end of 1980 are those that
/// reproducible builds write (1970 of Unix, 1980 of ZIP files).
const FIRST_SECOND: i64 = 347_155_200;
/// How far the clock of another machine may be ahead, seconds.
const CLOCK_SKEW: i64 = 300;

/// What a manifest is.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum TagKind {
    /// A list of blobs ([`crate::alias`]).
    Alias,
    /// A file kept as several blobs ([`artifact::Parts`]).
    Parts,
    /// An image: config and layers of a file system.
    Image,
    /// An index, such as an image for several platforms.
    Index,
    /// A manifest in Docker's format before 2016, which does not say sizes.
    Schema1,
    /// Another artifact, of this type.
    Artifact(String),
}

impl TagKind {
    /// The kind in one word: an artifact's type, or a name of a kind.
    pub fn name(&self) -> &str {
        match self {
            TagKind::Alias => "alias",
            TagKind::Parts => "parts",
            TagKind::Image => "image",
            TagKind::Index => "index",
            TagKind::Schema1 => "schema1",
            TagKind::Artifact(kind) => kind,
        }
    }
}

/// What a manifest says, with all that it names.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Description {
    /// The manifest itself: media type, digest and size.
    pub manifest: Descriptor,
    /// What it is.
    pub kind: TagKind,
    /// The bytes of the manifest and of all manifests, configs and blobs that it
    /// reaches, each counted once; `None` where it does not say sizes. Manifests
    /// of an index that the store does not contain count nothing.
    pub size: Option<u64>,
    /// When it was made: the annotation `org.opencontainers.image.created`, else
    /// what the config says, else the newest time of an index's manifests.
    /// `None` where nothing [`believable`] is written.
    pub created: Option<Timestamp>,
    /// Where it runs, in the order of the index.
    pub platforms: Vec<Platform>,
}

/// A tag, and what it names.
#[derive(Debug)]
#[non_exhaustive]
pub struct Tagged {
    /// The tag.
    pub tag: Tag,
    /// The digest of its manifest; `None` when the store has no such manifest.
    pub digest: Option<Digest>,
    /// What the manifest says, or why it can't be read. Tags of one manifest
    /// share it.
    pub found: std::result::Result<Arc<Description>, Arc<Error>>,
}

/// Describes the tags of one repository. Each manifest is described once,
/// however many tags name it.
pub struct Describer<'a> {
    store: &'a dyn ReadStore,
    walk: Walk<'a>,
    run: Run<'a>,
    now: SystemTime,
    configs: Mutex<HashMap<Digest, Arc<Made>>>,
}

/// What a config says.
#[derive(Default)]
struct Made {
    created: Option<Timestamp>,
    platform: Option<Platform>,
}

impl<'a> Describer<'a> {
    /// Describes what `store` contains; times later than now are not believed.
    /// [`super::Documents`] makes a store remember what was read before.
    pub fn new(store: &'a dyn ReadStore, run: Run<'a>) -> Describer<'a> {
        Describer {
            store,
            walk: Walk::new(store, run),
            run,
            now: SystemTime::now(),
            configs: Mutex::default(),
        }
    }

    /// What each of `tags` names, in their order: a HEAD for each, then what has
    /// to be read of each manifest, several at once.
    ///
    /// # Errors
    /// Those that are not about one tag alone, such as the network's. What is
    /// wrong with a tag's manifest is in its [`Tagged::found`].
    pub fn each(&self, tags: Vec<Tag>) -> Result<Vec<Tagged>> {
        let (run, stop) = (self.run, self.run.watch.stop);
        let unique = Mutex::new(HashMap::new());
        let heads = parallel::map(run.jobs, tags, stop, |tag, _| {
            let head = own(self.store.head(&Target::Tag(tag.clone())))?;
            let digest = head.map(|head| {
                let head = head?;
                let digest = head.digest;
                // A map that a panic left is whole.
                let mut unique = unique.lock().unwrap_or_else(PoisonError::into_inner);
                unique.entry(digest).or_insert(head);
                Some(digest)
            });
            Ok((tag, digest))
        })?;
        let mut unique = unique.into_inner().unwrap_or_else(PoisonError::into_inner);
        let found = heads
            .iter()
            .filter_map(|(_, digest)| digest.as_ref().ok()?.as_ref());
        let unique: Vec<Descriptor> = found.filter_map(|digest| unique.remove(digest)).collect();
        let described = self
            .walk
            .for_each(unique, |head, _| Ok((head.digest, own(self.of(head))?)))?;
        let described: HashMap<Digest, _> = described.into_iter().collect();
        let tagged = heads.into_iter().map(|(tag, head)| {
            let digest = head.as_ref().ok().copied().flatten();
            let found = match (head, digest.and_then(|digest| described.get(&digest))) {
                (Err(error), _) => Err(error),
                (Ok(_), Some(found)) => found.clone(),
                (Ok(_), None) => Err(Arc::new(self.absent(&tag))),
            };
            Tagged { tag, digest, found }
        });
        Ok(tagged.collect())
    }

    /// What a tag or digest names.
    ///
    /// # Errors
    /// Those of the store, [`Error::is_not_found`] among them; as
    /// [`Walk::root`] and [`Walk::below`].
    pub fn describe(&self, target: &Target) -> Result<Description> {
        match self.store.head(target)? {
            Some(head) => self.of(&head).map(Arc::unwrap_or_clone),
            None => Err(self.absent(target)),
        }
    }

    fn absent(&self, name: &dyn std::fmt::Display) -> Error {
        Error::NotFound {
            what: format!("manifest {name} in {}", self.store.name()),
        }
    }

    fn of(&self, head: &Descriptor) -> Result<Arc<Description>> {
        let mut found = Description {
            manifest: Descriptor::new(head.media_type.clone(), head.digest, head.size),
            kind: TagKind::Schema1,
            size: None,
            created: None,
            platforms: Vec::new(),
        };
        let is_old = [media_type::SCHEMA1, media_type::SCHEMA1_SIGNED];
        if !is_old.contains(&head.media_type.as_str()) {
            let root = self.walk.root(&Target::Digest(head.digest))?;
            self.fill(&mut found, &root)?;
        }
        Ok(Arc::new(found))
    }

    fn fill(&self, found: &mut Description, root: &Links) -> Result<()> {
        // One at a time: the tags are already several at once.
        let below = self.walk.below(root, 1)?;
        found.kind = kind(root);
        let mut sizes = HashMap::from([(found.manifest.digest, found.manifest.size)]);
        let mut newest: Option<Timestamp> = None;
        for step in below {
            let part = match step {
                Step::Manifest(entry, Ok(links)) => {
                    self.entry(&entry, &links, &mut newest, &mut found.platforms)?;
                    entry
                }
                Step::Manifest(_, Err(error)) if error.is_not_found() => continue,
                Step::Manifest(_, Err(error)) => return Err(error),
                Step::Config(part) | Step::Blob(part) => part,
                _ => continue,
            };
            sizes.entry(part.digest).or_insert(part.size);
        }
        let total = sizes
            .values()
            .fold(0, |sum: u64, size| sum.saturating_add(*size));
        found.size = Some(total);
        if found.kind == TagKind::Image {
            let made = self.made(root)?;
            newest = made.created.clone();
            found.platforms.extend(made.platform.clone());
        }
        found.platforms.shrink_to_fit();
        found.created = self.written(root.created.as_deref()).or(newest);
        Ok(())
    }

    /// Adds what one manifest of an index says: the index itself knows the
    /// platforms, as a rule, and Docker's official ones the times.
    fn entry(
        &self,
        entry: &Descriptor,
        links: &Links,
        newest: &mut Option<Timestamp>,
        platforms: &mut Vec<Platform>,
    ) -> Result<()> {
        if is_attestation(entry) || kind(links) != TagKind::Image {
            return Ok(());
        }
        let noted = entry.annotations.get(CREATED).map(String::as_str);
        let mut created = self
            .written(noted)
            .or_else(|| self.written(links.created.as_deref()));
        let mut platform = entry
            .platform
            .as_deref()
            .cloned()
            .filter(|_| is_selectable(entry));
        if created.is_none() || entry.platform.is_none() {
            let made = self.made(links)?;
            created = created.or_else(|| made.created.clone());
            if entry.platform.is_none() {
                platform = made.platform.clone();
            }
        }
        let seconds = |time: &Option<Timestamp>| time.as_ref().map(Timestamp::unix_seconds);
        if seconds(&created) > seconds(newest) {
            *newest = created;
        }
        if let Some(platform) = platform
            && !platforms.contains(&platform)
        {
            platforms.push(platform);
        }
        Ok(())
    }

    fn written(&self, text: Option<&str>) -> Option<Timestamp> {
        believable(text?, self.now)
    }

    /// What the config of an image says; nothing where it is missing or wrong.
    fn made(&self, links: &Links) -> Result<Arc<Made>> {
        let Some(wanted) = &links.config else {
            return Ok(Arc::default());
        };
        if let Some(known) = self.configs().get(&wanted.digest) {
            return Ok(known.clone());
        }
        let made = match own(self.read_config(wanted))? {
            Ok(config) => Made {
                created: self.written(config.created()),
                platform: Some(config.platform()).filter(|platform| !platform.is_unknown()),
            },
            Err(_) => Made::default(),
        };
        let made = Arc::new(made);
        self.configs().insert(wanted.digest, made.clone());
        Ok(made)
    }

    fn configs(&self) -> std::sync::MutexGuard<'_, HashMap<Digest, Arc<Made>>> {
        // A map that a panic left is whole.
        self.configs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read_config(&self, wanted: &Descriptor) -> Result<Config> {
        let content = self.store.pull_blob(&wanted.digest, Some(wanted.size))?;
        let what = wanted.digest.to_string();
        let bytes = read_bounded(&what, content.reader, config::MAX_SIZE)?;
        Config::parse(&bytes)
    }
}

/// Parses a time, unless it says nothing about age: invalid times, times before
/// 1981 (reproducible builds write 1970 and 1980) and times after `now` give
/// `None`.
pub fn believable(text: &str, now: SystemTime) -> Option<Timestamp> {
    let time: Timestamp = text.parse().ok()?;
    let now = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let latest = i64::try_from(now)
        .unwrap_or(i64::MAX)
        .saturating_add(CLOCK_SKEW);
    (FIRST_SECOND..=latest)
        .contains(&time.unix_seconds())
        .then_some(time)
}

/// What a manifest is, by its types.
fn kind(links: &Links) -> TagKind {
    let Some(config) = &links.config else {
        return match links.artifact_type.as_deref().unwrap_or_default() {
            "" => TagKind::Index,
            kind => TagKind::Artifact(kind.to_string()),
        };
    };
    match links.artifact_type.as_deref().unwrap_or_default() {
        "" => {}
        alias::ARTIFACT_TYPE => return TagKind::Alias,
        artifact::ARTIFACT_TYPE => return TagKind::Parts,
        kind => return TagKind::Artifact(kind.to_string()),
    }
    let bytes = |blob: &Descriptor| blob.media_type == media_type::OCTET_STREAM;
    let first = links.blobs.first();
    if first.is_some_and(|first| first.digest == config.digest) && links.blobs.iter().all(bytes) {
        return TagKind::Alias;
    }
    if config::describes(config, &links.blobs) {
        return TagKind::Image;
    }
    // cosign and BuildKit use an image's config; the type of the first layer
    // says what it is.
    let layer = first.filter(|_| config::is_config(&config.media_type));
    let kind = layer.map_or(&config.media_type, |layer| &layer.media_type);
    TagKind::Artifact(match kind.as_str() {
        "" => media_type::OCTET_STREAM.to_string(),
        kind => kind.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::artifact::{Parts, Split};
    use crate::manifest::Manifest;
    use crate::store::testing::Spy;
    use proptest::prelude::*;
    use serde_json::{Value, json};
    use std::time::Duration;

    const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

    fn put(spy: &Spy, tag: Option<&str>, document: Value) -> Manifest {
        let manifest = Manifest::new(None, document.to_string().into_bytes()).unwrap();
        spy.insert(&manifest, tag);
        manifest
    }

    fn entry(kind: &str, of: &Descriptor) -> Value {
        json!({"mediaType": kind, "digest": of.digest, "size": of.size})
    }

    /// An image with the config `made` and a layer of three bytes.
    fn image(spy: &Spy, tag: Option<&str>, made: &Value, annotations: Value) -> Manifest {
        let config = spy.blob(made.to_string().as_bytes());
        let layer = spy.blob(b"abc");
        put(
            spy,
            tag,
            json!({"config": entry(media_type::OCI_CONFIG, &config),
                "layers": [entry(LAYER, &layer)], "annotations": annotations}),
        )
    }

    fn described(spy: &Spy, tag: &str) -> Description {
        let describer = Describer::new(spy, Run::default());
        describer.describe(&tag.parse().unwrap()).unwrap()
    }

    fn created(found: &Description) -> String {
        found
            .created
            .as_ref()
            .map(Timestamp::to_string)
            .unwrap_or_default()
    }

    #[test]
    fn kinds_are_told_by_types() {
        let spy = Spy::default();
        let (a, b) = (spy.blob(b"a"), spy.blob(b"b"));
        spy.insert(
            &Manifest::alias(&[a.clone(), b.clone()]).unwrap(),
            Some("alias"),
        );
        let mut parts = vec![a.clone()];
        parts[0].media_type = media_type::OCTET_STREAM.into();
        let empty = spy.blob(b"{}");
        let file = Parts {
            name: None,
            size: 1,
            digest: a.digest,
            split: None::<Split>,
            parts,
        };
        spy.insert(&file.manifest().unwrap(), Some("parts"));
        let none = entry(media_type::OCI_EMPTY, &empty);
        let octets = entry(media_type::OCTET_STREAM, &a);
        let simple = entry("application/vnd.dev.cosign.simplesigning.v1+json", &a);
        for (tag, document) in [
            (
                "oci",
                json!({"config": none, "layers": [octets], "artifactType": alias::ARTIFACT_TYPE}),
            ),
            (
                "typed",
                json!({"config": none, "layers": [octets], "artifactType": "app/x"}),
            ),
            (
                "chart",
                json!({"config": entry("app/helm", &empty), "layers": [octets]}),
            ),
            (
                "signature",
                json!({"config": entry(media_type::OCI_CONFIG, &empty), "layers": [simple]}),
            ),
            ("index", json!({"manifests": []})),
            ("list", json!({"manifests": [], "artifactType": "app/list"})),
        ] {
            put(&spy, Some(tag), document);
        }
        for (tag, kind, size) in [
            ("alias", "alias", 2),
            ("parts", "parts", 3),
            ("oci", "alias", 3),
            ("typed", "app/x", 3),
            ("chart", "app/helm", 3),
            (
                "signature",
                "application/vnd.dev.cosign.simplesigning.v1+json",
                3,
            ),
            ("index", "index", 0),
            ("list", "app/list", 0),
        ] {
            let found = described(&spy, tag);
            assert_eq!(found.kind.name(), kind, "{tag}");
            let below = found.size.unwrap() - found.manifest.size;
            assert_eq!((below, found.created), (size, None), "{tag}");
        }
    }

    #[test]
    fn an_alias_is_never_read_below_its_manifest() {
        let spy = Spy::default();
        let blob =
            spy.blob(br#"{"created": "2020-01-01T00:00:00Z", "os": "x", "architecture": "y"}"#);
        spy.insert(&Manifest::alias(&[blob]).unwrap(), Some("a"));
        let found = described(&spy, "a");
        assert!(found.created.is_none() && found.platforms.is_empty());
        assert_eq!(spy.asked(), ["head", "manifest"]);
    }

    #[test]
    fn the_first_believable_time_counts() {
        let spy = Spy::default();
        let config = |time: &str| json!({"created": time, "os": "linux", "architecture": "arm"});
        let (old, new) = ("2020-01-01T00:00:00Z", "2021-01-01T00:00:00Z");
        for (i, (noted, written, expected)) in [
            (old, new, old),
            ("1970-01-01T00:00:00Z", new, new),
            ("1980-01-01T00:00:01Z", new, new),
            ("yesterday", new, new),
            ("9999-01-01T00:00:00Z", new, new),
            ("", "1970-01-01T00:00:00Z", ""),
            ("", "0001-01-01T00:00:00Z", ""),
        ]
        .into_iter()
        .enumerate()
        {
            let tag = format!("t{i}");
            image(&spy, Some(&tag), &config(written), json!({CREATED: noted}));
            let found = described(&spy, &tag);
            assert_eq!(created(&found), expected, "{noted} {written}");
            assert_eq!(found.platforms[0].to_string(), "linux/arm");
        }
    }

    #[test]
    fn an_index_is_as_old_as_its_newest_image() {
        let spy = Spy::default();
        let config =
            |time: &str, arch: &str| json!({"created": time, "os": "linux", "architecture": arch});
        let a = image(
            &spy,
            None,
            &config("2020-01-01T00:00:00Z", "arm"),
            json!({}),
        );
        let b = image(
            &spy,
            None,
            &config("2020-01-01T00:00:00+01:00", "s390x"),
            json!({}),
        );
        let mut listed = entry(media_type::OCI_MANIFEST, &a.descriptor());
        listed["platform"] = json!({"os": "linux", "architecture": "arm64"});
        let entries = json!([listed, entry(media_type::OCI_MANIFEST, &b.descriptor()),
            {"mediaType": media_type::OCI_MANIFEST, "digest": Digest::of(b"gone"), "size": 7,
                "platform": {"os": "linux", "architecture": "gone"}}]);
        let index = put(&spy, Some("i"), json!({"manifests": entries}));
        let found = described(&spy, "i");
        assert_eq!(created(&found), "2020-01-01T00:00:00Z");
        let platforms: Vec<_> = found.platforms.iter().map(Platform::to_string).collect();
        assert_eq!(platforms, ["linux/arm64", "linux/s390x"]);
        // The layer that both have counts once.
        let config = |manifest: &Manifest| manifest.image().unwrap().config.size;
        let length = |manifest: &Manifest| manifest.bytes().len() as u64;
        let sizes = length(&index) + length(&a) + length(&b) + config(&a) + config(&b) + 3;
        assert_eq!(found.size, Some(sizes));
        // Where the index says both, no config is read.
        let mut listed = listed.clone();
        listed["annotations"] = json!({CREATED: "2019-01-01T00:00:00Z"});
        put(&spy, Some("j"), json!({"manifests": [listed]}));
        spy.asked();
        assert_eq!(created(&described(&spy, "j")), "2019-01-01T00:00:00Z");
        assert_eq!(spy.asked(), ["head", "manifest", "manifest"]);
    }

    #[test]
    fn tags_of_one_manifest_cost_a_head_each() {
        let spy = Spy::default();
        let tags: Vec<Tag> = (0..20).map(|i| format!("t{i}").parse().unwrap()).collect();
        for tag in &tags {
            image(&spy, Some(tag.as_str()), &json!({}), json!({}));
        }
        let lost = json!({"config": entry("x", &spy.blob(b"x")), "layers": 7});
        put(&spy, Some("bad"), lost);
        let gone = json!({"config": entry(media_type::OCI_CONFIG,
            &Descriptor::new("", Digest::of(b"lost"), 4)), "layers": []});
        put(&spy, Some("torn"), gone);
        spy.asked();
        let mut all = tags.clone();
        all.extend(["gone", "bad", "torn"].map(|tag| tag.parse().unwrap()));
        let found = Describer::new(&spy, Run::default()).each(all).unwrap();
        let names: Vec<_> = found.iter().map(|one| one.tag.clone()).collect();
        assert_eq!(names[..20], tags);
        assert!(found[..20].iter().all(|one| one.found.is_ok()));
        let error = |at: usize| found[at].found.as_ref().unwrap_err();
        assert!(error(20).is_not_found() && found[20].digest.is_none());
        assert!(error(21).is_corrupt() && found[21].digest.is_some());
        // A config that is lost leaves the age unknown, no more.
        assert_eq!(found[22].found.as_ref().unwrap().created, None);
        let asked = spy.asked();
        let count = |what: &str| asked.iter().filter(|line| *line == what).count();
        assert_eq!(
            (count("head"), count("manifest"), count("open_blob")),
            (23, 3, 2)
        );
    }

    #[test]
    fn what_is_wrong_with_the_store_ends_all() {
        let spy = Spy::default();
        image(&spy, Some("a"), &json!({}), json!({}));
        spy.refuse("open_blob", 503);
        let describer = Describer::new(&spy, Run::default());
        assert!(describer.each(vec!["a".parse().unwrap()]).is_err());
        spy.refuse("head", 403);
        assert!(describer.each(vec!["a".parse().unwrap()]).is_err());
    }

    proptest! {
        #[test]
        fn times_are_believed_between_1981_and_now(seconds in 0u64..4_000_000_000) {
            let now = UNIX_EPOCH + Duration::from_secs(1_800_000_000);
            let time = Timestamp::from(UNIX_EPOCH + Duration::from_secs(seconds));
            let believed = believable(&time.to_string(), now).is_some();
            prop_assert_eq!(believed, (347_155_200..=1_800_000_300).contains(&seconds));
        }
    }
}
