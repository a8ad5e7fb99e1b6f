//! How fast a process may talk: bytes a second, both ways together, and requests
//! a second. Clones share one budget, for any number of registries.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::error::Result;
use crate::stream::Stop;

/// How much of a pause may be made up for. Sleeping takes longer than asked for
/// on a busy machine; without this the rate would fall below its limit.
const SLACK: Duration = Duration::from_millis(100);
/// Bodies move in pieces that take this part of a second, so that waits are
/// short and even.
const PIECES: f64 = 20.0;
/// Bytes a second for each connection at least. The system takes some hundred kilobytes
/// from each before they are asked for, so many at a low rate would exceed it.
const LANE: f64 = (2 << 20) as f64;

/// Limits for all connections of a process; none by default.
///
/// ```
/// use dxf_registry::http::{Limits, Settings};
///
/// let limits = Limits::none().bytes_per_second(2_000_000).requests_per_second(10.0);
/// let settings = Settings::default().with_limits(limits);
/// # let _ = settings;
/// ```
#[derive(Debug, Clone, Default)]
pub struct Limits {
    bytes: Option<Arc<Pace>>,
    requests: Option<Arc<Pace>>,
}

impl Limits {
    /// No limits.
    pub fn none() -> Limits {
        Limits::default()
    }

    /// At most so many bytes of bodies a second, sent and received together;
    /// 0 counts as 1.
    pub fn bytes_per_second(mut self, bytes: u64) -> Limits {
        self.bytes = Some(Pace::new(bytes.max(1) as f64));
        self
    }

    /// At most so many requests a second, those for tokens, redirects and further
    /// tries included; what is not above 0 counts as no limit.
    pub fn requests_per_second(mut self, requests: f64) -> Limits {
        self.requests = (requests > 0.0).then(|| Pace::new(requests));
        self
    }

    /// How many connections the rate is shared by at most; more would be no faster.
    pub fn connections(&self) -> usize {
        match &self.bytes {
            Some(pace) => (pace.per_second / LANE).max(1.0) as usize,
            None => usize::MAX,
        }
    }

    /// Waits until one more request may be sent.
    pub(super) fn request(&self, stop: &Stop) -> Result<()> {
        self.requests
            .as_ref()
            .map_or(Ok(()), |pace| pace.take(1.0, stop).map(drop))
    }

    /// How many bytes of `wanted` move at a time.
    pub(super) fn piece(&self, wanted: usize) -> usize {
        match &self.bytes {
            Some(pace) => wanted.min((pace.per_second / PIECES).ceil() as usize),
            None => wanted,
        }
    }

    /// Waits until `count` bytes that moved are paid for; how long that took.
    pub(super) fn pay(&self, count: usize, stop: &Stop) -> Result<Duration> {
        let none = Ok(Duration::ZERO);
        self.bytes
            .as_ref()
            .map_or(none, |pace| pace.take(count as f64, stop))
    }
}

/// So much a second.
#[derive(Debug)]
struct Pace {
    per_second: f64,
    /// When all that was taken so far is paid for.
    paid: Mutex<Option<Instant>>,
}

impl Pace {
    fn new(per_second: f64) -> Arc<Pace> {
        Arc::new(Pace {
            per_second,
            paid: Mutex::new(None),
        })
    }

    /// Waits until what was taken before is paid for, and takes `amount`.
    fn take(&self, amount: f64, stop: &Stop) -> Result<Duration> {
        let wait = self.wait_at(Instant::now(), amount);
        if !wait.is_zero() {
            stop.wait(wait)?;
        }
        Ok(wait)
    }

    fn wait_at(&self, now: Instant, amount: f64) -> Duration {
        // A moment is whole even after a panic in another thread.
        let mut paid = self.paid.lock().unwrap_or_else(PoisonError::into_inner);
        let earliest = now.checked_sub(SLACK).unwrap_or(now);
        let begin = paid.unwrap_or(now).max(earliest);
        let time = Duration::try_from_secs_f64(amount / self.per_second).unwrap_or_default();
        *paid = Some(begin + time);
        begin.saturating_duration_since(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pace_is_kept_over_time() {
        let pace = Pace::new(1000.0);
        let begin = Instant::now();
        let mut now = begin;
        for _ in 0..100 {
            now += pace.wait_at(now, 100.0);
            // Sleep takes longer than it should.
            now += Duration::from_millis(7);
        }
        let seconds = (now - begin).as_secs_f64();
        assert!((9.85..10.15).contains(&seconds), "{seconds}");
        // A long pause is not made up for.
        now += Duration::from_secs(60);
        let later = now;
        for _ in 0..10 {
            now += pace.wait_at(now, 100.0);
        }
        let seconds = (now - later).as_secs_f64();
        assert!((0.75..0.95).contains(&seconds), "{seconds}");
    }

    #[test]
    fn a_low_rate_is_shared_by_few_connections() {
        let most = |rate| Limits::none().bytes_per_second(rate).connections();
        assert_eq!([most(1), most(2 << 20), most(9 << 20)], [1, 1, 4]);
        assert_eq!(
            Limits::none().requests_per_second(1.0).connections(),
            usize::MAX
        );
    }

    #[test]
    fn clones_share_a_budget_and_a_stop_ends_a_wait() {
        let limits = Limits::none().bytes_per_second(10).requests_per_second(0.1);
        let stop = Stop::new();
        limits.clone().pay(1000, &stop).unwrap();
        limits.request(&stop).unwrap();
        stop.set();
        assert!(limits.pay(1, &stop).is_err() && limits.request(&stop).is_err());
        assert_eq!((limits.piece(100), Limits::none().piece(100)), (1, 100));
        assert_eq!(Limits::none().pay(9, &stop).unwrap(), Duration::ZERO);
    }
}
