//! Layers that their makers keep elsewhere, fetched over HTTP from the `urls`
//! of their descriptors (image-spec, descriptor.md).
//!
//! The manifest's author chose the address, so it gets nothing but a GET
//! over https: no credentials, no client certificate, and no way to make this
//! machine ask its own network. The reader verifies the bytes.

use std::io::{self, Read};

use ::http::header::{CONTENT_RANGE, RANGE};

use crate::error::{Error, Result};
use crate::graph::UrlFetcher;
use crate::http::address::AddressPolicy;
use crate::http::redirect::follow_where;
use crate::http::response::BodyReader;
use crate::http::retry::Budget;
use crate::http::status;
use crate::http::{Request, Response, Scheme, Settings, Transport, Url};

/// Fetches layers from where a manifest says they are.
pub struct HttpFetcher {
    transport: Transport,
}

impl HttpFetcher {
    /// Fetches with `settings`, whose client certificate is not used. The
    /// registry that the manifests come from is at `home`: one in a private
    /// network may name others in it.
    pub fn new(settings: Settings, home: &Url) -> HttpFetcher {
        // A certificate goes to the origin a transport is at home at.
        let policy = AddressPolicy::from(home, None);
        let transport = Transport::new(settings, Url::nowhere(), policy);
        HttpFetcher { transport }
    }

    fn permit(url: &Url) -> Result<(), String> {
        match url.scheme() {
            Scheme::Https => Ok(()),
            Scheme::Http => Err("dxf fetches non-distributable layers only over https".to_string()),
        }
    }

    fn ask(&self, url: &Url, from: u64) -> Result<Response> {
        let request = Request::new("GET", url.clone());
        let request = match from {
            0 => request,
            from => request.header(RANGE, &format!("bytes={from}-")),
        };
        let answer = follow_where(&self.transport, &request, &|_, _| {}, &HttpFetcher::permit)?;
        match answer.status {
            200 | 206 => Ok(answer),
            _ => Err(status::refusal(answer)),
        }
    }

    /// The bytes from `from` on, as one answer contains them.
    fn body(&self, url: &Url, from: u64) -> Result<BodyReader> {
        let answer = self.ask(url, from)?;
        let begins = answer.header(CONTENT_RANGE).and_then(|range| {
            let range = range.trim().strip_prefix("bytes ")?;
            range.split('-').next()?.trim().parse::<u64>().ok()
        });
        let (status, line) = (answer.status, answer.line().to_string());
        let mut body = answer.into_reader();
        match (status, from) {
            // Servers that know no ranges send everything.
            (200, 1..) => {
                let skipped = io::copy(&mut (&mut body).take(from), &mut io::sink());
                skipped.map_err(|e| Error::io(&line, e))?;
            }
            (206, _) if begins != Some(from) => {
                let why = format!("asked for byte {from}, got another part");
                return Err(Error::malformed(format!("answer to {line}"), why));
            }
            _ => {}
        }
        Ok(body)
    }
}

impl UrlFetcher for HttpFetcher {
    fn open(&self, url: &str, from: u64) -> Result<Box<dyn Read + Send + '_>> {
        let mut bytes = Bytes {
            fetcher: self,
            url: Url::parse(url)?,
            at: from,
            body: None,
            budget: Budget::new(),
        };
        bytes.open()?;
        Ok(Box::new(bytes))
    }
}

/// Bytes that resume after a connection breaks.
struct Bytes<'a> {
    fetcher: &'a HttpFetcher,
    url: Url,
    /// The next byte to hand out.
    at: u64,
    body: Option<BodyReader>,
    budget: Budget,
}

impl Bytes<'_> {
    fn open(&mut self) -> Result<()> {
        while self.body.is_none() {
            match self.fetcher.body(&self.url, self.at) {
                Ok(body) => self.body = Some(body),
                Err(error) => self.again(error)?,
            }
        }
        Ok(())
    }

    fn again(&mut self, error: Error) -> Result<()> {
        let settings = self.fetcher.transport.settings();
        self.budget.again(settings, error)
    }
}

impl Read for Bytes<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        loop {
            self.open()?;
            let Some(body) = &mut self.body else {
                return Ok(0);
            };
            match body.read(buf) {
                Ok(n) => {
                    if n > 0 {
                        self.budget.progress();
                    }
                    self.at += n as u64;
                    return Ok(n);
                }
                Err(error) => {
                    self.body = None;
                    self.again(Error::from_io(error)?)?;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(url: &str, home: &str) -> bool {
        let fetcher = HttpFetcher::new(Settings::default(), &Url::parse(home).unwrap());
        let open = fetcher.open(url, 0).map(drop);
        matches!(open, Err(Error::Refused { .. } | Error::Invalid { .. }))
    }

    #[test]
    fn a_manifest_cannot_point_everywhere() {
        for url in [
            "http://example.com/layer",
            "https://127.0.0.1/layer",
            "https://[::1]/layer",
            "https://10.1.2.3/layer",
            "https://169.254.169.254/latest/meta-data",
            "https://localhost:1/layer",
            "https://user:word@example.com/layer",
            "file:///etc/passwd",
            "layer",
        ] {
            assert!(refused(url, "https://r.invalid/"), "{url}");
        }
        for url in ["http://127.0.0.1:1/layer", "http://10.0.0.1/layer"] {
            assert!(refused(url, "https://10.0.0.1/"), "{url}");
        }
    }
}
