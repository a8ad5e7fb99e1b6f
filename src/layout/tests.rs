use std::sync::atomic::{AtomicU64, Ordering};

use proptest::prelude::*;

use super::*;
use crate::blob::{Blob, Bytes};
use crate::descriptor::media_type::{self, OCTET_STREAM};
use crate::error::if_found;
use crate::file::trace;
use crate::progress::Progress;
use crate::reference::Tag;
use crate::store::{Put, Store};
use crate::stream::Watch;

struct Fixture {
    dir: tempfile::TempDir,
    stop: Stop,
}

impl Fixture {
    fn new() -> Fixture {
        Fixture {
            dir: tempfile::tempdir().unwrap(),
            stop: Stop::new(),
        }
    }

    fn layouts(&self) -> Layouts {
        Layouts::new(self.dir.path())
    }

    fn repo(&self, name: &str) -> Layout {
        self.layouts().repository(&r(name))
    }

    fn watch(&self) -> Watch<'_> {
        Watch::new(&(), &self.stop)
    }

    fn push(&self, repo: &Layout, bytes: &[u8]) -> Blob {
        let blob = blob(bytes);
        repo.put_blob(&blob, self.watch()).unwrap();
        blob
    }

    fn path(&self, repo: &str, digest: &Digest) -> PathBuf {
        let folder = self.dir.path().join(repo).join("blobs");
        folder.join(digest.algorithm()).join(digest.hex())
    }

    /// The files of a repository that are no blobs, index or marker.
    fn strays(&self, repo: &str) -> Vec<String> {
        let entries = fs::read_dir(self.dir.path().join(repo).join(".dxf")).unwrap();
        let names = entries.map(|e| e.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name != "lock").collect()
    }
}

fn r(name: &str) -> RepoName {
    name.parse().unwrap()
}

fn tag(name: &str) -> Target {
    Target::Tag(name.parse().unwrap())
}

fn t(name: &str) -> Tag {
    name.parse().unwrap()
}

fn blob(bytes: &[u8]) -> Blob {
    Blob::bytes(OCTET_STREAM, bytes.to_vec())
}

fn alias(blobs: &[&Blob]) -> Manifest {
    let parts: Vec<_> = blobs.iter().map(|b| b.descriptor().clone()).collect();
    Manifest::alias(&parts).unwrap()
}

fn pull(repo: &Layout, digest: &Digest) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut reader = repo.pull_blob(digest, None)?.reader;
    std::io::Read::read_to_end(&mut reader, &mut bytes)?;
    Ok(bytes)
}

fn tags(repo: &Layout) -> Vec<String> {
    repo.tag_names().collect::<Result<_>>().unwrap()
}

#[test]
fn what_was_never_written_is_not_found() {
    let f = Fixture::new();
    let (repo, d) = (f.repo("a"), Digest::of(b"x"));
    assert_eq!(repo.blob_size(&d).unwrap(), None);
    assert_eq!(repo.head(&tag("x")).unwrap(), None);
    assert_eq!(repo.head(&Target::Digest(d)).unwrap(), None);
    let errors = [
        repo.open_blob(&d, 0).err().unwrap(),
        repo.manifest(&tag("x")).unwrap_err(),
        repo.delete_blob(&d).unwrap_err(),
        repo.delete_manifest(&d).unwrap_err(),
        repo.untag(&t("x")).unwrap_err(),
        repo.manifests().unwrap_err(),
        repo.referrers(&d).unwrap_err(),
        repo.tag_names().next().unwrap().unwrap_err(),
    ];
    for e in errors {
        assert!(
            e.is_not_found() && e.to_string().starts_with("Not Found: repository "),
            "{e}"
        );
    }
    assert!(f.layouts().repos().next().is_none());
    let misspelt = Layouts::new(f.dir.path().join("no"));
    let said = misspelt.repos().next().unwrap().unwrap_err();
    assert!(said.is_not_found() && said.to_string().contains("no"));
    assert_eq!(
        fs::read_dir(f.dir.path()).unwrap().count(),
        0,
        "reading made something"
    );
}

