//! Gzip whose bytes depend on nothing but the input.
//!
//! Layers that come plain (`docker save`) are compressed once, in blocks of
//! fixed size that know nothing of each other (RFC 1951 allows a flush between
//! them), so any number of threads writes the same bytes and the same layer has
//! the same digest on every machine. Header, level and block size are fixed;
//! changing them, or the deflate library, changes digests.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::path::Path;
use std::thread;

use flate2::{Compress, Compression as Level, Crc, FlushCompress, Status};

use super::Image;
use super::layer::{self, Compression, LayerType};
use crate::blob::Blob;
use crate::digest::{Digest, Hasher};
use crate::error::{Error, Result};
use crate::file::{Section, Spool};
use crate::manifest::Builder;
use crate::parallel;
use crate::stream::{Run, Stop};

/// Bytes compressed on their own. Smaller ones cost ratio, larger ones memory
/// in every thread.
const BLOCK: usize = 512 << 10;
/// As small as what Docker and skopeo write, and no slower than theirs; beyond,
/// a hundredth less costs a quarter more time.
const LEVEL: u32 = 4;
/// Bytes looked at to see whether a block can shrink at all.
const SAMPLE: usize = 16 << 10;
/// No name, no time, no system (RFC 1952).
const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];
/// An empty last block, which ends the deflate stream.
const END: [u8; 2] = [3, 0];

/// Compresses everything `from` yields, `jobs` blocks at once.
///
/// # Errors
/// Those of reader and writer, [`Error::Stopped`].
pub fn compress(
    mut from: impl Read + Send,
    to: &mut (impl Write + Send),
    jobs: usize,
    stop: &Stop,
) -> Result<()> {
    let failed = |e| Error::io("compressed layer", e);
    // More would only hold more memory: this is work, not waiting.
    let jobs = jobs.min(thread::available_parallelism().map_or(1, usize::from));
    to.write_all(&HEADER).map_err(failed)?;
    let mut crc = Crc::new();
    let mut next = || {
        let mut block = Vec::with_capacity(BLOCK);
        (&mut from)
            .take(BLOCK as u64)
            .read_to_end(&mut block)
            .map_err(|e| Error::io("layer", e))?;
        crc.update(&block);
        Ok((!block.is_empty()).then_some(block))
    };
    let take = |block: Vec<u8>| to.write_all(&block).map_err(failed);
    parallel::in_order(jobs, stop, &mut next, |block, _| deflate(&block), take)?;
    to.write_all(&END).map_err(failed)?;
    to.write_all(&crc.sum().to_le_bytes()).map_err(failed)?;
    to.write_all(&crc.amount().to_le_bytes()).map_err(failed)
}

/// One block as raw deflate, ended at a byte so that another can follow.
fn deflate(block: &[u8]) -> Result<Vec<u8>> {
    // Layers are full of what is compressed already (archives, pictures); to
    // squeeze it once more takes the most time of all, and gives nothing.
    if is_noise(block)? {
        Ok(stored(block))
    } else {
        deflate_at(LEVEL, block)
    }
}

/// A stored block, in pieces of the largest length that their header can state.
fn stored(block: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(block.len() + 64);
    for piece in block.chunks(usize::from(u16::MAX)) {
        // A chunk is never longer than what it was cut to.
        let len = piece.len() as u16;
        out.push(0);
        out.extend(len.to_le_bytes());
        out.extend((!len).to_le_bytes());
        out.extend(piece);
    }
    out
}

/// Whether neither the ends nor the middle of a block shrink by a sixty-fourth.
fn is_noise(block: &[u8]) -> Result<bool> {
    let Some(last) = block
        .len()
        .checked_sub(SAMPLE)
        .filter(|last| *last > 2 * SAMPLE)
    else {
        return Ok(false);
    };
    for start in [0, last / 2, last] {
        let sample = &block[start..start + SAMPLE];
        if deflate_at(1, sample)?.len() < SAMPLE - SAMPLE / 64 {
            return Ok(false);
        }
    }
    Ok(true)
}

