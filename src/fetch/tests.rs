//! The room's tests, against a store in memory.

use super::*;
use crate::error::{Error, Result};
use crate::fetch::partial::Partial;
use crate::manifest::Manifest;
use crate::reference::Target;
use crate::store::{ReadStore, Tags};
use crate::stream::Stop;
use crate::stream::{BUFFER, Watch};
use std::fs;
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

/// Blobs in memory; remembers from where they were read.
#[derive(Default)]
struct Memory {
    blobs: Vec<Vec<u8>>,
    asked: Mutex<Vec<u64>>,
    corrupt: bool,
    /// How many ranges are served before they are refused.
    ranges: AtomicUsize,
    refused: AtomicBool,
    /// What is added to ranges.
    tail: Option<fn() -> Box<dyn Read + Send>>,
    /// How long the first bytes of a blob take.
    delay: Duration,
}

impl Memory {
    fn of(blob: Vec<u8>) -> Memory {
        Memory {
            blobs: vec![blob],
            ..Memory::default()
        }
    }

    fn row(&self) -> Vec<Sequence> {
        let wanted = |blob: &Vec<u8>| BlobRef {
            digest: Digest::of(blob),
            size: Some(blob.len() as u64),
        };
        self.blobs.iter().map(|blob| wanted(blob).into()).collect()
    }
}

/// A reader that keeps its first bytes back.
struct Late<R>(R, Duration);

impl<R: Read> Read for Late<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        std::thread::sleep(std::mem::take(&mut self.1));
        self.0.read(buffer)
    }
}

impl ReadStore for Memory {
    fn name(&self) -> String {
        "memory".into()
    }
    fn blob_size(&self, digest: &Digest) -> Result<Option<u64>> {
        let blob = self.blobs.iter().find(|b| Digest::of(b) == *digest);
        Ok(blob.map(|b| b.len() as u64))
    }
    fn open_blob(&self, digest: &Digest, from: u64) -> Result<Content<'_>> {
        self.asked.lock().unwrap().push(from);
        let blob = self
            .blobs
            .iter()
            .find(|b| Digest::of(b) == *digest)
            .unwrap();
        let mut bytes = blob[from as usize..].to_vec();
        if self.corrupt {
            bytes.reverse();
        }
        Ok(Content {
            size: Some(blob.len() as u64),
            reader: Box::new(Late(io::Cursor::new(bytes), self.delay)),
        })
    }
    fn open_range(&self, digest: &Digest, range: Range<u64>) -> Result<Option<Content<'_>>> {
        let less = |left: usize| left.checked_sub(1);
        if let Err(0) = self.ranges.fetch_update(SeqCst, SeqCst, less) {
            std::thread::sleep(self.delay);
            self.refused.store(true, SeqCst);
            return Ok(None);
        }
        let mut content = self.open_blob(digest, range.start)?;
        content.reader = Box::new(content.reader.take(range.end - range.start));
        if let Some(tail) = self.tail {
            content.reader = Box::new(content.reader.chain(tail()));
        }
        Ok(Some(content))
    }
    fn manifest(&self, _: &Target) -> Result<Manifest> {
        unreachable!()
    }
    fn tags(&self) -> Tags<'_> {
        unreachable!()
    }
}

fn memory() -> (Memory, Vec<BlobRef>, Vec<u8>) {
    let blobs: Vec<Vec<u8>> = [0usize, 10, 3 * BUFFER + 7, BUFFER]
        .iter()
        .map(|len| (0..*len).map(|i| (i * 31 + len) as u8).collect())
        .collect();
    let wanted = blobs
        .iter()
        .map(|b| BlobRef {
            digest: Digest::of(b),
            size: Some(b.len() as u64),
        })
        .collect();
    let whole = blobs.concat();
    (
        Memory {
            blobs,
            ..Memory::default()
        },
        wanted,
        whole,
    )
}

fn run(store: &Memory, wanted: &[BlobRef], path: &Path) -> Result<u64> {
    let stop = Stop::new();
    let row: Vec<Sequence> = wanted.iter().map(|one| (*one).into()).collect();
    into_file(store, &row, path, Run::new(1, Watch::new(&(), &stop)))
}

