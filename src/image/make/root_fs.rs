//! The file system of an image: its layers merged, as a tar or as a folder.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::{self, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use super::dest::Name;
use super::squash::{Member, Merged, members, merge};
use crate::bounds;
use crate::error::{Error, Result};
use crate::file::sync_tree;
use crate::image::Image;
use crate::stream::{Buffer, Run, Stop, copy};
use crate::tar::{Entry, Kind, Stream};
use crate::text::one_line;

/// How many symbolic links a name may lead through (Linux: 40).
const MAX_LINKS: usize = bounds::LINKS;
/// The permissions of folders that no layer has a member for.
const FOLDER_MODE: u32 = 0o755;

/// What a container of an image would see: all its files, with their contents in
/// a nameless file on disk.
pub struct RootFs(Merged);

impl RootFs {
    /// Reads the layers of `image`, each once. The contents wait in `folder`,
    /// without compression.
    ///
    /// # Errors
    /// As [`super::Layer::squashed`].
    pub fn of(image: &Image, folder: &Path, run: Run<'_>) -> Result<RootFs> {
        merge(image.layers(), folder, run).map(RootFs)
    }

    /// Writes the files as a tar, sorted by name, to `to`, which is called `what`
    /// in errors. Owners, times, devices and extended attributes are those of the
    /// layers.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for a member that only its maker knows;
    /// [`Error::Io`]; [`Error::Stopped`].
    pub fn write_tar(self, what: &str, to: &mut dyn Write, stop: &Stop) -> Result<()> {
        let Merged { seen, contents } = self.0;
        let mut tar = Stream::new(members(seen, &contents));
        let mut tar = Stoppable {
            inner: &mut tar,
            stop,
        };
        let copied = copy(&mut tar, to, &mut Buffer::new());
        copied.map_err(|e| e.naming("files of the image", what))?;
        Ok(())
    }

    /// Makes the folder `root`, which must not exist, and writes the files into
    /// it; nothing is written outside of it and nothing through a link. Files
    /// belong to this user and have their times and the permissions of owner,
    /// group and others; set-user-id bits and extended attributes are left out.
    /// Returns the names of members that are neither file, folder nor link, which is left
    /// out as well.
    ///
    /// # Errors
    /// [`Error::Malformed`] for a file below another one, and for names that a
    /// file system without upper and lower case can't tell apart;
    /// [`Error::Io`]; [`Error::Stopped`].
    pub fn write_folder(self, root: &Path, stop: &Stop) -> Result<Vec<String>> {
        let Merged { seen, contents } = self.0;
        let mut tree = Tree {
            root: root.to_path_buf(),
            links: HashMap::new(),
            modes: Vec::new(),
            skipped: Vec::new(),
        };
        let made = fs::create_dir(root);
        made.map_err(|e| Error::io(root.display().to_string(), e))?;
        let is_link = |name: &Name| {
            let member = seen.get(name);
            member.is_some_and(|member| member.file.kind == Kind::Symlink)
        };
        let is_late = |name: &Name| name.ancestors().any(|above| is_link(&above));
        // Entries below a link follow when its target exists.
        let early = seen.iter().filter(|(name, _)| !is_late(name));
        let late = seen.iter().filter(|(name, _)| is_late(name));
        for (name, member) in early.chain(late) {
            stop.check()?;
            let content = contents.part(member.file.offset, member.file.size);
            let mut content: Box<dyn Read> = match content {
                Some(part) if member.file.kind == Kind::File => Box::new(part.reader(0)),
                _ => Box::new(io::empty()),
            };
            tree.put(&name.0, member, &mut *content)?;
        }
        tree.finish()?;
        sync_tree(root).map_err(|e| Error::io(root.display().to_string(), e))?;
        Ok(tree.skipped)
    }
}

/// Ends with an error once a stop was requested.
struct Stoppable<'a, R> {
    inner: &'a mut R,
    stop: &'a Stop,
}

impl<R: Read> Read for Stoppable<'_, R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.stop.check()?;
        self.inner.read(buf)
    }
}

/// A folder that is being filled.
struct Tree {
    root: PathBuf,
    /// Where the first name of a file is that has several, by the file's number.
    links: HashMap<u64, PathBuf>,
    /// The permissions that folders get when everything is in them.
    modes: Vec<(PathBuf, u32)>,
    skipped: Vec<String>,
}

impl Tree {
    fn failed(&self, path: &Path, error: io::Error) -> Error {
        let name = path.strip_prefix(&self.root).unwrap_or(path);
        Error::io(one_line(&name.to_string_lossy()), error)
    }

