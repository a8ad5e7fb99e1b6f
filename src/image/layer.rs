//! Layers: what their media types promise, and the bytes inside.
//!
//! The first bytes of a layer tell how it is compressed; its media type is a
//! promise that may be broken (crpy labels plain tars gzip). The types are
//! those of image-spec's layer.md and of Docker's manifest v2 schema 2.

use std::io::{self, BufReader, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::blob::Blob;
use crate::bounds;
use crate::descriptor::Descriptor;
use crate::digest::{Digest, Hasher};
use crate::error::{Error, Result};
use crate::stream::{BUFFER, Buffer, Watch};

/// Up to here a decompressed layer may have any size…
const FREE_OF_RATIO: u64 = bounds::GROWTH_FREE;
/// …beyond, no honest file system compresses better than this.
const MAX_RATIO: u64 = bounds::GROWTH;
/// The largest window a zstd frame may demand, as a power of two: what
/// `zstd -d` allows by default, and Docker with it.
const ZSTD_WINDOW: u32 = bounds::ZSTD_WINDOW;

/// How bytes are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// Not at all, or in no way known here.
    None,
    /// RFC 1952, of one or many members.
    Gzip,
    /// RFC 8878, of one or many frames.
    Zstd,
}

impl Compression {
    /// Bytes that [`Compression::sniff`] wants to see.
    pub const MAGIC: usize = 4;

    /// What the first bytes say.
    pub fn sniff(head: &[u8]) -> Compression {
        match head {
            [0x1f, 0x8b, ..] => Compression::Gzip,
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Compression::Zstd,
            // A skippable frame: zstd:chunked and others begin with one.
            [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Compression::Zstd,
            _ => Compression::None,
        }
    }
}

/// Whose words a media type is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// Docker's manifest v2 schema 2.
    Docker,
    /// The OCI image specification.
    Oci,
}

impl Family {
    /// Whose words a manifest's media type is in.
    pub fn of(media_type: &str) -> Family {
        use crate::descriptor::media_type::{DOCKER_LIST, DOCKER_MANIFEST};
        match media_type {
            DOCKER_MANIFEST | DOCKER_LIST => Family::Docker,
            _ => Family::Oci,
        }
    }
}

/// What the media type of a layer says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct LayerType {
    /// Whose word it is.
    pub family: Family,
    /// How the layer claims to be compressed.
    pub compression: Compression,
    /// Whether the layer must not be passed on (Windows base layers): foreign
    /// in Docker's words, non-distributable in OCI's.
    pub foreign: bool,
}

const fn layer(family: Family, compression: Compression, foreign: bool) -> LayerType {
    LayerType {
        family,
        compression,
        foreign,
    }
}

/// Every layer type there is. (Docker has no foreign zstd.)
const TYPES: [(&str, LayerType); 11] = {
    use Compression::{Gzip, None, Zstd};
    use Family::{Docker, Oci};
    [
        (
            "application/vnd.docker.image.rootfs.diff.tar",
            layer(Docker, None, false),
        ),
        (
            "application/vnd.docker.image.rootfs.diff.tar.gzip",
            layer(Docker, Gzip, false),
        ),
        (
            "application/vnd.docker.image.rootfs.diff.tar.zstd",
            layer(Docker, Zstd, false),
        ),
        (
            "application/vnd.docker.image.rootfs.foreign.diff.tar",
            layer(Docker, None, true),
        ),
        (
            "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
            layer(Docker, Gzip, true),
        ),
        (
            "application/vnd.oci.image.layer.v1.tar",
            layer(Oci, None, false),
        ),
        (
            "application/vnd.oci.image.layer.v1.tar+gzip",
            layer(Oci, Gzip, false),
        ),
        (
            "application/vnd.oci.image.layer.v1.tar+zstd",
            layer(Oci, Zstd, false),
        ),
        (
            "application/vnd.oci.image.layer.nondistributable.v1.tar",
            layer(Oci, None, true),
        ),
        (
            "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
            layer(Oci, Gzip, true),
        ),
        (
            "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd",
            layer(Oci, Zstd, true),
        ),
    ]
};

impl LayerType {
    /// What a media type says, where it is a layer's.
    pub fn parse(media_type: &str) -> Option<LayerType> {
        TYPES
            .iter()
            .find(|(name, _)| *name == media_type)
            .map(|(_, found)| *found)
    }

    /// The media type; `None` for a combination without a name.
    pub fn media_type(self) -> Option<&'static str> {
        TYPES
            .iter()
            .find(|(_, known)| *known == self)
            .map(|(name, _)| *name)
    }

    /// The type of a layer that may be passed on.
    pub fn new(family: Family, compression: Compression) -> LayerType {
        layer(family, compression, false)
    }
}

