//! How many requests a server takes at once. As many as are sent, until a server
//! refuses one while others to it run: then there is a limit, which all that
//! share these settings keep to.

use std::collections::HashMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

use crate::error::Result;
use crate::http::UrlOrigin;
use crate::stream::Stop;

/// What a server gets to notice that a request has ended.
const NOTICED: Duration = Duration::from_millis(500);
/// A request that waited so long is sent all the same, because the holder of a
/// permit may wait for this very request.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often a request that waits looks whether it is still wanted.
const LOOK: Duration = Duration::from_millis(100);
/// After so many requests without a refusal, one more is permitted: the server
/// may have been busy with others.
const CALM: u32 = 64;
/// How many refusals of a request that ran alone are not believed meanwhile, where
/// there is a limit: the server may not have noticed that the others have ended.
const LONE: u32 = 3;

/// The permits of all servers. Clones share them.
#[derive(Clone, Default)]
pub struct Permits(Arc<Shared>);

#[derive(Default)]
struct Shared {
    /// Those that have requests, or a limit.
    servers: Mutex<HashMap<UrlOrigin, Server>>,
    returned: Condvar,
}

#[derive(Default)]
struct Server {
    /// The threads that sent what runs now, each once a request.
    holders: Vec<ThreadId>,
    /// Requests sent so far.
    sent: u64,
    /// How many may run.
    limit: Option<usize>,
    /// Requests that ended since the limit changed.
    calm: u32,
    /// Requests that were refused alone since it rose.
    lone: u32,
}

impl Server {
    /// Whether `thread` may send a request. One that has others running is never
    /// held up: they may end only after this one.
    fn admits(&self, thread: ThreadId) -> bool {
        self.limit.is_none_or(|limit| self.holders.len() < limit) || self.holders.contains(&thread)
    }

    fn lower(&mut self, others: usize) {
        let limit = self.limit.map_or(others, |limit| limit.min(others));
        (self.limit, self.calm) = (Some(limit.max(1)), 0);
    }

    fn ended(&mut self) {
        self.calm += 1;
        if let (Some(limit), true) = (self.limit, self.calm >= CALM) {
            (self.limit, self.calm, self.lone) = (Some(limit + 1), 0, 0);
        }
    }
}

