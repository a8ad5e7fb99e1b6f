//! How a blob's bytes are cut into requests, and what is learned from
//! refusals. Each rule exists because of a registry.

use crate::error::{Error, NetworkKind};
use crate::reference::Host;
use crate::registry::UploadMode;

/// Below Cloudflare's 100 MB, which already refuses 100 * 1024 * 1024.
const BELOW_PROXIES: u64 = 95_000_000;
/// nginx's default body limit: connections that break off are no reason to try
/// smaller chunks than that.
const NGINX_LARGEST: u64 = 1 << 20;
/// The smallest chunk that a registry's refusals lead to (limits of 200 kB
/// exist); smaller ones would be a request for every few packets.
const SMALLEST: u64 = 64 << 10;
/// ghcr.io answers 416 to a larger `PATCH` that has a Content-Range.
const GHCR_LARGEST: u64 = 4 << 20;
/// Amazon's registry refuses smaller parts, but for the last.
const ECR_SMALLEST: u64 = 5 << 20;
/// Quay refuses larger single bodies.
const QUAY_LARGEST: u64 = 20_000_000_000;
/// Resets during a whole body before a proxy's limit is suspected: a proxy that
/// answers 413 and closes is seen from here as a reset.
const SUSPICIOUS_RESETS: u32 = 2;
/// How many sessions may vanish under one upload.
const MAX_RESTARTS: u32 = 3;

/// The size of the next request's body.
pub struct Plan {
    mode: UploadMode,
    size: u64,
    smallest: u64,
    largest: u64,
    chunk: Option<u64>,
    resets: u32,
    chunks_fail: bool,
    restarts: u32,
    changed: bool,
    wary: bool,
}

impl Plan {
    /// The plan for `size` bytes to `host`.
    pub fn new(mode: UploadMode, host: &Host, size: u64) -> Plan {
        let name = host.name().to_ascii_lowercase();
        let is = |domain: &str| name == domain || name.ends_with(&format!(".{domain}"));
        let mut plan = Plan {
            mode,
            size,
            smallest: SMALLEST,
            largest: u64::MAX,
            chunk: None,
            resets: 0,
            chunks_fail: false,
            restarts: 0,
            changed: false,
            wary: false,
        };
        if is("ghcr.io") {
            plan.largest = GHCR_LARGEST;
        }
        if is("amazonaws.com") || is("public.ecr.aws") {
            plan.smallest = ECR_SMALLEST;
        }
        if let UploadMode::Chunked(chunk) = mode {
            // What the user says is tried even where it is odd.
            plan.smallest = plan.smallest.min(chunk);
            plan.set(chunk);
        } else if is("quay.io") && size > QUAY_LARGEST {
            plan.set(BELOW_PROXIES);
        }
        plan
    }

    /// The size of chunks; `None` for one whole body.
    pub fn chunk(&self) -> Option<u64> {
        self.chunk
    }

    /// Whether the last body was refused: small ones, too, then ask first,
    /// because a refusal may look like a connection that breaks off.
    pub fn is_wary(&self) -> bool {
        self.wary
    }

    /// A body was taken.
    pub fn trust(&mut self) {
        self.wary = false;
    }

    /// Obeys what the registry said when it opened the session
    /// (`OCI-Chunk-Min-Length`, and the proposed `OCI-Chunk-Max-Length`).
    pub fn limits(&mut self, min: Option<u64>, max: Option<u64>) {
        // A limit on single bodies by another name.
        if let Some(max) = max.filter(|max| *max > 0) {
            let max = max.max(SMALLEST);
            self.largest = self.largest.min(max);
            if self.size > max && self.mode == UploadMode::Auto && !self.chunks_fail {
                self.set(self.chunk.unwrap_or(max));
            }
        }
        if let Some(min) = min {
            // Beyond a GiB it is a mistake or an attack.
            self.smallest = self.smallest.max(min.min(1 << 30));
        }
        if let Some(chunk) = self.chunk {
            self.set(chunk);
        }
    }

