//! The same change to every image of an index.

use serde_json::Value;

use super::Draft;
use crate::descriptor::Descriptor;
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::image::{Child, Image, Index, Node};
use crate::manifest::{ATTESTED, Builder, is_attestation, repoint};

/// Makes a node in which `change` was applied to every image of a file system;
/// all other entries of an index stay. Entries keep their place, platform and
/// other members. An attestation of a changed image is left out, because it
/// describes how the original was built.
///
/// ```
/// use dxf_registry::image::{Node, edit_images};
/// fn in_utf8(node: &Node) -> dxf_registry::Result<Node> {
///     edit_images(node, &mut |image| image.edit()?.set_env("LANG", "C.UTF-8").finish())
/// }
/// ```
///
/// # Errors
/// Those of `change`; [`Error::Unsupported`] when there is no such image.
pub fn edit_images<E: From<Error>>(
    node: &Node,
    change: &mut dyn FnMut(&Image) -> Result<Image, E>,
) -> Result<Node, E> {
    match node {
        // What it is not, it says itself.
        Node::Image(image) if !image.is_runnable() => {
            Draft::of(image)?;
            Ok(node.clone())
        }
        Node::Image(image) => change(image).map(Node::Image),
        Node::Index(index) => {
            if !node.images().iter().any(|(_, image)| image.is_runnable()) {
                let what = format!(
                    "{} has no image of a file system",
                    index.manifest().digest()
                );
                return Err(Error::Unsupported { what }.into());
            }
            edit_index(index, change).map(Node::Index)
        }
    }
}

fn edit_index<E: From<Error>>(
    index: &Index,
    change: &mut dyn FnMut(&Image) -> Result<Image, E>,
) -> Result<Index, E> {
    let mut builder = Builder::of(index.manifest())?;
    let listed = builder.take_list("manifests").unwrap_or_default();
    let (mut entries, mut gone) = (Vec::new(), Vec::new());
    for (child, mut entry) in index.children().iter().zip(listed) {
        let node = match &child.node {
            Node::Image(image) if image.is_runnable() => Node::Image(change(image)?),
            Node::Index(deeper) => Node::Index(edit_index(deeper, change)?),
            other => other.clone(),
        };
        let made = node.manifest().descriptor();
        let mut descriptor = child.descriptor.clone();
        if made.digest != descriptor.digest && !is_same(&child.node, &node) {
            gone.push(descriptor.digest);
            (descriptor.digest, descriptor.size) = (made.digest, made.size);
            descriptor.rest.shift_remove("data");
            repoint(&mut entry, &made);
        }
        entries.push((Child { descriptor, node }, entry));
    }
    if gone.is_empty() {
        return Ok(index.clone());
    }
    entries.retain(|(child, _)| !is_about(&child.descriptor, &gone));
    let (children, listed): (Vec<Child>, Vec<Value>) = entries.into_iter().unzip();
    Ok(Index::new(builder.manifests(listed).build()?, children)?)
}

/// An entry may be listed by a digest of another algorithm than ours.
fn is_same(before: &Node, after: &Node) -> bool {
    before.manifest() == after.manifest()
}

fn is_about(entry: &Descriptor, gone: &[Digest]) -> bool {
    let about = entry.annotations.get(ATTESTED);
    let about = about.and_then(|digest| digest.parse().ok());
    is_attestation(entry) && about.is_some_and(|it| gone.contains(&it))
}
