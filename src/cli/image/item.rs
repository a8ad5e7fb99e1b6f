//! Images under the names they have in an archive or a repository.

use std::collections::HashMap;

use dxf_registry::archive::Item;
use dxf_registry::graph::is_related_tag;
use dxf_registry::image::{Image, Node};
use dxf_registry::{Error, Place, Reference, Result, Root, Tag, Target};

/// A node under the name it was asked by. A digest is not a name, and none is
/// made up for it.
pub fn named(place: &Place, node: Node) -> Item {
    let (root, reference) = match place {
        Place::Repository { root, reference } => (root, reference),
        _ => {
            let mut item = Item::new(Vec::new(), node);
            if let Ok(Target::Tag(tag)) = place.target() {
                item.labels.push(tag.to_string());
            }
            return item;
        }
    };
    let host = match root {
        Root::Registry(host) => Some(host.clone()),
        Root::Folder(_) => None,
    };
    let tag = match (reference.tag.clone(), reference.target()) {
        (Some(tag), _) | (None, Target::Tag(tag)) => tag,
        (None, Target::Digest(_)) => return Item::new(Vec::new(), node),
    };
    let name = Reference {
        host,
        repo: reference.repo.clone(),
        tag: Some(tag),
        digest: None,
    };
    Item::new(vec![name], node)
}

/// The name that `--tag` gives.
pub fn name(word: &str) -> Result<Reference> {
    let mut name: Reference = word.parse()?;
    match name.target() {
        Target::Tag(tag) => name.tag = Some(tag),
        Target::Digest(_) => {
            return Err(Error::invalid("--tag", word, "a digest is not a name"));
        }
    }
    Ok(name)
}

/// The tags an item is to have in a repository, or its digest.
pub fn targets(item: &Item) -> Vec<Target> {
    let tags = item.names.iter().filter_map(|name| name.tag.clone());
    let labels = item.labels.iter().filter_map(|label| label.parse().ok());
    let mut targets: Vec<Tag> = Vec::new();
    for tag in tags.chain(labels) {
        if !targets.contains(&tag) {
            targets.push(tag);
        }
    }
    if targets.is_empty() {
        return vec![Target::Digest(item.node.manifest().digest())];
    }
    targets.into_iter().map(Target::Tag).collect()
}

/// Refuses items of which two would have one tag in a repository: the second
/// would take it from the first.
pub fn must_differ(items: &[Item]) -> Result<()> {
    let mut seen: HashMap<String, &Item> = HashMap::new();
    for item in items {
        for target in targets(item) {
            let target = target.to_string();
            if let Some(&other) = seen.get(&target)
                && other.node.manifest() != item.node.manifest()
            {
                return Err(Error::Unsupported {
                    what: format!(
                        "{} and {} would both be {target} in one repository; push them one by one",
                        names(std::slice::from_ref(other)),
                        names(std::slice::from_ref(item)),
                    ),
                });
            }
            seen.insert(target, item);
        }
    }
    Ok(())
}

/// The items but for those that only belong to another image: referrers without
/// a name, and what cosign and other clients keep under tags made of a digest.
/// If there is nothing else, all of it is selected.
pub fn without_related(items: Vec<Item>) -> Vec<Item> {
    match items.iter().all(is_related) {
        true => items,
        false => items.into_iter().filter(|item| !is_related(item)).collect(),
    }
}

fn is_related(item: &Item) -> bool {
    if item.names.is_empty() && item.labels.is_empty() {
        return matches!(item.node.manifest().subject(), Ok(Some(_)));
    }
    let name_is = |n: &Reference| n.tag.as_ref().is_some_and(|t| is_related_tag(t.as_str()));
    item.names.iter().all(name_is) && item.labels.iter().all(|label| is_related_tag(label))
}

/// The images of `items`, for what can be said of images alone.
pub fn images(items: &[Item]) -> impl Iterator<Item = &Image> {
    let images = items.iter().flat_map(|item| item.node.images());
    images.map(|(_, image)| image)
}

/// The names in an archive, for a message.
pub fn names(items: &[Item]) -> String {
    let all = items.iter().flat_map(|item| match item.names.as_slice() {
        [] if item.labels.is_empty() => vec![item.node.manifest().digest().to_string()],
        [] => item.labels.clone(),
        names => names.iter().map(ToString::to_string).collect(),
    });
    all.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_tags_and_no_digests() {
        assert_eq!(name("app").unwrap().to_string(), "app:latest");
        assert_eq!(name("r.example/a:1").unwrap().to_string(), "r.example/a:1");
        assert!(name(&format!("a@sha256:{}", "0".repeat(64))).is_err());
    }

    #[test]
    fn two_images_do_not_take_one_tag() {
        use dxf_registry::image::Family;
        let item = |word: &str, platform: &str| {
            let image = Image::scratch(&platform.parse().unwrap(), Family::Oci).unwrap();
            Item::new(vec![name(word).unwrap()], Node::Image(image))
        };
        let (one, other) = (
            item("alpine:1", "linux/amd64"),
            item("busybox:1", "linux/arm64"),
        );
        let said = must_differ(&[one.clone(), other]).unwrap_err().to_string();
        assert!(
            said.contains("alpine:1") && said.contains("busybox:1"),
            "{said}"
        );
        must_differ(&[one.clone(), item("busybox:2", "linux/arm64")]).unwrap();
        must_differ(&[one, item("a:1", "linux/amd64")]).unwrap();
    }
}
