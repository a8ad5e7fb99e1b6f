//! Whether an image matches its digests and sizes: every digest, every size, every layer's
//! type and diff id. Reads everything once and keeps nothing.

use std::io::{self, Read};

use super::config;
use super::layer::{LayerType, Uncompressed};
use super::name::leads_out;
use super::{Config, Image};
use crate::blob::Blob;
use crate::digest::{Digest, Hashed};
use crate::error::{Error, Result};
use crate::parallel;
use crate::stream::{Buffer, Run};
use crate::tar::Entries;

/// Reads the config and all layers of `image`, several at once.
///
/// A layer that is not a file system (an attestation, a file of an artifact)
/// is held against its digest and size alone.
///
/// # Errors
/// [`Error::Mismatch`], [`Error::Size`] or [`Error::Malformed`] for the first
/// thing that is wrong; those of the blobs' sources.
pub fn check(image: &Image, run: Run<'_>) -> Result<()> {
    let layers = layers(image, diff_ids(image)?);
    parallel::for_each(run.jobs, layers, run.watch.stop, |(blob, diff_id), stop| {
        layer(blob, diff_id, &bytes_alone, run.stopped_by(stop))
    })
}

/// A layer, and the digest its plain bytes should have.
pub(crate) type Job<'a> = (&'a Blob, Option<Digest>);

/// Every layer once, with its diff id.
pub(crate) fn layers(image: &Image, diff_ids: Option<Vec<Digest>>) -> Vec<Job<'_>> {
    let mut work: Vec<Job<'_>> = Vec::new();
    for (i, blob) in image.layers().iter().enumerate() {
        let job = (blob, diff_ids.as_ref().map(|ids| ids[i]));
        let known = |(b, id): &Job<'_>| b.digest() == job.0.digest() && *id == job.1;
        if !work.iter().any(known) {
            work.push(job);
        }
    }
    work
}

/// What is looked at in a layer's plain bytes while they are hashed.
pub(crate) type Look = dyn Fn(&str, &mut dyn Read) -> Result<()> + Sync;

fn bytes_alone(_: &str, _: &mut dyn Read) -> Result<()> {
    Ok(())
}

/// Names that lead out are what an unpacker may fall for. An absolute one is
/// not among them: engines take it from the image's root, and some builders
/// write nothing else.
pub(crate) fn names(what: &str, plain: &mut dyn Read) -> Result<()> {
    for entry in Entries::new(what, plain) {
        let entry = entry?;
        if leads_out(&entry) {
            let why = format!("its member {:?} points outside it", entry.name());
            return Err(Error::malformed(what, why));
        }
    }
    Ok(())
}

/// The diff ids of the layers, one a layer; `None` for what has no file system.
pub(crate) fn diff_ids(image: &Image) -> Result<Option<Vec<Digest>>> {
    let blob = image.config_blob();
    if !image.is_runnable() {
        // An alias of blobs has its first one as config, of any size.
        drain(&blob.digest().to_string(), &mut blob.verified()?)?;
        return Ok(None);
    }
    let config = Config::parse(&blob.read(config::MAX_SIZE)?)?;
    let (ids, layers) = (config.diff_ids()?, image.layers().len());
    if ids.len() != layers {
        let why = format!("{} diff ids for {layers} layers", ids.len());
        return Err(Error::malformed("config", why));
    }
    Ok(Some(ids))
}

/// Reads one layer: its digest and size, and with a `diff_id` its type, that and
/// what `look` looks for.
pub(crate) fn layer(blob: &Blob, diff_id: Option<Digest>, look: &Look, run: Run<'_>) -> Result<()> {
    let (watch, what) = (run.watch, &blob.digest().to_string());
    watch.progress.start(blob.digest(), Some(blob.size()));
    let mut reader = watch.reader(*blob.digest(), blob.verified()?);
    match diff_id {
        None => drain(what, &mut reader)?,
        Some(expected) => {
            let found = plain_digest(blob, &mut reader, look);
            // Wrong bytes are the reason of whatever else is wrong with them.
            drain(what, &mut reader)?;
            let found = found?;
            if found != expected {
                return Err(Error::mismatch(expected, found));
            }
        }
    }
    watch.progress.finish(blob.digest());
    Ok(())
}

