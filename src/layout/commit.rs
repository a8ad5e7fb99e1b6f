//! Changes of a layout's index that are made at the same time, saved together:
//! each save writes the whole index and waits for the disk, so that a thousand
//! tags that eight threads put one by one would cost a thousand of both.
//!
//! The thread that makes a change saves it, unless another thread is about to make one
//! of its own: then that thread saves both, and the first waits for it.

use std::collections::HashSet;
use std::fs::File;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::Layout;
use super::index::Index;
use super::read::Files;
use crate::digest::Digest;
use crate::error::Result;

/// How long a thread waits for another to save before it looks whether that
/// still exists: one that panicked saves nothing.
const PATIENCE: Duration = Duration::from_millis(100);

/// A change of the index, which either makes it or leaves the index as it was.
/// Returns the digest of a manifest that nothing lists any more.
pub(super) type Change<'a> = &'a dyn Fn(&mut Index) -> Result<Option<Digest>>;

/// The changes of one layout. Clones share.
#[derive(Clone, Default)]
pub(super) struct Commits(Arc<Shared>);

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    saved: Condvar,
    /// Threads that are about to make a change.
    coming: AtomicUsize,
}

#[derive(Default)]
struct State {
    open: Option<Open>,
    /// The number of the open changes, or of those that were saved last.
    number: u64,
    /// Those that could not be saved.
    failed: HashSet<u64>,
}

/// Changes that wait to be saved, while other processes are kept away.
struct Open {
    index: Index,
    is_changed: bool,
    unused: Vec<Digest>,
    _lock: File,
}

impl Commits {
    /// Makes a change of `layout`, which exists, and saves it.
    ///
    /// # Errors
    /// Those of the change, and [`crate::Error::Io`] if it cannot be saved.
    pub fn make(&self, layout: &Layout, change: Change<'_>) -> Result<()> {
        self.0.coming.fetch_add(1, Ordering::SeqCst);
        let mut state = self.lock();
        self.0.coming.fetch_sub(1, Ordering::SeqCst);
        let changed = state.apply(layout, change);
        if !self.is_anyone_coming() {
            let saved = self.save(layout, &mut state);
            return changed.and(saved);
        }
        changed?;
        let number = state.number;
        let mut state = self.wait(layout, state, number);
        if state.failed.contains(&number) {
            // For another change, perhaps: each learns by itself what is wrong
            // with its own.
            self.save(layout, &mut state).ok();
            let changed = state.apply(layout, change);
            let saved = self.save(layout, &mut state);
            return changed.and(saved);
        }
        Ok(())
    }

    /// Waits until the changes of this number are no longer open.
    fn wait<'a>(
        &'a self,
        layout: &Layout,
        mut state: MutexGuard<'a, State>,
        number: u64,
    ) -> MutexGuard<'a, State> {
        while state.open.is_some() && state.number == number {
            let waited = self.0.saved.wait_timeout(state, PATIENCE);
            let (woken, waited) = waited.unwrap_or_else(PoisonError::into_inner);
            state = woken;
            let is_mine = state.open.is_some() && state.number == number;
            if is_mine && waited.timed_out() && !self.is_anyone_coming() {
                // What fails is made again by all of them.
                self.save(layout, &mut state).ok();
            }
        }
        state
    }

    /// Saves the open changes, if there are any, and lets other processes in.
    fn save(&self, layout: &Layout, state: &mut State) -> Result<()> {
        let Some(open) = state.open.take() else {
            return Ok(());
        };
        let saved = open.save(layout);
        if saved.is_err() {
            state.failed.insert(state.number);
        }
        self.0.saved.notify_all();
        saved
    }

    fn is_anyone_coming(&self) -> bool {
        self.0.coming.load(Ordering::SeqCst) > 0
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A change that panicked is no change.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Makes a change of the open ones' index, or of a new one.
    fn apply(&mut self, layout: &Layout, change: Change<'_>) -> Result<()> {
        if self.open.is_none() {
            let lock = layout.hold()?.into_file();
            self.number += 1;
            self.open = Some(Open {
                index: Index::clone(&*layout.index()?),
                is_changed: false,
                unused: Vec::new(),
                _lock: lock,
            });
        }
        self.open.as_mut().map_or(Ok(()), |open| {
            open.unused.extend(change(&mut open.index)?);
            open.is_changed = true;
            Ok(())
        })
    }
}