#[test]
fn blobs_are_written_whole_and_verified() {
    let (store, wanted, whole) = memory();
    let (stop, mut out) = (Stop::new(), Vec::new());
    for one in &wanted {
        let content = store.open_blob(&one.digest, 0).unwrap();
        write(
            content,
            *one,
            Sink::new("out", &mut out),
            Watch::new(&(), &stop),
        )
        .unwrap();
    }
    assert!(out == whole);
    let store = Memory {
        corrupt: true,
        ..store
    };
    for one in &wanted[1..] {
        let content = store.open_blob(&one.digest, 0).unwrap();
        let failed = write(
            content,
            *one,
            Sink::new("out", &mut io::sink()),
            Watch::new(&(), &stop),
        );
        assert!(matches!(failed, Err(Error::Mismatch { .. })));
        let content = store.open_blob(&one.digest, 0).unwrap();
        let short = BlobRef {
            size: Some(5),
            ..*one
        };
        assert!(matches!(
            write(
                content,
                short,
                Sink::new("out", &mut io::sink()),
                Watch::new(&(), &stop)
            ),
            Err(Error::Size { .. })
        ));
    }
}

#[test]
fn a_partial_file_is_continued_wherever_it_ends() {
    let (store, wanted, whole) = memory();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("out");
    for (at, sizes) in [
        (0, true),
        (5, true),
        (10, true),
        (BUFFER, true),
        (whole.len() - 1, true),
        (whole.len(), true),
        (BUFFER, false),
    ] {
        fs::write(dir.path().join("out.partial"), &whole[..at]).unwrap();
        store.asked.lock().unwrap().clear();
        let wanted: Vec<BlobRef> = wanted
            .iter()
            .map(|w| BlobRef {
                size: w.size.filter(|_| sizes),
                ..*w
            })
            .collect();
        assert_eq!(run(&store, &wanted, &path).unwrap(), whole.len() as u64);
        assert!(fs::read(&path).unwrap() == whole, "{at}");
        assert!(!dir.path().join("out.partial").exists());
    }
    // The last run began inside the third blob.
    assert_eq!(*store.asked.lock().unwrap(), [BUFFER as u64 - 10, 0]);
}

#[test]
fn a_damaged_partial_is_begun_again_and_an_old_file_stays() {
    let (store, wanted, whole) = memory();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("out");
    let mut damaged = whole[..2 * BUFFER].to_vec();
    damaged[20] ^= 1;
    fs::write(dir.path().join("out.partial"), &damaged).unwrap();
    run(&store, &wanted, &path).unwrap();
    assert!(fs::read(&path).unwrap() == whole);
    let store = Memory {
        corrupt: true,
        ..store
    };
    assert!(matches!(
        run(&store, &wanted, &path),
        Err(Error::Mismatch { .. })
    ));
    assert!(fs::read(&path).unwrap() == whole && !dir.path().join("out.partial").exists());
    assert!(matches!(
        run(&store, &wanted, dir.path()),
        Err(Error::Unsupported { .. })
    ));
}

#[test]
fn two_writers_of_one_file_do_not_mix() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("out");
    let _held = Partial::open(&path).unwrap();
    assert!(matches!(Partial::open(&path), Err(Error::Busy { .. })));
}

/// Fails at the first write, once a range was refused, and never again.
struct Full<'a>(&'a Memory, bool);

impl Write for Full<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.asked.lock().unwrap().len() > 1 && !self.1 {
            for _ in 0..500 {
                if self.0.refused.load(SeqCst) {
                    break;
                }
                std::thread::sleep(Duration::from_millis(10));
            }
            self.1 = true;
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn what_could_not_be_written_is_told_though_ranges_are_refused_too() {
    let store = Memory {
        ranges: 1.into(),
        delay: Duration::from_millis(400),
        ..Memory::of(vec![7; 20 << 20])
    };
    let mut to = Full(&store, false);
    let done = into_writer(
        &store,
        &store.row(),
        Sink::new("out", &mut to),
        Run::default(),
    );
    assert!(store.refused.load(SeqCst) && to.1);
    let full = |e: Error| matches!(e, Error::Io { source, .. } if source.kind() == io::ErrorKind::StorageFull);
    assert!(done.is_err_and(full));
}

/// A writer of a faulty program.
struct Panics;

impl Write for Panics {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        panic!("a mistake")
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_panic_of_the_caller_s_comes_back_to_the_caller() {
    let store = Memory::of(vec![1; 3 * BUFFER]);
    let pull = || {
        into_writer(
            &store,
            &store.row(),
            Sink::new("out", &mut Panics),
            Run::default(),
        )
    };
    assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(pull)).is_err());
}

#[test]
fn bytes_that_came_are_given_whatever_happens_behind_them() {
    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::ErrorKind::Interrupted.into())
        }
    }
    let store = Memory {
        ranges: 1.into(),
        tail: Some(|| Box::new(Broken)),
        ..Memory::of(b"hello, world".to_vec())
    };
    let mut text = String::new();
    let reader = Reader::new(&store, &store.row()).unwrap();
    reader.range(3..9).read_to_string(&mut text).unwrap();
    assert_eq!(text, "lo, wo");
}

