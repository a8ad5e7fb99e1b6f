//! Being asked to end: the first signal asks the work to stop and clean up
//! after itself, a second one, or five seconds, ends the process.
//!
//! Exiting at once skips every destructor, so temporary files are written down
//! here for the time they exist.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use dxf_registry::stream::Stop;

/// The number of SIGINT on every system there is.
const SIGINT: i32 = 2;

/// The request to end, and what has to be done about it. Clones are the same.
#[derive(Clone, Default)]
pub struct Interrupt(Arc<State>);

#[derive(Default)]
struct State {
    stop: Stop,
    signal: AtomicI32,
    idle: AtomicBool,
    resumable: AtomicBool,
    litter: Mutex<BTreeSet<PathBuf>>,
    farewell: Mutex<Option<Farewell>>,
    guest: Guest,
}

/// A program that is run for the user, and gets the signals instead of this process.
#[derive(Default)]
struct Guest {
    is_there: AtomicBool,
    /// Its number; 0 before it has one.
    pid: AtomicU32,
    /// A signal that it did not get yet.
    untold: AtomicI32,
}

/// What puts right something that outlives the process.
type Farewell = Box<dyn Fn() + Send>;

/// A temporary file, or folder, that has to go when the process does.
pub struct Litter {
    interrupt: Interrupt,
    path: PathBuf,
}

impl Interrupt {
    /// What the library's transfers obey.
    pub fn stop(&self) -> &Stop {
        &self.0.stop
    }

    /// Remembers that the same command would resume what was interrupted.
    pub fn keep(&self) {
        self.0.resumable.store(true, Ordering::SeqCst);
    }

    /// Whether the same command resumes what was interrupted.
    pub fn is_resumable(&self) -> bool {
        self.0.resumable.load(Ordering::SeqCst)
    }

    /// The exit code of an interrupted command: 130 after SIGINT, 143 after
    /// SIGTERM, as shells count.
    pub fn code(&self) -> u8 {
        match self.0.signal.load(Ordering::SeqCst) {
            signal @ 1..=64 => 128 + signal as u8,
            _ => 128 + SIGINT as u8,
        }
    }

    /// Runs `work`, which waits for a person or another program: a signal
    /// meanwhile ends the process, there being nothing to finish.
    pub fn waiting<T>(&self, work: impl FnOnce() -> T) -> T {
        self.0.idle.store(true, Ordering::SeqCst);
        // One that came just before found no waiting yet.
        if self.0.signal.load(Ordering::SeqCst) != 0 {
            leave(self);
        }
        let result = work();
        self.0.idle.store(false, Ordering::SeqCst);
        result
    }

    /// The same for work that changes something outlasting the process, such as
    /// a terminal's echo: `undo` is called when a signal ends it meanwhile.
    pub fn waiting_with<T>(&self, undo: impl Fn() + Send + 'static, work: impl FnOnce() -> T) -> T {
        self.undoing(undo, || self.waiting(work))
    }

    /// Runs `work`; `undo` is called when the process ends meanwhile.
    pub fn undoing<T>(&self, undo: impl Fn() + Send + 'static, work: impl FnOnce() -> T) -> T {
        let farewell = || {
            self.0
                .farewell
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
        };
        *farewell() = Some(Box::new(undo));
        let result = work();
        *farewell() = None;
        result
    }

    /// Runs `work`, which starts another program for the user, says what number
    /// that has, and waits for its end. Signals are for that program then; what
    /// comes after its end is done whatever they were.
    ///
    /// A terminal's ctrl-C it hears of itself, being of the same group.
    pub fn handed_over<T>(&self, work: impl FnOnce(&dyn Fn(u32)) -> T) -> T {
        let guest = &self.0.guest;
        guest.is_there.store(true, Ordering::SeqCst);
        let result = work(&|pid| {
            guest.pid.store(pid, Ordering::SeqCst);
            guest.tell();
        });
        guest.pid.store(0, Ordering::SeqCst);
        guest.is_there.store(false, Ordering::SeqCst);
        result
    }

    /// Makes a file, or a folder, that is removed if the process ends before
    /// the guard. The process can't end between the two.
    pub fn litter<T: AsRef<Path>>(
        &self,
        make: impl FnOnce() -> io::Result<T>,
    ) -> io::Result<(T, Litter)> {
        let mut all = self.lock();
        let made = make()?;
        let path = made.as_ref().to_path_buf();
        all.insert(path.clone());
        let interrupt = self.clone();
        Ok((made, Litter { interrupt, path }))
    }