impl Open {
    fn save(mut self, layout: &Layout) -> Result<()> {
        if !self.is_changed {
            return Ok(());
        }
        let index = &self.index;
        // A later change may have listed it again.
        self.unused
            .retain(|old| matches!(index.listed(old), Ok(None)));
        let blobs = layout.blobs()?;
        layout.save(self.index)?;
        for old in &self.unused {
            // The changes are made; what can't be removed is left to gc.
            let _ = blobs.remove(old);
        }
        Ok(())
    }
}

impl std::fmt::Debug for Commits {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Commits")
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;

    use super::*;
    use crate::blob::Blob;
    use crate::descriptor::media_type::OCTET_STREAM;
    use crate::error::Error;
    use crate::file::trace;
    use crate::manifest::Manifest;
    use crate::reference::{Tag, Target};
    use crate::store::{Expected, ReadStore, Store};
    use crate::stream::{Stop, Watch};

    const THREADS: usize = 8;
    const EACH: usize = 40;

    /// A layout with an alias `first`, and its manifest.
    fn filled(dir: &tempfile::TempDir) -> (Layout, Manifest) {
        let repo = Layout::at(dir.path());
        let blob = Blob::bytes(OCTET_STREAM, b"1".to_vec());
        repo.put_blob(&blob, Watch::new(&(), &Stop::new())).unwrap();
        let alias = Manifest::alias(&[blob.descriptor().clone()]).unwrap();
        repo.put_manifest(&alias, &"first".parse().unwrap())
            .unwrap();
        (repo, alias)
    }

    /// Runs `one` in eight threads, which begin together; how often the index was
    /// replaced.
    fn together(one: impl Fn(usize) + Sync) -> usize {
        let gate = Barrier::new(THREADS);
        std::thread::scope(|scope| {
            let run = |thread| {
                let (gate, one) = (&gate, &one);
                scope.spawn(move || {
                    gate.wait();
                    trace::take();
                    one(thread);
                    let made = trace::take().into_iter();
                    made.filter(|made| made == "rename index.json").count()
                })
            };
            let threads: Vec<_> = (0..THREADS).map(run).collect();
            threads.into_iter().map(|one| one.join().unwrap()).sum()
        })
    }

    #[test]
    fn what_many_threads_change_is_saved_together() {
        let dir = tempfile::tempdir().unwrap();
        let (repo, alias) = filled(&dir);
        let saves = together(|thread| {
            for i in 0..EACH {
                let tag: Tag = format!("t{thread}-{i}").parse().unwrap();
                let target = Target::Tag(tag.clone());
                repo.put_manifest(&alias, &target).unwrap();
                // On disk, as another process sees it.
                let other = Layout::at(dir.path());
                assert!(other.head(&target).unwrap().is_some());
                // What is wrong with one change is not wrong with others.
                let failed = repo.put_manifest_if(&alias, &tag, Expected::Nothing);
                assert!(matches!(failed, Err(Error::Conflict { .. })));
            }
        });
        assert_eq!(repo.tags().count(), THREADS * EACH + 1);
        assert!(saves < THREADS * EACH, "{saves} saves");
    }

    #[test]
    fn what_can_not_be_saved_is_told_to_whom_it_belongs() {
        let dir = tempfile::tempdir().unwrap();
        let (repo, alias) = filled(&dir);
        // Room for about three hundred more entries.
        let room = 300 * 300;
        let text = "x".repeat(super::super::INDEX_MAX as usize - room);
        repo.annotate("x", &text).unwrap();
        let put = Mutex::new(Vec::new());
        together(|thread| {
            for i in 0..EACH * 2 {
                let target: Target = format!("t{thread}-{i}").parse().unwrap();
                match repo.put_manifest(&alias, &target) {
                    Ok(()) => put.lock().unwrap().push(target.to_string()),
                    Err(Error::Unsupported { what }) => assert!(what.contains("too many")),
                    Err(other) => panic!("{other}"),
                }
            }
        });
        let mut put = put.into_inner().unwrap();
        put.push("first".into());
        put.sort();
        let tags: Vec<String> = repo.tags().map(|tag| tag.unwrap().to_string()).collect();
        assert_eq!(put, tags);
        assert!(put.len() > 100 && put.len() < THREADS * EACH * 2);
    }
}
