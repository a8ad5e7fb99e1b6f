//! Notes of unfinished uploads, so that a killed process can be followed by one
//! that resumes from its last byte, if the registry still has the session.
//!
//! One small private file an upload: its location may hold a signed state. The
//! file is locked while the upload runs, so two processes never share a session.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use crate::blob::Blob;
use crate::bounds;
use crate::digest::Digest;
use crate::file;
use crate::http::Url;
use crate::registry::Repository;
use crate::store::ReadStore;

/// Smaller blobs are sent again faster than the state of a session is requested.
const WORTH_IT: u64 = 16 << 20;
/// Registries clean up their sessions after a week at the latest
/// (distribution's upload purging).
const MAX_AGE: Duration = Duration::from_secs(7 * 24 * 3600);
/// A location is shorter; anything longer was not written here.
const MAX_NOTE: u64 = bounds::UPLOAD_NOTE;

/// The note of one upload. Trouble with it is never an error: without it the
/// upload begins from the start.
pub struct Note {
    path: PathBuf,
    file: File,
}

#[derive(Serialize, Deserialize)]
struct Written {
    url: String,
}

impl Note {
    /// The note for uploading `blob` to `repository`, below `folder`; `None`
    /// where the blob is not worth one, or another process holds it.
    pub fn open(folder: Option<&Path>, repository: &Repository, blob: &Blob) -> Option<Note> {
        let folder = folder.filter(|_| blob.size() >= WORTH_IT)?;
        file::make_folder(folder, file::PRIVATE).ok()?;
        sweep(folder);
        let name = Digest::of(format!("{} {}", repository.name(), blob.digest()).as_bytes()).hex();
        let path = folder.join(name);
        // Another user's note would send the blob wherever they like.
        let file = file::own(&path, 0o600).ok()?;
        Some(Note { path, file })
    }

    /// The location that was noted.
    pub fn read(&mut self) -> Option<Url> {
        let mut text = String::new();
        self.file.seek(SeekFrom::Start(0)).ok()?;
        (&self.file).take(MAX_NOTE).read_to_string(&mut text).ok()?;
        let written: Written = serde_json::from_str(&text).ok()?;
        Url::parse(&written.url).ok()
    }

    /// Whether a location is noted.
    pub fn is_written(&self) -> bool {
        self.file.metadata().is_ok_and(|meta| meta.len() > 0)
    }

    /// Notes a location.
    pub fn write(&mut self, url: &Url) {
        let text = serde_json::to_vec(&Written { url: url.as_str() }).unwrap_or_default();
        let _ = self.file.set_len(0);
        let _ = self.file.seek(SeekFrom::Start(0));
        let _ = self.file.write_all(&text);
    }

    /// Forgets what was noted.
    pub fn clear(&mut self) {
        let _ = self.file.set_len(0);
    }

    /// Removes the note.
    pub fn remove(self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// Removes notes older than any session.
fn sweep(folder: &Path) {
    let Ok(entries) = fs::read_dir(folder) else {
        return;
    };
    for entry in entries.flatten() {
        let modified = entry.metadata().and_then(|meta| meta.modified());
        let age = modified
            .ok()
            .and_then(|at| SystemTime::now().duration_since(at).ok());
        if age.is_some_and(|age| age > MAX_AGE) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::credentials::Credentials;
    use crate::registry::{Registry, Settings};
    use std::os::unix::fs::PermissionsExt;

    fn repository() -> Repository {
        let registry = Registry::connect(
            "r.example".parse().unwrap(),
            Settings::default(),
            Credentials::anonymous(),
        );
        registry.unwrap().repository("a".parse().unwrap())
    }

    #[test]
    fn notes_are_private_exclusive_and_short_lived() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("uploads");
        let (repository, blob) = (repository(), Blob::bytes("x/y", vec![0; WORTH_IT as usize]));
        let mut note = Note::open(Some(&folder), &repository, &blob).unwrap();
        assert!(note.read().is_none());
        let url = Url::parse("https://r.example/v2/a/blobs/uploads/1?_state=x%3D").unwrap();
        note.write(&url);
        assert!(note.is_written());
        assert!(Note::open(Some(&folder), &repository, &blob).is_none());
        let mode = fs::metadata(&note.path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        drop(note);
        let mut again = Note::open(Some(&folder), &repository, &blob).unwrap();
        assert_eq!(again.read().unwrap().as_str(), url.as_str());
        again.clear();
        assert!(again.read().is_none() && !again.is_written());
        again.remove();
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);
        assert!(Note::open(None, &repository, &blob).is_none());
        assert!(Note::open(Some(&folder), &repository, &Blob::bytes("x/y", vec![1])).is_none());
    }
}