#[test]
fn a_reported_blob_is_on_the_disk_with_its_name_and_folders() {
    let f = Fixture::new();
    let repo = f.repo("a");
    trace::take();
    let first = f.push(&repo, b"one").digest().hex();
    let made = trace::take();
    let top = f.dir.path().file_name().unwrap().to_string_lossy();
    for folder in [&*top, "a", "blobs"] {
        let synced = format!("sync folder {folder}");
        assert!(made.contains(&synced), "{folder}: {made:?}");
    }
    let one = |hex: &str| {
        let folder = "sync folder sha256".to_string();
        [format!("sync {hex}"), format!("rename {hex}"), folder]
    };
    assert!(made.ends_with(&one(&first)), "{made:?}");
    let second = f.push(&repo, b"two").digest().hex();
    assert_eq!(trace::take(), one(&second));
}

#[test]
fn blobs_come_back_whole_and_in_part() {
    let f = Fixture::new();
    let repo = f.repo("team/data");
    let b = blob(b"hello");
    assert_eq!(repo.put_blob(&b, f.watch()).unwrap(), Put::Uploaded);
    assert_eq!(repo.put_blob(&b, f.watch()).unwrap(), Put::Existed);
    assert_eq!(repo.blob_size(b.digest()).unwrap(), Some(5));
    assert_eq!(pull(&repo, b.digest()).unwrap(), b"hello");
    let mut rest = String::new();
    let mut content = repo.open_blob(b.digest(), 3).unwrap();
    content.reader.read_to_string(&mut rest).unwrap();
    assert_eq!((content.size, rest.as_str()), (Some(5), "lo"));
    repo.delete_blob(b.digest()).unwrap();
    let gone = repo.delete_blob(b.digest()).unwrap_err();
    assert!(
        gone.is_not_found() && gone.to_string().starts_with("Not Found: blob sha256:"),
        "{gone}"
    );
    let mut hasher = Hasher::like(&format!("sha512:{}", "0".repeat(128)).parse().unwrap());
    hasher.update(b"long");
    let long = Descriptor::new("", hasher.finish(), 4);
    let long = Blob::new(long, Bytes(b"long".to_vec()));
    repo.put_blob(&long, f.watch()).unwrap();
    assert_eq!(pull(&repo, long.digest()).unwrap(), b"long");
    assert!(f.path("team/data", long.digest()).is_file());
}

#[test]
fn modes_are_those_of_shared_files() {
    use std::os::unix::fs::PermissionsExt;
    let f = Fixture::new();
    let b = f.push(&f.repo("a"), b"x");
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    // The umask of the user who runs the test takes its part.
    let plain = f.dir.path().join("plain");
    fs::write(&plain, "").unwrap();
    assert_eq!(mode(&f.path("a", b.digest())), mode(&plain) & 0o644);
    assert_eq!(
        mode(&f.dir.path().join("a/index.json")),
        mode(&plain) & 0o644
    );
    fs::create_dir(f.dir.path().join("folder")).unwrap();
    assert_eq!(
        mode(&f.dir.path().join("a/blobs/sha256")),
        mode(&f.dir.path().join("folder")) & 0o755
    );
}

#[test]
fn wrong_bytes_are_never_stored_and_leave_nothing() {
    let f = Fixture::new();
    let repo = f.repo("a");
    f.push(&repo, b"other");
    for (claimed, size) in [
        (Digest::of(b"abc"), 3),
        (Digest::of(b"abd"), 4),
        (Digest::of(b"abd"), 2),
    ] {
        let lie = Blob::new(Descriptor::new("", claimed, size), Bytes(b"abd".to_vec()));
        assert!(repo.put_blob(&lie, f.watch()).unwrap_err().is_corrupt());
        assert_eq!(repo.blob_size(&claimed).unwrap(), None);
    }
    assert!(f.strays("a").is_empty());
}

#[test]
fn a_rotten_blob_is_found_and_replaced() {
    let f = Fixture::new();
    let repo = f.repo("a");
    let b = f.push(&repo, b"abc");
    for rot in ["abd", "ab", ""] {
        fs::write(f.path("a", b.digest()), rot).unwrap();
        assert!(pull(&repo, b.digest()).unwrap_err().is_corrupt(), "{rot}");
        assert_eq!(repo.put_blob(&b, f.watch()).unwrap(), Put::Uploaded);
        assert_eq!(pull(&repo, b.digest()).unwrap(), b"abc");
    }
}

#[derive(Default)]
struct Seen {
    started: AtomicU64,
    bytes: AtomicU64,
    finished: AtomicU64,
    stop: Option<Stop>,
}