    fn lock(&self) -> MutexGuard<'_, BTreeSet<PathBuf>> {
        // A set of names stays whole even after a panic in another thread.
        self.0.litter.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Removes what lies about; nothing more is made while the guard lives.
    fn sweep(&self) -> MutexGuard<'_, BTreeSet<PathBuf>> {
        // A worker that still runs may put another file into a folder.
        const TRIES: usize = 10;
        let all = self.lock();
        for path in all.iter() {
            let remove = || fs::remove_file(path).or_else(|_| fs::remove_dir_all(path));
            // Nothing could be done about a file that stays.
            let _ = (0..TRIES).any(|_| remove().is_ok() || !path.exists());
        }
        all
    }
}

impl Drop for Litter {
    fn drop(&mut self) {
        self.interrupt.lock().remove(&self.path);
    }
}

/// Listens for SIGINT and SIGTERM for the rest of the process.
pub fn listen(interrupt: &Interrupt) {
    use dxf_registry::parallel::detached;
    use signal_hook::consts::{SIGINT, SIGTERM, SIGXFSZ};
    use signal_hook::iterator::Signals;

    // A file beyond `ulimit -f` is then an error of the write that is too much,
    // and what was made is removed. Programs that are run get their own default.
    let _ = signal_hook::flag::register(SIGXFSZ, Arc::default());
    // Without handlers a signal still ends the process, only less tidily.
    let Ok(mut signals) = Signals::new([SIGINT, SIGTERM]) else {
        return;
    };
    let interrupt = interrupt.clone();
    detached(move || {
        for signal in signals.forever() {
            if interrupt.0.guest.is_there.load(Ordering::SeqCst) {
                interrupt.0.guest.hear(signal);
                continue;
            }
            let first = interrupt.0.signal.swap(signal, Ordering::SeqCst) == 0;
            if !first || interrupt.0.idle.load(Ordering::SeqCst) {
                leave(&interrupt);
            }
            interrupt.0.stop.set();
            let late = interrupt.clone();
            detached(move || {
                std::thread::sleep(GRACE);
                leave(&late);
            });
        }
    });
}

/// How long the work may take to stop.
const GRACE: std::time::Duration = std::time::Duration::from_secs(5);

fn leave(interrupt: &Interrupt) -> ! {
    let _swept = interrupt.sweep();
    let farewell = &interrupt.0.farewell;
    if let Some(undo) = &*farewell.lock().unwrap_or_else(PoisonError::into_inner) {
        undo();
    }
    std::process::exit(i32::from(interrupt.code()))
}

impl Guest {
    fn hear(&self, signal: i32) {
        // One of a terminal goes to all who are at it.
        let told = signal == SIGINT && fs::File::open("/dev/tty").is_ok();
        if !told {
            self.untold.store(signal, Ordering::SeqCst);
            self.tell();
        }
    }

    /// Passes a signal on, if a program runs that did not get it yet.
    fn tell(&self) {
        use rustix::process::{Pid, Signal, kill_process};
        let pid = i32::try_from(self.pid.load(Ordering::SeqCst)).unwrap_or(0);
        let Some(pid) = Pid::from_raw(pid) else {
            return;
        };
        let signal = Signal::from_named_raw(self.untold.swap(0, Ordering::SeqCst));
        if let Some(signal) = signal {
            // A program that has ended needs no signal.
            let _ = kill_process(pid, signal);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_those_of_shells() {
        let interrupt = Interrupt::default();
        assert_eq!(interrupt.code(), 130);
        interrupt.0.signal.store(15, Ordering::SeqCst);
        assert_eq!(interrupt.code(), 143);
    }

    #[test]
    fn a_folder_goes_that_is_still_being_filled() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("folder");
        let interrupt = Interrupt::default();
        let make = || fs::create_dir(&folder).map(|()| &folder);
        let _guard = interrupt.litter(make).unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let names = (0..20_000).map(|n: u32| folder.join(n.to_string()));
                names.map(|name| fs::write(name, "")).find(Result::is_err)
            });
            while !folder.join("20").exists() {
                std::thread::yield_now();
            }
            drop(interrupt.sweep());
        });
        assert!(!folder.exists());
    }

    #[test]
    fn litter_is_swept_only_while_it_is_litter() {
        let dir = tempfile::tempdir().unwrap();
        let (kept, gone) = (dir.path().join("kept"), dir.path().join("gone"));
        fs::write(&kept, "").unwrap();
        fs::write(&gone, "").unwrap();
        let interrupt = Interrupt::default();
        drop(interrupt.litter(|| Ok(&kept)).unwrap());
        let guard = interrupt.litter(|| Ok(&gone)).unwrap();
        drop(interrupt.sweep());
        assert!(kept.exists() && !gone.exists());
        drop(guard);
        assert!(interrupt.waiting(|| interrupt.0.idle.load(Ordering::SeqCst)));
        assert!(!interrupt.0.idle.load(Ordering::SeqCst));
    }
}