    /// Changes the plan after a refusal; true when the blob is worth sending
    /// again at once.
    pub fn learn(&mut self, error: &Error) -> bool {
        let cut = matches!(error, Error::Network { kind, .. } if *kind == NetworkKind::Cut);
        // Not after a cut: a body that waits for consent holds up some registries.
        self.wary |= error.status() == Some(413);
        if std::mem::take(&mut self.changed) {
            return true;
        }
        if self.mode == UploadMode::Monolithic || self.chunks_fail {
            return false;
        }
        match error {
            Error::Status { status: 413, .. } => self.shrink(self.smallest),
            Error::Status {
                status: 416,
                errors,
                ..
            } => {
                let named = errors
                    .iter()
                    .find_map(|e| limit_in(&e.message))
                    .map(|limit| limit.max(SMALLEST))
                    .filter(|limit| *limit < self.body());
                named.is_some_and(|limit| {
                    self.largest = limit;
                    self.set(limit);
                    true
                })
            }
            _ if cut && self.body() > NGINX_LARGEST => {
                self.resets += 1;
                if self.resets.is_multiple_of(SUSPICIOUS_RESETS) {
                    // Not "at once": the network may be just bad.
                    self.shrink(self.smallest.max(NGINX_LARGEST));
                }
                false
            }
            _ => false,
        }
    }

    /// Goes back to whole bodies for good, because chunks got lost. The blob is
    /// worth sending again at once.
    pub fn avoid_chunks(&mut self) {
        self.changed = !self.chunks_fail;
        self.chunks_fail = true;
        self.chunk = None;
    }

    /// The session is gone: the blob is worth a new one at once, a few times.
    pub fn restart(&mut self) {
        self.restarts += 1;
        self.changed = self.restarts <= MAX_RESTARTS;
    }

    /// Halves the bodies, but not below `floor`.
    fn shrink(&mut self, floor: u64) -> bool {
        let now = self.body();
        if now <= floor {
            return false;
        }
        let next = if self.chunk.is_none() && now > BELOW_PROXIES {
            BELOW_PROXIES
        } else {
            (now / 2).max(floor)
        };
        self.set(next);
        self.body() < now
    }

    /// The size of the largest body under this plan.
    fn body(&self) -> u64 {
        self.chunk.unwrap_or(self.size).min(self.size)
    }

    fn set(&mut self, chunk: u64) {
        self.chunk = Some(chunk.max(self.smallest).min(self.largest).max(1));
    }
}