/// Whether a layer must not be passed on ([`LayerType::foreign`]).
pub(crate) fn is_foreign(layer: &Descriptor) -> bool {
    LayerType::parse(&layer.media_type).is_some_and(|kind| kind.foreign)
}

/// Why a layer that its makers keep elsewhere can't be read here.
pub fn kept_elsewhere(layer: &Descriptor) -> Error {
    let urls = urls(layer);
    let place = if urls.is_empty() {
        "nowhere else".to_string()
    } else {
        urls.join(" ")
    };
    Error::Elsewhere {
        what: format!(
            "layer {} is not distributable and the registry does not have it; it is at {place}",
            layer.digest
        ),
    }
}

/// Where else a layer's bytes are said to be (image-spec, descriptor.md).
pub fn urls(layer: &Descriptor) -> Vec<&str> {
    let list = layer.rest.get("urls").and_then(serde_json::Value::as_array);
    list.into_iter()
        .flatten()
        .filter_map(serde_json::Value::as_str)
        .collect()
}

/// A layer's bytes, decompressed.
pub struct Uncompressed<'a> {
    /// What the first bytes said.
    pub compression: Compression,
    what: String,
    decoder: Box<dyn Read + Send + 'a>,
    taken: Arc<AtomicU64>,
    given: u64,
}

impl<'a> Uncompressed<'a> {
    /// Looks at the first bytes of `compressed`; `what` names it in errors.
    ///
    /// Everything is streamed, a window is bounded, and what grows beyond all
    /// measure is refused, so hostile bytes cost no memory and no disk.
    ///
    /// # Errors
    /// The reader's own.
    pub fn new(what: &str, mut compressed: impl Read + Send + 'a) -> Result<Uncompressed<'a>> {
        let mut head = Vec::with_capacity(Compression::MAGIC);
        (&mut compressed)
            .take(Compression::MAGIC as u64)
            .read_to_end(&mut head)
            .map_err(|e| Error::io(what, e))?;
        let compression = Compression::sniff(&head);
        let taken = Arc::new(AtomicU64::new(0));
        let counted = Counted {
            inner: io::Cursor::new(head).chain(compressed),
            count: taken.clone(),
        };
        let decoder: Box<dyn Read + Send + 'a> = match compression {
            Compression::None => Box::new(counted),
            Compression::Gzip => {
                let buffered = BufReader::with_capacity(BUFFER, counted);
                Box::new(flate2::bufread::MultiGzDecoder::new(buffered))
            }
            Compression::Zstd => {
                let mut decoder = zstd::Decoder::new(counted).map_err(|e| Error::io(what, e))?;
                decoder
                    .window_log_max(ZSTD_WINDOW)
                    .map_err(|e| Error::io(what, e))?;
                Box::new(decoder)
            }
        };
        Ok(Uncompressed {
            compression,
            what: what.to_string(),
            decoder,
            taken,
            given: 0,
        })
    }
}

impl Read for Uncompressed<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self
            .decoder
            .read(buf)
            .map_err(|e| decoding_error(&self.what, e))?;
        self.given += n as u64;
        if self.compression != Compression::None
            && is_excessive(self.given, self.taken.load(Ordering::Relaxed))
        {
            let why = format!("it grows more than {MAX_RATIO} times when decompressed");
            return Err(Error::malformed(&self.what, why).into());
        }
        Ok(n)
    }
}

/// Whether no honest archive of `taken` bytes makes `given` bytes.
pub(crate) fn is_excessive(given: u64, taken: u64) -> bool {
    given > FREE_OF_RATIO && given / MAX_RATIO > taken
}

/// What a decoder dislikes about its input is malformed data; what its source
/// met (an error of ours, or of the system) stays what it is.
fn decoding_error(what: &str, error: io::Error) -> io::Error {
    let from_below = error.get_ref().is_some_and(|inner| inner.is::<Error>())
        || error.raw_os_error().is_some()
        || error.kind() == io::ErrorKind::Interrupted;
    if from_below {
        return error;
    }
    Error::malformed(what, format!("can't decompress it ({error})")).into()
}

struct Counted<R> {
    inner: R,
    count: Arc<AtomicU64>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buf)?;
        self.count.fetch_add(n as u64, Ordering::Relaxed);
        Ok(n)
    }
}

/// A layer blob, verified and decompressed on the way.
///
/// # Errors
/// Those of the blob's source.
pub fn open<'a>(blob: &'a Blob, watch: Watch<'a>) -> Result<Uncompressed<'a>> {
    let watched = watch.reader(*blob.digest(), blob.verified()?);
    Uncompressed::new(&blob.digest().to_string(), watched)
}

/// The digest of a layer's bytes without compression, which its image's config
/// lists as diff id.
///
/// # Errors
/// [`Error::Malformed`] for bytes that can't be decompressed,
/// [`Error::Mismatch`] and [`Error::Size`] for a blob that is not what its
/// descriptor says, those of its source.
pub fn diff_id(blob: &Blob, watch: Watch<'_>) -> Result<Digest> {
    hash(&blob.digest().to_string(), open(blob, watch)?)
}

