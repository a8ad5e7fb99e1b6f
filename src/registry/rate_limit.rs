//! How many pulls a registry allows and how many are left, where it says so:
//! Docker Hub's `RateLimit-*` headers.

use std::time::Duration;

use ::http::header::HeaderMap;

/// What a registry says of its limit for pulls.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RateLimit {
    /// Pulls that are allowed within `window`.
    pub limit: u64,
    /// Those that are left.
    pub remaining: Option<u64>,
    /// The time that the limit is for.
    pub window: Option<Duration>,
    /// Whom the pulls are counted for: an address, or an account's id.
    pub counted_for: Option<String>,
}

impl RateLimit {
    /// What the headers of an answer say, if anything: `100;w=21600`.
    pub(super) fn of(headers: &HeaderMap) -> Option<RateLimit> {
        let text = |name: &str| headers.get(name)?.to_str().ok().map(str::trim);
        let parts = |name: &str| {
            let mut parts = text(name)?.split(';').map(str::trim);
            let count = parts.next()?.parse::<u64>().ok()?;
            let window = parts.find_map(|part| part.strip_prefix("w=")?.parse::<u64>().ok());
            Some((count, window.map(Duration::from_secs)))
        };
        let (limit, window) = parts("ratelimit-limit")?;
        Some(RateLimit {
            limit,
            remaining: parts("ratelimit-remaining").map(|(count, _)| count),
            window,
            counted_for: text("docker-ratelimit-source").map(str::to_string),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ::http::HeaderName;

    fn of(headers: &[(&str, &str)]) -> Option<RateLimit> {
        let pair = |(name, value): &(&str, &str)| {
            let name: HeaderName = name.parse().unwrap();
            (name, value.parse().unwrap())
        };
        RateLimit::of(&headers.iter().map(pair).collect())
    }

    #[test]
    fn the_headers_of_docker_hub_are_read() {
        let found = of(&[
            ("ratelimit-limit", "100;w=21600"),
            ("ratelimit-remaining", "76;w=21600"),
            ("docker-ratelimit-source", "192.0.2.1"),
        ]);
        let expected = RateLimit {
            limit: 100,
            remaining: Some(76),
            window: Some(Duration::from_secs(21_600)),
            counted_for: Some("192.0.2.1".into()),
        };
        assert_eq!(found, Some(expected));
        let plain = of(&[("ratelimit-limit", "5")]).unwrap();
        assert_eq!(
            (plain.limit, plain.remaining, plain.window),
            (5, None, None)
        );
        for odd in ["", "x", "-1", "1e3", ";w=1", "99999999999999999999"] {
            assert_eq!(of(&[("ratelimit-limit", odd)]), None, "{odd}");
        }
        assert_eq!(of(&[]), None);
    }
}