fn deflate_at(level: u32, block: &[u8]) -> Result<Vec<u8>> {
    let mut state = Compress::new(Level::new(level), false);
    // What does not shrink grows by a few bytes in every piece.
    let mut out = Vec::with_capacity(block.len() + block.len() / 256 + 64);
    loop {
        let done = usize::try_from(state.total_in()).unwrap_or(block.len());
        let status = state
            .compress_vec(&block[done..], &mut out, FlushCompress::Sync)
            .map_err(|e| Error::malformed("layer", e))?;
        let all_in = state.total_in() == block.len() as u64;
        // With room left, everything that was to be written is.
        if all_in && out.len() < out.capacity() || status == Status::StreamEnd {
            return Ok(out);
        }
        out.reserve(64 * 1024);
    }
}

/// Which layers [`recompress`] works on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Which {
    /// Those that are not compressed.
    Plain,
    /// Those that are not gzip: also zstd, which Docker before 23 can't load.
    NotGzip,
}

impl Which {
    fn wants(self, compression: Compression) -> bool {
        match compression {
            Compression::None => true,
            Compression::Gzip => false,
            Compression::Zstd => self == Which::NotGzip,
        }
    }
}

/// The image with its layers as gzip, and a manifest that says so; the same
/// image when there is nothing to do. Configs and diff ids stay what they were.
///
/// The compressed bytes go into nameless files in `folder`: the manifest needs
/// every digest before the first layer can be sent, and compressing twice
/// costs more than a disk.
///
/// # Errors
/// Those of the layers' sources, [`Error::Mismatch`] and [`Error::Size`] for a
/// layer that is not what it claims, [`Error::Io`] when `folder` is full.
pub fn recompress(image: &Image, which: Which, folder: &Path, run: Run<'_>) -> Result<Image> {
    let mut made: HashMap<Digest, Blob> = HashMap::new();
    let mut layers = Vec::with_capacity(image.layers().len());
    for blob in image.layers() {
        if let Some(done) = made.get(blob.digest()) {
            layers.push(done.clone());
            continue;
        }
        let new = gzip_blob(blob, which, folder, run)?;
        made.insert(*blob.digest(), new.clone());
        layers.push(new);
    }
    let same = |(a, b): (&Blob, &Blob)| a.descriptor() == b.descriptor();
    if layers.iter().zip(image.layers()).all(same) {
        return Ok(image.clone());
    }
    // In the order of every release: another would be another digest for an
    // archive that is pushed again.
    let manifest = Builder::of(image.manifest())?
        .layers(layers.iter().map(Blob::descriptor))
        .first(&["config", "layers", "artifactType", "subject", "annotations"])
        .build()?;
    Image::new(manifest, image.config_blob().clone(), layers)
}

fn gzip_blob(blob: &Blob, which: Which, folder: &Path, run: Run<'_>) -> Result<Blob> {
    let Some(kind) = LayerType::parse(&blob.descriptor().media_type) else {
        return Ok(blob.clone());
    };
    if kind.foreign || !which.wants(kind.compression) {
        return Ok(blob.clone());
    }
    let reader = layer::open(blob, run.watch)?;
    if !which.wants(reader.compression) {
        return Ok(blob.clone());
    }
    run.watch.progress.start(blob.digest(), Some(blob.size()));
    let (digest, bytes) = set_aside(reader, folder, run)?;
    run.watch.progress.finish(blob.digest());
    let media_type = LayerType::new(kind.family, Compression::Gzip).media_type();
    let mut descriptor = blob.descriptor().clone();
    // Every family has a gzip.
    descriptor.media_type = media_type.unwrap_or_default().to_string();
    (descriptor.digest, descriptor.size) = (digest, bytes.len());
    Ok(Blob::new(descriptor, bytes))
}

/// Compresses everything `from` yields into a nameless file in `folder`.
///
/// # Errors
/// Those of [`compress`], [`Error::Io`] when `folder` is full.
pub(super) fn set_aside(
    from: impl Read + Send,
    folder: &Path,
    run: Run<'_>,
) -> Result<(Digest, Section)> {
    let mut to = Hashing {
        hasher: Hasher::new(),
        spool: Spool::new(folder)?,
    };
    compress(from, &mut to, run.jobs, run.watch.stop)?;
    Ok((to.hasher.finish(), to.spool.finish()))
}