impl Permits {
    /// Waits until one more request may run at `origin`.
    ///
    /// # Errors
    /// [`Error::Stopped`](crate::Error::Stopped).
    pub fn acquire(&self, origin: UrlOrigin, stop: &Stop) -> Result<Permit> {
        let thread = thread::current().id();
        let until = Instant::now() + PATIENCE;
        let mut servers = self.lock();
        while let Some(server) = servers.get(&origin)
            && !server.admits(thread)
            && Instant::now() < until
        {
            stop.check()?;
            let waited = self.0.returned.wait_timeout(servers, LOOK);
            servers = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        let server = servers.entry(origin.clone()).or_default();
        let others = server.holders.len();
        server.holders.push(thread);
        server.sent += 1;
        let number = server.sent;
        drop(servers);
        Ok(Permit {
            permits: self.clone(),
            origin,
            thread,
            number,
            others,
            nested: false,
            returned: false,
        })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<UrlOrigin, Server>> {
        // Counts stay right even after a panic in another thread.
        let servers = self.0.servers.lock();
        servers.unwrap_or_else(PoisonError::into_inner)
    }
}

/// One request that runs; returned when it is dropped.
pub struct Permit {
    permits: Permits,
    origin: UrlOrigin,
    thread: ThreadId,
    number: u64,
    /// How many others ran beside it.
    others: usize,
    /// Whether its own thread has others running.
    nested: bool,
    returned: bool,
}

impl Permit {
    /// Lets the next request run, since this one has ended.
    pub fn give_back(&mut self) {
        if std::mem::replace(&mut self.returned, true) {
            return;
        }
        let mut servers = self.permits.lock();
        let Some(server) = servers.get_mut(&self.origin) else {
            return;
        };
        let own = |holder: &ThreadId| *holder == self.thread;
        if let Some(place) = server.holders.iter().position(own) {
            server.holders.swap_remove(place);
        }
        let since = usize::from(server.sent > self.number);
        self.others = self.others.max(server.holders.len()).max(since);
        self.nested = server.holders.contains(&thread::current().id());
        server.ended();
        if server.holders.is_empty() && server.limit.is_none() {
            servers.remove(&self.origin);
        }
        drop(servers);
        self.permits.0.returned.notify_all();
    }

    /// Lowers the limit after a refusal, if others ran: whether the request is
    /// worth sending again after they have ended.
    pub fn was_refused(&mut self) -> bool {
        self.give_back();
        let mut servers = self.permits.lock();
        if self.others == 0 {
            let limited = servers.get_mut(&self.origin);
            let limited = limited.filter(|server| server.limit.is_some() && server.lone < LONE);
            limited.is_some_and(|server| {
                server.lone += 1;
                !self.nested
            })
        } else {
            let server = servers.entry(self.origin.clone()).or_default();
            server.lower(self.others);
            !self.nested
        }
    }

    /// Waits until the server has noticed what ended.
    ///
    /// # Errors
    /// [`Error::Stopped`](crate::Error::Stopped).
    pub fn settle(&self, stop: &Stop) -> Result<()> {
        stop.wait(NOTICED)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.give_back();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::Url;
    use std::sync::atomic::{AtomicUsize, Ordering};

    fn origin(url: &str) -> UrlOrigin {
        Url::parse(url).unwrap().origin()
    }

    #[test]
    fn a_refusal_among_others_limits_one_server_and_alone_it_is_one() {
        let (permits, stop) = (Permits::default(), Stop::new());
        let at = |url| permits.acquire(origin(url), &stop).unwrap();
        // Alone, whatever runs at another server.
        let _elsewhere = at("http://b/");
        assert!(!at("http://a/").was_refused());
        assert_eq!(permits.lock().len(), 1, "an idle server costs no memory");
        // Among others that this thread does not hold.
        let others: Vec<Permit> = thread::scope(|scope| {
            let one = || scope.spawn(|| permits.acquire(origin("http://a/"), &stop).unwrap());
            [one(), one()].map(|one| one.join().unwrap()).into()
        });
        let limit = |url| permits.lock().get(&origin(url)).and_then(|one| one.limit);
        assert!(at("http://a/").was_refused());
        assert_eq!((limit("http://a/"), limit("http://b/")), (Some(2), None));
        drop(others);
        // One that ran and ended meanwhile counts as well.
        let mut refused = at("http://a/");
        drop(at("http://a/"));
        assert!(refused.was_refused());
        assert_eq!(limit("http://a/"), Some(1));
    }

    /// A server may take a moment to notice that other requests have ended.
    #[test]
    fn where_there_is_a_limit_a_few_lone_refusals_are_not_believed() {
        let (permits, stop) = (Permits::default(), Stop::new());
        let at = |url| permits.acquire(origin(url), &stop).unwrap();
        permits
            .lock()
            .entry(origin("http://a/"))
            .or_default()
            .lower(1);
        for _ in 0..LONE {
            assert!(at("http://a/").was_refused());
        }
        assert!(!at("http://a/").was_refused(), "it ends");
        (0..CALM).for_each(|_| drop(at("http://a/")));
        assert!(at("http://a/").was_refused());
        assert!(!at("http://b/").was_refused(), "another server");
    }

    #[test]
    fn no_more_run_than_the_limit_and_it_rises_again() {
        let (permits, stop) = (Permits::default(), Stop::new());
        let a = || origin("http://a/");
        permits.lock().entry(a()).or_default().lower(2);
        let (now, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let work = || {
            for _ in 0..12 {
                let _permit = permits.acquire(a(), &stop).unwrap();
                most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                thread::sleep(Duration::from_millis(1));
                now.fetch_sub(1, Ordering::SeqCst);
            }
        };
        thread::scope(|scope| (0..5).for_each(|_| drop(scope.spawn(work))));
        assert_eq!(most.load(Ordering::SeqCst), 2);
        thread::scope(|scope| drop(scope.spawn(work)));
        assert_eq!(permits.lock()[&a()].limit, Some(3));
    }

    #[test]
    fn a_thread_does_not_wait_for_itself_and_a_stop_ends_a_wait() {
        let (permits, stop) = (Permits::default(), Stop::new());
        let a = || origin("http://a/");
        permits.lock().entry(a()).or_default().lower(1);
        let _outer = permits.acquire(a(), &stop).unwrap();
        let mut inner = permits.acquire(a(), &stop).unwrap();
        assert!(!inner.was_refused(), "it would wait for the outer one");
        let waiting = || permits.acquire(a(), &stop).map(drop).is_err();
        thread::scope(|scope| {
            let waits = scope.spawn(waiting);
            stop.set();
            assert!(waits.join().unwrap());
        });
    }
}
