//! The lock that keeps the writers of one layout apart.
//!
//! It is held for as long as a small file takes to write. A writer that waits
//! longer is notified which file it waits for, and can be stopped: any process that
//! may read the layout can hold the lock.

use std::fs::File;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::error::Result;
use crate::file;
use crate::stream::Stop;

/// After this time a writer is notified that it waits.
const SILENT: Duration = Duration::from_secs(2);
/// The first pause between two tries, which doubles up to the longest.
const PAUSE: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_millis(50);

type Notice = dyn Fn(&str) + Send + Sync;

/// How a writer waits for the lock. Clones wait for each other in turn.
#[derive(Clone, Default)]
pub(super) struct Patience {
    stop: Stop,
    notice: Option<Arc<Notice>>,
    turn: Arc<Mutex<()>>,
}

/// Keeps other writers away while it lives.
pub(super) struct Held<'a> {
    file: File,
    _turn: MutexGuard<'a, ()>,
}

impl Held<'_> {
    /// The lock alone, which any thread may release.
    pub fn into_file(self) -> File {
        self.file
    }
}

impl Patience {
    /// Waits until `stop`; `notice` is called after two seconds, once per wait.
    pub fn new(stop: Stop, notice: Arc<Notice>) -> Patience {
        Patience {
            stop,
            notice: Some(notice),
            turn: Arc::default(),
        }
    }

    /// The same for another layout, which is waited for separately.
    pub fn another(&self) -> Patience {
        Patience {
            turn: Arc::default(),
            ..self.clone()
        }
    }

    /// Takes the lock at `path`.
    pub fn lock(&self, path: &Path) -> Result<Held<'_>> {
        // Nothing is guarded but the turn.
        let turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let (began, mut told, mut pause) = (Instant::now(), false, PAUSE);
        loop {
            if let Some(file) = file::try_lock(path)? {
                return Ok(Held { file, _turn: turn });
            }
            if !told && began.elapsed() >= SILENT {
                told = true;
                let what = format!("waiting for another writer to release {}", path.display());
                self.notice.iter().for_each(|notice| notice(&what));
            }
            self.stop.wait(pause)?;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }
}

impl std::fmt::Debug for Patience {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Patience")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;

    #[test]
    fn a_writer_says_that_it_waits_and_can_be_stopped() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let held = file::try_lock(&path).unwrap().unwrap();
        let (stop, said) = (Stop::new(), Arc::new(Mutex::new(Vec::new())));
        let (heard, end) = (said.clone(), stop.clone());
        let notice = move |text: &str| {
            heard.lock().unwrap().push(text.to_string());
            end.set();
        };
        let patience = Patience::new(stop, Arc::new(notice));
        let began = Instant::now();
        assert!(matches!(patience.lock(&path), Err(Error::Stopped)));
        assert!(began.elapsed() >= SILENT);
        let said = said.lock().unwrap().clone();
        assert!(matches!(&said[..], [one] if one.contains("waiting") && one.ends_with("lock")));
        drop(held);
        patience.lock(&path).unwrap();
    }
}