    fn bad(&self, path: &Path, why: &str) -> Error {
        let name = path.strip_prefix(&self.root).unwrap_or(path);
        Error::malformed(one_line(&name.to_string_lossy()), why)
    }

    fn put(&mut self, name: &[u8], member: &Member, content: &mut dyn Read) -> Result<()> {
        let entry = &*member.file;
        if name.is_empty() {
            self.modes.push((self.root.clone(), entry.mode));
            return Ok(());
        }
        let path = self.place(name)?;
        if entry.kind == Kind::Directory {
            return self.folder(path, entry);
        }
        if let Some(first) = self.links.get(&member.id) {
            // Neither name is followed where it is a link.
            let first = first.clone();
            self.clear(&path)?;
            return fs::hard_link(&first, &path).map_err(|e| self.failed(&path, e));
        }
        match entry.kind {
            Kind::File => self.file(&path, entry, content)?,
            Kind::Symlink => {
                self.clear(&path)?;
                symlink(OsStr::from_bytes(&entry.link), &path)
                    .map_err(|e| self.failed(&path, e))?;
            }
            _ => {
                self.skipped.push(one_line(&String::from_utf8_lossy(name)));
                return Ok(());
            }
        }
        if member.has_links() {
            self.links.insert(member.id, path);
        }
        Ok(())
    }

    /// Where a member goes, in folders that are made on the way. Links among them
    /// are followed as a container would, inside the root.
    fn place(&self, name: &[u8]) -> Result<PathBuf> {
        let parts = |name: &[u8]| -> Vec<Vec<u8>> {
            name.split(|b| *b == b'/')
                .rev()
                .map(<[u8]>::to_vec)
                .collect()
        };
        let (mut left, mut links) = (parts(name), 0);
        let mut path = self.root.clone();
        while let Some(part) = left.pop() {
            match part.as_slice() {
                b"" | b"." => continue,
                b".." => {
                    if path != self.root {
                        path.pop();
                    }
                    continue;
                }
                part => path.push(OsStr::from_bytes(part)),
            }
            if left.is_empty() {
                return Ok(path);
            }
            match fs::symlink_metadata(&path) {
                Ok(meta) if meta.is_dir() => {}
                Ok(meta) if meta.is_symlink() && links < MAX_LINKS => {
                    links += 1;
                    let to = fs::read_link(&path).map_err(|e| self.failed(&path, e))?;
                    let to = to.as_os_str().as_bytes();
                    match to.first() {
                        Some(b'/') => path = self.root.clone(),
                        _ => drop(path.pop()),
                    }
                    left.extend(parts(to));
                }
                Ok(_) => return Err(self.bad(&path, "another file lies below it")),
                Err(e) if e.kind() == ErrorKind::NotFound => {
                    fs::create_dir(&path).map_err(|e| self.failed(&path, e))?;
                }
                Err(e) => return Err(self.failed(&path, e)),
            }
        }
        // A link whose last part is `..` or nothing.
        Err(self.bad(&path, "its name ends in a folder"))
    }

    /// Takes away a file or link that a name below a link replaces.
    fn clear(&self, path: &Path) -> Result<()> {
        match fs::symlink_metadata(path) {
            Ok(meta) if meta.is_dir() => Err(self.bad(path, "a folder has its name")),
            Ok(_) => fs::remove_file(path).map_err(|e| self.failed(path, e)),
            Err(_) => Ok(()),
        }
    }

    fn folder(&mut self, path: PathBuf, entry: &Entry) -> Result<()> {
        match fs::create_dir(&path) {
            Err(e) if e.kind() == ErrorKind::AlreadyExists => {
                let meta = fs::symlink_metadata(&path).map_err(|e| self.failed(&path, e))?;
                if !meta.is_dir() {
                    return Err(self.bad(&path, "a file has its name"));
                }
            }
            made => made.map_err(|e| self.failed(&path, e))?,
        }
        self.modes.push((path, entry.mode));
        Ok(())
    }

    fn file(&self, path: &Path, entry: &Entry, content: &mut dyn Read) -> Result<()> {
        self.clear(path)?;
        let mut options = OpenOptions::new();
        options.write(true).create_new(true).mode(0o600);
        let mut file = options.open(path).map_err(|e| self.failed(path, e))?;
        let copied = copy(content, &mut file, &mut Buffer::new());
        copied.map_err(|e| self.failed(path, e.into_io()))?;
        let modified = UNIX_EPOCH + Duration::from_secs(entry.modified.min(u32::MAX.into()));
        let mode = Permissions::from_mode(entry.mode & 0o777);
        file.set_modified(modified)
            .and_then(|()| file.set_permissions(mode))
            .map_err(|e| self.failed(path, e))
    }