pub(crate) fn hash(what: &str, mut from: impl Read) -> Result<Digest> {
    let (mut hasher, mut buffer) = (Hasher::new(), Buffer::new());
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return Ok(hasher.finish()),
            Ok(n) => hasher.update(&buffer[..n]),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(Error::io(what, e)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream::Stop;
    use std::io::Write;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut to = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        to.write_all(bytes).unwrap();
        to.finish().unwrap()
    }

    fn plain(bytes: &[u8]) -> Result<(Compression, Vec<u8>)> {
        let mut reader = Uncompressed::new("layer", bytes)?;
        let mut out = Vec::new();
        reader.read_to_end(&mut out).map_err(Error::from)?;
        Ok((reader.compression, out))
    }

    #[test]
    fn types_and_words_are_one_to_one() {
        for (name, parsed) in TYPES {
            assert_eq!(LayerType::parse(name), Some(parsed));
            assert_eq!(parsed.media_type(), Some(name));
        }
        assert!(LayerType::parse("application/vnd.in-toto+json").is_none());
        assert_eq!(
            layer(Family::Docker, Compression::Zstd, true).media_type(),
            None
        );
    }

    #[test]
    fn every_compression_is_seen_and_undone() {
        let text = b"layer ".repeat(1000);
        let zst = zstd::encode_all(&text[..], 3).unwrap();
        let skippable = [&[0x5a, 0x2a, 0x4d, 0x18, 2, 0, 0, 0, 9, 9][..], &zst].concat();
        let twice = [gzip(&text), gzip(b"more")].concat();
        assert_eq!(plain(&text).unwrap(), (Compression::None, text.clone()));
        assert_eq!(
            plain(&gzip(&text)).unwrap(),
            (Compression::Gzip, text.clone())
        );
        assert_eq!(plain(&zst).unwrap(), (Compression::Zstd, text.clone()));
        assert_eq!(
            plain(&skippable).unwrap(),
            (Compression::Zstd, text.clone())
        );
        assert_eq!(plain(&twice).unwrap().1, [&text[..], b"more"].concat());
        assert_eq!(plain(b"").unwrap(), (Compression::None, vec![]));
        assert_eq!(plain(b"x").unwrap(), (Compression::None, b"x".to_vec()));
    }

    #[test]
    fn broken_and_cut_bytes_are_malformed() {
        let (gz, zst) = (
            gzip(&[7; 9000]),
            zstd::encode_all(&[7; 9000][..], 3).unwrap(),
        );
        for whole in [gz, zst] {
            let cut = &whole[..whole.len() - 3];
            assert!(matches!(plain(cut), Err(Error::Malformed { .. })));
            let noisy = [&whole[..], b"\x01garbage"].concat();
            assert!(matches!(plain(&noisy), Err(Error::Malformed { .. })));
        }
    }

    #[test]
    fn a_window_beyond_bounds_is_refused() {
        let mut to = zstd::Encoder::new(Vec::new(), 3).unwrap();
        to.window_log(30).unwrap();
        to.write_all(b"x").unwrap();
        let bytes = to.finish().unwrap();
        assert!(matches!(plain(&bytes), Err(Error::Malformed { .. })));
    }

    #[test]
    fn a_bomb_is_put_out() {
        // 3 GiB of zeros in about 3 MB of gzip is honest enough (1032:1 at most
        // for deflate); zstd packs them into a few hundred bytes.
        let mut to = zstd::Encoder::new(Vec::new(), 1).unwrap();
        let zeros = vec![0; 1 << 20];
        for _ in 0..1100 {
            to.write_all(&zeros).unwrap();
        }
        let bytes = to.finish().unwrap();
        let mut reader = Uncompressed::new("bomb", &bytes[..]).unwrap();
        let failed = io::copy(&mut reader, &mut io::sink()).unwrap_err();
        assert!(matches!(Error::from(failed), Error::Malformed { .. }));
    }

    #[test]
    fn a_diff_id_is_that_of_the_plain_bytes() {
        let stop = Stop::new();
        let watch = Watch::new(&(), &stop);
        let blob = Blob::bytes("x/y", gzip(b"tar"));
        assert_eq!(diff_id(&blob, watch).unwrap(), Digest::of(b"tar"));
        let mut lying = blob.descriptor().clone();
        lying.digest = Digest::of(b"other");
        let lying = Blob::new(lying, crate::blob::Bytes(gzip(b"tar")));
        assert!(matches!(
            diff_id(&lying, watch),
            Err(Error::Mismatch { .. })
        ));
        stop.set();
        assert!(matches!(diff_id(&blob, watch), Err(Error::Stopped)));
    }
}