impl Progress for Seen {
    fn start(&self, _: &Digest, total: Option<u64>) {
        self.started.fetch_add(total.unwrap(), Ordering::SeqCst);
    }
    fn advance(&self, _: &Digest, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::SeqCst);
        if let Some(stop) = &self.stop {
            stop.set();
        }
    }
    fn finish(&self, _: &Digest) {
        self.finished.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn transfers_are_counted_and_stopped() {
    let f = Fixture::new();
    let (repo, b, seen) = (f.repo("a"), blob(&[7; 1_000_000]), Seen::default());
    repo.put_blob(&b, Watch::new(&seen, &f.stop)).unwrap();
    assert_eq!(seen.started.into_inner(), 1_000_000);
    assert_eq!(
        (seen.bytes.into_inner(), seen.finished.into_inner()),
        (1_000_000, 1)
    );
    let stop = Stop::new();
    let seen = Seen {
        stop: Some(stop.clone()),
        ..Seen::default()
    };
    let b = blob(&[8; 1_000_000]);
    let stopped = repo.put_blob(&b, Watch::new(&seen, &stop));
    assert!(matches!(stopped, Err(Error::Stopped)), "{stopped:?}");
    assert!(seen.bytes.into_inner() <= crate::stream::BUFFER as u64);
    assert_eq!(seen.finished.into_inner(), 0);
    assert_eq!(repo.blob_size(b.digest()).unwrap(), None);
    assert!(f.strays("a").is_empty());
}

#[test]
fn links_and_other_things_in_the_place_of_files_are_refused() {
    let f = Fixture::new();
    let repo = f.repo("a");
    let b = f.push(&repo, b"abc");
    let secret = f.dir.path().join("secret");
    fs::write(&secret, "abc").unwrap();
    let path = f.path("a", b.digest());
    fs::remove_file(&path).unwrap();
    std::os::unix::fs::symlink(&secret, &path).unwrap();
    assert!(repo.blob_size(b.digest()).unwrap_err().is_corrupt());
    assert!(repo.open_blob(b.digest(), 0).err().unwrap().is_corrupt());
    // A push puts the blob in the place of the link, not behind it.
    assert_eq!(repo.put_blob(&b, f.watch()).unwrap(), Put::Uploaded);
    assert!(fs::symlink_metadata(&path).unwrap().is_file() && secret.is_file());
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    assert!(repo.blob_size(b.digest()).is_err() && repo.put_blob(&b, f.watch()).is_err());
    assert!(f.strays("a").is_empty());
    let blobs = f.dir.path().join("a/blobs");
    fs::rename(&blobs, f.dir.path().join("moved")).unwrap();
    std::os::unix::fs::symlink(f.dir.path().join("moved"), &blobs).unwrap();
    assert!(
        repo.blob_size(&Digest::of(b"zzz"))
            .unwrap_err()
            .is_corrupt()
    );
    assert!(repo.put_blob(&blob(b"zzz"), f.watch()).is_err());
    let index = f.dir.path().join("a/index.json");
    fs::remove_file(&index).unwrap();
    std::os::unix::fs::symlink(&secret, &index).unwrap();
    assert!(repo.tag_names().next().unwrap().unwrap_err().is_corrupt());
}

#[cfg(feature = "schema1-signing")]
#[test]
fn what_is_digested_in_part_is_refused() {
    let f = Fixture::new();
    let repo = f.repo("a");
    let layer = f.push(&repo, b"1");
    let text = format!(
        r#"{{"schemaVersion": 1, "fsLayers": [{{"blobSum": "{}"}}]}}"#,
        layer.digest()
    );
    let key = crate::jws::SigningKey::generate().unwrap();
    let signed = Manifest::signed(text.as_bytes(), &[key]).unwrap();
    assert_eq!(signed.digest(), Digest::of(text.as_bytes()));
    for target in [tag("x"), Target::Digest(signed.digest())] {
        let refused = repo.put_manifest(&signed, &target);
        assert!(matches!(refused, Err(Error::Unsupported { .. })));
    }
    // Without signatures it is bytes like any other.
    let plain = Manifest::new(None, text.into_bytes()).unwrap();
    repo.put_manifest(&plain, &tag("x")).unwrap();
    assert_eq!(repo.manifest(&tag("x")).unwrap(), plain);
}

#[test]
fn manifests_live_by_tag_and_digest() {
    let f = Fixture::new();
    let repo = f.repo("a");
    let (b, c) = (f.push(&repo, b"1"), f.push(&repo, b"2"));
    let (one, two) = (alias(&[&b]), alias(&[&b, &c]));
    repo.put_manifest(&one, &tag("x")).unwrap();
    repo.put_manifest(&one, &tag("y")).unwrap();
    assert_eq!(repo.manifest(&tag("x")).unwrap(), one);
    assert_eq!(repo.head(&tag("x")).unwrap(), Some(one.descriptor()));
    repo.put_manifest(&two, &tag("x")).unwrap();
    repo.put_manifest(&two, &tag("y")).unwrap();
    assert_eq!(tags(&repo), ["x", "y"]);
    // Tags moved away; a registry still serves the manifest by its digest.
    let old = Target::Digest(one.digest());
    assert_eq!(repo.manifest(&old).unwrap(), one);
    assert_eq!(repo.head(&old).unwrap(), Some(one.descriptor()));
    assert_eq!(repo.manifests().unwrap().len(), 3);
    repo.untag(&t("x")).unwrap();
    assert!(repo.untag(&t("x")).unwrap_err().is_not_found());
    assert_eq!(tags(&repo), ["y"]);
    repo.delete_manifest(&two.digest()).unwrap();
    assert!(tags(&repo).is_empty());
    let gone = Target::Digest(two.digest());
    assert!(repo.manifest(&gone).unwrap_err().is_not_found());
    assert_eq!(repo.head(&gone).unwrap(), None);
    assert!(
        repo.delete_manifest(&two.digest())
            .unwrap_err()
            .is_not_found()
    );
    assert!(repo.blob_size(c.digest()).unwrap().is_some(), "blobs stay");
}

#[test]
fn tags_are_removed_in_one_step_unless_they_moved() {
    let f = Fixture::new();
    let repo = f.repo("a");
    let (one, two) = (f.push(&repo, b"1"), f.push(&repo, b"2"));
    let (one, two) = (alias(&[&one]), alias(&[&two]));
    for name in ["v", "w", "x"] {
        repo.put_manifest(&one, &tag(name)).unwrap();
    }
    repo.put_manifest(&two, &tag("x")).unwrap();
    trace::take();
    let gone = ["v", "w", "x", "y"].map(|name| (t(name), one.digest()));
    let found = repo.untag_all(&gone).unwrap().unwrap();
    let renames = trace::take()
        .into_iter()
        .filter(|one| one == "rename index.json");
    assert_eq!(renames.count(), 1);
    let (one, two) = (Some(one.digest()), Some(two.digest()));
    assert_eq!(found, [one, one, two, None]);
    assert_eq!(tags(&repo), ["x"]);
    // The manifest stays, as that of a registry does.
    assert_eq!(repo.manifests().unwrap().len(), 2);
    assert_eq!(repo.untag_all(&[]).unwrap(), Some(Vec::new()));
    trace::take();
    repo.untag_all(&gone).unwrap();
    assert!(trace::take().is_empty(), "nothing to change");
}

#[test]
fn referrers_are_found_by_their_subject() {
    let f = Fixture::new();
    let repo = f.repo("a");
    let b = f.push(&repo, b"1");
    let subject = alias(&[&b]);
    assert!(repo.referrers(&subject.digest()).unwrap().is_empty());
    // A subject need not exist, and a referrer may be an index.
    let about = |extra: &str| {
        let d = subject.digest();
        let size = subject.bytes().len();
        let text =
            format!(r#"{{"subject":{{"mediaType":"","digest":"{d}","size":{size}}},{extra}}}"#);
        Manifest::new(None, text.into_bytes()).unwrap()
    };
    let config = format!(
        r#"{{"mediaType":"app/c","digest":"{}","size":1}}"#,
        b.digest()
    );
    let typed = about(&format!(
        r#""config":{config},"layers":[],"artifactType":"app/sig","annotations":{{"k":"v"}}"#
    ));
    let plain = about(&format!(r#""config":{config},"layers":[]"#));
    let index = about(r#""manifests":[]"#);
    for (manifest, name) in [
        (&typed, tag("sig")),
        (&typed, tag("again")),
        (&plain, Target::Digest(plain.digest())),
        (&index, tag("index")),
        (&subject, tag("subject")),
    ] {
        repo.put_manifest(manifest, &name).unwrap();
    }
    let found = repo.referrers(&subject.digest()).unwrap();
    let digests: Vec<_> = found.iter().map(|d| d.digest).collect();
    assert_eq!(digests, [typed.digest(), plain.digest(), index.digest()]);
    let kinds: Vec<_> = found.iter().map(Descriptor::artifact_type).collect();
    assert_eq!(kinds, [Some("app/sig"), Some("app/c"), None]);
    assert_eq!(found[0].annotations["k"], "v");
    assert_eq!(found[0].annotations.len(), 1, "its tags are not its own");
    assert!(repo.referrers(&typed.digest()).unwrap().is_empty());
    repo.delete_manifest(&typed.digest()).unwrap();
    // One whose bytes are elsewhere is not known to be a referrer.
    fs::remove_file(f.path("a", &index.digest())).unwrap();
    let found = repo.referrers(&subject.digest()).unwrap();
    assert_eq!(found.len(), 1);
    fs::write(f.path("a", &plain.digest()), b"{}").unwrap();
    assert!(repo.referrers(&subject.digest()).unwrap_err().is_corrupt());
}

#[test]
fn referrers_are_listed_under_a_tag_too() {
    let f = Fixture::new();
    let repo = f.repo("a");
    let b = f.push(&repo, b"1");
    let subject = alias(&[&b]);
    let about = |text: &str| {
        let (d, size) = (subject.digest(), subject.bytes().len());
        let text = format!(
            r#"{{"subject":{{"mediaType":"","digest":"{d}","size":{size}}},"manifests":[],
            "annotations":{{"k":"{text}"}}}}"#
        );
        Manifest::new(None, text.into_bytes()).unwrap()
    };
    let (one, two) = (about("one"), about("two"));
    let list = || -> Option<Vec<Digest>> {
        let name = format!("sha256-{}", subject.digest().hex());
        let list = if_found(repo.manifest(&tag(&name))).unwrap()?;
        let entries = list.index().unwrap().manifests;
        Some(entries.into_iter().map(|entry| entry.digest).collect())
    };
    assert_eq!(list(), None);
    for manifest in [&one, &two, &one] {
        let target = Target::Digest(manifest.digest());
        repo.put_manifest(manifest, &target).unwrap();
    }
    assert_eq!(list().unwrap(), [one.digest(), two.digest()]);
    // The list that was replaced is neither listed nor kept.
    assert_eq!(repo.manifests().unwrap().len(), 3);
    let files = fs::read_dir(f.path("a", &one.digest()).parent().unwrap());
    assert_eq!(files.unwrap().count(), 4);
    assert_eq!(repo.referrers(&subject.digest()).unwrap().len(), 2);
    repo.delete_manifest(&one.digest()).unwrap();
    assert_eq!(list().unwrap(), [two.digest()]);
    repo.delete_manifest(&two.digest()).unwrap();
    assert_eq!(list(), None);
    assert!(repo.manifests().unwrap().is_empty());
    // What another tool keeps under that tag is left alone.
    let name = format!("sha256-{}", subject.digest().hex());
    repo.put_manifest(&subject, &tag(&name)).unwrap();
    repo.put_manifest(&one, &Target::Digest(one.digest()))
        .unwrap();
    assert_eq!(repo.manifest(&tag(&name)).unwrap(), subject);
}

#[test]
fn an_index_is_read_once_a_change() {
    let f = Fixture::new();
    let (repo, other) = (f.repo("a"), f.repo("a"));
    let b = f.push(&repo, b"1");
    let same =
        |one: &Layout, two: &Layout| Arc::ptr_eq(&one.index().unwrap(), &two.index().unwrap());
    let put = |repo: &Layout, name: &str| repo.put_manifest(&alias(&[&b]), &tag(name)).unwrap();
    put(&repo, "x");
    let written = repo.index().unwrap();
    assert!(Arc::ptr_eq(&written, &repo.clone().index().unwrap()));
    assert!(same(&other, &other) && !same(&other, &repo));
    // What another process changes is seen, and nothing of it is lost.
    put(&other, "y");
    assert_eq!(tags(&repo), ["x", "y"]);
    put(&repo, "z");
    assert_eq!(tags(&other), ["x", "y", "z"]);
    let path = f.dir.path().join("a/index.json");
    let text = fs::read_to_string(&path)
        .unwrap()
        .replace("\"z\"", "\"zz\"");
    fs::write(&path, text).unwrap();
    assert_eq!(tags(&repo), ["x", "y", "zz"]);
    assert_eq!(written.tags(), ["x"], "a reader keeps what it read");
}

#[test]
fn a_manifest_needs_what_it_names() {
    let f = Fixture::new();
    let repo = f.repo("a");
    let (b, lost) = (f.push(&repo, b"1"), blob(b"2"));
    let failed = repo
        .put_manifest(&alias(&[&b, &lost]), &tag("x"))
        .unwrap_err();
    assert!(
        failed.is_not_found() && failed.to_string().contains("named by the manifest"),
        "{failed}"
    );
    assert!(tags(&repo).is_empty());
    let child = alias(&[&b]);
    let index = format!(
        r#"{{"schemaVersion":2,"manifests":[{{"mediaType":"{}","digest":"{}","size":{}}}]}}"#,
        child.media_type(),
        child.digest(),
        child.bytes().len()
    );
    let index = Manifest::new(Some(media_type::OCI_INDEX), index.into()).unwrap();
    assert!(
        repo.put_manifest(&index, &tag("x"))
            .unwrap_err()
            .is_not_found()
    );
    let by_digest = Target::Digest(child.digest());
    assert!(
        repo.put_manifest(&child, &Target::Digest(index.digest()))
            .unwrap_err()
            .is_corrupt()
    );
    repo.put_manifest(&child, &by_digest).unwrap();
    repo.put_manifest(&index, &tag("x")).unwrap();
    assert_eq!(repo.manifest(&tag("x")).unwrap(), index);
    assert_eq!(repo.manifest(&by_digest).unwrap(), child);
    let foreign = format!(
        r#"{{"schemaVersion":2,"config":{{"digest":"{d}","size":1}},"layers":[{{"digest":"{}","size":1,"urls":["https://e.example/x"]}}]}}"#,
        lost.digest(),
        d = b.digest()
    );
    let foreign = Manifest::new(Some(media_type::OCI_MANIFEST), foreign.into()).unwrap();
    repo.put_manifest(&foreign, &tag("foreign")).unwrap();
}

#[test]
fn children_are_found_without_an_entry_and_blobs_are_no_manifests() {
    let f = Fixture::new();
    let repo = f.repo("a");
    let b = f.push(&repo, b"1");
    let child = alias(&[&b]);
    // As other tools write an index: its children are blobs like any other.
    f.push(&repo, child.bytes());
    assert_eq!(
        repo.manifest(&Target::Digest(child.digest())).unwrap(),
        child
    );
    let config = f.push(&repo, br#"{"os":"linux","config":{"Env":[]},"rootfs":{}}"#);
    let large = f.push(&repo, &vec![b' '; crate::manifest::MAX_SIZE as usize + 1]);
    for digest in [b.digest(), config.digest(), large.digest()] {
        let target = Target::Digest(*digest);
        assert!(repo.manifest(&target).unwrap_err().is_not_found());
        assert_eq!(repo.head(&target).unwrap(), None);
        assert!(repo.delete_manifest(digest).unwrap_err().is_not_found());
    }
    repo.delete_manifest(&child.digest()).unwrap();
    assert_eq!(repo.blob_size(&child.digest()).unwrap(), None);
    repo.put_manifest(&child, &tag("x")).unwrap();
    let refused = repo.delete_blob(&child.digest());
    assert!(
        matches!(refused, Err(Error::Unsupported { .. })),
        "{refused:?}"
    );
    fs::write(f.path("a", &child.digest()), "{}").unwrap();
    assert!(repo.manifest(&tag("x")).unwrap_err().is_corrupt());
    fs::remove_file(f.path("a", &child.digest())).unwrap();
    assert!(repo.manifest(&tag("x")).unwrap_err().is_not_found());
    assert_eq!(repo.head(&tag("x")).unwrap(), None);
}

#[test]
fn mounting_is_a_second_name() {
    let f = Fixture::new();
    let (from, to) = (f.repo("from"), f.repo("deep/to"));
    let b = f.push(&from, b"abc");
    assert_eq!(
        to.mount_blob(b.digest(), &r("from"), f.watch()).unwrap(),
        Put::Mounted
    );
    assert_eq!(
        to.mount_blob(b.digest(), &r("from"), f.watch()).unwrap(),
        Put::Existed
    );
    {
        use std::os::unix::fs::MetadataExt;
        let inode = |repo| fs::metadata(f.path(repo, b.digest())).unwrap().ino();
        assert_eq!(inode("from"), inode("deep/to"));
    }
    from.delete_blob(b.digest()).unwrap();
    assert_eq!(pull(&to, b.digest()).unwrap(), b"abc");
    for missing in ["from", "nowhere"] {
        let failed = to
            .mount_blob(&Digest::of(b"zz"), &r(missing), f.watch())
            .unwrap_err();
        assert_eq!(
            failed.to_string(),
            format!(
                "mount failed: {missing} does not have {}",
                Digest::of(b"zz")
            )
        );
    }
    let alone = Layout::at(f.dir.path().join("alone"));
    let failed = alone.mount_blob(b.digest(), &r("from"), f.watch());
    assert!(matches!(failed, Err(Error::Unsupported { .. })));
}

#[test]
fn a_rotten_blob_does_not_spread() {
    let f = Fixture::new();
    let (from, to) = (f.repo("from"), f.repo("to"));
    let b = f.push(&from, b"abc");
    fs::write(f.path("from", b.digest()), "abd").unwrap();
    assert!(
        to.mount_blob(b.digest(), &r("from"), f.watch())
            .unwrap_err()
            .is_corrupt()
    );
    assert_eq!(to.blob_size(b.digest()).unwrap(), None);
    assert!(f.strays("to").is_empty());
}

#[test]
fn repositories_nest_and_are_listed() {
    let f = Fixture::new();
    for name in ["b/c", "a", "a/b", "z"] {
        f.push(&f.repo(name), b"1");
    }
    fs::create_dir_all(f.dir.path().join("empty/Upper")).unwrap();
    fs::write(f.dir.path().join("file"), "").unwrap();
    // A layout behind the name of a layout's own folder is no repository.
    fs::write(f.dir.path().join("a/blobs/oci-layout"), "{}").unwrap();
    std::os::unix::fs::symlink(f.dir.path().join("a"), f.dir.path().join("linked")).unwrap();
    let names: Vec<_> = f.layouts().repos().collect::<Result<_>>().unwrap();
    assert_eq!(names, ["a", "a/b", "b/c", "z"]);
    for reserved in ["blobs", "a/blobs/b", "a/index.json", "oci-layout"] {
        let repo = f.repo(reserved);
        let refused = repo.put_blob(&blob(b"1"), f.watch());
        assert!(matches!(refused, Err(Error::Invalid { .. })), "{reserved}");
        assert!(matches!(
            repo.blob_size(&Digest::of(b"1")),
            Err(Error::Invalid { .. })
        ));
        assert!(repo.tag_names().next().unwrap().is_err());
    }
}

#[test]
fn a_repository_that_is_a_link_is_refused_as_it_is_not_listed() {
    let f = Fixture::new();
    let outside = tempfile::tempdir().unwrap();
    let there = Layout::at(outside.path());
    let b = f.push(&there, b"1");
    there.put_manifest(&alias(&[&b]), &tag("x")).unwrap();
    let link = |name: &str| {
        std::os::unix::fs::symlink(outside.path(), f.dir.path().join(name)).unwrap();
    };
    link("linked");
    fs::create_dir(f.dir.path().join("team")).unwrap();
    link("team/x");
    for name in ["linked", "linked/below", "team/x"] {
        let repo = f.repo(name);
        let errors = [
            repo.put_blob(&blob(b"2"), f.watch()).unwrap_err(),
            repo.blob_size(b.digest()).unwrap_err(),
            repo.manifest(&tag("x")).unwrap_err(),
            repo.put_manifest(&alias(&[&b]), &tag("y")).unwrap_err(),
            repo.delete_blob(b.digest()).unwrap_err(),
            repo.untag(&t("x")).unwrap_err(),
            repo.mount_blob(b.digest(), &r("a"), f.watch()).unwrap_err(),
            f.repo("a")
                .mount_blob(b.digest(), &r(name), f.watch())
                .unwrap_err(),
        ];
        for e in errors {
            assert!(e.to_string().contains("it is a link"), "{name}: {e}");
        }
    }
    assert!(f.layouts().repos().next().is_none());
    assert_eq!(tags(&there), ["x"]);
    // A path that a user wrote is another matter.
    let root = f.dir.path().join("root");
    std::os::unix::fs::symlink(outside.path(), &root).unwrap();
    assert_eq!(tags(&Layout::at(root)), ["x"]);
}

#[test]
fn writers_lose_nothing_to_each_other() {
    let f = Fixture::new();
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let f = &f;
            scope.spawn(move || {
                for i in 0..20 {
                    let repo = f.repo("a");
                    let b = f.push(&repo, format!("{thread}/{i}").as_bytes());
                    let name = format!("t{thread}-{i}");
                    repo.put_manifest(&alias(&[&b]), &tag(&name)).unwrap();
                    assert!(repo.head(&tag(&name)).unwrap().is_some());
                    assert!(!tags(&repo).is_empty());
                }
            });
        }
    });
    assert_eq!(tags(&f.repo("a")).len(), 160);
    assert!(f.strays("a").is_empty());
}

#[test]
fn a_tag_moves_only_while_it_is_as_expected() {
    let f = Fixture::new();
    let repo = f.repo("a");
    let (one, two) = (alias(&[&blob(b"1")]), alias(&[&blob(b"2")]));
    let moved = |manifest: &Manifest, expected| repo.put_manifest_if(manifest, &t("x"), expected);
    let refused = moved(&one, Expected::Manifest(one.digest())).unwrap_err();
    assert!(matches!(refused, Error::Conflict { found: None, .. }));
    assert!(!f.dir.path().join("a").exists(), "nothing was made for it");
    f.push(&repo, b"1");
    f.push(&repo, b"2");
    moved(&one, Expected::Nothing).unwrap();
    for expected in [Expected::Nothing, Expected::Manifest(two.digest())] {
        let refused = moved(&two, expected).unwrap_err();
        assert!(matches!(refused, Error::Conflict { found: Some(d), .. } if *d == one.digest()));
    }
    assert_eq!(repo.manifest(&tag("x")).unwrap().digest(), one.digest());
    moved(&two, Expected::Manifest(one.digest())).unwrap();
    assert_eq!(repo.manifest(&tag("x")).unwrap().digest(), two.digest());
}

#[test]
fn half_made_and_foreign_layouts() {
    let f = Fixture::new();
    let dir = f.dir.path().join("a");
    fs::create_dir_all(dir.join("blobs/sha256")).unwrap();
    let repo = f.repo("a");
    assert!(repo.manifest(&tag("x")).unwrap_err().is_not_found());
    fs::write(dir.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
    assert!(tags(&repo).is_empty());
    let b = f.push(&repo, b"1");
    repo.put_manifest(&alias(&[&b]), &tag("x")).unwrap();
    for (version, corrupt) in [
        ("{}", true),
        ("x", true),
        (r#"{"imageLayoutVersion":"2.0"}"#, false),
    ] {
        fs::write(dir.join("oci-layout"), version).unwrap();
        let failed = repo.manifest(&tag("x")).unwrap_err();
        assert_eq!(failed.is_corrupt(), corrupt, "{failed}");
        assert!(repo.put_manifest(&alias(&[&b]), &tag("y")).is_err());
    }
    fs::write(dir.join("oci-layout"), MARKER_TEXT).unwrap();
    let large = File::create(dir.join("index.json")).unwrap();
    large.set_len(INDEX_MAX + 1).unwrap();
    assert!(repo.manifest(&tag("x")).unwrap_err().is_corrupt());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn a_hostile_index_never_panics(entry in "\\PC{0,40}", digest in prop_oneof![Just(Digest::of(b"1").to_string()), "sha256:[./a-f0-9]{0,70}"], size in any::<i64>()) {
        let f = Fixture::new();
        let repo = f.repo("a");
        f.push(&repo, b"1");
        let document = serde_json::json!({"manifests": [
            {"digest": digest, "size": size, "mediaType": entry, "annotations": {"org.opencontainers.image.ref.name": "x"}},
            entry,
        ]});
        fs::write(f.dir.path().join("a/index.json"), document.to_string()).unwrap();
        prop_assert!(repo.manifest(&tag("x")).is_err());
        let _ = (repo.head(&tag("x")), tags(&repo), repo.manifests());
        let _ = repo.delete_manifest(&Digest::of(b"1"));
        let _ = repo.untag(&t("x"));
        f.push(&repo, b"1");
        repo.put_manifest(&alias(&[&blob(b"1")]), &tag("x")).unwrap();
        prop_assert!(repo.manifest(&tag("x")).is_ok());
    }
}