    /// Gives folders their permissions, the deepest first.
    fn finish(&mut self) -> Result<()> {
        let mut modes = vec![(self.root.clone(), FOLDER_MODE)];
        modes.append(&mut self.modes);
        for (path, mode) in modes.iter().rev() {
            // A folder that its owner can't enter could not be removed.
            let mode = Permissions::from_mode(mode & 0o777 | 0o700);
            fs::set_permissions(path, mode).map_err(|e| self.failed(path, e))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::tests::{Made, image, layer_of};
    use crate::tar::Entries;

    fn root_fs(layers: &[&[&str]]) -> RootFs {
        let plain: Vec<Vec<u8>> = layers.iter().map(|names| layer_of(names)).collect();
        let made: Vec<Made<'_>> = plain.iter().map(|bytes| Made::Gzip(bytes)).collect();
        RootFs::of(&image(&made), &std::env::temp_dir(), Run::default()).unwrap()
    }

    #[test]
    fn a_folder_has_what_a_container_sees() {
        let layers: &[&[&str]] = &[
            &[
                "usr/lib/so",
                "gone",
                "usr/bin/",
                "h = usr/lib/so",
                "lib -> /usr/lib",
                "lib/below",
                "|pipe",
            ],
            &[".wh.gone", "out -> ../../../../etc/passwd", "new"],
        ];
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("root");
        let skipped = root_fs(layers).write_folder(&root, &Stop::new()).unwrap();
        assert_eq!(skipped, ["pipe"]);
        let read = |name: &str| fs::read_to_string(root.join(name)).unwrap();
        assert_eq!(read("usr/lib/so"), "usr/lib/so");
        // Inside the root, not where the link points on this machine.
        assert_eq!(
            (read("usr/lib/below"), read("new")),
            ("lib/below".into(), "new".into())
        );
        assert!(!root.join("gone").exists());
        assert_eq!(
            fs::read_link(root.join("out")).unwrap(),
            Path::new("../../../../etc/passwd")
        );
        use std::os::unix::fs::MetadataExt;
        let meta = |name: &str| fs::metadata(root.join(name)).unwrap();
        assert_eq!(meta("h").ino(), meta("usr/lib/so").ino());
        assert_eq!(
            (meta("new").mode() & 0o7777, meta("new").mtime()),
            (0o755, 1_000_000_000)
        );
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn links_never_lead_out() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("outside")).unwrap();
        let to = folder.path().join("outside").display().to_string();
        for (i, link) in [to.as_str(), "../outside", "x/../../outside"]
            .into_iter()
            .enumerate()
        {
            let link = format!("l -> {link}");
            let layers: &[&[&str]] = &[&[&link, "l/evil"]];
            let root = folder.path().join(format!("root{i}"));
            root_fs(layers).write_folder(&root, &Stop::new()).unwrap();
        }
        assert_eq!(
            fs::read_dir(folder.path().join("outside")).unwrap().count(),
            0
        );
        let layers: &[&[&str]] = &[&["l -> l", "l/evil"]];
        let looped = root_fs(layers).write_folder(&folder.path().join("loop"), &Stop::new());
        assert!(looped.is_err_and(|error| error.is_corrupt()));
    }

    #[test]
    fn a_tar_has_all_of_it() {
        let layers: &[&[&str]] = &[&["b", "|pipe", "gone"], &["a = b", ".wh.gone"]];
        let mut tar = Vec::new();
        root_fs(layers)
            .write_tar("memory", &mut tar, &Stop::new())
            .unwrap();
        let entries: Result<Vec<Entry>> = Entries::new("t", &tar[..]).collect();
        let entries = entries.unwrap();
        let names: Vec<_> = entries
            .iter()
            .map(|e| (e.name().into_owned(), e.kind))
            .collect();
        let expected = [
            ("a", Kind::File),
            ("b", Kind::HardLink),
            ("pipe", Kind::Fifo),
        ];
        assert_eq!(names, expected.map(|(name, kind)| (name.to_string(), kind)));
        assert_eq!(entries[0].mode, 0o4755);
        let stop = Stop::new();
        stop.set();
        assert!(
            root_fs(layers)
                .write_tar("memory", &mut tar, &stop)
                .is_err()
        );
    }
}