/// The number of bytes in a message such as `… 4 MiB …` or `… 4194304 bytes`.
fn limit_in(message: &str) -> Option<u64> {
    let words: Vec<&str> = message
        .split(|c: char| !c.is_ascii_alphanumeric())
        .collect();
    words.windows(2).find_map(|pair| {
        let number: u64 = pair[0].parse().ok()?;
        let unit = match pair[1].to_ascii_lowercase().as_str() {
            "mib" | "mb" => 1 << 20,
            "kib" | "kb" => 1 << 10,
            "bytes" | "byte" | "b" => 1,
            _ => return None,
        };
        number.checked_mul(unit).filter(|limit| *limit > 0)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{Diagnostic, RequestLine};
    use proptest::prelude::*;

    const MB: u64 = 1_000_000;

    fn plan(host: &str, mode: UploadMode, size: u64) -> Plan {
        Plan::new(mode, &host.parse().unwrap(), size)
    }

    fn status(status: u16, message: &str) -> Error {
        let request = RequestLine {
            method: "PUT".into(),
            url: "https://h/".into(),
        };
        let errors = vec![Diagnostic {
            code: String::new(),
            message: message.into(),
        }];
        Error::Status {
            request,
            status,
            errors,
            retry_after: None,
        }
    }

    fn cut() -> Error {
        let request = RequestLine {
            method: "PUT".into(),
            url: "https://h/".into(),
        };
        Error::Network {
            request,
            kind: NetworkKind::Cut,
            why: String::new(),
        }
    }

    #[test]
    fn whole_first_then_below_what_proxies_take() {
        let mut p = plan("r.example", UploadMode::Auto, 300 * MB);
        assert_eq!(p.chunk(), None);
        assert!(p.learn(&status(413, "")));
        assert_eq!(p.chunk(), Some(95 * MB));
        assert!(p.learn(&status(413, "")));
        assert_eq!(p.chunk(), Some(95 * MB / 2));
        while p.learn(&status(413, "")) {}
        assert_eq!(p.chunk(), Some(SMALLEST));
        assert!(!p.learn(&status(500, "")));
        let mut p = plan("r.example", UploadMode::Auto, 300_000);
        assert!(p.learn(&status(413, "")));
        assert_eq!(p.chunk(), Some(150_000));
        assert!(p.is_wary());
        p.trust();
        assert!(!p.is_wary() && !p.learn(&cut()) && !p.is_wary());
    }

    #[test]
    fn hosts_and_headers_set_limits() {
        let mut p = plan("ghcr.io", UploadMode::Auto, 300 * MB);
        assert_eq!(p.chunk(), None);
        assert!(p.learn(&status(413, "")));
        assert_eq!(p.chunk(), Some(4 << 20));
        assert_eq!(
            plan("quay.io", UploadMode::Auto, 21_000 * MB).chunk(),
            Some(95 * MB)
        );
        let mut p = plan("r.example", UploadMode::Auto, 300 * MB);
        p.limits(None, Some(50 * MB));
        assert_eq!(p.chunk(), Some(50 * MB));
        let mut p = plan("r.example", UploadMode::Auto, 300 * MB);
        p.limits(None, Some(1));
        assert_eq!(p.chunk(), Some(SMALLEST));
        let mut p = plan("r.example", UploadMode::Chunked(2 * MB), 300 * MB);
        assert_eq!(p.chunk(), Some(2 * MB));
        p.limits(Some(8 * MB), None);
        assert_eq!(p.chunk(), Some(8 * MB));
        let mut p = plan(
            "1.dkr.ecr.eu-west-1.amazonaws.com",
            UploadMode::Auto,
            300 * MB,
        );
        while p.learn(&status(413, "")) {}
        assert_eq!(p.chunk(), Some(5 << 20));
    }

    #[test]
    fn a_named_limit_is_obeyed_and_resets_are_suspicious() {
        let mut p = plan("r.example", UploadMode::Chunked(16 << 20), 300 * MB);
        assert!(p.learn(&status(
            416,
            "chunk larger than the maximum of 4 MiB allowed"
        )));
        assert_eq!(p.chunk(), Some(4 << 20));
        assert!(!p.learn(&status(416, "out of order")));
        let mut p = plan("r.example", UploadMode::Auto, 300 * MB);
        assert!(!p.learn(&cut()) && p.chunk().is_none());
        assert!(!p.learn(&cut()) && p.chunk() == Some(95 * MB));
        (0..40).for_each(|_| assert!(!p.learn(&cut())));
        assert_eq!(p.chunk(), Some(NGINX_LARGEST));
        let mut p = plan("r.example", UploadMode::Chunked(1 << 20), 300 * MB);
        assert!(p.learn(&status(416, "no more than 10 bytes")));
        assert_eq!(p.chunk(), Some(SMALLEST));
    }

    #[test]
    fn some_plans_never_change() {
        let mut p = plan("r.example", UploadMode::Monolithic, 300 * MB);
        assert!(!p.learn(&status(413, "")) && p.chunk().is_none());
        let mut p = plan("r.example", UploadMode::Auto, 300 * MB);
        assert!(p.learn(&status(413, "")));
        p.avoid_chunks();
        assert!(p.learn(&status(201, "")) && p.chunk().is_none());
        assert!(!p.learn(&status(413, "")) && p.chunk().is_none());
    }

    proptest! {
        #[test]
        fn limits_never_panic(message in "\\PC{0,40}|[0-9]{0,22} (MiB|bytes)") {
            let _ = limit_in(&message);
        }
    }
}