fn plain_digest(blob: &Blob, reader: &mut (impl Read + Send), look: &Look) -> Result<Digest> {
    let what = &blob.digest().to_string();
    let plain = Uncompressed::new(what, reader)?;
    let (found, said) = (plain.compression, &blob.descriptor().media_type);
    if LayerType::parse(said).is_some_and(|said| said.compression != found) {
        let why = format!("its bytes are {found:?} but its type is {said}");
        return Err(Error::malformed(what, why));
    }
    let mut hashed = Hashed::new(plain);
    look(what, &mut hashed)?;
    drain(what, &mut hashed)?;
    Ok(hashed.finish())
}

/// Reads to the end, because the reader may report an error there.
pub(super) fn drain(what: &str, reader: &mut impl Read) -> Result<()> {
    let mut buffer = Buffer::new();
    loop {
        match reader.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(_) => {}
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(Error::io(what, e)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blob::Bytes;
    use crate::image::tests::{Made, image, index};
    use crate::manifest::Manifest;
    use crate::stream::{Stop, Watch};

    fn checked(image: &Image) -> Result<()> {
        let stop = Stop::new();
        check(image, Run::new(2, Watch::new(&(), &stop)))
    }

    fn rebuilt(image: &Image, change: impl Fn(&mut serde_json::Value), layers: Vec<Blob>) -> Image {
        let mut value = serde_json::from_slice(image.manifest().bytes()).unwrap();
        change(&mut value);
        let manifest = Manifest::new(None, value.to_string().into_bytes()).unwrap();
        Image::new(manifest, image.config_blob().clone(), layers).unwrap()
    }

    #[test]
    fn true_images_and_artifacts_pass() {
        let a = image(&[
            Made::Plain(b"a"),
            Made::Gzip(b"b"),
            Made::Zstd(b"c"),
            Made::Gzip(b"b"),
        ]);
        checked(&a).unwrap();
        for (_, image) in crate::image::Node::Index(index(&[a])).images() {
            checked(image).unwrap();
        }
        let blob = Blob::bytes("application/octet-stream", b"abc".to_vec());
        let alias = Manifest::alias(&[blob.descriptor().clone()]).unwrap();
        checked(&Image::new(alias, blob.clone(), vec![blob]).unwrap()).unwrap();
    }

    #[test]
    fn each_lie_is_found() {
        let a = image(&[Made::Gzip(b"aaaa"), Made::Gzip(b"bbbb")]);
        let blob = &a.layers()[0];
        let bytes = blob.read(1000).unwrap();
        let with = |bytes: Vec<u8>| {
            let lying = Blob::new(blob.descriptor().clone(), Bytes(bytes));
            let layers = vec![lying, a.layers()[1].clone()];
            checked(&rebuilt(&a, |_| (), layers))
        };
        let mut flipped = bytes.clone();
        flipped[12] ^= 1;
        assert!(matches!(with(flipped), Err(Error::Mismatch { .. })));
        let cut = bytes[..bytes.len() - 1].to_vec();
        assert!(matches!(with(cut), Err(Error::Size { .. })));
        let long = [&bytes[..], b"x"].concat();
        assert!(matches!(with(long), Err(Error::Size { .. })));
        // The diff ids are swapped.
        let swap = |v: &mut serde_json::Value| v["layers"].as_array_mut().unwrap().reverse();
        let layers = vec![a.layers()[1].clone(), a.layers()[0].clone()];
        assert!(matches!(
            checked(&rebuilt(&a, swap, layers)),
            Err(Error::Mismatch { .. })
        ));
        let drop = |v: &mut serde_json::Value| drop(v["layers"].as_array_mut().unwrap().pop());
        let layers = vec![a.layers()[0].clone()];
        assert!(matches!(
            checked(&rebuilt(&a, drop, layers)),
            Err(Error::Malformed { .. })
        ));
        // Plain bytes under the name of gzip, as crpy pushes them.
        let b = image(&[Made::Plain(b"cccc")]);
        let name = |v: &mut serde_json::Value| {
            v["layers"][0]["mediaType"] = "application/vnd.oci.image.layer.v1.tar+gzip".into();
        };
        let mut descriptor = b.layers()[0].descriptor().clone();
        descriptor.media_type = "application/vnd.oci.image.layer.v1.tar+gzip".into();
        let layers = vec![Blob::new(descriptor, Bytes(b"cccc".to_vec()))];
        assert!(matches!(
            checked(&rebuilt(&b, name, layers)),
            Err(Error::Malformed { .. })
        ));
    }
}