struct Hashing {
    hasher: Hasher,
    spool: Spool,
}

impl Write for Hashing {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let n = self.spool.write(bytes)?;
        self.hasher.update(&bytes[..n]);
        Ok(n)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.spool.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::tests::{Made, image};
    use crate::stream::Watch;
    use proptest::prelude::*;

    fn gzipped(bytes: &[u8], jobs: usize) -> Vec<u8> {
        let mut out = Vec::new();
        compress(bytes, &mut out, jobs, &Stop::new()).unwrap();
        out
    }

    fn undone(bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        flate2::read::GzDecoder::new(bytes)
            .read_to_end(&mut out)
            .unwrap();
        out
    }

    /// Text and noise by turns, the same every time.
    fn sample(size: usize) -> Vec<u8> {
        let mut state = 1u32;
        let mut noise = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        };
        (0..size)
            .map(|i| {
                if i / 5000 % 2 == 0 {
                    noise()
                } else {
                    (i % 61) as u8
                }
            })
            .collect()
    }

    #[test]
    fn noise_is_stored_and_text_is_not() {
        let noise: Vec<u8> = sample(2 * BLOCK)
            .chunks(10_000)
            .flat_map(|c| &c[..5000.min(c.len())])
            .copied()
            .collect();
        let packed = gzipped(&noise, 2);
        assert_eq!(undone(&packed), noise);
        assert!(packed.len() < noise.len() + noise.len() / 1000 + 64);
        assert!(!is_noise(&sample(BLOCK)).unwrap() && is_noise(&noise[..BLOCK]).unwrap());
        assert!(gzipped(&vec![b'a'; BLOCK], 2).len() < BLOCK / 100);
    }

    #[test]
    fn threads_change_no_byte() {
        let bytes = sample(3 * BLOCK + 17);
        let one = gzipped(&bytes, 1);
        assert_eq!(undone(&one), bytes);
        for jobs in [2, 3, 8] {
            assert_eq!(gzipped(&bytes, jobs), one);
        }
    }

    /// These digests are what a registry knows a layer by: when an update of
    /// the deflate library changes them, that is news for the changelog.
    #[test]
    fn bytes_are_those_of_every_release() {
        let digest = |bytes: &[u8]| Digest::of(&gzipped(bytes, 2)).hex()[..12].to_string();
        assert_eq!(digest(b""), "ac73670af3ab");
        assert_eq!(digest(&sample(BLOCK + 1000)), "094ece8ae740");
    }

    #[test]
    fn plain_layers_become_gzip_and_the_rest_stays() {
        let dir = tempfile::tempdir().unwrap();
        let stop = Stop::new();
        let run = Run::new(2, Watch::new(&(), &stop));
        let before = image(&[
            Made::Plain(b"one"),
            Made::Zstd(b"two"),
            Made::Gzip(b"three"),
            Made::Plain(b"one"),
        ]);
        for (which, zstd_stays) in [(Which::Plain, true), (Which::NotGzip, false)] {
            let after = recompress(&before, which, dir.path(), run).unwrap();
            crate::image::check(&after, run).unwrap();
            assert_eq!(after.config_blob().digest(), before.config_blob().digest());
            let types: Vec<_> = after
                .layers()
                .iter()
                .map(|l| {
                    LayerType::parse(&l.descriptor().media_type)
                        .unwrap()
                        .compression
                })
                .collect();
            let second = if zstd_stays {
                Compression::Zstd
            } else {
                Compression::Gzip
            };
            assert_eq!(
                types,
                [
                    Compression::Gzip,
                    second,
                    Compression::Gzip,
                    Compression::Gzip
                ]
            );
            assert_eq!(after.layers()[0].digest(), after.layers()[3].digest());
            assert_eq!(after.layers()[2].digest(), before.layers()[2].digest());
            let again = recompress(&after, which, dir.path(), run).unwrap();
            assert_eq!(again.manifest().digest(), after.manifest().digest());
        }
        assert_eq!(dir.path().read_dir().unwrap().count(), 0);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn round_trips(bytes in proptest::collection::vec(any::<u8>(), 0..100_000)) {
            prop_assert_eq!(undone(&gzipped(&bytes, 2)), bytes);
        }
    }
}