/// A file in two parts, and what is said of it.
fn joined(parts: [&[u8]; 2], whole: &[u8]) -> (Memory, Sequence) {
    let blobs: Vec<Vec<u8>> = parts.iter().map(|part| part.to_vec()).collect();
    let wanted = |part: &&[u8]| BlobRef {
        digest: Digest::of(part),
        size: Some(part.len() as u64),
    };
    let row = Sequence {
        blobs: parts.iter().map(wanted).collect(),
        whole: Some(SplitFile {
            name: "@x".into(),
            digest: Digest::of(whole),
        }),
    };
    let store = Memory {
        blobs,
        ..Memory::default()
    };
    (store, row)
}

#[test]
fn a_file_in_parts_is_checked_as_a_whole_wherever_it_was_left() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("out");
    let stop = Stop::new();
    let run = Run::new(1, Watch::new(&(), &stop));
    for held in 0..=6 {
        for (whole, right) in [(b"abcdef", true), (b"defabc", false)] {
            let (store, row) = joined([b"abc", b"def"], whole);
            fs::write(dir.path().join("out.partial"), &b"abcdef"[..held]).unwrap();
            let _ = fs::remove_file(&path);
            let got = into_file(&store, &[row.clone(), row], &path, run);
            assert_eq!(got.is_ok(), right, "{held}: {got:?}");
            assert!(right || got.is_err_and(|e| e.is_corrupt()));
            let there = fs::read(&path).unwrap_or_default();
            assert_eq!(there, if right { &b"abcdefabcdef"[..] } else { b"" });
            assert!(!dir.path().join("out.partial").exists());
        }
    }
}

#[test]
fn a_file_of_no_parts_is_empty() {
    let (store, row) = joined([b"", b""], b"");
    let stop = Stop::new();
    let run = Run::new(1, Watch::new(&(), &stop));
    for (digest, right) in [(Digest::of(b""), true), (Digest::of(b"x"), false)] {
        let (name, blobs) = ("@x".into(), Vec::new());
        let whole = Some(SplitFile { name, digest });
        let mut out = Vec::new();
        let got = into_writer(
            &store,
            &[Sequence { blobs, whole }],
            Sink::new("out", &mut out),
            run,
        );
        assert_eq!(got.is_ok(), right);
    }
    let mut out = Vec::new();
    assert_eq!(
        into_writer(&store, &[row], Sink::new("out", &mut out), run).unwrap(),
        0
    );
}

#[test]
fn a_reader_asks_for_what_is_read_and_reads_on_where_that_is_near() {
    let (store, wanted, whole) = memory();
    let row: Vec<Sequence> = wanted.iter().map(|one| (*one).into()).collect();
    let mut reader = Reader::new(&store, &row).unwrap();
    assert_eq!(reader.size(), whole.len() as u64);
    let mut got = [0; 5];
    let mut at = |to: SeekFrom| {
        let at = reader.seek(to).unwrap() as usize;
        reader.read_exact(&mut got).unwrap();
        assert_eq!(got, whole[at..at + 5], "{at}");
        store.asked.lock().unwrap().len()
    };
    assert_eq!(at(SeekFrom::Start(20)), 1);
    assert_eq!(at(SeekFrom::Current(1000)), 1);
    assert_eq!(at(SeekFrom::Start(20)), 2);
    assert_eq!(at(SeekFrom::End(-5)), 3);
    // Across the end of a blob.
    assert_eq!(at(SeekFrom::Start(8)), 5);
    assert_eq!(
        reader.seek(SeekFrom::End(7)).unwrap(),
        whole.len() as u64 + 7
    );
    assert_eq!(reader.read(&mut got).unwrap(), 0);
    assert!(reader.seek(SeekFrom::Current(i64::MIN)).is_err());
    let mut all = Vec::new();
    reader.rewind().unwrap();
    reader.read_to_end(&mut all).unwrap();
    assert!(all == whole);
}

proptest::proptest! {
    // Each hashes a megabyte a few times.
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(20))]
    #[test]
    fn a_range_is_those_bytes(from in 0u64..900_000, len in 0u64..900_000) {
        let (store, wanted, whole) = memory();
        let row = [Sequence { blobs: wanted, whole: None }];
        let size = whole.len() as u64;
        let range = from.min(size)..(from + len).min(size);
        let mut got = Vec::new();
        let reader = Reader::new(&store, &row).unwrap().range(range.clone());
        { reader }.read_to_end(&mut got).unwrap();
        proptest::prop_assert!(got == whole[range.start as usize..range.end as usize]);
    }
}
