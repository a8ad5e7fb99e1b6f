//! Which layer of an image a word means.

use dxf_registry::{Blob, Error, Result, text};

/// The number of a layer, from 0, if `word` is one. What has more digits than
/// any number of layers begins a digest.
pub fn number(word: &str) -> Option<usize> {
    let digits = word.len() <= 4 && word.bytes().all(|b| b.is_ascii_digit());
    word.parse().ok().filter(|_| digits)
}

/// The layer that `word` means: its number, or the beginning of its digest.
pub fn find<'a>(layers: &[&'a Blob], word: &str) -> Result<&'a Blob> {
    if let Some(number) = number(word) {
        return layers.get(number).copied().ok_or_else(|| Error::NotFound {
            what: match layers.len() {
                0 => format!("layer {number}: the image has none"),
                1 => format!("layer {number}: the image has 1 layer, number 0"),
                n => format!(
                    "layer {number}: the image has {n} layers, numbers 0 to {}",
                    n - 1
                ),
            },
        });
    }
    let wanted = word.to_ascii_lowercase();
    let begins = |blob: &&Blob| {
        let (whole, hex) = (blob.digest().to_string(), blob.digest().hex());
        whole.starts_with(&wanted) || hex.starts_with(&wanted)
    };
    let mut fitting: Vec<&Blob> = layers.iter().copied().filter(begins).collect();
    fitting.dedup_by_key(|blob| *blob.digest());
    match fitting.as_slice() {
        _ if wanted.is_empty() => Err(Error::invalid("layer", "", "it takes a number or a digest")),
        [] => Err(Error::NotFound {
            what: format!("a layer whose digest begins with {}", text::clean(word)),
        }),
        [first, rest @ ..] if rest.iter().all(|b| b.digest() == first.digest()) => Ok(first),
        several => {
            let why = format!("{} layers have digests that begin with that", several.len());
            Err(Error::invalid("layer", text::clean(word), why))
        }
    }
}
