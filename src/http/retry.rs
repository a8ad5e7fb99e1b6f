//! Trying again: how often, how long to wait, and when not to.
//!
//! There is one retry layer in the crate, at the level of an operation; a
//! second one below would multiply the tries. Every wait can be interrupted.

use std::time::{Duration, SystemTime};

use crate::error::{Error, NetworkKind, Result};
use crate::http::{OnLimit, Settings};

/// Waits grow by this factor.
const FACTOR: u32 = 3;
/// No wait of our own choosing is longer than this.
const LONGEST: Duration = Duration::from_secs(30);

/// The longest wait for a server that limits requests, before it is asked again:
/// the time for which Docker Hub counts pulls.
const LIMIT_WINDOW: Duration = Duration::from_secs(6 * 3600);

/// Waiting this long is said, lest it look like a hang.
const NOTABLE: Duration = Duration::from_secs(2);

/// What is left of an operation's patience.
#[derive(Clone, Copy, Default)]
pub struct Budget {
    failures: u32,
    /// A connection was cut already.
    cut: bool,
}

impl Budget {
    /// A whole budget.
    pub fn new() -> Budget {
        Budget::default()
    }

    /// Starts counting again, because there was progress since the last failure.
    pub fn progress(&mut self) {
        self.failures = 0;
    }

    /// Waits before another try; or gives the error back when it is final, the
    /// budget is spent, or the server wants a longer wait than the user does.
    ///
    /// # Errors
    /// The error itself, or [`Error::Stopped`].
    pub fn again(&mut self, settings: &Settings, error: Error) -> Result<()> {
        if self.wait(settings, &error)? {
            Ok(())
        } else {
            Err(error)
        }
    }

    /// The same for a caller that keeps the error; false when it is final.
    ///
    /// # Errors
    /// [`Error::Stopped`].
    pub fn wait(&mut self, settings: &Settings, error: &Error) -> Result<bool> {
        settings.stop.check()?;
        if !error.is_temporary() {
            return Ok(false);
        }
        if self.is_free(error) {
            return Ok(true);
        }
        let asked = match error {
            Error::Status {
                retry_after: Some(seconds),
                ..
            } => Some(Duration::from_secs(*seconds)),
            _ => None,
        };
        let backoff = self.backoff(settings);
        let wait = match settings.on_limit == OnLimit::Wait && error.status() == Some(429) {
            true => asked.unwrap_or_default().min(LIMIT_WINDOW).max(backoff),
            false if self.failures >= settings.retries => return Ok(false),
            false if asked.is_some_and(|asked| asked > settings.retry_max_wait) => {
                return Ok(false);
            }
            false => asked.unwrap_or(backoff),
        };
        self.failures = self.failures.saturating_add(1);
        if wait.saturating_add(waited(settings, error)) >= NOTABLE {
            let text = match wait.as_secs() {
                0 => format!("{}; trying again", reason(error)),
                seconds => format!("{}; trying again in {seconds} s", reason(error)),
            };
            settings.observer.waiting(&text);
        }
        settings.stop.wait(wait)?;
        Ok(true)
    }

    /// Whether another try is not counted, because the failure says nothing
    /// about the server: a connection that had died unnoticed, after which the
    /// next one is new, and one that was cut once.
    fn is_free(&mut self, error: &Error) -> bool {
        match error {
            Error::Network {
                kind: NetworkKind::Stale,
                ..
            } => true,
            Error::Network {
                kind: NetworkKind::Cut,
                ..
            } => !std::mem::replace(&mut self.cut, true),
            _ => false,
        }
    }

    fn backoff(&self, settings: &Settings) -> Duration {
        let step = FACTOR.saturating_pow(self.failures);
        let wait = settings.retry_base.saturating_mul(step).min(LONGEST);
        wait + wait.mul_f64(0.1 * random_fraction())
    }
}

/// How long there was silence before `error` was known.
fn waited(settings: &Settings, error: &Error) -> Duration {
    match error.what() {
        Error::Network {
            kind: NetworkKind::Timeout,
            ..
        } => settings.idle_timeout.min(settings.connect_timeout),
        _ => Duration::ZERO,
    }
}

/// Why there is a wait, in the same words for all requests to a host that
/// wait together.
fn reason(error: &Error) -> String {
    let (url, why) = match error.what() {
        Error::Network { request, why, .. } => (&request.url, why.clone()),
        Error::Status {
            request, status, ..
        } => (&request.url, format!("status {status}")),
        error => return error.to_string(),
    };
    let rest = url.split_once("://").map_or(url.as_str(), |(_, rest)| rest);
    let host = rest.split('/').next().unwrap_or(rest);
    format!("{host}: {why}")
}

/// Spreads clients that failed together; any source of noise will do.
fn random_fraction() -> f64 {
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    f64::from(now.subsec_nanos() % 1000) / 1000.0
}

