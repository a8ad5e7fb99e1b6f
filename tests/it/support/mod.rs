//! What the tests stand on: a real registry, a server that misbehaves as told,
//! a token server, a runner for the built binary, and seeded data.

pub mod bench;
pub mod data;
pub mod dxf;
pub mod exchange;
pub mod full_disk;
pub mod helper;
pub mod memory;
pub mod peers;
pub mod place;
pub mod proxy;
pub mod python;
pub mod raw;
pub mod registry;
pub mod rules;
pub mod server;
pub mod tls;
pub mod token;
pub mod wire;

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Words that no command may print. Clones share one list, because a token is
/// a secret only once the token server has made it.
#[derive(Clone, Default)]
pub struct Secrets(Arc<Mutex<Vec<String>>>);

impl Secrets {
    pub fn add(&self, word: impl Into<String>) {
        lock(&self.0).push(word.into());
    }

    pub fn list(&self) -> Vec<String> {
        lock(&self.0).clone()
    }
}

/// A lock that a failed assertion in another thread does not poison: the
/// first failure is the one to report.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A temporary folder, in memory where the machine has such a place: registries
/// in tests write hundreds of megabytes that are not kept.
pub fn scratch() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    let mut builder = tempfile::Builder::new();
    builder.prefix("dxf-test-");
    builder
        .tempdir_in(memory)
        .or_else(|_| builder.tempdir())
        .expect("a temporary folder")
}

/// The path of a file in `folder` that holds `bytes`, for commands that push.
pub fn file(folder: &Path, bytes: &[u8]) -> String {
    let path = folder.join("file");
    std::fs::write(&path, bytes).expect("a file");
    path.display().to_string()
}

/// Waits for something that is about to happen.
pub fn until(what: &str, mut happened: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !happened() {
        assert!(
            begun.elapsed() < Duration::from_secs(30),
            "waited for {what}"
        );
        std::thread::sleep(Duration::from_millis(2));
    }
}
