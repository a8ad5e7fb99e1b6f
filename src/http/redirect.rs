//! Following redirects by hand: every hop decides from its own URL what it may
//! be told, nothing is copied and then stripped.

use ::http::header::{HeaderMap, LOCATION};

use crate::bounds;
use crate::error::{Error, Result};
use crate::http::{Request, Response, Scheme, Transport};

/// More hops than this are a loop.
const MAX_HOPS: usize = bounds::REDIRECTS;

/// What a hop to a URL may carry beside the request's own headers; called for
/// every hop, the first included.
pub type Attach<'a> = dyn Fn(&crate::http::Url, &mut HeaderMap) + 'a;

/// Sends `request` and follows where it leads.
///
/// GET and HEAD follow 301, 302, 303, 307 and 308; other methods only the two
/// that promise to keep them, with the whole body sent again. From https to
/// http nothing goes, body or not.
///
/// # Errors
/// Those of [`Transport::send`]; [`Error::Refused`] for a redirect that must
/// not be followed.
pub fn follow(
    transport: &Transport,
    request: &Request<'_>,
    attach: &Attach<'_>,
) -> Result<Response> {
    follow_where(transport, request, attach, &|_| Ok(()))
}

/// Whether a hop may be made to a URL; the error is a reason.
pub type Permit<'a> = dyn Fn(&crate::http::Url) -> Result<(), String> + 'a;

/// As [`follow`], but follows only what `permit` allows, including the first hop.
///
/// # Errors
/// As [`follow`].
pub fn follow_where(
    transport: &Transport,
    request: &Request<'_>,
    attach: &Attach<'_>,
    permit: &Permit<'_>,
) -> Result<Response> {
    let mut url = request.url.clone();
    for _ in 0..=MAX_HOPS {
        let mut headers = request.headers.clone();
        attach(&url, &mut headers);
        let hop = Request {
            method: request.method,
            url: url.clone(),
            headers,
            body: request.body,
            commits: request.commits,
            asks_first: request.asks_first,
        };
        permit(&url).map_err(|why| Error::Refused {
            request: hop.line(),
            why,
        })?;
        let response = transport.send(&hop)?;
        if !leads_on(request.method, response.status) {
            return Ok(response);
        }
        let Some(location) = response.header(LOCATION).map(str::to_string) else {
            return Ok(response);
        };
        let refused = |why: String| Error::Refused {
            request: hop.line(),
            why,
        };
        let next = url
            .join(&location)
            .map_err(|e| refused(format!("it redirects to an {e}")))?;
        if url.scheme() == Scheme::Https && next.scheme() == Scheme::Http {
            return Err(refused(format!("it redirects from https to {next}")));
        }
        response.drain();
        url = next;
    }
    Err(Error::Refused {
        request: request.line(),
        why: format!("more than {MAX_HOPS} redirects"),
    })
}

fn leads_on(method: &str, status: u16) -> bool {
    match method {
        "GET" | "HEAD" => matches!(status, 301 | 302 | 303 | 307 | 308),
        _ => matches!(status, 307 | 308),
    }
}