/// The seconds a `Retry-After` asks for: a number, or a date (RFC 9110, 10.2.3).
pub fn retry_after(value: &str) -> Option<u64> {
    let value = value.trim();
    if !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit()) {
        return Some(value.parse().unwrap_or(u64::MAX));
    }
    let at = httpdate::parse_http_date(value).ok()?;
    let wait = at.duration_since(SystemTime::now()).unwrap_or_default();
    // A wait of 3.2 s asks for four: the server counts from the whole second.
    Some(wait.as_secs() + u64::from(wait.subsec_nanos() > 0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::RequestLine;

    fn status(status: u16, retry_after: Option<u64>) -> Error {
        let request = RequestLine {
            method: "GET".into(),
            url: "https://h/".into(),
        };
        Error::Status {
            request,
            status,
            errors: vec![],
            retry_after,
        }
    }

    fn settings() -> Settings {
        Settings {
            retries: 2,
            retry_base: Duration::from_millis(1),
            ..Settings::default()
        }
    }

    #[test]
    fn budgets_end_and_are_counted_anew() {
        let settings = settings();
        let mut budget = Budget::new();
        assert!(budget.again(&settings, status(503, None)).is_ok());
        assert!(budget.again(&settings, status(503, None)).is_ok());
        assert!(budget.again(&settings, status(503, None)).is_err());
        budget.progress();
        assert!(budget.again(&settings, status(503, Some(0))).is_ok());
        assert!(budget.again(&settings, status(404, None)).is_err());
    }

    #[test]
    fn long_waits_and_interrupts_end_at_once() {
        let settings = settings();
        let refused = Budget::new().again(&settings, status(429, Some(3600)));
        assert_eq!(refused.unwrap_err().status(), Some(429));
        settings.stop.set();
        assert!(matches!(
            Budget::new().again(&settings, status(503, None)),
            Err(Error::Stopped)
        ));
    }

    #[test]
    fn a_limit_is_waited_out_where_that_is_wanted() {
        let settings = Settings {
            retry_base: Duration::ZERO,
            on_limit: OnLimit::Wait,
            ..settings()
        };
        let mut budget = Budget::new();
        for _ in 0..20 {
            assert!(budget.again(&settings, status(429, None)).is_ok());
            assert!(budget.again(&settings, status(429, Some(0))).is_ok());
        }
        // Nothing else is, and an interrupt ends it.
        assert!(budget.again(&settings, status(503, None)).is_err());
        settings.stop.set();
        let stopped = budget.again(&settings, status(429, Some(u64::MAX)));
        assert!(matches!(stopped, Err(Error::Stopped)));
    }

    /// Keeps what it hears, and ends the wait that it hears of.
    struct Impatient(std::sync::Mutex<Vec<String>>, crate::stream::Stop);

    impl crate::http::Observer for std::sync::Arc<Impatient> {
        fn waiting(&self, text: &str) {
            self.0.lock().unwrap().push(text.to_string());
            self.1.set();
        }
    }

    #[test]
    fn a_long_wait_is_said_and_a_short_one_is_not() {
        let heard = |error: Error| {
            let settings = settings();
            let stop = settings.stop.clone();
            let ear = std::sync::Arc::new(Impatient(std::sync::Mutex::default(), stop));
            let settings = settings.with_observer(ear.clone());
            let waited = Budget::new().again(&settings, error);
            let heard = ear.0.lock().unwrap().clone();
            assert_eq!(waited.is_err(), !heard.is_empty());
            heard
        };
        assert_eq!(heard(status(503, None)), [""; 0]);
        assert_eq!(
            heard(status(503, Some(20))),
            ["h: status 503; trying again in 20 s"]
        );
        // So is one that is over already.
        let silent = || Error::Network {
            request: RequestLine {
                method: "GET".into(),
                url: "https://h/".into(),
            },
            kind: NetworkKind::Timeout,
            why: "timed out".into(),
        };
        assert_eq!(heard(silent()), ["h: timed out; trying again"]);
        // What is not waited for is not said.
        let refused = Budget::new().again(&settings(), status(503, Some(3600)));
        assert_eq!(refused.unwrap_err().status(), Some(503));
    }

    #[test]
    fn only_a_servers_wish_is_bounded() {
        let settings = Settings {
            retry_max_wait: Duration::ZERO,
            ..settings()
        };
        assert!(Budget::new().again(&settings, status(503, None)).is_ok());
        assert!(
            Budget::new()
                .again(&settings, status(503, Some(1)))
                .is_err()
        );
    }

    #[test]
    fn a_connection_that_died_unused_costs_nothing() {
        let settings = Settings {
            retries: 0,
            ..settings()
        };
        let network = |kind| Error::Network {
            request: RequestLine {
                method: "GET".into(),
                url: "https://h/".into(),
            },
            kind,
            why: String::new(),
        };
        let mut budget = Budget::new();
        let mut again = |kind| budget.again(&settings, network(kind)).is_ok();
        assert!(again(NetworkKind::Stale) && again(NetworkKind::Stale));
        // One that was cut may have been such a one, once.
        assert!(again(NetworkKind::Cut));
        assert!(!again(NetworkKind::Cut));
        assert!(!again(NetworkKind::Timeout));
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        assert_eq!(retry_after("120"), Some(120));
        assert_eq!(retry_after(" 0 "), Some(0));
        assert_eq!(retry_after("99999999999999999999"), Some(u64::MAX));
        assert_eq!(retry_after("Wed, 21 Oct 2015 07:28:00 GMT"), Some(0));
        let soon = SystemTime::now() + Duration::from_secs(90);
        let asked = retry_after(&httpdate::fmt_http_date(soon)).unwrap();
        assert!((88..=91).contains(&asked), "{asked}");
        for bad in ["", "soon", "-1", "1.5"] {
            assert_eq!(retry_after(bad), None, "{bad}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_header_is_survived(value in "[0-9]{0,30}|[A-Za-z]{3}, [0-9]{1,3} [A-Za-z]{3} [0-9]{1,6} [0-9:]{0,12} GMT|\\PC{0,40}") {
            let _ = retry_after(&value);
        }
    }
}
