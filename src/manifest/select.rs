//! Which entry of an index a platform means. Knows entries as the index lists
//! them; what a manifest says of itself is its reader's business.

use crate::descriptor::{Descriptor, media_type};
use crate::error::{Error, Result};
use crate::platform::Platform;

/// Which part of an index to select.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum Select<'a> {
    /// All of it.
    All,
    /// The image that runs on this platform.
    Platform(&'a Platform),
    /// The image that runs on this machine; where the index has only one image,
    /// that one wherever it runs.
    Host(&'a Platform),
}

impl Select<'_> {
    /// The selected entry among all that an index reaches; `None` if all
    /// are selected.
    ///
    /// # Errors
    /// [`Error::NoPlatform`] with the platforms of the entries.
    pub fn pick<'e>(&self, entries: &'e [Descriptor]) -> Result<Option<&'e Descriptor>> {
        let wanted = match *self {
            Select::All => return Ok(None),
            Select::Platform(platform) | Select::Host(platform) => platform,
        };
        if let Some(best) = best_fit(entries, wanted) {
            return Ok(Some(best));
        }
        let selectable = entries.iter().filter(|entry| is_selectable(entry));
        let mut available: Vec<String> = Vec::new();
        for platform in selectable.clone().filter_map(|e| e.platform.as_ref()) {
            let name = platform.to_string();
            if !available.contains(&name) {
                available.push(name);
            }
        }
        available.sort();
        if let (Select::Host(_), [_]) = (self, available.as_slice()) {
            return Ok(selectable.into_iter().next());
        }
        Err(Error::NoPlatform {
            wanted: wanted.to_string(),
            available,
        })
    }
}

/// The annotation BuildKit puts on the entries of its attestations.
pub const ATTESTATION: &str = "vnd.docker.reference.type";
/// The annotation with the digest of the image that an attestation is about.
pub const ATTESTED: &str = "vnd.docker.reference.digest";

/// Whether an entry of an index is an attestation of another one.
pub fn is_attestation(entry: &Descriptor) -> bool {
    entry.annotations.contains_key(ATTESTATION)
}

/// Whether a platform can select an entry of an index: it says one, which
/// is not `unknown`, and it is not an attestation of another entry.
pub fn is_selectable(entry: &Descriptor) -> bool {
    let known = entry.platform.as_ref().is_some_and(|p| !p.is_unknown());
    known && !is_attestation(entry)
}

/// The entry that runs best where `wanted` does; of equals the first.
pub fn best_fit<'a>(entries: &'a [Descriptor], wanted: &Platform) -> Option<&'a Descriptor> {
    let fit = |entry: &&Descriptor| {
        let offered = entry.platform.as_ref().filter(|_| is_selectable(entry))?;
        wanted.fit(offered)
    };
    let fitting = entries.iter().filter(|entry| fit(entry).is_some());
    fitting.min_by_key(fit)
}

/// Whether an entry of an index is an index itself.
pub fn is_index(entry: &Descriptor) -> bool {
    matches!(
        entry.media_type.as_str(),
        media_type::OCI_INDEX | media_type::DOCKER_LIST
    )
}

/// Whether an entry of an index is a manifest. BuildKit lists the blobs of its
/// cache in an index; an entry that does not say what it is is taken for a
/// manifest, as every index in the specification lists.
pub fn is_manifest(entry: &Descriptor) -> bool {
    [
        "",
        media_type::OCI_INDEX,
        media_type::DOCKER_LIST,
        media_type::OCI_MANIFEST,
        media_type::OCI_ARTIFACT,
        media_type::DOCKER_MANIFEST,
        media_type::SCHEMA1,
        media_type::SCHEMA1_SIGNED,
    ]
    .contains(&entry.media_type.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Digest;

    fn entry(platform: &str) -> Descriptor {
        let mut entry = Descriptor::new("", Digest::of(platform.as_bytes()), 1);
        entry.platform = Some(Box::new(platform.parse().unwrap()));
        entry
    }

    #[test]
    fn platforms_choose_among_what_can_be_meant() {
        let mut attestation = entry("linux/amd64/v2");
        attestation
            .annotations
            .insert(ATTESTATION.into(), "attestation-manifest".into());
        let mut entries = [
            "linux/arm/v5",
            "linux/arm/v6",
            "linux/amd64",
            "unknown/unknown",
        ]
        .map(entry)
        .to_vec();
        entries.push(attestation);
        let chosen = |wanted: &str| {
            best_fit(&entries, &wanted.parse().unwrap())
                .map(|d| d.platform.clone().unwrap().to_string())
        };
        assert_eq!(chosen("linux/arm/v7"), Some("linux/arm/v6".into()));
        assert_eq!(chosen("linux/arm/v5"), Some("linux/arm/v5".into()));
        assert_eq!(chosen("linux/amd64/v3"), Some("linux/amd64".into()));
        assert_eq!(chosen("linux/s390x"), None);
        assert_eq!(chosen("unknown/unknown"), None);
    }
}
