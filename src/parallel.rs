//! Work on several things at once: the only place that spawns threads.
//!
//! Workers are bounded, the first error wins, everything is joined before the
//! call returns. Knows nothing of what an item is.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use crate::error::{Error, Result};
use crate::stream::Stop;

/// Calls `work` for every item, at most `jobs` at a time, in the order given.
///
/// The [`Stop`] handed to `work` is set as soon as one call fails, so the
/// others can end within a buffer.
///
/// # Errors
/// The first error of any call.
pub fn for_each<T: Send>(
    jobs: usize,
    items: Vec<T>,
    stop: &Stop,
    work: impl Fn(T, &Stop) -> Result<()> + Sync,
) -> Result<()> {
    map(jobs, items, stop, work).map(drop)
}

/// Calls `work` for every item, at most `jobs` at a time, and gives the
/// results in the order of the items.
///
/// # Errors
/// As [`for_each`].
pub fn map<T: Send, R: Send>(
    jobs: usize,
    items: Vec<T>,
    stop: &Stop,
    work: impl Fn(T, &Stop) -> Result<R> + Sync,
) -> Result<Vec<R>> {
    let count = items.len();
    let stop = stop.child();
    if jobs <= 1 || count <= 1 {
        return items
            .into_iter()
            .map(|item| stop.check().and_then(|()| work(item, &stop)))
            .collect();
    }
    let queue = Mutex::new(items.into_iter().enumerate().collect::<VecDeque<_>>());
    let results = Mutex::new((0..count).map(|_| None).collect::<Vec<Option<R>>>());
    let failed: Mutex<Option<Error>> = Mutex::new(None);
    thread::scope(|scope| {
        for _ in 0..jobs.min(count) {
            scope.spawn(|| {
                while !stop.is_set() {
                    let Some((i, item)) = lock(&queue).pop_front() else {
                        break;
                    };
                    match work(item, &stop) {
                        Ok(result) => lock(&results)[i] = Some(result),
                        Err(error) => {
                            lock(&failed).get_or_insert(error);
                            stop.set();
                        }
                    }
                }
            });
        }
    });
    if let Some(error) = failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
        return Err(error);
    }
    stop.check()?;
    let results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
    Ok(results.into_iter().flatten().collect())
}

/// Takes items from `next` one after the other, calls `work` for up to `jobs`
/// of them at once, and gives the results in the order of the items. An
/// item does not wait for earlier ones; no more than `jobs` items are in memory at any time.
/// After its end, or an error, `next` is not called again.
///
/// # Errors
/// The first error of any call.
pub fn gather<T, R: Send>(
    jobs: usize,
    stop: &Stop,
    next: impl FnMut(&Stop) -> Result<Option<T>> + Send,
    work: impl Fn(T, &Stop) -> Result<R> + Sync,
) -> Result<Vec<R>> {
    let source = Mutex::new((Some(next), 0usize));
    let results = Mutex::new(Vec::<Option<R>>::new());
    let worker = |(): (), stop: &Stop| {
        // A panic, in `next` too, ends the others as an error would.
        let _guard = StopOnPanic(stop);
        loop {
            stop.check()?;
            let (number, item) = {
                let (next, count) = &mut *lock(&source);
                let Some(mut call) = next.take() else { break };
                let Some(item) = call(stop)? else { break };
                *next = Some(call);
                *count += 1;
                (*count - 1, item)
            };
            let result = work(item, stop)?;
            let mut results = lock(&results);
            let len = results.len().max(number + 1);
            results.resize_with(len, || None);
            results[number] = Some(result);
        }
        Ok(())
    };
    for_each(jobs, vec![(); jobs.max(1)], stop, worker)?;
    let results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
    Ok(results.into_iter().flatten().collect())
}

/// Takes items from `next` one after the other, calls `work` for up to `jobs`
/// of them at once, and hands the results to `take` in the order of the items.
///
/// No more than `jobs` items are in memory at any time, so a fast `next` before a
/// slow `take` costs no memory.
///
/// # Errors
/// The first error of any call.
pub fn in_order<T, R>(
    jobs: usize,
    stop: &Stop,
    mut next: impl FnMut() -> Result<Option<T>> + Send,
    work: impl Fn(T, &Stop) -> Result<R> + Sync,
    take: impl FnMut(R) -> Result<()> + Send,
) -> Result<()> {
    let sink = Mutex::new(take);
    let turn = Arc::new((Mutex::new(0usize), Condvar::new()));
    let mut count = 0usize;
    let numbered = |_: &Stop| {
        let item = next()?;
        count += 1;
        Ok(item.map(|item| (count - 1, item)))
    };
    let worker = |(number, item), stop: &Stop| {
        let result = work(item, stop)?;
        let (now, turned) = &*turn;
        let told = turn.clone();
        // Under the lock, so that no worker is between its look and its wait.
        let _hook = stop.on_set(move || {
            let _now = lock(&told.0);
            told.1.notify_all();
        });
        let mut current = lock(now);
        while *current != number {
            stop.check()?;
            current = turned.wait(current).unwrap_or_else(PoisonError::into_inner);
        }
        drop(current);
        (lock(&sink))(result)?;
        *lock(now) += 1;
        turned.notify_all();
        Ok(())
    };
    gather(jobs, stop, numbered, worker).map(drop)
}

/// Ends those who wait for their turn when the worker before them panicked:
/// that turn will never come. (An error reaches them through [`map`].)
struct StopOnPanic<'a>(&'a Stop);

impl Drop for StopOnPanic<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.set();
        }
    }
}

/// Runs `back` on a thread of its own while `front` runs on this one, both
/// able to hand buffers to each other through a [`Pipe`]; returns what both
/// return. A panic in `back` is passed on.
pub(crate) fn beside<A: Send, B>(
    back: impl FnOnce() -> A + Send,
    front: impl FnOnce() -> B,
) -> (A, B) {
    thread::scope(|scope| {
        let handle = scope.spawn(back);
        let b = front();
        match handle.join() {
            Ok(a) => (a, b),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

/// Starts a thread that lives as long as the process, such as the one that
/// waits for signals.
pub fn detached(work: impl FnOnce() + Send + 'static) {
    drop(thread::spawn(work));
}

/// A bounded queue between two threads.
pub(crate) struct Pipe<T> {
    state: Mutex<PipeState<T>>,
    changed: Condvar,
    room: usize,
}

struct PipeState<T> {
    items: VecDeque<T>,
    closed: bool,
}

impl<T> Pipe<T> {
    /// A queue for at most `room` items.
    pub fn new(room: usize) -> Pipe<T> {
        Pipe {
            state: Mutex::new(PipeState {
                items: VecDeque::new(),
                closed: false,
            }),
            changed: Condvar::new(),
            room,
        }
    }

    /// Adds an item, waiting for room; a closed pipe gives it back.
    pub fn send(&self, item: T) -> std::result::Result<(), T> {
        let mut state = lock(&self.state);
        while !state.closed && state.items.len() >= self.room {
            state = self
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
        if state.closed {
            return Err(item);
        }
        state.items.push_back(item);
        self.changed.notify_all();
        Ok(())
    }

    /// Adds an item if there is room for it now.
    pub fn offer(&self, item: T) {
        let mut state = lock(&self.state);
        if !state.closed && state.items.len() < self.room {
            state.items.push_back(item);
            self.changed.notify_all();
        }
    }

    /// The next item, waiting for one; `None` once closed and empty.
    pub fn receive(&self) -> Option<T> {
        let mut state = lock(&self.state);
        loop {
            if let Some(item) = state.items.pop_front() {
                self.changed.notify_all();
                return Some(item);
            }
            if state.closed {
                return None;
            }
            state = self
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Says that nothing more will be sent, or wanted.
    pub fn close(&self) {
        lock(&self.state).closed = true;
        self.changed.notify_all();
    }

    /// Closes it when what this gives is dropped: however its holder ends, by
    /// a panic too, the other end does not wait for ever.
    pub fn closing(&self) -> Closing<'_, T> {
        Closing(self)
    }
}

/// See [`Pipe::closing`].
pub(crate) struct Closing<'a, T>(&'a Pipe<T>);

impl<T> Drop for Closing<'_, T> {
    fn drop(&mut self) {
        self.0.close();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Work that panics takes the scope down with it; the data is not read then.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    #[test]
    fn results_keep_their_order_and_jobs_their_bound() {
        let (now, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let out = map(3, (0..20).collect(), &Stop::new(), |i: u64, _| {
            most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            thread::sleep(Duration::from_millis(20 - i));
            now.fetch_sub(1, Ordering::SeqCst);
            Ok(i * 2)
        });
        assert_eq!(out.unwrap(), (0..20).map(|i| i * 2).collect::<Vec<_>>());
        assert!(most.load(Ordering::SeqCst) <= 3);
        assert!(
            map(4, Vec::<u8>::new(), &Stop::new(), |_, _| Ok(()))
                .unwrap()
                .is_empty()
        );
    }

    #[test]
    fn the_first_error_stops_the_rest() {
        for jobs in [1, 4] {
            let done = AtomicUsize::new(0);
            let failed = for_each(jobs, (0..1000).collect(), &Stop::new(), |i: u32, stop| {
                if i == 3 {
                    return Err(Error::Unsupported {
                        what: "three".into(),
                    });
                }
                stop.wait(Duration::from_millis(1))?;
                done.fetch_add(1, Ordering::SeqCst);
                Ok(())
            });
            assert!(
                matches!(failed, Err(Error::Unsupported { .. })),
                "{failed:?}"
            );
            assert!(done.load(Ordering::SeqCst) < 100);
        }
    }

    #[test]
    fn a_stop_from_outside_ends_the_work() {
        let stop = Stop::new();
        stop.set();
        assert!(matches!(
            for_each(4, vec![1, 2], &stop, |_, _| Ok(())),
            Err(Error::Stopped)
        ));
    }

    #[test]
    fn a_stream_keeps_its_order_and_its_bound() {
        for jobs in [1, 4] {
            let (held, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
            let (mut n, mut out) = (0u64, Vec::new());
            let next = || {
                n += 1;
                most.fetch_max(held.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                Ok((n <= 40).then_some(n))
            };
            let work = |i: u64, _: &Stop| {
                thread::sleep(Duration::from_millis(i % 5));
                Ok(i * 2)
            };
            let take = |i: u64| {
                held.fetch_sub(1, Ordering::SeqCst);
                out.push(i);
                Ok(())
            };
            in_order(jobs, &Stop::new(), next, work, take).unwrap();
            assert_eq!(out, (1..=40).map(|i| i * 2).collect::<Vec<_>>());
            assert!(most.load(Ordering::SeqCst) <= 2 * jobs);
        }
    }

    #[test]
    fn what_is_gathered_keeps_its_order() {
        for jobs in [1, 4] {
            let mut n = 0u64;
            let next = |_: &Stop| {
                n += 1;
                Ok((n <= 40).then_some(n))
            };
            let work = |i: u64, _: &Stop| {
                thread::sleep(Duration::from_millis(i % 5));
                Ok(i * 2)
            };
            let out = gather(jobs, &Stop::new(), next, work).unwrap();
            assert_eq!(out, (1..=40).map(|i| i * 2).collect::<Vec<_>>());
            let mut endless = 0;
            let next = |stop: &Stop| {
                endless += 1;
                stop.check().map(|()| Some(endless))
            };
            let failed = gather(jobs, &Stop::new(), next, |i: u32, _| match i {
                5 => Err(Error::NotFound { what: "it".into() }),
                i => Ok(i),
            });
            assert!(failed.is_err_and(|e| e.is_not_found()));
        }
    }

    #[test]
    fn a_stream_ends_with_its_first_error() {
        let fail = || Error::NotFound { what: "it".into() };
        for place in 0..3 {
            let mut n = 0;
            let next = || {
                n += 1;
                if place == 0 && n == 5 {
                    Err(fail())
                } else {
                    Ok(Some(n))
                }
            };
            let work = |i: u32, _: &Stop| {
                if place == 1 && i == 5 {
                    Err(fail())
                } else {
                    Ok(i)
                }
            };
            let take = |i: u32| {
                if place == 2 && i == 5 {
                    Err(fail())
                } else {
                    Ok(())
                }
            };
            let failed = in_order(3, &Stop::new(), next, work, take);
            assert!(failed.is_err_and(|e| e.is_not_found()), "{place}");
        }
    }

    #[test]
    fn those_who_wait_for_a_turn_hear_a_stop() {
        for outside in [false, true] {
            let stop = Stop::new();
            let waiting = AtomicUsize::new(0);
            let mut n = 0u32;
            let next = || {
                n += 1;
                Ok(Some(n))
            };
            let work = |i: u32, own: &Stop| {
                if i > 1 {
                    waiting.fetch_add(1, Ordering::SeqCst);
                    return Ok(());
                }
                // The others have their results, and wait for this one's.
                while waiting.load(Ordering::SeqCst) < 3 {
                    thread::yield_now();
                }
                thread::sleep(Duration::from_millis(20));
                match outside {
                    true => stop.set(),
                    false => return Err(Error::NotFound { what: "it".into() }),
                }
                own.check()
            };
            let ended = in_order(4, &stop, next, work, |()| Ok(()));
            let error = ended.unwrap_err();
            assert_eq!(matches!(error, Error::Stopped), outside, "{error}");
        }
    }

    #[test]
    fn pipes_hand_over_in_order_and_close() {
        let pipe = Pipe::new(2);
        let (sent, got) = beside(
            || {
                let n = (0..100).take_while(|i| pipe.send(*i).is_ok()).count();
                pipe.close();
                n
            },
            || std::iter::from_fn(|| pipe.receive()).collect::<Vec<i32>>(),
        );
        assert_eq!((sent, got), (100, (0..100).collect()));
        assert_eq!(pipe.send(1), Err(1));
    }
}
